"""The market in a minute: how many shares rise, and how the index, the sectors and India VIX moved.

Everything is a sum over instruments, by minute and group: one group a sector, one of the index, one of VIX. So the sums
of some instruments can be made anywhere, in any order, and added: `sums` of one instrument's series, `merged` sums,
and `Market` over them. Live they come of one minute's candles.

Returns run over rows with a price, over night as well: 1, 5, 15 and 60 of them, or since the previous close.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.features.feature import Feature
from market.features.moving import Floats, before, ratio
from market.instruments import Instrument, Kind
from market.money import SCALE

Ints = npt.NDArray[np.int64]

HORIZONS = (1, 5, 15, 60)
"""Rows; the first column of `returns` is that since the previous close, then come these."""

MEMORY = HORIZONS[-1] + 1

RISEN = 1e-9
"""A smaller return is none: an adjusted price is not exact to the last digit."""

_H = 1 + len(HORIZONS)

SUMS = np.dtype(
    [("start", "<i8"), ("group", "<i4"), ("padding", "V4"), ("level", "<f8")]
    + [(name, "<f8", (_H,)) for name in ("count", "risen", "total")]
)
"""Over the instruments of a group with a price in a minute: sum of closes, and for each horizon how many have a return,
how many a positive one, and the sum of them. `level` is of the index and VIX only."""

Sums = npt.NDArray[np.void]

INDICES = ("NSE:NIFTY 50", "BSE:SENSEX", "NYSE:SPY")
"""What stands for the market, the first that a universe holds."""

VIX = "NSE:INDIA VIX"

FEATURES = tuple(
    Feature(name=name, unit=unit, memory=memory, scale=scale, timeframe="1m", formula=formula, source="own")
    for name, unit, memory, scale, formula in (
        ("breadth_day", "0..1", 1, 1.0, "shares above their previous close / shares with one"),
        *((f"breadth_{h}", "0..1", h + 1, 1.0, f"shares above their close {h} rows ago / shares") for h in (1, 15)),
        ("index_return_day", "ratio", 1, 0.01, "index / its previous close - 1"),
        *((f"index_return_{h}", "ratio", h + 1, 0.01, f"index / index {h} rows ago - 1") for h in HORIZONS),
        ("relative_index_day", "ratio", 1, 0.01, "return_day - index_return_day"),
        *((f"relative_index_{h}", "ratio", h + 1, 0.01, f"return_{h} - index_return_{h}") for h in HORIZONS[1:]),
        ("sector_return_day", "ratio", 1, 0.01, "mean return_day of the shares of its sector, itself among them"),
        *((f"sector_return_{h}", "ratio", h + 1, 0.01, f"mean return_{h} of its sector") for h in HORIZONS[1:]),
        ("relative_sector_day", "ratio", 1, 0.01, "return_day - sector_return_day"),
        *((f"relative_sector_{h}", "ratio", h + 1, 0.01, f"return_{h} - sector_return_{h}") for h in HORIZONS[1:]),
        ("vix", "ratio", 1, 0.1, "India VIX / 100: expected deviation of a year"),
        ("vix_return_day", "ratio", 1, 0.01, "India VIX / its previous close - 1"),
        ("vix_return_15", "ratio", 16, 0.01, "India VIX / India VIX 15 rows ago - 1"),
    )
)


@dataclass(frozen=True, slots=True)
class Members:
    """Which group each instrument is in: `group`, by id, (n,), -1 for none.

    Sectors come first, then that of shares whose sector is not known, then index and VIX.
    """

    group: npt.NDArray[np.int32]
    sectors: tuple[str, ...]

    @property
    def index(self) -> int:
        """The group of the index."""
        return len(self.sectors)

    @property
    def vix(self) -> int:
        """The group of India VIX."""
        return len(self.sectors) + 1

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.sectors) + 2


def members_of(instruments: Iterable[Instrument]) -> Members:
    """The groups of a universe: its shares by sector, its index and its VIX where it has them."""
    known = list(instruments)
    shares = [i for i in known if i.kind is Kind.EQUITY]
    sectors = tuple(sorted({i.sector for i in shares}))
    symbols = {i.symbol: i.id for i in known}
    group = np.full(max((i.id for i in known), default=-1) + 1, -1, np.int32)
    for share in shares:
        group[share.id] = sectors.index(share.sector)
    index = next((symbols[symbol] for symbol in INDICES if symbol in symbols), None)
    if index is not None:
        group[index] = len(sectors)
    if VIX in symbols:
        group[symbols[VIX]] = len(sectors) + 1
    return Members(group, sectors)


def returns(close: Floats, previous: Floats) -> Floats:
    """(horizons, k, rows) returns of series side by side, (k, rows); `previous`: the close before its session."""
    return np.stack([ratio(close, previous) - 1, *(ratio(close, before(close, h)) - 1 for h in HORIZONS)])


def grouped(starts: Ints, groups: npt.NDArray[np.integer], close: Floats, moved: Floats) -> Sums:
    """`SUMS` rows of instruments' minutes, all (n,), `moved` (horizons, n); ordered by minute and group."""
    rows = np.zeros(len(starts), SUMS)
    rows["start"], rows["group"], rows["level"] = starts, groups, close
    known = np.isfinite(moved.T)
    rows["count"], rows["risen"] = known, moved.T > RISEN
    rows["total"] = np.where(known, moved.T, 0.0)
    return merged([rows[rows["group"] >= 0]])


def merged(parts: Sequence[Sums]) -> Sums:
    """The sums of them all, (k,), ordered by minute and group."""
    rows = np.concatenate(parts) if parts else np.zeros(0, SUMS)
    if not len(rows):
        return np.zeros(0, SUMS)
    rows = rows[np.lexsort((rows["group"], rows["start"]))]
    new = np.append(True, (np.diff(rows["start"]) != 0) | (np.diff(rows["group"]) != 0))
    if new.all():
        return rows
    first = np.flatnonzero(new)
    out = rows[first]
    for name in ("level", "count", "risen", "total"):
        out[name] = np.add.reduceat(rows[name], first, axis=0)
    return out


class Market:
    """The sums of all instruments, laid out by minute; `starts`: its minutes, (m,)."""

    def __init__(self, sums: Sums, members: Members) -> None:
        self.members = members
        self.starts, minute = np.unique(sums["start"], return_inverse=True)
        shape = (members.groups, len(self.starts))
        at = sums["group"], minute
        level, count = np.full(shape, np.nan), np.zeros((_H, *shape))
        risen, total = np.zeros((_H, *shape)), np.zeros((_H, *shape))
        level[at] = sums["level"]
        for array, name in ((count, "count"), (risen, "risen"), (total, "total")):
            array[:, *at] = sums[name].T
        shares = slice(0, members.index)
        self._mean = ratio(total, count)
        self._breadth = ratio(risen[:, shares].sum(axis=1), count[:, shares].sum(axis=1))
        self._vix = level[members.vix] / SCALE / 100

    def values(self, starts: Ints, groups: npt.NDArray[np.integer], moved: Floats) -> Floats:
        """The features of `FEATURES`, (features, n), of instruments in minutes; `moved`: their own returns,
        (horizons, n). NaN where nothing is known of the market in that minute.
        """
        place = np.minimum(np.searchsorted(self.starts, starts), max(len(self.starts) - 1, 0))
        if not len(self.starts):
            return np.full((len(FEATURES), len(starts)), np.nan)
        here = self.starts[place] == starts
        in_sector = (groups >= 0) & (groups < self.members.index)
        index, vix = self._mean[:, self.members.index, place], self._mean[:, self.members.vix, place]
        sector = np.where(in_sector, self._mean[:, np.where(in_sector, groups, 0), place], np.nan)
        day, longer = 0, [0, 2, 3, 4]
        lines = [
            *self._breadth[[day, 1, 3]][:, place],
            *index,
            *(moved - index)[longer],
            *sector[longer],
            *(moved - sector)[longer],
            self._vix[place],
            vix[day],
            vix[3],
        ]
        return np.where(here, np.stack(lines), np.nan)


def market_of(parts: Sequence[Sums], members: Members) -> Market:
    """The market over sums of any of its instruments, each in one part."""
    return Market(merged(parts), members)
