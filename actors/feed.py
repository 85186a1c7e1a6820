"""Feed: one broker account's lines, from frames on the wire to entries on the bus.

It reads as fast as the bus takes: while a write is under way frames pile up, the next write carries them all, and past
a backlog a wire stops reading, so that the socket's own flow control slows the vendor (a held tape waits). Once a
second it looks at the bus for what others want of it: a new login, a new listing, an operator's wish.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from contextlib import suppress
from math import ceil
from typing import Any

import numpy as np
import structlog

from actors.admission import Admission
from actors.measures import Counts, resident_bytes
from actors.outbox import Batch, Outbox
from actors.plans import FeedPlan
from actors.wires import Step, Wire
from adapters import entries, logs
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.listings import Listings
from adapters.quarantine import Quarantine
from adapters.readmodel import ReadModel
from adapters.traces import ROOT, traces
from market import lives
from market.alerts import OperatorAlert
from market.codecs import Account, Event
from market.errors import BadPayload, LineDown
from market.feeds import FeedWatch, by_partition, canary, shares
from market.instruments import partition_of
from market.listings import Listing
from market.sessions import MINUTE, SECOND, Phase, Sessions
from market.ticks import NO_TICKS, FeedState, Kind, Ticks
from market.troubles import BY_HAND, Health, Troubles
from market.vendors import VENDORS

ENTRY_FRAMES = 20
TICK_SECONDS = 0.25
SHOWN_SECONDS = 1.0
LARGEST_SKEW = 30 * SECOND
"""Further than this our clock is not the exchange's; `bourse doctor` looks at that."""


class Feed:
    """Holds the lines of one broker account; `market.feeds.FeedWatch` says what it may claim."""

    def __init__(self, plan: FeedPlan) -> None:
        logs.configure(f"feed/{plan.name}", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._traces = traces(plan.traces, "feed")
        self._outbox = Outbox(self._bus, self._traces)
        self._model = ReadModel(plan.cache)
        self._keep = Quarantine(plan.quarantine)
        self._admission = Admission(plan, self._bus)
        self._listings, self._alerts = Listings(plan.bus), Alerts(self._bus)
        self._partition = np.array([partition_of(i, plan.partitions) for i in plan.instruments] + [-1], np.int64)
        self._sessions = Sessions(plan.sessions)
        # Judged a beat early, so that MUTE is said within `mute_after` and not a beat later.
        mute_after = plan.mute_after if plan.tape else max(plan.mute_after - int(TICK_SECONDS * SECOND), SECOND // 10)
        self._watch = FeedWatch(plan.source, self._sessions, plan.grace, mute_after)
        self._canary = canary(plan.instruments)
        vendor = VENDORS[plan.vendor]
        carried, cut = shares(plan.instruments, plan.vendor, vendor.socket_instruments, vendor.sockets)
        if cut:
            self._log.warning("universe_cut", feed=plan.name, left_out=len(cut), first=cut[0])
        # As many wires as the whole universe may need: a later list may name more of it than today's.
        most = min(vendor.sockets, ceil(len(plan.instruments) / (vendor.socket_instruments - 1)))
        carried += [{}] * (most - len(carried))
        self._wires = [Wire(f"{plan.name}/{k}", plan, share, mute_after, self) for k, share in enumerate(carried)]
        self._listing_stamp = 0
        self._listing: Listing | None = None
        self._pending: Listing | None = None
        self._troubles = Troubles(plan.name)
        self._untold: deque[OperatorAlert] = deque()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._running: asyncio.Future[None] | None = None
        self._skew: int | None = None
        self._clock_heard = (0, time.monotonic_ns())
        self._began = False
        self._stopped = self._done = False
        self._trouble = self._held_back = ""
        self._ticks = self._bad = self._reconnects = 0
        self._counts = Counts(
            "bourse_feed",
            ("frames", "ticks", "bad_frames", "unknown", "unpriced", "reconnects"),
            {"feed": plan.name},
        )

    async def run(self) -> None:
        """Hold the lines and write what they bring, until stopped or (a held tape) until its end is on the bus."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        await asyncio.shield(self._running)  # a new Supervisor asks again: it joins the run under way

    async def _run(self) -> None:
        await self._catch_up()
        with suppress(LineDown, BadPayload):  # `_look` asks again
            await self._admission.look()
        work = (self._beat(), self._look(), *(wire.hold() for wire in self._wires))
        tasks = [asyncio.create_task(one) for one in work]
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
        self._admission.take(access_token)

    async def health(self) -> dict[str, Any]:
        """What `status` shows of this feed."""
        return {
            "part": "feed",
            "name": self._plan.name,
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "state": self._state(),
            "trouble": self._said(),
            "market_time": self._now(),
            "last_data": self._watch.last_data,
            "frames": self._frames(),
            "ticks": self._ticks,
            "bad": self._bad,
            "entries": self._outbox.entries,
            "bytes": self._outbox.bytes,
            "lag_ms": round(self._outbox.lag * 1000, 2),
            "reconnects": self._reconnects,
            "listing": str(self._listing.session) if self._listing else "",
            "ended": self._done,
            **self._left_out(),
        }

    def _frames(self) -> int:
        return sum(w.frames for w in self._wires)

    def _left_out(self) -> dict[str, int]:
        return {"unknown": sum(w.unknown for w in self._wires), "unpriced": sum(w.unpriced for w in self._wires)}

    def _state(self) -> str:
        return "AUTH_REQUIRED" if self._admission.needed and not self._admission.closed else self._watch.state.name

    def _said(self) -> str:
        if self._admission.closed:
            return BY_HAND
        ours = f"login needed: {self._admission.remedy}" if self._admission.needed else self._trouble
        return self._held_back or self._outbox.trouble or ours

    def _busy(self) -> list[Wire]:
        """The wires that have something to subscribe; the first where none has."""
        return [w for w in self._wires if w.tokens] or self._wires[:1]

    def _finished(self) -> bool:
        return self._plan.hold and all(w.ended and not w.steps for w in self._busy())

    def _now(self) -> int:
        if self._plan.tape:
            return min(w.clock for w in self._busy())
        return time.time_ns() - (self._skew or 0)

    def _alert_time(self) -> int:
        """Market time that goes on while a tape's clock stands still, so that a trouble can last."""
        now = self._now()
        if not self._plan.tape:
            return now
        if now != self._clock_heard[0]:
            self._clock_heard = (now, time.monotonic_ns())
        return now + time.monotonic_ns() - self._clock_heard[1]

    # What a wire asks

    async def admission(self) -> Account:
        """Wait until this feed may hold lines; the account to log in with."""
        return await self._admission.account()

    def awake(self) -> int | None:
        """How long lines may still rest, ns. A tape's day begins whenever it is played."""
        return None if self._plan.tape else lives.wake(self._sessions, self._now())

    def opened(self) -> None:
        """A line is there; the feed's are when all of them are."""
        if all(w.life.open for w in self._busy()):
            self._trouble = ""
            if not self._plan.tape:
                self._watch.opened(self._now())

    async def lost(self, wire: Wire, reason: str) -> None:
        """A line is gone, or could not be had: write what it brought, and say so in the log."""
        self._reconnects += 1
        self._trouble = reason
        self._log.warning("line_down", line=wire.name, reason=reason)
        if self._plan.hold:  # the tape stands still until we are back: no time passes, nothing is missed
            return
        wire.complete()
        while await self._write():
            pass
        async with self._writing:
            if self._began:
                await self._say(self._watch.lost(self._now()))

    def refused(self, account: Account, remedy: str) -> None:
        """The vendor does not take this account: no line tries again before somebody has logged in."""
        self._admission.refuse(account, remedy)

    def heard(self) -> None:
        """Something waits to be written."""
        self._wake.set()

    def told(self, event: Event) -> None:
        """The vendor said something that is no tick."""
        self._log.info("vendor_text", feed=self._plan.name, kind=type(event).__name__, text=repr(event)[:500])

    def bad(self, payload: BadPayload) -> None:
        """Something came that nobody can read: kept for a human."""
        self._bad += 1
        self._keep.keep(payload)
        self._log.warning("bad_payload", feed=self._plan.name, reason=payload.reason, bytes=len(payload.payload))

    # What others want, and hear

    async def _beat(self) -> None:
        shown = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if not self._plan.tape:
                self._wake.set()
            await self._judge_lines()
            if time.monotonic() - shown > SHOWN_SECONDS:
                shown = time.monotonic()
                await self._show_books()
            self._counts.set(
                frames=self._frames(),
                ticks=self._ticks,
                bad_frames=self._bad,
                reconnects=self._reconnects,
                **self._left_out(),
            )

    async def _judge_lines(self) -> None:
        if self._plan.hold:
            return
        trading = lives.trading(self._sessions, self._now())
        for wire in self._wires:
            if wire.life.silent(time.monotonic_ns(), trading) and not wire.steps:
                async with self._writing:
                    await self._say(self._watch.mute(self._now()))
                wire.give_up("mute")

    async def _look(self) -> None:
        """Again and again: what stands on the bus for us, and what an operator must hear."""
        told: list[OperatorAlert] | None = None
        while True:
            try:
                if told is None:
                    told = await asyncio.to_thread(self._alerts.recent)
                    self._troubles = Troubles(self._plan.name, told)
                if await self._admission.look() and self._admission.closed:
                    self._close()
                await self._find_listing()
                await self._tell()
            except LineDown as e:
                self._log.warning("bus_down", reason=e.reason)
            except BadPayload as e:
                self.bad(e)
            await asyncio.sleep(self._plan.look_seconds)

    def _close(self) -> None:
        for wire in self._wires:
            wire.give_up(BY_HAND)
        if (over := self._troubles.closed()) is not None:
            self._untold.append(over)

    async def _find_listing(self) -> None:
        if self._plan.tape and not self._plan.account:
            return
        stamp = await asyncio.to_thread(self._listings.stamp, self._plan.vendor)
        if stamp != self._listing_stamp:
            self._pending = await asyncio.to_thread(self._listings.find, self._plan.vendor)
            self._listing_stamp = stamp
        if self._pending is not None and self._may_relist(self._pending):
            self._relist(self._pending)
            self._pending = None

    def _may_relist(self, listing: Listing) -> bool:
        """Tomorrow's list counts once today's session is over."""
        now = self._now()
        today = self._sessions.of(now)
        return today is None or listing.session <= today.date or self._sessions.phase(now) is Phase.CLOSED

    def _relist(self, listing: Listing) -> None:
        vendor = VENDORS[self._plan.vendor]
        missing = listing.missing(self._plan.instruments)
        listed = [i for i in listing.applied(self._plan.instruments) if i.symbol not in set(missing)]
        carried, _ = shares(listed, self._plan.vendor, vendor.socket_instruments, vendor.sockets)
        carried += [{}] * (len(self._wires) - len(carried))
        changed = [wire.relist(share) for wire, share in zip(self._wires, carried, strict=True)]
        self._listing = listing
        self._log.info("listing_taken", session=str(listing.session), missing=missing[:10], changed=sum(changed))

    async def _tell(self) -> None:
        health, reason = self._health()
        due = self._troubles.step(self._alert_time(), health, reason)
        if due is not None:
            self._untold.append(due)
        while self._untold:
            await asyncio.to_thread(self._alerts.tell, self._untold[0])
            self._log.warning("alert", feed=self._plan.name, text=self._untold[0].text)
            self._untold.popleft()

    def _health(self) -> tuple[Health, str]:
        """How we are, to an operator. An account that is refused is told at once, an outage when it lasts."""
        if self._admission.closed:
            return Health.RESTING, BY_HAND
        if self._admission.needed:
            return Health.REFUSED, self._admission.remedy
        there = all(w.life.open for w in self._busy())
        if any(w.life.evicted for w in self._wires) and not there:
            return Health.EVICTED, self._trouble
        if self._sessions.phase(self._now()).resting:
            return (Health.WELL if there else Health.RESTING), self._trouble
        well = there and self._watch.state is FeedState.LIVE
        return (Health.WELL, "") if well else (Health.TROUBLED, self._trouble or "it brings nothing")

    async def _show_books(self) -> None:
        """The newest visible books to the read model, at a human rate; who trades on them reads the ticks."""
        async with self._writing:
            books = []
            for wire in self._wires:
                try:
                    books.append(wire.codec.depth())
                except BadPayload as e:
                    self.bad(e)
        if not books:
            return
        rows = np.concatenate(books)
        symbols = [self._plan.instruments[int(i)].symbol for i in rows["instrument"]]
        try:
            await asyncio.to_thread(self._model.depths, symbols, rows)
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)

    # What is written

    async def _say(self, marks: Ticks) -> None:
        if len(marks):
            marks["received"] = time.time_ns()
            await self._outbox.append([self._batch(self._wires[0], -1, marks)])

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
                await self._outbox.append(batch)
            for wire in self._wires:
                wire.room.set()
            return any(steps for _, steps in taken)

    def _take(self) -> list[tuple[Wire, list[Step]]]:
        until = min(w.clock for w in self._busy())
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
                if first:
                    rows.append(self._missed(now))
                rows.append(self._rows(wire, group))
                if first:
                    rows.append(self._mark(now))
            rows = [r for r in rows if len(r)]
            if rows:
                batch.append(self._batch(wire, steps[-1].number if steps else -1, np.concatenate(rows)))
        return batch

    def _batch(self, wire: Wire, number: int, rows: Ticks) -> Batch:
        """Rows ready for the bus, under the tape's number where the tape waits for us, else under our own count."""
        if not self._plan.hold:
            wire.sent += 1
            number = wire.sent
        if self._traces is not None and len(rows) and self._traces.follows(number):
            received = rows["received"][rows["received"] > 0]
            now = time.time_ns()
            self._traces.tell(ROOT, wire.name, number, int(received.min()) if len(received) else now, now)
        parts = by_partition(rows, self._partition, self._plan.partitions)
        return wire.name, [(p, number, entries.encode(part)) for p, part in enumerate(parts) if len(part)]

    def _rows(self, wire: Wire, steps: list[Step]) -> Ticks:
        frames = [(f, s.received, s.number << 8 | k) for s in steps for k, f in enumerate(s.frames)]
        if not frames:
            return NO_TICKS
        rows, bad = wire.codec.read_many(*zip(*frames, strict=True))
        for one in bad:
            self.bad(one)
        if len(rows) and not self._plan.tape:
            wire.data = steps[-1].received - (self._skew or 0)
            wire.life.data(time.monotonic_ns())
            self._measure_skew(rows)
        if wire is not self._wires[0] and self._canary is not None:
            rows = rows[rows["instrument"] != self._canary]
        self._ticks += len(rows)
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

    def _missed(self, now: int) -> Ticks:
        """What a tape's clock tells when it jumps: the market went on, and its line brought nothing."""
        live = self._plan.tape and not self._plan.hold and self._watch.state is FeedState.LIVE
        return self._stamped(self._watch.step(now)) if live else NO_TICKS

    def _mark(self, now: int) -> Ticks:
        if self._plan.tape:
            self._watch.opened(now)
            self._watch.data(now)
        else:
            self._watch.data(min(w.data for w in self._busy()))
        return self._stamped(self._watch.step(now))

    def _stamped(self, marks: Ticks) -> Ticks:
        if len(marks) and not self._plan.hold:
            marks["received"] = time.time_ns()
        return marks

    async def _catch_up(self) -> None:
        """Learn from the bus what our predecessor wrote: a held tape goes on behind it."""
        known = await self._outbox.known([w.name for w in self._wires], self._plan.partitions)
        for wire in self._wires:
            wire.known = wire.sent = max(known[wire.name])
            wire.number = min(known[wire.name])
