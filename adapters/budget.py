"""Budget: how often one account may ask a vendor, whoever of us asks and on whichever machine.

One key of a Redis holds the instant from which the next request is free; taking a turn moves it on by one interval and
says how long to wait, so callers queue up in the order in which they came. The clock is the server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from adapters.redis_line import RedisLine, Script
from market.errors import BadValue

FORGOTTEN_MS = 600_000
LONGEST_SECONDS = 300.0

# Instants and intervals in microseconds; returns how long to wait.
TAKE = Script(f"""
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local free = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
redis.call('SET', KEYS[1], string.format('%d', free + tonumber(ARGV[1])), 'PX', {FORGOTTEN_MS})
return free - now
""")

PAUSE = Script(f"""
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local free = math.max(now + tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0'))
redis.call('SET', KEYS[1], string.format('%d', free), 'PX', {FORGOTTEN_MS})
return free - now
""")


class Turns:
    """The turns of this process alone, where there is no Redis to share them by; as `Budget`."""

    def __init__(
        self, rate: float, wait: Callable[[float], object] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval, self._wait, self._clock = 1 / rate, wait, clock
        self._free = clock()

    def take(self) -> float:
        """Wait for a turn; the seconds it took."""
        seconds = max(self._free - self._clock(), 0.0)
        self._free = max(self._free, self._clock()) + self._interval
        if seconds > 0:
            self._wait(seconds)
        return seconds

    def pause(self, seconds: float) -> None:
        """Nobody asks for so long, at most five minutes."""
        self._free = max(self._free, self._clock() + min(max(seconds, 0.0), LONGEST_SECONDS))


class Budget:
    """The turns of everybody who asks under one name. Every method raises LineDown when the Redis is away."""

    def __init__(self, url: str, name: str, rate: float, wait: Callable[[float], object] = time.sleep) -> None:
        """`rate`: requests a second, evenly spaced; `wait` takes seconds."""
        if rate <= 0:
            raise BadValue("rate", rate, "requests a second, above 0")
        self._line = RedisLine(url)
        self._key = f"budget:{name}"
        self._interval = int(1e6 / rate) + 1
        self._wait = wait

    def take(self) -> float:
        """Wait for a turn; the seconds it took."""
        seconds = int(self._line.evaluate(TAKE, [([self._key], [self._interval])])[0]) / 1e6
        if seconds > 0:
            self._wait(seconds)
        return seconds

    def pause(self, seconds: float) -> None:
        """Nobody asks for so long, at most five minutes: the vendor said so."""
        microseconds = int(min(max(seconds, 0.0), LONGEST_SECONDS) * 1e6)
        self._line.evaluate(PAUSE, [([self._key], [microseconds])])
