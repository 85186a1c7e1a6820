"""Witnesses: what a source tells of an issue, put right where another source, or its own row, makes that certain.

Only what `repairs` calls certain is changed, and each change says why. Of a fact the witness's word stands: the damaged
one, whoever told it, counts as not told, and so it does when the same page tells it again. A premium is in doubt where
it is higher than the issue price; one that merely differs from another source's is that source's opinion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from market.ipo import repairs
from market.ipo.facts import points
from market.ipo.issues import Issue
from market.ipo.readings import GmpReading, Reading
from market.ipo.repairs import CRORE, Judged, Repaired
from market.money import SCALE, Money, decimal

FIELDS = ("size_crore", "listed_at")
"""Facts that are damaged in known ways."""


class Mended(NamedTuple):
    """What is left to learn of a row, the issue without what the row shows to be damaged, and why, where it differs."""

    issue: Issue | None
    readings: tuple[Reading, ...]
    why: tuple[str, ...]


def mended(issue: Issue | None, readings: Iterable[Reading], premiums: Collection[Money] = ()) -> Mended:
    """The readings of a row of an issue as they can be learned; `premiums`: what other sources tell of the same day."""
    kept, why = [], []
    for reading in readings:
        for field in FIELDS:
            issue, reading, reason = _beside(issue, reading, field)
            why += [reason] if reason else []
        found = _premium(reading, premiums) if isinstance(reading, GmpReading) else None
        if found is not None:
            reading, reason = found
            why.append(reason)
        kept.append(reading)
    return Mended(issue, tuple(kept), tuple(why))


def doubtful(reading: Reading) -> bool:
    """Whether a premium wants a witness: it is higher than the issue price."""
    if not isinstance(reading, GmpReading) or reading.gmp is None or reading.high is None:
        return False
    return reading.gmp > reading.high


def _beside(issue: Issue | None, reading: Reading, field: str) -> tuple[Issue | None, Reading, str]:
    told = getattr(reading, field, None)
    origin = None if issue is None else issue.origins.get(field)
    if issue is None or origin is None or told is None or origin.source == reading.source:
        return issue, reading, ""
    known = getattr(issue, field)
    new, old = _judged(field, told, known), _judged(field, known, told)
    if isinstance(new, Repaired):
        return issue, reading.model_copy(update={field: None}), f"{field} of {reading.source}: {new.why}"
    if isinstance(old, Repaired):
        origins = {name: one for name, one in issue.origins.items() if name != field}
        issue = issue.model_copy(update={field: None, "origins": origins})
        return issue, reading, f"{field} of {origin.source}: {old.why}"
    return issue, reading, ""


def _premium(reading: GmpReading, premiums: Collection[Money]) -> tuple[GmpReading, str] | None:
    if reading.gmp is None or reading.high is None:
        return None
    judged = [repairs.unglued(reading.gmp, reading.high, reading.estimated)]
    if doubtful(reading) and reading.gmp not in premiums:
        judged += [repairs.premium(reading.gmp, witness) for witness in premiums]
    found = {one.value: one.why for one in judged if isinstance(one, Repaired)}
    if len(found) != 1:
        return None
    ((value, why),) = found.items()
    right = reading.model_copy(update={"gmp": value, "points": points(value, reading.high)})
    return right, f"premium {decimal(reading.gmp)} of {reading.source}: {why}"


def _judged(field: str, told: float, witness: float) -> Judged:
    if field == "listed_at":
        return repairs.first_price(Money(int(told)), Money(int(witness)))
    return repairs.size(_rupees(told), _rupees(witness))


def _rupees(crore: float) -> Money:
    return Money(round(crore * CRORE * SCALE))
