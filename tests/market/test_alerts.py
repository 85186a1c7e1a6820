"""Operator alerts: what is still open of what was told."""

from market.alerts import OperatorAlert, still_open


def told(kind: str, subject: str, at: int, *, over: bool = False) -> OperatorAlert:
    return OperatorAlert(kind=kind, subject=subject, at=at, text="what happened", over=over)


def test_an_alert_is_open_until_one_of_its_topic_is_over():
    trouble, gap, again = told("feed", "kite", 1), told("gap", "kite", 2), told("feed", "kite", 9)

    assert still_open([trouble, gap]) == [trouble, gap]
    assert still_open([trouble, gap, told("feed", "kite", 5, over=True)]) == [gap]
    assert still_open([trouble, gap, told("feed", "kite", 5, over=True), again]) == [gap, again]
