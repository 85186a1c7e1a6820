"""The demo's site answers as the sources do: validators, cookies, a robots file, and a source that is down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, time
from typing import Any

import httpx
import pytest

from adapters.ipo_site import AWAY_SECONDS, IpoSite
from market.holidays import nse_sessions
from market.ipo.asking import NAMES
from market.ipo.imagined import Imagined
from market.sessions import DAY, MINUTE, at

IMAGINED = Imagined(7, nse_sessions(date(2025, 1, 1), date(2025, 12, 31)))
NOON = at(date(2025, 6, 18), time(12))
BOARDS = {
    "investorgain": "/investorgain/cloud/report/data-read/331/1/6/2025/2025-26/0/all?search=&v=",
    "ipowatch": "/ipowatch/ipo-grey-market-premium-latest-ipo-gmp/",
    "chittorgarh": "/chittorgarh/cloud/report/data-read/82/1/6/2025/2025-26/0/all?search=&v=",
    "bse": "/bse/publicissue.html",
}
UP = next(NOON + k * DAY for k in range(30) if IMAGINED.down(NOON + k * DAY, NAMES) is None)


class Clock:
    """Market time that a story moves."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def served(story: Callable[[httpx.AsyncClient], Awaitable[Any]], clock: Clock) -> Any:
    """What a story comes to with a client of the site."""

    async def run() -> Any:
        site = IpoSite(IMAGINED, clock)
        await site.start()
        try:
            async with httpx.AsyncClient(base_url=site.url) as client:
                return await story(client)
        finally:
            await site.stop()

    return asyncio.run(run())


@pytest.mark.parametrize("name", BOARDS)
def test_a_page_is_the_same_until_something_happens(name: str) -> None:
    clock = Clock(UP)

    async def thrice(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await client.get(BOARDS[name])
        known = {"If-None-Match": first.headers.get("etag"), "If-Modified-Since": first.headers.get("last-modified")}
        headers = {key: value for key, value in known.items() if value}
        second = await client.get(BOARDS[name], headers=headers)
        clock.now += 9 * DAY
        return [first, second, await client.get(BOARDS[name], headers=headers)]

    first, second, third = served(thrice, clock)

    assert ("etag" in first.headers, "last-modified" in first.headers) == (name != "ipowatch", name == "ipowatch")
    assert (first.status_code, second.status_code, second.content) == (200, 304, b"")
    assert (third.status_code, third.content != first.content) == (200, True)


def test_nse_answers_those_alone_who_visited_its_page() -> None:
    async def ask(client: httpx.AsyncClient) -> list[int]:
        path = "/nse/api/ipo-current-issue"
        before = await client.get(path)
        await client.get("/nse/market-data/all-upcoming-issues-ipo")
        return [before.status_code, (await client.get(path)).status_code]

    assert served(ask, Clock(UP)) == [401, 200]


def test_a_source_that_is_down_says_when_to_come_back_and_the_others_answer() -> None:
    now = next(NOON + k * 30 * MINUTE for k in range(9000) if IMAGINED.down(NOON + k * 30 * MINUTE, NAMES) == "bse")

    async def ask(client: httpx.AsyncClient) -> dict[str, httpx.Response]:
        return {name: await client.get(path) for name, path in BOARDS.items()}

    answers = served(ask, Clock(now))

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(BOARDS, 200) | {"bse": 503}
    assert answers["bse"].headers["retry-after"] == str(AWAY_SECONDS)


def test_a_robots_file_stands_at_the_root_and_what_is_nowhere_is_not_found() -> None:
    async def ask(client: httpx.AsyncClient) -> list[tuple[int, str]]:
        paths = "/robots.txt", "/", "/../etc/passwd", "/ipowatch/nothing/"
        found = [await client.get(path) for path in paths]
        return [(answer.status_code, answer.text[:20]) for answer in found]

    robots, *others = served(ask, Clock(UP))

    assert robots == (200, "# The demo of a mark")
    assert {status for status, _ in others} == {404}
