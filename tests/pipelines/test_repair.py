"""Repair, end to end: a feed dies for minutes, and the lake ends up with exactly the recorded candles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from actors.archive import Archive
from actors.candles import Candles
from actors.feed import Feed
from actors.plans import ArchivePlan
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.exchange import Exchange
from adapters.lake import Lake
from adapters.marks import market_time
from adapters.redis_server import RedisServer
from adapters.schemas import candle_rows
from adapters.surveys import survey
from market.alerts import still_open
from market.candles import Provenance
from market.codecs import Account
from market.coverage import Cause, State
from market.errors import AuthRequired, LeaseLost
from market.sessions import MINUTE, SECOND, Sessions
from market.tape import Bars, from_bars
from pipelines.repair import RepairPlan, Report, run
from tests.actors.day import (
    SESSION,
    TOKEN,
    Running,
    bars,
    candles_plan,
    caught_up,
    feed_plan,
    instruments,
    until,
)

PARTITIONS = 2
SPEED = 40.0
OF = instruments()
DAY = SESSION.date
IDS = {i.symbol: i.id for i in OF}
OUTAGE = range(3, 6)
FACTS = ("instrument", "start", "open", "high", "low", "close", "volume")


class House:
    """A feed, the candles and the archive of one day at a simulated exchange."""

    def __init__(self, url: str, bus: Bus, folder: Path, rows: Bars, speed: float = SPEED) -> None:
        self.url, self.bus, self.folder = url, bus, folder
        self.lake = Lake(str(folder / "lake"))
        self.exchange = Exchange(OF, iter([from_bars(SESSION, rows, {})]), access_token=TOKEN, speed=speed)
        self.root = ""

    async def play(self) -> None:
        """The day, with nobody listening while the clock shows the outage."""
        self.root = await self.exchange.start()
        stream = self.root.replace("http", "ws") + "/"
        await self.listen(stream, lambda: self.second() >= OUTAGE.start * 60 + 20)
        await until(lambda: self.second() >= OUTAGE.stop * 60 + 10)
        await self.listen(stream, lambda: market_time(self.bus, PARTITIONS) >= SESSION.close + 30 * SECOND)

    async def listen(self, stream: str, end: Callable[[], bool]) -> None:
        """One feed until this holds."""
        feed = Feed(feed_plan(self.url, self.folder, stream, OF, PARTITIONS, hold=False))
        running = asyncio.create_task(feed.run())
        await until(end, running)
        await feed.stop()
        await running

    def second(self) -> float:
        """Of the session, by the exchange's clock."""
        return (self.exchange.clock - SESSION.open) / SECOND

    def settle(self) -> None:
        """Let the candles and the archive read all there is."""
        candles = Candles(candles_plan(self.url, PARTITIONS))
        folding = Running(candles)
        folding.wait(lambda: caught_up(candles, self.bus))
        folding.stop()
        archive = Archive(self.archive())
        keeping = Running(archive)
        ends = {str(p): self.bus.last("candles", p) for p in range(PARTITIONS)}
        keeping.wait(lambda: archive.health()["tables"].get("candles", {}).get("committed") == ends)
        keeping.stop()

    def archive(self) -> ArchivePlan:
        told = candles_plan(self.url, PARTITIONS).model_dump(include={"bus", "cache", "partitions", "log_level"})
        return ArchivePlan(
            **told, instruments=OF, sessions=(SESSION,), lake=str(self.folder / "lake"), feeds=("primary",),
            commit_seconds=0.1, tables=("candles",),
        )  # fmt: skip

    def plan(self, **more: object) -> RepairPlan:
        account = Account(api_key=SecretStr("demo"), access_token=SecretStr(TOKEN))
        told = {
            "bus": self.url, "cache": self.url, "lake": str(self.folder / "lake"), "partitions": PARTITIONS,
            "instruments": OF, "sessions": (SESSION,), "first": DAY, "last": DAY, "symbols": tuple(IDS),
            "now": SESSION.close + 10 * MINUTE, "root": self.root, "account": account,
        }  # fmt: skip
        return RepairPlan.model_validate({**told, **more})

    async def repair(self, **more: object) -> Report:
        return await asyncio.to_thread(run, self.plan(**more), print)


@pytest.mark.endurance
def test_a_feed_that_was_dead_for_minutes_leaves_exactly_the_recorded_candles(
    server: RedisServer,
    bus: Bus,
    tmp_path: Path,
) -> None:
    recorded = bars(OF)

    async def story() -> None:
        house = House(server.url, bus, tmp_path, recorded)
        await house.play()
        await asyncio.to_thread(house.settle)
        before = survey(house.lake, list(IDS), Sessions([SESSION]), (DAY, DAY), SESSION.close + 10 * MINUTE)
        told = still_open(Alerts(bus).recent())
        report = await house.repair()
        await asyncio.to_thread(house.settle)
        again = await house.repair()
        await house.exchange.stop()

        assert {s.state for s in before.shortfalls} == {State.GAP}
        assert {one.symbol for one in before.shortfalls} == set(IDS)
        assert any(span.cause is Cause.NO_FEED for one in before.shortfalls for span in one.spans)
        assert [a.kind for a in told] == ["gap"]
        assert report.failures == () and report.lacking == 0
        assert report.proposed == report.found >= len(OF) * (len(OUTAGE) + 1)
        assert (again.requests, again.found) == (0, 0)
        assert still_open(Alerts(bus).recent()) == []
        assert_recorded(house.lake, recorded)

    asyncio.run(story())


def assert_recorded(lake: Lake, recorded: Bars) -> None:
    """The lake's newest candles are the recording, and its longer ones are rolled from it."""
    rows = candle_rows(lake.read_candles(None, "1m", DAY, DAY), IDS)
    rows = rows[np.lexsort((rows["start"], rows["instrument"]))]
    for name in FACTS:
        assert rows[name].tolist() == recorded[name].tolist(), name
    assert (rows["completeness"] == 1).all()
    assert np.count_nonzero(rows["provenance"] == Provenance.REPAIRED) >= len(OF) * len(OUTAGE)
    assert lake.doubled("candles", DAY) == 0
    for interval, minutes in (("5m", 5), ("1d", SESSION.minutes)):
        long = candle_rows(lake.read_candles(None, interval, DAY, DAY), IDS)
        for row in long:
            mine = recorded[(recorded["instrument"] == row["instrument"]) & (recorded["start"] >= row["start"])]
            mine = mine[:minutes]
            assert row["open"] == mine["open"][0] and row["close"] == mine["close"][-1]
            assert row["high"] == mine["high"].max() and row["low"] == mine["low"].min()
            assert row["volume"] == mine["volume"].sum() and row["completeness"] == 1
        assert len(long) == len(OF) * SESSION.minutes // minutes


def test_a_minute_the_vendor_lacks_too_stays_a_gap_and_is_asked_for_once(
    server: RedisServer,
    bus: Bus,
    tmp_path: Path,
) -> None:
    all_of_it = bars(OF)
    hole = SESSION.open + 4 * MINUTE
    recorded = all_of_it[(all_of_it["start"] != hole) | (all_of_it["instrument"] != 1)]

    async def story() -> None:
        house = House(server.url, bus, tmp_path, recorded, speed=1000.0)
        house.root = await house.exchange.start()
        await until(lambda: house.second() >= 658)
        report = await house.repair()
        await asyncio.to_thread(house.settle)
        found = survey(house.lake, list(IDS), Sessions([SESSION]), (DAY, DAY), SESSION.close + 10 * MINUTE)
        again = await house.repair()
        wished = await house.repair(again=True)
        await house.exchange.stop()

        assert (report.found, report.proposed, report.lacking) == (60, 59, 1)
        assert [(s.symbol, s.missing, [x.cause for x in s.spans]) for s in found.shortfalls] == [
            ("NSE:TCS", 1, [Cause.NOBODY_HAS])
        ]
        assert (again.found, again.requests) == (0, 0)
        assert (wished.found, wished.lacking, wished.proposed) == (1, 1, 0)

    asyncio.run(story())


def test_a_token_the_vendor_refuses_ends_the_repair_and_only_one_runs_at_a_time(
    server: RedisServer,
    bus: Bus,
    tmp_path: Path,
) -> None:
    async def story() -> None:
        house = House(server.url, bus, tmp_path, bars(OF))
        house.root = await house.exchange.start()
        account = Account(api_key=SecretStr("demo"), access_token=SecretStr("wrong"))
        with pytest.raises(AuthRequired):
            await house.repair(account=account)
        lease = bus.lease("repair", 5.0)
        with pytest.raises(LeaseLost):
            await house.repair()
        lease.release()
        await house.exchange.stop()

    asyncio.run(story())
