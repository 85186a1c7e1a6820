"""Imagined issues: a calendar that goes on for ever, drawn from a seed, as it stands at any instant.

Every week brings one or two mainboard issues and up to three of the SME platforms. Each is announced, opens, closes two
sessions later, is allotted and lists by the exchange's calendar (`life.expected`). Its premium wanders from visit to
visit, rests at night and is frozen at 09:53 of the day it lists; each source quotes it a little otherwise, now and then
not at all, and rarely with a decimal point lost for a day. Nothing depends on what was asked before: the same seed and
instant tell the same. No name, symbol or ISIN can be a company's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.ipo.kinds import Segment
from market.ipo.life import expected, opening_cap
from market.ipo.readings import Category, Demand, Status
from market.ipo.specimens import Specimen
from market.money import SCALE, Money
from market.sessions import DAY, IST, MINUTE, SECOND, Kind, Sessions, at

FIRST = (
    "Moonbeam", "Gossamer", "Thimble", "Quokka", "Wobbly", "Dandelion", "Pumpkin", "Hobgoblin", "Yodel", "Zeppelin",
    "Bumblebee", "Cuckoo", "Flapjack", "Jellybean", "Kazoo", "Lullaby", "Marzipan", "Nutmeg", "Origami", "Pogostick",
    "Rumpus", "Snowglobe", "Tumbleweed", "Umbrella", "Vanilla", "Whimsy", "Abracadabra", "Balloon", "Custard",
)  # fmt: skip
SECOND_WORD = (
    "Teapot", "Stilts", "Sundial", "Ladder", "Kite", "Marble", "Whistle", "Biscuit", "Feather", "Compass", "Puppet",
    "Drum", "Lantern", "Bobbin", "Sandcastle", "Windmill", "Trampoline", "Hammock", "Doorbell", "Snorkel", "Cushion",
    "Periscope", "Yoyo", "Accordion", "Igloo", "Jigsaw", "Unicycle", "Abacus", "Easel", "Nightcap", "Rollerskate",
)  # fmt: skip
TRADE = ("Fairytales", "Daydreams", "Nonsense")
"""29 by 31 by 3 names: none comes again within eight years."""

SOURCES = ("investorgain", "ipowatch")
"""Who quotes premiums."""

SLOT = 120 * MINUTE
"""A premium has one value for so long."""

ANNOUNCED, SHOWN = 10, 60
"""Days before the opening and after the listing in which an issue is known."""

EPOCH = date(2010, 1, 4)
OPENS, BIDS_END, TRADED, CLOSED = time(10), time(17), time(10), time(15, 30)
FROZEN, ALLOTTED = time(9, 53), time(18)
MORNING, NIGHT = 8, 22
"""Hours between which premiums move."""

MISSING, TYPO = 0.03, 1 / 80
"""How often a source has no quote in a slot, and a lost decimal point on a day."""

_SHARES = ((Category.QIB, 0.5), (Category.NII, 0.15), (Category.RETAIL, 0.35))
_REACHED = ((0.0, 0.08), (0.08, 0.3), (0.3, 1.0))
"""The part of the bids at the begin and at the end of each day of bidding."""


class Imagined:
    """The issues of one seed, over the days of one calendar."""

    def __init__(self, seed: int, sessions: Sessions) -> None:
        """`sessions`: an issue that would list after their end is not told of; `days`: those one can bid on."""
        self.seed, self.sessions = seed, sessions
        self.days = [s.date for s in sessions if s.date.weekday() < 5 and s.kind is not Kind.MUHURAT]
        self._weeks: dict[int, list[_Plan]] = {}
        self._over: dict[tuple[int, str], Specimen] = {}

    def issues(self, now: int, source: str = SOURCES[0]) -> list[Specimen]:
        """All that is known at an instant, ns UTC, as a source tells it; the first to open first."""
        today = datetime.fromtimestamp(now // SECOND, IST).date()
        first, last = today - timedelta(days=SHOWN + 30), today + timedelta(days=ANNOUNCED + 7)
        weeks = range((first - EPOCH).days // 7, (last - EPOCH).days // 7 + 1)
        plans = (plan for week in weeks for plan in self._week(week))
        known = [p for p in plans if p.announced <= now and today <= p.issue.lists + timedelta(days=SHOWN)]
        told = [self._told(plan, now, source) for plan in known]
        return sorted(told, key=lambda one: (one.opens, one.number))

    def down(self, now: int, names: tuple[str, ...]) -> str | None:
        """Which source does not answer at an instant, ns UTC, if any: on one day of four, one for some hours."""
        day, since = divmod(now, DAY)
        chance = np.random.default_rng([self.seed, 7, day])
        if chance.random() >= 0.25:
            return None
        name, start = names[int(chance.integers(len(names)))], int(chance.integers(0, 16))
        hours = int(chance.integers(4, 9))
        return name if start * 60 * MINUTE <= since < (start + hours) * 60 * MINUTE else None

    def _week(self, week: int) -> list[_Plan]:
        if week not in self._weeks:
            self._weeks[week] = list(self._planned(week))
        return self._weeks[week]

    def _planned(self, week: int) -> Iterator[_Plan]:
        monday = EPOCH + timedelta(days=7 * week)
        opens = [k for k, day in enumerate(self.days) if monday <= day < monday + timedelta(days=4)]
        chance = np.random.default_rng([self.seed, 1, week])
        segments = [Segment.MAINBOARD] * int(chance.integers(1, 3)) + [Segment.SME] * int(chance.integers(1, 4))
        for k, segment in enumerate(segments):
            place = int(chance.integers(len(opens))) if opens else -1
            if place < 0 or opens[place] + 2 >= len(self.days):
                continue
            try:
                yield self._plan(5 * week + k, segment, self.days[opens[place]], self.days[opens[place] + 2])
            except BadValue:
                continue  # the calendar ends before its listing

    def _plan(self, number: int, segment: Segment, opens: date, closes: date) -> _Plan:
        chance = np.random.default_rng([self.seed, 2, number])
        main = segment is Segment.MAINBOARD
        dates = expected(opens, closes, self.sessions)
        high = int(chance.integers(90, 1200) if main else chance.integers(40, 240))
        crore = float(np.round(np.exp(chance.normal(6.9 if main else 3.8, 0.6)), 2))
        shares = int(crore * 10_000_000 / high)
        exchange = "NSE" if main or chance.random() < 0.5 else "BSE"
        final = float(np.clip(chance.normal(14, 18), -12, 85) if main else np.clip(chance.normal(24, 36), -12, 140))
        gain = 0.85 * final + float(chance.normal(0, 8))
        cap = opening_cap(segment, dates.listing)
        listed = _ticked(high * (1 + max(gain if cap is None else min(gain, cap), -40) / 100))
        day = float(np.clip(chance.normal(0, 0.04), -0.05, 0.05))
        times = {c: float(np.exp(chance.normal(1.0 + final / 25, 0.5))) for c, _ in _SHARES}
        announced = at(opens - timedelta(days=ANNOUNCED), time(11))
        slots = (at(dates.listing, FROZEN) - announced) // SLOT + 2
        name = _name(number + self.seed)
        issue = Specimen(
            number=number,
            name=name,
            symbol=_symbol(name) if exchange == "NSE" else "",
            code=f"5999{number % 100:02}" if main or exchange == "BSE" else "",
            isin=f"INX0{number % 100_000:05}010",
            segment=segment,
            exchange=exchange,
            low=Money(round(high * 0.95) * SCALE),
            high=Money(high * SCALE),
            lot=max(14_500 // high, 1) if main else -(-120_000 // high // 200) * 200,
            shares=shares,
            size_crore=crore,
            opens=opens,
            closes=closes,
            allots=dates.allotment,
            refunds=dates.credit,
            lists=dates.listing,
            at=announced,
            listed_at=listed,
            closed_at=_ticked(listed / SCALE * (1 + day)),
        )
        between = next(d for d in self.days if d > opens)
        return _Plan(issue, (opens, between, closes), announced, _walk(chance, slots, final), times)

    def _told(self, plan: _Plan, now: int, source: str) -> Specimen:
        if now < at(plan.issue.lists, CLOSED):
            return self._running(plan, now, source)
        key = plan.issue.number, source
        if key not in self._over:
            self._over[key] = self._running(plan, now, source)
        return self._over[key]

    def _running(self, plan: _Plan, now: int, source: str) -> Specimen:
        issue, status = plan.issue, _status(plan.issue, now)
        slot, stamp = _slot(plan, now)
        gmp = self._quoted(plan, slot, source)
        listed = status is Status.LISTED
        points = 100 * (gmp or 0) / issue.high
        known = {
            "status": status,
            "gmp": gmp,
            "rating": int(np.clip(1 + points // 10, 1, 5)),
            "at": stamp,
            "demand": _bids(plan, now),
            "listed_at": issue.listed_at if listed else None,
            "closed_at": issue.closed_at if now >= at(issue.lists, CLOSED) else None,
        }
        return issue.model_copy(update=known)

    def _quoted(self, plan: _Plan, slot: int, source: str) -> Money | None:
        who = SOURCES.index(source) if source in SOURCES else len(SOURCES)
        chance = np.random.default_rng([self.seed, 3, plan.issue.number, who])
        bias, begins = float(chance.normal(0, 0.06)), int(chance.integers(0, 30))
        day = slot * SLOT // DAY
        now = np.random.default_rng([self.seed, 4, plan.issue.number, who, slot])
        typo = np.random.default_rng([self.seed, 5, plan.issue.number, who, day]).random() < TYPO
        if slot < begins or now.random() < MISSING:
            return None
        points = plan.walk[slot] * (1 + bias) + float(now.normal(0, 0.4))
        rupees = round(plan.issue.high / SCALE * points / 100)
        return Money(rupees * SCALE * (10 if typo else 1))


class _Plan(NamedTuple):
    issue: Specimen
    bidding: tuple[date, date, date]
    announced: int
    walk: npt.NDArray[np.float64]
    times: dict[Category, float]


def _walk(chance: np.random.Generator, slots: int, final: float) -> npt.NDArray[np.float64]:
    noise = np.zeros(slots)
    for k, step in enumerate(chance.normal(0, 0.5, slots - 1), 1):
        noise[k] = 0.97 * noise[k - 1] + step
    drawn: npt.NDArray[np.float64] = final * np.linspace(0.6, 1.0, slots) + noise
    return drawn


def _slot(plan: _Plan, now: int) -> tuple[int, int]:
    """Which of its premiums an issue shows, and since when, ns UTC."""
    moment = datetime.fromtimestamp(min(now, at(plan.issue.lists, FROZEN)) // SECOND, IST)
    if moment.hour < MORNING:
        moment = datetime.combine(moment.date() - timedelta(days=1), time(NIGHT), IST)
    elif moment.hour >= NIGHT:
        moment = datetime.combine(moment.date(), time(NIGHT), IST)
    late = plan.issue.number % 50 * MINUTE
    slot = max((int(moment.timestamp()) * SECOND - plan.announced - late) // SLOT, 0)
    return slot, min(plan.announced + slot * SLOT + late * (slot > 0), now)


def _status(issue: Specimen, now: int) -> Status:
    today = datetime.fromtimestamp(now // SECOND, IST).date()
    if now >= at(issue.lists, TRADED):
        return Status.LISTED
    if today == issue.lists:
        return Status.LISTING
    if now >= at(issue.allots, ALLOTTED):
        return Status.ALLOTTED
    if now >= at(issue.closes, BIDS_END):
        return Status.CLOSED
    if now < at(issue.opens, OPENS):
        return Status.UPCOMING
    return Status.CLOSING if today == issue.closes else Status.OPEN


def _bids(plan: _Plan, now: int) -> tuple[Demand, ...]:
    reached = -1.0
    for day, (begin, end) in zip(plan.bidding, _REACHED, strict=True):
        since = now - at(day, OPENS)
        if since >= 0:
            hours = min(since // (60 * MINUTE), 7)
            reached = begin + (end - begin) * hours / 7
    if reached < 0:
        return ()
    found = [
        _demand(category, round(part * plan.issue.shares), reached * plan.times[category]) for category, part in _SHARES
    ]
    offered, bid = sum(one.offered or 0 for one in found), sum(one.bid or 0 for one in found)
    total = Demand(category=Category.TOTAL, times=round(bid / offered, 2), offered=offered, bid=bid)
    return (*found, total)


def _demand(category: Category, offered: int, times: float) -> Demand:
    bid = int(offered * times)
    return Demand(category=category, times=round(bid / offered, 2), offered=offered, bid=bid)


def _name(number: int) -> str:
    words = FIRST[number % len(FIRST)], SECOND_WORD[number % len(SECOND_WORD)], TRADE[number % len(TRADE)]
    return " ".join(words)


def _symbol(name: str) -> str:
    first, second, _ = name.upper().split()
    return f"Z{first[:4]}{second[:5]}"


def _ticked(rupees: float) -> Money:
    return Money(round(rupees * 20) * SCALE // 20)
