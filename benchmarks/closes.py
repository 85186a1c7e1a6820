"""Minute close to published features and scorecards, live: 50 and 500 instruments; no peer.

The durable bus, Candles and Analysis run as processes of their own on this machine; the lake holds sessions of history
for the windows. A minute's trades are put on the bus, then the mark that closes it; the time runs from just before that
mark is written to when the features, and then the scorecards, of all partitions have been read back from the bus. The
predictor is a deployment of Ray Serve on this machine, asked through its handle, with the ensemble that is served while
no model is registered. The session's first minute, at which the windows are made from the lake, is told apart.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve

from actors.plans import AnalysisPlan, CandlesPlan
from adapters import entries, logs
from adapters.bus import Bus
from adapters.lake import Lake
from adapters.readmodel import ReadModel
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table
from benchmarks.report import Report
from benchmarks.spine import instruments, percentiles, run_candles
from market.candles import CANDLE, Candles, Provenance
from market.features import FEATURE
from market.instruments import Instrument, Universe
from market.scores import SCORE, Asked
from market.sessions import MINUTE, SECOND, Session, day_number, session
from market.ticks import FeedState, Ticks, blank, mark
from serve_app.predictor import APP, PredictorPlan, application

PARTITIONS = 2
CLOSES = 150
HISTORY, DAYS = 4, 300
"""Sessions of minutes and of daily candles in the lake."""
HORIZONS = ("15m", "5m", "60m", "1d")
"""All that are served; a scorecard each."""
TICKS = 4
"""Trades of each instrument in a minute."""
DAY = date(2016, 8, 25)
WAIT = 120.0
READS = 2000


def run(out: Report) -> None:
    """Both sizes, and a read of the latest row."""
    for count in (50, 500):
        took = closes(count)
        case = f"minute close of {count} instruments to features"
        out.say(f"{case}: first minute of the session {took['first']:,.0f} ms, {took['rows']:,.0f} rows")
        out.add(case, "p50 ms", took["p50"])
        out.add(case, "p99 ms", took["p99"])
        case = f"minute close of {count} instruments to scorecards"
        out.add(case, "p50 ms", took["scores_p50"])
        out.add(case, "p99 ms", took["scores_p99"])
        of = took["rows"] * len(HORIZONS)
        out.say(f"{case}: {took['answered']:,.0f} of {of:,.0f} scorecards with the predictor's answer")
    out.add("latest features of one symbol, read model", "p50 ms", took["read_p50"])
    out.add("latest features of one symbol, read model", "p99 ms", took["read_p99"])


def closes(count: int, minutes: int = CLOSES) -> dict[str, float]:
    """ms of the session's `first` minute, `p50` and `p99` of the others to features, `scores_p50` and `scores_p99` to
    scorecards; `rows` of features; `answered`: scorecards with the predictor's word; `read_p50` and `read_p99`
    of one symbol's latest.
    """
    logs.configure("bench", "error")
    of = instruments(count)
    days = [s for s in (DAY - timedelta(days=k) for k in range(int(DAYS * 1.5), 0, -1)) if s.weekday() < 5]
    sessions = (*(session(day) for day in days[-DAYS:]), session(DAY))
    with tempfile.TemporaryDirectory(prefix="bourse-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")
        bus = RedisServer(folder / "bus", folder, "bus", memory=1 << 30, durable=True)
        cache = RedisServer(folder / "cache", folder, "cache", memory=256 << 20, durable=False)
        Lake(str(folder / "lake")).append(
            "candles", candle_table(_history(of, sessions), [i.symbol for i in of]), {"b": 1}
        )
        bus.start()
        cache.start()
        try:
            common = {
                "bus": bus.url, "cache": cache.url, "partitions": PARTITIONS, "instruments": of, "sessions": sessions,
                "mine": tuple(range(PARTITIONS)), "log_level": "error",
            }  # fmt: skip
            analysis = AnalysisPlan(**common, lake=str(folder / "lake"), predictor=APP, horizons=HORIZONS)
            with _predictor(bus.url, cache.url), _Processes(CandlesPlan(**common, grace=2 * SECOND), analysis):
                return _measured(Bus(bus.url), ReadModel(cache.url), of, sessions[-1], minutes)
        finally:
            bus.stop()
            cache.stop()


@contextmanager
def _predictor(bus: str, cache: str) -> Iterator[None]:
    """The deployment on a Ray of its own, until the end of the block; child processes find it."""
    told = {
        "plan": PredictorPlan(bus=bus, cache=cache, log_level="error").model_dump_json(), "tuning": {}, "replicas": 1,
        "max_ongoing_requests": 100, "num_cpus": 0.1, "environment": {},
    }  # fmt: skip
    context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    os.environ["RAY_ADDRESS"] = context.address_info["address"]
    try:
        serve.start(proxy_location="Disabled")
        serve.run(application(told), name=APP, route_prefix=None)
        yield
    finally:
        serve.shutdown()
        ray.shutdown()
        del os.environ["RAY_ADDRESS"]


class _Processes:
    """Candles and Analysis, until the end of the block."""

    def __init__(self, candles: CandlesPlan, analysis: AnalysisPlan) -> None:
        self._manager = mp.Manager()
        self.out = self._manager.dict()
        self._stop = self._manager.Event()
        self.out["stop_candles"] = self._stop
        context = mp.get_context("spawn")
        self._children = [
            context.Process(target=run_candles, args=(candles, self.out), daemon=True),
            context.Process(target=run_analysis, args=(analysis, self.out), daemon=True),
        ]

    def __enter__(self) -> None:
        for child in self._children:
            child.start()
        _until(lambda: "candles" in self.out and "analysis" in self.out)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for child in self._children:
            child.join(20)
            if child.is_alive():
                child.terminate()
        self._manager.shutdown()


def run_analysis(plan: AnalysisPlan, out: Any) -> None:
    """An Analysis until it is told to stop; its health goes to `out` once a second."""
    from actors.analysis import Analysis
    from benchmarks.spine import _until_told

    ray.init(log_to_driver=False, logging_level="error")
    _until_told(Analysis(plan), "analysis", out)


def _measured(bus: Bus, model: ReadModel, of: tuple[Instrument, ...], day: Session, minutes: int) -> dict[str, float]:
    universe = Universe(of)
    members = [np.array([i.id for i in universe.partition(p, PARTITIONS)]) for p in range(PARTITIONS)]
    rng = np.random.default_rng(7)
    price = 1_000_000 + rng.integers(0, 9_000_000, len(of))
    volume = np.zeros(len(of), np.int64)
    after = dict.fromkeys(range(PARTITIONS), 0)
    number, rows, answered = 0, 0, 0
    took: list[float] = []
    carded: list[float] = []
    behind = dict.fromkeys(range(PARTITIONS), 0)
    _write(bus, number, [mark(0, FeedState.LIVE, day.open - SECOND)] * PARTITIONS)
    for minute in range(minutes + 1):
        begins = day.open + minute * MINUTE
        for k in range(TICKS):
            price = price + 500 * rng.integers(-3, 4, len(of))
            volume = volume + rng.integers(1, 500, len(of))
            number += 1
            _write(bus, number, [_ticks(who, begins + k * 15 * SECOND, price, volume) for who in members])
        _write(bus, number := number + 1, [mark(0, FeedState.LIVE, begins + MINUTE - SECOND)] * PARTITIONS)
        began = time.perf_counter()
        _write(bus, number := number + 1, [mark(0, FeedState.LIVE, begins + MINUTE + 2 * SECOND)] * PARTITIONS)
        missing = set(after)
        while missing:
            if time.perf_counter() - began > WAIT:
                raise TimeoutError(f"no features of minute {minute} within {WAIT} s")
            for entry in bus.read("analysis", {p: after[p] for p in missing}, count=1, block=1.0):
                after[entry.partition] = entry.id
                missing.discard(entry.partition)
                found = entries.decode(entry.payload, FEATURE)
                assert (found["start"] == begins).all()
                rows += len(found)
        took.append((time.perf_counter() - began) * 1000)
        missing = set(behind)
        while missing:
            if time.perf_counter() - began > WAIT:
                raise TimeoutError(f"no scorecards of minute {minute} within {WAIT} s")
            for entry in bus.read("scores", {p: behind[p] for p in missing}, count=1, block=1.0):
                behind[entry.partition] = entry.id
                missing.discard(entry.partition)
                cards = entries.decode(entry.payload, SCORE)
                assert (cards["start"] == begins).all()
                answered += int(np.count_nonzero(cards["asked"] == Asked.ANSWERED))
        carded.append((time.perf_counter() - began) * 1000)
    middle, worst = percentiles(took[1:])
    read = [_timed(lambda k=k: model.feature(of[k % len(of)].symbol)) for k in range(READS)]
    shown, slowest = percentiles(read)
    told = {"first": took[0], "p50": middle, "p99": worst, "rows": float(rows), "answered": float(answered)}
    told["scores_p50"], told["scores_p99"] = percentiles(carded[1:])
    return {**told, "read_p50": shown, "read_p99": slowest}


def _timed(act: Any) -> float:
    began = time.perf_counter()
    assert act() is not None
    return (time.perf_counter() - began) * 1000


def _write(bus: Bus, number: int, rows: list[Ticks]) -> None:
    bus.append("ticks", "bench", [(p, number, entries.encode(part)) for p, part in enumerate(rows)])


def _ticks(who: np.ndarray, at: int, price: np.ndarray, volume: np.ndarray) -> Ticks:
    rows = blank(len(who))
    rows["instrument"], rows["price"], rows["day_volume"] = who, price[who], volume[who]
    for name in ("at", "quoted", "received"):
        rows[name] = at
    return rows


def _history(of: tuple[Instrument, ...], sessions: tuple[Session, ...]) -> Candles:
    rng = np.random.default_rng(1)
    minutes = np.concatenate([s.open + np.arange(s.minutes) * MINUTE for s in sessions[-1 - HISTORY : -1]])
    days = np.array([s.open for s in sessions[:-1]])
    numbers = {s.open: day_number(s.date) for s in sessions}
    parts = []
    for starts, seconds in ((minutes, 60), (days, 86400)):
        rows = np.zeros((len(of), len(starts)), CANDLE)
        close = 5_000_000 + 500 * rng.integers(-3, 4, rows.shape).cumsum(axis=1)
        rows["instrument"] = np.arange(len(of))[:, None]
        rows["interval"], rows["start"], rows["close"], rows["open"] = seconds, starts, close, np.roll(close, 1, axis=1)
        rows["high"], rows["low"] = np.maximum(rows["open"], close) + 500, np.minimum(rows["open"], close) - 500
        rows["volume"], rows["vwap"], rows["trades"] = rng.integers(1, 9000, rows.shape), close, TICKS
        rows["completeness"], rows["provenance"] = 1.0, Provenance.LIVE
        opens = np.array(sorted(numbers))
        rows["session"] = np.array([numbers[k] for k in opens.tolist()])[np.searchsorted(opens, starts, "right") - 1]
        parts.append(rows.ravel())
    return np.concatenate(parts)


def _until(condition: Any) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WAIT} s")
        time.sleep(0.02)
