"""The IPO desk's turns, over a real Postgres, a real bus and a board on loopback: taken, told once."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from adapters.alerts import Alerts, IssueAlerts
from adapters.bus import Bus
from adapters.ipos import Book
from adapters.lake import Lake
from adapters.schemas import candle_table
from market.alerts import still_open
from market.candles import CANDLE, Provenance
from market.holidays import nse_sessions
from market.ipo import registry, specimens
from market.ipo.alerts import IssueEvent
from market.ipo.asking import Asking
from market.ipo.pages import Page, Unread
from market.ipo.validation import Limits
from market.ipo.visiting import TRIPS
from market.money import SCALE, UNKNOWN, money
from market.sessions import DAY, MINUTE, day_number
from pipelines import desk, ipos
from pipelines.desk import FEAR, INDEX, SOURCE_DOWN, Crier
from tests.market.ipo.issues import AMBER, ISSUES, NOW
from tests.pipelines.desk import changed, take
from tests.pipelines.test_visits import visited

SESSIONS = nse_sessions(date(2024, 11, 1), date(2025, 2, 28))


@pytest.fixture
def crier(bus: Bus) -> Crier:
    """Who tells on the bus."""
    return Crier(Alerts(bus), IssueAlerts(bus))


class Site:
    """IPOWatch's board; `down`: it answers 503; `broken`: with a page that has no board."""

    def __init__(self) -> None:
        self.down, self.broken = False, False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503)
        body = b"<html><body><p>We have moved</p></body></html>"
        return web.Response(body=body if self.broken else specimens.ipowatch_board(ISSUES, NOW))


def refresh(book: Book, root: str, folder: Path, crier: Crier | None, begin: int) -> desk.Refreshed:
    """One refresh that begins at an instant: six minutes go by at each look at the clock, so one round is all."""
    readers = registry.readers({"ipowatch": Asking(url=root, robots=False)})
    ticks = count(begin, 6 * MINUTE)
    return desk.refresh(book, readers, folder, crier, lambda: next(ticks))


def turn(book: Book, now: int, crier: Crier | None) -> desk.Round:
    return desk.turn(book, now, SESSIONS, desk.history(Path("no such folder")), crier)


def test_what_a_refresh_takes_a_round_believes_and_tells_once(book: Book, crier: Crier, tmp_path: Path) -> None:
    async def story(root: str) -> desk.Refreshed:
        return await asyncio.to_thread(refresh, book, root, tmp_path / "visits", crier, NOW)

    found = visited(Site().answer, story)
    first, second = turn(book, NOW + MINUTE, crier), turn(book, NOW + 31 * MINUTE, crier)
    told = [one for _, one in crier.issues.since()]

    assert (found.pages, found.alarms, found.failed, found.down) == (1, 0, 0, {})
    assert found.issues == len(ISSUES) and found.premiums > 0
    assert first.believed == second.believed > 0 and first.trouble == second.trouble == ()
    assert first.told == len(told) > 0 and second.told == 0
    assert {one.event for one in told} >= {IssueEvent.NEW}
    assert len({one.topic for one in told}) == len(told)


def test_what_nobody_could_be_told_waits_for_the_next_round(book: Book, crier: Crier, bus: Bus, tmp_path: Path) -> None:
    async def story(root: str) -> desk.Refreshed:
        return await asyncio.to_thread(refresh, book, root, tmp_path / "visits", None, NOW)

    visited(Site().answer, story)
    nowhere = Bus("redis://127.0.0.1:1/0")
    alone = turn(book, NOW + MINUTE, None)
    away = turn(book, NOW + 2 * MINUTE, Crier(Alerts(nowhere), IssueAlerts(nowhere)))
    back = turn(book, NOW + 3 * MINUTE, crier)

    assert alone.told == away.told == 0 and alone.trouble == ()
    assert len(away.trouble) == 1 and f"{back.told} alerts wait" in away.trouble[0]
    assert len(crier.issues.since()) == back.told > 0


@pytest.mark.parametrize(
    ("limits", "spikes"), [(None, 0), (Limits(relative_spike=0.08), 1), (Limits(spike_points=1), 1)]
)
def test_a_round_tells_what_is_a_spike_in_this_deployment(book: Book, limits: Limits | None, spikes: int) -> None:
    none = desk.history(Path("no such folder"))
    for k, gmp in enumerate(("41.5", "46")):  # a tenth more, and 1.4 points of the issue price
        take(book, changed(AMBER, gmp=money(gmp), at=NOW + k * MINUTE), at=NOW + k * MINUTE)
        desk.turn(book, NOW + k * MINUTE, SESSIONS, none, None, limits)

    with book.looking() as run:
        assert [one.event for one in run.unsent()].count(IssueEvent.SPIKE) == spikes


def test_a_source_that_is_down_is_told_of_until_it_answers(book: Book, crier: Crier, tmp_path: Path) -> None:
    site = Site()

    async def story(root: str) -> list[desk.Refreshed]:
        found = [await asyncio.to_thread(refresh, book, root, tmp_path / "visits", crier, NOW)]
        site.down = True
        for k in range(TRIPS + 1):
            begin = NOW + (k + 1) * DAY
            found.append(await asyncio.to_thread(refresh, book, root, tmp_path / "visits", crier, begin))
            heard = still_open(crier.operator.recent())
            assert [one.kind for one in heard] == ([SOURCE_DOWN] if k + 1 >= TRIPS else [])
        site.down = False
        begin = NOW + (TRIPS + 3) * DAY
        found.append(await asyncio.to_thread(refresh, book, root, tmp_path / "visits", crier, begin))
        return found

    found = visited(site.answer, story)
    told = crier.operator.recent()

    assert [one.failed for one in found] == [0, *[1] * (TRIPS + 1), 0]
    assert found[TRIPS].down == {"ipowatch": found[TRIPS].down["ipowatch"]} and "503" in found[TRIPS].down["ipowatch"]
    assert [(one.subject, one.over) for one in told] == [("ipowatch", False), ("ipowatch", True)]
    assert "503" in told[0].text and told[0].at > NOW + TRIPS * DAY


def test_each_outage_is_told_of_whenever_it_comes(book: Book, crier: Crier, tmp_path: Path) -> None:
    site = Site()

    async def story(root: str) -> None:
        begin = NOW
        for down in (False, *[True] * TRIPS, False, *[True] * TRIPS):
            site.down, begin = down, begin + DAY
            await asyncio.to_thread(refresh, book, root, tmp_path / "visits", crier, begin)

    visited(site.answer, story)

    assert [one.over for one in crier.operator.recent()] == [False, True, False]
    assert len(still_open(crier.operator.recent())) == 1


def test_an_alert_of_which_nobody_can_make_anything_any_more_is_not_told(
    book: Book, crier: Crier, tmp_path: Path
) -> None:
    async def story(root: str) -> desk.Refreshed:
        return await asyncio.to_thread(refresh, book, root, tmp_path / "visits", None, NOW)

    visited(Site().answer, story)
    turn(book, NOW + MINUTE, None)
    evening = turn(book, NOW + 7 * 60 * MINUTE, crier)
    told = {one.event for _, one in crier.issues.since()}

    assert evening.late > 0 and evening.told > 0
    assert IssueEvent.CLOSING not in told and IssueEvent.NEW in told
    with book.looking() as run:
        assert run.unsent() == []


def test_a_page_that_tells_nothing_is_an_alarm_until_it_can_be_read(book: Book, crier: Crier, tmp_path: Path) -> None:
    site = Site()

    async def story(root: str) -> list[desk.Refreshed]:
        found = []
        for k, broken in enumerate((False, True, True, False)):
            site.broken = broken
            begin = NOW + k * DAY
            found.append(await asyncio.to_thread(refresh, book, root, tmp_path / "visits", crier, begin))
        return found

    found = visited(site.answer, story)
    told = crier.operator.recent()

    assert [one.alarms for one in found] == [0, 1, 1, 0]
    assert [(one.kind, one.over) for one in told] == [("ipo_page", False), ("ipo_page", True)]


def test_a_page_the_book_cannot_hold_is_an_alarm_and_the_others_are_taken(
    book: Book, crier: Crier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ipos.take

    def breaks(book: Book, page: Page | Unread, *words: Any, **more: Any) -> ipos.Taken:
        if isinstance(page, Page) and page.source == "ipowatch":
            page = page.model_copy(update={"gmps": tuple(g.model_copy(update={"gmp": 10**19}) for g in page.gmps)})
        return real(book, page, *words, **more)

    monkeypatch.setattr(ipos, "take", breaks)

    async def answer(request: web.Request) -> web.StreamResponse:
        board = specimens.ipowatch_board if "ipowatch" in request.path else specimens.investorgain_board
        return web.Response(body=board(ISSUES, NOW) if board is specimens.ipowatch_board else board(ISSUES))

    async def story(root: str) -> desk.Refreshed:
        asked = {name: Asking(url=f"{root}/{name}", robots=False) for name in ("ipowatch", "investorgain")}
        ticks = count(NOW, 6 * MINUTE)
        readers = registry.readers(asked)
        folder = tmp_path / "visits"
        return await asyncio.to_thread(desk.refresh, book, readers, folder, crier, lambda: next(ticks))

    found = visited(answer, story)
    with book.looking() as run:
        (alarm,) = run.alarms()
        names = run.every()

    assert found.pages == 2 and found.alarms == 1 and found.failed == 0
    assert alarm.source == "ipowatch" and "numbers within their range" in alarm.trouble
    assert len(names) == len(ISSUES)
    assert [one.subject for one in still_open(crier.operator.recent())] == ["ipowatch board"]


def test_the_market_s_days_come_from_the_lake_behind_those_of_the_history(tmp_path: Path) -> None:
    lake, last = Lake(str(tmp_path / "lake")), date(2025, 1, 10)
    days = [date(2025, 1, 6) + timedelta(days=k) for k in range(5)]
    rows = np.zeros(10, CANDLE)
    rows["instrument"] = [0] * 5 + [1] * 5
    rows["interval"], rows["provenance"], rows["completeness"], rows["vwap"] = 86_400, Provenance.LIVE, 1.0, UNKNOWN
    rows["session"] = [day_number(day) for day in days] * 2
    rows["start"] = rows["session"].astype("i8") * DAY
    rows["close"] = [(23_000 + k) * SCALE for k in range(5)] + [int(14.5 * SCALE)] * 5
    lake.append("candles", candle_table(rows, [INDEX, FEAR]), {"test": 1})
    known = desk.history(Path("no such folder"))
    before = np.zeros(2, known.market.dtype)
    before["day"], before["nifty"], before["vix"] = [day_number(days[0]), day_number(days[1])], [1.0, 2.0], np.nan

    fresh = desk.with_market(known, lake, last).market
    more = desk.with_market(known._replace(market=before), lake, last).market

    assert fresh["day"].tolist() == [day_number(day) for day in days]
    assert fresh["nifty"].tolist() == [23_000.0 + k for k in range(5)] and set(fresh["vix"].tolist()) == {14.5}
    assert more["nifty"].tolist() == [1.0, 2.0, 23_002.0, 23_003.0, 23_004.0]
