"""Cores: the Ray that a command computes on: the cluster's where it runs as a job of it, else one of its own."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from market.errors import LineDown

JOB = "RAY_JOB_ID"
"""What Ray sets for the commands it was given as jobs."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
TRIES, LEAVE_SECONDS = 2, 3.0
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
    os.environ |= QUIET
    joined = JOB in os.environ or "RAY_ADDRESS" in os.environ
    if not joined:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # nobody else may join it
    import ray
    import ray.data
    from ray.data._internal.execution.resource_manager import ResourceManager

    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = LOOK_SECONDS
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.data.exceptions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what failed is told by whoever called, in one line
    said: dict[str, Any] = {"address": "auto"} if joined else {"address": "local", "num_cpus": count}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    started(lambda: ray.init(**said, **quiet, include_dashboard=None if joined else False), ray.shutdown)
    try:
        yield
    finally:
        ray.shutdown()


def started(start: Callable[[], object], undo: Callable[[], object]) -> None:
    """Start a Ray, once more where it did not come in time: Ray waits 30 s for its own parts, and nobody can ask for
    more. What a try left behind is ended. Raises LineDown, of one line.
    """
    own = psutil.Process()
    for left in range(TRIES - 1, -1, -1):
        before = own.children(recursive=True)
        try:
            start()
        except Exception as e:  # Ray raises no narrower class where it does not start in time
            undo()
            _end([one for one in own.children(recursive=True) if one not in before])
            if not left:
                reason = " ".join(str(e).split())[:SAID].rstrip(".")
                again = f"it did not start in {TRIES} tries: {reason}; say it again when the machine is less busy"
                raise LineDown("ray", again) from None
        else:
            return


def _end(family: list[psutil.Process]) -> None:
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, LEAVE_SECONDS)
