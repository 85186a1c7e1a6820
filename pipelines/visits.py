"""Visits: a refresh of the IPO desk: every page that is due is fetched, read by its codec, and handed on.

What a source sends, or does not, is its own trouble: nothing here stops the others.
"""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import structlog

from adapters.fetching import Door
from adapters.visit_cache import VisitCache
from adapters.visits import Visits
from market.errors import MOST_REASON, BadPayload
from market.ipo.pages import Page, Unread
from market.ipo.registry import Reader
from market.ipo.visiting import Errand, Purpose, Standing, Standings, Visit
from market.sessions import MINUTE, SECOND

LOCK = "lock"

SPAN = 3 * MINUTE
"""What becomes due so long after a refresh began still belongs to it: the pages of one source come one by one."""


class Came(NamedTuple):
    """A visit, its bytes, and what they tell; `visit.trouble` says why they tell nothing: `page` is then `Unread` where
    there are bytes, and None where there are none.
    """

    visit: Visit
    body: bytes
    page: Page | Unread | None


def run(
    readers: Sequence[Reader],
    folder: Path,
    take: Callable[[Came], None],
    clock: Callable[[], int] = time.time_ns,
    waits: Callable[[], None] = lambda: None,
) -> dict[str, Standing]:
    """One refresh: `take` is given every visit to a page, as it comes. Where it raises, the refresh ends as if it had
    not been: the next asks for all of it again. `folder`: of the visits before, and after; `clock`: ns UTC; it must
    not stand still. It waits for another refresh of this folder to end, and says so by `waits`.

    Returns how the sources stand.
    """

    async def all_of_it() -> dict[str, Standing]:
        cache, door = VisitCache(folder), Door()
        visits = Visits(readers, door, cache, cache.recall().sources)
        try:
            async for came in refresh(visits, clock, asyncio.sleep):
                take(came)
        finally:
            await door.close()
        cache.remember(Standings(sources=visits.standings))
        return visits.standings

    with _alone(folder, waits):
        return asyncio.run(all_of_it())


async def refresh(
    visits: Visits, clock: Callable[[], int], sleep: Callable[[float], Awaitable[None]], span: int = SPAN
) -> AsyncIterator[Came]:
    """Round after round, until nothing more becomes due in the `span` ns since it began. `clock`: ns UTC; `sleep`:
    seconds.
    """
    begun = clock()
    while True:
        for came in await rounds(visits, clock()):
            yield came
        following = visits.next(clock())
        if following is None or following > begun + span:
            return
        await sleep(max(following - clock(), 0) / SECOND)


async def rounds(visits: Visits, now: int) -> list[Came]:
    """All that is due at one instant, ns UTC: one errand a source, all at the same time."""
    errands = visits.due(now)
    found = await asyncio.gather(*(_one(visits, errand, now) for errand in errands))
    return [came for came in found if came.visit.purpose is Purpose.PAGE or came.visit.trouble]


@contextmanager
def _alone(folder: Path, waits: Callable[[], None]) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def _one(visits: Visits, errand: Errand, now: int) -> Came:
    visit, body = await visits.make(errand, now)
    if visit.trouble or errand.kind is None:
        return Came(visit, body, None)
    try:
        page = visits.reader(errand.source).source.read(body, errand.kind, now, errand.key)
    except BadPayload as e:
        reason = f"{type(e).__name__}: {e.reason}"
    except Exception as e:  # what one page does to its codec must not end the visits to all others
        structlog.get_logger().exception("page_unread", source=errand.source, page=errand.page, digest=visit.digest)
        reason = f"{type(e).__name__}: {e}"[:MOST_REASON]
    else:
        visits.follow(errand, page)
        return Came(visit, body, page)
    visits.doubt(errand)
    unread = Unread(source=errand.source, kind=errand.kind, key=errand.key, reason=reason)
    return Came(visit.model_copy(update={"trouble": reason}), body, unread)
