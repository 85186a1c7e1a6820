"""The IPO desk over HTTP: the board, an issue, its premiums, the track record, where a number came from, thresholds.

Answers are made of the book and kept while it stays as it is (`Shelf`): `Age` says since when, in seconds, and
`X-Bourse-Stale` that the database is away and nobody knows whether it still holds.
"""

from __future__ import annotations

import threading
from pathlib import Path as Folder
from typing import Annotated, Any, Literal, Protocol

import orjson
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from adapters import ipo_board
from adapters.ipos import Book, Looking
from adapters.tokens import OPERATOR
from market.access import Caller
from market.errors import BadValue, Denied
from market.ipo.board import page
from market.ipo.issues import Issue
from market.ipo.kinds import Segment
from market.ipo.profit import Came, Measured, Thresholds, measured, profitable
from market.ipo.walkforward import Task
from market.users import PLAIN
from serve_app import answers, ipo_shapes, problems, shapes
from serve_app.answers import EITHER
from serve_app.dates import day
from serve_app.follow import GatewayPlan
from serve_app.ipo_asks import LONGEST, BoardQuery, Digest, NewThresholds, span
from serve_app.ipo_examples import BOARD
from serve_app.ipo_replies import (
    BoardAnswer,
    IssueAnswer,
    PagesAnswer,
    SeriesAnswer,
    ThresholdsAnswer,
    TrackAnswer,
)
from serve_app.ipo_shelf import NAME, Found, Shelf

STALE = "X-Bourse-Stale"
CHANGES = 200
"""Changes of the premium shown of an issue; its series has all."""
POINTS, MOST_POINTS = 500, 5000
EVER = (0, (1 << 63) - 1)
REMEMBERED = 1000
"""Thresholds whose precision is remembered."""
OWN_SECONDS = 5.0
"""So long a user's thresholds are believed that were set by way of another replica."""
CSV = "text/csv; charset=utf-8"
TABLE = {CSV: {"schema": {"type": "string"}}}

One = Annotated[str, Path(pattern=PLAIN, max_length=LONGEST, description="An issue's id, as the board has it.")]


def refused(text: str) -> dict[str, Any]:
    """A refusal as OpenAPI has it."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {problems.MEDIA_TYPE: {"schema": schema}}}


UNKNOWN: dict[int | str, dict[str, Any]] = {404: refused("There is no such issue")}
AWAY: dict[int | str, dict[str, Any]] = {503: refused("The database is away, and no such answer is kept")}
CHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "What was asked for has not changed"}}
READ = {**AWAY, **CHANGED, **EITHER}


class Held(Protocol):
    """What is asked of the gateway's desk."""

    plan: GatewayPlan


class Desk:
    """What the handlers share."""

    def __init__(self, plan: GatewayPlan) -> None:
        secret = plan.access.database
        book = None if secret is None else Book(secret.get_secret_value(), Folder(plan.pages))
        self.shelf = Shelf(book)
        self._measured: tuple[int, list[Came], dict[Thresholds, Measured]] = (-1, [], {})
        self._lock = threading.Lock()

    async def thresholds(self, caller: Caller) -> tuple[Thresholds, bool]:
        """Those of who asks, and whether they are its own. Raises LineDown."""
        user = caller.user
        if user is None or user == OPERATOR:
            return Thresholds(), False
        key = "thresholds", user
        found = await self.shelf.find(key, lambda run: _dumped(run.thresholds_of(user)), seconds=OWN_SECONDS)
        told = orjson.loads(found.body)
        return (Thresholds(), False) if told is None else (Thresholds.model_validate(told), True)

    def precision(self, run: Looking, thresholds: Thresholds) -> Measured:
        """How often thresholds were right about the issues that have listed. For a maker, in its thread."""
        version = run.version()
        with self._lock:
            if self._measured[0] != version:
                self._measured = version, run.came(), {}
            _, came, told = self._measured
            if len(told) >= REMEMBERED:
                told.clear()
            if thresholds not in told:
                told[thresholds] = measured(came, thresholds)
            return told[thresholds]

    def board(self, run: Looking, asked: BoardQuery, own: Thresholds, *, mine: bool) -> bytes:
        """Some issues. Raises BadValue."""
        wanted = asked.wanted(own)
        found = page(self.shelf.rows(run), wanted, asked.limit, asked.cursor)
        by = wanted.thresholds
        return ipo_shapes.body(
            BoardAnswer(
                total=found.total,
                next=found.following,
                thresholds=ipo_shapes.thresholds(by, own=mine and by == own),
                precision=self.precision(run, by),
                issues=tuple(ipo_shapes.row(one, by) for one in found.rows),
            )
        )

    def issue(self, run: Looking, name: str, by: Thresholds, *, mine: bool) -> bytes:
        """All that is known of an issue. Raises Unknown."""
        issue = known(run, name)
        believed, override = ipo_board.believed(run, issue.id), ipo_board.override(run, issue.id)
        return ipo_shapes.body(
            IssueAnswer(
                id=issue.id,
                name=issue.name,
                status=issue.state,
                told=issue.status,
                first_at=shapes.stamp(issue.first_at),
                seen_at=shapes.stamp(issue.seen_at),
                facts=ipo_shapes.facts(issue),
                names=ipo_shapes.names(run.names(issue.id)),
                believed=None if believed is None else ipo_shapes.believed(believed, issue),
                thresholds=ipo_shapes.thresholds(by, own=mine),
                profitable=profitable(None if believed is None else believed.gmp, issue.high, by),
                precision=self.precision(run, by),
                history=ipo_shapes.points(ipo_board.points(run, issue.id, EVER, CHANGES, changes=True)),
                subscription=ipo_shapes.subscription(run.bids(issue.id)),
                predictions=ipo_shapes.predictions(ipo_board.newest(run, issue.id)),
                override=None if override is None else ipo_shapes.override(override),
                outcome=ipo_shapes.came(issue),
                hints=ipo_shapes.hints(ipo_board.waiting(run, issue.id)),
            )
        )


def install(app: FastAPI, held: Held, only: Any) -> Desk:
    """Add the paths; `only` refuses parameters nobody knows."""
    desk = Desk(held.plan)
    app.state.ipos = desk
    _board_routes(app, desk, only)
    _track_routes(app, desk, only)
    _threshold_routes(app, desk, only)
    return desk


def known(run: Looking, name: str) -> Issue:
    """An issue by its id, or by that of one that was joined to it. Raises Unknown."""
    try:
        return run.issue(name)
    except BadValue as e:
        raise problems.Unknown("issue", name, e.allowed) from None


def caller_of(request: Request) -> Caller:
    """Who asks."""
    found: Caller = request.state.caller
    return found


def _board_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/ipos", responses={200: {"model": BoardAnswer, "content": BOARD}, **READ})
    async def board(request: Request, asked: Annotated[BoardQuery, Query()]) -> Response:
        """The issues that are asked for: what is believed of their premium, whether that is worth an application, what
        is expected of the listing.

        Ask for the next page with `cursor`: what comes and goes meanwhile moves no other issue. `profitable` goes by
        the thresholds of who is logged in, or what everybody has, in place of which `points`, `amount` and `joined`
        stand for this request; `precision` says how often they were right.
        """
        only(request, *BoardQuery.model_fields)
        own, mine = await desk.thresholds(caller_of(request))
        wanted = asked.wanted(own)
        key = "board", wanted, mine and wanted.thresholds == own, asked.limit, asked.cursor
        return _told(request, await desk.shelf.find(key, lambda run: desk.board(run, asked, own, mine=mine)))

    @app.get("/api/v1/ipos/{id}", responses={200: {"model": IssueAnswer}, **UNKNOWN, **READ})
    async def issue(request: Request, id: One) -> Response:
        """All that is known of an issue: each fact with who told it, what sources call it and say of its premium (used
        with what weight, or refused and why), bids by day, what is predicted and why, what came.

        An id that was joined to another is answered with that one, whose `id` it has.
        """
        only(request)
        own, mine = await desk.thresholds(caller_of(request))
        made = desk.shelf.find(("issue", id, own, mine), lambda run: desk.issue(run, id, own, mine=mine))
        return _told(request, await made)

    @app.get("/api/v1/ipos/{id}/gmp", responses={200: {"model": SeriesAnswer}, **UNKNOWN, **READ})
    async def series(
        request: Request,
        id: One,
        since: Annotated[str | None, Query(alias="from", examples=["2025-01-01"])] = None,
        until: Annotated[str | None, Query(alias="to", examples=["2025-01-06"])] = None,
        source: Annotated[str | None, Query(pattern=PLAIN, max_length=LONGEST, examples=["investorgain"])] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_POINTS)] = POINTS,
    ) -> Response:
        """The premium of an issue over time, rupees a share: as it was believed, and as each source, or one, told it.

        `from` and `to` are instants with their zone or days of India (a `to` day is included); `limit` keeps the newest
        of what was believed, and of what was told.
        """
        only(request, "from", "to", "source", "limit")
        asked = span(since, until)

        def made(run: Looking) -> bytes:
            name = known(run, id).id
            within = (asked[0] or EVER[0], EVER[1] if asked[1] is None else asked[1])
            believed = ipo_board.points(run, name, within, limit + 1)
            told = ipo_board.premiums(run, name, within, limit + 1, source)
            return ipo_shapes.body(
                SeriesAnswer(
                    id=name,
                    **{"from": None if asked[0] is None else shapes.stamp(asked[0])},
                    to=None if asked[1] is None else shapes.stamp(asked[1]),
                    truncated=max(len(believed), len(told)) > limit,
                    believed=ipo_shapes.points(believed[-limit:]),
                    sources=ipo_shapes.sources(told[-limit:]),
                )
            )

        return _told(request, await desk.shelf.find(("series", id, asked, source, limit), made))

    @app.get(
        "/api/v1/ipo/pages/{digest}", responses={200: {"model": PagesAnswer}, 404: refused("No such page"), **READ}
    )
    async def pages(request: Request, digest: Digest) -> Response:
        """Where a page came from that told of something: source, address, when. Its bytes are for admins."""
        only(request)
        found = await desk.shelf.look(lambda run: ipo_board.pages(run, digest))
        if not found:
            raise problems.Unknown("page", digest, "the digest of a page that was kept")
        return answers.kept(request, ipo_shapes.body(PagesAnswer(digest=digest, pages=ipo_shapes.pages(found))))


def _track_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/ipo/track-record", responses={200: {"model": TrackAnswer, "content": TABLE}, **READ})
    async def track(
        request: Request,
        task: Task | None = None,
        segment: Segment | None = None,
        since: Annotated[str | None, Query(description="Of listings, a day.", examples=["2025-01-01"])] = None,
        format: Annotated[Literal["json", "csv"] | None, Query(description="To download it.")] = None,
        table: Annotated[Literal["predictions", "accounts", "league"], Query(description="Of a CSV.")] = "predictions",
    ) -> Response:
        """How good everything that was published has been, scored after the listings: each model at each task beside
        the premium alone, the league of the sources, and every prediction with what came. Errors are points of the
        issue price.
        """
        only(request, "task", "segment", "since", "format", "table")
        first = day("since", since)
        key = "track", task, segment, first

        def made(run: Looking) -> bytes:
            return ipo_shapes.body(ipo_shapes.track(ipo_board.track(run, task, segment, first), task, segment, first))

        if format != "csv":
            told = _told(request, await desk.shelf.find(key, made))
            return told if format is None else _download(told, "json")
        found = await desk.shelf.find((*key, table), lambda run: ipo_shapes.table(orjson.loads(made(run)), table))
        return _download(Response(found.body, 200, {**answers.FRESH, **_since(found)}, CSV), "csv")


def _threshold_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    path = "/api/v1/ipo/thresholds"

    @app.get(path, responses={200: {"model": ThresholdsAnswer}, **AWAY})
    async def thresholds(request: Request) -> JSONResponse:
        """From where on the caller calls an issue profitable: as it was set, or what everybody is given at first."""
        only(request)
        user = _account(request)
        found = await desk.shelf.look(lambda run: run.thresholds_of(user))
        return _own(ipo_shapes.thresholds(found or Thresholds(), own=found is not None))

    @app.put(path, responses={200: {"model": ThresholdsAnswer}, **AWAY})
    async def keep(request: Request, asked: NewThresholds) -> JSONResponse:
        """Set them; alerts of profitable issues go by them too."""
        only(request)
        user, wanted = _account(request), asked.thresholds()

        def put(book: Book) -> None:
            with book.writing() as run:
                run.put_thresholds(user, wanted)

        await desk.shelf.write(put)
        desk.shelf.forget(("thresholds", user))
        return _own(ipo_shapes.thresholds(wanted, own=True))

    @app.delete(path, status_code=204, responses={404: refused("None were set"), **AWAY})
    async def drop(request: Request) -> Response:
        """Go by what everybody is given at first."""
        only(request)
        user = _account(request)

        def dropped(book: Book) -> bool:
            with book.writing() as run:
                return run.drop_thresholds(user)

        done = await desk.shelf.write(dropped)
        desk.shelf.forget(("thresholds", user))
        if not done:
            raise problems.Unknown("thresholds", user, "thresholds that were set")
        return Response(status_code=204)


def _account(request: Request) -> str:
    user = caller_of(request).user
    if user is None or user == OPERATOR:
        raise Denied("role", "an operator's token has no account", "the login of an account")
    return user


def _told(request: Request, found: Found) -> Response:
    told = answers.kept(request, found.body)
    told.headers.update(_since(found))
    return told


def _since(found: Found) -> dict[str, str]:
    return {"Age": str(int(found.age))} | ({STALE: NAME} if found.stale else {})


def _download(told: Response, kind: str) -> Response:
    told.headers["Content-Disposition"] = f'attachment; filename="ipo-track-record.{kind}"'
    return told


def _own(found: ThresholdsAnswer) -> JSONResponse:
    return JSONResponse(found.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


def _dumped(found: Thresholds | None) -> bytes:
    return b"null" if found is None else found.model_dump_json().encode()
