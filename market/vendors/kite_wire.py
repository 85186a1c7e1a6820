"""What Kite's server says: its half of a socket, and packets of a tape as Kite's own, for the simulated exchange.

The address says who connects, so a client is admitted as soon as it is there. A share's full packet has a five-level
book around its price, one tick apart; an index has none and no volume. What the wire cannot hold is refused when the
tape is made, not here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from market.codecs import Message
from market.instruments import Instrument, Kind
from market.sessions import SECOND
from market.tape import Packets
from market.ticks import DEPTH_LEVELS
from market.vendors.kite import SOCKET_INSTRUMENTS
from market.vendors.kite_packets import NAME, PACKETS, Bytes, Rows, encode, frame

PAISE = 100
"""1/10,000 in the wire's unit."""

FRAME = 200
"""Packets in one frame; a step that has more sends several."""

MODES = {"ltp": 1, "quote": 2, "full": 3}
HEARTBEAT = b"\x00"
HEARTBEAT_SECONDS = 1.0
_LEVELS = np.arange(1, DEPTH_LEVELS + 1)


class Wire:
    """The packets of one universe on Kite's wire. `modes`: what one socket subscribes, (ids,), 0 for nothing."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self.tokens = np.array([i.tokens[NAME] for i in instruments], np.int64)
        self.ids = {int(token): i.id for token, i in zip(self.tokens, instruments, strict=True)}
        self._index = np.array([i.kind is Kind.INDEX for i in instruments])
        self._tick = np.array([i.tick_size for i in instruments], np.int64) // PAISE

    def no_modes(self) -> npt.NDArray[np.int8]:
        """The modes of a socket that has subscribed nothing."""
        return np.zeros(len(self.tokens), np.int8)

    def frames(
        self, packets: Packets, modes: npt.NDArray[np.int8], closes: Mapping[int, int], clock: int
    ) -> list[bytes]:
        """The frames that carry these packets to one socket at `clock`, ns UTC."""
        packets = packets[modes[packets["instrument"]] > 0]
        frames = []
        for k in range(0, len(packets), FRAME):
            blocks = self._blocks(packets[k : k + FRAME], modes, closes, clock)
            frames.append(frame(*blocks))
        return frames

    def _blocks(
        self, packets: Packets, modes: npt.NDArray[np.int8], closes: Mapping[int, int], clock: int
    ) -> list[Bytes]:
        mode, index = modes[packets["instrument"]], self._index[packets["instrument"]]
        wanted = {
            "ltp": mode == MODES["ltp"],
            "quote": (mode == MODES["quote"]) & ~index,
            "full": (mode == MODES["full"]) & ~index,
            "index_quote": (mode == MODES["quote"]) & index,
            "index_full": (mode == MODES["full"]) & index,
        }
        return [
            encode(kind, self.rows(kind, packets[which], closes, clock))
            for kind, which in wanted.items()
            if which.any()
        ]

    def rows(self, kind: str, packets: Packets, closes: Mapping[int, int], clock: int) -> Rows:
        """`PACKETS[kind]` rows of packets, with prices in paise."""
        rows = np.zeros(len(packets), PACKETS[kind])
        rows["token"] = self.tokens[packets["instrument"]]
        rows["last_price"] = packets["price"] // PAISE
        if kind == "ltp":
            return rows
        for name in ("open", "high", "low"):
            rows[name] = packets[name] // PAISE
        rows["close"] = [closes.get(i, 0) // PAISE for i in packets["instrument"].tolist()]
        stamp = clock // SECOND
        if kind.startswith("index"):
            rows["price_change"] = np.where(rows["close"] > 0, rows["last_price"] - rows["close"], 0)
            if kind == "index_full":
                rows["exchange_timestamp"] = packets["at"] // SECOND
            return rows
        rows["last_traded_quantity"] = packets["quantity"]
        rows["volume_traded"] = packets["day_volume"]
        volume = np.maximum(packets["day_volume"], 1)
        rows["average_traded_price"] = np.where(packets["day_volume"] > 0, packets["turnover"] // volume, 0) // PAISE
        quantities = self._quantities(packets)
        rows["total_buy_quantity"] = quantities[:, 0].sum(axis=1) * 40
        rows["total_sell_quantity"] = quantities[:, 1].sum(axis=1) * 40
        if kind == "full":
            rows["last_trade_time"] = packets["at"] // SECOND
            rows["exchange_timestamp"] = stamp
            self._book(rows, packets, quantities)
        return rows

    def _book(self, rows: Rows, packets: Packets, quantities: npt.NDArray[np.int64]) -> None:
        step = np.maximum(self._tick[packets["instrument"]], 1)[:, None] * _LEVELS
        price = (packets["price"] // PAISE)[:, None]
        for place, (side, prices) in enumerate((("bids", price - step), ("asks", price + step))):
            exists = prices > 0
            rows[side]["price"] = np.where(exists, prices, 0)
            rows[side]["quantity"] = np.where(exists, quantities[:, place], 0)
            rows[side]["orders"] = np.where(exists, quantities[:, place] % 19 + 1, 0)

    def _quantities(self, packets: Packets) -> npt.NDArray[np.int64]:
        """(n, 2, levels) shares, the same whenever the same packet is sent again."""
        seed = (
            packets["instrument"].astype(np.int64) * 2_654_435_761 + packets["day_volume"] * 40_503 + packets["price"]
        )
        levels = np.arange(2 * DEPTH_LEVELS).reshape(2, DEPTH_LEVELS)
        mixed = (seed[:, None, None] + levels * 7_368_787) % 4_999
        return np.asarray(mixed + 1)


class Talk:
    """Satisfies `Conversation`."""

    pulse: tuple[Message, float] | None = (HEARTBEAT, HEARTBEAT_SECONDS)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.admitted = True
        self.modes = wire.no_modes()
        self._fresh: dict[int, None] = {}

    def hear(self, text: str) -> list[Message]:
        """Subscribe, change a mode or give back; a complaint, if it asks for what cannot be."""
        complaint = self._ask(text)
        return [json.dumps({"type": "error", "data": complaint})] if complaint else []

    def fresh(self) -> npt.NDArray[np.int64]:
        """The ids subscribed since the last call, (n,)."""
        ids = np.array([*self._fresh], np.int64)
        self._fresh.clear()
        return ids

    def frames(self, packets: Packets, closes: Mapping[int, int], clock: int) -> list[Message]:
        """The binary frames of what this client subscribes."""
        return [*self._wire.frames(packets, self.modes, closes, clock)]

    def _ask(self, text: str) -> str | None:
        try:
            asked = json.loads(text)
            action, value = asked["a"], asked["v"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return 'a message is JSON like {"a": "subscribe", "v": [408065]}'
        if action == "subscribe":
            return self._subscribe(value, "quote", keep=True)
        if action == "unsubscribe":
            return self._unsubscribe(value)
        if action == "mode" and isinstance(value, list) and len(value) == 2 and value[0] in [*MODES]:
            return self._subscribe(value[1], value[0], keep=False)
        return f"unknown action {str(action)[:40]!r}; subscribe, unsubscribe and mode are known"

    def _subscribe(self, value: Any, mode: str, *, keep: bool) -> str | None:
        wanted = self._ids(value)
        if wanted is None:
            return "instrument tokens come as a list of whole numbers"
        known = np.array([i for i in dict.fromkeys(wanted) if i >= 0], np.int64)
        if keep:
            known = known[self.modes[known] == 0]
        room = SOCKET_INSTRUMENTS - int((self.modes > 0).sum())
        surplus = known[self.modes[known] == 0][room:]
        known = known[~np.isin(known, surplus)]
        self.modes[known] = MODES[mode]
        self._fresh.update(dict.fromkeys(known.tolist()))
        if len(surplus):
            return f"at most {SOCKET_INSTRUMENTS} instruments on one connection: {len(surplus)} refused"
        strangers = sum(i < 0 for i in wanted)
        return f"{strangers} instrument tokens are not known" if strangers else None

    def _unsubscribe(self, value: Any) -> str | None:
        wanted = self._ids(value)
        if wanted is None:
            return "instrument tokens come as a list of whole numbers"
        self.modes[[i for i in wanted if i >= 0]] = 0
        return None

    def _ids(self, value: Any) -> list[int] | None:
        if not isinstance(value, list) or not all(isinstance(t, int) and not isinstance(t, bool) for t in value):
            return None
        return [self._wire.ids.get(token, -1) for token in value]
