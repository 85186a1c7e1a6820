"""Holidays: the sessions of the exchanges, day by day, and who says so.

Calendar libraries are wrong for NSE: the one used here invents no session, but misses every one on a weekend and some
weekdays of 2001 to 2005, and knows no pauses. What it misses stands in `TABLE`, which has the next word; notices that
the caller read from a circular's file have the last. BSE keeps NSE's days and hours: the library's own list for BSE
misses every muhurat and disagrees on four more days. NASDAQ and NYSE are the library's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta, tzinfo
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import NamedTuple, get_args

from market.errors import BadValue
from market.notices import FIRST, LAST, Holiday, Notice, hours
from market.sessions import (
    CLOSE,
    MINUTE,
    NEW_YORK,
    OPEN,
    ZONES,
    ExchangeName,
    Kind,
    Pause,
    Session,
    Sessions,
    at,
    instant,
)

INDIA = ("NSE", "BSE")
LISTED = timedelta(days=30)
PUBLISHED = date(2026, 12, 31)
"""Up to here the exchanges of India have published their holidays; later sessions are all weekdays."""

PRICES = "rows in published end-of-day files; hours as usual then"
EVENING = "rows in published end-of-day files; hours of the neighbouring years"
DRILL = "rows in published end-of-day files; hours of the drill of 2012-04-28"
_DR = "11:15-12:45"


class Era(NamedTuple):
    """Usual hours in India from a day on. `ordered`: orders gather in a pre-open, and trading goes on at the close."""

    first: date
    opens: time
    ordered: bool


ERAS = (
    # NSE's hours from 18 November 1998 on. Source: pandas_market_calendars 5.5.0, NSE.
    Era(date(1998, 11, 18), time(9, 55), False),
    # SEBI circular SEBI/DNPD/Cir-47/2009 of 23 October 2009: any hours from 9:00 to 17:00; 9:00 at both exchanges.
    Era(date(2010, 1, 4), time(9, 0), False),
    # SEBI circular CIR/MRD/DP/21/2010 of 15 July 2010: pre-open call auction, 9:00 to 9:15 from 18 October 2010.
    Era(date(2010, 10, 18), OPEN, True),
)

PREOPEN = 15 * MINUTE
# NSE's market timings: the closing session is from 15:40 to 16:00. Source: ndtvprofit.com, 31 July 2024.
# Shares with derivatives close by an auction: since 3 August 2026 from 15:15 to 15:35, the others trading on to 15:30
# (SEBI circular of 16 January 2026, 4.2); from 7 December 2026 from 15:30 to 15:40 (SEBI circular of 15 October 2026).
# That moves nothing here: the session is the others', the last minutes of such a share are quiet ones, and its auction
# trades after the close and before the post-close session ends, at 16:00.
CLOSING = 30 * MINUTE
# After a muhurat, 19:25 to 19:35: freepressjournal.in, 4 November 2021; after a drill, 12:50 to 13:00 (2024-05-18).
SHORT_CLOSING = 20 * MINUTE

# Date, kind, hours ("" for the usual ones of that time), source.
TABLE: tuple[tuple[str, Kind, str, str], ...] = (
    ("2001-03-08", Kind.REGULAR, "", PRICES),
    ("2001-03-21", Kind.REGULAR, "", PRICES),
    ("2001-06-20", Kind.REGULAR, "", PRICES),
    ("2001-08-23", Kind.REGULAR, "", PRICES),
    ("2001-09-10", Kind.REGULAR, "", PRICES),
    ("2001-11-29", Kind.REGULAR, "", PRICES),
    ("2002-01-18", Kind.REGULAR, "", PRICES),
    ("2002-01-28", Kind.REGULAR, "", PRICES),
    ("2002-08-16", Kind.REGULAR, "", PRICES),
    ("2003-03-22", Kind.SPECIAL, "", PRICES),
    ("2003-04-10", Kind.REGULAR, "", PRICES),
    ("2003-10-16", Kind.REGULAR, "", PRICES),
    ("2003-10-25", Kind.MUHURAT, "17:00-18:15", EVENING),
    ("2003-11-15", Kind.SPECIAL, "", PRICES),
    ("2004-04-17", Kind.SPECIAL, "", PRICES),
    ("2004-10-09", Kind.SPECIAL, "", PRICES),
    ("2004-10-12", Kind.REGULAR, "", PRICES),
    ("2004-10-15", Kind.REGULAR, "", PRICES),
    ("2005-06-04", Kind.SPECIAL, "", PRICES),
    ("2005-07-27", Kind.REGULAR, "", PRICES),
    ("2005-11-26", Kind.SPECIAL, "", PRICES),
    ("2006-04-29", Kind.SPECIAL, "", PRICES),
    ("2006-06-25", Kind.SPECIAL, "", PRICES),
    ("2006-10-21", Kind.MUHURAT, "18:00-19:15", EVENING),
    ("2009-10-17", Kind.MUHURAT, "18:15-19:15", EVENING),
    ("2010-02-06", Kind.DRILL, _DR, DRILL),
    ("2012-01-07", Kind.DRILL, _DR, DRILL),
    ("2012-03-03", Kind.DRILL, _DR, DRILL),
    ("2012-04-28", Kind.DRILL, _DR, "NSE circular 032/2012"),
    ("2012-09-08", Kind.DRILL, _DR, DRILL),
    ("2013-05-11", Kind.DRILL, _DR, DRILL),
    ("2013-11-03", Kind.MUHURAT, "18:15-19:30", EVENING),
    ("2014-03-22", Kind.DRILL, _DR, "BSE's notice of the joint session, teluguinvestor.com, read 2026-11-21"),
    ("2015-02-28", Kind.BUDGET, "", "NSE's notice, tipsonshare.blogspot.com, 27 February 2015"),
    ("2016-10-30", Kind.MUHURAT, "18:30-19:30", "NSE's circular, zerodha.com/marketintel/bulletin/53008"),
    ("2019-10-27", Kind.MUHURAT, "18:15-19:15", "viralbuzzmagazine.com, newzviewz.com, read 2026-11-21"),
    ("2020-02-01", Kind.BUDGET, "", PRICES),
    ("2020-11-14", Kind.MUHURAT, "18:15-19:15", "NSE's timetable, ndtv.com, 14 November 2020"),
    # Halted at 11:40, pre-open 15:30, again from 15:45 to 17:00.
    ("2021-02-24", Kind.EXTENDED, "09:15-11:40 15:45-17:00", "NSE's notice, money9.com, 24 February 2021"),
    ("2023-11-12", Kind.MUHURAT, "18:15-19:15", "angelone.in/announcements, read 2026-11-21"),
    # In place of Monday the 22nd, a full session.
    ("2024-01-20", Kind.SPECIAL, "", "zeenews.india.com, 15 February 2024"),
    ("2024-03-02", Kind.DRILL, "09:15-10:00 11:30-12:30", "NSE circular of 14 February 2024"),
    ("2024-05-18", Kind.DRILL, "09:15-10:00 11:45-12:40", "NSE circular of 7 May 2024, eastcoastdaily.in, 8 May 2024"),
    ("2025-02-01", Kind.BUDGET, "", "NSE's notice: standard timings"),
    ("2026-02-01", Kind.BUDGET, "", "NSE circular of 16 January 2026: standard timings"),
    # The circular leaves the hours to a later one, which was not found: those most muhurats have had since 2019.
    (
        "2026-11-08",
        Kind.MUHURAT,
        "18:15-19:15",
        "NSE circular NSE/CMTR/71775; its hours were not found, so the usual ones",
    ),
)

# BSE traded on through NSE's outage until 17:00. Source: livemint.com, 24 February 2021.
BSE_TABLE: tuple[tuple[str, Kind, str, str], ...] = (
    ("2021-02-24", Kind.EXTENDED, "09:15-17:00", "BSE's statement, livemint.com, 24 February 2021"),
)


def sessions_of(exchange: str, first: date, last: date, notices: Iterable[Notice] = ()) -> Sessions:
    """The sessions of an exchange from `first` to `last`, both included; `notices` have the last word.

    Raises BadValue: an exchange nobody knows, days upside down or outside `FIRST` to `LAST`.
    """
    name = exchange_named(exchange)
    known("from", first)
    if known("to", last) < first:
        raise BadValue("to", last.isoformat(), f"a day not before {first.isoformat()}")
    days = {s.date: s for s in (_india(name, first, last) if name in INDIA else _america(name, first, last))}
    told = [*_table(name), *(n for n in notices if n.exchange == name)]
    for notice in told:
        if first <= notice.date <= last:
            ruled(days, notice)
    return Sessions(days.values())


def known(name: str, day: date) -> date:
    """The day, if anything can be known of it. Raises BadValue for one outside `FIRST` to `LAST`."""
    if not FIRST <= day <= LAST:
        raise BadValue(name, day.isoformat(), f"a day from {FIRST} to {LAST}")
    return day


def span(since: date | None, until: date | None, today: date) -> tuple[date, date]:
    """The first and the last day of a listing that may leave out either; without both 30 days on from today.

    Raises BadValue.

    >>> span(None, date(2020, 1, 1), date(2026, 11, 21))
    (datetime.date(2020, 1, 1), datetime.date(2020, 1, 1))
    """
    first = known("from", since or min(today, until or today))
    last = known("to", until or min(first + LISTED, LAST))
    if last < first:
        raise BadValue("to", last.isoformat(), f"a day not before `from`, {first.isoformat()}")
    return first, last


def exchange_named(name: str) -> ExchangeName:
    """The exchange of a name, in whatever letters. Raises BadValue."""
    found = next((known for known in ZONES if known == name.strip().upper()), None)
    if found is None:
        raise BadValue("exchange", name[:40], "one of " + ", ".join(ZONES))
    return found


def nse_sessions(first: date, last: date) -> Sessions:
    """The sessions of the National Stock Exchange as they are built in. Raises BadValue."""
    return sessions_of("NSE", first, last)


def ruled(days: dict[date, Session], notice: Notice) -> str:
    """Let a notice have its way with the sessions of its exchange; what it contradicts, in words, "" for nothing.

    A list of holidays leaves a muhurat standing: the exchange lists Diwali, and trades for an hour.
    """
    before, after = days.get(notice.date), _ruled(notice)
    if before is not None and before.kind is Kind.MUHURAT and notice.kind == "listed":
        return f"{notice.exchange} {notice.date}: {_words(before)} ({before.source}) stands ({notice.source})"
    if after is None:
        days.pop(notice.date, None)
    else:
        days[notice.date] = after
    if _same(before, after):
        return ""
    said = before.source if before else "without a session so far"
    return f"{notice.exchange} {notice.date}: {_words(before)} ({said}) becomes {_words(after)} ({notice.source})"


def _ruled(notice: Notice) -> Session | None:
    if notice.kind in get_args(Holiday):
        return None
    day, zone = notice.date, ZONES[notice.exchange]
    india = notice.exchange in INDIA
    halves = notice.hours or ((_era(day).opens, CLOSE) if india else (_US_OPEN, _US_CLOSE),)
    edges = [(at(day, a, zone), at(day, b, zone)) for a, b in halves]
    opens, closes = edges[0][0], edges[-1][1]
    if india:
        gather = PREOPEN if _era(day).ordered else 0
        preopen, closing = opens - gather, _closing(notice.kind, day)
    else:
        gather, preopen, closing = 0, min(at(day, _US_PRE, zone), opens), _US_LATE
    pauses = [Pause(start=a, preopen=max(a, b - gather), end=b) for (_, a), (b, _) in pairwise(edges)]
    usual = at(day, CLOSE if india else _US_CLOSE, zone)
    return Session(
        date=day,
        preopen=preopen,
        open=opens,
        close=closes,
        exchange=notice.exchange,
        kind=Kind(notice.kind),
        pauses=tuple(pauses),
        closing=closing,
        extended=usual if notice.kind == Kind.EXTENDED and opens < usual < closes else None,
        source=notice.source,
    )


def _closing(kind: str, day: date) -> int:
    if not _era(day).ordered:
        return 0
    return SHORT_CLOSING if kind in (Kind.MUHURAT, Kind.DRILL) else CLOSING


def _era(day: date) -> Era:
    return [era for era in ERAS if era.first <= day][-1]


def _same(a: Session | None, b: Session | None) -> bool:
    if a is None or b is None:
        return a is b
    return (a.kind, a.open, a.close, a.pauses) == (b.kind, b.open, b.close, b.pauses)


def _words(session: Session | None) -> str:
    return "no session" if session is None else f"{session.kind} {clocks(session)}"


def clocks(session: Session, zone: tzinfo | None = None) -> str:
    """Its hours as a notice writes them, on the exchange's clocks or those of another zone."""
    edges = [session.open, *(edge for p in session.pauses for edge in (p.start, p.end)), session.close]
    shown = [f"{instant(edge).astimezone(zone or session.zone):%H:%M}" for edge in edges]
    return " ".join(f"{a}-{b}" for a, b in zip(shown[::2], shown[1::2], strict=True))


def _india(exchange: ExchangeName, first: date, last: date) -> Iterator[Session]:
    source, relabel = _source("NSE"), "" if exchange == "NSE" else f"; {exchange} keeps NSE's days"
    for day, _, opens, closes, _ in _library("NSE", first, last):
        era = _era(day)
        # What the library gives hours of its own is a muhurat, whenever else it is: all of 2000 to 2026 are.
        kind = Kind.REGULAR if (opens, closes) == (at(day, era.opens), at(day, CLOSE)) else Kind.MUHURAT
        yield Session(
            date=day,
            preopen=opens - PREOPEN if era.ordered else opens,
            open=opens,
            close=closes,
            exchange=exchange,
            kind=kind,
            closing=_closing(kind, day),
            source=(source if day <= PUBLISHED else f"a weekday; no holidays of {day.year} are known yet") + relabel,
        )


_US_PRE, _US_OPEN, _US_CLOSE = time(4, 0), time(9, 30), time(16, 0)
# Early trading from 4:00, late trading to 20:00. Source: nyse.com/markets/hours-calendars.
_US_LATE = 240 * MINUTE


def _america(exchange: ExchangeName, first: date, last: date) -> Iterator[Session]:
    source = _source(exchange)
    for day, preopen, opens, closes, ends in _library(exchange, first, last):
        usual = at(day, _US_CLOSE, NEW_YORK) - at(day, _US_OPEN, NEW_YORK)
        whole = closes - opens > usual - 30 * MINUTE  # a minute of silence before the open makes no half day
        yield Session(
            date=day,
            preopen=min(preopen, opens),
            open=opens,
            close=closes,
            exchange=exchange,
            kind=Kind.REGULAR if whole else Kind.HALF,
            closing=max(ends - closes, 0),
            source=source,
        )


def _library(exchange: str, first: date, last: date) -> Iterator[tuple[date, int, int, int, int]]:
    """Each day with pre-market, open, close and the end of late trading, ns UTC; India's has neither first nor last."""
    # Loads pandas: 100 MB, which the streaming actors do without unless they ask for sessions themselves.
    import pandas_market_calendars

    edges = {"start": "market_open", "end": "market_close"} if exchange in INDIA else {"start": "pre", "end": "post"}
    schedule = pandas_market_calendars.get_calendar(exchange).schedule(first, last, **edges)
    if schedule.empty:
        return
    columns = [edges["start"], "market_open", "market_close", edges["end"]]
    instants = [schedule[column].dt.as_unit("ns").astype("int64").tolist() for column in columns]
    for moment, *rest in zip(schedule.index, *instants, strict=True):
        yield moment.date(), *rest


def _source(exchange: str) -> str:
    return f"pandas_market_calendars {version('pandas_market_calendars')}, {exchange}"


@cache
def _table(exchange: ExchangeName) -> tuple[Notice, ...]:
    rows = {"NSE": TABLE, "BSE": (*TABLE, *BSE_TABLE)}.get(exchange, ())
    return tuple(
        Notice(exchange=exchange, date=date.fromisoformat(day), kind=kind, hours=hours(day, written), source=source)
        for day, kind, written, source in rows
    )
