"""The day's budget: the one on the bus and the one of a process keep the same rule."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.spending import DAY_SECONDS, DayBudget, OwnBudget, Spending, amount
from market.engines import ONE, Engine
from market.errors import BudgetSpent, LineDown
from market.sessions import IST

ENGINE = Engine(kind="ollama", model="m", daily_calls=3, daily_tokens=1000, daily_cost=Decimal("0.5"))
HALF = ONE // 2


@pytest.fixture(params=["bus", "own"])
def spending(request: pytest.FixtureRequest, shared_bus: RedisServer, raw: RedisLine) -> Spending:
    return DayBudget(shared_bus.url, "gpt") if request.param == "bus" else OwnBudget("gpt")


def test_a_place_is_taken_and_what_was_not_used_is_given_back(spending: Spending) -> None:
    place = spending.take(ENGINE, 900, HALF)
    taken = spending.spent()
    spending.settle(place, 120, 7)

    assert taken[:3] == (1, 900, HALF)
    assert spending.spent()[:3] == (1, 120, 7)


@pytest.mark.parametrize(
    ("before", "tokens", "cost", "what"),
    [
        (0, 1001, 0, "1000 tokens"),
        (0, 0, HALF + 1, "0.5 USD"),
        (3, 0, 0, "3 calls"),
        (3, 2000, ONE, "3 calls"),
    ],
)
def test_what_would_be_over_is_refused_and_nothing_is_taken(
    spending: Spending, before: int, tokens: int, cost: int, what: str
) -> None:
    for _ in range(before):
        spending.take(ENGINE, 0, 0)

    with pytest.raises(BudgetSpent, match=what) as refused:
        spending.take(ENGINE, tokens, cost)

    assert spending.spent()[:3] == (before, 0, 0)
    assert 0 < refused.value.after <= DAY_SECONDS


def test_the_last_of_a_budget_may_be_used(spending: Spending) -> None:
    spending.take(ENGINE, 1000, HALF)

    assert spending.spent()[:3] == (1, 1000, HALF)


def test_it_begins_anew_at_midnight_in_india(spending: Spending) -> None:
    before = datetime.now(IST).date()
    resets = spending.spent().resets.astimezone(IST)
    after = datetime.now(IST).date()

    assert resets.strftime("%H:%M:%S") == "00:00:00"
    assert before < resets.date() <= after + timedelta(days=1)


def test_what_was_spent_outlives_the_process_and_is_one_for_all(raw: RedisLine, shared_bus: RedisServer) -> None:
    DayBudget(shared_bus.url, "gpt").take(ENGINE, 5, 5)

    assert DayBudget(shared_bus.url, "gpt").spent()[:3] == (1, 5, 5)
    assert DayBudget(shared_bus.url, "other").spent()[:3] == (0, 0, 0)


def test_askers_at_once_do_not_take_one_place_twice(raw: RedisLine, shared_bus: RedisServer) -> None:
    def ask(_: int) -> bool:
        try:
            DayBudget(shared_bus.url, "gpt").take(ENGINE, 0, 0)
        except BudgetSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(ask, range(24)))

    assert sum(got) == 3


def days(raw: RedisLine, url: str) -> tuple[Spending, Callable[[int], None]]:
    """A budget on the bus, and what makes its newest day lie so many days back."""

    def back(count: int) -> None:
        day = int(raw.call("HGET", "spent:gpt", "day"))
        raw.call("HSET", "spent:gpt", "day", day - count)

    return DayBudget(url, "gpt"), back


def test_a_new_day_has_the_whole_budget_and_a_late_bill_stays_with_its_own(
    raw: RedisLine, shared_bus: RedisServer
) -> None:
    budget, back = days(raw, shared_bus.url)
    place = budget.take(ENGINE, 900, HALF)
    back(1)
    late = place._replace(day=place.day - 1)

    before = budget.spent()
    fresh = budget.take(ENGINE, 10, 10)
    budget.settle(late, 500, 500)

    assert before[:3] == (0, 0, 0)
    assert fresh.day == place.day
    assert budget.spent()[:3] == (1, 10, 10)


def test_a_clock_that_goes_back_a_day_gives_no_second_budget(raw: RedisLine, shared_bus: RedisServer) -> None:
    budget, back = days(raw, shared_bus.url)
    for _ in range(3):
        budget.take(ENGINE, 0, 0)
    back(-1)

    with pytest.raises(BudgetSpent):
        budget.take(ENGINE, 0, 0)

    assert budget.spent().calls == 3


def test_a_process_has_a_new_day_at_midnight_in_india_too() -> None:
    clock = [datetime(2026, 11, 20, 18, 29, 59, tzinfo=UTC).timestamp()]
    budget = OwnBudget("gpt", lambda: clock[0])
    budget.take(ENGINE, 1000, 0)
    with pytest.raises(BudgetSpent) as refused:
        budget.take(ENGINE, 1, 0)
    clock[0] += 1

    budget.take(ENGINE, 1, 0)

    assert refused.value.after == 1.0
    assert budget.spent()[:3] == (1, 1, 0)


def test_without_its_redis_nothing_may_be_spent() -> None:
    with pytest.raises(LineDown):
        DayBudget("redis://127.0.0.1:1/0", "gpt").take(ENGINE, 0, 0)


def test_an_amount_is_in_the_currency() -> None:
    assert (amount(7_000_000), amount(0)) == (Decimal("0.0007"), Decimal(0))
