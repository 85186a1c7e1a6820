"""The command `feed`: what it shows, what it puts on the bus, and what it refuses."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from adapters.bus import Bus
from adapters.control import Control
from adapters.redis_server import RedisServer
from cluster.feeding import tables
from cluster.instance import free_base
from cluster.settings import private_folder, read
from market.wishes import Wishes
from tests.cluster.test_running import CONFIG, bourse


@pytest.fixture
def config() -> Iterator[Path]:
    """A cluster file with a bus in its run folder, held as a running instance holds it."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        file = Path(folder) / "cluster.yaml"
        file.write_text(CONFIG.format(base=free_base()))
        settings = read(file, {})
        run = private_folder(settings.run_folder)
        server = RedisServer(settings.data / "bus", run, "bus", memory=64 << 20, durable=True)
        server.start()
        with (run / "pid").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write("1")
            lock.flush()
            yield file
        server.stop()
        shutil.rmtree(run)


def wished(config: Path) -> Control:
    run = read(config, {}).run_folder
    return Control(Bus(f"unix://{run}/bus.sock"))


def test_what_is_asked_stands_on_the_bus_with_who_asked(config: Path) -> None:
    said = [bourse("feed", *words, "-c", config) for words in (("force", "sim"), ("close", "sim"), ("hold",))]

    control = wished(config)
    heard = control.hear()

    assert [(code, err) for code, _, err in said] == [(0, "")] * 3, said
    assert [(w.do, w.feed) for w in heard] == [("force", "sim"), ("close", "sim"), ("hold", "")]
    assert all("@" in w.by and w.at > 0 for w in heard)
    assert control.wishes == Wishes(held=True, closed=frozenset({"sim"}))


def test_open_and_auto_take_it_back(config: Path) -> None:
    for words in (("close", "sim"), ("force", "sim"), ("open", "sim"), ("auto",)):
        bourse("feed", *words, "-c", config)

    control = wished(config)

    assert len(control.hear()) == 4
    assert control.wishes == Wishes()


def test_closing_the_forced_feed_or_the_last_one_is_said(config: Path) -> None:
    said = [bourse("feed", *words, "-c", config)[1] for words in (("force", "sim"), ("close", "sim"), ("open", "sim"))]

    assert [one.count("\n") for one in said] == [1, 3, 1]
    assert "sim is both forced and closed" in said[1]
    assert "every feed is closed by hand" in said[1]


def test_a_feed_nobody_knows_is_one_line(config: Path) -> None:
    code, _, error = bourse("feed", "force", "kite", "-c", config)

    assert (code, error) == (2, "feed: 'kite' is not allowed; one of sim\n")
    assert wished(config).hear() == []


@pytest.mark.parametrize("words", [["feed"], ["feed", "hold"]])
def test_without_an_instance_it_is_one_line(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(CONFIG.format(base=free_base()))

    code, out, error = bourse(*words, "-c", file)

    assert (code, out, error.count("\n")) == (2, "", 1)


def test_the_table_names_the_active_feed_its_breaker_and_the_last_switch() -> None:
    feed = {
        "name": "sim", "role": "primary", "active": True, "state": "LIVE", "breaker": "half-open",
        "at": "2016-08-25T03:45:10Z", "since": None, "fails": 2, "return_after_seconds": 60, "closed_by_hand": False,
    }  # fmt: skip
    switch = {"number": 1, "from": "kite", "to": "sim", "at": "2016-08-25T03:45:13Z", "since": None, "reason": "mute"}
    record = {"active": "sim", "forced": None, "held": True, "trouble": "", "feeds": [feed], "switches": [switch]}
    console = Console(width=200)

    with console.capture() as shown:
        console.print(tables(record))

    text = shown.get()
    for word in ("sim", "active", "half-open", "09:15:10", "60 s", "kite", "mute", "09:15:13", "held by hand"):
        assert word in text
