"""Answers: quotes by list, in the form and at the moment their asker wants them."""

from __future__ import annotations

import gzip

import msgpack
import pytest

from serve_app.answers import form
from tests.serve_app.house import RELIANCE, TCS, TODAY, House, after, live, minutes, tick

QUOTES = "/api/v1/quotes"
STEADY = f"{QUOTES}?symbols=RELIANCE,TCS&fields=price,at,stale"


@pytest.fixture
def told(house: House) -> House:
    """A house in which two shares have traded."""
    at = after(TODAY, 1)
    house.say(tick(RELIANCE, at, 1000.05, 5, received=at + 250_000_000), tick(TCS, at, 3000), live(at))
    return house


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/msgpack", "application/msgpack"),
        ("application/vnd.msgpack", "application/msgpack"),
        ("application/json;q=0.2, application/msgpack;q=0.8", "application/msgpack"),
        ("application/msgpack, */*;q=0.1", "application/msgpack"),
        ("application/json;q=0, */*", "application/msgpack"),
        ("text/html", None),
        ("application/json;q=0, application/msgpack;q=nothing", None),
    ],
)
def test_the_form_that_is_liked_most_is_taken(accept: str, expected: str | None) -> None:
    assert form(accept) == expected


def test_quotes_come_in_the_order_asked_for_and_say_when_they_were_made(told: House) -> None:
    body = told.get(QUOTES, symbols="NSE:TCS,RELIANCE,NOBODY")

    assert [one["symbol"] for one in body["quotes"]] == ["NSE:TCS", "NSE:RELIANCE"]
    assert body["unknown"] == ["NOBODY"]
    quote = body["quotes"][1]
    assert (quote["price"], quote["at"], quote["received_at"]) == (
        1000.05,
        "2016-08-25T03:46:00Z",
        "2016-08-25T03:46:00.250000Z",
    )
    assert (quote["age_seconds"], quote["stale"], quote["feed_state"]) == (0.0, False, "LIVE")


def test_a_quote_that_has_not_changed_is_not_sent_again(told: House) -> None:
    first = told.client.get(STEADY)
    tag = {"If-None-Match": first.headers["ETag"]}

    again = told.client.get(STEADY, headers=tag)
    told.say(live(after(TODAY, 1.5)))
    older = told.client.get(STEADY, headers=tag)
    told.say(tick(TCS, after(TODAY, 1.6), 3001), live(after(TODAY, 1.6)))
    newer = told.client.get(STEADY, headers=tag)

    assert first.json()["quotes"][0] == {
        "symbol": "NSE:RELIANCE", "price": 1000.05, "at": "2016-08-25T03:46:00Z", "stale": False,
    }  # fmt: skip
    assert (again.status_code, again.content, older.status_code) == (304, b"", 304)
    assert (newer.status_code, newer.json()["quotes"][1]["price"]) == (200, 3001.0)
    assert newer.headers["ETag"] != first.headers["ETag"]


def test_a_field_that_was_not_asked_for_changes_nothing(told: House) -> None:
    fields = ["name", "price", "bid", "volume"]
    first = {field: told.client.get(f"{QUOTES}?symbols=TCS&fields={field}") for field in fields}
    told.say(tick(TCS, after(TODAY, 1.6), 3000, bid=29_990_000), live(after(TODAY, 1.6)))

    again = {
        field: told.client.get(f"{QUOTES}?symbols=TCS&fields={field}", headers={"If-None-Match": one.headers["ETag"]})
        for field, one in first.items()
    }

    assert first["price"].json()["quotes"][0]["price"] == 3000.0
    assert {field: one.status_code for field, one in again.items()} == {
        "name": 304, "price": 304, "bid": 200, "volume": 304,
    }  # fmt: skip


def test_a_quote_that_grew_stale_is_sent_again(told: House) -> None:
    first = told.client.get(STEADY)
    told.say(live(after(TODAY, 5)))

    again = told.client.get(STEADY, headers={"If-None-Match": f'"other", W/{first.headers["ETag"]}'})

    assert (again.status_code, again.json()["quotes"][0]["stale"]) == (200, True)


def test_an_age_is_never_kept_for_later(told: House) -> None:
    whole = f"{QUOTES}?symbols=RELIANCE"
    first = told.client.get(whole)
    told.say(live(after(TODAY, 1.5)))

    again = told.client.get(whole, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.json()["quotes"][0]["age_seconds"]) == (200, 30.0)


@pytest.mark.parametrize(
    "path",
    [STEADY, "/api/stocks/batch?symbols=RELIANCE", "/api/stock/RELIANCE", "/api/v1/candles/RELIANCE",
     "/api/v1/analyze/market", "/api/market/status"],
)  # fmt: skip
def test_messagepack_says_what_json_says(told: House, path: str) -> None:
    told.fold(minutes(RELIANCE, TODAY, 0, 2))

    packed = told.client.get(path, headers={"Accept": "application/msgpack"})
    neither = told.client.get(path, headers={"Accept": "text/csv"})

    assert packed.headers["Content-Type"] == "application/msgpack"
    assert msgpack.unpackb(packed.content) == told.client.get(path).json()
    assert (neither.status_code, neither.headers["Content-Type"]) == (406, "application/problem+json")


def test_an_etag_is_of_one_form_only(told: House) -> None:
    asked = [{"Accept": "application/json"}, {"Accept": "application/msgpack"}, {"Accept-Encoding": "identity"}]

    assert len({told.client.get(STEADY, headers=one).headers["ETag"] for one in asked}) == 3


def test_long_answers_are_packed_and_those_with_secrets_never(told: House) -> None:
    told.fold(minutes(RELIANCE, TODAY, 0, 60))
    symbols = {"symbols": [f"NOBODY{i}" for i in range(200)]}

    with told.client.stream("GET", "/api/v1/candles/RELIANCE", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept, Accept-Encoding")
    for refused in ("gzip;q=0", "br, gzip; q=0.0", "identity"):
        plain = told.client.get("/api/v1/candles/RELIANCE", headers={"Accept-Encoding": refused}).headers
        assert (plain.get("Content-Encoding"), plain["Vary"]) == (None, "Accept, Accept-Encoding")
    ticket = told.client.post("/api/subscribe", json=symbols, headers={"Accept-Encoding": "gzip"})

    assert len(gzip.decompress(raw)) > 5 * len(raw)
    assert (ticket.status_code, ticket.headers.get("Content-Encoding"), len(ticket.content) > 1024) == (200, None, True)


def test_head_is_get_without_the_body(told: House) -> None:
    get, head = told.client.get(STEADY), told.client.head(STEADY)

    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    "query",
    ["symbols=", f"symbols={','.join(map(str, range(501)))}", "symbols=TCS&fields=colour", "", "symbols=TCS&a=b"],
)
def test_a_list_nobody_can_answer_is_refused(told: House, query: str) -> None:
    answer = told.client.get(f"{QUOTES}?{query}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


def test_the_document_says_how_every_path_refuses_and_who_may_ask(house: House) -> None:
    document = house.get("/openapi.json")

    operations = [one for methods in document["paths"].values() for one in methods.values()]
    for one in operations:
        assert one["responses"]["default"]["content"].keys() == {"application/problem+json"}
        assert "security" in one
        good = [answer for code, answer in one["responses"].items() if code.startswith("2") and code != "204"]
        assert all("schema" in form for answer in good for form in answer["content"].values()), one["operationId"]
