"""W7: the gateway is killed under 2,000 clients: how long until all have whole quotes again, and whether they are true.

A replica of several is ended with SIGKILL, once all clients stand; each that was cut comes again at once, then after
50 ms, 100 ms and so on up to a second, and subscribes anew. It has resumed when whole quotes of all it wants are there.
Every 20th client folds all it is sent: when trading has stopped, what it has is compared with what REST answers.
`W7_SOCKETS` (2000), `W7_REPLICAS` (2; with 1, Serve has to start one) and `W7_SECONDS` (the most that is waited, 60)
say how; with `W5_BARE=1` there is one process without Serve, which is started anew at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import httpx
import msgpack
import numpy as np
import uvloop

from benchmarks.crowd import INSTRUMENTS, Crowd, Reader
from benchmarks.report import Report
from benchmarks.stage import Stage
from benchmarks.w5 import BARE
from market.frames import NAMES
from market.money import SCALE

SOCKETS = int(os.environ.get("W7_SOCKETS", "2000"))
REPLICAS = int(os.environ.get("W7_REPLICAS", "2"))
SECONDS = float(os.environ.get("W7_SECONDS", "60"))
RATE, SYMBOLS, FOLDED = 4, 50, 20
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
PRICE, VOLUME = NAMES.index("price"), NAMES.index("volume")


class Faithful(Reader):
    """A socket that comes again. `seat` outlives it."""

    def __init__(self, crowd: Crowd, wanted: list[str], seat: Seat) -> None:
        super().__init__(crowd, wanted, frozen=False)
        self._seat = seat

    def connection_lost(self, exc: Exception | None) -> None:
        """Come again."""
        self._seat.lost()

    def _take(self, opcode: int, data: bytes, begin: int, size: int) -> None:
        if opcode in (8, 9) or data[begin] != 0xDC:
            super()._take(opcode, data, begin, size)
            return
        seat = self._seat
        if not seat.whole or seat.folds:
            seat.take(msgpack.unpackb(data[begin : begin + size]))


class Seat:
    """One client over its sockets."""

    def __init__(self, crowd: Crowd, wanted: list[str], *, folds: bool) -> None:
        self._crowd, self._wanted, self.folds = crowd, wanted, folds
        self.known: dict[int, dict[int, Any]] = {}
        self.whole, self.cut, self.back = False, 0.0, 0.0
        self._seen: set[int] = set()
        self._pause = 0.0
        self._coming: asyncio.Task[None] | None = None

    def come(self) -> None:
        """Connect, until it succeeds."""
        self._coming = asyncio.get_running_loop().create_task(self._come())

    def lost(self) -> None:
        """The socket is no more."""
        if self.whole:
            self.cut = time.monotonic()
        self.whole = False
        self._seen.clear()
        self.come()

    def take(self, frame: list[Any]) -> None:
        """One frame of quotes."""
        for number, mask, *values in frame[5:]:
            if frame[0] == 1:
                self._seen.add(number)
            if self.folds:
                told = [k for k in range(14) if mask >> k & 1]
                self.known.setdefault(number, {}).update(zip(told, values, strict=True))
        if not self.whole and len(self._seen) == len(self._wanted):
            self.whole, self.back, self._pause = True, time.monotonic(), 0.0

    async def _come(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._pause * np.random.default_rng().uniform(0.5, 1.0))
            self._pause = min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
            try:
                await loop.create_connection(
                    lambda: Faithful(self._crowd, self._wanted, self), "127.0.0.1", self._crowd.port
                )
                return
            except OSError:
                continue


def run(out: Report) -> None:
    """One killing."""
    with Stage(bare=BARE, replicas=REPLICAS) as stage:
        uvloop.run(_race(stage, out))


async def _race(stage: Stage, out: Report) -> None:
    crowd = Crowd(stage.port, SOCKETS, RATE, SYMBOLS, 0)
    rng = np.random.default_rng(7)
    seats = []
    for k in range(SOCKETS):
        names = [f"NSE:S{i}" for i in rng.choice(INSTRUMENTS, SYMBOLS, replace=False)]
        seats.append(Seat(crowd, names, folds=k % FOLDED == 0))
        seats[-1].come()
        if k % 100 == 99:
            await asyncio.sleep(0.1)
    await _until(lambda: all(seat.whole for seat in seats), 240)
    stage.trade()
    await asyncio.sleep(2.0)
    killed = time.monotonic()
    os.kill(stage.gateway_pid, signal.SIGKILL)
    replacing = asyncio.create_task(asyncio.to_thread(stage.replace))
    await _until(lambda: any(seat.cut for seat in seats), 30)
    await _until(lambda: all(seat.whole for seat in seats), SECONDS)
    await replacing
    case = f"{SOCKETS} clients, one of {1 if BARE else REPLICAS} replicas killed"
    took = [seat.back - killed for seat in seats if seat.cut and seat.whole]
    out.add(case, "clients cut", sum(bool(seat.cut) for seat in seats))
    out.add(case, "not back", sum(not seat.whole for seat in seats))
    if took:
        out.add(case, "median seconds until resumed", float(np.median(took)))
        out.add(case, "worst seconds until resumed", max(took))
    stage.rest()
    folding = [seat for seat in seats if seat.folds and seat.whole]
    truth = await _truth(stage.port)
    wrong = [0]

    def all_true() -> bool:
        wrong[0] = sum(truth[n] != (v[PRICE], v[VOLUME]) for seat in folding for n, v in seat.known.items())
        return not wrong[0]

    await _until(all_true, 10)
    out.add(case, "latest values compared with REST", sum(len(seat.known) for seat in folding))
    out.add(case, "latest values missed", wrong[0])


async def _truth(port: int) -> dict[int, tuple[int, int]]:
    """Price and volume of every instrument by REST, once they stand still, as MessagePack has them."""
    before: dict[int, tuple[int, int]] = {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
        for _ in range(20):
            names = ",".join(f"NSE:S{k}" for k in range(INSTRUMENTS))
            quotes = (await client.get("/api/stocks/batch", params={"symbols": names})).json()["quotes"]
            now = {k: (round(quote["price"] * SCALE), quote["volume"]) for k, quote in enumerate(quotes)}
            if now == before:
                return now
            before = now
            await asyncio.sleep(0.5)
    raise TimeoutError("the quotes do not stand still")


async def _until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.02)
