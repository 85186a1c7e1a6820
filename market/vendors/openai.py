"""OpenAI's chat completions, and the many servers that speak the same. Source: github.com/openai/openai-openapi, read
2026-11-20.

The content of a reply is a string that holds JSON, if neither `refusal` nor `finish_reason` says otherwise. Some
servers ignore `response_format`: the content is read as strictly as if nothing had been promised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from market.codecs import Call
from market.engines import SCHEMA, SYSTEM, TOOL, Engine, Question, Reply
from market.errors import BadPayload, BourseError, Rejected
from market.vendors import chat

NAME = "openai"
SEED = 7
QUOTA = ("insufficient_quota", "billing_hard_limit_reached")
REMEDIES = {
    401: "put a key of this vendor in OPENAI_API_KEY and start again",
    403: "use a key that may use this model, in OPENAI_API_KEY",
    404: "say a model that this key may use under engines, and the url up to /v1",
}
RESETS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")


class OpenAI:
    """Satisfies `EngineCodec`."""

    name = NAME
    root = "https://api.openai.com/v1"
    keyed = True

    def call(self, root: str, key: SecretStr, engine: Engine, question: Question, complaint: str = "") -> Call:
        """A request with a strict schema."""
        asked = [question.text(), *([complaint] if complaint else [])]
        body: dict[str, Any] = {
            "model": engine.model,
            "messages": [
                {"role": "system", "content": SYSTEM},
                *({"role": "user", "content": text} for text in asked),
            ],
            "max_completion_tokens": engine.max_tokens,
            "seed": SEED,
            "stream": False,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": TOOL, "strict": True, "schema": SCHEMA},
            },
        }
        if engine.temperature is not None:
            body["temperature"] = engine.temperature
        headers = {"Content-Type": "application/json"}
        if secret := key.get_secret_value():
            headers["Authorization"] = f"Bearer {secret}"
        return Call(f"{root}/chat/completions", headers, "POST", content=json.dumps(body).encode())

    def load(self, root: str, key: SecretStr, engine: Engine) -> Call | None:
        """Nothing is loaded."""
        return None

    def again(self, status: int, headers: Mapping[str, str]) -> bool:
        """As the vendor's own client has it."""
        return chat.again(status, headers)

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """A whole reply or a stream of chunks. As `EngineCodec.read`."""
        if status >= 300:
            raise _refusal(status, headers, _error(body))
        if chat.streamed(headers, body):
            return self._stream(headers, body)
        said = chat.thing(NAME, body, body)
        if said.get("error"):
            raise _refusal(502, headers, chat.part(said["error"]))
        choice = _first(said)
        if not choice:
            raise BadPayload(NAME, body, "a reply without choices")
        return _reply(said, chat.part(choice.get("message")), choice.get("finish_reason"))

    def _stream(self, headers: Mapping[str, str], body: bytes) -> Reply:
        whole: dict[str, Any] = {}
        texts: dict[str, list[str]] = {"content": [], "refusal": []}
        finish = None
        for data in chat.events(body):
            if data.strip() == "[DONE]":
                break
            chunk = chat.thing(NAME, body, data)
            if chunk.get("error"):
                raise _refusal(502, headers, chat.part(chunk["error"]))
            whole |= {key: chunk[key] for key in ("model", "usage") if chunk.get(key)}
            choice = _first(chunk)
            delta = chat.part(choice.get("delta"))
            for name, parts in texts.items():
                if isinstance(delta.get(name), str):
                    parts.append(delta[name])
            finish = choice.get("finish_reason") or finish
        return _reply(whole, {name: "".join(parts) or None for name, parts in texts.items()}, finish)


def _first(said: dict[str, Any]) -> dict[str, Any]:
    choices = said.get("choices")
    return chat.part(choices[0]) if isinstance(choices, list) and choices else {}


def _reply(said: dict[str, Any], message: dict[str, Any], finish: object) -> Reply:
    counts = chat.part(said.get("usage"))
    content = message.get("content")
    fault = ""
    if message.get("refusal"):
        fault = f"the model refused: {chat.told(message['refusal'])}"
    elif finish == "length":
        fault = "finish_reason length: the answer is cut off; raise max_tokens"
    elif finish != "stop":
        fault = f"finish_reason {chat.told(finish) if finish else 'is missing'}, not stop"
    elif not isinstance(content, str):
        fault = "a message without content"
    return Reply(
        content if isinstance(content, str) else "",
        chat.usage(counts.get("prompt_tokens"), counts.get("completion_tokens")),
        chat.model(said.get("model")),
        fault,
    )


def _error(body: bytes) -> dict[str, Any]:
    try:
        return chat.part(chat.thing(NAME, body, body).get("error"))
    except BadPayload:
        return {}  # a proxy's own page: the status says enough


def _refusal(status: int, headers: Mapping[str, str], error: dict[str, Any]) -> BourseError:
    code, kind = (str(error.get(name) or "") for name in ("code", "type"))
    if code in QUOTA or kind in QUOTA:
        todo = "asking again does not help: add credit at the vendor, then start again"
        return Rejected(NAME, code or kind, f"{chat.told(error.get('message'))}; {todo}")
    return chat.refusal(
        NAME, status, chat.told(code or kind), error.get("message"), chat.wait(headers, *RESETS), REMEDIES
    )
