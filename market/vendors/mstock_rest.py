"""mStock's Type B REST: headers, the login's steps, the envelope, historical candles, the scrip master.

An answer is `{"status", "message", "errorcode", "data"}`; status is a boolean or a word for one, and the whole may
stand alone in a list. A validation failure is problem JSON (RFC 9110) with a number for a status. The code of a refusal
begins with MA (the broker's backend) or IA (the interface) and ends like an HTTP status. An empty answer occurs: what
became of the request is not known then. Times are India's, without an offset; prices are rupees.
Source: https://tradingapi.mstock.com/docs/v1/typeB/User/ and mStock-TradingApi-B 1.0.5, both read 2026-11-20.
"""

from __future__ import annotations

import csv
import json
from binascii import Error as NotBase32
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field
from pyotp import TOTP

from market.candles import CANDLE, Candles, Provenance
from market.codecs import Account, Call
from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LineDown, Rejected
from market.instruments import Instrument, Kind
from market.money import UNKNOWN, Money, money
from market.records import Record
from market.sessions import IST, day_number, instant, nanoseconds
from market.vendors.mstock_packets import EXCHANGES, NAME

ROOT = "https://api.mstock.trade"
PREFIX = "/openapi/typeb"
LOGIN = f"{PREFIX}/connect/login"
SESSION_OTP = f"{PREFIX}/session/token"
SESSION_TOTP = f"{PREFIX}/session/verifytotp"
LOGOUT = f"{PREFIX}/logout"
HISTORICAL = f"{PREFIX}/instruments/historical"
MASTER = f"{PREFIX}/instruments/OpenAPIScripMaster"
VERSION = "1"

JSON = "application/json"
INTERVALS = {
    60: "ONE_MINUTE", 180: "THREE_MINUTE", 300: "FIVE_MINUTE", 600: "TEN_MINUTE", 900: "FIFTEEN_MINUTE",
    1800: "THIRTY_MINUTE", 3600: "ONE_HOUR", 86400: "ONE_DAY",
}  # fmt: skip
"""Seconds to mStock's names."""

CANDLES = 1000
"""At most in one answer. Source: https://tradingapi.mstock.com/docs/v1/typeB/Market%20Data/."""

# Data calls: https://tradingapi.mstock.com, "Rate Limits", read 2026-11-20.
DATA_A_SECOND, DATA_A_MINUTE, DATA_AN_HOUR = 1, 1000, 5000

REMEDY = "run `bourse login mstock`, or set MSTOCK_TOTP_SECRET so that it logs in by itself"
LARGEST = 1 << 62
MASTER_FIELDS = (
    "token", "symbol", "name", "expiry", "strike", "lotsize", "instrumenttype", "exch_seg", "tick_size",
)  # fmt: skip

_HISTORY = {"1m": (60, timedelta(days=2)), "1d": (86400, timedelta(days=CANDLES))}
_WORDS = {"true": True, "success": True, "false": False, "error": False}
_NUMBERS = {name: number for number, name in EXCHANGES.items()}
_CURRENCY = {"OPTCUR", "FUTCUR", "OPTIRC", "FUTIRC"}
_DERIVATIVES = ("NFO", "BFO", "MCX", "CDS")
_OPTIONS = {"CE": Kind.CALL, "PE": Kind.PUT}
_DATES = ("%d%b%Y", "%d-%b-%Y", "%Y-%b-%d", "%d%b%y", "%d-%b-%y", "%Y-%m-%d")
_SESSION_SECONDS = 375 * 60


class MStockHistory:
    """Satisfies `HistoryCodec`. Source: https://tradingapi.mstock.com, "Rate Limits" and Market Data, read 2026-11-20.

    Two days hold at most two sessions, which are fewer minutes than `CANDLES`.
    """

    name = NAME
    root = ROOT
    rate = 0.95 * DATA_A_SECOND

    def __init__(self, interval: str = "1m") -> None:
        if interval not in _HISTORY:
            raise BadValue("interval", interval, f"one that mStock's history has: {', '.join(_HISTORY)}")
        self._seconds, self.longest = _HISTORY[interval]

    def call(self, root: str, account: Account, instrument: Instrument, first: int, last: int) -> Call:
        """What asks for the minutes that start in [first, last], ns UTC. Raises BadValue: it has no token of ours."""
        token = instrument.tokens.get(NAME)
        if token is None:
            raise BadValue("symbol", instrument.symbol, "an instrument of mStock's scrip master")
        ours = headers(account.api_key.get_secret_value(), account.access_token.get_secret_value())
        asked = candles_body(str(token), self._seconds, instant(first), instant(last))
        return Call(f"{root}{HISTORICAL}", ours, "POST", json=asked)

    def read(self, body: bytes, content_type: str, status: int, instrument: int) -> Candles:
        """The candles of an answer, (n,). Raises as `candles`."""
        return candles(body, instrument, self._seconds, status)


class Contract(Record):
    """One line of the scrip master. `token`: as the stream takes it; expiry and strike only where it has them."""

    token: str = Field(pattern=r"^\d+\|\w+$")
    symbol: str = Field(pattern=r"^[A-Z]+:\S(.*\S)?$")
    name: str
    kind: Kind
    tick_size: Money
    lot: int = Field(ge=0)
    expiry: date | None = None
    strike: Money | None = None


class Master(NamedTuple):
    """What the scrip master lists. `left_out`: how many contracts of segments that the stream has no number for."""

    contracts: list[Contract]
    left_out: dict[str, int]


def headers(api_key: str = "", access_token: str = "") -> dict[str, str]:
    """What a request carries, with what we have by then; both values are secrets."""
    carried = {"X-Mirae-Version": VERSION, "Content-Type": JSON}
    if api_key:
        carried["X-PrivateKey"] = api_key
    if access_token:
        carried["Authorization"] = f"Bearer {access_token}"
    return carried


def login_body(user: str, password: str) -> dict[str, str]:
    """Step 1, `LOGIN`: who we are. An OTP is sent, unless the account has a TOTP."""
    return {"clientcode": user, "password": password, "totp": "", "state": ""}


def otp_body(request: str, otp: str) -> dict[str, str]:
    """Step 2a, `SESSION_OTP`: what was sent to our telephone."""
    return {"refreshToken": request, "otp": otp}


def totp_body(request: str, code: str) -> dict[str, str]:
    """Step 2b, `SESSION_TOTP`: what our secret says at this moment."""
    return {"refreshToken": request, "totp": code}


def totp(secret: str, when: int) -> str:
    """The six digits of a base32 secret at `when`, epoch seconds. Source: RFC 6238. Raises BadValue.

    >>> totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 1111111109)
    '081804'
    """
    # Brokers hand out secrets of 80 bits; pyotp 2.12 takes none below 112, hence the older one.
    try:
        return TOTP("".join(secret.split())).at(datetime.fromtimestamp(when, UTC))
    except (NotBase32, ValueError) as e:
        raise BadValue("the TOTP secret", "***", "base32, as the broker showed it beside the QR code") from e


def request_token(body: bytes, status: int = 200) -> str:
    """What step 1 gives for step 2. Raises AuthRequired for any refusal, LineDown, BadPayload."""
    data = _granted(body, status)
    return _word(data.get("refreshToken") or data.get("jwtToken"), "refreshToken")


def access_token(body: bytes, status: int = 200) -> str:
    """The JWT that step 2 gives, good until midnight in India. Raises AuthRequired, LineDown, BadPayload."""
    return _word(_granted(body, status).get("jwtToken"), "jwtToken")


def envelope(body: bytes, status: int = 200) -> Any:
    """The data of an answer under an HTTP status; numbers with a point are Decimal, None where there is no data.

    Raises AuthRequired when a person must act, Rejected when asking again does not help, LineDown when it may, and
    BadPayload for a body that is no envelope. After LineDown the outcome of an order is unknown.
    """
    good, code, message, data = _opened(body, status)
    if good and status < 400:
        return data
    number = int(code[-3:]) if code[-3:].isdecimal() else status
    if 401 in (number, status) or 403 in (number, status) or "token" in code.lower():
        raise AuthRequired(NAME, f"{message} ({code}); {REMEDY}")
    if number >= 500 or number == 429:
        raise LineDown(NAME, f"{code}: {message}")
    raise Rejected(NAME, code, message)


def candles_body(token: str, interval: int, first: datetime, last: datetime) -> dict[str, str]:
    """What `HISTORICAL` asks: candles of a contract (`1|1594`) from `first` to `last`, aware, both included.

    Raises BadValue for an interval, in seconds, or an exchange that mStock does not have.
    """
    exchange, _, name = token.partition("|")
    if interval not in INTERVALS:
        raise BadValue("interval", interval, f"one of {', '.join(map(str, INTERVALS))} seconds")
    if not exchange.isdecimal() or int(exchange) not in EXCHANGES:
        raise BadValue("token", token, f"an exchange's number and a token; numbers: {', '.join(map(str, EXCHANGES))}")
    span = {"fromdate": first, "todate": last}
    return {
        "exchange": EXCHANGES[int(exchange)],
        "symboltoken": name,
        "interval": INTERVALS[interval],
        **{edge: moment.astimezone(IST).strftime("%Y-%m-%d %H:%M") for edge, moment in span.items()},
    }


def spans(interval: int, first: date, last: date) -> list[tuple[date, date]]:
    """Days from `first` to `last`, included, in pieces that hold at most `CANDLES` of an interval in seconds."""
    days = timedelta(max(CANDLES // -(-_SESSION_SECONDS // interval), 1))
    begins = [first + k * days for k in range((last - first) // days + 1)]
    return [(begin, min(begin + days - timedelta(1), last)) for begin in begins]


def candles(body: bytes, instrument: int, interval: int, status: int = 200) -> Candles:
    """The official candles of a historical answer as `CANDLE` rows, (n,); `interval` in seconds.

    Raises BadPayload naming the first bad candle; `rest` holds the others. Also raises as `envelope` does.
    """
    data = envelope(body, status)
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


def master(body: bytes, status: int = 200) -> Master:
    """The contracts of the scrip master, JSON or CSV. Raises BadPayload naming the first bad line, with the others in
    `rest`, and as `envelope` does.
    """
    contracts: list[Contract] = []
    left_out: Counter[str] = Counter()
    wrong: list[str] = []
    for number, line in enumerate(_listed(body, status), 1):
        try:
            segment = _segment(line)
            if segment in _NUMBERS:
                contracts.append(_contract(segment, line))
            else:
                left_out[segment] += 1
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
            wrong.append(f"line {number}: {e}")
    found = Master(contracts, dict(left_out))
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad lines; {wrong[0]}", found)
    return found


def _opened(body: bytes, status: int) -> tuple[bool, str, str, Any]:
    """Whether an answer is a success, its code, its message and its data."""
    if not body.strip():
        if status in (401, 403):
            raise AuthRequired(NAME, f"{status} without a word; {REMEDY}")
        raise LineDown(NAME, f"{status} with an empty body: what became of the request is not known")
    said = _json(body)
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    if not isinstance(said, dict):
        raise BadPayload(NAME, body, "no envelope")
    word = said.get("status")
    if isinstance(word, int) and not isinstance(word, bool):
        return False, str(word), f"{said.get('title', '')} {json.dumps(said.get('errors', {}))}", None
    good = word if isinstance(word, bool) else _WORDS.get(str(word).lower())
    if good is None:
        raise BadPayload(NAME, body, "neither a success nor an error")
    code = said.get("errorcode") or said.get("error_type") or status
    data = said.get("data")
    return good, str(code), str(said.get("message", "")), None if data == "None" else data


def _granted(body: bytes, status: int) -> Mapping[str, Any]:
    """The data of a step of the login: any refusal needs a person, for an account is locked after some tries."""
    good, code, message, data = _opened(body, status)
    if not good and status >= 500:
        raise LineDown(NAME, f"{code}: {message}")
    if not good or status >= 400:
        raise AuthRequired(NAME, f"{message} ({code}); {REMEDY}")
    if not isinstance(data, dict):
        raise BadPayload(NAME, body, "a login without data")
    return data


def _word(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadPayload(NAME, b"", f"a login without {name}")  # the body holds secrets
    return value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        raise BadPayload(NAME, body, f"not JSON: {e}") from e


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _candle(candle: list[Any], instrument: int, interval: int) -> tuple[Any, ...]:
    moment = datetime.fromisoformat(candle[0])
    moment = moment if moment.tzinfo else moment.replace(tzinfo=IST)
    prices = [money(_number(price)) for price in candle[1:5]]
    if min(prices) <= 0 or prices[1] != max(prices) or prices[2] != min(prices) or max(prices) >= LARGEST:
        raise ValueError(f"open, high, low, close of {candle[1:5]}")
    session = day_number(moment.astimezone(IST).date())
    return (
        instrument, interval, nanoseconds(moment), *prices, _count(candle[5]), UNKNOWN, UNKNOWN, UNKNOWN, 1.0, session,
        0, int(Provenance.OFFICIAL), (0,) * 7,
    )  # fmt: skip


def _number(value: object) -> Decimal | int:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise ValueError(f"{value!r} is not a number")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST:
        raise ValueError(f"{value!r} is not a count")
    return value


def _listed(body: bytes, status: int) -> Iterable[Mapping[str, Any]]:
    start = body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"[" and status < 400:
        listed = _json(body)
        wrapped = len(listed) == 1 and isinstance(listed[0], dict) and "status" in listed[0]
        return _contracts_in(body, status) if wrapped else listed
    if start == b"{" or not start or status >= 400:
        return _contracts_in(body, status)
    return _lines(body)


def _contracts_in(body: bytes, status: int) -> Iterable[Mapping[str, Any]]:
    data = envelope(body, status)
    if not isinstance(data, list):
        raise BadPayload(NAME, body, "an answer without contracts")
    return data


def _lines(body: bytes) -> Iterator[Mapping[str, Any]]:
    try:
        reader = csv.DictReader(StringIO(body.decode("utf-8-sig"), newline=""))
        missing = set(MASTER_FIELDS) - set(reader.fieldnames or ())
    except (ValueError, csv.Error) as e:
        raise BadPayload(NAME, body, f"not a scrip master: {e}") from e
    if missing:
        raise BadPayload(NAME, body, f"a scrip master without {', '.join(sorted(missing))}")
    return reader


def _segment(line: Mapping[str, Any]) -> str:
    segment, kind = _field(line, "exch_seg").upper(), _field(line, "instrumenttype").upper()
    if kind in _CURRENCY:
        return {"NSE": "CDS", "BSE": "BCD"}.get(segment, segment)
    return segment


def _contract(segment: str, line: Mapping[str, Any]) -> Contract:
    name = _field(line, "name")
    kind = _kind(segment, _field(line, "instrumenttype").upper(), name)
    strike, expiry = money(_field(line, "strike") or 0), _field(line, "expiry")
    return Contract(
        token=f"{_NUMBERS[segment]}|{_field(line, 'token')}",
        symbol=f"{segment}:{name.removesuffix('-EQ') if segment == 'NSE' else name}",
        name=_field(line, "symbol"),
        kind=kind,
        tick_size=money(_field(line, "tick_size") or 0),
        lot=int(Decimal(_field(line, "lotsize") or 0)),
        expiry=_date(expiry) if segment in _DERIVATIVES else None,
        strike=strike if kind in (Kind.CALL, Kind.PUT) else None,
    )


def _kind(segment: str, named: str, name: str) -> Kind:
    if segment not in _DERIVATIVES:
        return Kind.INDEX if named in ("INDEX", "AMXIDX") else Kind.EQUITY
    if named.startswith("FUT"):
        return Kind.FUTURE
    if named.startswith("OPT"):
        return _OPTIONS[name[-2:].upper()]
    raise ValueError(f"the instrument type {named!r} is not known")


def _date(text: str) -> date:
    for layout in _DATES:
        try:
            return datetime.strptime(text, layout).date()
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no date of expiry")


def _field(line: Mapping[str, Any], name: str) -> str:
    value = line[name]
    return "" if value is None else str(value).strip()
