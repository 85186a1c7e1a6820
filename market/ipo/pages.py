"""Pages: what one body told, with its digest and its counts: any number can be traced to the bytes it came from.

A codec fills a `Sheet` row by row. A cell that cannot be read is refused and counted, and the rest of its row stands; a
heading that nobody knows is reported. A page without a reading is no page, unless its source says in so many words
that there is nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from statistics import median
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from market.errors import LayoutChanged
from market.ipo import cells
from market.ipo.readings import GmpReading, IssueFacts, Reading, Refused, SubscriptionReading
from market.ipo.tables import Grid, heading
from market.money import SCALE
from market.records import Record
from market.sessions import IST

T = TypeVar("T")

MOST_REFUSED = 0.5
"""The part of a page's rows whose needed cells may be refused; above it the page is laid out otherwise."""

FEW = 4
"""Rows below which no such part says anything."""


class PageKind(StrEnum):
    """What a page is asked for. Two pages of a source that tell of different issues are of different kinds: each is
    held against the one before it.
    """

    BOARD = "board"
    PERFORMANCE = "performance"
    SME_PERFORMANCE = "sme performance"
    HISTORY = "history"
    LIST = "list"
    UPCOMING = "upcoming"
    PAST = "past"
    TIMETABLE = "timetable"
    ISSUE = "issue"
    SUBSCRIPTION = "subscription"


class PageOf(NamedTuple):
    """What a page is one of: it is held against the one before it of the same. `key`: of which issue it tells, where
    pages of its kind tell of one alone and do not say of which.
    """

    source: str
    kind: PageKind
    key: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))


class Layout(NamedTuple):
    """A table of a source: the field that each normal heading holds, the fields without which it is another table, and
    the headings that are known and not read.
    """

    name: str
    fields: Mapping[str, str]
    needed: frozenset[str]
    idle: frozenset[str] = frozenset()

    def starts(self) -> list[frozenset[str]]:
        """Of every needed field one heading, in every way it may be written."""
        ways: list[frozenset[str]] = [frozenset()]
        for field in sorted(self.needed):
            ways = [way | {name} for way in ways for name, of in self.fields.items() if of == field]
        return ways

    def fits(self, headings: Collection[str]) -> bool:
        """Whether these headings, as they stand, hold every needed field."""
        return self.needed <= {self.fields.get(heading(name), "") for name in headings}


class Page(Record):
    """What one body told. `key`: as in `PageOf`; `received`: ns UTC of the fetch; `digest`: SHA-256 of its `size`
    bytes, hex; `layouts`: of its tables; `unknown`: headings that no layout knows; `rows`: of those tables, of which
    `blank` held no issue (an advertisement, a line of notes) and the readings that were `repeated` told nothing new.
    """

    source: str
    kind: PageKind
    key: str = ""
    received: int
    digest: str
    size: int
    layouts: tuple[str, ...]
    headings: tuple[str, ...]
    unknown: tuple[str, ...]
    rows: int
    blank: int
    repeated: int
    refused: tuple[Refused, ...]
    gmps: tuple[GmpReading, ...]
    facts: tuple[IssueFacts, ...]
    subscriptions: tuple[SubscriptionReading, ...]

    @property
    def of(self) -> PageOf:
        """What it is one of."""
        return PageOf(self.source, self.kind, self.key)

    def glance(self) -> Glance:
        """What is kept of a good page to know the next one by."""
        readings: list[Reading] = [*self.gmps, *self.facts, *self.subscriptions]
        parts: dict[str, dict[str, dict[str, float]]] = {}
        for one in readings:
            part = parts.setdefault(one.place.partition(":")[0], {})
            part.setdefault(one.name, {}).update(_numbers(one))
        return Glance(
            source=self.source,
            kind=self.kind,
            received=self.received,
            digest=self.digest,
            headings=self.headings,
            parts={layout: _part(numbers) for layout, numbers in parts.items()},
        )


class Unread(Record):
    """A body that its codec could not read, and why: an alarm, and not data."""

    source: str
    kind: PageKind
    key: str = ""
    reason: str

    @property
    def of(self) -> PageOf:
        """What it is one of."""
        return PageOf(self.source, self.kind, self.key)


class Part(Record):
    """The tables of one layout. `numbers`: of each name its fields (`gmp` and `price` in rupees, `times`, `size` in
    crore rupees, `at` in ns UTC); `filled`: the part of the names that has a field, 0 to 1; `medians` over the names.
    """

    numbers: Mapping[str, Mapping[str, float]] = {}
    filled: Mapping[str, float] = {}
    medians: Mapping[str, float] = {}


class Glance(Record):
    """A page in small: what it told under each layout."""

    source: str
    kind: PageKind
    received: int
    digest: str
    headings: tuple[str, ...]
    parts: Mapping[str, Part]


class Row:
    """One row by its fields. What it cannot read it tells the sheet, and gives None."""

    def __init__(self, sheet: Sheet, place: str, told: Sequence[tuple[str, str]], layout: Layout) -> None:
        self.place, self.cells = place, tuple((name, cell) for name, cell in told if name or cell)
        self._sheet, self._needed = sheet, layout.needed
        self._by_field: dict[str, tuple[str, str]] = {}
        for name, cell in told:
            field = layout.fields.get(heading(name))
            if field is not None and not self.text(field):
                self._by_field[field] = name, cell

    def text(self, field: str) -> str:
        """A field's words; none where the row has none."""
        return self._by_field.get(field, ("", ""))[1]

    def read(self, field: str, reader: Callable[[str], T | None]) -> T | None:
        """A field's value by one of `market.ipo.cells`; None: it tells nothing, or was refused."""
        name, cell = self._by_field.get(field, ("", ""))
        if not cell:
            return None
        try:
            return reader(cell)
        except ValueError as e:
            self._sheet.refuse(self.place, name, cell, str(e), needed=field in self._needed)
            return None


class Sheet:
    """A page while it is being read."""

    def __init__(self, source: str, kind: PageKind, body: bytes, received: int, key: str = "") -> None:
        self.source, self.kind, self.body, self.received, self.key = source, kind, body, received, key
        self.near: date = datetime.fromtimestamp(received / 1e9, IST).date()
        self._layouts: list[str] = []
        self._headings: dict[str, None] = {}
        self._unknown: dict[str, None] = {}
        self._readings: dict[tuple[object, ...], Reading] = {}
        self._refused: dict[tuple[str, str], Refused] = {}
        self._unread: set[str] = set()
        self._rows = self._blank = self._repeated = 0

    def read(self, grid: Grid, layout: Layout, row: Callable[[Row], None]) -> None:
        """Have each row of a table read; one that raises ValueError is refused, one of a single cell is blank.

        Raises LayoutChanged for rows under headings without what the layout needs.
        """
        if grid.rows and not layout.fits(grid.headings):
            lacks = sorted(layout.needed - {layout.fields.get(heading(name), "") for name in grid.headings})
            said = f"{grid.place} has no {', '.join(lacks)}, only {', '.join(grid.headings)}"
            raise LayoutChanged(self.source, self.body, said)
        for one in self._rows_of(grid, layout):
            try:
                row(one)
            except ValueError as e:
                self.refuse(one.place, "", _line(one), _reason(e), needed=True)

    def add(self, row: Row, make: Callable[[], Reading]) -> None:
        """One reading of a row; a row that makes none is refused, one that was told already is counted."""
        try:
            reading = make()
        except ValueError as e:
            self.refuse(row.place, "", _line(row), _reason(e), needed=True)
            return
        told = type(reading), *(v for k, v in reading if k not in ("place", "cells"))
        if told in self._readings:
            self._repeated += 1
        else:
            self._readings[told] = reading

    def refuse(self, place: str, name: str, cell: str, reason: str, *, needed: bool = False) -> None:
        """Count a cell, or a row, that cannot be read, once; `needed`: without it the row tells little."""
        if (place, name) not in self._refused:
            refused = Refused(place=place, heading=name[:80], text=cell[:80], reason=reason[:200])
            self._refused[place, name] = refused
            if needed:
                self._unread.add(place)

    def page(self, *, may_be_empty: bool = False) -> Page:
        """The page. Raises LayoutChanged: it tells nothing where something was due, or most of it cannot be read."""
        if not self._readings and not may_be_empty:
            said = f"{self._rows} rows and no reading under {', '.join(self._headings) or 'no known heading'}"
            raise LayoutChanged(self.source, self.body, f"{said}; {self._first()}")
        rows = self._rows - self._blank
        if rows >= FEW and len(self._unread) > MOST_REFUSED * rows:
            raise LayoutChanged(self.source, self.body, f"{len(self._unread)} of {rows} rows unread; {self._first()}")
        readings = self._readings.values()
        return Page(
            source=self.source,
            kind=self.kind,
            key=self.key,
            received=self.received,
            digest=hashlib.sha256(self.body).hexdigest(),
            size=len(self.body),
            layouts=tuple(dict.fromkeys(self._layouts)),
            headings=tuple(self._headings),
            unknown=tuple(self._unknown),
            rows=self._rows,
            blank=self._blank,
            repeated=self._repeated,
            refused=tuple(self._refused.values()),
            gmps=tuple(one for one in readings if isinstance(one, GmpReading)),
            facts=tuple(one for one in readings if isinstance(one, IssueFacts)),
            subscriptions=tuple(one for one in readings if isinstance(one, SubscriptionReading)),
        )

    def _rows_of(self, grid: Grid, layout: Layout) -> Iterator[Row]:
        self._layouts.append(layout.name)
        for name in grid.headings:
            normal = heading(name)
            if normal:
                self._headings[normal] = None
                if normal not in layout.fields and normal not in layout.idle:
                    self._unknown[normal] = None
        for number, told in enumerate(grid.rows, 1):
            self._rows += 1
            place = f"{layout.name}: {grid.place}, row {number}"
            try:
                words = [cells.text(cell) for cell in told]
            except ValueError as e:
                self.refuse(place, "", str(told), str(e), needed=True)
                continue
            if sum(map(bool, words)) < min(2, len(grid.headings)):
                self._blank += 1
            elif len(words) > len(grid.headings) and any(words[len(grid.headings) :]):
                self.refuse(place, "", " | ".join(words), "more cells than headings", needed=True)
            else:
                yield Row(self, place, list(zip(grid.headings, words, strict=False)), layout)

    def _first(self) -> str:
        if not self._refused:
            return "nothing was refused"
        one = next(iter(self._refused.values()))
        return f"first {one.place}, {one.heading or 'row'}: {one.reason}"


def _part(numbers: Mapping[str, Mapping[str, float]]) -> Part:
    fields = sorted({field for told in numbers.values() for field in told})
    columns = {field: [told[field] for told in numbers.values() if field in told] for field in fields}
    return Part(
        numbers=numbers,
        filled={field: len(column) / len(numbers) for field, column in columns.items()},
        medians={field: median(column) for field, column in columns.items()},
    )


def _line(row: Row) -> str:
    return " | ".join(cell for _, cell in row.cells)


def _reason(fault: ValueError) -> str:
    return str(fault.errors()[0]["msg"]) if isinstance(fault, ValidationError) else str(fault)


def _numbers(reading: Reading) -> dict[str, float]:
    match reading:
        case GmpReading():
            told = {"gmp": reading.gmp, "price": reading.high}
            found = {field: amount / SCALE for field, amount in told.items() if amount is not None}
            return found | ({"at": float(reading.at)} if reading.at is not None else {})
        case IssueFacts():
            found = {} if reading.high is None else {"price": reading.high / SCALE}
            return found | ({} if reading.size_crore is None else {"size": reading.size_crore})
        case SubscriptionReading():
            most = [one.times for one in reading.demand if one.times is not None]
            return {"times": max(most)} if most else {}
        case _:
            return {}
