"""Recorded days of NSE, live and in bulk."""

from pathlib import Path

import numpy as np
import pytest

from market.candles import CANDLE, Provenance
from market.features import Window, compute, market_of, members_of, sums
from market.features.audit import agreement
from market.instruments import Instrument, Kind
from market.sessions import MINUTE, Sessions, session

BARS = Path(__file__).resolve().parents[3] / ".." / "shared" / "fixtures" / "market" / "nse_1min_2016" / "bars.parquet"
SYMBOLS = ["RELIANCE", "SBIN", "INFY", "MRF", "INDIAVIX"]


@pytest.fixture(scope="module")
def recorded():
    if not BARS.exists():
        pytest.skip("the recorded minutes are not beside the repository")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(BARS)
    found = sorted(set(table["symbol"].to_pylist()) & set(SYMBOLS))
    rows = table.filter(np.isin(table["symbol"].to_numpy(zero_copy_only=False), found)).sort_by("ts")
    stamps = rows["ts"].cast(pa.timestamp("ns", "Asia/Kolkata")).cast("int64").to_numpy()
    names = rows["symbol"].to_numpy(zero_copy_only=False)
    candles = np.zeros(len(rows), CANDLE)
    candles["instrument"], candles["start"], candles["interval"] = np.searchsorted(found, names), stamps, 60
    candles["session"] = (stamps + 330 * MINUTE) // (86_400 * 1_000_000_000)
    for name in ("open", "high", "low", "close"):
        candles[name] = np.rint(rows[name].to_numpy() * 10_000)
    candles["volume"] = rows["volume"].to_numpy()
    candles["trades"], candles["provenance"] = 1, Provenance.REPAIRED
    return found, candles[np.isin(candles["session"], np.unique(candles["session"])[:3])]


def test_features_of_recorded_sessions_are_the_same_live_as_in_bulk(recorded):
    found, candles = recorded
    members = members_of(_instrument(i, name) for i, name in enumerate(found))
    days = np.unique(candles["session"]).tolist()
    table = Sessions([session(np.datetime64(day, "D").item()) for day in days]).table()
    of = [candles[candles["instrument"] == i] for i in range(len(found))]
    market = market_of([sums(rows, candles[:0], members, table) for rows in of], members)
    window = Window(range(len(found)), members, table)
    starts = np.unique(candles["start"])
    restarts = {500, 900}

    made = []
    for k, start in enumerate(starts):
        if k in restarts:
            window = Window(range(len(found)), members, table)
            window.warm(candles[candles["start"] < start], candles[:0])
        made.append(window.step(candles[candles["start"] == start]))

    expected = np.concatenate([compute(rows, candles[:0], market, table) for rows in of])
    live = np.concatenate(made)
    result = agreement(live[np.lexsort((live["start"], live["instrument"]))], expected)
    print(f"{result.values:,} values of {result.rows:,} rows, worst {result.worst:.1e} ({result.where})")
    assert len(found) >= 4
    assert result.values > 300_000
    assert result.holds, result


def _instrument(number, name):
    if name == "INDIAVIX":
        return Instrument(id=number, symbol="NSE:INDIA VIX", kind=Kind.INDEX)
    return Instrument(id=number, symbol=f"NSE:{name}", sector="Some")
