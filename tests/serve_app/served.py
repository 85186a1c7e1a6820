"""A door: the gateway's app under a real server on a free port, and a line to it that a test can cut."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.serve_app.house import wait


@contextmanager
def served(app: ASGIApp, port: int = 0) -> Iterator[int]:
    """Serve an app on a thread of its own; the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait(lambda: server.started)
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Cable:
    """A TCP line to a port, which can be cut: at once, or after so many bytes more."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._left: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.lines: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.port = 0

    def cut(self, after: int = 0) -> None:
        """End what is open once so many bytes more have come from the server."""
        self._left = after
        if not after:
            self._sever()

    def _sever(self) -> None:
        self.cuts += 1
        self._left = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One line, both ways."""
        self.lines.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        ways = [
            asyncio.create_task(self._carry(reader, back, False)),
            asyncio.create_task(self._carry(there, writer, True)),
        ]
        await asyncio.gather(*ways, return_exceptions=True)
        self._writers -= {writer, back}
        for one in (writer, back):
            one.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool) -> None:
        while data := await reader.read(65536):
            if counts and self._left is not None and len(data) > self._left:
                writer.write(data[: self._left])
                await writer.drain()
                self._sever()
                return
            if counts and self._left is not None:
                self._left -= len(data)
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cable(target: int) -> AsyncIterator[Cable]:
    """A line that can be cut."""
    line = Cable(target)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        line._sever()
        server.close()
        await asyncio.gather(*line.lines)
