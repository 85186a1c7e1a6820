"""Analysis: features of each closed minute, from the candles of all partitions for the instruments of some.

Exactly once: what a minute comes to is written under the id of the candle entry, of the same partition, that closed it,
so whatever is computed again after a restart is refused by the bus as known. It depends on that partition's candles up
to that entry, on what every partition published first of each minute (`market.closings`), and on a basis: a version of
the lake, chosen when a session's first minute is due and kept before anything follows from it. So at each session's
open, after every loss and after a kill -9 the windows are made in one way: the lake's candles as of the basis, then the
bus's behind it. A basis of a log that went back, or that the lake has forgotten, is replaced by a new one.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog

from actors.history import Basis, History
from actors.measures import Counts, milliseconds, resident_bytes
from actors.plans import AnalysisPlan, ids
from adapters import entries, logs
from adapters.bus import SEQUENCE_BITS, START, Bus, Entry, EntryId, Lease
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from market.candles import CANDLE
from market.closings import Closings, Step
from market.errors import LeaseLost, LineDown, LogWentBack
from market.features import NO_FEATURES, FeatureRows, Window
from market.instruments import Universe
from market.sessions import MINUTE, Sessions, day_number

READER = "analysis"
TOPIC = "analysis"
READ_ENTRIES = 64
BLOCK_SECONDS = 0.2
MOST_OUTPUTS = 16
SHOWN_SECONDS = 1.0
COUNTS = ("rows", "minutes", "corrections", "again", "unknown", "late", "given_up")

Output = tuple[EntryId, FeatureRows]
"""The entry it follows from, and the rows it came to."""


class Partition:
    """One partition's windows, what they start from, and what of its candles is not done yet."""

    def __init__(self, number: int, basis: Basis, done: EntryId) -> None:
        self.number, self.basis, self.done = number, basis, done
        self.window: Window | None = None
        self.closings: Closings
        self.steps: list[Step] = []
        """What of the entry under way is done, and in `made` what it came to."""
        self.made: list[FeatureRows] = []
        self.market_time = 0
        self.counts = dict.fromkeys(COUNTS, 0)

    def health(self) -> dict[str, Any]:
        """How far it is, what it waits for, and how many rows met which rule."""
        counts = {**self.counts, "late": self.closings.late, "given_up": len(self.closings.given_up)}
        waits = {"waiting": self.closings.waiting, "waits_for": self.closings.waits_for}
        basis = {"lake_version": self.basis.version}
        return {"cursor": self.done, "market_time": self.market_time, **counts, **waits, **basis}


class Analysis:
    """Reads, computes, writes; decides nothing itself."""

    def __init__(self, plan: AnalysisPlan) -> None:
        name = "-".join(map(str, plan.mine))
        logs.configure(f"analysis/{name}", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._model = ReadModel(plan.cache)
        self._universe = Universe(plan.instruments)
        self._symbols = [i.symbol for i in plan.instruments]
        self._members = {p: ids(self._universe.partition(p, plan.partitions)) for p in range(plan.partitions)}
        self._sessions = Sessions(plan.sessions)
        self._history = History(plan, self._bus)
        self._parts: dict[int, Partition] = {}
        self._leases: dict[int, Lease] = {}
        self._cursors: dict[int, EntryId] = {}
        self._live_after: EntryId = START
        self._anew = False
        self._stopped = False
        self._trouble = ""
        self._renewed = self._counted = 0.0
        self._shown = np.zeros(len(plan.instruments), np.int64)
        self._tags = {"partitions": name}
        self._counts = Counts("bourse_analysis", COUNTS, self._tags)
        self._step_ms = milliseconds("bourse_analysis_step_ms", "one minute's features of one partition", "partitions")
        self._close_ms = milliseconds(
            "bourse_analysis_closing_ms", "the closing mark on the bus to its features on the bus", "partitions"
        )
        self._closing: deque[float] = deque(maxlen=4096)
        self._working: deque[float] = deque(maxlen=4096)

    def run(self) -> None:
        """Read, compute, write, until told to stop. Raises LeaseLost when another owner took over."""
        pauses = Backoff()
        while not self._stopped:
            try:
                self._own()
                pauses.reset()
                while not self._stopped:
                    self._turn()
            except LogWentBack as e:
                self._trouble, self._anew = str(e), True
                self._log.error("log_went_back", stream=e.stream, cursor=e.cursor, last=e.last)
                time.sleep(pauses.pause())
            except LineDown as e:
                self._trouble = e.reason
                self._log.warning("store_down", line=e.line, reason=e.reason)
                time.sleep(pauses.pause())
        for lease in self._leases.values():
            lease.release()

    def stop(self) -> None:
        """End `run` after the read under way."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor; `closing_ms`: from the mark that closed a minute on the bus to its features
        on the bus; `features_ms`: the part of it from its candles in our hands.
        """
        parts = [p for p in list(self._parts.values()) if p.window is not None]
        return {
            "part": "analysis",
            "name": "-".join(map(str, self._plan.mine)),
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "closing_ms": _percentiles(self._closing),
            "features_ms": _percentiles(self._working),
            "market_time": min((p.market_time for p in parts), default=0),
            "partitions": {str(p.number): p.health() for p in list(self._parts.values())},
        }

    def _own(self) -> None:
        """Take the partitions over from whoever had them: lease, basis, windows."""
        self._parts.clear()
        for number in self._plan.mine:
            self._take_lease(number)
        for number in self._plan.mine if not self._stopped else ():
            self._parts[number] = self._begin(number)
            self._log.info("partition_owned", partition=number, **self._parts[number].health())
        self._anew = False
        starts = [p.basis.cursors for p in self._parts.values()]
        self._cursors = {q: min(cursors[q] for cursors in starts) for q in self._members} if starts else {}
        self._live_after = max((self._bus.last("candles", q) for q in self._members), default=START)
        self._trouble = ""

    def _take_lease(self, number: int) -> None:
        """Wait while another owner holds it; one that died holds it until it runs out."""
        while number not in self._leases and not self._stopped:
            try:
                self._leases[number] = self._bus.lease(f"{READER}:{{{number}}}", self._plan.lease_seconds)
            except LeaseLost:
                self._trouble = f"partition {number} is held by another owner"
                time.sleep(self._plan.lease_seconds / 20)

    def _begin(self, number: int) -> Partition:
        kept = None if self._anew else self._bus.load(READER, number)
        if kept is None:
            basis = self._history.newest()
        else:
            basis = Basis.model_validate_json(kept[1])
        for q, cursor in enumerate(basis.cursors):
            self._bus.check("candles", q, cursor)
        done = max(self._bus.last(TOPIC, number), basis.cursors[number])
        part = Partition(number, basis, done)
        part.closings = self._closings(number, basis, 0)
        if kept is None:
            self._keep(part, given_up={})
        if basis.session >= 0:
            self._load(part, done)
        self._renew()
        return part

    def _closings(self, number: int, basis: Basis, after: int) -> Closings:
        others = [q for q, members in self._members.items() if members]
        return Closings(number, others, self._plan.patience, given_up=basis.given_up, after=after)

    def _load(self, part: Partition, upto: EntryId) -> None:
        """Make the windows as they are when everything up to an entry is done."""
        began = time.monotonic()
        read = self._history.read(part.basis, part.number, upto)
        part.window = self._window(part, read)
        part.closings = self._closings(part.number, part.basis, read.after)
        for q, rows in read.pending.items():
            rows["revision"] = 0
            part.closings.add(q, START, rows)
        part.market_time = read.after + MINUTE if read.after else 0
        took = round(time.monotonic() - began, 3)
        self._log.info("window_warm", partition=part.number, candles=len(read.own), market=len(read.market), took=took)

    def _turn(self) -> None:
        """One read over all partitions, and what is due by the clock."""
        began = time.monotonic()
        read = self._bus.read("candles", self._cursors, count=READ_ENTRIES, block=BLOCK_SECONDS)
        came = time.time()
        for entry in read:
            rows = entries.decode(entry.payload, CANDLE)
            for part in self._parts.values():
                if entry.id > (part.done if entry.partition == part.number else part.basis.cursors[entry.partition]):
                    part.closings.add(entry.partition, entry.id, rows)
            self._cursors[entry.partition] = entry.id
        for part in self._parts.values():
            while outputs := self._work(part):
                self._publish(part, outputs, came)
        if began - self._renewed > self._plan.lease_seconds / 3:
            self._renew()
        if began - self._counted > SHOWN_SECONDS:
            parts = [p.health() for p in self._parts.values()]
            self._counts.set(**{name: sum(p[name] for p in parts) for name in COUNTS})
            self._counted = began

    def _work(self, part: Partition) -> list[Output]:
        """What is due of a partition, a bounded part of it at once."""
        outputs: list[Output] = []
        while len(outputs) < MOST_OUTPUTS and (step := part.closings.next()) is not None:
            session = int(step.rows["session"].max(initial=-1)) if step.start else -1
            if session > part.basis.session:
                self._open_session(part, step, session)
            if step.missing and part.basis.given_up != part.closings.given_up:
                self._keep(part, given_up=part.closings.given_up)
                self._log.error("minute_not_waited_for", partition=part.number, start=step.start, without=step.missing)
            began = time.monotonic()
            part.made.append(self._features(part, step))
            part.steps.append(step)
            self._step_ms.observe((time.monotonic() - began) * 1000, tags=self._tags)
            part.market_time = max(part.market_time, step.start + MINUTE)
            part.counts["minutes" if step.start else "corrections"] += 1
            if step.ends:
                outputs.append((step.entry, np.concatenate(part.made)))
                part.made, part.steps = [], []
        return outputs

    def _open_session(self, part: Partition, step: Step, session: int) -> None:
        """Choose the basis of a session, keep it, and make the windows from it."""
        part.basis = self._history.within(part.number, step.entry, session)
        part.closings.forget(step.start)
        self._keep(part, given_up=part.closings.given_up)
        closings = part.closings
        self._load(part, step.entry - 1)
        part.closings = closings
        for done in part.steps:  # of the session before, in the same entry
            self._features(part, done)
        self._renew()

    def _features(self, part: Partition, step: Step) -> FeatureRows:
        assert part.window is not None
        return part.window.step(step.rows) if step.start else part.window.correct(step.rows)

    def _keep(self, part: Partition, given_up: dict[int, tuple[int, ...]]) -> None:
        """Before anything follows from it. The cursor stands where a successor must be able to read the bus."""
        part.basis = part.basis.model_copy(update={"given_up": dict(given_up)})
        state = part.basis.model_dump_json().encode()
        if not self._bus.save(READER, part.number, part.basis.cursors[part.number], state):
            self._log.warning("basis_not_kept", partition=part.number, reason="a newer one is kept")

    def _publish(self, part: Partition, outputs: list[Output], came: float) -> None:
        """Write what each entry came to, if anything, under its id."""
        told = [(entry, rows) for entry, rows in outputs if len(rows)]
        new = self._bus.write_all(TOPIC, [(part.number, entry, entries.encode(rows)) for entry, rows in told])
        now = time.time()
        for (entry, rows), written in zip(told, new, strict=True):
            part.counts["rows" if written else "again"] += len(rows)
            part.counts["unknown"] += int(np.count_nonzero(rows["unknown"])) if written else 0
            if entry > self._live_after:
                self._closing.append((now - (entry >> SEQUENCE_BITS) / 1000) * 1000)
                self._working.append((now - came) * 1000)
                self._close_ms.observe(self._closing[-1], tags=self._tags)
        part.done = outputs[-1][0]
        if told:
            self._show(np.concatenate([rows for _, rows in told]))

    def _show(self, rows: FeatureRows) -> None:
        """The read model's latest rows; one of an older minute than is shown there stays out."""
        order = np.lexsort((rows["revision"], rows["start"], rows["instrument"]))
        rows = rows[order[np.append(np.diff(rows["instrument"][order]) != 0, True)]]
        rows = rows[rows["start"] >= self._shown[rows["instrument"]]]
        self._shown[rows["instrument"]] = rows["start"]
        try:
            self._model.features([self._symbols[int(i)] for i in rows["instrument"]], rows)
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)

    def _renew(self) -> None:
        for lease in self._leases.values():
            lease.renew()
        self._renewed = time.monotonic()


def _percentiles(values: deque[float]) -> dict[str, float]:
    p50, p99 = np.percentile(list(values) or [0.0], (50, 99)).round(2).tolist()
    return {"count": len(values), "p50": p50, "p99": p99}
