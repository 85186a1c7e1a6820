"""Reconcile: puts the exchange's own daily candles beside ours and says how near they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from adapters import entries
from adapters.bus import Bus
from adapters.lake import Lake, candle_rows
from adapters.proposals import propose
from market.agreement import Agreement, agreement
from market.candles import Candles
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
        found = compared(lake, instruments, file.day, rows)
        writer = f"{file.exchange}:{file.day}"
        number = bus.numbers(TOPIC, writer, [0])[0] + 1
        bus.append(TOPIC, writer, [(0, number, entries.encode_records([found.model_dump(mode="json")]))])
        return found
    finally:
        lease.release()


def compared(lake: Lake, instruments: Sequence[Instrument], day: date, theirs: Candles) -> Agreement:
    """Our daily candles of a session in the lake against official ones, (n,)."""
    ids = {i.symbol: i.id for i in instruments}
    ours = candle_rows(lake.read_candles(list(ids), "1d", day, day), ids)
    exchanges = {instruments[i].exchange for i in theirs["instrument"].tolist()}
    ours = ours[[instruments[i].exchange in exchanges for i in ours["instrument"].tolist()]]
    return agreement(day, ours, theirs, [i.symbol for i in instruments], np.array([i.tick_size for i in instruments]))
