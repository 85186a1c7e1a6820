"""Shapes of the IPO desk: what its book holds as the records that are answered, and a table of them as CSV."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any

import orjson

from adapters.ipo_board import PageTold, Point, Track, Waiting
from adapters.ipos import Alarm, Bids, Override, Premium, Review, Said
from market.ipo.board import Row, Times
from market.ipo.facts import points as points_of
from market.ipo.issues import FACTS, Issue
from market.ipo.kinds import Segment
from market.ipo.ledger import Account, Outcome, Standing, accounts, league, scored
from market.ipo.models import GMP
from market.ipo.profit import Thresholds, profitable
from market.ipo.validation import ValidatedGmp
from market.ipo.walkforward import Expectation, Gate, Task
from market.money import SCALE
from market.records import Record
from market.sessions import SECOND
from serve_app import ipo_replies as replies
from serve_app.shapes import stamp

MONEY = frozenset({"low", "high", "listed_at", "closed_at"})
DIGITS = 4
"""Of points, confidence and weights behind the point."""
MOST_SCORED = 5000
"""Scored predictions in one answer."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a cell; a name out of a page may begin so."""


def body(record: Record) -> bytes:
    """A record as the JSON that is answered."""
    return orjson.dumps(record.model_dump(mode="json", by_alias=True))


def thresholds(one: Thresholds, *, own: bool) -> replies.ThresholdsAnswer:
    """What an issue is called profitable by."""
    return replies.ThresholdsAnswer(points=one.points, amount=one.amount / SCALE, joined=one.joined, own=own)


def row(one: Row, by: Thresholds) -> replies.IssueRow:
    """An issue on the board."""
    issue, believed = one.issue, one.believed
    gmp = None if believed is None else believed.gmp
    return replies.IssueRow(
        **issue.model_dump(include={"id", "name", "symbol", "code", "isin", "segment", "kind", "exchange", "lot"}),
        status=issue.state,
        told=issue.status,
        opens=_day(issue.opens),
        closes=_day(issue.closes),
        allots=_day(issue.allots),
        lists=_day(issue.lists),
        low=rupees(issue.low),
        high=rupees(issue.high),
        shares=issue.shares,
        size_crore=issue.size_crore,
        gmp=rupees(gmp),
        points=None if gmp is None or believed is None else _short(_worth(believed, issue)),
        confidence=None if gmp is None or believed is None else _short(believed.confidence),
        disagreement_points=None if believed is None else _short(believed.disagreement_points),
        age_seconds=None if believed is None else _seconds(believed.age),
        validated_at=None if believed is None else stamp(believed.at),
        overridden=one.overridden,
        profitable=profitable(gmp, issue.high, by),
        expected=None if one.expected is None else _expected(one.expected),
        subscription=None if one.times is None else _times(one.times),
        open_points=_short(issue.open_points),
        close_points=_short(issue.close_points),
    )  # fmt: skip


def facts(issue: Issue) -> tuple[replies.FactAnswer, ...]:
    """What is known of an issue, each fact with the page that told it."""
    found: list[dict[str, Any]] = []
    for name in FACTS:
        value, origin = getattr(issue, name), issue.origins.get(name)
        if value is None or origin is None:
            continue
        told = rupees(value) if name in MONEY else _plain(value)
        found.append({"fact": name, "value": told, "source": origin.source, "page": origin.page,
                      "at": stamp(origin.received)})  # fmt: skip
    return tuple(replies.FactAnswer(**one) for one in found)


def names(found: Iterable[tuple[str, str]]) -> tuple[replies.NameAnswer, ...]:
    """What sources call an issue: source and name."""
    return tuple(replies.NameAnswer(source=source, name=name) for source, name in found)


def believed(one: ValidatedGmp, issue: Issue) -> replies.BelievedAnswer:
    """What is believed of a premium, whose word it is made of, and whose not."""
    used = (_reading(each.reading) | {"weight": _short(each.weight)} for each in one.used)
    refused = (_reading(each.reading) | {"why": each.why} for each in one.refused)
    spike = None
    if one.spike is not None:
        levels: dict[str, Any] = {name: _short(getattr(one.spike, name)) for name in ("before_points", "points")}
        spike = replies.SpikeAnswer(**levels, since=stamp(one.spike.since))
    return replies.BelievedAnswer(
        at=stamp(one.at),
        gmp=rupees(one.gmp),
        points=_short(_worth(one, issue)),
        confidence=round(one.confidence, DIGITS),
        disagreement_points=_short(one.disagreement_points),
        shown_points=_short(one.shown_points),
        age_seconds=_seconds(one.age),
        used=tuple(replies.UsedAnswer(**each) for each in used),
        refused=tuple(replies.RefusedAnswer(**each) for each in refused),
        spike=spike,
    )


def points(found: Iterable[Point]) -> tuple[replies.PointAnswer, ...]:
    """Premiums as they were believed."""
    told = (
        one.model_dump() | {"at": stamp(one.at), "gmp": rupees(one.gmp), "points": _short(one.points)} for one in found
    )
    return tuple(replies.PointAnswer(**one | {"confidence": _short(one["confidence"])}) for one in told)


def sources(found: Iterable[Premium]) -> dict[str, tuple[replies.ToldAnswer, ...]]:
    """Premiums as each source told them."""
    told: defaultdict[str, list[replies.ToldAnswer]] = defaultdict(list)
    for one in found:
        words = one.model_dump(include={"stamped", "page", "place"})
        told[one.source].append(replies.ToldAnswer(**words, at=stamp(one.at), gmp=rupees(one.gmp)))
    return {source: tuple(each) for source, each in told.items()}


def subscription(found: Sequence[Bids]) -> tuple[replies.BidsAnswer, ...]:
    """What was bid, by day, source and book."""
    groups: dict[tuple[date, str, str], list[Bids]] = {}
    for one in found:
        groups.setdefault((one.day, one.source, one.book), []).append(one)
    return tuple(
        replies.BidsAnswer(
            day=day.isoformat(),
            source=source,
            book=book,
            at=stamp(max(one.at for one in each)),
            page=each[-1].page,
            categories={
                one.category: replies.DemandAnswer(times=one.times, offered=one.offered, bid=one.bid) for one in each
            },
        )
        for (day, source, book), each in groups.items()
    )


def predictions(found: Sequence[Said]) -> tuple[replies.PredictedAnswer, ...]:
    """What is predicted, by task; of two that were served the later one is."""
    made = []
    for task in Task:
        mine = sorted((one for one in found if one.task is task), key=lambda one: one.at)
        if not mine:
            continue
        served = next((one for one in reversed(mine) if one.served), None)
        gate = None if served is None else Gate.model_validate(served.gate)
        made.append(
            replies.PredictedAnswer(
                task=task,
                served=None if served is None else _said(served),
                why=_why(gate),
                gate=gate,
                said=tuple(_said(one) for one in mine),
            )
        )
    return tuple(made)


def override(one: Override) -> replies.OverrideAnswer:
    """What an operator set."""
    words = one.model_dump(include={"pinned", "because"})
    return replies.OverrideAnswer(**words, gmp=one.gmp / SCALE, at=stamp(one.at))


def hints(found: Iterable[Waiting]) -> tuple[replies.HintAnswer, ...]:
    """Rows of the queue that may be of an issue."""
    return tuple(replies.HintAnswer(**one.model_dump(exclude={"first_at"}), at=stamp(one.first_at)) for one in found)


def came(issue: Issue) -> replies.CameAnswer | None:
    """What came of an issue; None: nothing is known of it."""
    gains = {"open_points": _short(issue.open_points), "close_points": _short(issue.close_points)}
    if issue.listing is None or not any(gain is not None for gain in gains.values()):
        return None
    return replies.CameAnswer(at=stamp(issue.listing), **gains)


def track(found: Track, task: Task | None, segment: Segment | None, since: date | None) -> replies.TrackAnswer:
    """How good what was published has been."""
    outcomes = scored(found.predicted, found.listed).outcomes
    names = ["all"] + ([segment.value] if segment is not None else [one.value for one in Segment])
    shown = outcomes[::-1][:MOST_SCORED]
    return replies.TrackAnswer(
        task=task,
        segment=segment,
        since=_day(since),
        accounts=tuple(accounts(outcomes)),
        league={name: _league(found, name) for name in names},
        predictions=tuple(_scored(one, found.names) for one in shown),
        truncated=len(outcomes) > len(shown),
        replaced=found.replaced,
        late=found.late,
        waiting=found.waiting,
    )


def table(found: Mapping[str, Any], part: str) -> bytes:
    """A part of a track record, as `TrackAnswer` has it in JSON, as CSV with a heading."""
    kinds: dict[str, type[Record]] = {"predictions": replies.ScoredAnswer, "accounts": Account, "league": Standing}
    heads = list(kinds[part].model_fields)
    rows: list[Mapping[str, Any]] = found[part] if part != "league" else []
    if part == "league":
        heads = ["of", *heads]
        rows = [{"of": of, **one} for of, each in found[part].items() for one in each]
    written = io.StringIO()
    out = csv.writer(written, lineterminator="\r\n")
    out.writerow(heads)
    out.writerows([_cell(one[head]) for head in heads] for one in rows)
    return written.getvalue().encode()


def pages(found: Collection[PageTold]) -> tuple[replies.PageAnswer, ...]:
    """Where a page's bytes came from."""
    told = []
    for one in found:
        words = one.model_dump(include={"source", "kind", "key", "url", "size", "trouble"})
        counts = {"issues": "facts", "premiums": "gmps", "bids": "subscriptions"}
        words |= {name: int(one.told.get(field, 0)) for name, field in counts.items()}
        words |= {name: stamp(getattr(one, name)) for name in ("fetched_at", "seen_at")}
        told.append(replies.PageAnswer(**words, refused=len(one.told.get("refused", ()))))
    return tuple(told)


def alarms(found: Collection[Alarm]) -> tuple[replies.AlarmAnswer, ...]:
    """The pages that are alarms now."""
    told = (one.model_dump(mode="json", include=set(replies.AlarmAnswer.model_fields)) for one in found)
    return tuple(
        replies.AlarmAnswer(**one | {name: stamp(one[name]) for name in ("fetched_at", "seen_at")}) for one in told
    )


def review(one: Review) -> replies.ReviewAnswer:
    """A row of the queue; its pages are named by their digests."""
    told = one.told
    return replies.ReviewAnswer(
        **one.model_dump(include={"number", "why", "candidates", "issue", "by", "because"}),
        **told.model_dump(include={"source", "name", "symbol", "segment"}),
        opens=_day(told.open),
        closes=_day(told.close),
        lists=_day(told.listing),
        price=rupees(told.price),
        gmp=rupees(told.gmp),
        pages=tuple(dict.fromkeys(str(each["page"]) for each in one.readings)),
        at=stamp(one.first_at),
        decided_at=None if one.decided_at is None else stamp(one.decided_at),
    )


def rupees(amount: int | None) -> float | None:
    """Money as a JSON number: its shortest form is exact."""
    return None if amount is None else amount / SCALE


def _worth(believed: ValidatedGmp, issue: Issue) -> float | None:
    if believed.points is not None or believed.gmp is None or issue.high is None:
        return believed.points
    return points_of(believed.gmp, issue.high)


def _expected(one: Expectation) -> replies.ExpectedAnswer:
    return replies.ExpectedAnswer(task=one.task, model=one.model, decided=one.decided.isoformat(), **_levels(one))


def _times(one: Times) -> replies.TimesAnswer:
    return replies.TimesAnswer(times=one.times, day=one.day.isoformat(), source=one.source, book=one.book)


def _said(one: Said) -> replies.SaidAnswer:
    words = one.model_dump(include={"task", "model", "served"})
    return replies.SaidAnswer(
        **words, at=stamp(one.at), decided=one.decided.isoformat(), gmp_points=_sure(one.gmp_points), **_levels(one)
    )


def _levels(one: Said | Expectation) -> dict[str, Any]:
    told = {"points": one.predicted_points, "low": one.low_points, "high": one.high_points}
    return {name: _short(value) for name, value in (told | {"p_gain_10": one.p_gain_10, "p_loss": one.p_loss}).items()}


def _why(gate: Gate | None) -> str:
    if gate is None:
        return "nothing is served"
    if gate.better is None:
        return f"the premium alone: {gate.n} listings are too few to tell whether anything is better"
    much = f"ours missed by {abs(gate.better):.4f} {'less' if gate.better > 0 else 'more'} than the premium alone"
    sure = "" if gate.p_better is None else f", and by less in {gate.p_better:.0%} of the draws"
    whose = "the premium alone" if gate.served == GMP else "ours"
    return f"{whose}: over {gate.n} listings {much}, in the premium's scale{sure}"


def _reading(one: Any) -> dict[str, Any]:
    return {"source": one.source, "gmp": one.gmp / SCALE, "points": _short(one.points), "at": stamp(one.at)}


def _league(found: Track, segment: str) -> tuple[Standing, ...]:
    mine = {one.issue for one in found.listed if segment in ("all", one.segment)}
    return tuple(
        league(
            (one for one in found.validated if one.issue in mine), (one for one in found.listed if one.issue in mine)
        )
    )


def _scored(one: Outcome, names: Mapping[str, str]) -> replies.ScoredAnswer:
    said = one.predicted
    words = one.model_dump(include={"segment", "hit", "within"}) | said.model_dump(
        include={"issue", "task", "model", "p_gain_10", "p_loss"}
    )
    return replies.ScoredAnswer(
        **words,
        name=names.get(said.issue, said.issue),
        at=said.at.isoformat().replace("+00:00", "Z"),
        gmp_points=_short(said.gmp_points),
        points=_sure(said.predicted_points),
        low=_short(said.low_points),
        high=_short(said.high_points),
        came_points=_sure(one.came_points),
        missed=_sure(one.missed),
        gmp_missed=_short(one.gmp_missed),
    )


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return "" if value is None else value


def _plain(value: object) -> str | float | int:
    if isinstance(value, StrEnum):
        return value.value
    return value if isinstance(value, int | float | str) else str(value)


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _seconds(age: int | None) -> float | None:
    return None if age is None else round(age / SECOND, 3)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _sure(value: float) -> float:
    return round(value, DIGITS)
