"""Backfill, end to end: from the simulated exchange's history, of every vendor that has one, into a lake."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from pydantic import SecretStr

from adapters.exchange import Exchange
from adapters.lake import Lake
from adapters.redis_server import RedisServer
from adapters.schemas import candle_rows
from market.candles import Provenance
from market.codecs import Account
from market.errors import AuthRequired, BadValue
from market.holidays import nse_sessions
from market.sessions import MINUTE, session
from pipelines.backfill import BackfillPlan, Report, run
from pipelines.repair import VENDORS
from tests.actors.day import SESSION, TOKEN, bars, instruments, tape, until

OF = instruments()
NEXT = session(date(2016, 8, 26))
SYMBOLS = tuple(i.symbol for i in OF)
ACCOUNT = Account(api_key=SecretStr("demo"), access_token=SecretStr(TOKEN))
FACTS = ("open", "high", "low", "close", "volume")


def quiet(share: float, text: str) -> None:
    """Nobody looks."""


def plan(lake: Path, root: str, **more: object) -> BackfillPlan:
    told = {
        "lake": str(lake), "cache": None, "instruments": OF, "sessions": (SESSION,), "symbols": SYMBOLS,
        "interval": "1m", "now": SESSION.close + 10 * MINUTE, "vendor": "kite", "root": root, "account": ACCOUNT,
    }  # fmt: skip
    return BackfillPlan.model_validate({**told, **more})


async def backfill(lake: Path, root: str, **more: object) -> Report:
    return await asyncio.to_thread(run, plan(lake, root, **more), quiet)


@asynccontextmanager
async def played(vendor: str) -> AsyncIterator[str]:
    """An exchange whose day is over."""
    server = Exchange(OF, iter([tape(OF)]), access_token=TOKEN, speed=1e5, dialect=vendor)
    root = await server.start() + urlsplit(VENDORS[vendor].root).path
    await until(lambda: server.clock >= SESSION.close)
    try:
        yield root
    finally:
        await server.stop()


@pytest.mark.parametrize("vendor", ["kite", "flattrade", "mstock"])
def test_the_minutes_of_a_day_come_in_as_they_were_and_are_asked_for_once(tmp_path: Path, vendor: str) -> None:
    async def story() -> None:
        async with played(vendor) as root:
            first = await backfill(tmp_path, root, vendor=vendor)
            again = await backfill(tmp_path, root, vendor=vendor)

        recorded = bars(OF)
        rows = candle_rows(
            Lake(str(tmp_path)).read_candles(None, "1m", SESSION.date, SESSION.date), {i.symbol: i.id for i in OF}
        )
        rows.sort(order=["instrument", "start"])
        assert [rows[name].tolist() for name in FACTS] == [recorded[name].tolist() for name in FACTS]
        assert set(rows["provenance"].tolist()) == {Provenance.IMPORTED}
        assert first.requests - first.throttled == 6
        assert (first.tally.added, first.missing, first.failures) == (len(recorded), (), ())
        assert (again.requests, again.skipped, again.tally.added) == (0, 6, 0)

    asyncio.run(story())


@pytest.mark.parametrize("vendor", ["kite", "mstock"])
def test_days_come_in_and_a_day_before_the_first_one_is_missing(tmp_path: Path, vendor: str) -> None:
    days = tuple(nse_sessions(date(2016, 8, 22), date(2016, 8, 24)))

    async def story() -> None:
        async with played(vendor) as root:
            found = await backfill(tmp_path, root, vendor=vendor, interval="1d", sessions=(*days, SESSION))
            again = await backfill(tmp_path, root, vendor=vendor, interval="1d", sessions=(*days, SESSION))

        rows = candle_rows(
            Lake(str(tmp_path)).read_candles(None, "1d", SESSION.date, SESSION.date), {i.symbol: i.id for i in OF}
        )
        rows.sort(order="instrument")
        recorded = bars(OF).reshape(len(OF), -1)
        assert rows["high"].tolist() == recorded["high"].max(axis=1).tolist()
        assert rows["close"].tolist() == recorded["close"][:, -1].tolist()
        assert set(rows["start"].tolist()) == {SESSION.open}
        assert (found.requests - found.throttled, found.tally.added, len(found.missing)) == (6, 6, 6)
        assert {(m.first, m.last, m.reason) for m in found.missing} == {
            (date(2016, 8, 22), date(2016, 8, 24), f"not listed yet, or before what {vendor} has")
        }
        assert (again.requests, again.missing) == (0, found.missing)

    asyncio.run(story())


def test_a_vendor_without_days_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="1m: no daily candles of FlatTrade's"):
        run(plan(tmp_path, "http://127.0.0.1:1", vendor="flattrade", interval="1d"), quiet)


def test_an_instrument_that_nobody_has_a_number_for_is_missing_and_the_rest_goes_on(tmp_path: Path) -> None:
    stranger = OF[0].model_copy(update={"tokens": {}})

    async def story() -> None:
        async with played("kite") as root:
            found = await backfill(tmp_path, root, instruments=(stranger, *OF[1:]))

        assert [failure.symbol for failure in found.failures] == [stranger.symbol]
        assert [(m.symbol, m.sessions) for m in found.missing] == [(stranger.symbol, 1)]
        assert found.tally.added == 5 * SESSION.minutes

    asyncio.run(story())


@asynccontextmanager
async def troubled(answers: list[tuple[int, str]]) -> AsyncIterator[tuple[str, list[str]]]:
    """A Kite that answers a request for each instrument once; and the instruments it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path.split("/")[3])
        status, body = answers[min(len(asked), len(answers)) - 1]
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/instruments/historical/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def candles(*rows: str) -> tuple[int, str]:
    return 200, f'{{"status": "success", "data": {{"candles": [{", ".join(rows)}]}}}}'


GOOD = '["2016-08-25T09:15:00+0530", 10, 11, 9, 10.5, 7]'
LATE = '["2016-08-25T15:31:00+0530", 10, 11, 9, 10.5, 7]'
EXPIRED = 403, '{"status": "error", "error_type": "TokenException", "message": "expired"}'


def test_what_was_answered_before_the_token_ended_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with troubled([candles(GOOD), candles(), EXPIRED]) as (root, asked):
            with pytest.raises(AuthRequired):
                await backfill(tmp_path, root)
        kept = len(Lake(str(tmp_path)).dataset("candles").to_table())
        async with troubled([candles(GOOD)]) as (root, more):
            found = await backfill(tmp_path, root)

        assert (len(asked), kept) == (3, 1)
        assert more == [str(i.tokens["kite"]) for i in OF[2:]]
        assert (found.skipped, found.tally.added) == (2, 4)
        assert [m.symbol for m in found.missing] == [SYMBOLS[1]]

    asyncio.run(story())


def test_a_candle_that_cannot_be_lies_in_quarantine(tmp_path: Path) -> None:
    async def story() -> None:
        async with troubled([candles(GOOD, LATE)]) as (root, _):
            found = await backfill(tmp_path, root, symbols=SYMBOLS[:1])

        assert (found.tally.added, sum(found.tally.refused.values())) == (1, 1)
        [row] = Lake(str(tmp_path)).dataset("quarantine").to_table().to_pylist()
        assert (row["symbol"], row["reason"]) == (SYMBOLS[0], "outside the hours of trading")
        assert row["file"] == f"kite 1m {SYMBOLS[0]} 2016-08-25 to 2016-08-25"

    asyncio.run(story())


def test_spans_are_no_longer_than_the_vendor_gives(tmp_path: Path) -> None:
    spans: list[tuple[str, str]] = []

    async def story() -> None:
        async def answer(request: web.Request) -> web.Response:
            asked = parse_qs(request.query_string)
            spans.append((asked["from"][0], asked["to"][0]))
            return web.Response(text=candles()[1], content_type="application/json")

        app = web.Application()
        app.router.add_get("/{rest:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        days = tuple(nse_sessions(date(2016, 5, 2), date(2016, 8, 24)))
        await backfill(tmp_path, root, sessions=days, symbols=SYMBOLS[:1])
        await runner.cleanup()

    asyncio.run(story())

    assert spans == [("2016-05-02 09:15:00", "2016-06-30 15:29:00"), ("2016-07-01 09:15:00", "2016-08-24 15:29:00")]


def test_turns_are_shared_where_there_is_a_redis(tmp_path: Path, server: RedisServer) -> None:
    async def story() -> None:
        async with played("kite") as root:
            found = await backfill(tmp_path, root, cache=server.url, symbols=SYMBOLS[:2])

        assert found.tally.added == 2 * SESSION.minutes

    asyncio.run(story())


BACKFILLER = """
import sys
from pathlib import Path
from pipelines.backfill import run
from tests.pipelines.test_backfill import august, quiet

run(august(Path(sys.argv[1]), sys.argv[2]), quiet)
"""


def august(lake: Path, root: str) -> BackfillPlan:
    """Ten sessions of one share, two days at a time."""
    days = tuple(nse_sessions(date(2016, 8, 1), date(2016, 8, 12)))
    return plan(lake, root, vendor="mstock", sessions=days, symbols=SYMBOLS[:1])


@pytest.mark.endurance
def test_a_kill_half_way_and_a_second_run_ask_for_everything_once_but_what_was_under_way(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((await request.json())["fromdate"])
        data = {"candles": [[asked[-1], 10, 11, 9, 10.5, 7]]}
        return web.json_response({"status": True, "message": "SUCCESS", "errorcode": "", "data": data})

    async def story() -> Report:
        app = web.Application()
        app.router.add_post("/{rest:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        known = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        words = ("-c", BACKFILLER, str(tmp_path), root)
        one = await asyncio.create_subprocess_exec(sys.executable, *words, env=known)
        await until(lambda: len(asked) >= 3)
        one.kill()
        await one.wait()
        found = await asyncio.to_thread(run, august(tmp_path, root), quiet)
        await runner.cleanup()
        return found

    found = asyncio.run(story())

    rows = Lake(str(tmp_path)).dataset("candles").to_table()
    assert len(set(asked)) == 6
    assert found.skipped >= 2 and len(asked) - 6 <= 1
    starts = [start + timedelta(minutes=330) for start in rows["start"].to_pylist()]
    assert sorted(f"{start:%Y-%m-%d %H:%M}" for start in starts) == sorted(set(asked))
