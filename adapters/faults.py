"""Faults: what a simulated exchange does wrong on purpose, by rates, from a seed.

Only a vendor's own frames are spoiled: what it answers to its client, and the tape's clock and end, come through. The
same seed, frames and orders spoil the same frames of the k-th socket.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from market.codecs import Message
from market.records import Record

Rate = Annotated[float, Field(ge=0, le=1)]


class Faults(Record):
    """What is wrong now; nothing, unless said.

    `mute`: sockets stay open and nothing comes but the vendor's pulse (a held tape waits). `refuse`: nobody may open a
    socket. `skew_seconds`: so far the vendor's stamps are ahead. The rates are of a socket's frames: lost, sent twice,
    sent `delay_steps` market seconds later, sent behind the next one, damaged. `too_many`, `broken`: of the REST calls,
    answered with 429 and 503.
    """

    seed: int = 0
    mute: bool = False
    refuse: bool = False
    skew_seconds: float = Field(default=0.0, ge=-86_400, le=86_400)
    drop: Rate = 0.0
    duplicate: Rate = 0.0
    delay: Rate = 0.0
    delay_steps: int = Field(default=3, ge=1, le=3600)
    reorder: Rate = 0.0
    corrupt: Rate = 0.0
    too_many: Rate = 0.0
    broken: Rate = 0.0

    @property
    def spoils(self) -> bool:
        """Whether any frame may be spoiled."""
        return any((self.drop, self.duplicate, self.delay, self.reorder, self.corrupt))


class Order(Faults):
    """What a test asks of the exchange: the faults named become those that hold, and once, now:

    `cut`: end every socket, with a close code or (true) without a word; `expire`: take no token that is known; `renew`:
    take this token from now on.
    """

    cut: bool | Annotated[int, Field(ge=1000, le=4999)] = False
    expire: bool = False
    renew: str | None = None

    def after(self, faults: Faults) -> Faults:
        """What holds once this order is carried out."""
        named = {name: getattr(self, name) for name in self.model_fields_set & Faults.model_fields.keys()}
        return faults.model_copy(update=named)


class Spoiler:
    """What happens to the frames of one socket; `counts`: how often what was done, of all sockets together."""

    def __init__(self, seed: str, counts: Counter[str]) -> None:
        self._dice, self._counts = random.Random(seed), counts  # noqa: S311  (a simulation)
        self._late: list[tuple[int, Message]] = []
        self._behind: Message | None = None

    def spoil(self, faults: Faults, step: int, frames: Sequence[Message]) -> list[Message]:
        """What is sent in this step of the tape in the place of these frames."""
        sent = [frame for due, frame in self._late if due <= step]
        self._late = [(due, frame) for due, frame in self._late if due > step]
        for frame in frames:
            if self._happens(faults.drop, "drop"):
                continue
            if self._happens(faults.corrupt, "corrupt"):
                frame = self._damaged(frame)
            if self._happens(faults.delay, "delay"):
                self._late.append((step + faults.delay_steps, frame))
            elif self._behind is None and self._happens(faults.reorder, "reorder"):
                self._behind = frame
            else:
                sent += [frame] * (1 + self._happens(faults.duplicate, "duplicate"))
                if self._behind is not None:
                    sent.append(self._behind)
                    self._behind = None
        return sent

    @property
    def waits(self) -> bool:
        """Whether a frame is still to come."""
        return bool(self._late) or self._behind is not None

    def _happens(self, rate: float, what: str) -> bool:
        if rate == 0 or self._dice.random() >= rate:
            return False
        self._counts[what] += 1
        return True

    def _damaged(self, frame: Message) -> Message:
        """Cut off somewhere, or with one byte that is another."""
        place = self._dice.randrange(len(frame))
        if self._dice.random() < 0.5:
            return frame[:place]
        if isinstance(frame, str):
            return f"{frame[:place]}{'#' if frame[place] != '#' else '?'}{frame[place + 1 :]}"
        return frame[:place] + bytes([frame[place] ^ (1 << self._dice.randrange(8))]) + frame[place + 1 :]
