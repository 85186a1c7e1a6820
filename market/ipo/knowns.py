"""Knowns: everything that sources told of one issue, and what speaks for and against another row being it too."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from market.ipo.facts import Told
from market.ipo.titles import akin, kindred, likeness, shortens, sisters, titles
from market.names import LINE
from market.sessions import IST, instant

SLACK = timedelta(days=6)
"""Sources differ by at most so much about one date of one issue."""
FILED_ANEW = timedelta(days=400)
"""An offer that failed, or was put off, comes again within so long."""
SAME_PRICE = 0.02
SAME_TITLE = 95.0
ALIKE = 60.0
"""Likeness, without words of the trade, that is enough beside an equal price and a near day."""

# Days from the opening, from the close, and from any row to the listing: T+6 before December 2023 with holidays;
# rows stay on boards up to 15 days after listing and appear months before. Source: ipo-sources.md, sections 1 and 2.
AFTER_OPEN = (timedelta(days=2), timedelta(days=30))
AFTER_CLOSE = (timedelta(days=1), timedelta(days=20))
AFTER_ROW = (timedelta(days=-20), timedelta(days=60))

Window = tuple[date, date]


class Clues(NamedTuple):
    """What speaks for and against a row being an issue. `coded`: the code that is the same; `denied`: something that
    cannot be; `name`: likeness of titles, 0 to 100; `kin`: one shortens the other; `alike`: they are
    like each other; `price`: equal or not, `days`
    between dates of one kind, both None where there is nothing to compare; `told_apart`: the row's source calls the
    issue by another name; `coded_apart`: both have codes, and not one in common.
    """

    issue: str
    coded: str
    coded_apart: bool
    denied: bool
    name: float
    kin: bool
    alike: bool
    price: bool | None
    days: int | None
    told_apart: bool


class Known:
    """One issue by all it was ever called."""

    def __init__(self, issue: str) -> None:
        """`window`: days between which it is listed, as narrow as its rows allow."""
        self.issue = issue
        self.told: list[Told] = []
        self.window: Window = (date.min, date.max)
        self._titles: dict[str, set[str]] = {}

    def learn(self, told: Told) -> None:
        """Know it by this too; the newest of equal rows is kept."""
        bare = told.bare
        for i, old in enumerate(self.told):
            if old.bare == bare:
                self.told[i] = told
                return
        self.told.append(told)
        self.window = min(self.window, window(told), key=lambda w: w[1] - w[0])
        self._titles.setdefault(told.source, set()).update(titles(told.name))

    def around(self, told: Told) -> bool:
        """Whether the days of a row can be its days."""
        days = self._days(told)
        if days is not None:
            return days <= SLACK.days
        (first, last), (other_first, other_last) = self.window, window(told)
        return first <= other_last and other_first <= last

    def elsewhere(self, told: Told) -> bool:
        """Whether it has the row's price but is of other days, within a year or so, and no row of the same source."""
        (first, _), (other, _) = self.window, window(told)
        if told.source in self._titles or self.around(told) or abs(first - other) > FILED_ANEW:
            return False
        return bool(self._price(told)) and not self._denied(told)

    def put_off(self, told: Told) -> bool:
        """Whether the row's source told of it before, by the same code or name and price, but of earlier days."""
        before = [t for t in self.told if t.source == told.source and t.open is not None]
        if not before or told.open is None or self.around(told) or self._denied(told):
            return False
        days = [told.open - t.open for t in before if t.open is not None]
        named = any(titles(t.name) & titles(told.name) for t in before) and self._price(told) is not False
        return timedelta(0) < min(days) <= FILED_ANEW and (named or bool(self._codes(told)[0]))

    def swapped(self, told: Told) -> bool:
        """Whether the row's listing would be its listing, had the row not swapped day and month."""
        day = told.listing
        if day is None or day.day > 12 or day.day == day.month:
            return False
        return date(day.year, day.day, day.month) in {t.listing for t in self.told}

    def clues(self, told: Told) -> Clues:
        """What speaks for and against a row being this issue."""
        mine = titles(told.name)
        group = self._sister(told)
        all_ = set().union(*self._titles.values()) if not group else set()
        name = max((likeness(a, b) for a in mine for b in all_), default=0.0)
        same_source = self._titles.get(told.source)
        apart = same_source is not None and not any(a == b or akin(a, b) for a in mine for b in same_source)
        coded, coded_apart = self._codes(told)
        return Clues(
            issue=self.issue,
            coded=coded,
            coded_apart=coded_apart,
            denied=self._denied(told),
            name=name,
            kin=not group and (any(akin(a, b) for a in mine for b in all_) or self._spelt(told)),
            alike=any(kindred(a, b) >= ALIKE for a in mine for b in all_),
            price=self._price(told),
            days=self._days(told),
            told_apart=apart and name < SAME_TITLE,
        )

    def _codes(self, told: Told) -> tuple[str, bool]:
        apart = False
        for name in ("isin", "symbol", "code"):
            mine, theirs = getattr(told, name), {getattr(t, name) for t in self.told} - {None}
            cut = LINE if name == "isin" else None
            if mine is not None and mine[:cut] in {code[:cut] for code in theirs}:
                return name, False
            apart = apart or (mine is not None and bool(theirs))
        return "", apart

    def _denied(self, told: Told) -> bool:
        for name in ("segment", "kind"):
            mine, theirs = getattr(told, name), {getattr(t, name) for t in self.told} - {None}
            if mine is not None and theirs and mine not in theirs:
                return True
        lines = {t.isin[:LINE] for t in self.told if t.isin}
        return told.isin is not None and bool(lines) and told.isin[:LINE] not in lines

    def _sister(self, told: Told) -> bool:
        names = {t.name for t in self.told}
        return told.name not in names and any(sisters(told.name, name) for name in names)

    def _spelt(self, told: Told) -> bool:
        short = {*titles(told.name), told.symbol} - {None}
        if any(shortens(word, t.name) for word in short if word for t in self.told):
            return True
        others = set().union(*self._titles.values(), {t.symbol for t in self.told if t.symbol})
        return any(shortens(word, told.name) for word in others)

    def _price(self, told: Told) -> bool | None:
        prices = [t.price for t in self.told if t.price is not None]
        if told.price is None or not prices:
            return None
        return any(abs(told.price - price) <= SAME_PRICE * price for price in prices)

    def _days(self, told: Told) -> int | None:
        apart = []
        for name in ("open", "close", "listing"):
            mine = getattr(told, name)
            days = [abs((mine - day).days) for t in self.told if mine and (day := getattr(t, name))]
            if days:
                apart.append(min(days))
        return min(apart, default=None)


def window(told: Told) -> Window:
    """The days between which what a row speaks of is listed."""
    if told.listing is not None:
        return told.listing - SLACK, told.listing + SLACK
    if told.close is not None:
        return told.close + AFTER_CLOSE[0], told.close + AFTER_CLOSE[1]
    if told.open is not None:
        return told.open + AFTER_OPEN[0], told.open + AFTER_OPEN[1]
    day = instant(told.at).astimezone(IST).date()
    return day + AFTER_ROW[0], day + AFTER_ROW[1]


def weeks(days: Window) -> range:
    """Numbers of the fortnights that days touch, under which issues are found."""
    return range(days[0].toordinal() // 14, days[1].toordinal() // 14 + 1)
