"""What somebody who might apply should hear, and when it is true."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from market.ipo.alerts import IssueAlert, IssueEvent, due, due_to
from market.ipo.issues import Issue
from market.ipo.kinds import Kind
from market.ipo.life import State
from market.ipo.profit import Joined, Thresholds
from market.ipo.validation import Spike, ValidatedGmp
from market.money import Money, money
from market.sessions import MINUTE
from tests.market.ipo.issues import ist

OPEN = ist("2024-12-31T11:00")
NEW, PROFITABLE = IssueEvent.NEW, IssueEvent.PROFITABLE


def issue(**words: Any) -> Issue:
    told = {"opens": date(2024, 12, 30), "closes": date(2025, 1, 1), "high": money("321"), "state": State.OPEN}
    return Issue(id="amber", name="Amber", first_at=0, seen_at=0, **told | words)


def believed(gmp: Money | None, spike: Spike | None = None) -> ValidatedGmp:
    return ValidatedGmp(
        issue="amber", at=OPEN, gmp=gmp, points=None, confidence=0.5, disagreement_points=None, shown_points=None,
        age=None, used=(), refused=(), spike=spike,
    )  # fmt: skip


def events(one: Issue, gmp: str | None = None, now: int = OPEN, listing: date | None = None) -> list[IssueEvent]:
    told = believed(None if gmp is None else money(gmp))
    return [alert.event for alert in due(one, told, now, listing, Thresholds())]


@pytest.mark.parametrize(
    ("gmp", "found"), [(None, [NEW]), ("19", [NEW]), ("20", [NEW, PROFITABLE]), ("33", [NEW, PROFITABLE])]
)
def test_a_premium_of_the_seed_s_thresholds_is_worth_an_alert(gmp: str | None, found: list[IssueEvent]) -> None:
    assert events(issue(), gmp) == found


def test_whoever_wants_both_thresholds_reached_hears_less() -> None:
    wanted = Thresholds(joined=Joined.AND)

    assert [one.event for one in due(issue(), believed(money("20")), OPEN, None, wanted)] == [NEW]


@pytest.mark.parametrize(
    ("event", "came", "last"),
    [
        (IssueEvent.CLOSING, "2025-01-01T11:00", "2025-01-01T16:59"),
        (IssueEvent.REMINDER, "2025-01-05T17:00", "2025-01-06T09:59"),
        (IssueEvent.REMINDER, "2025-01-06T09:00", "2025-01-06T09:59"),
        (IssueEvent.SPIKE, "2025-01-01T11:00", "2025-01-03T10:59"),
        (IssueEvent.NEW, "2025-01-01T11:00", "2025-01-03T10:59"),
    ],
)
def test_an_alert_is_told_while_somebody_can_make_something_of_it(event: IssueEvent, came: str, last: str) -> None:
    alert = IssueAlert(event=event, issue="amber", at=ist(came), text="so it is")

    assert alert.timely(ist(came)) and alert.timely(ist(last))
    assert not alert.timely(ist(last) + MINUTE)


@pytest.mark.parametrize("state", [State.CLOSED, State.ALLOTTED])
def test_what_nobody_can_apply_for_any_more_is_not_worth_an_application(state: State) -> None:
    closed, own = issue(state=state), {"asha": Thresholds()}

    assert events(closed, "100") == [NEW]
    assert list(due_to(closed, believed(money("100")), OPEN, own)) == []


@pytest.mark.parametrize(
    "one", [issue(state=State.LISTED), issue(state=State.WITHDRAWN), issue(kind=Kind.REIT), issue(kind=Kind.FPO)]
)
def test_nothing_is_told_of_a_listed_issue_or_a_trust(one: Issue) -> None:
    assert events(one, "100", listing=date(2025, 1, 1)) == []


@pytest.mark.parametrize(
    ("now", "told"), [("2025-01-01T00:00", True), ("2025-01-01T16:59", True), ("2025-01-01T17:00", False)]
)
def test_the_last_day_of_bids_is_told_until_five(now: str, told: bool) -> None:
    assert (IssueEvent.CLOSING in events(issue(), now=ist(now))) is told


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2025-01-05T16:59", False),
        ("2025-01-05T17:00", True),
        ("2025-01-06T09:59", True),
        ("2025-01-06T10:00", False),
    ],
)
def test_a_listing_is_told_from_five_on_the_eve_until_it_trades(now: str, told: bool) -> None:
    assert (IssueEvent.REMINDER in events(issue(), now=ist(now), listing=date(2025, 1, 6))) is told


def test_each_spike_is_an_alert_of_its_own() -> None:
    spike = Spike(before_points=5.0, points=14.0, since=0)

    (alert,) = [one for one in due(issue(), believed(None, spike), OPEN, None, Thresholds()) if one.about]

    assert (alert.event, alert.topic) == (IssueEvent.SPIKE, f"ipo_spike:amber:{OPEN}")
    assert alert.text == "Amber: the premium went from 5.0 to 14.0 points"


def test_who_has_thresholds_of_their_own_hears_by_them() -> None:
    own = {"asha": Thresholds(points=6.0, joined=Joined.AND), "ben": Thresholds(points=9.0, amount=money("40"))}

    (alert,) = due_to(issue(), believed(money("20")), OPEN, own)

    assert (alert.event, alert.user, alert.topic) == (PROFITABLE, "asha", "ipo_profitable:amber::asha")
    assert alert.text == "Amber: worth an application by your thresholds: premium Rs 20.00, 6.2 points"


@pytest.mark.parametrize("one", [issue(state=State.LISTED), issue(kind=Kind.REIT), issue(high=None)])
def test_nobody_hears_by_their_own_thresholds_what_nobody_should(one: Issue) -> None:
    assert list(due_to(one, believed(money("100")), OPEN, {"asha": Thresholds()})) == []
