"""Stores: the bus and the cache this deployment uses, started here unless a URL names one that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

from adapters.redis_server import RedisServer
from cluster.settings import Settings


class Stores:
    """Two Redis servers: the durable bus, and the read model with its own memory limit."""

    def __init__(self, settings: Settings, run: Path) -> None:
        self._servers: dict[str, RedisServer] = {}
        bus, cache = settings.secrets.bus_url, settings.secrets.cache_url
        sizes = settings.stores
        self.bus = bus.get_secret_value() if bus else self._own("bus", settings.data / "bus", run, sizes.bus_memory)
        self.cache = (
            cache.get_secret_value() if cache else self._own("cache", settings.data / "cache", run, sizes.cache_memory)
        )

    @property
    def pids(self) -> dict[str, int | None]:
        """Process ids of the servers that are ours, by name."""
        return {name: server.pid for name, server in self._servers.items()}

    def start(self) -> list[str]:
        """Start what is ours; returns what had to be recovered, in words. Raises StoreRefused, LineDown."""
        return [f"{name}: {line}" for name, server in self._servers.items() for line in server.start()]

    def ensure(self) -> list[str]:
        """Start again what of ours has died, with the same care; returns what was done."""
        return [f"{name}: {line}" for name, server in self._servers.items() for line in server.ensure()]

    def stop(self) -> None:
        """End what is ours."""
        for server in self._servers.values():
            server.stop()

    def _own(self, name: str, folder: Path, run: Path, memory: int) -> str:
        server = RedisServer(folder, run, name, memory=memory, durable=name == "bus")
        self._servers[name] = server
        return server.url
