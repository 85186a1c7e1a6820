"""A small house: four instruments, three sessions, a bus and a cache of our own, a lake, and the gateway over them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient

from adapters.alerts import Alerts
from adapters.bus import SEQUENCE_BITS, Bus
from adapters.entries import encode
from adapters.lake import Lake
from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table
from market.access import TIERS, Tier
from market.alerts import OperatorAlert
from market.candles import CANDLE, Candles, Provenance
from market.instruments import Instrument, partition_of
from market.money import SCALE, UNKNOWN
from market.sessions import MINUTE, SECOND, Session, day_number, session
from market.ticks import FeedState, Kind, Ticks, blank, mark
from pipelines import ipos
from serve_app.access import AccessPlan
from serve_app.follow import Follower, GatewayPlan
from serve_app.gateway import Desk, build

PARTITIONS = 2
YESTERDAY, TODAY, TOMORROW = (session(date(2016, 8, d)) for d in (24, 25, 26))
INSTRUMENTS = tuple(
    Instrument(id=i, symbol=symbol, name=name)
    for i, (symbol, name) in enumerate(
        [
            ("NSE:RELIANCE", "Reliance Industries"),
            ("NSE:TCS", "Tata Consultancy"),
            ("NSE:M&M", "Mahindra"),
            ("BSE:ODD", ""),
        ]
    )
)
RELIANCE, TCS, MAHINDRA, ODD = range(4)
DEADLINE = 120.0
AMPLE = dict.fromkeys(TIERS, Tier(requests_per_second=10_000, burst=10_000, connections=1000, symbols=3000))
"""Nobody is sent away in a test of something else."""
DEMO = AccessPlan(demo=True)


class House:
    """Puts rows where the actors would put them, and waits until the gateway has them."""

    def __init__(self, bus: RedisServer, cache: RedisServer, lake: Path, access: AccessPlan = DEMO) -> None:
        self.bus, self.model, self.lake = Bus(bus.url), ReadModel(cache.url), Lake(str(lake))
        self.plan = GatewayPlan(
            bus=bus.url,
            cache=cache.url,
            lake=str(lake),
            partitions=PARTITIONS,
            instruments=INSTRUMENTS,
            sessions=(YESTERDAY, TODAY, TOMORROW),
            feeds=("main", "spare"),
            stale_seconds=60.0,
            tiers=AMPLE,
            access=access,
            pages=str(lake.parent / "pages"),
        )
        self._numbers = 0
        self._lake_writes = 0

    def open(self) -> None:
        """Build the gateway."""
        app = patient(build(self.plan, acts=ipos))
        self.desk: Desk = app.state.desk
        self.follower: Follower = self.desk.follower
        self.client = TestClient(app, raise_server_exceptions=False)
        wait(lambda: not self.follower.trouble)

    def close(self) -> None:
        """End what was opened."""
        if hasattr(self, "follower"):
            self.follower.stop()
        if hasattr(self, "desk"):
            self.desk.limits.stop()
            self.desk.measures.stop()
        self.bus.close()
        self.model.close()

    def say(self, *rows: Ticks) -> None:
        """Append ticks and closes to their partitions, marks to all, and wait until the gateway has read them."""
        ticks = np.concatenate(rows)
        self._numbers += 1
        homes = np.array([partition_of(i, PARTITIONS) for i in INSTRUMENTS])
        shared = ticks["kind"] == Kind.MARK
        home = homes[np.where(shared, 0, ticks["instrument"])]
        parts = [(p, self._numbers, encode(ticks[shared | (home == p)])) for p in range(PARTITIONS)]
        before = self.follower.entries if hasattr(self, "follower") else 0
        self.bus.append("ticks", "main", parts)
        if hasattr(self, "follower"):
            wait(lambda: self.follower.entries >= before + PARTITIONS)

    def fold(self, *rows: Candles) -> None:
        """Write candles under an id of now, and wait until the gateway has them."""
        candles = np.concatenate(rows)
        for instrument in INSTRUMENTS:
            mine = candles[candles["instrument"] == instrument.id]
            if not len(mine):
                continue
            partition = partition_of(instrument, PARTITIONS)
            newest = self.bus.last("candles", partition)
            entry = max(newest, int(time.time() * 1000) << SEQUENCE_BITS) + 1
            self.bus.write("candles", partition, entry, encode(mine))
            if hasattr(self, "follower"):
                wait(lambda rows=mine: all(self._has(row) for row in rows))

    def keep(self, *rows: Candles) -> None:
        """Commit candles to the lake."""
        self._lake_writes += 1
        table = candle_table(np.concatenate(rows), [i.symbol for i in INSTRUMENTS])
        self.lake.append("candles", table, {"test": self._lake_writes})

    def alert(self, *alerts: OperatorAlert) -> None:
        """Tell operators something, and wait until the gateway has heard."""
        for one in alerts:
            Alerts(self.bus).tell(one)
        if hasattr(self, "follower"):
            wait(lambda: set(alerts) <= set(self.follower.told(everything=True)))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The body of a good answer."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def _has(self, row: Any) -> bool:
        start, seconds = int(row["start"]), int(row["interval"])
        found = self.follower.window.read(int(row["instrument"]), seconds, start, start + 1)
        return len(found) == 1 and found["revision"][0] >= row["revision"]


def patient(app: FastAPI) -> FastAPI:
    """The gateway with more patience with its stores: on a slow machine they are not away when they take a second."""
    desk: Desk = app.state.desk
    desk.limits._line = RedisLine(desk.plan.cache, DEADLINE)
    for model in (desk.model, desk.follower._model):
        model._line = RedisLine(desk.plan.cache, DEADLINE)
    return app


def wait(condition: Callable[[], Any]) -> None:
    """Until it holds; a test whose condition never does fails here."""
    pause, end = threading.Event(), time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.01)


def tick(instrument: int, at: int, rupees: float, volume: int = 0, **fields: int) -> Ticks:
    """One tick, (1,)."""
    row = blank(1)
    row["instrument"], row["at"], row["received"] = instrument, at, at
    row["quoted"] = at
    row["price"], row["day_volume"] = round(rupees * SCALE), volume
    for name, value in fields.items():
        row[name] = value
    return row


def stated_close(instrument: int, at: int, rupees: float) -> Ticks:
    """The vendor's word on the previous close, (1,)."""
    return tick(instrument, at, rupees, UNKNOWN, kind=Kind.CLOSE)


def live(at: int) -> Ticks:
    """The feed's mark that all is well, (1,)."""
    return mark(0, FeedState.LIVE, at)


def candle(instrument: int, of: Session, slot: int, rupees: float, seconds: int = 60, **fields: float) -> Candles:
    """One candle, (1,): the `slot`-th of its session, flat at a price."""
    row = np.zeros(1, CANDLE)
    row["instrument"], row["interval"], row["session"] = instrument, seconds, day_number(of.date)
    row["start"] = of.open + slot * seconds * SECOND
    for name in ("open", "high", "low", "close", "vwap"):
        row[name] = round(rupees * SCALE)
    row["volume"], row["trades"], row["completeness"], row["provenance"] = 10, 1, 1.0, Provenance.LIVE
    row["open_interest"] = UNKNOWN
    for name, value in fields.items():
        row[name] = value
    return row


def gap(instrument: int, of: Session, slot: int) -> Candles:
    """A minute that nobody saw, (1,)."""
    row = candle(instrument, of, slot, 0, provenance=Provenance.GAP, completeness=0.0, volume=0, trades=0)
    for name in ("open", "high", "low", "close", "vwap"):
        row[name] = UNKNOWN
    return row


def minutes(instrument: int, of: Session, first: int, last: int, rupees: float = 100.0) -> Candles:
    """One-minute candles of the slots first..last-1."""
    return np.concatenate([candle(instrument, of, slot, rupees + slot) for slot in range(first, last)])


def after(of: Session, minutes: float) -> int:
    """ns UTC, so many minutes after a session's open."""
    return of.open + round(minutes * MINUTE)
