"""Kite: recorded packets against their expected values, damaged frames, and the rules of the columns."""

import base64
import json
import struct
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import SecretStr

from market.codecs import Account, Notice, OrderUpdate, TapeClock, TapeEnd, VendorError
from market.errors import AuthRequired, BadPayload, BadValue, LineDown, Rejected
from market.instruments import Kind as ContractKind
from market.money import UNKNOWN
from market.ticks import Flag, Kind
from market.vendors.kite import BATCH, Kite
from market.vendors.kite_packets import FULL, INDEX_FULL, LTP, PACKETS, QUOTE, columns, encode, frame
from market.vendors.kite_rest import candles, envelope, instruments, session_checksum

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "zerodha-kite"
RECORDED = sorted(SHARED.glob("ticker*/*.expected.json"))
shared = pytest.mark.skipif(not RECORDED, reason="the shared fixtures are not beside this checkout")

RELIANCE, NIFTY, GOLD, USDINR, GSEC = 738561, 256265, 53490439, 307203, 307206
TOKENS = {RELIANCE: 0, NIFTY: 1, GOLD: 2, USDINR: 3, GSEC: 4}
NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def packets(kind, tokens, **fields):
    rows = np.zeros(len(tokens), PACKETS[kind])
    rows["token"] = tokens
    rows["last_price"] = 294070
    for name, value in fields.items():
        rows[name] = value
    return rows


def recorded_frame(expected):
    raw = (SHARED / expected.parent.name / expected.name.removesuffix(".expected.json")).read_bytes()
    if json.loads(expected.read_text())["encoding"] == "raw_frame":
        return raw
    packet = base64.b64decode(raw)
    return b"\x00\x01" + len(packet).to_bytes(2, "big") + packet


def book(levels, prices):
    placed = zip(levels, prices, strict=True)
    return [{"quantity": int(level["quantity"]), "price": p, "orders": int(level["orders"])} for level, p in placed]


def as_json(kind, decoded):
    """Columns as the shared expectation writes ticks, with their place in the frame."""
    whole = ("last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity", "last_trade_time")
    interest = ("oi", "oi_day_high", "oi_day_low", "exchange_timestamp")
    names, rupees = decoded.rows.dtype.names, decoded.rupees()
    for i, row in enumerate(decoded.rows):
        tick = {"tradable": bool(decoded.tradable()[i]), "mode": kind.removeprefix("index_")}
        tick |= {"instrument_token": int(row["token"]), "last_price": rupees["last_price"][i]}
        tick |= {name: int(row[name]) for name in (*whole, *interest) if name in names}
        if "close" in names:
            tick["ohlc"] = {name: rupees[name][i] for name in ("open", "high", "low", "close")}
            tick["change"] = pytest.approx(float(decoded.change_percent()[i]), rel=1e-9)
        if "average_traded_price" in names:
            tick["average_traded_price"] = rupees["average_traded_price"][i]
        if "bids" in names:
            tick["depth"] = {"buy": book(row["bids"], rupees["bids"][i]), "sell": book(row["asks"], rupees["asks"][i])}
        yield int(decoded.places[i]), tick


@shared
@pytest.mark.parametrize("expected", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_every_recorded_packet_decodes_to_its_expected_values(expected):
    message = recorded_frame(expected)

    decoded = [tick for kind, block in columns(message).items() for tick in as_json(kind, block)]

    assert [tick for _, tick in sorted(decoded, key=lambda placed: placed[0])] == json.loads(expected.read_text())[
        "ticks"
    ]


@shared
@pytest.mark.parametrize("expected", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_ticks_of_recorded_packets_have_their_expected_prices_volumes_and_times(expected):
    wanted = json.loads(expected.read_text())["ticks"]
    codec = Kite({tick["instrument_token"]: i for i, tick in enumerate(wanted)})

    rows = codec.read(recorded_frame(expected), NOW)
    ticks = rows[rows["kind"] == Kind.TICK]

    assert [row["price"] / 10_000 for row in ticks] == [tick["last_price"] for tick in wanted]
    assert ticks["day_volume"].tolist() == [tick.get("volume_traded", UNKNOWN) for tick in wanted]
    stamps = [tick.get("last_trade_time", tick.get("exchange_timestamp")) for tick in wanted]
    assert ticks["at"].tolist() == [s * SECOND if s else NOW for s in stamps]
    assert ticks["flags"].tolist() == [0 if s else Flag.NO_TIME for s in stamps]
    best = [(t["depth"]["buy"][0], t["depth"]["sell"][0]) if "depth" in t else None for t in wanted]
    assert [row["bid"] / 10_000 for row, b in zip(ticks, best, strict=True) if b] == [b[0]["price"] for b in best if b]
    assert [int(row["ask_quantity"]) for row, b in zip(ticks, best, strict=True) if b] == [
        b[1]["quantity"] for b in best if b
    ]


@pytest.mark.parametrize(
    ("token", "raw", "money"),
    [(RELIANCE, 294070, 29_407_000), (GOLD, 408400, 40_840_000), (USDINR, 832775000, 832_775), (GSEC, 832800, 832_800)],
)
def test_a_price_is_divided_by_what_its_segment_says(token, raw, money):
    codec = Kite(TOKENS)

    rows = codec.read(frame(encode("ltp", packets("ltp", [token], last_price=raw))), NOW)

    assert rows["price"].tolist() == [money]


def test_a_currency_price_between_our_units_is_bad_and_the_others_are_read():
    codec = Kite(TOKENS)
    message = frame(encode("ltp", packets("ltp", [USDINR, RELIANCE, USDINR], last_price=[832775001, 100, 832775000])))

    with pytest.raises(BadPayload, match="between our units") as bad:
        codec.read(message, NOW)

    assert bad.value.rest["instrument"].tolist() == [0, 3]
    assert bad.value.rest["price"].tolist() == [10_000, 832_775]


def test_open_interest_is_known_for_derivatives_only():
    codec = Kite(TOKENS)

    rows = codec.read(frame(encode("full", packets("full", [RELIANCE, GOLD, GOLD], oi=[5, 21845, 0]))), NOW)

    assert rows["open_interest"].tolist() == [UNKNOWN, 21845, 0]


def test_a_zero_level_of_the_book_is_no_level():
    codec = Kite(TOKENS)
    row = packets("full", [RELIANCE])
    row["bids"]["quantity"][0] = 7
    row["asks"]["price"][0, 0], row["asks"]["quantity"][0, 0], row["asks"]["orders"][0, 0] = 294100, 3, 2

    tick = codec.read(frame(encode("full", row)), NOW)[0]
    depth = codec.depth()[0]

    assert (tick["bid"], tick["bid_quantity"], tick["ask"], tick["ask_quantity"]) == (UNKNOWN, UNKNOWN, 29_410_000, 3)
    assert depth["bid"].tolist() == [UNKNOWN] * 5 and depth["bid_quantity"].tolist() == [0] * 5
    assert depth["ask"].tolist() == [29_410_000] + [UNKNOWN] * 4 and depth["ask_orders"].tolist() == [2, 0, 0, 0, 0]


def test_depth_is_the_latest_book_of_what_changed_since_the_last_call():
    codec = Kite(TOKENS)
    first, second = packets("full", [RELIANCE, GOLD]), packets("full", [RELIANCE], exchange_timestamp=1_700_000_001)
    first["bids"]["price"], second["bids"]["price"] = 100, 200

    codec.read(frame(encode("full", first), encode("full", second)), NOW)

    depth = codec.depth()
    assert depth["instrument"].tolist() == [0, 2] and depth["bid"][:, 0].tolist() == [20_000, 10_000]
    assert depth["at"].tolist() == [1_700_000_001 * SECOND, NOW]
    assert len(codec.depth()) == 0


def test_a_stamp_of_zero_leaves_the_time_of_receipt():
    codec = Kite(TOKENS)
    rows = packets("full", [RELIANCE] * 2, last_trade_time=[0, 1_699_999_990], exchange_timestamp=[1_699_999_999, 0])

    ticks = codec.read(frame(encode("full", rows)), NOW)

    assert ticks["at"].tolist() == [NOW, 1_699_999_990 * SECOND]
    assert ticks["quoted"].tolist() == [1_699_999_999 * SECOND, UNKNOWN]
    assert ticks["flags"].tolist() == [Flag.NO_TIME, 0]


def test_a_packet_without_a_price_is_counted_and_left_out():
    codec = Kite(TOKENS)
    prices = [0, -5, 100, -5]

    rows = codec.read(frame(encode("ltp", packets("ltp", [RELIANCE, NIFTY, RELIANCE, GOLD], last_price=prices))), NOW)

    assert rows["price"].tolist() == [10_000, -500], "only a commodity may cost less than nothing"
    assert codec.unpriced == 2


def test_a_previous_close_comes_once_and_again_when_it_changes():
    codec = Kite(TOKENS)
    said = [
        frame(encode("quote", packets("quote", [RELIANCE, GOLD], close=close))) for close in (100, 100, [100, 120], 0)
    ]

    closes = [
        [row[["instrument", "price"]].item() for row in codec.read(m, NOW) if row["kind"] == Kind.CLOSE] for m in said
    ]

    assert closes == [[(0, 10_000), (2, 10_000)], [], [(2, 12_000)], []]


def test_volumes_and_tokens_are_unsigned():
    codec = Kite({0xFFFFFF01: 4})

    rows = codec.read(frame(encode("quote", packets("quote", [0xFFFFFF01], volume_traded=4_000_000_000))), NOW)

    assert rows[["instrument", "day_volume"]].tolist() == [(4, 4_000_000_000)]


@pytest.mark.parametrize("token", [0, 1 << 32, -255, 738570])
def test_a_token_of_no_known_segment_is_not_taken(token):
    with pytest.raises(BadValue, match="token"):
        Kite({token: 0})


GOOD = frame(encode("full", packets("full", [RELIANCE, GOLD])), encode("ltp", packets("ltp", [NIFTY])))


@pytest.mark.parametrize(
    ("message", "reason", "rest"),
    [
        (b"", "empty", []),
        (b"\xff\xff\x00\x08", "count of -1", []),
        (GOOD[:-1], "packet 2 of 3 is cut short", [0, 2]),
        (GOOD[:200], "packet 1 of 3 is cut short", [0]),
        (GOOD[: 2 + 186], "1 packets of 3", [0]),
        (GOOD + b"\x00", "1 bytes behind", [0, 2, 1]),
        (b"\x00\x01" + GOOD[2:], "196 bytes behind", [0]),
        (b"\x00\x04" + GOOD[2:] + b"\x00\x02ab", "unknown length, the first of 2 bytes", [0, 2, 1]),
        (b"\x00\x02\x00\x03abc" + GOOD[-10:], "unknown length, the first of 3 bytes", [1]),
        (b"\x00\x02\x00\x00" + GOOD[-10:], "unknown length, the first of 0 bytes", [1]),
        (b"\x00\x01\xff\xffabc", "packet 0 of 1 is cut short", []),
        (b"<html>502 Bad Gateway</html>", "cut short", []),
    ],
)
def test_a_damaged_frame_is_bad_keeps_what_can_be_read_and_harms_no_later_frame(message, reason, rest):
    codec = Kite(TOKENS)

    with pytest.raises(BadPayload, match=reason) as bad:
        codec.read(message, NOW)

    assert bad.value.payload == message
    assert bad.value.rest["instrument"].tolist() == rest
    assert codec.read(GOOD, NOW).tobytes() == Kite(TOKENS).read(GOOD, NOW).tobytes()


def test_columns_of_a_damaged_frame_keep_what_can_be_read():
    with pytest.raises(BadPayload, match="cut short") as bad:
        columns(GOOD[:-1])

    assert bad.value.rest["full"].rows["token"].tolist() == [RELIANCE, GOLD] and "ltp" not in bad.value.rest


@given(data=st.data(), kind=st.sampled_from(sorted(PACKETS)), count=st.integers(0, 20))
def test_what_is_encoded_is_decoded(data, kind, count):
    size = count * PACKETS[kind].itemsize
    rows = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), PACKETS[kind]).copy()
    if kind == "full":
        rows["bids"]["padding"] = rows["asks"]["padding"] = 0

    decoded = columns(frame(encode(kind, rows)))

    assert (decoded[kind].rows.tobytes() if count else b"") == rows.tobytes()


@given(st.lists(st.sampled_from(sorted(PACKETS)), max_size=30), st.randoms(use_true_random=False))
def test_packets_of_mixed_kinds_come_back_in_the_order_of_the_frame(kinds, random):
    prices = [random.randrange(1, 2**31) for _ in kinds]
    blocks = [encode(k, packets(k, [RELIANCE], last_price=price)) for k, price in zip(kinds, prices, strict=True)]

    rows = Kite(TOKENS).read(frame(*blocks), NOW, 9)

    assert rows["price"].tolist() == [price * 100 for price in prices]
    assert rows["sequence"].tolist() == [9 << 16 | place for place in range(len(prices))]


@settings(max_examples=300)
@given(st.binary(max_size=600) | st.binary(max_size=100).map(lambda tail: b"\x00\x02\x00\x08" + tail))
def test_arbitrary_bytes_are_read_or_bad_and_nothing_else(message):
    codec = Kite(TOKENS)

    for decode in (lambda: codec.read(message, NOW), lambda: columns(message)):
        try:
            decode()
        except BadPayload as bad:
            assert bad.payload == message


@settings(max_examples=300)
@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_cut_and_flipped_frames_are_read_or_bad_and_the_next_is_read(cut, place, byte):
    codec = Kite(TOKENS)
    flipped = GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]

    for message in (GOOD[:cut], flipped, flipped[:cut]):
        try:
            codec.read(message, NOW)
        except BadPayload as bad:
            assert set(bad.rest["instrument"].tolist()) <= {0, 1, 2}

    assert codec.read(GOOD, NOW)["price"].tolist()[-3:] == [29_407_000] * 3


def test_the_raw_layout_is_that_of_the_protocol_page():
    entry = struct.pack(">iih2x", 5, 157340, 1)
    packet = struct.pack(">16I", 408065, 157370, 7, 157037, 1192471, 256443, 363009, 156915, 157500, 156105, 156780,
                         1625461887, 11, 12, 13, 1625461888) + entry * 10  # fmt: skip

    row = columns(b"\x00\x01\x00\xb8" + packet)["full"].rows[0]

    assert row.tolist()[:16] == struct.unpack(">16I", packet[:64])
    assert row["bids"].tolist() == row["asks"].tolist() == [(5, 157340, 1, 0)] * 5
    assert encode("full", np.array([row], FULL)).tobytes() == b"\x00\xb8" + packet


def test_rows_of_another_kind_are_not_encoded():
    with pytest.raises(BadValue, match="full packets"):
        encode("full", np.zeros(1, QUOTE))


def test_a_frame_holds_no_more_packets_than_its_count():
    with pytest.raises(BadValue, match="32767"):
        frame(encode("ltp", np.zeros(32_768, LTP)))


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            '{"type":"order","data":{"order_id":"1","status":"OPEN","tag":null}}',
            OrderUpdate(order_id="1", status="OPEN", fields={"order_id": "1", "status": "OPEN", "tag": None}),
        ),
        ('\ufeff{"type":"error","data":"Too many tokens"}', VendorError(message="Too many tokens")),
        ('{"type":"message","data":"Market closes early"}', Notice(data="Market closes early")),
        ('{"type":"message","data":{"bourse":{"frame":7,"clock":1472096700000000000}}}',
         TapeClock(frame=7, clock=1472096700000000000)),
        ('{"type":"message","data":{"bourse":{"end":true}}}', TapeEnd()),
    ],
)  # fmt: skip
def test_a_text_says_what_it_says(text, event):
    assert Kite(TOKENS).text(text) == event


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{", '{"data":1}', '{"type":"surprise","data":1}', '{"type":["order"],"data":{}}',
        '{"type":"order"}', '{"type":"order","data":{"status":"OPEN"}}', '{"type":"error","data":7}', "[" * 100_000,
        '{"type":"message","data":NaN}', '{"type":"message","data":{"bourse":{"frame":"7","clock":1}}}',
        '{"type":"message","data":{"bourse":{"frame":-1,"clock":1}}}', '{"type":"message","data":{"bourse":{}}}',
    ],
)  # fmt: skip
def test_a_text_of_no_known_shape_is_bad(text):
    with pytest.raises(BadPayload):
        Kite(TOKENS).text(text)


@given(st.text(max_size=80) | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["type", "data", "bourse", "order_id", "end"]), x)).map(json.dumps))  # fmt: skip
def test_arbitrary_text_is_read_or_bad_and_nothing_else(text):
    try:
        Kite(TOKENS).text(text)
    except BadPayload as bad:
        assert bad.source == "kite"


def test_tokens_are_asked_for_in_batches_subscribed_first_then_given_their_mode():
    asked = [json.loads(text) for text in Kite.subscribe(range(BATCH + 1), "full")]

    assert [(a["a"], len(a["v"])) for a in asked[:2]] == [("subscribe", BATCH), ("mode", 2)]
    assert asked[2:] == [{"a": "subscribe", "v": [BATCH]}, {"a": "mode", "v": ["full", [BATCH]]}]
    assert Kite.unsubscribe([1]) == ['{"a":"unsubscribe","v":[1]}']


def test_an_unknown_mode_is_not_asked_for():
    with pytest.raises(BadValue, match="ltp, quote, full"):
        Kite.subscribe([1], "depth")


def test_the_address_escapes_what_a_token_may_hold():
    account = Account(api_key=SecretStr("k"), access_token=SecretStr("a+b/c=&d"))

    assert Kite(TOKENS).address(Kite.stream, account) == "wss://ws.kite.trade?api_key=k&access_token=a%2Bb%2Fc%3D%26d"


def test_a_session_is_asked_for_with_the_documented_checksum():
    # printf 'keytokensecret' | sha256sum
    wanted = "08a03d928417ea4085557933d3b187ff2a3515b039d6054dbd230c95d978a17a"

    assert session_checksum("key", "token", "secret") == wanted


@pytest.mark.parametrize(
    ("error_type", "raised"),
    [
        ("TokenException", AuthRequired), ("TwoFAException", AuthRequired), ("InputException", Rejected),
        ("MarginException", Rejected), ("NetworkException", LineDown), ("GeneralException", LineDown),
        ("BrandNewException", LineDown),
    ],
)  # fmt: skip
def test_an_error_is_named_after_what_to_do_next(error_type, raised):
    body = {"status": "error", "message": "no", "error_type": error_type, "data": None}

    with pytest.raises(raised, match="no"):
        envelope(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html></html>", "text/html"), (b'{"status":"success","data":1}', "text/html"),
        (b"<html>", "application/json"),
        (b"[]", "application/json"), (b'{"status":"success"}', "application/json"), (b"\xff", "application/json"),
        (b'{"status":"success","data":NaN}', "application/json"), (b"[" * 100_000, "application/json"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_envelope_is_bad(body, content_type):
    with pytest.raises(BadPayload):
        envelope(body, content_type)


@shared
def test_every_recorded_answer_has_data():
    answers = [p for p in (SHARED / "rest").glob("*.json") if p.name not in ("dotnet_error.json", "postback.json")]

    empty = {path.name for path in answers if not envelope(path.read_bytes())}

    assert len(answers) > 30 and empty == {"alerts_delete.json"}


@shared
def test_recorded_candles_are_read_with_their_times_and_prices():
    rows = candles((SHARED / "rest" / "dotnet_historical.json").read_bytes(), instrument=3, interval=60)

    assert len(rows) == 6
    assert rows[["instrument", "interval", "open", "high", "low", "close", "volume"]][0].item() == (
        3, 60, 8_867_000, 8_869_000, 8_865_000, 8_869_000, 2603,
    )  # fmt: skip
    assert rows["start"][0] == 1_504_855_800 * SECOND, "2017-09-08 13:00 in India is 07:30 UTC"


@pytest.mark.parametrize(
    "candle",
    ['["2017-09-08T13:00:00", 2, 2, 2, 2, 1]', '["2017-09-08T13:00:00+0530", 2, 1, 2, 2, 1]', '["x", 2, 2, 2, 2, 1]',
     '["2017-09-08T13:00:00+0530", 2.00001, 3, 1, 2, 1]', '["2017-09-08T13:00:00+0530", 2, 2, 2, 2]', "7",
     '["2017-09-08T13:00:00+0530", 2, 1e300, 2, 2, 1]', '["2017-09-08T13:00:00+0530", 2, 2, 2, 2, -1]'],
)  # fmt: skip
def test_a_bad_candle_is_named_and_the_others_are_read(candle):
    body = f'{{"status":"success","data":{{"candles":[{candle},["2017-09-08T13:01:00+0530",2,2,2,2,1,9]]}}}}'

    with pytest.raises(BadPayload, match="candle 0") as bad:
        candles(body.encode(), 3, 60)

    assert bad.value.rest[["open", "open_interest"]].tolist() == [(20_000, 9)]


HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n"
)


def test_names_with_commas_and_strikes_in_scientific_notation_are_read():
    body = "\ufeff" + HEADER + (
        '738561,2885,RELIANCE,"RELIANCE ""IND"", LTD",0.0,,0.0,0.05,1,EQ,NSE,NSE\n'
        "256265,1001,NIFTY 50,NIFTY 50,0.0,,0.0,0.0,0,EQ,INDICES,NSE\n"
        "12073986,47164,X18JAN13.14CE,,2528.4,2018-01-25,1.314E+1,0.05,40,CE,NFO-OPT,NFO\n"
    )  # fmt: skip

    reliance, nifty, option = instruments(body.encode())

    assert (reliance.symbol, reliance.name, reliance.tick_size) == ("NSE:RELIANCE", 'RELIANCE "IND", LTD', 500)
    assert (nifty.symbol, nifty.kind, nifty.strike) == ("NSE:NIFTY 50", ContractKind.INDEX, None)
    assert (option.kind, option.strike, option.expiry) == (ContractKind.CALL, 131_400, date(2018, 1, 25))


@pytest.mark.parametrize(
    "line",
    ["x,2885,R,R,0.0,,0.0,0.05,1,EQ,NSE,NSE", "738561", "738561,2885,R,R,0.0,,0.0,0.05,1,ZZ,NSE,NSE",
     "738561,2885,R,R,0.0,2018-13-01,0.0,0.05,1,EQ,NSE,NSE", "738561,2885,R,R,0.0,,1E+999999,0.05,1,EQ,NSE,NSE"],
)  # fmt: skip
def test_a_bad_line_is_named_and_the_others_are_read(line):
    good = "738561,2885,RELIANCE,R,0.0,,0.0,0.05,1,EQ,NSE,NSE"

    with pytest.raises(BadPayload, match="line 3") as bad:
        instruments(f"{HEADER}{good}\n{line}\n{good}\n".encode())

    assert [contract.symbol for contract in bad.value.rest] == ["NSE:RELIANCE"] * 2


def test_a_page_in_the_place_of_the_list_of_instruments_is_bad():
    with pytest.raises(BadPayload, match="without"):
        instruments(b"<html>Bad Gateway</html>")


@shared
def test_the_recorded_list_of_instruments_is_read_whole():
    listed = instruments((SHARED / "rest" / "instruments_all.csv").read_bytes())

    assert len(listed) == 99
    assert all(contract.token >> 8 == contract.exchange_token for contract in listed)
    assert {c.kind for c in listed} == {ContractKind.EQUITY, ContractKind.CALL, ContractKind.PUT}


@given(hnp.arrays(INDEX_FULL, st.integers(0, 5)))
def test_index_packets_have_a_stamp_and_no_volume(rows):
    rows["token"], rows["last_price"] = NIFTY, 2_340_685
    rows["exchange_timestamp"] = 1_718_176_569

    ticks = Kite(TOKENS).read(frame(encode("index_full", rows)), NOW)
    ticks = ticks[ticks["kind"] == Kind.TICK]

    assert len(ticks) == len(rows) and set(ticks["at"].tolist()) <= {1_718_176_569 * SECOND}
    assert set(ticks["day_volume"].tolist()) <= {UNKNOWN}


@pytest.mark.parametrize("kind", ["quote", "full"])
def test_a_price_times_a_volume_that_no_market_has_is_bad_and_the_others_are_read(kind):
    rows = packets(kind, [RELIANCE, GOLD], volume_traded=[2**32 - 1, 1000], last_price=[2**31 - 1, 7_000_000])

    ticks, bad = Kite(TOKENS).read_many([frame(encode(kind, rows))], [NOW], [0])

    assert ticks[ticks["kind"] == Kind.TICK]["instrument"].tolist() == [TOKENS[GOLD]]
    assert [one.reason for one in bad] == ["an amount that no market has"]
