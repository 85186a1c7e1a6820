"""Failover with real processes: whatever happens to the primary, the day's candles are those of the tape."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import WSMsgType, web

from actors.candles import Candles
from actors.plans import SwitchPlan
from actors.switch import READER, Switch
from adapters import entries
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.control import Control
from adapters.redis_server import RedisServer
from adapters.switches import Switches
from market.candles import INTERVALS, Provenance
from market.failover import Rule, Seam
from market.sessions import MINUTE, SECOND, session
from market.tape import BAR, from_bars
from market.ticks import TICK, FeedState, Kind, mark
from market.wishes import Wish
from tests.actors.day import Running, candles_on, candles_plan, caught_up, feed_plan, instruments, log, until

ROOT = Path(__file__).resolve().parents[2]
OF = instruments()
DAY = session(date(2016, 8, 25), closes=time(9, 19))
PARTITIONS = 2
SPEED = 8.0
GRACE = 10 * SECOND
RULES = (Rule(name="main", source=0), Rule(name="spare", source=1))
AWAY = 25


def switch_plan(bus: str, **more: Any) -> SwitchPlan:
    told: dict[str, Any] = {
        "bus": bus, "cache": bus, "partitions": PARTITIONS, "instruments": OF, "sessions": (DAY,), "rules": RULES,
        "return_after": 8 * SECOND, "log_level": "error",
    }  # fmt: skip
    return SwitchPlan(**{**told, **more})


class Marks:
    """Puts marks of feeds on the bus, as feeds do."""

    def __init__(self, bus: Bus) -> None:
        self._bus, self._numbers = bus, [0, 0]

    def say(self, source: int, state: FeedState, second: float, since: float | None = None) -> None:
        began = None if since is None else DAY.open + int(since * SECOND)
        payload = entries.encode(mark(source, state, DAY.open + int(second * SECOND), began))
        self._numbers[source] += 1
        rows = [(p, self._numbers[source], payload) for p in range(PARTITIONS)]
        self._bus.append("ticks", f"{source}/0", rows)

    def both(self, first: int, last: int) -> None:
        for second in range(first, last + 1):
            self.say(0, FeedState.LIVE, second)
            self.say(1, FeedState.LIVE, second)


def actives(bus: Bus, partition: int) -> list[tuple[int, int]]:
    """Number and source of the switches in a partition, in their order."""
    found = [entries.decode(e.payload, TICK) for e in log(bus, "ticks", partition) if e.writer == "switch"]
    return [(int(r["sequence"]), int(r["source"])) for rows in found for r in rows]


def seams(bus: Bus) -> list[tuple[str, str, str]]:
    return [(s.old, s.new, s.reason) for s in Switches(bus).recent()]


def test_a_switch_stands_in_every_partition_once_and_is_told(server: RedisServer, bus: Bus) -> None:
    marks = Marks(bus)
    one = Running(Switch(switch_plan(server.url)))
    marks.both(1, 10)
    one.wait(lambda: actives(bus, 1) == [(0, 0)])

    marks.say(1, FeedState.LIVE, 13)
    marks.say(0, FeedState.MUTE, 13, 10)
    one.wait(lambda: Alerts(bus).recent())
    one.stop()

    assert seams(bus) == [("", "main", "start"), ("main", "spare", "mute")]
    assert [actives(bus, p) for p in range(PARTITIONS)] == [[(0, 0), (1, 1)]] * PARTITIONS
    [alert] = Alerts(bus).recent()
    assert (alert.kind, alert.severity, alert.over) == ("switch", "info", False)
    assert "main has been mute since 09:15:10 IST: spare is the active feed" in alert.text


def test_a_switch_that_died_between_decision_and_marks_is_carried_to_its_end(server: RedisServer, bus: Bus) -> None:
    marks = Marks(bus)
    marks.both(1, 10)
    decided = Seam(number=0, new="main", source=0, at=DAY.open + 10 * SECOND, since=DAY.open, reason="start")
    Switches(bus).tell(decided)

    one = Running(Switch(switch_plan(server.url)))
    one.wait(lambda: actives(bus, PARTITIONS - 1))
    one.stop()

    assert [actives(bus, p) for p in range(PARTITIONS)] == [[(0, 0)]] * PARTITIONS


def test_two_who_decide_at_once_come_to_one_switch(server: RedisServer, bus: Bus) -> None:
    marks = Marks(bus)
    marks.both(1, 10)
    first, second = Switch(switch_plan(server.url, lease_seconds=60.0)), Switch(switch_plan(server.url))
    stale = Running(first)
    stale.wait(lambda: seams(bus))
    bus.close()
    Bus(server.url)._line.call("DEL", f"lease:{READER}")
    other = Running(second)
    other.wait(lambda: second.health()["active"])

    marks.say(1, FeedState.LIVE, 13)
    marks.say(0, FeedState.MUTE, 13, 10)
    other.wait(lambda: len(seams(bus)) > 1 and second.health()["active"] == "spare")
    other.stop()
    stale.shell.stop()
    stale.ended()

    assert seams(bus) == [("", "main", "start"), ("main", "spare", "mute")]
    assert [actives(bus, p) for p in range(PARTITIONS)] == [[(0, 0), (1, 1)]] * PARTITIONS


def test_a_restarted_switch_remembers_what_failed_and_what_was_wished(server: RedisServer, bus: Bus) -> None:
    marks = Marks(bus)
    one = Running(Switch(switch_plan(server.url)))
    marks.both(1, 10)
    marks.say(1, FeedState.LIVE, 13)
    marks.say(0, FeedState.MUTE, 13, 10)
    one.wait(lambda: len(seams(bus)) == 2)
    one.stop()
    Control(bus).wish(Wish(do="hold", at=1, by="ops"))

    again = Switch(switch_plan(server.url))
    two = Running(again)
    marks.both(14, 40)
    two.wait(lambda: again.health()["market_time"] == DAY.open + 40 * SECOND)
    held = seams(bus)
    Control(bus).wish(Wish(do="auto", at=2, by="ops"))
    two.wait(lambda: len(seams(bus)) == 3)
    two.stop()

    assert held == [("", "main", "start"), ("main", "spare", "mute")]
    assert seams(bus)[2] == ("spare", "main", "return")
    assert again.health()["feeds"][0]["fails"] == 1
    assert Alerts(bus).recent()[-1].over


class Proxy:
    """Stands between a feed and its exchange: may swallow what comes, or cut the line and let nobody in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.mute = self.cut = False
        self._lines: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._start())

    def cut_now(self) -> None:
        """Break every line and refuse new ones until `cut` is False again."""
        self.cut = True
        self._call(self._break())

    def close(self) -> None:
        """End it."""
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def _break(self) -> None:
        for line in list(self._lines):
            await line.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.cut:
            return web.Response(status=503)
        try:
            async with aiohttp.ClientSession() as one, one.ws_connect(self._url, params=request.query) as far:
                return await self._between(request, far)
        except aiohttp.ClientError:
            return web.Response(status=503)

    async def _between(self, request: web.Request, far: aiohttp.ClientWebSocketResponse) -> web.StreamResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        self._lines.add(near)
        up = asyncio.create_task(self._up(near, far))
        with suppress(ConnectionError):
            async for message in far:
                if self.mute:
                    continue
                if message.type is WSMsgType.BINARY:
                    await near.send_bytes(message.data)
                elif message.type is WSMsgType.TEXT:
                    await near.send_str(message.data)
        up.cancel()
        self._lines.discard(near)
        return near

    async def _up(self, near: web.WebSocketResponse, far: aiohttp.ClientWebSocketResponse) -> None:
        async for message in near:
            if message.type is WSMsgType.TEXT:
                await far.send_str(message.data)
        await far.close()


class Stage:
    """Two exchanges that play one tape, and their feeds, each a process."""

    def __init__(self, folder: Path, bus: str) -> None:
        self._folder, self._bus = folder, bus
        self._processes: list[subprocess.Popen[str]] = []
        self.bars = bars()
        played = from_bars(DAY, self.bars, {})
        plan = {"instruments": OF, "tape": played, "speed": SPEED}
        self._exchanges = [self._start("exchange", plan) for _ in range(2)]
        self._addresses = [one.stdout.readline().strip() for one in self._exchanges if one.stdout is not None]
        self.proxy = Proxy(f"{self._addresses[0]}/")
        self.main = self.feed(0)
        self.feed(1)

    def go(self) -> None:
        """When both feeds are connected, let the clocks run."""
        for one in self._exchanges:
            assert one.stdout is not None and one.stdout.readline() == "connected\n"
        for one in self._exchanges:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()

    def feed(self, number: int) -> subprocess.Popen[str]:
        """A feed's process; the primary's line goes through the proxy."""
        url = self.proxy.url if number == 0 else self._addresses[number].replace("http", "ws") + "/"
        plan = feed_plan(
            self._bus, self._folder, url, OF, PARTITIONS, sessions=(DAY,), name=RULES[number].name, source=number,
            grace=GRACE, hold=False,
        )  # fmt: skip
        return self._start("feed", plan)

    def close(self) -> None:
        """End every process."""
        self.proxy.close()
        for one in self._processes:
            one.kill()
            one.wait()
            for pipe in (one.stdin, one.stdout):
                if pipe is not None:
                    pipe.close()

    def _start(self, name: str, plan: object) -> subprocess.Popen[str]:
        file = self._folder / f"plan-{len(self._processes)}"
        file.write_bytes(pickle.dumps(plan))
        words = [sys.executable, "-m", "tests.actors.parts", name, str(file)]
        known = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self._folder / f"{file.name}.txt").open("w") as said:
            process = subprocess.Popen(
                words, cwd=ROOT, env=known, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
            )
        self._processes.append(process)
        return process


@pytest.fixture
def stage(server: RedisServer, tmp_path: Path) -> Iterator[Stage]:
    """The exchanges and feeds, connected, their clocks not yet running."""
    one = Stage(tmp_path, server.url)
    yield one
    one.close()


@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.endurance
@pytest.mark.alone
def test_whatever_happens_to_the_primary_the_candles_are_those_of_the_tape(
    server: RedisServer, bus: Bus, stage: Stage
) -> None:
    switch, candles = Switch(switch_plan(server.url)), Candles(candles_plan(server.url, PARTITIONS, sessions=(DAY,),
                                                                            grace=GRACE))  # fmt: skip
    running = [Running(switch), Running(candles)]
    stage.go()
    played = Played(bus)

    def returned(after: int) -> bool:
        return played.now() >= after and switch.health()["active"] == "main"

    played.wait(lambda: returned(25))
    stage.proxy.mute = True
    played.wait(lambda: switch.health()["active"] == "spare" and played.now() >= 25 + AWAY)
    stage.proxy.mute = False
    played.wait(lambda: returned(75))
    os.kill(stage.main.pid, signal.SIGKILL)
    played.wait(lambda: switch.health()["active"] == "spare" and played.now() >= 75 + AWAY)
    stage.main = stage.feed(0)
    played.wait(lambda: returned(125))
    stage.proxy.cut_now()
    played.wait(lambda: switch.health()["active"] == "spare" and played.now() >= 125 + AWAY)
    stage.proxy.cut = False
    played.wait(lambda: played.now() >= DAY.minutes * 60 + 55)
    running[1].wait(lambda: caught_up(candles, bus))
    for one in running:
        one.stop()

    found = candles_on(bus, PARTITIONS)
    minutes = found[(found["interval"] == INTERVALS["1m"]) & (found["revision"] == 0)]
    assert minutes["start"].tolist() == stage.bars["start"].tolist()
    for name in ("instrument", "open", "high", "low", "close", "volume"):
        assert minutes[name].tolist() == stage.bars[name].tolist(), name
    assert set(minutes["provenance"].tolist()) == {int(Provenance.LIVE)}
    told = Switches(bus).recent()
    assert [actives(bus, p) for p in range(PARTITIONS)] == [[(s.number, s.source) for s in told]] * PARTITIONS
    for line in takeovers(bus, told):
        print(line)


class Played:
    """How far the tape is, by the marks of all feeds."""

    def __init__(self, bus: Bus) -> None:
        self._bus, self._now = bus, 0

    def now(self) -> float:
        """Seconds of market time since the open."""
        last = self._bus.last("ticks", 0)
        for entry in self._bus.range("ticks", 0, last, last, 1):
            rows = entries.decode(entry.payload, TICK)
            self._now = max(self._now, *rows["at"][rows["kind"] == Kind.MARK].tolist(), 0)
        return (self._now - DAY.open) / SECOND

    def wait(self, condition: Callable[[], Any]) -> None:
        """Until it holds."""
        asyncio.run(until(condition))


def takeovers(bus: Bus, told: list[Seam]) -> list[str]:
    """Of each takeover: how long after the last data, and after the word of trouble, by the market's clock."""
    lines: list[str] = []
    now, word = 0, dict.fromkeys(range(2), 0)
    by_number = {s.number: s for s in told}
    for entry in log(bus, "ticks", 0):
        rows = entries.decode(entry.payload, TICK)
        for row in rows[rows["kind"] == Kind.MARK]:
            source, state = int(row["source"]), int(row["flags"])
            if state != FeedState.ACTIVE:
                now = max(now, int(row["at"]))
                trouble = state in (FeedState.MUTE, FeedState.DOWN)
                word[source] = (word.get(source) or now) if trouble else 0
                continue
            seam = by_number[int(row["sequence"])]
            if not seam.old or seam.reason == "return":
                continue
            said = word[RULES[0].source]
            after = f"{(now - said) / SECOND:.2f} s after its word" if said else "it said nothing"
            lines.append(f"{seam.reason}: taken over {(now - seam.since) / SECOND:.2f} s after the last data, {after}")
    return lines


def bars() -> np.ndarray:
    """Every minute of each instrument, seeded."""
    rng = np.random.default_rng(7)
    rows = np.zeros((len(OF), DAY.minutes), BAR)
    rows["instrument"] = np.array([i.id for i in OF])[:, None]
    rows["start"] = DAY.open + np.arange(DAY.minutes) * MINUTE
    prices = rng.integers(100_00, 120_00, (4, *rows.shape)) * 100
    rows["open"], rows["close"] = prices[:2]
    rows["low"], rows["high"] = prices.min(axis=0), prices.max(axis=0)
    rows["volume"] = rng.integers(10, 5000, rows.shape) * (rows["instrument"] != 5)
    return rows.ravel()
