"""The hub, driven beat by beat: what clients fold from their frames against what is true, over cuts and conflations."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgpack
import numpy as np
import pytest

from market import frames
from market.access import Caller
from market.instruments import Instrument, Universe
from market.money import UNKNOWN
from serve_app import hub as hubs
from serve_app.hub import BACKLOG, Client, Group, Hub

INSTRUMENTS = 12
SEEDS = 1000
BEATS = 25
CALLER = Caller(kind="anonymous", credential="test")


class Pipe:
    """A wire whose other end takes what it likes, when it likes. Satisfies `Wire`."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.held: list[bytes] = []
        self.full = self.breaks = False
        self.silent = self.late = 0.0
        self.count, self.left = 0, 0

    def send(self, size: int, parts: tuple[bytes, ...]) -> None:
        if self.breaks:
            raise OSError("broken")
        data = b"".join(parts)
        assert len(data) == size
        self.held.append(data)

    def waiting(self) -> int:
        return BACKLOG + 1 if self.full else self.left

    def ask(self) -> None:
        self.silent = self.silent or 0.01

    def unanswered(self) -> float:
        return self.silent

    def answers(self) -> int:
        return self.count

    def trip(self) -> float:
        return self.late

    def abort(self) -> None:
        self.held.clear()


class Truth:
    """Stands where the book of quotes stands: a matrix that changes as it is told."""

    base = 0
    market_time, feed = 1_000, 0

    def __init__(self) -> None:
        self.values = np.full((INSTRUMENTS, len(frames.FIELDS)), UNKNOWN)
        self.changed = np.zeros(INSTRUMENTS, np.int64)
        self.lags = np.zeros((2, 1), np.int64)

    def settle(self) -> None: ...

    def read(self, beat: int) -> None: ...

    def move(self, row: int, field: int, value: int, beat: int) -> None:
        if self.values[row, field] != value:
            self.values = self.values.copy()
            self.values[row, field] = value
            self.changed[row] = beat


class Screen:
    """A client's own picture, folded from what it takes off its pipe."""

    def __init__(self) -> None:
        self.pipe, self.known, self.sequence = Pipe(), {}, 0  # type: ignore[var-annotated]

    def take(self, count: int | None = None) -> None:
        for data in self.pipe.held[:count]:
            kind, sequence, *_ = frame = msgpack.unpackb(data)
            assert sequence == self.sequence + 1, "no frame is missing within a socket"
            self.sequence = sequence
            for number, bits, *values in frame[5:]:
                told = [f for f in range(len(frames.FIELDS)) if bits >> f & 1]
                assert kind == frames.Kind.DELTA or len(told) == len(frames.FIELDS)
                self.known.setdefault(number, {}).update(zip(told, values, strict=True))
        del self.pipe.held[:count]


def sockets() -> tuple[Hub, Truth]:
    universe = Universe(Instrument(id=k, symbol=f"NSE:S{k}") for k in range(INSTRUMENTS))
    truth = Truth()
    found: Any = Hub.__new__(Hub)
    Hub.__init__(found, _Nothing(), universe, 1)  # type: ignore[arg-type]
    found.book = truth
    return found, truth


class _Nothing:
    """A follower nobody asks, and whom nobody follows."""

    traces = None


async def play(seed: int) -> None:
    rng = random.Random(seed)
    hub, truth = sockets()
    screen = Screen()

    def join(every: int) -> Client:
        client = Client(screen.pipe, CALLER, lambda code, reason: None)
        hub.clients[client.session] = client
        hub._place(client, every, True)
        return client

    client = join(rng.choice([1, 2, 5]))
    wanted: set[int] = set()
    for _ in range(BEATS):
        await hub._tick()
        for _ in range(rng.randrange(4)):
            truth.move(rng.randrange(INSTRUMENTS), rng.randrange(len(frames.FIELDS)), rng.randrange(300), hub.beat + 1)
        event = rng.random()
        if event < 0.2:
            new = rng.sample(range(INSTRUMENTS), 4)
            hub.want(client, new)
            wanted |= set(new)
        elif event < 0.25 and wanted:
            gone = rng.choice(sorted(wanted))
            hub.forget(client, [gone])
            wanted.discard(gone)
            screen.take()
            screen.known.pop(gone, None)
        elif event < 0.4:
            screen.pipe.full = not screen.pipe.full
        elif event < 0.45:
            hub.tune(client, rng.choice([1, 2, 4, 10]), None)
        elif event < 0.6:  # the line is cut: some of what was sent arrives, the rest never does
            screen.take(rng.randrange(len(screen.pipe.held) + 1))
            screen.pipe.held.clear()
            hub.leave(client)
            session, screen.pipe = client.session, Pipe()
            for _ in range(rng.randrange(3)):
                hub.beat += 1
                truth.move(rng.randrange(INSTRUMENTS), 0, rng.randrange(300), hub.beat)
            client = join(5)
            assert hub.resume(client, session, screen.sequence, 500)
        elif not screen.pipe.full:
            screen.take()
    screen.pipe.full = False
    hub._look()
    for _ in range(11):
        await hub._tick()
    screen.take()

    assert {n: v for n, v in screen.known.items() if n in wanted} == {
        n: {f: None if x == UNKNOWN else x for f, x in enumerate(truth.values[n].tolist())} for n in wanted
    }, f"seed {seed}"


def test_what_a_client_folds_is_the_truth_after_cuts_and_conflations() -> None:
    async def all_seeds() -> None:
        for seed in range(SEEDS):
            await play(seed)

    asyncio.run(all_seeds())


def test_a_slow_client_gets_the_latest_values_and_the_others_do_not_notice() -> None:
    async def main() -> None:
        hub, truth = sockets()
        slow, well = Screen(), Screen()
        for screen in (slow, well):
            client = Client(screen.pipe, CALLER, lambda code, reason: None)
            hub.clients[client.session] = client
            hub._place(client, 1, True)
            hub.want(client, [3])
        await hub._tick()
        slow.pipe.full = True
        for price in range(5):
            truth.move(3, 0, 100 + price, hub.beat + 1)
            await hub._tick()
        slow.pipe.full = False
        await hub._tick()

        assert len(slow.pipe.held) == 2 and len(well.pipe.held) == 6
        slow.take()
        well.take()
        assert slow.known == well.known and slow.known[3][0] == 104
        assert hub.figures()["conflated"] == 5

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["delta", "key"])
def test_a_beat_that_breaks_half_way_loses_nothing(kind: str) -> None:
    async def main() -> None:
        hub, truth = sockets()
        screens = [Screen() for _ in range(4)]
        for screen in screens:
            client = Client(screen.pipe, CALLER, lambda code, reason: None)
            hub.clients[client.session] = client
            hub._place(client, 1, True)
            hub.want(client, [3, 4])
        truth.move(3, 0, 100, hub.beat + 1)
        if kind == "delta":
            await hub._tick()
        truth.move(3, 0, 101, hub.beat + 1)
        screens[1].pipe.breaks = True
        with pytest.raises(OSError, match="broken"):
            await hub._tick()
        screens[1].pipe.breaks = False
        truth.move(4, 1, 7, hub.beat + 1)
        await hub._tick()
        for screen in screens:
            screen.take()

        assert [(s.known[3][0], s.known[4][1]) for s in screens] == [(101, 7)] * 4

    asyncio.run(main())


def test_a_frozen_client_is_ended_with_a_reason_and_counted() -> None:
    async def main() -> None:
        hub, _ = sockets()
        told: list[tuple[int, str]] = []
        screen = Screen()
        client = Client(screen.pipe, CALLER, lambda code, reason: told.append((code, reason)))
        hub.clients[client.session] = client
        hub._place(client, 1, True)
        screen.pipe.silent = hubs.FROZEN_SECONDS + 1
        hub._look()
        hub._look()

        assert [code for code, _ in told] == [4008] and "10 seconds" in told[0][1]
        assert hub.figures()["frozen"] == 1 and hub.figures()["groups"] == 0

    asyncio.run(main())


def test_a_client_that_takes_something_now_and_then_is_not_frozen() -> None:
    """Whether that is seen from an answered ping or from bytes that wait no more."""

    async def main() -> None:
        hub, _ = sockets()
        told: list[int] = []
        pipe = Pipe()
        client = Client(pipe, CALLER, lambda code, reason: told.append(code))
        hub.clients[client.session] = client
        hub._place(client, 1, True)
        pipe.silent, pipe.left = 1.0, BACKLOG * 9
        hub._look()
        hub._look()
        for k in range(6):
            client.stuck -= hubs.FROZEN_SECONDS + 1  # so long nothing, and then something
            pipe.count += k % 2
            pipe.left -= (k + 1) % 2
            hub._look()
        assert told == [] and client.owes

        client.stuck -= hubs.FROZEN_SECONDS + 1
        hub._look()
        assert told == [4008]

    asyncio.run(main())


def test_a_client_whose_pings_come_late_gets_one_frame_at_a_time_with_the_latest_values() -> None:
    async def main() -> None:
        hub, truth = sockets()
        screen = Screen()
        client = Client(screen.pipe, CALLER, lambda code, reason: None)
        hub.clients[client.session] = client
        hub._place(client, 1, True)
        hub.want(client, [3])

        async def beats(count: int) -> int:
            """So many beats with a new price at each; the frames of them."""
            before = len(screen.pipe.held)
            for _ in range(count):
                truth.move(3, 0, truth.values[3, 0] + 1 if truth.values[3, 0] != UNKNOWN else 100, hub.beat + 1)
                await hub._tick()
            return len(screen.pipe.held) - before

        assert await beats(10) == 10
        screen.pipe.silent = screen.pipe.late = 1.0
        await beats(10)
        assert await beats(10) == 0
        for _ in range(3):
            screen.pipe.silent = 0.0  # answered, but late
            assert await beats(10) == 1
            screen.take()
            assert truth.values[3, 0] - screen.known[3][0] < 10
        screen.pipe.silent = screen.pipe.late = 0.0
        await beats(10)
        assert await beats(10) == 10

    asyncio.run(main())


def test_sockets_of_one_rate_are_spread_over_the_beats() -> None:
    async def main() -> None:
        hub, _ = sockets()
        for _ in range(40):
            client = Client(Pipe(), CALLER, lambda code, reason: None)
            hub._place(client, hubs.every(1), True)

        sizes = [len(cell.clients) for cell in hub._cells.values()]
        assert sizes == [2] * 20
        assert set(hub._cells) == {Group(20, phase, frames.ALL, True) for phase in range(20)}

    asyncio.run(main())


def test_a_session_is_its_owners_alone() -> None:
    async def main() -> None:
        hub, _ = sockets()
        mine, other = (Client(Pipe(), Caller(kind="key", credential=c), lambda code, reason: None) for c in "ab")
        for client in (mine, other):
            hub.clients[client.session] = client
            hub._place(client, 5, True)
        hub.want(mine, [1, 2])
        hub.leave(mine)

        assert not hub.resume(other, mine.session, 0, 500)

    asyncio.run(main())
