"""Measures: what the gateway counts, by names that its dashboard knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from adapters.limits import Limits
from serve_app.measures import EXPORTED, LAGS, TOTALS, Measured, Measures, buckets, series

DASHBOARD = Path(__file__).resolve().parents[2] / "cluster" / "dashboards" / "gateway.json"


def panels() -> list[dict[str, Any]]:
    return [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]


def test_the_dashboard_asks_for_what_is_exported_and_for_all_of_it() -> None:
    asked = {name for p in panels() for t in p["targets"] for name in re.findall(r"ray_bourse_\w+", t["expr"])}

    told = {name for metric in EXPORTED for name in series(metric)}

    assert asked <= told
    assert {metric for metric in EXPORTED if not asked & set(series(metric))} == set()


def test_every_panel_says_its_unit_and_what_its_axis_shows() -> None:
    shown = [p["fieldConfig"]["defaults"] for p in panels()]

    assert all(one["unit"] and one["custom"]["axisLabel"] for one in shown)


class Kept(Measures):
    """Measures whose metrics stand in a list instead of going to Ray."""

    def __init__(self, limits: Limits, figures: Any) -> None:
        super().__init__(limits, figures)
        self.told: list[tuple[str, str, float, tuple[str, ...]]] = []
        for name in EXPORTED:
            self._metrics[name] = Line(name, self.told)


class Line:
    """A metric that writes down what it is told."""

    def __init__(self, name: str, told: list[tuple[str, str, float, tuple[str, ...]]]) -> None:
        self._name, self._told = name, told

    def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
        self._told.append((self._name, "inc", value, tuple((tags or {}).values())))

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self._told.append((self._name, "set", value, tuple((tags or {}).values())))

    def observe(self, value: float, tags: dict[str, str]) -> None:
        self._told.append((self._name, "observe", 1, tuple(tags.values())))


@pytest.fixture
def figures() -> dict[str, Any]:
    lags = {name: [5, 0, 2] for name in LAGS}
    return {"frames": 10, "bytes": 1000, "connections": 3, "lag_bounds_ms": [1, 2.5], **lags}


def test_requests_are_counted_by_template_and_never_by_symbol(figures: dict[str, Any]) -> None:
    app = FastAPI()

    @app.get("/api/stock/{symbol}")
    def stock(symbol: str) -> PlainTextResponse:
        return PlainTextResponse(symbol)

    measures = Kept(Limits("redis://127.0.0.1:1/0"), lambda: figures)
    client = TestClient(Measured(app, measures))

    for path in ("/api/stock/TCS", "/api/stock/RELIANCE", "/nowhere", "/nowhere/else"):
        client.get(path)
    measures.tell()

    counted = {tags[1:]: n for name, _, n, tags in measures.told if name == "bourse_gateway_requests"}
    assert counted == {("200", "anonymous"): 2, ("404", "anonymous"): 2}
    assert not [tags for *_, tags in measures.told if any("TCS" in tag or "else" in tag for tag in tags)]


def test_the_streams_totals_grow_and_its_lags_are_told_whole(figures: dict[str, Any]) -> None:
    measures = Kept(Limits("redis://127.0.0.1:1/0"), lambda: figures)

    measures.tell()
    figures["frames"] = 14
    measures.tell()

    grown = [n for name, _, n, _ in measures.told if name == "bourse_stream_frames"]
    lags = [(tags[0], n) for name, _, n, tags in measures.told if name == "bourse_stream_lag_from_receipt_ms_bucket"]
    assert grown == [10, 4]
    assert lags[:3] == [("1", 5), ("2.5", 5), ("+Inf", 7)]


def test_a_stream_that_says_nothing_yet_is_none() -> None:
    measures = Kept(Limits("redis://127.0.0.1:1/0"), dict)

    measures.tell()

    assert not [name for name, how, *_ in measures.told if how == "inc"]
    assert buckets((), ()) == []
    assert {f"bourse_stream_{name}" for name in TOTALS} <= EXPORTED.keys()
