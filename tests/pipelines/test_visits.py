"""A month of the demo's market: the real fetcher, over real HTTP, from the site that serves it to the pages as read."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date, time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.database import Database
from adapters.fetching import Door
from adapters.ipo_site import IpoSite
from adapters.ipos import Book
from adapters.postgres_server import PostgresServer
from adapters.visit_cache import VisitCache
from adapters.visits import Visits
from market.errors import LineDown
from market.holidays import nse_sessions
from market.ipo import registry, specimens
from market.ipo.asking import NAMES, Asking
from market.ipo.imagined import Imagined
from market.ipo.pages import Page, PageKind, Unread
from market.ipo.readings import Status
from market.sessions import DAY, MINUTE, SECOND, at
from pipelines import ipos
from pipelines import visits as pipeline
from pipelines.visits import Came, refresh, rounds
from tests.market.ipo.issues import ISSUES, NOW

HOUR = 60 * MINUTE
BEGIN = at(date(2025, 6, 2), time(7, 30))


class Market:
    """A clock that only waiting moves."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += max(round(seconds * SECOND), 1)


class Month:
    """Refreshes of all sources, every eight hours for thirty days, and what came of them."""

    def __init__(self, folder: Path) -> None:
        self.came: list[Came] = []
        self.imagined = Imagined(7, nse_sessions(date(2025, 1, 1), date(2025, 12, 31)))
        asyncio.run(self._live(folder))

    async def _live(self, folder: Path) -> None:
        clock = Market(BEGIN)
        site, door = IpoSite(self.imagined, clock), Door()
        await site.start()
        try:
            visits = Visits(registry.readers(registry.demo(site.url)), door, VisitCache(folder))
            while clock.now < BEGIN + 30 * DAY:
                following = clock.now + 8 * HOUR
                async for came in refresh(visits, clock, clock.sleep):
                    self.came.append(came)
                clock.now = following
        finally:
            await door.close()
            await site.stop()

    def pages(self, name: str, kind: PageKind | None = None) -> list[Page]:
        """Those that came of a source."""
        found = [came.page for came in self.came if isinstance(came.page, Page) and came.visit.source == name]
        return [page for page in found if kind is None or page.kind is kind]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    return Month(tmp_path_factory.mktemp("visits"))


def test_every_source_is_read_by_its_codec_and_no_page_or_cell_is_refused(month: Month) -> None:
    kinds = {name: {page.kind for page in month.pages(name)} for name in NAMES}

    assert kinds["investorgain"] == {PageKind.BOARD, PageKind.PERFORMANCE, PageKind.SME_PERFORMANCE}
    assert kinds["nse"] == {PageKind.UPCOMING, PageKind.LIST, PageKind.PAST, PageKind.SUBSCRIPTION}
    assert all(kinds.values())
    assert {(page.refused, page.unknown) for name in NAMES for page in month.pages(name)} == {((), ())}
    assert {came.visit.trouble for came in month.came if came.page is None} <= {"answers 503"}


def test_a_page_that_is_still_the_same_is_not_sent_again(month: Month) -> None:
    cached = Counter(came.visit.source for came in month.came if came.visit.cached)
    bodies = {came.visit.digest: came.body for came in month.came if came.page is not None and not came.visit.cached}

    assert set(cached) == set(NAMES)
    assert all(bodies[came.visit.digest] == came.body for came in month.came if came.visit.cached)
    assert {came.visit.status for came in month.came if came.visit.cached} == {304}


def test_a_source_that_is_down_stops_no_other(month: Month) -> None:
    troubled = [came.visit for came in month.came if came.visit.trouble]

    assert troubled
    for visit in troubled:
        assert month.imagined.down(visit.received, NAMES) == visit.source
        near = {
            came.visit.source for came in month.came if abs(came.visit.received - visit.received) < HOUR and came.page
        }
        assert near == set(NAMES) - {visit.source}


def test_each_source_comes_back_after_it_was_down(month: Month) -> None:
    for name in {came.visit.source for came in month.came if came.visit.trouble}:
        last = max(came.visit.received for came in month.came if came.visit.source == name and came.visit.trouble)

        assert any(came.visit.received > last and came.page for came in month.came if came.visit.source == name)


def test_the_board_lives_from_the_announcement_of_an_issue_to_its_listing(month: Month) -> None:
    told: dict[str, list[Status]] = {}
    for page in month.pages("investorgain", PageKind.BOARD):
        for fact in page.facts:
            told.setdefault(fact.name, []).append(fact.status)
    whole = [set(seen) for seen in told.values() if seen[0] is Status.UPCOMING and seen[-1] is Status.LISTED]

    assert len(whole) >= 5
    assert all({Status.OPEN, Status.CLOSED} <= seen for seen in whole)


def test_premiums_move_and_the_sources_disagree(month: Month) -> None:
    ours = {(gmp.name, gmp.gmp) for page in month.pages("investorgain", PageKind.BOARD) for gmp in page.gmps}
    theirs = {(gmp.name, gmp.gmp) for page in month.pages("ipowatch") for gmp in page.gmps}

    assert {name for name, _ in ours} == {name for name, _ in theirs}
    assert len(ours) > 5 * len({name for name, _ in ours})
    assert ours - theirs and theirs - ours
    assert any(gmp is None for _, gmp in ours)


def test_no_source_is_asked_twice_within_its_gap(month: Month) -> None:
    for name in NAMES:
        times = sorted(came.visit.received for came in month.came if came.visit.source == name)
        gap = registry.SOURCES[name]().policy.gap

        assert min(b - a for a, b in pairwise(times)) >= gap * SECOND


def visited(
    answers: Callable[[web.Request], Awaitable[web.StreamResponse]], story: Callable[[str], Awaitable[Any]]
) -> Any:
    """What a story comes to with a server at an address."""

    async def run() -> Any:
        app = web.Application()
        app.router.add_get("/{rest:.*}", answers)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            return await story(f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        ("<html><body><p>Café £5</p></body></html>".encode("latin-1"), "BadPayload: not UTF-8"),
        (specimens.ipowatch_board(ISSUES, NOW)[:-200], "BadPayload: the page ends before its end"),
        (
            b"<html><body>" + b"<p>Drawn in the browser</p>" * 3000 + b"</body></html>",
            "LayoutChanged: no table in a page",
        ),
        (b'{"msg": 1}', "BadPayload: no HTML where a page is due"),
    ],
)
def test_a_page_that_cannot_be_read_is_kept_named_and_asked_for_anew(tmp_path: Path, body: bytes, trouble: str) -> None:
    seen: list[bool] = []

    async def broken(request: web.Request) -> web.StreamResponse:
        if request.path == "/robots.txt":
            return web.Response(status=404)
        seen.append("If-None-Match" in request.headers)
        return web.Response(body=body, headers={"ETag": '"a"', "Content-Type": "text/html; charset=latin-1"})

    async def twice(root: str) -> list[Came]:
        door, clock = Door(), Market(NOW)
        visits = Visits(registry.readers({"ipowatch": Asking(url=root)}), door, VisitCache(tmp_path))
        try:
            found = [came async for came in refresh(visits, clock, clock.sleep)]
            clock.now += DAY // 2
            return found + [came async for came in refresh(visits, clock, clock.sleep)]
        finally:
            await door.close()

    found = visited(broken, twice)

    assert [came.visit.trouble.startswith(trouble) for came in found] == [True, True]
    assert [came.page for came in found] == [
        Unread(source="ipowatch", kind=PageKind.BOARD, reason=found[0].visit.trouble)
    ] * 2
    assert [came.body for came in found] == [body, body]
    assert seen == [False, False]


def test_a_hostile_source_holds_up_nobody_in_its_round(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/bad/"):
            await asyncio.Event().wait()
        return web.Response(body=specimens.ipowatch_board(ISSUES, NOW))

    async def story(root: str) -> list[Came]:
        door = Door()
        asked = {"bse": Asking(url=f"{root}/bad", robots=False), "ipowatch": Asking(url=root, robots=False)}
        visits = Visits(registry.readers(asked), door, VisitCache(tmp_path), seconds=3.0)
        try:
            return await rounds(visits, NOW)
        finally:
            await door.close()

    found = {came.visit.source: came for came in visited(answer, story)}

    assert "no whole answer within 3 s" in found["bse"].visit.trouble
    assert found["ipowatch"].page is not None


class Board:
    """IPOWatch's board of one port, and who asked for it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return web.Response(body=specimens.ipowatch_board(ISSUES, NOW))


def board(root: str) -> list[registry.Reader]:
    return registry.readers({"ipowatch": Asking(url=root, robots=False)})


def test_a_run_begins_where_the_one_before_ended(tmp_path: Path) -> None:
    site = Board()

    async def story(root: str) -> list[int]:
        taken: list[Came] = []
        turns = [await asyncio.to_thread(pipeline.run, board(root), tmp_path, taken.append) for _ in range(2)]
        assert turns[0]["ipowatch"].fails == 0 and turns[1] == turns[0]
        return [len(taken)]

    assert visited(site.answer, story) == [1]
    assert len(site.asked) == 1


def test_pages_that_could_not_be_handed_on_are_asked_for_again(tmp_path: Path) -> None:
    site = Board()

    def away(came: Came) -> None:
        raise LineDown("database", "gone")

    async def story(root: str) -> list[int]:
        taken: list[Came] = []
        with pytest.raises(LineDown, match="gone"):
            await asyncio.to_thread(pipeline.run, board(root), tmp_path, away)
        await asyncio.to_thread(pipeline.run, board(root), tmp_path, taken.append)
        return [len(taken)]

    assert visited(site.answer, story) == [1]
    assert len(site.asked) == 2


def test_of_two_refreshes_at_once_the_second_waits_and_finds_nothing_due(tmp_path: Path) -> None:
    site, order = Board(), list[str]()

    async def story(root: str) -> list[int]:
        waits = threading.Event()

        def second() -> None:
            pipeline.run(board(root), tmp_path, lambda came: order.append("second took"), waits=waits.set)
            order.append("second ended")

        def take(came: Came) -> None:
            thread.start()
            assert waits.wait(60)
            order.append("first took")

        thread = threading.Thread(target=second)
        await asyncio.to_thread(pipeline.run, board(root), tmp_path, take)
        await asyncio.to_thread(thread.join)
        return [len(site.asked)]

    assert visited(site.answer, story) == [1]
    assert order == ["first took", "second ended"]


def test_a_week_of_pages_makes_one_issue_of_each_that_was_imagined(
    month: Month, shared_database: PostgresServer, tmp_path: Path
) -> None:
    line = Database(shared_database.url, "visited")
    line.migrate()
    line.close()
    book = Book(shared_database.url, tmp_path, "visited")
    week = [came for came in month.came if came.page is not None and came.visit.received < BEGIN + 7 * DAY]
    begin, end = week[0].visit.received, week[-1].visit.received

    taken = [ipos.take(book, came.page, came.body, came.visit.received, came.visit.url) for came in week if came.page]
    with book.looking() as run:
        issues = run.every()
    book.close()

    known = {one.name for now in (begin, end) for one in month.imagined.issues(now)}
    assert [one.trouble for one in taken if one.trouble] == []
    assert [one.unsure for one in taken if one.unsure] == []
    assert {one.name.removesuffix(" Limited").removesuffix(" Ltd.") for one in issues} == known
    assert len(issues) == len(known)
    assert sum(one.again for one in taken) >= sum(came.visit.cached for came in week)
