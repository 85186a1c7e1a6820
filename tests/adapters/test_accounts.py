"""Accounts and listings on the bus."""

from __future__ import annotations

import time
from datetime import date

import pytest
from pydantic import SecretStr

from adapters.accounts import Accounts
from adapters.listings import Listings
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.codecs import Account
from market.errors import BadPayload
from market.listings import Listed, Listing
from market.money import Money
from market.sessions import SECOND

MINE = Account(user="U1", api_key=SecretStr("k"), access_token=SecretStr("t"))
LIST = Listing(
    vendor="flattrade",
    session=date(2016, 8, 25),
    listed=(Listed(id=0, symbol="NSE:S0", token="NSE|22", tick_size=Money(500), lot=1),),
)


def test_an_account_comes_back_whole_and_goes_at_its_hour(shared_bus: RedisServer, raw: RedisLine) -> None:
    accounts = Accounts(shared_bus.url)

    accounts.keep("kite", MINE, time.time_ns() + 3600 * SECOND)
    accounts.keep("polygon", MINE, None)

    assert accounts.find("kite") == MINE
    assert accounts.find("mstock") is None
    assert 3_500_000 < raw.call("PTTL", "account:kite") <= 3_600_000
    assert raw.call("PTTL", "account:polygon") == -1


def test_an_account_whose_hour_has_passed_is_gone(shared_bus: RedisServer, raw: RedisLine) -> None:
    accounts = Accounts(shared_bus.url)
    accounts.keep("kite", MINE, time.time_ns() - SECOND)

    while raw.call("EXISTS", "account:kite"):
        pass

    assert accounts.find("kite") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"user": 1, "api_key": "k", "access_token": "t"}', "hush-hush"])
def test_what_is_no_account_is_said_so_without_being_shown(shared_bus: RedisServer, raw: RedisLine, text: str) -> None:
    raw.call("SET", "account:kite", text)

    with pytest.raises(BadPayload) as caught:
        Accounts(shared_bus.url).find("kite")

    assert "hush" not in str(caught.value)


def test_a_listing_comes_back_whole_and_every_new_one_is_noticed(shared_bus: RedisServer, raw: RedisLine) -> None:
    listings = Listings(shared_bus.url)

    stamps = [listings.stamp("flattrade")]
    for _ in range(2):
        listings.keep(LIST)
        stamps.append(listings.stamp("flattrade"))

    assert stamps == [0, 1, 2]
    assert listings.find("flattrade") == LIST
    assert listings.find("kite") is None


def test_a_listing_nobody_can_read_is_said_so(shared_bus: RedisServer, raw: RedisLine) -> None:
    raw.call("HSET", "listing:kite", "listing", "{}")

    with pytest.raises(BadPayload):
        Listings(shared_bus.url).find("kite")
