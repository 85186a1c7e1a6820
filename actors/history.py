"""History: what an Analysis starts from: the lake's candles as of a version, and the bus's behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from actors.plans import AnalysisPlan, ids
from adapters import entries
from adapters.bus import END, Bus, EntryId
from adapters.lake import Lake, candle_rows
from market.candles import CANDLE, INTERVALS, NO_CANDLES, Candles, Provenance, newest_revisions
from market.errors import LogWentBack
from market.records import Record

TABLE = "candles"
RANGE_ENTRIES = 256


class Basis(Record):
    """What a partition's windows start from. `version`: of the lake's candles, None where there were none; `cursors`:
    the last entry of each partition that it holds; `session`: days since 1970-01-01, for which it was chosen, -1 before
    the first; `given_up`: the partitions that were not waited for, by minute.
    """

    version: int | None
    cursors: tuple[EntryId, ...]
    session: int = -1
    given_up: dict[int, tuple[int, ...]] = {}


class Read(NamedTuple):
    """What a window starts from. `own`: the newest revisions of our partition's candles; `market`: everybody's, as they
    were first published; `pending`: candles of others of minutes that we have not closed; `after`: the start of our
    last minute, 0 where there is none.
    """

    own: Candles
    market: Candles
    pending: dict[int, Candles]
    after: int


class History:
    """Reads the candles behind an entry of a partition. Every method raises LineDown and StoreRefused."""

    def __init__(self, plan: AnalysisPlan, bus: Bus) -> None:
        self._lake, self._bus, self._name = Lake(plan.lake), bus, plan.lake
        self._partitions = range(plan.partitions)
        self._ids = {i.symbol: i.id for i in plan.instruments}
        self._home = np.array([partition_of(i, plan.partitions) for i in plan.instruments], np.int64)

    def newest(self) -> Basis:
        """The lake as it is now."""
        basis = self._basis({}, -1)
        for p, cursor in enumerate(basis.cursors):
            if cursor > self._bus.last(TABLE, p):
                raise LineDown(self._name, "holds candles of a log that is gone, until the archive takes them out")
        return basis

    def within(self, partition: int, entry: EntryId, session: int) -> Basis:
        """The lake as it was before it held this entry of a partition."""
        return self._basis({self._app(partition): entry - 1}, session)

    def read(self, basis: Basis, partition: int, upto: EntryId) -> Read:
        """What is known of the market when all entries of a partition up to `upto` are done. Raises LogWentBack.

        Of the own partition the newest revision counts, of the market what the basis holds or else was first published.
        """
        lake = self._from_lake(basis)
        mine = self._home[lake["instrument"]] == partition
        own = [lake[mine], *(rows for _, rows in self._entries(partition, basis.cursors[partition], upto))]
        own = newest_revisions(np.concatenate(own))
        after = int(own["start"][own["interval"] == MINUTES].max(initial=0))
        over = (lake["start"] <= after) | mine
        later = {p: lake[~over & (self._home[lake["instrument"]] == p)] for p in self._partitions}
        market = [lake[over]]
        for p in self._partitions:
            for _, rows in self._entries(p, basis.cursors[p], END):
                first = rows[(rows["revision"] == 0) & (rows["interval"] == MINUTES) & (rows["start"] <= after)]
                lost = [start for start, without in basis.given_up.items() if p in without]
                market.append(first[~np.isin(first["start"], lost)])
        return Read(own, np.concatenate(market), {p: rows for p, rows in later.items() if len(rows)}, after)

    def _basis(self, upto: Mapping[str, int], session: int) -> Basis:
        apps = [self._app(p) for p in self._partitions]
        version = self._lake.within(TABLE, upto)
        cursors = dict.fromkeys(apps, 0) if version is None else self._lake.cursors_of(TABLE, version, apps)
        return Basis(version=version, cursors=tuple(cursors[app] for app in apps), session=session)

    def _app(self, partition: int) -> str:
        return f"{self._bus.identity()}:{TABLE}:{partition}"

    def _entries(self, partition: int, after: EntryId, upto: EntryId) -> Iterator[tuple[EntryId, Candles]]:
        while found := self._bus.range(TABLE, partition, after + 1, upto, RANGE_ENTRIES):
            for entry in found:
                rows = entries.decode(entry.payload, CANDLE)
                yield entry.id, rows[rows["provenance"] != Provenance.OFFICIAL]
            after = found[-1].id
