"""W9: predictions: 500 instruments a request, and one; Serve behind HAProxy against uvicorn with the same model.

Ours is the deployment as it is shipped: HAProxy, the gateway, gRPC to the predictor, which loads the version from its
registry in Postgres. The peer is one uvicorn process: the gateway's own app with the same ensemble (heuristic, linear,
XGBoost, fitted on made-up features) called in it, so the difference is what lies between. Both read the same features
from the same read model and answer the same JSON, which is compared. A few clients with lasting connections ask one
after another, on the same cores.
"""

from __future__ import annotations

import http.client
import multiprocessing as mp
import os
import socket
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from adapters import logs
from adapters.postgres_server import PostgresServer
from adapters.readmodel import ReadModel
from adapters.registry import Registry
from benchmarks.report import Report
from benchmarks.spine import AMPLE
from market.ensemble import Ensemble
from market.features import NAMES, SET
from market.instruments import Instrument
from market.labels import COST
from market.models.boosted import Boosted
from market.models.examples import CHANNELS, LENGTH, Examples
from market.models.heuristic import Body, Heuristic
from market.models.linear import Linear
from market.registrations import About
from market.sessions import MINUTE

if TYPE_CHECKING:
    from serve_app.follow import GatewayPlan

HORIZON = "15m"
MODEL = f"direction-{HORIZON}"
COUNT = 500
LEARNED = 4_000
CLIENTS, BATCHES, SINGLES, BEFORE = 3, 240, 1_500, 100
WAIT = 120.0


def run(out: Report) -> None:
    """Ours, then the peer, on the same stores."""
    from cluster.instance import Instance, free_base
    from cluster.settings import Ports, Settings, Stores

    with tempfile.TemporaryDirectory(prefix="bourse-w9-", dir="/tmp") as folder:
        home = Path(folder)
        (home / "cluster.yaml").touch()
        settings = Settings(
            file=home / "cluster.yaml", ports=Ports(base=free_base()), stores=Stores(data=str(home / "data"))
        )
        instance = Instance(settings, settings.run_folder, out.say)
        database = PostgresServer(home / "postgres", home / "run")
        try:
            database.start()
            instance.open_stores()
            instance.open_ray(dashboard=False)
            from serve_app.access import AccessPlan  # loads Ray, behind its environment
            from serve_app.follow import GatewayPlan

            files = _registered(database.url, home / "models").save()
            shares = tuple(Instrument(id=i, symbol=f"NSE:S{i}") for i in range(COUNT))
            ReadModel(instance.stores.cache).inputs([i.symbol for i in shares], examples(COUNT, 11))
            plan = GatewayPlan(
                bus=instance.stores.bus, cache=instance.stores.cache, lake=str(home / "lake"), partitions=2,
                instruments=shares, sessions=(), feeds=("w9",), log_level="warning",
                tiers=AMPLE, access=AccessPlan(demo=True),
            )  # fmt: skip
            symbols = [i.symbol for i in shares]
            ours = _serve(instance, plan, database.url, home, symbols)
            peer = _uvicorn(plan, files, symbols)
        finally:
            instance.close()
            database.stop()
    if ours["answers"] != peer["answers"]:
        out.say("the answers differ")
    case = f"{COUNT} instruments a request, {CLIENTS} clients"
    out.add(case, "predictions/s", ours["rate"], peer["rate"], peer_name="uvicorn, same app")
    for name in ("p50", "p99"):
        out.add(case, f"{name} ms", ours[f"batch_{name}"], peer[f"batch_{name}"], less_is_better=True,
                peer_name="uvicorn, same app")  # fmt: skip
    for name in ("p50", "p99"):
        out.add("one instrument, one client", f"{name} ms", ours[name], peer[name], less_is_better=True,
                peer_name="uvicorn, same app")  # fmt: skip


def examples(count: int, seed: int) -> Examples:
    """Made-up decisions."""
    chance = np.random.default_rng(seed)
    features = chance.normal(0.0, 1.0, (count, len(NAMES))).astype(np.float32)
    sequence = chance.normal(0.0, 0.01, (count, LENGTH, len(CHANNELS))).astype(np.float32)
    at = 1_472_096_760_000_000_000 + np.arange(count) * MINUTE
    return Examples(NAMES, features, sequence, np.arange(count, dtype=np.int32), at, np.full(count, 17_038, np.int32))


def fitted() -> Ensemble:
    """Heuristic, linear and boosted members, weighted and calibrated, with an interval."""
    made, held = examples(LEARNED, 1), examples(LEARNED // 2, 2)
    moves = [0.002 * one.features[:, 0] + np.random.default_rng(3).normal(0, 0.002, one.rows) for one in (made, held)]
    labels = [{HORIZON: np.select([m < -COST, m > COST], [0, 2], 1).astype(np.int8)} for m in moves]
    members = {"heuristic": Heuristic(HORIZON), "linear": Linear(HORIZON), "xgboost": Boosted(HORIZON)}
    for member in members.values():
        member.fit(made, labels[0], held, labels[1], 7)
    ensemble = Ensemble(HORIZON, members)
    ensemble.fit_weights(held, labels[1], moves[1], made)
    return ensemble


def _registered(url: str, folder: Path) -> Ensemble:
    ensemble, registry = fitted(), Registry(url, folder)
    about = About(
        name=MODEL, horizon=HORIZON, features=SET, symbols=("NSE:S0",), revision="w9", seed=7, measure="auc",
        score=0.6, baselines={"none": 0.5}, verdict="EDGE", trained_at=datetime.now(UTC),
    )  # fmt: skip
    version = registry.register(MODEL, ensemble.save(), about)
    registry.promote(MODEL, version, force=True, because="it is what this benchmark serves")
    registry.close()
    return ensemble


def _serve(instance: Any, plan: GatewayPlan, url: str, home: Path, symbols: list[str]) -> dict[str, Any]:
    from serve_app.gateway import application
    from serve_app.predictor import PredictorPlan, Tuning

    made = PredictorPlan(
        bus=plan.bus, cache=plan.cache, registry=url, models=str(home / "models"), horizons=(HORIZON,),
        symbols=tuple(i.symbol for i in plan.instruments),
        log_level="warning",
    )  # fmt: skip
    instance.gateway(application(plan, 1, 10_000, 0))
    environment = {logs.FOLDER: os.environ[logs.FOLDER]}
    instance.predictor(
        {
            "plan": made.model_dump_json(),
            "tuning": Tuning().model_dump(),
            "replicas": 1,
            "num_cpus": 0,
            "environment": environment,
        }
    )
    return _raced(instance.settings.ports.http, symbols)


def _uvicorn(plan: GatewayPlan, files: dict[str, bytes], symbols: list[str]) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = mp.get_context("spawn").Process(target=_peer, args=(plan, files, port), daemon=True)
    process.start()
    try:
        return _raced(port, symbols)
    finally:
        process.terminate()
        process.join()


class _Same:
    """The ensemble in the app's own process."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._ensemble = Ensemble.load(files)

    async def answer(self, asked: Any) -> Any:
        """Rows for examples, at once."""
        from serve_app.predictor import Answered

        rows = self._ensemble.predict(asked.examples, asked.now)
        return Answered(rows, [f"{MODEL}@1"] * len(rows), 0.0)

    async def judge(self, body: Body, horizon: str, engine: str) -> Any:
        """There is no engine for bodies here."""
        from serve_app.predictor import NoSuch

        return NoSuch("engine", engine, "none: this answers for symbols")

    async def models(self) -> dict[str, Any]:
        """Nobody asks for it here."""
        return {}


def _peer(plan: GatewayPlan, files: dict[str, bytes], port: int) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import uvicorn

    from serve_app.gateway import build

    logs.configure("peer", "warning")
    uvicorn.run(build(plan, predicts=_Same(files)), host="127.0.0.1", port=port, log_level="error", access_log=False)


def _raced(port: int, symbols: list[str]) -> dict[str, Any]:
    """Predictions a second of whole batches, p50 and p99 of a batch and of a single call in ms, and the answers."""
    answers = _answered(port, symbols)
    many = orjson.dumps({"symbols": symbols})
    took: list[float] = []

    def client() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        took.extend(_ask(line, "/predict/batch", many) for _ in range(BATCHES // CLIENTS))

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    rate = len(took) * len(symbols) / (time.perf_counter() - began)
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    bodies = [orjson.dumps({"symbol": symbol}) for symbol in symbols]
    singles = [_ask(line, "/predict", bodies[k % len(bodies)]) for k in range(BEFORE + SINGLES)][BEFORE:]
    batch, single = (np.percentile(times, (50, 99)).tolist() for times in (took, singles))
    return {"rate": rate, "batch_p50": batch[0], "batch_p99": batch[1], "p50": single[0], "p99": single[1],
            "answers": answers}  # fmt: skip


def _answered(port: int, symbols: list[str]) -> list[tuple[Any, ...]]:
    """What is answered of each symbol, as soon as the registered version answers."""
    end = time.monotonic() + WAIT
    while True:
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            line.request("POST", "/predict/batch", orjson.dumps({"symbols": symbols}), _HEADERS)
            got = line.getresponse()
            said = orjson.loads(got.read())
            if got.status == 200 and said["predictions"][0]["model_version"] == f"{MODEL}@1":
                return [(one["symbol"], one["prediction"], one["reasons"][0]) for one in said["predictions"]]
        except (OSError, http.client.HTTPException):
            said = "no answer"
        if time.monotonic() > end:
            raise TimeoutError(f"port {port}: {said!s:.300}")
        time.sleep(0.2)


_HEADERS = {"Content-Type": "application/json"}


def _ask(line: http.client.HTTPConnection, path: str, body: bytes) -> float:
    """Milliseconds. Raises AssertionError for anything but an answer."""
    began = time.perf_counter()
    line.request("POST", path, body, _HEADERS)
    got = line.getresponse()
    said = got.read()
    took = (time.perf_counter() - began) * 1000
    assert got.status == 200, said
    return took
