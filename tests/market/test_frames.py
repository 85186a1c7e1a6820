from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from market import frames
from market.frames import FIELDS, Kind
from market.money import UNKNOWN
from market.quotes import QUOTE
from market.ticks import FeedState

EDGES = [
    UNKNOWN, UNKNOWN + 1, -(1 << 31) - 1, -(1 << 31), -(1 << 15) - 1, -(1 << 15), -129, -128, -33, -32, -1, 0, 1,
    127, 128, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, (1 << 63) - 1,
]  # fmt: skip


def told(values: list[int]) -> list[int | None]:
    return [None if value == UNKNOWN else value for value in values]


def test_entries_are_what_messagepack_itself_would_write() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice(np.array(EDGES), (300, len(FIELDS)))
    chosen = rng.random(values.shape) < 0.5
    chosen[0], chosen[1] = True, False

    packed = frames.pack(np.arange(300) * 37, values, chosen)

    for k, entry in enumerate(packed):
        bits = sum(1 << f for f in range(len(FIELDS)) if chosen[k, f])
        assert entry == msgpack.packb([k * 37, bits, *told(values[k][chosen[k]].tolist())])


@pytest.mark.parametrize("value", EDGES)
def test_the_shared_part_of_a_head_is_messagepack_for_any_number(value: int) -> None:
    if value == UNKNOWN or value >= 0:
        moment = frames.times(value, 2, 5, 0, binary=True)
        data = frames.head(Kind.KEY, 7, 1) + moment + frames.pack(*one(3, [10]))[0]

        assert msgpack.unpackb(data) == [1, 7, told([value])[0], 2, 5, [3, 1, 10]]


@pytest.mark.parametrize("moment", [UNKNOWN, 0, 40_000_000])
def test_what_is_told_from_another_value_is_read_as_it_was(moment: int) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 60_000_000, (300, len(FIELDS)))
    values[rng.random(values.shape) < 0.2] = UNKNOWN
    chosen = rng.random(values.shape) < 0.6

    entries = frames.pack(np.arange(300), frames.shortened(values, chosen, moment), chosen)

    for k, entry in enumerate(entries):
        _, bits, *found = msgpack.unpackb(entry)
        quote = dict(zip([f for f in range(len(FIELDS)) if bits >> f & 1], found, strict=True))
        last = quote.get(frames.LAST) or 0
        for f, value in quote.items():
            if value is not None and f == frames.AT:
                value = (0 if moment == UNKNOWN else moment) - value
            elif value is not None and f in frames.BESIDE:
                value += last
            assert value == told([int(values[k, f])])[0]


def test_a_quote_that_moved_takes_half_of_what_it_would_as_it_is() -> None:
    values = np.zeros((1, len(FIELDS)), np.int64)
    for name, value in (("price", 28_412_500), ("bid", 28_412_000), ("ask", 28_413_000), ("at", 36_000_120)):
        values[0, frames.NAMES.index(name)] = value
    chosen = frames.bits(frames.mask(["price", "bid", "ask", "at"]))[None]

    as_it_is, short = (
        frames.pack(np.array([300]), v, chosen)[0] for v in (values, frames.shortened(values, chosen, 36_000_200))
    )

    assert (len(as_it_is), len(short)) == (25, 17)


def test_a_frame_of_many_entries_has_a_longer_head() -> None:
    data = frames.head(Kind.DELTA, 1, 70_000) + frames.times(0, 0, 0, 0, binary=True) + b"\x90" * 70_000

    assert len(msgpack.unpackb(data)) == 70_005


def test_quotes_become_columns_and_columns_json() -> None:
    rows = np.zeros(2, QUOTE)
    for name in QUOTE.names or ():
        if name not in ("instrument", "session", "source", "flags", "padding"):
            rows[name] = UNKNOWN
    base = 1_472_083_200_000
    rows["price"][0], rows["day_volume"][0], rows["bid_quantity"][0] = 10_425_500, 120_000, 7
    rows["at"][0], rows["received"][0] = (base + 5_000) * 10**6, (base + 5_012) * 10**6
    values = frames.matrix(rows, np.array([False, True]), base)
    chosen = np.ones(values.shape, np.bool_)

    first, second = frames.texts(["NSE:A", "NSE:B"], values, chosen, frames.ALL, base)

    text = frames.text(Kind.KEY, 4, frames.times(base, 0, base + 1, base, binary=False), [first, b"", second])
    found: dict[str, Any] = orjson.loads(text)
    nothing = dict.fromkeys(frames.NAMES)
    assert found == {
        "type": "key", "sequence": 4, "market_time": base, "feed": "LIVE", "sent": base + 1,
        "quotes": {
            "NSE:A": nothing | {
                "price": 1042.55, "volume": 120_000, "bid_quantity": 7, "at": base + 5_000, "received": base + 5_012,
                "stale": False,
            },
            "NSE:B": nothing | {"stale": True},
        },
    }  # fmt: skip
    assert values[0, frames.RECEIVED] == 12


def test_an_instant_of_receipt_goes_with_every_new_instant_of_trade() -> None:
    values = np.full((1, len(FIELDS)), UNKNOWN)
    values[0, frames.AT], values[0, frames.RECEIVED] = 1000, 5
    chosen = np.zeros(values.shape, np.bool_)
    chosen[0, frames.AT] = True

    both = frames.texts(["X:A"], values, chosen, frames.ALL, 0)[0]
    alone = frames.texts(["X:A"], values, chosen, frames.mask(["at"]), 0)[0]

    assert (both, alone) == (b',"X:A":{"at":1000,"received":1005}', b',"X:A":{"at":1000}')


def test_feeds_have_numbers_and_a_heartbeat_no_entries() -> None:
    states = [FeedState.LIVE, FeedState.MUTE, FeedState.DOWN, FeedState.CLOSED, None]

    assert [frames.FEED_NAMES[frames.feed_code(s)] for s in states] == ["LIVE", "MUTE", "DOWN", "CLOSED", "UNKNOWN"]
    beat = frames.text(Kind.HEARTBEAT, 3, frames.times(UNKNOWN, 4, 9, 0, binary=False), ())
    assert orjson.loads(beat) == {
        "type": "heartbeat",
        "sequence": 3,
        "market_time": None,
        "feed": "UNKNOWN",
        "sent": 9,
    }


def one(number: int, prices: list[int]) -> tuple[Any, Any, Any]:
    values = np.zeros((1, len(FIELDS)), np.int64)
    chosen = np.zeros(values.shape, np.bool_)
    values[0, : len(prices)], chosen[0, : len(prices)] = prices, True
    return np.array([number]), values, chosen
