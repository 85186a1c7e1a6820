"""Stage: a bus, a publisher of quotes and a gateway for benchmarks of the stream; bare, or behind Serve and HAProxy."""

from __future__ import annotations

import multiprocessing as mp
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from adapters import entries, logs
from adapters.bus import Bus
from adapters.redis_server import RedisServer
from benchmarks.spine import AMPLE, instruments, session_now
from cluster.head import connections
from cluster.instance import free_base
from market.money import SCALE
from market.ticks import FeedState, Ticks, blank, mark
from serve_app.access import AccessPlan
from serve_app.follow import GatewayPlan

INSTRUMENTS = 500
TRADES_EVERY = 0.1
SHARE = 1.0


class Stage:
    """A context manager that ends what it started."""

    def __init__(self, *, bare: bool | None, replicas: int = 1) -> None:
        """`bare`: without Serve and HAProxy; None: no gateway at all, for a peer."""
        self._replicas = replicas
        logs.configure("bench", "error")
        self._bare = bare
        self._folder = tempfile.TemporaryDirectory(prefix="bourse-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._servers = [
            RedisServer(folder / "bus", folder, "bus", memory=1 << 30, durable=False),
            RedisServer(folder / "cache", folder, "cache", memory=64 << 20, durable=False),
        ]
        self._stopped = threading.Event()
        self._trading: threading.Thread | None = None
        self.listeners: list[Callable[[Ticks], None]] = []
        """Told of every update, for a peer that reads no bus."""

    def __enter__(self) -> Stage:
        for server in self._servers:
            server.start()
        self.plan = GatewayPlan(
            bus=self._servers[0].url,
            cache=self._servers[1].url,
            lake=f"{self._folder.name}/lake",
            partitions=1,
            instruments=instruments(INSTRUMENTS),
            sessions=(session_now(),),
            feeds=("bench",),
            tiers=AMPLE,
            access=AccessPlan(demo=True),
            log_level="error",
        )
        self._bus = Bus(self._servers[0].url)
        self._rng = np.random.default_rng(5)
        self._ticks = blank(INSTRUMENTS)
        self._ticks["instrument"] = np.arange(INSTRUMENTS)
        self._ticks["price"] = self._rng.integers(100, 3000, INSTRUMENTS) * SCALE
        for name in ("bid", "ask"):
            self._ticks[name] = self._ticks["price"]
        self._ticks["day_volume"] = 1_000_000
        self._number = 0
        self.publish(1.0)
        self.port: int = free_base()
        if self._bare is not None:
            (self._open_bare if self._bare else self._open_serve)()
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        self._close()
        self._bus.close()
        for server in self._servers:
            server.stop()
        self._folder.cleanup()

    def publish(self, share: float) -> None:
        """One tick of a share of the instruments, as a feed writes it."""
        chosen = self._rng.random(INSTRUMENTS) < share
        now = time.time_ns()
        rows = self._ticks[chosen]
        rows["at"], rows["quoted"], rows["received"] = now, now, now
        rows["price"] += self._rng.integers(-2, 3, len(rows)) * 500
        rows["day_volume"] += self._rng.integers(1, 200, len(rows))
        moved = self._rng.random(len(rows)) < 0.5
        rows["bid"][moved], rows["ask"][moved] = rows["price"][moved] - 500, rows["price"][moved] + 500
        self._ticks[chosen] = rows
        self._number += 1
        payload = entries.encode(np.concatenate([rows, mark(0, FeedState.LIVE, now)]))
        self._bus.append("ticks", "bench", [(0, self._number, payload)])
        for tell in self.listeners:
            tell(rows)

    def trade(self) -> None:
        """Publish ten times a second from now on."""

        def go() -> None:
            due = time.monotonic()
            while not self._stopped.wait(max(0.0, due - time.monotonic())):
                self.publish(SHARE)
                due += TRADES_EVERY
                if self._number % 100 == 0:
                    self._bus.trim("ticks", 0, int((time.time() - 20) * 1000) << 20)

        self._trading = threading.Thread(target=go, daemon=True)
        self._trading.start()

    def rest(self) -> None:
        """Publish no more."""
        self._stopped.set()
        if self._trading:
            self._trading.join()

    def replace(self) -> None:
        """Start the gateway's process again, where there is no Serve to do it."""
        if self._bare:
            self._open_bare()

    def cpu(self) -> dict[str, float]:
        """Seconds of a core the gateway's process, and HAProxy, have used."""
        return {"gateway": _cpu(psutil.Process(self.gateway_pid)), "haproxy": sum(map(_cpu, self._proxies()))}

    def memory(self) -> int:
        """Bytes resident of the gateway's process and HAProxy."""
        return sum(p.memory_info().rss for p in [psutil.Process(self.gateway_pid), *self._proxies()])

    def _proxies(self) -> list[psutil.Process]:
        """HAProxy as it is now: another process takes over when its configuration changes."""
        if self._bare is not False:
            return []
        return [p for p in psutil.process_iter(["name"]) if p.info["name"] == "haproxy" and _ours(p)]

    def _open_bare(self) -> None:
        self._child = mp.get_context("spawn").Process(target=_serve_bare, args=(self.plan, self.port), daemon=True)
        self._child.start()
        self.gateway_pid = self._child.pid or 0
        wait_for(self.port)

    def _open_serve(self) -> None:
        os.environ.update(_environment(Path(self._folder.name), self.port))  # read by Ray when a child imports it
        context = mp.get_context("spawn")
        self._over, ready = context.Event(), context.Event()
        self._child = context.Process(target=_serve_ray, args=(self.plan, self.port, self._replicas, ready, self._over))
        self._child.start()
        end = time.monotonic() + 240
        while not ready.wait(0.5):
            if not self._child.is_alive() or time.monotonic() > end:
                raise TimeoutError("Serve did not come up within 240 s")
        wait_for(self.port)
        self.gateway_pid = replica_pid()

    def _close(self) -> None:
        if self._bare is None:
            return
        if self._bare:
            self._child.terminate()
        else:
            self._over.set()
        self._child.join(60)


def replica_pid() -> int:
    """The process of the gateway's one replica."""
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if words.startswith("ray::ServeReplica:gateway") and _ours(process):
            return int(process.pid)
    raise RuntimeError("no replica of the gateway")


def _ours(process: psutil.Process) -> bool:
    try:
        return os.environ.get("RAY_TMPDIR", "?") in (process.environ().get("RAY_TMPDIR", ""), "?")
    except psutil.Error:
        return False


def _environment(folder: Path, port: int) -> dict[str, str]:
    proxy = folder / "p"
    proxy.mkdir()
    return {
        "RAY_TMPDIR": str(folder),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(port + 1),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(port + 2),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(port + 3),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(port + 4),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(port + 10),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(port + 19),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(port + 20),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(port + 29),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "a"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "m"),
    }


def _serve_bare(plan: GatewayPlan, port: int) -> None:
    import uvicorn

    from serve_app.gateway import build, settle

    logs.configure("bench", "error")
    app = build(plan)
    settle()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", backlog=4096)


def _serve_ray(plan: GatewayPlan, port: int, replicas: int, ready: Any, over: Any) -> None:
    import ray
    from ray import serve

    from serve_app.gateway import application

    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
    serve.run(application(plan, replicas, 30_000, 0.5), name="gateway", route_prefix="/")
    ready.set()
    over.wait()
    serve.shutdown()
    ray.shutdown()


def wait_for(port: int) -> None:
    """Until somebody listens. Raises TimeoutError."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nobody on port {port} within 120 s")


def _cpu(process: Any) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit("python -m benchmarks w5")
