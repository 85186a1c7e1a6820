"""Measures: what actors count, for Prometheus. Tags are bounded: parts and partitions, never symbols."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray.util.metrics import Counter, Gauge, Histogram

MILLISECONDS = [0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000]


class Counts:
    """Counters that follow running totals: `set` takes the totals, the metric grows by the difference."""

    def __init__(self, prefix: str, names: Sequence[str], tags: Mapping[str, str]) -> None:
        self._tags = dict(tags)
        self._counters = {n: Counter(f"{prefix}_{n}", description=f"{n} so far", tag_keys=tuple(tags)) for n in names}
        self._seen = dict.fromkeys(names, 0)

    def set(self, **totals: int) -> None:
        """Totals by name; one that fell (a new incarnation) starts anew."""
        for name, total in totals.items():
            grown = total - self._seen[name] if total >= self._seen[name] else total
            if grown > 0:
                self._counters[name].inc(grown, tags=self._tags)
            self._seen[name] = total


def gauge(name: str, description: str, *tags: str) -> Gauge:
    """A gauge with bounded tags."""
    return Gauge(name, description=description, tag_keys=tags)


def milliseconds(name: str, description: str, *tags: str) -> Histogram:
    """A histogram of times, in ms."""
    return Histogram(name, description=description, boundaries=MILLISECONDS, tag_keys=tags)


def resident_bytes() -> int:
    """Memory this process holds, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
