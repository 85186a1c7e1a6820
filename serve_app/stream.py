"""Stream: the first WebSocket of quotes, JSON texts.

    client: {"subscribe": ["RELIANCE", "NSE:TCS"]}   {"unsubscribe": ["RELIANCE"]}
    server: {"type": "quotes", "quotes": [...]}      changed ones only, the whole quote of each, `RATE` times a second
            {"type": "error", "error": "..."}        what was wrong with a message; the socket goes on

What changed while a slow client was being sent to is sent once, in its latest state.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from market.errors import UnknownSymbol
from market.instruments import Universe
from serve_app import shapes
from serve_app.follow import Follower

RATE = 10.0
MOST = 3000
TEXT_BYTES = 256 * 1024
FROZEN_SECONDS = 30.0
"""A client that has taken nothing for so long is let go."""


class Screen:
    """One client: what it wants, and the version of the quotes it has seen."""

    def __init__(self, socket: WebSocket, follower: Follower, universe: Universe, stale_ns: int) -> None:
        self._socket, self._follower, self._universe, self._stale = socket, follower, universe, stale_ns
        self._wanted: dict[int, None] = {}
        self._new: set[int] = set()
        self._seen = 0

    async def run(self) -> None:
        """Serve until the client leaves."""
        await self._socket.accept()
        telling = asyncio.create_task(self._tell())
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                complaint = self._hear(message.get("text"))
                if complaint:
                    await self._socket.send_text(json.dumps({"type": "error", "error": complaint}))
        except (WebSocketDisconnect, RuntimeError):  # Starlette says RuntimeError for a socket that has just closed
            pass
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self) -> None:
        while True:
            wanted = np.array(list(self._wanted), np.int64)
            version = self._follower.version
            changed = set(self._follower.quotes.changed(wanted, self._seen).tolist())
            shown = [i for i in self._wanted if i in self._new or i in changed]
            self._seen, self._new = version, set()
            if shown:
                rows = self._follower.read(shown)
                quotes = shapes.quotes(self._follower.quotes, self._universe, rows, self._stale)
                text = json.dumps({"type": "quotes", "quotes": quotes})
                try:
                    await asyncio.wait_for(self._socket.send_text(text), FROZEN_SECONDS)
                except TimeoutError:
                    await self._socket.close(1013)
                    return
            await asyncio.sleep(1 / RATE)

    def _hear(self, text: str | None) -> str | None:
        """Do what a message asks; the complaint, if it cannot be done."""
        if text is None or len(text) > TEXT_BYTES:
            return f"a message is a JSON text of at most {TEXT_BYTES} bytes"
        try:
            asked: Any = json.loads(text)
        except (ValueError, RecursionError):
            return "a message is JSON"
        if not isinstance(asked, dict) or len(asked) != 1 or not set(asked) <= {"subscribe", "unsubscribe"}:
            return 'a message is {"subscribe": [symbols]} or {"unsubscribe": [symbols]}'
        verb, symbols = next(iter(asked.items()))
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols) or len(symbols) > MOST:
            return f"{verb} takes a list of at most {MOST} symbols"
        return self._change(verb, symbols)

    def _change(self, verb: str, symbols: list[str]) -> str | None:
        strangers, beyond = [], 0
        for symbol in symbols:
            try:
                found = self._universe.find(symbol).id
            except UnknownSymbol:
                strangers.append(symbol[:40])
                continue
            if verb == "unsubscribe":
                self._wanted.pop(found, None)
            elif found in self._wanted or len(self._wanted) < MOST:
                self._wanted[found] = None
                self._new.add(found)
            else:
                beyond += 1
        complaints = [f"unknown symbols: {', '.join(strangers[:20])}"] if strangers else []
        complaints += [f"{beyond} symbols left out: a client has at most {MOST}"] if beyond else []
        return "; ".join(complaints) or None
