"""Calendars: a deployment's sessions: what is built in, and the notices in its data folder."""

from __future__ import annotations

from datetime import date

from adapters.notices import Notices
from cluster.settings import Settings
from market.holidays import sessions_of
from market.sessions import Sessions, exchange_of

NSE = "NSE"
"""Whose days our recordings are of."""


def calendar(settings: Settings, first: date, last: date, exchange: str | None = None) -> Sessions:
    """The sessions from `first` to `last`, both included, of an exchange; without one, of the universe's.

    Raises BadValue, StoreRefused.
    """
    name = exchange or exchange_of(i.symbol for i in settings.instruments())
    return sessions_of(name, first, last, Notices(settings.data).read())
