"""Reliability: who was nearer to what came, by hand; then profit, whose thresholds are measured alike."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from market.errors import BadValue
from market.ipo.facts import amount, points
from market.ipo.kinds import Segment
from market.ipo.profit import Came, Joined, Thresholds, measured, profitable
from market.ipo.reliability import Reliability
from market.money import money
from market.sessions import DAY

MAINBOARD, SME = Segment.MAINBOARD, Segment.SME
YEAR = 365 * DAY


def shown(*issues: tuple[int, Segment, dict[str, float]], half_life: int = YEAR) -> Reliability:
    reliability = Reliability(half_life=half_life)
    for number, (at, segment, errors) in enumerate(issues):
        reliability.learn(f"issue-{number}", segment, at, errors)
    return reliability


def test_sources_that_have_shown_nothing_weigh_the_same() -> None:
    weights = Reliability().weights(["a", "b", "c"], SME, 0)

    assert weights == {"a": pytest.approx(1 / 3), "b": pytest.approx(1 / 3), "c": pytest.approx(1 / 3)}
    assert Reliability().weights([], SME, 0) == {}


def test_the_source_that_was_nearer_on_the_same_issues_weighs_more() -> None:
    reliability = shown(*((day * DAY, SME, {"near": 4.0, "far": 14.0}) for day in range(20)))

    weights = reliability.weights(["near", "far"], SME, 21 * DAY)

    assert weights["near"] > 0.9
    assert sum(weights.values()) == pytest.approx(1)
    assert [standing.source for standing in reliability.league(SME, 21 * DAY)] == ["near", "far"]


def test_a_source_alone_on_hard_issues_is_not_thought_worse_than_the_others() -> None:
    reliability = shown((1, SME, {"hard": 40.0}), (2, SME, {"hard": 50.0}), (3, SME, {"easy": 1.0}))

    weights = reliability.weights(["hard", "easy"], SME, DAY)

    assert weights["hard"] == weights["easy"]
    assert reliability.standing("hard", SME, DAY).error_points > reliability.standing("easy", SME, DAY).error_points


def test_nothing_that_is_listed_later_counts() -> None:
    before = shown((1 * DAY, SME, {"a": 1.0, "b": 3.0}))
    after = shown((1 * DAY, SME, {"a": 1.0, "b": 3.0}), (9 * DAY, SME, {"a": 50.0, "b": 3.0}))

    for at in (0, DAY, DAY + 1, 5 * DAY, 9 * DAY):
        assert after.weights(["a", "b"], SME, at) == before.weights(["a", "b"], SME, at)
    assert after.weights(["a", "b"], SME, 10 * DAY) != before.weights(["a", "b"], SME, 10 * DAY)


def test_what_is_long_ago_is_forgotten() -> None:
    old = [(day * DAY, SME, {"a": 1.0, "b": 20.0}) for day in range(10)]
    new = [(4 * YEAR + day * DAY, SME, {"a": 20.0, "b": 1.0}) for day in range(10)]

    weights = shown(*old, *new).weights(["a", "b"], SME, 4 * YEAR + 11 * DAY)

    assert weights["b"] > 0.9
    assert shown(*old, *new, half_life=1000 * YEAR).weights(["a", "b"], SME, 5 * YEAR)["b"] == pytest.approx(
        0.5, abs=0.1
    )


def test_a_segment_that_has_shown_nothing_takes_after_the_other() -> None:
    reliability = shown(*((day * DAY, MAINBOARD, {"a": 2.0, "b": 12.0}) for day in range(20)))

    assert reliability.weights(["a", "b"], SME, 21 * DAY)["a"] > 0.9
    assert reliability.standing("a", SME, 21 * DAY).issues == 0


def test_an_issue_told_again_counts_once() -> None:
    reliability = shown((1, SME, {"a": 1.0, "b": 9.0}))
    once = reliability.snapshot()

    reliability.learn("issue-0", SME, 1, {"a": 1.0, "b": 9.0})

    assert reliability.snapshot() == once


@pytest.mark.parametrize("error", [math.nan, math.inf, -1.0])
def test_an_error_that_is_none_is_refused_and_nothing_learned(error: float) -> None:
    reliability = Reliability()

    with pytest.raises(BadValue, match="of b"):
        reliability.learn("issue", SME, 1, {"a": 1.0, "b": error})

    assert reliability.league(SME, 2) == []


def test_a_restored_reliability_weighs_like_the_one_it_was() -> None:
    reliability = shown((1, SME, {"a": 1.0, "b": 9.0}), (2, MAINBOARD, {"a": 3.0}))

    again = Reliability.restore(reliability.snapshot())

    assert again.snapshot() == reliability.snapshot()
    assert again.weights(["a", "b"], SME, 9) == reliability.weights(["a", "b"], SME, 9)
    with pytest.raises(BadValue, match="snapshot"):
        Reliability.restore({"half_life": 1, "shrink": 1, "shown": [["a"]]})


@pytest.mark.parametrize(
    ("gmp", "price", "either", "both"),
    [
        ("20", "1000", True, False),  # 20 rupees are 2 points
        ("10", "100", True, False),
        ("100", "1000", True, True),
        ("9.99", "100", False, False),
        ("-30", "100", False, False),
    ],
)
def test_a_premium_is_profitable_by_either_threshold_or_by_both(gmp: str, price: str, either: bool, both: bool) -> None:
    assert profitable(money(gmp), money(price), Thresholds()) is either
    assert profitable(money(gmp), money(price), Thresholds(joined=Joined.AND)) is both


@pytest.mark.parametrize(
    ("field", "value"),
    [("points", -0.1), ("points", 1000.1), ("points", float("nan")), ("points", float("inf")), ("amount", -1),
     ("amount", 10**17), ("joined", "xor")],
)  # fmt: skip
def test_thresholds_that_cannot_be_name_their_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Thresholds(**{field: value})


def test_what_is_not_known_is_neither_profitable_nor_not() -> None:
    assert profitable(None, money("100"), Thresholds()) is None
    assert profitable(money("10"), None, Thresholds()) is None


def test_thresholds_are_measured_by_what_came() -> None:
    table = [
        Came(money("20"), money("1000"), 1.0),
        Came(money("150"), money("1000"), 12.0),
        Came(money("5"), money("100"), 30.0),
        Came(money("1"), money("100"), -4.0),
    ]

    either, both = measured(table, Thresholds()), measured(table, Thresholds(joined=Joined.AND))

    assert (either.issues, either.flagged, either.precision, either.recall, either.accuracy) == (4, 2, 0.5, 0.5, 0.5)
    assert (both.flagged, both.precision, both.recall, both.accuracy) == (1, 1.0, 0.5, 0.75)
    assert measured([], Thresholds()).precision is None


def test_points_and_amounts_are_each_other_s_inverse() -> None:
    assert points(money("110"), money("1065")) == pytest.approx(10.3286, abs=1e-4)
    assert amount(points(money("110"), money("1065")), money("1065")) == money("110")
    assert amount(points(money("-0.5"), money("83")), money("83")) == money("-0.5")
