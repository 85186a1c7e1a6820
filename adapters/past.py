"""Past: the candles that features are made of, as one version of the lake has them, under the shares' present symbols.

A day's candle is ours, or an imported one, where there is one, else the exchange's own: that one comes in the evening
or later, and a day that was used may not become another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adapters.lake import Lake
from adapters.schemas import candle_rows
from market.candles import INTERVALS, Candles, Provenance
from market.names import Names


class Past:
    """Reads one version of the lake's candles; None: whatever is newest at each read. `ids`: of the present symbols."""

    def __init__(self, lake: Lake, version: int | None, ids: Mapping[str, int], names: Names) -> None:
        self._lake, self._version, self._ids, self._names = lake, version, ids, names

    def minutes(self, symbols: Collection[str], first: date, last: date) -> Candles:
        """The newest revisions of the 1 m candles of sessions `first` to `last`, both inclusive, (n,).

        Ordered by instrument and start. Raises LineDown, StoreRefused, BadValue (the version is gone).
        """
        return self._rows(self._lake.read_candles(self._called(symbols), "1m", first, last, version=self._version))

    def days(self, symbols: Collection[str], first: date, last: date) -> Candles:
        """The 1 d candles, (n,), one a session. As `minutes`."""
        called = self._called(symbols)
        official = self._rows(self._lake.read_official(called, first, last, version=self._version))
        ours = self._rows(self._lake.read_candles(called, "1d", first, last, version=self._version))
        rows = np.concatenate([official, ours])
        rows = rows[np.lexsort((rows["provenance"] == Provenance.OFFICIAL, rows["session"], rows["instrument"]))]
        new = (np.diff(rows["session"]) != 0) | (np.diff(rows["instrument"]) != 0)
        rows = rows[np.append(True, new)] if len(rows) else rows
        rows["interval"] = INTERVALS["1d"]
        return rows

    def _called(self, symbols: Collection[str]) -> list[str]:
        return called(symbols, self._names)

    def _rows(self, table: pa.Table) -> Candles:
        present, place = _presents(table, self._names)
        known = np.array([self._ids.get(symbol, -1) for symbol in present], np.int64)[place]
        rows = candle_rows(table, dict.fromkeys(pc.unique(table["symbol"]).to_pylist(), 0))
        rows["instrument"] = known
        rows = rows[known >= 0]
        return rows[np.lexsort((rows["start"], rows["instrument"]))]


def called(symbols: Collection[str], names: Names) -> list[str]:
    """Every symbol that the shares now called so ever had, in order."""
    return sorted({name for symbol in symbols for name in names.called(symbol)})


def under_present(table: pa.Table, symbols: Collection[str] | None, names: Names) -> pa.Table:
    """Rows of the lake, of one a symbol and start, under the shares' present symbols; ordered by symbol and start.

    Of the shares now called `symbols` alone, None: of all. Where a minute is there under an old symbol as well, the row
    under the present one counts. Rows in order of shares that were never renamed are left as they are.
    """
    if not any(symbol in names for symbol in pc.unique(table["symbol"]).to_pylist()):
        return table
    present, place = _presents(table, names)
    now = pa.array(present, pa.string()).take(pa.array(place))
    moved = pc.not_equal(now, table["symbol"].combine_chunks())
    table = table.set_column(table.column_names.index("symbol"), "symbol", now)
    if symbols is not None:
        mine = pc.is_in(now, pa.array(list(symbols), pa.string()))
        table, moved = table.filter(mine), moved.filter(mine)
    coded = table["symbol"].combine_chunks().dictionary_encode()
    ranks = np.asarray(pc.rank(coded.dictionary).take(coded.indices).to_numpy(), np.int64)
    starts = table["start"].cast(pa.int64()).to_numpy()
    order = np.lexsort((moved.to_numpy(zero_copy_only=False), starts, ranks))
    new = (np.diff(ranks[order]) != 0) | (np.diff(starts[order]) != 0)
    return table.take(pa.array(order[np.append(True, new)] if len(order) else order))


def _presents(table: pa.Table, names: Names) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Present symbols, and of each row of the lake, (n,), the place of its own among them."""
    symbols = table["symbol"].combine_chunks().dictionary_encode()
    codes = symbols.indices.to_numpy().astype(np.int64)
    days = table["session"].cast(pa.int32()).to_numpy().astype(np.int64)
    pairs, place = np.unique(codes << 32 | days, return_inverse=True)
    listed = [symbols.dictionary[int(code)].as_py() for code in pairs >> 32]
    return names.presents(listed, (pairs & 0xFFFFFFFF).astype(np.int32)), place
