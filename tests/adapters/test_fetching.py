"""The HTTP door against a real server that is busy, silent, or large."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from adapters import fetching
from market.errors import LineDown


def against(handler: Callable[[web.Request], Any], ask: Callable[[str], Any]) -> Any:
    """What `ask` comes to with the address of a server that answers everything by `handler`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        answered = handler(request)
        return await answered if asyncio.iscoroutine(answered) else answered

    async def story() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            return await asyncio.to_thread(ask, f"http://127.0.0.1:{runner.addresses[0][1]}/page")
        finally:
            await runner.cleanup()

    return asyncio.run(story())


async def echo(request: web.Request) -> web.Response:
    said = f"{request.method} {request.headers['X-Mine']} {request.content_type} {await request.text()}"
    return web.Response(text=said, status=418)


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [
        ("GET", {}, "GET me application/octet-stream "),
        ("POST", {"json": {"a": "1"}}, 'POST me application/json {"a":"1"}'),
        ("POST", {"form": {"a": "1 2"}}, "POST me application/x-www-form-urlencoded a=1+2"),
        ("DELETE", {}, "DELETE me application/octet-stream "),
    ],
)
def test_a_request_carries_what_it_was_given_and_a_refusal_is_an_answer(
    method: str, body: dict[str, Any], said: str
) -> None:
    answer = against(echo, lambda url: fetching.ask(method, url, {"X-Mine": "me"}, **body))

    assert (answer.status, answer.body.decode(), answer.kind) == (418, said, "text/plain; charset=utf-8")


@pytest.mark.parametrize("status", fetching.BUSY)
@pytest.mark.parametrize(("said", "after"), [("7", 7.0), ("0", 0.0), ("", 0.0), ("soon", 0.0), ("-5", 0.0)])
def test_a_busy_server_says_when_to_come_back(status: int, said: str, after: float) -> None:
    def busy(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": said})

    with pytest.raises(LineDown, match=str(status)) as down:
        against(busy, lambda url: fetching.get(url, {}))

    assert down.value.after == after
    assert pickle.loads(pickle.dumps(down.value)).after == after  # noqa: S301


def test_a_date_to_come_back_at_is_read_too() -> None:
    def busy(request: web.Request) -> web.Response:
        when = datetime.now(UTC) + timedelta(hours=1)
        return web.Response(status=503, headers={"Retry-After": format_datetime(when, usegmt=True)})

    with pytest.raises(LineDown) as down:
        against(busy, lambda url: fetching.get(url, {}))

    assert 3000 < down.value.after <= 3600


def test_a_date_that_is_over_means_at_once() -> None:
    def busy(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})

    with pytest.raises(LineDown) as down:
        against(busy, lambda url: fetching.get(url, {}))

    assert down.value.after == 0.0


def test_a_server_that_says_nothing_is_a_line_that_is_down() -> None:
    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    with pytest.raises(LineDown, match="ReadTimeout") as down:
        against(silent, lambda url: fetching.ask("GET", f"{url}?token=hush", {}, seconds=0.2))

    assert "hush" not in str(down.value)


def test_a_connection_that_breaks_in_the_middle_is_a_line_that_is_down() -> None:
    async def torn(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"a beginning")
        assert request.transport is not None
        request.transport.abort()
        return answer

    with pytest.raises(LineDown):
        against(torn, lambda url: fetching.get(url, {}))
