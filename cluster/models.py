"""The commands about trained models: which there are, what is known of one, and which one serves."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from cluster.console import Config, refuse, screen, settings_of, show_table, told
from market.registrations import NotPromoted, Promotion, Version, version_of

if TYPE_CHECKING:
    from adapters.registry import Registry

FAILED = 1
NONE = "no model is registered; bourse train makes one"


class Named(TyperGroup):
    """`bourse models NAME` is `bourse models --name NAME`, beside the commands of its own."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        """Take the first word for a name where it is neither an option nor a command."""
        if words and not words[0].startswith("-") and words[0] not in self.commands:
            words = ["--name", *words]
        return super().parse_args(context, words)


app = typer.Typer()
models = typer.Typer(cls=Named, invoke_without_command=True)
app.add_typer(models, name="models")

AsJson = Annotated[bool, typer.Option("--json", help="The records themselves.")]
One = Annotated[str, typer.Argument(metavar="NAME@V", help="A version, such as direction-15m@3.")]
Because = Annotated[str, typer.Option(help="Why, in words; it goes on record.")]


@models.callback()
def list_models(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="Of this model alone; the word --name may be left out.")] = None,
    config: Config = Path("cluster.yaml"),
    as_json: AsJson = False,
) -> None:
    """Each version with its score, its baselines, its verdict, and what it is called besides."""
    if context.invoked_subcommand is not None:
        return
    from cluster.databases import registry

    with told(), registry(settings_of(config)) as found:
        versions = [one for each in ([name] if name else found.names()) for one in found.versions(each)]
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in versions], indent=2))
    else:
        show_table(versions_table(versions)) if versions else screen.print(NONE)


@models.command()
def show(model: One, config: Config = Path("cluster.yaml"), as_json: AsJson = False) -> None:
    """All that is known of a version, and whether its files are what was registered; exit code 1 when they are not."""
    from cluster.databases import registry
    from market.errors import BadValue, StoreRefused

    damage = ""
    with told(), registry(settings_of(config)) as found:
        name, number = version_of(model)
        version = next((one for one in found.versions(name) if one.version == number), None)
        if version is None:
            raise BadValue("model", model, "one that `bourse models` shows")
        try:
            sizes = {file: len(content) for file, content in found.files(name, number).items()}
        except StoreRefused as e:
            sizes, damage = {}, str(e)
        promotions = [one for one in found.history(name) if number in (one.version, one.previous)]
    if as_json:
        told_of = [one.model_dump(mode="json") for one in promotions]
        record = version.model_dump(mode="json") | {"files": sizes, "damage": damage, "promotions": told_of}
        typer.echo(json.dumps(record, indent=2))
    else:
        _show(version, sizes, promotions)
    if damage:
        typer.echo(damage, err=True)
        raise typer.Exit(FAILED)


@app.command()
def promote(
    model: One,
    force: Annotated[bool, typer.Option("--force", help="Whatever the rule says; needs --because.")] = False,
    because: Because = "",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Make a version the champion: it must beat the champion and every baseline. Exit code 1 when it may not be."""
    from cluster.databases import registry

    if force and not because.strip():
        refuse("--force: it needs --because, why this version is to serve; it goes on record")
    with told(), registry(settings_of(config)) as found:
        name, number = version_of(model)
        done = found.promote(name, number, by=_who(), force=force, because=because)
    if isinstance(done, NotPromoted):
        typer.echo(f"{model} is not promoted: {done.reason}", err=True)
        raise typer.Exit(FAILED)
    screen.print(_line(done), markup=False, soft_wrap=True)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="A model, such as direction-15m.")],
    because: Because = "",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Make the champion before the present one the champion again."""
    from cluster.databases import registry

    with told(), registry(settings_of(config)) as found:
        done = _back(found, name, because)
    screen.print(_line(done), markup=False, soft_wrap=True)


def versions_table(versions: list[Version]) -> Table:
    """The versions for people."""
    table = Table(box=None)
    for column in ("model", "", "verdict", "score", "best baseline"):
        table.add_column(column, no_wrap=True)
    for column in ("lake", "code", "trained"):
        table.add_column(column, overflow="fold")
    for one in versions:
        about = one.about
        best = max(about.baselines.items(), key=lambda item: item[1], default=None)
        lake = " ".join(f"{name} {version}" for name, version in about.lake.items())
        table.add_row(
            one.title,
            " ".join(one.aliases),
            about.verdict,
            f"{about.measure} {about.score:.4g}",
            f"{best[0]} {best[1]:.4g}" if best else "none",
            lake,
            about.revision[:12],
            f"{about.trained_at:%Y-%m-%d}",
        )
    return table


def _show(version: Version, sizes: dict[str, int], promotions: list[Promotion]) -> None:
    table = Table("", "", box=None, show_header=False)
    about = version.about.model_dump(mode="json")
    about["symbols"] = f"{len(version.about.symbols)}: {', '.join(version.about.symbols[:8])}"
    rows = {"model": version.title, "called": " ".join(version.aliases) or "nothing besides", **about}
    for key, value in rows.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {one}" for name, one in value.items())
        table.add_row(key, escape(str(value)))
    for file, size in sizes.items():
        table.add_row("file", f"{escape(file)}, {size:,} bytes")
    for one in promotions:
        table.add_row("history", escape(_line(one)))
    screen.print(table)


def _back(registry: Registry, name: str, because: str) -> Promotion:
    return registry.rollback(name, by=_who(), because=because)


def _line(done: Promotion) -> str:
    before = f" in place of version {done.previous}" if done.previous is not None else ""
    said = f"{done.name}@{done.version} became the champion{before} ({done.kind} by {done.by})"
    return f"{said} at {done.at:%Y-%m-%d %H:%M:%S} UTC: {done.because}"


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
