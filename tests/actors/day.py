"""A small market day for the tests of the shells: ten minutes of a few shares and an index, played by the simulated
exchange to a real Feed, and what then stands on the bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date, time
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import numpy as np
from pydantic import SecretStr

from actors.candles import Candles
from actors.feed import Feed
from actors.plans import CandlesPlan, FeedPlan
from adapters import entries
from adapters.bus import END, START, Bus, Entry
from adapters.exchange import Exchange
from market.candles import CANDLE
from market.instruments import Instrument, Kind
from market.sessions import MINUTE, SECOND, Session, session
from market.tape import BAR, Bars, Tape, from_bars
from market.ticks import TICK, Ticks
from market.ticks import Kind as Row

SESSION = session(date(2016, 8, 25), closes=time(9, 25))
LAST = int((SESSION.close - SESSION.open) // SECOND + 75)
"""The number of the tape's last step: 15 s before the open, 60 s behind the close."""
NAMES = ("RELIANCE", "TCS", "INFY", "SBIN", "ITC", "NIFTY 50")
TOKEN = "token"
WAIT = 200.0


class Runs(Protocol):
    """A shell with a loop of its own."""

    def run(self) -> None:
        """Until stopped."""

    def stop(self) -> None:
        """End `run`."""


def instruments(count: int = len(NAMES)) -> tuple[Instrument, ...]:
    """That many instruments; the sixth is an index."""
    names = [*NAMES, *(f"SHARE{k}" for k in range(len(NAMES), count))][:count]
    return tuple(
        Instrument(
            id=k,
            symbol=f"NSE:{name}",
            kind=Kind.INDEX if k == 5 else Kind.EQUITY,
            tokens={
                "kite": (1000 + k) * 256 + (9 if k == 5 else 1),
                "mstock": f"1|{1000 + k}",
                "flattrade": f"NSE|{1000 + k}",
            },
        )
        for k, name in enumerate(names)
    )


def bars(of: tuple[Instrument, ...], day: Session = SESSION) -> Bars:
    """Every minute of the session of each instrument, seeded."""
    rng = np.random.default_rng(int(day.date.strftime("%Y%m%d")))
    rows = np.zeros((len(of), day.minutes), BAR)
    rows["instrument"] = np.array([i.id for i in of])[:, None]
    rows["start"] = day.open + np.arange(day.minutes) * MINUTE
    prices = rng.integers(100_00, 120_00, (4, *rows.shape)) * 100
    rows["open"], rows["close"] = prices[:2]
    rows["low"], rows["high"] = prices.min(axis=0), prices.max(axis=0)
    rows["volume"] = rng.integers(10, 5000, rows.shape) * (rows["instrument"] != 5)
    return rows.ravel()


def tape(of: tuple[Instrument, ...]) -> Tape:
    """The tape of those bars."""
    return from_bars(SESSION, bars(of), {})


@asynccontextmanager
async def playing(
    of: tuple[Instrument, ...], rows: Tape | None = None, dialect: str = "kite"
) -> AsyncIterator[tuple[Exchange, str]]:
    """The exchange with a held tape, and the address of its stream."""
    server = Exchange(of, iter([rows or tape(of)]), dialect=dialect, access_token=TOKEN, speed=None, hold=True)
    url = await server.start()
    try:
        yield server, url.replace("http", "ws") + "/"
    finally:
        await server.stop()


def feed_plan(bus: str, folder: Path, url: str, of: tuple[Instrument, ...], partitions: int, **more: Any) -> FeedPlan:
    """What a Feed of a held tape is told."""
    told: dict[str, Any] = {
        "bus": bus, "cache": bus, "partitions": partitions, "instruments": of, "sessions": (SESSION,),
        "name": "primary", "source": 0, "url": url, "api_key": SecretStr("demo"), "access_token": SecretStr(TOKEN),
        "login": "log in again", "grace": 2 * SECOND, "mute_after": 3 * SECOND, "tape": True, "hold": True,
        "quarantine": str(folder / "quarantine"), "log_level": "error",
    }  # fmt: skip
    return FeedPlan(**{**told, **more})


async def play(
    bus: str, folder: Path, partitions: int, of: tuple[Instrument, ...] | None = None, dialect: str = "kite"
) -> dict[str, Any]:
    """One undisturbed Feed from the start of the tape to its end; its last health."""
    of = of or instruments()
    async with playing(of, dialect=dialect) as (_, url):
        feed = Feed(feed_plan(bus, folder, url, of, partitions, vendor=dialect))
        await asyncio.wait_for(feed.run(), WAIT)
        return await feed.health()


async def until(condition: Callable[[], Any], task: asyncio.Task[Any] | None = None) -> None:
    """Let everything else go on until the condition holds; what ends a task that must run is raised."""
    await asyncio.sleep(0)  # whoever asks again and again for what holds already must not keep the others waiting
    async with asyncio.timeout(WAIT):
        while not condition():
            if task is not None and task.done():
                task.result()
                raise AssertionError("it ended before the condition held")
            await asyncio.sleep(0.002)


async def abandon(task: asyncio.Task[Any]) -> None:
    """End it wherever it is."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Running:
    """A shell's `run` in a thread; `error` is what ended it, None when it was told to stop."""

    def __init__(self, shell: Runs) -> None:
        self.shell = shell
        self.error: Exception | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.shell.run()
        except Exception as e:
            self.error = e

    def wait(self, condition: Callable[[], Any]) -> None:
        """Until the condition holds while it runs."""
        asyncio.run(until(lambda: condition() or not self._thread.is_alive()))
        if self.error is not None:
            raise self.error
        assert condition(), "it ended before the condition held"

    def ended(self) -> Exception | None:
        """Wait until it has ended by itself; what ended it."""
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        return self.error

    def stop(self) -> None:
        """Tell it to stop and wait; raises what ended it instead."""
        self.shell.stop()
        if (error := self.ended()) is not None:
            raise error


def candles_plan(bus: str, partitions: int, **more: Any) -> CandlesPlan:
    """What a Candles actor of all partitions is told."""
    told: dict[str, Any] = {
        "bus": bus, "cache": bus, "partitions": partitions, "instruments": instruments(), "sessions": (SESSION,),
        "mine": tuple(range(partitions)), "grace": 2 * SECOND, "snapshot_seconds": 0.0, "log_level": "error",
    }  # fmt: skip
    return CandlesPlan(**{**told, **more})


def caught_up(candles: Candles, bus: Bus) -> bool:
    """Whether it has read all ticks there are."""
    said = candles.health()
    read = {int(p): v["cursor"] for p, v in said["partitions"].items()}
    owned = sorted(read) == sorted(map(int, said["name"].split("-")))
    return owned and all(cursor == bus.last("ticks", p) for p, cursor in read.items())


def fold_everything(bus: Bus, url: str, partitions: int, **more: Any) -> None:
    """One Candles actor from where the snapshots stand to the end of the log."""
    candles = Candles(candles_plan(url, partitions, **more))
    one = Running(candles)
    one.wait(lambda: caught_up(candles, bus))
    one.stop()


def log(bus: Bus, topic: str, partition: int) -> list[Entry]:
    """Every entry of a topic's partition."""
    return bus.range(topic, partition, START, END, 100_000)


def ticks(bus: Bus, partition: int) -> Ticks:
    """The trades on the bus, (n,) rows in their order; marks and previous closes left out."""
    rows = [entries.decode(e.payload, TICK) for e in log(bus, "ticks", partition)]
    joined = np.concatenate([*rows, np.zeros(0, TICK)])
    return joined[joined["kind"] == Row.TICK]


def candles_on(bus: Bus, partitions: int) -> np.ndarray:
    """The candles on the bus, (n,) rows by instrument, interval and start."""
    rows = [entries.decode(e.payload, CANDLE) for p in range(partitions) for e in log(bus, "candles", p)]
    joined = np.concatenate([*rows, np.zeros(0, CANDLE)])
    return joined[np.lexsort((joined["start"], joined["interval"], joined["instrument"]))]
