"""The command of the timetable that trains again: what it makes is a challenger, which only the rule may promote.

A challenger shadows the champion until it has been scored live for `LEAST_SESSIONS` sessions. Then, at the next run, it
takes the champion's place if the rule of the registry lets it (`market.registrations.objection`) and if its predictions
live were no worse, by their Brier score. After that, a new challenger is trained.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.console import Config, screen, settings_of, told
from cluster.settings import Settings
from market.errors import BadValue
from market.labels import HORIZONS
from market.outcomes import Performance
from market.registrations import NotPromoted
from market.sessions import DAY

if TYPE_CHECKING:
    from adapters.registry import Registry

LEAST_SESSIONS = 5
SHADOWED = timedelta(days=60)
FAILED = 1
app = typer.Typer()


@app.command()
def retrain(
    horizons: Annotated[str, typer.Option(help="With commas between; without it that of the signals.")] = "",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Promote each horizon's challenger if the rule lets it and it was no worse live, then train a new one.

    Exit code 1 when a training failed. No edge is an answer, too: such a model is registered and never a challenger.
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
            said = promoted(found, f"direction-{horizon}", live(settings, horizon))
        screen.print(said, markup=False, soft_wrap=True)
        try:
            train(horizon=horizon, config=config)
        except typer.Exit as e:
            failed = failed or e.exit_code != 0
    raise typer.Exit(FAILED if failed else 0)


def promoted(registry: Registry, name: str, performances: dict[str, tuple[Performance, int]]) -> str:
    """What became of a name's challenger, in words. `performances`: by version, with the sessions they are of."""
    challenger, champion = registry.alias(name, "challenger"), registry.alias(name, "champion")
    if challenger is None or challenger == champion:
        return f"{name}: no challenger"
    title = f"{name}@{challenger}"
    reason = held_back(performances.get(title), performances.get(f"{name}@{champion}"))
    if reason is not None:
        return f"{title} stays the challenger: {reason}"
    found = registry.promote(name, challenger, by="rule")
    if isinstance(found, NotPromoted):
        return f"{title} stays the challenger: {found.reason}"
    return f"{title} is the champion: {found.because}"


def held_back(challenger: tuple[Performance, int] | None, champion: tuple[Performance, int] | None) -> str | None:
    """Why a challenger may not be promoted by what it did live; None: it may."""
    sessions = challenger[1] if challenger else 0
    if challenger is None or sessions < LEAST_SESSIONS:
        return f"it was scored live in {sessions} sessions, and {LEAST_SESSIONS} are asked for"
    mine, theirs = challenger[0].brier, champion[0].brier if champion else None
    if mine is None:
        return "none of its predictions has an outcome"
    if theirs is not None and mine > theirs:
        return f"its Brier score live, {mine:.4f}, is above the champion's, {theirs:.4f}"
    return None


def live(settings: Settings, horizon: str) -> dict[str, tuple[Performance, int]]:
    """How good each version was live of late, and in how many sessions."""
    import numpy as np

    from adapters.lake import Lake
    from adapters.outcomes import read_outcomes
    from market.outcomes import performances

    today = date.today()
    rows = read_outcomes(Lake(settings.lake), today - SHADOWED, today, horizon=horizon)
    days = {v.decode(): len(np.unique(rows["at"][rows["version"] == v] // DAY)) for v in np.unique(rows["version"])}
    return {one.version: (one, days[one.version]) for one in performances(rows)}
