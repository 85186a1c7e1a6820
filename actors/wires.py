"""Wires: one socket of a feed, from login to login: it connects, subscribes, hears, and comes back when it must.

`market.lives.LineLife` says when a line is given up and how long to wait; the feed says when it may try. Nothing is
written here: what came waits in `steps`, each under the clock it came by.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from actors.plans import FeedPlan
from adapters.lines import Line
from market.codecs import Accepted, Account, Event, Message, Refused, TapeClock, TapeEnd, TickCodec, Token, resume
from market.errors import AuthRequired, BadPayload, LineDown
from market.lives import LineLife
from market.sessions import SECOND
from market.vendors import VENDORS

BACKLOG = 400
"""Steps that wait to be written; past them the socket is not read, so that its own flow control slows the vendor."""

IDLE_SECONDS = 1.0
LOGIN_SECONDS = 4.0
"""A vendor that has not answered a login by then has not heard it."""


class Step:
    """The frames between two clock readings of a line; `number` orders them for the bus."""

    __slots__ = ("clock", "frames", "number", "received")

    def __init__(self) -> None:
        self.frames: list[Message] = []
        self.number, self.clock, self.received = -1, 0, 0


class Hall(Protocol):
    """What a wire asks of its feed."""

    async def admission(self) -> Account:
        """Wait until this feed may hold lines; the account to log in with."""
        ...

    def awake(self) -> int | None:
        """How long lines may still rest, ns; None: they must be there."""
        ...

    def opened(self) -> None:
        """A line is there."""
        ...

    async def lost(self, wire: Wire, reason: str) -> None:
        """A line is gone, or could not be had."""
        ...

    def refused(self, account: Account, remedy: str) -> None:
        """The vendor does not take this account: a person must log in."""
        ...

    def heard(self) -> None:
        """Something waits to be written."""
        ...

    def told(self, event: Event) -> None:
        """The vendor said something that is no tick."""
        ...

    def bad(self, payload: BadPayload) -> None:
        """Something came that nobody can read."""
        ...


class Wire:
    """One socket's share of a feed. `tokens`: the vendor's -> our instrument id, the map it subscribes from.

    `clock`: market time of the newest frame, of a tape; `data`: market time of the newest tick, 0 before the first.
    `known`, `number`, `sent`: what the bus knows of this wire's entries.
    """

    def __init__(self, name: str, plan: FeedPlan, tokens: Mapping[Token, int], mute_after: int, hall: Hall) -> None:
        self.name, self._plan, self._hall = name, plan, hall
        self.tokens: dict[Token, int] = dict(tokens)
        self.codec: TickCodec = VENDORS[plan.vendor](self.tokens, plan.source)
        self._mute_after = mute_after
        self.life = LineLife(mute_after)
        self.steps: deque[Step] = deque()
        self.filling = Step()
        self.clock = self.data = 0
        self.known = self.number = self.sent = -1
        self.frames = 0
        self.ended = False
        self.room = asyncio.Event()
        self._line: Line | None = None
        self._given_up = ""
        self._next: dict[Token, int] | None = None
        self._left_out = [0, 0]

    @property
    def unknown(self) -> int:
        """Packets of tokens that nobody asked for."""
        return self._left_out[0] + self.codec.unknown

    @property
    def unpriced(self) -> int:
        """Packets without a price."""
        return self._left_out[1] + self.codec.unpriced

    def relist(self, tokens: Mapping[Token, int]) -> bool:
        """Subscribe by another map from now on; False when it is the same. The line is opened anew."""
        if dict(tokens) == (self.tokens if self._next is None else self._next):
            return False
        self._next = dict(tokens)
        self.give_up("a new listing")
        return True

    def give_up(self, reason: str) -> None:
        """End the line that is there, at once; a new one follows as soon as the feed may hold one."""
        if not self._given_up:
            self._given_up = reason
            if self._line is not None:
                self._line.abort()

    async def hold(self) -> None:
        """Be there, until a held tape ends."""
        account: Account | None = None
        while not self.ended:
            before, account = account, await self._hall.admission()
            if account != before:  # whatever went wrong was another login's
                self.life = LineLife(self._mute_after)
            self._exchange_codec()
            self._given_up = ""
            if not self.tokens:  # before the first list, or where the list has become shorter
                await asyncio.sleep(IDLE_SECONDS)
                continue
            code, reason = None, ""
            try:
                url = self.codec.address(self._plan.url, account)
                async with Line(self.name, url, self._plan.login) as line:
                    self._line = line
                    try:
                        if not self._given_up:  # while it connected
                            await self._speak(line, account)
                    finally:
                        code = line.code
            except AuthRequired as e:
                self._hall.refused(account, e.remedy)
                self._given_up = f"login needed: {e.remedy}"
            except LineDown as e:
                reason = e.reason
            finally:
                self._line = None
            if self.ended:
                return
            self.life.broke(time.monotonic_ns(), None if self._given_up else code)
            await self._hall.lost(self, self._given_up or reason)
            if not self._given_up:
                rest = self.life.pause(random.random(), self._hall.awake())  # noqa: S311  (jitter, not a secret)
                await asyncio.sleep(rest / SECOND)

    async def _speak(self, line: Line, account: Account) -> None:
        await line.send(self.codec.hello(account))
        if self.codec.waits:
            await self._until_accepted(line)
        await line.send(self.codec.subscribe(list(self.tokens), self._plan.mode))
        if self._plan.hold:
            self.filling = Step()
            await line.send([resume(self.number)])
        self.life.opened(time.monotonic_ns())
        self._hall.opened()
        beating = asyncio.create_task(self._pulse(line))
        try:
            async for message in line.messages():
                self._hear(message)
                if self.ended:
                    return
                while len(self.steps) > BACKLOG:
                    self.room.clear()
                    await self.room.wait()
        finally:
            beating.cancel()

    async def _until_accepted(self, line: Line) -> None:
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                async for message in line.messages():
                    if isinstance(message, str) and isinstance(self._text(message), Accepted):
                        return
        except TimeoutError as e:
            raise LineDown(self.name, "the login was not answered") from e

    async def _pulse(self, line: Line) -> None:
        if self.codec.pulse is None:
            return
        text, seconds = self.codec.pulse
        while True:
            await asyncio.sleep(seconds)
            try:
                await line.send([text])
            except LineDown:
                return  # whoever listens hears of it too

    def _hear(self, message: Message) -> None:
        if self.codec.carries(message):
            self.frames += 1
            self.filling.frames.append(message)
            if not self._plan.tape:
                self._complete(0)
        elif isinstance(message, str):
            event = self._text(message)
            if isinstance(event, TapeClock):
                self.filling.number, self.clock = event.frame, event.clock
                self.life.data(time.monotonic_ns())
                self._complete(event.clock)
            elif isinstance(event, TapeEnd):
                self.ended = self._plan.hold  # a live exchange may have another day
                self._hall.heard()
        elif not self._plan.tape:
            self._hall.heard()

    def _text(self, text: str) -> Event | None:
        try:
            event = self.codec.text(text)
        except BadPayload as e:
            self._hall.bad(e)
            return None
        if isinstance(event, Refused):
            raise AuthRequired(self._plan.vendor, f"{event.reason}; {self._plan.login}")
        if not isinstance(event, Accepted | TapeClock | TapeEnd):
            self._hall.told(event)
        return event

    def complete(self) -> None:
        """What came without a clock behind it is complete as well: nothing more comes of this line."""
        if self.filling.frames:
            self._complete(self.clock)

    def _complete(self, clock: int) -> None:
        """The frames so far came by this clock; on a tape its clock is also when we received them."""
        step, self.filling = self.filling, Step()
        step.received = clock if self._plan.tape else time.time_ns()
        step.clock = clock
        if step.number < 0 or not self._plan.hold:
            self.number += 1
            step.number = self.number
        else:
            self.number = step.number
        self.steps.append(step)
        self._hall.heard()

    def _exchange_codec(self) -> None:
        if self._next is None:
            return
        self._left_out = [self.unknown, self.unpriced]
        self.tokens, self._next = self._next, None
        self.codec = VENDORS[self._plan.vendor](self.tokens, self._plan.source)
