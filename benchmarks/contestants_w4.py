# ruff: noqa: E741
"""The contestants of W4, each a process of its own on as many cores as it is given: `NAME CORES SOURCE TARGET`.

All read the same parquet files, compute the same 20 calls and write the candles with their outputs beside them. Each
prints the seconds that its start took, then runs one round for every line on stdin and prints the seconds of that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

Round = Callable[[], object]
KEPT = ExitStack()
"""What stays open as long as the process."""

ASKED = (
    "sma:20,sma:50,ema:20,ema:50,rsi:14,macd:12:26:9,bollinger:20:2,atr:14,adx:14,plus_di:14,minus_di:14,"
    "stochastic:14:3:3,cci:20,mfi:14,obv,vwap,supertrend:10:3,roc:10,stddev:20,williams_r:14"
)


def talib_calls() -> list[Callable[..., Any]]:
    """The same 20 calls of TA-Lib, on open, high, low, close, volume."""
    import talib as t

    return [
        lambda o, h, l, c, v: t.SMA(c, 20),
        lambda o, h, l, c, v: t.SMA(c, 50),
        lambda o, h, l, c, v: t.EMA(c, 20),
        lambda o, h, l, c, v: t.EMA(c, 50),
        lambda o, h, l, c, v: t.RSI(c, 14),
        lambda o, h, l, c, v: t.MACD(c, 12, 26, 9),
        lambda o, h, l, c, v: t.BBANDS(c, 20, 2.0, 2.0),
        lambda o, h, l, c, v: t.ATR(h, l, c, 14),
        lambda o, h, l, c, v: t.ADX(h, l, c, 14),
        lambda o, h, l, c, v: t.PLUS_DI(h, l, c, 14),
        lambda o, h, l, c, v: t.MINUS_DI(h, l, c, 14),
        lambda o, h, l, c, v: t.STOCH(h, l, c, 14, 3, 0, 3, 0),
        lambda o, h, l, c, v: t.CCI(h, l, c, 20),
        lambda o, h, l, c, v: t.MFI(h, l, c, v, 14),
        lambda o, h, l, c, v: t.OBV(c, v),
        lambda o, h, l, c, v: t.VWAP(h, l, c, v),
        lambda o, h, l, c, v: t.SUPERTREND(h, l, c, 10, 3.0),
        lambda o, h, l, c, v: t.ROC(c, 10),
        lambda o, h, l, c, v: t.STDDEV(c, 20, 1.0),
        lambda o, h, l, c, v: t.WILLR(h, l, c, 14),
    ]


def talib(source: Path, target: Path) -> Round:
    """One process that a person would write: pyarrow and TA-Lib, a loop over the files."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    calls = talib_calls()

    def once() -> None:
        for path in sorted(source.iterdir()):
            sheet = parquet.ParquetFile(path).read()
            columns = [sheet[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
            for k, call in enumerate(calls):
                found = call(*columns)
                for j, values in enumerate(found if isinstance(found, tuple) else (found,)):
                    sheet = sheet.append_column(f"{k}_{j}", pa.array(values))
            parquet.write_table(sheet, target / path.name, compression="lz4", use_dictionary=False)

    return once


def polars(source: Path, target: Path) -> Round:
    """polars-talib: the same calls as expressions, file by file, as many threads as cores."""
    import polars as pl
    import polars_talib as t

    h, l, c, v = (pl.col(name) for name in ("high", "low", "close", "volume"))
    calls = [
        t.sma(c, 20), t.sma(c, 50), t.ema(c, 20), t.ema(c, 50), t.rsi(c, 14), t.macd(c, 12, 26, 9),
        t.bbands(c, 20, 2.0, 2.0), t.atr(h, l, c, 14), t.adx(h, l, c, 14), t.plus_di(h, l, c, 14),
        t.minus_di(h, l, c, 14), t.stoch(h, l, c, 14, 3, 0, 3, 0), t.cci(h, l, c, 20), t.mfi(h, l, c, v, 14),
        t.obv(c, v), t.vwap(h, l, c, v), t.supertrend(h, l, c, 10, 3.0), t.roc(c, 10), t.stddev(c, 20, 1.0),
        t.willr(h, l, c, 14),
    ]  # fmt: skip
    named = [call.alias(str(k)) for k, call in enumerate(calls)]

    def once() -> None:
        for path in sorted(source.iterdir()):
            found = pl.read_parquet(path).with_columns(named)
            flat = found.unnest([name for name, kind in found.schema.items() if isinstance(kind, pl.Struct)])
            flat.write_parquet(target / path.name, compression="lz4", statistics=False)

    return once


def pipeline(source: Path, target: Path) -> Round:
    """Ours, on Ray Data; the start is Ray's, and its first data set's over a file a core."""
    from cluster.cores import cores
    from pipelines.indicators import Task, Work, run

    task = Task(asked=ASKED, anew="never")
    work = [Work(source=str(path), target=str(target / path.name)) for path in sorted(source.iterdir())]
    count = len(os.sched_getaffinity(0))
    KEPT.enter_context(cores(count))
    list(run(work[: 2 * count], task))

    def once() -> None:
        failed = [done.failure for done in run(work, task) if done.failure]
        if failed:
            raise SystemExit(failed[0])

    return once


def here(source: Path, target: Path) -> Round:
    """Ours in this process, as `bourse indicators` does with little."""
    import cluster  # noqa: F401  (as every command does first)
    from pipelines.indicators import Task, Work
    from pipelines.indicators import here as run

    task = Task(asked=ASKED, anew="never")
    work = [Work(source=str(path), target=str(target / path.name)) for path in sorted(source.iterdir())]
    return lambda: list(run(work, task))


if __name__ == "__main__":
    began = perf_counter()
    name, cores, source, target = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    contestant = {"talib": talib, "polars": polars, "pipeline": pipeline, "here": here}[name]
    once = contestant(Path(source), Path(target))
    print(perf_counter() - began, flush=True)
    with KEPT:
        for _ in sys.stdin:
            began = perf_counter()
            once()
            print(perf_counter() - began, flush=True)
