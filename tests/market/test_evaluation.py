"""Evaluation: splits that leak nothing, metrics against hand sums, a verdict that says no where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from market import evaluation
from market.errors import BadValue
from market.evaluation import Outcome
from market.labels import COST, labels

TEN = np.arange(10, dtype=np.int32)
EVEN = np.array([1 / 3, 1 / 3, 1 / 3])


def chances(conviction: np.ndarray) -> np.ndarray:
    """(n, 3) with p_up - p_down as told, and p_flat 0.2."""
    return np.stack([0.4 - conviction / 2, np.full(len(conviction), 0.2), 0.4 + conviction / 2], axis=1)


def test_folds_walk_forward_and_sessions_lie_between_the_parts() -> None:
    folds = evaluation.walk_forward(TEN, TEN, 2, embargo=1)

    assert [f.test.tolist() for f in folds] == [[6, 7], [8, 9]]
    assert [f.held.tolist() for f in folds] == [[4], [6]]
    assert [f.train.tolist() for f in folds] == [[0, 1, 2], [0, 1, 2, 3, 4]]


def test_a_horizon_that_reaches_into_the_next_part_is_purged() -> None:
    following = TEN + 1

    without, purged = (evaluation.walk_forward(TEN, ends, 2, embargo=0)[0] for ends in (TEN, following))

    assert (without.train.tolist(), without.held.tolist()) == ([0, 1, 2, 3, 4], [5])
    assert (purged.train.tolist(), purged.held.tolist(), purged.test.tolist()) == ([0, 1, 2, 3], [], [6, 7])


@pytest.mark.parametrize(("sessions", "count", "embargo"), [(10, 0, 1), (10, 8, 1), (3, 1, 1), (10, 2, -1), (0, 1, 0)])
def test_folds_that_cannot_be_are_refused(sessions: int, count: int, embargo: int) -> None:
    days = np.arange(sessions, dtype=np.int32)

    with pytest.raises(BadValue):
        evaluation.walk_forward(days, days, count, embargo)


def test_the_last_part_is_held_back_and_nothing_is_left_to_test() -> None:
    fold = evaluation.last_part(TEN, TEN, embargo=1)

    assert (fold.train.tolist(), fold.held.tolist(), fold.test.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [8, 9], [])


def test_a_trade_pays_its_round_trip_on_either_side() -> None:
    returns = np.log(np.array([1.01, 1.01, 0.98, 1.5]))

    net = evaluation.net_returns(np.array([1, -1, -1, 0], np.int8), returns, cost=0.001)

    assert net == pytest.approx([0.009, -0.011, 0.019, 0.0])


def test_the_metrics_are_those_of_a_hand_sum() -> None:
    p = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])
    returns = np.log1p(np.array([0.02, -0.01, 0.0005, -0.02]))
    sessions = np.array([1, 1, 2, 2], np.int32)

    found = evaluation.judged(p, labels(returns), returns, sessions, EVEN, threshold=0.1)
    score = found.score

    # The labels are UP, DOWN, FLAT, DOWN; the positions 1, -1, 0, 1.
    assert score.brier == pytest.approx((0.38 + 0.24 + 0.06 + 0.78) / 4)
    assert score.brier_base == pytest.approx(2 / 3)
    assert score.log_loss == pytest.approx(-np.log([0.5, 0.6, 0.8, 0.3]).mean())
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.auc_up == pytest.approx((1 + 1 + 0.5) / 3)  # the UP row above two of the rest, level with one
    assert score.auc_down == pytest.approx(1.0)
    assert (score.trades, score.per_trade) == (3, pytest.approx((0.02 + 0.01 - 0.02) / 3 - COST))
    assert found.daily == pytest.approx([(0.03 - 2 * COST) / 2, (-0.02 - COST) / 2])
    assert score.net == pytest.approx(0.005 - 1.5 * COST)
    # Spearman is 1 on the first day and -1 on the second.
    assert (score.ic, score.ic_t) == (pytest.approx(0.0), None)


def test_the_t_of_the_correlation_is_its_mean_over_its_error() -> None:
    returns = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0]) / 100
    said = np.array([1.0, 2.0, 3.0, 1.0, 3.0, 2.0, 1.0, 2.0, 3.0]) / 10
    sessions = np.repeat([1, 2, 3], 3).astype(np.int32)

    score = evaluation.judged(chances(said), labels(returns), returns, sessions, EVEN).score

    # By day 1, 0.5, 1: mean 5/6, deviation 0.288675.
    assert score.ic == pytest.approx(5 / 6)
    assert score.ic_t == pytest.approx(5 / 6 / (0.2886751 / 3**0.5), rel=1e-6)


def test_an_abstention_is_counted_and_trades_nothing() -> None:
    p = np.array([[np.nan] * 3, [0.1, 0.1, 0.8]])
    returns = np.array([0.05, 0.05])

    score = evaluation.judged(p, labels(returns), returns, np.array([1, 1], np.int32), EVEN, threshold=0.0).score

    assert (score.rows, score.answered, score.trades) == (2, 1, 1)


def test_a_calibration_curve_holds_what_was_said_and_what_came() -> None:
    bins = evaluation.calibration_bins(np.array([0.05, 0.02, 0.93, 1.0]), np.array([False, True, True, True]))

    assert bins[:, 0].tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert bins[[0, 9], 1] == pytest.approx([0.035, 0.965])
    assert bins[[0, 9], 2] == pytest.approx([0.5, 1.0])
    assert evaluation.joined_bins([bins, bins])[[0, 9], 1:] == pytest.approx(bins[[0, 9], 1:])


def test_a_threshold_is_learned_where_only_great_conviction_pays() -> None:
    said = np.concatenate([np.full(100, 0.1), np.full(100, 0.6)])
    returns = np.concatenate([np.full(100, 0.0005), np.full(100, 0.01)])

    threshold = evaluation.learned_threshold(chances(said), returns)
    none = evaluation.learned_threshold(chances(said), np.full(200, 0.0005))

    assert np.count_nonzero(evaluation.position(chances(said), threshold)) == 100
    assert none == float("inf")


def test_the_last_value_baseline_says_how_often_a_move_went_on() -> None:
    returns = np.array([0.02, 0.02, -0.02, -0.02, 0.0, 0.02])
    last = np.array([0.01, -0.01, -0.01, 0.01, 0.01, 0.0])

    found = evaluation.continued(labels(returns), last)

    # Of five moves two went on, two turned, one stood still.
    assert found[2] == pytest.approx([0.4, 0.2, 0.4])
    assert found[0] == pytest.approx([0.4, 0.2, 0.4])
    assert found[1] == pytest.approx([2 / 6, 1 / 6, 3 / 6])


def walk(seed: int, edge: float, days: int = 60, rows: int = 60) -> tuple[np.ndarray, ...]:
    """What a model says, and returns that follow it as far as `edge` goes."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(-0.6, 0.6, days * rows)
    returns = edge * said + rng.normal(0, 0.004, days * rows)
    return said, returns, np.repeat(np.arange(days), rows).astype(np.int32)


def fold(said: np.ndarray, returns: np.ndarray, sessions: np.ndarray) -> evaluation.Judged:
    base = evaluation.base_rates(labels(returns))
    threshold = evaluation.learned_threshold(chances(said), returns)
    return evaluation.judged(chances(said), labels(returns), returns, sessions, base, threshold=threshold)


def test_a_planted_edge_is_found() -> None:
    found = evaluation.verdict([fold(*walk(1, 0.02))], {"no-trade": []}, seed=7)

    assert found.outcome is Outcome.EDGE
    assert found.lower is not None and 0 < found.lower * 60 < found.net


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_there_is_nothing_no_edge_is_said(seed: int) -> None:
    said, returns, sessions = walk(seed, 0.0)
    base = evaluation.base_rates(labels(returns))
    judged = evaluation.judged(chances(said), labels(returns), returns, sessions, base, threshold=0.0)

    found = evaluation.verdict([judged], {}, seed=7)

    assert found.outcome is Outcome.NO_EDGE
    assert found.reason.startswith("No edge after costs: the net return after costs is -")


def test_an_edge_that_a_baseline_has_too_is_none() -> None:
    better, worse = fold(*walk(1, 0.03)), fold(*walk(1, 0.02))

    found = evaluation.verdict([worse], {"no-trade": [], "linear": [better]}, seed=7)

    assert not found.edge
    assert "the baseline linear brought" in found.reason


def test_a_bootstrap_that_reaches_zero_is_no_edge_and_is_the_same_each_time() -> None:
    daily = np.array([0.05, -0.01, -0.01, -0.01])

    lower = evaluation.lower_bound(daily, seed=3)

    assert lower == evaluation.lower_bound(daily, seed=3)
    assert lower is not None and lower == pytest.approx(-0.01)  # four draws without the one gain: (3/4)^4 is 0.32
    assert evaluation.lower_bound(daily[:1], seed=3) is None


def test_probabilities_worse_than_the_base_rate_are_no_edge_however_much_was_won() -> None:
    said, returns, sessions = walk(1, 0.008)
    sure = np.eye(3)[np.where(said > 0, 2, 0)]

    judged = evaluation.judged(
        sure, labels(returns), returns, sessions, evaluation.base_rates(labels(returns)), threshold=0.0
    )
    found = evaluation.verdict([judged], {}, seed=7)

    assert judged.score.net > 0
    assert not found.edge and "Brier" in found.reason


def test_mean_and_deviation_over_folds_leave_out_what_could_not_be_told() -> None:
    assert evaluation.spread([1.0, None, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert evaluation.spread([None]) == (None, None)
