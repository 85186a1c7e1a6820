"""History: a vendor's candles over HTTP, within one budget, from the simulated exchange and from one in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from time import monotonic
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from pydantic import SecretStr

from adapters.budget import Budget, Turns
from adapters.exchange import Exchange
from adapters.history import TRIES, History
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.codecs import Account
from market.errors import AuthRequired, BadPayload, BadValue, LineDown
from market.repair import HistoryCodec
from market.sessions import MINUTE
from market.vendors.flattrade_rest import FlatTradeHistory
from market.vendors.kite_rest import KiteHistory
from market.vendors.mstock_rest import MStockHistory
from tests.actors.day import SESSION, bars, instruments, tape

OF = instruments()
ACCOUNT = Account(api_key=SecretStr("demo"), access_token=SecretStr("token"))
GOOD = '{"status": "success", "data": {"candles": [["2016-08-25T09:15:00+0530", 10, 11, 9, 10.5, 7]]}}'
ERROR = '{"status": "error", "error_type": "NetworkException", "message": "Too many requests"}'


@pytest.fixture
def redis(shared_cache: RedisServer, cache: RedisLine) -> RedisServer:
    """The cache's server, empty."""
    return shared_cache


class Waits(list[float]):
    """What a budget would have waited."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def history(redis: RedisServer, root: str, waits: Waits, rate: float = 1000.0, name: str = "kite") -> History:
    return History(KiteHistory(), ACCOUNT, Budget(redis.url, name, rate, wait=waits), root)


@asynccontextmanager
async def vendor(*answers: tuple[int, str, dict[str, str]]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that gives these answers one after the other, the last one for ever; and what it was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        status, body, headers = answers[min(len(asked), len(answers)) - 1]
        return web.Response(status=status, text=body, headers=headers, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("codec", [KiteHistory(), FlatTradeHistory(), MStockHistory()], ids=lambda c: c.name)
def test_the_simulated_exchange_gives_the_minutes_that_were_recorded(redis: RedisServer, codec: HistoryCodec) -> None:
    async def story() -> None:
        server = Exchange(OF, iter([tape(OF)]), access_token="token", speed=1e5, dialect=codec.name)
        root = await server.start() + urlsplit(codec.root).path
        while server.clock < SESSION.close:
            await asyncio.sleep(0.01)
        one = History(codec, ACCOUNT, Budget(redis.url, codec.name, 1000.0, wait=Waits()), root)
        rows = await asyncio.to_thread(one.candles, OF[2], SESSION.open + MINUTE, SESSION.open + 3 * MINUTE)
        stranger = History(codec, Account(), Budget(redis.url, codec.name, 1000.0, wait=Waits()), root)
        with pytest.raises(AuthRequired):
            await asyncio.to_thread(stranger.candles, OF[2], SESSION.open, SESSION.open)
        await server.stop()

        expected = bars(OF)
        expected = expected[(expected["instrument"] == 2)][1:4]
        for name in ("start", "open", "high", "low", "close", "volume"):
            assert rows[name].tolist() == expected[name].tolist()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("headers", "pause"), [({"Retry-After": "7"}, 7.0), ({}, 1.0), ({"Retry-After": "Fri, 21 Nov 2026"}, 1.0)]
)
def test_a_vendor_that_has_had_enough_is_left_alone_as_long_as_it_says(
    redis: RedisServer, headers: dict[str, str], pause: float
) -> None:
    async def story() -> None:
        waits, began = Waits(), monotonic()
        async with vendor((429, ERROR, headers), (200, GOOD, {})) as (root, asked):
            one = history(redis, root, waits)
            rows = await asyncio.to_thread(one.candles, OF[0], SESSION.open, SESSION.open)
        took = monotonic() - began

        assert (len(rows), len(asked), one.throttled) == (1, 2, 1)
        assert pause - took < sum(waits) <= pause

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "body", "error", "times"),
    [
        (503, "{}", LineDown, TRIES),
        (200, "<html>", BadPayload, 1),
        (403, '{"status": "error", "error_type": "TokenException", "message": "expired"}', AuthRequired, 1),
    ],
)
def test_what_cannot_be_helped_is_told_and_what_may_pass_is_asked_again(
    redis: RedisServer, status: int, body: str, error: type[Exception], times: int
) -> None:
    async def story() -> None:
        async with vendor((status, body, {})) as (root, asked):
            with pytest.raises(error):
                await asyncio.to_thread(history(redis, root, Waits()).candles, OF[0], SESSION.open, SESSION.open)
        assert len(asked) == times

    asyncio.run(story())


def test_an_instrument_the_vendor_does_not_know_is_not_asked_for(redis: RedisServer) -> None:
    stranger = OF[0].model_copy(update={"tokens": {}})

    with pytest.raises(BadValue, match="Kite's list"):
        history(redis, "http://127.0.0.1:1", Waits()).candles(stranger, SESSION.open, SESSION.open)


def test_a_host_that_is_away_is_line_down(redis: RedisServer) -> None:
    with pytest.raises(LineDown):
        history(redis, "http://127.0.0.1:1", Waits()).candles(OF[0], SESSION.open, SESSION.open)


def test_everybody_who_asks_under_one_name_shares_its_turns(redis: RedisServer) -> None:
    waits = Waits()
    one, other = (Budget(redis.url, "shared", 0.005, wait=waits) for _ in range(2))

    for budget in (one, other, one, other):
        budget.take()

    assert len(waits) == 3
    assert [round((b - a) / 200) for a, b in pairwise([0.0, *waits])] == [1, 1, 1]


def test_budgets_of_two_names_do_not_wait_for_each_other(redis: RedisServer) -> None:
    waits = Waits()

    for name in ("a", "b"):
        Budget(redis.url, name, 0.01, wait=waits).take()

    assert waits == []


def test_turns_of_one_process_are_as_far_apart_as_the_rate_says() -> None:
    now, waits = [0.0], Waits()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    turns = Turns(0.5, wait, lambda: now[0])
    for _ in range(3):
        turns.take()
    turns.pause(60.0)
    turns.take()

    assert waits == [2.0, 2.0, 60.0]


def test_a_pause_holds_for_all_and_is_never_endless(redis: RedisServer) -> None:
    waits = Waits()
    Budget(redis.url, "paused", 1000.0).pause(1e9)

    Budget(redis.url, "paused", 1000.0, wait=waits).take()

    assert 200 < waits[0] <= 300
