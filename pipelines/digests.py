"""The daily digest of the IPO desk: what is open, what comes, what was listed, and how good the desk has been."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from adapters.ipos import Book, Looking, Outcome, Said
from market.ipo.alerts import day_of
from market.ipo.issues import Issue
from market.ipo.ledger import Account, Standing, accounts, league, scored
from market.ipo.life import State
from market.ipo.validation import ValidatedGmp
from market.ipo.walkforward import Task
from market.money import decimal
from market.records import Record

TEMPLATE = Path(__file__).with_name("digest.html")
LATELY = timedelta(days=7)
"""So long a listing is news."""

ABSENT = "-"


class Entry(Record):
    """An issue, what is believed of its premium, what of its first trade is expected, and what came."""

    issue: Issue
    believed: ValidatedGmp | None = None
    said: Said | None = None
    outcome: Outcome | None = None


class Digest(Record):
    """A day's page. `waiting`: rows in the review queue; `accounts`, `league`: how good models and sources were."""

    day: date
    open: tuple[Entry, ...]
    ahead: tuple[Entry, ...]
    unlisted: tuple[Entry, ...]
    listed: tuple[Entry, ...]
    waiting: int
    accounts: tuple[Account, ...]
    league: tuple[Standing, ...]


class Column(NamedTuple):
    """A column of the digest: its heading, and the cell of an entry."""

    title: str
    cell: Callable[[Entry], str]


COLUMNS = (
    Column("issue", lambda one: one.issue.name),
    Column("segment", lambda one: _word(one.issue.segment)),
    Column("price", lambda one: _money(one.issue.high)),
    Column("premium", lambda one: _money(None if one.believed is None else one.believed.gmp)),
    Column("points", lambda one: _points(None if one.believed is None else one.believed.points)),
    Column("confidence", lambda one: _share(one.believed)),
    Column("expected", lambda one: _expected(one.said)),
)
OPEN = (*COLUMNS, Column("closes", lambda one: _day(one.issue.closes)))
AHEAD = (*COLUMNS, Column("opens", lambda one: _day(one.issue.opens)))
UNLISTED = (*COLUMNS, Column("lists", lambda one: _day(one.issue.lists)))
LISTED = (
    *COLUMNS,
    Column("listed", lambda one: _day(one.issue.lists)),
    Column("came", lambda one: _points(None if one.outcome is None else one.outcome.open_points)),
)
PARTS: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    ("open", "Open for bids", OPEN),
    ("ahead", "Announced", AHEAD),
    ("unlisted", "Closed, not listed yet", UNLISTED),
    ("listed", "Listed lately", LISTED),
)


def digest(book: Book, now: int) -> Digest:
    """What there is to tell `now`, ns UTC. Raises LineDown, StoreRefused."""
    day = day_of(now)
    with book.looking() as run:
        entries = entries_of(run)
        predicted, validated, listed = run.track()
        waiting = len(run.reviews())
    done = scored(predicted, listed)
    newest = [one for one in entries if one.issue.state is State.LISTED and lately(one.issue, day)]
    return Digest(
        day=day,
        open=tuple(one for one in entries if one.issue.state is State.OPEN),
        ahead=tuple(one for one in entries if one.issue.state is State.ANNOUNCED),
        unlisted=tuple(one for one in entries if one.issue.state in (State.CLOSED, State.ALLOTTED)),
        listed=tuple(newest),
        waiting=waiting,
        accounts=tuple(accounts(done.outcomes)),
        league=tuple(league(validated, listed)),
    )


def entries_of(run: Looking) -> list[Entry]:
    """Every issue with what is known of it, the last to open first."""
    believed, outcomes = run.believed(), {one.issue: one for one in run.outcomes()}
    said = {one.issue: one for one in run.newest() if one.served and one.task is not Task.CLOSE_OF_ISSUE}
    return [
        Entry(issue=one, believed=believed.get(one.id), said=said.get(one.id), outcome=outcomes.get(one.id))
        for one in run.every()
    ]


def text(found: Digest) -> str:
    """The digest as plain lines, for a terminal or a letter."""
    lines = [f"IPO digest, {found.day:%d %B %Y}"]
    for name, title, columns in PARTS:
        entries: tuple[Entry, ...] = getattr(found, name)
        lines += ["", f"{title}: {len(entries) or 'none'}"]
        if entries:
            lines += _aligned([[c.title for c in columns], *([c.cell(one) for c in columns] for one in entries)])
    if found.accounts:
        lines += ["", "Predictions so far"]
        lines += [f"  {one.task} by {one.model}: {one.n} scored, off by {one.mae:.2f} points" for one in found.accounts]
    if found.league:
        lines += ["", "Sources so far"]
        lines += [f"  {one.source}: {one.n} issues, off by {one.mae:.2f} points" for one in found.league]
    if found.waiting:
        lines += ["", f"{found.waiting} rows wait for a decision: bourse ipo review"]
    return "\n".join(lines)


def html(found: Digest) -> str:
    """The digest as a page; what came from outside is escaped."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        TEMPLATE.read_text("utf-8")
    )
    parts = [(title, columns, getattr(found, name)) for name, title, columns in PARTS]
    return template.render(digest=found, parts=parts)


def cells(one: Entry) -> Mapping[str, str]:
    """An entry's cells by their headings, for a list."""
    return {column.title: column.cell(one) for column in COLUMNS}


def lately(issue: Issue, day: date) -> bool:
    """Whether an issue listed in the week up to a day."""
    return issue.lists is not None and timedelta(0) <= day - issue.lists <= LATELY


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in table)
    return [f"  {row}".rstrip() for row in rows]


def _word(value: object) -> str:
    return ABSENT if value is None else str(value)


def _money(amount: int | None) -> str:
    return ABSENT if amount is None else str(decimal(amount))


def _points(value: float | None) -> str:
    return ABSENT if value is None else f"{value:+.1f}"


def _day(day: date | None) -> str:
    return ABSENT if day is None else f"{day:%d %b %Y}"


def _share(believed: ValidatedGmp | None) -> str:
    return ABSENT if believed is None or believed.gmp is None else f"{believed.confidence:.2f}"


def _expected(said: Said | None) -> str:
    if said is None:
        return ABSENT
    if said.low_points is None or said.high_points is None:
        return f"{said.predicted_points:+.1f}"
    return f"{said.predicted_points:+.1f} ({said.low_points:+.1f} to {said.high_points:+.1f})"
