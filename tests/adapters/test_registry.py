"""The registry over a real Postgres: what is loaded is what was registered, and one version serves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.lake import Lake
from adapters.postgres_server import PostgresServer
from adapters.registry import Registry
from adapters.schemas import candle_table
from adapters.upkeep import Upkeep
from market.candles import CANDLE, Provenance
from market.errors import BadValue, LineDown, StoreRefused
from market.money import UNKNOWN
from market.registrations import About, NotPromoted, Promotion
from market.sessions import day_number, session

ROOT = Path(__file__).resolve().parents[2]
FILES = {"manifest.json": b'{"members": ["linear"]}', "linear.bin": bytes(range(256))}


def about(name: str, **more: Any) -> About:
    plain = {
        "name": name, "horizon": "15m", "features": "v1", "symbols": ("NSE:RELIANCE", "NSE:TCS"), "revision": "abc",
        "parameters": {"depth": 4, "rate": 0.1, "early": True}, "seed": 7, "measure": "ic", "score": 0.05,
        "metrics": {"auc": 0.53}, "baselines": {"no-trade": 0.0}, "verdict": "EDGE",
        "trained_at": datetime(2026, 11, 20, 12, tzinfo=UTC),
    }  # fmt: skip
    return About(**plain | more)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def registry(shared_database: PostgresServer, home: Path) -> Iterator[Registry]:
    found = Registry(shared_database.url, home)
    yield found
    found.close()


def test_what_is_loaded_is_what_was_registered(registry: Registry) -> None:
    known = about("loaded")

    first = registry.register("loaded", FILES, known)
    second = registry.register("loaded", {"other": b""}, about("loaded", verdict="NO_EDGE"))

    assert (first, second) == (1, 2)
    assert registry.files("loaded", 1) == FILES and registry.files("loaded", 2) == {"other": b""}
    assert registry.about("loaded", 1) == known
    assert [(v.title, v.aliases) for v in registry.versions("loaded")] == [
        ("loaded@2", ()),
        ("loaded@1", ("challenger",)),
    ]
    assert "loaded" in registry.names() and registry.versions("nobody") == []
    assert registry.alias("loaded", "champion") is None and registry.alias("nobody", "champion") is None


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_file_that_is_not_what_was_registered_is_refused(registry: Registry, home: Path, how: str) -> None:
    name = f"tampered-{how}"
    version = registry.register(name, FILES, about(name))
    file = next((home / name).rglob("linear.bin"))
    file.write_bytes(bytes(256)) if how == "changed" else file.unlink()

    with pytest.raises(StoreRefused, match=rf"{name}@1: .*linear\.bin"):
        registry.files(name, version)


def test_a_champion_is_replaced_by_rule_by_force_and_by_a_way_back(registry: Registry) -> None:
    for more in ({}, {"score": 0.04}, {"score": 0.06}, {"verdict": "NO_EDGE"}):
        registry.register("chosen", FILES, about("chosen", **more))

    by_rule = [registry.promote("chosen", version) for version in (1, 1, 2, 3, 4)]
    with pytest.raises(BadValue, match="because"):
        registry.promote("chosen", 4, force=True, because=" ")
    forced = registry.promote("chosen", 4, by="asha", force=True, because="a trial")
    assert registry.alias("chosen", "champion") == 4
    back = [registry.rollback("chosen", by="asha", because="it lost") for _ in range(2)]

    assert [isinstance(one, Promotion) for one in by_rule] == [True, False, False, True, False]
    assert isinstance(by_rule[2], NotPromoted) and "not above the champion's 0.05" in by_rule[2].reason
    assert isinstance(by_rule[4], NotPromoted) and "NO_EDGE" in by_rule[4].reason
    assert isinstance(forced, Promotion) and (forced.kind, forced.previous) == ("forced", 3)
    assert [one.version for one in back] == [3, 1] and registry.alias("chosen", "champion") == 1
    with pytest.raises(BadValue, match="before the present one"):
        registry.rollback("chosen")
    told = [(p.version, p.kind, p.because, p.by) for p in registry.history("chosen")]
    assert told == [
        (1, "promoted", "ic of 0.05", "rule"),
        (3, "promoted", "ic of 0.06", "rule"),
        (4, "forced", "a trial", "asha"),
        (3, "rolled back", "it lost", "asha"),
        (1, "rolled back", "it lost", "asha"),
    ]


def test_a_crash_between_the_record_and_the_alias_is_put_right(registry: Registry) -> None:
    for _ in range(2):
        registry.register("settled", FILES, about("settled"))
    registry.promote("settled", 1)
    with registry._client() as client:  # as a crash leaves it
        client.delete_registered_model_alias("settled", "champion")

    assert isinstance(registry.promote("settled", 2), NotPromoted)
    again = registry.promote("settled", 1)

    assert isinstance(again, NotPromoted) and "already" in again.reason
    assert registry.alias("settled", "champion") == 1


PROMOTE = """
import sys
from adapters.registry import Registry
registry = Registry(sys.argv[1], sys.argv[2])
registry.names()
print("ready", flush=True)
for line in sys.stdin:
    registry.promote("raced", int(line), by="other", force=True, because="a race")
"""


def test_two_processes_that_promote_at_once_leave_one_history(
    registry: Registry, shared_database: PostgresServer, home: Path
) -> None:
    for _ in range(5):
        registry.register("raced", FILES, about("raced"))
    words = [sys.executable, "-c", PROMOTE, shared_database.url, str(home)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "ready\n"

        other.stdin.write("2\n3\n4\n5\n")
        other.stdin.flush()
        for version in (3, 5, 2, 4):
            registry.promote("raced", version, by="this", force=True, because="a race")
        other.communicate(timeout=60)

    history = registry.history("raced")
    assert other.returncode == 0 and {one.by for one in history} == {"this", "other"}
    assert [one.previous for one in history] == [None, *(one.version for one in history[:-1])]
    assert all(one.version != one.previous for one in history)
    assert registry.alias("raced", "champion") == history[-1].version


def test_a_registered_version_keeps_its_lake_until_it_is_deleted(
    shared_database: PostgresServer, home: Path, tmp_path: Path
) -> None:
    rows = np.zeros(1, CANDLE)
    rows["interval"], rows["provenance"], rows["completeness"], rows["vwap"] = 60, Provenance.LIVE, 1.0, UNKNOWN
    rows["start"], rows["session"] = session(date(2016, 8, 25)).open, day_number(date(2016, 8, 25))
    Lake(str(tmp_path)).append("candles", candle_table(rows, ["NSE:RELIANCE"]), {"test": 1})
    upkeep = Upkeep(str(tmp_path))
    version = int(upkeep.lake.opened("candles").version())
    registry = Registry(shared_database.url, home, upkeep, timedelta(days=7))

    for _ in range(2):
        registry.register("kept", FILES, about("kept", lake={"candles": version}))
    with pytest.raises(BadValue, match="version"):
        registry.register("kept", FILES, about("kept", lake={"candles": version + 5}))
    with pytest.raises(BadValue, match="lake"):
        Registry(shared_database.url, home).register("kept", FILES, about("kept", lake={"candles": version}))
    registry.promote("kept", 1)
    with pytest.raises(BadValue, match="champion"):
        registry.delete("kept", 1)
    registry.delete("kept", 2)

    assert [(k.version, k.name) for k in upkeep.kept()] == [(version, "kept@1")]
    assert [one.version for one in registry.versions("kept")] == [1]
    assert len(list((home / "kept").iterdir())) == 1
    registry.close()


@pytest.mark.parametrize(
    ("name", "files", "named"),
    [("Direction", FILES, "name"), ("right", {}, "files"), ("right", {"../x": b""}, "files"), ("other", FILES, "name")],
)
def test_what_cannot_be_kept_is_refused(registry: Registry, name: str, files: dict[str, bytes], named: str) -> None:
    with pytest.raises(BadValue, match=named):
        registry.register(name, files, about("right"))


def test_a_version_that_is_not_there_and_a_database_that_is_away(registry: Registry, tmp_path: Path) -> None:
    registry.register("there", FILES, about("there"))

    with pytest.raises(BadValue, match=r"'there@9'.*bourse models"):
        registry.files("there", 9)
    with pytest.raises(BadValue, match="alias"):
        registry.alias("there", "best")
    with pytest.raises(LineDown, match=r"database: .*No such file"):
        Registry(f"postgresql://bourse@/bourse?host={tmp_path}", tmp_path).names()
