"""What admins do at the IPO desk, over HTTP: the review queue, alarms, premiums of their own, the bytes of pages.

Every act is the desk's own, with the name of who is logged in and the reason; it stands in the book, and in the audit
of admins' acts besides.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Protocol

import structlog
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response

from adapters import ipo_board
from adapters.ipos import Book
from market.errors import BadValue, LineDown, StoreRefused
from market.ipo.pages import PageKind, PageOf
from market.ipo.registry import SOURCES
from market.ipo.sources import Source
from market.money import Money
from market.records import Record
from serve_app import ipo_shapes, problems
from serve_app.access import Gate
from serve_app.ipo_asks import Acceptance, Decision, Digest, Joining, NewOverride, amount
from serve_app.ipo_replies import AcceptedAnswer, AlarmsAnswer, PlacedAnswer, ReviewsAnswer
from serve_app.ipos import UNKNOWN, Desk, One, caller_of, known, refused

PAGE = 200
LAST = (1 << 63) - 1
BYTES = "application/octet-stream"

Number = Annotated[int, Path(ge=0, le=LAST, description="Of a row in the review queue.")]


class Acts(Protocol):
    """What the desk does at an admin's word; `now` ns UTC. Each raises BadValue, LineDown, StoreRefused."""

    def decide(self, book: Book, number: int, issue: str | None, by: str, because: str, now: int) -> str:
        """A row of the queue is of an issue, None: of a new one. The issue's id."""
        ...

    def accept(self, book: Book, source: Source, kind: PageKind, digest: str, key: str = "") -> Record:
        """An alarm's page is right. What it told, as `AcceptedAnswer` has it."""
        ...

    def override(
        self, book: Book, issue: str, gmp: Money, by: str, because: str, now: int, *, pinned: bool = False
    ) -> int:
        """Believe this premium."""
        ...

    def clear(self, book: Book, issue: str, by: str, now: int) -> None:
        """Believe the sources again."""
        ...

    def join(self, book: Book, issue: str, into: str, by: str, because: str, now: int) -> Record:
        """Two issues are one."""
        ...


class Office:
    """What the handlers share."""

    def __init__(self, desk: Desk, gate: Gate, acts: Acts | None) -> None:
        self.shelf, self._gate, self._acts = desk.shelf, gate, acts

    @property
    def acts(self) -> Acts:
        """Raises LineDown: nobody here does anything."""
        if self._acts is None:
            raise LineDown("ipo desk", "there is none here")
        return self._acts

    async def note(self, request: Request, action: str, subject: str, detail: str) -> None:
        """Put an act that is done on record. The book has it too, with its reason, should the database be away now."""
        by = who(request)
        try:
            await self._gate.store(self._gate.users.note, by, action, subject, detail)
        except (LineDown, StoreRefused) as e:
            structlog.get_logger().warning("act_not_noted", action=action, subject=subject, by=by, reason=str(e))


def install(app: FastAPI, desk: Desk, only: Any, gate: Gate, acts: Acts | None) -> None:
    """Add the paths; `only` refuses parameters nobody knows; `acts`: None where nobody does any."""
    office = Office(desk, gate, acts)
    _review_routes(app, office, only)
    _page_routes(app, office, only)
    _issue_routes(app, office, only)
    _join_routes(app, office, only)


def who(request: Request) -> str:
    """The account of who asks, as the audit names it."""
    return caller_of(request).user or ""


def _review_routes(app: FastAPI, office: Office, only: Any) -> None:
    @app.get("/api/v1/admin/ipo/reviews")
    async def reviews(
        request: Request,
        everything: Annotated[bool, Query(alias="all")] = False,
        after: Annotated[int, Query(ge=0, le=LAST)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    ) -> ReviewsAnswer:
        """The rows of pages that wait for a decision: nobody was sure of which issue they are. With `all` those that
        were decided too.
        """
        only(request, "all", "after", "limit")
        found = await office.shelf.look(lambda run: ipo_board.reviews(run, after, limit + 1, everything=everything))
        shown = found[:limit]
        following = shown[-1].number if len(found) > limit else None
        return ReviewsAnswer(reviews=tuple(ipo_shapes.review(one) for one in shown), next=following)

    @app.post("/api/v1/admin/ipo/reviews/{number}", responses={404: refused("No such row waits, or no such issue")})
    async def decide(request: Request, number: Number, asked: Decision) -> PlacedAnswer:
        """Say of which issue a row is, or that it is a new one."""
        only(request)
        if (asked.issue is None) is not asked.new:
            raise BadValue("issue", asked.issue or "none", "an issue's id, or `new`: true without one")
        acts, by = office.acts, who(request)

        def done(book: Book) -> str:
            with book.looking() as run:
                if not any(one.number == number for one in ipo_board.reviews(run, number - 1, 1, everything=False)):
                    raise problems.Unknown("review", str(number), "the number of a row that waits")
                issue = None if asked.issue is None else known(run, asked.issue).id
            return acts.decide(book, number, issue, by, asked.because, time.time_ns())

        issue = await office.shelf.write(done)
        await office.note(request, "ipo review decided", str(number), f"{issue}: {asked.because}")
        return PlacedAnswer(issue=issue)


def _page_routes(app: FastAPI, office: Office, only: Any) -> None:
    @app.get("/api/v1/admin/ipo/alarms")
    async def alarms(request: Request) -> AlarmsAnswer:
        """The pages that are alarms now: they could not be read, or differ too much from the one before, and changed
        nothing.
        """
        only(request)
        return AlarmsAnswer(alarms=ipo_shapes.alarms(await office.shelf.look(lambda run: run.alarms())))

    @app.post("/api/v1/admin/ipo/alarms/{digest}", responses={404: refused("No such alarm")})
    async def accept(request: Request, digest: Digest, asked: Acceptance) -> AcceptedAnswer:
        """Take the page of an alarm for data after all; the next one is held against it."""
        only(request)
        if asked.source not in SOURCES:
            raise BadValue("source", asked.source[:40], f"one of {', '.join(SOURCES)}")
        acts, source = office.acts, SOURCES[asked.source]()
        of = PageOf(source.name, asked.kind, asked.key)

        def done(book: Book) -> Record:
            with book.looking() as run:
                found = run.page(digest, of)
            if found is None or not found.trouble:
                raise problems.Unknown("alarm", digest, "the digest, source, kind and key of an alarm")
            return acts.accept(book, source, asked.kind, digest, asked.key)

        taken = await office.shelf.write(done)
        await office.note(request, "ipo page accepted", digest, f"{of}: {asked.because}")
        return AcceptedAnswer.model_validate(taken.model_dump(include=set(AcceptedAnswer.model_fields)))

    @app.get(
        "/api/v1/admin/ipo/pages/{digest}",
        response_class=Response,
        responses={
            200: {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}},
            404: refused("No such page"),
        },
    )
    async def page(request: Request, digest: Digest) -> Response:
        """The bytes of a page that was kept, to be saved and never shown: they are somebody else's."""
        only(request)

        def read(book: Book) -> bytes:
            try:
                return book.body(digest)
            except BadValue as e:
                raise problems.Unknown("page", digest, e.allowed) from None

        headers = {"Content-Disposition": f'attachment; filename="{digest}.bin"'}
        return Response(await office.shelf.read(read), 200, headers, BYTES)


def _issue_routes(app: FastAPI, office: Office, only: Any) -> None:
    path = "/api/v1/admin/ipo/issues/{id}/override"

    @app.put(path, responses=UNKNOWN)
    async def override(request: Request, id: One, asked: NewOverride) -> PlacedAnswer:
        """Believe a premium of one's own, from the next validation on: until a source tells a newer one or, with `pin`,
        until it is cleared.
        """
        only(request)
        gmp, acts, by = amount("gmp", asked.gmp), office.acts, who(request)

        def done(book: Book) -> str:
            issue = _named(book, id)
            acts.override(book, issue, gmp, by, asked.because, time.time_ns(), pinned=asked.pin)
            return issue

        issue = await office.shelf.write(done)
        said = f"Rs {asked.gmp:g}{', pinned' if asked.pin else ''}: {asked.because}"
        await office.note(request, "ipo premium set", issue, said)
        return PlacedAnswer(issue=issue)

    @app.delete(path, status_code=204, responses={404: refused("No such issue, or nothing was set")})
    async def clear(request: Request, id: One) -> Response:
        """Believe the sources again."""
        only(request)
        acts, by = office.acts, who(request)

        def done(book: Book) -> str:
            issue = _named(book, id)
            with book.looking() as run:
                if ipo_board.override(run, issue) is None:
                    raise problems.Unknown("override", id, "an issue whose premium somebody has set")
            acts.clear(book, issue, by, time.time_ns())
            return issue

        issue = await office.shelf.write(done)
        await office.note(request, "ipo premium cleared", issue, "")
        return Response(status_code=204)


def _join_routes(app: FastAPI, office: Office, only: Any) -> None:
    @app.post("/api/v1/admin/ipo/issues/{id}/join", responses=UNKNOWN)
    async def join(request: Request, id: One, asked: Joining) -> PlacedAnswer:
        """Say that an issue is the same as another: everything of it goes there, and its id answers with that one from
        now on. 422 where facts say that they are two: other ISINs, segments, or days.
        """
        only(request)
        acts, by = office.acts, who(request)

        def done(book: Book) -> tuple[str, str]:
            double, into = _named(book, id), _named(book, asked.into)
            acts.join(book, double, into, by, asked.because, time.time_ns())
            return double, into

        double, into = await office.shelf.write(done)
        await office.note(request, "ipo issues joined", into, f"{double} is the same: {asked.because}")
        return PlacedAnswer(issue=into)


def _named(book: Book, name: str) -> str:
    with book.looking() as run:
        return known(run, name).id
