"""Repairs: a figure that cannot be right is put right where that is certain, and else refused.

Certain needs a witness: what another source says, or a figure of the same row that follows from it. A value that merely
looks odd is not repaired: what it was meant to be is a guess. Where there is no witness at all there is nothing to hold
a figure against, and it is `Refused`, too: these are for figures in doubt. Source: ipo-sources.md, sections 2, 4 and 8.
"""

from __future__ import annotations

from datetime import date

from market.ipo.facts import amount
from market.money import DECIMALS, SCALE, Money, money
from market.records import Record

CRORE = 10_000_000
THOUSAND = 1_000 * CRORE * SCALE
ROUNDING = 1 * CRORE * SCALE
"""Sources differ by up to a crore about the size of one issue."""

SHIFTS = (10, 100)
"""What a lost decimal point makes of a premium."""
SPLITS = (2, 3, 4, 5, 10)
RATINGS = range(1, 6)

SAME_PRICE_POINTS = 10.0
"""Sources rarely differ more about a first price; then one of them is wrong."""
FIRST_DAY_POINTS = 20.0
"""No share closes its first day further from its first price: the exchanges halt it there, or nearer."""


class Kept(Record):
    """It can be believed as it is."""

    value: Money


class Repaired(Record):
    """It was something else, and for this reason certainly is this."""

    value: Money
    was: Money
    why: str


class Refused(Record):
    """It is not to be believed, and nobody can be certain what it should be."""

    was: Money | date
    why: str


Judged = Kept | Repaired | Refused


def size(told: Money, witness: Money | None) -> Judged:
    """The size of an issue beside another source's: some pages lose what stands before the comma of 1,335.74."""
    if witness is None:
        return Refused(was=told, why="no other source tells the size")
    if abs(told - witness) <= ROUNDING:
        return Kept(value=told)
    lost, rest = divmod(witness - told + ROUNDING, THOUSAND)
    if lost >= 1 and rest <= 2 * ROUNDING and 0 <= told < THOUSAND:
        whole = Money(told + lost * THOUSAND)
        return Repaired(value=whole, was=told, why="the thousands were lost: another source has them")
    return Refused(was=told, why="another source tells another size")


def premium(told: Money, witness: Money | None) -> Judged:
    """A premium in doubt beside what another source has for that day: 30350 is 303.50 without its point."""
    if witness is None:
        return Refused(was=told, why="no other source tells a premium of that day")
    if told == witness:
        return Kept(value=told)
    if any(witness * shift == told for shift in SHIFTS) and witness != 0:
        return Repaired(value=witness, was=told, why="a decimal point was lost: another source has it")
    return Refused(was=told, why="another source tells another premium")


def unglued(told: Money, price: Money, estimated: Money | None) -> Judged:
    """A premium that may have a rating of one digit glued behind it, beside the row's estimated listing price.

    The estimate is price and premium, so it says which. Both can be true of no row.
    """
    if estimated is None:
        return Refused(was=told, why="no estimated price says whether its last digit is a rating")
    meant = Money(estimated - price)
    if told == meant:
        return Kept(value=told)
    shown = f"{abs(meant) / SCALE:.10g}"
    glued = [money(f"{shown}{rating}") for rating in RATINGS if len(shown.partition(".")[2]) < DECIMALS]
    if (told < 0) == (meant < 0) and abs(told) in glued:
        return Repaired(value=meant, was=told, why="a rating stood behind it: the row's estimated price has it without")
    return Refused(was=told, why="the row's estimated price says another premium")


def first_price(told: Money, witness: Money | None) -> Judged:
    """The first traded price beside another source's of that day."""
    if witness is None:
        return Refused(was=told, why="no other source tells the first price")
    if abs(told - witness) <= amount(SAME_PRICE_POINTS, witness):
        return Kept(value=told)
    if any(told * split == witness for split in SPLITS):
        return Repaired(value=witness, was=told, why="adjusted for a later split: another source has it unadjusted")
    return Refused(was=told, why="another source tells another first price")


def first_close(told: Money, price: Money, opened: Money | None, witness: Money | None = None) -> Judged:
    """The close of the first day, beside the issue price, the first traded price, and another source's close.

    The issue price itself stands on some pages for a close that is missing. What is out of reach from the first price
    has been adjusted since; by how much is not certain, for bonus issues and splits come in many ratios.
    """
    if told == price and witness != told:
        return Refused(was=told, why="the issue price stands for a close that is missing")
    if witness is not None and abs(told - witness) > amount(SAME_PRICE_POINTS, witness):
        return Refused(was=told, why="another source tells another close")
    if opened is not None and abs(told - opened) > amount(FIRST_DAY_POINTS, opened):
        return Refused(was=told, why="out of reach from the first price: adjusted for a later split or bonus")
    if opened is None and witness is None:
        return Refused(was=told, why="neither a first price nor another source's close to hold it against")
    return Kept(value=told)


def listing_day(told: date, closes: date) -> Refused | None:
    """Why a day of listing cannot be: it is not after the close of bidding. None: it can."""
    if told > closes:
        return None
    return Refused(was=told, why=f"listed before bidding closed on {closes.isoformat()}")


def quote_day(told: date, listing: date) -> Refused | None:
    """Why a day of a premium cannot be: there is none once it trades, so it is another offer's. None: it can."""
    if told < listing:
        return None
    return Refused(was=told, why=f"of another offer: this one trades since {listing.isoformat()}")
