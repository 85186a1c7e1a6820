"""Settings: what cluster.yaml says, read once into one frozen record.

The file is one that `ray up` takes as it is; ours stands under its key `metadata: bourse:`. Whatever is wrong there is
one `BadSetting` of one line: the path in the file, the value, and what is allowed, which is the field's description.
Secrets and the addresses of foreign stores come from the environment alone.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator

from adapters.redis_line import ADDRESSES
from adapters.tokens import SHORTEST, checked
from cluster.document import OURS, document, ours, shown, stranger
from cluster.jobs import COMMANDS, TIMETABLE
from cluster.ports import Ports
from market.access import SLOWEST, TIERS, Tier
from market.doors import Doors
from market.engines import Engine, named
from market.errors import BadSetting, BadValue, StoreRefused
from market.instruments import Universe
from market.ipo.asking import NAMES, Asking
from market.records import Record
from market.sessions import exchange_of
from market.signals import Rules
from market.timetable import Job
from market.universes import UNIVERSES, universe
from market.vendors import PRINTERS

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MOST_FEEDS = 15
"""The candle fold keeps this many feeds apart, and one to spare."""
DEEPEST = 8
"""The longest temporary folder: HAProxy wants its sockets' paths below 98 bytes, and they lie 89 behind it."""
NOT_IN_THE_FILE = {"file", "secrets"}


def size(value: object) -> object:
    """Bytes of `512 MiB`; anything else as it is, for the validator behind to judge."""
    found = re.fullmatch(r"(\d+) ?(KiB|MiB|GiB)", value) if isinstance(value, str) else None
    return int(found[1]) * UNITS[found[2]] if found else value


def speed(value: object) -> object:
    """A factor of real time, or `max`. Raises ValueError."""
    if value == "max" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100_000):
        return value
    raise ValueError(value)


SIZE = "at least 16 MiB, written like 512 MiB or as bytes"
Bytes = Annotated[
    int,
    BeforeValidator(size),
    Field(ge=16 << 20, le=1 << 50, description=SIZE),
]
Speed = Annotated[float | Literal["max"], BeforeValidator(speed)]


class Source(Record):
    """One feed: a vendor's account, or the simulated exchange, which alone has `dialect`, `speed` and `seed`."""

    kind: Literal["simulated", "kite", "flattrade", "mstock", "polygon", "finnhub"] = Field(
        description="simulated, kite, flattrade, mstock, polygon or finnhub"
    )
    url: str | None = Field(
        default=None,
        pattern=r"^wss?://[^\s@]+$",
        description="a ws:// or wss:// address, or left out for the usual one",
    )
    fallback: str | None = Field(default=None, description="the name of another feed, or null")
    mode: Literal["full", "quote", "ltp"] = Field(default="full", description="full, quote or ltp")
    dialect: Literal["kite", "flattrade", "mstock", "polygon", "finnhub"] = Field(
        default="kite", description="kite, flattrade, mstock, polygon or finnhub"
    )
    speed: Speed = Field(default=10.0, description="a number above 0, at most 100000, or max")
    seed: int = Field(default=7, ge=0, le=2**63 - 1, description="a whole number, 0 or more")
    mute_after_seconds: float = Field(default=3.0, gt=0, le=600, description="seconds above 0, at most 600")

    @property
    def vendor(self) -> str:
        """Whose stream it speaks."""
        return self.dialect if self.kind == "simulated" else self.kind


class Feeds(Record):
    """The feeds by name and the one that counts while it lives. `grace_seconds`: so long a minute waits for ticks;
    `return_after_seconds`: so long a feed that failed must be LIVE until it is trusted again; `arbitrate`: the ticks of
    all feeds count, the first to tell wins.
    """

    primary: str = Field(default="sim", description="the name of a feed under sources")
    grace_seconds: float = Field(default=2.0, ge=0, lt=60, description="seconds, 0 to below 60")
    return_after_seconds: float = Field(default=30.0, gt=0, le=900, description="seconds above 0, at most 900")
    arbitrate: bool = Field(default=False, description="true or false")
    sources: Mapping[str, Source] = Field(
        default_factory=lambda: {"sim": Source(kind="simulated")}, description=f"1 to {MOST_FEEDS} feeds by name"
    )


class Share(Record):
    """What one actor asks of the machine it is placed on."""

    num_cpus: float = Field(default=0.0, ge=0, le=1024, description="a number, 0 to 1024")
    memory: Bytes | None = Field(default=None, description=SIZE)


class Shards(Record):
    """The same for a kind that shares the partitions among several actors."""

    count: int = Field(default=1, ge=1, le=64, description="a whole number, 1 to the number of partitions")
    num_cpus: float = Field(default=0.0, ge=0, le=1024, description="a number, 0 to 1024")
    memory: Bytes | None = Field(default=None, description=SIZE)


class Actors(Record):
    """The shares of each kind of actor."""

    feed: Share = Share()
    candles: Shards = Shards()
    analysis: Shards = Shards()
    archive: Share = Share()


class Gateway(Record):
    """The deployment that answers. A WebSocket holds one of `max_ongoing_requests` as long as it is open; `compress`:
    its frames, for clients that offer permessage-deflate.
    """

    replicas: int = Field(default=1, ge=1, le=1000, description="a whole number, 1 to 1000")
    max_ongoing_requests: int = Field(default=10_000, ge=100, description="a whole number, 100 or more")
    num_cpus: float = Field(default=0.0, ge=0, le=1024, description="a number, 0 to 1024")
    compress: bool = Field(default=False, description="true or false")


class Access(Record):
    """Who may ask. `demo`: anybody may read; null: where every feed is simulated. `registration`: anybody who comes may
    make an account.
    """

    demo: bool | None = Field(default=None, description="true, false, or null: where every feed is simulated")
    registration: bool = Field(default=True, description="true or false")


class Predictor(Record):
    """The deployment that predicts. `threads`: of the numeric libraries in each replica; the challenger answers for
    `challenger_weight` of the instruments and, with `shadow`, unseen for all; `wait_ms`: so long callers wait for each
    other.
    """

    replicas: int = Field(default=1, ge=1, le=1000, description="a whole number, 1 to 1000")
    num_cpus: float = Field(default=0.0, ge=0, le=1024, description="a number, 0 to 1024")
    threads: int = Field(default=1, ge=1, le=256, description="a whole number, 1 to 256")
    horizons: tuple[Literal["5m", "15m", "60m", "1d"], ...] = Field(
        default=("5m", "15m", "60m", "1d"), min_length=1, description="a list of 5m, 15m, 60m and 1d"
    )
    challenger_weight: float = Field(default=0.0, ge=0, le=1, description="a number, 0 to 1")
    shadow: bool = Field(default=True, description="true or false")
    wait_ms: float = Field(default=1.0, ge=0, le=100, description="milliseconds, 0 to 100")
    poll_seconds: float = Field(default=5.0, ge=0.1, le=3600, description="seconds, 0.1 to 3600")


class Stores(Record):
    """Where data lives. `data`: a folder, seen from the file; `lake`: the same, or an s3 address."""

    data: str = Field(default="data", min_length=1, description="a folder, seen from the file")
    lake: str = Field(
        default="data/lake",
        pattern=r"^(s3://[^\s@]+|[^:@]+)$",
        description="a folder, seen from the file, or s3://bucket/path without credentials",
    )
    bus_memory: Bytes = 512 << 20
    cache_memory: Bytes = 128 << 20


KEEP = "a whole number of days, 1 or more, or keep"
Days = Annotated[int, Field(ge=1, le=36_500)] | Literal["keep"]


class LakeRetention(Record):
    """How many days of sessions stay of a table of the lake, or `keep`. Of candles daily ones stay whatever is said.

    `versions_days`: so long every version of a table stays readable; one that is kept by name stays until released.
    """

    ticks_days: Days = Field(default=30, description=KEEP)
    candles_days: Days = Field(default="keep", description=KEEP)
    features_days: Days = Field(default="keep", description=KEEP)
    versions_days: int = Field(default=7, ge=1, le=3650, description="a whole number, 1 to 3650")

    def days(self, table: str) -> int | None:
        """Of a table; None: all of it stays."""
        found = getattr(self, f"{table}_days", "keep")
        return None if found == "keep" else int(found)


class Retention(Record):
    """How far back the bus reaches, what is older is in the lake; and how far back the lake does."""

    ticks_minutes: int = Field(default=60, ge=1, le=10_080, description="a whole number, 1 to 10080")
    candles_days: int = Field(default=3, ge=1, le=365, description="a whole number, 1 to 365")
    features_minutes: int = Field(default=60, ge=1, le=10_080, description="a whole number, 1 to 10080")
    lake: LakeRetention = LakeRetention()


class Archive(Record):
    """The lake's writer."""

    commit_seconds: float = Field(default=5.0, ge=0.1, le=3600, description="seconds, 0.1 to 3600")


class Snapshots(Record):
    """How far the state of a candle actor may lag behind its log."""

    seconds: float = Field(default=5.0, ge=0.1, le=3600, description="seconds, 0.1 to 3600")


class Traces(Record):
    """Where traces go, and of how many entries of a feed one is followed from the tick to the frame; off without
    `endpoint`.
    """

    endpoint: str | None = Field(
        default=None, pattern=r"^https?://[^\s@]+$", description="an address like http://127.0.0.1:4318, or null"
    )
    sample: int = Field(default=1000, ge=1, description="a whole number, 1 or more: one entry of so many")


class Ipo(Record):
    """The IPO desk. `sources` are read as each says, and none that is not named; in the `demo`, all are, from a site of
    our own that imagines issues from `seed`. A premium that moves by `spike_points` of the issue price is a spike;
    with `relative_spike` one that moves by that share of itself is, instead.
    """

    demo: bool | None = Field(
        default=None, description="true, false, or null: where all feeds are simulated, no source named"
    )
    seed: int = Field(default=7, ge=0, le=2**63 - 1, description="a whole number, 0 or more")
    sources: Mapping[str, Asking] = Field(default_factory=dict, description=f"any of {', '.join(NAMES)}")
    spike_points: float = Field(default=8.0, gt=0, le=1000, description="points of the issue price, above 0 to 1000")
    relative_spike: float | None = Field(
        default=None, gt=0, le=100, description="a share of the premium like 0.08, above 0 to 100, or null"
    )


LOCAL = Doors(hosts=("localhost", "127.0.0.1", "::1"))
"""Who calls us by another name has been sent by somebody else's."""


class Secrets(Record):
    """What the environment gives; never shown, never in the file."""

    kite_api_key: SecretStr | None = None
    kite_api_secret: SecretStr | None = None
    kite_access_token: SecretStr | None = None
    flattrade_user: SecretStr | None = None
    flattrade_api_key: SecretStr | None = None
    flattrade_api_secret: SecretStr | None = None
    flattrade_access_token: SecretStr | None = None
    mstock_user: SecretStr | None = None
    mstock_api_key: SecretStr | None = None
    mstock_password: SecretStr | None = None
    mstock_totp_secret: SecretStr | None = None
    mstock_access_token: SecretStr | None = None
    polygon_api_key: SecretStr | None = None
    finnhub_api_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    anthropic_api_key: SecretStr | None = None
    ollama_api_key: SecretStr | None = None
    ollama_url: SecretStr | None = None
    bourse_secret: SecretStr | None = None
    bus_url: SecretStr | None = None
    cache_url: SecretStr | None = None
    database_url: SecretStr | None = None

    def of(self, vendor: str, what: str) -> SecretStr:
        """One secret of a vendor, empty where the environment does not say."""
        return getattr(self, f"{vendor}_{what}", None) or SecretStr("")


class Settings(Record):
    """Everything one deployment says of itself. `file`: where it was read; `secrets`: from the environment."""

    file: Path
    secrets: Secrets = Secrets()
    universe: str | tuple[str, ...] = Field(
        default="nifty50",
        union_mode="left_to_right",
        description=f"the name of a universe ({', '.join(UNIVERSES)}) or a list of symbols like NSE:RELIANCE",
    )
    ports: Ports = Ports()
    feeds: Feeds = Feeds()
    partitions: int = Field(default=2, ge=1, le=64, description="a whole number, 1 to 64")
    actors: Actors = Actors()
    gateway: Gateway = Gateway()
    doors: Doors = LOCAL
    tiers: Mapping[str, Tier] = Field(default_factory=lambda: dict(TIERS), description="tiers by name")
    traces: Traces = Traces()
    access: Access = Access()
    predictor: Predictor = Predictor()
    stores: Stores = Stores()
    retention: Retention = Retention()
    archive: Archive = Archive()
    snapshots: Snapshots = Snapshots()
    signals: Rules = Rules()
    timetable: Mapping[str, Job] = Field(default_factory=lambda: dict(TIMETABLE), description="jobs by name")
    ipo: Ipo = Ipo()
    engines: Mapping[str, Engine] = Field(default_factory=dict, description="language models by name")
    object_store: Bytes = Field(
        default=256 << 20, ge=80 << 20, description="at least 80 MiB, written like 256 MiB or as bytes"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )

    @property
    def folder(self) -> Path:
        """Where the file lies; paths in it are seen from here."""
        return self.file.parent

    @property
    def data(self) -> Path:
        """The folder of everything that must survive."""
        return (self.folder / self.stores.data).absolute()

    @property
    def lake(self) -> str:
        """A folder's absolute path, or an s3 address."""
        lake = self.stores.lake
        return lake if "://" in lake else str((self.folder / lake).absolute())

    @property
    def bus_folder(self) -> Path | None:
        """The embedded bus's own folder, or None: `BUS_URL` names a foreign one."""
        return None if self.secrets.bus_url else self.data / "bus"

    @property
    def cache_folder(self) -> Path | None:
        """The embedded cache's own folder, or None: `CACHE_URL` names a foreign one."""
        return None if self.secrets.cache_url else self.data / "cache"

    @property
    def database_folder(self) -> Path | None:
        """The embedded database's own folder, or None: `DATABASE_URL` names a foreign one."""
        return None if self.secrets.database_url else self.data / "database"

    @property
    def simulated(self) -> bool:
        """Whether every feed is."""
        return all(source.kind == "simulated" for source in self.feeds.sources.values())

    @property
    def demo(self) -> bool:
        """Whether anybody may read."""
        return self.simulated if self.access.demo is None else self.access.demo

    @property
    def ipo_demo(self) -> bool:
        """Whether the issues are imagined: a deployment that names sources wants to have them read."""
        return self.simulated and not self.ipo.sources if self.ipo.demo is None else self.ipo.demo

    @property
    def models(self) -> Path:
        """Where the files of registered models are."""
        return self.data / "models"

    @property
    def logs(self) -> Path:
        """Where our own log files go."""
        return self.data / "logs"

    @property
    def quarantine(self) -> Path:
        """Where payloads that could not be read are kept."""
        return self.data / "quarantine"

    @property
    def run_folder(self) -> Path:
        """Sockets and what else ends with the instance: short, and of this user, these ports and this data alone.

        Two deployments that were given the same ports must not find each other's database.
        """
        whose = f"{os.getuid()}:{self.data.resolve()}".encode()
        return temporary() / f"bourse-{self.ports.base}-{blake2b(whose, digest_size=5).hexdigest()}"

    def instruments(self) -> Universe:
        """The universe the file names."""
        return universe(self.universe)

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        _check_universe(self.universe)
        _check_feeds(self.feeds)
        _check_vendors(self.feeds.sources, self.instruments())
        _check_timetable(self.timetable)
        _check_tiers(self.tiers)
        _check_ipo(self.ipo)
        named(self.engines)
        for name, shards in (("candles", self.actors.candles), ("analysis", self.actors.analysis)):
            if shards.count > self.partitions:
                allowed = f"1 to {self.partitions}, the number of partitions"
                raise BadValue(f"actors.{name}.count", shards.count, allowed)
        if len(set(self.predictor.horizons)) < len(self.predictor.horizons):
            raise BadValue("predictor.horizons", ", ".join(self.predictor.horizons), "a list with each of them once")
        if self.signals.horizon not in self.predictor.horizons:
            allowed = f"a list with {self.signals.horizon}, which the signals rest on (signals.horizon)"
            raise BadValue("predictor.horizons", ", ".join(self.predictor.horizons), allowed)
        return self


def read(path: Path | str, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a cluster file. Raises BadSetting, of one line, for whatever is wrong with it."""
    file = Path(path)
    given = ours(file, document(file))
    where = f"{file.name}: {OURS}"
    for key in NOT_IN_THE_FILE & given.keys():
        raise stranger(f"{where}.{key}", key, _keys(Settings))
    whole = {**given, "file": str(file.absolute()), "secrets": _secrets(environment)}
    try:
        # As JSON, where the strict mode takes a list for a tuple, and still no text for a number.
        settings = Settings.model_validate_json(json.dumps(whole), strict=True)
    except ValidationError as e:
        raise _first(where, given, e) from None
    except BadValue as e:
        raise BadSetting(f"{where}.{e.name}", e.value, e.allowed) from None
    return settings


def temporary() -> Path:
    """Where folders with sockets in them lie for a while: the user's choice, or /tmp where that is too deep."""
    own = Path(tempfile.gettempdir())
    return own if len(os.fsencode(own)) <= DEEPEST else Path("/tmp")  # noqa: S108  (what is in it is made ours alone)


def private_folder(path: Path, user: int | None = None) -> Path:
    """A folder that only this user enters, made or taken as it is. Raises StoreRefused when it is somebody else's."""
    user = os.getuid() if user is None else user
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        found = path.lstat()
        if not S_ISDIR(found.st_mode):
            raise StoreRefused(str(path), "something that is no folder is in its place; remove it") from None
        if found.st_uid != user:
            raise StoreRefused(str(path), f"it belongs to user {found.st_uid}; choose another ports.base") from None
        path.chmod(0o700)
    return path


def _secrets(environment: Mapping[str, str]) -> dict[str, str]:
    given = {name: environment[name.upper()] for name in Secrets.model_fields if environment.get(name.upper())}
    for name in ("bus_url", "cache_url"):
        if name in given and not re.fullmatch(r"(rediss?|redis\+sentinel|unix)://\S+", given[name]):
            raise BadSetting(name.upper(), "its value", f"an address {ADDRESSES}")
    for one in given.get("bourse_secret", "-" * SHORTEST).split(","):
        checked(one.strip())
    if "ollama_url" in given and not re.fullmatch(r"https?://[^\s@?#]+", given["ollama_url"]):
        raise BadSetting("OLLAMA_URL", "its value", "an address like http://127.0.0.1:11434")
    if not re.fullmatch(r"postgres(ql)?(\+psycopg)?://\S+", given.get("database_url", "postgresql://-")):
        raise BadSetting("DATABASE_URL", "its value", "an address postgresql://USER:PASSWORD@HOST:PORT/NAME")
    return given


def _check_universe(wanted: str | Sequence[str]) -> None:
    try:
        exchange_of(i.symbol for i in universe(wanted))
    except BadValue as e:
        places = [f"universe.{i}" for i, symbol in enumerate(wanted) if symbol == e.value]
        raise BadValue(
            places[-1] if places and not isinstance(wanted, str) else "universe", e.value, e.allowed
        ) from None


def _check_feeds(feeds: Feeds) -> None:
    sources = feeds.sources
    if not 1 <= len(sources) <= MOST_FEEDS:
        raise BadValue("feeds.sources", f"{len(sources)} feeds", f"1 to {MOST_FEEDS} feeds by name")
    if feeds.primary not in sources:
        raise BadValue("feeds.primary", feeds.primary, f"a feed under sources: {', '.join(sources)}")
    for name, source in sources.items():
        at = f"feeds.sources.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
            raise BadValue(at, name, "a name of small letters, digits, - and _, at most 31")
        others = [other for other in sources if other != name]
        if source.fallback is not None and source.fallback not in others:
            allowed = f"another feed under sources ({', '.join(others) or 'there is none'}) or null"
            raise BadValue(f"{at}.fallback", source.fallback, allowed)
        for key in ("dialect", "speed", "seed"):
            if source.kind != "simulated" and key in source.model_fields_set:
                raise BadValue(f"{at}.{key}", getattr(source, key), "only a simulated feed has one")


def _check_vendors(sources: Mapping[str, Source], instruments: Universe) -> None:
    exchanges = " and ".join(sorted({one.exchange for one in instruments}))
    able = sorted({vendor for one in instruments for vendor in one.tokens})
    at = {n: f"feeds.sources.{n}.{'dialect' if s.kind == 'simulated' else 'kind'}" for n, s in sources.items()}
    for name, source in sources.items():
        if source.vendor not in able:
            raise BadValue(at[name], source.vendor, f"a vendor with instruments of {exchanges}: {', '.join(able)}")
    # Two vendors number one trade differently, and no print is known again in a running total.
    printer = next((name for name, source in sources.items() if source.vendor in PRINTERS), None)
    for name, source in sources.items():
        if printer is not None and source.vendor != sources[printer].vendor:
            allowed = f"{sources[printer].vendor}, as the feed {printer}: what both tell would count twice"
            raise BadValue(at[name], source.vendor, allowed)


def _check_timetable(timetable: Mapping[str, Job]) -> None:
    for name, job in timetable.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise BadValue(f"timetable.{name}", name, "a name of small letters, digits and -, at most 31")
        if job.do not in COMMANDS:
            raise BadValue(f"timetable.{name}.do", job.do, f"one of {', '.join(COMMANDS)}")


def _check_ipo(desk: Ipo) -> None:
    for name in desk.sources:
        if name not in NAMES:
            raise BadValue(f"ipo.sources.{name}", name, f"one of {', '.join(NAMES)}")
    if desk.demo and desk.sources:
        raise BadValue("ipo.demo", "true", "false or null where sources are named: imagined issues among real ones")


def _check_tiers(tiers: Mapping[str, Tier]) -> None:
    for name in TIERS:
        if name not in tiers:
            raise BadValue("tiers", ", ".join(tiers), f"at least {', '.join(TIERS)}")
    for name, tier in tiers.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise BadValue(f"tiers.{name}", name, "a name of small letters, digits and -, at most 31")
        for key, value in tier:
            least = SLOWEST if key == "requests_per_second" else 1
            if value < least:
                raise BadValue(f"tiers.{name}.{key}", value, f"{least} or more")


def _first(where: str, given: dict[str, Any], wrong: ValidationError) -> BadSetting:
    """One error of many: a key that nobody knows before all others, for it explains the rest; else the deepest."""
    errors = [(e["type"], e["msg"], e["loc"], *_place(given, e["loc"])) for e in wrong.errors(include_url=False)]
    kind, message, loc, path, value = min(errors, key=lambda e: (e[0] != "extra_forbidden", -len(e[3])))
    if kind == "missing":
        path, value = [*path, str(loc[-1])], "nothing"
    at = ".".join([where, *path])
    record, allowed = _allowed(path)
    if kind == "extra_forbidden":
        return stranger(at, path[-1], _keys(record))
    if kind == "value_error" and isinstance(value, dict):
        allowed = message.removeprefix("Value error, ")
        lacking, _, said = allowed.partition(": ")
        if said and lacking in _keys(record):
            return BadSetting(f"{at}.{lacking}", "nothing", said)
    return BadSetting(at, shown(value), allowed or message)


def _place(given: Any, loc: Sequence[str | int]) -> tuple[list[str], Any]:
    """The part of a location that stands in the file, without the names of union branches, and the value there."""
    path: list[str] = []
    node = given
    for step in loc:
        known = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        if step in known:
            node = node[step]
            path.append(str(step))
    return path, node


def _allowed(path: Sequence[str]) -> tuple[type[Record], str | None]:
    """The record in which a path ends, and what is allowed at its end; None where the end is a stranger."""
    record: type[Record] = Settings
    allowed, named = None, False
    for step in path:
        if named or step.isdigit():
            allowed, named = (_mapping(record) if named else allowed), False
            continue
        field = record.model_fields.get(step)
        if field is None:
            return record, None
        named = get_origin(field.annotation) is Mapping
        record = next(_records(field.annotation), record)
        allowed = field.description or _mapping(record)
    return record, allowed


def _records(annotation: Any) -> Iterator[type[Record]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for argument in get_args(annotation):
        yield from _records(argument)


def _mapping(record: type[Record]) -> str:
    return f"a mapping of {', '.join(_keys(record))}"


def _keys(record: type[Record]) -> list[str]:
    return [key for key in record.model_fields if record is not Settings or key not in NOT_IN_THE_FILE]
