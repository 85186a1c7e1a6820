"""mStock's REST bodies: the vendor's own sample answers, the documented refusals, and what nobody can read."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LineDown, Rejected
from market.instruments import Kind
from market.vendors import mstock_rest
from market.vendors.mstock_rest import candles, envelope, master

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "mstock-typeb" / "rest_typeb"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared fixtures are not beside this checkout")
SECOND = 1_000_000_000


def body(**said):
    return json.dumps({"status": True, "message": "SUCCESS", "errorcode": "", "data": None} | said).encode()


def login(**data):
    return body(status="true", data={"jwtToken": "", "refreshToken": "", "feedToken": "", "state": "live"} | data)


def history(*rows):
    return body(data={"candles": list(rows)})


SAMPLES = {
    "fund_summary.json": lambda data: data[0]["SUM_OF_ALL"] == "299999999997",
    "get_net_positions.json": lambda data: data is None,
    "get_order_book.json": lambda data: data[0]["orderid"] == "1131250211100",
    "historical_chart.json": lambda data: len(data["candles"]) > 40,
    "place_order.json": lambda data: data == {"order_id": "1111250206114"},
    "trade_history.json": lambda data: data == [],
}
REFUSED = {
    "calc_order_margin.json": (Rejected, "The orders field is required"),
    "cancel_all.json": (LineDown, "MA500: something went wrong"),
    "modify_order.json": (Rejected, "IA400: Trigger price can not be blank"),
}


@shared
@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_answer_has_its_data(name):
    assert SAMPLES[name](envelope((SHARED / name).read_bytes()))


@shared
@pytest.mark.parametrize("name", REFUSED)
def test_every_sample_refusal_is_named_after_what_to_do_next(name):
    raised, reason = REFUSED[name]

    with pytest.raises(raised, match=reason):
        envelope((SHARED / name).read_bytes())


@shared
def test_the_samples_are_all_read():
    assert {path.name for path in SHARED.iterdir()} == {*SAMPLES, *REFUSED}


@pytest.mark.parametrize(
    ("said", "status", "raised"),
    [
        ({"status": "false", "errorcode": "IA401"}, 200, AuthRequired),
        ({"status": "error", "error_type": "TokenException"}, 403, AuthRequired),
        ({"status": "error", "message": "API is suspended/expired for use."}, 403, AuthRequired),
        ({"status": "error", "error_type": "TokenException"}, 200, AuthRequired),
        ({"status": True}, 403, AuthRequired),
        ({"status": "False", "errorcode": "MA400"}, 400, Rejected),
        ({"status": False, "errorcode": "IA429"}, 200, LineDown),
        ({"status": False, "errorcode": "MA503"}, 200, LineDown),
        ({"status": False}, 500, LineDown),
        ({"status": 400, "title": "no", "errors": {"orders": ["needed"]}}, 400, Rejected),
        ({"status": 503, "title": "down"}, 503, LineDown),
        ({"status": "maybe"}, 200, BadPayload),
        ({"status": None}, 200, BadPayload),
    ],
)
def test_an_answer_is_named_after_what_to_do_next(said, status, raised):
    with pytest.raises(raised):
        envelope(body(**said), status)


@pytest.mark.parametrize("word", [True, "true", "True", "TRUE", "success"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_success_is_written_in_many_ways(word, listed):
    said = body(status=word, data={"a": 1})

    assert envelope(b"[" + said + b"]" if listed else said) == {"a": 1}
    assert envelope(b"\xef\xbb\xbf" + said) == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "status", "raised"),
    [
        (b"", 200, LineDown), (b" \n", 200, LineDown), (b"", 403, AuthRequired), (b"", 500, LineDown),
        (b"<html></html>", 200, BadPayload), (b"<html>", 403, BadPayload), (b"[]", 200, BadPayload),
        (b"[1,2]", 200, BadPayload), (b"7", 200, BadPayload), (b"\xff", 200, BadPayload), (b"{}", 200, BadPayload),
        (b'{"status":true,"data":NaN}', 200, BadPayload), (b"[" * 100_000, 200, BadPayload),
    ],
)  # fmt: skip
def test_a_body_that_is_no_envelope_is_told_apart(answer, status, raised):
    with pytest.raises(raised):
        envelope(answer, status)


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers(-1, 600) | st.text(max_size=8),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(
        st.sampled_from(["status", "data", "errorcode", "error_type", "message", "errors", "candles", "token", "name"]),
        x)).map(lambda said: json.dumps(said).encode()), st.sampled_from([200, 400, 403, 500]))  # fmt: skip
def test_arbitrary_bodies_raise_errors_of_ours_and_nothing_else(answer, status):
    for read in (envelope, lambda b, s: candles(b, 0, 60, s), master, mstock_rest.request_token,
                 mstock_rest.access_token):  # fmt: skip
        try:
            read(answer, status)
        except BourseError:
            continue


def test_a_login_gives_its_token_under_either_name():
    assert mstock_rest.request_token(login(jwtToken="697c39bf")) == "697c39bf"
    assert mstock_rest.request_token(login(refreshToken="r", jwtToken="j")) == "r"
    assert mstock_rest.access_token(login(jwtToken="eyJ")) == "eyJ"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (body(status="false", message="Invalid username or password. 9 attempts remaining ", errorcode="MA500"), 200),
        (body(status="false", message="Please provide valid clientcode and password.", errorcode="400"), 400),
        (body(status="error", message="Please enter correct TOTP", error_type="MA400"), 400),
        (body(status="error", message="API is suspended/expired for use."), 403),
    ],
)
def test_a_refused_login_is_never_tried_again_by_a_machine(answer, status):
    with pytest.raises(AuthRequired, match="bourse login mstock"):
        mstock_rest.request_token(answer, status)


@pytest.mark.parametrize("answer", [login(), body(), body(data=[]), body(data={"jwtToken": 7}), b"<html>"])
def test_a_login_without_a_token_is_bad(answer):
    with pytest.raises(BadPayload):
        mstock_rest.access_token(answer)


@pytest.mark.parametrize(
    ("when", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_codes_are_those_of_rfc_6238_appendix_b(when, code):
    assert mstock_rest.totp("GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ", when) == code


def test_a_secret_of_eighty_bits_as_brokers_hand_out_is_taken():
    # pyotp's README, counter-based OTPs: counters 0, 1 and 1401 of this secret.
    codes = [mstock_rest.totp("base32secret3232", 30 * counter) for counter in (0, 1, 1401)]

    assert codes == ["260182", "055283", "316439"]


def test_a_secret_that_is_no_base32_is_not_shown():
    with pytest.raises(BadValue, match="base32") as bad:
        mstock_rest.totp("not-a-secret", 0)

    assert "not-a-secret" not in str(bad.value) and "not-a-secret" not in repr(bad.value)


@shared
def test_sample_candles_are_read_with_their_times_and_prices():
    rows = candles((SHARED / "historical_chart.json").read_bytes(), instrument=3, interval=3600)

    assert rows[["instrument", "interval", "open", "high", "low", "close", "volume"]][0].item() == (
        3, 3600, 41_020_000, 41_359_000, 40_893_000, 40_968_000, 173_362,
    )  # fmt: skip
    assert rows["start"][0] == 1_738_383_300 * SECOND, "2025-02-01 09:45 in India is 04:15 UTC"
    assert rows["session"][0] == (date(2025, 2, 1) - date(1970, 1, 1)).days
    assert len(rows) == (SHARED / "historical_chart.json").read_text().count('"2025-')


@pytest.mark.parametrize(
    "candle",
    [["soon", 2, 2, 2, 2, 1], ["2025-02-01 09:45", 2, 1, 2, 2, 1], ["2025-02-01 09:45", 2, 2, 2, 2],
     ["2025-02-01 09:45", 0, 2, 0, 2, 1], ["2025-02-01 09:45", 2.00001, 3, 1, 2, 1], 7, ["2025-02-01 09:45"],
     ["2025-02-01 09:45", "2", 2, 2, 2, 1], ["2025-02-01 09:45", 2, 1e300, 2, 2, 1],
     ["2025-02-01 09:45", 2, 2, 2, 2, -1], ["2025-02-01 09:45", True, 2, 1, 2, 1]],
)  # fmt: skip
def test_a_bad_candle_is_named_and_the_others_are_read(candle):
    with pytest.raises(BadPayload, match="candle 0") as bad:
        candles(history(candle, ["2025-02-01 09:46", 2, 2, 2, 2, 9]), 3, 60)

    assert bad.value.rest[["open", "volume"]].tolist() == [(20_000, 9)]


def test_candles_are_asked_for_by_exchange_and_indias_clock():
    first, last = datetime(2025, 2, 3, 3, 45, tzinfo=UTC), datetime(2025, 2, 3, 10, 0, tzinfo=UTC)

    assert mstock_rest.candles_body("1|1594", 60, first, last) == {
        "exchange": "NSE", "symboltoken": "1594", "interval": "ONE_MINUTE", "fromdate": "2025-02-03 09:15",
        "todate": "2025-02-03 15:30",
    }  # fmt: skip
    for token, interval in (("1|1594", 61), ("1594", 60), ("9|1", 60)):
        with pytest.raises(BadValue):
            mstock_rest.candles_body(token, interval, first, last)


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(0, 900), st.sampled_from([*mstock_rest.INTERVALS]))
def test_spans_cover_every_day_once_and_hold_no_more_candles_than_an_answer(first, days, interval):
    last = date.fromordinal(first.toordinal() + days)

    spans = mstock_rest.spans(interval, first, last)

    covered = [day for begin, end in spans for day in range(begin.toordinal(), end.toordinal() + 1)]
    assert covered == list(range(first.toordinal(), last.toordinal() + 1))
    most = max(end.toordinal() - begin.toordinal() + 1 for begin, end in spans)
    assert most * max(375 * 60 / interval, 1) <= mstock_rest.CANDLES


INFY = {"token": "1594", "symbol": "INFY", "name": "INFY-EQ", "expiry": "", "strike": "", "lotsize": "1",
        "instrumenttype": "EQ", "exch_seg": "NSE", "tick_size": "0.10"}  # fmt: skip
OPTION = {"token": "873870", "symbol": "SENSEX", "name": "SENSEX25O2382700CE", "expiry": "23OCT2025",
          "strike": "82700", "lotsize": 20, "instrumenttype": "OPTIDX", "exch_seg": "BFO",
          "tick_size": 0.05}  # fmt: skip
RUPEE = {**OPTION, "token": "1", "name": "USDINR25OCTFUT", "instrumenttype": "FUTCUR", "exch_seg": "NSE",
         "tick_size": "0.0025", "expiry": "2025-10-29"}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps([INFY, OPTION, RUPEE]).encode(),
        body(data=[INFY, OPTION, RUPEE]),
        b"[" + body(data=[INFY, OPTION, RUPEE]) + b"]",
        "\n".join([",".join(INFY), *(",".join(map(str, c.values())) for c in (INFY, OPTION, RUPEE))]).encode(),
    ],
    ids=["list", "envelope", "envelope in a list", "csv"],
)
def test_the_scrip_master_is_read_in_all_its_forms(answer):
    infy, option, rupee = master(answer).contracts

    assert (infy.token, infy.symbol, infy.kind, infy.tick_size, infy.lot) == (
        "1|1594", "NSE:INFY", Kind.EQUITY, 1000, 1,
    )  # fmt: skip
    assert (option.token, option.symbol, option.kind) == ("4|873870", "BFO:SENSEX25O2382700CE", Kind.CALL)
    assert (option.strike, option.expiry, option.lot) == (827_000_000, date(2025, 10, 23), 20)
    assert (rupee.token, rupee.kind, rupee.tick_size) == ("13|1", Kind.FUTURE, 25)
    assert (rupee.expiry, rupee.strike) == (date(2025, 10, 29), None)


@pytest.mark.parametrize(
    "wrong",
    [{**OPTION, "instrumenttype": "SWAP"}, {**OPTION, "expiry": "soon"}, {**OPTION, "name": "SENSEX"},
     {**INFY, "tick_size": "x"}, {**INFY, "token": None}, {"token": "1"}, 7, None, {**INFY, "lotsize": "-1"}],
)  # fmt: skip
def test_a_bad_line_of_the_master_is_named_and_the_others_are_read(wrong):
    with pytest.raises(BadPayload, match="1 bad lines; line 2") as bad:
        master(json.dumps([INFY, wrong]).encode())

    assert [contract.symbol for contract in bad.value.rest.contracts] == ["NSE:INFY"]


def test_contracts_of_segments_without_a_number_are_counted():
    found = master(json.dumps([INFY, {**RUPEE, "exch_seg": "BSE"}, {**OPTION, "exch_seg": "NCO"}]).encode())

    assert ([c.symbol for c in found.contracts], found.left_out) == (["NSE:INFY"], {"BCD": 1, "NCO": 1})


@pytest.mark.parametrize("answer", [b"a,b\n1,2\n", b"<html>", body(data={}), body(), b"\xff\xfe"])
def test_what_is_no_master_is_bad(answer):
    with pytest.raises(BadPayload):
        master(answer)


def test_headers_carry_what_we_have():
    assert mstock_rest.headers() == {"X-Mirae-Version": "1", "Content-Type": "application/json"}
    assert mstock_rest.headers("k", "t")["X-PrivateKey"] == "k"
    assert mstock_rest.headers("k", "t")["Authorization"] == "Bearer t"
