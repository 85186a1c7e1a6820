"""Switches: which feed became the active one and when, as records on the topic `switches`, and as marks in the ticks.

The record is the decision: its number is one more than the last one's, so of two who decide at once the bus takes one.
The marks follow it into every partition under the same number, once, whoever carries them there and however often.
"""

from __future__ import annotations

from adapters import entries
from adapters.alerts import Alerts
from adapters.bus import END, START, Bus
from market import ticks
from market.failover import Seam, told
from market.ticks import FeedState

TOPIC = "switches"
WRITER = "switch"
RECENT = 50
PAGE = 500


class Switches:
    """Seams, told and read. Every method raises LineDown when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._alerts = Alerts(bus)

    def tell(self, seam: Seam) -> bool:
        """Decide; False when a switch of this number has been decided already."""
        payload = entries.encode_records([seam.model_dump()])
        return self._bus.append(TOPIC, WRITER, [(0, seam.number, payload)])[0] is not None

    def carry(self, seam: Seam, partitions: int) -> None:
        """Put the mark of a decided switch behind what stands in every partition, and tell the operator."""
        row = ticks.mark(seam.source, FeedState.ACTIVE, seam.at, seam.since, seam.number)
        payload = entries.encode(row)
        self._bus.append("ticks", WRITER, [(p, seam.number, payload) for p in range(partitions)])
        if (alert := told(seam)) is not None:
            self._alerts.tell(alert)

    def newest(self) -> Seam | None:
        """The last switch; None before the first."""
        last = self._bus.last(TOPIC, 0)
        found = self._bus.range(TOPIC, 0, last, last, 1) if last else []
        return Seam.model_validate(entries.decode_records(found[0].payload)[-1]) if found else None

    def recent(self, count: int = RECENT) -> list[Seam]:
        """The last switches, oldest first."""
        found: list[Seam] = []
        after = START
        while page := self._bus.range(TOPIC, 0, after + 1, END, PAGE):
            for entry in page:
                found += map(Seam.model_validate, entries.decode_records(entry.payload))
            after = page[-1].id
        return found[-count:]
