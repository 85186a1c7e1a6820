"""Quotes: the latest of every instrument, as columns, and what the feeds last said of themselves.

The last row in arrival order is the quote. Ticks of a feed that is not the active one are counted and kept aside, the
newest of each instrument, until that feed becomes the active one; a tick of an earlier session never replaces a later
one. Open, high and low are of the ticks seen inside continuous trading, so
they may miss what went by before we listened: `learn` adds what candles know. The previous close is the vendor's word
or, until it comes, the last price known of an earlier session. Of prints the day's volume is the sum; those that set no
price leave the price, and repeats are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.candles import Candles
from market.money import UNKNOWN
from market.prints import PrintTotals, TotalsKept
from market.sessions import DAY, HOURS, MINUTE, NO_TABLE, ahead
from market.ticks import NO_TICKS, TICK, FeedState, Flag, Kind, Ticks

Ints = npt.NDArray[np.int64]

QUOTE = np.dtype(
    [
        ("instrument", "<i4"),
        ("session", "<i4"),
        ("source", "u1"),
        ("flags", "u1"),
        ("padding", "u1", 6),
        ("version", "<i8"),
        *((name, "<i8") for name in ("at", "received", "price", "day_volume", "open_interest")),
        *((name, "<i8") for name in ("bid", "bid_quantity", "ask", "ask_quantity")),
        *((name, "<i8") for name in ("open", "high", "low", "close")),
    ]
)
"""`session` is the trade's date in days since 1970-01-01, -1 before the first; `close` is the previous session's;
`version` grows with every change of any row. Times ns UTC, prices 1/10,000; UNKNOWN where nobody said."""

QuoteRows = npt.NDArray[np.void]

_TAKEN = ("source", "flags", "at", "received", "price", "day_volume", "open_interest")
_BOOK = ("bid", "bid_quantity", "ask", "ask_quantity")
_DAY = ("open", "high", "low")
_FOREVER = int(np.iinfo(np.int64).max)

AHEAD = 5 * MINUTE
"""A tick stamped further ahead of market time is wrong, and would stand before all that follow: it is left out."""


class Said(NamedTuple):
    """What a feed last said: its state, the market time it said it at, and the last data before (ns UTC)."""

    state: FeedState
    at: int
    since: int


class QuotesKept(NamedTuple):
    """All that `Quotes` knows at one moment. `aside`: the newest ticks of feeds that are not the active one."""

    rows: QuoteRows
    stated: Ints
    opened: Ints
    feeds: dict[int, Said]
    active: int
    switches: int
    aside: Ticks
    prints: TotalsKept


class Quotes:
    """The latest quotes of instruments 0..count-1."""

    def __init__(self, count: int, sessions: Ints | None = None) -> None:
        """`sessions`: `Sessions.table()`; without it every tick counts for open, high and low."""
        self._rows = np.zeros(count, QUOTE)
        self._rows["instrument"] = np.arange(count)
        self._rows["session"] = -1
        for name in (*_TAKEN[2:], *_BOOK, *_DAY, "close"):
            self._rows[name] = UNKNOWN
        self._stated = np.full(count, -1, np.int64)
        self._opened = np.full(count, _FOREVER, np.int64)
        self._hours = sessions
        self._ahead = ahead(NO_TABLE if sessions is None else sessions)
        self._prints = PrintTotals(count)
        self.feeds: dict[int, Said] = {}
        self.active = 0
        self.unheard = False
        """Whether whoever tells us of ticks and marks cannot be heard now: nobody knows then how the feed is."""
        self.version = 0
        self.ticks = 0
        self.standby = 0
        self._limit = _FOREVER
        self._switches = 0
        self._aside: dict[int, Ticks] = {}

    @property
    def market_time(self) -> int:
        """ns UTC of the active feed's newest mark; 0 before the first."""
        said = self.feeds.get(self.active)
        return said.at if said else 0

    @property
    def state(self) -> FeedState | None:
        """The active feed's, DOWN while we are `unheard`; None before anybody has said."""
        said = self.feeds.get(self.active)
        return FeedState.DOWN if self.unheard else said.state if said else None

    def update(self, ticks: Ticks) -> None:
        """Take `TICK` rows, (n,), in arrival order, marks and closes among them."""
        self.version += 1
        marks = np.flatnonzero(ticks["kind"] == Kind.MARK)
        switches = marks[ticks["flags"][marks] == FeedState.ACTIVE]
        newest = max([self.market_time, *ticks["at"][marks].tolist()])
        self._limit = newest + AHEAD if newest else _FOREVER
        begin = 0
        for end in [*switches.tolist(), len(ticks)]:
            self._close(ticks[begin:end])
            self._take(ticks[begin:end])
            if end < len(ticks):
                self._switch(int(ticks["source"][end]), int(ticks["sequence"][end]))
            begin = end
        for k in marks:
            self._note(int(ticks["source"][k]), int(ticks["flags"][k]), int(ticks["at"][k]), int(ticks["quoted"][k]))

    def learn(self, candles: Candles) -> None:
        """Take what one-minute `CANDLE` rows, (n,), any order, know beyond the ticks that came.

        Open, high and low of the quote's session; the price, where no tick came since that minute; the previous close,
        where no vendor stated it.
        """
        rows = candles[(candles["interval"] == 60) & ((candles["trades"] != 0) | (candles["volume"] > 0))]
        rows = rows[np.argsort(rows["start"], kind="stable")]
        self.version += 1
        for day in np.unique(rows["session"]):
            today = rows[rows["session"] == day]
            self._learn(today[today["trades"] != 0], int(day))
            for instrument in self._prints.learn(today, int(day)).tolist():
                self._rows["day_volume"][instrument] = self._prints.total(instrument)
                self._rows["version"][instrument] = self.version

    def read(self, instruments: npt.ArrayLike) -> QuoteRows:
        """The quotes of some instruments, (k,) `QUOTE` rows in the order asked for; a copy."""
        return self._rows[np.asarray(instruments, np.int64)]

    def changed(self, instruments: Ints, since: int) -> Ints:
        """Those of the instruments, (k,), that changed after this version."""
        return instruments[self._rows["version"][instruments] > since]

    def snapshot(self) -> QuotesKept:
        """What is known now, as values of its own."""
        aside = [rows[rows["instrument"] >= 0] for rows in self._aside.values()]
        return QuotesKept(
            self._rows.copy(),
            self._stated.copy(),
            self._opened.copy(),
            dict(self.feeds),
            self.active,
            self._switches,
            np.concatenate(aside) if aside else NO_TICKS.copy(),
            self._prints.snapshot(),
        )

    def restore(self, kept: QuotesKept) -> None:
        """Go on from a snapshot of the same instruments, one that is not older than what is known here.

        Its versions are not ours: every row has changed, as far as a reader of this object can tell.
        """
        self.version += 1
        self._rows, self._stated, self._opened = kept.rows.copy(), kept.stated.copy(), kept.opened.copy()
        self._rows["version"] = self.version
        self.feeds, self.active, self._switches = dict(kept.feeds), kept.active, kept.switches
        self._aside = {}
        self._put_aside(kept.aside)
        self._prints.restore(kept.prints)

    def age(self, rows: QuoteRows) -> Ints:
        """ns of market time since each quote's trade, never negative; UNKNOWN where there is none, or no mark yet."""
        now = self.market_time
        known = (rows["at"] != UNKNOWN) & (now > 0)
        return np.where(known, np.maximum(now - np.where(known, rows["at"], 0), 0), UNKNOWN)

    def stale(self, rows: QuoteRows, beyond: int) -> npt.NDArray[np.bool_]:
        """Which quotes are older than `beyond` ns, of no known age, or of a feed that is mute or down."""
        if self.state in (None, FeedState.MUTE, FeedState.DOWN):
            return np.ones(len(rows), np.bool_)
        age = self.age(rows)
        return np.asarray((age == UNKNOWN) | (age > beyond))

    def _switch(self, source: int, number: int) -> None:
        """Another feed is the active one; of two switches, told by two partitions, the later one holds."""
        if number < self._switches:
            return
        self.active, self._switches = source, number
        kept = self._aside.pop(source, NO_TICKS)
        kept = kept[kept["instrument"] >= 0]
        rows = self._rows[kept["instrument"]]
        self._take(kept[(kept["at"] > rows["at"]) | (kept["day_volume"] > rows["day_volume"])])

    def _put_aside(self, ticks: Ticks) -> None:
        ticks = ticks[ticks["instrument"] < len(self._rows)]
        for source in np.unique(ticks["source"]).tolist():
            if source not in self._aside:
                self._aside[source] = np.zeros(len(self._rows), TICK)
                self._aside[source]["instrument"] = -1
            mine = ticks[ticks["source"] == source]
            last = mine[_last_of_each(mine["instrument"], len(self._rows))]
            self._aside[source][last["instrument"]] = last

    def _take(self, ticks: Ticks) -> None:
        ticks = ticks[ticks["kind"] == Kind.TICK]
        mine = ticks[(ticks["source"] == self.active) & (ticks["instrument"] < len(self._rows))]
        mine = mine[mine["at"] <= self._limit]
        self.standby += len(ticks) - len(mine)
        if len(mine) < len(ticks):
            self._put_aside(ticks[ticks["source"] != self.active])
        self.ticks += len(mine)
        day = (mine["at"] + self._ahead) // DAY
        for run in np.split(mine, np.flatnonzero(np.diff(day)) + 1) if len(mine) else []:
            self._take_day(run, int(run["at"][0] + self._ahead) // DAY)

    def _take_day(self, ticks: Ticks, day: int) -> None:
        rows = self._rows
        ticks = ticks[rows["session"][ticks["instrument"]] <= day]
        ranging = ticks[:0]
        if (ticks["flags"] & Flag.PRINT).any():
            ticks, ranging = self._sum(ticks, day)
        last = ticks[_last_of_each(ticks["instrument"], len(rows))]
        who = last["instrument"]
        self._turn(who[rows["session"][who] < day], day)
        for name in (*_TAKEN, *_BOOK):
            rows[name][who] = last[name]
        rows["version"][who] = self.version
        counted = ticks[self._continuous(ticks["at"])]
        price = counted["price"]
        firsts = counted[_first_of_each(counted["instrument"], len(rows))]
        self._open(firsts[rows["open"][firsts["instrument"]] == UNKNOWN], "price", "at")
        self._widen(counted["instrument"], price, price)
        self._stretch(ranging)

    def _sum(self, ticks: Ticks, day: int) -> tuple[Ticks, Ticks]:
        """The ticks that set a last price, with the day's volume so far, and the prints that only count for the range.

        Repeats are in neither.
        """
        told = (ticks["flags"] & Flag.PRINT) != 0
        prints = ticks[told]
        inside = self._continuous(prints["at"])
        new, totals = self._prints.add(prints, inside, day)
        who = prints["instrument"][new]
        self._turn(np.unique(who[self._rows["session"][who] < day]), day)
        self._rows["day_volume"][prints["instrument"]] = totals
        self._rows["version"][who] = self.version
        ranging: Ticks = prints[new & inside & ((prints["flags"] & Flag.RANGE_ONLY) != 0)]
        ticks = ticks.copy()
        ticks["day_volume"][told] = self._rows["day_volume"][prints["instrument"]]
        kept = ~told
        kept[told] = new & ((prints["flags"] & (Flag.VOLUME_ONLY | Flag.RANGE_ONLY)) == 0)
        return np.asarray(ticks[kept]), ranging

    def _stretch(self, ticks: Ticks) -> None:
        ticks = ticks[self._rows["low"][ticks["instrument"]] != UNKNOWN]
        np.maximum.at(self._rows["high"], ticks["instrument"], ticks["price"])
        np.minimum.at(self._rows["low"], ticks["instrument"], ticks["price"])

    def _turn(self, who: Ints, day: int) -> None:
        unstated = who[self._stated[who] < day]
        self._rows["close"][unstated] = self._rows["price"][unstated]
        self._rows["session"][who] = day
        for name in _DAY:
            self._rows[name][who] = UNKNOWN
        self._opened[who] = _FOREVER

    def _close(self, ticks: Ticks) -> None:
        stated = ticks[(ticks["kind"] == Kind.CLOSE) & (ticks["instrument"] < len(self._rows))]
        last = _last_of_each(stated["instrument"], len(self._rows))
        who = stated["instrument"][last]
        self._rows["close"][who] = stated["price"][last]
        self._rows["version"][who] = self.version
        heard = np.maximum(stated["at"][last], stated["received"][last])
        self._stated[who] = (heard + self._ahead) // DAY

    def _learn(self, candles: Candles, day: int) -> None:
        rows = self._rows
        newest = candles[_last_of_each(candles["instrument"], len(rows))]
        who = newest["instrument"]
        self._turn(who[rows["session"][who] < day], day)
        earlier = newest[(rows["session"][who] > day) & (rows["close"][who] == UNKNOWN)]
        rows["close"][earlier["instrument"]] = earlier["close"]
        missed = newest[(rows["session"][who] == day) & (rows["at"][who] < newest["start"])]
        for name in ("day_volume", *_BOOK):
            rows[name][missed["instrument"]] = UNKNOWN
        rows["price"][missed["instrument"]] = missed["close"]
        rows["at"][missed["instrument"]] = rows["received"][missed["instrument"]] = missed["start"] + MINUTE - 1
        rows["version"][who] = self.version
        today = candles[rows["session"][candles["instrument"]] == day]
        firsts = today[_first_of_each(today["instrument"], len(rows))]
        sooner = firsts["start"] // MINUTE <= self._opened[firsts["instrument"]] // MINUTE
        self._open(firsts[sooner], "open", "start")
        self._widen(today["instrument"], today["high"], today["low"])

    def _open(self, firsts: npt.NDArray[np.void], price: str, at: str) -> None:
        who = firsts["instrument"]
        self._rows["open"][who] = firsts[price]
        self._opened[who] = firsts[at]

    def _widen(self, who: npt.NDArray[np.int32], highs: Ints, lows: Ints) -> None:
        rows = self._rows
        bare = np.unique(who[rows["low"][who] == UNKNOWN])
        rows["low"][bare] = np.iinfo(np.int64).max
        np.maximum.at(rows["high"], who, highs)
        np.minimum.at(rows["low"], who, lows)

    def _continuous(self, at: Ints) -> npt.NDArray[np.bool_]:
        if self._hours is None:
            return np.ones(len(at), np.bool_)
        if not len(self._hours):
            return np.zeros(len(at), np.bool_)
        today = self._hours[np.maximum(np.searchsorted(self._hours[:, 0], at, side="right") - 1, 0)]
        inside = (at >= today[:, 2]) & (at < today[:, 3])
        for p in range(HOURS, today.shape[1], 2):
            inside &= (at < today[:, p]) | (at >= today[:, p + 1])
        return np.asarray(inside)

    def _note(self, source: int, state: int, at: int, since: int) -> None:
        before = self.feeds.get(source)
        if state != FeedState.ACTIVE and (before is None or at >= before.at):
            self.feeds[source] = Said(FeedState(state), at, since)


def change(rows: QuoteRows) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Price less previous close, money (n,), and in per cent (n,); UNKNOWN and NaN where either is not known."""
    known = (rows["price"] != UNKNOWN) & (rows["close"] != UNKNOWN) & (rows["close"] != 0)
    close = np.where(known, rows["close"], 1)
    moved = np.where(known, rows["price"], close) - close
    return np.where(known, moved, UNKNOWN), np.where(known, 100.0 * moved / close, np.nan)


def _last_of_each(who: npt.NDArray[np.int32], count: int) -> Ints:
    place = np.full(count, -1, np.int64)
    place[who] = np.arange(len(who))
    return place[place >= 0]


def _first_of_each(who: npt.NDArray[np.int32], count: int) -> Ints:
    return len(who) - 1 - _last_of_each(who[::-1], count)
