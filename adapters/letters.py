"""Letters: what owners of accounts are to be told, on the bus's topic `accounts`, for whoever sends messages.

An entry may hold a token for its reader alone: nobody logs it, and it is trimmed within a day.
"""

from __future__ import annotations

from itertools import count
from threading import Lock

from adapters import entries, tokens
from adapters.bus import END, START, Bus
from market.users import AccountEvent

TOPIC = "accounts"
PAGE = 500


class Letters:
    """One writer's letters, numbered by it. Every method raises LineDown when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._writer = f"gateway-{tokens.name()}"
        self._numbers = count(1)
        self._lock = Lock()

    def tell(self, event: AccountEvent) -> None:
        """Put one on the bus."""
        payload = entries.encode_records([event.model_dump()])
        with self._lock:
            self._bus.append(TOPIC, self._writer, [(0, next(self._numbers), payload)])

    def read(self) -> list[AccountEvent]:
        """All that are there, oldest first."""
        found: list[AccountEvent] = []
        after = START
        while page := self._bus.range(TOPIC, 0, after + 1, END, PAGE):
            for entry in page:
                found += map(AccountEvent.model_validate, entries.decode_records(entry.payload))
            after = page[-1].id
        return found
