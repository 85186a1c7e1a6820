"""What the vendors of language models have in common: server-sent events, waits named in headers, and JSON objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from market.engines import MODEL, Usage, plain
from market.errors import AuthRequired, BadPayload, BourseError, LineDown, Rejected

MOST_MESSAGE = 200
LONGEST_WAIT = 86_400.0
TOO_MANY = 429
BROKEN = 500
AGAIN = frozenset({408, 409, 429})
"""With every status from BROKEN on."""

_KEY = re.compile(r"\b(?:sk|key|xai|gsk)-[\w*.-]+")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def again(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the same may be asked once more: by the header that says so, else by the status.

    Source: github.com/anthropics/anthropic-sdk-python and openai/openai-python, `_should_retry`.
    """
    said = headers.get("x-should-retry")
    return said == "true" if said in ("true", "false") else status in AGAIN or status >= BROKEN


def wait(headers: Mapping[str, str], *resets: str) -> float:
    """Seconds until one may ask again, 0 where nobody says: of `retry-after-ms`, `retry-after`, then of `resets`.

    `resets`: headers that hold a duration. A date in `retry-after` is measured from the answer's own `date`.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said):
            return min(float(said) * unit, LONGEST_WAIT)
    try:
        dates = [parsedate_to_datetime(headers[name]) for name in ("retry-after", "date")]
        return min(max((dates[0] - dates[1]).total_seconds(), 0.0), LONGEST_WAIT)
    except (KeyError, ValueError, TypeError):
        pass
    named = [duration(headers[name]) for name in resets if name in headers]
    return min(max(named, default=0.0), LONGEST_WAIT)


def duration(text: str) -> float:
    """Seconds of `6m0s` or `20ms`; 0 for what is none.

    >>> duration("6m0s"), duration("20ms"), duration("soon")
    (360.0, 0.02, 0.0)
    """
    parts = _DURATION.findall(text)
    whole = "".join(number + unit for number, unit in parts) == text
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if whole else 0.0


def told(message: object) -> str:
    """A vendor's complaint as one short line, without what looks like a key."""
    return plain(_KEY.sub("[key]", message if isinstance(message, str) else "no message"), MOST_MESSAGE)


def refusal(
    vendor: str, status: int, code: str, message: object, after: float, remedies: Mapping[int, str]
) -> BourseError:
    """The error for a status from 300 on. `remedies`: what to do, by status."""
    said, todo = told(message), remedies.get(status, "")
    if status in (401, 403):
        return AuthRequired(vendor, f"{said}; {todo}")
    if status in (408, TOO_MANY) or status >= BROKEN:
        return LineDown(vendor, f"{status} {code}: {said}", after)
    if status < 400:
        return Rejected(vendor, str(status), "the address sends us elsewhere; say the final one as url")
    return Rejected(vendor, code or str(status), f"{said}; {todo}" if todo else said)


def events(body: bytes) -> Iterator[str]:
    """The data of server-sent events, in their order. Source: html.spec.whatwg.org, section 9.2.6."""
    lines: list[str] = []
    for line in [*body.decode("utf-8-sig", "replace").splitlines(), ""]:
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []


def streamed(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer is server-sent events."""
    return "event-stream" in headers.get("content-type", "") or body.lstrip().startswith((b"event:", b"data:"))


def thing(vendor: str, body: bytes, text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises BadPayload, with `body` as its payload."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadPayload(vendor, body, f"not JSON: {e}") from None
    if not isinstance(found, dict):
        raise BadPayload(vendor, body, "an answer that is no object")
    return found


def part(value: object) -> dict[str, Any]:
    """An object inside another; empty where it is none."""
    return value if isinstance(value, dict) else {}


def usage(tokens_in: object, tokens_out: object) -> Usage | None:
    """The tokens, where both are counts."""
    counts = [n for n in (tokens_in, tokens_out) if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 10**9]
    return Usage(*counts) if len(counts) == 2 else None


def model(name: object) -> str:
    """Which model answered; "" where that is not said in a name."""
    return name if isinstance(name, str) and MODEL.fullmatch(name) else ""
