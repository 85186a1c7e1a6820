"""Equality: each feature as it was published live against the one that bulk gives the same minute.

Both come of the same definition, so they differ by rounding alone: by at most 1e-9 of the larger of the bulk value and
the feature's own scale, and what one does not know the other does not know either. A candle that was corrected later
had another value when its minute closed: rows of such an instrument, and of the market's, may equal what bulk makes of
the first revisions instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from adapters.actions import known
from adapters.lake import Lake
from adapters.past import Past
from adapters.schemas import candle_rows, feature_values
from market.adjustment import Factors as Splits
from market.adjustment import factors
from market.candles import INTERVALS, Candles, newest_revisions
from market.features import FEATURES, NAMES, SET, Factors, FeatureRows, Unknown, compute, market_of, members_of, sums
from market.instruments import Instrument
from market.sessions import Session, Sessions

TOLERANCE = 1e-9
SHOWN = 10


class Equality(NamedTuple):
    """Live features against bulk. `rows`: minutes of instruments that were compared; `values`: those that both know;
    `worst`: the largest difference over its measure, of feature `where`; `unknown`: rows by reason; `differences`: in
    words, `differing` of them in all.
    """

    rows: int
    values: int
    worst: float
    where: str
    unknown: dict[str, int]
    differing: int
    differences: list[str]

    def lines(self) -> list[str]:
        """What it comes to, for people."""
        reasons = ", ".join(f"{count:,} {name}" for name, count in self.unknown.items() if count)
        told = f"{self.values:,} feature values in {self.rows:,} rows compared, {self.differing:,} differ"
        worst = f"worst {self.worst:.1e} of its measure ({self.where})" if self.values else "nothing to compare"
        return [*self.differences, f"{told}; {worst}; set {SET}; rows not wholly known: {reasons or 'none'}"]


def equality(lake: Lake, instruments: Sequence[Instrument], sessions: Sequence[Session], day: date) -> Equality:
    """Compare the live features of a session in the lake with what bulk makes of the lake's candles."""
    of = _Live(lake, instruments, day)
    candles = _candles(lake, instruments, sessions, day)
    opens = next((s.open for s in sessions if s.date == day), 0)
    told = known(lake)
    splits = {i.id: factors(told, i.symbol, opens) for i in instruments}
    bulk = [_bulk(newest_revisions(candles), splits, instruments, sessions, day)]
    if (candles["revision"] > 0).any():
        bulk.append(_bulk(_first_revisions(candles), splits, instruments, sessions, day))
    return of.against(bulk)


class _Live:
    def __init__(self, lake: Lake, instruments: Sequence[Instrument], day: date) -> None:
        table = lake.read_features([i.symbol for i in instruments], day, day, SET, names=NAMES)
        ids = {i.symbol: i.id for i in instruments}
        self.symbols = [i.symbol for i in instruments]
        self.who = np.array([ids[s] for s in table["symbol"].to_pylist()], np.int64)
        self.start = table["start"].cast("int64").to_numpy().astype(np.int64) * 1000
        self.why = np.array([0 if w is None else Unknown[w] for w in table["unknown"].to_pylist()], np.uint8)
        self.values = feature_values(table, NAMES)

    def against(self, bulk: list[FeatureRows]) -> Equality:
        """The nearest of the given rows counts, row by row."""
        differences = self._missing(bulk[0])
        at = [np.searchsorted(_key(rows["instrument"], rows["start"]), _key(self.who, self.start)) for rows in bulk]
        there = np.isin(_key(self.who, self.start), _key(bulk[0]["instrument"], bulk[0]["start"]))
        differences += [f"{self._name(k)}: not in bulk" for k in np.flatnonzero(~there)]
        off = [self._off(rows[np.minimum(place, len(rows) - 1)]) for rows, place in zip(bulk, at, strict=True)]
        nearest = np.argmin([one.max(axis=1) for one in off], axis=0)
        error = np.choose(nearest[:, None], off) if len(self.who) else np.zeros((0, len(NAMES)))
        error[~there] = 0.0
        wrong = np.argwhere(error > TOLERANCE)
        differences += [f"{self._name(k)}: {NAMES[f]} is {error[k, f]:.1e} of its measure off" for k, f in wrong]
        finite = np.where(np.isfinite(error), error, 0.0)
        row, column = np.unravel_index(finite.argmax(), finite.shape) if finite.size else (0, 0)
        values = int(np.count_nonzero(~np.isnan(self.values)))
        unknown = {reason.name: int(np.count_nonzero(self.why == reason)) for reason in Unknown if reason}
        worst = float(finite[row, column]) if finite.size else 0.0
        shown = [*differences[:SHOWN], *([f"and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else [])]
        return Equality(len(self.who), values, worst, NAMES[column], unknown, len(differences), shown)

    def _missing(self, bulk: FeatureRows) -> list[str]:
        keys = _key(bulk["instrument"], bulk["start"])
        absent = bulk[~np.isin(keys, _key(self.who, self.start))]
        return [f"{self.symbols[r['instrument']]} {np.datetime64(int(r['start']), 'ns')}Z: not live" for r in absent]

    def _off(self, rows: FeatureRows) -> np.ndarray:
        """Each difference over what is its measure; infinite where one alone is known or for another reason."""
        scales = np.array([f.scale for f in FEATURES])
        live, bulk = self.values, rows["values"]
        both = np.isnan(live) & np.isnan(bulk)
        off = np.abs(live - bulk) / np.maximum(np.abs(bulk), scales)
        off = np.where(both, 0.0, np.where(np.isnan(off), np.inf, off))
        off[self.why != rows["unknown"]] = np.inf
        return off

    def _name(self, k: int) -> str:
        return f"{self.symbols[self.who[k]]} {np.datetime64(int(self.start[k]), 'ns')}Z"


def _candles(lake: Lake, instruments: Sequence[Instrument], sessions: Sequence[Session], day: date) -> Candles:
    first = min((s.date for s in sessions), default=day - timedelta(days=1))
    table = lake.dataset("candles").to_table(
        filter=(pc.field("session") >= first) & (pc.field("session") <= day) & (pc.field("provenance") != "OFFICIAL")
    )
    ids = {i.symbol: i.id for i in instruments}
    rows = candle_rows(table, ids)
    days = Past(lake, None, ids, known(lake).names).days(list(ids), first, day - timedelta(days=1))
    return np.concatenate([rows[rows["interval"] == INTERVALS["1m"]], days])


def _first_revisions(candles: Candles) -> Candles:
    turned = candles.copy()
    turned["revision"] = -turned["revision"]
    return newest_revisions(turned)


def _bulk(
    candles: Candles,
    splits: Mapping[int, Splits],
    instruments: Sequence[Instrument],
    sessions: Sequence[Session],
    day: date,
) -> FeatureRows:
    table, members = Sessions(sessions).table(), members_of(instruments)
    of = [candles[candles["instrument"] == i.id] for i in instruments]
    pairs = [(rows[rows["interval"] == INTERVALS["1m"]], rows[rows["interval"] == INTERVALS["1d"]]) for rows in of]
    pairs = [pair for pair in pairs if len(pair[0])]
    by = [[_of(splits[int(pair[0]["instrument"][0])], rows) for rows in pair] for pair in pairs]
    market = market_of([sums(*pair, members, table, *one) for pair, one in zip(pairs, by, strict=True)], members)
    made = np.concatenate([compute(*pair, market, table, *one) for pair, one in zip(pairs, by, strict=True)])
    today = (day - date(1970, 1, 1)).days
    made = made[made["session"] == today]
    return made[np.lexsort((made["start"], made["instrument"]))]


def _of(splits: Splits, rows: Candles) -> Factors:
    return Factors(splits.prices(rows["session"]), splits.volumes(rows["session"]))


def _key(who: np.ndarray, start: np.ndarray) -> np.ndarray:
    return who.astype(np.int64) << 40 | start // 60_000_000_000
