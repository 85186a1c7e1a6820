"""Agreement: exact, near and worst, by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from market.agreement import Agreement, agreement
from market.candles import CANDLE, Candles
from market.money import UNKNOWN

SYMBOLS = ["NSE:A", "NSE:B", "NSE:C", "NSE:D"]
TICKS = np.full(4, 500)


def row(instrument: int, close: int, volume: int, completeness: float = 1.0) -> Candles:
    made = np.zeros(1, CANDLE)
    made["instrument"], made["volume"], made["completeness"] = instrument, volume, completeness
    for name in ("open", "high", "low", "close"):
        made[name] = close
    return made


def compare(ours: list[Candles], theirs: list[Candles]) -> Agreement:
    return agreement(date(2016, 8, 25), np.concatenate(ours), np.concatenate(theirs), SYMBOLS, TICKS)


def test_exact_near_and_worst_are_counted_over_those_that_both_have() -> None:
    ours = [row(0, 100_000, 1000), row(1, 100_500, 995), row(2, 101_000, 900, 0.5), row(3, 1, 1)]
    theirs = [row(0, 100_000, 1000), row(1, 100_000, 1000), row(2, 100_000, 1000)]

    found = compare(ours, theirs)

    close, volume = found.fields[3], found.fields[4]
    assert (found.compared, found.incomplete, found.ours_only) == (3, 1, ("NSE:D",))
    assert (close.exact, close.near) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert [(d.symbol, d.ours, d.relative) for d in close.worst] == [
        ("NSE:C", 101_000, pytest.approx(0.01)),
        ("NSE:B", 100_500, pytest.approx(0.005)),
    ]
    assert (volume.exact, volume.near) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_a_session_we_have_no_prices_of_is_one_we_do_not_have() -> None:
    gap = row(0, UNKNOWN, 0, 0.0)

    found = compare([gap], [row(0, 100, 5)])

    assert (found.compared, found.fields, found.official_only) == (0, (), ("NSE:A",))


def test_an_index_without_a_volume_is_not_scored_for_it() -> None:
    found = compare([row(0, 100, 0)], [row(0, 100, 0)])

    assert [f.field for f in found.fields] == ["open", "high", "low", "close"]
