"""W3: how soon: a tick's arrival to the gateway's answer, a minute's close to its candle, a window's read; no peer.

The feed, the durable bus, Candles and the gateway's app run as processes of their own on this machine; raw Kite
frames come at 5,000 ticks a second. One client asks the gateway again and again for one share, and for every new tick
it sees, counts the time from the feed's receipt of it: the asking itself is in the figure. On the stream every tick of
50 symbols counts, and its wait for the next frame is in the figure (`W3_STREAM`: instruments, Hz, seconds).
"""

from __future__ import annotations

import os
import time
from datetime import date, datetime
from functools import partial
from typing import Any

import httpx
import msgpack
import numpy as np
from websockets.sync.client import connect

from benchmarks.report import Report
from benchmarks.spine import Spine, closings, percentiles
from market.candles import CANDLE, INTERVALS
from market.frames import AT, RECEIVED, Kind
from market.sessions import MINUTE, Sessions, day_number, session
from market.windows import CandleWindow
from serve_app import shapes

PORT, GATEWAY = 21_600, 21_601
RATE, INSTRUMENTS, SECONDS = 5_000, 2_000, 45.0
CLOSING_SPEED, CLOSING_SECONDS = 60.0, 60.0
WINDOW_INSTRUMENTS, ASKED = 500, 300
WATCHED = 50


def run(out: Report) -> None:
    """Tick to answer and candle to bus, then the window."""
    answers(out)
    screens(out)
    closes(out)
    window(out)


def answers(out: Report) -> None:
    """From the feed's receipt to a REST answer that holds the tick."""
    with Spine(INSTRUMENTS, port=PORT, seconds=SECONDS, rate=RATE) as spine:
        spine.gateway(GATEWAY)
        took: list[float] = []
        with httpx.Client(base_url=f"http://127.0.0.1:{GATEWAY}", timeout=5.0) as client:
            spine.wait(lambda: _answers(client))
            seen = None
            while spine.sent() is None:
                quote = client.get("/api/stock/S0").json()
                now = time.time()
                if quote["received_at"] and quote["received_at"] != seen:
                    if seen is not None:
                        took.append((now - datetime.fromisoformat(quote["received_at"]).timestamp()) * 1000)
                    seen = quote["received_at"]
        middle, worst = percentiles(took)
        out.say(f"{len(took)} new ticks seen")
        out.add(f"tick arrival to the gateway's answer, {RATE:,} ticks/s", "p50 ms", middle)
        out.add(f"tick arrival to the gateway's answer, {RATE:,} ticks/s", "p99 ms", worst)


def screens(out: Report) -> None:
    """From the feed's receipt to the frame at a client's socket that holds the tick, every tick of its 50 symbols."""
    count, hertz, seconds = (int(word) for word in os.environ.get("W3_STREAM", "9000,20,45").split(","))
    with Spine(count, port=PORT + 4, seconds=float(seconds), rate=2 * count) as spine:
        spine.gateway(GATEWAY + 4)
        took: list[float] = []
        with httpx.Client(base_url=f"http://127.0.0.1:{GATEWAY + 4}", timeout=5.0) as client:
            spine.wait(lambda: _answers(client))
        with connect(f"ws://127.0.0.1:{GATEWAY + 4}/ws/quotes?format=msgpack", max_size=None, proxy=None) as line:
            base = msgpack.unpackb(line.recv())["base"]
            spread = [f"S{k * count // WATCHED}" for k in range(WATCHED)]  # the feed sends them at different moments
            for said in ({"op": "set", "rate": hertz}, {"op": "subscribe", "symbols": spread}):
                line.send(msgpack.packb(said))
            known: dict[int, list[int]] = {}
            while spine.sent() is None:
                frame = msgpack.unpackb(line.recv(timeout=30))
                now = time.time() * 1000
                if isinstance(frame, list):
                    took += [now - base - at for at in map(partial(_received, known, frame), frame[5:]) if at]
        middle, worst = percentiles(took)
        case = f"tick arrival to a client's socket, {count:,} instruments x 2/s, {hertz} Hz"
        out.say(f"{len(took)} ticks seen on the stream")
        for name, value in (("p50", middle), ("p99", worst)):
            out.add(case, f"{name} ms", value)
            out.add(case, f"{name} ms less the interval", value - 1000 / hertz)


def closes(out: Report) -> None:
    """From the mark that closes a minute, as the feed makes it, to its candles on the bus."""
    took = closings(CLOSING_SPEED, CLOSING_SECONDS, PORT + 2)
    out.say(f"{took['count']:.0f} entries that closed a minute")
    for name in ("p50", "p99"):
        out.add(f"minute closed to its candles on the bus, Nifty 50 at {CLOSING_SPEED:.0f}x", f"{name} ms", took[name])


def _received(known: dict[int, list[int]], frame: list[Any], entry: list[Any]) -> int | None:
    """When the tick of an entry was received, ms since base: what is not told of `at` and `received` is as it was. None
    where neither is told, and in a key frame.
    """
    number, mask, *values = entry
    named = zip([f for f in range(mask.bit_length()) if mask >> f & 1], values, strict=True)
    told = {field: value for field, value in named if value is not None}
    held = known.setdefault(number, [0, 0])
    if AT in told:
        held[0] = (frame[2] or 0) - told[AT]
    if RECEIVED in told:
        held[1] = told[RECEIVED]
    return sum(held) if frame[0] == Kind.DELTA and (AT in told or RECEIVED in told) else None


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def window(out: Report) -> None:
    """The last 300 candles of an instrument, from the columns to the answer's objects."""
    day = session(date(2016, 8, 25))
    held = CandleWindow(WINDOW_INSTRUMENTS, Sessions([day]))
    rows = np.zeros(WINDOW_INSTRUMENTS * day.minutes, CANDLE)
    rows["instrument"] = np.repeat(np.arange(WINDOW_INSTRUMENTS), day.minutes)
    rows["interval"], rows["session"], rows["provenance"] = INTERVALS["1m"], day_number(day.date), 1
    rows["start"] = np.tile(day.open + np.arange(day.minutes) * MINUTE, WINDOW_INSTRUMENTS)
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name] = 1_000_000
    held.add(rows)
    took = []
    for k in range(2000):
        began = time.perf_counter()
        shapes.candles(held.read(k % WINDOW_INSTRUMENTS, INTERVALS["1m"], day.open, day.close, ASKED))
        took.append((time.perf_counter() - began) * 1000)
    middle, worst = percentiles(took)
    out.add(f"last {ASKED} candles of one instrument from the live window", "p50 ms", middle)
    out.add(f"last {ASKED} candles of one instrument from the live window", "p99 ms", worst)
