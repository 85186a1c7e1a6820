"""Corporate actions: our adjustment of raw daily prices against a broker's, and the breaks it leaves.

Raw and adjusted rows of the Nifty 50, and a table of events that misses some: the recorded files beside the repository.
Twice: as the table says, and with what the audit's findings come to, as an operator would enter them. A close agrees
when it is within a tick of 0.05 or 0.1 % of the broker's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.csv as pcsv
import pyarrow.parquet as parquet

from adapters.actions import opened
from benchmarks.report import Report
from market.actions import Action, Actions
from market.adjustment import Days, Floats, factors
from market.breaks import Break, breaks
from market.declarations import declared

FIXTURES = Path(__file__).resolve().parents[1] / ".." / "shared" / "fixtures" / "market"
NOW = 1_800_000_000_000_000_000
TICK, NEAR = 0.05, 0.001

CORRECTIONS = """
ASIANPAINT BONUS 2000-08-02 3:5
BAJAJ-AUTO BONUS 2010-09-08 1:1
BAJFINANCE SPLIT 2016-09-08 5
BAJFINANCE BONUS 2016-09-08 1:1
DRREDDY SPLIT 2001-10-10 none
DRREDDY SPLIT 2001-10-15 2
HCLTECH SPLIT 2000-11-29 2
HEROMOTOCO SPLIT 2001-03-14 5
HINDUNILVR SPLIT 2000-07-05 10
HINDUNILVR SPLIT 2000-07-10 none
INFY SPLIT 2000-01-24 none
ITC SPLIT 2005-09-21 10
ITC BONUS 2005-09-21 1:2
ONGC SPLIT 2011-02-08 2
ONGC BONUS 2011-02-08 1:1
RELIANCE DEMERGER 2006-01-18 580.10/928.50
TITAN SPLIT 2011-06-23 10
TITAN BONUS 2011-06-23 1:1
VEDL SPLIT 2008-08-08 10
VEDL BONUS 2008-08-08 1:1
ZEEL DEMERGER 2007-02-12 225.25/361.30
"""
"""What the audit of these files found, each with its answer."""


class Prices(NamedTuple):
    """One share's raw daily rows, (n,), oldest first, rupees."""

    symbol: str
    days: Days
    opens: Floats
    closes: Floats


class Agreement(NamedTuple):
    """One share's closes against the broker's: how many were compared, and how many are within a tick or 0.1 %."""

    symbol: str
    compared: int
    near: int


def run(out: Report) -> None:
    """Breaks before and after, and agreement by share, with the table alone and with the corrections."""
    if not FIXTURES.is_dir():
        out.say("the recorded files are not beside the repository")
        return
    told, raw, theirs = table(), list(prices("raw")), {p.symbol: p for p in prices("adjusted")}
    cases = {"as the table says": Actions(told), "with corrections": Actions([*told, *corrections()])}
    out.add("raw", "breaks", len(left(Actions([]), raw)))
    out.add("raw", "breaks listed in the file", len(listed_breaks()))
    for case, actions in cases.items():
        found = left(actions, raw)
        out.add(case, "breaks left", len(found))
        of_file = {(b.symbol, b.session) for b in found} & listed_breaks()
        out.add(case, "of those in the file", len(of_file))
        for one in found:
            out.say(f"{one.symbol} {one.session}: {one.raw} raw, {one.adjusted} adjusted: {one.suggestion}")
        scores = [agreement(actions, one, theirs[one.symbol]) for one in raw if one.symbol in theirs]
        out.add(case, "shares compared", len(scores))
        out.add(case, "closes compared", sum(s.compared for s in scores))
        out.add(case, "near share", round(sum(s.near for s in scores) / sum(s.compared for s in scores), 5))
        out.add(case, "shares at 99 % or more", sum(s.near >= 0.99 * s.compared for s in scores))
        for score in sorted(scores, key=lambda s: s.near / s.compared):
            if score.near < 0.999 * score.compared:
                out.add(f"{case}, {score.symbol}", "near share", round(score.near / score.compared, 4))


def table() -> list[Action]:
    """The recorded table of events."""
    return opened(FIXTURES / "nse_corporate_actions" / "actions.parquet", NOW).actions


def corrections() -> list[Action]:
    """`CORRECTIONS` as an operator's."""
    names = ("symbol", "kind", "ex_date", "value")
    rows = [dict(zip(names, line.split(), strict=True)) for line in CORRECTIONS.split("\n") if line]
    return [
        declared("corrections", {**row, "reason": "found by the audit"}, NOW, "operator", "benchmark") for row in rows
    ]


def prices(which: str) -> Iterator[Prices]:
    """The recorded rows by share: `raw` or `adjusted`."""
    rows = parquet.read_table(FIXTURES / f"nse_daily_nifty50_{which}" / "bars.parquet")
    rows = rows.set_column(0, "symbol", rows["symbol"].cast("string"))
    rows = rows.sort_by([("symbol", "ascending"), ("date", "ascending")])
    symbols = np.array(rows["symbol"].to_pylist())
    days = rows["date"].cast("date32").cast("int32").to_numpy()
    opens, closes = (rows[name].to_numpy() for name in ("open", "close"))
    for symbol in np.unique(symbols).tolist():
        mine = symbols == symbol
        yield Prices(f"NSE:{symbol}", days[mine], opens[mine], closes[mine])


def listed_breaks() -> set[tuple[str, date]]:
    """Share and day of the breaks that came with the files."""
    rows = pcsv.read_csv(FIXTURES / "nse_corporate_actions" / "raw_price_breaks.csv")
    return {(f"NSE:{s}", d) for s, d in zip(rows["symbol"].to_pylist(), rows["date"].to_pylist(), strict=True)}


def left(actions: Actions, raw: list[Prices]) -> list[Break]:
    """The breaks of all shares that no action explains."""
    return [b for one in raw for b in breaks(actions, one.symbol, NOW, one.days, one.opens, one.closes)]


def agreement(actions: Actions, raw: Prices, theirs: Prices) -> Agreement:
    """One share, on the days that both have; the broker's prices are in the shares of its own last day."""
    days, mine, other = np.intersect1d(raw.days, theirs.days, return_indices=True)
    known = factors(actions, raw.symbol, NOW)
    last = known.prices(np.array([int(theirs.days[-1])], np.int32))[0]
    ours = raw.closes[mine] * known.prices(days) / last
    apart = np.abs(ours - theirs.closes[other])
    near = (apart <= TICK + 1e-6) | (apart <= NEAR * theirs.closes[other])
    return Agreement(raw.symbol, len(days), int(np.count_nonzero(near)))
