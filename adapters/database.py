"""Database: one pool of connections to the Postgres of this deployment, ours or one that `DATABASE_URL` names.

What Bourse keeps stands in a schema of its own. A server that is away is `LineDown` for the call that met it, and the
next call tries anew: the pool looks at each connection before it hands it out.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.errors import BadSetting, BadValue, LineDown, StoreRefused
from market.records import Record

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

NAME = "database"
SCHEMA = "bourse"
ADDRESS = "postgresql://USER:PASSWORD@HOST:PORT/NAME"
POOL, MORE = 3, 5
"""Connections that stay open, and how many more there may be for a while."""
CONNECT_SECONDS, STATEMENT_SECONDS, IDLE_SECONDS = 5, 30, 60
"""To connect, for one statement, and between two of one transaction."""
ALIVE: Mapping[str, int] = {
    "keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000,
}  # fmt: skip
"""How soon a server that vanished without a word is noticed: seconds, and milliseconds for what it was sent."""
UP_SECONDS, DOWN_SECONDS = 5.0, 1.0
"""Between two looks at a database that is watched."""
MUTE_SECONDS = 5.0
"""A look that has not come back for so long is trouble: a server that hangs refuses nothing."""
MIGRATING = 0x626F7572
"""The advisory lock of whoever migrates."""


class Health(Record):
    """How the database is: whether it answers and within what time, and what is the matter when it does not."""

    up: bool
    trouble: str = ""
    version: str = ""
    milliseconds: float = 0.0


class Database:
    """A pool; threads may share it, processes each have their own."""

    def __init__(self, url: str, schema: str = SCHEMA) -> None:
        """Nothing is opened yet. Raises BadSetting for what is no address of a Postgres."""
        self.url = address(url)
        self._schema = schema
        self._engine: Engine | None = None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: all of it, or nothing. Raises LineDown, StoreRefused, BadValue."""
        with told(), self._opened().begin() as line:
            yield line

    def health(self) -> Health:
        """Ask it something small."""
        from sqlalchemy import text

        began = time.monotonic()
        try:
            with self.begin() as line:
                version = str(line.execute(text("SHOW server_version")).scalar_one())
        except LineDown as e:
            return Health(up=False, trouble=e.reason)
        return Health(up=True, version=version, milliseconds=round((time.monotonic() - began) * 1000, 3))

    def migrate(self) -> None:
        """Bring our tables to what this code knows; one process at a time, the others wait for it.

        Raises LineDown, and StoreRefused when a newer Bourse was here.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util.exc import CommandError
        from sqlalchemy import text

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self.begin() as line:
            line.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATING})
            line.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"'))
            config.attributes["connection"] = line
            try:
                command.upgrade(config, "head")
            except CommandError as e:
                reason = f"{' '.join(str(e).split())}; a newer Bourse was here: run that one, or restore a backup"
                raise StoreRefused(NAME, reason) from e

    def close(self) -> None:
        """Close what is open; the next call opens it again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _opened(self) -> Engine:
        if self._engine is None:
            from sqlalchemy import create_engine

            seconds = {"statement_timeout": STATEMENT_SECONDS, "idle_in_transaction_session_timeout": IDLE_SECONDS}
            limits = "".join(f" -c {name}={value}s" for name, value in seconds.items())
            self._engine = create_engine(
                self.url,
                pool_size=POOL,
                max_overflow=MORE,
                pool_timeout=CONNECT_SECONDS,
                pool_pre_ping=True,
                hide_parameters=True,  # among them are the hashes of passwords, and an error's text is logged
                connect_args={
                    "connect_timeout": CONNECT_SECONDS,
                    "application_name": "bourse",
                    **ALIVE,
                    "options": f"-c search_path={self._schema}{limits}",
                },
            )
        return self._engine


class Watch:
    """Asks a database how it is, again and again, in a thread of its own: an answer may take long."""

    def __init__(self, url: str, log: Any, patience: float = MUTE_SECONDS) -> None:
        """`patience`: seconds for which a look may be out before it is trouble."""
        self._database, self._log, self._patience = Database(url), log, patience
        self._stopped = threading.Event()
        self._found = Health(up=False, trouble="starting")
        self._looking: float | None = None
        threading.Thread(target=self._run, name="database", daemon=True).start()

    @property
    def health(self) -> Health:
        """The last answer, or that the next one does not come."""
        since = self._looking
        if since is not None and time.monotonic() - since > self._patience:
            return Health(up=False, trouble=f"it has said nothing for more than {self._patience:g} s")
        return self._found

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _run(self) -> None:
        while True:
            self._looking = time.monotonic()
            try:
                found = self._database.health()
            except Exception as e:
                self._log.exception("database_watch_broke")
                found = Health(up=False, trouble=f"{type(e).__name__}: {e}")
            if found.up != self.health.up:
                self._log.warning("database", up=found.up, trouble=found.trouble)
            self._found, self._looking = found, None
            if self._stopped.wait(UP_SECONDS if found.up else DOWN_SECONDS):
                self._database.close()
                return


@contextmanager
def told() -> Iterator[None]:
    """What the driver says of a line that is down becomes LineDown, one line without a password.

    What the server refuses to do becomes StoreRefused; a value that it cannot keep BadValue, which does not show it.
    """
    from sqlalchemy import exc

    try:
        yield
    except (exc.OperationalError, exc.InterfaceError) as e:
        raise LineDown(NAME, _reason(e.orig)) from e
    except exc.DataError as e:
        raise BadValue("value", "what was given", "text without NUL, and numbers within their range") from e
    except exc.ProgrammingError as e:
        raise StoreRefused(NAME, f"{_reason(e.orig)}; give the role of DATABASE_URL what it lacks") from e
    except exc.TimeoutError as e:
        raise LineDown(NAME, f"no connection came free within {CONNECT_SECONDS} s") from e


def address(url: str) -> str:
    """The address as SQLAlchemy takes it, for psycopg 3. Raises BadSetting, which does not show it."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    found = re.fullmatch(r"postgres(?:ql)?(?:\+psycopg)?(://\S+)", url)
    if found is None:
        raise BadSetting("DATABASE_URL", "its value", f"an address {ADDRESS}")
    try:
        return make_url(f"postgresql+psycopg{found[1]}").render_as_string(hide_password=False)
    except (ArgumentError, ValueError):
        raise BadSetting("DATABASE_URL", "its value", f"an address {ADDRESS}") from None


def without_password(url: str) -> str:
    """The address as it may be shown."""
    from sqlalchemy.engine import make_url

    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=True)


def _reason(error: Any) -> str:
    """What libpq said first, in one line; of several addresses the last one."""
    said = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()] or ["no word"]
    several = [line for line in said if line.startswith("- host")]
    return several[-1].removeprefix("- ") if several else said[0]
