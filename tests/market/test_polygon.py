"""Polygon's stocks stream, against the vendor's own samples and what must hold for any message."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from market.codecs import Accepted, Account, Notice, Refused, TapeClock, VendorError, tape_text
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.ticks import TICK, Flag, Kind
from market.vendors.finnhub import Finnhub
from market.vendors.polygon import BATCH, Polygon
from market.vendors.us_prints import CONDITIONS

NOW = 1_651_684_193_000_000_000
SAMPLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "polygon-massive" / "ws"

recorded = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the vendor's samples are not beside the repository")


def codec() -> Polygon:
    return Polygon({"AAPL": 0, "AMZN": 1, "MSFT": 2}, 5)


def trade(symbol: str = "AAPL", **fields: object) -> dict[str, object]:
    return {
        "ev": "T",
        "sym": symbol,
        "i": "1",
        "x": 4,
        "p": 161.87,
        "s": 100,
        "t": 1651684192462,
        "q": 7,
        "z": 3,
    } | fields


def frame(*events: object) -> str:
    return json.dumps(list(events))


@recorded
def test_the_vendors_session_logs_in_subscribes_and_trades() -> None:
    connected, authorised, subscribed, first, second = (
        (SAMPLES / "session_server_frames.jsonl").read_text().splitlines()
    )
    polygon = codec()

    assert [polygon.carries(m) for m in (connected, authorised, subscribed, first, second)] == [False] * 3 + [True] * 2
    assert isinstance(polygon.text(connected), Notice) and polygon.text(authorised) == Accepted()
    assert polygon.text(subscribed) == Notice(data="subscribed to: T.AAPL")
    rows, bad = polygon.read_many([first, second], [NOW, NOW + 1], [0, 1])
    assert bad == []
    assert rows[["instrument", "price", "day_volume", "sequence", "flags", "received"]].tolist() == [
        (0, 1_618_700, 300, 4009402, Flag.PRINT, NOW),
        (1, 1_618_700, 1, 4009408, Flag.PRINT | Flag.VOLUME_ONLY, NOW + 1),
        (1, 1_618_700, 100, 4009434, Flag.PRINT, NOW + 1),
    ]
    assert rows["at"].tolist() == [1651684192462000000, 1651684192536000000, 1651684192717000000]
    assert set(rows["source"].tolist()) == {5} and set(rows["kind"].tolist()) == {Kind.TICK}


@recorded
def test_every_event_of_the_vendors_list_is_read_or_counted() -> None:
    samples = [json.loads(line) for line in (SAMPLES / "spec_examples.jsonl").read_text().splitlines()]
    polygon = codec()

    rows = polygon.read(frame(*(s["example"] for s in samples if s["channel"] != "/options/T")), NOW)

    assert rows[["instrument", "price", "day_volume", "sequence"]].tolist() == [(2, 1_141_250, 100, 3681328)]
    assert rows["flags"].tolist() == [Flag.PRINT | Flag.VOLUME_ONLY]
    assert polygon.unknown == len(samples) - 2


@pytest.mark.parametrize(
    ("codes", "flags"),
    [
        ([], Flag.PRINT),
        ([14, 41], Flag.PRINT),
        ([12], Flag.PRINT | Flag.VOLUME_ONLY),
        ([2], Flag.PRINT | Flag.VOLUME_ONLY),
        ([14, 37], Flag.PRINT | Flag.VOLUME_ONLY),
        ([33], Flag.PRINT | Flag.RANGE_ONLY),
        ([22, 53], Flag.PRINT | Flag.VOLUME_ONLY),
    ],
)
def test_conditions_say_which_prices_a_print_moves(codes: list[int], flags: int) -> None:
    assert codec().read(frame(trade(c=codes)), NOW)["flags"].tolist() == [flags]


def test_official_prices_are_no_trades_and_what_has_no_price_is_left_out() -> None:
    polygon = codec()

    rows = polygon.read(frame(trade(c=[15]), trade(c=[37, 16]), trade(p=0), trade(p=None), trade(p=0.0)), NOW)

    assert len(rows) == 0 and polygon.unpriced == 5


@pytest.mark.parametrize(
    "event",
    [
        trade(c=[999]), trade(c="14"), trade(c=[True]), trade(c=7), trade(c=[[]]), trade(p=-1), trade(p="161.87"),
        trade(p=161.87345), trade(p=1e300), trade(p=True), trade(s=-5), trade(s=1.5), trade(s=None), trade(s="1"),
        trade(t=0), trade(t=1651684192), trade(t=1.5), trade(t=None), trade(q=-1), trade(q="7"), trade(q=1 << 70),
        trade(sym=None), trade(sym=7), {"ev": "T"}, {"sym": "AAPL"}, {"ev": "ZZ", "sym": "AAPL"}, {"ev": []},
        {"ev": "status", "status": "error"}, [], None, 5, "T",
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_event_is_told_and_the_others_of_its_frame_are_read(event: object) -> None:
    polygon, message = codec(), frame(trade(q=1), event, trade("AMZN", q=2))

    with pytest.raises(BadPayload) as told:
        polygon.read(message, NOW)

    assert told.value.payload == message.encode() and "1 bad events" in told.value.reason
    assert told.value.rest["sequence"].tolist() == [1, 2]


def test_a_missing_price_or_number_is_never_taken_for_zero() -> None:
    for missing in ("s", "t", "q"):
        event = trade()
        del event[missing]
        with pytest.raises(BadPayload):
            codec().read(frame(event), NOW)


def test_a_stamp_in_nanoseconds_is_told_from_one_in_milliseconds() -> None:
    rows = codec().read(frame(trade(t=1651181822461979400), trade(t=1651181822461)), NOW)

    assert rows["at"].tolist() == [1651181822461979400, 1651181822461000000]


def test_a_quote_moves_the_best_prices_of_the_prints_behind_it() -> None:
    polygon = codec()
    quote = {"ev": "Q", "sym": "AAPL", "bp": 161.86, "bs": 3, "ap": 0, "as": 0, "t": 1651684192462, "q": 1}

    rows = polygon.read(frame(trade(), quote, trade(q=8), trade("AMZN")), NOW)
    depth = polygon.depth()

    assert rows["bid"].tolist() == [UNKNOWN, 1_618_600, UNKNOWN] and set(rows["ask"].tolist()) == {UNKNOWN}
    assert depth["instrument"].tolist() == [0] and depth["bid"][0, 0] == 1_618_600 and depth["ask"][0, 0] == UNKNOWN
    assert len(polygon.depth()) == 0


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("auth_failed", Refused(reason="m")),
        ("auth_success", Accepted()),
        ("max_connections", VendorError(message="m")),
        ("auth_timeout", VendorError(message="m")),
        ("error", VendorError(message="m")),
        ("success", Notice(data="m")),
    ],
)
def test_the_gravest_status_of_a_frame_counts(status: str, event: object) -> None:
    success = {"ev": "status", "status": "success", "message": "subscribed to: T.AAPL"}
    message = {"ev": "status", "status": status, "message": "m"}

    assert codec().text(frame(message, success)) == event
    if not isinstance(event, Notice):
        assert codec().text(frame(success, message)) == event


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '[{"ev":"status","status":"new"}]', '[{"ev":"T"}]', "[1]"])
def test_a_text_that_says_nothing_known_is_bad(text: str) -> None:
    with pytest.raises(BadPayload):
        codec().text(text)


def test_the_clock_of_a_simulated_exchange_is_a_text_and_no_data() -> None:
    clock = TapeClock(frame=3, clock=NOW)

    assert not codec().carries(tape_text(clock)) and codec().text(tape_text(clock)) == clock


def test_a_login_a_subscription_and_its_end_are_in_the_vendors_words() -> None:
    account = Account(api_key=SecretStr("KEY"))

    assert codec().address("wss://x/stocks", account) == "wss://x/stocks"
    assert json.loads(codec().hello(account)[0]) == {"action": "auth", "params": "KEY"}
    assert codec().subscribe(["AAPL", "AMZN"], "quote") == ['{"action":"subscribe","params":"T.AAPL,T.AMZN"}']
    assert codec().subscribe(["AAPL"], "full") == ['{"action":"subscribe","params":"T.AAPL,Q.AAPL"}']
    assert codec().unsubscribe(["AAPL"]) == ['{"action":"unsubscribe","params":"T.AAPL,Q.AAPL"}']
    assert len(codec().subscribe([f"T{k}" for k in range(BATCH + 1)], "ltp")) == 2
    with pytest.raises(BadValue):
        codec().subscribe(["AAPL"], "deep")


def test_every_condition_has_a_rule() -> None:
    from market.vendors import finnhub, polygon

    assert set(polygon.CONDITIONS.values()) | set(finnhub.CONDITIONS.values()) <= CONDITIONS.keys()


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*trade()]), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80), JSONS.map(json.dumps)))
def test_garbage_is_read_or_bad_and_the_next_message_is_read(message: str | bytes) -> None:
    polygon = codec()

    try:
        polygon.read(message, NOW)
    except BadPayload as bad:
        assert bad.payload == (message if isinstance(message, bytes) else message.encode(errors="replace"))
        assert bad.rest.dtype == TICK
    if isinstance(message, str):
        try:
            polygon.text(message)
        except BadPayload as bad:
            assert bad.source == "polygon"

    assert polygon.read(frame(trade()), NOW)["price"].tolist() == [1_618_700]


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("TQ"), st.integers(0, 3), st.integers(1, 10**7)), max_size=6), max_size=6
    )
)
def test_many_frames_are_read_as_one_after_the_other(frames: list[list[tuple[str, int, int]]]) -> None:
    together, apart = codec(), codec()
    names = ["AAPL", "AMZN", "MSFT", "TSLA"]
    texts = [frame(*(trade(names[k], ev=ev, p=p / 100, bp=p / 100, q=p) for ev, k, p in events)) for events in frames]

    rows, bad = together.read_many(texts, range(len(texts)), range(len(texts)))

    one_by_one = [apart.read(text, k, k) for k, text in enumerate(texts)]
    assert bad == [] and rows.tobytes() == b"".join(r.tobytes() for r in one_by_one)
    assert together.depth().tobytes() == apart.depth().tobytes()
    prices = [p * 100 for events in frames for ev, k, p in events if ev == "T" and k < 3]
    assert rows["price"].tolist() == prices and np.all(rows["sequence"] * 100 == rows["price"])
    assert together.unknown == sum(k == 3 for events in frames for _, k, _ in events)


@pytest.mark.parametrize("codec", [Polygon({"AAPL": 0}), Finnhub({"AAPL": 0})], ids=lambda one: one.name)
def test_a_print_of_more_than_any_market_trades_is_bad(codec: Polygon | Finnhub) -> None:
    huge: dict[str, object] = {"p": 6_000_000_000, "s": 70_000_000_000_000, "t": 1_700_000_000_000}
    event: object = [trade(**huge)]
    if isinstance(codec, Finnhub):
        event = {"type": "trade", "data": [{"s": "AAPL", "p": huge["p"], "v": huge["s"], "t": huge["t"]}]}

    rows, bad = codec.read_many([json.dumps(event)], [1], [0])

    assert len(rows) == 0
    assert "is no market's" in bad[0].reason


@pytest.mark.parametrize("stamp", [9_472_096_700_000, 10**14 - 1])
def test_a_stamp_whose_ns_do_not_fit_is_bad_and_the_others_are_read(stamp: int) -> None:
    rows, bad = codec().read_many([frame(trade(t=stamp), trade())], [1], [0])

    assert len(rows) == 1
    assert "neither in ms nor in ns" in bad[0].reason
