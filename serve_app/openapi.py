"""OpenAPI: what FastAPI cannot know of our paths: how each refuses, who may ask, and in which forms it answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from market.access import TABLE, Need, Row
from serve_app.answers import JSON, MSGPACK
from serve_app.problems import MEDIA_TYPE, Problem

SCHEMES: dict[str, Any] = {
    "login": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The token of a login."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-KEY", "description": "An API key."},
}


def complete(app: FastAPI) -> None:
    """Let the app describe itself in full."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(plain())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """A document of FastAPI's with refusals, credentials and MessagePack added; the same one."""
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    parts["securitySchemes"] = SCHEMES
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    rows = {(row.method.lower(), row.path): row for row in TABLE}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _refusals(operation)
            row = rows.get((method, path))
            if row is not None:
                operation["security"] = _security(row)
    return document


def _refusals(operation: dict[str, Any]) -> None:
    refused = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    answers = operation["responses"]
    answers.pop("422", None)
    for code, answer in answers.items():
        if code in ("304", "204"):
            answer.pop("content", None)
        elif code == "406":
            answer |= refused
        elif code.startswith("2") and "406" in answers:
            answer["content"][MSGPACK] = {"schema": answer["content"][JSON]["schema"]}
    answers["default"] = {"description": "Why not (RFC 9457)", **refused}


def _security(row: Row) -> list[dict[str, list[str]]]:
    if row.need is Need.OPEN:
        return []
    login: dict[str, list[str]] = {"login": []}
    return [login] if row.scope is None else [login, {"key": []}]
