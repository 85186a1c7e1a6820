"""Features live: the newest rows of a shard's instruments, stepped a closed minute at a time.

It remembers what the features declare and no more. Of the whole market it keeps the closes of a session, as breadth
needs them. What it answers for a minute equals what `compute` answers for the candles known at that minute's end: a
correction changes the rows behind it, and nothing that was answered already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from market.candles import INTERVALS, NO_CANDLES, Candles, newest_revisions
from market.features import anchored, crowd, rows, technical
from market.features.anchored import Day
from market.features.feature import TIMEFRAMES, Unknown
from market.features.moving import Floats, mean
from market.features.ring import Ring
from market.features.series import (
    SERIES,
    STALE,
    Factors,
    Ints,
    Series,
    days_of,
    has_prices,
    hours_of,
    newest_of,
    reasons,
    rolled,
    series_of,
    stale,
)
from market.features.technical import Bars
from market.models.examples import CHANNELS, LENGTH, Floats32, scaled, steps
from market.sessions import MINUTE, SECOND

LONGER = ("5m", "15m")

NO_SERIES: Series = np.zeros(0, SERIES)

MEMORY = {name: technical.memory(name) for name in TIMEFRAMES}
"""Rows of each timeframe that a window holds, and of minutes at least a session with what goes before it. Warmed with
as many, its values are those of all history.
"""


class Window:
    """The live features of some instruments.

    `mine`: their ids; `members`: the groups of the whole universe; `sessions`: `Sessions.table()`.
    """

    def __init__(self, mine: Sequence[int], members: crowd.Members, sessions: Ints) -> None:
        self._mine = np.array(sorted(mine), np.int64)
        self._members = members
        count, everyone = len(self._mine), len(members.group)
        self._slot = np.full(everyone, -1, np.int64)
        self._slot[self._mine] = np.arange(count)
        self._hours = hours_of(sessions)
        longest = int((self._hours.closes - self._hours.opens).max(initial=0)) // MINUTE
        self._span = longest + crowd.MEMORY
        self._minutes = Ring(count, max(MEMORY["1m"], self._span))
        self._longer = {name: Ring(count, MEMORY[name]) for name in LONGER}
        self._days = Ring(count, MEMORY["1d"])
        self._closes = Ring(everyone, self._span, ("start", "session", "close", "revision"))
        self._last_day = np.full(everyone, -1, np.int64), np.full(everyone, np.nan), np.zeros(everyone)
        self._waiting = NO_CANDLES
        self._open: dict[str, tuple[int, int] | None] = dict.fromkeys(LONGER)
        self._values: dict[str, Floats] = {}
        self._usual = np.full(count, np.nan)
        self._factors: dict[int, list[tuple[int, float, float]]] = {}
        self._newest = -1
        self._session = -1
        self._before = np.full(everyone, np.nan)
        self.outdated: set[int] = set()
        """Instruments corrected further back than is remembered here: `forget` and `warm` them again."""
        self.corrected = 0
        """Rows of minutes that were here before."""
        self.foreign = 0
        """Rows of instruments that are not of the universe, left out."""

    def warm(self, minutes: Candles, daily: Candles) -> None:
        """Take in history, 1 m and 1 d `CANDLE` rows of all instruments in any order; again for more of it, oldest
        first. Factors are to be told before.
        """
        self._wait(self._ours(daily))
        minutes = self._ours(minutes)
        minutes = newest_revisions(minutes[minutes["interval"] == INTERVALS["1m"]])
        minutes = minutes[self._hours.place(minutes["start"]) >= 0]
        if not len(minutes):
            return
        self._newest = max(self._newest, int(minutes["start"].max()))
        for one, candles in _by_instrument(minutes):
            self._merge(one, self._replacing(candles))
        for name in LONGER:
            bucket = self._bucket(self._newest, name)
            self._open[name] = bucket if self._newest + MINUTE < bucket[1] else None

    def adjust(self, instrument: int, price: float, before: int, volume: float | None = None) -> None:
        """Multiply an instrument's prices of sessions before this one, days since 1970-01-01, by `price` and its
        volumes by `volume`, 1 / price unless told: of what is held, and of what comes in later.
        """
        volume = 1 / price if volume is None else volume
        self._factors.setdefault(instrument, []).append((before, price, volume))
        self._closes.rescale(instrument, price, volume, before)
        if self._last_day[0][instrument] < before:
            self._last_day[1][instrument] *= price
        slot = int(self._slot[instrument])
        if slot >= 0:
            for ring in (self._minutes, *self._longer.values(), self._days):
                ring.rescale(slot, price, volume, before)
            self._usual = mean(self._days.tail("volume", 20), 20)[:, -1]
            self._values.clear()

    def forget(self, instrument: int) -> None:
        """Empty what is held of an instrument's minutes, to `warm` it again."""
        self._closes.replace(instrument, NO_SERIES)
        slot = int(self._slot[instrument])
        if slot >= 0:
            for ring in (self._minutes, *self._longer.values()):
                ring.replace(slot, NO_SERIES)
            self._values.clear()
        self.outdated.discard(instrument)

    def step(self, candles: Candles) -> rows.FeatureRows:
        """Take in the `CANDLE` rows of a closed minute, of all instruments; return the `FEATURE` rows of mine, (k,).

        Longer intervals are made here and left out, but for 1 d, which counts from the next session on. A row of a
        minute that was here before is a correction, if its revision is not lower: it changes what comes after it. One
        outside of every session is unknown and changes nothing.
        """
        candles = self._ours(candles)
        self._wait(candles[candles["interval"] == INTERVALS["1d"]])
        candles = newest_revisions(candles[candles["interval"] == INTERVALS["1m"]])
        outside = self._hours.place(candles["start"]) < 0
        mine = candles[outside & (self._slot[candles["instrument"]] >= 0)]
        made = [rows.unknown_rows(mine, np.full(len(mine), Unknown.NO_SESSION, np.uint8))]
        candles = candles[~outside]
        late = candles["start"] <= self._newest
        self.corrected += int(np.count_nonzero(late))
        for one, corrections in _by_instrument(candles[late]):
            self._correct(one, self._replacing(corrections))
        fresh = candles[~late]
        made += [self._minute(fresh[fresh["start"] == start]) for start in np.unique(fresh["start"])]
        return np.concatenate(made)

    def sequences(self, made: rows.FeatureRows) -> Floats32:
        """The sequence of each of the rows, (k,), that `step` answered for its newest minute, as `sequences` of models
        makes it: (k, LENGTH, len(CHANNELS)), NaN where the minute has no price or its past is not whole.
        """
        slots = self._slot[made["instrument"]]
        tails = {name: self._minutes.tail(name, LENGTH + 1)[slots] for name in ("high", "low", "close", "volume")}
        whole = np.isfinite(tails["close"][:, 0]) & self._priced(made)
        out = np.full((len(made), LENGTH, len(CHANNELS)), np.nan, np.float32)
        if whole.any():
            out[whole] = scaled(steps(**{name: tail[whole] for name, tail in tails.items()})[:, 1:])
        return out

    def closes(self, made: rows.FeatureRows) -> Floats:
        """The minutes' closes of each of the rows, (k,), that `step` answered for its newest minute, as far back as is
        held: (k, MEMORY of 1 m), 1/10,000, the newest last, NaN before the first and where the minute has no price.
        """
        found: Floats = self._minutes.tail("close", MEMORY["1m"])[self._slot[made["instrument"]]]
        found[~self._priced(made)] = np.nan
        return found

    def previous(self, made: rows.FeatureRows) -> Floats:
        """The close before the session of each of the rows, (k,), that `step` answered for its newest minute, 1/10,000,
        NaN where it is not known or the minute has no price.
        """
        return np.where(self._priced(made), self._before[made["instrument"]], np.nan)

    def _priced(self, made: rows.FeatureRows) -> npt.NDArray[np.bool_]:
        return np.asarray(self._minutes.tail("start", 1)[self._slot[made["instrument"]], 0] == made["start"])

    def _minute(self, candles: Candles) -> rows.FeatureRows:
        """The rows of one minute that is newer than all before."""
        start = int(candles["start"][0])
        place = int(self._hours.place(candles["start"][:1])[0])
        why = reasons(candles, np.full(len(candles), place))
        self._newest = start
        if self._session != self._hours.day[place]:
            self._begin(int(self._hours.day[place]))
        told = self._told(candles[why == Unknown.KNOWN])
        who = candles["instrument"][why == Unknown.KNOWN].astype(np.int64)
        self._append(who, told, start)
        out = rows.unknown_rows(candles, why)
        known = np.flatnonzero((why == Unknown.KNOWN) & (self._slot[candles["instrument"]] >= 0))
        if len(known):
            slots = self._slot[candles["instrument"][known]]
            old = stale(self._minutes.tail("quiet", STALE), self._minutes.tail("session", STALE).astype(np.float64))
            old = old[slots, -1]
            values = self._all_values(who, start, place)[:, slots]
            values[:, old] = np.nan
            out["values"][known] = values.T
            out["unknown"][known] = np.where(old, Unknown.STALE, Unknown.KNOWN)
        mine: rows.FeatureRows = out[self._slot[candles["instrument"]] >= 0]
        return mine

    def _append(self, who: Ints, told: Series, start: int) -> None:
        """A new minute: longer candles that ended before it or end with it are made."""
        buckets = {name: self._bucket(start, name) for name in LONGER}
        for name in LONGER:
            if self._open[name] is not None and self._open[name] != buckets[name]:
                self._close(name)
        own = self._slot[who] >= 0
        self._closes.append(who, told)
        self._minutes.append(self._slot[who[own]], told[own])
        for name, bucket in buckets.items():
            self._open[name] = bucket
            if start + MINUTE >= bucket[1]:
                self._close(name)

    def _close(self, name: str) -> None:
        """Make the longer candles of the open bucket, of those instruments that have a minute in it."""
        begin, end = self._open[name] or (0, 0)
        self._open[name] = None
        width = TIMEFRAMES[name] // TIMEFRAMES["1m"]
        starts = self._minutes.tail("start", width)
        inside = (starts >= begin) & (starts < end)
        who = np.flatnonzero(inside.any(axis=1))
        if not len(who):
            return
        inside = inside[who]
        first, last = inside.argmax(axis=1), width - 1 - inside[:, ::-1].argmax(axis=1)
        bars, each = self._minutes.bars(width), np.arange(len(who))
        made = np.zeros(len(who), SERIES)
        made["start"], made["session"] = begin, self._minutes.tail("session", width)[who, last]
        made["open"], made["close"] = bars.open[who][each, first], bars.close[who][each, last]
        made["high"] = np.where(inside, bars.high[who], -np.inf).max(axis=1)
        made["low"] = np.where(inside, bars.low[who], np.inf).min(axis=1)
        made["volume"] = np.where(inside, bars.volume[who], 0.0).sum(axis=1)
        self._longer[name].append(who, made)
        self._values.pop(name, None)

    def _begin(self, session: int) -> None:
        """A session opens: the daily candles before it count now."""
        self._session = session
        due = self._waiting["session"] < session
        daily, self._waiting = self._waiting[due & has_prices(self._waiting)], self._waiting[~due]
        told = days_of(daily, self._factors_of(daily))
        order = np.lexsort((told["revision"], told["session"], daily["instrument"]))
        told, who = told[order], daily["instrument"][order].astype(np.int64)
        once = np.append((np.diff(who) != 0) | (np.diff(told["session"]) != 0), True)[: len(who)]
        told, who = told[once], who[once]
        days, closes, revisions = self._last_day
        for day in np.unique(told["session"]):
            today = np.flatnonzero(told["session"] == day)
            at, revision = who[today], told["revision"][today]
            newer = (days[at] < day) | ((days[at] == day) & (revision >= revisions[at]))
            days[at[newer]], closes[at[newer]] = day, told["close"][today[newer]]
            revisions[at[newer]] = revision[newer]
            own = today[self._slot[who[today]] >= 0]
            slots = self._slot[who[own]]
            last = self._days.tail("session", 1)[slots, 0]
            self._days.append(slots[last < day], told[own[last < day]])
            for slot, row in zip(slots[last >= day].tolist(), own[last >= day].tolist(), strict=True):
                self._days.replace(slot, newest_of(self._days.series(slot), told[row : row + 1]))
        self._usual = mean(self._days.tail("volume", 20), 20)[:, -1]
        self._values.pop("1d", None)

    def _correct(self, one: int, told: Series) -> None:
        """Rows of minutes that were here before; what lies behind the oldest that is held cannot be put right."""
        slot = int(self._slot[one])
        if slot >= 0 and self._minutes.full(slot):
            first = self._bucket(int(self._minutes.tail("start", self._minutes.keep)[slot, 0]), LONGER[-1])
            held = told["start"] >= first[1]
            if not held.all():
                self.outdated.add(one)
            told = told[held]
        if len(told):
            self._merge(one, told)

    def _merge(self, one: int, told: Series) -> None:
        """Put rows among those of an instrument, and make its longer candles again."""
        self._closes.replace(one, newest_of(self._closes.series(one), told))
        slot = int(self._slot[one])
        if slot < 0:
            return
        cut = self._minutes.full(slot)
        series = newest_of(self._minutes.series(slot), told)
        self._minutes.replace(slot, series)
        if not len(series):
            return
        for name, ring in self._longer.items():
            made, _ = rolled(series, self._hours, TIMEFRAMES[name])
            closes = self._hours.closes[self._hours.place(made["start"])]
            ends = np.minimum(made["start"] + TIMEFRAMES[name] * SECOND, closes)
            first = int(made["start"][min(int(cut), len(made) - 1)])
            made = made[(made["start"] >= first) & (ends <= self._newest + MINUTE)]
            known = ring.series(slot)
            ring.replace(slot, np.concatenate([known[known["start"] < first], made]))
            self._values.pop(name, None)

    def _all_values(self, who: Ints, start: int, place: int) -> Floats:
        """(features, mine) at the newest minute, in which `who` of all instruments have a price."""
        out = np.empty((len(rows.FEATURES), len(self._mine)))
        out[rows.PARTS["1m"]] = technical.values(self._minutes.bars(MEMORY["1m"]), "1m", newest=True)[..., 0]
        for name, ring in (*self._longer.items(), ("1d", self._days)):
            if name not in self._values:
                self._values[name] = technical.values(ring.bars(ring.keep), name, newest=True)[..., 0]
            out[rows.PARTS[name]] = self._values[name]
        self._before = previous = self._previous()
        out[rows.PARTS["session"]] = self._anchored(place, previous[self._mine])
        close = self._closes.tail("close", crowd.MEMORY)
        moved = crowd.returns(close, previous[:, None])[:, who, -1]
        groups = self._members.group[who]
        starts = np.full(len(who), start)
        market = crowd.Market(crowd.grouped(starts, groups, close[who, -1], moved), self._members)
        own = np.full(len(self._mine), start), self._members.group[self._mine], rows.own_returns(out)
        out[rows.PARTS["market"]] = market.values(*own)
        return out

    def _previous(self) -> Floats:
        """Every instrument's close before this session, (everyone,)."""
        session = self._closes.tail("session", self._span)
        earlier = (session >= 0) & (session < self._session)
        at = self._span - 1 - earlier[:, ::-1].argmax(axis=1)
        each = np.arange(len(session))
        day, close, _ = self._last_day
        by_minute = np.where(earlier.any(axis=1), session[each, at], -1)
        known = np.where(day >= by_minute, close, self._closes.tail("close", self._span)[each, at])
        return np.where((day >= 0) | (by_minute >= 0), known, np.nan)

    def _anchored(self, place: int, previous: Floats) -> Floats:
        session = self._minutes.tail("session", self._span)
        count = (session == self._session).sum(axis=1)
        width = max(int(count.max()), 1)
        start = (self._minutes.tail("start", width) - self._hours.opens[place]).astype(np.float64)
        bars = Bars(*(column.copy() for column in self._minutes.bars(width)))
        for k in np.flatnonzero(count != width).tolist():
            for grid in (start, *bars):
                grid[k, : count[k]] = grid[k, width - count[k] :]
                grid[k, count[k] :] = np.nan
        length = np.full((len(count), 1), float(self._hours.closes[place] - self._hours.opens[place]))
        with np.errstate(invalid="ignore"):
            made = anchored.values(Day(start, bars, length, previous[:, None], self._usual[:, None]))
        now = made[:, np.arange(len(count)), np.maximum(count - 1, 0)]
        bars, trend = self._minutes.bars(width + anchored.SUPERTREND), np.full((2, len(count)), np.nan)
        for k in np.flatnonzero(count).tolist():
            one = slice(width - count[k], None)
            columns = bars.high[k, one], bars.low[k, one], bars.close[k, one]
            trend[:, k] = anchored.supertrend(*columns, anchored.SUPERTREND)[:, -1]
        return np.concatenate([now, trend])

    def _told(self, candles: Candles) -> Series:
        """As series rows, adjusted."""
        return series_of(candles, self._factors_of(candles))

    def _factors_of(self, candles: Candles) -> Factors | None:
        if not self._factors:
            return None
        factors = Factors(np.ones(len(candles)), np.ones(len(candles)))
        for one in np.intersect1d(candles["instrument"], list(self._factors)).tolist():
            for before, price, volume in self._factors[one]:
                earlier = (candles["instrument"] == one) & (candles["session"] < before)
                factors.price[earlier] *= price
                factors.volume[earlier] *= volume
        return factors

    def _replacing(self, candles: Candles) -> Series:
        """As series rows that take the place of others; the close of those without a price is NaN."""
        told = self._told(candles)
        told["close"][reasons(candles, self._hours.place(candles["start"])) != Unknown.KNOWN] = np.nan
        return told

    def _wait(self, daily: Candles) -> None:
        if len(daily):
            daily = daily[daily["interval"] == INTERVALS["1d"]]
            self._waiting = newest_revisions(np.concatenate([self._waiting, daily]))

    def _ours(self, candles: Candles) -> Candles:
        ours = (candles["instrument"] >= 0) & (candles["instrument"] < len(self._slot))
        self.foreign += int(len(ours) - np.count_nonzero(ours))
        kept: Candles = candles[ours]
        return kept

    def _bucket(self, start: int, name: str) -> tuple[int, int]:
        """Begin and end of the longer candle that holds a minute of a session, ns UTC."""
        place = int(self._hours.place(np.array([start]))[0])
        step, opens = TIMEFRAMES[name] * SECOND, int(self._hours.opens[place])
        begin = opens + (start - opens) // step * step
        return begin, min(begin + step, int(self._hours.closes[place]))


def _by_instrument(candles: Candles) -> Iterator[tuple[int, Candles]]:
    """Each instrument's rows, of candles ordered by instrument."""
    ends = np.flatnonzero(np.diff(candles["instrument"])) + 1
    for rows_of in np.split(candles, ends):
        if len(rows_of):
            yield int(rows_of["instrument"][0]), rows_of
