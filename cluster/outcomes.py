"""The command that scores predictions whose horizon is over, and says how good each version was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cluster.console import Config, screen, settings_of, show_table, told
from cluster.settings import Settings
from market.errors import BadValue, BourseError
from market.labels import HORIZONS
from market.outcomes import Performance

if TYPE_CHECKING:
    import pyarrow as pa

    from market.drift import Drift
    from pipelines.outcomes import Scored, Trained

DAY = ["%Y-%m-%d"]
JUDGED_SECONDS = 14 * 86_400.0
"""So long a judgement counts if no other follows."""
SHOWN = timedelta(days=30)
BACK = timedelta(days=7)
"""So far before a session a run looks for predictions that are not scored yet: of 1d, and late ones."""

AHEAD = timedelta(days=15)
app = typer.Typer()


@app.command()
def outcomes(
    model: Annotated[str, typer.Option(help="direction-15m, or one version, direction-15m@3; all without it.")] = "",
    horizon: Annotated[str, typer.Option(help=f"{', '.join(HORIZONS)}; all without it.")] = "",
    since: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="The first session.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="The last session, inclusive.")] = None,
    score: Annotated[bool, typer.Option("--score", help="First score what is due, and look for drift.")] = False,
    session: Annotated[datetime | None, typer.Option(formats=DAY, help="Of --score; without it the newest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The records themselves.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Say how good the predictions were that were made live: hits, calibration, interval, net return, by version.

    Without days: the last thirty. Each prediction is scored once, when its horizon is over.
    """
    from adapters.lake import Lake
    from adapters.outcomes import Tallied
    from cluster.ledger import clock_of
    from market.sessions import IST, instant, within_years

    settings = settings_of(config)
    with told():
        if horizon and horizon not in HORIZONS:
            raise BadValue("--horizon", horizon, f"one of {', '.join(HORIZONS)}")
        now = clock_of(settings)
        day = within_years("--session", session.date()) if session else instant(now).astimezone(IST).date()
        if score:
            done, drifted = scored(settings, day, now)
            _say(done, drifted, quiet=as_json)
        last = within_years("--to", until.date()) if until else day
        first = within_years("--from", since.date()) if since else last - SHOWN
        if first > last:
            raise BadValue("--from", first.isoformat(), f"a day up to {last}")
        tallied = Tallied(Lake(settings.lake))
        found = tallied.performances(first, last, horizon=horizon or None, version=model or None)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif not found:
        line = f"no prediction{f' of {model}' if model else ''} from {first} to {last} has been scored"
        line += "" if model else ": bourse outcomes --score"
        screen.print(line, markup=False, soft_wrap=True)
    else:
        show_table(_table(found))


def scored(settings: Settings, day: date, now: int) -> tuple[Scored, list[Drift]]:
    """Score what is due up to a session, look for drift, tell the operator of it once. Raises LineDown, BadValue."""
    from adapters.lake import Lake
    from cluster.calendars import calendar
    from market.features import NAMES, SET
    from pipelines.outcomes import OutcomesPlan, drifts, run

    sessions = tuple(calendar(settings, day - BACK, day + AHEAD))
    shares = tuple(i.symbol for i in settings.instruments() if i.traded)
    plan = OutcomesPlan(lake=settings.lake, sessions=sessions, first=day - BACK, last=day, now=now, symbols=shares)
    done = run(plan, _shadows(settings))
    found = drifts(Lake(settings.lake), day, _trained(settings, day), (NAMES, SET), shares)
    close = next((s.close for s in sessions if s.date == day), now)
    _tell(settings, found, close)
    _judge(settings, day, found)
    return done, found


def _shadows(settings: Settings) -> pa.Table | None:
    """What the bus holds of challengers; where no bus answers only what was served is scored, and that is said."""
    from adapters.bus import Bus
    from adapters.shadows import shadows
    from cluster.repairs import stores_of

    try:
        found, bad = shadows(Bus(stores_of(settings).bus), [i.symbol for i in settings.instruments()])
    except BourseError as e:
        typer.echo(f"without what challengers said unseen: {e}", err=True)
        return None
    if bad:
        typer.echo(f"{bad} entries of challengers could not be read", err=True)
    return found


def _trained(settings: Settings, day: date) -> Mapping[str, Trained]:
    """What is known of the versions that predicted of late; nothing of those that are not in the registry."""
    from adapters.lake import Lake
    from adapters.outcomes import Tallied
    from cluster.databases import registry
    from market.drift import FILE, Distribution
    from market.registrations import VERSION, version_of
    from pipelines.outcomes import SPAN

    predicted = Tallied(Lake(settings.lake)).performances(day - SPAN, day)
    versions = sorted({one.version for one in predicted if VERSION.fullmatch(one.version)})
    found: dict[str, Trained] = {}
    if not versions:
        return found
    try:
        with registry(settings) as known:
            for version in versions:
                files, about = known.files(*version_of(version)), known.about(*version_of(version))
                trained = Distribution.read(files[FILE]) if FILE in files else None
                found[version] = trained, about.metrics.get("calibration_error")
    except BourseError as e:
        left = ", ".join(version for version in versions if version not in found)
        typer.echo(f"not looked at for drift: {left}: {e}", err=True)
    return found


def _tell(settings: Settings, found: list[Drift], at: int) -> None:
    """One alert when a version begins to drift, one when that is over."""
    from adapters.alerts import Alerts
    from adapters.bus import Bus
    from cluster.repairs import stores_of
    from market.alerts import still_open

    if not found:
        return
    alerts = Alerts(Bus(stores_of(settings).bus))
    known = {alert.topic for alert in still_open(alerts.recent())}
    for alert in (one.alert(at) for one in found):
        if (alert.topic in known) == alert.over:
            alerts.tell(alert)


def _judge(settings: Settings, day: date, found: list[Drift]) -> None:
    """Leave what counts of each version where the predictor looks: how much weight it has, and how good it was."""
    from adapters.lake import Lake
    from adapters.outcomes import Tallied
    from adapters.readmodel import JUDGEMENTS, ReadModel
    from cluster.repairs import stores_of
    from pipelines.outcomes import SPAN

    weights = {one.version: one.weight for one in found}
    told: dict[str, dict[str, float]] = {}
    for one in Tallied(Lake(settings.lake)).performances(day - SPAN, day):
        figures = one.model_dump(include={"hit_rate", "brier", "calibration_error", "scored"})
        figures |= {"net": one.net_total, "weight": weights.get(one.version, 1.0)}
        told[f"{one.version} {one.horizon}"] = {k: v for k, v in figures.items() if v is not None}
    model = ReadModel(stores_of(settings).cache)
    try:
        model.put(JUDGEMENTS, told, JUDGED_SECONDS)
    except BourseError as e:
        typer.echo(f"the predictor does not hear of it: {e}", err=True)
    finally:
        model.close()


def _say(done: Scored, drifted: list[Drift], *, quiet: bool) -> None:
    line = f"{done.scored} predictions scored, {done.unscored} without an outcome, {done.waiting} not over yet"
    if done.again:
        line = "another run was quicker: its outcomes stand"
    if not quiet:
        screen.print(line, markup=False)
    for one in drifted:
        if one.drifted and not quiet:
            screen.print(f"{one.alert(0).text}; it counts {one.weight:g}", markup=False, soft_wrap=True)


def _table(found: list[Performance]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("version", overflow="fold")
    for title in ("over", "scored", "hits", "Brier", "calib.", "within", "trades", "net each"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        table.add_row(
            one.version or "-",
            one.horizon,
            f"{one.scored:,}",
            _percent(one.hit_rate),
            *("-" if value is None else f"{value:.3f}" for value in (one.brier, one.calibration_error)),
            _percent(one.coverage),
            f"{one.trades:,}",
            "-" if one.net_mean is None else f"{one.net_mean:+.3%}",
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
