"""History: what the windows of an Analysis start from: the lake's candles, as of a version."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from pydantic import Field

from actors.plans import AnalysisPlan
from adapters.actions import known
from adapters.bus import Bus, EntryId
from adapters.lake import Lake
from adapters.past import Past
from market.adjustment import factors
from market.candles import NO_CANDLES, Candles
from market.closings import MINUTES
from market.errors import BadValue, LineDown
from market.features.feature import TIMEFRAMES
from market.features.window import MEMORY
from market.instruments import partition_of
from market.records import Record
from market.sessions import day_number

TABLE = "candles"

SPARE = 1.25
"""Times the sessions that the memories ask for, because some have holes."""

AT_ONCE = 4
"""Sessions of minutes in one read."""

EVERYBODY = 2
"""The newest sessions are read of all instruments: the market's closes and those before them."""

RECENT_DAYS = 14
"""Of all instruments daily candles so many days back: the newest of each counts."""


class Basis(Record):
    """What a partition's windows start from. `version`: of the lake's candles, None where there were none; `cursors`:
    the last entry of each partition that it holds; `session`: days since 1970-01-01, for which it was chosen, -1 before
    the first; `given_up`: the partitions that were not waited for, by minute.
    """

    version: int | None
    cursors: tuple[EntryId, ...]
    session: int = -1
    given_up: dict[int, tuple[int, ...]] = Field(default_factory=dict)


class Recent(NamedTuple):
    """The newest sessions. `minutes`: of all instruments up to `after`, the start of the partition's last minute;
    `pending`: by partition, those of others behind it.
    """

    minutes: Candles
    after: int
    pending: dict[int, Candles]


class History:
    """Reads candles of the lake for one partition at a time. Every method raises LineDown and StoreRefused."""

    def __init__(self, plan: AnalysisPlan, bus: Bus) -> None:
        self._lake, self._bus, self._name = Lake(plan.lake), bus, plan.lake
        self._partitions = range(plan.partitions)
        self._ids = {i.symbol: i.id for i in plan.instruments}
        self._home = np.array([partition_of(i, plan.partitions) for i in plan.instruments], np.int64)
        self._sessions = plan.sessions
        self._usual = max((s.minutes for s in plan.sessions), default=1)

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

    def holds(self, basis: Basis) -> bool:
        """Whether the lake still has this version."""
        try:
            return basis.version is None or bool(self._lake.dataset(TABLE, basis.version))
        except BadValue:
            return False

    def adjustments(self, session: int) -> Iterator[tuple[int, int, float, float]]:
        """Instrument, session from which on prices are not changed, and by what prices and volumes before it are
        multiplied: all corporate actions known by that session's open. A step each, oldest first.
        """
        opens = next((s.open for s in self._sessions if day_number(s.date) == session), None)
        told = known(self._lake)
        for symbol, one in self._ids.items() if opens is not None and len(told) else ():
            of = factors(told, symbol, opens or 0)
            prices, volumes = of.price[:-1] / of.price[1:], of.volume[:-1] / of.volume[1:]
            yield from ((one, *step) for step in zip(of.days.tolist(), prices.tolist(), volumes.tolist(), strict=True))

    def daily(self, basis: Basis, partition: int, until: date) -> Candles:
        """The partition's daily candles as far back as a window remembers, and everybody's of late."""
        if basis.version is None:
            return NO_CANDLES
        days = int(MEMORY["1d"] * SPARE * 365 / 245)
        mine = self._read(basis, self._symbols(partition), "1d", until - timedelta(days=days), until)
        all_of_them = self._read(basis, list(self._ids), "1d", until - timedelta(days=RECENT_DAYS), until)
        return np.concatenate([mine, all_of_them])

    def older(self, basis: Basis, partition: int, until: date) -> Iterator[Candles]:
        """The partition's minutes of earlier sessions than `recent`, some sessions at once, oldest first."""
        rows = max(MEMORY[name] * seconds // 60 for name, seconds in TIMEFRAMES.items() if name != "1d")
        days = self._days(basis, until)[: -EVERYBODY or None]
        days = days[max(len(days) - int(rows * SPARE / self._usual), 0) :]
        for k in range(0, len(days), AT_ONCE):
            chosen = days[k : k + AT_ONCE]
            yield self._read(basis, self._symbols(partition), "1m", chosen[0], chosen[-1])

    def recent(self, basis: Basis, partition: int, until: date) -> Recent:
        """Everybody's minutes of the newest sessions."""
        days = self._days(basis, until)[-EVERYBODY:]
        rows = self._read(basis, list(self._ids), "1m", days[0], days[-1]) if days else NO_CANDLES
        home = self._home[rows["instrument"]]
        after = int(rows["start"][home == partition].max(initial=0))
        over = rows["start"] <= after
        later = {p: _as_published(rows[~over & (home == p)]) for p in self._partitions}
        return Recent(rows[over], after, {p: found for p, found in later.items() if len(found)})

    def _days(self, basis: Basis, until: date) -> list[date]:
        """The sessions of the version, not of the table as it is now: it grows while it is read."""
        if basis.version is None:
            return []
        parts = self._lake.opened(TABLE, basis.version).partitions()
        return sorted(day for part in parts if (day := date.fromisoformat(part["session"])) <= until)

    def _symbols(self, partition: int) -> list[str]:
        return [symbol for symbol, one in self._ids.items() if self._home[one] == partition]

    def _read(self, basis: Basis, symbols: Collection[str], interval: str, first: date, last: date) -> Candles:
        past = Past(self._lake, basis.version, self._ids, known(self._lake).names)
        return (past.days if interval == "1d" else past.minutes)(symbols, first, last)

    def _basis(self, upto: Mapping[str, int], session: int) -> Basis:
        apps = [self._app(p) for p in self._partitions]
        version = self._lake.within(TABLE, upto)
        cursors = dict.fromkeys(apps, 0) if version is None else self._lake.cursors_of(TABLE, version, apps)
        return Basis(version=version, cursors=tuple(cursors[app] for app in apps), session=session)

    def _app(self, partition: int) -> str:
        return f"{self._bus.identity()}:{TABLE}:{partition}"


def _as_published(rows: Candles) -> Candles:
    """Minutes, each in one piece, as a partition that closes them writes them."""
    rows["revision"] = 0
    return rows[(rows["interval"] == MINUTES)][np.lexsort((rows["instrument"], rows["start"]))]
