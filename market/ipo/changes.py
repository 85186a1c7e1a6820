"""Changes: whether a page may be believed beside the last good one of its kind.

A site changes its layout without a word, and a codec may go on reading what is no longer there. So each page is held
against the `Glance` of the last good one: rows gone, a column gone empty, names that nobody had, prices or premiums
that moved in most rows at once. Prices of issues do not change from one day to the next, so even a few that do are a
shifted column. What is only new (a heading more, one less that nothing was read from) is told and not an alarm. Once a
person has looked and found the new page right, it is read without a page before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from market.errors import LayoutChanged
from market.ipo.pages import Glance, Page, PageKind, Part
from market.sessions import DAY

RECENT = 3 * DAY
"""A page before that is older says nothing of how many rows there are, or of a premium."""

MANY = 5
"""Rows from which a part of them says something."""

LEFT = 1 / 3
"""Of the rows, or of the names, at least so much is left from one page to the next."""

FILLED = 0.5
"""A field that so many rows had cannot be empty in all of them."""

SAME_PRICE = 0.02
SHIFTED = 0.2
"""The part of the issues whose price may have moved by more than `SAME_PRICE`: a band is revised now and then."""

JUMP_POINTS = 30.0
JUMPED = 0.5
"""The part of the issues whose premium may have moved by `JUMP_POINTS` of the issue price at once."""

STEADY = frozenset({PageKind.BOARD, PageKind.PERFORMANCE, PageKind.SME_PERFORMANCE, PageKind.HISTORY, PageKind.LIST})
"""The kinds of page whose rows leave one by one: an exchange's list of open issues may well be empty tomorrow."""

HEAVY = frozenset({"gmp", "price", "times"})
"""The fields that a page is read for."""


class Change(NamedTuple):
    """How a page differs from the one before. `grave`: what it tells is not data."""

    what: str
    grave: bool


def changes(page: Page, before: Glance | None) -> list[Change]:
    """What has changed since the last good page of this source and kind, the grave first; None: there is none."""
    found = [Change(f"a heading nobody knows: {name}", False) for name in page.unknown]
    if before is not None:
        now = page.glance()
        found += [Change(f"the heading {name} is gone", False) for name in before.headings if name not in now.headings]
        recent = 0 <= now.received - before.received <= RECENT
        for layout, part in before.parts.items():
            told = _between(now.parts.get(layout, Part()), part, page.kind in STEADY, recent)
            found += [Change(f"{layout}: {change.what}", change.grave) for change in told]
    return sorted(found, key=lambda change: not change.grave)


def check(page: Page, before: Glance | None, body: bytes) -> list[Change]:
    """The changes that are none to worry about. Raises LayoutChanged, naming the first grave one."""
    found = changes(page, before)
    grave = [change.what for change in found if change.grave]
    if grave:
        known = before.digest[:12] if before is not None else "none"
        rest = f"{len(grave)} such changes since page {known}; look at both, then read it without a page before"
        raise LayoutChanged(page.source, body, f"{grave[0]}: {rest}")
    return found


def _between(now: Part, before: Part, steady: bool, recent: bool) -> Iterator[Change]:
    yield from _vanished(now, before)
    if recent:
        yield from _fewer(now, before, steady)
        yield from _moved(now, before)


def _vanished(now: Part, before: Part) -> Iterator[Change]:
    for field, filled in before.filled.items():
        if filled >= FILLED and len(before.numbers) >= MANY and now.numbers and field not in now.filled:
            yield Change(f"no row has the field {field}, {filled:.0%} had it", field in HEAVY)


def _fewer(now: Part, before: Part, steady: bool) -> Iterator[Change]:
    if len(before.numbers) >= MANY and len(now.numbers) < LEFT * len(before.numbers):
        yield Change(f"{len(now.numbers)} issues where {len(before.numbers)} were", steady)
    left, fewer = len(before.numbers.keys() & now.numbers.keys()), min(len(before.numbers), len(now.numbers))
    if fewer >= MANY and left < LEFT * fewer:
        yield Change(f"{left} of {len(now.numbers)} issues were there before", steady)


def _moved(now: Part, before: Part) -> Iterator[Change]:
    both = [(before.numbers[name], told) for name, told in now.numbers.items() if name in before.numbers]
    prices = [abs(b["price"] / a["price"] - 1) for a, b in both if "price" in a and "price" in b]
    shifted = sum(move > SAME_PRICE for move in prices)
    if len(prices) >= 2 and shifted > max(1, SHIFTED * len(prices)):
        yield Change(f"{shifted} of {len(prices)} issues have another price, {median(prices):.0%} in the middle", True)
    points = [
        100 * abs(b["gmp"] - a["gmp"]) / b["price"] for a, b in both if "gmp" in a and b.keys() >= {"gmp", "price"}
    ]
    jumped = sum(move >= JUMP_POINTS for move in points)
    if len(points) >= 2 and jumped > max(1, JUMPED * len(points)):
        yield Change(f"{jumped} of {len(points)} premiums moved by {JUMP_POINTS:g} points of the price or more", True)
