"""What Polygon's server says: its half of a socket, and a tape's packets as trades, for the simulated exchange.

`connected` comes before anything is asked; a client then logs in with its key, and only then subscribes. Everything is
an array of events. Quotes (`Q`) may be subscribed and never come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from market.codecs import Message
from market.instruments import Instrument
from market.money import SCALE
from market.tape import Packets
from market.vendors.polygon import NAME, SOCKET_INSTRUMENTS
from market.vendors.us_wire import Admits, Subscriptions, Wire, no_ids, wanted

EVENTS = 200
"""Trades in one frame."""


def wire(instruments: Sequence[Instrument]) -> Wire:
    """The tickers of a universe."""
    return Wire(instruments, NAME)


class Talk:
    """Satisfies `Conversation`. `admits` says whether a key may log in."""

    pulse: tuple[Message, float] | None = None

    def __init__(self, wire: Wire, admits: Admits) -> None:
        self._wire, self._admits = wire, admits
        self._asked = Subscriptions(wire, SOCKET_INSTRUMENTS)
        self.modes = self._asked.modes
        self.admitted = False

    def hear(self, text: str) -> list[Message]:
        """Log in, subscribe or give back; a status for each topic, or a complaint."""
        try:
            asked = json.loads(text)
            action, params = asked["action"], asked["params"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return [_status(("error", "a message is JSON with action and params"))]
        if not isinstance(params, str):
            return [_status(("error", "params is a text"))]
        if action == "auth":
            self.admitted = self._admits(params)
            said = ("auth_success", "authenticated") if self.admitted else ("auth_failed", "authentication failed")
            return [_status(said)]
        if action not in ("subscribe", "unsubscribe"):
            return [_status(("error", "unknown action"))]
        if not self.admitted:
            return [_status(("error", "not authorized"))]
        return self._topics(str(action), [topic.strip() for topic in params.split(",")])

    def fresh(self) -> npt.NDArray[np.int64]:
        """Nothing: trades are not shown twice."""
        return no_ids()

    def frames(self, packets: Packets, closes: Mapping[int, int], clock: int) -> list[Message]:
        """Arrays of trades, of what this client subscribes, in their order."""
        mine, numbers = wanted(packets, self.modes)
        columns = [mine[name].tolist() for name in ("instrument", "at", "price", "quantity")]
        events = [
            {
                "ev": "T",
                "sym": self._wire.names[who],
                "x": 4,
                "i": str(number),
                "z": 3,
                "p": price / SCALE,
                "s": size,
                "t": at // 1_000_000,
                "q": number,
            }
            for who, at, price, size, number in zip(*columns, numbers.tolist(), strict=True)
        ]
        return [_text(events[k : k + EVENTS]) for k in range(0, len(events), EVENTS)]

    def _topics(self, action: str, topics: list[str]) -> list[Message]:
        channels = [topic.partition(".")[::2] for topic in topics]
        strange = [
            t for t, (channel, name) in zip(topics, channels, strict=True) if channel not in ("T", "Q") or not name
        ]
        names = [name for channel, name in channels if channel == "T"]
        if "*" in names:
            names = self._wire.names
        if action == "unsubscribe":
            self._asked.give_back(names)
            return [_status(*(("success", f"unsubscribed to: {topic}") for topic in topics))]
        _, unknown, room = self._asked.take(names)
        if not room:
            return [_status(("error", f"at most {SOCKET_INSTRUMENTS} tickers on one connection"))]
        refused = {*strange, *(f"T.{name}" for name in unknown)}
        said = [
            ("error", f"unknown topic: {topic}") if topic in refused else ("success", f"subscribed to: {topic}")
            for topic in topics
        ]
        return [_status(*said)]


def _status(*said: tuple[str, str]) -> str:
    return _text([{"ev": "status", "status": status, "message": message} for status, message in said])


def _text(events: list[dict[str, Any]]) -> str:
    return json.dumps(events, separators=(",", ":"))


GREETING = _status(("connected", "Connected Successfully"))
"""What the server says as soon as a socket is open."""
