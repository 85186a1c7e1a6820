"""Validation: one premium of what several sources say, how far to trust it, and why which source was left out.

A source's reading takes the place of its last one. A jump of 30 points of the issue price is held: until the source
says so again half a day later, or another source says so, the last reading stands. Readings that nobody renewed grow
stale. One without a stamp is renewed when its page comes again as it was, but for `Limits.shown_for` at most: a board
on which nothing moves for a week is one that nobody keeps. Of three or more the ones far from the median are left out,
by median absolute deviation. The rest vote: the premium is the median weighted by `Reliability`. `--` is no reading:
its source says nothing now.

A spike is a change of 8 points of the issue price within a day, or since the last one. The first premium is no spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from market.errors import BadValue
from market.ipo.confidence import Confidence, Doubts
from market.ipo.facts import Told, amount, points
from market.ipo.kinds import Segment
from market.ipo.reliability import Reliability
from market.money import Money
from market.records import Record
from market.sessions import DAY, MINUTE

NORMAL = 1.4826
"""Standard deviations of a normal variable in one median absolute deviation."""


class Limits(Record):
    """What is too much. Points are of the issue price, times ns.

    `shown_for`: so long a reading without a stamp is as new as its page; stale it is `stale_after` later.
    `relative_spike`: the share of the premium, 0.08 for 8 %, that is a spike instead of `spike_points`; it fires on
    half of all days. `most_points`: of a reading above it another source is to convince, whatever its own says again;
    of the series on record none that was right is higher.
    """

    jump_points: float = 30.0
    most_points: float = 300.0
    same_points: float = 10.0
    again_after: int = 12 * 60 * MINUTE
    stale_after: int = 3 * DAY
    shown_for: int = 4 * DAY
    outlier_points: float = 20.0
    outlier_deviations: float = 3.5
    spike_points: float = 8.0
    relative_spike: float | None = None
    spike_within: int = DAY


class Reading(Record):
    """What one source said last; `at` by its own stamp, ns UTC."""

    source: str
    gmp: Money
    points: float
    at: int


class Shown(NamedTuple):
    """A reading without a stamp, first told `at`, that its page showed until `seen_at`, ns UTC."""

    at: int
    seen_at: int


class Used(Record):
    """A reading that voted, and with what weight of 1."""

    reading: Reading
    weight: float


class LeftOut(Record):
    """A reading that did not vote, and why."""

    reading: Reading
    why: str


class Spike(Record):
    """The premium went from one level to another, in points of the issue price, since `since`, ns UTC."""

    before_points: float
    points: float
    since: int


class ValidatedGmp(Record):
    """What is believed of an issue's premium `at`, ns UTC; None where no source's word is good enough.

    `confidence`: 0..1, that the listing gain comes within 10 points. `disagreement_points`: the mean distance of the
    used readings from the premium, None of a single one. `shown_points`: how far off the used sources usually are, by
    their weights. `age`: ns since the newest used one was told, or its page was seen to show it still.
    """

    issue: str
    at: int
    gmp: Money | None
    points: float | None
    confidence: float
    disagreement_points: float | None
    shown_points: float | None
    age: int | None
    used: tuple[Used, ...]
    refused: tuple[LeftOut, ...]
    spike: Spike | None

    @property
    def doubts(self) -> Doubts | None:
        """What its confidence was made of, to fit it anew by what came; None where nothing was believed."""
        if self.points is None or self.shown_points is None or self.age is None:
            return None
        return Doubts(self.shown_points, self.points, self.disagreement_points or 0.0, self.age)


class _Line:
    def __init__(self, last: Reading | None = None, held: Reading | None = None) -> None:
        self.last, self.held = last, held


class _Issue:
    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.price: Money | None = None
        self.lines: dict[str, _Line] = {}
        self.since: tuple[float, int] | None = None


class Validator:
    """The last readings of every issue that is not listed yet."""

    def __init__(
        self, reliability: Reliability | None = None, confidence: Confidence | None = None, limits: Limits | None = None
    ) -> None:
        self.reliability = reliability or Reliability()
        self.confidence = confidence or Confidence()
        self._limits = limits or Limits()
        self._issues: dict[str, _Issue] = {}

    def __contains__(self, issue: str) -> bool:
        """Whether anything was read of an issue that is not scored yet."""
        return issue in self._issues

    def read(self, issue: str, told: Told, price: Money, segment: Segment) -> str | None:
        """Take in what a source says of an issue, oldest first. Returns why it is not taken at its word, or None.

        `price`: what the issue costs, by whoever knows best. Raises BadValue: no price above zero.
        """
        if price <= 0:
            raise BadValue("price", price, "an issue price above zero")
        known = self._issues.setdefault(issue, _Issue(segment))
        known.segment, known.price = segment, price
        line = known.lines.setdefault(told.source, _Line())
        if line.last is not None and told.at < line.last.at:
            return "older than what the source has said since"
        if told.gmp is None:
            known.lines[told.source] = _Line()
            return "no quote"
        reading = Reading(source=told.source, gmp=told.gmp, points=points(told.gmp, price), at=told.at)
        why = self._take(line, reading)
        self._confirm(known)
        return why if line.held is not None else None

    def validate(self, issue: str, at: int, shown: Mapping[str, Shown] | None = None) -> ValidatedGmp:
        """What is believed of an issue now; `shown`: what pages without stamps still show, by source. A spike is told
        once, and the next is measured from there.

        Raises BadValue: nobody has read anything of it.
        """
        known = self._at(issue)
        ages = self._ages(known, at, shown or {})
        fresh, refused = self._fresh(known, at, ages)
        fresh, outliers = self._without_outliers(fresh)
        refused += outliers
        weights = self.reliability.weights([r.source for r in fresh], known.segment, at)
        used = tuple(Used(reading=r, weight=weights[r.source]) for r in fresh)
        if not used or known.price is None:
            return _nothing(issue, at, tuple(refused))
        level = _median(used)
        apart = sum(abs(r.points - level) for r in fresh) / (len(fresh) - 1) if len(fresh) > 1 else None
        age = min(ages[r.source] for r in fresh)
        usual = sum(
            weights[r.source] * self.reliability.standing(r.source, known.segment, at).error_points for r in fresh
        )
        return ValidatedGmp(
            issue=issue,
            at=at,
            gmp=amount(level, known.price),
            points=level,
            confidence=self.confidence.of(Doubts(usual, level, apart or 0.0, age)),
            disagreement_points=apart,
            shown_points=usual,
            age=age,
            used=used,
            refused=tuple(refused),
            spike=self._spike(known, level, at),
        )

    def score(self, issue: str, gain_points: float, at: int) -> None:
        """Learn from a listing, `at` its instant, how good the sources were, and forget the issue.

        Every source's last reading counts, whether it was used or not. Raises BadValue: nobody has read anything of it.
        """
        known = self._at(issue)
        said = {source: line.held or line.last for source, line in known.lines.items()}
        errors = {source: abs(r.points - gain_points) for source, r in said.items() if r is not None}
        self.reliability.learn(issue, known.segment, at, errors)
        del self._issues[issue]

    def forget(self, issue: str) -> None:
        """An issue was withdrawn: its readings prove nothing."""
        self._issues.pop(issue, None)

    def join(self, issue: str, double: str) -> None:
        """Two issues are one: of each source's readings of both the newer count for the first."""
        self.reliability.join(issue, double)
        theirs = self._issues.pop(double, None)
        if theirs is None:
            return
        mine = self._issues.setdefault(issue, theirs)
        mine.since = mine.since or theirs.since
        for source, line in theirs.lines.items():
            had = mine.lines.get(source)
            if had is None or had.last is None or (line.last is not None and line.last.at > had.last.at):
                mine.lines[source] = line

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain values, of which `restore` makes it again."""
        return {
            "limits": self._limits.model_dump(mode="json"),
            "reliability": self.reliability.snapshot(),
            "confidence": self.confidence.snapshot(),
            "issues": {name: _told(issue) for name, issue in self._issues.items()},
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """Raises BadValue: these are not the values of a `snapshot`."""
        try:
            reliability, confidence = Reliability.restore(state["reliability"]), Confidence.restore(state["confidence"])
            made = cls(reliability, confidence, Limits.model_validate(state["limits"]))
            made._issues = {name: _again(told) for name, told in state["issues"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise BadValue("state", type(state).__name__, f"what Validator.snapshot gave: {e}") from e
        return made

    def _at(self, issue: str) -> _Issue:
        if issue not in self._issues:
            raise BadValue("issue", issue, "an issue of which something was read, and that is not scored yet")
        return self._issues[issue]

    def _take(self, line: _Line, reading: Reading) -> str | None:
        limits, held = self._limits, line.held
        high = abs(reading.points) > limits.most_points
        jump = line.last is not None and abs(reading.points - line.last.points) >= limits.jump_points
        again = held is not None and abs(reading.points - held.points) <= limits.same_points
        waited = again and held is not None and reading.at - held.at >= limits.again_after
        if not high and (not jump or waited):
            line.last, line.held = reading, None
            return None
        if not again:
            line.held = reading
        return "a jump that nobody confirms"

    def _confirm(self, known: _Issue) -> None:
        for source, line in known.lines.items():
            held = line.held
            others = [o for name, o in known.lines.items() if name != source]
            said = [r for o in others for r in (o.last, o.held) if r is not None]
            if held is not None and any(self._agree(held, other) for other in said):
                line.last, line.held = held, None

    def _agree(self, one: Reading, other: Reading) -> bool:
        near = abs(one.points - other.points) <= self._limits.same_points
        return near and abs(one.at - other.at) <= self._limits.stale_after

    def _ages(self, known: _Issue, at: int, shown: Mapping[str, Shown]) -> dict[str, int]:
        ages = {}
        for source, line in known.lines.items():
            if line.last is not None:
                told, page = line.last.at, shown.get(source)
                if page is not None and page.at == told:
                    told = max(told, min(page.seen_at, told + self._limits.shown_for))
                ages[source] = max(at - told, 0)
        return ages

    def _fresh(self, known: _Issue, at: int, ages: Mapping[str, int]) -> tuple[list[Reading], list[LeftOut]]:
        fresh, refused = [], []
        for source, line in sorted(known.lines.items()):
            if line.held is not None and line.held.at <= at:
                refused.append(LeftOut(reading=line.held, why="a jump that nobody confirms"))
            if line.last is None or line.last.at > at:
                continue
            if ages[source] > self._limits.stale_after:
                refused.append(LeftOut(reading=line.last, why="stale"))
            else:
                fresh.append(line.last)
        return fresh, refused

    def _without_outliers(self, readings: list[Reading]) -> tuple[list[Reading], list[LeftOut]]:
        if len(readings) < 3:
            return readings, []
        levels = np.array([r.points for r in readings])
        off = np.abs(levels - np.median(levels))
        limit = max(self._limits.outlier_points, self._limits.outlier_deviations * NORMAL * float(np.median(off)))
        out = [LeftOut(reading=r, why="far from the others") for r, d in zip(readings, off, strict=True) if d > limit]
        return [r for r, d in zip(readings, off, strict=True) if d <= limit], out

    def _spike(self, known: _Issue, level: float, at: int) -> Spike | None:
        if known.since is None:
            known.since = level, at
            return None
        before, since = known.since
        found = Spike(before_points=before, points=level, since=since) if self._sharp(before, level) else None
        if found is not None or at - since >= self._limits.spike_within:
            known.since = level, at
        return found

    def _sharp(self, before: float, level: float) -> bool:
        if self._limits.relative_spike is None:
            return abs(level - before) >= self._limits.spike_points
        return before != 0 and abs(level / before - 1) >= self._limits.relative_spike


def _median(used: tuple[Used, ...]) -> float:
    ranked = sorted(used, key=lambda u: u.reading.points)
    reached = np.cumsum([u.weight for u in ranked])
    return ranked[int(np.searchsorted(reached, reached[-1] / 2))].reading.points


def _nothing(issue: str, at: int, refused: tuple[LeftOut, ...]) -> ValidatedGmp:
    return ValidatedGmp(
        issue=issue,
        at=at,
        gmp=None,
        points=None,
        confidence=0.0,
        disagreement_points=None,
        shown_points=None,
        age=None,
        used=(),
        refused=refused,
        spike=None,
    )


def _told(issue: _Issue) -> dict[str, Any]:
    lines = {
        source: [r.model_dump(mode="json") if r is not None else None for r in (line.last, line.held)]
        for source, line in issue.lines.items()
    }
    since = list(issue.since) if issue.since is not None else None
    return {"segment": str(issue.segment), "price": issue.price, "lines": lines, "since": since}


def _again(told: Mapping[str, Any]) -> _Issue:
    issue = _Issue(Segment(told["segment"]))
    issue.price = Money(int(told["price"])) if told["price"] is not None else None
    for source, pair in told["lines"].items():
        last, held = (Reading.model_validate(r) if r is not None else None for r in pair)
        issue.lines[source] = _Line(last, held)
    if told["since"] is not None:
        issue.since = float(told["since"][0]), int(told["since"][1])
    return issue
