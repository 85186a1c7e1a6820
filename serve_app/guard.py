"""Guard: what is looked at before anybody asks who is asking: our name, sizes, origins, addresses; and the headers by
which a browser keeps our answers to itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market.doors import Doors
from serve_app import problems

MOST_HEADERS = 64
MOST_HEADER_BYTES = 32 << 10
MOST_URL = 16 << 10
"""Bytes; 500 symbols with every mark of theirs escaped are 11 KiB."""
ADMIN = ("/api/admin", "/api/v1/admin")
ACCOUNT = (*ADMIN, *(f"{root}/{name}" for root in ("/api", "/api/v1") for name in ("auth", "account", "me", "users",
           "keys", "login", "logout", "register", "refresh", "password", "watchlists", "subscribe")))  # fmt: skip
"""Answers on and below these are nobody else's: no cache keeps them."""
DOCS = ("/docs", "/redoc")
EXPOSED = ("Age", "Content-Disposition", "ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Bourse-Stale",
           "X-Request-ID")  # fmt: skip

_OWN = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# FastAPI's pages of the API take their code from there, and start it by a line in the page.
_PAGES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Seal:
    """ASGI middleware: every answer has the headers that keep it where it belongs, that of a mistake of ours too."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def sealed(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                self._seal(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await self._app(scope, receive, sealed)

    def _seal(self, headers: MutableHeaders, path: str) -> None:
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Content-Security-Policy"] = _PAGES if below(path, DOCS) else _OWN
        headers["X-Frame-Options"] = "DENY"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if self._doors.tls:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        if below(path, ACCOUNT):
            headers["Cache-Control"] = "no-store"


class Guard:
    """ASGI middleware; leaves the address, "" where none is known, in `scope["state"]["address"]`."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._doors = doors
        self._app: ASGIApp = app
        if doors.origins:
            self._app = CORSMiddleware(
                app,
                allow_origins=doors.origins,
                allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
                allow_headers=("Authorization", "Content-Type", "If-None-Match", "X-API-KEY", "X-Request-ID"),
                expose_headers=EXPOSED,
                max_age=3600,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = self._address(scope, headers)
        scope.setdefault("state", {})["address"] = address or ""
        refusal = self._refusal(scope, headers, address)
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _address(self, scope: Scope, headers: Headers) -> str | None:
        front = self._doors.trusted_front
        peer = scope.get("client")
        return self._doors.address(peer[0], headers.getlist(front.header)) if front and peer else None

    def _refusal(self, scope: Scope, headers: Headers, address: str | None) -> problems.Problem | None:
        path, doors, raw = scope["path"], self._doors, scope["headers"]
        problem = problems.problem
        if len(raw) > MOST_HEADERS or sum(len(k) + len(v) for k, v in raw) > MOST_HEADER_BYTES:
            allowed = f"at most {MOST_HEADERS} headers of {MOST_HEADER_BYTES >> 10} KiB together"
            return problem("too-large", "Headers too large", 431, "the headers are too many or too long", path, allowed)
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > MOST_URL:
            allowed = f"at most {MOST_URL >> 10} KiB"
            return problem(
                "too-large", "Address too long", 414, "the path and its parameters are too long", path, allowed
            )
        host = headers.get("host", "")
        if not doors.host(host):
            return problem("host", "Not our name", 400, "the header Host does not name this gateway", path)
        if scope["type"] == "websocket" and not doors.origin(headers.get("origin"), host):
            return problem("origin", "Not for this page", 403, "pages of this origin may not open a socket", path)
        if below(path, ADMIN) and not doors.admin(address):
            return problem("address", "Not from here", 403, "this path is not served to this address", path)
        return None


def below(path: str, roots: tuple[str, ...]) -> bool:
    """Whether a path is one of these or lies below one."""
    return any(path == root or path.startswith(f"{root}/") for root in roots)


async def refuse(
    refusal: problems.Problem, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str] | None = None
) -> None:
    """Answer with a problem; a socket that is not open yet too, where the server in front can say it."""
    problems.count(refusal, scope)
    response = problems.answer(refusal)
    response.headers.update(headers or {})
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.title})
            return
    await response(scope, receive, send)
