"""Windows: the candles of the running sessions, ready to be read.

A window holds, for every interval, one row an instrument and one column a slot of the session; a candle's place is its
distance from the session's open, so neither order nor repetition matters and a newer revision replaces an older one.

Memory is 112 bytes a candle: 500 instruments x 375 minutes are 21 MB a session, the longer intervals together a third
of that again. A session's blocks are made when its first candle comes, with the slots its hours need, and dropped when
`kept` newer ones stand.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.candles import CANDLE, INTERVALS, NO_CANDLES, Candles
from market.errors import BadValue
from market.sessions import SECOND, Sessions, day_number

_EMPTY = -1


class CandleWindow:
    """The candles of the newest sessions of instruments 0..count-1."""

    def __init__(self, count: int, sessions: Sessions, kept: int = 2) -> None:
        self._count = count
        self._hours = {day_number(s.date): s for s in sessions}
        self._kept = kept
        self._blocks: dict[tuple[int, int], Candles] = {}
        self.misplaced = 0
        """Rows without a place: an unknown session, interval or instrument, or a start between two slots."""

    @property
    def sessions(self) -> list[int]:
        """The sessions held, in days since 1970-01-01, oldest first."""
        return sorted({day for day, _ in self._blocks})

    @property
    def bytes(self) -> int:
        """The memory of all blocks."""
        return sum(block.nbytes for block in self._blocks.values())

    def add(self, candles: Candles) -> int:
        """Put `CANDLE` rows, (n,), any order, in their places; returns how many were new or a newer revision."""
        put = 0
        key = candles["session"].astype(np.int64) << 32 | candles["interval"].astype(np.int64)
        for k in np.unique(key):
            put += self._add(candles[key == k], int(k) >> 32, int(k) & 0xFFFFFFFF)
        return put

    def read(self, instrument: int, interval: int, first: int, last: int, limit: int | None = None) -> Candles:
        """The candles of one instrument that start in [first, last), ns UTC, oldest first; the newest `limit` of them.

        Raises BadValue for an interval (in seconds) there is none of.
        """
        if interval not in INTERVALS.values():
            raise BadValue("interval", interval, f"seconds, one of {', '.join(map(str, INTERVALS.values()))}")
        parts, wanted = [], limit
        for day in reversed(self.sessions):
            block = self._blocks.get((day, interval))
            if block is None or wanted == 0:
                continue
            rows = self._rows(block[instrument], day, interval, first, last)
            parts.append(rows if wanted is None else rows[max(len(rows) - wanted, 0) :])
            wanted = None if wanted is None else wanted - len(parts[-1])
        return np.concatenate(parts[::-1]) if parts else NO_CANDLES

    def counts(self, interval: int, session: int) -> npt.NDArray[np.int64]:
        """How many candles of an interval, in seconds, each instrument has in a session, (count,)."""
        block = self._blocks.get((session, interval))
        if block is None:
            return np.zeros(self._count, np.int64)
        return np.asarray(np.count_nonzero(block["revision"] != _EMPTY, axis=1), np.int64)

    def clear(self) -> None:
        """Forget all candles."""
        self._blocks.clear()

    def _rows(self, line: Candles, day: int, interval: int, first: int, last: int) -> Candles:
        opens, step = self._hours[day].open, interval * SECOND
        low = max(-(-(first - opens) // step), 0)
        high = max(min(-(-(last - opens) // step), len(line)), low)
        rows = line[low:high]
        return np.asarray(rows[rows["revision"] != _EMPTY])

    def _add(self, candles: Candles, day: int, interval: int) -> int:
        block = self._block(day, interval)
        if block is None:
            self.misplaced += len(candles)
            return 0
        distance = candles["start"] - self._hours[day].open
        slot, between = np.divmod(distance, interval * SECOND)
        who = candles["instrument"]
        fits = (between == 0) & (slot >= 0) & (slot < block.shape[1]) & (who >= 0) & (who < self._count)
        self.misplaced += int(len(fits) - np.count_nonzero(fits))
        order = np.flatnonzero(fits)
        order = order[np.argsort(candles["revision"][order], kind="stable")]
        order = order[candles["revision"][order] >= block["revision"][who[order], slot[order]]]
        block[who[order], slot[order]] = candles[order]
        return len(order)

    def _block(self, day: int, interval: int) -> Candles | None:
        hours = self._hours.get(day)
        if hours is None or interval not in INTERVALS.values():
            return None
        if (day, interval) not in self._blocks:
            held = self.sessions
            if len(held) >= self._kept and day < held[0]:
                return None
            for seconds in INTERVALS.values():  # all at once: what a session needs is taken at its beginning
                slots = max(-(-(hours.close - hours.open) // (seconds * SECOND)), 1)
                block = self._blocks[day, seconds] = np.zeros((self._count, slots), CANDLE)
                block["revision"] = _EMPTY
            for old in self.sessions[: -self._kept]:
                self._blocks = {k: b for k, b in self._blocks.items() if k[0] != old}
        return self._blocks[day, interval]
