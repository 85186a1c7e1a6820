"""Recorded premiums: validation over what sources really said, walking forward, beside each of them."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.premiums import THREE, Walked, read, spikes, walked
from market.ipo.confidence import TOLERANCE_POINTS, fitted
from market.ipo.facts import Told
from market.ipo.kinds import Segment
from market.ipo.profit import Came, Joined, Thresholds, measured
from market.ipo.validation import Validator
from market.money import money
from market.sessions import at

SPLIT = date(2024, 3, 1)


@pytest.fixture(scope="module")
def clean(shared: Path) -> Path:
    """The recorded tables."""
    return shared / "fixtures/ipo/clean"


@pytest.fixture(scope="module")
def walk(clean: Path) -> list[Walked]:
    """Every issue as it stood on its eve, by sources that had been scored on earlier listings alone."""
    return walked(clean)


def error(walked: list[Walked], said: list[float | None]) -> float:
    return float(np.mean([abs(value - one.gain) for one, value in zip(walked, said, strict=True) if value is not None]))


def test_the_weighted_premium_is_no_worse_than_the_best_source_and_better_than_any_vote(walk: list[Walked]) -> None:
    three = [one for one in walk if one.opened and all(source in one.said for source in THREE)]
    later = [one for one in three if one.listing >= SPLIT]
    assert (len(three), len(later)) == (129, 69)

    # From nothing it takes a few issues to know the best source; the table rounds points to a thousandth.
    for issues, slack in ((three, 0.05), (later, 0.001)):
        weighted = error(issues, [one.found.points for one in issues])
        single = {source: error(issues, [one.said[source] for one in issues]) for source in THREE}
        median = error(issues, [float(np.median(list(one.said.values()))) for one in issues])
        mean = error(issues, [float(np.mean(list(one.said.values()))) for one in issues])
        assert weighted <= min(single.values()) + slack
        assert weighted < min(median, mean) - 1
        assert min(single, key=single.__getitem__) == THREE[0]


def test_where_some_sources_say_nothing_the_weighted_premium_beats_the_votes_too(walk: list[Walked]) -> None:
    several = [one for one in walk if one.opened and len(one.said) > 1 and one.listing >= date(2022, 1, 1)]
    assert len(several) > 200

    weighted = error(several, [one.found.points for one in several])

    assert weighted < error(several, [float(np.median(list(one.said.values()))) for one in several]) - 1
    assert weighted < error(several, [one.said.get(THREE[0]) for one in several])


@pytest.mark.parametrize("refit", [False, True])
def test_confidence_comes_true_in_three_bins_of_later_issues(walk: list[Walked], refit: bool) -> None:
    known = [
        (one.found.doubts, abs(one.found.points - one.gain), one)
        for one in walk
        if one.found.doubts is not None and one.found.points is not None
    ]
    half = len(known) // 2
    confidence = fitted([d for d, _, _ in known[:half]], [e for _, e, _ in known[:half]])

    later = known[half:]
    p = np.array([confidence.of(d) if refit else one.found.confidence for d, _, one in later])
    near = np.array([e <= TOLERANCE_POINTS for _, e, _ in later])
    bins = np.array_split(np.argsort(p), 3)

    assert len(later) > 350
    assert [float(p[b].mean()) for b in bins] == pytest.approx([float(near[b].mean()) for b in bins], abs=0.1)
    assert near[bins[0]].mean() + 0.3 < near[bins[2]].mean()


@pytest.mark.parametrize(("relative", "low", "high"), [(None, 0.13, 0.17), (0.08, 0.42, 0.5)])
def test_spikes_in_points_are_rare_and_relative_ones_fire_every_other_day(
    clean: Path, relative: float | None, low: float, high: float
) -> None:
    days, alarms, _ = spikes(clean, relative)

    assert days > 5000
    assert low < alarms / days < high


@pytest.mark.parametrize(
    ("issue", "typo"),
    [
        ("go-digit-general-insurance-2024", "2250.0"),
        ("hrh-next-services-2024", "999.0"),
        ("p-n-gadgil-jewellers-2024", "30350.0"),
    ],
)
def test_lost_decimal_points_of_real_series_are_never_believed(clean: Path, issue: str, typo: str) -> None:
    days = sorted(
        (row["date"], row["gmp_rs"], row["issue_price"])
        for row in read(clean, "gmp_daily.csv")
        if row["ipo_id"] == issue
    )
    validator, believed = Validator(), []

    for day, gmp, price in days:
        stamp = at(date.fromisoformat(day), time(18))
        told = Told(source="series", name=issue, at=stamp, gmp=money(str(round(float(gmp), 2))))
        validator.read(issue, told, money(price), Segment.MAINBOARD)
        believed.append(validator.validate(issue, stamp).points)

    assert typo in [gmp for _, gmp, _ in days]
    assert all(points is None or points < 110 for points in believed)


def test_the_rupee_leg_of_the_default_costs_precision(clean: Path) -> None:
    table = [
        Came(money(row["gmp_last"]), money(row["issue_price"]), float(row["gain_open_pct"]))
        for row in read(clean, "ipo_master.csv")
        if row["segment"] == "MB" and row["gmp_last"] and row["gain_open_pct"]
    ]
    assert len(table) > 250

    points_alone = measured(table, Thresholds(amount=money("100000")))
    either, both = measured(table, Thresholds()), measured(table, Thresholds(joined=Joined.AND))

    assert None not in (either.precision, both.precision, points_alone.precision)
    assert (either.precision or 0) < (points_alone.precision or 0) <= (both.precision or 0)
    assert (both.recall or 0) < (either.recall or 0)
