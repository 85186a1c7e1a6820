"""Polygon's (now Massive's) REST: one-minute aggregates for repair, and the errors every answer may be.

A success has `status` OK or DELAYED and rows under `results`, which are missing where nothing matched. A row's `t` is
its start, epoch ms; minutes without a trade have no row. We ask for unadjusted prices. Source:
massive.com/docs/rest/stocks/aggregates/custom-bars; github.com/massive-com/client-python, test_rest/mocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import numpy as np

from market.candles import CANDLE, Candles, Provenance
from market.codecs import Account, Call
from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LineDown, Rejected
from market.instruments import Instrument
from market.money import SCALE, UNKNOWN, money
from market.sessions import day_number, instant
from market.tape import Bars
from market.vendors.polygon import NAME
from market.vendors.us_prints import LARGEST, NEW_YORK, instant_of, no_number

ROOT = "https://api.massive.com"
REMEDY = "put a key of a plan that has this in BOURSE_POLYGON_API_KEY"

MOST = 50_000
"""Rows in one answer."""

_HISTORY = {"1m": ("minute", 60, timedelta(days=30)), "1d": ("day", 86400, timedelta(days=5000))}


class PolygonHistory:
    """Satisfies `HistoryCodec`. Source: the free plan's 5 requests a minute."""

    name = NAME
    root = ROOT
    rate = 5 / 60

    def __init__(self, interval: str = "1m") -> None:
        if interval not in _HISTORY:
            raise BadValue("interval", interval, f"one that Polygon's history has: {', '.join(_HISTORY)}")
        self._word, self._seconds, self.longest = _HISTORY[interval]

    def call(self, root: str, account: Account, instrument: Instrument, first: int, last: int) -> Call:
        """What asks for the minutes that start in [first, last], ns UTC. Raises BadValue: it has no ticker."""
        ticker = instrument.tokens.get(NAME)
        if ticker is None:
            raise BadValue("symbol", instrument.symbol, "one that Polygon has a ticker for")
        span = f"{first // 1_000_000}/{last // 1_000_000}"
        asked = f"{quote(str(ticker))}/range/1/{self._word}/{span}"
        url = f"{root}/v2/aggs/ticker/{asked}?adjusted=false&sort=asc&limit={MOST}"
        return Call(url, {"Authorization": f"Bearer {account.api_key.get_secret_value()}".strip()})

    def read(self, body: bytes, content_type: str, status: int, instrument: int) -> Candles:
        """The minutes of an answer, (n,). Raises as `candles` does."""
        return candles(body, instrument, self._seconds)


def envelope(body: bytes) -> dict[str, Any]:
    """An answer that is a success; numbers with a point are Decimal.

    Raises AuthRequired when the key or the plan does not do, LineDown when we ask too often, Rejected when asking again
    does not help, BadPayload for what is no answer.
    """
    try:
        said = json.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=no_number)
    except (ValueError, RecursionError) as e:
        raise BadPayload(NAME, body, f"not JSON: {e}") from e
    status = said.get("status") if isinstance(said, dict) else None
    if status in ("OK", "DELAYED"):
        return dict(said)
    if not isinstance(status, str):
        raise BadPayload(NAME, body, "neither a success nor an error")
    message = str(said.get("error") or said.get("message") or status)
    if status == "NOT_AUTHORIZED" or "api key" in message.lower():
        raise AuthRequired(NAME, f"{message}; {REMEDY}")
    if "maximum requests" in message.lower():
        raise LineDown(NAME, message)
    raise Rejected(NAME, status, message)


def candles(body: bytes, instrument: int, interval: int) -> Candles:
    """The aggregates of an answer as `CANDLE` rows, (n,); `interval` in seconds.

    A day's aggregate starts at midnight in New York. Raises BadPayload naming the first bad row, or that there are more
    pages; `rest` holds the rows that could be read. Also raises as `envelope` does.
    """
    said = envelope(body)
    listed = said.get("results") or []
    if not isinstance(listed, list):
        raise BadPayload(NAME, body, "results that are no list")
    rows: list[tuple[Any, ...]] = []
    wrong: list[str] = []
    for number, aggregate in enumerate(listed):
        try:
            rows.append(_row(aggregate, instrument, interval))
        except (ValueError, KeyError, TypeError, ArithmeticError, BourseError) as e:
            wrong.append(f"row {number}: {type(e).__name__} {e}")
    if said.get("next_url"):
        wrong.append("there are more pages")
    read = np.array(rows, CANDLE)
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} faults; {wrong[0]}", read)
    return read


def answer(ticker: str, bars: Bars) -> dict[str, Any]:
    """What the server says of these minutes, as the simulated exchange sends it."""
    rows = [
        {
            "v": int(bar["volume"]),
            "o": int(bar["open"]) / SCALE,
            "c": int(bar["close"]) / SCALE,
            "h": int(bar["high"]) / SCALE,
            "l": int(bar["low"]) / SCALE,
            "t": int(bar["start"]) // 1_000_000,
        }
        for bar in bars[:MOST]
    ]
    said = {"ticker": ticker, "queryCount": len(rows), "resultsCount": len(rows), "adjusted": False}
    return said | ({"results": rows} if rows else {}) | {"status": "OK", "request_id": "simulated", "count": len(rows)}


def candle(
    instrument: int, interval: int, start: int, prices: Sequence[object], volume: object, vwap: object, trades: object
) -> tuple[Any, ...]:
    """One official `CANDLE` row; prices are open, high, low, close in dollars. Raises ValueError.

    `vwap`, `trades`: None where the vendor does not say. The session is the date in New York.
    """
    known = [money(_number(price)) for price in prices]
    if 0 in known or known[1] != max(known) or known[2] != min(known) or not 0 < known[2] <= known[1] < LARGEST:
        raise ValueError(f"open, high, low, close of {[str(p) for p in prices]}")
    average = UNKNOWN if vwap is None else int((_number(vwap) * SCALE).to_integral_value())
    session = day_number(instant(start).astimezone(NEW_YORK).date())
    return (
        instrument, interval, start, *known, _count(volume), UNKNOWN if trades is None else _count(trades), average,
        UNKNOWN, 1.0, session, 0, int(Provenance.OFFICIAL), (0,) * 7,
    )  # fmt: skip


def _row(aggregate: dict[str, Any], instrument: int, interval: int) -> tuple[Any, ...]:
    prices = [aggregate[name] for name in ("o", "h", "l", "c")]
    start, more = instant_of(aggregate["t"]), (aggregate.get("vw"), aggregate.get("n"))
    return candle(instrument, interval, start, prices, aggregate["v"], *more)


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise ValueError(f"{value!r} is not a number")
    return Decimal(value)


def _count(value: object) -> int:
    count = _number(value)
    if not 0 <= count < LARGEST or count != int(count):
        raise ValueError(f"{value!r} is not a count")
    return int(count)
