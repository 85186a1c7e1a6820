"""Polygon.io's (now Massive's) stocks stream: JSON arrays of events in, prints out.

Every frame of the server is an array. After `connected` we log in with our key, and only then subscribe. A trade is one
print: volume is its own size, `q` its number, increasing for one symbol and not contiguous. Trades that the tape does
not let move prices say so in their conditions; a condition nobody listed here is refused, not guessed. `t` is the
tape's stamp in ms (some channels: ns). A quote only moves the best bid and ask that later prints carry; its sizes are
round lots on some plans and shares on others, so we leave them unknown. Bars and other events that nobody asked for
are counted. Source: massive.com/docs/websocket/stocks; github.com/massive-com/client-python, .massive/websocket.json.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from market.codecs import Accepted, Account, Event, Message, Notice, Refused, Token, VendorError, tape_event
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.ticks import DEPTH, Ticks
from market.vendors.us_prints import NO_TRADE, Print, flags_of, instant_of, no_number, price_of, size_of, ticks, whole

NAME = "polygon"

SOCKET_INSTRUMENTS = 10_000
"""No limit is documented; this is more than there are listed shares."""

BATCH = 500
"""Topics in one text message."""

MODES = {"ltp": "T", "quote": "T", "full": "TQ"}
"""The channels of a mode."""

# Source: polygon.io/glossary/us/stocks/conditions-indicators; codes of no documented effect on prices are left out.
CONDITIONS: dict[object, str] = {
    0: "regular", 1: "acquisition", 2: "average price", 3: "automatic execution", 4: "bunched", 5: "bunched sold",
    7: "cash", 8: "closing", 9: "cross", 10: "derivatively priced", 11: "distribution", 12: "extended hours",
    13: "extended hours, out of sequence", 14: "intermarket sweep", 15: "official close", 16: "official open",
    17: "opening", 18: "reopening", 19: "closing", 20: "next day", 21: "price variation", 22: "prior reference",
    23: "rule 155", 24: "rule 127", 25: "opening", 27: "stopped", 28: "reopening", 29: "seller", 30: "sold last",
    31: "sold last", 32: "out of sequence", 33: "out of sequence", 34: "split", 35: "stock option", 36: "yellow flag",
    37: "odd lot", 38: "corrected close", 41: "exempt", 52: "contingent", 53: "qualified contingent", 59: "exempt",
}  # fmt: skip

OTHERS = {"A", "AM", "AS", "LULD", "NOI", "FMV", "LV", "V", "XT", "XQ", "XL2", "XA", "XAS", "C", "CA", "CAS"}
"""Events of other channels and markets; nobody asks for them here."""


class Polygon:
    """Satisfies `TickCodec`."""

    name = NAME
    stream = "wss://socket.massive.com/stocks"
    socket_instruments = SOCKET_INSTRUMENTS
    sockets = 1
    silence = timedelta(seconds=30)
    waits = True
    pulse: tuple[str, float] | None = None

    def __init__(self, tokens: Mapping[Token, int], source: int = 0) -> None:
        """`tokens`: the ticker, `AAPL` -> our instrument id."""
        self.source = source
        self.unknown = 0
        self.unpriced = 0
        self._ids = {str(token): instrument for token, instrument in tokens.items()}
        self._books: dict[int, tuple[int, int, int]] = {}
        self._book_new: dict[int, None] = {}

    def address(self, root: str, account: Account) -> str:
        """Where to connect: nothing is added, the key comes later."""
        return root

    def hello(self, account: Account) -> list[str]:
        """The text with our key: never log it."""
        return [json.dumps({"action": "auth", "params": account.api_key.get_secret_value()})]

    def carries(self, message: Message) -> bool:
        """Events come in arrays of text, as a status does."""
        return isinstance(message, str) and message.startswith("[") and '"status"' not in message[:40]

    def read(self, message: Message, received: int, sequence: int = 0) -> Ticks:
        """The prints of one frame. Raises BadPayload; `rest` holds the others of the frame."""
        rows, bad = self.read_many([message], [received], [sequence])
        if bad:
            raise BadPayload(self.name, bad[0].payload, bad[0].reason, rows)
        return rows

    def read_many(
        self, messages: Sequence[Message], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The prints of some frames in their order, and what could not be read."""
        prints: list[Print] = []
        bad: list[BadPayload] = []
        for message, came in zip(messages, received, strict=True):
            wrong: list[str] = []
            for event in _events(message, wrong):
                try:
                    self._take(event, came, prints)
                except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
                    wrong.append(f"{type(e).__name__}: {e}" if isinstance(e, KeyError) else str(e))
            if wrong:
                bad.append(BadPayload(self.name, _raw(message), f"{len(wrong)} bad events; {wrong[0]}"))
        return ticks(prints, self.source), bad

    def depth(self) -> Ticks:
        """`DEPTH` rows, one level, of the instruments whose best bid or ask came since the last call; no quantities."""
        rows = np.zeros(len(self._book_new), DEPTH)
        for name in ("bid", "ask"):
            rows[name] = UNKNOWN
        for row, instrument in zip(rows, self._book_new, strict=True):
            row["instrument"] = instrument
            row["at"], row["bid"][0], row["ask"][0] = self._books[instrument]
        rows["bid_quantity"][:, 0] = rows["ask_quantity"][:, 0] = UNKNOWN
        self._book_new.clear()
        return rows

    def text(self, message: str) -> Event:
        """What a frame of statuses says, the gravest of them. Raises BadPayload."""
        if (told := tape_event(self.name, message)) is not None:
            return told
        wrong: list[str] = []
        events = _events(message, wrong)
        statuses = [e for e in events if isinstance(e, dict) and e.get("ev") == "status"]
        if wrong or not statuses or len(statuses) != len(events):
            raise BadPayload(self.name, _raw(message), wrong[0] if wrong else "neither events nor statuses")
        said = [_status(s) for s in statuses]
        if None in said:
            raise BadPayload(self.name, _raw(message), f"the status {statuses[said.index(None)].get('status')!r}")
        order = (Refused, Accepted, VendorError, Notice)
        return min((s for s in said if s is not None), key=lambda s: order.index(type(s)))

    @staticmethod
    def subscribe(tokens: Collection[Token], mode: str) -> list[str]:
        """The texts that ask for these tickers in a mode, at most `BATCH` topics each. Raises BadValue."""
        if mode not in MODES:
            raise BadValue("mode", mode, f"one of {', '.join(MODES)}")
        return _ask("subscribe", [f"{channel}.{token}" for channel in MODES[mode] for token in tokens])

    @staticmethod
    def unsubscribe(tokens: Collection[Token]) -> list[str]:
        """The texts that give these tickers back, in every channel."""
        return _ask("unsubscribe", [f"{channel}.{token}" for channel in MODES["full"] for token in tokens])

    def _take(self, event: Any, received: int, prints: list[Print]) -> None:
        kind = event["ev"]
        if kind in OTHERS:
            self.unknown += 1
            return
        if kind not in ("T", "Q"):
            raise ValueError(f"the event {kind!r} is not known")
        if not isinstance(event["sym"], str):
            raise ValueError(f"the symbol {event['sym']!r} is no text")
        instrument = self._ids.get(event["sym"])
        if instrument is None:
            self.unknown += 1
        elif kind == "Q":
            at, bid, ask = instant_of(event["t"]), price_of(event.get("bp")), price_of(event.get("ap"))
            self._books[instrument] = at, bid or UNKNOWN, ask or UNKNOWN
            self._book_new[instrument] = None
        else:
            flags = flags_of(event.get("c") or (), CONDITIONS)
            price = price_of(event.get("p"))
            if price == 0 or flags == NO_TRADE:
                self.unpriced += 1
                return
            number, size, at = whole(event["q"], "the number"), size_of(event["s"], price), instant_of(event["t"])
            _, bid, ask = self._books.get(instrument, (0, UNKNOWN, UNKNOWN))
            prints.append(Print(instrument, flags, number, at, price, size, received, bid, ask))


def _events(message: Message, wrong: list[str]) -> list[Any]:
    try:
        said = json.loads(message, parse_constant=no_number)
    except (ValueError, RecursionError) as e:
        wrong.append(f"not JSON: {e}")
        return []
    if not isinstance(said, list):
        wrong.append("not an array of events")
        return []
    return said


def _status(event: dict[str, Any]) -> Refused | Accepted | VendorError | Notice | None:
    status, message = event.get("status"), str(event.get("message") or event.get("status"))
    if status == "auth_failed":
        return Refused(reason=message)
    if status == "auth_success":
        return Accepted()
    if status in ("error", "auth_timeout", "max_connections"):
        return VendorError(message=message)
    return Notice(data=message) if status in ("connected", "success") else None


def _raw(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode(errors="replace")


def _ask(action: str, topics: list[str]) -> list[str]:
    batches = [topics[k : k + BATCH] for k in range(0, len(topics), BATCH)]
    return [json.dumps({"action": action, "params": ",".join(batch)}, separators=(",", ":")) for batch in batches]
