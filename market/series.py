"""Series: values that are no candles (flows of money, macro figures), each with the instant from which it was known.

A row says what `name` was at `at`; a later `known` of the same `at` is a revision, and stands beside the first. Nobody
may read a value before it was known.
"""

from __future__ import annotations

import re
from datetime import date, time, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.records import Record
from market.sessions import Sessions, at

RULE = "same day HH:MM, next day HH:MM, next session HH:MM, or column:NAME"

_RULE = re.compile(r"(same day|next day|next session) (\d{1,2}):(\d{2})")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
_EPOCH = date(1970, 1, 1)
_LOOK = 30


class Known(Record):
    """When the value of a day is known: at a clock time of that day, the next, or the next session's; or a column says
    it.
    """

    day: Literal["same day", "next day", "next session"] = "same day"
    clock: time = time(0)
    column: str | None = None


def rule(text: str) -> Known:
    """The rule of a text. Raises BadValue.

    >>> rule("same day 19:00").clock
    datetime.time(19, 0)
    """
    said = " ".join(text.split())
    kind, _, column = said.partition(":")
    if kind == "column" and column:
        return Known(column=column)
    found = _RULE.fullmatch(said)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise BadValue("--known", text, RULE)
    return Known.model_validate({"day": found[1], "clock": time(int(found[2]), int(found[3]))})


def named(text: str) -> dict[str, str]:
    """Series to their columns, of `FII=fii_net,DII=dii_net`. Raises BadValue."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, column = (word.strip() for word in part.partition("="))
        if not equals or not column or not _NAME.fullmatch(name) or name in found:
            raise BadValue("--series", part, "NAME=COLUMN with commas between, each name once")
        found[name] = column
    return found


def known_at(days: npt.NDArray[np.int64], known: Known, sessions: Sessions) -> npt.NDArray[np.int64]:
    """The instants, ns UTC, (n,), at which values of these days since 1970-01-01, (n,), are known.

    `sessions` must reach a month beyond the last day where the rule is of the next session. Raises BadValue: it does
    not.
    """
    distinct, places = np.unique(days, return_inverse=True)
    instants = [_instant(_EPOCH + timedelta(days=int(d)), known, sessions) for d in distinct]
    return np.array(instants, np.int64)[places]


def _instant(day: date, known: Known, sessions: Sessions) -> int:
    if known.day == "next session":
        following = (day + timedelta(days=k) for k in range(1, _LOOK))
        found = next((d for d in following if sessions.on(d)), None)
        if found is None:
            raise BadValue("--known", day.isoformat(), "a day with a session within the month behind it")
        day = found
    elif known.day == "next day":
        day += timedelta(days=1)
    return at(day, known.clock, sessions.zone)
