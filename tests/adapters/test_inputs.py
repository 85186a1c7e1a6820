"""What a model sees, packed for the read model and taken out again."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.inputs import pack, unpack
from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.errors import BadPayload
from market.models.examples import CHANNELS, LENGTH, Examples

NAMES = ("rsi_14", "macd", "close")


def examples() -> Examples:
    """Two, the second with a feature that is not known."""
    features = np.array([[41.5, -0.25, 100.0], [np.nan, 0.5, 2.0]], np.float32)
    sequence = np.arange(2 * LENGTH * len(CHANNELS), dtype=np.float32).reshape(2, LENGTH, len(CHANNELS))
    at = np.array([1_472_096_760_000_000_000, 1_472_096_820_000_000_000])
    return Examples(NAMES, features, sequence, np.array([3, 8], np.int32), at, np.array([17_038, 17_039], np.int32))


def test_what_was_packed_comes_out_as_it_was() -> None:
    made = examples()

    found = unpack(NAMES, [3, 8], pack(made))

    assert found.names == NAMES
    for one, other in zip(found[1:], made[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_are_float32_behind_a_header_of_24_bytes() -> None:
    first = pack(examples())[0]

    assert len(first) == 24 + 4 * 3 + 4 * 32 * 5
    assert first[24:28] == bytes.fromhex("00002642")  # 41.5


@pytest.mark.parametrize(
    ("names", "cut"),
    [(("rsi_14", "macd", "open"), None), (("rsi_14", "macd"), None), (NAMES, -1), (NAMES, 10), (NAMES, 0)],
)
def test_other_features_and_cut_inputs_are_refused(names: tuple[str, ...], cut: int | None) -> None:
    packed = pack(examples())[0][:cut]

    with pytest.raises(BadPayload, match="model input"):
        unpack(names, [3], [packed])


def test_the_read_model_keeps_them_under_the_ticker(shared_cache: RedisServer, cache: RedisLine) -> None:
    model = ReadModel(shared_cache.url)
    model.inputs(["NSE:RELIANCE", "BSE:XYZ"], examples())

    found = model.read_inputs(["BSE:XYZ", "NSE:TCS", "NSE:RELIANCE"])

    assert found == [pack(examples())[1], None, pack(examples())[0]]
    assert cache.call("EXISTS", "model:input:RELIANCE") == 1
    model.close()
