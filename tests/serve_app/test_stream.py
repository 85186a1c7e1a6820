from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from starlette.testclient import WebSocketTestSession

from adapters.entries import encode
from market.access import Tier
from market.alerts import OperatorAlert
from market.instruments import partition_of
from market.money import UNKNOWN
from market.sessions import SECOND
from market.signals import SIGNAL, Action, Reason
from tests.serve_app.house import (
    INSTRUMENTS,
    MAHINDRA,
    PARTITIONS,
    RELIANCE,
    TCS,
    TODAY,
    House,
    after,
    candle,
    live,
    tick,
)
from tests.serve_app.test_analyze import card, publish

STREAM = "/ws/quotes"


def say(socket: WebSocketTestSession, **message: Any) -> None:
    socket.send_text(orjson.dumps(message).decode())


def until(socket: WebSocketTestSession, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The first message that is wanted; heartbeats and the like go by."""
    for _ in range(200):
        message: dict[str, Any] = socket.receive_json()
        if wanted(message):
            return message
    raise AssertionError("waited in vain")


def of(kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: bool(message["type"] == kind)


@pytest.fixture
def quoted(house: House) -> Iterator[House]:
    """Quotes of two shares, and one event loop for all sockets."""
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), tick(TCS, after(TODAY, 1), 2000, 7), live(after(TODAY, 1)))
    with house.client:
        yield house


def test_a_socket_begins_with_a_hello_that_says_how_to_read(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        hello = socket.receive_json()

        assert hello["type"] == "hello" and hello["version"] == 1 and hello["demo"] is True
        assert hello["limits"] == {"symbols": 3000, "bytes": 262_144}
        assert [f["name"] for f in hello["fields"]][:3] == ["price", "volume", "bid"]


def test_a_subscription_begins_with_whole_quotes(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="subscribe", id=1, symbols=["reliance", "NSE:TCS", "M&M", "NOBODY"])
        done = until(socket, of("done"))
        key = until(socket, of("key"))

        assert done["id"] == 1 and done["unknown"] == ["NOBODY"] and done["left_out"] == []
        assert done["added"] == ["NSE:RELIANCE", "NSE:TCS", "NSE:M&M"]
        assert {s: q["price"] for s, q in key["quotes"].items()} == {
            "NSE:RELIANCE": 1000.0,
            "NSE:TCS": 2000.0,
            "NSE:M&M": None,
        }
        assert key["quotes"]["NSE:TCS"]["at"] == after(TODAY, 1) // 1_000_000 == key["market_time"]
        assert key["feed"] == "LIVE" and key["quotes"]["NSE:TCS"]["stale"] is False
        assert key["quotes"]["NSE:M&M"]["stale"] is True


def test_only_the_fields_that_changed_are_sent(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="set", rate=20, fields=["price", "volume"])
        say(socket, op="subscribe", symbols=["RELIANCE", "TCS"])
        until(socket, of("key"))
        quoted.say(tick(TCS, after(TODAY, 2), 2001.05, 7), live(after(TODAY, 2)))

        assert until(socket, of("delta"))["quotes"] == {"NSE:TCS": {"price": 2001.05}}


def test_what_was_left_is_not_sent_any_more(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="set", fields=["price"])
        say(socket, op="subscribe", symbols=["RELIANCE", "TCS"])
        until(socket, of("key"))
        say(socket, op="unsubscribe", symbols=["TCS"], id=9)
        until(socket, lambda m: m.get("id") == 9)
        quoted.say(tick(TCS, after(TODAY, 2), 2001), tick(RELIANCE, after(TODAY, 2), 1001))

        assert until(socket, of("delta"))["quotes"] == {"NSE:RELIANCE": {"price": 1001.0}}


def test_messagepack_says_the_same_in_arrays(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM + "?format=msgpack") as socket:
        hello = msgpack.unpackb(socket.receive_bytes())
        socket.send_bytes(msgpack.packb({"op": "set", "fields": ["price", "at"]}))
        socket.send_bytes(msgpack.packb({"op": "subscribe", "symbols": ["TCS"], "id": 3}))
        while not isinstance(frame := msgpack.unpackb(socket.receive_bytes()), list) or frame[0] != 1:
            pass

        kind, sequence, moment, feed, _, entry = frame
        at = after(TODAY, 1) // 1_000_000 - hello["base"]
        assert (kind, moment, feed) == (1, at, 0) and sequence >= 1
        assert entry == [TCS, 1 << 0 | 1 << 4, 20_000_000, 0]


def test_an_index_stands_for_its_members(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="subscribe", index="NIFTY 50")
        done = until(socket, of("done"))

        assert set(done["added"]) == {"NSE:RELIANCE", "NSE:TCS", "NSE:M&M"}
        assert len(done["unknown"]) == 47


WRONG = [
    "", "{", "null", "[]", "{}", "[" * 100_000, '{"op": "order"}', '{"op": "subscribe"}', '{"op": 1}',
    '{"op": "subscribe", "symbols": "TCS"}', '{"op": "subscribe", "symbols": [1]}',
    '{"op": "subscribe", "symbols": ["TCS"], "index": "NIFTY 50"}',
    '{"op": "subscribe", "index": "SENSEX"}', '{"op": "set", "rate": 21}', '{"op": "set", "fields": ["colour"]}',
    '{"op": "resume", "session": "x"}', '{"op": "ping", "id": -1}', b"\x00\xff", b"\xc1", b"\x81\xa2op\xa4ping\x00",
    orjson.dumps({"op": "subscribe", "symbols": ["TCS"] * 3001}).decode(),
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_message_is_refused_with_a_problem_and_the_socket_goes_on(quoted: House, text: str | bytes) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        if isinstance(text, bytes):
            socket.send_bytes(text)
        else:
            socket.send_text(text)
        refusal = until(socket, of("error"))["problem"]
        say(socket, op="ping", id=4)

        assert refusal["type"].startswith("urn:bourse:problem:") and refusal["status"] == 422 and refusal["allowed"]
        assert until(socket, of("pong"))["id"] == 4


def test_too_long_a_message_and_too_many_end_the_socket(quoted: House) -> None:
    for texts, code in ((["x" * 300_000], 1009), (["{}"] * 100, 4010), (['{"op": "ping"}'] * 1000, 4010)):
        with quoted.client.websocket_connect(STREAM) as socket:
            for text in texts:
                socket.send_text(text)
            message = socket.receive()
            while message["type"] != "websocket.close":
                message = socket.receive()

            assert message["code"] == code


def test_reading_on_from_a_cursor_counts_as_several_messages(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        for _ in range(300):
            say(socket, op="join", channel="alerts", after="0")
        say(socket, op="ping")
        message = socket.receive()
        while message["type"] != "websocket.close" and b'"pong"' not in message.get("text", "").encode():
            message = socket.receive()

        assert message.get("code") == 4010


def test_a_session_is_resumed_with_what_changed_meanwhile(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        session = socket.receive_json()["session"]
        say(socket, op="set", fields=["price"], rate=20)
        say(socket, op="subscribe", symbols=["RELIANCE", "TCS"])
        sequence = until(socket, of("key"))["sequence"]
    quoted.say(tick(TCS, after(TODAY, 2), 2002))
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="resume", session=session, sequence=sequence)
        done, key = until(socket, of("done")), until(socket, of("key"))

        assert done["known"] and set(done["symbols"]) == {"NSE:RELIANCE", "NSE:TCS"}
        assert done["rate"] == 20 and done["fields"] == ["price"]
        assert key["quotes"] == {"NSE:TCS": {"price": 2002.0}} and key["sequence"] == sequence + 1
        say(socket, op="resume", session="0" * 32, sequence=3, id=8)
        assert until(socket, of("done")) == {"type": "done", "id": 8, "known": False}


def test_a_tier_has_so_many_sockets_and_symbols(quoted: House) -> None:
    few = Tier(requests_per_second=1000, burst=1000, connections=1, symbols=2)
    quoted.client.app.state.desk.limits.reload({"anonymous": few})

    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="subscribe", symbols=["RELIANCE", "TCS", "M&M"])
        done = until(socket, of("done"))
        with quoted.client.websocket_connect(STREAM) as second:
            ended = second.receive()

    assert (done["added"], done["left_out"]) == (["NSE:RELIANCE", "NSE:TCS"], ["NSE:M&M"])
    assert (ended["type"], ended["code"]) == ("websocket.close", 4009)


def test_a_client_that_leaves_does_not_disturb_the_others(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as stays:
        say(stays, op="set", fields=["price"])
        say(stays, op="subscribe", symbols=["M&M"])
        until(stays, of("key"))
        with quoted.client.websocket_connect(STREAM) as leaves:
            say(leaves, op="subscribe", symbols=["M&M"])
            until(leaves, of("key"))
        quoted.say(tick(MAHINDRA, after(TODAY, 2), 700))

        assert until(stays, of("delta"))["quotes"] == {"NSE:M&M": {"price": 700.0}}


def test_a_socket_carries_a_request_id(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM, headers={"X-Request-ID": "ws-1"}) as socket:
        assert (b"x-request-id", b"ws-1") in [(k.lower(), v) for k, v in socket.extra_headers or []]


def test_a_channel_gives_every_entry_once_over_a_cut(quoted: House) -> None:
    def starts(message: dict[str, Any]) -> list[int]:
        return [row["start"] for row in message["rows"]]

    quoted.fold(candle(TCS, TODAY, 0, 100))
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="join", channel="candles", symbols=["TCS"])
        until(socket, of("done"))
        quoted.fold(candle(TCS, TODAY, 1, 101), candle(RELIANCE, TODAY, 1, 7))
        first = until(socket, of("candles"))
    quoted.fold(candle(TCS, TODAY, 2, 102))
    quoted.fold(candle(TCS, TODAY, 3, 103))
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="join", channel="candles", symbols=["TCS"], after=first["cursor"])
        found = [starts(until(socket, of("candles"))) for _ in range(2)]
        until(socket, of("caught_up"))
        quoted.fold(candle(TCS, TODAY, 4, 104))
        found.append(starts(until(socket, of("candles"))))

    minute = [(TODAY.open + k * 60 * SECOND) // 1_000_000 for k in range(5)]
    assert starts(first) == [minute[1]] and first["rows"][0]["close"] == 101.0
    assert found == [[minute[2]], [minute[3]], [minute[4]]]


def test_a_cursor_from_before_the_last_hour_is_refused_with_the_place_to_read(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        quoted.fold(candle(TCS, TODAY, 1, 101))
        quoted.fold(candle(TCS, TODAY, 2, 102))
        say(socket, op="join", channel="candles", after="1-1")
        problem = until(socket, of("error"))["problem"]

        assert problem["type"] == "urn:bourse:problem:too-old" and "/api/v1/candles/" in problem["allowed"]


def test_an_alert_comes_once_and_a_left_channel_is_silent(quoted: House) -> None:
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="join", channel="alerts")
        until(socket, of("done"))
        quoted.alert(OperatorAlert(kind="gap", subject="NSE:TCS", at=1_000_000_000, text="a gap"))

        assert until(socket, of("alerts"))["rows"] == [
            {"kind": "gap", "subject": "NSE:TCS", "at": 1000, "severity": "warning", "text": "a gap", "over": False}
        ]


def test_signals_and_scorecards_come_as_the_actors_write_them(quoted: House) -> None:
    signal = np.zeros(1, SIGNAL)
    signal["instrument"], signal["action"], signal["reason"] = TCS, Action.BUY, Reason.ENTERED
    signal["at"], signal["expires"], signal["price"] = after(TODAY, 8), after(TODAY, 23), 28_505_000
    signal["stop"], signal["size"], signal["horizon"], signal["version"] = UNKNOWN, 0.125, b"15m", b"v2"
    signal["strength"] = 0.5
    with quoted.client.websocket_connect(STREAM) as socket:
        for channel in ("signals", "analysis"):
            say(socket, op="join", channel=channel, symbols=["TCS"])
            until(socket, of("done"))
        for number, instrument in enumerate((RELIANCE, TCS), start=5):
            signal["instrument"] = instrument
            quoted.bus.write("signals", partition_of(INSTRUMENTS[instrument], PARTITIONS), number, encode(signal))
        given = until(socket, of("signals"))["rows"]
        publish(quoted, card(RELIANCE, 7), np.concatenate([card(TCS, 7), card(TCS, 7, "5m", prediction=0.25)]))
        cards = until(socket, of("analysis"))["rows"]

    opening = TODAY.open // 1_000_000
    assert [(row["symbol"], row["at"] - opening, row["expires"] - opening) for row in given] == [
        ("NSE:TCS", 8 * 60_000, 23 * 60_000)
    ]
    told = {"action": "BUY", "reason": "ENTERED", "price": 2850.5, "stop": None, "size": 0.125, "horizon": "15m"}
    assert given[0].items() >= told.items()
    assert [row["symbol"] for row in cards] == ["NSE:TCS"]
    assert cards[0]["timestamp"] - opening == 8 * 60_000
    assert cards[0]["ltp"] == 2850.5 and [o["prediction"] for o in cards[0]["outlooks"]] == [0.25]


@pytest.mark.parametrize("seed", range(3))
def test_a_channel_is_whole_over_cuts_at_any_place(quoted: House, seed: int) -> None:
    """A client that keeps the last cursor it read, whatever was on its way to it, has every entry once and in order."""
    rng = random.Random(seed)
    found: dict[str, list[int]] = {"NSE:TCS": [], "NSE:RELIANCE": []}
    cursor, slot = None, 0

    def publish_some() -> None:
        nonlocal slot
        for _ in range(rng.randrange(4)):
            slot += 1
            quoted.fold(*(candle(one, TODAY, slot, 100) for one in (TCS, RELIANCE)))

    def listen(socket: WebSocketTestSession, enough: Callable[[str], bool]) -> None:
        nonlocal cursor
        kind = ""
        while not enough(kind):
            message = until(socket, lambda m: m["type"] in ("candles", "caught_up", "pong"))
            kind = message["type"]
            if kind == "candles":
                cursor = message["cursor"]
                for row in message["rows"]:
                    found[row["symbol"]].append(row["start"])

    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="join", channel="candles")
        cursor = until(socket, of("done"))["cursor"]
    for _ in range(4):  # the line is cut behind some message, before, while or after it catches up
        publish_some()
        with quoted.client.websocket_connect(STREAM) as socket:
            say(socket, op="join", channel="candles", after=cursor)
            publish_some()
            say(socket, op="ping")
            listen(socket, lambda kind: kind == "pong" or rng.random() < 0.3)
    with quoted.client.websocket_connect(STREAM) as socket:
        say(socket, op="join", channel="candles", after=cursor)
        publish_some()
        listen(socket, lambda kind: kind == "caught_up")
        listen(socket, lambda kind: all(len(starts) >= slot for starts in found.values()))
        say(socket, op="ping")
        listen(socket, lambda kind: kind == "pong")

    minutes = [(TODAY.open + k * 60 * SECOND) // 1_000_000 for k in range(1, slot + 1)]
    assert slot > 0 and found == {"NSE:TCS": minutes, "NSE:RELIANCE": minutes}
