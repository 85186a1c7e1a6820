"""The keys and channels of the read model, as their users read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.candles import CANDLE
from market.errors import LineDown
from market.instruments import Instrument
from market.money import UNKNOWN
from market.quotes import Quotes
from market.signals import SIGNAL, records
from market.ticks import Kind, Ticks, blank
from market.view import Watch
from tests.adapters.cycle import MakeServer
from tests.adapters.ear import Ear

SYMBOLS = ["NSE:RELIANCE", "NSE:TCS", "BSE:XYZ", "NSE:NIFTY 50"]
EQUITY = np.array([True, True, True, False])
AT = 1_705_560_000_000_000_000


def rows(kind: Kind, prices: dict[int, int], at: int = AT, volume: int = 1_500) -> Ticks:
    some = blank(len(prices))
    some["instrument"], some["price"] = list(prices), list(prices.values())
    some["kind"], some["at"], some["received"], some["day_volume"] = kind, at, at, volume
    return some


@pytest.fixture
def quotes() -> Quotes:
    """Closes of 100 rupees; RELIANCE up 2 %, TCS down 1 %, XYZ up 1.5 %, the index up 1 %."""
    known = Quotes(4)
    known.update(rows(Kind.CLOSE, dict.fromkeys(range(4), 1_000_000)))
    known.update(rows(Kind.TICK, {0: 1_020_000, 1: 990_000, 2: 1_015_000, 3: 1_010_000}))
    return known


@pytest.fixture
def model(shared_cache: RedisServer, cache: RedisLine) -> Iterator[ReadModel]:
    """A read model on an empty cache."""
    made = ReadModel(shared_cache.url)
    yield made
    made.close()


def heard(shared_cache: RedisServer, channel: str, model: ReadModel, quotes: Quotes) -> list[dict[str, Any]]:
    """What one refresh says on a channel."""
    ear = Ear(shared_cache.url, channel)
    model.refresh(SYMBOLS, quotes, EQUITY)
    return ear.heard()


def test_a_latest_tick_is_json_under_the_ticker_for_five_minutes(
    model: ReadModel, cache: RedisLine, quotes: Quotes
) -> None:
    assert model.refresh(SYMBOLS, quotes, EQUITY) == 4

    tick = json.loads(cache.call("GET", "tick:latest:RELIANCE"))
    assert (tick["ltp"], tick["volume"], tick["ts"], tick["change_percent"]) == (102.0, 1_500, 1_705_560_000, 2.0)
    assert json.loads(cache.call("GET", "tick:latest:BSE:XYZ"))["symbol"] == "BSE:XYZ"
    assert 240 < cache.call("TTL", "tick:latest:RELIANCE") <= 300


def test_gainers_are_the_equities_of_the_session_by_per_cent(
    model: ReadModel, cache: RedisLine, quotes: Quotes
) -> None:
    model.refresh(SYMBOLS, quotes, EQUITY)

    assert cache.call("ZREVRANGE", "market:gainers", 0, -1, "WITHSCORES") == [
        b"RELIANCE", b"2", b"BSE:XYZ", b"1.5", b"TCS", b"-1",
    ]  # fmt: skip


def test_yesterday_s_gainers_are_gone_with_the_first_tick_of_a_session(
    model: ReadModel, cache: RedisLine, quotes: Quotes
) -> None:
    model.refresh(SYMBOLS, quotes, EQUITY)
    quotes.update(rows(Kind.TICK, {1: 999_900}, at=AT + 86_400 * 10**9))

    assert model.refresh(SYMBOLS, quotes, EQUITY) == 1

    assert cache.call("ZRANGE", "market:gainers", 0, -1) == [b"TCS"]


def test_only_what_changed_is_written_again(model: ReadModel, cache: RedisLine, quotes: Quotes) -> None:
    model.refresh(SYMBOLS, quotes, EQUITY)
    cache.call("FLUSHALL")

    assert model.refresh(SYMBOLS, quotes, EQUITY) == 0
    quotes.update(rows(Kind.TICK, {1: 991_000}))
    assert model.refresh(SYMBOLS, quotes, EQUITY) == 1

    assert sorted(cache.call("KEYS", "*")) == [b"market:gainers", b"market:losers", b"tick:latest:TCS"]


def test_what_a_lost_cache_did_not_take_is_written_the_next_time(make_server: MakeServer, quotes: Quotes) -> None:
    server = make_server("cache", durable=False)
    model = ReadModel(server.url)
    with pytest.raises(LineDown):
        model.refresh(SYMBOLS, quotes, EQUITY)

    server.start()

    assert model.refresh(SYMBOLS, quotes, EQUITY) == 4


def test_a_quote_without_volume_or_close_says_null(model: ReadModel, cache: RedisLine) -> None:
    quotes = Quotes(4)
    quotes.update(rows(Kind.TICK, {0: 28_505_000}, volume=UNKNOWN))

    model.refresh(SYMBOLS, quotes, EQUITY)

    tick = json.loads(cache.call("GET", "tick:latest:RELIANCE"))
    assert (tick["ltp"], tick["volume"], tick["change_percent"]) == (2850.5, None, None)
    assert cache.call("EXISTS", "market:gainers") == 0


def test_changed_quotes_are_said_on_the_channel(shared_cache: RedisServer, model: ReadModel, quotes: Quotes) -> None:
    said = heard(shared_cache, "tick:updates", model, quotes)

    assert {"symbol": "RELIANCE", "ltp": 102.0} in said and len(said) == 4


def test_losers_are_ranked_by_how_far_they_fell(model: ReadModel, cache: RedisLine, quotes: Quotes) -> None:
    model.refresh(SYMBOLS, quotes, EQUITY)

    assert cache.call("ZREVRANGE", "market:losers", 0, 0, "WITHSCORES") == [b"TCS", b"1"]


def test_the_view_comes_back_and_its_sentiment_is_said(
    shared_cache: RedisServer, model: ReadModel, cache: RedisLine, quotes: Quotes
) -> None:
    watch = Watch([Instrument(id=k, symbol=symbol) for k, symbol in enumerate(SYMBOLS)])
    view = watch.view(quotes.read(range(4)), np.zeros(4, np.bool_), AT, "LIVE")
    ear = Ear(shared_cache.url, "market:sentiment")

    model.market(view, tell=False)
    model.market(view, tell=True)

    said = ear.heard()
    assert said == [{"overall": "BULLISH", "breadth": 3.0}]
    assert model.market_view() == view and 240 < cache.call("TTL", "market:view") <= 300


def test_a_signal_is_said_and_the_last_one_of_a_symbol_is_kept(
    shared_cache: RedisServer, model: ReadModel, cache: RedisLine
) -> None:
    rows = np.zeros(2, SIGNAL)
    rows["action"], rows["reason"], rows["at"] = [1, 0], [1, 4], [AT, AT + 1]
    rows["price"], rows["stop"], rows["expires"] = 1_000_000, [994_191, UNKNOWN], [AT + 9, UNKNOWN]
    rows["horizon"], rows["version"], rows["low"] = b"15m", b"direction-15m@3", np.nan
    ear = Ear(shared_cache.url, "signal:alerts")

    model.signals(records(rows, SYMBOLS))

    said = ear.heard()
    assert [(one["action"], one["reason"], one["stop"], one["low"]) for one in said] == [
        ("BUY", "ENTERED", 99.4191, None),
        ("HOLD", "WEAKENED", None, None),
    ]
    assert json.loads(cache.call("GET", "signal:latest:RELIANCE")) == said[1]
    assert said[1]["version"] == "direction-15m@3"


def test_a_current_candle_is_a_hash_for_two_minutes(model: ReadModel, cache: RedisLine) -> None:
    some = np.zeros(2, CANDLE)
    some["open"], some["high"], some["low"], some["close"] = 28_450_000, 28_510_000, 28_440_000, 28_505_000
    some["volume"], some["start"] = 150_000, AT
    some["close"][1] = UNKNOWN

    model.current_candles(SYMBOLS[:2], some)
    model.current_candles([], some[:0])

    fields = cache.call("HGETALL", "candle:current:RELIANCE")
    assert dict(zip(fields[::2], fields[1::2], strict=True)) == {
        b"open": b"2845.0", b"high": b"2851.0", b"low": b"2844.0", b"close": b"2850.5", b"volume": b"150000",
        b"start": b"1705560000",
    }  # fmt: skip
    assert 60 < cache.call("TTL", "candle:current:RELIANCE") <= 120
    assert cache.call("EXISTS", "candle:current:TCS") == 0


def test_a_record_of_ours_comes_back_until_it_expires(model: ReadModel, cache: RedisLine) -> None:
    model.put("status", {"parts": [1, None], "at": 1.5}, 150)

    assert model.get("status") == {"parts": [1, None], "at": 1.5}
    assert 0 < cache.call("PTTL", "bourse:status") <= 150_000
    assert model.get("nothing") is None


def test_a_cache_that_is_not_there_is_a_line_down() -> None:
    with pytest.raises(LineDown):
        ReadModel("unix:///nowhere.sock").get("status")
