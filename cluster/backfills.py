"""Backfills: from the settings to what a backfill is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date

from adapters.redis_line import RedisLine
from cluster.calendars import calendar
from cluster.ledger import chosen, clock_of
from cluster.repairs import stores_of, vendor_of
from cluster.settings import Settings
from market.errors import BadValue, LineDown
from market.holidays import known
from market.sessions import IST, instant
from pipelines.backfill import BackfillPlan


def plan_of(
    settings: Settings, symbols: Sequence[str], span: tuple[date, date | None], interval: str, again: bool
) -> BackfillPlan:
    """The plan of one backfill: the history is that of the primary feed's vendor, asked with whoever else asks it.

    Without a running instance the turns are this process's own, the account that of the environment. Raises BadValue.
    """
    if interval not in ("1m", "1d"):
        raise BadValue("--interval", interval, "1m or 1d")
    now = clock_of(settings)
    first = known("--from", span[0])
    last = known("--to", span[1]) if span[1] else instant(now).astimezone(IST).date()
    if last < first:
        raise BadValue("--to", last.isoformat(), f"a day not before --from, {first}")
    vendor, stores = vendor_of(settings, running=False), stores_of(settings)
    cache: str | None = None
    with suppress(LineDown):
        RedisLine(stores.cache).call("PING")
        cache = stores.cache
    return BackfillPlan(
        lake=settings.lake,
        cache=cache,
        instruments=vendor.instruments,
        sessions=tuple(calendar(settings, first, last)),
        symbols=chosen(settings, symbols),
        interval=interval,
        now=now,
        vendor=vendor.name,
        root=vendor.root,
        account=vendor.account,
        again=again,
    )
