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
from cluster.chaos.check import Finding, Outages, check_candles, check_mended, check_received, check_ticks
from cluster.chaos.injuries import Injury, Kill, drawn
from cluster.chaos.mend import mend
from cluster.chaos.victims import House, back_after, commits
from cluster.instance import Instance
from cluster.replay import Progress, private, sessions_around, until_archived, until_committed
from cluster.settings import Settings, temporary
from cluster.tapes import Tape
from market.instruments import Instrument
from market.records import Record
from market.repair import SETTLED
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
FEWEST = 4
"""Minutes of a market that does not wait; the vendor's history has none of the last two."""
REFUSALS = {"too_many": "429", "broken": "503"}
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
        settings = private(settings, folder, folder / "lake")
        if pair is not None:
            pair.start()
            known = settings.secrets.model_copy(update={"bus_url": SecretStr(pair.url)})
            settings = settings.model_copy(update={"secrets": known})
        day = Day(settings, folder, seed, minutes, waits)
        tormentor = day.play(Instance(settings, folder / "run", say), pair, rng, most, progress, say)
        finding = day.check()
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


class Day:
    """One made-up day: played into an empty lake, then compared with it."""

    def __init__(self, settings: Settings, folder: Path, seed: int, minutes: float, waits: bool) -> None:
        self._settings, self._lake, self._waits = settings, folder / "lake", waits
        self._bars = market.bars(seed)
        market.record(folder / "bars.parquet", self._bars)
        self._session, self._sessions = sessions_around(market.DAY)
        speed = market.MINUTES / minutes if waits else PACE
        self._tape = Tape(recording=folder / "bars.parquet", day=market.DAY, speed=speed, hold=waits)
        self._instruments = recordings.universe(recordings.read(self._tape.recording, market.DAY))
        self._told = market.MINUTES if waits else FEWEST + int(minutes * PACE)
        self._outages = Outages([])
        self._injected: dict[str, int] = {}

    def play(
        self, instance: Instance, pair: RedisPair | None, rng: random.Random, most: int, progress: Progress,
        say: Callable[[str], None],
    ) -> Tormentor:  # fmt: skip
        """The day, with what is done to it; the instance is closed afterwards. Raises LineDown."""
        from cluster.wiring import Wiring

        tormentor: Tormentor | None = None
        try:
            instance.open_stores()
            instance.open_ray(dashboard=False)
            given = {"instruments": self._instruments, "sessions": list(self._sessions), "tape": self._tape}
            wiring = Wiring(self._settings, instance.stores, **given)
            parts = wiring.parts()
            instance.supervise(wiring.supervisor(), parts)
            house = House(instance, parts, pair)
            tormentor = Tormentor(house, rng, say, most, self._waits)
            opens, closes = self._session.open, self._session.close
            if self._waits:
                until_archived(instance, opens, closes, progress, tormentor.turn)
                return tormentor
            until = opens + self._told * MINUTE
            until_committed(instance, opens, until, progress, tormentor.turn)
            self._outages = house.outages()
            mend(house, self._settings, self._instruments, until, say)
            self._injected = house.injected()
            tormentor.faults |= {
                f"{status} from REST": self._injected.get(what, 0) for what, status in REFUSALS.items()
            }
            return tormentor
        finally:
            if tormentor is not None:
                tormentor.end()
            instance.close()

    def check(self) -> Finding:
        """What the lake holds against what it must."""
        finding, truth = Finding(), market.candles(self._bars)
        sent = packets(recordings.tape(self._tape.recording, self._session), self._instruments)
        if self._waits:
            check_candles(self._lake, truth, finding)
            check_ticks(self._lake, sent, finding)
            return finding
        grace = pd.Timedelta(seconds=self._settings.feeds.grace_seconds)
        check_received(self._lake, sent, market.OPEN, self._told, grace, self._outages, self._injected, finding)
        mended = market.OPEN + pd.Timedelta(self._told * MINUTE - SETTLED, unit="ns")
        check_mended(self._lake, truth, mended, finding)
        return finding


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
