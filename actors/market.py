"""Market: follows the ticks of all partitions and keeps the read model fresh at a human rate."""

from __future__ import annotations

import os
import time
from typing import Any

import structlog

from actors.measures import resident_bytes
from actors.plans import MarketPlan
from adapters import entries, logs
from adapters.bus import Bus, EntryId
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from adapters.switches import Switches
from market.errors import LineDown
from market.quotes import Quotes
from market.sessions import SECOND
from market.view import Watch

READ_ENTRIES = 256
BLOCK_SECONDS = 0.2


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
        self._quotes = Quotes(len(plan.instruments))
        self._symbols = [i.symbol for i in plan.instruments]
        self._watch = Watch(plan.instruments)
        self._stale = int(plan.stale_seconds * SECOND)
        self._stopped = False
        self._trouble = ""
        self._refreshed = 0

    def run(self) -> None:
        """Follow and refresh until told to stop."""
        pauses = Backoff()
        while not self._stopped:
            try:
                after = {p: self._bus.last("ticks", p) for p in range(self._plan.partitions)}
                if (seam := Switches(self._bus).newest()) is not None:
                    self._quotes.active = seam.source
                pauses.reset()
                self._trouble = ""
                self._follow(after)
            except LineDown as e:
                self._trouble = e.reason
                self._log.warning("store_down", reason=e.reason)
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
        }

    def _follow(self, after: dict[int, EntryId]) -> None:
        due = time.monotonic()
        while not self._stopped:
            for entry in self._bus.read("ticks", after, count=READ_ENTRIES, block=BLOCK_SECONDS):
                self._quotes.update(entries.ticks_of(entry.payload))
                after[entry.partition] = entry.id
            if time.monotonic() >= due:
                self._refresh()
                due = time.monotonic() + self._plan.refresh_seconds

    def _refresh(self) -> None:
        changed = self._model.refresh(self._symbols, self._quotes, self._watch.shares)
        self._refreshed += changed
        quotes = self._quotes
        rows = quotes.read(range(len(self._symbols)))
        said = quotes.feeds.get(quotes.active)
        state = said.state.name if said else "UNKNOWN"
        view = self._watch.view(rows, quotes.stale(rows, self._stale), quotes.market_time, state)
        self._model.market(view, tell=changed > 0)
