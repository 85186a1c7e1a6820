"""The command `chaos`: one seeded day, or many, each in a process of its own."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from cluster.console import REFUSED, Config, progress, screen, settings_of, told

if TYPE_CHECKING:
    from cluster.chaos.run import Outcome

FAILED = 1

app = typer.Typer()


@app.command()
def chaos(
    seed: Annotated[int, typer.Option(help="What is drawn: the day, and what is done to whom when.", min=0)] = 1,
    seeds: Annotated[int, typer.Option(help="So many runs, with this seed and the ones behind it.", min=1)] = 1,
    minutes: Annotated[float, typer.Option(help="How long the day takes on the clock.", min=0.05, max=375)] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="One object a run.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Replay a made-up day while processes die, owners freeze and stores fail; compare every row with the truth.

    Exit code 0: every row as it must be; 1: there is a difference; 2: a run could not be made or did not end.
    """
    settings = settings_of(config)
    if seeds > 1:
        outcomes = list(_many(range(seed, seed + seeds), minutes, config, quiet=json))
    else:
        from cluster.chaos.run import run

        with told(), progress("chaos") as (shown, task):
            outcomes = [
                run(
                    settings,
                    seed,
                    minutes,
                    lambda done, text: shown.update(task, completed=done, text=text),
                    lambda line: shown.console.print(line, markup=False),
                )
            ]
        if json:
            typer.echo(outcomes[0].model_dump_json())
    if not json:
        summary(outcomes)
    raise typer.Exit(FAILED if any(o.differences for o in outcomes) else 0)


def _many(seeds: Iterable[int], minutes: float, config: Path, *, quiet: bool) -> Iterable[Outcome]:
    """A process each: Ray takes its settings once in a process."""
    from cluster.chaos.run import Outcome

    code = "from cluster.main import app; app()"
    for seed in seeds:
        words = ["chaos", "--seed", str(seed), "--minutes", str(minutes), "--json", "--config", str(config)]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)  # noqa: S603
        try:
            outcome = Outcome.model_validate_json(done.stdout.strip().rpartition("\n")[2])
        except ValidationError:
            typer.echo(f"seed {seed}: {done.stderr.strip() or done.stdout.strip()}", err=True)
            raise typer.Exit(REFUSED) from None
        if quiet:
            typer.echo(outcome.model_dump_json())
        else:
            said = "; ".join(outcome.differences) or "equal"
            faults, rows = sum(outcome.faults.values()), sum(outcome.rows.values())
            screen.print(f"seed {seed}: {faults} faults, {rows:,} rows, {outcome.seconds:.0f} s: {said}", markup=False)
        yield outcome


def summary(outcomes: Sequence[Outcome]) -> None:
    """What all runs together came to, as tables."""
    faults, back = Table("fault", "times", box=None), Table("killed", "times", "median s", "worst s", box=None)
    for kind in sorted({k for o in outcomes for k in o.faults}):
        faults.add_row(kind, str(sum(o.faults.get(kind, 0) for o in outcomes)))
    for victim in sorted({v for o in outcomes for v in o.recoveries}):
        seconds = [s for o in outcomes for s in o.recoveries.get(victim, ())]
        back.add_row(victim, str(len(seconds)), f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}")
    screen.print(faults)
    screen.print("\nFrom the kill to the next candle in the lake:")
    screen.print(back)
    for outcome in outcomes:
        for line in outcome.differences:
            screen.print(f"seed {outcome.seed}: {line}", markup=False)
    rows = ", ".join(f"{sum(o.rows.get(t, 0) for o in outcomes):,} {t}" for t in ("candles", "ticks"))
    wrong = sum(bool(o.differences) for o in outcomes)
    injected = sum(sum(o.faults.values()) for o in outcomes)
    screen.print(f"\n{len(outcomes)} runs, {injected} faults, {rows} compared; {wrong} runs differ", soft_wrap=True)
