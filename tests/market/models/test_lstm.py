"""The LSTM sees the order of what happened."""

from __future__ import annotations

import numpy as np
import torch

from market.models.lstm import Lstm
from tests.market.models.planted import QUICK, ordered, right


def test_what_the_order_of_the_sequence_tells_is_learned():
    torch.set_num_threads(1)
    (examples, labels), (held, held_labels), (asked, wanted) = ordered(1500, 1), ordered(300, 2), ordered(300, 3)
    model = Lstm("15m", QUICK)

    model.fit(examples, {"15m": labels}, held, {"15m": held_labels}, 1)

    assert right(model.predict(asked), wanted) > 0.9
    turned = asked._replace(sequence=np.ascontiguousarray(asked.sequence[:, ::-1]))
    assert right(model.predict(turned), wanted) < 0.1
