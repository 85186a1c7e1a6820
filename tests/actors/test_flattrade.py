"""A day over FlatTrade's wire: its login, its snapshots and deltas, and the same candles as over any other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from actors.feed import Feed
from adapters.bus import Bus
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.candles import INTERVALS
from tests.actors.day import (
    LAST,
    WAIT,
    abandon,
    bars,
    candles_on,
    feed_plan,
    fold_everything,
    instruments,
    play,
    playing,
    ticks,
    until,
)

OF = instruments()
PARTITIONS = 2
SAID = ["instrument", "flags", "kind", "at", "price", "day_volume", "bid", "bid_quantity", "ask", "ask_quantity"]


def test_a_tape_over_flattrade_folds_back_to_the_recorded_candles(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    health = asyncio.run(play(server.url, tmp_path, PARTITIONS, dialect="flattrade"))
    fold_everything(bus, server.url, PARTITIONS)

    found, expected = candles_on(bus, PARTITIONS), bars(OF)
    traded = found[(found["trades"] > 0) & (found["interval"] == INTERVALS["1m"])]
    assert (health["bad"], health["unknown"], health["unpriced"]) == (0, 0, 0)
    for name in ("instrument", "start", "open", "high", "low", "close", "volume"):
        assert traded[name].tolist() == expected[name].tolist()


def test_the_ticks_are_those_of_the_same_day_over_kite(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    days = []
    for dialect in ("kite", "flattrade"):
        asyncio.run(play(server.url, tmp_path, PARTITIONS, dialect=dialect))
        rows = np.concatenate([ticks(bus, p) for p in range(PARTITIONS)])
        days.append(np.sort(rows[SAID], order=["instrument", "at", "day_volume", "price"]).tolist())
        RedisLine(server.url).call("FLUSHALL")

    assert days[0] == days[1]


def test_a_feed_cut_in_the_middle_goes_on_behind_what_the_bus_has(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    asyncio.run(play(server.url, tmp_path, 1, dialect="flattrade"))
    whole = ticks(bus, 0)
    RedisLine(server.url).call("FLUSHALL")

    async def abandoned() -> None:
        async with playing(OF, dialect="flattrade") as (_, url):
            run = asyncio.create_task(Feed(feed_plan(server.url, tmp_path, url, OF, 1, vendor="flattrade")).run())
            await until(lambda: bus.numbers("ticks", "primary/0", [0])[0] > LAST // 3, run)
            await abandon(run)

    asyncio.run(abandoned())
    reached = bus.numbers("ticks", "primary/0", [0])[0]
    asyncio.run(play(server.url, tmp_path, 1, dialect="flattrade"))

    assert reached < LAST
    assert ticks(bus, 0).tolist() == whole.tolist()


@pytest.mark.parametrize("path", ["PiConnectWSAPI/", "PiConnectWSTp/"])
def test_either_handshake_opens_the_stream(server: RedisServer, bus: Bus, tmp_path: Path, path: str) -> None:
    async def story() -> dict[str, object]:
        async with playing(OF, dialect="flattrade") as (_, url):
            feed = Feed(feed_plan(server.url, tmp_path, url + path, OF, 1, vendor="flattrade", user="FT1"))
            await asyncio.wait_for(feed.run(), WAIT)
            return await feed.health()

    health = asyncio.run(story())

    assert health["ended"]
    assert health["bad"] == 0
    assert len(np.unique(ticks(bus, 0)["instrument"])) == len(OF)


def test_a_dead_token_makes_the_feed_ask_for_a_login(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    async def story() -> dict[str, object]:
        async with playing(OF, dialect="flattrade") as (_, url):
            token = SecretStr("yesterday's")
            plan = feed_plan(server.url, tmp_path, url, OF, 1, vendor="flattrade", access_token=token)
            feed = Feed(plan)
            running = asyncio.create_task(feed.run())
            async with asyncio.timeout(WAIT):
                while (await feed.health())["state"] != "AUTH_REQUIRED":
                    await asyncio.sleep(0.01)
            health = await feed.health()
            await abandon(running)
            return health

    health = asyncio.run(story())

    assert "log in again" in str(health["trouble"])
    assert len(ticks(bus, 0)) == 0
