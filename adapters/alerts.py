"""Alerts on the bus: the topic `alerts`, one record an entry, each event once.

An alert's number is the moment it began, in milliseconds, and its writer what it is about: whoever comes to the same
conclusion again, after a restart or on another machine, is refused by the bus.
"""

from __future__ import annotations

from collections import deque

from adapters import entries
from adapters.bus import END, START, Bus
from market.alerts import OperatorAlert

TOPIC = "alerts"
RECENT = 1000
PAGE = 500


class Alerts:
    """Operator alerts, told and read. Every method raises LineDown when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def tell(self, alert: OperatorAlert) -> bool:
        """Put an alert on the bus; False when this event has been told already."""
        number = alert.at // 1_000_000 * 2 + alert.over
        payload = entries.encode_records([alert.model_dump()])
        return self._bus.append(TOPIC, alert.topic, [(0, number, payload)])[0] is not None

    def recent(self, count: int = RECENT) -> list[OperatorAlert]:
        """The last alerts told, oldest first."""
        newest: deque[OperatorAlert] = deque(maxlen=count)
        after = START
        while found := self._bus.range(TOPIC, 0, after + 1, END, PAGE):
            for entry in found:
                newest += map(OperatorAlert.model_validate, entries.decode_records(entry.payload))
            after = found[-1].id
        return list(newest)
