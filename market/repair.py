"""Repair: what to ask a vendor's history for, and what its answer makes of the minutes that are not whole.

Requests are what is rationed, not candles: one covers as much of an instrument's time as the vendor gives at once. A
minute that the vendor has no candle of stays as it is, and is said so. A vendor's candle states its prices and its
volume; the number of trades and the average price it does not, so they are unknown, but where nothing was traded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import numpy as np

from market.candles import INTERVALS, Candles, Provenance
from market.codecs import Account, Call
from market.corrections import PROPOSED, sane
from market.coverage import Cause, Shortfall, State
from market.instruments import Instrument, Kind
from market.money import UNKNOWN
from market.records import Record
from market.sessions import MINUTE, SECOND

SETTLED = 2 * MINUTE
"""A minute that ended longer ago than this, in market time, has its final candle in a vendor's history."""


class HistoryCodec(Protocol):
    """A vendor's historical candles of one interval, minutes unless told otherwise.

    `root`: its usual address; `longest`: the span one request may cover; `rate`: requests a second an account may send.
    To be made with the interval's name, `1m` or `1d`; that raises BadValue where the vendor has none such.
    """

    name: str
    root: str
    longest: timedelta
    rate: float

    def __init__(self, interval: str = "1m") -> None: ...

    def call(self, root: str, account: Account, instrument: Instrument, first: int, last: int) -> Call:
        """What asks for the candles that start in [first, last], ns UTC. Raises BadValue: it does not know this one.

        A day starts at its midnight, where the exchange is.
        """
        ...

    def read(self, body: bytes, content_type: str, status: int, instrument: int) -> Candles:
        """The candles of an answer, (n,). Raises BadPayload, AuthRequired, LineDown, Rejected."""
        ...


class Request(Record):
    """One request for the minutes of an instrument that start in [first, last], ns UTC, for the sake of `starts`."""

    symbol: str
    first: int
    last: int
    starts: tuple[int, ...]


def wanted(shortfalls: Iterable[Shortfall], now: int, *, again: bool = False) -> dict[str, list[int]]:
    """The starts of the minutes to repair, ns UTC, rising, by symbol; `again`: also what no vendor had before."""
    found: dict[str, set[int]] = {}
    for one in shortfalls:
        spans = one.spans if one.state is State.GAP else ()
        for span in (s for s in spans if again or s.cause is not Cause.NOBODY_HAS):
            last = min(span.end, now - SETTLED)
            found.setdefault(one.symbol, set()).update(range(span.start, last - MINUTE + 1, MINUTE))
    return {symbol: sorted(starts) for symbol, starts in found.items() if starts}


def requests(minutes: Mapping[str, Sequence[int]], longest: timedelta) -> list[Request]:
    """The fewest requests that cover these minutes, each over at most `longest`."""
    reach = int(longest.total_seconds()) * SECOND
    found = []
    for symbol, starts in minutes.items():
        left = list(starts)
        while left:
            mine = [s for s in left if s < left[0] + reach]
            found.append(Request(symbol=symbol, first=mine[0], last=mine[-1], starts=tuple(mine)))
            left = left[len(mine) :]
    return found


def proposals(candles: Candles, instrument: Instrument, starts: Sequence[int]) -> tuple[Candles, list[int]]:
    """Of a vendor's candles, (n,), those of these minutes, as a repair proposes them; and the minutes it lacks."""
    asked = np.array(sorted(starts), np.int64)
    rows = candles[np.isin(candles["start"], asked) & (candles["interval"] == INTERVALS["1m"])].copy()
    rows = rows[len(rows) - 1 - np.unique(rows["start"][::-1], return_index=True)[1]]  # of one told twice, the last
    rows["volume"][rows["volume"] == UNKNOWN] = 0
    rows = rows[sane(rows)]
    rows["instrument"] = instrument.id
    rows["revision"], rows["provenance"], rows["completeness"] = PROPOSED, Provenance.REPAIRED, 1.0
    quiet = (rows["volume"] == 0) & (rows["high"] == rows["low"]) & (instrument.kind is not Kind.INDEX)
    rows["trades"], rows["vwap"] = np.where(quiet, 0, UNKNOWN), UNKNOWN
    lacking: list[int] = np.setdiff1d(asked, rows["start"]).tolist()
    return rows, lacking


def mended(outage: int, left: Mapping[str, Iterable[int]]) -> bool:
    """Whether of an outage that began at this minute, ns UTC, nothing is among the minutes still to be repaired."""
    return not any(outage in starts for starts in left.values())
