"""FlatTrade's REST bodies: the session, the envelope, candles, quotes, the scrip master. Source: PiConnect API.

A request is a POST of `jData=<JSON>&jKey=<token>`, all values text; the server takes it apart as a form, so what a form
would change is escaped inside the JSON. Every answer comes with HTTP 200 and `stat`; a list is a bare array. A refusal
says in `emsg` what it is, and an empty list is a refusal too. Candles come newest first, in India's time.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from hashlib import sha256
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from market.candles import CANDLE, Candles, Provenance
from market.codecs import Account, Call
from market.errors import AuthRequired, BadPayload, BadValue, LineDown, OutcomeUnknown, Rejected
from market.instruments import Instrument, Kind
from market.money import UNKNOWN, Money, money
from market.records import Record
from market.sessions import IST, MINUTE, SECOND, day_number, instant, nanoseconds
from market.vendors.flattrade import CASH, EXCHANGES, NAME, count, price

ROOT = "https://piconnect.flattrade.in/PiConnectAPI"
LOGIN = "https://auth.flattrade.in/?app_key="
AUTH = "https://authapi.flattrade.in"
TOKEN = "/trade/apitoken"  # noqa: S105  (a path)
MASTERS = "https://flattrade.s3.ap-south-1.amazonaws.com"
MASTER = "/scripmaster/{}.csv"
SEGMENTS = {"NSE": ("NSE_Equity",), "BSE": ("BSE_Equity",), "NFO": ("Nfo_Equity_Derivatives", "Nfo_Index_Derivatives")}
"""The scrip masters of an exchange."""

CONTENT_TYPE = "application/x-www-form-urlencoded"

INTERVALS = (1, 3, 5, 10, 15, 30, 60, 120, 240)
"""Minutes of a candle that `TPSeries` has."""

LIMIT_SECONDS = 2.0
"""How long to stay away after the limit; twice that for the next time, and again."""

# Quoted from the vendor by a production bridge: 40 a second and 200 a minute for each account; it stays below.
DATA_A_SECOND, DATA_A_MINUTE = 38, 190

REMEDY = "run `bourse login flattrade`; a token ends at 05:00 India time, and when the user logs in elsewhere"
MASTER_FIELDS = ("exchange", "token", "lotsize", "symbol", "tradingsymbol", "instrument")
"""Other Noren brokers write them with other capitals, and have more."""

LARGEST = 1 << 62

_EMPTY = ("no data",)
_LOGIN = ("session expired", "invalid session key", "invalid access token", "not a valid user")
_LIMIT = ("exceeds limit", "exceeded limit", "too many requests")
_LOST = ("server timeout",)
_INDICES = ("INDEX", "UNDIND")
_OURS = {
    "NSE|26000": "NIFTY 50", "NSE|26008": "NIFTY IT", "NSE|26009": "NIFTY BANK", "NSE|26017": "INDIA VIX",
    "NSE|26021": "NIFTY FMCG", "NSE|26023": "NIFTY PHARMA", "NSE|26029": "NIFTY AUTO", "NSE|26030": "NIFTY METAL",
}  # fmt: skip
"""Indices that FlatTrade may name otherwise than the exchange does."""

_OPTIONS = {"CE": Kind.CALL, "PE": Kind.PUT}
_ESCAPES = str.maketrans({"%": "%25", "&": "%26", "+": "%2B"})
_STAMP = "%d-%m-%Y %H:%M:%S"
_UNSET = 1980


class FlatTradeHistory:
    """Satisfies `HistoryCodec`. Source: PiConnect API, TPSeries; `DATA_A_MINUTE`."""

    name = NAME
    root = ROOT
    longest = timedelta(days=7)
    rate = DATA_A_MINUTE / 60

    def __init__(self, interval: str = "1m") -> None:
        if interval != "1m":
            raise BadValue("interval", interval, "1m: no daily candles of FlatTrade's are read here")

    def call(self, root: str, account: Account, instrument: Instrument, first: int, last: int) -> Call:
        """What asks for the minutes that start in [first, last], ns UTC. Raises BadValue: it has no token of ours."""
        token = instrument.tokens.get(NAME)
        if token is None:
            raise BadValue("symbol", instrument.symbol, "an instrument of FlatTrade's scrip master")
        asked = candles_request(account.user, str(token), 1, instant(first), instant(last))
        content = encoded(asked, account.access_token.get_secret_value())
        return Call(f"{root}/TPSeries", {"Content-Type": CONTENT_TYPE}, "POST", content=content)

    def read(self, body: bytes, content_type: str, status: int, instrument: int) -> Candles:
        """The candles of an answer, (n,). Raises as `candles`."""
        return candles(body, instrument, 60)


class Session(NamedTuple):
    """A login: whose, and the token, a secret."""

    user: str
    token: str


class Contract(Record):
    """One line of a scrip master. `token`: as the stream takes it; `tick_size`: 0, FlatTrade's own has none.

    In a cash segment everything that is no index counts as a share, whatever its series.
    """

    token: str = Field(pattern=r"^[A-Z]+\|\w+$")
    symbol: str = Field(pattern=r"^[A-Z]+:\S(.*\S)?$")
    trading_symbol: str = Field(min_length=1)
    name: str
    kind: Kind
    tick_size: Money = Money(0)
    lot: int = Field(ge=0)
    expiry: date | None = None
    strike: Money | None = None


class Master(NamedTuple):
    """What a scrip master lists. `left_out`: how many of segments that the stream does not have."""

    contracts: list[Contract]
    left_out: dict[str, int]


def encoded(data: Mapping[str, str], token: str = "") -> bytes:
    """The body of a request; with a token it is a secret.

    >>> encoded({"uid": "FT1", "tsym": "M&M-EQ"}, "t")
    b'jData={"uid":"FT1","tsym":"M%26M-EQ"}&jKey=t'
    """
    said = json.dumps(dict(data), separators=(",", ":")).translate(_ESCAPES)
    return f"jData={said}{f'&jKey={token}' if token else ''}".encode()


def session_body(api_key: str, request_code: str, secret: str) -> dict[str, str]:
    """What `TOKEN` asks, as JSON: the code of the login page's redirect, and the proof that we know the secret."""
    proof = sha256(f"{api_key}{request_code}{secret}".encode()).hexdigest()
    return {"api_key": api_key, "request_code": request_code, "api_secret": proof}


def session(body: bytes) -> Session:
    """The token that answers. Raises AuthRequired for any refusal: a code is good once; BadPayload."""
    try:
        said = envelope(body)
    except Rejected as e:
        raise AuthRequired(NAME, f"{e.message}; {REMEDY}") from e
    user, token = (said.get("client"), said.get("token")) if isinstance(said, dict) else (None, None)
    if not isinstance(user, str) or not isinstance(token, str) or not token:
        raise BadPayload(NAME, b"", "a session without client or token")  # the body holds a secret
    return Session(user, token)


def envelope(body: bytes) -> Any:
    """The data of an answer: an object, or a list, [] where there is nothing.

    Raises AuthRequired when a person must act, LineDown for the limit, OutcomeUnknown when the request may have been
    carried out, Rejected when asking again does not help, and BadPayload for a body that is no envelope.
    """
    try:
        said = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as e:
        raise BadPayload(NAME, body, f"not JSON: {e}") from e
    if isinstance(said, list):
        refused = next((one for one in said if isinstance(one, dict) and one.get("stat") == "Not_Ok"), None)
        said = said if refused is None else refused
    if isinstance(said, list):
        return said
    if not isinstance(said, dict) or said.get("stat") not in ("Ok", "Not_Ok"):
        raise BadPayload(NAME, body, "neither a success nor an error")
    if said["stat"] == "Ok":
        return said
    return _refused(str(said.get("emsg", "")))


def candles_request(user: str, token: str, minutes: int, first: datetime, last: datetime) -> dict[str, str]:
    """What `TPSeries` asks: candles of `NSE|22` that start from `first` to `last`, aware, both included.

    Raises BadValue for an interval that FlatTrade does not have.
    """
    if minutes not in INTERVALS:
        raise BadValue("interval", minutes, f"one of {', '.join(map(str, INTERVALS))} minutes")
    exchange, _, name = token.partition("|")
    span = {"st": str(int(first.timestamp())), "et": str(int(last.timestamp()))}
    return {"uid": user, "exch": exchange, "token": name, **span, "intrv": str(minutes)}


def candles(body: bytes, instrument: int, interval: int) -> Candles:
    """The official candles of a `TPSeries` answer as `CANDLE` rows, (n,), oldest first; `interval` in seconds.

    Raises BadPayload naming the first bad candle; `rest` holds the others. Also raises as `envelope` does.
    """
    listed = envelope(body)
    if not isinstance(listed, list):
        raise BadPayload(NAME, body, "an answer without candles")
    rows: list[tuple[Any, ...]] = []
    wrong: list[str] = []
    for number, candle in enumerate(listed):
        try:
            rows.append(_candle(candle, instrument, interval))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            wrong.append(f"candle {number}: {type(e).__name__}: {e}")
    read = np.array(rows[::-1], CANDLE)
    read = read[np.argsort(read["start"], kind="stable")]
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad candles; {wrong[0]}", read)
    return read


def master(body: bytes) -> Master:
    """The contracts of a scrip master, unpacked. Raises BadPayload naming the first bad line; `rest` has the others."""
    contracts: list[Contract] = []
    left_out: Counter[str] = Counter()
    wrong: list[str] = []
    for number, line in _lines(body):
        try:
            if line["exchange"] in EXCHANGES:
                contracts.append(_contract(line))
            else:
                left_out[line["exchange"]] += 1
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
            wrong.append(f"line {number}: {e}")
    found = Master(contracts, dict(left_out))
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad lines; {wrong[0]}", found)
    return found


def moment(text: str) -> datetime | None:
    """An instant as FlatTrade writes it, in either order of date and time; None for the one that means unset.

    Raises ValueError.

    >>> moment("12:05:21 18-05-2021") == moment("18-05-2021 12:05:21")
    True
    """
    first, _, second = text.partition(" ")
    read = datetime.strptime(f"{second} {first}" if ":" in first else text, _STAMP).replace(tzinfo=IST)
    return None if read.year == _UNSET else read


def _refused(message: str) -> list[Any]:
    said = " ".join(message.lower().split())
    if any(word in said for word in _EMPTY):
        return []
    if any(word in said for word in _LOGIN):
        raise AuthRequired(NAME, f"{message}; {REMEDY}")
    if any(word in said for word in _LIMIT):
        raise LineDown(NAME, message, LIMIT_SECONDS)
    if any(word in said for word in _LOST):
        raise OutcomeUnknown(NAME, message)
    raise Rejected(NAME, message.partition(":")[0].strip() or "Not_Ok", message)


def _candle(said: Mapping[str, Any], instrument: int, interval: int) -> tuple[Any, ...]:
    if said["stat"] != "Ok":
        raise ValueError(f"stat is {said['stat']!r}")
    at = moment(said["time"])
    prices = [price(said[name]) for name in ("into", "inth", "intl", "intc")]
    if at is None or min(prices) <= 0 or prices[1] != max(prices) or prices[2] != min(prices):
        raise ValueError(f"a candle of {prices} at {said['time']}")
    start, volume = nanoseconds(at), count(said["intv"])
    if start % MINUTE:
        raise ValueError(f"a candle that starts at {start // SECOND % 60} s")
    average = price(said["intvwap"]) if volume and said.get("intvwap") else 0
    vwap = average if prices[2] <= average <= prices[1] else UNKNOWN
    return (
        instrument, interval, start, *prices, volume, UNKNOWN, vwap, UNKNOWN, 1.0, day_number(at.date()), 0,
        int(Provenance.OFFICIAL), (0,) * 7,
    )  # fmt: skip


def _lines(body: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        reader = csv.DictReader(StringIO(body.decode("utf-8-sig"), newline=""))
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = set(MASTER_FIELDS) - set(reader.fieldnames)
    except (ValueError, csv.Error) as e:
        raise BadPayload(NAME, body, f"not a scrip master: {e}") from e
    if missing:
        raise BadPayload(NAME, body, f"a scrip master without {', '.join(sorted(missing))}")
    while True:
        try:
            line = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            raise BadPayload(NAME, body, f"line {reader.line_num}: {e}") from e
        if any(line.values()):  # a file may end in rows of commas
            yield reader.line_num, {name: value.strip() for name, value in line.items() if isinstance(value, str)}


def _contract(line: Mapping[str, str]) -> Contract:
    exchange, trading = line["exchange"], line["tradingsymbol"]
    kind = _kind(line)
    derived = exchange not in CASH
    token = f"{exchange}|{line['token']}"
    name = trading.removesuffix("-EQ") if exchange == "NSE" else trading
    tick, strike = line.get("ticksize"), line.get("strike") or line.get("strikeprice")
    return Contract(
        token=token,
        symbol=f"{exchange}:{_OURS.get(token, name)}",
        trading_symbol=trading,
        name=line["symbol"],
        kind=kind,
        tick_size=money(tick or 0),
        lot=int(line["lotsize"]),
        expiry=datetime.strptime(line["expiry"], "%d-%b-%Y").date() if derived and kind is not Kind.INDEX else None,
        strike=money(strike or "") if kind in (Kind.CALL, Kind.PUT) else None,
    )


def _kind(line: Mapping[str, str]) -> Kind:
    named = line["instrument"].upper()
    if named in _INDICES:
        return Kind.INDEX
    if line["exchange"] in CASH:
        return Kind.EQUITY
    if named.startswith("FUT"):
        return Kind.FUTURE
    if named.startswith("OPT"):
        return _OPTIONS[line["optiontype"].upper()]
    raise ValueError(f"the instrument {named!r} is not known")
