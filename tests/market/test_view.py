"""View: breadth, movers and sectors of a few quotes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from market.instruments import Instrument, Kind
from market.quotes import Quotes
from market.ticks import FeedState, Ticks, blank, mark
from market.ticks import Kind as Row
from market.view import MarketView, Watch

AT = 1_705_560_000_000_000_000
DAY = 86_400 * 10**9
OF = [
    Instrument(id=0, symbol="NSE:AAA", sector="Banks"),
    Instrument(id=1, symbol="NSE:BBB", sector="Banks"),
    Instrument(id=2, symbol="NSE:CCC", sector="Metals"),
    Instrument(id=3, symbol="NSE:DDD"),
    Instrument(id=4, symbol="NSE:NIFTY 50", kind=Kind.INDEX),
    Instrument(id=5, symbol="NSE:INDIA VIX", kind=Kind.INDEX),
]
NOBODY = np.zeros(len(OF), np.bool_)


def rows(kind: Row, prices: dict[int, float], at: int = AT) -> Ticks:
    some = blank(len(prices))
    some["instrument"], some["kind"], some["at"], some["received"] = list(prices), kind, at, at
    some["price"] = [round(price * 10_000) for price in prices.values()]
    return some


def market(prices: dict[int, float], vix: float = 14.0) -> Quotes:
    """Previous closes of 100, of the volatility index 12.5, and these prices."""
    quotes = Quotes(len(OF))
    quotes.update(rows(Row.CLOSE, {**dict.fromkeys(range(5), 100.0), 5: 12.5}))
    quotes.update(rows(Row.TICK, {**prices, 5: vix}))
    return quotes


def view(quotes: Quotes, stale: np.ndarray = NOBODY) -> MarketView:
    return Watch(OF).view(quotes.read(range(len(OF))), stale, AT, "LIVE")


def test_a_view_counts_ranks_and_groups_the_shares() -> None:
    seen = view(market({0: 103.0, 1: 99.0, 2: 101.5, 3: 100.0, 4: 150.0}))

    assert (seen.advancing, seen.declining, seen.unchanged, seen.unknown) == (2, 1, 1, 0)
    assert (seen.breadth, seen.change_percent, seen.overall) == (2.0, 0.875, "BULLISH")
    assert [(m.symbol, m.price, m.change_percent) for m in seen.gainers] == [
        ("NSE:AAA", 103.0, 3.0),
        ("NSE:CCC", 101.5, 1.5),
    ]
    assert [(m.symbol, m.change_percent) for m in seen.losers] == [("NSE:BBB", -1.0)]
    assert [(s.name, s.change_percent, s.advancing, s.declining, s.unchanged) for s in seen.sectors] == [
        ("Metals", 1.5, 1, 0, 0),
        ("Banks", 1.0, 1, 1, 0),
        ("Other", 0.0, 0, 0, 1),
    ]


def test_the_volatility_index_is_told_with_its_band() -> None:
    found = view(market({0: 101.0})).volatility

    assert found is not None and (found.value, found.change_percent, found.regime) == (14.0, 12.0, "NORMAL")


@pytest.mark.parametrize(
    ("prices", "vix", "overall"),
    [
        ({0: 101.0, 1: 101.0, 2: 101.0, 3: 99.0}, 29.9, "BULLISH"),
        ({0: 101.0, 1: 101.0, 2: 101.0, 3: 99.0}, 30.0, "NEUTRAL"),
        ({0: 101.0, 1: 99.0}, 10.0, "NEUTRAL"),
        ({0: 101.0, 1: 99.0, 2: 99.0}, 10.0, "BEARISH"),
        ({0: 100.0}, 10.0, "NEUTRAL"),
        ({0: 99.0}, 30.0, "BEARISH"),
    ],
)
def test_sentiment_is_breadth_and_never_bullish_in_a_panic(prices: dict[int, float], vix: float, overall: str) -> None:
    assert view(market(prices, vix)).overall == overall


def test_a_share_that_has_not_traded_in_this_session_is_unknown() -> None:
    quotes = market({0: 103.0, 1: 99.0})
    quotes.update(rows(Row.TICK, {0: 104.0}, AT + DAY))

    seen = view(quotes)

    assert (seen.advancing, seen.declining, seen.unknown) == (1, 0, 3)


def test_quotes_that_are_stale_are_counted() -> None:
    quotes = market({0: 103.0, 1: 99.0})
    quotes.update(mark(0, FeedState.LIVE, AT + 10**9))
    all_rows = quotes.read(range(len(OF)))

    assert view(quotes, quotes.stale(all_rows, 2 * 10**9)).stale == 0
    assert view(quotes, quotes.stale(all_rows, 10**9 // 2)).stale == 2


def test_before_the_first_tick_there_is_nothing_to_see() -> None:
    seen = Watch(OF).view(Quotes(len(OF)).read(range(len(OF))), NOBODY, 0, "UNKNOWN")

    assert (seen.overall, seen.unknown, seen.change_percent, seen.volatility) == ("NEUTRAL", 4, None, None)
    assert (seen.gainers, seen.losers, seen.sectors) == ((), (), ())
