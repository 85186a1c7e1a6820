"""IPO site: the demo's site of imagined issues as a part of the cluster, so that the IPO desk needs no network."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from actors.measures import resident_bytes
from adapters import logs
from adapters.ipo_site import IpoSite as Server
from market.ipo.imagined import Imagined
from market.records import Record
from market.sessions import Session, Sessions


class IpoSitePlan(Record):
    """Where it listens, and whose issues it tells: those of a seed. `sessions`: the exchange's calendar, from three
    months before today to some weeks behind it; no issue is told of that would list after its end.
    """

    host: str = "127.0.0.1"
    port: int
    seed: int
    sessions: tuple[Session, ...]
    log_level: str = "info"


class IpoSite:
    """Serves the sites of a plan, by the wall clock, until told to stop."""

    def __init__(self, plan: IpoSitePlan, clock: Callable[[], int] = time.time_ns) -> None:
        logs.configure("ipo-site", plan.log_level)
        self._plan = plan
        self._ended = asyncio.Event()
        self._server = Server(Imagined(plan.seed, Sessions(plan.sessions)), clock, plan.host, plan.port)
        self._running: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Listen and answer; a second call joins the first."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        await asyncio.shield(self._running)

    async def _run(self) -> None:
        await self._server.start()
        try:
            await self._ended.wait()
        finally:
            await self._server.stop()

    async def stop(self) -> None:
        """End `run`."""
        self._ended.set()

    async def hold_back(self, reason: str) -> None:
        """The sites answer whatever their readers do."""

    async def health(self) -> dict[str, Any]:
        """What `status` shows of this actor."""
        return {
            "part": "ipo-site",
            "name": "imagined",
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": "",
            "url": self._server.url,
        }
