"""Check: what a lake holds against what it must, with nothing but a Delta reader and pandas in between."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from deltalake import DeltaTable

from cluster.chaos.market import KEY, PRICES

SHOWN = 5
TICK = ["symbol", "at", "price", "day_volume"]


class Finding:
    """How many rows of which table were compared, and every kind of difference in a sentence."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.differences: list[str] = []

    def differ(self, what: str, rows: pd.DataFrame) -> None:
        """Note rows that are wrong in one way, the first few by name."""
        if len(rows):
            named = rows.head(SHOWN).astype(str).agg(" ".join, axis=1)
            self.differences.append(f"{what}: {len(rows)} rows, such as {'; '.join(named)}")


def table(lake: Path, name: str) -> pd.DataFrame:
    """A table of the lake, prices as integers of 1/10,000; no rows where it does not exist."""
    if not (lake / name / "_delta_log").exists():
        return pd.DataFrame()
    found = DeltaTable(str(lake / name)).to_pyarrow_table().to_pandas()
    for column in {*PRICES, "price"} & set(found.columns):
        found[column] = (found[column].astype("Float64") * 10_000).round().astype("Int64")
    return found


def check_candles(lake: Path, truth: pd.DataFrame, finding: Finding) -> None:
    """Each candle of the truth stands there exactly once, equal in prices and volume, complete, and no other does."""
    found = table(lake, "candles")
    finding.rows["candles"] = len(found)
    if found.empty:
        finding.differences.append(f"candles: none of {len(truth)}")
        return
    finding.differ("candles that stand there twice", found[found.duplicated([*KEY, "revision"])][KEY])
    finding.differ("candles corrected without a cause", found[found["revision"] != 0][KEY])
    both = truth.merge(found, on=KEY, how="outer", suffixes=("_true", ""), indicator=True)
    finding.differ("candles missing", both[both["_merge"] == "left_only"][KEY])
    finding.differ("candles invented", both[both["_merge"] == "right_only"][KEY])
    both = both[both["_merge"] == "both"]
    finding.differ("gaps in a market that waited", both[both["provenance"] == "GAP"][KEY])
    finding.differ("candles that are not complete", both[both["completeness"] < 1.0][KEY])
    for name in (*PRICES, "volume"):
        wrong = both[(both[name] != both[f"{name}_true"]).fillna(True)]
        finding.differ(f"candles with another {name}", wrong[[*KEY, f"{name}_true", name]])
    finding.differ("candles quiet and traded confused", both[both["traded"] != (both["trades"] > 0)][KEY])


def check_ticks(lake: Path, truth: pd.DataFrame, finding: Finding) -> None:
    """The ticks of the truth stand there, every one as often as it was sent, and no other does."""
    found = table(lake, "ticks")
    finding.rows["ticks"] = len(found)
    if found.empty:
        finding.differences.append(f"ticks: none of {len(truth)}")
        return
    counts = [rows.groupby(TICK, dropna=False).size() for rows in (truth[TICK], found[TICK])]
    sent, stored = counts[0].align(counts[1], fill_value=0)
    for what, wrong in (("lost", stored < sent), ("doubled or invented", stored > sent)):
        finding.differ(f"ticks {what}", sent[wrong].reset_index()[TICK])
