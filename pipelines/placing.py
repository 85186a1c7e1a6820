"""Placing: the rows of a page, or of the review queue, into the book, each with the issue it speaks of.

What the judges (the matcher, the validator) learn of a row is kept by whoever called, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from adapters.ipos import Bids, Premium, Review, Writing
from market.alerts import OperatorAlert
from market.errors import BadValue
from market.ipo.alerts import day_of
from market.ipo.facts import Told
from market.ipo.issues import Issue, Origin, learned, unopened
from market.ipo.matching import Matched, Matcher, Unsure
from market.ipo.pages import Page
from market.ipo.readings import GmpReading, Reading, SubscriptionReading
from market.ipo.rows import dumped, restored, rows, told
from market.ipo.validation import Validator
from market.ipo.witnesses import doubtful, mended
from market.money import Money
from market.records import Record
from market.sessions import MINUTE

NIGHT = 10 * 60 * MINUTE
"""Of a day, before its bids are taken: see `market.ipo.issues.BIDS_FROM`."""


class Taken(Record):
    """What became of a page. `again`: it was in the book; `trouble`: why it is an alarm and not data; `alarm`: for the
    operator, that it is one, or is none any more; `issues`: new ones; `unsure`: numbers of rows in the review queue;
    `premiums`: how many of those it told are placed; `refused`: why one, or a fact, was not taken at its word, by
    issue.
    """

    digest: str
    again: bool = False
    trouble: str = ""
    matched: int = 0
    issues: tuple[str, ...] = ()
    unsure: tuple[int, ...] = ()
    premiums: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    alarm: OperatorAlert | None = None


def placed(run: Writing, page: Page, digest: str, received: int) -> Taken:
    """Place every row of a page, and keep what the judges learnt of it."""
    matcher, validator = run.matcher(), run.validator()
    pen, origin = _Pen(run, validator), Origin(source=page.source, page=digest, received=received)
    found: list[tuple[str, tuple[Reading, ...]]] = []
    new: list[str] = []
    unsure: list[int] = []
    matched = 0
    told_rows = rows(page)
    for row in told_rows:
        before = len(matcher)
        verdict = matcher.feed(row.told, _moved(pen, matcher, row.told, [one.told for one in told_rows], received))
        if isinstance(verdict, Unsure):
            unsure.append(_queue(run, matcher, row.told, row.readings, origin))
            continue
        name = verdict.issue if isinstance(verdict, Matched) else _home(matcher, row.told)
        matched += isinstance(verdict, Matched)
        new += [name] if len(matcher) > before else []
        found.append((name, row.readings))
    pen.look(name for name, _ in found)
    for name, readings in found:
        pen.write(name, readings, origin)
    pen.end(received)
    run.save(matcher, validator)
    return Taken(
        digest=digest,
        matched=matched,
        issues=tuple(new),
        unsure=tuple(dict.fromkeys(unsure)),
        premiums=len(pen.premiums),
        refused=tuple(pen.refused),
    )


def resolve(run: Writing, validator: Validator, number: int, issue: str, by: str, because: str, now: int) -> None:
    """Write what a row of the queue told of the issue it turned out to be of."""
    review = next(one for one in run.reviews() if one.number == number)
    pen = _Pen(run, validator)
    groups: dict[tuple[str, int], list[Reading]] = {}
    for one in review.readings:
        groups.setdefault((one["page"], one["received"]), []).append(restored(one["reading"]))
    for (page, received), readings in sorted(groups.items(), key=lambda group: group[0][1]):
        pen.write(issue, readings, Origin(source=review.told.source, page=page, received=received))
    pen.end(now)
    words = {"issue": issue, "by": by, "because": because, "decided_at": now}
    run.put_review(review.model_copy(update=words))


def premium(issue: str, reading: GmpReading, page: str, received: int, listing: int | None) -> Premium:
    """A premium as the book keeps it. One without a stamp is of the fetch; of a listed issue of its last moment before
    trading, for it is not quoted any more.
    """
    stamp = reading.at
    latest = received if listing is None else min(received, listing)
    return Premium(
        issue=issue,
        source=reading.source,
        at=latest if stamp is None else min(stamp, received),
        stamped=stamp is not None,
        gmp=reading.gmp,
        kostak=reading.kostak,
        sauda=reading.sauda,
        rating=reading.rating,
        page=page,
        place=reading.place,
    )


def bids(issue: str, reading: SubscriptionReading, page: str, received: int, day: date) -> list[Bids]:
    """What was bid, a row a category; `day`: it tells of, whether or not it is one of bidding."""
    return [
        Bids(
            issue=issue,
            source=reading.source,
            book=reading.book.value,
            day=day,
            category=one.category.value,
            times=one.times,
            offered=one.offered,
            bid=one.bid,
            at=received if reading.at is None else min(reading.at, received),
            page=page,
            place=reading.place,
        )
        for one in reading.demand
    ]


class _Pen:
    """What one transaction writes of issues, gathered: rows of one page speak of one issue more than once."""

    def __init__(self, run: Writing, validator: Validator) -> None:
        self._run, self._validator = run, validator
        self._had: dict[str, Issue | None] = {}
        self.issues: dict[str, Issue] = {}
        self.names: set[tuple[str, str, str]] = set()
        self.premiums: list[Premium] = []
        self.bids: list[Bids] = []
        self.refused: list[tuple[str, str]] = []
        self._scored: set[str] = set()
        self._told: list[tuple[str, Told, Origin]] = []

    def look(self, names: Iterable[str]) -> None:
        """Fetch these issues, all at once."""
        wanted = sorted(set(names) - self._had.keys())
        there = self._run.issues(wanted)
        self._had |= {name: there.get(name) for name in wanted}
        asked = "SELECT issue FROM ipo_outcomes WHERE issue = ANY(:names)"
        self._scored |= {row["issue"] for row in self._run.all(asked, names=wanted)}

    def unopened(self, name: str) -> bool:
        """Whether an issue can still be put off."""
        self.look([name])
        issue = self._had[name]
        return issue is not None and unopened(issue)

    def write(self, name: str, readings: Sequence[Reading], origin: Origin) -> None:
        """What a row told of an issue."""
        self.look([name])
        right = mended(self.issues.get(name) or self._had[name], readings, self._witnesses(name, readings, origin))
        self.refused += [(name, why) for why in right.why]
        readings = right.readings
        issue = learned(right.issue, name, readings, origin)
        self.issues[name] = issue
        for reading in readings:
            self.names.add((reading.source, reading.name, name))
            if isinstance(reading, GmpReading):
                self.premiums.append(premium(name, reading, origin.page, origin.received, issue.listing))
                self._told.append((name, told(readings, origin.received), origin))
            elif isinstance(reading, SubscriptionReading):
                self.bids += bids(name, reading, origin.page, origin.received, _bid_day(reading, origin.received))

    def _witnesses(self, name: str, readings: Sequence[Reading], origin: Origin) -> list[Money]:
        if not any(doubtful(one) for one in readings):
            return []
        day = day_of(told(readings, origin.received).at)
        others = [one for one in self._run.premiums(name) if one.source != origin.source and day_of(one.at) == day]
        return [one.gmp for one in others if one.gmp is not None]

    def end(self, received: int) -> None:
        """Write it all; the validator reads what was quoted before the listing."""
        self._run.put_issues(self.issues.values())
        self._run.add_names(sorted(self.names), received)
        self._run.add_premiums(self.premiums)
        self._run.put_bids(self.bids)
        for name, row, origin in self._told:
            issue = self.issues[name]
            if name in self._scored:
                continue
            why: str | None
            if issue.listing is not None and row.at >= issue.listing:
                why = "told when it was trading"
            elif issue.high is None or issue.segment is None:
                why = "its price or its segment is not known"
            else:
                why = self._validator.read(name, row, issue.high, issue.segment, origin)
            self.refused += [(name, why)] if why is not None else []


def _moved(pen: _Pen, matcher: Matcher, row: Told, page: Sequence[Told], received: int) -> Matched | None:
    if row.open is None or row.open <= day_of(received):
        return None
    found = matcher.moved(row, page)
    return found if found is not None and pen.unopened(found.issue) else None


def _home(matcher: Matcher, row: Told) -> str:
    found = matcher.match(row)
    if not isinstance(found, Matched):
        raise BadValue("row", row.name, "one that its own issue was made of")
    return found.issue


def _queue(run: Writing, matcher: Matcher, row: Told, readings: Sequence[Reading], origin: Origin) -> int:
    number, queued = next((n, one) for n, one in matcher.queue.items() if one.told.bare == row.bare)
    had = next((one for one in run.reviews() if one.number == number), None)
    kept = list(had.readings) if had is not None else []
    said = [_bare(one["reading"]) for one in kept]
    kept += [{"page": origin.page, "received": origin.received, "reading": dumped(one)}
             for one in readings if _bare(dumped(one)) not in said]  # fmt: skip
    review = Review(
        number=number,
        told=had.told if had is not None else queued.told,
        candidates=queued.verdict.candidates,
        why=queued.verdict.why,
        readings=tuple(kept),
        first_at=had.first_at if had is not None else origin.received,
        issue=None,
        by="",
        because="",
        decided_at=None,
    )
    run.put_review(review)
    return number


def _bare(reading: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reading.items() if name not in ("place", "cells")}


def _bid_day(reading: SubscriptionReading, received: int) -> date:
    # Until bidding begins a page shows what was bid by the day before. Whether either is a day of bidding is asked of
    # the issue and the calendar as they are known when the bids are read: see `ipo_bidding`.
    return reading.day or day_of((received if reading.at is None else min(reading.at, received)) - NIGHT)
