"""Rows: what one row of a page told, all its readings together, and what of them helps to find the issue it speaks of.

A codec gives up to three readings of a row: premium, facts and bids. They are of one issue, so what any of them knows
of it (a symbol, a day, a price) counts for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from market.ipo.facts import Told
from market.ipo.pages import Page
from market.ipo.readings import GmpReading, IssueFacts, Reading, SubscriptionReading

SAME = ("source", "name", "symbol", "code", "isin", "segment", "kind")
ELSEWHERE = {"price": "high", "open": "opens", "close": "closes", "listing": "lists"}
"""Fields of `Told` that readings call otherwise."""


class TableRow(NamedTuple):
    """One row: what it told of its issue, and its readings."""

    told: Told
    readings: tuple[Reading, ...]


def rows(page: Page) -> list[TableRow]:
    """The rows of a page, oldest first by their own stamps; a row without one is as old as the fetch."""
    groups: dict[tuple[str, str], list[Reading]] = {}
    for one in (*page.gmps, *page.facts, *page.subscriptions):
        groups.setdefault((one.place, one.name), []).append(one)
    found = [TableRow(told(group, page.received), tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda row: row.told.at)


def told(readings: Sequence[Reading], received: int) -> Told:
    """What readings of one row told of their issue; `received`: ns UTC of the fetch, the latest it can be of."""
    words: dict[str, Any] = {name: _first(readings, name) for name in SAME}
    words |= {name: _first(readings, field) for name, field in ELSEWHERE.items()}
    stamp = _first(readings, "at")
    at = received if stamp is None else min(stamp, received)
    return Told(**words, at=at, gmp=next((one.gmp for one in readings if isinstance(one, GmpReading)), None))


def dumped(reading: Reading) -> dict[str, Any]:
    """A reading as plain values, of which `restored` makes it again."""
    return {"of": type(reading).__name__, **reading.model_dump(mode="json")}


def restored(said: dict[str, Any]) -> Reading:
    """The reading of which `dumped` gave the values."""
    kinds: dict[str, type[Reading]] = {one.__name__: one for one in (GmpReading, IssueFacts, SubscriptionReading)}
    return kinds[said["of"]].model_validate({name: value for name, value in said.items() if name != "of"})


def _first(readings: Iterable[Reading], field: str) -> Any:
    return next((value for one in readings if (value := getattr(one, field, None)) is not None), None)
