"""A real Redis of ours for the tests of adapters: a durable one and a cache for the session, emptied for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.bus import Bus
from adapters.postgres_server import PostgresServer
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from tests.adapters.cycle import MakeServer

MEMORY = 64 << 20


@pytest.fixture(scope="session")
def shared_bus() -> Iterator[RedisServer]:
    """The durable server that most tests share."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = RedisServer(f"{folder}/bus", f"{folder}/run", "bus", memory=MEMORY, durable=True)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def shared_cache() -> Iterator[RedisServer]:
    """The cache that tests of the read model share."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = RedisServer(f"{folder}/cache", f"{folder}/run", "cache", memory=MEMORY, durable=False)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def bus(shared_bus: RedisServer) -> Iterator[Bus]:
    """An empty bus."""
    RedisLine(shared_bus.url).call("FLUSHALL")
    line = Bus(shared_bus.url)
    yield line
    line.close()


@pytest.fixture
def raw(shared_bus: RedisServer, bus: Bus) -> Iterator[RedisLine]:
    """A line to the same server, to look at what stands there."""
    line = RedisLine(shared_bus.url)
    yield line
    line.close()


@pytest.fixture
def cache(shared_cache: RedisServer) -> Iterator[RedisLine]:
    """A line to an empty cache."""
    line = RedisLine(shared_cache.url)
    line.call("FLUSHALL")
    yield line
    line.close()


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Servers of a test's own, in a short folder (a socket's path may not be long); ended with the test."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        made: list[RedisServer] = []

        def make(name: str = "bus", durable: bool = True, memory: int = MEMORY, **options: str) -> RedisServer:
            at = Path(folder) / name
            run = at.parent / "run"
            server = RedisServer(at, run, at.name, memory=memory, durable=durable, **options)
            made.append(server)
            return server

        yield make
        for server in made:
            server.stop()


@pytest.fixture(scope="session")
def shared_database() -> Iterator[PostgresServer]:
    """The Postgres that tests share; each test takes other names in it."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = PostgresServer(f"{folder}/database", f"{folder}/run")
        server.start()
        yield server
        server.stop()
