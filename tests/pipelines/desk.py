"""An IPO desk's book over a real Postgres, and invented pages for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.database import Database
from adapters.ipos import Book
from adapters.migrations.versions.ipos_0003 import TABLES
from adapters.postgres_server import PostgresServer
from market.ipo.pages import PageKind
from market.ipo.sources import Source
from market.ipo.specimens import Specimen, investorgain_board, ipowatch_board
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from pipelines import ipos
from tests.market.ipo.issues import NOW

SCHEMA = "desk"
SOURCES: Mapping[str, Source] = {"investorgain": InvestorGain(), "ipowatch": IpoWatch()}


@pytest.fixture
def book(shared_database: PostgresServer, tmp_path: Path) -> Iterator[Book]:
    """An empty book."""
    line = Database(shared_database.url, SCHEMA)
    line.migrate()
    with line.begin() as run:
        run.exec_driver_sql(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
        run.exec_driver_sql("TRUNCATE ipo_joins, ipo_rests, users CASCADE")
    line.close()
    found = Book(shared_database.url, tmp_path / "pages", SCHEMA)
    yield found
    found.close()


def take(book: Book, *issues: Specimen, at: int = NOW, source: str = "investorgain") -> ipos.Taken:
    """Take a board of some issues."""
    body = investorgain_board(issues) if source == "investorgain" else ipowatch_board(issues, at)
    return ipos.take(book, ipos.read(SOURCES[source], PageKind.BOARD, body, at), body, at)


def everything(book: Book) -> dict[str, list[dict[str, Any]]]:
    """All rows of the book."""
    with book.looking() as run:
        return {table: run.all(f"SELECT t.* FROM {table} t ORDER BY t::text") for table in TABLES}  # noqa: S608


def changed(issue: Specimen, **words: Any) -> Specimen:
    """The same otherwise."""
    return issue.model_copy(update=words)
