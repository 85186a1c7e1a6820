"""An IPO desk behind the gateway: a book filled with what invented boards told over some weeks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from pathlib import Path

from adapters.database import Database
from adapters.ipos import Book
from adapters.migrations.versions.ipos_0003 import TABLES
from market.holidays import sessions_of
from market.ipo.imagined import Imagined
from market.ipo.kinds import Segment
from market.ipo.pages import PageKind
from market.ipo.sources import Source
from market.ipo.specimens import Specimen, investorgain_board, investorgain_performance, ipowatch_board
from market.sessions import SECOND, Sessions, at
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from pipelines import ipos
from tests.market.ipo.made import tables as history

FIRST, DAYS = date(2024, 12, 9), 24
SITES: dict[str, Source] = {"investorgain": InvestorGain(), "ipowatch": IpoWatch()}


def empty(url: str) -> None:
    """Empty the book."""
    line = Database(url)
    with line.begin() as run:
        run.exec_driver_sql(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
    line.close()


def take(book: Book, issues: Sequence[Specimen], now: int, source: str = "investorgain") -> ipos.Taken:
    """Take a source's board of some issues."""
    body = investorgain_board(issues) if source == "investorgain" else ipowatch_board(issues, now)
    page = ipos.read(SITES[source], PageKind.BOARD, body, now)
    return ipos.take(book, page, body, now, f"https://{source}.example/board")


def performed(book: Book, listed: Sequence[Specimen], now: int) -> None:
    """Take the reports of what came."""
    for kind, segment in ((PageKind.PERFORMANCE, Segment.MAINBOARD), (PageKind.SME_PERFORMANCE, Segment.SME)):
        body = investorgain_performance([one for one in listed if one.segment is segment])
        ipos.take(book, ipos.read(SITES["investorgain"], kind, body, now), body, now)


def fill(url: str, pages: Path) -> Book:
    """Boards of every other day, validated and scored; predictions of the middle and of the last day."""
    empty(url)
    book, sessions = Book(url, pages), Sessions(sessions_of("NSE", date(2024, 9, 2), date(2025, 2, 28), ()))
    imagined = Imagined(7, sessions)
    for k in range(0, DAYS, 2):
        now = at(FIRST + timedelta(days=k), time(12))
        for source in SITES:
            take(book, imagined.issues(now, source), now, source)
        performed(book, [one for one in imagined.issues(now) if one.closed_at is not None], now)
        ipos.validate(book, now + SECOND, sessions)
        ipos.score(book, now + 2 * SECOND)
        if k in (DAYS // 2 - 2, DAYS - 2):
            ipos.predict(book, now + 3 * SECOND, history(), sessions)
    return book
