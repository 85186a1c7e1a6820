"""Signals: turns the scores of some partitions into signals, minute by minute, under the id of the scores' own entry.

What decides the next minute is one value, kept as a snapshot with the entry it goes up to; whoever goes on from there
comes to the same signals, and the bus refuses those it has. So a restart, a second owner or a kill -9 gives each once.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import structlog

from actors.measures import Counts, resident_bytes
from actors.plans import SignalsPlan
from adapters import entries, logs
from adapters.bus import START, Bus, Entry, EntryId, Lease
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from market.errors import BadPayload, LeaseLost, LineDown, LogWentBack
from market.scores import SCORE
from market.sessions import Sessions
from market.signals import NO_SCORED, Action, Scored, SignalMachine, records, scored
from market.signals import Signals as Rows

READER = "signals"
SOURCE, TOPIC = "scores", "signals"
READ_ENTRIES = 64
BLOCK_SECONDS = 0.2
SHOWN_SECONDS = 1.0
COUNTS = ("minutes", "buy", "sell", "hold", "again", "late", "unreadable")


class Part:
    """One partition's machine, and how far it has read."""

    def __init__(self, number: int, machine: SignalMachine, cursor: EntryId) -> None:
        self.number, self.machine, self.cursor = number, machine, cursor
        self.saved = cursor
        self.counts = dict.fromkeys(COUNTS, 0)

    def health(self) -> dict[str, Any]:
        """How far it is, what stands, and how many signals it gave."""
        standing = self.machine.standing()
        counts = self.counts | {"late": self.machine.late}
        stands = {a.name.lower(): int((standing == a).sum()) for a in (Action.BUY, Action.SELL)}
        return {"cursor": self.cursor, "standing": stands, **counts}


class Signals:
    """Reads, asks the machine, writes; decides nothing itself."""

    def __init__(self, plan: SignalsPlan) -> None:
        self._name = "-".join(map(str, plan.mine))
        logs.configure(f"signals/{self._name}", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._model = ReadModel(plan.cache)
        self._symbols = [i.symbol for i in plan.instruments]
        self._traded = np.array([i.traded for i in plan.instruments], np.bool_)
        self._sessions = Sessions(plan.sessions).table()
        self._parts: dict[int, Part] = {}
        self._leases: dict[int, Lease] = {}
        self._stopped = False
        self._trouble = ""
        self._renewed = self._saved = self._counted = 0.0
        self._counts = Counts("bourse_signals", COUNTS, {"partitions": self._name})

    def run(self) -> None:
        """Follow and decide until told to stop. Raises LeaseLost when another owner took over."""
        pauses = Backoff()
        while not self._stopped:
            try:
                self._own()
                pauses.reset()
                self._trouble = ""
                while not self._stopped:
                    self._turn()
            except LineDown as e:
                self._trouble = str(e)
                self._log.warning("store_down", line=e.line, reason=e.reason)
                time.sleep(pauses.pause())
        self._save()
        for lease in self._leases.values():
            lease.release()

    def stop(self) -> None:
        """End `run` after the read under way."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor."""
        return {
            "part": "signals",
            "name": self._name,
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "partitions": {str(part.number): part.health() for part in list(self._parts.values())},
        }

    def _own(self) -> None:
        """Take the partitions over from whoever had them: lease, snapshot, cursor."""
        for number in self._plan.mine:
            while number not in self._leases and not self._stopped:
                try:
                    self._leases[number] = self._bus.lease(f"{READER}:{{{number}}}", self._plan.lease_seconds)
                except LeaseLost:
                    self._trouble = f"partition {number} is held by another owner"
                    time.sleep(self._plan.lease_seconds / 20)
        self._parts = {number: self._begin(number) for number in self._leases}

    def _begin(self, number: int) -> Part:
        machine = SignalMachine(len(self._symbols), self._sessions, self._plan.rules)
        cursor, state = self._bus.load(READER, number) or (START, b"")
        try:
            self._bus.check(SOURCE, number, cursor)
            if state:
                machine.restore(state)
        except LogWentBack as e:
            self._log.error("log_went_back", stream=e.stream, cursor=e.cursor, last=e.last)
            cursor = START
        except BadPayload as e:  # of another universe: what stood is not known
            self._log.error("snapshot_unreadable", partition=number, reason=e.reason)
        self._log.info("partition_owned", partition=number, cursor=cursor)
        return Part(number, machine, cursor)

    def _turn(self) -> None:
        """One read over the partitions, and what is due by the clock."""
        began = time.monotonic()
        after = {number: part.cursor for number, part in self._parts.items()}
        read = self._bus.read(SOURCE, after, count=READ_ENTRIES, block=BLOCK_SECONDS)
        made = [(entry, self._work(self._parts[entry.partition], entry)) for entry in read]
        told = [(entry, rows) for entry, rows in made if len(rows)]
        new = self._bus.write_all(TOPIC, [(e.partition, e.id, entries.encode(rows)) for e, rows in told])
        for entry, _ in made:
            self._parts[entry.partition].cursor = entry.id
        fresh = [rows for (_, rows), written in zip(told, new, strict=True) if written]
        for (entry, rows), written in zip(told, new, strict=True):
            self._count(self._parts[entry.partition], rows, new=written)
        if fresh:
            self._show(np.concatenate(fresh))
        if began - self._renewed > self._plan.lease_seconds / 3:
            for lease in self._leases.values():
                lease.renew()
            self._renewed = began
        if began - self._saved > self._plan.snapshot_seconds:
            self._save()
            self._saved = began
        if began - self._counted > SHOWN_SECONDS:
            healths = [part.health() for part in self._parts.values()]
            self._counts.set(**{name: sum(one[name] for one in healths) for name in COUNTS})
            self._counted = began

    def _work(self, part: Part, entry: Entry) -> Rows:
        part.counts["minutes"] += 1
        return part.machine.step(self._rows(part, entry))

    def _rows(self, part: Part, entry: Entry) -> Scored:
        try:
            rows = scored(entries.decode(entry.payload, SCORE), self._plan.rules.horizon)
        except BadPayload as e:
            part.counts["unreadable"] += 1
            self._log.error("entry_unreadable", topic=SOURCE, entry=entry.id, reason=e.reason)
            return NO_SCORED
        known = rows["instrument"] < len(self._plan.instruments)
        if not known.all():  # of a universe before this one
            part.counts["unreadable"] += 1
            self._log.error("instruments_unknown", topic=SOURCE, entry=entry.id, rows=int((~known).sum()))
        rows = rows[known]
        return rows[self._traded[rows["instrument"]]]

    def _count(self, part: Part, rows: Rows, *, new: bool) -> None:
        if not new:
            part.counts["again"] += len(rows)
            return
        for action in Action:
            part.counts[action.name.lower()] += int((rows["action"] == action).sum())

    def _show(self, rows: Rows) -> None:
        """The read model's: when everything is on the bus, so nobody waits for it."""
        try:
            self._model.signals(records(rows[np.argsort(rows["at"], kind="stable")], self._symbols))
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)

    def _save(self) -> None:
        for part in self._parts.values():
            if part.cursor != part.saved:
                self._bus.save(READER, part.number, part.cursor, part.machine.snapshot())
                part.saved = part.cursor
