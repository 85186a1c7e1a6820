"""The commands the IPO desk lives by, run by the timetable or by hand: refresh, validate; and how its sources are."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cluster.calendars import NSE, calendar
from cluster.console import Config, screen, settings_of, show_table, told
from cluster.ipo import AsJson, india, ipo, opened_book
from cluster.settings import Settings
from market.errors import BadValue
from market.ipo.asking import NAMES

if TYPE_CHECKING:
    from adapters.ipos import Book
    from market.ipo.registry import Reader
    from pipelines.desk import Crier, Round
    from pipelines.histories import Imported
    from pipelines.ipos import Taken as Page
    from pipelines.visits import Came

SHORT = 12
"""Characters of a digest that are shown, and enough of one."""

HISTORY = Path("ipo") / "history"
PAST = timedelta(days=730)
"""So far back the demo's past reaches."""

AROUND = timedelta(days=40)
"""Sessions before and after today that an issue's days are counted by."""


@ipo.command()
def refresh(config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """Visit what is due of the sources, take it in, then validate. One source that is down holds up no other.

    Exit code 1: not one page could be had.
    """
    from pipelines import desk

    settings = settings_of(config)
    sources = readers(settings)
    if not sources:
        screen.print("no source is named under ipo: sources, and the demo is off: nothing to visit")
        return
    with told(), opened_book(settings) as book:
        if settings.ipo_demo and not (settings.data / HISTORY).is_dir():
            done = _imagine(settings, book)
            screen.print(f"{done.issues} issues of the past are imagined") if not as_json else None
        crier = crier_of(settings)
        folder, told_of = settings.data / "ipo" / "visits", {} if as_json else {"say": _say, "waits": _wait}
        found = desk.refresh(book, sources, folder, crier, time.time_ns, **told_of)
        turn = _turn(settings, book, crier)
    if as_json:
        typer.echo(json.dumps({"refresh": found.model_dump(mode="json"), "round": turn.model_dump(mode="json")}))
    else:
        screen.print(
            f"{found.pages} pages, {found.known} of them as before, {found.alarms} alarms, {found.failed} failed;"
            f" {found.issues} new issues, {found.premiums} premiums, {found.unsure} rows for review"
        )
        for name, why in found.down.items():
            screen.print(f"{name} is left alone for now: {why}", markup=False, soft_wrap=True)
        _tell(turn)
    raise typer.Exit(1 if found.failed and not found.pages else 0)


@ipo.command()
def validate(config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """Say what is believed of each issue now, score and predict, and put the alerts that are due on the bus."""
    settings = settings_of(config)
    with told(), opened_book(settings) as book:
        found = _turn(settings, book, crier_of(settings))
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _tell(found)


@ipo.command()
def sources(config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """The sources that are read here: where, when each gave a good page last, and which are left alone for now."""
    from adapters.visit_cache import VisitCache

    settings = settings_of(config)
    asked = readers(settings)
    with told(), opened_book(settings) as book, book.looking() as run:
        heard = run.heard()
    standings, now = VisitCache(settings.data / "ipo" / "visits").recall().sources, time.time_ns()
    rows = []
    for reader in asked:
        one = standings.get(reader.name)
        due = min((turn.due for turn in one.pages.values()), default=None) if one else None
        rows.append({
            "source": reader.name, "at": reader.root or "its own address", "robots": reader.robots,
            "every_minutes": reader.policy.every / 60, "heard": heard.get(reader.name), "due": due,
            "breaker": str(one.breaker(now)) if one else "closed", "fails": one.fails if one else 0,
        })  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        screen.print(f"no source is read: name some of {', '.join(NAMES)} under ipo: sources, or let demo be true")
        return
    table = Table("source", "read at", "robots", "every", "last good page", "due from", "breaker", box=None)
    for row in rows:
        heard_at, due_at = (india(row[name]) if row[name] else "-" for name in ("heard", "due"))
        robots = "obeyed" if row["robots"] else "not asked"
        breaker = f"{row['breaker']}, {row['fails']} failed" if row["fails"] else row["breaker"]
        table.add_row(
            row["source"], escape(row["at"]), robots, f"{row['every_minutes']:g} min", heard_at, due_at, breaker
        )
    show_table(table)


@ipo.command()
def alarms(config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """The pages that were not believed: they could not be read, or differ too much from the one before."""
    with told(), opened_book(settings_of(config)) as book, book.looking() as run:
        found = run.alarms()
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        table = Table("source", "kind", "of", "since", "last seen", "page", "why", box=None)
        for one in found:
            times = india(one.fetched_at), india(one.seen_at)
            table.add_row(one.source, one.kind, escape(one.key), *times, one.digest[:SHORT], escape(one.trouble))
        show_table(table)
    else:
        screen.print("every source's last page was believed")


@ipo.command()
def accept(
    page: Annotated[str, typer.Argument(metavar="PAGE", help="Its digest, as `bourse ipo alarms` shows it.")],
    config: Config = Path("cluster.yaml"),
) -> None:
    """Take a page that was an alarm as data: somebody has looked at it and found it right."""
    from market.ipo.registry import SOURCES
    from pipelines import ipos

    with told(), opened_book(settings_of(config)) as book:
        with book.looking() as run:
            found = [one for one in run.alarms() if one.digest.startswith(page)]
        if len({one.digest for one in found}) != 1 or len(page) < SHORT:
            raise BadValue("page", page, f"{SHORT} characters or more of the digest of an alarm (bourse ipo alarms)")
        for one in found:  # the same bytes may have come of two issues
            taken = ipos.accept(book, SOURCES[one.source](), one.kind, one.digest, one.key)
            told_of = f"{taken.matched} matched, {len(taken.issues)} new issues"
            screen.print(f"{one.of} is believed: {told_of}", markup=False, soft_wrap=True)


def readers(settings: Settings) -> list[Reader]:
    """Who reads the sources of this deployment: those that are named, or the demo's."""
    from market.ipo.registry import demo
    from market.ipo.registry import readers as named

    site = f"http://127.0.0.1:{settings.ports.ipo_site}"
    return named(demo(site) if settings.ipo_demo else settings.ipo.sources)


def crier_of(settings: Settings) -> Crier | None:
    """Who tells the alerts; None: the bus of this deployment is away, and they wait in the book."""
    from adapters.alerts import Alerts, IssueAlerts
    from adapters.bus import Bus
    from cluster.stores import Stores
    from market.errors import LineDown
    from pipelines.desk import Crier

    bus = Bus(Stores(settings, settings.run_folder).bus)
    with suppress(LineDown):
        bus.last("issues", 0)
        return Crier(Alerts(bus), IssueAlerts(bus))
    return None


def _imagine(settings: Settings, book: Book) -> Imported:
    from market.sessions import IST, instant
    from pipelines import desk

    now = time.time_ns()
    today = instant(now).astimezone(IST).date()
    sessions = calendar(settings, today - PAST, today + AROUND, NSE)
    return desk.imagine(book, settings.ipo.seed, sessions, settings.data / HISTORY, now)


def _turn(settings: Settings, book: Book, crier: Crier | None) -> Round:
    from adapters.lake import Lake
    from market.ipo.validation import Limits
    from market.sessions import IST, instant
    from pipelines import desk

    now = time.time_ns()
    today = instant(now).astimezone(IST).date()
    sessions = calendar(settings, today - AROUND, today + AROUND, NSE)
    try:
        tables = desk.history(settings.data / HISTORY)
    except BadValue as e:
        screen.print(f"the history is left out: {e}; import it again", markup=False, soft_wrap=True)
        tables = desk.history(settings.data / "ipo" / "none")
    if not settings.simulated:
        tables = desk.with_market(tables, Lake(settings.lake), today)
    limits = Limits(spike_points=settings.ipo.spike_points, relative_spike=settings.ipo.relative_spike)
    return desk.turn(book, now, sessions, tables, crier, limits)


def _wait() -> None:
    screen.print("another refresh is under way; this one waits for its end")


def _say(came: Came, taken: Page | None) -> None:
    visit = came.visit
    said = visit.trouble if taken is None else taken.trouble or ("as before" if taken.again else "")
    if taken is not None and not said:
        said = f"{taken.matched} matched, {len(taken.issues)} new, {taken.premiums} premiums"
    screen.print(f"{visit.source} {visit.page}: {said}", markup=False, soft_wrap=True)


def _tell(found: Round) -> None:
    screen.print(
        f"{found.believed} issues validated, {found.settled} rows settled, {found.scored} listings scored, "
        f"{found.predicted} new predictions, {found.told} alerts told"
        + (f", {found.late} too late to tell" if found.late else "")
    )
    for why in found.trouble:
        screen.print(why, markup=False, soft_wrap=True)
