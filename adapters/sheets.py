"""Sheets: CSV and parquet files of candles and series, read a piece at a time, as numbers.

A piece is so many rows of a file, counted from its first; the same file gives the same pieces whenever it is read. Rows
are numbered from 1 behind the header, lines that could not be taken apart among them.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from market.errors import BadValue
from market.imports import PRICES, Form, Interval, Raw, Times, inferred, symbol_of
from market.money import UNKNOWN
from market.sessions import DAY, MINUTE, ZONES

PIECE_ROWS = 500_000
SURVEYED = 50_000
"""Rows looked at to tell how a file writes its times."""

PARQUET = (".parquet", ".pq")
NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-"]

FORMATS = ("ISO8601", "%d-%b-%Y", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M", "%d-%B-%Y")
"""Times as text that can be meant in one way only; any other is named by the caller."""

_OFFSET = r"\d{2}:\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)$"
_BLOCK = 8 << 20
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


class Sheet(NamedTuple):
    """A file: what it holds by its digest, and its columns."""

    path: Path
    digest: str
    columns: tuple[str, ...]
    bytes: int


class Piece(NamedTuple):
    """Some rows of a sheet as they stand there, and their `numbers`; `torn` lines are none, with theirs."""

    number: int
    table: pa.Table
    numbers: npt.NDArray[np.int64]
    torn: tuple[tuple[int, str], ...] = ()


def opened(path: Path) -> Sheet:
    """The sheet of a file. Raises BadValue: none that can be read."""
    try:
        if path.suffix in PARQUET:
            columns = parquet.read_schema(path).names
        else:
            with path.open("rb") as file:
                if b"\0" in file.read(1 << 20):
                    raise pa.ArrowInvalid("it is no text in UTF-8")
            reading = csv.ReadOptions(use_threads=False, block_size=1 << 20)
            with _text(path) as text, csv.open_csv(text, reading, _parsing([])) as reader:
                columns = reader.schema.names
        with path.open("rb") as file:
            digest = blake2b(digest_size=16)
            while block := file.read(_BLOCK):
                digest.update(block)
            return Sheet(path, digest.hexdigest(), tuple(columns), file.tell())
    except (OSError, pa.ArrowException, UnicodeDecodeError) as e:
        raise BadValue("file", str(path), f"CSV or parquet that can be read ({_line(e)})") from e


def pieces(sheet: Sheet, columns: Sequence[str], rows: int = PIECE_ROWS) -> Iterator[Piece]:
    """All of a file, so many rows at a time; only these columns. Raises BadValue: it cannot be read on."""
    try:
        if sheet.path.suffix in PARQUET:
            yield from _parquet(sheet, columns, rows)
        else:
            yield from _csv(sheet, columns, rows)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as e:
        raise BadValue("file", str(sheet.path), f"CSV or parquet that can be read ({_line(e)})") from e


def count(sheet: Sheet, rows: int = PIECE_ROWS) -> int | None:
    """How many pieces a parquet file has; None for a CSV, which does not say."""
    if sheet.path.suffix not in PARQUET:
        return None
    return max(-(-int(parquet.read_metadata(sheet.path).num_rows) // rows), 1)


def piece(sheet: Sheet, columns: Sequence[str], number: int, rows: int = PIECE_ROWS) -> Piece:
    """One piece of a parquet file. Raises BadValue."""
    try:
        file = parquet.ParquetFile(sheet.path)
        first, last, before, begin = number * rows, (number + 1) * rows, 0, 0
        groups: list[int] = []
        for k in range(file.num_row_groups):
            here = file.metadata.row_group(k).num_rows
            if before < last and before + here > first:
                begin = before if not groups else begin
                groups.append(k)
            before += here
        table = file.read_row_groups(groups, list(columns)).slice(first - begin, rows)
        return Piece(number, table, first + 1 + np.arange(len(table)))
    except (OSError, pa.ArrowException) as e:
        raise BadValue("file", str(sheet.path), f"parquet that can be read ({_line(e)})") from e


def surveyed(sheet: Sheet, columns: Mapping[str, str], exchange: str, time_format: str | None = None) -> Times:
    """How a file writes its times, from its first rows. Raises BadValue."""
    first = next(pieces(sheet, wanted(columns), SURVEYED), None)
    if first is None or not len(first.table):
        return Times(aware=False, dates=True, format=None, interval=None)
    column = times_of(first.table, columns["time"])
    kind = column.type
    if pa.types.is_date(kind):
        return Times(aware=False, dates=True, format=None, interval="1d")
    known = _format(column, time_format) if pa.types.is_string(kind) else None
    aware = _aware(column)
    local = _read(column, known, aware, "UTC")
    zone = ZONES.get(exchange, ZONES["NSE"]).key  # type: ignore[call-overload]
    clock = _shown(local, zone) if aware else local
    good = clock != UNKNOWN
    midnight = bool(good.any()) and bool((clock[good] % DAY == 0).all())
    symbol = _codes(first.table, columns)[0]
    interval: Interval | None = "1d" if midnight else inferred(clock[good], symbol[good])
    return Times(aware=aware, dates=midnight, format=known, interval=interval)


def raw(piece: Piece, form: Form) -> Raw:
    """The numbers of a piece, as the form says to read them. Raises BadValue: no such zone."""
    columns = form.columns
    column = times_of(piece.table, columns["time"])
    symbol, names = _codes(piece.table, columns)
    symbols = [symbol_of(name, form.exchange, form.renames) for name in names] if "symbol" in columns else []
    if "symbol" not in columns:
        symbols = [form.symbol]
    known: dict[str, int] = {}
    codes = [-1 if name is None else known.setdefault(name, len(known)) for name in symbols]
    mine = np.array([*codes, -1], np.int32)[symbol]
    prices = {name: floats(piece.table[columns[name]]) for name in PRICES}
    more = {name: floats(piece.table[columns[name]]) for name in _MORE if name in columns}
    return Raw(tuple(known), mine, instants(column, form), prices, **more)


def instants(column: pa.ChunkedArray, form: Form) -> npt.NDArray[np.int64]:
    """When the candles of a column of times start, ns UTC, or the days they are of, (n,); UNKNOWN where unreadable."""
    zone = zone_named(form.zone) if form.zone else None
    home = ZONES.get(form.exchange, ZONES["NSE"]).key  # type: ignore[call-overload]
    if pa.types.is_date(column.type):
        days = _whole(column.cast(pa.date32()).cast(pa.int32()))
        return days if form.interval == "1d" else np.full(len(days), UNKNOWN)
    aware = _aware(column)
    text = pa.types.is_string(column.type)
    known = (form.time_format or _format(column, None)) if text else None
    if form.interval == "1d":
        read = _read(column, known, aware, "UTC")
        shown = _shown(read, home) if aware else read
        if not aware and zone and bool((shown[shown != UNKNOWN] % DAY != 0).any()):
            shown = _shown(_read(column, known, aware, zone), home)
        end = 1 if form.label == "end" else 0
        return np.where(shown == UNKNOWN, UNKNOWN, (shown - end) // DAY)
    read = _read(column, known, aware, zone or home)
    return np.where(read == UNKNOWN, UNKNOWN, read - (MINUTE if form.label == "end" else 0))


def times_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of times as dates, timestamps or text; two columns are joined by a blank. Raises BadValue."""
    if name in table.column_names:
        column = table[name]
    else:
        parts = [pc.cast(table[part], pa.string()) for part in name.split("+")]
        column = pc.binary_join_element_wise(*parts, " ")
    if pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.string())
    if pa.types.is_null(column.type):
        column = pc.cast(column, pa.string())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _epoch(column)
    if not (pa.types.is_string(column.type) or pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        raise BadValue("time", str(column.type), "times, dates, or text that says them")
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        digits = pc.all(pc.match_substring_regex(column, r"^\d{9,19}$")).as_py()
        if digits and len(column):
            return _epoch(pc.cast(column, pa.int64()))
    return column


def days_of(instants: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.int64]:
    """The days since 1970-01-01, (n,), that the clocks of a zone show at instants, ns UTC, (n,)."""
    shown = _shown(instants, zone)
    return np.where(shown == UNKNOWN, UNKNOWN, shown // DAY)


def zone_named(name: str) -> str:
    """The name of a time zone, `IST` for India's. Raises BadValue."""
    known = {"IST": "Asia/Kolkata", "ET": "America/New_York"}.get(name.upper(), name)
    try:
        return ZoneInfo(known).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise BadValue("--zone", name, "a time zone like Asia/Kolkata, America/New_York or UTC") from e


def wanted(columns: Mapping[str, str]) -> list[str]:
    """The columns of the file that a mapping names, each once."""
    found: dict[str, None] = {}
    for name in columns.values():
        found.update(dict.fromkeys([name] if "+" not in name else name.split("+")))
    return list(found)


def texts(piece: Piece, places: npt.NDArray[np.int64]) -> list[str]:
    """Rows of a piece as JSON, one a place."""
    taken = piece.table.take(pa.array(places))
    return [json.dumps(row, default=str) for row in taken.to_pylist()]


def floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """A column of numbers, or of text that says numbers, (n,); NaN where there is none."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, pa.string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        plain = pc.replace_substring(pc.utf8_trim_whitespace(column), ",", "")
        number = pc.match_substring_regex(plain, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$")
        column = pc.cast(pc.if_else(number, plain, None), pa.float64())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        return np.full(len(column), np.nan)
    return np.asarray(pc.cast(column, pa.float64(), safe=False).fill_null(np.nan).to_numpy(), np.float64)


_MORE = ("volume", "vwap", "trades", "open_interest")


def _parquet(sheet: Sheet, columns: Sequence[str], rows: int) -> Iterator[Piece]:
    file = parquet.ParquetFile(sheet.path)
    for number, batch in enumerate(file.iter_batches(rows, columns=list(columns))):
        table = pa.Table.from_batches([batch])
        yield Piece(number, table, number * rows + 1 + np.arange(len(table)))


def _csv(sheet: Sheet, columns: Sequence[str], rows: int) -> Iterator[Piece]:
    torn: list[tuple[int, str]] = []
    texts = dict.fromkeys(sheet.columns, pa.string())
    convert = csv.ConvertOptions(
        column_types=texts, include_columns=list(columns), null_values=NULLS, strings_can_be_null=True
    )
    reading = csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    held: list[pa.RecordBatch] = []
    number = seen = told = 0
    with _text(sheet.path) as text, csv.open_csv(text, reading, _parsing(torn), convert) as reader:
        for batch in reader:
            held.append(batch)
            while sum(map(len, held)) >= rows:
                table = pa.Table.from_batches(held)
                piece = _numbered(number, table.slice(0, rows), seen, torn, told)
                yield piece
                held = table.slice(rows).to_batches()
                number, seen, told = number + 1, seen + rows, told + len(piece.torn)
    if held or number == 0 or told < len(torn):
        table = pa.Table.from_batches(held, pa.schema([(name, pa.string()) for name in columns]))
        piece = _numbered(number, table, seen, torn, told)
        yield piece._replace(torn=tuple(torn[told:]))


def _numbered(number: int, table: pa.Table, seen: int, torn: Sequence[tuple[int, str]], told: int) -> Piece:
    """Lines that were torn stand between the others and are counted where they stand; `told` of them were before."""
    numbers = seen + 1 + np.arange(len(table))
    for line, _ in torn:
        numbers += numbers >= line
    highest = int(numbers[-1]) if len(numbers) else 0
    return Piece(number, table, numbers, tuple(one for one in torn[told:] if one[0] <= highest))


def _text(path: Path) -> pa.NativeFile:
    """A file as UTF-8, bytes that are none replaced: the reader cannot hand on a torn line that holds such."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def mended(block: pa.Buffer) -> bytes:
        return decoder.decode(bytes(block), final=not len(block)).encode()

    return pa.TransformInputStream(pa.OSFile(str(path)), mended)


def _parsing(torn: list[tuple[int, str]]) -> csv.ParseOptions:
    def keep(row: csv.InvalidRow) -> str:
        torn.append((int(row.number or 0) - 1, str(row.text)))
        return "skip"

    return csv.ParseOptions(invalid_row_handler=keep)


def _epoch(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Seconds, milli-, micro- or nanoseconds since 1970, told apart by their size, or 20160825."""
    values = floats(column)
    known = values[np.isfinite(values)]
    if len(known) and bool(((known >= 19000101) & (known <= 21001231)).all()):
        return pa.chunked_array([pa.array([None if v != v else f"{int(v)}" for v in values.tolist()], pa.string())])
    largest = float(np.abs(known).max()) if len(known) else 0.0
    unit = next((factor for bound, factor in _UNITS if largest < bound), 1)
    whole = _whole(column)
    scaled = np.where(whole == UNKNOWN, 0, whole * unit)
    return pa.chunked_array([pa.array(scaled, mask=whole == UNKNOWN).cast(pa.timestamp("ns", "UTC"))])


def _format(column: pa.ChunkedArray, given: str | None) -> str:
    some = [text for text in column.drop_null().slice(0, 100).to_pylist() if text]
    best, most = given or FORMATS[0], 0
    for known in (given,) if given else FORMATS:
        read = pd.to_datetime(pd.Series(some, dtype="object"), format=known, errors="coerce", utc=True)
        if read.notna().sum() > most:
            best, most = known, int(read.notna().sum())
    if most or not some:
        return best
    allowed = "times in one way of writing; say which with --time-format, like '%d-%m-%Y %H:%M'"
    raise BadValue("time", some[0], allowed)


def _aware(column: pa.ChunkedArray) -> bool:
    if pa.types.is_timestamp(column.type):
        return column.type.tz is not None
    first = column.drop_null().slice(0, 1).to_pylist()
    return bool(first) and re.search(_OFFSET, first[0]) is not None


def _read(column: pa.ChunkedArray, known: str | None, aware: bool, zone: str) -> npt.NDArray[np.int64]:
    """ns UTC of a column of timestamps or text; what has no zone is of `zone`, and UNKNOWN where it never was."""
    if pa.types.is_string(column.type):
        offset = pc.match_substring_regex(column, _OFFSET)
        column = pc.if_else(pc.equal(offset, aware), column, None)
        read = pd.to_datetime(column.to_pandas(), format=known, errors="coerce", utc=True)
        read = read if aware else read.dt.tz_localize(None)
        column = pa.chunked_array([pa.Array.from_pandas(read.dt.as_unit("ns"))])
    if column.type.tz is None:
        column = pc.assume_timezone(
            pc.cast(column, pa.timestamp("ns")), zone, ambiguous="earliest", nonexistent="earliest"
        )
    return _whole(pc.cast(column, pa.timestamp("ns", "UTC"), safe=False).cast(pa.int64()))


def _shown(instants: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.int64]:
    """What the clocks of a zone show, as if it were UTC."""
    column = pa.array(np.where(instants == UNKNOWN, 0, instants)).cast(pa.timestamp("ns", "UTC"))
    local = pc.local_timestamp(column.cast(pa.timestamp("ns", zone)))
    return np.where(instants == UNKNOWN, UNKNOWN, local.cast(pa.int64()).to_numpy())


def _codes(table: pa.Table, columns: Mapping[str, str]) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Places in a list of names, (n,); -1, the last one, for none."""
    if "symbol" not in columns:
        return np.zeros(len(table), np.int32), []
    coded = pc.cast(table[columns["symbol"]], pa.string()).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    return coded.indices.fill_null(-1).to_numpy().astype(np.int32), coded.dictionary.to_pylist()


def _whole(column: Any) -> npt.NDArray[np.int64]:
    if pa.types.is_floating(column.type):
        column = pc.cast(pc.if_else(pc.is_finite(column), column, None), pa.int64(), safe=False)
    return np.asarray(pc.cast(column, pa.int64()).fill_null(UNKNOWN).to_numpy(), np.int64)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:200]
