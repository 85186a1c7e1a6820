"""Rough: a Kite that trades around the clock and can be made to fail in every way a vendor does."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import numpy as np
from aiohttp import WSMsgType, web

from market.instruments import Instrument
from market.tape import PACKET
from market.vendors.kite_wire import MODES, Wire

BEAT_SECONDS = 0.1
TOKEN = "t0"  # noqa: S105  (of a simulation)


class RoughVendor:
    """Sends a packet of every instrument ten times a second to whoever logs in with `token`.

    `mute`: nothing but heartbeats on any socket; `hush` makes those that are there mute for good. `closing`: a close
    frame right after the login; `refusing`: 503 at the handshake; `slow`: seconds it takes to answer one.
    """

    def __init__(self, of: tuple[Instrument, ...], token: str = TOKEN) -> None:
        self.token, self.of = token, of
        self.mute = self.closing = self.refusing = False
        self.slow = 0.0
        self.logins = self.refusals = 0
        self.sockets: set[web.WebSocketResponse] = set()
        self._hushed: set[web.WebSocketResponse] = set()
        self._count = 0

    async def start(self) -> str:
        """Listen; the address of the stream."""
        app = web.Application()
        app.router.add_get("/", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"ws://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        """Close every socket and the port."""
        await self.cut()
        await self._runner.cleanup()

    async def cut(self) -> None:
        """Close every socket."""
        for socket in list(self.sockets):
            await socket.close(code=1001)

    def hush(self) -> None:
        """From now on the sockets that are there carry heartbeats alone; new ones are well."""
        self._hushed |= self.sockets

    def prices(self) -> dict[int, int]:
        """What every instrument costs, by our id."""
        return {i.id: 1_000_000 + i.id * 500 for i in self.of}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.slow)
        if self.refusing:
            return web.Response(status=503)
        if request.query.get("access_token") != self.token:
            self.refusals += 1
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        try:
            await socket.prepare(request)
        except ConnectionError:  # it gave up before we answered
            return socket
        self.logins += 1
        if self.closing:
            await socket.close(code=1000)
            return socket
        self.sockets.add(socket)
        sender = asyncio.create_task(self._send(socket, Wire(self.of)))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
        finally:
            self.sockets.discard(socket)
            sender.cancel()
        return socket

    async def _send(self, socket: web.WebSocketResponse, wire: Wire) -> None:
        modes = np.full(len(self.of), MODES["full"], np.int8)
        rows = np.zeros(len(self.of), PACKET)
        rows["instrument"] = [i.id for i in self.of]
        for name in ("price", "open", "high", "low"):
            rows[name] = list(self.prices().values())
        rows["quantity"] = 1
        with suppress(ConnectionError):
            while True:
                self._count += 1
                rows["at"], rows["day_volume"] = time.time_ns(), self._count
                quiet = self.mute or socket in self._hushed
                for frame in [b"\x00"] if quiet else wire.frames(rows, modes, {}, time.time_ns()):
                    await socket.send_bytes(frame)
                await asyncio.sleep(BEAT_SECONDS)
