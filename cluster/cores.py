"""Cores: the Ray that a command computes on: the cluster's where it runs as a job of it, else one of its own."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import patience
from market.errors import LineDown

JOB = "RAY_JOB_ID"
"""What Ray sets for the commands it was given as jobs."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
TOKEN = secrets.token_hex(32)
"""For every Ray of our own, so that nobody else joins it: a process of Ray's reads it once, whatever is said later."""

SAID = 200
"""So many letters of why Ray did not start."""

LOOK_SECONDS = 0.05
"""Ray Data asks so often what the cluster has. Left to itself it asks once a second, and until the second time a data
set takes one task after the other.
"""


@contextmanager
def cores(count: int | None = None) -> Iterator[None]:
    """A Ray as long as this takes; `count`: cores of one of our own, all of this machine's without it.

    Within another `cores` it is that one's: a process keeps to the first Ray it has joined. Raises LineDown: none came.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    os.environ |= {**QUIET, **patience.WAITS}
    joined = JOB in os.environ or "RAY_ADDRESS" in os.environ
    if not joined:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    import ray
    import ray.data
    from ray.data._internal.execution.resource_manager import ResourceManager

    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = LOOK_SECONDS
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.data.exceptions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what failed is told by whoever called, in one line
    patience.with_node()
    said: dict[str, Any] = {"address": "auto"} if joined else {"address": "local", "num_cpus": count}
    try:
        ray.init(**said, include_dashboard=None if joined else False, log_to_driver=False, logging_level="error")
    except Exception as e:  # Ray raises no narrower class where it does not start in time
        raise LineDown("ray", f"{' '.join(str(e).split())[:SAID]} Is the machine busy? Say it again") from e
    try:
        yield
    finally:
        ray.shutdown()
