"""Limits: how much of something one name may have, and how long it waits for more.

A token bucket is kept as one number, the instant at which it is full again: a request that costs c pushes it c / rate
further away, and one that would push it more than burst / rate ahead of now must wait. That is the token bucket without
its rounding. The script of `adapters.limits` does the same sums in Redis; what stands here serves while there is none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, NamedTuple

MICROS = 1_000_000
Purpose = Literal["login", "proof", "refresh", "register", "reset", "confirm"]
"""What a secret is tried for: each has failures of its own, so that asking for a reset locks nobody out of a login."""
MOST_NAMES = 20_000
"""So many names are known in a process; the one that asked longest ago is forgotten."""


class Bucket(NamedTuple):
    """What is asked of whom: `cost` tokens of a bucket that holds `burst` and gains `rate` a second."""

    name: str
    rate: float
    burst: int
    cost: int = 1

    @property
    def each(self) -> int:
        """Microseconds until one token is back, rounded up: never more than the rate."""
        return -int(-MICROS // self.rate)


class Allowance(NamedTuple):
    """What came of it: `limit`, `remaining` and `full` of the bucket that was named first, `wait` of the one that asks
    for the longest. Times in seconds: `wait` is 0 where it was allowed; `full`: until nothing is missing. `degraded`:
    counted in this process alone.
    """

    allowed: bool
    limit: int
    remaining: int
    wait: float
    full: float
    degraded: bool = False


class Pace(NamedTuple):
    """How tries of a secret are slowed: `free` of them at once, then 1 s, 2 s, 4 s and so on up to `longest`."""

    free: int
    longest: float

    def pause(self, failures: int) -> float:
        """Seconds until the next try after so many failures.

        >>> [Pace(free=3, longest=60.0).pause(n) for n in (3, 4, 5, 6, 20)]
        [0.0, 1.0, 2.0, 4.0, 60.0]
        """
        beyond = failures - self.free
        return min(2.0 ** min(beyond - 1, 60), self.longest) if beyond > 0 else 0.0


class Buckets:
    """The buckets of one process."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._full: OrderedDict[str, int] = OrderedDict()
        self._most = most

    def take(self, now: int, *asked: Bucket) -> Allowance:
        """Take from all of them or from none. `now` in microseconds of any clock that does not go back."""
        found = [(one, min(max(self._full.get(one.name, 0), now), now + one.each * one.burst)) for one in asked]
        waits = [full + one.each * min(one.cost, one.burst) - one.each * one.burst - now for one, full in found]
        allowed = max(waits) <= 0
        if allowed:
            found = [(one, full + one.each * min(one.cost, one.burst)) for one, full in found]
            for one, full in found:
                self._full[one.name] = full
                self._full.move_to_end(one.name)
        while len(self._full) > self._most:
            self._full.popitem(last=False)
        told = [
            ((one.each * one.burst - full + now) // one.each, max(wait, 0), full - now)
            for (one, full), wait in zip(found, waits, strict=True)
        ]
        return allowance(asked, told, allowed=allowed, degraded=True)


class Tries:
    """The tries of one process."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._most = most

    def begin(self, now: int, *names: tuple[str, Pace]) -> float:
        """Count a try of each name as failed; or the seconds to wait until there may be one, which counts nothing."""
        wait = max(self._known.get(name, (0, 0))[1] - now for name, _ in names)
        if wait > 0:
            return wait / MICROS
        for name, pace in names:
            failures = self._known.pop(name, (0, 0))[0] + 1
            self._known[name] = failures, now + int(pace.pause(failures) * MICROS)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return 0.0

    def good(self, names: Sequence[str], others: Sequence[str]) -> None:
        """The try was none: forget the failures of `names`, and take one off the others."""
        for name in names:
            self._known.pop(name, None)
        for other in others:
            failures = self._known.get(other, (0, 0))[0]
            if failures:
                self._known[other] = failures - 1, 0


def allowance(
    asked: tuple[Bucket, ...], told: list[tuple[int, int, int]], *, allowed: bool, degraded: bool
) -> Allowance:
    """Of several buckets, told as (remaining, wait, full) in tokens and microseconds."""
    remaining, _, full = told[0]
    wait = max(one[1] for one in told)
    return Allowance(allowed, asked[0].burst, max(int(remaining), 0), wait / MICROS, full / MICROS, degraded)
