"""The commands of the IPO desk: its issues, what is believed and predicted of them, and what that was worth.

All but `evaluate` work on the book itself, in the database, whether an instance runs or not.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date, datetime
from decimal import InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cluster.console import Config, screen, settings_of, show_table, told
from cluster.settings import Settings
from market.errors import BadValue
from market.ipo.kinds import Segment
from market.ipo.life import State
from market.money import decimal
from market.sessions import IST, instant

if TYPE_CHECKING:
    from adapters.ipos import Book, Looking, Review
    from market.ipo.scores import Score
    from market.money import Money
    from market.records import Record
    from pipelines.digests import Entry
    from pipelines.ipos import Track

DAY = ["%Y-%m-%d"]
MONEY = ("low", "high", "listed_at", "closed_at")
SPREAD_BYTES = 256 << 10
"""Of tables from which on more than one core is worth its start."""

LAST = 10
"""So many premiums are shown of an issue."""

One = Annotated[str, typer.Argument(metavar="ISSUE", help="The issue's id, as `bourse ipo list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="The records themselves.")]
Because = Annotated[str, typer.Option(help="Why; it goes on record.")]
ipo = typer.Typer(no_args_is_help=True, help="Issues of shares: the premium, what it predicts, and what came of it.")


@ipo.command("list")
def list_issues(
    status: Annotated[State | None, typer.Option(help="Only those that stand here.")] = None,
    segment: Annotated[Segment | None, typer.Option(help="Only those of this segment.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were listed long ago, too.")] = False,
    config: Config = Path("cluster.yaml"),
    as_json: AsJson = False,
) -> None:
    """The issues, the last to open first: price, premium believed, what is expected of it.

    Without a status: those that are not listed yet, or were within the last week.
    """
    from pipelines.digests import entries_of, lately

    today = instant(time.time_ns()).astimezone(IST).date()
    everything = everything or status is not None
    with told(), opened_book(settings_of(config)) as book, book.looking() as run:
        found = [
            one
            for one in entries_of(run)
            if (status is None or one.issue.state is status)
            and (segment is None or one.issue.segment is segment)
            and (everything or not one.issue.over or lately(one.issue, today))
        ]
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        show_table(_list(found))
    else:
        screen.print("there is no such issue; issues come with the first page of a source")


@ipo.command()
def show(issue: One, config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """All that is known of an issue: its facts and who told them, premiums, bids, what was believed and predicted."""
    with told(), opened_book(settings_of(config)) as book, book.looking() as run:
        found = _all(run, issue)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(found)


@ipo.command()
def score(config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """Write down what came of issues that were listed, and say how good predictions and sources have been."""
    from pipelines import ipos

    with told(), opened_book(settings_of(config)) as book:
        fresh = ipos.score(book, time.time_ns())
        found = ipos.track(book)
    if as_json:
        words = {"now": [one.model_dump(mode="json") for one in fresh], **found.model_dump(mode="json")}
        typer.echo(json.dumps(words, indent=2))
        return
    screen.print(f"{len(fresh)} listings scored now, {found.scored.waiting} predictions wait for theirs")
    for table in _tables(found):
        show_table(table)


@ipo.command()
def review(
    number: Annotated[int | None, typer.Argument(help="A row of the queue; all without it.")] = None,
    issue: Annotated[str, typer.Option(help="It is this issue.")] = "",
    new: Annotated[bool, typer.Option("--new", help="It is an issue of its own.")] = False,
    because: Because = "",
    config: Config = Path("cluster.yaml"),
    as_json: AsJson = False,
) -> None:
    """The rows nobody was sure of, or a decision about one of them."""
    from pipelines import ipos

    with told(), opened_book(settings_of(config)) as book:
        if number is not None:
            if bool(issue) == new:
                raise BadValue("review", f"{number}", "a row with --issue ISSUE or with --new")
            placed = ipos.decide(book, number, issue or None, _who(), because, time.time_ns())
            screen.print(f"row {number} is of {placed}", markup=False, soft_wrap=True)
            return
        with book.looking() as run:
            found = run.reviews()
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        show_table(_queue(found))
    else:
        screen.print("nothing waits for a decision")


@ipo.command()
def join(
    issue: One,
    into: Annotated[str, typer.Option(help="The issue it is: this id stays, and the other one leads to it.")],
    because: Because = "",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Say that two issues are one: all of the first goes to the other. It cannot be taken back."""
    from pipelines import ipos

    with told(), opened_book(settings_of(config)) as book:
        ipos.join(book, issue, into, _who(), because, time.time_ns())
    screen.print(f"{issue} is {into}", markup=False, soft_wrap=True)


@ipo.command()
def override(
    issue: One,
    gmp: Annotated[str, typer.Option(help="The premium to believe, rupees a share.")] = "",
    because: Because = "",
    pin: Annotated[bool, typer.Option("--pin", help="Until it is cleared, whatever a source tells.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Believe the sources again.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Set the premium of an issue, or clear what was set. It is believed from the next validation on."""
    from pipelines import ipos

    with told(), opened_book(settings_of(config)) as book:
        if bool(gmp) == clear:
            raise BadValue("override", issue, "an issue with --gmp RUPEES --because WHY, or with --clear")
        if clear:
            ipos.clear(book, issue, _who(), time.time_ns())
        else:
            ipos.override(book, issue, _rupees(gmp), _who(), because, time.time_ns(), pinned=pin)
    screen.print(
        f"{issue}: {'the sources are believed' if clear else f'{gmp} is believed'}", markup=False, soft_wrap=True
    )


@ipo.command()
def digest(
    html: Annotated[bool, typer.Option("--html", help="As a page, not as plain lines.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """What there is to tell today, on one page."""
    from pipelines import digests

    with told(), opened_book(settings_of(config)) as book:
        found = digests.digest(book, time.time_ns())
    typer.echo(digests.html(found) if html else digests.text(found))


@ipo.command("import")
def import_history(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of tables: ipo_master.csv and its neighbours.")],
    config: Config = Path("cluster.yaml"),
    as_json: AsJson = False,
) -> None:
    """Take a history into the book, and keep its tables for the models; large ones by tasks of Ray Data."""
    from cluster.cores import cores
    from pipelines import histories

    with told(), opened_book(settings_of(config)) as book:
        target = settings_of(config).data / "ipo" / "history"
        spread = sum(path.stat().st_size for path in data.glob("*.csv")) >= SPREAD_BYTES
        with cores() if spread else nullcontext():
            done = histories.run(book, data, target, time.time_ns(), spread=spread)
    if as_json:
        typer.echo(done.model_dump_json())
        return
    screen.print(
        f"{done.rows:,} rows, {done.issues:,} new issues, {done.premiums:,} premiums, {done.scored:,} outcomes"
    )
    for why, count in done.refused.items():
        screen.print(f"  refused: {count:,}, {why}", markup=False)
    if done.again:
        screen.print("these tables were imported before")


@ipo.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="A folder of tables: ipo_master.csv and its neighbours.")],
    until: Annotated[datetime, typer.Option("--train-until", formats=DAY, help="Issues listed after it are judged.")],
    as_json: Annotated[bool, typer.Option("--json", help="One record a line.")] = False,
) -> None:
    """Walk through the months, each fitted on what was listed before it, and score the issues listed after a day."""
    with told():
        found = evaluated(data, until.date())
    if as_json:
        for score in found:
            typer.echo(score.model_dump_json())
    else:
        show_table(_table(found))


def evaluated(data: Path, until: date) -> list[Score]:
    """A score of each task and model. Raises BadValue: no such tables, or nothing listed after the day."""
    from adapters.ipo_tables import read
    from market.ipo.scores import scores
    from market.ipo.walkforward import Task, rows_of, walk
    from market.sessions import day_number

    tables, after = read(data), day_number(until)
    last = int(tables.issues["listed"].max(initial=after))
    if last <= after:
        raise BadValue("--train-until", until.isoformat(), "a day before the last listing of the tables")
    found = []
    for task in Task:
        walked = walk(*rows_of(tables, task), close=task is Task.ALL)
        found += scores(task, walked, after)
    if not any(score.n for score in found):
        raise BadValue("--train-until", until.isoformat(), "a day after which an issue with a premium and a gain lists")
    return found


def _table(found: list[Score]) -> Table:
    table = Table(box=None)
    for title in ("task", "model"):
        table.add_column(title, no_wrap=True)
    for title in ("issues", "MAE, points", "95 % interval", "R2", "AUC, gain of 10", "80 % covers", "Brier"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("served", no_wrap=True)
    for score in found:
        months = ", ".join(f"{name} in {count} months" for name, count in score.months.items())
        table.add_row(
            score.task,
            score.model,
            str(score.n),
            _cell(score.mae),
            f"{_cell(score.mae_low)} to {_cell(score.mae_high)}" if score.n else "-",
            _cell(score.r2),
            _cell(score.auc),
            f"{score.coverage:.1%}" if score.coverage is not None else "-",
            _cell(score.brier),
            months,
        )
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@contextmanager
def opened_book(settings: Settings) -> Iterator[Book]:
    """The book, for one command. Raises LineDown, StoreRefused."""
    from adapters.database import Database
    from adapters.ipos import Book
    from cluster.databases import opened

    with opened(settings) as url:
        tables = Database(url)
        tables.migrate()
        tables.close()
        book = Book(url, settings.data / "ipo" / "pages")
        try:
            yield book
        finally:
            book.close()


def _all(run: Looking, name: str) -> dict[str, Any]:
    issue = run.issue(name)
    name = issue.id  # the other's, where it was joined to one
    records: dict[str, Sequence[Record]] = {
        "premiums": run.premiums(name),
        "bids": run.bids(name),
        "believed": run.validations(name),
        "predictions": run.predictions(name),
        "outcome": [one for one in run.outcomes() if one.issue == name],
        "override": [one for one in run.overrides().values() if one.issue == name],
    }
    found = {what: [one.model_dump(mode="json") for one in of] for what, of in records.items()}
    return {"issue": issue.model_dump(mode="json"), "names": run.names(name), **found}


def _show(found: dict[str, Any]) -> None:
    issue = found["issue"]
    facts = Table("fact", "value", "told by", box=None)
    for name, value in issue.items():
        if name not in ("origins", "first_at", "seen_at") and value is not None:
            shown = str(decimal(value)) if name in MONEY else str(value)
            facts.add_row(name, escape(shown), issue["origins"].get(name, {}).get("source", ""))
    show_table(facts)
    screen.print("names: " + escape("; ".join(f"{name} ({source})" for source, name in found["names"])), soft_wrap=True)
    for one in found["believed"][-1:]:
        worth = "-" if one["gmp"] is None else str(decimal(one["gmp"]))
        screen.print(f"believed at {india(one['at'])}: {worth}, confidence {one['confidence']:.2f}", soft_wrap=True)
        for said in one["used"]:
            screen.print(
                f"  used {said['reading']['source']}: {decimal(said['reading']['gmp'])}, weight {said['weight']:.2f}"
            )
        for said in one["refused"]:
            screen.print(f"  refused {said['reading']['source']}: {decimal(said['reading']['gmp'])}, {said['why']}")
    for one in found["override"]:
        screen.print(escape(f"set by {one['by']} to {decimal(one['gmp'])}: {one['because']}"), soft_wrap=True)
    told_of = Table("at", "source", "premium", "page", "place", box=None)
    for one in found["premiums"][-LAST:]:
        worth = "no quote" if one["gmp"] is None else str(decimal(one["gmp"]))
        told_of.add_row(india(one["at"]), one["source"], worth, one["page"][:12], escape(one["place"]))
    show_table(told_of)
    newest = {(one["task"], one["model"]): one for one in found["predictions"]}
    for one in newest.values():
        served = ", served" if one["served"] else ""
        screen.print(f"{one['task']} by {one['model']}{served}: {one['predicted_points']:+.1f} points", soft_wrap=True)
    for one in found["outcome"]:
        gains = (
            f"{what} {one[f'{what}_points']:+.1f}" for what in ("open", "close") if one[f"{what}_points"] is not None
        )
        screen.print(f"came, points: {', '.join(gains)}")


def _list(found: list[Entry]) -> Table:
    from pipelines.digests import cells

    table = Table(box=None)
    for title in ("id", "state", *cells(found[0]), "opens", "closes", "lists"):
        table.add_column(title, no_wrap=True)
    for one in found:
        days = (str(day or "-") for day in (one.issue.opens, one.issue.closes, one.issue.lists))
        table.add_row(one.issue.id, one.issue.state.value, *map(escape, cells(one).values()), *days)
    return table


def _queue(found: list[Review]) -> Table:
    table = Table("row", "source", "name", "why", "candidates", "since", box=None)
    for one in found:
        told_of = (one.told.source, escape(one.told.name), one.why, ", ".join(one.candidates), india(one.first_at))
        table.add_row(str(one.number), *told_of)
    return table


def _tables(found: Track) -> list[Table]:
    models = Table("task", "model", "scored", "MAE, points", "GMP alone", "80 % covers", box=None)
    for one in found.accounts:
        coverage = "-" if one.coverage is None else f"{one.coverage:.1%}"
        models.add_row(one.task, one.model, str(one.n), _cell(one.mae), _cell(one.gmp_mae), coverage)
    sources = Table("source", "issues", "MAE, points", "bias, points", "behind, points", box=None)
    for said in found.league:
        sources.add_row(said.source, str(said.n), _cell(said.mae), _cell(said.bias), _cell(said.behind))
    return [table for table in (models, sources) if table.row_count]


def _rupees(given: str) -> Money:
    from market.money import money

    try:
        return money(given)
    except (InvalidOperation, ValueError, OverflowError):
        raise BadValue("--gmp", given[:40], "rupees a share with at most four decimals, for example 12.50") from None


def india(at: int) -> str:
    """An instant, ns UTC, as the clocks of India show it."""
    return f"{instant(at).astimezone(IST):%Y-%m-%d %H:%M}"


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
