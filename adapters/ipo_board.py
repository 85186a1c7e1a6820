"""What a board of the IPO desk shows, read off the book: each function is one look, within the transaction given."""

# ruff: noqa: S608  (what is put into statements here are names of columns and tables of this file; values are bound)

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, time
from typing import Any

from adapters.ipos import Looking, Override, Premium, Review, Said
from market.ipo import ledger
from market.ipo.board import Row, Times, folded
from market.ipo.issues import Issue
from market.ipo.kinds import Segment
from market.ipo.validation import ValidatedGmp
from market.ipo.walkforward import Expectation, Task
from market.money import Money
from market.records import Record
from market.sessions import at, instant

LAST = "SELECT v.record, v.gmp, v.points, v.override FROM ipo_validations v WHERE {which} ORDER BY v.at DESC LIMIT 1"
"""Of one issue: an index finds it, however much was believed."""
ISSUES = f"SELECT {', '.join(name for name in Issue.model_fields if name != 'origins')} FROM ipo_issues ORDER BY id"
SHOWN = (Task.OPEN, Task.ALL)
"""Of which task a board tells what is expected, the first one that there is: the first trade, else the day's close."""

# What of a prediction is in time, as `ledger.scored` has it; `o` is missing where nothing came.
CAME = "CASE p.task WHEN 'all' THEN o.close_points ELSE o.open_points END"
COUNTS = f"""
SELECT count(*) FILTER (WHERE {CAME} IS NULL) AS waiting,
    count(*) FILTER (WHERE {CAME} IS NOT NULL AND p.at >= o.at) AS late,
    count(*) FILTER (WHERE {CAME} IS NOT NULL AND p.at < o.at)
        - count(DISTINCT (p.issue, p.task, p.model)) FILTER (WHERE {CAME} IS NOT NULL AND p.at < o.at) AS replaced
FROM ipo_predictions p JOIN ipo_issues i ON i.id = p.issue LEFT JOIN ipo_outcomes o ON o.issue = p.issue
WHERE (CAST(:task AS text) IS NULL OR p.task = :task)
    AND (CAST(:segment AS text) IS NULL OR coalesce(o.segment, i.segment) = :segment)
    AND (CAST(:since AS bigint) IS NULL OR o.at IS NULL OR o.at >= :since)
"""
LISTED = (
    "(CAST(:segment AS text) IS NULL OR o.segment = :segment) AND (CAST(:since AS bigint) IS NULL OR o.at >= :since)"
)


class Point(Record):
    """A premium as it was believed `at`, ns UTC; `overridden`: an operator's."""

    at: int
    gmp: Money | None
    points: float | None
    confidence: float
    overridden: bool


class PageTold(Record):
    """A page that was kept, as one source's of one kind, and of one issue where it has a `key`: where and when it was
    fetched first and seen last, ns UTC, its size in bytes, why it is no data, and what it told.
    """

    digest: str
    source: str
    kind: str
    key: str
    url: str
    fetched_at: int
    seen_at: int
    size: int
    trouble: str
    told: Mapping[str, Any]


class Waiting(Record):
    """A row in the review queue that may be of an issue."""

    number: int
    source: str
    name: str
    why: str
    first_at: int


class Track(Record):
    """What was published of issues that were listed and what came: as the ledger wants it, and how many predictions
    came too late to count, or have no outcome yet, or were replaced by a later one.
    """

    predicted: tuple[ledger.Predicted, ...]
    validated: tuple[ledger.Validated, ...]
    listed: tuple[ledger.Listed, ...]
    names: Mapping[str, str]
    replaced: int
    late: int
    waiting: int


def rows(run: Looking) -> list[Row]:
    """Every issue with what a board shows of it; who told its facts is left out, for that is most of what is read."""
    names = _names(run)
    last = LAST.format(which="v.issue = i.id")
    believed = {row["id"]: row for row in run.all(f"SELECT i.id, b.* FROM ipo_issues i CROSS JOIN LATERAL ({last}) b")}
    expected, times = _expected(run), _times(run)
    return [
        Row(
            issue=one,
            names=_called(one, names.get(one.id, [])),
            believed=None if one.id not in believed else _validated(believed[one.id]),
            expected=expected.get(one.id),
            times=times.get(one.id),
            overridden=one.id in believed and believed[one.id]["override"] is not None,
        )
        for one in (Issue(**row) for row in run.all(ISSUES))
    ]


def believed(run: Looking, issue: str) -> ValidatedGmp | None:
    """What was believed last of an issue."""
    found = run.one(LAST.format(which="v.issue = :issue"), issue=issue)
    return None if found is None else _validated(found)


def points(run: Looking, issue: str, span: tuple[int, int], count: int, *, changes: bool = False) -> list[Point]:
    """The newest premiums that were believed in [first, last), ns UTC, oldest first; `changes`: those that were another
    one than the one before.
    """
    within = "SELECT *, lag(gmp) OVER w AS before, row_number() OVER w AS nth FROM ipo_validations"
    found = run.all(
        f"SELECT at, gmp, points, confidence, override IS NOT NULL AS overridden FROM ({within}"
        " WHERE issue = :issue AND at >= :first AND at < :last WINDOW w AS (ORDER BY at)) AS told"
        " WHERE NOT :changes OR nth = 1 OR gmp IS DISTINCT FROM before ORDER BY at DESC LIMIT :count",
        issue=issue, first=span[0], last=span[1], count=count, changes=changes,
    )  # fmt: skip
    return [Point(**row) for row in reversed(found)]


def premiums(run: Looking, issue: str, span: tuple[int, int], count: int, source: str | None = None) -> list[Premium]:
    """The newest premiums that sources told in [first, last), ns UTC, oldest first."""
    found = run.all(
        f"SELECT {', '.join(Premium.model_fields)} FROM ipo_premiums WHERE issue = :issue AND at >= :first"
        " AND at < :last AND (CAST(:source AS text) IS NULL OR source = :source)"
        " ORDER BY at DESC, source DESC, page DESC, place DESC LIMIT :count",
        issue=issue, first=span[0], last=span[1], count=count, source=source,
    )  # fmt: skip
    return [Premium(**row) for row in reversed(found)]


def newest(run: Looking, issue: str) -> list[Said]:
    """What was predicted last of an issue, by task and model."""
    asked = f"SELECT DISTINCT ON (task, model) {', '.join(Said.model_fields)} FROM ipo_predictions"
    return [Said(**row) for row in run.all(f"{asked} WHERE issue = :issue ORDER BY task, model, at DESC", issue=issue)]


def override(run: Looking, issue: str) -> Override | None:
    """The premium that an operator has set."""
    return run.overrides().get(issue)


def waiting(run: Looking, issue: str) -> list[Waiting]:
    """The rows of the review queue that may be of an issue."""
    found = run.all(
        "SELECT number, told->>'source' AS source, told->>'name' AS name, why, first_at FROM ipo_reviews"
        " WHERE decided_at IS NULL AND :issue = ANY(candidates) ORDER BY number",
        issue=issue,
    )
    return [Waiting(**row) for row in found]


def reviews(run: Looking, after: int, count: int, *, everything: bool) -> list[Review]:
    """Rows of the review queue behind a number: those that wait, or all that ever did."""
    names = ", ".join(f'"{name}"' for name in Review.model_fields)
    found = run.all(
        f"SELECT {names} FROM ipo_reviews WHERE number > :after AND (:everything OR decided_at IS NULL)"
        " ORDER BY number LIMIT :count",
        after=after, count=count, everything=everything,
    )  # fmt: skip
    return [Review(**row) for row in found]


def pages(run: Looking, digest: str) -> list[PageTold]:
    """What is known of a page's bytes, as each source, kind and issue it was taken for."""
    asked = f"SELECT {', '.join(PageTold.model_fields)} FROM ipo_pages WHERE digest = :digest"
    return [PageTold(**row) for row in run.all(f"{asked} ORDER BY source, kind, key", digest=digest)]


def track(run: Looking, task: Task | None, segment: Segment | None, since: date | None) -> Track:
    """What was published of the issues of a segment that were listed since a day, and what came."""
    which = {
        "segment": None if segment is None else segment.value,
        "since": None if since is None else at(since, time(0)),
    }
    words = which | {"task": None if task is None else task.value}
    listed = run.all(
        "SELECT o.issue, o.at, o.segment, o.open_points, o.close_points, i.name FROM ipo_outcomes o"
        f" JOIN ipo_issues i ON i.id = o.issue WHERE {LISTED} ORDER BY o.at, o.issue",
        **which,
    )
    names = {row["issue"]: row.pop("name") for row in listed}
    fields = ", ".join(f"p.{name}" for name in ledger.Predicted.model_fields)
    predicted = run.all(
        f"SELECT DISTINCT ON (p.issue, p.task, p.model) {fields} FROM ipo_outcomes o"
        f" JOIN ipo_predictions p ON p.issue = o.issue AND p.at < o.at WHERE {LISTED}"
        " AND (CAST(:task AS text) IS NULL OR p.task = :task) ORDER BY p.issue, p.task, p.model, p.at DESC",
        **words,
    )
    last = LAST.format(which="v.issue = o.issue AND v.at < o.at")
    judged = run.all(f"SELECT b.* FROM ipo_outcomes o CROSS JOIN LATERAL ({last}) b WHERE {LISTED}", **which)
    return Track(
        predicted=tuple(ledger.Predicted(**row | {"at": instant(row["at"])}) for row in predicted),
        validated=tuple(_judged(_validated(row)) for row in judged),
        listed=tuple(ledger.Listed(**row | {"at": instant(row["at"])}) for row in listed),
        names=names,
        **(run.one(COUNTS, **words) or {}),
    )


def expectation(one: Said) -> Expectation:
    """A prediction as it is answered."""
    return Expectation(**one.model_dump(include=set(Expectation.model_fields)))


def _validated(row: Mapping[str, Any]) -> ValidatedGmp:
    return ValidatedGmp(**row["record"] | {"gmp": row["gmp"], "points": row["points"]})


def _judged(one: ValidatedGmp) -> ledger.Validated:
    # What a source holds back comes first: what it is taken at its word for counts, where there are both.
    said = [*(left.reading for left in one.refused), *(used.reading for used in one.used)]
    return ledger.Validated(
        at=instant(one.at),
        issue=one.issue,
        gmp_points=one.points,
        confidence=one.confidence,
        sources={reading.source: reading.points for reading in said},
    )


def _names(run: Looking) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in run.all("SELECT issue, name FROM ipo_names ORDER BY issue, source, name"):
        found.setdefault(row["issue"], []).append(row["name"])
    return found


def _called(issue: Issue, names: Collection[str]) -> tuple[str, ...]:
    told = (issue.name, *names, issue.symbol, issue.code, issue.isin)
    return tuple(dict.fromkeys(folded(name) for name in told if name))


def _expected(run: Looking) -> dict[str, Expectation]:
    found: dict[str, Said] = {}
    for one in run.newest():
        if not one.served or one.task not in SHOWN:
            continue
        had = found.get(one.issue)
        if had is None or (SHOWN.index(one.task), -one.at) < (SHOWN.index(had.task), -had.at):
            found[one.issue] = one
    return {name: expectation(one) for name, one in found.items()}


def _times(run: Looking) -> dict[str, Times]:
    # Of one day a whole market's count is before one nobody says the book of, and that before one exchange's.
    asked = (
        "SELECT DISTINCT ON (issue) issue, times, day, source, book FROM ipo_bidding WHERE category = 'total'"
        " AND times IS NOT NULL ORDER BY issue, day DESC, array_position(ARRAY['all', 'unknown'], book), at DESC,"
        " source"
    )
    return {row.pop("issue"): Times(**row) for row in run.all(asked)}
