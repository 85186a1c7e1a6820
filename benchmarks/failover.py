"""How soon a standby takes over and how calmly the primary comes back, over 1,000 faults in market time.

Each fault is an episode of its own at a seeded moment of a session: two feeds judge their lines by `FeedWatch`, their
marks come to the log in bursts and late, as over a bus, and `Failover` decides as it reads them. The primary goes mute
on an open line, is cut, or its process dies; later it is well again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np

from benchmarks.report import Report
from market.failover import Failover, Rule, Seam
from market.feeds import FeedWatch
from market.sessions import SECOND, Sessions, session
from market.ticks import FeedState, Ticks

FAULTS = 1000
KINDS = ("mute", "cut", "dead")
BEAT = SECOND // 4
"""How often a feed looks at its lines, as `actors.feed` does."""
LATE = SECOND // 5
"""The longest a mark takes to the log and to the switch."""
DAY = session(date(2016, 8, 25))
SESSIONS = Sessions([DAY])
CALM, AFTER = 10 * SECOND, 60 * SECOND
RULES = [Rule(name="primary", source=0), Rule(name="standby", source=1)]


class Episode:
    """One fault of the primary: when it began, and what the log came to."""

    def __init__(self, rng: np.random.Generator, kind: str) -> None:
        self.kind = kind
        self.begin = int(rng.integers(DAY.open + 60 * SECOND, DAY.close - 300 * SECOND))
        self.fault = self.begin + CALM + int(rng.integers(0, SECOND))
        self.well = self.fault + int(rng.integers(6 * SECOND, 40 * SECOND))
        self.last = self.fault
        self.said = 0
        self.seams: list[Seam] = []
        self._rng = rng

    def run(self) -> None:
        """Play it to the end."""
        failover = Failover(RULES, SESSIONS)
        log = sorted((*self._marks(0), *self._marks(1)), key=lambda told: told[0])
        for _, row in log:
            failover.step(row)
            if int(row["source"][0]) == 0 and row["flags"][0] in (FeedState.MUTE, FeedState.DOWN) and not self.said:
                self.said = failover.now
            seam = failover.decide()
            if seam is not None:
                failover.switched(seam)
                self.seams.append(seam)

    def _marks(self, source: int) -> Iterator[tuple[int, Ticks]]:
        """Marks of one feed with the moment at which the switch reads them."""
        watch = FeedWatch(source, SESSIONS, 2 * SECOND)
        watch.begin(self.begin - SECOND, 1)
        watch.opened(self.begin)
        reached, now, down, gone = 0, self.begin + int(self._rng.integers(0, BEAT)), False, False
        while now < self.well + AFTER:
            away = source == 0 and self.fault <= now < self.well
            said: Ticks | None = None
            if away and self.kind == "cut" and not down:
                said, down = watch.lost(now), True
            elif away and self.kind == "dead":
                gone = True
            elif gone:  # the next incarnation
                watch = FeedWatch(source, SESSIONS, 2 * SECOND)
                said, gone = watch.begin(now, 2), False
                watch.opened(now)
            else:
                if not away:
                    if down:
                        watch.opened(now)
                        down = False
                    watch.data(now)
                    if source == 0 and now < self.fault:
                        self.last = now
                said = watch.step(now)
            if said is not None and len(said):
                reached = max(reached, now + int(self._rng.integers(0, LATE)))
                yield reached, said
            now += BEAT


def run(out: Report) -> None:
    """Every kind alike often; seconds of market time."""
    rng = np.random.default_rng(20160825)
    episodes = [Episode(rng, KINDS[k % len(KINDS)]) for k in range(FAULTS)]
    for one in episodes:
        one.run()
    for kind in KINDS:
        mine = [e for e in episodes if e.kind == kind]
        taken = [next(s for s in e.seams if s.new == "standby") for e in mine]
        back = [next((s for s in e.seams if s.reason == "return"), None) for e in mine]
        told = [e.said - e.last for e in mine if e.said and kind != "dead"]
        _distribution(out, f"{kind}: last data to MUTE or DOWN", told)
        _distribution(out, f"{kind}: last data to takeover", [s.at - e.last for s, e in zip(taken, mine, strict=True)])
        known = [s.at - e.said for s, e in zip(taken, mine, strict=True) if e.said and kind != "dead"]
        _distribution(out, f"{kind}: MUTE or DOWN to takeover", known)
        calm = [s.at - e.well for s, e in zip(back, mine, strict=True) if s is not None]
        _distribution(out, f"{kind}: well again to return", calm)
    out.add("all", "faults", len(episodes))
    out.add("all", "switches a fault", sum(len(e.seams) - 1 for e in episodes) / len(episodes))


def _distribution(out: Report, case: str, times: list[int]) -> None:
    if not times:
        return
    seconds = np.array(times) / SECOND
    for name, value in (
        ("median s", np.median(seconds)),
        ("p99 s", np.percentile(seconds, 99)),
        ("worst s", max(seconds)),
    ):
        out.add(case, name, float(value))
