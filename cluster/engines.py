"""The commands about engines: which there are, what of their budgets is used today, and what one thinks."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.markup import escape
from rich.table import Table

from adapters.llm import CODECS, EnginePlan, Llm
from adapters.spending import DayBudget, OwnBudget, Spent, amount
from cluster.console import Config, screen, settings_of, show_table, told
from cluster.instance import holder
from cluster.settings import Settings
from cluster.stores import Stores
from market.engines import LOCAL, Answer, Question, question
from market.errors import BadValue, LineDown

app = typer.Typer(help="Language models that may be asked, and what they have cost today.", invoke_without_command=True)


def plans(settings: Settings, bus: str) -> dict[str, EnginePlan]:
    """Every engine of the file by its name, whoever asks it. `bus`: the Redis of the budgets."""
    found = {}
    for name, engine in settings.engines.items():
        address = settings.secrets.ollama_url if engine.kind == "ollama" else None
        root = engine.url or (address.get_secret_value() if address else CODECS[engine.kind].root)
        key = settings.secrets.of(engine.kind, "api_key") if engine.send_key else SecretStr("")
        found[name] = EnginePlan(name=name, engine=engine, key=key, root=root, bus=bus)
    return found


@app.callback()
def engines(
    context: typer.Context,
    config: Config = Path("cluster.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="The same as records.")] = False,
) -> None:
    """Each engine of the file: what it is, whether it has its key, and what of today's budget is used."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(config)
    bus = _bus(settings)
    rows = [_row(plan, bus) for plan in plans(settings, bus or "").values()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if rows:
        table = Table(*(name.replace("_", " ") for name in rows[0]), box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(escape(str(value)) for value in row.values()))
        show_table(table)
    else:
        line = f"no language model stands under metadata.bourse.engines; its kinds are {', '.join(CODECS)}"
        screen.print(line, markup=False, soft_wrap=True)
    screen.print(f"of our own, always there once trained: {', '.join(LOCAL)}", markup=False, soft_wrap=True)


@app.command("try")
def attempt(
    name: Annotated[str, typer.Argument(help="An engine's name, as it stands under engines.")],
    symbol: Annotated[str, typer.Option(help="RELIANCE, or NSE:RELIANCE.")],
    rsi: Annotated[float, typer.Option(help="0 to 100.")],
    macd: Annotated[float, typer.Option(help="In rupees.")],
    ema50: Annotated[float, typer.Option(help="In rupees.")],
    ema200: Annotated[float, typer.Option(help="In rupees.")],
    close: Annotated[float, typer.Option(help="In rupees.")],
    volume: Annotated[int, typer.Option(help="In shares.")],
    horizon: Annotated[str, typer.Option(help="5m, 15m, 60m or 1d.")] = "15m",
    fact: Annotated[list[str] | None, typer.Option(help="A further number, NAME=VALUE; may be said again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as a record.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Ask one engine for its opinion; it costs what its vendor asks for a call."""
    settings = settings_of(config)
    bus = _bus(settings)
    with told():
        known = plans(settings, bus or "")
        if name not in known:
            raise BadValue("engine", name, f"one under metadata.bourse.engines: {', '.join(known) or 'there is none'}")
        body: dict[str, object] = {
            "symbol": symbol, "rsi": rsi, "macd": macd, "ema50": ema50, "ema200": ema200, "close": close,
            "volume": volume, "horizon": horizon, "facts": dict(_fact(one) for one in fact or []),
        }  # fmt: skip
        answer = asyncio.run(_ask(known[name], bool(bus), question(body)))
    if bus is None:
        typer.echo("no Bourse runs on this machine: this call is in nobody's budget", err=True)
    typer.echo(answer.model_dump_json(indent=2) if as_json else _line(answer))


async def _ask(plan: EnginePlan, shared: bool, asked: Question) -> Answer:
    llm = Llm(plan, None if shared else OwnBudget(plan.name))
    try:
        await llm.ready()
        return await llm.ask(asked, time.time_ns())
    finally:
        await llm.close()


def _line(answer: Answer) -> str:
    said = answer.opinion
    shares = f"up {said.p_up:.2f}, flat {said.p_flat:.2f}, down {said.p_down:.2f}, confidence {said.confidence:.2f}"
    took = f"{answer.seconds:.2f} s, {answer.tokens_in} + {answer.tokens_out} tokens, {answer.cost:f} {answer.currency}"
    return f"{answer.symbol} over {answer.horizon}: {shares}\n{said.reason}\n{answer.model_version}, {took}"


def _fact(said: str) -> tuple[str, float]:
    name, _, value = said.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise BadValue("--fact", said, "NAME=VALUE, as in india_vix=13.5") from None


def _bus(settings: Settings) -> str | None:
    """Where the budgets are; None where no bus can be asked: ours does not run."""
    if settings.secrets.bus_url is None and holder(settings.run_folder) is None:
        return None
    return Stores(settings, settings.run_folder).bus


def _row(plan: EnginePlan, bus: str | None) -> dict[str, object]:
    engine, codec = plan.engine, CODECS[plan.engine.kind]
    key = "set" if plan.key.get_secret_value() else "not set" if codec.keyed and engine.send_key else "not needed"
    used = _spent(plan.name, bus)
    cost = f"{amount(used.cost):f}" if used else "unknown"
    return {
        "engine": plan.name,
        "kind": engine.kind,
        "model": engine.model,
        "address": plan.root,
        "key": key,
        "timeout": f"{engine.timeout_seconds:g} s",
        "calls_today": f"{used.calls if used else 'unknown'} of {engine.daily_calls}",
        "tokens_today": f"{used.tokens if used else 'unknown'} of {engine.daily_tokens}",
        "cost_today": f"{cost} of {engine.daily_cost} {engine.currency}",
        "resets": f"{used.resets:%Y-%m-%d %H:%M} IST" if used else "unknown",
    }


def _spent(name: str, bus: str | None) -> Spent | None:
    """None where the bus does not say."""
    try:
        return DayBudget(bus, name).spent() if bus else None
    except LineDown:
        return None
