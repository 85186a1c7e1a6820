"""The candle fold: ticks and marks in, closed candles out. The one module that loads Numba.

Time moves only with the marks among the ticks, so the result does not depend on the clock or on how a log is cut into
batches. The rules, in the order in which a tick meets them:

- One of an instrument of another partition is *foreign*, one without a price *unpriced*: counted, left out.
- A tick of a feed that is not the active one waits while the active one is LIVE. Once the active one vouches for a time
  `WAIT` behind the tick's own it is *standby*: counted, left out. When the active one is found MUTE or DOWN, or another
  becomes the active one, all that wait are folded in the order in which they came. While the active one is not LIVE,
  and always where feeds `arbitrate`, the ticks of all feeds count as they come.
- Its session is the one whose day in India holds `at`. Before that session's open it moves the volume base and folds
  into no candle; at or after the close it is *off session*. In a pause between two halves of a session it moves the
  base likewise: a pause has no minutes, neither quiet ones nor gaps.
- Behind the frontier (its minute is closed) it is *late*: counted, left out; its volume arrives with the next packet,
  because brokers send the running total. More than `OPEN_MINUTES` ahead of the frontier its stamp is wrong: *early*,
  left out.
- Equal to the last folded tick in `at`, day volume and price it is a *duplicate*.
- Where another feed moved the instrument last, it is a *duplicate* too unless it is ahead (its day volume is above the
  session's highest, or its `at` is later), or its feed has shown that last folded tick before: then its feed is level
  with the other, and what it says next is new. So overlap counts once, and the first feed to tell a trade wins. One
  that is behind still widens its minute: a price that was told twice widens nothing.
- It counts for prices if its volume rose, its price changed, or (instruments without a volume) its `at` is new; else
  it is *unchanged*: a packet that only moved the book.
- Open is the earliest (at, arrival), close the latest. A volume below the session's highest is old: it adds none and
  sets no close.
- The first packet of a session has base 0 if the feeds, one after the other, were LIVE since before the open; else its
  own volume is the base, it adds nothing, and the minute is incomplete.
- A print (`Flag.PRINT`) adds its own size, whatever came before it. It is a *duplicate* if its instant, price, size and
  number equal one of the instrument's last `HEARD` prints of the session; one stamped before all that are still
  remembered may be either, and is *late*. One that counts for volume only sets no price and is no trade of the candle;
  a minute that had no others carries the last price. The feeds of one universe send all prints, or all totals.
- The first volume behind a stretch in which no feed was LIVE holds what was traded in that stretch: its minute is
  incomplete, however long the feed has been back.

Nothing that any feed told in time is lost, wherever the switch stands in the log: it moves the frontier to another feed
and changes no candle, if both tell one instrument's packets in one order and not further apart than the grace, less the
second between two marks.

A minute closes when the active feed's mark, less the grace, has passed its end. A session that one mark jumps over from
before its open to behind its close leaves no rows: nobody was there to see it.

A repair (`market.corrections`) comes through the same log. It makes new revisions of minutes and of the longer candles
that were closed with them; those still open are rolled again, so that they close as if the minutes had been so before.
A repaired minute may not know its trades or its vwap; what is rolled from it does not know them either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from market import corrections
from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.sessions import DAY, HOURS, MINUTE, SECOND
from market.ticks import TICK, FeedState, Flag, Kind, Ticks

OPEN_MINUTES = 4
HEARD = 256
FEEDS = 16
PAST = 64
WAIT = 5 * SECOND
"""A feed that dies has vouched for at most a second too much; the rest is for a standby that is quicker or slower."""
MOST_WAITING = 1 << 19
"""Of more ticks than these the older half is let go."""
MARKS_APART = 2 * SECOND
"""The longest a feed that is LIVE says nothing."""

COUNTS = ("ticks", "late", "duplicate", "unchanged", "off_session", "early", "unpriced", "foreign", "standby", "marks")
TICKS, LATE, DUPLICATE, UNCHANGED, OFF_SESSION, EARLY, UNPRICED, FOREIGN, STANDBY, MARKS = range(len(COUNTS))

ROLLUPS = np.array([seconds * SECOND for name, seconds in INTERVALS.items() if name != "1m"], np.int64)

_OHLC = [
    ("open", "i8"),
    ("high", "i8"),
    ("low", "i8"),
    ("close", "i8"),
    ("volume", "i8"),
    ("turnover", "i8"),
    ("trades", "i8"),
    ("oi", "i8"),
]
_LAST = np.dtype(
    [
        ("session", "i8"),
        ("at", "i8"),
        ("volume", "i8"),
        ("price", "i8"),
        ("base", "i8"),
        ("carry", "i8"),
        ("carry_oi", "i8"),
        ("instrument", "i8"),
        ("minute", "i8"),
        ("source", "i8"),
        ("hole", "i8"),
    ]
)
_SHOWN = np.dtype([("at", "i8"), ("volume", "i8"), ("price", "i8")])
_MINUTE = np.dtype([("start", "i8"), ("open_at", "i8"), ("close_at", "i8"), ("known_from", "i8"), *_OHLC])
_BUCKET = np.dtype([("start", "i8"), ("minutes", "i8"), ("gaps", "i8"), ("repaired", "i8"), ("covered", "f8"), *_OHLC])
_FEED = np.dtype([("state", "i8"), ("live_from", "i8"), ("mark", "i8"), ("incarnation", "i8")])

# What the whole partition shares, as an int64 vector. HOLE: the end of the newest stretch in which no feed was LIVE;
# GAP_SINCE: the start of the first of the GAP minutes that were closed last, 0 when the last one was none.
SESSION, NEXT, ACTIVE, PASTS, STARTED, FRONTIER, HOLE, GAP_SINCE, WAITING = range(9)
_WORLD = 9

_DONE, _FULL, _REVISE, _ROOM = 0, 1, 2, 3
_NOTHING, _BEHIND, _NEW = 0, 1, 2
_NEVER = np.iinfo(np.int64).max
_VERSION = 4

_LIVE, _CLOSED, _ACTIVE = int(FeedState.LIVE), int(FeedState.CLOSED), int(FeedState.ACTIVE)
_TICK, _MARK = int(Kind.TICK), int(Kind.MARK)
_P_LIVE, _P_GAP, _P_REPAIRED = int(Provenance.LIVE), int(Provenance.GAP), int(Provenance.REPAIRED)
_PRINT, _VOLUME_ONLY, _RANGE_ONLY = int(Flag.PRINT), int(Flag.VOLUME_ONLY), int(Flag.RANGE_ONLY)

# The prints an instrument remembers, as an int64 vector: the session they are of, where the next one goes, the newest
# instant, the newest one forgotten; then `HEARD` instants and as many keys.
_H_SESSION, _H_NEXT, _H_NEWEST, _H_FORGOTTEN, _H_AT, _H_KEY, _H_WIDTH = 0, 1, 2, 3, 4, 4 + HEARD, 4 + 2 * HEARD


class CandleBuilder:
    """The open candles of one partition's instruments.

    `instruments`: ids, (n,); `sessions`: `Sessions.table()`, (m, 4 + 2 p); `grace`: ns of market time a minute stays
    open for stragglers, below a minute; `arbitrate`: every feed's ticks count, the first to tell a trade wins.
    """

    def __init__(
        self,
        instruments: Sequence[int],
        sessions: npt.NDArray[np.int64],
        grace: int = 2 * SECOND,
        *,
        arbitrate: bool = False,
    ) -> None:
        if not 0 <= grace < MINUTE:
            raise BadValue("grace", grace, "0 to 60 s, in ns")
        self._ids = np.array(sorted(instruments), np.int64)
        self._slots = np.full(int(self._ids[-1]) + 1 if len(self._ids) else 0, -1, np.int64)
        self._slots[self._ids] = np.arange(len(self._ids))
        self._sessions = np.ascontiguousarray(sessions)
        self._grace = grace
        self._arbitrate = arbitrate
        self._clear()

    def _clear(self) -> None:
        n = len(self._ids)
        self._last = np.zeros(n, _LAST)
        for name in ("session", "volume", "minute", "source"):
            self._last[name] = -1
        for name in ("at", "price", "base", "carry", "carry_oi"):
            self._last[name] = UNKNOWN
        self._last["instrument"] = self._ids
        self._minutes = np.zeros((n, OPEN_MINUTES), _MINUTE)
        self._minutes["start"] = -1
        self._buckets = np.zeros((n, len(ROLLUPS)), _BUCKET)
        self._buckets["start"] = -1
        self._feeds = np.zeros(FEEDS, _FEED)
        self._past = np.zeros((PAST, 2), np.int64)
        self._world = np.zeros(_WORLD, np.int64)
        self._counts = np.zeros(len(COUNTS), np.int64)
        self._recent = np.zeros(0, CANDLE)
        self._shown = _nothing_shown(n, 0)
        self._waiting = np.zeros(0, TICK)
        self._prints = np.zeros((0, _H_WIDTH), np.int64)  # most feeds send none: made when the first one comes
        self.refused = 0
        """Proposals of repairs that were no closed minute of a session, or no candle."""

    @property
    def counts(self) -> dict[str, int]:
        """How many rows met which rule, since the state began."""
        return dict(zip(COUNTS, self._counts.tolist(), strict=True))

    @property
    def frontier(self) -> int:
        """ns UTC before which every minute is closed; 0 before the first mark."""
        return int(self._world[NEXT]) if self._world[STARTED] else 0

    @property
    def market_time(self) -> int:
        """ns UTC of the active feed's newest mark; 0 before the first."""
        return int(self._world[FRONTIER]) + self._grace if self._world[STARTED] else 0

    @property
    def gap_since(self) -> int:
        """ns UTC at which the GAP minutes that were closed last begin; 0 when the last minute was none."""
        return int(self._world[GAP_SINCE])

    def step(self, ticks: Ticks) -> Candles:
        """Fold in `TICK` rows, (n,), marks in their place; return the `CANDLE` rows they closed, (k,).

        The result does not depend on how a log is cut into batches. Raises BadPayload for rows of another dtype.
        """
        if ticks.dtype != TICK:
            raise BadPayload("ticks", b"", f"rows are {ticks.dtype}, not TICK")
        closed: list[Candles] = []
        begin, room = 0, self._room()
        while True:
            out = np.empty(room, CANDLE) if begin or self._may_close(ticks) else np.empty(0, CANDLE)
            begin, wrote, recent, status = _fold(
                ticks, begin, out, self._slots, self._sessions, self._grace, self._last, self._minutes, self._buckets,
                self._feeds, self._past, self._world, self._counts, self._prints, self._shown, self._waiting,
                self._arbitrate,
            )  # fmt: skip
            if wrote:
                closed.append(out[:wrote])
                self._recent = out[recent:wrote].copy()
            if status == _REVISE:
                closed.append(self._revise())
                begin += 1
            if status == _ROOM:
                self._make_room(ticks[begin])
            if status == _DONE:
                break
            room = self._room()
        return np.concatenate(closed) if closed else np.zeros(0, CANDLE)

    def repair(self, entry: Candles, known: Candles) -> Candles:
        """Take in a repair entry's `CANDLE` rows, (n,); return the rows of higher revisions it comes to, (k,).

        `known`: all candles of its instruments and sessions that were published before it, (m,), as far as anybody has
        them. The result depends on nothing but these and the rows folded before.
        """
        seen = np.concatenate([known, entry[entry["revision"] != corrections.PROPOSED]])
        entry = entry[np.isin(entry["instrument"], self._ids)]
        patched, refused = corrections.patches(entry, known, self._sessions, self.frontier)
        self.refused += refused
        parts = [corrections.official(entry, seen)]
        for patch in patched:
            parts += [patch.rows[patch.changed], corrections.revised(self._roll_again(patch), seen)]
        out = np.concatenate(parts)
        self._recent = _replaced(self._recent, out)
        return out

    def _roll_again(self, patch: corrections.Patch) -> Candles:
        """The closed longer candles of a patched session that hold a changed minute; renews those still open."""
        session = self._sessions[patch.session]
        last = self._newest_session()
        rolled: list[Candles] = []
        for rows, changed in zip(patch.rows, patch.changed, strict=True):
            if not changed.any():
                continue
            buckets = np.zeros(len(ROLLUPS), _BUCKET)
            buckets["start"] = -1
            out = np.empty(len(rows) * len(ROLLUPS), CANDLE)
            out = out[: _roll_all(rows, session, buckets, out)]
            first = np.searchsorted(rows["start"], out["start"])
            until = np.searchsorted(rows["start"], out["start"] + out["interval"].astype(np.int64) * SECOND)
            before = np.append(0, np.cumsum(changed))
            rolled.append(out[before[until] > before[first]])
            if patch.session == last:
                self._renew(int(self._slots[rows["instrument"][0]]), rows, changed, buckets)
        return np.concatenate(rolled) if rolled else np.zeros(0, CANDLE)

    def _renew(self, i: int, rows: Candles, changed: npt.NDArray[np.bool_], buckets: npt.NDArray[Any]) -> None:
        """One instrument of the newest session: its open longer candles, and the price its quiet minutes carry."""
        for r in range(len(ROLLUPS)):
            start = buckets[r]["start"]
            if start >= 0 and start == self._buckets[i, r]["start"] and changed[rows["start"] >= start].any():
                self._buckets[i, r] = buckets[r]
        known = rows["close"][rows["close"] != UNKNOWN]
        if len(known):
            self._last[i]["carry"] = known[-1]

    def _newest_session(self) -> int:
        """The session of the minute that was closed last."""
        s = int(self._world[SESSION])
        begun = s < len(self._sessions) and self._world[NEXT] > self._sessions[s, 2]
        return s if begun else s - 1

    def open_candles(self) -> Candles:
        """The unfinished one-minute candles that have prices, newest minute of each instrument, (k,)."""
        newest = self._minutes["start"].argmax(axis=1)
        minutes = self._minutes[np.arange(len(self._ids)), newest]
        held = (minutes["start"] >= 0) & (minutes["trades"] > 0)
        minutes = minutes[held]
        rows = np.zeros(len(minutes), CANDLE)
        rows["instrument"] = self._ids[held]
        rows["interval"] = INTERVALS["1m"]
        for name in ("start", "open", "high", "low", "close", "volume", "trades"):
            rows[name] = minutes[name]
        volume = np.maximum(minutes["volume"], 1)
        rows["vwap"] = np.where(minutes["volume"] > 0, (minutes["turnover"] + volume // 2) // volume, UNKNOWN)
        rows["open_interest"] = minutes["oi"]
        rows["provenance"] = Provenance.LIVE
        return rows

    def snapshot(self) -> bytes:
        """The whole state as one value; `restore` takes it."""
        parts = [a.tobytes() for a in self._arrays()]
        head = np.array([_VERSION, self._grace, len(self._ids), len(self._recent), *map(len, parts)], np.int64)
        return head.tobytes() + b"".join(parts)

    def restore(self, state: bytes) -> None:
        """Take over a snapshot, whatever universe it was made for: instruments are matched by id.

        Raises BadPayload for a snapshot of another version or a truncated one.
        """
        arrays = self._arrays()
        head = np.frombuffer(state[: 8 * (4 + len(arrays))], np.int64)
        if len(head) != 4 + len(arrays) or head[0] != _VERSION or len(state) != head.nbytes + head[4:].sum():
            raise BadPayload("snapshot", state, f"not a whole candle snapshot of version {_VERSION}")
        ends = np.cumsum(head[4:]) + head.nbytes
        read = [
            np.frombuffer(state[end - size : end], a.dtype) for a, size, end in zip(arrays, head[4:], ends, strict=True)
        ]
        last, minutes, buckets, feeds, past, world, counts, recent, prints, shown, waiting = read
        count = int(head[2])
        self._clear()
        known = np.isin(last["instrument"], self._ids)
        mine = np.searchsorted(self._ids, last["instrument"][known])
        self._last[mine] = last[known]
        self._minutes[mine] = minutes.reshape(count, OPEN_MINUTES)[known]
        self._buckets[mine] = buckets.reshape(count, len(ROLLUPS))[known]
        self._feeds[:], self._past[:], self._counts[:] = feeds, past.reshape(PAST, 2), counts
        self._world[:] = world
        self._recent = recent.copy()
        if len(prints):
            self._prints = self._no_prints()
            self._prints[mine] = prints.reshape(-1, _H_WIDTH)[:count][known]
        width = len(shown) // max(count, 1)
        self._shown = _nothing_shown(len(self._ids), width)
        self._shown[mine] = shown.reshape(count, width)[known]
        self._waiting = waiting[np.isin(waiting["instrument"], self._ids)]
        self._world[WAITING] = len(self._waiting)
        if self._world[STARTED]:  # the calendar may have grown at its front since
            self._world[SESSION] = np.searchsorted(self._sessions[:, 3], self._world[NEXT], side="right")

    def _arrays(self) -> list[npt.NDArray[Any]]:
        return [
            self._last,
            self._minutes,
            self._buckets,
            self._feeds,
            self._past,
            self._world,
            self._counts,
            self._recent,
            self._prints.ravel(),
            self._shown.ravel(),
            self._waiting[: self._world[WAITING]],
        ]

    def _no_prints(self) -> npt.NDArray[np.int64]:
        return np.full((max(len(self._ids), 1), _H_WIDTH), UNKNOWN)

    def _make_room(self, row: np.void) -> None:
        """Room for this tick: for prints, for how far a standby has come, or for ticks that wait."""
        have = self._shown.shape[1]
        if row["flags"] & _PRINT and not len(self._prints):
            self._prints = self._no_prints()
        elif row["source"] >= have:
            more = _nothing_shown(len(self._ids), int(row["source"]) + 1 - have)
            self._shown = np.hstack([self._shown, more])
        elif len(self._waiting) < MOST_WAITING:
            self._waiting = np.concatenate([self._waiting, np.zeros(max(1024, len(self._waiting)), TICK)])
        else:
            until = int(np.partition(self._waiting["at"], MOST_WAITING // 2)[MOST_WAITING // 2])
            _let_go(until, self._waiting, self._slots, self._shown, self._world, self._counts)

    def _room(self) -> int:
        return 8 * max(len(self._ids), 1) * (1 + len(ROLLUPS))

    def _may_close(self, ticks: Ticks) -> bool:
        marks = ticks["at"][ticks["kind"] == _MARK]
        return bool(len(marks)) and (
            not self._world[STARTED] or int(marks.max()) - self._grace >= int(self._world[NEXT]) + MINUTE
        )

    def _revise(self) -> Candles:
        """The rows of the last closed minute again, a revision higher, for the part of it that was not LIVE
        after all.
        """
        if not len(self._recent):
            return self._recent
        minute = self._recent[self._recent["interval"] == INTERVALS["1m"]]
        start = int(minute["start"][0])
        covered = _coverage(start, start + MINUTE, self._feeds, self._past, self._world)
        lost = np.maximum(minute["completeness"] - covered, 0.0)
        lost[minute["provenance"] == Provenance.REPAIRED] = 0.0
        if not lost.any():
            return np.zeros(0, CANDLE)
        loss = np.zeros(len(self._slots))
        loss[minute["instrument"]] = lost
        rows = self._recent.copy()
        minutes = np.where(rows["interval"] == INTERVALS["1m"], 1, self._bucket_minutes(rows))
        rows["completeness"] = np.maximum(rows["completeness"] - loss[rows["instrument"]] / minutes, 0.0)
        rows["revision"] += 1
        bare = (rows["trades"] == 0) & (rows["volume"] == 0)
        gone = (rows["interval"] == INTERVALS["1m"]) & bare & (rows["completeness"] == 0)
        rows["provenance"][gone] = Provenance.GAP
        for name in ("open", "high", "low", "close"):
            rows[name][gone] = UNKNOWN
        opened = self._buckets["start"] >= 0
        self._buckets["covered"] -= np.where(opened, loss[self._ids][:, None], 0.0)
        self._recent = rows
        return rows.copy()

    def _bucket_minutes(self, rows: Candles) -> npt.NDArray[np.int64]:
        session = np.clip(
            np.searchsorted(self._sessions[:, 3], rows["start"], side="right"), 0, len(self._sessions) - 1
        )
        hours, start = self._sessions[session], rows["start"]
        end = np.minimum(start + rows["interval"].astype(np.int64) * SECOND, hours[:, 3])
        length = end - start
        for p in range(HOURS, hours.shape[1], 2):
            length -= np.maximum(np.minimum(end, hours[:, p + 1]) - np.maximum(start, hours[:, p]), 0)
        minutes: npt.NDArray[np.int64] = np.maximum(length // MINUTE, 1)
        return minutes


def _nothing_shown(instruments: int, feeds: int) -> npt.NDArray[Any]:
    shown = np.zeros((instruments, feeds), _SHOWN)
    for name in ("at", "volume", "price"):
        shown[name] = UNKNOWN
    return shown


def _replaced(rows: Candles, newer: Candles) -> Candles:
    """`rows` with the newer revisions of the same candles in their places."""
    key = ["instrument", "interval", "start"]
    place = {k: i for i, k in enumerate(newer[key].tolist())}
    at = np.array([place.get(k, -1) for k in rows[key].tolist()], np.int64)
    out = rows.copy()
    out[at >= 0] = newer[at[at >= 0]]
    return out


@nb.njit(cache=True)
def _fold(
    ticks, begin, out, slots, sessions, grace, last, minutes, buckets, feeds, past, world, counts, prints, shown,
    waiting, arbitrate,
):  # fmt: skip
    """Fold rows from `begin`; returns (next row, rows written, where the newest minute's rows begin, status)."""
    wrote = 0
    recent = 0
    k = begin
    while k < len(ticks):
        row = ticks[k]
        if row.kind == _TICK:
            together = arbitrate or feeds[world[ACTIVE]].state != _LIVE
            k = _ticks(ticks, k, together, slots, sessions, last, minutes, feeds, world, counts, prints, shown, waiting)
            if k < len(ticks) and ticks[k].kind == _TICK:
                return k, wrote, recent, _ROOM
            continue
        if row.kind == _MARK:
            active = world[ACTIVE]
            revise = _note(row, feeds, past, sessions, world)
            if world[ACTIVE] != active or feeds[active].state != _LIVE:
                held = world[WAITING]
                world[WAITING] = 0
                first, everyone = np.int64(0), np.bool_(True)  # as literals Numba would compile it all a second time
                _ticks(
                    waiting[:held], first, everyone, slots, sessions, last, minutes, feeds, world, counts, prints,
                    shown, waiting,
                )  # fmt: skip
                counts[TICKS] -= held
            elif row.source == active:
                _let_go(row.at - WAIT, waiting, slots, shown, world, counts)
            if row.source == world[ACTIVE] and row.flags != _ACTIVE:
                frontier = row.at - grace
                if not world[STARTED]:
                    _begin(row.at, sessions, world, frontier)
                while _due(frontier, sessions, world):
                    if wrote + len(last) * (1 + len(ROLLUPS)) > len(out):
                        return k, wrote, recent, _FULL
                    recent = wrote
                    wrote = _close(out, wrote, sessions, last, minutes, buckets, feeds, past, world)
                world[FRONTIER] = max(world[FRONTIER], frontier)
            counts[MARKS] += 1
            if revise:
                return k, wrote, recent, _REVISE
        k += 1
    return k, wrote, recent, _DONE


@nb.njit(cache=True)
def _ticks(ticks, begin, together, slots, sessions, last, minutes, feeds, world, counts, prints, shown, waiting):
    """Fold the run of ticks that starts at `begin`; returns the index of the first row that is none, or for which there
    is no room. `together`: all feeds count.
    """
    active, hole = world[ACTIVE], world[HOLE]
    frontier = world[NEXT] if world[STARTED] else _NEVER
    k = begin
    while k < len(ticks) and ticks[k].kind == _TICK:
        row = ticks[k]
        if row.flags & _PRINT and len(prints) == 0:
            break
        k += 1
        i = slots[row.instrument] if 0 <= row.instrument < len(slots) else -1
        if i < 0:
            counts[FOREIGN] += 1
            continue
        if row.source != active:
            if row.source >= len(feeds):
                counts[STANDBY] += 1
                continue
            if row.source >= shown.shape[1] or (not together and world[WAITING] == len(waiting)):
                k -= 1
                break
            if not together:
                waiting[world[WAITING]] = row
                world[WAITING] += 1
                continue
        price = row.price
        if price == UNKNOWN:
            counts[UNPRICED] += 1
            continue
        at = row.at
        volume = row.day_volume
        me = last[i]
        start = me.minute
        if row.flags & _PRINT:
            if not frontier <= start <= at < start + MINUTE:
                start = _place(at, UNKNOWN, me, sessions, world, counts)
                if start < 0:
                    continue
                me.minute = start
            _print(row, start, me, minutes[i], prints[i], counts)
            continue
        if not (frontier <= start <= at < start + MINUTE):
            start = _place(at, volume, me, sessions, world, counts)
            if start < 0:
                continue
            me.minute = start
        if row.source != me.source:
            if row.source >= shown.shape[1]:
                k -= 1
                break
            if me.source >= 0:
                told = _told(row, me, shown[i])
                if told != _NEW:
                    counts[DUPLICATE] += 1
                    if told == _BEHIND:
                        _widen(minutes[i, (start // MINUTE) & (OPEN_MINUTES - 1)], start, at, price)
                    continue
            me.source = row.source
        if at == me.at and volume == me.volume and price == me.price:
            counts[DUPLICATE] += 1
            continue

        candle = minutes[i, (start // MINUTE) & (OPEN_MINUTES - 1)]
        if candle.start != start:
            _open(candle, start)
        added = 0
        old = False
        if volume != UNKNOWN:
            if me.base == UNKNOWN:
                if _whole(feeds, world, sessions[me.session, 2]):
                    me.base = 0
                else:
                    me.base = volume
                    candle.known_from = max(candle.known_from, at, start + SECOND)
                me.hole = hole
            old = volume < me.base
            if volume > me.base:
                added = volume - me.base
                me.base = volume
                if me.hole < hole <= start:
                    candle.known_from = max(candle.known_from, at, start + SECOND)
            if me.hole != hole and not old:
                me.hole = hole
        if row.open_interest != UNKNOWN:
            candle.oi = row.open_interest
        if not (added > 0 or price != me.price or (volume == UNKNOWN and at != me.at)):
            counts[UNCHANGED] += 1
            continue
        if candle.trades == 0:
            candle.open_at = at
            candle.open = price
            candle.high = price
            candle.low = price
            candle.close_at = at
            candle.close = price
        else:
            if at < candle.open_at:
                candle.open_at = at
                candle.open = price
            candle.high = max(candle.high, price)
            candle.low = min(candle.low, price)
            if at >= candle.close_at and not old:
                candle.close_at = at
                candle.close = price
        candle.trades += 1
        candle.volume += added
        candle.turnover += added * price
        me.at = at
        me.volume = volume
        me.price = price
    counts[TICKS] += k - begin
    return k


@nb.njit(cache=True)
def _open(candle, start):
    candle.start = start
    candle.known_from = start
    candle.trades = 0
    candle.volume = 0
    candle.turnover = 0
    candle.oi = UNKNOWN


@nb.njit(cache=True)
def _told(row, me, shown):
    """Whether a tick tells more than the other feed that moved its instrument last, or less, or nothing."""
    mine = shown[row.source]
    level = mine.at == me.at and mine.volume == me.volume and mine.price == me.price
    moved = mine.volume != row.day_volume or mine.price != row.price
    mine.at = row.at
    mine.volume = row.day_volume
    mine.price = row.price
    if level or row.at > me.at or (row.day_volume > me.base and me.base != UNKNOWN):
        theirs = shown[me.source]
        theirs.at = me.at
        theirs.volume = me.volume
        theirs.price = me.price
        return _NEW
    return _BEHIND if moved else _NOTHING


@nb.njit(cache=True)
def _widen(candle, start, at, price):
    """A price of a minute that its instrument has left: changes nothing where the other feed told it, too."""
    if candle.start != start:
        _open(candle, start)
    if candle.trades == 0:
        candle.trades = 1
        candle.open_at = at
        candle.open = price
        candle.high = price
        candle.low = price
        candle.close_at = at
        candle.close = price
        return
    if at < candle.open_at:
        candle.open_at = at
        candle.open = price
    candle.high = max(candle.high, price)
    candle.low = min(candle.low, price)


@nb.njit(cache=True)
def _let_go(until, waiting, slots, shown, world, counts):
    """Leave out what waits and was stamped at or before `until`; the active feed has told it."""
    kept = 0
    for k in range(world[WAITING]):
        row = waiting[k]
        if row.at > until:
            waiting[kept] = row
            kept += 1
            continue
        counts[STANDBY] += 1
        if row.price != UNKNOWN and not row.flags & _PRINT:
            mine = shown[slots[row.instrument], row.source]
            mine.at = row.at
            mine.volume = row.day_volume
            mine.price = row.price
    world[WAITING] = kept


@nb.njit(cache=True)
def _print(row, start, me, open_minutes, heard, counts):
    """Fold one print whose minute is open."""
    if heard[_H_SESSION] != me.session:
        heard[:] = UNKNOWN
        heard[_H_SESSION] = me.session
        heard[_H_NEXT] = 0
    at, price, size = row.at, row.price, row.day_volume
    if at < heard[_H_FORGOTTEN]:
        counts[LATE] += 1
        return
    key = _key(price, size, row.sequence)
    if at <= heard[_H_NEWEST]:
        for j in range(HEARD):
            if heard[_H_AT + j] == at and heard[_H_KEY + j] == key:
                counts[DUPLICATE] += 1
                return
    j = heard[_H_NEXT]
    heard[_H_NEXT] = (j + 1) % HEARD
    heard[_H_NEWEST] = max(heard[_H_NEWEST], at)
    heard[_H_FORGOTTEN] = max(heard[_H_FORGOTTEN], heard[_H_AT + j])
    heard[_H_AT + j] = at
    heard[_H_KEY + j] = key

    candle = open_minutes[(start // MINUTE) & (OPEN_MINUTES - 1)]
    if candle.start != start:
        _open(candle, start)
    if size != UNKNOWN:
        candle.volume += size
        candle.turnover += size * price
    if row.flags & _VOLUME_ONLY:
        return
    sets = not row.flags & _RANGE_ONLY
    if candle.trades == 0:
        candle.open = price
        candle.high = price
        candle.low = price
        candle.close = price
        candle.open_at = at if sets else _NEVER
        candle.close_at = at if sets else UNKNOWN
    else:
        candle.high = max(candle.high, price)
        candle.low = min(candle.low, price)
        if sets and at < candle.open_at:
            candle.open_at = at
            candle.open = price
        if sets and at >= candle.close_at:
            candle.close_at = at
            candle.close = price
    candle.trades += 1


@nb.njit(cache=True)
def _key(price, size, number):
    """One number for the three; it only tells prints of one instrument and instant apart."""
    mixed = np.uint64(price) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ np.uint64(size)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32)) ^ np.uint64(number)) * np.uint64(0x94D049BB133111EB)
    return np.int64(mixed ^ (mixed >> np.uint64(31)))


@nb.njit(cache=True)
def _place(at, volume, me, sessions, world, counts):
    """The start of the open minute that holds `at`, or -1: counted, left out."""
    s = world[SESSION]
    if not world[STARTED]:
        counts[EARLY] += 1
        return -1
    if s >= len(sessions) or at < sessions[s, 0]:  # after the calendar's end, or of an earlier day
        counts[OFF_SESSION if s >= len(sessions) else LATE] += 1
        return -1
    if at >= sessions[s, 0] + DAY:  # a later day than market time has reached
        counts[EARLY] += 1
        return -1
    if at < sessions[s, 2] or _resumes(at, sessions[s]) != at:
        if at >= sessions[s, 1] and volume != UNKNOWN:
            _enter(me, s)
            me.base = max(me.base, volume)
            me.hole = world[HOLE]
        counts[OFF_SESSION] += 1
        return -1
    if at >= sessions[s, 3]:
        counts[OFF_SESSION] += 1
        return -1
    if at < world[NEXT]:
        counts[LATE] += 1
        if volume == me.base and volume != UNKNOWN:
            me.hole = world[HOLE]
        return -1
    start = at - (at - sessions[s, 2]) % MINUTE
    if start >= world[NEXT] + OPEN_MINUTES * MINUTE:
        counts[EARLY] += 1
        return -1
    _enter(me, s)
    return start


@nb.njit(cache=True)
def _resumes(at, hours):
    """The end of the pause of a session, a row of the table, that holds `at`; `at` itself where none does."""
    for p in range(HOURS, len(hours), 2):
        if hours[p] <= at < hours[p + 1]:
            return hours[p + 1]
    return at


@nb.njit(cache=True)
def _paused(at, sessions, s):
    """The beginning of the pause of session `s` that `at` lies in or ends; `at` itself where there is none."""
    if s < len(sessions):
        for p in range(HOURS, sessions.shape[1], 2):
            if sessions[s, p] < at <= sessions[s, p + 1]:
                return sessions[s, p]
    return at


@nb.njit(cache=True)
def _enter(me, session):
    """A new session starts the total anew; only a tick that is taken may do so."""
    if session > me.session:
        me.session = session
        me.base = UNKNOWN


@nb.njit(cache=True)
def _note(row, feeds, past, sessions, world):
    """Take in what a feed says of itself; True where it reaches back into a closed minute."""
    if row.source >= len(feeds):
        return False
    if row.flags == _ACTIVE:
        world[ACTIVE] = row.source
        return False
    feed = feeds[row.source]
    if row.flags == _LIVE:
        if feed.state != _LIVE:
            feed.state = _LIVE
            feed.live_from = row.quoted
            if not _seen(_paused(row.quoted, sessions, world[SESSION]), row.source, feeds, past, world):
                world[HOLE] = max(world[HOLE], row.quoted)
        feed.mark = max(feed.mark, row.at)
        feed.incarnation = np.int64(row.sequence)
        return False
    revise = False
    if feed.state == _LIVE:
        since = min(row.quoted, row.at)
        if row.flags != _CLOSED:
            since = min(since, feed.mark)
        if since > feed.live_from:
            kept = 0
            reached = _paused(world[NEXT], sessions, world[SESSION])
            for j in range(world[PASTS]):
                if past[j, 1] > reached - 2 * MINUTE:
                    past[kept, 0] = past[j, 0]
                    past[kept, 1] = past[j, 1]
                    kept += 1
            if kept == len(past):  # more cuts than we keep: join the two oldest gaps' neighbours by dropping the oldest
                for j in range(1, kept):
                    past[j - 1, 0] = past[j, 0]
                    past[j - 1, 1] = past[j, 1]
                kept -= 1
            past[kept, 0] = feed.live_from
            past[kept, 1] = since
            world[PASTS] = kept + 1
        revise = world[STARTED] == 1 and since < world[NEXT] and since < feed.mark
    feed.state = row.flags
    feed.mark = max(feed.mark, row.at)
    feed.incarnation = np.int64(row.sequence)
    return revise


@nb.njit(cache=True)
def _whole(feeds, world, opened):
    """Whether the feeds together have been LIVE since before a session's open."""
    live = False
    for f in range(len(feeds)):
        live |= feeds[f].state == _LIVE
    return live and world[HOLE] <= opened


@nb.njit(cache=True)
def _seen(moment, source, feeds, past, world):
    """Whether another feed than the one that comes back was LIVE up to this moment, or some feed until just then."""
    seen = False
    for f in range(len(feeds)):
        feed = feeds[f]
        seen |= f != source and feed.state == _LIVE and feed.live_from < moment <= feed.mark + MARKS_APART
    for j in range(world[PASTS]):
        seen |= past[j, 0] < moment <= past[j, 1]
    return seen


@nb.njit(cache=True)
def _begin(at, sessions, world, frontier):
    """Start at the open of the session that holds the first mark, or of the next one."""
    s = 0
    while s < len(sessions) and at >= sessions[s, 3]:
        s += 1
    world[SESSION] = s
    world[NEXT] = sessions[s, 2] if s < len(sessions) else _NEVER
    world[FRONTIER] = frontier
    world[STARTED] = 1


@nb.njit(cache=True)
def _due(frontier, sessions, world):
    """True while the next minute must be closed; steps over sessions that were jumped over whole."""
    while world[SESSION] < len(sessions):
        s = world[SESSION]
        if world[NEXT] == sessions[s, 2] and world[FRONTIER] < sessions[s, 2] and frontier >= sessions[s, 3] + MINUTE:
            world[SESSION] = s + 1
            world[NEXT] = sessions[s + 1, 2] if s + 1 < len(sessions) else _NEVER
        else:
            return world[NEXT] != _NEVER and world[NEXT] + MINUTE <= frontier
    return False


@nb.njit(cache=True)
def _coverage(start, end, feeds, past, world):
    """The fraction of [start, end) in which at least one feed was LIVE."""
    begin = np.empty(len(feeds) + len(past), np.int64)
    until = np.empty(len(feeds) + len(past), np.int64)
    n = 0
    for f in range(len(feeds)):
        if feeds[f].state == _LIVE:
            begin[n] = feeds[f].live_from
            until[n] = feeds[f].mark
            n += 1
    for j in range(world[PASTS]):
        begin[n] = past[j, 0]
        until[n] = past[j, 1]
        n += 1
    covered = 0
    reached = start
    while reached < end:
        best = reached
        ahead = end
        for j in range(n):
            if begin[j] <= reached:
                best = max(best, min(until[j], end))
            elif until[j] > begin[j]:
                ahead = min(ahead, begin[j])
        if best > reached:
            covered += best - reached
            reached = best
        else:
            reached = ahead
    return covered / (end - start)


@nb.njit(cache=True)
def _close(out, wrote, sessions, last, minutes, buckets, feeds, past, world):
    """Close the next minute of every instrument, and the longer candles that end with it."""
    s = world[SESSION]
    start = world[NEXT]
    end = start + MINUTE
    following = _resumes(end, sessions[s])
    session = np.int32((sessions[s, 0] + DAY // 2) // DAY)
    coverage = _coverage(start, end, feeds, past, world)
    if coverage > 0:
        world[GAP_SINCE] = 0
    elif world[GAP_SINCE] == 0 or start == sessions[s, 2]:
        world[GAP_SINCE] = start
    for i in range(len(last)):
        me = last[i]
        candle = minutes[i, (start // MINUTE) % OPEN_MINUTES]
        mine = candle.start == start
        row = out[wrote]
        wrote += 1
        row.instrument = me.instrument
        row.interval = 60
        row.start = start
        row.session = session
        row.revision = 0
        row.provenance = _P_LIVE
        row.completeness = coverage
        row.padding[:] = 0
        turnover = 0
        if mine and candle.known_from > start:
            row.completeness = min(coverage, (end - candle.known_from) / MINUTE)
        if mine and candle.oi != UNKNOWN:
            me.carry_oi = candle.oi
        row.open_interest = me.carry_oi
        if mine and candle.trades > 0:
            row.open = candle.open
            row.high = candle.high
            row.low = candle.low
            row.close = candle.close
            row.volume = candle.volume
            row.trades = candle.trades
            turnover = candle.turnover
            me.carry = candle.close
        else:
            price = me.carry
            volume = 0
            if mine:
                volume = candle.volume
                turnover = candle.turnover
            if coverage == 0 and volume == 0:
                row.provenance = _P_GAP
                row.completeness = 0
                price = UNKNOWN
            row.open = price
            row.high = price
            row.low = price
            row.close = price
            row.volume = volume
            row.trades = 0
        row.vwap = (turnover + row.volume // 2) // row.volume if row.volume > 0 else UNKNOWN
        if mine:
            candle.start = -1
        for r in range(len(ROLLUPS)):
            bucket = buckets[i, r]
            _roll(bucket, row, turnover, start - (start - sessions[s, 2]) % ROLLUPS[r])
            if following >= bucket.start + ROLLUPS[r] or end >= sessions[s, 3]:
                _emit(out[wrote], bucket, row, ROLLUPS[r], session)
                wrote += 1
    world[NEXT] = following
    if end >= sessions[s, 3]:
        world[SESSION] = s + 1
        world[NEXT] = sessions[s + 1, 2] if s + 1 < len(sessions) else _NEVER
    return wrote


@nb.njit(cache=True)
def _roll(bucket, row, turnover, start):
    if bucket.start != start:
        bucket.start = start
        bucket.minutes = 0
        bucket.gaps = 0
        bucket.repaired = 0
        bucket.covered = 0.0
        bucket.open = UNKNOWN
        bucket.high = UNKNOWN
        bucket.low = UNKNOWN
        bucket.close = UNKNOWN
        bucket.volume = 0
        bucket.turnover = 0
        bucket.trades = 0
        bucket.oi = UNKNOWN
    bucket.minutes += 1
    bucket.covered += row.completeness
    bucket.oi = row.open_interest
    if row.provenance == _P_GAP:
        bucket.gaps += 1
    if row.provenance == _P_REPAIRED:
        bucket.repaired += 1
    bucket.volume += row.volume
    bucket.turnover = _sum(bucket.turnover, turnover)
    if row.open == UNKNOWN:
        return
    # A quiet minute gives a longer candle its price only while no trade has: it never widens a traded range.
    if row.trades != 0:
        if bucket.trades == 0:
            bucket.open = row.open
            bucket.high = row.high
            bucket.low = row.low
        else:
            bucket.high = max(bucket.high, row.high)
            bucket.low = min(bucket.low, row.low)
        bucket.close = row.close
    elif bucket.trades == 0:
        bucket.open = row.open
        bucket.high = row.open
        bucket.low = row.open
        bucket.close = row.open
    bucket.trades = _sum(bucket.trades, row.trades)


@nb.njit(cache=True)
def _sum(one, other):
    return UNKNOWN if one == UNKNOWN or other == UNKNOWN else one + other


@nb.njit(cache=True)
def _roll_all(rows, session, buckets, out):
    """Roll one instrument's minutes of a session from its open; returns how many longer candles they closed."""
    wrote = 0
    for k in range(len(rows)):
        row = rows[k]
        turnover = 0
        if row.volume > 0:
            turnover = UNKNOWN if row.vwap == UNKNOWN else row.vwap * row.volume
        end = row.start + MINUTE
        following = _resumes(end, session)
        for r in range(len(ROLLUPS)):
            _roll(buckets[r], row, turnover, row.start - (row.start - session[2]) % ROLLUPS[r])
            if following >= buckets[r].start + ROLLUPS[r] or end >= session[3]:
                _emit(out[wrote], buckets[r], row, ROLLUPS[r], row.session)
                wrote += 1
    return wrote


@nb.njit(cache=True)
def _emit(out, bucket, row, interval, session):
    out.instrument = row.instrument
    out.interval = interval // SECOND
    out.start = bucket.start
    out.open = bucket.open
    out.high = bucket.high
    out.low = bucket.low
    out.close = bucket.close
    out.volume = bucket.volume
    out.trades = bucket.trades
    known = bucket.volume > 0 and bucket.turnover != UNKNOWN
    out.vwap = (bucket.turnover + bucket.volume // 2) // bucket.volume if known else UNKNOWN
    out.open_interest = bucket.oi
    out.completeness = bucket.covered / bucket.minutes
    out.session = session
    out.revision = 0
    out.provenance = _P_LIVE
    if bucket.gaps == bucket.minutes:
        out.provenance = _P_GAP
    elif bucket.repaired > 0:
        out.provenance = _P_REPAIRED
    out.padding[:] = 0
    bucket.start = -1
