"""Client: quotes, candles, analysis, signals and alerts of a running Bourse, for asyncio. Source: docs/stream.md.

    async with Client("http://127.0.0.1:8000") as bourse:
        async for update in bourse.quotes(["RELIANCE", "TCS"], rate=4):
            print(update.symbols, bourse.latest["RELIANCE"]["price"])

One socket carries all of it. A cut mends itself: the client comes again after a pause, resumes its session, and reads
each channel on from where it is. Quotes are conflated, here too: who asks late gets the latest values, once. Channels
are not: a channel whose rows wait unread is left, and joined again behind the last of them once they are taken.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import date, datetime
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import msgpack

from adapters.lines import Backoff
from bourse.latest import Columns, Latest, full_names
from market import frames
from market.errors import AuthRequired, BadValue, BourseError, LineDown, Rejected, TooOld, UnknownSymbol

GATEWAY = "gateway"
REMEDY = "give Client a valid token or key, or a function that gets a token"
OPEN_SECONDS = 5.0
FRAME_BYTES = 16 << 20
SILENCE = 2
"""So many heartbeats missed are a line that is down."""
SYMBOLS, BATCH = 1000, 500
WAITING = 256
"""Messages of one channel that may wait unread."""
MESSAGES_A_SECOND, AT_ONCE = 15.0, 60
NO_CREDENTIAL, FORBIDDEN, BAD_FORMAT, TOO_LONG = 4001, 4003, 1008, 1009
UNAVAILABLE, TOO_MANY, GONE = 503, 429, 410

Token = str | Callable[[], Awaitable[str]]
ChannelName = Literal["candles", "analysis", "signals", "alerts"]
Message = dict[str, Any]


class Update:
    """What is new since the update before. `symbols`: of the quotes that changed; none where only the line did."""

    __slots__ = ("feed", "latest", "live", "market_time", "symbols")

    def __init__(self, latest: Latest) -> None:
        self.latest, self.symbols = latest, latest.moved()
        self.live, self.feed, self.market_time = latest.live, latest.feed, latest.market_time

    @property
    def quotes(self) -> dict[str, dict[str, Any]]:
        """The whole quotes of what changed."""
        return {symbol: self.latest[symbol] for symbol in self.symbols}

    def columns(self) -> Columns:
        """The same as columns; see `Latest.columns`."""
        return self.latest.columns(self.symbols)


class Quotes:
    """Updates of quotes, without end; asks for more and fewer symbols meanwhile."""

    def __init__(self, client: Client, fields: Collection[str] | None, rate: int) -> None:
        self.unknown: list[str] = []
        """What was asked for and nobody listed."""
        self.left_out: list[str] = []
        """What is over the number of symbols the gateway lets us have."""
        self.rate = rate
        brought = {"stale"} | ({"at"} if "received" in (fields or ()) else set())
        self.fields = None if fields is None else sorted({*fields, *brought})
        self._client = client
        self._sources: list[Message] = []
        self._news = asyncio.Event()
        self._error: Exception | None = None
        self.removing: deque[dict[str, str]] = deque()
        """What the gateway was asked to leave out and has not answered: as asked -> in full, where that is known."""

    def __aiter__(self) -> Quotes:
        return self

    async def __anext__(self) -> Update:
        """The next update. Raises UnknownSymbol where none of the symbols is listed, and what ended the client."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            self._news.set()
            raise self._error
        if self._client.closed:
            self._news.set()
            raise StopAsyncIteration
        return Update(self._client.latest)

    def add(self, symbols: Collection[str] = (), *, watchlist: str | None = None, index: str | None = None) -> None:
        """Ask for more."""
        names = list(dict.fromkeys(symbols))
        sources: list[Message] = [{"symbols": names[k : k + SYMBOLS]} for k in range(0, len(names), SYMBOLS)]
        sources += [{"watchlist": watchlist}] if watchlist is not None else []
        sources += [{"index": index}] if index is not None else []
        for source in sources:
            self._sources.append(source)
            self._subscribe(source)

    def remove(self, symbols: Collection[str]) -> None:
        """Ask for fewer; what a watchlist or an index brought comes again after a cut."""
        gone = {_full(name) for name in symbols}
        for source in self._sources:
            if "symbols" in source:
                source["symbols"] = [s for s in source["symbols"] if _full(s) not in gone]
        self._sources = [s for s in self._sources if s.get("symbols") != []]
        known = set(self._client.latest)
        self.removing.append({s: next((name for name in full_names(s) if name in known), "") for s in symbols})
        self._client.latest.forget(symbols)
        self._client.say({"op": "unsubscribe", "symbols": list(symbols)}, self._removed)

    def tell(self, error: Exception | None = None) -> None:
        """There is something new."""
        self._error = self._error or error
        self._news.set()

    def begin(self, *, tuned: bool) -> None:
        """A line is up: say what is wanted. `tuned`: rate and fields are already as they should be."""
        self.unknown, self.left_out = [], []
        if not tuned:
            self._client.say({"op": "set", "rate": self.rate, "fields": self.fields}, self.refused)
        for source in self._sources:
            self._subscribe(source)

    def _subscribe(self, source: Message) -> None:
        self._client.say({"op": "subscribe"} | source, self._subscribed)

    def _subscribed(self, said: Message) -> None:
        if self.refused(said):
            return
        self._client.latest.number(self.kept(said["numbers"]))
        self.unknown += said["unknown"]
        self.left_out += said["left_out"]
        if said["unknown"] and not len(self._client.latest):
            allowed = "a listed symbol, like NSE:RELIANCE; none of those asked for is one"
            self.tell(UnknownSymbol("symbols", ", ".join(said["unknown"])[:100], allowed))

    def kept(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Those that are still wanted: whatever is answered before a removal was asked for before it."""
        for asked in self.removing:
            for symbol, name in asked.items():
                asked[symbol] = name or next((one for one in full_names(symbol) if one in numbers), "")
        gone = {name for asked in self.removing for name in asked.values()}
        return {name: number for name, number in numbers.items() if name not in gone}

    def _removed(self, said: Message) -> None:
        self.removing.popleft()

    def refused(self, said: Message) -> bool:
        """Whether an answer is an error, which then ends this."""
        if said["type"] == "error":
            self.tell(_error_of(said["problem"]))
        return bool(said["type"] == "error")


class Channel:
    """The entries of a channel, each a list of rows, every one once and in order; without end."""

    def __init__(self, client: Client, name: str, asked: Message, after: str | None) -> None:
        self.name = name
        self.cursor = after
        """Of the last entry that was handed out; keep it to go on from there in another process."""
        self.caught_up = after is None
        """Whether what was missed has come."""
        self._client, self._asked = client, asked
        self._last = after
        self._rows: deque[tuple[str, list[Message]]] = deque()
        self._news, self._ready = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        self._joined = self._paused = False
        self._retry: asyncio.TimerHandle | None = None
        self._backoff = Backoff()

    def __aiter__(self) -> Channel:
        return self

    async def __anext__(self) -> list[Message]:
        """The rows of the next entry. Raises TooOld for a cursor of over an hour ago, and what ended the client."""
        while not self._rows:
            if self._error is not None:
                raise self._error
            if self._client.closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self.cursor, rows = self._rows.popleft()
        if self._paused and len(self._rows) <= WAITING // 2:
            self._paused = False
            self.begin()
        return rows

    async def ready(self) -> Channel:
        """Wait until the gateway has taken us in. Raises as reading does."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def close(self) -> None:
        """Leave it."""
        if self._client.channels.pop(self.name, None) is self:
            self._client.say({"op": "leave", "channel": self.name})

    def begin(self) -> None:
        """A line is up: join, from behind what we have."""
        self._joined = False
        self._retry = None
        if not self._paused and self._error is None and self._client.channels.get(self.name) is self:
            after = {} if self._last is None else {"after": self._last}
            self._client.say({"op": "join", "channel": self.name} | self._asked | after, self._answered)

    def take(self, said: Message) -> None:
        """One message of it."""
        if not self._joined:  # of a membership that has ended: it comes again
            return
        if said["type"] == "caught_up":
            self.caught_up = True
            return
        if len(self._rows) >= WAITING:
            self._paused, self._joined, self.caught_up = True, False, False
            self._client.say({"op": "leave", "channel": self.name})
            return
        self._last = said["cursor"]
        if said["rows"]:
            self._rows.append((said["cursor"], said["rows"]))
        elif not self._rows:
            self.cursor = said["cursor"]
        self._news.set()

    def tell(self, error: Exception | None = None) -> None:
        """The client has ended."""
        self._error = self._error or error
        self._news.set()
        self._ready.set()

    def _answered(self, said: Message) -> None:
        if said["type"] == "done":
            self._joined = True
            self._ready.set()
            self._backoff.reset()
            if self._last is None:
                self._last = self.cursor = said["cursor"]
            return
        self._joined = False
        error = _error_of(said["problem"])
        if not isinstance(error, LineDown):
            self.tell(error)
        elif self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._backoff.pause(), self.begin)


class Client:
    """One line to a gateway, mended by itself; an async context manager.

    `url`: of the gateway, http or https. `token`: of a login, or an async function that gets one, asked before every
    connection; what it raises is tried again, but for AuthRequired and Rejected. `key`: an API key. Without either, who
    asks is anonymous.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, token: Token | None = None, key: str | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BadValue("url", url, "the gateway's address, like http://127.0.0.1:8000")
        if token is not None and key is not None:
            raise BadValue("key", "given", "a token or a key, not both")
        self.url = url.rstrip("/")
        self.latest = Latest()
        self.channels: dict[str, Channel] = {}
        self.hello: Message = {}
        """How the gateway has greeted us: limits, fields, whether this is a demo."""
        self.trouble = ""
        """Why the line is down, empty while it is up."""
        self.cuts = 0
        """How often the line was lost."""
        self.closed = False
        self._token, self._key, self._bearer = token, key, ""
        self._quotes: Quotes | None = None
        self._task: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._asks: dict[int, Callable[[Message], object]] = {}
        self._out: asyncio.Queue[Message] | None = None
        self._session, self._sequence, self._checked = "", -1, False
        self._error: Exception | None = None
        self._http: Any = None

    async def __aenter__(self) -> Client:
        """Connect. Raises LineDown, AuthRequired or Rejected where the first try fails."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first))
        try:
            await first
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()
        self._tell_all(None)

    @property
    def cursor(self) -> dict[str, str]:
        """The cursor of each channel, where it has one: give it as `after`, in this process or another."""
        return {name: one.cursor for name, one in self.channels.items() if one.cursor is not None}

    def quotes(
        self,
        symbols: Collection[str] = (),
        *,
        watchlist: str | None = None,
        index: str | None = None,
        fields: Collection[str] | None = None,
        rate: int = 4,
    ) -> Quotes:
        """Updates of the quotes of some symbols, a list of one's own or an index, `rate` times a second at most.

        `fields`: of the quote, None for all; `stale` always comes. Raises BadValue.
        """
        wrong = [name for name in fields or () if name not in frames.NAMES]
        if wrong:
            raise BadValue("fields", wrong[0], f"some of {', '.join(frames.NAMES)}")
        if not 1 <= rate <= 20:
            raise BadValue("rate", rate, "1 to 20 a second")
        if isinstance(symbols, str):
            raise BadValue("symbols", symbols, "a list of names")
        if self._quotes is not None:
            raise BadValue("quotes", "again", "one stream of quotes a client: `add` to it, or open another client")
        self._quotes = Quotes(self, fields, rate)
        self._ended(self._quotes)
        self.say({"op": "set", "rate": rate, "fields": self._quotes.fields}, self._quotes.refused)
        self._quotes.add(symbols, watchlist=watchlist, index=index)
        return self._quotes

    def channel(
        self,
        name: ChannelName,
        symbols: Collection[str] | None = None,
        *,
        interval: str | None = None,
        after: str | None = None,
    ) -> Channel:
        """The entries of a channel from now on, or from behind a cursor; `symbols` None: all. Raises BadValue."""
        if name in self.channels:
            raise BadValue("channel", name, "a channel that is not joined yet; close it first")
        if isinstance(symbols, str):
            raise BadValue("symbols", symbols, "a list of names, or None")
        asked = {"symbols": None if symbols is None else list(symbols)} | ({"interval": interval} if interval else {})
        self.channels[name] = Channel(self, name, asked, after)
        self._ended(self.channels[name])
        self.channels[name].begin()
        return self.channels[name]

    async def get_quotes(self, symbols: Collection[str]) -> list[Message]:
        """The latest quotes, by REST, in order. Raises UnknownSymbol, LineDown, AuthRequired, Rejected."""
        names, found = list(symbols), []
        for k in range(0, len(names), BATCH):
            body = await self._get("/api/stocks/batch", symbols=",".join(names[k : k + BATCH]))
            if body["unknown"]:
                raise UnknownSymbol("symbols", ", ".join(body["unknown"])[:100], "symbols this universe lists")
            found += body["quotes"]
        return found

    async def get_candles(
        self,
        symbol: str,
        interval: str = "1m",
        start: datetime | date | str | None = None,
        end: datetime | date | str | None = None,
        *,
        limit: int | None = None,
    ) -> Message:
        """Candles that start in [start, end), with what they are short of, by REST: the running session's without
        either. An end that is a date is included. Raises as `get_quotes`.
        """
        asked = {"from": start, "to": end, "interval": interval, "limit": limit}
        told = {k: v.isoformat() if isinstance(v, date) else str(v) for k, v in asked.items() if v is not None}
        return await self._get(f"/api/v1/candles/{quote(symbol, safe='')}", **told)

    def say(self, message: Message, answered: Callable[[Message], object] | None = None) -> None:
        """Say something if the line is up; `answered` is called with the done or the error, or with both: a channel may
        be joined and lost.
        """
        if self._out is None:
            return
        number = next(self._ids)
        if answered is not None:
            self._asks[number] = answered
        self._out.put_nowait(message | {"id": number})

    async def _run(self, first: asyncio.Future[None]) -> None:
        backoff = Backoff()
        while True:
            greeted, after = self.hello, 0.0
            try:
                await self._line(first, backoff)
            except AuthRequired as e:
                if self.hello is greeted or not callable(self._token):
                    return self._end(e, first)
                self.trouble = str(e)
            except LineDown as e:
                if not first.done():
                    return self._end(e, first)
                self.trouble, after = e.reason, e.after
            except Exception as e:
                return self._end(e, first)
            finally:
                self._out = None
                self._asks.clear()
                self.latest.live = False
            self.cuts += 1
            if self._quotes is not None:
                self._quotes.tell()
            await asyncio.sleep(max(backoff.pause(), after))

    async def _line(self, first: asyncio.Future[None], backoff: Backoff) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

        address = f"ws{self.url.removeprefix('http')}/ws/quotes?format=msgpack"
        headers = await self._credential(anew=True)
        try:
            async with connect(
                address, additional_headers=headers, ping_interval=None, compression=None, max_size=FRAME_BYTES,
                open_timeout=OPEN_SECONDS, close_timeout=0.5,
            ) as socket:  # fmt: skip
                hello = await self._heard(socket, OPEN_SECONDS)
                self._begin(hello)
                sender = asyncio.create_task(self._speak(socket))
                try:
                    if not first.done():
                        first.set_result(None)
                    silence = SILENCE * float(hello["heartbeat_seconds"])
                    self._take(await self._heard(socket, silence))
                    backoff.reset()
                    while True:
                        self._take(await self._heard(socket, silence))
                finally:
                    sender.cancel()
        except ConnectionClosed as e:
            code, reason = (e.rcvd.code, e.rcvd.reason) if e.rcvd else (0, "the line broke")
            raise _error_of_code(code, reason) from e
        except InvalidStatus as e:
            status = e.response.status_code
            raise _error_of_status(
                status, f"handshake refused with {status}", e.response.headers.get("Retry-After")
            ) from e
        except InvalidURI as e:
            raise BadValue("url", self.url, "the gateway's address, like http://127.0.0.1:8000") from e
        except (InvalidHandshake, OSError, TimeoutError, EOFError) as e:
            raise LineDown(GATEWAY, f"{type(e).__name__}: {e}") from e

    async def _credential(self, *, anew: bool) -> dict[str, str]:
        if self._key is not None:
            return {"X-API-KEY": self._key}
        if self._token is None:
            return {}
        if anew or not self._bearer:
            try:
                self._bearer = await self._token() if callable(self._token) else self._token
            except (AuthRequired, Rejected):
                raise
            except Exception as e:  # whoever gives tokens is away: that passes, as a gateway's being away does
                raise LineDown(GATEWAY, f"no token: {type(e).__name__}: {e}") from e
        return {"Authorization": f"Bearer {self._bearer}"}

    async def _heard(self, socket: Any, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                data = await socket.recv()
        except TimeoutError:
            raise LineDown(GATEWAY, f"nothing was heard for {seconds:g} seconds") from None
        try:
            return msgpack.unpackb(data)
        except (ValueError, TypeError, msgpack.UnpackException) as e:
            raise LineDown(GATEWAY, f"a frame cannot be read: {e}") from e

    async def _speak(self, socket: Any) -> None:
        """Send what is said, no faster than the gateway takes it."""
        from websockets.exceptions import ConnectionClosed

        out, loop = self._out, asyncio.get_running_loop()
        left, at = float(AT_ONCE), loop.time()
        while out is not None:
            message = await out.get()
            left = min(AT_ONCE, left + (loop.time() - at) * MESSAGES_A_SECOND) - 1
            at = loop.time()
            if left < 0:
                await asyncio.sleep(-left / MESSAGES_A_SECOND)
            try:
                await socket.send(msgpack.packb(message))
            except ConnectionClosed:  # whoever receives is told why
                return

    def _begin(self, hello: Any) -> None:
        if not isinstance(hello, dict) or hello.get("type") != "hello" or hello.get("version") != 1:
            raise Rejected(GATEWAY, "version", "it speaks another protocol than this client: version 1")
        self._out = asyncio.Queue()
        before, self._session, self.hello = self._session, hello["session"], hello
        self.trouble, self._checked = "", False
        self.latest.begin(hello)
        if self._quotes is not None and before and not self._quotes.removing and self._sequence >= 0:
            self.say({"op": "resume", "session": before, "sequence": self._sequence}, self._resumed)
        else:
            self._sequence = -1
            if self._quotes is not None:
                self._quotes.removing.clear()
                self._quotes.begin(tuned=False)
        for channel in self.channels.values():
            channel.begin()

    def _resumed(self, said: Message) -> None:
        quotes = self._quotes
        if quotes is None:
            return
        if not said.get("known"):
            self._sequence = -1
            quotes.begin(tuned=False)
            return
        self._checked = True
        self.latest.number(quotes.kept(said["numbers"]), heard=True)
        same = set(said["fields"]) == set(quotes.fields or frames.NAMES) and said["rate"] == 20 / -(-20 // quotes.rate)
        quotes.begin(tuned=same)
        quotes.tell()

    def _take(self, said: Any) -> None:
        if isinstance(said, list):
            if self._checked and said[1] != (self._sequence + 1) & 0xFFFFFFFF:
                raise LineDown(GATEWAY, f"a frame is missing: {said[1]} came behind {self._sequence}")
            if self._sequence < 0 or self._checked:
                self._sequence, self._checked = said[1], True
            if self.latest.fold(said) and self._quotes is not None:
                self._quotes.tell()
            return
        kind = said.get("type")
        if kind in ("done", "error"):
            asked = self._asks.get(said.get("id", 0))
            if kind == "error" or "cursor" not in said:
                self._asks.pop(said.get("id", 0), None)
            if asked is not None:
                asked(said)
        channel = self.channels.get(said.get("channel", "") if kind == "caught_up" else kind)
        if channel is not None and kind not in ("done", "error"):
            channel.take(said)

    def _end(self, error: Exception, first: asyncio.Future[None]) -> None:
        self.trouble, self._error = str(error), error
        if not first.done():
            first.set_exception(error)
        self._tell_all(error)

    def _ended(self, listener: Quotes | Channel) -> None:
        if self._error is not None:
            listener.tell(self._error)

    def _tell_all(self, error: Exception | None) -> None:
        for listener in (self._quotes, *self.channels.values()):
            if listener is not None:
                listener.tell(error)

    async def _get(self, path: str, **query: str) -> Message:
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(base_url=self.url, timeout=30.0)
        try:
            answer = await self._http.get(path, params=query, headers=await self._credential(anew=False))
            if answer.status_code == 401 and callable(self._token):
                answer = await self._http.get(path, params=query, headers=await self._credential(anew=True))
            body: Message = answer.json()
        except httpx.HTTPError as e:
            raise LineDown(GATEWAY, f"{type(e).__name__}: {e}") from e
        except ValueError as e:
            raise LineDown(GATEWAY, f"the answer to {path} is no JSON: status {answer.status_code}") from e
        if answer.is_success:
            return body
        raise _error_of(body | {"status": answer.status_code}, answer.headers.get("Retry-After"))


def _full(symbol: str) -> str:
    name = symbol.strip().upper()
    return name if ":" in name else f"NSE:{name}"


def _error_of(problem: Mapping[str, Any], after: str | None = None) -> BourseError:
    """A problem document as our own error."""
    kind, status = str(problem.get("type", "")).rpartition(":")[2], int(problem.get("status", 500))
    detail, allowed = str(problem.get("detail", "refused")), str(problem.get("allowed", ""))
    if kind == "unknown-symbol":
        return UnknownSymbol("symbol", detail, allowed)
    if status == GONE:
        return TooOld("after", detail, allowed)
    if status in (400, 404, 422):
        return BadValue("request", detail, allowed)
    return _error_of_status(status, detail, after)


def _error_of_status(status: int, reason: str, after: str | None = None) -> BourseError:
    if status == 401:
        return AuthRequired(GATEWAY, REMEDY)
    if status == TOO_MANY or status >= 500:
        return LineDown(GATEWAY, reason, float(after) if after and after.isdecimal() else 0.0)
    return Rejected(GATEWAY, str(status), reason)


def _error_of_code(code: int, reason: str) -> BourseError:
    if code == NO_CREDENTIAL:
        return AuthRequired(GATEWAY, f"{reason or 'no valid credential'}; {REMEDY}")
    if code in (FORBIDDEN, BAD_FORMAT, TOO_LONG):
        return Rejected(GATEWAY, str(code), reason)
    return LineDown(GATEWAY, f"closed with {code}: {reason}" if code else reason)
