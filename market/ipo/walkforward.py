"""Walk-forward: what each model said of each issue when it could have been asked, and what that was worth.

Month by month, by the day of the decision, every model is fitted anew on what was listed before the month; so what is
learnt from their own past, the weights of ours by segment, the intervals, and whether ours may be served, is learnt
from misses that were made out of sample. Ours is a mean of its members by those misses, and the premium is one of them:
where nothing has shown to be better, that is what is left. The gate is hard: ours is served in a month if it missed by
less than the premium alone before it, and a bootstrap says so; else the premium is, or what an SME issue can gain at
most. A row whose outcome is not known yet is predicted like any other, and nothing is learnt from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.ipo.examples import EXAMPLE, MAINBOARD, SEGMENTS, Decision, Examples, Floats, Tables, examples, gains
from market.ipo.intervals import BOUNDS, COVERED, adapted, bounds, recency, scales
from market.ipo.models import COMPETITORS, FEW, GMP, MEMBERS, Model, capped, scale
from market.records import Record

OURS = "ours"
SERVED = "served"

Mask = npt.NDArray[np.bool_]

EVIDENCE = 0.75
"""Share of the bootstrap's draws in which ours must have missed by less."""

SHARPNESS = 2.0
"""By e to the power of this a member's weight falls with every standard error by which it is behind the best."""

DRAWS = 1000
SEED = 7
VALUES = tuple(name for name in EXAMPLE.names or () if name != "row")
"""Of a row, whatever its place among the issues."""


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


class Month(NamedTuple):
    """What was said in one month of the rows asked for, (m,), and what the next goes on from: `members` (m, j), `said`
    (m, k) points, `spans` (m, k) `BOUNDS`, `left_out` (k,) shares; `fitted`: whether anything had been learnt.
    """

    members: Floats
    said: Floats
    spans: npt.NDArray[np.void]
    left_out: Floats
    gate: Gate
    fitted: bool

    def plain(self) -> dict[str, Any]:
        """As plain values, of which `month` makes it again; None for what is NaN."""
        spans = np.stack([self.spans[name] for name in BOUNDS.names or ()], axis=-1)
        arrays = {"members": self.members, "said": self.said, "spans": spans, "left_out": self.left_out}
        told = {name: np.where(np.isnan(one), np.array(None), one).tolist() for name, one in arrays.items()}
        return told | {"gate": self.gate.model_dump(mode="json"), "fitted": self.fitted}


Memory = dict[str, Month]
"""Months by the digest of all that is said in them rests on: what had come before, and what was asked."""


def month(plain: Mapping[str, Any]) -> Month:
    """The month of which `plain` gave the values. Raises BadValue."""
    try:
        members, said, spans, left_out = (
            np.array(plain[name], np.float64) for name in ("members", "said", "spans", "left_out")
        )
        whole = np.ascontiguousarray(spans).view(BOUNDS)[..., 0]
        return Month(members, said, whole, left_out, Gate.model_validate(plain["gate"]), bool(plain["fitted"]))
    except (KeyError, TypeError, ValueError) as e:
        raise BadValue("month", type(plain).__name__, f"what Month.plain gave: {e}") from e


def rows_of(tables: Tables, task: Task) -> tuple[Examples, Floats]:
    """The examples of a task that have a premium, (n,), and what came of them, points of the issue price, (n,)."""
    rows = examples(tables, Decision.CLOSING if task is Task.CLOSE_OF_ISSUE else Decision.EVE)
    rows = rows[np.isfinite(rows["gmp_points"])]
    if task is not Task.ALL:
        rows = rows[rows["sme"] == SEGMENTS.index(MAINBOARD)]
    return rows, gains(tables, rows, close=task is Task.ALL)


def walk(
    rows: Examples,
    came: Floats,
    close: bool = False,
    competitors: Mapping[str, Model] = COMPETITORS,
    memory: Memory | None = None,
) -> Walk:
    """Say of every row, (n,), by day of decision, with a premium, what could be said. `close`: of the listing day's
    close, not the first trade; `competitors`: which to compare with, GMP is always among them; `memory`: of a walk
    before this one, whose months are not walked again where they rest on the same; this walk's are put in their place.
    """
    walking = _Walking(rows, came, close, {GMP: COMPETITORS[GMP]} | dict(competitors))
    found: Memory = {}
    for month in np.unique(walking.months):
        key, asked = walking.turn(month)
        had = None if memory is None else memory.get(key)
        found[key] = walking.step(month.item(), asked) if had is None else had
        walking.take(found[key], asked)
    if memory is not None:
        memory.clear()
        memory.update(found)
    gates = tuple(month.gate for month in found.values())
    return Walk(rows, came, walking.models, walking.said, walking.spans, gates)


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


class _Walking:
    """How far a walk has come."""

    def __init__(self, rows: Examples, came: Floats, close: bool, rivals: Mapping[str, Model]) -> None:
        self._rows, self._came, self._close, self._rivals = rows, came, close, rivals
        self.models = (*rivals, OURS, SERVED)
        self.months = rows["decided"].astype("datetime64[D]").astype("datetime64[M]")
        self.said = np.full((len(rows), len(self.models)), np.nan)
        self.spans = np.zeros(self.said.shape, BOUNDS)
        self._members = np.full((len(rows), len(MEMBERS)), np.nan)
        self._sizes, self._outcome = scale(rows), np.isfinite(came)
        self._fitted, self._judged, self._before = np.zeros((3, len(rows)), np.bool_)
        self._left_out = np.full(self.said.shape[1], 1 - COVERED)
        self._values = np.column_stack([rows[name].astype(np.float64) for name in VALUES] + [came])
        self._key = sha256(f"{close} {self.models}".encode()).digest()

    def turn(self, month: np.datetime64) -> tuple[str, Mask]:
        """Begin a month: by what all that is said in it is known, and which rows are asked for."""
        first = int(month.astype("datetime64[D]").astype(np.int64))
        asked, self._before = self.months == month, self._outcome & (self._rows["listed"] < first)
        rests_on = self._values[self._before].tobytes() + self._values[asked, :-1].tobytes()
        self._key = sha256(self._key + first.to_bytes(8, "big", signed=True) + rests_on).digest()
        return self._key.hex(), asked

    def step(self, month: date, asked: Mask) -> Month:
        """Say of the rows of a month what can be said."""
        rows, came, before = self._rows, self._came, self._before
        past, sizes, heights = self._fitted & before, self._sizes, np.abs(rows["gmp_points"])
        fresh = past & ~self._judged
        left_out = _left_out(self._left_out, self.spans[fresh], came[fresh])
        learnt = before if before.sum() >= FEW else np.zeros(len(rows), np.bool_)
        said, members = self.said.copy(), self._members
        for k, model in enumerate(self._rivals.values()):
            said[asked, k] = _say(model, rows, came, learnt, asked)
        for k, model in enumerate(MEMBERS.values()):
            members[asked, k] = capped(_say(model, rows, came, learnt, asked), rows[asked], self._close)
        told = {}
        for sme, segment in enumerate(SEGMENTS):
            own, wanted = past & (rows["sme"] == sme), asked & (rows["sme"] == sme)
            weights = _weights(members[own], came[own], sizes[own])
            said[wanted, -2] = members[wanted] @ weights
            told[segment] = {name: round(float(one), 6) for name, one in zip(MEMBERS, weights, strict=True)}
        gate = _gate(month, said[past], came[past], sizes[past], told)
        said[asked, -1] = capped(said[asked, -2 if gate.served == OURS else 0], rows[asked], self._close)
        spans = np.zeros((int(asked.sum()), said.shape[1]), BOUNDS)
        for k in range(said.shape[1]):
            missed = (came - said[:, k])[past]
            wide, narrow = (scales(heights[of], heights[past], np.abs(missed)) for of in (asked, past))
            spans[:, k] = bounds(said[asked, k], wide, missed / narrow, left_out[k])
        return Month(members[asked], said[asked], spans, left_out, gate, bool(learnt.any()))

    def take(self, month: Month, asked: Mask) -> None:
        """Go on from what was said in a month."""
        self._judged |= self._fitted & self._before
        self._members[asked], self.said[asked], self.spans[asked] = month.members, month.said, month.spans
        self._left_out, self._fitted[asked] = month.left_out, month.fitted


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
    weights = np.exp(-SHARPNESS * mean / np.where(error > 0, error, np.inf))
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
