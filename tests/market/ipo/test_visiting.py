"""Visiting: whose turn it is, when a breaker opens, and for how long nobody is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.failover import Breaker
from market.ipo import visiting
from market.ipo.visiting import COOL, COOLEST, LONGEST_AWAY, Standing, came, failed, passed
from market.sessions import DAY, MINUTE, SECOND

EVERY = 30 * MINUTE
NOW = 1_750_000_000 * SECOND


def after(fails: int, away: int = 0) -> Standing:
    standing = Standing()
    for _ in range(fails):
        standing = failed(standing, "board", NOW, EVERY, away)
    return standing


def test_a_page_that_came_is_due_again_after_its_time_and_the_source_after_its_gap() -> None:
    standing = came(Standing(), "board", NOW, EVERY)

    assert standing.due("board") == NOW + EVERY
    assert standing.due("performance") == 0
    assert standing.free(5 * SECOND) == NOW + 5 * SECOND


@pytest.mark.parametrize(("fails", "minutes"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (200, 30)])
def test_a_page_that_fails_is_due_later_each_time_and_never_later_than_a_good_one(fails: int, minutes: int) -> None:
    assert after(fails).due("board") == NOW + minutes * MINUTE


@pytest.mark.parametrize(
    ("fails", "breaker", "alone"),
    [(0, Breaker.CLOSED, 0), (2, Breaker.CLOSED, 0), (3, Breaker.OPEN, COOL), (4, Breaker.OPEN, 2 * COOL),
     (9, Breaker.OPEN, COOLEST), (200, Breaker.OPEN, COOLEST)],
)  # fmt: skip
def test_the_third_failure_in_a_row_opens_the_breaker(fails: int, breaker: Breaker, alone: int) -> None:
    standing = after(fails)

    assert standing.breaker(NOW) is breaker
    assert standing.free(0) == (NOW + alone if fails else 0)


def test_an_open_breaker_tries_one_request_and_one_good_answer_closes_it() -> None:
    standing = after(3)

    later = NOW + COOL
    again = failed(standing, "board", later, EVERY)

    assert standing.breaker(later) is Breaker.HALF_OPEN
    assert (again.breaker(later), again.free(0)) == (Breaker.OPEN, later + 2 * COOL)
    assert came(standing, "board", later, EVERY).breaker(later) is Breaker.CLOSED


def test_a_source_that_sends_us_away_is_left_alone_for_as_long_but_not_for_ever() -> None:
    assert after(1, 600 * SECOND).free(0) == NOW + 600 * SECOND
    assert after(1, 400 * DAY).free(0) == NOW + LONGEST_AWAY


def test_a_page_that_may_not_be_asked_for_costs_nobody_a_request() -> None:
    standing = passed(Standing(), "board", NOW, EVERY)

    assert (standing.due("board"), standing.free(5 * SECOND), standing.fails) == (NOW + EVERY, 0, 0)


@pytest.mark.parametrize(
    ("seconds", "ns"),
    [(-5.0, 0), (0.0, 0), (1.5, 3 * SECOND // 2), (1e300, LONGEST_AWAY), (float("inf"), LONGEST_AWAY)],
)
def test_seconds_that_a_site_names_are_bounded(seconds: float, ns: int) -> None:
    assert visiting.in_nanoseconds(seconds) == ns


@given(st.lists(st.tuples(st.booleans(), st.integers(0, DAY), st.integers(0, 3 * DAY)), max_size=60))
def test_whatever_happens_a_source_is_asked_again_within_a_day(story: list[tuple[bool, int, int]]) -> None:
    standing, now = Standing(), NOW
    for good, waited, away in story:
        now = max(now + waited, standing.free(0))
        standing = came(standing, "board", now, EVERY) if good else failed(standing, "board", now, EVERY, away)

        assert standing.free(0) <= now + LONGEST_AWAY
        assert now < standing.due("board") <= now + EVERY
        assert (standing.breaker(now) is Breaker.CLOSED) == (standing.fails < visiting.TRIPS)


def test_a_page_that_nobody_asks_for_any_more_is_forgotten() -> None:
    standing = came(Standing(), "subscription AMBER", NOW, EVERY)

    assert set(came(standing, "board", NOW + 29 * DAY, EVERY).pages) == {"subscription AMBER", "board"}
    assert set(failed(standing, "board", NOW + 31 * DAY, EVERY).pages) == {"board"}


def test_a_clock_that_was_set_back_locks_no_source_out() -> None:
    standing = failed(Standing(), "board", NOW, EVERY, DAY)

    assert visiting.current(standing, NOW) == standing
    assert visiting.current(standing, NOW - DAY) == Standing()
