"""Shapes: columns to JSON. Prices are rupees with up to four decimals, exact; instants are ISO 8601 in UTC; null is
unknown.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, tzinfo
from typing import Any

import numpy as np

from market.alerts import OperatorAlert
from market.candles import Candles, Provenance
from market.errors import BadValue
from market.failover import Seam
from market.instruments import Instrument
from market.money import SCALE, UNKNOWN
from market.quotes import QuoteRows, Quotes, change
from market.sessions import IST, SECOND, ZONES, ExchangeName, Session, day_number, instant

PRICES = ("price", "bid", "ask", "open", "high", "low")
CANDLE_FIELDS = [
    *("open", "high", "low", "close", "volume", "trades", "vwap"),
    *("completeness", "provenance", "revision"),
]
PROVENANCES = {int(p): p.name for p in Provenance}
SPANS = 50
"""Gap spans and missing sessions named in one answer; all are counted."""


def amount(value: int) -> float | None:
    """Money as a JSON number: below 10^11 rupees its shortest form is exact."""
    return None if value == UNKNOWN else value / SCALE


def words(name: str, text: str) -> list[str]:
    """What a query lists with commas between. Raises BadValue: there is nothing between them."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise BadValue(name, text[:40], "one or more, with commas between; without the parameter it is all")
    return found


def whole(value: int) -> int | None:
    """A quantity, null where nobody said."""
    return None if value == UNKNOWN else value


def stamp(nanoseconds: int) -> str | None:
    """An instant, to the microsecond."""
    return None if nanoseconds in (UNKNOWN, 0) else instant(nanoseconds).isoformat().replace("+00:00", "Z")


def quotes(
    book: Quotes, instruments: Sequence[Instrument], rows: QuoteRows, stale_ns: int, fields: Collection[str] = ()
) -> list[dict[str, Any]]:
    """`QUOTE` rows of a book, in their order. `fields`: only these, and the symbol; none: all."""
    ids, state = rows["instrument"].tolist(), book.state
    moved, percent = change(rows)
    columns: dict[str, list[Any]] = {
        "symbol": [instruments[i].symbol for i in ids],
        "name": [instruments[i].name for i in ids],
        **{name: [amount(x) for x in rows[name].tolist()] for name in PRICES},
        "previous_close": [amount(x) for x in rows["close"].tolist()],
        "change": [amount(x) for x in moved.tolist()],
        "change_percent": [None if math.isnan(x) else round(x, 4) for x in percent.tolist()],
        **{name: [whole(x) for x in rows[name].tolist()] for name in ("bid_quantity", "ask_quantity", "open_interest")},
        "volume": [whole(x) for x in rows["day_volume"].tolist()],
        "at": [stamp(x) for x in rows["at"].tolist()],
        "received_at": [stamp(x) for x in rows["received"].tolist()],
        "age_seconds": [None if x == UNKNOWN else round(x / SECOND, 3) for x in book.age(rows).tolist()],
        "stale": book.stale(rows, stale_ns).tolist(),
        "feed_state": ["UNKNOWN" if state is None else state.name] * len(ids),
    }
    names = [name for name in columns if not fields or name in fields or name == "symbol"]
    return [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]


def quote_facts(book: Quotes, rows: QuoteRows, stale_ns: int, fields: Collection[str] = ()) -> bytes:
    """What `quotes` depends on: two answers of equal facts are equal, whichever replica gives them."""
    asked = (
        sorted(fields) if fields else sorted({*_OF, *(name for name in rows.dtype.names or () if name != "version")})
    )
    columns = dict.fromkeys(column for name in asked for column in _OF.get(name, (name,)))
    facts = [rows["instrument"].tobytes(), *(rows[name].tobytes() for name in columns)]
    if "stale" in asked:
        facts.append(book.stale(rows, stale_ns).tobytes())
    aged = book.market_time if "age_seconds" in asked else 0
    state = book.state if "feed_state" in asked else None
    return b"".join([*facts, f"{aged} {state} {' '.join(sorted(fields))}".encode()])


_OF: Mapping[str, tuple[str, ...]] = {
    "symbol": (),
    "name": (),
    "stale": (),
    "feed_state": (),
    "previous_close": ("close",),
    "change": ("price", "close"),
    "change_percent": ("price", "close"),
    "volume": ("day_volume",),
    "received_at": ("received",),
    "age_seconds": ("at",),
}
"""Which columns of a quote's row a field is made of, where it is not the one of its own name."""


def feed(standing: dict[str, Any]) -> dict[str, Any]:
    """One feed as the switch tells it, its times as instants."""
    return standing | {name: stamp(standing[name]) for name in ("at", "since")}


def seam(one: Seam) -> dict[str, Any]:
    """One switch of feeds."""
    return {
        "number": one.number,
        "from": one.old or None,
        "to": one.new,
        "at": stamp(one.at),
        "since": stamp(one.since),
        "reason": one.reason,
    }


def candles(rows: Candles) -> list[dict[str, Any]]:
    """Candles, oldest first; a gap has null prices. They start on whole seconds."""
    starts = np.datetime_as_string(rows["start"].astype("datetime64[ns]").astype("datetime64[s]"), timezone="UTC")
    return [
        {
            "start": start,
            "open": amount(o),
            "high": amount(h),
            "low": amount(low),
            "close": amount(c),
            "volume": whole(volume),
            "trades": whole(trades),
            "vwap": amount(vwap),
            "completeness": round(completeness, 4),
            "provenance": PROVENANCES[provenance],
            "revision": revision,
        }
        for start, (o, h, low, c, volume, trades, vwap, completeness, provenance, revision) in zip(
            starts.tolist(), rows[CANDLE_FIELDS].tolist(), strict=True
        )
    ]


def alerts(told: Iterable[OperatorAlert], still: Collection[OperatorAlert]) -> list[dict[str, Any]]:
    """Operator alerts in their order; `open`: nobody has called it over yet."""
    return [{**one.model_dump(), "at": stamp(one.at), "open": one in still} for one in told]


def coverage(
    rows: Candles, sessions: Iterable[Session], seconds: int, first: int, last: int, now: int
) -> dict[str, Any]:
    """What an answer for [first, last) is short of: sessions without a candle, candles not there, gaps,
    incomplete ones.

    Only candles that had ended by `now`, ns UTC, are missed.
    """
    step = seconds * SECOND
    missing, absent = [], 0
    begun = np.ascontiguousarray(rows["start"])
    for session in sessions:
        starts = session.starts(step)
        ends = np.minimum(starts + step, session.close)
        due = starts[(starts >= first) & (starts < last) & (ends <= now)]
        if not len(due):
            continue
        low, high = np.searchsorted(begun, due[0]), np.searchsorted(begun, due[-1], side="right")
        if not _any_of(rows, session):
            missing.append(session.date.isoformat())
        else:
            absent += max(len(due) - int(high - low), 0)
    gap = rows["provenance"] == Provenance.GAP
    spans = _spans(rows["start"][gap], step)
    return {
        "complete": not missing and not absent and not gap.any() and bool((rows["completeness"] >= 1).all()),
        "sessions_missing": len(missing),
        "sessions_missing_newest": missing[-SPANS:],
        "candles_missing": absent,
        "candles_incomplete": int(np.count_nonzero((rows["completeness"] < 1) & ~gap)),
        "gaps": int(np.count_nonzero(gap)),
        "gap_spans": [{"from": stamp(a), "to": stamp(b)} for a, b in spans[:SPANS]],
    }


def sessions(exchange: ExchangeName, first: date, last: date, found: Iterable[Session]) -> dict[str, Any]:
    """What is said of the sessions of an exchange from `first` to `last`, both included."""
    return {
        "exchange": exchange,
        "zone": ZONES[exchange].key,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "sessions": [_session(s) for s in found],
    }


def _session(s: Session) -> dict[str, Any]:
    def edges(name: str, zone: tzinfo) -> dict[str, str]:
        return {f"{edge}{name}": _moment(at, zone) for edge, at in (("open", s.open), ("close", s.close))}

    return {
        "date": s.date.isoformat(),
        "weekday": f"{s.date:%A}",
        "kind": s.kind.value,
        "open": stamp(s.open),
        "close": stamp(s.close),
        **edges("_ist", IST),
        **edges("_local", s.zone),
        "minutes": s.minutes,
        "phases": [
            {"phase": phase.value, "from": _moment(a, s.zone), "to": _moment(b, s.zone)} for phase, a, b in s.phases()
        ],
        "source": s.source,
    }


def _moment(at: int, zone: tzinfo) -> str:
    return instant(at).astimezone(zone).isoformat()


def _any_of(rows: Candles, session: Session) -> bool:
    low, high = np.searchsorted(rows["session"], [day_number(session.date), day_number(session.date) + 1])
    return bool(high > low)


def _spans(starts: np.ndarray[tuple[int], np.dtype[np.int64]], step: int) -> list[tuple[int, int]]:
    """Neighbouring gaps joined: [from, to)."""
    if not len(starts):
        return []
    cuts = np.flatnonzero(np.diff(starts) != step)
    begins, ends = np.append(0, cuts + 1), np.append(cuts, len(starts) - 1)
    return [(int(starts[a]), int(starts[b]) + step) for a, b in zip(begins, ends, strict=True)]
