"""Limits: the token bucket against a plain reference, and the growing delay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from market.limits import MICROS, Bucket, Buckets, Pace, Tries

SECOND = MICROS


def test_a_burst_is_allowed_and_then_one_at_a_time() -> None:
    buckets, one = Buckets(), Bucket("a", rate=10, burst=3)

    first = [buckets.take(0, one) for _ in range(4)]
    later = [buckets.take(SECOND // 10, one).allowed for _ in range(2)]

    assert [a.allowed for a in first] == [True, True, True, False]
    assert [a.remaining for a in first] == [2, 1, 0, 0]
    assert first[3].wait == 0.1 and first[3].full == 0.3
    assert later == [True, False]


def test_of_several_buckets_all_are_taken_from_or_none() -> None:
    buckets = Buckets()
    wide, narrow = Bucket("wide", rate=1, burst=5), Bucket("narrow", rate=1, burst=1)

    buckets.take(0, wide, narrow)
    refused = buckets.take(0, wide, narrow)

    assert (refused.allowed, refused.limit, refused.wait) == (False, 5, 1.0)
    assert buckets.take(0, wide).remaining == 3


@given(
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 4)), max_size=40),
    st.sampled_from([1, 4, 10, 50]),
    st.integers(1, 12),
)
def test_it_is_the_token_bucket_of_the_books(asked: list[tuple[int, int]], rate: int, burst: int) -> None:
    buckets, now, micro_tokens = Buckets(), 0, burst * MICROS

    for pause, cost in asked:
        now += pause
        micro_tokens = min(burst * MICROS, micro_tokens + pause * rate)
        cost = min(cost, burst)
        fits = micro_tokens >= cost * MICROS
        micro_tokens -= cost * MICROS if fits else 0

        found = buckets.take(now, Bucket("a", rate, burst, cost))

        assert (found.allowed, found.remaining) == (fits, micro_tokens // MICROS)


def test_a_bucket_that_shrank_forgets_what_it_owed() -> None:
    buckets = Buckets()
    for _ in range(100):
        buckets.take(0, Bucket("a", rate=10, burst=100))

    found = buckets.take(0, Bucket("a", rate=10, burst=2))

    assert (found.allowed, found.wait) == (False, 0.1)


def test_failures_wait_longer_and_longer_and_a_good_try_ends_it() -> None:
    tries, name, now, waits = Tries(), ("a", Pace(free=2, longest=3)), 0, []

    for _ in range(6):
        assert tries.begin(now, name) == 0.0
        waits.append(tries.begin(now - 1, name) if len(waits) > 1 else 0.0)
        now += round(waits[-1] * MICROS)

    assert waits[:2] == [0.0, 0.0]
    assert [round(w) for w in waits[2:]] == [1, 2, 3, 3]
    tries.good(["a"], [])
    assert [tries.begin(now, name) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert tries.begin(now, name) == 1.0


def test_who_has_not_asked_for_long_is_forgotten_first() -> None:
    buckets, one = Buckets(most=2), Bucket("a", rate=1, burst=1)
    buckets.take(0, one)

    for name in ("b", "c"):
        buckets.take(0, one._replace(name=name))

    assert buckets.take(0, one).allowed
    assert not buckets.take(0, one._replace(name="c")).allowed
