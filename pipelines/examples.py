"""Examples out of the lake: what a model learns from, of pinned versions, adjusted, without an unexplained break.

Minutes take their features from the lake's table, where `bourse features` put them; days make theirs of daily candles
here, by the same functions, so that twenty years of them need nothing else. Rows are ordered by decision, instrument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adapters import actions as told_actions
from adapters.lake import Lake
from adapters.past import Past, called, under_present
from adapters.schemas import feature_values, whole
from market.actions import Actions
from market.adjustment import adjusted, factors
from market.breaks import breaks, refuse_breaks
from market.candles import Candles, Provenance
from market.errors import BadValue
from market.features import NAMES, SET, technical
from market.features.series import Factors, bars, days_of, has_prices
from market.instruments import Instrument
from market.labels import HORIZONS, Labels, cost_of, daily_outcomes, labels, outcomes
from market.models.examples import CHANNELS, LENGTH, Examples, decisions, sequences
from market.money import to_floats
from market.records import Record
from market.sessions import MINUTE, Session, day_number

TABLES = ("candles", "actions", "features")

DAY_NAMES = tuple(feature.name for feature in technical.features("1d"))
"""Of the features of days."""

LAST = {"5m": "return_5_1m", "15m": "return_15_1m", "60m": "return_60_1m", "1d": "return_1_1d"}
"""The feature that is the return of the same length before the decision."""

Floats = npt.NDArray[np.float64]


class Wanted(Record):
    """Which examples. `instruments`: the universe; `symbols`: those to learn from; `sessions`: all up to `last`, for
    days from well before `first`.

    `every`: each so many-th minute of a session decides; `daily`: each session does, of daily candles; `base`: the
    versions of the lake's tables that are read.
    """

    lake: str
    horizon: str
    instruments: tuple[Instrument, ...]
    symbols: tuple[str, ...]
    sessions: tuple[Session, ...]
    first: date
    last: date
    every: int = 1
    daily: bool = False
    base: Mapping[str, int]

    @property
    def ids(self) -> dict[str, int]:
        """The place of each symbol in the universe; those outside it behind."""
        names = [i.symbol for i in self.instruments]
        return {symbol: k for k, symbol in enumerate([*names, *(s for s in self.symbols if s not in set(names))])}

    @property
    def set(self) -> str:
        """The set of features."""
        return f"{SET}-daily" if self.daily else SET


class Material(NamedTuple):
    """(n,) examples with what came of them, each (n,).

    `targets`: labels by horizon; `returns`: of the one asked for, log, known in every row; `last`: those of the same
    length before the decisions, NaN where not known; `ends`: the sessions in which the horizons end.
    """

    examples: Examples
    targets: dict[str, Labels]
    returns: Floats
    last: Floats
    ends: npt.NDArray[np.int32]

    def take(self, rows: npt.NDArray[np.intp]) -> Material:
        """Some of them."""
        targets = {name: column[rows] for name, column in self.targets.items()}
        return Material(self.examples.take(rows), targets, self.returns[rows], self.last[rows], self.ends[rows])


def pinned(lake: Lake, daily: bool) -> dict[str, int]:
    """The newest version of each table that would be read. Raises BadValue: there are no candles, or no features."""
    found = {"candles": lake.version("candles")}
    there = set(lake.tables())
    if "actions" in there:
        found["actions"] = lake.version("actions")
    if not daily:
        if "features" not in there:
            raise BadValue("features", "none in the lake", "compute them first: bourse features --from DAY --to DAY")
        found["features"] = lake.version("features")
    return found


def material(wanted: Wanted, symbols: Sequence[str]) -> Material:
    """The examples of some of the symbols. Raises BadValue, UnexplainedBreak, LineDown, StoreRefused.

    BadValue names the command that computes what is not there.
    """
    lake = Lake(wanted.lake)
    known = told_actions.known(lake, version=wanted.base.get("actions")) if "actions" in wanted.base else Actions([])
    past = Past(lake, wanted.base["candles"], wanted.ids, known.names)
    parts = _of_days(wanted, past, known, symbols) if wanted.daily else _of_minutes(wanted, lake, past, known, symbols)
    return joined(list(parts), wanted)


def joined(parts: Sequence[Material], wanted: Wanted) -> Material:
    """Examples of several symbols as one, by decision and instrument."""
    whole_ = [part for part in parts if part.examples.rows] or [nothing(wanted)]
    columns = [np.concatenate([part.examples[k] for part in whole_]) for k in range(1, len(Examples._fields))]
    found = Material(
        Examples(whole_[0].examples.names, *columns),
        {name: np.concatenate([part.targets[name] for part in whole_]) for name in whole_[0].targets},
        np.concatenate([part.returns for part in whole_]),
        np.concatenate([part.last for part in whole_]),
        np.concatenate([part.ends for part in whole_]),
    )
    return found.take(np.lexsort((found.examples.instrument, found.examples.at)))


def nothing(wanted: Wanted) -> Material:
    """No example."""
    names = DAY_NAMES if wanted.daily else NAMES
    none = np.zeros(0, np.int32)
    examples = Examples(
        names,
        np.zeros((0, len(names)), np.float32),
        np.zeros((0, LENGTH, len(CHANNELS)), np.float32),
        none,
        np.zeros(0, np.int64),
        none,
    )
    horizons = ("1d",) if wanted.daily else HORIZONS
    return Material(examples, {name: np.zeros(0, np.int8) for name in horizons}, np.zeros(0), np.zeros(0), none)


def day_values(daily: Candles, of: Factors) -> Floats:
    """The features of one share's raw daily candles, (n,), oldest first, with the factors of each: (n, k) in the order
    of `DAY_NAMES`; NaN where a candle has no price.
    """
    priced = has_prices(daily)
    out = np.full((len(daily), len(DAY_NAMES)), np.nan)
    if priced.any():
        out[priced] = technical.values(bars(days_of(daily[priced], of.of(priced))), "1d")[:, 0].T
    return out


def _of_days(wanted: Wanted, past: Past, known: Actions, symbols: Sequence[str]) -> Iterator[Material]:
    as_of = wanted.sessions[-1].open
    closes = {day_number(s.date): s.close for s in wanted.sessions}
    days = past.days(symbols, wanted.sessions[0].date, wanted.last)
    for symbol in symbols:
        raw = days[days["instrument"] == wanted.ids[symbol]]
        raw = raw[np.isin(raw["session"], list(closes))]
        if not len(raw):
            continue
        _refuse(raw, raw["open"], raw["close"], known, symbol, wanted)
        of = factors(known, symbol, as_of)
        rows = adjusted(raw, of)
        values = day_values(raw, Factors(of.prices(raw["session"]), of.volumes(raw["session"])))
        returns = daily_outcomes(rows)
        mine = (raw["session"] >= day_number(wanted.first)) & np.isfinite(returns) & np.isfinite(values).any(axis=1)
        picked = np.flatnonzero(mine)
        at = np.array([closes[int(day)] for day in raw["session"][picked]], np.int64)
        examples = _examples(DAY_NAMES, values[picked], sequences(rows, picked), rows[picked], at)
        ends = np.append(raw["session"][1:], raw["session"][-1])[picked].astype(np.int32)
        last = values[picked, DAY_NAMES.index(LAST["1d"])]
        yield Material(examples, {"1d": labels(returns[picked])}, returns[picked], last, ends)


def _of_minutes(wanted: Wanted, lake: Lake, past: Past, known: Actions, symbols: Sequence[str]) -> Iterator[Material]:
    span = wanted.first, wanted.last
    minutes = past.minutes(symbols, *span)
    named, starts, values = _thinned(wanted, lake, known, symbols)
    opens = {day_number(s.date): s.open for s in wanted.sessions}
    for place_of, symbol in enumerate(symbols):
        raw = minutes[minutes["instrument"] == wanted.ids[symbol]]
        raw = raw[np.isin(raw["session"], list(opens))]
        if not len(raw):
            continue
        first = np.flatnonzero(np.append(True, np.diff(raw["session"]) > 0))
        last = np.append(first[1:], len(raw)) - 1
        _refuse(raw[first], raw["open"][first], raw["close"][last], known, symbol, wanted)
        rows = adjusted(raw, factors(known, symbol, wanted.sessions[-1].open))
        open_ = np.array([opens[int(day)] for day in raw["session"][first]], np.int64)
        since = (raw["start"] - np.repeat(open_, last - first + 1)) // MINUTE
        returns = outcomes(rows, wanted.horizon)
        picked = np.flatnonzero((since % wanted.every == wanted.every - 1) & np.isfinite(returns))
        mine = named == place_of
        place = np.searchsorted(starts[mine], raw["start"][picked])
        _there(starts[mine], place, raw[picked], symbol, wanted)
        of = values[mine][place]
        some = np.isfinite(of).any(axis=1)  # of the others features are unknown, and told so in the lake
        picked, of = picked[some], of[some]
        examples = _examples(NAMES, of, sequences(rows, picked), rows[picked], decisions(rows[picked]))
        following = np.append(raw["session"][first][1:], raw["session"][-1])
        ends = raw["session"] if HORIZONS[wanted.horizon] else np.repeat(following, last - first + 1)
        yield Material(
            examples,
            {name: labels(outcomes(rows, name), cost_of(name))[picked] for name in HORIZONS},
            returns[picked],
            of[:, NAMES.index("return_day" if wanted.horizon == "1d" else LAST[wanted.horizon])],
            ends[picked].astype(np.int32),
        )


def _thinned(
    wanted: Wanted, lake: Lake, known: Actions, symbols: Sequence[str]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], Floats]:
    """Of the minutes that decide the places of their symbols, (n,), their starts, and their features, (n, k), oldest
    first of each symbol. A session is read at a time: the others of its minutes are in memory only then.
    """
    listed = called(symbols, known.names)
    parts = []
    for session in (s for s in wanted.sessions if wanted.first <= s.date <= wanted.last):
        table = lake.read_features(
            listed, session.date, session.date, SET, names=NAMES, version=wanted.base["features"]
        )
        table = under_present(table, symbols, known.names)
        starts = whole(table["start"].cast("int64")) * 1000
        deciding = np.flatnonzero((starts - session.open) // MINUTE % wanted.every == wanted.every - 1)
        table = table.take(deciding)
        places = pc.fill_null(pc.index_in(table["symbol"], pa.array(symbols, pa.string())), -1)
        parts.append((np.asarray(places.to_numpy(), np.intp), starts[deciding], feature_values(table, NAMES)))
    if not parts:
        return np.zeros(0, np.intp), np.zeros(0, np.int64), np.zeros((0, len(NAMES)))
    of, at, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return of, at, values


def _examples(
    names: tuple[str, ...], values: Floats, sequence: npt.NDArray[np.float32], rows: Candles, at: npt.NDArray[np.int64]
) -> Examples:
    ids, days = rows["instrument"].astype(np.int32), rows["session"].astype(np.int32)
    return Examples(names, values.astype(np.float32), sequence, ids, at, days)


def _refuse(
    days: Candles,
    opens: npt.NDArray[np.int64],
    closes: npt.NDArray[np.int64],
    known: Actions,
    symbol: str,
    wanted: Wanted,
) -> None:
    """Raises UnexplainedBreak."""
    live = days["provenance"] != Provenance.GAP
    sessions = days["session"][live].astype(np.int32)
    prices = (to_floats(column[live]) for column in (opens, closes))
    found = breaks(known, symbol, wanted.sessions[-1].open, sessions, *prices)
    refuse_breaks(found, symbol, wanted.sessions[0].date, wanted.last)


def _there(
    starts: npt.NDArray[np.int64], place: npt.NDArray[np.intp], rows: Candles, symbol: str, wanted: Wanted
) -> None:
    """Raises BadValue for the minutes, (k,), that have no row of features at their places."""
    there = place < len(starts)
    there[there] = starts[place[there]] == rows["start"][there]
    if not there.all():
        day = np.datetime64(int(rows["session"][~there][0]), "D")
        command = f"bourse features --from {wanted.first} --to {wanted.last} --symbols {symbol}"
        lacking = f"{symbol} has none of {np.count_nonzero(~there):,} minutes, the first on {day}"
        raise BadValue("features", lacking, f"compute them first: {command}")
