"""What holds of every net: the contract of `Model`, and what it is saved as."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from market.errors import BadPayload, BadValue
from market.labels import UNKNOWN_LABEL
from market.models.examples import Examples
from market.models.gnn import Gnn
from market.models.lstm import Lstm
from market.models.model import Model
from market.models.nets import Lesson, Scaling
from market.models.transformer import Transformer
from tests.market.models.planted import NAMES, noise, shuffled

SHORT = Lesson(rounds=2, patience=2, steps=5, batch=64)
HORIZON = "15m"
SEEN = [0.1, 0.7, 0.2]

KINDS: dict[str, Callable[[Lesson], Model]] = {
    "lstm": lambda lesson: Lstm(HORIZON, lesson),
    "transformer": lambda lesson: Transformer(HORIZON, lesson),
    "gnn": lambda lesson: Gnn(HORIZON, {0: 7, 1: 7, 2: 8, 3: 8}, lesson=lesson),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> Callable[[Lesson], Model]:
    """A net of each kind in turn, not yet fitted."""
    return KINDS[request.param]


def fitted(kind: Callable[[Lesson], Model], examples: Examples | None = None, seed: int = 1, labels=None) -> Model:
    """Taught shortly by examples without a signal."""
    examples = noise(400, 1, 4) if examples is None else examples
    labels = shuffled(examples.rows, 1) if labels is None else labels
    held = noise(200, 2, 4)
    model = kind(SHORT)
    model.fit(examples, {HORIZON: labels}, held, {HORIZON: shuffled(200, 2)}, seed)
    return model


@pytest.fixture(scope="module")
def model(kind: Callable[[Lesson], Model]) -> Model:
    """One of each kind that learned from noise, to be asked alone."""
    return fitted(kind)


def test_probabilities_are_one_row_an_example_and_sum_to_one(model):
    found = model.predict(noise(40, 3, 4))

    assert found.shape == (40, 3)
    assert found.dtype == np.float32
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_where_nothing_is_to_be_found_the_answer_is_how_often_each_outcome_was_seen(model):
    found = model.predict(noise(400, 3, 4))

    np.testing.assert_allclose(found.mean(axis=0), SEEN, atol=0.03)


def test_two_fits_from_one_seed_give_the_same_bytes(kind, model):
    one, other, third = model.save(), fitted(kind).save(), fitted(kind, seed=2).save()

    assert one == other
    assert one != third


def test_a_fit_leaves_torch_and_its_chance_as_they_were(kind):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()

    fitted(kind)

    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_fit_on_many_threads_gives_the_bytes_of_one(kind, model):
    one = model.save()
    torch.set_num_threads(2)

    two = fitted(kind).save()

    assert torch.get_num_threads() == 2
    assert one == two


def test_a_saved_model_answers_as_before(model):
    examples = noise(40, 3, 4)

    again = type(model).load(model.save())

    assert again.horizon == HORIZON
    assert again.predict(examples).tobytes() == model.predict(examples).tobytes()
    assert again.save() == model.save()


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_a_bad_payload(model, cut):
    with pytest.raises(BadPayload):
        type(model).load(model.save()[:cut])


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"])
def test_garbage_is_a_bad_payload(kind, data):
    with pytest.raises(BadPayload):
        type(kind(SHORT)).load(data)


def with_header(data: bytes, change: Callable[[dict], object]) -> bytes:
    """A saved net with its header changed."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["about"])
    change(about)
    header["__metadata__"]["about"] = json.dumps(about)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda about: about.update(names=[*NAMES, "more"]), id="one more name than weights"),
        pytest.param(lambda about: about.update(hidden=10**9, width=10**9), id="larger than any"),
        pytest.param(lambda about: about.update(horizon="7m"), id="no horizon of ours"),
        pytest.param(lambda about: about.update(kind="forest"), id="another kind"),
        pytest.param(lambda about: about.update(extra=1), id="an unknown field"),
        pytest.param(lambda about: about.pop("names"), id="no names"),
    ],
)
def test_a_file_that_contradicts_itself_is_a_bad_payload(model, change):
    with pytest.raises(BadPayload):
        type(model).load(with_header(model.save(), change))


def test_a_file_with_values_that_are_no_numbers_is_a_bad_payload(model):
    data = model.save()

    with pytest.raises(BadPayload, match="no numbers"):
        type(model).load(data[:-4] + np.float32(np.nan).tobytes())


def test_the_file_of_another_kind_is_a_bad_payload():
    with pytest.raises(BadPayload):
        Gnn.load(fitted(KINDS["lstm"]).save())


def test_features_are_picked_by_name(model):
    examples = noise(40, 3, 4)
    turned = examples._replace(
        names=("noise", "other", "slope"),
        features=np.stack([examples.features[:, 1], np.ones(40, np.float32), examples.features[:, 0]], axis=1),
    )

    assert model.predict(turned).tobytes() == model.predict(examples).tobytes()


def test_a_feature_that_lacks_is_named(model):
    examples = noise(40, 3, 4)

    with pytest.raises(BadValue, match="noise"):
        model.predict(examples._replace(names=("slope",), features=examples.features[:, :1]))


def test_columns_of_another_shape_are_told(kind, model):
    examples = noise(40, 3, 4)

    with pytest.raises(BadValue, match="features"):
        model.predict(examples._replace(features=examples.features[:, :1]))
    with pytest.raises(BadValue, match="sequence"):
        fitted(kind, examples._replace(sequence=examples.sequence[:, 1:]))
    with pytest.raises(BadValue, match="targets"):
        fitted(kind, examples, labels=shuffled(30, 1))
    with pytest.raises(BadValue, match="targets"):
        fitted(kind, examples, labels=np.full(40, 3, np.int8))


def test_with_nothing_to_learn_from_the_model_refuses(kind):
    examples = noise(40, 3, 4)

    with pytest.raises(BadValue, match="examples"):
        fitted(kind, examples, labels=np.full(40, UNKNOWN_LABEL, np.int8))
    with pytest.raises(BadValue, match="examples"):
        fitted(kind, examples.take(slice(0, 0)), labels=np.zeros(0, np.int8))
    with pytest.raises(BadValue, match="held"):
        kind(SHORT).fit(examples, {HORIZON: shuffled(40, 1)}, examples, {}, 1)


def test_a_model_that_learned_nothing_yet_says_so(kind):
    with pytest.raises(BadValue, match="fit or load"):
        kind(SHORT).predict(noise(4, 3, 4))
    with pytest.raises(BadValue, match="fit or load"):
        kind(SHORT).save()


def test_a_horizon_that_is_none_is_refused():
    for make in (Lstm, Transformer, lambda horizon: Gnn(horizon, {})):
        with pytest.raises(BadValue, match="one of 5m, 15m, 60m, 1d"):
            make("7m")


def test_minutes_without_a_label_teach_nothing(kind):
    examples, more = noise(400, 1, 4), noise(80, 9, 4)
    later = more._replace(features=more.features + 1e6, sequence=more.sequence - 1e6, at=more.at + examples.at[-1] + 1)
    both = Examples(NAMES, *(np.concatenate(pair) for pair in zip(examples[1:], later[1:], strict=True)))
    labels = shuffled(400, 1)

    alone = fitted(kind, examples, labels=labels).save()
    beside = fitted(kind, both, labels=np.append(labels, np.full(80, UNKNOWN_LABEL, np.int8))).save()

    assert alone == beside


def test_unknown_features_are_answered(kind):
    examples = noise(400, 1, 4)
    examples.features[::3, 0] = np.nan
    examples.features[1::7, 1] = np.inf
    model, asked = fitted(kind, examples), noise(40, 3, 4)
    asked.features[:] = np.nan

    answered = np.isfinite(model.predict(asked))

    # A graph says nothing of an instrument when nothing is known of it and its neighbours.
    assert not answered.any() if model.kind == "gnn" else answered.all()


def test_a_feature_that_training_never_knew_is_answered(kind):
    examples = noise(400, 1, 4)
    examples.features[:, 1] = np.nan

    assert np.isfinite(fitted(kind, examples).predict(noise(40, 3, 4))).all()


def test_no_examples_are_no_answers(model):
    assert model.predict(noise(4, 3, 4).take(slice(0, 0))).shape == (0, 3)


@pytest.mark.parametrize("make", [Lstm, Transformer])
def test_an_example_without_a_sequence_is_answered_nan(make):
    model, examples = fitted(lambda lesson: make(HORIZON, lesson)), noise(40, 3, 4)
    whole = model.predict(examples)
    examples.sequence[::4] = np.nan

    found = model.predict(examples)

    assert np.isnan(found[::4]).all()
    np.testing.assert_allclose(found[1::4], whole[1::4], atol=1e-6)


def test_a_scaling_is_the_median_and_the_middle_half():
    scaling = Scaling(3)
    values = np.array([[1, 7, 0], [2, 7, 0], [3, 7, 0], [4, 7, 0], [1000, np.nan, 1]], np.float32)

    scaling.learn(values)
    found = scaling(torch.tensor([[3.0, 7.0, 1.0], [5.0, np.nan, 0.0], [np.nan, 8.0, -np.inf]])).numpy()

    # Column 1: median 3, quartiles 2 and 4: spread 2 / 1.349. Column 2 is constant: taken as it is. Column 3 varies
    # outside of its middle half alone: root mean square from the median, sqrt(1 / 5). Only column 2 was ever unknown.
    assert found[0] == pytest.approx([0, 0, 5**0.5, 0, 0, 0], rel=1e-6)
    assert found[1] == pytest.approx([1.349, 0, 0, 0, 1, 0], rel=1e-6)
    assert found[2] == pytest.approx([0, 1, 0, 0, 0, 0], rel=1e-6)
