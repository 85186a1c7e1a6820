"""A simulated mStock to log in to: its desk on a port of its own, over the tape of ten recorded minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, time

import numpy as np
from aiohttp import web

from adapters.exchange_mstock import Customer, Desk
from market.instruments import Instrument, Kind
from market.sessions import MINUTE, session
from market.tape import BAR, Tape, from_bars

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
NOW = 1_111_111_109
CODE = "081804"
"""What the secret says at that moment. Source: RFC 6238, appendix B, its last six digits."""

DAY = session(date(2016, 8, 25), closes=time(9, 25))
INSTRUMENTS = (
    Instrument(id=0, symbol="NSE:INFY", tokens={"mstock": "1|1594"}),
    Instrument(id=1, symbol="NSE:NIFTY 50", kind=Kind.INDEX, tokens={"mstock": "1|26000"}),
    Instrument(id=2, symbol="BSE:RELIANCE", tokens={"mstock": "3|500325"}),
)


def customer(now: float = NOW) -> Customer:
    """The account of the tests, at a moment."""
    return Customer("MA1", "pass", "key", SECRET, now=lambda: now)


def recorded() -> np.ndarray:
    """Ten minutes of each instrument, seeded."""
    rng = np.random.default_rng(7)
    rows = np.zeros((len(INSTRUMENTS), DAY.minutes), BAR)
    rows["instrument"] = np.arange(len(INSTRUMENTS))[:, None]
    rows["start"] = DAY.open + np.arange(DAY.minutes) * MINUTE
    prices = rng.integers(1000, 1200, (4, *rows.shape)) * 500
    rows["open"], rows["close"] = prices[:2]
    rows["low"], rows["high"] = prices.min(axis=0), prices.max(axis=0)
    rows["volume"] = rng.integers(10, 5000, rows.shape) * (rows["instrument"] != 1)
    return rows.ravel()


class Hall:
    """A market that stands still at a step of its tape."""

    def __init__(self, tape: Tape, step: int) -> None:
        self.tape, self.step = tape, step

    @property
    def clock(self) -> int:
        """Market time of the step."""
        return self.tape.clock(self.step)


@asynccontextmanager
async def house(who: Customer, step: int | None = None) -> AsyncIterator[str]:
    """The desk's address, http://host:port, at the end of the tape or at a step."""
    tape = from_bars(DAY, recorded(), {})
    desk = Desk(INSTRUMENTS, who, Hall(tape, tape.steps - 1 if step is None else step))
    app = web.Application(middlewares=[desk.errors])
    desk.route(app.router)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
