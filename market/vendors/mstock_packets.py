"""The packets of mStock's Type B stream: their layouts, as they lie on the wire, and messages taken apart by length.

A binary message is one packet, little-endian; its length alone decides its shape, and each shape begins with the
shorter ones. Prices are the wire's integers, hundredths of a rupee in every segment. A stamp counts seconds since 1980
by India's clocks; above 10^11 it counts milliseconds, for which two epochs are told. A snap packet was seen
with four bytes before it (count, size). Source: mStock-TradingApi-B 1.0.5, mticker.py, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.errors import BadPayload
from market.money import UNKNOWN
from market.sessions import SECOND
from market.ticks import DEPTH_LEVELS

NAME = "mstock"

LEVEL = np.dtype([("flag", "<u2"), ("quantity", "<u8"), ("price", "<u8"), ("orders", "<u2")])

_LTP = [
    ("mode", "u1"),
    ("exchange", "u1"),
    ("token", "S25"),
    ("sequence", "<u8"),
    ("exchange_time", "<u8"),
    ("last_price", "<u8"),
]
_QUOTE = [
    *_LTP,
    ("last_quantity", "<u8"),
    ("average_price", "<u8"),
    ("volume", "<u8"),
    ("total_buy_quantity", "<f8"),
    ("total_sell_quantity", "<f8"),
    ("open", "<u8"),
    ("high", "<u8"),
    ("low", "<u8"),
    ("close", "<u8"),
]
_SNAP = [
    *_QUOTE,
    ("last_trade_time", "<u8"),
    ("open_interest", "<u8"),
    ("open_interest_change", "<f8"),
    ("bids", LEVEL, DEPTH_LEVELS),
    ("asks", LEVEL, DEPTH_LEVELS),
    ("upper_circuit", "<u8"),
    ("lower_circuit", "<u8"),
    ("year_high", "<u8"),
    ("year_low", "<u8"),
]

PACKETS: dict[str, np.dtype[np.void]] = {"ltp": np.dtype(_LTP), "quote": np.dtype(_QUOTE), "full": np.dtype(_SNAP)}
"""Mode to layout: 51, 123 and 379 bytes. `close` is the previous session's, a level's flag 1 for a bid."""

KINDS = {layout.itemsize: mode for mode, layout in PACKETS.items()}
"""Length of a message to its mode."""

MODES = {"ltp": 1, "quote": 2, "full": 3}
"""Our words for modes to the wire's; mStock calls the third snap."""

EXCHANGES = {1: "NSE", 2: "NFO", 3: "BSE", 4: "BFO", 5: "MCX", 13: "CDS"}
"""The wire's exchange types to mStock's names of exchanges."""

CASH = (1, 3)
TOKEN_BYTES = 25
HEADER = 4

MILLISECONDS_FROM = 100_000_000_000
LATEST = 8_000_000_000
"""A stamp of more seconds (or, as milliseconds, 1000 times as many) is no time that fits our columns."""

_EPOCH = 315_513_000 * SECOND
"""1980-01-01 00:00 by India's clocks, ns UTC."""

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]


class Block(NamedTuple):
    """Packets of one mode: the numbers of their messages, (n,), ascending, and `rows` of `PACKETS[mode]`, (n,)."""

    numbers: Ints
    rows: Rows


def packet(message: bytes) -> Rows:
    """The packet of one message, decoded whole: (1,) row of its mode's layout. Raises BadPayload."""
    blocks, damage = take_apart([message])
    if damage:
        raise BadPayload(NAME, message, damage[0])
    return next(iter(blocks.values())).rows


def take_apart(messages: Sequence[bytes]) -> tuple[dict[str, Block], dict[int, str]]:
    """The packets of some messages by mode, and the messages that are damaged: number to reason."""
    lengths = np.fromiter(map(len, messages), np.int64, len(messages))
    damage: dict[int, str] = {}
    if not np.isin(lengths, _LENGTHS).all():
        messages = list(messages)
        for number in np.flatnonzero(~np.isin(lengths, _LENGTHS)).tolist():
            messages[number], reason = _without_header(messages[number])
            lengths[number] = len(messages[number])
            if reason:
                damage[number] = reason
    blocks = {}
    for mode, layout in PACKETS.items():
        numbers = np.flatnonzero(lengths == layout.itemsize)
        if len(numbers):
            mine = messages if len(numbers) == len(messages) else [messages[k] for k in numbers.tolist()]
            blocks[mode] = Block(numbers, np.frombuffer(b"".join(mine), layout))
    return blocks, damage


def on_the_wire(exchange: int, token: str) -> bytes:
    """A contract as it stands in a packet: the exchange type's byte and the token, without the NULs behind."""
    return bytes([exchange]) + token.encode("ascii")


def contracts(rows: Rows) -> list[bytes]:
    """The contract of each packet, as `on_the_wire` writes it; what stands behind a NUL is left out."""
    raw = rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
    named = np.ascontiguousarray(raw[:, 1 : 2 + TOKEN_BYTES]).view(f"S{1 + TOKEN_BYTES}")[:, 0]
    return [name.partition(b"\0")[0] for name in named.tolist()]


def timely(stamps: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Whether each stamp, (n,), is a time that fits our columns; 0 is none and fits too."""
    seconds, milliseconds = stamps <= LATEST, (stamps > MILLISECONDS_FROM) & (stamps <= LATEST * 1000)
    return np.asarray(seconds | milliseconds)


def instants(stamps: npt.NDArray[np.uint64], received: Ints) -> Ints:
    """ns UTC of stamps that are `timely`, (n,); UNKNOWN for 0.

    Milliseconds are told since 1980 by India's clocks and, by SmartAPI, since 1970 UTC: whichever lies nearer to
    `received`, ten years apart, is meant.
    """
    whole = stamps.astype(np.int64)
    told = _EPOCH + whole * SECOND
    fine = whole > MILLISECONDS_FROM
    if fine.any():
        since_1970 = whole[fine] * (SECOND // 1000)
        since_1980 = since_1970 + _EPOCH
        nearer = np.abs(since_1980 - received[fine]) < np.abs(since_1970 - received[fine])
        told[fine] = np.where(nearer, since_1980, since_1970)
    told[whole == 0] = UNKNOWN
    return told


def stamps(instant: Ints) -> Ints:
    """The wire's stamps, in whole seconds, of ns UTC, (n,)."""
    return (instant - _EPOCH) // SECOND


_LENGTHS = np.array([*KINDS])


def _without_header(message: bytes) -> tuple[bytes, str | None]:
    snap = PACKETS["full"].itemsize
    if len(message) < HEADER + snap:
        return b"", f"a message of {len(message)} bytes; {', '.join(map(str, KINDS))} are known"
    size = int.from_bytes(message[2:HEADER], "little")
    if size != snap:
        return b"", f"a message of {len(message)} bytes whose header says {size}"
    behind = len(message) - HEADER - snap
    return message[HEADER : HEADER + snap], f"{behind} bytes behind the packet" if behind else None
