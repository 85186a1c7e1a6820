"""Recorded: ticks as others wrote them down, read as `TICK` rows in the order of the file.

Every row is read or named in `unread`; nothing is put right that the file does not say. `log` puts a feed's marks among
the rows, by the clock the recorder kept.
"""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from market.feeds import FeedWatch
from market.money import UNKNOWN, from_floats, money
from market.sessions import IST, SECOND, Sessions, nanoseconds
from market.ticks import FeedState, Flag, Ticks, blank, mark

NO_PRICE = 0x20000000
"""The bit of a trade of `us_ticks_2013` that leaves open, high, low and close alone."""

COINS = 100_000
"""Of a coin: the smallest lot of BTCUSDT. Sizes are counted in it."""


class Recorded(NamedTuple):
    """The rows of a file, their instruments by id, what could not be read, and how many rows had a swapped field."""

    rows: Ticks
    symbols: list[str]
    unread: list[str]
    swapped: int = 0


def us_trades(path: Path, day: date) -> Recorded:
    """The prints of one day, pre- and post-market among them; a trade's number is its place in the file."""
    table = _of_day(path, day)
    rows = _us_rows(table)
    rows["price"], rows["day_volume"] = from_floats(table["price"].to_numpy()), table["size"].to_numpy()
    rows["sequence"] = np.arange(len(rows))
    masks = np.array([int(mask, 16) for mask in pc.cast(table["cond"], pa.string()).to_pylist()])
    rows["flags"] = np.where(masks & NO_PRICE, Flag.PRINT | Flag.VOLUME_ONLY, Flag.PRINT)
    return Recorded(rows, _symbols(table), [])


def us_seconds(path: Path, day: date) -> Recorded:
    """The one-second bars of one day as four prints each: open, high, low, close; the first has the volume."""
    table = _of_day(path, day)
    rows = np.repeat(_us_rows(table), 4)
    prices = np.stack([from_floats(table[name].to_numpy()) for name in ("open", "high", "low", "close")], axis=1)
    volume = np.zeros(prices.shape, np.int64)
    volume[:, 0] = table["volume"].to_numpy()
    rows["price"], rows["day_volume"] = prices.ravel(), volume.ravel()
    rows["flags"], rows["sequence"] = Flag.PRINT, np.arange(len(rows))
    return Recorded(rows, _symbols(table), [])


def us_bars(path: Path, day: date, symbols: list[str]) -> dict[tuple[int, int], tuple[int, ...]]:
    """The vendor's own bars of a day: (instrument, start) -> open, high, low, close, volume."""
    table = _of_day(path, day)
    names = pc.cast(table["symbol"], pa.string()).to_pylist()
    starts = _instants(table).tolist()
    columns = [from_floats(table[n].to_numpy()).tolist() for n in ("open", "high", "low", "close")]
    known = {name: k for k, name in enumerate(symbols)}
    bars = zip(names, starts, zip(*columns, table["volume"].to_pylist(), strict=True), strict=True)
    return {(known[name], start): bar for name, start, bar in bars if name in known}


def nse_futures(path: Path) -> Recorded:
    """Broker packets with running totals. The recorder put the best ask into the second bid and left the asks 0."""
    made: list[Ticks] = []
    symbols: list[str] = []
    unread: list[str] = []
    swapped = 0
    with gzip.open(path, "rt", newline="") as file:
        for line in csv.DictReader(file):
            try:
                row, was_swapped = _future(line)
            except (ValueError, TypeError) as e:
                unread.append(f"{line.get('Symbol')}: {e}")
                continue
            name = line["Symbol"]
            if name not in symbols:
                symbols.append(name)
            row["instrument"] = symbols.index(name)
            swapped += was_swapped
            made.append(row)
    return Recorded(np.concatenate(made), symbols, unread, swapped)


def index_ticks(path: Path, name: str) -> Recorded:
    """Time and value of one index, no volume."""
    with gzip.open(path, "rt", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = blank(len(lines))
    rows["at"] = [_india(line["ts"]) for line in lines]
    rows["received"], rows["price"] = rows["at"], [money(line["price"]) for line in lines]
    return Recorded(rows, [name], [])


def binance(path: Path) -> Recorded:
    """The trades of a raw stream as prints, sizes in `COINS`; the last bid and ask go with them."""
    made: list[tuple[int, ...]] = []
    unread: list[str] = []
    book = (UNKNOWN, UNKNOWN)
    with gzip.open(path, "rt") as file:
        for line in file:
            if not line.strip():
                continue
            stamp, _, text = line.partition(" ")
            try:
                said = json.loads(text)
                data = said.get("data", said)
                kind = data.get("e", said.get("stream", "snapshot").partition("@")[2] or "snapshot")
                if kind == "bookTicker":
                    book = money(data["b"]), money(data["a"])
                elif kind == "trade":
                    at, price, size = data["T"] * 1_000_000, money(data["p"]), _lots(data["q"])
                    made.append((int(stamp), at, price, size, data["t"], *book))
            except (ValueError, KeyError, ArithmeticError) as e:
                unread.append(f"{e}: {text[:60]}")
    rows = blank(len(made))
    names = ("received", "at", "price", "day_volume", "sequence", "bid", "ask")
    for name, column in zip(names, np.array(made, np.int64).T, strict=True):
        rows[name] = column
    rows["flags"], rows["quoted"] = Flag.PRINT, rows["at"]
    return Recorded(rows, ["BTCUSDT"], unread)


def log(rows: Ticks, first: int, last: int, stride: int = SECOND) -> Ticks:
    """The rows with a LIVE mark every `stride` of [first, last], ns UTC, behind all that had come by then."""
    seconds = np.arange(first, last + 1, stride)
    marks = np.repeat(mark(0, FeedState.LIVE, first), len(seconds))
    marks["at"] = marks["quoted"] = marks["received"] = seconds
    clock = np.maximum.accumulate(rows["received"])
    return np.insert(rows, np.searchsorted(clock, seconds, side="right"), marks)


def watched(rows: Ticks, sessions: Sessions, first: int, last: int) -> Ticks:
    """The rows of a feed that connects at `first`, with the marks its watch would have made up to `last`, ns UTC."""
    watch = FeedWatch(0, sessions, 2 * SECOND)
    marks, places = [watch.begin(first, 1)], [0]
    watch.opened(first)
    clock = np.maximum.accumulate(rows["received"])
    for second in range(first, last + 1, SECOND):
        place = int(np.searchsorted(clock, second, side="right"))
        if place > (places[-1] if places else 0) or (place and clock[place - 1] > second - SECOND):
            watch.data(int(clock[place - 1]))
        for made in watch.step(second):
            marks.append(made[None])
            places.append(place)
    return np.insert(rows, places, np.concatenate(marks))


def _of_day(path: Path, day: date) -> pa.Table:
    table = parquet.read_table(path)
    local = pc.local_timestamp(table["ts"])
    return table.filter(pc.equal(pc.cast(local, pa.date32(), safe=False), pa.scalar(day)))


def _us_rows(table: pa.Table) -> Ticks:
    symbols = _symbols(table)
    rows = blank(table.num_rows)
    rows["instrument"] = pc.index_in(pc.cast(table["symbol"], pa.string()), pa.array(symbols)).to_numpy()
    rows["at"] = rows["quoted"] = rows["received"] = _instants(table)
    return rows


def _symbols(table: pa.Table) -> list[str]:
    return sorted(set(pc.cast(table["symbol"], pa.string()).to_pylist()))


def _instants(table: pa.Table) -> Any:
    return pc.cast(pc.cast(table["ts"], pa.timestamp("ns", "UTC")), pa.int64()).to_numpy()


def _future(line: dict[str, str]) -> tuple[Ticks, bool]:
    row = blank(1)
    row["at"] = row["received"] = _india(line["exchange_timestamp"])
    row["flags"] = Flag.NO_TIME  # the stamps are the recorder's
    row["price"], row["day_volume"] = money(line["last_price"]), int(line["volume_traded"])
    row["open_interest"] = int(line["open_interest"])
    swapped = float(line["ask_price_1"]) == 0 and float(line["bid_price_2"]) > float(line["bid_price_1"])
    for name, price, quantity in (("bid", "bid_price_1", "bid_qty_1"), ("ask", "bid_price_2", "bid_qty_2")):
        if float(line[price]) > 0 and (name == "bid" or swapped):
            row[name], row[f"{name}_quantity"] = money(line[price]), int(line[quantity])
    return row, swapped


def _india(text: str) -> int:
    return nanoseconds(datetime.fromisoformat(text).replace(tzinfo=IST))


def _lots(size: str) -> int:
    lots = Decimal(size) * COINS
    if lots != int(lots):
        raise ValueError(f"{size} is no whole number of lots")
    return int(lots)
