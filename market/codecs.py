"""Codecs: what a feed asks of a vendor. A codec turns bytes into columns and requests into text; it opens nothing.

What a vendor says in text is an `Event`. `TapeClock` and `TapeEnd` come only from the simulated exchange.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from pydantic import Field, JsonValue

from market.errors import BadPayload
from market.records import Record
from market.ticks import Ticks


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


Event = OrderUpdate | VendorError | Notice | TapeClock | TapeEnd


class TickCodec(Protocol):
    """A vendor's stream of ticks for one socket.

    `silence`: without a byte for this long the line is dead. `unknown`, `unpriced`: how many packets of tokens nobody
    asked for, and of instruments without a price, were left out.
    """

    name: str
    silence: timedelta
    unknown: int
    unpriced: int

    def read(self, message: bytes, received: int, sequence: int = 0) -> Ticks:
        """The rows of one binary message that came at `received`, ns UTC. Raises BadPayload.

        A row's `sequence` is the message's, shifted by 16 bits, and the packet's place in the message. Changed
        previous closes come first, as rows of kind CLOSE. A message without packets gives no rows.
        """
        ...

    def read_many(
        self, messages: Sequence[bytes], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The rows of several messages in their order, with what could not be read of them."""
        ...

    def depth(self) -> Ticks:
        """`DEPTH` rows of the instruments whose book came since the last call, (n,). Raises BadPayload."""
        ...

    def text(self, message: str) -> Event:
        """What one text message says. Raises BadPayload."""
        ...

    def subscribe(self, tokens: Collection[int], mode: str) -> list[str]:
        """The text messages that ask for these tokens."""
        ...

    def unsubscribe(self, tokens: Collection[int]) -> list[str]:
        """The text messages that give these tokens back."""
        ...
