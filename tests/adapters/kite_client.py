"""A program that drives the unmodified kiteconnect client against an exchange; prints what it saw as JSON.

Twisted's reactor starts once in a process, so the test runs this as a program: `kite_client.py URL FULL QUOTE`, two
tokens, the first to be streamed in full mode and given back after a while.
"""

from __future__ import annotations

import json
import sys
import time
from urllib.parse import parse_qs, urlparse

import requests
from kiteconnect import KiteConnect, KiteTicker
from kiteconnect.exceptions import KiteException

KEY, SECRET = "demo", "demo-secret"
BEFORE, AFTER = 5, 80
MORNING = ("2026-08-25 09:15:00", "2026-08-25 09:40:00")


def polite(call, *arguments):
    """Call again after a second, as Kite's limits ask, when it was too often."""
    while True:
        try:
            return call(*arguments)
        except KiteException as e:
            if e.code != 429:
                raise
            time.sleep(1.0)


def desk(url: str, token: int) -> dict:
    login = requests.get(f"{url}/connect/login", params={"api_key": KEY, "v": 3}, timeout=60)
    request = parse_qs(urlparse(login.url).query)["request_token"][0]
    kite = KiteConnect(KEY, root=url)
    session = kite.generate_session(request, SECRET)
    again = None
    try:
        KiteConnect(KEY, root=url).generate_session(request, SECRET)
    except KiteException as e:
        again = [type(e).__name__, e.code]
    names = ["NSE:RELIANCE", "NSE:NIFTY 50", "NSE:NOSUCH"]
    day = polite(kite.ltp, names)
    return {
        "access_token": session["access_token"],
        "login_year": session["login_time"].year,
        "again": again,
        "profile": kite.profile(),
        "margins": kite.margins(),
        "equity": kite.margins("equity"),
        "instruments": polite(kite.instruments),
        "bse": polite(kite.instruments, "BSE"),
        "ltp": day,
        "ohlc": polite(kite.ohlc, names),
        "quote": polite(kite.quote, names),
        "minute": polite(kite.historical_data, token, *MORNING, "minute"),
        "five": polite(kite.historical_data, token, *MORNING, "5minute", False, True),
    }


def stream(url: str, access: str, full: int, quote: int) -> dict:
    seen: dict = {"ticks": [], "texts": [], "errors": [], "after": []}
    ticker = KiteTicker(KEY, access, root=url.replace("http", "ws") + "/")

    def on_connect(socket, response):
        socket.subscribe([full, quote])
        socket.set_mode(socket.MODE_FULL, [full])

    def on_ticks(socket, ticks):
        seen["ticks"] += ticks
        if sum(t["instrument_token"] == full for t in seen["ticks"]) >= BEFORE and full in socket.subscribed_tokens:
            socket.unsubscribe([full])
        elif full not in socket.subscribed_tokens:
            tokens = [t["instrument_token"] for t in ticks]
            seen["after"] = [] if full in tokens else [*seen["after"], tokens]  # what was on its way comes first
            if len(seen["after"]) >= AFTER:
                socket.close()

    def on_message(socket, payload, binary):
        if not binary:
            seen["texts"].append(json.loads(payload))

    ticker.on_connect, ticker.on_ticks, ticker.on_message = on_connect, on_ticks, on_message
    ticker.on_error = lambda socket, code, reason: seen["errors"].append([code, str(reason)])
    ticker.on_close = lambda socket, code, reason: socket.stop()
    ticker.connect()
    return seen


def main() -> None:
    url, full, quote = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    said = desk(url, full)
    said["stream"] = stream(url, said["access_token"], full, quote)
    print(json.dumps(said, default=str))


if __name__ == "__main__":
    main()
