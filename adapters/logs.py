"""Logs: one event a line, as JSON, with the part that says it and the request it belongs to.

    {"event": "committed", "level": "info", "at": "2016-08-25T03:46:00.120000Z", "part": "archive", "rows": 153}

What is bound to structlog's context (a request id) stands on every line of that context; an exception is one field.
Where the environment names a folder as BOURSE_LOGS, each part writes `PART.jsonl` there, ten files of 20 MiB at most;
else lines go to standard error.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog

from market.errors import BadValue

LEVELS = ("debug", "info", "warning", "error", "critical")
FOLDER = "BOURSE_LOGS"
FILE_BYTES, FILES = 20 << 20, 10


def configure(part: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Log as `part` from `level` upwards, to `stream` if one is given. Raises BadValue."""
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
        logger_factory=lambda *_: logging.getLogger("bourse"),
        cache_logger_on_first_use=False,
    )
    handler = _handler(part, stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("bourse")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(logging.DEBUG)


def _handler(part: str, stream: TextIO | None) -> logging.Handler:
    folder = os.environ.get(FOLDER)
    if stream is not None or not folder:
        return logging.StreamHandler(stream or sys.stderr)
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"{part.replace('/', '-')}.jsonl"
    return RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES - 1)
