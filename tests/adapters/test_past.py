"""Past: whose candle of a day counts, and what a share was called before."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from adapters.lake import Lake
from adapters.past import Past
from adapters.schemas import candle_table
from market.candles import CANDLE, Provenance
from market.names import Names, Renamed
from market.sessions import day_number

FIRST, SECOND = date(2016, 8, 25), date(2016, 8, 26)
NOBODY = Names([])


def candle(symbol: int, day: date, close: int, interval: int = 86400, provenance: int = Provenance.LIVE) -> np.ndarray:
    rows = np.zeros(1, CANDLE)
    rows["instrument"], rows["interval"], rows["session"] = symbol, interval, day_number(day)
    rows["start"] = day_number(day) * 86_400_000_000_000 + (
        0 if provenance == Provenance.OFFICIAL else 13_500_000_000_000
    )
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name] = close
    rows["completeness"], rows["provenance"] = 1.0, provenance
    return rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def put(lake: Lake, number: int, *rows: np.ndarray) -> int | None:
    return lake.append("candles", candle_table(np.concatenate(rows), ["NSE:OLD", "NSE:NEW"]), {"test": number})


def test_the_exchanges_candle_of_a_day_counts_where_there_is_none_of_ours(lake: Lake) -> None:
    official = [candle(1, day, 1_000_000, provenance=Provenance.OFFICIAL) for day in (FIRST, SECOND)]
    put(lake, 1, *official, candle(1, SECOND, 1_020_000))

    rows = Past(lake, None, {"NSE:NEW": 7}, NOBODY).days(["NSE:NEW"], FIRST, SECOND)

    assert rows["close"].tolist() == [1_000_000, 1_020_000]
    assert rows["instrument"].tolist() == [7, 7]


def test_a_share_keeps_its_candles_when_it_is_renamed(lake: Lake) -> None:
    put(lake, 1, candle(0, FIRST, 1_000_000, 60), candle(1, SECOND, 1_020_000, 60), candle(0, SECOND, 5_000_000, 60))
    names = Names([Renamed("NSE:OLD", "NSE:NEW", SECOND)])

    rows = Past(lake, None, {"NSE:NEW": 0}, names).minutes(["NSE:NEW"], FIRST, SECOND)

    assert rows["close"].tolist()[0] == 1_000_000
    assert (rows["instrument"] == 0).all()


def test_a_version_does_not_see_what_came_later(lake: Lake) -> None:
    version = put(lake, 1, candle(1, FIRST, 1_000_000, 60))
    put(lake, 2, candle(1, SECOND, 1_020_000, 60))

    rows = [Past(lake, v, {"NSE:NEW": 0}, NOBODY).minutes(["NSE:NEW"], FIRST, SECOND) for v in (version, None)]

    assert [len(r) for r in rows] == [1, 2]
    assert len(Past(lake, version, {"NSE:NEW": 0}, NOBODY).days(["NSE:NEW"], FIRST, SECOND)) == 0
