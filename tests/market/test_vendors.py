"""The contract of every vendor: its codec and its half of a socket, against each other.

A new vendor is one more `Case`. What a message of several packets means stands in `test_codecs.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from market.codecs import (
    Accepted,
    Account,
    Conversation,
    Message,
    Refused,
    TapeClock,
    TapeEnd,
    TickCodec,
    Token,
    resume,
    tape_text,
)
from market.errors import BadPayload, BadValue
from market.instruments import Instrument, Kind
from market.money import UNKNOWN
from market.sessions import MINUTE, SECOND, session
from market.tape import BAR, Packets, Tape, from_bars
from market.ticks import DEPTH, LARGEST_TURNOVER, TICK, Ticks, plausible
from market.ticks import Kind as Row
from market.vendors import VENDORS, finnhub_wire, flattrade_wire, kite_wire, mstock_wire, polygon_wire

DAY = session(date(2016, 8, 25), closes=time(9, 20))
RIGHT = "right"
ACCOUNT = Account(user="U1", api_key=SecretStr(RIGHT), access_token=SecretStr(RIGHT))
STRANGER = Account(user="U1", api_key=SecretStr("wrong"), access_token=SecretStr("wrong"))
INDEX, COUNT = 3, 4
CLOSES = {k: 10_000_000 + k * 500 for k in range(COUNT)}


def admits(token: str) -> bool:
    return token == RIGHT


@dataclass(frozen=True)
class Case:
    """A vendor: how it names the k-th instrument, and its half of a socket. `prints`: it sends trades, no totals."""

    name: str
    token: Callable[[int], Token]
    talk: Callable[[Sequence[Instrument]], Conversation]
    prints: bool = False

    def __repr__(self) -> str:
        return self.name

    def instruments(self) -> list[Instrument]:
        kinds = [Kind.INDEX if k == INDEX else Kind.EQUITY for k in range(COUNT)]
        return [
            Instrument(id=k, symbol=f"NSE:S{k}", kind=kind, tokens={self.name: self.token(k)})
            for k, kind in enumerate(kinds)
        ]

    def tokens(self) -> dict[Token, int]:
        return {self.token(k): k for k in range(COUNT)}

    def codec(self, tokens: dict[Token, int] | None = None) -> TickCodec:
        return VENDORS[self.name](self.tokens() if tokens is None else tokens, 5)

    def server(self) -> Conversation:
        return self.talk(self.instruments())


CASES = [
    Case("kite", lambda k: (1000 + k) << 8 | (9 if k == INDEX else 1), lambda of: kite_wire.Talk(kite_wire.Wire(of))),
    Case(
        "flattrade",
        lambda k: f"NSE|{1000 + k}",
        lambda of: flattrade_wire.Talk(flattrade_wire.Wire(of), admits),
    ),
    Case("mstock", lambda k: f"1|{1000 + k}", lambda of: mstock_wire.Talk(mstock_wire.Wire(of), admits)),
    Case("polygon", lambda k: f"S{k}", lambda of: polygon_wire.Talk(polygon_wire.wire(of), admits), prints=True),
    Case("finnhub", lambda k: f"S{k}", lambda of: finnhub_wire.Talk(finnhub_wire.wire(of)), prints=True),
]

vendors = pytest.mark.parametrize("vendor", CASES, ids=repr)
speakers = pytest.mark.parametrize("vendor", [c for c in CASES if c.name not in ("kite", "mstock")], ids=repr)
"""Those whose messages are JSON."""


def day(seed: int) -> Tape:
    """Five minutes of every instrument; the index has no volume."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((COUNT, DAY.minutes), BAR)
    rows["instrument"] = np.arange(COUNT)[:, None]
    rows["start"] = DAY.open + np.arange(DAY.minutes) * MINUTE
    prices = rng.integers(1000, 1200, (4, *rows.shape)) * 500
    rows["open"], rows["close"] = prices[:2]
    rows["low"], rows["high"] = prices.min(axis=0), prices.max(axis=0)
    rows["volume"] = rng.integers(10, 5000, rows.shape) * (rows["instrument"] != INDEX)
    return from_bars(DAY, rows.ravel(), CLOSES)


TAPE = day(1)


def enter(codec: TickCodec, server: Conversation, account: Account = ACCOUNT) -> list[Any]:
    """Log in; what our codec makes of the answers."""
    answers = [answer for text in codec.hello(account) for answer in server.hear(text)]
    return [codec.text(answer) for answer in answers if isinstance(answer, str) and not codec.carries(answer)]


def ask(codec: TickCodec, server: Conversation, tokens: Sequence[Token], mode: str = "full") -> list[Any]:
    """Subscribe; the texts that answer."""
    answers = [answer for text in codec.subscribe(tokens, mode) for answer in server.hear(text)]
    return [codec.text(answer) for answer in answers if isinstance(answer, str) and not codec.carries(answer)]


def joined(vendor: Case, mode: str = "full") -> tuple[TickCodec, Conversation]:
    codec, server = vendor.codec(), vendor.server()
    enter(codec, server)
    ask(codec, server, [*vendor.tokens()], mode)
    return codec, server


def sent(server: Conversation, tape: Tape = TAPE) -> list[tuple[int, Message]]:
    """Every message of a tape, with the clock it goes out at."""
    steps = ((tape.packets(k), tape.clock(k)) for k in range(tape.steps))
    return [(clock, m) for packets, clock in steps for m in server.frames(packets, tape.closes_before, clock)]


def read(codec: TickCodec, messages: Sequence[tuple[int, Message]]) -> tuple[Ticks, list[BadPayload]]:
    rows, bad = codec.read_many([m for _, m in messages], [at for at, _ in messages], range(len(messages)))
    return rows[rows["kind"] == Row.TICK], bad


def hear(codec: TickCodec, message: Message) -> None:
    """What a feed does with whatever comes; garbage has no rows."""
    try:
        if codec.carries(message):
            assert len(codec.read(message, DAY.open)) == 0
        elif isinstance(message, str):
            codec.text(message)
    except BadPayload as bad:
        assert bad.source == codec.name
        assert bad.payload == (message if isinstance(message, bytes) else message.encode(errors="replace"))


def packets_of(tape: Tape) -> Packets:
    return np.concatenate([tape.packets(k) for k in range(tape.steps)])


def said(rows: np.ndarray, vendor: Case) -> list[tuple[int, int, int, int]]:
    """Instrument, second, price and volume of packets, or of the ticks they became, in a fixed order."""
    if "quantity" in (rows.dtype.names or ()):
        volume = rows["quantity"] if vendor.prints else rows["day_volume"]
        silent = np.zeros(len(rows), bool) if vendor.prints else rows["instrument"] == INDEX
        volume = np.where(silent, UNKNOWN, volume)
    else:
        volume = rows["day_volume"]
    seconds = (rows["at"] // SECOND).tolist()
    return sorted(zip(rows["instrument"].tolist(), seconds, rows["price"].tolist(), volume.tolist(), strict=True))


def test_every_vendor_is_here() -> None:
    assert {case.name for case in CASES} == VENDORS.keys()


@vendors
def test_a_codec_says_what_its_vendor_carries(vendor: Case) -> None:
    codec = vendor.codec()

    assert codec.name == vendor.name
    assert codec.stream.startswith("wss://")
    assert codec.socket_instruments > 0
    assert codec.sockets > 0
    assert codec.silence.total_seconds() > 0
    assert (codec.unknown, codec.unpriced) == (0, 0)


@vendors
def test_a_login_is_heard_and_answered(vendor: Case) -> None:
    codec, server = vendor.codec(), vendor.server()

    events = enter(codec, server)

    assert server.admitted
    assert [event for event in events if isinstance(event, Accepted)] == [Accepted()] * codec.waits


@vendors
def test_a_stranger_is_refused_where_the_login_is_a_text(vendor: Case) -> None:
    codec, server = vendor.codec(), vendor.server()

    events = enter(codec, server, STRANGER)

    assert any(isinstance(event, Refused) for event in events) is codec.waits
    assert server.admitted is not codec.waits
    assert not codec.waits or (ask(codec, server, [*vendor.tokens()]) and not server.modes.any())


@vendors
def test_no_secret_is_in_an_address_and_a_login_both(vendor: Case) -> None:
    codec = vendor.codec()
    secret = Account(user="U1", api_key=SecretStr("s3cret"), access_token=SecretStr("s3cret"))

    places = [codec.address("wss://there/", secret), "".join(codec.hello(secret))]

    assert sum("s3cret" in place for place in places) >= 1
    assert not codec.waits or "s3cret" in places[1]


@vendors
@pytest.mark.parametrize("seed", range(3))
def test_packets_come_back_equal(vendor: Case, seed: int) -> None:
    tape = day(seed)
    codec, server = joined(vendor)

    rows, bad = read(codec, sent(server, tape))

    assert bad == []
    assert said(rows, vendor) == said(packets_of(tape), vendor)
    assert set(rows["source"].tolist()) == {5}
    assert (codec.unknown, codec.unpriced) == (0, 0)


@vendors
@pytest.mark.parametrize("mode", ["ltp", "quote", "full"])
def test_every_mode_brings_every_price(vendor: Case, mode: str) -> None:
    codec, server = joined(vendor, mode)

    rows, bad = read(codec, sent(server))

    assert bad == []
    assert sorted(rows[["instrument", "price"]].tolist()) == sorted(packets_of(TAPE)[["instrument", "price"]].tolist())


@vendors
def test_an_unknown_mode_is_refused(vendor: Case) -> None:
    with pytest.raises(BadValue, match="loud"):
        vendor.codec().subscribe([vendor.token(0)], "loud")


@vendors
def test_what_is_given_back_comes_no_more(vendor: Case) -> None:
    codec, server = joined(vendor)
    gone = [vendor.token(k) for k in (0, 2)]

    for text in codec.unsubscribe(gone):
        server.hear(text)
    rows, bad = read(codec, sent(server))

    assert bad == []
    assert set(rows["instrument"].tolist()) == {1, INDEX}
    assert server.modes.astype(bool).tolist() == [False, True, False, True]


@vendors
def test_what_is_taken_again_comes_again(vendor: Case) -> None:
    codec, server = joined(vendor)
    everything = [*vendor.tokens()]

    for text in codec.unsubscribe(everything):
        server.hear(text)
    ask(codec, server, everything)
    rows, bad = read(codec, sent(server))

    assert bad == []
    assert said(rows, vendor) == said(packets_of(TAPE), vendor)


@vendors
def test_a_codec_goes_on_over_a_new_socket(vendor: Case) -> None:
    codec, server = joined(vendor)
    before, _ = read(codec, sent(server)[:20])

    again = vendor.server()
    enter(codec, again)
    ask(codec, again, [*vendor.tokens()])
    rows, bad = read(codec, sent(again))

    assert bad == []
    assert len(before)
    assert said(rows, vendor) == said(packets_of(TAPE), vendor)


@vendors
def test_tokens_that_nobody_asked_for_are_counted(vendor: Case) -> None:
    _, server = joined(vendor)
    few = vendor.codec({vendor.token(1): 1})

    rows, bad = read(few, sent(server))

    assert bad == []
    assert set(rows["instrument"].tolist()) == {1}
    assert few.unknown == sum(packets_of(TAPE)["instrument"] != 1)


@vendors
def test_a_token_that_the_vendor_does_not_have_is_no_harm(vendor: Case) -> None:
    codec, server = vendor.codec({**vendor.tokens(), vendor.token(900): 900}), vendor.server()
    enter(codec, server)

    ask(codec, server, [vendor.token(900), *vendor.tokens()])
    rows, bad = read(codec, sent(server))

    assert bad == []
    assert said(rows, vendor) == said(packets_of(TAPE), vendor)


@vendors
def test_a_price_of_zero_is_no_price(vendor: Case) -> None:
    codec, server = joined(vendor)
    packets = packets_of(TAPE)[:6].copy()
    packets["price"] = 0

    rows, _ = read(codec, [(TAPE.clock(20), m) for m in server.frames(packets, {}, TAPE.clock(20))])

    assert len(rows) == 0
    assert codec.unpriced == 6


@vendors
def test_how_messages_are_cut_makes_no_difference(vendor: Case) -> None:
    (one, server), (many, _) = joined(vendor), joined(vendor)
    messages = sent(server)

    single = [one.read(message, at, number) for number, (at, message) in enumerate(messages)]
    rows, bad = read(many, messages)

    joint = np.concatenate(single)
    assert bad == []
    assert joint[joint["kind"] == Row.TICK].tobytes() == rows.tobytes()
    assert one.depth().tobytes() == many.depth().tobytes()
    assert rows.dtype == TICK


@vendors
def test_depth_is_of_our_instruments_and_told_once(vendor: Case) -> None:
    codec, server = joined(vendor)
    read(codec, sent(server))

    books = codec.depth()

    assert books.dtype == DEPTH
    assert set(books["instrument"].tolist()) <= set(range(COUNT))
    assert len(set(books["instrument"].tolist())) == len(books)
    for side in ("bid", "ask"):
        assert ((books[side] > 0) | (books[side] == UNKNOWN)).all()
    assert len(codec.depth()) == 0


@vendors
def test_frames_are_carried_and_nothing_else_is(vendor: Case) -> None:
    codec, server = vendor.codec(), vendor.server()
    texts = [*codec.hello(ACCOUNT), *codec.subscribe([*vendor.tokens()], "full")]

    answers = [answer for text in texts for answer in server.hear(text)]
    told = [tape_text(TapeClock(frame=3, clock=5)), tape_text(TapeEnd())]

    assert all(codec.carries(message) for _, message in sent(server))
    assert not any(codec.carries(answer) for answer in answers)
    assert not any(codec.carries(text) for text in told)


@vendors
def test_the_tape_speaks_alike_at_every_vendor(vendor: Case) -> None:
    codec = vendor.codec()

    assert codec.text(tape_text(TapeClock(frame=3, clock=5))) == TapeClock(frame=3, clock=5)
    assert codec.text(tape_text(TapeEnd())) == TapeEnd()
    with pytest.raises(BadPayload):
        codec.text('{"type":"message","data":{"bourse":{"frame":-1}}}')


@vendors
def test_heartbeats_carry_nothing_either_way(vendor: Case) -> None:
    codec, server = joined(vendor)

    if server.pulse is not None:
        beat = server.pulse[0]
        assert not codec.carries(beat) or len(codec.read(beat, DAY.open)) == 0
        assert isinstance(beat, bytes) or codec.text(beat)
    if codec.pulse is not None:
        answers = server.hear(codec.pulse[0])
        assert all(isinstance(answer, str) and codec.text(answer) for answer in answers)
        assert codec.pulse[1] < codec.silence.total_seconds()


@vendors
def test_a_place_in_the_tape_is_not_the_vendors_business(vendor: Case) -> None:
    codec, server = joined(vendor)

    answers = server.hear(resume(3))

    assert all(isinstance(answer, str) and codec.text(answer) for answer in answers)


NONSENSE = st.one_of(
    st.text(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["a", "v", "t", "k", "e", "type", "symbol", "action", "params", "mode", "tokenList"]), inner
        ),
        max_leaves=8,
    ).map(json.dumps),
)  # fmt: skip


@vendors
@settings(deadline=None)
@given(texts=st.lists(NONSENSE, max_size=5))
def test_a_clients_nonsense_is_answered_and_does_no_harm(vendor: Case, texts: list[str]) -> None:
    codec, server = joined(vendor)
    modes = server.modes.copy()

    answers = [answer for text in texts for answer in server.hear(text)]

    assert all(isinstance(answer, str) and codec.text(answer) for answer in answers)
    assert (server.modes == modes).all()


@vendors
@settings(deadline=None)
@given(garbage=st.one_of(st.binary(max_size=300), st.text(max_size=300), NONSENSE))
def test_garbage_is_read_or_bad_and_the_next_message_is_read(vendor: Case, garbage: bytes | str) -> None:
    codec, server = joined(vendor)
    messages = sent(server)[:8]

    hear(codec, garbage)
    rows, bad = read(codec, messages)

    assert bad == []
    assert len(rows) >= len(messages)


@vendors
def test_a_message_cut_anywhere_invents_no_price(vendor: Case) -> None:
    codec, server = joined(vendor)
    at, message = sent(server)[0]
    prices = set(packets_of(TAPE)["price"].tolist())

    for end in range(len(message)):
        try:
            rows = codec.read(message[:end], at)
        except BadPayload as bad:
            rows = bad.rest if bad.rest is not None else np.zeros(0, TICK)
        assert set(rows[rows["kind"] == Row.TICK]["price"].tolist()) <= prices


@vendors
@settings(deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 6))
def test_a_message_with_one_damaged_byte_is_read_or_bad(vendor: Case, place: int, bit: int) -> None:
    codec, server = joined(vendor)
    at, message = sent(server)[0]
    place %= len(message)
    if isinstance(message, str):
        broken: Message = message[:place] + chr(ord(message[place]) ^ 1 << bit) + message[place + 1 :]
    else:
        broken = message[:place] + bytes([message[place] ^ 1 << bit]) + message[place + 1 :]

    rows, bad = codec.read_many([broken], [at], [0])

    assert ((rows["price"] > 0) & (rows["price"] < 1 << 60)).all()
    assert all(one.source == vendor.name for one in bad)


@vendors
@pytest.mark.parametrize("filling", ["x", "[", "\x00", '{"t":"tf",', '[{"ev":"T",'])
def test_a_huge_message_is_bad_and_no_more(vendor: Case, filling: str) -> None:
    codec, server = joined(vendor)
    huge = filling * (4_000_000 // len(filling))

    hear(codec, huge)
    hear(codec, huge.encode())
    with pytest.raises(BadPayload):
        codec.text(huge)
    rows, bad = read(codec, sent(server)[:3])

    assert bad == []
    assert len(rows) > 0


@speakers
@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "nan", "", [], {}, True, -1, 1e300])
def test_a_field_of_another_kind_is_never_a_price(vendor: Case, value: object) -> None:
    codec, server = joined(vendor)
    at, message = sent(server)[0]
    assert isinstance(message, str)
    rest = set(packets_of(TAPE)["price"].tolist())

    for changed in variants(json.loads(message), value):
        rows, _ = codec.read_many([json.dumps(changed)], [at], [0])

        assert set(rows[rows["kind"] == Row.TICK]["price"].tolist()) <= rest


@speakers
def test_a_message_without_a_field_is_bad_or_says_less(vendor: Case) -> None:
    codec, server = joined(vendor)
    at, message = sent(server)[0]
    assert isinstance(message, str)
    rest = set(packets_of(TAPE)["price"].tolist())

    for changed in variants(json.loads(message), MISSING):
        rows, _ = codec.read_many([json.dumps(changed)], [at], [0])

        assert set(rows[rows["kind"] == Row.TICK]["price"].tolist()) <= rest
        assert (rows["at"] > 0).all()


@given(st.integers(-(1 << 62), 1 << 62), st.integers(0, 1 << 62) | st.just(UNKNOWN))
def test_what_is_plausible_can_be_multiplied_in_64_bits(price: int, volume: int) -> None:
    [fits] = plausible(np.array([price]), np.array([volume])).tolist()

    assert fits == (abs(price) * max(volume, 1) < LARGEST_TURNOVER)


MISSING = object()


def variants(said: Any, value: object) -> list[Any]:
    """The JSON with each of its fields in turn replaced by a value, or left out."""
    found: list[Any] = []
    places = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else []
    for place, inner in [*places]:
        copies = [{**said} if isinstance(said, dict) else [*said]]
        if value is MISSING:
            del copies[0][place]
        else:
            copies[0][place] = value
        for deeper in variants(inner, value):
            copies.append({**said} if isinstance(said, dict) else [*said])
            copies[-1][place] = deeper
        found += copies
    return found
