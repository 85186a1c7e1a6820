"""Users: what an account, a login and a key are, how long each lasts, and what a password must be.

A login begins a family of refresh tokens: each is good for one renewal, which gives the next. One that comes a second
time was stolen or lost on its way, nobody can say which, and ends the family. A key lasts until it is revoked or its
day comes; what it may do is a part of what its owner may, or what an admin granted it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Literal

from market.access import SCOPES, SLOWEST, Role, Scope, Tier
from market.errors import BadValue
from market.records import Record

ACCESS_LASTS = timedelta(minutes=10)
REFRESH_LASTS = timedelta(days=7)
SESSION_LASTS = timedelta(days=30)
"""A login ends after so long whatever happens, and earlier when it is not renewed within `REFRESH_LASTS`."""
RESET_LASTS = timedelta(minutes=30)
TICKET_LASTS = timedelta(minutes=1)
OPERATOR_LASTS = timedelta(minutes=1)
KNOWN_LASTS = timedelta(minutes=5)
"""So long what was learned of a credential is believed without asking the database again."""

SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 128
DIFFERENT = 5
PASSWORD = (
    f"{SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, {DIFFERENT} different ones at least, not your address"
)
LONGEST_NAME = 100
MOST_KEYS, MOST_SESSIONS = 50, 50
MOST_WATCHLISTS, MOST_SYMBOLS = 50, 500
RECOVERY_CODES = 10
LARGEST = 100_000
"""Of each figure of a tier."""
PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""Text without control characters: Postgres keeps no NUL, and a log or a screen obeys the others."""
_LIST = re.compile(r"[\w][\w .&-]{0,49}")


class User(Record):
    """An account as its owner and admins see it."""

    id: str
    email: str
    name: str
    role: Role
    tier: str
    disabled: bool
    totp: bool
    created_at: datetime


class Standing(Record):
    """What a key or a login is worth: whose it is, what it may do, until when (ns UTC; None: no end).

    `digest`: of a key's secret, hex; "" of a login, whose token is signed.
    """

    user: str
    role: Role
    tier: str
    scopes: frozenset[Scope]
    expires: int | None = None
    digest: str = ""


class Key(Record):
    """A key as it is listed; its secret was shown once. `by`: who made it."""

    id: str
    user: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    by: str


class Login(Record):
    """A login that lasts, with its family of refresh tokens, or one that has ended, and why."""

    id: str
    user: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    because: str
    agent: str


class Watchlist(Record):
    """Symbols under a name, in their owner's order."""

    name: str
    symbols: tuple[str, ...]


class Act(Record):
    """What somebody with power over accounts did."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: str


class AccountEvent(Record):
    """Something about an account that its owner is to be told; `at` and `expires` ns UTC.

    `token` is a secret for that address alone; None where there is nothing to confirm.
    """

    kind: Literal["registered", "registered_again", "reset", "password_changed", "sessions_ended"]
    user: str
    email: str
    at: int
    token: str | None = None
    expires: int | None = None


def password(text: str, email: str) -> str:
    """A password as it is hashed, in NFKC. Raises BadValue, which does not show it.

    >>> password("correct horse battery", "asha@example.com")
    'correct horse battery'
    """
    found = normal(text)
    local = email.partition("@")[0].casefold()
    folded = found.casefold()
    bad = not SHORTEST_PASSWORD <= len(found) <= LONGEST_PASSWORD or len(set(found)) < DIFFERENT
    if bad or email.casefold() in folded or (len(local) > 3 and local in folded):
        raise BadValue("password", "what was given", PASSWORD)
    return found


def normal(text: str) -> str:
    """A password in the form it is hashed in: the same letters typed on another machine are the same password."""
    return unicodedata.normalize("NFKC", text)


def granted(wanted: Collection[Scope], role: Role) -> frozenset[Scope]:
    """Of a key that an admin makes for an account of this role: training besides. Raises BadValue."""
    training = frozenset(wanted) & {Scope.TRAIN}
    rest = frozenset(wanted) - training
    return training if training and not rest else training | scopes(rest, role)


def scopes(wanted: Collection[Scope], role: Role) -> frozenset[Scope]:
    """Of a key that an account of this role makes. Raises BadValue."""
    most = SCOPES[role]
    found = frozenset(wanted)
    if not found or found - most:
        allowed = f"one or more of {', '.join(sorted(most))}"
        raise BadValue("scopes", ", ".join(sorted(found - most)) or "none", allowed)
    return found


def outgrown(held: Collection[Scope], role: Role) -> bool:
    """Whether a key may do more than an account of this role could give it: a change of role ends it."""
    return bool(frozenset(held) - SCOPES[role])


def list_name(text: str) -> str:
    """A watchlist's name. Raises BadValue."""
    if not _LIST.fullmatch(text):
        raise BadValue("name", text[:60], "1 to 50 letters, digits, blanks and . & -, a letter or digit first")
    return text


def symbols(wanted: Sequence[str]) -> tuple[str, ...]:
    """Of a watchlist, each once. Raises BadValue."""
    found = tuple(dict.fromkeys(wanted))
    if len(found) > MOST_SYMBOLS:
        raise BadValue("symbols", f"{len(found)} symbols", f"at most {MOST_SYMBOLS}")
    return found


def tier(name: str, known: Collection[str]) -> str:
    """Of those that are known, the name of one an account may have. Raises BadValue.

    >>> tier("gold", ["anonymous", "standard", "gold"])
    'gold'
    """
    if name not in known or name == "anonymous":
        raise BadValue("tier", name[:40], f"one of {', '.join(t for t in known if t != 'anonymous')}")
    return name


def size(told: Tier) -> Tier:
    """A tier as an admin sets it. Raises BadValue."""
    for what, value in told:
        least = SLOWEST if what == "requests_per_second" else 1
        if not least <= value <= LARGEST:
            raise BadValue(what, value, f"{least} to {LARGEST}")
    return told
