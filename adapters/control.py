"""Control: what operators wish, as records on the topic `control`; who obeys reads it from the start."""

from __future__ import annotations

import secrets

from adapters import entries
from adapters.bus import START, Bus
from market.wishes import Wish, Wishes

TOPIC = "control"
PAGE = 500


class Control:
    """One reader's view of the wishes, and the door for new ones. Every method raises LineDown when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._after = START
        self.wishes = Wishes()

    def wish(self, wish: Wish) -> None:
        """Put a wish on the bus. After LineDown nobody knows whether it is there; wishing again does no harm."""
        payload = entries.encode_records([wish.model_dump()])
        self._bus.append(TOPIC, secrets.token_hex(8), [(0, 0, payload)])

    def hear(self) -> list[Wish]:
        """The wishes that are new since the last call; `wishes` is what they come to."""
        heard: list[Wish] = []
        while found := self._bus.read(TOPIC, {0: self._after}, PAGE):
            for entry in found:
                heard += map(Wish.model_validate, entries.decode_records(entry.payload))
            self._after = found[-1].id
        self.wishes = self.wishes.after(heard)
        return heard
