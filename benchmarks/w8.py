"""W8: REST under load: one quote, 50 quotes, candles, analyze; Serve behind HAProxy against uvicorn with the same app.

Ours is the gateway as it is shipped; the peer is one uvicorn process with the gateway's own app on the same stores.
A few clients with lasting connections ask one after another, on the same cores. Beside them stand the aims of the BSE
seed: 5 ms for a quote that is in memory, 200 ms for any answer, 100 requests a second, 0.1 % errors, 95 % of the quotes
from memory. At the end a replica begins: seconds until its quotes stand, with what the Market actor kept and without.
"""

from __future__ import annotations

import http.client
import multiprocessing as mp
import os
import socket
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from adapters import logs
from adapters.bus import Bus
from adapters.entries import encode
from adapters.latest import Latest, pack, universe_of
from adapters.readmodel import ReadModel
from benchmarks.report import Report
from benchmarks.spine import AMPLE
from market.candles import CANDLE, Candles, Provenance
from market.instruments import Instrument, partition_of
from market.money import SCALE
from market.quotes import Quotes
from market.scores import HORIZON_NAMES, SCORE, Scores
from market.sessions import MINUTE, Sessions, day_number, session
from market.ticks import FeedState, Ticks, blank, mark

if TYPE_CHECKING:  # they load Ray, which must not be before its environment is set
    from serve_app.follow import GatewayPlan

COUNT, LISTED, MINUTES, PARTITIONS = 500, 50, 120, 4
LARGE = 9_000
TODAY = session(date(2016, 8, 25))
CLIENTS, EACH, BEFORE = 3, 300, 30
WAIT = 120.0
MEMORY, ANY, RATE, ERRORS, HITS = 5.0, 200.0, 100.0, 0.1, 95.0
"""Source: the BSE seed, "Performance Targets": ms, ms, requests a second, per cent, per cent."""
PEER, SEED = "uvicorn, same app", "the seed's aim"


def run(out: Report) -> None:
    """Ours, then the peer, on the same stores; then replicas that begin."""
    from cluster.instance import Instance, free_base
    from cluster.settings import Ports, Settings, Stores

    with tempfile.TemporaryDirectory(prefix="bourse-w8-", dir="/tmp") as folder:
        home = Path(folder)
        (home / "cluster.yaml").touch()
        settings = Settings(
            file=home / "cluster.yaml", ports=Ports(base=free_base()), stores=Stores(data=str(home / "data"))
        )
        instance = Instance(settings, settings.run_folder, out.say)
        try:
            instance.open_stores()
            plan = _plan(instance.stores.bus, instance.stores.cache, home, COUNT)
            _fill(plan)
            peer = _uvicorn(plan)
            ours = _serve(instance, plan)
            for case in ours:
                _tell(out, case, ours[case], peer[case])
            for count in (COUNT, LARGE):
                _begin(out, instance, home, count)
        finally:
            instance.close()


def _tell(out: Report, case: str, ours: dict[str, float], peer: dict[str, float]) -> None:
    out.add(case, "req/s", ours["rate"], peer["rate"], PEER)
    for name in ("p50", "p99"):
        out.add(case, f"{name} ms", ours[name], peer[name], PEER, less_is_better=True)
    limit = MEMORY if case == "one quote" else ANY
    out.add(f"{case}, aim", "p99 ms", ours["p99"], limit, SEED, less_is_better=True)
    out.add(f"{case}, aim", "req/s", ours["rate"], RATE, SEED)
    out.add(f"{case}, aim", "errors %", ours["errors"], ERRORS, SEED, less_is_better=True)
    if "hits" in ours:
        out.add(f"{case}, aim", "from memory %", ours["hits"], HITS, SEED)


def _plan(bus: str, cache: str, home: Path, count: int) -> GatewayPlan:
    from serve_app.access import AccessPlan
    from serve_app.follow import GatewayPlan

    shares = tuple(Instrument(id=i, symbol=f"NSE:S{i}") for i in range(count))
    return GatewayPlan(
        bus=bus, cache=cache, lake=str(home / "lake"), partitions=PARTITIONS, instruments=shares, sessions=(TODAY,),
        feeds=("w8",), log_level="warning", tiers=AMPLE, access=AccessPlan(demo=True),
    )  # fmt: skip


def _fill(plan: GatewayPlan) -> Quotes:
    """A day's beginning on the bus: candles, the newest ticks, scorecards; and the quotes they come to, kept."""
    bus, model = Bus(plan.bus), ReadModel(plan.cache)
    homes = np.array([partition_of(i, PARTITIONS) for i in plan.instruments])
    quotes = Quotes(len(plan.instruments), Sessions(plan.sessions).table())
    at = TODAY.open + MINUTES * MINUTE
    candles = dict.fromkeys(range(PARTITIONS), 0)
    for minute in range(MINUTES):
        rows = _minute(len(plan.instruments), minute)
        quotes.learn(rows)
        for p in candles:
            candles[p] = bus.last("candles", p) + 1
            bus.write("candles", p, candles[p], encode(rows[homes == p]))
    ticks = _ticks(len(plan.instruments), at)
    quotes.update(ticks)
    marked = np.concatenate([ticks, mark(0, FeedState.LIVE, at)])
    quotes.update(marked[-1:])
    for p in range(PARTITIONS):
        mine = np.append(homes == p, True)
        bus.append("ticks", "w8", [(p, 1, encode(marked[mine]))])
        bus.write("scores", p, 1, encode(_scores(np.flatnonzero(homes == p), at - MINUTE)))
    places = {p: bus.last("ticks", p) for p in candles}
    packed = pack(Latest(quotes.snapshot(), places, candles), universe_of(plan.instruments), bus.identity())
    model.keep_quotes(packed)
    return quotes


def _minute(count: int, minute: int) -> Candles:
    rows = np.zeros(count, CANDLE)
    rows["instrument"], rows["interval"], rows["session"] = np.arange(count), 60, day_number(TODAY.date)
    rows["start"] = TODAY.open + minute * MINUTE
    for k, name in enumerate(("open", "low", "close", "vwap", "high")):
        rows[name] = (100 + np.arange(count) + minute % 7) * SCALE + k
    rows["volume"], rows["trades"], rows["completeness"], rows["provenance"] = 100, 9, 1.0, Provenance.LIVE
    return rows


def _ticks(count: int, at: int) -> Ticks:
    rows = blank(count)
    rows["instrument"], rows["price"], rows["day_volume"] = np.arange(count), (100 + np.arange(count)) * SCALE, 12_000
    rows["at"] = rows["received"] = rows["quoted"] = at
    return rows


def _scores(who: np.ndarray[Any, np.dtype[np.int64]], start: int) -> Scores:
    rows = np.zeros(len(who), SCORE)
    rows["instrument"], rows["start"], rows["horizon"] = who, start, HORIZON_NAMES.index("15m")
    return rows


def _serve(instance: Any, plan: GatewayPlan) -> dict[str, dict[str, float]]:
    instance.open_ray(dashboard=False)
    from serve_app.gateway import application

    instance.gateway(application(plan, 1, 10_000, 0))
    return _raced(instance.settings.ports.http)


def _uvicorn(plan: GatewayPlan) -> dict[str, dict[str, float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = mp.get_context("spawn").Process(target=_peer, args=(plan, port), daemon=True)
    process.start()
    try:
        return _raced(port)
    finally:
        process.terminate()
        process.join()


def _peer(plan: GatewayPlan, port: int) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import uvicorn

    from serve_app.gateway import build

    logs.configure("peer", "warning")
    uvicorn.run(build(plan), host="127.0.0.1", port=port, log_level="error", access_log=False)


def _raced(port: int) -> dict[str, dict[str, float]]:
    """Each case's figures, once the gateway has everything."""
    fifty = ",".join(f"S{i}" for i in range(LISTED))
    cases = {
        "one quote": "/api/stock/S7",
        f"{LISTED} quotes": f"/api/v1/quotes?symbols={fifty}",
        f"{MINUTES} candles": "/api/v1/candles/S7",
        "analyze": "/api/v1/analyze?symbol=S7",
    }
    for path in cases.values():
        _ready(port, path)
    return {case: _load(port, path) for case, path in cases.items()}


def _load(port: int, path: str) -> dict[str, float]:
    took: list[float] = []
    wrong: list[int] = []
    known: list[bool] = []

    def client() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for k in range(BEFORE + EACH):
            began = time.perf_counter()
            line.request("GET", path)
            got = line.getresponse()
            said = got.read()
            if k >= BEFORE:
                took.append((time.perf_counter() - began) * 1000)
                wrong.append(got.status != 200)
        body = orjson.loads(said)
        quotes = body.get("quotes", [body] if "feed_state" in body else [])
        known.extend(one["price"] is not None for one in quotes)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    rate = CLIENTS * (BEFORE + EACH) / (time.perf_counter() - began)
    p50, p99 = np.percentile(took, (50, 99)).tolist()
    found = {"rate": rate, "p50": p50, "p99": p99, "errors": 100.0 * sum(wrong) / len(wrong)}
    return found | ({"hits": 100.0 * sum(known) / len(known)} if known else {})


def _ready(port: int, path: str) -> None:
    end = time.monotonic() + WAIT
    while True:
        said: object = "no answer"
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            line.request("GET", path)
            got = line.getresponse()
            said = got.read()
            if got.status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{path}: {said!s:.300}")
        time.sleep(0.2)


def _begin(out: Report, instance: Any, home: Path, count: int) -> None:
    """Seconds until a replica's quotes stand: with what was kept, and with the bus alone."""
    plan = _plan(instance.stores.bus, instance.stores.cache, home, count)
    line = Bus(plan.bus)
    line._line.call("FLUSHALL")
    _fill(plan)
    kept = _warm(plan)
    ReadModel(plan.cache)._line.call("DEL", "bourse:quotes")
    out.add(f"a replica of {count:,} begins", "s until warm", kept, _warm(plan), "from the bus alone", True)


def _warm(plan: GatewayPlan) -> float:
    from serve_app.follow import Follower

    follower = Follower(plan)
    follower.start()
    end = time.monotonic() + WAIT
    while follower.warm_seconds is None and time.monotonic() < end:
        time.sleep(0.01)
    follower.stop()
    assert follower.warm_seconds is not None, follower.trouble
    assert (follower.read(range(len(plan.instruments)))["price"] > 0).all()
    return follower.warm_seconds
