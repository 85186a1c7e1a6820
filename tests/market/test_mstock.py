"""mStock: synthetic packets checked by the vendor's own decoder, damaged messages, and the rules of the columns."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from market.codecs import Accepted, Account, OrderUpdate, Refused, TapeClock, TapeEnd, VendorError
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.ticks import Flag, Kind
from market.vendors.mstock import BATCH, MStock
from market.vendors.mstock_packets import MODES, PACKETS, packet, stamps

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "mstock-typeb"
RECORDED = sorted(SHARED.glob("feed_synthetic/*.expected.json"))
shared = pytest.mark.skipif(not RECORDED, reason="the shared fixtures are not beside this checkout")

INFY, NIFTY, FUTURE, GOLD = "1|1594", "1|26000", "2|38477", "5|114"
TOKENS = {INFY: 0, NIFTY: 1, FUTURE: 2, GOLD: 3}
SECOND = 1_000_000_000
NOW = 1_625_461_888 * SECOND
STAMP = 1_309_948_887
"""2021-07-05 10:41:27 in India, as the wire has it."""
THEN = 1_625_461_887 * SECOND


def message(token=INFY, mode="full", **fields):
    row = np.zeros(1, PACKETS[mode])
    exchange, _, name = token.partition("|")
    row["mode"], row["exchange"], row["token"] = MODES[mode], int(exchange), name.encode()
    row["last_price"], row["exchange_time"] = 157370, STAMP
    if mode != "ltp":
        row["total_buy_quantity"] = 1
    if mode == "full":
        row["last_trade_time"] = STAMP
    for field, value in fields.items():
        row[field] = value
    return row.tobytes()


def as_json(row, rupees):
    """A packet as the shared expectation writes it, prices in rupees or as on the wire."""
    prices = {"ltp", "avg_traded_price", "open", "high", "low", "close", "upper_circuit_lmt", "lower_circuit_lmt",
              "52_wk_high", "52_wk_low", "price"}  # fmt: skip
    names = {"mode": "subscription_mode", "exchange": "exchange_type", "token": "instrument_token",
             "sequence": "sequence_no", "exchange_time": "ex_timestamp", "last_price": "ltp",
             "last_quantity": "last_traded_qty", "average_price": "avg_traded_price", "volume": "vol_traded_today",
             "total_buy_quantity": "tot_buy_qty", "total_sell_quantity": "tot_sell_qty",
             "last_trade_time": "last_traded_timestamp", "open_interest_change": "open_interest_percent",
             "bids": "bid", "asks": "ask", "flag": "buy_or_sell", "upper_circuit": "upper_circuit_lmt",
             "lower_circuit": "lower_circuit_lmt", "year_high": "52_wk_high", "year_low": "52_wk_low"}  # fmt: skip
    said = {}
    for name in row.dtype.names:
        value, called = row[name], names.get(name, name)
        if name.endswith("_time"):
            value = (np.datetime64("1980-01-01") + np.timedelta64(int(value), "s")).astype(str) + "AM"
        elif name == "token":
            value = value.decode()
        elif name in ("bids", "asks"):
            value = [as_json(level, rupees) for level in value]
        else:
            value = value.item() / 100 if rupees and called in prices else value.item()
        (said.setdefault("ohlc", {}) if name in ("open", "high", "low", "close") else said)[called] = value
    return said


@shared
@pytest.mark.parametrize("expected", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_every_packet_decodes_to_what_the_vendors_decoder_says(expected):
    row = packet((expected.parent / expected.name.removesuffix(".expected.json")).read_bytes())[0]
    wanted = json.loads(expected.read_text())

    mode = {"mode": int(row["mode"])}

    assert [as_json(row, rupees=False) | mode] == wanted["raw_field_ints"]
    assert [as_json(row, rupees=True) | mode] == wanted["with_prices_in_rupees"]


@shared
@pytest.mark.parametrize("expected", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_ticks_of_the_packets_have_their_expected_prices_volumes_and_times(expected):
    codec = MStock(TOKENS)
    [wanted] = json.loads(expected.read_text())["with_prices_in_rupees"]

    rows = codec.read((expected.parent / expected.name.removesuffix(".expected.json")).read_bytes(), NOW, 5)

    [tick] = rows[rows["kind"] == Kind.TICK]
    assert tick["price"] / 10_000 == wanted["ltp"]
    assert tick["day_volume"] == wanted.get("vol_traded_today", UNKNOWN)
    assert (tick["at"], tick["quoted"], tick["received"], tick["sequence"]) == (THEN, THEN, NOW, 5 << 16)
    assert tick["open_interest"] == UNKNOWN, "zeros in the cash segment mean nothing"
    closes = rows["price"][rows["kind"] == Kind.CLOSE] / 10_000
    assert closes.tolist() == ([wanted["ohlc"]["close"]] if "ohlc" in wanted else [])
    if "bid" in wanted:
        best = wanted["bid"][0]["price"], wanted["bid"][0]["quantity"], wanted["ask"][0]["price"]
        assert (tick["bid"] / 10_000, tick["bid_quantity"], tick["ask"] / 10_000) == best
        [book] = codec.depth()
        assert book["at"] == THEN
        for side in ("bid", "ask"):
            assert (book[side] / 10_000).tolist() == [level["price"] for level in wanted[side]]
            assert book[f"{side}_quantity"].tolist() == [level["quantity"] for level in wanted[side]]
            assert book[f"{side}_orders"].tolist() == [level["orders"] for level in wanted[side]]


def test_the_layout_is_that_of_the_protocol_page():
    head = struct.pack("<BB25sQQQ", 3, 2, b"38477", 9, STAMP, 157370)
    day = struct.pack("<QQQddQQQQ", 7, 157037, 1192471, 256443, 363009, 156915, 157500, 156105, 156780)
    levels = b"".join(struct.pack("<HQQH", k < 5, 10 + k, 157300 + k, k) for k in range(10))
    wire = head + day + struct.pack("<QQd", STAMP - 1, 4200, 1.5) + levels + struct.pack("<4Q", 4, 3, 2, 1)

    tick = MStock(TOKENS).read(wire, NOW)[-1]

    assert (len(wire), tick["instrument"], tick["price"], tick["day_volume"]) == (379, 2, 15_737_000, 1192471)
    assert (tick["at"], tick["quoted"], tick["open_interest"]) == (THEN - SECOND, THEN, 4200)
    assert (tick["bid"], tick["bid_quantity"], tick["ask"], tick["ask_quantity"]) == (15_730_000, 10, 15_730_500, 15)


@pytest.mark.parametrize(
    ("stamp", "at", "flag"),
    [
        (STAMP, THEN, 0), (0, NOW, Flag.NO_TIME), (THEN // 1_000_000 + 250, THEN + SECOND // 4, 0),
        (STAMP * 1000 + 250, THEN + SECOND // 4, 0), (1, 315_513_001 * SECOND, 0),
    ],
    ids=["seconds", "none", "milliseconds since 1970", "milliseconds since 1980", "the first second"],
)  # fmt: skip
@pytest.mark.parametrize("mode", [*MODES])
def test_a_stamp_counts_seconds_of_indias_clocks_since_1980_or_milliseconds(stamp, at, flag, mode):
    fields = {"exchange_time": stamp} | ({"last_trade_time": stamp} if mode == "full" else {})

    tick = MStock(TOKENS).read(message(mode=mode, **fields), NOW)[-1]

    assert (tick["at"], tick["flags"], tick["quoted"]) == (at, flag, at if stamp else UNKNOWN)


def test_a_stamp_written_for_the_wire_is_read_back():
    moments = np.array([THEN, NOW, 1_472_096_700 * SECOND], np.int64)

    assert stamps(moments).tolist() == [STAMP, STAMP + 1, 1_156_583_700]
    assert [MStock(TOKENS).read(message(exchange_time=s), m)["quoted"][-1] for s, m in
            zip(stamps(moments), moments, strict=True)] == moments.tolist()  # fmt: skip


def test_a_packet_without_a_price_is_counted_and_left_out():
    codec = MStock(TOKENS)

    rows, bad = codec.read_many([message(last_price=p) for p in (0, 100, 0)], [NOW] * 3, [1, 2, 3])

    assert (rows["price"].tolist(), bad, codec.unpriced) == ([10_000], [], 2)


def test_a_token_nobody_asked_for_is_counted_and_left_out():
    codec = MStock(TOKENS)

    rows, bad = codec.read_many([message(t) for t in ("3|1594", INFY, "1|159", "1|15944")], [NOW] * 4, range(4))

    assert (rows["instrument"].tolist(), bad, codec.unknown) == ([0], [], 3)


def test_what_stands_behind_a_tokens_end_is_not_part_of_it():
    rows = MStock(TOKENS).read(message(token="1|1594")[:8] + b"left over" + message()[17:], NOW)

    assert rows["instrument"].tolist() == [0]


def test_a_zero_level_of_the_book_is_no_level():
    codec = MStock(TOKENS)
    row = np.frombuffer(message(), PACKETS["full"]).copy()
    row["bids"]["quantity"][0] = 7
    row["asks"]["price"][0, 0], row["asks"]["quantity"][0, 0], row["asks"]["orders"][0, 0] = 157400, 3, 2

    tick = codec.read(row.tobytes(), NOW)[0]
    [depth] = codec.depth()

    assert (tick["bid"], tick["bid_quantity"], tick["ask"], tick["ask_quantity"]) == (UNKNOWN, UNKNOWN, 15_740_000, 3)
    assert depth["bid"].tolist() == [UNKNOWN] * 5 and depth["bid_quantity"].tolist() == [0] * 5
    assert depth["ask"].tolist() == [15_740_000] + [UNKNOWN] * 4 and depth["ask_orders"].tolist() == [2, 0, 0, 0, 0]
    assert len(codec.depth()) == 0


@pytest.mark.parametrize(
    ("fields", "volume"),
    [
        ({"volume": 0, "total_buy_quantity": 5}, 0),
        ({"volume": 0, "total_buy_quantity": 0, "total_sell_quantity": 5}, 0),
        ({"volume": 0, "total_buy_quantity": 0}, UNKNOWN),
        ({"volume": 0, "total_buy_quantity": np.nan, "total_sell_quantity": np.nan}, UNKNOWN),
        ({"volume": 9, "total_buy_quantity": np.nan}, 9),
    ],
)
@pytest.mark.parametrize("mode", ["quote", "full"])
def test_an_instrument_that_nobody_bids_for_offers_or_trades_has_no_volume(fields, volume, mode):
    assert MStock(TOKENS).read(message(NIFTY, mode, **fields), NOW)["day_volume"].tolist() == [volume]


def test_floats_that_are_no_numbers_do_no_harm():
    fields = {"total_buy_quantity": np.inf, "total_sell_quantity": np.nan, "open_interest_change": np.nan}

    rows = MStock(TOKENS).read(message(FUTURE, open_interest=7, volume=1, **fields), NOW)

    assert rows[["price", "open_interest", "day_volume"]].tolist() == [(15_737_000, 7, 1)]


def test_a_previous_close_comes_once_and_again_when_it_changes():
    codec = MStock(TOKENS)
    said = [message(INFY, "quote", close=c) for c in (100, 100, 120)] + [message(INFY, close=c) for c in (120, 0, 100)]
    said += [message(GOLD, "quote", close=120)]

    together, _ = codec.read_many(said, [NOW] * 7, range(7))
    alone = MStock(TOKENS)
    single = np.concatenate([alone.read(m, NOW, k) for k, m in enumerate(said)])

    closes = together[together["kind"] == Kind.CLOSE]
    assert closes[["instrument", "price"]].tolist() == [(0, 10_000), (0, 12_000), (0, 10_000), (3, 12_000)]
    assert together.tobytes() == single.tobytes()


WRONG = (
    (b"", "message of 0 bytes"), (b"\x01\x02\x03", "message of 3 bytes"), (message()[:-1], "message of 378 bytes"),
    (message(mode="ltp") + b"\0", "a message of 52 bytes"), (b"<html>502 Bad Gateway</html>", "of 28 bytes"),
    (b"\x01\x00\x7b\x00" + message(), "whose header says 123"), (b"\x00" * 5000, "whose header says 0"),
    (message(last_price=1 << 55), "an amount"), (message(volume=2**64 - 1), "an amount"),
    (message(close=1 << 63), "an amount"), (message(open_interest=1 << 60), "an amount"),
    (message(last_price=10**13, volume=10**12), "an amount"), (message(mode="ltp", last_price=1 << 51), "an amount"),
    (message(exchange_time=8_000_000_001), "a stamp"), (message(exchange_time=2**64 - 1), "a stamp"),
    (message(last_trade_time=8_000_000_000_001), "a stamp"),
)  # fmt: skip


@pytest.mark.parametrize(("wrong", "reason"), WRONG, ids=[reason + str(k) for k, (_, reason) in enumerate(WRONG)])
def test_a_damaged_message_is_bad_and_harms_no_other(wrong, reason):
    codec = MStock(TOKENS)

    with pytest.raises(BadPayload, match=reason) as bad:
        codec.read(wrong, NOW)
    rows, named = codec.read_many([message(GOLD), wrong, message(mode="ltp")], [NOW] * 3, range(3))

    assert bad.value.payload == wrong and len(bad.value.rest) == 0
    assert rows["instrument"].tolist() == [3, 0]
    assert [one.payload for one in named] == [wrong]


def test_a_snap_packet_behind_a_header_is_read():
    framed = struct.pack("<HH", 1, 379) + message()
    codec = MStock(TOKENS)

    rows, bad = codec.read_many([framed, framed + b"tail"], [NOW] * 2, range(2))

    assert rows["price"].tolist() == [15_737_000] * 2
    assert [(one.payload, one.reason) for one in bad] == [(framed + b"tail", "4 bytes behind the packet")]
    with pytest.raises(BadPayload, match="4 bytes") as behind:
        codec.read(framed + b"tail", NOW)
    assert behind.value.rest["price"].tolist() == [15_737_000]


@given(st.lists(st.sampled_from([(t, m) for t in TOKENS for m in MODES]), max_size=30), st.randoms())
def test_messages_of_mixed_modes_come_back_in_their_order_however_they_are_cut(kinds, random):
    said = [message(t, m, last_price=random.randrange(0, 3), **({} if m == "ltp" else {"close": random.randrange(3)}))
            for t, m in kinds]  # fmt: skip
    cut = random.randrange(len(said) + 1)
    codec, other = MStock(TOKENS), MStock(TOKENS)

    whole, _ = codec.read_many(said, [NOW] * len(said), range(len(said)))
    parts = [other.read_many(said[a:b], [NOW] * (b - a), range(a, b))[0] for a, b in ((0, cut), (cut, len(said)))]

    assert whole.tobytes() == np.concatenate(parts).tobytes()
    assert (np.diff(whole["sequence"].astype(np.int64)) >= 0).all()
    assert codec.unpriced == other.unpriced
    assert codec.depth().tobytes() == other.depth().tobytes()


@settings(max_examples=300)
@given(st.sampled_from([51, 123, 379, 383, 0]).flatmap(lambda n: st.binary(min_size=n, max_size=n) if n else
       st.binary(max_size=600)), st.booleans())  # fmt: skip
def test_arbitrary_bytes_are_read_or_bad_and_nothing_else(garbage, ours):
    codec = MStock(TOKENS)
    garbage = message()[:27] + garbage[27:] if ours and len(garbage) in (51, 123, 379) else garbage

    try:
        codec.read(garbage, NOW)
        codec.depth()
    except BadPayload as bad:
        assert bad.payload == garbage

    assert codec.read(message(last_price=4), NOW)["price"].tolist()[-1:] == [400]


@pytest.mark.parametrize("token", ["1594", "7|1594", "x|1", "1|", "1|a b", "1|" + "9" * 26, 1594, "1|é", "²|1"])
def test_a_token_of_another_form_is_not_taken(token):
    with pytest.raises(BadValue, match=r"like 1\|1594"):
        MStock({token: 0})


def test_tokens_are_asked_for_by_exchange_and_given_back_in_the_mode_of_asking():
    codec = MStock(TOKENS)
    many = [f"1|{k}" for k in range(1, BATCH + 2)]

    asked = [json.loads(text) for text in codec.subscribe([*many, "3|500325"], "quote")]
    codec.subscribe(["2|9"], "full")
    given_back = [json.loads(text) for text in codec.unsubscribe(["3|500325", "2|9"])]

    params = [a["params"] for a in asked]
    assert [(p["mode"], p["tokenList"][0]["exchangeType"], len(p["tokenList"][0]["tokens"])) for p in params] == [
        (2, 1, BATCH), (2, 1, 1), (2, 3, 1),
    ]  # fmt: skip
    assert asked[2] == {
        "correlationID": "",
        "action": 1,
        "params": {"mode": 2, "tokenList": [{"exchangeType": 3, "tokens": ["500325"]}]},
    }
    assert [(g["action"], g["params"]["mode"]) for g in given_back] == [(0, 2), (0, 3)]


def test_an_unknown_mode_is_not_asked_for():
    with pytest.raises(BadValue, match="ltp, quote, full"):
        MStock(TOKENS).subscribe([INFY], "depth")


def test_the_login_is_a_text_behind_an_address_with_both_secrets():
    account = Account(api_key=SecretStr("k+/="), access_token=SecretStr("a.b-c"))
    codec = MStock(TOKENS)

    assert codec.address(codec.stream, account) == "wss://ws.mstock.trade?API_KEY=k%2B%2F%3D&ACCESS_TOKEN=a.b-c"
    assert codec.hello(account) == ["LOGIN:a.b-c"]
    assert codec.waits


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("Login successful", Accepted()),
        ('{"status":"True","message":"connected"}', Accepted()),
        ("Invalid token", Refused(reason="Invalid token")),
        ('{"status":"false","message":"session expired"}', Refused(reason="session expired")),
        ('{"type":"error","data":"no such token"}', Refused(reason="no such token")),
    ],
)
def test_the_text_behind_a_login_says_whether_we_were_taken(text, event):
    codec = MStock(TOKENS)
    codec.hello(Account())

    assert codec.text(text) == event
    with pytest.raises(BadPayload):
        codec.text("Login successful")


ORDER = {"orderid": "11", "orderstatus": "Traded", "symboltoken": "22", "price": "1.50"}


@pytest.mark.parametrize(
    ("said", "event"),
    [
        ({"order_status": "order", "orderData": ORDER},
         OrderUpdate(order_id="11", status="Traded", fields={**ORDER, "order_status": "order"})),
        ({"order_status": "trade", "orderData": {"orderid": "11", "status": "x"}},
         OrderUpdate(order_id="11", status="x", fields={"orderid": "11", "status": "x", "order_status": "trade"})),
        ({"type": "error", "data": "Too many tokens"}, VendorError(message="Too many tokens")),
        ({"type": "error", "data": {"code": 7}}, VendorError(message='{"code": 7}')),
        ({"type": "message", "data": {"bourse": {"frame": 7, "clock": 9}}}, TapeClock(frame=7, clock=9)),
        ({"type": "message", "data": {"bourse": {"end": True}}}, TapeEnd()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("asked", [False, True])
def test_a_text_says_what_it_says(said, event, asked):
    codec = MStock(TOKENS)
    if asked and not isinstance(event, VendorError):
        codec.hello(Account())

    assert codec.text(json.dumps(said)) == event


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '{"data":1}', '{"type":"error"}', '{"type":"error","data":7}', "[" * 100_000, "7",
     '{"order_status":"order","orderData":{"status":"OPEN"}}', '{"order_status":"new","orderData":{}}',
     '{"order_status":"order","orderData":[]}', '{"order_status":["order"]}', '{"type":"error","data":NaN}',
     '{"type":"message","data":{"bourse":{"frame":-1,"clock":1}}}'],
)  # fmt: skip
def test_a_text_of_no_known_shape_is_bad(text):
    with pytest.raises(BadPayload):
        MStock(TOKENS).text(text)


@given(st.text(max_size=80) | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["type", "data", "bourse", "order_status", "orderData", "orderid", "status"]), x)).map(json.dumps),
    st.booleans())  # fmt: skip
def test_arbitrary_text_is_read_or_bad_and_nothing_else(text, asked):
    codec = MStock(TOKENS)
    if asked:
        codec.hello(Account())
    try:
        codec.text(text)
    except BadPayload as bad:
        assert bad.source == "mstock"


def test_binary_messages_are_carried_and_heartbeats_and_texts_are_not():
    codec = MStock(TOKENS)

    assert [codec.carries(m) for m in (message(), b"\0" * 5, b"", b"\0" * 4, "text")] == [
        True,
        True,
        False,
        False,
        False,
    ]
