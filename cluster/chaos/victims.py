"""Victims: the processes of a running instance, by what they are, and the commits that show when one is back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd
import psutil

from adapters import entries
from adapters.bus import END, START, Bus
from adapters.exchange import FAULTS
from adapters.redis_pair import RedisPair
from cluster.chaos.check import Outages
from cluster.instance import Instance
from market.ticks import TICK, FeedState, Kind

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from actors.supervisor import Part

SIGNS = {
    "feed": "ray::Feed", "candles": "ray::Candles", "archive": "ray::Archive", "supervisor": "ray::Supervisor",
    "exchange": "ray::Exchange", "market": "ray::Market", "switch": "ray::Switch", "bus": "/bus/redis.conf",
    "cache": "/cache/redis.conf",
}  # fmt: skip
"""What the command line of each kind of process says."""

LARGEST = 1_000_000
SEQUENCE_BITS = 20
"""The low bits of a bus entry's packed id; above them stand the milliseconds of its server's clock."""


class House:
    """An instance as its tormentor sees it. `parts`: what the Supervisor keeps running; `pair`: the bus behind
    Sentinel, where it is one.
    """

    def __init__(self, instance: Instance, parts: Sequence[Part], pair: RedisPair | None) -> None:
        self.instance, self.pair = instance, pair
        self.data, self.lake = instance.settings.data, Path(instance.settings.lake)
        self._parts = {p.name.partition("-")[0]: p for p in parts}

    def order(self, faults: Mapping[str, Any]) -> bool:
        """Ask the simulated exchange for faults; False when it is not there."""
        url = f"http://127.0.0.1:{self.instance.settings.ports.exchange}{FAULTS}"
        try:
            return httpx.post(url, json=faults, timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def injected(self) -> dict[str, int]:
        """How many frames and calls the exchange has spoiled, by fault."""
        url = f"http://127.0.0.1:{self.instance.settings.ports.exchange}{FAULTS}"
        told: dict[str, int] = httpx.get(url, timeout=5.0).json()["injected"]
        return told

    def outages(self) -> Outages:
        """When the feed was not LIVE, by the marks on the bus; what it said last lasts for ever."""
        bus = Bus(self.instance.stores.bus)
        marks = []
        for entry in bus.range("ticks", 0, START, END, LARGEST):
            rows = entries.decode(entry.payload, TICK)
            marks += rows[rows["kind"] == Kind.MARK][["flags", "at", "quoted", "sequence"]].tolist()
        spans, since, last, incarnation = [], None, 0, 0
        for state, at, began, number in marks:
            if number != incarnation and incarnation:  # what its predecessor claimed ends with its last mark
                since = last if since is None else since
            if state == FeedState.LIVE and since is not None:
                spans.append((pd.Timestamp(since, tz="UTC"), pd.Timestamp(at, tz="UTC")))
                since = None
            elif state in (FeedState.MUTE, FeedState.DOWN):
                since = began if since is None else min(since, began)
            last, incarnation = at, number
        if since is not None:
            spans.append((pd.Timestamp(since, tz="UTC"), pd.Timestamp.max.tz_localize("UTC") - pd.Timedelta(days=1)))
        return Outages(spans)

    def rival(self, kind: str) -> ActorHandle:
        """A second actor with the plan of the first, at work."""
        from actors.supervisor import start

        part = self._parts[kind]
        handle = start(part.model_copy(update={"name": f"rival-{part.name}"}))
        handle.run.remote()
        return handle

    def dismiss(self, rival: ActorHandle) -> None:
        """Kill a rival for good."""
        import ray

        ray.kill(rival, no_restart=True)

    def find(self, kind: str) -> psutil.Process | None:
        """The living process of a kind; None while there is none."""
        for one in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                alive = one.status() != psutil.STATUS_ZOMBIE
                if alive and SIGNS[kind] in " ".join(one.cmdline()) and "redis-check" not in one.name():
                    return one
        return None


def commits(lake: Path, newest: int | None = None) -> list[tuple[float, int]]:
    """Each commit of candles, or the newest few: when it was made, Unix seconds, and the newest bus time in it, ms."""
    found = []
    for file in sorted((lake / "candles" / "_delta_log").glob("*.json"))[-newest if newest else None :]:
        actions: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines() if line]
        cursors = [a["txn"]["version"] for a in actions if "txn" in a]
        if cursors:
            found.append((file.stat().st_mtime, max(cursors) >> SEQUENCE_BITS))
    return found


def back_after(kill: float, made: list[tuple[float, int]]) -> float | None:
    """Seconds from a kill to the first commit of a candle that came onto the bus behind it; None when none did."""
    later = [at for at, newest in made if newest > kill * 1000 and at > kill]
    return min(later) - kill if later else None
