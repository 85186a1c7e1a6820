"""Repairs: from the settings to what a repair is told."""

from __future__ import annotations

from datetime import date

from pydantic import SecretStr

from adapters.listings import Listings
from cluster.broker import known, root
from cluster.calendars import calendar
from cluster.settings import Settings, Source
from cluster.stores import Stores
from cluster.wiring import DEMO_KEY, DEMO_TOKEN, account
from market.codecs import Account
from market.errors import BadValue
from pipelines.repair import VENDORS, RepairPlan

SIMULATED = "simulated"


def stores_of(settings: Settings) -> Stores:
    """Where the running instance of these settings has its stores; nothing is opened."""
    return Stores(settings, settings.run_folder)


def plan_of(settings: Settings, symbols: tuple[str, ...], span: tuple[date, date], now: int, again: bool) -> RepairPlan:
    """The plan of one repair: the history is that of the primary feed's broker or, where it has none we know, of the
    first feed's that has.

    Raises BadValue (no feed's broker has one), LineDown.
    """
    source, stores, universe = _source(settings), stores_of(settings), settings.instruments()
    demo = source.kind == SIMULATED
    of = Account(api_key=SecretStr(DEMO_KEY), access_token=SecretStr(DEMO_TOKEN))
    listing = None
    if not demo:
        of = known(account(settings, source.kind), source, stores.bus)
        listing = Listings(stores.bus).find(source.kind)
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
        vendor=_vendor(source),
        root=f"http://127.0.0.1:{settings.ports.exchange}" if demo else root(source),
        account=of,
        again=again,
    )


def _source(settings: Settings) -> Source:
    sources = settings.feeds.sources
    for source in (sources[settings.feeds.primary], *sources.values()):
        if _vendor(source) in VENDORS:
            return source
    raise BadValue("feeds", ", ".join(sources), f"a feed whose vendor has a history we know: {', '.join(VENDORS)}")


def _vendor(source: Source) -> str:
    """Whose history a feed's account opens; the simulated exchange has that of the vendor it speaks for."""
    return source.dialect if source.kind == SIMULATED else source.kind
