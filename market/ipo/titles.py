"""Titles: the names companies go by in lists of issues, and how alike two of them are.

Lists call one company by its full name, its brand, its initials, or the first fifteen letters. Likeness is no proof:
two firms called Fabtech Technologies came to market within a year. Source: ipo-sources.md, section 7.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rapidfuzz import fuzz

LEGAL = frozenset({"limited", "ltd", "pvt", "private", "the"})
"""Words of a legal form; the rest of a list's words says what is listed where, and not who."""
LISTED = frozenset({"ipo", "sme", "fpo", "bse", "nse", "india"})

TRADE = frozenset(
    (
        "and",
        "company",
        "corporation",
        "engineering",
        "enterprises",
        "finance",
        "foods",
        "industries",
        "infra",
        "infrastructure",
        "international",
        "limited",
        "power",
        "products",
        "services",
        "solutions",
        "systems",
        "technologies",
        "technology",
        "textiles",
        "trading",
    )
)
"""Words that make unlike companies look alike."""

LEAST = (LISTED - {"india"}) | {"and", "company", "corporation"}
"""Words that tell nobody from anybody."""
MARKS = (TRADE | {"india"}) - LEAST
"""Words that tell companies of one group from each other."""

CONTAINED = 100.0
FORMERLY = re.compile(r"\(\s*formerly\s+(?:known\s+as\s+)?([^)]*)\)|,?\s*formerly\s+(?:known\s+as\s+)?(.*)$", re.I)
LEAST_START = 3
"""Letters of a shortened word that may stand alone for a longer one."""
LEAST_GLUED = 6
"""Letters from which the beginning of a title, its spaces taken out, is enough."""


@lru_cache(maxsize=4096)
def titles(name: str) -> frozenset[str]:
    """The titles in a name: the present one and, where it tells them, former ones. Never empty.

    >>> sorted(titles("R&B Denims Ltd. (formerly R and B Textiles Pvt Ltd) IPO"))
    ['r and b denims', 'r and b textiles']
    """
    former = [one or other for one, other in FORMERLY.findall(name)]
    found = frozenset(filter(None, (title(part) for part in (FORMERLY.sub(" ", name), *former))))
    return found or frozenset({name.strip().lower()})


def title(name: str) -> str:
    """One name without its legal form, the words of the list, and punctuation.

    >>> title("Signatureglobal (India) Ltd.")
    'signatureglobal'
    """
    words = _words(name)
    bare = [word for word in words if word not in LISTED]
    return " ".join(bare or words)


def likeness(one: str, other: str) -> float:
    """How alike two titles are, 0 to 100, whatever the order of their words."""
    return float(fuzz.token_sort_ratio(one, other))


def kindred(one: str, other: str) -> float:
    """Their likeness, or that of what is left without words of their trade, whichever is less.

    >>> likeness("kenrik industries", "retaggio industries") > 60 > kindred("kenrik industries", "retaggio industries")
    True
    """
    bare = [" ".join(word for word in each.split() if word not in TRADE) for each in (one, other)]
    return min(likeness(one, other), likeness(*bare)) if all(bare) else likeness(one, other)


def akin(one: str, other: str) -> bool:
    """Whether one title holds all words of the other, or shortens it.

    >>> akin("bectors food", "mrs bectors food specialities"), akin("uti amc", "uti asset management company")
    (True, True)
    >>> akin("brace port logistics", "forcas studio")
    False
    """
    if fuzz.token_set_ratio(one, other) == CONTAINED:
        return True
    return shortens(one, other) or shortens(other, one)


def sisters(one: str, other: str) -> bool:
    """Whether two names differ as those of two companies of one group do: in words of the trade alone, each in its own,
    or by India in the place of the other's own words.

    >>> sisters("ABC India Ltd", "ABC Infra Ltd"), sisters("Amber Foods Ltd", "Amber Textiles Ltd")
    (True, True)
    >>> sisters("HOAC Foods India Ltd", "HOAC Foods IPO"), sisters("HG Infra", "H.G. Infrastructure Solutions")
    (False, False)
    """
    first, second = ({*_words(name)} - LEAST for name in (one, other))
    mine, theirs = first - second, second - first
    if not mine or not theirs:
        return False
    if {"india"} in (mine, theirs):
        return True
    return mine | theirs <= MARKS and not any(a.startswith(b) or b.startswith(a) for a in mine for b in theirs)


def shortens(short: str, long: str) -> bool:
    """Whether a title, or a symbol, is the beginning of another with words cut, glued, or given by their initials; or
    all of its initials with words of its own behind them.

    >>> shortens("cams", "computer age management services"), shortens("gpeco", "gp eco solutions")
    (True, True)
    >>> shortens("wti cabs", "Wise Travel India Ltd.")
    True
    """
    words, glued = _words(long), short.lower().replace(" ", "")
    if len(glued) >= LEAST_GLUED and "".join(words).startswith(glued):
        return True
    return _shortens(tuple(short.lower().split()), words)


@lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    plain = re.sub(r"[^a-z0-9]+", " ", name.lower().replace("&", " and "))
    return tuple(word for word in plain.split() if word not in LEGAL)


def _shortens(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    if not short:
        return True
    if not long:
        return False
    first, rest = short[0], short[1:]
    if len(first) >= LEAST_START or first == long[0]:
        glued = ""
        for taken, word in enumerate(long, 1):
            glued += word
            if glued.startswith(first) and _shortens(rest, long[taken:]):
                return True
            if not first.startswith(glued):
                break
    bare = tuple(word for word in long if word != "and")
    initials = "".join(word[0] for word in bare)
    if len(first) >= LEAST_START and initials == first:
        return True
    return len(first) >= 2 and initials.startswith(first) and _shortens(rest, bare[len(first) :])
