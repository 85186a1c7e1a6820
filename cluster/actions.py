"""The commands about corporate actions: take them in, show them, look for what they miss, and overrule them."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from adapters import actions as kept
from adapters.lake import Lake
from cluster.console import Config, refuse, screen, settings_of, told
from cluster.settings import Settings
from market.actions import OPERATOR, SHARES, Action, Actions
from market.adjustment import factors
from market.breaks import Break
from market.declarations import FIRST, declared, instant_of, symbol_of
from market.errors import BourseError, UnknownSymbol
from market.sessions import IST, instant

FAILED = 1
USUAL = Fraction(20)
"""A price factor above it, or below one over it, is as a rule a slip of the pen."""

SHOWN = 10
"""Rows that could not be read, named on the screen."""

app = typer.Typer(help="Corporate actions: splits, bonuses, dividends, renames, demergers.", no_args_is_help=True)

AsOf = Annotated[str | None, typer.Option("--as-of", help="As known then: a date, or a time with its zone; now.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as JSON.")]


@app.command("import")
def take(
    files: Annotated[list[Path], typer.Argument(help="CSV, parquet or JSON, see docs/operators.md.")],
    source: Annotated[str, typer.Option(help="Who says so, where the file does not.")] = "",
    exchange: Annotated[str, typer.Option(help="Of symbols that name none.")] = "NSE",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Take corporate actions into the lake. What is there already is not taken again; exit code 1 if a file is bad."""
    settings, failed = settings_of(config), False
    if source.lower() == OPERATOR:
        refuse(f"--source {source}: an operator says so with bourse actions set, a name and a reason")
    lake, known = Lake(settings.lake), {i.symbol for i in settings.instruments()}
    for file in files:
        try:
            found = kept.opened(file, _now(), source.lower(), exchange)
            new = kept.add(lake, found.actions)
        except BourseError as e:
            failed = True
            typer.echo(f"{file.name}: {e}" if file.name not in str(e) else str(e), err=True)
            continue
        strange = {a.symbol for a in found.actions} - known
        said = (
            f"{file.name}: {len(found.actions)} actions, {len(new)} of them new, {found.idle} rows that move no price"
        )
        screen.print(f"{said}, {len(strange)} symbols outside the universe", markup=False, soft_wrap=True)
        for line in found.unread[:SHOWN]:
            screen.print(f"  not read: {line}", markup=False, soft_wrap=True)
        if len(found.unread) > SHOWN:
            screen.print(f"  not read: {len(found.unread) - SHOWN} more", markup=False)
    raise typer.Exit(FAILED if failed else 0)


@app.command()
def show(
    symbol: Annotated[str, typer.Argument(help="NSE:INFY or INFY; a name it had before, too.")],
    as_of: AsOf = None,
    everything: Annotated[bool, typer.Option("--all", help="All that was ever told, not what counts alone.")] = False,
    as_json: AsJson = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """A share's corporate actions, and the factor on the prices before each."""
    settings = settings_of(config)
    with told():
        at, actions = _moment(as_of), kept.known(Lake(settings.lake))
        share = _share(settings, actions, symbol, at)
        found = actions.of(share, at)
        names = set(actions.names.called(share))
        rows = [a for a in actions.records if a.symbol in names] if everything else found
        of = factors(actions, share, at)
    before = dict(zip(of.days.tolist(), of.price.tolist(), strict=False))
    if as_json:
        listed = [{**a.model_dump(mode="json", exclude={"known", "recorded"}), **_moments(a)} for a in rows]
        typer.echo(json.dumps({"symbol": share, "as_of": instant(at).isoformat(), "actions": listed}, indent=2))
        return
    table = Table("ex-date", "action", "price before", "known", "source", "why", box=None, pad_edge=False)
    for action in rows:
        factor = before.get(action.ex_date.toordinal() - date(1970, 1, 1).toordinal())
        times = f"x {factor:.6g}" if factor is not None and action.factor is not None and not everything else ""
        who = f"{action.source} {action.by}".strip()
        words = [str(action.ex_date), action.words(), times, _india(action.known), who, action.reason]
        table.add_row(*(escape(word) for word in words))
    screen.print(table)
    screen.print(f"{len(rows)} actions of {share} as known at {_india(at)} in India", markup=False)


@app.command()
def audit(
    symbols: Annotated[str, typer.Option(help="Names with commas between; all of the lake without it.")] = "",
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day; 1990 without it.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day; today without it.")
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """The days on which a share opened outside 0.72 to 1.4 of its last close and no action explains it; exit code 1."""
    settings = settings_of(config)
    with told():
        at, lake = _moment(as_of), Lake(settings.lake)
        span = (since.date() if since else FIRST, until.date() if until else date.today())
        if span[0] > span[1]:
            refuse(f"--from {span[0]} is after --to {span[1]}")
        actions = kept.known(lake)
        wanted = [_share(settings, actions, s, at) for s in symbols.split(",") if s.strip()] or None
        rows = kept.daily(lake, actions, wanted, span)
        found = kept.audit(rows, actions, at)
    shares = len(set(rows["symbol"].to_pylist()))
    if as_json:
        listed = [b.model_dump(mode="json") for b in found]
        typer.echo(json.dumps({"shares": shares, "rows": rows.num_rows, "breaks": listed}, indent=2))
    else:
        screen.print(_breaks_table(found)) if found else None
        screen.print(
            f"{len(found)} unexplained breaks in {rows.num_rows} daily candles of {shares} shares", markup=False
        )
    raise typer.Exit(FAILED if found else 0)


@app.command("set")
def overrule(
    symbol: Annotated[str, typer.Argument(help="The share, by its name on that day.")],
    kind: Annotated[str, typer.Argument(help="split, bonus, dividend, rename, demerger or rights.")],
    ex_date: Annotated[str, typer.Argument(help="The first day without.")],
    value: Annotated[str, typer.Argument(help="10 or 5/2; 1:1; rupees; the new symbol; open/close; or none.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    by: Annotated[str, typer.Option(help="Who says so; the user's name without it.")] = "",
    known: Annotated[str, typer.Option(help="Since when one could know; a past ex-date's midnight, else now.")] = "",
    isin: Annotated[str, typer.Option(help="The share's ISIN.")] = "",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Say what happened, against all sources: on that ex-date a share's splits and bonuses are then yours alone."""
    settings = settings_of(config)
    if not reason.strip():
        refuse("--reason: say why; it is kept with your name")
    with told():
        lake, now = Lake(settings.lake), _now()
        words = {"symbol": symbol, "kind": kind, "ex_date": ex_date, "value": value, "known": known, "isin": isin}
        action = declared("set", {**words, "reason": reason}, now, OPERATOR, by.strip() or _user())
        before = kept.known(lake)
        _listed(settings, lake, before, action)
        new = kept.add(lake, [action])
        after = kept.known(lake)
    if not new:
        screen.print("nothing new: that is what was said already", markup=False)
    share = after.names.present(action.symbol, action.ex_date)
    for name, actions in (("was", before), ("is", after)):
        screen.print(f"{name:>4}: {_of_day(actions, share, action.ex_date, now)}", markup=False, soft_wrap=True)
    if action.factor is not None and not 1 / USUAL <= action.factor <= USUAL:
        screen.print(
            f"      a factor of {action.factor} is outside 1/{USUAL} to {USUAL}: if that is a slip, set it again",
            markup=False,
            soft_wrap=True,
        )
    lost = [a for a in _on(before, share, action.ex_date, now) if a.kind in SHARES and a.source != OPERATOR]
    if new and action.kind in SHARES and len(lost) > 0 and not action.void:
        gone = " and ".join(f"{a.words()} of {a.source}" for a in lost)
        screen.print(f"      in place of {gone}: set what of it still holds, too", markup=False, soft_wrap=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        refuse("--by: say who says so; this machine does not know your name")


def _of_day(actions: Actions, share: str, day: date, now: int) -> str:
    found = _on(actions, share, day, now)
    factor = Fraction(1)
    for action in found:
        factor *= action.factor or 1
    listed = ", ".join(f"{a.words()} ({a.source})" for a in found) or "nothing"
    return f"{share} on {day}: {listed}; prices before it x {factor}"


def _on(actions: Actions, share: str, day: date, now: int) -> list[Action]:
    return [a for a in actions.of(share, now) if a.ex_date == day]


def _listed(settings: Settings, lake: Lake, actions: Actions, action: Action) -> None:
    """A name nobody ever heard of is a slip of the pen."""
    heard = {i.symbol for i in settings.instruments()} | {s for a in actions.records for s in (a.symbol, a.to) if s}
    if heard & {action.symbol, action.to}:
        return
    if lake.read_candles([action.symbol], "1d", FIRST, date.today()).num_rows:
        return
    raise UnknownSymbol("symbol", action.symbol, "a symbol of the universe, or one with candles or actions in the lake")


def _share(settings: Settings, actions: Actions, written: str, as_of: int) -> str:
    """The present symbol of a share by any name it had. Raises UnknownSymbol, BadValue."""
    names, universe = actions.names, settings.instruments()
    symbol = symbol_of("symbol", written)
    if symbol in universe:
        return symbol
    share = names.latest(symbol)
    if share in universe or share in actions.symbols(as_of):
        return share
    return universe.find(written).symbol


def _breaks_table(found: Iterable[Break]) -> Table:
    table = Table("share", "day", "raw", "adjusted", "in force", box=None, pad_edge=False)
    table.add_column("what would explain it", overflow="fold")
    for one in found:
        words = (one.symbol, str(one.session), f"{one.raw:.4g}", f"{one.adjusted:.4g}", ", ".join(one.told))
        table.add_row(*(escape(word) for word in (*words, one.suggestion)))
    return table


def _moment(written: str | None) -> int:
    return _now() if written is None else instant_of("--as-of", written)


def _moments(action: Action) -> dict[str, Any]:
    return {name: instant(getattr(action, name)).isoformat() for name in ("known", "recorded")}


def _now() -> int:
    """To the microsecond, as the lake keeps it."""
    return time.time_ns() // 1000 * 1000


def _india(at: int) -> str:
    return f"{instant(at).astimezone(IST):%Y-%m-%d %H:%M}"
