"""What the IPO desk keeps for its users and operators: the version of its book, thresholds, alarms, precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.ipos import Book, Looking
from adapters.postgres_server import PostgresServer
from adapters.users import Users
from market.errors import BadValue
from market.ipo.alerts import IssueEvent
from market.ipo.pages import PageKind
from market.ipo.profit import Joined, Thresholds
from market.ipo.readings import Status
from market.money import money
from market.sessions import MINUTE
from market.vendors.investorgain import InvestorGain
from pipelines import ipos
from tests.market.ipo.issues import AMBER, COBALT, DELTA, ISSUES, NOW, ist
from tests.market.ipo.made import tables as history
from tests.pipelines.desk import SCHEMA, changed, take

HIGH = Thresholds(points=50.0, amount=money("500"))
LOW = Thresholds(points=5.0, amount=money("0"), joined=Joined.AND)
SHIFTED = [changed(one, high=money("46"), low=money("46")) for one in ISSUES]
LISTED = changed(AMBER, status=Status.LISTED, listed_at=money("354.8"), closed_at=money("360"))


def version(book: Book) -> int:
    with book.looking() as run:
        return run.version()


def asha(url: str, email: str = "asha@example.com") -> str:
    users = Users(url, None, schema=SCHEMA)
    made = users.register(email, "Asha", "a hash")
    users.close()
    assert made is not None
    return made.id


@pytest.fixture
def user(book: Book, shared_database: PostgresServer) -> str:
    """The id of an account."""
    return asha(shared_database.url)


def own(book: Book, user: str, thresholds: Thresholds) -> None:
    with book.writing() as run:
        run.put_thresholds(user, thresholds)


def test_the_version_is_another_after_whatever_changes_an_answer(book: Book) -> None:
    later, listed = NOW + 60 * MINUTE, ist("2025-01-06T11:00")
    doubt = changed(AMBER, name="Zinc Pumps", gmp=money("30"))

    def name() -> str:
        with book.looking() as run:
            return run.every()[0].id

    steps: list[Callable[[], object]] = [
        lambda: take(book, AMBER),
        lambda: take(book, changed(AMBER, gmp=money("44"), at=later), at=later),
        lambda: take(book, doubt, at=later, source="ipowatch"),
        lambda: ipos.decide(book, 1, None, "asha", "another company", later),
        lambda: ipos.override(book, name(), money("10"), "asha", "a typo", later),
        lambda: ipos.clear(book, name(), "asha", later),
        lambda: ipos.validate(book, later),
        lambda: ipos.predict(book, later, history()),
        lambda: take(book, LISTED, at=listed),
        lambda: ipos.score(book, listed),
        lambda: take(book, *SHIFTED, at=listed + MINUTE),
    ]
    found = [version(book)]
    for step in steps:
        step()
        found.append(version(book))

    assert found == sorted(set(found)) and len(found) == len(steps) + 1


def test_the_version_stays_when_nothing_changed(book: Book) -> None:
    take(book, *ISSUES)
    found = ipos.validate(book, NOW + MINUTE)
    ipos.predict(book, NOW + MINUTE, history())
    ipos.score(book, NOW + MINUTE)
    before = version(book)

    take(book, *ISSUES, at=NOW + 60 * MINUTE)
    ipos.validate(book, NOW + MINUTE)
    ipos.sent(book, found.alerts, NOW + 2 * MINUTE)
    ipos.predict(book, NOW + 2 * MINUTE, history())
    ipos.score(book, NOW + 2 * MINUTE)
    with pytest.raises(BadValue):
        ipos.override(book, "zinc", money("1"), "asha", "a typo", NOW)

    assert version(book) == before


def test_a_transaction_that_breaks_leaves_the_version(book: Book) -> None:
    take(book, AMBER)
    before = version(book)

    with pytest.raises(ZeroDivisionError), book.writing() as run:
        run.put_issues([run.every()[0].model_copy(update={"name": "Tin"})])
        raise ZeroDivisionError

    assert version(book) == before


def test_a_user_s_thresholds_are_kept_changed_and_dropped(book: Book, user: str) -> None:
    own(book, user, HIGH)
    own(book, user, LOW)
    with book.writing() as run:
        kept, alone, none = run.thresholds(), run.thresholds_of(user), run.thresholds_of("nobody")
        dropped = [run.drop_thresholds(user) for _ in range(2)]
        after = run.thresholds()

    assert (kept, alone, none) == ({user: LOW}, LOW, None)
    assert (dropped, after) == ([True, False], {})


def test_thresholds_want_an_account(book: Book) -> None:
    with pytest.raises(BadValue, match="nobody"):
        own(book, "nobody", LOW)


def test_thresholds_go_with_their_account(book: Book, user: str) -> None:
    own(book, user, LOW)

    with book.writing() as run:
        run.all("DELETE FROM users WHERE id = :user", user=user)

    with book.looking() as seen:
        assert seen.thresholds() == {}


def test_each_user_hears_of_a_profitable_issue_once_by_their_own_thresholds(
    book: Book, user: str, shared_database: PostgresServer
) -> None:
    other, third = (asha(shared_database.url, f"{name}@example.com") for name in ("ben", "chitra"))
    for name, thresholds in ((user, LOW), (other, HIGH), (third, LOW)):
        own(book, name, thresholds)
    take(book, AMBER)

    def told(now: int) -> list[tuple[str, str]]:
        alerts = ipos.validate(book, now).alerts
        ipos.sent(book, alerts, now)
        assert len({one.topic for one in alerts}) == len(alerts)
        return [(one.user, one.about) for one in alerts if one.event is IssueEvent.PROFITABLE]

    first, second = told(NOW), told(NOW + MINUTE)
    own(book, other, Thresholds(points=12.0, amount=money("1000")))
    third_time = told(NOW + 2 * MINUTE)

    assert sorted(first) == sorted([("", ""), (user, ""), (third, "")])
    assert (second, third_time) == ([], [(other, "")])


def test_an_alert_for_one_user_comes_until_it_was_sent(book: Book, user: str) -> None:
    own(book, user, LOW)
    take(book, AMBER)
    everybody = [one for one in ipos.validate(book, NOW).alerts if not one.user]

    ipos.sent(book, everybody, NOW)

    (left,) = ipos.validate(book, NOW + MINUTE).alerts
    assert (left.user, left.event, left.gmp) == (user, IssueEvent.PROFITABLE, AMBER.gmp)


def alarms(book: Book) -> list[tuple[str, str, str, int, int]]:
    with book.looking() as run:
        return [(one.source, one.kind, one.digest, one.fetched_at, one.seen_at) for one in run.alarms()]


def test_an_alarm_is_there_until_a_good_page_comes_or_a_person_accepts_it(book: Book) -> None:
    later, last = NOW + 60 * MINUTE, NOW + 120 * MINUTE
    take(book, *ISSUES)
    before = alarms(book)
    taken = take(book, *SHIFTED, at=later)
    take(book, *SHIFTED, at=last)
    during = alarms(book)

    ipos.accept(book, InvestorGain(), PageKind.BOARD, during[0][2])

    assert (before, during) == ([], [("investorgain", "board", taken.digest, later, last)])
    assert alarms(book) == []


def test_an_alarm_ends_with_a_good_page_and_is_one_of_its_own_source(book: Book) -> None:
    take(book, *ISSUES)
    take(book, *ISSUES, source="ipowatch")
    take(book, *SHIFTED, at=NOW + 60 * MINUTE)
    with book.looking() as run:
        (alarm,) = run.alarms()

    take(book, changed(AMBER, gmp=money("44")), *ISSUES[1:], at=NOW + 120 * MINUTE)

    assert "another price" in alarm.trouble and alarm.source == "investorgain"
    assert alarms(book) == []


def came(run: Looking) -> list[tuple[int, int, float]]:
    return [(one.gmp, one.price, round(one.gain_points, 3)) for one in run.came()]


def test_thresholds_are_measured_by_the_premium_of_the_closing_day(book: Book) -> None:
    eve, listed = ist("2025-01-05T18:00"), ist("2025-01-06T11:00")
    take(book, changed(AMBER, gmp=money("41.5")), COBALT, DELTA)
    ipos.validate(book, NOW)
    take(book, changed(AMBER, gmp=money("3"), at=eve), COBALT, DELTA, at=eve)
    ipos.validate(book, eve)
    take(book, LISTED, COBALT, DELTA, at=listed)
    ipos.score(book, listed)

    with book.looking() as run:
        rows, found = came(run), ipos.precision(run, Thresholds())

    # Delta's premium was told after it traded; Amber opened at 354.80, 10.53 points above 321.
    assert rows == [(money("41.5"), money("321"), 10.530)]
    assert (found.issues, found.flagged, found.precision, found.recall) == (1, 1, 1.0, 1.0)


def test_what_was_believed_counts_before_what_a_source_told(book: Book) -> None:
    listed = ist("2025-01-06T11:00")
    take(book, AMBER)
    take(book, LISTED, at=listed)
    ipos.score(book, listed)
    with book.looking() as run:
        (issue,) = run.every()
        told = came(run)
    believed = ipos._unread(issue.id, NOW).model_copy(update={"gmp": money("2"), "points": 0.62})

    with book.writing() as pen:
        pen.add_validation(believed, None)

    with book.looking() as run:
        assert [gmp for gmp, *_ in told + came(run)] == [AMBER.gmp, money("2")]
