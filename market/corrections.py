"""Corrections: what a repair changes among candles that were published already.

An entry of `CANDLE` rows on the ticks topic is a repair. Its rows of revision PROPOSED say what candles should be; all
others are what its writer had seen of the same sessions, so that whoever applies it knows them whole even where the bus
has forgotten them. Applying gives a proposal the next revision of its candle, or nothing where the candle is so
already: a repair that comes twice changes nothing.

A minute of a touched session of which there is no row at all becomes a GAP row. A quiet minute carries the last price,
so one behind a corrected minute is corrected with it; the carried price of the next session's first minutes is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.candles import CANDLE, INTERVALS, NO_CANDLES, Candles, Provenance, newest_revisions
from market.money import UNKNOWN
from market.sessions import DAY, HOURS, MINUTE

PROPOSED = -1
"""The revision of a row that says what a candle should be."""

MINUTES = INTERVALS["1m"]
PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume", "trades", "vwap", "open_interest", "completeness", "provenance")
"""What makes two revisions of a candle differ."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One session's minutes after a repair: `rows`, (n, m) by instrument and minute, `changed`, (n, m).

    `session`: its row in the table of sessions.
    """

    session: int
    rows: Candles
    changed: npt.NDArray[np.bool_]


def patches(entry: Candles, known: Candles, sessions: npt.NDArray[np.int64], frontier: int) -> tuple[list[Patch], int]:
    """What a repair entry makes of the minutes, and how many of its proposals were refused.

    `known`: candles published before the entry, (k,); `sessions`: `Sessions.table()`; minutes that end after
    `frontier`, ns UTC, are not closed yet and are refused, as is what is no minute of a session or no candle. Before
    the log has told any time (0) the last proposal tells it.
    """
    proposals = entry[(entry["revision"] == PROPOSED) & (entry["interval"] == MINUTES)]
    frontier = frontier or int(proposals["start"].max(initial=0)) + MINUTE
    seen = np.concatenate([known, entry[entry["revision"] != PROPOSED]])
    seen = newest_revisions(seen[seen["interval"] == MINUTES])
    places, fits = _places(proposals, sessions, frontier)
    found = [
        _patch(int(s), proposals[fits & (places == s)], seen, sessions[s], frontier) for s in np.unique(places[fits])
    ]
    return found, int(len(fits) - np.count_nonzero(fits))


def revised(rows: Candles, known: Candles) -> Candles:
    """Those of `rows`, one a candle, that differ from the newest known, each with the revision after it.

    A candle nobody knew gets revision 1, so that it stands above one that was lost.
    """
    newest = newest_revisions(known[np.isin(known["interval"], rows["interval"])])
    key = ["instrument", "interval", "start"]
    keys, mine = newest[key].tolist(), rows[key].tolist()
    place = {k: i for i, k in enumerate(keys)}
    at = np.array([place.get(k, -1) for k in mine], np.int64)
    there = at >= 0
    old = np.zeros(len(rows), CANDLE)
    old[there] = newest[at[there]]
    out = rows.copy()
    out["revision"] = np.maximum(old["revision"], 0) + 1
    kept: Candles = out[~there | _differ(out, old)]
    return kept


def official(entry: Candles, known: Candles) -> Candles:
    """The official daily candles an entry proposes that are not known so already."""
    of = (entry["revision"] == PROPOSED) & (entry["provenance"] == Provenance.OFFICIAL)
    rows = entry[of & (entry["interval"] == INTERVALS["1d"]) & sane(entry)]
    return revised(rows, known[known["provenance"] == Provenance.OFFICIAL]) if len(rows) else NO_CANDLES


def sane(rows: Candles) -> npt.NDArray[np.bool_]:
    """Which rows are candles at all, (n,): low <= open, close <= high, all above 0, a volume not below 0."""
    low, high = rows["low"], rows["high"]
    within = (low > 0) & (low <= rows["open"]) & (rows["open"] <= high) & (low <= rows["close"])
    return np.asarray(within & (rows["close"] <= high) & (rows["volume"] >= 0) & (rows["instrument"] >= 0))


def _places(
    rows: Candles, sessions: npt.NDArray[np.int64], frontier: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The session of each row, (n,), and whether it is a closed minute of it."""
    start = rows["start"]
    place = np.searchsorted(sessions[:, 2], start, side="right") - 1
    if not len(sessions):
        return place, np.zeros(len(rows), np.bool_)
    of = sessions[np.maximum(place, 0)]
    fits = (place >= 0) & (start < of[:, 3]) & ((start - of[:, 2]) % MINUTE == 0) & (start + MINUTE <= frontier)
    for p in range(HOURS, of.shape[1], 2):
        fits &= (start < of[:, p]) | (start >= of[:, p + 1])
    return place, fits & sane(rows) & (rows["provenance"] == Provenance.REPAIRED)


def _patch(place: int, proposals: Candles, seen: Candles, session: npt.NDArray[np.int64], frontier: int) -> Patch:
    opens, closes = int(session[2]), min(int(session[3]), frontier)
    who = np.unique(proposals["instrument"])
    starts = np.arange(opens, closes - MINUTE + 1, MINUTE)
    for p in range(HOURS, len(session), 2):
        starts = starts[(starts < session[p]) | (starts >= session[p + 1])]
    grid = _blank(who, starts, int((session[0] + DAY // 2) // DAY))
    mine = seen[np.isin(seen["instrument"], who) & np.isin(seen["start"], starts)]
    changed = np.ones(grid.shape, np.bool_)  # a minute of which there is no row
    at = np.searchsorted(who, mine["instrument"]), np.searchsorted(starts, mine["start"])
    grid[at] = mine
    changed[at] = False
    place_of = np.searchsorted(who, proposals["instrument"]), np.searchsorted(starts, proposals["start"])
    _propose(grid, changed, proposals, place_of)
    _carry(grid, changed)
    grid["revision"] += changed
    return Patch(place, grid, changed)


def _blank(who: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], session: int) -> Candles:
    grid = np.zeros((len(who), len(starts)), CANDLE)
    grid["instrument"], grid["start"] = who[:, None], starts
    grid["interval"], grid["session"], grid["provenance"] = MINUTES, session, Provenance.GAP
    for name in (*PRICES, "vwap", "open_interest"):
        grid[name] = UNKNOWN
    return grid


def _propose(
    grid: Candles,
    changed: npt.NDArray[np.bool_],
    proposals: Candles,
    at: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    new, old = proposals.copy(), grid[at]
    new["revision"] = old["revision"]
    new["open_interest"] = np.where(new["open_interest"] == UNKNOWN, old["open_interest"], new["open_interest"])
    differ = _differ(new, old) | changed[at]
    grid[at] = np.where(differ, new, old)
    changed[at] = differ


def _carry(grid: Candles, changed: npt.NDArray[np.bool_]) -> None:
    """A quiet minute has the price of the last one that had its own."""
    live = grid["provenance"] == Provenance.LIVE
    told = np.isin(grid["provenance"], (Provenance.REPAIRED, Provenance.IMPORTED))
    own = told | (live & (grid["trades"] != 0))
    last = np.maximum.accumulate(np.where(own, np.arange(grid.shape[1]), -1), axis=1)
    rows = np.arange(len(grid))[:, None]
    moved = live & ~own & (last >= 0) & changed[rows, last]
    price = grid["close"][rows, last]
    moved &= grid["close"] != price
    for name in PRICES:
        grid[name] = np.where(moved, price, grid[name])
    changed |= moved


def _differ(rows: Candles, others: Candles) -> npt.NDArray[np.bool_]:
    different = [rows[name] != others[name] for name in VALUES]
    return np.asarray(np.logical_or.reduce(different))
