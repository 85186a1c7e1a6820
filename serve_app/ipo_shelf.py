"""Shelf: answers made of the IPO desk's book, kept while it stays as it is.

The book is asked at most once a second what its version is, by one of all who wait for it. An answer of that version
is given again; what nobody has is made once, in a thread, for all who ask for it at the same time. While the database
is away an answer stands for half an hour, and says how old it is. Nothing is kept longer, and no more than so much.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from cachetools import TTLCache

from adapters import ipo_board
from adapters.ipos import Book, Looking
from market.errors import LineDown, NotYet
from market.ipo.board import Row

LASTS = 1800.0
"""Seconds for which an answer is kept."""
LARGEST = 32 << 20
"""Bytes of answers that are kept; the one that was asked for longest ago goes first."""
BESIDES = 2048
"""Bytes that an answer takes besides its body: questions may be many, and answers short."""
ASKED_EVERY = 1.0
"""Seconds between two questions for the version, and from one that found the database away to the next."""
READERS, WRITERS = 3, 2
WAITING = 64
"""Questions that may be under way or wait for a thread."""
PATIENCE, PATIENCE_TO_WRITE = 5.0, 20.0
"""Seconds that anybody waits; a validation that writes holds up who else wants to."""
VERSION = "version"
NAME = "database"
T = TypeVar("T")


class Found(NamedTuple):
    """An answer. `age`: seconds since it was made; `stale`: nobody could say whether it still holds."""

    body: bytes
    age: float
    stale: bool


class _Kept(NamedTuple):
    body: bytes
    version: int
    at: float


class Shelf:
    """One for each replica; any loop may ask. Every method raises LineDown, StoreRefused, and what a maker raises."""

    def __init__(
        self, book: Book | None, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE
    ) -> None:
        """`book`: None where there is no database. `clock`: seconds; `patience`: of who reads."""
        self._book, self._clock, self._patience = book, clock, patience
        self._kept: TTLCache[Hashable, _Kept] = TTLCache(LARGEST, LASTS, clock, lambda one: BESIDES + len(one.body))
        self._lock = threading.RLock()  # a flight may land while it is being booked
        self._readers = ThreadPoolExecutor(READERS, "ipos")
        self._writers = ThreadPoolExecutor(WRITERS, "ipo-acts")
        self._flights: dict[Hashable, Future[Any]] = {}
        self._version: tuple[float, int] | None = None
        self._acts = 0
        self._away: tuple[float, LineDown] | None = None
        self._rows: tuple[int, list[Row]] | None = None
        self._reading = threading.Lock()
        self.made = 0
        """Answers that were not on the shelf."""

    async def find(self, key: Hashable, make: Callable[[Looking], bytes], *, seconds: float | None = None) -> Found:
        """The answer to a question, made where there is none that holds. `seconds`: for which it holds, whatever the
        book's version is. Raises NotYet when too many wait.
        """
        try:
            version = None if seconds is not None else await self._asked()
            kept = self._look(key)
            if kept is None or not self._holds(kept, version, seconds):
                self._up()
                work = functools.partial(self._make, key, make)
                kept = await self._fly((key, version, self._acts), self._readers, work, self._patience)
        except LineDown:
            kept = self._look(key)
            if kept is None:
                raise
            return Found(kept.body, self._clock() - kept.at, stale=True)
        return Found(kept.body, self._clock() - kept.at, stale=False)

    async def write(self, work: Callable[[Book], T]) -> T:
        """Change the book, in a thread; what was begun is ended though nobody waits
        for it any more. Who asks here next is answered from the book as it is then.
        """
        book = self._opened()
        try:
            return await self._fly(object(), self._writers, functools.partial(work, book), PATIENCE_TO_WRITE)
        finally:
            self._version, self._acts = None, self._acts + 1

    async def read(self, work: Callable[[Book], T]) -> T:
        """Something of the book's that changes nothing and is not kept."""
        return await self._fly(object(), self._readers, functools.partial(work, self._opened()), self._patience)

    async def look(self, work: Callable[[Looking], T]) -> T:
        """A look at the book that is not kept."""
        return await self._fly(object(), self._readers, functools.partial(self._looked, work), self._patience)

    def forget(self, key: Hashable) -> None:
        """Make the answer to a question anew."""
        with self._lock:
            self._kept.pop(key, None)

    def rows(self, run: Looking) -> list[Row]:
        """The board as a transaction sees it; read once of each version. For a maker, in its thread."""
        version = run.version()
        with self._reading:
            if self._rows is None or self._rows[0] != version:
                self._rows = version, ipo_board.rows(run)
            return self._rows[1]

    def close(self) -> None:
        """Close what is open."""
        for threads in (self._readers, self._writers):
            threads.shutdown(cancel_futures=True)
        if self._book is not None:
            self._book.close()

    async def _asked(self) -> int:
        seen = self._version
        if seen is not None and self._clock() - seen[0] < ASKED_EVERY:
            return seen[1]
        self._up()
        work = functools.partial(self._ask, self._acts)
        try:
            return await self._fly((VERSION, self._acts), self._readers, work, self._patience)
        except NotYet:
            raise
        except LineDown as e:  # one that hangs is as good as away
            self._away = self._clock() + ASKED_EVERY, e
            raise

    def _up(self) -> None:
        away = self._away
        if away is not None and self._clock() < away[0]:
            raise LineDown(*away[1].args)

    def _ask(self, acts: int) -> int:
        version = self._looked(lambda run: run.version())
        if acts == self._acts:  # else what was heard may be of before the last act
            self._version = self._clock(), version
        return version

    def _holds(self, kept: _Kept, version: int | None, seconds: float | None) -> bool:
        return kept.version == version if seconds is None else self._clock() - kept.at < seconds

    def _make(self, key: Hashable, make: Callable[[Looking], bytes]) -> _Kept:
        version, body = self._looked(lambda run: (run.version(), make(run)))
        kept = _Kept(body, version, self._clock())
        with self._lock:
            self.made += 1
            if BESIDES + len(body) <= LARGEST:
                self._kept[key] = kept
        return kept

    def _looked(self, work: Callable[[Looking], T]) -> T:
        try:
            with self._opened().looking() as run:
                found = work(run)
        except LineDown as e:
            self._away = self._clock() + ASKED_EVERY, e
            raise
        self._away = None
        return found

    def _opened(self) -> Book:
        if self._book is None:
            raise LineDown(NAME, "there is none here")
        return self._book

    def _look(self, key: Hashable) -> _Kept | None:
        with self._lock:
            return self._kept.get(key)

    async def _fly(self, name: Hashable, threads: ThreadPoolExecutor, work: Callable[[], T], patience: float) -> T:
        with self._lock:
            flight: Future[T] | None = self._flights.get(name)
            if flight is None:
                if len(self._flights) >= WAITING:
                    raise NotYet("ipos", "too many questions are waiting")
                flight = self._flights[name] = threads.submit(work)
                flight.add_done_callback(functools.partial(self._landed, name))
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(flight)), patience)
        except TimeoutError:
            raise LineDown(NAME, f"it said nothing for {patience:g} s") from None

    def _landed(self, name: Hashable, flight: Future[Any]) -> None:
        with self._lock:
            if self._flights.get(name) is flight:
                del self._flights[name]
