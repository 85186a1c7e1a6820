"""Zerodha's Kite Connect v3 stream: binary frames in, `TICK` rows out. Source: https://kite.trade/docs/connect/v3/websocket/.

Stamps are whole epoch seconds; a full packet names its last trade's, an index packet the exchange's, the others none.
Prices are paise in most segments. Volume is the day's running total; ltp and index packets have none. Open interest
counts for derivatives only: cash segments send zeros that mean nothing. A price level of zero is "no level". `close` is
the previous session's, repeated in every packet: it becomes a row only when it changes. A heartbeat is one byte.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from market.codecs import Account, Event, Message, Notice, OrderUpdate, Token, VendorError, tape_event
from market.errors import BadPayload, BadValue
from market.money import SCALE, UNKNOWN
from market.sessions import SECOND
from market.ticks import DEPTH, DEPTH_LEVELS, LARGEST_TURNOVER, TICK, Flag, Kind, Ticks, plausible
from market.vendors.kite_packets import DIVISORS, LEVEL, NAME, PACKETS, SEGMENTS, Packets, Words, take_apart

# Source: Kite Connect v3, WebSocket streaming: "up to 3000 instruments" on one connection, "up to 3 websocket
# connections" of one api_key.
SOCKET_INSTRUMENTS = 3000
SOCKETS = 3

BATCH = 500
"""Tokens in one text message; larger ones were seen to be cut."""

MODES = ("ltp", "quote", "full")
TOKENS = 1 << 32

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_CASH = [SEGMENTS[name] for name in ("nse", "bse", "indices")]
_BELOW_ZERO = [SEGMENTS[name] for name in ("mcx", "mcxsx", "nco")]

# A `TICK` row is 12 words of 8 bytes, and is gathered from the packet as such: instrument, source, flags and kind share
# the first, where the token stands on the way; the previous close travels in the place of the sequence.
_WIDTH = 12
_TOKEN, _CLOSE, _AT, _QUOTED, _RECEIVED, _PRICE, _VOLUME, _INTEREST, _BID, _BID_QUANTITY, _ASK, _ASK_QUANTITY = range(
    _WIDTH
)
_HEAD, _SEQUENCE = _TOKEN, _CLOSE
_PRICES = (_PRICE, _BID, _ASK)
_UNSIGNED = (_TOKEN, _VOLUME, _INTEREST, _BID_QUANTITY, _ASK_QUANTITY)
_SOURCE_BIT, _NO_TIME, _CLOSE_KIND = 32, int(Flag.NO_TIME) << 40, int(Kind.CLOSE) << 48
_FIELDS: dict[str, dict[int, str]] = {
    "ltp": {_TOKEN: "token", _PRICE: "last_price"},
    "quote": {_TOKEN: "token", _CLOSE: "close", _PRICE: "last_price", _VOLUME: "volume_traded"},
    "full": {
        _TOKEN: "token", _CLOSE: "close", _AT: "last_trade_time", _QUOTED: "exchange_timestamp", _PRICE: "last_price",
        _VOLUME: "volume_traded", _INTEREST: "oi", _BID: "bids.price", _BID_QUANTITY: "bids.quantity",
        _ASK: "asks.price", _ASK_QUANTITY: "asks.quantity",
    },
    "index_quote": {_TOKEN: "token", _CLOSE: "close", _PRICE: "last_price"},
    "index_full": {
        _TOKEN: "token", _CLOSE: "close", _AT: "exchange_timestamp", _QUOTED: "exchange_timestamp",
        _PRICE: "last_price",
    },
}  # fmt: skip
_BOOK = slice(16, 46)
PAISE = 100
"""The wire's price is at most so many of our units, in every segment."""
_AT_ONCE = 600
"""Packets decoded in one pass: more leaves the caches, and every array of it is new memory from the system."""


class _Plan:
    """How packets of one kind become columns: gather `words`, and with `mask`, times `factor`, plus `base`."""

    def __init__(self, kind: str, interest: bool) -> None:
        fields = {c: f for c, f in _FIELDS[kind].items() if c != _INTEREST or interest}
        scale = {_AT: SECOND, _QUOTED: SECOND, _PRICE: 100, _BID: 100, _ASK: 100}
        self.words = np.array([_word(kind, fields.get(c, "token")) for c in range(_WIDTH)])
        self.mask = _column([0xFFFFFFFF if c in _UNSIGNED else -1 for c in range(_WIDTH)])
        self.factor = _column([scale.get(c, 1) if c in fields else 0 for c in range(_WIDTH)])
        self.base = _column([0 if c in fields else UNKNOWN for c in range(_WIDTH)])
        self.prices = [c for c in _PRICES if c in fields]
        self.has = fields.keys()


class _Found(NamedTuple):
    """Packets of our instruments: place in the codec's tables, (n,), key, (n,), words, (n, k), and columns, (12, n)."""

    where: Ints
    keys: Ints
    words: Words
    raw: Ints

    def only(self, wanted: Mask) -> _Found:
        return _Found(self.where[wanted], self.keys[wanted], self.words[wanted], self.raw[:, wanted])


class _Closes(NamedTuple):
    """Closes that are news: packet's key, place in the codec's tables, the wire's price, (n,), and row, (12, n)."""

    keys: Ints
    where: Ints
    close: Ints
    rows: Ints


class Kite:
    """Satisfies `TickCodec`."""

    name = NAME
    stream = "wss://ws.kite.trade"
    socket_instruments = SOCKET_INSTRUMENTS
    sockets = SOCKETS
    silence = timedelta(seconds=5)
    waits = False
    pulse: tuple[str, float] | None = None

    def __init__(self, tokens: Mapping[Token, int], source: int = 0) -> None:
        """`tokens`: Kite's instrument token -> our instrument id. Raises BadValue for a token of no known segment."""
        self.source = source
        self.unknown = 0
        self.unpriced = 0
        every = sorted(int(token) for token in tokens)
        for token in every:
            if not 0 <= token < TOKENS or token & 0xFF not in SEGMENTS.values():
                raise BadValue("token", token, f"32 bits, the lowest 8 one of {SEGMENTS}")
        count = len(every)
        self._tokens = np.array([*every, TOKENS], np.int64)
        self._ids = np.array([tokens[token] for token in every], np.int64)
        segments = self._tokens[:count] & 0xFF
        self._cash: Mask = np.isin(segments, _CASH)
        self._below_zero: Mask = np.isin(segments, _BELOW_ZERO)
        divisors = np.array([DIVISORS.get(int(s), 100) for s in segments], np.int64)
        self._times, self._over = np.maximum(SCALE // divisors, 1), np.maximum(divisors // SCALE, 1)
        self._any_cash, self._any_below_zero = bool(self._cash.any()), bool(self._below_zero.any())
        self._all_paise = bool((divisors == 100).all())
        self._plans = {kind: _Plan(kind, not self._cash.all()) for kind in _FIELDS}
        self._heads = self._ids | source << _SOURCE_BIT
        self._closes = np.zeros(count, np.int64)
        self._books = np.zeros((count, 30), ">i4")
        self._book_at = np.zeros(count, np.int64)
        self._book_new = np.zeros(count, np.bool_)

    def read(self, message: bytes, received: int, sequence: int = 0) -> Ticks:
        """The rows of one frame, previous closes that changed before the ticks. Raises BadPayload."""
        rows, bad = self._decode([message], [received], [sequence])
        if bad:
            raise BadPayload(self.name, message, bad[0].reason, _ticks(rows.T))
        return _ticks(rows.T)

    def read_many(
        self, messages: Sequence[bytes], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The rows of some frames, in order but for closes that changed, and the frames that were damaged."""
        rows: list[Ints] = [_NO_ROWS.T]
        bad: list[BadPayload] = []
        begin = size = 0
        for end, message in enumerate(messages, 1):
            size += int.from_bytes(message[:2], "big")
            if size >= _AT_ONCE or end == len(messages):
                some, worse = self._decode(messages[begin:end], received[begin:end], sequences[begin:end])
                rows.append(np.ascontiguousarray(some.T))
                bad += worse
                begin, size = end, 0
        return _ticks(np.concatenate(rows)), bad

    def depth(self) -> npt.NDArray[np.void]:
        """`DEPTH` rows of the instruments whose book came since the last call, by token. Raises BadPayload."""
        where = np.flatnonzero(self._book_new)
        self._book_new[where] = False
        book = self._books[where].view(LEVEL.newbyteorder(">")).reshape(-1, 2, DEPTH_LEVELS)
        raw = book["price"].astype(np.int64)
        rows = np.zeros(len(where), DEPTH)
        rows["instrument"], rows["at"] = self._ids[where], self._book_at[where]
        exists = self._is_price(raw, where[:, None, None])
        prices = np.where(exists, raw * self._times[where, None, None] // self._over[where, None, None], UNKNOWN)
        for side, name in enumerate(("bid", "ask")):
            rows[name] = prices[:, side]
            rows[f"{name}_quantity"] = np.where(exists, book["quantity"], 0)[:, side]
            rows[f"{name}_orders"] = np.where(exists, book["orders"], 0)[:, side]
        exact = (raw % self._over[where, None, None] == 0).all(axis=(1, 2))
        if not exact.all():
            raise BadPayload(
                self.name, self._books[where[~exact][0]].tobytes(), "a price between our units", rows[exact]
            )
        return rows

    def text(self, message: str) -> Event:
        """An order update, a complaint, a notice, or the simulated exchange's clock. Raises BadPayload."""
        if (told := tape_event(self.name, message)) is not None:
            return told
        try:
            said = json.loads(message.removeprefix("\ufeff"), parse_constant=_no_number)
            return _event(said["type"], said.get("data"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            reason = e.errors()[0]["msg"] if isinstance(e, ValidationError) else f"{type(e).__name__}: {e}"
            raise BadPayload(self.name, message.encode(errors="replace"), f"a text that says nothing: {reason}") from e

    def address(self, root: str, account: Account) -> str:
        """Where to connect; the stream's address with both secrets in it: never log it."""
        secrets = {name: getattr(account, name).get_secret_value() for name in ("api_key", "access_token")}
        return f"{root}?{urlencode(secrets, quote_via=quote)}"

    def hello(self, account: Account) -> list[str]:
        """Nothing: the address has said it all."""
        return []

    def carries(self, message: Message) -> bool:
        """Ticks are binary, and longer than the one byte of a heartbeat."""
        return isinstance(message, bytes) and len(message) > 1

    @staticmethod
    def subscribe(tokens: Collection[Token], mode: str) -> list[str]:
        """The text messages that ask for these tokens in a mode, at most `BATCH` tokens each. Raises BadValue."""
        if mode not in MODES:
            raise BadValue("mode", mode, f"one of {', '.join(MODES)}")
        batches = _batches(tokens)
        return [text for batch in batches for text in (_ask("subscribe", batch), _ask("mode", [mode, batch]))]

    @staticmethod
    def unsubscribe(tokens: Collection[Token]) -> list[str]:
        """The text messages that give these tokens back."""
        return [_ask("unsubscribe", batch) for batch in _batches(tokens)]

    def _decode(
        self, messages: Sequence[bytes], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ints, list[BadPayload]]:
        blocks, damage = take_apart(messages)
        closes: list[_Closes] = []
        parts: list[tuple[Ints, Ints]] = []
        for kind, packets in blocks.items():
            plan = self._plans[kind]
            found = self._known(plan, packets)
            if not self._all_paise:
                found = self._exact(plan, found, damage)
            if _VOLUME in plan.has:
                found = self._plausible(found, damage)
            rows = self._rows(plan, found, received, sequences)
            if _CLOSE in plan.has:
                closes += self._changed_closes(found, rows)
            if _BID in plan.has:
                self._keep_books(found, rows)
            parts.append(self._priced(found, rows))
        if closes:
            parts.append(self._stated(closes))
        reasons = dict(reversed(damage))
        bad = [BadPayload(self.name, messages[number], reasons[number]) for number in sorted(reasons)]
        return _in_order(parts), bad

    def _known(self, plan: _Plan, packets: Packets) -> _Found:
        raw = packets.words.T[plan.words].astype(np.int64)
        raw &= plan.mask
        tokens = raw[_TOKEN]
        where = self._tokens.searchsorted(tokens)
        known = self._tokens[where] == tokens
        found = _Found(where, packets.keys, packets.words, raw)
        missing = len(known) - int(np.count_nonzero(known))
        self.unknown += missing
        return found.only(known) if missing else found

    def _exact(self, plan: _Plan, found: _Found, damage: list[tuple[int, str]]) -> _Found:
        prices = found.raw[[_CLOSE, *plan.prices] if _CLOSE in plan.has else plan.prices]
        exact = (prices % self._over[found.where] == 0).all(axis=0)
        damage += [(int(key) >> 16, "a price between our units of 1/10,000") for key in found.keys[~exact]]
        return found.only(exact)

    def _plausible(self, found: _Found, damage: list[tuple[int, str]]) -> _Found:
        price, volume = (int(found.raw[c].max(initial=0)) for c in (_PRICE, _VOLUME))
        if price * PAISE * volume < LARGEST_TURNOVER and not self._any_below_zero:
            return found
        sound = plausible(self._money(found.raw[_PRICE], found.where), found.raw[_VOLUME])
        damage += [(int(key) >> 16, "an amount that no market has") for key in found.keys[~sound]]
        return found if sound.all() else found.only(sound)

    def _rows(self, plan: _Plan, found: _Found, received: Sequence[int], sequences: Sequence[int]) -> Ints:
        where, keys, _, raw = found
        rows: Ints = raw * plan.factor
        rows += plan.base
        rows[_HEAD] = self._heads[where]
        if len(received) == 1:
            rows[_SEQUENCE] = keys + (sequences[0] << 16)
            rows[_RECEIVED] = received[0]
        else:
            frames = keys >> 16
            rows[_SEQUENCE] = (np.array(sequences)[frames] << 16) + (keys & 0xFFFF)
            rows[_RECEIVED] = np.array(received)[frames]
        if not self._all_paise:
            for price in plan.prices:
                rows[price] = self._money(raw[price], where)
        if _INTEREST in plan.has and self._any_cash:
            rows[_INTEREST, self._cash[where]] = UNKNOWN
        self._leave_open(plan, found, rows)
        return rows

    def _leave_open(self, plan: _Plan, found: _Found, rows: Ints) -> None:
        where, _, _, raw = found
        if _AT not in plan.has:
            rows[_HEAD] |= _NO_TIME
            rows[_AT] = rows[_RECEIVED]
            return
        least = raw.min(axis=1, initial=1).tolist()
        if least[_AT] <= 0:
            timeless = raw[_AT] <= 0
            rows[_HEAD, timeless] |= _NO_TIME
            rows[_AT, timeless] = rows[_RECEIVED, timeless]
        if least[_QUOTED] <= 0:
            rows[_QUOTED, raw[_QUOTED] <= 0] = UNKNOWN
        for price, quantity in ((_BID, _BID_QUANTITY), (_ASK, _ASK_QUANTITY)):
            if price in plan.has and least[price] <= 0:
                empty = ~self._is_price(raw[price], where)
                rows[price, empty] = rows[quantity, empty] = UNKNOWN

    def _changed_closes(self, found: _Found, rows: Ints) -> list[_Closes]:
        where, close = found.where, found.raw[_CLOSE]
        changed = (close != self._closes[where]).nonzero()[0]
        if len(changed):
            changed = changed[self._is_price(close[changed], where[changed])]
        if not len(changed):
            return []
        return [_Closes(found.keys[changed], where[changed], close[changed], rows[:, changed])]

    def _stated(self, closes: list[_Closes]) -> tuple[Ints, Ints]:
        keys, where, close, rows = (np.concatenate(columns, axis=-1) for columns in zip(*closes, strict=True))
        order = keys.argsort()[::-1]
        last = order[np.unique(where[order], return_index=True)[1]]
        self._closes[where[last]] = close[last]
        stated = rows[:, last]
        stated[_HEAD] |= _CLOSE_KIND
        stated[_PRICE] = self._money(close[last], where[last])
        stated[_PRICE + 1 :] = UNKNOWN
        return keys[last], stated

    def _keep_books(self, found: _Found, rows: Ints) -> None:
        where, quoted = found.where, rows[_QUOTED]
        self._books[where] = found.words[:, _BOOK]
        self._book_at[where] = np.where(quoted > 0, quoted, rows[_RECEIVED])
        self._book_new[where] = True

    def _priced(self, found: _Found, rows: Ints) -> tuple[Ints, Ints]:
        priced = self._is_price(found.raw[_PRICE], found.where)
        missing = len(priced) - int(np.count_nonzero(priced))
        if not missing:
            return found.keys, rows
        self.unpriced += missing
        return found.keys[priced], rows[:, priced]

    def _is_price(self, raw: Ints, where: Ints) -> Mask:
        positive: Mask = raw > 0
        if self._any_below_zero:
            positive |= (raw < 0) & self._below_zero[where]
        return positive

    def _money(self, raw: Ints, where: Ints) -> Ints:
        money: Ints = raw * self._times[where] // self._over[where]
        return money


_NO_ROWS: Ints = np.zeros((_WIDTH, 0), np.int64)


def _column(values: list[int]) -> Ints:
    return np.array(values, np.int64)[:, None]


def _word(kind: str, field: str) -> int:
    name, _, part = field.partition(".")
    offset = _offset(PACKETS[kind], name)
    return (offset + _offset(LEVEL, part) if part else offset) // 4


def _offset(layout: np.dtype[np.void], field: str) -> int:
    return 0 if layout.fields is None else int(layout.fields[field][1])


def _in_order(parts: list[tuple[Ints, Ints]]) -> Ints:
    parts = [part for part in parts if len(part[0])]
    if len(parts) < 2:
        return parts[0][1] if parts else _NO_ROWS
    keys = np.concatenate([part[0] for part in parts])
    rows = np.concatenate([part[1] for part in parts], axis=1)
    return rows[:, np.lexsort((keys, rows[_HEAD] < _CLOSE_KIND))]


def _ticks(rows: Ints) -> Ticks:
    ticks: Ticks = np.ascontiguousarray(rows).view(TICK)[:, 0]
    return ticks


def _batches(tokens: Collection[Token]) -> list[list[int]]:
    every = [int(token) for token in tokens]
    return [every[i : i + BATCH] for i in range(0, len(every), BATCH)]


def _ask(action: str, value: object) -> str:
    return json.dumps({"a": action, "v": value}, separators=(",", ":"))


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _event(kind: str, data: Any) -> Event:
    if kind == "order":
        return OrderUpdate(order_id=data["order_id"], status=data["status"], fields=data)
    if kind == "error":
        return VendorError(message=data)
    if kind != "message":
        raise ValueError(f"the type {kind!r} is not known")
    return Notice(data=data)
