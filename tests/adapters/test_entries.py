"""The entry format: every bit comes back, garbage is refused, and yesterday's entries are read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adapters.entries import HEADER, decode, decode_records, encode, encode_records
from market.candles import CANDLE
from market.errors import BadPayload, BadValue
from market.features import FEATURE
from market.money import UNKNOWN
from market.scores import SCORE
from market.ticks import DEPTH, TICK, FeedState, blank, mark

GOLDEN = Path(__file__).parent / "golden"
DTYPES = {"tick": TICK, "candle": CANDLE}


def ticks(count: int) -> np.ndarray:
    rows = blank(count)
    rows["instrument"] = np.arange(count) % 7
    rows["sequence"] = 5 << 16 | np.arange(count)
    rows["at"] = rows["received"] = 1_472_096_700_000_000_000 + np.arange(count) * 1_000_000
    rows["price"] = 10_000_000 + np.arange(count) % 11 * 500
    rows["day_volume"] = np.arange(count) * 3
    return rows


@pytest.mark.parametrize("dtype", [TICK, CANDLE, FEATURE, SCORE], ids=["ticks", "candles", "features", "scores"])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_any_bits_come_back_as_they_went_in(dtype: np.dtype[Any], count: int) -> None:
    noise = np.random.default_rng(count).integers(0, 256, count * dtype.itemsize, dtype="u1").view(dtype)

    back = decode(encode(noise), dtype)

    assert back.dtype == dtype and back.tobytes() == noise.tobytes()


EDGES = st.sampled_from(
    [UNKNOWN, UNKNOWN + 1, -1, 0, 1, 254, 255, 256, 65_534, 65_535, 2**32 - 2, 2**63 - 2, 2**63 - 1]
)


@given(
    arrays.arrays(
        np.int64, st.tuples(st.just(12), st.integers(1, 6)), elements=EDGES | st.integers(-(2**63), 2**63 - 1)
    )
)
def test_the_edges_of_every_width_come_back(columns: np.ndarray) -> None:
    rows = np.ascontiguousarray(columns.T).view(TICK).reshape(-1)

    assert decode(encode(rows), TICK).tobytes() == rows.tobytes()


@pytest.mark.parametrize("span", [0, 1, 253, 254, 255, 256, 65_533, 65_534, 65_535, 2**32 - 2, 2**32 - 1, 2**63 - 2])
@pytest.mark.parametrize("low", [-(2**63) + 1, -5, 0, 10_000_000])
def test_an_unknown_price_among_known_ones_stays_unknown(span: int, low: int) -> None:
    rows = blank(4)
    rows["price"] = [low + span if low + span < 2**63 else 2**63 - 1, UNKNOWN, low, UNKNOWN]

    assert decode(encode(rows), TICK)["price"].tolist() == rows["price"].tolist()


def test_one_unknown_price_does_not_widen_the_others() -> None:
    rows = ticks(2_000)
    rows["price"] = np.random.default_rng(1).integers(0, 250, 2_000)
    with_unknown = rows.copy()
    with_unknown["price"][1_000] = UNKNOWN

    assert len(encode(with_unknown)) < len(encode(rows)) + 16


def test_columns_that_say_nothing_cost_nothing() -> None:
    rows = blank(100_000)

    assert len(encode(rows)) < 200


def test_decoded_rows_are_writable_and_strided_rows_are_taken() -> None:
    rows = ticks(100)

    back = decode(encode(rows[::3]), TICK)
    back["price"] = 1

    assert back["sequence"].tolist() == rows["sequence"][::3].tolist()


def test_rows_of_another_dtype_are_refused() -> None:
    with pytest.raises(BadValue, match="TICK, CANDLE, FEATURE, SCORE or SIGNAL"):
        encode(np.zeros(1, DEPTH))


RECORDS = [
    {"symbol": "NSE:RELIANCE", "price": 28_505_000, "note": None},
    {"deep": {"list": [1, 2.5, True, b"raw"]}},
    {},
]


@pytest.mark.parametrize("records", [[], RECORDS])
def test_records_come_back_as_they_went_in(records: list[dict[str, Any]]) -> None:
    assert decode_records(encode_records(records)) == records


def test_an_entry_is_read_only_as_what_it_is() -> None:
    tick, candle, record = encode(ticks(3)), encode(np.zeros(3, CANDLE)), encode_records(RECORDS)

    for payload, dtype in ((tick, CANDLE), (candle, TICK), (record, TICK)):
        with pytest.raises(BadPayload, match="not the rows asked for"):
            decode(payload, dtype)
    with pytest.raises(BadPayload, match="not records"):
        decode_records(tick)


def test_features_of_another_set_are_refused() -> None:
    entry = encode(np.zeros(3, FEATURE))

    with pytest.raises(BadPayload, match="another set"):
        decode(entry[: HEADER.size] + b"abcd" + entry[HEADER.size + 4 :], FEATURE)


@given(
    st.binary(max_size=200) | st.builds(lambda tail: b"B\x01\x01\x00\x05\x00\x00\x00" + tail, st.binary(max_size=80))
)
def test_garbage_is_a_bad_payload(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        decode(payload, TICK)
    with pytest.raises(BadPayload):
        decode_records(payload)


def test_every_cut_and_every_flipped_bit_of_the_content_is_a_bad_payload() -> None:
    whole = encode(ticks(20))

    for cut in range(len(whole)):
        with pytest.raises(BadPayload):
            decode(whole[:cut], TICK)
    for at in range(HEADER.size, len(whole)):
        flipped = whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]
        try:
            back = decode(flipped, TICK)
        except BadPayload:
            continue
        assert back.tobytes() == ticks(20).tobytes()  # a bit of zstd's own head that means nothing


@pytest.mark.parametrize(
    "payload",
    [
        b"B\x02" + encode(ticks(2))[2:],
        b"C" + encode(ticks(2))[1:],
        encode(ticks(2)) + b"x",
        HEADER.pack(b"B", 1, 1, 0, 3) + encode(ticks(2))[8:],
        HEADER.pack(b"B", 1, 1, 0, 2**31) + encode(ticks(2))[8:],
        HEADER.pack(b"B", 1, 1, 0, 1) + zstandard.ZstdCompressor().compress(b"\x07" + bytes(12 + 8 * 13 + 7)),
        HEADER.pack(b"B", 1, 1, 0, 1) + zstandard.ZstdCompressor().compress(bytes(50_000_000)),
        HEADER.pack(b"B", 1, 0, 0, 1) + zstandard.ZstdCompressor().compress(b"\x81"),
        HEADER.pack(b"B", 1, 0, 0, 1) + zstandard.ZstdCompressor().compress(b"\x91\x05"),
    ],
    ids=["version", "magic", "behind", "rows", "many", "code", "bomb", "cut", "dicts"],
)
def test_an_entry_that_contradicts_itself_is_a_bad_payload(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        decode(payload, TICK)
    with pytest.raises(BadPayload):
        decode_records(payload)


@pytest.mark.parametrize("version", [1])
@pytest.mark.parametrize("kind", ["tick", "candle"])
def test_the_rows_of_every_version_are_read(version: int, kind: str) -> None:
    """Golden entries are never written again; the rows beside them are plain numpy."""
    expected = np.load(GOLDEN / f"{kind}-v{version}.npy")

    back = decode((GOLDEN / f"{kind}-v{version}.entry").read_bytes(), DTYPES[kind])

    assert back.tobytes() == expected.tobytes()


def test_the_records_of_version_1_are_read() -> None:
    assert decode_records((GOLDEN / "records-v1.entry").read_bytes()) == RECORDS


def test_a_version_1_tick_is_read_from_bytes_written_by_hand() -> None:
    heads = [(0, 3), (0, 1 | 2 << 16), (0, 0), (0x11, 1_000), (0, 0), (0, 0), (0x21, 500), *[(0, 0)] * 6]
    order = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1]  # the halves of the first word stand first and last
    shifted = [(base + 2**63 - 1) % 2**64 for _, base in (heads[i] for i in order)]
    codes = bytes(heads[i][0] for i in order)
    content = codes + struct.pack("<13Q", *shifted) + bytes([0, 5, 6]) + bytes([7, 255, 0])

    back = decode(HEADER.pack(b"B", 1, 1, 0, 3) + zstandard.ZstdCompressor().compress(content), TICK)

    assert back["instrument"].tolist() == [3, 3, 3] and back["source"].tolist() == [1, 1, 1]
    assert back["kind"].tolist() == [2, 2, 2]
    assert back["at"].tolist() == [1_000, 1_005, 1_011]
    assert back["price"].tolist() == [507, UNKNOWN, 500]


def test_a_mark_among_ticks_keeps_its_fields() -> None:
    rows = np.concatenate([ticks(5), mark(3, FeedState.MUTE, 1_000, 900, 7)])

    back = decode(encode(rows), TICK)[-1]

    assert (back["instrument"], back["source"], back["flags"], back["kind"]) == (-1, 3, FeedState.MUTE, 1)
    assert (back["at"], back["quoted"], back["sequence"]) == (1_000, 900, 7)
