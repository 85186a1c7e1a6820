"""Repairs: from the settings to what a repair is told."""

from __future__ import annotations

from datetime import date

from pydantic import SecretStr

from cluster.broker import listed, root
from cluster.settings import Settings, Source
from cluster.stores import Stores
from cluster.wiring import DEMO_KEY, DEMO_TOKEN, account
from market.codecs import Account
from market.holidays import nse_sessions
from pipelines.repair import VENDORS, RepairPlan

SIMULATED = "kite"
"""What the simulated exchange speaks."""


def stores_of(settings: Settings) -> Stores:
    """Where the running instance of these settings has its stores; nothing is opened."""
    return Stores(settings, settings.run_folder)


def plan_of(settings: Settings, symbols: tuple[str, ...], span: tuple[date, date], now: int, again: bool) -> RepairPlan:
    """The plan of one repair: the history is that of the primary feed's broker, or of the first that has one.

    Raises AuthRequired, LineDown, BadValue.
    """
    source = _source(settings)
    simulated = source.kind == "simulated"
    key, token = (SecretStr(DEMO_KEY), SecretStr(DEMO_TOKEN)) if simulated else account(settings)
    instruments = list(settings.instruments())
    stores = stores_of(settings)
    return RepairPlan(
        bus=stores.bus,
        cache=stores.cache,
        lake=settings.lake,
        partitions=settings.partitions,
        instruments=tuple(instruments if simulated else listed(instruments, source, key, token)),
        sessions=tuple(nse_sessions(*span)),
        first=span[0],
        last=span[1],
        symbols=symbols,
        now=now,
        vendor=SIMULATED if simulated else source.kind,
        root=f"http://127.0.0.1:{settings.ports.exchange}" if simulated else root(source),
        account=Account(api_key=key, access_token=token),
        again=again,
    )


def _source(settings: Settings) -> Source:
    sources = settings.feeds.sources
    order = [sources[settings.feeds.primary], *sources.values()]
    return next((s for s in order if s.kind == "simulated" or s.kind in VENDORS), order[0])
