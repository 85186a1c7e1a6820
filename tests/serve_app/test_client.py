"""The Python client against the gateway's own app under a real server, through a line that is cut again and again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from adapters.redis_pair import free_ports
from adapters.tokens import OPERATOR, Signer
from bourse.client import Channel, Client, Quotes
from market.access import Role
from market.errors import AuthRequired, BadValue, LineDown, TooOld, UnknownSymbol
from market.sessions import MINUTE, SECOND
from serve_app.access import AccessPlan
from tests.serve_app.door import SECRET
from tests.serve_app.house import INSTRUMENTS, RELIANCE, TCS, TODAY, House, after, candle, live, tick
from tests.serve_app.served import cable, served

pytestmark = pytest.mark.anyio
SYMBOLS = [i.symbol for i in INSTRUMENTS]
CUTS = 8


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def port(house: House) -> Iterator[int]:
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), tick(TCS, after(TODAY, 1), 2000, 7), live(after(TODAY, 1)))
    with served(house.client.app) as found:
        yield found


def at(port: int, **credential: Any) -> Client:
    return Client(f"http://127.0.0.1:{port}", **credential)


async def until(quotes: Quotes, holds: Callable[[], Any]) -> None:
    """Take updates until something holds."""
    async with asyncio.timeout(120):
        while not holds():
            await anext(quotes)


async def folds(holds: Callable[[], Any]) -> None:
    """Wait without taking updates."""
    async with asyncio.timeout(120):
        while not holds():
            await asyncio.sleep(0.01)


SAME = ("symbol", "price", "open", "high", "low", "bid", "ask", "bid_quantity", "volume", "stale")


def rest(house: House, symbol: str) -> dict[str, Any]:
    """A quote as REST tells it."""
    told = house.get(f"/api/stock/{symbol}")
    return {name: told[name] for name in SAME} | {"close": told["previous_close"], "at": told["at"]}


def folded(client: Client, symbol: str) -> dict[str, Any]:
    mine = client.latest[symbol]
    moment = None if mine["at"] is None else mine["at"].isoformat().replace("+00:00", "Z")
    return {name: mine[name] for name in SAME} | {"close": mine["close"], "at": moment}


async def test_quotes_are_folded_into_rows_and_columns(house: House, port: int) -> None:
    async with at(port) as client:
        quotes = client.quotes(["reliance", "TCS", "NSE:M&M", "NOBODY"], rate=20)
        await until(quotes, lambda: "M&M" in client.latest and client.latest["TCS"]["price"])
        house.say(tick(TCS, after(TODAY, 2), 2001.05, 9), live(after(TODAY, 3)))
        await until(quotes, lambda: client.latest["TCS"]["price"] == 2001.05)

        assert quotes.unknown == ["NOBODY"] and client.hello["demo"] is True
        tcs, nothing = client.latest["tcs"], client.latest["M&M"]
        assert tcs["symbol"] == "NSE:TCS" and tcs["volume"] == 9 and tcs["feed"] == "LIVE" and not tcs["stale"]
        assert tcs["at"] == datetime.fromtimestamp(after(TODAY, 2) / SECOND, UTC) and tcs["age"] == 60.0
        assert nothing["price"] is None and nothing["age"] is None and nothing["stale"] is True
        columns = client.latest.columns(["TCS", "M&M"])
        assert columns["symbol"].tolist() == ["NSE:TCS", "NSE:M&M"] and columns["stale"].tolist() == [False, True]
        assert columns["price"][0] == 2001.05 and np.isnan(columns["price"][1]) and np.isnat(columns["at"][1])
        assert columns["at"][0] == np.datetime64(after(TODAY, 2) // 1_000_000, "ms")


async def test_a_reader_that_comes_late_gets_the_latest_values_once(house: House, port: int) -> None:
    async with at(port) as client:
        quotes = client.quotes(["TCS", "RELIANCE"], fields=["price"], rate=20)
        await until(quotes, lambda: len(client.latest) == 2 and client.latest["RELIANCE"]["price"])
        for price in (2001, 2002, 2003):
            house.say(tick(TCS, after(TODAY, 2), price))
            await folds(lambda price=price: client.latest["TCS"]["price"] == price)
        update = await anext(quotes)

        assert update.symbols == ["NSE:TCS"] and update.quotes["NSE:TCS"]["price"] == 2003
        assert update.columns()["price"].tolist() == [2003.0] and not quotes._news.is_set()


async def test_more_and_fewer_are_asked_for_while_it_runs(house: House, port: int) -> None:
    async with at(port) as client:
        quotes = client.quotes(["TCS"], rate=20)
        await until(quotes, lambda: "TCS" in client.latest)
        quotes.add(index="NIFTY 50")
        await until(quotes, lambda: {"RELIANCE", "M&M"} <= {s.partition(":")[2] for s in client.latest})
        quotes.remove(["TCS"])
        house.say(tick(TCS, after(TODAY, 2), 7), tick(RELIANCE, after(TODAY, 2), 1001))
        await until(quotes, lambda: client.latest["RELIANCE"]["price"] == 1001)

        assert "TCS" not in client.latest and len(client.latest) == 2


async def test_what_is_removed_before_it_has_come_stays_away_until_it_is_asked_for_again(
    house: House, port: int
) -> None:
    async with at(port) as client:
        quotes = client.quotes(["TCS", "RELIANCE"], rate=20)
        quotes.remove(["tcs", "NSE:RELIANCE"])
        quotes.add(["M&M"])
        await until(quotes, lambda: "M&M" in client.latest and not client._asks)
        left = list(client.latest)
        quotes.add(["TCS"])
        quotes.remove(["TCS"])
        quotes.add(["TCS"])
        await until(quotes, lambda: "TCS" in client.latest and client.latest["TCS"]["price"])
        house.say(tick(TCS, after(TODAY, 2), 7), live(after(TODAY, 2)))
        await until(quotes, lambda: client.latest["TCS"]["price"] == 7)

    assert left == ["NSE:M&M"] and sorted(client.latest) == ["NSE:M&M", "NSE:TCS"]


async def test_after_random_cuts_quotes_are_those_of_rest_and_candles_came_once(house: House, port: int) -> None:
    rng = random.Random(7)
    async with cable(port) as line, at(line.port) as client:
        quotes, candles = client.quotes(SYMBOLS, rate=20), client.channel("candles")
        await candles.ready()
        await until(quotes, lambda: len(client.latest) == 4)
        for minute in range(CUTS):
            line.cut(after=rng.choice([0, 1, 40, 300, 900]))
            at_minute = after(TODAY, 2 + minute)
            rows = [tick(k, at_minute, rng.randint(100, 999)) for k in range(4) if rng.random() < 0.7]
            await asyncio.to_thread(house.say, *rows, live(at_minute))
            await asyncio.to_thread(house.fold, candle(TCS, TODAY, minute, 100 + minute))
            if rng.random() < 0.5:
                await until(quotes, lambda: client.latest.live)
        for _ in range(2):
            await until(quotes, lambda: client.latest.live)
            before = client.cuts
            line.cut()
            await until(quotes, lambda before=before: client.cuts > before)
        starts = [row["start"] async for row in some(candles, CUTS)]
        await until(quotes, lambda: all(folded(client, s) == rest(house, s) for s in SYMBOLS))

        assert starts == [(TODAY.open + k * MINUTE) // 1_000_000 for k in range(CUTS)]
        assert client.cuts >= 2 and line.cuts >= 2


async def some(channel: Channel, count: int) -> Any:
    async with asyncio.timeout(120):
        while count > 0:
            for row in await anext(channel):
                count -= 1
                yield row


async def test_a_server_that_starts_anew_is_found_again(closed: House) -> None:
    closed.open()
    closed.say(tick(TCS, after(TODAY, 1), 2000), live(after(TODAY, 1)))
    with served(closed.client.app, *free_ports(1)) as port:
        client = await at(port).__aenter__()
        quotes, candles = client.quotes(["TCS"], rate=20), client.channel("candles", ["TCS"])
        await candles.ready()
        await until(quotes, lambda: "TCS" in client.latest)
        closed.fold(candle(TCS, TODAY, 0, 100))
        first = [row["start"] async for row in some(candles, 1)]
    await until(quotes, lambda: not client.latest.live)
    was_stale = client.latest["TCS"]["stale"]
    closed.follower.stop()
    closed.open()
    closed.say(tick(TCS, after(TODAY, 2), 2002), live(after(TODAY, 2)))
    closed.fold(candle(TCS, TODAY, 1, 101))
    with served(closed.client.app, port):
        await until(quotes, lambda: client.latest["TCS"]["price"] == 2002 and not client.latest["TCS"]["stale"])
        second = [row["start"] async for row in some(candles, 1)]
        await client.__aexit__(None, None, None)

    assert was_stale and client.trouble == ""
    assert first + second == [TODAY.open // 1_000_000, (TODAY.open + MINUTE) // 1_000_000]


async def test_a_channel_nobody_reads_is_bounded_and_loses_nothing(house: House, port: int) -> None:
    async with at(port) as client:
        candles = client.channel("candles", ["TCS"])
        quotes = client.quotes(["RELIANCE"], rate=20)
        await candles.ready()
        await until(quotes, lambda: "RELIANCE" in client.latest)
        for k in range(300):
            house.bus.write("candles", partition(), entry(house, k), rows_of(k))
        house.say(tick(RELIANCE, after(TODAY, 2), 1009))
        await until(quotes, lambda: client.latest["RELIANCE"]["price"] == 1009)
        await folds(lambda: candles._paused)
        held = len(candles._rows)
        closes = [row["close"] async for row in some(candles, 300)]

    assert held <= 256
    assert closes == [float(k + 1) for k in range(300)]


def partition() -> int:
    from market.instruments import partition_of

    return partition_of(INSTRUMENTS[TCS], 2)


def entry(house: House, k: int) -> int:
    from adapters.bus import SEQUENCE_BITS

    return max(house.bus.last("candles", partition()), int(time.time() * 1000) << SEQUENCE_BITS) + 1


def rows_of(k: int) -> bytes:
    from adapters.entries import encode

    return encode(candle(TCS, TODAY, k, k + 1))


async def test_a_new_token_is_asked_for_when_the_old_one_has_expired(closed: House) -> None:
    closed.plan = closed.plan.model_copy(update={"access": AccessPlan(secrets=(SecretStr(SECRET),))})
    closed.open()
    asked: list[str] = []

    async def token() -> str:
        asked.append(short(60 if asked else 2))
        return asked[-1]

    with served(closed.client.app) as port:
        async with at(port, token=token) as client:
            quotes = client.quotes(["TCS"], rate=20)
            await until(quotes, lambda: len(asked) == 2 and client.latest.live)
        async with at(port, token=short(2)) as client:
            with pytest.raises(AuthRequired, match="expired"):
                async with asyncio.timeout(120):
                    async for _ in client.quotes(["TCS"]):
                        pass

    assert len(asked) == 2


async def test_a_token_that_cannot_be_had_is_asked_for_again_and_one_that_is_denied_is_not(closed: House) -> None:
    closed.plan = closed.plan.model_copy(update={"access": AccessPlan(secrets=(SecretStr(SECRET),))})
    closed.open()
    troubles = [None, ConnectionRefusedError("no login"), KeyError("access_token"), None, AuthRequired("login", "shut")]
    asked: list[str] = []

    async def token() -> str:
        asked.append(client.trouble)
        if (trouble := troubles.pop(0)) is not None:
            raise trouble
        return short(60)

    with served(closed.client.app) as port:
        async with cable(port) as line:
            client = at(line.port, token=token)
            async with client:
                quotes = client.quotes(["TCS"], rate=20)
                await until(quotes, lambda: "TCS" in client.latest)
                line.cut()
                await until(quotes, lambda: len(asked) == 4 and client.latest.live)
                line.cut()
                with pytest.raises(AuthRequired, match="shut"):
                    await until(quotes, lambda: False)

    assert "no login" in asked[2] and "access_token" in asked[3] and not troubles


def short(seconds: int) -> str:
    """A token that is good for so long."""
    return Signer([SECRET]).sign(OPERATOR, OPERATOR, Role.ADMIN, "premium", timedelta(seconds=seconds))[0]


async def test_what_cannot_be_is_refused_with_a_typed_error(house: House, port: int) -> None:
    async with at(port) as client:
        for wrong in (
            lambda: client.quotes("TCS"),
            lambda: client.quotes(["TCS"], rate=21),
            lambda: client.quotes(["TCS"], fields=["colour"]),
            lambda: client.channel("candles", "TCS"),
        ):
            with pytest.raises(BadValue):
                wrong()
        with pytest.raises(UnknownSymbol):
            await anext(client.quotes(["NOBODY"]))
        house.fold(candle(TCS, TODAY, 1, 101))
        house.fold(candle(TCS, TODAY, 2, 102))
        with pytest.raises(TooOld, match="/api/v1/candles"):
            await anext(client.channel("candles", after="1-1"))
        with pytest.raises(BadValue, match="after"):
            await anext(client.channel("signals", after="nonsense"))
        with pytest.raises(UnknownSymbol):
            await client.get_quotes(["NOBODY"])
        with pytest.raises(BadValue, match="interval"):
            await client.get_candles("TCS", "7m")
        for name in ("TCS?limit=1", "TCS#", "NO%54"):
            with pytest.raises(UnknownSymbol):
                await client.get_candles(name)
        with pytest.raises(BadValue):
            Client("127.0.0.1:8000")
    with pytest.raises(LineDown):
        async with at(1):
            pass


async def test_rest_is_at_hand(house: House, port: int) -> None:
    house.fold(candle(TCS, TODAY, 0, 100), candle(TCS, TODAY, 1, 101))
    async with at(port) as client:
        quotes = await client.get_quotes(["TCS", "RELIANCE"])
        candles = await client.get_candles("TCS", start=TODAY.date, end=TODAY.date)

    assert [q["price"] for q in quotes] == [2000.0, 1000.0]
    assert [c["close"] for c in candles["candles"]] == [100.0, 101.0]


async def test_a_line_that_is_silent_is_given_up() -> None:
    """A server that greets and then says nothing: two heartbeats later the client comes again."""
    import msgpack
    from websockets.asyncio.server import ServerConnection, serve

    greeted, thrice = 0, asyncio.Event()

    async def mute(socket: ServerConnection) -> None:
        nonlocal greeted
        greeted += 1
        if greeted == 3:
            thrice.set()
        told = {"type": "hello", "version": 1, "session": "s", "heartbeat_seconds": 0.05, "base": 0, "fields": []}
        await socket.send(msgpack.packb(told))
        await socket.wait_closed()

    async with serve(mute, "127.0.0.1", 0) as server, at(server.sockets[0].getsockname()[1]) as client:
        async with asyncio.timeout(120):
            await thrice.wait()
        trouble = client.trouble

    assert client.cuts >= 2 and (trouble == "" or "nothing was heard" in trouble)
