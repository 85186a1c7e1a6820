"""Fetching: HTTP, opened once for every vendor. What the bytes mean is the codec's; whether to ask again is the
caller's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from market.errors import LineDown

OPEN_SECONDS = 10.0
READ_SECONDS = 60.0
RETRIES = 2
"""Of the connection alone: a request that was sent is not sent twice."""

LARGEST = 256 << 20
BUSY = (429, 502, 503, 504)
"""Codes of a server, or of a gateway before it, that cannot answer now, whatever the body says."""


class Answer(NamedTuple):
    """What came back: HTTP status, body, unpacked, and content type."""

    status: int
    body: bytes
    kind: str


def get(url: str, headers: Mapping[str, str]) -> tuple[bytes, str]:
    """The body, unpacked, and its content type; vendors put their refusals there. Raises LineDown."""
    answer = ask("GET", url, headers)
    return answer.body, answer.kind


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    json: Mapping[str, object] | None = None,
    form: Mapping[str, str] | None = None,
    content: bytes | None = None,
    seconds: float = READ_SECONDS,
) -> Answer:
    """One request, with a JSON or a form body or this content, answered within `seconds` of silence.

    Raises LineDown where nobody answers, and for the codes in `BUSY`: its `after` is what `Retry-After` says. No error
    holds the address's query, a header or a body.
    """
    limits = httpx.Timeout(seconds, connect=min(seconds, OPEN_SECONDS))
    try:
        with (
            httpx.Client(timeout=limits, transport=httpx.HTTPTransport(retries=RETRIES)) as client,
            client.stream(method, url, headers=dict(headers), json=json, data=form, content=content) as answer,
        ):
            if answer.status_code in BUSY:
                after = _seconds(answer.headers.get("retry-after", ""))
                raise LineDown(answer.url.host, f"{answer.status_code} {answer.reason_phrase}", after)
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise LineDown(answer.url.host, f"the answer is larger than {LARGEST >> 20} MiB")
            return Answer(answer.status_code, bytes(body), answer.headers.get("content-type", ""))
    except httpx.HTTPError as e:
        raise LineDown(httpx.URL(url).host, f"{type(e).__name__}: {e}") from e


def _seconds(said: str) -> float:
    """How long `Retry-After` asks us to stay away: it names seconds, or a date."""
    if said.isdecimal():
        return float(said)
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0
