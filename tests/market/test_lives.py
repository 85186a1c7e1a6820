"""When a line is given up, and how it comes back."""

from __future__ import annotations

from datetime import date, time

from hypothesis import given
from hypothesis import strategies as st

from market.lives import (
    CALM,
    EVICTED_PAUSE,
    EVICTIONS,
    FIRST_PAUSE,
    LONGEST_PATIENCE,
    LONGEST_PAUSE,
    NORMAL_CLOSE,
    READY,
    LineLife,
    wake,
)
from market.sessions import MINUTE, SECOND, Sessions, session

MUTE = 3 * SECOND
DAYS = [session(date(2016, 8, 25)), session(date(2016, 8, 26), closes=time(12))]


def open_at(now: int) -> LineLife:
    life = LineLife(MUTE)
    life.opened(now)
    return life


def test_a_line_without_data_is_given_up_after_its_patience_and_only_while_the_exchange_trades() -> None:
    life = open_at(0)

    assert not life.silent(MUTE - 1, trading=True)
    assert life.silent(MUTE, trading=True)
    assert not life.silent(100 * MUTE, trading=False)
    assert not life.silent(100 * MUTE + MUTE - 1, trading=True)
    assert life.silent(100 * MUTE + MUTE, trading=True)


def test_each_line_that_brings_nothing_but_a_snapshot_is_borne_longer_up_to_a_bound() -> None:
    life, now, borne = LineLife(MUTE), 0, []
    for _ in range(5):
        life.opened(now)
        life.data(now + 1)
        borne.append(life.patience)
        now += life.patience + 1
        assert life.silent(now, trading=True)
        life.broke(now)

    assert borne == [MUTE, 2 * MUTE, LONGEST_PATIENCE, LONGEST_PATIENCE, LONGEST_PATIENCE]


def test_data_for_a_while_makes_everything_as_new() -> None:
    life = LineLife(MUTE)
    for _ in range(9):
        life.opened(0)
        life.broke(MUTE)
    life.opened(0)
    life.data(CALM)
    life.broke(CALM)

    assert life.pause(1.0) == FIRST_PAUSE
    assert not life.evicted


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 1, exclude_max=True))
def test_in_session_no_pause_is_ever_longer_than_its_bound_and_none_is_zero(tries: list[bool], chance: float) -> None:
    life = LineLife(MUTE)
    for connected in tries:
        if connected:
            life.opened(0)
        life.broke(1)

        assert FIRST_PAUSE // 2 <= life.pause(chance) <= LONGEST_PAUSE


def test_a_line_closed_normally_right_after_the_login_again_and_again_is_evicted_and_slows_down() -> None:
    life = LineLife(MUTE)
    for _ in range(EVICTIONS):
        assert not life.evicted
        life.opened(0)
        life.data(SECOND)
        life.broke(2 * SECOND, NORMAL_CLOSE)

    assert life.evicted
    assert EVICTED_PAUSE // 2 <= life.pause(0.0) <= EVICTED_PAUSE


def test_a_line_that_breaks_otherwise_is_not_evicted() -> None:
    life = LineLife(MUTE)
    for code in (NORMAL_CLOSE, NORMAL_CLOSE, 1006, NORMAL_CLOSE, NORMAL_CLOSE, None):
        life.opened(0)
        life.broke(SECOND, code)

        assert not life.evicted


def test_lines_rest_at_night_and_wake_before_the_next_session_whatever_it_is() -> None:
    first, second = DAYS
    calendar = Sessions(DAYS)

    assert wake(calendar, first.preopen - READY) is None
    assert wake(calendar, first.close - 1) is None
    assert wake(calendar, first.close) == second.preopen - READY - first.close
    assert wake(calendar, second.preopen - READY - 1) == 1
    assert wake(calendar, second.close + MINUTE) is not None


@given(st.integers(0, 40), st.integers(1, 10**15), st.floats(0, 1, exclude_max=True))
def test_no_rest_lasts_beyond_the_waking(failures: int, left: int, chance: float) -> None:
    life = LineLife(MUTE)
    for _ in range(failures):
        life.broke(0)

    assert life.pause(chance, left) <= max(left, FIRST_PAUSE)
