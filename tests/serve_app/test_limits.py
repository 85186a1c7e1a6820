"""Limits and the guard before them: what a caller is told, who is sent away, and what no stranger can pretend."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from adapters.limits import ACCOUNT, Limits
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.access import Caller, Role, Tier
from market.doors import Doors, Front
from market.limits import MICROS
from serve_app import problems
from serve_app.guard import MOST_HEADERS, Guard, Seal
from serve_app.limits import AT_LOGIN, AT_LOGINS, FREE, Limiting, Throttle, cost
from serve_app.requests import Requests
from tests.adapters.test_limits import LENGTHENED_SECONDS, lengthen
from tests.serve_app.house import House

TIERS = {
    "anonymous": Tier(requests_per_second=0.01, burst=3, connections=1, symbols=10),
    "premium": Tier(requests_per_second=0.01, burst=6, connections=2, symbols=10),
}
FRONT = Doors(trusted_front=Front(networks=("10.0.0.0/8",)))


class Gate(Protocol):
    """Makes gates; `opened` are their limits."""

    opened: list[Limits]

    def __call__(self, doors: Doors = ..., peer: str = ..., reasons: list[str] | None = ...) -> TestClient:
        """A client of one."""
        ...


class Keys:
    """Stands where accounts are checked: a key is its owner's name, and one path is a mistake."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = dict(scope.get("headers", ())).get(b"x-api-key")
        if scope["path"] == "/broken":
            raise RuntimeError
        if key:
            caller = Caller(kind="key", credential=f"key:{key.decode()}", role=Role.PREMIUM, tier="premium")
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


@pytest.fixture
def gate(stores: tuple[RedisServer, RedisServer]) -> Iterator[Gate]:
    """Gates of a test's own over one empty cache, in the order in which the gateway stacks them."""
    line = RedisLine(stores[1].url)
    line.call("FLUSHALL")
    line.close()
    opened: list[Limits] = []

    def make(doors: Doors = FRONT, peer: str = "10.0.0.1", reasons: list[str] | None = None) -> TestClient:
        async def answer(request: Request) -> JSONResponse:
            return JSONResponse({"address": request.state.address})

        async def hold(socket: WebSocket) -> None:
            await socket.accept()
            await socket.receive()

        paths = ["/quote", "/batch", "/health", "/docs", "/api/v1/login", "/api/v1/admin/users"]
        routes = [Route(p, answer, methods=["GET", "POST"]) for p in paths]
        inner = Starlette(routes=[*routes, WebSocketRoute("/ws", hold)])
        opened.append(Limits(stores[1].url, TIERS, timeout=60.0))
        limiting = Limiting(inner, opened[-1], reasons.append if reasons is not None else lambda _: None)
        app = Seal(Requests(Guard(Keys(limiting), doors)), doors)
        return TestClient(app, client=(peer, 4000), raise_server_exceptions=False)

    setattr(make, "opened", opened)  # noqa: B010
    yield cast(Gate, make)
    for one in opened:
        one.stop()


def empty(stores: tuple[RedisServer, RedisServer], bucket: str) -> None:
    """Nothing is left in a bucket, and nothing comes however long this machine takes."""
    line = RedisLine(stores[1].url)
    line.call("SET", f"limit:take:{bucket}", int((time.time() + 3600) * MICROS))
    line.close()


def codes(client: TestClient, count: int, path: str = "/quote", **headers: str) -> list[int]:
    return [client.get(path, headers=headers).status_code for _ in range(count)]


def test_a_caller_is_told_what_is_left_and_when_to_come_back(gate: Gate) -> None:
    reasons: list[str] = []
    client = gate(reasons=reasons)

    began = time.monotonic()
    first, *_, last = [client.get("/quote", headers={"X-API-KEY": "a"}) for _ in range(7)]
    took = time.monotonic() - began

    assert first.headers["RateLimit-Policy"] == '"premium";q=6;w=600'
    assert first.headers["RateLimit"] == '"premium";r=5;t=100'
    assert [first.headers[f"RateLimit-{n}"] for n in ("Limit", "Remaining", "Reset")] == ["6", "5", "100"]
    assert last.status_code == 429 and last.headers["Content-Type"] == "application/problem+json"
    assert 100 - took <= int(last.headers["Retry-After"]) <= 100
    assert last.headers["RateLimit-Remaining"] == "0" and last.headers["X-Request-ID"]
    assert last.json()["type"] == "urn:bourse:problem:too-many"
    assert reasons == ["rate"]


def test_each_credential_has_its_own_bucket_in_every_replica(gate: Gate) -> None:
    clients = gate(), gate()

    mine = [codes(clients[i % 2], 1, **{"X-API-KEY": "a"})[0] for i in range(8)]

    assert mine == [200] * 6 + [429] * 2
    assert codes(clients[0], 1, **{"X-API-KEY": "b"}) == [200]


def test_a_stranger_is_its_address_and_cannot_write_another(gate: Gate) -> None:
    client = gate()

    found = [codes(client, 1, **{"X-Forwarded-For": f"6.6.6.{i}, 203.0.113.9"})[0] for i in range(4)]

    assert found == [200, 200, 200, 429]
    assert codes(client, 1, **{"X-Forwarded-For": "203.0.113.10"}) == [200]


def test_without_a_front_all_strangers_share_one_bucket(gate: Gate) -> None:
    stranger, other = gate(peer="203.0.113.66"), gate(doors=Doors())

    found = [codes(one, 1, **{"X-Forwarded-For": f"198.51.100.{i}"})[0] for i in range(2) for one in (stranger, other)]

    assert found == [200, 200, 200, 429]
    assert codes(other, 1, path="/health") == [200]


def test_a_long_list_costs_more(gate: Gate) -> None:
    symbols = ",".join(f"NSE:S{i}" for i in range(101))

    left = gate().get("/batch", params={"symbols": symbols}, headers={"X-API-KEY": "a"}).headers["RateLimit-Remaining"]

    assert left == "3"


@pytest.mark.parametrize(
    ("path", "query", "tokens"),
    [
        ("/api/v1/candles/TCS", b"", 1),
        ("/api/v1/candles/TCS", b"limit=5&fr%6Fm=2020-01-01", 5),
        ("/api/v1/features/TCS", b"from=2020-01-01", 5),
        ("/api/v1/signals", b"symbol=TCS", 1),
        ("/api/v1/signals", b"symbol=TCS&since=2020-01-01", 5),
        ("/api/v1/sessions", b"from=2020-01-01", 1),
        ("/api/v1/outcomes", b"", 5),
        ("/api/v1/ipos", b"status=open,closed", 2),
        ("/api/v1/ipos/amber-sons-foundry-2024", b"", 1),
        ("/api/v1/ipos/amber-sons-foundry-2024/gmp", b"from=2020-01-01", 2),
        ("/api/v1/ipo/track-record", b"", 5),
    ],
)
def test_what_may_reach_years_back_costs_more(path: str, query: bytes, tokens: int) -> None:
    assert cost({"type": "http", "path": path, "query_string": query}) == tokens


def test_sockets_are_counted_by_credential_and_given_back(gate: Gate) -> None:
    reasons: list[str] = []
    client, key = gate(reasons=reasons), {"X-API-KEY": "a"}

    with client.websocket_connect("/ws", headers=key), client.websocket_connect("/ws", headers=key):
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/ws", headers=key) as third:
            third.receive_text()
        with client.websocket_connect("/ws", headers={"X-API-KEY": "b"}):
            pass
    with client.websocket_connect("/ws", headers=key):
        pass

    assert reasons == ["connections"]
    assert (refused.value.code, refused.value.reason) == (4009, "a credential of this tier has at most 2 sockets")


def test_login_is_slowed_by_address_whatever_the_credential(
    gate: Gate, stores: tuple[RedisServer, RedisServer]
) -> None:
    reasons: list[str] = []
    client = gate(reasons=reasons)

    def post(i: int, address: str) -> int:
        return client.post("/api/v1/login", headers={"X-API-KEY": f"k{i}", "X-Forwarded-For": address}).status_code

    found = [post(i, "203.0.113.9") for i in range(AT_LOGIN.burst)]
    empty(stores, f"{AT_LOGIN.name}:203.0.113.9")
    found += [post(i, "203.0.113.9") for i in range(30, 33)]

    assert found == [200] * AT_LOGIN.burst + [429] * 3
    assert set(reasons) == {"login"}
    assert post(99, "203.0.113.10") == 200


def test_where_a_secret_is_checked_a_caller_is_told_of_its_own_bucket_alone(
    gate: Gate, stores: tuple[RedisServer, RedisServer]
) -> None:
    stranger, known = gate(doors=Doors()), gate()

    mine = known.post("/api/v1/login", headers={"X-API-KEY": "a", "X-Forwarded-For": "203.0.113.9"}).headers
    empty(stores, f"{AT_LOGIN.name}:203.0.113.9")
    address = [known.post("/api/v1/login", headers={"X-API-KEY": f"k{i}", "X-Forwarded-For": "203.0.113.9"})
               for i in range(12)]  # fmt: skip
    shared = [stranger.post("/api/v1/login").headers for _ in range(45)]

    assert not any(name.startswith("ratelimit") for headers in shared for name in headers)
    assert mine["RateLimit"] == '"premium";r=5;t=100'
    refused = [one.headers for one in address if one.status_code == 429]
    assert refused and {one["RateLimit-Remaining"] for one in refused} == {"6"}
    assert all("Retry-After" in one for one in refused)


def test_what_strangers_read_keeps_nobody_from_logging_in_nor_logins_from_staying(
    gate: Gate, stores: tuple[RedisServer, RedisServer]
) -> None:
    client = gate(doors=Doors())

    read = codes(client, 4)
    logins = [client.post("/api/v1/login").status_code for _ in range(AT_LOGINS.burst)]
    empty(stores, AT_LOGINS.name)
    late = client.post("/api/v1/login").status_code
    stays = client.post("/api/v1/auth/refresh").status_code

    assert read == [200, 200, 200, 429]
    assert logins == [200] * AT_LOGINS.burst and late == 429
    assert stays == 404  # let through to where no such path is


@pytest.mark.parametrize(
    ("doors", "told", "code"),
    [
        (FRONT, "203.0.113.9", 200),
        (FRONT.model_copy(update={"admin_addresses": ("203.0.113.0/24",)}), "203.0.113.9", 200),
        (FRONT.model_copy(update={"admin_addresses": ("203.0.113.0/24",)}), "198.51.100.1", 403),
        (Doors(admin_addresses=("203.0.113.0/24",)), "203.0.113.9", 403),
    ],
)
def test_admin_paths_are_served_to_listed_addresses_alone(gate: Gate, doors: Doors, told: str, code: int) -> None:
    answer = gate(doors).get("/api/v1/admin/users", headers={"X-Forwarded-For": told})

    assert answer.status_code == code
    assert answer.headers["Cache-Control"] == "no-store"


def test_too_many_headers_and_too_long_addresses_are_refused_before_anything_is_done(gate: Gate) -> None:
    client = gate()

    answers = [
        client.get("/quote", headers=[(f"x-{i}", "1") for i in range(MOST_HEADERS)]),
        client.get("/quote", headers={"x-long": "a" * (33 << 10)}),
        client.get("/quote?q=" + "a" * (17 << 10)),
    ]

    assert [a.status_code for a in answers] == [431, 431, 414]
    assert all(a.headers["Content-Type"] == "application/problem+json" for a in answers)
    assert codes(client, 3) == [200, 200, 200]


def test_cross_origin_is_closed_until_a_page_is_listed(gate: Gate) -> None:
    listed = gate(Doors(origins=("https://page.example",)))
    ask = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET",
           "Access-Control-Request-Headers": "x-api-key"}  # fmt: skip

    closed = gate(Doors()).get("/quote", headers={"Origin": "https://page.example"})
    preflight = listed.options("/quote", headers=ask)
    plain = listed.get("/quote", headers={"Origin": "https://page.example"})
    other = listed.get("/quote", headers={"Origin": "https://evil.example"})

    assert "access-control-allow-origin" not in closed.headers
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://page.example"
    assert plain.headers["access-control-allow-origin"] == "https://page.example"
    assert "Retry-After" in plain.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in other.headers


def test_a_foreign_page_opens_no_socket(gate: Gate) -> None:
    client = gate(Doors(origins=("https://page.example",)))

    for origin in ("http://testserver", "https://page.example"):
        with client.websocket_connect("/ws", headers={"Origin": origin, "X-API-KEY": "a"}):
            pass
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/ws", headers={"Origin": "https://evil.example", "X-API-KEY": "a"}),
    ):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers={"Origin": "http://["}):
        pass


def test_every_answer_is_sealed_and_tls_is_promised_only_where_it_is(gate: Gate) -> None:
    plain = gate().get("/quote").headers
    docs = gate(Doors(tls=True)).get("/docs").headers

    assert plain["X-Content-Type-Options"] == "nosniff" and plain["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in plain["Content-Security-Policy"]
    assert "cdn.jsdelivr.net" not in plain["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in plain
    assert "cdn.jsdelivr.net" in docs["Content-Security-Policy"]
    assert docs["Strict-Transport-Security"].startswith("max-age=")


def test_an_answer_of_a_mistake_of_ours_is_sealed_too(gate: Gate) -> None:
    answer = gate().get("/broken")

    assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (500, "nosniff")
    assert answer.headers["X-Request-ID"]


def test_a_name_that_is_not_ours_is_refused(gate: Gate) -> None:
    client = gate(Doors(hosts=("testserver",)))

    assert codes(client, 1, Host="evil.example") == [400]
    assert codes(client, 1, Host="testserver:8000") == [200]


def test_a_gateway_whose_cache_is_gone_reads_on_and_says_that_it_counts_alone(
    stores: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        cache = RedisServer(f"{folder}/cache", f"{folder}/run", "cache", memory=64 << 20, durable=False)
        cache.start()
        house = House(stores[0], cache, tmp_path)
        house.plan = house.plan.model_copy(update={"tiers": TIERS, "replicas": 3})
        house.open()
        together = house.client.get("/health").json()["limits"]["up"]
        cache.stop()

        found = codes(house.client, 3, "/api/stock/RELIANCE")
        told = house.client.get("/health").json()
        house.close()

    assert together
    assert found == [200, 429, 429]  # a third of three
    assert told["status"] == "degraded" and told["limits"]["up"] is False
    assert str(folder) not in told["limits"]["trouble"]


def test_a_guesser_is_answered_with_the_time_to_wait(gate: Gate, stores: tuple[RedisServer, RedisServer]) -> None:
    app = FastAPI()
    problems.install(app, problems.Refusals())
    gate()
    throttle = Throttle(gate.opened[0])

    @app.post("/login")
    async def login(user: str, password: str) -> dict[str, bool]:
        await throttle.login("", user)
        if password == "right":
            await throttle.good("", user)
        return {"good": password == "right"}

    client = TestClient(app)
    guesses = [client.post("/login", params={"user": "asha", "password": str(i)}) for i in range(ACCOUNT.free + 1)]
    line = RedisLine(stores[1].url)
    lengthen(line)
    line.close()
    guesses.append(client.post("/login", params={"user": "asha", "password": "one more"}))
    other = [client.post("/login", params={"user": "ravi", "password": "right"}).status_code for _ in range(8)]

    assert [g.status_code for g in guesses] == [200] * (ACCOUNT.free + 1) + [429]
    assert 0 < int(guesses[-1].headers["Retry-After"]) <= LENGTHENED_SECONDS + 1
    assert guesses[-1].json()["title"] == "Too many requests" and "asha" not in guesses[-1].text
    assert other == [200] * 8


def test_who_watches_is_never_sent_away(gate: Gate) -> None:
    client = gate(Doors())
    codes(client, 4)

    found = [client.get(path) for path in FREE if path == "/health" for _ in range(5)]

    assert all(isinstance(one, httpx.Response) and one.status_code == 200 for one in found)
    assert "RateLimit" not in found[0].headers
