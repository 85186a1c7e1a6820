"""The ensemble: weights, abstentions and their order, intervals that hold, and coming back as it was."""

import json
import subprocess
import sys

import numpy as np
import orjson
import pytest
import torch

from market.bounds import Range
from market.calibration import NO_CALIBRATION, log_loss
from market.ensemble import KINDS, MANIFEST, Ensemble, heuristic_ensemble, kind_of
from market.errors import BadPayload, BadValue
from market.features import NAMES as FEATURES
from market.labels import HORIZONS
from market.models.boosted import Boosted
from market.models.heuristic import Heuristic
from market.models.linear import Linear
from market.models.lstm import Lstm
from market.models.nets import Lesson
from market.predictions import REASONS, Abstained
from market.sessions import MINUTE
from tests.market.models.lessons import examples_of, lesson


class Told:
    """A member that says what stands in one column: p_up, what is left of it split between the others."""

    kind = "told"
    horizon = "15m"

    def __init__(self, column):
        self.column = column

    def predict(self, examples):
        up = examples.columns((self.column,))[:, 0]
        return np.stack([(1 - up) / 2, (1 - up) / 2, up], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    learn, stop = lesson(1500, 1, 0.05), lesson(500, 2, 0.05)
    members = {"linear": Linear("15m"), "xgboost": Boosted("15m", rounds=60)}
    for member in members.values():
        member.fit(*learn[:2], *stop[:2], 3)
    ensemble = Ensemble("15m", members)
    ensemble.fit_weights(*lesson(2500, 4, 0.05), learn[0])
    return ensemble


def opinions(*rows, columns=("a", "b")):
    return examples_of(rows, columns)


def told(weights=None):
    ensemble = Ensemble("15m", {"a": Told("a"), "b": Told("b")})
    ensemble.weights = weights or {"a": 0.5, "b": 0.5}
    return ensemble


def test_members_count_by_their_weight_and_their_spread_is_told():
    [row] = told({"a": 0.75, "b": 0.25}).predict(opinions([0.6, 0.2]))

    # p_up = 0.75 * 0.6 + 0.25 * 0.2 = 0.5, the rest split; predictions 0.7 and 0.4, their mean 0.625.
    assert (row["p_down"], row["p_flat"], row["p_up"]) == pytest.approx((0.25, 0.25, 0.5))
    assert row["prediction"] == pytest.approx(0.625)
    assert row["confidence"] == pytest.approx(0.25)
    assert row["spread"] == pytest.approx(np.sqrt(0.75 * 0.075**2 + 0.25 * 0.225**2))
    assert np.isnan(row["low"]) and np.isnan(row["high"])


def test_a_member_that_cannot_tell_a_row_is_left_out_of_it():
    nan = np.nan

    found = told({"a": 0.75, "b": 0.25}).predict(opinions([nan, 0.2], [0.6, nan], [0.6, 0.2]))

    assert found["p_up"].tolist() == pytest.approx([0.2, 0.6, 0.5])
    assert found["spread"].tolist()[:2] == [0, 0]


def test_who_was_silent_is_told_by_name():
    nan = np.nan
    ensemble = told({"a": 0.75, "b": 0.25})

    found = ensemble.predict(opinions([nan, 0.2], [0.6, nan], [0.6, 0.2], [nan, nan]))
    alone = ensemble.predict_by("b", opinions([0.1, nan], [nan, 0.2]))
    ensemble.weights = {"a": 1.0, "b": 0.0}
    weightless = ensemble.predict(opinions([0.6, nan]))

    assert found["silent"].tolist() == [0b01, 0b10, 0, 0]  # of the last one nothing is known, and that is said
    assert alone["silent"].tolist() == [0b10, 0]
    assert weightless["silent"].tolist() == [0]
    assert ensemble.silences(0b10) == ["b says nothing: what it needs is not known at this moment"]
    assert ensemble.silences(0) == []


def test_why_it_abstains_is_told_and_the_numbers_are_not():
    nan = np.nan
    ensemble = told()
    ensemble.range = Range(("a", "b", "c"), np.full(3, -1.0), np.full(3, 2.0))
    ensemble.bound = 0.2
    rows = opinions(
        [0.5, 0.6, 0], [nan, nan, nan], [0.5, 0.6, 9], [nan, nan, 1], [0.1, 0.9, 0], columns=("a", "b", "c")
    )

    found = ensemble.predict(rows)

    assert [Abstained(why).name for why in found["abstained"]] == [
        "NO",
        "UNKNOWN",
        "OUT_OF_RANGE",
        "NO_MODEL",
        "DISAGREEMENT",
    ]
    for name in ("p_down", "p_flat", "p_up", "prediction", "confidence", "low", "high", "spread"):
        assert np.isnan(found[name][1:]).all()
    assert all(bool(REASONS[why]) == (why != Abstained.NO) for why in Abstained)


def test_opinions_of_others_count_by_their_weight_and_a_row_that_abstained_stays_so():
    ensemble, rows = told(), opinions([0.5, 0.7], [np.nan, np.nan])
    own = ensemble.predict(rows)  # predictions 0.625 and 0.775: 0.7, spread 0.075
    said = np.array([[0.5, 0.1, 0.4]] * 2)  # prediction 0.45

    found = ensemble.consulted(rows, own, [(0.2, said)])
    ensemble.bound = 0.1  # the spread is 0.12
    apart = ensemble.consulted(rows, own, [(0.2, said)])

    assert found["p_up"][0] == pytest.approx(0.8 * 0.6 + 0.2 * 0.4)
    assert found["prediction"][0] == pytest.approx(0.8 * 0.7 + 0.2 * 0.45)
    assert found["spread"][0] == pytest.approx(np.sqrt(0.8 * 0.075**2 + 0.8 * 0.05**2 + 0.2 * 0.2**2))
    assert found[1:].tobytes() == own[1:].tobytes()
    assert Abstained(apart["abstained"][0]) == Abstained.DISAGREEMENT


def test_a_decision_is_stale_after_its_age_and_never_without_a_clock():
    ensemble = told()
    rows = opinions([0.5, 0.5], [0.5, 0.5])  # of minutes 0 and 1

    found = ensemble.predict(rows, now=ensemble.age + 1)

    assert found["abstained"].tolist() == [Abstained.STALE, Abstained.NO]
    assert ensemble.predict(rows, now=ensemble.age)["abstained"].tolist() == [0, 0]
    assert ensemble.predict(rows)["abstained"].tolist() == [0, 0]
    assert ensemble.age == 3 * MINUTE
    assert Ensemble("15m", {"a": Told("a")}, age=5).predict(rows, now=6)["abstained"][0] == Abstained.STALE


def test_the_weight_goes_to_the_member_that_was_right():
    rng = np.random.default_rng(1)
    right = rng.uniform(0.1, 0.9, 2000)
    labels = np.where(rng.random(2000) < right, 2, rng.integers(0, 2, 2000)).astype(np.int8)
    rows = examples_of(np.stack([right, rng.uniform(0.1, 0.9, 2000)], axis=1), ("a", "b"))
    ensemble = told()

    ensemble.fit_weights(rows, {"15m": labels}, np.zeros(2000), rows)

    assert ensemble.weights["a"] > 0.9
    assert sum(ensemble.weights.values()) == pytest.approx(1)


def test_weights_beat_every_grain_of_the_simplex():
    rng = np.random.default_rng(2)
    chance = rng.uniform(0.2, 0.8, 3000)
    labels = np.where(rng.random(3000) < chance, 2, 0).astype(np.int8)
    noisy = np.clip(chance[:, None] + rng.normal(0, 0.25, (3000, 2)), 0.02, 0.98)
    noisy[::7, 0] = np.nan
    rows = examples_of(noisy, ("a", "b"))
    ensemble = told()

    ensemble.fit_weights(rows, {"15m": labels}, np.zeros(3000), rows)
    ensemble.calibration, ensemble.bound = NO_CALIBRATION, 1.0

    def loss(weight):
        ensemble.weights = {"a": weight, "b": 1 - weight}
        found = ensemble.predict(rows)
        return log_loss(np.stack([found[name] for name in ("p_down", "p_flat", "p_up")], axis=1), labels)

    learned = loss(ensemble.weights["a"])
    assert learned <= min(loss(weight) for weight in np.linspace(0, 1, 21)) + 1e-5


def test_a_member_that_never_answers_has_no_weight_and_none_at_all_is_an_error():
    _, targets, returns = lesson(300, 1)
    blind = examples_of(np.column_stack([np.full(300, 0.4), np.full(300, np.nan)]), ("a", "b"))
    ensemble = told()

    ensemble.fit_weights(blind, targets, returns, blind)

    assert ensemble.weights == {"a": 1.0, "b": 0.0}
    with pytest.raises(BadValue, match="held"):
        told().fit_weights(blind, {"15m": np.full(300, -1, np.int8)}, returns, blind)


def test_a_fitted_ensemble_is_better_than_its_members_and_its_interval_holds(fitted):
    examples, targets, returns = lesson(3000, 5, 0.05)

    found = fitted.predict(examples)

    told = found["abstained"] == Abstained.NO
    p = np.stack([found[name] for name in ("p_down", "p_flat", "p_up")], axis=1)[told]
    labels = targets["15m"][told]
    best = min(log_loss(m.predict(examples)[told], labels) for m in fitted.members.values())
    inside = (returns >= found["low"]) & (returns <= found["high"])
    assert told.mean() > 0.95
    assert log_loss(p, labels) < best + 0.005
    assert 0.87 < inside[told].mean() < 0.93
    assert np.corrcoef(found["low"][told], found["prediction"][told])[0, 1] > 0.5


def test_what_lies_far_outside_of_training_is_out_of_range(fitted):
    examples, _, _ = lesson(50, 6)
    examples.features[7, [0, 1]] = 40.0

    found = fitted.predict(examples)

    assert np.flatnonzero(found["abstained"] == Abstained.OUT_OF_RANGE).tolist() == [7]


def test_one_engine_answers_by_itself(fitted):
    examples, _, _ = lesson(20, 7)

    found = fitted.predict_by("linear", examples)

    assert np.array_equal(found["p_up"], fitted.members["linear"].predict(examples)[:, 2])
    assert (found["spread"] == 0).all()
    with pytest.raises(BadValue, match="linear, xgboost"):
        fitted.predict_by("oracle", examples)


def test_it_is_what_it_was_once_loaded(fitted):
    examples, _, _ = lesson(400, 8, 0.2)

    files = fitted.save()
    again = Ensemble.load(files)

    assert sorted(files) == ["linear.model", "manifest.json", "xgboost.model"]
    assert again.save() == files
    assert again.predict(examples, now=0).tobytes() == fitted.predict(examples, now=0).tobytes()


def test_a_net_goes_along_where_it_has_its_sequences():
    torch.set_num_threads(1)
    examples, targets, returns = lesson(300, 9)
    examples.sequence[:200] = np.random.default_rng(1).normal(size=(200, *examples.sequence.shape[1:]))
    lstm, linear = Lstm("15m", Lesson(rounds=1, steps=2, batch=32)), Linear("15m")
    for member in (lstm, linear):
        member.fit(examples, targets, examples, targets, 1)
    ensemble = Ensemble("15m", {"lstm": lstm, "linear": linear})
    ensemble.fit_weights(examples, targets, returns, examples)
    ensemble.weights, ensemble.calibration, ensemble.bound = {"lstm": 0.5, "linear": 0.5}, NO_CALIBRATION, 1.0

    found = Ensemble.load(ensemble.save()).predict(examples)

    alone = ensemble.predict_by("linear", examples)
    assert np.isnan(ensemble.predict_by("lstm", examples)["p_up"][200:]).all()
    assert np.allclose(found["p_up"][200:], alone["p_up"][200:], equal_nan=True)
    assert not np.allclose(found["p_up"][:200], alone["p_up"][:200], equal_nan=True)


def test_of_no_examples_there_are_no_predictions(fitted):
    nothing = lesson(3, 1)[0].take(slice(0, 0))

    assert fitted.predict(nothing, now=0).shape == (0,)
    assert heuristic_ensemble("1d").predict(examples_of(np.zeros((0, len(FEATURES))), FEATURES)).shape == (0,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 2"),
        ({"horizon": "7m"}, "horizon"),
        ({"members": []}, "members"),
        ({"bound": "wide"}, "could not convert"),
        ({"interval": {"ruler": "", "usual": 1, "calm": [], "lean": [[]], "low": [[1]], "high": [[None]]}}, "interval"),
        ({"range": {"names": ["a"], "low": [1], "high": [0]}}, "range"),
        ({"calibration": {"method": "magic", "x": [], "y": []}}, "magic"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(fitted, change, reason):
    files = fitted.save()
    manifest = orjson.loads(files[MANIFEST]) | change

    with pytest.raises(BadPayload, match=reason):
        Ensemble.load(files | {MANIFEST: json.dumps(manifest).encode()})


def test_a_file_that_is_missing_or_damaged_is_refused(fitted):
    files = fitted.save()

    for broken in (
        {},
        {MANIFEST: b"garbage"},
        {MANIFEST: files[MANIFEST]},
        files | {"linear.model": files["linear.model"][:-1]},
        files | {"linear.model": files["xgboost.model"]},
    ):
        with pytest.raises(BadPayload):
            Ensemble.load(broken)


@pytest.mark.parametrize("horizon", list(HORIZONS))
def test_the_heuristic_serves_while_no_model_is_registered(horizon):
    rows = examples_of(np.full((3, len(FEATURES)), 0.5), FEATURES)
    rows.features[1] = np.nan
    rows.features[2, [FEATURES.index(name) for name in Heuristic(horizon).names[:1]]] = np.nan

    ensemble = Ensemble.load(heuristic_ensemble(horizon).save())
    found = ensemble.predict(rows)

    # MACD above 0, averages equal: 0.5 + 0.15 - 0.15.
    assert found["prediction"][0] == pytest.approx(0.5)
    assert found["abstained"].tolist() == [Abstained.NO, Abstained.UNKNOWN, Abstained.NO_MODEL]


def test_members_of_another_horizon_and_unknown_kinds_are_refused():
    with pytest.raises(BadValue, match="5m"):
        Ensemble("5m", {"linear": Linear("15m")})
    with pytest.raises(BadValue, match="heuristic, linear"):
        kind_of("oracle")


def test_kinds_are_loaded_when_asked_for_so_that_no_net_costs_torch():
    code = (
        "import sys; from market import ensemble; made = ensemble.heuristic_ensemble('15m');"
        "ensemble.Ensemble.load(made.save()); ensemble.kind_of('linear'); ensemble.kind_of('xgboost');"
        "print([name for name in ('torch', 'xgboost', 'sklearn', 'scipy', 'pandas') if name in sys.modules])"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_stands_where_its_table_says(kind):
    assert kind_of(kind).kind == kind
