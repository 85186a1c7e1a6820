"""Wiring: from the settings to the plan of every part. Hands each shell its neighbours; nothing is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from actors.archive import Archive
from actors.candles import Candles
from actors.exchange import Exchange, ExchangePlan
from actors.feed import Feed
from actors.market import Market
from actors.plans import ArchivePlan, CandlesPlan, FeedPlan, MarketPlan, SwitchPlan
from actors.supervisor import Part, SupervisorPlan
from actors.switch import Switch
from adapters import logs
from cluster.settings import Settings, Source
from cluster.stores import Stores
from cluster.tapes import Tape
from market.errors import AuthRequired
from market.failover import Rule, order
from market.holidays import nse_sessions
from market.instruments import Instrument
from market.sessions import SECOND, Session
from market.vendors.kite import Kite
from serve_app.follow import GatewayPlan

DEMO_KEY = "demo"
DEMO_TOKEN = "demo-access-token"  # noqa: S105  (of the simulated exchange, on loopback)
LOGIN = "set KITE_API_KEY and KITE_ACCESS_TOKEN to those of today's login and start again"
HORIZON_DAYS = 400
CALENDAR = date(2000, 1, 1)
"""From here on the gateway knows which days were sessions, and says which of them it has no candles of."""


class Wiring:
    """The plans of one deployment. `tape`: a recorded day instead of a live market; `begin`: where the demo's
    clock goes on.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        run: Path,
        *,
        instruments: Sequence[Instrument] | None = None,
        sessions: Sequence[Session] | None = None,
        tape: Tape | None = None,
        exchange_port: int | None = None,
    ) -> None:
        self.settings, self.stores, self._run, self._tape = settings, stores, run, tape
        self.instruments = tuple(instruments if instruments is not None else settings.instruments())
        today = date.today()
        span = nse_sessions(today - timedelta(days=HORIZON_DAYS), today + timedelta(days=HORIZON_DAYS))
        self.sessions = tuple(sessions if sessions is not None else span)
        self._begin = max((s.preopen for s in self.sessions if s.date <= today), default=0)
        self._port = exchange_port or settings.ports.exchange
        primary = settings.feeds.primary
        # A recorded day waits for one reader, the primary; a live market has all of them.
        self.feeds = {primary: settings.feeds.sources[primary]} if tape else dict(settings.feeds.sources)
        """The feeds that run; a feed's number in the log is its place here."""
        own = [name for name, source in self.feeds.items() if source.kind == "simulated" and source.url is None]
        ports = [self._port, *range(*settings.ports.exchanges)]
        self._exchanges = dict(zip(own, ports, strict=False))

    def parts(self, *, read_model: bool = True) -> list[Part]:
        """Everything the Supervisor keeps running, in the order in which it starts."""
        parts = [self._exchange(name, port) for name, port in self._exchanges.items()]
        parts += self._candles()
        parts.append(self._archive())
        if read_model:
            parts.append(
                Part(name="market", make=Market, plan=MarketPlan(**self._bus()), environment=self._environment())
            )
        if read_model:
            parts.append(self._switch())
        parts += [self._feed(number, name, source) for number, (name, source) in enumerate(self.feeds.items())]
        return parts

    def supervisor(self) -> SupervisorPlan:
        """What the Supervisor may trim, and where the disk is that must not fill up."""
        keep = self.settings.retention
        return SupervisorPlan(
            bus=self.stores.bus,
            cache=self.stores.cache,
            partitions=self.settings.partitions,
            bus_folder=str(self.settings.bus_folder) if self.settings.bus_folder else None,
            readers={"ticks": ("candles", "archive-ticks"), "candles": ("archive-candles",)},
            keep_seconds={"ticks": keep.ticks_minutes * 60.0, "candles": keep.candles_days * 86_400.0},
            log_level=self.settings.log_level,
        )

    def gateway(self) -> GatewayPlan:
        """What each replica of the gateway is told."""
        ends = date.today() + timedelta(days=HORIZON_DAYS)
        known = {s.date: s for s in (*nse_sessions(CALENDAR, ends), *self.sessions)}
        plan = {**self._bus(), "sessions": tuple(known[day] for day in sorted(known))}
        return GatewayPlan(**plan, lake=self.settings.lake, feeds=tuple(self.feeds))

    def _bus(self) -> dict[str, Any]:
        return {
            "bus": self.stores.bus, "cache": self.stores.cache, "partitions": self.settings.partitions,
            "instruments": self.instruments, "sessions": self.sessions, "log_level": self.settings.log_level,
        }  # fmt: skip

    def _environment(self, **more: str) -> dict[str, str]:
        return {logs.FOLDER: str(self.settings.logs), **more}

    def _exchange(self, name: str, port: int) -> Part:
        tape, source = self._tape, self.feeds[name]
        speed = tape.speed if tape else None if source.speed == "max" else float(source.speed)
        plan = ExchangePlan(
            port=port,
            dialect=source.dialect,
            api_key=DEMO_KEY,
            access_token=DEMO_TOKEN,
            instruments=self.instruments,
            sessions=self.sessions,
            recording=str(tape.recording) if tape else None,
            day=tape.day if tape else None,
            seed=source.seed,
            begin=self._begin,
            bus=self.stores.bus,
            partitions=self.settings.partitions,
            speed=speed,
            hold=tape is not None,
            log_level=self.settings.log_level,
        )
        return Part(
            name=f"exchange-{name}", make=Exchange, plan=plan, asynchronous=True, environment=self._environment()
        )

    def _feed(self, number: int, name: str, source: Source) -> Part:
        simulated = source.kind == "simulated"
        key, token = (SecretStr(DEMO_KEY), SecretStr(DEMO_TOKEN)) if simulated else account(self.settings)
        plan = FeedPlan(
            **self._bus(),
            name=name,
            source=number,
            vendor=source.dialect if simulated else source.kind,
            url=source.url or (f"ws://127.0.0.1:{self._exchanges[name]}/" if simulated else Kite.stream),
            api_key=key,
            access_token=token,
            login=LOGIN,
            mode=source.mode,
            grace=int(self.settings.feeds.grace_seconds * SECOND),
            mute_after=int(source.mute_after_seconds * SECOND),
            tape=simulated,
            hold=self._tape is not None,
            quarantine=str(self.settings.quarantine),
        )
        share = self.settings.actors.feed
        return Part(
            name=f"feed-{name}",
            make=Feed,
            plan=plan,
            asynchronous=True,
            num_cpus=share.num_cpus,
            memory=share.memory,
            environment=self._environment(),
        )

    def _candles(self) -> list[Part]:
        share = self.settings.actors.candles
        numba = self._environment(NUMBA_CACHE_DIR=str(self._run / "numba"))
        parts = []
        for k in range(share.count):
            mine = tuple(range(k, self.settings.partitions, share.count))
            plan = CandlesPlan(
                **self._bus(),
                mine=mine,
                grace=int(self.settings.feeds.grace_seconds * SECOND),
                arbitrate=self.settings.feeds.arbitrate,
                snapshot_seconds=self.settings.snapshots.seconds,
            )
            parts.append(
                Part(
                    name=f"candles-{k}",
                    make=Candles,
                    plan=plan,
                    num_cpus=share.num_cpus,
                    memory=share.memory,
                    environment=numba,
                )
            )
        return parts

    def _switch(self) -> Part:
        feeds = self.settings.feeds
        chain = order(feeds.primary, {name: source.fallback for name, source in feeds.sources.items()})
        chain = [name for name in chain if name in self.feeds]
        others = [name for name in self.feeds if name not in chain]
        numbers = {name: number for number, name in enumerate(self.feeds)}
        rules = tuple(
            Rule(
                name=name,
                source=numbers[name],
                silent_after=int(self.feeds[name].mute_after_seconds * SECOND),
                standby=name in chain,
            )
            for name in [*chain, *others]
        )
        plan = SwitchPlan(**self._bus(), rules=rules, return_after=int(feeds.return_after_seconds * SECOND))
        return Part(name="switch", make=Switch, plan=plan, environment=self._environment())

    def _archive(self) -> Part:
        plan = ArchivePlan(
            **self._bus(),
            lake=self.settings.lake,
            feeds=tuple(self.feeds),
            commit_seconds=self.settings.archive.commit_seconds,
        )
        share = self.settings.actors.archive
        return Part(
            name="archive",
            make=Archive,
            plan=plan,
            num_cpus=share.num_cpus,
            memory=share.memory,
            environment=self._environment(),
        )


def account(settings: Settings) -> tuple[SecretStr, SecretStr]:
    """API key and access token of the broker account, from the environment. Raises AuthRequired."""
    key, token = settings.secrets.kite_api_key, settings.secrets.kite_access_token
    if key is None or token is None:
        raise AuthRequired("kite", LOGIN)
    return key, token
