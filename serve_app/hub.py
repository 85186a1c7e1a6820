"""Hub: one clock for all sockets of a replica, and the quotes each of them is to have.

The clock beats twenty times a second. Sockets of one rate are spread over the beats between two of their frames;
those of one beat, format and choice of fields are a group: what changed since the group's last beat is encoded once,
an instrument an entry, and each socket's frame is a head and the entries it wants. A socket that has not taken its
frame gets none until it has, and then whole quotes of what changed meanwhile: the latest values, no backlog. What it
has taken we know from pings between the frames, whatever kernels and proxies hold; one that has been found slow gets a
frame at a time until one is answered at once. One that takes nothing for `FROZEN_SECONDS` is ended.

All of this runs on one event loop, the one that owns the sockets; `call` brings work there.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from operator import itemgetter
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt
import orjson
import structlog

from market import frames
from market.access import Caller
from market.frames import Kind
from market.instruments import Universe
from market.money import UNKNOWN
from market.sessions import DAY
from serve_app.follow import Follower
from serve_app.wires import Wire

Ints = npt.NDArray[np.int64]

BEATS = 20
RATE = 4
HEARTBEAT_SECONDS = 5.0
FROZEN_SECONDS = 10.0
SLOW_SECONDS = 0.25
"""A ping that waits so long has a backlog before it that we do not see."""
QUICK_SECONDS = 0.05
"""A ping that is answered so soon shows that a slow reader keeps up again."""
LOOK = 5
"""Beats between two looks at who is slow."""
BACKLOG = 16 << 10
"""Bytes not taken beyond which a socket gets no quotes."""
MOST_BYTES = 4 << 20
"""Bytes not taken beyond which a socket is ended."""
SESSION_SECONDS = 60.0
SESSIONS = 20_000
CHUNK = 200
"""Frames between two looks at what else the loop has to do."""
FROZEN, GONE, EXPIRED = 4008, 1000, 4001
LAGS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
NONE: Ints = np.zeros(0, np.int64)

Ends = Callable[[int, str], None]


class Group(NamedTuple):
    """What frames of one kind are cut by: every so many beats, at which of them, which fields, in which format."""

    every: int
    phase: int
    fields: int
    binary: bool


class Left(NamedTuple):
    """What is kept of a socket that has gone, for one that resumes it."""

    owner: str
    wanted: Ints
    fields: int
    every: int
    sequence: int
    since: int
    fresh: Ints
    at: float


class Client:
    """One socket: what it wants and how far it is. `since`: the beat from which on changes have not been sent to it,
    -1 for a socket that has everything; `fresh`: of what it wants, that which it has never been sent.
    """

    __slots__ = (
        "caller", "cell", "ended", "ends", "fields", "fresh", "last", "owes", "seen", "sequence", "session",
        "since", "slow", "stuck", "take", "wanted", "wire",
    )  # fmt: skip

    def __init__(self, wire: Wire, caller: Caller, ends: Ends) -> None:
        self.wire, self.caller, self.ends = wire, caller, ends
        self.session = secrets.token_hex(16)
        self.wanted, self.fresh = NONE, NONE
        self.take: Callable[[list[bytes]], tuple[bytes, ...]] = _nothing
        self.fields = frames.ALL
        self.cell: _Cell | None = None
        self.since, self.sequence, self.last = -1, 0, 0
        self.owes = False
        """Whether it needs more than the next delta."""
        self.stuck = 0.0
        """Since when nothing was taken; 0.0 where nothing waits to be."""
        self.slow = False
        """Whether it gets one frame at a time."""
        self.seen = (False, 0, 0)
        """At the last look: whether a ping waited, how many were answered, the bytes that waited."""
        self.ended = False

    @property
    def binary(self) -> bool:
        """Whether frames are MessagePack."""
        return self.cell is not None and self.cell.kind.binary

    def tell(self, message: dict[str, Any]) -> int:
        """Send anything but quotes; the bytes."""
        data: bytes = msgpack.packb(message) if self.binary else orjson.dumps(message)
        self.wire.send(len(data), (data,))
        return len(data)


class Book:
    """All quotes at the last beat, (instruments, fields), and the beat each last changed at."""

    def __init__(self, follower: Follower, count: int, stale_ns: int) -> None:
        self._follower, self._stale, self._all = follower, stale_ns, np.arange(count)
        self.base = 0
        self.values = np.full((count, len(frames.FIELDS)), UNKNOWN)
        self.changed = np.zeros(count, np.int64)
        self.market_time, self.feed = UNKNOWN, 4
        self.lags = np.zeros((2, len(LAGS_MS) + 1), np.int64)
        """Changes by how long ago they happened at the exchange, and came to us."""
        self._seen: tuple[int, int, int] | None = None

    def settle(self) -> None:
        """Count instants from the market's day from here on; while nobody listens."""
        self.base = (self._follower.quotes.market_time or time.time_ns()) // DAY * DAY // frames.MS
        self._seen = None

    @property
    def now(self) -> int:
        """Market time, ms since `base`; UNKNOWN before the first mark."""
        return UNKNOWN if self.market_time == UNKNOWN else self.market_time - self.base

    def read(self, beat: int) -> None:
        """Take what the follower knows."""
        quotes = self._follower.quotes
        with self._follower.lock:
            seen = (self._follower.version, quotes.market_time, frames.feed_code(quotes.state))
            if seen == self._seen:
                return
            rows = quotes.read(self._all)
            stale = quotes.stale(rows, self._stale)
        self._seen = seen
        self.market_time, self.feed = seen[1] // frames.MS if seen[1] else UNKNOWN, seen[2]
        values = frames.matrix(rows, stale, self.base)
        moved = (values != self.values).any(axis=1)
        self.changed[moved] = beat
        self._measure(values[moved & (values[:, frames.AT] != self.values[:, frames.AT])])
        self.values = values

    def _measure(self, values: Ints) -> None:
        values = values[values[:, frames.RECEIVED] != UNKNOWN]
        ago = time.time_ns() // frames.MS - self.base - values[:, frames.AT]
        for k, late in enumerate((ago, ago - values[:, frames.RECEIVED])):
            self.lags[k] += np.bincount(np.searchsorted(LAGS_MS, late), minlength=len(LAGS_MS) + 1)


class _Cell:
    """The sockets of one group, with what they want laid end to end."""

    def __init__(self, kind: Group, hub: Hub) -> None:
        self.kind = kind
        self.clients: dict[Client, None] = {}
        self.stirred = True
        self._hub = hub
        self._chosen = frames.bits(kind.fields)
        self._before = hub.book.values
        self.at = hub.beat
        self._members: list[tuple[Client, Callable[[list[bytes]], tuple[bytes, ...]]]] = []
        self._ids = self._starts = NONE
        self._anyone = np.zeros(len(self._before), np.bool_)

    async def beat(self) -> None:
        """Send every socket of this group what has changed since the last time; all that is owed where that breaks."""
        try:
            await self._beat()
        except Exception:
            for client in self.clients:
                client.owes, client.since = True, client.since if client.since >= 0 else self.at + 1
            raise

    async def _beat(self) -> None:
        hub, now = self._hub, self._hub.beat
        values, changed = hub.book.values, hub.book.changed
        moment = hub.moment(self.kind.binary)
        if self.stirred:
            self._lay_out()
        entries, sizes = self._deltas(values)
        counted = np.add.reduceat(sizes[self._ids] > 0, self._starts, dtype=np.int64) if len(self._starts) else NONE
        summed = np.add.reduceat(sizes[self._ids], self._starts) if len(self._starts) else NONE
        self._before = values
        binary, sent, total, updates = self.kind.binary, 0, 0, 0
        head, fixed, delta = frames.head, frames.HEAD_BYTES + len(moment), Kind.DELTA
        for k, ((client, take), count, size) in enumerate(
            zip(self._members, counted.tolist(), summed.tolist(), strict=True)
        ):
            if not count or client.owes or client.cell is not self:
                continue
            wire = client.wire
            if wire.waiting() > BACKLOG:
                client.owes, client.since = True, self.at + 1  # `_owed` counts it
                continue
            if binary:
                wire.send(fixed + size, (head(delta, client.sequence + 1, count), moment, *take(entries)))
                total += fixed + size
            else:
                frame = frames.text(delta, client.sequence + 1, moment, take(entries))
                wire.send(len(frame), (frame,))
                total += len(frame)
            client.sequence += 1
            client.last = now
            sent += 1
            updates += count
            if k % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        hub.count(sent, total, updates, 0)
        self._owed(values, changed, moment)
        self.at = now

    def _lay_out(self) -> None:
        mine = [client for client in self.clients if len(client.wanted)]
        self._members = [(client, client.take) for client in mine]
        lengths = np.array([len(client.wanted) for client in mine], np.int64)
        self._ids = np.concatenate([client.wanted for client in mine]) if mine else NONE
        self._starts = np.cumsum(lengths) - lengths
        self._anyone[:] = False
        self._anyone[self._ids] = True
        self.stirred = False

    def _deltas(self, values: Ints) -> tuple[list[bytes], Ints]:
        """The entry of each instrument, empty where nothing changed, and its bytes."""
        entries, sizes = [b""] * len(values), np.zeros(len(values), np.int64)
        if values is self._before:
            return entries, sizes
        moved = (values != self._before) & self._chosen
        rows = np.flatnonzero(moved.any(axis=1) & self._anyone)
        found = self._encode(rows, values, moved[rows])
        for row, entry in zip(rows.tolist(), found, strict=True):
            entries[row] = entry
        sizes[rows] = list(map(len, found))
        return entries, sizes

    def _encode(self, rows: Ints, values: Ints, chosen: npt.NDArray[np.bool_]) -> list[bytes]:
        if self.kind.binary:
            return frames.pack(rows, frames.shortened(values[rows], chosen, self._hub.book.now), chosen)
        symbols = [self._hub.symbols[k] for k in rows.tolist()]
        return frames.texts(symbols, values[rows], chosen, self.kind.fields, self._hub.book.base)

    def _owed(self, values: Ints, changed: Ints, moment: bytes) -> None:
        """Whole quotes for who needs more than a delta, a heartbeat for who has heard nothing for a while."""
        hub, needs = self._hub, []
        for client in self.clients:
            if client.owes:
                if client.wire.waiting() > BACKLOG or (client.slow and client.stuck):
                    hub.count(0, 0, 0, 1)
                    continue
                behind = client.wanted[changed[client.wanted] >= client.since] if client.since >= 0 else NONE
                needs.append((client, np.union1d(behind, client.fresh)))
            elif hub.beat - client.last >= HEARTBEAT_SECONDS * BEATS and client.wire.waiting() <= BACKLOG:
                self._send(client, Kind.HEARTBEAT, moment, ())
        rows = np.unique(np.concatenate([ids for _, ids in needs])) if needs else NONE
        whole = dict(zip(rows.tolist(), self._encode(rows, values, np.tile(self._chosen, (len(rows), 1))), strict=True))
        for client, ids in needs:
            slow = client.slow and bool(len(ids))
            if slow:
                client.wire.ask()
            if len(ids):
                self._send(client, Kind.KEY, moment, tuple(whole[k] for k in ids.tolist()))
            client.owes, client.since, client.fresh = slow, hub.beat + 1 if slow else -1, NONE
            client.slow, client.stuck = slow, time.monotonic() if slow else client.stuck

    def _send(self, client: Client, kind: Kind, moment: bytes, entries: tuple[bytes, ...]) -> None:
        if self.kind.binary:
            parts = (frames.head(kind, client.sequence + 1, len(entries)), moment, *entries)
        else:
            parts = (frames.text(kind, client.sequence + 1, moment, entries),)
        size = sum(map(len, parts))
        client.wire.send(size, parts)
        client.sequence += 1
        client.last = self._hub.beat
        self._hub.count(1, size, len(entries), 0)


class Hub:
    """The sockets of this replica. Methods without a word on it are called on its loop, by `call`."""

    def __init__(self, follower: Follower, universe: Universe, stale_ns: int) -> None:
        self.stale_ns = stale_ns
        self.symbols = [i.symbol for i in universe]
        self._follower = follower
        self.book = Book(follower, len(universe), stale_ns)
        self.beat = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.clients: dict[str, Client] = {}
        self.sweeps: list[Callable[[], None]] = []
        """Called once a second, on the loop."""
        self.leaves: list[Callable[[Client], None]] = []
        """Called of every socket that is no more, on the loop."""
        self._cells: dict[Group, _Cell] = {}
        self._left: OrderedDict[str, Left] = OrderedDict()
        self._clock: asyncio.Task[None] | None = None
        self._settled = False
        """Whether the loop is a server's own, or will be: `_home`, once `_moved`."""
        self._home: asyncio.AbstractEventLoop | None = None
        self._moved: Future[None] | None = None
        self._bound: tuple[asyncio.AbstractEventLoop, Future[None]] | None = None
        """Where the hub is to move when its beat has ended."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("frames", "bytes", "updates", "conflated", "frozen", "backlogged", "pushy", "beats", "late_beats"), 0
        )
        self._log = structlog.get_logger()

    def adopt(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this hub runs on a loop; the first one that is asked for. From any thread."""
        with self._lock:
            if self.loop is None or self.loop.is_closed():
                self.loop, self._settled, self._home, self._moved = loop, False, None, None
            return self.loop is loop

    async def move(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this hub runs on a server's own loop; it moves there from a loop that is no server's. A socket that
        came round about, as the first ones of a replica may, must not make all others take the long way.
        """
        with self._lock:
            begins = not self._settled and self.loop is not loop and self.loop is not None
            if begins:
                self._home, self._moved = loop, Future()
            elif not self._settled:
                self._home = loop
            self._settled = True
            home, moved = self._home, self._moved
        if begins:
            self.call(self._depart, loop, moved)
        if home is not loop:
            return False
        if moved is not None:
            await asyncio.shield(asyncio.wrap_future(moved))
        return True

    def _depart(self, loop: asyncio.AbstractEventLoop, moved: Future[None]) -> None:
        """On the old loop: now, or when the beat under way has ended."""
        if self._clock is not None and not self._clock.done() and self._bound is None:
            self._bound = loop, moved
        else:
            self._go(loop, moved)

    def _go(self, loop: asyncio.AbstractEventLoop, moved: Future[None]) -> None:
        self._bound, self._clock, self.loop = None, None, loop
        loop.call_soon_threadsafe(self._arrive, moved)

    def _arrive(self, moved: Future[None]) -> None:
        if self.clients:
            self._clock = asyncio.get_running_loop().create_task(self._run())
        moved.set_result(None)

    def call(self, what: Callable[..., None], *arguments: Any) -> None:
        """Have something done on the hub's loop, in the order of the calls. From any thread."""
        if self.loop is None:
            raise RuntimeError("no socket has come yet")
        self.loop.call_soon_threadsafe(self._here, what, arguments)

    def _here(self, what: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self.loop is not None and asyncio.get_running_loop() is not self.loop:  # it has moved meanwhile
            self.loop.call_soon_threadsafe(self._here, what, arguments)
        else:
            what(*arguments)

    def soon(self, what: Callable[..., None], *arguments: Any) -> None:
        """As `call`, but at once and here where no socket has come yet. From one thread."""
        with self._lock:
            if self.loop is not None and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self._here, what, arguments)
            else:
                what(*arguments)

    def join(self, client: Client, every: int, binary: bool) -> None:
        """A socket was accepted."""
        self.clients[client.session] = client
        begins = self._clock is None or self._clock.done()
        if begins:
            self.beat += 1  # what changed since the last socket left is newer than what that one was sent
            self.book.settle()
            self.book.read(self.beat)
        self._place(client, every, binary)
        client.last = self.beat
        if begins:
            self._clock = asyncio.get_running_loop().create_task(self._run())

    def leave(self, client: Client) -> None:
        """A socket is no more; what it wanted is kept for a while."""
        if self.clients.pop(client.session, None) is None or client.cell is None:
            return
        for leave in self.leaves:
            leave(client)
        cell = client.cell
        since = client.since if client.since >= 0 else cell.at + 1
        kept = Left(
            owner_of(client.caller), client.wanted, client.fields, cell.kind.every, client.sequence, since,
            client.fresh, time.monotonic(),
        )  # fmt: skip
        self._left[client.session] = kept
        if len(self._left) > SESSIONS:
            self._left.popitem(last=False)
        self._displace(client)

    def want(self, client: Client, ids: Iterable[int]) -> None:
        """Add quotes of instruments; they come whole, in the next frame."""
        new = np.setdiff1d(np.fromiter(ids, np.int64), client.wanted)
        if len(new):
            self._set(client, np.concatenate([client.wanted, new]))
            self._owe(client, np.union1d(client.fresh, new))

    def forget(self, client: Client, ids: Iterable[int] | None) -> None:
        """Take quotes away, None: all."""
        kept = NONE if ids is None else np.setdiff1d(client.wanted, np.fromiter(ids, np.int64))
        self._set(client, kept)
        client.fresh = np.intersect1d(client.fresh, kept)

    def tune(self, client: Client, every: int | None, fields: int | None) -> None:
        """How quotes are sent from here on; a key frame follows."""
        if client.cell is None:
            return
        was = client.cell.kind
        client.fields = client.fields if fields is None else fields
        self._displace(client)
        self._place(client, was.every if every is None else every, was.binary)
        self._owe(client, client.wanted)

    def resume(self, client: Client, session: str, sequence: int, most: int) -> bool:
        """Go on where another socket of the same caller was; False when nothing is known of it."""
        self._expire()
        before = self.clients.get(session)
        if before is not None and before is not client and owner_of(before.caller) == owner_of(client.caller):
            self.leave(before)
            self.end(before, GONE, "resumed elsewhere")
        left = self._left.get(session)
        if left is None or left.owner != owner_of(client.caller) or client.cell is None:
            return False
        del self._left[session]
        client.fields = left.fields
        binary = client.binary
        self._displace(client)
        self._place(client, left.every, binary)
        self._set(client, left.wanted[:most])
        client.sequence = max(sequence, 0)
        if sequence != left.sequence:
            self._owe(client, client.wanted)
        else:
            self._owe(client, np.intersect1d(left.fresh, client.wanted))
            client.since = left.since
        return True

    def end(self, client: Client, code: int, reason: str) -> None:
        """End a socket, once."""
        if not client.ended:
            client.ended = True
            self._displace(client)
            client.ends(code, reason)

    def moment(self, binary: bool) -> bytes:
        """The part of the head that all frames of now share."""
        book = self.book
        return frames.times(book.market_time, book.feed, time.time_ns() // frames.MS, book.base, binary=binary)

    def count(self, frames: int, size: int, updates: int, conflated: int) -> None:
        """Remember what was sent."""
        counts = self._counts
        counts["frames"] += frames
        counts["bytes"] += size
        counts["updates"] += updates
        counts["conflated"] += conflated

    def counted(self, what: str) -> None:
        """One more of a figure."""
        self._counts[what] += 1

    def figures(self) -> dict[str, Any]:
        """Everything counted so far; `lags`: changes up to each bound of `LAGS_MS` and beyond. From any thread."""
        return {
            **self._counts,
            "connections": len(self.clients),
            "subscriptions": sum(len(client.wanted) for client in list(self.clients.values())),
            "sessions_kept": len(self._left),
            "groups": len(self._cells),
            "lag_from_exchange": self.book.lags[0].tolist(),
            "lag_from_receipt": self.book.lags[1].tolist(),
            "lag_bounds_ms": list(LAGS_MS),
        }

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.clients:
            try:
                await self._tick()
            except Exception:
                self._log.exception("beat_broke")
            due += 1 / BEATS
            late = loop.time() - due
            if late > 0:
                self._counts["late_beats"] += 1
                due = max(due, loop.time() - 1.0)
            await asyncio.sleep(max(0.0, -late))
            if self._bound is not None:
                self._go(*self._bound)
                return
        self._clock = None

    async def _tick(self) -> None:
        self.beat += 1
        self._counts["beats"] += 1
        self.book.read(self.beat)
        if self.beat % LOOK == 0:
            self._look()
        for cell in [c for c in self._cells.values() if self.beat % c.kind.every == c.kind.phase]:
            await cell.beat()
        if (traces := self._follower.traces) is not None and traces.waiting:
            traces.shown()
        if self.beat % BEATS == 0:
            for sweep in self.sweeps:
                sweep()

    def _look(self) -> None:
        """Who is slow, and who has stopped taking: a ping without an answer, or bytes that stay.

        A ping counts from the second look at it: when this loop has been held up, its answer may lie before us unread.
        """
        now, instant = time.monotonic(), time.time_ns()
        for client in list(self.clients.values()):
            if client.caller.expires is not None and client.caller.expires < instant:
                self.end(client, EXPIRED, "the credential has expired")
            wire, (waited, answers, left) = client.wire, client.seen
            silent, waiting = wire.unanswered(), wire.waiting()
            client.seen = silent > 0, wire.answers(), waiting
            client.slow = client.slow or (silent > SLOW_SECONDS and waited)
            if waiting > MOST_BYTES and not client.ended:
                self._counts["frozen"] += 1
                self.end(client, FROZEN, f"over {MOST_BYTES >> 20} MiB wait to be taken")
            elif waiting > BACKLOG or (silent and client.slow):
                if not client.stuck:
                    client.stuck = now - silent
                elif client.seen[1] != answers or waiting < left:
                    client.stuck = now
                if client.cell is not None and not client.owes:
                    client.owes, client.since = True, client.cell.at + 1
                if now - client.stuck > FROZEN_SECONDS and not client.ended:
                    self._counts["frozen"] += 1
                    self.end(client, FROZEN, f"nothing was taken for {FROZEN_SECONDS:.0f} seconds")
            else:
                client.stuck, client.slow = 0.0, client.slow and wire.trip() > QUICK_SECONDS
        self._expire()

    def _expire(self) -> None:
        until = time.monotonic() - SESSION_SECONDS
        while self._left and next(iter(self._left.values())).at < until:
            self._left.popitem(last=False)

    def _place(self, client: Client, every: int, binary: bool) -> None:
        kinds = [Group(every, phase, client.fields, binary) for phase in range(every)]
        kind = min(kinds, key=lambda k: len(self._cells[k].clients) if k in self._cells else 0)
        cell = self._cells.setdefault(kind, _Cell(kind, self)) if kind not in self._cells else self._cells[kind]
        cell.clients[client] = None
        cell.stirred = True
        client.cell = cell

    def _displace(self, client: Client) -> None:
        cell = client.cell
        if cell is None or client not in cell.clients:
            return
        del cell.clients[client]
        cell.stirred = True
        if not cell.clients:
            self._cells.pop(cell.kind, None)

    def _set(self, client: Client, wanted: Ints) -> None:
        client.wanted = wanted.astype(np.int32)
        ids = wanted.tolist()
        client.take = itemgetter(*ids) if len(ids) > 1 else _one(ids[0]) if ids else _nothing
        if client.cell is not None:
            client.cell.stirred = True

    def _owe(self, client: Client, fresh: Ints) -> None:
        if client.since < 0 and client.cell is not None:
            client.since = client.cell.at + 1
        client.fresh, client.owes = fresh, True


def owner_of(caller: Caller) -> str:
    """Whose a session is: the user's, else the credential's."""
    return f"user:{caller.user}" if caller.user else f"credential:{caller.credential}"


def every(rate: int) -> int:
    """Beats between two frames: as many a second as asked for, or the next fewer that go into twenty."""
    return -(-BEATS // rate)


def _nothing(entries: list[bytes]) -> tuple[bytes, ...]:
    return ()


def _one(place: int) -> Callable[[list[bytes]], tuple[bytes, ...]]:
    return lambda entries: (entries[place],)
