"""The database of this deployment: where it is, kept running beside an instance, or opened for one command."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from adapters import logs, postgres_server
from adapters.database import Database
from adapters.lines import Backoff
from adapters.postgres_server import PostgresServer
from adapters.registry import Registry
from adapters.upkeep import Upkeep
from cluster.settings import Settings, private_folder
from market.errors import BourseError

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two tries."""


def url(settings: Settings) -> str:
    """Where the database is, or will be when it runs."""
    foreign = settings.secrets.database_url
    return foreign.get_secret_value() if foreign else postgres_server.url(settings.run_folder)


class KeptDatabase:
    """Starts it, brings its tables up to date, starts it again when it died: in a thread, so that nothing waits for it.

    What is wrong with it is said once, and tried again and again.
    """

    def __init__(self, settings: Settings, run: Path) -> None:
        self._folder, self._run = settings.database_folder, run
        self._url = url(settings)
        self._server: PostgresServer | None = None
        self._migrated = False
        self._said = ""
        self._pauses = Backoff(SHORTEST, LONGEST)
        self._next = 0.0
        self._thread = ThreadPoolExecutor(1, "database")
        self._trying: Future[list[str]] = self._thread.submit(self._try)

    @property
    def pid(self) -> int | None:
        """The process of the server that is ours, while it runs."""
        return self._server.pid if self._server is not None else None

    def ensure(self) -> list[str]:
        """What was done or went wrong since the last call, in words; returns at once."""
        if not self._trying.done():
            return []
        said: list[str] = []
        if self._next == 0.0:
            try:
                said = [f"database: {line}" for line in self._trying.result()]
                self._said, self._next = "", time.monotonic() + SHORTEST
                self._pauses.reset()
            except Exception as e:  # a full disk, a folder that is not ours: whatever it is, the rest goes on
                why = str(e) if isinstance(e, BourseError) else f"database: {type(e).__name__}: {e}"
                said = [f"{why}; tried again by and by"] if why != self._said else []
                self._said, self._next = why, time.monotonic() + self._pauses.pause()
        elif time.monotonic() >= self._next:
            self._next = 0.0
            self._trying = self._thread.submit(self._try)
        return said

    def stop(self) -> None:
        """End the server that is ours."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._server is not None:
            self._server.stop()

    def _try(self) -> list[str]:
        done: list[str] = []
        if self._folder is not None:
            self._server = self._server or PostgresServer(self._folder, self._run)
            done = self._server.ensure()
        if not self._migrated:
            database = Database(self._url)
            database.migrate()
            database.close()
            self._migrated = True
            done = [*done, "its tables are up to date"]
        return done


@contextmanager
def opened(settings: Settings) -> Iterator[str]:
    """The address of a database that runs: that of `bourse up`, or our own for as long as this is open.

    Raises LineDown, StoreRefused.
    """
    found = url(settings)
    line = Database(found)
    there = line.health().up
    line.close()
    if settings.database_folder is None or there:
        yield found
        return
    os.environ.setdefault(logs.FOLDER, str(settings.logs))
    logs.configure("command", settings.log_level)
    server = PostgresServer(settings.database_folder, private_folder(settings.run_folder))
    server.start()
    try:
        yield found
    finally:
        server.stop()


@contextmanager
def registry(settings: Settings) -> Iterator[Registry]:
    """The models of this deployment, for one command. Raises LineDown, StoreRefused."""
    kept = timedelta(days=settings.retention.lake.versions_days)
    with opened(settings) as address:
        found = Registry(address, settings.models, Upkeep(settings.lake), kept)
        try:
            yield found
        finally:
            found.close()
