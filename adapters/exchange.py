"""The simulated exchange: a server that speaks a vendor's REST and WebSocket, on one port.

What is said is a `Dialect`'s; the sockets, the tapes and their pace are here, the same for all. Live, one clock plays
the tapes for everybody, and a socket that falls too far behind is dropped. In hold mode each socket has its own place
in the tape: nothing is sent until it asks to go on behind a frame (`codecs.resume`), and then as fast as it reads.
After each step's frames comes a text that standard clients ignore (`codecs.tape_text`), with the step's number and the
market's clock; a step is a market second.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np
import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from adapters.dialects import DIALECTS, Handler, Login
from adapters.faults import Faults, Order, Spoiler
from market.codecs import Conversation, Message, TapeClock, TapeEnd, resumed, tape_text
from market.instruments import Instrument
from market.sessions import SECOND
from market.tape import Packets, Tape

BEHIND_BYTES = 32 * 1024 * 1024
"""A live socket that has not taken this much is dropped."""

PATIENCE_SECONDS = 5.0
"""A tape without a pace waits this long for a reader to take what is too much; then the reader is dropped."""

TEXT_BYTES = 1 << 20
END = tape_text(TapeEnd())
FAULTS = "/simulation/faults"
"""Where a test on this machine orders faults; no vendor has it."""

Sleep = Callable[[float], Awaitable[None]]


class Socket:
    """One client's WebSocket: what is said on it, where it is in the tape, what waits to be sent."""

    def __init__(
        self,
        talk: Conversation,
        answer: web.WebSocketResponse,
        spoiler: Spoiler,
        behind: int,
        abort: Callable[[], None],
    ) -> None:
        self.talk, self.answer, self.spoiler, self.abort = talk, answer, spoiler, abort
        self._behind = behind
        self.position = -1
        self.resumed = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._waiting = 0

    def offer(self, messages: Sequence[Message]) -> bool:
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
        """Send what is offered, the vendor's pulse where nothing is, until the socket ends."""
        pulse, seconds = self.talk.pulse or ("", None)
        while not self.answer.closed:
            try:
                message = await asyncio.wait_for(self._queue.get(), seconds)
            except TimeoutError:
                await self.send(pulse)
                continue
            await self.send(message)
            self._waiting -= len(message)
            if self._waiting <= self._behind // 2:
                self.room.set()

    async def send(self, message: Message) -> None:
        """Send one message, waiting for the network."""
        if isinstance(message, bytes):
            await self.answer.send_bytes(message)
        else:
            await self.answer.send_str(message)


class Exchange:
    """Plays tapes to the clients of one vendor.

    `dialect`: one of `DIALECTS`; `speed`: times real time, None: as fast as it goes.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        tapes: Iterator[Tape],
        *,
        dialect: str = "kite",
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
        faults: Faults = Faults(),  # noqa: B008  (a frozen record)
    ) -> None:
        """`access_token`: one that is valid from the start; `begin`: market time, ns UTC, at which the first
        tape goes on.
        """
        self._tapes = tapes
        self._speed, self._hold, self._begin = speed, hold, begin
        self._host, self._port = host, port
        self._monotonic, self._sleep = clock, sleep
        self._sockets: dict[Socket, None] = {}
        self._behind, self._patience = behind, patience
        self._wanted = asyncio.Event()
        self._log = structlog.get_logger()
        self._tape = next(tapes)
        self._step = self._tape.step_at(begin) - 1
        login = Login(api_key=api_key, api_secret=api_secret, access_token=access_token)
        self._dialect = DIALECTS[dialect](instruments, login, self)
        self._runner: web.AppRunner | None = None
        self._playing: asyncio.Task[None] | None = None
        self._faults = faults
        self._dice = random.Random(f"rest {faults.seed}")  # noqa: S311  (a simulation)
        self._heard = asyncio.Event()
        self._opened = 0
        self.dropped = 0
        self.injected: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        """What is wrong now."""
        return self._faults

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
        app = web.Application(middlewares=[self._fail, self._dialect.desk.errors], client_max_size=TEXT_BYTES)
        app.router.add_get(FAULTS, self._told)
        app.router.add_post(FAULTS, self._told)
        for path in self._dialect.paths:
            app.router.add_get(path, self._connect)
        self._dialect.desk.route(app.router)
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

    # What goes wrong on purpose

    async def suffer(self, order: Order) -> None:
        """Carry out what a test asks."""
        self._faults = order.after(self._faults)
        self._heard.set()
        self._heard.clear()
        if "seed" in order.model_fields_set:
            self._dice.seed(f"rest {order.seed}")
        if order.expire:
            self._dialect.customer.expire()
        if order.renew is not None:
            self._dialect.customer.renew(order.renew)
        if order.cut:
            await self._cut(None if order.cut is True else int(order.cut))

    async def _cut(self, code: int | None) -> None:
        for socket in list(self._sockets):
            self._sockets.pop(socket, None)
            self.injected["cut"] += 1
            if code is None:
                socket.abort()
            else:
                await socket.answer.close(code=code)

    async def _told(self, request: web.Request) -> web.Response:
        """The faults that hold and how many were made, behind what this request changes."""
        if request.remote not in ("127.0.0.1", "::1"):
            raise web.HTTPNotFound
        if request.method == "POST":
            try:
                order = Order.model_validate_json(await request.read(), strict=True)
            except ValidationError as e:
                first = e.errors(include_url=False, include_input=False)[0]
                named = ".".join(map(str, first["loc"][:1])) or "body"
                return web.json_response({"error": f"{named}: {first['msg']}"}, status=400)
            await self.suffer(order)
        return web.json_response({"faults": self._faults.model_dump(), "injected": dict(self.injected)})

    @web.middleware
    async def _fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        faults, path = self._faults, request.path
        if path != FAULTS and path not in self._dialect.paths:
            for what, rate, status in (("too_many", faults.too_many, 429), ("broken", faults.broken, 503)):
                if rate and self._dice.random() < rate:
                    self.injected[what] += 1
                    later = {"Retry-After": "1"} if status == 429 else {}
                    return web.Response(status=status, text="<html>no</html>", content_type="text/html", headers=later)
        return await handler(request)

    # The stream

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if self._faults.refuse:
            self.injected["refuse"] += 1
            return web.Response(status=503, text="no connections now")
        refusal = self._dialect.refusal(request)
        if refusal is not None:
            return refusal
        if not self._dialect.evicts and len(self._sockets) >= self._dialect.sockets:
            return web.Response(status=403, text=f"Maximum of {self._dialect.sockets} connections reached")
        answer = web.WebSocketResponse(max_msg_size=TEXT_BYTES, compress=False)
        await answer.prepare(request)
        transport = request.transport
        if transport is None:
            return answer
        spoiler = Spoiler(f"{self._faults.seed} {self._opened}", self.injected)
        self._opened += 1
        socket = Socket(self._dialect.conversation(), answer, spoiler, self._behind, transport.abort)
        self._sockets[socket] = None
        if socket.talk.admitted and self._dialect.evicts:
            await self._evict(socket)
        for greeting in self._dialect.greeting:
            await socket.send(greeting)
        sender = asyncio.create_task(self._send_held(socket) if self._hold else socket.pump())
        try:
            async for message in answer:
                if message.type is WSMsgType.TEXT:
                    await self._hear(socket, message.data)
        finally:
            self._sockets.pop(socket, None)
            if not self._sockets:
                self._wanted.clear()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return answer

    async def _hear(self, socket: Socket, text: str) -> None:
        """Let the vendor answer, and show what is newly subscribed; a place in the tape is our own affair."""
        frame = resumed(text)
        if frame is not None:
            socket.position = frame
            socket.resumed.set()
            return
        talk, stranger = socket.talk, not socket.talk.admitted
        answers = talk.hear(text)
        if stranger and talk.admitted and self._dialect.evicts:
            await self._evict(socket)
        if talk.modes.any():
            self._wanted.set()
        fresh = talk.fresh()
        if self._hold:
            for answer in answers:
                await socket.send(answer)
            return
        shown = self._tape.latest(self._step)
        shown = shown[np.isin(shown["instrument"], fresh)]
        shows = self._frames(shown, self._step, socket) if len(shown) and not self._faults.mute else []
        if not socket.offer([*answers, *shows]):
            self._drop(socket)

    async def _evict(self, newest: Socket) -> None:
        """Close the oldest sockets, for which there is no room beside the newest."""
        others = [s for s in self._sockets if s is not newest and s.talk.admitted]
        for socket in others[: max(len(others) + 1 - self._dialect.sockets, 0)]:
            self._sockets.pop(socket, None)
            await socket.answer.close(code=WSCloseCode.OK)

    async def _play(self) -> None:
        """Live: one clock for all, tape after tape."""
        while True:
            pace = Pace(self._speed, self._step, self._monotonic, self._sleep)
            while self._step + 1 < self._tape.steps:
                await pace.wait(self._step + 1)
                self._step += 1
                for socket in [s for s in self._sockets if s.talk.admitted and not self._faults.mute]:
                    if not socket.offer(self._messages(self._step, socket)):
                        self._drop(socket)
                if self._speed is None:
                    await self._wait_for_readers()
            self._dialect.desk.remember(self._tape)
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
        self._sockets.pop(socket, None)
        self._log.warning("socket_dropped", waiting=socket.waiting)
        socket.abort()

    async def _send_held(self, socket: Socket) -> None:
        """Held: this socket's own way through the tape, from where it asks."""
        while True:
            await socket.resumed.wait()
            socket.resumed.clear()
            step = socket.position + 1
            pace = Pace(self._speed, step - 1, self._monotonic, self._sleep)
            while step < self._tape.steps and not socket.resumed.is_set():
                await pace.wait(step)
                while self._faults.mute:
                    await self._heard.wait()
                for message in self._messages(step, socket):
                    await socket.send(message)
                self._step = max(self._step, step)
                step += 1
            if step >= self._tape.steps:
                await socket.send(END)

    def _messages(self, step: int, socket: Socket) -> list[Message]:
        told = tape_text(TapeClock(frame=step, clock=self._tape.clock(step)))
        return [*self._frames(self._tape.packets(step), step, socket), told]

    def _frames(self, packets: Packets, step: int, socket: Socket) -> list[Message]:
        faults, clock = self._faults, self._tape.clock(max(step, 0))
        if faults.skew_seconds:
            packets, skew = packets.copy(), round(faults.skew_seconds * SECOND)
            packets["at"] += skew
            clock += skew
        frames = socket.talk.frames(packets, self._tape.closes_before, clock)
        return socket.spoiler.spoil(faults, step, frames) if faults.spoils or socket.spoiler.waits else frames


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
