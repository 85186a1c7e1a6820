"""Repairs in the log: what Candles makes of them, whoever folds them and however often; others pass them by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import time
from pathlib import Path

import numpy as np
import pytest

from actors.archive import Archive
from actors.plans import ArchivePlan
from adapters.bus import Bus, Entry
from adapters.lake import Lake
from adapters.marks import market_time
from adapters.proposals import propose
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.schemas import candle_rows
from market.candles import CANDLE, Candles, Provenance, newest_revisions
from market.corrections import PROPOSED
from market.money import UNKNOWN
from market.sessions import MINUTE, at, day_number
from market.vendors.nse_bhavcopy import official, read
from pipelines.reconcile import reconcile
from tests.actors.day import SESSION, Running, candles_on, candles_plan, fold_everything, instruments, log, play

PARTITIONS = 2
OF = instruments()
SYMBOLS = [i.symbol for i in OF]
IDS = {i.symbol: i.id for i in OF}
FILE = """SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,
RELIANCE,EQ,110,120,100,{close},111,109,50000,5500000,25-AUG-2016,17,,
TCS,EQ,110,120,100,111,111,109,50000,5500000,25-AUG-2016,17,,
"""


@pytest.fixture
def raw(server: RedisServer) -> Iterator[RedisLine]:
    line = RedisLine(server.url)
    yield line
    line.close()


@pytest.fixture
def played(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    """The day stands on the bus; in its middle and at its end come repairs."""
    asyncio.run(play(server.url, tmp_path, PARTITIONS))
    fold_everything(bus, server.url, PARTITIONS)
    for minute, price in ((2, 1_150_000), (2, 1_160_000), (7, 1_170_000)):
        propose(bus, "repair", PARTITIONS, OF, proposals(minute, price))


def proposals(minute: int, price: int) -> Candles:
    rows = np.zeros(len(OF), CANDLE)
    rows["instrument"], rows["interval"], rows["start"] = range(len(OF)), 60, SESSION.open + minute * MINUTE
    for name in ("open", "high", "low", "close"):
        rows[name] = price
    rows["volume"], rows["trades"], rows["vwap"], rows["open_interest"] = 9, UNKNOWN, UNKNOWN, UNKNOWN
    rows["session"], rows["completeness"] = day_number(SESSION.date), 1.0
    rows["provenance"], rows["revision"] = Provenance.REPAIRED, PROPOSED
    return rows


def stream(bus: Bus) -> list[tuple[int, int, bytes]]:
    return [(p, e.id, e.payload) for p in range(PARTITIONS) for e in log(bus, "candles", p)]


def put(raw: RedisLine, partition: int, rows: list[Entry]) -> None:
    for e in rows:
        name = f"{e.id >> 20}-{e.id & (1 << 20) - 1}"
        raw.call("XADD", f"ticks:{{{partition}}}", name, "w", e.writer, "n", e.number, "d", e.payload)


def test_each_repair_is_the_next_revision_under_its_own_entrys_id(server: RedisServer, bus: Bus, played: None) -> None:
    fold_everything(bus, server.url, PARTITIONS)

    rows = candles_on(bus, PARTITIONS)
    mine = rows[(rows["interval"] == 60) & (rows["start"] == SESSION.open + 2 * MINUTE) & (rows["instrument"] == 1)]
    assert sorted(mine[["revision", "close"]].tolist())[1:] == [(1, 1_150_000), (2, 1_160_000)]
    assert mine["provenance"].tolist().count(Provenance.REPAIRED) == 2
    newest = newest_revisions(rows)
    day = newest[(newest["interval"] == 86_400) & (newest["instrument"] == 1)]
    minutes = newest[(newest["interval"] == 60) & (newest["instrument"] == 1)]
    assert day["volume"][0] == minutes["volume"].sum()
    assert day["revision"][0] == 2  # the second repair moved a price within the day's range: nothing of the day changed
    assert day["provenance"][0] == Provenance.REPAIRED
    ids = {e.id for e in log(bus, "candles", 0)}
    assert {e.id for e in log(bus, "ticks", 0) if e.writer == "repair"} <= ids


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_restart_between_repairs_gives_the_same_candles(
    server: RedisServer, bus: Bus, raw: RedisLine, played: None, kept: int
) -> None:
    fold_everything(bus, server.url, PARTITIONS)
    undisturbed, entries_of = stream(bus), [log(bus, "ticks", p) for p in range(PARTITIONS)]
    for p in range(PARTITIONS):
        raw.call("DEL", f"candles:{{{p}}}", f"snapshot:candles:{{{p}}}", f"ticks:{{{p}}}")
        put(raw, p, entries_of[p][:-kept])

    fold_everything(bus, server.url, PARTITIONS)
    lagging = [raw.call("GET", f"snapshot:candles:{{{p}}}") for p in range(PARTITIONS)]
    for p in range(PARTITIONS):
        put(raw, p, entries_of[p][-kept:])
    fold_everything(bus, server.url, PARTITIONS)
    once = stream(bus)
    for p in range(PARTITIONS):
        raw.call("SET", f"snapshot:candles:{{{p}}}", lagging[p])
    fold_everything(bus, server.url, PARTITIONS)

    assert once == undisturbed
    assert stream(bus) == undisturbed


def test_everybody_else_passes_a_repair_by(server: RedisServer, bus: Bus, played: None, tmp_path: Path) -> None:
    fold_everything(bus, server.url, PARTITIONS)
    archive_everything(server, bus, tmp_path / "lake")

    lake = Lake(str(tmp_path / "lake"))
    rows = candle_rows(lake.read_candles(None, "1m", SESSION.date, SESSION.date), IDS)
    assert rows[rows["start"] == SESSION.open + 7 * MINUTE]["close"].tolist() == [1_170_000] * len(OF)
    assert lake.doubled("candles", SESSION.date) == 0
    assert market_time(bus, PARTITIONS) > SESSION.close


def test_the_official_candle_stands_beside_ours(server: RedisServer, bus: Bus, played: None, tmp_path: Path) -> None:
    fold_everything(bus, server.url, PARTITIONS)
    archive_everything(server, bus, tmp_path / "lake")
    lake = Lake(str(tmp_path / "lake"))
    before = lake.read_candles(None, "1d", SESSION.date, SESSION.date)

    for close in (111, 111, 112):
        found = reconcile(bus, lake, PARTITIONS, OF, read(FILE.format(close=close).encode()))
        fold_everything(bus, server.url, PARTITIONS)
        archive_everything(server, bus, tmp_path / "lake")

    theirs = candle_rows(lake.read_official(None, SESSION.date, SESSION.date), IDS)
    assert theirs[["instrument", "close", "revision"]].tolist() == [(0, 1_120_000, 2), (1, 1_110_000, 1)]
    assert set(theirs["start"].tolist()) == {at(SESSION.date, time(0))}
    assert lake.read_candles(None, "1d", SESSION.date, SESSION.date).equals(before)
    assert (found.compared, found.session, len(found.ours_only)) == (2, SESSION.date, 4)
    assert lake.doubled("candles", SESSION.date) == 0
    assert len(official(read(FILE.format(close=111).encode()), OF)) == 2


def archive_everything(server: RedisServer, bus: Bus, lake: Path) -> None:
    told = candles_plan(server.url, PARTITIONS).model_dump(include={"bus", "cache", "partitions", "log_level"})
    plan = ArchivePlan(
        **told, instruments=OF, sessions=(SESSION,), lake=str(lake), feeds=("primary",), commit_seconds=0.0
    )
    archive = Archive(plan)
    running = Running(archive)
    ends = {t: {str(p): bus.last(t, p) for p in range(PARTITIONS)} for t in ("ticks", "candles")}
    running.wait(lambda: {t: v["committed"] for t, v in archive.health()["tables"].items()} == ends)
    running.stop()
