"""Replay: a recorded day through the whole live path on a private cluster, compared with the file at the end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from adapters import recordings
from adapters.bus import Bus
from adapters.lake import Lake
from adapters.notices import Notices
from adapters.schemas import candle_rows
from cluster.equality import Equality, equality
from cluster.instance import Instance, free_base
from cluster.ports import Ports
from cluster.settings import Settings, temporary
from cluster.tapes import Tape
from market.errors import BadValue, LineDown
from market.holidays import sessions_of
from market.instruments import Instrument
from market.notices import Notice
from market.sessions import MINUTE, Session, Sessions

Progress = Callable[[float, str], None]
FIELDS = ("open", "high", "low", "close", "volume")
STALLED_SECONDS = 120.0
SHOWN = 10


class Outcome:
    """What a replay found: `candles` compared, `differences` in words, `counts` by name; of features, if asked for."""

    def __init__(
        self,
        candles: int,
        differences: list[str],
        seconds: float,
        counts: dict[str, int],
        features: Equality | None = None,
    ) -> None:
        self.candles, self.differences, self.seconds, self.counts = candles, differences, seconds, counts
        self.features = features


def replay(
    settings: Settings,
    recording: Path,
    day: date,
    speed: float | None,
    lake: Path,
    progress: Progress,
    say: Callable[[str], None],
    *,
    features: bool = False,
) -> Outcome:
    """Run the day and compare the candles with the file and, if so told, the features with bulk.

    Raises BadValue (no such file or session, a lake that has it already), LineDown (it stalled).
    """
    bars = recordings.read(recording, day)
    instruments = recordings.universe(bars)
    session, sessions = sessions_around(day, Notices(settings.data).read())
    recordings.tape(recording, session)  # what cannot be played is said now, not by a tape that never starts
    if day in Lake(str(lake)).sessions("candles"):
        raise BadValue(
            "lake", str(lake), f"a lake that does not hold {day} yet: a second copy would double every candle"
        )
    folder = Path(tempfile.mkdtemp(prefix="bourse-", dir=temporary()))
    settings = private(settings, folder, lake)
    instance = Instance(settings, folder / "run", say)
    began = time.monotonic()
    from cluster.wiring import Wiring

    try:
        instance.open_stores()
        instance.open_ray(dashboard=False)
        wiring = Wiring(
            settings,
            instance.stores,
            instruments=instruments,
            sessions=list(sessions),
            tape=Tape(recording=recording, day=day, speed=speed),
        )
        parts = wiring.parts(read_model=False, features=features)
        instance.supervise(wiring.supervisor(features=features), parts)
        counts = until_archived(instance, session.open, session.close, progress)
        seconds = time.monotonic() - began
    finally:
        instance.close()
        shutil.rmtree(folder, ignore_errors=True)
    candles, differences = compare(Lake(str(lake)), bars, instruments, day)
    found = equality(Lake(str(lake)), instruments, wiring.remembered(), day) if features else None
    return Outcome(candles, differences, seconds, counts, found)


def compare(lake: Lake, bars: Any, instruments: list[Instrument], day: date) -> tuple[int, list[str]]:
    """How many of the recording's candles the lake holds equal, and every difference in words."""
    ids = {i.symbol: i.id for i in instruments}
    rows = candle_rows(lake.read_candles(None, "1m", day, day), ids)
    found = {(int(r["instrument"]), int(r["start"])): r for r in rows}
    doubled = lake.doubled("candles", day)
    differences, equal = [f"{doubled} rows of the lake stand there more than once"] if doubled else [], 0
    recorded = bars.rows
    for bar in recorded:
        key = (int(bar["instrument"]), int(bar["start"]))
        name = f"{instruments[key[0]].symbol} {np.datetime64(key[1], 'ns')}Z"
        row = found.pop(key, None)
        if row is None:
            differences.append(f"{name}: missing in the lake")
            continue
        wrong = [f"{f} {int(row[f])} instead of {int(bar[f])}" for f in FIELDS if row[f] != bar[f]]
        if wrong:
            differences.append(f"{name}: {', '.join(wrong)} (1/10,000)")
        else:
            equal += 1
    invented = [key for key, row in found.items() if row["trades"] > 0]
    differences += [
        f"{instruments[i].symbol} {np.datetime64(start, 'ns')}Z: not in the recording" for i, start in invented
    ]
    return equal, differences


def until_archived(
    instance: Instance, opens: int, closes: int, progress: Progress, each: Callable[[float], None] = lambda _: None
) -> dict[str, int]:
    """Until the tape is over and every entry is in the lake; restarts what dies on the way.

    `each` is told now and then how much of the session, 0 to 1, is folded. Returns counts by name; raises LineDown when
    nothing moves any more.
    """
    bus = Bus(instance.stores.bus)
    last, moved = -1.0, time.monotonic()
    while True:
        instance.ensure()
        parts = _parts(instance)
        feed = next((p for n, p in parts.items() if n.startswith("feed")), {})
        folded = min((p.get("market_time", 0) for n, p in parts.items() if n.startswith("candles")), default=0)
        done = max(0.0, min(1.0, (folded - opens) / (closes + MINUTE - opens))) if folded else 0.0
        trouble = next((p["trouble"] for p in parts.values() if p.get("trouble")), "")
        progress(done, trouble or f"{feed.get('ticks', 0):,} ticks")
        each(done)
        if feed.get("ended") and _archived(instance, bus, parts):
            progress(1.0, f"{feed.get('ticks', 0):,} ticks")
            return {n: int(feed.get(n, 0)) for n in ("frames", "ticks", "bad", "entries")}
        marker = (
            folded
            + sum(p.get("ticks", 0) for p in parts.values())
            + sum(p.get("market_time", 0) for n, p in parts.items() if n.startswith("analysis"))
            + sum(t["rows"] for t in parts.get("archive", {}).get("tables", {}).values())
        )
        if marker != last:
            last, moved = marker, time.monotonic()
        elif time.monotonic() - moved > STALLED_SECONDS:
            raise LineDown("replay", f"nothing moved for {STALLED_SECONDS:.0f} s ({trouble or 'no part says why'})")
        time.sleep(0.2)


def until_committed(
    instance: Instance, opens: int, until: int, progress: Progress, each: Callable[[float], None]
) -> None:
    """Until every candle that was closed by this market time, ns UTC, is in the lake, while the market goes on.

    Raises LineDown when that does not come about.
    """
    furthest, moved = 0, time.monotonic()
    while furthest < until + MINUTE:
        instance.ensure()
        parts = _parts(instance)
        folded = min((p.get("market_time", 0) for n, p in parts.items() if n.startswith("candles")), default=0)
        done = max(0.0, min(1.0, (folded - opens) / (until - opens)))
        progress(done, next((p["trouble"] for p in parts.values() if p.get("trouble")), ""))
        each(done)
        if folded > furthest:
            furthest, moved = folded, time.monotonic()
        if time.monotonic() - moved > STALLED_SECONDS:
            raise LineDown("replay", f"nothing moved for {STALLED_SECONDS:.0f} s")
        time.sleep(0.2)
    until_settled(instance, lambda: each(1.0))


def until_settled(instance: Instance, each: Callable[[], None] = lambda: None) -> None:
    """Until what is on the bus now is folded, and what that came to is in the lake, while the market goes on.

    Raises LineDown when that does not come about.
    """
    bus, began = Bus(instance.stores.bus), time.monotonic()
    ticks: dict[int, int] = {}
    candles: dict[int, int] = {}
    while time.monotonic() - began < STALLED_SECONDS:
        instance.ensure()
        each()
        parts = _parts(instance)
        with contextlib.suppress(LineDown):
            ticks = ticks or _ends(instance, bus, "ticks")
            if not candles and _reached(_read(parts), ticks):
                candles = _ends(instance, bus, "candles")
        if candles and _reached(_committed(parts, "candles"), candles):
            return
        time.sleep(0.2)
    raise LineDown("replay", f"the lake is not where the bus was {STALLED_SECONDS:.0f} s ago")


def _parts(instance: Instance) -> dict[str, dict[str, Any]]:
    return {p["actor"]: p for p in instance.status().get("parts", [])}


def _ends(instance: Instance, bus: Bus, topic: str) -> dict[int, int]:
    return {p: bus.last(topic, p) for p in range(instance.settings.partitions)}


def _read(parts: dict[str, dict[str, Any]]) -> dict[int, int]:
    """The last entry of ticks that was folded, by partition."""
    return {
        int(p): v["cursor"]
        for n, part in parts.items()
        if n.startswith("candles")
        for p, v in part.get("partitions", {}).items()
    }


def _committed(parts: dict[str, dict[str, Any]], topic: str) -> dict[int, int]:
    """The last entry that is in the lake, by partition."""
    told = parts.get("archive", {}).get("tables", {}).get(topic, {}).get("committed", {})
    return {int(p): v for p, v in told.items()}


def _reached(now: dict[int, int], ends: dict[int, int]) -> bool:
    return all(now.get(p, -1) >= end for p, end in ends.items())


def _archived(instance: Instance, bus: Bus, parts: dict[str, dict[str, Any]]) -> bool:
    """True when Candles has read every tick entry and Archive has committed every entry."""
    try:
        ends = {t: _ends(instance, bus, t) for t in ("ticks", "candles")}
    except LineDown:
        return False
    if not (_read(parts) == ends["ticks"] and all(_committed(parts, t) == by for t, by in ends.items())):
        return False
    analysis = [part for name, part in parts.items() if name.startswith("analysis")]
    if not analysis:
        return True
    done = {int(p): v for part in analysis for p, v in part.get("partitions", {}).items()}
    try:
        made, scored = _ends(instance, bus, "analysis"), _ends(instance, bus, "scores")
    except LineDown:
        return False
    through = {p: v["read"] for p, v in done.items()} == ends["candles"] and not any(
        v["waiting"] for v in done.values()
    )
    through = through and scored == made
    return through and _committed(parts, "analysis") == made and _committed(parts, "scores") == scored


def sessions_around(day: date, notices: Iterable[Notice] = ()) -> tuple[Session, Sessions]:
    """The day's session, and the calendar around it. Raises BadValue."""
    span = sessions_of("NSE", day - timedelta(days=7), day + timedelta(days=7), notices)
    session = span.on(day)
    if session is None:
        raise BadValue("session", day.isoformat(), "a day on which NSE traded")
    return session, span


def private(settings: Settings, folder: Path, lake: Path) -> Settings:
    """The same settings with their own folder, free ports, and snapshots and commits as often as a short run wants.

    The day is played in the dialect of the primary feed where a recording can speak it, else in Kite's.
    """
    data = {
        **settings.model_dump(),
        "secrets": settings.secrets.model_copy(update={"bus_url": None, "cache_url": None}),
    }
    primary = settings.feeds.sources[settings.feeds.primary].dialect
    dialect = primary if primary in recordings.DIALECTS else recordings.DIALECTS[0]
    stores = settings.stores.model_copy(update={"data": str(folder / "data"), "lake": str(lake.absolute())})
    data |= {
        "stores": stores,
        "ports": Ports(base=free_base()),
        "feeds": {"primary": "replay", "sources": {"replay": {"kind": "simulated", "dialect": dialect}}},
        "archive": {"commit_seconds": 1.0},
        "snapshots": {"seconds": 1.0},
    }
    return Settings.model_validate(data)
