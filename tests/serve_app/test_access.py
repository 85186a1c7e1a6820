"""Who may ask: the table of paths against the app's own, and against what it really says to whom."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from adapters.postgres_server import PostgresServer
from adapters.redis_server import RedisServer
from market.access import SOCKET, TABLE, TIERS, Tier
from market.errors import LineDown
from serve_app.access import THREADS, AccessPlan, Gate
from tests.serve_app.authorisation import ruled, table, written
from tests.serve_app.door import Guarded, guard
from tests.serve_app.house import House

Stores = tuple[RedisServer, RedisServer]


@pytest.fixture
def demo(stores: Stores, database: PostgresServer, tmp_path: Path) -> Iterator[Guarded]:
    """A house in demo mode."""
    yield from guard(stores, database.url, tmp_path / "lake", demo=True)


def test_every_path_of_the_app_has_a_row_and_every_row_a_path(house: House) -> None:
    served = {
        (method, route.path)
        for route in house.client.app.routes  # type: ignore[attr-defined]
        for method in getattr(route, "methods", None) or [SOCKET]
        if method != "HEAD"
    }

    assert served == {(row.method, row.path) for row in TABLE}
    assert len(TABLE) == len(served)


def test_the_table_of_authorisation_in_the_docs_is_what_the_rules_say() -> None:
    assert ruled() == written()


@pytest.mark.parametrize("method", [SOCKET, "GET", "PUT", "DELETE"])
def test_the_gateway_does_what_the_table_says(demo: Guarded, guarded: Guarded, method: str) -> None:
    rows = {(row.need, row.scope): row for row in TABLE if row.method == method}.values()

    assert set(table(demo, guarded, rows).splitlines()) <= set(written().splitlines())


@pytest.mark.endurance
def test_the_gateway_does_what_the_whole_table_says(demo: Guarded, guarded: Guarded) -> None:
    assert table(demo, guarded) == written()


def test_a_flood_of_keys_that_are_no_good_is_not_looked_up(
    stores: Stores, database: PostgresServer, tmp_path: Path
) -> None:
    few = {**TIERS, "anonymous": Tier(requests_per_second=0.01, burst=1, connections=1, symbols=1)}
    for door in guard(stores, database.url, tmp_path / "lake", demo=False, tiers=few):
        door.person("asha")
        asha = door.bearer("asha")
        assert door.status("/api/stock/TCS", asha) == 200

        said = [door.client.get("/api/stock/TCS", headers={"X-API-KEY": f"bk_{i:016x}_x"}) for i in range(30)]

        assert [one.status_code for one in said] == [401] * 10 + [429] * 20
        assert int(said[-1].headers["Retry-After"]) > 1
        assert door.status("/api/stock/TCS", asha) == 200


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/nothing", 404), ("/api/stock", 404), ("/-/secrets", 404), ("/predict", 405)]
)
def test_a_path_nobody_wrote_down_is_for_nobody(demo: Guarded, path: str, status: int) -> None:
    answer = demo.client.get(path)

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_in_demo_mode_what_is_read_without_a_credential_says_so(demo: Guarded) -> None:
    demo.person("asha")

    anonymous, known = demo.client.get("/api/stock/TCS"), demo.client.get("/api/stock/TCS", headers=demo.bearer("asha"))

    assert (anonymous.headers.get("X-Bourse-Access"), known.headers.get("X-Bourse-Access")) == ("demo", None)
    assert demo.status("/api/stock/TCS", {"Authorization": "Bearer wrong"}) == 401


def test_two_credentials_at_once_are_none(guarded: Guarded) -> None:
    guarded.person("asha")
    me = guarded.bearer("asha")

    assert guarded.status("/api/stock/TCS", {**me, "X-API-KEY": "bk_x_y"}) == 401


def test_a_command_of_this_machine_is_known_by_the_secret(guarded: Guarded) -> None:
    shown = {"Authorization": f"Bearer {guarded.gate.signer.operator()}"}

    assert [guarded.status(path, shown) for path in ("/api/v1/status", "/api/v1/admin/users")] == [200, 200]
    assert guarded.status("/api/v1/me", shown) == 403


STREAM = "/ws/quotes"


def keyed(door: Guarded, *scopes: str) -> tuple[str, dict[str, str]]:
    """A key of somebody with such scopes: its id, and the header that shows it."""
    door.person("asha")
    made = door.client.post("/api/v1/keys", headers=door.bearer("asha"), json={"name": "one", "scopes": scopes}).json()
    return made["id"], {"X-API-KEY": made["key"]}


def told(socket: WebSocketTestSession, *kinds: str) -> dict[str, Any]:
    """The next message of these kinds."""
    while (message := socket.receive_json())["type"] not in kinds:
        pass
    return dict(message)


def test_a_socket_does_no_more_than_its_key_may(guarded: Guarded) -> None:
    _, key = keyed(guarded, "quotes")
    asked = [{"op": "join", "channel": name, "id": 1} for name in ("candles", "analysis", "signals", "alerts")]
    asked.append({"op": "subscribe", "watchlist": "mine", "id": 1})

    with guarded.client.websocket_connect(STREAM, headers=key) as socket:
        answers = []
        for one in asked:
            socket.send_json(one)
            answers.append(told(socket, "error", "done"))

    assert [(one["type"], one["problem"]["type"]) for one in answers] == [("error", "urn:bourse:problem:scope")] * 5


def test_a_key_that_is_revoked_ends_its_sockets(guarded: Guarded) -> None:
    stream = next(route.app for route in guarded.client.app.routes if route.path == STREAM)  # type: ignore[attr-defined]
    stream.look_seconds = 0.05
    name, key = keyed(guarded, "quotes")
    other = guarded.bearer("asha")

    with (
        guarded.client.websocket_connect(STREAM, headers=other) as stays,
        guarded.client.websocket_connect(STREAM, headers=key) as socket,
    ):
        told(socket, "hello")
        assert guarded.status(f"/api/v1/keys/{name}", other, "DELETE") == 204
        with pytest.raises(WebSocketDisconnect) as ended:
            told(socket, "never")
        stays.send_json({"op": "ping", "id": 7})
        assert told(stays, "pong")["id"] == 7

    assert ended.value.code == 4001


def test_in_demo_mode_a_ticket_is_for_everybody_too(demo: Guarded) -> None:
    ticket = demo.client.post("/api/subscribe", json={"symbols": ["TCS"]}).json()

    with demo.client.websocket_connect(ticket["url"]) as socket:
        assert told(socket, "hello")["demo"] is True
        assert told(socket, "done")["added"] == ["NSE:TCS"]


def test_health_tells_strangers_no_more_than_what_is_up(guarded: Guarded, demo: Guarded) -> None:
    part = {"part": "feed", "actor": "feed-kite", "up": False, "trouble": "OSError: 10.1.2.3:5432", "pid": 7}
    record = {"parts": [part], "database": {"up": True, "version": "18.1"}}
    guarded.house.model.put("status", record, 60)  # both read it

    bare, whole = guarded.client.get("/health").json(), demo.client.get("/health").json()

    assert bare["parts"]["feed-kite"] == {"up": False} and bare["database"] == {"up": True}
    assert "10.1.2.3" not in str(bare) and "10.1.2.3" in str(whole)
    assert bare["status"] == whole["status"] == "degraded"


def test_very_many_parameters_are_refused_and_break_nothing(demo: Guarded) -> None:
    many = "&".join(["a=1"] * 101)

    answer = demo.client.get(f"/api/v1/market/status?{many}")
    with demo.client.websocket_connect(f"/ws/quotes?{many}") as line, pytest.raises(WebSocketDisconnect) as refused:
        line.receive_json()

    assert (answer.status_code, refused.value.code) == (422, 4001)


def test_a_405_says_what_may_be_asked_and_every_refusal_is_counted(demo: Guarded) -> None:
    counts = demo.house.desk.refusals.counts

    answer = demo.client.post("/api/v1/market/status")
    demo.client.get("/api/v1/nothing")
    demo.client.get("/api/v1/me")
    demo.client.get("/health", headers=[(f"x-{i}", "1") for i in range(70)])

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert counts == {"method": 1, "unknown-path": 1, "credential": 1, "too-large": 1}


def test_a_database_that_hangs_is_given_up_and_what_waits_behind_it_too() -> None:
    gate = Gate(AccessPlan(), "redis://127.0.0.1:1/0", patience=2.0)
    held, begun = threading.Event(), []

    async def ask() -> list[object]:
        asked = [gate.store(lambda: (begun.append(1), held.wait())) for _ in range(3 * THREADS)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask())
    held.set()
    gate.close()

    assert {type(one) for one in found} == {LineDown}
    assert len(begun) == THREADS


def test_a_cache_that_is_mute_is_asked_by_each_thread_once() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as mute:
        gate = Gate(AccessPlan(), f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        scope = {"type": "http", "headers": [(b"x-api-key", b"bk_a_b")]}

        async def ask() -> list[object]:
            return await asyncio.gather(*(gate.find(scope) for _ in range(10 * THREADS)), return_exceptions=True)

        found = asyncio.run(ask())
        gate.close()
        mute.setblocking(False)
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(mute.accept()[0])
        for line in lines:
            line.close()

    assert {type(one) for one in found} == {LineDown}
    assert 1 <= len(lines) <= THREADS
