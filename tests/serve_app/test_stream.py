from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession

from tests.serve_app.house import RELIANCE, TCS, TODAY, House, after, live, tick

STREAM = "/ws/quotes"


def ask(socket: WebSocketTestSession, verb: str, *symbols: str) -> None:
    socket.send_text(json.dumps({verb: symbols}))


def prices(message: dict[str, Any]) -> dict[str, float | None]:
    assert message["type"] == "quotes", message
    return {q["symbol"]: q["price"] for q in message["quotes"]}


@pytest.fixture
def quoted(house: House) -> House:
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), tick(TCS, after(TODAY, 1), 2000), live(after(TODAY, 1)))
    return house


def test_a_subscription_begins_with_what_is_known(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        ask(socket, "subscribe", "reliance", "NSE:TCS", "M&M")

        assert prices(socket.receive_json()) == {"NSE:RELIANCE": 1000.0, "NSE:TCS": 2000.0, "NSE:M&M": None}


def test_only_what_changed_is_sent_and_whole(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        ask(socket, "subscribe", "RELIANCE", "TCS")
        socket.receive_json()

        quoted.say(tick(TCS, after(TODAY, 2), 2001.05, 7), live(after(TODAY, 2)))

        message = socket.receive_json()
        assert prices(message) == {"NSE:TCS": 2001.05}
        assert message["quotes"][0] == quoted.get("/api/stock/TCS")


def test_what_was_left_is_not_sent_any_more(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        ask(socket, "subscribe", "RELIANCE", "TCS")
        socket.receive_json()
        ask(socket, "unsubscribe", "TCS")
        ask(socket, "unsubscribe", "NOBODY")
        assert socket.receive_json()["type"] == "error"

        quoted.say(tick(TCS, after(TODAY, 2), 2001), tick(RELIANCE, after(TODAY, 2), 1001))

        assert prices(socket.receive_json()) == {"NSE:RELIANCE": 1001.0}


def test_an_unknown_symbol_is_named_and_the_others_are_served(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        ask(socket, "subscribe", "NOBODY", "TCS", "\ud800")

        messages = [socket.receive_json(), socket.receive_json()]

        told = {m["type"]: m for m in messages}
        assert "NOBODY" in told["error"]["error"]
        assert prices(told["quotes"]) == {"NSE:TCS": 2000.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"subscribe": "TCS"}',
        '{"subscribe": [1]}',
        '{"subscribe": [null]}',
        '{"order": ["TCS"]}',
        '{"subscribe": ["TCS"], "unsubscribe": []}',
        json.dumps({"subscribe": ["TCS"] * 3001}),
        '{"subscribe": ["' + "x" * 300_000 + '"]}',
        b"\x00\xff",
        b'{"subscribe": ["TCS"]}',
    ],
)
def test_a_message_that_makes_no_sense_is_complained_of_and_the_socket_goes_on(
    quoted: House, text: str | bytes
) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        if isinstance(text, bytes):
            socket.send_bytes(text)
        else:
            socket.send_text(text)
        complaint = socket.receive_json()
        ask(socket, "subscribe", "TCS")

        assert complaint["type"] == "error"
        assert complaint["error"]
        assert prices(socket.receive_json()) == {"NSE:TCS": 2000.0}


def test_a_client_that_leaves_does_not_disturb_the_others(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as stays:
        ask(stays, "subscribe", "TCS")
        stays.receive_json()
        with quoted.client.websocket_connect(STREAM) as leaves:
            ask(leaves, "subscribe", "TCS")
            leaves.receive_json()

        quoted.say(tick(TCS, after(TODAY, 2), 2002))

        assert prices(stays.receive_json()) == {"NSE:TCS": 2002.0}


def test_a_socket_carries_a_request_id(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM, headers={"X-Request-ID": "ws-1"}) as socket:
        assert (b"x-request-id", b"ws-1") in [(k.lower(), v) for k, v in socket.extra_headers or []]
