"""What is known of an issue at a decision: everything up to its day, and nothing of what came after."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from adapters.ipo_tables import read
from market.errors import BadValue
from market.ipo.examples import FEATURES, NO_DAY, QUOTE, Decision, Tables, examples, gains, held
from market.sessions import day_number
from tests.market.ipo.made import tables

WRONG = 7_777.0


def corrupted(given: Tables, after: int) -> Tables:
    """The tables with every value wrong that nobody could know at the end of a day."""
    issues, quotes, market, flows = (table.copy() for table in given)
    coming = issues["listed"] > after
    for name in ("open_points", "close_points"):
        issues[name][coming] = WRONG
    for name in issues.dtype.names:
        if issues.dtype[name].kind == "f" and name != "price":
            issues[name][issues["opened"] > after] = WRONG
    for table, day, names in ((quotes, "day", ("gmp",)), (market, "day", ("nifty", "vix")), (flows, "ended", ("net",))):
        for name in names:
            table[name][table[day] > after] = WRONG
    return Tables(issues, quotes, market, flows)


def same(one: np.void, other: np.void) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in FEATURES)


@pytest.mark.parametrize("decision", list(Decision))
def test_no_value_of_the_listing_day_or_after_is_in_a_feature(decision: Decision) -> None:
    given = tables(60)

    for row in examples(given, decision):
        changed = examples(corrupted(given, int(row["decided"])), decision)
        assert same(row, changed[changed["row"] == row["row"]][0])


@pytest.mark.parametrize("decision", list(Decision))
def test_no_value_of_a_recorded_listing_day_or_after_is_in_a_feature(decision: Decision, shared: Path) -> None:
    given = read(shared / "fixtures/ipo/clean")
    rows = examples(given, decision)

    for row in rows[np.isfinite(rows["gmp_points"])][::60]:
        changed = examples(corrupted(given, int(row["decided"])), decision)
        assert same(row, changed[changed["row"] == row["row"]][0])


def test_the_premium_of_the_eve_is_no_feature_of_the_closing_day() -> None:
    given = tables(30)
    before = examples(given, Decision.CLOSING)[20]

    given.issues["gmp_eve"][before["row"]] = WRONG
    after = examples(given, Decision.CLOSING)[20]

    assert same(before, after)


@pytest.mark.parametrize(
    ("table", "column", "day", "feature"),
    [
        ("quotes", "gmp", "day", "gmp_points"),
        ("market", "nifty", "day", "nifty_5_points"),
        ("market", "nifty", "day", "nifty_volatility_points"),
        ("market", "vix", "day", "vix"),
        ("flows", "net", "ended", "flows_crore"),
        ("issues", "open_points", "listed", "recent_gain_points"),
        ("issues", "gmp_eve", "listed", "recent_surprise_points"),
    ],
)
def test_what_is_known_at_the_decision_is_in_a_feature(table: str, column: str, day: str, feature: str) -> None:
    given = tables(60)
    row = examples(given, Decision.CLOSING)[39]

    rows = getattr(given, table)
    rows[column][(rows[day] <= row["decided"]) & (rows[day] > row["decided"] - 70)] *= np.linspace(1.0, 1.5, len(rows))[
        (rows[day] <= row["decided"]) & (rows[day] > row["decided"] - 70)
    ]
    changed = examples(given, Decision.CLOSING)[39]

    assert changed["row"] == row["row"]
    assert changed[feature] != row[feature]


@pytest.mark.parametrize(
    ("premiums", "believed"),
    [
        ([], np.nan),
        ([np.nan, np.nan], np.nan),
        ([12.0], 12.0),
        ([10.0, 20.0, 35.0], 35.0),
        ([9.99, 999.0], 9.99),  # a lost decimal point
        ([9.99, 999.0, 10.5], 10.5),
        ([10.0, 75.0, 80.0], 80.0),  # a second day confirms it
        ([10.0, 40.0], 10.0),  # 30 points of 100 rupees are a jump
        ([10.0, 39.9], 39.9),
        ([0.0, -5.0], -5.0),
    ],
)
def test_a_jump_waits_for_a_second_day(premiums: list[float], believed: float) -> None:
    found = held(np.array(premiums), price=100.0)

    assert found == pytest.approx(believed, nan_ok=True)


def test_what_is_not_known_is_nan_and_not_zero() -> None:
    given = tables(30)
    given.issues["gmp_eve"], given.issues["qib"] = np.nan, np.nan

    rows = examples(Tables(given.issues, np.zeros(0, QUOTE), given.market[:0], given.flows[:0]), Decision.EVE)

    for name in ("gmp_points", "gmp_trend_points", "qib", "vix", "nifty_5_points", "flows_crore"):
        assert np.isnan(rows[name]).all()


def test_a_premium_of_nothing_is_zero() -> None:
    given = tables(5)
    given.issues["gmp_eve"][2] = 0.0

    rows = examples(given, Decision.EVE)

    assert rows["gmp_points"][rows["row"] == 2] == [0.0]


def test_trusts_further_offers_and_the_unlisted_are_no_examples() -> None:
    given = tables(6)
    given.issues["kind"][:2] = "reit", "fpo"
    given.issues["listed"][2], given.issues["price"][3] = NO_DAY, np.nan

    assert examples(given, Decision.EVE)["row"].tolist() == [4, 5]


def test_the_flows_of_a_month_are_known_when_it_has_ended() -> None:
    given = tables(1)
    given.issues["listed"] = day_number(date(2023, 3, 1))
    given.flows["net"] = given.flows["ended"]

    row = examples(given, Decision.EVE)[0]

    assert row["decided"] == day_number(date(2023, 2, 28))
    assert row["flows_crore"] == day_number(date(2023, 1, 31))


def test_recent_listings_are_the_last_ten_of_the_same_segment() -> None:
    given = tables(60)

    row = examples(given, Decision.EVE)[40]
    own = given.issues[given.issues["segment"] == given.issues["segment"][row["row"]]]
    before = own[own["listed"] < row["listed"]][-10:]
    gained = before["close_points" if row["sme"] else "open_points"]

    assert row["recent_gain_points"] == pytest.approx(np.mean(gained))
    assert row["recent_hit"] == np.mean([gain >= 10 for gain in gained])


def test_gains_are_apart_from_the_features() -> None:
    given = tables(10)
    rows = examples(given, Decision.CLOSING)

    assert gains(given, rows).tolist() == given.issues["open_points"][rows["row"]].tolist()
    assert gains(given, rows, close=True).tolist() == given.issues["close_points"][rows["row"]].tolist()
    assert not {"open_points", "close_points"} & set(FEATURES)


def test_a_segment_nobody_knows_is_refused() -> None:
    given = tables(3)
    given.issues["segment"][1] = "OTC"

    with pytest.raises(BadValue, match="OTC"):
        examples(given, Decision.EVE)
