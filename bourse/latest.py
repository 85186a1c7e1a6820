"""Latest: the quotes a client of the stream has folded so far, as columns; a row becomes a dict when asked for.

A quote is stale where the gateway says so, where the line is down, and where the gateway of now has not spoken of it
yet: a value that may be old never looks new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from market.errors import UnknownSymbol
from market.frames import FEED_NAMES, Kind
from market.money import SCALE, UNKNOWN

Ints = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]

EXCHANGES = ("NSE", "BSE", "NASDAQ", "NYSE")
ROOM = 64
PRICE, INSTANT = "rupee/10000", "ms"


class Latest(Mapping[str, dict[str, Any]]):
    """Symbol -> quote. Prices are rupees, instants aware UTC, None is unknown; `age` is seconds of market time since
    the trade, None where `at` is not among the fields asked for.
    """

    def __init__(self) -> None:
        self.live = False
        """Whether the line to the gateway is up."""
        self.feed = "UNKNOWN"
        self.market_time: datetime | None = None
        self._names: list[str] = []
        self._units: list[str] = []
        self._column: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._of_row: dict[int, str] = {}
        self._free: list[int] = []
        self._of_number: dict[int, int] = {}
        self._places: dict[int, tuple[list[int], int | None]] = {}
        self._near = np.zeros(0, np.bool_)
        self._base, self._now = 0, UNKNOWN
        self._values: Ints = np.zeros((0, 0), np.int64)
        self._moved, self._heard = np.zeros(0, np.bool_), np.zeros(0, np.bool_)

    def __getitem__(self, symbol: str) -> dict[str, Any]:
        """One quote, by `NSE:RELIANCE` or `RELIANCE`. Raises KeyError."""
        name = self._named(symbol)
        row = self._rows[name]
        told = {n: self._told(k, row) for k, n in enumerate(self._names)}
        return {"symbol": name} | told | {"stale": self._stale(row), "age": self._age(row), "feed": self.feed}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and any(one in self._rows for one in full_names(symbol))

    def columns(self, symbols: Iterable[str] | None = None) -> Columns:
        """All quotes, or those of some symbols, a column a field: `symbol`, prices in rupees and counts as floats with
        NaN for unknown, instants as datetime64[ms], `age` in seconds, `stale`. Raises UnknownSymbol.
        """
        names = list(self._rows) if symbols is None else [self._known(one) for one in symbols]
        rows = np.array([self._rows[name] for name in names], np.int64)
        values = self._values[rows]
        found: Columns = {"symbol": np.array(names, np.str_)}
        for k, (name, unit) in enumerate(zip(self._names, self._units, strict=True)):
            found[name] = self._shown(values, k, unit)
        found["stale"] = self._stales(rows)
        at = self._column.get("at")
        if at is not None:
            known = (values[:, at] != UNKNOWN) & (self._now != UNKNOWN)
            found["age"] = np.where(known, np.maximum(self._now - np.where(known, values[:, at], 0), 0) / 1000, np.nan)
        return found

    # What the client does with it

    def begin(self, hello: Mapping[str, Any]) -> None:
        """A line is up: how its frames are to be read."""
        names = [field["name"] for field in hello["fields"]]
        if names != self._names:
            self._names, self._units = names, [field["unit"] for field in hello["fields"]]
            self._column = {name: k for k, name in enumerate(names)}
            self._near = np.array([field.get("from") == "price" for field in hello["fields"]])
            self._values = np.full((len(self._moved), len(names)), UNKNOWN)
            self._places = {}
        self._base = hello["base"]
        self._of_number = {}
        self._heard[:] = False
        self.live = True

    def number(self, numbers: Mapping[str, int], *, heard: bool = False) -> None:
        """What instruments are called in this line's frames. `heard`: what we have of them still holds."""
        for name, number in numbers.items():
            row = self._rows.get(name)
            if row is None:
                row = self._rows[name] = self._free.pop() if self._free else self._more()
                self._of_row[row] = name
            self._of_number[number] = row
            if heard:
                self._heard[row] = True

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop quotes."""
        for symbol in symbols:
            row = next((self._rows.pop(name) for name in full_names(symbol) if name in self._rows), None)
            if row is not None:
                self._of_number = {n: r for n, r in self._of_number.items() if r != row}
                self._values[row], self._moved[row], self._heard[row] = UNKNOWN, False, False
                self._free.append(row)

    def fold(self, frame: list[Any]) -> bool:
        """Take a frame in; whether anything is new in it: a value, or the state of the feed."""
        kind, _, moment, feed, _, *entries = frame
        before, self.feed = self.feed, FEED_NAMES[feed] if feed < len(FEED_NAMES) else "UNKNOWN"
        self._now = UNKNOWN if moment is None else moment + self._base
        self.market_time = _instant(self._now)
        if kind == Kind.HEARTBEAT or not entries:
            return before != self.feed
        rows: list[int] = []
        columns: list[int] = []
        values: list[int | None] = []
        last: list[int] = []
        for number, mask, *rest in entries:
            row = self._of_number.get(number)
            if row is not None:
                places, priced = self._places.get(mask) or self._place(mask)
                rows += [row] * len(places)
                columns += places
                values += rest
                last += [0 if priced is None else rest[priced] or 0] * len(places)
        at = np.array(rows, np.int64)
        new = np.array([UNKNOWN if one is None else one for one in values], np.int64)
        known, fields = new != UNKNOWN, np.array(columns, np.int64)
        instants = known & (fields == self._column["at"])
        new[instants] = self._base + (0 if moment is None else moment) - new[instants]
        near = known & self._near[fields]
        new[near] += np.array(last, np.int64)[near]
        self._values[at, fields] = new
        self._moved[at] = self._heard[at] = True
        return True

    def moved(self) -> list[str]:
        """The symbols whose quotes have changed since the last call."""
        if not self._moved.any():
            return []
        found = [self._of_row[row] for row in np.flatnonzero(self._moved).tolist()]
        self._moved[:] = False
        return found

    def _place(self, mask: int) -> tuple[list[int], int | None]:
        """The columns that a mask names, and which of them is the last price."""
        columns = [k for k in range(mask.bit_length()) if mask >> k & 1]
        price = self._column.get("price")
        self._places[mask] = columns, columns.index(price) if price in columns else None
        return self._places[mask]

    def _more(self) -> int:
        have = len(self._moved)
        room = max(have, ROOM)
        self._values = np.concatenate([self._values, np.full((room, len(self._names)), UNKNOWN)])
        self._moved, self._heard = (
            np.concatenate([one, np.zeros(room, np.bool_)]) for one in (self._moved, self._heard)
        )
        self._free += range(have + room - 1, have, -1)
        return have

    def _named(self, symbol: str) -> str:
        for name in full_names(symbol):
            if name in self._rows:
                return name
        raise KeyError(symbol)

    def _known(self, symbol: str) -> str:
        try:
            return self._named(symbol)
        except KeyError:
            raise UnknownSymbol("symbol", symbol, f"one of the {len(self)} that were asked for") from None

    def _instants(self, values: Ints, column: int) -> Ints:
        mine, at = values[:, column], values[:, self._column["at"]]
        if self._names[column] == "at":
            return mine
        known = (mine != UNKNOWN) & (at != UNKNOWN)  # received: ms since `at`
        return np.where(known, np.where(known, mine, 0) + np.where(known, at, 0), UNKNOWN)

    def _shown(self, values: Ints, column: int, unit: str) -> npt.NDArray[Any]:
        if unit == INSTANT:
            return self._instants(values, column).view("M8[ms]")  # both have the least number for unknown
        mine = values[:, column]
        return np.where(mine == UNKNOWN, np.nan, mine / (SCALE if unit == PRICE else 1))

    def _told(self, column: int, row: int) -> Any:
        value, unit = int(self._values[row, column]), self._units[column]
        if unit == INSTANT:
            return _instant(int(self._instants(self._values[row : row + 1], column)[0]))
        if value == UNKNOWN:
            return None
        return value / SCALE if unit == PRICE else value

    def _stales(self, rows: Ints) -> npt.NDArray[np.bool_]:
        if not self.live:
            return np.ones(len(rows), np.bool_)
        return np.asarray((self._values[rows, self._column["stale"]] != 0) | ~self._heard[rows])

    def _stale(self, row: int) -> bool:
        return bool(self._stales(np.array([row], np.int64))[0])

    def _age(self, row: int) -> float | None:
        at = int(self._values[row, self._column["at"]])
        return None if UNKNOWN in (at, self._now) else max(self._now - at, 0) / 1000


def full_names(symbol: str) -> Iterator[str]:
    """What a symbol may be called in full, in the order a gateway tries them."""
    wanted = symbol.strip().upper()
    yield wanted
    yield from (f"{exchange}:{wanted}" for exchange in EXCHANGES)


def _instant(ms: int) -> datetime | None:
    return None if ms == UNKNOWN else datetime.fromtimestamp(ms / 1000, UTC)
