"""Lines: one WebSocket to a vendor, opened once for every vendor.

A line connects, hands on what comes and says why it ended. It does not know what the bytes mean: that is the codec's.
Reconnecting is the feed's decision; the pause before it is `Backoff`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from types import TracebackType

import aiohttp

from market.errors import AuthRequired, LineDown

PING_SECONDS = 2.5
OPEN_SECONDS = 4.0
"""With the longest pause between two tries less than ten: so soon a line is there again once the vendor is."""

CLOSE_SECONDS = 0.5
"""So long a vendor has to answer our close: one that is mute never does."""

REFUSALS = (401, 403)
FRAME_BYTES = 16 * 1024 * 1024


class Line:
    """One open WebSocket; an async context manager. `code`: of the vendor's close frame, None where there was none."""

    def __init__(self, name: str, url: str, login: str) -> None:
        self._name, self._url, self._login = name, url, login
        self._closing: asyncio.Task[bool] | None = None
        self.code: int | None = None

    async def __aenter__(self) -> Line:
        """Raises AuthRequired when the vendor refuses our token, LineDown for everything else."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=OPEN_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._socket = await self._session.ws_connect(
                    self._url,
                    heartbeat=PING_SECONDS,
                    max_msg_size=FRAME_BYTES,
                    autoclose=True,
                    compress=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
        except aiohttp.WSServerHandshakeError as e:
            await self._session.close()
            if e.status in REFUSALS:
                raise AuthRequired(self._name, self._login) from e
            raise LineDown(self._name, f"handshake refused with {e.status} {e.message}") from e
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            await self._session.close()
            raise LineDown(self._name, f"{type(e).__name__}: {e}") from e
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self._socket.close()
        except TimeoutError:
            pass
        await self._session.close()

    def abort(self) -> None:
        """End it from outside: `messages` raises LineDown, at the latest after `CLOSE_SECONDS`."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._socket.close())

    async def send(self, texts: Iterable[str]) -> None:
        """Send text messages in order. Raises LineDown."""
        try:
            for text in texts:
                await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as e:
            raise LineDown(self._name, f"{type(e).__name__}: {e}") from e

    async def messages(self) -> AsyncIterator[bytes | str]:
        """What the vendor sends, binary as bytes and text as str; raises LineDown when the socket ends."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY or message.type is aiohttp.WSMsgType.TEXT:
                yield message.data
            else:
                if message.type is aiohttp.WSMsgType.CLOSE:
                    self.code = message.data
                raise LineDown(self._name, f"socket ended: {message.type.name} {self._socket.close_code or ''}".strip())


class Backoff:
    """Pauses between tries: doubling from `first` to `longest` seconds, each scattered by half; `reset` after a
    success.
    """

    def __init__(self, first: float = 0.1, longest: float = 5.0) -> None:
        self._first, self._longest = first, longest
        self.reset()

    def reset(self) -> None:
        """The next pause is the shortest again."""
        self._next = self._first

    def pause(self) -> float:
        """How long to wait before the next try, in seconds."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311  (jitter, not a secret)
        self._next = min(self._next * 2, self._longest)
        return pause
