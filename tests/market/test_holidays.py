"""The sessions of the exchange against dates on which it is known to have traded."""

from __future__ import annotations

import csv
from datetime import date, datetime, time
from pathlib import Path

import pytest

from market.errors import BadValue
from market.holidays import SPECIAL, nse_sessions
from market.sessions import IST, MINUTE, instant


def hours(day: date) -> tuple[str, str] | None:
    """When the exchange opens and closes on a day, as India's clocks show it."""
    found = nse_sessions(day, day).on(day)
    if found is None:
        return None
    return tuple(f"{instant(at).astimezone(IST):%H:%M}" for at in (found.open, found.close))  # type: ignore[return-value]


def test_the_sessions_are_those_of_the_price_files_none_missing_none_invented(shared: Path) -> None:
    with (shared / "fixtures/market/nse_calendar/sessions.csv").open() as lines:
        traded = {date.fromisoformat(row["date"]) for row in csv.DictReader(lines)}

    ours = {s.date for s in nse_sessions(date(2000, 1, 3), date(2023, 12, 29))}

    assert len(traded) == 5968
    assert sorted(traded - ours) == []
    assert sorted(ours - traded) == []


def test_the_hours_are_those_of_the_recorded_calendar(shared: Path) -> None:
    with (shared / "fixtures/market/nse_calendar/sessions.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["lib_open"]]
    ours = nse_sessions(date(2000, 1, 3), date(2023, 12, 29))

    wrong = []
    for row in rows:
        session = ours.on(date.fromisoformat(row["date"]))
        assert session is not None
        shown = [f"{instant(at).astimezone(IST):%H:%M}" for at in (session.open, session.close)]
        if shown != [row["lib_open"], row["lib_close"]]:
            wrong.append((row["date"], shown))

    assert len(rows) == 5929
    assert wrong == []


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2015, 2, 28), "09:15", "15:30"),
        (date(2016, 10, 30), "18:30", "19:30"),
        (date(2020, 11, 14), "18:15", "19:15"),
        (date(2021, 2, 24), "09:15", "17:00"),
        (date(2021, 11, 4), "18:15", "19:15"),
        (date(2022, 10, 24), "18:15", "19:15"),
        (date(2023, 11, 12), "18:15", "19:15"),
        (date(2024, 1, 20), "09:15", "15:30"),
        (date(2024, 3, 2), "09:15", "12:30"),
        (date(2024, 5, 18), "09:15", "12:40"),
        (date(2024, 11, 1), "18:00", "19:00"),
        (date(2025, 2, 1), "09:15", "15:30"),
        (date(2025, 10, 21), "13:45", "14:45"),
        (date(2026, 2, 1), "09:15", "15:30"),
    ],
)
def test_a_special_session_has_its_own_hours(day: date, opens: str, closes: str) -> None:
    assert hours(day) == (opens, closes)


@pytest.mark.parametrize("day", [date(2024, 1, 22), date(2024, 5, 20), date(2025, 10, 22), date(2026, 2, 8)])
def test_a_holiday_and_an_ordinary_sunday_have_no_session(day: date) -> None:
    assert hours(day) is None


def test_the_table_only_holds_what_the_library_misses() -> None:
    import pandas_market_calendars

    known = pandas_market_calendars.get_calendar("NSE").schedule("2000-01-01", "2026-12-31").index
    dates = {moment.date() for moment in known}

    assert sorted(dates & set(SPECIAL)) == []


def test_an_hour_of_muhurat_is_sixty_minutes_with_a_preopen_before_it() -> None:
    day = date(2021, 11, 4)

    session = nse_sessions(day, day).on(day)

    assert session is not None
    assert session.minutes == 60
    assert session.open - session.preopen == 15 * MINUTE
    assert instant(session.open) == datetime.combine(day, time(18, 15), IST)


def test_a_span_upside_down_is_refused() -> None:
    with pytest.raises(BadValue, match="not before 2024-01-02"):
        nse_sessions(date(2024, 1, 2), date(2024, 1, 1))
