"""Declarations: corporate actions as a person writes them, in a file or on the command line.

A file is CSV with the header `symbol,kind,ex_date,value,isin,known,source,reason`; the last four columns may be left
out. `value` is what the kind asks for:

- SPLIT: how many shares each one became, `10`, `5/2`, `1/10` for ten that became one;
- BONUS: how many new ones for how many held, `1:1`, `3:5`;
- DIVIDEND: rupees for each share, `18.50`;
- DEMERGER, RIGHTS: the price factor, the ex-date's open over the close before, `580.10/928.50` or `0.6248`, or nothing
  where nobody knows it;
- RENAME: the new symbol;
- `none` for each of them: there was no such thing.

A symbol without an exchange is of the one that was asked for. One wrong row is one error, and nothing is taken.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from fractions import Fraction

from pydantic import ValidationError

from market.actions import Action, Kind, known_by
from market.errors import BadValue
from market.money import Money, money
from market.sessions import IST, ZONES, nanoseconds

FIELDS = ("symbol", "kind", "ex_date", "value", "isin", "known", "source", "reason")
NEEDED = frozenset(FIELDS[:4])
MOST_ROWS = 1_000_000
FIRST = date(1990, 1, 1)
LAST = date(2100, 1, 1)

NOTHING = "none"
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_SHAPES = {
    Kind.SPLIT: (rf"({_NUMBER})(?:/({_NUMBER}))?", "how many shares each one became, like 10, 5/2 or 1/10"),
    Kind.BONUS: (r"(\d{1,6}):(\d{1,6})", "new shares for shares held, like 1:1 or 3:5"),
    Kind.DEMERGER: (rf"({_NUMBER})(?:/({_NUMBER}))?", "open over the close before, like 580.10/928.50 or 0.6248"),
    Kind.RIGHTS: (rf"({_NUMBER})(?:/({_NUMBER}))?", "open over the close before, like 96.25/100 or 0.9625"),
}


def read(name: str, text: str, recorded: int, source: str = "", exchange: str = "NSE") -> list[Action]:
    """The actions of a file, in its order. `source`: of rows that name none. Raises BadValue.

    >>> read("a.csv", "symbol,kind,ex_date,value\\nINFY,BONUS,2018-09-04,1:1", 0, "me")[0].factor
    Fraction(1, 2)
    """
    lines = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True, restkey="more")
    try:
        header = [column.strip().lower() for column in lines.fieldnames or ()]
        if set(header) - set(FIELDS) or not set(header) >= NEEDED or len(set(header)) != len(header):
            raise BadValue(f"{name}, header", ",".join(header)[:80], "the columns " + ",".join(FIELDS))
        lines.fieldnames = header
        rows = list(lines)
    except csv.Error as e:
        raise BadValue(name, str(e)[:80], "CSV with the header " + ",".join(FIELDS)) from None
    if not 1 <= len(rows) <= MOST_ROWS:
        raise BadValue(name, f"{len(rows)} rows", f"1 to {MOST_ROWS} rows")
    found: list[Action] = []
    seen: dict[tuple[str, Kind, date, str], int] = {}
    for number, row in enumerate(rows, 1):
        where = f"{name}, row {number}"
        if "more" in row or None in row.values():
            raise BadValue(where, "another number of values than the header has", "one value for each column")
        told = {key: value.strip() for key, value in row.items()}
        action = declared(where, {"source": "", **told, "exchange": exchange}, recorded, source)
        before = seen.setdefault((action.symbol, action.kind, action.ex_date, action.source), number)
        if before != number:
            raise BadValue(where, f"{action.symbol} {action.kind} {action.ex_date}", f"each once; see row {before}")
        found.append(action)
    return found


def declared(where: str, told: Mapping[str, str], recorded: int, source: str = "", by: str = "") -> Action:
    """One action out of its words, by the names of `FIELDS` and `exchange`. Raises BadValue, named after `where`."""
    symbol = symbol_of(where, told["symbol"], told.get("exchange", "NSE"))
    kind, value = kind_of(where, told["kind"]), told["value"]
    day = day_of(f"{where}, ex_date", told["ex_date"])
    void = value.lower() == NOTHING
    factor = factor_of(where, kind, value) if kind in _SHAPES and not void else None
    amount = _amount(where, value) if kind is Kind.DIVIDEND and not void else None
    renamed = kind is Kind.RENAME and not void
    known = told.get("known", "")
    try:
        return Action(
            symbol=symbol,
            isin=told.get("isin", "").upper() or None,
            kind=kind,
            ex_date=day,
            factor=factor,
            amount=amount,
            to=symbol_of(f"{where}, value", value, symbol.partition(":")[0]) if renamed else None,
            void=void,
            known=instant_of(f"{where}, known", known) if known else known_by(symbol, day, recorded),
            recorded=recorded,
            source=(told.get("source") or source).lower(),
            by=by,
            reason=" ".join(told.get("reason", "").split())[:500],
        )
    except ValidationError as e:
        fault = e.errors()[0]
        at = ".".join(map(str, fault["loc"])) or "value"
        wrong = told.get(at, value)
        raise BadValue(f"{where}, {at}", wrong[:60], fault["msg"].removeprefix("Value error, ")) from None


def symbol_of(where: str, written: str, exchange: str = "NSE") -> str:
    """`NSE:INFY` of `infy` or `NSE:INFY`. Raises BadValue."""
    symbol = written.strip().upper()
    symbol = symbol if ":" in symbol else f"{exchange.upper()}:{symbol}"
    if not re.fullmatch(r"[A-Z]+:[^\s:,]{1,40}( [^\s:,]{1,40})*", symbol) or symbol.partition(":")[0] not in ZONES:
        raise BadValue(f"{where}, symbol", written[:60], f"a symbol like NSE:INFY, of {', '.join(ZONES)}")
    return symbol


def kind_of(where: str, written: str) -> Kind:
    """A kind by its name, in any case. Raises BadValue."""
    if written.upper() not in Kind.__members__:
        raise BadValue(f"{where}, kind", written[:40], "one of " + ", ".join(Kind))
    return Kind[written.upper()]


def day_of(where: str, written: str) -> date:
    """A date. Raises BadValue."""
    try:
        day = date.fromisoformat(written) if len(written) == 10 else None
    except ValueError:
        day = None
    if day is None or not FIRST <= day < LAST:
        raise BadValue(where, written[:40], f"a date like 2016-09-08, from {FIRST} on")
    return day


def instant_of(where: str, written: str) -> int:
    """An instant with its zone, or a date, which means its end in India; ns UTC. Raises BadValue."""
    try:
        if len(written) == 10:
            return nanoseconds(datetime.combine(date.fromisoformat(written), time.max, IST))
        return nanoseconds(datetime.fromisoformat(written).astimezone(UTC) if _zoned(written) else _naive())
    except (ValueError, OverflowError):
        allowed = "a date, which means its end in India, or a time with its zone, like 2016-09-08T09:00:00+05:30"
        raise BadValue(where, written[:40], allowed) from None


def factor_of(where: str, kind: Kind, value: str) -> Fraction | None:
    """The price factor that a value of this kind means. Raises BadValue."""
    if not value and kind in (Kind.DEMERGER, Kind.RIGHTS):
        return None
    shape, allowed = _SHAPES[kind]
    found = re.fullmatch(shape, value.replace(" ", ""))
    if not found or not all(Fraction(part) > 0 for part in found.groups() if part):
        raise BadValue(f"{where}, value", value[:40], f"{allowed}; {NOTHING} for a {kind} that never was")
    a, b = Fraction(found[1]), Fraction(found[2] or 1)
    if kind is Kind.SPLIT:
        return b / a
    return b / (a + b) if kind is Kind.BONUS else a / b


def _amount(where: str, value: str) -> Money:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,4})?", value) or Fraction(value) == 0:
        raise BadValue(f"{where}, value", value[:40], "rupees above 0 for each share, like 18.50")
    return money(value)


def _zoned(written: str) -> bool:
    return datetime.fromisoformat(written).tzinfo is not None


def _naive() -> datetime:
    raise ValueError
