"""The demo's site as a part: it listens while it runs, tells where, and lets go of its port."""

from __future__ import annotations

import asyncio
from datetime import date, time

import httpx
import pytest

from actors.ipo_site import IpoSite, IpoSitePlan
from market.holidays import nse_sessions
from market.sessions import at

DAY = date(2025, 6, 18)
BOARD = "/ipowatch/ipo-grey-market-premium-latest-ipo-gmp/"


def test_it_answers_while_it_runs_and_not_after() -> None:
    sessions = tuple(nse_sessions(date(2025, 3, 1), date(2025, 8, 1)))

    async def story() -> tuple[int, int]:
        site = IpoSite(IpoSitePlan(port=0, seed=7, sessions=sessions), lambda: at(DAY, time(12)))
        running = asyncio.ensure_future(site.run())
        joined = asyncio.ensure_future(site.run())
        while not (url := (await site.health())["url"]):
            await asyncio.sleep(0)
        async with httpx.AsyncClient(base_url=url) as client:
            robots, board = await client.get("/robots.txt"), await client.get(BOARD)
            await site.stop()
            await asyncio.gather(running, joined)
            with pytest.raises(httpx.ConnectError):
                await client.get(BOARD)
        return robots.status_code, board.status_code

    assert asyncio.run(story()) == (200, 200)
