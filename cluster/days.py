"""The command that lists an exchange's sessions, and takes in what a circular says of them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from adapters.notices import Notices, opened
from cluster.calendars import calendar
from cluster.console import Config, refuse, screen, settings_of, told
from cluster.settings import Settings
from market.errors import BadValue
from market.holidays import clocks, ruled
from market.sessions import IST, Session, Sessions, instant
from serve_app.shapes import sessions as answer

IMPORT = "import"
SPAN = timedelta(days=30)

app = typer.Typer()


@app.command()
def sessions(
    exchange: Annotated[str, typer.Argument(help="NSE, BSE, NASDAQ or NYSE; or import, to take in a circular.")],
    file: Annotated[Path | None, typer.Argument(help="With import: CSV or JSON, see docs/operators.md.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day; today without it.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day; 30 days on without it.")
    ] = None,
    source: Annotated[str, typer.Option(help="With import: who says so, where the file does not.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same as the API's answer.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """The sessions of an exchange with hours, kind, phases and source; `sessions import FILE` adds a circular's."""
    settings = settings_of(config)
    with told():
        if exchange == IMPORT:
            if file is None or since or until or as_json:
                refuse("sessions import takes a FILE and --source, nothing else")
            _take(settings, file, source)
            return
        if file is not None or source:
            refuse("FILE and --source go with import: bourse sessions import FILE")
        first = since.date() if since else date.today()
        last = until.date() if until else first + SPAN
        if last < first:
            raise BadValue("--to", last.isoformat(), f"a day not before --from, {first.isoformat()}")
        found = calendar(settings, first, last, exchange)
    if as_json:
        typer.echo(json.dumps(answer(exchange.upper(), first, last, found), indent=2))
    else:
        screen.print(_table(found))
        screen.print(f"{len(found)} sessions of {exchange.upper()} from {first} to {last}", markup=False)


def _take(settings: Settings, file: Path, source: str) -> None:
    new, kept = opened(file, source), Notices(settings.data)
    known: dict[str, dict[date, Session]] = {}
    for name in {n.exchange for n in new}:
        mine = [n.date for n in new if n.exchange == name]
        known[name] = {s.date: s for s in calendar(settings, min(mine), max(mine), name)}
    said = [line for n in new if (line := ruled(known[n.exchange], n))]
    kept.add(new)
    for line in said:
        screen.print(line, markup=False, soft_wrap=True)
    screen.print(
        f"{len(new)} days of {file.name} taken into {kept.path}, {len(said)} of them changes; "
        "an instance that runs takes them when it is started again",
        markup=False,
        soft_wrap=True,
    )


def _table(found: Sessions) -> Table:
    table = Table("date", "kind", "UTC", "IST", box=None, pad_edge=False)
    local = next((s.zone for s in found if s.zone != IST), None)
    if local is not None:
        table.add_column(local.key.rpartition("/")[2].replace("_", " "))
    table.add_column("phases", overflow="fold")
    table.add_column("source", overflow="fold")
    for s in found:
        own = [] if local is None else [clocks(s, local)]
        phases = ", ".join(f"{phase.value} {_clock(a, s)}" for phase, a, _ in s.phases())
        table.add_row(f"{s.date:%a %Y-%m-%d}", s.kind, clocks(s, UTC), clocks(s, IST), *own, phases, escape(s.source))
    return table


def _clock(at: int, session: Session) -> str:
    return f"{instant(at).astimezone(session.zone):%H:%M}"
