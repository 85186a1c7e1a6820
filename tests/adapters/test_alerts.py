"""Operator alerts on the bus: each event once, the newest read in the order of their telling."""

from __future__ import annotations

from adapters.alerts import PAGE, Alerts
from adapters.bus import Bus
from market.alerts import OperatorAlert, still_open

MS = 1_000_000


def told(at: int, *, over: bool = False) -> OperatorAlert:
    return OperatorAlert(kind="feed", subject="kite", at=at * MS, text="mute for 30 s", over=over)


def test_an_event_is_told_once_whoever_comes_to_it_again(bus: Bus) -> None:
    alerts, successor = Alerts(bus), Alerts(bus)

    assert alerts.tell(told(5)) and not successor.tell(told(5))
    assert successor.tell(told(5, over=True)) and successor.tell(told(6))
    assert still_open(alerts.recent()) == [told(6)]


def test_the_newest_are_read_whatever_lies_before_them(bus: Bus) -> None:
    alerts = Alerts(bus)
    for at in range(PAGE + 3):
        alerts.tell(told(at))

    assert [a.at // MS for a in alerts.recent(4)] == [PAGE - 1, PAGE, PAGE + 1, PAGE + 2]
