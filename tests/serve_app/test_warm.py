"""Warm: a replica that begins has all quotes at once, from what the Market actor keeps, and never an older one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from actors.market import Market
from actors.plans import MarketPlan
from adapters.latest import universe_of, unpack
from serve_app.follow import Follower
from tests.serve_app.house import MAHINDRA, RELIANCE, TCS, TODAY, House, after, live, minutes, stated_close, tick, wait


@pytest.fixture
def market(closed: House) -> Iterator[Market]:
    """The actor on the house's stores, following."""
    plan = MarketPlan(
        bus=closed.plan.bus, cache=closed.plan.cache, partitions=closed.plan.partitions,
        instruments=closed.plan.instruments, sessions=closed.plan.sessions, refresh_seconds=0.05,
    )  # fmt: skip
    actor = Market(plan)
    thread = threading.Thread(target=actor.run, daemon=True)
    thread.start()
    wait(lambda: closed.model.kept_quotes())
    yield actor
    actor.stop()
    thread.join()


def kept(house: House, who: int) -> int:
    found = house.model.kept_quotes()
    assert found is not None
    return int(unpack(found, universe_of(house.plan.instruments), house.bus.identity()).quotes.rows["price"][who])


def test_a_replica_begins_with_what_was_kept_though_the_ticks_are_gone(closed: House, market: Market) -> None:
    at = after(TODAY, 1)
    closed.say(stated_close(RELIANCE, at, 990), tick(RELIANCE, at, 1000, 5, bid=9_999_000), live(at))
    closed.fold(minutes(TCS, TODAY, 0, 2))
    wait(lambda: (kept(closed, RELIANCE), kept(closed, TCS)) == (10_000_000, 1_010_000))
    market.stop()
    for partition in range(closed.plan.partitions):
        closed.bus._line.call("XTRIM", f"ticks:{{{partition}}}", "MAXLEN", 0)

    closed.open()

    quote = closed.get("/api/stock/RELIANCE")
    assert (quote["price"], quote["previous_close"], quote["bid"]) == (1000.0, 990.0, 999.9)
    assert (quote["at"], quote["received_at"], quote["feed_state"]) == ("2016-08-25T03:46:00Z",) * 2 + ("LIVE",)
    assert closed.get("/api/stock/TCS")["price"] == 101.0
    wait(lambda: not closed.follower.behind)
    assert len(closed.get("/api/v1/candles/TCS")["candles"]) == 2
    closed.say(tick(MAHINDRA, after(TODAY, 3), 7), live(after(TODAY, 3)))
    assert closed.get("/api/stock/M&M")["price"] == 7.0


def test_what_was_kept_never_replaces_what_is_newer(closed: House, market: Market) -> None:
    closed.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 1)))
    wait(lambda: kept(closed, RELIANCE) == 10_000_000)
    market.stop()
    old = closed.model.kept_quotes()
    assert old is not None
    closed.open()
    closed.say(tick(RELIANCE, after(TODAY, 2), 1001), live(after(TODAY, 2)))
    closed.model.keep_quotes(old)

    assert closed.follower._load()

    assert closed.get("/api/stock/RELIANCE")["price"] == 1001.0


def test_quotes_of_another_universe_are_not_taken(closed: House, market: Market) -> None:
    closed.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 1)))
    wait(lambda: kept(closed, RELIANCE) == 10_000_000)
    fewer = closed.plan.model_copy(update={"instruments": closed.plan.instruments[:2]})

    assert not Follower(fewer)._load()
    assert Follower(closed.plan)._load()
