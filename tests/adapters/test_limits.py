"""Limits: on a real Redis, exact between two that ask at once; and alone when it is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from adapters.limits import ACCOUNT, ADDRESS, LEASE_SECONDS, TAKE, Asked, Limits
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.access import TIERS, Tier
from market.limits import MICROS, Bucket
from tests.adapters.cycle import MakeServer

Made = Callable[..., Limits]


@pytest.fixture
def made() -> Iterator[Made]:
    """Limits of a test's own, ended with it."""
    all_of_them: list[Limits] = []

    def make(server: RedisServer, replicas: int = 1) -> Limits:
        all_of_them.append(Limits(server.url, replicas=replicas, timeout=60.0))
        return all_of_them[-1]

    yield make
    for one in all_of_them:
        one.stop()


@pytest.fixture
def pair(shared_cache: RedisServer, cache: RedisLine, made: Made) -> tuple[Limits, Limits]:
    """Two replicas' limits on one empty cache."""
    return made(shared_cache), made(shared_cache)


def now(cache: RedisLine) -> int:
    seconds, micros = cache.call("TIME")
    return int(seconds) * MICROS + int(micros)


LENGTHENED_SECONDS = 600


def lengthen(cache: RedisLine) -> None:
    """Every pause that was given lasts ten minutes more, so that none is over while this machine is slow."""
    for key in cache.call("KEYS", "limit:try:*:account:*"):
        if int(cache.call("HGET", key, "n")) > ACCOUNT.free:
            cache.call("HINCRBY", key, "u", LENGTHENED_SECONDS * MICROS)


def test_two_that_race_for_one_bucket_never_get_more_than_it_holds(
    pair: tuple[Limits, Limits], cache: RedisLine
) -> None:
    bucket = Bucket("key:1", rate=50, burst=100)

    async def ask(limits: Limits) -> int:
        found = [await asyncio.gather(*(limits.take(bucket) for _ in range(20))) for _ in range(20)]
        return sum(one.allowed for round_ in found for one in round_)

    before = now(cache)
    with ThreadPoolExecutor(4) as threads:
        allowed = sum(threads.map(lambda limits: asyncio.run(ask(limits)), (*pair, *pair)))
    seconds = (now(cache) - before) / MICROS

    assert bucket.burst <= allowed <= bucket.burst + bucket.rate * seconds
    assert allowed < 1600
    assert pair[0].alone == pair[1].alone == 0


class Prompt(Limits):
    """Goes on with a question only when it is answered, as where the asking thread was interrupted."""

    def _send(self, asked: Asked) -> None:
        super()._send(asked)
        asked.answer.result(60.0)


def test_an_answer_that_was_there_before_anybody_looked_is_taken(shared_cache: RedisServer, cache: RedisLine) -> None:
    limits = Prompt(shared_cache.url, timeout=60.0)

    taken = [asyncio.run(limits.take(Bucket("key:1", 0.001, 1))) for _ in range(2)]
    limits.stop()

    assert [(one.allowed, one.degraded) for one in taken] == [(True, False), (False, False)]
    assert limits.alone == 0


def test_what_is_told_of_a_bucket_is_what_the_other_left(pair: tuple[Limits, Limits]) -> None:
    async def ask() -> list[tuple[bool, int]]:
        taken = [await pair[i % 2].take(Bucket("key:1", 0.001, 3)) for i in range(4)]
        assert 900 < taken[3].wait <= 1000
        assert 2900 < taken[3].full <= 3000
        return [(one.allowed, one.remaining) for one in taken]

    assert asyncio.run(ask()) == [(True, 2), (True, 1), (True, 0), (False, 0)]


def test_all_buckets_are_taken_from_or_none_and_a_full_one_leaves_no_key(
    pair: tuple[Limits, Limits], cache: RedisLine
) -> None:
    wide, narrow = Bucket("wide", 0.001, 5), Bucket("narrow", 0.001, 1)

    async def ask() -> tuple[bool, int, int]:
        await pair[0].take(wide, narrow)
        refused = await pair[1].take(wide, narrow)
        await pair[0].take(Bucket("quick", 1000, 1))
        return refused.allowed, refused.limit, (await pair[0].take(wide)).remaining

    assert asyncio.run(ask()) == (False, 5, 3)
    assert cache.call("PTTL", "limit:take:quick") <= 2


def test_a_cost_above_the_burst_takes_the_whole_bucket(pair: tuple[Limits, Limits]) -> None:
    async def ask() -> list[bool]:
        return [(await pair[0].take(Bucket("key:1", 0.001, 5, cost=50))).allowed for _ in range(2)]

    assert asyncio.run(ask()) == [True, False]


def test_sockets_are_counted_over_replicas_and_given_back(pair: tuple[Limits, Limits]) -> None:
    async def ask() -> list[bool]:
        leases = [await pair[i % 2].open("key:1", 3) for i in range(4)]
        assert leases[0] is not None
        pair[0].close("key:1", leases[0])
        again = await pair[0].open("key:1", 3)  # asked behind the close, by the same thread
        return [lease is not None for lease in (*leases, again)]

    assert asyncio.run(ask()) == [True, True, True, False, True]
    assert pair[0].sockets() + pair[1].sockets() == 3


def test_the_sockets_of_a_dead_replica_end_with_their_lease(pair: tuple[Limits, Limits], cache: RedisLine) -> None:
    begins = now(cache)
    held = asyncio.run(pair[0].open("key:1", 1))
    score = int(cache.call("ZSCORE", "limit:open:key:1", held or ""))
    ends = now(cache) + int(LEASE_SECONDS * MICROS)
    assert begins + int(LEASE_SECONDS * MICROS) <= score <= ends

    pair[0].stop()
    cache.call("ZADD", "limit:open:key:1", ends + 60 * MICROS, held or "")  # or it ends while this machine is slow
    cache.call("PERSIST", "limit:open:key:1")
    refused = asyncio.run(pair[1].open("key:1", 1))
    cache.call("ZADD", "limit:open:key:1", now(cache) - 1, held or "")  # its lease is over

    assert refused is None
    assert asyncio.run(pair[1].open("key:1", 1)) is not None


def test_many_sockets_are_renewed_by_few_scripts_and_hold_up_no_question(
    shared_cache: RedisServer, cache: RedisLine, made: Made
) -> None:
    limits, line = made(shared_cache), RedisLine(shared_cache.url)
    limits._open = {f"key:{i}": {f"lease-{i}"} for i in range(2500)}
    asked = Asked(TAKE, ["limit:take:a"], [1000, 1, 1], Future())
    limits._asked.put(asked)
    limits._thread = threading.current_thread()  # it is we who answer
    asked.answer.add_done_callback(lambda _: limits.close("key:2200", "lease-2200"))  # behind the first script

    def scripts() -> int:
        told = line.info("commandstats")
        found = [told.get(f"cmdstat_{name}", "calls=0") for name in ("evalsha", "eval")]
        return sum(int(one.split(",")[0].removeprefix("calls=")) for one in found)

    before = scripts()
    limits._renew()
    after = scripts()
    line.close()
    limits._thread = None

    assert asked.answer.done() and asked.answer.result()[0] == 1
    assert after - before <= 2 * 5  # three for the sockets, two for the questions; each once more while it is new
    assert cache.call("ZSCORE", "limit:open:key:2200", "lease-2200") is None
    lasts = [int(cache.call("ZSCORE", f"limit:open:key:{i}", f"lease-{i}")) for i in (0, 2499)]
    assert all(now(cache) < one <= now(cache) + LEASE_SECONDS * MICROS for one in lasts)
    assert 0 < int(cache.call("PTTL", "limit:open:key:2499")) <= LEASE_SECONDS * 1000


def test_tries_are_counted_before_they_are_looked_at_over_replicas(
    pair: tuple[Limits, Limits], cache: RedisLine
) -> None:
    async def ask() -> list[float]:
        return list(await asyncio.gather(*(pair[i % 2].attempt("Asha@x.in ", "") for i in range(12))))

    before = now(cache)
    waits = asyncio.run(ask())
    seconds = (now(cache) - before) / MICROS

    made = sum(wait == 0.0 for wait in waits)
    assert 0 <= made - (ACCOUNT.free + 1) <= seconds  # on a slow machine a pause of a second is over meanwhile
    assert all(wait <= 2 ** (made - ACCOUNT.free - 1) for wait in waits)


def test_a_good_try_ends_the_waiting_of_its_account_alone(pair: tuple[Limits, Limits], cache: RedisLine) -> None:
    async def ask() -> tuple[float, float]:
        for _ in range(ACCOUNT.free + 1):
            await pair[0].attempt("asha", "203.0.113.9")
            await pair[0].attempt("ravi", "203.0.113.9")
        lengthen(cache)
        await pair[0].good("asha", "203.0.113.9")
        return await pair[1].attempt("asha", ""), await pair[1].attempt("ravi", "")

    asha, ravi = asyncio.run(ask())

    assert asha == 0.0 and ravi > 0.0
    assert int(cache.call("HGET", "limit:try:login:address:203.0.113.9", "n")) == 2 * ACCOUNT.free + 1 < ADDRESS.free


def test_each_purpose_has_failures_of_its_own(pair: tuple[Limits, Limits], cache: RedisLine) -> None:
    async def ask() -> tuple[float, float, float]:
        for _ in range(ACCOUNT.free + 1):
            await pair[0].attempt("asha", "203.0.113.9", "reset")
        lengthen(cache)
        await pair[0].good("asha", "", "login")
        login = await pair[1].attempt("asha", "203.0.113.9")
        return login, await pair[1].attempt("asha", "", "register"), await pair[1].attempt("asha", "", "reset")

    login, register, reset = asyncio.run(ask())

    assert login == register == 0.0 and reset > 0.0


def test_without_redis_each_allows_its_share_and_logins_less(make_server: MakeServer, made: Made) -> None:
    server = make_server("cache", durable=False)
    server.start()
    limits = made(server, replicas=2)
    bucket, login = Bucket("key:1", 0.001, 10), Bucket("login", 0.001, 40)
    assert asyncio.run(limits.take(bucket)).degraded is False
    server.stop()

    async def ask() -> tuple[int, int, int, int]:
        rate = [await limits.take(bucket) for _ in range(20)]
        assert all(one.degraded for one in rate)
        logins = [await limits.take(login) for _ in range(20)]
        tries = [await limits.attempt("asha", "") for _ in range(10)]
        sockets = [await limits.open("key:1", 5) for _ in range(10)]
        return (
            sum(one.allowed for one in rate),
            sum(one.allowed for one in logins),
            sum(wait == 0.0 for wait in tries),
            sum(lease is not None for lease in sockets),
        )

    assert asyncio.run(ask()) == (5, 5, 2, 3)
    assert limits.health()["up"] is False and limits.health()["trouble"]


def test_it_counts_together_again_when_redis_is_back_and_tells_of_its_sockets(
    make_server: MakeServer, made: Made
) -> None:
    server = make_server("cache", durable=False)
    server.start()
    limits = made(server)
    lease = asyncio.run(limits.open("key:1", 5))
    server.stop()
    asyncio.run(limits.take(Bucket("key:1", 1, 1)))
    assert limits.trouble

    server.start()
    pause = threading.Event()
    while limits.trouble:
        pause.wait(0.02)
    taken = asyncio.run(limits.take(Bucket("key:1", 1, 1)))
    line = RedisLine(server.url)
    found = line.call("ZRANGE", "limit:open:key:1", 0, -1)
    line.close()

    assert taken.allowed and not taken.degraded
    assert found == [(lease or "").encode()]


def test_tiers_that_were_published_count_everywhere(
    pair: tuple[Limits, Limits], shared_cache: RedisServer, made: Made
) -> None:
    gold = Tier(requests_per_second=500, burst=1000, connections=200, symbols=5000)

    asyncio.run(pair[0].publish({"gold": gold}))
    newcomer = made(shared_cache)
    asyncio.run(newcomer.take(Bucket("key:1", 1, 1)))  # it looks at the tiers behind its first answer
    pause = threading.Event()
    while "gold" not in newcomer.tiers:
        pause.wait(0.01)

    assert pair[0].tier("gold").burst == newcomer.tier("gold").burst == 1000
    assert newcomer.tier("nobody") == TIERS["anonymous"] and newcomer.tier("premium") == TIERS["premium"]
