"""What mStock's server says: its half of a socket, and packets of a tape as mStock's own, for the simulated exchange.

A client logs in with a text before it may ask for anything. Every packet is a message of its own. A share's snap packet
has a five-level book around its price, one tick apart; an index has none, nobody bids for it, and it has no volume.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from market.codecs import Message
from market.instruments import Instrument, Kind
from market.tape import Packets
from market.ticks import DEPTH_LEVELS
from market.vendors.mstock import SOCKET_INSTRUMENTS
from market.vendors.mstock_packets import MODES, NAME, PACKETS, Rows, stamps

PAISE = 100
"""1/10,000 in the wire's unit."""

LOGIN = "LOGIN:"
WELCOME = "Login successful"
EXAMPLE = '{"action":1,"params":{"mode":1,"tokenList":[{"exchangeType":1,"tokens":["22"]}]}}'

_NAMES = {number: mode for mode, number in MODES.items()}
_LEVELS = np.arange(1, DEPTH_LEVELS + 1)


class Wire:
    """The packets of one universe on mStock's wire."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        names = [str(i.tokens[NAME]).partition("|") for i in instruments]
        self.ids = {(int(exchange), token): i.id for (exchange, _, token), i in zip(names, instruments, strict=True)}
        self._exchange = np.array([int(exchange) for exchange, _, _ in names], np.uint8)
        self._token = np.array([token.encode("ascii") for _, _, token in names], "S25")
        self._index = np.array([i.kind is Kind.INDEX for i in instruments])
        self._tick = np.array([i.tick_size for i in instruments], np.int64) // PAISE

    def __len__(self) -> int:
        return len(self._index)

    def rows(self, mode: str, packets: Packets, closes: Mapping[int, int], clock: int) -> Rows:
        """`PACKETS[mode]` rows of packets at `clock`, ns UTC, (n,); the sequence is left 0."""
        who = packets["instrument"]
        rows = np.zeros(len(packets), PACKETS[mode])
        rows["mode"], rows["exchange"], rows["token"] = MODES[mode], self._exchange[who], self._token[who]
        rows["exchange_time"] = stamps(np.array([clock]))
        rows["last_price"] = packets["price"] // PAISE
        if mode == "ltp":
            return rows
        for name in ("open", "high", "low"):
            rows[name] = packets[name] // PAISE
        rows["close"] = [closes.get(i, 0) // PAISE for i in who.tolist()]
        traded = packets["day_volume"]
        rows["last_quantity"], rows["volume"] = packets["quantity"], traded
        rows["average_price"] = packets["turnover"] // np.maximum(traded, 1) // PAISE
        quantities = self._quantities(packets)
        rows["total_buy_quantity"] = quantities[:, 0].sum(axis=1) * 40
        rows["total_sell_quantity"] = quantities[:, 1].sum(axis=1) * 40
        if mode == "full":
            rows["last_trade_time"] = stamps(packets["at"])
            self._book(rows, packets, quantities)
        return rows

    def _book(self, rows: Rows, packets: Packets, quantities: npt.NDArray[np.int64]) -> None:
        step = np.maximum(self._tick[packets["instrument"]], 1)[:, None] * _LEVELS
        price = (packets["price"] // PAISE)[:, None]
        for place, (side, prices) in enumerate((("bids", price - step), ("asks", price + step))):
            exists = (prices > 0) & (quantities[:, place] > 0)
            rows[side]["flag"] = 1 - place
            rows[side]["price"] = np.where(exists, prices, 0)
            rows[side]["quantity"] = np.where(exists, quantities[:, place], 0)
            rows[side]["orders"] = np.where(exists, quantities[:, place] % 19 + 1, 0)

    def _quantities(self, packets: Packets) -> npt.NDArray[np.int64]:
        """(n, 2, levels) shares, the same whenever the same packet is sent again; none for an index."""
        seed = packets["instrument"] * np.int64(2_654_435_761) + packets["day_volume"] * 40_503 + packets["price"]
        levels = np.arange(2 * DEPTH_LEVELS).reshape(2, DEPTH_LEVELS)
        mixed = (seed[:, None, None] + levels * 7_368_787) % 4_999 + 1
        return np.where(self._index[packets["instrument"]][:, None, None], 0, mixed)


class Talk:
    """Satisfies `Conversation`. `admits` says whether a token may log in."""

    pulse: tuple[Message, float] | None = None

    def __init__(self, wire: Wire, admits: Callable[[str], bool]) -> None:
        self._wire, self._admits = wire, admits
        self.admitted = False
        self.modes = np.zeros(len(wire), np.int8)
        self._fresh: dict[int, None] = {}
        self._sent = 0

    def hear(self, text: str) -> list[Message]:
        """Log in, subscribe or give back; the answer to a login, or a complaint."""
        if text.startswith(LOGIN):
            self.admitted = self._admits(text.removeprefix(LOGIN))
            return [WELCOME if self.admitted else _error("Invalid token")]
        if not self.admitted:
            return [_error("the first message is LOGIN: and the token")]
        complaint = self._ask(text)
        return [_error(complaint)] if complaint else []

    def fresh(self) -> npt.NDArray[np.int64]:
        """The ids subscribed since the last call, (n,)."""
        ids = np.array([*self._fresh], np.int64)
        self._fresh.clear()
        return ids

    def frames(self, packets: Packets, closes: Mapping[int, int], clock: int) -> list[Message]:
        """A message for each packet of what this client subscribes, in their order."""
        modes = self.modes[packets["instrument"]]
        if not modes.any():
            return []
        messages: dict[int, bytes] = {}
        for number, mode in _NAMES.items():
            places = np.flatnonzero(modes == number)
            if len(places):
                rows = self._wire.rows(mode, packets[places], closes, clock)
                rows["sequence"] = self._sent + 1 + places
                size, wire = rows.dtype.itemsize, rows.tobytes()
                messages |= {place: wire[k * size : (k + 1) * size] for k, place in enumerate(places.tolist())}
        self._sent += len(packets)
        return [messages[place] for place in sorted(messages)]

    def _ask(self, text: str) -> str | None:
        try:
            asked = json.loads(text)
            action, mode = asked["action"], asked["params"]["mode"]
            wanted = [self._known(each) for each in asked["params"]["tokenList"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return f"a message is JSON like {EXAMPLE}"
        if action not in (0, 1) or mode not in (*_NAMES,):
            return "action is 1 or 0, mode 1, 2 or 3"
        ids = np.array([i for some in wanted for i in some if i >= 0], np.int64)
        if action == 0:
            self.modes[ids] = 0
            return None
        new = list(dict.fromkeys(ids[self.modes[ids] == 0].tolist()))
        refused = new[max(SOCKET_INSTRUMENTS - int((self.modes > 0).sum()), 0) :]
        taken = ids[~np.isin(ids, refused)]
        self.modes[taken] = mode
        self._fresh.update(dict.fromkeys(taken.tolist()))
        if refused:
            return f"at most {SOCKET_INSTRUMENTS} instruments on one connection: {len(refused)} refused"
        strangers = sum(i < 0 for some in wanted for i in some)
        return f"{strangers} tokens are not known" if strangers else None

    def _known(self, asked: Any) -> list[int]:
        exchange, tokens = asked["exchangeType"], asked["tokens"]
        if not isinstance(exchange, int) or not isinstance(tokens, list):
            raise TypeError("an exchange's number and a list of tokens")
        return [self._wire.ids.get((exchange, str(token)), -1) for token in tokens]


def _error(complaint: str) -> str:
    return json.dumps({"type": "error", "data": complaint})
