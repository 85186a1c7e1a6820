"""The commands that tend a running instance: its timetable, its alerts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from adapters.bus import Bus
from adapters.jobs import Jobs
from cluster.console import Config, answer, clock, refuse, screen, settings_of, told
from cluster.settings import Settings
from cluster.stores import Stores
from market.sessions import IST, instant
from market.timetable import ENDS, Note, State

FAILED = 1
LOOK_SECONDS = 0.25

app = typer.Typer()
timetable = typer.Typer(invoke_without_command=True)
app.add_typer(timetable, name="timetable")

AsJson = Annotated[bool, typer.Option("--json", help="The record itself.")]


@timetable.callback()
def list_jobs(context: typer.Context, config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """Each job, when it runs next, and its last run with its outcome."""
    if context.invoked_subcommand is not None:
        return
    parts = answer(settings_of(config), "/api/v1/status")["parts"]
    found = next((p for p in parts if p["part"] == "timetable" and "jobs" in p), None)
    if found is None:
        refuse("the timetable has not answered yet; bourse status says how its parts are")
    if as_json:
        typer.echo(json.dumps({"clock": found["clock"], "jobs": found["jobs"]}, indent=2))
        return
    screen.print(jobs_table(found["jobs"]))
    screen.print(f"times of India, by the {found['name']} clock: {_india(found['clock'])}")


@timetable.command("run")
def run_job(
    job: Annotated[str, typer.Argument(help="Its name in the timetable.")], config: Config = Path("cluster.yaml")
) -> None:
    """Run a job now, as a run of its own, and wait for its end; exit code 1 when it does not end well."""
    settings = settings_of(config)
    if job not in settings.timetable:
        refuse(f"job: {job!r} is not allowed; one of {', '.join(settings.timetable) or 'none: the timetable is empty'}")
    with told():
        end = _run(settings, job)
    screen.print(f"{end.run} {end.state.value}{f': {end.reason}' if end.reason else ''}", markup=False)
    raise typer.Exit(0 if end.state is State.SUCCEEDED else FAILED)


@app.command()
def alerts(
    config: Config = Path("cluster.yaml"),
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """What an operator should know: alerts that are still open."""
    found = answer(settings_of(config), f"/api/v1/alerts?all={str(everything).lower()}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("since", "severity", "about", "", "alert", box=None)
    for one in found["alerts"]:
        about = f"{one['kind']} {one['subject']}"
        state = "over" if one["over"] else "open" if one["open"] else ""
        table.add_row(clock(one["at"]), one["severity"], about, state, escape(one["text"]))
    screen.print(table if found["alerts"] else "no alerts" if everything else "no open alerts")


def jobs_table(jobs: list[dict[str, Any]]) -> Table:
    """The timetable for people."""
    table = Table("job", "when", "next", "last run", "outcome", "", box=None)
    for job in jobs:
        last = job["last"]
        at = "" if last is None else f"{_india(last['at'])}{' by hand' if last['by_hand'] else ''}"
        tries = f" (try {last['attempt']})" if last and last["attempt"] > 1 else ""
        outcome, reason = ("", "") if last is None else (f"{last['state']}{tries}", last["reason"])
        table.add_row(job["job"], job["at"], _india(job["next"]), at, outcome, escape(reason))
    return table


def _run(settings: Settings, job: str) -> Note:
    jobs = Jobs(Bus(Stores(settings, settings.run_folder).bus))
    now = time.time_ns()
    asked = Note(job=job, state=State.ASKED, at=now, noted=now, by_hand=True)
    jobs.note(asked)
    screen.print(f"{asked.run} is asked for; Ctrl-C ends the waiting, not the job", markup=False)
    while True:
        jobs.hear()
        known = jobs.ledger.runs[asked.run]
        if known.state in ENDS:
            return known
        time.sleep(LOOK_SECONDS)


def _india(nanoseconds: int | None) -> str:
    return "" if not nanoseconds else f"{instant(nanoseconds).astimezone(IST):%a %d %b %H:%M:%S}"
