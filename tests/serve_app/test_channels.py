"""Channels over a real bus, with entries heard when a test says so: as by a replica that warms, or one that is slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgpack
import numpy as np
import pytest
from structlog.testing import capture_logs

from adapters.bus import END, SEQUENCE_BITS, START, Bus, Entry
from adapters.entries import encode
from market.errors import TooOld
from market.instruments import Instrument, Universe
from market.sessions import MINUTE
from serve_app.channels import Channels, Member, text
from serve_app.hub import MOST_BYTES, Client, Hub
from tests.serve_app.house import TODAY, House, candle
from tests.serve_app.test_hub import CALLER, Market, Pipe

PARTITIONS = 4


class Replica:
    """The channels of a gateway that hears of an entry when it is told to."""

    def __init__(self, bus: Bus, instruments: int = PARTITIONS) -> None:
        follower: Any = Market()
        self.bus = bus
        self.universe = Universe(Instrument(id=k, symbol=f"NSE:S{k}") for k in range(instruments))
        self.hub = Hub(follower, self.universe, 1)
        self.hub.adopt(asyncio.get_running_loop())
        self.channels = Channels(self.hub, bus, self.universe, PARTITIONS)
        self.ended: list[tuple[int, str]] = []

    def open(self, pipe: Pipe) -> Client:
        client = Client(pipe, CALLER, lambda code, reason: self.ended.append((code, reason)))
        self.hub.clients[client.session] = client
        self.hub._place(client, 1, True)
        return client

    def join(self, client: Client, channel: str, after: str | None = None) -> tuple[Member, str]:
        """As a socket's `join` does it, up to its answer: the cursor."""
        member = self.channels.member({"channel": channel, "after": after})
        if not member.live:
            self.channels.check(channel, member)
        return member, self.channels.join(client, channel, member)

    async def hear(self, *entries: Entry) -> None:
        for entry in entries:
            self.channels.heard("candles", entry)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def kept(self, topic: str = "candles") -> list[Entry]:
        return self.bus.read(topic, dict.fromkeys(range(PARTITIONS), START), 10_000)


class Slow(Pipe):
    """A wire whose other end takes a little at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.size = self.most = 0

    def send(self, size: int, parts: tuple[bytes, ...]) -> None:
        super().send(size, parts)
        self.size += size
        self.most = max(self.most, self.size)

    def waiting(self) -> int:
        return self.size

    async def drain(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            self.size = max(0, self.size - (128 << 10))


def ago(minutes: float) -> int:
    """The id of an entry that was written so many minutes ago."""
    return int((time.time() - 60 * minutes) * 1000) << SEQUENCE_BITS


def write(bus: Bus, partition: int, slots: range, newest: float = 1.0) -> None:
    """A candle a minute of the instrument of a partition, the last one written `newest` minutes ago."""
    for slot in slots:
        entry = ago(newest + slots[-1] - slot)
        assert bus.write("candles", partition, entry, encode(candle(partition, TODAY, slot, 100)))


def told(pipe: Pipe, kind: str = "candles") -> list[dict[str, Any]]:
    said = [msgpack.unpackb(data) for data in pipe.held]
    return [one for one in said if isinstance(one, dict) and one["type"] == kind]


def starts(messages: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The slots of the candles that came, by symbol, in their order."""
    found: dict[str, list[int]] = {}
    for message in messages:
        for row in message["rows"]:
            slot = (row["start"] * 1_000_000 - TODAY.open) // MINUTE
            found.setdefault(row["symbol"], []).append(slot)
    return found


def test_who_joins_while_a_replica_warms_hears_what_comes_from_now_on(closed: House) -> None:
    write(closed.bus, 0, range(5))
    write(closed.bus, 2, range(5))

    async def main() -> None:
        replica, pipe = Replica(closed.bus), Pipe()
        client = replica.open(pipe)
        member, cursor = replica.join(client, "candles")
        await replica.channels.catch_up(client, "candles", member)
        await replica.hear(*replica.kept())
        assert cursor == text([closed.bus.last("candles", p) for p in range(PARTITIONS)])
        assert told(pipe) == told(pipe, "caught_up") == []

        write(closed.bus, 2, range(5, 6), newest=0)
        await replica.hear(*replica.kept())
        assert starts(told(pipe)) == {"NSE:S2": [5]}

        again = Pipe()
        client = replica.open(again)
        member, _ = replica.join(client, "candles", cursor)
        await replica.channels.catch_up(client, "candles", member)
        assert starts(told(again)) == {"NSE:S2": [5]} and len(told(again, "caught_up")) == 1

    asyncio.run(main())


def test_a_replica_that_has_come_to_the_end_of_the_bus_takes_people_in_without_asking_it(closed: House) -> None:
    write(closed.bus, 1, range(3))

    async def main() -> None:
        replica, pipe = Replica(closed.bus), Pipe()
        await replica.hear(*replica.kept())
        assert not replica.join(replica.open(Pipe()), "candles")[0].live  # it asks, and so sees how far it has come
        member, cursor = replica.join(replica.open(pipe), "candles")
        write(closed.bus, 1, range(3, 4), newest=0)
        await replica.hear(*replica.kept())

        assert member.live and cursor == text([0, replica.kept()[2].id, 0, 0])
        assert starts(told(pipe)) == {"NSE:S1": [3]}

    asyncio.run(main())


def test_a_cursor_is_read_on_from_to_the_end_though_the_replica_has_read_nothing_yet(closed: House) -> None:
    write(closed.bus, 0, range(150), newest=-149)  # more than two pages; their times do not matter here

    async def main() -> None:
        replica, pipe = Replica(closed.bus), Pipe()
        client = replica.open(pipe)
        kept = replica.kept()
        member, _ = replica.join(client, "candles", text([kept[0].id, 0, 0, 0]))
        await replica.channels.catch_up(client, "candles", member)
        assert starts(told(pipe)) == {"NSE:S0": list(range(1, 150))} and len(told(pipe, "caught_up")) == 1
        await replica.hear(*kept)
        write(closed.bus, 0, range(150, 151), newest=-150)
        await replica.hear(*replica.kept())

        assert starts(told(pipe)) == {"NSE:S0": list(range(1, 151))}

    asyncio.run(main())


def test_an_hour_of_everything_comes_whole_and_in_order_to_a_slow_reader(closed: House) -> None:
    """500 instruments: several times what may wait for one socket."""
    hour, each = 60, 500 // PARTITIONS

    def publish(slot: int, minutes: float) -> None:
        for partition in range(PARTITIONS):
            rows = np.tile(candle(0, TODAY, slot, 1042.55), each)
            rows["instrument"] = partition * each + np.arange(each)
            assert closed.bus.write("candles", partition, ago(minutes), encode(rows))

    for slot in range(hour):
        publish(slot, (hour - slot) * 0.9)  # the first is young enough however slow this machine is

    async def main() -> None:
        replica, pipe = Replica(closed.bus, 500), Slow()
        client = replica.open(pipe)
        kept = replica.kept()
        await replica.hear(*kept)
        begin = [next(entry.id for entry in kept if entry.partition == p) for p in range(PARTITIONS)]
        member, _ = replica.join(client, "candles", text(begin))
        drain = asyncio.create_task(pipe.drain())
        reading = asyncio.create_task(replica.channels.catch_up(client, "candles", member))
        while not pipe.held:
            await asyncio.sleep(0)
        publish(hour, 0)  # while it reads
        await replica.hear(*replica.kept())
        assert not member.live
        await reading
        publish(hour + 1, -1)
        await replica.hear(*replica.kept())
        drain.cancel()

        assert replica.ended == [] and pipe.most < 2 << 20
        assert sum(map(len, pipe.held)) > MOST_BYTES
        slots = list(range(1, hour + 2))
        assert starts(told(pipe)) == {f"NSE:S{k}": slots for k in range(500)}
        assert len(told(pipe, "caught_up")) == 1

    asyncio.run(main())


def test_a_cursor_behind_which_entries_were_removed_is_refused_however_young(closed: House) -> None:
    ids = [ago(minutes) for minutes in (50, 40, 30)]
    for entry in ids:
        assert closed.bus.write("scores", 1, entry, b"")
    closed.bus.trim("scores", 1, ids[1])

    async def main() -> None:
        replica = Replica(closed.bus)
        client = replica.open(Pipe())
        with pytest.raises(TooOld, match="/api/v1/analyze"):
            replica.join(client, "analysis", text([0, ids[0], 0, 0]))
        replica.join(client, "analysis", text([0, ids[1], 0, 0]))
        closed.bus.trim("scores", 1, END)
        with pytest.raises(TooOld):
            replica.join(client, "analysis", text([0, ids[1], 0, 0]))
        replica.join(client, "analysis", text([0, ids[2], 0, 0]))

    asyncio.run(main())


def test_history_is_not_read_for_nobody(closed: House) -> None:
    assert closed.bus.write("candles", 0, ago(3), b"not an entry")

    async def main() -> None:
        replica = Replica(closed.bus)
        client = replica.open(Pipe())
        member, _ = replica.join(client, "candles")
        await replica.channels.catch_up(client, "candles", member)
        await replica.hear(*replica.kept())

    with capture_logs() as said:
        asyncio.run(main())
    assert said == []
