"""W4: an indicator set over 50 instruments x 100,000 rows: TA-Lib in one process, polars-talib, and our pipeline.

In memory, on one core: 20 calls of ours against the same 20 calls of TA-Lib, each (n,) float64. Then from parquet files
to parquet files, 31 columns a file: each contestant is a process of its own, held to its cores by the kernel, with its
start told apart. The files lie in memory where the machine has such a folder: the kernel's writing to a disk would take
a core from whoever uses two. Everyone computes over whole series; no session starts anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from subprocess import PIPE
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from benchmarks import closes
from benchmarks.contestants_w4 import ASKED, talib_calls
from benchmarks.report import Report
from market.indicators import COLUMNS, computed, studies

INSTRUMENTS = 50
ROWS = 100_000
ROUNDS = 3
POLARS = "polars-talib 0.2.1, polars 2.1.0"
FIELD = (
    ("talib", 1, "TA-Lib in one process"),
    ("polars", 1, "polars-talib, 1 core"),
    ("polars", 2, "polars-talib, 2 cores"),
    ("here", 1, "ours in one process"),
    ("pipeline", 1, "ours on Ray Data, 1 core"),
    ("pipeline", 2, "ours on Ray Data, 2 cores"),
)
MEMORY = Path("/dev/shm")  # noqa: S108  (not a name of ours: the folder that Linux keeps in memory)
CONTESTANTS = Path(__file__).with_name("contestants_w4.py")


def run(out: Report) -> None:
    """In bulk, then live."""
    bulk(out)
    closes.run(out)


def bulk(out: Report) -> None:
    """In memory, then files to files."""
    in_memory(out)
    with _folder() as folder:
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
    """The calls alone, CPU time, each share by us and by the peer in turn."""
    wanted, calls = studies(ASKED), talib_calls()
    took: dict[str, list[float]] = {"ours": [], "peer": []}
    for k in range(INSTRUMENTS):
        share = candles(k)
        # Whoever is first finds the candles cold.
        for name in sorted(took, reverse=bool(k % 2)):
            began = process_time()
            if name == "ours":
                computed(wanted, share)
            else:
                _ = [call(*share.values()) for call in calls]
            took[name].append(process_time() - began)
    ours, peer = (median(each) * INSTRUMENTS for each in took.values())
    out.add(f"{len(calls)} calls in memory, one core", "CPU s", ours, peer, "TA-Lib 0.8.2, the same calls", True)
    out.add("over pure TA-Lib, one core", "percent", 100.0 * (ours / peer - 1.0))


def files(out: Report, source: Path) -> None:
    """From files to files: every contestant a round in turn, so that a busy machine slows all of them alike."""
    asked = [(name, cores) for name, cores, _ in FIELD if cores <= len(os.sched_getaffinity(0))]
    with ExitStack() as stack:
        there = {key: stack.enter_context(_Contestant(*key, source)) for key in asked}
        for key in [key for key, one in there.items() if one.said is None]:
            out.say(f"{key[0]} did not run: {there.pop(key).fault()}")
        took: dict[tuple[str, int], list[float]] = {key: [] for key in there}
        for measured in range(ROUNDS + 1):
            for key, one in there.items():
                took_now = one.round()
                if measured:
                    took[key].append(took_now)
        for name, cores, told in FIELD:
            if (name, cores) not in took:
                continue
            mine = median(took[name, cores])
            for peer, peer_name in (("talib", "TA-Lib in one process"), ("polars", f"{POLARS}, {cores} threads")):
                key = (peer, 1 if peer == "talib" else cores)
                if key in took and name not in ("talib", "polars"):
                    out.add(f"{told}, files to files", "s", mine, median(took[key]), peer_name, True)
            if name in ("talib", "polars"):
                out.add(f"{told}, files to files", "s", mine)
            out.add(f"{told}, fixed start-up", "s", there[name, cores].start)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bourse-w4-", dir=MEMORY if MEMORY.is_dir() else None)


class _Contestant:
    """A contestant's process. `said`: its first line, the seconds of its start; None: it ended instead."""

    def __init__(self, name: str, cores: int, source: Path) -> None:
        peer = name == "polars"
        python = Path(sys.prefix) / "peers" / "bin" / "python" if peer else Path(sys.executable)
        self._target = _folder()
        self._missing = "" if python.exists() else "make bench installs the peers"
        self._command = [str(python), str(CONTESTANTS), name, str(cores), str(source), self._target.name]
        self._known = {
            **os.environ,
            "PYTHONPATH": "" if peer else str(CONTESTANTS.parents[1]),
            "POLARS_MAX_THREADS": str(cores),
        }
        self.said: str | None = None

    def __enter__(self) -> _Contestant:
        if self._missing:
            return self
        self._words = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, stdin=PIPE, stdout=PIPE, stderr=self._words, text=True, env=self._known
        )
        self.said = self._line()
        return self

    def __exit__(self, *fault: object) -> None:
        if not self._missing:
            self._process.communicate()
            self._words.close()
        self._target.cleanup()

    @property
    def start(self) -> float:
        """Seconds until it was ready."""
        return float(self.said or "nan")

    def round(self) -> float:
        """Seconds of one more round, whose files do not stay. Raises RuntimeError: it ended."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        line = self._line()
        if line is None:
            raise RuntimeError(self.fault())
        for path in Path(self._target.name).iterdir():
            path.unlink()
        return float(line)

    def fault(self) -> str:
        """Its last word."""
        if self._missing:
            return self._missing
        self._words.seek(0)
        lines = self._words.read().strip().splitlines()
        return lines[-1] if lines else "no word"

    def _line(self) -> str | None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if re.fullmatch(r"[\d.e+-]+\n", line):
                return line
        return None
