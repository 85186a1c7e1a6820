"""Feed: one broker account's lines, from frames on the wire to entries on the bus.

It reads as fast as the bus takes: while a write is under way frames pile up, the next write carries them all, and past
`BACKLOG` frames it stops reading, so that the socket's own flow control slows the vendor (a held tape waits).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import Any

import numpy as np
import structlog

from actors.measures import Counts, resident_bytes
from actors.plans import FeedPlan
from adapters import entries, logs
from adapters.bus import Bus
from adapters.lines import Backoff, Line
from adapters.quarantine import Quarantine
from adapters.readmodel import ReadModel
from market.codecs import Account, TapeClock, TapeEnd, resume
from market.errors import AuthRequired, BadPayload, LineDown
from market.feeds import FeedWatch, by_partition
from market.instruments import partition_of
from market.sessions import MINUTE, SECOND, Sessions
from market.ticks import NO_TICKS, Kind, Ticks
from market.vendors.kite import SOCKET_INSTRUMENTS, SOCKETS, Kite

BACKLOG = 400
ENTRY_FRAMES = 20
KEPT_SECONDS = 3.0
TICK_SECONDS = 0.25
SHOWN_SECONDS = 1.0
LARGEST_SKEW = 30 * SECOND
"""Further than this our clock is not the exchange's; `bourse doctor` looks at that."""

Batch = tuple[str, list[tuple[int, int, bytes]]]
"""A writer's name and, a partition each, the entry it writes: partition, number, payload."""


class Step:
    """The frames between two clock readings of a line; `number` orders them for the bus."""

    __slots__ = ("clock", "frames", "number", "received")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.number, self.clock, self.received = -1, 0, 0


class Wire:
    """One socket's share of a feed: what it subscribes, what has come and was not written yet."""

    def __init__(self, name: str, tokens: dict[int, int], source: int) -> None:
        self.name = name
        self.tokens = tokens
        self.codec = Kite(tokens, source)
        self.steps: deque[Step] = deque()
        self.filling = Step()
        self.clock = 0
        self.known = -1
        self.number = -1
        self.sent = -1
        self.ended = False


class Feed:
    """Holds the lines of one broker account; `market.feeds.FeedWatch` says what it may claim."""

    def __init__(self, plan: FeedPlan) -> None:
        logs.configure(f"feed/{plan.name}", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._model = ReadModel(plan.cache)
        self._keep = Quarantine(plan.quarantine)
        self._partition = np.array([partition_of(i, plan.partitions) for i in plan.instruments] + [-1], np.int64)
        self._watch = FeedWatch(plan.source, Sessions(plan.sessions), plan.grace, plan.mute_after)
        tokens = [(int(i.tokens[plan.vendor]), i.id) for i in plan.instruments]
        shares = [dict(tokens[k : k + SOCKET_INSTRUMENTS]) for k in range(0, len(tokens), SOCKET_INSTRUMENTS)]
        if len(shares) > SOCKETS:
            self._log.warning("universe_cut", instruments=len(tokens), carried=SOCKETS * SOCKET_INSTRUMENTS)
        self._wires = [Wire(f"{plan.name}/{k}", share, plan.source) for k, share in enumerate(shares[:SOCKETS])]
        self._token = plan.access_token
        self._wake, self._room, self._login = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._running: asyncio.Future[None] | None = None
        self._kept: deque[tuple[float, Batch]] = deque()
        self._skew: int | None = None
        self._began = False
        self._stopped = self._done = False
        self._trouble = self._held_back = ""
        self._frames = self._ticks = self._bad = self._entries = self._bytes = 0
        self._lag = 0.0
        self._counts = Counts(
            "bourse_feed", ("frames", "ticks", "bad_frames", "unknown", "unpriced"), {"feed": plan.name}
        )

    async def run(self) -> None:
        """Hold the lines and write what they bring, until stopped or (a held tape) until its end is on the bus."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        await asyncio.shield(self._running)  # a new Supervisor asks again: it joins the run under way

    async def _run(self) -> None:
        await self._catch_up()
        tasks = [asyncio.create_task(work) for work in (self._beat(), *map(self._hold, self._wires))]
        for task in tasks:
            task.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stopped and not self._finished():
                await self._wake.wait()
                self._wake.clear()
                for task in tasks:
                    if task.done():
                        task.result()  # a line that broke in a way nobody foresaw ends the run, and it starts anew
                while await self._write():
                    pass
            self._done = True
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End `run` after the write under way."""
        self._stopped = True
        self._wake.set()

    async def hold_back(self, reason: str) -> None:
        """Stop writing while there is a reason to (the bus is nearly full), go on when it is empty."""
        self._held_back = reason
        self._wake.set()

    async def authenticate(self, access_token: str) -> None:
        """Go on with a new token after AUTH_REQUIRED."""
        self._token = type(self._token)(access_token)
        self._login.set()

    async def health(self) -> dict[str, Any]:
        """What `status` shows of this feed."""
        return {
            "part": "feed",
            "name": self._plan.name,
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "state": self._state(),
            "trouble": self._held_back or self._trouble,
            "market_time": self._now(),
            "last_data": self._watch.last_data,
            "frames": self._frames,
            "ticks": self._ticks,
            "bad": self._bad,
            "entries": self._entries,
            "bytes": self._bytes,
            "lag_ms": round(self._lag * 1000, 2),
            "ended": self._done,
            **self._left_out(),
        }

    def _left_out(self) -> dict[str, int]:
        codecs = [w.codec for w in self._wires]
        return {"unknown": sum(c.unknown for c in codecs), "unpriced": sum(c.unpriced for c in codecs)}

    def _state(self) -> str:
        return "AUTH_REQUIRED" if self._trouble.startswith("login") else self._watch.state.name

    def _finished(self) -> bool:
        return self._plan.hold and all(w.ended and not w.steps for w in self._wires)

    def _now(self) -> int:
        if self._plan.tape:
            return min(w.clock for w in self._wires)
        return time.time_ns() - (self._skew or 0)

    async def _hold(self, wire: Wire) -> None:
        pauses = Backoff()
        while not wire.ended:
            try:
                account = Account(api_key=self._plan.api_key, access_token=self._token)
                url = wire.codec.address(self._plan.url, account)
                async with Line(wire.name, url, self._plan.login) as line:
                    await self._listen(wire, line, pauses)
            except AuthRequired as e:
                self._trouble = f"login needed: {e.remedy}"
                self._log.error("auth_required", feed=self._plan.name, remedy=e.remedy)
                self._login.clear()
                await self._login.wait()
            except LineDown as e:
                self._trouble = e.reason
                self._log.warning("line_down", line=wire.name, reason=e.reason)
                await self._lost(wire)
                await asyncio.sleep(pauses.pause())

    async def _listen(self, wire: Wire, line: Line, pauses: Backoff) -> None:
        await line.send(wire.codec.subscribe(list(wire.tokens), self._plan.mode))
        if self._plan.hold:
            wire.filling = Step()
            await line.send([resume(wire.number)])
        self._trouble = ""
        if not self._plan.tape:
            self._watch.opened(self._now())
        async for message in line.messages():
            pauses.reset()
            if isinstance(message, bytes):
                self._frames += 1
                if len(message) > 1:
                    wire.filling.frames.append(message)
                    if not self._plan.tape:
                        self._complete(wire, 0)
                elif not self._plan.tape:
                    self._wake.set()
            else:
                self._hear(wire, message)
            if wire.ended:
                return
            while len(wire.steps) > BACKLOG:
                self._room.clear()
                await self._room.wait()

    def _hear(self, wire: Wire, text: str) -> None:
        try:
            event = wire.codec.text(text)
        except BadPayload as e:
            self._refuse(e)
            return
        if isinstance(event, TapeClock):
            wire.filling.number, wire.clock = event.frame, event.clock
            self._complete(wire, event.clock)
        elif isinstance(event, TapeEnd):
            wire.ended = True
            self._wake.set()
        else:
            self._log.info("vendor_text", feed=self._plan.name, text=text[:500])

    def _complete(self, wire: Wire, clock: int) -> None:
        """The frames so far came by this clock; on a tape its clock is also when we received them."""
        step, wire.filling = wire.filling, Step()
        step.received = clock if self._plan.tape else time.time_ns()
        step.clock = clock
        if step.number < 0 or not self._plan.hold:
            wire.number += 1
            step.number = wire.number
        else:
            wire.number = step.number
        wire.steps.append(step)
        self._wake.set()

    async def _lost(self, wire: Wire) -> None:
        if self._plan.hold:  # the tape stands still until we are back: no time passes, nothing is missed
            return
        if wire.filling.frames:
            self._complete(wire, wire.clock)
        while await self._write():
            pass
        async with self._writing:
            marks = self._watch.lost(self._now())
            if len(marks):
                await self._append([self._batch(self._wires[0], -1, marks)])

    async def _show_books(self) -> None:
        """The newest visible books to the read model, at a human rate; who trades on them reads the ticks."""
        async with self._writing:
            books = []
            for wire in self._wires:
                try:
                    books.append(wire.codec.depth())
                except BadPayload as e:
                    self._refuse(e)
        if not books:
            return
        rows = np.concatenate(books)
        symbols = [self._plan.instruments[int(i)].symbol for i in rows["instrument"]]
        try:
            await asyncio.to_thread(self._model.depths, symbols, rows)
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)

    async def _beat(self) -> None:
        shown = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if not self._plan.tape:
                self._wake.set()
            if time.monotonic() - shown > SHOWN_SECONDS:
                shown = time.monotonic()
                await self._show_books()
            self._counts.set(frames=self._frames, ticks=self._ticks, bad_frames=self._bad, **self._left_out())

    async def _write(self) -> bool:
        """Write what is complete, at most a minute of market time; True while there may be more."""
        async with self._writing:
            if self._stopped or self._held_back:
                return False
            taken = self._take()
            if not any(steps for _, steps in taken) and self._plan.tape:
                return False
            batch = await asyncio.to_thread(self._decode, taken)
            if batch:
                await self._append(batch)
            self._room.set()
            return any(steps for _, steps in taken)

    def _take(self) -> list[tuple[Wire, list[Step]]]:
        until = min((w.clock for w in self._wires), default=0)
        heads = [w.steps[0] for w in self._wires if w.steps]
        if self._plan.tape and heads:
            until = min(until, min(s.clock for s in heads) + MINUTE // 2)
        taken = []
        for wire in self._wires:
            steps: list[Step] = []
            frames = 0
            while wire.steps and (not self._plan.tape or wire.steps[0].clock <= until) and frames < ENTRY_FRAMES * 4:
                steps.append(wire.steps.popleft())
                frames += len(steps[-1].frames)
                if (
                    self._plan.hold and steps[-1].number <= wire.known
                ):  # some partition may know this step: it goes alone, under its own number
                    break
            taken.append((wire, steps))
        return taken

    def _decode(self, taken: list[tuple[Wire, list[Step]]]) -> list[Batch]:
        """Entries for the bus; the first wire's come last and carry the marks, each behind what came before it."""
        batch: list[Batch] = []
        for wire, steps in reversed(taken):
            first = wire is self._wires[0]
            rows: list[Ticks] = []
            for group in [[s] for s in steps] if self._plan.tape else [steps]:
                now = group[0].clock if self._plan.tape else self._now()
                if first and not self._began:
                    rows.append(self._begin(now))
                rows.append(self._rows(wire, group))
                if first:
                    rows.append(self._mark(now, self._plan.tape or len(rows[-1]) > 0))
            rows = [r for r in rows if len(r)]
            if rows:
                batch.append(self._batch(wire, steps[-1].number if steps else -1, np.concatenate(rows)))
        return batch

    def _batch(self, wire: Wire, number: int, rows: Ticks) -> Batch:
        """Rows ready for the bus, under the tape's number where the tape waits for us, else under our own count."""
        if not self._plan.hold:
            wire.sent += 1
            number = wire.sent
        parts = by_partition(rows, self._partition, self._plan.partitions)
        return wire.name, [(p, number, entries.encode(part)) for p, part in enumerate(parts) if len(part)]

    def _rows(self, wire: Wire, steps: list[Step]) -> Ticks:
        frames = [(f, s.received, s.number << 8 | k) for s in steps for k, f in enumerate(s.frames)]
        if not frames:
            return NO_TICKS
        rows, bad = wire.codec.read_many(*zip(*frames, strict=True))
        for one in bad:
            self._refuse(one)
        self._ticks += len(rows)
        if not self._plan.tape:
            self._measure_skew(rows)
        return rows

    def _measure_skew(self, rows: Ticks) -> None:
        stamped = rows[(rows["quoted"] > 0) & (rows["kind"] == Kind.TICK)]
        away = stamped["received"] - stamped["quoted"]
        away = away[
            np.abs(away) < LARGEST_SKEW
        ]  # a snapshot may be of yesterday, and one wrong stamp must not move time
        if len(away):
            skew = int(away.min())
            self._skew = skew if self._skew is None else min(self._skew, skew)

    def _begin(self, now: int) -> Ticks:
        """What comes before everything else: our predecessor is gone. A held tape stood still: nothing was missed."""
        self._began = True
        if self._plan.hold:
            return NO_TICKS
        return self._watch.begin(now, time.time_ns())

    def _mark(self, now: int, data: bool) -> Ticks:
        if self._plan.tape:
            self._watch.opened(now)
        if data:
            self._watch.data(now)
        marks = self._watch.step(now)
        if len(marks) and not self._plan.hold:
            marks["received"] = time.time_ns()
        return marks

    def _refuse(self, bad: BadPayload) -> None:
        self._bad += 1
        self._keep.keep(bad)
        self._log.warning("bad_payload", feed=self._plan.name, reason=bad.reason, bytes=len(bad.payload))

    async def _append(self, batch: list[Batch]) -> None:
        """Put rows on the bus, once, however often the bus goes away under it."""
        began = time.monotonic()
        self._kept.extend((began, one) for one in batch)
        while self._kept and self._kept[0][0] < began - KEPT_SECONDS:
            self._kept.popleft()
        pauses = Backoff()
        try:
            await asyncio.to_thread(self._send, batch)
        except LineDown as e:
            self._log.warning("bus_down", reason=e.reason)
            while not await self._resend():
                await asyncio.sleep(pauses.pause())
        self._lag = time.monotonic() - began

    async def _resend(self) -> bool:
        """After a cut nobody knows what the bus took: offer the last seconds again; it refuses the numbers it has."""
        try:
            await asyncio.to_thread(self._send, [one for _, one in self._kept])
        except LineDown as e:
            self._trouble = e.reason
            return False
        self._trouble = ""
        return True

    def _send(self, batch: list[Batch]) -> None:
        for writer, rows in batch:
            self._bus.append("ticks", writer, rows)
            self._entries += len(rows)
            self._bytes += sum(len(payload) for _, _, payload in rows)

    async def _catch_up(self) -> None:
        """Learn from the bus what our predecessor wrote: a held tape goes on behind it."""
        pauses = Backoff()
        while True:
            try:
                for wire in self._wires:
                    known = self._bus.numbers("ticks", wire.name, range(self._plan.partitions)).values()
                    wire.known = wire.sent = max(known)
                    wire.number = min(known)
                return
            except LineDown as e:
                self._log.warning("bus_down", reason=e.reason)
                await asyncio.sleep(pauses.pause())
