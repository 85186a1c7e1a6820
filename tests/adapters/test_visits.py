"""Visits against real servers on loopback: polite to those that answer, bounded with those that do worse."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.fetching import Door
from adapters.visit_cache import VisitCache
from adapters.visits import Fetched, Visits
from market.failover import Breaker
from market.ipo import exchange_specimens, registry, specimens, visiting
from market.ipo.asking import Asking
from market.ipo.registry import Reader
from market.ipo.visiting import Purpose
from market.sessions import DAY, MINUTE, SECOND
from tests.market.ipo.issues import ISSUES, NOW

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = specimens.ipowatch_board(ISSUES, NOW)
HTML = {"Content-Type": "text/html"}


class Server:
    """Answers every path but `/robots.txt` by `page`, and counts what it is asked for."""

    def __init__(self, page: Handler | None = None, robots: str | int = 404) -> None:
        self._page, self._robots = page or good, robots
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        if request.path != "/robots.txt":
            self.headers.append(dict(request.headers))
            return await self._page(request)
        if isinstance(self._robots, int):
            return web.Response(status=self._robots)
        return web.Response(text=self._robots)


async def good(request: web.Request) -> web.StreamResponse:
    return web.Response(body=PAGE, headers=HTML)


def told(
    folder: Path,
    server: Server,
    story: Callable[[Visits, str], Awaitable[Any]],
    seconds: float = 120.0,
    **asking: Any,
) -> Any:
    """What a story comes to with the visits to an `ipowatch` that is this server; `seconds` for a whole answer."""

    async def run() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", server.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        door = Door()
        try:
            readers = registry.readers({"ipowatch": Asking(url=root, **asking)})
            return await story(Visits(readers, door, VisitCache(folder), seconds=seconds), root)
        finally:
            await door.close()
            await runner.cleanup()

    return asyncio.run(run())


async def visited(visits: Visits, now: int) -> Fetched:
    """The page's visit, behind that to the robots file where it is due."""
    while True:
        (errand,) = visits.due(now)
        fetched = await visits.make(errand, now)
        if errand.purpose is Purpose.PAGE or fetched.visit.trouble:
            return fetched
        now = visits.next(now) or now


async def once(visits: Visits, root: str) -> Fetched:
    return await visited(visits, NOW)


def test_a_visit_tells_where_it_was_what_came_and_when(tmp_path: Path) -> None:
    server = Server()

    visit, body = told(tmp_path, server, once)

    assert body == PAGE
    assert (visit.source, visit.page, visit.kind, visit.status, visit.cached) == (
        "ipowatch",
        "board",
        "board",
        200,
        False,
    )
    assert (visit.digest, visit.size, visit.trouble) == (sha256(PAGE).hexdigest(), len(PAGE), "")
    assert visit.url.endswith("/ipo-grey-market-premium-latest-ipo-gmp/")
    assert visit.received == NOW + 10 * SECOND
    assert "bourse" in server.headers[0]["User-Agent"]


@pytest.mark.parametrize(
    ("name", "value", "asked"),
    [("ETag", '"a1"', "If-None-Match"), ("Last-Modified", "Wed, 01 Jan 2025 05:00:00 GMT", "If-Modified-Since")],
)
def test_a_page_that_has_not_changed_is_the_bytes_we_have(tmp_path: Path, name: str, value: str, asked: str) -> None:
    async def known(request: web.Request) -> web.StreamResponse:
        if request.headers.get(asked) == value:
            return web.Response(status=304)
        return web.Response(body=PAGE, headers=HTML | {name: value})

    async def twice(visits: Visits, root: str) -> list[Fetched]:
        return [await visited(visits, NOW), await visited(visits, NOW + DAY // 2)]

    first, second = told(tmp_path, Server(known), twice)

    assert (first.visit.status, first.visit.cached) == (200, False)
    assert (second.visit.status, second.visit.cached) == (304, True)
    assert (second.body, second.visit.digest) == (PAGE, first.visit.digest)


@pytest.mark.parametrize("etag", ['"caf\u00e9"', '"' + "a" * 4000 + '"', ""])
@pytest.mark.parametrize("cookie", ["", "a=caf\u00e9; path=/", "a=" + "b" * 4000, "=; =;;"])
def test_a_validator_or_a_cookie_that_no_header_can_hold_is_not_sent_back(
    tmp_path: Path, etag: str, cookie: str
) -> None:
    async def odd(request: web.Request) -> web.StreamResponse:
        return web.Response(body=PAGE, headers=HTML | {"ETag": etag, "Set-Cookie": cookie})

    async def twice(visits: Visits, root: str) -> list[Fetched]:
        return [await visited(visits, NOW), await visited(visits, NOW + DAY // 2)]

    server = Server(odd)
    found = told(tmp_path, server, twice)

    assert [(one.visit.trouble, one.visit.cached) for one in found] == [("", False)] * 2
    assert "If-None-Match" not in server.headers[1]


def test_a_page_that_was_doubted_is_asked_for_as_a_whole(tmp_path: Path) -> None:
    async def tagged(request: web.Request) -> web.StreamResponse:
        return web.Response(body=PAGE, headers=HTML | {"ETag": '"a"'})

    async def doubted(visits: Visits, root: str) -> None:
        (robots,) = visits.due(NOW)
        await visits.make(robots, NOW)
        (page,) = visits.due(NOW + MINUTE)
        await visits.make(page, NOW + MINUTE)
        visits.doubt(page)
        await visited(visits, NOW + DAY // 2)

    server = Server(tagged)
    told(tmp_path, server, doubted)

    assert [("If-None-Match" in headers) for headers in server.headers] == [False, False]


def test_a_not_modified_that_nobody_asked_for_is_a_trouble(tmp_path: Path) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        return web.Response(status=304)

    visit, body = told(tmp_path, Server(never), once)

    assert (visit.status, visit.trouble, body) == (304, "answers 304", b"")


def test_nothing_is_fetched_that_the_robots_file_forbids(tmp_path: Path) -> None:
    server = Server(robots="User-agent: *\nDisallow: /ipo-grey\n")

    visit, _ = told(tmp_path, server, once)

    assert visit.trouble == "its robots file does not allow it"
    assert visit.status is None
    assert dict(server.asked) == {"/robots.txt": 1}


@pytest.mark.parametrize(
    "robots",
    ["User-agent: other\nDisallow: /\n", "User-agent: bourse\nAllow: /\n\nUser-agent: *\nDisallow: /\n", "", 404, 403],
)
def test_a_robots_file_that_says_nothing_against_us_lets_us_in(tmp_path: Path, robots: str | int) -> None:
    visit, body = told(tmp_path, Server(robots=robots), once)

    assert (visit.trouble, body) == ("", PAGE)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_where_the_robots_file_cannot_be_had_nothing_else_is_asked_for(tmp_path: Path, status: int) -> None:
    server = Server(robots=status)

    visit, _ = told(tmp_path, server, once)

    assert (visit.purpose, visit.trouble) == (Purpose.ROBOTS, f"answers {status}")
    assert dict(server.asked) == {"/robots.txt": 1}


def test_a_robots_file_that_no_parser_can_read_is_a_trouble_and_no_permission(tmp_path: Path) -> None:
    server = Server(robots="User-agent: *\nCrawl-delay: \u00b2\n")

    visit, _ = told(tmp_path, server, once)

    assert "a robots file that cannot be read" in visit.trouble
    assert dict(server.asked) == {"/robots.txt": 1}


def test_a_deployment_may_answer_for_the_robots_file_itself(tmp_path: Path) -> None:
    server = Server(robots="User-agent: *\nDisallow: /\n")

    visit, _ = told(tmp_path, server, once, robots=False)

    assert visit.trouble == ""
    assert "/robots.txt" not in server.asked


def test_the_robots_file_is_asked_for_once_a_day_and_its_delay_is_kept(tmp_path: Path) -> None:
    server = Server(robots="User-agent: *\nCrawl-delay: 90\n")

    async def days(visits: Visits, root: str) -> list[int | None]:
        waits = []
        for k in range(48):
            now = visits.next(NOW + k * DAY // 24) or 0
            await visited(visits, now)
            waits.append((visits.standings["ipowatch"].free(0) - (visits.standings["ipowatch"].asked or 0)) // SECOND)
        return waits

    waits = told(tmp_path, server, days)

    assert set(waits) == {90}
    assert server.asked["/robots.txt"] == 2


def test_a_source_that_sends_us_away_is_not_asked_before_it_said(tmp_path: Path) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "7200"})

    async def waits(visits: Visits, root: str) -> tuple[Fetched, int | None]:
        return await visited(visits, NOW), visits.next(NOW)

    fetched, following = told(tmp_path, Server(busy), waits)

    assert (fetched.visit.status, fetched.visit.trouble) == (503, "answers 503")
    assert following == fetched.visit.received + 7200 * SECOND


def test_a_breaker_opens_is_tried_and_closes_when_the_source_is_back(tmp_path: Path) -> None:
    broken = True

    async def flaky(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500) if broken else await good(request)

    async def flap(visits: Visits, root: str) -> list[Breaker]:
        nonlocal broken
        now, seen = NOW, []
        for attempt in range(6):
            broken = attempt < 4
            now = visits.next(now) or now
            seen.append(visits.standings["ipowatch"].breaker(now))
            await visited(visits, now)
        return seen

    server = Server(flaky)
    seen = told(tmp_path, server, flap)

    assert seen == [
        Breaker.CLOSED,
        Breaker.CLOSED,
        Breaker.CLOSED,
        Breaker.HALF_OPEN,
        Breaker.HALF_OPEN,
        Breaker.CLOSED,
    ]
    assert server.asked["/ipo-grey-market-premium-latest-ipo-gmp/"] == 6


async def bomb(request: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(bytes(64 << 20)), headers=HTML | {"Content-Encoding": "gzip"})


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers=HTML)
    await answer.prepare(request)
    while True:
        await answer.write(bytes(1 << 16))


async def drip(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers=HTML)
    await answer.prepare(request)
    while True:
        await answer.write(b"<")
        await asyncio.sleep(0.05)


async def silent(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def torn(request: web.Request) -> web.StreamResponse:
    whole = gzip.compress(PAGE)
    return web.Response(body=whole[: len(whole) // 2], headers=HTML | {"Content-Encoding": "gzip"})


async def mispacked(request: web.Request) -> web.StreamResponse:
    return web.Response(body=PAGE, headers=HTML | {"Content-Encoding": "gzip"})


async def exotic(request: web.Request) -> web.StreamResponse:
    return web.Response(body=PAGE, headers=HTML | {"Content-Encoding": "zstd"})


async def hung_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def empty(request: web.Request) -> web.StreamResponse:
    return web.Response(headers=HTML)


async def missing(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404, body=PAGE)


async def elsewhere(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://localhost:1/page"})


async def to_a_file(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "file:///etc/hosts"})


async def nowhere(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://[::1"})


async def without(request: web.Request) -> web.StreamResponse:
    return web.Response(status=301)


async def in_circles(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": request.path})


@pytest.mark.parametrize(
    ("hostile", "status", "says"),
    [
        (bomb, None, "larger than 4096 KiB"),
        (endless, None, "larger than 4096 KiB"),
        (drip, None, "no whole answer within 1 s"),
        (silent, None, "no whole answer within 1 s"),
        (torn, None, "ends before its end"),
        (mispacked, None, "cannot be unpacked"),
        (exotic, None, "packed as 'zstd', and gzip was asked for"),
        (hung_up, None, "RemoteProtocolError"),
        (empty, 200, "an empty answer"),
        (missing, 404, "answers 404"),
        (elsewhere, None, "sends us to http://localhost:1, which is not followed"),
        (to_a_file, None, "sends us to file://, which is not followed"),
        (nowhere, None, "Invalid URL in location header"),
        (without, None, "which is not followed"),
        (in_circles, None, "sends us on more than 3 times"),
    ],
)
def test_what_a_hostile_source_does_is_bounded_and_named(
    tmp_path: Path, hostile: Handler, status: int | None, says: str
) -> None:
    async def failed(visits: Visits, root: str) -> tuple[Fetched, int]:
        fetched = await visited(visits, NOW)
        return fetched, visits.standings["ipowatch"].fails

    seconds = 1.0 if hostile in (drip, silent) else 120.0
    (visit, body), fails = told(tmp_path, Server(hostile), failed, seconds)

    assert says in visit.trouble
    assert (visit.status, visit.digest, body, fails) == (status, None, b"", 1)
    assert VisitCache(tmp_path).find("ipowatch", "board", visit.url) is None


def test_a_redirect_within_the_host_is_followed(tmp_path: Path) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if request.path == "/new/":
            return await good(request)
        return web.Response(status=301, headers={"Location": "/new/"})

    visit, body = told(tmp_path, Server(moved), once)

    assert (visit.status, body) == (200, PAGE)


def test_a_redirect_to_what_the_robots_file_forbids_is_not_followed(tmp_path: Path) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": "/private/"})

    server = Server(moved, robots="User-agent: *\nDisallow: /private/\n")
    visit, _ = told(tmp_path, server, once)

    assert "'/private/', which its robots file does not allow" in visit.trouble
    assert server.asked["/private/"] == 0


def test_where_nobody_listens_the_line_is_down(tmp_path: Path) -> None:
    async def gone() -> Fetched:
        door = Door()
        readers = registry.readers({"ipowatch": Asking(url="http://127.0.0.1:1")})
        try:
            return await visited(Visits(readers, door, VisitCache(tmp_path)), NOW)
        finally:
            await door.close()

    assert "ConnectError" in asyncio.run(gone()).visit.trouble


def guarded(folder: Path, story: Callable[[Visits, str], Awaitable[Any]]) -> tuple[Any, Server]:
    """A story with an `nse` that answers only whom its page gave a cookie, which it forgets after three answers."""
    served = 0

    async def page(request: web.Request) -> web.StreamResponse:
        nonlocal served
        if request.path.startswith("/market-data"):
            served = 0
            answer = web.Response(text="<html></html>", content_type="text/html")
            answer.set_cookie("nsit", "known")
            return answer
        served += 1
        if request.cookies.get("nsit") != "known" or served > 3:
            return web.Response(text="<html>who are you?</html>", content_type="text/html")
        return web.Response(body=exchange_specimens.nse_issues([]), content_type="application/json")

    server = Server(page)

    async def at_nse(visits: Visits, root: str) -> Any:
        door = Door()
        try:
            readers = registry.readers({"nse": Asking(url=root)})
            return await story(Visits(readers, door, VisitCache(folder)), root)
        finally:
            await door.close()

    return told(folder, server, at_nse), server


def test_a_source_that_knows_nobody_is_visited_for_its_cookies_first_and_again_when_it_forgot_us(
    tmp_path: Path,
) -> None:
    async def rounds(visits: Visits, root: str) -> list[tuple[str, str]]:
        now, seen = NOW, []
        for _ in range(9):
            now = visits.next(now) or now
            (errand,) = visits.due(now)
            visit, _ = await visits.make(errand, now)
            seen.append((visit.page, visit.trouble))
        return seen

    seen, server = guarded(tmp_path, rounds)

    assert [page.split()[0] for page, _ in seen] == [
        "robots", "cookies", "upcoming", "list", "past", "upcoming", "cookies", "list", "past",
    ]  # fmt: skip
    assert [trouble for _, trouble in seen if trouble] == ["a page of HTML where JSON is due"]
    assert server.asked["/market-data/all-upcoming-issues-ipo"] == 2


def test_the_standing_of_a_source_survives_its_process_and_its_cookies_do_not(tmp_path: Path) -> None:
    async def again(visits: Visits, root: str) -> tuple[Visits, Visits]:
        for _ in range(3):
            now = visits.next(NOW) or NOW
            await visits.make(visits.due(now)[0], now)
        cache = VisitCache(tmp_path)
        cache.remember(visiting.Standings(sources=visits.standings))
        readers: list[Reader] = registry.readers({"nse": Asking(url=root)})
        return visits, Visits(readers, Door(), cache, cache.recall().sources)

    (before, after), _ = guarded(tmp_path, again)

    one, other = before.standings["nse"], after.standings["nse"]
    assert (one.warm, other.warm) == (True, False)
    assert other.robots == one.robots
    assert (other.asked, other.due("upcoming")) == (one.asked, one.due("upcoming"))


def test_sources_are_asked_side_by_side_and_each_keeps_its_gap(tmp_path: Path) -> None:
    readers = registry.readers(registry.demo("http://127.0.0.1:1"))
    visits = Visits(readers, Door(), VisitCache(tmp_path))

    async def one_round() -> None:
        await asyncio.gather(*(visits.make(errand, NOW) for errand in visits.due(NOW)))

    first = {errand.source for errand in visits.due(NOW)}
    asyncio.run(one_round())

    assert first == set(registry.SOURCES)
    assert visits.due(NOW + SECOND) == []
    assert visits.next(NOW) == NOW + MINUTE


def test_a_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    from adapters.visit_cache import STANDINGS, Cached

    cache = VisitCache(tmp_path)
    cache.keep("ipowatch", "board", Cached("http://a/", PAGE, '"a"'))
    found = cache.find("ipowatch", "board", "http://a/")
    (file,) = tmp_path.glob("*.page")
    file.write_bytes(file.read_bytes()[:-1])
    (tmp_path / STANDINGS).write_text("{")

    assert found == Cached("http://a/", PAGE, '"a"')
    assert cache.find("ipowatch", "board", "http://a/") is None
    assert cache.find("ipowatch", "board", "http://b/") is None
    assert cache.recall() == visiting.Standings()
