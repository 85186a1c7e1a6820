"""Notices: what an exchange says of one of its days, out of our own table or a circular's file.

A file is one of three:

- CSV with the header `exchange,date,kind,hours,source`;
- JSON, a list of objects with those keys;
- NSE's own list of trading holidays, an object of segments, of which `CM`, the capital market, is read.

`hours` are on the exchange's clocks, `09:15-15:30`, the halves of a session with a blank between: `09:15-10:00
11:30-12:30`. A holiday has none; a session without any keeps the usual ones. One wrong row and nothing is taken.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from itertools import pairwise
from typing import Any, Literal, get_args

from pydantic import Field

from market.errors import BadValue
from market.records import Record
from market.sessions import ZONES, ExchangeName, Kind

FIELDS = ("exchange", "date", "kind", "hours", "source")
SEGMENT = "CM"
"""Capital market: NSE's name for shares."""

HOURS = "hours like 09:15-15:30, two halves like 09:15-10:00 11:30-12:30, or nothing for the usual ones"
MOST_ROWS = 10_000

FIRST, LAST = date(2000, 1, 1), date(2035, 12, 31)
"""Nothing is known of earlier days, and nobody knows of later ones."""

EARLIEST, LATEST = time(0, 15), time(20, 0)
"""Orders gather for a quarter of an hour before, New York trades on for four behind: all on the session's own day."""

Holiday = Literal["holiday", "listed"]
"""Closed for the whole day; or on the exchange's list of holidays, as Diwali is, on which it has its muhurat."""

KINDS: dict[str, Kind | Holiday] = {"holiday": "holiday", "listed": "listed", **{k.value: k for k in Kind}}
Hours = tuple[tuple[time, time], ...]


class Notice(Record):
    """One day of an exchange. `hours`: the halves' (open, close) on its clocks, () for a holiday and the usual ones."""

    exchange: ExchangeName
    date: date
    kind: Kind | Holiday
    hours: Hours = ()
    source: str = Field(min_length=1, max_length=200)

    @property
    def row(self) -> dict[str, str]:
        """The same as a row of a file."""
        return {
            "exchange": self.exchange,
            "date": self.date.isoformat(),
            "kind": str(self.kind),
            "hours": " ".join(f"{a:%H:%M}-{b:%H:%M}" for a, b in self.hours),
            "source": self.source,
        }


def read(name: str, text: str, source: str = "") -> list[Notice]:
    """The notices of a file, oldest first. `source`: of rows that name none. Raises BadValue.

    >>> read("circular.csv", "exchange,date,kind,hours,source\\nNSE,2026-12-24,holiday,,NSE/CMTR/1")[0].kind
    'holiday'
    """
    text = text.removeprefix("\ufeff").strip()
    try:
        found = json.loads(text) if text[:1] in ("{", "[") else _csv(name, text)
    except (ValueError, RecursionError, csv.Error) as e:
        raise BadValue(name, str(e)[:80], "JSON, or CSV with the header " + ",".join(FIELDS)) from None
    if isinstance(found, dict):
        notices = _nse(name, found, source)
    else:
        notices = [_notice(f"{name}, row {n}", row, source) for n, row in enumerate(found, 1)]
    if not 1 <= len(notices) <= MOST_ROWS:
        raise BadValue(name, f"{len(notices)} rows", f"1 to {MOST_ROWS} rows")
    seen: dict[tuple[str, date], int] = {}
    for n, notice in enumerate(notices, 1):
        before = seen.setdefault((notice.exchange, notice.date), n)
        if before != n:
            raise BadValue(f"{name}, row {n}", f"{notice.exchange} {notice.date}", f"each day once; see row {before}")
    return sorted(notices, key=lambda n: (n.exchange, n.date))


def merged(old: Iterable[Notice], new: Iterable[Notice]) -> list[Notice]:
    """Both, each day once: the newer word counts."""
    by_day = {(n.exchange, n.date): n for n in (*old, *new)}
    return [by_day[key] for key in sorted(by_day)]


def text(notices: Iterable[Notice]) -> str:
    """Notices as a JSON file that `read` takes."""
    return json.dumps([n.row for n in notices], indent=1, ensure_ascii=False)


def hours(name: str, written: str) -> Hours:
    """The halves of a session as they are written. Raises BadValue."""
    halves = []
    for half in written.split():
        found = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d)", half)
        try:
            halves.append((time.fromisoformat(found[1]), time.fromisoformat(found[2])) if found else _wrong())
        except ValueError:
            raise BadValue(name, written[:40], HOURS) from None
    edges = [edge for half in halves for edge in half]
    if any(a >= b for a, b in pairwise(edges)):
        raise BadValue(name, written[:40], "an open before its close, and the first half before the second")
    return tuple(halves)


def _wrong() -> tuple[time, time]:
    raise ValueError


def _csv(name: str, text: str) -> list[dict[str, Any]]:
    lines = csv.DictReader(io.StringIO(text), strict=True, restkey="more")
    header = [column.strip() for column in lines.fieldnames or ()]
    if set(header) - set(FIELDS) or not {"exchange", "date", "kind"} <= set(header):
        raise BadValue(f"{name}, header", ",".join(header)[:80], "the columns " + ",".join(FIELDS))
    lines.fieldnames = header
    return list(lines)


def _notice(where: str, row: Any, source: str) -> Notice:
    if not isinstance(row, Mapping):
        raise BadValue(where, str(row)[:80], "an object of texts: " + ", ".join(FIELDS))
    for key, value in row.items():
        if key not in FIELDS or not isinstance(value, str | None):
            raise BadValue(where, f"{key}: {value}"[:80], "a text for each of " + ", ".join(FIELDS))
    told = {key: (value or "").strip() for key, value in row.items()}
    exchange, kind = told.get("exchange", "").upper(), told.get("kind", "").lower()
    closed = get_args(Holiday)
    if exchange not in ZONES:
        raise BadValue(f"{where}, exchange", exchange[:40], "one of " + ", ".join(ZONES))
    if kind not in KINDS:
        raise BadValue(f"{where}, kind", kind[:40], "one of " + ", ".join(KINDS))
    halves = hours(f"{where}, hours", told.get("hours", ""))
    if kind in closed and halves:
        raise BadValue(f"{where}, hours", told["hours"][:40], "nothing: a holiday has no hours")
    if not halves and kind not in (*closed, Kind.REGULAR, Kind.BUDGET, Kind.SPECIAL):
        raise BadValue(f"{where}, hours", "", "its hours, like 18:00-19:00: none are usual for " + kind)
    if halves and (halves[0][0] < EARLIEST or halves[-1][1] > LATEST):
        raise BadValue(f"{where}, hours", told["hours"][:40], f"from {EARLIEST:%H:%M} to {LATEST:%H:%M}")
    told["source"] = " ".join((told.get("source") or source).split())
    if not 1 <= len(told["source"]) <= 200 or not told["source"].isprintable():
        raise BadValue(f"{where}, source", told["source"][:40], "who says so: the circular's number and date")
    return Notice(
        exchange=exchange,
        date=_day(f"{where}, date", told.get("date", ""), "%Y-%m-%d", "a date like 2026-11-10"),
        kind=KINDS[kind],
        hours=halves,
        source=told["source"],
    )


def _nse(name: str, found: Mapping[str, Any], source: str) -> list[Notice]:
    rows = found.get(SEGMENT)
    if not isinstance(rows, list):
        raise BadValue(name, ", ".join(map(str, found))[:80], f"an object of segments with {SEGMENT} among them")
    notices = []
    for n, row in enumerate(rows, 1):
        where = f"{name}, {SEGMENT} row {n}"
        if not isinstance(row, dict):
            raise BadValue(where, str(row)[:80], "an object with tradingDate, weekDay and description")
        day = _day(f"{where}, tradingDate", str(row.get("tradingDate")), "%d-%b-%Y", "a date like 26-Jan-2023")
        if str(row.get("weekDay")) != f"{day:%A}":
            raise BadValue(f"{where}, weekDay", row.get("weekDay"), f"{day:%A}, which {day} is")
        told = " ".join(f"{source or name}: {str(row.get('description', '')).strip() or 'no reason given'}".split())
        notices.append(Notice(exchange="NSE", date=day, kind="listed", source=told[:200]))
    return notices


def _day(where: str, written: str, layout: str, allowed: str) -> date:
    try:
        day = datetime.strptime(written, layout).date()
    except ValueError:
        raise BadValue(where, written[:40], allowed) from None
    if not FIRST <= day <= LAST:
        raise BadValue(where, written[:40], f"a day from {FIRST} to {LAST}")
    return day
