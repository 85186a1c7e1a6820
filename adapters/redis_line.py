"""One line to a Redis, for everything here that speaks to one: no retries, raw replies, errors as LineDown.

redis-py repeats a command whose answer timed out, which doubles an XADD, so its retries are off; whoever called knows
what may be said twice. After a broken call the connection is closed: a late answer is never taken for the next one's.

Behind Sentinel a write counts only when a replica has it too (WAIT), so that what is acknowledged outlives the primary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha1
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from market.errors import BadValue, LineDown

Word = str | bytes | int
Call = tuple[Word, ...]

SENTINELS = re.compile(
    r"redis\+sentinel://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?(?P<hosts>[^@/:,]+:\d+(?:,[^@/:,]+:\d+)*)"
    r"/(?P<name>[\w.-]+)(?:/(?P<db>\d+))?"
)
"""redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/NAME[/DB], of which NAME is what Sentinel calls the set."""
REPLICAS = 1
"""How many replicas must have a write."""
ADDRESSES = "unix://PATH, redis://HOST:PORT/DB, rediss:// or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB"

# What a server says when it cannot serve now; the code stands first or, from inside a script, behind a dash.
_UNABLE = re.compile(
    r"(?:^|-)((?:LOADING|NOAUTH|WRONGPASS|NOPERM|MISCONF|OOM|READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|BUSY|TRYAGAIN)\b.*)"
)
# ... where redis-py has taken the code off.
_CODES: dict[type[Exception], str] = {
    redis.BusyLoadingError: "LOADING",
    redis.AuthenticationError: "NOAUTH",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.ReadOnlyError: "READONLY",
    redis.TimeoutError: "timed out",
}


class RedisLine:
    """A client of one server. `timeout` in seconds, for the connection and for every answer."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        """`url`: one of `ADDRESSES`. Opens nothing yet. Raises BadValue."""
        options: dict[str, Any] = {
            "socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False, "retry_on_error": [], "health_check_interval": 0, "protocol": 2,
            "driver_info": None, "socket_read_size": 1 << 18,
        }  # fmt: skip
        watched = SENTINELS.fullmatch(url)
        self._replicas = REPLICAS if watched else 0
        try:
            client: Any = _behind(watched, options) if watched else _at(url, options)
        except ValueError as e:
            raise BadValue("url", without_password(url), ADDRESSES) from e
        self.timeout = timeout
        self.name = without_password(url)
        self._client = client
        self._client.response_callbacks.clear()

    def call(self, *words: Word) -> Any:
        """The raw reply to one command.

        Raises LineDown; a reply that says the command itself is wrong is raised as redis.ResponseError.
        """
        try:
            return self._client.execute_command(*words)
        except (redis.RedisError, OSError) as e:
            raise self._judged(e) from e

    @property
    def replicated(self) -> bool:
        """Whether another server may take this one's place."""
        return self._replicas > 0

    def calls(self, calls: Sequence[Call], *, kept: bool = False) -> list[Any]:
        """The raw replies to several commands in one round trip, not a transaction.

        `kept`: they write, and what they wrote must outlive the server. A command that is itself wrong has its
        redis.ResponseError as reply. Raises LineDown; then nobody knows what was written.
        """
        pipe = self._client.pipeline(transaction=False)
        waits = kept and self._replicas
        for words in (*calls, ("WAIT", self._replicas, int(self.timeout * 500))) if waits else calls:
            pipe.execute_command(*words)
        try:
            replies: list[Any] = pipe.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as e:
            raise self._judged(e) from e
        for reply in replies:
            if isinstance(reply, Exception) and isinstance(judged := self._judged(reply), LineDown):
                raise judged from reply
        if waits:
            self._check_kept(replies.pop())
        return replies

    def _check_kept(self, reached: int | redis.ResponseError) -> None:
        if isinstance(reached, redis.ResponseError) or reached < self._replicas:
            self.close()  # it may have become a replica itself: Sentinel is asked anew
            raise LineDown(self.name, f"{reached} replicas have the write; {self._replicas} must")

    def evaluate(
        self, script: Script, calls: Sequence[tuple[Sequence[Word], Sequence[Word]]], *, kept: bool = True
    ) -> list[Any]:
        """The replies of one script that writes to several (keys, arguments), in one round trip once it is known."""
        asked: list[Call] = [("EVALSHA", script.sha, len(keys), *keys, *words) for keys, words in calls]
        replies = self.calls(asked, kept=kept)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
        if unknown:
            asked = [("EVAL", script.text, len(calls[i][0]), *calls[i][0], *calls[i][1]) for i in unknown]
            again = self.calls(asked, kept=kept)
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO. Raises LineDown."""
        text: str = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def close(self) -> None:
        """Close the connections; the next call opens one again."""
        self._client.connection_pool.disconnect()

    def _judged(self, error: Exception) -> Exception:
        said = str(error)
        unable = _UNABLE.search(said)
        if unable:
            return LineDown(self.name, unable[1])
        code = _CODES.get(type(error))
        if code is not None:
            return LineDown(self.name, f"{code}: {said}")
        if isinstance(error, redis.ResponseError):
            return error
        return LineDown(self.name, f"{type(error).__name__}: {said}")


class Script:
    """A Lua script, sent by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


def _at(url: str, options: dict[str, Any]) -> redis.Redis:
    return redis.Redis(connection_pool=redis.ConnectionPool.from_url(url, **options))


def _behind(url: re.Match[str], options: dict[str, Any]) -> redis.Redis:
    known = {"username": url["user"] or None, "password": url["password"], "db": int(url["db"] or 0)}
    sentinels = [(host, int(port)) for host, _, port in (one.rpartition(":") for one in url["hosts"].split(","))]
    asking = {key: value for key, value in options.items() if key.startswith("socket_")}
    untyped: Any = Sentinel
    watch = untyped(sentinels, sentinel_kwargs=asking)
    found: redis.Redis = watch.master_for(url["name"], **options, **known)
    return found


def without_password(url: str) -> str:
    """A store's address for people: no user, no password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
