"""Finnhub's REST: one-minute candles for repair, and the errors every answer may be.

Candles come as columns `o h l c v t` with `s` "ok", or `s` "no_data"; `t` is a candle's start in epoch seconds. Errors
are `{"error": ...}`, whatever the status. Source: finnhub.io/docs/api/stock-candles; github.com/finnhubio/Finnhub-API,
issue 363 (a plan without access).
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import numpy as np

from market.candles import CANDLE, Candles
from market.codecs import Account, Call
from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LineDown, Rejected
from market.instruments import Instrument
from market.money import SCALE
from market.sessions import DAY, SECOND
from market.tape import Bars
from market.vendors.finnhub import NAME
from market.vendors.polygon_rest import candle
from market.vendors.us_prints import no_number

ROOT = "https://finnhub.io/api/v1"
DAILY = 86400
REMEDY = "put a key of a plan that has this in BOURSE_FINNHUB_API_KEY"
_HISTORY = {"1m": ("1", 60, timedelta(days=30)), "1d": ("D", DAILY, timedelta(days=365))}
COLUMNS = ("t", "o", "h", "l", "c", "v")


class FinnhubHistory:
    """Satisfies `HistoryCodec`. Source: finnhub.io/docs/api/rate-limit, 60 calls a minute of the free plan."""

    name = NAME
    root = ROOT
    rate = 1.0

    def __init__(self, interval: str = "1m") -> None:
        if interval not in _HISTORY:
            raise BadValue("interval", interval, f"one that Finnhub's history has: {', '.join(_HISTORY)}")
        self._word, self._seconds, self.longest = _HISTORY[interval]

    def call(self, root: str, account: Account, instrument: Instrument, first: int, last: int) -> Call:
        """What asks for the minutes that start in [first, last], ns UTC. Raises BadValue: it has no symbol."""
        symbol = instrument.tokens.get(NAME)
        if symbol is None:
            raise BadValue("symbol", instrument.symbol, "one that Finnhub has a symbol for")
        asked = {"symbol": symbol, "resolution": self._word, "from": first // SECOND, "to": last // SECOND}
        return Call(f"{root}/stock/candle?{urlencode(asked)}", {"X-Finnhub-Token": account.api_key.get_secret_value()})

    def read(self, body: bytes, content_type: str, status: int, instrument: int) -> Candles:
        """The minutes of an answer, (n,). Raises as `candles` does."""
        return candles(body, instrument, self._seconds)


def envelope(body: bytes) -> dict[str, Any]:
    """An answer that is no error; numbers with a point are Decimal.

    Raises AuthRequired when the key or the plan does not do, LineDown when we ask too often, Rejected when asking again
    does not help, BadPayload for what is no answer.
    """
    try:
        said = json.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=no_number)
    except (ValueError, RecursionError) as e:
        raise BadPayload(NAME, body, f"not JSON: {e}") from e
    if not isinstance(said, dict):
        raise BadPayload(NAME, body, "an answer that is no object")
    if "error" not in said:
        return said
    message = str(said["error"])
    if "api key" in message.lower() or "have access" in message.lower():
        raise AuthRequired(NAME, f"{message}; {REMEDY}")
    if "limit" in message.lower():
        raise LineDown(NAME, message)
    raise Rejected(NAME, "error", message)


def candles(body: bytes, instrument: int, interval: int) -> Candles:
    """The candles of an answer as `CANDLE` rows, (n,); `interval` in seconds.

    Raises BadPayload naming the first bad candle; `rest` holds the others. Also raises as `envelope` does.
    """
    said = envelope(body)
    if said.get("s") == "no_data":
        return np.zeros(0, CANDLE)
    columns = [said.get(name) for name in COLUMNS]
    if said.get("s") != "ok" or not all(isinstance(c, list) for c in columns):
        raise BadPayload(NAME, body, "an answer without candles")
    if len({len(c) for c in columns if c is not None}) != 1:
        raise BadPayload(NAME, body, "columns of different lengths")
    rows: list[tuple[Any, ...]] = []
    wrong: list[str] = []
    for number, (start, *prices, volume) in enumerate(zip(*(c or [] for c in columns), strict=True)):
        try:
            if isinstance(start, bool) or not isinstance(start, int) or not 0 < start < 1 << 33:
                raise ValueError(f"the stamp {start!r} is not in seconds")
            rows.append(candle(instrument, interval, start * SECOND, prices, volume, None, None))
        except (ValueError, TypeError, ArithmeticError, BourseError) as e:
            wrong.append(f"candle {number}: {e}")
    read = np.array(rows, CANDLE)
    if interval == DAILY:  # at midnight, of UTC or of New York: its date is that of UTC
        read["session"] = read["start"] // DAY
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad candles; {wrong[0]}", read)
    return read


def answer(bars: Bars) -> dict[str, Any]:
    """What the server says of these minutes, as the simulated exchange sends it."""
    if not len(bars):
        return {"s": "no_data"}
    prices = {name[0]: [int(p) / SCALE for p in bars[name]] for name in ("close", "high", "low", "open")}
    times = [int(t) // SECOND for t in bars["start"]]
    return prices | {"s": "ok", "t": times, "v": bars["volume"].tolist()}
