"""Cells: one place that reads what stands in a cell of a page.

Each function gives None for what is a way of saying nothing (`--`, `₹-`, `NA`, `[.]`, an empty cell) and raises
ValueError for what it cannot read with certainty. Numbers are grouped as India does or as the West does, never both in
one; India's clocks have no zone written. A date without a year is the one nearest to the day of the fetch.
"""

from __future__ import annotations

import html
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from market import money as amounts
from market.money import Money
from market.sessions import IST, MINUTE, nanoseconds

LONGEST = 4_000
"""Characters of a cell: a longer one is an article, not a value."""

VALUE = 200
"""Characters of a number or a date with all that may stand around it."""

MOST_RUPEES = 10_000_000
"""Of a share: the dearest in India is at a fiftieth of it."""

FIRST_YEAR, LAST_YEAR = 1990, 2100

AHEAD = 60 * MINUTE
"""A page's stamp may be so far after the fetch, by the difference of two clocks."""

_DASHES = "[-\u2013\u2014]"
_NOTHING = re.compile(
    rf"(?:(?:₹|rs\.?|inr)?\s*{_DASHES}{{0,3}}\s*%?|\(\s*{_DASHES}{{0,2}}\s*%?\s*\)|n\.?/?a\.?|nil|null|none"
    r"|\[\s*[.●]?\s*\]|tba|tbd|to be announced|not (?:available|applicable|announced)|coming soon)"
    r"(?:\s*per (?:equity )?share)?",
    re.IGNORECASE,
)
_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})*,[0-9]{3}|[0-9]{1,15})(?:\.[0-9]{1,20})?"
_RUPEES = r"(?:₹|rs\.?|re\.?|inr)"
_SHARE = r"(?:\s*(?:/-|per (?:equity )?share))?"
_MONEY = re.compile(rf"([-+]?)\s*{_RUPEES}?\s*([-+]?)\s*({_NUMBER}){_SHARE}", re.IGNORECASE)
_BAND = re.compile(
    rf"{_RUPEES}?\s*({_NUMBER}){_SHARE}\s*(?:-|\u2013|\u2014|to)\s*{_RUPEES}?\s*({_NUMBER}){_SHARE}", re.IGNORECASE
)
_POINTS = re.compile(rf"\(?\s*([-+]?)\s*({_NUMBER})\s*%?\s*\)?")
_TIMES = re.compile(rf"({_NUMBER})\s*(?:x|times)?", re.IGNORECASE)
_CRORE = re.compile(rf"{_RUPEES}?\s*({_NUMBER})\s*(cr|crore|crores|lakh|lakhs|lac|lacs)?\.?", re.IGNORECASE)
_COUNT = re.compile(rf"({_NUMBER}|[0-9](?:\.[0-9]{{1,15}})?E[0-9]{{1,2}})(?:\s*(?:equity )?shares?)?", re.IGNORECASE)
_SHARES = re.compile(rf"(?<![0-9,.])({_NUMBER})\s+(?:fresh\s+)?(?:equity\s+)?shares", re.IGNORECASE)
_PREMIUM = re.compile(
    rf"(?P<gmp>{_RUPEES}?\s*(?:[-+]?\s*{_NUMBER}|[-\u2013\u2014]{{1,2}}|))\s*(?P<points>\(\s*[-+]?(?:{_NUMBER})?\s*%\s*\))?"
    r"\s*(?P<stamp>[0-9]{1,2}-[A-Z]{3,9}\b.*)?",
    re.IGNORECASE,
)
_FIRE = re.compile(r"🔥.*", re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_MARKS = re.compile(r"[*†‡^#]+$")
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_CODE = re.compile(r"[0-9]{6}")
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9&-]{0,19}")

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T[0-9:.]+Z?)?")
_DMY = re.compile(r"([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4})")
_DAY = re.compile(
    r"(?:[A-Z]{3,9},\s*)?([0-9]{1,2})(?:st|nd|rd|th)?[-\s]*([A-Z]{3,9})\.?[-,\s]*([0-9]{4})?", re.IGNORECASE
)
_MONTH_FIRST = re.compile(r"(?:[A-Z]{3,9},\s*)?([A-Z]{3,9})\.?\s+([0-9]{1,2}),?\s*([0-9]{4})?", re.IGNORECASE)
_SHORT_SPAN = re.compile(r"([0-9]{1,2})\s*(?:-|\u2013|to)\s*([0-9]{1,2}\s*[A-Z]{3,9}.*)", re.IGNORECASE)
_LONG_SPAN = re.compile(r"\s+(?:to|-|\u2013)\s+", re.IGNORECASE)
_CLOCK = re.compile(
    r"(.+?)[,\s]+(?:at\s+)?([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*([AP]M)?(?:\s*IST)?", re.IGNORECASE
)


class Premium(NamedTuple):
    """A cell of the premium: the amount, its points of the issue price, its stamp; None where it has none."""

    gmp: Money | None
    points: float | None
    at: int | None


def text(cell: object) -> str:
    """A cell as plain words: no tags, no entities, one blank at most between words. Raises ValueError: too long."""
    if cell is None:
        return ""
    written = str(cell)
    if len(written) > LONGEST:
        raise ValueError(f"a cell of {len(written)} characters")
    if "<" in written or "&" in written:
        written = html.unescape(_TAG.sub("", written))
    return " ".join(written.replace("\u200b", "").replace("\ufeff", "").replace("\u2212", "-").split())


def missing(cell: str) -> bool:
    """Whether a cell is a way of saying nothing.

    >>> [missing(c) for c in ("", "--", "₹-", "₹\\u2013", "-%", "(%)", "NA", "[.]", "0", "-3")]
    [True, True, True, True, True, True, True, True, False, False]
    """
    return _NOTHING.fullmatch(cell.strip()) is not None


def money(cell: str) -> Money | None:
    """Rupees, with their sign: `₹ 1,050.50`, `Rs.82 per equity share`, `₹-3`."""
    found = _found(_MONEY, cell, "an amount of rupees")
    if found is None:
        return None
    if found[1] and found[2]:
        raise ValueError(f"{cell[:40]!r} has two signs")
    return _rupees(cell, _decimal(found[3]) * (-1 if "-" in (found[1], found[2]) else 1))


def price(cell: str) -> Money | None:
    """Rupees a share above zero; what stands behind it in brackets is left out: `₹ 286.5 (16.94%)`."""
    found = money(re.sub(r"\s*\([^()]*\)$", "", cell))
    if found is not None and found <= 0:
        raise ValueError(f"a price of {cell[:40]!r}")
    return found


def band(cell: str) -> tuple[Money, Money] | None:
    """The lower and upper end of a price band, equal for one price.

    >>> band("Rs.750 to Rs.788"), band("163-172"), band("   106"), band("-")
    ((7500000, 7880000), (1630000, 1720000), (1060000, 1060000), None)
    """
    cell = _plain(cell)
    both = _BAND.fullmatch(cell)
    if both is None:
        one = price(cell)
        return None if one is None else (one, one)
    low, high = (_rupees(cell, _decimal(end)) for end in both.groups())
    if not 0 < low <= high:
        raise ValueError(f"a price band of {cell[:40]!r}")
    return low, high


def points(cell: str) -> float | None:
    """Per cent as percentage points, with their sign: `(16.94%)`, `+20.00%`."""
    found = _found(_POINTS, cell, "a percentage")
    return None if found is None else float(_decimal(found[2])) * (-1.0 if found[1] == "-" else 1.0)


def times(cell: str) -> float | None:
    """How many times a reservation is bid for: `62.89x`, `1.26`."""
    found = _found(_TIMES, cell, "a number of times")
    return None if found is None else float(_decimal(found[1]))


def crore(cell: str) -> float | None:
    """Crore rupees; lakhs are turned into them: `₹860.00 Cr`, `1,387.34`."""
    found = _found(_CRORE, cell, "an amount in crore rupees")
    if found is None:
        return None
    return float(_decimal(found[1])) / (100.0 if (found[2] or "").lower().startswith("la") else 1.0)


def count(cell: str) -> int | None:
    """A whole number: `1,200`, `46 Shares`, NSE's `7715999.0` and `2.1143029E7`."""
    found = _found(_COUNT, cell, "a whole number")
    if found is None:
        return None
    exact = _decimal(found[1])
    if exact != exact.to_integral_value() or exact >= 10**15:
        raise ValueError(f"{cell[:40]!r} is not a whole number")
    return int(exact)


def shares(cell: str) -> int | None:
    """The first number of shares that a sentence names; a number alone is one too."""
    found = _SHARES.search(cell)
    return count(found[1]) if found else count(cell)


def premium(cell: str, received: int) -> Premium:
    """A premium with what stands behind it in its cell: `₹150 (107.14%)4-Sep 18:02`, `₹-- (0.00%)`."""
    cell = _plain(cell)
    found = _PREMIUM.fullmatch(cell)
    if found is None:
        raise ValueError(f"{cell[:40]!r} is not a premium")
    gmp, behind = money(found["gmp"]), found["points"]
    told = None if gmp is None or behind is None else points(behind)
    return Premium(gmp, told, stamp(found["stamp"] or "", received))


def rated(cell: str, issue: Money | None, estimated: Money | None) -> tuple[Money | None, int]:
    """A premium with a rating of 1 to 5 glued to it: `₹64🔥Hot inbox` is 6 rated 4. The estimated price settles it.

    A premium of zero is None: this table writes `₹0` for the board's `--`.
    """
    glued = _FIRE.sub("", _plain(cell)).strip()
    found = re.fullmatch(rf"({_RUPEES}?\s*[-+]?(?:[0-9,.]*|--?))([1-5])", glued, re.IGNORECASE)
    if found is None:
        raise ValueError(f"{cell[:40]!r} is not a premium with a rating from 1 to 5")
    gmp = money(found[1])
    if gmp is None or gmp == 0:
        return None, int(found[2])
    if issue is not None and estimated is not None and issue + gmp != estimated:
        raise ValueError(f"{cell[:40]!r} on {issue / amounts.SCALE:g} is not {estimated / amounts.SCALE:g}")
    return gmp, int(found[2])


def reach(cell: str) -> tuple[Money | None, Money | None] | None:
    """The lowest and highest premium so far: `26 ↓ / 52 ↑`."""
    if missing(cell):
        return None
    ends = re.sub(r"[↓↑]", "", cell).split("/")
    if len(ends) != 2:
        raise ValueError(f"{cell[:40]!r} is not a lowest and a highest")
    low, high = money(ends[0]), money(ends[1])
    if low is not None and high is not None and low > high:
        raise ValueError(f"{cell[:40]!r}: the lowest is above the highest")
    return low, high


def day(cell: str, near: date) -> date | None:
    """A date; without a year the one nearest to `near`: `15-Oct`, `9-Jul-2025`, `Tue, May 6, 2025`, `2025-04-28T...Z`.

    A time of midnight Z behind it is no instant: the date is India's as it stands.
    """
    cell = _plain(cell)
    if missing(cell):
        return None
    if found := _ISO.fullmatch(cell):
        return _date(int(found[1]), int(found[2]), int(found[3]))
    if found := _DMY.fullmatch(cell):
        return _date(int(found[3]), int(found[2]), int(found[1]))
    if found := _DAY.fullmatch(cell):
        return _dated(int(found[1]), _month(found[2]), found[3], near)
    if found := _MONTH_FIRST.fullmatch(cell):
        return _dated(int(found[2]), _month(found[1]), found[3], near)
    raise ValueError(f"{cell[:40]!r} is not a date")


def span(cell: str, near: date) -> tuple[date, date] | None:
    """The first and last day of a span; a month before the last day's need not be written.

    >>> near = date(2024, 12, 20)
    >>> [f"{a} {b}" for a, b in (span(c, near) or () for c in ("19-23 Dec", "31-2 Jan", "29-3 Dec, 2024"))]
    ['2024-12-19 2024-12-23', '2024-12-31 2025-01-02', '2024-11-29 2024-12-03']
    """
    cell = _plain(cell)
    if missing(cell) or re.fullmatch(r"20[0-9]{2}", cell):
        return None
    if found := _SHORT_SPAN.fullmatch(cell):
        last = day(found[2], near)
        first = None if last is None else _before(int(found[1]), last)
    elif len(ends := _LONG_SPAN.split(cell)) == 2:
        last = day(ends[1], near)
        first = day(ends[0], near if last is None else last)
    else:
        first = last = day(cell, near)
    if first is None or last is None or not timedelta(0) <= last - first <= timedelta(days=60):
        raise ValueError(f"{cell[:40]!r} is not a span of days")
    return first, last


def stamp(cell: str, received: int) -> int | None:
    """When a page says something was so, ns UTC: `28-Jun 9:37`, `21-Aug-2026 17:00:00`, on India's clocks.

    A date alone is its first instant, so that an age is never told too low. Raises ValueError for one after `received`.
    """
    cell = _plain(cell)
    if missing(cell):
        return None
    near = datetime.fromtimestamp(received / 1e9, IST).date()
    found = _CLOCK.fullmatch(cell)
    on, clock = (found[1], _clock(found)) if found else (cell, time(0))
    which = day(on, near)
    if which is None:
        return None
    at = nanoseconds(datetime.combine(which, clock, IST))
    if at > received + AHEAD:
        raise ValueError(f"{cell[:40]!r} is after the page was fetched")
    return at


def isin(cell: str) -> str | None:
    """An ISIN."""
    return _word(_ISIN, cell, "an ISIN")


def codes(cell: str) -> tuple[str | None, str | None]:
    """NSE's symbol and BSE's code of `ATHERENERG,544397`, `544397 / ATHERENERG`, or one of them alone."""
    if missing(cell):
        return None, None
    symbol = code = None
    for one in (part.strip().upper() for part in re.split(r"[,/]", cell)):
        if missing(one):
            continue
        if _CODE.fullmatch(one):
            code = one
        elif _SYMBOL.fullmatch(one) and symbol is None:
            symbol = one
        else:
            raise ValueError(f"{cell[:40]!r} is neither a symbol nor a code")
    return symbol, code


def code(cell: str) -> str | None:
    """BSE's code of six digits."""
    return _word(_CODE, cell, "a code of six digits")


def symbol(cell: str) -> str | None:
    """NSE's symbol."""
    return _word(_SYMBOL, cell, "a symbol")


def _plain(cell: str) -> str:
    if len(cell) > VALUE:
        raise ValueError(f"{len(cell)} characters are no value")
    return _MARKS.sub("", cell.strip()).strip()


def _rupees(cell: str, amount: Decimal) -> Money:
    if abs(amount) > MOST_RUPEES:
        raise ValueError(f"{cell[:40]!r}: no share is worth so much")
    return amounts.money(amount)


def _found(shape: re.Pattern[str], cell: str, what: str) -> re.Match[str] | None:
    cell = _plain(cell)
    if missing(cell):
        return None
    found = shape.fullmatch(cell)
    if found is None:
        raise ValueError(f"{cell[:40]!r} is not {what}")
    return found


def _decimal(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _word(shape: re.Pattern[str], cell: str, what: str) -> str | None:
    found = _found(shape, cell.upper(), what)
    return None if found is None else found[0]


def _month(word: str) -> int:
    word = {"sept": "september"}.get(word.lower(), word.lower())
    numbers = [k for k, month in enumerate(_MONTHS, 1) if month.startswith(word)]
    if len(word) < 3 or len(numbers) != 1:
        raise ValueError(f"{word[:20]!r} is not a month")
    return numbers[0]


def _dated(number: int, month: int, year: str | None, near: date) -> date:
    if year is not None:
        return _date(int(year), month, number)
    found = []
    for guess in (near.year - 1, near.year, near.year + 1):
        try:
            found.append(_date(guess, month, number))
        except ValueError:  # 29 February
            continue
    if not found:
        raise ValueError(f"no {number}/{month} near {near}")
    return min(found, key=lambda one: abs(one - near))


def _date(year: int, month: int, number: int) -> date:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"the year {year}")
    return date(year, month, number)


def _before(number: int, last: date) -> date:
    if number <= last.day:
        return last.replace(day=number)
    return (last.replace(day=1) - timedelta(days=1)).replace(day=number)


def _clock(found: re.Match[str]) -> time:
    hour, half = int(found[2]), (found[5] or "").upper()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError(f"{found[0][:40]!r} has no such hour")
        hour = hour % 12 + (12 if half == "PM" else 0)
    return time(hour, int(found[3]), int(found[4] or 0))
