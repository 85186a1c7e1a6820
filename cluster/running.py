"""The commands that start, watch and end an instance: up, down, status, watch, replay."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cluster.console import Config, answer, clock, progress, refuse, screen, settings_of, told
from cluster.secrecy import headers
from cluster.settings import Settings
from market.errors import LineDown, StoreRefused, UnknownSymbol
from market.sessions import IST

FAILED = 1
MAX = "max"

app = typer.Typer()

Speed = Annotated[str, typer.Option(help="Times real time, above 0 and up to 100000, or max.")]
Recording = Annotated[
    Path,
    typer.Argument(
        help="One-minute bars, parquet or CSV: symbol, ts, open, high, low, close, volume.", exists=True, dir_okay=False
    ),
]


@app.command()
def up(
    config: Config = Path("cluster.yaml"),
    replay: Annotated[
        Path | None, typer.Option(help="Play this recording instead of the live market.", exists=True, dir_okay=False)
    ] = None,
    session: Annotated[datetime | None, typer.Option(help="The recorded day.", formats=["%Y-%m-%d"])] = None,
    speed: Speed = "1",
) -> None:
    """Start everything and stay until Ctrl-C; prints the addresses to open."""
    from cluster.tapes import Tape
    from cluster.up import replayed
    from cluster.up import up as start

    settings = settings_of(config)
    if (replay is None) != (session is None):
        refuse("--replay and --session go together: the file and the day in it")
    if replay is None and speed != "1":
        refuse("--speed goes with --replay; the demo's speed stands in the config, at feeds.sources.NAME.speed")
    with told():
        tape = None
        if replay is not None and session is not None:
            settings = replayed(settings, replay, session.date())
            tape = Tape(recording=replay.absolute(), day=session.date(), speed=speed_of(speed))
        start(settings, _say, tape, lambda instance: _welcome(instance.addresses, settings))


@app.command()
def down(config: Config = Path("cluster.yaml")) -> None:
    """End the instance that runs on this config's ports, and wait until it is gone."""
    from cluster.up import down as end

    with told():
        end(settings_of(config), _say)


@app.command()
def status(
    config: Config = Path("cluster.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="The record itself.")] = False,
) -> None:
    """What runs and how it is: feeds, partitions, lag, candles today, memory."""
    record = answer(settings_of(config), "/api/v1/status")
    if as_json:
        typer.echo(json.dumps(record, indent=2))
    else:
        screen.print(tables(record))


@app.command()
def watch(
    symbols: Annotated[list[str], typer.Argument(help="RELIANCE, NSE:TCS ...")],
    config: Config = Path("cluster.yaml"),
    seconds: Annotated[float, typer.Option(help="End after so long; 0: until Ctrl-C.", min=0)] = 0.0,
) -> None:
    """A live table of some symbols."""
    settings = settings_of(config)
    try:
        asyncio.run(_follow(settings, symbols, seconds))
    except KeyboardInterrupt:
        pass
    except (UnknownSymbol, StoreRefused) as e:
        refuse(str(e))
    except LineDown as e:
        refuse(f"no gateway on port {settings.ports.http}: {e.reason}; bourse up starts one")


@app.command()
def replay(
    recording: Recording,
    session: Annotated[datetime, typer.Option(help="The recorded day.", formats=["%Y-%m-%d"])],
    lake: Annotated[
        Path, typer.Option(help="Where the candles go; a folder that does not hold this day yet.", file_okay=False)
    ],
    speed: Speed = MAX,
    features: Annotated[bool, typer.Option("--features", help="Compare live features with bulk, too.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Run a recorded day through the whole live path on a private cluster and compare the candles with the file.

    Exit code 0: all equal; 1: there is a difference; 2: it could not be run.
    """
    from cluster.replay import replay as run

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    settings, pace = settings_of(config), speed_of(speed)
    with told(), progress("replay") as (bar, task):
        day: date = session.date()
        outcome = run(
            settings,
            recording.absolute(),
            day,
            pace,
            lake,
            lambda done, text: bar.update(task, completed=done, text=text),
            lambda line: bar.console.print(line, markup=False),
            features=features,
        )
    for line in outcome.differences[:20]:
        screen.print(line, markup=False)
    if len(outcome.differences) > 20:
        screen.print(f"and {len(outcome.differences) - 20} more")
    counts = ", ".join(f"{v:,} {k}" for k, v in outcome.counts.items())
    compared = f"{outcome.candles:,} candles equal, {len(outcome.differences):,} differ"
    screen.print(f"{compared}; {counts}; {outcome.seconds:.1f} s; lake {lake}", markup=False, soft_wrap=True)
    unequal = False
    if outcome.features is not None:
        for line in outcome.features.lines():
            screen.print(line, markup=False, soft_wrap=True)
        unequal = outcome.features.differing > 0 or not outcome.features.values
    raise typer.Exit(FAILED if outcome.differences or not outcome.candles or unequal else 0)


def speed_of(text: str) -> float | None:
    """A speed as given on the command line; None for max."""
    if text == MAX:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 100_000:
        refuse(f"--speed: {text!r} is not allowed; a number above 0, at most 100000, or {MAX}")
    return speed


def tables(record: dict[str, Any]) -> Group:
    """The status record for people."""
    parts = record.get("parts", [])
    bus, today = record.get("bus", {}), record.get("candles_today")
    line = f"bus {_mib(bus.get('used'))} of {_mib(bus.get('limit'))} ({bus.get('pressure', 'unknown')})"
    line = line if today is None else f"{line}, candles today {today:,}"
    line += _database(record.get("database"))
    open_alerts = [f"{a['severity']}: {a['text']} (since {clock(a['at'])})" for a in record.get("alerts", [])]
    return Group(
        *(of(parts) for of in (_feeds, _folds, _features, _scores, _parts)), *map(escape, [line, *open_alerts])
    )


Parts = list[dict[str, Any]]


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None)


def _feeds(parts: Parts) -> Table:
    table = _table("feeds", "feed", "state", "market time", "frames", "ticks", "bad", "bus ms")
    active = next((p.get("active") for p in parts if p["part"] == "switch"), None)
    for p in (p for p in parts if p["part"] == "feed"):
        name = f"{p['name']} (active)" if p["name"] == active else p["name"]
        counts = (f"{p[k]:,}" for k in ("frames", "ticks", "bad", "lag_ms"))
        table.add_row(name, p["state"], _clock(p["market_time"]), *counts)
    return table


def _folds(parts: Parts) -> Table:
    table = _table("partitions", "partition", "market time", "ticks", "late", "duplicate", "candles")
    for p in (p for p in parts if p["part"] == "candles"):
        for number, of in p.get("partitions", {}).items():
            counts = (f"{of[k]:,}" for k in ("ticks", "late", "duplicate", "candles"))
            table.add_row(number, _clock(of["market_time"]), *counts)
    return table


def _features(parts: Parts) -> Table:
    columns = ("partition", "market time", "minutes", "rows", "unknown", "not waited for", "p50 ms", "p99 ms")
    table = _table("features", *columns)
    for p in (p for p in parts if p["part"] == "analysis"):
        closing = [f"{p['closing_ms'][k]:,}" for k in ("p50", "p99")]
        for number, of in p.get("partitions", {}).items():
            counts = (f"{of[k]:,}" for k in ("minutes", "rows", "unknown", "given_up"))
            table.add_row(number, _clock(of["market_time"]), *counts, *closing)
    return table


def _scores(parts: Parts) -> Table:
    columns = ("actor", "rows", "without answer", "abstained", "p50 ms", "p99 ms", "asking p99 ms", "models", "trouble")
    table = _table("scorecards", *columns)
    for p in (p for p in parts if p["part"] == "analysis" and "scores" in p):
        of = p["scores"]
        counts = (f"{of[k]:,}" for k in ("rows", "without", "abstained"))
        asked = (("closing_ms", "p50"), ("closing_ms", "p99"), ("asking_ms", "p99"))
        times = (f"{of[what][share]:,}" for what, share in asked)
        table.add_row(p["actor"], *counts, *times, ", ".join(of["versions"]), of["trouble"])
    return table


def _parts(parts: Parts) -> Table:
    table = _table("parts", "part", "state", "pid", "restarts", "lag", "memory", "trouble")
    for p in parts:
        state = p.get("state") or ("up" if p.get("up") else "away")
        lag = f"{p['lag_seconds']:.1f} s" if "lag_seconds" in p else ""
        what = (str(p.get("pid", "")), str(p.get("restarts", 0)), lag, _mib(p.get("resident")), p.get("trouble") or "")
        table.add_row(p["actor"], state, *what)
    return table


async def _follow(settings: Settings, symbols: list[str], seconds: float) -> None:
    from bourse.client import Client

    async def token() -> str:
        return headers(settings)["Authorization"].removeprefix("Bearer ")

    async with Client(f"http://127.0.0.1:{settings.ports.http}", token=token) as bourse:
        with Live(_quotes(bourse.latest), console=screen, refresh_per_second=8) as live:
            unknown: list[str] = []
            try:
                async with asyncio.timeout(seconds or None):
                    async for _ in (quotes := bourse.quotes(symbols)):
                        if quotes.unknown != unknown:
                            unknown = list(quotes.unknown)
                            live.console.print(f"unknown symbols: {', '.join(unknown)}", markup=False)
                        live.update(_quotes(bourse.latest))
            except TimeoutError:
                pass


def _quotes(latest: Mapping[str, dict[str, Any]]) -> Table:
    table = Table("symbol", "last", "change %", "bid", "ask", "volume", "traded at", "age s", "", box=None)
    for symbol, q in sorted(latest.items()):
        price, close, at = q["price"], q["close"], q["at"]
        change = None if price is None or not close else round(100 * (price - close) / close, 4)
        traded = None if at is None else at.isoformat().replace("+00:00", "Z")
        state = "stale" if q["stale"] else ""
        shown = (price, change, q["bid"], q["ask"], q["volume"], traded, q["age"], state)
        table.add_row(symbol, *("" if one is None else str(one) for one in shown))
    return table


def who_may(settings: Settings) -> str:
    """Who may ask the gateway, in words."""
    door = "anybody may register" if settings.access.registration else "accounts are made by admins"
    return f"demo: anybody may read; {door}" if settings.demo else f"only with a credential; {door}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _welcome(addresses: dict[str, str], settings: Settings) -> None:
    gateway = addresses["gateway"]
    for name, value in (
        ("gateway", gateway),
        ("docs", f"{gateway}/docs"),
        ("dashboard", addresses["dashboard"]),
        ("access", who_may(settings)),
        ("lake", settings.lake),
        ("logs", str(settings.logs)),
    ):
        screen.print(f"[bold]{name:<10}[/bold] {value}", soft_wrap=True)
    screen.print("Bourse is up; Ctrl-C ends it.")


def _database(said: dict[str, Any] | None) -> str:
    if said is None:
        return ""
    return f", database up ({said['milliseconds']:.1f} ms)" if said["up"] else f"\ndatabase down: {said['trouble']}"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.0f} MiB"


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).astimezone(IST).strftime("%Y-%m-%d %H:%M:%S") if at else ""
