"""Holidays: the sessions of the National Stock Exchange, day by day.

Calendar libraries are wrong for NSE: the one used here invents no session, but misses every one on a weekend and some
weekdays of 2001 to 2005. What it misses stands in `SPECIAL`, which has the last word. A session in two halves (the
disaster-recovery drills) is kept as one span; the pause between them is quiet minutes.
"""

from __future__ import annotations

from datetime import date, time

from market.errors import BadValue
from market.sessions import CLOSE, IST, OPEN, Session, Sessions, session

_EARLY = time(9, 55), CLOSE
_DRILL = time(11, 15), time(12, 45)
_USUAL = OPEN, CLOSE

# "prices" for a source: the date has rows in published end-of-day files. Its hours were not found, so it has the hours
# that were usual then (a muhurat session: those of the neighbouring years).
SPECIAL: dict[date, tuple[time, time]] = {
    # prices
    date(2001, 3, 8): _EARLY,
    # prices
    date(2001, 3, 21): _EARLY,
    # prices
    date(2001, 6, 20): _EARLY,
    # prices
    date(2001, 8, 23): _EARLY,
    # prices
    date(2001, 9, 10): _EARLY,
    # prices
    date(2001, 11, 29): _EARLY,
    # prices
    date(2002, 1, 18): _EARLY,
    # prices
    date(2002, 1, 28): _EARLY,
    # prices
    date(2002, 8, 16): _EARLY,
    # Saturday; prices
    date(2003, 3, 22): _EARLY,
    # prices
    date(2003, 4, 10): _EARLY,
    # prices
    date(2003, 10, 16): _EARLY,
    # Muhurat, Saturday; prices
    date(2003, 10, 25): (time(17, 0), time(18, 15)),
    # Saturday; prices
    date(2003, 11, 15): _EARLY,
    # Saturday; prices
    date(2004, 4, 17): _EARLY,
    # Saturday; prices
    date(2004, 10, 9): _EARLY,
    # prices
    date(2004, 10, 12): _EARLY,
    # prices
    date(2004, 10, 15): _EARLY,
    # Saturday; prices
    date(2005, 6, 4): _EARLY,
    # prices
    date(2005, 7, 27): _EARLY,
    # Saturday; prices
    date(2005, 11, 26): _EARLY,
    # Saturday; prices
    date(2006, 4, 29): _EARLY,
    # Sunday; prices
    date(2006, 6, 25): _EARLY,
    # Muhurat, Saturday; prices
    date(2006, 10, 21): (time(18, 0), time(19, 15)),
    # Muhurat, Saturday; prices
    date(2009, 10, 17): (time(18, 15), time(19, 15)),
    # Saturday drill; prices
    date(2010, 2, 6): _DRILL,
    # Saturday drill; prices
    date(2012, 1, 7): _DRILL,
    # Saturday drill; prices
    date(2012, 3, 3): _DRILL,
    # Saturday drill: NSE circular 032/2012
    date(2012, 4, 28): _DRILL,
    # Saturday drill; prices
    date(2012, 9, 8): _DRILL,
    # Saturday drill; prices
    date(2013, 5, 11): _DRILL,
    # Muhurat, Sunday; prices
    date(2013, 11, 3): (time(18, 15), time(19, 30)),
    # Saturday drill: BSE's notice of the joint session, teluguinvestor.com, read 2026-11-21
    date(2014, 3, 22): _DRILL,
    # Budget, Saturday: NSE's notice, tipsonshare.blogspot.com, 27 February 2015
    date(2015, 2, 28): _USUAL,
    # Muhurat, Sunday: NSE's circular, hindupad.com/diwali-muhurat-trading, read 2026-11-21
    date(2016, 10, 30): (time(18, 30), time(19, 30)),
    # Muhurat, Sunday: viralbuzzmagazine.com, read 2026-11-21
    date(2019, 10, 27): (time(18, 15), time(19, 15)),
    # Budget, Saturday; prices
    date(2020, 2, 1): _USUAL,
    # Muhurat, Saturday: NSE's timetable, ndtv.com, 14 November 2020
    date(2020, 11, 14): (time(18, 15), time(19, 15)),
    # Muhurat, Sunday: angelone.in/announcements, read 2026-11-21
    date(2023, 11, 12): (time(18, 15), time(19, 15)),
    # Saturday in place of Monday the 22nd, a full session: zeenews.india.com, 15 February 2024
    date(2024, 1, 20): _USUAL,
    # Saturday drill, 09:15 to 10:00 and 11:30 to 12:30: NSE circular of 14 February 2024
    date(2024, 3, 2): (OPEN, time(12, 30)),
    # Saturday drill, 09:15 to 10:00 and 11:45 to 12:40: NSE circular of 7 May 2024
    date(2024, 5, 18): (OPEN, time(12, 40)),
    # Budget, Saturday, standard timings: NSE's notice
    date(2025, 2, 1): _USUAL,
    # Budget, Sunday, standard timings: NSE circular of 16 January 2026
    date(2026, 2, 1): _USUAL,
}


def nse_sessions(first: date, last: date) -> Sessions:
    """The sessions from `first` to `last`, both included. Raises BadValue when they are upside down."""
    if last < first:
        raise BadValue("last", last.isoformat(), f"a day not before {first.isoformat()}")
    days = _published(first, last)
    days |= {day: session(day, *hours) for day, hours in SPECIAL.items() if first <= day <= last}
    return Sessions(days.values())


def _published(first: date, last: date) -> dict[date, Session]:
    # Loads pandas: 100 MB, which the streaming actors do without unless they ask for sessions themselves.
    import pandas_market_calendars

    schedule = pandas_market_calendars.get_calendar("NSE").schedule(first, last)
    if schedule.empty:
        return {}
    opens = schedule["market_open"].dt.tz_convert(IST)
    closes = schedule["market_close"].dt.tz_convert(IST)
    return {o.date(): session(o.date(), o.time(), c.time()) for o, c in zip(opens, closes, strict=True)}
