"""Traces: the way of one batch of ticks from the feed to the screens, for OpenTelemetry.

Nobody carries a context: a batch is followed if its number is a multiple of `sample`, and the ids of its trace and of
its first span are a digest of writer and number, so that the feed and every gateway replica come to the same ones.
Where no endpoint is set there is no `Traces` at all, and nothing of OpenTelemetry is loaded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from market.records import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

ROOT = "feed receive"
"""The first span; all others hang on it."""
MOST_WAITING = 64


class TracesPlan(Record):
    """Where traces go, an OTLP collector's HTTP address, and of how many batches of a feed one is followed."""

    endpoint: str
    sample: int


class Traces:
    """What one process tells of the batches that are followed. Any thread."""

    def __init__(self, plan: TracesPlan, service: str, exporter: SpanExporter | None = None) -> None:
        """`service` names this process; `exporter` instead of the collector at the plan's endpoint."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._sample = plan.sample
        self._ids = _ids()
        self._provider = TracerProvider(
            id_generator=self._ids, resource=Resource.create({"service.name": f"bourse-{service}"})
        )
        told = exporter or OTLPSpanExporter(f"{plan.endpoint.rstrip('/')}/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(told))
        self._tracer = self._provider.get_tracer("bourse")
        self._lock = threading.Lock()
        self.waiting: deque[tuple[str, int, int]] = deque(maxlen=MOST_WAITING)
        """Writer, number and time of the batches that were read and not shown yet."""

    def follows(self, number: int) -> bool:
        """Whether a batch of this number is followed."""
        return number >= 0 and number % self._sample == 0

    def tell(self, name: str, writer: str, number: int, began: int, ended: int) -> None:
        """One stage of a batch, from `began` to `ended`, ns UTC."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        trace, root = ids(writer, number)
        with self._lock:
            if name == ROOT:
                self._ids.next_trace, self._ids.next_span = trace, root
                span = self._tracer.start_span(name, start_time=began)
            else:
                parent = SpanContext(trace, root, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
                above = set_span_in_context(NonRecordingSpan(parent))
                span = self._tracer.start_span(name, above, start_time=began)
        span.set_attribute("feed", writer)
        span.set_attribute("sequence", number)
        span.end(max(began, ended))

    def read(self, writer: str, number: int, written: int) -> None:
        """A batch that is followed was read here; it was written at `written`, ns UTC."""
        now = time.time_ns()
        self.tell("gateway read", writer, number, written, now)
        self.waiting.append((writer, number, now))

    def shown(self) -> None:
        """Frames went out: what was read before has been shown. Ask first whether anything is `waiting`."""
        now = time.time_ns()
        while self.waiting:
            writer, number, read = self.waiting.popleft()
            self.tell("frame sent", writer, number, read, now)

    def stop(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()


def traces(plan: TracesPlan | None, service: str) -> Traces | None:
    """None where nothing is followed."""
    return Traces(plan, service) if plan is not None else None


def ids(writer: str, number: int) -> tuple[int, int]:
    """The ids of a batch's trace and of its first span, never 0."""
    digest = sha256(f"{writer}:{number}".encode()).digest()
    return int.from_bytes(digest[:16], "big") | 1, int.from_bytes(digest[16:24], "big") | 1


def _ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Given(RandomIdGenerator):
        """Random ids, but those of a first span are given."""

        next_trace = next_span = 0

        def generate_trace_id(self) -> int:
            given, self.next_trace = self.next_trace, 0
            return given or super().generate_trace_id()

        def generate_span_id(self) -> int:
            given, self.next_span = self.next_span, 0
            return given or super().generate_span_id()

    return Given()
