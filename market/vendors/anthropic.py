"""Anthropic's messages. Source: github.com/anthropics/anthropic-sdk-python, read 2026-11-20.

The answer is the input of a tool that the model must call. A stream carries that input in pieces of JSON, which mean
nothing until they are joined, and may break off with an `error` event after HTTP 200.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from market.codecs import Call
from market.engines import SCHEMA, SYSTEM, TOOL, Engine, Question, Reply
from market.errors import BadPayload, BourseError
from market.vendors import chat

NAME = "anthropic"
VERSION = "2023-06-01"
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""An error inside a stream has a type alone."""

REMEDIES = {
    401: "put a key of this vendor in ANTHROPIC_API_KEY and start again",
    402: "asking again does not help: add credit at the vendor, then start again",
    403: "use a key that may use this model, in ANTHROPIC_API_KEY",
    404: "say a model that this key may use under engines, and the url without /v1",
}


class Anthropic:
    """Satisfies `EngineCodec`."""

    name = NAME
    root = "https://api.anthropic.com"
    keyed = True

    def call(self, root: str, key: SecretStr, engine: Engine, question: Question, complaint: str = "") -> Call:
        """A request with one tool, forced."""
        blocks = [{"type": "text", "text": text} for text in (question.text(), complaint) if text]
        body: dict[str, Any] = {
            "model": engine.model,
            "max_tokens": engine.max_tokens,
            "system": SYSTEM,
            "messages": [{"role": "user", "content": blocks}],
            "tools": [{"name": TOOL, "description": "Give your opinion.", "input_schema": SCHEMA}],
            "tool_choice": {"type": "tool", "name": TOOL},
            "stream": False,
        }
        if engine.temperature is not None:
            body["temperature"] = engine.temperature
        headers = {
            "Content-Type": "application/json",
            "anthropic-version": VERSION,
        }
        if secret := key.get_secret_value():
            headers["x-api-key"] = secret
        return Call(f"{root}/v1/messages", headers, "POST", content=json.dumps(body).encode())

    def load(self, root: str, key: SecretStr, engine: Engine) -> Call | None:
        """Nothing is loaded."""
        return None

    def again(self, status: int, headers: Mapping[str, str]) -> bool:
        """As the vendor's own client has it."""
        return chat.again(status, headers)

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """A whole message or a stream of events. As `EngineCodec.read`."""
        if status >= 300:
            raise _refusal(status, headers, _error(body))
        if chat.streamed(headers, body):
            return self._stream(headers, body)
        said = chat.thing(NAME, body, body)
        if said.get("type") == "error":
            error = chat.part(said.get("error"))
            raise _refusal(_status(error), headers, error)
        blocks = said.get("content")
        if said.get("type") != "message" or not isinstance(blocks, list):
            raise BadPayload(NAME, body, "a reply that is no message")
        inputs = [
            (str(block.get("name")), json.dumps(block.get("input")))
            for block in map(chat.part, blocks)
            if block.get("type") == "tool_use"
        ]
        return _reply(said, inputs)

    def _stream(self, headers: Mapping[str, str], body: bytes) -> Reply:
        said: dict[str, Any] = {}
        inputs: dict[object, tuple[str, str]] = {}
        whole = False
        for data in chat.events(body):
            event = chat.thing(NAME, body, data)
            kind, place = event.get("type"), str(event.get("index"))
            if kind == "error":
                error = chat.part(event.get("error"))
                raise _refusal(_status(error), headers, error)
            if kind == "message_start":
                said = dict(chat.part(event.get("message")))
            elif kind == "content_block_start":
                block = chat.part(event.get("content_block"))
                if block.get("type") == "tool_use":
                    inputs[place] = (str(block.get("name")), "")
            elif kind == "content_block_delta" and place in inputs:
                piece = chat.part(event.get("delta")).get("partial_json")
                name, text = inputs[place]
                inputs[place] = (name, text + (piece if isinstance(piece, str) else ""))
            elif kind == "message_delta":
                counts = chat.part(said.get("usage")) | chat.part(event.get("usage"))
                said |= chat.part(event.get("delta")) | {"usage": counts}
            whole |= kind == "message_stop"
        if not said:
            raise BadPayload(NAME, body, "a stream without a message")
        reply = _reply(said, list(inputs.values()))
        return reply if whole else reply._replace(fault="the stream breaks off before message_stop")


def _reply(said: dict[str, Any], inputs: list[tuple[str, str]]) -> Reply:
    counts = chat.part(said.get("usage"))
    stop = said.get("stop_reason")
    ours = [text for name, text in inputs if name == TOOL]
    fault = ""
    if stop == "refusal":
        why = chat.part(said.get("stop_details")).get("explanation")
        fault = f"the model refused: {chat.told(why)}"
    elif stop == "max_tokens":
        fault = "stop_reason max_tokens: the answer is cut off; raise max_tokens"
    elif stop not in ("tool_use", "end_turn"):
        fault = f"stop_reason {chat.told(stop) if stop else 'is missing'}, not tool_use"
    elif len(ours) != 1:
        called = ", ".join(chat.told(name) for name, _ in inputs) or "nothing"
        fault = f"the model called {called}, not {TOOL} once"
    cached = [counts.get(name) or 0 for name in ("cache_creation_input_tokens", "cache_read_input_tokens")]
    asked = counts.get("input_tokens")
    if isinstance(asked, int) and all(isinstance(n, int) for n in cached):
        asked += sum(cached)
    return Reply(
        ours[0] if ours else "", chat.usage(asked, counts.get("output_tokens")), chat.model(said.get("model")), fault
    )


def _error(body: bytes) -> dict[str, Any]:
    try:
        return chat.part(chat.thing(NAME, body, body).get("error"))
    except BadPayload:
        return {}  # a proxy's own page: the status says enough


def _status(error: dict[str, Any]) -> int:
    return STATUSES.get(str(error.get("type")), 500)


def _refusal(status: int, headers: Mapping[str, str], error: dict[str, Any]) -> BourseError:
    kind = chat.told(error.get("type")) if error.get("type") else ""
    return chat.refusal(NAME, status, kind, error.get("message"), chat.wait(headers), REMEDIES)
