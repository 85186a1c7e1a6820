"""The book of the IPO desk, in Postgres: issues, what pages told of them, what was believed and predicted, what came.

A page's bytes lie as a file by their digest, written through before the row that speaks of them. Whoever writes holds
one lock: what pages told, the issues made of it, and the state of the judges they were made by are one transaction.
"""

# ruff: noqa: S608  (what is put into statements here are names of columns and tables of this file; values are bound)

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from adapters.database import SCHEMA, Database
from adapters.ipo_statements import ALARMS, CAME, JOINED, OF, PROVEN, PUT_PAGE, PUT_REVIEW, PUT_THRESHOLDS, SHOWN
from adapters.page_files import PageFiles
from market.errors import BadValue
from market.ipo import ledger
from market.ipo.alerts import IssueAlert, IssueEvent
from market.ipo.confidence import Doubts
from market.ipo.facts import Told
from market.ipo.issues import Issue
from market.ipo.life import State
from market.ipo.matching import Matcher
from market.ipo.pages import Glance, PageKind, PageOf
from market.ipo.profit import Came, Thresholds
from market.ipo.validation import Limits, Reading, Shown, ValidatedGmp, Validator
from market.ipo.walkforward import Memory, Task, month
from market.money import Money
from market.records import Record
from market.sessions import DAY, instant

if TYPE_CHECKING:
    from sqlalchemy import Connection

WRITING = 0x69706F73
"""The advisory lock of whoever writes."""
LEFT = 3 * DAY
"""A page of one issue that its source was not asked for so long is of one that is over."""
MATCHER, VALIDATOR, WALKS = "matcher", "validator", "walks"
ISSUE = tuple(Issue.model_fields)
ISSUES = f"SELECT {', '.join(ISSUE)} FROM ipo_issues"
OVERRIDE = "id, issue, gmp, pinned, by, because, at"
REVIEW = "number, told, candidates, why, readings, first_at, issue, by, because, decided_at"


class Taken(NamedTuple):
    """A page that is in the book: its digest, when it was first and last fetched, ns UTC, and why it is an alarm; none:
    it is data.
    """

    digest: str
    fetched_at: int
    seen_at: int
    trouble: str


class Premium(Record):
    """A premium as its source told it `at`, ns UTC, its own stamp where it is `stamped`; by `place` on the page of a
    digest.
    """

    issue: str
    source: str
    at: int
    stamped: bool
    gmp: Money | None
    kostak: Money | None = None
    sauda: Money | None = None
    rating: int | None = None
    page: str
    place: str


class Bids(Record):
    """One category's bids on a day, as its source told them last."""

    issue: str
    source: str
    book: str
    day: date
    category: str
    times: float | None
    offered: int | None
    bid: int | None
    at: int
    page: str
    place: str


class Override(Record):
    """A premium an operator set, and why: until a source tells a newer one, or, `pinned`, until it is cleared."""

    id: int
    issue: str
    gmp: Money
    pinned: bool
    by: str
    because: str
    at: int


class Review(Record):
    """A row of a page that waits for a person, or waited; `readings`: what it told, each with the page it stood on."""

    number: int
    told: Told
    candidates: tuple[str, ...]
    why: str
    readings: tuple[Mapping[str, Any], ...]
    first_at: int
    issue: str | None
    by: str
    because: str
    decided_at: int | None


class Said(Record):
    """A prediction as it was published `at`, ns UTC; `served`: it was the answer; `gate`: why."""

    issue: str
    task: Task
    model: str
    at: int
    decided: date
    gmp_points: float
    predicted_points: float
    low_points: float | None
    high_points: float | None
    p_gain_10: float | None
    p_loss: float | None
    served: bool
    gate: Mapping[str, Any]


class Outcome(Record):
    """What came of an issue, first traded `at`, ns UTC: points of the issue price; None: not known."""

    issue: str
    at: int
    segment: str
    open_points: float | None
    close_points: float | None
    scored_at: int


class Alarm(Record):
    """A page that is an alarm now, and why; `key`: of which issue it tells, where it is of one alone; `fetched_at`,
    `seen_at`: when it came first and last, ns UTC.
    """

    source: str
    kind: PageKind
    key: str = ""
    trouble: str
    digest: str
    url: str
    fetched_at: int
    seen_at: int

    @property
    def of(self) -> PageOf:
        """What it is one of."""
        return PageOf(self.source, self.kind, self.key)


class Book:
    """Threads may share it. Every method raises LineDown, StoreRefused, and BadValue for text with a NUL."""

    def __init__(self, url: str, folder: Path, schema: str = SCHEMA) -> None:
        """`folder`: of the pages' bytes. Nothing is opened yet. Raises BadSetting."""
        self._database = Database(url, schema)
        self._pages = PageFiles(folder)

    def close(self) -> None:
        """Close what is open."""
        self._database.close()

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction that changes the book; whoever else wants to change it waits."""
        with self._database.begin() as line:
            run = Writing(line)
            run.all("SELECT pg_advisory_xact_lock(:key)", key=WRITING)
            yield run

    @contextmanager
    def looking(self) -> Iterator[Looking]:
        """One transaction that sees the book as it is now."""
        with self._database.begin() as line:
            run = Looking(line)
            run.all("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield run

    def keep(self, body: bytes) -> str:
        """Keep a page's bytes, once, before anything speaks of them. Returns their digest. Raises StoreRefused."""
        return self._pages.keep(body)

    def body(self, digest: str) -> bytes:
        """A page's bytes. Raises BadValue: there is no such page; StoreRefused: they are not what they were."""
        return self._pages.body(digest)


class Looking:
    """One transaction."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def all(self, asked: str, **words: Any) -> list[dict[str, Any]]:
        """The rows of a statement, none for one that gives none."""
        from sqlalchemy import text

        done = self._line.execute(text(asked), words)
        return [dict(row) for row in done.mappings()] if done.returns_rows else []

    def one(self, asked: str, **words: Any) -> dict[str, Any] | None:
        """The first of them."""
        return next(iter(self.all(asked, **words)), None)

    def version(self) -> int:
        """Another number after every transaction that changed anything an answer is made of, and after no other."""
        found = self.one("SELECT number FROM ipo_version")
        return 0 if found is None else int(found["number"])

    def issue(self, name: str) -> Issue:
        """By id; by that of an issue that was joined to it, too. Raises BadValue."""
        found = self.issues([name]) or self.issues([row["issue"] for row in self.all(JOINED, name=name)])
        if not found:
            raise BadValue("issue", name[:100], "the id of an issue; bourse ipo list shows them")
        return next(iter(found.values()))

    def issues(self, names: Collection[str]) -> dict[str, Issue]:
        """Those of some ids that there are."""
        rows = self.all(f"{ISSUES} WHERE id = ANY(:names)", names=list(names))
        return {row["id"]: Issue(**row) for row in rows}

    def every(self, states: Collection[State] = tuple(State), segment: str | None = None) -> list[Issue]:
        """The issues in some states, and of a segment; the last to open first, those without a day before them."""
        asked = f"{ISSUES} WHERE state = ANY(:states) AND (CAST(:segment AS text) IS NULL OR segment = :segment)"
        words = {"states": [one.value for one in states], "segment": segment}
        return [
            Issue(**row)
            for row in self.all(f"{asked} ORDER BY coalesce(opens, closes, lists) DESC NULLS FIRST, id", **words)
        ]

    def names(self, issue: str) -> list[tuple[str, str]]:
        """What sources call an issue: source and name."""
        asked = "SELECT source, name FROM ipo_names WHERE issue = :issue ORDER BY source, name"
        return [(row["source"], row["name"]) for row in self.all(asked, issue=issue)]

    def premiums(self, issue: str) -> list[Premium]:
        """Everything told of an issue's premium, oldest first."""
        names = ", ".join(Premium.model_fields)
        asked = f"SELECT {names} FROM ipo_premiums WHERE issue = :issue ORDER BY at, source, page, place"
        return [Premium(**row) for row in self.all(asked, issue=issue)]

    def shown(self, issues: Collection[str]) -> dict[str, dict[str, Shown]]:
        """Of the last premiums without a stamp, until when their pages showed them, by issue and source."""
        found: dict[str, dict[str, Shown]] = {}
        for row in self.all(SHOWN, issues=list(issues)):
            found.setdefault(row["issue"], {})[row["source"]] = Shown(row["at"], row["seen_at"])
        return found

    def seen(self, pages: Collection[str]) -> dict[str, int]:
        """When pages were fetched last, by digest, ns UTC; those that are alarms are left out."""
        asked = "SELECT digest, max(seen_at) AS at FROM ipo_pages WHERE trouble = '' AND digest = ANY(:pages)"
        return {row["digest"]: row["at"] for row in self.all(f"{asked} GROUP BY digest", pages=list(pages))}

    def bids(self, issue: str | None = None) -> list[Bids]:
        """What was bid for an issue, or all, by day of bidding, source, book and category."""
        asked = f"SELECT {', '.join(Bids.model_fields)} FROM ipo_bidding"
        asked += " WHERE CAST(:issue AS text) IS NULL OR issue = :issue"
        return [Bids(**row) for row in self.all(f"{asked} ORDER BY day, source, book, category", issue=issue)]

    def validations(self, issue: str | None = None) -> list[ValidatedGmp]:
        """What was believed, of one issue or all, oldest first; what an operator set is in it."""
        asked = "SELECT record, gmp, points FROM ipo_validations WHERE CAST(:issue AS text) IS NULL OR issue = :issue"
        rows = self.all(f"{asked} ORDER BY at, issue", issue=issue)
        return [ValidatedGmp(**row["record"] | {"gmp": row["gmp"], "points": row["points"]}) for row in rows]

    def believed(self) -> dict[str, ValidatedGmp]:
        """What was believed last of each issue, by id."""
        asked = "SELECT DISTINCT ON (issue) record, gmp, points FROM ipo_validations ORDER BY issue, at DESC"
        rows = [row["record"] | {"gmp": row["gmp"], "points": row["points"]} for row in self.all(asked)]
        return {row["issue"]: ValidatedGmp(**row) for row in rows}

    def predictions(self, issue: str | None = None) -> list[Said]:
        """What was predicted, of one issue or all, oldest first."""
        asked = f"SELECT {', '.join(Said.model_fields)} FROM ipo_predictions"
        asked += " WHERE CAST(:issue AS text) IS NULL OR issue = :issue ORDER BY at, issue, task, model"
        return [Said(**row) for row in self.all(asked, issue=issue)]

    def newest(self) -> list[Said]:
        """What was predicted last of each issue and task, by each model."""
        asked = f"SELECT DISTINCT ON (issue, task, model) {', '.join(Said.model_fields)} FROM ipo_predictions"
        return [Said(**row) for row in self.all(f"{asked} ORDER BY issue, task, model, at DESC")]

    def judged(self) -> list[ValidatedGmp]:
        """What was believed last before the first trade, of each issue of which it is known what came."""
        asked = (
            "SELECT DISTINCT ON (v.issue) v.record, v.gmp, v.points FROM ipo_validations v JOIN ipo_outcomes o"
            " ON o.issue = v.issue AND v.at < o.at ORDER BY v.issue, v.at DESC"
        )
        rows = [row["record"] | {"gmp": row["gmp"], "points": row["points"]} for row in self.all(asked)]
        return [ValidatedGmp(**row) for row in rows]

    def proven(self) -> list[tuple[Doubts, float]]:
        """Of each premium the sources were believed in: what made it doubtful, and how far off it was, in points."""
        found = [(ValidatedGmp(**row["record"]), float(row["gain"])) for row in self.all(PROVEN)]
        return [(one.doubts, abs(one.points - gain)) for one, gain in found if one.doubts and one.points is not None]

    def outcomes(self) -> list[Outcome]:
        """What came, oldest listing first."""
        rows = self.all(f"SELECT {', '.join(Outcome.model_fields)} FROM ipo_outcomes ORDER BY at, issue")
        return [Outcome(**row) for row in rows]

    def came(self) -> list[Came]:
        """Of every issue of which it is known what came: the premium that stood when bidding closed, or without such a
        day before the first trade; where nothing was believed, what a source told last.
        """
        return [Came(**row) for row in self.all(CAME)]

    def thresholds(self) -> dict[str, Thresholds]:
        """The thresholds of the users who have set their own, by user."""
        rows = self.all("SELECT user_id, points, amount, joined FROM ipo_thresholds ORDER BY user_id")
        return {row.pop("user_id"): Thresholds(**row) for row in rows}

    def thresholds_of(self, user: str) -> Thresholds | None:
        """A user's own; None: the defaults count."""
        found = self.one("SELECT points, amount, joined FROM ipo_thresholds WHERE user_id = :user", user=user)
        return None if found is None else Thresholds(**found)

    def reviews(self, *, waiting: bool = True) -> list[Review]:
        """The rows that wait for a person, or all that ever did, oldest first."""
        asked = f"SELECT {REVIEW} FROM ipo_reviews WHERE decided_at IS NULL OR NOT :waiting ORDER BY number"
        return [Review(**row) for row in self.all(asked, waiting=waiting)]

    def overrides(self) -> dict[str, Override]:
        """The premiums that operators have set and nobody cleared, by issue."""
        rows = self.all(f"SELECT {OVERRIDE} FROM ipo_overrides WHERE ended_at IS NULL ORDER BY id")
        return {row["issue"]: Override(**row) for row in rows}

    def page(self, digest: str, of: PageOf) -> Taken | None:
        """A page of these bytes; None: it was not taken yet."""
        asked = f"SELECT {', '.join(Taken._fields)} FROM ipo_pages WHERE digest = :digest AND {OF}"
        found = self.one(asked, digest=digest, **_of(of))
        return None if found is None else Taken(**found)

    def last_page(self, of: PageOf, before: int) -> Taken | None:
        """The page that was fetched last before an instant, ns UTC, good or not."""
        asked = f"SELECT {', '.join(Taken._fields)} FROM ipo_pages WHERE {OF} AND seen_at < :before"
        found = self.one(f"{asked} ORDER BY seen_at DESC, digest LIMIT 1", before=before, **_of(of))
        return None if found is None else Taken(**found)

    def glance(self, of: PageOf, before: int) -> Glance | None:
        """The last good page that was fetched before an instant, in small."""
        asked = f"SELECT glance FROM ipo_pages WHERE {OF} AND trouble = '' AND seen_at < :before"
        found = self.one(f"{asked} ORDER BY seen_at DESC, digest LIMIT 1", before=before, **_of(of))
        return None if found is None else Glance(**found["glance"])

    def alarms(self) -> list[Alarm]:
        """The pages that are alarms now: of each source, kind and key the last one, where it is no data. One of a
        single issue is none any more when its source was asked for `LEFT` without it.
        """
        rows = self.all(ALARMS, left=LEFT)
        return [Alarm(**{name: row[name] for name in Alarm.model_fields}) for row in rows]

    def heard(self) -> dict[str, int]:
        """When each source that is visited gave a good page last, ns UTC."""
        asked = "SELECT source, max(seen_at) AS at FROM ipo_pages WHERE trouble = '' AND kind <> :kind GROUP BY source"
        rows = self.all(asked, kind=PageKind.HISTORY.value)
        return {row["source"]: row["at"] for row in rows}

    def quotes(self) -> list[tuple[str, int, Money]]:
        """Every premium that was believed: issue, instant and premium, oldest first."""
        asked = "SELECT issue, at, gmp FROM ipo_validations WHERE gmp IS NOT NULL ORDER BY at, issue"
        return [(row["issue"], row["at"], row["gmp"]) for row in self.all(asked)]

    def validated(self) -> int:
        """When something was believed last, ns UTC; 0: never."""
        found = self.one("SELECT max(at) AS at FROM ipo_validations")
        return 0 if found is None or found["at"] is None else int(found["at"])

    def unsent(self) -> list[IssueAlert]:
        """The alerts of which nobody has said that they were told, oldest first."""
        rows = self.all("SELECT alert FROM ipo_alerts WHERE sent_at IS NULL ORDER BY at, issue, event, about, user_id")
        return [IssueAlert(**row["alert"]) for row in rows]

    def told(self, event: IssueEvent, issues: Collection[str]) -> set[tuple[str, str]]:
        """To whom an event of some issues was or will be told for themselves: issue and user."""
        asked = "SELECT issue, user_id FROM ipo_alerts WHERE event = :event AND issue = ANY(:issues) AND user_id <> ''"
        return {(row["issue"], row["user_id"]) for row in self.all(asked, event=event.value, issues=list(issues))}

    def matcher(self) -> Matcher:
        """As it was left. Raises BadValue: an older Bourse wrote it."""
        state = self._state(MATCHER)
        return Matcher() if state is None else Matcher.restore(state)

    def validator(self, limits: Limits | None = None) -> Validator:
        """As it was left, with the limits of now. Raises BadValue: an older Bourse wrote it."""
        state = self._state(VALIDATOR)
        return Validator(limits=limits) if state is None else Validator.restore(state, limits)

    def track(self) -> tuple[list[ledger.Predicted], list[ledger.Validated], list[ledger.Listed]]:
        """What was published and what came, as the ledger wants them."""
        predicted = [
            ledger.Predicted(at=instant(one.at), **one.model_dump(include=set(ledger.Predicted.model_fields) - {"at"}))
            for one in self.predictions()
        ]
        validated = [
            ledger.Validated(
                at=instant(one.at),
                issue=one.issue,
                gmp_points=one.points,
                confidence=one.confidence,
                sources={said.source: said.points for said in _said(one)},
            )
            for one in self.judged()
        ]
        listed = [
            ledger.Listed(at=instant(one.at), **one.model_dump(include=set(ledger.Listed.model_fields) - {"at"}))
            for one in self.outcomes()
        ]
        return predicted, validated, listed

    def walks(self, by: str) -> dict[Task, Memory]:
        """The months that were walked by the same models, `by` their digest; none where others walked them."""
        state = self._state(WALKS) or {}
        if state.get("by") != by:
            return {task: {} for task in Task}
        return {task: {key: month(said) for key, said in state["tasks"][task].items()} for task in Task}

    def _state(self, name: str) -> Mapping[str, Any] | None:
        found = self.one("SELECT state FROM ipo_state WHERE name = :name", name=name)
        return None if found is None else found["state"]


class Writing(Looking):
    """One transaction that changes the book."""

    def many(self, asked: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A statement for each of some rows."""
        from sqlalchemy import text

        if rows:
            self._line.execute(text(asked), rows)

    def add_page(
        self, digest: str, of: PageOf, url: str, received: int, size: int, trouble: str, told: Mapping[str, Any],
        glance: Glance | None,
    ) -> None:  # fmt: skip
        """Say of a page what it told; one that was an alarm before may become data."""
        self.all(
            PUT_PAGE, **_of(of),
            digest=digest, url=url, at=received, size=size, trouble=trouble[:1000],
            told=_json(told), glance=None if glance is None else _json(glance.model_dump(mode="json")),
        )  # fmt: skip

    def see_page(self, digest: str, of: PageOf, received: int) -> None:
        """A page that was taken has come again."""
        asked = f"UPDATE ipo_pages SET seen_at = :at WHERE digest = :digest AND {OF} AND seen_at < :at"
        self.all(asked, at=received, digest=digest, **_of(of))

    def put_issues(self, issues: Iterable[Issue]) -> None:
        """Write issues as they are now."""
        rows = [_plain(one) | {"origins": _json(one.model_dump(mode="json")["origins"])} for one in issues]
        values = ", ".join("CAST(:origins AS jsonb)" if name == "origins" else f":{name}" for name in ISSUE)
        sets = ", ".join(f"{name} = excluded.{name}" for name in ISSUE if name != "id")
        self.many(
            f"INSERT INTO ipo_issues ({', '.join(ISSUE)}) VALUES ({values}) ON CONFLICT (id) DO UPDATE SET {sets}", rows
        )

    def add_names(self, names: Iterable[tuple[str, str, str]], at: int) -> None:
        """What a source calls an issue: source, name, issue."""
        rows = [{"source": source, "name": name, "issue": issue, "at": at} for source, name, issue in names]
        self.many("INSERT INTO ipo_names VALUES (:source, :name, :issue, :at) ON CONFLICT DO NOTHING", rows)

    def add_premiums(self, premiums: Iterable[Premium]) -> None:
        """Premiums as they were told; what a source said of the same moment before is there already."""
        names = tuple(Premium.model_fields)
        asked = f"INSERT INTO ipo_premiums ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
        self.many(f"{asked} ON CONFLICT DO NOTHING", [_plain(one) for one in premiums])

    def put_bids(self, bids: Iterable[Bids]) -> None:
        """What was bid; of one source's words of one day the later counts. `bids` says on which day they stand."""
        names = tuple(Bids.model_fields)
        sets = ", ".join(f"{name} = excluded.{name}" for name in ("times", "offered", "bid", "at", "page", "place"))
        self.many(
            f"INSERT INTO ipo_bids ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
            f" ON CONFLICT (issue, source, book, day, category) DO UPDATE SET {sets}"
            " WHERE (excluded.at, excluded.page) > (ipo_bids.at, ipo_bids.page)",
            [_plain(one) for one in bids],
        )

    def put_review(self, review: Review) -> None:
        """A row that waits, or is decided."""
        words = review.model_dump(mode="json")
        words |= {"told": _json(words["told"]), "readings": _json(words["readings"])}
        self.all(PUT_REVIEW, **words)

    def add_validation(self, believed: ValidatedGmp, override: int | None) -> None:
        """What was believed of an issue at an instant."""
        self.all(
            "INSERT INTO ipo_validations VALUES (:issue, :at, :gmp, :points, :confidence, :override,"
            " CAST(:record AS jsonb)) ON CONFLICT DO NOTHING",
            issue=believed.issue, at=believed.at, gmp=believed.gmp, points=believed.points,
            confidence=believed.confidence, override=override, record=believed.model_dump_json(),
        )  # fmt: skip

    def add_predictions(self, said: Iterable[Said]) -> None:
        """Predictions as they are published."""
        names = tuple(Said.model_fields)
        values = ", ".join("CAST(:gate AS jsonb)" if name == "gate" else f":{name}" for name in names)
        rows = [_plain(one) | {"gate": _json(one.gate)} for one in said]
        self.many(f"INSERT INTO ipo_predictions ({', '.join(names)}) VALUES ({values}) ON CONFLICT DO NOTHING", rows)

    def put_outcome(self, outcome: Outcome) -> None:
        """What came; a close may be known later than the first trade."""
        names = tuple(Outcome.model_fields)
        self.all(
            f"INSERT INTO ipo_outcomes ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
            " ON CONFLICT (issue) DO UPDATE SET open_points = excluded.open_points,"
            " close_points = excluded.close_points",
            **_plain(outcome),
        )

    def add_alerts(self, alerts: Iterable[IssueAlert]) -> None:
        """Alerts that are due; one that was due before is there already."""
        rows = [_key(one) | {"at": one.at, "alert": one.model_dump_json()} for one in alerts]
        self.many(
            "INSERT INTO ipo_alerts (issue, event, about, user_id, at, alert)"
            " VALUES (:issue, :event, :about, :user, :at, CAST(:alert AS jsonb)) ON CONFLICT DO NOTHING",
            rows,
        )

    def sent(self, alerts: Iterable[IssueAlert], at: int) -> None:
        """These were told."""
        self.many(
            "UPDATE ipo_alerts SET sent_at = :at WHERE issue = :issue AND event = :event AND about = :about"
            " AND user_id = :user AND sent_at IS NULL",
            [_key(one) | {"at": at} for one in alerts],
        )

    def put_thresholds(self, user: str, thresholds: Thresholds) -> None:
        """A user's own thresholds. Raises BadValue: there is no such account."""
        done = self.all(PUT_THRESHOLDS, user=user, **_plain(thresholds))
        if not done:
            raise BadValue("user", user[:100], "the id of an account")

    def drop_thresholds(self, user: str) -> bool:
        """The defaults count again; False: they did."""
        return bool(self.all("DELETE FROM ipo_thresholds WHERE user_id = :user RETURNING user_id", user=user))

    def add_override(self, issue: str, gmp: Money, by: str, because: str, at: int, *, pinned: bool) -> int:
        """Set a premium; one that was set before ends. Returns its number."""
        self.end_override(issue, by, at)
        done = self.all(
            'INSERT INTO ipo_overrides (issue, gmp, pinned, "by", because, at, ended_by)'
            " VALUES (:issue, :gmp, :pinned, :by, :because, :at, '') RETURNING id",
            issue=issue, gmp=gmp, pinned=pinned, by=by, because=because, at=at,
        )  # fmt: skip
        return int(done[0]["id"])

    def end_override(self, issue: str, by: str, at: int) -> bool:
        """Clear what was set; False: nothing was."""
        return bool(self.all(
            "UPDATE ipo_overrides SET ended_at = :at, ended_by = :by WHERE issue = :issue AND ended_at IS NULL"
            " RETURNING id",
            issue=issue, by=by, at=at,
        ))  # fmt: skip

    def save(self, *judges: Matcher | Validator) -> None:
        """Keep the state of the judges, with what was made by it."""
        for one in judges:
            self._put_state(MATCHER if isinstance(one, Matcher) else VALIDATOR, one.snapshot())

    def save_walks(self, by: str, walks: Mapping[Task, Memory]) -> None:
        """Keep months that were walked, in the place of those there are."""
        tasks = {task.value: {key: one.plain() for key, one in memory.items()} for task, memory in walks.items()}
        self._put_state(WALKS, {"by": by, "tasks": tasks})

    def _put_state(self, name: str, state: Mapping[str, Any]) -> None:
        self.all(
            "INSERT INTO ipo_state VALUES (:name, CAST(:state AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET state = excluded.state",
            name=name, state=_json(state),
        )  # fmt: skip


def _said(believed: ValidatedGmp) -> list[Reading]:
    # What a source holds back comes first: what it is taken at its word for counts, where there are both.
    return [one.reading for one in believed.refused] + [one.reading for one in believed.used]


def _of(page: PageOf) -> dict[str, str]:
    return {"source": page.source, "kind": page.kind.value, "key": page.key}


def _key(alert: IssueAlert) -> dict[str, str]:
    return {"issue": alert.issue, "event": alert.event.value, "about": alert.about, "user": alert.user}


def _plain(record: Record) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Enum) else value for name, value in record.model_dump().items()}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
