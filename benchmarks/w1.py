"""W1: ticks to one-minute candles: in batch against nautilus_trader and polars, and live from raw Kite frames.

Batch: one session of 200 instruments in memory, late, duplicate and standing packets, quiet and missing minutes among
them, one core each. We run all our rules; the peers run none, on the same ticks. They live in an environment of their
own (`make bench` makes it); without it only our figures are printed.

Live: full 184-byte packets, 200 a frame, over one WebSocket into the Feed, the durable bus (fsync always), and
Candles with snapshots on, all on this machine, for 30 s; then the Archive's own rate. The bus is trimmed as the
Supervisor does it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.report import Report
from benchmarks.spine import Spine, archive_rate
from market.fold import CandleBuilder
from market.sessions import SECOND, Sessions, session
from market.ticks import FeedState, Ticks, blank, mark

INSTRUMENTS = 200
A_SECOND = 2
ROUNDS = 5
PORT = 21_500
LIVE_SECONDS = 30.0
LIVE_INSTRUMENTS = 2000
PEERS = {"polars": "polars 2.1.0, one thread", "nautilus_trader": "nautilus_trader 1.221.0"}
DAY = session(date(2016, 8, 25))


def run(out: Report) -> None:
    """Batch, then live."""
    batch(out)
    live(out)
    archive(out)


def batch(out: Report) -> None:
    """One session from memory to candles."""
    log = day()
    calendar = Sessions([DAY]).table()
    CandleBuilder(range(INSTRUMENTS), calendar).step(log[:1000])
    rates = []
    for _ in range(ROUNDS):
        builder = CandleBuilder(range(INSTRUMENTS), calendar)
        began = time.perf_counter()
        closed = builder.step(log)
        rates.append(builder.counts["ticks"] / (time.perf_counter() - began))
    out.say(f"{len(log):,} rows, {len(closed):,} candles; {builder.counts}")
    ours = median(rates)
    ticks = log[log["kind"] == 0]
    for peer, name in PEERS.items():
        rate = _peer(peer, ticks, out)
        out.add(f"batch, {INSTRUMENTS} instruments, one core", "ticks/s", ours, rate, name if rate else None)


def day(seed: int = 1) -> Ticks:
    """One session as a log: 9 million ticks with what goes wrong in the field, a mark a second."""
    rng = np.random.default_rng(seed)
    beats = DAY.minutes * 60 * A_SECOND
    count = beats * INSTRUMENTS
    rows = blank(count)
    second = np.repeat(np.arange(beats) // A_SECOND, INSTRUMENTS)
    rows["instrument"] = np.tile(np.arange(INSTRUMENTS), beats)
    rows["at"] = DAY.open + second * SECOND
    rows["price"] = 1_000_000 + rng.integers(-3, 4, (beats, INSTRUMENTS)).cumsum(axis=0).ravel() * 500
    rows["day_volume"] = rng.integers(0, 40, (beats, INSTRUMENTS)).cumsum(axis=0).ravel()
    late = rng.random(count) < 0.002
    rows["at"][late] -= 90 * SECOND
    again = np.flatnonzero(rng.random(count - INSTRUMENTS) < 0.02)
    for name in ("at", "price", "day_volume"):
        rows[name][again + INSTRUMENTS] = rows[name][again]
    quiet = rng.random((DAY.minutes, INSTRUMENTS)) < 0.01
    dead = (second >= 7200) & (second < 7380)
    keep = ~(quiet[second // 60, rows["instrument"]] | dead)
    rows, second = rows[keep], second[keep]
    marks, places = [mark(0, FeedState.LIVE, DAY.open - 15 * SECOND)], [0]
    for k in range(DAY.minutes * 60 + 62):
        if 7200 <= k < 7380:
            continue
        state = FeedState.DOWN if k == 7380 else FeedState.LIVE
        marks.append(mark(0, state, DAY.open + k * SECOND, DAY.open + 7200 * SECOND if k == 7380 else None))
        places.append(int(np.searchsorted(second, k, side="right")))
    return np.insert(rows, places, np.concatenate(marks))


def _peer(peer: str, ticks: Ticks, out: Report) -> float | None:
    python = Path(sys.prefix) / "peers" / "bin" / "python"
    if not python.exists():
        out.say(f"{peer} is not there: make bench installs the peers")
        return None
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, ticks)
        file.flush()
        done = subprocess.run(
            [str(python), str(Path(__file__).with_name("peers_w1.py")), file.name, peer],
            capture_output=True, text=True, env={**os.environ, "POLARS_MAX_THREADS": "1", "PYTHONPATH": ""},
        )  # fmt: skip
    if done.returncode:
        out.say(f"{peer} failed: {done.stderr.strip().splitlines()[-1]}")
        return None
    said = json.loads(done.stdout)
    return float(said["ticks"] / said["seconds"])


def live(out: Report) -> None:
    """Raw frames over a socket to committed candles."""
    with Spine(LIVE_INSTRUMENTS, port=PORT, seconds=LIVE_SECONDS) as spine:
        early: dict[str, float] = {}
        began = time.monotonic()
        while (sent := spine.sent()) is None:
            time.sleep(0.25)
            spine.trim()
            if not early and time.monotonic() - began > LIVE_SECONDS / 3:
                early = spine.resident()
        spine.wait(lambda: spine.folded() >= sent["ticks"])
        candles = spine.out["candles"]["partitions"]["0"]
        rate = sent["ticks"] / sent["seconds"]
        lost = sent["ticks"] - spine.folded()
        size = 2 + 184
        out.add(f"live, {size} bytes a tick on the wire, {LIVE_SECONDS:.0f} s", "ticks/s", rate)
        out.add("live", "ticks lost", lost)
        out.add("live", "bytes a tick on the bus", spine.bus_bytes() / sent["ticks"])
        out.add("live", "candles committed", candles["candles"])
        for name, size_then in early.items():
            out.add(
                f"live, memory of {name}, after 10 s and at the end",
                "MiB",
                spine.resident()[name],
                size_then,
                "itself after 10 s",
                True,
            )


def archive(out: Report) -> None:
    """The Archive alone, from the bus to the lake."""
    out.add("archive alone, bus to lake", "ticks/s", archive_rate(2_000_000))
