"""Imagined issues live as real ones do, and their pages are read by each source's codec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, time
from urllib.parse import parse_qsl, urlsplit

import pytest

from market.holidays import nse_sessions
from market.ipo import registry
from market.ipo.asking import NAMES
from market.ipo.imagined import Imagined
from market.ipo.imagined_pages import Pages
from market.ipo.kinds import Segment
from market.ipo.pages import Page, PageKind
from market.ipo.readings import Category, Status
from market.ipo.specimens import Specimen
from market.sessions import DAY, IST, MINUTE, at, instant

SESSIONS = nse_sessions(date(2025, 1, 1), date(2025, 12, 31))
HOUR = 60 * MINUTE
NOON = at(date(2025, 6, 18), time(12))


@pytest.fixture(scope="module")
def imagined() -> Imagined:
    return Imagined(7, SESSIONS)


def story(imagined: Imagined, number: int, first: date, last: date, step: int) -> Iterator[tuple[int, Specimen]]:
    """One issue at every instant of a span at which it is known."""
    for now in range(at(first, time(0)), at(last, time(0)), step):
        yield from ((now, one) for one in imagined.issues(now) if one.number == number)


def test_the_same_seed_tells_the_same_and_another_another(imagined: Imagined) -> None:
    again, other = Imagined(7, SESSIONS), Imagined(8, SESSIONS)
    imagined.issues(at(date(2025, 3, 3), time(9)))

    assert again.issues(NOON) == imagined.issues(NOON)
    assert other.issues(NOON) != imagined.issues(NOON)


def test_the_issues_of_a_day_differ_in_name_symbol_code_and_isin(imagined: Imagined) -> None:
    issues = imagined.issues(NOON)

    for field in ("number", "name", "isin"):
        assert len({getattr(one, field) for one in issues}) == len(issues)
    for field in ("symbol", "code"):
        told = [getattr(one, field) for one in issues if getattr(one, field)]
        assert len(set(told)) == len(told)
    assert {one.segment for one in issues} == {Segment.MAINBOARD, Segment.SME}
    assert all(one.isin.startswith("INX") for one in issues)


def test_an_issue_is_announced_opens_closes_is_allotted_and_lists(imagined: Imagined) -> None:
    number = next(one.number for one in imagined.issues(NOON) if one.status is Status.UPCOMING)

    seen = list(story(imagined, number, date(2025, 6, 18), date(2025, 7, 6), 2 * HOUR))
    order = list(dict.fromkeys(one.status for _, one in seen))

    assert order == [
        Status.UPCOMING, Status.OPEN, Status.CLOSING, Status.CLOSED, Status.ALLOTTED, Status.LISTING, Status.LISTED,
    ]  # fmt: skip


def test_bids_only_grow_and_only_from_the_opening_on(imagined: Imagined) -> None:
    number = next(one.number for one in imagined.issues(NOON) if one.status is Status.UPCOMING)

    seen = list(story(imagined, number, date(2025, 6, 18), date(2025, 7, 6), 3 * HOUR))
    totals = [one.times(Category.TOTAL) for _, one in seen if one.demand]

    assert len(set(totals)) > 5
    assert totals == sorted(totals, key=lambda times: times or 0)
    assert all(bool(one.demand) == (now >= at(one.opens, time(10))) for now, one in seen)


def test_a_premium_moves_by_day_rests_at_night_and_is_frozen_before_the_first_trade(imagined: Imagined) -> None:
    number = next(one.number for one in imagined.issues(NOON) if one.status is Status.UPCOMING)

    seen = list(story(imagined, number, date(2025, 6, 18), date(2025, 7, 6), HOUR))
    (lists,) = {one.lists for _, one in seen}
    late = {(one.gmp, one.at) for now, one in seen if now >= at(lists, time(10))}

    assert len({one.gmp for _, one in seen}) > 3
    assert len(late) == 1
    assert late.pop()[1] <= at(lists, time(9, 53))
    assert all(one.at <= now for now, one in seen)
    nights = {
        day: {one.at for now, one in seen if 0 <= now - at(day, time(22)) <= 9 * HOUR}
        for day in {lists, date(2025, 6, 20)}
    }
    assert all(len(stamps) == 1 for stamps in nights.values())


@pytest.mark.parametrize(
    ("clock", "status", "listed", "closed"),
    [
        (time(9, 59), Status.LISTING, False, False),
        (time(10, 0), Status.LISTED, True, False),
        (time(15, 29), Status.LISTED, True, False),
        (time(15, 30), Status.LISTED, True, True),
    ],
)
def test_no_outcome_is_told_before_its_time(
    imagined: Imagined, clock: time, status: Status, listed: bool, closed: bool
) -> None:
    coming = [one for one in imagined.issues(NOON) if one.status is Status.UPCOMING]

    for issue in coming:
        told = next(one for one in imagined.issues(at(issue.lists, clock)) if one.number == issue.number)
        assert (told.status, told.listed_at is not None, told.closed_at is not None) == (status, listed, closed)
    assert coming


def test_an_sme_issue_opens_at_its_cap_at_most() -> None:
    gains = {
        one.listed_at / one.high
        for seed in range(12)
        for one in Imagined(seed, SESSIONS).issues(NOON)
        if one.segment is Segment.SME and one.listed_at is not None
    }

    assert max(gains) == pytest.approx(1.9, abs=0.0005)


def test_sources_disagree_a_little_are_silent_now_and_then_and_lose_a_point_rarely(imagined: Imagined) -> None:
    found: Counter[str] = Counter()
    for now in range(at(date(2025, 5, 1), time(10)), at(date(2025, 8, 1), time(10)), 24 * HOUR):
        ours, theirs = (imagined.issues(now, name) for name in ("investorgain", "ipowatch"))
        for a, b in zip(ours, theirs, strict=True):
            if a.gmp is None or b.gmp is None:
                found["silent"] += 1
                continue
            apart = 100 * abs(a.gmp - b.gmp) / a.high
            found["equal" if apart == 0 else "near" if apart < 8 else "far"] += 1

    assert found["near"] > found["equal"]
    assert 0 < found["far"] < 0.1 * found.total()
    assert 0 < found["silent"] < 0.4 * found.total()


def test_a_source_is_down_now_and_then_for_some_hours(imagined: Imagined) -> None:
    hours = [imagined.down(NOON + k * HOUR, NAMES) for k in range(90 * 24)]

    assert {name for name in hours if name} == set(NAMES)
    assert 0.01 < sum(name is not None for name in hours) / len(hours) < 0.15


def test_where_the_calendar_ends_no_issue_is_told_that_would_list_behind_it() -> None:
    short = Imagined(7, nse_sessions(date(2025, 1, 1), date(2025, 6, 27)))

    issues = short.issues(NOON)

    assert issues
    assert max(one.lists for one in issues) <= date(2025, 6, 27)


def pages(pages: Pages, name: str, now: int) -> Iterator[tuple[str, Page]]:
    """Every page of a source at an instant, read by its codec."""
    (reader,) = (one for one in registry.readers(registry.demo("http://demo")) if one.name == name)
    errands = reader.errands(instant(now).astimezone(IST).date())
    for errand in errands:
        url = urlsplit(errand.call.url)
        found = pages.find(url.path, dict(parse_qsl(url.query)), now)
        assert found is not None, errand.call.url
        assert errand.kind is not None
        page = reader.source.read(found.body, errand.kind, now, errand.key)
        errands += [one for one in reader.following(page) if one not in errands]
        yield errand.page, page


@pytest.mark.parametrize("name", NAMES)
def test_every_page_of_every_week_is_read_without_a_refusal(imagined: Imagined, name: str) -> None:
    written, kinds = Pages(imagined), set()
    for week in range(6):
        for _, page in pages(written, name, NOON + week * 7 * DAY):
            assert (page.refused, page.unknown) == ((), ())
            kinds.add(page.kind)

    assert (
        kinds
        == {
            "investorgain": {PageKind.BOARD, PageKind.PERFORMANCE, PageKind.SME_PERFORMANCE},
            "ipowatch": {PageKind.BOARD},
            "chittorgarh": {PageKind.LIST, PageKind.TIMETABLE, PageKind.PERFORMANCE, PageKind.SUBSCRIPTION},
            "nse": {PageKind.UPCOMING, PageKind.LIST, PageKind.PAST, PageKind.SUBSCRIPTION},
            "bse": {PageKind.LIST},
        }[name]
    )


def test_the_bids_of_one_book_are_fewer_than_those_of_both(imagined: Imagined) -> None:
    told = dict(pages(Pages(imagined), "nse", NOON))
    book = {one.symbol: one.times(Category.TOTAL) for one in told["list"].subscriptions}

    for name, page in told.items():
        if name.startswith("subscription"):
            (both,) = page.subscriptions
            mine = book[both.symbol]
            assert mine is not None
            assert mine < (both.times(Category.TOTAL) or 0)


@pytest.mark.parametrize("path", ["/", "/nse", "/nse/api/other", "/moneycontrol/", "/chittorgarh/report/1/", "/bse/"])
def test_what_no_site_has_is_no_page(imagined: Imagined, path: str) -> None:
    assert Pages(imagined).find(path, {}, NOON) is None
