"""Shadows: what challengers said unseen, from the topic `shadows`, as rows like those of the lake's `predictions`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from adapters import entries
from adapters.bus import END, START, Bus
from adapters.outcomes import KNOWN
from adapters.schemas import INDIA, instants, strings
from adapters.signals import ABSTENTIONS, numbers
from market.errors import BadPayload
from market.predictions import PREDICTION, Predictions
from market.sessions import DAY

TOPIC = "shadows"
PAGE = 200

SHADOWS = pa.schema(
    [
        ("symbol", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("horizon", pa.string()),
        ("version", pa.string()),
        *((name, pa.float64()) for name in KNOWN),
        ("abstained", pa.string()),
        ("session", pa.date32()),
    ]
)


def shadows(bus: Bus, symbols: Sequence[str], ahead_by: int = INDIA) -> tuple[pa.Table, int]:
    """All that stands on the bus, oldest first, and how many entries nobody could read. `symbols` by instrument id.

    Raises LineDown.
    """
    found, bad, after = [SHADOWS.empty_table()], 0, START
    while page := bus.range(TOPIC, 0, after + 1, END, PAGE):
        for entry in page:
            try:
                for record in entries.decode_records(entry.payload):
                    rows = np.frombuffer(record["rows"], PREDICTION)
                    mine = rows[(rows["instrument"] >= 0) & (rows["instrument"] < len(symbols))]
                    found.append(_table(mine, record["version"], record["horizon"], symbols, ahead_by))
            except (BadPayload, KeyError, ValueError, TypeError):
                bad += 1
        after = page[-1].id
    return pa.concat_tables(found), bad


def _table(rows: Predictions, version: str, horizon: str, symbols: Sequence[str], ahead_by: int) -> pa.Table:
    columns = {
        "symbol": strings(rows["instrument"], symbols),
        "at": instants(rows["at"]),
        "horizon": pa.repeat(pa.scalar(horizon), len(rows)),
        "version": pa.repeat(pa.scalar(version), len(rows)),
        **{name: numbers(rows[name]) for name in KNOWN},
        "abstained": strings(rows["abstained"], ABSTENTIONS),
        "session": pa.array(((rows["at"] + ahead_by) // DAY).astype(np.int32)).cast(pa.date32()),
    }
    return pa.table(columns, schema=SHADOWS)
