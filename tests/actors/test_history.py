"""History: what windows start from is the lake as of one version, whatever is written to it meanwhile."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from actors.history import Basis, History
from actors.plans import AnalysisPlan
from adapters.bus import Bus
from adapters.lake import Lake
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table
from market.candles import CANDLE, Candles, Provenance
from market.instruments import partition_of
from market.sessions import MINUTE, Session, day_number, session
from tests.actors.day import instruments

OF = instruments()
PARTITIONS = 2
MONDAY = date(2016, 8, 22)
WEEK = tuple(session(MONDAY + timedelta(days=k)) for k in range(5))
MINUTES = 3


def candles(of: Session) -> Candles:
    """The first three minutes of every instrument, and its daily candle."""
    rows = np.zeros((len(OF), MINUTES + 1), CANDLE)
    rows["instrument"] = np.arange(len(OF))[:, None]
    rows["interval"], rows["interval"][:, -1] = 60, 86400
    rows["start"] = of.open + np.array([0, 1, 2, 0]) * MINUTE
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name] = 1_000_000
    rows["session"], rows["completeness"], rows["provenance"] = day_number(of.date), 1.0, Provenance.LIVE
    return rows.ravel()


def history(lake: Path, bus: Bus, url: str) -> History:
    plan = AnalysisPlan(
        bus=url, cache=url, partitions=PARTITIONS, instruments=OF, sessions=WEEK, mine=(0,), lake=str(lake)
    )
    return History(plan, bus)


def keep(lake: Path, rows: Candles, cursors: dict[str, int]) -> None:
    writer = Lake(str(lake))
    writer.cursors("candles", list(cursors))
    writer.append("candles", candle_table(rows, [i.symbol for i in OF]), cursors)


def test_a_lake_that_grows_while_it_is_read_loses_no_session(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for k, day in enumerate(WEEK[:4], 1):
        keep(lake, candles(day), {"test": k})
    reader = history(lake, bus, server.url)
    basis = reader.newest().model_copy(update={"session": day_number(WEEK[4].date)})

    older = np.concatenate(list(reader.older(basis, 0, WEEK[4].date)))
    keep(lake, candles(WEEK[4]), {"other": 1})
    recent = reader.recent(basis, 0, WEEK[4].date)

    mine = {i.id for i in OF if partition_of(i, PARTITIONS) == 0}
    found = np.concatenate([older, recent.minutes[np.isin(recent.minutes["instrument"], list(mine))]])
    expected = [(i, s.open + k * MINUTE) for i in mine for s in WEEK[:4] for k in range(MINUTES)]
    assert sorted(found[["instrument", "start"]].tolist()) == sorted(expected)
    assert recent.after == WEEK[3].open + 2 * MINUTE
    assert recent.pending == {}


def test_a_basis_holds_nothing_that_is_still_to_be_done(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    lake, mine = tmp_path / "lake", f"{bus.identity()}:candles:0"
    keep(lake, candles(WEEK[0]), {mine: 10})
    keep(lake, candles(WEEK[1]), {mine: 20})
    reader = history(lake, bus, server.url)

    bases = [reader.within(0, entry, 7) for entry in (5, 20, 21)]

    assert [b.cursors for b in bases] == [(0, 0), (10, 0), (20, 0)]
    assert [len(reader.recent(b, 0, WEEK[1].date).minutes) for b in bases] == [0, 18, 36]
    assert [reader.holds(b) for b in [*bases, Basis(version=99, cursors=(0, 0))]] == [True, True, True, False]


def test_what_others_closed_before_us_waits(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    lake, rows = tmp_path / "lake", candles(WEEK[0])
    home = np.array([partition_of(i, PARTITIONS) for i in OF])[rows["instrument"]]
    early = (home == 1) | (rows["start"] == WEEK[0].open)
    keep(lake, rows[early], {"test": 1})
    reader = history(lake, bus, server.url)

    recent = reader.recent(reader.newest(), 0, WEEK[0].date)

    theirs = sum(partition_of(i, PARTITIONS) == 1 for i in OF)
    assert recent.after == WEEK[0].open
    assert len(recent.minutes) == len(OF)
    assert recent.pending[1]["start"].tolist() == [WEEK[0].open + k * MINUTE for k in (1, 2) for _ in range(theirs)]
