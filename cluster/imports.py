"""Imports: from what a command line says of files to what an import is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import typer

from adapters.imports import Tally, total
from adapters.series import SeriesForm
from adapters.sheets import Sheet, opened, surveyed, zone_named
from cluster.calendars import calendar
from cluster.console import progress
from cluster.cores import cores
from cluster.settings import Settings
from market.errors import BadValue
from market.holidays import INDIA
from market.imports import Asked, Form, missing, recognised, symbol_of, understood
from market.notices import FIRST, LAST
from market.series import named, rule
from market.sessions import ZONES, ExchangeName, instant
from pipelines.imports import ImportPlan, SeriesPlan, run, run_series

SPREAD_BYTES = 256 << 20
"""From here on reading is shared by the cores: starting Ray takes as long as reading so much."""

AHEAD = timedelta(days=45)
LETTERS = "of letters, digits, & - _ . and blanks between"


def candles(settings: Settings, files: Sequence[Path], asked: Asked, again: bool) -> Tally:
    """Import candles; says how each file is read, and shows a bar. Raises as `pipelines.imports.run`."""
    now = time.time_ns()
    forms: dict[str, tuple[Form, list[Path]]] = {}
    for path in files:
        form = _form(opened(path), asked)
        forms.setdefault(form.model_dump_json(), (form, []))[1].append(path)
    known = tables(settings, asked.exchange, instant(now).date() + timedelta(days=1))
    spread = sum(path.stat().st_size for path in files) >= SPREAD_BYTES
    tallies = []
    with cores() if spread else nullcontext(), progress("import") as (bar, task):
        for k, (form, paths) in enumerate(forms.values()):
            plan = ImportPlan(
                lake=settings.lake, files=tuple(paths), form=form, tables=known, now=now, spread=spread, again=again
            )

            def tell(share: float, text: str, k: int = k) -> None:
                bar.update(task, completed=(k + share) / len(forms), text=text)

            tallies.append(run(plan, tell))
    return total(tallies)


def series(settings: Settings, files: Sequence[Path], form: SeriesForm, home: ExchangeName) -> Tally:
    """Import series. Raises as `pipelines.imports.run_series`."""
    now = time.time_ns()
    days = calendar(settings, FIRST, min(instant(now).date() + AHEAD, LAST), home)
    plan = SeriesPlan(lake=settings.lake, files=tuple(files), form=form, sessions=tuple(days), now=now)
    with progress("import") as (bar, task):
        return run_series(plan, lambda share, text: bar.update(task, completed=share, text=text))


def asked_of(**words: Any) -> Asked:
    """What a command line says of candles, each word None where it does not. Raises BadValue."""
    for name, allowed in (("interval", ("1m", "1d")), ("label", ("start", "end"))):
        if words[name] not in (None, *allowed):
            raise BadValue(f"--{name}", words[name], " or ".join(allowed))
    if words["zone"]:
        words["zone"] = zone_named(words["zone"])
    if words["symbol"]:
        found = symbol_of(words["symbol"], words["exchange"], {})
        if found is None:
            raise BadValue("--symbol", words["symbol"], f"EXCHANGE:NAME, or a name alone, {LETTERS}")
        words["symbol"] = found
    for theirs, ours in words.get("renames", {}).items():
        if symbol_of(ours, words["exchange"], {}) is None:
            raise BadValue("--rename", f"{theirs}={ours}", f"FILE'S=OURS, ours {LETTERS}")
    return Asked(**words)


def series_form(
    file: Path, series: str, known: str, given: Mapping[str, str], zone: str, time_format: str | None
) -> SeriesForm:
    """How a file of series is read. Raises BadValue."""
    sheet, columns, when = opened(file), named(series), rule(known)
    wanted = [*columns.values(), *([when.column] if when.column else [])]
    strange = [name for name in wanted if name not in sheet.columns]
    if strange:
        raise BadValue("--series", strange[0], f"a column of {sheet.path.name}: {', '.join(sheet.columns)}")
    time_column = recognised([c for c in sheet.columns if c not in wanted], given).get("time")
    if time_column is None:
        raise BadValue("columns", ", ".join(sheet.columns), "one with the time: say --columns time=NAME")
    return SeriesForm(series=columns, known=when, time=time_column, zone=zone_named(zone), time_format=time_format)


def tables(settings: Settings, exchange: str, until: date) -> dict[str, list[list[int]]]:
    """The sessions of an exchange, and of those that trade with it, as far back as anything is known."""
    names = INDIA if exchange in INDIA else tuple(name for name in ZONES if name not in INDIA)
    return {name: calendar(settings, FIRST, until, name).table().tolist() for name in names}


def pairs(option: str, text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping. Raises BadValue."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not name or not value:
            raise BadValue(option, part, "NAME=NAME with commas between")
        found[name] = value
    return found


def _form(sheet: Sheet, asked: Asked) -> Form:
    """How a file is read, said before it is; what only a person can know is asked for on a terminal."""
    columns = recognised(sheet.columns, asked.columns)
    if asked.symbol and "symbol" not in asked.columns:
        columns.pop("symbol", None)
    lacking = missing(columns, asked.symbol)
    if lacking and not sys.stdin.isatty():
        wanted = " ".join(f"--columns {name}=NAME" for name in lacking[:1])
        more = " (or --symbol NSE:NAME)" if "symbol" in lacking else ""
        raise BadValue("columns", ", ".join(sheet.columns), f"one for each of {', '.join(lacking)}: say {wanted}{more}")
    for name in lacking:
        asked_for = f"{sheet.path.name}: which column is {name}? ({', '.join(sheet.columns)})"
        columns = recognised(sheet.columns, {**columns, name: typer.prompt(asked_for)})
    form = understood(asked, columns, surveyed(sheet, columns, asked.exchange, asked.time_format))
    by = ", ".join(f"{ours} is {theirs}" for ours, theirs in form.columns.items())
    edge = f", named by the {form.label} of the minute" if form.interval == "1m" else ""
    typer.echo(f"{sheet.path.name}: candles of {form.interval}{edge}; {by}", err=True)
    return form
