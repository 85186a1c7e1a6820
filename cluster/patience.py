"""Patience: how long Ray and its Serve may take to come up, so that a busy machine is slow and not broken.

Ray reads some of it from the environment (`WAITS`). The rest are numbers in its code, 30 s for a node and 60 s for
Serve's proxies, which `with_node` and `with_proxies` stretch. `python -m cluster.patience start ...` is `ray start ...`
of such a Ray.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

START_SECONDS = 300
PAUSE_SECONDS = 0.1
WAITS: Mapping[str, str] = {
    "RAY_gcs_server_port_wait_time_s": str(START_SECONDS),
    "RAY_worker_register_timeout_seconds": str(START_SECONDS),
    # Serve ends a proxy that is not ready by then, and whoever waits for it is told that it died.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(START_SECONDS),
}
"""Read by Ray when it is imported."""


def with_node() -> None:
    """Let a node that this process starts take `START_SECONDS`."""
    from ray._private import services

    if not hasattr(services.get_node, "__wrapped__"):
        services.get_node = patient(services.get_node)


def with_proxies() -> None:
    """Let the proxies that this process waits for take `START_SECONDS`."""
    from ray.serve._private import api, client

    api.HTTP_PROXY_TIMEOUT = client.HTTP_PROXY_TIMEOUT = START_SECONDS


def patient(look: Callable[..., Any]) -> Callable[..., Any]:
    """The same look, again and again until what it looks for is there, for `START_SECONDS` at most."""

    @wraps(look)
    def looked(*where: Any) -> Any:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return look(*where)
            except RuntimeError:  # it is not registered yet
                if time.monotonic() > end:
                    raise
            time.sleep(PAUSE_SECONDS)

    return looked


if __name__ == "__main__":
    os.environ |= WAITS
    with_node()
    from ray.scripts.scripts import main

    main()
