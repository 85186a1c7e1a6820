"""Matching: which issue a source speaks of, when every source calls it something else.

Codes come first: ISIN, then the exchanges' symbols, which count only near the dates they belong to, for an issue filed
anew keeps its symbol. Then the name, unless price, segment or kind speak against it; then price and day with a name
that is akin. A price and a day alone are never enough: different issues share both, and a list that lacks one of them
shows no trace of it. Such a row waits in `queue`; `settle` ends the wait where what came since tells its name or its
code, or tells the candidate apart. What is still not certain stays for a person. Nothing is ever merged on a guess.
Source: ipo-sources.md, section 7.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Self

from market.errors import BadValue
from market.ipo.facts import Told
from market.ipo.knowns import Clues, Known, weeks, window
from market.ipo.titles import titles
from market.records import Record

SAME_NAME = 85.0
"""Likeness from which two titles are one, unless something else speaks against it."""
CERTAIN_NAME = 95.0
"""... where neither price nor day can be compared."""
CLEARLY = 10.0
"""Likeness by which the best of several candidates must lead."""
NEAR_DAYS = 3
"""Days by which sources differ about one date."""


class Matched(Record):
    """It is this issue."""

    issue: str
    why: str


class New(Record):
    """No known issue can be meant."""

    why: str


class Unsure(Record):
    """It may be one of these; a person decides, or what is told later."""

    candidates: tuple[str, ...]
    why: str


Verdict = Matched | New | Unsure


class Queued(Record):
    """What waits for a decision, and between which issues."""

    told: Told
    verdict: Unsure


class Matcher:
    """The known issues, each by everything that was told of it, and the queue of what could not be placed."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._weeks: defaultdict[int, set[str]] = defaultdict(set)
        self._titled: defaultdict[str, set[str]] = defaultdict(set)
        self._rows: dict[Told, str] = {}
        self._queue: dict[int, Queued] = {}
        self._numbered = 0
        self._gone: set[str] = set()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def queue(self) -> dict[int, Queued]:
        """What waits for a decision, by the number under which `decide` takes it; oldest first."""
        return dict(self._queue)

    def known(self, issue: str) -> tuple[Told, ...]:
        """Everything an issue is known by, oldest first. Raises BadValue: there is none of this id."""
        return tuple(self._at(issue).told)

    def match(self, told: Told) -> Verdict:
        """Which issue this is, by what is known now. Changes nothing."""
        before = self._rows.get(told.bare)
        if before is not None and self._known[before].around(told):
            return Matched(issue=before, why="the same source told the same of it before")
        clues = [clue for clue in self._clues(told) if not clue.denied]
        for rule in (_by_code, _by_name, _by_kin):
            verdict = rule(clues)
            if verdict is not None:
                return verdict
        verdict = self._elsewhere(told)
        if verdict is not None:
            return verdict
        return _twins(clues) or New(why="no issue of these days has its code, its name, or its price")

    def moved(self, told: Told, page: Iterable[Told]) -> Matched | None:
        """The issue of which this row tells other days than its source did before; `page`: all rows of its page.

        Where one of them still tells the old days, it is another issue. Whether an issue can be put off, the matcher
        does not know: one of which bids were taken is another when it comes again.
        """
        if isinstance(self.match(told), Matched):
            return None
        found = [name for name, known in self._known.items() if known.put_off(told)]
        if len(found) != 1:
            return None
        verdict = Matched(issue=found[0], why="its source told of it before, and now tells other days")
        others = (self.match(row) for row in page if row != told)
        same = any(isinstance(other, Matched) and other.issue == verdict.issue for other in others)
        return None if same else verdict

    def feed(self, told: Told, verdict: Verdict | None = None) -> Verdict:
        """Place what a source told: with its issue, as a new issue, or in the queue, where a row waits once. `verdict`:
        where it belongs, if that is known; None: by `match`.
        """
        verdict = verdict or self.match(told)
        if isinstance(verdict, Unsure):
            waiting = next((n for n, queued in self._queue.items() if queued.told.bare == told.bare), None)
            self._numbered += waiting is None
            self._queue[waiting or self._numbered] = Queued(told=told, verdict=verdict)
        else:
            self._place(told, verdict)
        return verdict

    def settle(self) -> dict[int, Matched]:
        """Decide what became certain by what was fed since: the issue of each such row, by its number, and why.

        For when the lists of all sources have been fed whole: before that, a row that is of no known issue may be of
        one that is still to come.
        """
        settled: dict[int, Matched] = {}
        while found := self._certain():
            settled |= found
        return settled

    def decide(self, number: int, issue: str | None) -> str:
        """A person's word on a row of the queue: its issue, None for a new one. Returns the issue's id.

        Raises BadValue: no such row, or no such issue.
        """
        if number not in self._queue:
            raise BadValue("queue", number, "a number that is in the review queue")
        verdict = Matched(issue=issue, why="a person decided") if issue is not None else New(why="a person decided")
        placed = self._place(self._queue[number].told, verdict)
        del self._queue[number]
        return placed

    def merge(self, issue: str, double: str) -> None:
        """A person's word that two known issues are one: `double` becomes the other, and its id is not given again.

        Raises BadValue: no such issue.
        """
        self._at(issue)
        if issue == double:
            raise BadValue("double", double, "another issue than the one it is to become")
        for told in self.known(double):
            self._learn(issue, told)
        del self._known[double]
        for places in (self._weeks, self._titled):
            for found in places.values():
                found.discard(double)
        self._gone.add(double)
        for number, queued in self._queue.items():
            if double in queued.verdict.candidates:
                left = {issue if name == double else name for name in queued.verdict.candidates}
                verdict = queued.verdict.model_copy(update={"candidates": tuple(sorted(left))})
                self._queue[number] = Queued(told=queued.told, verdict=verdict)

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain values, of which `restore` makes it again."""
        return {
            "known": {
                name: [told.model_dump(mode="json") for told in known.told] for name, known in self._known.items()
            },
            "queue": {str(number): queued.model_dump(mode="json") for number, queued in self._queue.items()},
            "numbered": self._numbered,
            "gone": sorted(self._gone),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """Raises BadValue: these are not the values of a `snapshot`."""
        matcher = cls()
        try:
            for name, rows in state["known"].items():
                for row in rows:
                    matcher._learn(name, Told.model_validate(row))
            matcher._queue = {int(k): Queued.model_validate(row) for k, row in state["queue"].items()}
            matcher._numbered = int(state["numbered"])
            matcher._gone = {str(name) for name in state.get("gone", ())}
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise BadValue("state", type(state).__name__, f"what Matcher.snapshot gave: {e}") from e
        return matcher

    def _at(self, issue: str) -> Known:
        if issue not in self._known:
            raise BadValue("issue", issue, "the id of an issue that is known")
        return self._known[issue]

    def _clues(self, told: Told) -> list[Clues]:
        near = set().union(*(self._weeks.get(week, ()) for week in weeks(window(told))))
        return [self._known[name].clues(told) for name in sorted(near) if self._known[name].around(told)]

    def _elsewhere(self, told: Told) -> Verdict | None:
        """Of the same name and price, but of other days: a slip of the pen, or an offer filed anew."""
        names = set().union(*(self._titled.get(name, ()) for name in titles(told.name)))
        same = [self._known[name] for name in sorted(names) if self._known[name].elsewhere(told)]
        if len(same) == 1 and same[0].swapped(told):
            return Matched(issue=same[0].issue, why="the same name and price, and its day with day and month swapped")
        if not same:
            return None
        return Unsure(candidates=tuple(known.issue for known in same), why="the same name and price, but other days")

    def _place(self, told: Told, verdict: Matched | New) -> str:
        issue = self._named(told) if isinstance(verdict, New) else verdict.issue
        if isinstance(verdict, Matched):
            self._at(issue)
        self._learn(issue, told)
        return issue

    def _learn(self, issue: str, told: Told) -> None:
        known = self._known.setdefault(issue, Known(issue))
        elsewhere = weeks(window(told)) if known.told and not known.around(told) else ()
        known.learn(told)
        self._rows[told.bare] = issue
        for week in (*weeks(known.window), *elsewhere):
            self._weeks[week].add(issue)
        for name in titles(told.name):
            self._titled[name].add(issue)

    def _named(self, told: Told) -> str:
        stem = re.sub(r"[^a-z0-9]+", "-", min(titles(told.name))).strip("-") or "issue"
        stem = f"{stem}-{window(told)[0].year}"
        taken = self._known.keys() | self._gone
        names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def _certain(self) -> dict[int, Matched]:
        found = {}
        for number, queued in list(self._queue.items()):
            verdict = self.match(queued.told)
            if isinstance(verdict, Unsure):
                self._queue[number] = Queued(told=queued.told, verdict=verdict)
            else:
                found[number] = Matched(issue=self._place(queued.told, verdict), why=verdict.why)
                del self._queue[number]
        return found


def _by_code(clues: list[Clues]) -> Verdict | None:
    coded = [clue for clue in clues if clue.coded]
    if not coded:
        return None
    if len(coded) > 1:
        return Unsure(candidates=_names(coded), why="its code is that of several issues")
    if coded[0].price is False and coded[0].name < SAME_NAME:
        return Unsure(candidates=_names(coded), why="its code is this issue's, but neither name nor price are")
    named = [clue for clue in clues if clue.name >= CERTAIN_NAME and clue.price and clue.days == 0]
    if named and coded[0] not in named:
        return Unsure(
            candidates=_names(coded + named), why="its code is one issue's, its name, price and day another's"
        )
    return Matched(issue=coded[0].issue, why=f"the same {coded[0].coded}")


def _by_name(clues: list[Clues]) -> Verdict | None:
    called = [clue for clue in clues if clue.name >= SAME_NAME]
    named = [clue for clue in called if clue.price is not False]
    if called and not named:
        return Unsure(candidates=_names(called), why="its name and days, but another price")
    if not named:
        return None
    best = _best(named)
    if best is None:
        return Unsure(candidates=_names(named), why="several issues of these days have its name")
    if best.days is None and best.price is None and best.name < CERTAIN_NAME:
        return Unsure(candidates=_names(named), why="nearly its name, with neither a day nor a price to compare")
    if best.told_apart:
        return Unsure(candidates=_names(named), why="nearly its name, but its source calls that issue something else")
    return Matched(issue=best.issue, why="the same name and nothing against it")


def _by_kin(clues: list[Clues]) -> Verdict | None:
    free = [clue for clue in clues if not clue.told_apart]
    akin = [clue for clue in free if clue.price and (clue.kin or (clue.alike and clue.days is not None))]
    if not akin:
        akin = [clue for clue in free if clue.kin and clue.price is None and clue.days == 0]
    if not akin:
        return None
    best = _best(akin)
    if best is None:
        return Unsure(candidates=_names(akin), why="several issues of its price and days have a name like it")
    return Matched(issue=best.issue, why="a name like it, and its day and price as far as they are known")


def _twins(clues: list[Clues]) -> Unsure | None:
    free = [clue for clue in clues if not clue.told_apart and not clue.coded_apart]
    for why, found in (
        ("the price of an issue of these days, but another name", [c for c in free if c.price and _near(c)]),
        ("a name like an issue's of these days, and no price", [c for c in free if c.kin and c.price is None]),
        ("the day of an issue of another name, and no price", [c for c in free if c.price is None and c.days == 0]),
    ):
        if found:
            return Unsure(candidates=_names(found), why=why)
    return None


def _near(clue: Clues) -> bool:
    return clue.days is None or clue.days <= NEAR_DAYS


def _best(clues: list[Clues]) -> Clues | None:
    if len(clues) == 1:
        return clues[0]
    ranked = sorted(clues, key=lambda c: (c.price is True, c.name), reverse=True)
    first, second = ranked[:2]
    if first.price is not second.price:
        return first
    return first if first.name - second.name >= CLEARLY else None


def _names(clues: list[Clues]) -> tuple[str, ...]:
    return tuple(sorted(clue.issue for clue in clues))
