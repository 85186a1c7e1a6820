"""Injuries: what is done to a running instance. Each begins, lasts, and is ended by us or mended by the platform."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from adapters.redis_line import RedisLine
from cluster.chaos.victims import House
from market.errors import LineDown

if TYPE_CHECKING:
    from ray.actor import ActorHandle

KILLED = ("feed", "candles", "archive", "supervisor", "exchange", "market", "switch", "bus", "cache")
PAUSED = ("feed", "candles", "archive", "supervisor")
PAUSE_SECONDS = 6.5
"""Longer than the lease of an owner, 5 s."""
OUT_OF_ROOM_SECONDS = 2.0
LARGEST_CUT = 64
ENTRY = re.compile(rb"\*\d+\r\n\$\d+\r\n")
"""How a command begins. Source: redis.io/docs/reference/protocol-spec."""

LONGEST_ENTRY = 1 << 20


class Injury(ABC):
    """One fault. `begin` says what it did, or "" where there is nothing to do it to; `over` once it is past."""

    kind = ""

    @abstractmethod
    def begin(self, house: House, rng: random.Random) -> str:
        """Do it."""

    def over(self, house: House) -> bool:
        """Whether it is past; called about five times a second."""
        return True

    def end(self, house: House) -> None:  # noqa: B027  (most faults leave nothing to undo)
        """Undo what would outlast the run."""


class Kill(Injury):
    """kill -9 of one process; the platform starts it again."""

    def __init__(self, victim: str) -> None:
        self.kind = f"kill {victim}"
        self.victim = victim

    def begin(self, house: House, rng: random.Random) -> str:
        """The process is gone when this returns."""
        one = house.find(self.victim)
        if one is None:
            return ""
        one.kill()
        with contextlib.suppress(psutil.TimeoutExpired):
            one.wait(5)
        return f"{self.victim} ({one.pid}) killed"


class Pause(Injury):
    """SIGSTOP past the lease; in an owner's place a second one may believe that it owns the partition."""

    def __init__(self, victim: str, rival: bool = False) -> None:
        self.kind = f"pause {victim}" + (" beside a rival" if rival else "")
        self.victim, self._with_rival = victim, rival
        self._one: psutil.Process | None = None
        self._until = 0.0
        self._rival: ActorHandle | None = None

    def begin(self, house: House, rng: random.Random) -> str:
        """It stands still from now on."""
        self._one = house.find(self.victim)
        if self._one is None:
            return ""
        self._one.suspend()
        self._until = time.monotonic() + PAUSE_SECONDS
        if self._with_rival:
            self._rival = house.rival(self.victim)
        return f"{self.victim} ({self._one.pid}) paused"

    def over(self, house: House) -> bool:
        """Awake again; a rival works on beside it for as long as the pause took, and is killed then."""
        now = time.monotonic()
        if now < self._until:
            return False
        if self._one is not None:
            self._resume()
            if self._rival is not None:
                self._until = now + PAUSE_SECONDS
                return False
        self.end(house)
        return True

    def end(self, house: House) -> None:
        """Wake it, and end its rival."""
        self._resume()
        if self._rival is not None:
            house.dismiss(self._rival)
            self._rival = None

    def _resume(self) -> None:
        if self._one is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._one.resume()
            self._one = None


class Cut(Injury):
    """The bus killed, and its append-only file cut in the middle of its last entry, as a power cut leaves it."""

    kind = "cut the bus's file"

    def begin(self, house: House, rng: random.Random) -> str:
        """The file is shorter before anybody can start the server again."""
        file = house.data / "bus" / "appendonly.aof"
        one = house.find("bus")
        if one is None or not file.exists():
            return ""
        one.kill()
        with contextlib.suppress(psutil.TimeoutExpired):
            one.wait(5)
        return cut(file, rng)


def cut(file: Path, rng: random.Random) -> str:
    """Take the end of its last entry off an append-only file, up to `LARGEST_CUT` bytes; "" where it has no entry yet.

    What a rewrite wrote stands on the disk before it takes the place of the file: no power cut shortens that.
    """
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(max(size - LONGEST_ENTRY, 0))
        end = opened.read()
        begun = [found.start() for found in ENTRY.finditer(end)]
        if not begun:
            return ""
        gone = rng.randint(1, min(len(end) - begun[-1] - 1, LARGEST_CUT))
        opened.truncate(size - gone)
    return f"{gone} of {size:,} bytes cut off {file.name}"


class OutOfMemory(Injury):
    """The bus at its byte budget: it refuses every write until it is given room again."""

    kind = "fill the bus"

    def __init__(self) -> None:
        self._limit = b""
        self._until = 0.0

    def begin(self, house: House, rng: random.Random) -> str:
        """From now on it says OOM."""
        line = RedisLine(house.instance.stores.bus, 2.0)
        try:
            self._limit = line.call("CONFIG", "GET", "maxmemory")[1]
            line.call("CONFIG", "SET", "maxmemory", "1")
        except LineDown:
            return ""
        finally:
            line.close()
        self._until = time.monotonic() + OUT_OF_ROOM_SECONDS
        return "the bus takes no more bytes"

    def over(self, house: House) -> bool:
        """It has room again; a server that died meanwhile has its room from its own file."""
        if time.monotonic() < self._until:
            return False
        line = RedisLine(house.instance.stores.bus, 2.0)
        try:
            line.call("CONFIG", "SET", "maxmemory", self._limit)
        except LineDown:
            return house.find("bus") is None
        finally:
            line.close()
        return True

    def end(self, house: House) -> None:
        """Try until it has room, or is dead."""
        self._until = 0.0
        while not self.over(house):
            time.sleep(0.1)


class FileLimit(Injury):
    """The bus's process at RLIMIT_FSIZE: its next write to the log fails, and it gives up rather than lie."""

    kind = "limit the bus's file"

    def __init__(self) -> None:
        self._pid = 0

    def begin(self, house: House, rng: random.Random) -> str:
        """A few kilobytes more, and the log is full."""
        one, file = house.find("bus"), house.data / "bus" / "appendonly.aof"
        if one is None or not file.exists():
            return ""
        self._pid = one.pid
        limit = file.stat().st_size + rng.randint(100, 20_000)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return f"the bus's file may grow to {limit:,} bytes"

    def over(self, house: House) -> bool:
        """The limited server has ended; the one started in its place has no limit."""
        return not psutil.pid_exists(self._pid) or psutil.Process(self._pid).status() == psutil.STATUS_ZOMBIE

    def end(self, house: House) -> None:
        """Lift it from a server that never reached it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class KillPrimary(Injury):
    """The primary of the pair, killed or frozen past the switch; it comes back as the other's replica."""

    def __init__(self, freeze: bool = False) -> None:
        self.kind = "freeze the primary" if freeze else "kill the primary"
        self._freeze = freeze
        self._one: psutil.Process | None = None

    def begin(self, house: House, rng: random.Random) -> str:
        """Sentinel has to notice."""
        if house.pair is None:
            return ""
        try:
            self._one = psutil.Process(house.pair.primary())
        except LineDown:
            return ""
        if self._freeze:
            self._one.suspend()
        else:
            self._one.kill()
        return f"the primary ({self._one.pid}) {'frozen' if self._freeze else 'killed'}"

    def over(self, house: House) -> bool:
        """Another is primary, and the old one stands behind it."""
        if house.pair is None or self._one is None:
            return True
        try:
            if house.pair.primary() == self._one.pid:
                return False
        except LineDown:
            return False
        self.end(house)
        return True

    def end(self, house: House) -> None:
        """Wake or restart it."""
        if self._freeze and self._one is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._one.resume()
        if house.pair is not None:
            house.pair.mend()


class KillSentinel(Injury):
    """One of the three watchers; two are still a majority."""

    kind = "kill a sentinel"

    def begin(self, house: House, rng: random.Random) -> str:
        """It is started again at once."""
        if house.pair is None:
            return ""
        pids = [pid for name, pid in house.pair.pids().items() if name.startswith("sentinel")]
        if len(pids) < 3:
            return ""
        psutil.Process(rng.choice(pids)).kill()
        house.pair.mend()
        return "a sentinel killed"


class Rough(Injury):
    """The vendor's wire: mute, cut, refusing, late, doubled, out of order, damaged, or under another clock."""

    def __init__(self, kind: str, order: Mapping[str, Any], seconds: float) -> None:
        self.kind, self._order, self._seconds = kind, dict(order), seconds
        self._until = 0.0

    def begin(self, house: House, rng: random.Random) -> str:
        """Order it of the simulated exchange."""
        self._until = time.monotonic() + self._seconds
        return (
            f"{self._order} for {self._seconds:.1f} s"
            if house.order({**self._order, "seed": rng.randrange(99)})
            else ""
        )

    def over(self, house: House) -> bool:
        """The wire is well again."""
        return time.monotonic() >= self._until and house.order(WELL)

    def end(self, house: House) -> None:
        """Make it well, if the exchange is there to hear it."""
        house.order(WELL)


WELL = {
    "mute": False, "refuse": False, "skew_seconds": 0.0, "drop": 0.0, "duplicate": 0.0, "delay": 0.0, "reorder": 0.0,
    "corrupt": 0.0, "too_many": 0.0, "broken": 0.0,
}  # fmt: skip
ROUGH: dict[str, dict[str, Any]] = {
    "mute line": {"mute": True},
    "cut lines": {"cut": True},
    "refused lines": {"refuse": True, "cut": 1011},
    "dropped frames": {"drop": 0.1},
    "doubled frames": {"duplicate": 0.5},
    "delayed frames": {"delay": 0.2, "delay_steps": 1},
    "late frames": {"delay": 0.1, "delay_steps": 8},
    "frames out of order": {"reorder": 0.2},
    "damaged frames": {"corrupt": 0.1},
    "a clock 2 s ahead": {"skew_seconds": 2.0},
    "a clock 2 s behind": {"skew_seconds": -2.0},
}


def drawn(rng: random.Random, pair: bool, waits: bool = True) -> Injury:
    """The next injury of a run; `pair`: the bus is a pair behind Sentinel; `waits`: the market waits for us, so that
    nothing may be missing, and its wire is left alone.
    """
    if not waits and rng.random() < 0.7:
        kind = rng.choice(list(ROUGH))
        return Rough(kind, ROUGH[kind], rng.uniform(0.3, 2.0))
    kills = [k for k in KILLED if not (pair and k == "bus") and (waits or k != "exchange")]
    draw = rng.random()
    if draw < 0.5:
        return Kill(rng.choice(kills))
    if draw < 0.68:
        victim = rng.choice(PAUSED)
        return Pause(victim, rival=victim in ("candles", "archive") and rng.random() < 0.5)
    if pair:
        return rng.choice([lambda: KillPrimary(), lambda: KillPrimary(freeze=True), KillSentinel])()
    return rng.choice([Cut, OutOfMemory, FileLimit])()
