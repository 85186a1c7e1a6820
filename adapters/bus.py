"""The bus: Redis Streams, one per topic and partition, made so that everything happens exactly once.

An output entry's id is the id of the input entry that caused it; Redis refuses an id that is not newer, so a repeat, a
second owner or a rolled-back log writes the same bytes under the same id, or nothing. A snapshot is one value that
names its own cursor and may lag. A feed numbers its entries; the bus keeps the last number of each (writer, partition)
and refuses a repeat. Nothing here needs two keys changed at a time, except a number and its entry: one slot and script.

Speaks to one server at a time: the embedded one, or a `BUS_URL`, of which several may stand behind Sentinel. Every
key carries its partition as hash tag, so that a Cluster could hold it; reading several partitions at once could not.
"""

from __future__ import annotations

import heapq
import math
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import redis

from adapters.redis_line import RedisLine, Script, Word
from market.errors import BadValue, LeaseLost, LineDown, LogWentBack

EntryId = int
"""A stream id in one integer, ms << 20 | sequence: fits an int64, orders as Redis does."""

START: EntryId = 0
END: EntryId = (1 << 62) - 1
SEQUENCE_BITS = 20
LAST_SEQUENCE = (1 << SEQUENCE_BITS) - 1

ALARM = 0.70
STOP = 0.80
BEHIND_SECONDS = 3.0
LARGEST_NUMBER = (1 << 53) - 1
CURSOR_DIGITS = 20
BACKWARDS = 8

Pressure = Literal["ok", "alarm", "stop"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch as it stands on the bus; `number` is the writer's own, -1 where an entry is an output."""

    id: EntryId
    partition: int
    writer: str
    number: int
    payload: bytes


# The sequence of an id has room for 2^20 entries in a millisecond; a clock set back by an hour could use it up.
APPEND = Script(f"""
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '-1')
local first, ids = last, {{}}
for i = 3, #ARGV, 2 do
  local number = tonumber(ARGV[i])
  if number <= last then
    ids[#ids + 1] = ''
  else
    local id = redis.call('XADD', KEYS[1], '*', 'w', ARGV[2], 'n', ARGV[i], 'd', ARGV[i + 1])
    last = number
    ids[#ids + 1] = id
    local ms, sequence = string.match(id, '(%d+)-(%d+)')
    if tonumber(sequence) >= {LAST_SEQUENCE} then
      redis.call('XSETID', KEYS[1], string.format('%d-0', tonumber(ms) + 1))
    end
  end
end
if last > first then
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%d', last))
end
return ids
""")

SAVE = Script(f"""
local kept = redis.call('GETRANGE', KEYS[1], 0, {CURSOR_DIGITS - 1})
if kept ~= '' then
  local half = {CURSOR_DIGITS // 2}
  local high, low = tonumber(string.sub(ARGV[1], 1, half)), tonumber(string.sub(ARGV[1], half + 1))
  local kept_high, kept_low = tonumber(string.sub(kept, 1, half)), tonumber(string.sub(kept, half + 1))
  if high < kept_high or (high == kept_high and low < kept_low) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2])
return 1
""")

# A lease that ran out and that nobody took is simply taken again.
RENEW = Script("""
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")


def pack(text: bytes | str) -> EntryId:
    """An id as Redis writes it, in one integer. Raises BadValue when it does not fit.

    >>> pack("1700000000000-3") == (1700000000000 << 20) + 3
    True
    """
    ms, _, sequence = (text.decode() if isinstance(text, bytes) else text).partition("-")
    if int(ms) >= 1 << (62 - SEQUENCE_BITS) or int(sequence or 0) > LAST_SEQUENCE:
        raise BadValue("entry id", text, f"a sequence up to {LAST_SEQUENCE} and a time before the year 2100")
    return int(ms) << SEQUENCE_BITS | int(sequence or 0)


def unpack(entry: EntryId) -> str:
    """The id as Redis writes it.

    >>> unpack(pack("1700000000000-3"))
    '1700000000000-3'
    """
    return f"{entry >> SEQUENCE_BITS}-{entry & LAST_SEQUENCE}"


def merge(*topics: tuple[str, Iterable[tuple[int, Entry]]]) -> Iterator[tuple[str, Entry]]:
    """Entries of several topics in the one order a reader of all of them takes: smallest mark, then topic, then id.

    Each topic's entries come with their marks, in id order; an entry waits for the marks before it in its own topic.
    The order is the same for every cut of the log if each topic is given up to the smallest last mark among them.
    """
    for _, topic, _, entry in heapq.merge(
        *(_keyed(topic, marked) for topic, marked in topics), key=itemgetter(0, 1, 2)
    ):
        yield topic, entry


def disk_free(path: str | Path) -> int:
    """Bytes that may still be written where `path` lies."""
    return shutil.disk_usage(path).free


class Bus:
    """The topics of one server. Every method raises LineDown when the server cannot serve; nothing is tried twice."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        """`timeout` in seconds for every answer. Connects on first use."""
        self._line = RedisLine(url, timeout)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._line.call("PING")

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def identity(self) -> str:
        """This bus's own name, made when it is first asked and as durable as its log: another bus has another."""
        self._line.call("SET", "bus:identity", secrets.token_hex(8), "NX")
        return str(self._line.call("GET", "bus:identity").decode())

    # What feeds do

    def append(self, topic: str, writer: str, rows: Sequence[tuple[int, int, bytes]]) -> list[EntryId | None]:
        """Write (partition, number, payload) rows in one round trip; the new ids, None where the number is known.

        Numbers rise within a (writer, partition); they may skip. A partition's rows are written together or not at all.
        After LineDown nobody knows which were written: offer them again, what is there is refused.
        """
        places: dict[int, list[int]] = {}
        for place, (partition, number, _) in enumerate(rows):
            if not 0 <= number <= LARGEST_NUMBER:
                raise BadValue("number", number, f"0 to {LARGEST_NUMBER}")
            places.setdefault(partition, []).append(place)
        calls: list[tuple[Sequence[Word], Sequence[Word]]] = []
        for partition, mine in places.items():
            words: list[Word] = [f"{topic}/{writer}", writer]
            for place in mine:
                words += rows[place][1:]
            calls.append(([_stream(topic, partition), _numbers(partition)], words))
        ids: list[EntryId | None] = [None] * len(rows)
        for mine, reply in zip(places.values(), self._line.evaluate(APPEND, calls) if calls else [], strict=True):
            for place, text in zip(mine, reply, strict=True):
                ids[place] = pack(text) if text else None
        return ids

    def numbers(self, topic: str, writer: str, partitions: Collection[int]) -> dict[int, int]:
        """The last number the bus holds of this writer, by partition; -1 for none."""
        replies = self._ask([("HGET", _numbers(p), f"{topic}/{writer}") for p in partitions])
        return {p: -1 if reply is None else int(reply) for p, reply in zip(partitions, replies, strict=True)}

    # What readers do

    def read(self, topic: str, after: Mapping[int, EntryId], count: int, block: float | None = None) -> list[Entry]:
        """Up to `count` entries of each partition behind its id in `after`, in id order within a partition.

        `block`: wait so many seconds for a first one, at most half the line's timeout; None: do not wait.
        """
        if not after:
            return []
        words: list[Word] = ["XREAD", "COUNT", count]
        if block is not None:
            words += ["BLOCK", max(1, int(min(block, self._line.timeout / 2) * 1000))]
        partitions = {_stream(topic, p).encode(): p for p in after}
        reply = self._line.call(*words, "STREAMS", *partitions, *(unpack(i) for i in after.values()))
        return [_entry(partitions[key], item) for key, items in reply or [] for item in items]

    def range(self, topic: str, partition: int, first: EntryId, last: EntryId, count: int) -> list[Entry]:
        """Up to `count` entries with first <= id <= last, in id order."""
        reply = self._line.call("XRANGE", _stream(topic, partition), unpack(first), unpack(last), "COUNT", count)
        return [_entry(partition, item) for item in reply]

    def backwards(self, topic: str, partition: int) -> Iterator[Entry]:
        """The entries there are, newest first, a few in each round trip."""
        last = END
        while True:
            reply = self._line.call("XREVRANGE", _stream(topic, partition), unpack(last), "-", "COUNT", BACKWARDS)
            yield from (_entry(partition, item) for item in reply)
            if len(reply) < BACKWARDS:
                return
            last = pack(reply[-1][0]) - 1

    def first(self, topic: str, partition: int) -> EntryId:
        """The oldest entry that is still there; 0 if there is none."""
        reply = self._line.call("XRANGE", _stream(topic, partition), "-", "+", "COUNT", 1)
        return pack(reply[0][0]) if reply else START

    def last(self, topic: str, partition: int) -> EntryId:
        """The newest id that was ever given, also when its entry has been trimmed; 0 if there was none."""
        try:
            reply = self._line.call("XINFO", "STREAM", _stream(topic, partition))
        except redis.ResponseError as e:
            if "no such key" in str(e):
                return START
            raise
        return pack(reply[reply.index(b"last-generated-id") + 1])

    def check(self, topic: str, partition: int, cursor: EntryId) -> None:
        """Raises LogWentBack when the stream ends before what a reader has already read."""
        last = self.last(topic, partition)
        if cursor > last:
            raise LogWentBack(_stream(topic, partition), unpack(cursor), unpack(last))

    def head(self) -> EntryId:
        """Nothing newer than this may leave the bus yet: a crash of a server on everysec, or a replica that takes the
        place of its primary, could take it back.
        """
        if self.fsync_always() and not self._line.replicated:
            return END
        seconds, microseconds = map(int, self._line.call("TIME"))
        return max(0, int((seconds + microseconds / 1e6 - BEHIND_SECONDS) * 1000)) << SEQUENCE_BITS

    # What they write

    def write(self, topic: str, partition: int, entry: EntryId, payload: bytes) -> bool:
        """Write an output under the id of its input; False when the bus has it, or something newer, already."""
        return self.write_all(topic, [(partition, entry, payload)])[0]

    def write_all(self, topic: str, rows: Sequence[tuple[int, EntryId, bytes]]) -> list[bool]:
        """Write (partition, id, payload) outputs in one round trip, in their order; what was new."""
        calls: list[tuple[Word, ...]] = [("XADD", _stream(topic, p), unpack(i), "d", payload) for p, i, payload in rows]
        written = []
        for reply in self._line.calls(calls, kept=True) if calls else []:
            known = isinstance(reply, redis.ResponseError) and "equal or smaller" in str(reply)
            if isinstance(reply, Exception) and not known:
                raise reply
            written.append(not known)
        return written

    def save(self, reader: str, partition: int, cursor: EntryId, state: bytes) -> bool:
        """Keep a snapshot that has read everything up to `cursor`; False when a newer one is kept already."""
        words = (f"{cursor:0{CURSOR_DIGITS}d}", state)
        return bool(self._line.evaluate(SAVE, [([_snapshot(reader, partition)], words)])[0])

    def load(self, reader: str, partition: int) -> tuple[EntryId, bytes] | None:
        """The kept snapshot and its cursor; None before the first."""
        value = self._line.call("GET", _snapshot(reader, partition))
        return None if value is None else (int(value[:CURSOR_DIGITS]), value[CURSOR_DIGITS:])

    def cursors(self, reader: str, partitions: Collection[int]) -> dict[int, EntryId]:
        """How far the kept snapshots have read; 0 before the first. Does not fetch the states."""
        replies = self._ask([("GETRANGE", _snapshot(reader, p), 0, CURSOR_DIGITS - 1) for p in partitions])
        return {p: int(reply or START) for p, reply in zip(partitions, replies, strict=True)}

    def lease(self, name: str, ttl: float) -> Lease:
        """Own a name for `ttl` seconds at a time. Raises LeaseLost while another owner holds it."""
        return Lease(self._line, name, ttl)

    # What keeps it small

    def trim(self, topic: str, partition: int, before: EntryId) -> int:
        """Remove the entries with an id below `before`, whoever has read them; how many there were."""
        return int(self._line.call("XTRIM", _stream(topic, partition), "MINID", "=", unpack(before)))

    def retire(self, topic: str, partition: int, readers: Collection[str], keep_after: EntryId) -> int:
        """Remove what is older than `keep_after` and has been read by every durable reader; how many entries.

        A reader without a snapshot has read nothing, so nothing is removed.
        """
        read = self._ask([("GETRANGE", _snapshot(r, partition), 0, CURSOR_DIGITS - 1) for r in readers])
        before = min([keep_after, *(int(cursor or START) for cursor in read)])
        return self.trim(topic, partition, before) if before > START else 0

    def memory(self) -> tuple[int, int]:
        """Bytes used and the server's limit; limit 0 when it has none."""
        said = self._line.info("memory")
        return int(said["used_memory"]), int(said["maxmemory"])

    def pressure(self) -> Pressure:
        """`alarm` from 70 % of the memory limit, `stop` from 80 %: feeds end there, so that outputs always fit."""
        used, limit = self.memory()
        if not limit or used < ALARM * limit:
            return "ok"
        return "stop" if used >= STOP * limit else "alarm"

    def fsync_always(self) -> bool:
        """Whether what the server has acknowledged is on its disk; False too when it does not let us ask."""
        try:
            replies = self._line.calls([("CONFIG", "GET", "appendonly"), ("CONFIG", "GET", "appendfsync")])
        except LineDown as e:
            if e.reason.startswith("NOPERM"):
                return False
            raise
        return replies == [[b"appendonly", b"yes"], [b"appendfsync", b"always"]]

    def _ask(self, calls: Sequence[tuple[Word, ...]]) -> list[Any]:
        replies = self._line.calls(calls) if calls else []
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


class Lease:
    """The right to own a name, until it runs out. It ends stale owners early; correctness rests elsewhere."""

    def __init__(self, line: RedisLine, name: str, ttl: float) -> None:
        self._line, self.name = line, name
        self._key = f"lease:{name}"
        self._token = secrets.token_hex(16)
        self._ms = math.ceil(ttl * 1000)
        if not self._line.call("SET", self._key, self._token, "NX", "PX", self._ms):
            raise LeaseLost(name)

    def renew(self) -> None:
        """Hold it for another `ttl`. Raises LeaseLost when another owner took over."""
        if not self._line.evaluate(RENEW, [([self._key], [self._token, self._ms])])[0]:
            raise LeaseLost(self.name)

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._line.evaluate(RELEASE, [([self._key], [self._token])])


def _stream(topic: str, partition: int) -> str:
    return f"{topic}:{{{partition}}}"


def _numbers(partition: int) -> str:
    return f"numbers:{{{partition}}}"


def _snapshot(reader: str, partition: int) -> str:
    return f"snapshot:{reader}:{{{partition}}}"


def _entry(partition: int, item: Any) -> Entry:
    name, fields = item
    if len(fields) == 2:
        return Entry(pack(name), partition, "", -1, fields[1])
    return Entry(pack(name), partition, fields[1].decode(), int(fields[3]), fields[5])


def _keyed(topic: str, marked: Iterable[tuple[int, Entry]]) -> Iterator[tuple[int, str, EntryId, Entry]]:
    highest = -1
    for mark, entry in marked:
        highest = max(highest, mark)
        yield highest, topic, entry.id, entry
