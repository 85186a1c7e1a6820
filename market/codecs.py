"""Codecs: what a feed asks of a vendor, and a simulated exchange of the vendor's other end. Neither opens anything.

A `TickCodec` turns what comes on one socket into columns, and requests into text. What carries no ticks is an `Event`;
`TapeClock` and `TapeEnd` come only from the simulated exchange, in the same words whatever vendor it speaks for. A
`Conversation` is the server's half: it answers what a client says and puts a tape's packets on the vendor's wire.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field, JsonValue, SecretStr

from market.errors import BadPayload
from market.records import Record
from market.tape import Packets
from market.ticks import Ticks

Token = int | str
"""A vendor's name for a contract."""

Message = bytes | str
"""One WebSocket message, binary or text."""


class Account(Record):
    """Who we are to a vendor. `user`: the vendor's client id, where it wants one."""

    user: str = ""
    api_key: SecretStr = SecretStr("")
    access_token: SecretStr = SecretStr("")


class Call(NamedTuple):
    """One HTTP request. All of it may hold secrets: never log it."""

    url: str
    headers: Mapping[str, str]
    method: str = "GET"
    json: Mapping[str, str] | None = None
    content: bytes | None = None


class OrderUpdate(Record):
    """What a vendor says of one order of the user, in the vendor's own fields."""

    order_id: str = Field(min_length=1)
    status: str = Field(min_length=1)
    fields: Mapping[str, JsonValue]


class VendorError(Record):
    """A complaint of the vendor about what we sent."""

    message: str


class Notice(Record):
    """Something the vendor tells its users."""

    data: JsonValue


class TapeClock(Record):
    """Everything of the tape up to this frame has been sent; its clock shows `clock`, ns UTC."""

    frame: int = Field(ge=0, strict=True)
    clock: int = Field(ge=0, strict=True)


class TapeEnd(Record):
    """Nothing more comes from this tape."""


class Accepted(Record):
    """The vendor took our login: from here on it hears subscriptions."""


class Refused(Record):
    """The vendor refused our login: a person must act, and the socket is of no use."""

    reason: str


Event = OrderUpdate | VendorError | Notice | Accepted | Refused | TapeClock | TapeEnd


class TickCodec(Protocol):
    """A vendor's stream of ticks for one socket.

    `stream`: its usual address. `socket_instruments`, `sockets`: what the vendor carries on one connection, and how
    many connections an account may hold. `silence`: without a byte for this long the line is dead. `waits`: the vendor
    hears a subscription only after `Accepted`. `pulse`: a text to send every so many seconds, or None. `unknown`,
    `unpriced`: how many packets of tokens nobody asked for, and of instruments without a price, were left out.
    """

    name: str
    stream: str
    socket_instruments: int
    sockets: int
    silence: timedelta
    waits: bool
    pulse: tuple[str, float] | None
    unknown: int
    unpriced: int

    def address(self, root: str, account: Account) -> str:
        """Where to connect. It may hold secrets: never log it."""
        ...

    def hello(self, account: Account) -> list[str]:
        """The texts that log in on an open socket; [] where the address has said it all. Never log them."""
        ...

    def carries(self, message: Message) -> bool:
        """Whether this message is for `read_many`; if not, it is for `text`. Cheap: nothing is parsed."""
        ...

    def read(self, message: Any, received: int, sequence: int = 0) -> Ticks:
        """The rows of one message that it `carries` and that came at `received`, ns UTC. Raises BadPayload.

        A row's `sequence` is the message's, shifted by 16 bits, and the packet's place in the message; a print's is
        the vendor's number of it. Changed previous closes come first, as rows of kind CLOSE. A message without packets
        gives no rows.
        """
        ...

    def read_many(
        self, messages: Sequence[Any], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The rows of several messages in their order, with what could not be read of them."""
        ...

    def depth(self) -> Ticks:
        """`DEPTH` rows of the instruments whose book came since the last call, (n,). Raises BadPayload."""
        ...

    def text(self, message: str) -> Event:
        """What one text message says. Raises BadPayload."""
        ...

    def subscribe(self, tokens: Collection[Token], mode: str) -> list[str]:
        """The text messages that ask for these tokens."""
        ...

    def unsubscribe(self, tokens: Collection[Token]) -> list[str]:
        """The text messages that give these tokens back."""
        ...


class Conversation(Protocol):
    """The vendor's half of one socket, for the simulated exchange.

    `admitted`: the client has logged in. `modes`: what it subscribes, (ids,), 0 for nothing. `pulse`: what the vendor
    sends when it has nothing to say, every so many seconds, or None.
    """

    admitted: bool
    modes: npt.NDArray[np.int8]
    pulse: tuple[Message, float] | None

    def hear(self, text: str) -> list[Message]:
        """Do what a text asks; the answers. A client's nonsense is answered as the vendor would, never raised."""
        ...

    def fresh(self) -> npt.NDArray[np.int64]:
        """The ids subscribed since the last call, (n,): the vendor shows their latest state at once."""
        ...

    def frames(self, packets: Packets, closes: Mapping[int, int], clock: int) -> list[Message]:
        """The messages that carry these packets of a tape to this client at `clock`, ns UTC."""
        ...


def resume(frame: int) -> str:
    """The text that asks a simulated exchange in hold mode to go on behind this frame of its tape; -1: its start."""
    return json.dumps({"a": "resume", "v": frame}, separators=(",", ":"))


def resumed(text: str) -> int | None:
    """The frame such a text names; None for any other text."""
    if '"resume"' not in text:
        return None
    try:
        asked = json.loads(text)
        frame = asked["v"] if asked["a"] == "resume" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return frame if isinstance(frame, int) and not isinstance(frame, bool) and frame >= -1 else None


def tape_text(event: TapeClock | TapeEnd) -> str:
    """The text in which a simulated exchange tells its clock or its end; a vendor's own clients ignore it."""
    told: object = {"end": True} if isinstance(event, TapeEnd) else event.model_dump()
    return json.dumps({"type": "message", "data": {"bourse": told}})


def tape_event(vendor: str, text: str) -> TapeClock | TapeEnd | None:
    """What such a text says that came in a vendor's place; None for any other text. Raises BadPayload."""
    if _TAPE not in text[:60]:
        return None
    try:
        told = json.loads(text, parse_constant=_no_number)["data"]["bourse"]
        return TapeEnd() if told.get("end") is True else TapeClock.model_validate(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise BadPayload(vendor, text.encode(errors="replace"), f"a tape's text that says nothing: {e}") from e


_TAPE = '"bourse"'


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
