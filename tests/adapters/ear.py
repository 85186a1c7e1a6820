"""An ear on a channel of a Redis: what was said until somebody asks, however slow the machine is."""

from __future__ import annotations

import json
from typing import Any

import redis

from adapters.redis_line import RedisLine

ENOUGH = "that is all"


class Ear:
    """Hears a channel from now on."""

    def __init__(self, url: str, channel: str) -> None:
        self._url, self._channel = url, channel
        self._user = redis.Redis.from_url(url).pubsub()
        self._user.subscribe(channel)
        assert next(self._user.listen())["type"] == "subscribe"

    def heard(self) -> list[Any]:
        """All that was said until now, read as JSON; it hears no more."""
        line = RedisLine(self._url)
        line.call("PUBLISH", self._channel, ENOUGH)
        line.close()
        words = iter(lambda: next(self._user.listen())["data"].decode(), ENOUGH)
        said = [json.loads(word) for word in words]
        self._user.close()
        return said
