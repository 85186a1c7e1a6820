"""Backfill: years of candles from a vendor's history into the lake.

Spans of sessions are asked for one after the other, in each all symbols. What was answered is kept in the lake's table
`asked` once its candles are committed: a backfill that was ended is run again and goes on from there. What the lake
holds already is not asked for, and is never replaced unless it is a GAP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from adapters.budget import Budget, Turns
from adapters.history import History
from adapters.imports import WRITER, Intake, Part, Tally, refused_of
from adapters.lake import Lake
from adapters.schemas import ASKED, INSTANT
from market.backfill import Missing, Span, days_of, missing, spans, taken, whole
from market.candles import Candles, Provenance
from market.codecs import Account
from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LeaseLost, LineDown
from market.imports import judged
from market.instruments import Instrument, Universe
from market.records import Record
from market.sessions import Session, Sessions
from pipelines.repair import PATIENCE, VENDORS, Failure

COMMIT_ROWS = 200_000
COMMIT_REQUESTS = 64
"""So many candles, or answers, are committed together: a kill loses no more, and files stay few."""

Progress = Callable[[float, str], None]
Held = dict[str, dict[date, int]]


class BackfillPlan(Record):
    """What a backfill is told. `sessions`: those wanted; `cache`: where the budget is shared, None: by nobody; `now`:
    market time, ns UTC; `root`: where the vendor answers; `again`: also ask for what was answered before.
    """

    lake: str
    cache: str | None
    instruments: tuple[Instrument, ...]
    sessions: tuple[Session, ...]
    symbols: tuple[str, ...]
    interval: str
    now: int
    vendor: str
    root: str | None = None
    account: Account = Account()
    again: bool = False


class Report(Record):
    """What a backfill did, and what is not there after it."""

    requests: int
    throttled: int
    skipped: int
    tally: Tally
    missing: tuple[Missing, ...]
    failures: tuple[Failure, ...]


def run(plan: BackfillPlan, progress: Progress) -> Report:
    """Ask for everything that is not there. Raises BadValue (no such interval at this vendor), AuthRequired, LeaseLost
    (an import runs), LineDown, StoreRefused; what was committed by then stays, and is not asked for again.
    """
    codec = VENDORS[plan.vendor](plan.interval)
    budget = Budget(plan.cache, f"{codec.name}:history", codec.rate) if plan.cache else Turns(codec.rate)
    work = Work(plan, History(codec, plan.account, budget, plan.root))
    pieces = spans(plan.sessions, codec.longest, plan.now)
    whole_work, done = len(pieces) * len(plan.symbols) or 1, 0
    for span in pieces:
        work.begin(span)
        for symbol in plan.symbols:
            progress(done / whole_work, f"{symbol} {span.first} to {span.last}")
            work.ask(symbol, span)
            done += 1
        work.end(span)
    progress(1.0, "done")
    return work.report([s.date for span in pieces for s in span.sessions])


class Work:
    """The backfill under way. `held`: how many candles there are, by symbol and session."""

    def __init__(self, plan: BackfillPlan, history: History) -> None:
        self._plan, self._history = plan, history
        self._lake = Lake(plan.lake)
        self._intake = Intake(self._lake, plan.now)
        self._universe = Universe(plan.instruments)
        self._tables = {i.exchange: Sessions(plan.sessions).table() for i in plan.instruments}
        self._asked = set() if plan.again else asked(self._lake, plan.vendor, plan.interval)
        self._answered: list[tuple[str, date, date, int]] = []
        self._failed: dict[str, dict[date, str]] = defaultdict(dict)
        self._unknown: dict[str, str] = {}
        self.held: Held = {symbol: {} for symbol in plan.symbols}
        self.failures: list[Failure] = []
        self.skipped = self._away = self._commits = 0

    def begin(self, span: Span) -> None:
        """Look at what the lake holds of a span."""
        for symbol, days in held(self._lake, self._plan.symbols, self._plan.interval, span).items():
            self.held[symbol] |= days

    def ask(self, symbol: str, span: Span) -> None:
        """Ask for one span of a symbol, unless it is there or was answered before. Raises AuthRequired."""
        known = (symbol, span.first, span.last) in self._asked
        if known or whole(span, self._plan.interval, self.held[symbol]):
            self.skipped += 1
            return
        if symbol in self._unknown or self._away >= PATIENCE:
            reason = self._unknown.get(symbol, f"not asked for: {self._plan.vendor} is away")
            self._failed[symbol] |= dict.fromkeys((s.date for s in span.sessions), reason)
            return
        instrument = self._universe.find(symbol)
        try:
            candles = self._history.candles(instrument, *span.edges(self._plan.interval))
            self._away = 0
        except (AuthRequired, LeaseLost):
            self.flush()
            raise
        except BourseError as e:
            rest = self._failure(symbol, span, e)
            if rest is None:
                return
            candles = rest
        self._take(instrument, span, candles)
        if self._intake.pending >= COMMIT_ROWS or len(self._answered) >= COMMIT_REQUESTS:
            self.flush()

    def flush(self) -> None:
        """Commit the candles, then that they were asked for."""
        self._intake.flush()
        answered, self._answered = self._answered, []
        if answered:
            turn = self._lake.cursors("asked", [WRITER])[WRITER]
            self._lake.append("asked", _asked_table(self._plan, answered), {WRITER: turn + 1})

    def end(self, span: Span) -> None:
        """Commit what is left, and join the files of sessions that came in several commits."""
        self.flush()
        commits, self._commits = self._intake.tally.commits - self._commits, self._intake.tally.commits
        for session in span.sessions if commits > 1 else ():
            with suppress(LineDown):  # another writer was quicker: the lake's upkeep does it later
                self._lake.compact("candles", session.date)

    def report(self, days: Sequence[date]) -> Report:
        """What was done, and what is missing of these sessions."""
        lacking = [
            one
            for symbol in self._plan.symbols
            for one in missing(symbol, days, self.held[symbol].keys(), self._failed[symbol], self._plan.vendor)
        ]
        return Report(
            requests=self._history.asked,
            throttled=self._history.throttled,
            skipped=self.skipped,
            tally=self._intake.tally,
            missing=tuple(lacking),
            failures=tuple(self.failures),
        )

    def _take(self, instrument: Instrument, span: Span, candles: Candles) -> None:
        rows = taken(candles, instrument, self._plan.interval)
        table = {instrument.exchange: self._tables[instrument.exchange]}
        found = judged(rows, np.zeros(len(rows), np.int8), [instrument.symbol], table, self._plan.now)
        said = f"{self._plan.vendor}:{self._plan.interval}:{instrument.symbol}:{span.first}:{span.last}"
        name = f"backfill:{blake2b(said.encode(), digest_size=12).hexdigest()}"
        file = f"{self._plan.vendor} {self._plan.interval} {instrument.symbol} {span.first} to {span.last}"
        refused, repeated = refused_of(found, [instrument.symbol]), int(found.repeated.sum())
        part = Part(name, file, len(rows), repeated, (instrument.symbol,), found.good, refused, lasting=False)
        self._intake.take(part)
        for day, count in days_of(found.good).items():
            self.held[instrument.symbol][day] = max(count, self.held[instrument.symbol].get(day, 0))
        if instrument.symbol not in self._failed or span.first not in self._failed[instrument.symbol]:
            self._answered.append((instrument.symbol, span.first, span.last, len(found.good)))

    def _failure(self, symbol: str, span: Span, error: BourseError) -> Candles | None:
        """Note it; what could be read all the same."""
        self._away += isinstance(error, LineDown)
        reason = error.reason if isinstance(error, BadPayload) else str(error)
        self.failures.append(Failure(symbol=symbol, reason=reason))
        self._failed[symbol] |= dict.fromkeys((s.date for s in span.sessions), reason)
        if isinstance(error, BadValue):
            self._unknown[symbol] = reason
        return error.rest if isinstance(error, BadPayload) else None


def asked(lake: Lake, vendor: str, interval: str) -> set[tuple[str, date, date]]:
    """Symbol, first and last day of what this vendor has answered."""
    wanted = (ds.field("vendor") == vendor) & (ds.field("interval") == interval)
    rows = lake.dataset("asked").to_table(columns=["symbol", "first", "last"], filter=wanted)
    return set(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))


def held(lake: Lake, symbols: Sequence[str], interval: str, span: Span) -> Held:
    """How many candles, GAPs left out, the lake has of each symbol and session of a span."""
    found: Held = {symbol: {} for symbol in symbols}
    dataset = lake.dataset("candles")
    wanted = (ds.field("interval") == interval) & ds.field("symbol").isin(pa.array(list(symbols), pa.string()))
    wanted &= ~ds.field("provenance").isin([Provenance.GAP.name, Provenance.OFFICIAL.name])
    days = [(s.date, s.date) for s in span.sessions] if interval == "1m" else [(span.first, span.last)]
    for first, last in days:
        on = (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))
        rows = dataset.to_table(columns=["symbol", "session", "start"], filter=wanted & on)
        counted = rows.group_by(["symbol", "session"]).aggregate([("start", "count_distinct")])
        names = (counted[name].to_pylist() for name in ("symbol", "session", "start_count_distinct"))
        for symbol, day, count in zip(*names, strict=True):
            found[symbol][day] = count
    return found


def _asked_table(plan: BackfillPlan, answered: Sequence[tuple[str, date, date, int]]) -> pa.Table:
    symbols, firsts, lasts, counts = zip(*answered, strict=True)
    columns = {
        "vendor": pa.array([plan.vendor] * len(answered), pa.string()),
        "symbol": pa.array(symbols, pa.string()),
        "interval": pa.array([plan.interval] * len(answered), pa.string()),
        "first": pa.array(firsts, pa.date32()),
        "last": pa.array(lasts, pa.date32()),
        "candles": pa.array(counts, pa.int64()),
        "at": pa.array([plan.now // 1000] * len(answered), pa.int64()).cast(INSTANT),
    }
    return pa.table(columns, schema=ASKED)
