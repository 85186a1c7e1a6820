"""Alerts on the bus, one record an entry, each event once: the topic `alerts`, the operator's, and `issues`, those of
the IPO desk.

An alert's number is the moment it began, in milliseconds, and its writer what it is about: whoever comes to the same
conclusion again, after a restart or on another machine, is refused by the bus. The event of an issue comes but once.
"""

from __future__ import annotations

from collections import deque

from adapters import entries
from adapters.bus import END, START, Bus
from market.alerts import OperatorAlert
from market.ipo.alerts import IssueAlert

TOPIC = "alerts"
ISSUES = "issues"
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


class IssueAlerts:
    """Alerts of the IPO desk, told and read. Every method raises LineDown when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def tell(self, alert: IssueAlert) -> bool:
        """Put an alert on the bus; False when this event has been told already."""
        payload = entries.encode_records([alert.model_dump(mode="json")])
        return self._bus.append(ISSUES, alert.topic, [(0, 0, payload)])[0] is not None

    def since(self, after: int = START, count: int = RECENT) -> list[tuple[int, IssueAlert]]:
        """The first alerts behind an entry of the bus, each with its own, oldest first."""
        found = self._bus.range(ISSUES, 0, after + 1, END, count)
        return [
            (entry.id, IssueAlert.model_validate(record))
            for entry in found
            for record in entries.decode_records(entry.payload)
        ]
