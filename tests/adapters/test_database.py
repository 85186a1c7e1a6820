"""The pool and the migrations, over a real Postgres."""

from __future__ import annotations

import os
import signal
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from sqlalchemy import text

from adapters.database import Database, Watch, address, without_password
from adapters.migrations.versions import accounts_0002, ipos_0003, ipos_0004, ipos_0005, ipos_0007
from adapters.postgres_server import PostgresServer
from market.errors import BadSetting, BadValue, LineDown, StoreRefused


def tables(database: Database) -> list[str]:
    asked = text("SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1")
    with database.begin() as line:
        return list(line.execute(asked).scalars())


def test_migrations_run_once_however_many_ask(shared_database: PostgresServer) -> None:
    databases = [Database(shared_database.url, "asked") for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    databases[0].migrate()

    made = [
        *accounts_0002.TABLES,
        *ipos_0003.TABLES,
        *ipos_0004.TABLES,
        *ipos_0005.TABLES,
        *ipos_0007.TABLES,
        *ipos_0007.VIEWS,
    ]
    assert tables(databases[0]) == sorted(["alembic_version", "promotions", *made])
    assert databases[0].health().up and databases[0].health().version.startswith("18.")
    for one in databases:
        one.close()


def test_what_a_newer_bourse_left_is_not_touched(shared_database: PostgresServer) -> None:
    database = Database(shared_database.url, "newer")
    database.migrate()
    with database.begin() as line:
        line.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreRefused, match="'9999'; a newer Bourse was here"):
        database.migrate()

    database.close()


def test_a_transaction_that_breaks_leaves_nothing(shared_database: PostgresServer) -> None:
    database = Database(shared_database.url, "broken")
    database.migrate()

    with pytest.raises(ZeroDivisionError), database.begin() as line:
        line.execute(text("CREATE TABLE half (n int)"))
        raise ZeroDivisionError
    with pytest.raises(StoreRefused, match="half"), database.begin() as line:
        line.execute(text("SELECT * FROM half"))

    assert "half" not in tables(database)
    database.close()


@pytest.mark.parametrize("url", ["", "redis://x", "mysql://u:hush@h/d", "postgresql://u:hush@h:x/d"])
def test_a_wrong_address_is_one_line_that_does_not_show_it(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Database(url)

    assert "DATABASE_URL" in str(caught.value) and "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://u:hush@127.0.0.1:1/d", "postgres://u:hush@host.invalid/d"])
def test_a_server_that_is_not_there_is_one_line_without_the_password(url: str) -> None:
    database = Database(url)

    with pytest.raises(LineDown) as caught:
        database.migrate()

    said = str(caught.value)
    assert said.startswith("database: ") and "hush" not in said and "\n" not in said
    assert database.health().trouble == caught.value.reason


def test_an_address_is_shown_without_its_password() -> None:
    assert (
        without_password(address("postgres://asha:hush@db.example:5433/x")) == "postgresql://asha:***@db.example:5433/x"
    )


def test_a_server_that_vanishes_is_noticed(shared_database: PostgresServer) -> None:
    database = Database(shared_database.url)

    with database.begin() as line:
        asked = line.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]

    assert {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"} <= set(asked)
    database.close()


def test_an_error_does_not_show_what_the_database_was_given(shared_database: PostgresServer) -> None:
    database = Database(shared_database.url)
    asked, given = text("SELECT CAST(:name AS text), CAST(:password AS text)"), {"name": "a\0b", "password": "hush"}

    with pytest.raises(BadValue) as caught, database.begin() as line:
        line.execute(asked, given)

    said = "".join(traceback.format_exception(caught.value))
    assert "NUL" in said and "hush" not in said
    database.close()


def test_a_watched_server_that_hangs_is_trouble_though_its_last_answer_was_good(
    shared_database: PostgresServer,
) -> None:
    watch, other = Watch(shared_database.url, structlog.get_logger(), patience=0.2), Database(shared_database.url)
    asked = text("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'bourse'")

    def becomes(up: bool) -> bool:
        end = time.monotonic() + 120.0
        while watch.health.up != up and time.monotonic() < end:
            time.sleep(0.02)
        return watch.health.up == up

    assert becomes(True)
    with other.begin() as line:
        pids = list(line.execute(asked).scalars())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    mute, said = becomes(False), watch.health.trouble
    for pid in pids:
        os.kill(pid, signal.SIGCONT)

    assert pids and mute and said == "it has said nothing for more than 0.2 s"
    assert becomes(True)
    watch.stop()
    other.close()
