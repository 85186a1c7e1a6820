"""The pages' bytes of the IPO desk's book, and what two transactions see of each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from adapters.database import Database
from adapters.ipos import Book
from adapters.postgres_server import PostgresServer
from market.errors import BadValue, StoreRefused
from market.ipo.issues import Issue

BODY = b"<table><tr><td>AMBER</td></tr></table>" * 10


@pytest.fixture
def book(shared_database: PostgresServer, tmp_path: Path) -> Iterator[Book]:
    line = Database(shared_database.url, "book")
    line.migrate()
    line.close()
    found = Book(shared_database.url, tmp_path / "pages", "book")
    yield found
    found.close()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_bytes_are_kept_once_and_small(book: Book, tmp_path: Path) -> None:
    digest = book.keep(BODY)

    assert book.keep(BODY) == digest
    assert book.body(digest) == BODY
    (file,) = files(tmp_path / "pages")
    assert file.stat().st_size < len(BODY)


def test_bytes_that_were_changed_on_disk_are_not_given_out(book: Book, tmp_path: Path) -> None:
    digest = book.keep(BODY)
    (file,) = files(tmp_path / "pages")
    held = bytearray(file.read_bytes())
    held[-6] ^= 1
    file.write_bytes(held)

    with pytest.raises(StoreRefused, match="backup"):
        book.body(digest)


@pytest.mark.parametrize("digest", ["", "ab", "../../etc/passwd", "0" * 64])
def test_a_page_nobody_kept_is_named(book: Book, digest: str) -> None:
    with pytest.raises(BadValue, match="page"):
        book.body(digest)


def test_a_folder_that_takes_nothing_is_told(shared_database: PostgresServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreRefused, match="pages"):
        Book(shared_database.url, tmp_path / "file").keep(BODY)


def test_an_issue_nobody_knows_is_named(book: Book) -> None:
    with book.looking() as run, pytest.raises(BadValue, match="'zinc'"):
        run.issue("zinc")


def test_the_last_to_come_stands_first(book: Book) -> None:
    days = {"old": {"lists": date(2010, 1, 4)}, "new": {"opens": date(2025, 1, 1)}, "dateless": {}}
    begun = {"first_at": 1, "seen_at": 1}
    made = [Issue.model_validate({"id": name, "name": name, **begun, **of}) for name, of in days.items()]
    with book.writing() as run:
        run.put_issues(made)

    with book.looking() as seen:
        assert [one.id for one in seen.every() if one.id in days] == ["dateless", "new", "old"]


def test_who_writes_waits_for_who_writes_and_a_reader_for_nobody(book: Book) -> None:
    begun, written = threading.Event(), threading.Event()

    def second() -> None:
        begun.set()
        with book.writing() as run:
            run.put_issues([run.issue("tin").model_copy(update={"name": "Tin Two"})])
        written.set()

    with book.writing() as run:
        run.put_issues([Issue(id="tin", name="Tin", first_at=1, seen_at=1)])
        other = threading.Thread(target=second)
        other.start()
        begun.wait()
        with book.looking() as seen:
            assert seen.issues(["tin"]) == {}
        assert not written.is_set()
    other.join()

    with book.looking() as seen:
        assert seen.issue("tin").name == "Tin Two"
