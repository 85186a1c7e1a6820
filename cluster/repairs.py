"""Repairs: from the settings to what a repair is told."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlsplit

from pydantic import SecretStr

from adapters.listings import Listings
from cluster.broker import known, origin
from cluster.calendars import calendar
from cluster.settings import Settings
from cluster.stores import Stores
from cluster.wiring import DEMO_KEY, DEMO_TOKEN, account, exchange_ports
from market.codecs import Account
from pipelines.repair import VENDORS, RepairPlan

SIMULATED = "simulated"


def stores_of(settings: Settings) -> Stores:
    """Where the running instance of these settings has its stores; nothing is opened."""
    return Stores(settings, settings.run_folder)


def plan_of(settings: Settings, symbols: tuple[str, ...], span: tuple[date, date], now: int, again: bool) -> RepairPlan:
    """The plan of one repair: the history is that of the primary feed's vendor. Raises LineDown."""
    name, stores, universe = settings.feeds.primary, stores_of(settings), settings.instruments()
    source = settings.feeds.sources[name]
    demo = source.kind == SIMULATED
    of = Account(api_key=SecretStr(DEMO_KEY), access_token=SecretStr(DEMO_TOKEN))
    listing = None
    if not demo:
        of = known(account(settings, source.kind), source, stores.bus)
        listing = Listings(stores.bus).find(source.kind)
    vendor = source.vendor
    ports = exchange_ports(settings.feeds.sources, settings, settings.ports.exchange)
    behind = f"ws://127.0.0.1:{ports[name]}" if name in ports else source.url
    return RepairPlan(
        bus=stores.bus,
        cache=stores.cache,
        lake=settings.lake,
        partitions=settings.partitions,
        instruments=tuple(listing.applied(list(universe)) if listing else universe),
        sessions=tuple(calendar(settings, *span)),
        first=span[0],
        last=span[1],
        symbols=symbols,
        now=now,
        vendor=vendor,
        root=origin(behind) + urlsplit(VENDORS[vendor].root).path if behind else None,
        account=of,
        again=again,
    )
