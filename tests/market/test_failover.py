"""Failover: who takes over when, how calmly it goes back, and that nothing happens at night."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.failover import LONGEST, Breaker, Failover, Rule, Seam, State, order
from market.sessions import MINUTE, SECOND, Sessions, session
from market.ticks import FeedState, Ticks, mark
from market.wishes import Wishes

TODAY, TOMORROW = session(date(2016, 8, 25)), session(date(2016, 8, 26))
SESSIONS = Sessions([TODAY, TOMORROW])
OPEN = TODAY.open
RULES = [Rule(name="kite", source=1), Rule(name="sim", source=0), Rule(name="spare", source=2, standby=False)]
LIVE, MUTE, DOWN, CLOSED = FeedState.LIVE, FeedState.MUTE, FeedState.DOWN, FeedState.CLOSED
KITE, SIM, SPARE = 1, 0, 2


def say(source: int, state: FeedState, second: float, since: float | None = None) -> Ticks:
    began = None if since is None else OPEN + int(since * SECOND)
    return mark(source, state, OPEN + int(second * SECOND), began)


class House:
    """A switch whose decisions stand in the log at once."""

    def __init__(self, return_after: int = 30) -> None:
        self.failover = Failover(RULES, SESSIONS, return_after * SECOND)
        self.seams: list[Seam] = []

    def hear(self, *rows: Ticks) -> None:
        for row in rows:
            self.failover.step(row)
            seam = self.failover.decide()
            if seam is not None:
                self.seams.append(seam)
                self.failover.switched(seam)

    def both(self, first: int, last: int) -> None:
        for second in range(first, last + 1):
            self.hear(say(KITE, LIVE, second), say(SIM, LIVE, second))

    def told(self) -> list[tuple[str, str, float, str]]:
        return [(s.old, s.new, (s.at - OPEN) / SECOND, s.reason) for s in self.seams]


def test_the_primary_is_active_from_the_first_mark_of_any_feed() -> None:
    house = House()

    house.hear(say(SIM, LIVE, -15), say(KITE, LIVE, -15))

    assert house.told() == [("", "kite", -15, "start")]
    assert (house.seams[0].number, house.seams[0].source) == (0, KITE)


def test_a_standby_takes_over_with_the_mark_that_says_mute() -> None:
    house = House()
    house.both(-15, 10)

    house.hear(say(SIM, LIVE, 13), say(KITE, MUTE, 13, since=10))

    assert house.told()[1:] == [("kite", "sim", 13, "mute")]
    assert house.seams[1].since == OPEN + 10 * SECOND
    assert house.failover.standing("kite").breaker is Breaker.OPEN


def test_a_line_that_is_back_within_a_second_is_no_trouble_and_one_that_is_not_is() -> None:
    house = House()
    house.both(-15, 10)

    house.hear(say(KITE, DOWN, 10, since=10), say(SIM, LIVE, 10.5), say(KITE, LIVE, 10.7, since=10), say(SIM, LIVE, 12))
    quick = house.told()[1:]
    house.hear(say(KITE, DOWN, 12.2, since=12), say(SIM, LIVE, 13), say(SIM, LIVE, 14))

    assert quick == []
    assert house.told()[1:] == [("kite", "sim", 14, "down")]


def test_a_dead_process_that_says_nothing_is_left_when_others_went_on() -> None:
    house = House()
    house.both(-15, 10)

    for second in range(11, 16):
        house.hear(say(SIM, LIVE, second))

    assert house.told()[1:] == [("kite", "sim", 14, "silent")]


def test_a_feed_whose_clock_is_behind_but_goes_on_is_not_silent() -> None:
    house = House()

    for second in range(-15, 60):
        house.hear(say(SIM, LIVE, second), say(KITE, LIVE, second - 20))

    assert [s.reason for s in house.seams] == ["start"]


def test_a_feed_that_is_ahead_dies_and_comes_back_further_ahead_and_the_other_is_not_blamed() -> None:
    house = House()
    for second in range(-15, 60):
        house.hear(say(KITE, LIVE, second + 20), say(SIM, LIVE, second))

    for second in range(60, 66):
        house.hear(say(SIM, LIVE, second))
    for second in range(66, 120):
        house.hear(say(KITE, LIVE, second + 40), say(SIM, LIVE, second))

    assert [(s.new, s.reason) for s in house.seams] == [("kite", "start"), ("sim", "silent"), ("kite", "return")]
    assert house.failover.standing("sim").fails == 0


def test_the_return_waits_until_the_primary_has_been_live_for_long_and_longer_when_it_flaps() -> None:
    house = House()
    house.both(-15, 10)
    second = 10
    waits = []
    for _ in range(7):
        second += 3
        house.hear(say(SIM, LIVE, second), say(KITE, MUTE, second, since=second - 3))
        back = second + 1
        while house.failover.active == "sim":
            second += 1
            house.hear(say(SIM, LIVE, second), say(KITE, LIVE, second))
        waits.append(second - back)

    assert waits[:6] == [30, 60, 120, 240, 480, LONGEST // SECOND]


def test_a_primary_that_held_for_ten_minutes_is_forgiven() -> None:
    house = House()
    house.both(-15, 10)
    for second in (13, 13 + 31 + 700):
        house.hear(say(SIM, LIVE, second), say(KITE, MUTE, second, since=second - 3))
        house.both(second + 1, second + 730)

    assert [round(at) for _, new, at, _ in house.told() if new == "kite"][1:] == [44, 775]


def test_when_all_are_down_the_active_one_stays() -> None:
    house = House()
    house.both(-15, 10)

    house.hear(say(KITE, DOWN, 10, since=10), say(SIM, DOWN, 10, since=10), say(KITE, DOWN, 15, since=10))
    house.hear(say(SIM, DOWN, 16, since=10))

    assert [s.reason for s in house.seams] == ["start"]
    assert {house.failover.standing(n).breaker for n in ("kite", "sim")} == {Breaker.OPEN}


def test_when_nothing_better_is_there_a_feed_on_trial_will_do() -> None:
    house = House()
    house.both(-15, 10)
    house.hear(say(SIM, MUTE, 13, since=10), say(KITE, LIVE, 13), say(SIM, LIVE, 14, since=14))

    house.hear(say(KITE, MUTE, 16, since=13))

    assert house.told()[1:] == [("kite", "sim", 16, "mute")]


def test_nothing_happens_while_the_exchange_is_closed() -> None:
    house = House()
    house.both(22_480, 22_499)
    night = [22_501 + 60 * k for k in range(600)]

    for second in night:
        house.hear(say(SIM, CLOSED, second), say(KITE, DOWN if second % 120 else CLOSED, second))

    assert [s.reason for s in house.seams] == ["start"]
    assert house.failover.standing("kite").breaker is Breaker.CLOSED


def test_a_feed_is_forced_held_and_released() -> None:
    house = House()
    house.both(-15, 10)

    house.failover.wishes = Wishes(forced="spare")
    house.both(11, 12)
    house.failover.wishes = Wishes(held=True)
    house.both(13, 14)
    house.failover.wishes = Wishes()
    house.both(15, 16)
    house.failover.wishes = Wishes(closed=frozenset({"kite"}))
    house.both(17, 18)

    assert house.told()[1:] == [
        ("kite", "spare", 11, "forced"),
        ("spare", "kite", 15, "silent"),
        ("kite", "sim", 17, "closed"),
    ]


def test_a_feed_that_was_taken_out_of_the_file_is_left() -> None:
    house = House()
    house.failover.switched(Seam(number=4, new="old", source=9, at=1, since=1, reason="start"))

    house.both(-15, -14)

    assert house.told() == [("old", "kite", -15, "gone")]
    assert house.seams[0].number == 5


@pytest.mark.parametrize(
    ("fallbacks", "expected"),
    [
        ({"a": None}, ["a"]),
        ({"a": "b", "b": "c", "c": None}, ["a", "b", "c"]),
        ({"a": "c", "b": None, "c": "a"}, ["a", "c"]),
    ],
)
def test_the_order_follows_the_chain_of_fallbacks(fallbacks: dict[str, str | None], expected: list[str]) -> None:
    assert order("a", fallbacks) == expected


SAID = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([LIVE, LIVE, LIVE, MUTE, DOWN, CLOSED]), st.integers(0, 3000)),
    max_size=80,
)
WISHES = st.sampled_from([Wishes(), Wishes(), Wishes(forced="sim"), Wishes(held=True), Wishes(closed={"kite"})])


@settings(max_examples=200, deadline=None)
@given(SAID, st.lists(WISHES, min_size=1, max_size=5), st.integers(0, 80))
def test_whatever_is_said_a_switch_has_a_reason_and_a_restart_changes_nothing(
    said: list[tuple[int, FeedState, int]], wishes: list[Wishes], restart: int
) -> None:
    house, other = House(), House()
    at = 0
    for k, (source, state, step) in enumerate(said):
        at += step
        if k == restart:
            kept = State.model_validate_json(other.failover.snapshot().model_dump_json())
            other.failover = Failover(RULES, SESSIONS, 30 * SECOND)
            other.failover.restore(kept)
        for one in (house, other):
            one.failover.wishes = wishes[k % len(wishes)]
            before = len(one.seams)
            one.hear(mark(source, state, OPEN + at * SECOND // 1000))
            for seam in one.seams[before:]:
                new = one.failover.standing(seam.new)
                assert seam.new != seam.old
                assert seam.since <= seam.at == one.failover.now
                assert new.state is LIVE or seam.reason in ("start", "forced")
                assert not one.failover.wishes.held or seam.reason == "start"

    assert other.seams == house.seams
    assert [s.number for s in house.seams] == list(range(len(house.seams)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 900), st.sampled_from(["mute", "down", "dead"]), st.integers(0, 999), st.integers(0, 999))
def test_a_standby_takes_over_within_two_seconds_of_mute_or_down(fault: int, kind: str, early: int, late: int) -> None:
    house = House()
    house.both(-15, fault)
    known = fault + {"mute": 3.0, "down": 0.0, "dead": 3.0}[kind] + early / 1000

    marks = [say(SIM, LIVE, fault + k + late / 1000) for k in range(1, 9)]
    if kind == "mute":
        marks.append(say(KITE, LIVE, fault + 1))
    if kind != "dead":
        marks.append(say(KITE, MUTE if kind == "mute" else DOWN, known, since=fault))
    house.hear(*sorted(marks, key=lambda m: int(m["at"][0])))

    _, new, at, reason = house.told()[1]
    assert (new, reason) == ("sim", "silent" if kind == "dead" else kind)
    assert at - known <= 2.0


def test_marks_are_found_among_ticks_and_a_switch_in_the_log_is_none_of_them() -> None:
    failover = Failover(RULES, SESSIONS)
    rows = np.concatenate([say(KITE, LIVE, 1), say(SIM, FeedState.ACTIVE, 5), say(7, LIVE, 9)])
    rows["kind"][0] = 0

    failover.step(rows)

    assert (failover.now, failover.decide()) == (0, None)
    assert MINUTE > failover.return_after("kite") > 0
