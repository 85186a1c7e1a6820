from __future__ import annotations

import itertools
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.instruments import Instrument
from serve_app.follow import Follower
from tests.serve_app.conftest import MEMORY
from tests.serve_app.house import (
    PARTITIONS,
    RELIANCE,
    TCS,
    TODAY,
    TOMORROW,
    YESTERDAY,
    House,
    after,
    candle,
    live,
    minutes,
    tick,
    wait,
)


@pytest.fixture
def own() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A bus and a cache that a test may stop and start."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        bus = RedisServer(f"{folder}/bus", f"{folder}/run", "bus", memory=MEMORY, durable=True)
        cache = RedisServer(f"{folder}/cache", f"{folder}/run", "cache", memory=MEMORY, durable=False)
        bus.start()
        cache.start()
        yield bus, cache
        bus.stop()
        cache.stop()


def test_a_bus_that_is_gone_leaves_what_is_known_and_is_followed_again(
    own: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    house = House(*own, tmp_path / "lake")
    house.open()
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 1)))

    own[0].stop()
    wait(lambda: house.client.get("/health").status_code == 503)
    away = house.client.get("/health").json()
    assert (away["status"], away["parts"]["gateway"]["up"]) == ("down", False)
    assert house.get("/api/stock/RELIANCE")["price"] == 1000.0
    own[0].start()
    wait(lambda: house.client.get("/health").status_code == 200)
    house.say(tick(RELIANCE, after(TODAY, 2), 1001))

    wait(lambda: house.get("/api/stock/RELIANCE")["price"] == 1001.0)
    house.close()


def test_a_cache_that_is_gone_degrades_health_and_quotes_go_on(
    own: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    house = House(*own, tmp_path / "lake")
    house.open()

    own[1].stop()

    body = house.get("/health")
    assert (body["status"], body["trouble"][:6]) == ("degraded", "cache:")
    house.say(tick(RELIANCE, after(TODAY, 1), 1000))
    assert house.get("/api/stock/RELIANCE")["price"] == 1000.0
    house.close()


def test_a_log_that_went_back_empties_the_window_and_is_read_anew(house: House) -> None:
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 3)))
    house.fold(minutes(RELIANCE, TODAY, 0, 3))

    line = RedisLine(house.plan.bus)
    line.call("FLUSHALL")
    line.close()

    wait(lambda: not house.follower.window.sessions)
    house.say(tick(RELIANCE, after(TODAY, 4), 1002), live(after(TODAY, 4)))
    house.fold(minutes(RELIANCE, TODAY, 1, 2))
    assert house.get("/api/stock/RELIANCE")["price"] == 1002.0
    assert [c["close"] for c in house.get("/api/v1/candles/RELIANCE")["candles"]] == [101.0]


def test_an_entry_nobody_can_read_is_counted_and_passed_over(house: House) -> None:
    house.bus.append("ticks", "torn", [(p, 1, b"not an entry") for p in range(PARTITIONS)])
    house.bus.write("candles", 0, house.bus.last("candles", 0) + 1, b"")

    wait(lambda: house.follower.bad == PARTITIONS + 1)
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 1)))

    assert house.get("/api/stock/RELIANCE")["price"] == 1000.0
    assert house.get("/health")["parts"]["gateway"]["bad_entries"] == PARTITIONS + 1


def test_the_version_to_go_by_is_never_one_under_way(house: House) -> None:
    house.say(tick(RELIANCE, after(TODAY, 1), 1000))

    wait(lambda: house.follower.version == house.follower.quotes.version)

    house.follower.quotes.version += 1
    assert house.follower.version == house.follower.quotes.version - 1


@pytest.fixture
def writing(house: House) -> Iterator[Callable[[Callable[[int], None]], None]]:
    """Starts a thread that writes again and again, with threads taking turns as often as they can."""
    stop, usual, writers = threading.Event(), sys.getswitchinterval(), []

    def start(write: Callable[[int], None]) -> None:
        def go() -> None:
            for value in itertools.count(1):
                if stop.is_set():
                    return
                write(value)

        writers.append(threading.Thread(target=go))
        writers[-1].start()

    sys.setswitchinterval(1e-5)
    yield start
    stop.set()
    for writer in writers:
        writer.join()
    sys.setswitchinterval(usual)


def test_no_reader_sees_half_an_update(house: House, writing: Callable[[Callable[[int], None]], None]) -> None:
    everyone = range(500)
    many = tuple(Instrument(id=i, symbol=f"NSE:S{i}") for i in everyone)
    follower = Follower(house.plan.model_copy(update={"instruments": many}))
    ticks = np.concatenate([tick(i, after(TODAY, 1), 100, ask_quantity=0) for i in everyone])

    def write(value: int) -> None:
        ticks["day_volume"] = ticks["ask_quantity"] = value
        follower.put_ticks(ticks)

    follower.put_ticks(ticks)
    writing(write)
    seen = [follower.read(everyone)]
    while len(seen) < 2000 or np.array_equal(seen[0]["day_volume"], seen[-1]["day_volume"]):
        seen.append(follower.read(everyone))

    assert not [rows for rows in seen if np.ptp([rows["day_volume"], rows["ask_quantity"]])]


def test_readers_may_ask_while_sessions_come_and_go(
    house: House, writing: Callable[[Callable[[int], None]], None]
) -> None:
    follower = Follower(house.plan)
    rows = [candle(TCS, day, 0, 100.0, s) for day in (YESTERDAY, TODAY, TOMORROW) for s in (60, 300, 900, 3600)]

    def write(value: int) -> None:
        follower.put_candles(rows[value % len(rows)])
        if value % 5 == 0:
            with follower.lock:
                follower.window.clear()

    writing(write)
    found = [(follower.counts().sum(), follower.health()["window_bytes"] > 0) for _ in range(2000)]

    assert {count for count, _ in found} <= {0, 1}


def test_who_listens_hears_of_every_signal_that_is_kept(closed: House) -> None:
    for number in (1, 2, 3):
        closed.bus.write("signals", 0, number, b"")
    heard: list[int] = []
    follower = Follower(closed.plan)
    follower.listeners.append(lambda topic, entry: heard.append(entry.id) if topic == "signals" else None)

    follower.start()
    wait(lambda: not follower.behind)
    follower.stop()

    assert heard == [1, 2, 3]


def test_while_the_bus_is_away_every_quote_is_stale_and_the_feed_is_down(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        bus = RedisServer(f"{folder}/bus", f"{folder}/run", "bus", memory=MEMORY, durable=False)
        cache = RedisServer(f"{folder}/cache", f"{folder}/run", "cache", memory=MEMORY, durable=False)
        bus.start()
        cache.start()
        house = House(bus, cache, tmp_path / "lake")
        house.open()
        try:
            house.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 1)))
            with house.client, house.client.websocket_connect("/ws/quotes") as socket:
                fresh = house.get("/api/v1/quotes", symbols="RELIANCE", fields="price,stale,feed_state")["quotes"]
                socket.send_json({"op": "subscribe", "symbols": ["RELIANCE"]})
                while (key := socket.receive_json())["type"] != "key":
                    pass
                bus.stop()
                while (frame := socket.receive_json())["type"] != "delta":
                    pass
                old = house.get("/api/v1/quotes", symbols="RELIANCE", fields="price,stale,feed_state")["quotes"]
        finally:
            house.close()
            bus.stop()
            cache.stop()

    assert [(q["price"], q["stale"], q["feed_state"]) for q in fresh + old] == [
        (1000.0, False, "LIVE"),
        (1000.0, True, "DOWN"),
    ]
    assert (key["feed"], key["quotes"]["NSE:RELIANCE"]["stale"]) == ("LIVE", False)
    assert (frame["feed"], frame["quotes"]["NSE:RELIANCE"]) == ("DOWN", {"stale": True})
