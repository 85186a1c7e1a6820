"""Neighbours: what a graph must see beside what a caller asks about: the other instruments of the same minute.

They are read from the read model, where each Analysis puts what its instruments see before it asks (`model:input:...`).
Only rows of the very moment that is asked about are taken: none that is older, and none that came later. Analyses close
a minute at about the same time, so who asks first waits a little for the others, and not again for one that did not
come until it is there once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adapters.inputs import decision, unpack
from adapters.readmodel import ReadModel
from market.errors import LineDown
from market.models.examples import Examples, Ints64

PAUSES = (0.005, 0.01, 0.02, 0.04, 0.08)
"""Seconds between looks for neighbours whose minute is not there yet."""
HELD_SECONDS = 1.0
"""So long a row that was read is taken as it was: a correction of its minute may follow."""

Reach = Callable[[Ints64], Ints64]
"""Instruments to all that count for the answers about them."""


class Lacking(NamedTuple):
    """Neighbours that nobody gave, (k,) each: their places, and ns UTC of the decision they are wanted of."""

    who: Ints64
    at: Ints64


class Neighbours:
    """Those of one universe, for one event loop. `missing`: rows that were not to be had so far; `trouble`: why the
    read model could not be asked.
    """

    def __init__(self, model: ReadModel, symbols: Sequence[str], pauses: Sequence[float] = PAUSES) -> None:
        """`symbols`: of the universe, by place."""
        self._model, self._symbols, self._pauses = model, tuple(symbols), tuple(pauses)
        self._held: dict[int, Examples] = {}
        """By place, what was read last, one row."""
        self._at, self._late = np.zeros((2, len(symbols)), np.int64)
        self._read_at = np.full(len(symbols), -np.inf)
        self.missing = 0
        self.trouble = ""

    async def around(self, examples: Examples, reach: Reach) -> Examples:
        """The examples, and behind them the neighbours that are not among them and could be had. Never raises for what
        could not.
        """
        lacking = self._lacking(examples, reach)
        if not len(lacking.who):
            return examples
        for pause in (*self._pauses, None):
            await self._read(examples.names, lacking)
            late = self._waited_for(lacking)
            if not len(late) or self.trouble:
                break
            if pause is None:
                self._late[late] = lacking.at.max()
            else:
                await asyncio.sleep(pause)
        there = self._at[lacking.who] == lacking.at
        self.missing += int(np.count_nonzero(~there))
        rows = [self._held[one] for one in lacking.who[there].tolist()]
        return joined([examples, *rows])

    def _lacking(self, examples: Examples, reach: Reach) -> Lacking:
        who: list[Ints64] = []
        moments = np.unique(examples.at[examples.at > 0])
        for at in moments.tolist():
            mine = examples.instrument[examples.at == at].astype(np.int64)
            others = np.setdiff1d(reach(mine), mine)
            who.append(others[(others >= 0) & (others < len(self._symbols))])
        sizes = [len(one) for one in who]
        return Lacking(np.concatenate([np.zeros(0, np.int64), *who]), np.repeat(moments, sizes))

    def _waited_for(self, lacking: Lacking) -> Ints64:
        """Who has not come to the newest moment, and is not known for that."""
        newest = lacking.who[lacking.at == lacking.at.max()]
        return newest[(self._at[newest] < lacking.at.max()) & (self._late[newest] == 0)]

    async def _read(self, names: tuple[str, ...], lacking: Lacking) -> None:
        """What is held no longer, or not yet, of whom something is lacking."""
        fresh = time.monotonic() - self._read_at[lacking.who] < HELD_SECONDS
        wanted = np.unique(lacking.who[~fresh | (self._at[lacking.who] < lacking.at)])
        if not len(wanted):
            return
        try:
            found, at = await asyncio.to_thread(self._fetch, names, wanted.tolist())
            self.trouble = ""
        except LineDown as e:
            self.trouble = str(e)
            return
        self._at[wanted], self._read_at[wanted] = at, time.monotonic()
        for row, one in enumerate(found.instrument.tolist()):
            self._held[one] = found.take(slice(row, row + 1))
        self._late[wanted[at >= self._late[wanted]]] = 0

    def _fetch(self, names: tuple[str, ...], wanted: list[int]) -> tuple[Examples, npt.NDArray[np.int64]]:
        """Their rows, and by `wanted` the decision each is of, 0 where there is none of these features."""
        packed = self._model.read_inputs([self._symbols[one] for one in wanted])
        at = np.array([0 if one is None else decision(names, one) for one in packed], np.int64)
        there = [(who, one) for who, one, when in zip(wanted, packed, at, strict=True) if one is not None and when]
        return unpack(names, [who for who, _ in there], [one for _, one in there]), at


def joined(parts: Sequence[Examples]) -> Examples:
    """Examples of the same features, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return Examples(parts[0].names, *(np.concatenate(columns) for columns in zip(*(p[1:] for p in parts), strict=True)))
