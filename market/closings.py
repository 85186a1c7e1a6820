"""Closings: one partition's closed minutes, each held until the whole market's minute is known.

Features compare an instrument with the others, and the others travel in other partitions. So a minute of ours is due
when every partition with instruments has closed it. What counts of each partition is its log up to there: its first
candles of that minute, and the corrections that stand before them; what stands behind them comes with its next minute.
Thus what is due, and in which order, follows from the logs alone, however the reads of them were cut or mixed.

Nobody waits for ever: when our own log is `patience` of market time ahead, the minute is due without the partitions
that lag, and says so; what they then publish late comes with the next minute they are in time for. That depends on when
they were read, so the decision is to be written down (`given_up`) before anything that follows from it, and is handed
back to whoever goes on: then it binds him too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from market.candles import INTERVALS, NO_CANDLES, Candles, Provenance

MINUTES = INTERVALS["1m"]


class Step(NamedTuple):
    """A closed minute of ours: its `start`, ns UTC, and the `CANDLE` rows of everybody that were published since the
    minute before and are to be taken in with it, (n,): by instrument, each one's in the order of its log.

    `entry`: ours that closed it, and `ends`: whether it closes no further minute; `missing`: the partitions that were
    not waited for any longer.
    """

    entry: int
    start: int
    session: int
    rows: Candles
    missing: tuple[int, ...]
    ends: bool


class _Part(NamedTuple):
    """Consecutive rows of a log. `start`: of the minute that they close, 0 where they close none."""

    entry: int
    start: int
    rows: Candles
    ends: bool


class Closings:
    """The closed minutes of partition `mine`. `others`: the other partitions that have instruments; `patience`: ns of
    market time, None to wait for ever; `given_up`: what was decided before, minutes by start.
    """

    def __init__(
        self,
        mine: int,
        others: Collection[int],
        patience: int | None = None,
        given_up: Mapping[int, Collection[int]] | None = None,
    ) -> None:
        self._mine, self._others = mine, sorted(set(others) - {mine})
        self._patience = patience
        self._logs: dict[int, deque[_Part]] = {p: deque() for p in (mine, *self._others)}
        self._frontiers = dict.fromkeys(self._logs, 0)
        self._after = 0
        self.given_up = {start: tuple(sorted(lost)) for start, lost in (given_up or {}).items()}
        self.late = 0
        """Minutes that came when nobody waited for them any longer."""

    @property
    def waits_for(self) -> list[int]:
        """The partitions that have not closed our next minute yet."""
        start = self._next_start()
        return self._lacking(start) if start else []

    @property
    def waiting(self) -> int:
        """How many minutes of ours are not due yet."""
        return sum(part.start > 0 for part in self._logs[self._mine])

    def add(self, partition: int, entry: int, rows: Candles) -> None:
        """Take the `CANDLE` rows, (n,), of an entry of any partition; each partition's entries in their order."""
        if partition not in self._logs:
            return
        for part in _parts(entry, rows):
            self.late += 0 < part.start <= self._after
            self._frontiers[partition] = max(self._frontiers[partition], part.start)
            self._logs[partition].append(part)

    def next(self) -> Step | None:
        """The next minute that is due, or None: something must come first."""
        start = self._next_start()
        if not start:
            return None
        missing = self.given_up.get(start)
        if missing is None:
            missing = tuple(self._lacking(start))
            if missing and not self._out_of_patience(start):
                return None
            if missing:
                self.given_up[start] = missing
        taken = [part for p in self._logs if p not in missing for part in self._take(p, start)]
        mine = next(part for part in taken if part.start == start)
        rows = np.concatenate([NO_CANDLES, *(part.rows for part in taken)])
        rows = rows[np.argsort(rows["instrument"], kind="stable")]
        self._after = start
        return Step(mine.entry, start, int(mine.rows["session"][0]), rows, missing, mine.ends)

    def forget(self, before: int) -> None:
        """Decisions on minutes that start earlier are of no use any more."""
        self.given_up = {start: lost for start, lost in self.given_up.items() if start >= before}

    def _next_start(self) -> int:
        return next((part.start for part in self._logs[self._mine] if part.start > self._after), 0)

    def _take(self, partition: int, start: int) -> Iterator[_Part]:
        """A partition's log up to its closing of this minute or, where it has none, before that of a later one."""
        log = self._logs[partition]
        has = any(part.start == start for part in log)
        while log and log[0].start <= start:
            part = log.popleft()
            yield part
            if has and part.start == start:
                return

    def _lacking(self, start: int) -> list[int]:
        return [p for p in self._others if self._frontiers[p] < start]

    def _out_of_patience(self, start: int) -> bool:
        return self._patience is not None and self._frontiers[self._mine] - start >= self._patience


def _parts(entry: int, rows: Candles) -> list[_Part]:
    rows = rows[rows["provenance"] != Provenance.OFFICIAL]
    if not len(rows):
        return []
    minute = rows["interval"] == MINUTES
    owner = np.maximum.accumulate(np.where(minute, np.arange(len(rows)), 0))
    starts = np.where(rows["revision"] == 0, rows["start"][owner], 0)
    cuts = np.flatnonzero(np.diff(starts)) + 1
    whole = [(int(starts[k]), part) for k, part in zip([0, *cuts], np.split(rows, cuts), strict=True)]
    last = max((k for k, (start, _) in enumerate(whole) if start), default=-1)
    return [_Part(entry, start, part, k == last) for k, (start, part) in enumerate(whole)]
