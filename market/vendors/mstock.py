"""mStock's Type B stream (Mirae Asset): binary packets in, `TICK` rows out. Source: mStock-TradingApi-B 1.0.5.

A token is its exchange's number and the exchange's own token, `1|1594`. Only a snap packet names its last trade's time;
the others have the exchange's stamp, which stands in its place. Volume is the day's running total. What nobody bids
for, nobody offers and nobody trades has no volume: an index. Open interest counts for derivatives only. A price of
zero is no price. `close` is the previous session's, repeated in every packet: it becomes a row only when it changes.
Login is a text, and the next text that is no complaint confirms it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from market.codecs import Accepted, Account, Event, Message, OrderUpdate, Refused, Token, VendorError, tape_event
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN
from market.ticks import DEPTH, DEPTH_LEVELS, NO_TICKS, Flag, Kind, Ticks, blank, plausible
from market.vendors.mstock_packets import (
    CASH,
    EXCHANGES,
    LEVEL,
    MODES,
    NAME,
    TOKEN_BYTES,
    Block,
    Rows,
    contracts,
    instants,
    on_the_wire,
    take_apart,
    timely,
)

# mStock's pages name no limit; these are of SmartAPI, whose protocol this is: 1000 tokens a session, 3 of a client.
SOCKET_INSTRUMENTS = 1000
SOCKETS = 3

BATCH = 500
"""Tokens in one text message."""

PRICE = 100
"""The wire's paise in 1/10,000 of a rupee."""

LARGEST = 1 << 50
"""Prices and quantities from here on are no market's; in our unit they still fit."""

HEARTBEAT = 4
"""Binary messages up to this length carry nothing: the vendor's own clients pass over them."""

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class _Found(NamedTuple):
    """Packets of our instruments: place in the codec's tables, message's number, packet, all (n,)."""

    where: Ints
    numbers: Ints
    packets: Rows

    def only(self, wanted: Mask) -> _Found:
        return _Found(self.where[wanted], self.numbers[wanted], self.packets[wanted])


class _Closes(NamedTuple):
    """Previous closes that packets name: the wire's price and the row of the packet, (n,), and where it belongs."""

    where: Ints
    numbers: Ints
    close: Ints
    rows: Ticks


class MStock:
    """Satisfies `TickCodec`."""

    name = NAME
    stream = "wss://ws.mstock.trade"
    socket_instruments = SOCKET_INSTRUMENTS
    sockets = SOCKETS
    silence = timedelta(seconds=30)  # no heartbeat is promised
    waits = True
    pulse: tuple[str, float] | None = None

    def __init__(self, tokens: Mapping[Token, int], source: int = 0) -> None:
        """`tokens`: `exchange type|token` -> our instrument id. Raises BadValue for a token of another form."""
        self.source = source
        self.unknown = 0
        self.unpriced = 0
        names = [_taken(token) for token in tokens]
        self._places = {on_the_wire(*name): place for place, name in enumerate(names)}
        self._ids = np.array([*tokens.values()], np.int64)
        self._cash: Mask = np.array([exchange in CASH for exchange, _ in names], np.bool_)
        self._modes: dict[Token, str] = {}
        self._closes = np.zeros(len(names), np.int64)
        self._books = np.zeros((len(names), 2, DEPTH_LEVELS), LEVEL)
        self._book_at = np.zeros(len(names), np.int64)
        self._book_new = np.zeros(len(names), np.bool_)
        self._asked = False

    def read(self, message: bytes, received: int, sequence: int = 0) -> Ticks:
        """The row of one packet, behind its previous close if that changed. Raises BadPayload."""
        rows, bad = self.read_many([message], [received], [sequence])
        if bad:
            raise BadPayload(self.name, message, bad[0].reason, rows)
        return rows

    def read_many(
        self, messages: Sequence[bytes], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The rows of some messages in their order, and the messages that were damaged."""
        if not messages:
            return NO_TICKS, []
        blocks, damage = take_apart(messages)
        came, order = np.array(received, np.int64), np.array(sequences, np.int64) << 16
        closes: list[_Closes] = []
        parts: list[tuple[Ints, Ticks]] = []
        for mode, block in blocks.items():
            found = self._plausible(mode, self._known(block), damage)
            rows = self._rows(mode, found, came, order)
            if mode != "ltp":
                closes.append(_Closes(found.where, found.numbers, found.packets["close"].astype(np.int64), rows))
            if mode == "full":
                self._keep_books(found, rows)
            parts.append(self._priced(found.numbers, rows))
        parts += self._changed_closes(closes)
        bad = [BadPayload(self.name, messages[number], damage[number]) for number in sorted(damage)]
        return _in_order(parts), bad

    def depth(self) -> Ticks:
        """`DEPTH` rows of the instruments whose book came since the last call, (n,)."""
        where = np.flatnonzero(self._book_new)
        self._book_new[where] = False
        books = self._books[where]
        exists = books["price"] > 0
        rows = np.zeros(len(where), DEPTH)
        rows["instrument"], rows["at"] = self._ids[where], self._book_at[where]
        prices = np.where(exists, books["price"].astype(np.int64) * PRICE, UNKNOWN)
        for side, name in enumerate(("bid", "ask")):
            rows[name] = prices[:, side]
            rows[f"{name}_quantity"] = np.where(exists, books["quantity"], 0)[:, side]
            rows[f"{name}_orders"] = np.where(exists, books["orders"], 0)[:, side]
        return rows

    def text(self, message: str) -> Event:
        """An update of an order, a complaint, the answer to our login, or the simulated exchange's clock.

        Raises BadPayload.
        """
        if (told := tape_event(self.name, message)) is not None:
            return told
        try:
            event = self._event(message.removeprefix("\ufeff").strip())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            reason = e.errors()[0]["msg"] if isinstance(e, ValidationError) else f"{type(e).__name__}: {e}"
            raise BadPayload(self.name, message.encode(errors="replace"), f"a text that says nothing: {reason}") from e
        self._asked = self._asked and not isinstance(event, Accepted | Refused)
        return event

    def address(self, root: str, account: Account) -> str:
        """Where to connect; the stream's address with both secrets in it: never log it."""
        secrets = {
            "API_KEY": account.api_key.get_secret_value(),
            "ACCESS_TOKEN": account.access_token.get_secret_value(),
        }
        return f"{root}?{urlencode(secrets, quote_via=quote)}"

    def hello(self, account: Account) -> list[str]:
        """The login, due within 10 s; the text that answers it is `Accepted` or `Refused`. Never log it."""
        self._asked = True
        return [f"LOGIN:{account.access_token.get_secret_value()}"]

    def carries(self, message: Message) -> bool:
        """Ticks are binary, and longer than a heartbeat."""
        return isinstance(message, bytes) and len(message) > HEARTBEAT

    def subscribe(self, tokens: Collection[Token], mode: str) -> list[str]:
        """The text messages that ask for these tokens in a mode, at most `BATCH` tokens each. Raises BadValue."""
        if mode not in MODES:
            raise BadValue("mode", mode, f"one of {', '.join(MODES)}")
        self._modes.update(dict.fromkeys(tokens, mode))
        return [_ask(1, mode, exchange, batch) for exchange, batch in _batches(tokens)]

    def unsubscribe(self, tokens: Collection[Token]) -> list[str]:
        """The text messages that give these tokens back, in the modes in which they were asked for."""
        by_mode: dict[str, list[Token]] = defaultdict(list)
        for token in tokens:
            by_mode[self._modes.pop(token, "full")].append(token)
        return [_ask(0, mode, exchange, batch) for mode, some in by_mode.items() for exchange, batch in _batches(some)]

    def _event(self, message: str) -> Event:
        try:
            said = json.loads(message, parse_constant=_no_number)
        except ValueError:
            if not (self._asked and message and message.isprintable() and message[0] not in "{["):
                raise
            return Refused(reason=message) if _complains(message) else Accepted()
        if "order_status" in said:
            return _order(said["order_status"], said["orderData"])
        if said.get("type") == "error":
            data = said["data"]
            complaint = VendorError(message=json.dumps(data) if isinstance(data, dict) else data)
            return Refused(reason=complaint.message) if self._asked else complaint
        if not self._asked:
            raise ValueError("neither an order nor an error")
        refused = str(said.get("status", True)).lower() in ("false", "error")
        return Refused(reason=str(said.get("message", message))) if refused else Accepted()

    def _known(self, block: Block) -> _Found:
        where = np.array([self._places.get(name, -1) for name in contracts(block.rows)], np.int64)
        found = _Found(where, block.numbers, block.rows)
        missing = int(np.count_nonzero(where < 0))
        self.unknown += missing
        return found.only(where >= 0) if missing else found

    def _plausible(self, mode: str, found: _Found, damage: dict[int, str]) -> _Found:
        packets = found.packets
        names = {"ltp": ("last_price",), "quote": ("last_price", "volume", "close")}
        amounts = [packets[name] for name in names.get(mode, ("last_price", "volume", "close", "open_interest"))]
        times = [packets["exchange_time"]]
        if mode == "full":
            amounts += [packets[side][name].max(axis=1) for side in ("bids", "asks") for name in ("price", "quantity")]
            times.append(packets["last_trade_time"])
        sound = np.logical_and.reduce([amount < LARGEST for amount in amounts])
        if mode != "ltp":
            price, volume = (packets[name].astype(np.int64) for name in ("last_price", "volume"))
            sound &= plausible(price * PRICE, volume)
        timed = np.logical_and.reduce([timely(time) for time in times])
        for wrong, reason in ((~sound, "an amount that no market has"), (~timed, "a stamp that is no time")):
            damage.update(dict.fromkeys(found.numbers[wrong].tolist(), reason))
        good = sound & timed
        return found if good.all() else found.only(good)

    def _rows(self, mode: str, found: _Found, came: Ints, order: Ints) -> Ticks:
        where, numbers, packets = found
        rows = blank(len(where))
        rows["instrument"], rows["source"] = self._ids[where], self.source
        rows["sequence"], received = order[numbers], came[numbers]
        rows["received"] = received
        quoted = instants(packets["exchange_time"], received)
        traded = instants(packets["last_trade_time"], received) if mode == "full" else quoted
        rows["quoted"] = quoted
        timeless = traded == UNKNOWN
        rows["at"] = np.where(timeless, received, traded)
        rows["flags"][timeless] = Flag.NO_TIME
        rows["price"] = packets["last_price"].astype(np.int64) * PRICE
        if mode != "ltp":
            silent = ~((packets["total_buy_quantity"] > 0) | (packets["total_sell_quantity"] > 0))
            volume = packets["volume"].astype(np.int64)
            rows["day_volume"] = np.where(silent & (volume == 0), UNKNOWN, volume)
        if mode == "full":
            interest = packets["open_interest"].astype(np.int64)
            rows["open_interest"] = np.where(self._cash[where], UNKNOWN, interest)
            for side, name in (("bids", "bid"), ("asks", "ask")):
                best = packets[side][:, 0]
                exists = best["price"] > 0
                rows[name] = np.where(exists, best["price"].astype(np.int64) * PRICE, UNKNOWN)
                rows[f"{name}_quantity"] = np.where(exists, best["quantity"].astype(np.int64), UNKNOWN)
        return rows

    def _keep_books(self, found: _Found, rows: Ticks) -> None:
        where = found.where
        self._books[where, 0] = found.packets["bids"]
        self._books[where, 1] = found.packets["asks"]
        self._book_at[where] = np.where(rows["quoted"] == UNKNOWN, rows["received"], rows["quoted"])
        self._book_new[where] = True

    def _priced(self, numbers: Ints, rows: Ticks) -> tuple[Ints, Ticks]:
        priced = rows["price"] > 0
        missing = len(rows) - int(np.count_nonzero(priced))
        self.unpriced += missing
        keys = numbers * 2 + 1
        return (keys[priced], rows[priced]) if missing else (keys, rows)

    def _changed_closes(self, said: list[_Closes]) -> list[tuple[Ints, Ticks]]:
        if not any(((one.close != self._closes[one.where]) & (one.close > 0)).any() for one in said):
            return []
        where, numbers, close, rows = (np.concatenate(columns) for columns in zip(*said, strict=True))
        order = np.lexsort((numbers, where))
        order = order[close[order] > 0]
        where, numbers, close = where[order], numbers[order], close[order]
        before = np.where(np.diff(where, prepend=-1) != 0, self._closes[where], np.roll(close, 1))
        self._closes[where] = close  # of each instrument the last stays
        new = close != before
        stated = blank(int(np.count_nonzero(new)))
        for name in ("instrument", "source", "flags", "sequence", "at", "quoted", "received"):
            stated[name] = rows[name][order][new]
        stated["kind"], stated["price"] = Kind.CLOSE, close[new] * PRICE
        return [(numbers[new] * 2, stated)]


def _taken(token: Token) -> tuple[int, str]:
    exchange, _, name = str(token).partition("|")
    known = exchange.isdecimal() and int(exchange) in EXCHANGES
    if not known or not name.isascii() or not name.isalnum() or len(name) > TOKEN_BYTES:
        kinds = ", ".join(f"{number} {called}" for number, called in EXCHANGES.items())
        raise BadValue("token", token, f"an exchange's number and a token, like 1|1594; numbers: {kinds}")
    return int(exchange), name


def _batches(tokens: Collection[Token]) -> list[tuple[int, list[str]]]:
    by_exchange: dict[int, list[str]] = defaultdict(list)
    for exchange, name in map(_taken, tokens):
        by_exchange[exchange].append(name)
    return [(e, names[k : k + BATCH]) for e, names in by_exchange.items() for k in range(0, len(names), BATCH)]


def _ask(action: int, mode: str, exchange: int, tokens: list[str]) -> str:
    params = {"mode": MODES[mode], "tokenList": [{"exchangeType": exchange, "tokens": tokens}]}
    return json.dumps({"correlationID": "", "action": action, "params": params}, separators=(",", ":"))


def _order(kind: str, said: dict[str, Any]) -> OrderUpdate:
    if kind not in ("order", "trade"):
        raise ValueError(f"the order status {kind!r} is not known")
    status = said.get("orderstatus") or said["status"]
    return OrderUpdate(order_id=said["orderid"], status=status, fields={**said, "order_status": kind})


def _complains(text: str) -> bool:
    return any(word in text.lower() for word in ("fail", "invalid", "expired", "denied", "error", "unauthor"))


def _in_order(parts: list[tuple[Ints, Ticks]]) -> Ticks:
    if not parts:
        return NO_TICKS
    keys = np.concatenate([keys for keys, _ in parts])
    rows: Ticks = np.concatenate([rows for _, rows in parts])[keys.argsort(kind="stable")]
    return rows


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
