"""Archive: carries ticks, candles, features and predictions from the bus into the lake, each row once.

The cursor lives in the lake itself: every commit names, as a Delta application transaction, the last entry it holds
of each partition, and a commit that would not move it forward is refused. So a restart asks the lake where to go on,
and nothing else.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import structlog

from actors.measures import gauge, milliseconds, resident_bytes
from actors.plans import ArchivePlan
from adapters import allocation, entries, logs
from adapters.bus import Bus, Entry, EntryId
from adapters.lines import Backoff
from market.candles import CANDLE
from market.errors import BadPayload, LineDown, LogWentBack
from market.scores import SCORE
from market.sessions import Sessions, ahead
from market.signals import SIGNAL
from market.ticks import Kind

READ_ENTRIES = 256
BLOCK_SECONDS = 0.2
COMMIT_ROWS = 1_000_000


TABLES = {"ticks": "ticks", "candles": "candles", "analysis": "features", "scores": "predictions", "signals": "signals"}
"""The lake's name for what a topic carries."""


class Shelf:
    """One table on its way to the lake: what has been read and not committed."""

    def __init__(self, topic: str, bus: str) -> None:
        self.topic, self.table, self.bus = topic, TABLES[topic], bus
        self.reader = f"archive-{topic}"
        self.cursors: dict[int, EntryId] = {}
        self.rows: list[np.ndarray] = []
        self.committed: dict[int, EntryId] = {}
        self.commits = self.total = self.unreadable = 0

    def health(self) -> dict[str, Any]:
        """Rows and commits of this process, what waits, entries nobody could read, and how far the lake goes."""
        committed = {str(p): c for p, c in self.committed.items()}
        waiting = sum(map(len, self.rows))
        counts = {"rows": self.total, "commits": self.commits, "waiting": waiting, "unreadable": self.unreadable}
        return {**counts, "committed": committed}

    def app(self, partition: int) -> str:
        """The Delta application id of one partition's entries."""
        return f"{self.bus}:{self.topic}:{partition}"


class Archive:
    """Reads, gathers, commits; decides nothing itself."""

    def __init__(self, plan: ArchivePlan) -> None:
        allocation.lean()
        from adapters.lake import Lake  # here: whoever only starts this actor must not load Arrow

        logs.configure("archive", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._lake = Lake(plan.lake)
        self._symbols = [i.symbol for i in plan.instruments]
        self._ahead = ahead(Sessions(plan.sessions).table())
        self._shelves: list[Shelf] = []
        self._stopped = False
        self._trouble = ""
        self._commit_ms = milliseconds("bourse_archive_commit_ms", "one commit to the lake", "table")
        self._committed = gauge("bourse_archive_rows", "rows committed by this process", "table")

    def run(self) -> None:
        """Read and commit until told to stop; what was read is committed before it ends."""
        pauses = Backoff()
        while not self._stopped:
            try:
                identity = self._bus.identity()  # another bus over the same lake has other cursors
                self._shelves = [Shelf(topic, identity) for topic in self._plan.tables]
                for shelf in self._shelves:
                    self._own(shelf)
                pauses.reset()
                self._trouble = ""
                self._work()
            except LineDown as e:
                self._trouble = e.reason
                self._log.warning("store_down", reason=e.reason)
                time.sleep(pauses.pause())

    def stop(self) -> None:
        """End `run` after a last commit."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor; `committed` are packed entry ids by table and partition."""
        return {
            "part": "archive",
            "name": "archive",
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "tables": {s.topic: s.health() for s in self._shelves},
        }

    def _own(self, shelf: Shelf) -> None:
        """Start from what the lake says it holds."""
        shelf.rows.clear()
        apps = {shelf.app(p): p for p in range(self._plan.partitions)}
        kept = self._lake.cursors(shelf.table, list(apps))
        shelf.cursors = {p: kept[a] for a, p in apps.items()}
        try:
            for p, cursor in shelf.cursors.items():
                self._bus.check(shelf.topic, p, cursor)
        except LogWentBack as e:
            self._log.error("log_went_back", stream=e.stream, cursor=e.cursor, last=e.last)
            last = {shelf.app(p): self._bus.last(shelf.topic, p) for p in shelf.cursors}
            kept = self._lake.rewind(shelf.table, last)
            shelf.cursors = {p: kept[a] for a, p in apps.items()}
        shelf.committed = dict(shelf.cursors)
        for p, cursor in shelf.committed.items():
            self._bus.save(shelf.reader, p, cursor, b"")
        self._log.info("table_owned", table=shelf.topic, cursors=shelf.cursors)

    def _work(self) -> None:
        due = time.monotonic() + self._plan.commit_seconds
        while not self._stopped:
            block = BLOCK_SECONDS / len(self._shelves)
            for shelf in self._shelves:
                self._read(shelf, block)
            full = any(sum(map(len, s.rows)) > COMMIT_ROWS for s in self._shelves)
            if full or time.monotonic() > due:
                self._commit_all()
                due = time.monotonic() + self._plan.commit_seconds
        self._commit_all()

    def _read(self, shelf: Shelf, block: float) -> None:
        read = self._bus.read(shelf.topic, shelf.cursors, count=READ_ENTRIES, block=block)
        safe = self._bus.head() if read else 0
        for entry in read:
            if entry.id > safe:
                continue
            rows = self._rows(shelf, entry)
            if len(rows):
                shelf.rows.append(rows)
            shelf.cursors[entry.partition] = entry.id

    def _rows(self, shelf: Shelf, entry: Entry) -> np.ndarray:
        if shelf.topic == "ticks":
            rows = entries.ticks_of(entry.payload)
            return rows[rows["kind"] == Kind.TICK]
        if shelf.topic == "candles":
            return entries.decode(entry.payload, CANDLE)
        if shelf.topic == "signals":
            return entries.decode(entry.payload, SIGNAL)
        if shelf.topic == "scores":
            return entries.decode(entry.payload, SCORE)
        from market.features import FEATURE, NO_FEATURES

        try:
            return entries.decode(entry.payload, FEATURE)
        except BadPayload as e:  # of another set of features, before an upgrade: a run in bulk makes them again
            shelf.unreadable += 1
            self._log.error("entry_unreadable", topic=shelf.topic, entry=entry.id, reason=e.reason)
            return NO_FEATURES

    def _commit_all(self) -> None:
        for shelf in self._shelves:
            if shelf.cursors != shelf.committed:
                self._commit(shelf)

    def _commit(self, shelf: Shelf) -> None:
        moved = {p: c for p, c in shelf.cursors.items() if c > shelf.committed[p]}
        if shelf.rows:
            began = time.monotonic()
            rows = np.concatenate(shelf.rows)
            self._lake.append(shelf.table, self._table(shelf.topic, rows), {shelf.app(p): c for p, c in moved.items()})
            self._commit_ms.observe((time.monotonic() - began) * 1000, tags={"table": shelf.topic})
            shelf.commits += 1
            shelf.total += len(rows)
            self._committed.set(shelf.total, tags={"table": shelf.topic})
            shelf.rows.clear()
            self._log.info(
                "committed", table=shelf.topic, rows=len(rows), ms=round((time.monotonic() - began) * 1000, 1)
            )
        for p, cursor in moved.items():
            self._bus.save(shelf.reader, p, cursor, b"")
        shelf.committed = dict(shelf.cursors)

    def _table(self, topic: str, rows: np.ndarray) -> Any:
        from adapters.schemas import candle_table, feature_table, prediction_table, tick_table

        match topic:
            case "ticks":
                return tick_table(rows, self._symbols, self._plan.feeds, self._ahead)
            case "candles":
                return candle_table(rows, self._symbols)
            case "signals":
                from adapters.signals import signal_table

                return signal_table(rows, self._symbols, self._ahead)
            case "scores":
                return prediction_table(rows, self._symbols)
            case _:
                from market.features import NAMES, SET, Unknown

                return feature_table(rows, self._symbols, SET, NAMES, [reason.name for reason in Unknown])
