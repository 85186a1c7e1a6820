"""What FlatTrade's server says: its half of a socket, and packets of a tape as its texts, for the simulated exchange.

A client logs in with a text before it may ask for anything; either handshake is taken, and the older one is answered in
its own words. What a client is told first of a contract is all there is (`tk`, `dk`), then only what has changed since.
A share has a five-level book around its price, one tick apart; an index has none and no volume.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from market.codecs import Message
from market.instruments import Instrument, Kind
from market.money import SCALE
from market.sessions import SECOND
from market.tape import Packets
from market.ticks import DEPTH_LEVELS
from market.vendors.flattrade import NAME, SOCKET_INSTRUMENTS

TOUCHLINE, DEPTH = 1, 2
EXAMPLE = '{"t":"d","k":"NSE|22"}'

_ACKS = {"a": ("ak", "accesstoken"), "c": ("ck", "susertoken")}
_WANTED = {"t": TOUCHLINE, "d": DEPTH}
_BACK = {"u": ("uk", TOUCHLINE), "ud": ("udk", DEPTH)}
_STATES = {TOUCHLINE: ("tk", "tf"), DEPTH: ("dk", "df")}
_LEVELS = np.arange(1, DEPTH_LEVELS + 1)

Ints = npt.NDArray[np.int64]


class Wire:
    """The packets of one universe in FlatTrade's words."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self.tokens = [str(i.tokens[NAME]) for i in instruments]
        self.ids = {token: i.id for token, i in zip(self.tokens, instruments, strict=True)}
        self.index = [i.kind is Kind.INDEX for i in instruments]
        self._ticks = np.array([i.tick_size for i in instruments], np.int64)
        self.heads = [self._head(i) for i in instruments]

    def __len__(self) -> int:
        return len(self.tokens)

    def states(self, packets: Packets, closes: Mapping[int, int], depth: bool) -> list[dict[str, str]]:
        """Everything a client may be told of each packet's contract, (n,)."""
        bids, asks, quantities = self._book(packets)
        columns = ("instrument", "price", "day_volume", "turnover", "open", "high", "low", "at", "quantity")
        states = []
        for k, (who, last, traded, turnover, opened, high, low, at, size) in enumerate(
            zip(*(packets[name].tolist() for name in columns), strict=True)
        ):
            state = {
                "lp": rupees(last),
                "o": rupees(opened),
                "h": rupees(high),
                "l": rupees(low),
                "ft": str(at // SECOND),
            }
            if close := closes.get(who):
                state |= {"c": rupees(close), "pc": f"{(last - close) * 100 / close:.2f}"}
            if not self.index[who]:
                state |= {"v": str(traded), "ap": rupees(turnover // traded if traded else last)}
                state |= _levels(bids[k], asks[k], quantities[k], DEPTH_LEVELS if depth else 1)
            if depth and not self.index[who]:
                buys, sells = quantities[k].sum(axis=1).tolist()
                state |= {"ltq": str(size), "tbq": str(buys * 40), "tsq": str(sells * 40)}
            states.append(state)
        return states

    def _head(self, instrument: Instrument) -> dict[str, str]:
        exchange, _, token = str(instrument.tokens[NAME]).partition("|")
        index = instrument.kind is Kind.INDEX
        name = instrument.ticker if index or exchange != "NSE" else f"{instrument.ticker}-EQ"
        size = {"ls": str(instrument.lot), "ti": rupees(instrument.tick_size)}
        return {"e": exchange, "tk": token, "ts": name, "pp": "2", **size}

    def _book(self, packets: Packets) -> tuple[Ints, Ints, Ints]:
        """Bid and ask prices, (n, levels), and shares, (n, 2, levels), the same whenever a packet is sent again."""
        step = np.maximum(self._ticks[packets["instrument"]], 100)[:, None] * _LEVELS
        price = packets["price"][:, None]
        seed = packets["instrument"] * np.int64(2_654_435_761) + packets["day_volume"] * 40_503 + packets["price"]
        levels = np.arange(2 * DEPTH_LEVELS).reshape(2, DEPTH_LEVELS)
        return price - step, price + step, (seed[:, None, None] + levels * 7_368_787) % 4_999 + 1


class Talk:
    """Satisfies `Conversation`. `admits` says whether a token may log in; whose it is follows from it."""

    pulse: tuple[Message, float] | None = None

    def __init__(self, wire: Wire, admits: Callable[[str], bool]) -> None:
        self._wire, self._admits = wire, admits
        self.admitted = False
        self.modes = np.zeros(len(wire), np.int8)
        self._fresh: dict[int, None] = {}
        self._known: dict[int, dict[str, str]] = {}

    def hear(self, text: str) -> list[Message]:
        """Log in, subscribe, give back, beat; nonsense is answered with an error."""
        try:
            asked = json.loads(text)
            kind = asked["t"]
            if kind in _ACKS:
                return [self._login(kind, asked)]
            if not self.admitted:
                return [_error("log in first")]
            return self._answer(kind, asked)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return [_error(f"a message is JSON like {EXAMPLE}")]

    def fresh(self) -> Ints:
        """The ids subscribed since the last call, (n,)."""
        ids = np.array([*self._fresh], np.int64)
        self._fresh.clear()
        return ids

    def frames(self, packets: Packets, closes: Mapping[int, int], clock: int) -> list[Message]:
        """A text for each packet of what this client subscribes, in their order."""
        packets = packets[self.modes[packets["instrument"]] > 0]
        modes = self.modes[packets["instrument"]]
        messages: dict[int, Message] = {}
        for mode in (TOUCHLINE, DEPTH):
            places = np.flatnonzero(modes == mode)
            for place, state in zip(
                places.tolist(), self._wire.states(packets[places], closes, mode == DEPTH), strict=True
            ):
                messages[place] = self._told(int(packets["instrument"][place]), mode, state)
        return [messages[place] for place in sorted(messages)]

    def _told(self, who: int, mode: int, state: dict[str, str]) -> str:
        whole, delta = _STATES[mode]
        known, self._known[who] = self._known.get(who), state
        head = self._wire.heads[who]
        if known is None:
            return _said({"t": whole, **head, **state})
        changed = {name: value for name, value in state.items() if known.get(name) != value}
        return _said({"t": delta, "e": head["e"], "tk": head["tk"], **changed})

    def _login(self, kind: str, asked: Mapping[str, str]) -> str:
        answer, secret = _ACKS[kind]
        user, token = asked["uid"], asked[secret]
        self.admitted = isinstance(user, str) and isinstance(token, str) and self._admits(token)
        return _said({"t": answer, "uid": str(user)[:40], "s": "OK" if self.admitted else "NOT_OK"})

    def _answer(self, kind: str, asked: Mapping[str, str]) -> list[Message]:
        if kind == "h":
            return [_said({"t": "hk"})]
        if kind in ("o", "uo"):
            return [_said({"t": f"{kind}k"})]
        if kind not in _WANTED and kind not in _BACK:
            return [_error(f"the type {str(kind)[:40]!r} is not known")]
        keys = asked["k"].split("#")
        ids = [self._wire.ids[key] for key in dict.fromkeys(keys) if key in self._wire.ids]
        strangers = len([key for key in keys if key not in self._wire.ids])
        answers: list[Message] = [_error(f"{strangers} scrips are not known")] if strangers else []
        return (
            self._take(ids, _WANTED[kind]) + answers
            if kind in _WANTED
            else self._give_back(asked["k"], ids, kind) + answers
        )

    def _take(self, ids: list[int], mode: int) -> list[Message]:
        room = SOCKET_INSTRUMENTS - int((self.modes > 0).sum())
        refused = [i for i in ids if not self.modes[i]][max(room, 0) :]
        for i in ids:
            if i not in refused:
                self.modes[i] = mode
                self._fresh[i] = None
                self._known.pop(i, None)
        return [_error(f"at most {SOCKET_INSTRUMENTS} scrips: {len(refused)} refused")] if refused else []

    def _give_back(self, keys: str, ids: list[int], kind: str) -> list[Message]:
        answer, mode = _BACK[kind]
        for i in ids:
            if self.modes[i] == mode:
                self.modes[i] = 0
        return [_said({"t": answer, "k": keys})]


def rupees(amount: int) -> str:
    """An amount in 1/10,000 as the wire writes it.

    >>> rupees(1185500), rupees(834525)
    ('118.55', '83.4525')
    """
    whole, part = divmod(amount, SCALE)
    return f"{whole}.{part // 100:02d}" if part % 100 == 0 else f"{whole}.{part:04d}"


def _levels(bids: Ints, asks: Ints, quantities: Ints, count: int) -> dict[str, str]:
    state = {}
    for side, prices, shares in (("b", bids, quantities[0]), ("s", asks, quantities[1])):
        for level, (price, size) in enumerate(zip(prices[:count].tolist(), shares[:count].tolist(), strict=True), 1):
            there = price > 0
            state[f"{side}p{level}"] = rupees(price) if there else "0.00"
            state[f"{side}q{level}"] = str(size if there else 0)
            if count > 1:
                state[f"{side}o{level}"] = str(size % 19 + 1 if there else 0)
    return state


def _said(what: Mapping[str, str]) -> str:
    return json.dumps(what, separators=(",", ":"))


def _error(complaint: str) -> str:
    return _said({"t": "error", "emsg": complaint})
