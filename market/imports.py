"""Imports: rows of files and histories that nobody here recorded, judged one by one before they stand in the lake.

A row is refused for the first `Fault` it has; all others go on. An exact repeat of a row is dropped, rows that say
different things of one candle are all refused: nobody here knows which is right.

A price may lie within a fifth and five times the close before it, or of its own row's close. A close outside of that is
a jump: believed where the rows that follow, three at most and one at least, stay within a fifth and five times of it (a
split does), refused where they do not or where none follows. The first row of an instrument has nothing before it.

What is taken in says nothing twice: of a candle that the lake holds, only a GAP is replaced, by the next revision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.errors import BadValue
from market.money import SCALE, UNKNOWN
from market.records import Record
from market.sessions import DAY, HOURS, MINUTE, SECOND
from market.universes import is_index

Interval = Literal["1m", "1d"]
Label = Literal["start", "end"]

Column = Literal["time", "symbol", "open", "high", "low", "close", "volume", "vwap", "trades", "open_interest"]

NAMES: Mapping[Column, tuple[str, ...]] = {
    "time": ("ts", "datetime", "timestamp", "time", "date", "timestart", "tradedate", "traddt", "date1"),
    "symbol": ("symbol", "ticker", "tradingsymbol", "tckrsymb", "instrument", "scrip"),
    "open": ("open", "o", "openprice", "opnpric"),
    "high": ("high", "h", "highprice", "hghpric"),
    "low": ("low", "l", "lowprice", "lwpric"),
    "close": ("close", "c", "closeprice", "clspric"),
    "volume": ("volume", "v", "vol", "tottrdqty", "ttltrdqnty", "ttltradgvol"),
    "vwap": ("vwap", "vw", "avgprice", "averageprice"),
    "trades": ("trades", "n", "nooftrades", "totaltrades", "ttlnboftxsexctd"),
    "open_interest": ("openinterest", "oi"),
}
"""What a column may be called, in small letters and without blanks, dots, dashes and underscores."""

NEEDED: tuple[Column, ...] = ("time", "open", "high", "low", "close")
PRICES = ("open", "high", "low", "close")
FACTS = (*PRICES, "volume")
"""What two candles of one key agree in, or differ."""

LARGEST = 1e9
"""Currency units; no price is so high."""

MOST_VOLUME = 1e15
NOISE = 1.01e-6
"""Currency units that a float may be away from the price that was meant: what text of six decimals rounds by, too."""

CENT = SCALE // 100

NARROW, WIDE = 0.2, 5.0
CONFIRMING = 3
"""A close outside of this band around the one before is a jump, which so many rows at most must confirm."""

SYMBOL = re.compile(r"[A-Z]+:(?=[A-Z0-9])[A-Z0-9&._-]+( [A-Z0-9&._-]+)*", re.ASCII)
"""Narrower than an `Instrument`'s: what a stranger's file calls one must be no path, list or piece of a query."""


class Fault(StrEnum):
    """Why a row is not taken in."""

    NO_SYMBOL = "no symbol, or one that cannot be"
    NO_EXCHANGE = "a symbol of an exchange whose sessions are not known"
    NO_TIME = "no time that can be read"
    NO_PRICE = "a price that is no number"
    NOT_POSITIVE = "a price of zero or below"
    NOT_EXACT = "a price of more than four decimals"
    ORDER = "low, open, close and high are not in order"
    VOLUME = "a volume or count that is no whole number from 0 on"
    NO_SESSION = "the exchange did not trade that day"
    OFF_SESSION = "outside the hours of trading"
    BETWEEN = "between two minutes"
    NOT_OVER = "its session is not over yet"
    CONTRADICTS = "another row says otherwise of the same candle"
    JUMP = "a jump that the rows behind it do not confirm"
    NO_NUMBER = "a value that is no number"
    TORN = "a line of too few or too many values"
    KNOWN_BEFORE = "known before it was"


FAULTS = tuple(Fault)
Floats = npt.NDArray[np.float64]
Faults = npt.NDArray[np.int8]
"""0: none, else the place in `FAULTS`, counted from 1."""


class Asked(Record):
    """What the caller says of a file, as `Form`; None: the file is to say it."""

    columns: Mapping[str, str] = {}
    interval: Interval | None = None
    label: Label | None = None
    zone: str | None = None
    time_format: str | None = None
    exchange: str = "NSE"
    symbol: str | None = None
    renames: Mapping[str, str] = {}
    official: bool = False


class Times(NamedTuple):
    """How a file writes its times. `aware`: with a zone; `dates`: as days, without a time of day; `format`: of text."""

    aware: bool
    dates: bool
    format: str | None
    interval: Interval | None


class Form(Record):
    """How a file is to be understood. `columns`: ours to the file's, `time` may be two joined by `+`; `zone`: of times
    without one; `exchange`: of symbols without one; `symbol`: of a file without such a column; `renames`: the file's
    symbols to ours; `official`: the exchange's own daily candles.
    """

    columns: Mapping[str, str]
    interval: Interval
    label: Label = "start"
    zone: str | None = None
    time_format: str | None = None
    exchange: str = "NSE"
    symbol: str | None = None
    renames: Mapping[str, str] = {}
    official: bool = False

    @property
    def provenance(self) -> Provenance:
        """That of its candles."""
        return Provenance.OFFICIAL if self.official else Provenance.IMPORTED


class Raw(NamedTuple):
    """Columns of a file as numbers, (n,) each.

    `symbol`: places in `symbols`, -1 for none; `at`: the start, ns UTC, of a minute, for a daily row its day since
    1970-01-01, UNKNOWN where it cannot be read; the others as the file has them, NaN where they cannot be read, None
    without such a column.
    """

    symbols: tuple[str, ...]
    symbol: npt.NDArray[np.int32]
    at: npt.NDArray[np.int64]
    prices: Mapping[str, npt.NDArray[np.float64]]
    volume: npt.NDArray[np.float64] | None = None
    vwap: npt.NDArray[np.float64] | None = None
    trades: npt.NDArray[np.float64] | None = None
    open_interest: npt.NDArray[np.float64] | None = None


class Judged(NamedTuple):
    """`rows`, (n,), as they came, whose `faults`, (n,), and whether they are an exact repeat, (n,)."""

    rows: Candles
    faults: Faults
    repeated: npt.NDArray[np.bool_]

    @property
    def good(self) -> Candles:
        """Those that may stand in the lake, each candle once."""
        taken: Candles = self.rows[(self.faults == 0) & ~self.repeated]
        return taken


class Added(NamedTuple):
    """What of some candles is new to the lake: `rows`; how many it holds so already, or with other values."""

    rows: Candles
    held: int
    differing: int
    gaps: int


def plain(name: str) -> str:
    """A column's name as `NAMES` has it.

    >>> plain("Close Price"), plain("TTL_TRD_QNTY")
    ('closeprice', 'ttltrdqnty')
    """
    return re.sub(r"[\s._-]+", "", name).lower()


def recognised(found: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Our columns to the file's: those given, and those whose names say what they are. Some may be missing.

    Raises BadValue: a column that nobody has, or two that could be the same one of ours.
    """
    for ours, theirs in given.items():
        if ours not in NAMES:
            raise BadValue("--columns", ours, f"one of {', '.join(NAMES)}, as {ours}=NAME")
        strange = [part for part in theirs.split("+") if part not in found] if theirs not in found else []
        if strange:
            raise BadValue("--columns", f"{ours}={theirs}", f"a column of the file: {', '.join(found)}")
    columns = dict(given)
    taken = {part for theirs in given.values() for part in (theirs, *theirs.split("+"))}
    for ours, names in NAMES.items():
        fits = [name for name in found if plain(name) in names and name not in taken]
        if ours in columns or not fits:
            continue
        if ours == "time" and sorted(map(plain, fits)) == ["date", "time"]:
            columns[ours] = "+".join(sorted(fits, key=plain))
        elif len(fits) > 1:
            raise BadValue("columns", ", ".join(fits), f"one that is {ours}; say which with --columns {ours}={fits[0]}")
        else:
            columns[ours] = fits[0]
    return columns


def missing(columns: Mapping[str, str], symbol: str | None) -> list[str]:
    """Which of ours the file must have and nobody has found; with a symbol given it needs no column of them."""
    wanted: tuple[str, ...] = NEEDED if symbol else ("time", "symbol", *NEEDED[1:])
    return [name for name in wanted if name not in columns]


def understood(asked: Asked, columns: Mapping[str, str], times: Times) -> Form:
    """The form of a file, where nothing is left to guess. Raises BadValue: something is."""
    interval = asked.interval or times.interval
    if interval is None:
        raise BadValue("--interval", "nothing", "1m or 1d: the times of the file do not say it")
    if interval == "1m" and times.dates:
        raise BadValue("--interval", "1m", "1d: the file has days, without a time of day")
    if asked.official and interval != "1d":
        raise BadValue("--official", interval, "1d: the exchange's own figures are of whole days")
    if interval == "1m" and not times.aware and asked.zone is None:
        raise BadValue("--zone", "nothing", "the zone of the times, like Asia/Kolkata: they have none themselves")
    if interval == "1m" and asked.label is None:
        raise BadValue("--label", "nothing", "start or end: which end of its minute the file names it by")
    told = asked.model_dump(exclude={"columns", "interval", "label", "time_format"})
    return Form(
        **told,
        columns=dict(columns),
        interval=interval,
        label=asked.label or "start",
        time_format=asked.time_format or times.format,
    )


def symbol_of(name: str, exchange: str, renames: Mapping[str, str]) -> str | None:
    """Our symbol of what a file calls an instrument, or None where it cannot be one.

    >>> symbol_of(" reliance ", "NSE", {}), symbol_of("NIFTY", "NSE", {"NIFTY": "NIFTY 50"}), symbol_of("", "NSE", {})
    ('NSE:RELIANCE', 'NSE:NIFTY 50', None)
    """
    said = name.strip()
    said = renames.get(said, said)
    if not said.isascii():
        return None
    said = said.upper()
    full = said if ":" in said else f"{exchange}:{said}"
    return full if SYMBOL.fullmatch(full) else None


def inferred(at: npt.NDArray[np.int64], symbol: npt.NDArray[np.int32]) -> Interval | None:
    """The interval of rows that start, or end, at these instants, ns, (n,): the usual distance within an instrument."""
    order = np.lexsort((at, symbol))
    steps = np.diff(at[order])[np.diff(symbol[order]) == 0]
    steps = steps[steps > 0]
    if not len(steps):
        return None
    values, counts = np.unique(steps, return_counts=True)
    usual = int(values[np.argmax(counts)])
    return "1m" if usual == MINUTE else "1d" if usual % DAY == 0 else None


def shaped(raw: Raw, form: Form) -> tuple[Candles, Faults]:
    """The rows as `CANDLE`, (n,), not yet in their places, and what is wrong with symbols, times and numbers."""
    rows = np.zeros(len(raw.at), CANDLE)
    faults = np.zeros(len(rows), np.int8)
    rows["instrument"], rows["interval"] = raw.symbol, INTERVALS[form.interval]
    rows["completeness"], rows["provenance"] = 1.0, form.provenance
    _mark(faults, raw.symbol < 0, Fault.NO_SYMBOL)
    _mark(faults, raw.at == UNKNOWN, Fault.NO_TIME)
    rows["session" if form.interval == "1d" else "start"] = np.where(raw.at == UNKNOWN, 0, raw.at)
    for name in PRICES:
        floats = raw.prices[name]
        rows[name], wrong = exact(floats)
        _mark(faults, ~np.isfinite(floats) | (np.abs(floats) >= LARGEST), Fault.NO_PRICE)
        _mark(faults, floats <= 0, Fault.NOT_POSITIVE)
        _mark(faults, wrong, Fault.NOT_EXACT)
    index = np.array([is_index(name) for name in raw.symbols] or [False])[np.maximum(raw.symbol, 0)]
    _count(rows, faults, raw, index)
    return rows, faults


def exact(floats: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Currency floats, (n,), as money, and which of them are none: a millionth or less away from no whole 1/10,000.

    A float of 32 bits is the whole cent, else the whole 1/10,000, that it is the nearest such float to.
    """
    known = np.where(np.isfinite(floats) & (np.abs(floats) < LARGEST), floats, 0.0)
    unit, cent = np.rint(known * SCALE), np.rint(known * SCALE / CENT) * CENT
    is_unit = np.abs(known - unit / SCALE) <= NOISE
    short_cent, short_unit = (np.abs(known - (amount / SCALE).astype(np.float32)) <= NOISE for amount in (cent, unit))
    amounts = np.where(is_unit | ~short_cent, unit, cent).astype(np.int64)
    return amounts, ~(is_unit | short_cent | short_unit)


def judged(
    rows: Candles, faults: Faults, symbols: Sequence[str], tables: Mapping[str, npt.NDArray[np.int64]], until: int
) -> Judged:
    """Rows, (n,), of one interval put into their places, and all that is wrong with them.

    A minute is placed by its `start`, a daily candle by its `session`; `instrument` counts `symbols`; `tables`:
    `Sessions.table()` of each exchange, oldest first; sessions that end after `until`, ns UTC, are not over.
    """
    rows, faults = rows.copy(), faults.copy()
    within = (rows["low"] <= np.minimum(rows["open"], rows["close"])) & (
        rows["high"] >= np.maximum(rows["open"], rows["close"])
    )
    _mark(faults, ~within, Fault.ORDER)
    exchange = np.array([name.partition(":")[0] for name in symbols] or [""])[np.maximum(rows["instrument"], 0)]
    _mark(faults, ~np.isin(exchange, list(tables)), Fault.NO_EXCHANGE)
    for name, table in tables.items():
        mine = np.flatnonzero((exchange == name) & (faults == 0))
        placed, wrong = _placed(rows[mine], table, until)
        rows[mine] = placed
        faults[mine] = wrong
    repeated = _repeated(rows, faults)
    _jumps(rows, faults, repeated)
    return Judged(rows, faults, repeated)


def additions(rows: Candles, held: Candles) -> Added:
    """Of candles, (n,), those that are new: held by nobody, or as a GAP only, and of several of one key the first.

    `held`: the newest revisions of what the lake has of the same instruments, interval and days, (k,).
    """
    both = np.concatenate([held, rows])
    key = both["instrument"].astype(np.int64) << 34 | both["start"] // SECOND
    empty = both["provenance"] == Provenance.GAP
    first = np.full(len(both), -1, np.int64)
    named, places = np.unique(key, return_inverse=True)
    keeper = np.full(len(named), len(both), np.int64)
    np.minimum.at(keeper, places[~empty], np.flatnonzero(~empty))
    first = keeper[places]
    mine = np.arange(len(held), len(both))
    new = mine[first[mine] == mine]
    others = mine[first[mine] != mine]
    same = np.logical_and.reduce([both[name][others] == both[name][first[others]] for name in FACTS])
    gap = np.zeros(len(named), np.int64)
    gone = np.flatnonzero(empty)
    gap[places[gone]] = both["revision"][gone] + 1
    out = both[new].copy()
    out["revision"] = gap[places[new]]
    return Added(out, int(same.sum()), int(len(others) - same.sum()), int(np.count_nonzero(gap[places[new]])))


def _mark(faults: Faults, where: npt.NDArray[np.bool_], fault: Fault) -> None:
    faults[where & (faults == 0)] = FAULTS.index(fault) + 1


def _count(rows: Candles, faults: Faults, raw: Raw, index: npt.NDArray[np.bool_]) -> None:
    none = np.full(len(rows), np.nan)
    counts = {"volume": raw.volume, "trades": raw.trades, "open_interest": raw.open_interest}
    for name, column in counts.items():
        values = none if column is None else column
        known = ~np.isnan(values)
        whole = known & (values >= 0) & (values < MOST_VOLUME)
        whole &= np.where(whole, values, 0.5) == np.rint(np.where(whole, values, 0))
        lacks = ~known & ~index if name == "volume" and column is not None else np.zeros(len(rows), np.bool_)
        _mark(faults, (known & ~whole) | lacks, Fault.VOLUME)
        rows[name] = UNKNOWN
        rows[name][whole] = values[whole].astype(np.int64)
    rows["volume"][index & (rows["volume"] == UNKNOWN)] = 0
    quiet = (rows["volume"] == 0) & (rows["high"] == rows["low"]) & ~index
    rows["trades"] = np.where(quiet, 0, rows["trades"])
    vwap = none if raw.vwap is None else raw.vwap
    known = (rows["volume"] > 0) & np.isfinite(vwap) & (np.where(np.isnan(vwap), 0, vwap) > 0)
    known &= np.where(known, vwap, 0) < LARGEST
    rows["vwap"] = UNKNOWN
    rows["vwap"][known] = np.rint(vwap[known] * SCALE).astype(np.int64)


def _placed(rows: Candles, table: npt.NDArray[np.int64], until: int) -> tuple[Candles, Faults]:
    rows, faults = rows.copy(), np.zeros(len(rows), np.int8)
    if not len(table):
        _mark(faults, np.ones(len(rows), np.bool_), Fault.NO_SESSION)
        return rows, faults
    days = (table[:, 0] + DAY // 2) // DAY
    daily = rows["interval"] == INTERVALS["1d"]
    found = np.where(
        daily,
        np.searchsorted(days, rows["session"], side="right"),
        np.searchsorted(table[:, 0], rows["start"], side="right"),
    )
    place = np.maximum(found - 1, 0)
    of, start = table[place], rows["start"]
    on = np.where(daily, days[place] == rows["session"], (start >= of[:, 0]) & (start < of[:, 0] + DAY))
    _mark(faults, ~on, Fault.NO_SESSION)
    off = (start < of[:, 2]) | (start >= of[:, 3])
    for p in range(HOURS, of.shape[1], 2):
        off |= (start >= of[:, p]) & (start < of[:, p + 1])
    _mark(faults, off & ~daily, Fault.OFF_SESSION)
    _mark(faults, ((start - of[:, 2]) % MINUTE != 0) & ~daily, Fault.BETWEEN)
    _mark(faults, of[:, 3] > until, Fault.NOT_OVER)
    rows["session"] = days[place]
    begin = np.where(rows["provenance"] == Provenance.OFFICIAL, of[:, 0], of[:, 2])
    rows["start"] = np.where(daily, begin, start)
    return rows, faults


def _repeated(rows: Candles, faults: Faults) -> npt.NDArray[np.bool_]:
    repeated = np.zeros(len(rows), np.bool_)
    fine = np.flatnonzero(faults == 0)
    order = fine[np.lexsort((fine, rows["start"][fine], rows["instrument"][fine]))]
    if len(order) < 2:
        return repeated
    key = rows[["instrument", "start"]][order]
    again = np.append(
        False, (key["instrument"][1:] == key["instrument"][:-1]) & (key["start"][1:] == key["start"][:-1])
    )
    if not again.any():
        return repeated
    group = np.cumsum(~again) - 1
    first = order[~again][group]
    differs = np.logical_or.reduce([rows[name][order] != rows[name][first] for name in FACTS])
    at_odds = np.zeros(group[-1] + 1, np.bool_)
    at_odds[group[differs]] = True
    _mark(faults, _among(len(rows), order[at_odds[group]]), Fault.CONTRADICTS)
    repeated[order[again & ~at_odds[group]]] = True
    return repeated


def _jumps(rows: Candles, faults: Faults, repeated: npt.NDArray[np.bool_]) -> None:
    fine = np.flatnonzero((faults == 0) & ~repeated)
    order = fine[np.lexsort((rows["start"][fine], rows["instrument"][fine]))]
    if not len(order):
        return
    who = rows["instrument"][order]
    low, high, close = (rows[name][order].astype(np.float64) for name in ("low", "high", "close"))
    begins = np.append(True, who[1:] != who[:-1])
    before = np.where(begins, close, np.append(close[0], close[:-1]))
    doubtful = np.flatnonzero(_apart(low, high, close, before))
    ends = np.append(np.flatnonzero(begins)[1:], len(order))
    end_of = ends[np.cumsum(begins) - 1]
    refused: dict[int, int] = {}  # to the last row before it that stands
    work = doubtful.tolist()[::-1]
    while work:
        i = work.pop()
        last = refused.get(i - 1, i - 1)
        if begins[i] or i in refused or not _apart(low[[i]], high[[i]], close[[i]], close[[last]])[0]:
            continue
        follow = close[i + 1 : min(i + 1 + CONFIRMING, end_of[i])]
        stays = len(follow) > 0 and bool(((follow >= NARROW * close[i]) & (follow <= WIDE * close[i])).all())
        if stays and not _wick(low[[i]], high[[i]], close[[i]], close[[last]])[0]:
            continue
        refused[i] = last
        if i + 1 < end_of[i]:
            work.append(i + 1)
    _mark(faults, _among(len(rows), order[np.array(sorted(refused), np.int64)]), Fault.JUMP)


def _apart(low: Floats, high: Floats, close: Floats, before: Floats) -> npt.NDArray[np.bool_]:
    return (close < NARROW * before) | (close > WIDE * before) | _wick(low, high, close, before)


def _wick(low: Floats, high: Floats, close: Floats, before: Floats) -> npt.NDArray[np.bool_]:
    return (low < NARROW * np.minimum(close, before)) | (high > WIDE * np.maximum(close, before))


def _among(count: int, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    found = np.zeros(count, np.bool_)
    found[places] = True
    return found
