"""Market: follows the ticks of all partitions and keeps the read model fresh at a human rate.

It keeps all quotes there as one value too, with which a new gateway, and it itself after a restart, has them at once.
"""

from __future__ import annotations

import os
import time
from typing import Any

import structlog

from actors.measures import resident_bytes
from actors.plans import MarketPlan
from adapters import entries, logs
from adapters.bus import START, Bus, EntryId
from adapters.entries import decode
from adapters.latest import Latest, pack, universe_of, unpack
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from adapters.switches import Switches
from market.candles import CANDLE, Provenance
from market.errors import BadPayload, LineDown, LogWentBack
from market.quotes import Quotes
from market.sessions import SECOND, Sessions
from market.view import Watch

READ_ENTRIES = 256
BLOCK_SECONDS, CHECK_SECONDS = 0.2, 1.0
Cursors = dict[int, EntryId]


class Market:
    """The latest quotes as columns, written to the read model once a second. Nothing here must survive: it is
    latest value only.
    """

    def __init__(self, plan: MarketPlan) -> None:
        logs.configure("market", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._model = ReadModel(plan.cache)
        self._hours = Sessions(plan.sessions).table()
        self._universe = universe_of(plan.instruments)
        self._quotes = Quotes(len(plan.instruments), self._hours)
        self._symbols = [i.symbol for i in plan.instruments]
        self._watch = Watch(plan.instruments)
        self._stale = int(plan.stale_seconds * SECOND)
        self._stopped = False
        self._trouble = ""
        self._refreshed = 0
        self._bus_name = ""
        self._kept = 0

    def run(self) -> None:
        """Follow and refresh until told to stop."""
        pauses = Backoff()
        while not self._stopped:
            try:
                ticks, candles = self._begin()
                pauses.reset()
                self._trouble = ""
                self._follow(ticks, candles)
            except LineDown as e:
                self._trouble = e.reason
                self._log.warning("store_down", reason=e.reason)
                time.sleep(pauses.pause())
            except LogWentBack as e:
                self._trouble = str(e)
                self._log.error("log_went_back", stream=e.stream)
                self._quotes = Quotes(len(self._plan.instruments), self._hours)
                time.sleep(pauses.pause())

    def stop(self) -> None:
        """End `run` after the read under way."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor."""
        return {
            "part": "market",
            "name": "market",
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "refreshed": self._refreshed,
            "kept_bytes": self._kept,
        }

    def _begin(self) -> tuple[Cursors, Cursors]:
        """From what was kept, else from the candles the bus has and its ticks from now on."""
        self._bus_name = self._bus.identity()
        parts = range(self._plan.partitions)
        found = self._model.kept_quotes()
        try:
            if found is not None:
                kept = unpack(found, self._universe, self._bus_name)
                if all(kept.ticks.get(p, START) <= self._bus.last("ticks", p) for p in parts):
                    self._quotes.restore(kept.quotes)
                    return kept.ticks, kept.candles
        except BadPayload as e:
            self._log.info("quotes_not_taken", reason=e.reason)
        ticks, candles = {p: self._bus.last("ticks", p) for p in parts}, dict.fromkeys(parts, START)
        if (seam := Switches(self._bus).newest()) is not None:
            self._quotes.active = seam.source
        while not self._stopped and self._learn(candles):
            pass
        return ticks, candles

    def _follow(self, ticks: Cursors, candles: Cursors) -> None:
        due = checked = time.monotonic()
        while not self._stopped:
            for entry in self._bus.read("ticks", ticks, count=READ_ENTRIES, block=BLOCK_SECONDS):
                self._quotes.update(entries.ticks_of(entry.payload))
                ticks[entry.partition] = entry.id
            self._learn(candles)
            if time.monotonic() >= due:
                self._refresh()
                self._keep(ticks, candles)
                due = time.monotonic() + self._plan.refresh_seconds
            if time.monotonic() > checked + CHECK_SECONDS:
                checked = time.monotonic()
                for p in range(self._plan.partitions):
                    self._bus.check("ticks", p, ticks[p])

    def _learn(self, after: Cursors) -> bool:
        read = self._bus.read("candles", after, count=READ_ENTRIES)
        for entry in read:
            try:
                rows = decode(entry.payload, CANDLE)
                self._quotes.learn(rows[rows["provenance"] != Provenance.OFFICIAL])
            except BadPayload as e:
                self._log.error("entry_unreadable", entry=entry.id, topic="candles", reason=e.reason)
            after[entry.partition] = entry.id
        return bool(read)

    def _keep(self, ticks: Cursors, candles: Cursors) -> None:
        packed = pack(Latest(self._quotes.snapshot(), ticks, candles), self._universe, self._bus_name)
        self._model.keep_quotes(packed)
        self._kept = len(packed)

    def _refresh(self) -> None:
        changed = self._model.refresh(self._symbols, self._quotes, self._watch.shares)
        self._refreshed += changed
        quotes = self._quotes
        rows = quotes.read(range(len(self._symbols)))
        said = quotes.feeds.get(quotes.active)
        state = said.state.name if said else "UNKNOWN"
        view = self._watch.view(rows, quotes.stale(rows, self._stale), quotes.market_time, state)
        self._model.market(view, tell=changed > 0)
