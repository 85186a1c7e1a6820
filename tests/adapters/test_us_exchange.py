"""The simulated exchange as Polygon and as Finnhub: a tape comes through real sockets and folds back to itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, time

import aiohttp
import numpy as np
import pytest
from pydantic import SecretStr

from adapters.exchange import Exchange
from adapters.fetching import get
from market.codecs import Account, Event, Refused, TapeClock, TapeEnd, TickCodec, resume
from market.fold import CandleBuilder
from market.generator import generate
from market.sessions import MINUTE, NEW_YORK, Session, Sessions, at, day_number, session
from market.tape import BAR, Tape
from market.ticks import NO_TICKS, FeedState, Ticks, mark
from market.universes import US20
from market.vendors.finnhub import Finnhub
from market.vendors.finnhub_rest import FinnhubHistory
from market.vendors.polygon import Polygon
from market.vendors.polygon_rest import PolygonHistory

INSTRUMENTS = [one.instrument for one in US20]
TICKERS = {i.ticker: i.id for i in INSTRUMENTS}
SHORT: Session = session(date(2025, 11, 20), time(9, 15), time(9, 25))
ACCOUNT = Account(api_key=SecretStr("demo"))
CODECS: dict[str, type[TickCodec]] = {"polygon": Polygon, "finnhub": Finnhub}
PATHS = {"polygon": "/stocks", "finnhub": "/"}

dialects = pytest.mark.parametrize("dialect", CODECS)


@asynccontextmanager
async def running(dialect: str, tape: Tape, *, hold: bool) -> AsyncIterator[str]:
    exchange = Exchange(INSTRUMENTS, iter([tape]), dialect=dialect, speed=None, hold=hold)
    url = await exchange.start()
    try:
        yield url
    finally:
        await exchange.stop()


async def listen(codec: TickCodec, url: str, account: Account, first: int | None = None) -> tuple[Ticks, list[Event]]:
    """All that comes until the tape ends, or the login is refused; marks where its clock was told."""
    rows: list[Ticks] = [NO_TICKS]
    events: list[Event] = []
    address = codec.address(url.replace("http", "ws") + PATHS[codec.name], account)
    async with aiohttp.ClientSession() as web, web.ws_connect(address) as socket:
        for text in [*codec.hello(account), *codec.subscribe([*TICKERS], "full")]:
            await socket.send_str(text)
        if first is not None:
            await socket.send_str(resume(first))
        async for message in socket:
            if codec.carries(message.data):
                rows.append(codec.read(message.data, 0))
                continue
            events.append(codec.text(message.data))
            if isinstance(events[-1], TapeClock):
                rows.append(mark(0, FeedState.LIVE, events[-1].clock))
            if isinstance(events[-1], TapeEnd | Refused):
                break
    return np.concatenate(rows), events


def folded(log: Ticks) -> list[tuple[int, ...]]:
    candles = CandleBuilder(range(len(US20)), Sessions([SHORT]).table()).step(log)
    candles = candles[(candles["interval"] == 60) & (candles["trades"] > 0)]
    candles = candles[np.lexsort((candles["start"], candles["instrument"]))]
    return [tuple(row) for row in candles[list(BAR.names)].tolist()]


@dialects
def test_a_held_tape_comes_through_and_folds_back_to_itself(dialect: str) -> None:
    tape = generate(US20, SHORT, 7)

    async def story() -> tuple[Ticks, list[Event]]:
        async with running(dialect, tape, hold=True) as url:
            return await listen(CODECS[dialect](TICKERS), url, ACCOUNT, first=-1)

    log, events = asyncio.run(story())

    assert folded(log) == [tuple(bar) for bar in tape.bars.tolist()]
    assert [e.frame for e in events if isinstance(e, TapeClock)] == list(range(tape.steps))


@dialects
def test_who_was_cut_and_hears_some_of_it_again_counts_it_once(dialect: str) -> None:
    tape = generate(US20, SHORT, 7)

    async def story() -> list[Ticks]:
        async with running(dialect, tape, hold=True) as url:
            codec = CODECS[dialect](TICKERS)
            whole, _ = await listen(codec, url, ACCOUNT, first=-1)
            again, _ = await listen(codec, url, ACCOUNT, first=300)
            return [whole[whole["at"] < tape.clock(330)], again]

    before, after = asyncio.run(story())

    assert folded(np.concatenate([before, after])) == [tuple(bar) for bar in tape.bars.tolist()]


@pytest.mark.parametrize(("dialect", "error"), [("polygon", Refused), ("finnhub", aiohttp.WSServerHandshakeError)])
def test_a_wrong_key_is_refused_as_the_vendor_does(dialect: str, error: type) -> None:
    async def story() -> object:
        async with running(dialect, generate(US20, SHORT, 7), hold=True) as url:
            stranger = Account(api_key=SecretStr("stranger"))
            try:
                return (await listen(CODECS[dialect](TICKERS), url, stranger, first=-1))[1][-1]
            except aiohttp.WSServerHandshakeError as e:
                assert e.status == 401
                return e

    assert isinstance(asyncio.run(story()), error)


@dialects
def test_a_second_socket_of_a_key_pushes_out_the_first(dialect: str) -> None:
    async def story() -> aiohttp.WSMsgType:
        async with running(dialect, generate(US20, SHORT, 7), hold=True) as url, aiohttp.ClientSession() as web:
            codec = CODECS[dialect](TICKERS)
            address = codec.address(url.replace("http", "ws") + PATHS[dialect], ACCOUNT)
            async with web.ws_connect(address) as first, web.ws_connect(address) as second:
                for socket in (first, second):
                    for text in [*codec.hello(ACCOUNT), *codec.subscribe([*TICKERS], "full")]:
                        await socket.send_str(text)
                async with asyncio.timeout(60):
                    while (message := await first.receive()).type is aiohttp.WSMsgType.TEXT:
                        pass
                assert not second.closed
                return message.type

    assert asyncio.run(story()) in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


@pytest.mark.parametrize("history", [PolygonHistory("1d"), FinnhubHistory("1d")], ids=lambda h: h.name)
def test_history_has_days_as_well(history: PolygonHistory | FinnhubHistory) -> None:
    opens = at(SHORT.date, time(9, 30), NEW_YORK)
    tape = generate(
        US20, Session(date=SHORT.date, preopen=opens, open=opens, close=opens + 10 * MINUTE, exchange="NASDAQ"), 7
    )
    root = {"polygon": "", "finnhub": "/api/v1"}[history.name]
    midnight = at(SHORT.date, time(0), NEW_YORK)

    async def story() -> np.ndarray:
        async with running(history.name, tape, hold=True) as url:
            await listen(CODECS[history.name](TICKERS), url, ACCOUNT, first=-1)
            call = history.call(url + root, ACCOUNT, INSTRUMENTS[3], midnight, midnight)
            body, kind = await asyncio.to_thread(get, call.url, call.headers)
            return history.read(body, kind, 200, 3)

    rows = asyncio.run(story())

    bars = tape.bars[tape.bars["instrument"] == 3]
    assert rows["session"].tolist() == [day_number(SHORT.date)]
    assert rows["interval"].tolist() == [86_400]
    assert rows["open"].tolist() == [bars["open"][0]] and rows["close"].tolist() == [bars["close"][-1]]
    assert rows["high"].tolist() == [bars["high"].max()] and rows["volume"].tolist() == [bars["volume"].sum()]


@pytest.mark.parametrize("history", [PolygonHistory(), FinnhubHistory()], ids=lambda h: h.name)
def test_history_is_the_minutes_that_have_played(history: PolygonHistory | FinnhubHistory) -> None:
    tape = generate(US20, SHORT, 7)
    root = {"polygon": "", "finnhub": "/api/v1"}[history.name]

    async def story() -> tuple[np.ndarray, bytes]:
        async with running(history.name, tape, hold=True) as url:
            await listen(CODECS[history.name](TICKERS), url, ACCOUNT, first=-1)
            ours, others = (
                history.call(url + root, of, INSTRUMENTS[3], SHORT.open, SHORT.close) for of in (ACCOUNT, Account())
            )
            body, kind = await asyncio.to_thread(get, ours.url, ours.headers)
            nobody, _ = await asyncio.to_thread(get, others.url, others.headers)
            return history.read(body, kind, 200, 3), nobody

    rows, refused = asyncio.run(story())

    assert rows[list(BAR.names)].tolist() == tape.bars[tape.bars["instrument"] == 3].tolist()
    assert b"key" in refused.lower()
