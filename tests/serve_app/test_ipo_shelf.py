"""The shelf of the IPO desk's answers, over a real book: what is kept how long, and what happens without a database."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from adapters.database import Database
from adapters.ipos import Book, Looking
from adapters.postgres_server import PostgresServer
from market.errors import LineDown, NotYet
from market.sessions import MINUTE
from pipelines import ipos
from serve_app.ipo_shelf import LARGEST, LASTS, WAITING, Found, Shelf
from tests.market.ipo.issues import AMBER, COBALT, NOW
from tests.serve_app.desk import empty, take


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counted(Book):
    """A book that counts who looks."""

    looks = 0

    def looking(self) -> AbstractContextManager[Looking]:
        self.looks += 1
        return super().looking()


@pytest.fixture
def clock() -> Clock:
    """Of the shelf."""
    return Clock()


@pytest.fixture
def book(database: PostgresServer, tmp_path: Path) -> Iterator[Counted]:
    """A book with one issue."""
    empty(database.url)
    found = Counted(database.url, tmp_path / "pages")
    take(found, [AMBER], NOW)
    yield found
    found.close()


@pytest.fixture
def shelf(book: Counted, clock: Clock) -> Iterator[Shelf]:
    """A shelf over it."""
    found = Shelf(book, clock)
    yield found
    found.close()


def names(run: Looking) -> bytes:
    return ",".join(sorted(one.name for one in run.every())).encode()


def find(shelf: Shelf, key: str = "names", make: Callable[[Looking], bytes] = names) -> Found:
    return asyncio.run(shelf.find(key, make))


def test_an_answer_is_kept_while_the_book_stays_as_it_is(shelf: Shelf, book: Counted, clock: Clock) -> None:
    first = find(shelf)
    clock.now = 60.0
    again = find(shelf)
    take(book, [AMBER, COBALT], NOW + MINUTE)
    clock.now = 62.0
    changed = find(shelf)

    assert (first.body, again, changed.body) == (
        b"Amber & Sons Foundry", Found(first.body, 60.0, False), b"Amber & Sons Foundry,Cobalt Looms"
    )  # fmt: skip
    assert shelf.made == 2


def test_the_version_is_asked_once_a_second(shelf: Shelf, book: Counted, clock: Clock) -> None:
    find(shelf)
    before = book.looks
    for _ in range(10):
        find(shelf)
        clock.now += 0.09
    within = book.looks
    clock.now = 1.01
    find(shelf)

    assert (before, within, book.looks) == (2, 2, 3)


def test_a_new_validation_makes_another_answer(shelf: Shelf, book: Counted, clock: Clock) -> None:
    def believed(run: Looking) -> bytes:
        return str([one.gmp for one in run.believed().values()]).encode()

    before = find(shelf, "believed", believed)
    ipos.validate(book, NOW + MINUTE)
    clock.now = 1.5
    after = find(shelf, "believed", believed)

    assert (before.body, after.body) == (b"[]", f"[{AMBER.gmp}]".encode())


def test_many_who_ask_at_once_are_answered_by_one_look(shelf: Shelf, book: Counted) -> None:
    async def all_at_once() -> list[Found]:
        return await asyncio.gather(*(shelf.find("names", names) for _ in range(50)))

    found = asyncio.run(all_at_once())

    assert {one.body for one in found} == {b"Amber & Sons Foundry"}
    assert (shelf.made, book.looks) == (1, 2)


def test_who_changed_the_book_is_answered_from_it_at_once(shelf: Shelf) -> None:
    before = find(shelf)

    asyncio.run(shelf.write(lambda book: take(book, [AMBER, COBALT], NOW + MINUTE)))

    assert find(shelf).body != before.body


def test_after_half_an_hour_an_answer_is_made_anew(shelf: Shelf, clock: Clock) -> None:
    find(shelf)
    clock.now = LASTS + 1

    assert find(shelf).age == 0.0
    assert shelf.made == 2


def test_what_a_maker_raises_is_told_and_not_kept(shelf: Shelf) -> None:
    def broken(run: Looking) -> bytes:
        run.issue("nobody")
        return b""

    for _ in range(2):
        with pytest.raises(Exception, match="nobody"):
            find(shelf, "broken", broken)
    assert shelf.made == 0


def test_no_more_is_kept_than_so_many_bytes(shelf: Shelf) -> None:
    size = LARGEST // 4 + 1
    for key in "abcd":
        find(shelf, key, lambda _: bytes(size))
    find(shelf, "a", lambda _: bytes(size))
    huge = [find(shelf, "huge", lambda _: bytes(LARGEST + 1)) for _ in range(2)]

    assert shelf.made == 7
    assert [len(one.body) for one in huge] == [LARGEST + 1] * 2


def test_beyond_a_bounded_line_callers_are_told_to_come_again(shelf: Shelf) -> None:
    held = threading.Event()

    def slow(run: Looking) -> bytes:
        held.wait(30)
        return b"at last"

    async def crowd() -> tuple[list[Any], list[Any]]:
        await shelf.find("names", names)
        waiting = [asyncio.create_task(shelf.find(k, slow)) for k in range(WAITING)]
        late = asyncio.gather(*(shelf.find(f"late {k}", slow) for k in range(3)), return_exceptions=True)
        told = await late
        held.set()
        return told, await asyncio.gather(*waiting)

    told, served = asyncio.run(crowd())

    assert {type(one) for one in told} == {NotYet}
    assert {one.body for one in served} == {b"at last"}


@pytest.fixture
def own() -> Iterator[PostgresServer]:
    """A Postgres that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = PostgresServer(f"{folder}/database", f"{folder}/run")
        server.start()
        yield server
        server.stop()


def test_without_a_database_an_answer_stands_for_half_an_hour(
    own: PostgresServer, tmp_path: Path, clock: Clock
) -> None:
    tables = Database(own.url)
    tables.migrate()
    tables.close()
    book = Book(own.url, tmp_path / "pages")
    take(book, [AMBER], NOW)
    shelf = Shelf(book, clock)
    find(shelf)

    own.stop()
    clock.now = 600.0
    away = find(shelf)
    with pytest.raises(LineDown):
        find(shelf, "another")
    clock.now = LASTS + 1
    with pytest.raises(LineDown):
        find(shelf)
    own.start()
    clock.now = LASTS + 3
    back = find(shelf)
    shelf.close()

    assert (away, back) == (Found(b"Amber & Sons Foundry", 600.0, True), Found(b"Amber & Sons Foundry", 0.0, False))


class Mute(Counted):
    """A book that says nothing until it is let."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self.held = threading.Event()

    def looking(self) -> AbstractContextManager[Looking]:
        found = super().looking()
        self.held.wait(30)
        return found


def test_a_database_that_hangs_is_asked_by_one_and_not_by_those_behind_it(
    book: Counted, database: PostgresServer, tmp_path: Path, clock: Clock
) -> None:
    mute = Mute(database.url, tmp_path / "pages")
    shelf = Shelf(mute, clock, patience=0.2)

    async def crowd() -> list[Any]:
        return await asyncio.gather(*(shelf.find(f"{k}", names) for k in range(10)), return_exceptions=True)

    found = [one for _ in range(3) for one in asyncio.run(crowd())]
    asked = mute.looks
    mute.held.set()
    shelf.close()

    assert {type(one) for one in found} == {LineDown}
    assert asked == 1


def test_where_there_is_no_database_nothing_is_answered() -> None:
    with pytest.raises(LineDown):
        find(Shelf(None))
