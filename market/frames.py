"""Frames: quotes as a stream carries them, the fields that changed and nothing else.

All quotes are one matrix of whole numbers, (instruments, fields), so that what changed is one comparison. An entry, the
values of one instrument, is encoded once and joined into the frames of all who want it; in MessagePack it names its
fields by the bits of a mask. The frame's own head is a client's. Source: docs/stream.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import orjson

from market.money import SCALE, UNKNOWN
from market.quotes import QuoteRows
from market.ticks import FeedState

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MS = 1_000_000
PRICE, COUNT, INSTANT, SPAN, FLAG = "rupee/10000", "count", "ms", "ms", "0/1"
FIELDS = (
    *(("price", PRICE), ("volume", COUNT), ("bid", PRICE), ("ask", PRICE), ("at", INSTANT), ("received", SPAN)),
    *(("bid_quantity", COUNT), ("ask_quantity", COUNT)),
    *((name, PRICE) for name in ("high", "low", "open", "close")),
    *(("open_interest", COUNT), ("stale", FLAG)),
)
"""Name and unit, in the order of the mask's bits and the matrix's columns: what trades change comes first, so a mask is
mostly one byte.
"""
NAMES = tuple(name for name, _ in FIELDS)
LAST, AT, RECEIVED, STALE = (NAMES.index(name) for name in ("price", "at", "received", "stale"))
BESIDE = [k for k, (_, unit) in enumerate(FIELDS) if unit == PRICE and k != LAST]
"""Prices that lie near the last one."""
FROM = {"at": "market_time", "received": "at"} | {NAMES[k]: "price" for k in BESIDE}
"""What a number in MessagePack is counted from, for shortness: `at` back from the frame's market time, `received` on
from `at`, a price on from the last one where that stands in the same entry.
"""
ALL = (1 << len(FIELDS)) - 1
_BITS = 1 << np.arange(len(FIELDS), dtype=np.int64)
_IN_QUOTE = {"volume": "day_volume"}
_FEEDS = {FeedState.LIVE: 0, FeedState.MUTE: 1, FeedState.DOWN: 2, FeedState.CLOSED: 3}
FEED_NAMES = ("LIVE", "MUTE", "DOWN", "CLOSED", "UNKNOWN")


class Kind(IntEnum):
    """What a frame is; its first element in MessagePack."""

    HEARTBEAT = 0
    KEY = 1
    DELTA = 2


def described() -> list[dict[str, str]]:
    """What a client is told of each field: `name`, `unit`, and `from` as in `FROM`."""
    return [{"name": n, "unit": unit} | ({"from": FROM[n]} if n in FROM else {}) for n, unit in FIELDS]


def mask(names: Sequence[str]) -> int:
    """The fields of these names, as bits."""
    return sum(1 << NAMES.index(name) for name in dict.fromkeys(names))


def asked(names: Sequence[str]) -> int:
    """The fields that whoever asks for these names is told: `received` counts from `at`, so `at` comes with it."""
    return mask([*names, "at"] if "received" in names else names)


def bits(fields: int) -> Bools:
    """Which fields are in a mask, (fields,)."""
    return np.asarray((_BITS & fields) != 0)


def masks(chosen: Bools) -> Ints:
    """The mask of each row, (n,), of fields chosen, (n, fields)."""
    return np.asarray(chosen @ _BITS)


def matrix(rows: QuoteRows, stale: Bools, base: int) -> Ints:
    """`QUOTE` rows, (n,), as values, (n, fields): `at` in ms since `base` (ms), `received` in ms since `at`."""
    out = np.empty((len(rows), len(FIELDS)), np.int64)
    for k, name in enumerate(NAMES):
        if k not in (AT, RECEIVED, STALE):
            out[:, k] = rows[_IN_QUOTE.get(name, name)]
    known = rows["at"] != UNKNOWN
    at = np.where(known, rows["at"] // MS, 0)
    out[:, AT] = np.where(known, at - base, UNKNOWN)
    both = known & (rows["received"] != UNKNOWN)
    out[:, RECEIVED] = np.where(both, np.where(both, rows["received"], 0) // MS - at, UNKNOWN)
    out[:, STALE] = stale
    return out


def feed_code(state: FeedState | None) -> int:
    """The number of a feed's state; 4 where nothing is known."""
    return 4 if state is None else _FEEDS.get(state, 4)


# MessagePack: a whole number takes 1, 2, 3, 5 or 9 bytes. Where the next form begins, and each form's bytes and lead.
_EDGES = np.array([UNKNOWN + 1, -(1 << 31), -(1 << 15), -128, -32, 128, 1 << 8, 1 << 16, 1 << 32], np.int64)
_WIDTHS = np.array([1, 9, 5, 3, 2, 1, 2, 3, 5, 9], np.int64)
_LEADS = np.array([0xC0, 0xD3, 0xD2, 0xD1, 0xD0, 0, 0xCC, 0xCD, 0xCE, 0xCF], np.uint8)
_FIX = 5


def shortened(values: Ints, chosen: Bools, moment: int) -> Ints:
    """Values, (n, fields), counted as `FROM` says: from the market time of their frame, ms since `base` or UNKNOWN, and
    from the last price where it is chosen too.
    """
    out = values.copy()
    known = values[:, AT] != UNKNOWN
    out[known, AT] = (0 if moment == UNKNOWN else moment) - values[known, AT]
    priced = chosen[:, LAST] & (values[:, LAST] != UNKNOWN)
    for k in BESIDE:
        rows = priced & (values[:, k] != UNKNOWN)
        out[rows, k] -= values[rows, LAST]
    return out


def pack(numbers: Ints, values: Ints, chosen: Bools) -> list[bytes]:
    """Entries in MessagePack, one for each row: its number, (n,), and the chosen of its values, (n, fields)."""
    n = len(numbers)
    if not n:
        return []
    cells = np.column_stack([np.zeros(n, np.int64), numbers, masks(chosen), values])
    present = np.ones(cells.shape, np.bool_)
    present[:, 3:] = chosen
    counts = present.sum(axis=1)
    flat = cells[present]
    form = np.searchsorted(_EDGES, flat, side="right")
    width, lead = _WIDTHS[form], np.where(form == _FIX, flat & 0xFF, _LEADS[form]).astype(np.uint8)
    heads = np.cumsum(counts) - counts
    size = counts - 1
    width[heads], lead[heads] = np.where(size < 16, 1, 3), np.where(size < 16, 0x90 | size, 0xDC)
    flat[heads] = size
    ends = np.cumsum(width)
    starts = ends - width
    out = np.empty(int(ends[-1]), np.uint8)
    out[starts] = lead
    for wide in (2, 3, 5, 9):
        mine = np.flatnonzero(width == wide)
        if len(mine):
            big = flat[mine].astype(">i8").view(np.uint8).reshape(-1, 8)[:, 9 - wide :]
            out[starts[mine, None] + 1 + np.arange(wide - 1)] = big
    data = out.tobytes()
    cuts = [*starts[heads].tolist(), len(data)]
    return [data[a:b] for a, b in pairwise(cuts)]


def texts(symbols: Sequence[str], values: Ints, chosen: Bools, fields: int, base: int) -> list[bytes]:
    """Entries in JSON, each with a comma before it: `,"NSE:RELIANCE":{"price":1042.55}`; as `pack`.

    `received` is an instant there, so it goes with every new `at` where `fields`, a mask, has both.
    """
    shown = chosen.copy()
    if bits(fields)[RECEIVED]:
        shown[:, RECEIVED] |= chosen[:, AT] & (values[:, RECEIVED] != UNKNOWN)
    found = []
    for symbol, row, wanted in zip(symbols, values.tolist(), shown, strict=True):
        told = {NAMES[k]: _json(k, row, base) for k in np.flatnonzero(wanted).tolist()}
        found.append(b"," + orjson.dumps(symbol) + b":" + orjson.dumps(told))
    return found


def _json(field: int, row: Sequence[int], base: int) -> float | int | bool | None:
    value = row[field]
    if value == UNKNOWN:
        return None
    if field == STALE:
        return bool(value)
    if field == AT:
        return value + base
    if field == RECEIVED:
        return value + row[AT] + base
    return value / SCALE if FIELDS[field][1] == PRICE else value


def times(market_time: int, feed: int, sent: int, base: int, *, binary: bool) -> bytes:
    """The part of a frame's head that all frames of one moment share. Times ms; `market_time` UNKNOWN before a mark."""
    if binary:
        told = np.array([UNKNOWN if market_time == UNKNOWN else market_time - base, feed, sent - base], np.int64)
        return b"".join(map(_packed, told.tolist()))
    at = None if market_time == UNKNOWN else market_time
    return orjson.dumps({"market_time": at, "feed": FEED_NAMES[feed], "sent": sent})[1:-1]


_HEAD, _WIDE_HEAD = struct.Struct(">BHBBI"), struct.Struct(">BIBBI")
_KINDS = {Kind.HEARTBEAT: b"heartbeat", Kind.KEY: b"key", Kind.DELTA: b"delta"}
HEAD_BYTES = _HEAD.size
"""Of a binary head with fewer than 65,531 entries."""


def head(kind: Kind, sequence: int, entries: int) -> bytes:
    """How a binary frame begins; `times` and its entries follow."""
    if entries + 5 < 1 << 16:
        return _HEAD.pack(0xDC, entries + 5, kind, 0xCE, sequence & 0xFFFFFFFF)
    return _WIDE_HEAD.pack(0xDD, entries + 5, kind, 0xCE, sequence & 0xFFFFFFFF)


def text(kind: Kind, sequence: int, moment: bytes, entries: Sequence[bytes]) -> bytes:
    """A whole frame in JSON; entries may be empty."""
    begin = b'{"type":"%b","sequence":%d,%b' % (_KINDS[kind], sequence, moment)
    if kind is Kind.HEARTBEAT:
        return begin + b"}"
    return b'%b,"quotes":{%b}}' % (begin, b"".join(entries)[1:])


def _packed(value: int) -> bytes:
    form = int(np.searchsorted(_EDGES, value, side="right"))
    width = int(_WIDTHS[form])
    if form == _FIX:
        return bytes([value & 0xFF])
    return bytes([int(_LEADS[form])]) + (value & ((1 << 64) - 1)).to_bytes(8, "big")[9 - width :]
