"""A Ray of a test's own, which may take its time to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import patience


@contextmanager
def ray_of_ours(cores: int) -> Iterator[None]:
    """As long as this takes."""
    os.environ |= patience.WAITS
    import ray

    patience.with_node()
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
