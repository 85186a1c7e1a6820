"""The command that lists an exchange's sessions, and takes in what a circular says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Annotated

import typer

from adapters.notices import Notices, opened
from cluster.calendars import calendar
from cluster.console import Config, refuse, screen, settings_of, told
from cluster.settings import Settings
from market.holidays import clocks, exchange_named, ruled, span
from market.sessions import IST, Session, instant
from serve_app.shapes import sessions as answer

IMPORT = "import"

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
        first, last = span(since.date() if since else None, until.date() if until else None, date.today())
        name = exchange_named(exchange)
        found = calendar(settings, first, last, name)
    if as_json:
        typer.echo(json.dumps(answer(name, first, last, found), indent=2))
    else:
        for line in (line for s in found for line in _lines(s)):
            screen.print(line, markup=False, soft_wrap=True)
        screen.print(f"{len(found)} sessions of {name} from {first} to {last}", markup=False)


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


def _lines(session: Session) -> Iterator[str]:
    """One line of hours, and under it the phases and the source."""
    zones: dict[str, tzinfo] = {"UTC": UTC, "IST": IST}
    if session.zone != IST:
        zones["local"] = session.zone
    told = "  ".join(f"{clocks(session, zone)} {name}" for name, zone in zones.items())
    phases = ", ".join(f"{phase.value} {_clock(a, session)}" for phase, a, _ in session.phases())
    yield f"{session.date:%a %Y-%m-%d}  {session.kind:<8}  {told}"
    yield f"{'':16}{phases} to {_clock(session.close + session.closing, session)}"
    yield f"{'':16}{session.source}"


def _clock(at: int, session: Session) -> str:
    return f"{instant(at).astimezone(session.zone):%H:%M}"
