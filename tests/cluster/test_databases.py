"""The database beside an instance, and the commands about models over it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import wait
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.database import Database, Watch
from adapters.registry import Registry
from cluster.databases import KeptDatabase, url
from cluster.instance import free_base
from cluster.main import app, resolved
from cluster.settings import Settings, private_folder, read
from market.errors import BadSetting
from market.registrations import About
from tests.adapters.test_registry import FILES

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """A deployment with a database that runs as `bourse up` would run it."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        file = Path(folder) / "cluster.yaml"
        file.write_text(re.sub(r"base: \d+", f"base: {free_base()}", (ROOT / "cluster.yaml").read_text()))
        found = read(file, {})
        yield found


@pytest.fixture(scope="module")
def kept(settings: Settings) -> Iterator[KeptDatabase]:
    found = KeptDatabase(settings, private_folder(settings.run_folder))
    try:
        assert until(found, "tables are up to date")
        yield found
    finally:
        found.stop()
        shutil.rmtree(settings.run_folder)  # an instance before us on these ports may have left its own there


def until(kept: KeptDatabase, what: str) -> list[str]:
    """What it says until it says this."""
    said, end = [], time.monotonic() + WAIT_SECONDS
    while not any(what in line for line in said):
        assert time.monotonic() < end, said
        wait([kept._trying], 1.0)
        said += kept.ensure()
    return said


def bourse(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(settings.file)])


def test_a_database_that_died_is_started_again_and_nothing_waited_for_it(
    settings: Settings, kept: KeptDatabase
) -> None:
    os.kill(kept.pid or 0, signal.SIGKILL)

    said = until(kept, "restarted")

    assert said[0] == "database: restarted: it ended with -9"
    assert Database(url(settings)).health().up


def test_a_database_that_cannot_start_says_so_once_and_is_tried_again(settings: Settings, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "database/pg").mkdir(parents=True)
    (data / "database/pg/PG_VERSION").write_text("9\n")
    blocked = settings.model_copy(update={"stores": settings.stores.model_copy(update={"data": str(data)})})
    found = KeptDatabase(blocked, private_folder(blocked.run_folder))
    try:
        first = until(found, "written by Postgres 9")
        (data / "database/pg/PG_VERSION").unlink()
        (data / "database/pg").rmdir()
        then = until(found, "tables are up to date")
    finally:
        found.stop()
        shutil.rmtree(blocked.run_folder)

    assert len(first) == 1 and "tried again" in first[0]
    assert then[0] == "database: started"


def test_a_command_does_not_take_the_database_of_another_deployment_on_the_same_ports(
    settings: Settings, kept: KeptDatabase, tmp_path: Path
) -> None:
    other = read(settings.file, {})
    other = other.model_copy(update={"stores": other.stores.model_copy(update={"data": str(tmp_path / "data")})})

    assert other.ports == settings.ports and Database(url(settings)).health().up
    assert not Database(url(other)).health().up


def test_a_watched_database_says_when_it_is_away(settings: Settings, kept: KeptDatabase, tmp_path: Path) -> None:
    import structlog

    there = Watch(url(settings), structlog.get_logger())
    away = Watch(f"postgresql://u:hush@/d?host={tmp_path}", structlog.get_logger())

    end = time.monotonic() + WAIT_SECONDS
    while "starting" in (there.health.trouble, away.health.trouble):
        assert time.monotonic() < end

    assert there.health.up and there.health.version.startswith("18.")
    assert not away.health.up and "No such file" in away.health.trouble and "hush" not in away.health.trouble
    there.stop()
    away.stop()


def test_versions_are_shown_promoted_and_rolled_back(settings: Settings, kept: KeptDatabase) -> None:
    registry = Registry(url(settings), settings.models)
    for score, verdict in ((0.05, "EDGE"), (0.06, "EDGE"), (0.07, "NO_EDGE")):
        known = About.model_validate(
            {
                "name": "direction-15m", "horizon": "15m", "features": "v1", "symbols": ("NSE:TCS",), "revision": "abc",
                "seed": 7, "measure": "ic", "score": score, "baselines": {"no-trade": 0.0}, "verdict": verdict,
                "trained_at": datetime(2026, 11, 20, tzinfo=UTC),
            }
        )  # fmt: skip
        registry.register("direction-15m", FILES, known)
    registry.close()

    words = ["promote direction-15m@1", "promote direction-15m@2", "promote direction-15m@3", "promote direction-15m@9"]
    done = [bourse(settings, *line.split()) for line in words]
    bare = bourse(settings, "promote", "direction-15m@3", "--force")
    forced = bourse(settings, "promote", "direction-15m@3", "--force", "--because", "a trial")
    nobody = bourse(settings, "rollback", "nope", "--because", "it lost")
    assert nobody.exit_code == 2 and "a model that is registered" in nobody.stderr
    back = bourse(settings, "rollback", "direction-15m", "--because", "it lost")
    listed = bourse(settings, "models", "direction-15m")
    shown = bourse(settings, "models", "show", "direction-15m@2", "--json")

    assert [one.exit_code for one in done] == [0, 0, 1, 2]
    assert "NO_EDGE" in done[2].output and "bourse models" in done[3].output
    assert bare.exit_code == 2 and "--because" in bare.output
    assert forced.exit_code == 0 and "in place of version 2 (forced by" in forced.output
    assert back.exit_code == 0 and "direction-15m@2 became the champion" in back.output
    assert listed.exit_code == 0 and "direction-15m@2" in listed.output and "champion" in listed.output
    record = json.loads(shown.output)
    assert record["aliases"] == ["champion"] and record["files"] == {"manifest.json": 23, "linear.bin": 256}
    assert [one["because"] for one in record["promotions"]] == ["ic of 0.06", "a trial", "it lost"]

    next((settings.models / "direction-15m").rglob("linear.bin")).write_bytes(b"")
    damaged = [bourse(settings, "models", "show", f"direction-15m@{version}") for version in (1, 2, 3)]
    assert sorted(one.exit_code for one in damaged) == [0, 0, 1]


@pytest.mark.parametrize("words", [["models"], ["promote", "a@1"], ["rollback", "a"], ["models", "show", "a@1"]])
def test_without_a_database_a_command_is_one_line(settings: Settings, words: list[str]) -> None:
    done = CliRunner(env={"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/d"}).invoke(
        app, [*words, "--config", str(settings.file)]
    )

    assert done.exit_code == 2 and done.output.startswith("database: ") and done.output.count("\n") == 1
    assert "hush" not in done.output


def test_an_address_is_checked_and_shown_without_its_password(settings: Settings) -> None:
    with pytest.raises(BadSetting, match="DATABASE_URL"):
        read(settings.file, {"DATABASE_URL": "http://hush"})

    found = dict(resolved(read(settings.file, {"DATABASE_URL": "postgres://asha:hush@db.example/x"})))

    assert found["database"] == "postgresql://asha:***@db.example/x" and found["DATABASE_URL"] == "set"
    assert "hush" not in str(found)
