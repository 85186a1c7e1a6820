"""Plans: what each actor is told when it is made, as plain values. `cluster` fills them in; an actor asks nobody."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import SecretStr

from adapters.logins import Credentials
from adapters.traces import TracesPlan
from market.failover import Rule
from market.instruments import Instrument
from market.records import Record
from market.sessions import MINUTE, Session
from market.signals import Rules


class BusPlan(Record):
    """What every actor on the bus needs.

    It crosses processes compressed: Ray keeps an actor's arguments beside its definition up to 100 kB, and an actor
    with more of them cannot start again once its process has died. Of two years the sessions alone are 80 kB.
    """

    bus: str
    cache: str
    partitions: int
    instruments: tuple[Instrument, ...]
    sessions: tuple[Session, ...]
    log_level: str = "info"

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return _unpacked, (zlib.compress(pickle.dumps((type(self), dict(self)))),)


class FeedPlan(BusPlan):
    """One broker account. `tape`: the source is a simulated exchange, whose clock is the market's; `hold`: it
    waits for us. `account`: the name under which the account of the day stands on the bus, "" where none does;
    `credentials`: what a vendor needs that lets us log in unattended, at `root` if not at its usual REST address;
    `look_seconds`: how often the feed looks there for a new one, a new listing, an operator's wish; `traces`: where
    it tells of some of its batches.
    """

    name: str
    source: int
    vendor: str = "kite"
    url: str
    user: str = ""
    api_key: SecretStr
    access_token: SecretStr
    account: str = ""
    credentials: Credentials | None = None
    root: str = ""
    login: str
    mode: str = "full"
    grace: int
    mute_after: int
    tape: bool = False
    hold: bool = False
    quarantine: str
    look_seconds: float = 1.0
    traces: TracesPlan | None = None


class CandlesPlan(BusPlan):
    """The partitions one Candles actor owns. `snapshot_seconds`: how far a snapshot may lag."""

    mine: tuple[int, ...]
    grace: int
    arbitrate: bool = False
    snapshot_seconds: float = 5.0
    lease_seconds: float = 5.0


class AnalysisPlan(BusPlan):
    """The partitions one Analysis actor owns, and the lake it starts from.

    `patience`: ns of market time for which a minute waits for partitions that lag; None: for ever, as in a replay,
    where nothing is lost by waiting. `predictor`: the Serve application that predicts, "" for none; `horizons`: what
    it is asked for, the first one shifts the recommendation; `ask_seconds`: how long a minute waits for its answers.
    """

    mine: tuple[int, ...]
    lake: str
    patience: int | None = 3 * MINUTE
    lease_seconds: float = 5.0
    predictor: str = ""
    horizons: tuple[str, ...] = ("15m",)
    ask_seconds: float = 1.0


class SwitchPlan(BusPlan):
    """The feeds in the order of trust. `return_after`: ns of market time a feed must be well before it is trusted."""

    rules: tuple[Rule, ...]
    return_after: int
    snapshot_seconds: float = 2.0
    lease_seconds: float = 2.0


class ArchivePlan(BusPlan):
    """The lake and how often it is committed to. `tables`: which topics are archived."""

    lake: str
    feeds: tuple[str, ...]
    commit_seconds: float = 5.0
    tables: tuple[str, ...] = ("ticks", "candles")


class MarketPlan(BusPlan):
    """The read model's writer. `refresh_seconds`: a human rate; `stale_seconds`: of market time, for quotes."""

    refresh_seconds: float = 1.0
    stale_seconds: float = 60.0


class SignalsPlan(BusPlan):
    """The partitions whose scores one Signals actor turns into signals, and by which rules."""

    mine: tuple[int, ...]
    rules: Rules = Rules()
    snapshot_seconds: float = 5.0
    lease_seconds: float = 5.0


def ids(instruments: Sequence[Instrument]) -> list[int]:
    """The ids of instruments, in order."""
    return [i.id for i in instruments]


def _unpacked(packed: bytes) -> Any:
    kind, values = pickle.loads(zlib.decompress(packed))  # noqa: S301  (made by us, handed over by Ray)
    return kind.model_construct(**values)
