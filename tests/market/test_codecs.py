"""The contract of a `TickCodec` whose messages hold several packets; that of all vendors is in `test_vendors.py`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.codecs import TickCodec
from market.errors import BadPayload
from market.money import UNKNOWN
from market.ticks import DEPTH, TICK, Flag, Kind
from market.vendors.kite import Kite
from market.vendors.kite_packets import FULL, PACKETS, encode, frame

NOW = 1_700_000_000_000_000_000
PRICES = st.integers(1, 10**7)
QUOTES = st.lists(st.tuples(st.integers(0, 3), PRICES, PRICES), min_size=1, max_size=12)
"""(instrument, price in paise, previous close in paise); instrument 3 is one that nobody asked for."""


@dataclass(frozen=True)
class Case:
    """A vendor: its codec for instruments 0, 1, 2, and a message of it for such quotes."""

    codec: Callable[[], TickCodec]
    message: Callable[[list[tuple[int, int, int]]], bytes]
    heartbeat: bytes
    nonsense: bytes

    def __repr__(self) -> str:
        return self.codec().name


def kite_message(quotes):
    blocks = []
    for instrument, price, close in quotes:
        row = np.zeros(1, FULL if price % 2 else PACKETS["quote"])
        row["token"], row["last_price"], row["close"] = (instrument + 1) << 8 | 1, price, close
        blocks.append(encode("full" if price % 2 else "quote", row))
    return frame(*blocks)


KITE = Case(lambda: Kite({(i + 1) << 8 | 1: i for i in range(3)}, 5), kite_message, b"\x00", b"\x00\x01\x00")
VENDORS = [KITE]

vendors = pytest.mark.parametrize("vendor", VENDORS, ids=repr)


@vendors
@given(quotes=QUOTES)
def test_every_wanted_quote_becomes_a_tick_in_order_and_the_others_are_counted(vendor, quotes):
    codec = vendor.codec()

    rows = codec.read(vendor.message(quotes), NOW, 77)
    ticks = rows[rows["kind"] == Kind.TICK]

    assert rows.dtype == TICK
    assert ticks[["instrument", "price"]].tolist() == [(i, price * 100) for i, price, _ in quotes if i < 3]
    assert ticks["sequence"].tolist() == [77 << 16 | place for place, (i, _, _) in enumerate(quotes) if i < 3]
    assert codec.unknown == sum(i == 3 for i, _, _ in quotes)


@vendors
@given(quotes=QUOTES)
def test_a_row_says_who_read_it_and_when_and_zero_never_stands_for_unknown(vendor, quotes):
    rows = vendor.codec().read(vendor.message(quotes), NOW)

    assert set(rows["source"].tolist()) <= {5} and set(rows["received"].tolist()) <= {NOW}
    timeless = rows[(rows["flags"] & Flag.NO_TIME) != 0]
    assert (timeless["at"] == NOW).all()
    assert (rows["price"] > 0).all() and (rows["bid"] == UNKNOWN).all() and (rows["ask_quantity"] == UNKNOWN).all()


@vendors
@given(messages=st.lists(QUOTES, max_size=8))
def test_closes_are_the_latest_each_message_states_once(vendor, messages):
    codec, told = vendor.codec(), {}

    for quotes in messages:
        rows = codec.read(vendor.message(quotes), NOW)
        closes = rows[rows["kind"] == Kind.CLOSE]

        ticks = np.flatnonzero(rows["kind"] == Kind.TICK)
        assert len(closes) == len(set(closes["instrument"].tolist())) and not (ticks < len(closes)).any()
        told |= dict(closes[["instrument", "price"]].tolist())
        assert told.keys() >= {i for i, _, _ in quotes if i < 3}
        assert all(told[i] in {close * 100 for j, _, close in quotes if j == i} for i, _, _ in quotes if i < 3)


@vendors
@given(messages=st.lists(QUOTES, max_size=8))
def test_many_messages_are_read_as_one_after_the_other(vendor, messages):
    together, apart = vendor.codec(), vendor.codec()
    frames = [vendor.message(quotes) for quotes in messages]
    received, sequences = [NOW + i for i in range(len(frames))], [3 * i for i in range(len(frames))]

    rows, bad = together.read_many(frames, received, sequences)

    one_by_one = [apart.read(*each) for each in zip(frames, received, sequences, strict=True)]
    ticks = [r[r["kind"] == Kind.TICK].tobytes() for r in one_by_one]
    assert rows[rows["kind"] == Kind.TICK].tobytes() == b"".join(ticks) and bad == []
    assert together.depth().tobytes() == apart.depth().tobytes()


@vendors
def test_one_bad_message_among_many_is_named_and_the_others_are_read(vendor):
    good = vendor.message([(0, 100, 50)])

    rows, bad = vendor.codec().read_many([good, vendor.nonsense, good], [NOW] * 3, [1, 2, 3])

    assert [(b.source, b.payload) for b in bad] == [(vendor.codec().name, vendor.nonsense)]
    assert rows[rows["kind"] == Kind.TICK]["sequence"].tolist() == [1 << 16, 3 << 16]


@vendors
def test_a_heartbeat_has_no_rows(vendor):
    assert len(vendor.codec().read(vendor.heartbeat, NOW)) == 0


@vendors
def test_a_codec_without_instruments_reads_nothing_and_has_no_depth(vendor):
    codec = type(vendor.codec())({})

    rows = codec.read(vendor.message([(0, 100, 50), (1, 101, 50)]), NOW)

    assert len(rows) == 0 and codec.unknown == 2 and codec.depth().dtype == DEPTH and len(codec.depth()) == 0


@vendors
@given(message=st.binary(max_size=400))
def test_garbage_is_read_or_bad_and_the_next_message_is_read(vendor, message):
    codec, good = vendor.codec(), vendor.message([(1, 250, 50)])

    try:
        codec.read(message, NOW)
    except BadPayload as bad:
        assert bad.source == codec.name and bad.payload == message and bad.rest.dtype == TICK

    assert codec.read(good, NOW)["price"].tolist()[-1] == 25_000
    with pytest.raises(BadPayload):
        codec.text("not a text of this vendor")


@vendors
def test_requests_are_texts_and_silence_is_a_time(vendor):
    codec = vendor.codec()

    asked, given_back = codec.subscribe([257], "full"), codec.unsubscribe([257])

    assert asked and given_back and all(isinstance(text, str) and "257" in text for text in asked + given_back)
    assert codec.silence.total_seconds() > 0
