"""Measures: what a gateway replica counts, for Prometheus.

Tags are bounded: path templates, codes, roles, reasons; never symbols, users or addresses. What happens often is added
up here and told every few seconds; of the stream's lags it is the running histogram itself, one series a bound (`le`),
so that Prometheus can add replicas up and take any quantile of them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import structlog
from ray.serve.metrics import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.limits import Limits
from market.access import Caller

TOLD_SECONDS = 5.0
MILLISECONDS = [0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000]
TOTALS = {
    "frames": "frames sent",
    "bytes": "bytes of frames sent",
    "updates": "quotes sent",
    "conflated": "quotes that a slow reader got a later value of instead",
    "frozen": "sockets ended because they took nothing",
    "backlogged": "sockets ended because too much of a channel waited for them",
    "pushy": "sockets ended because they said too much",
    "late_beats": "beats of the stream's clock that came late",
}
"""Of the stream, since the replica began; a figure it does not give is 0."""
LEVELS = {"connections": "open sockets", "subscriptions": "symbols that open sockets want, together"}
LAGS = {
    "lag_from_exchange": "from the exchange's time of a quote to its frame",
    "lag_from_receipt": "from the receipt of a quote to its frame",
}
EXPORTED: Mapping[str, str] = {
    "bourse_gateway_requests": "counter",
    "bourse_gateway_request_ms": "histogram",
    "bourse_gateway_sent_away": "counter",
    "bourse_gateway_l1_reads": "counter",
    "bourse_limits_alone": "gauge",
    "bourse_limits_sockets": "gauge",
    **{f"bourse_stream_{name}": "counter" for name in TOTALS},
    **{f"bourse_stream_{name}": "gauge" for name in LEVELS},
    **{f"bourse_stream_{name}_ms_bucket": "gauge" for name in LAGS},
}
"""Every metric here by its kind; Prometheus knows them as `series` says."""


def series(name: str) -> tuple[str, ...]:
    """The names under which Prometheus has a metric of `EXPORTED`."""
    kind = EXPORTED[name]
    ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}[kind]
    return tuple(f"ray_{name}{end}" for end in ends)


class Measures:
    """The figures of one replica. `figures`: the stream's, `Hub.figures`; any thread may add to the rest."""

    def __init__(self, limits: Limits, figures: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._limits, self._figures = limits, figures
        self._lock = threading.Lock()
        self._requests: Tally[tuple[str, str, str]] = Tally()
        self._away: Tally[str] = Tally()
        self._reads: Tally[str] = Tally()
        self._seen: dict[str, int] = {}
        self._stopped = threading.Event()
        tags = {"bourse_gateway_requests": ("path", "code", "role"), "bourse_gateway_request_ms": ("path",),
                "bourse_gateway_sent_away": ("reason",), "bourse_gateway_l1_reads": ("outcome",)}  # fmt: skip
        said = {f"bourse_stream_{name}": text for name, text in {**TOTALS, **LEVELS}.items()}
        said |= {f"bourse_stream_{name}_ms_bucket": text for name, text in LAGS.items()}
        self._metrics: dict[str, Any] = {}
        for name, kind in EXPORTED.items():
            keys = ("le",) if name.endswith("_bucket") else tags.get(name, ())
            told: dict[str, Any] = {"description": said.get(name, name), "tag_keys": keys}
            if kind == "histogram":
                self._metrics[name] = Histogram(name, boundaries=MILLISECONDS, **told)
            else:
                self._metrics[name] = (Counter if kind == "counter" else Gauge)(name, **told)

    def answered(self, path: str, code: int, role: str, ms: float) -> None:
        """One request; `path` is its template."""
        self._metrics["bourse_gateway_request_ms"].observe(ms, tags={"path": path})
        with self._lock:
            self._requests[path, str(code), role] += 1

    def sent_away(self, reason: str) -> None:
        """Somebody was told to come back: rate, connections or login."""
        with self._lock:
            self._away[reason] += 1

    def read(self, hits: int, misses: int) -> None:
        """Quotes asked for: those that stood in this process, and those of which it knows nothing."""
        with self._lock:
            self._reads["hit"] += hits
            self._reads["miss"] += misses

    def start(self) -> None:
        """Tell every `TOLD_SECONDS` in a thread of its own."""
        threading.Thread(target=self._run, name="measures", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def tell(self) -> None:
        """Hand Ray what was counted since."""
        with self._lock:
            requests, self._requests = self._requests, Tally()
            away, self._away = self._away, Tally()
            reads, self._reads = self._reads, Tally()
        for (path, code, role), count in requests.items():
            tags = {"path": path, "code": code, "role": role}
            self._metrics["bourse_gateway_requests"].inc(count, tags=tags)
        for reason, count in away.items():
            self._metrics["bourse_gateway_sent_away"].inc(count, tags={"reason": reason})
        for outcome, count in reads.items():
            if count:
                self._metrics["bourse_gateway_l1_reads"].inc(count, tags={"outcome": outcome})
        self._metrics["bourse_limits_alone"].set(1 if self._limits.trouble else 0)
        self._metrics["bourse_limits_sockets"].set(self._limits.sockets())
        self._tell_stream(self._figures())

    def _tell_stream(self, figures: Mapping[str, Any]) -> None:
        for name in TOTALS:
            total = int(figures.get(name, 0))
            grown = total - self._seen.get(name, 0)
            if grown > 0:
                self._metrics[f"bourse_stream_{name}"].inc(grown)
            self._seen[name] = total
        for name in LEVELS:
            self._metrics[f"bourse_stream_{name}"].set(figures.get(name, 0))
        for name in LAGS:
            for bound, total in buckets(figures.get("lag_bounds_ms", ()), figures.get(name, ())):
                self._metrics[f"bourse_stream_{name}_ms_bucket"].set(total, tags={"le": bound})

    def _run(self) -> None:
        while not self._stopped.wait(TOLD_SECONDS):
            try:
                self.tell()
            except Exception:
                structlog.get_logger().exception("measures_broke")


class Measured:
    """ASGI middleware that counts requests; stands outside those that refuse them."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; sockets are the stream's to count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            ms = (time.perf_counter() - began) * 1000
            self._measures.answered(template(scope), status, role(scope), ms)


def template(scope: Scope) -> str:
    """The path as it was declared; of those that nobody declared or that were refused before, one word for all."""
    return str(getattr(scope.get("route"), "path", "other"))


def role(scope: Scope) -> str:
    """What asked: anonymous, user, premium or admin."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    return caller.role.value if caller is not None and caller.role is not None else "anonymous"


def buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Counts between bounds, the last beyond them all -> totals up to each bound.

    >>> buckets([1, 2.5], [3, 0, 4])
    [('1', 3), ('2.5', 3), ('+Inf', 7)]
    """
    names = [f"{bound:g}" for bound in bounds] + ["+Inf"]
    return list(zip(names, accumulate(counts), strict=False))
