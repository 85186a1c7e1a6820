"""The models of a gain: each on lines that are known, with what spoils a plain fit."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from market.ipo import models
from market.ipo.examples import Decision, Examples, Floats, examples, gains
from market.ipo.models import COMPETITORS, MEMBERS, capped
from market.sessions import day_number
from tests.market.ipo.made import tables


def lesson(slope: float, level: float, noise: float = 0.0) -> tuple[Examples, Floats]:
    given = tables(150, slope, level, noise)
    rows = examples(given, Decision.EVE)
    return rows, gains(given, rows)


@pytest.mark.parametrize("name", ["robust_line", "recent_line", "residual"])
def test_a_line_is_found_whatever_some_outliers_say(name: str) -> None:
    rows, came = lesson(0.8, -3.0)
    came[::15] += 300.0

    said = MEMBERS[name](rows[:100], came[:100], rows[100:])

    assert said == pytest.approx(0.8 * rows["gmp_points"][100:] - 3.0, abs=1.5)


def test_the_premium_alone_says_the_premium() -> None:
    rows, came = lesson(0.8, -3.0)

    said = models.gmp_alone(rows[:100], came[:100], rows[100:])

    assert said.tolist() == rows["gmp_points"][100:].tolist()


@pytest.mark.parametrize("name", sorted({**COMPETITORS, **MEMBERS}))
def test_what_is_not_known_keeps_no_model_from_an_answer(name: str) -> None:
    rows, came = lesson(0.9, 0.0, 3.0)
    for column in ("total", "qib", "gmp_trend_points", "vix"):
        rows[column][::2] = np.nan
    rows["recent_hit"] = np.nan

    said = {**COMPETITORS, **MEMBERS}[name](rows[:100], came[:100], rows[100:])

    assert said.shape == (50,)
    assert np.isfinite(said).all()


@pytest.mark.parametrize("name", sorted({**COMPETITORS, **MEMBERS}))
def test_the_same_examples_give_the_same_answer(name: str) -> None:
    rows, came = lesson(0.9, 0.0, 3.0)
    model = {**COMPETITORS, **MEMBERS}[name]

    first, second = (model(rows[:100], came[:100], rows[100:]) for _ in range(2))

    assert first.tolist() == second.tolist()


def test_a_segment_of_its_own_has_its_own_line() -> None:
    rows, came = lesson(1.0, 0.0)
    came[rows["sme"] == 1] -= 10.0

    said = models.residual(rows, came, rows) - rows["gmp_points"]

    assert said[rows["sme"] == 1].mean() < said[rows["sme"] == 0].mean() - 3.0


def test_subscription_knows_nothing_of_the_premium() -> None:
    rows, came = lesson(0.9, 0.0, 3.0)
    blind = rows.copy()
    blind["gmp_points"] = np.nan

    said = models.subscription(rows[:100], came[:100], rows[100:])

    assert models.subscription(blind[:100], came[:100], blind[100:]).tolist() == said.tolist()


@pytest.mark.parametrize(
    ("listed", "sme", "close", "most"),
    [
        (date(2024, 7, 4), 1.0, False, 90.0),
        (date(2024, 7, 4), 1.0, True, 99.5),
        (date(2024, 7, 3), 1.0, False, 150.0),
        (date(2024, 7, 4), 0.0, True, 150.0),
    ],
)
def test_an_sme_issue_gains_no_more_than_its_cap(listed: date, sme: float, close: bool, most: float) -> None:
    rows = lesson(1.0, 0.0)[0][:2]
    rows["listed"], rows["sme"] = day_number(listed), sme

    assert capped(np.array([150.0, 20.0]), rows, close).tolist() == [most, 20.0]
