"""IPOs: the recorded boards through fetch, parse, match, validate and store, again, and by a process that is killed.

InvestorGain's board as it was recorded is served on loopback, each snapshot from its instant on, and read by the real
fetcher with a clock that only waiting moves; the book is a real Postgres in a folder of its own. A second replay of the
same instants must change nothing. The peer of the parser is pandas.read_html with lxml, on the same HTML; it splits
cells and makes no numbers of them. Source: ../shared, which need not be there.
"""

from __future__ import annotations

import asyncio
import html
import json
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from hashlib import sha256
from io import StringIO
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import pandas as pd
import structlog
from aiohttp import web

from adapters.database import Database
from adapters.fetching import Door
from adapters.ipos import Book
from adapters.migrations.versions import ipos_0003, ipos_0005
from adapters.postgres_server import PostgresServer
from adapters.visit_cache import VisitCache
from adapters.visits import Visits
from benchmarks.passing import passed, recorded
from benchmarks.premiums import CLEAN
from benchmarks.report import Report, Rows, seconds
from benchmarks.report import Tables as Found
from market.ipo.pages import Page, PageKind
from market.ipo.registry import Reader
from market.ipo.sources import Address
from market.sessions import MINUTE, SECOND
from market.vendors.chittorgarh import Chittorgarh
from market.vendors.investorgain import InvestorGain
from pipelines import ipos
from pipelines.visits import Came, refresh

PAGES = CLEAN.parent / "pages"
ROUNDS = 5
STAGES = ("fetch", "parse", "take", "validate", "score")
KILLS = (
    ("add_page", 1), ("add_page", 4), ("put_issues", 2), ("put_issues", 5), ("add_premiums", 3), ("put_bids", 4),
    ("add_validation", 5), ("add_validation", 60), ("put_outcome", 1), ("put_outcome", 60), ("save", 2), ("save", 9),
    ("save", 20),
)  # fmt: skip
"""In which method of a transaction the process dies, and at which call of it."""

SHOWN = ("ipo_pages", "ipo_issues", "ipo_premiums", "ipo_validations", "ipo_outcomes")

TABLES = (*ipos_0003.TABLES, *ipos_0005.TABLES)
"""Of the book, but for the thresholds of users and the version, which counts transactions."""

Digests = dict[str, tuple[int, str]]
"""Of each table of a book, how many rows it has and the digest of them all."""

Replayed = list[tuple[int, bytes]]
"""Boards with the instants from which they are served, ns UTC."""


class Ticking:
    """A clock that only waiting moves."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        """Now, ns UTC."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now += max(round(seconds * SECOND), 1)


class Site:
    """Serves the newest board of the clock's time; the bytes are known by their ETag, and there is no robots file."""

    def __init__(self, boards: Replayed, clock: Callable[[], int]) -> None:
        self._boards, self._clock = boards, clock

    async def answer(self, request: web.Request) -> web.Response:
        """A request of any path."""
        if request.path == "/robots.txt":
            return web.Response(status=404)
        body = [body for at, body in self._boards if at <= self._clock()][-1]
        tag = {"ETag": f'"{sha256(body).hexdigest()[:32]}"'}
        if request.headers.get("If-None-Match") == tag["ETag"]:
            return web.Response(status=304, headers=tag)
        return web.Response(body=body, headers=tag | {"Content-Type": "application/json"})


class Watch:
    """How long each stage took, page by page, seconds: by the clock, and of this process's time on a core."""

    def __init__(self) -> None:
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        self.used: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Time what is done inside."""
        began, before = perf_counter(), process_time()
        yield
        self.took[stage].append(perf_counter() - began)
        self.used[stage].append(process_time() - before)

    def without(self, stage: str, inner: str) -> None:
        """Take the last time of a stage that lay inside another from it."""
        for times in (self.took, self.used):
            times[stage][-1] -= times[inner][-1]


class Watched(InvestorGain):
    """The board alone of InvestorGain, since nothing else was recorded in time order, asked every five seconds, since
    two snapshots are eight apart; its reading is timed.
    """

    policy = InvestorGain.policy.model_copy(update={"every": 5.0})

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def addresses(self, day: date) -> list[Address]:
        """The board's."""
        return [one for one in super().addresses(day) if one.kind is PageKind.BOARD]

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What a body tells."""
        with self._watch.of("parse"):
            return super().read(body, kind, received, key)


class Replay(NamedTuple):
    """What a replay came to: pages, of which so many were not sent again (304), rows of theirs, and the times."""

    pages: int
    unsent: int
    rows: int
    watch: Watch


def run(out: Report) -> None:
    """Every table."""
    if not PAGES.is_dir():
        out.say("the recorded pages are not beside the repository")
        return
    for title, rows in tables():
        out.table(title, rows)


def tables() -> Found:
    """All of it."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    files = recorded(PAGES / "investorgain")
    boards = [(at, file.read_bytes()) for at, file in files]
    with tempfile.TemporaryDirectory(prefix="bourse-") as place:
        folder = Path(place)
        server = PostgresServer(folder / "database", folder / "run")
        server.start()
        try:
            replays = []
            for k in range(ROUNDS):
                with opened(server.url, folder, f"round{k}") as book:
                    replays.append(replay(book, boards, folder / f"visits{k}"))
                    if k == ROUNDS - 1:
                        first = digests(book)
                        again, second = replay(book, boards, folder / "again"), digests(book)
            yield "Replay of the recorded boards", whole(replays)
            yield "Time of a page by stage, ms", stages(replays)
            yield "Parsing beside pandas.read_html (lxml), ms of a core a page", parsing(boards[-1], boards[0])
            yield f"Rows of the book before and after a second replay of {again.pages} pages", unchanged(first, second)
            yield "A pass that is killed in a transaction and taken up again", killed(server.url, folder, files)
        finally:
            server.stop()


@contextmanager
def opened(url: str, folder: Path, schema: str) -> Iterator[Book]:
    """An empty book."""
    line = Database(url, schema)
    line.migrate()
    line.close()
    book = Book(url, folder / schema, schema)
    try:
        yield book
    finally:
        book.close()


def replay(book: Book, boards: Replayed, folder: Path) -> Replay:
    """Every board fetched at its instant and taken into the book, and a round after each. `folder`: of the visits."""
    return asyncio.run(_replay(book, boards, folder))


async def _replay(book: Book, boards: Replayed, folder: Path) -> Replay:
    clock, watch, door = Ticking(boards[0][0]), Watch(), Door()
    await door.open()
    app = web.Application()
    app.router.add_get("/{rest:.*}", Site(boards, clock).answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source = Watched(watch)
    reader = Reader(source, source.policy, f"http://127.0.0.1:{runner.addresses[0][1]}")
    visits = Visits([reader], door, VisitCache(folder))
    pages = []
    try:
        for at, _ in boards:
            clock.now = max(clock.now, at)
            with watch.of("fetch"):
                came = await _next(refresh(visits, clock, clock.sleep))
            watch.without("fetch", "parse")
            pages.append(came)
            if not isinstance(came.page, Page):
                raise ValueError(f"a recorded board was not read: {came.visit.trouble}")
            received = came.visit.received
            with watch.of("take"):
                ipos.take(book, came.page, came.body, received, came.visit.url)
            with watch.of("validate"):
                ipos.validate(book, received + MINUTE)
            with watch.of("score"):
                ipos.score(book, received + MINUTE)
    finally:
        await door.close()
        await runner.cleanup()
    rows = sum(one.page.rows for one in pages if isinstance(one.page, Page))
    return Replay(len(pages), sum(one.visit.cached for one in pages), rows, watch)


async def _next(coming: Any) -> Came:
    came: Came = await anext(coming)
    await coming.aclose()
    return came


def whole(replays: Sequence[Replay]) -> Rows:
    """How much of the boards goes through in a second by the clock, and of this process's time; the round in the
    middle.
    """
    taken, used = (
        median(sum(map(sum, times.values())) for times in rounds)
        for rounds in ([one.watch.took for one in replays], [one.watch.used for one in replays])
    )
    one = replays[0]
    counts = {"rounds": len(replays), "pages": one.pages, "not sent again": one.unsent, "rows": one.rows}
    rates = {"pages/s": round(one.pages / taken, 2), "rows/s": round(one.rows / taken)}
    own = {"pages/s of our time": round(one.pages / used, 2), "rows/s of our time": round(one.rows / used)}
    return [counts | {"seconds": round(taken, 2)} | rates | own]


def stages(replays: Sequence[Replay]) -> Rows:
    """Of a page in the middle and of the slowest by the clock, in the middle of this process's time on a core, without
    what Postgres did in its own; and what share of that the stage has.
    """
    took, used = (
        {stage: [1000 * one for times in rounds for one in times[stage]] for stage in STAGES}
        for rounds in ([one.watch.took for one in replays], [one.watch.used for one in replays])
    )
    total = sum(map(sum, used.values()))
    return [
        {
            "stage": stage,
            "pages": len(took[stage]),
            "median": round(median(took[stage]), 1),
            "largest": round(max(took[stage]), 1),
            "our time": round(median(used[stage]), 1),
            "share of it": round(sum(used[stage]) / total, 3),
        }
        for stage in STAGES
    ]


def parsing(*boards: tuple[int, bytes]) -> Rows:
    """Ours and the peer on boards, their recorded rows written as HTML tables, and on a recorded page of an issue."""
    ours, theirs = InvestorGain(), Chittorgarh()
    cases = [
        (f"board {k + 1}, as HTML", written(body), lambda page, at=at: ours.read(page, PageKind.BOARD, at))
        for k, (at, body) in enumerate(boards)
    ]
    page, received = (PAGES / "chittorgarh" / "detail_ather_energy_2025.html").read_bytes(), boards[0][0]
    cases.append(("an issue's page, as recorded", page, lambda page: theirs.read(page, PageKind.ISSUE, received)))
    found = []
    for title, body, read in cases:
        text = body.decode()
        peers = (partial(read, body), lambda text=text: pd.read_html(StringIO(text), flavor="lxml"))
        us, peer = seconds(*peers, clock=process_time)
        told = read(body)
        readings = len(told.gmps) + len(told.facts) + len(told.subscriptions)
        row: dict[str, object] = {"page": title, "KiB": len(body) >> 10, "rows": told.rows, "readings": readings}
        times = {"ours": round(1000 * us, 1), "pandas": round(1000 * peer, 1), "ratio": round(peer / us, 2)}
        found.append(row | times)
    return found


def written(body: bytes) -> bytes:
    """The rows of a board kept as JSON, as a page of HTML tables."""
    tables = []
    for rows in json.loads(body).values():
        names = list(rows[0]) if rows else []
        lines = [_line("th", names), *(_line("td", [str(row.get(name, "")) for name in names]) for row in rows)]
        tables.append(f"<table>{''.join(lines)}</table>")
    return f"<!DOCTYPE html><html><head><title>Board</title></head><body>{''.join(tables)}</body></html>".encode()


def _line(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def digests(book: Book) -> Digests:
    """Of every table, all columns."""
    asked = "SELECT count(*) AS rows, md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) AS digest FROM {} t"
    with book.looking() as run:
        found = {table: run.all(asked.format(table))[0] for table in TABLES}
    return {table: (row["rows"], row["digest"]) for table, row in found.items()}


def unchanged(first: Digests, second: Digests) -> Rows:
    """Table by table."""
    found = []
    for table, (rows, digest) in first.items():
        same = "yes" if second[table][1] == digest else "NO"
        found.append({"of": table, "rows": rows, "rows then": second[table][0], "the same": same})
    return found


def killed(url: str, folder: Path, files: Sequence[tuple[int, Path]]) -> Rows:
    """For each place: what stood in the book after the kill, and whether the next pass makes of it the book that a pass
    which nobody killed has made.
    """
    with opened(url, folder, "undisturbed") as book:
        passed(url, "undisturbed", folder / "undisturbed", files)
        whole = digests(book)
    found = []
    for k, (method, count) in enumerate(KILLS):
        schema = f"killed{k}"
        with opened(url, folder, schema) as book:
            ended = passed(url, schema, folder / schema, files, method, count)
            half = digests(book)
            again = passed(url, schema, folder / schema, files)
            after = digests(book)
        row = {"killed in": f"{method}, call {count}", "ended": "SIGKILL" if ended == -signal.SIGKILL else str(ended)}
        row |= {f"{table.removeprefix('ipo_')} then": f"{half[table][0]} of {whole[table][0]}" for table in SHOWN}
        found.append(row | compared(whole, after) | {"taken up": "to the end" if again == 0 else str(again)})
    return found


def compared(whole: Digests, after: Digests) -> dict[str, Any]:
    """How a book came out beside the one that nobody disturbed: rows fewer and more, and whether all are the same."""
    gaps = [after[table][0] - rows for table, (rows, _) in whole.items()]
    lost, doubled = -sum(min(gap, 0) for gap in gaps), sum(max(gap, 0) for gap in gaps)
    return {"rows lost": lost, "rows doubled": doubled, "the same book": "yes" if after == whole else "NO"}
