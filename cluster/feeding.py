"""The command `feed`: which feed counts and why, and what an operator asks of the feeds by hand."""

from __future__ import annotations

import getpass
import json
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Column, Table

from adapters.bus import Bus
from adapters.control import Control
from cluster.console import Config, answer, screen, settings_of, told
from cluster.instance import holder
from cluster.settings import Settings
from cluster.stores import Stores
from market.errors import BadValue
from market.sessions import IST
from market.wishes import Do, Wish

app = typer.Typer(help="Which feed counts, and what you ask of the feeds by hand.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A feed's name, as it stands under feeds.sources.")]


@app.callback()
def feeds(
    context: typer.Context,
    config: Config = Path("cluster.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="The record itself.")] = False,
) -> None:
    """Each feed: its state, its breaker, and the last switches."""
    if context.invoked_subcommand is not None:
        return
    record = answer(settings_of(config), "/api/v1/feeds")
    if as_json:
        typer.echo(json.dumps(record, indent=2))
    else:
        screen.print(tables(record))


@app.command()
def force(name: Name, config: Config = Path("cluster.yaml")) -> None:
    """Make a feed the active one, whatever its state, until `auto` or `hold`."""
    _wish(settings_of(config), "force", name)


@app.command()
def hold(config: Config = Path("cluster.yaml")) -> None:
    """Keep whichever feed is active, until `auto` or `force`."""
    _wish(settings_of(config), "hold")


@app.command()
def auto(config: Config = Path("cluster.yaml")) -> None:
    """End a force or a hold: the switch decides again."""
    _wish(settings_of(config), "auto")


@app.command()
def close(name: Name, config: Config = Path("cluster.yaml")) -> None:
    """Take a feed out of service; it gives up its lines and is not switched to."""
    _wish(settings_of(config), "close", name)


@app.command("open")
def reopen(name: Name, config: Config = Path("cluster.yaml")) -> None:
    """Take a closed feed into service again."""
    _wish(settings_of(config), "open", name)


def _wish(settings: Settings, do: Do, name: str = "") -> None:
    """Put a wish on the bus of the running instance, signed."""
    with told():
        if name and name not in settings.feeds.sources:
            raise BadValue("feed", name, f"one of {', '.join(settings.feeds.sources)}")
        if holder(settings.run_folder) is None:
            raise BadValue("ports.base", settings.ports.base, "the base of an instance that runs; none does here")
        by = f"{getpass.getuser()}@{socket.gethostname()}"
        bus = Bus(Stores(settings, settings.run_folder).bus)
        control = Control(bus)
        control.wish(Wish(do=do, feed=name, at=time.time_ns(), by=by))
        control.hear()
        bus.close()
    screen.print(f"asked as {by}: {do} {name}".rstrip(), markup=False)
    for line in control.wishes.doubts(settings.feeds.sources):
        screen.print(line, markup=False, soft_wrap=True)


def tables(record: dict[str, Any]) -> Group:
    """The answer of the gateway for people."""
    feeds = Table(
        "feed", "role", "", "state", "breaker", Column("market time", no_wrap=True), "fails", "back after", box=None
    )
    for feed in record["feeds"]:
        active = "active" if feed["active"] else "closed by hand" if feed["closed_by_hand"] else ""
        words = (feed["name"], feed["role"], active, feed["state"], feed["breaker"], _clock(feed["at"]))
        feeds.add_row(*words, str(feed["fails"]), f"{feed['return_after_seconds']} s")
    switches = Table(
        Column("at", no_wrap=True),
        "from",
        "to",
        "reason",
        "last data",
        title="switches",
        title_justify="left",
        box=None,
    )
    for one in record["switches"]:
        switches.add_row(_clock(one["at"]), one["from"] or "", one["to"], one["reason"], _clock(one["since"]))
    wish = f"forced by hand: {record['forced']}" if record["forced"] else "held by hand" if record["held"] else "auto"
    return Group(feeds, switches, wish, *([record["trouble"]] if record["trouble"] else []))


def _clock(at: str | None) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).astimezone(IST).strftime("%Y-%m-%d %H:%M:%S") if at else ""
