"""Sessions: instants, phases and the days that are none, also where hours are unusual."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadValue
from market.sessions import (
    DAY,
    IST,
    MINUTE,
    NEW_YORK,
    NO_TABLE,
    SECOND,
    Phase,
    Session,
    Sessions,
    ahead,
    at,
    day_number,
    instant,
    nanoseconds,
    session,
)

WEDNESDAY = session(date(2021, 11, 3))
MUHURAT = session(date(2021, 11, 4), time(18, 15), time(19, 15))
MONDAY = session(date(2021, 11, 8))
WEEK = Sessions([MONDAY, WEDNESDAY, MUHURAT])


def test_an_indian_clock_is_five_and_a_half_hours_ahead() -> None:
    # date -u -d '2016-08-25 03:45:00' +%s
    assert at(date(2016, 8, 25), time(9, 15)) == 1_472_096_700 * SECOND
    assert instant(1_472_096_700 * SECOND) == datetime(2016, 8, 25, 3, 45, tzinfo=UTC)


def test_an_instant_is_the_same_whatever_zone_it_is_told_in() -> None:
    told = datetime(2016, 8, 25, 9, 15, 0, 250_000, tzinfo=IST)
    tokyo = told.astimezone(timezone(timedelta(hours=9)))

    assert nanoseconds(told) == nanoseconds(tokyo) == 1_472_096_700 * SECOND + 250_000_000


def test_a_time_without_its_zone_is_refused() -> None:
    with pytest.raises(BadValue, match="a time with its zone"):
        nanoseconds(datetime(2016, 8, 25, 9, 15))


@given(st.datetimes(datetime(1995, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_an_instant_survives_the_way_to_nanoseconds_and_back(moment: datetime) -> None:
    assert instant(nanoseconds(moment)) == moment


def test_a_usual_session_has_375_minutes_and_a_muhurat_one_sixty() -> None:
    assert WEDNESDAY.minutes == 375
    assert MUHURAT.minutes == 60
    assert WEDNESDAY.open - WEDNESDAY.preopen == 15 * MINUTE


@pytest.mark.parametrize(
    ("day", "clock", "phase"),
    [
        (date(2021, 11, 3), time(8, 59, 59), Phase.CLOSED),
        (date(2021, 11, 3), time(9, 0), Phase.PREOPEN),
        (date(2021, 11, 3), time(9, 14, 59), Phase.PREOPEN),
        (date(2021, 11, 3), time(9, 15), Phase.CONTINUOUS),
        (date(2021, 11, 3), time(15, 29, 59), Phase.CONTINUOUS),
        (date(2021, 11, 3), time(15, 30), Phase.CLOSED),
        (date(2021, 11, 4), time(10, 0), Phase.CLOSED),
        (date(2021, 11, 4), time(18, 0), Phase.PREOPEN),
        (date(2021, 11, 4), time(19, 14), Phase.CONTINUOUS),
        (date(2021, 11, 5), time(10, 0), Phase.CLOSED),
        (date(2021, 11, 8), time(10, 0), Phase.CONTINUOUS),
    ],
)
def test_the_phase_of_an_instant(day: date, clock: time, phase: Phase) -> None:
    assert WEEK.phase(at(day, clock)) is phase


def test_an_instant_belongs_to_the_session_of_its_indian_day() -> None:
    assert WEEK.of(at(date(2021, 11, 4), time(0))) == MUHURAT
    assert WEEK.of(at(date(2021, 11, 4), time(0)) - 1) == WEDNESDAY
    assert WEEK.of(at(date(2021, 11, 4), time(0)) + DAY) is None
    assert WEEK.of(at(date(2021, 11, 2), time(12))) is None


def test_sessions_come_in_order_however_they_were_given() -> None:
    assert list(WEEK) == [WEDNESDAY, MUHURAT, MONDAY]
    assert len(WEEK) == 3
    assert WEEK.on(date(2021, 11, 4)) == MUHURAT
    assert WEEK.on(date(2021, 11, 5)) is None


def test_the_session_after_an_instant_opens_later_than_it() -> None:
    assert WEEK.after(WEDNESDAY.open - 1) == WEDNESDAY
    assert WEEK.after(WEDNESDAY.open) == MUHURAT
    assert WEEK.after(MONDAY.open) is None


def test_the_table_holds_midnight_preopen_open_and_close() -> None:
    rows = WEEK.table()

    assert rows.shape == (3, 4)
    assert rows[1].tolist() == [at(date(2021, 11, 4), c) for c in (time(0), time(18), time(18, 15), time(19, 15))]
    assert Sessions([]).table().shape == (0, 4)


@given(st.integers(at(date(2021, 11, 1), time(0)), at(date(2021, 11, 12), time(0))))
def test_trading_is_exactly_within_the_hours_of_some_session(when: int) -> None:
    within = any(s.open <= when < s.close for s in (WEDNESDAY, MUHURAT, MONDAY))

    assert (WEEK.phase(when) is Phase.CONTINUOUS) is within


def test_days_are_counted_from_1970() -> None:
    # date -u -d 2016-08-25 +%s, divided by 86400
    assert day_number(date(2016, 8, 25)) == 17_038
    assert day_number(date(1970, 1, 1)) == 0


def test_an_exchange_elsewhere_has_its_days_by_its_own_clocks() -> None:
    day = date(2024, 7, 8)
    opens, closes = at(day, time(9, 30), NEW_YORK), at(day, time(16), NEW_YORK)
    days = Sessions(
        [Session(date=day, preopen=opens, open=opens, close=closes, exchange="NYSE", closing=4 * 60 * MINUTE)]
    )

    assert days.of(at(date(2024, 7, 9), time(1))) is not None  # past midnight in India
    assert days.phase(closes) is Phase.CLOSING
    assert days.phase(closes + 4 * 60 * MINUTE) is Phase.CLOSED
    assert ahead(days.table()) == -4 * 60 * MINUTE
    assert ahead(WEEK.table()) == ahead(NO_TABLE) == 330 * MINUTE


@pytest.mark.parametrize(
    ("phase", "trading", "resting"),
    [
        (Phase.CLOSED, False, True), (Phase.PREOPEN, False, False), (Phase.CONTINUOUS, True, False),
        (Phase.MUHURAT, True, False), (Phase.EXTENDED, True, False), (Phase.PAUSE, False, True),
        (Phase.CLOSING, False, True),
    ],
)  # fmt: skip
def test_candles_are_made_in_three_phases(phase: Phase, trading: bool, resting: bool) -> None:
    assert (phase.trading, phase.resting) == (trading, resting)
