"""Dates: days and instants as a query names them, within the years in which an instant has a number."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from market.errors import BadValue
from market.sessions import YEARS, nanoseconds, within_years

MOMENTS = "an instant with its zone, like 2016-08-25T09:15:00+05:30, or a date, like 2016-08-25"


def day(name: str, text: str | None) -> date | None:
    """A date as the query names it. Raises BadValue."""
    if text is None:
        return None
    try:
        found = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise BadValue(name, text[:40], f"a date like 2021-02-24, of {YEARS}") from None
    return within_years(name, found)


def moment(name: str, text: str | None, zone: ZoneInfo, *, ends: bool) -> int | None:
    """ns UTC of an ISO 8601 instant with its zone, or of a date's beginning (or end) there. Raises BadValue."""
    if text is None:
        return None
    allowed = f"{MOMENTS}, of {YEARS}"
    try:
        if len(text) == len("2016-08-25"):
            named = within_years(name, date.fromisoformat(text)) + timedelta(days=1 if ends else 0)
            found = datetime(named.year, named.month, named.day, tzinfo=zone)
        else:
            found = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped plus sign arrives as a blank
            within_years(name, found.date())
        if found.tzinfo is None:
            raise BadValue(name, text[:40], allowed)
        return nanoseconds(found)
    except (ValueError, OverflowError):
        raise BadValue(name, text[:40], allowed) from None
