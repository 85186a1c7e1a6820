"""Ticks: columns from the socket to the lake, with the marks of time among them.

A batch is one structured array of dtype `TICK`. A row is a tick (one packet of a vendor that names a price), a mark
(what a feed says of itself: market time and state) or a close (the previous session's closing price, as the vendor
states it). Volume is the day's running total, as brokers send it; the candle builder takes differences.

A mark keeps its own fields in the columns of a tick: `flags` is the `FeedState`, `at` the market time, `quoted` is
`since` (the last data before a MUTE or DOWN; equal to `at` where the state holds without a hole), `sequence` the
incarnation.

A *print* (`Flag.PRINT`) is one trade of a vendor that sends no running total: `day_volume` is its own size and
`sequence` the vendor's number of it. Many equal prints in one instant are real. A repeat is a print whose instant,
price, size and number all equal those of an earlier one of the session, whichever line or feed brought it.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

from market.money import UNKNOWN

TICK = np.dtype(
    [
        ("instrument", "<i4"),
        ("source", "u1"),
        ("flags", "u1"),
        ("kind", "u1"),
        ("padding", "u1"),
        ("sequence", "<u8"),
        ("at", "<i8"),
        ("quoted", "<i8"),
        ("received", "<i8"),
        ("price", "<i8"),
        ("day_volume", "<i8"),
        ("open_interest", "<i8"),
        ("bid", "<i8"),
        ("bid_quantity", "<i8"),
        ("ask", "<i8"),
        ("ask_quantity", "<i8"),
    ]
)
"""96 bytes, aligned. Times are ns UTC, prices 1/10,000 of the currency, UNKNOWN where the packet has none."""

DEPTH_LEVELS = 5
DEPTH = np.dtype(
    [
        ("instrument", "<i4"),
        ("padding", "<i4"),
        ("at", "<i8"),
        ("bid", "<i8", DEPTH_LEVELS),
        ("bid_quantity", "<i8", DEPTH_LEVELS),
        ("bid_orders", "<i4", DEPTH_LEVELS),
        ("ask", "<i8", DEPTH_LEVELS),
        ("ask_quantity", "<i8", DEPTH_LEVELS),
        ("ask_orders", "<i4", DEPTH_LEVELS),
    ]
)
"""The visible book, best level first; a missing level has price UNKNOWN and quantity 0. Kept as latest value only."""

Ticks = npt.NDArray[np.void]

LARGEST_TURNOVER = 1 << 57
"""A price times the day's volume is below: 1.4e13 rupees, more than all shares of NSE turn over in a week. The builder
sums such products in 64 bits; a vendor's nonsense must not make them overflow.
"""


class Kind(IntEnum):
    """What a row is."""

    TICK = 0
    MARK = 1
    CLOSE = 2


class Flag(IntFlag):
    """What is special about a tick."""

    NO_TIME = 1
    """The packet has no trade time: `at` is when we received it."""
    PRINT = 2
    """One trade told by itself: `day_volume` is its size, `sequence` the vendor's number."""
    VOLUME_ONLY = 4
    """A print that counts for volume, and for no price of a candle or a quote."""
    RANGE_ONLY = 8
    """A print that counts for volume, high and low; for open and close only while nothing else has set them."""


class FeedState(IntEnum):
    """What a feed says of itself in a mark."""

    LIVE = 1
    MUTE = 2
    DOWN = 3
    CLOSED = 4
    ACTIVE = 5
    """Not a state: from here on this feed is the active one of its universe."""


NO_TICKS: Ticks = np.zeros(0, TICK)
NO_TICKS.setflags(write=False)


def blank(count: int) -> Ticks:
    """`count` rows of kind TICK in which everything optional is UNKNOWN."""
    rows = np.zeros(count, TICK)
    for name in ("price", "day_volume", "open_interest", "bid", "bid_quantity", "ask", "ask_quantity"):
        rows[name] = UNKNOWN
    return rows


def plausible(price: npt.NDArray[np.int64], day_volume: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which prices times their volumes, (n,), stay below `LARGEST_TURNOVER`; an UNKNOWN volume counts as one."""
    most = (LARGEST_TURNOVER - 1) // np.maximum(day_volume, 1)
    fits: npt.NDArray[np.bool_] = np.abs(price) <= most
    return fits


def mark(source: int, state: FeedState, at: int, since: int | None = None, incarnation: int = 0) -> Ticks:
    """One mark as a (1,) array. `at`, `since`: ns UTC of market time; `since` defaults to `at`."""
    row = blank(1)
    row["instrument"] = -1
    row["source"], row["flags"], row["kind"] = source, state, Kind.MARK
    row["sequence"] = incarnation
    row["at"] = row["received"] = at
    row["quoted"] = at if since is None else since
    return row
