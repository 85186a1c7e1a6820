"""A feed survives: dead lines, dead logins, new lists, an operator's hand, and thirty mornings in a row."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from actors.feed import Feed
from adapters import entries
from adapters.accounts import Accounts
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.control import Control
from adapters.dialects import Login
from adapters.exchange import Exchange
from adapters.listings import Listings
from adapters.logins import Credentials
from adapters.marks import market_time
from adapters.redis_server import RedisServer
from benchmarks.rough import RoughVendor
from market.alerts import still_open
from market.codecs import Account
from market.instruments import Instrument
from market.listings import Listed, Listing
from market.money import Money
from market.sessions import IST, MINUTE, SECOND, Session, instant, session
from market.tape import from_bars
from market.ticks import TICK, FeedState, Kind, Ticks
from market.wishes import Wish
from tests.actors.day import (
    abandon,
    bars,
    candles_on,
    feed_plan,
    fold_everything,
    instruments,
    log,
    playing,
    ticks,
    until,
)

OF = instruments()
WAIT = 200.0
NAME = "the-account"


def account(token: str) -> Account:
    return Account(api_key=SecretStr("demo"), access_token=SecretStr(token))


def reshuffled(seed: int) -> tuple[Instrument, ...]:
    """The same instruments under other tokens of the vendor, some of them another instrument's of yesterday."""
    numbers = random.Random(seed).sample(range(1000, 1000 + 2 * len(OF)), len(OF))
    tokens = [n * 256 + int(i.tokens["kite"]) % 256 for n, i in zip(numbers, OF, strict=True)]
    return tuple(i.model_copy(update={"tokens": {"kite": t}}) for i, t in zip(OF, tokens, strict=True))


def today_in_india() -> date:
    """The day by which a session and a list are named; here it may be another."""
    return instant(time.time_ns()).astimezone(IST).date()


def listing(of: tuple[Instrument, ...], day: date) -> Listing:
    rows = tuple(Listed(id=i.id, symbol=i.symbol, token=i.tokens["kite"], tick_size=Money(500), lot=1) for i in of)
    return Listing(vendor="kite", session=day, listed=rows)


def marks(bus: Bus) -> Ticks:
    rows = [entries.decode(e.payload, TICK) for e in log(bus, "ticks", 0)]
    joined = np.concatenate([*rows, np.zeros(0, TICK)])
    return joined[joined["kind"] == Kind.MARK]


@asynccontextmanager
async def live(url: str, folder: Path, **more: Any) -> AsyncIterator[tuple[RoughVendor, Feed, asyncio.Task[None]]]:
    """A vendor that trades now and a feed on it that runs."""
    vendor = RoughVendor(OF)
    address = await vendor.start()
    opened = time.time_ns() - 5 * MINUTE
    today = Session(
        date=today_in_india(), preopen=opened - MINUTE, open=opened // MINUTE * MINUTE, close=opened + 600 * MINUTE
    )
    told = {
        "tape": False, "hold": False, "sessions": (today,), "access_token": SecretStr("t0"), "account": NAME,
        "mute_after": MINUTE,
    }  # fmt: skip
    feed = Feed(feed_plan(url, folder, address, OF, 1, **{**told, **more}))
    run = asyncio.create_task(feed.run())
    try:
        yield vendor, feed, run
    finally:
        await feed.stop()
        await asyncio.wait_for(asyncio.gather(run, return_exceptions=True), WAIT)
        await vendor.stop()


async def reaches(feed: Feed, state: str) -> dict[str, Any]:
    """Its health once it is in this state."""
    async with asyncio.timeout(WAIT):
        while (health := await feed.health())["state"] != state:
            await asyncio.sleep(0.02)
    return health


async def slowest(bus: Bus, ended: asyncio.Event) -> float:
    """How much longer than it should a short pause and a word with the bus took at most, seconds."""
    most, pause = 0.0, 0.02
    while not ended.is_set():
        began = time.monotonic()
        await asyncio.sleep(pause)
        await asyncio.to_thread(bus.ping)
        most = max(most, time.monotonic() - began - pause)
    return most


def test_a_line_that_carries_only_heartbeats_is_mute_and_another_takes_its_place(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    async def story() -> tuple[int, float]:
        async with live(server.url, tmp_path, mute_after=3 * SECOND) as (vendor, feed, _):
            await reaches(feed, "LIVE")
            vendor.mute, ended = True, asyncio.Event()
            slowness = asyncio.create_task(slowest(bus, ended))
            await until(lambda: vendor.logins > 1)
            vendor.mute = False
            logins = vendor.logins
            await reaches(feed, "LIVE")
            ended.set()
            return logins, await slowness

    logins, slowness = asyncio.run(story())

    rows = marks(bus)
    states = [FeedState(int(s)) for s in rows["flags"]]
    mute = rows[states.index(FeedState.MUTE)]
    assert logins == 2
    assert int(mute["at"]) - int(mute["quoted"]) <= (3 + 2 * slowness) * SECOND
    assert FeedState.LIVE in states[states.index(FeedState.MUTE) :]


def test_a_token_that_dies_in_session_waits_for_a_login_is_told_once_and_goes_on(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    async def story() -> tuple[dict[str, Any], int, int]:
        accounts = Accounts(server.url)
        async with live(server.url, tmp_path) as (vendor, feed, run):
            await reaches(feed, "LIVE")
            vendor.token = "t1"
            await vendor.cut()
            waiting = await reaches(feed, "AUTH_REQUIRED")
            await until(lambda: still_open(Alerts(bus).recent()), run)
            await asyncio.to_thread(accounts.keep, NAME, account("wrong"), None)
            await until(lambda: vendor.refusals == 2, run)
            await reaches(feed, "AUTH_REQUIRED")
            await asyncio.to_thread(accounts.keep, NAME, account("t1"), None)
            await reaches(feed, "LIVE")
            return waiting, vendor.refusals, vendor.logins

    waiting, refusals, logins = asyncio.run(story())

    told = Alerts(bus).recent()
    assert (refusals, logins) == (2, 2)
    assert "log in again" in waiting["trouble"]
    assert [(a.severity, a.over) for a in told] == [("critical", False)]
    assert "log in again" in told[0].text
    assert "t0" not in told[0].text


def test_a_feed_without_an_account_asks_nobody_until_somebody_has_logged_in(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    async def story() -> tuple[int, int]:
        async with live(server.url, tmp_path, access_token=SecretStr("")) as (vendor, feed, run):
            await until(lambda: still_open(Alerts(bus).recent()), run)
            before = vendor.logins + vendor.refusals
            await asyncio.to_thread(Accounts(server.url).keep, NAME, account("t0"), time.time_ns() + 60 * SECOND)
            await reaches(feed, "LIVE")
            return before, vendor.refusals

    assert asyncio.run(story()) == (0, 0)


def test_a_new_list_is_taken_without_a_restart_and_old_tokens_mean_nothing(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    async def story() -> dict[str, Any]:
        async with live(server.url, tmp_path) as (vendor, feed, _):
            await reaches(feed, "LIVE")
            vendor.of = reshuffled(7)
            await asyncio.to_thread(Listings(server.url).keep, listing(vendor.of, today_in_india()))
            await until(lambda: vendor.logins == 2)
            await reaches(feed, "LIVE")
            before = len(ticks(bus, 0))
            await until(lambda: len(ticks(bus, 0)) > before + 5 * len(OF))
            return await feed.health()

    health = asyncio.run(story())

    rows = ticks(bus, 0)
    expected = RoughVendor(OF).prices()
    assert health["unknown"] == 0
    assert health["listing"] == str(today_in_india())
    assert {(int(r["instrument"]), int(r["price"])) for r in rows} == set(expected.items())


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_mstock_logs_in_by_itself_and_a_refused_login_is_not_tried_again(
    server: RedisServer, bus: Bus, tmp_path: Path, password: str
) -> None:
    customer = Login()
    given = Credentials(
        user=customer.user, api_key=SecretStr(customer.api_key), totp_secret=SecretStr(customer.totp_secret),
        password=SecretStr(customer.password if password == "right" else password),
    )  # fmt: skip

    async def story() -> dict[str, Any]:
        async with playing(OF, dialect="mstock") as (_, url):
            root = url.replace("ws", "http", 1).rstrip("/")
            plan = feed_plan(
                server.url, tmp_path, url, OF, 1, vendor="mstock", access_token=SecretStr(""), account=NAME,
                credentials=given, root=root, look_seconds=0.05,
            )  # fmt: skip
            feed = Feed(plan)
            run = asyncio.create_task(feed.run())
            if password == "right":
                await asyncio.wait_for(run, WAIT)
                return await feed.health()
            async with asyncio.timeout(WAIT):
                while "unattended" not in (health := await feed.health())["trouble"]:
                    await asyncio.sleep(0.01)
            await abandon(run)
            return health

    health = asyncio.run(story())

    kept = Accounts(server.url).find(NAME)
    assert (health["ended"], kept is not None) == ((True, True) if password == "right" else (False, False))
    assert len(ticks(bus, 0)) == (health["ticks"] if password == "right" else 0)


def test_a_feed_closed_by_hand_gives_up_its_line_and_is_quiet_until_it_is_opened(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    def wish(do: Any) -> None:
        Control(bus).wish(Wish(do=do, feed="primary", at=time.time_ns(), by="a test"))

    async def story() -> tuple[str, int]:
        async with live(server.url, tmp_path) as (vendor, feed, _):
            await reaches(feed, "LIVE")
            wish("close")
            health = await reaches(feed, "DOWN")
            await until(lambda: not vendor.sockets)
            logins = vendor.logins
            wish("open")
            await reaches(feed, "LIVE")
            return str(health["trouble"]), logins

    assert asyncio.run(story()) == ("closed by hand", 1)
    assert Alerts(bus).recent() == []
    rows = marks(bus)
    down = rows[(rows["flags"] == FeedState.DOWN)][1]
    assert 0 < down["quoted"] <= down["at"]


def test_a_feed_that_starts_closed_or_with_a_dead_token_looks_before_it_asks(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    Control(bus).wish(Wish(do="close", feed="primary", at=1, by="a test"))
    Accounts(server.url).keep(NAME, account("t0"), None)

    async def story() -> tuple[int, int]:
        async with live(server.url, tmp_path, access_token=SecretStr("dead")) as (vendor, feed, _):
            async with asyncio.timeout(WAIT):
                while (await feed.health())["trouble"] != "closed by hand":
                    await asyncio.sleep(0.01)
            before = vendor.logins + vendor.refusals
            Control(bus).wish(Wish(do="open", feed="primary", at=2, by="a test"))
            await reaches(feed, "LIVE")
            return before, vendor.refusals

    assert asyncio.run(story()) == (0, 0)


def test_another_client_on_the_account_is_told_and_not_fought(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    async def story() -> int:
        async with live(server.url, tmp_path) as (vendor, feed, run):
            await reaches(feed, "LIVE")
            vendor.closing = True
            await vendor.cut()
            await until(lambda: still_open(Alerts(bus).recent()), run)
            return vendor.logins

    assert asyncio.run(story()) == 4
    assert "another client" in Alerts(bus).recent()[0].text


@pytest.mark.endurance
def test_thirty_days_pass_without_a_restart_and_without_a_missed_opening_tick(
    server: RedisServer, bus: Bus, tmp_path: Path
) -> None:
    days = [session(date(2016, 8, 1) + timedelta(days=k), closes=clock(9, 20)) for k in range(30)]
    port = 0
    pids = set()

    async def trade(day: Session, number: int, feed: Feed | None) -> Feed:
        nonlocal port
        of, rang = reshuffled(number), asyncio.Event()

        async def bell(seconds: float) -> None:
            await rang.wait()
            await asyncio.sleep(0)

        exchange = Exchange(
            of, iter([from_bars(day, bars(of, day), {})]),
            access_token=f"token-{number}", speed=1.0, port=port, sleep=bell,
        )  # fmt: skip
        url = await exchange.start()
        port = int(url.rpartition(":")[2])
        if feed is None:
            plan = feed_plan(
                server.url, tmp_path, url.replace("http", "ws") + "/", OF, 2, hold=False, account=NAME,
                sessions=tuple(days), access_token=SecretStr("yesterday's"), look_seconds=0.1,
            )  # fmt: skip
            feed = Feed(plan)
            running.append(asyncio.create_task(feed.run()))
        await reaches(feed, "AUTH_REQUIRED")
        morning = time.time_ns() + 24 * 3600 * SECOND
        await asyncio.to_thread(Accounts(server.url).keep, NAME, account(f"token-{number}"), morning)
        await asyncio.to_thread(Listings(server.url).keep, listing(of, day.date))
        with suppress(TimeoutError):  # the opening bell waits for nobody
            async with asyncio.timeout(WAIT):
                while (await feed.health())["listing"] != str(day.date) or not exchange._wanted.is_set():
                    await asyncio.sleep(0.01)
        rang.set()
        await until(lambda: exchange.step == exchange.tape.steps - 1, running[0])
        await until(lambda: market_time(bus, 2) > day.close + 30 * SECOND, running[0])
        pids.add(((await feed.health())["pid"], id(feed)))
        await exchange.stop()
        return feed

    async def story() -> dict[str, Any]:
        feed = None
        for number, day in enumerate(days):
            feed = await trade(day, number, feed)
        assert feed is not None
        await feed.stop()
        await asyncio.wait_for(running[0], WAIT)
        return await feed.health()

    running: list[asyncio.Task[None]] = []
    health = asyncio.run(story())
    fold_everything(bus, server.url, 2, sessions=tuple(days))

    rows = np.concatenate([ticks(bus, p) for p in range(2)])
    found = candles_on(bus, 2)
    found = found[found["interval"] == 60]
    assert (len(pids), health["unknown"], health["bad"]) == (1, 0, 0)
    for day in days:
        opening = rows[rows["at"] == day.open]
        assert sorted(set(opening["instrument"].tolist())) == [i.id for i in OF], f"opening ticks of {day.date}"
    wanted = np.concatenate([bars(OF, day) for day in days])
    wanted = wanted[np.lexsort((wanted["start"], wanted["instrument"]))]
    for name in ("instrument", "start", "open", "high", "low", "close", "volume"):
        assert found[name].tolist() == wanted[name].tolist(), name
    assert (found["completeness"] == 1).all()
    told = Alerts(bus).recent()
    events = [(a.at, a.over) for a in told]
    assert events == sorted(set(events))
    assert {a.severity for a in told if not a.over} == {"critical"}


def test_a_feed_that_knows_no_tokens_waits_for_its_list(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    strangers = tuple(i.model_copy(update={"tokens": {}}) for i in OF)

    async def story() -> int:
        async with live(server.url, tmp_path, instruments=strangers) as (vendor, feed, run):
            await until(lambda: bus.last("ticks", 0), run)
            before = vendor.logins
            await asyncio.to_thread(Listings(server.url).keep, listing(OF, today_in_india()))
            await reaches(feed, "LIVE")
            return before

    assert asyncio.run(story()) == 0
    assert set(marks(bus)["flags"].tolist()) >= {FeedState.DOWN, FeedState.LIVE}
