"""The ensemble: its members' opinions weighted by what they were worth on days none had learned from, calibrated, with
an interval for the return; or an abstention, and why.

What is served is learned in two steps. The members learn from the training span. Then `fit_weights` learns from the
validation span behind it: the weights (on the simplex, of the least log loss), the calibration, the interval and how
far members usually lie apart; and from the training span what range the features had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

from market import calibration
from market.bounds import RULERS, Interval, Range
from market.calibration import LEAST, NO_CALIBRATION, Calibration
from market.errors import BadPayload, BadValue
from market.labels import HORIZONS, Label, Labels
from market.models.examples import Examples, Ints64
from market.models.heuristic import Heuristic
from market.models.model import Model, Probabilities, Related, Targets, learnable
from market.predictions import PREDICTION, Abstained, Predictions
from market.sessions import DAY, MINUTE

KINDS: dict[str, str] = {
    "heuristic": "market.models.heuristic:Heuristic",
    "linear": "market.models.linear:Linear",
    "xgboost": "market.models.boosted:Boosted",
    "lstm": "market.models.lstm:Lstm",
    "transformer": "market.models.transformer:Transformer",
    "gnn": "market.models.gnn:Gnn",
}
"""Where each kind of model stands; loaded when it is asked for, as some bring torch."""

FORMAT = 1
MANIFEST = "manifest.json"

AGES = {name: 3 * MINUTE if minutes else 5 * DAY for name, minutes in HORIZONS.items()}
"""By horizon, ns after a decision from which on it may not be acted on: a minute and its delays, a long weekend."""

FAR_APART, LEAST_BOUND = 0.99, 0.05
"""The share of validation rows whose spread is ordinary, and the least bound on it."""

MOST_MEMBERS = 8
"""A prediction has as many bits for those who were silent."""
ALONE = "too few of the instrument's neighbours are known at this moment"
UNTOLD = "what it needs is not known at this moment"

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Ensemble:
    """Members for one horizon by name, and what `fit_weights` has learned of them.

    `weights`: by name, sum 1; `bound`: the greatest spread that is no disagreement; `age`: ns after which a decision is
    stale. Members without training weigh the same, uncalibrated, and their interval is unknown.
    """

    def __init__(self, horizon: str, members: Mapping[str, Model], age: int | None = None) -> None:
        if horizon not in HORIZONS:
            raise BadValue("horizon", horizon, f"one of {', '.join(HORIZONS)}")
        alien = sorted(name for name, member in members.items() if member.horizon != horizon)
        if alien or not 1 <= len(members) <= MOST_MEMBERS:
            raise BadValue("members", alien or len(members), f"1 to {MOST_MEMBERS} for a horizon of {horizon}")
        self.horizon, self.members = horizon, dict(members)
        self.age = AGES[horizon] if age is None else age
        self.weights = {name: 1 / len(members) for name in members}
        self.calibration: Calibration = NO_CALIBRATION
        self.range = Range((), np.zeros(0), np.zeros(0))
        self.interval: Interval | None = None
        self.bound = 1.0

    def fit_weights(self, held: Examples, targets: Targets, returns: Floats, seen: Examples) -> None:
        """Learn how the fitted members go together.

        `held`: the validation span, oldest first, with the labels and log `returns`, (n,), of each; `seen`: what the
        members were fitted on. Raises BadValue: nothing in `held` has a label and an answer.
        """
        rows = learnable(held, targets, self.horizon)
        labels, returns = targets[self.horizon][rows], returns[rows]
        opinions = self._opinions(held)[:, rows]  # of all: to a graph the others of a moment count too
        answered = np.isfinite(opinions).all(axis=2).any(axis=0)
        if not answered.any():
            raise BadValue("held", held.rows, "give validation rows that have labels and that some member answers")
        opinions, labels, returns = opinions[:, answered], labels[answered], returns[answered]
        judged = held.take(rows[answered])
        self.weights = dict(zip(self.members, _weights(opinions, labels).tolist(), strict=True))
        pooled, spread = _pooled(opinions, self._weights())
        self.bound = max(float(np.quantile(spread[np.isfinite(spread)], FAR_APART)), LEAST_BOUND)
        self.calibration = calibration.fit(pooled, labels)
        known = np.isfinite(pooled).all(axis=1) & np.isfinite(returns)
        self.interval = Interval.of(
            self.calibration.apply(pooled[known]), returns[known], judged.take(known), RULERS[self.horizon]
        )
        self.range = Range.of(seen)

    def predict(self, examples: Examples, now: int | None = None) -> Predictions:
        """`PREDICTION` rows, (n,). `now`, ns UTC, tells what is stale; without it nothing is.

        Raises BadValue: the examples lack a feature that was learned from.
        """
        opinions, weights = self._opinions(examples), self._weights()
        pooled, spread = _pooled(opinions, weights)
        p = self.calibration.apply(pooled)
        out = self._told(examples, now, p, spread)
        out["silent"] = np.where(out["abstained"] == Abstained.UNKNOWN, 0, _silent(opinions, weights > 0))
        return self._bounded(out, examples, p)

    def consulted(
        self, examples: Examples, rows: Predictions, opinions: Sequence[tuple[float, Floats]], now: int | None = None
    ) -> Predictions:
        """What `predict` answered, (n,) rows, with opinions of others beside its own: each a weight and the
        probabilities of DOWN, FLAT and UP, (n, 3). Ours has the weight that they leave of 1.

        They are members like ours: who lies too far apart makes it abstain. A row that abstained stays as it was.
        """
        own = np.stack([rows[name] for name in ("p_down", "p_flat", "p_up")], axis=1).astype(np.float64)
        said = np.stack([own, *(p for _, p in opinions)])
        shares = np.array([1 - sum(weight for weight, _ in opinions), *(weight for weight, _ in opinions)])
        p, between = _pooled(said.astype(np.float32), shares)
        spread = np.sqrt(between**2 + shares[0] * rows["spread"].astype(np.float64) ** 2)
        out = self._told(examples, now, p, spread)
        out["silent"] = rows["silent"]
        out = self._bounded(out, examples, p)
        return np.where(rows["abstained"] == Abstained.NO, out, rows)

    def predict_by(self, name: str, examples: Examples, now: int | None = None) -> Predictions:
        """The same by one member as it is, uncalibrated and without an interval. Raises BadValue: no such member."""
        if name not in self.members:
            raise BadValue("engine", name, f"one of {', '.join(self.members)}")
        p = self.members[name].predict(examples).astype(np.float64)
        out = self._told(examples, now, p, np.where(np.isfinite(p).all(axis=1), 0.0, np.nan))
        there = np.array([name == one for one in self.members])
        silent = _silent(np.where(there[:, None, None], p[None], np.nan), there)
        out["silent"] = np.where(out["abstained"] == Abstained.UNKNOWN, 0, silent)
        return out

    def neighbours(self, instruments: Ints64, name: str | None = None) -> Ints64:
        """The places, ascending, of all instruments whose examples of a moment count for the answers about these, (k,),
        these among them: to all members that have a weight, or to the one that is named.
        """
        asked = [one for one, weight in self.weights.items() if weight > 0] if name is None else [name]
        members = [self.members[one] for one in asked if one in self.members]
        found = [one.neighbours(instruments) for one in members if isinstance(one, Related)]
        return np.unique(np.concatenate([instruments, *found])).astype(np.int64)

    def silences(self, silent: int) -> list[str]:
        """What a reader is told of the members that could not answer, by the bits of `silent`."""
        return [
            f"{name} says nothing: {ALONE if isinstance(member, Related) else UNTOLD}"
            for place, (name, member) in enumerate(self.members.items())
            if silent >> place & 1
        ]

    def save(self) -> dict[str, bytes]:
        """File name to content: the members', and a manifest that names each with its digest."""
        files = {f"{name}.model": member.save() for name, member in self.members.items()}
        manifest = {
            "format": FORMAT,
            "horizon": self.horizon,
            "age": self.age,
            "members": [
                {
                    "name": name,
                    "kind": member.kind,
                    "weight": self.weights[name],
                    "sha256": hashlib.sha256(files[f"{name}.model"]).hexdigest(),
                }
                for name, member in self.members.items()
            ],
            "calibration": self.calibration.told(),
            "range": self.range.told(),
            "interval": None if self.interval is None else self.interval.told(),
            "bound": self.bound,
        }
        return {MANIFEST: orjson.dumps(manifest, option=orjson.OPT_INDENT_2), **files}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The ensemble that was saved. Raises BadPayload: a file is missing, damaged, or of another format."""
        manifest = files.get(MANIFEST, b"")
        try:
            told = orjson.loads(manifest)
            if told["format"] != FORMAT:
                raise ValueError(f"format {told['format']!r}, and this release reads {FORMAT}; retrain the model")
            members = {one["name"]: _member(one, files) for one in told["members"]}
            made = cls(told["horizon"], members, told["age"])
            made.weights = _checked_weights({one["name"]: one["weight"] for one in told["members"]})
            made.calibration = Calibration.of(told["calibration"])
            made.range, made.bound = Range.again(told["range"]), float(told["bound"])
            made.interval = None if told["interval"] is None else Interval.again(told["interval"])
        except (ValueError, KeyError, TypeError, AttributeError, BadValue) as e:
            raise BadPayload("ensemble", manifest, f"{MANIFEST}: {type(e).__name__}: {e}") from e
        return made

    def _bounded(self, out: Predictions, examples: Examples, p: Floats) -> Predictions:
        if self.interval is not None:
            low, high = self.interval.around(p, examples)
            told = out["abstained"] == Abstained.NO
            out["low"][told], out["high"][told] = low[told], high[told]
        return out

    def _opinions(self, examples: Examples) -> Probabilities:
        return np.stack([member.predict(examples) for member in self.members.values()])

    def _weights(self) -> Floats:
        return np.array([self.weights[name] for name in self.members])

    def _told(self, examples: Examples, now: int | None, p: Floats, spread: Floats) -> Predictions:
        out = np.zeros(examples.rows, PREDICTION)
        out["instrument"], out["at"] = examples.instrument, examples.at
        why = np.select(
            [
                ~np.isfinite(examples.features).any(axis=1),
                np.full(examples.rows, False) if now is None else now - examples.at > self.age,
                self.range.left(examples),
                ~np.isfinite(p).all(axis=1),
                spread > self.bound,
            ],
            [
                Abstained.UNKNOWN,
                Abstained.STALE,
                Abstained.OUT_OF_RANGE,
                Abstained.NO_MODEL,
                Abstained.DISAGREEMENT,
            ],
            Abstained.NO,
        )
        out["abstained"] = why
        prediction = p[:, Label.UP] + p[:, Label.FLAT] / 2
        numbers = {
            "p_down": p[:, Label.DOWN],
            "p_flat": p[:, Label.FLAT],
            "p_up": p[:, Label.UP],
            "prediction": prediction,
            "confidence": 2 * np.abs(prediction - 0.5),
            "spread": spread,
        }
        for name, values in numbers.items():
            out[name] = np.where(why == Abstained.NO, values, np.nan)
        out["low"] = out["high"] = np.nan
        return out


def heuristic_ensemble(horizon: str) -> Ensemble:
    """What is served while no model is registered: the seed's rules, which learned nothing and know no interval."""
    return Ensemble(horizon, {"heuristic": Heuristic(horizon)})


def kind_of(kind: str) -> type[Model]:
    """The class of a kind. Raises BadValue."""
    if kind not in KINDS:
        raise BadValue("kind", kind, f"one of {', '.join(KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    found: type[Model] = getattr(import_module(module), name)
    return found


def _pooled(opinions: Probabilities, weights: Floats) -> tuple[Floats, Floats]:
    """Of (m, n, 3) the weighted mean over the members that answered, (n, 3), and the spread of their predictions, (n,);
    NaN where none with a weight did.
    """
    there: Flags = np.asarray(np.isfinite(opinions).all(axis=2))
    share = weights[:, None] * there
    total = share.sum(axis=0)
    share = np.divide(share, total, out=np.full(share.shape, np.nan), where=total > 0)
    known = np.where(there[:, :, None], opinions, 0.0).astype(np.float64)
    pooled = np.einsum("mn,mnk->nk", share, known)
    predictions = known[:, :, Label.UP] + known[:, :, Label.FLAT] / 2
    mean = pooled[:, Label.UP] + pooled[:, Label.FLAT] / 2
    return pooled, np.sqrt((share * (predictions - mean) ** 2).sum(axis=0))


def _silent(opinions: Probabilities, asked: Flags) -> npt.NDArray[np.uint8]:
    """The bits of the asked members, (m,), that have no answer among (m, n, 3), (n,)."""
    missing = asked[:, None] & ~np.isfinite(opinions).all(axis=2)
    return np.asarray((missing << np.arange(len(asked))[:, None]).sum(axis=0).astype(np.uint8))


def _weights(opinions: Probabilities, labels: Labels) -> Floats:
    """Of (m, n, 3) and labels, (n,), the weights on the simplex of the least log loss, (m,)."""
    from scipy.optimize import minimize

    members = len(opinions)
    there = np.isfinite(opinions).all(axis=2).astype(np.float64)
    given = np.maximum(opinions[:, np.arange(len(labels)), labels].astype(np.float64), LEAST)
    given = np.where(there > 0, given, 0.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        weights = np.maximum(weights, 1e-9)
        hit, total = weights @ given, weights @ there
        slope = given / hit - there / total
        return float(-np.log(hit / total).mean()), -slope.mean(axis=1)

    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(members)},
    )
    best: Floats = np.where((found.x > 1e-3) & (there.sum(axis=1) > 0), found.x, 0.0)
    if not best.sum() > 0:
        best = (there.sum(axis=1) > 0).astype(np.float64)
    return np.asarray(np.round(best / best.sum(), 6))


def _member(told: Mapping[str, Any], files: Mapping[str, bytes]) -> Model:
    data = files[f"{told['name']}.model"]
    if hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise ValueError(f"{told['name']}.model is not what was saved")
    return kind_of(told["kind"]).load(data)


def _checked_weights(weights: dict[str, float]) -> dict[str, float]:
    if not all(weight >= 0 for weight in weights.values()) or abs(sum(weights.values()) - 1) > 1e-3:
        raise ValueError("the weights do not sum to 1")
    return weights
