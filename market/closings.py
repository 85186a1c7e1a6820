"""Closings: one partition's closed minutes, each held until the whole market's minute is known.

Features compare an instrument with the others, and the others travel in other partitions. So a minute of ours is due
when every partition with instruments has closed it. What counts of the others is what they published first of that
minute: a correction of theirs changes nothing here. Thus what is due, and in which order, follows from our own log and
from the first candles of each minute, however the reads of the several logs were cut or mixed.

Nobody waits for ever: when our own log is `patience` of market time ahead, the minute is due without the partitions
that lag, and says so. That depends on when they were read, so the decision is to be written down (`given_up`) before
anything that follows from it, and is handed back to whoever goes on: then it binds him too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from market.candles import INTERVALS, NO_CANDLES, Candles, Provenance
from market.sessions import MINUTE

MINUTES = INTERVALS["1m"]


class Step(NamedTuple):
    """What happens next. A closed minute: its `start`, ns UTC, and everybody's first candles of it, longer ones that
    end with it among them. A correction of ours: `start` 0 and its rows.

    `entry`: ours that holds it, and `ends`: whether this was all of it; `missing`: the partitions that were not waited
    for any longer.
    """

    entry: int
    start: int
    rows: Candles
    missing: tuple[int, ...] = ()
    ends: bool = False


class Closings:
    """The closed minutes of partition `mine`. `others`: the other partitions that have instruments; `patience`: ns of
    market time, None to wait for ever; `given_up`: what was decided before, minutes by start; `after`: the start of
    the last minute that is over already.
    """

    def __init__(
        self,
        mine: int,
        others: Collection[int],
        patience: int | None = None,
        *,
        given_up: Mapping[int, Collection[int]] | None = None,
        after: int = 0,
    ) -> None:
        self._mine, self._others = mine, sorted(set(others) - {mine})
        self._patience = patience
        self._frontiers = dict.fromkeys([mine, *self._others], after)
        self._queue: deque[Step] = deque()
        self._waiting: dict[int, dict[int, Candles]] = {}
        self._after = after
        self.given_up = {start: tuple(sorted(lost)) for start, lost in (given_up or {}).items()}
        self.late = 0
        """Minutes of partitions that came when nobody waited for them any longer."""

    @property
    def waits_for(self) -> list[int]:
        """The partitions whose candles the next minute lacks now."""
        return self._lacking(self._queue[0].start) if self._queue and self._queue[0].start else []

    @property
    def waiting(self) -> int:
        """How many steps of ours are not due yet."""
        return len(self._queue)

    def add(self, partition: int, entry: int, rows: Candles) -> None:
        """Take the `CANDLE` rows, (n,), of an entry of any partition; each partition's entries in their order."""
        steps = _steps(entry, rows)
        for step in steps:
            if step.start:
                self._close(partition, step)
        if partition == self._mine:
            self._queue += [s for s in steps if not s.start or s.start > self._after]
            if self._queue and self._queue[-1].entry == entry:
                self._queue[-1] = self._queue[-1]._replace(ends=True)

    def next(self) -> Step | None:
        """The next step that is due, or None: something must come first."""
        if not self._queue:
            return None
        step = self._queue[0]
        if not step.start:
            return self._queue.popleft()
        missing = self.given_up.get(step.start)
        if missing is None:
            missing = tuple(self._lacking(step.start))
            if missing and not self._out_of_patience(step.start):
                return None
            if missing:
                self.given_up[step.start] = missing
        earlier = min((s for s in self._waiting if s < step.start), default=None)
        if earlier is not None:  # a minute that we do not have
            return Step(step.entry, earlier, self._take(earlier, ()))
        self._queue.popleft()
        self._after = step.start
        return step._replace(rows=self._take(step.start, missing), missing=missing)

    def forget(self, before: int) -> None:
        """Decisions on minutes that start earlier are of no use any more."""
        self.given_up = {start: lost for start, lost in self.given_up.items() if start >= before}

    def _close(self, partition: int, step: Step) -> None:
        self._frontiers[partition] = max(self._frontiers.get(partition, 0), step.start)
        if step.start > self._after:
            self._waiting.setdefault(step.start, {}).setdefault(partition, step.rows)
        elif partition in self.given_up.get(step.start, ()):
            self.late += 1

    def _take(self, start: int, missing: Collection[int]) -> Candles:
        held = self._waiting.pop(start, {})
        return np.concatenate([NO_CANDLES, *(held[p] for p in sorted(held) if p not in missing)])

    def _lacking(self, start: int) -> list[int]:
        return [p for p in self._others if self._frontiers[p] < start]

    def _out_of_patience(self, start: int) -> bool:
        return self._patience is not None and self._frontiers[self._mine] - start >= self._patience


def _steps(entry: int, rows: Candles) -> list[Step]:
    rows = rows[rows["provenance"] != Provenance.OFFICIAL]
    if not len(rows):
        return []
    minute = rows["interval"] == MINUTES
    first = rows["revision"] == 0
    owner = np.maximum.accumulate(np.where(minute, np.arange(len(rows)), 0))
    starts = np.where(first, rows["start"][owner], 0)
    cuts = np.flatnonzero(np.diff(starts)) + 1
    return [Step(entry, int(starts[k]), part) for k, part in zip([0, *cuts], np.split(rows, cuts), strict=True)]
