"""Mute: 1,000 faults of a line in market time, then 50 over real sockets: how soon each is seen, and mended.

Seen: from the fault (of a mute line, from its last data) to the first mark that is not LIVE. Mended: from the moment
the vendor can be had again (of a cut or mute socket that is at once) to the first LIVE mark. In market time the rules
are those of the live path, `FeedWatch` and `LineLife`, under a seeded vendor and clock; over sockets it is the Feed.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from actors.feed import TICK_SECONDS, Feed
from actors.plans import FeedPlan
from adapters import entries, logs
from adapters.bus import END, START, Bus
from adapters.lines import OPEN_SECONDS
from adapters.redis_server import RedisServer
from benchmarks.report import Report
from benchmarks.rough import RoughVendor
from benchmarks.spine import instruments
from market.feeds import FeedWatch
from market.lives import CALM, LineLife
from market.sessions import MINUTE, SECOND, Session, Sessions, session
from market.ticks import TICK, FeedState, Kind, Ticks

FAULTS = 1000
ON_SOCKETS = 48
VENDORS = 8
KINDS = ("mute", "cut", "refused", "slow")
DAY = session(date(2016, 8, 25))
BEAT = int(TICK_SECONDS * SECOND)
EVERY = 100_000_000
"""Between two packets of the line, ns."""

STEP = 10_000_000
LONGEST = 60.0
"""Seconds a vendor refuses, or is slow, at most."""

Figures = dict[str, dict[str, list[float]]]


class World:
    """One vendor with one fault, and the line of ours on it, in steps of 10 ms."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        self._kind, self._rng = kind, rng
        self._watch = FeedWatch(0, Sessions([DAY]), 2 * SECOND, 3 * SECOND - BEAT)
        self._life = LineLife(3 * SECOND - BEAT)
        self.began = DAY.open + 20 * SECOND + rng.randrange(SECOND)
        shortest = 4.0 if kind == "mute" else 0.5  # a shorter silence is no fault
        self.over = self.began if kind == "cut" else self.began + int(rng.uniform(shortest, LONGEST) * SECOND)
        self._whole = rng.random() < 0.5
        if kind == "mute" and not self._whole:  # the socket alone is mute: another one is well
            self.over = self.began
        self._slow = int(rng.uniform(0.5, 12.0) * SECOND)
        self._ready: int | None = None
        self._old = True
        self._beat = rng.randrange(BEAT)
        self.states: list[tuple[int, FeedState]] = []

    def run(self) -> tuple[float, float]:
        """Seconds until the fault was seen, and until it was mended behind its end."""
        now = DAY.open
        self._hear(self._watch.begin(now, 1))
        self._open(now)
        self._old, last, cut = True, now, False
        while now < self.over + 30 * SECOND:
            now += STEP
            if now >= self.began and not cut and self._kind != "mute":
                cut = True
                self._break(now)
            if self._life.open and now % EVERY == 0 and not self._silent(now):
                last = now if now < self.began else last
                self._watch.data(now)
                self._life.data(now)
                self._hear(self._watch.step(now))
            if not self._life.open and self._ready is not None and now >= self._ready:
                self._connect(now)
            if now % BEAT == self._beat // STEP * STEP:
                if self._life.silent(now, trading=True):
                    self._hear(self._watch.mute(now))
                    self._break(now, at_once=True)
                self._hear(self._watch.step(now))
        since = last if self._kind == "mute" else self.began
        seen = next(at for at, state in self.states if at >= self.began and state is not FeedState.LIVE)
        last_bad = max(k for k, (_, state) in enumerate(self.states) if state is not FeedState.LIVE)
        mended = self.states[last_bad + 1][0]
        return (seen - since) / SECOND, (mended - max(self.over, since)) / SECOND

    def _silent(self, now: int) -> bool:
        if self._kind != "mute" or now < self.began:
            return False
        return now < self.over if self._whole else self._old

    def _connect(self, now: int) -> None:
        """A try whose moment has come: it succeeds, or breaks and is tried again after a pause."""
        self._ready = None
        if now < self.over and self._kind == "refused":
            self._break(now)
        elif now < self.over and self._kind == "slow" and self._slow > 0:
            wait, self._slow = min(self._slow, int(OPEN_SECONDS * SECOND)), self._slow
            if self._slow > OPEN_SECONDS * SECOND:
                self._break(now, after=wait)
            else:
                self._ready, self._slow = now + wait, 0
        else:
            self._open(now)

    def _open(self, now: int) -> None:
        self._old = False
        self._life.opened(now)
        self._watch.opened(now)

    def _break(self, now: int, at_once: bool = False, after: int = 0) -> None:
        self._life.broke(now)
        self._hear(self._watch.lost(now))
        self._ready = now + after + (0 if at_once else self._life.pause(self._rng.random()))

    def _hear(self, marks: Ticks) -> None:
        self.states += [(int(m["at"]), FeedState(int(m["flags"]))) for m in marks]


def run(out: Report) -> None:
    """In market time, then over sockets."""
    rng, figures = random.Random(3), _figures()
    for k in range(FAULTS):
        kind = KINDS[k % len(KINDS)]
        for name, value in zip(("seen", "mended"), World(kind, rng).run(), strict=True):
            figures[kind][name].append(value)
    show(out, f"market time, {FAULTS} faults", figures)
    show(out, f"sockets, {ON_SOCKETS} faults", asyncio.run(on_sockets()))


def show(out: Report, title: str, figures: Figures) -> None:
    """Median, 99th percentile and worst of each kind."""
    for kind, times in figures.items():
        for name, values in times.items():
            for what, value in (("median", 50), ("p99", 99), ("worst", 100)):
                out.add(f"{title}: {kind} {name}", f"s, {what}", float(np.percentile(values, value)))


async def on_sockets() -> Figures:
    """Faults of some vendors at once, each with a Feed of its own."""
    logs.configure("bench", "critical")
    figures, rng = _figures(), random.Random(4)
    with tempfile.TemporaryDirectory(prefix="bourse-", ignore_cleanup_errors=True) as folder:
        server = RedisServer(Path(folder) / "bus", folder, "bus", memory=256 << 20, durable=True)
        server.start()
        each = [random.Random(rng.random()) for _ in range(VENDORS)]
        await asyncio.gather(*(_one(server.url, folder, k, one, figures) for k, one in enumerate(each)))
        server.stop()
    return figures


async def _one(bus: str, folder: str, number: int, rng: random.Random, figures: Figures) -> None:
    of = instruments(6)
    vendor = RoughVendor(of)
    address = await vendor.start()
    feed = Feed(_plan(bus, folder, number, address, of))
    running = asyncio.create_task(feed.run())
    log, last_mark = Bus(bus), _marks(number)
    for k in range(ON_SOCKETS // VENDORS):
        kind = KINDS[(k + number) % len(KINDS)]
        await _live(feed)
        await asyncio.sleep(CALM / SECOND + 1 + rng.random())
        began = time.time_ns()
        over = await _fault(vendor, kind, rng)
        await asyncio.sleep(0.5)
        await _live(feed)
        await asyncio.sleep(0.5)
        rows = await asyncio.to_thread(last_mark, log, began)
        bad = np.flatnonzero(rows["flags"] != FeedState.LIVE)
        first = rows[bad[0]]
        seen = int(first["at"] - first["quoted"]) if kind == "mute" else int(first["received"]) - began
        figures[kind]["seen"].append(seen / SECOND)
        mended = int(rows["received"][min(bad[-1] + 1, len(rows) - 1)])
        figures[kind]["mended"].append((mended - max(over, began)) / SECOND)
    await feed.stop()
    await running
    await vendor.stop()


async def _fault(vendor: RoughVendor, kind: str, rng: random.Random) -> int:
    """Make one and end it; when it was over, ns UTC."""
    began = time.time_ns()
    if kind == "mute":
        before = vendor.logins
        vendor.hush()
        while vendor.logins == before:
            await asyncio.sleep(0.01)
        return began
    if kind == "refused":
        vendor.refusing = True
    elif kind == "slow":
        vendor.slow = rng.uniform(0.2, 5.0)
    await vendor.cut()
    if kind != "cut":
        await asyncio.sleep(rng.uniform(0.5, 6.0))
    vendor.refusing, vendor.slow = False, 0.0
    return time.time_ns() if kind != "cut" else began


async def _live(feed: Feed) -> None:
    while (await feed.health())["state"] != "LIVE":
        await asyncio.sleep(0.02)


def _marks(source: int) -> Callable[[Bus, int], Ticks]:
    def read(bus: Bus, since: int) -> Ticks:
        found = bus.range("ticks", 0, max(START, (since // 1_000_000 - 10) << 20), END, 100_000)
        rows = np.concatenate([entries.decode(e.payload, TICK) for e in found])
        return rows[(rows["kind"] == Kind.MARK) & (rows["source"] == source) & (rows["received"] >= since)]

    return read


def _plan(bus: str, folder: str, number: int, url: str, of: tuple) -> FeedPlan:
    now = time.time_ns() // MINUTE * MINUTE
    today = Session(date=date.today(), preopen=now - 10 * MINUTE, open=now - 5 * MINUTE, close=now + 600 * MINUTE)
    return FeedPlan(
        bus=bus, cache=bus, partitions=1, instruments=of, sessions=(today,), log_level="critical", name=f"f{number}",
        source=number, url=url, api_key=SecretStr("k"), access_token=SecretStr("t0"), login="", grace=2 * SECOND,
        mute_after=3 * SECOND, quarantine=str(Path(folder) / "quarantine"),
    )  # fmt: skip


def _figures() -> Figures:
    return {kind: defaultdict(list) for kind in KINDS}
