"""Our own Postgres: what it recovers, what it refuses, and that it ends with its parent."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from adapters.database import Database
from adapters.postgres_server import PostgresServer, find, version
from market.errors import LineDown, StoreRefused

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """One folder for all tests here: a new server takes a second or two, an old one a tenth."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        yield Path(folder)


@pytest.fixture
def server(place: Path) -> Iterator[PostgresServer]:
    found = PostgresServer(place / "database", place / "run")
    yield found
    found.stop()


def kill(server: PostgresServer) -> None:
    """End a server as a power cut would, and wait until it is gone."""
    pid = server.pid or 0
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_what_was_committed_is_there_after_a_kill(server: PostgresServer) -> None:
    server.start()
    database = Database(server.url)
    with database.begin() as line:
        line.execute(text("CREATE SCHEMA IF NOT EXISTS bourse"))
        line.execute(text("CREATE TABLE kept (n int)"))
        line.execute(text("INSERT INTO kept VALUES (41), (42)"))
    first = server.pid
    kill(server)

    down = database.health()
    with pytest.raises(LineDown, match="database"), database.begin() as line:
        line.execute(text("SELECT 1"))
    done = server.ensure()

    assert not down.up and down.trouble and "\n" not in down.trouble
    assert done[0] == "restarted: it ended with -9" and "its log was replayed" in done[-1]
    assert server.pid != first and server.ensure() == []
    with database.begin() as line:
        assert line.execute(text("SELECT sum(n) FROM kept")).scalar_one() == 83
    database.close()


def test_only_this_user_can_reach_it_and_it_is_not_root(server: PostgresServer, place: Path) -> None:
    server.start()

    process = psutil.Process(server.pid)

    assert process.net_connections(kind="inet") == []
    assert process.uids().real != 0
    assert [stat.S_IMODE((place / name).stat().st_mode) for name in ("database", "run")] == [0o700, 0o700]
    database = Database(server.url)
    with database.begin() as line:
        asked = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert line.execute(text(asked)).scalar_one() is False
        assert line.execute(text("SHOW fsync")).scalar_one() == "on"
    database.close()


def test_a_clean_stop_and_start_recovers_nothing(server: PostgresServer) -> None:
    server.start()
    server.stop()

    assert server.pid is None
    assert server.start() == [] and server.start() == []


def test_a_socket_that_was_removed_is_made_again(server: PostgresServer, place: Path) -> None:
    server.start()
    (place / "run/.s.PGSQL.5432").unlink()

    assert server.ensure() == ["restarted: its socket was removed"]
    assert Database(server.url).health().up


PARENT = """
import os, signal, sys
from adapters.postgres_server import PostgresServer
server = PostgresServer(sys.argv[1] + "/database", sys.argv[1] + "/run")
server.start()
print(server.pid, flush=True)
signal.pause()
"""


def test_it_ends_with_its_parent_however_that_ends(server: PostgresServer, place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(place)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        # The log of the server may come first.
        pid = next(int(line) for line in parent.stdout if line.strip().isdigit())
        with pytest.raises(StoreRefused, match=f"in use by process {parent.pid}"):
            server.start()
        orphan = psutil.Process(pid)
        parent.kill()
    psutil.wait_procs([orphan], 30)

    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert server.start() == [f"stale lock file of process {parent.pid}"]


def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(server: PostgresServer, place: Path) -> None:
    server.start()
    kill(server)
    note = place / "database/pg/postmaster.pid"
    lines = note.read_text().split("\n")
    note.write_text("\n".join([str(os.getpid()), *lines[1:]]))

    assert "its log was replayed" in server.ensure()[-1]
    assert Database(server.url).health().up


def test_files_of_another_version_are_left_alone(server: PostgresServer, place: Path) -> None:
    note = place / "database/pg/PG_VERSION"
    server.start()
    server.stop()
    ours = note.read_text()
    note.write_text("16\n")

    with pytest.raises(StoreRefused, match="written by Postgres 16, this server is 18"):
        server.start()

    assert ours == "18\n" and version(find()).startswith("18.")
    note.write_text(ours)


def test_a_server_that_cannot_start_says_so_in_its_own_words(server: PostgresServer, place: Path) -> None:
    server.start()
    server.stop()
    control = place / "database/pg/global/pg_control"
    whole = control.read_bytes()
    control.write_bytes(whole[:100])

    with pytest.raises(LineDown, match=r"ended while starting; its log:\n.*pg_control"):
        server.start()

    control.write_bytes(whole)
    assert server.ensure()[0] == "started"


def test_an_initialisation_that_was_cut_off_begins_anew() -> None:
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        half = Path(folder) / "database/pg.unfinished"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        server = PostgresServer(f"{folder}/database", f"{folder}/run")

        server.start()

        assert Database(server.url).health().up and not half.exists()
        server.stop()


def test_a_socket_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="over 100 bytes"):
        PostgresServer(tmp_path / "database", tmp_path / ("x" * 100))
