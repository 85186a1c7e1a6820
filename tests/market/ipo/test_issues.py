"""One issue made of what many sources told, and where it stands."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from market.errors import BadValue
from market.ipo.issues import Issue, Origin, advanced, joined, learned
from market.ipo.kinds import Kind, Segment
from market.ipo.life import State
from market.ipo.readings import IssueFacts, Status
from market.money import money
from tests.market.ipo.issues import ist

AT = ist("2025-01-01T11:00")


def facts(source: str = "investorgain", **words: Any) -> IssueFacts:
    return IssueFacts(source=source, name=words.pop("name", "Amber Foundry"), **words)


def issue(**words: Any) -> Issue:
    return Issue(id="amber", name="Amber Foundry", first_at=AT, seen_at=AT, **words)


def after(*told: tuple[IssueFacts, int]) -> Issue:
    found: Issue | None = None
    for reading, received in told:
        found = learned(found, "amber", [reading], Origin(source=reading.source, page=str(received), received=received))
    assert found is not None
    return found


def test_a_better_source_counts_whoever_spoke_last() -> None:
    found = after((facts("nse", high=money("321"), lot=46), AT), (facts("ipowatch", high=money("312"), lot=40), AT + 1))

    assert (found.high, found.lot, found.origins["high"].source) == (money("321"), 46, "nse")


def test_of_one_source_its_newest_page_counts() -> None:
    new, old = facts(closes=date(2025, 1, 2)), facts(closes=date(2025, 1, 1), lot=46)

    found = after((new, AT), (old, AT - 1))

    assert (found.closes, found.lot, found.seen_at, found.first_at) == (date(2025, 1, 2), 46, AT, AT - 1)


def test_what_a_source_leaves_out_stays() -> None:
    found = after((facts(high=money("321"), segment=Segment.SME, kind=Kind.FPO), AT), (facts("nse"), AT + 1))

    assert (found.high, found.segment, found.kind, found.shares_only) == (money("321"), Segment.SME, Kind.FPO, False)


@pytest.mark.parametrize(
    ("words", "at", "state"),
    [
        ({}, "2025-01-01T11:00", State.ANNOUNCED),
        ({"opens": date(2025, 1, 1)}, "2025-01-01T09:59", State.ANNOUNCED),
        ({"opens": date(2025, 1, 1)}, "2025-01-01T10:00", State.OPEN),
        ({"closes": date(2025, 1, 1)}, "2025-01-01T17:00", State.CLOSED),
        ({"closes": date(2025, 1, 1), "lists": date(2025, 1, 6)}, "2025-02-01T17:00", State.CLOSED),
        ({"opens": date(2025, 1, 1), "status": Status.POSTPONED}, "2025-01-01T10:00", State.ANNOUNCED),
        ({"status": Status.ALLOTTED}, "2025-01-01T10:00", State.ALLOTTED),
        ({"status": Status.LISTING}, "2025-01-01T10:00", State.CLOSED),
        ({"status": Status.LISTED}, "2025-01-01T10:00", State.LISTED),
        ({"listed_at": money("300")}, "2025-01-01T10:00", State.LISTED),
        ({"status": Status.LISTED, "lists": date(2025, 1, 6)}, "2025-01-05T23:59", State.ANNOUNCED),
        ({"status": Status.LISTED, "lists": date(2025, 1, 6)}, "2025-01-06T00:00", State.LISTED),
        ({"status": Status.WITHDRAWN}, "2025-01-01T10:00", State.WITHDRAWN),
        ({"state": State.LISTED, "status": Status.WITHDRAWN}, "2025-01-01T10:00", State.LISTED),
        ({"state": State.CLOSED, "status": Status.OPEN}, "2025-01-01T10:00", State.CLOSED),
    ],
)
def test_where_it_stands(words: dict[str, Any], at: str, state: State) -> None:
    assert advanced(issue(**words), ist(at)).state is state


LISTS = date(2025, 1, 6)


@pytest.mark.parametrize(
    ("source", "words", "told_at", "at", "state"),
    [
        ("chittorgarh", {"lists": LISTS}, "2025-01-07T00:00", "2025-01-07T00:00", State.LISTED),
        ("nse", {"lists": LISTS}, "2025-01-12T11:00", "2025-01-12T11:00", State.LISTED),
        ("nse", {"lists": LISTS}, "2025-01-06T23:59", "2025-01-12T11:00", State.ANNOUNCED),  # a plan, when it was told
        ("investorgain", {"lists": LISTS}, "2025-01-12T11:00", "2025-01-12T11:00", State.ANNOUNCED),
        ("other", {"lists": LISTS, "closed_at": money("123")}, "2025-01-06T18:00", "2025-01-06T18:00", State.ANNOUNCED),
        ("other", {"lists": LISTS, "closed_at": money("123")}, "2025-01-06T18:00", "2025-01-07T00:00", State.LISTED),
        ("nse", {"closed_at": money("123")}, "2025-01-12T11:00", "2025-01-12T11:00", State.ANNOUNCED),
        ("nse", {"lists": LISTS, "status": Status.POSTPONED}, "2025-01-12T11:00", "2025-01-12T11:00", State.ANNOUNCED),
        ("nse", {"lists": LISTS, "status": Status.WITHDRAWN}, "2025-01-12T11:00", "2025-01-12T11:00", State.WITHDRAWN),
    ],
)
def test_it_is_listed_from_the_day_after_by_a_close_or_an_official_day_of_listing(
    source: str, words: dict[str, Any], told_at: str, at: str, state: State
) -> None:
    found = after((facts(source, **words), ist(told_at)))

    assert advanced(found, ist(at)).state is state


OPENS, CLOSES = date(2025, 1, 1), date(2025, 1, 3)
WAITS, BIDDEN, ENDED = "2024-12-30T12:00", "2025-01-01T12:00", "2025-01-03T18:00"


@pytest.mark.parametrize(
    ("words", "at", "state"),
    [
        ({"opens": date(2025, 1, 3)}, WAITS, State.ANNOUNCED),
        ({"opens": date(2025, 1, 3)}, BIDDEN, State.ANNOUNCED),  # the clock alone had opened it
        ({"opens": date(2025, 1, 3), "status": Status.OPEN}, BIDDEN, State.OPEN),
        ({"closes": date(2025, 1, 6)}, BIDDEN, State.OPEN),
        ({"closes": date(2025, 1, 6)}, ENDED, State.OPEN),  # the clock alone had closed it
        ({"closes": date(2025, 1, 6), "status": Status.CLOSED}, ENDED, State.CLOSED),
        ({"closes": date(2025, 1, 2)}, BIDDEN, State.OPEN),
    ],
)
def test_days_that_are_put_off_or_extended_undo_what_the_clock_did(
    words: dict[str, Any], at: str, state: State
) -> None:
    first = facts(opens=OPENS, closes=CLOSES)

    found = after((first, ist("2024-12-29T12:00")), (first, ist(at) - 1), (facts(**words), ist(at)))

    assert found.state is state


def test_the_days_after_bidding_are_not_known_any_more_when_it_is_put_off_beyond_them() -> None:
    found = after(
        (facts("nse", opens=OPENS, closes=CLOSES, lists=LISTS), ist(WAITS)),
        (facts("nse", opens=date(2025, 1, 20)), ist(WAITS) + 1),
    )

    assert (found.opens, found.closes, found.lists) == (date(2025, 1, 20), None, None)
    assert found.origins.keys() == {"name", "opens"}


def test_its_gains_are_points_of_the_issue_price() -> None:
    found = issue(high=money("200"), listed_at=money("230"), closed_at=money("210"))

    assert (found.open_points, found.close_points) == (pytest.approx(15.0), pytest.approx(5.0))
    assert issue(listed_at=money("230")).open_points is None


@pytest.mark.parametrize(("opened", "closed"), [(None, "200"), ("230", "200"), ("230", "120")])
def test_a_close_that_cannot_be_is_not_known(opened: str | None, closed: str) -> None:
    first = None if opened is None else money(opened)

    assert issue(high=money("200"), listed_at=first, closed_at=money(closed)).close_points is None


def test_a_symbol_in_the_place_of_a_name_renames_nothing() -> None:
    found = after(
        (facts("nse", name="Amber Foundry Limited", symbol="AMBER"), AT),
        (facts("nse", name="AMBER", symbol="AMBER"), AT + 1),
    )

    assert (found.name, found.symbol) == ("Amber Foundry Limited", "AMBER")


def test_of_two_issues_that_are_one_the_better_source_counts_in_each_fact() -> None:
    first = after((facts("investorgain", high=money("321"), lot=46, name="Amber"), AT))
    second = after((facts("nse", high=money("320"), opens=date(2025, 1, 1)), AT - 5), (facts("other", lot=40), AT + 9))

    whole = joined(first, second.model_copy(update={"id": "zinc", "state": State.ALLOTTED}))

    assert (whole.id, whole.name, whole.high, whole.lot) == ("amber", "Amber Foundry", money("320"), 46)
    assert (whole.opens, whole.state, whole.first_at, whole.seen_at) == (
        date(2025, 1, 1), State.ALLOTTED, AT - 5, AT + 9,
    )  # fmt: skip
    assert {name: one.source for name, one in whole.origins.items()} == {
        "name": "nse", "high": "nse", "opens": "nse", "lot": "investorgain",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "one"),
    [
        ({"isin": "INE0AAA01029"}, True),  # the shares were split: issuer and sort of security are the same
        ({"isin": "INE0AAB01011"}, False),
        ({"lists": date(2025, 1, 13)}, True),
        ({"lists": date(2025, 1, 14)}, False),
        ({"kind": Kind.REIT}, False),
        ({"high": money("500"), "symbol": "ZINC"}, True),
    ],
)
def test_issues_of_facts_that_contradict_are_not_one(words: dict[str, Any], one: bool) -> None:
    first = issue(isin="INE0AAA01011", lists=date(2025, 1, 6), kind=Kind.IPO, high=money("321"), symbol="AMBER")
    second = first.model_copy(update={"id": "zinc", **words})

    if one:
        assert joined(first, second).id == "amber"
    else:
        with pytest.raises(BadValue, match="differ"):
            joined(first, second)
