"""FlatTrade's REST bodies against the vendor's own samples."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from market.candles import Provenance
from market.errors import AuthRequired, BadPayload, BadValue, LineDown, OutcomeUnknown, Rejected
from market.instruments import Kind
from market.money import UNKNOWN
from market.sessions import IST, nanoseconds
from market.vendors.flattrade_rest import (
    candles,
    candles_request,
    encoded,
    envelope,
    master,
    moment,
    session,
    session_body,
)

FIXTURES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "flattrade-noren" / "rest_doc_samples"
recorded = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recorded payloads are not beside this checkout")

SAMPLES = {
    "ft_get_holdings_err": Rejected,
    "ft_get_positions_err": [],
    "ft_get_security_info_err": [],
    "ft_modify_order_err": Rejected,
    "ft_order_book_err": AuthRequired,
    "ft_place_order_err": Rejected,
    "ft_searchscrip_err": [],
    "sh_get_option_greek_err": Rejected,
}


def refusal(message: str) -> bytes:
    return json.dumps({"stat": "Not_Ok", "emsg": message}).encode()


@recorded
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*_ok.json")), ids=lambda path: path.stem)
def test_a_success_is_given_as_it_is(path: Path) -> None:
    assert envelope(path.read_bytes()) == json.loads(path.read_text())


@recorded
@pytest.mark.parametrize(("name", "means"), SAMPLES.items())
def test_a_refusal_says_what_to_do(name: str, means: Any) -> None:
    body = (FIXTURES / f"{name}.json").read_bytes()

    if means == []:
        assert envelope(body) == []
    else:
        with pytest.raises(means, match="flattrade"):
            envelope(body)


@pytest.mark.parametrize(("message", "means"), [
    ("Session Expired :  Invalid Session Key", AuthRequired),
    ("session expired : invalid session key", AuthRequired),
    ("Server Timeout :  ", OutcomeUnknown),
    ("Order count exceeds Limit for the second", LineDown),
    ("Rejected : RED:RMS:Margin Exceeds,Cash Available:0.00", Rejected),
    ("Invalid Input : Missing uid", Rejected),
    ("", Rejected),
])  # fmt: skip
def test_the_message_decides(message: str, means: type[Exception]) -> None:
    with pytest.raises(means) as raised:
        envelope(refusal(message))

    assert type(raised.value) is means


def test_after_the_limit_we_stay_away_for_a_while() -> None:
    with pytest.raises(LineDown) as raised:
        envelope(refusal("API exceeds Limit"))

    assert raised.value.after == 2.0


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"{}", b'{"stat":"Maybe"}', b'{"stat":true}', b"[" * 9999])
def test_what_is_no_envelope_is_kept(body: bytes) -> None:
    with pytest.raises(BadPayload):
        envelope(body)


@pytest.mark.parametrize("name", ["M&M-EQ", "A+B", "100%", "BAJAJ-AUTO-EQ", "\u20b9", 'say "x"'])
def test_a_form_gives_back_what_we_said(name: str) -> None:
    body = encoded({"uid": "FT1", "tsym": name}, "secret")

    assert body.count(b"&") == 1
    form = parse_qs(body.decode(), strict_parsing=True)
    assert json.loads(form["jData"][0]) == {"uid": "FT1", "tsym": name}
    assert form["jKey"] == ["secret"]


def test_the_secret_is_proved_and_not_sent() -> None:
    body = session_body("key", "code", "secret")

    # printf keycodesecret | sha256sum
    proof = "1df4c72fe4ee2e278598306f22c33ecbbc1986322efe311cec112bb3311e0cb5"
    assert body == {"api_key": "key", "request_code": "code", "api_secret": proof}


def test_a_session_names_its_user() -> None:
    assert session(b'{"stat":"Ok","token":"t","client":"FT1","status":"Ok"}') == ("FT1", "t")


@pytest.mark.parametrize("message", ["Invalid Request Code", "Session Expired", "Invalid api secret"])
def test_a_login_that_fails_needs_a_person(message: str) -> None:
    with pytest.raises(AuthRequired, match=message):
        session(refusal(message))


def candle(time: str, *prices: str, volume: str = "10", **more: str) -> dict[str, str]:
    named = dict(zip(("into", "inth", "intl", "intc"), prices, strict=True))
    return {"stat": "Ok", "time": time, **named, "intv": volume} | more


def test_candles_come_oldest_first() -> None:
    body = json.dumps([
        candle("25-08-2016 09:16:00", "101.00", "102.00", "100.50", "101.50", volume="0", intvwap="0.00"),
        candle("25-08-2016 09:15:00", "100.00", "101.00", "99.95", "101.00", volume="300", intvwap="100.40"),
    ]).encode()  # fmt: skip

    rows = candles(body, 7, 60)

    start = nanoseconds(datetime(2016, 8, 25, 3, 45, tzinfo=UTC))
    assert rows["start"].tolist() == [start, start + 60 * 10**9]
    assert rows[["open", "high", "low", "close", "volume", "vwap"]].tolist() == [
        (100_0000, 101_0000, 99_9500, 101_0000, 300, 100_4000),
        (101_0000, 102_0000, 100_5000, 101_5000, 0, UNKNOWN),
    ]
    assert set(rows["provenance"]) == {Provenance.OFFICIAL}
    assert set(rows["instrument"]) == {7}
    assert set(rows["session"]) == {(date(2016, 8, 25) - date(1970, 1, 1)).days}
    assert set(rows["trades"]) == set(rows["open_interest"]) == {UNKNOWN}


@pytest.mark.parametrize("wrong", [
    candle("25-08-2016 09:15:00", "0.00", "101.00", "0.00", "101.00"),
    candle("25-08-2016 09:15:00", "100.00", "99.00", "98.00", "98.50"),
    candle("25-08-2016 09:15:23", "100.00", "101.00", "99.00", "101.00"),
    candle("01-01-1980 00:00:00", "100.00", "101.00", "99.00", "101.00"),
    candle("soon", "100.00", "101.00", "99.00", "101.00"),
    candle("25-08-2016 09:15:00", "nan", "101.00", "99.00", "101.00"),
    {"stat": "Ok", "time": "25-08-2016 09:15:00"}, {}, 5, "x", None,
], ids=repr)  # fmt: skip
def test_a_bad_candle_is_told_and_the_others_stay(wrong: Any) -> None:
    good = candle("25-08-2016 09:16:00", "100.00", "101.00", "99.00", "101.00")

    with pytest.raises(BadPayload, match="1 bad candles") as raised:
        candles(json.dumps([good, wrong]).encode(), 7, 60)

    assert len(raised.value.rest) == 1


def test_no_candles_are_none() -> None:
    assert len(candles(refusal('Error Occurred : 5 "no data"'), 7, 60)) == 0


def test_candles_are_asked_for_by_epoch_seconds() -> None:
    first, last = (datetime(2016, 8, 25, 9, minute, tzinfo=IST) for minute in (15, 20))

    asked = candles_request("FT1", "NSE|22", 1, first, last)

    assert asked == {
        "uid": "FT1", "exch": "NSE", "token": "22", "st": "1472096700", "et": "1472097000", "intrv": "1",
    }  # fmt: skip
    with pytest.raises(BadValue, match="240"):
        candles_request("FT1", "NSE|22", 2, first, last)


def test_an_unset_time_is_none() -> None:
    assert moment("01-01-1980 00:00:00") is None
    assert moment("00:00:00 01-01-1980") is None


EQUITY = """Exchange,Token,Lotsize,Symbol,Tradingsymbol,Instrument
NSE,22,1,ACC,ACC-EQ,EQ
NSE,26000,1,Nifty 50,NIFTY INDEX,INDEX
,,,,,
"""
DERIVED = """Exchange,Token,LotSize,Symbol,TradingSymbol,Expiry,Instrument,OptionType,StrikePrice,TickSize,
NFO,52210,400,INFY,INFY27OCT26F,27-OCT-2026,FUTSTK,XX,0,0.05,
NFO,60001,75,NIFTY,NIFTY27OCT26C24500,27-OCT-2026,OPTIDX,CE,24500,0.05,
XYZ,1,1,A,A,27-OCT-2026,FUTSTK,XX,0,0.05,
"""


def test_a_scrip_master_of_shares() -> None:
    found = master(EQUITY.encode())

    assert [(c.token, c.symbol, c.trading_symbol, c.kind) for c in found.contracts] == [
        ("NSE|22", "NSE:ACC", "ACC-EQ", Kind.EQUITY),
        ("NSE|26000", "NSE:NIFTY 50", "NIFTY INDEX", Kind.INDEX),
    ]
    assert [c.tick_size for c in found.contracts] == [0, 0]
    assert found.left_out == {}


def test_a_scrip_master_of_derivatives() -> None:
    found = master(DERIVED.encode())

    assert [(c.token, c.kind, c.expiry, c.strike, c.tick_size, c.lot) for c in found.contracts] == [
        ("NFO|52210", Kind.FUTURE, date(2026, 10, 27), None, 500, 400),
        ("NFO|60001", Kind.CALL, date(2026, 10, 27), 24500_0000, 500, 75),
    ]
    assert found.left_out == {"XYZ": 1}


@pytest.mark.parametrize("line", [
    "NSE,22,x,ACC,ACC-EQ,EQ", "NSE,,1,ACC,ACC-EQ,EQ", "NSE,22,1,ACC,,EQ", "NSE,22", "NFO,1,1,A,A,WHAT",
])  # fmt: skip
def test_a_bad_line_is_told_and_the_others_stay(line: str) -> None:
    with pytest.raises(BadPayload, match="1 bad lines; line 5") as raised:
        master((EQUITY + line + "\n").encode())

    assert len(raised.value.rest.contracts) == 2


@pytest.mark.parametrize("body", [b"", b"a,b\n1,2\n", b"\xff\xfe", b"<html>"])
def test_what_is_no_master_is_kept(body: bytes) -> None:
    with pytest.raises(BadPayload):
        master(body)
