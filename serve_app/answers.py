"""Answers: a body in the form its asker takes: JSON or MessagePack, whole or, where it has not changed, not at all.

Whoever names no form in `Accept` gets JSON; who takes neither gets 406. A strong `ETag` stands for the very bytes, so
it differs by form and by whether the asker takes them compressed.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgpack
import orjson
from fastapi import Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app import problems

JSON, MSGPACK = "application/json", "application/msgpack"
FORMS: dict[str, Callable[[Any], bytes]] = {JSON: orjson.dumps, MSGPACK: msgpack.packb}
NAMES = {"application/x-msgpack": MSGPACK, "application/vnd.msgpack": MSGPACK} | {form: form for form in FORMS}
FRESH = {"Cache-Control": "private, no-cache", "Vary": "Accept"}
"""Keep it for yourself, and ask whether it still holds. Who packs it adds to what it varies by."""
EITHER: dict[int | str, dict[str, Any]] = {406: {"description": "None of the forms asked for"}}


def form(accept: str) -> str | None:
    """Which of our forms an `Accept` header likes most, JSON of equals; None: none of them.

    >>> form("application/x-msgpack, application/json;q=0.5"), form(""), form("text/html")
    ('application/msgpack', 'application/json', None)
    """
    if not accept.strip():
        return JSON
    liked = dict.fromkeys(FORMS, (-1, 0.0))  # how exactly it is named, and how much it is liked
    for part in accept.split(","):
        kind, *words = (word.strip().lower() for word in part.split(";"))
        quality = _quality(words)
        for ours in FORMS:
            exact = 2 if NAMES.get(kind) == ours else 1 if kind == "application/*" else 0 if kind == "*/*" else -1
            if exact > liked[ours][0]:
                liked[ours] = (exact, quality)
    best = max(FORMS, key=lambda ours: liked[ours][1])
    return best if liked[best][1] > 0 else None


def packs(accepted: str) -> bool:
    """Whether who sends this as its Accept-Encoding takes gzip; a quality of 0 refuses it (RFC 9110, 12.5.3).

    >>> [packs(one) for one in ("br, GZIP;q=0.5", "gzip;q=0", "gzip; q=0.000, br", "identity")]
    [True, False, False, False]
    """
    given = (one.split(";") for one in accepted.lower().split(","))
    return any(name.strip() in ("gzip", "x-gzip") and _quality(words) > 0 for name, *words in given)


def answer(request: Request, body: Any, status: int = 200) -> Response:
    """A body in the form the request takes, or 406."""
    wanted = form(request.headers.get("accept", ""))
    return _unacceptable(request) if wanted is None else Response(FORMS[wanted](body), status, FRESH, wanted)


def tagged(request: Request, facts: bytes, make: Callable[[], Any]) -> Response:
    """The body that `make` makes out of `facts`, or 304 to who has it; 406."""
    return _tagged(request, facts, lambda wanted: FORMS[wanted](make()))


def kept(request: Request, body: bytes) -> Response:
    """A body that is JSON already, or 304 to who has it; 406."""
    return _tagged(request, body, lambda wanted: body if wanted == JSON else FORMS[wanted](orjson.loads(body)))


class Heads:
    """ASGI middleware: HEAD is answered as GET is, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, bare)


def _tagged(request: Request, facts: bytes, write: Callable[[str], bytes]) -> Response:
    wanted = form(request.headers.get("accept", ""))
    if wanted is None:
        return _unacceptable(request)
    packed = "gzip" if packs(request.headers.get("accept-encoding", "")) else "plain"
    digest = blake2b(b"\0".join([facts, wanted.encode(), packed.encode()]), digest_size=12).hexdigest()
    headers = {**FRESH, "ETag": f'"{digest}"'}
    if _known(digest, request.headers.getlist("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(write(wanted), 200, headers, wanted)


def _quality(words: list[str]) -> float:
    for word in words:
        name, _, value = word.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _known(digest: str, told: list[str]) -> bool:
    """Compared weakly, as RFC 9110, 13.1.2 wants it."""
    tags = [tag.strip().removeprefix("W/") for line in told for tag in line.split(",")]
    return "*" in tags or f'"{digest}"' in tags


def _unacceptable(request: Request) -> Response:
    text = f"none of {request.headers.get('accept', '')[:80]!r} can be answered"
    return problems.answer(
        problems.problem("not-acceptable", "No such form", 406, text, request.url.path, " or ".join(FORMS))
    )
