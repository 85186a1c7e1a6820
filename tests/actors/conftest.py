"""A real bus of a test's own for the shells, in a short folder (a socket's path may not be long)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.bus import Bus
from adapters.redis_server import RedisServer

MEMORY = 64 << 20


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A durable server that is up."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        one = RedisServer(Path(folder) / "bus", Path(folder) / "run", "bus", memory=MEMORY, durable=True)
        one.start()
        yield one
        one.stop()


@pytest.fixture
def bus(server: RedisServer) -> Iterator[Bus]:
    """A line to it."""
    line = Bus(server.url)
    yield line
    line.close()
