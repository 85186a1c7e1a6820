"""The IPO desk's round over a real Postgres: invented pages in, issues, premiums, alerts and outcomes out."""

from __future__ import annotations

import signal
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from adapters.ipos import Book
from adapters.migrations.versions.ipos_0003 import TABLES
from adapters.postgres_server import PostgresServer
from benchmarks.passing import passed, recorded
from market.errors import BadValue
from market.ipo import exchange_specimens, specimens
from market.ipo.alerts import IssueEvent
from market.ipo.life import State
from market.ipo.models import GMP
from market.ipo.pages import Page, PageKind
from market.ipo.readings import Category, Status
from market.ipo.sources import Source
from market.ipo.specimens import investorgain_board, ipowatch_board
from market.ipo.walkforward import OURS, Task
from market.money import money
from market.sessions import DAY, MINUTE, day_number
from market.vendors.bse_ipo import BseIssues
from market.vendors.chittorgarh import Chittorgarh
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from market.vendors.nse_ipo import NseIssues
from pipelines import ipos
from tests.market.ipo.issues import AMBER, COBALT, DELTA, ISSUES, NOW, ist
from tests.market.ipo.made import tables as history
from tests.pipelines.desk import SCHEMA, changed, everything, take

NOW_DAY = date(2025, 1, 1)
LISTED = {"status": Status.LISTED, "listed_at": money("354.8"), "closed_at": money("360")}


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


def test_every_source_s_pages_meet_in_the_same_issues(book: Book) -> None:
    who = (Category.QIB, Category.NII, Category.RETAIL, Category.EMPLOYEE, Category.TOTAL)
    days = [(date(2024, 12, 30), dict.fromkeys(who, 0.4)), (date(2024, 12, 31), dict.fromkeys(who, 1.2))]
    pages: list[tuple[Source, PageKind, bytes, str]] = [
        (NseIssues(), PageKind.UPCOMING, exchange_specimens.nse_issues(ISSUES), ""),
        (BseIssues(), PageKind.LIST, exchange_specimens.bse_issues(ISSUES), ""),
        (Chittorgarh(), PageKind.LIST, specimens.chittorgarh_report(ISSUES), ""),
        (Chittorgarh(), PageKind.ISSUE, specimens.chittorgarh_issue(AMBER), ""),
        (Chittorgarh(), PageKind.SUBSCRIPTION, specimens.chittorgarh_subscription(AMBER, days), ""),
        (InvestorGain(), PageKind.BOARD, specimens.investorgain_data(ISSUES), ""),
        (InvestorGain(), PageKind.PERFORMANCE, specimens.investorgain_performance([DELTA]), ""),
        (IpoWatch(), PageKind.BOARD, ipowatch_board(ISSUES, NOW), ""),
        (NseIssues(), PageKind.SUBSCRIPTION, exchange_specimens.nse_categories(AMBER, NOW), AMBER.symbol),
        (NseIssues(), PageKind.PAST, exchange_specimens.nse_past([DELTA]), ""),
    ]

    taken = [
        ipos.take(book, ipos.read(source, kind, body, NOW + k, key), body, NOW + k)
        for k, (source, kind, body, key) in enumerate(pages)
    ]

    with book.looking() as run:
        issues = {one.name: one for one in run.every()}
        bids = run.bids(next(one.id for one in issues.values() if one.symbol == AMBER.symbol))
    assert [(one.trouble, one.unsure) for one in taken] == [("", ())] * len(pages)
    assert len(issues) == 3
    assert {one.symbol for one in issues.values()} == {one.symbol for one in ISSUES}
    assert {one.isin for one in issues.values()} == {one.isin for one in ISSUES}
    told = {(one.source, one.day, one.times) for one in bids if one.category == "total"}
    assert told >= {("chittorgarh", day, times[Category.TOTAL]) for day, times in days}
    assert ("nse", NOW_DAY, 1.57) in told


def test_a_page_whose_prices_are_others_is_an_alarm_and_no_data(book: Book) -> None:
    take(book, *ISSUES)
    before = everything(book)
    shifted = [changed(one, high=money("46"), low=money("46")) for one in ISSUES]

    taken = take(book, *shifted, at=NOW + 60 * MINUTE)

    after = everything(book)
    assert "another price" in taken.trouble
    assert taken.alarm is not None and taken.alarm.subject == "investorgain board"
    assert {table for table in TABLES if after[table] != before[table]} == {"ipo_pages"}


def test_an_alarm_is_the_same_however_often_its_page_comes_and_ends_with_a_good_one(book: Book) -> None:
    take(book, *ISSUES)
    shifted = [changed(one, high=money("46"), low=money("46")) for one in ISSUES]

    first, again = (take(book, *shifted, at=NOW + hours * 60 * MINUTE).alarm for hours in (1, 2))
    good = take(book, changed(AMBER, gmp=money("44")), *ISSUES[1:], at=NOW + 180 * MINUTE).alarm

    assert first is not None and again == first and not first.over
    assert good is not None and good.over and good.topic == first.topic


def test_a_page_that_comes_back_after_another_is_told_anew(book: Book) -> None:
    bare = changed(AMBER, at=NOW)
    bodies = [ipowatch_board([changed(bare, gmp=money(gmp))], None) for gmp in ("30", "35")]
    taken: list[ipos.Taken] = []
    for k in (0, 1, 0, 0):
        at = NOW + len(taken) * 60 * MINUTE
        page = ipos.read(IpoWatch(), PageKind.BOARD, bodies[k], at)
        taken.append(ipos.take(book, page, bodies[k], at))

    with book.looking() as run:
        premiums = run.premiums(run.every()[0].id)
    assert [one.again for one in taken] == [False, False, False, True]
    assert [(one.gmp, one.at) for one in premiums] == [
        (money(gmp), NOW + k * 60 * MINUTE) for k, gmp in enumerate(("30", "35", "30"))
    ]


def test_a_page_that_cannot_be_read_is_kept_and_an_alarm(book: Book) -> None:
    body = b"<html><body>maintenance</body></html>"

    unread = ipos.read(InvestorGain(), PageKind.BOARD, body, NOW)
    taken = ipos.take(book, unread, body, NOW)

    assert not isinstance(unread, Page)
    assert taken.trouble and book.body(taken.digest) == body


def test_a_page_a_person_found_right_becomes_data(book: Book) -> None:
    take(book, *ISSUES)
    shifted = [changed(one, high=money("46"), low=money("46"), lists=date(2025, 1, 8)) for one in ISSUES]
    refused = take(book, *shifted, at=NOW + 60 * MINUTE)

    taken = ipos.accept(book, InvestorGain(), PageKind.BOARD, refused.digest)
    after = take(book, changed(shifted[0], gmp=money("2")), *shifted[1:], at=NOW + 120 * MINUTE)

    assert refused.trouble and not taken.trouble and not after.trouble
    assert taken.alarm is not None and taken.alarm.over
    with pytest.raises(BadValue, match="an alarm of investorgain"):
        ipos.accept(book, InvestorGain(), PageKind.BOARD, refused.digest)


def test_a_page_that_cannot_be_read_is_not_accepted(book: Book) -> None:
    body = b"<html><body>maintenance</body></html>"
    digest = ipos.take(book, ipos.read(InvestorGain(), PageKind.BOARD, body, NOW), body, NOW).digest

    with pytest.raises(BadValue, match="codec can read"):
        ipos.accept(book, InvestorGain(), PageKind.BOARD, digest)


def test_a_premium_does_not_go_with_other_bytes(book: Book) -> None:
    body = investorgain_board(ISSUES)
    page = ipos.read(InvestorGain(), PageKind.BOARD, body, NOW)

    with pytest.raises(BadValue, match="the bytes of the page"):
        ipos.take(book, page, body + b" ", NOW)


def test_each_alert_comes_until_it_was_sent(book: Book) -> None:
    take(book, *ISSUES)

    first, again = (ipos.validate(book, NOW + k * MINUTE).alerts for k in range(2))
    ipos.sent(book, first, NOW + MINUTE)
    last = ipos.validate(book, NOW + 2 * MINUTE).alerts

    told = {(one.event, one.issue.split("-")[0]) for one in first}
    assert told == {
        (IssueEvent.NEW, "amber"),
        (IssueEvent.NEW, "cobalt"),
        (IssueEvent.PROFITABLE, "amber"),
        (IssueEvent.CLOSING, "amber"),
        (IssueEvent.CLOSING, "cobalt"),
    }
    assert (again, last) == (first, ())


def test_a_time_that_is_over_is_not_validated_again(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW + MINUTE)
    take(book, changed(AMBER, gmp=money("70"), at=NOW), *ISSUES[1:], at=NOW + 60 * MINUTE)
    before = everything(book)

    again = [ipos.validate(book, NOW + k * MINUTE).believed for k in range(2)]

    assert again == [(), ()]
    assert everything(book) == before


def test_the_reminder_comes_at_five_on_the_eve(book: Book) -> None:
    take(book, AMBER)
    ipos.sent(book, ipos.validate(book, NOW).alerts, NOW)

    early, due = (ipos.validate(book, ist(at)).alerts for at in ("2025-01-05T16:59", "2025-01-05T17:00"))

    assert (early, [one.event for one in due]) == ((), [IssueEvent.REMINDER])


def test_a_spike_is_told_each_time(book: Book) -> None:
    spikes = []
    for k, gmp in enumerate(("41.5", "70", "41.5")):
        at = NOW + k * 60 * MINUTE
        take(book, changed(AMBER, gmp=money(gmp), at=at), *ISSUES[1:], at=at)
        alerts = ipos.validate(book, at + MINUTE).alerts
        ipos.sent(book, alerts, at + MINUTE)
        spikes += [one for one in alerts if one.event is IssueEvent.SPIKE]

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

    taken = take(book, changed(AMBER, gmp=money("20"), at=late), at=late)

    assert [why for _, why in taken.refused] == ["told when it was trading"]
    assert [one.gmp for one in ipos.validate(book, late).believed] == [None]
    with book.looking() as run:
        assert [
            line["last"]["gmp"] for line in run.validator().snapshot()["issues"].popitem()[1]["lines"].values()
        ] == [AMBER.gmp]


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


def test_a_row_whose_issue_is_told_later_is_placed_when_all_lists_are_whole(book: Book) -> None:
    zinc = changed(AMBER, number=1600, name="Zinc Pumps", symbol="ZINCPUMPS", code="599910", isin="INE0AAB01011")
    take(book, AMBER)
    taken = take(book, zinc, at=NOW + MINUTE, source="ipowatch")
    stale = ipos.validate(book, NOW + DAY)

    later = NOW + DAY + MINUTE
    (issue,) = take(book, changed(AMBER, at=NOW + DAY), changed(zinc, at=NOW + DAY), at=later).issues
    half = ipos.validate(book, later + MINUTE)
    take(book, changed(zinc, gmp=money("44")), at=later + 2 * MINUTE, source="ipowatch")
    whole = ipos.validate(book, later + 3 * MINUTE)

    with book.looking() as run:
        assert [(one.by, one.because) for one in run.reviews(waiting=False)] == [
            (ipos.LISTS, "the same source told the same of it before")
        ]
        told = [one.gmp for one in run.premiums(issue) if one.source == "ipowatch"]
    assert told == [zinc.gmp, money("44")]
    assert (stale.settled, half.settled, whole.settled) == ((), (), ((taken.unsure[0], issue),))


def test_a_source_that_fell_silent_holds_up_no_decision(book: Book) -> None:
    zinc = changed(AMBER, number=1600, name="Zinc Pumps", symbol="ZINCPUMPS", code="599910", isin="INE0AAB01011")
    take(book, AMBER)
    taken = take(book, zinc, at=NOW + MINUTE, source="ipowatch")
    later = NOW + 8 * DAY

    (issue,) = take(book, changed(AMBER, at=later), changed(zinc, at=later), at=later).issues

    assert ipos.validate(book, later + MINUTE).settled == ((taken.unsure[0], issue),)


def test_two_issues_of_one_price_and_day_of_which_each_list_has_one_stay_for_a_person(book: Book) -> None:
    take(book, AMBER)
    (number,) = take(book, changed(AMBER, name="Zinc Pumps"), at=NOW + MINUTE, source="ipowatch").unsure

    found = ipos.validate(book, NOW + 2 * MINUTE)

    with book.looking() as run:
        assert [one.number for one in run.reviews()] == [number]
        assert [one.source for one in run.premiums(found.believed[0].issue)] == ["investorgain"]
    assert found.settled == ()


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


def test_a_person_s_premium_has_no_confidence_and_must_be_one_a_share_can_have(book: Book) -> None:
    take(book, AMBER)
    with book.looking() as run:
        name = run.every()[0].id
    before = ipos.validate(book, NOW).believed[0]
    ipos.override(book, name, money("321"), "asha", "a call", NOW, pinned=True)

    (found,) = ipos.validate(book, NOW + MINUTE).believed

    assert before.confidence > 0.3
    assert (found.gmp, found.confidence, found.disagreement_points) == (money("321"), 0.0, None)
    for far in ("-321.01", "1605.01"):
        with pytest.raises(BadValue, match=r"the issue price is 321\.00"):
            ipos.override(book, name, money(far), "asha", "a slip", NOW)


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


def test_the_book_s_issues_stand_behind_the_tables_with_what_was_known_of_them(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW)
    later = ist("2025-01-05T18:00")
    take(book, changed(AMBER, gmp=money("44"), at=later), *ISSUES[1:], at=later)
    ipos.validate(book, later)
    ipos.score(book, later)
    given = history(6)

    with book.looking() as run:
        merged = ipos.with_book(run, given, run.every())

    rows = {str(row["issue"]).split("-")[0]: row for row in merged.issues[6:]}
    amber, cobalt, delta = (rows[name] for name in ("amber", "cobalt", "delta"))
    assert [str(row["segment"]) for row in (amber, cobalt, delta)] == ["mainboard", "sme", "sme"]
    assert (amber["price"], amber["gmp_close"], amber["gmp_eve"], amber["total"]) == (321.0, 41.5, 44.0, 1.57)
    assert np.isnan([cobalt["gmp_eve"], cobalt["total"], cobalt["open_points"], amber["open_points"]]).all()
    assert delta["open_points"] == pytest.approx(100 * (77.5 / 80 - 1))
    mine = merged.quotes[merged.quotes["issue"] == amber["issue"]]
    assert mine[["day", "gmp"]].tolist() == [
        (day_number(date(2025, 1, 1)), 41.5),
        (day_number(date(2025, 1, 5)), 44.0),
    ]


def test_a_listed_issue_that_the_tables_have_does_not_stand_there_twice(book: Book) -> None:
    take(book, DELTA)
    given = history(3)
    given.issues["segment"][0], given.issues["price"][0] = "sme", 80.0
    given.issues["listed"][0] = day_number(DELTA.lists)

    with book.looking() as run:
        assert len(ipos.with_book(run, given, run.every()).issues) == 3


def emptied(book: Book) -> None:
    with book.writing() as run:
        run.all(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")


@pytest.mark.parametrize(
    ("method", "count"),
    [("add_page", 2), ("put_issues", 3), ("add_premiums", 1), ("add_validation", 3), ("put_outcome", 1), ("save", 2)],
)
def test_a_pass_killed_in_the_middle_and_run_again_loses_and_doubles_nothing(
    book: Book, shared_database: PostgresServer, tmp_path: Path, method: str, count: int
) -> None:
    later = NOW + 60 * MINUTE
    boards = [(NOW, ISSUES), (later, (changed(AMBER, gmp=money("70"), at=later), *ISSUES[1:]))]
    for at, issues in boards:
        (tmp_path / f"{at}.html").write_bytes(investorgain_board(issues))
    pages = [(at, tmp_path / f"{at}.html") for at, _ in boards]
    run = partial(passed, shared_database.url, SCHEMA, tmp_path / "pages", pages)
    undisturbed = (run(), everything(book))
    emptied(book)

    killed, half = run(method, count), everything(book)
    again = run()

    assert (undisturbed[0], killed, again) == (0, -signal.SIGKILL, 0)
    assert half != undisturbed[1]
    assert everything(book) == undisturbed[1]


def test_the_recorded_boards_taken_twice_leave_the_book_as_it_is(book: Book, shared: Path) -> None:
    files = recorded(shared / "fixtures/ipo/pages/investorgain")
    assert len(files) == 8
    taken = []
    found = {}
    for turn in range(2):
        for at, file in files:
            body = file.read_bytes()
            taken.append(ipos.take(book, ipos.read(InvestorGain(), PageKind.BOARD, body, at), body, at))
            ipos.validate(book, at + MINUTE)
            ipos.score(book, at + MINUTE)
        found[turn] = everything(book)

    # Two of the eight are the same bytes.
    assert [one.again for one in taken] == [False] * 5 + [True] + [False] * 2 + [True] * 8
    assert [one.trouble for one in taken if one.trouble] == []
    assert len(found[0]["ipo_issues"]) == 132 and found[0]["ipo_reviews"] == []
    assert found[1] == found[0]


def test_the_recorded_boards_are_as_undisturbed_when_a_pass_is_killed(
    book: Book, shared: Path, shared_database: PostgresServer, tmp_path: Path
) -> None:
    files = recorded(shared / "fixtures/ipo/pages/investorgain")
    run = partial(passed, shared_database.url, SCHEMA, tmp_path / "pages", files)
    run()
    undisturbed = everything(book)
    emptied(book)

    kills = [run("put_issues", 5), run("add_premiums", 2), run("save", 9)]
    run()

    assert kills == [-signal.SIGKILL] * 3
    assert everything(book) == undisturbed
