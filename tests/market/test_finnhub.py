"""Finnhub's trade stream, against the vendor's own samples and what must hold for any message."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from market.codecs import Account, Notice, Refused, TapeEnd, VendorError, tape_text
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.ticks import TICK, Flag
from market.vendors.finnhub import Finnhub

NOW = 1_700_000_000_000_000_000
T = 1_700_000_000_123
SAMPLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "finnhub"
ACCOUNT = Account(api_key=SecretStr("a b"))


def codec() -> Finnhub:
    return Finnhub({"AAPL": 0, "AMZN": 1}, 5)


def trade(symbol: str = "AAPL", **fields: object) -> dict[str, object]:
    return {"s": symbol, "p": 190.5, "t": T, "v": 10, "c": None} | fields


def message(*trades: object) -> str:
    return json.dumps({"data": list(trades), "type": "trade"})


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the vendor's samples are not beside the repository")
def test_the_vendors_samples_are_trades_a_ping_and_a_complaint() -> None:
    bare, null, ping, error = (SAMPLES / "ws_frames.jsonl").read_text().splitlines()
    coins = Finnhub({"BINANCE:BTCUSDT": 3})

    assert [codec().carries(m) for m in (bare, null, ping, error)] == [True, True, False, False]
    assert codec().text(ping) == Notice(data="ping")
    assert codec().text(error) == VendorError(message="Subscribing to too many symbols")
    for fraction in (bare, null):
        with pytest.raises(BadPayload, match="not a whole number"):
            coins.read(fraction, NOW)


def test_trades_become_prints_with_their_conditions() -> None:
    finnhub = codec()

    rows = finnhub.read(message(trade(), trade("AMZN", c=["1", "12"]), trade("XYZ"), trade(c=[])), NOW)

    assert rows[["instrument", "price", "day_volume", "at", "quoted", "received"]].tolist() == [
        (k, 1_905_000, 10, T * 1_000_000, T * 1_000_000, NOW) for k in (0, 1, 0)
    ]
    assert rows["flags"].tolist() == [Flag.PRINT, Flag.PRINT | Flag.VOLUME_ONLY, Flag.PRINT]
    assert set(rows["bid"].tolist()) == {UNKNOWN} and finnhub.unknown == 1


def test_equal_trades_of_one_instant_are_numbered_and_come_again_with_the_same_numbers() -> None:
    finnhub, restarted = codec(), codec()

    finnhub.address("wss://x", ACCOUNT)
    first = [finnhub.read(message(trade(), trade(), trade(v=11)), NOW), finnhub.read(message(trade()), NOW)]
    finnhub.address("wss://x", ACCOUNT)
    again = finnhub.read(message(trade(), trade(), trade(v=11), trade()), NOW)

    assert np.concatenate(first)["sequence"].tolist() == [0, 1, 0, 2]
    assert again["sequence"].tolist() == [0, 1, 0, 2]
    assert restarted.read(message(trade(), trade()), NOW)["sequence"].tolist() == [0, 1]


def test_what_has_no_price_is_left_out_and_counted() -> None:
    finnhub = codec()

    rows = finnhub.read(message(trade(p=0), trade(p=None), trade(c=["16"]), trade(v=0)), NOW)

    assert rows["day_volume"].tolist() == [0] and finnhub.unpriced == 3


@pytest.mark.parametrize(
    "bad",
    [
        trade(c=["999"]), trade(c=[12]), trade(c=5), trade(p=-1), trade(p="x"), trade(p=1.00001), trade(v=-1),
        trade(v=0.5), trade(v=None), trade(t=None), trade(t=12), trade(s=None), {}, None, [], 7,
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_trade_is_told_and_the_others_of_its_message_are_read(bad: object) -> None:
    text = message(trade(v=1), bad, trade("AMZN", v=2))

    with pytest.raises(BadPayload) as told:
        codec().read(text, NOW)

    assert told.value.payload == text.encode() and told.value.rest["day_volume"].tolist() == [1, 2]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"type":"news"}', '{"type":"trade"}', '{"type":"error"}', "null"])
def test_a_text_that_says_nothing_known_is_bad(text: str) -> None:
    with pytest.raises(BadPayload):
        codec().text(text)
    with pytest.raises(BadPayload):
        codec().read(text, NOW)


def test_a_refused_key_needs_a_person() -> None:
    assert codec().text('{"msg":"Invalid API key","type":"error"}') == Refused(reason="Invalid API key")


def test_a_login_a_subscription_and_its_end_are_in_the_vendors_words() -> None:
    assert codec().address("wss://ws.finnhub.io", ACCOUNT) == "wss://ws.finnhub.io?token=a+b"
    assert codec().hello(ACCOUNT) == []
    assert codec().subscribe(["AAPL", "AMZN"], "full") == [
        '{"type":"subscribe","symbol":"AAPL"}',
        '{"type":"subscribe","symbol":"AMZN"}',
    ]
    assert codec().unsubscribe(["AAPL"]) == ['{"type":"unsubscribe","symbol":"AAPL"}']
    assert codec().text(tape_text(TapeEnd())) == TapeEnd() and not codec().carries(tape_text(TapeEnd()))
    with pytest.raises(BadValue):
        codec().subscribe(["AAPL"], "deep")


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_garbage_is_bad_and_the_next_message_is_read(garbage: str | bytes) -> None:
    finnhub = codec()

    with pytest.raises(BadPayload) as told:
        finnhub.read(garbage, NOW)

    assert told.value.rest.dtype == TICK and len(told.value.rest) == 0
    assert finnhub.read(message(trade()), NOW)["price"].tolist() == [1_905_000]


@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(0, 2)), max_size=6), max_size=6))
def test_many_messages_are_read_as_one_after_the_other(batches: list[list[tuple[int, int, int]]]) -> None:
    together, apart = codec(), codec()
    texts = [message(*(trade(["AAPL", "AMZN"][k], p=p, v=v) for k, p, v in batch)) for batch in batches]

    rows, bad = together.read_many(texts, range(len(texts)), range(len(texts)))

    assert bad == [] and rows.tobytes() == b"".join(apart.read(t, k).tobytes() for k, t in enumerate(texts))
    keys = rows[["instrument", "at", "price", "day_volume", "sequence"]].tolist()
    assert len(set(keys)) == len(keys) == sum(map(len, batches))
