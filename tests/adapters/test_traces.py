"""Traces: what the feed and the gateway tell of one batch is one trace, by a real collector's protocol."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from adapters.traces import ROOT, Traces, TracesPlan, traces


class Collector(HTTPServer):
    """Takes spans over OTLP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.spans: list[Span] = []
        self.plan = TracesPlan(endpoint=f"http://127.0.0.1:{self.server_port}", sample=100)


class Door(BaseHTTPRequestHandler):
    """Its one path."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        asked = ExportTraceServiceRequest.FromString(body)
        if self.path == "/v1/traces":
            self.server.spans += [s for r in asked.resource_spans for scope in r.scope_spans for s in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def test_a_batch_is_one_trace_from_the_feed_to_the_frame(collector: Collector) -> None:
    feed, gateway = Traces(collector.plan, "feed"), Traces(collector.plan, "gateway")

    feed.tell(ROOT, "sim", 300, 1_000, 2_000)
    feed.tell("bus write", "sim", 300, 2_000, 3_000)
    gateway.read("sim", 300, 3_000)
    gateway.shown()
    feed.tell(ROOT, "sim", 400, 1_000, 2_000)
    for one in (feed, gateway):
        one.stop()

    written = next(s for s in collector.spans if s.name == "bus write")
    mine = [s for s in collector.spans if s.trace_id == written.trace_id]
    root = next(s for s in mine if s.name == ROOT)
    assert sorted(s.name for s in mine) == ["bus write", ROOT, "frame sent", "gateway read"]
    assert not root.parent_span_id
    assert {s.parent_span_id for s in mine if s is not root} == {root.span_id}
    assert len({s.trace_id for s in collector.spans}) == 2
    assert not gateway.waiting


def test_one_in_so_many_batches_is_followed_and_everybody_agrees(collector: Collector) -> None:
    one = Traces(collector.plan, "feed")

    followed = [n for n in range(-1, 301) if one.follows(n)]
    one.stop()

    assert followed == [0, 100, 200, 300]


def test_without_an_endpoint_there_is_nothing() -> None:
    assert traces(None, "feed") is None
