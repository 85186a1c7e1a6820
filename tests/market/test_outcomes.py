"""Outcomes: what came of a prediction, and how good a version was, by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from market.candles import CANDLE, Candles, Provenance
from market.errors import BadValue
from market.labels import UNKNOWN_LABEL, Label
from market.outcomes import OUTCOME, Outcomes, Unscored, horizon_end, performances, scored
from market.predictions import Abstained
from market.sessions import MINUTE, Sessions, day_number, session

TODAY, TOMORROW = session(date(2016, 8, 25)), session(date(2016, 8, 26))
SESSIONS = Sessions([TODAY, TOMORROW])
UP, FLAT, DOWN = (0.2, 0.3, 0.5), (0.2, 0.6, 0.2), (0.5, 0.3, 0.2)


def minutes(closes: dict[int, float], opens: dict[int, float] | None = None) -> Candles:
    """Today's first twenty minutes at 100 rupees, but for these closes and opens by minute."""
    rows = np.zeros(20, CANDLE)
    rows["interval"], rows["session"] = 60, day_number(TODAY.date)
    rows["start"] = TODAY.open + np.arange(20) * MINUTE
    rows["open"] = rows["high"] = rows["low"] = rows["close"] = 1_000_000
    rows["provenance"], rows["trades"], rows["volume"] = Provenance.LIVE, 1, 10
    for name, values in (("close", closes), ("open", opens or {})):
        for minute, price in values.items():
            rows[name][minute] = round(price * 10_000)
    return rows


def predicted(minute: int, p: tuple[float, float, float] = UP, **fields: Any) -> Outcomes:
    """One prediction at the end of the minute that begins so many minutes after the open; `p` of down, flat, up."""
    row = np.zeros(1, OUTCOME)
    row["at"], row["horizon"], row["version"] = TODAY.open + (minute + 1) * MINUTE, b"5m", b"direction-5m@1"
    row["p_down"], row["p_flat"], row["p_up"] = p
    row["low"], row["high"] = -0.01, 0.01
    for name, value in fields.items():
        row[name] = value
    return row


@pytest.mark.parametrize(
    ("close", "p", "came", "net"),
    [
        (101.0, UP, Label.UP, 0.0090),
        (101.0, DOWN, Label.UP, -0.0110),
        (101.0, FLAT, Label.UP, 0.0),
        (100.05, UP, Label.FLAT, -0.0005),
        (99.0, DOWN, Label.DOWN, 0.0090),
    ],
)
def test_a_prediction_is_held_against_the_next_open_and_the_end_of_its_horizon(
    close: float, p: tuple[float, float, float], came: Label, net: float
) -> None:
    # decided at the end of minute 3, acted on at the open of minute 4, closed with minute 8
    (row,) = scored(predicted(3, p), minutes({8: close}), "5m", SESSIONS)

    assert row["outcome"] == pytest.approx(np.log(close / 100))
    assert (row["came"], row["unscored"]) == (came, Unscored.NO)
    assert row["net"] == pytest.approx(net, abs=1e-12)


def test_what_has_no_outcome_says_why() -> None:
    rows = np.concatenate(
        [
            predicted(2, abstained=Abstained.STALE, p_up=np.nan),
            predicted(372),
            predicted(16),
            predicted(3),
            predicted(4, at=TODAY.open - MINUTE),
        ]
    )
    candles = minutes({})
    candles["provenance"][4] = Provenance.GAP

    found = scored(rows, candles, "5m", SESSIONS)

    assert [Unscored(why).name for why in found["unscored"]] == [
        "ABSTAINED", "PAST_CLOSE", "NO_PRICE", "NO_PRICE", "NO_PRICE",
    ]  # fmt: skip
    assert np.isnan(found["outcome"]).all() and np.isnan(found["net"]).all()
    assert (found["came"] == UNKNOWN_LABEL).all()


def test_without_a_candle_nothing_is_scored() -> None:
    assert scored(predicted(3), minutes({})[:0], "5m", SESSIONS)["unscored"] == [Unscored.NO_PRICE]


def test_a_prediction_of_a_day_ends_with_the_next_session() -> None:
    at = TODAY.open + 5 * MINUTE

    assert horizon_end(at, "1d", SESSIONS) == TOMORROW.close
    assert horizon_end(TOMORROW.open, "1d", SESSIONS) is None
    assert horizon_end(at, "15m", SESSIONS) == at + 15 * MINUTE
    with pytest.raises(BadValue):
        horizon_end(at, "2h", SESSIONS)


def test_performance_is_counted_by_version_and_horizon() -> None:
    rows = np.concatenate(
        [
            scored(predicted(3, UP), minutes({8: 101.0}), "5m", SESSIONS),
            scored(predicted(5, UP), minutes({10: 99.0}), "5m", SESSIONS),
            scored(predicted(6, FLAT, high=-0.005), minutes({}), "5m", SESSIONS),
            scored(predicted(7, abstained=Abstained.OUT_OF_RANGE), minutes({}), "5m", SESSIONS),
            scored(predicted(18), minutes({}), "5m", SESSIONS),
            scored(predicted(3, UP, version=b"direction-5m@2"), minutes({8: 101.0}), "5m", SESSIONS),
        ]
    )

    one, two = performances(rows)

    assert (one.version, one.horizon, two.version) == ("direction-5m@1", "5m", "direction-5m@2")
    assert (one.predictions, one.abstained, one.unscored, one.scored, one.trades) == (5, 1, 1, 3, 2)
    assert one.hit_rate == pytest.approx(2 / 3, abs=1e-6)
    # two of the returns are a per cent of 100 rupees: ln 1.01 is inside 0.01, ln 0.99 is below -0.01
    assert one.coverage == pytest.approx(1 / 3, abs=1e-6)
    # squared errors: UP came 0.04 + 0.09 + 0.25, DOWN came 0.64 + 0.09 + 0.25, FLAT came 0.04 + 0.16 + 0.04
    assert one.brier == pytest.approx((0.38 + 0.98 + 0.24) / 3)
    assert (one.trade_hits, one.net_total) == (0.5, pytest.approx(0.009 - 0.011))
    assert [(b.predicted, b.observed, b.count) for b in one.curve] == [(0.2, 0.0, 1), (0.5, 0.5, 2)]
    assert (two.scored, two.hit_rate, two.net_mean) == (1, 1.0, pytest.approx(0.009))


def test_of_nothing_scored_nothing_is_said() -> None:
    (one,) = performances(predicted(3, abstained=Abstained.STALE, unscored=Unscored.ABSTAINED))

    assert (one.hit_rate, one.brier, one.calibration_error, one.coverage, one.net_mean) == (None,) * 5
    assert performances(predicted(3)[:0]) == []
