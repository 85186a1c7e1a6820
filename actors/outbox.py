"""Outbox: what a feed puts on the bus, once and in order, however often the bus goes away under it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import structlog

from adapters.bus import Bus
from adapters.lines import Backoff
from adapters.traces import Traces
from market.errors import LineDown

KEPT_SECONDS = 3.0
"""So long what was written stays here, to be offered again after a cut."""

Batch = tuple[str, list[tuple[int, int, bytes]]]
"""A writer's name and, a partition each, the entry it writes: partition, number, payload."""


class Outbox:
    """The writing half of a feed. `trouble`: what is wrong with the bus; `lag`: seconds the last write took."""

    def __init__(self, bus: Bus, traces: Traces | None = None) -> None:
        """`traces`: tells of the batches that are followed."""
        self._bus, self._traces = bus, traces
        self._log = structlog.get_logger()
        self._kept: deque[tuple[float, Batch]] = deque()
        self.entries = self.bytes = 0
        self.lag = 0.0
        self.trouble = ""

    async def append(self, batch: Sequence[Batch]) -> None:
        """Put entries on the bus; returns when they are there."""
        began, at = time.monotonic(), time.time_ns()
        self._kept.extend((began, one) for one in batch)
        while self._kept and self._kept[0][0] < began - KEPT_SECONDS:
            self._kept.popleft()
        pauses = Backoff()
        try:
            await asyncio.to_thread(self._send, batch)
        except LineDown as e:
            self._log.warning("bus_down", reason=e.reason)
            while not await self._resend():
                await asyncio.sleep(pauses.pause())
        self.lag = time.monotonic() - began
        if self._traces is not None:
            self._tell(self._traces, batch, at)

    async def known(self, writers: Sequence[str], partitions: int) -> dict[str, list[int]]:
        """The last numbers the bus holds of each writer, by partition; waits for the bus."""
        pauses = Backoff()
        while True:
            try:
                return {w: list(self._bus.numbers("ticks", w, range(partitions)).values()) for w in writers}
            except LineDown as e:
                self._log.warning("bus_down", reason=e.reason)
                await asyncio.sleep(pauses.pause())

    def _tell(self, traces: Traces, batch: Sequence[Batch], at: int) -> None:
        for writer, rows in batch:
            if rows and traces.follows(rows[0][1]):
                traces.tell("bus write", writer, rows[0][1], at, time.time_ns())

    async def _resend(self) -> bool:
        """After a cut nobody knows what the bus took: offer the last seconds again; it refuses the numbers it has."""
        try:
            await asyncio.to_thread(self._send, [one for _, one in self._kept])
        except LineDown as e:
            self.trouble = e.reason
            return False
        self.trouble = ""
        return True

    def _send(self, batch: Sequence[Batch]) -> None:
        for writer, rows in batch:
            self._bus.append("ticks", writer, rows)
            self.entries += len(rows)
            self.bytes += sum(len(payload) for _, _, payload in rows)
