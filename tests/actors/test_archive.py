"""Archive: every row of the log stands in the lake once, whatever was cut off on the way."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from actors.archive import Archive
from actors.plans import ArchivePlan
from adapters.bus import Bus, Entry
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table, tick_table
from market.errors import LeaseLost
from tests.actors.day import SESSION, Running, candles_on, fold_everything, instruments, log, play, ticks

PARTITIONS = 2
SYMBOLS = [i.symbol for i in instruments()]
READ = {"ticks": True, "candles": True}


@pytest.fixture
def played(server: RedisServer, bus: Bus, tmp_path: Path) -> Iterator[list[list[Entry]]]:
    """The day's ticks, by partition, and their candles stand on the bus."""
    asyncio.run(play(server.url, tmp_path, PARTITIONS))
    fold_everything(bus, server.url, PARTITIONS)
    yield [log(bus, "ticks", p) for p in range(PARTITIONS)]


def plan(bus: str, lake: Path, **more: Any) -> ArchivePlan:
    """What an Archive is told."""
    told: dict[str, Any] = {
        "bus": bus, "cache": bus, "partitions": PARTITIONS, "instruments": instruments(), "sessions": (SESSION,),
        "lake": str(lake), "feeds": ("primary",), "commit_seconds": 0.0, "log_level": "critical",
    }  # fmt: skip
    return ArchivePlan(**{**told, **more})


def archived(archive: Archive, bus: Bus) -> bool:
    """Whether everything on the bus is committed."""
    tables = archive.health()["tables"]
    return bool(tables) and all(
        tables[t]["committed"].get(str(p)) == bus.last(t, p) for t in ("ticks", "candles") for p in range(PARTITIONS)
    )


def archive_everything(bus: Bus, url: str, lake: Path) -> None:
    """One Archive to the end of the log."""
    archive = Archive(plan(url, lake))
    running = Running(archive)
    running.wait(lambda: archived(archive, bus))
    running.stop()


def in_order(table: pa.Table) -> list[dict[str, Any]]:
    """Its rows by symbol and place in the day."""
    keys = [
        (name, "ascending") for name in ("symbol", "interval", "start", "at", "sequence") if name in table.column_names
    ]
    return list(table.sort_by(keys).to_pylist())


def lake_rows(lake: Path, table: str) -> list[dict[str, Any]]:
    """What stands in the lake."""
    return in_order(DeltaTable(str(lake / table)).to_pyarrow_table())


def bus_rows(bus: Bus) -> dict[str, list[dict[str, Any]]]:
    """What the lake should hold of this bus."""
    found = [tick_table(ticks(bus, p), SYMBOLS, ("primary",)) for p in range(PARTITIONS)]
    return {
        "ticks": in_order(pa.concat_tables(found)),
        "candles": in_order(candle_table(candles_on(bus, PARTITIONS), SYMBOLS)),
    }


def test_the_lake_ends_equal_to_the_log(
    server: RedisServer, bus: Bus, played: list[list[Entry]], tmp_path: Path
) -> None:
    archive_everything(bus, server.url, tmp_path / "lake")

    for table, rows in bus_rows(bus).items():
        assert rows
        assert lake_rows(tmp_path / "lake", table) == rows


def test_what_was_read_and_not_committed_is_read_again_by_the_next(
    server: RedisServer, bus: Bus, played: list[list[Entry]], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    stale = Archive(plan(server.url, lake, commit_seconds=3600.0))
    cut_off = Running(stale)
    cut_off.wait(lambda: {t: told["waiting"] > 0 for t, told in stale.health()["tables"].items()} == READ)
    before = [lake_rows(lake, table) for table in ("ticks", "candles")]

    archive_everything(bus, server.url, lake)
    stale.stop()  # it wakes up and tries to commit what it has read
    error = cut_off.ended()

    assert before == [[], []]
    assert error is None or isinstance(error, LeaseLost)
    for table, rows in bus_rows(bus).items():
        assert lake_rows(lake, table) == rows


def test_a_restart_after_a_commit_writes_nothing_again(
    server: RedisServer, bus: Bus, played: list[list[Entry]], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    archive_everything(bus, server.url, lake)
    version = DeltaTable(str(lake / "ticks")).version()

    archive_everything(bus, server.url, lake)

    assert DeltaTable(str(lake / "ticks")).version() == version


def test_another_bus_over_the_same_lake_begins_at_its_own_beginning(
    server: RedisServer, bus: Bus, played: list[list[Entry]], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    archive_everything(bus, server.url, lake)
    first, earlier = bus.identity(), bus_rows(bus)
    RedisLine(server.url).call("FLUSHALL")
    asyncio.run(play(server.url, tmp_path, PARTITIONS))
    fold_everything(bus, server.url, PARTITIONS)

    archive_everything(bus, server.url, lake)

    assert bus.identity() != first
    for table, rows in bus_rows(bus).items():
        both = sorted(map(repr, [*earlier[table], *rows]))
        assert sorted(map(repr, lake_rows(lake, table))) == both


def test_a_bus_that_went_back_takes_the_lake_back_with_it(
    server: RedisServer, bus: Bus, tmp_path: Path, played: list[list[Entry]]
) -> None:
    lake, folder, copy = (
        tmp_path / "lake",
        Path(server.url.removeprefix("unix://")).parents[1] / "bus",
        tmp_path / "copy",
    )
    archive_everything(bus, server.url, lake)
    held = bus_rows(bus)
    server.stop()
    shutil.copytree(folder, copy)
    server.start()
    more = [(e.partition, 10_000 + k, e.payload) for rows in played for k, e in enumerate(rows[5:8])]
    bus.append("ticks", "primary/0", more)
    archive_everything(bus, server.url, lake)
    longer = lake_rows(lake, "ticks")

    server.stop()
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    server.start()
    archive_everything(bus, server.url, lake)
    back = lake_rows(lake, "ticks")
    bus.append("ticks", "primary/0", more[:1])
    archive_everything(bus, server.url, lake)

    assert len(longer) > len(held["ticks"])
    assert back == held["ticks"]
    assert len(back) < len(lake_rows(lake, "ticks")) < len(longer)
    for table, rows in bus_rows(bus).items():
        assert lake_rows(lake, table) == rows
