"""The commands that start, watch and end an instance: up, down, status, watch, replay."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cluster.console import Config, answer, clock, progress, refuse, screen, settings_of, told
from cluster.settings import Settings
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
    record = answer(settings_of(config).ports.http, "/api/v1/status")
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
    port = settings_of(config).ports.http
    try:
        asyncio.run(_follow(port, symbols, seconds))
    except KeyboardInterrupt:
        pass
    except (OSError, ConnectionError) as e:
        refuse(f"no gateway on port {port}: {e}; bourse up starts one")


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


async def _follow(port: int, symbols: list[str], seconds: float) -> None:
    from websockets.asyncio.client import connect

    rows: dict[str, dict[str, Any]] = {}
    async with connect(f"ws://127.0.0.1:{port}/ws/quotes") as socket:
        await socket.send(json.dumps({"subscribe": symbols}))
        with Live(_quotes(rows), console=screen, refresh_per_second=8) as live:
            try:
                async with asyncio.timeout(seconds or None):
                    async for message in socket:
                        said = json.loads(message)
                        if "error" in said:
                            live.console.print(str(said["error"]), markup=False)
                        for quote in said.get("quotes", []):
                            rows[quote["symbol"]] = {**rows.get(quote["symbol"], {}), **quote}
                        live.update(_quotes(rows))
            except TimeoutError:
                pass


def _quotes(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("symbol", "last", "change %", "bid", "ask", "volume", "traded at", "age s", box=None)
    for symbol, q in sorted(rows.items()):
        shown = ("price", "change_percent", "bid", "ask", "volume", "at", "age_seconds")
        table.add_row(symbol, *("" if q.get(k) is None else str(q[k]) for k in shown))
    return table


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _welcome(addresses: dict[str, str], settings: Settings) -> None:
    gateway = addresses["gateway"]
    for name, value in (
        ("gateway", gateway),
        ("docs", f"{gateway}/docs"),
        ("dashboard", addresses["dashboard"]),
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
