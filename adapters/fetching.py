"""Fetching: HTTP, opened once for every vendor. What the bytes mean is the codec's; whether to ask again is the
caller's.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from typing import NamedTuple

import httpx

from market.errors import LineDown, OutcomeUnknown

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


class Page(NamedTuple):
    """The same with the headers, their names in small letters; whatever the status is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Door:
    """Keeps its connections open from one request to the next; of one event loop."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Make ready for the first request; it opens by itself too."""
        if self._client is not None:
            return
        context = await asyncio.to_thread(_context)
        if self._client is None:
            transport = httpx.AsyncHTTPTransport(verify=context, retries=RETRIES)
            self._client = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=OPEN_SECONDS), transport=transport)

    async def post(self, url: str, headers: Mapping[str, str], content: bytes, largest: int) -> Page:
        """One request, with an answer of at most so many bytes. How long it may take, all in all, is the caller's to
        say, by a cancellation; an address that sends us elsewhere is not followed.

        Raises LineDown where nothing was sent, OutcomeUnknown where the answer is missing or too large. No error holds
        the address's query, a header or a body.
        """
        await self.open()
        client = self._client
        if client is None:
            raise LineDown(httpx.URL(url).host, "the door was closed meanwhile")
        try:
            async with client.stream("POST", url, headers=dict(headers), content=content) as answer:
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > largest:
                        raise OutcomeUnknown(answer.url.host, f"the answer is larger than {largest >> 10} KiB")
                return Page(answer.status_code, dict(answer.headers), bytes(body))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as e:
            raise LineDown(httpx.URL(url).host, f"{type(e).__name__}: {e}") from e
        except httpx.HTTPError as e:
            raise OutcomeUnknown(httpx.URL(url).host, f"{type(e).__name__}: {e}") from e

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


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


@cache
def _context() -> ssl.SSLContext:
    """Reads the authorities' certificates, which takes its time."""
    return httpx.create_ssl_context()


def _seconds(said: str) -> float:
    """How long `Retry-After` asks us to stay away: it names seconds, or a date."""
    if said.isdecimal():
        return float(said)
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0
