"""The command of the timetable that trains again: what it makes is a challenger, which only the rule may promote.

A challenger shadows the champion until it has been scored live for `LEAST_SESSIONS` sessions. Then, at the next run, it
takes the champion's place if the rule of the registry lets it (`market.registrations.objection`) and if its predictions
live were no worse, by their Brier score over the same minutes. After that, a new challenger is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.console import Config, screen, settings_of, told
from cluster.ledger import clock_of
from cluster.settings import Settings
from market.errors import BadValue
from market.labels import HORIZONS
from market.outcomes import Performance
from market.registrations import NotPromoted
from market.sessions import IST, instant

if TYPE_CHECKING:
    from adapters.registry import Registry

LEAST_SESSIONS = 5
PATIENCE = timedelta(days=28)
"""A challenger that was not scored often enough after so long, as one that cannot be used, holds up no training."""

SHADOWED = timedelta(days=60)
LEARNED = timedelta(days=365)
"""What is trained on: as far back as this."""
FAILED = 1
app = typer.Typer()


@app.command()
def retrain(
    horizons: Annotated[str, typer.Option(help="With commas between; without it that of the signals.")] = "",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Promote each horizon's challenger if the rule lets it and it was no worse live, then train a new one.

    One that has not been scored long enough stays, and no other is trained. No edge is an answer, too: such a model is
    registered and never a challenger. Exit code 1 when a training failed.
    """
    from cluster.databases import registry
    from cluster.training import train

    settings = settings_of(config)
    failed = False
    with told():
        wanted = [h.strip() for h in horizons.split(",") if h.strip()] or [settings.signals.horizon]
        for horizon in wanted:
            if horizon not in HORIZONS:
                raise BadValue("--horizons", horizon, f"one of {', '.join(HORIZONS)}")
    for horizon in wanted:
        with told(), registry(settings) as found:
            today = instant(clock_of(settings)).astimezone(IST).date()
            said, waits = promoted(
                found, f"direction-{horizon}", partial(live, settings, horizon, today), datetime.now(UTC)
            )
        screen.print(said, markup=False, soft_wrap=True)
        if waits:
            continue
        first = datetime.combine(today - LEARNED, datetime.min.time())
        try:
            train(horizon=horizon, since=first, complete=True, config=config)
        except typer.Exit as e:
            failed = failed or e.exit_code != 0
    raise typer.Exit(FAILED if failed else 0)


Live = dict[str, tuple[Performance, int]]
"""How good each version was, and in how many sessions."""


def promoted(registry: Registry, name: str, live: Callable[[str], Live], now: datetime) -> tuple[str, bool]:
    """What became of a name's challenger, in words, and whether it still waits to be judged. `live`: how good versions
    were where the one it is asked about was scored. One that nobody asked for `PATIENCE` waits no longer.
    """
    challenger, champion = registry.alias(name, "challenger"), registry.alias(name, "champion")
    if challenger is None or challenger == champion:
        return f"{name}: no challenger", False
    title = f"{name}@{challenger}"
    performances = live(title)
    mine = performances.get(title)
    if mine is None or mine[1] < LEAST_SESSIONS:
        seen = f"scored live in {mine[1] if mine else 0} sessions"
        registered = next(one.registered_at for one in registry.versions(name) if one.version == challenger)
        if now - registered > PATIENCE:
            return (
                f"{title} is not promoted: in {(now - registered).days} days it was {seen}; see bourse predictor",
                False,
            )
        return f"{title} waits: it was {seen}, and {LEAST_SESSIONS} are asked for", True
    reason = held_back(mine[0], performances[f"{name}@{champion}"][0] if f"{name}@{champion}" in performances else None)
    if reason is not None:
        return f"{title} is not promoted: {reason}", False
    found = registry.promote(name, challenger, by="rule")
    if isinstance(found, NotPromoted):
        return f"{title} is not promoted: {found.reason}", False
    return f"{title} is the champion: {found.because}", False


def held_back(challenger: Performance, champion: Performance | None) -> str | None:
    """Why a challenger may not be promoted by what it did live; None: it may."""
    mine, theirs = challenger.brier, champion.brier if champion else None
    if mine is None:
        return "none of its predictions has an outcome"
    if theirs is not None and mine > theirs:
        return f"its Brier score live, {mine:.4f}, is above the champion's, {theirs:.4f}"
    return None


def live(settings: Settings, horizon: str, today: date, title: str) -> Live:
    """How good each version was of late, in the minutes in which one of them was scored."""
    import numpy as np

    from adapters.lake import Lake
    from adapters.outcomes import read_outcomes
    from market.outcomes import performance, tally, total

    lake, tallies = Lake(settings.lake), {}
    for day in (today - timedelta(days=k) for k in range(SHADOWED.days, -1, -1)):  # one in memory at a time
        rows = read_outcomes(lake, day, day, horizon=horizon)
        rows = rows[np.isin(rows["at"], rows["at"][rows["version"] == title.encode()])]
        for version in np.unique(rows["version"]):
            tallies.setdefault(version.decode(), []).append(tally(rows[rows["version"] == version]))
    return {
        version: (performance(total(np.concatenate(some)), version, horizon), len(some))
        for version, some in tallies.items()
    }
