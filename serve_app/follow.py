"""Follow: a replica's own view of the bus: the latest quotes and the running sessions' candles, kept by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import ValidationError

from adapters.alerts import RECENT
from adapters.alerts import TOPIC as ALERTS
from adapters.bus import SEQUENCE_BITS, START, Bus, Entry, EntryId
from adapters.entries import Rows, decode, decode_records, ticks_of
from adapters.latest import universe_of, unpack
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from adapters.switches import Switches
from adapters.traces import TracesPlan, traces
from market.access import TIERS, Tier
from market.alerts import OperatorAlert, still_open
from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.doors import Doors
from market.errors import BadPayload, LineDown, LogWentBack
from market.instruments import Instrument
from market.notices import Notice
from market.quotes import QuoteRows, Quotes
from market.records import Record
from market.scores import SCORE, Scores
from market.sessions import Session, Sessions
from market.ticks import TICK, Ticks
from market.windows import CandleWindow
from serve_app.access import AccessPlan

SCORES, SIGNALS = "scores", "signals"
READ_ENTRIES = 256
BLOCK_SECONDS = 0.05
TAIL_MS = 10_000
STARTING = "starting"
"""How far back a new replica reads the ticks; what did not trade in that time it learns from the candles."""


class GatewayPlan(Record):
    """What a gateway replica is told. `feeds`: names by source number; `stale_seconds`: of market time; `notices`: of
    the exchanges' days; `predictor`: whether one runs; `trainings`: the timetable's job by the model it trains;
    `doors`, `tiers`: who may come in, and how much each may ask; `replicas`: how many of us there are;
    `traces`: where some batches are told of; `access`: who may ask: nobody, as it stands; `compress`: frames of the
    stream, where a client offers to unpack them; `pages`: the folder of the IPO desk's pages.
    """

    bus: str
    cache: str
    lake: str
    partitions: int
    instruments: tuple[Instrument, ...]
    sessions: tuple[Session, ...]
    feeds: tuple[str, ...]
    notices: tuple[Notice, ...] = ()
    stale_seconds: float = 60.0
    compress: bool = False
    predictor: bool = False
    trainings: Mapping[str, str] = {}
    pages: str = ""
    doors: Doors = Doors()
    tiers: Mapping[str, Tier] = TIERS
    replicas: int = 1
    traces: TracesPlan | None = None
    access: AccessPlan = AccessPlan()
    log_level: str = "info"


class Follower:
    """Quotes and candles as columns, never older than the bus; `trouble` says why they may be.

    One thread writes them under `lock`; who reads them from another holds it too, or sees half an update.
    """

    def __init__(self, plan: GatewayPlan) -> None:
        sessions = Sessions(plan.sessions)
        self._partitions = range(plan.partitions)
        self._instruments = len(plan.instruments)
        self._bus = Bus(plan.bus)
        self._log = structlog.get_logger()
        self._stopped = threading.Event()
        self.traces = traces(plan.traces, "gateway")
        """None where nothing is followed; whoever has sent frames calls `shown` while anything is `waiting`."""
        self.lock = threading.RLock()
        self.quotes = Quotes(len(plan.instruments), sessions.table())
        self.window = CandleWindow(len(plan.instruments), sessions)
        self.alerts: deque[OperatorAlert] = deque(maxlen=RECENT)
        """The last operator alerts, oldest first."""
        self._alerts_after = START
        self.scores: dict[int, Scores] = {}
        """The latest scorecard of each instrument, `SCORE` rows (n,) by horizon, the main one first; `start` 0 where
        there is none.
        """
        self._scores_after = dict.fromkeys(self._partitions, START)
        self.trouble = STARTING
        self.lag_seconds = 0.0
        self.entries = 0
        self.bad = 0
        """Entries nobody could read: said, counted and passed over."""
        self.version = 0
        """The quotes' version that is whole; `quotes.version` may be one under way."""
        self._pauses = Backoff()
        self._universe = universe_of(plan.instruments)
        self._model = ReadModel(plan.cache, timeout=1.0)
        self._read: dict[int, EntryId] = {}
        """The last entry of ticks that is in the quotes, by partition; empty before the first."""
        self.behind = True
        """Whether candles or scores that the bus has are still to be read; quotes do not wait for them."""
        self.warm_seconds: float | None = None
        """From the beginning until the quotes stood; None before."""
        self.listeners: list[Callable[[str, Entry], None]] = []
        """Told of every entry of candles, scores, signals and alerts that was read, with its topic; maybe twice."""
        self.anew: list[Callable[[], None]] = []
        """Told when the log went back."""
        self._signals_after = dict.fromkeys(self._partitions, START)

    @property
    def trouble(self) -> str:
        """Why what is here may be old; "" while the bus is read."""
        return self._trouble

    @trouble.setter
    def trouble(self, reason: str) -> None:
        self._trouble = reason
        self.quotes.unheard = reason not in ("", STARTING)

    def start(self) -> None:
        """Follow in a thread of its own."""
        threading.Thread(target=self.run, name="follow", daemon=True).start()

    def stop(self) -> None:
        """End `run` after the read under way."""
        self._stopped.set()

    def run(self) -> None:
        """Follow until stopped; a bus that is away leaves what is known standing."""
        self._began = time.monotonic()
        while not self._stopped.is_set():
            try:
                self._follow(self._begin())
            except LogWentBack as e:
                self.trouble = str(e)
                self._log.error("log_went_back", stream=e.stream)
                with self.lock:
                    self.window.clear()
                    self.alerts.clear()
                    self.scores.clear()
                    self._read.clear()
                self._alerts_after = START
                self._scores_after = dict.fromkeys(self._partitions, START)
                self._signals_after = dict.fromkeys(self._partitions, START)
                for tell in self.anew:
                    tell()
                self._stopped.wait(self._pauses.pause())
            except LineDown as e:
                self.trouble = e.reason
                self._log.warning("bus_down", reason=e.reason)
                self._stopped.wait(self._pauses.pause())
            except Exception as e:
                self.trouble = f"{type(e).__name__}: {e}"
                self._log.exception("follow_broke")
                self._stopped.wait(self._pauses.pause())

    def read(self, instruments: Sequence[int]) -> QuoteRows:
        """The quotes of some instruments, (k,) `QUOTE` rows in the order asked for."""
        with self.lock:
            return self.quotes.read(instruments)

    def candles(self, instrument: int, seconds: int, first: int, last: int) -> Candles:
        """The window's candles of one instrument that start in [first, last), oldest first."""
        with self.lock:
            return self.window.read(instrument, seconds, first, last)

    def told(self, *, everything: bool) -> list[OperatorAlert]:
        """The operator alerts that are open, or all of late, oldest first."""
        with self.lock:
            return list(self.alerts) if everything else still_open(self.alerts)

    def counts(self) -> npt.NDArray[np.int64]:
        """How many one-minute candles of the newest session each instrument has, (n,)."""
        with self.lock:
            newest = max(self.window.sessions, default=-1)
            return self.window.counts(INTERVALS["1m"], newest)

    def put_ticks(self, rows: Ticks) -> None:
        """Take `TICK` rows in arrival order."""
        with self.lock:
            self.quotes.update(rows)
            self.version = self.quotes.version

    def put_candles(self, rows: Candles) -> None:
        """Take `CANDLE` rows in any order; official ones are the lake's alone."""
        rows = rows[rows["provenance"] != Provenance.OFFICIAL]
        with self.lock:
            self.window.add(rows)
            self.quotes.learn(rows)
            self.version = self.quotes.version

    def put_scores(self, rows: Scores) -> None:
        """Take `SCORE` rows in any order; one that is older than what is here stays out."""
        with self.lock:
            for horizon in dict.fromkeys(rows["horizon"].tolist()):
                held = self.scores.setdefault(horizon, np.zeros(self._instruments, SCORE))
                mine = rows[rows["horizon"] == horizon]
                mine = mine[np.argsort(mine["start"], kind="stable")]
                mine = mine[mine["start"] >= held["start"][mine["instrument"]]]
                held[mine["instrument"]] = mine

    def health(self) -> dict[str, Any]:
        """What `/health` says of this replica."""
        with self.lock:
            window = self.window.bytes
        return {
            "up": not self.trouble,
            "trouble": self.trouble,
            "lag_seconds": self.lag_seconds,
            "entries": self.entries,
            "bad_entries": self.bad,
            "window_bytes": window,
            "behind": self.behind,
            "warm_seconds": self.warm_seconds,
        }

    def _begin(self) -> tuple[dict[int, EntryId], dict[int, EntryId]]:
        """Ticks from where the quotes stand, kept by the read model or our own; candles from the beginning of what
        the bus holds, behind the ticks' back. Where nobody kept quotes the candles come first, and a tail of ticks.
        """
        candles = dict.fromkeys(self._partitions, START)
        self.behind = True
        if self._load():
            while self._read_alerts():
                pass
            return dict(self._read), candles
        while self._read_candles(candles):
            pass
        while self._read_alerts():
            pass
        while self._read_scores():
            pass
        while self._read_signals():
            pass
        self.behind = False
        ticks = {p: self._bus.last("ticks", p) for p in self._partitions}
        if (seam := Switches(self._bus).newest()) is not None:
            with self.lock:
                self.quotes.active = seam.source
        tail = TAIL_MS << SEQUENCE_BITS
        return {p: max(START, last - tail) for p, last in ticks.items()}, candles

    def _load(self) -> bool:
        """Take the quotes that were kept, unless ours are newer; whether they stand, and `_read` says where."""
        identity = self._bus.identity()
        try:
            packed = self._model.kept_quotes()
            kept = None if packed is None else unpack(packed, self._universe, identity)
        except (LineDown, BadPayload) as e:
            self._log.info("quotes_not_taken", reason=e.reason)
            kept = None
        if kept is None:
            return bool(self._read)
        ends = {p: self._bus.last("ticks", p) for p in self._partitions}
        if set(kept.ticks) != set(ends) or any(kept.ticks[p] > last for p, last in ends.items()):
            self._log.info("quotes_not_taken", reason="they are of entries that this bus does not have")
            return bool(self._read)
        if self._read and any(kept.ticks[p] < own for p, own in self._read.items()):
            return True
        with self.lock:
            self.quotes.restore(kept.quotes)
            self.version = self.quotes.version
        self._read = dict(kept.ticks)
        return True

    def _follow(self, cursors: tuple[dict[int, EntryId], dict[int, EntryId]]) -> None:
        ticks, candles = cursors
        self.trouble = ""
        self._pauses.reset()
        if self.warm_seconds is None:
            self.warm_seconds = round(time.monotonic() - self._began, 3)
        self._read = ticks
        checked = time.monotonic()
        while not self._stopped.is_set():
            pause = None if self.behind else BLOCK_SECONDS
            read = self._bus.read("ticks", ticks, count=READ_ENTRIES, block=pause)
            for entry in read:
                self.put_ticks(self._rows(entry, TICK))
                ticks[entry.partition] = entry.id
                if self.traces is not None and self.traces.follows(entry.number):
                    self.traces.read(entry.writer, entry.number, (entry.id >> SEQUENCE_BITS) * 1_000_000)
            self.entries += len(read)
            more = self._read_candles(candles) | self._read_scores()
            self.behind = self.behind and more
            self._read_signals()
            if read:
                self.lag_seconds = round(max(0.0, time.time() - (read[-1].id >> SEQUENCE_BITS) / 1000), 3)
            if time.monotonic() - checked > 1.0:
                checked = time.monotonic()
                self._read_alerts()
                self._bus.check(ALERTS, 0, self._alerts_after)
                for p in self._partitions:
                    self._bus.check("ticks", p, ticks[p])
                    self._bus.check(SCORES, p, self._scores_after[p])

    def _rows(self, entry: Entry, dtype: np.dtype[Any]) -> Rows:
        try:
            return ticks_of(entry.payload) if dtype == TICK else decode(entry.payload, dtype)
        except BadPayload as e:
            self.bad += 1
            self._log.error("entry_unreadable", entry=entry.id, partition=entry.partition, reason=e.reason)
            return np.zeros(0, dtype)

    def _read_alerts(self) -> bool:
        read = self._bus.read(ALERTS, {0: self._alerts_after}, count=READ_ENTRIES)
        for entry in read:
            try:
                found = [OperatorAlert.model_validate(record) for record in decode_records(entry.payload)]
            except (BadPayload, ValidationError) as e:
                self.bad += 1
                self._log.error("entry_unreadable", entry=entry.id, topic=ALERTS, reason=str(e))
                found = []
            with self.lock:
                self.alerts += found
            self._alerts_after = entry.id
            self._tell(ALERTS, entry)
        return bool(read)

    def _read_scores(self) -> bool:
        read = self._bus.read(SCORES, self._scores_after, count=READ_ENTRIES)
        for entry in read:
            rows = self._rows(entry, SCORE)
            self.put_scores(rows[(rows["instrument"] >= 0) & (rows["instrument"] < self._instruments)])
            self._scores_after[entry.partition] = entry.id
            self._tell(SCORES, entry)
        return bool(read)

    def _read_signals(self) -> bool:
        if not self.listeners:
            return False
        read = self._bus.read(SIGNALS, self._signals_after, count=READ_ENTRIES)
        for entry in read:
            self._signals_after[entry.partition] = entry.id
            self._tell(SIGNALS, entry)
        return bool(read)

    def _tell(self, topic: str, entry: Entry) -> None:
        for listener in self.listeners:
            listener(topic, entry)

    def _read_candles(self, after: dict[int, EntryId]) -> bool:
        read = self._bus.read("candles", after, count=READ_ENTRIES)
        for entry in read:
            self.put_candles(self._rows(entry, CANDLE))
            after[entry.partition] = entry.id
            self._tell("candles", entry)
        return bool(read)
