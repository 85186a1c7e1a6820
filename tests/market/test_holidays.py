"""The sessions of the exchange against dates on which it is known to have traded."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, time
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import BadValue
from market.holidays import TABLE, clocks, nse_sessions, ruled, sessions_of
from market.notices import Notice, read
from market.sessions import IST, MINUTE, ZONES, Kind, Phase, Sessions, at, instant


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


KINDS = {
    "regular": {Kind.REGULAR},
    "muhurat": {Kind.MUHURAT},
    "special_weekend": {Kind.SPECIAL, Kind.DRILL},
    "budget_weekend": {Kind.BUDGET},
    "extended_outage": {Kind.EXTENDED},
}


def test_every_row_of_the_recorded_calendar_is_right_in_hours_and_kind(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (shared / "fixtures/market/nse_calendar/sessions.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    ours = nse_sessions(date(2000, 1, 3), date(2023, 12, 29))

    wrong = []
    for row in rows:
        session = ours.on(date.fromisoformat(row["date"]))
        shown = session and [f"{instant(at).astimezone(IST):%H:%M}" for at in (session.open, session.close)]
        timed = not row["lib_open"] or shown == [row["lib_open"], row["lib_close"]]
        if session is None or not timed or session.kind not in KINDS[row["kind"]]:
            wrong.append((row["date"], shown, session and session.kind))

    with capsys.disabled():
        print(f"\nNSE calendar: {len(rows) - len(wrong)} rows right, {len(wrong)} rows wrong")
    assert sum(bool(row["lib_open"]) for row in rows) == 5929
    assert wrong == []


def test_no_session_is_held_on_a_recorded_holiday(shared: Path) -> None:
    with (shared / "fixtures/market/nse_calendar/weekday_holidays.csv").open() as lines:
        holidays = {date.fromisoformat(row["date"]) for row in csv.DictReader(lines)}
    ours = {s.date for s in nse_sessions(date(2000, 1, 3), date(2023, 12, 29))}

    assert len(holidays) == 317
    assert sorted(holidays & ours) == []


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
        (date(2026, 11, 8), "18:15", "19:15"),
    ],
)
def test_a_special_session_has_its_own_hours(day: date, opens: str, closes: str) -> None:
    assert hours(day) == (opens, closes)


@pytest.mark.parametrize("day", [date(2024, 1, 22), date(2024, 5, 20), date(2025, 10, 22), date(2026, 2, 8)])
def test_a_holiday_and_an_ordinary_sunday_have_no_session(day: date) -> None:
    assert hours(day) is None


MORNING = "pre-open 09:00, continuous 09:15"


# The timetables of the days: freepressjournal.in, 4 November 2021; zeebiz.com, 19 January 2024 (the drill of 2 March
# kept its hours); eastcoastdaily.in, 8 May 2024; ndtvprofit.com, 22 September 2025; money9.com, 24 February 2021.
@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2005, 3, 1), "continuous 09:55"),
        (date(2010, 6, 1), "continuous 09:00"),
        (date(2019, 6, 3), "pre-open 09:00, continuous 09:15, closing 15:30"),
        (date(2021, 2, 24), f"{MORNING}, pause 11:40, pre-open 15:30, extended 15:45, closing 17:00"),
        (date(2021, 11, 4), "pre-open 18:00, muhurat 18:15, closing 19:15"),
        (date(2024, 3, 2), f"{MORNING}, pause 10:00, pre-open 11:15, continuous 11:30, closing 12:30"),
        (date(2024, 5, 18), f"{MORNING}, pause 10:00, pre-open 11:30, continuous 11:45, closing 12:40"),
        (date(2025, 10, 21), "pre-open 13:30, muhurat 13:45, closing 14:45"),
    ],
)  # fmt: skip
def test_the_phases_of_a_day_are_those_of_its_timetable(day: date, expected: str) -> None:
    session = nse_sessions(day, day).on(day)

    assert session is not None
    shown = [f"{phase.value} {instant(start).astimezone(IST):%H:%M}" for phase, start, _ in session.phases()]
    assert ", ".join(shown) == expected


def test_hours_that_were_not_found_are_said_so() -> None:
    muhurat = nse_sessions(date(2026, 11, 8), date(2026, 11, 8)).on(date(2026, 11, 8))

    assert muhurat is not None
    assert "its hours were not found" in muhurat.source


def test_the_table_only_holds_what_the_library_misses_and_the_day_in_two_halves() -> None:
    import pandas_market_calendars

    known = pandas_market_calendars.get_calendar("NSE").schedule("2000-01-01", "2026-12-31").index
    dates = {moment.date().isoformat() for moment in known}

    assert [day for day, *_ in TABLE if day in dates] == ["2021-02-24"]
    assert all(source for *_, source in TABLE)


@pytest.mark.parametrize(
    ("day", "opens", "preopen"),
    [
        (date(2009, 12, 31), "09:55", 0),
        (date(2010, 1, 4), "09:00", 0),
        (date(2010, 10, 15), "09:00", 0),
        (date(2010, 10, 18), "09:15", 15),
    ],
)
def test_the_hours_changed_on_a_day(day: date, opens: str, preopen: int) -> None:
    session = nse_sessions(day, day).on(day)

    assert session is not None
    assert clocks(session) == f"{opens}-15:30"
    assert (session.open - session.preopen) // MINUTE == preopen


# money9.com, 24 February 2021: pre-open 15:30, normal market 15:45 to 17:00, post close to 17:30.
def test_the_outage_of_2021_is_a_session_in_two_halves_the_second_beyond_the_usual_hours() -> None:
    session = next(iter(nse_sessions(date(2021, 2, 24), date(2021, 2, 24))))

    shown = [(phase.value, f"{instant(a).astimezone(IST):%H:%M}") for phase, a, _ in session.phases()]

    assert shown == [
        ("pre-open", "09:00"), ("continuous", "09:15"), ("pause", "11:40"), ("pre-open", "15:30"),
        ("extended", "15:45"), ("closing", "17:00"),
    ]  # fmt: skip
    assert session.minutes == 145 + 75


def test_bse_traded_through_the_outage_of_nse() -> None:
    session = next(iter(sessions_of("BSE", date(2021, 2, 24), date(2021, 2, 24))))

    assert clocks(session) == "09:15-17:00"
    assert session.phase(at(session.date, time(12))) is Phase.CONTINUOUS
    assert session.phase(at(session.date, time(16))) is Phase.EXTENDED


# hindustantimes.com, 23 October 2022; freepressjournal.in, 4 November 2021.
def test_bse_trades_on_diwali_too() -> None:
    found = [sessions_of("BSE", day, day).on(day) for day in (date(2021, 11, 4), date(2022, 10, 24))]

    assert [(s.kind, clocks(s)) for s in found if s] == [(Kind.MUHURAT, "18:15-19:15")] * 2


@pytest.mark.parametrize(
    ("day", "hours", "kind"),
    [
        (date(2024, 11, 27), "09:30-16:00", Kind.REGULAR),
        (date(2024, 11, 28), None, None),  # Thanksgiving
        (date(2024, 11, 29), "09:30-13:00", Kind.HALF),
        (date(2024, 12, 24), "09:30-13:00", Kind.HALF),
        (date(2025, 1, 9), None, None),  # mourning for President Carter
        (date(2001, 9, 14), None, None),
        (date(2022, 6, 20), None, None),  # Juneteenth, a Sunday, on the Monday after
    ],
)
@pytest.mark.parametrize("exchange", ["NASDAQ", "NYSE"])
def test_new_york_trades_on_its_own_clocks(exchange: str, day: date, hours: str | None, kind: Kind | None) -> None:
    session = sessions_of(exchange, day, day).on(day)

    assert (session and clocks(session), session and session.kind) == (hours, kind)


def test_new_york_is_four_hours_behind_utc_in_summer_and_five_in_winter() -> None:
    july, january = (sessions_of("NYSE", day, day).on(day) for day in (date(2024, 7, 8), date(2024, 1, 8)))

    assert july is not None and january is not None
    assert instant(july.open) == datetime(2024, 7, 8, 13, 30, tzinfo=UTC)
    assert instant(january.open) == datetime(2024, 1, 8, 14, 30, tzinfo=UTC)


def test_a_year_without_a_published_list_says_so() -> None:
    session = next(iter(nse_sessions(date(2027, 1, 4), date(2027, 1, 4))))

    assert "no holidays of 2027 are known" in session.source


def told(day: str, kind: str, hours: str = "", exchange: str = "NSE") -> Notice:
    return read("circular.csv", f"exchange,date,kind,hours,source\n{exchange},{day},{kind},{hours},NSE/CMTR/1")[0]


def test_a_notice_has_the_last_word_and_its_source_is_shown() -> None:
    notices = [told("2026-11-08", "muhurat", "13:45-14:45"), told("2026-11-09", "holiday")]

    ours = sessions_of("NSE", date(2026, 11, 6), date(2026, 11, 11), notices)

    assert [(s.date.day, clocks(s)) for s in ours] == [(6, "09:15-15:30"), (8, "13:45-14:45"), (11, "09:15-15:30")]
    assert [s.source for s in ours if s.date.day == 8] == ["NSE/CMTR/1"]


def test_a_notice_of_one_exchange_leaves_the_other_alone() -> None:
    day = date(2026, 11, 9)

    assert sessions_of("BSE", day, day, [told("2026-11-09", "holiday")]).on(day) is not None


def test_a_contradiction_is_said_and_agreement_is_not() -> None:
    days = {s.date: s for s in nse_sessions(date(2026, 11, 9), date(2026, 11, 11))}

    said = [ruled(days, n) for n in (told("2026-11-09", "holiday"), told("2026-11-10", "holiday"))]

    assert "regular 09:15-15:30" in said[0] and "becomes no session (NSE/CMTR/1)" in said[0]
    assert said[1] == ""


def test_the_list_of_holidays_leaves_the_hour_of_diwali_standing() -> None:
    listed = read("holidays.json", json.dumps({"CM": [
        {"tradingDate": "21-Oct-2025", "weekDay": "Tuesday", "description": "Diwali Laxmi Pujan", "Sr_no": 1}
    ]}))  # fmt: skip

    ours = sessions_of("NSE", date(2025, 10, 21), date(2025, 10, 21), listed)

    assert [clocks(s) for s in ours] == ["13:45-14:45"]


@pytest.mark.parametrize(
    ("exchange", "first", "last", "said"),
    [
        ("LSE", date(2024, 1, 1), date(2024, 1, 2), "one of NSE, BSE, NASDAQ, NYSE"),
        ("NSE", date(1999, 12, 31), date(2024, 1, 2), "2000-01-01 to 2035-12-31"),
        ("NSE", date(2024, 1, 1), date(2036, 1, 1), "2000-01-01 to 2035-12-31"),
    ],
)
def test_an_unknown_exchange_and_days_out_of_range_are_refused(
    exchange: str, first: date, last: date, said: str
) -> None:
    with pytest.raises(BadValue, match=said):
        sessions_of(exchange, first, last)


@pytest.mark.parametrize("exchange", list(ZONES))
def test_sessions_are_ordered_and_never_overlap(exchange: str) -> None:
    ours = list(sessions_of(exchange, date(2000, 1, 1), date(2026, 12, 31)))

    assert all(a.close + a.closing < b.preopen and a.date < b.date for a, b in pairwise(ours))
    assert all(s.exchange == exchange and s.source for s in ours)
    assert all(instant(s.open).astimezone(s.zone).date() == s.date for s in ours)


@cache
def calendar(exchange: str) -> Sessions:
    return sessions_of(exchange, date(2000, 1, 1), date(2026, 12, 31))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(list(ZONES)), st.integers(at(date(2000, 1, 5), time(0)), at(date(2026, 12, 28), time(0))))
def test_every_instant_has_exactly_one_phase(exchange: str, when: int) -> None:
    ours = calendar(exchange)

    held = [phase for s in ours for phase, a, b in s.phases() if a <= when < b]

    assert held == ([] if ours.phase(when) is Phase.CLOSED else [ours.phase(when)])


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
