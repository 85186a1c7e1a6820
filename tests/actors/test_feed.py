"""Feed: what a held tape says ends up on the bus once and in order, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import WSMsgType, web
from pydantic import SecretStr

from actors.feed import Feed
from adapters.bus import Bus
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.instruments import partition_of
from market.tape import from_bars
from market.ticks import Ticks
from market.vendors.kite_wire import MODES, Wire
from tests.actors.day import (
    LAST,
    SESSION,
    TOKEN,
    WAIT,
    abandon,
    bars,
    feed_plan,
    instruments,
    play,
    playing,
    tape,
    ticks,
    until,
)

OF = instruments()
GARBAGE = b"\x00\x07\xff\xff\x01"


@pytest.fixture
def undisturbed(server: RedisServer, bus: Bus, tmp_path: Path) -> Iterator[dict[int, list[Ticks]]]:
    """The trades of an undisturbed run, by number of partitions; the bus is empty again."""
    found = {}
    for partitions in (1, 2, 3):
        asyncio.run(play(server.url, tmp_path, partitions))
        found[partitions] = [ticks(bus, p) for p in range(partitions)]
        RedisLine(server.url).call("FLUSHALL")
    yield found


def same(bus: Bus, expected: list[Ticks]) -> bool:
    """Whether the bus holds exactly these trades in this order."""
    return all(np.array_equal(ticks(bus, p), rows) for p, rows in enumerate(expected))


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_a_held_tape_ends_up_on_the_bus_completely_and_in_order(
    server: RedisServer, bus: Bus, tmp_path: Path, partitions: int
) -> None:
    packets = tape(OF)

    health = asyncio.run(play(server.url, tmp_path, partitions))

    sent = np.concatenate([packets.packets(k) for k in range(packets.steps)])
    assert health["ended"]
    assert health["ticks"] == len(sent)
    for p in range(partitions):
        rows = ticks(bus, p)
        mine = sent[[partition_of(OF[k], partitions) == p for k in sent["instrument"]]]
        order = np.lexsort((mine["at"], mine["instrument"]))
        ours = np.lexsort((np.arange(len(rows)), rows["instrument"]))
        assert rows["price"][ours].tolist() == mine["price"][order].tolist()
        assert rows["instrument"][ours].tolist() == mine["instrument"][order].tolist()
        assert (np.diff(rows["sequence"]) >= 0).all()


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_a_new_feed_goes_on_behind_what_its_predecessor_wrote(
    server: RedisServer, bus: Bus, tmp_path: Path, undisturbed: dict[int, list[Ticks]], partitions: int
) -> None:
    async def abandoned(after: int) -> None:
        async with playing(OF) as (_, url):
            run = asyncio.create_task(Feed(feed_plan(server.url, tmp_path, url, OF, partitions)).run())
            await until(lambda: max(bus.numbers("ticks", "primary/0", range(partitions)).values()) > after, run)
            await abandon(run)

    reached = []
    for after in (20, 150, 300):
        asyncio.run(abandoned(after))
        reached.append(max(bus.numbers("ticks", "primary/0", range(partitions)).values()))
    asyncio.run(play(server.url, tmp_path, partitions))

    assert reached[0] < LAST
    assert same(bus, undisturbed[partitions])


def test_a_damaged_frame_is_counted_and_kept_and_the_next_is_read(
    server: RedisServer, bus: Bus, tmp_path: Path, undisturbed: dict[int, list[Ticks]]
) -> None:
    async def story() -> dict[str, object]:
        crooked = Crooked(garbage={30, 200, 201})
        url = await crooked.start()
        feed = Feed(feed_plan(server.url, tmp_path, url, OF, 2))
        await asyncio.wait_for(feed.run(), WAIT)
        await crooked.stop()
        return await feed.health()

    health = asyncio.run(story())

    kept = sorted((tmp_path / "quarantine").glob("*.bin"))
    assert health["bad"] == 3
    assert [k.read_bytes() for k in kept] == [GARBAGE] * 3
    assert same(bus, undisturbed[2])


def test_a_refused_token_waits_for_a_login_and_asks_no_more(
    server: RedisServer, bus: Bus, tmp_path: Path, undisturbed: dict[int, list[Ticks]]
) -> None:
    async def story() -> tuple[dict[str, object], int, int]:
        crooked = Crooked()
        url = await crooked.start()
        feed = Feed(feed_plan(server.url, tmp_path, url, OF, 1, access_token=SecretStr("yesterday's")))
        run = asyncio.create_task(feed.run())
        while (waiting := await feed.health())["state"] != "AUTH_REQUIRED":
            await until(lambda: crooked.refused, run)
        other = Feed(feed_plan(server.url, tmp_path, url, OF, 1, name="other"))
        await asyncio.wait_for(other.run(), WAIT)  # a whole tape long the first one stays quiet
        refused = crooked.refused
        RedisLine(server.url).call("FLUSHALL")
        await feed.authenticate(TOKEN)
        await asyncio.wait_for(run, WAIT)
        await crooked.stop()
        return waiting, refused, crooked.refused

    waiting, refused, at_the_end = asyncio.run(story())

    assert "log in again" in str(waiting["trouble"])
    assert (refused, at_the_end) == (1, 1)
    assert same(bus, undisturbed[1])


def test_a_bus_that_dies_and_comes_back_loses_and_doubles_nothing(
    server: RedisServer, bus: Bus, tmp_path: Path, undisturbed: dict[int, list[Ticks]]
) -> None:
    async def story() -> None:
        async with playing(OF) as (_, url):
            run = asyncio.create_task(Feed(feed_plan(server.url, tmp_path, url, OF, 2)).run())
            for after in (20, 200):
                await until(lambda after=after: bus.numbers("ticks", "primary/0", [0])[0] > after, run)
                os.kill(server.pid or 0, signal.SIGKILL)
                await until(lambda: server.pid is None)
                await asyncio.to_thread(server.ensure)
            await asyncio.wait_for(run, WAIT)

    asyncio.run(story())

    assert same(bus, undisturbed[2])


@pytest.mark.endurance
def test_a_bus_that_stands_still_loses_and_doubles_nothing(
    server: RedisServer, bus: Bus, tmp_path: Path, undisturbed: dict[int, list[Ticks]]
) -> None:
    async def story() -> str:
        async with playing(OF) as (_, url):
            feed = Feed(feed_plan(server.url, tmp_path, url, OF, 2))
            run = asyncio.create_task(feed.run())
            await until(lambda: bus.numbers("ticks", "primary/0", [0])[0] > 20, run)
            os.kill(server.pid or 0, signal.SIGSTOP)
            try:
                while not (trouble := (await feed.health())["trouble"]):
                    await asyncio.sleep(0.05)
            finally:
                os.kill(server.pid or 0, signal.SIGCONT)
            await asyncio.wait_for(run, WAIT)
            return str(trouble)

    trouble = asyncio.run(story())

    assert trouble
    assert same(bus, undisturbed[2])


def test_a_feed_that_is_held_back_writes_nothing_until_it_is_released(
    server: RedisServer, bus: Bus, tmp_path: Path, undisturbed: dict[int, list[Ticks]]
) -> None:
    async def story() -> tuple[str, int]:
        async with playing(OF) as (exchange, url):
            feed = Feed(feed_plan(server.url, tmp_path, url, OF, 1))
            await feed.hold_back("the bus is nearly full")
            run = asyncio.create_task(feed.run())
            await until(lambda: exchange.step > LAST // 2, run)
            held, written = (await feed.health())["trouble"], bus.last("ticks", 0)
            await feed.hold_back("")
            await asyncio.wait_for(run, WAIT)
            return held, written

    held, written = asyncio.run(story())

    assert (held, written) == ("the bus is nearly full", 0)
    assert same(bus, undisturbed[1])


def test_a_universe_too_large_for_one_socket_takes_two(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    of = instruments(3001)
    few = bars(of)
    few = few[np.isin(few["instrument"], [0, 2999, 3000])]

    async def story() -> int:
        most = 0
        async with playing(of, from_bars(SESSION, few, {})) as (exchange, url):
            run = asyncio.create_task(Feed(feed_plan(server.url, tmp_path, url, of, 1)).run())
            while not run.done():
                most = max(most, exchange.sockets)
                await asyncio.sleep(0.005)
            run.result()
        return most

    assert asyncio.run(story()) == 2
    rows = ticks(bus, 0)
    for k in (0, 2999, 3000):
        assert rows["price"][rows["instrument"] == k][-1] == few["close"][few["instrument"] == k][-1]


class Crooked:
    """A server that plays the held tape with garbage behind the frames of some steps, and counts whom it refused."""

    def __init__(self, garbage: set[int] | None = None) -> None:
        self._garbage = garbage or set()
        self._wire, self._tape = Wire(OF), tape(OF)
        self.refused = 0

    async def start(self) -> str:
        """Listen; the address of the stream."""
        app = web.Application()
        app.router.add_get("/", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"ws://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("access_token") != TOKEN:
            self.refused += 1
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and (asked := json.loads(message.data))["a"] == "resume":
                await self._send(socket, asked["v"] + 1)
        return socket

    async def _send(self, socket: web.WebSocketResponse, first: int) -> None:
        modes = np.full(len(OF), MODES["full"], np.int8)
        for step in range(first, self._tape.steps):
            clock = self._tape.clock(step)
            for frame in self._wire.frames(self._tape.packets(step), modes, {}, clock):
                await socket.send_bytes(frame)
            if step in self._garbage:
                await socket.send_bytes(GARBAGE)
            await socket.send_json({"type": "message", "data": {"bourse": {"frame": step, "clock": clock}}})
        await socket.send_json({"type": "message", "data": {"bourse": {"end": True}}})
