"""Fetching: HTTP, opened once for every vendor. What the bytes mean is the codec's; whether to ask again is the
caller's.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar
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

PACKED = {"": 0, "identity": 0, "gzip": 31, "x-gzip": 31}
"""How a page may be packed, and the window zlib unpacks it with."""


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

    async def get(self, url: str, headers: Mapping[str, str], largest: int, seconds: float = READ_SECONDS) -> Page:
        """One request, answered as a whole within so many seconds and bytes, packed and unpacked; cookies are kept for
        the next. An address that sends us elsewhere is not followed: the answer says where to.

        Raises LineDown. No error holds the address's query, a header or a body.
        """
        await self.open()
        client = self._client
        if client is None:
            raise LineDown(httpx.URL(url).host, "the door was closed meanwhile")
        asked = {**headers, "Accept-Encoding": "gzip"}
        host = "the address"
        try:
            host = httpx.URL(url).host
            async with asyncio.timeout(seconds), client.stream("GET", url, headers=asked) as answer:
                return Page(answer.status_code, dict(answer.headers), await _unpacked(answer, largest))
        except TimeoutError as e:
            raise LineDown(host, f"no whole answer within {seconds:g} s") from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise LineDown(host, f"{type(e).__name__}: {e}") from e
        finally:
            _unsent(client.cookies.jar)

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
                after = seconds_away(answer.headers.get("retry-after", ""))
                raise LineDown(answer.url.host, f"{answer.status_code} {answer.reason_phrase}", after)
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise LineDown(answer.url.host, f"the answer is larger than {LARGEST >> 20} MiB")
            return Answer(answer.status_code, bytes(body), answer.headers.get("content-type", ""))
    except httpx.HTTPError as e:
        raise LineDown(httpx.URL(url).host, f"{type(e).__name__}: {e}") from e


def seconds_away(said: str) -> float:
    """How long `Retry-After` asks us to stay away: it names seconds, or a date."""
    if said.isdecimal():
        return float(said)
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


@cache
def _context() -> ssl.SSLContext:
    """Reads the authorities' certificates, which takes its time."""
    return httpx.create_ssl_context()


def _unsent(jar: CookieJar) -> None:
    """Let go of cookies that no header can hold: with one of them no further request could be written."""
    for cookie in [one for one in jar if not f"{one.name}{one.value}".isascii()]:
        jar.clear(cookie.domain, cookie.path, cookie.name)


async def _unpacked(answer: httpx.Response, largest: int) -> bytes:
    """Byte for byte, for a few packed ones may hold millions, and httpx unpacks them before anybody could look."""
    host, packed = answer.url.host, answer.headers.get("content-encoding", "").strip().lower()
    if packed not in PACKED:
        raise LineDown(host, f"an answer packed as {packed[:20]!r}, and gzip was asked for")
    unpack = zlib.decompressobj(PACKED[packed]) if PACKED[packed] else None
    body, read = bytearray(), 0
    async for part in answer.aiter_raw():
        read += len(part)
        try:
            body += unpack.decompress(part, largest - len(body) + 1) if unpack else part
        except zlib.error as e:
            raise LineDown(host, f"an answer that cannot be unpacked: {e}") from e
        if max(len(body), read) > largest:
            raise LineDown(host, f"the answer is larger than {largest >> 10} KiB")
    if unpack and read and not unpack.eof:
        raise LineDown(host, "a packed answer that ends before its end")
    return bytes(body)
