"""The IPO desk's round over a real Postgres: invented pages in, issues, premiums, alerts and outcomes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.database import Database
from adapters.ipos import Book
from adapters.migrations.versions.ipos_0003 import TABLES
from adapters.postgres_server import PostgresServer
from market.errors import BadValue
from market.ipo.alerts import IssueEvent
from market.ipo.life import State
from market.ipo.models import GMP
from market.ipo.pages import Page, PageKind
from market.ipo.readings import Status
from market.ipo.specimens import Specimen, investorgain_board, ipowatch_board
from market.ipo.walkforward import OURS, Task
from market.money import money
from market.sessions import DAY, IST, MINUTE, nanoseconds
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from pipelines import ipos
from tests.market.ipo.issues import AMBER, COBALT, ISSUES, NOW, ist
from tests.market.ipo.made import tables as history

SCHEMA = "desk"
SOURCES = {"investorgain": InvestorGain(), "ipowatch": IpoWatch()}
LISTED = {"status": Status.LISTED, "listed_at": money("354.8"), "closed_at": money("360")}


@pytest.fixture
def book(shared_database: PostgresServer, tmp_path: Path) -> Iterator[Book]:
    """An empty book."""
    line = Database(shared_database.url, SCHEMA)
    line.migrate()
    with line.begin() as run:
        run.exec_driver_sql(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
    line.close()
    found = Book(shared_database.url, tmp_path / "pages", SCHEMA)
    yield found
    found.close()


def take(book: Book, *issues: Specimen, at: int = NOW, source: str = "investorgain") -> ipos.Taken:
    body = investorgain_board(issues) if source == "investorgain" else ipowatch_board(issues, at)
    return ipos.take(book, ipos.read(SOURCES[source], PageKind.BOARD, body, at), body, at)


def everything(book: Book) -> dict[str, list[dict[str, Any]]]:
    with book.looking() as run:
        return {table: run.all(f"SELECT t.* FROM {table} t ORDER BY t::text") for table in TABLES}  # noqa: S608


def changed(issue: Specimen, **words: Any) -> Specimen:
    return issue.model_copy(update=words)


def test_a_page_makes_issues_premiums_and_bids_that_lead_back_to_its_bytes(book: Book) -> None:
    taken = take(book, *ISSUES)

    with book.looking() as run:
        (amber,) = [one for one in run.every() if one.name == AMBER.name]
        (premium,) = run.premiums(amber.id)
        total = [one for one in run.bids(amber.id) if one.category == "total"]
    assert (len(taken.issues), taken.unsure, taken.trouble) == (3, (), "")
    assert (amber.high, amber.opens, amber.lists, amber.state) == (AMBER.high, AMBER.opens, AMBER.lists, State.OPEN)
    assert (premium.gmp, premium.at, premium.stamped) == (AMBER.gmp, AMBER.at, True)
    assert [one.times for one in total] == [1.57]
    assert premium.page == amber.origins["high"].page
    assert AMBER.name.encode().split(b" ")[0] in book.body(premium.page)


def test_no_quote_is_kept_as_none(book: Book) -> None:
    take(book, COBALT)

    with book.looking() as run:
        (issue,) = run.every()
        assert [one.gmp for one in run.premiums(issue.id)] == [None]
    assert ipos.validate(book, NOW).believed[0].gmp is None


def test_what_was_taken_before_changes_nothing(book: Book) -> None:
    pages = [(ISSUES, NOW, "investorgain"), ((AMBER,), NOW + MINUTE, "ipowatch")]
    pages.append(((changed(AMBER, gmp=money("50"), at=NOW), *ISSUES[1:]), NOW + 60 * MINUTE, "investorgain"))
    first = [take(book, *issues, at=at, source=source) for issues, at, source in pages]
    before = everything(book)

    again = [take(book, *issues, at=at, source=source) for issues, at, source in pages]

    assert [one.again for one in first + again] == [False] * 3 + [True] * 3
    assert everything(book) == before


def test_two_sources_speak_of_one_issue(book: Book) -> None:
    take(book, *ISSUES)
    second = take(book, changed(AMBER, name="Amber and Sons Foundry Ltd"), at=NOW + MINUTE, source="ipowatch")

    with book.looking() as run:
        (amber,) = [one for one in run.every() if one.high == AMBER.high]
        names = run.names(amber.id)
    assert (second.matched, second.issues, second.unsure) == (1, (), ())
    assert names == [("investorgain", AMBER.name), ("ipowatch", "Amber and Sons Foundry Ltd")]
    assert ipos.validate(book, NOW + 2 * MINUTE).believed[0].gmp == AMBER.gmp


def test_a_page_whose_prices_are_others_is_an_alarm_and_no_data(book: Book) -> None:
    take(book, *ISSUES)
    before = everything(book)
    shifted = [changed(one, high=money("46"), low=money("46")) for one in ISSUES]

    taken = take(book, *shifted, at=NOW + 60 * MINUTE)

    after = everything(book)
    assert "another price" in taken.trouble
    assert taken.alarm is not None and taken.alarm.subject == "investorgain board"
    assert {table for table in TABLES if after[table] != before[table]} == {"ipo_pages"}


def test_a_page_that_cannot_be_read_is_kept_and_an_alarm(book: Book) -> None:
    body = b"<html><body>maintenance</body></html>"

    unread = ipos.read(InvestorGain(), PageKind.BOARD, body, NOW)
    taken = ipos.take(book, unread, body, NOW)

    assert not isinstance(unread, Page)
    assert taken.trouble and book.body(taken.digest) == body


def test_a_page_a_person_found_right_becomes_data(book: Book) -> None:
    take(book, *ISSUES)
    shifted = [changed(one, high=money("46"), low=money("46"), lists=date(2025, 1, 8)) for one in ISSUES]
    body, at = investorgain_board(shifted), NOW + 60 * MINUTE
    page = ipos.read(InvestorGain(), PageKind.BOARD, body, at)
    refused = ipos.take(book, page, body, at)

    taken = ipos.take(book, page, body, at, looked=True)

    assert refused.trouble and not taken.trouble and not taken.again


def test_a_premium_does_not_go_with_other_bytes(book: Book) -> None:
    body = investorgain_board(ISSUES)
    page = ipos.read(InvestorGain(), PageKind.BOARD, body, NOW)

    with pytest.raises(BadValue, match="the bytes of the page"):
        ipos.take(book, page, body + b" ", NOW)


def test_each_alert_is_told_once(book: Book) -> None:
    take(book, *ISSUES)

    first, second = (ipos.validate(book, NOW + k * MINUTE).alerts for k in range(2))

    told = {(one.event, one.issue.split("-")[0]) for one in first}
    assert told == {
        (IssueEvent.NEW, "amber"),
        (IssueEvent.NEW, "cobalt"),
        (IssueEvent.PROFITABLE, "amber"),
        (IssueEvent.CLOSING, "amber"),
        (IssueEvent.CLOSING, "cobalt"),
    }
    assert second == ()


def test_the_reminder_comes_at_five_on_the_eve(book: Book) -> None:
    take(book, AMBER)
    ipos.validate(book, NOW)

    early, due = (ipos.validate(book, ist(at)).alerts for at in ("2025-01-05T16:59", "2025-01-05T17:00"))

    assert (early, [one.event for one in due]) == ((), [IssueEvent.REMINDER])


def test_a_spike_is_told_each_time(book: Book) -> None:
    spikes = []
    for k, gmp in enumerate(("41.5", "70", "41.5")):
        at = NOW + k * 60 * MINUTE
        take(book, changed(AMBER, gmp=money(gmp), at=at), *ISSUES[1:], at=at)
        spikes += [one for one in ipos.validate(book, at + MINUTE).alerts if one.event is IssueEvent.SPIKE]

    assert [one.text for one in spikes] == [
        "Amber & Sons Foundry: the premium went from 12.9 to 21.8 points",
        "Amber & Sons Foundry: the premium went from 21.8 to 12.9 points",
    ]


def test_an_issue_lives_by_pages_and_by_the_clock(book: Book) -> None:
    take(book, changed(AMBER, status=Status.UPCOMING), at=ist("2024-12-28T11:00"))
    states = []
    for at in ("2024-12-29T11:00", "2024-12-30T10:00", "2025-01-01T17:00"):
        ipos.validate(book, ist(at))
        with book.looking() as run:
            states += [one.state for one in run.every()]
    take(book, changed(AMBER, **LISTED), at=ist("2025-01-06T11:00"))
    with book.looking() as run:
        states += [one.state for one in run.every()]

    assert states == [State.ANNOUNCED, State.OPEN, State.CLOSED, State.LISTED]


def test_a_listing_scores_the_sources_once(book: Book) -> None:
    take(book, AMBER)
    ipos.validate(book, NOW)
    listed = ist("2025-01-06T11:00")
    take(book, changed(AMBER, **LISTED), at=listed)

    first, second = ipos.score(book, listed), ipos.score(book, listed + DAY)

    (outcome,) = first
    assert outcome.open_points == pytest.approx(100 * (354.8 / 321 - 1))
    assert second == []
    (row, believed) = sorted(ipos.track(book).league, key=lambda one: one.source, reverse=True)
    assert (row.source, believed.source, row.n) == ("investorgain", "believed", 1)
    assert row.mae == pytest.approx(100 * (41.5 - 33.8) / 321, abs=1e-5)
    with book.looking() as run:
        league = run.validator().reliability.snapshot()["shown"]
    assert [(one[0], one[4]) for one in league] == [("investorgain", pytest.approx(100 * (41.5 - 33.8) / 321))]


def test_a_premium_of_after_the_first_trade_is_not_believed(book: Book) -> None:
    take(book, AMBER)
    late = ist("2025-01-06T10:00")

    take(book, changed(AMBER, gmp=money("20"), at=late), at=late)

    assert [one.gmp for one in ipos.validate(book, late).believed] == [None]
    with book.looking() as run:
        assert [line[0]["gmp"] for line in run.validator().snapshot()["issues"].popitem()[1]["lines"].values()] == [
            AMBER.gmp
        ]


def test_a_row_nobody_is_sure_of_waits_and_a_person_places_it(book: Book) -> None:
    take(book, AMBER)
    other = changed(AMBER, name="Zinc Pumps", gmp=money("30"))
    taken = take(book, other, at=NOW + MINUTE, source="ipowatch")
    with book.looking() as run:
        (review,) = run.reviews()
        before = run.every()

    placed = ipos.decide(book, review.number, None, "asha", "another company", NOW + 2 * MINUTE)

    assert taken.unsure == (review.number,) and review.candidates == (before[0].id,)
    with book.looking() as run:
        assert run.reviews() == []
        assert [(one.by, one.because, one.issue) for one in run.reviews(waiting=False)] == [
            ("asha", "another company", placed)
        ]
        assert [one.gmp for one in run.premiums(placed)] == [money("30")]
        assert len(run.every()) == 2


def test_a_decision_wants_a_row_and_a_reason(book: Book) -> None:
    with pytest.raises(BadValue, match="review queue"):
        ipos.decide(book, 7, None, "asha", "because", NOW)
    with pytest.raises(BadValue, match="in words"):
        ipos.decide(book, 7, None, "asha", " ", NOW)


def test_what_an_operator_sets_counts_until_it_is_cleared(book: Book) -> None:
    take(book, AMBER)
    with book.looking() as run:
        name = run.every()[0].id
    said = []

    for step in range(3):
        if step == 1:
            ipos.override(book, name, money("10"), "asha", "the board has a typo", NOW, pinned=True)
        if step == 2:
            ipos.clear(book, name, "asha", NOW + 2 * MINUTE)
        said += [one.gmp for one in ipos.validate(book, NOW + (step + 1) * MINUTE).believed]

    assert said == [AMBER.gmp, money("10"), AMBER.gmp]
    with pytest.raises(BadValue, match="somebody has set"):
        ipos.clear(book, name, "asha", NOW)


def test_an_override_that_is_not_pinned_ends_with_the_next_quote(book: Book) -> None:
    take(book, AMBER)
    with book.looking() as run:
        name = run.every()[0].id
    ipos.override(book, name, money("10"), "asha", "the board has a typo", NOW)
    before = [one.gmp for one in ipos.validate(book, NOW + MINUTE).believed]
    later = NOW + 60 * MINUTE

    take(book, changed(AMBER, gmp=money("38"), at=later), at=later)

    assert (before, [one.gmp for one in ipos.validate(book, later).believed]) == ([money("10")], [money("38")])


def test_predictions_are_published_with_what_is_served_and_not_twice(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW)

    first = ipos.predict(book, NOW, history())
    second = ipos.predict(book, NOW + MINUTE, history())

    amber = {(one.task, one.model): one for one in first if one.issue.startswith("amber")}
    assert amber.keys() == {(task, model) for task in Task for model in (GMP, OURS)}
    assert all(sum(amber[task, model].served for model in (GMP, OURS)) == 1 for task in Task)
    assert amber[Task.OPEN, GMP].predicted_points == pytest.approx(100 * 41.5 / 321)
    assert amber[Task.OPEN, GMP].low_points is not None
    assert {one.issue.split("-")[0] for one in first} == {"amber"}
    assert second == []


KILLED = """
import os, signal, sys
from pathlib import Path
from adapters.ipos import Book, Writing
from market.ipo.pages import PageKind
from market.vendors.investorgain import InvestorGain
from pipelines import ipos

url, schema, folder, file, at, after = sys.argv[1:]
done = getattr(Writing, after)

def killed(self, *words, **more):
    done(self, *words, **more)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(Writing, after, killed)
body = Path(file).read_bytes()
ipos.take(Book(url, Path(folder), schema), ipos.read(InvestorGain(), PageKind.BOARD, body, int(at)), body, int(at))
"""


@pytest.mark.parametrize("after", ["add_page", "put_issues", "add_premiums", "save"])
def test_a_process_killed_in_the_middle_of_a_page_loses_and_doubles_nothing(
    book: Book, shared_database: PostgresServer, tmp_path: Path, after: str
) -> None:
    take(book, *ISSUES)
    before = everything(book)
    later = NOW + 60 * MINUTE
    more = [changed(AMBER, gmp=money("44"), at=later), *ISSUES[1:]]
    (tmp_path / "body").write_bytes(investorgain_board(more))

    words = [shared_database.url, SCHEMA, str(tmp_path / "pages"), str(tmp_path / "body"), str(later), after]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, env=path)

    assert killed.returncode == -signal.SIGKILL
    assert everything(book) == before
    assert not take(book, *more, at=later).again
    undisturbed = everything(book)
    with book.writing() as run:
        run.all(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
    take(book, *ISSUES)
    take(book, *more, at=later)
    assert everything(book) == undisturbed


def test_the_recorded_boards_taken_twice_leave_the_book_as_it_is(book: Book, shared: Path) -> None:
    files = sorted((shared / "fixtures/ipo/pages/investorgain").glob("ig_board_*.json"))
    assert len(files) == 8
    taken = []
    found = {}
    for turn in range(2):
        for file in files:
            at = nanoseconds(datetime.strptime(file.name[9:24], "%Y%m%dT%H%M%S").replace(tzinfo=IST))
            body = file.read_bytes()
            taken.append(ipos.take(book, ipos.read(InvestorGain(), PageKind.BOARD, body, at), body, at))
        found[turn] = everything(book)

    # Two of the eight are the same bytes.
    assert [one.again for one in taken] == [False] * 5 + [True] + [False] * 2 + [True] * 8
    assert [one.trouble for one in taken if one.trouble] == []
    assert len(found[0]["ipo_issues"]) == 132 and found[0]["ipo_reviews"] == []
    assert found[1] == found[0]
