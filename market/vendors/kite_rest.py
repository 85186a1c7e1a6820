"""Kite's REST bodies: the envelope, the session, the list of instruments, historical candles.

A success is `{"status": "success", "data": ...}`; an error names its `error_type`, and an unknown one counts as
GeneralException, as in Zerodha's own clients. Anything that is not JSON (a gateway's page) is a BadPayload. Prices are
JSON numbers in rupees. Bodies may begin with a byte-order mark. Source: Kite Connect v3, https://kite.trade/docs/connect/v3/
response-structure/, /exceptions/, /user/, /market-quotes/, /historical/.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import numpy as np
from pydantic import Field

from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.codecs import Account, Call
from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LineDown, Rejected
from market.instruments import Instrument, Kind
from market.money import UNKNOWN, Money, money
from market.records import Record
from market.sessions import IST, day_number, instant, nanoseconds
from market.vendors.kite_packets import NAME, SEGMENTS

ROOT = "https://api.kite.trade"
LOGIN = "https://kite.zerodha.com/connect/login?v=3"
VERSION = "3"

JSON = "application/json"
LARGEST = 1 << 62
CSV_COLUMNS = (
    "instrument_token", "exchange_token", "tradingsymbol", "name", "last_price", "expiry", "strike", "tick_size",
    "lot_size", "instrument_type", "segment", "exchange",
)  # fmt: skip

_HISTORY = {"1m": ("minute", timedelta(days=60)), "1d": ("day", timedelta(days=2000))}
_MOMENT = "%Y-%m-%d %H:%M:%S"
_PERSON = {"TokenException", "UserException", "TwoFAException", "PermissionException"}
_REFUSALS = {"InputException", "OrderException", "MarginException", "HoldingException"}
_KINDS = {"EQ": Kind.EQUITY, "FUT": Kind.FUTURE, "CE": Kind.CALL, "PE": Kind.PUT}


class Contract(Record):
    """One line of the list of instruments. `symbol` is `EXCHANGE:NAME`; expiry and strike only where it has them."""

    token: int = Field(ge=0, lt=1 << 32)
    exchange_token: int = Field(ge=0)
    symbol: str = Field(pattern=r"^[A-Z]+:\S(.*\S)?$")
    name: str
    kind: Kind
    tick_size: Money
    lot: int = Field(ge=0)
    expiry: date | None = None
    strike: Money | None = None


class KiteHistory:
    """Satisfies `HistoryCodec`. Source: Kite Connect v3, /historical/, and /exceptions/ "API rate limit": 3 a second;
    at most 60 days of minutes at once, 2000 of days. We stay a little below: what leaves us evenly may arrive in a
    bunch.
    """

    name = NAME
    root = ROOT
    rate = 2.8

    def __init__(self, interval: str = "1m") -> None:
        if interval not in _HISTORY:
            raise BadValue("interval", interval, f"one that Kite's history has: {', '.join(_HISTORY)}")
        self._word, self.longest = _HISTORY[interval]
        self._seconds = INTERVALS[interval]

    def call(self, root: str, account: Account, instrument: Instrument, first: int, last: int) -> Call:
        """What asks for the minutes that start in [first, last], ns UTC. Raises BadValue: it has no token of Kite's."""
        token = instrument.tokens.get(NAME)
        if token is None:
            raise BadValue("symbol", instrument.symbol, "an instrument of Kite's list")
        span = {name: instant(at).astimezone(IST).strftime(_MOMENT) for name, at in (("from", first), ("to", last))}
        ours = headers(account.api_key.get_secret_value(), account.access_token.get_secret_value())
        return Call(f"{root}/instruments/historical/{token}/{self._word}?{urlencode(span)}", ours)

    def read(self, body: bytes, content_type: str, status: int, instrument: int) -> Candles:
        """The candles of an answer, (n,). Raises as `candles`."""
        return candles(body, instrument, self._seconds, content_type)


def headers(api_key: str, access_token: str) -> dict[str, str]:
    """What every request carries; the value of Authorization is a secret."""
    return {"X-Kite-Version": VERSION, "Authorization": f"token {api_key}:{access_token}"}


def session_checksum(api_key: str, request_token: str, secret: str) -> str:
    """What proves, at `POST /session/token`, that we know the secret."""
    return sha256(f"{api_key}{request_token}{secret}".encode()).hexdigest()


def envelope(body: bytes, content_type: str = JSON) -> Any:
    """The data of an answer; numbers with a point are Decimal.

    Raises AuthRequired when a person must act, Rejected when asking again does not help, LineDown when it may, and
    BadPayload for a body that is no envelope. After LineDown the outcome of an order is unknown.
    """
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise BadPayload(NAME, body, f"{content_type or 'nothing'} in the place of {JSON}")
    try:
        said = json.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        raise BadPayload(NAME, body, f"not JSON: {e}") from e
    status = said.get("status") if isinstance(said, dict) else None
    if status == "success" and "data" in said:
        return said["data"]
    if status != "error":
        raise BadPayload(NAME, body, "neither a success nor an error")
    raise _error(str(said.get("error_type")), str(said.get("message")))


def instruments(body: bytes) -> list[Contract]:
    """The contracts of `/instruments`, unpacked. Raises BadPayload naming the first bad line; `rest` has the others."""
    try:
        lines = csv.DictReader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        missing = set(CSV_COLUMNS) - set(lines.fieldnames or ())
    except (ValueError, csv.Error) as e:
        raise BadPayload(NAME, body, f"not a list of instruments: {e}") from e
    if missing:
        raise BadPayload(NAME, body, f"a list of instruments without {', '.join(sorted(missing))}")
    contracts: list[Contract] = []
    wrong: list[str] = []
    for number, line in _lines(lines, wrong):
        try:
            contracts.append(_contract(line))
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
            wrong.append(f"line {number}: {e}")
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad lines; {wrong[0]}", contracts)
    return contracts


def candles(body: bytes, instrument: int, interval: int, content_type: str = JSON) -> Candles:
    """The official candles of a historical answer as `CANDLE` rows, (n,); `interval` in seconds.

    Raises BadPayload naming the first bad candle; `rest` holds the others. Also raises as `envelope` does.
    """
    data = envelope(body, content_type)
    listed = data.get("candles") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise BadPayload(NAME, body, "an answer without candles")
    rows: list[tuple[Any, ...]] = []
    wrong: list[str] = []
    for number, candle in enumerate(listed):
        try:
            rows.append(_candle(candle, instrument, interval))
        except (ValueError, TypeError, IndexError, ArithmeticError, BourseError) as e:
            wrong.append(f"candle {number}: {e}")
    read = np.array(rows, CANDLE)
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad candles; {wrong[0]}", read)
    return read


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _error(error_type: str, message: str) -> BourseError:
    if error_type in _PERSON:
        return AuthRequired(NAME, f"{message} ({error_type}); log in at {LOGIN}")
    if error_type in _REFUSALS:
        return Rejected(NAME, error_type, message)
    return LineDown(NAME, f"{error_type}: {message}")


def _lines(reader: csv.DictReader[str], wrong: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        try:
            line = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            wrong.append(f"line {reader.line_num}: {e}")
        else:
            yield reader.line_num, line


def _contract(line: dict[str, str]) -> Contract:
    token, strike, expiry = int(line["instrument_token"]), money(line["strike"] or 0), line["expiry"].strip()
    kind = _KINDS[line["instrument_type"]]
    if token & 0xFF == SEGMENTS["indices"]:
        kind = Kind.INDEX
    return Contract(
        token=token,
        exchange_token=int(line["exchange_token"]),
        symbol=f"{line['exchange'].strip()}:{line['tradingsymbol'].strip()}",
        name=line["name"].strip(),
        kind=kind,
        tick_size=money(line["tick_size"]),
        lot=int(line["lot_size"]),
        expiry=date.fromisoformat(expiry) if expiry else None,
        strike=strike if kind in (Kind.CALL, Kind.PUT) else None,
    )


def _candle(candle: list[Any], instrument: int, interval: int) -> tuple[Any, ...]:
    moment = datetime.fromisoformat(candle[0])
    prices = [money(_number(price)) for price in candle[1:5]]
    if 0 in prices or prices[1] != max(prices) or prices[2] != min(prices) or max(map(abs, prices)) >= LARGEST:
        raise ValueError(f"open, high, low, close of {candle[1:5]}")
    volume, interest = _count(candle[5]), _count(candle[6]) if len(candle) > 6 else UNKNOWN
    session = day_number(moment.astimezone(IST).date())
    unknown = (UNKNOWN, UNKNOWN)
    return (
        instrument, interval, nanoseconds(moment), *prices, volume, *unknown, interest, 1.0, session, 0,
        int(Provenance.OFFICIAL), (0,) * 7,
    )  # fmt: skip


def _number(value: object) -> Decimal | int:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise ValueError(f"{value!r} is not a number")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST:
        raise ValueError(f"{value!r} is not a count")
    return value
