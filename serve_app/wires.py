"""Wires: how a frame gets to a socket: straight into the transport of the server in this process, else by ASGI.

Behind Serve every ASGI `send` crosses from our loop to the server's, through a queue and two tasks: five times the
cost of the frame itself. The server is uvicorn, its protocol is what `receive` is bound to; a frame is written to its
transport whole, on its own loop, so it never meets another one half-way. Shaking hands, closing and everything that
comes in stay uvicorn's, and so does the ping every few seconds. What it has negotiated stays true: with
permessage-deflate too a message may come as it is (RFC 7692, 6.). Behind another server, and where frames are to be
compressed, a frame takes the ASGI way.

Kernels and proxies hold hundreds of kilobytes that nobody has read. So a ping of ours goes behind every `PROBE_BYTES`,
and its answer says what was taken, and how old that is which the reader has before him.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HELD, INBOX = "bourse.protocol", "bourse.inbox"
FRAMES_A_SECOND, FRAMES, SLICE_BYTES = 60.0, 400.0, 2048
"""What one socket may send, messages and everything else; and how much of it is looked at at a time."""
SEND_BYTES = 128 << 10
"""What the kernel may hold for one socket: beyond it a reader is seen to be slow."""
PING_SECONDS = 5.0
PONG_SECONDS = 60.0
"""Uvicorn's own patience; ours is shorter."""

PROBE_BYTES = 8 << 10
"""Between two pings of ours: also of one message, which is cut into such pieces (RFC 6455, 5.4)."""
LONGEST_TRIP = 0.5
"""Seconds a ping may take to a reader who is well, and far away."""

_SHORT, _LONG, _LONGER = struct.Struct(">BB"), struct.Struct(">BBH"), struct.Struct(">BBQ")
_TEXT, _BINARY, _FINAL = 0x01, 0x02, 0x80
_PING = struct.Struct(">BBI")


class Wire(Protocol):
    """One socket as the hub sees it; all methods are called on `loop`."""

    loop: asyncio.AbstractEventLoop

    def send(self, size: int, parts: tuple[bytes, ...]) -> None:
        """Send one message of `size` bytes in all."""

    def waiting(self) -> int:
        """Bytes that were sent and that nobody has taken."""

    def ask(self) -> None:
        """Have a ping go behind the next message."""

    def unanswered(self) -> float:
        """Seconds since the oldest ping that was not answered, less what the way takes; 0.0 without one."""

    def answers(self) -> int:
        """Pings answered so far."""

    def trip(self) -> float:
        """Seconds the last answer took, less what the way takes."""

    def abort(self) -> None:
        """End the socket, whatever waits."""


class Transports:
    """ASGI middleware, the outermost: remembers the server's protocol before anybody wraps its `receive`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        logging.getLogger("uvicorn.error").addFilter(_worth_a_line)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            owner = getattr(getattr(receive, "_receive", receive), "__self__", None)  # Serve's proxy, or the server's
            if isinstance(owner, WebSocketsSansIOProtocol):
                scope.setdefault("extensions", {})[HELD] = owner
        await self._app(scope, receive, send)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """A text that is no UTF-8 ends its socket with 1007; a traceback for each lets anybody fill our disk."""
    return not str(record.msg).startswith("Invalid UTF-8")


class Bucket:
    """So many at once, and so many a second."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float, most: float) -> None:
        self._rate, self._most, self._left, self._at = rate, most, most, time.monotonic()

    def take(self, many: float = 1) -> bool:
        """So many more; False when there are none left."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= many
        return self._left >= 0


class Inbox:
    """What came in on one socket and nobody has heard yet, bounded.

    The server reads on when a message is taken from it; behind Serve somebody takes it at once and lets it wait without
    a bound. So whoever hears messages says so here, and where too many or too much wait no more is read and `full` is
    called, on the server's loop. Two threads count, each its own side. Frames that are no messages, pings and pieces of
    nothing, are counted too: each costs as much as a message of few bytes.
    """

    __slots__ = ("_bytes", "_frames", "_given", "_heard", "_messages", "_waiting", "full", "shut")

    def __init__(self, messages: int, size: int) -> None:
        """The bounds: so many messages, so many bytes."""
        self._messages, self._bytes = messages, size
        self._waiting: deque[int] = deque()
        self._given = self._heard = 0
        self._frames = Bucket(FRAMES_A_SECOND, FRAMES)
        self.shut = False
        """Whether there was too much, once."""
        self.full: Callable[[], None] = _nobody

    def heard(self) -> None:
        """The oldest message was heard."""
        if self._waiting:
            self._heard += self._waiting.popleft()

    def framed(self, many: int) -> bool:
        """So many frames were read, fewer than none where they were asked for; whether that is still within bounds."""
        return self._frames.take(many) and not self.shut

    def came(self, size: int) -> bool:
        """One message of so many bytes was read; whether there is room for it."""
        if len(self._waiting) >= self._messages or self._given + size - self._heard > self._bytes:
            return False
        self._given += size
        self._waiting.append(size)
        return True


def _nobody() -> None: ...


def ready(scope: Scope, most: int, inbox: Inbox) -> asyncio.Future[None]:
    """Called before a socket is accepted: let the server ask sooner whether somebody is there, hold no message of more
    than `most` bytes, for it closes with 1009 as soon as one is promised, and read no more than `inbox` takes.

    What comes is done once the server has answered: behind Serve the `send` that accepts returns before that, and what
    was written to the transport then would stand in front of the answer.
    """
    here = asyncio.get_running_loop()
    answered: asyncio.Future[None] = here.create_future()
    held = scope.get("extensions", {}).get(HELD)
    if held is None:
        answered.set_result(None)
        return answered
    held.conn.max_message_size = most
    held.ping_interval, held.ping_timeout = PING_SECONDS, PONG_SECONDS
    begin = held.start_keepalive

    def begun() -> None:
        begin()
        here.call_soon_threadsafe(lambda: answered.done() or answered.set_result(None))

    held.start_keepalive = begun  # the server calls it behind its answer, on its own loop
    _bound(held, inbox)
    scope["extensions"][INBOX] = inbox
    return answered


def _bound(held: Any, inbox: Inbox) -> None:
    give, feed = held.send_receive_event_to_app, held.conn.receive_data

    def stop() -> None:
        held.frames = []
        inbox.shut = True
        if not held.read_paused:
            held.read_paused = True  # until the server has sent its close
            held.transport.pause_reading()
        inbox.full()

    def bounded() -> None:
        if inbox.came(sum(map(len, held.frames))):
            give()
        else:
            stop()

    def by_slices(data: bytes) -> None:
        """One read may hold forty thousand frames: seconds of work for a parser that is given it whole."""
        for at in range(0, 0 if inbox.shut else len(data), SLICE_BYTES):
            before = len(held.conn.events)
            feed(data[at : at + SLICE_BYTES])
            if held.conn.parser_exc is not None:
                return
            if not inbox.framed(len(held.conn.events) - before):
                stop()
                return

    held.send_receive_event_to_app = bounded  # the server calls it when a message is whole
    held.conn.receive_data = by_slices


def wire_of(scope: Scope, send: Send, *, binary: bool, compress: bool = False) -> Wire:
    """The shortest way to an accepted socket. `compress`: by permessage-deflate, if that was negotiated."""
    held = scope.get("extensions", {}).get(HELD)
    if held is None or (compress and held.conn.extensions):
        return Plain(send, asyncio.get_running_loop(), binary=binary)
    return Direct(held, scope["extensions"].get(INBOX), binary=binary)


class Direct:
    """Satisfies `Wire` with uvicorn's transport."""

    __slots__ = (
        "_answers", "_asked", "_inbox", "_least", "_number", "_opcode", "_pong", "_protocol", "_room", "_trip",
        "_write", "loop", "waiting",
    )  # fmt: skip

    def __init__(self, protocol: WebSocketsSansIOProtocol, inbox: Inbox | None = None, *, binary: bool) -> None:
        """`inbox`: where an answer to a ping of ours does not count as a frame too many."""
        self._inbox = inbox
        self.loop = protocol.loop
        self.waiting = protocol.transport.get_write_buffer_size
        self._protocol: Any = protocol
        self._write = protocol.transport.write
        self._opcode = _BINARY if binary else _TEXT
        self._room = 0
        """Bytes until the next ping; the first message has one, from which we know the way."""
        self._asked: deque[tuple[int, float]] = deque()
        self._number = self._answers = 0
        self._trip, self._least = 0.0, LONGEST_TRIP
        self._pong, self._protocol.handle_pong = protocol.handle_pong, self._answered
        held = protocol.transport.get_extra_info("socket")
        with suppress(OSError, ValueError):  # whoever asked may have gone, and the socket with him
            if held is not None and held.family != socket.AF_UNIX:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)

    def send(self, size: int, parts: tuple[bytes, ...]) -> None:
        """Write one message with its head, of which a server's has no mask (RFC 6455, 5.2)."""
        if self._protocol.close_sent or self._protocol.transport.is_closing():
            return
        self._room -= size
        if self._room > 0:
            self._write(b"".join((_head(self._opcode | _FINAL, size), *parts)))
        else:
            self._write(b"".join(self._asking(b"".join(parts))))

    def ask(self) -> None:
        """Have a ping go behind the next message."""
        self._room = 0

    def unanswered(self) -> float:
        """Seconds since the oldest ping that was not answered, less what the way takes; 0.0 without one."""
        uvicorns = self._protocol.pending_ping_payload is not None
        if not (uvicorns or self._asked):
            return 0.0
        now = self.loop.time()
        since = min(self._asked[0][1] if self._asked else now, self._protocol.ping_sent_at if uvicorns else now)
        return float(max(now - since - self._least, 1e-9))

    def answers(self) -> int:
        """Pings answered so far."""
        return self._answers

    def trip(self) -> float:
        """Seconds the last answer took, less what the way takes."""
        return self._trip

    def abort(self) -> None:
        """End the socket, whatever waits."""
        self._protocol.transport.abort()

    def _asking(self, data: bytes) -> Iterator[bytes]:
        """A message in pieces, each with a ping behind it."""
        now = self.loop.time()
        for at in range(0, len(data) or 1, PROBE_BYTES):
            piece = data[at : at + PROBE_BYTES]
            opcode = (0 if at else self._opcode) | (_FINAL if at + PROBE_BYTES >= len(data) else 0)
            self._number = (self._number + 1) & 0xFFFFFFFF
            self._asked.append((self._number, now))
            yield from (_head(opcode, len(piece)), piece, _PING.pack(_FINAL | 0x09, 4, self._number))
        self._room = PROBE_BYTES

    def _answered(self, event: Any) -> None:
        """A pong: to our pings up to that one, or to uvicorn's."""
        number = int.from_bytes(event.data, "big")
        if all(number != one for one, _ in self._asked):
            waited = self._protocol.pending_ping_payload is not None
            self._pong(event)
            self._answers += waited and self._protocol.pending_ping_payload is None
            return
        if self._inbox is not None:
            self._inbox.framed(-1)
        one, asked = 0, 0.0
        while one != number:
            one, asked = self._asked.popleft()
        trip = self.loop.time() - asked
        self._least = min(self._least, trip)
        self._trip = trip - self._least
        self._answers += 1


class Plain:
    """Satisfies `Wire` by ASGI: a task on the handler's loop sends one message after the other. Called from any."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop, *, binary: bool) -> None:
        self.loop = loop
        self._send, self._binary = send, binary
        self._queue: deque[bytes] = deque()
        self._given = self._taken = 0
        self._task: asyncio.Task[None] | None = None

    def send(self, size: int, parts: tuple[bytes, ...]) -> None:
        """Put one message behind those that wait."""
        self._queue.append(b"".join(parts))
        self._given += size
        self.loop.call_soon_threadsafe(self._wake)

    def waiting(self) -> int:
        """Bytes that were sent and that nobody has taken."""
        return self._given - self._taken

    def ask(self) -> None:
        """Not done here."""

    def unanswered(self) -> float:
        """Not known here: what waits is."""
        return 0.0

    def answers(self) -> int:
        """Not known here."""
        return 0

    def trip(self) -> float:
        """Not known here."""
        return 0.0

    def abort(self) -> None:
        """Forget what waits; the server ends the socket when the handler does."""
        self._queue.clear()
        if self._task is not None:
            self.loop.call_soon_threadsafe(self._task.cancel)

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._drain())

    async def _drain(self) -> None:
        while self._queue:
            data = self._queue.popleft()
            message: dict[str, Any] = {"type": "websocket.send"}
            try:
                await self._send(message | ({"bytes": data} if self._binary else {"text": data.decode()}))
            except (OSError, RuntimeError):  # it has just closed: the handler is told by `receive`
                self._queue.clear()
            self._taken += len(data)


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return _SHORT.pack(first, size)
    return _LONG.pack(first, 126, size) if size < 1 << 16 else _LONGER.pack(first, 127, size)
