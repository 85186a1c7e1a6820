"""A house that answers as vendors of language models do, over a real socket: each request gets the next reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SAID = {"p_up": 0.5, "p_flat": 0.3, "p_down": 0.2, "confidence": 0.4, "reason": "RSI is low."}


@dataclass(frozen=True)
class Told:
    """One reply."""

    body: object
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Reply = Told | Callable[[web.Request], Awaitable[web.StreamResponse]]


def openai(content: object = SAID, finish: str = "stop", tokens: tuple[int, int] | None = (100, 50)) -> Told:
    """A whole reply of OpenAI; `content` as JSON, or a text as it is."""
    text = content if isinstance(content, str) else json.dumps(content)
    choice = {"message": {"content": text, "refusal": None}, "finish_reason": finish}
    usage = {"usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}} if tokens else {}
    return Told({"model": "m-1-0613", "choices": [choice]} | usage)


def trouble(status: int, code: str, **headers: str) -> Told:
    """An error of OpenAI; names of headers with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Told({"error": {"message": "no", "type": code, "code": code}}, status, named)


def ollama(content: object = SAID, reason: str = "stop") -> Told:
    """A whole reply of Ollama."""
    message = {"content": json.dumps(content) if content else ""}
    counts = {"prompt_eval_count": 100, "eval_count": 50}
    return Told({"model": "m-1", "message": message, "done": True, "done_reason": reason} | counts)


async def silence(request: web.Request) -> web.StreamResponse:
    """Never a word."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def drip(request: web.Request) -> web.StreamResponse:
    """A byte now and then, for ever: no read of its own ever times out."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.01)


async def flood(request: web.Request) -> web.StreamResponse:
    """More than anybody wants."""
    return web.Response(body=b" " * (2 << 20))


async def torn(request: web.Request) -> web.StreamResponse:
    """A beginning."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"choices"')
    assert request.transport is not None
    request.transport.abort()
    return answer


@dataclass
class House:
    """`url`: where it answers; `asked`: the requests' JSON, in their order; `headers`: theirs."""

    replies: list[Reply]
    url: str = ""
    asked: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The next reply; the last one again and again."""
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if not isinstance(reply, Told):
            return await reply(request)
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        return web.Response(text=text, status=reply.status, headers=reply.headers)


@asynccontextmanager
async def house(*replies: Reply) -> AsyncIterator[House]:
    """A house of its own, on a port of its own."""
    made = House(list(replies))
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
