"""Stream: `/ws/quotes`, one socket from its handshake to its end. Source: docs/stream.md.

What a client says is read, limited and checked here; what it is sent comes from the hub, on the hub's loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import structlog
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Connection

from market import frames
from market.access import CHANNEL_SCOPES, Caller, Scope, Tier, lacking
from market.errors import BadValue, BourseError, Denied, UnknownSymbol
from market.instruments import Universe
from market.universes import members
from serve_app import asks, hub, problems, wires
from serve_app.asks import Ask
from serve_app.channels import Channels, Member
from serve_app.hub import Client, Hub
from serve_app.wires import Bucket

PATH = "/ws/quotes"
FORMATS = ("json", "msgpack")
MESSAGE_BYTES = 256 << 10
INBOX_BYTES = 1 << 20
MESSAGES_A_SECOND, MESSAGES = 20.0, 100.0
WRONG_A_SECOND, WRONG = 0.5, 20.0
WHOLE, NAMES = 2, 100
"""What makes quotes be sent whole, or a channel be read on from a cursor, counts as so many messages more, and every so
many names as one more.
"""
CLOSING_SECONDS = 2.0
ANSWER_SECONDS = 10.0
LOOK_SECONDS = 10.0
"""So long a credential that was revoked may still hear quotes."""
BAD_FORMAT, TOO_LONG, NO_CREDENTIAL, TOO_MANY = 1008, 1009, 4001, 4010
ANONYMOUS = Caller(kind="anonymous", credential="anonymous")

Watchlists = Callable[[Caller, str], Awaitable[list[str] | None]]
"""The symbols of a caller's list; None where there is no such list."""


Good = Callable[[Caller], Awaitable[bool]]
"""Whether a caller's credential is still worth what it was."""


async def all_good(caller: Caller) -> bool:
    """For a gateway without accounts."""
    return True


async def no_watchlists(caller: Caller, name: str) -> list[str] | None:
    """For a gateway without accounts."""
    return None


class Stream:
    """The ASGI application of the path."""

    def __init__(
        self,
        sockets: Hub,
        channels: Channels,
        universe: Universe,
        tier: Callable[[str], Tier],
        watchlists: Watchlists = no_watchlists,
        good: Good = all_good,
        *,
        compress: bool = False,
    ) -> None:
        """`compress`: by permessage-deflate where a client offers it, at the price of the short way to the socket."""
        self.hub, self.channels, self.universe = sockets, channels, universe
        self.tier, self.watchlists, self._good = tier, watchlists, good
        self.look_seconds = LOOK_SECONDS
        self._lines: set[_Line] = set()
        self._looking: asyncio.Task[None] | None = None
        self._compress = compress

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Serve one socket until either side ends it."""
        if (await receive())["type"] != "websocket.connect":
            return
        known = scope.get("state") or {}
        caller: Caller = known.get("caller") or ANONYMOUS
        inbox = wires.Inbox(int(MESSAGES), INBOX_BYTES)
        answered = wires.ready(scope, MESSAGE_BYTES, inbox)
        await send({"type": "websocket.accept", "headers": []})
        try:
            await asyncio.wait_for(answered, ANSWER_SECONDS)
        except TimeoutError:  # whoever asked has gone before
            return
        named = parse_qs(scope["query_string"].decode("latin-1")).get("format", ["json"])[-1]
        if named not in FORMATS:
            await send(_close(BAD_FORMAT, f"format is {' or '.join(FORMATS)}"))
        else:
            await self._serve(scope, receive, send, caller, inbox, binary=named == "msgpack")

    async def _serve(
        self, scope: Connection, receive: Receive, send: Send, caller: Caller, inbox: wires.Inbox, *, binary: bool
    ) -> None:
        here = asyncio.get_running_loop()
        wire = wires.wire_of(scope, send, binary=binary, compress=self._compress)
        self.hub.adopt(wire.loop)
        if isinstance(wire, wires.Direct) and not await self.hub.move(wire.loop):
            wire = wires.Plain(send, here, binary=binary)
        line = _Line(self, send, here, inbox)
        client = Client(wire, caller, line.end)
        line.client = client
        self.hub.call(line.open, binary, bool(scope.get("state", {}).get("demo")))
        if ticketed := scope.get("state", {}).get("symbols"):
            await line.hear(json.dumps({"op": "subscribe", "symbols": list(ticketed)}))
        self._lines.add(line)
        if self._looking is None and caller.kind != "anonymous":
            self._looking = here.create_task(self._look())
        try:
            await line.listen(receive)
        finally:
            self._lines.discard(line)
            self.hub.call(self.hub.leave, client)
            await line.closed()

    async def _look(self) -> None:
        """While there are sockets: end those whose credential was revoked, or is worth something else now."""
        while self._lines:
            await asyncio.sleep(self.look_seconds)
            for caller in {line.client.caller.credential: line.client.caller for line in self._lines}.values():
                try:
                    good = await self._good(caller)
                except Exception:
                    structlog.get_logger().exception("credential_not_looked_at")
                    continue
                if not good:
                    for line in [one for one in self._lines if one.client.caller.credential == caller.credential]:
                        line.end(NO_CREDENTIAL, "the credential is good for nothing any more, or for something else")
        self._looking = None


class _Line:
    """One client's side of the conversation."""

    __slots__ = ("_closing", "_inbox", "_loop", "_messages", "_reading", "_send", "_stream", "_wrong", "client")
    client: Client

    def __init__(self, stream: Stream, send: Send, loop: asyncio.AbstractEventLoop, inbox: wires.Inbox) -> None:
        self._stream, self._send, self._loop, self._inbox = stream, send, loop, inbox
        inbox.full = lambda: self.end(TOO_MANY, "messages come faster than they are heard")
        self._closing: asyncio.Task[None] | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self._messages, self._wrong = Bucket(MESSAGES_A_SECOND, MESSAGES), Bucket(WRONG_A_SECOND, WRONG)

    def open(self, binary: bool, demo: bool) -> None:
        """On the hub's loop: join, and say hello."""
        sockets, client = self._stream.hub, self.client
        sockets.join(client, hub.every(hub.RATE), binary)
        client.tell(
            {
                "type": "hello",
                "version": 1,
                "session": client.session,
                "format": FORMATS[binary],
                "heartbeat_seconds": hub.HEARTBEAT_SECONDS,
                "stale_after_ms": sockets.stale_ns // frames.MS,
                "base": sockets.book.base,
                "demo": demo,
                "limits": {"symbols": self._most, "bytes": MESSAGE_BYTES},
                "rate": hub.RATE,
                "fields": frames.described(),
            }
        )

    async def listen(self, receive: Receive) -> None:
        """Until the client leaves or is told to."""
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            said: str | bytes = message.get("text") or message.get("bytes") or b""
            if len(said) > MESSAGE_BYTES:
                self.end(TOO_LONG, f"a message has at most {MESSAGE_BYTES >> 10} KiB")
            elif not self._messages.take():
                self.end(TOO_MANY, f"at most {MESSAGES_A_SECOND:.0f} messages a second")
            elif self._closing is None:
                await self.hear(said)
            self._inbox.heard()

    def end(self, code: int, reason: str) -> None:
        """Close the socket; cut it if that is not taken. From any thread."""
        self._loop.call_soon_threadsafe(self._end, code, reason)

    async def closed(self) -> None:
        """End what is still read for it, and wait for a close under way."""
        for task in self._reading:
            task.cancel()
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)

    def _end(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(code, reason))
            if code == TOO_MANY:
                self._stream.hub.call(self._stream.hub.counted, "pushy")

    async def _close(self, code: int, reason: str) -> None:
        try:
            await asyncio.wait_for(self._send(_close(code, reason)), CLOSING_SECONDS)
            await asyncio.sleep(CLOSING_SECONDS)
        except (TimeoutError, OSError, RuntimeError):
            pass
        self._stream.hub.call(self.client.wire.abort)

    async def hear(self, said: str | bytes) -> None:
        """Do what a message asks, or say what is wrong with it."""
        number: int | None = None
        try:
            told = asks.read(said)
            number = told["id"] if type(told.get("id")) is int else None
            ask = asks.check(told)
            if self._messages.take(_cost(ask)):
                await self._do(ask)
            else:
                self.end(TOO_MANY, f"at most {MESSAGES_A_SECOND:.0f} messages a second")
        except BourseError as e:
            self.refuse(number, problems.of(e, PATH))
            if not self._wrong.take():
                self.end(TOO_MANY, "too many wrong messages")
        except Exception as e:
            structlog.get_logger().exception("message_broke")
            self.refuse(number, problems.of(e, PATH))

    async def _do(self, ask: Ask) -> None:
        call, sockets, client, said = self._stream.hub.call, self._stream.hub, self.client, ask.said
        match ask.op:
            case "ping":
                call(client.tell, {"type": "pong"} | _id(ask))
            case "set":
                call(self._set, ask)
            case "unsubscribe" if "all" in said:
                call(sockets.forget, client, None)
                call(client.tell, _done(ask))
            case "unsubscribe":
                found, unknown = self._found(await self._named(said))
                call(sockets.forget, client, found.values())
                call(client.tell, _done(ask, unknown=unknown))
            case "subscribe":
                found, unknown = self._found(await self._named(said))
                call(self._subscribe, ask, found, unknown)
            case "resume":
                call(self._resume, ask)
            case "leave":
                call(self._stream.channels.leave, client, said["channel"])
                call(client.tell, _done(ask))
            case _:
                await self._join(ask)

    def _may(self, scope: Scope) -> None:
        if (why := lacking(scope, self.client.caller)) is not None:
            raise Denied(*why)

    async def _join(self, ask: Ask) -> None:
        channels, name = self._stream.channels, ask.said["channel"]
        self._may(CHANNEL_SCOPES[name])
        member = channels.member(ask.said)
        if not member.live:
            await asyncio.to_thread(channels.check, name, member)
        self._stream.hub.call(self._joined, ask, member)
        if not member.live:
            self._reading.add(task := self._loop.create_task(self._catch_up(ask, member)))
            task.add_done_callback(self._reading.discard)

    async def _catch_up(self, ask: Ask, member: Member) -> None:
        name = ask.said["channel"]
        try:
            await asyncio.sleep(0)
            await self._stream.channels.catch_up(self.client, name, member)
        except BourseError as e:
            self.refuse(ask.id, problems.of(e, PATH))
            self._stream.hub.call(self._stream.channels.leave, self.client, name)

    async def _named(self, said: dict[str, Any]) -> list[str]:
        if "index" in said:
            return list(members(said["index"]))
        if "watchlist" in said:
            self._may(Scope.ACCOUNT)
            found = await self._stream.watchlists(self.client.caller, said["watchlist"])
            if found is None:
                raise BadValue("watchlist", said["watchlist"][:40], "the name of a list of yours")
            return found
        if said["symbols"] is None:
            raise BadValue("symbols", None, "a list of names")
        return list(said["symbols"])

    def _found(self, names: Iterable[str]) -> tuple[dict[str, int], list[str]]:
        found, unknown = {}, []
        for name in names:
            try:
                one = self._stream.universe.find(name)
            except UnknownSymbol:
                unknown.append(name[:40])
            else:
                found[one.symbol] = one.id
        return found, unknown

    @property
    def _most(self) -> int:
        return self._stream.tier(self.client.caller.tier).symbols

    # On the hub's loop

    def refuse(self, number: int | None, refusal: problems.Problem) -> None:
        """Say what was wrong."""
        told = {"type": "error"} | ({} if number is None else {"id": number}) | {"problem": problems.body(refusal)}
        self._stream.hub.call(self.client.tell, told)

    def _joined(self, ask: Ask, member: Member) -> None:
        cursor = self._stream.channels.join(self.client, ask.said["channel"], member)
        self.client.tell(_done(ask, channel=ask.said["channel"], cursor=cursor))

    def _set(self, ask: Ask) -> None:
        said, every = ask.said, hub.every(ask.said["rate"]) if "rate" in ask.said else None
        fields = (frames.asked(said["fields"]) if said["fields"] else frames.ALL) if "fields" in said else None
        self._stream.hub.tune(self.client, every, fields)
        self.client.tell(_done(ask, **self._choices()))

    def _subscribe(self, ask: Ask, found: dict[str, int], unknown: list[str]) -> None:
        client, have = self.client, set(self.client.wanted.tolist())
        room = max(self._most - len(have), 0)
        new = [symbol for symbol, number in found.items() if number not in have]
        left_out = new[room:]
        outside = set(left_out)
        taken = {symbol: number for symbol, number in found.items() if symbol not in outside}
        self._stream.hub.want(client, taken.values())
        told = {"added": new[:room], "unknown": unknown, "left_out": left_out}
        client.tell(_done(ask, **told, **({"numbers": taken} if client.binary else {})))

    def _resume(self, ask: Ask) -> None:
        client = self.client
        if not self._stream.hub.resume(client, ask.said["session"], ask.said["sequence"], self._most):
            client.tell(_done(ask, known=False))
            return
        symbols = {self._stream.hub.symbols[k]: k for k in client.wanted.tolist()}
        numbers = {"numbers": symbols} if client.binary else {}
        client.tell(_done(ask, known=True, symbols=list(symbols), **numbers, **self._choices()))

    def _choices(self) -> dict[str, Any]:
        cell = self.client.cell
        chosen = frames.bits(self.client.fields).tolist()
        return {
            "rate": hub.BEATS / cell.kind.every if cell else hub.RATE,
            "fields": [name for name, wanted in zip(frames.NAMES, chosen, strict=True) if wanted],
        }


def _cost(ask: Ask) -> float:
    """What an ask takes out of the bucket beyond itself."""
    names = ask.said.get("symbols") or ()
    much = ask.op in ("set", "resume") or ask.said.get("after") is not None
    return len(names) / NAMES + (WHOLE if much else 0)


def _id(ask: Ask) -> dict[str, int]:
    return {} if ask.id is None else {"id": ask.id}


def _done(ask: Ask, **told: Any) -> dict[str, Any]:
    return {"type": "done"} | _id(ask) | told


def _close(code: int, reason: str) -> Message:
    return {"type": "websocket.close", "code": code, "reason": reason}
