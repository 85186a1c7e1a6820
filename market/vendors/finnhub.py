"""Finnhub's trade stream: JSON messages with several trades in, prints out.

The token stands in the address. A trade has a symbol, a price, a volume, a stamp in ms and conditions or null, but no
number, and trades can come again after a reconnect. So a trade's number is how many equal ones (symbol, stamp, price,
volume) this connection brought before it: equal trades of one instant all count, and the same ones brought again by the
next connection get the same numbers and are known. Source: finnhub.io/docs/api/websocket-trades, as quoted with the
public samples; "Trades can repeat after reconnect: key on (s,t,p,v)".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import numpy as np

from market.codecs import Account, Event, Message, Notice, Refused, Token, VendorError, tape_event
from market.errors import BadPayload, BadValue
from market.ticks import DEPTH, Ticks
from market.vendors.us_prints import NO_TRADE, Print, flags_of, instant_of, no_number, price_of, size_of, ticks

NAME = "finnhub"

SOCKET_INSTRUMENTS = 50
"""Of the free plan. Source: finnhub.io/pricing, as the protocol page quotes it."""

MODES = ("ltp", "quote", "full")
REMEMBERED = 1 << 16
"""Trades of one connection among which equal ones are counted, once in full and once more while it fills anew."""

# Source: Finnhub's list of trade conditions (finnhub.io/docs/api/stock-tick-data, `c`). 1, 8, 12 and 24 were checked
# against public frames; the fixtures have no others.
CONDITIONS: dict[object, str] = {
    "1": "regular", "2": "acquisition", "3": "average price", "4": "bunched", "5": "cash", "6": "distribution",
    "7": "automatic execution", "8": "intermarket sweep", "9": "bunched sold", "10": "price variation",
    "12": "odd lot", "13": "rule 127", "14": "rule 155", "15": "sold last", "16": "official close", "17": "next day",
    "18": "opening", "19": "opening", "20": "official open", "21": "prior reference", "22": "seller", "23": "split",
    "24": "extended hours", "25": "extended hours, out of sequence", "26": "contingent", "27": "stock option",
    "28": "cross", "29": "yellow flag", "30": "out of sequence", "31": "stopped", "32": "derivatively priced",
    "33": "reopening", "34": "reopening", "35": "closing", "36": "closing", "37": "qualified contingent",
    "38": "exempt", "39": "corrected close", "41": "exempt",
}  # fmt: skip


class Finnhub:
    """Satisfies `TickCodec`."""

    name = NAME
    stream = "wss://ws.finnhub.io"
    socket_instruments = SOCKET_INSTRUMENTS
    sockets = 1
    silence = timedelta(seconds=75)
    waits = False
    pulse: tuple[str, float] | None = None

    def __init__(self, tokens: Mapping[Token, int], source: int = 0) -> None:
        """`tokens`: the symbol, `AAPL` -> our instrument id."""
        self.source = source
        self.unknown = 0
        self.unpriced = 0
        self._ids = {str(token): instrument for token, instrument in tokens.items()}
        self._equals: dict[tuple[int, int, int, int], int] = {}
        self._older: dict[tuple[int, int, int, int], int] = {}

    def address(self, root: str, account: Account) -> str:
        """Where to connect, with our token: never log it. Equal trades are counted anew from here on."""
        self._equals, self._older = {}, {}
        return f"{root}?{urlencode({'token': account.api_key.get_secret_value()})}"

    def hello(self, account: Account) -> list[str]:
        """Nothing: the address has said it all."""
        return []

    def carries(self, message: Message) -> bool:
        """A message of trades says so at its beginning or at its end."""
        return isinstance(message, str) and ('"trade"' in message[:24] or '"trade"' in message[-24:])

    def read(self, message: Message, received: int, sequence: int = 0) -> Ticks:
        """The prints of one message. Raises BadPayload; `rest` holds the others of the message."""
        rows, bad = self.read_many([message], [received], [sequence])
        if bad:
            raise BadPayload(self.name, bad[0].payload, bad[0].reason, rows)
        return rows

    def read_many(
        self, messages: Sequence[Message], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The prints of some messages in their order, and what could not be read."""
        prints: list[Print] = []
        bad: list[BadPayload] = []
        for message, came in zip(messages, received, strict=True):
            wrong: list[str] = []
            for trade in _trades(message, wrong):
                try:
                    self._take(trade, came, prints)
                except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
                    wrong.append(f"{type(e).__name__}: {e}" if isinstance(e, KeyError) else str(e))
            if wrong:
                bad.append(BadPayload(self.name, _raw(message), f"{len(wrong)} bad trades; {wrong[0]}"))
        return ticks(prints, self.source), bad

    def depth(self) -> Ticks:
        """Nothing: this stream has no book."""
        return np.zeros(0, DEPTH)

    def text(self, message: str) -> Event:
        """A ping, a complaint, or the simulated exchange's clock. Raises BadPayload."""
        if (told := tape_event(self.name, message)) is not None:
            return told
        try:
            said = json.loads(message, parse_constant=no_number)
            kind, complaint = said["type"], said.get("msg")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise BadPayload(self.name, _raw(message), f"a text that says nothing: {type(e).__name__}: {e}") from e
        if kind == "ping":
            return Notice(data="ping")
        if kind == "error" and isinstance(complaint, str):
            return Refused(reason=complaint) if "api key" in complaint.lower() else VendorError(message=complaint)
        raise BadPayload(self.name, _raw(message), f"the type {kind!r} is not known")

    @staticmethod
    def subscribe(tokens: Collection[Token], mode: str) -> list[str]:
        """The texts that ask for these symbols; every mode is trades. Raises BadValue."""
        if mode not in MODES:
            raise BadValue("mode", mode, f"one of {', '.join(MODES)}")
        return [_ask("subscribe", token) for token in tokens]

    @staticmethod
    def unsubscribe(tokens: Collection[Token]) -> list[str]:
        """The texts that give these symbols back."""
        return [_ask("unsubscribe", token) for token in tokens]

    def _take(self, trade: Any, received: int, prints: list[Print]) -> None:
        symbol = trade["s"]
        if not isinstance(symbol, str):
            raise ValueError(f"the symbol {symbol!r} is no text")
        instrument = self._ids.get(symbol)
        if instrument is None:
            self.unknown += 1
            return
        flags = flags_of(trade.get("c") or (), CONDITIONS)
        price = price_of(trade.get("p"))
        if price == 0 or flags == NO_TRADE:
            self.unpriced += 1
            return
        at, size = instant_of(trade["t"]), size_of(trade["v"], price)
        number = self._number((instrument, at, price, size))
        prints.append(Print(instrument, flags, number, at, price, size, received))

    def _number(self, trade: tuple[int, int, int, int]) -> int:
        number = self._equals.get(trade, self._older.get(trade, -1)) + 1
        self._equals[trade] = number
        if len(self._equals) > REMEMBERED:
            self._equals, self._older = {}, self._equals
        return number


def _trades(message: Message, wrong: list[str]) -> list[Any]:
    try:
        said = json.loads(message, parse_constant=no_number)
        trades = said["data"] if said["type"] == "trade" else None
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        wrong.append(f"not a message of trades: {type(e).__name__}: {e}")
        return []
    if not isinstance(trades, list):
        wrong.append("not a message of trades")
        return []
    return trades


def _raw(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode(errors="replace")


def _ask(action: str, token: Token) -> str:
    return json.dumps({"type": action, "symbol": str(token)}, separators=(",", ":"))
