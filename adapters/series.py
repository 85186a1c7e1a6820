"""Series: what is no candle, on its way into the lake and out of it, each value with the instant it was known."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from adapters import sheets
from adapters.imports import Refused
from adapters.lake import Lake
from adapters.schemas import INSTANT, SERIES
from adapters.sheets import Piece
from market.imports import Fault, Form
from market.money import UNKNOWN
from market.records import Record
from market.series import Known, known_at
from market.sessions import DAY, Sessions


class SeriesForm(Record):
    """How a file of series is understood. `series`: names to columns; `time`: the column of days, or of instants."""

    series: Mapping[str, str]
    known: Known
    time: str
    zone: str
    time_format: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Those of the file, by what they hold."""
        return {"time": self.time, **({"known": self.known.column} if self.known.column else {}), **self.series}


def series_rows(piece: Piece, form: SeriesForm, sessions: Sessions, source: str) -> tuple[pa.Table, Refused]:
    """The values of a piece as rows of the lake's `series`, and the rows that are refused, once for each series."""
    begun, days = _times(piece, form, form.time)
    known = np.full(len(begun), UNKNOWN)
    good = begun != UNKNOWN
    if form.known.column:
        known = _times(piece, form, form.known.column)[0]
    else:
        known[good] = known_at(days[good], form.known, sessions)
    parts, refused = [], [_torn(piece)]
    for name, column in form.series.items():
        values = sheets.floats(piece.table[column])
        faults = {
            Fault.NO_TIME: ~good | (known == UNKNOWN),
            Fault.NO_NUMBER: ~np.isfinite(values),
            Fault.KNOWN_BEFORE: known < begun,
        }
        fine = ~np.logical_or.reduce(list(faults.values()))
        parts.append(_table(name, begun[fine], known[fine], values[fine], source))
        reasons = np.select(list(faults.values()), [fault.value for fault in faults], "")
        refused.append(_refused(piece, np.flatnonzero(~fine), name, reasons))
    return pa.concat_tables(parts), Refused(*([x for one in of for x in one] for of in zip(*refused, strict=True)))


def new_series(lake: Lake, rows: pa.Table) -> tuple[pa.Table, int, int]:
    """Of rows of `series` those the lake does not hold; how many it holds, and how many with another value.

    Of several rows of one name, `at` and `known` the first counts.
    """
    held = lake.dataset("series").to_table(filter=ds.field("name").isin(pc.unique(rows["name"])))
    both = pa.concat_tables([held.select(SERIES.names), rows])
    keyed = both.append_column("place", pa.array(np.arange(len(both)))).group_by(["name", "at", "known"])
    first = keyed.aggregate([("place", "min")])
    joined = both.append_column("place", pa.array(np.arange(len(both)))).join(first, ["name", "at", "known"])
    joined = joined.sort_by("place").slice(len(held))
    earliest, place = joined["place_min"].to_numpy(), joined["place"].to_numpy()
    values = both["value"].to_numpy()
    again = earliest != place
    same = int((values[place[again]] == values[earliest[again]]).sum())
    return rows.filter(pa.array(~again)), same, int(again.sum()) - same


def read_series(lake: Lake, names: Collection[str], as_of: int) -> pa.Table:
    """What was known of these series at an instant, ns UTC: one row a name and `at`, ordered by them.

    Raises LineDown, StoreRefused.
    """
    until = pa.scalar(as_of // 1000, pa.int64()).cast(INSTANT)
    wanted = ds.field("name").isin(pa.array(list(names), pa.string())) & (ds.field("known") <= until)
    rows = lake.dataset("series").to_table(filter=wanted)
    newest = rows.group_by(["name", "at"]).aggregate([("known", "max")]).rename_columns(["name", "at", "known"])
    found = newest.join(rows, ["name", "at", "known"]).select(SERIES.names)
    return found.sort_by([("name", "ascending"), ("at", "ascending")])


def _times(piece: Piece, form: SeriesForm, column: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The instants of a column and the days they are of, on the clocks of the form's zone; a day is its midnight."""
    values = sheets.times_of(piece.table, column)
    dates = pa.types.is_date(values.type)
    reading = Form(
        columns={"time": column}, interval="1d" if dates else "1m", zone=form.zone, time_format=form.time_format
    )
    found = sheets.instants(values, reading)
    return (_midnights(found, form.zone), found) if dates else (found, sheets.days_of(found, form.zone))


def _midnights(days: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.int64]:
    shown = pa.array(np.where(days == UNKNOWN, 0, days) * DAY).cast(pa.timestamp("ns"))
    found = pc.assume_timezone(shown, zone, ambiguous="earliest", nonexistent="earliest").cast(pa.int64()).to_numpy()
    return np.where(days == UNKNOWN, UNKNOWN, found)


def _table(
    name: str, begun: npt.NDArray[np.int64], known: npt.NDArray[np.int64], values: npt.NDArray[np.float64], source: str
) -> pa.Table:
    columns = {
        "name": pa.array([name] * len(begun), pa.string()),
        "at": pa.array(begun // 1000).cast(INSTANT),
        "known": pa.array(known // 1000).cast(INSTANT),
        "value": pa.array(values),
        "source": pa.array([source] * len(begun), pa.string()),
    }
    return pa.table(columns, schema=SERIES)


def _refused(piece: Piece, places: npt.NDArray[np.int64], name: str, reasons: npt.NDArray[np.str_]) -> Refused:
    rows = piece.numbers[places].tolist()
    return Refused(rows, [name] * len(rows), reasons[places].tolist(), sheets.texts(piece, places))


def _torn(piece: Piece) -> Refused:
    lines, texts = [line for line, _ in piece.torn], [text for _, text in piece.torn]
    return Refused(lines, [""] * len(lines), [Fault.TORN.value] * len(lines), texts)
