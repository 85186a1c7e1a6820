"""Up: the whole platform in the foreground, until Ctrl-C; `down` ends one from elsewhere."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from adapters import recordings
from adapters.notices import Notices
from cluster.calendars import NSE, calendar
from cluster.instance import Instance, holder
from cluster.settings import Settings
from cluster.tapes import Tape
from market.errors import BadValue, LineDown

if TYPE_CHECKING:
    from cluster.wiring import Wiring

Say = Callable[[str], None]
LOOK_SECONDS = 1.0
END_SECONDS = 60.0


class Stop(Exception):
    """SIGINT or SIGTERM."""


def up(settings: Settings, say: Say, tape: Tape | None = None, ready: Callable[[Instance], None] | None = None) -> None:
    """Start, wait until everything answers, call `ready`, and keep it going until SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    instance = Instance(settings, settings.run_folder, say)
    from pipelines import ipos
    from serve_app.gateway import application

    try:
        instance.open_database()
        instance.open_stores()
        say("stores are open")
        instance.open_ray(dashboard=True)
        signal.signal(signal.SIGTERM, _stop)  # Ray has put its own in
        signal.signal(signal.SIGINT, _stop)
        say("Ray is up")
        wiring = _wiring(instance, tape, say)
        parts = wiring.parts()
        instance.supervise(wiring.supervisor(database=True), parts)
        size = settings.gateway
        asked = size.replicas, size.max_ongoing_requests, size.num_cpus
        instance.gateway(application(wiring.gateway(), *asked, acts=ipos))
        instance.predictor(wiring.predictor())
        instance.wait_ready(len(parts))
        if ready is not None:
            ready(instance)
        while True:
            instance.ensure()
            time.sleep(LOOK_SECONDS)
    except Stop:
        say("stopping")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        instance.close()


def down(settings: Settings, say: Say) -> None:
    """End the instance of this port base and wait until it is gone. Raises BadValue when none runs, LineDown when
    it stays.
    """
    running = holder(settings.run_folder)
    if running is None:
        raise BadValue("ports.base", settings.ports.base, "the base of an instance that runs; none does here")
    os.kill(running, signal.SIGTERM)
    end = time.monotonic() + END_SECONDS
    while holder(settings.run_folder) == running:
        if time.monotonic() > end:
            raise LineDown("bourse", f"process {running} did not end within {END_SECONDS:.0f} s")
        time.sleep(0.1)
    say(f"process {running} has ended")


def replayed(settings: Settings, recording: Path, day: date) -> Settings:
    """The same settings with a lake and a bus of their own for this recorded day: its time must not meet another
    day's.
    """
    data = settings.data / "replays" / f"{recording.stem}-{day}-{time.strftime('%Y%m%dT%H%M%S')}"
    if told := Notices(settings.data).read():
        Notices(data).add(told)
    stores = settings.stores.model_copy(update={"data": str(data), "lake": str(data / "lake")})
    return settings.model_copy(update={"stores": stores})


def _wiring(instance: Instance, tape: Tape | None, say: Say) -> Wiring:
    from cluster.broker import LISTS, opening
    from cluster.wiring import Wiring, account

    settings = instance.settings
    if tape is not None:
        days = calendar(settings, *_around(tape.day), NSE)
        instruments = recordings.universe(recordings.read(tape.recording, tape.day))
        return Wiring(settings, instance.stores, instruments=instruments, sessions=list(days), tape=tape)
    instruments, sessions = list(settings.instruments()), calendar(settings, *_around(date.today()))
    for source in settings.feeds.sources.values():
        if source.kind in LISTS:
            mine = account(settings, source.kind)
            instruments, line = opening(instruments, source, mine, instance.stores.bus, sessions)
            say(line)
    return Wiring(settings, instance.stores, instruments=instruments)


def _around(day: date) -> tuple[date, date]:
    return day - timedelta(days=10), day + timedelta(days=10)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stop(os.getpid())
