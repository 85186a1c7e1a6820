"""The transformer sees the order of what happened, and answers for every horizon it was taught."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from market.errors import BadPayload
from market.labels import UNKNOWN_LABEL
from market.models.transformer import Transformer
from tests.market.models.planted import QUICK, ordered, right
from tests.market.models.test_nets import with_header


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Taught that at 5m comes what the order tells, that at 60m comes the opposite, and nothing of the others. Half of
    the examples have a label at one of the two horizons only.
    """
    torch.set_num_threads(1)
    (examples, labels), (held, held_labels) = ordered(2000, 1), ordered(200, 2)
    soon, later = labels.copy(), (2 - labels).astype(np.int8)
    soon[::4], later[1::4] = UNKNOWN_LABEL, UNKNOWN_LABEL
    model = Transformer("5m", QUICK._replace(rounds=6, patience=6))
    model.fit(examples, {"5m": soon, "60m": later}, held, {"5m": held_labels, "60m": 2 - held_labels}, 1)
    return model


def test_what_the_order_of_the_sequence_tells_is_learned(model):
    asked, wanted = ordered(300, 3)
    turned = asked._replace(sequence=np.ascontiguousarray(asked.sequence[:, ::-1]))

    assert right(model.predict(asked), wanted) > 0.9
    assert right(model.predict(turned), wanted) < 0.1


def test_every_horizon_that_had_labels_is_answered_from_one_trunk(model):
    asked, wanted = ordered(300, 3)

    found = model.predict_all(asked)

    assert list(found) == ["5m", "60m"]
    assert right(found["60m"], 2 - wanted) > 0.9
    assert found["5m"].tobytes() == model.predict(asked).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda about: about.update(horizon="15m"), id="its own horizon was not taught"),
        pytest.param(lambda about: about.update(patch=5), id="patches that do not fill the sequence"),
        pytest.param(lambda about: about.update(channels=["return"]), id="other rows than ours"),
        pytest.param(lambda about: about.update(width=30), id="a width that the heads do not share"),
    ],
)
def test_a_file_that_does_not_fit_is_a_bad_payload(model, change):
    with pytest.raises(BadPayload):
        Transformer.load(with_header(model.save(), change))
