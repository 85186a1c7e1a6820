"""Wishes on the bus: heard in order, by every reader, also by one that comes later."""

from __future__ import annotations

from adapters.bus import Bus
from adapters.control import Control
from market.wishes import Do, Wish, Wishes


def wish(do: Do, feed: str = "") -> Wish:
    return Wish(do=do, feed=feed, at=1, by="ops")


def test_a_wish_is_heard_by_every_reader_once(bus: Bus) -> None:
    operator, feed = Control(bus), Control(bus)
    operator.wish(wish("close", "kite"))

    assert feed.hear() == [wish("close", "kite")] and feed.hear() == []
    assert Control(bus).hear() == [wish("close", "kite")]


def test_what_was_wished_outlives_its_reader(bus: Bus) -> None:
    operator = Control(bus)
    for one in (wish("close", "kite"), wish("force", "mstock"), wish("close", "sim"), wish("open", "kite")):
        operator.wish(one)
    late = Control(bus)
    late.hear()

    assert late.wishes == Wishes(forced="mstock", closed=frozenset({"sim"}))


def test_auto_ends_a_force_and_a_hold_and_opens_nothing() -> None:
    held = Wishes().after([wish("close", "sim"), wish("force", "sim"), wish("hold")])

    assert held == Wishes(held=True, closed=frozenset({"sim"}))
    assert held.after([wish("auto")]) == Wishes(closed=frozenset({"sim"}))
