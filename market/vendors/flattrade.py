"""FlatTrade's PiConnect stream (the Noren protocol): JSON texts in, `TICK` rows out. Source: PiConnect API, WebSocket.

A token is its exchange and the exchange's own token, `NSE|22`. A snapshot (`tk`, `dk`) is all that is known of a
contract; a delta (`tf`, `df`) names only what changed since, so it says nothing before its snapshot: it is left out,
and counted as unpriced. All values are decimal strings, prices in rupees. `ft` is the feed's epoch second and stands in
the trade's place: `ltt` comes in three forms. A price of zero is no price, a level without one is not there. An index
has no volume. Open interest counts for derivatives only. `c` is the previous session's close: it becomes a row only
when it changes. A delta with a value that cannot be read leaves that value unknown until it comes again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from pydantic import ValidationError

from market.codecs import (
    Accepted,
    Account,
    Event,
    Message,
    Notice,
    OrderUpdate,
    Refused,
    Token,
    VendorError,
    tape_event,
)
from market.errors import BadPayload, BadValue
from market.money import DECIMALS, UNKNOWN
from market.sessions import SECOND
from market.ticks import DEPTH, DEPTH_LEVELS, LARGEST_TURNOVER, NO_TICKS, TICK, Flag, Kind, Ticks

NAME = "flattrade"

# Undocumented; a production bridge asks for 50 scrips at once and stays well under 5000. One socket a user: a second
# login makes the server close the first with code 1000. Source: marketcalls/openalgo#1961, #1965.
SOCKET_INSTRUMENTS = 3000
SOCKETS = 1
BATCH = 50

BEAT = '{"t":"h"}'
BEAT_SECONDS = 30.0

CASH = ("NSE", "BSE")
EXCHANGES = (*CASH, "NFO", "BFO", "CDS", "BCD", "MCX", "NCX")

# By mode: what asks for it, and what gives it back.
MODES = {"ltp": ("t", "u"), "quote": ("t", "u"), "full": ("d", "ud")}

OLDER = "PiConnectWSTp"
"""An address with this in it takes the older handshake, of Shoonya."""

_SNAPSHOTS, _DELTAS, _DEPTHS = ("tk", "dk"), ("tf", "df"), ("dk", "df")
_CARRIED = re.compile(r'"t"\s*:\s*"(?:tk|tf|dk|df)"')
_TOLD = ("hk", "ok", "uok", "uk", "udk")
_FILL = ("fltm", "flid", "flqty", "flprc")
_DECIMAL = re.compile(r"(\d{1,12})(?:\.(\d{1,8}))?", re.ASCII)
_EARLIEST, _LATEST = 1_000_000_000, 4_000_000_000

_PRICE, _VOLUME, _INTEREST, _CLOSE, _AT, _BOOK = range(6)
_BID, _BID_QUANTITY, _ASK, _ASK_QUANTITY = (_BOOK + DEPTH_LEVELS * k for k in (0, 1, 3, 4))
_SIDES = ("bp", "bq", "bo", "sp", "sq", "so")
_NO_TIME, _IS_TICK, _IS_CLOSE = int(Flag.NO_TIME), int(Kind.TICK), int(Kind.CLOSE)
_WIDTH = _BOOK + DEPTH_LEVELS * len(_SIDES)


class FlatTrade:
    """Satisfies `TickCodec`. `orphans`: how many deltas came before their snapshot; they are among `unpriced`."""

    name = NAME
    stream = "wss://piconnect.flattrade.in/PiConnectWSAPI/"
    socket_instruments = SOCKET_INSTRUMENTS
    sockets = SOCKETS
    silence = timedelta(seconds=40)
    waits = True
    pulse: tuple[str, float] | None = (BEAT, BEAT_SECONDS)

    def __init__(self, tokens: Mapping[Token, int], source: int = 0) -> None:
        """`tokens`: `exchange|token` -> our instrument id. Raises BadValue for a token of another form."""
        self.source = source
        self.unknown = self.unpriced = self.orphans = 0
        self._ids = {_checked(token): instrument for token, instrument in tokens.items()}
        self._states: dict[str, list[int]] = {}
        self._closes: dict[str, int] = {}
        self._books: dict[str, int] = {}
        self._modes: dict[str, str] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._older = False
        self._user = ""

    def read(self, message: Message, received: int, sequence: int = 0) -> Ticks:
        """The row of one message, behind its previous close if that changed. Raises BadPayload."""
        rows, bad = self.read_many([message], [received], [sequence])
        if bad:
            raise bad[0]
        return rows

    def read_many(
        self, messages: Sequence[Message], received: Sequence[int], sequences: Sequence[int]
    ) -> tuple[Ticks, list[BadPayload]]:
        """The rows of some messages in their order, and the messages of which something could not be read."""
        rows: list[tuple[int, ...]] = []
        bad: list[BadPayload] = []
        for message, came, sequence in zip(messages, received, sequences, strict=True):
            try:
                self._merge(orjson.loads(message), came, sequence << 16, rows)
            except (ValueError, KeyError, TypeError, AttributeError) as e:
                bad.append(BadPayload(self.name, _bytes(message), f"{type(e).__name__}: {e}"))
        return (_ticks(rows, self.source) if rows else NO_TICKS), bad

    def depth(self) -> Ticks:
        """`DEPTH` rows of the instruments whose book came since the last call, (n,)."""
        books, self._books = self._books, {}
        known = {token: at for token, at in books.items() if token in self._states}
        rows = np.zeros(len(known), DEPTH)
        if not known:
            return rows
        rows["instrument"] = [self._ids[token] for token in known]
        rows["at"] = [*known.values()]
        levels = np.array([self._states[token][_BOOK:] for token in known], np.int64)
        sides = levels.reshape(len(known), 2, 3, DEPTH_LEVELS)
        for side, name in enumerate(("bid", "ask")):
            price, quantity, orders = sides[:, side].swapaxes(0, 1)
            exists = price > 0
            rows[name] = np.where(exists, price, UNKNOWN)
            rows[f"{name}_quantity"] = np.where(exists & (quantity > 0), quantity, 0)
            rows[f"{name}_orders"] = np.where(exists & (orders > 0), orders, 0)
        return rows

    def text(self, message: str) -> Event:
        """The answer to our login, an order's update merged with what was known of it, or a notice.

        Raises BadPayload.
        """
        if (told := tape_event(self.name, message)) is not None:
            return told
        try:
            return self._event(orjson.loads(message))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            reason = e.errors()[0]["msg"] if isinstance(e, ValidationError) else f"{type(e).__name__}: {e}"
            raise BadPayload(self.name, _bytes(message), f"a text that says nothing: {reason}") from e

    def address(self, root: str, account: Account) -> str:
        """Where to connect; it holds no secret, and says which handshake is spoken there."""
        self._older = OLDER in root
        return root

    def hello(self, account: Account) -> list[str]:
        """The login, which `Accepted` or `Refused` answers. Never log it. What an earlier socket said is forgotten."""
        self._states.clear()
        self._books.clear()
        self._user = account.user
        secret = "susertoken" if self._older else "accesstoken"
        who = {"uid": account.user, "actid": account.user, "source": "API"}
        return [_said({"t": "c" if self._older else "a", **who, secret: account.access_token.get_secret_value()})]

    def carries(self, message: Message) -> bool:
        """Snapshots and deltas; and what is no text, for nobody could say what that is."""
        return isinstance(message, bytes) or _CARRIED.search(message) is not None

    def subscribe(self, tokens: Collection[Token], mode: str) -> list[str]:
        """The texts that ask for these tokens, at most `BATCH` each, and once a login for the user's own orders.

        Tokens asked for in another mode before are given back first. Raises BadValue.
        """
        if mode not in MODES:
            raise BadValue("mode", mode, f"one of {', '.join(MODES)}")
        wanted = [_checked(token) for token in tokens]
        changed = [t for t in wanted if t in self._modes and MODES[self._modes[t]] != MODES[mode]]
        texts = [_said({"t": "o", "actid": self._user})] if self._user else []
        self._user = ""
        texts += self.unsubscribe(changed)
        self._modes.update(dict.fromkeys(wanted, mode))
        return texts + [_said({"t": MODES[mode][0], "k": keys}) for keys in _batches(wanted)]

    def unsubscribe(self, tokens: Collection[Token]) -> list[str]:
        """The texts that give these tokens back, as they were asked for."""
        by_mode: dict[str, list[str]] = {}
        for token in map(_checked, tokens):
            by_mode.setdefault(MODES[self._modes.pop(token, "full")][1], []).append(token)
            self._states.pop(token, None)
        return [_said({"t": kind, "k": keys}) for kind, some in by_mode.items() for keys in _batches(some)]

    def _merge(self, said: dict[str, Any], came: int, sequence: int, rows: list[tuple[int, ...]]) -> None:
        kind, token = said["t"], f"{said['e']}|{said['tk']}"
        instrument = self._ids.get(token)
        if instrument is None:
            self.unknown += 1
            return
        if kind in _SNAPSHOTS:
            state = self._states[token] = [UNKNOWN] * _WIDTH
        elif kind not in _DELTAS:
            raise ValueError(f"the type {kind!r} is not known")
        elif (known := self._states.get(token)) is not None:
            state = known
        else:
            self.orphans += 1
            self.unpriced += 1
            return
        wrong, booked = "", kind == "dk"
        for name, value in said.items():
            if (field := _FIELDS.get(name)) is not None:
                place, reads = field
                try:
                    state[place] = reads(value)
                except (ValueError, TypeError):
                    state[place] = UNKNOWN
                    wrong = name
                booked |= place >= _BOOK and kind in _DEPTHS
        quoted = state[_AT]
        timeless = quoted == UNKNOWN
        at = came if timeless else quoted
        head = (instrument, _NO_TIME if timeless else 0, sequence, at, quoted, came)
        if booked:
            self._books[token] = at
        close = state[_CLOSE]
        if close > 0 and self._closes.get(token) != close:
            self._closes[token] = close
            rows.append((_IS_CLOSE, *head, close, *_NOTHING))
        if wrong:
            raise ValueError(f"{wrong} is {said[wrong]!r}")
        if state[_PRICE] <= 0:
            self.unpriced += 1
            return
        if state[_PRICE] * max(state[_VOLUME], 1) >= LARGEST_TURNOVER:
            told, state[_PRICE], state[_VOLUME] = f"{state[_PRICE]} x {state[_VOLUME]}", UNKNOWN, UNKNOWN
            raise ValueError(f"price x volume is {told}, an amount that no market has")
        interest = UNKNOWN if said["e"] in CASH else state[_INTEREST]
        bid = (state[_BID], state[_BID_QUANTITY]) if state[_BID] > 0 else _NO_SIDE
        ask = (state[_ASK], state[_ASK_QUANTITY]) if state[_ASK] > 0 else _NO_SIDE
        rows.append((_IS_TICK, *head, state[_PRICE], state[_VOLUME], interest, *bid, *ask))

    def _event(self, said: dict[str, Any]) -> Event:
        kind = said["t"]
        if kind in ("ak", "ck"):
            return Accepted() if str(said["s"]).upper() == "OK" else Refused(reason=str(said.get("emsg", said["s"])))
        if kind == "om":
            return self._order(said)
        if "emsg" in said:
            return VendorError(message=said["emsg"])
        if kind not in _TOLD:
            raise ValueError(f"the type {kind!r} is not known")
        return Notice(data=said)

    def _order(self, said: dict[str, Any]) -> OrderUpdate:
        number = said["norenordno"]
        known = {name: value for name, value in self._orders.get(number, {}).items() if name not in _FILL}
        merged = {**known, **said}
        if "pcode" in said:
            merged["prd"] = said["pcode"]
        update = OrderUpdate(order_id=number, status=merged["status"], fields=merged)
        self._orders[number] = merged
        return update


_NO_SIDE = (UNKNOWN, UNKNOWN)
_NOTHING = (UNKNOWN,) * 6
_COLUMNS = (
    "kind", "instrument", "flags", "sequence", "at", "quoted", "received", "price", "day_volume", "open_interest",
    "bid", "bid_quantity", "ask", "ask_quantity",
)  # fmt: skip


@lru_cache(1 << 16)
def price(text: str) -> int:
    """Rupees in 1/10,000. Raises ValueError for what is no decimal, or lies between our units.

    >>> price("118.55"), price("0.0025"), price("26000")
    (1185500, 25, 260000000)
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a price")
    whole, part = found[1], (found[2] or "").ljust(DECIMALS, "0")
    if part[DECIMALS:].strip("0"):
        raise ValueError(f"{text!r} lies between our units")
    return int(whole + part[:DECIMALS])


@lru_cache(1 << 16)
def count(text: str) -> int:
    """Shares, orders, contracts. Raises ValueError for what is no whole number, 0 or more."""
    found = _DECIMAL.fullmatch(text)
    if found is None or (found[2] or "").strip("0"):
        raise ValueError(f"{text!r} is not a count")
    return int(found[1])


@lru_cache(1 << 10)
def stamp(text: str) -> int:
    """ns UTC of an epoch second; UNKNOWN for zero. Raises ValueError for what is no time of ours."""
    second = count(text)
    if second == 0:
        return UNKNOWN
    if not _EARLIEST <= second < _LATEST:
        raise ValueError(f"{text!r} is not an epoch second")
    return second * SECOND


_READS = {"p": price, "q": count, "o": count}
_FIELDS = {
    "lp": (_PRICE, price), "v": (_VOLUME, count), "oi": (_INTEREST, count), "c": (_CLOSE, price), "ft": (_AT, stamp),
    **{
        f"{side}{level + 1}": (_BOOK + DEPTH_LEVELS * k + level, _READS[side[1]])
        for k, side in enumerate(_SIDES)
        for level in range(DEPTH_LEVELS)
    },
}  # fmt: skip


def _ticks(rows: list[tuple[int, ...]], source: int) -> Ticks:
    ticks = np.zeros(len(rows), TICK)
    for name, column in zip(_COLUMNS, np.array(rows, np.int64).T, strict=True):
        ticks[name] = column
    ticks["source"] = source
    return ticks


def _checked(token: Token) -> str:
    exchange, _, name = str(token).partition("|")
    if exchange not in EXCHANGES or not (name.isascii() and name.isalnum()):
        raise BadValue("token", token, f"an exchange and a token, like NSE|22; exchanges: {', '.join(EXCHANGES)}")
    return str(token)


def _batches(tokens: Sequence[str]) -> list[str]:
    return ["#".join(tokens[k : k + BATCH]) for k in range(0, len(tokens), BATCH)]


def _said(what: Mapping[str, str]) -> str:
    return json.dumps(what, separators=(",", ":"))


def _bytes(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode(errors="replace")
