"""Soak: half an hour at 18,000 ticks/s with lines cut and screens coming and going: what grows, what is missing.

Twice what one Kite account can carry. Feed, Candles, Archive, Market, the gateway and both Redis run as processes of
their own; the line is cut every 45 s, and screens open a WebSocket, watch 50 shares and leave. Flat: the mean of the
last fifth against that of the fifth behind the warming up. The seeds' table stands beside ours. `SOAK_MINUTES` sets
another length, `SOAK_SERIES` a CSV file for every value that was seen.
"""

from __future__ import annotations

import asyncio
import csv
import os
import threading
import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean

import aiohttp
import psutil
import pyarrow.compute as pc

from adapters.lake import Lake
from adapters.redis_line import RedisLine
from benchmarks.report import Report
from benchmarks.spine import Spine
from market.sessions import MINUTE

PORT, GATEWAY = 21_700, 21_701
RATE, INSTRUMENTS = 18_000, 3_000
CUT_SECONDS = 45.0
KEPT_SECONDS = 60.0
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
SERIES = os.environ.get("SOAK_SERIES")
WARM, PART = 0.2, 0.2
"""Shares of the run: what is not looked at, and what is compared with what."""

SEEDS = {
    "feed": (0.5, 256), "candles": (0.5, 512), "bus": (1.0, 1024), "archive": (2.0, 2048), "cache": (0.5, 512),
}  # fmt: skip
"""Cores and MiB of the seeds' Ingestion, Processing, Kafka, TimescaleDB and Redis."""


def run(out: Report) -> None:
    """Blow, watch, compare."""
    seconds = MINUTES * 60
    with Spine(INSTRUMENTS, partitions=2, port=PORT, rate=RATE, seconds=seconds, cut_every=CUT_SECONDS) as spine:
        spine.keepers()
        spine.gateway(GATEWAY)
        screens = Screens()
        screens.start()
        seen: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        away: list[float] = []
        before = _cpu(spine)
        began = time.monotonic()
        while (sent := spine.sent()) is None:
            time.sleep(1.0)
            spine.trim("ticks", ("candles", "archive-ticks"), KEPT_SECONDS)
            spine.trim("candles", ("archive-candles",), KEPT_SECONDS)
            if spine.out["feed"]["state"] != "LIVE":
                away.append(time.time())
            for key, value in _look(spine).items():
                seen[key].append((time.monotonic() - began, value))
                if SERIES:
                    _write(Path(SERIES), *key, time.monotonic() - began, value)
        ended, took = time.time(), time.monotonic() - began
        used = {name: (after - before.get(name, 0.0)) / took for name, after in _cpu(spine).items()}
        # What was in flight when the feed itself cut its line is lost, and counted: so not until all are folded.
        spine.wait(lambda: spine.folded_until() > ended, 120)
        screens.stop()
        lost = sent["ticks"] - spine.folded()
        _wait_archived(spine)
        _tell(out, spine, sent, lost, seen, used, took, [*away, ended])
        out.add("screens that came and went", "count", screens.served)


def _tell(
    out: Report, spine: Spine, sent: dict, lost: int, seen: dict, used: dict, took: float, away: list[float]
) -> None:
    out.add(f"{took / 60:.0f} minutes", "ticks/s", sent["ticks"] / sent["seconds"])
    out.add("ticks sent", "count", sent["ticks"])
    out.add("ticks lost", "count", lost)
    out.add("cuts of the line", "count", len(sent["cuts"]))
    for (name, what), values in sorted(seen.items()):
        early = fmean(v for at, v in values if WARM * took <= at < (WARM + PART) * took)
        late = fmean(v for at, v in values if at >= (1 - PART) * took)
        out.add(f"{name}: growth of {what}", "%", 100 * (late / early - 1) if early else 0.0)
        out.add(f"{name}: {what} at the end", "MiB" if "memory" in what else "count", late)
    for name, cores in used.items():
        share, mib = SEEDS.get(name, (None, None))
        out.add(f"{name}: CPU", "cores", cores, share, "the seeds' share", True)
        out.add(f"{name}: memory", "MiB", spine.resident()[name], mib, "the seeds' share", True)
    short, unexplained = _holes(spine, sent["cuts"], away)
    out.add("minutes of a share that are not whole", "count", short)
    out.add("of them in no minute with a cut or a mute line", "count", unexplained)


def _look(spine: Spine) -> dict[tuple[str, str], float]:
    """Memory in MiB and open files of each process, and what Redis says it uses."""
    found = {}
    for name, pid in spine.processes.items():
        if name == "storm":
            continue
        one = psutil.Process(pid)
        found[name, "memory"] = one.memory_info().rss / 2**20
        found[name, "open files"] = float(one.num_fds())
    for server, name in zip(spine.servers, ("bus", "cache"), strict=True):
        line = RedisLine(server.url)
        found[name, "used memory"] = int(line.info("memory")["used_memory"]) / 2**20
        line.close()
    return found


def _write(path: Path, *values: str | float) -> None:
    """A row: the process, what of it, seconds since the beginning, the value."""
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(values)


def _cpu(spine: Spine) -> dict[str, float]:
    """Seconds of a core each process has used."""
    times = {n: psutil.Process(p).cpu_times() for n, p in spine.processes.items() if n != "storm"}
    return {name: t.user + t.system for name, t in times.items()}


def _wait_archived(spine: Spine) -> None:
    """Until the lake holds the last candle that is on the bus."""
    partitions = range(spine.feed_plan.partitions)

    def committed() -> bool:
        told = spine.out["archive"]["tables"].get("candles", {}).get("committed", {})
        return all(told.get(str(p), -1) >= spine.last("candles", p) for p in partitions)

    spine.wait(committed, 120)


def _holes(spine: Spine, cuts: list[tuple[float, float]], away: list[float]) -> tuple[int, int]:
    """One-minute candles that are not whole; of them, those in whose minute, or just before it, no line was cut, the
    feed did not say that it was mute, and the storm did not end.
    """
    today = date.today()
    table = Lake(spine.archive_plan.lake).read_candles(None, "1m", today - timedelta(days=1), today + timedelta(days=1))
    holed = table.filter(pc.less(table["completeness"], 1.0))
    starts = {int(s.timestamp() * 1e9) for s in holed["start"].to_pylist()}
    first = spine.feed_plan.sessions[0].open
    times = [at for span in cuts for at in (*span, span[1] + 2.0)] + [at + d for at in away for d in (-4.0, 0.0, 2.0)]
    hurt = {first, *(int(at * 1e9) // MINUTE * MINUTE for at in times)}
    outside = [s for s in holed["start"].to_pylist() if int(s.timestamp() * 1e9) in starts - hurt]
    return holed.num_rows, len(outside)


class Screens(threading.Thread):
    """Clients that open a WebSocket, subscribe to 50 shares, hear 20 answers and leave; ten at a time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self.served = 0

    def run(self) -> None:
        """Come and go until told to stop."""
        asyncio.run(self._all())

    def stop(self) -> None:
        """End, with the visits under way."""
        self._ended.set()
        self.join(60)

    async def _all(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._visits(session, k) for k in range(10)))

    async def _visits(self, session: aiohttp.ClientSession, number: int) -> None:
        shares = [f"NSE:S{k}" for k in range(number * 50, number * 50 + 50)]
        while not self._ended.is_set():
            try:
                async with session.ws_connect(f"http://127.0.0.1:{GATEWAY}/ws/quotes") as socket:
                    await socket.send_json({"op": "subscribe", "symbols": shares})
                    for _ in range(20):
                        await socket.receive(timeout=20)
                self.served += 1
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.5)
