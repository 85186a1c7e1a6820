"""What linear and boosted models share: they learn what is there, alike each time, and come back as they were."""

import numpy as np
import pytest

from market.calibration import log_loss
from market.errors import BadPayload, BadValue
from market.labels import UNKNOWN_LABEL
from market.models.boosted import Boosted
from market.models.linear import Linear
from tests.market.models.lessons import NAMES, examples_of, lesson

KINDS = [Linear, Boosted]


def fitted(kind, seed=3, gaps=0.1):
    model = kind("15m", rounds=60) if kind is Boosted else kind("15m")
    model.fit(*lesson(1500, 1, gaps)[:2], *lesson(500, 2, gaps)[:2], seed)
    return model


@pytest.fixture(scope="module")
def models():
    return {kind: fitted(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_more_than_how_often_each_outcome_comes(models, kind):
    examples, targets, _ = lesson(2000, 5, 0.1)
    shares = np.bincount(lesson(1500, 1)[1]["15m"], minlength=3) / 1500

    p = models[kind].predict(examples)

    assert p.sum(axis=1) == pytest.approx(np.ones(2000), abs=1e-5)
    assert log_loss(p, targets["15m"]) < log_loss(np.tile(shares, (2000, 1)), targets["15m"]) - 0.02


def test_trees_find_what_no_line_can(models):
    examples, targets, _ = lesson(2000, 5)

    loss = {kind: log_loss(models[kind].predict(examples), targets["15m"]) for kind in KINDS}

    assert loss[Boosted] < loss[Linear] - 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_lesson_and_seed_give_the_same_bytes(models, kind):
    assert fitted(kind).save() == models[kind].save()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_it_was_once_loaded(models, kind):
    examples, _, _ = lesson(300, 6, 0.3)

    again = kind.load(models[kind].save())

    assert (again.horizon, again.names) == ("15m", NAMES)
    assert again.save() == models[kind].save()
    assert np.array_equal(again.predict(examples), models[kind].predict(examples), equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_go_by_name_and_those_that_lack_are_named(models, kind):
    examples, _, _ = lesson(50, 7)
    turned = examples_of(examples.features[:, ::-1], NAMES[::-1])

    assert np.array_equal(models[kind].predict(turned), models[kind].predict(examples))
    with pytest.raises(BadValue, match="twisted"):
        models[kind].predict(examples_of(np.zeros((2, 4)), tuple(name for name in NAMES if name != "twisted")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_which_nothing_is_known_is_not_answered(models, kind):
    features = np.full((2, len(NAMES)), np.nan)
    features[1, 0] = 1.0

    p = models[kind].predict(examples_of(features))

    assert np.isnan(p[0]).all()
    assert np.isfinite(p[1]).all()
    assert models[kind].predict(examples_of(np.zeros((0, len(NAMES))))).shape == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_infinite_is_not_known(kind):
    examples, targets, _ = lesson(300, 1)
    wrong, lacking = examples.features.copy(), examples.features.copy()
    wrong[::9, 0], lacking[::9, 0] = np.inf, np.nan
    models = [kind("15m"), kind("15m")]

    for model, features in zip(models, (wrong, lacking), strict=True):
        model.fit(examples_of(features), targets, examples_of(features), targets, 1)

    assert models[0].save() == models[1].save()
    assert np.array_equal(models[0].predict(examples_of(wrong)), models[1].predict(examples_of(lacking)))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_label_or_a_feature_teach_nothing(models, kind):
    examples, targets, _ = lesson(1500, 1, 0.1)
    more, _, _ = lesson(100, 9)
    blank = examples_of(np.full((100, len(NAMES)), np.nan))
    features = np.concatenate([examples.features, more.features, blank.features])
    labels = np.concatenate([targets["15m"], np.full(100, UNKNOWN_LABEL), np.zeros(100)]).astype(np.int8)
    model = kind("15m", rounds=60) if kind is Boosted else kind("15m")

    model.fit(examples_of(features), {"15m": labels}, *lesson(500, 2, 0.1)[:2], 3)

    assert model.save() == models[kind].save()


@pytest.mark.parametrize("kind", KINDS)
def test_there_must_be_something_to_learn(kind):
    examples, targets, _ = lesson(50, 1)

    with pytest.raises(BadValue, match="two outcomes"):
        kind("15m").fit(examples, {"15m": np.ones(50, np.int8)}, examples, targets, 1)
    with pytest.raises(BadValue, match="labels of 15m"):
        kind("15m").fit(examples, {"5m": targets["15m"]}, examples, targets, 1)
    with pytest.raises(BadValue, match="fit or load"):
        kind("15m").predict(examples)


@pytest.mark.parametrize("kind", KINDS)
def test_an_outcome_never_seen_is_hardly_expected_and_no_held_row_is_needed(kind):
    examples, targets, _ = lesson(600, 1)
    labels = np.where(targets["15m"] == 0, 1, targets["15m"]).astype(np.int8)
    model = kind("15m")

    model.fit(examples, {"15m": labels}, examples.take(slice(0, 0)), {"15m": labels[:0]}, 1)

    p = model.predict(examples)
    assert p[:, 0].max() < 0.01
    assert log_loss(p, labels) < np.log(2)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_no_model(models, kind):
    data = models[kind].save()
    cuts = [data[:cut] for cut in range(0, len(data), max(len(data) // 40, 1))]

    for garbage in [*cuts, b"{", b"PK\x03\x04", data[::-1], models[KINDS[KINDS.index(kind) - 1]].save()]:
        with pytest.raises(BadPayload):
            kind.load(garbage)


def test_one_wild_number_does_not_break_a_line(models):
    examples, _, _ = lesson(50, 7)
    wild = examples.features.copy()
    wild[:, 0] = 1e30

    assert models[Linear].predict(examples_of(wild)).sum(axis=1) == pytest.approx(np.ones(50), abs=1e-5)


def test_daily_columns_alone_are_enough():
    examples, targets, _ = lesson(400, 1)
    daily = examples_of(examples.features[:, :2], ("return_5_1d", "rsi_14_1d"))
    model = Linear("15m")

    model.fit(daily, targets, daily, targets, 1)

    assert model.names == ("return_5_1d", "rsi_14_1d")
    assert np.isfinite(model.predict(daily)).all()
