"""The candle builder: one partition's open candles, folded by the rules that stand in `market.kernel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from market import corrections, kernel
from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.sessions import HOURS, MINUTE, SECOND
from market.ticks import TICK, Flag, Kind, Ticks

MOST_WAITING = 1 << 19
"""Of more ticks than these the older half is let go."""

COUNTS = kernel.COUNTS
"""The names of what a builder counts."""

_VERSION = 5


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
        self._last = np.zeros(n, kernel.LAST)
        for name in ("session", "volume", "minute", "source"):
            self._last[name] = -1
        for name in ("at", "price", "base", "carry", "carry_oi", "before", "risen"):
            self._last[name] = UNKNOWN
        self._last["instrument"] = self._ids
        self._minutes = np.zeros((n, kernel.OPEN_MINUTES), kernel.OPEN_CANDLE)
        self._minutes["start"] = -1
        self._buckets = np.zeros((n, len(kernel.ROLLUPS)), kernel.BUCKET)
        self._buckets["start"] = -1
        self._feeds = np.zeros(kernel.FEEDS, kernel.FEED)
        self._past = np.zeros((kernel.PAST, 2), np.int64)
        self._world = np.zeros(kernel.WORLD, np.int64)
        self._counts = np.zeros(len(COUNTS), np.int64)
        self._recent = np.zeros(0, CANDLE)
        self._shown = _nothing_shown(n, 0)
        self._waiting = np.zeros(0, TICK)
        self._prints = self._no_prints()[:0]  # most feeds send none: made when the first one comes
        self.refused = 0
        """Proposals of repairs that were no closed minute of a session, or no candle."""

    @property
    def counts(self) -> dict[str, int]:
        """How many rows met which rule, since the state began."""
        return dict(zip(COUNTS, self._counts.tolist(), strict=True))

    @property
    def frontier(self) -> int:
        """ns UTC before which every minute is closed; 0 before the first mark."""
        return int(self._world[kernel.NEXT]) if self._world[kernel.STARTED] else 0

    @property
    def market_time(self) -> int:
        """ns UTC of the active feed's newest mark; 0 before the first."""
        return int(self._world[kernel.FRONTIER]) + self._grace if self._world[kernel.STARTED] else 0

    @property
    def gap_since(self) -> int:
        """ns UTC at which the GAP minutes that were closed last begin; 0 when the last minute was none."""
        return int(self._world[kernel.GAP_SINCE])

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
            begin, wrote, recent, status = kernel.fold(
                ticks, begin, out, self._slots, self._sessions, self._grace, self._last, self._minutes, self._buckets,
                self._feeds, self._past, self._world, self._counts, self._prints, self._shown, self._waiting,
                self._arbitrate,
            )  # fmt: skip
            if wrote:
                closed.append(out[:wrote])
                self._recent = out[recent:wrote].copy()
            if status == kernel.REVISE:
                closed.append(self._revise())
                begin += 1
            if status == kernel.ROOM:
                self._make_room(ticks[begin])
            if status == kernel.DONE:
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
            buckets = np.zeros(len(kernel.ROLLUPS), kernel.BUCKET)
            buckets["start"] = -1
            out = np.empty(len(rows) * len(kernel.ROLLUPS), CANDLE)
            out = out[: kernel.roll_all(rows, session, buckets, out)]
            first = np.searchsorted(rows["start"], out["start"])
            until = np.searchsorted(rows["start"], out["start"] + out["interval"].astype(np.int64) * SECOND)
            before = np.append(0, np.cumsum(changed))
            rolled.append(out[before[until] > before[first]])
            if patch.session == last:
                self._renew(int(self._slots[rows["instrument"][0]]), rows, changed, buckets)
        return np.concatenate(rolled) if rolled else np.zeros(0, CANDLE)

    def _renew(self, i: int, rows: Candles, changed: npt.NDArray[np.bool_], buckets: npt.NDArray[Any]) -> None:
        """One instrument of the newest session: its open longer candles, and the price its quiet minutes carry."""
        for r in range(len(kernel.ROLLUPS)):
            start = buckets[r]["start"]
            if start >= 0 and start == self._buckets[i, r]["start"] and changed[rows["start"] >= start].any():
                self._buckets[i, r] = buckets[r]
        known = rows["close"][rows["close"] != UNKNOWN]
        if len(known):
            self._last[i]["carry"] = known[-1]

    def _newest_session(self) -> int:
        """The session of the minute that was closed last."""
        s = int(self._world[kernel.SESSION])
        begun = s < len(self._sessions) and self._world[kernel.NEXT] > self._sessions[s, 2]
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
        self._minutes[mine] = minutes.reshape(count, kernel.OPEN_MINUTES)[known]
        self._buckets[mine] = buckets.reshape(count, len(kernel.ROLLUPS))[known]
        self._feeds[:], self._past[:], self._counts[:] = feeds, past.reshape(kernel.PAST, 2), counts
        self._world[:] = world
        self._recent = recent.copy()
        if len(prints):
            self._prints = self._no_prints()
            self._prints[mine] = prints.reshape(-1, kernel.PRINTS_WIDTH)[:count][known]
        width = len(shown) // max(count, 1)
        self._shown = _nothing_shown(len(self._ids), width)
        self._shown[mine] = shown.reshape(count, width)[known]
        self._waiting = waiting[np.isin(waiting["instrument"], self._ids)]
        self._world[kernel.WAITING] = len(self._waiting)
        if self._world[kernel.STARTED]:  # the calendar may have grown at its front since
            self._world[kernel.SESSION] = np.searchsorted(self._sessions[:, 3], self._world[kernel.NEXT], side="right")

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
            self._waiting[: self._world[kernel.WAITING]],
        ]

    def _no_prints(self) -> npt.NDArray[np.int64]:
        return np.full((max(len(self._ids), 1), kernel.PRINTS_WIDTH), UNKNOWN)

    def _make_room(self, row: np.void) -> None:
        """Room for this tick: for prints, for how far a standby has come, or for ticks that wait."""
        have = self._shown.shape[1]
        if row["flags"] & Flag.PRINT and not len(self._prints):
            self._prints = self._no_prints()
        elif row["source"] >= have:
            more = _nothing_shown(len(self._ids), int(row["source"]) + 1 - have)
            self._shown = np.hstack([self._shown, more])
        elif len(self._waiting) < MOST_WAITING:
            self._waiting = np.concatenate([self._waiting, np.zeros(max(1024, len(self._waiting)), TICK)])
        else:
            until = int(np.partition(self._waiting["at"], MOST_WAITING // 2)[MOST_WAITING // 2])
            kernel.let_go(until, self._waiting, self._slots, self._shown, self._world, self._counts)

    def _room(self) -> int:
        return 8 * max(len(self._ids), 1) * (1 + len(kernel.ROLLUPS))

    def _may_close(self, ticks: Ticks) -> bool:
        marks = ticks["at"][ticks["kind"] == Kind.MARK]
        return bool(len(marks)) and (
            not self._world[kernel.STARTED] or int(marks.max()) - self._grace >= int(self._world[kernel.NEXT]) + MINUTE
        )

    def _revise(self) -> Candles:
        """The rows of the last closed minute again, a revision higher, for the part of it that was not LIVE
        after all.
        """
        if not len(self._recent):
            return self._recent
        minute = self._recent[self._recent["interval"] == INTERVALS["1m"]]
        start = int(minute["start"][0])
        covered = kernel.coverage(start, start + MINUTE, self._feeds, self._past, self._world)
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
    shown = np.zeros((instruments, feeds), kernel.SHOWN)
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
