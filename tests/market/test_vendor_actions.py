"""The sources of corporate actions: the exchanges' lists and Yahoo's events, as recorded and as broken."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadPayload
from market.sessions import nanoseconds
from market.vendors import exchange_actions, yahoo_actions

NOW = nanoseconds(datetime(2026, 11, 1, tzinfo=UTC))
NSE_ROW = {"symbol": "INFY", "series": "EQ", "subject": "Bonus 1:1", "exDate": "04-Sep-2018", "isin": "INE009A01021"}


def listed(*rows: object) -> bytes:
    return json.dumps(rows).encode()


def test_the_exchanges_lists_are_read_as_recorded(shared: Path) -> None:
    nse = exchange_actions.read((shared / "fixtures/nse/actions.json").read_bytes(), NOW)
    bse = exchange_actions.read((shared / "fixtures/bse/actions.json").read_bytes(), NOW)

    (gensol,) = nse.actions
    assert (gensol.symbol, gensol.ex_date, gensol.factor) == ("NSE:GENSOL", date(2023, 10, 17), Fraction(1, 3))
    assert (gensol.isin, gensol.source, gensol.reason) == ("INE06H201014", "nse", "Bonus 2:1")
    assert [(a.symbol, a.words(), str(a.ex_date)) for a in bse.actions] == [
        ("BSE:INFY", "DIVIDEND 18.00", "2023-10-25"),
        ("BSE:JAYBARMARU", "SPLIT 5/2", "2023-10-26"),
        ("BSE:SPITZE", "BONUS 1:1", "2023-10-27"),
    ]
    assert nse.unread == bse.unread == []


def test_when_the_exchange_told_is_when_it_was_known() -> None:
    found = exchange_actions.read(listed(NSE_ROW | {"caBroadcastDate": "13-Jul-2018 17:02:11"}), NOW)

    assert found.actions[0].known == nanoseconds(datetime(2018, 7, 13, 11, 32, 11, tzinfo=UTC))


def test_a_share_in_two_series_is_told_once_and_a_bond_not_at_all() -> None:
    rows = [NSE_ROW, NSE_ROW | {"series": "BE"}, NSE_ROW | {"series": "N2", "subject": "Interest Payment"}]

    found = exchange_actions.read(listed(*rows), NOW)

    assert (len(found.actions), found.unread, found.idle) == (1, [], 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (NSE_ROW | {"subject": "Bonus Debentures 1:1"}, "INFY: Bonus Debentures 1:1"),
        (NSE_ROW | {"exDate": "-"}, "row 1: time data '-'"),
        (NSE_ROW | {"exDate": None}, "row 1"),
        (NSE_ROW | {"caBroadcastDate": "soon"}, "row 1: time data 'soon'"),
        (NSE_ROW | {"symbol": "A:B"}, "row 1"),
        ({"what": 1}, "keys of neither exchange: what"),
        ("INFY", "not an object"),
        (NSE_ROW | {"subject": "Bonus 99999:1"}, "row 1"),
    ],
)
def test_a_row_that_is_not_understood_is_handed_back_and_the_others_are_taken(row: object, said: str) -> None:
    found = exchange_actions.read(listed(row, NSE_ROW), NOW)

    assert len(found.actions) == 1
    assert len(found.unread) == 1
    assert said in found.unread[0]


def test_two_rows_that_contradict_each_other_are_told() -> None:
    found = exchange_actions.read(listed(NSE_ROW, NSE_ROW | {"subject": "Bonus 2:1"}), NOW)

    assert found.unread == ["row 2: NSE:INFY BONUS 2:1 where BONUS 1:1 stands already"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b"\xff", b"[" * 100_000, b'{"data": 3}'])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(BadPayload):
        exchange_actions.read(body, NOW)


ANYTHING = st.recursive(
    st.none() | st.text(max_size=20) | st.integers(),
    lambda v: st.lists(v) | st.dictionaries(st.text(max_size=8), v),
    max_leaves=8,
)


@given(ANYTHING)
def test_whatever_stands_in_an_answer_it_is_read_or_refused(value):
    bodies = [json.dumps(value).encode(), json.dumps([NSE_ROW | {"subject": value}]).encode()]

    for read, body in product((exchange_actions.read, yahoo_actions.chart), bodies):
        try:
            told = read(body, NOW)
        except BadPayload as e:
            assert e.reason
        else:
            assert all(a.symbol and a.known <= NOW for a in told.actions)


def test_yahoos_chart_is_read_as_recorded(shared: Path) -> None:
    recorded = json.loads((shared / "fixtures/yahoo-chart/chart-AAPL-2020-08-31-to-2020-11-07.json").read_text())

    found = yahoo_actions.chart(json.dumps(recorded["response"]["bodyJson"]).encode(), NOW)

    split = next(a for a in found.actions if a.kind == "SPLIT")
    assert (split.symbol, split.ex_date, split.factor) == ("NASDAQ:AAPL", date(2020, 8, 31), Fraction(1, 4))
    assert found.unread == []


# Infosys paid 29.50 a share on 15 June 2015, the day of a bonus of 1:1, with another to come in 2018: its own notices.
def test_a_dividend_told_in_shares_of_today_is_what_was_paid() -> None:
    days = [date(2018, 9, 4), date(2015, 6, 15), date(2016, 6, 9)]

    found = yahoo_actions.table(["NSE:INFY"] * 3, days, np.array([0, 7.375, 7.125]), np.array([2, 2, 0]), NOW)

    assert [f"{a.ex_date} {a.words()}" for a in found.actions] == [
        "2015-06-15 SPLIT 2",
        "2015-06-15 DIVIDEND 29.50",
        "2016-06-09 DIVIDEND 14.25",
        "2018-09-04 SPLIT 2",
    ]


@pytest.mark.parametrize(
    ("ratio", "factor"), [(1.6666666666666667, Fraction(3, 5)), (0.04, Fraction(25)), (1.0008, None)]
)
def test_a_ratio_becomes_the_fraction_it_stands_for(ratio: float, factor: Fraction | None) -> None:
    (found,) = yahoo_actions.table(["NSE:X"], [date(2010, 6, 15)], np.zeros(1), np.array([ratio]), NOW).actions

    assert found.factor == (factor or 1 / Fraction(ratio).limit_denominator(1000))


@pytest.mark.parametrize(
    ("paid", "ratio"), [(0, 1.0), (-1, 0), (0, -2), (np.nan, 2), (0, np.inf), (0, 1e9), (1e300, 0)]
)
def test_a_row_of_a_table_that_cannot_be_is_handed_back(paid: float, ratio: float) -> None:
    days = [date(2010, 6, 15), date(2011, 6, 15)]

    found = yahoo_actions.table(["NSE:X"] * 2, days, np.array([paid, 0]), np.array([ratio, 2.0]), NOW)

    assert [a.ex_date for a in found.actions] == [date(2011, 6, 15)]
    assert len(found.unread) == 1
