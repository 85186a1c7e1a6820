"""The IPO desk's round: take pages, validate, predict, score. Each is one transaction on the book.

A page that differs too much from the last one, or that could not be read, is kept as an alarm and changes nothing
else. What the judges (the matcher, the validator) learn of a page is kept with what was made by it: a process that is
killed has done all of a page or nothing, and a page that was taken already changes nothing. Alerts come back as
records, until the shell that puts them on the bus says `sent`: the bus refuses those it has, so each is told once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from adapters import ipo_days, ipo_joins
from adapters.ipo_joins import Join
from adapters.ipos import Bids, Book, Looking, Outcome, Override, Said, Writing
from adapters.ipos import Taken as PageRow
from market.alerts import OperatorAlert
from market.errors import BadPayload, BadValue, LayoutChanged
from market.ipo import intervals, life, models, walkforward
from market.ipo.alerts import IssueAlert, IssueEvent, day_of, due, due_to
from market.ipo.changes import check
from market.ipo.confidence import FEW, fitted
from market.ipo.examples import ISSUE, NO_DAY, QUOTE, Tables
from market.ipo.facts import points
from market.ipo.intervals import BOUNDS
from market.ipo.issues import TRADES_FROM, Issue, advanced, joined
from market.ipo.ledger import Account, Scored, Standing, accounts, league, scored
from market.ipo.life import State
from market.ipo.matching import Matcher
from market.ipo.models import GMP
from market.ipo.pages import Glance, Page, PageKind, PageOf, Unread
from market.ipo.profit import Measured, Thresholds, measured
from market.ipo.readings import Category
from market.ipo.sources import Source
from market.ipo.validation import Limits, Shown, ValidatedGmp, Validator
from market.ipo.walkforward import OURS, SERVED, Memory, Task, rows_of, walk
from market.money import SCALE, Money, decimal
from market.records import Record
from market.sessions import DAY, MINUTE, Sessions, at, day_number
from pipelines.placing import Taken, placed, resolve

LISTS = "the lists of all sources"
"""Who decides where nobody has to."""

FORGOTTEN = 60 * DAY
"""An issue that no page has told of for so long is not validated any more."""

WHOLE = 6 * 60 * MINUTE
"""The lists are whole when every source gave a good page within so long; before that, nothing follows from them."""

SILENT = 7 * DAY
"""A source that gave nothing for so long is not waited for: it may not be visited any more."""

GRAINS = {
    **dict.fromkeys(("gmp_points", "predicted_points", "low_points", "high_points"), 0.01),
    **dict.fromkeys(("p_gain_10", "p_loss"), 0.001),
}
"""A prediction that moved by less than these says the same: points, and probabilities."""

FARTHEST = 5
"""Times the issue price: no premium was ever so high."""

LONGEST_SUBJECT = 120
"""Characters: a symbol is as long as a page says."""

CLOSE_LASTS = 2 * DAY
"""A first trade that is not known so long after the listing will not be: the close stands for it."""


class Round(Record):
    """What a validation came to: what is believed of each issue, which rows of the queue the lists have decided, and
    the alerts that are due and of which nobody has said yet that they were `sent`.
    """

    believed: tuple[ValidatedGmp, ...]
    settled: tuple[tuple[int, str], ...]
    alerts: tuple[IssueAlert, ...]


class Track(Record):
    """What was published and what came of it: the outcomes, how good each model was, and each source."""

    scored: Scored
    accounts: tuple[Account, ...]
    league: tuple[Standing, ...]


def read(source: Source, kind: PageKind, body: bytes, received: int, key: str = "") -> Page | Unread:
    """What a body tells, or why it tells nothing."""
    try:
        return source.read(body, kind, received, key)
    except BadPayload as e:
        return Unread(source=source.name, kind=kind, key=key, reason=e.reason)


def take(book: Book, page: Page | Unread, body: bytes, received: int, url: str = "", *, looked: bool = False) -> Taken:
    """Take one page in. `looked`: a person has found it right, so it is not held against the one before.

    Raises LineDown, StoreRefused: nothing of it is in the book then; BadValue: these are not the page's bytes.
    """
    digest = hashlib.sha256(body).hexdigest()
    if isinstance(page, Page) and page.digest != digest:
        raise BadValue("body", digest, f"the bytes of the page, {page.digest}")
    book.keep(body)
    with book.writing() as run:
        before, last = run.page(digest, page.of), run.last_page(page.of, received)
        if before is not None and _known(before, last, received) and not (looked and before.trouble):
            run.see_page(digest, page.of, received)
            alarm = _alarm(page, before.trouble, before.fetched_at) if before.trouble else None
            return Taken(digest=digest, again=True, trouble=before.trouble, alarm=alarm)
        trouble = _trouble(page, None if looked else run.glance(page.of, received), body)
        words, glance = ({}, None) if isinstance(page, Unread) else (_counts(page), page.glance())
        run.add_page(digest, page.of, url, received, len(body), trouble, words, glance)
        if trouble or isinstance(page, Unread):
            return Taken(digest=digest, trouble=trouble, alarm=_alarm(page, trouble, received))
        taken = placed(run, page, digest, received)
        over = any(one is not None and one.trouble for one in (before, last))
        return taken.model_copy(update={"alarm": _alarm(page, "", received)}) if over else taken


def accept(book: Book, source: Source, kind: PageKind, digest: str, key: str = "") -> Taken:
    """A person has looked at an alarm and found its page right: it becomes data, and the next is held against it.
    `key`: as the alarm has it.

    Raises BadValue: there is no such alarm, or its codec cannot read it; LineDown, StoreRefused.
    """
    body = book.body(digest)
    with book.looking() as run:
        found = run.page(digest, of := PageOf(source.name, kind, key))
    if found is None or not found.trouble:
        raise BadValue("page", digest, f"an alarm of {of}")
    page = read(source, kind, body, found.seen_at, key)
    if isinstance(page, Unread):
        raise BadValue("page", digest, f"one that its codec can read: {page.reason}")
    return take(book, page, body, found.seen_at, looked=True)


def validate(
    book: Book, now: int, sessions: Sessions | None = None, thresholds: Thresholds | None = None,
    limits: Limits | None = None,
) -> Round:  # fmt: skip
    """Say what is believed of every issue that is not listed, `now`, ns UTC. `sessions`: the exchange's calendar, to
    tell when an issue lists that nobody has given a day, and which days are of bidding; `thresholds`: of alerts for
    everybody, users have their own; `limits`: of the deployment, what is a spike. A time that was validated, or one
    before it, is not again.

    Raises LineDown, StoreRefused.
    """
    with book.writing() as run:
        if now <= run.validated():
            return Round(believed=(), settled=(), alerts=tuple(run.unsent()))
        if sessions is not None:
            ipo_days.keep(run, sessions)
        matcher, validator = run.matcher(), run.validator(limits)
        settled = _settle(run, matcher, validator, now) if _whole(run, now) else {}
        overrides, own = run.overrides(), run.thresholds()
        live = run.every([State.ANNOUNCED, State.OPEN, State.CLOSED, State.ALLOTTED])
        names = [one.id for one in live]
        told, shown = run.told(IssueEvent.PROFITABLE, names), run.shown(names)
        validator.see(run.seen(validator.pages))
        found: list[ValidatedGmp] = []
        alerts: list[IssueAlert] = []
        changed: list[Issue] = []
        for before in live:
            issue = advanced(before, now)
            changed += [issue] if issue is not before else []
            if now - issue.seen_at > FORGOTTEN:
                continue
            believed = _believed(run, validator, issue, overrides.get(issue.id), now, shown.get(issue.id, {}))
            found += [believed] if believed is not None else []
            alerts += due(issue, believed, now, listing(issue, sessions), thresholds or Thresholds())
            waiting = {user: one for user, one in own.items() if (issue.id, user) not in told}
            alerts += due_to(issue, believed, now, waiting)
        run.put_issues(changed)
        run.add_alerts(alerts)
        run.save(matcher, validator)
        return Round(believed=tuple(found), settled=tuple(settled.items()), alerts=tuple(run.unsent()))


def sent(book: Book, alerts: Iterable[IssueAlert], now: int) -> None:
    """These alerts were told: they are on the bus, `now`, ns UTC. Raises LineDown, StoreRefused."""
    with book.writing() as run:
        run.sent(alerts, now)


def predict(book: Book, now: int, tables: Tables, sessions: Sessions | None = None) -> list[Said]:
    """Predict the issues that are not listed, `now`, ns UTC, from a history and what the book has; both the premium's
    word and ours, and which is served. One that says nearly the same as before is not published again, and none when
    the day of its decision is over. What was said in months that are over is kept in the book, for the next time.

    Raises LineDown, StoreRefused, BadValue.
    """
    by = _models()
    with book.looking() as run:
        issues = [one for one in run.every() if one.shares_only and one.segment is not None]
        merged = with_book(run, tables, issues, sessions)
        last = {(one.issue, one.task, one.model): one for one in run.newest()}
        walks = run.walks(by)
    known = {task: set(memory) for task, memory in walks.items()}
    live, today = {one.id for one in issues if not one.over}, day_of(now)
    said = [one for task in Task for one in _predicted(merged, task, live, today, now, walks[task])]
    fresh = [one for one in said if not _same(one, last.get((one.issue, one.task, one.model)))]
    over = {
        task: {key: one for key, one in memory.items() if one.gate.month < today.replace(day=1)}
        for task, memory in walks.items()
    }
    with book.writing() as run:
        run.add_predictions(fresh)
        if any(set(memory) != known[task] for task, memory in over.items()):
            run.save_walks(by, over)
    return fresh


def score(book: Book, now: int) -> list[Outcome]:
    """Write down what came of issues that are listed, and let the sources be judged by it, each issue once; after `FEW`
    more of them the confidence is fitted anew, for what is believed from now on.

    Raises LineDown, StoreRefused.
    """
    with book.writing() as run:
        validator = run.validator()
        before = {one.issue: one for one in run.outcomes()}
        found = []
        for issue in run.every([State.LISTED]):
            one = _outcome(issue, now)
            had = before.get(issue.id)
            if one is None or (had is not None and _gains(had) == _gains(one)):
                continue
            run.put_outcome(one)
            found.append(one)
            if issue.id in validator:
                _learnt(validator, one)
        for issue in run.every([State.WITHDRAWN]):
            validator.forget(issue.id)
        if found:
            _refit(run, validator)
        run.save(validator)
    return found


def track(book: Book) -> Track:
    """How good everything that was published has been. Raises LineDown, StoreRefused."""
    with book.looking() as run:
        predicted, validated, listed = run.track()
    done = scored(predicted, listed)
    return Track(scored=done, accounts=tuple(accounts(done.outcomes)), league=tuple(league(validated, listed)))


def precision(run: Looking, thresholds: Thresholds) -> Measured:
    """How often thresholds have been right of the issues that came, the book's own and those of an imported history."""
    return measured(run.came(), thresholds)


def decide(book: Book, number: int, issue: str | None, by: str, because: str, now: int) -> str:
    """A person's word on a row of the review queue: its issue, None for a new one. Returns the issue's id.

    Raises BadValue: no such row or issue, or no reason; LineDown, StoreRefused.
    """
    if not because.strip():
        raise BadValue("because", because, "the reason, in words")
    with book.writing() as run:
        matcher, validator = run.matcher(), run.validator()
        name = matcher.decide(number, None if issue is None else run.issue(issue).id)
        resolve(run, validator, number, name, by, because, now)
        run.save(matcher, validator)
    return name


def join(book: Book, issue: str, into: str, by: str, because: str, now: int) -> Join:
    """A person's word that two issues are one: everything of `issue` goes to `into`, whose id both have from now on.

    Raises BadValue: no such issue, no reason, or facts that say they are two; LineDown, StoreRefused.
    """
    if not because.strip():
        raise BadValue("because", because, "the reason, in words")
    with book.writing() as run:
        matcher, validator = run.matcher(), run.validator()
        double, whole = run.issue(issue), run.issue(into)
        found = ipo_joins.join(run, joined(whole, double), double.id, by, because, now)
        matcher.merge(whole.id, double.id)
        validator.join(whole.id, double.id)
        came = next((one for one in run.outcomes() if one.issue == whole.id), None)
        if came is not None and whole.id in validator:
            _learnt(validator, came)
        run.save(matcher, validator)
    return found


def override(book: Book, issue: str, gmp: Money, by: str, because: str, now: int, *, pinned: bool = False) -> int:
    """An operator's premium of an issue, a share, until a source tells a newer one or, `pinned`, until it is cleared.

    Raises BadValue: no such issue, no reason, or a premium no share ever had; LineDown, StoreRefused.
    """
    if not because.strip():
        raise BadValue("because", because, "the reason, in words")
    with book.writing() as run:
        found = run.issue(issue)
        if found.high is not None and not -found.high <= gmp <= FARTHEST * found.high:
            dear = decimal(found.high)
            raise BadValue(
                "gmp", f"{decimal(gmp)}", f"from -{dear} to {FARTHEST} times that: the issue price is {dear}"
            )
        return run.add_override(found.id, gmp, by, because, now, pinned=pinned)


def clear(book: Book, issue: str, by: str, now: int) -> None:
    """Believe the sources again. Raises BadValue: nothing was set; LineDown, StoreRefused."""
    with book.writing() as run:
        if not run.end_override(run.issue(issue).id, by, now):
            raise BadValue("issue", issue, "an issue whose premium somebody has set")


def listing(issue: Issue, sessions: Sessions | None) -> date | None:
    """The day an issue lists, or by the calendar should; None: it cannot be told."""
    if issue.lists is not None or sessions is None or issue.opens is None or issue.closes is None:
        return issue.lists
    try:
        return life.expected(issue.opens, issue.closes, sessions).listing
    except BadValue:
        return None


def with_book(run: Looking, tables: Tables, issues: Sequence[Issue], sessions: Sessions | None = None) -> Tables:
    """The tables with the book's issues behind them; an issue that the tables have is left out: by its id or, where it
    is listed, by segment, day and price. What was believed last of a day is the day's quote, and nothing is of what
    came after the listing.
    """
    known = set(tables.issues["issue"].tolist())
    listed = set(tables.issues[["segment", "listed", "price"]].tolist())
    mine = [one for one in issues if one.id not in known and not (one.over and _listed(one) in listed)]
    outcomes = {one.issue: one for one in run.outcomes()}
    quotes: list[tuple[str, int, float]] = []
    made = np.zeros(len(mine), ISSUE)
    for name in ISSUE.names or ():
        if ISSUE[name].kind == "f":
            made[name] = np.nan
    believed: defaultdict[str, list[tuple[int, Money]]] = defaultdict(list)
    told_bids: defaultdict[str, list[Bids]] = defaultdict(list)
    for name, when, gmp in run.quotes():
        believed[name].append((when, gmp))
    rests = ipo_days.rests(run)
    for bid in run.bids():
        told_bids[bid.issue].append(bid)
    for row, issue in zip(made, mine, strict=True):
        lists = listing(issue, sessions)
        days = _quotes(believed[issue.id], lists)
        quotes += [(issue.id, day, rupees) for day, rupees in days.items()]
        _fill(row, issue, lists, days, outcomes.get(issue.id))
        for name, times in _times(told_bids[issue.id], issue, rests).items():
            row[name] = times
    more = np.array(quotes, QUOTE)
    return tables._replace(issues=np.concatenate([tables.issues, made]), quotes=np.concatenate([tables.quotes, more]))


def _trouble(page: Page | Unread, before: Glance | None, body: bytes) -> str:
    if isinstance(page, Unread):
        return page.reason or "it could not be read"
    try:
        check(page, before, body)
    except LayoutChanged as e:
        return e.reason
    return ""


def _known(before: PageRow, last: PageRow | None, received: int) -> bool:
    # Bytes that come back after others of the same page are told anew: what has no stamp is of now.
    return received <= before.seen_at or last is None or last.digest == before.digest


def _alarm(page: Page | Unread, trouble: str, received: int) -> OperatorAlert:
    subject = str(page.of)[:LONGEST_SUBJECT]
    text = f"{subject}: {trouble or 'it can be read again'}"[:400]
    return OperatorAlert(kind="ipo_page", subject=subject, at=received, text=text, over=not trouble)


def _counts(page: Page) -> dict[str, Any]:
    counts = {name: len(getattr(page, name)) for name in ("gmps", "facts", "subscriptions")}
    refused = [one.model_dump(mode="json") for one in page.refused]
    more = {"rows": page.rows, "blank": page.blank, "repeated": page.repeated}
    return counts | more | {"refused": refused, "unknown": list(page.unknown)}


def _whole(run: Writing, now: int) -> bool:
    return all(now - at <= WHOLE for at in run.heard().values() if now - at <= SILENT)


def _settle(run: Writing, matcher: Matcher, validator: Validator, now: int) -> dict[int, str]:
    settled = matcher.settle()
    for number, found in settled.items():
        resolve(run, validator, number, found.issue, LISTS, found.why, now)
    return {number: found.issue for number, found in settled.items()}


def _believed(
    run: Writing, validator: Validator, issue: Issue, word: Override | None, now: int, shown: Mapping[str, Shown]
) -> ValidatedGmp | None:
    if issue.id not in validator and word is None:
        return None
    if issue.id in validator and issue.high:
        validator.reprice(issue.id, issue.high)
    found = validator.validate(issue.id, now, shown) if issue.id in validator else _unread(issue.id, now)
    newest = max((one.reading.at for one in found.used), default=0)
    if word is not None and not word.pinned and newest > word.at:
        run.end_override(issue.id, LISTS, now)
        word = None
    if word is not None:
        worth = None if issue.high is None else points(word.gmp, issue.high)
        unknown = {"confidence": 0.0, "disagreement_points": None, "spike": None}  # nothing measures a person's word
        found = found.model_copy(update={"gmp": word.gmp, "points": worth, **unknown})
    run.add_validation(found, None if word is None else word.id)
    return found


def _unread(issue: str, now: int) -> ValidatedGmp:
    return ValidatedGmp(
        issue=issue, at=now, gmp=None, points=None, confidence=0.0, disagreement_points=None, shown_points=None,
        age=None, used=(), refused=(), spike=None,
    )  # fmt: skip


def _outcome(issue: Issue, now: int) -> Outcome | None:
    opened, closed = issue.open_points, issue.close_points
    traded = issue.listing
    if traded is None or traded > now or issue.segment is None or (opened is None and closed is None):
        return None
    if opened is None and now - traded < CLOSE_LASTS:
        return None
    return Outcome(
        issue=issue.id, at=traded, segment=issue.segment.value, open_points=opened, close_points=closed, scored_at=now
    )


def _learnt(validator: Validator, one: Outcome) -> None:
    gain = one.close_points if one.open_points is None else one.open_points
    if gain is not None:
        validator.score(one.issue, gain, one.at)


def _refit(run: Writing, validator: Validator) -> None:
    proven = run.proven()
    if len(proven) - validator.confidence.outcomes >= FEW:
        validator.confidence = fitted([doubts for doubts, _ in proven], [off for _, off in proven])


def _gains(one: Outcome) -> tuple[float | None, float | None]:
    return one.open_points, one.close_points


def _quotes(believed: Iterable[tuple[int, Money]], lists: date | None) -> dict[int, float]:
    ends = None if lists is None else at(lists, TRADES_FROM)
    return {day_number(day_of(when)): gmp / SCALE for when, gmp in believed if ends is None or when < ends}


def _fill(row: np.void, issue: Issue, lists: date | None, days: dict[int, float], outcome: Outcome | None) -> None:
    row["issue"], row["kind"] = issue.id, "ipo"
    row["segment"] = issue.segment.value if issue.segment is not None else ""
    for name, day in (("opened", issue.opens), ("closed", issue.closes), ("listed", lists)):
        row[name] = NO_DAY if day is None else day_number(day)
    row["price"] = np.nan if issue.high is None else issue.high / SCALE
    row["size"] = np.nan if issue.size_crore is None else issue.size_crore
    row["gmp_eve"] = days[max(days)] if days else np.nan
    closing = [day for day in days if issue.closes is not None and day <= day_number(issue.closes)]
    row["gmp_close"] = days[max(closing)] if closing else np.nan
    if outcome is not None:
        for name in ("open_points", "close_points"):
            gain = getattr(outcome, name)
            row[name] = np.nan if gain is None else gain


def _listed(issue: Issue) -> tuple[str, int, float]:
    day = NO_DAY if issue.lists is None else day_number(issue.lists)
    return str(issue.segment), day, np.nan if issue.high is None else issue.high / SCALE


def _times(found: Sequence[Bids], issue: Issue, rests: Sequence[date]) -> dict[str, float]:
    names = {Category.QIB: "qib", Category.NII: "nii", Category.RETAIL: "rii", Category.TOTAL: "total"}
    told: dict[str, float] = {}
    for one in sorted(found, key=lambda b: (b.day, b.book == "all")):
        name = names.get(Category(one.category))
        if name is None or one.times is None:
            continue
        told[name] = one.times
        number = None if issue.opens is None else np.busday_count(issue.opens, one.day, holidays=rests) + 1
        if name != "total" and number is not None and 1 <= number <= 3:
            told[f"{name}_day{number}"] = one.times
    return told


def _predicted(tables: Tables, task: Task, live: set[str], today: date, now: int, memory: Memory) -> list[Said]:
    found, came = rows_of(tables, task)
    asked = np.isin(tables.issues["issue"][found["row"]], sorted(live)) & (found["decided"] >= day_number(today))
    if not asked.any():
        return []
    walked = walk(found, came, close=task is Task.ALL, competitors={}, memory=memory)
    gates = {gate.month: gate for gate in walked.gates}
    said = []
    for k in np.flatnonzero(asked):
        decided = walked.rows["decided"][k].astype("datetime64[D]").item()
        gate = gates[decided.replace(day=1)]
        for model in (GMP, OURS):
            column = walked.models.index(SERVED if gate.served == model else model)
            bound = {name: _finite(walked.bounds[name][k, column]) for name in BOUNDS.names or ()}
            one = Said(
                issue=str(tables.issues["issue"][found["row"][k]]),
                task=task,
                model=model,
                at=now,
                decided=decided,
                gmp_points=float(found["gmp_points"][k]),
                predicted_points=float(walked.said[k, column]),
                served=gate.served == model,
                gate=gate.model_dump(mode="json"),
                **bound,
            )
            said.append(one)
    return said


def _finite(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None


def _same(one: Said, before: Said | None) -> bool:
    if before is None or (one.decided, one.served) != (before.decided, before.served):
        return False
    apart = [_apart(one, before, name) / grain for name, grain in GRAINS.items()]
    return one.gate["served"] == before.gate["served"] and max(apart) < 1


def _apart(one: Said, before: Said, name: str) -> float:
    mine, theirs = getattr(one, name), getattr(before, name)
    if mine is None or theirs is None:
        return 0.0 if mine is theirs else np.inf
    return abs(mine - theirs)


def _models() -> str:
    # What was said by other models, or by other sums, is not what these would say.
    files = [Path(one.__file__ or "") for one in (walkforward, models, intervals)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files) + np.__version__.encode()).hexdigest()
