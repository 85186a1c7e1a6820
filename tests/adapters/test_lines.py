"""Lines: what a WebSocket brings, and by which error it ends, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from adapters.lines import FRAME_BYTES, Backoff, Line
from market.errors import AuthRequired, LineDown

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOGIN = "log in again"


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A server of one answer; its address."""
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def echo(request: web.Request) -> web.StreamResponse:
    """Says everything twice, once as text and once as bytes, and closes at "bye"."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.data == "bye":
            await socket.close(code=1001)
            break
        await socket.send_str(message.data)
        await socket.send_bytes(message.data.encode())
    return socket


def test_texts_and_bytes_come_in_the_order_in_which_they_were_sent() -> None:
    async def story() -> tuple[list[bytes | str], str]:
        came: list[bytes | str] = []
        async with serving(echo) as url, Line("kite/0", url, LOGIN) as line:
            await line.send(["a", "b", "bye"])
            with pytest.raises(LineDown) as caught:
                async for message in line.messages():
                    came.append(message)
        return came, str(caught.value)

    came, ended = asyncio.run(story())

    assert came == ["a", b"a", "b", b"b"]
    assert ended.startswith("kite/0: socket ended")
    assert "1001" in ended


@pytest.mark.parametrize(("status", "error"), [(403, AuthRequired), (429, LineDown), (500, LineDown)])
def test_a_refused_handshake_says_whether_trying_again_helps(status: int, error: type[Exception]) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async def story() -> str:
        async with serving(refuse) as url:
            with pytest.raises(error) as caught:
                async with Line("kite/0", url, LOGIN):
                    pass
        return str(caught.value)

    said = asyncio.run(story())

    assert (LOGIN if error is AuthRequired else str(status)) in said


def test_nobody_listening_is_a_line_that_is_down() -> None:
    async def story() -> None:
        async with serving(echo) as url:
            pass
        async with Line("kite/0", url, LOGIN):
            pass

    with pytest.raises(LineDown, match="kite/0"):
        asyncio.run(story())


def test_a_server_that_vanishes_ends_the_line() -> None:
    async def vanish(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(b"last words")
        assert request.transport is not None
        request.transport.abort()
        return socket

    async def story() -> list[bytes | str]:
        came: list[bytes | str] = []
        async with serving(vanish) as url, Line("kite/0", url, LOGIN) as line:
            with pytest.raises(LineDown):
                async for message in line.messages():
                    came.append(message)
        return came

    assert asyncio.run(story()) in ([b"last words"], [])


def test_a_frame_over_the_limit_ends_the_line_and_takes_no_more_memory() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(bytes(FRAME_BYTES + 1))
        return socket

    async def story() -> None:
        async with serving(flood) as url, Line("kite/0", url, LOGIN) as line:
            async for _ in line.messages():
                raise AssertionError("the frame came through")

    with pytest.raises(LineDown, match="1009"):
        asyncio.run(story())


def test_pauses_double_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(first=0.1, longest=0.5)

    pauses = [backoff.pause() for _ in range(5)]
    backoff.reset()
    again = backoff.pause()

    for pause, most in zip([*pauses, again], [0.1, 0.2, 0.4, 0.5, 0.5, 0.1], strict=True):
        assert most / 2 <= pause <= most
