"""The exchanges' lists of corporate actions: NSE's `corporates-corporateActions` and BSE's `DefaultData`, JSON.

NSE: `symbol`, `series`, `subject`, `exDate` (`17-Oct-2023`), `isin`, `faceVal`, `caBroadcastDate` (when it was told, or
null). BSE: `short_name`, `Purpose`, `exdate` (`20231025`), no ISIN and no time. A row of a bond or of a purpose that
moves no price is idle; one that is not understood is handed back and the others are taken. Rows that tell the same
again (a share in two series) are one. Sources: the exchanges' own sites, as recorded by NseIndiaApi and BseIndiaApi;
shapes change without notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from market.actions import Action, Kind, known_by
from market.errors import BadPayload
from market.purposes import Told, actions_of
from market.sessions import IST, nanoseconds
from market.vendors.nse_bhavcopy import SERIES

NSE_KEYS = frozenset({"symbol", "subject", "exDate"})
BSE_KEYS = frozenset({"short_name", "Purpose", "exdate"})
MOST_ROWS = 200_000
LARGEST = 64 << 20

_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}\d")


def read(body: bytes, recorded: int) -> Told:
    """The actions of a list, unpacked. Raises BadPayload for what is no such list."""
    try:
        rows = json.loads(body) if len(body) <= LARGEST else None
    except (ValueError, RecursionError) as e:
        raise BadPayload("corporate actions", body[:1024], f"not JSON: {e}") from e
    rows = rows.get("data", rows.get("Table")) if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or len(rows) > MOST_ROWS or not rows:
        raise BadPayload("corporate actions", body[:1024], "not a list of corporate actions")
    found: dict[tuple[str, Kind, date, str], Action] = {}
    unread: list[str] = []
    idle = 0
    for number, row in enumerate(rows, 1):
        try:
            told = _row(row, recorded)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            unread.append(f"row {number}: {str(e).splitlines()[0][:120]}")
            continue
        if told is None:
            unread.append(f"row {number}: {_words(row)[:120]}")
            continue
        idle += not told
        for action in told:
            key = action.symbol, action.kind, action.ex_date, action.source
            other = found.setdefault(key, action)
            if (other.factor, other.amount) != (action.factor, action.amount):
                unread.append(f"row {number}: {action.symbol} {action.words()} where {other.words()} stands already")
    return Told(list(found.values()), unread, idle)


def _row(row: Any, recorded: int) -> list[Action] | None:
    """None: not understood; []: idle."""
    if not isinstance(row, Mapping):
        raise ValueError("not an object")
    if row.keys() >= NSE_KEYS:
        return _nse(row, recorded)
    if row.keys() >= BSE_KEYS:
        return _bse(row, recorded)
    raise ValueError(f"keys of neither exchange: {', '.join(map(str, row))[:80]}")


def _nse(row: Mapping[str, Any], recorded: int) -> list[Action] | None:
    if str(row.get("series", "EQ")) not in SERIES:
        return []
    symbol, day = f"NSE:{row['symbol'].strip()}", datetime.strptime(row["exDate"].strip(), "%d-%b-%Y").date()
    isin = str(row.get("isin") or "")
    face = str(row.get("faceVal") or "")
    told = row.get("caBroadcastDate")
    return actions_of(
        symbol,
        isin if _ISIN.fullmatch(isin) else None,
        day,
        row["subject"],
        _told(told) if told not in (None, "", "-") else known_by(symbol, day, recorded),
        recorded,
        "nse",
        Fraction(face) if re.fullmatch(r"\d{1,6}(\.\d{1,4})?", face) else None,
    )


def _bse(row: Mapping[str, Any], recorded: int) -> list[Action] | None:
    symbol, day = f"BSE:{row['short_name'].strip()}", datetime.strptime(row["exdate"].strip(), "%Y%m%d").date()
    return actions_of(symbol, None, day, row["Purpose"], known_by(symbol, day, recorded), recorded, "bse")


def _told(written: Any) -> int:
    """A stamp of NSE's, on India's clocks; a date alone means its end. Raises ValueError."""
    text = str(written).strip()
    stamp = datetime.strptime(text, "%d-%b-%Y %H:%M:%S") if " " in text else None
    day = stamp or datetime.strptime(text, "%d-%b-%Y").replace(hour=23, minute=59, second=59)
    return nanoseconds(day.replace(tzinfo=IST))


def _words(row: Any) -> str:
    return f"{row.get('symbol') or row.get('short_name')}: {row.get('subject') or row.get('Purpose')}"
