"""Purposes: what an exchange writes of a corporate action, in words, as actions.

The words are free text, written by many hands: `Bonus 1:1`, `Face Value Split (Sub-Division) - From Rs 10/- Per Share
To Rs 2/- Per Share`, `Interim Dividend - Rs 18 Per Share`, `Annual General Meeting/Dividend - Rs 3.50 Per Share`. A
purpose with a split, bonus or dividend that is not understood gives nothing and is handed back: half of a combined
event is worse than none.
"""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from market.actions import Action, Kind
from market.money import Money


class Told(NamedTuple):
    """What a source's list came to. `unread`: what nobody here understands; `idle`: rows that move no price."""

    actions: list[Action]
    unread: list[str]
    idle: int


class Meaning(NamedTuple):
    """One part of a purpose."""

    kind: Kind
    factor: Fraction | None = None
    amount: Money | None = None


_RUPEES = r"(?:rs|re|inr)\b\.?[\s\-:.]*(\d+(?:\.\d{1,4})?)"
_BONUS = re.compile(r"\bbonus\b(?:\s+(?:issue|shares?))?[\s\-:]*(?:in the ratio(?: of)?\s*)?(\d+)\s*:\s*(\d+)", re.I)
_SPLIT = re.compile(
    r"(?:split|sub[\s-]*division|consolidation)\b[^/\d]*?(?:from\s+)?" + _RUPEES + r"\D*?\bto\b\D*?" + _RUPEES, re.I
)
_SPLITS = re.compile(r"\bsplit|consolidation|sub[\s-]*division", re.I)
_DIVIDEND = re.compile(r"dividend\b[^/\d%]*?(?:" + _RUPEES + r"|(\d+(?:\.\d+)?)\s*%)", re.I)
_RIGHTS = re.compile(r"\brights?\b", re.I)
_DEMERGER = re.compile(r"de-?merger|spin[\s-]*off|scheme of arrangement", re.I)
_STRANGE = re.compile(
    r"debenture|preference|\bncd|\bdvr\b|capital reduction|reduction of capital|amalgamation|merger|capital repayment",
    re.I,
)
_IDLE = re.compile(
    r"general meeting|\bagm\b|\begm\b|buy\s*-?\s*back|interest payment|redemption|book closure|e-?voting|postal ballot|"
    r"income distribution|distribution",
    re.I,
)


def meanings(purpose: str, face_value: Fraction | None = None) -> list[Meaning] | None:
    """The parts of a purpose: [] for one that moves no price, None for one that is not understood.

    Several dividends are one. `face_value`: rupees, for a dividend in percent of it.

    >>> [m.factor for m in meanings("Bonus 1:1 / Face Value Split From Rs.10/- To Rs.2/-")]
    [Fraction(1, 2), Fraction(1, 5)]
    """
    text = " ".join(purpose.split())
    if _STRANGE.search(_DEMERGER.sub("", text)):
        return None
    found: list[Meaning] = []
    for bonus in _BONUS.finditer(text):
        new, held = int(bonus[1]), int(bonus[2])
        if not (new and held):
            return None
        found.append(Meaning(Kind.BONUS, Fraction(held, new + held)))
    for split in _SPLIT.finditer(text):
        before, after = Fraction(split[1]), Fraction(split[2])
        if not (before and after) or before == after:
            return None
        found.append(Meaning(Kind.SPLIT, after / before))
    amount = _dividends(text, face_value)
    if amount is None:
        return None
    found += [Meaning(Kind.DIVIDEND, amount=amount)] if amount else []
    found += [Meaning(Kind.RIGHTS)] if _RIGHTS.search(text) else []
    found += [Meaning(Kind.DEMERGER)] if _DEMERGER.search(text) else []
    bonuses = sum(m.kind is Kind.BONUS for m in found)
    splits = any(m.kind is Kind.SPLIT for m in found)
    if len(re.findall(r"\bbonus\b", text, re.I)) != bonuses or bool(_SPLITS.search(text)) != splits:
        return None
    if len({m.kind for m in found}) != len(found):
        return None
    return found if found or _IDLE.search(text) else None


def _dividends(text: str, face_value: Fraction | None) -> Money | None:
    """All dividends of a purpose together, 0 without any; None for one without an amount."""
    amounts = list(_DIVIDEND.finditer(text))
    if len(amounts) != len(re.findall(r"dividend", text, re.I)):
        return None
    total = Fraction(0)
    for one in amounts:
        if one[1] is None and not face_value:
            return None
        total += Fraction(one[1]) if one[1] is not None else Fraction(one[2]) / 100 * (face_value or 0)
    units = total * 10_000
    return Money(int(units)) if units.denominator == 1 and (units > 0 or not amounts) else None


def actions_of(
    symbol: str,
    isin: str | None,
    day: date,
    purpose: str,
    known: int,
    recorded: int,
    source: str,
    face_value: Fraction | None = None,
) -> list[Action] | None:
    """The actions of one row of an exchange's list; None where it is not understood. Raises ValueError."""
    found = meanings(purpose, face_value)
    if found is None:
        return None
    return [
        Action(
            symbol=symbol,
            isin=isin,
            kind=one.kind,
            ex_date=day,
            factor=one.factor,
            amount=one.amount,
            known=known,
            recorded=recorded,
            source=source,
            reason=" ".join(purpose.split())[:500],
        )
        for one in found
    ]
