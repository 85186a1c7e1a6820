"""The command line, `bourse`. Each command reads the one config first; a fault there is one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic import SecretStr
from rich.markup import escape
from rich.table import Table

from adapters.redis_line import without_password
from cluster import (
    actions,
    daily,
    days,
    engines,
    features,
    feeding,
    importing,
    indicators,
    ipo_desk,
    lakes,
    ledger,
    models,
    outcomes,
    predicting,
    retraining,
    running,
    tending,
    training,
    users,
)
from cluster.chaos import command
from cluster.console import Config, screen, settings_of
from cluster.running import who_may
from cluster.settings import Settings
from market.failover import order

app = typer.Typer(
    name="bourse",
    help="A market platform for Indian equities on one Ray cluster, out of one file: cluster.yaml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(running.app)
app.add_typer(daily.app)
app.add_typer(days.app)
app.add_typer(command.app)
app.add_typer(feeding.app, name="feed")
app.add_typer(tending.app)
app.add_typer(ledger.app)
app.add_typer(outcomes.app)
app.add_typer(retraining.app)
app.add_typer(importing.app)
app.add_typer(actions.app, name="actions")
app.add_typer(engines.app, name="engines")
app.add_typer(indicators.app)
app.add_typer(features.app)
app.add_typer(training.app)
app.add_typer(lakes.app)
app.add_typer(predicting.app)
app.add_typer(models.app)
app.add_typer(lakes.lake, name="lake")
app.add_typer(users.app, name="user")
app.add_typer(ipo_desk.ipo, name="ipo")


@app.callback()
def bourse() -> None:
    """Keeps the commands named, however few there are."""


@app.command()
def check(config: Config = Path("cluster.yaml")) -> None:
    """Say what the config comes to and where each store is; ask Ray whether it takes the file."""
    settings = settings_of(config, with_ray=True)
    for name, value in resolved(settings):
        screen.print(f"[dim]{name:<28}[/dim] {escape(value)}", soft_wrap=True)


@app.command()
def doctor(config: Config = Path("cluster.yaml")) -> None:
    """Say what is wrong with this machine and what to do; exit code 1 when Bourse cannot run on it."""
    from cluster.doctor import findings

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("", "", box=None, pad_edge=False)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    settings, worst = settings_of(config), 0
    for finding in findings(settings):
        worst = max(worst, finding.state == "fail")
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        table.add_row(state, finding.what, escape(finding.detail), escape(finding.remedy))
    screen.print(table)
    raise typer.Exit(worst)


def resolved(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name and value of everything a person may look for, secrets as set or not set."""
    instruments = settings.instruments()
    ports, stores = settings.ports, settings.stores
    in_each = [len(instruments.partition(p, settings.partitions)) for p in range(settings.partitions)]
    yield "config", str(settings.file)
    yield "universe", f"{settings.universe}: {len(instruments)} instruments"
    yield "partitions", f"{settings.partitions}, with {', '.join(map(str, in_each))} instruments"
    feeds = settings.feeds
    chain = order(feeds.primary, {name: source.fallback for name, source in feeds.sources.items()})
    for name, source in feeds.sources.items():
        role = "primary" if name == feeds.primary else "standby" if name in chain else "spare"
        yield f"feed {name}", f"{source.kind}, {role}, fallback {source.fallback or 'none'}"
        said = {"kind", "fallback"} if source.kind == "simulated" else {"kind", "fallback", "dialect", "speed", "seed"}
        yield from _flat(source.model_dump(exclude=said), f"feed {name}.")
    yield "bus", _store(settings.secrets.bus_url, settings.bus_folder, stores.bus_memory)
    yield "cache", _store(settings.secrets.cache_url, settings.cache_folder, stores.cache_memory)
    yield "database", database(settings)
    yield "models", str(settings.models)
    yield "lake", settings.lake
    yield "logs", str(settings.logs)
    yield "quarantine", str(settings.quarantine)
    yield "run folder", str(settings.run_folder)
    yield "gateway", f"http://127.0.0.1:{ports.http}"
    yield "access", who_may(settings)
    yield "dashboard", f"http://127.0.0.1:{ports.dashboard}"
    yield "other ports", ", ".join(f"{name} {port}" for name, port in list(ports.named().items())[2:])
    yield "port ranges", ", ".join(f"{name} {first} to {last}" for name, (first, last) in ports.ranges().items())
    yield from _flat({"feeds": feeds.model_dump(exclude={"primary", "sources"})})
    skip = {"file", "secrets", "universe", "ports", "feeds", "partitions"}
    yield from _flat(settings.model_dump(exclude=skip))
    for name in type(settings.secrets).model_fields:
        yield name.upper(), "set" if getattr(settings.secrets, name) else "not set"


def _store(url: SecretStr | None, folder: Path | None, memory: int) -> str:
    if url is not None:
        return without_password(url.get_secret_value())
    return f"our own in {folder}, up to {memory >> 20} MiB"


def database(settings: Settings) -> str:
    """Where the database is, without its password."""
    if (url := settings.secrets.database_url) is None:
        return f"our own in {settings.database_folder}"
    from adapters.database import address
    from adapters.database import without_password as shown

    return shown(address(url.get_secret_value()))


def _flat(values: dict[str, object], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        elif value is not None:
            yield f"{path}{key}", str(value)


if __name__ == "__main__":
    app()
