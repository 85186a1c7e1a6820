"""Run: one seeded day of chaos, from the empty lake to the verdict."""

from __future__ import annotations

import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import SecretStr

from adapters import recordings
from adapters.redis_pair import RedisPair
from cluster.chaos import market
from cluster.chaos.check import Finding, check_candles, check_received, check_ticks
from cluster.chaos.injuries import Injury, Kill, drawn
from cluster.chaos.victims import House, back_after, commits
from cluster.instance import Instance
from cluster.replay import Progress, private, sessions_around, until_archived, until_committed
from cluster.settings import Settings, temporary
from cluster.tapes import Tape
from market.instruments import Instrument
from market.records import Record
from market.sessions import MINUTE
from market.tape import Tape as Packets

FIRST, LAST = 0.01, 0.97
"""The parts of the session before and behind which nobody is hurt."""
SHORTEST, LONGEST = 0.3, 2.0
"""Seconds between two injuries."""
AT_ONCE = 2
FAULTS_A_MINUTE = 40
WATCHED = 0.5
"""The share of kills with nothing else going on after which everybody waits until the next candle is committed."""
PATIENCE_SECONDS = 30.0
"""After the last candle of the day none comes."""
PAIRED = 0.25
"""The share of runs in which the bus is a pair behind Sentinel."""
WAITING = 0.5
"""The share of runs in which the market waits for its listeners; in the others the wire is rough too."""
PACE = 20.0
"""Times real time, of a market that does not wait: at this pace 3 s of silence are 150 ms."""
BUS_MEMORY = 256 << 20


class Outcome(Record):
    """What a run came to. `waits`: the market waited for us, so nothing may be missing. `faults` by kind; `recoveries`:
    seconds from a kill to the next committed candle, by victim; `rows` compared, by table; `explained`: rows that are
    not as sent, by reason.
    """

    seed: int
    paired: bool
    waits: bool
    faults: dict[str, int]
    recoveries: dict[str, tuple[float, ...]]
    rows: dict[str, int]
    explained: dict[str, int]
    differences: tuple[str, ...]
    seconds: float


class Tormentor:
    """Begins an injury every now and then, up to `AT_ONCE` at a time, and sees that they end."""

    def __init__(self, house: House, rng: random.Random, say: Callable[[str], None], most: int, waits: bool) -> None:
        self._house, self._rng, self._say, self._most, self._waits = house, rng, say, most, waits
        self._lasting: list[Injury] = []
        self._next = 0.0
        self._watched: tuple[str, float] | None = None
        self.faults: dict[str, int] = {}
        self.recoveries: dict[str, list[float]] = {}

    def turn(self, done: float) -> None:
        """What is due now; `done`: the share of the session that is folded."""
        if self._watched is not None and not self._back(*self._watched):
            return
        self._lasting = [one for one in self._lasting if not one.over(self._house)]
        enough = sum(self.faults.values()) >= self._most
        due = time.monotonic() >= self._next and len(self._lasting) < AT_ONCE
        if due and not enough and FIRST < done < LAST:
            self._next = time.monotonic() + self._rng.uniform(SHORTEST, LONGEST)
            self._hurt(drawn(self._rng, self._house.pair is not None, self._waits), done)

    def end(self) -> None:
        """Undo what still lasts."""
        for one in self._lasting:
            one.end(self._house)

    def _hurt(self, injury: Injury, done: float) -> None:
        if any(injury.kind == one.kind for one in self._lasting):
            return
        alone, at = not self._lasting, time.time()
        if said := injury.begin(self._house, self._rng):
            self._say(f"{done:5.0%} {injury.kind}: {said}")
            self.faults[injury.kind] = self.faults.get(injury.kind, 0) + 1
            if isinstance(injury, Kill) and alone and self._rng.random() < WATCHED:
                self._watched = injury.victim, at
            self._lasting.append(injury)

    def _back(self, victim: str, at: float) -> bool:
        """Whether the wait for a victim that was killed alone is over."""
        seconds = back_after(at, commits(self._house.lake, newest=3))
        if seconds is not None:
            self.recoveries.setdefault(victim, []).append(seconds)
        elif time.time() - at < PATIENCE_SECONDS:
            return False
        self._watched = None
        return True


def run(
    settings: Settings,
    seed: int,
    minutes: float,
    progress: Progress,
    say: Callable[[str], None],
    most: int | None = None,
) -> Outcome:
    """Replay a made-up day within about so many minutes, hurt what runs, compare what is left.

    `most` faults; None: `FAULTS_A_MINUTE`. Raises LineDown when the platform does not come back.
    """
    most = math.ceil(minutes * FAULTS_A_MINUTE) if most is None else most
    rng = random.Random(seed)  # noqa: S311  (a draw that can be repeated, not a secret)
    paired, waits = rng.random() < PAIRED, rng.random() < WAITING
    folder = Path(tempfile.mkdtemp(prefix="bourse-", dir=temporary()))
    began = time.monotonic()
    pair = RedisPair(folder / "pair", BUS_MEMORY) if paired else None
    try:
        bars = market.bars(seed)
        market.record(folder / "bars.parquet", bars)
        session, sessions = sessions_around(market.DAY)
        speed = market.MINUTES / minutes if waits else PACE
        tape = Tape(recording=folder / "bars.parquet", day=market.DAY, speed=speed, hold=waits)
        settings = private(settings, folder, folder / "lake")
        if pair is not None:
            pair.start()
            known = settings.secrets.model_copy(update={"bus_url": SecretStr(pair.url)})
            settings = settings.model_copy(update={"secrets": known})
        instance = Instance(settings, folder / "run", say)
        tormentor: Tormentor | None = None
        try:
            instance.open_stores()
            instance.open_ray(dashboard=False)
            from cluster.wiring import Wiring

            instruments = recordings.universe(recordings.read(tape.recording, tape.day))
            given = {"instruments": instruments, "sessions": list(sessions), "tape": tape}
            wiring = Wiring(settings, instance.stores, **given)
            parts = wiring.parts()
            instance.supervise(wiring.supervisor(), parts)
            house = House(instance, parts, pair)
            tormentor = Tormentor(house, rng, say, most, waits)
            if waits:
                until_archived(instance, session.open, session.close, progress, tormentor.turn)
            else:
                told = 1 + int(minutes * PACE)
                until_committed(instance, session.open, session.open + told * MINUTE, progress, tormentor.turn)
                outages, injected = house.outages(), house.injected()
        finally:
            if tormentor is not None:
                tormentor.end()
            instance.close()
        finding, sent = Finding(), packets(recordings.tape(tape.recording, session), instruments)
        if waits:
            check_candles(folder / "lake", market.candles(bars), finding)
            check_ticks(folder / "lake", sent, finding)
        else:
            grace = pd.Timedelta(seconds=settings.feeds.grace_seconds)
            check_received(folder / "lake", sent, market.OPEN, told, grace, outages, injected, finding)
    finally:
        if pair is not None:
            pair.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(
        seed=seed,
        paired=paired,
        waits=waits,
        faults=tormentor.faults,
        recoveries={k: tuple(v) for k, v in tormentor.recoveries.items()},
        rows=finding.rows,
        explained=finding.explained,
        differences=tuple(finding.differences),
        seconds=time.monotonic() - began,
    )


def packets(tape: Packets, instruments: Sequence[Instrument]) -> pd.DataFrame:
    """Every packet of a tape as the table `ticks` must hold it: symbol, at, price in 1/10,000, day_volume."""
    sent = tape.between(tape.session.open, tape.session.close)
    symbols = np.array([i.symbol for i in instruments])
    return pd.DataFrame(
        {
            "symbol": symbols[sent["instrument"]],
            "at": pd.to_datetime(sent["at"], unit="ns", utc=True),
            "price": sent["price"],
            "day_volume": sent["day_volume"],
        }
    )
