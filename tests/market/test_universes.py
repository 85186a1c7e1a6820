"""The built-in universe against the exchange's own list, and the names of indices."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from market.errors import BadValue, UnknownSymbol
from market.instruments import Kind
from market.money import money
from market.universes import (
    NIFTY50,
    US20,
    average_volume,
    is_index,
    listings,
    nifty50,
    reference_price,
    tick_size,
    universe,
)


def test_the_shares_are_the_members_of_the_nifty_50_with_their_industries_and_isins(shared: Path) -> None:
    with (shared / "fixtures/market/nse_constituents/constituents.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["index"] == "NIFTY 50" and r["as_of"] == "2026-08"]
    expected = {(r["symbol"], r["industry"], r["isin_code"]) for r in rows}

    ours = {(i.ticker, i.sector, i.isin) for i in nifty50() if i.kind is Kind.EQUITY}

    assert len(expected) == 50
    assert ours == expected


def test_the_tokens_are_those_that_kite_uses() -> None:
    # Source: instrument tokens in the examples of kite.trade/docs/connect/v3.
    expected = {"INFY": 408065, "SBIN": 779521, "RELIANCE": 738561, "NIFTY 50": 256265, "NIFTY BANK": 260105}

    tokens = {i.ticker: i.tokens["kite"] for i in nifty50()}

    assert {ticker: tokens[ticker] for ticker in expected} == expected
    assert len(set(tokens.values())) == len(tokens)


def test_indices_are_told_by_kind_segment_and_name() -> None:
    for listing in NIFTY50:
        index = listing.instrument.kind is Kind.INDEX

        assert is_index(listing.instrument.symbol) is index
        assert listing.instrument.tokens["kite"] % 256 == (9 if index else 1)
        assert (listing.daily_volume == 0) is index


def test_a_reference_price_is_a_price_that_can_be_quoted() -> None:
    for listing in NIFTY50:
        assert listing.reference_price > 0
        assert listing.reference_price % listing.instrument.tick_size == 0


@pytest.mark.parametrize(
    ("price", "step"),
    [
        ("100", "0.01"),
        ("249.99", "0.01"),
        ("250", "0.05"),
        ("1000", "0.05"),
        ("1000.05", "0.10"),
        ("5000", "0.10"),
        ("7500", "0.50"),
        ("20000", "1"),
        ("20001", "5"),
    ],
)
def test_the_tick_size_goes_by_the_price(price: str, step: str) -> None:
    assert tick_size(money(price)) == money(step)


@pytest.mark.parametrize(
    "name",
    [
        "NIFTY",
        "NIFTY 50",
        "Nifty 50",
        "NSE:NIFTY 50",
        "NIFTY BANK",
        "BANKNIFTY",
        "NIFTYIT",
        "NIFTY_IT",
        "INDIAVIX",
        "INDIA VIX",
        "SENSEX",
        "BSE:SENSEX",
        "NIFTYCOMMODITIES",
        "NIFTYENERGY",
        "NIFTYINFRA",
        "NIFTYPSUBANK",
        "NIFTYREALTY",
        "FINNIFTY",
        "BANKEX",
    ],
)
def test_an_index_is_known_in_its_common_spellings(name: str) -> None:
    assert is_index(name)


@pytest.mark.parametrize("name", ["RELIANCE", "NSE:TCS", "NIFTYBEES", "BANKBARODA", "SETFNIF50", "M&M", ""])
def test_a_share_or_a_fund_is_no_index(name: str) -> None:
    assert not is_index(name)


def test_a_list_of_symbols_is_a_universe_with_ids_of_its_own() -> None:
    chosen = universe(["NSE:TCS", "reliance", "NIFTY 50"])

    assert [(i.id, i.symbol) for i in chosen] == [(0, "NSE:TCS"), (1, "NSE:RELIANCE"), (2, "NSE:NIFTY 50")]


def test_prices_and_volumes_are_found_by_symbol() -> None:
    assert reference_price("NSE:RELIANCE") == listings(["RELIANCE"])[0].reference_price
    assert average_volume("NIFTY 50") == 0


@pytest.mark.parametrize("wanted", ["nifty500", [], ["NSE:TCS", "TCS"]])
def test_an_impossible_universe_is_refused(wanted: str | list[str]) -> None:
    with pytest.raises(BadValue, match="universe"):
        listings(wanted)


def test_a_misspelt_symbol_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownSymbol, match="did you mean NSE:RELIANCE"):
        listings(["NSE:RELIANC"])


def test_the_us_universe_has_isins_that_add_up_prices_in_cents_and_a_name_at_either_vendor() -> None:
    for listing in US20:
        instrument = listing.instrument
        digits = "".join(str(int(letter, 36)) for letter in str(instrument.isin))
        doubled = [int(d) * (1 + k % 2) for k, d in enumerate(reversed(digits))]

        assert sum(d // 10 + d % 10 for d in doubled) % 10 == 0  # ISO 6166
        assert instrument.exchange in ("NASDAQ", "NYSE")
        assert instrument.tokens == {"polygon": instrument.ticker, "finnhub": instrument.ticker}
        assert listing.reference_price % instrument.tick_size == 0 and listing.daily_volume > 0


def test_a_us_ticker_alone_is_found_where_no_indian_one_has_its_name() -> None:
    us = universe("us20")

    assert us.find("aapl").symbol == "NASDAQ:AAPL" and us.find("NYSE:BRK.B").ticker == "BRK.B"
    assert [one.instrument.symbol for one in listings(["SPY", "INFY"])] == ["NYSE:SPY", "NSE:INFY"]
    with pytest.raises(UnknownSymbol):
        us.find("INFY")
