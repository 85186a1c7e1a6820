"""The peers of W5, run by their own interpreter (`.venv/peers`): quotes as JSON, made anew for each client.

Usage: python peers_w5.py PORT PEER, PEER one of websockets and flask. The changes come over standard input, a
MessagePack list an update: `[[instrument, price, ..., stale], ...]`, the whole quote as in `NAMES`; a client says
`{"rate": 4, "symbols": ["NSE:S0", ...]}` and gets, so many times a second, `{"sent": ms, "quotes": {symbol: {...}}}`
of what has changed since its last one: what the BSE seed proposes, one `json.dumps` a client and frame. Flask-SocketIO
runs on gevent with its own WebSocket server, the fastest it has; a client is a task, and `emit` sends to its room.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import msgpack

NAMES = (
    *("price", "volume", "bid", "ask", "at", "received", "bid_quantity", "ask_quantity"),
    *("high", "low", "open", "close", "open_interest", "stale"),
)


class Board:
    """The latest quotes, and which update each last changed with."""

    def __init__(self) -> None:
        self.quotes: dict[str, dict[str, Any]] = {}
        self.changed: dict[str, int] = {}
        self.now = 0

    def take(self, rows: list[list[Any]]) -> None:
        """One update."""
        self.now += 1
        for number, *values in rows:
            symbol = f"NSE:S{number}"
            self.quotes[symbol] = dict(zip(NAMES, values, strict=True))
            self.changed[symbol] = self.now

    def frame(self, symbols: list[str], since: int) -> str | None:
        """What of some symbols has changed since an update, as one text; None when nothing has."""
        changed, quotes = self.changed, self.quotes
        told = {symbol: quotes[symbol] for symbol in symbols if changed.get(symbol, 0) > since}
        return json.dumps({"sent": int(time.time() * 1000), "quotes": told}) if told else None


def feed(board: Board) -> None:
    """Read updates until there are no more; in a thread."""
    unpacker = msgpack.Unpacker()
    while data := sys.stdin.buffer.raw.read(1 << 16):
        unpacker.feed(data)
        for rows in unpacker:
            board.take(rows)


def websockets_peer(port: int) -> None:
    """One coroutine a client, on asyncio."""
    import asyncio

    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed

    board = Board()

    async def client(line: ServerConnection) -> None:
        said = json.loads(await line.recv())
        await line.send('{"ready": true}')
        since, due = board.now, time.monotonic()
        while True:
            due += 1 / said["rate"]
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = board.now
            if (frame := board.frame(said["symbols"], since)) is not None:
                try:
                    await line.send(frame)
                except ConnectionClosed:
                    return
            since = now

    async def main() -> None:
        threading.Thread(target=feed, args=(board,), daemon=True).start()
        async with serve(client, "127.0.0.1", port, compression=None, backlog=4096):
            print("ready", flush=True)
            await asyncio.Future()

    asyncio.run(main())


def flask_peer(port: int) -> None:
    """One room a client, on gevent."""
    from gevent import monkey

    monkey.patch_all(sys=False)
    import gevent
    from flask import Flask, request
    from flask_socketio import SocketIO

    board = Board()
    app = Flask("peer")
    sockets = SocketIO(app, async_mode="gevent", cors_allowed_origins="*", ping_interval=25)
    here: set[str] = set()

    def client(room: str, said: dict[str, Any]) -> None:
        since, due = board.now, time.monotonic()
        while room in here:
            due += 1 / said["rate"]
            gevent.sleep(max(0.0, due - time.monotonic()))
            now = board.now
            changed, quotes = board.changed, board.quotes
            told = {s: quotes[s] for s in said["symbols"] if changed.get(s, 0) > since}
            if told:
                sockets.emit("quotes", {"sent": int(time.time() * 1000), "quotes": told}, to=room)
            since = now

    @sockets.on("subscribe")
    def subscribe(said: dict[str, Any]) -> None:
        here.add(request.sid)
        sockets.emit("ready", {"ready": True}, to=request.sid)
        gevent.spawn(client, request.sid, said)

    @sockets.on("disconnect")
    def gone(*_: object) -> None:
        here.discard(request.sid)

    def follow() -> None:
        from gevent.os import make_nonblocking, nb_read

        make_nonblocking(0)
        unpacker = msgpack.Unpacker()
        while data := nb_read(0, 1 << 16):
            unpacker.feed(data)
            for rows in unpacker:
                board.take(rows)

    gevent.spawn(follow)
    print("ready", flush=True)
    sockets.run(app, host="127.0.0.1", port=port, log_output=False)


if __name__ == "__main__":
    {"websockets": websockets_peer, "flask": flask_peer}[sys.argv[2]](int(sys.argv[1]))
