"""Entries: how a batch of rows, or of records, looks on the bus.

    b"B" · version u1 · kind u1 · reserved u1 · rows u4        8 bytes, little endian
    of features the checksum of their set u4
    one zstd frame with checksum:
        columns: per column its code u1, then per column its base u8
        rows: per column its values, in columns of 0, 1, 2, 4 or 8 bytes a row
        records: MessagePack

A row is cut into words of 8 bytes, and a word in which two fields meet into halves of 4: these are the columns,
whatever their meaning, so every bit comes back. A column is stored as the distance from its smallest value in the
fewest bytes; one that is the same in all rows takes none, one that never falls is stored as steps. UNKNOWN is the top
code of its width, so one unknown price does not widen the others.

Readers accept version 1; the next version keeps reading it. Features are read by who knows the same set of them: they
are on the bus for an hour, and can be made again.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple
from zlib import crc32

import msgpack
import numpy as np
import numpy.typing as npt
import zstandard

from market.candles import CANDLE
from market.errors import BadPayload, BadValue
from market.scores import SCORE
from market.signals import SIGNAL
from market.ticks import TICK

VERSION = 1
ROWS_LIMIT = 1 << 22
RECORDS_BYTES = 64 << 20

HEADER = struct.Struct("<cBBBI")
MAGIC = b"B"
RECORDS = 0
FEATURES = 3
KINDS = {1: TICK, 2: CANDLE, 4: SCORE, 5: SIGNAL}
LEVEL = 1

# A code is the width in bytes, and what was done to the column.
STEPS = 0x10
UNKNOWNS = 0x20
WIDTHS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}

# UNKNOWN is the lowest int64. Shifted by this, all others keep their order from 0 on and UNKNOWN is the highest.
SHIFT = np.uint64((1 << 63) - 1)
TOP = (1 << 64) - 1

Rows = npt.NDArray[np.void]


def encode(rows: Rows) -> bytes:
    """A (n,) array of a dtype in `KINDS` as one entry. Raises BadValue for another dtype."""
    kind = next((k for k, dtype in KINDS.items() if dtype == rows.dtype), FEATURES)
    named = b"" if kind in KINDS else _set().named
    if kind == FEATURES and rows.dtype != _set().dtype:
        raise BadValue("rows", rows.dtype, "TICK, CANDLE, FEATURE, SCORE or SIGNAL")
    parts = [b""]
    if len(rows):
        values = _columns(np.ascontiguousarray(rows)).view(np.uint64)
        values += SHIFT
        lows, highs = values.min(axis=1).tolist(), values.max(axis=1).tolist()
        rising: list[bool] = np.all(values[:, 1:] >= values[:, :-1], axis=1).tolist()
        packed = [_packed(*column) for column in zip(values, lows, highs, rising, strict=True)]
        parts = [bytes(code for code, _ in packed), struct.pack(f"<{len(lows)}Q", *lows), *(data for _, data in packed)]
    head = HEADER.pack(MAGIC, VERSION, kind, 0, len(rows)) + named
    return head + _compressor().compress(b"".join(parts))


def decode(payload: bytes, dtype: np.dtype[Any]) -> Rows:
    """The (n,) rows of an entry of this dtype, writable. Raises BadPayload."""
    kind, count, body = _opened(payload)
    if (_set().dtype if kind == FEATURES else KINDS.get(kind)) != dtype:
        raise BadPayload("entries", payload, f"holds kind {kind}, not the rows asked for")
    if count > ROWS_LIMIT:
        raise BadPayload("entries", payload, f"claims {count} rows")
    return _READERS[payload[1]](payload, body, count, dtype)


def ticks_of(payload: bytes) -> Rows:
    """The `TICK` rows of an entry of the ticks topic; none of one that holds a repair's candles. Raises BadPayload."""
    return np.zeros(0, TICK) if is_repair(payload) else decode(payload, TICK)


def is_repair(payload: bytes) -> bool:
    """Whether an entry of the ticks topic holds candles, which `market.corrections` explains. Raises BadPayload."""
    return KINDS.get(_opened(payload)[0]) == CANDLE


def encode_records(records: list[dict[str, Any]]) -> bytes:
    """Records, as plain dicts, as one entry."""
    return HEADER.pack(MAGIC, VERSION, RECORDS, 0, len(records)) + _compressor().compress(msgpack.packb(records))


def decode_records(payload: bytes) -> list[dict[str, Any]]:
    """The records of an entry. Raises BadPayload."""
    kind, count, body = _opened(payload)
    if kind != RECORDS:
        raise BadPayload("entries", payload, f"holds kind {kind}, not records")
    try:
        records = msgpack.unpackb(_inflated(payload, body, RECORDS_BYTES))
    except (ValueError, msgpack.UnpackException) as e:
        raise BadPayload("entries", payload, f"MessagePack: {e}") from e
    if not isinstance(records, list) or len(records) != count or not all(isinstance(r, dict) for r in records):
        raise BadPayload("entries", payload, f"does not hold the {count} records it claims")
    return records


def _packed(column: npt.NDArray[np.uint64], low: int, high: int, rising: bool) -> tuple[int, bytes]:
    if low == high:
        return 0, b""
    if high == TOP:
        known = column[column != TOP]
        width = _width(int(known.max()) - low + 1)
        limit = (1 << 8 * width) - 1
        if TOP - low >= limit and width < 8:
            return width | UNKNOWNS, np.minimum(column - np.uint64(low), limit).astype(WIDTHS[width]).tobytes()
    elif rising:
        steps = np.diff(column, prepend=column[:1])
        width = _width(int(steps.max()))
        return width | STEPS, steps.astype(WIDTHS[width]).tobytes()
    width = _width(high - low)
    return width, (column - np.uint64(low)).astype(WIDTHS[width]).tobytes()


def _width(largest: int) -> int:
    return next(width for width in (1, 2, 4, 8) if largest < 1 << 8 * width)


def _columns(rows: Rows) -> npt.NDArray[np.int64]:
    """(n,) rows -> (columns, n): every word, a split one's lower half in its place and its upper half at the end."""
    split = _split_words(rows.dtype)
    words = rows.dtype.itemsize // 8
    columns = np.empty((words + len(split), len(rows)), np.int64)
    columns[:words] = rows.view("<i8").reshape(-1, words).T
    halves = rows.view("<i4").reshape(-1, 2 * words)
    for i, word in enumerate(split, words):
        columns[word] = halves[:, 2 * word]
        columns[i] = halves[:, 2 * word + 1]
    return columns


def _rows(columns: npt.NDArray[np.int64], dtype: np.dtype[Any]) -> Rows:
    split = _split_words(dtype)
    words = dtype.itemsize // 8
    rows = np.empty(columns.shape[1], dtype)
    rows.view("<i8").reshape(-1, words)[:] = columns[:words].T
    halves = rows.view("<i4").reshape(-1, 2 * words)
    for i, word in enumerate(split, words):
        halves[:, 2 * word] = columns[word]
        halves[:, 2 * word + 1] = columns[i]
    return rows


@cache
def _split_words(dtype: np.dtype[Any]) -> tuple[int, ...]:
    offsets = [field[1] for field in (dtype.fields or {}).values()]
    return tuple(sorted({offset // 8 for offset in offsets if offset % 8 == 4}))


class _Set(NamedTuple):
    """`named`: what stands between header and columns."""

    name: str
    named: bytes
    dtype: np.dtype[Any]


@cache
def _set() -> _Set:
    from market.features import FEATURE, NAMES, SET  # here: whoever carries ticks must not load TA-Lib and pandas

    return _Set(SET, struct.pack("<I", crc32("\n".join((SET, *NAMES)).encode())), FEATURE)


def _opened(payload: bytes) -> tuple[int, int, memoryview]:
    if len(payload) < HEADER.size:
        raise BadPayload("entries", payload, "shorter than its header")
    magic, version, kind, _, count = HEADER.unpack_from(payload)
    if magic != MAGIC or version not in _READERS:
        raise BadPayload("entries", payload, f"format {magic!r} version {version} is not known here")
    named = _set().named if kind == FEATURES else b""
    if payload[HEADER.size : HEADER.size + len(named)] != named:
        raise BadPayload("entries", payload, f"holds features of another set than {_set().name}")
    return kind, count, memoryview(payload)[HEADER.size + len(named) :]


def _inflated(payload: bytes, body: memoryview, limit: int) -> bytes:
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= limit:
            raise BadPayload("entries", payload, f"claims {size} bytes of content")
        return _decompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as e:
        raise BadPayload("entries", payload, f"zstd: {e}") from e


def _read_1(payload: bytes, body: memoryview, count: int, dtype: np.dtype[Any]) -> Rows:
    if count == 0:
        return np.zeros(0, dtype)
    number = dtype.itemsize // 8 + len(_split_words(dtype))
    data = _inflated(payload, body, 9 * number + count * number * 8)
    if len(data) < 9 * number:
        raise BadPayload("entries", payload, "ends inside its column heads")
    codes = data[:number]
    if any(c & 0x0F not in WIDTHS or c >> 4 > 2 for c in codes):
        raise BadPayload("entries", payload, f"column codes {codes.hex()} are not known here")
    if len(data) != 9 * number + count * sum(c & 0x0F for c in codes):
        raise BadPayload("entries", payload, f"does not hold the {count} rows it claims")
    bases = np.frombuffer(data, "<u8", number, number)
    columns = np.empty((number, count), np.uint64)
    at = 9 * number
    for column, code, base in zip(columns, codes, bases, strict=True):
        width = code & 0x0F
        if width == 0:
            column[:] = base
            continue
        values = np.frombuffer(data, WIDTHS[width], count, at)
        at += count * width
        if code & STEPS:
            np.cumsum(values, out=column)
            column += base
        else:
            np.add(values, base, out=column)
            if code & UNKNOWNS:
                column[values == (1 << 8 * width) - 1] = TOP
    columns -= SHIFT
    return _rows(columns.view(np.int64), dtype)


_READERS: dict[int, Callable[[bytes, memoryview, int, np.dtype[Any]], Rows]] = {1: _read_1}

_local = threading.local()


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    compressor: zstandard.ZstdCompressor = _local.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
