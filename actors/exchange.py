"""Exchange: the simulated exchange as a part of the cluster, so that a day needs no broker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import date
from typing import Any

from actors.measures import resident_bytes
from adapters import logs
from adapters.bus import Bus
from adapters.exchange import Exchange as Server
from adapters.marks import market_time
from market import generator
from market.instruments import Instrument
from market.records import Record
from market.sessions import Session, Sessions
from market.tape import TAIL, Tape
from market.universes import LISTINGS


class ExchangePlan(Record):
    """Where it listens, what it plays, and whose server it is: `dialect`, one of `DIALECTS`.

    `recording` and `day`: one recorded session; else sessions are generated from `seed`, from the market time `begin`,
    ns UTC, or from the newest mark on the bus: a market that was ended goes on where it stood. `hold`: the tape waits
    for its consumer. `speed`: times real time, None: as fast as it goes.
    """

    host: str = "127.0.0.1"
    port: int
    dialect: str = "kite"
    api_key: str
    access_token: str
    instruments: tuple[Instrument, ...]
    sessions: tuple[Session, ...]
    recording: str | None = None
    day: date | None = None
    seed: int = 1
    rate: float = 1.0
    begin: int = 0
    bus: str | None = None
    partitions: int = 1
    speed: float | None = 1.0
    hold: bool = False
    log_level: str = "info"


class Exchange:
    """Serves the tapes of a plan until told to stop."""

    def __init__(self, plan: ExchangePlan) -> None:
        logs.configure("exchange", plan.log_level)
        self._plan = plan
        self._ended = asyncio.Event()
        self._server: Server | None = None
        self._running: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Listen and play; a second call joins the first."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        await asyncio.shield(self._running)

    async def _run(self) -> None:
        plan = self._plan
        if plan.bus is not None and plan.recording is None:
            reached = await asyncio.to_thread(market_time, Bus(plan.bus), plan.partitions, plan.speed or 0.0)
            plan = plan.model_copy(update={"begin": max(plan.begin, reached)})
        self._server = Server(
            plan.instruments,
            tapes(plan),
            dialect=plan.dialect,
            api_key=plan.api_key,
            access_token=plan.access_token,
            speed=plan.speed,
            hold=plan.hold,
            begin=plan.begin,
            host=plan.host,
            port=plan.port,
        )
        await self._server.start()
        try:
            await self._ended.wait()
        finally:
            await self._server.stop()

    async def stop(self) -> None:
        """End `run`."""
        self._ended.set()

    async def hold_back(self, reason: str) -> None:
        """The exchange trades on whatever its listeners do."""

    async def health(self) -> dict[str, Any]:
        """What `status` shows of this actor."""
        return {
            "part": "exchange",
            "name": "simulated",
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": "",
            "clock": self._server.clock if self._server else 0,
            "sockets": self._server.sockets if self._server else 0,
        }


def tapes(plan: ExchangePlan) -> Iterator[Tape]:
    """The sessions to play, one after the other."""
    if plan.recording is not None:
        from adapters import recordings  # here: a generated market needs no Arrow

        session = next(s for s in plan.sessions if s.date == plan.day)
        yield recordings.tape(plan.recording, session)
        return
    wanted = {i.symbol: i for i in plan.instruments}
    known = [one for one in LISTINGS if one.instrument.symbol in wanted]
    listed = [one.model_copy(update={"instrument": wanted[one.instrument.symbol]}) for one in known]
    closes = None
    for session in Sessions(plan.sessions):
        if session.close + TAIL > plan.begin:
            tape = generator.generate(listed, session, plan.seed, closes, plan.rate)
            closes = tape.closes
            yield tape
