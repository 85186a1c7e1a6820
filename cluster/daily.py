"""The commands of every morning: `login` at a broker, and `instruments refresh` for its tokens of the day.

Both speak to the bus of the running instance: its feeds notice by themselves. Secrets are read from the environment,
the standard input or a prompt; a command line is seen by everybody on the machine.
"""

from __future__ import annotations

import getpass
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from adapters.accounts import Accounts
from adapters.logins import login as enter
from cluster import broker
from cluster.calendars import calendar
from cluster.console import Config, refuse, screen, settings_of, told
from cluster.settings import Settings, Source
from market import accounts
from market.codecs import Account
from market.errors import AuthRequired, BadPayload, BadValue, BourseError, LineDown, Rejected
from market.sessions import IST, Sessions, instant

HERE = "-"
FAILED = 1
AROUND = timedelta(days=10)

app = typer.Typer()
instruments = typer.Typer(help="The brokers' lists of instruments.", no_args_is_help=True)
app.add_typer(instruments, name="instruments")


@app.command()
def login(
    vendor: Annotated[str, typer.Argument(help="kite, flattrade, mstock, polygon or finnhub.")],
    token: Annotated[
        str | None, typer.Option(help="The day's access token; - reads it from the standard input or asks.")
    ] = None,
    request_token: Annotated[
        str | None, typer.Option(help="What the login page gave; - reads it from the standard input or asks.")
    ] = None,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Log in at a broker for today; the running instance's feeds go on with it. Alone it shows the login page."""
    from cluster.wiring import account, credentials

    settings = settings_of(config)
    with told():
        entry = accounts.login(vendor)
        if token is not None and request_token is not None:
            refuse("--token and --request-token: one of them; the token itself, or what the page gave for it")
        source, mine = _source(settings, vendor), account(settings, vendor)
        if token is None and entry.ends is None:
            refuse(f"{vendor} has nothing to log in at: {entry.how}")
        if token is not None:
            secret = _secret(token, "access token")
            found = mine.model_copy(update={"access_token": secret})
            if entry.ends is None:
                found = mine.model_copy(update={"api_key": secret, "access_token": secret})
        elif request_token is None and entry.page:
            _show_page(entry, mine)
            return
        else:
            code = None if request_token is None else _secret(request_token, "request token")
            found = enter(vendor, credentials(settings, vendor, code), broker.root(source))
        bus = _bus(settings)
        line = _listed(settings, source, found, bus) if vendor in broker.LISTS else ""
        until = entry.until(time.time_ns())
        Accounts(bus).keep(vendor, found, until)
    holds = "for good" if until is None else f"until {instant(until).astimezone(IST):%Y-%m-%d %H:%M} in India"
    screen.print(f"logged in at {vendor}; it holds {holds}", markup=False)
    if all(s.kind != vendor for s in settings.feeds.sources.values()):
        screen.print(
            f"no feed here is of {vendor}: nobody uses it until one stands in {config}", markup=False, soft_wrap=True
        )
    if line:
        screen.print(line, markup=False, soft_wrap=True)


@instruments.command()
def refresh(config: Config = Path("cluster.yaml")) -> None:
    """Fetch the brokers' lists for the session ahead; a list that cannot be right is refused and the old one holds."""
    from cluster.wiring import account

    settings, failed = settings_of(config), False
    sources = {s.kind: s for s in settings.feeds.sources.values() if s.kind in broker.LISTS}
    if not sources:
        screen.print("no feed here has a list of instruments to fetch", markup=False)
        return
    for vendor, source in sources.items():
        with told():
            bus = _bus(settings)
            mine = broker.known(account(settings, vendor), source, bus)
        try:
            found = broker.refresh(settings.instruments(), source, mine, bus, _sessions(settings))
        except BourseError as e:
            failed = True
            typer.echo(str(e), err=True)
            continue
        count, missing = len(found.listed), found.missing(list(settings.instruments()))
        some = f"; it does not list {', '.join(missing[:10])}" if missing else ""
        screen.print(f"{vendor}: {count} instruments for {found.session}{some}", markup=False, soft_wrap=True)
    raise typer.Exit(FAILED if failed else 0)


def _show_page(entry: accounts.Login, mine: Account) -> None:
    key = mine.api_key.get_secret_value()
    if not key:
        raise AuthRequired(entry.vendor, f"set {entry.vendor.upper()}_API_KEY first")
    screen.print(f"log in at {entry.address(key)}", markup=False, soft_wrap=True)
    screen.print(f"then: bourse login {entry.vendor} --request-token -", markup=False, soft_wrap=True)


def _listed(settings: Settings, source: Source, found: Account, bus: str) -> str:
    """The list first: the feed takes it before it logs in. Raises AuthRequired: then the login is worth nothing."""
    try:
        listing = broker.refresh(settings.instruments(), source, found, bus, _sessions(settings))
    except (LineDown, BadPayload, BadValue, Rejected) as e:
        return f"its list of instruments could not be taken: {e}"
    return f"{len(listing.listed)} instruments for {listing.session}"


def _source(settings: Settings, vendor: str) -> Source:
    return next(
        (s for s in settings.feeds.sources.values() if s.kind == vendor), Source.model_validate({"kind": vendor})
    )


def _bus(settings: Settings) -> str:
    """The bus of the instance that runs. Raises BadValue where none does."""
    from cluster.instance import holder
    from cluster.stores import Stores

    if settings.secrets.bus_url is None and holder(settings.run_folder) is None:
        raise BadValue("ports.base", settings.ports.base, "the base of an instance that runs; bourse up starts one")
    return Stores(settings, settings.run_folder).bus


def _secret(given: str, name: str) -> SecretStr:
    if given == HERE:
        given = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        refuse(f"no {name} was given")
    return SecretStr(given.strip())


def _sessions(settings: Settings) -> Sessions:
    return calendar(settings, date.today() - AROUND, date.today() + AROUND)
