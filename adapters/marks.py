"""Marks: what time the market on the bus has come to."""

from __future__ import annotations

import time

from adapters.bus import SEQUENCE_BITS, Bus
from adapters.entries import ticks_of
from market.sessions import SECOND
from market.ticks import Kind

RUNNING_SECONDS = 3.0
"""A market whose newest mark is younger than this goes on."""


def market_time(bus: Bus, partitions: int, speed: float = 0.0) -> int:
    """The newest mark on the bus, ns UTC, 0 where there is none: from here the demo's clock goes on.

    A mark that is only just there is of a market that goes on without us, `speed` times real time, and is further now.
    """
    newest = 0
    for partition in range(partitions):
        for entry in bus.backwards("ticks", partition):
            rows = ticks_of(entry.payload)
            marks = rows["at"][rows["kind"] == Kind.MARK]
            if len(marks):
                age = max(0.0, time.time() - (entry.id >> SEQUENCE_BITS) / 1000)
                since = int(age * speed * SECOND) if age < RUNNING_SECONDS else 0
                newest = max(newest, int(marks.max()) + since)
                break
    return newest
