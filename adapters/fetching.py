"""Fetching: HTTP, opened once for every vendor. What the bytes mean is the codec's; whether to ask again is the
caller's.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from market.errors import LineDown

OPEN_SECONDS = 10.0
READ_SECONDS = 60.0
RETRIES = 2
"""Of the connection alone: a request that was sent is not sent twice."""

LARGEST = 256 << 20


def get(url: str, headers: Mapping[str, str]) -> tuple[bytes, str]:
    """The body, unpacked, and its content type, whatever the status: vendors put their refusals there. Raises
    LineDown.
    """
    limits = httpx.Timeout(READ_SECONDS, connect=OPEN_SECONDS)
    try:
        with (
            httpx.Client(timeout=limits, transport=httpx.HTTPTransport(retries=RETRIES)) as client,
            client.stream("GET", url, headers=dict(headers)) as answer,
        ):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise LineDown(answer.url.host, f"the answer is larger than {LARGEST >> 20} MiB")
            return bytes(body), answer.headers.get("content-type", "")
    except httpx.HTTPError as e:
        raise LineDown(httpx.URL(url).host, f"{type(e).__name__}: {e}") from e
