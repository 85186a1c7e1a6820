"""The hub, driven beat by beat: what clients fold from their frames against what is true, over cuts and conflations."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from bourse.latest import Latest
from market import frames
from market.access import Caller
from market.instruments import Instrument, Universe
from market.money import SCALE
from market.quotes import Quotes
from market.sessions import SECOND
from market.ticks import FeedState, Ticks, blank, mark
from serve_app import hub as hubs
from serve_app import shapes
from serve_app.hub import BACKLOG, Client, Group, Hub

INSTRUMENTS = 12
SHARES = [Instrument(id=k, symbol=f"NSE:S{k}") for k in range(INSTRUMENTS)]
NOON = 1_472_112_000 * SECOND
MS = SECOND // 1000
STALE = 60 * SECOND
NAMES = {"close": "previous_close", "received": "received_at"} | {
    name: name for name in frames.NAMES if name not in ("close", "received")
}
"""What REST calls them."""
CHOICES = [
    frames.ALL, frames.ALL, frames.mask(["price"]), frames.mask(["bid", "ask", "stale"]), frames.asked(["received"]),
    frames.asked(["price", "received", "bid"]), frames.mask(["at", "high", "price", "volume"]),
]  # fmt: skip
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


class Market:
    """The follower's part that the hub reads: quotes made of ticks, as they come off the bus."""

    traces = None

    def __init__(self) -> None:
        self.lock, self.version = threading.RLock(), 0
        self.quotes = Quotes(INSTRUMENTS)
        self.now = NOON
        self.say(mark(0, FeedState.LIVE, self.now))

    def say(self, *rows: Ticks) -> None:
        with self.lock:
            self.quotes.update(np.concatenate(rows))
            self.version += 1

    def trade(self, instrument: int, price: int, **told: int) -> None:
        """One tick, a millisecond after the last."""
        self.now += MS
        row = blank(1)
        row["instrument"], row["price"] = instrument, price
        row["at"], row["received"] = self.now, self.now + 3 * MS
        for name, value in told.items():
            row[name] = value
        self.say(row)

    def at_random(self, rng: random.Random) -> None:
        """A trade, with or without a book, or some time, or another state of the feed."""
        if rng.random() < 0.8:
            names = rng.sample(("bid", "ask", "day_volume", "open_interest", "bid_quantity"), rng.randrange(5))
            self.trade(rng.randrange(INSTRUMENTS), rng.randrange(1, 300), **{n: rng.randrange(300) for n in names})
        else:
            self.now += rng.choice([MS, SECOND, 90 * SECOND])
            self.say(mark(0, rng.choice([FeedState.LIVE, FeedState.LIVE, FeedState.MUTE]), self.now))

    def truth(self, ids: set[int], fields: int = frames.ALL) -> dict[str, dict[str, Any]]:
        """What REST tells of some quotes, in the stream's own words."""
        rows = self.quotes.read(sorted(ids))
        told = shapes.quotes(
            self.quotes, [Instrument(id=k, symbol=f"NSE:S{k}") for k in range(INSTRUMENTS)], rows, STALE
        )
        return {one["symbol"]: {name: one[NAMES[name]] for name in names_of(fields)} for one in told}


class Screen:
    """A client's own picture, folded by the client that is shipped from what it takes off its pipe."""

    def __init__(self, *, binary: bool = True) -> None:
        self.pipe, self.sequence, self.latest, self.binary = Pipe(), 0, Latest(), binary
        self.texts: dict[str, dict[str, Any]] = {}

    def greeted(self, hub: Hub) -> None:
        """As by hello, and by the answers to subscribing."""
        self.latest.begin({"fields": frames.described(), "base": hub.book.base})
        self.latest.number({symbol: k for k, symbol in enumerate(hub.symbols)}, heard=True)

    def take(self, count: int | None = None) -> None:
        for data in self.pipe.held[:count]:
            if not self.binary:
                self._read(orjson.loads(data))
                continue
            kind, sequence, *_ = frame = msgpack.unpackb(data)
            assert sequence == self.sequence + 1, "no frame is missing within a socket"
            self.sequence = sequence
            masks = {bits for _, bits, *_ in frame[5:]}
            assert kind != frames.Kind.KEY or len(masks) <= 1, "a key frame says all fields that were asked for"
            self.latest.fold(frame)
        del self.pipe.held[:count]

    def _read(self, frame: dict[str, Any]) -> None:
        assert frame["sequence"] == self.sequence + 1, "no frame is missing within a socket"
        self.sequence = frame["sequence"]
        for symbol, told in frame.get("quotes", {}).items():
            self.texts.setdefault(symbol, {}).update(told)

    def known(self, ids: set[int], fields: int = frames.ALL) -> dict[str, dict[str, Any]]:
        """What it shows of some quotes, those fields."""
        held: Mapping[str, dict[str, Any]] = self.latest if self.binary else self.texts
        return {f"NSE:S{k}": {n: _rest(n, held[f"NSE:S{k}"][n]) for n in names_of(fields)} for k in ids}

    def price(self, instrument: int) -> float | None:
        """In rupees."""
        found: float | None = self.latest[f"NSE:S{instrument}"]["price"]
        return found


def names_of(fields: int) -> list[str]:
    return [name for name, wanted in zip(frames.NAMES, frames.bits(fields).tolist(), strict=True) if wanted]


def _rest(name: str, value: Any) -> Any:
    """As REST tells it: an instant, or ms since 1970, as a text."""
    if value is None or name not in ("at", "received"):
        return value
    return shapes.stamp((int(value.timestamp() * 1000) if isinstance(value, datetime) else value) * MS)


def market_hub() -> tuple[Hub, Market]:
    """A hub whose clock beats when the test says so."""
    market = Market()
    found = Hub(market, Universe(SHARES), STALE)  # type: ignore[arg-type]
    found._clock = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    found.book.settle()
    found.book.read(0)
    return found, market


def came(
    hub: Hub,
    pipe: Pipe,
    every: int = 1,
    caller: Caller = CALLER,
    ends: Callable[[int, str], None] = lambda code, reason: None,
    *,
    binary: bool = True,
) -> Client:
    client = Client(pipe, caller, ends)
    hub.join(client, every, binary)
    return client


async def play(seed: int) -> None:
    rng = random.Random(seed)
    hub, market = market_hub()
    screen = Screen(binary=rng.random() < 0.6)
    fields = rng.choice(CHOICES)
    screen.greeted(hub)
    others = [came(hub, Pipe(), 1) for _ in range(2)]
    for other in others:
        hub.want(other, range(INSTRUMENTS))
    client = came(hub, screen.pipe, rng.choice([1, 2, 5]), binary=screen.binary)
    hub.tune(client, None, fields)
    wanted: set[int] = set()

    def act() -> None:
        """Something a client, or its line, does; before a beat, or while it writes to the others."""
        nonlocal client
        event = rng.random()
        if event < 0.2:
            new = rng.sample(range(INSTRUMENTS), 4)
            hub.want(client, new)
            wanted.update(new)
        elif event < 0.25 and wanted:
            gone = rng.choice(sorted(wanted))
            hub.forget(client, [gone])
            wanted.discard(gone)
        elif event < 0.4:
            screen.pipe.full = not screen.pipe.full
        elif event < 0.45:
            hub.tune(client, rng.choice([1, 2, 4, 10]), None)
        elif event < 0.6:  # the line is cut: some of what was sent arrives, the rest never does
            screen.take(rng.randrange(len(screen.pipe.held) + 1))
            screen.pipe.held.clear()
            if rng.random() < 0.5:  # else the server has not noticed when the client is back
                hub.leave(client)
                for _ in range(rng.randrange(3)):
                    market.at_random(rng)
            session, screen.pipe = client.session, Pipe()
            client = came(hub, screen.pipe, 5, binary=screen.binary)
            assert hub.resume(client, session, screen.sequence, 500)
        elif not screen.pipe.full:
            screen.take()

    for _ in range(BEATS):
        for _ in range(rng.randrange(4)):
            market.at_random(rng)
        if rng.random() < 0.5:
            asyncio.get_running_loop().call_soon(act)
        else:
            act()
        await hub._tick()
        await asyncio.sleep(0)  # what has not come up while frames were written comes now
    screen.pipe.full = False
    hub._look()
    for _ in range(11):
        await hub._tick()
    screen.take()

    assert screen.known(wanted, fields) == market.truth(wanted, fields), f"seed {seed}"


def test_what_a_client_folds_is_the_truth_after_cuts_and_conflations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "CHUNK", 1)  # between any two frames the loop does what else there is

    async def all_seeds() -> None:
        for seed in range(SEEDS):
            await play(seed)

    asyncio.run(all_seeds())


def test_a_slow_client_gets_the_latest_values_and_the_others_do_not_notice() -> None:
    async def main() -> None:
        hub, market = market_hub()
        slow, well = Screen(), Screen()
        for screen in (slow, well):
            screen.greeted(hub)
            client = came(hub, screen.pipe, 1)
            hub.want(client, [3])
        await hub._tick()
        slow.pipe.full = True
        for price in range(5):
            market.trade(3, 100 + price)
            await hub._tick()
        slow.pipe.full = False
        await hub._tick()

        assert len(slow.pipe.held) == 2 and len(well.pipe.held) == 6
        slow.take()
        well.take()
        assert slow.known({3}) == well.known({3}) and slow.price(3) == 0.0104
        assert hub.figures()["conflated"] == 5

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["delta", "key"])
def test_a_beat_that_breaks_half_way_loses_nothing(kind: str) -> None:
    async def main() -> None:
        hub, market = market_hub()
        screens = [Screen() for _ in range(4)]
        for screen in screens:
            screen.greeted(hub)
            client = came(hub, screen.pipe, 1)
            hub.want(client, [3, 4])
        market.trade(3, 100)
        if kind == "delta":
            await hub._tick()
        market.trade(3, 101)
        screens[1].pipe.breaks = True
        with pytest.raises(OSError, match="broken"):
            await hub._tick()
        screens[1].pipe.breaks = False
        market.trade(4, 7)
        await hub._tick()
        for screen in screens:
            screen.take()

        assert [(s.price(3), s.price(4)) for s in screens] == [(0.0101, 0.0007)] * 4

    asyncio.run(main())


def test_a_frozen_client_is_ended_with_a_reason_and_counted() -> None:
    async def main() -> None:
        hub, _ = market_hub()
        told: list[tuple[int, str]] = []
        screen = Screen()
        came(hub, screen.pipe, 1, ends=lambda code, reason: told.append((code, reason)))
        screen.pipe.silent = hubs.FROZEN_SECONDS + 1
        hub._look()
        hub._look()

        assert [code for code, _ in told] == [4008] and "10 seconds" in told[0][1]
        assert hub.figures()["frozen"] == 1 and hub.figures()["groups"] == 0

    asyncio.run(main())


def test_a_client_that_takes_something_now_and_then_is_not_frozen() -> None:
    """Whether that is seen from an answered ping or from bytes that wait no more."""

    async def main() -> None:
        hub, _ = market_hub()
        told: list[int] = []
        pipe = Pipe()
        client = came(hub, pipe, 1, ends=lambda code, reason: told.append(code))
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
        hub, market = market_hub()
        screen = Screen()
        client = came(hub, screen.pipe, 1)
        hub.want(client, [3])
        screen.greeted(hub)
        price = 100

        async def beats(count: int) -> int:
            """So many beats with a new price at each; the frames of them."""
            nonlocal price
            before = len(screen.pipe.held)
            for _ in range(count):
                market.trade(3, price := price + 1)
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
            assert price / SCALE - (screen.price(3) or 0) < 10 / SCALE
        screen.pipe.silent = screen.pipe.late = 0.0
        await beats(10)
        assert await beats(10) == 10

    asyncio.run(main())


def test_sockets_of_one_rate_are_spread_over_the_beats() -> None:
    async def main() -> None:
        hub, _ = market_hub()
        for _ in range(40):
            came(hub, Pipe(), hubs.every(1))

        sizes = [len(cell.clients) for cell in hub._cells.values()]
        assert sizes == [2] * 20
        assert set(hub._cells) == {Group(20, phase, frames.ALL, True) for phase in range(20)}

    asyncio.run(main())


def test_a_session_is_its_owners_alone() -> None:
    async def main() -> None:
        hub, _ = market_hub()
        mine, other = (came(hub, Pipe(), 5, Caller(kind="key", credential=c)) for c in "ab")
        hub.want(mine, [1, 2])
        hub.leave(mine)

        assert not hub.resume(other, mine.session, 0, 500)

    asyncio.run(main())
