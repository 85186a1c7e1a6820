"""The ledger: what was published, held against what came, by sums by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from market.ipo.ledger import Listed, Predicted, Validated, accounts, league, scored
from market.ipo.walkforward import Task

OPENED = datetime(2025, 3, 10, 4, 30, tzinfo=UTC)


def said(issue: str, points: float, hours: float = 20.0, model: str = "ours", **more: object) -> Predicted:
    at = OPENED - timedelta(hours=hours)
    given = {"gmp_points": 12.0, "low_points": points - 5, "high_points": points + 5, "p_gain_10": 0.75} | more
    return Predicted(at=at, issue=issue, task=Task.OPEN, model=model, predicted_points=points, **given)


def listed(issue: str, opened: float | None, close: float | None = None) -> Listed:
    return Listed(at=OPENED, issue=issue, segment="mainboard", open_points=opened, close_points=close)


def test_the_last_word_before_the_first_trade_counts() -> None:
    found = scored([said("a", 15.0, 2.0), said("a", 40.0, 30.0), said("a", 20.0, 0.0)], [listed("a", 18.0)])

    assert [one.predicted.predicted_points for one in found.outcomes] == [15.0]
    assert (found.replaced, found.late, found.waiting) == (1, 1, 0)
    assert (found.outcomes[0].missed, found.outcomes[0].gmp_missed) == (3.0, 6.0)
    assert found.outcomes[0].hit and found.outcomes[0].within


def test_what_is_not_listed_or_has_no_price_waits() -> None:
    found = scored([said("a", 15.0), said("b", 15.0)], [listed("b", None, 4.0)])

    assert (found.outcomes, found.waiting) == ((), 2)


def test_a_prediction_of_the_close_is_held_against_the_close() -> None:
    found = scored([said("a", 15.0).model_copy(update={"task": Task.ALL})], [listed("a", 18.0, 9.0)])

    assert [(one.came_points, one.hit) for one in found.outcomes] == [(9.0, False)]


def test_an_account_sums_up_a_model_beside_the_premium_alone() -> None:
    published = [
        said("a", 15.0),
        said("b", 9.0, p_gain_10=0.5),
        said("c", 11.0, gmp_points=None, low_points=None, p_gain_10=None),
        said("a", 30.0, model="gmp"),
    ]
    came = [listed("a", 18.0), listed("b", 20.0), listed("c", 5.0)]

    gmp, ours = accounts(scored(published, came).outcomes)

    assert (gmp.model, gmp.n, gmp.mae) == ("gmp", 1, 12.0)
    assert (ours.n, ours.compared) == (3, 2)
    assert (ours.mae, ours.mae_compared, ours.gmp_mae) == (6.666667, 7.0, 7.0)
    assert (ours.accuracy, ours.precision, ours.recall) == (0.333333, 0.5, 0.5)
    assert (ours.coverage, ours.brier) == (0.5, 0.15625)


def test_the_league_ranks_sources_on_their_last_word_before_the_listing() -> None:
    def validated(issue: str, hours: float, gmp: float | None, **sources: float) -> Validated:
        at = OPENED - timedelta(hours=hours)
        return Validated(at=at, issue=issue, gmp_points=gmp, confidence=0.5, sources=sources)

    published = [
        validated("a", 30, 50.0, near=50.0, far=90.0),
        validated("a", 3, 19.0, near=20.0, far=40.0),
        validated("a", -1, 18.0, near=18.0, far=18.0),
        validated("b", 3, None, near=4.0, alone=12.0),
        validated("c", 3, 5.0, near=5.0),
    ]

    found = league(published, [listed("a", 18.0), listed("b", 8.0), listed("c", None)])

    assert [(one.source, one.n, one.mae, one.bias) for one in found] == [
        ("believed", 1, 1.0, 1.0),
        ("near", 2, 3.0, -1.0),
        ("alone", 1, 4.0, 4.0),
        ("far", 1, 22.0, 22.0),
    ]
    assert [one.behind for one in found] == [0.0, 1.0, None, 21.0]
    assert [one.accuracy for one in found] == [1.0, 1.0, 0.0, 1.0]


def test_of_nothing_there_is_no_account() -> None:
    assert accounts([]) == []
    assert league([], []) == []
