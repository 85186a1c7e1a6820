"""Two issues of the book that are one: everything of the second goes to the first, and its id answers for it.

Where both have a row of the same place (one instant, one name) the first's stays, of bids the later; the other is kept
in the record of the joining, with who joined them and why.
"""

# ruff: noqa: S608  (what is put into statements here are names of columns and tables of this file; values are bound)

from __future__ import annotations

from typing import Any

import orjson

from adapters.ipos import Looking, Writing
from market.ipo.issues import Issue
from market.records import Record

PLACES = {
    "ipo_names": ("source", "name"),
    "ipo_premiums": ("source", "at", "gmp"),
    "ipo_bids": ("source", "book", "day", "category"),
    "ipo_overrides": ("id",),
    "ipo_validations": ("at",),
    "ipo_predictions": ("task", "model", "at"),
    "ipo_outcomes": (),
    "ipo_alerts": ("event", "about", "user_id"),
}
"""What sets apart the rows of one issue."""

RECORDS = {"ipo_validations": "record", "ipo_alerts": "alert"}
"""Columns with a record that names its issue."""


MOVED_REVIEWS = """
UPDATE ipo_reviews SET
    issue = CASE WHEN issue = CAST(:double AS text) THEN CAST(:issue AS text) ELSE issue END,
    candidates = CASE WHEN CAST(:issue AS text) = ANY(candidates) THEN array_remove(candidates, CAST(:double AS text))
        ELSE array_replace(candidates, CAST(:double AS text), CAST(:issue AS text)) END
WHERE issue = CAST(:double AS text) OR CAST(:double AS text) = ANY(candidates)
"""


class Join(Record):
    """An id that is no more, what it was joined to, by whom, why and when, ns UTC; and the rows that were left of it,
    by table.
    """

    double: str
    issue: str
    by: str
    because: str
    at: int
    left: dict[str, list[dict[str, Any]]]


def joins(run: Looking, issue: str) -> list[Join]:
    """What was joined to an issue, oldest first."""
    rows = run.all('SELECT * FROM ipo_joins WHERE issue = :issue ORDER BY at, "double"', issue=issue)
    return [Join(**row) for row in rows]


def join(run: Writing, whole: Issue, double: str, by: str, because: str, at: int) -> Join:
    """Give everything of `double` to an issue, which is `whole` then."""
    words = {"issue": whole.id, "double": double}
    run.put_issues([whole])
    run.all(
        "UPDATE ipo_overrides SET ended_at = :at, ended_by = :by WHERE ended_at IS NULL AND issue IN (:issue, :double)"
        " AND id < (SELECT max(id) FROM ipo_overrides WHERE ended_at IS NULL AND issue IN (:issue, :double))",
        **words, at=at, by=by,
    )  # fmt: skip
    left = {table: rows for table in PLACES if (rows := _moved(run, table, words))}
    run.all(MOVED_REVIEWS, **words)
    run.all("DELETE FROM ipo_issues WHERE id = :double", double=double)
    made = Join(double=double, issue=whole.id, by=by, because=because, at=at, left=left)
    run.all(
        'INSERT INTO ipo_joins VALUES (:double, :issue, :by, :because, :at, CAST(:left AS jsonb))',
        **made.model_dump() | {"left": orjson.dumps(left).decode()},
    )  # fmt: skip
    return made


def _moved(run: Writing, table: str, words: dict[str, str]) -> list[dict[str, Any]]:
    same = "".join(f" AND mine.{name} IS NOT DISTINCT FROM theirs.{name}" for name in PLACES[table])
    left = []
    if table == "ipo_bids":
        asked = f"DELETE FROM {table} mine USING {table} theirs WHERE mine.issue = :issue AND theirs.issue = :double"
        left += run.all(f"{asked}{same} AND theirs.at > mine.at RETURNING to_jsonb(mine) AS row", **words)
    sets = "issue = :issue"
    if table in RECORDS:
        column = RECORDS[table]
        sets += f", {column} = jsonb_set({column}, '{{issue}}', to_jsonb(CAST(:issue AS text)))"
    run.all(
        f"UPDATE {table} theirs SET {sets} WHERE issue = :double"
        f" AND NOT EXISTS (SELECT 1 FROM {table} mine WHERE mine.issue = :issue{same})",
        **words,
    )
    left += run.all(f"DELETE FROM {table} theirs WHERE issue = :double RETURNING to_jsonb(theirs) AS row", **words)
    return [one["row"] for one in left]
