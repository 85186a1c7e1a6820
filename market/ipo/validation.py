"""Validation: one premium of what several sources say, how far to trust it, and why which source was left out.

A source's reading takes the place of its last one. A jump of 30 points of the issue price is held: until the source
says so again half a day later, or another source says so, the last reading stands. A page that still shows the jump
then says so again, changed or not, whatever its stamp. Readings that nobody renewed grow
stale. One without a stamp is renewed when its page comes again as it was, but for `Limits.shown_for` at most: a board
on which nothing moves for a week is one that nobody keeps. Of three or more the ones far from the median are left out,
by median absolute deviation. Where the issue price is corrected, premiums stay in the rupees that were told, and points
follow from the new price. The rest vote: the premium is the median weighted by `Reliability`. `--` is no reading:
its source says nothing now, and what it said before is only what a jump is measured from.

A spike is a change of 8 points of the issue price from the lowest or the highest premium that was believed within a
day, or since the last spike: each is told once. The first premium is no spike, and neither is the first quote after
`--`: it is news, and the next change is measured from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from market.errors import BadValue
from market.ipo.confidence import Confidence, Doubts
from market.ipo.facts import Told, points
from market.ipo.issues import Origin
from market.ipo.kinds import Segment
from market.ipo.reliability import Reliability
from market.money import Money
from market.records import Record
from market.sessions import DAY, MINUTE

NORMAL = 1.4826
"""Standard deviations of a normal variable in one median absolute deviation."""

UNCONFIRMED = "a jump that nobody confirms"


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
    """The premium went from one level to another, in points of the issue price; `since`: the last time that the one
    before was believed, ns UTC.
    """

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
        self.held_since = 0 if held is None else held.at  # when a page was first seen to tell it
        self.page = ""  # that told what the source said last
        self.silent_at: int | None = None  # since it says `--`
        self.news = False  # the first quote after `--`, of which nobody was told yet

    @property
    def at(self) -> int:
        return max(0, self.silent_at or 0, *(r.at for r in (self.last, self.held) if r is not None))

    @property
    def stands(self) -> Reading | None:
        return self.last if self.silent_at is None else None

    def silence(self, at: int) -> None:
        self.silent_at, self.held = at, None

    def hold(self, reading: Reading, since: int) -> None:
        self.held, self.held_since = reading, since

    def believe(self) -> None:
        self.news = self.news or self.silent_at is not None
        self.last, self.held, self.silent_at = self.held, None, None


class _Issue:
    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.price: Money | None = None
        self.lines: dict[str, _Line] = {}
        self.levels: list[tuple[float, int]] = []  # that were believed within a day, and until when


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

    @property
    def pages(self) -> set[str]:
        """Those, by digest, that told the jumps that wait."""
        return {
            line.page for known in self._issues.values() for line in known.lines.values() if line.held and line.page
        }

    def read(self, issue: str, told: Told, price: Money, segment: Segment, origin: Origin | None = None) -> str | None:
        """Take in what a source says of an issue, oldest first. Returns why it is not taken at its word, or None.

        `price`: what the issue costs, by whoever knows best; `origin`: the page, else it was seen at its own stamp.
        Raises BadValue: no price above zero.
        """
        if price <= 0:
            raise BadValue("price", price, "an issue price above zero")
        known = self._issues.setdefault(issue, _Issue(segment))
        known.segment = segment
        self._reprice(known, price)
        line = known.lines.setdefault(told.source, _Line())
        if told.at < line.at:
            return "older than what the source has said since"
        if told.gmp is None:
            line.silence(told.at)
            return "no quote"
        reading = Reading(source=told.source, gmp=told.gmp, points=points(told.gmp, price), at=told.at)
        line.page = "" if origin is None else origin.page
        self._take(line, reading, told.at if origin is None else origin.received)
        self._confirm(known)
        return UNCONFIRMED if line.held is not None else None

    def reprice(self, issue: str, price: Money) -> None:
        """An issue costs what was told last; premiums stay in rupees. Raises BadValue: no price above zero, or nobody
        has read anything of it.
        """
        if price <= 0:
            raise BadValue("price", price, "an issue price above zero")
        self._reprice(self._at(issue), price)

    def see(self, pages: Mapping[str, int]) -> None:
        """When pages were seen last, by digest, ns UTC: what they show they still say."""
        for known in self._issues.values():
            for line in known.lines.values():
                self._still(line, pages.get(line.page, 0))

    def validate(self, issue: str, at: int, shown: Mapping[str, Shown] | None = None) -> ValidatedGmp:
        """What is believed of an issue now; `shown`: what pages without stamps still show, by source. A spike is told
        once, and the next is measured from there.

        Raises BadValue: nobody has read anything of it.
        """
        known = self._at(issue)
        for source, page in (shown or {}).items():
            line = known.lines.get(source)
            if line is not None and line.held is not None and page.at == line.held.at:
                self._still(line, min(page.seen_at, at))
        ages = self._ages(known, at, shown or {})
        fresh, refused = self._fresh(known, at, ages)
        fresh, outliers = self._without_outliers(fresh)
        refused += outliers
        weights = self.reliability.weights([r.source for r in fresh], known.segment, at)
        used = tuple(Used(reading=r, weight=weights[r.source]) for r in fresh)
        if not used or known.price is None:
            return _nothing(issue, at, tuple(refused))
        middle = _median(used)
        level = middle.points
        apart = sum(abs(r.points - level) for r in fresh) / (len(fresh) - 1) if len(fresh) > 1 else None
        age = min(ages[r.source] for r in fresh)
        usual = sum(
            weights[r.source] * self.reliability.standing(r.source, known.segment, at).error_points for r in fresh
        )
        return ValidatedGmp(
            issue=issue,
            at=at,
            gmp=middle.gmp,
            points=level,
            confidence=self.confidence.of(Doubts(usual, level, apart or 0.0, age)),
            disagreement_points=apart,
            shown_points=usual,
            age=age,
            used=used,
            refused=tuple(refused),
            spike=self._spike(known, middle, at),
        )

    def score(self, issue: str, gain_points: float, at: int) -> None:
        """Learn from a listing, `at` its instant, how good the sources were, and forget the issue.

        Every source's last reading counts, whether it was used or not. Raises BadValue: nobody has read anything of it.
        """
        known = self._at(issue)
        said = {source: line.held or line.stands for source, line in known.lines.items()}
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
        if mine.price is not None:
            self._reprice(theirs, mine.price)
        mine.levels = mine.levels or theirs.levels
        for source, line in theirs.lines.items():
            had = mine.lines.get(source)
            if had is None or line.at > had.at:
                mine.lines[source] = line

    def snapshot(self) -> dict[str, Any]:
        """Everything but the limits, as plain values, of which `restore` makes it again."""
        return {
            "reliability": self.reliability.snapshot(),
            "confidence": self.confidence.snapshot(),
            "issues": {name: _told(issue) for name, issue in self._issues.items()},
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], limits: Limits | None = None) -> Self:
        """With the limits of now, whatever was too much then. Raises BadValue: these are not the values of a
        `snapshot`.
        """
        try:
            reliability, confidence = Reliability.restore(state["reliability"]), Confidence.restore(state["confidence"])
            made = cls(reliability, confidence, limits)
            made._issues = {name: _again(told) for name, told in state["issues"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise BadValue("state", type(state).__name__, f"what Validator.snapshot gave: {e}") from e
        return made

    def _at(self, issue: str) -> _Issue:
        if issue not in self._issues:
            raise BadValue("issue", issue, "an issue of which something was read, and that is not scored yet")
        return self._issues[issue]

    def _reprice(self, known: _Issue, price: Money) -> None:
        before, known.price = known.price, price
        if before is None or before == price:
            return
        known.levels = [(level * before / price, at) for level, at in known.levels]
        for line in known.lines.values():
            line.last, line.held = _at_price(line.last, price), _at_price(line.held, price)
            if line.held is not None and not self._jumps(line, line.held):
                line.believe()

    def _take(self, line: _Line, reading: Reading, seen_at: int) -> None:
        again = line.held is not None and abs(reading.points - line.held.points) <= self._limits.same_points
        line.hold(reading, line.held_since if again else seen_at)
        if not self._jumps(line, reading):
            line.believe()
        self._still(line, seen_at)

    def _still(self, line: _Line, seen_at: int) -> None:
        waited = seen_at - line.held_since >= self._limits.again_after
        if line.held is not None and waited and not self._beyond(line.held):
            line.believe()

    def _jumps(self, line: _Line, reading: Reading) -> bool:
        far = line.last is not None and abs(reading.points - line.last.points) >= self._limits.jump_points
        return far or self._beyond(reading)

    def _beyond(self, reading: Reading) -> bool:
        return abs(reading.points) > self._limits.most_points

    def _confirm(self, known: _Issue) -> None:
        for source, line in known.lines.items():
            held = line.held
            others = [o for name, o in known.lines.items() if name != source]
            said = [r for o in others for r in (o.stands, o.held) if r is not None]
            if held is not None and any(self._agree(held, other) for other in said):
                line.believe()

    def _agree(self, one: Reading, other: Reading) -> bool:
        near = abs(one.points - other.points) <= self._limits.same_points
        return near and abs(one.at - other.at) <= self._limits.stale_after

    def _ages(self, known: _Issue, at: int, shown: Mapping[str, Shown]) -> dict[str, int]:
        ages = {}
        for source, line in known.lines.items():
            if line.stands is not None:
                told, page = line.stands.at, shown.get(source)
                if page is not None and page.at == told:
                    told = max(told, min(page.seen_at, told + self._limits.shown_for))
                ages[source] = max(at - told, 0)
        return ages

    def _fresh(self, known: _Issue, at: int, ages: Mapping[str, int]) -> tuple[list[Reading], list[LeftOut]]:
        fresh, refused = [], []
        for source, line in sorted(known.lines.items()):
            if line.held is not None and line.held.at <= at:
                refused.append(LeftOut(reading=line.held, why=UNCONFIRMED))
            last = line.stands
            if last is None or last.at > at:
                continue
            if ages[source] > self._limits.stale_after:
                refused.append(LeftOut(reading=last, why="stale"))
            else:
                fresh.append(last)
        return fresh, refused

    def _without_outliers(self, readings: list[Reading]) -> tuple[list[Reading], list[LeftOut]]:
        if len(readings) < 3:
            return readings, []
        levels = np.array([r.points for r in readings])
        off = np.abs(levels - np.median(levels))
        limit = max(self._limits.outlier_points, self._limits.outlier_deviations * NORMAL * float(np.median(off)))
        out = [LeftOut(reading=r, why="far from the others") for r, d in zip(readings, off, strict=True) if d > limit]
        return [r for r, d in zip(readings, off, strict=True) if d <= limit], out

    def _spike(self, known: _Issue, middle: Reading, at: int) -> Spike | None:
        level, news = middle.points, known.lines[middle.source].news
        for line in known.lines.values():
            line.news = False
        past = [] if news else _within(known.levels, at - self._limits.spike_within)
        sharp = [one for one in past if self._sharp(one[0], level)]
        known.levels = [] if sharp else [one for one in past if one != past[-1] or one[0] != level]
        known.levels.append((level, at))
        if not sharp:
            return None
        before, since = max(sharp, key=lambda one: (abs(one[0] - level), one[1]))
        return Spike(before_points=before, points=level, since=since)

    def _sharp(self, before: float, level: float) -> bool:
        if self._limits.relative_spike is None:
            return abs(level - before) >= self._limits.spike_points
        return before != 0 and abs(level / before - 1) >= self._limits.relative_spike


def _at_price(reading: Reading | None, price: Money) -> Reading | None:
    return reading and reading.model_copy(update={"points": points(reading.gmp, price)})


def _median(used: tuple[Used, ...]) -> Reading:
    ranked = sorted(used, key=lambda u: u.reading.points)
    reached = np.cumsum([u.weight for u in ranked])
    return ranked[int(np.searchsorted(reached, reached[-1] / 2))].reading


def _within(levels: list[tuple[float, int]], start: int) -> list[tuple[float, int]]:
    # What was believed last before the start still was at the start.
    before = [one for one in levels if one[1] <= start]
    return before[-1:] + levels[len(before) :]


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
    lines = {source: _said(line) for source, line in issue.lines.items()}
    levels = [list(one) for one in issue.levels]
    return {"segment": str(issue.segment), "price": issue.price, "lines": lines, "levels": levels}


def _again(told: Mapping[str, Any]) -> _Issue:
    issue = _Issue(Segment(told["segment"]))
    issue.price = Money(int(told["price"])) if told["price"] is not None else None
    for source, said in told["lines"].items():
        issue.lines[source] = _line(said)
    since = told.get("since")  # of before all levels of a day were kept
    levels = told.get("levels", [since] if since is not None else [])
    issue.levels = [(float(level), int(at)) for level, at in levels]
    return issue


def _said(line: _Line) -> dict[str, Any]:
    last, held = (r.model_dump(mode="json") if r is not None else None for r in (line.last, line.held))
    words = {name: getattr(line, name) for name in ("held_since", "page", "silent_at", "news")}
    return {"last": last, "held": held, **words}


def _line(said: Mapping[str, Any] | list[Any]) -> _Line:
    # A list is of before a line said more than its last and its held reading.
    words = dict(zip(("last", "held"), said, strict=True)) if isinstance(said, list) else said
    made = _Line(*(Reading.model_validate(r) if r is not None else None for r in (words["last"], words["held"])))
    made.held_since = int(words.get("held_since", made.held_since))
    made.page = str(words.get("page", ""))
    made.silent_at = int(words["silent_at"]) if words.get("silent_at") is not None else None
    made.news = bool(words.get("news", False))
    return made
