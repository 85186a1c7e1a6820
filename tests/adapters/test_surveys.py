"""Surveys: in which sessions a minute has no features yet."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from adapters.lake import Lake
from adapters.schemas import candle_table, feature_table
from adapters.surveys import without_features
from market.candles import CANDLE, Provenance
from market.features import FEATURE, NAMES, SET
from market.money import UNKNOWN
from market.sessions import MINUTE, day_number, session

DAYS = (date(2016, 8, 24), date(2016, 8, 25), date(2016, 8, 26))


def test_sessions_in_which_a_minute_has_no_features_are_named_and_other_symbols_do_not_count(tmp_path: Path) -> None:
    lake, symbols = Lake(str(tmp_path / "lake")), ("NSE:RELIANCE", "NSE:TCS")
    rows = np.zeros(12, CANDLE)
    rows["instrument"], rows["interval"] = np.repeat([0, 1], 6), 60
    opens = [session(day).open + k * MINUTE for day in DAYS for k in range(2)]
    rows["start"], rows["session"] = opens * 2, [day_number(day) for day in DAYS for _ in range(2)] * 2
    rows["open"] = rows["high"] = rows["low"] = rows["close"] = 1_000_000
    rows["provenance"], rows["vwap"] = Provenance.LIVE, UNKNOWN
    lake.append("candles", candle_table(rows, symbols), {"test": 1})
    none_yet = without_features(lake, symbols, (DAYS[0], DAYS[1]), SET)
    known = np.zeros(5, FEATURE)  # of the first share all but the second day's last minute, and nothing of the other
    kept = rows[[0, 1, 2, 4, 5]]
    for name in ("instrument", "session", "start"):
        known[name] = kept[name]
    lake.append("features", feature_table(known, symbols, SET, NAMES, ("",)), {"test": 1})

    found = [without_features(lake, of, (DAYS[0], DAYS[2]), SET) for of in (symbols[:1], symbols)]

    assert none_yet == [*DAYS[:2]]
    assert found == [[DAYS[1]], [*DAYS]]
