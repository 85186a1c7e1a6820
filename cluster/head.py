"""Head: starts this machine's Ray with everything that matters set on purpose.

Ray and Serve read most of their switches from the environment when they are imported, so `prepare` must have run before
anything imports Ray: `Instance` calls it first, and the modules that import Ray are imported behind it.
"""

from __future__ import annotations

import os
import resource
import secrets
import sys
from pathlib import Path
from typing import Any

from cluster.settings import Settings

NAMESPACE = "bourse"
MOST_CONNECTIONS = 20_000
FILES_EACH = 3
"""Open files HAProxy wants for each connection, and it refuses to start without them."""


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The variables Ray, Serve and HAProxy read, all ports from one base, all sockets in our own run folder."""
    ports, proxy = settings.ports, folder / "haproxy"
    proxy.mkdir(parents=True, exist_ok=True)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(folder / "ray-token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections()),
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
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
        "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": "0.25,0.5,1,2,5,10,25,50,100,250,1000,5000",
    }


def connections() -> int:
    """How many connections HAProxy may promise under this user's limit of open files, raised as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = hard if hard != resource.RLIM_INFINITY else MOST_CONNECTIONS * FILES_EACH
    return max(64, min(MOST_CONNECTIONS, files // FILES_EACH))


def prepare(settings: Settings, folder: Path) -> None:
    """Put the variables in place. Raises RuntimeError when Ray has been imported already."""
    if "ray" in sys.modules:
        raise RuntimeError("Ray was imported before its environment was set")
    os.environ.update(environment(settings, folder))


def start(settings: Settings, folder: Path, *, dashboard: bool = True) -> dict[str, Any]:
    """Start a head node of our own in this process tree; it ends with this process. Returns addresses by name."""
    import ray

    # Set behind the import: the processes Ray starts log in JSON, this one keeps the screen for people.
    os.environ["RAY_LOGGING_CONFIG_ENCODING"] = "JSON"
    context = ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=os.cpu_count(),
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        dashboard_port=settings.ports.dashboard,
        _metrics_export_port=settings.ports.metrics if dashboard else None,
        object_store_memory=settings.object_store,
        _temp_dir=str(folder / "ray"),
        log_to_driver=False,
        logging_level="warning",
        configure_logging=True,
    )
    return {
        "dashboard": f"http://{context.dashboard_url}" if dashboard else None,
        "logs": str(folder / "ray" / "session_latest" / "logs"),
    }


def _token(path: Path) -> str:
    """The cluster's token, made once, readable by its owner only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip()
