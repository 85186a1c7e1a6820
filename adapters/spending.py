"""Spending: what an engine may use in a day, counted on the bus, so that all replicas spend one budget.

A call takes its place before it is made, with the most that it may cost, and gives back what it did not use; so two
askers never spend one rest twice, and what was sent and never answered counts as spent. A day is India's; the clock is
the server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock
from typing import NamedTuple, Protocol

from adapters.redis_line import RedisLine, Script
from market.engines import ONE, Engine
from market.errors import BudgetSpent
from market.sessions import IST

ZONE_SECONDS = 19_800
"""India's clocks are so far ahead of UTC, all year."""
DAY_SECONDS = 86_400
WAIT_SECONDS = 2.0

# Returns what would be over (0 nothing, 1 calls, 2 tokens, 3 cost), the day, and the second of it.
TAKE = Script(f"""
local clock = tonumber(redis.call('TIME')[1]) + {ZONE_SECONDS}
local day = math.max(math.floor(clock / {DAY_SECONDS}), tonumber(redis.call('HGET', KEYS[1], 'day') or '0'))
if tonumber(redis.call('HGET', KEYS[1], 'day') or '-1') < day then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'day', string.format('%d', day))
  redis.call('EXPIRE', KEYS[1], {3 * DAY_SECONDS})
end
local names, adds, over = {{'calls', 'tokens', 'cost'}}, {{ARGV[1], ARGV[3], ARGV[5]}}, 0
for i = 3, 1, -1 do
  local had = tonumber(redis.call('HGET', KEYS[1], names[i]) or '0')
  if had + tonumber(adds[i]) > tonumber(ARGV[2 * i]) then over = i end
end
if over == 0 then
  for i = 1, 3 do redis.call('HINCRBY', KEYS[1], names[i], adds[i]) end
end
return {{over, day, clock}}
""")

SETTLE = Script("""
if redis.call('HGET', KEYS[1], 'day') == ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'cost', ARGV[3])
  return 1
end
return 0
""")

LOOK = Script(f"""
local clock = tonumber(redis.call('TIME')[1]) + {ZONE_SECONDS}
local found = redis.call('HMGET', KEYS[1], 'day', 'calls', 'tokens', 'cost')
return {{clock, found[1], found[2], found[3], found[4]}}
""")


class Spent(NamedTuple):
    """What of a day's budget is used, places taken included. `cost` in 1/ONE of the currency; `resets`: when the
    next day begins.
    """

    calls: int
    tokens: int
    cost: int
    resets: datetime


class Place(NamedTuple):
    """A place in a day's budget."""

    day: int
    tokens: int
    cost: int


class Spending(Protocol):
    """One engine's budget. Every method may raise LineDown."""

    def take(self, engine: Engine, tokens: int, cost: int) -> Place:
        """A place for one call of at most so much. Raises BudgetSpent, and nothing is taken."""
        ...

    def settle(self, place: Place, tokens: int, cost: int) -> None:
        """What the call came to."""
        ...

    def spent(self) -> Spent:
        """Of today."""
        ...


class DayBudget:
    """What everybody spends who shares this Redis; satisfies `Spending`."""

    def __init__(self, url: str, name: str) -> None:
        """Opens nothing yet. Raises BadValue for an address that is none."""
        self._line = RedisLine(url, WAIT_SECONDS)
        self._name = name
        self._key = f"spent:{name}"

    def take(self, engine: Engine, tokens: int, cost: int) -> Place:
        """As `Spending.take`."""
        limits = (1, engine.daily_calls, tokens, engine.daily_tokens, cost, engine.cost_limit)
        over, day, clock = self._line.evaluate(TAKE, [([self._key], limits)])[0]
        if over:
            raise refused(self._name, engine, int(over), (int(day) + 1) * DAY_SECONDS, int(clock))
        return Place(int(day), tokens, cost)

    def settle(self, place: Place, tokens: int, cost: int) -> None:
        """As `Spending.settle`; a day that is over stays as it was."""
        self._line.evaluate(SETTLE, [([self._key], [place.day, tokens - place.tokens, cost - place.cost])])

    def spent(self) -> Spent:
        """As `Spending.spent`."""
        clock, day, *used = self._line.evaluate(LOOK, [([self._key], [])])[0]
        today = max(int(clock) // DAY_SECONDS, int(day or 0))
        counts = [int(count or 0) if int(day or 0) == today else 0 for count in used]
        return Spent(counts[0], counts[1], counts[2], _instant((today + 1) * DAY_SECONDS))


class OwnBudget:
    """What this process spends in all its threads, where there is no Redis to share it by; satisfies `Spending`."""

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self._name, self._clock = name, clock
        self._day, self._used = 0, [0, 0, 0]
        self._lock = Lock()

    def take(self, engine: Engine, tokens: int, cost: int) -> Place:
        """As `Spending.take`."""
        limits = (engine.daily_calls, engine.daily_tokens, engine.cost_limit)
        with self._lock:
            now = self._turn()
            wanted = [had + more for had, more in zip(self._used, (1, tokens, cost), strict=True)]
            over = next((i for i in range(3) if wanted[i] > limits[i]), None)
            if over is not None:
                raise refused(self._name, engine, over + 1, (self._day + 1) * DAY_SECONDS, now)
            self._used = wanted
            return Place(self._day, tokens, cost)

    def settle(self, place: Place, tokens: int, cost: int) -> None:
        """As `Spending.settle`."""
        with self._lock:
            if place.day == self._day:
                self._used[1] += tokens - place.tokens
                self._used[2] += cost - place.cost

    def spent(self) -> Spent:
        """As `Spending.spent`."""
        with self._lock:
            self._turn()
            calls, tokens, cost = self._used
        return Spent(calls, tokens, cost, _instant((self._day + 1) * DAY_SECONDS))

    def _turn(self) -> int:
        now = int(self._clock()) + ZONE_SECONDS
        if now // DAY_SECONDS > self._day:
            self._day, self._used = now // DAY_SECONDS, [0, 0, 0]
        return now


def refused(name: str, engine: Engine, over: int, end: int, now: int) -> BudgetSpent:
    """The refusal of what would be over: 1 calls, 2 tokens, 3 cost; `end`, `now`: seconds of India's clocks."""
    what = {
        1: f"its {engine.daily_calls} calls",
        2: f"its {engine.daily_tokens} tokens",
        3: f"its {engine.daily_cost} {engine.currency}",
    }[over]
    words = (
        f"what one call may need is not left of {what} a day; the budget begins anew at {_instant(end):%Y-%m-%d %H:%M}"
    )
    return BudgetSpent(name, f"{words} in India", float(end - now))


def amount(cost: int) -> Decimal:
    """In the currency."""
    return Decimal(cost) / ONE


def _instant(clock: int) -> datetime:
    return datetime.fromtimestamp(clock - ZONE_SECONDS, UTC).astimezone(IST)
