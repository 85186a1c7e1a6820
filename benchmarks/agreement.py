"""Agreement: our daily candles of replayed sessions against the exchange's own, as `bourse reconcile` scores them.

Reads a lake that `bourse replay` filled, named by BOURSE_LAKE, and official daily figures, a parquet file with `symbol,
date, open, high, low, close, volume` in rupees, named by BOURSE_OFFICIAL.
"""

from __future__ import annotations

import os
from datetime import date, time

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from adapters.lake import Lake
from adapters.surveys import compare
from benchmarks.report import Report
from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.instruments import Instrument
from market.money import from_floats
from market.sessions import at, day_number

FIELDS = ("open", "high", "low", "close")


def run(out: Report) -> None:
    """Score every session that the lake and the official file both have."""
    lake, path = os.environ.get("BOURSE_LAKE"), os.environ.get("BOURSE_OFFICIAL")
    if not lake or not path:
        out.say("BOURSE_LAKE and BOURSE_OFFICIAL name nothing: see the docstring")
        return
    store = Lake(lake)
    for day in store.sessions("candles"):
        symbols = sorted(set(store.read_candles(None, "1d", day, day)["symbol"].to_pylist()))
        instruments = [Instrument(id=k, symbol=symbol) for k, symbol in enumerate(symbols)]
        theirs = official(path, day, {i.symbol: i.id for i in instruments})
        found = compare(store, instruments, day, theirs)
        for score in found.fields:
            case = f"{day} {score.field}, {score.compared} shares"
            out.add(case, "exact share", round(score.exact, 4))
            out.add(case, "near share", round(score.near, 4))
            out.add(case, "median apart, 1e-4", round(score.median * 1e4, 3))
            for worst in score.worst[:2]:
                out.say(f"{day} {score.field} {worst.symbol}: {worst.ours} here, {worst.official} at the exchange")


def official(path: str, day: date, ids: dict[str, int]) -> Candles:
    """The official daily candles of a day of those symbols that we have too."""
    table = parquet.read_table(path, filters=[("date", "==", np.datetime64(day, "us").item())])
    names = [s if ":" in s else f"NSE:{s}" for s in pc.cast(table["symbol"], "string").to_pylist()]
    rows = np.zeros(table.num_rows, CANDLE)
    rows["instrument"] = [ids.get(name, -1) for name in names]
    for field in FIELDS:
        rows[field] = from_floats(table[field].to_numpy())
    rows["volume"] = table["volume"].to_numpy()
    rows["interval"], rows["start"], rows["session"] = INTERVALS["1d"], at(day, time(0)), day_number(day)
    rows["provenance"], rows["completeness"] = Provenance.OFFICIAL, 1.0
    return rows[rows["instrument"] >= 0]
