"""Ledger: what was published of an issue and when, and, once it is listed, how good that was.

Only what was published before the first trade counts, and of one kind, the last of it: nobody is scored for knowing
better afterwards. What came after the listing, and what has no outcome yet, is counted and told. A validation is scored
like a prediction: the premium believed, and the premium of each source, held against the first trade.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from market.ipo.examples import GAIN
from market.ipo.walkforward import Task
from market.records import Record

BELIEVED = "believed"
"""In the league, the premium that was made of all sources."""


class Predicted(Record):
    """A prediction as it was published: points of the issue price. `at` aware UTC; `model`: whose words they were."""

    at: datetime
    issue: str
    task: Task
    model: str
    gmp_points: float | None
    predicted_points: float
    low_points: float | None = None
    high_points: float | None = None
    p_gain_10: float | None = None
    p_loss: float | None = None


class Validated(Record):
    """A validation as it was published: the premium believed, points of the issue price, with its confidence, 0 to 1,
    and what each source said, used or not. `at` aware UTC.
    """

    at: datetime
    issue: str
    gmp_points: float | None
    confidence: float
    sources: Mapping[str, float]


class Listed(Record):
    """What came of an issue, points of the issue price, None where not known. `at`: of the first trade, aware UTC."""

    at: datetime
    issue: str
    segment: str
    open_points: float | None
    close_points: float | None


class Outcome(Record):
    """A prediction and what came: `missed` and `gmp_missed` in points, without sign; `hit`: it was on the right side of
    10 points; `within` its interval.
    """

    predicted: Predicted
    segment: str
    came_points: float
    missed: float
    gmp_missed: float | None
    hit: bool
    within: bool | None


class Scored(Record):
    """The outcomes, oldest listing first; how many were `replaced` by a later one, came `late`, or are `waiting`."""

    outcomes: tuple[Outcome, ...]
    replaced: int
    late: int
    waiting: int


class Account(Record):
    """How good the predictions of a task by a model were: `mae` beside that of the premium alone, `gmp_mae`, both on
    the `compared` outcomes that had one; `accuracy`: share on the right side of 10 points; `precision`, `recall` of
    gains of 10 points told; `coverage` of the 80 % interval; `brier` of the probability of a gain of 10 points.
    """

    task: Task
    model: str
    n: int
    compared: int
    mae: float
    mae_compared: float | None
    gmp_mae: float | None
    accuracy: float
    precision: float | None
    recall: float | None
    coverage: float | None
    brier: float | None


class Standing(Record):
    """A source in the league: its last premium before the listing against the first trade, points. `bias`: by how much
    it was too dear; `accuracy`: on the right side of 10 points; `behind`: how much more it missed than what was
    believed of the same issues, None where that is not known of any.
    """

    source: str
    n: int
    mae: float
    bias: float
    accuracy: float
    behind: float | None


def scored(predictions: Iterable[Predicted], listed: Iterable[Listed]) -> Scored:
    """What came of predictions, in any order: the last of each issue, task and model before the first trade."""
    came = {one.issue: one for one in listed}
    last: dict[tuple[str, Task, str], tuple[Predicted, float]] = {}
    replaced = late = waiting = 0
    for one in sorted(predictions, key=lambda p: p.at):
        outcome = came.get(one.issue)
        points = _came(one.task, outcome) if outcome else None
        if outcome is None or points is None:
            waiting += 1
        elif one.at >= outcome.at:
            late += 1
        else:
            key = one.issue, one.task, one.model
            replaced += key in last
            last[key] = one, points
    outcomes = tuple(
        _outcome(*last[key], came[key[0]].segment) for key in sorted(last, key=lambda k: (came[k[0]].at, k))
    )
    return Scored(outcomes=outcomes, replaced=replaced, late=late, waiting=waiting)


def accounts(outcomes: Iterable[Outcome]) -> list[Account]:
    """How good each model was at each task, by task and name."""
    groups: dict[tuple[Task, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        groups[one.predicted.task, one.predicted.model].append(one)
    return [_account(task, model, mine) for (task, model), mine in sorted(groups.items())]


def league(validations: Iterable[Validated], listed: Iterable[Listed]) -> list[Standing]:
    """Each source, and BELIEVED, by what it missed, best first; of issues whose first trade is known."""
    came = {one.issue: one for one in listed if one.open_points is not None}
    said: dict[str, dict[str, float]] = defaultdict(dict)
    for one in sorted(validations, key=lambda v: v.at):
        if one.issue in came and one.at < came[one.issue].at:
            for source, points in one.sources.items():
                said[source][one.issue] = points
            if one.gmp_points is not None:
                said[BELIEVED][one.issue] = one.gmp_points
    opened = {issue: one.open_points for issue, one in came.items() if one.open_points is not None}
    believed = said.get(BELIEVED, {})
    standings = [_standing(source, mine, believed, opened) for source, mine in said.items()]
    return sorted(standings, key=lambda s: (s.mae, s.source))


def _came(task: Task, outcome: Listed) -> float | None:
    return outcome.close_points if task is Task.ALL else outcome.open_points


def _outcome(one: Predicted, came: float, segment: str) -> Outcome:
    low, high = one.low_points, one.high_points
    return Outcome(
        predicted=one,
        segment=segment,
        came_points=came,
        missed=abs(came - one.predicted_points),
        gmp_missed=None if one.gmp_points is None else abs(came - one.gmp_points),
        hit=(one.predicted_points >= GAIN) == (came >= GAIN),
        within=None if low is None or high is None else low <= came <= high,
    )


def _account(task: Task, model: str, mine: Sequence[Outcome]) -> Account:
    compared = [one for one in mine if one.gmp_missed is not None]
    told = [one for one in mine if one.predicted.predicted_points >= GAIN]
    gained = [one for one in mine if one.came_points >= GAIN]
    squares = [
        (one.predicted.p_gain_10 - (one.came_points >= GAIN)) ** 2
        for one in mine
        if one.predicted.p_gain_10 is not None
    ]
    return Account(
        task=task,
        model=model,
        n=len(mine),
        compared=len(compared),
        mae=_mean([one.missed for one in mine]),
        mae_compared=_mean_of_any([one.missed for one in compared]),
        gmp_mae=_mean_of_any([one.gmp_missed for one in compared if one.gmp_missed is not None]),
        accuracy=_mean([one.hit for one in mine]),
        precision=_mean_of_any([one.hit for one in told]),
        recall=_mean_of_any([one.hit for one in gained]),
        coverage=_mean_of_any([one.within for one in mine if one.within is not None]),
        brier=_mean_of_any(squares),
    )


def _standing(
    source: str, mine: Mapping[str, float], believed: Mapping[str, float], came: Mapping[str, float]
) -> Standing:
    both = [issue for issue in mine if issue in believed]
    behind = [abs(mine[issue] - came[issue]) - abs(believed[issue] - came[issue]) for issue in both]
    return Standing(
        source=source,
        n=len(mine),
        mae=_mean([abs(points - came[issue]) for issue, points in mine.items()]),
        bias=_mean([points - came[issue] for issue, points in mine.items()]),
        accuracy=_mean([(points >= GAIN) == (came[issue] >= GAIN) for issue, points in mine.items()]),
        behind=_mean_of_any(behind),
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6)


def _mean_of_any(values: Sequence[float]) -> float | None:
    return _mean(values) if values else None
