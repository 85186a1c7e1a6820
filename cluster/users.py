"""The commands about accounts: `bourse user`. They work on the database itself, whether an instance runs or not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cluster.console import Config, refuse, screen, settings_of, told
from market.access import Role, Scope
from market.errors import BadValue

if TYPE_CHECKING:
    from adapters.users import Users
    from market.users import User

BY = "command line"
MOST_DAYS = 36_500
"""A century: no calendar ends before."""

app = typer.Typer(help="Accounts: who may ask the gateway, and as what.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's address, or its id.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the standard input, not from the terminal.")
]


@app.command()
def add(
    email: Annotated[str, typer.Argument(help="The address by which the account logs in.")],
    role: Annotated[Role, typer.Option(help="What it is.")] = Role.USER,
    name: Annotated[str, typer.Option(help="How it is called.")] = "",
    password_stdin: FromStdin = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """A new account; the first admin is made by this."""
    from adapters.addresses import address

    with told(), _users(config) as users:
        kept = address(email)
        if kept is None:
            raise BadValue("email", email, "an address like asha@example.com")
        made = users.register(kept, name, _hashed(kept, password_stdin), role, BY)
        if made is None:
            raise BadValue("email", kept, "an address that has no account yet; bourse user role changes one")
    _say(made)


@app.command("list")
def list_users(
    config: Config = Path("cluster.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="The records themselves.")] = False,
) -> None:
    """Every account: role, tier, whether it is disabled and has a second factor."""
    found: list[User] = []
    with told(), _users(config) as users:
        while page := users.users(found[-1].email if found else ""):
            found += page
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    table = Table("address", "name", "role", "tier", "state", "second factor", "since", "id", box=None)
    for one in found:
        state, factor = "disabled" if one.disabled else "enabled", "on" if one.totp else "off"
        shown = (one.email, one.name, one.role.value, one.tier, state, factor, f"{one.created_at:%Y-%m-%d}", one.id)
        table.add_row(*map(escape, shown))
    screen.print(table if found else "there is no account; bourse user add EMAIL --role admin makes the first")


@app.command("role")
def set_role(
    who: Who,
    role: Annotated[Role, typer.Argument(help="What it shall be.")],
    tier: Annotated[str | None, typer.Option(help="How much it may ask for; usually as the role has it.")] = None,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Another role for an account; keys that the new role could not have made end."""
    from market import users as rules

    with told(), _users(config) as users:
        wanted = None if tier is None else rules.tier(tier, {**settings_of(config).tiers, **users.tiers()})
        changed = users.change(who, BY, role=role, tier=wanted)
    _say(changed)


@app.command()
def disable(
    who: Who,
    enable: Annotated[bool, typer.Option("--enable", help="The other way round.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """End every login of an account and let none begin; its keys are good for nothing meanwhile."""
    with told(), _users(config) as users:
        changed = users.change(who, BY, disabled=not enable)
    _say(changed)


@app.command()
def password(who: Who, password_stdin: FromStdin = False, config: Config = Path("cluster.yaml")) -> None:
    """Another password for an account; every login of it ends."""
    with told(), _users(config) as users:
        found = users.user(who)
        users.set_password(found.id, _hashed(found.email, password_stdin), BY)
    _say(found)


@app.command()
def key(
    who: Who,
    scope: Annotated[list[Scope], typer.Option(help="What it is good for; several times for several.")],
    name: Annotated[str, typer.Option(help="What it is for, in words.")] = "",
    days: Annotated[
        int | None, typer.Option(help="It ends after so many; without: not by itself.", min=1, max=MOST_DAYS)
    ] = None,
    config: Config = Path("cluster.yaml"),
) -> None:
    """A key for an account; this shows it, once, on the standard output."""
    from market import users as rules

    with told(), _users(config) as users:
        owner = users.user(who)
        ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
        made, text = users.add_key(owner.id, name, rules.granted(scope, owner.role), ends, BY)
    typer.echo(f"key {made.id} of {owner.email}: {', '.join(made.scopes)}; it is not shown again:", err=True)
    typer.echo(text)


@app.command()
def retain(
    logins_days: Annotated[int, typer.Option(help="Logins that ended so long ago go.", min=1, max=MOST_DAYS)] = 90,
    acts_days: Annotated[
        int, typer.Option(help="So long it stays on record who did what.", min=1, max=MOST_DAYS)
    ] = 400,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Remove tokens that have expired, and logins and acts on record that are older than that."""
    with told(), _users(config) as users:
        gone = users.forget(timedelta(days=logins_days), timedelta(days=acts_days))
    screen.print(", ".join(f"{table.replace('_', ' ')} {count}" for table, count in gone.items()) + " removed")


@contextmanager
def _users(config: Path) -> Iterator[Users]:
    from adapters.database import Database
    from adapters.standings import Standings
    from adapters.users import Users
    from cluster.databases import opened
    from cluster.stores import Stores

    settings = settings_of(config)
    with opened(settings) as url:
        tables = Database(url)
        tables.migrate()
        tables.close()
        users = Users(url, Standings(Stores(settings, settings.run_folder).cache))
        try:
            yield users
        finally:
            users.close()


def _hashed(email: str, from_stdin: bool) -> str:
    from adapters.passwords import Passwords
    from market.users import password

    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        refuse("no terminal to ask for a password on; give it with --password-stdin")
    return Passwords().hash(password(given, email))


def _say(user: User) -> None:
    state = "disabled" if user.disabled else user.role.value
    screen.print(f"{escape(user.email)}: {state}, tier {user.tier}, id {user.id}", soft_wrap=True)
