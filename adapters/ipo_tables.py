"""IPO tables: issues, premiums, the market and flows from a folder of CSV files, as `market.ipo.examples` wants them.

The files are those of the IPO history: ipo_master.csv, gmp_daily.csv, market_daily.csv, fpi_monthly.csv; columns go by
their name, and others are left alone. A cell that is empty is not known; one that is no number is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from market.errors import BadValue
from market.ipo.examples import FLOW, ISSUE, MARKET, NO_DAY, QUOTE, Tables
from market.ipo.kinds import Kind, Segment

ISSUES = {
    "issue": "ipo_id",
    "kind": "kind",
    "segment": "segment",
    "opened": "open_date",
    "closed": "close_date",
    "listed": "listing_date",
    "price": "issue_price",
    "size": "issue_size_cr",
    **{f"{who}_day{day}": f"sub_{who}_d{day}" for day in (1, 2, 3) for who in ("qib", "nii", "rii")},
    **{name: f"sub_{name}" for name in ("qib", "nii", "rii", "total")},
    "gmp_eve": "gmp_last",
    "gmp_close": "gmp_at_close",
    "open_points": "gain_open_pct",
    "close_points": "gain_close_pct",
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "segment": {"MB": Segment.MAINBOARD, "SME": Segment.SME},
    "kind": {"IPO": Kind.IPO, "FPO": Kind.FPO, "REIT": Kind.REIT, "InvIT": Kind.INVIT, "REIT/InvIT": Kind.OTHER},
}
"""What the files call segments and kinds."""

QUOTES = {"issue": "ipo_id", "day": "date", "gmp": "gmp_rs"}
DAYS = {"day": "date", "nifty": "nifty50_close", "vix": "vix"}
FLOWS = {"ended": "month", "net": "fpi_equity_net_inr_cr"}

FILES = (
    ("ipo_master.csv", ISSUE, ISSUES),
    ("gmp_daily.csv", QUOTE, QUOTES),
    ("market_daily.csv", MARKET, DAYS),
    ("fpi_monthly.csv", FLOW, FLOWS),
)


def read(folder: Path) -> Tables:
    """The tables of a folder. Raises BadValue: no such folder or file, a missing column, a cell that cannot be read."""
    if not folder.is_dir():
        raise BadValue("folder", str(folder), "a folder with " + ", ".join(name for name, *_ in FILES))
    return Tables(*(_table(folder / name, rows, columns) for name, rows, columns in FILES))


def _table(path: Path, rows: np.dtype[np.void], columns: dict[str, str]) -> npt.NDArray[np.void]:
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as e:
        raise BadValue("file", str(path), f"a CSV file that can be read ({str(e).splitlines()[0]})") from e
    if missing := sorted(set(columns.values()) - set(found.columns)):
        raise BadValue("file", str(path), f"it needs the columns {', '.join(missing)}")
    out = np.zeros(len(found), rows)
    for name, column in columns.items():
        kind = rows[name].kind
        cells = found[column]
        try:
            if column in WORDS:
                out[name] = _named(path, cells, column)
            elif kind == "U":
                out[name] = cells.to_numpy(str)
            elif kind == "i":
                out[name] = _days(cells, month_end=column == "month")
            else:
                out[name] = pd.to_numeric(cells.mask(cells == "")).to_numpy(np.float64, na_value=np.nan)
        except ValueError as e:
            raise BadValue("file", str(path), f"column {column} cannot be read ({str(e).splitlines()[0]})") from e
    if rows is ISSUE and len(np.unique(out["issue"])) < len(out):
        raise BadValue("file", str(path), "each ipo_id once")
    return out


def _named(path: Path, cells: pd.Series, column: str) -> npt.NDArray[np.str_]:
    words = WORDS[column]
    if strange := sorted(set(cells.astype(str)) - words.keys()):
        raise BadValue("file", str(path), f"column {column} has {strange[0]!r}, none of {', '.join(words)}")
    return np.array([words[cell] for cell in cells], np.str_)


def _days(cells: pd.Series, month_end: bool) -> npt.NDArray[np.int64]:
    given = cells.mask(cells == "")
    parsed = pd.to_datetime(given, format="%Y-%m" if month_end else "%Y-%m-%d")
    if month_end:
        parsed = parsed + pd.offsets.MonthEnd(0)
    days = parsed.to_numpy("datetime64[D]").astype(np.int64)
    return np.where(parsed.isna().to_numpy(), NO_DAY, days)
