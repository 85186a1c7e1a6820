"""Proposals: corrections on their way into the log of ticks, as `market.corrections` explains."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from adapters import entries
from adapters.bus import Bus
from market.candles import Candles
from market.corrections import PROPOSED
from market.instruments import Instrument, partition_of


def propose(bus: Bus, writer: str, partitions: int, instruments: Iterable[Instrument], rows: Candles) -> int:
    """Append proposed candles, and what was seen of their sessions, an entry a partition; how many entries.

    One writer of a name at a time. Raises LineDown, after which nobody knows which entries are there; to propose the
    same again does no harm.
    """
    numbers = bus.numbers("ticks", writer, range(partitions))
    of = {i.id: partition_of(i, partitions) for i in instruments}
    where = np.array([of[i] for i in rows["instrument"].tolist()], np.int64)
    batch = []
    for partition in np.unique(where).tolist():
        mine = rows[where == partition]
        if (mine["revision"] == PROPOSED).any():
            batch.append((partition, numbers[partition] + 1, entries.encode(mine)))
    bus.append("ticks", writer, batch)
    return len(batch)
