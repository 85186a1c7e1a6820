"""Spine: the live path in processes of its own, without Ray's: bus, Feed, Candles, for benchmarks that measure them."""

from __future__ import annotations

import asyncio
import json
import multiprocessing as mp
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr

from actors.exchange import Exchange, ExchangePlan
from actors.plans import ArchivePlan, CandlesPlan, FeedPlan, MarketPlan
from adapters import entries, logs
from adapters.bus import Bus
from adapters.redis_server import RedisServer
from benchmarks import storm
from market.access import TIERS, Tier
from market.instruments import Instrument
from market.sessions import IST, MINUTE, SECOND, Session, instant, session
from market.ticks import blank
from market.universes import nifty50
from serve_app.access import AccessPlan
from serve_app.follow import GatewayPlan

HOUR = 60 * MINUTE
AMPLE = dict.fromkeys(TIERS, Tier(requests_per_second=1e6, burst=1_000_000, connections=100_000, symbols=3000))
"""Limits that no load here meets."""
KEEP_SECONDS = 5.0


def instruments(count: int) -> tuple[Instrument, ...]:
    """As many made-up shares."""
    tokens = storm.tokens(count).tolist()
    return tuple(Instrument(id=i, symbol=f"NSE:S{i}", tokens={"kite": t}) for i, t in enumerate(tokens))


def session_now() -> Session:
    """A session that opened with this minute, whatever day it is."""
    now = time.time_ns()
    opens = now - now % MINUTE
    return Session(date=instant(now).astimezone(IST).date(), preopen=opens - MINUTE, open=opens, close=opens + 8 * HOUR)


def run_feed(plan: FeedPlan, out: Any) -> None:
    """A Feed until it is told to stop; its health goes to `out` once a second."""
    from actors.feed import Feed

    async def main() -> None:
        feed = Feed(plan)
        running = asyncio.create_task(feed.run())
        while not out["stop"].is_set() and not running.done():
            await asyncio.sleep(0.2)
            out["feed"] = await feed.health()
        await feed.stop()
        await asyncio.wait_for(running, 60)

    asyncio.run(main())


def run_candles(plan: CandlesPlan, out: Any) -> None:
    """A Candles until it is told to stop; its health goes to `out` five times a second."""
    from actors.candles import Candles

    candles = Candles(plan)
    threading.Thread(target=candles.run, daemon=True).start()
    while not out["stop_candles"].is_set():
        time.sleep(0.2)
        out["candles"] = candles.health()
    candles.stop()


def run_archive(plan: ArchivePlan, out: Any) -> None:
    """An Archive until it is told to stop; its health goes to `out` once a second."""
    from actors.archive import Archive

    _until_told(Archive(plan), "archive", out)


def run_market(plan: MarketPlan, out: Any) -> None:
    """A Market until it is told to stop."""
    from actors.market import Market

    _until_told(Market(plan), "market", out)


def _until_told(actor: Any, name: str, out: Any) -> None:
    working = threading.Thread(target=actor.run, daemon=True)
    working.start()
    while not out["stop_candles"].wait(1.0):
        out[name] = actor.health()
    actor.stop()
    working.join(30)


class Spine:
    """Bus, Feed and Candles over one storm; a context manager that ends what it started."""

    def __init__(
        self,
        count: int,
        *,
        partitions: int = 1,
        port: int,
        rate: float = 0.0,
        seconds: float = 30.0,
        cut_every: float = 0.0,
        exchange: ExchangePlan | None = None,
    ) -> None:
        self._exchange = exchange
        logs.configure("bench", "error")
        self._folder = tempfile.TemporaryDirectory(prefix="bourse-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")
        self.servers = [
            RedisServer(folder / "bus", folder, "bus", memory=2 << 30, durable=True),
            RedisServer(folder / "cache", folder, "cache", memory=64 << 20, durable=False),
        ]
        self._manager = mp.Manager()
        self.out = self._manager.dict()
        self._stops = {n: self._manager.Event() for n in ("stop", "stop_candles")}
        self.out.update(self._stops)
        shares = exchange.instruments if exchange else instruments(count)
        common = {
            "bus": self.servers[0].url,
            "cache": self.servers[1].url,
            "partitions": partitions,
            "instruments": shares,
            "sessions": exchange.sessions if exchange else (session_now(),),
            "log_level": "error",
        }
        self.feed_plan = FeedPlan(
            **common,
            name="storm",
            source=0,
            url=f"ws://127.0.0.1:{port}/",
            api_key=SecretStr("k"),
            access_token=SecretStr("t"),
            login="",
            grace=2 * SECOND,
            mute_after=3 * SECOND,
            tape=exchange is not None,
            quarantine=str(folder / "quarantine"),
        )
        self.candles_plan = CandlesPlan(**common, mine=tuple(range(partitions)), grace=2 * SECOND)
        self.archive_plan = ArchivePlan(**common, lake=str(folder / "lake"), feeds=("storm",))
        self.market_plan = MarketPlan(**common)
        self.gateway_plan = GatewayPlan(
            **common, lake=str(folder / "lake"), feeds=("storm",), access=AccessPlan(demo=True), tiers=AMPLE
        )
        self._storm_arguments = [str(port), str(count), str(seconds), str(rate), str(cut_every)]
        self.processes: dict[str, int] = {}
        self._children: list[mp.Process] = []
        self._bus = Bus(self.servers[0].url)
        self._sent: dict[str, float] | None = None

    def __enter__(self) -> Spine:
        for server in self.servers:
            server.start()
        context = mp.get_context("spawn")
        self._start(context.Process(target=run_candles, args=(self.candles_plan, self.out), daemon=True), "candles")
        self.wait(lambda: "candles" in self.out)
        if self._exchange is not None:
            self._start(context.Process(target=run_exchange, args=(self._exchange,), daemon=True), "exchange")
            self._start(context.Process(target=run_feed, args=(self.feed_plan, self.out), daemon=True), "feed")
            return self
        self.storm = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.storm", *self._storm_arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.storm.stdout is not None
        assert self.storm.stdout.readline().strip() == "ready"
        self._start(context.Process(target=run_feed, args=(self.feed_plan, self.out), daemon=True), "feed")
        self.processes |= {"bus": self.servers[0].pid or 0, "storm": self.storm.pid}
        return self

    def __exit__(self, *_: object) -> None:
        self._stops["stop"].set()
        self._stops["stop_candles"].set()
        for child in self._children:
            child.join(5 if child.pid == self.processes.get("gateway") else 20)
            if child.is_alive():
                child.terminate()
                child.join()
        if self._exchange is None:
            self.storm.terminate()
            self.storm.wait()
        for server in self.servers:
            server.stop()
        self._manager.shutdown()
        self._folder.cleanup()

    def gateway(self, port: int) -> None:
        """Start a gateway beside the rest."""
        context = mp.get_context("spawn")
        self._start(context.Process(target=run_gateway, args=(self.gateway_plan, port), daemon=True), "gateway")

    def keepers(self) -> None:
        """Start the Archive and the Market beside the rest."""
        context = mp.get_context("spawn")
        for name, run, plan in (("archive", run_archive, self.archive_plan), ("market", run_market, self.market_plan)):
            self._start(context.Process(target=run, args=(plan, self.out), daemon=True), name)
        self.processes |= {"bus": self.servers[0].pid or 0, "cache": self.servers[1].pid or 0}

    def wait(self, until: Callable[[], bool], seconds: float = 60.0) -> None:
        """Until something holds. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {self.out.get('feed')} {self.out.get('candles')}")
            time.sleep(0.05)

    def resident(self) -> dict[str, float]:
        """MiB each process holds."""
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            n: round(int(Path(f"/proc/{p}/statm").read_text().split()[1]) * page / 2**20, 1)
            for n, p in self.processes.items()
        }

    def sent(self) -> dict[str, float] | None:
        """What the storm says it sent; None while it blows."""
        assert self.storm.stdout is not None
        if self._sent is None and select.select([self.storm.stdout], [], [], 0)[0]:
            self._sent = json.loads(self.storm.stdout.readline())
        return self._sent

    def trim(
        self, topic: str = "ticks", readers: tuple[str, ...] = ("candles",), seconds: float = KEEP_SECONDS
    ) -> None:
        """What the Supervisor does once a second: what every durable reader has read stays for so many seconds."""
        for partition in range(self.feed_plan.partitions):
            keep = int((time.time() - seconds) * 1000) << 20
            self._bus.retire(topic, partition, readers, keep)

    def behind_ms(self) -> float:
        """How far Candles is behind the head of the ticks, in ms of the bus's clock."""
        ends = {p: self._bus.last("ticks", p) for p in range(self.feed_plan.partitions)}
        read = self.out["candles"]["partitions"]
        return max((ends[int(p)] >> 20) - (state["cursor"] >> 20) for p, state in read.items())

    def folded_until(self) -> float:
        """Up to which second of the bus's clock Candles has folded all there is."""
        return min(p["cursor"] >> 20 for p in self.out["candles"]["partitions"].values()) / 1000

    def last(self, topic: str, partition: int) -> int:
        """The newest entry of a topic's partition."""
        return self._bus.last(topic, partition)

    def bus_bytes(self) -> int:
        """Payload bytes of all tick entries ever written."""
        return int(self.out["feed"]["bytes"])

    def folded(self) -> int:
        """Ticks that Candles has folded."""
        return sum(p["ticks"] for p in self.out["candles"]["partitions"].values())

    def _start(self, process: Any, name: str) -> None:
        process.start()
        self._children.append(process)
        self.processes[name] = process.pid


def run_exchange(plan: ExchangePlan) -> None:
    """The simulated exchange, until it is ended."""
    logs.configure("bench", "error")
    asyncio.run(Exchange(plan).run())


def closings(speed: float, seconds: float, port: int) -> dict[str, float]:
    """Minutes of the Nifty 50 closed at `speed` times real time: from the mark that closes one to its candles on
    the bus, ms.
    """
    day = session(date(2016, 8, 25))
    shares = tuple(nifty50())
    plan = ExchangePlan(
        port=port,
        api_key="k",
        access_token="t",
        instruments=shares,
        sessions=(day,),
        speed=speed,
        begin=day.open,
    )
    with Spine(0, port=port, partitions=2, exchange=plan) as spine:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            spine.trim()
        return dict(spine.out["candles"]["closing_ms"])


def run_gateway(plan: GatewayPlan, port: int) -> None:
    """The gateway's app on a plain server, as a replica runs it."""
    import uvicorn

    from serve_app.gateway import build

    logs.configure("bench", "error")
    uvicorn.run(build(plan), host="127.0.0.1", port=port, log_level="error")


def percentiles(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return float(np.percentile(values, 50)), float(np.percentile(values, 99))


def archive_rate(rows: int, an_entry: int = 4000) -> float:
    """Ticks a second that Archive alone carries from a full bus into a lake."""
    from actors.archive import Archive

    logs.configure("bench", "error")
    rng = np.random.default_rng(3)
    ticks = blank(rows)
    ticks["instrument"] = rng.integers(0, 2000, rows)
    now = time.time_ns()
    for name in ("at", "quoted", "received"):
        ticks[name] = now + np.arange(rows)
    ticks["price"] = 1_000_000 + rng.integers(-3, 4, rows).cumsum() * 500
    ticks["day_volume"] = np.arange(rows)
    with tempfile.TemporaryDirectory(prefix="bourse-") as name:
        folder = Path(name)
        server = RedisServer(folder / "bus", folder, "bus", memory=2 << 30, durable=True)
        server.start()
        try:
            bus = Bus(server.url)
            for number, k in enumerate(range(0, rows, an_entry)):
                bus.append("ticks", "bench", [(0, number, entries.encode(ticks[k : k + an_entry]))])
            plan = ArchivePlan(
                bus=server.url,
                cache=server.url,
                partitions=1,
                instruments=instruments(2000),
                sessions=(session_now(),),
                log_level="error",
                lake=str(folder / "lake"),
                feeds=("bench",),
                commit_seconds=1.0,
                tables=("ticks",),
            )
            keeper = Archive(plan)
            began = time.perf_counter()
            working = threading.Thread(target=keeper.run)
            working.start()
            while keeper.health()["tables"].get("ticks", {}).get("rows", 0) < rows:
                time.sleep(0.01)
            took = time.perf_counter() - began
            keeper.stop()
            working.join()
        finally:
            server.stop()
    return rows / took
