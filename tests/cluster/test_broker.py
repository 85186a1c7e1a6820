"""Tokens of the day, asked of the simulated exchange as of a broker."""

from __future__ import annotations

import asyncio
from datetime import date

import numpy as np
import pytest
from pydantic import SecretStr

from adapters.exchange import Exchange
from cluster.broker import listed, root
from cluster.settings import Source
from market.errors import AuthRequired, BadValue, LineDown
from market.instruments import Instrument
from market.sessions import session
from market.tape import BAR, from_bars

DAY = session(date(2016, 8, 25))
THERE = [Instrument(id=i, symbol=f"NSE:S{i}", tokens={"kite": (500 + i) * 256 + 1}) for i in range(3)]


def ask(wanted: list[Instrument], token: str = "t") -> list[Instrument]:
    async def run() -> list[Instrument]:
        bars = np.array([(0, DAY.open, 1000, 1000, 1000, 1000, 5)], BAR)
        exchange = Exchange(THERE, iter([from_bars(DAY, bars, {})]), api_key="k", access_token="t", hold=True)
        address = await exchange.start()
        source = Source(kind="kite", url=address.replace("http", "ws"))
        try:
            return await asyncio.to_thread(listed, wanted, source, SecretStr("k"), SecretStr(token))
        finally:
            await exchange.stop()

    return asyncio.run(run())


def test_a_universe_takes_its_tokens_from_the_broker() -> None:
    mine = [Instrument(id=0, symbol="NSE:S2", tokens={"kite": 1}), Instrument(id=1, symbol="NSE:S0")]

    found = ask(mine)

    assert [(i.id, i.symbol, i.tokens["kite"]) for i in found] == [(0, "NSE:S2", 502 * 256 + 1), (1, "NSE:S0", 128001)]


def test_a_symbol_the_broker_does_not_list_is_named() -> None:
    with pytest.raises(BadValue, match="NSE:GONE"):
        ask([Instrument(id=0, symbol="NSE:GONE")])


def test_a_dead_token_asks_for_a_login() -> None:
    with pytest.raises(AuthRequired):
        ask(THERE, token="yesterday")


def test_nobody_listening_is_a_line_that_is_down() -> None:
    source = Source(kind="kite", url="ws://127.0.0.1:9/")

    with pytest.raises(LineDown):
        listed(THERE, source, SecretStr("k"), SecretStr("t"))


def test_the_rest_address_goes_with_the_stream() -> None:
    assert root(Source(kind="kite")) == "https://api.kite.trade"
    assert root(Source(kind="kite", url="ws://127.0.0.1:8007/")) == "http://127.0.0.1:8007"
