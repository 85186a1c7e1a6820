"""Limits: token buckets, open sockets and tries of a secret, counted for all replicas in the second Redis.

    limit:take:NAME     the instant, in microseconds, at which the bucket is full again; gone when it is
    limit:open:NAME     sorted set of open sockets by the instant at which their lease ends
    limit:try:NAME      hash of the failures `n` and the instant `u` before which there is no other try; gone an hour on
    limit:set-tiers     the tiers that an administrator set, those alone, JSON; for a while: then the database is asked

Each question is one script: the server's own clock, all or nothing, so that two replicas can never both take the last
token. The `limits` library counts windows (fixed, moving, sliding) by the clock of whoever asks and knows no token
bucket; hence the few lines of Lua.

One thread asks, and sends what came together in one round trip. While there is no Redis nobody waits for one: that
thread alone tries again, and each process allows its share (`1 / replicas`) of every limit by itself; of logins a
quarter.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from typing import Any, NamedTuple

import redis
import structlog
from pydantic import ValidationError

from adapters.redis_line import RedisLine, Script, Word
from market.access import TIERS, Tier
from market.errors import LineDown
from market.limits import MICROS, Allowance, Bucket, Buckets, Pace, Purpose, Tries, allowance

LEASE_SECONDS = 4.0
"""A socket whose replica has died counts for so long."""
RENEWED_SECONDS = 1.0
FORGET_SECONDS = 3600
RETRY_SECONDS = 1.0
TIERS_KEY, TIERS_SECONDS = "limit:set-tiers", 5.0
TIERS_LAST, ASKED_SECONDS = 150, 60.0
"""Seconds: what was published is believed before the database, which each replica asks so often."""
MOST_AT_ONCE, RENEWED_AT_ONCE = 256, 1000
"""Questions in one round trip, and leases in one script: the server does nothing else meanwhile."""
STRICTER = 4
"""What a process allows of logins by itself, against its share."""
ACCOUNT = Pace(free=5, longest=60.0)
"""A stranger's failures must not lock the owner out for long."""
ADDRESS = Pace(free=20, longest=900.0)

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""
TAKE = Script(
    _NOW
    + """
local found, waits, wait = {}, {}, 0
for i, key in ipairs(KEYS) do
  local each, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local full = tonumber(redis.call('GET', key) or 0)
  found[i] = math.min(math.max(full, now), now + each * burst)
  waits[i] = math.max(0, found[i] + each * tonumber(ARGV[3 * i]) - each * burst - now)
  wait = math.max(wait, waits[i])
end
local said = {wait == 0 and 1 or 0}
for i, key in ipairs(KEYS) do
  local each, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  if wait == 0 then
    found[i] = found[i] + each * tonumber(ARGV[3 * i])
    redis.call('SET', key, string.format('%.0f', found[i]), 'PX', math.ceil((found[i] - now) / 1000) + 1)
  end
  said[#said + 1] = math.floor((each * burst - (found[i] - now)) / each)
  said[#said + 1] = waits[i]
  said[#said + 1] = found[i] - now
end
return said
"""
)
OPEN = Script(
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1] * 1000), ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
)
RENEW = Script(
    _NOW
    + """
local ends = string.format('%.0f', now + ARGV[1] * 1000)
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, ends, ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
return 1
"""
)
CLOSE = Script("return redis.call('ZREM', KEYS[1], ARGV[1])")
TRY = Script(
    _NOW
    + """
local wait = 0
for _, key in ipairs(KEYS) do wait = math.max(wait, tonumber(redis.call('HGET', key, 'u') or 0) - now) end
if wait > 0 then return wait end
for i, key in ipairs(KEYS) do
  local beyond, pause = redis.call('HINCRBY', key, 'n', 1) - ARGV[2 * i], 0
  if beyond > 0 then pause = math.min(2 ^ math.min(beyond - 1, 60), tonumber(ARGV[2 * i + 1])) end
  redis.call('HSET', key, 'u', string.format('%.0f', now + pause * 1000000))
  redis.call('EXPIRE', key, ARGV[1])
end
return 0
"""
)
GOOD = Script(
    """
for i, key in ipairs(KEYS) do
  if i <= tonumber(ARGV[1]) then
    redis.call('DEL', key)
  elseif tonumber(redis.call('HGET', key, 'n') or 0) > 0 then
    redis.call('HINCRBY', key, 'n', -1)
    redis.call('HSET', key, 'u', 0)
  end
end
return 1
"""
)


class Asked(NamedTuple):
    """One question on its way to Redis."""

    script: Script
    keys: Sequence[Word]
    words: Sequence[Word]
    answer: Future[Any]


class Limits:
    """Counts for one replica of `replicas`, exactly with the others while Redis is there. Any thread, any loop.

    `tiers` are what counts now: those of the settings with what `reload` and, in every replica within `TIERS_SECONDS`,
    `publish` put before them.
    """

    def __init__(self, url: str, tiers: Mapping[str, Tier] = TIERS, replicas: int = 1, timeout: float = 0.5) -> None:
        """`timeout` in seconds, which a request loses at most once when Redis stops to answer. Opens nothing yet."""
        self._unset = dict(tiers)
        self.tiers: Mapping[str, Tier] = dict(tiers)
        self.trouble = ""
        """Why this replica counts by itself; empty while it does not."""
        self.alone = 0
        """How many questions were answered without Redis."""
        self._replicas = max(replicas, 1)
        self._line = RedisLine(url, timeout)
        self._log = structlog.get_logger()
        self._asked: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._buckets, self._tries = Buckets(), Tries()
        self._open: dict[str, set[str]] = {}
        self._stopped = False
        self._thread: threading.Thread | None = None

    def tier(self, name: str) -> Tier:
        """A tier by name; one that nobody knows any more gets what strangers get."""
        return self.tiers.get(name) or self.tiers.get("anonymous") or TIERS["anonymous"]

    def reload(self, changed: Mapping[str, Tier]) -> None:
        """From now on, in this replica, these tiers count before those of the settings."""
        self.tiers = {**self._unset, **changed}

    async def publish(self, changed: Mapping[str, Tier]) -> None:
        """Reload here and tell every replica. Raises LineDown; the others then hear of it from the database."""
        self.reload(changed)
        text = json.dumps({name: tier.model_dump() for name, tier in changed.items()})
        await asyncio.to_thread(self._line.call, "SET", TIERS_KEY, text, "EX", TIERS_LAST)

    async def take(self, *asked: Bucket) -> Allowance:
        """Take from all the buckets or from none."""
        words = [w for one in asked for w in (one.each, one.burst, min(one.cost, one.burst))]
        said = await self._ask(TAKE, [f"limit:take:{one.name}" for one in asked], words)
        if said is None:
            own = [self._share(one) for one in asked]
            with self._lock:
                return self._buckets.take(time.monotonic_ns() // 1000, *own)
        told = [(said[i], said[i + 1], said[i + 2]) for i in range(1, len(said), 3)]
        return allowance(asked, told, allowed=bool(said[0]), degraded=False)

    async def open(self, name: str, most: int) -> str | None:
        """A lease for one more socket of `name`, which has at most `most` of them; None: it has. `close` gives it
        back.
        """
        lease = uuid.uuid4().hex
        said = await self._ask(OPEN, [f"limit:open:{name}"], [int(LEASE_SECONDS * 1000), most, lease])
        with self._lock:
            held = len(self._open.get(name, ()))
            if said == 0 or (said is None and held >= -(-most // self._replicas)):
                return None
            self._open.setdefault(name, set()).add(lease)
        return lease

    def close(self, name: str, lease: str) -> None:
        """Give it back; nobody waits for that."""
        with self._lock:
            held = self._open.get(name, set())
            held.discard(lease)
            if not held:
                self._open.pop(name, None)
        self._send(Asked(CLOSE, [f"limit:open:{name}"], [lease], Future()))

    async def attempt(self, account: str, address: str, purpose: Purpose = "login") -> float:
        """Before a secret is looked at: 0.0, and the try counts as failed until it is `good`; or the seconds to wait.

        `account` is what was typed, whether anybody has that name or not; what is not known is "", and not counted.
        """
        names = _tried(account, address, purpose)
        if not names:
            return 0.0
        words: list[Word] = [FORGET_SECONDS]
        for _, pace in names:
            words += [pace.free, int(pace.longest)]
        said = await self._ask(TRY, [f"limit:try:{name}" for name, _ in names], words)
        if said is not None:
            return float(said) / MICROS
        strict = [(name, pace._replace(free=pace.free // STRICTER)) for name, pace in names]
        with self._lock:
            return self._tries.begin(time.monotonic_ns() // 1000, *strict)

    async def good(self, account: str, address: str, purpose: Purpose = "login") -> None:
        """The last try was its owner's: the failures of the account are forgotten, the address has one less."""
        names = [name for name, _ in _tried(account, address, purpose)]
        forgotten = 1 if account else 0
        with self._lock:
            self._tries.good(names[:forgotten], names[forgotten:])
        if names:
            await self._ask(GOOD, [f"limit:try:{name}" for name in names], [forgotten])

    def sockets(self) -> int:
        """How many are open here."""
        with self._lock:
            return sum(map(len, self._open.values()))

    def health(self) -> dict[str, Any]:
        """What `/health` says of it."""
        return {"up": not self.trouble, "trouble": self.trouble, "alone": self.alone, "replicas": self._replicas}

    def stop(self) -> None:
        """End the thread and close the line; what is held elsewhere ends with its lease."""
        self._stopped = True
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join()
        self._line.close()

    def _share(self, one: Bucket) -> Bucket:
        parts = self._replicas * (STRICTER if one.name.startswith("login") else 1)
        return one._replace(rate=one.rate / parts, burst=max(1, one.burst // parts))

    async def _ask(self, script: Script, keys: Sequence[Word], words: Sequence[Word]) -> Any:
        """The script's reply; None when this process is on its own."""
        asked = Asked(script, keys, words, Future())
        self._send(asked)
        said = asked.answer.result() if asked.answer.done() else await asyncio.wrap_future(asked.answer)
        if said is None:
            self.alone += 1
        return said

    def _send(self, asked: Asked) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stopped:
                    self._thread = threading.Thread(target=self._run, name="limits", daemon=True)
                    self._thread.start()
        if self.trouble or self._stopped:
            asked.answer.set_result(None)
        else:
            self._asked.put(asked)

    def _run(self) -> None:
        """Answer what is asked; between questions renew leases, look at the tiers and, while it is away, for Redis."""
        duties: list[tuple[float, Callable[[], None]]] = [
            (RENEWED_SECONDS, self._renew), (TIERS_SECONDS, self._look_at_tiers), (RETRY_SECONDS, self._probe),
        ]  # fmt: skip
        due = [0.0] * len(duties)
        while not self._stopped:
            batch = self._wait(max(0.0, min(due) - time.monotonic()))
            self._guarded(self._answer, batch)
            now = time.monotonic()
            for i, (seconds, duty) in enumerate(duties):
                if now >= due[i]:
                    due[i] = now + seconds
                    if not self.trouble or duty == self._probe:
                        self._guarded(duty)
        for one in self._wait(0.0):
            one.answer.set_result(None)

    def _wait(self, seconds: float) -> list[Asked]:
        batch: list[Asked] = []
        try:
            one = self._asked.get(timeout=seconds) if seconds else self._asked.get_nowait()
            while True:
                if one is not None and one.answer.set_running_or_notify_cancel():
                    batch.append(one)
                if len(batch) >= MOST_AT_ONCE:
                    break
                one = self._asked.get_nowait()
        except queue.Empty:
            pass
        return batch

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except (LineDown, redis.RedisError) as e:
            self._fall_out(e)
        except Exception:
            self._log.exception("limits_broke")

    def _fall_out(self, error: Exception) -> None:
        """What Redis cannot do now is said once, and everybody counts alone until `_probe` finds it again."""
        if not self.trouble:
            self._log.warning("limits_alone", reason=error.reason if isinstance(error, LineDown) else repr(error))
        self.trouble = "the cache does not answer; each replica counts its share"

    def _answer(self, batch: list[Asked]) -> None:
        try:
            for script in {} if self.trouble else {one.script: None for one in batch}:
                mine = [one for one in batch if one.script is script]
                said = self._line.evaluate(script, [(one.keys, one.words) for one in mine], kept=False)
                for one, reply in zip(mine, said, strict=True):
                    one.answer.set_result(reply)
        except (LineDown, redis.RedisError) as e:
            self._fall_out(e)
        finally:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_result(None)

    def _probe(self) -> None:
        if self.trouble:
            self._line.call("PING")
            self.trouble = ""
            self._log.info("limits_together")
            self._renew()

    def _renew(self) -> None:
        with self._lock:
            held = [(name, lease) for name, leases in self._open.items() for lease in leases]
        for i in range(0, len(held), RENEWED_AT_ONCE):
            with self._lock:  # one that was given back between two scripts must not come back by the second
                some = [one for one in held[i : i + RENEWED_AT_ONCE] if one[1] in self._open.get(one[0], ())]
            words: list[Word] = [int(LEASE_SECONDS * 1000), *(lease for _, lease in some)]
            self._line.evaluate(RENEW, [([f"limit:open:{name}" for name, _ in some], words)], kept=False)
            self._answer(self._wait(0.0))  # whoever has asked meanwhile does not wait for all of them

    def _look_at_tiers(self) -> None:
        text = self._line.call("GET", TIERS_KEY)
        if text is None:
            return
        try:
            self.reload({name: Tier.model_validate(one) for name, one in json.loads(text).items()})
        except (ValueError, AttributeError, ValidationError) as e:
            self._log.error("tiers_unreadable", reason=type(e).__name__)


def _tried(account: str, address: str, purpose: Purpose) -> list[tuple[str, Pace]]:
    """The account as a digest: what was typed there may be a password."""
    name = sha256(account.strip().casefold().encode()).hexdigest()[:32]
    owner = [(f"{purpose}:account:{name}", ACCOUNT)] if account else []
    return owner + ([(f"{purpose}:address:{address}", ADDRESS)] if address else [])
