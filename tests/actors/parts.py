"""Shells of a test as processes of their own: `python -m tests.actors.parts NAME FILE`, the plan pickled in the file.

An exchange says its address, and `connected` when its feed is there, and its clock stands still until it reads a line.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
import time
from pathlib import Path
from typing import Any

from actors.feed import Feed
from adapters.exchange import Exchange
from tests.actors.day import TOKEN


async def exchange(plan: dict[str, Any]) -> None:
    """Play a tape on a port, live, from the moment somebody says so."""
    gone = asyncio.Event()
    began = 0.0

    async def sleep(seconds: float) -> None:
        await gone.wait()
        await asyncio.sleep(seconds)

    server = Exchange(
        plan["instruments"],
        iter([plan["tape"]]),
        access_token=TOKEN,
        speed=plan["speed"],
        clock=lambda: time.monotonic() - began if gone.is_set() else 0.0,
        sleep=sleep,
    )
    print(await server.start(), flush=True)
    while not server.sockets:
        await asyncio.sleep(0.01)
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic()
    gone.set()
    await asyncio.Event().wait()


async def feed(plan: Any) -> None:
    """One feed until it is ended."""
    await Feed(plan).run()


if __name__ == "__main__":
    told = pickle.loads(Path(sys.argv[2]).read_bytes())  # noqa: S301  (written by the test itself)
    asyncio.run({"exchange": exchange, "feed": feed}[sys.argv[1]](told))
