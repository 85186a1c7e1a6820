"""The days of bidding, as the IPO desk's book keeps them: it is told of the exchange's calendar, and asked without one.

Bids are taken on the working days of `market.ipo.life`. Kept are the days from Monday to Friday that are none, so that
days nobody has told of yet count by the week.
"""

from __future__ import annotations

from datetime import date, timedelta

from adapters.ipos import Looking, Writing
from market.ipo.life import working_days
from market.sessions import Sessions


def rests(run: Looking) -> list[date]:
    """Days from Monday to Friday without bidding, in order."""
    return [row["day"] for row in run.all("SELECT day FROM ipo_rests ORDER BY day")]


def keep(run: Writing, sessions: Sessions) -> None:
    """Know the days of a calendar, from its first session to its last."""
    days = [one.date for one in sessions]
    if not days:
        return
    span = [days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days + 1)]
    free = sorted({day for day in span if day.weekday() < 5} - set(working_days(sessions)))
    run.all(
        "DELETE FROM ipo_rests WHERE day BETWEEN :first AND :last AND NOT day = ANY(:free)",
        first=days[0], last=days[-1], free=free,
    )  # fmt: skip
    run.many("INSERT INTO ipo_rests VALUES (:day) ON CONFLICT DO NOTHING", [{"day": day} for day in free])
