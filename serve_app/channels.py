"""Channels: candles, analysis, signals and alerts on the stream, every entry once and in order.

The follower reads the bus anyway and hands its entries on; an entry is made into rows once, a row into bytes once for
each format. A cursor is the last entry of each partition; who comes without one begins at the bus's last until the
live flow is known to have come as far. Everybody else is read to from the bus, page by page, until a read finds nothing
more and all that the live flow has brought here is had; that is seen on the hub's loop, where the live flow comes in,
so nothing falls between the two, and what has been read beyond it is passed over when it comes. Nothing is left out
for a slow reader: one whose backlog is over `MOST_BYTES` is ended, and has its cursor.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
import orjson
import structlog

from adapters.bus import END, SEQUENCE_BITS, START, Bus, Entry
from adapters.entries import decode, decode_records
from market.candles import CANDLE, INTERVALS, Candles, interval
from market.errors import BadPayload, BadValue, TooOld
from market.features import Unknown
from market.instruments import Universe
from market.scores import SCORE, Scores, scorecard
from market.sessions import MINUTE
from market.signals import SIGNAL, Signals, records
from serve_app import shapes
from serve_app.hub import FROZEN, MOST_BYTES, Client, Hub

TOPICS = {"candles": "candles", "analysis": "scores", "signals": "signals", "alerts": "alerts"}
REST = {
    "candles": "/api/v1/candles/{symbol}?from=", "analysis": "/api/v1/analyze?symbol=",
    "signals": "/api/v1/signals?since=", "alerts": "/api/v1/alerts?all=true",
}  # fmt: skip
HOUR_MS = 3_600_000
PAGE = 64
CALM_BYTES = 1 << 20
CURSOR_SECONDS = 60.0
REPLACED = 1012
_NAMES = {seconds: name for name, seconds in INTERVALS.items()}
MS = 1_000_000


class Page:
    """The rows of one entry: whose each is, of which interval, and what it looks like in each format."""

    def __init__(self, rows: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        self._rows = rows
        self._data: dict[bool, list[bytes]] = {}

    def chosen(self, member: Member, binary: bool) -> list[bytes]:
        """The bytes of the rows a member wants."""
        if binary not in self._data:
            make: Callable[[Any], bytes] = msgpack.packb if binary else orjson.dumps
            self._data[binary] = [make(row) for _, _, row in self._rows]
        data, symbols, name = self._data[binary], member.symbols, member.interval
        if symbols is None and name is None:
            return data
        return [
            one
            for one, (symbol, of, _) in zip(data, self._rows, strict=True)
            if (symbols is None or symbol in symbols) and (name is None or of == name)
        ]


class Member:
    """One client in one channel. `cursor`: the last entry of each partition that it has, or that was not for it; none
    yet where it comes without one (`new`).
    """

    __slots__ = ("cursor", "interval", "live", "new", "said", "symbols", "told")

    def __init__(self, cursor: list[int], symbols: frozenset[str] | None, of: str | None, live: bool) -> None:
        self.cursor, self.symbols, self.interval, self.live = cursor, symbols, of, live
        self.new = not cursor
        self.told = time.monotonic()
        self.said = list(cursor)


class Channels:
    """The channels of one replica. Methods without a word on it are called on the hub's loop."""

    def __init__(self, hub: Hub, bus: Bus, universe: Universe, partitions: int) -> None:
        self._hub, self._bus, self._universe = hub, bus, universe
        self._symbols = [i.symbol for i in universe]
        self._at = {name: [0] * (1 if name == "alerts" else partitions) for name in TOPICS}
        self._names = {topic: name for name, topic in TOPICS.items()}
        self._members: dict[str, dict[Client, Member]] = {name: {} for name in TOPICS}
        self._current: set[str] = set()
        """Channels whose live flow has once come to the end of the bus."""
        self._log = structlog.get_logger()
        hub.sweeps.append(self._sweep)
        hub.leaves.append(self._gone)

    def heard(self, topic: str, entry: Entry) -> None:
        """The follower has read an entry. Called on its thread."""
        self._hub.soon(self._take, self._names[topic], entry)

    def began_anew(self) -> None:
        """The log went back: no cursor means anything any more. Called on the follower's thread."""
        self._hub.soon(self._reset)

    def member(self, said: dict[str, Any]) -> Member:
        """What is asked for, checked; not joined yet. Raises BadValue. From any thread."""
        name = said["channel"]
        symbols, of, after = (said.get(key) for key in ("symbols", "interval", "after"))
        if name == "alerts" and symbols is not None:
            raise BadValue("symbols", ", ".join(symbols)[:40], "null: alerts are not of symbols")
        if of is not None and name != "candles":
            raise BadValue("interval", of[:40], "none: only candles have one")
        if name == "candles":
            interval(of or "1m")
        mine = None if symbols is None else frozenset(self._universe.find(one).symbol for one in symbols)
        cursor = [] if after is None else self._cursor(name, after)
        return Member(cursor, mine, (of or "1m") if name == "candles" else None, not cursor and name in self._current)

    def join(self, client: Client, name: str, member: Member) -> str:
        """Let a client hear of every entry from now on, or from behind its cursor once it is `live`; the cursor."""
        at = self._at[name]
        if member.live:
            member.cursor, member.said = list(at), list(at)
            if name not in self._current:
                self._anew(client)
        elif member.new and all(ours >= mine for ours, mine in zip(at, member.cursor, strict=True)):
            self._current.add(name)
        self._members[name][client] = member
        return text(member.cursor)

    def leave(self, client: Client, name: str) -> None:
        """End a channel."""
        self._members[name].pop(client, None)

    def check(self, name: str, member: Member) -> None:
        """Raises TooOld: something may have been removed behind a member's cursor, or LineDown. One that has none
        begins at the last entry. Asks the bus; from any thread.
        """
        if member.new:
            member.cursor = [self._bus.last(TOPICS[name], p) for p in range(len(self._at[name]))]
            member.said = list(member.cursor)
            return
        topic, since = TOPICS[name], int(time.time() * 1000) - HOUR_MS
        if not all(self._kept(topic, partition, cursor, since) for partition, cursor in enumerate(member.cursor)):
            allowed = f"a cursor of the last hour behind which nothing has been removed; else read {REST[name]}"
            raise TooOld("after", text(member.cursor)[:40], allowed)

    def _kept(self, topic: str, partition: int, cursor: int, since: int) -> bool:
        """Whether all that was written behind a cursor is there still, and is not of before `since`, ms UTC."""
        if self._bus.last(topic, partition) <= cursor:
            return True
        behind = self._bus.range(topic, partition, cursor + 1, END, 1)
        if not behind or (cursor >> SEQUENCE_BITS < since and behind[0].id >> SEQUENCE_BITS < since):
            return False
        return cursor == START or self._bus.first(topic, partition) <= cursor

    async def catch_up(self, client: Client, name: str, member: Member) -> None:
        """Send what lies behind a member's cursor, and let it go live. On the handler's loop. Raises LineDown."""
        here = asyncio.get_running_loop()
        pages: deque[tuple[Entry, Page]] = deque()
        while not member.live and not client.ended:
            if not pages:
                pages += await asyncio.to_thread(self._missed, client, name, member)
            handed: asyncio.Future[None] = here.create_future()
            self._hub.call(self._hand, client, name, member, pages)
            self._hub.call(here.call_soon_threadsafe, handed.set_result, None)
            await asyncio.shield(handed)
            while client.wire.waiting() > CALM_BYTES and not client.ended:
                await asyncio.sleep(0.05)

    def _missed(self, client: Client, name: str, member: Member) -> list[tuple[Entry, Page]]:
        found = []
        for entry in self._bus.read(TOPICS[name], dict(enumerate(member.cursor)), PAGE):
            found.append((entry, page := self._page(name, entry)))
            page.chosen(member, client.binary)  # encoded here, not on the hub's loop
        return found

    def _hand(self, client: Client, name: str, member: Member, pages: deque[tuple[Entry, Page]]) -> None:
        if self._members[name].get(client) is not member:
            member.live = True  # it was left, or asked for anew: nothing is missing any more
        elif pages:
            while pages and client.wire.waiting() <= CALM_BYTES:  # the rest once it has been taken
                self._give(client, name, member, *pages.popleft())
        elif all(mine >= ours for mine, ours in zip(member.cursor, self._at[name], strict=True)):
            member.live = True
            if not member.new:
                client.tell({"type": "caught_up", "channel": name})

    def _take(self, name: str, entry: Entry) -> None:
        at = self._at[name]
        if entry.partition >= len(at) or entry.id <= at[entry.partition]:
            return
        at[entry.partition] = entry.id
        behind = [
            (client, member)
            for client, member in self._members[name].items()
            if member.live and member.cursor[entry.partition] < entry.id
        ]
        if not behind:
            return
        page = self._page(name, entry)
        for client, member in behind:
            self._give(client, name, member, entry, page)

    def _give(self, client: Client, name: str, member: Member, entry: Entry, page: Page) -> None:
        if entry.id <= member.cursor[entry.partition]:
            return
        member.cursor[entry.partition] = entry.id
        rows = page.chosen(member, client.binary)
        if rows:
            self._send(client, name, member, rows)

    def _send(self, client: Client, name: str, member: Member, rows: list[bytes]) -> None:
        member.told, member.said = time.monotonic(), list(member.cursor)
        data = message(name, text(member.cursor), rows, binary=client.binary)
        client.wire.send(len(data), (data,))
        if client.wire.waiting() > MOST_BYTES and not client.ended:
            self._hub.counted("backlogged")
            self._hub.end(client, FROZEN, f"the backlog of {name} is over {MOST_BYTES >> 20} MiB")

    def _sweep(self) -> None:
        """Who has not heard for a while is told how far it is: an old cursor would be refused."""
        late = time.monotonic() - CURSOR_SECONDS
        for name, members in self._members.items():
            for client, member in list(members.items()):
                if member.live and member.told < late and member.said != member.cursor:
                    self._send(client, name, member, [])

    def _gone(self, client: Client) -> None:
        for members in self._members.values():
            members.pop(client, None)

    def _reset(self) -> None:
        self._current.clear()
        for name, at in self._at.items():
            at[:] = [0] * len(at)
            for client in list(self._members[name]):
                self._anew(client)

    def _anew(self, client: Client) -> None:
        self._hub.end(client, REPLACED, "the log begins anew: come again, without a cursor")

    def _cursor(self, name: str, after: str) -> list[int]:
        try:
            found = [int(part, 36) for part in after.split("-")]
        except ValueError:
            found = []
        if len(found) != len(self._at[name]) or not all(0 <= one < END for one in found):
            raise BadValue("after", after[:40], f"a cursor as {name} gave it")
        return found

    def _page(self, name: str, entry: Entry) -> Page:
        try:
            return Page(getattr(self, f"_{name}")(entry.payload))
        except (BadPayload, ValueError, KeyError) as e:
            self._log.error("entry_unreadable", channel=name, entry=entry.id, reason=str(e)[:200])
            return Page([])

    def _candles(self, payload: bytes) -> list[tuple[str, str, dict[str, Any]]]:
        rows: Candles = decode(payload, CANDLE)
        rows = rows[rows["instrument"] < len(self._symbols)]
        found = []
        for row, told in zip(rows, shapes.candles(rows), strict=True):
            symbol, of = self._symbols[row["instrument"]], _NAMES[int(row["interval"])]
            found.append((symbol, of, {"symbol": symbol, "interval": of} | told | {"start": int(row["start"]) // MS}))
        return found

    def _analysis(self, payload: bytes) -> list[tuple[str, str, dict[str, Any]]]:
        rows: Scores = decode(payload, SCORE)
        rows = rows[(rows["instrument"] >= 0) & (rows["instrument"] < len(self._symbols))]
        found = []
        for key in dict.fromkeys(zip(rows["instrument"].tolist(), rows["start"].tolist(), strict=True)):
            mine = rows[(rows["instrument"] == key[0]) & (rows["start"] == key[1])]
            why = Unknown(int(mine[0]["unknown"]))
            card = scorecard(mine[0], list(mine[1:]), self._symbols[key[0]], why.name if why else None, 0)
            told = card.model_dump(mode="json") | {"timestamp": (key[1] + MINUTE) // MS}
            found.append((self._symbols[key[0]], "", told))
        return found

    def _signals(self, payload: bytes) -> list[tuple[str, str, dict[str, Any]]]:
        rows: Signals = decode(payload, SIGNAL)
        rows = rows[(rows["instrument"] >= 0) & (rows["instrument"] < len(self._symbols))]
        told = [one.model_dump(mode="json") for one in records(rows, self._symbols)]
        return [(row["symbol"], "", _in_ms(row, "at", "expires")) for row in told]

    def _alerts(self, payload: bytes) -> list[tuple[str, str, dict[str, Any]]]:
        return [("", "", _in_ms(row, "at")) for row in decode_records(payload)]


def text(cursor: Sequence[int]) -> str:
    """A cursor as clients keep it."""
    return "-".join(np.base_repr(one, 36).lower() for one in cursor)


def message(name: str, cursor: str, rows: Sequence[bytes], *, binary: bool) -> bytes:
    """One message of a channel, of rows that are encoded already."""
    if not binary:
        return b'{"type":"%b","cursor":"%b","rows":[%b]}' % (name.encode(), cursor.encode(), b",".join(rows))
    packer = msgpack.Packer()
    head = b"".join(map(msgpack.packb, ("type", name, "cursor", cursor, "rows")))
    return b"\x83" + head + packer.pack_array_header(len(rows)) + b"".join(rows)


def _in_ms(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return row | {name: None if row[name] is None else int(row[name]) // MS for name in names}
