"""The timetable on a real cluster: Ray takes each try once, and who is killed in between changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import psutil
import pytest

from adapters import entries
from adapters.alerts import Alerts
from adapters.bus import END, START, Bus
from adapters.jobs import TOPIC
from cluster.instance import free_base
from cluster.settings import Settings, read
from cluster.stores import Stores
from market.alerts import still_open
from market.holidays import nse_sessions
from market.sessions import MINUTE
from market.ticks import FeedState, mark
from market.timetable import Note, State

pytestmark = [pytest.mark.cluster, pytest.mark.endurance, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
WAIT = 280.0
CONFIG = f"""
cluster_name: bourse
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: []}}
metadata:
  bourse:
    ports: {{base: {free_base()}}}
    timetable:
      compact: {{at: every 10 min while open, do: compact}}
      hasty: {{at: 15 min after open, do: compact, tries: 1, limit_seconds: 1}}
"""
SMALL = """
from cluster.instance import Instance
from cluster.settings import read

settings = read("cluster.yaml", {})
instance = Instance(settings, settings.run_folder, print)
try:
    instance.open_stores()
    instance.open_ray(dashboard=True)
    from cluster.wiring import Wiring

    wiring = Wiring(settings, instance.stores)
    instance.supervise(wiring.supervisor(), [p for p in wiring.parts() if p.name == "timetable"])
    instance.wait_ready(1)
    print("ready", flush=True)
    input()
finally:
    instance.close()
"""
"""Stores, Ray and the timetable; the market's clock is whatever marks the test puts on the bus."""


@pytest.fixture
def settings() -> Iterator[Settings]:
    """A deployment's file in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        (Path(folder) / "cluster.yaml").write_text(CONFIG)
        yield read(Path(folder) / "cluster.yaml", {})


@pytest.fixture
def house(settings: Settings) -> Iterator[psutil.Process]:
    """The processes of a small instance, gone with all that is theirs at the end."""
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", SMALL]
    with (settings.folder / "screen.txt").open("w+") as said:
        small = subprocess.Popen(words, cwd=settings.folder, env=known, stdin=subprocess.PIPE, stdout=said, stderr=said)
        screen = settings.folder / "screen.txt"
        try:
            until(lambda: "ready" in screen.read_text() or small.poll() is not None)
            assert small.poll() is None, screen.read_text()
            yield psutil.Process(small.pid)
        finally:
            small.communicate(b"\n", timeout=WAIT)


def test_every_try_is_taken_once_and_its_end_is_known(house: psutil.Process, settings: Settings) -> None:
    bus = Bus(Stores(settings, settings.run_folder).bus)
    today = next(iter(nse_sessions(date.today() - timedelta(days=10), date.today())))

    def clock(minutes: int) -> None:
        row = mark(0, FeedState.LIVE, today.open + minutes * MINUTE)
        bus.append("ticks", "test", [(0, minutes, entries.encode(row))])

    clock(1)
    until(lambda: {n.job for n in states(bus, State.SEEN)} >= {"compact", "hasty"})
    clock(11)
    until(lambda: len(states(bus, State.STARTED)) == 1)
    next(p for p in house.children(recursive=True) if "ray::Timetable" in line(p)).kill()
    until(lambda: len(states(bus, State.SUCCEEDED)) == 1)
    clock(16)
    until(lambda: still_open(Alerts(bus).recent()))
    by_hand = subprocess.run(
        [sys.executable, "-m", "cluster.main", "timetable", "run", "compact"],
        cwd=settings.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=WAIT,
    )  # fmt: skip

    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    assert [(n.job, n.attempt, n.by_hand) for n in states(bus, State.STARTED)] == [
        ("compact", 1, False),
        ("hasty", 1, False),
        ("compact", 1, True),
    ]
    assert [(n.job, n.reason) for n in states(bus, State.STOPPED)] == [("hasty", "took longer than 1 s")]
    assert len(states(bus, State.SUCCEEDED)) == 2
    assert [a.text for a in still_open(Alerts(bus).recent())] == [
        "hasty did not end well: stopped, took longer than 1 s"
    ]


def states(bus: Bus, state: State) -> list[Note]:
    """The notes of a state, in order."""
    found = [r for e in bus.range(TOPIC, 0, START, END, 1000) for r in entries.decode_records(e.payload)]
    return [note for note in map(Note.model_validate, found) if note.state is state]


def line(process: psutil.Process) -> str:
    """A process's command line, nothing where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(holds: Callable[[], object]) -> None:
    """Look until it holds. Raises AssertionError when it never does."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.2)
