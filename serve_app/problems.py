"""Problems: every refusal is a problem document (RFC 9457), with the request id and what would have been allowed."""

from __future__ import annotations

import json
import math
from collections import Counter as Tally
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from ray.serve.metrics import Counter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from market.errors import (
    AuthRequired,
    BadValue,
    BourseError,
    Denied,
    LineDown,
    NotYet,
    StoreRefused,
    TooMany,
    TooOld,
    UnknownSymbol,
)
from market.records import Record

JSON_WANTED = "JSON in UTF-8, not compressed"
GZIP = b"\x1f\x8b"
MEDIA_TYPE = "application/problem+json"
SHOWN = 200


class TooLarge(HTTPException):
    """A body that nobody reads to its end: `size` in words. An HTTPException, for what FastAPI lets through."""

    def __init__(self, size: str, allowed: str) -> None:
        super().__init__(413, f"the body has {size}")
        self.allowed = allowed


class Unknown(HTTPException):
    """There is no such thing: 404, and `what` it would be, in one word."""

    def __init__(self, what: str, name: str, allowed: str) -> None:
        super().__init__(404, f"{name[:80]!r} is no {what}")
        self.what, self.allowed = what, allowed


class Problem(Record):
    """A refusal. `type` names its kind and stays the same over releases; `allowed` says what would have been taken."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    allowed: str | None = None


def request_id() -> str:
    """The id of the request under way, empty outside one."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def problem(kind: str, title: str, status: int, detail: str, instance: str, allowed: str | None = None) -> Problem:
    """A problem of this request; texts that came from outside are cut."""
    return Problem(
        type=f"urn:bourse:problem:{kind}",
        title=title,
        status=status,
        detail=detail[:1000],
        instance=instance[:SHOWN],
        request_id=request_id(),
        allowed=allowed,
    )


def of(error: Exception, instance: str) -> Problem:
    """The problem an error stands for; an unforeseen one says nothing of our insides."""
    match error:
        case UnknownSymbol():
            return problem("unknown-symbol", "Unknown symbol", 404, _said(error), instance, error.allowed)
        case TooOld():
            return problem("too-old", "Cursor too old", 410, _said(error), instance, error.allowed)
        case BadValue():
            return problem("bad-value", "Value not allowed", 422, _said(error), instance, error.allowed)
        case TooMany():
            allowed = f"come back in {seconds(error.wait)} s"
            return problem("too-many", "Too many requests", 429, f"too many {error.what}", instance, allowed)
        case Denied(kind="credential" | "code"):
            return problem(error.kind, "Who asks is not known", 401, error.reason, instance, error.allowed)
        case Denied():
            return problem(error.kind, "Not for this caller", 403, error.reason, instance, error.allowed)
        case NotYet():
            return problem("not-yet", "Not there yet", 503, error.reason, instance, "try again")
        case LineDown(line="predictor"):
            return problem("predictor-down", "No prediction now", 503, error.reason, instance, "try again")
        case AuthRequired():
            text = f"{error.vendor}: login needed"
            return problem("login-needed", "Its vendor wants a login", 503, text, instance, error.remedy)
        case TimeoutError():
            return problem("too-slow", "No answer in time", 504, "what was asked took too long", instance, "try again")
        case LineDown() | StoreRefused():
            return problem("store-down", "A store cannot be read now", 503, type(error).__name__, instance, "try again")
        case RequestValidationError() if isinstance(error.body, bytes):
            text = "body: its Content-Type does not say that it is JSON"
            return problem("unsupported-media-type", "Not JSON", 415, text, instance, "Content-Type: application/json")
        case RequestValidationError():
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                text = f"body: not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
                return problem("bad-value", "Value not allowed", 422, text, instance, JSON_WANTED)
            name = ".".join(str(part) for part in first["loc"])
            return problem("bad-value", "Value not allowed", 422, f"{name}: {first['msg']}", instance, first["msg"])
        case Unknown():
            kind, title = f"unknown-{error.what}", f"Unknown {error.what}"
            return problem(kind, title, 404, error.detail, instance, error.allowed)
        case TooLarge():
            return problem("too-large", "Body too large", 413, error.detail, instance, error.allowed)
        case HTTPException(status_code=400) if error.__cause__ is not None:  # FastAPI's, for a body it could not read
            text = f"body: not JSON: {_unreadable(error.__cause__)}"
            return problem("bad-value", "Value not allowed", 422, text, instance, JSON_WANTED)
        case HTTPException():
            return problem("http", str(error.detail), error.status_code, str(error.detail), instance)
        case _:
            return problem("internal", "Our mistake", 500, "the request id finds it in our logs", instance)


def answer(refusal: Problem) -> Response:
    """The response that carries it."""
    waits = refusal.status == 503 and not refusal.type.endswith(":login-needed")
    headers = {401: {"WWW-Authenticate": 'Bearer realm="bourse"'}}.get(refusal.status)
    headers = {"Retry-After": "1"} if waits else headers
    return Response(json.dumps(body(refusal)), refusal.status, headers, MEDIA_TYPE)


def body(refusal: Problem) -> dict[str, Any]:
    """The document's members; those without a value are left out."""
    return refusal.model_dump(exclude_none=True)


def seconds(wait: float) -> str:
    """Whole seconds of a `Retry-After`, at least one."""
    return str(max(1, math.ceil(wait)))


class Refusals:
    """How many requests were refused, by the kind of problem; for `status` and for Prometheus."""

    def __init__(self) -> None:
        self.counts: Tally[str] = Tally()
        self._refused = Counter("bourse_refusals", description="requests refused, by problem", tag_keys=("kind",))

    def add(self, refusal: Problem) -> None:
        """One more."""
        kind = refusal.type.rpartition(":")[2]
        self.counts[kind] += 1
        self._refused.inc(tags={"kind": kind})


def count(refusal: Problem, scope: Mapping[str, Any]) -> None:
    """One more of what an app that is `install`ed refuses by other ways than raising."""
    app = scope.get("app")
    if app is not None and hasattr(app.state, "refusals"):
        app.state.refusals.add(refusal)


def install(app: FastAPI, refusals: Refusals) -> None:
    """Let an app refuse in this way whatever its handlers raise, and count it."""
    app.state.refusals = refusals

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, LineDown | StoreRefused) and not isinstance(error, NotYet):
            structlog.get_logger().warning("store_down", reason=str(error))
        refusal = of(error, request.url.path)
        refusals.add(refusal)
        told = answer(refusal)
        if isinstance(error, TooMany):
            told.headers["Retry-After"] = seconds(error.wait)
        return told

    for kind in (BourseError, RequestValidationError, HTTPException, TimeoutError):
        app.add_exception_handler(kind, refuse)


def _said(error: BadValue) -> str:
    return f"{error.name}: {str(error.value)[:SHOWN]!r} is not allowed"


def _unreadable(cause: BaseException) -> str:
    match cause:
        case UnicodeDecodeError():
            packed = bytes(cause.object[:2]) == GZIP
            return "it is compressed" if packed else f"byte {cause.start} is not {cause.encoding}"
        case RecursionError():
            return "it is nested too deeply"
        case ValueError():  # Python's, of whole numbers beyond its limit of digits
            return "a number in it has too many digits"
        case _:
            return "it could not be read"
