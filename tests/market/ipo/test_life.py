"""Life: the moves of an issue, and its dates by the exchange's calendar."""

from __future__ import annotations

import csv
from datetime import date
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from market.errors import BadValue
from market.holidays import sessions_of
from market.ipo.kinds import Segment
from market.ipo.life import (
    MANDATORY,
    MOVES,
    Allotted,
    Closed,
    Event,
    Extended,
    Listed,
    Opened,
    Postponed,
    State,
    Withdrawn,
    expected,
    move,
    opening_cap,
)


def test_an_issue_lives_from_its_announcement_to_its_listing() -> None:
    state = State.ANNOUNCED
    passed = []

    for at, event in enumerate((Postponed, Opened, Extended, Closed, Allotted, Listed)):
        state = move(state, event(at=at))
        passed.append(state)

    assert passed == ["announced", "open", "open", "closed", "allotted", "listed"]


@pytest.mark.parametrize(("state", "event"), list(product(State, get_args(Event))))
def test_what_is_not_in_the_table_raises_and_says_what_is_allowed(state: State, event: type[Event]) -> None:
    if (state, event) in MOVES:
        assert move(state, event(at=0)) is MOVES[state, event]
    else:
        with pytest.raises(BadValue, match=event.__name__.lower()):
            move(state, event(at=0))


@pytest.mark.parametrize("state", [State.LISTED, State.WITHDRAWN])
def test_nothing_happens_after_the_end(state: State) -> None:
    with pytest.raises(BadValue, match="its life is over"):
        move(state, Withdrawn(at=0))


@pytest.mark.parametrize(
    ("opens", "closes", "earliest", "listing"),
    [
        # Ather Energy: closed on Wednesday, 1 May a holiday; listed on Tuesday. Source: chittorgarh, report 118.
        (date(2025, 4, 28), date(2025, 4, 30), date(2025, 5, 6), date(2025, 5, 6)),
        # As its issuer liked: from the third to the sixth working day; the 19th was a holiday.
        (date(2023, 9, 12), date(2023, 9, 14), date(2023, 9, 20), date(2023, 9, 25)),
        # Zomato: T+6, the 21st was a holiday; it was in fact listed on the fifth day, 23 July 2021.
        (date(2021, 7, 14), date(2021, 7, 16), date(2021, 7, 27), date(2021, 7, 27)),
    ],
)
def test_the_listing_is_so_many_sessions_after_the_close(
    opens: date, closes: date, earliest: date, listing: date
) -> None:
    found = expected(opens, closes, sessions_of("NSE", date(2021, 1, 1), date(2025, 6, 30)))

    assert (found.earliest, found.listing) == (earliest, listing)
    assert closes < found.allotment < found.credit < found.listing


def test_a_calendar_that_ends_before_the_listing_is_refused() -> None:
    sessions = sessions_of("NSE", date(2025, 4, 1), date(2025, 5, 2))

    with pytest.raises(BadValue, match="working days"):
        expected(date(2025, 4, 28), date(2025, 4, 30), sessions)
    with pytest.raises(BadValue, match="2025-04-30"):
        expected(date(2025, 4, 30), date(2025, 4, 28), sessions)


def test_only_sme_issues_since_july_2024_open_below_a_cap() -> None:
    assert opening_cap(Segment.SME, date(2024, 7, 4)) == 90.0
    assert opening_cap(Segment.SME, date(2024, 7, 3)) is None
    assert opening_cap(Segment.MAINBOARD, date(2025, 1, 8)) is None


def test_nearly_all_issues_were_listed_on_the_day_that_was_expected(shared: Path) -> None:
    sessions = sessions_of("NSE", date(2023, 11, 1), date(2025, 8, 30))
    with (shared / "fixtures/ipo/clean/ipo_master.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["open_date"] >= MANDATORY.isoformat()]

    on_time = [
        expected(date.fromisoformat(row["open_date"]), date.fromisoformat(row["close_date"]), sessions).listing
        == date.fromisoformat(row["listing_date"])
        for row in rows
    ]

    assert len(on_time) > 250
    assert sum(on_time) / len(on_time) > 0.95
