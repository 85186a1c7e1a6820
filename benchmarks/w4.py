"""W4: an indicator set over 50 instruments x 100,000 rows: TA-Lib in one process, polars-talib, and our pipeline.

In memory, on one core: 20 calls of ours against the same 20 calls of TA-Lib, each (n,) float64. Then from parquet files
to parquet files, 31 columns a file: each contestant is a process of its own, held to its cores by the kernel, with its
start told apart. Everyone computes over whole series; no session starts anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from benchmarks.contestants_w4 import ASKED, talib_calls
from benchmarks.report import Report, seconds
from market.indicators import COLUMNS, studies

INSTRUMENTS = 50
ROWS = 100_000
ROUNDS = 3
POLARS = "polars-talib 0.2.1, polars 2.1.0"
CONTESTANTS = Path(__file__).with_name("contestants_w4.py")


def run(out: Report) -> None:
    """The bulk half."""
    bulk(out)


def bulk(out: Report) -> None:
    """In memory, then files to files."""
    in_memory(out)
    with tempfile.TemporaryDirectory(prefix="bourse-w4-") as folder:
        source = Path(folder) / "candles"
        source.mkdir()
        for k in range(INSTRUMENTS):
            parquet.write_table(pa.table(dict(candles(k))), source / f"S{k:02}.parquet", compression="lz4")
        files(out, source)


def candles(seed: int) -> dict[str, np.ndarray]:
    """One instrument: prices in whole paise, a third of the minutes quiet."""
    rng = np.random.default_rng(seed)
    moved = rng.random(ROWS) > 0.33
    close = np.round(1000.0 * np.exp((rng.normal(0.0, 5e-4, ROWS) * moved).cumsum()), 2)
    open = np.r_[close[0], close[:-1]]
    reach = np.round(rng.exponential(0.3, (2, ROWS)) * moved, 2)
    high, low = np.maximum(open, close) + reach[0], np.minimum(open, close) - reach[1]
    volume = np.floor(rng.exponential(500.0, ROWS)) * moved
    return dict(zip(COLUMNS, (open, high, low, close, volume), strict=True))


def in_memory(out: Report) -> None:
    """The calls alone, over one instrument after another, each in turn with its peer."""
    wanted, calls = studies(ASKED), talib_calls()
    shares = [candles(k) for k in range(5)]

    def ours() -> None:
        for share in shares:
            for study in wanted:
                study.compute(share)

    def peers() -> None:
        for share in shares:
            for call in calls:
                call(*share.values())

    mine, theirs = (taken * INSTRUMENTS / len(shares) for taken in seconds(ours, peers))
    out.add(f"{len(calls)} calls in memory, one core", "s", mine, theirs, "TA-Lib 0.8.2, the same calls", True)
    out.add("over pure TA-Lib, one core", "percent", 100.0 * (mine / theirs - 1.0))


def files(out: Report, source: Path) -> None:
    """From files to files."""
    one = _contest(out, "talib", 1, source)
    peer = _contest(out, "polars", 1, source)
    two = _contest(out, "polars", 2, source)
    if one is None:
        return
    for name, cores, told in (
        ("here", 1, "ours in one process"),
        ("pipeline", 1, "ours on Ray Data, 1 core"),
        ("pipeline", 2, "ours on Ray Data, 2 cores"),
    ):
        if cores > len(os.sched_getaffinity(0)):
            out.say(f"{told}: this machine has fewer cores")
            continue
        mine = _contest(out, name, cores, source)
        if mine is None:
            continue
        out.add(f"{told}, files to files", "s", mine[0], one[0], "TA-Lib in one process, files to files", True)
        against = peer if cores == 1 else two
        if against is not None:
            out.add(f"{told}, files to files", "s", mine[0], against[0], f"{POLARS}, {cores} core(s)", True)
        out.add(f"{told}, fixed start-up", "s", mine[1])


def _contest(out: Report, name: str, cores: int, source: Path) -> tuple[float, float] | None:
    """Median seconds over all files, and the start's; None where it could not run."""
    python = Path(sys.prefix) / "peers" / "bin" / "python" if name == "polars" else Path(sys.executable)
    if not python.exists():
        out.say(f"{name} is not there: make bench installs the peers")
        return None
    root = "" if name == "polars" else str(CONTESTANTS.parents[1])
    with tempfile.TemporaryDirectory(prefix="bourse-w4-") as target:
        done = subprocess.run(
            [str(python), str(CONTESTANTS), name, str(cores), str(source), target, str(ROUNDS)],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": root,
                "POLARS_MAX_THREADS": str(cores),
                "RAY_AUTH_MODE": "disabled",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
                "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            },
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        out.say(f"{name} failed: {lines[-1] if lines else done.returncode}")
        return None
    said = json.loads(done.stdout.splitlines()[-1])
    return median(said["seconds"]), said["start"]
