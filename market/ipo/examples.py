"""Examples: what was known of an issue when somebody had to decide, as columns; and, apart from it, what came.

There are two decisions. On the closing day one may still apply: the premium is that of the daily series, and a jump of
30 points of the issue price counts only once a second day confirms it. On the eve of listing one may only sell: the
premium is the last one quoted before trading. Whatever is dated after the day of the decision is never looked at: not
of the issue, nor of other issues' listings, the market, or the flows. Trusts, further offers and issues without a
listing day are no examples. Everything not known is NaN, and 0 is a number like any other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.ipo.kinds import Kind, Segment

NO_DAY = np.iinfo(np.int64).min
"""Of a day that is not known."""

ISSUE = np.dtype(
    [
        ("issue", "U96"),
        ("kind", "U16"),
        ("segment", "U16"),
        ("opened", "<i8"),
        ("closed", "<i8"),
        ("listed", "<i8"),
        *((name, "<f8") for name in ("price", "size")),
        *((f"{who}{day}", "<f8") for day in ("_day1", "_day2", "_day3", "") for who in ("qib", "nii", "rii")),
        *((name, "<f8") for name in ("total", "gmp_eve", "gmp_close", "open_points", "close_points")),
    ]
)
"""An issue: days since 1970-01-01; `price` and premiums in rupees a share, `size` in crore of rupees, subscription in
times, by category and bidding day; what came, at the first trade and at the listing day's close, in points.
"""

QUOTE = np.dtype([("issue", "U96"), ("day", "<i8"), ("gmp", "<f8")])
"""A premium of a daily series, rupees a share, as it stood at the end of a day."""

MARKET = np.dtype([("day", "<i8"), ("nifty", "<f8"), ("vix", "<f8")])
"""Closes of a day."""

FLOW = np.dtype([("ended", "<i8"), ("net", "<f8")])
"""What foreign investors bought of shares in a month, crore of rupees, net; `ended`: the month's last day."""

FEATURES = (
    "gmp_points",
    "gmp_trend_points",
    "size_crore",
    "price_rupees",
    *(f"{who}{day}" for day in ("_day1", "_day2", "_day3", "") for who in ("qib", "nii", "rii")),
    "total",
    "nifty_5_points",
    "nifty_20_points",
    "nifty_volatility_points",
    "vix",
    "flows_crore",
    "recent_gain_points",
    "recent_hit",
    "recent_surprise_points",
    "sme",
)
"""What a model may see. `gmp_points` and its trend: of the issue price, the trend over the last two days on the closing
day, since the closing day on the eve; `nifty_*`: returns over 5 and 20 sessions and the yearly volatility of 20, in
points; `flows_crore`: of the last month that has ended; `recent_*`: of the last listings of the same segment: mean
gain, share of gains of 10 points and more, 0 to 1, and the median of gain less premium; `sme`: 1, mainboard 0.
"""

EXAMPLE = np.dtype([("row", "<i8"), ("decided", "<i8"), ("listed", "<i8"), *((name, "<f8") for name in FEATURES)])
"""An issue at a decision: its place among the issues, days since 1970-01-01, and its features."""

JUMP = 30.0
"""Points of the issue price from which on a change waits for a second day. Source: ipo-sources, section 8."""

GAIN = 10.0
"""Points: what is called a gain."""

RECENT = 10
"""Listings of the same segment that are recent."""

FEWEST = 3
"""Recent listings below which they say nothing."""

TREND = 2
"""Days before the closing day from which its trend is told."""

STALE = 10
"""Days after which the market's last close is none."""

STALE_FLOW = 62
YEAR = 252
MAINBOARD = Segment.MAINBOARD.value
SEGMENTS = (MAINBOARD, Segment.SME.value)

Issues = npt.NDArray[np.void]
Quotes = npt.NDArray[np.void]
Examples = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]


class Decision(StrEnum):
    """When somebody decides: on the day the issue closes, or on the eve of its listing."""

    CLOSING = "closing"
    EVE = "eve"


class Tables(NamedTuple):
    """What there is: `ISSUE`, `QUOTE`, `MARKET` and `FLOW` rows, in any order."""

    issues: Issues
    quotes: Quotes
    market: npt.NDArray[np.void]
    flows: npt.NDArray[np.void]


def examples(tables: Tables, decision: Decision) -> Examples:
    """`EXAMPLE` rows, (n,), by day of decision: of every issue of shares with a price, a listing day and, for CLOSING,
    a closing day before it. Raises BadValue: a segment nobody knows.
    """
    issues = tables.issues
    known = (issues["kind"] == Kind.IPO.value) & (issues["price"] > 0) & (issues["listed"] != NO_DAY)
    if decision is Decision.CLOSING:
        known &= (issues["closed"] != NO_DAY) & (issues["closed"] < issues["listed"])
    for segment in np.unique(issues["segment"][known]):
        if segment not in SEGMENTS:
            raise BadValue("segment", str(segment), f"one of {', '.join(SEGMENTS)}")
    rows = np.flatnonzero(known)
    out = np.zeros(len(rows), EXAMPLE)
    for name in FEATURES:
        out[name] = np.nan
    out["row"], out["listed"] = rows, issues["listed"][rows]
    out["decided"] = issues["closed"][rows] if decision is Decision.CLOSING else issues["listed"][rows] - 1
    _facts(out, issues[rows])
    _premiums(out, issues[rows], tables.quotes, decision)
    _market(out, np.sort(tables.market, order="day"), np.sort(tables.flows, order="ended"))
    _recent(out, issues)
    ordered: Examples = out[np.lexsort((issues["issue"][rows], out["listed"], out["decided"]))]
    return ordered


def held(premiums: Floats, price: float) -> float:
    """The premium to believe of a series, (n,), oldest first, rupees: one that jumps counts once the next is near it;
    NaN of none.
    """
    believed, before = np.nan, np.nan
    for premium in premiums[np.isfinite(premiums)]:
        near = [abs(premium - other) / price * 100 < JUMP for other in (believed, before)]
        if np.isnan(believed) or any(near):
            believed = float(premium)
        before = premium
    return believed


def gains(tables: Tables, found: Examples, close: bool = False) -> Floats:
    """What came of the examples, (n,), in points of the issue price: at the first trade, or at the listing day's close;
    NaN where it is not known. Never a feature.
    """
    column: Floats = tables.issues["close_points" if close else "open_points"][found["row"]]
    return column


def _facts(out: Examples, issues: Issues) -> None:
    for name in (*(f"{who}{day}" for day in ("_day1", "_day2", "_day3", "") for who in ("qib", "nii", "rii")), "total"):
        out[name] = issues[name]
    out["size_crore"], out["price_rupees"] = issues["size"], issues["price"]
    out["sme"] = issues["segment"] != MAINBOARD


def _premiums(out: Examples, issues: Issues, quotes: Quotes, decision: Decision) -> None:
    quotes = np.sort(quotes, order=["issue", "day"])
    first = np.searchsorted(quotes["issue"], issues["issue"], "left")
    last = np.searchsorted(quotes["issue"], issues["issue"], "right")
    for k, issue in enumerate(issues):
        days, premiums = (quotes[name][first[k] : last[k]] for name in ("day", "gmp"))
        price = float(issue["price"])
        closing = held(premiums[days <= issue["closed"]], price)
        if decision is Decision.CLOSING:
            now = closing if np.isfinite(closing) else float(issue["gmp_close"])
            before = held(premiums[days <= out["decided"][k] - TREND], price)
        else:
            eve = held(premiums[days <= out["decided"][k]], price)
            now, before = float(issue["gmp_eve"]), closing
            now = now if np.isfinite(now) else eve
        out["gmp_points"][k] = now / price * 100
        out["gmp_trend_points"][k] = (now - before) / price * 100


def _market(out: Examples, market: npt.NDArray[np.void], flows: npt.NDArray[np.void]) -> None:
    nifty, fear = (market[np.isfinite(market[name])] for name in ("nifty", "vix"))
    price = np.log(nifty["nifty"])
    places = np.searchsorted(nifty["day"], out["decided"], "right") - 1
    fears = np.searchsorted(fear["day"], out["decided"], "right") - 1
    months = np.searchsorted(flows["ended"], out["decided"], "left") - 1
    for k, decided in enumerate(out["decided"]):
        at = places[k]
        if at >= 0 and decided - nifty["day"][at] <= STALE:
            for name, back in (("nifty_5_points", 5), ("nifty_20_points", 20)):
                if at >= back:
                    out[name][k] = np.expm1(price[at] - price[at - back]) * 100
            if at >= 20:
                moves = np.diff(price[at - 20 : at + 1])
                out["nifty_volatility_points"][k] = moves.std(ddof=1) * np.sqrt(YEAR) * 100
        if fears[k] >= 0 and decided - fear["day"][fears[k]] <= STALE:
            out["vix"][k] = fear["vix"][fears[k]]
        if months[k] >= 0 and decided - flows["ended"][months[k]] <= STALE_FLOW:
            out["flows_crore"][k] = flows["net"][months[k]]


def _recent(out: Examples, issues: Issues) -> None:
    # First trades of SME issues are hardly on record: their gains are those of the close, the mainboard's of the open.
    main = issues["segment"] == MAINBOARD
    gain = np.where(main, issues["open_points"], issues["close_points"])
    surprise = gain - issues["gmp_eve"] / issues["price"] * 100
    came = np.flatnonzero(np.isfinite(gain) & (issues["listed"] != NO_DAY) & (issues["kind"] == Kind.IPO.value))
    came = came[np.lexsort((issues["issue"][came], issues["listed"][came]))]
    for sme in (False, True):
        mine = came[main[came] != sme]
        ends = np.searchsorted(issues["listed"][mine], out["decided"], "right")
        for k in np.flatnonzero(out["sme"] == sme):
            last = mine[max(ends[k] - RECENT, 0) : ends[k]]
            if len(last) >= FEWEST:
                out["recent_gain_points"][k] = gain[last].mean()
                out["recent_hit"][k] = (gain[last] >= GAIN).mean()
            told = surprise[last][np.isfinite(surprise[last])]
            if len(told) >= FEWEST:
                out["recent_surprise_points"][k] = np.median(told)
