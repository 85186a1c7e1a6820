"""Logs: one event a line, as JSON, with the part that says it and the request it belongs to.

    {"event": "committed", "level": "info", "at": "2016-08-25T03:46:00.120000Z", "part": "archive", "rows": 153}

What is bound to structlog's context (a request id) stands on every line of that context; an exception is one field.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from market.errors import BadValue

LEVELS = ("debug", "info", "warning", "error", "critical")


def configure(part: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Log as `part` from `level` upwards, to standard error unless told otherwise. Raises BadValue."""
    if level not in LEVELS:
        raise BadValue("level", level, f"one of {', '.join(LEVELS)}")

    def named(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**event, "part": part}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            named,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
