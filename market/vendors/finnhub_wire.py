"""What Finnhub's server says: its half of a socket, and a tape's packets as trades, for the simulated exchange.

The token was in the address, so a client is admitted as soon as it is there. A ping comes when there is nothing else
to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from market.codecs import Message
from market.instruments import Instrument
from market.money import SCALE
from market.tape import Packets
from market.vendors.finnhub import NAME, SOCKET_INSTRUMENTS
from market.vendors.us_wire import Subscriptions, Wire, no_ids, wanted

TRADES = 100
"""Trades in one message."""

PING = '{"type":"ping"}'
PING_SECONDS = 15.0


def wire(instruments: Sequence[Instrument]) -> Wire:
    """The symbols of a universe."""
    return Wire(instruments, NAME)


class Talk:
    """Satisfies `Conversation`. `most`: how many symbols the plan carries."""

    pulse: tuple[Message, float] | None = (PING, PING_SECONDS)

    def __init__(self, wire: Wire, most: int = SOCKET_INSTRUMENTS) -> None:
        self._wire = wire
        self._asked = Subscriptions(wire, most)
        self.modes = self._asked.modes
        self.admitted = True

    def hear(self, text: str) -> list[Message]:
        """Subscribe or give back one symbol; nothing is answered, but a complaint."""
        try:
            asked = json.loads(text)
            kind, symbol = asked["type"], asked["symbol"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return [_error("a message is JSON with type and symbol")]
        if not isinstance(symbol, str) or kind not in ("subscribe", "unsubscribe"):
            return [_error("type is subscribe or unsubscribe, symbol a text")]
        if kind == "unsubscribe":
            self._asked.give_back([symbol])
            return []
        _, unknown, room = self._asked.take([symbol])
        if not room:
            return [_error("Subscribing to too many symbols")]
        return [_error(f"Invalid symbol {name[:40]}") for name in unknown]

    def fresh(self) -> npt.NDArray[np.int64]:
        """Nothing: trades are not shown twice."""
        return no_ids()

    def frames(self, packets: Packets, closes: Mapping[int, int], clock: int) -> list[Message]:
        """Messages of trades, of what this client subscribes, in their order."""
        mine, _ = wanted(packets, self.modes)
        columns = [mine[name].tolist() for name in ("instrument", "at", "price", "quantity")]
        trades = [
            {"c": None, "p": price / SCALE, "s": self._wire.names[who], "t": at // 1_000_000, "v": size}
            for who, at, price, size in zip(*columns, strict=True)
        ]
        return [
            json.dumps({"data": trades[k : k + TRADES], "type": "trade"}, separators=(",", ":"))
            for k in range(0, len(trades), TRADES)
        ]


def _error(message: str) -> str:
    return json.dumps({"msg": message, "type": "error"}, separators=(",", ":"))
