"""The IPO desk's turns, as the timetable has them done: a refresh, which takes what the sources show, and a round,
which says what is believed and predicted of every issue and tells whom it concerns.

Everything is in the book before anybody is told of it. An alert that could not be told, since the bus was away, waits
there for the next round.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog

from adapters import ipo_tables
from adapters.alerts import Alerts, IssueAlerts
from adapters.ipos import Book
from adapters.lake import Lake
from market.alerts import OperatorAlert, still_open
from market.errors import MOST_REASON, BadValue, LineDown, StoreRefused
from market.ipo import imagined_past
from market.ipo.examples import FLOW, ISSUE, MARKET, QUOTE, Tables
from market.ipo.imagined import Imagined
from market.ipo.pages import Page, Unread
from market.ipo.registry import Reader
from market.ipo.validation import Limits
from market.ipo.visiting import TRIPS, Standing
from market.records import Record
from market.sessions import MINUTE, Sessions, day_number, instant
from pipelines import histories, ipos, visits
from pipelines.histories import Imported
from pipelines.ipos import Taken
from pipelines.visits import Came

INDEX, FEAR = "NSE:NIFTY 50", "NSE:INDIA VIX"
BACK = 400
"""Days of the market that are looked at where no history has any."""

SOURCE_DOWN = "ipo_source"
MILLISECOND = 1_000_000


AHEAD = 10 * MINUTE
"""Two that validate at the same time may be so far apart."""


class Crier(NamedTuple):
    """Who tells: the operator's alerts, and those of issues."""

    operator: Alerts
    issues: IssueAlerts


class Refreshed(Record):
    """What a refresh came to: pages that came, of them `known` ones, alarms, and those that did not come; new issues,
    premiums placed, rows in the review queue; and, by source, why it is left alone.
    """

    pages: int = 0
    known: int = 0
    alarms: int = 0
    failed: int = 0
    issues: int = 0
    premiums: int = 0
    unsure: int = 0
    down: Mapping[str, str] = {}


class Round(Record):
    """What a round came to: issues of which something is believed, rows of the queue that were settled, outcomes, new
    predictions, alerts that were told, and those that nobody can make anything of any more, which were `late`;
    `trouble`: why some of it was not done.
    """

    believed: int
    settled: int
    scored: int
    predicted: int
    told: int
    late: int = 0
    trouble: tuple[str, ...] = ()


def refresh(
    book: Book,
    readers: Sequence[Reader],
    folder: Path,
    crier: Crier | None,
    clock: Callable[[], int],
    say: Callable[[Came, Taken | None], None] = lambda came, taken: None,
    waits: Callable[[], None] = lambda: None,
) -> Refreshed:
    """Visit what is due and take it into the book. `folder`: of the visits; `crier`: None where nobody listens;
    `clock`: ns UTC; `say`: told of each visit and of what became of its page; `waits`: that another refresh goes on.

    Raises LineDown (the book), StoreRefused.
    """
    counts: Counter[str] = Counter()
    told: list[OperatorAlert] = []
    why: dict[str, str] = {}

    def take(came: Came) -> None:
        taken = None
        if came.page is None:
            counts["failed"] += 1
            why[came.visit.source] = came.visit.trouble
        else:
            taken = _taken(book, came, came.page)
            counts.update(pages=1, known=taken.again, alarms=bool(taken.trouble), issues=len(taken.issues))
            counts.update(premiums=taken.premiums, unsure=len(taken.unsure))
            told.extend([taken.alarm] if taken.alarm is not None else [])
        say(came, taken)

    standings = visits.run(readers, folder, take, clock, waits)
    down = {name: why.get(name, "") for name, one in standings.items() if one.fails >= TRIPS}
    if crier is not None:
        _tell(crier.operator, [*told, *_absences(standings, down, clock())])
    return Refreshed(**counts, down=down)


def turn(
    book: Book, now: int, sessions: Sessions, tables: Tables, crier: Crier | None, limits: Limits | None = None
) -> Round:
    """Validate, score and predict `now`, ns UTC, and tell what is due. `tables`: the history and the market; `limits`:
    what is a spike here.

    Raises LineDown (the book), StoreRefused.
    """
    trouble: list[str] = []
    with book.looking() as run:
        last = run.validated()
    if last > now + AHEAD:
        trouble.append(f"nothing is validated before {instant(last):%Y-%m-%d %H:%M} UTC: the clock was ahead then")
    scored = ipos.score(book, now)
    found = ipos.validate(book, now, sessions, limits=limits)
    predicted = []
    try:
        predicted = ipos.predict(book, now, tables, sessions)
    except BadValue as e:  # a history that cannot be used holds up no alert
        trouble.append(f"no predictions: {e}")
    timely = [alert for alert in found.alerts if alert.timely(now)]
    late = [alert for alert in found.alerts if alert not in timely]
    done = []
    for alert in timely if crier is not None else ():
        try:
            crier.issues.tell(alert)
        except LineDown as e:
            trouble.append(f"{len(timely) - len(done)} alerts wait: {e}")
            break
        done.append(alert)
    ipos.sent(book, [*done, *late], now)
    return Round(
        believed=len(found.believed),
        settled=len(found.settled),
        scored=len(scored),
        predicted=len(predicted),
        told=len(done),
        late=len(late),
        trouble=tuple(trouble),
    )


def imagine(book: Book, seed: int, sessions: Sessions, target: Path, now: int) -> Imported:
    """Take the demo's past into the book, and keep its tables in `target`. `sessions`: of the years it is of.

    Raises LineDown, StoreRefused.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, body in imagined_past.history(Imagined(seed, sessions), now).items():
            (Path(folder) / name).write_bytes(body)
        return histories.run(book, Path(folder), target, now)


def history(folder: Path) -> Tables:
    """The tables that were imported, empty ones where none were. Raises BadValue: they cannot be read."""
    if not folder.is_dir():
        return Tables(*(np.zeros(0, rows) for rows in (ISSUE, QUOTE, MARKET, FLOW)))
    return ipo_tables.read(folder)


def with_market(tables: Tables, lake: Lake, last: date) -> Tables:
    """The tables with the market's days up to `last` behind theirs, as the lake has them: Nifty 50 and India VIX.

    Raises LineDown, StoreRefused.
    """
    known = int(tables.market["day"].max(initial=day_number(last) - BACK))
    first = last - timedelta(days=day_number(last) - known - 1)
    rows = lake.read_candles([INDEX, FEAR], "1d", first, last)
    closes = rows["close"].to_numpy().astype(np.float64)
    days = rows["session"].to_numpy().astype("datetime64[D]").astype(np.int64)
    fear = np.array([name == FEAR for name in rows["symbol"].to_pylist()], bool)
    more = np.zeros(int((~fear).sum()), MARKET)
    more["day"], more["nifty"] = days[~fear], closes[~fear]
    vix = dict(zip(days[fear].tolist(), closes[fear].tolist(), strict=True))
    more["vix"] = [vix.get(day, np.nan) for day in more["day"].tolist()]
    return tables._replace(market=np.concatenate([tables.market, more]))


def _taken(book: Book, came: Came, page: Page | Unread) -> Taken:
    # What one page does to the rules or to the book must not end the visits to all others: it becomes an alarm.
    visit = came.visit
    try:
        return ipos.take(book, page, came.body, visit.received, visit.url)
    except (LineDown, StoreRefused):
        raise
    except Exception as e:
        structlog.get_logger().exception("page_untaken", source=visit.source, page=visit.page, digest=visit.digest)
        reason = f"{type(e).__name__}: {e}"[:MOST_REASON]
        unread = Unread(source=page.source, kind=page.kind, key=page.key, reason=reason)
        return ipos.take(book, unread, came.body, visit.received, visit.url)


def _absences(standings: Mapping[str, Standing], down: Mapping[str, str], now: int) -> list[OperatorAlert]:
    return [
        OperatorAlert(
            kind=SOURCE_DOWN,
            subject=name,
            at=now,
            text=f"{name}: left alone for now: {down[name]}"[:400] if name in down else f"{name} answers again",
            over=name not in down,
        )
        for name in standings
    ]


def _tell(alerts: Alerts, found: Sequence[OperatorAlert]) -> None:
    # What is open is not told again. The bus takes those of a topic in the order of their instants alone.
    known = alerts.recent()
    still, last = {alert.topic for alert in still_open(known)}, {alert.topic: alert.at for alert in known}
    for alert in found:
        if (alert.topic in still) == alert.over:
            at = max(alert.at, last.get(alert.topic, -MILLISECOND) + MILLISECOND)
            alerts.tell(alert.model_copy(update={"at": at}))
            last[alert.topic] = at
            (still.discard if alert.over else still.add)(alert.topic)
