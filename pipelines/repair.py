"""Repair: asks a vendor's history for the minutes that are not whole and puts its candles into the log as corrections.

`run` surveys the lake, asks, and appends entries of candles to the ticks topic; the Candles actors publish from there.
It may be ended at any point and run again: what was appended is whole by then and is not asked for again, and what the
vendor lacks is kept in the lake. One repair runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np

from adapters.alerts import Alerts
from adapters.budget import Budget
from adapters.bus import Bus
from adapters.history import History
from adapters.lake import Lake
from adapters.proposals import propose
from adapters.schemas import candle_rows, lacking_table
from adapters.surveys import survey
from market.alerts import still_open
from market.candles import Candles
from market.codecs import Account
from market.coverage import Survey, gap_alert, under_way
from market.errors import AuthRequired, BadPayload, BourseError, LeaseLost, LineDown
from market.instruments import Instrument, Universe
from market.records import Record
from market.repair import HistoryCodec, Request, mended, proposals, requests, wanted
from market.sessions import IST, Session, Sessions, instant
from market.vendors.finnhub_rest import FinnhubHistory
from market.vendors.flattrade_rest import FlatTradeHistory
from market.vendors.kite_rest import KiteHistory
from market.vendors.mstock_rest import MStockHistory
from market.vendors.polygon_rest import PolygonHistory

VENDORS: dict[str, type[HistoryCodec]] = {
    "kite": KiteHistory, "flattrade": FlatTradeHistory, "mstock": MStockHistory,
    "polygon": PolygonHistory, "finnhub": FinnhubHistory,
}  # fmt: skip
WRITER = "repair"
LEASE_SECONDS = 60.0
BATCH = 32
"""Instruments whose corrections go to the bus together."""

PATIENCE = 3
"""Requests in a row that came to nothing; then the vendor is away and the rest is left for another time."""

Say = Callable[[str], None]


class RepairPlan(Record):
    """What a repair is told. `symbols`: those to repair; `now`: market time, ns UTC; `root`: where the vendor answers.

    `again`: also ask for minutes the vendor did not have before.
    """

    bus: str
    cache: str
    lake: str
    partitions: int
    instruments: tuple[Instrument, ...]
    sessions: tuple[Session, ...]
    first: date
    last: date
    symbols: tuple[str, ...]
    now: int
    vendor: str = "kite"
    root: str | None = None
    account: Account = Account()
    again: bool = False


class Failure(Record):
    """An instrument that was not, or not wholly, asked for."""

    symbol: str
    reason: str


class Report(Record):
    """What a repair did: minutes `found` not whole, `proposed` and `lacking` at the vendor, requests made."""

    found: int = 0
    requests: int = 0
    throttled: int = 0
    proposed: int = 0
    lacking: int = 0
    failures: tuple[Failure, ...] = ()


def run(plan: RepairPlan, say: Say) -> Report:
    """Repair what can be repaired. Raises LineDown (a store is away), LeaseLost (a repair runs), AuthRequired."""
    bus = Bus(plan.bus)
    lease = bus.lease(WRITER, LEASE_SECONDS)
    try:
        codec = VENDORS[plan.vendor]()
        history = History(codec, plan.account, Budget(plan.cache, f"{codec.name}:history", codec.rate), plan.root)
        found = survey(Lake(plan.lake), plan.symbols, Sessions(plan.sessions), (plan.first, plan.last), plan.now)
        minutes = wanted(found.shortfalls, plan.now, again=plan.again)
        work = Work(plan, bus, {symbol: set(starts) for symbol, starts in minutes.items()})
        for number, request in enumerate(asked := requests(minutes, codec.longest)):
            if work.away >= PATIENCE:
                break
            lease.renew()
            say(f"{number + 1} of {len(asked)}: {request.symbol}, {len(request.starts)} minutes")
            work.repair(request, history)
        work.flush()
        if set(plan.symbols) == {i.symbol for i in plan.instruments}:
            _end_alerts(Alerts(bus), found, work.left, plan)
        counts = {"found": sum(map(len, minutes.values())), "requests": history.asked, "throttled": history.throttled}
        return Report(**counts, proposed=work.proposed, lacking=work.lacking, failures=tuple(work.failures))
    finally:
        lease.release()


class Work:
    """The repair under way. `left`: minutes not yet dealt with, by symbol."""

    def __init__(self, plan: RepairPlan, bus: Bus, left: dict[str, set[int]]) -> None:
        self._plan, self._bus, self.left = plan, bus, left
        self._lake = Lake(plan.lake)
        self._universe = Universe(plan.instruments)
        self._batch: dict[str, list[Candles]] = {}
        self._short: list[tuple[str, int, date]] = []
        self.proposed = self.lacking = self.away = 0
        self.failures: list[Failure] = []

    def repair(self, request: Request, history: History) -> None:
        """Ask for one span; its corrections go out with their batch. Raises AuthRequired."""
        instrument = self._universe.find(request.symbol)
        try:
            candles = history.candles(instrument, request.first, request.last)
            self.away = 0
        except BadPayload as e:
            self.failures.append(Failure(symbol=request.symbol, reason=e.reason))
            candles = e.rest
            if candles is None:
                return
        except (AuthRequired, LeaseLost):
            self.flush()
            raise
        except BourseError as e:
            self.away += isinstance(e, LineDown)
            self.failures.append(Failure(symbol=request.symbol, reason=str(e)))
            return
        rows, lacking = proposals(candles, instrument, request.starts)
        self._batch.setdefault(request.symbol, []).append(rows)
        self._short += [(request.symbol, s, _day(s)) for s in lacking]
        self.left[request.symbol] -= set(request.starts)
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Append the batch's corrections, a session and a partition at a time, then keep what the vendor lacks."""
        rows = np.concatenate([r for of in self._batch.values() for r in of]) if self._batch else None
        if rows is not None and len(rows):
            for number in np.unique(rows["session"]).tolist():
                self._append(rows[rows["session"] == number])
            self.proposed += len(rows)
        if self._short:
            self._keep(self._short)
            self.lacking += len(self._short)
        self._batch, self._short = {}, []

    def _append(self, rows: Candles) -> None:
        day = _day(int(rows["start"][0]))
        instruments = [self._universe[i] for i in np.unique(rows["instrument"]).tolist()]
        ids = {i.symbol: i.id for i in instruments}
        seen = candle_rows(self._lake.read_candles(list(ids), None, day, day), ids)
        propose(self._bus, WRITER, self._plan.partitions, instruments, np.concatenate([seen, rows]))

    def _keep(self, short: Sequence[tuple[str, int, date]]) -> None:
        number = self._lake.cursors("lacking", [WRITER])[WRITER] + 1
        self._lake.append("lacking", lacking_table(short, self._plan.vendor), {WRITER: number})


def _day(start: int) -> date:
    return instant(start).astimezone(IST).date()


def _end_alerts(alerts: Alerts, found: Survey, left: dict[str, set[int]], plan: RepairPlan) -> None:
    for alert in still_open(alerts.recent()):
        session = next((s for s in found.sessions if s.open <= alert.at < s.close), None)
        if alert.kind != "gap" or session is None or under_way(found.shortfalls, session, plan.now):
            continue
        if mended(alert.at, left):
            alerts.tell(gap_alert(alert.at, "its minutes are repaired, or no vendor has them", over=True))
