"""Walk-forward: what each model said of each issue when it could have been asked, and what that was worth.

Month by month, by the day of the decision, every model is fitted anew on what was listed before the month; so what is
learnt from their own past, the weights of ours by segment, the intervals, and whether ours may be served, is learnt
from misses that were made out of sample. Ours is a mean of its members by those misses, and the premium is one of them:
where nothing has shown to be better, that is what is left. The gate is hard: ours is served in a month if it missed by
less than the premium alone before it, and a bootstrap says so; else the premium is. A row whose outcome is not known
yet is predicted like any other, and nothing is learnt from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.ipo.examples import MAINBOARD, SEGMENTS, Decision, Examples, Floats, Tables, examples, gains
from market.ipo.intervals import BOUNDS, COVERED, adapted, bounds, recency
from market.ipo.models import COMPETITORS, FEW, GMP, MEMBERS, Model, capped, scale
from market.records import Record

OURS = "ours"
SERVED = "served"

Mask = npt.NDArray[np.bool_]

EVIDENCE = 0.75
"""Share of the bootstrap's draws in which ours must have missed by less."""

DRAWS = 1000
SEED = 7


class Task(StrEnum):
    """What is predicted: the mainboard's first trade on the eve of listing, and when the issue closes; every segment's
    close of the listing day, on the eve.
    """

    OPEN = "open"
    CLOSE_OF_ISSUE = "close_of_issue"
    ALL = "all"


class Gate(Record):
    """What is served in a month and why. `month`: its first day; `n`: the misses it rests on; `better`: by how much
    ours missed less than the premium alone, in the scale of the premium; `p_better`: share of draws in which it did;
    `weights`: of the members of ours, by segment.
    """

    month: date
    served: str
    n: int
    better: float | None
    p_better: float | None
    weights: Mapping[str, Mapping[str, float]]


class Expectation(Record):
    """What is answered of an issue: points of the issue price; `model`: whose words, of the month's `Gate`. Without an
    interval and probabilities where too little has been missed to tell.
    """

    issue: str
    task: Task
    model: str
    decided: date
    gmp_points: float
    predicted_points: float
    low_points: float | None
    high_points: float | None
    p_gain_10: float | None
    p_loss: float | None
    gate: Gate


class Walk(NamedTuple):
    """What was said of each row, (n,): `models`, k of them, OURS and SERVED last; `said` (n, k) points; `bounds` (n, k)
    `BOUNDS`; `came` (n,) points, NaN where not known; a `Gate` for every month with a row.
    """

    rows: Examples
    came: Floats
    models: tuple[str, ...]
    said: Floats
    bounds: npt.NDArray[np.void]
    gates: tuple[Gate, ...]


def rows_of(tables: Tables, task: Task) -> tuple[Examples, Floats]:
    """The examples of a task that have a premium, (n,), and what came of them, points of the issue price, (n,)."""
    rows = examples(tables, Decision.CLOSING if task is Task.CLOSE_OF_ISSUE else Decision.EVE)
    rows = rows[np.isfinite(rows["gmp_points"])]
    if task is not Task.ALL:
        rows = rows[rows["sme"] == SEGMENTS.index(MAINBOARD)]
    return rows, gains(tables, rows, close=task is Task.ALL)


def walk(rows: Examples, came: Floats, close: bool = False, competitors: Mapping[str, Model] = COMPETITORS) -> Walk:
    """Say of every row, (n,), by day of decision, with a premium, what could be said. `close`: of the listing day's
    close, not the first trade; `competitors`: which to compare with, GMP is always among them.
    """
    rivals = {GMP: COMPETITORS[GMP]} | dict(competitors)
    said, members = np.full((len(rows), len(rivals) + 2), np.nan), np.full((len(rows), len(MEMBERS)), np.nan)
    spans = np.zeros(said.shape, BOUNDS)
    fitted, known = np.zeros(len(rows), np.bool_), np.isfinite(came)
    sizes, months = scale(rows), rows["decided"].astype("datetime64[D]").astype("datetime64[M]")
    gates, left_out = [], np.full(said.shape[1], 1 - COVERED)
    judged = np.zeros(len(rows), np.bool_)
    for month in np.unique(months):
        first = int(month.astype("datetime64[D]").astype(np.int64))
        asked, before = months == month, known & (rows["listed"] < first)
        past = fitted & before
        left_out = _left_out(left_out, spans[past & ~judged], came[past & ~judged])
        judged |= past
        learnt = before if before.sum() >= FEW else np.zeros(len(rows), np.bool_)
        fitted[asked] = learnt.any()
        for k, model in enumerate(rivals.values()):
            said[asked, k] = _say(model, rows, came, learnt, asked)
        for k, model in enumerate(MEMBERS.values()):
            members[asked, k] = capped(_say(model, rows, came, learnt, asked), rows[asked], close)
        told = {}
        for sme, segment in enumerate(SEGMENTS):
            own, wanted = past & (rows["sme"] == sme), asked & (rows["sme"] == sme)
            weights = _weights(members[own], came[own], sizes[own])
            said[wanted, -2] = members[wanted] @ weights
            told[segment] = {name: round(float(one), 6) for name, one in zip(MEMBERS, weights, strict=True)}
        gate = _gate(month.item(), said[past], came[past], sizes[past], told)
        gates.append(gate)
        said[asked, -1] = said[asked, -2 if gate.served == OURS else 0]
        for k in range(said.shape[1]):
            misses = ((came - said[:, k]) / sizes)[past]
            spans[asked, k] = bounds(said[asked, k], sizes[asked], misses, left_out[k])
    return Walk(rows, came, (*rivals, OURS, SERVED), said, spans, tuple(gates))


def expectations(tables: Tables, task: Task, walked: Walk) -> list[Expectation]:
    """What was answered of each row of a task's walk, or is where its outcome is not known yet; by day of decision."""
    gates = {gate.month: gate for gate in walked.gates}
    found = []
    for k, row in enumerate(walked.rows):
        decided = row["decided"].astype("datetime64[D]").item()
        gate = gates[decided.replace(day=1)]
        told = {name: _known(walked.bounds[name][k, -1]) for name in BOUNDS.names or ()}
        one = Expectation(
            issue=str(tables.issues["issue"][row["row"]]),
            task=task,
            model=gate.served,
            decided=decided,
            gmp_points=float(row["gmp_points"]),
            predicted_points=float(walked.said[k, -1]),
            gate=gate,
            **told,
        )
        found.append(one)
    return found


def _known(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None


def _say(model: Model, rows: Examples, came: Floats, learnt: Mask, asked: Mask) -> Floats:
    if not learnt.any():
        return COMPETITORS[GMP](rows[learnt], came[learnt], rows[asked])
    return model(rows[learnt], came[learnt], rows[asked])


def _weights(members: Floats, came: Floats, sizes: Floats) -> Floats:
    if len(came) < FEW:
        return np.asarray(np.eye(len(MEMBERS))[0])
    aged = recency(len(came))
    missed = np.abs(members - came[:, None]) / sizes[:, None]
    behind = missed - missed[:, [int(np.argmin(aged @ missed))]]
    mean = aged @ behind
    error = np.sqrt((aged**2) @ (behind - mean) ** 2)
    weights = np.exp(-mean / np.where(error > 0, error, np.inf))
    return np.asarray(weights / weights.sum())


def _gate(month: date, said: Floats, came: Floats, sizes: Floats, weights: Mapping[str, Mapping[str, float]]) -> Gate:
    if len(came) < FEW:
        return Gate(month=month, served=GMP, n=len(came), better=None, p_better=None, weights=weights)
    gap = (np.abs(said[:, 0] - came) - np.abs(said[:, -2] - came)) / sizes
    drawn = np.random.default_rng(SEED).integers(0, len(gap), (DRAWS, len(gap)))
    p_better = float((gap[drawn].mean(axis=1) > 0).mean())
    served = OURS if gap.mean() > 0 and p_better >= EVIDENCE else GMP
    better, p_better = round(float(gap.mean()), 6), round(p_better, 6)
    return Gate(month=month, served=served, n=len(came), better=better, p_better=p_better, weights=weights)


def _left_out(left_out: Floats, spans: npt.NDArray[np.void], came: Floats) -> Floats:
    told = np.isfinite(spans["low_points"])
    within = (came[:, None] >= spans["low_points"]) & (came[:, None] <= spans["high_points"])
    return np.array([adapted(float(one), within[told[:, k], k]) for k, one in enumerate(left_out)])
