"""Reconcile: puts the exchange's own daily candles beside ours and says how near they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapters import entries
from adapters.bus import Bus
from adapters.lake import Lake
from adapters.proposals import propose
from adapters.schemas import candle_rows
from adapters.surveys import compare
from market.agreement import Agreement
from market.errors import BadValue
from market.instruments import Instrument
from market.vendors.nse_bhavcopy import Bhavcopy, official

WRITER = "reconcile"
TOPIC = "agreement"
LEASE_SECONDS = 60.0


def reconcile(bus: Bus, lake: Lake, partitions: int, instruments: Sequence[Instrument], file: Bhavcopy) -> Agreement:
    """Propose the official candles of one end-of-day file, publish the agreement on `agreement`, and return it.

    Raises BadValue (nothing of the universe is in the file), LineDown, LeaseLost (a reconciliation runs).
    """
    rows = official(file, instruments)
    if not len(rows):
        raise BadValue("file", f"{file.exchange} of {file.day}", "a file with at least one symbol of this universe")
    ids = {i.symbol: i.id for i in instruments}
    lease = bus.lease(WRITER, LEASE_SECONDS)
    try:
        seen = candle_rows(lake.read_official(list(ids), file.day, file.day), ids)
        propose(bus, WRITER, partitions, instruments, np.concatenate([seen, rows]))
        found = compare(lake, instruments, file.day, rows)
        writer = f"{file.exchange}:{file.day}"
        number = bus.numbers(TOPIC, writer, [0])[0] + 1
        bus.append(TOPIC, writer, [(0, number, entries.encode_records([found.model_dump(mode="json")]))])
        return found
    finally:
        lease.release()
