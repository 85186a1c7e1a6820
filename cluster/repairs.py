"""Repairs: from the settings to what a repair is told."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from adapters.listings import Listings
from cluster.broker import known, origin
from cluster.calendars import calendar
from cluster.settings import Settings
from cluster.stores import Stores
from cluster.wiring import DEMO_KEY, DEMO_TOKEN, account, exchange_ports
from market.codecs import Account
from market.errors import LineDown
from market.instruments import Instrument
from pipelines.repair import VENDORS, RepairPlan

SIMULATED = "simulated"


def stores_of(settings: Settings) -> Stores:
    """Where the running instance of these settings has its stores; nothing is opened."""
    return Stores(settings, settings.run_folder)


class Vendor(NamedTuple):
    """Whose history is asked, at which root (None: its usual one), as whom; and our instruments with its tokens."""

    name: str
    root: str | None
    account: Account
    instruments: tuple[Instrument, ...]


def vendor_of(settings: Settings, *, running: bool = True) -> Vendor:
    """The vendor of the primary feed. Raises LineDown: the bus is away; unless it need not be `running`: then the
    account is that of the environment, the instruments are as we know them.
    """
    source, stores = settings.feeds.sources[settings.feeds.primary], stores_of(settings)
    universe = list(settings.instruments())
    ports = exchange_ports(settings.feeds.sources, settings, settings.ports.exchange)
    name = settings.feeds.primary
    behind = f"ws://127.0.0.1:{ports[name]}" if name in ports else source.url
    root = origin(behind) + urlsplit(VENDORS[source.vendor].root).path if behind else None
    if source.kind == SIMULATED:
        of = Account(api_key=SecretStr(DEMO_KEY), access_token=SecretStr(DEMO_TOKEN))
        return Vendor(source.vendor, root, of, tuple(universe))
    of = account(settings, source.kind)
    try:
        of = known(of, source, stores.bus)
        listing = Listings(stores.bus).find(source.kind)
    except LineDown:
        if running:
            raise
        listing = None
    return Vendor(source.vendor, root, of, tuple(listing.applied(universe) if listing else universe))


def plan_of(settings: Settings, symbols: tuple[str, ...], span: tuple[date, date], now: int, again: bool) -> RepairPlan:
    """The plan of one repair: the history is that of the primary feed's vendor. Raises LineDown."""
    stores, vendor = stores_of(settings), vendor_of(settings)
    return RepairPlan(
        bus=stores.bus,
        cache=stores.cache,
        lake=settings.lake,
        partitions=settings.partitions,
        instruments=vendor.instruments,
        sessions=tuple(calendar(settings, *span)),
        first=span[0],
        last=span[1],
        symbols=symbols,
        now=now,
        vendor=vendor.name,
        root=vendor.root,
        account=vendor.account,
        again=again,
    )
