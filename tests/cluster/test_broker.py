"""Tokens of the day, asked of the simulated exchange as of a broker."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.exchange import Exchange
from adapters.listings import Listings
from adapters.redis_server import RedisServer
from cluster.broker import ahead, listing, opening, refresh, root
from cluster.settings import Source
from market.alerts import still_open
from market.codecs import Account
from market.errors import AuthRequired, BadValue, LineDown
from market.holidays import nse_sessions
from market.instruments import Instrument
from market.listings import Listed, Listing
from market.money import Money
from market.sessions import Sessions, at, session
from market.tape import BAR, from_bars

DAY = session(date(2016, 8, 25))
THERE = [Instrument(id=i, symbol=f"NSE:S{i}", tokens={"kite": (500 + i) * 256 + 1}) for i in range(3)]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A durable server that is up, in a short folder."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        one = RedisServer(Path(folder) / "bus", Path(folder) / "run", "bus", memory=64 << 20, durable=True)
        one.start()
        yield one
        one.stop()


def account(token: str) -> Account:
    return Account(api_key=SecretStr("k"), access_token=SecretStr(token))


def ask(wanted: list[Instrument], token: str = "t") -> Listing:
    async def run() -> Listing:
        bars = np.array([(0, DAY.open, 1000, 1000, 1000, 1000, 5)], BAR)
        exchange = Exchange(THERE, iter([from_bars(DAY, bars, {})]), api_key="k", access_token="t", hold=True)
        address = await exchange.start()
        source = Source(kind="kite", url=address.replace("http", "ws"))
        try:
            return await asyncio.to_thread(listing, wanted, source, account(token), DAY.date)
        finally:
            await exchange.stop()

    return asyncio.run(run())


def test_a_universe_takes_its_tokens_from_the_broker() -> None:
    mine = [Instrument(id=0, symbol="NSE:S2", tokens={"kite": 1}), Instrument(id=1, symbol="NSE:S0")]

    found = ask(mine).applied(mine)

    assert [(i.id, i.symbol, i.tokens["kite"]) for i in found] == [(0, "NSE:S2", 502 * 256 + 1), (1, "NSE:S0", 128001)]


def test_flattrade_lists_by_segment_and_asks_for_no_login() -> None:
    there = [Instrument(id=i, symbol=f"NSE:S{i}", tokens={"flattrade": f"NSE|{500 + i}"}) for i in range(3)]
    mine = [
        Instrument(id=0, symbol="NSE:S2", lot=5),
        Instrument(id=1, symbol="NSE:S0"),
        Instrument(id=2, symbol="BSE:S1"),
    ]

    async def run() -> Listing:
        bars = np.array([(0, DAY.open, 1000, 1000, 1000, 1000, 5)], BAR)
        exchange = Exchange(there, iter([from_bars(DAY, bars, {})]), dialect="flattrade", hold=True)
        source = Source(kind="flattrade", url=(await exchange.start()).replace("http", "ws"))
        try:
            return await asyncio.to_thread(listing, mine, source, Account(), DAY.date)
        finally:
            await exchange.stop()

    found = asyncio.run(run())

    assert [(one.id, one.token) for one in found.listed] == [(0, "NSE|502"), (1, "NSE|500")]
    assert {one.tick_size for one in found.listed} == {mine[0].tick_size}
    assert found.missing(mine) == ["BSE:S1"]


def test_a_symbol_the_broker_does_not_list_is_missing_and_named() -> None:
    mine = [Instrument(id=0, symbol="NSE:S2"), Instrument(id=1, symbol="NSE:GONE")]

    assert ask(mine).missing(mine) == ["NSE:GONE"]


def test_a_dead_token_asks_for_a_login() -> None:
    with pytest.raises(AuthRequired):
        ask(THERE, token="yesterday")


def test_nobody_listening_is_a_line_that_is_down() -> None:
    source = Source(kind="kite", url="ws://127.0.0.1:9/")

    with pytest.raises(LineDown):
        listing(THERE, source, account("t"), DAY.date)


def test_a_vendor_that_lists_nothing_is_said_so() -> None:
    with pytest.raises(BadValue, match="kite"):
        listing(THERE, Source(kind="finnhub"), account("t"), DAY.date)


@pytest.mark.parametrize(("clock", "day"), [(time(8, 30), 25), (time(15, 29), 25), (time(15, 30), 26)])
def test_the_session_ahead_is_todays_until_it_closes(clock: time, day: int) -> None:
    days = Sessions([DAY, session(date(2016, 8, 26))])

    assert ahead(days, at(DAY.date, clock)) == date(2016, 8, day)


def test_a_list_that_is_not_believed_is_told_once_and_the_old_one_holds(server: RedisServer) -> None:
    universe = [*THERE, Instrument(id=3, symbol="NSE:GONE")]
    days, alerts = nse_sessions(date(2016, 8, 1), date(2016, 9, 1)), Alerts(Bus(server.url))

    async def story() -> None:
        bars = np.array([(0, DAY.open, 1000, 1000, 1000, 1000, 5)], BAR)
        exchange = Exchange(THERE, iter([from_bars(DAY, bars, {})]), api_key="k", access_token="t", hold=True)
        source = Source(kind="kite", url=(await exchange.start()).replace("http", "ws"))
        with pytest.raises(BadValue, match="1 of 4 missing"):
            await asyncio.to_thread(refresh, universe, source, account("t"), server.url, days)
        assert Listings(server.url).find("kite") is None
        assert len(still_open(alerts.recent())) == 1
        await asyncio.to_thread(refresh, THERE, source, account("t"), server.url, days)
        await exchange.stop()

    asyncio.run(story())

    found = Listings(server.url).find("kite")
    assert found is not None
    assert found.tokens() == {i.id: i.tokens["kite"] for i in THERE}
    assert still_open(alerts.recent()) == []


def test_without_todays_list_the_one_that_was_kept_holds_and_it_is_said(server: RedisServer) -> None:
    source, days = Source(kind="kite", url="ws://127.0.0.1:9/"), Sessions([DAY])

    plain, first = opening(THERE, source, account("t"), server.url, days)
    rows = tuple(Listed(id=i.id, symbol=i.symbol, token=7 + i.id, tick_size=Money(500), lot=1) for i in THERE)
    Listings(server.url).keep(Listing(vendor="kite", session=DAY.date, listed=rows))
    kept, second = opening(THERE, source, account("t"), server.url, days)

    assert [i.tokens["kite"] for i in plain] == [i.tokens["kite"] for i in THERE]
    assert [i.tokens["kite"] for i in kept] == [7, 8, 9]
    assert "we know ourselves" in first
    assert "2016-08-25" in second


def test_the_rest_address_goes_with_the_stream() -> None:
    assert root(Source(kind="kite")) == "https://api.kite.trade"
    assert root(Source(kind="kite", url="ws://127.0.0.1:8007/")) == "http://127.0.0.1:8007"
