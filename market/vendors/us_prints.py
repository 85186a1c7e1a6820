"""US prints: what the US trade streams share: sale conditions, and events read strictly into `TICK` rows.

Which trades move which prices is the consolidated tape's rule, whoever passes the trade on. Source: CTS output
specification and UTP data feed services specification, "sale conditions, consolidated processing"; Polygon's knowledge
base, "How does Polygon create the OHLCV aggregate bars", read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from market.money import SCALE, UNKNOWN
from market.ticks import Flag, Ticks, blank

NEW_YORK = ZoneInfo("America/New_York")
LARGEST = 1 << 46
"""Prices, sizes and trade numbers stay below."""

LARGEST_PRINT = 1 << 50
"""A price times a size is below: 1.1e11 dollars, more than any auction trades, and a day's sum of them fits 64 bits."""

NO_TRADE = -1
"""An official price, or a correction of one: no shares changed hands."""

NEAR = 1e-3
"""How far, in 1/10,000, a JSON number may be from a whole one and still be it."""

_ALL, _VOLUME, _RANGE = 0, int(Flag.VOLUME_ONLY), int(Flag.RANGE_ONLY)

CONDITIONS: dict[str, int] = {
    "regular": _ALL,
    "acquisition": _ALL,
    "average price": _VOLUME,
    "automatic execution": _ALL,
    "bunched": _ALL,
    "bunched sold": _RANGE,
    "cash": _VOLUME,
    "closing": _ALL,
    "contingent": _VOLUME,
    "corrected close": NO_TRADE,
    "cross": _ALL,
    "derivatively priced": _RANGE,
    "distribution": _ALL,
    "extended hours": _VOLUME,
    "extended hours, out of sequence": _VOLUME,
    "exempt": _ALL,
    "intermarket sweep": _ALL,
    "next day": _VOLUME,
    "odd lot": _VOLUME,
    "official close": NO_TRADE,
    "official open": NO_TRADE,
    "opening": _ALL,
    "out of sequence": _RANGE,
    "price variation": _VOLUME,
    "prior reference": _RANGE,
    "qualified contingent": _VOLUME,
    "reopening": _ALL,
    "rule 127": _ALL,
    "rule 155": _ALL,
    "seller": _RANGE,
    "sold last": _ALL,
    "split": _ALL,
    "stock option": _ALL,
    "stopped": _ALL,
    "yellow flag": _ALL,
}
"""By sale condition: the flags of a print that has it, or NO_TRADE."""


class Print(NamedTuple):
    """One trade; `at` ns UTC, prices 1/10,000 of a dollar, `number` the vendor's; `bid`, `ask`: the best before it."""

    instrument: int
    flags: int
    number: int
    at: int
    price: int
    size: int
    received: int
    bid: int = UNKNOWN
    ask: int = UNKNOWN


_COLUMNS = ("instrument", "flags", "sequence", "at", "price", "day_volume", "received", "bid", "ask")


def flags_of(codes: Iterable[object], names: Mapping[object, str]) -> int:
    """The flags of a print with these of a vendor's codes, or NO_TRADE. Raises ValueError for an unknown code.

    >>> flags_of([14, 37], {14: "intermarket sweep", 37: "odd lot"}) == Flag.VOLUME_ONLY
    True
    """
    flags = 0
    for code in codes:
        if code not in names or isinstance(code, bool):
            raise ValueError(f"the condition {code!r} is not known")
        effect = CONDITIONS[names[code]]
        if effect == NO_TRADE or flags == NO_TRADE:
            flags = NO_TRADE
        else:
            flags |= effect
    return _VOLUME if flags > 0 and flags & _VOLUME else flags


def price_of(value: object) -> int:
    """A price in 1/10,000, or 0 where the vendor says nothing. Raises ValueError for what is none of ours."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the price {value!r} is not a number")
    scaled = value * SCALE
    if not 0 <= scaled < LARGEST:
        raise ValueError(f"the price {value!r} is out of range")
    whole = round(scaled)
    if abs(scaled - whole) > NEAR:
        raise ValueError(f"the price {value!r} lies between our units of 1/{SCALE}")
    return whole


def whole(value: object, what: str) -> int:
    """A count, 0 and up; 300.0 is one. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST or value != int(value):
        raise ValueError(f"{what} {value!r} is not a whole number, 0 or more")
    return int(value)


def size_of(value: object, price: int) -> int:
    """The shares of a trade at this price, 1/10,000. Raises ValueError, for a trade of more than any market's too."""
    size = whole(value, "the size")
    if price * size >= LARGEST_PRINT:
        raise ValueError(f"the size {size} at {price} is no market's")
    return size


def instant_of(value: object) -> int:
    """ns UTC of an epoch stamp in ms or in ns, told apart by their size. Raises ValueError for any other.

    >>> instant_of(1651684192462), instant_of(1651181822461979400)
    (1651684192462000000, 1651181822461979400)
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"the stamp {value!r} is not a whole number")
    if 10**11 <= value < 1 << 42:  # as ns it stays in 64 bits
        return value * 1_000_000
    if 10**17 <= value < 1 << 62:
        return value
    raise ValueError(f"the stamp {value!r} is neither in ms nor in ns")


def ticks(prints: list[Print], source: int) -> Ticks:
    """`TICK` rows, (n,), in the same order; the stamp is the tape's as well as the trade's."""
    rows = blank(len(prints))
    if not prints:
        return rows
    columns = np.array(prints, np.int64).T
    rows["source"] = source
    for name, column in zip(_COLUMNS, columns, strict=True):
        rows[name] = column
    rows["flags"] |= np.uint8(Flag.PRINT)
    rows["quoted"] = rows["at"]
    return rows


def no_number(constant: str) -> float:
    """Refuses the constants that JSON has not: NaN and the infinities. Raises ValueError."""
    raise ValueError(f"{constant} is not JSON")
