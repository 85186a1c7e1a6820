"""Errors: what they keep of a hostile message, and that they survive the way between processes."""

from __future__ import annotations

import json
import pickle

import pytest

from market.errors import MOST_REASON, BadPayload
from market.vendors.finnhub import Finnhub
from market.vendors.flattrade import FlatTrade
from market.vendors.polygon import Polygon

LONG = "9" * 1_000_000


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        (FlatTrade({"NSE|22": 0}), {"t": "tk", "e": "NSE", "tk": "22", "lp": LONG}),
        (Polygon({"AAPL": 0}), [{"ev": LONG}]),
        (Finnhub({"AAPL": 0}), {"type": "trade", "data": [{"s": "AAPL", "p": LONG, "t": 1_700_000_000_000, "v": 1}]}),
    ],
)
def test_a_reason_is_short_however_long_the_message_is(codec: FlatTrade | Polygon | Finnhub, frame: object) -> None:
    message = json.dumps(frame)

    _, bad = codec.read_many([message], [1], [0])

    assert [len(one.payload) for one in bad] == [len(message)]
    assert "999" in bad[0].reason
    assert len(bad[0].reason) == MOST_REASON


def test_a_cut_reason_survives_the_way_between_processes() -> None:
    bad = BadPayload("kite", b"frame", f"a price {LONG}")

    again = pickle.loads(pickle.dumps(bad))  # noqa: S301  (our own)

    assert (again.reason, str(again)) == (bad.reason, str(bad))
