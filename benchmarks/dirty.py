"""Dirty input: recorded ticks of three markets, folded, against bars that others made of them; shares exact.

Every figure is a share of the rows compared. `recorded.py` says how a file becomes rows. Where no bars came with the
file, a second, plain way of counting stands beside the fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from benchmarks import recorded
from benchmarks.recorded import Recorded
from benchmarks.report import Report
from market.candles import Candles, Provenance, newest_revisions
from market.fold import CandleBuilder
from market.holidays import nse_sessions
from market.money import UNKNOWN, from_floats
from market.sessions import DAY, MINUTE, SECOND, Session, Sessions, nanoseconds, session
from market.tape import BAR, TAIL, Bars, from_bars
from market.ticks import Kind, Ticks, blank
from market.vendors.us_prints import NEW_YORK

FIXTURES = Path(__file__).resolve().parents[1] / ".." / "shared" / "fixtures" / "market"
US_DAYS = (date(2013, 10, 7), date(2013, 10, 8), date(2013, 10, 9))
ODD_DAYS = (date(2021, 2, 24), date(2021, 11, 4), date(2021, 7, 23), date(2022, 1, 21), date(2022, 3, 7))
FIELDS = ("open", "high", "low", "close", "volume")
PIECE = 1300
"""Seconds of a session that fit, a minute each, into one day."""

Rows = dict[tuple[int, int], tuple[int, ...]]
"""(instrument, start ns UTC) -> open, high, low, close, volume."""


class Share(NamedTuple):
    """How many of the rows compared are exact."""

    what: str
    field: str
    exact: int
    rows: int

    @property
    def share(self) -> float:
        """0..1."""
        return self.exact / self.rows

    def __str__(self) -> str:
        return f"{self.what}, {self.field}: {self.exact} of {self.rows} exact, {100 * self.share:.3f} %"


class Found(NamedTuple):
    """What a file gave: shares exact, what was counted, and the candles."""

    shares: list[Share]
    counts: dict[str, int]
    candles: Candles

    def share(self, field: str) -> Share:
        """One share by its field."""
        return next(s for s in self.shares if s.field == field)


def run(out: Report) -> None:
    """Every comparison, and what was counted on the way."""
    if not FIXTURES.is_dir():
        out.say("the recorded files are not beside the repository")
        return
    files = {
        "us_ticks_2013, prints to minutes": us_minutes,
        "us_ticks_2013, prints to seconds": us_seconds,
        "us_ticks_2013, seconds to minutes": us_seconds_to_minutes,
        "nse_ticks, futures": futures,
        "nse_ticks, NIFTY": index_ticks,
        "binance_ws_20240808": coins,
        "nse_index_1min_2021_2023": odd_sessions,
    }
    for name, compare in files.items():
        found = compare()
        for share in found.shares:
            out.add(f"{name}, {share.field}", f"share of {share.rows:,} rows", share.share)
        out.say(f"{name}: {found.counts}")


# US prints, the vendor's own bars beside them


def us_minutes() -> Found:
    """Trades to one-minute candles; the minutes with the opening and the closing auction apart."""
    tally, counts, every = Tally("prints to minutes"), Counter[str](), []
    for day in US_DAYS:
        trades = recorded.us_trades(FIXTURES / "us_ticks_2013" / "trades.parquet", day)
        hours = _us_hours(day)
        candles, counted = _folded(trades, hours)
        bars = _inside(recorded.us_bars(FIXTURES / "us_ticks_2013" / "bars_1m.parquet", day, trades.symbols), hours)
        edges = {int(hours[0, 2]), int(hours[0, 3]) - MINUTE}
        tally.add(_rows(candles), {key: bar for key, bar in bars.items() if key[1] not in edges})
        tally.add(
            _rows(candles), {key: bar for key, bar in bars.items() if key[1] in edges}, " in the auctions' minutes"
        )
        counts += Counter(counted)
        every.append(candles)
    return Found(tally.shares(), dict(counts), np.concatenate(every))


def us_seconds() -> Found:
    """Trades to one-second candles: a second stretched to a minute is a candle of the same fold."""
    tally, counts, every = Tally("prints to seconds"), Counter[str](), []
    for day in US_DAYS:
        trades = recorded.us_trades(FIXTURES / "us_ticks_2013" / "trades.parquet", day)
        hours = _us_hours(day)
        candles, counted = _stretched(trades, hours)
        bars = recorded.us_bars(FIXTURES / "us_ticks_2013" / "bars_1s.parquet", day, trades.symbols)
        tally.add(_rows(candles), _inside(bars, hours))
        counts += Counter(counted)
        every.append(candles)
    return Found(tally.shares(), dict(counts), np.concatenate(every))


def us_seconds_to_minutes() -> Found:
    """The vendor's one-second bars, four prints each, to one-minute candles."""
    tally, counts, every = Tally("seconds to minutes"), Counter[str](), []
    for day in US_DAYS:
        seconds = recorded.us_seconds(FIXTURES / "us_ticks_2013" / "bars_1s.parquet", day)
        hours = _us_hours(day)
        candles, counted = _folded(seconds, hours)
        bars = recorded.us_bars(FIXTURES / "us_ticks_2013" / "bars_1m.parquet", day, seconds.symbols)
        tally.add(_rows(candles), _inside(bars, hours))
        counts += Counter(counted)
        every.append(candles)
    return Found(tally.shares(), dict(counts), np.concatenate(every))


# Streams without bars of their own, a plain count beside them


def futures() -> Found:
    """An hour of four stock futures, out of order, repeated, with a hole of 38 minutes."""
    file = recorded.nse_futures(FIXTURES / "nse_ticks" / "stock_futures_20251117.csv.gz")
    candles, counts = _watched(file, session(date(2025, 11, 17)))
    tally = Tally("futures")
    plain = _plain_totals(file.rows)
    ours = {key: row for key, row in _rows(candles).items() if row[4] or row[0] != UNKNOWN}
    for who, total in plain.items():
        tally.one("volume of the hour", sum(row[4] for key, row in ours.items() if key[0] == who) == total)
    _possible(tally, candles, file.rows)
    return Found(tally.shares(), counts | {"unread": len(file.unread), "asks put back": file.swapped}, candles)


def index_ticks() -> Found:
    """500 values of NIFTY, no volume: every minute's prices, counted by hand."""
    file = recorded.index_ticks(FIXTURES / "nse_ticks" / "nifty_index_2025-02-11.csv.gz", "NIFTY")
    candles, counts = _watched(file, session(date(2025, 2, 11)))
    tally = Tally("index")
    tally.add(_rows(candles), _plain_bars(file.rows, volume=False))
    _possible(tally, candles, file.rows)
    return Found(tally.shares(), counts, candles)


def coins(repeated: bool = False) -> Found:
    """Six minutes of BTCUSDT trades by the exchange's stamps; `repeated`: every message comes again 50 later."""
    file = recorded.binance(FIXTURES / "binance_ws_20240808" / "btcusdt_20240808.gz")
    rows = file.rows
    if repeated:
        order = np.concatenate([np.arange(len(rows)), np.arange(len(rows)) + 50.5])
        rows = np.concatenate([rows, rows])[np.argsort(order, kind="stable")]
    skew = int((file.rows["received"] - file.rows["at"]).min())
    rows["received"] = np.maximum.accumulate(rows["received"] - skew)
    first, last = int(rows["at"][0]) // MINUTE * MINUTE, int(rows["received"][-1]) // MINUTE * MINUTE + MINUTE
    hours = np.array([[first, first, first, last]])
    candles, counts = _fold(recorded.log(rows, first, last + 3 * SECOND), hours, 1)
    tally = Tally("coins")
    tally.add(_rows(candles), _plain_bars(file.rows, volume=True))
    counts |= {"unread": len(file.unread), "recorder's clock behind, ms": -skew // 1_000_000}
    return Found(tally.shares(), counts, candles)


# Sessions of unusual hours


def odd_sessions() -> Found:
    """Both Muhurat evenings, the outage of 2021-02-24 and short feeds: recorded minutes back to the same minutes.

    Also: on every day of the file, whether all its minutes of trading lie inside the session we know.
    """
    table = parquet.read_table(FIXTURES / "nse_index_1min_2021_2023" / "bars.parquet")
    kinds, symbols = (np.array(table[name].to_pylist()) for name in ("kind", "symbol"))
    starts = pc.cast(pc.cast(table["ts"], pa.timestamp("ns", "UTC")), pa.int64()).to_numpy()
    traded = np.isin(kinds, ["regular", "extended", "muhurat"])
    bars = np.zeros(len(starts), BAR)
    bars["instrument"], bars["start"] = symbols == "BANKNIFTY", starts
    for name in ("open", "high", "low", "close"):
        bars[name] = from_floats(table[name].to_numpy())
    bars = bars[traded]
    days = (bars["start"] + 330 * MINUTE) // DAY
    tally, counts, every = Tally("sessions"), Counter[str](), []
    known = nse_sessions(date(2021, 1, 1), date(2022, 6, 30))
    for day in np.unique(days):
        on = known.on(date.fromordinal(int(day) + date(1970, 1, 1).toordinal()))
        mine = bars[days == day]
        inside = on is not None and mine["start"].min() >= on.open and mine["start"].max() + MINUTE <= on.close
        tally.one("minutes inside the session we know", inside)
    for odd in ODD_DAYS:
        on = known.on(odd)
        assert on is not None
        mine = bars[on.holds(bars["start"])]
        candles, counted = _played(on, mine)
        tally.add(_rows(candles), _bars(mine))
        live = candles[(candles["interval"] == 60) & (candles["provenance"] != Provenance.GAP)]
        dark = {int(r["start"]) for r in live if r["trades"]} - set(mine["start"].tolist())
        tally.one("no minute with trades beyond the recorded ones", not dark)
        counts += Counter(counted)
        every.append(candles)
    return Found(tally.shares(), dict(counts), np.concatenate(every))


class Tally:
    """Rows compared and exact, field by field."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._exact: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def one(self, field: str, exact: bool) -> None:
        """Count one row."""
        self._rows[field] += 1
        self._exact[field] += bool(exact)

    def add(self, ours: Rows, theirs: Rows, where: str = "") -> None:
        """Compare every row of theirs, field by field; one we have not is wrong in all."""
        for key, bar in theirs.items():
            mine = ours.get(key, (None,) * len(bar))
            for name, a, b in zip(FIELDS, mine, bar, strict=True):
                self.one(name + where, a == b)

    def shares(self) -> list[Share]:
        """In the order in which the fields came."""
        return [Share(self._what, field, self._exact[field], rows) for field, rows in self._rows.items()]


def _us_hours(day: date) -> np.ndarray:
    clocks = (time(0), time(4), time(9, 30), time(16))
    return np.array([[nanoseconds(datetime.combine(day, clock, NEW_YORK)) for clock in clocks]])


def _folded(file: Recorded, hours: np.ndarray) -> tuple[Candles, dict[str, int]]:
    rows = file.rows[np.argsort(file.rows["at"], kind="stable")]  # a file has its symbols one behind the other
    return _fold(recorded.log(rows, int(hours[0, 1]), int(hours[0, 3]) + 3 * SECOND), hours, len(file.symbols))


def _stretched(file: Recorded, hours: np.ndarray) -> tuple[Candles, dict[str, int]]:
    opens, closes = int(hours[0, 2]), int(hours[0, 3])
    rows = file.rows[np.argsort(file.rows["at"], kind="stable")]
    rows = rows[(rows["at"] >= opens) & (rows["at"] < closes)]
    piece, within = np.divmod(rows["at"] - opens, PIECE * SECOND)
    rows["at"] = rows["received"] = opens + piece * DAY + within * 60
    days = opens + np.arange(-(-(closes - opens) // (PIECE * SECOND))) * DAY
    calendar = np.stack([days, days, days, days + PIECE * MINUTE], axis=1)
    ends = PIECE * MINUTE + 3 * SECOND
    parts = [recorded.log(rows[piece == k], d, d + ends, MINUTE // 2) for k, d in enumerate(days.tolist())]
    candles, counts = _fold(np.concatenate(parts), calendar, len(file.symbols))
    piece, within = np.divmod(candles["start"] - opens, DAY)
    candles["start"] = opens + piece * PIECE * SECOND + within // 60
    return candles, counts


def _watched(file: Recorded, on: Session) -> tuple[Candles, dict[str, int]]:
    first, last = (int(file.rows["received"][k]) // MINUTE * MINUTE for k in (0, -1))
    log = recorded.watched(file.rows, Sessions([on]), first, last + MINUTE + 3 * SECOND)
    candles, counts = _fold(log, Sessions([on]).table(), len(file.symbols))
    return candles[(candles["start"] >= first) & (candles["start"] <= last)], counts


def _played(on: Session, bars: Bars) -> tuple[Candles, dict[str, int]]:
    tape = from_bars(on, bars, {})
    packets = tape.between(on.open, on.close + TAIL)
    rows = blank(len(packets))
    for name in ("instrument", "at", "price"):
        rows[name] = packets[name]
    rows["received"] = np.maximum.accumulate(rows["at"])
    return _fold(recorded.watched(rows, Sessions([on]), on.open - 15 * SECOND, on.close + 5 * SECOND),
                 Sessions([on]).table(), 2)  # fmt: skip


def _fold(log: Ticks, calendar: np.ndarray, instruments: int) -> tuple[Candles, dict[str, int]]:
    builder = CandleBuilder(range(instruments), calendar)
    candles = builder.step(log)
    minutes = newest_revisions(candles[candles["interval"] == 60])
    return minutes, {name: count for name, count in builder.counts.items() if count}


def _rows(candles: Candles) -> Rows:
    traded = candles[(candles["trades"] > 0) | (candles["volume"] > 0)]
    return _bars(traded)


def _bars(rows: Candles | Bars) -> Rows:
    columns = [rows[name].tolist() for name in FIELDS]
    keys = zip(rows["instrument"].tolist(), rows["start"].tolist(), strict=True)
    return dict(zip(keys, zip(*columns, strict=True), strict=True))


def _inside(bars: Rows, hours: np.ndarray) -> Rows:
    return {key: bar for key, bar in bars.items() if hours[0, 2] <= key[1] < hours[0, 3]}


def _plain_bars(rows: Ticks, volume: bool) -> Rows:
    made: dict[tuple[int, int], list[int]] = {}
    for who, at, price, size in _sorted(rows, ("instrument", "at", "price", "day_volume")):
        bar = made.setdefault((who, at - at % MINUTE), [price, price, price, price, 0])
        bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
        bar[4] += size if volume else 0
    return {key: tuple(bar) for key, bar in made.items()}


def _plain_totals(rows: Ticks) -> dict[int, int]:
    """The highest running total of each instrument less the first: all that can have traded while we listened."""
    first: dict[int, int] = {}
    highest: Counter[int] = Counter()
    for who, total in zip(rows["instrument"].tolist(), rows["day_volume"].tolist(), strict=True):
        first.setdefault(who, total)
        highest[who] = max(highest[who], total)
    return {who: highest[who] - total for who, total in first.items()}


def _sorted(rows: Ticks, names: Iterable[str]) -> Iterable[tuple[int, ...]]:
    rows = rows[np.argsort(rows["at"], kind="stable")]
    return zip(*(rows[name].tolist() for name in names), strict=True)


def _possible(tally: Tally, candles: Candles, rows: Ticks) -> None:
    """Every price of a traded minute is one that the file has in that minute."""
    told: dict[tuple[int, int], set[int]] = {}
    rows = rows[rows["kind"] == Kind.TICK]
    for who, at, price in _sorted(rows, ("instrument", "at", "price")):
        told.setdefault((who, at - at % MINUTE), set()).add(price)
    for key, bar in _rows(candles).items():
        tally.one("prices that the file has in that minute", set(bar[:4]) <= told.get(key, set()))
