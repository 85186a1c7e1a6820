"""Candles: one stream of candles, whoever folds it and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.candles import Candles
from adapters.bus import Bus, Entry
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.candles import INTERVALS
from market.errors import LeaseLost
from tests.actors.day import (
    Running,
    bars,
    candles_on,
    candles_plan,
    caught_up,
    fold_everything,
    instruments,
    log,
    play,
)

PARTITIONS = 2


@pytest.fixture
def played(server: RedisServer, bus: Bus, tmp_path: Path) -> Iterator[list[list[Entry]]]:
    """The day's tick entries, by partition; they stand on the bus."""
    asyncio.run(play(server.url, tmp_path, PARTITIONS))
    yield [log(bus, "ticks", p) for p in range(PARTITIONS)]


@pytest.fixture
def raw(server: RedisServer) -> Iterator[RedisLine]:
    """A line to what stands on the server."""
    line = RedisLine(server.url)
    yield line
    line.close()


def stream(bus: Bus) -> list[tuple[int, int, bytes]]:
    """Every output entry: partition, id, bytes."""
    return [(p, e.id, e.payload) for p in range(PARTITIONS) for e in log(bus, "candles", p)]


def cut(raw: RedisLine, bus: Bus, played: list[list[Entry]], kept: int) -> None:
    """Leave the first entries of each partition, as if the rest had not come yet."""
    for p, all_of_it in enumerate(played):
        raw.call("DEL", f"ticks:{{{p}}}")
        put(raw, p, all_of_it[:kept])


def put(raw: RedisLine, partition: int, rows: list[Entry]) -> None:
    """Entries under the ids they had."""
    for e in rows:
        name = f"{e.id >> 20}-{e.id & (1 << 20) - 1}"
        raw.call("XADD", f"ticks:{{{partition}}}", name, "w", e.writer, "n", e.number, "d", e.payload)


def forget_outputs(raw: RedisLine) -> None:
    """No candle has ever been written, no snapshot kept."""
    for p in range(PARTITIONS):
        raw.call("DEL", f"candles:{{{p}}}", f"snapshot:candles:{{{p}}}")


def test_every_bar_of_the_day_becomes_its_candle(server: RedisServer, bus: Bus, played: list[list[Entry]]) -> None:
    fold_everything(bus, server.url, PARTITIONS)

    found = candles_on(bus, PARTITIONS)
    expected = bars(instruments())
    traded = found[(found["trades"] > 0) & (found["interval"] == INTERVALS["1m"])]
    assert traded["start"].tolist() == expected["start"].tolist()
    for name in ("instrument", "open", "high", "low", "close", "volume"):
        assert traded[name].tolist() == expected[name].tolist()


@pytest.mark.parametrize("kept", [1, 7, 15])
def test_a_restart_from_a_snapshot_in_the_middle_gives_the_same_candles(
    server: RedisServer, bus: Bus, raw: RedisLine, played: list[list[Entry]], kept: int
) -> None:
    fold_everything(bus, server.url, PARTITIONS)
    undisturbed = stream(bus)
    forget_outputs(raw)
    cut(raw, bus, played, kept)

    fold_everything(bus, server.url, PARTITIONS)
    for p in range(PARTITIONS):
        put(raw, p, played[p][kept:])
    fold_everything(bus, server.url, PARTITIONS)

    assert undisturbed
    assert all(len(rows) > kept for rows in played)
    assert stream(bus) == undisturbed


def test_a_snapshot_that_lags_is_folded_again_and_writes_nothing_twice(
    server: RedisServer, bus: Bus, raw: RedisLine, played: list[list[Entry]]
) -> None:
    cut(raw, bus, played, 5)
    fold_everything(bus, server.url, PARTITIONS)
    old = [raw.call("GET", f"snapshot:candles:{{{p}}}") for p in range(PARTITIONS)]
    for p in range(PARTITIONS):
        put(raw, p, played[p][5:])
    fold_everything(bus, server.url, PARTITIONS)
    once = stream(bus)
    for p, state in enumerate(old):
        raw.call("SET", f"snapshot:candles:{{{p}}}", state)

    fold_everything(bus, server.url, PARTITIONS)

    assert len({(p, i) for p, i, _ in once}) == len(once) > 2
    assert stream(bus) == once


def test_without_any_snapshot_the_whole_log_is_folded_to_the_same(
    server: RedisServer, bus: Bus, raw: RedisLine, played: list[list[Entry]]
) -> None:
    fold_everything(bus, server.url, PARTITIONS)
    once = stream(bus)
    for p in range(PARTITIONS):
        raw.call("DEL", f"snapshot:candles:{{{p}}}")

    fold_everything(bus, server.url, PARTITIONS)

    assert stream(bus) == once


def test_a_second_owner_waits_until_the_firsts_lease_runs_out(
    server: RedisServer, bus: Bus, raw: RedisLine, played: list[list[Entry]]
) -> None:
    dead = bus.lease("candles:{0}", 600.0)
    second = Candles(candles_plan(server.url, PARTITIONS))

    running = Running(second)
    running.wait(lambda: "held by another owner" in second.health()["trouble"])
    waiting = stream(bus)
    raw.call("PEXPIRE", "lease:candles:{0}", 1)
    running.wait(lambda: caught_up(second, bus))
    with pytest.raises(LeaseLost):
        dead.renew()
    running.stop()

    assert waiting == []
    assert stream(bus) != []
    assert second.health()["trouble"] == ""


def test_an_owner_that_lost_its_lease_ends(
    server: RedisServer, bus: Bus, raw: RedisLine, played: list[list[Entry]]
) -> None:
    stale = Candles(candles_plan(server.url, PARTITIONS, lease_seconds=0.6))
    running = Running(stale)
    running.wait(lambda: caught_up(stale, bus))

    raw.call("SET", "lease:candles:{1}", "another")

    assert isinstance(running.ended(), LeaseLost)


def test_an_owner_that_was_overtaken_and_its_successor_write_what_one_writes(
    server: RedisServer, bus: Bus, raw: RedisLine, played: list[list[Entry]]
) -> None:
    fold_everything(bus, server.url, PARTITIONS)
    once = stream(bus)
    forget_outputs(raw)
    one, other = (Candles(candles_plan(server.url, PARTITIONS, lease_seconds=0.6)) for _ in range(2))

    first = Running(one)
    first.wait(lambda: one.health()["partitions"])
    for p in range(PARTITIONS):
        raw.call("SET", f"lease:candles:{{{p}}}", "another")
    second = Running(other)
    overtaken = first.ended()
    for p in range(PARTITIONS):
        raw.call("DEL", f"lease:candles:{{{p}}}")
    second.wait(lambda: caught_up(other, bus))
    second.stop()

    assert isinstance(overtaken, LeaseLost)
    assert stream(bus) == once
