"""Head: starts this machine's Ray with everything that matters set on purpose.

Ray and Serve read most of their switches from the environment when they are imported, so `prepare` must have run before
anything imports Ray: `Instance` calls it first, and the modules that import Ray are imported behind it. The head is a
`ray start --block` of our own, because `ray.init` takes no ports for Ray's agents: it ends with us, however we end, and
everything of Ray's ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cluster.patience import START_SECONDS, WAITS
from cluster.settings import Settings
from market.errors import LineDown

NAMESPACE = "bourse"
LOOPBACK = "127.0.0.1"
SAID = 200
"""So many letters of why Ray did not start."""
END_SECONDS, LEAVE_SECONDS = 15.0, 3.0
PROXY = "proxy"
"""HAProxy's folder in the run folder. Ray puts a node's id of 56 letters into the path of its sockets, which HAProxy
wants below 98: so their names are a letter each.
"""
SIGNAL_OF_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
MOST_CONNECTIONS = 20_000
SILENCE = 15
"""Seconds after which a line is closed on which a client says nothing and takes nothing; sockets are asked each 5 s."""
IO_WORKERS = 16
FILES_EACH, FILES_BESIDE = 2.5, 100
"""Open files HAProxy wants for each connection, a quarter of a pipe among them, and for itself; it refuses to start
without them.
"""


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The variables Ray, Serve and HAProxy read, all ports from one base, all sockets in our own run folder."""
    ports, proxy = settings.ports, folder / PROXY
    proxy.mkdir(parents=True, exist_ok=True)
    return {
        **WAITS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(folder / "ray-token"),
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Ray warns of workers beyond these and four for each CPU: our actors are few, and all of them stay.
        "RAY_max_io_workers": str(IO_WORKERS),
        # uvicorn would take whatever a stranger writes into X-Forwarded-For for the peer, since HAProxy is on loopback.
        "FORWARDED_ALLOW_IPS": "",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections()),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(SILENCE),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replica_http[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replica_http[1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.replica_grpc[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.replica_grpc[1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "a"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "m"),
        "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": "0.25,0.5,1,2,5,10,25,50,100,250,1000,5000",
    }


def connections() -> int:
    """How many connections HAProxy may promise under this user's limit of open files, raised as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else int((hard - FILES_BESIDE) / FILES_EACH)
    return max(64, min(MOST_CONNECTIONS, most))


def prepare(settings: Settings, folder: Path) -> None:
    """Put the variables in place. Raises RuntimeError when Ray has been imported already."""
    if "ray" in sys.modules:
        raise RuntimeError("Ray was imported before its environment was set")
    os.environ.update(environment(settings, folder))


class Head:
    """This machine's Ray: `start`, look whether it `ended`, `close`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder / "ray"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, dashboard: bool = True) -> dict[str, Any]:
        """Start the head node and join it; the addresses by name. Raises LineDown when it does not come up."""
        self._folder.mkdir(parents=True, exist_ok=True)
        said = self._folder / "head.log"
        ready = self._folder / "ray_current_cluster"  # what `ray start` writes last
        ready.unlink(missing_ok=True)
        # The processes Ray starts log in JSON, this one keeps the screen for people.
        environment = {**os.environ, "RAY_LOGGING_CONFIG_ENCODING": "JSON"}
        words = [sys.executable, "-m", "cluster.patience", *self._words(dashboard)]
        with said.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  (our own interpreter, words of ours)
                words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent
            )
        self._wait(ready, said)
        return self._join(dashboard)

    def ended(self) -> bool:
        """Whether the head is gone; nothing of Ray's runs without it."""
        return self._process is not None and self._process.poll() is not None

    def close(self) -> None:
        """End it and everything of Ray's; what a half-started head leaves behind too."""
        if self._process is None:
            return
        family = [] if self.ended() else psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for one in psutil.wait_procs(family, LEAVE_SECONDS)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def _words(self, dashboard: bool) -> list[str]:
        ports = self._settings.ports
        options = {
            "port": ports.gcs,
            "node-ip-address": LOOPBACK,
            "num-cpus": os.cpu_count(),
            "object-store-memory": self._settings.object_store,
            "temp-dir": self._folder,
            "include-dashboard": dashboard,
            "dashboard-host": LOOPBACK,
            "dashboard-port": ports.dashboard,
            "dashboard-agent-listen-port": ports.agent,
            "dashboard-agent-grpc-port": ports.agent_grpc,
            "runtime-env-agent-port": ports.runtime_env_agent,
            "metrics-export-port": ports.metrics,
            "node-manager-port": ports.node_manager,
            "object-manager-port": ports.object_manager,
            "ray-client-server-port": ports.ray_client,
            "min-worker-port": ports.workers[0],
            "max-worker-port": ports.workers[1],
        }
        flags = ["--head", "--block", "--disable-usage-stats", "--log-style=record", "--log-color=false"]
        return ["start", *flags, *(f"--{name}={value}" for name, value in options.items())]

    def _wait(self, ready: Path, said: Path) -> None:
        end = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self.ended() or time.monotonic() > end:
                lines = said.read_text(errors="replace").strip().splitlines()
                why = f"not within {START_SECONDS} s; is the machine busy?"
                if self.ended():
                    why = lines[-1][:SAID] if lines else "no word"
                raise LineDown("ray", f"it did not start: {why}; see {said}")
            time.sleep(0.05)

    def _join(self, dashboard: bool) -> dict[str, Any]:
        import ray

        ray.init(
            address=f"{LOOPBACK}:{self._settings.ports.gcs}",
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level="warning",
            configure_logging=True,
        )
        return {
            "dashboard": f"http://{LOOPBACK}:{self._settings.ports.dashboard}" if dashboard else None,
            "logs": str(self._folder / "session_latest" / "logs"),
        }


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(SIGNAL_OF_PARENT, signal.SIGTERM)


def _token(path: Path) -> str:
    """The cluster's token, made once, readable by its owner only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip()
