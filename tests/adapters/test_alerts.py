"""Operator alerts on the bus: each event once, the newest read in the order of their telling."""

from __future__ import annotations

from adapters.alerts import PAGE, Alerts, IssueAlerts
from adapters.bus import Bus
from market.alerts import OperatorAlert, still_open
from market.ipo.alerts import IssueAlert, IssueEvent

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


def test_an_event_of_an_issue_is_told_once_and_read_behind_an_entry(bus: Bus) -> None:
    alerts, successor = IssueAlerts(bus), IssueAlerts(bus)
    new = IssueAlert(event=IssueEvent.NEW, issue="amber", at=5 * MS, text="Amber: a new issue", points=4.5)
    spikes = [IssueAlert(event=IssueEvent.SPIKE, issue="amber", about=f"{k}", at=k, text="up") for k in (7, 8)]

    told_now = [alerts.tell(one) for one in (new, *spikes)]
    again = successor.tell(new.model_copy(update={"at": 9 * MS, "text": "Amber: once more"}))
    found = successor.since()

    assert told_now == [True] * 3 and not again
    assert [one for _, one in found] == [new, *spikes]
    assert [one for _, one in alerts.since(found[0][0], count=1)] == spikes[:1]
