"""What servers of US trades share: a tape's packets as numbered prints, for the simulated exchange.

A packet becomes one trade of its own size, also of size 0: a recorded minute may move without volume. Its number
follows from the tape alone, so that whoever is sent it again knows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt

from market.instruments import Instrument
from market.tape import Packets

PLACES = 1 << 12
"""Trades of one instrument in one step."""


class Wire:
    """The names of one universe at one vendor."""

    def __init__(self, instruments: Sequence[Instrument], vendor: str) -> None:
        self.names = [str(i.tokens[vendor]) for i in instruments]
        self.ids = {name: k for k, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)


class Subscriptions:
    """What one client subscribes. `modes`, (ids,): 0 for nothing."""

    def __init__(self, wire: Wire, most: int) -> None:
        self._wire, self._most = wire, most
        self.modes = np.zeros(len(wire), np.int8)

    def take(self, names: Collection[str]) -> tuple[list[str], list[str], bool]:
        """Subscribe these; which are known, which are not, and whether there was room for all that are."""
        known = [name for name in dict.fromkeys(names) if name in self._wire.ids]
        new = [name for name in known if not self.modes[self._wire.ids[name]]]
        room = max(self._most - int((self.modes > 0).sum()), 0)
        for name in new[:room]:
            self.modes[self._wire.ids[name]] = 1
        taken = [name for name in known if self.modes[self._wire.ids[name]]]
        return taken, [name for name in names if name not in self._wire.ids], len(new) <= room

    def give_back(self, names: Collection[str]) -> None:
        """Unsubscribe these; unknown ones do nothing."""
        for name in names:
            if name in self._wire.ids:
                self.modes[self._wire.ids[name]] = 0


Admits = Callable[[str], bool]
"""Whether a key may log in."""


def no_ids() -> npt.NDArray[np.int64]:
    """Nothing is shown to a new subscriber: a stream of trades has no state to show."""
    return np.zeros(0, np.int64)


def wanted(packets: Packets, modes: npt.NDArray[np.int8]) -> tuple[Packets, npt.NDArray[np.int64]]:
    """The packets of one step that a client subscribes, and their numbers, rising for one instrument, both (n,)."""
    place = np.zeros(len(packets), np.int64)
    order = np.argsort(packets["instrument"], kind="stable")
    who = packets["instrument"][order]
    begins = np.flatnonzero(np.diff(who, prepend=-1))
    lengths = np.diff(np.append(begins, len(who)))
    place[order] = np.arange(len(who)) - np.repeat(begins, lengths)
    numbers = packets["step"].astype(np.int64) * PLACES + place + 1
    mine = modes[packets["instrument"]] > 0
    return packets[mine], numbers[mine]
