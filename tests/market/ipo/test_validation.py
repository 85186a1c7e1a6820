"""Validation: one premium of several sources, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadValue
from market.ipo.confidence import FEW, PARTS, TOLERANCE_POINTS, Confidence, Doubts, fitted
from market.ipo.facts import Told
from market.ipo.issues import Origin
from market.ipo.kinds import Segment
from market.ipo.reliability import Reliability
from market.ipo.validation import Limits, Shown, Spike, ValidatedGmp, Validator
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


def test_a_stamp_that_stays_on_a_page_that_is_seen_half_a_day_later_confirms_its_jump() -> None:
    validator = heard(("a", "20", 0))
    row = Told(source="a", name="x", at=HOUR, gmp=money("60"))
    pages = [Origin(source="a", page=f"page {hour}", received=hour * HOUR) for hour in (8, 19, 20)]

    why = [validator.read("x", row, PRICE, Segment.SME, page) for page in pages]

    assert why == ["a jump that nobody confirms"] * 2 + [None]
    assert validator.validate("x", 20 * HOUR).points == 60.0


@pytest.mark.parametrize(("level", "seen", "points"), [("60", 13, 20.0), ("60", 14, 60.0), ("301", 48, 20.0)])
def test_a_page_that_shows_a_jump_half_a_day_later_confirms_it_unless_it_is_beyond_belief(
    level: str, seen: int, points: float
) -> None:
    by_page, by_time = heard(("a", "20", 0)), heard(("a", "20", 0), ("a", level, 2 * HOUR))
    origin = Origin(source="a", page="new", received=2 * HOUR)
    by_page.read("x", Told(source="a", name="x", at=HOUR, gmp=money(level)), PRICE, Segment.SME, origin)
    waiting = by_page.pages

    by_page.see({"old": 72 * HOUR, "new": seen * HOUR})

    assert waiting == {"new"}
    assert by_page.validate("x", seen * HOUR).points == points
    assert by_time.validate("x", seen * HOUR, {"a": Shown(2 * HOUR, seen * HOUR)}).points == points


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


def test_no_quote_in_between_lets_no_jump_through() -> None:
    validator = heard(("a", "10", 0), ("a", None, HOUR))
    silent = validator.validate("x", HOUR)

    why = say(validator, "a", "150", 2 * HOUR)

    held = validator.validate("x", 2 * HOUR)
    assert (silent.gmp, silent.refused, held.gmp) == (None, (), None)
    assert left_out(held) == {"a": why} == {"a": "a jump that nobody confirms"}
    assert say(validator, "a", "150", 14 * HOUR) is None
    assert validator.validate("x", 14 * HOUR).points == 150.0


def test_what_a_source_took_back_convinces_nobody_and_is_not_scored() -> None:
    validator = heard(("a", "60", 0), ("a", None, HOUR), ("b", "10", HOUR), ("b", "60", 2 * HOUR))

    found = validator.validate("x", 2 * HOUR)
    validator.score("x", 10.0, DAY)

    assert (found.points, left_out(found)) == (10.0, {"b": "a jump that nobody confirms"})
    assert [one.source for one in validator.reliability.league(Segment.SME, DAY + 1)] == ["b"]


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


@pytest.mark.parametrize(
    ("said", "spike"),
    [
        ([(0, 10), (23, 15), (24, 15), (25, 22)], (10, 22, 0)),
        ([(0, 20), (6, 14), (12, 17), (18, 22)], (14, 22, 6)),
        ([(0, 20), (6, 26), (12, 23), (18, 18)], (26, 18, 6)),
        ([(0, 10), (12, 12), (23, 15), (37, 19)], None),
        ([(0, 10), (20, 15), (40, 17), (50, 22)], None),
    ],
)
def test_a_spike_is_measured_from_the_lowest_and_the_highest_of_the_last_day(
    said: list[tuple[int, int]], spike: tuple[float, float, int] | None
) -> None:
    validator = heard()

    for hour, level in said:
        say(validator, "a", str(level), hour * HOUR)
        validator = Validator.restore(validator.snapshot())
        last = validator.validate("x", hour * HOUR).spike

    assert (last and (last.before_points, last.points, last.since // HOUR)) == spike


def test_a_spike_is_told_once_however_often_it_is_looked_at() -> None:
    validator = heard(("a", "10", 0))
    found = [validator.validate("x", half * HOUR // 2).spike for half in range(4)]
    say(validator, "a", "25", 2 * HOUR)

    found += [validator.validate("x", half * HOUR // 2).spike for half in range(4, 60)]

    assert [spike for spike in found if spike] == [Spike(before_points=10.0, points=25.0, since=3 * HOUR // 2)]


def test_a_base_of_before_all_levels_were_kept_is_taken_up() -> None:
    state = heard(("a", "20", 2 * HOUR)).snapshot()
    issue = {**state["issues"]["x"], "since": [10.0, HOUR]}
    del issue["levels"]

    found = Validator.restore({**state, "issues": {"x": issue}}).validate("x", 2 * HOUR)

    assert found.spike == Spike(before_points=10.0, points=20.0, since=HOUR)


@pytest.mark.parametrize("told_of_silence", [True, False])
def test_the_first_quote_after_none_is_news_and_the_next_change_is_measured_from_it(told_of_silence: bool) -> None:
    validator = heard(("a", "10", 0), ("b", "10", 0))
    validator.validate("x", 0)
    say(validator, "a", None, HOUR)
    say(validator, "b", None, HOUR)
    if told_of_silence:
        validator.validate("x", HOUR)

    found = []
    for hour, level in ((2, "35"), (3, "36"), (4, "44")):
        say(validator, "a", level, hour * HOUR)
        found.append(validator.validate("x", hour * HOUR).spike)

    assert found[:2] == [None, None]
    assert found[2] is not None and (found[2].before_points, found[2].points) == (35.0, 44.0)


@pytest.mark.parametrize("told_again", [True, False])
def test_a_corrected_price_leaves_the_rupees_and_is_no_spike(told_again: bool) -> None:
    validator = heard(("a", "10", 0), ("b", "12", 0))
    validator.validate("x", 0)

    if told_again:
        row = Told(source="a", name="x", at=HOUR, gmp=money("10"))
        assert validator.read("x", row, money("40"), Segment.SME) is None
    validator.reprice("x", money("40"))

    found = validator.validate("x", HOUR)
    assert [(one.reading.gmp, one.reading.points) for one in found.used] == [(money("10"), 25.0), (money("12"), 30.0)]
    assert (found.gmp, found.points, found.spike) in ((money("10"), 25.0, None), (money("12"), 30.0, None))


def test_by_a_corrected_price_a_jump_may_be_none_and_a_change_is_still_a_spike() -> None:
    validator = heard(("a", "10", 0))
    validator.validate("x", 0)
    held = say(validator, "a", "45", HOUR)

    validator.reprice("x", money("200"))

    found = validator.validate("x", HOUR)
    assert (held, found.gmp, found.points) == ("a jump that nobody confirms", money("45"), 22.5)
    assert found.spike == Spike(before_points=5.0, points=22.5, since=0)


def test_issues_that_are_one_have_one_price() -> None:
    validator = heard(("a", "10", 0))
    told = Told(source="b", name="y", at=0, gmp=money("10"))
    validator.read("y", told, money("50"), Segment.SME)

    validator.join("x", "y")

    assert [one.reading.points for one in validator.validate("x", HOUR).used] == [10.0, 10.0]


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


def test_a_snapshot_pins_no_limit() -> None:
    validator = heard(("a", "20", 0), limits=Limits(spike_points=2.0))
    validator.validate("x", 0)
    state = {**validator.snapshot(), "limits": Limits(spike_points=2.0).model_dump(mode="json")}  # it had them once

    again = [Validator.restore(state), Validator.restore(state, Limits(relative_spike=0.08))]

    for one in again:
        say(one, "a", "22", HOUR)
    assert [one.validate("x", HOUR).spike is not None for one in again] == [False, True]


def test_values_that_are_no_snapshot_are_refused() -> None:
    state = heard(("a", "20", 0)).snapshot()

    with pytest.raises(BadValue, match="snapshot"):
        Validator.restore({**state, "issues": {"x": {"segment": "moon"}}})
    with pytest.raises(BadValue, match="snapshot"):
        Validator.restore({"limits": {}})


def test_a_snapshot_of_before_lines_said_more_is_taken_up() -> None:
    validator = heard(("a", "20", 0), ("b", "22", 0), ("b", "80", HOUR), ("c", None, HOUR))
    state = validator.snapshot()
    lines = state["issues"]["x"]["lines"]
    before = {source: [line["last"], line["held"]] for source, line in lines.items()}

    again = Validator.restore({**state, "issues": {"x": {**state["issues"]["x"], "lines": before}}})

    assert again.validate("x", HOUR) == validator.validate("x", HOUR)


def test_an_issue_without_a_price_is_refused() -> None:
    with pytest.raises(BadValue, match="price"):
        heard(("a", "20", 0)).reprice("x", money("0"))
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
