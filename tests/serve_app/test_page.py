"""The browser's client as the gateway serves it, run by node, against the real server through a line that is cut."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from market.sessions import MINUTE
from tests.serve_app.house import INSTRUMENTS, RELIANCE, TCS, TODAY, House, after, candle, live, tick
from tests.serve_app.served import cable, served

NODE = shutil.which("node")
PAGE = Path(__file__).parent / "page.mjs"
SAME = ("symbol", "price", "open", "high", "low", "bid", "ask", "bid_quantity", "volume", "stale")
CUTS = 4

pytestmark = pytest.mark.anyio
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed: it runs the browser's client")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def port(house: House) -> Iterator[int]:
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), tick(TCS, after(TODAY, 1), 2000, 7), live(after(TODAY, 1)))
    with served(house.client.app) as found:
        yield found


class Page:
    """The node process, and what it has told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.quotes: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.cuts = 0
        self.live = False

    async def until(self, holds: Callable[[], Any]) -> None:
        """Read what it tells until something holds."""
        assert self._process.stdout is not None
        async with asyncio.timeout(120):
            while not holds():
                line = await self._process.stdout.readline()
                assert line, "the page has ended"
                told = json.loads(line)
                self.quotes = told.get("quotes", self.quotes)
                self.rows += told.get("rows", [])
                self.errors += [told] if "error" in told else []
                self.live = told.get("live", self.live)
                self.cuts += told.get("live") is False


@asynccontextmanager
async def page(house: House, port: int, kind: str, folder: Path, unwanted: str = "") -> AsyncIterator[Page]:
    """A page of the module that the gateway serves; it removes what is unwanted when the first quotes have come."""
    (folder / "stream.mjs").write_text(house.client.get("/web/stream.js").text)
    address = f"http://127.0.0.1:{port}"
    words = ("--experimental-websocket", str(PAGE), str(folder / "stream.mjs"), address, kind, unwanted)
    process = await asyncio.create_subprocess_exec(str(NODE), *words, stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    try:
        yield Page(process)
    finally:
        process.kill()
        await process.wait()


def rest(house: House) -> dict[str, Any]:
    """All quotes as REST tells them."""
    told = [house.get(f"/api/stock/{i.symbol}") for i in INSTRUMENTS]
    return {q["symbol"]: {name: q[name] for name in SAME} for q in told}


def test_the_module_is_served_as_a_script(house: House) -> None:
    answer = house.client.get("/web/stream.js")

    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/javascript")
    assert "export class Stream" in answer.text
    assert house.client.get("/web/../gateway.py").status_code == 404
    assert house.client.get("/web/nothing.js").headers["content-type"] == "application/problem+json"


@needs_node
@pytest.mark.parametrize("kind", ["json", "msgpack"])
async def test_a_page_folds_what_rest_tells_and_gets_each_candle_once(
    house: House, port: int, kind: str, tmp_path: Path
) -> None:
    rng = random.Random(11)
    async with cable(port) as line, page(house, line.port, kind, tmp_path) as mine:
        await mine.until(lambda: len(mine.quotes) == 4 and len(mine.errors) == 2)
        for k in range(CUTS):
            line.cut(after=rng.choice([0, 1, 40, 300, 900]))
            now = after(TODAY, 2 + k)
            rows = [tick(n, now, rng.randint(100, 999)) for n in range(4) if rng.random() < 0.7]
            await asyncio.to_thread(house.say, *rows, live(now))
            await asyncio.to_thread(house.fold, candle(TCS, TODAY, k, 100 + k))
            await mine.until(lambda: mine.live)
        for _ in range(2):
            await mine.until(lambda: mine.live)
            before = mine.cuts
            line.cut()
            await mine.until(lambda before=before: mine.cuts > before)
        truth = rest(house)
        await mine.until(lambda: {s: {n: q[n] for n in SAME} for s, q in mine.quotes.items()} == truth)
        await mine.until(lambda: len(mine.rows) == CUTS)

    assert [row["start"] for row in mine.rows] == [(TODAY.open + k * MINUTE) // 1_000_000 for k in range(CUTS)]
    assert mine.cuts >= 2
    assert [e["unknown"] for e in mine.errors if "unknown" in e] == [["NOBODY"]]
    assert [e["problem"]["status"] for e in mine.errors if "problem" in e] == [422]
    tcs = mine.quotes["NSE:TCS"]
    assert tcs["at"] == tcs["received"] and tcs["at"] % 60_000 == 0 and tcs["age"] >= 0 and "_span" not in tcs


@needs_node
async def test_a_frame_under_way_does_not_bring_back_what_was_removed(house: House, tmp_path: Path) -> None:
    """A server whose frame crosses the removal on its way."""
    from websockets.asyncio.server import ServerConnection, serve

    async def crossing(socket: ServerConnection) -> None:
        sequence = 0

        async def tell(kind: str, **prices: float) -> None:
            nonlocal sequence
            sequence += 1
            quotes = {f"NSE:{name}": {"price": price, "stale": False} for name, price in prices.items()}
            head = {"type": kind, "sequence": sequence, "market_time": 1, "feed": "LIVE", "sent": 1}
            await socket.send(json.dumps(head | {"quotes": quotes}))

        hello = {"type": "hello", "version": 1, "session": "s", "heartbeat_seconds": 5, "base": 0, "fields": []}
        await socket.send(json.dumps(hello))
        async for said in socket:
            asked = json.loads(said)
            if asked["op"] == "unsubscribe":
                await tell("delta", RELIANCE=2, TCS=2)
            done = {"added": [], "unknown": [], "left_out": []}
            await socket.send(json.dumps({"type": "done", "id": asked["id"]} | done))
            if asked["op"] == "subscribe":
                await tell("key", RELIANCE=1, TCS=1, ODD=1)
            if asked["op"] == "unsubscribe":
                await tell("delta", RELIANCE=3)

    async with serve(crossing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with page(house, port, "json", tmp_path, "tcs,NSE:ODD") as mine:
            await mine.until(lambda: mine.quotes.get("NSE:RELIANCE", {}).get("price") == 3)

    assert list(mine.quotes) == ["NSE:RELIANCE"]
