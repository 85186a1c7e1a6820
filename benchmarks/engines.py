"""Engines: each one's latency, accuracy, cost of a call and privacy, as in the Nifty seed's table, from runs.

Our own models learn from eleven sessions of eight NSE shares of 2016 (the nets for two short rounds, so that the table
takes minutes) and are asked about the three behind them, over 15 minutes net of costs; always FLAT stands beside them.
The report of `bourse train` is the place for how good they are; this is one for what they cost.

Language models are replayed: a loopback server sends the envelopes their vendors sent or documented, with an answer of
ours in them. Their latency is that of our side alone (request, budget on a Redis that fsyncs, reading), never the
model's, and their accuracy is not measured. Costs are of our prompt's bytes / 4 and 80 tokens of answer at PRICES.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import structlog
from aiohttp import web
from pydantic import SecretStr

from adapters.llm import CODECS, EnginePlan, Llm, ask
from adapters.redis_server import RedisServer
from adapters.spending import amount
from benchmarks.report import Report
from market.candles import CANDLE, Candles, Provenance
from market.engines import TOOL, Engine, Usage, question
from market.features import NAMES, compute, market_of, members_of, sums
from market.instruments import Instrument
from market.labels import Label, labels, outcomes
from market.models.boosted import Boosted
from market.models.examples import Examples, decisions, sequences
from market.models.heuristic import Body, Heuristic
from market.models.linear import Linear
from market.models.model import Model
from market.sessions import DAY, MINUTE, Sessions, session

SHARED = Path(__file__).resolve().parents[2] / "shared" / "fixtures"
BARS = SHARED / "market" / "nse_1min_2016" / "bars.parquet"
SYMBOLS = ("HDFCBANK", "ICICIBANK", "INFY", "ITC", "MARUTI", "RELIANCE", "SBIN", "TCS")
HORIZON = "15m"
LEARNED, HELD = 9, 2
CALLS = 200
SEED = 5
BODY: dict[str, Any] = {
    "symbol": "RELIANCE", "rsi": 28.5, "macd": 1.25, "ema50": 2840.0, "ema200": 2800.0, "close": 2850.5, "volume": 1500,
}  # fmt: skip
SAID = {"p_up": 0.3, "p_flat": 0.5, "p_down": 0.2, "confidence": 0.3, "reason": "RSI is low and the trend is up."}
PRICES = {
    "openai": ("gpt-4o-mini", Decimal("0.15"), Decimal("0.60")),
    "anthropic": ("claude-3-5-haiku-latest", Decimal("0.80"), Decimal("4.00")),
    "ollama": ("llama3.1", Decimal(0), Decimal(0)),
}
"""Model and USD for a million tokens of question and answer. Assumed, not asked for: vendors change them."""

PRIVACY = {
    "openai": "symbol and numbers leave to the vendor",
    "anthropic": "symbol and numbers leave to the vendor",
    "ollama": "stays on your machine",
}


def run(out: Report) -> None:
    """Our own, then the replayed ones."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if not BARS.exists():
        out.say("no recorded minutes beside the repository: only the replayed engines")
    else:
        _ours(out)
    asyncio.run(_replayed(out))


def _ours(out: Report) -> None:
    import torch

    from market.models import nets
    from market.models.gnn import Gnn
    from market.models.lstm import Lstm
    from market.models.transformer import Transformer

    torch.set_num_threads(1)
    short = nets.Lesson(rounds=2, steps=40, batch=256)
    examples, targets = _examples()
    days = np.unique(examples.session)
    learn = examples.session < days[LEARNED]
    held = ~learn & (examples.session < days[LEARNED + HELD])
    asked = examples.session >= days[LEARNED + HELD]
    came = targets[HORIZON][asked]
    known = came >= 0
    flat = float((came[known] == Label.FLAT).mean())
    out.row(**_told("always FLAT", 0.0, 0.0, f"{flat:.3f}", "none", "stays here", "the baseline"))
    body = Body(**BODY)
    seed = Heuristic(HORIZON)
    models: list[Model] = [
        seed,
        Linear(HORIZON),
        Boosted(HORIZON),
        Lstm(HORIZON, short),
        Transformer(HORIZON, short),
        Gnn(HORIZON, dict.fromkeys(range(len(SYMBOLS)), 0), lesson=short),
    ]
    given = [{name: column[rows] for name, column in targets.items()} for rows in (learn, held)]
    one = examples.take(np.flatnonzero(asked)[200:201])
    for model in models:
        model.fit(examples.take(learn), given[0], examples.take(held), given[1], SEED)
        p = model.predict(examples.take(asked))
        able = known & np.isfinite(p).all(axis=1)
        right = f"{float((p[able].argmax(axis=1) == came[able]).mean()):.3f}" if able.any() else "no answer"
        call: Callable[[], object] = (lambda: seed.judge(body)) if model is seed else (lambda: model.predict(one))  # noqa: B023
        p50, p95 = _latency(call)
        how = f"{int(able.sum())} of {int(known.sum())} decisions answered"
        out.row(**_told(model.kind, p50, p95, right, "none", "stays here", how))


def _latency(call: Callable[[], object]) -> tuple[float, float]:
    """Median and 95th of a hundred, ms."""
    took = []
    for k in range(CALLS + 10):
        began = time.perf_counter()
        call()
        if k >= 10:
            took.append(time.perf_counter() - began)
    return float(np.percentile(took, 50)) * 1000, float(np.percentile(took, 95)) * 1000


async def _replayed(out: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        bus = RedisServer(f"{folder}/bus", f"{folder}/run", "bus", memory=64 << 20, durable=True)
        bus.start()
        app = web.Application()
        app.router.add_post("/{rest:.*}", _answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            for kind in CODECS:
                await _one(out, kind, f"http://127.0.0.1:{runner.addresses[0][1]}", bus.url)
        finally:
            await runner.cleanup()
            bus.stop()


async def _one(out: Report, kind: str, root: str, bus: str) -> None:
    name, price_in, price_out = PRICES[kind]
    engine = Engine(
        kind=kind, model=name, price_in=price_in, price_out=price_out,
        daily_calls=1_000_000, daily_tokens=10**9, daily_cost=Decimal(1000),
    )  # fmt: skip
    key = SecretStr("replayed")
    llm = Llm(EnginePlan(name=kind, engine=engine, key=key, root=root, bus=bus))
    took = []
    try:
        await llm.ready()
        for k in range(CALLS + 10):
            answer = await ask(llm, BODY, time.time_ns())
            assert answer.opinion.p_flat == SAID["p_flat"], "not the answer that was replayed"
            if k >= 10:
                took.append(answer.seconds)
    finally:
        await llm.close()
    p50, p95 = (float(np.percentile(took, q)) * 1000 for q in (50, 95))
    call = CODECS[kind].call(root, key, engine, question(BODY))
    cost = amount(engine.cost(Usage(len(call.content or b"") // 4, 80)))
    how = f"{name}, replayed: our side alone, not the model's time"
    priced = f"{cost:.6f} USD" if cost else "none"
    out.row(**_told(kind, p50, p95, "not measured", priced, PRIVACY[kind], how))


async def _answer(request: web.Request) -> web.Response:
    """The vendor's envelope by the path that was asked for; a chat without messages loads a model."""
    asked = await request.json()
    kind = {"/chat/completions": "openai", "/v1/messages": "anthropic", "/api/chat": "ollama"}[request.path]
    return web.json_response(_envelope(kind, load=not asked["messages"]))


def _envelope(kind: str, *, load: bool) -> dict[str, Any]:
    text = json.dumps(SAID)
    if kind == "openai":
        said = _recorded("openai-chat/chat_default.json", {"choices": [{"message": {}, "finish_reason": "stop"}]})
        said["choices"][0]["message"]["content"] = text
    elif kind == "anthropic":
        said = _recorded("anthropic-messages/message_tool_use.json", {"type": "message", "stop_reason": "tool_use"})
        said = said.get("body", said)
        said["content"] = [{"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": SAID}]
    else:
        name = "load_a_model_1" if load else "chat_request_structured_outputs_1"
        said = _recorded(f"ollama-chat/{name}.json", {"message": {}, "done": True})
        said["message"]["content"] = "" if load else text
    return said


def _recorded(name: str, without: dict[str, Any]) -> dict[str, Any]:
    file = SHARED / name
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else without
    return found


def _examples() -> tuple[Examples, dict[str, Any]]:
    """All decisions of the recorded minutes, ordered by instrument and time, and what came of them."""
    candles = _candles()
    members = members_of(Instrument(id=k, symbol=f"NSE:{name}", sector="Some") for k, name in enumerate(SYMBOLS))
    days = np.unique(candles["session"]).tolist()
    table = Sessions([session(np.datetime64(day, "D").item()) for day in days]).table()
    each = [candles[candles["instrument"] == k] for k in range(len(SYMBOLS))]
    market = market_of([sums(rows, candles[:0], members, table) for rows in each], members)
    made = [compute(rows, candles[:0], market, table)["values"] for rows in each]
    examples = Examples(
        NAMES,
        np.concatenate(made).astype(np.float32),
        np.concatenate([sequences(rows) for rows in each]),
        np.concatenate([rows["instrument"] for rows in each]).astype(np.int32),
        np.concatenate([decisions(rows) for rows in each]),
        np.concatenate([rows["session"] for rows in each]).astype(np.int32),
    )
    targets = {h: np.concatenate([labels(outcomes(rows, h)) for rows in each]) for h in ("5m", "15m", "60m")}
    return examples, targets | {"1d": np.full(examples.rows, -1, np.int8)}


def _candles() -> Candles:
    table = parquet.read_table(BARS)
    table = table.filter(np.isin(table["symbol"].to_numpy(zero_copy_only=False), SYMBOLS)).sort_by("ts")
    names = table["symbol"].to_numpy(zero_copy_only=False)
    candles = np.zeros(len(table), CANDLE)
    candles["instrument"], candles["interval"] = np.searchsorted(SYMBOLS, names), 60
    candles["start"] = table["ts"].cast(pa.timestamp("ns", "Asia/Kolkata")).cast("int64").to_numpy()
    candles["session"] = (candles["start"] + 330 * MINUTE) // DAY
    for name in ("open", "high", "low", "close"):
        candles[name] = np.rint(table[name].to_numpy() * 10_000)
    candles["volume"] = table["volume"].to_numpy()
    candles["trades"], candles["provenance"] = 1, Provenance.REPAIRED
    return candles


def _told(engine: str, p50: float, p95: float, right: str, cost: str, privacy: str, how: str) -> dict[str, object]:
    return {
        "engine": engine,
        "p50_ms": round(p50, 3),
        "p95_ms": round(p95, 3),
        "accuracy": right,
        "cost_call": cost,
        "privacy": privacy,
        "how": how,
    }
