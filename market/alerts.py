"""Alerts: what a person should hear of, once. Here: those for the operator, about feeds, gaps and jobs.

One event has one `kind`, `subject` and `at`; telling it again tells nothing. It stays open until an alert of the same
kind and subject says it is `over`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from market.records import Record


class OperatorAlert(Record):
    """Something an operator should know. `at`: when it began, ns UTC of market time where it has one."""

    kind: str = Field(pattern=r"^[a-z_]+$")
    subject: str = Field(min_length=1)
    at: int = Field(ge=0)
    severity: Literal["info", "warning", "critical"] = "warning"
    text: str = Field(min_length=1)
    over: bool = False

    @property
    def topic(self) -> str:
        """What it is about: the same for an alert and for the one that ends it."""
        return f"{self.kind}:{self.subject}"


def still_open(alerts: Iterable[OperatorAlert]) -> list[OperatorAlert]:
    """Of alerts in the order of their telling, those that nobody has called over, oldest first."""
    newest: dict[str, OperatorAlert] = {}
    for alert in alerts:
        newest.pop(alert.topic, None)
        newest[alert.topic] = alert
    return [alert for alert in newest.values() if not alert.over]
