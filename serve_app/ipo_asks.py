"""Asks: what may be asked of the IPO desk, as its paths take it, and the reading of it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field

from market.errors import BadValue
from market.ipo.board import Days, Order, Wanted, folded, sought
from market.ipo.kinds import Segment
from market.ipo.life import State
from market.ipo.pages import PageKind
from market.ipo.profit import MOST_AMOUNT, MOST_POINTS, Joined, Thresholds
from market.money import SCALE, Money, money
from market.records import Record
from market.sessions import IST
from market.users import PLAIN
from serve_app.dates import day, moment
from serve_app.shapes import words

LIMIT, MOST = 50, 200
MOST_RUPEES = 10_000_000.0
MOST_AMOUNT_RUPEES = MOST_AMOUNT / SCALE
LONGEST = 100
REASON = 500
PROFITABLE = {"true": True, "false": False, "unknown": None}
EXCHANGES = ("NSE", "BSE")
E = TypeVar("E", bound=StrEnum)

Day = Annotated[str | None, Field(examples=["2025-01-06"])]
Rupees = Annotated[float, Field(ge=-MOST_RUPEES, le=MOST_RUPEES, description="Rupees a share, at most four decimals.")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of a page's bytes, in hex.")]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST, pattern=PLAIN)]
Because = Annotated[str, Field(min_length=1, max_length=REASON, pattern=PLAIN, description="Why; it goes on record.")]


class BoardQuery(Record):
    """What `/api/v1/ipos` is asked with; days are included, and of India."""

    model_config = ConfigDict(extra="ignore")  # the path refuses them itself, as every path does

    status: str | None = Field(
        None, description=f"Of {', '.join(State)}, with commas between.", examples=["open,closed"]
    )
    segment: Segment | None = None
    exchange: str | None = Field(None, description="NSE or BSE.", examples=["NSE"])
    opens_from: Day = None
    opens_to: Day = None
    closes_from: Day = None
    closes_to: Day = None
    lists_from: Day = None
    lists_to: Day = None
    profitable: str | None = Field(
        None,
        description="true, false or unknown, with commas between: by the thresholds of who asks, or those named here.",
        examples=["true"],
    )
    points: float | None = Field(None, ge=0, le=MOST_POINTS, description="Threshold, points of the issue price.")
    amount: float | None = Field(None, ge=0, le=MOST_AMOUNT_RUPEES, description="Threshold, rupees a share.")
    joined: Joined | None = Field(None, description="Whether one threshold is enough.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Of the premium, 0 to 1.")
    min_gmp: float | None = Field(None, ge=-MOST_RUPEES, le=MOST_RUPEES, description="Rupees a share.")
    max_gmp: float | None = Field(None, ge=-MOST_RUPEES, le=MOST_RUPEES, description="Rupees a share.")
    text: str | None = Field(
        None, max_length=LONGEST, pattern=PLAIN, description="A part of a name, an alias, a symbol or code.",
        examples=["foundry"],
    )  # fmt: skip
    sort: str = Field(
        "-opens", description=f"One of {', '.join(Order)}; with - before it the largest first.", examples=["-gmp"]
    )
    limit: int = Field(LIMIT, ge=1, le=MOST)
    cursor: str | None = Field(None, max_length=1000, description="`next` of the page before, asked for alike.")

    def thresholds(self, own: Thresholds) -> Thresholds:
        """Those that are named here, and the own ones for the others. Raises BadValue."""
        named = {"points": self.points, "joined": self.joined}
        named["amount"] = None if self.amount is None else amount("amount", self.amount)
        return own.model_copy(update={name: value for name, value in named.items() if value is not None})

    def wanted(self, own: Thresholds) -> Wanted:
        """Which issues, and how. Raises BadValue."""
        order = self.sort.removeprefix("-")
        if order not in tuple(Order):
            raise BadValue("sort", self.sort[:40], f"one of {', '.join(Order)}, with or without - before it")
        return Wanted(
            states=frozenset() if self.status is None else frozenset(_named("status", self.status, State)),
            segment=self.segment,
            exchange=None if self.exchange is None else _one("exchange", self.exchange.upper(), EXCHANGES),
            opens=self._days("opens"),
            closes=self._days("closes"),
            lists=self._days("lists"),
            profitable=frozenset() if self.profitable is None else frozenset(_profitable(self.profitable)),
            thresholds=self.thresholds(own),
            min_confidence=self.min_confidence,
            low=None if self.min_gmp is None else amount("min_gmp", self.min_gmp),
            high=None if self.max_gmp is None else amount("max_gmp", self.max_gmp),
            text="" if self.text is None else folded(sought(self.text)),
            order=Order(order),
            descending=self.sort.startswith("-"),
        )

    def _days(self, name: str) -> Days:
        first, last = (day(f"{name}_{end}", getattr(self, f"{name}_{end}")) for end in ("from", "to"))
        if first is not None and last is not None and last < first:
            raise BadValue(f"{name}_to", last.isoformat(), f"a day not before `{name}_from`")
        return Days(first, last)


class NewThresholds(Record):
    """From where on the caller calls an issue profitable: points of the issue price, rupees a share; one of them, or
    both.
    """

    points: float = Field(ge=0, le=MOST_POINTS, examples=[10.0])
    amount: float = Field(ge=0, le=MOST_AMOUNT_RUPEES, examples=[20.0])
    joined: Joined = Joined.OR

    def thresholds(self) -> Thresholds:
        """As the desk has them. Raises BadValue."""
        return Thresholds(points=self.points, amount=amount("amount", self.amount), joined=self.joined)


class Decision(Record):
    """A person's word on a row: of which issue it is, or that it is `new`."""

    issue: Name | None = None
    new: bool = False
    because: Because


class Acceptance(Record):
    """A person has looked at the page of an alarm and found it right. `source`, `kind` and `key` as the alarm has
    them.
    """

    source: Name
    kind: PageKind
    key: Annotated[str, Field(max_length=LONGEST, pattern=PLAIN)] = ""
    because: Because


class NewOverride(Record):
    """A premium to believe until a source tells a newer one or, with `pin`, until it is cleared."""

    gmp: Rupees
    because: Because
    pin: bool = False


class Joining(Record):
    """The issue that another one is the same as."""

    into: Name
    because: Because


def amount(name: str, rupees: float) -> Money:
    """Rupees a share as money. Raises BadValue."""
    try:
        return money(Decimal(repr(rupees)))
    except ValueError:
        raise BadValue(name, rupees, "rupees with at most four decimals") from None


def span(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """[from, to), ns UTC, as instants or days of India ask for it. Raises BadValue, for one that ends too early too."""
    first, last = moment("from", since, IST, ends=False), moment("to", until, IST, ends=True)
    if first is not None and last is not None and last <= first:
        raise BadValue("to" if until else "from", until or since, "a range whose `to` is later than its `from`")
    return first, last


def _named(name: str, text: str, kind: type[E]) -> Iterable[E]:
    return [kind(_one(name, word, tuple(kind))) for word in words(name, text)]


def _profitable(text: str) -> list[bool | None]:
    return [PROFITABLE[_one("profitable", word, tuple(PROFITABLE))] for word in words("profitable", text)]


def _one(name: str, word: str, allowed: tuple[str, ...]) -> str:
    if word not in allowed:
        raise BadValue(name, word[:40], f"of {', '.join(allowed)}")
    return word
