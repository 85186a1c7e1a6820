from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from tests.serve_app.conftest import MEMORY
from tests.serve_app.house import PARTITIONS, RELIANCE, TODAY, House, after, live, minutes, tick, wait


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
