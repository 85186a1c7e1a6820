"""A day for chaos to happen on: minutes of made-up shares, and what every table must hold of them afterwards.

The truth is computed here with pandas from the minutes themselves; none of the code that folds ticks live is used.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

DAY = date(2024, 3, 14)
OPEN = pd.Timestamp("2024-03-14 09:15", tz="Asia/Kolkata").tz_convert("UTC")
MINUTES = 375
SHARES = 24
QUIET = 0.15
"""The share of minutes in which an instrument does not trade."""
INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "1d": MINUTES}
"""Minutes of each interval, all counted from the open."""
PRICES = ["open", "high", "low", "close"]
KEY = ["symbol", "interval", "start"]


def bars(seed: int) -> pd.DataFrame:
    """One-minute bars: symbol, ts, open, high, low, close in rupees (steps of 0.05), volume in shares."""
    rng = np.random.default_rng(seed)
    shape = (SHARES, MINUTES)
    first = rng.integers(2_000, 60_000, SHARES)
    closes = first[:, None] + np.cumsum(rng.integers(-20, 21, shape), axis=1)
    closes = np.maximum(closes, 500)
    opens = np.maximum(closes + rng.integers(-12, 13, shape), 400)
    highs = np.maximum(opens, closes) + rng.integers(0, 9, shape)
    lows = np.minimum(opens, closes) - rng.integers(0, 9, shape)
    traded = rng.random(shape) >= QUIET
    traded[:, 0] = True
    stamps = OPEN + pd.to_timedelta(np.arange(MINUTES), unit="min")
    found = pd.DataFrame(
        {
            "symbol": np.repeat([f"NSE:CHAOS{k:02}" for k in range(SHARES)], MINUTES),
            "ts": np.tile(stamps, SHARES),
            **{name: (a * 5).ravel() / 100 for name, a in zip(PRICES, (opens, highs, lows, closes), strict=True)},
            "volume": rng.integers(10, 5_000, shape).ravel(),
        }
    )
    return found[traded.ravel()].reset_index(drop=True)


def record(path: Path, rows: pd.DataFrame) -> None:
    """Write the bars as a recording that can be replayed."""
    rows.to_parquet(path, index=False)


def candles(rows: pd.DataFrame) -> pd.DataFrame:
    """What the table `candles` must hold: symbol, interval, start, prices in 1/10,000, volume, traded; sorted."""
    whole = pd.MultiIndex.from_product([rows["symbol"].unique(), range(MINUTES)], names=["symbol", "minute"])
    minute = ((rows["ts"] - OPEN) // pd.Timedelta(minutes=1)).astype(int)
    at = rows.assign(minute=minute).set_index(["symbol", "minute"])[[*PRICES, "volume"]].reindex(whole)
    traded = at["volume"].notna()
    last = at["close"].groupby(level="symbol").ffill()
    for name in PRICES:
        at[name] = (at[name].where(traded, last) * 10_000).round().astype("int64")
    at["volume"] = at["volume"].fillna(0).astype("int64")
    at = at.assign(traded=traded).reset_index()
    found = []
    for name, minutes in INTERVALS.items():
        rolled = _rolled(at.assign(bucket=at["minute"] // minutes))
        rolled["start"] = OPEN + pd.to_timedelta(rolled["bucket"] * minutes, unit="min")
        found.append(rolled.assign(interval=name).drop(columns="bucket"))
    return pd.concat(found).sort_values(KEY).reset_index(drop=True)


def _rolled(minutes: pd.DataFrame) -> pd.DataFrame:
    """One row of each (symbol, bucket): of its traded minutes if there are any, else of the last price."""
    by = ["symbol", "bucket"]
    minutes = minutes[minutes["traded"] | ~minutes.groupby(by)["traded"].transform("any")]
    return minutes.groupby(by, sort=True).agg(
        open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"),
        volume=("volume", "sum"), traded=("traded", "any"),
    ).reset_index()  # fmt: skip
