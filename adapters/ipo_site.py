"""The demo's site of the IPO desk: all sources on one port of loopback, each under its name, by the market's clock.

It answers as they do: pages have an ETag (IPOWatch's a Last-Modified alone), a robots file stands at the root, NSE's
JSON is for those alone who visited its page, and now and then one source is down and says when to come back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256

from aiohttp import web

from market.ipo.asking import NAMES
from market.ipo.imagined import Imagined
from market.ipo.imagined_pages import Pages, Written
from market.sessions import SECOND

COOKIE = "nsit"
AWAY_SECONDS = 600
"""What a source that is down says of its return."""


class IpoSite:
    """Serves until told to stop."""

    def __init__(self, imagined: Imagined, clock: Callable[[], int], host: str = "127.0.0.1", port: int = 0) -> None:
        """`clock`: market time, ns UTC; `port`: 0 for one that is free."""
        self._imagined, self._pages, self._clock = imagined, Pages(imagined), clock
        self._host, self._port = host, port
        self._changed: dict[str, tuple[str, int]] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address of its root, once it is started."""
        if self._runner is None:
            return ""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises OSError: the port is taken."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, self._host, self._port).start()
        self._runner = runner

    async def stop(self) -> None:
        """Answer what was asked, then close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        now, path = self._clock(), request.path
        name = path.removeprefix("/").partition("/")[0]
        if name == self._imagined.down(now, NAMES):
            return web.Response(status=503, headers={"Retry-After": str(AWAY_SECONDS)}, text="Down for maintenance")
        page = self._pages.find(path, dict(request.query), now)
        if page is None:
            return web.Response(status=404, text="Not found")
        if page.guarded and COOKIE not in request.cookies:
            return web.Response(status=401, text="Resource not found")
        answer = self._validated(request, name, page, now)
        if name == "nse" and not page.guarded:
            answer.set_cookie(COOKIE, "demo", path="/nse")
        return answer

    def _validated(self, request: web.Request, name: str, page: Written, now: int) -> web.Response:
        digest = sha256(page.body).hexdigest()
        known, since = self._changed.get(request.path_qs, ("", 0))
        if known != digest:
            since = now - now % SECOND
            self._changed[request.path_qs] = digest, since
        moment = datetime.fromtimestamp(since // SECOND, UTC)
        headers = {"Content-Type": page.kind}
        if name == "ipowatch":
            headers["Last-Modified"] = format_datetime(moment, usegmt=True)
            same = request.headers.get("If-Modified-Since") == headers["Last-Modified"]
        else:
            headers["ETag"] = f'"{digest[:32]}"'
            same = request.headers.get("If-None-Match") == headers["ETag"]
        return web.Response(status=304, headers=headers) if same else web.Response(body=page.body, headers=headers)
