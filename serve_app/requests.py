"""Requests: an id for every request and socket, on its log lines, its answer and its problems."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app import problems

HEADER = "X-Request-ID"
MOST_BODY = 256 << 10
"""Bytes of a request's body: the largest that is asked for are lists of 500 symbols."""
ALLOWED = f"at most {MOST_BODY >> 10} KiB"
_VALID = re.compile(r"[\x21-\x7e]{1,128}")


class Requests:
    """ASGI middleware; takes a caller's `X-Request-ID` if it is 1 to 128 printable characters, else makes one."""

    def __init__(self, app: ASGIApp, *, names: bool = True) -> None:
        """`names`: put the id on the answer; False where the server in front does so with the id it handed us."""
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; an unforeseen error is logged with its traceback and answered with a problem."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get(HEADER, "")
        name = asked if _VALID.fullmatch(asked) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=name):
            await self._serve(scope, receive, send, name)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        began, status = time.perf_counter(), 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                status = message.get("status", 101)
                if self._names:
                    MutableHeaders(scope=message)[HEADER] = name
            elif message["type"] == "websocket.close" and not status:
                status = 403
            await send(message)

        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if taken > MOST_BODY:
                raise problems.TooLarge(f"more than {MOST_BODY >> 10} KiB", ALLOWED)
            return message

        try:
            if scope["type"] == "http" and _length(scope) > MOST_BODY:
                raise problems.TooLarge(f"{_length(scope)} bytes", ALLOWED)
            await self._app(scope, limited, named)
        except problems.TooLarge as e:
            if status == 0:
                await _refused(e, scope)(scope, receive, named)
        except Exception as e:
            structlog.get_logger().exception("request_broke", **_asked(scope))
            if status == 0 and scope["type"] == "http":
                await _refused(e, scope)(scope, receive, named)
            elif scope["type"] == "http":
                raise
        finally:
            seconds = time.perf_counter() - began
            structlog.get_logger().info("request", **_asked(scope), status=status, ms=round(seconds * 1000, 2))


def _refused(error: Exception, scope: Scope) -> Response:
    refusal = problems.of(error, scope["path"])
    problems.count(refusal, scope)
    return problems.answer(refusal)


def _length(scope: Scope) -> int:
    told = Headers(scope=scope).get("content-length", "0")
    return int(told) if told.isdecimal() else 0


def _asked(scope: Scope) -> dict[str, Any]:
    return {"method": scope.get("method", "WEBSOCKET"), "path": scope["path"][: problems.SHOWN]}
