"""Validation: one premium of several sources, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadValue
from market.ipo.confidence import FEW, PARTS, TOLERANCE_POINTS, Confidence, Doubts, fitted
from market.ipo.facts import Told
from market.ipo.kinds import Segment
from market.ipo.reliability import Reliability
from market.ipo.validation import Limits, Shown, ValidatedGmp, Validator
from market.money import money
from market.sessions import DAY

HOUR = DAY // 24
PRICE = money("100")
"""So that rupees are points."""


def say(validator: Validator, source: str, gmp: str | None, at: int, issue: str = "x") -> str | None:
    told = Told(source=source, name=issue, at=at, gmp=money(gmp) if gmp is not None else None)
    return validator.read(issue, told, PRICE, Segment.SME)


def heard(*said: tuple[str, str | None, int], limits: Limits | None = None) -> Validator:
    validator = Validator(limits=limits)
    for source, gmp, at in said:
        say(validator, source, gmp, at)
    return validator


def left_out(found: ValidatedGmp) -> dict[str, str]:
    return {one.reading.source: one.why for one in found.refused}


def test_the_premium_is_the_median_by_reliability_and_says_who_voted() -> None:
    reliability = Reliability()
    for issue in range(20):
        reliability.learn(f"old-{issue}", Segment.SME, issue, {"good": 3.0, "bad": 15.0, "worse": 18.0})
    validator = Validator(reliability)
    for source, gmp in (("good", "30"), ("bad", "42"), ("worse", "45")):
        say(validator, source, gmp, DAY)

    found = validator.validate("x", DAY + HOUR)

    assert (found.gmp, found.points, found.age) == (money("30"), 30.0, HOUR)
    assert found.disagreement_points == pytest.approx((12 + 15) / 2)
    assert sum(one.weight for one in found.used) == pytest.approx(1)
    assert max(found.used, key=lambda one: one.weight).reading.source == "good"


def test_a_jump_is_held_until_its_source_says_it_again_half_a_day_later() -> None:
    validator = heard(("a", "20", 0), ("a", "55", DAY))
    assert validator.validate("x", DAY).points == 20.0
    assert left_out(validator.validate("x", DAY)) == {"a": "a jump that nobody confirms"}

    same_day, next_day = say(validator, "a", "55", DAY + HOUR), say(validator, "a", "57", 2 * DAY)

    assert same_day is not None
    assert next_day is None
    assert validator.validate("x", 2 * DAY).points == 57.0


def test_a_jump_that_another_source_confirms_is_believed_at_once() -> None:
    validator = heard(("a", "20", 0), ("a", "55", DAY))

    confirmed = say(validator, "b", "52", DAY + HOUR)

    assert confirmed is None
    assert {one.reading.source for one in validator.validate("x", DAY + HOUR).used} == {"a", "b"}


@pytest.mark.parametrize(
    ("before", "typo", "after"), [("22.5", "2250", "26"), ("9.99", "999", "0"), ("45", "4.5", "44")]
)
def test_a_typo_of_one_day_is_never_believed(before: str, typo: str, after: str) -> None:
    validator = heard(("a", before, 0), ("a", typo, DAY))
    held = validator.validate("x", DAY).points

    say(validator, "a", after, 2 * DAY)

    assert held == float(before)
    assert validator.validate("x", 2 * DAY).points == float(after)
    assert not validator.validate("x", 2 * DAY).refused


def test_a_first_reading_beyond_belief_waits_and_nothing_is_known_meanwhile() -> None:
    validator = heard(("a", "2250", 0), ("a", "2250", 2 * DAY))

    found = validator.validate("x", 2 * DAY)

    assert (found.gmp, found.points, found.confidence, found.used) == (None, None, 0.0, ())
    assert left_out(found) == {"a": "a jump that nobody confirms"}


def test_no_quote_is_not_zero() -> None:
    validator = heard(("a", "20", 0), ("b", "22", 0))

    why = say(validator, "a", None, HOUR)

    assert why == "no quote"
    assert validator.validate("x", HOUR).points == 22.0


def test_readings_go_stale_and_then_nothing_is_known() -> None:
    validator = heard(("a", "20", 0), ("b", "30", 2 * DAY))

    both, one, none = (validator.validate("x", at) for at in (2 * DAY, 4 * DAY, 6 * DAY))

    assert len(both.used) == 2
    assert (one.points, left_out(one)) == (30.0, {"a": "stale"})
    assert (none.gmp, none.confidence) == (None, 0.0)


@pytest.mark.parametrize(
    ("seen", "now", "age"),
    [
        (0, 2 * DAY, 2 * DAY),
        (2 * DAY, 2 * DAY + HOUR, HOUR),
        (4 * DAY, 4 * DAY + HOUR, HOUR),
        (9 * DAY, 5 * DAY, DAY),  # seen after the time that is asked about: as long as it counts
        (7 * DAY, 7 * DAY, 3 * DAY),
        (8 * DAY, 7 * DAY + HOUR, None),
    ],
)
def test_a_page_that_shows_a_reading_again_renews_it_for_four_days(seen: int, now: int, age: int | None) -> None:
    validator = heard(("a", "20", 0))

    found = validator.validate("x", now, {"a": Shown(0, seen)})

    assert (found.age, left_out(found)) == (age, {} if age is not None else {"a": "stale"})


def test_a_page_that_shows_another_reading_renews_nothing() -> None:
    validator = heard(("a", "20", 0), ("b", "24", 3 * DAY))

    found = validator.validate("x", 4 * DAY, {"a": Shown(HOUR, 4 * DAY), "c": Shown(0, 4 * DAY)})

    assert (left_out(found), found.age) == ({"a": "stale"}, DAY)


def test_a_reading_that_comes_late_changes_nothing() -> None:
    validator = heard(("a", "20", DAY))

    why = say(validator, "a", "25", HOUR)

    assert why is not None
    assert validator.validate("x", DAY).points == 20.0


def test_of_three_the_one_far_from_the_median_is_left_out() -> None:
    validator = heard(("a", "20", 0), ("b", "22", 0), ("c", "70", 0))

    found = validator.validate("x", HOUR)

    assert left_out(found) == {"c": "far from the others"}
    assert found.points in (20.0, 22.0)


def test_older_premiums_and_higher_ones_are_trusted_less() -> None:
    fresh = heard(("a", "20", 0)).validate("x", 0).confidence
    old = heard(("a", "20", 0)).validate("x", 2 * DAY).confidence
    high = heard(("a", "90", 0)).validate("x", 0).confidence

    assert 0 < old < fresh < 1
    assert high < fresh


@pytest.mark.parametrize(
    ("levels", "relative", "spikes"),
    [
        ([20, 27.9, 30], None, [False, False, False]),
        ([20, 28, 30], None, [False, True, False]),
        ([2, 3], None, [False, False]),
        ([2, 3], 0.08, [False, True]),
        ([0, 3], 0.08, [False, False]),
        ([-2, -10], None, [False, True]),
    ],
)
def test_a_spike_is_eight_points_of_the_issue_price_within_a_day(
    levels: list[float], relative: float | None, spikes: list[bool]
) -> None:
    validator = Validator(limits=Limits(relative_spike=relative))
    found = []

    for day, level in enumerate(levels):
        say(validator, "a", str(level), day * DAY)
        found.append(validator.validate("x", day * DAY).spike is not None)

    assert found == spikes


def test_a_slow_rise_within_the_day_is_one_spike_and_a_first_quote_is_none() -> None:
    validator = heard()
    found = []

    for hour, level in enumerate(["40", "43", "46", "49", "50"]):
        say(validator, "a", level, hour * HOUR)
        found.append(validator.validate("x", hour * HOUR).spike)

    assert [spike is not None for spike in found] == [False, False, False, True, False]
    assert found[3] is not None
    assert (found[3].before_points, found[3].points, found[3].since) == (40.0, 49.0, 0)


def test_a_listing_teaches_who_was_right_and_ends_the_issue() -> None:
    validator = heard(("a", "20", 0), ("b", "40", 0))

    validator.score("x", 21.0, DAY)

    assert validator.reliability.weights(["a", "b"], Segment.SME, DAY + 1)["a"] > 0.5
    with pytest.raises(BadValue, match="'x'"):
        validator.validate("x", DAY)


def test_a_withdrawn_issue_teaches_nothing() -> None:
    validator = heard(("a", "20", 0))

    validator.forget("x")
    validator.forget("x")

    assert validator.reliability.league(Segment.SME, DAY) == []


said = st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(-50, 400).map(str)), st.integers(0, 5 * DAY))


@given(st.lists(said, min_size=1, max_size=30), st.integers(0, 30))
def test_a_validator_restored_anywhere_goes_on_as_if_nothing_had_been(
    said: list[tuple[str, str, int]], cut: int
) -> None:
    straight, broken = Validator(), Validator()
    results: list[list[ValidatedGmp]] = [[], []]

    for number, (source, gmp, at) in enumerate(sorted(said, key=lambda one: one[2])):
        if number == cut:
            broken = Validator.restore(broken.snapshot())
        for validator, found in zip((straight, broken), results, strict=True):
            say(validator, source, gmp, at)
            found.append(validator.validate("x", at))

    assert results[0] == results[1]
    assert straight.snapshot() == broken.snapshot()
    assert all(0 <= one.confidence <= 1 and (one.gmp is None) == (not one.used) for one in results[0])


def test_values_that_are_no_snapshot_are_refused() -> None:
    state = heard(("a", "20", 0)).snapshot()

    with pytest.raises(BadValue, match="snapshot"):
        Validator.restore({**state, "issues": {"x": {"segment": "moon"}}})
    with pytest.raises(BadValue, match="snapshot"):
        Validator.restore({"limits": {}})


def test_an_issue_without_a_price_is_refused() -> None:
    with pytest.raises(BadValue, match="price"):
        Validator().read("x", Told(source="a", name="x", at=0, gmp=money("3")), money("0"), Segment.SME)


def test_fitted_confidence_comes_true_for_errors_that_grow_with_the_height() -> None:
    rng = np.random.default_rng(7)
    heights = rng.uniform(5, 80, 4000)
    errors = rng.exponential(3 + 0.3 * heights)
    doubts = [Doubts(0.0, float(height), 0.0, 0) for height in heights]

    confidence = fitted(doubts[:2000], errors[:2000].tolist())

    p = np.array([confidence.of(one) for one in doubts[2000:]])
    for low in (p < 0.45, p >= 0.45):
        assert p[low].mean() == pytest.approx((errors[2000:][low] <= TOLERANCE_POINTS).mean(), abs=0.05)


def test_confidence_learns_of_a_part_that_those_on_record_do_not_have() -> None:
    rng = np.random.default_rng(7)
    apart = rng.uniform(0, 30, 2000)
    errors = rng.exponential(1 + 0.8 * apart)
    doubts = [Doubts(3.0, 10.0, float(one), 0) for one in apart]

    again = fitted(doubts[:1000], errors[:1000].tolist())

    def surprise(confidence: Confidence) -> float:
        p = np.array([confidence.of(one) for one in doubts[1000:]])
        return float((((errors[1000:] <= TOLERANCE_POINTS) - p) ** 2).mean())

    assert (again.outcomes, Confidence.restore(again.snapshot()).snapshot()) == (1000, again.snapshot())
    assert surprise(again) < surprise(Confidence()) - 0.02


def test_sources_that_contradict_each_other_are_not_trusted() -> None:
    agreed, apart = Doubts(3.0, 2.0, 0.5, 0), Doubts(3.0, 2.0, 47.0, 0)

    assert Confidence().of(agreed) > 0.9
    assert Confidence().of(apart) < 0.4


def test_sixty_outcomes_count_as_much_as_those_on_record() -> None:
    doubts = [Doubts(10.0, 0.0, 0.0, 0)] * FEW
    twice = [Doubts(10.0, 0.0, 0.0, 0)] * (2 * FEW)

    half, more = (fitted(found, [20.0] * len(found)).parts for found in (doubts, twice))

    # Of a shown error of 10 those on record make 5.4, and these outcomes 20.
    assert half[0] + 10 * half[1] == pytest.approx((5.4 + 20) / 2)
    assert more[0] + 10 * more[1] == pytest.approx((5.4 + 2 * 20) / 3)


def test_few_outcomes_fit_nothing() -> None:
    few = [Doubts(5.0, 20.0, 0.0, 0)] * (FEW - 1)

    assert fitted(few, [1.0] * len(few)).parts == PARTS
    with pytest.raises(BadValue, match="as many"):
        fitted(few, [1.0])
    with pytest.raises(BadValue, match="five numbers"):
        Confidence((1.0, -1.0, 0.0, 0.0, 0.0))
