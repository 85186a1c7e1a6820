"""The REST answers of Polygon and Finnhub, against the vendors' own samples."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from market.candles import CANDLE, Provenance
from market.codecs import Account
from market.errors import AuthRequired, BadPayload, BadValue, LineDown, Rejected
from market.generator import generate
from market.money import UNKNOWN, money
from market.sessions import day_number, nanoseconds, session
from market.universes import NIFTY50, US20
from market.vendors import finnhub_rest, polygon_rest
from market.vendors.finnhub_rest import FinnhubHistory
from market.vendors.polygon_rest import PolygonHistory

FIXTURES = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures"
START = nanoseconds(datetime(2025, 11, 20, 14, 30, tzinfo=UTC))
APPLE = US20[0].instrument
ACCOUNT = Account(api_key=SecretStr("KEY"))

recorded = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the vendors' samples are not beside the repository")


def aggregate(**fields: object) -> dict[str, object]:
    return {
        "v": 100,
        "vw": 190.123456,
        "o": 190,
        "c": 191.5,
        "h": 192,
        "l": 189.25,
        "t": START // 1_000_000,
        "n": 7,
    } | fields


def polygon(*rows: object, **fields: object) -> bytes:
    return json.dumps({"status": "OK", "results": list(rows)} | fields).encode()


def finnhub(**fields: object) -> bytes:
    columns = {"s": "ok", "t": [START // 10**9], "o": [190], "h": [192], "l": [189.25], "c": [191.5], "v": [100]}
    return json.dumps(columns | fields).encode()


@recorded
def test_the_vendors_daily_aggregates_are_candles() -> None:
    body = (
        FIXTURES / "polygon-massive/rest/v2__aggs__ticker__AAPL__range__1__day__2005-04-01__2005-04-04.json"
    ).read_bytes()

    rows = polygon_rest.candles(body, 3, 86400)

    expected = [money(p) for p in ("1.5032", "1.5064", "1.4489", "1.4604")]
    assert list(rows[["open", "high", "low", "close"]][0].tolist()) == expected
    assert rows["volume"].tolist() == [642646396, 578172308] and rows["trades"].tolist() == [82132, 65543]
    assert rows["vwap"][0] == money("1.469") and rows["start"][0] == 1112331600000 * 1_000_000
    assert rows["session"].tolist() == [day_number(date(2005, 4, 1)), day_number(date(2005, 4, 4))]
    assert set(rows["provenance"].tolist()) == {Provenance.OFFICIAL} and set(rows["instrument"].tolist()) == {3}


@recorded
def test_a_plan_without_access_needs_a_person() -> None:
    said = json.loads((FIXTURES / "finnhub/quote_no_access.json").read_text())["body"]

    with pytest.raises(AuthRequired, match="access"):
        finnhub_rest.candles(json.dumps(said).encode(), 0, 60)


def test_minutes_of_both_vendors_are_the_same_candle() -> None:
    one, other = polygon_rest.candles(polygon(aggregate()), 5, 60)[0], finnhub_rest.candles(finnhub(), 5, 60)[0]

    for row in (one, other):
        assert [row[n] for n in ("instrument", "interval", "start", "volume")] == [5, 60, START, 100]
        prices = [int(row[n]) for n in ("open", "high", "low", "close")]
        assert prices == [1_900_000, 1_920_000, 1_892_500, 1_915_000]
        assert row["session"] == day_number(date(2025, 11, 20)) and row["open_interest"] == UNKNOWN
    assert (one["vwap"], one["trades"]) == (1_901_235, 7) and (other["vwap"], other["trades"]) == (UNKNOWN, UNKNOWN)


def test_an_evening_in_new_york_belongs_to_its_date_there() -> None:
    late = nanoseconds(datetime(2025, 11, 21, 0, 59, tzinfo=UTC))

    assert polygon_rest.candles(polygon(aggregate(t=late // 1_000_000)), 0, 60)["session"] == day_number(
        date(2025, 11, 20)
    )


def test_nothing_matched_is_no_candle() -> None:
    assert polygon_rest.candles(b'{"status":"OK","resultsCount":0}', 0, 60).dtype == CANDLE
    assert len(polygon_rest.candles(b'{"status":"DELAYED","results":[]}', 0, 60)) == 0
    assert len(finnhub_rest.candles(b'{"s":"no_data"}', 0, 60)) == 0


@pytest.mark.parametrize(
    "row",
    [
        aggregate(o=0),
        aggregate(h=190),
        aggregate(l=-1),
        aggregate(o="190"),
        aggregate(c=None),
        aggregate(v=-1),
        aggregate(v=0.5),
        aggregate(t=0),
        aggregate(t="x"),
        aggregate(o=190.12345),
        aggregate(o=True),
        aggregate(n=1.5),
        {},
        None,
        7,
    ],
    ids=str,
)
def test_a_bad_row_is_named_and_the_others_are_read(row: object) -> None:
    with pytest.raises(BadPayload, match="row 1") as told:
        polygon_rest.candles(polygon(aggregate(), row, aggregate()), 0, 60)

    assert len(told.value.rest) == 2


def test_more_pages_than_one_are_never_dropped_in_silence() -> None:
    with pytest.raises(BadPayload, match="more pages") as told:
        polygon_rest.candles(polygon(aggregate(), next_url="https://x"), 0, 60)

    assert len(told.value.rest) == 1


@pytest.mark.parametrize(
    "bad", [{"o": [0]}, {"h": [1]}, {"t": [0]}, {"t": ["x"]}, {"v": [None]}, {"t": [True]}], ids=str
)
def test_a_bad_candle_of_columns_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(BadPayload, match="candle 0"):
        finnhub_rest.candles(finnhub(**bad), 0, 60)


@pytest.mark.parametrize("bad", [{"o": []}, {"o": None}, {"s": "maybe"}, {"t": 5}], ids=str)
def test_columns_that_do_not_fit_are_no_candles(bad: dict[str, object]) -> None:
    with pytest.raises(BadPayload):
        finnhub_rest.candles(finnhub(**bad), 0, 60)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"status": "ERROR", "error": "Unknown API Key"}, AuthRequired),
        ({"status": "NOT_AUTHORIZED", "message": "upgrade"}, AuthRequired),
        ({"status": "ERROR", "error": "You've exceeded the maximum requests per minute"}, LineDown),
        ({"status": "NOT_FOUND", "message": "no such ticker"}, Rejected),
        ({"status": 7}, BadPayload),
        ([], BadPayload),
    ],
)
def test_an_error_of_polygon_says_what_to_do_next(body: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        polygon_rest.envelope(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": "Invalid API key"}, AuthRequired),
        ({"error": "API limit reached. Please try again later."}, LineDown),
        ({"error": "Wrong resolution"}, Rejected),
        ([], BadPayload),
    ],
)
def test_an_error_of_finnhub_says_what_to_do_next(body: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        finnhub_rest.envelope(json.dumps(body).encode())


@given(st.binary(max_size=60))
def test_a_body_that_is_no_answer_is_bad(body: bytes) -> None:
    for read in (polygon_rest.candles, finnhub_rest.candles):
        with pytest.raises(BadPayload):
            read(body, 0, 60)


def test_requests_name_the_minutes_and_hide_the_key() -> None:
    last = START + 3600 * 10**9
    theirs, other = PolygonHistory(), FinnhubHistory()

    calls = [of.call(of.root, ACCOUNT, APPLE, START, last) for of in (theirs, other)]
    polygons, finnhubs = (urlsplit(call.url) for call in calls)

    assert polygons.path == f"/v2/aggs/ticker/AAPL/range/1/minute/{START // 10**6}/{last // 10**6}"
    assert parse_qs(polygons.query)["adjusted"] == ["false"]
    assert finnhubs.path == "/api/v1/stock/candle"
    assert parse_qs(finnhubs.query) == {
        "symbol": ["AAPL"], "resolution": ["1"], "from": [str(START // 10**9)], "to": [str(last // 10**9)],
    }  # fmt: skip
    assert [call.headers for call in calls] == [{"Authorization": "Bearer KEY"}, {"X-Finnhub-Token": "KEY"}]
    for history in (theirs, other):
        with pytest.raises(BadValue):
            history.call(history.root, ACCOUNT, NIFTY50[0].instrument, START, last)


def test_what_the_simulated_servers_answer_reads_back_as_the_tapes_minutes() -> None:
    tape = generate(US20, session(date(2025, 11, 20), time(9, 15), time(9, 45)), 7)
    bars = tape.bars[tape.bars["instrument"] == 0]

    read = [
        PolygonHistory().read(json.dumps(polygon_rest.answer("AAPL", bars)).encode(), "application/json", 200, 0),
        FinnhubHistory().read(json.dumps(finnhub_rest.answer(bars)).encode(), "application/json", 200, 0),
    ]

    for rows in read:
        assert rows[list(bars.dtype.names)].tolist() == bars.tolist()
    empty = bars[:0]
    assert len(PolygonHistory().read(json.dumps(polygon_rest.answer("AAPL", empty)).encode(), "", 200, 0)) == 0
    assert len(FinnhubHistory().read(json.dumps(finnhub_rest.answer(empty)).encode(), "", 200, 0)) == 0
    assert np.all(read[0]["completeness"] == 1) and Decimal(int(read[0]["open"][0])) % 100 == 0
