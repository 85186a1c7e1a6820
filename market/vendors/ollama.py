"""Ollama's chat, a model on a machine of one's own. Source: github.com/ollama/ollama, docs/api.md and
docs/api/errors.mdx, read 2026-11-20.

Streaming is its default and is one JSON object a line; a failure in the middle is a line `{"error": ...}` after HTTP
200.
The first request loads the model, which takes from seconds to minutes; one that is given up ends the loading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from market.codecs import Call
from market.engines import SCHEMA, SYSTEM, Engine, Question, Reply
from market.errors import BadPayload, LineDown
from market.vendors import chat

NAME = "ollama"
SEED = 7
CONTEXT = 4096
"""Tokens; a longer context would be cut without a word."""
KEEP_ALIVE = "30m"
AGAIN = frozenset({429, 503})
"""A full queue; nothing is said of others."""
REMEDIES = {
    401: "put the key that this server wants in OLLAMA_API_KEY and start again",
    403: "put the key that this server wants in OLLAMA_API_KEY and start again",
    404: "fetch the model on its machine with `ollama pull MODEL`, or say another under engines",
}


class Ollama:
    """Satisfies `EngineCodec`."""

    name = NAME
    root = "http://127.0.0.1:11434"
    keyed = False

    def call(self, root: str, key: SecretStr, engine: Engine, question: Question, complaint: str = "") -> Call:
        """A request with a schema as its format."""
        asked = [question.text(), *([complaint] if complaint else [])]
        body = {
            "messages": [
                {"role": "system", "content": SYSTEM},
                *({"role": "user", "content": text} for text in asked),
            ],
            "format": SCHEMA,
        }
        return _call(root, key, engine, body)

    def load(self, root: str, key: SecretStr, engine: Engine) -> Call | None:
        """A chat without messages."""
        return _call(root, key, engine, {"messages": []})

    def again(self, status: int, headers: Mapping[str, str]) -> bool:
        """Only of a full queue."""
        return status in AGAIN

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """One object, or one a line. As `EngineCodec.read`."""
        if status >= 300:
            message = _error(body)
            raise chat.refusal(NAME, status, "error", message, chat.wait(headers), REMEDIES)
        lines = _lines(body)
        for line in lines:
            if "error" in line:
                raise LineDown(NAME, f"in the middle of an answer: {chat.told(line['error'])}")
        messages = [chat.part(line.get("message")) for line in lines]
        last = lines[-1]
        if not any(messages) and not last.get("done"):
            raise BadPayload(NAME, body, "a reply without a message")
        content = "".join(m["content"] for m in messages if isinstance(m.get("content"), str))
        fault, reason = "", last.get("done_reason", "stop")
        if last.get("done") is not True:
            fault = "the stream breaks off before it is done"
        elif reason == "length":
            fault = "done_reason length: the answer is cut off; raise max_tokens"
        elif reason != "stop":
            fault = f"done_reason {chat.told(reason)}, not stop"
        elif any(m.get("tool_calls") for m in messages):
            fault = "the model called a tool, and none was offered"
        tokens = chat.usage(last.get("prompt_eval_count"), last.get("eval_count"))
        return Reply(content, tokens, chat.model(last.get("model")), fault)


def _call(root: str, key: SecretStr, engine: Engine, body: Mapping[str, Any]) -> Call:
    options: dict[str, Any] = {"seed": SEED, "num_ctx": CONTEXT, "num_predict": engine.max_tokens}
    if engine.temperature is not None:
        options["temperature"] = engine.temperature
    whole = {"model": engine.model, **body, "stream": False, "options": options, "keep_alive": KEEP_ALIVE}
    headers = {"Content-Type": "application/json"}
    if secret := key.get_secret_value():
        headers["Authorization"] = f"Bearer {secret}"
    return Call(f"{root}/api/chat", headers, "POST", content=json.dumps(whole).encode())


def _lines(body: bytes) -> list[dict[str, Any]]:
    try:
        return [chat.thing(NAME, body, body)]
    except BadPayload:
        lines = [chat.thing(NAME, body, line) for line in body.splitlines() if line.strip()]
        if not lines:
            raise
        return lines


def _error(body: bytes) -> object:
    try:
        return chat.thing(NAME, body, body).get("error")
    except BadPayload:
        return None  # a proxy's own page: the status says enough
