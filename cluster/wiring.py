"""Wiring: from the settings to the plan of every part. Hands each shell its neighbours; of all that is opened, only the
file of notices is read here, once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from pydantic import SecretStr

from actors.analysis import Analysis
from actors.archive import Archive
from actors.candles import Candles
from actors.exchange import Exchange, ExchangePlan
from actors.feed import Feed
from actors.history import SPARE
from actors.ipo_site import IpoSite, IpoSitePlan
from actors.market import Market
from actors.plans import AnalysisPlan, ArchivePlan, CandlesPlan, FeedPlan, MarketPlan, SignalsPlan, SwitchPlan
from actors.signals import Signals
from actors.supervisor import Part, SupervisorPlan
from actors.switch import Switch
from actors.timetable import Timetable, TimetablePlan
from adapters import logs
from adapters.jobs import READER
from adapters.logins import Credentials
from adapters.notices import Notices
from adapters.traces import TracesPlan
from cluster import databases
from cluster.broker import root
from cluster.databases import url
from cluster.engines import plans
from cluster.jobs import commands, training, trainings
from cluster.revision import revision
from cluster.secrecy import signing
from cluster.settings import Settings, Source, private_folder, temporary
from cluster.stores import Stores
from cluster.tapes import Tape
from market.accounts import login
from market.codecs import Account
from market.failover import Rule, order
from market.features import MEMORY
from market.holidays import sessions_of
from market.instruments import Instrument
from market.labels import HORIZONS
from market.sessions import MINUTE, SECOND, Session, exchange_of
from market.vendors import VENDORS
from serve_app.access import AccessPlan
from serve_app.ensembles import model_of
from serve_app.follow import GatewayPlan
from serve_app.predictor import APP, PredictorPlan, Tuning

DEMO_KEY = "demo"
DEMO_TOKEN = "demo-access-token"  # noqa: S105  (of the simulated exchange, on loopback)
LOGIN = "start the demo again: its exchange takes only the demo's own token"
HORIZON_DAYS = 400
RECORDS_SECONDS = 30 * 86_400.0
"""So long alerts and the ledger of jobs stay on the bus."""
LETTERS_SECONDS = 86_400.0
"""So long what owners of accounts are to be told waits on the bus."""
SHADOWS_SECONDS = 3 * 86_400.0
"""So long what challengers said unseen waits on the bus for the job that scores it."""
LEAD = 15 * MINUTE
"""The demo of a market with a long pre-open begins so long before the open."""
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
        *,
        instruments: Sequence[Instrument] | None = None,
        sessions: Sequence[Session] | None = None,
        tape: Tape | None = None,
        exchange_port: int | None = None,
    ) -> None:
        self.settings, self.stores, self._tape = settings, stores, tape
        self.instruments = tuple(instruments if instruments is not None else settings.instruments())
        today = date.today()
        self._span = today - timedelta(days=HORIZON_DAYS), today + timedelta(days=HORIZON_DAYS)
        self._exchange_name = exchange_of(i.symbol for i in self.instruments)
        self._notices = tuple(Notices(settings.data).read())
        given = sessions if sessions is not None else sessions_of(self._exchange_name, *self._span, self._notices)
        self.sessions = tuple(given)
        begun = (max(s.preopen, s.open - LEAD) for s in self.sessions if s.date <= today)
        self._begin = max(begun, default=0)
        self._port = exchange_port or settings.ports.exchange
        primary = settings.feeds.primary
        # A recorded day waits for one reader, the primary; a live market has all of them.
        self.feeds = {primary: settings.feeds.sources[primary]} if tape else dict(settings.feeds.sources)
        """The feeds that run; a feed's number in the log is its place here."""
        self._exchanges = {primary: self._port} if tape else exchange_ports(self.feeds, settings, self._port)

    def parts(self, *, read_model: bool = True, features: bool = True) -> list[Part]:
        """Everything the Supervisor keeps running, in the order in which it starts."""
        parts = [self._exchange(name, port) for name, port in self._exchanges.items()]
        parts += self._candles()
        parts += self._analysis() if features else []
        parts += [self._signals()] if features else []
        parts.append(self._archive(features=features))
        if read_model:
            parts.append(
                Part(name="market", make=Market, plan=MarketPlan(**self._bus()), environment=self._environment())
            )
            parts.append(self._switch())
        parts += [self._feed(number, name, source) for number, (name, source) in enumerate(self.feeds.items())]
        if read_model and self._tape is None:
            parts += [self._ipo_site()] if self.settings.ipo_demo else []
            parts.append(self._timetable())
        return parts

    def supervisor(self, *, features: bool = True, database: bool = False) -> SupervisorPlan:
        """What the Supervisor may trim, the disk that must not fill up, and the database if it is to watch it."""
        keep = self.settings.retention
        return SupervisorPlan(
            bus=self.stores.bus,
            cache=self.stores.cache,
            database=SecretStr(databases.url(self.settings)) if database else None,
            partitions=self.settings.partitions,
            bus_folder=str(self.settings.bus_folder) if self.settings.bus_folder else None,
            readers={
                "ticks": ("candles", "archive-ticks"),
                "candles": ("archive-candles", *(("analysis",) if features else ())),
                "analysis": ("archive-analysis",),
                "scores": ("archive-scores", *(("signals",) if features else ())),
                "signals": ("archive-signals",),
                "shadows": (),
                "alerts": (),
                "issues": (),
                "accounts": (),
                "jobs": (READER,),
            },
            keep_seconds={
                "ticks": keep.ticks_minutes * 60.0,
                "candles": keep.candles_days * 86_400.0,
                "analysis": keep.features_minutes * 60.0,
                "scores": keep.features_minutes * 60.0,
                "signals": RECORDS_SECONDS,
                "shadows": SHADOWS_SECONDS,
                "alerts": RECORDS_SECONDS,
                "issues": RECORDS_SECONDS,
                "accounts": LETTERS_SECONDS,
                "jobs": RECORDS_SECONDS,
            },
            log_level=self.settings.log_level,
        )

    def gateway(self) -> GatewayPlan:
        """What each replica of the gateway is told."""
        built_in = sessions_of(self._exchange_name, CALENDAR, self._span[1], self._notices)
        known = {s.date: s for s in (*built_in, *self.sessions)}
        plan = {**self._bus(), "sessions": tuple(known[day] for day in sorted(known))}
        return GatewayPlan(
            **plan,
            lake=self.settings.lake,
            feeds=tuple(self.feeds),
            notices=self._notices,
            predictor=True,
            pages=str(self.settings.data / "ipo" / "pages"),
            trainings={model_of(horizon): training(horizon) for horizon in HORIZONS},
            doors=self.settings.doors,
            tiers=self.settings.tiers,
            replicas=self.settings.gateway.replicas,
            compress=self.settings.gateway.compress,
            traces=self._traces(),
            access=AccessPlan(
                database=SecretStr(url(self.settings)),
                secrets=signing(self.settings),
                demo=self.settings.demo,
                registration=self.settings.access.registration,
            ),
        )

    def predictor(self) -> dict[str, Any]:
        """What the predictor's application is built from."""
        size = self.settings.predictor
        plan = PredictorPlan(
            bus="" if self.settings.secrets.bus_url else self.stores.bus,
            cache="" if self.settings.secrets.cache_url else self.stores.cache,
            registry="" if self.settings.secrets.database_url else url(self.settings),
            models=str(self.settings.models),
            symbols=tuple(one.symbol for one in self.instruments),
            engines=tuple(plans(self.settings, "").values()),
            horizons=size.horizons,
            threads=size.threads,
            poll_seconds=size.poll_seconds,
            log_level=self.settings.log_level,
            revision=revision(),
        )
        tuning = size.model_dump(include=set(Tuning.model_fields))
        return {
            "plan": plan.model_dump_json(exclude={"engines": {"__all__": {"key"}}}),
            "tuning": tuning,
            "replicas": size.replicas,
            "num_cpus": size.num_cpus,
            "environment": self._environment(),
        }

    def remembered(self) -> tuple[Session, ...]:
        """Our sessions and those before them that features remember."""
        first = min((s.date for s in self.sessions), default=self._span[0])
        back = first - timedelta(days=int(MEMORY["1d"] * SPARE * 365 / 245))
        known = {s.date: s for s in (*sessions_of(self._exchange_name, back, first, self._notices), *self.sessions)}
        return tuple(known[day] for day in sorted(known))

    def _bus(self) -> dict[str, Any]:
        return {
            "bus": self.stores.bus, "cache": self.stores.cache, "partitions": self.settings.partitions,
            "instruments": self.instruments, "sessions": self.sessions, "log_level": self.settings.log_level,
        }  # fmt: skip

    def _traces(self) -> TracesPlan | None:
        said = self.settings.traces
        return TracesPlan(endpoint=said.endpoint, sample=said.sample) if said.endpoint else None

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
            begin=0 if tape else self._begin,
            bus=self.stores.bus,
            partitions=self.settings.partitions,
            speed=speed,
            hold=tape is not None and tape.hold,
            log_level=self.settings.log_level,
        )
        return Part(
            name=f"exchange-{name}", make=Exchange, plan=plan, asynchronous=True, environment=self._environment()
        )

    def _feed(self, number: int, name: str, source: Source) -> Part:
        simulated = source.kind == "simulated"
        key, token = SecretStr(DEMO_KEY), SecretStr(DEMO_TOKEN)
        if not simulated:
            mine = account(self.settings, source.kind)
            key, token = mine.api_key, mine.access_token
        plan = FeedPlan(
            **self._bus(),
            name=name,
            source=number,
            vendor=source.vendor,
            url=self._url(name, source),
            user="" if simulated else mine.user,
            api_key=key,
            access_token=token,
            account="" if simulated else source.kind,
            credentials=None if simulated else unattended(self.settings, source.kind),
            root="" if simulated or source.url is None else root(source),
            login=LOGIN if simulated else login(source.kind).how,
            mode=source.mode,
            grace=int(self.settings.feeds.grace_seconds * SECOND),
            mute_after=int(source.mute_after_seconds * SECOND),
            tape=simulated,
            hold=self._tape is not None and self._tape.hold,
            quarantine=str(self.settings.quarantine),
            traces=self._traces(),
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

    def _url(self, name: str, source: Source) -> str:
        if name in self._exchanges:
            return f"ws://127.0.0.1:{self._exchanges[name]}/"
        return source.url or VENDORS[source.kind].stream

    def _candles(self) -> list[Part]:
        share = self.settings.actors.candles
        numba = self._environment(NUMBA_CACHE_DIR=str(private_folder(temporary() / f"bourse-{os.getuid()}-numba")))
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

    def _analysis(self) -> list[Part]:
        share = self.settings.actors.analysis
        parts = []
        for k in range(share.count):
            plan = AnalysisPlan(
                **{**self._bus(), "sessions": self.remembered()},
                mine=tuple(range(k, self.settings.partitions, share.count)),
                lake=self.settings.lake,
                # A day that is only replayed has nobody to ask.
                predictor="" if self._tape is not None and self._tape.hold else APP,
                horizons=tuple(dict.fromkeys((self.settings.signals.horizon, *self.settings.predictor.horizons))),
                **({"patience": None} if self._tape else {}),
            )
            name, environment = f"analysis-{k}", self._environment()
            part = Part(
                name=name,
                make=Analysis,
                plan=plan,
                num_cpus=share.num_cpus,
                memory=share.memory,
                environment=environment,
            )
            parts.append(part)
        return parts

    def _signals(self) -> Part:
        plan = SignalsPlan(**self._bus(), mine=tuple(range(self.settings.partitions)), rules=self.settings.signals)
        return Part(name="signals", make=Signals, plan=plan, environment=self._environment())

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

    def _archive(self, *, features: bool) -> Part:
        plan = ArchivePlan(
            **self._bus(),
            lake=self.settings.lake,
            feeds=tuple(self.feeds),
            commit_seconds=self.settings.archive.commit_seconds,
            tables=("ticks", "candles", "analysis", "scores", "signals") if features else ("ticks", "candles"),
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

    def _calendar(self, exchange: str) -> tuple[Session, ...]:
        own = exchange == self._exchange_name
        return self.sessions if own else tuple(sessions_of(exchange, *self._span, self._notices))

    def _ipo_site(self) -> Part:
        plan = IpoSitePlan(
            port=self.settings.ports.ipo_site,
            seed=self.settings.ipo.seed,
            sessions=self._calendar("NSE"),
            log_level=self.settings.log_level,
        )
        return Part(name="ipo-site", make=IpoSite, plan=plan, asynchronous=True, environment=self._environment())

    def _timetable(self) -> Part:
        own = {"exchange": self._exchange_name}
        named = {**trainings(), **self.settings.timetable}.items()
        jobs = {n: job if "exchange" in job.model_fields_set else job.model_copy(update=own) for n, job in named}
        plan = TimetablePlan(
            bus=self.stores.bus,
            partitions=self.settings.partitions,
            jobs=jobs,
            commands=commands(self.settings.file),
            calendars={name: self._calendar(name) for name in {job.exchange for job in jobs.values()}},
            dashboard=f"http://127.0.0.1:{self.settings.ports.dashboard}",
            cluster=secrets.token_hex(8),
            tape=self.settings.feeds.sources[self.settings.feeds.primary].kind == "simulated",
            log_level=self.settings.log_level,
        )
        return Part(name="timetable", make=Timetable, plan=plan, environment=self._environment())


def exchange_ports(feeds: Mapping[str, Source], settings: Settings, first: int) -> dict[str, int]:
    """Where each simulated feed that names no exchange has its own; the first one's port is `first`."""
    own = [name for name, source in feeds.items() if source.kind == "simulated" and source.url is None]
    return dict(zip(own, [first, *range(*settings.ports.exchanges)], strict=False))


def account(settings: Settings, vendor: str) -> Account:
    """What the environment says of our account with a vendor; what it leaves out is empty."""
    mine = {name: settings.secrets.of(vendor, name) for name in ("api_key", "access_token")}
    return Account(user=settings.secrets.of(vendor, "user").get_secret_value(), **mine)


def credentials(settings: Settings, vendor: str, code: SecretStr | None = None) -> Credentials:
    """What the environment gives for a login. `code`: what the vendor's page gave."""
    named = ("api_key", "api_secret", "password", "totp_secret")
    mine = {name: settings.secrets.of(vendor, name) for name in named}
    user = settings.secrets.of(vendor, "user").get_secret_value()
    return Credentials(user=user, code=code or SecretStr(""), **mine)


def unattended(settings: Settings, vendor: str) -> Credentials | None:
    """What a feed needs to log in by itself, where the vendor lets it and the secret of its TOTP is configured."""
    given = credentials(settings, vendor)
    return given if given.totp_secret.get_secret_value() else None
