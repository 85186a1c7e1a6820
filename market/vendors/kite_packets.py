"""The packets of Kite's binary WebSocket: their layouts, and frames made from them and taken apart.

A frame is `int16 count`, then for each packet `int16 length` and its bytes, all big-endian; a packet's length alone
decides its shape. The dtypes here are the packets in native byte order with the wire's own integers, so a whole run of
packets is turned by one byteswap of 4-byte words. Order counts are the one 2-byte field: they travel in the upper half
of their word. Source: Kite Connect v3, WebSocket streaming, https://kite.trade/docs/connect/v3/websocket/, and
kiteconnect 5.2.2, ticker.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.errors import BadPayload, BadValue
from market.ticks import DEPTH_LEVELS

LEVEL = np.dtype([("quantity", "<u4"), ("price", "<i4"), ("orders", "<u2"), ("padding", "<u2")])

_TRADED = [
    ("token", "<u4"),
    ("last_price", "<i4"),
    ("last_traded_quantity", "<u4"),
    ("average_traded_price", "<i4"),
    ("volume_traded", "<u4"),
    ("total_buy_quantity", "<u4"),
    ("total_sell_quantity", "<u4"),
    ("open", "<i4"),
    ("high", "<i4"),
    ("low", "<i4"),
    ("close", "<i4"),
]
_INDEX = [
    ("token", "<u4"),
    ("last_price", "<i4"),
    ("high", "<i4"),
    ("low", "<i4"),
    ("open", "<i4"),
    ("close", "<i4"),
    ("price_change", "<i4"),
]

LTP = np.dtype([("token", "<u4"), ("last_price", "<i4")])
QUOTE = np.dtype(_TRADED)
FULL = np.dtype(
    [
        *_TRADED,
        ("last_trade_time", "<i4"),
        ("oi", "<u4"),
        ("oi_day_high", "<u4"),
        ("oi_day_low", "<u4"),
        ("exchange_timestamp", "<i4"),
        ("bids", LEVEL, DEPTH_LEVELS),
        ("asks", LEVEL, DEPTH_LEVELS),
    ]
)
INDEX_QUOTE = np.dtype(_INDEX)
INDEX_FULL = np.dtype([*_INDEX, ("exchange_timestamp", "<i4")])

PACKETS: dict[str, np.dtype[np.void]] = {
    "ltp": LTP,
    "quote": QUOTE,
    "full": FULL,
    "index_quote": INDEX_QUOTE,
    "index_full": INDEX_FULL,
}
"""Kind to layout. Prices are the wire's integers, stamps epoch seconds, `close` the previous session's."""

KINDS = {layout.itemsize: kind for kind, layout in PACKETS.items()}
"""Length of a packet to its kind."""

FRAME_PACKETS = 32_767
"""The count of a frame is an int16."""

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]
Rows = npt.NDArray[np.void]

NAME = "kite"

SEGMENTS = {
    "nse": 1, "nfo": 2, "cds": 3, "bse": 4, "bfo": 5, "bcd": 6, "mcx": 7, "mcxsx": 8, "indices": 9, "nco": 12,
}  # fmt: skip
"""The lowest byte of a token. nco (NSE commodities): only in kiteconnect 5.2.2, ticker.py, EXCHANGE_MAP."""

DIVISORS = {SEGMENTS["cds"]: 10_000_000, SEGMENTS["bcd"]: 10_000, SEGMENTS["nco"]: 10_000}
"""What the wire's prices are divided by for rupees; 100 in all other segments."""

_ORDERS = slice(18, 46, 3)
_HALF = np.uint32(16)
_WORD = np.dtype(">i4")
_PLACES = np.arange(FRAME_PACKETS)
_PLACES.setflags(write=False)
_DIVISORS = np.array([float(DIVISORS.get(segment, 100)) for segment in range(256)])
_LEVELS = [*range(17, 32, 3), *range(32, 46, 3)]
_PRICE_NAMES = {"last_price", "average_traded_price", "open", "high", "low", "close", "price_change"}
_PRICE_WORDS = {
    layout.itemsize: (
        [name for name in layout.names or () if name in _PRICE_NAMES],
        [i for i, name in enumerate(layout.names or ()) if name in _PRICE_NAMES] + (_LEVELS if layout == FULL else []),
    )
    for layout in PACKETS.values()
}


class Packets(NamedTuple):
    """Packets of one kind: frame number << 16 | place in it, (n,), and 4-byte words as on the wire, (n, length / 4)."""

    keys: npt.NDArray[np.int64]
    words: Words


class Columns(NamedTuple):
    """Every field of the packets of one kind: `places` in the frame, (n,), and `rows` of `PACKETS[kind]`, (n,)."""

    places: npt.NDArray[np.int64]
    rows: Rows

    def tradable(self) -> npt.NDArray[np.bool_]:
        """False for an index, (n,)."""
        tradable: npt.NDArray[np.bool_] = (self.rows["token"] & 0xFF) != SEGMENTS["indices"]
        return tradable

    def rupees(self) -> dict[str, npt.NDArray[np.float64]]:
        """Every price of the packets as floats by name, (n,); those of `bids` and `asks` are (n, 5), best first."""
        words = self.rows.view("<i4").reshape(len(self.rows), self.rows.dtype.itemsize // 4)
        names, places = _PRICE_WORDS[self.rows.dtype.itemsize]
        prices = words.T[places] / _DIVISORS[words[:, 0] & 0xFF]
        levels = {"bids": prices[-10:-5].T, "asks": prices[-5:].T} if self.rows.dtype == FULL else {}
        return dict(zip(names, prices, strict=False)) | levels

    def change_percent(self) -> npt.NDArray[np.float64]:
        """The last price over the previous close, less one, in percent, (n,); 0 without a close."""
        last, close = self.rows["last_price"].astype(np.float64), self.rows["close"].astype(np.float64)
        return np.divide((last - close) * 100, close, out=np.zeros(len(last)), where=close != 0)


def columns(message: bytes) -> dict[str, Columns]:
    """One frame, decoded whole, by kind of packet. Raises BadPayload; `rest` then holds what could be read."""
    blocks, damage = take_apart([message])
    decoded = {kind: Columns(block.keys, _native(kind, block.words)) for kind, block in blocks.items()}
    if damage:
        raise BadPayload(NAME, message, damage[0][1], decoded)
    return decoded


def take_apart(messages: Sequence[bytes]) -> tuple[dict[str, Packets], list[tuple[int, str]]]:
    """The packets of some frames by kind, each kind in order, and the frames that are damaged, with the reason."""
    if len(messages) == 1 and (kind := _uniform(messages[0])):
        return {kind: _packets(kind, _PLACES[: _count(messages[0])], messages[0], 4)}, []
    pieces: dict[str, list[bytes | memoryview]] = defaultdict(list)
    keys: dict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
    damage = []
    for number, message in enumerate(messages):
        kind = _uniform(message)
        if kind:
            pieces[kind].append(memoryview(message)[2:])
            keys[kind].append(_PLACES[: _count(message)] + (number << 16))
        elif len(message) != 1:
            reason = _walk(message, number << 16, pieces, keys)
            if reason:
                damage.append((number, reason))
    blocks = {}
    for kind, found in pieces.items():
        buffer = found[0] if len(found) == 1 else b"".join(found)
        where = keys[kind][0] if len(keys[kind]) == 1 else np.concatenate(keys[kind])
        blocks[kind] = _packets(kind, where, buffer, 2)
    return blocks, damage


def encode(kind: str, rows: Rows) -> Bytes:
    """Rows of `PACKETS[kind]`, (n,), as packets with their length before them, (n, length + 2)."""
    layout = PACKETS[kind]
    if rows.dtype != layout:
        raise BadValue("rows", rows.dtype, f"an array of the dtype of {kind} packets")
    words = np.ascontiguousarray(rows).view("<u4").reshape(len(rows), layout.itemsize // 4)
    if kind == "full":
        words = words.copy()
        words[:, _ORDERS] <<= _HALF
    packets = np.empty((len(rows), layout.itemsize + 2), np.uint8)
    packets[:, :2] = layout.itemsize >> 8, layout.itemsize & 0xFF
    packets[:, 2:].view(">u4")[...] = words
    return packets


def frame(*encoded: Bytes) -> bytes:
    """One frame of the packets of every block, in order. Raises BadValue above `FRAME_PACKETS`."""
    count = sum(len(block) for block in encoded)
    if count > FRAME_PACKETS:
        raise BadValue("packets", count, f"at most {FRAME_PACKETS} in a frame")
    return b"".join([count.to_bytes(2, "big"), *(block.tobytes() for block in encoded)])


def _count(message: bytes) -> int:
    return message[0] << 8 | message[1]


def _packets(kind: str, keys: npt.NDArray[np.int64], buffer: bytes | memoryview, offset: int) -> Packets:
    length = PACKETS[kind].itemsize
    return Packets(keys, np.ndarray((len(keys), length // 4), _WORD, buffer, offset, (length + 2, 4)))


def _uniform(message: bytes) -> str | None:
    if len(message) < 4:
        return None
    count, high, low = _count(message), message[2], message[3]
    stride = (high << 8 | low) + 2
    if len(message) != 2 + count * stride or count > FRAME_PACKETS:
        return None
    if message[2::stride].count(high) != count or message[3::stride].count(low) != count:
        return None
    return KINDS.get(stride - 2)


def _walk(
    message: bytes,
    base: int,
    pieces: dict[str, list[bytes | memoryview]],
    keys: dict[str, list[npt.NDArray[np.int64]]],
) -> str | None:
    if len(message) < 2:
        return "an empty message"
    count = int.from_bytes(message[:2], "big", signed=True)
    if count < 0:
        return f"a count of {count} packets"
    places: dict[str, list[int]] = defaultdict(list)
    begin, end, odd, reason = 2, len(message), [], None
    for place in range(count):
        if begin + 2 > end:
            reason = f"{place} packets of {count}"
            break
        length = message[begin] << 8 | message[begin + 1]
        after = begin + 2 + length
        if length > FRAME_PACKETS or after > end:
            reason = f"packet {place} of {count} is cut short"
            break
        kind = KINDS.get(length)
        if kind is None:
            odd.append(length)
        else:
            pieces[kind].append(message[begin:after])
            places[kind].append(base | place)
        begin = after
    for kind, found in places.items():
        keys[kind].append(np.array(found, np.int64))
    if reason is None and begin != end:
        reason = f"{end - begin} bytes behind the last packet"
    if reason is None and odd:
        reason = f"{len(odd)} packets of unknown length, the first of {odd[0]} bytes"
    return reason


def _native(kind: str, wire: Words) -> Rows:
    words = wire.astype(np.int32)
    if kind == "full":
        counts = words.view(np.uint32)[:, _ORDERS]
        counts >>= _HALF
    return np.ndarray((len(words),), PACKETS[kind], words)
