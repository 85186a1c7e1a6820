"""FlatTrade's stream against recorded frames and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from market.codecs import Accepted, Account, Notice, OrderUpdate, Refused
from market.errors import BadPayload, BadValue
from market.money import SCALE, UNKNOWN
from market.sessions import SECOND
from market.ticks import Flag, Kind, Ticks
from market.vendors.flattrade import BATCH, FlatTrade, count, price

FIXTURES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "flattrade-noren"
recorded = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recorded payloads are not beside this checkout")

RECEIVED = 1_695_992_705 * SECOND
ACC = "NSE|22"
SNAPSHOT = {
    "t": "dk", "e": "NSE", "tk": "22", "ts": "ACC-EQ", "lp": "1156.25", "c": "1152.30", "v": "10432",
    "bp1": "1156.00", "bq1": "4", "bo1": "1", "sp1": "1156.50", "sq1": "10", "so1": "2", "ft": "1695992700",
}  # fmt: skip


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text().splitlines()]


def expected(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.expected.json").read_text())


def codec(*tokens: str) -> FlatTrade:
    return FlatTrade({token: k for k, token in enumerate(tokens or (ACC,))}, source=3)


def say(to: FlatTrade, said: dict[str, Any]) -> Ticks:
    return to.read(json.dumps(said), RECEIVED, 7)


def trades(rows: Ticks) -> Ticks:
    return rows[rows["kind"] == Kind.TICK]


@recorded
def test_a_delta_changes_what_it_names_and_nothing_else() -> None:
    feed = codec("NSE|11630")
    names = {"lp": "price", "v": "day_volume", "bp1": "bid", "sp1": "ask", "bq1": "bid_quantity", "sq1": "ask_quantity"}

    seen = [trades(say(feed, line["frame"]))[0] for line in lines("ws/touchline_ntpc")]

    for row, known in zip(seen, expected("ws/touchline_ntpc")["after_each"], strict=True):
        for name, column in names.items():
            scale = SCALE if name in ("lp", "bp1", "sp1") else 1
            assert row[column] == round(known[name] * scale), name
        assert (row["flags"], row["at"], row["quoted"]) == (Flag.NO_TIME, RECEIVED, UNKNOWN)


@recorded
def test_a_depth_delta_keeps_the_levels_it_leaves_out() -> None:
    feed = codec()
    known = expected("ws_synthetic/auth_ok_then_depth")["expected"]
    said = [json.dumps(line) for line in lines("ws_synthetic/auth_ok_then_depth")]

    events = [feed.text(text) for text in said if not feed.carries(text)]
    rows, bad = feed.read_many([text for text in said if feed.carries(text)], [RECEIVED] * 2, [0, 1])
    [book] = feed.depth()

    assert [type(event) for event in events] == [Accepted, Notice]
    assert known["subscribed_ok"]
    assert bad == []
    assert [Kind(k) for k in rows["kind"]] == [Kind.CLOSE, Kind.TICK, Kind.TICK]
    assert rows["price"][0] == round(known[ACC]["c"] * SCALE)
    assert rows["price"][2] == round(known[ACC]["lp"] * SCALE)
    assert rows["at"][2] == rows["quoted"][2] == book["at"] == known[ACC]["feed_time"] * SECOND
    for side, name in (("bids", "bid"), ("asks", "ask")):
        levels = [
            [p / SCALE, int(q), int(o)]
            for p, q, o in zip(book[name].tolist(), book[f"{name}_quantity"], book[f"{name}_orders"], strict=True)
            if p != UNKNOWN
        ]
        assert levels == known[ACC][side]
    assert (book["ask"][1:] == UNKNOWN).all()


@recorded
@pytest.mark.parametrize(("name", "event"), [("auth_rejected", Refused), ("legacy_ck_ack", Accepted)])
def test_a_login_is_answered(name: str, event: type) -> None:
    [line] = lines(f"ws_synthetic/{name}")

    assert type(codec().text(json.dumps(line))) is event
    assert expected(f"ws_synthetic/{name}")["expected"]["subscribed_ok"] is (event is Accepted)


@recorded
def test_an_orders_updates_are_merged_and_each_fill_stands_once() -> None:
    feed = codec()
    [(number, known)] = expected("ws_synthetic/order_partial_then_complete")["expected"].items()

    events = [feed.text(json.dumps(line)) for line in lines("ws_synthetic/order_partial_then_complete")]

    updates = [event for event in events if isinstance(event, OrderUpdate)]
    last = updates[-1]
    fields = last.fields
    assert [type(event) for event in events] == [Notice, *[OrderUpdate] * 3]
    assert (last.order_id, last.status) == (number, known["status"].upper())
    assert (fields["qty"], fields["fillshares"], fields["avgprc"]) == ("100", "100", str(known["avg"]))
    assert (fields["prd"], fields["remarks"]) == ("I", known["client_id"])
    fills = [
        [u.fields["flid"], int(u.fields["flqty"]), float(u.fields["flprc"])] for u in updates if "flid" in u.fields
    ]
    assert fills == known["fills"]


@pytest.mark.parametrize("said", ["OK", "Ok", "ok"])
@pytest.mark.parametrize("kind", ["ak", "ck"])
def test_an_ack_is_read_in_any_case(kind: str, said: str) -> None:
    assert codec().text(json.dumps({"t": kind, "s": said})) == Accepted()


def test_a_refusal_says_why() -> None:
    refused = codec().text('{"t":"ck","s":"Not_Ok","emsg":"Session Expired"}')

    assert refused == Refused(reason="Session Expired")


def test_a_delta_before_its_snapshot_is_left_out_and_counted() -> None:
    feed = codec()

    rows = say(feed, {"t": "tf", "e": "NSE", "tk": "22", "lp": "1157.00", "v": "5"})

    assert len(rows) == 0
    assert (feed.orphans, feed.unpriced, feed.unknown) == (1, 1, 0)


def test_a_new_socket_needs_new_snapshots() -> None:
    feed = codec()
    say(feed, SNAPSHOT)

    feed.hello(Account(user="FT1"))

    assert len(say(feed, {"t": "df", "e": "NSE", "tk": "22", "bq1": "5"})) == 0
    assert len(feed.depth()) == 0


def test_a_snapshot_forgets_what_it_does_not_name() -> None:
    feed = codec()
    say(feed, SNAPSHOT)

    [row] = say(feed, {"t": "dk", "e": "NSE", "tk": "22", "lp": "1156.30"})

    assert row["price"] == 1156_3000
    assert row["day_volume"] == row["bid"] == row["bid_quantity"] == row["quoted"] == UNKNOWN


@pytest.mark.parametrize("zero", ["0", "0.00"])
def test_a_price_of_zero_is_no_price(zero: str) -> None:
    feed = codec()

    rows = say(feed, SNAPSHOT | {"lp": zero, "c": zero, "bp1": zero})
    [later] = say(feed, {"t": "df", "e": "NSE", "tk": "22", "lp": "1157.00"})

    assert (len(rows), feed.unpriced) == (0, 1)
    assert later["bid"] == later["bid_quantity"] == UNKNOWN
    assert later["ask"] == 1156_5000


def test_the_previous_close_comes_once_and_again_when_it_changes() -> None:
    feed = codec()

    kinds = [say(feed, SNAPSHOT | {"c": close})["kind"].tolist() for close in ("1152.30", "1152.30", "1160.00")]

    assert kinds == [[Kind.CLOSE, Kind.TICK], [Kind.TICK], [Kind.CLOSE, Kind.TICK]]


def test_open_interest_counts_for_derivatives_only() -> None:
    feed = codec(ACC, "NFO|35001")

    rows = [
        trades(say(feed, SNAPSHOT | {"oi": "500", "e": e, "tk": tk}))[0] for e, tk in (("NSE", "22"), ("NFO", "35001"))
    ]

    assert [row["open_interest"] for row in rows] == [UNKNOWN, 500]


def test_an_index_has_no_volume() -> None:
    feed = codec("NSE|26000")

    [row] = say(feed, {"t": "tk", "e": "NSE", "tk": "26000", "ts": "Nifty 50", "lp": "24500.35", "ft": "1695992700"})

    assert (row["price"], row["day_volume"], row["at"]) == (24500_3500, UNKNOWN, 1695992700 * SECOND)


@pytest.mark.parametrize(("name", "value"), [
    ("lp", "nan"), ("lp", "-5.00"), ("lp", "1e5"), ("lp", ""), ("lp", 1156.25), ("lp", None), ("lp", "1.00001"),
    ("lp", "9" * 13), ("v", "1.5"), ("v", "-1"), ("v", ["1"]), ("bq3", "x"), ("ft", "169599270"), ("ft", "soon"),
    ("c", "Infinity"), ("lp", "\u0661\u0662"),
])  # fmt: skip
def test_a_value_that_cannot_be_read_is_told_and_becomes_unknown(name: str, value: object) -> None:
    feed = codec()
    say(feed, SNAPSHOT)

    with pytest.raises(BadPayload, match=name):
        say(feed, {"t": "df", "e": "NSE", "tk": "22", name: value})
    rows = say(feed, {"t": "df", "e": "NSE", "tk": "22", "sq1": "11"})

    column = {"lp": "price", "v": "day_volume", "ft": "quoted"}.get(name)
    assert len(rows) == (name != "lp")
    assert column is None or name == "lp" or rows[0][column] == UNKNOWN


@pytest.mark.parametrize("message", [
    '{"t":"tf"', '{"t":"tf"}', '{"t":"tf","e":"NSE"}', '["t",{"t":"tf"}]', b"\x00\xff", b"", '{"a":{"t":"tf"}}',
    '{"t":"tf","e":"NSE","tk":NaN}', "[" * 100_000 + '"t":"tf"', '{"t":"xx","e":"NSE","tk":"22","x":{"t":"tf"}}',
])  # fmt: skip
def test_garbage_raises_and_the_next_message_is_fine(message: str | bytes) -> None:
    feed = codec()

    assert feed.carries(message)
    with pytest.raises(BadPayload):
        feed.read(message, RECEIVED)
    assert len(say(feed, SNAPSHOT)) == 2


def test_logins_speak_the_handshake_of_their_address() -> None:
    account = Account(user="FT1", access_token=SecretStr("secret"))
    feed = codec()

    said = []
    for root in (FlatTrade.stream, "wss://piconnect.example/PiConnectWSTp/"):
        assert feed.address(root, account) == root
        said.append(json.loads(feed.hello(account)[0]))

    who = {"uid": "FT1", "actid": "FT1", "source": "API"}
    assert said == [{"t": "a", **who, "accesstoken": "secret"}, {"t": "c", **who, "susertoken": "secret"}]


def test_subscriptions_are_batched_and_orders_are_asked_for_once() -> None:
    tokens = [f"NSE|{k}" for k in range(BATCH + 1)]
    feed = codec(*tokens)
    feed.hello(Account(user="FT1"))

    first = [json.loads(text) for text in feed.subscribe(tokens, "full")]
    again = [json.loads(text) for text in feed.subscribe(tokens[:2], "full")]
    other = [json.loads(text) for text in feed.subscribe(tokens[:2], "ltp")]
    back = [json.loads(text) for text in feed.unsubscribe(tokens[1:3])]

    assert first == [
        {"t": "o", "actid": "FT1"}, {"t": "d", "k": "#".join(tokens[:BATCH])}, {"t": "d", "k": tokens[BATCH]},
    ]  # fmt: skip
    assert again == [{"t": "d", "k": "NSE|0#NSE|1"}]
    assert other == [{"t": "ud", "k": "NSE|0#NSE|1"}, {"t": "t", "k": "NSE|0#NSE|1"}]
    assert back == [{"t": "u", "k": "NSE|1"}, {"t": "ud", "k": "NSE|2"}]


@pytest.mark.parametrize("token", ["22", "NSE|", "XXX|22", "NSE|2 2", "NSE|22#NSE|23", 22])
def test_a_token_of_another_form_is_refused(token: object) -> None:
    with pytest.raises(BadValue, match="NSE"):
        FlatTrade({token: 0})  # type: ignore[dict-item]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(BadValue, match="full"):
        codec().subscribe([ACC], "loud")


@given(st.integers(0, 10**15))
def test_every_amount_of_ours_is_read_exactly(amount: int) -> None:
    assert price(f"{amount // SCALE}.{amount % SCALE:04d}") == amount


@given(st.text(max_size=12))
def test_text_is_a_price_or_refused(text: str) -> None:
    try:
        assert price(text) >= 0
        assert text.isascii()
    except ValueError:
        assert not text.isdecimal() or not text.isascii() or len(text) > 12


@given(st.lists(st.fixed_dictionaries({}, optional={
    "lp": st.sampled_from(["100.05", "100.10", "0.00"]), "v": st.integers(1, 9).map(str),
    "bp1": st.sampled_from(["99.95", "0"]), "ft": st.integers(1695992700, 1695992709).map(str),
}), max_size=20))  # fmt: skip
def test_deltas_say_what_snapshots_of_the_same_state_say(changes: list[dict[str, str]]) -> None:
    whole, sparse = codec(), codec()
    state = dict(SNAPSHOT)
    say(sparse, state), say(whole, state)

    for change in changes:
        state |= change
        a = say(whole, state)
        b = say(sparse, {"t": "df", "e": "NSE", "tk": "22", **change})
        assert a.tobytes() == b.tobytes()


def test_how_messages_are_cut_makes_no_difference() -> None:
    one, many = codec(), codec()
    said = [json.dumps(SNAPSHOT)] + [
        json.dumps({"t": "df", "e": "NSE", "tk": "22", "lp": f"{1150 + k}.00", "ft": str(1695992700 + k)})
        for k in range(9)
    ]

    single = np.concatenate([one.read(text, RECEIVED + k, k) for k, text in enumerate(said)])
    rows, bad = many.read_many(said, [RECEIVED + k for k in range(10)], range(10))

    assert bad == []
    assert rows.tobytes() == single.tobytes()
    assert rows["sequence"].tolist() == [0, *(k << 16 for k in range(10))]
    assert count("12") == 12


def test_a_price_times_a_volume_that_no_market_has_is_bad_until_both_come_again() -> None:
    feed = codec()

    with pytest.raises(BadPayload, match="an amount that no market has"):
        say(feed, {**SNAPSHOT, "lp": "100000000000", "v": "999999999999"})
    quiet = say(feed, {"t": "df", "e": "NSE", "tk": "22", "bp1": "1156.05"})
    [row] = trades(say(feed, {"t": "df", "e": "NSE", "tk": "22", "lp": "1156.30", "v": "10433"}))

    assert len(quiet) == 0
    assert (row["price"], row["day_volume"]) == (11563000, 10433)
