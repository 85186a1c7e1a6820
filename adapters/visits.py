"""Visits: the pages of the sources, fetched one after the other by `market.ipo.visiting`, and said of each what came.

A page that has not changed (304) is the bytes we have. A redirect is followed within its host alone. What a source does
to us (down, slow, endless, a bomb, somebody else's address) ends as the trouble of one visit, and as nobody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from adapters.fetching import Door, seconds_away
from adapters.fetching import Page as Answer
from adapters.robots import RobotRules
from adapters.visit_cache import Cached, VisitCache
from market.codecs import Call
from market.errors import LineDown
from market.ipo import visiting
from market.ipo.pages import Page
from market.ipo.registry import Reader
from market.ipo.sources import headers
from market.ipo.visiting import ROBOTS_EVERY, Errand, Purpose, Robots, Standing, Visit
from market.sessions import IST, SECOND

SECONDS = 60.0
"""For one answer as a whole, however busily it drips."""

HOPS = 3
MOVED = frozenset({301, 302, 303, 307, 308})
COLD = frozenset({401, 403})
"""What a source says to whom it does not know: it wants its page visited first."""

ROBOTS_LARGEST = 512 << 10
"""Source: RFC 9309, section 2.5: at least 500 KiB are read."""

SAID = 80
"""Characters of a site's own words in a trouble."""


class Fetched(NamedTuple):
    """A visit, and the bytes it brought; none where it has a trouble."""

    visit: Visit
    body: bytes


class Visits:
    """The sources of a deployment, each with its standing. Of one event loop, that of its door."""

    def __init__(
        self,
        readers: Iterable[Reader],
        door: Door,
        cache: VisitCache,
        standings: Mapping[str, Standing] | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """`standings`: of a predecessor (`standings`); its cookies ended with its door."""
        self._readers = {reader.name: reader for reader in readers}
        self._door, self._cache, self._seconds = door, cache, seconds
        before = standings or {}
        self._standings = {name: _cold(before.get(name, Standing())) for name in self._readers}
        self._followed: dict[tuple[str, str], list[Errand]] = {}

    @property
    def standings(self) -> dict[str, Standing]:
        """How each source stands."""
        return dict(self._standings)

    def reader(self, name: str) -> Reader:
        """Who reads a source's pages."""
        return self._readers[name]

    def due(self, now: int) -> list[Errand]:
        """What may be fetched at this instant, ns UTC: one errand a source at most. They may go at the same time."""
        found = ((reader, self._errand(reader, now)) for reader in self._readers.values())
        return [one for reader, one in found if one is not None and self._from(reader, one) <= now]

    def next(self, now: int) -> int | None:
        """When something will be due, at this instant or later; None: there is nothing to visit."""
        found = ((reader, self._errand(reader, now)) for reader in self._readers.values())
        return max(now, min(times)) if (times := [self._from(r, one) for r, one in found if one is not None]) else None

    async def make(self, errand: Errand, now: int) -> Fetched:
        """Go on an errand that is due. Whatever the source does is a trouble of the visit, and raises nothing."""
        reader, standing = self._readers[errand.source], self._standings[errand.source]
        if errand.purpose is not Purpose.ROBOTS and not self._allowed(reader, errand.call.url):
            self._standings[reader.name] = visiting.passed(standing, errand.page, now, self._every(reader, errand))
            return _nothing(errand, now, None, "its robots file does not allow it")
        cached = None
        if errand.purpose is Purpose.PAGE:
            cached = self._cache.find(errand.source, errand.page, errand.call.url)
        try:
            answer = await self._answer(reader, errand, cached)
        except LineDown as e:
            return self._failed(errand, now, None, str(e), e.after)
        return self._judged(reader, errand, now, answer, cached)

    def follow(self, errand: Errand, page: Page) -> None:
        """Visit from now on what a page tells to be worth it, in the place of what it told the time before."""
        self._followed[errand.source, errand.page] = self._readers[errand.source].following(page)

    def doubt(self, errand: Errand) -> None:
        """Forget the bytes of a page that could not be read: the next visit asks for all of it."""
        self._cache.forget(errand.source, errand.page)

    def _errand(self, reader: Reader, now: int) -> Errand | None:
        standing = self._standings[reader.name] = visiting.current(self._standings[reader.name], now)
        followed = [one for (name, _), found in self._followed.items() if name == reader.name for one in found]
        pages = {one.page: one for one in [*reader.errands(_day(now)), *followed]}
        if not pages:
            return None
        page = min(pages.values(), key=lambda one: standing.due(one.page))
        cookies = None if reader.policy.visit is None or standing.warm else _cookies(reader, reader.policy.visit)
        first = cookies or page
        host = urlsplit(first.call.url).netloc
        known = standing.robots.get(host)
        if reader.robots and standing.due(page.page) <= now and (known is None or now - known.at >= ROBOTS_EVERY):
            return _robots(reader, first.call.url)
        return first if standing.due(page.page) <= now else page

    def _from(self, reader: Reader, errand: Errand) -> int:
        standing = self._standings[reader.name]
        return max(standing.free(visiting.in_nanoseconds(reader.policy.gap)), standing.due(errand.page))

    def _every(self, reader: Reader, errand: Errand) -> int:
        return ROBOTS_EVERY if errand.purpose is Purpose.ROBOTS else round(reader.policy.every * SECOND)

    def _allowed(self, reader: Reader, url: str) -> bool:
        known = self._standings[reader.name].robots.get(urlsplit(url).netloc)
        return not reader.robots or known is None or _rules(known.text).allow(url)

    async def _answer(self, reader: Reader, errand: Errand, cached: Cached | None) -> Answer:
        url, host = errand.call.url, urlsplit(errand.call.url).netloc
        asked = {**errand.call.headers, **(cached.asking() if cached else {})}
        largest = ROBOTS_LARGEST if errand.purpose is Purpose.ROBOTS else reader.policy.largest
        for _ in range(HOPS + 1):
            answer = await self._door.get(url, asked, largest, self._seconds)
            if answer.status not in MOVED:
                return answer
            url = _target(url, answer.headers.get("location", ""))
            if errand.purpose is not Purpose.ROBOTS and not self._allowed(reader, url):
                raise LineDown(host, f"sends us to {urlsplit(url).path[:SAID]!r}, which its robots file does not allow")
        raise LineDown(host, f"sends us on more than {HOPS} times")

    def _judged(self, reader: Reader, errand: Errand, now: int, answer: Answer, cached: Cached | None) -> Fetched:
        status, body, again = answer.status, answer.body, False
        if errand.purpose is Purpose.ROBOTS and 400 <= status < 500 and status != 429:
            status, body = 200, b""  # RFC 9309, section 2.3.1.3: a host without such a file allows everything
        elif status == 304 and cached is not None:
            status, body, again = 200, cached.body, True
        elif not body and status == 200 and errand.purpose is Purpose.PAGE:
            return self._failed(errand, now, status, "an empty answer")
        if status != 200:
            return self._failed(errand, now, status, f"answers {status}", _away(answer), cold=status in COLD)
        if errand.purpose is Purpose.PAGE and reader.policy.visit and _is_shell(errand.call, body):
            return self._failed(errand, now, status, "a page of HTML where JSON is due", cold=True)
        standing = self._standings[reader.name]
        if errand.purpose is Purpose.ROBOTS:
            try:
                standing = _with_robots(standing, urlsplit(errand.call.url).netloc, body, now)
            except ValueError as e:
                return self._failed(errand, now, status, f"a robots file that cannot be read: {str(e)[:SAID]}")
        elif errand.purpose is Purpose.COOKIES:
            standing = standing.model_copy(update={"warm": True})
        elif not again:
            etag, modified = (answer.headers.get(name, "") for name in ("etag", "last-modified"))
            self._cache.keep(reader.name, errand.page, Cached(errand.call.url, body, etag, modified))
        self._standings[reader.name] = visiting.came(standing, errand.page, now, self._every(reader, errand))
        told = {"digest": sha256(body).hexdigest(), "size": len(body), "cached": again}
        return Fetched(_visit(errand, now, answer.status).model_copy(update=told), body)

    def _failed(
        self, errand: Errand, now: int, status: int | None, trouble: str, away: float = 0.0, *, cold: bool = False
    ) -> Fetched:
        reader, standing = self._readers[errand.source], self._standings[errand.source]
        if cold:
            standing = _cold(standing)
        every, left = self._every(reader, errand), visiting.in_nanoseconds(away)
        self._standings[reader.name] = visiting.failed(standing, errand.page, now, every, left)
        return _nothing(errand, now, status, trouble)


def _visit(errand: Errand, now: int, status: int | None, trouble: str = "") -> Visit:
    return Visit(
        source=errand.source,
        page=errand.page,
        purpose=errand.purpose,
        kind=errand.kind,
        url=errand.call.url,
        received=now,
        status=status,
        trouble=trouble,
    )


def _nothing(errand: Errand, now: int, status: int | None, trouble: str) -> Fetched:
    return Fetched(_visit(errand, now, status, trouble), b"")


def _cold(standing: Standing) -> Standing:
    pages = {name: turn for name, turn in standing.pages.items() if name != Purpose.COOKIES}
    return standing.model_copy(update={"warm": False, "pages": pages})


def _cookies(reader: Reader, visit: str) -> Errand:
    url = reader.moved(visit)
    return Errand(reader.name, Purpose.COOKIES, Call(url, headers(url, "text/html")), purpose=Purpose.COOKIES)


def _robots(reader: Reader, url: str) -> Errand:
    at = urlsplit(url)
    root = f"{at.scheme}://{at.netloc}/"
    call = Call(f"{root}robots.txt", headers(root, "text/plain"))
    return Errand(reader.name, f"{Purpose.ROBOTS} {at.netloc}", call, purpose=Purpose.ROBOTS)


def _with_robots(standing: Standing, host: str, body: bytes, now: int) -> Standing:
    known = {**standing.robots, host: Robots(text=body.decode("utf-8", "replace"), at=now)}
    wanted = max(_rules(one.text).delay for one in known.values())
    return standing.model_copy(update={"robots": known, "gap": visiting.in_nanoseconds(wanted)})


@lru_cache(maxsize=64)
def _rules(text: str) -> RobotRules:
    return RobotRules(text)


def _target(url: str, location: str) -> str:
    here = urlsplit(url)
    try:
        target = urljoin(url, location)
        there = urlsplit(target)
    except ValueError:
        raise LineDown(here.netloc, f"sends us to {location[:SAID]!r}, which is no address") from None
    if not location or (there.scheme, there.netloc) != (here.scheme, here.netloc):
        raise LineDown(here.netloc, f"sends us to {there.scheme}://{there.netloc[:SAID]}, which is not followed")
    return target


def _is_shell(call: Call, body: bytes) -> bool:
    return call.headers.get("Accept") == "application/json" and body.lstrip()[:1] == b"<"


def _away(answer: Answer) -> float:
    return seconds_away(answer.headers.get("retry-after", ""))


def _day(now: int) -> date:
    return datetime.fromtimestamp(now // SECOND, IST).date()
