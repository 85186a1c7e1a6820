"""Corporate actions: what a company did to its shares, who says so, and since when one could know.

A record is never changed. A later one of the same source about the same symbol, ex-date and kind takes its place from
the moment it is known; `void` says that there was nothing. Of several sources about one ex-date one counts, as a whole:
the operator, then the exchanges, then whoever spoke last. So a split and a bonus that one source tells of the same day
multiply, and a bonus that another one calls a split does not count twice.

`known` is when the market could know, `recorded` when we did. Whoever does not say when it was known is taken to have
told of a past ex-date by its midnight, and of one that is still ahead, or today, when it was recorded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, time
from enum import StrEnum
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from market.errors import BadValue
from market.money import Money, decimal
from market.names import Names, Renamed
from market.records import Record
from market.sessions import IST, ZONES, at, instant

OPERATOR = "operator"
EXCHANGES = ("nse", "bse")
"""Sources that outrank the others: an exchange speaks of its own listings."""

LARGEST = 10_000
"""No split, consolidation or bonus was ever as large; a factor beyond it or its inverse is a slip of the pen."""


DEAREST = Money(10**11)
"""1/10,000 of the currency: no share ever paid, or cost, as much."""

VIEWS = 16
"""Views of the records that are kept at a time."""


class Kind(StrEnum):
    """What was done. SPLIT: each share became several, or several one. RIGHTS: new shares for money."""

    SPLIT = "SPLIT"
    BONUS = "BONUS"
    DIVIDEND = "DIVIDEND"
    RENAME = "RENAME"
    DEMERGER = "DEMERGER"
    RIGHTS = "RIGHTS"


SHARES = (Kind.SPLIT, Kind.BONUS)
"""Kinds that change the number of shares, not what all of them are worth."""

FACTORED = (*SHARES, Kind.DEMERGER, Kind.RIGHTS)


class Action(Record):
    """One event, as one source told it. `symbol`: the name on the day before; `ex_date`: the first day without.

    `factor`: what a price before the ex-date is multiplied by, 1/10 for a split in ten; None where there is none or, of
    a DEMERGER or RIGHTS, where nobody has said. `amount`: a DIVIDEND's, for each share held the day before. `to`:
    a RENAME's new symbol. `known`, `recorded`: ns UTC. `by`: the operator's name. `reason`: why, or the source's words.
    """

    symbol: str = Field(pattern=r"^[A-Z]+:[^\s:]+( [^\s:]+)*$", max_length=64)
    isin: str | None = Field(default=None, pattern=r"^[A-Z]{2}[A-Z0-9]{9}\d$")
    kind: Kind
    ex_date: date
    factor: Fraction | None = None
    amount: Money | None = None
    to: str | None = Field(default=None, pattern=r"^[A-Z]+:[^\s:]+( [^\s:]+)*$", max_length=64)
    void: bool = False
    known: int
    recorded: int
    source: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")
    by: str = Field(default="", max_length=100)
    reason: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wants = {
            "factor": self.kind in SHARES,
            "amount": self.kind is Kind.DIVIDEND,
            "to": self.kind is Kind.RENAME,
        }
        for name, wanted in wants.items():
            given = getattr(self, name) is not None
            may = not self.void and (wanted or (name == "factor" and self.kind in FACTORED))
            if (given and not may) or (not given and wanted and not self.void):
                raise ValueError(f"a {'void ' * self.void}{self.kind} has {'no' if given else 'a'} {name}")
        if self.factor is not None and not (Fraction(1, LARGEST) <= self.factor <= LARGEST and self.factor != 1):
            raise ValueError(f"a factor of {self.factor}: above 0, not 1, and within {LARGEST} times")
        if self.amount is not None and not 0 < self.amount < DEAREST:
            raise ValueError("a dividend is above 0 and below ten million")
        if self.to == self.symbol:
            raise ValueError("a renamed share has another symbol")
        if self.source == OPERATOR and not (self.by.strip() and self.reason.strip()):
            raise ValueError("an operator gives a name and a reason")
        return self

    @property
    def volume_factor(self) -> Fraction:
        """What a volume before the ex-date is multiplied by: only splits and bonuses change it."""
        return 1 / self.factor if self.factor is not None and self.kind in SHARES else Fraction(1)

    @property
    def begins(self) -> int:
        """Midnight of the ex-date on the exchange's clocks, ns UTC."""
        return midnight(self.symbol, self.ex_date)

    def words(self) -> str:
        """What was done, for a screen: `SPLIT 10`, `BONUS 1:1`, `DIVIDEND 18.00`, `RENAME to NSE:INFY`."""
        if self.void:
            return f"no {self.kind}"
        if self.to is not None:
            return f"{self.kind} to {self.to}"
        if self.amount is not None:
            return f"{self.kind} {decimal(self.amount)}"
        if self.factor is None:
            return f"{self.kind}, factor not known"
        if self.kind is Kind.SPLIT:
            return f"{self.kind} {1 / self.factor}"
        if self.kind is Kind.BONUS:
            more = 1 / self.factor - 1
            return f"{self.kind} {more.numerator}:{more.denominator}"
        return f"{self.kind} factor {float(self.factor):.6g}"


class Step(NamedTuple):
    """What an ex-date does to what came before it: multiply prices by `price`, volumes by `volume`."""

    price: Fraction
    volume: Fraction


NO_STEP = Step(Fraction(1), Fraction(1))


def midnight(symbol: str, day: date) -> int:
    """The beginning of a day where this symbol trades, ns UTC; India's where the exchange is not known."""
    zone = next((z for name, z in ZONES.items() if symbol.startswith(f"{name}:")), IST)
    return at(day, time(0), zone)


def known_by(symbol: str, ex_date: date, recorded: int) -> int:
    """When an action could be known, ns UTC, as far as nobody says: see the module's first lines."""
    begins = midnight(symbol, ex_date)
    today = instant(recorded).astimezone(next((z for n, z in ZONES.items() if symbol.startswith(f"{n}:")), IST)).date()
    return begins if ex_date < today else recorded


def in_force(records: Iterable[Action], as_of: int) -> list[Action]:
    """The actions that count as of an instant, ns UTC, by symbol and ex-date; also those whose ex-date is to come."""
    newest: dict[tuple[str, date, Kind, str], Action] = {}
    for record in sorted((r for r in records if r.known <= as_of), key=lambda r: (r.known, r.recorded)):
        newest[record.symbol, record.ex_date, record.kind, record.source] = record
    ordered = sorted(newest.values(), key=_subject)
    counted: list[Action] = []
    for _, group in groupby(ordered, key=_subject):
        told = list(group)
        first = max(told, key=lambda r: (_rank(r.source), r.known, r.recorded, r.source)).source
        counted += [r for r in told if r.source == first and not r.void]
    return counted


def news(records: Iterable[Action], told: Iterable[Action]) -> list[Action]:
    """Those of `told` that say something else than their own source said until then: what there is to add.

    Nobody's word is new by being repeated: the same file twice adds nothing.
    """
    by_key: dict[tuple[str, date, Kind, str], list[Action]] = {}
    for record in records:
        by_key.setdefault((record.symbol, record.ex_date, record.kind, record.source), []).append(record)
    found = []
    for one in told:
        before = by_key.setdefault((one.symbol, one.ex_date, one.kind, one.source), [])
        then = max((r for r in before if r.known <= one.known), key=lambda r: (r.known, r.recorded), default=None)
        if then is None or _content(then) != _content(one):
            found.append(one)
            before.append(one)
    return found


class Actions:
    """All that was ever told, asked as of an instant. A share is asked for by its present symbol.

    `names`: all renames known by now, whatever the instant asked for: which share it is says nothing of its price.
    """

    def __init__(self, records: Iterable[Action]) -> None:
        self.records = tuple(records)
        self._moments = sorted({r.known for r in self.records})
        self._views: dict[int, dict[str, list[Action]]] = {}
        told = in_force((r for r in self.records if r.kind is Kind.RENAME), max(self._moments, default=0))
        self.names = Names(Renamed(r.symbol, r.to or "", r.ex_date) for r in told)

    def __len__(self) -> int:
        return len(self.records)

    def of(self, symbol: str, as_of: int) -> list[Action]:
        """The actions in force of the share that has this symbol now, oldest first."""
        return list(self._view(as_of).get(symbol, ()))

    def symbols(self, as_of: int) -> list[str]:
        """The present symbols of all shares that anything is known of."""
        return sorted(self._view(as_of))

    def going_ex(self, day: date, as_of: int) -> dict[str, Step]:
        """Present symbol -> what an ex-date does to prices and volumes, of all shares to which it does anything.

        `as_of`: its session's open, ns UTC. What a running window multiplies the rows it holds by, when that session
        begins. Raises BadValue for an `as_of` before that day: nothing has changed yet.
        """
        begun = as_of >= midnight("", day)
        found: dict[str, Step] = {}
        for symbol, actions in self._view(as_of).items():
            for action in (a for a in actions if a.ex_date == day and a.factor is not None):
                begun = begun and action.begins <= as_of
                was = found.get(symbol, NO_STEP)
                found[symbol] = Step(was.price * (action.factor or 1), was.volume * action.volume_factor)
        if not begun:
            raise BadValue("as_of", instant(as_of).isoformat(), f"an instant from {day} on")
        return {symbol: step for symbol, step in found.items() if step != NO_STEP}

    def _view(self, as_of: int) -> dict[str, list[Action]]:
        """What counts changes only where something becomes known: one view for each such moment asked for."""
        place = bisect_right(self._moments, as_of)
        if place not in self._views:
            if len(self._views) >= VIEWS:
                self._views.pop(next(iter(self._views)))
            by_symbol: dict[str, list[Action]] = {}
            for action in sorted(in_force(self.records, as_of), key=lambda r: (r.ex_date, r.kind)):
                by_symbol.setdefault(self.names.present(action.symbol, action.ex_date), []).append(action)
            self._views[place] = by_symbol
        return self._views[place]


def _content(action: Action) -> tuple[Fraction | None, Money | None, str | None, bool]:
    return action.factor, action.amount, action.to, action.void


def _subject(action: Action) -> tuple[str, date, str]:
    return action.symbol, action.ex_date, "shares" if action.kind in SHARES else action.kind


def _rank(source: str) -> int:
    return 2 if source == OPERATOR else 1 if source in EXCHANGES else 0
