"""Retention: how long a lake's rows and its old versions stay, and what somebody has asked to keep.

Two clocks. Rows of a table go by the age of their session. What a table held before its last change stays readable for
some days, so that whoever reads is not disturbed; and for as long as a name, say of a trained model, keeps the version.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta

from market.errors import BadValue
from market.records import Record

SETTLED = timedelta(hours=1)
"""No retention takes longer than this from looking who keeps what to the last file it removes."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


class Keep(Record):
    """A version of a table that is kept for somebody, by name, since an instant."""

    table: str
    version: int
    name: str
    at: datetime


def keeper(name: str) -> str:
    """The name somebody keeps a version by. Raises BadValue."""
    if NAME.fullmatch(name) is None:
        raise BadValue("name", name, "letters, digits and ._@+- behind a letter or digit, at most 100")
    return name


def oldest_kept(newest: date, days: int | None) -> date | None:
    """The oldest session that stays when `newest` is the last one, `days` calendar days before it; None: all stay.

    >>> oldest_kept(date(2025, 11, 20), 30)
    datetime.date(2025, 10, 21)
    """
    return None if days is None else newest - timedelta(days=days)


def holdable(superseded: datetime | None, now: datetime, versions: timedelta) -> bool:
    """Whether a version may still be kept: nothing of it can be gone, or go before the wish to keep it is seen.

    `superseded`: when the next version was committed, None for the newest one; `versions`: so long old ones stay.
    """
    return superseded is None or now - superseded < versions - SETTLED


def forgettable(versions: Collection[int], horizon: int, needed: Iterable[Collection[int]]) -> list[int]:
    """The versions whose part of the log may go, oldest first.

    `horizon`: the oldest version that the newest ones need; `needed`: what is read to load each version that is kept.
    """
    held = {version for one in needed for version in one}
    return sorted(version for version in versions if version < horizon and version not in held)
