"""Real stores of ours for the tests of the gateway, emptied for each test, and a house over them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.serve import context
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig
from ray.serve.schema import ReplicaRank

from adapters.database import Database
from adapters.postgres_server import PostgresServer
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from serve_app.predictor import APP, NAME
from tests.serve_app.door import Guarded, guard
from tests.serve_app.house import House

MEMORY = 64 << 20


@pytest.fixture(scope="session")
def stores() -> Iterator[tuple[RedisServer, RedisServer]]:
    """The bus and the cache that most tests share."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        bus = RedisServer(f"{folder}/bus", f"{folder}/run", "bus", memory=MEMORY, durable=True)
        cache = RedisServer(f"{folder}/cache", f"{folder}/run", "cache", memory=MEMORY, durable=False)
        bus.start()
        cache.start()
        yield bus, cache
        bus.stop()
        cache.stop()


@pytest.fixture(scope="session")
def database() -> Iterator[PostgresServer]:
    """The Postgres that tests share, its tables made."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = PostgresServer(f"{folder}/database", f"{folder}/run")
        server.start()
        line = Database(server.url)
        line.migrate()
        line.close()
        yield server
        server.stop()


@pytest.fixture
def guarded(stores: tuple[RedisServer, RedisServer], database: PostgresServer, tmp_path: Path) -> Iterator[Guarded]:
    """A house with accounts, and no demo mode."""
    yield from guard(stores, database.url, tmp_path / "lake", demo=False)


@pytest.fixture
def closed(stores: tuple[RedisServer, RedisServer], tmp_path: Path) -> Iterator[House]:
    """A house whose gateway is not built yet, on empty stores."""
    for server in stores:
        line = RedisLine(server.url)
        line.call("FLUSHALL")
        line.close()
    house = House(*stores, tmp_path / "lake")
    yield house
    house.close()


@pytest.fixture
def house(closed: House) -> House:
    """A house whose gateway follows."""
    closed.open()
    return closed


@pytest.fixture
def replica() -> Iterator[None]:
    """What Serve tells of the replica around us; its batching asks for it."""
    deployment = DeploymentID(NAME, APP)
    context._set_internal_replica_context(
        replica_id=ReplicaID("test", deployment),
        servable_object=None,
        _deployment_config=DeploymentConfig(max_ongoing_requests=10_000),
        rank=ReplicaRank(rank=0, node_rank=0, local_rank=0),
        world_size=1,
    )
    yield
    context._INTERNAL_REPLICA_CONTEXT = None
