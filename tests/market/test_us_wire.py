"""The servers of the US trade streams: what they answer, and that a tape played over them folds back to itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from market.codecs import Accepted, Account, Conversation, Notice, Refused, TickCodec, VendorError
from market.fold import CandleBuilder
from market.generator import generate
from market.sessions import MINUTE, Sessions, session
from market.tape import BAR, Tape, from_bars
from market.ticks import NO_TICKS, FeedState, Ticks, mark
from market.universes import US20
from market.vendors import finnhub_wire, polygon_wire
from market.vendors.finnhub import Finnhub
from market.vendors.polygon import Polygon

INSTRUMENTS = [one.instrument for one in US20]
HOUR = session(date(2025, 11, 20), time(9, 15), time(10, 15))
ACCOUNT = Account(api_key=SecretStr("KEY"))


@dataclass(frozen=True)
class Vendor:
    """Both halves of a stream."""

    name: str
    codec: Callable[[dict[str, int]], TickCodec]
    talk: Callable[[], Conversation]

    def __repr__(self) -> str:
        return self.name


VENDORS = [
    Vendor("polygon", Polygon, lambda: polygon_wire.Talk(polygon_wire.wire(INSTRUMENTS), "KEY".__eq__)),
    Vendor("finnhub", Finnhub, lambda: finnhub_wire.Talk(finnhub_wire.wire(INSTRUMENTS))),
]
vendors = pytest.mark.parametrize("vendor", VENDORS, ids=repr)


def connected(vendor: Vendor, wanted: list[int]) -> tuple[TickCodec, Conversation]:
    codec = vendor.codec({str(INSTRUMENTS[i].tokens[vendor.name]): i for i in wanted})
    talk = vendor.talk()
    codec.address("wss://x", ACCOUNT)
    for text in [*codec.hello(ACCOUNT), *codec.subscribe([INSTRUMENTS[i].ticker for i in wanted], "full")]:
        for answer in talk.hear(text):
            assert isinstance(answer, str) and not isinstance(codec.text(answer), VendorError | Refused)
    return codec, talk


def played(codec: TickCodec, talk: Conversation, tape: Tape) -> Ticks:
    parts = []
    for step in range(tape.steps):
        messages = talk.frames(tape.packets(step), {}, tape.clock(step))
        assert all(codec.carries(m) for m in messages)
        rows, bad = codec.read_many(messages, [tape.clock(step)] * len(messages), range(len(messages)))
        assert bad == []
        parts += [rows, mark(0, FeedState.LIVE, tape.clock(step))]
    return np.concatenate([NO_TICKS, *parts])


def folded(log: Ticks, tape: Tape, instruments: int) -> list[tuple[int, ...]]:
    candles = CandleBuilder(range(instruments), Sessions([tape.session]).table()).step(log)
    candles = candles[(candles["interval"] == 60) & (candles["trades"] > 0)]
    candles = candles[np.lexsort((candles["start"], candles["instrument"]))]
    return [tuple(row) for row in candles[list(BAR.names)].tolist()]


@vendors
def test_a_generated_hour_folds_back_to_itself(vendor: Vendor) -> None:
    tape = generate(US20, HOUR, 7)
    everybody = list(range(len(US20)))

    log = played(*connected(vendor, everybody), tape)

    assert folded(log, tape, len(US20)) == [tuple(bar) for bar in tape.bars.tolist()]


@vendors
def test_only_what_is_subscribed_comes_until_it_is_given_back(vendor: Vendor) -> None:
    tape = generate(US20, HOUR, 7)
    codec, talk = connected(vendor, [0, 3])

    before = {int(i) for step in range(60) for m in talk.frames(tape.packets(step), {}, 0)
              for i in codec.read(m, 0)["instrument"]}  # fmt: skip
    for text in codec.unsubscribe([INSTRUMENTS[0].ticker]):
        talk.hear(text)

    assert before == {0, 3} and codec.unknown == 0
    assert np.flatnonzero(talk.modes).tolist() == [3] and len(talk.fresh()) == 0


BARS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 4), st.lists(st.integers(1, 60), min_size=4, max_size=4), st.integers(0, 30)
    ),
    max_size=12,
    unique_by=lambda bar: bar[:2],
)


@vendors
@settings(max_examples=40, deadline=None)
@given(BARS)
def test_any_recorded_minutes_fold_back_to_themselves(
    vendor: Vendor, drawn: list[tuple[int, int, list[int], int]]
) -> None:
    five = session(date(2025, 11, 20), time(9, 15), time(9, 20))
    bars = np.zeros(len(drawn), BAR)
    for row, (who, minute, prices, volume) in zip(bars, drawn, strict=True):
        row["instrument"], row["start"], row["volume"] = who, five.open + minute * MINUTE, volume
        row["open"], row["close"] = prices[0] * 100, prices[1] * 100
        row["high"], row["low"] = max(prices) * 100, min(prices) * 100
    tape = from_bars(five, bars, {})

    log = played(*connected(vendor, [0, 1, 2]), tape)

    assert folded(log, tape, 3) == [tuple(bar) for bar in tape.bars.tolist()]


def test_polygon_greets_wants_a_key_and_answers_each_topic() -> None:
    talk, codec = polygon_wire.Talk(polygon_wire.wire(INSTRUMENTS), "KEY".__eq__), Polygon({})

    def said(text: str) -> object:
        return codec.text(str(talk.hear(text)[0]))

    assert codec.text(polygon_wire.GREETING) == Notice(data="Connected Successfully")
    assert said('{"action":"subscribe","params":"T.AAPL"}') == VendorError(message="not authorized")
    assert said('{"action":"auth","params":"x"}') == Refused(reason="authentication failed") and not talk.admitted
    assert said('{"action":"auth","params":"KEY"}') == Accepted() and talk.admitted
    topics = json.loads(str(talk.hear('{"action":"subscribe","params":"T.AAPL,Q.AAPL,T.NOPE,A.AAPL,T."}')[0]))
    assert [event["status"] for event in topics] == ["success", "success", "error", "error", "error"]
    assert said('{"action":"unsubscribe","params":"T.AAPL"}') == Notice(data="unsubscribed to: T.AAPL")
    talk.hear('{"action":"subscribe","params":"T.*"}')
    assert (talk.modes > 0).all()


def test_finnhub_carries_as_many_symbols_as_the_plan_does() -> None:
    talk, codec = finnhub_wire.Talk(finnhub_wire.wire(INSTRUMENTS), most=2), Finnhub({})

    answers = [talk.hear(text) for text in codec.subscribe(["AAPL", "AMD", "AMZN", "AAPL"], "full")]

    assert [len(a) for a in answers] == [0, 0, 1, 0]
    assert codec.text(str(answers[2][0])) == VendorError(message="Subscribing to too many symbols")
    assert codec.text(str(talk.hear('{"type":"subscribe","symbol":"NOPE"}')[0])) == VendorError(
        message="Invalid symbol NOPE"
    )


@vendors
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "7",
        '{"action":1,"params":2}',
        '{"action":"fly","params":"T.AAPL"}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","symbol":null}',
        '{"type":[],"symbol":"AAPL"}',
        '{"action":"subscribe","params":{}}',
        "[" * 10_000,
    ],
)
def test_a_clients_nonsense_is_answered_and_subscribes_nothing(vendor: Vendor, text: str) -> None:
    codec, talk = connected(vendor, [])

    answers = talk.hear(text)

    assert [type(codec.text(str(a))) for a in answers] == [VendorError] and not talk.modes.any()


def test_a_pulse_is_a_text_that_says_nothing() -> None:
    pulse, seconds = finnhub_wire.Talk(finnhub_wire.wire(INSTRUMENTS)).pulse or ("", 0)

    assert Finnhub({}).text(str(pulse)) == Notice(data="ping") and seconds < Finnhub.silence.total_seconds()
