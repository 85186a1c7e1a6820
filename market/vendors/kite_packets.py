"""The packets of Kite's binary WebSocket: their layouts, and frames made from them and taken apart.

A frame is `int16 count`, then for each packet `int16 length` and its bytes, all big-endian; a packet's length alone
decides its shape. The dtypes here are the packets in native byte order with the wire's own integers, so a whole run of
packets is turned by one byteswap of 4-byte words. Order counts are the one 2-byte field: they travel in the upper half
of their word. Source: Kite Connect v3, WebSocket streaming, https://kite.trade/docs/connect/v3/websocket/, and
kiteconnect 5.2.2, ticker.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
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

_ORDERS = np.arange(18, 46, 3)


def encode(kind: str, rows: Rows) -> Bytes:
    """Rows of `PACKETS[kind]`, (n,), as packets with their length before them, (n, length + 2)."""
    layout = PACKETS[kind]
    if rows.dtype != layout:
        raise BadValue("rows", rows.dtype, f"an array of the dtype of {kind} packets")
    words = np.ascontiguousarray(rows).view("<u4").reshape(len(rows), -1)
    if kind == "full":
        words = words.copy()
        words[:, _ORDERS] <<= np.uint32(16)
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
