"""History: a vendor's historical candles over HTTP, within the one budget all of us share."""

from __future__ import annotations

from adapters.budget import Budget, Turns
from adapters.fetching import ask
from market.candles import Candles
from market.codecs import Account, Call
from market.errors import LineDown
from market.instruments import Instrument
from market.repair import HistoryCodec

TRIES = 4
BROKEN = 500
"""From this status on it is the vendor's own trouble: asking again later may help."""

TOO_MANY = "429"
FIRST_PAUSE = 1.0
"""Seconds nobody asks after a refusal for too many requests that names none; doubled with every further one."""


class History:
    """One account at one vendor. `root`: where it answers; None: its usual address."""

    def __init__(self, codec: HistoryCodec, account: Account, budget: Budget | Turns, root: str | None = None) -> None:
        self._codec, self._account, self._budget = codec, account, budget
        self._root = (root or codec.root).rstrip("/")
        self.asked = 0
        self.throttled = 0

    @property
    def name(self) -> str:
        """The vendor's."""
        return self._codec.name

    def candles(self, instrument: Instrument, first: int, last: int) -> Candles:
        """The candles that start in [first, last], ns UTC, as the vendor has them, (n,).

        A request that came to nothing is made again up to three times. Raises LineDown, AuthRequired, BadPayload (its
        `rest` holds what could be read), BadValue, and what the vendor's codec raises for a refusal.
        """
        call = self._codec.call(self._root, self._account, instrument, first, last)
        for k in range(TRIES - 1):
            try:
                return self._ask(call, instrument.id, FIRST_PAUSE * 2**k)
            except LineDown:
                continue
        return self._ask(call, instrument.id, FIRST_PAUSE)

    def _ask(self, call: Call, instrument: int, pause: float) -> Candles:
        self._budget.take()
        self.asked += 1
        try:
            answer = ask(call.method, call.url, call.headers, json=call.json, content=call.content)
            if answer.status >= BROKEN:
                raise LineDown(self.name, f"status {answer.status}")
            return self._codec.read(answer.body, answer.kind, answer.status, instrument)
        except LineDown as e:
            self.throttled += e.reason.startswith(TOO_MANY)
            self._budget.pause(e.after or pause)
            raise
