"""The simulated exchange: a server that speaks Kite's REST and binary WebSocket, on one port.

Live, one clock plays the tapes for everybody, and a socket that falls too far behind is dropped. In hold mode each
socket has its own place in the tape: nothing is sent until it asks to go on behind a frame (`{"a": "resume", "v":
n}`, -1 for the start), and then as fast as it reads. After each step's frames comes a text that standard clients
ignore, with the step's number and the market's clock; a step is a market second.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from adapters.exchange_rest import Desk
from market.instruments import Instrument
from market.tape import Tape
from market.vendors.kite import SOCKET_INSTRUMENTS, SOCKETS
from market.vendors.kite_wire import MODES, Wire

BEHIND_BYTES = 32 * 1024 * 1024
"""A live socket that has not taken this much is dropped."""

PATIENCE_SECONDS = 5.0
"""A tape without a pace waits this long for a reader to take what is too much; then the reader is dropped."""

HEARTBEAT = b"\x00"
HEARTBEAT_SECONDS = 1.0
TEXT_BYTES = 1 << 20

Sleep = Callable[[float], Awaitable[None]]


class Socket:
    """One client's WebSocket: what it subscribes, where it is in the tape, what waits to be sent."""

    def __init__(
        self,
        key: str,
        answer: web.WebSocketResponse,
        modes: npt.NDArray[np.int8],
        behind: int,
        abort: Callable[[], None],
    ) -> None:
        self.key, self.answer, self.modes, self.abort = key, answer, modes, abort
        self._behind = behind
        self.position: int | None = None
        self.resumed = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self._queue: asyncio.Queue[bytes | str] = asyncio.Queue()
        self._waiting = 0

    def offer(self, messages: Sequence[bytes | str]) -> bool:
        """Queue messages in order; False when too much is waiting already."""
        if self._waiting > self._behind:
            return False
        for message in messages:
            self._waiting += len(message)
            self._queue.put_nowait(message)
        if self._waiting > self._behind // 2:
            self.room.clear()
        return True

    @property
    def waiting(self) -> int:
        """Bytes not yet handed to the network."""
        return self._waiting

    async def pump(self) -> None:
        """Send what is offered, a heartbeat where nothing is, until the socket ends."""
        while not self.answer.closed:
            try:
                message = await asyncio.wait_for(self._queue.get(), HEARTBEAT_SECONDS)
            except TimeoutError:
                await self.answer.send_bytes(HEARTBEAT)
                continue
            await self.send(message)
            self._waiting -= len(message)
            if self._waiting <= self._behind // 2:
                self.room.set()

    async def send(self, message: bytes | str) -> None:
        """Send one message, waiting for the network."""
        if isinstance(message, bytes):
            await self.answer.send_bytes(message)
        else:
            await self.answer.send_str(message)


class Exchange:
    """Plays tapes to Kite clients. `speed`: times real time, None: as fast as it goes."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        tapes: Iterator[Tape],
        *,
        api_key: str = "demo",
        api_secret: str = "demo-secret",  # noqa: S107  (of a simulation)
        access_token: str | None = None,
        speed: float | None = 1.0,
        hold: bool = False,
        begin: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] | None = None,
        sleep: Sleep = asyncio.sleep,
        behind: int = BEHIND_BYTES,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`access_token`: one that is valid from the start; `begin`: market time, ns UTC, at which the first
        tape goes on.
        """
        self._wire = Wire(instruments)
        self._tapes = tapes
        self._speed, self._hold, self._begin = speed, hold, begin
        self._host, self._port = host, port
        self._monotonic, self._sleep = clock, sleep
        self._key, self._secret = api_key, api_secret
        self._tokens = {access_token} if access_token else set()
        self._requests: set[str] = set()
        self._sockets: set[Socket] = set()
        self._behind, self._patience = behind, patience
        self._wanted = asyncio.Event()
        self._log = structlog.get_logger()
        self._tape = next(tapes)
        self._step = self._tape.step_at(begin) - 1
        self._desk = Desk(instruments, self._wire, self)
        self._runner: web.AppRunner | None = None
        self._playing: asyncio.Task[None] | None = None
        self.dropped = 0

    @property
    def clock(self) -> int:
        """Market time, ns UTC."""
        return self._tape.clock(max(self._step, 0))

    @property
    def tape(self) -> Tape:
        """The session being played."""
        return self._tape

    @property
    def step(self) -> int:
        """The newest step everybody may know of; -1 before the first."""
        return self._step

    @property
    def sockets(self) -> int:
        """How many are connected."""
        return len(self._sockets)

    async def start(self) -> str:
        """Listen, and (live) let the clock run; returns the address, http://host:port."""
        app = web.Application(middlewares=[self._desk.errors], client_max_size=TEXT_BYTES)
        app.router.add_get("/", self._connect)
        app.router.add_get("/ws", self._connect)
        self._desk.route(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        if not self._hold:
            self._playing = asyncio.create_task(self._play())
        return f"http://{self._host}:{self._port}"

    async def stop(self) -> None:
        """Close every socket and the port."""
        if self._playing is not None:
            self._playing.cancel()
        for socket in list(self._sockets):
            await socket.answer.close(code=WSCloseCode.GOING_AWAY)
        if self._runner is not None:
            await self._runner.cleanup()

    # Logins, for REST and sockets alike

    def authorized(self, key: str, token: str) -> bool:
        """Whether this pair may ask anything."""
        return key == self._key and any(secrets.compare_digest(token, known) for known in self._tokens)

    def request_token(self, key: str) -> str | None:
        """A new single-use token, as the login page hands it out; None for a stranger's key."""
        if key != self._key:
            return None
        token = secrets.token_urlsafe(24)
        self._requests.add(token)
        return token

    def access_token(self, key: str, request: str, checksum: str) -> str | None:
        """Turn a request token into an access token; None when anything does not fit."""
        right = sha256(f"{self._key}{request}{self._secret}".encode()).hexdigest()
        if key != self._key or request not in self._requests or not secrets.compare_digest(checksum, right):
            return None
        self._requests.discard(request)
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return token

    def revoke(self, token: str) -> None:
        """End a session."""
        self._tokens.discard(token)

    # The stream

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        key, token = request.query.get("api_key"), request.query.get("access_token")
        if not key or not token:
            return web.Response(status=400, text="api_key and access_token are needed in the query")
        if not self.authorized(key, token):
            return web.Response(status=403, text="Authentication failed")
        if sum(s.key == key for s in self._sockets) >= SOCKETS:
            return web.Response(status=403, text=f"Maximum of {SOCKETS} connections reached")
        answer = web.WebSocketResponse(max_msg_size=TEXT_BYTES, compress=False)
        await answer.prepare(request)
        transport = request.transport
        if transport is None:
            return answer
        socket = Socket(key, answer, self._wire.no_modes(), self._behind, transport.abort)
        self._sockets.add(socket)
        sender = asyncio.create_task(self._send_held(socket) if self._hold else socket.pump())
        try:
            async for message in answer:
                if message.type is WSMsgType.TEXT:
                    complaint = self._hear(socket, message.data)
                    if complaint:
                        await socket.send(json.dumps({"type": "error", "data": complaint}))
        finally:
            self._sockets.discard(socket)
            if not self._sockets:
                self._wanted.clear()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return answer

    def _hear(self, socket: Socket, text: str) -> str | None:
        """Do what a text asks; the complaint, if it asks for what cannot be."""
        try:
            asked = json.loads(text)
            action, value = asked["a"], asked["v"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return 'a message is JSON like {"a": "subscribe", "v": [408065]}'
        if action == "resume" and isinstance(value, int) and not isinstance(value, bool) and value >= -1:
            socket.position = value
            socket.resumed.set()
            return None
        if action == "subscribe":
            return self._subscribe(socket, value, "quote", keep=True)
        if action == "unsubscribe":
            return self._unsubscribe(socket, value)
        if action == "mode" and isinstance(value, list) and len(value) == 2 and value[0] in [*MODES]:
            return self._subscribe(socket, value[1], value[0], keep=False)
        return f"unknown action {str(action)[:40]!r}; subscribe, unsubscribe and mode are known"

    def _subscribe(self, socket: Socket, value: Any, mode: str, *, keep: bool) -> str | None:
        wanted = self._ids(value)
        if wanted is None:
            return "instrument tokens come as a list of whole numbers"
        known = np.array([i for i in dict.fromkeys(wanted) if i >= 0], np.int64)
        if keep:
            known = known[socket.modes[known] == 0]
        room = SOCKET_INSTRUMENTS - int((socket.modes > 0).sum())
        new = known[socket.modes[known] == 0]
        surplus = new[room:]
        known = known[~np.isin(known, surplus)]
        socket.modes[known] = MODES[mode]
        self._wanted.set()
        if not self._hold:
            shown = self._tape.latest(self._step)
            shown = shown[np.isin(shown["instrument"], known)]
            socket.offer(self._wire.frames(shown, socket.modes, self._tape.closes_before, self.clock))
        if len(surplus):
            return f"at most {SOCKET_INSTRUMENTS} instruments on one connection: {len(surplus)} refused"
        strangers = sum(i < 0 for i in wanted)
        return f"{strangers} instrument tokens are not known" if strangers else None

    def _unsubscribe(self, socket: Socket, value: Any) -> str | None:
        wanted = self._ids(value)
        if wanted is None:
            return "instrument tokens come as a list of whole numbers"
        socket.modes[[i for i in wanted if i >= 0]] = 0
        return None

    def _ids(self, value: Any) -> list[int] | None:
        if not isinstance(value, list) or not all(isinstance(t, int) and not isinstance(t, bool) for t in value):
            return None
        return [self._wire.ids.get(token, -1) for token in value]

    async def _play(self) -> None:
        """Live: one clock for all, tape after tape."""
        while True:
            pace = Pace(self._speed, self._step, self._monotonic, self._sleep)
            while self._step + 1 < self._tape.steps:
                await pace.wait(self._step + 1)
                self._step += 1
                for socket in list(self._sockets):
                    if not socket.offer(self._messages(self._tape, self._step, socket)):
                        self._drop(socket)
                if self._speed is None:
                    await self._wait_for_readers()
            self._desk.remember(self._tape)
            following = await asyncio.to_thread(next, self._tapes, None)
            if following is None:
                for socket in self._sockets:
                    socket.offer([END])
                return
            self._tape, self._step = following, -1

    async def _wait_for_readers(self) -> None:
        """Without a pace nothing else holds the tape back: it stands while nobody has asked for anything.

        A reader that takes nothing holds it for `patience` seconds, and is dropped.
        """
        await self._wanted.wait()
        for socket in list(self._sockets):
            try:
                await asyncio.wait_for(socket.room.wait(), self._patience)
            except TimeoutError:
                self._drop(socket)

    def _drop(self, socket: Socket) -> None:
        """End a connection that is too far behind, without waiting for it."""
        self.dropped += 1
        self._sockets.discard(socket)
        self._log.warning("socket_dropped", waiting=socket.waiting)
        socket.abort()

    async def _send_held(self, socket: Socket) -> None:
        """Held: this socket's own way through the tape, from where it asks."""
        while True:
            await socket.resumed.wait()
            socket.resumed.clear()
            step = (socket.position or 0) + 1 if socket.position is not None else 0
            pace = Pace(self._speed, step - 1, self._monotonic, self._sleep)
            while step < self._tape.steps and not socket.resumed.is_set():
                await pace.wait(step)
                for message in self._messages(self._tape, step, socket):
                    await socket.send(message)
                self._step = max(self._step, step)
                step += 1
            if step >= self._tape.steps:
                await socket.send(END)

    def _messages(self, tape: Tape, step: int, socket: Socket) -> list[bytes | str]:
        clock = tape.clock(step)
        told = {"frame": step, "clock": clock}
        frames = self._wire.frames(tape.packets(step), socket.modes, tape.closes_before, clock)
        return [*frames, json.dumps({"type": "message", "data": {"bourse": told}})]


END = json.dumps({"type": "message", "data": {"bourse": {"end": True}}})


class Pace:
    """Waits for each step's moment, counted from the first, so that no error adds up; late steps follow at once."""

    def __init__(self, speed: float | None, step: int, clock: Callable[[], float] | None, sleep: Sleep) -> None:
        self._speed, self._first, self._sleep = speed, step, sleep
        self._clock = clock or asyncio.get_running_loop().time
        self._began = self._clock()

    async def wait(self, step: int) -> None:
        """Until this step is due."""
        if self._speed is None:
            await asyncio.sleep(0)
            return
        due = self._began + (step - self._first) / self._speed
        await self._sleep(max(0.0, due - self._clock()))
