"""The commands that train a model and that train one again to see whether the same comes out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from adapters.lake import Lake
from adapters.surveys import without_features
from cluster import features
from cluster.calendars import calendar
from cluster.console import Config, progress, screen, settings_of, show_table, told
from cluster.cores import cores
from cluster.ledger import clock_of
from cluster.revision import revision
from cluster.settings import Settings
from market.errors import BadValue, StoreRefused
from market.features import MEMORY, SET
from market.instruments import Kind
from market.labels import HORIZONS
from market.notices import FIRST
from market.registrations import About, Parameter, version_of
from market.sessions import MINUTE
from pipelines.examples import pinned
from pipelines.reports import COLUMNS, Report, page
from pipelines.training import ENSEMBLE, Rival, Trained, TrainingPlan, check, run

if TYPE_CHECKING:
    from adapters.registry import Registry

DIFFERS = 1
BEFORE = timedelta(days=MEMORY["1d"] * 2)
"""Days of the calendar that hold the sessions a daily feature remembers."""

SETTLES = 10 * MINUTE
"""So long behind its close a session may still be on its way into the lake."""

MEASURE = "mean daily net return"
SHOWN = ("ic", "auc_up", "auc_down", "brier", "brier_base", "trades", "per_trade", "net", "sharpe", "top_decile")

DAY = ["%Y-%m-%d"]
app = typer.Typer()


@app.command()
def train(
    horizon: Annotated[str, typer.Option(help=f"{', '.join(HORIZONS)}.")],
    since: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="The first session.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="The last session, inclusive.")] = None,
    symbols: Annotated[str, typer.Option(help="RELIANCE,NSE:TCS,...; the universe's shares without it.")] = "",
    without: Annotated[str, typer.Option(help="Symbols to leave out, say for a break nobody explained.")] = "",
    members: Annotated[
        str, typer.Option(help="linear, xgboost, lstm, transformer, gnn, heuristic.")
    ] = "linear,xgboost",
    folds: Annotated[int, typer.Option(help="Tests, each on later sessions than it learns from.")] = 5,
    embargo: Annotated[int, typer.Option(help="Sessions left out between parts.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and data: the same model.")] = 7,
    every: Annotated[int, typer.Option(help="Minutes from decision to decision.")] = 5,
    daily: Annotated[bool, typer.Option("--daily", help="Decisions of daily candles, for --horizon 1d.")] = False,
    out: Annotated[Path | None, typer.Option(help="The report as HTML; as JSON beside it.", dir_okay=False)] = None,
    register: Annotated[bool, typer.Option(help="Put the ensemble into the registry.")] = True,
    complete: Annotated[bool, typer.Option("--features", help="First compute what is not there of them.")] = False,
    use: Annotated[int | None, typer.Option("--cores", min=1, help="Of this machine; all without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as a record.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Train an ensemble on the lake, walk-forward, and say what it is worth after costs, beside the baselines.

    No edge is an answer, too: exit code 0. Nothing is promoted here.
    """
    from cluster.databases import registry

    settings = settings_of(config)
    with told():
        if out is not None and not out.absolute().parent.is_dir():
            raise BadValue("--out", str(out), "a file in a folder that is there")
        span = since.date() if since else None, until.date() if until else None
        chosen = tuple(_listed("--members", members))
        given = {"members": chosen, "folds": folds, "embargo": embargo, "seed": seed, "every": every, "daily": daily}
        named = symbols_of(settings, symbols, without)
        if complete and not daily:
            checked(horizon)
            span = span_of(settings, span)
            _completed(settings, named, span, use)
        plan = plan_of(settings, horizon, span, named, given)
        with registry(settings) if register else nullcontext() as to:
            found = _trained(plan, use, None if to is None else rival_of(settings, to, plan))
            kept = _kept(settings, to, plan, found) if to is not None else ""
    if out is not None:
        out.write_text(page(found.report), "utf-8")
        out.with_suffix(".json").write_text(found.report.model_dump_json(indent=2), "utf-8")
    if as_json:
        typer.echo(found.report.model_dump_json(indent=2))
        return
    _say(found.report)
    for line in (kept, "" if out is None else f"report: {out} and {out.with_suffix('.json')}"):
        if line:
            screen.print(line, markup=False, soft_wrap=True)


@app.command()
def reproduce(
    model: Annotated[str, typer.Argument(help="NAME@V, such as direction-15m@3.")],
    use: Annotated[int | None, typer.Option("--cores", min=1, help="Of this machine; all without it.")] = None,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Train a registered version again from what is known of it; exit code 1 when something else comes out."""
    from cluster.databases import registry

    settings = settings_of(config)
    with told():
        name, number = version_of(model)
        with registry(settings) as kept:
            about, files = kept.about(name, number), kept.files(name, number)
        plan = plan_again(settings, about)
        found = _trained(plan, use)
    differences = compared(about, files, found)
    for line in differences:
        screen.print(line, markup=False, soft_wrap=True)
    now = revision()
    if now != about.revision:
        screen.print(f"this code is {now}, and it was trained by {about.revision}", markup=False, soft_wrap=True)
    if differences:
        screen.print(f"{model} differs", markup=False)
        raise typer.Exit(DIFFERS)
    screen.print(f"{model} is equal: {len(files)} files, {len(about.metrics)} metrics", markup=False)


def plan_of(
    settings: Settings,
    horizon: str,
    span: tuple[date | None, date | None],
    symbols: tuple[str, ...],
    given: Mapping[str, object],
    base: Mapping[str, int] | None = None,
) -> TrainingPlan:
    """The plan of a run; without a day, from the lake's first or to its last. Raises BadValue, before anything is read.

    `given`: the plan's own parameters; `base`: of the lake's tables, their newest without it.
    """
    checked(horizon)
    daily = bool(given["daily"])
    if daily and horizon != "1d":
        raise BadValue("--daily", horizon, "days have one horizon: --horizon 1d")
    first, last = span_of(settings, span, "candles" if daily else "features")
    base = base or pinned(Lake(settings.lake), daily)
    sessions = tuple(calendar(settings, max(first - BEFORE, FIRST) if daily else first, last))
    if not any(first <= s.date <= last for s in sessions):
        raise BadValue("--from, --to", f"{first}, {last}", "days with a session between them; see bourse sessions")
    plan = TrainingPlan.model_validate(
        {
            "lake": settings.lake,
            "horizon": horizon,
            "instruments": tuple(settings.instruments()),
            "symbols": symbols,
            "sessions": sessions,
            "first": first,
            "last": last,
            "base": dict(base),
            **given,
        }
    )
    check(plan)
    return plan


def span_of(settings: Settings, span: tuple[date | None, date | None], table: str = "candles") -> tuple[date, date]:
    """A run's first and last session; where none is said the first and the last that a table of the lake has, without
    one that is under way. Raises BadValue.
    """
    lake = Lake(settings.lake)
    if not lake.sessions("candles"):
        raise BadValue("lake", settings.lake, "one with candles: bourse import, bourse backfill")
    held = lake.sessions(table) or lake.sessions("candles")
    if span[1] is None and len(held) > 1 and _under_way(settings, held[-1]):
        held.pop()
    first, last = span[0] or held[0], span[1] or held[-1]
    if first > last:
        raise BadValue("--from", first.isoformat(), f"a day up to {last}")
    return first, last


def checked(horizon: str) -> None:
    """Raises BadValue: nobody trains for it."""
    if horizon not in HORIZONS:
        raise BadValue("--horizon", horizon, f"one of {', '.join(HORIZONS)}")


def symbols_of(settings: Settings, wanted: str, without: str) -> tuple[str, ...]:
    """What `--symbols` and `--without` come to; the universe's shares where nobody is named. Raises BadValue."""
    universe = settings.instruments()
    exchange = next(iter(universe)).exchange

    def whole(name: str) -> str:
        return name if ":" in name else f"{exchange}:{name}"

    named = [whole(name) for name in _listed("--symbols", wanted)] if wanted else []
    if unlisted := [name for name in named if name not in universe]:
        raise BadValue("--symbols", ",".join(unlisted), f"symbols of the universe {settings.universe}")
    named = named or [i.symbol for i in universe if i.kind is Kind.EQUITY]
    gone = {whole(name) for name in _listed("--without", without)} if without else set()
    if strange := sorted(gone - set(named)):
        raise BadValue("--without", ",".join(strange), "symbols that would be learnt from")
    left = tuple(dict.fromkeys(name for name in named if name not in gone))
    if not left:
        raise BadValue("--without", without, "some symbols left to learn from")
    return left


def plan_again(settings: Settings, about: About) -> TrainingPlan:
    """The plan that a registered version was made by. Raises BadValue: it does not say, or the universe is another."""
    said = about.parameters
    try:
        span = date.fromisoformat(str(said["from"])), date.fromisoformat(str(said["to"]))
        given = {name: said[name] for name in ("folds", "embargo", "every", "daily")}
        given |= {"members": tuple(str(said["members"]).split(",")), "seed": about.seed}
        universe = said["universe"]
    except (KeyError, ValueError) as e:
        raise BadValue("parameters", about.name, f"those of a model that bourse train made; {e} is not there") from e
    if universe != _universe(settings):
        raise BadValue("universe", settings.universe, f"that of {about.name}, by whose places it was trained")
    symbols = (*about.symbols, *(s for s in str(said["empty"]).split(",") if s))
    order = {s: k for k, s in enumerate(str(said["asked"]).split(",") if said.get("asked") else symbols)}
    return plan_of(settings, about.horizon, span, tuple(sorted(symbols, key=lambda s: order[s])), given, about.lake)


def about_of(settings: Settings, plan: TrainingPlan, report: Report) -> About:
    """What the registry keeps of a run."""
    mine = report.row(ENSEMBLE)
    scores = {name: _per_day(report, name) for name in (ENSEMBLE, *report.baselines)}
    parameters: dict[str, Parameter] = {
        **report.parameters,
        "universe": _universe(settings),
        "asked": ",".join(plan.symbols),
        "empty": ",".join(report.empty),
        "threshold": "none" if report.threshold is None else report.threshold,
    }
    metrics = {}
    for column in COLUMNS:
        for name, value in zip((column.field, f"{column.field}_deviation"), mine.over_folds(column.field), strict=True):
            if value is not None:
                metrics[name] = value
    return About(
        name=name_of(plan),
        horizon=plan.horizon,
        features=report.features,
        symbols=report.symbols,
        lake=report.lake,
        revision=report.revision,
        parameters=parameters,
        seed=plan.seed,
        measure=MEASURE,
        score=scores[ENSEMBLE],
        baselines={name: scores[name] for name in report.baselines},
        metrics=metrics,
        verdict=report.verdict.outcome.value,
        trained_at=datetime.now(UTC),
    )


def compared(about: About, files: Mapping[str, bytes], found: Trained) -> list[str]:
    """What came out otherwise, a line each; nothing: equal to the byte and the last digit."""
    lines = []
    for name in sorted({*files, *found.files}):
        if name not in files or name not in found.files:
            lines.append(f"{name}: only {'then' if name in files else 'now'}")
        elif files[name] != found.files[name]:
            was, now = (sha256(of[name]).hexdigest()[:16] for of in (files, found.files))
            lines.append(f"{name}: {was} then, {now} now")
    mine = found.report.row(ENSEMBLE)
    now_ = {c.field: mine.over_folds(c.field)[0] for c in COLUMNS}
    for name, now_value in now_.items():
        if about.metrics.get(name) != now_value:
            lines.append(f"{name}: {about.metrics.get(name)} then, {now_value} now")
    if about.verdict != found.report.verdict.outcome.value:
        lines.append(f"verdict: {about.verdict} then, {found.report.verdict.outcome.value} now")
    return lines


def rival_of(settings: Settings, registry: Registry, plan: TrainingPlan) -> Rival | None:
    """The champion of the name that a plan's model will have; None without one. Raises LineDown."""
    name = name_of(plan)
    number = registry.alias(name, "champion")
    if number is None:
        return None
    about = registry.about(name, number)
    said = about.parameters
    strange = ""
    try:
        last = date.fromisoformat(str(said["to"]))
        threshold = None if said["threshold"] == "none" else float(said["threshold"])
        files = registry.files(name, number)
    except (KeyError, ValueError) as e:
        return Rival(number, {}, None, plan.last, f"it is no model that bourse train made; {e} is not there")
    except StoreRefused as e:
        return Rival(number, {}, None, plan.last, str(e))
    if about.features != plan.set:
        strange = f"it knows the features {about.features}, and these are {plan.set}"
    elif said.get("universe") != _universe(settings):
        strange = "it was trained in another universe"
    return Rival(number, files, threshold, last, strange)


def name_of(plan: TrainingPlan) -> str:
    """Under which a plan's model is registered."""
    return f"direction-{plan.horizon}-daily" if plan.daily else f"direction-{plan.horizon}"


def _trained(plan: TrainingPlan, use: int | None, rival: Rival | None = None) -> Trained:
    with progress("train") as (bar, job), cores(use):
        found = run(plan, partial(_shown, bar, job), rival)
    return found._replace(report=found.report.model_copy(update={"revision": revision()}))


def _under_way(settings: Settings, day: date) -> bool:
    """Whether the market's clock stands in a session, or so shortly behind it that the lake does not have all of it."""
    now = clock_of(settings)
    return any(one.open <= now < one.close + SETTLES for one in calendar(settings, day, day))


def _completed(settings: Settings, symbols: tuple[str, ...], span: tuple[date, date], use: int | None) -> None:
    """Compute the features that minutes of these sessions lack; what cannot be, the training refuses by name."""
    lake = Lake(settings.lake)
    lacking = without_features(lake, symbols, span, SET)
    places = {day: place for place, day in enumerate(lake.sessions("candles"))}
    for _, run_ in groupby(enumerate(lacking), lambda one: places[one[1]] - one[0]):
        days = [day for _, day in run_]
        plan = features.plan_of(settings, (days[0], days[-1]), ",".join(symbols))
        with cores(use), progress("features") as (bar, job):
            features.run(plan, partial(_shown, bar, job))


def _shown(bar: Progress, job: TaskID, share: float, text: str) -> None:
    bar.update(job, completed=share, text=text)


def _kept(settings: Settings, registry: Registry, plan: TrainingPlan, found: Trained) -> str:
    about = about_of(settings, plan, found.report).model_copy(update={"rivalry": found.rivalry})
    number = registry.register(about.name, found.files, about)
    said = "" if found.report.verdict.edge else "; it has no edge and will not be promoted"
    return f"registered as {about.name}@{number}{said}"


def _per_day(report: Report, name: str) -> float:
    row = report.row(name)
    return sum(row.curve.daily) / len(row.curve.daily)


def _listed(option: str, text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise BadValue(option, text, "names with commas between")
    return found


def _universe(settings: Settings) -> str:
    """A digest of the universe's symbols and sectors, in their places."""
    told_ = "\n".join(f"{i.symbol} {i.kind} {i.sector}" for i in settings.instruments())
    return sha256(told_.encode()).hexdigest()[:16]


def _say(report: Report) -> None:
    colour = "green" if report.verdict.edge else "red"
    screen.print(f"[bold {colour}]{report.verdict.outcome.value}[/] {escape(report.verdict.reason)}", soft_wrap=True)
    columns = [column for column in COLUMNS if column.field in SHOWN]
    table = Table("", *(column.title for column in columns), box=None, pad_edge=False)
    for row in report.rows:
        name = f"{row.name} *" if row.name in report.baselines else row.name
        table.add_row(escape(name), *(column.mean(row) for column in columns))
    show_table(table)
    versions = ", ".join(f"{name} {version}" for name, version in report.lake.items())
    lines = [
        f"means of {len(report.spans)} folds, their deviations stand in the report; * a baseline",
        f"{report.examples:,} decisions of {len(report.symbols)} symbols, {report.first} to {report.last}; of the "
        f"versions {versions}; seed {report.seed}",
    ]
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)
    if report.empty:
        screen.print(f"nothing in the lake of {', '.join(report.empty)}", markup=False, soft_wrap=True)
