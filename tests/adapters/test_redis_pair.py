"""The bus on a pair of servers under Sentinel: what was acknowledged is there after the primary was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adapters.bus import BEHIND_SECONDS, END, SEQUENCE_BITS, Bus, EntryId
from adapters.redis_line import RedisLine
from adapters.redis_pair import RedisPair
from market.errors import LineDown

ROWS = 3


@pytest.fixture(scope="module")
def running() -> Iterator[RedisPair]:
    """Five processes of these tests' own, none of which outlives them."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        made = RedisPair(Path(folder), 128 << 20)
        made.start()
        yield made
        pids = list(made.pids().values())
        made.stop()
        assert len(pids) == 5
        assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture
def pair(running: RedisPair) -> RedisPair:
    """The pair, whole and empty."""
    running.mend()
    write_through(Bus(running.url), 0)
    while True:
        with contextlib.suppress(LineDown):  # refused while the replica is two seconds behind
            RedisLine(running.url).calls([("FLUSHALL",)], kept=True)
            return running


def numbered(k: int) -> list[tuple[int, int, bytes]]:
    return [(partition, k, b"%d" % k) for partition in range(ROWS)]


def on_bus(bus: Bus) -> dict[int, list[int]]:
    """The numbers that stand on the bus, by partition."""
    found: dict[int, list[int]] = {}
    for entry in (e for p in range(ROWS) for e in bus.range("ticks", p, 0, END, 100_000)):
        found.setdefault(entry.partition, []).append(entry.number)
    return found


def write_through(bus: Bus, k: int) -> EntryId:
    """Offer a batch until it is acknowledged, as a feed does; the id of its first row."""
    while True:
        try:
            written = bus.append("ticks", "sim", numbered(k))[0]
        except LineDown:
            continue
        return written or next(e.id for e in bus.range("ticks", 0, 0, END, 100_000) if e.number == k)


@pytest.mark.endurance
def test_what_was_acknowledged_outlives_the_primary_and_stands_there_once(pair: RedisPair) -> None:
    bus = Bus(pair.url)
    acknowledged, enough, ended = [0], threading.Event(), threading.Event()

    def feed() -> None:
        line = Bus(pair.url)
        while not ended.is_set():
            write_through(line, acknowledged[0])
            acknowledged[0] += 1
            if acknowledged[0] % 200 == 0:
                enough.set()

    writer = threading.Thread(target=feed)
    writer.start()
    for _ in range(2):  # the second kills the server that took over, after the first one has come back behind it
        enough.clear()
        assert enough.wait(60)
        killed = pair.primary()
        os.kill(killed, signal.SIGKILL)
        pair.switched(killed)
        assert pair.mend()
        enough.clear()
        assert enough.wait(60)
    ended.set()
    writer.join()

    assert on_bus(bus) == {p: list(range(acknowledged[0])) for p in range(ROWS)}


def test_a_primary_without_its_replica_takes_no_write(pair: RedisPair) -> None:
    bus = Bus(pair.url, timeout=20.0)
    write_through(bus, 0)
    replica = next(pid for name, pid in pair.pids().items() if name.startswith("redis") and pid != pair.primary())

    psutil.Process(replica).kill()
    with pytest.raises(LineDown, match=r"NOREPLICAS|replicas have the write"):
        for k in range(1, 100_000):
            bus.append("ticks", "sim", numbered(k))
    pair.mend()
    write_through(bus, 100_000)

    assert bus.numbers("ticks", "sim", [0]) == {0: 100_000}


@pytest.mark.endurance
def test_a_primary_that_was_paused_past_the_switch_gives_its_clients_up(pair: RedisPair) -> None:
    bus = Bus(pair.url, timeout=2.0)
    write_through(bus, 0)
    paused = psutil.Process(pair.primary())

    paused.suspend()
    pair.switched(paused.pid)
    paused.resume()  # it still takes itself for the primary, and our line still leads to it
    for k in range(1, 50):
        write_through(bus, k)

    assert on_bus(bus) == {p: list(range(50)) for p in range(ROWS)}


def test_a_replicated_bus_lets_nothing_out_that_may_still_be_lost(pair: RedisPair) -> None:
    bus = Bus(pair.url)

    written = write_through(bus, 0)
    waits = bus.head() < written
    seconds, micros = map(int, RedisLine(pair.url).call("TIME"))

    assert waits or seconds * 1000 + micros // 1000 >= (written >> SEQUENCE_BITS) + BEHIND_SECONDS * 1000
