"""Switch: follows the marks of all feeds and carries out what `market.failover` decides.

A decision is a record on the bus before it is a mark in the ticks, so a second owner, a repeat or a restart between the
two changes nothing: whoever comes next carries the newest decision to its end. It decides only when it has read all
there is, and as long as its lease holds.
"""

from __future__ import annotations

import os
import time
from typing import Any

import structlog

from actors.measures import Counts, gauge, resident_bytes
from actors.plans import SwitchPlan
from adapters import entries, logs
from adapters.bus import SEQUENCE_BITS, START, Bus, EntryId, Lease
from adapters.control import Control
from adapters.lines import Backoff
from adapters.switches import Switches
from market.errors import BadPayload, LeaseLost, LineDown, LogWentBack
from market.failover import Breaker, Failover, Seam, State
from market.sessions import Sessions

READER = "switch"
PARTITION = 0
"""Every partition holds all marks: one is enough."""
READ_ENTRIES = 256
BLOCK_SECONDS = 0.2
HEAR_SECONDS = 0.5
SHOWN_SECONDS = 1.0
TAIL_MS = 60_000
"""How far back it reads the marks without a snapshot."""
BREAKERS = {Breaker.CLOSED: 0, Breaker.HALF_OPEN: 1, Breaker.OPEN: 2}


class Switch:
    """Reads, asks `Failover`, writes; one of them at a time."""

    def __init__(self, plan: SwitchPlan) -> None:
        logs.configure("switch", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._switches = Switches(self._bus)
        self._control = Control(self._bus)
        self._failover = self._new()
        self._cursor: EntryId = START
        self._lease: Lease | None = None
        self._stopped = False
        self._trouble = ""
        self._renewed = self._saved = self._heard = self._shown = 0.0
        self._unreadable = 0
        self._breakers = gauge("bourse_breaker_state", "0 closed, 1 half-open, 2 open", "feed")
        self._active = gauge("bourse_feed_active", "1 for the feed that counts", "feed")
        self._counts = Counts("bourse", ("switches", "switch_unreadable"), {"part": "switch"})

    def run(self) -> None:
        """Follow and decide until told to stop. Raises LeaseLost when another owner took over."""
        pauses = Backoff()
        while not self._stopped:
            try:
                self._own()
                pauses.reset()
                while not self._stopped:
                    self._turn()
            except LineDown as e:
                self._trouble = e.reason
                self._log.warning("bus_down", reason=e.reason)
                time.sleep(pauses.pause())
            except LeaseLost:
                self._lease = None
                raise
        if self._lease is not None:
            self._save()
            self._lease.release()

    def stop(self) -> None:
        """End `run` after the read under way, with a snapshot."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` and `bourse feed` show: each feed, which one is active, what the operator wishes."""
        failover = self._failover
        wishes = self._control.wishes
        return {
            "part": "switch",
            "name": "switch",
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "market_time": failover.now,
            "active": failover.active,
            "forced": wishes.forced,
            "held": wishes.held,
            "closed": sorted(wishes.closed),
            "seam": failover.seam.model_dump() if failover.seam else None,
            "feeds": [self._standing(k) for k in range(len(self._plan.rules))],
            "unreadable": self._unreadable,
        }

    def _standing(self, k: int) -> dict[str, Any]:
        rule = self._plan.rules[k]
        feed = self._failover.standing(rule.name)
        return {
            "name": rule.name,
            "role": "primary" if k == 0 else "standby" if rule.standby else "spare",
            "active": rule.name == self._failover.active,
            "state": feed.state.name if feed.state else "UNKNOWN",
            "breaker": feed.breaker.value,
            "at": feed.at,
            "since": feed.since,
            "fails": feed.fails,
            "return_after_seconds": self._failover.return_after(rule.name) // 1_000_000_000,
            "closed_by_hand": rule.name in self._control.wishes.closed,
        }

    def _new(self) -> Failover:
        return Failover(self._plan.rules, Sessions(self._plan.sessions), self._plan.return_after)

    def _own(self) -> None:
        """Take over: lease, snapshot, cursor; the newest decision is carried to its end."""
        while self._lease is None and not self._stopped:
            try:
                self._lease = self._bus.lease(READER, self._plan.lease_seconds)
            except LeaseLost:
                self._trouble = "another owner switches"
                time.sleep(self._plan.lease_seconds / 20)
        failover = self._new()
        kept = self._bus.load(READER, PARTITION)
        try:
            if kept is not None:
                self._bus.check("ticks", PARTITION, kept[0])
                failover.restore(State.model_validate_json(kept[1]))
        except LogWentBack as e:
            self._log.error("log_went_back", stream=e.stream)
            kept = None
        tail = self._bus.last("ticks", PARTITION) - (TAIL_MS << SEQUENCE_BITS)
        self._cursor = kept[0] if kept is not None else max(START, tail)
        newest = self._switches.newest()
        if newest is not None:
            failover.switched(newest)
            self._switches.carry(newest, self._plan.partitions)
        self._failover = failover
        self._trouble = ""
        self._log.info("switch_owned", active=failover.active, cursor=self._cursor)

    def _turn(self) -> None:
        """One read, a decision if it is the end of the log, and what is due by the clock."""
        began = time.monotonic()
        if self._lease is not None and began - self._renewed > self._plan.lease_seconds / 3:
            self._lease.renew()
            self._renewed = began
        read = self._bus.read("ticks", {PARTITION: self._cursor}, count=READ_ENTRIES, block=BLOCK_SECONDS)
        for entry in read:
            try:
                self._failover.step(entries.ticks_of(entry.payload))
            except BadPayload as e:
                self._unreadable += 1
                self._log.error("entry_unreadable", entry=entry.id, reason=e.reason)
            self._cursor = entry.id
        if began - self._heard > HEAR_SECONDS:
            self._hear()
            self._heard = began
        if len(read) < READ_ENTRIES and (seam := self._failover.decide()) is not None:
            self._switch(seam)
        if began - self._saved > self._plan.snapshot_seconds:
            self._save()
            self._saved = began
        if began - self._shown > SHOWN_SECONDS:
            self._show()
            self._shown = began

    def _hear(self) -> None:
        known = {rule.name for rule in self._plan.rules}
        for wish in self._control.hear():
            unknown = bool(wish.feed) and wish.feed not in known
            self._log.info("wish", do=wish.do, feed=wish.feed, by=wish.by, at=wish.at, unknown=unknown)
        self._failover.wishes = self._control.wishes

    def _switch(self, seam: Seam) -> None:
        """Decide, unless another owner was quicker; then carry what was decided."""
        if self._lease is not None:
            self._lease.renew()
        mine = self._switches.tell(seam)
        decided = seam if mine else self._switches.newest()
        if decided is None:
            return
        self._failover.switched(decided)
        self._switches.carry(decided, self._plan.partitions)
        self._log.warning("switched", mine=mine, **decided.model_dump())
        self._save()

    def _save(self) -> None:
        state = self._failover.snapshot().model_dump_json().encode()
        self._bus.save(READER, PARTITION, self._cursor, state)

    def _show(self) -> None:
        for rule in self._plan.rules:
            tags = {"feed": rule.name}
            self._breakers.set(BREAKERS[self._failover.standing(rule.name).breaker], tags=tags)
            self._active.set(float(rule.name == self._failover.active), tags=tags)
        seam = self._failover.seam
        self._counts.set(switches=seam.number if seam else 0, switch_unreadable=self._unreadable)
