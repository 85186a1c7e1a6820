"""Frames on real sockets: straight into uvicorn's transport, by ASGI where that cannot be, whole either way."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from market.access import Caller
from market.access import Scope as Rights
from serve_app.hub import BACKLOG
from serve_app.stream import INBOX_BYTES, MESSAGES, Stream
from serve_app.wires import PROBE_BYTES, Direct, Inbox, Plain, Transports, Wire, ready, wire_of
from tests.serve_app.house import INSTRUMENTS, RELIANCE, TCS, TODAY, House, after, live, tick, wait
from tests.serve_app.served import served

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]


class Teller:
    """Sends one message of each size to whoever comes, and then echoes."""

    def __init__(self, *, binary: bool, compress: bool = False) -> None:
        self.binary, self.compress = binary, compress
        self.wire: Wire | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        answered = ready(scope, 1 << 20, Inbox(1000, 1 << 20))
        await send({"type": "websocket.accept"})
        await answered
        self.wire = wire_of(scope, send, binary=self.binary, compress=self.compress)
        for size in SIZES:
            self.wire.send(size, (b"a" * (size // 2), b"b" * (size - size // 2)))
        while (message := await receive())["type"] == "websocket.receive":
            data = message.get("bytes") or (message.get("text") or "").encode()
            self.wire.send(len(data), (data,))


class Later:
    """Stands where Serve does: what is sent goes on its way when the sender has gone on with his."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        said: asyncio.Queue[Message] = asyncio.Queue()
        serving = asyncio.create_task(self._app(scope, receive, said.put))
        try:
            while scope["type"] == "websocket":
                message = await said.get()
                await asyncio.wait([serving], timeout=0.05)
                await send(message)
        finally:
            serving.cancel()


class Greedy:
    """Stands where Serve does: takes what comes as soon as it comes, and keeps it for whoever asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self.most = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        kept: asyncio.Queue[Message] = asyncio.Queue()

        async def take() -> None:
            while True:
                await kept.put(await receive())
                self.most = max(self.most, kept.qsize())

        taking = asyncio.create_task(take())
        try:
            await self._app(scope, kept.get, send)
        finally:
            taking.cancel()


async def known(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """As somebody with an account."""
    caller = Caller(kind="session", credential="mine", user="me", scopes=frozenset(Rights), tier="premium")
    await app({**scope, "state": {"caller": caller}}, receive, send)


def line(port: int, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws/quotes", max_size=None, proxy=None, **options)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_every_length_arrive_whole_and_in_order(binary: bool, compression: str | None) -> None:
    teller = Teller(binary=binary)
    with served(Transports(teller)) as port, line(port, compression=compression) as there:
        for size in SIZES:
            said = there.recv()
            assert isinstance(said, bytes) == binary
            whole = "a" * (size // 2) + "b" * (size - size // 2)
            assert said == (whole.encode() if binary else whole)
        assert isinstance(teller.wire, Direct)
        there.send("still there?")
        assert there.recv() in (b"still there?", "still there?")


def test_no_frame_stands_before_the_servers_answer() -> None:
    teller = Teller(binary=True)
    with served(Transports(Later(teller))) as port, line(port, compression=None) as there:
        assert [len(there.recv()) for _ in SIZES] == SIZES
    assert isinstance(teller.wire, Direct)


def test_a_frame_that_is_to_be_compressed_takes_the_other_way() -> None:
    teller = Teller(binary=True, compress=True)
    with served(Transports(teller)) as port:
        with line(port, compression="deflate") as there:
            assert [len(there.recv()) for _ in SIZES] == SIZES
            assert isinstance(teller.wire, Plain)
        with line(port, compression=None) as there:
            assert [len(there.recv()) for _ in SIZES] == SIZES
            assert isinstance(teller.wire, Direct)


def test_without_the_middleware_it_is_asgi() -> None:
    teller = Teller(binary=True)
    with served(teller) as port, line(port) as there:
        assert [len(there.recv()) for _ in SIZES] == SIZES
        assert isinstance(teller.wire, Plain)


def test_a_socket_that_has_gone_before_it_is_ours_breaks_nothing() -> None:
    class Gone:
        family = socket.AF_INET

        def setsockopt(self, *_: int) -> None:
            raise ValueError("negative file descriptor")  # as uvloop does

    written: list[bytes] = []
    transport = SimpleNamespace(
        get_write_buffer_size=lambda: 0, write=written.append, get_extra_info=lambda _: Gone(), is_closing=lambda: True
    )
    protocol: Any = SimpleNamespace(loop=None, transport=transport, handle_pong=None, close_sent=False)

    Direct(protocol, binary=True).send(3, (b"abc",))

    assert written == []


@pytest.mark.parametrize(("size", "most"), [(10, MESSAGES), (200_000, INBOX_BYTES / 200_000)])
def test_messages_that_nobody_hears_are_not_read_without_a_bound(house: House, size: int, most: float) -> None:
    """A list that takes its time to be looked up, and meanwhile hundreds of messages."""
    begun, go_on = threading.Event(), threading.Event()

    async def slowly(caller: Caller, name: str) -> list[str]:
        begun.set()
        await asyncio.to_thread(go_on.wait)
        return []

    desk = house.client.app.state.desk
    stream = Stream(desk.hub, desk.channels, desk.universe, desk.limits.tier, slowly)
    keeper = Greedy(partial(known, stream))
    with served(Transports(keeper)) as port, line(port) as there:
        there.send(orjson.dumps({"op": "subscribe", "watchlist": "mine"}).decode())
        assert begun.wait(120)
        with pytest.raises(ConnectionClosed) as ended:
            for _ in range(5 * int(MESSAGES)):
                there.send('{"op": "ping"}'.ljust(size))
            go_on.set()
            while True:
                there.recv(timeout=120)
        go_on.set()

    assert ended.value.rcvd is not None and ended.value.rcvd.code == 4010
    assert keeper.most <= most + 2


def test_a_first_socket_that_came_round_about_does_not_send_the_others_the_long_way(house: House) -> None:
    """It is served by ASGI on another loop, and the hub with it, until one comes straight from a server."""
    house.say(tick(TCS, after(TODAY, 1), 2000), live(after(TODAY, 1)))
    hub = house.client.app.state.desk.hub
    wanted = {"op": "subscribe", "symbols": ["NSE:TCS"]}
    with house.client.websocket_connect("/ws/quotes") as first, served(house.client.app) as port:
        first.send_json(wanted)
        while first.receive_json()["type"] != "key":
            pass
        before = hub.loop
        with line(port) as second, line(port) as third:
            for there in (second, third):
                there.send(orjson.dumps(wanted).decode())
                while orjson.loads(there.recv(timeout=120))["type"] != "key":
                    pass
            kinds = sorted(type(client.wire).__name__ for client in hub.clients.values())
            house.say(tick(TCS, after(TODAY, 2), 2100), live(after(TODAY, 2)))
            for receive in (first.receive_text, second.recv, third.recv):
                while "2100" not in receive():
                    pass
            first.send_json({"op": "ping"})
            while first.receive_json()["type"] != "pong":
                pass

    assert kinds == ["Direct", "Direct", "Plain"] and hub.loop is not before


@pytest.mark.parametrize("frame", [b"\x89\x80\0\0\0\0", b"\x00\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"])
def test_a_flood_of_frames_that_are_no_messages_is_ended(house: House, frame: bytes) -> None:
    """Pings, empty pieces of a message that never ends, answers to nothing: forty thousand in a breath."""
    with served(house.client.app) as port, line(port) as there:
        for sent in (b"\x01\x81\0\0\0\0x" if frame[0] == 0 else b"", frame * 40_000):
            there.socket.sendall(sent)
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                there.recv(timeout=120)

    assert ended.value.rcvd is not None and ended.value.rcvd.code == 4010


def test_who_is_heard_may_say_as_much_as_he_likes(house: House) -> None:
    answers = 0
    with served(house.client.app) as port, line(port) as there:
        for _ in range(30):  # three times the bound in all
            there.send('{"op": "ping"}'.ljust(INBOX_BYTES // 10))
            while orjson.loads(there.recv(timeout=120))["type"] != "pong":
                pass
            answers += 1

    assert answers == 30


@pytest.fixture
def quoted(house: House) -> Iterator[tuple[House, int]]:
    """A house on a port."""
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), tick(TCS, after(TODAY, 1), 2000, 7), live(after(TODAY, 1)))
    with served(house.client.app) as port:
        yield house, port


def listen(there: ClientConnection, known: dict[str, dict[str, Any]], enough: Callable[[], bool]) -> list[str]:
    """Fold messages until it is enough; their types."""
    kinds = []
    for _ in range(200):
        message = orjson.loads(there.recv(timeout=120))
        kinds.append(message["type"])
        for symbol, told in message.get("quotes", {}).items():
            known.setdefault(symbol, {}).update(told)
        if enough():
            return kinds
    raise AssertionError("waited in vain")


def test_a_screen_on_a_real_socket_folds_what_rest_answers(quoted: tuple[House, int]) -> None:
    house, port = quoted
    rng = random.Random(4)
    known: dict[str, dict[str, Any]] = {}
    with line(port) as there:
        there.send(orjson.dumps({"op": "set", "rate": 20}).decode())
        there.send(orjson.dumps({"op": "subscribe", "symbols": [i.symbol for i in INSTRUMENTS]}).decode())
        for k in range(2, 20):
            house.say(tick(rng.choice([RELIANCE, TCS]), at := after(TODAY, k), rng.randrange(900, 1100), k), live(at))
        at = after(TODAY, 20)
        house.say(tick(TCS, at, 2020.05, 100), tick(RELIANCE, at, 1020, 100), live(at))
        listen(
            there, known, lambda: [known.get(s, {}).get("volume") for s in ("NSE:TCS", "NSE:RELIANCE")] == [100, 100]
        )
        (client,) = house.client.app.state.desk.hub.clients.values()
        assert isinstance(client.wire, Direct)

    for symbol, price in (("NSE:TCS", 2020.05), ("NSE:RELIANCE", 1020.0)):
        answer = house.get(f"/api/stock/{symbol}")
        assert known[symbol]["price"] == price == answer["price"]
        assert [known[symbol][n] for n in ("open", "high", "low")] == [answer[n] for n in ("open", "high", "low")]
        assert known[symbol]["at"] == after(TODAY, 20) // 1_000_000


def test_who_does_not_read_gets_no_frames_until_he_does_and_then_the_latest(quoted: tuple[House, int]) -> None:
    """A wire's own backlog, of a kernel's small buffers: the hub sees it, and whoever stays away loses no value."""
    house, port = quoted
    hub = house.client.app.state.desk.hub
    with closing(socket.socket()) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.connect(("127.0.0.1", port))
        with line(port, sock=raw, ping_interval=None, max_queue=1) as there:
            there.send(orjson.dumps({"op": "subscribe", "symbols": ["TCS"]}).decode())
            known: dict[str, dict[str, Any]] = {}
            listen(there, known, lambda: "NSE:TCS" in known)
            (client,) = hub.clients.values()
            filler = {"type": "filler", "of": "x" * (1 << 18)}
            for _ in range(4):
                hub.call(client.tell, filler)
            wait(lambda: client.wire.waiting() > BACKLOG)
            for k in range(2, 8):
                house.say(tick(TCS, after(TODAY, k), 2000 + k, k), live(after(TODAY, k)))
            wait(lambda: client.owes)
            assert known["NSE:TCS"]["price"] == 2000.0
            kinds = listen(there, known, lambda: known["NSE:TCS"]["price"] == 2007.0)

    assert kinds.count("filler") == 4 and kinds[-1] == "key"
    assert hub.figures()["conflated"] > 0


class Hoard:
    """A line to a port that takes whatever the server sends, as a proxy's buffers do, and passes it on when told to."""

    def __init__(self, there: socket.socket, back: socket.socket) -> None:
        self.passes = threading.Event()
        self.passes.set()
        self._there, self._back = there, back
        self._held, self._over = b"", False
        self._more = threading.Condition()
        self._ways = [threading.Thread(target=way) for way in (self._ask, self._take, self._give)]
        for way in self._ways:
            way.start()

    def end(self) -> None:
        self.passes.set()
        for one in (self._there, self._back):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for way in self._ways:
            way.join()

    def _ask(self) -> None:
        with suppress(OSError):
            while data := self._back.recv(65536):
                self._there.sendall(data)

    def _take(self) -> None:
        data = b"-"
        while data:
            try:
                data = self._there.recv(65536)
            except OSError:
                data = b""
            with self._more:
                self._held += data
                self._over = not data
                self._more.notify()

    def _give(self) -> None:
        with suppress(OSError):
            while True:
                with self._more:
                    self._more.wait_for(lambda: self._held or self._over)
                self.passes.wait()
                with self._more:
                    data, self._held = self._held, b""
                if not data:
                    return
                self._back.sendall(data)


@contextmanager
def hoard(port: int) -> Iterator[tuple[Hoard, socket.socket]]:
    """Such a line, and the end of it for a client."""
    here, back = socket.socketpair()
    there = socket.create_connection(("127.0.0.1", port))
    found = Hoard(there, back)
    try:
        yield found, here
    finally:
        found.end()
        for one in (here, back, there):
            one.close()


def test_who_reads_slowly_behind_a_proxy_that_holds_much_gets_no_backlog(quoted: tuple[House, int]) -> None:
    house, port = quoted
    hub = house.client.app.state.desk.hub
    with hoard(port) as (proxy, end), line(port, sock=end, ping_interval=None) as there:
        there.send(orjson.dumps({"op": "set", "rate": 20}).decode())
        there.send(orjson.dumps({"op": "subscribe", "symbols": ["TCS"]}).decode())
        known: dict[str, dict[str, Any]] = {}
        listen(there, known, lambda: "NSE:TCS" in known)
        (client,) = hub.clients.values()
        proxy.passes.clear()
        hub.call(client.tell, {"type": "filler", "of": "x" * PROBE_BYTES})
        for k in range(1, 26):
            beat = hub.beat
            house.say(tick(TCS, after(TODAY, 2), 2000 + k, k), live(after(TODAY, 2)))
            wait(lambda beat=beat: hub.beat > beat)
        wait(lambda: client.wire.waiting() == 0)  # nothing stays on our side
        proxy.passes.set()
        kinds = listen(there, known, lambda: known["NSE:TCS"]["price"] == 2025.0)

    assert kinds.count("delta") < 20 and kinds[-1] == "key"


def test_a_line_that_is_cut_has_left(quoted: tuple[House, int]) -> None:
    house, port = quoted
    hub = house.client.app.state.desk.hub
    with line(port) as there:
        there.recv()
        assert hub.figures()["connections"] == 1
        there.socket.shutdown(socket.SHUT_RDWR)
        wait(lambda: hub.figures()["connections"] == 0)

    assert hub.figures()["sessions_kept"] == 1
