"""Candles: folds the ticks of some partitions into candles; the only actor that loads the Numba kernel.

Exactly once: an output entry carries the id of the input entry that closed it, so whatever is folded again after a
restart is refused by the bus as known. Whenever the bus goes away the state is thrown away and read anew from the
last snapshot: one way of recovery, used for everything. A repair is an entry of candles among the ticks; what it comes
to depends on it, on the fold and on the candles under the ids before its own, so it comes out the same however often.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any

import numpy as np
import structlog

from actors.measures import Counts, gauge, milliseconds, resident_bytes
from actors.plans import CandlesPlan, ids
from adapters import entries, logs
from adapters.alerts import Alerts
from adapters.bus import START, Bus, Entry, EntryId, Lease
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from market.candles import CANDLE, NO_CANDLES, Provenance
from market.candles import Candles as CandleRows
from market.coverage import gap_alert, gaps_begun
from market.errors import LeaseLost, LineDown
from market.instruments import Universe
from market.sessions import Sessions
from market.ticks import FeedState, Kind, mark

READER = "candles"
READ_ENTRIES = 64
KNOWN_ENTRIES = 512
BLOCK_SECONDS = 0.2
SHOWN_SECONDS = 1.0


class Partition:
    """One partition's builder and how far it has read."""

    def __init__(self, number: int, plan: CandlesPlan, universe: Universe) -> None:
        from market.fold import CandleBuilder

        self.number = number
        members = ids(universe.partition(number, plan.partitions))
        self.builder = CandleBuilder(members, Sessions(plan.sessions).table(), plan.grace, arbitrate=plan.arbitrate)
        self.cursor: EntryId = START
        self.saved: EntryId = START
        self.candles = 0

    def health(self) -> dict[str, Any]:
        """Its cursor, its market time and how many rows met which rule."""
        time_and_counts = {"market_time": self.builder.market_time, **self.builder.counts}
        return {"cursor": self.cursor, "candles": self.candles, **time_and_counts, "refused": self.builder.refused}


class Candles:
    """Reads, folds, writes; decides nothing itself."""

    def __init__(self, plan: CandlesPlan) -> None:
        name = "-".join(map(str, plan.mine))
        from market.fold import COUNTS, CandleBuilder  # here: whoever only starts this actor must not load Numba

        logs.configure(f"candles/{name}", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._alerts = Alerts(self._bus)
        self._model = ReadModel(plan.cache)
        self._universe = Universe(plan.instruments)
        CandleBuilder([0], Sessions(plan.sessions).table()).step(
            mark(0, FeedState.LIVE, 0)
        )  # compile before ticks come
        self._parts: dict[int, Partition] = {}
        self._leases: dict[int, Lease] = {}
        self._stopped = False
        self._trouble = ""
        self._shown = self._saved_at = self._renewed = 0.0
        self._names = COUNTS
        self._counts = Counts("bourse_candles", (*COUNTS, "closed", "refolded"), {"partitions": name})
        self._open = gauge("bourse_candles_open", "candles being built", "partitions")
        self._fold_ms = milliseconds("bourse_candles_step_ms", "one read, folded and written", "partitions")
        self._tags = {"partitions": name}
        self._refolded = 0
        self._recalled: dict[int, tuple[EntryId, list[CandleRows]]] = {}
        self._closing: deque[float] = deque(maxlen=4096)

    def run(self) -> None:
        """Read, fold, write, until told to stop. Raises LeaseLost when another owner took over."""
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
        if self._parts:
            self._save()
        for lease in self._leases.values():
            lease.release()

    def stop(self) -> None:
        """End `run` after the read under way, with a snapshot."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor."""
        parts = list(self._parts.values())
        p50, p99 = np.percentile(list(self._closing) or [0.0], (50, 99)).round(2).tolist()
        return {
            "part": "candles",
            "name": "-".join(map(str, self._plan.mine)),
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "closing_ms": {"count": len(self._closing), "p50": p50, "p99": p99},
            "market_time": min((p.builder.market_time for p in parts), default=0),
            "partitions": {str(p.number): p.health() for p in parts},
        }

    def _own(self) -> None:
        """Take the partitions over from whoever had them: lease, snapshot, cursor."""
        self._recalled.clear()
        for number in self._plan.mine:
            self._take_lease(number)
            part = Partition(number, self._plan, self._universe)
            kept = self._bus.load(READER, number)
            if kept is not None:
                part.cursor, state = kept
                self._bus.check("ticks", number, part.cursor)
                part.builder.restore(state)
            part.saved = part.cursor
            self._parts[number] = part
            self._log.info("partition_owned", partition=number, cursor=part.cursor)
        self._trouble = ""

    def _take_lease(self, number: int) -> None:
        """Wait while another owner holds it; one that died holds it until it runs out."""
        while number not in self._leases and not self._stopped:
            try:
                self._leases[number] = self._bus.lease(f"{READER}:{{{number}}}", self._plan.lease_seconds)
            except LeaseLost:
                self._trouble = f"partition {number} is held by another owner"
                time.sleep(self._plan.lease_seconds / 20)

    def _turn(self) -> None:
        """One read over all partitions, and what is due by the clock."""
        began = time.monotonic()
        after = {n: p.cursor for n, p in self._parts.items()}
        read = self._bus.read("ticks", after, count=READ_ENTRIES, block=BLOCK_SECONDS)
        if read:
            started = time.monotonic()
            closed: list[tuple[Entry, CandleRows]] = []
            repairs = False
            for entry in read:
                if entries.is_repair(entry.payload):
                    self._publish(closed)  # what it corrects may be among them
                    self._publish([(entry, self._repair(entry))])
                    closed, repairs = [], True
                elif len(rows := self._fold(entry)):
                    closed.append((entry, rows))
            self._publish(closed)
            if not repairs:
                self._recalled.clear()  # repairs come in bursts; what they needed to know is large
            for entry in read:
                self._parts[entry.partition].cursor = entry.id
            self._time(closed)
            self._fold_ms.observe((time.monotonic() - started) * 1000, tags=self._tags)
        if began - self._renewed > self._plan.lease_seconds / 3:
            for lease in self._leases.values():
                lease.renew()
            self._renewed = began
        if began - self._saved_at > self._plan.snapshot_seconds:
            self._save()
            self._saved_at = began
        if began - self._shown > SHOWN_SECONDS:
            self._show()
            self._shown = began

    def _fold(self, entry: Entry) -> CandleRows:
        builder = self._parts[entry.partition].builder
        running = builder.gap_since
        rows = builder.step(entries.ticks_of(entry.payload))
        if len(rows) and (rows["provenance"] == Provenance.GAP).any():
            for start in gaps_begun(rows, running):
                self._alerts.tell(gap_alert(start))
        return rows

    def _repair(self, entry: Entry) -> CandleRows:
        """What a repair comes to, given everything published under the ids before its own."""
        rows = entries.decode(entry.payload, CANDLE)
        out = self._parts[entry.partition].builder.repair(rows, self._known(entry, rows))
        self._log.info("repaired", partition=entry.partition, entry=entry.id, proposed=len(rows), changed=len(out))
        return out

    def _known(self, entry: Entry, rows: CandleRows) -> CandleRows:
        """The candles of a repair's instruments and sessions that the bus holds under the ids before its own."""
        after, held = self._recalled.setdefault(entry.partition, (START, []))
        while found := self._bus.range("candles", entry.partition, after + 1, entry.id - 1, KNOWN_ENTRIES):
            held += [entries.decode(one.payload, CANDLE) for one in found]
            after = found[-1].id
        self._recalled[entry.partition] = after, held
        of = np.unique(rows["session"]), np.unique(rows["instrument"])
        mine = [c[np.isin(c["session"], of[0]) & np.isin(c["instrument"], of[1])] for c in held]
        return np.concatenate([NO_CANDLES, *mine])

    def _publish(self, closed: list[tuple[Entry, CandleRows]]) -> None:
        """Write what each entry closed or corrected, if anything, under its id."""
        closed = [(entry, rows) for entry, rows in closed if len(rows)]
        new = self._bus.write_all("candles", [(e.partition, e.id, entries.encode(rows)) for e, rows in closed])
        for (entry, rows), written in zip(closed, new, strict=True):
            self._parts[entry.partition].candles += len(rows)
            self._refolded += 0 if written else len(rows)

    def _time(self, closed: list[tuple[Entry, CandleRows]]) -> None:
        """From the mark that closed a minute, as the feed made it, to its candles on the bus."""
        now = time.time_ns()
        for entry, _ in closed:
            ticks = entries.ticks_of(entry.payload)
            made = int(ticks["received"][ticks["kind"] == Kind.MARK][-1])
            self._closing.append((now - made) / 1e6)

    def _save(self) -> None:
        for part in self._parts.values():
            if part.cursor != part.saved:
                self._bus.save(READER, part.number, part.cursor, part.builder.snapshot())
                part.saved = part.cursor

    def _show(self) -> None:
        """The read model's current candles, at a human rate."""
        rows = np.concatenate([p.builder.open_candles() for p in self._parts.values()])
        self._open.set(len(rows), tags=self._tags)
        totals = {name: sum(p.builder.counts[name] for p in self._parts.values()) for name in self._names}
        self._counts.set(**totals, closed=sum(p.candles for p in self._parts.values()), refolded=self._refolded)
        try:
            self._model.current_candles([self._universe[int(i)].symbol for i in rows["instrument"]], rows)
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)
