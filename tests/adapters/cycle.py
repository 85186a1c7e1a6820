"""A tiny whole path on the bus: a feed that counts, and a reader that sums what it reads."""

from __future__ import annotations

from collections.abc import Callable

from adapters.bus import START, Bus, EntryId
from adapters.redis_server import RedisServer

MakeServer = Callable[..., RedisServer]
FEED, READER = "feed", "summer"


class Summer:
    """Reads numbers, keeps their sum, writes it under the id of what it read."""

    def __init__(self, bus: Bus, partition: int = 0) -> None:
        self._bus, self._partition = bus, partition
        self.cursor: EntryId = START
        self.total = 0
        kept = bus.load(READER, partition)
        if kept is not None:
            self.cursor, self.total = kept[0], int(kept[1])

    def step(self, count: int = 100) -> bool:
        """One read, folded and written; whether there was anything."""
        read = self._bus.read("ticks", {self._partition: self.cursor}, count)
        for entry in read:
            self.total += int(entry.payload)
            self._bus.write("sums", self._partition, entry.id, b"%d" % self.total)
            self.cursor = entry.id
        return bool(read)

    def save(self) -> None:
        """Keep the sum with its cursor."""
        self._bus.save(READER, self._partition, self.cursor, b"%d" % self.total)


def cycle(bus: Bus, last: int) -> None:
    """The feed offers 1..last again, as after a cut; the reader goes on from its snapshot."""
    for number in range(1, last + 1):
        bus.append("ticks", FEED, [(0, number, b"%d" % number)])
    summer = Summer(bus)
    while summer.step():
        pass
    summer.save()


def outcome(bus: Bus, partition: int = 0) -> list[tuple[int, bytes]]:
    """The final store: each tick's number with the sum that stands under the same id; a stray output is an error."""
    ticks = bus.range("ticks", partition, START, (1 << 62) - 1, 10_000)
    sums = {e.id: e.payload for e in bus.range("sums", partition, START, (1 << 62) - 1, 10_000)}
    assert [e.id for e in ticks] == list(sums)
    return [(e.number, sums[e.id]) for e in ticks]
