"""Wiring: every feed of the file runs, under a number of its own, with an exchange of its own unless it shares one."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.supervisor import pack, unpack
from cluster.settings import read
from cluster.tapes import Tape
from cluster.wiring import Wiring
from market.features import MEMORY

FILE = """
cluster_name: bourse
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
metadata:
  bourse:
    ports: {base: 21000}
    feeds:
      primary: main
      arbitrate: true
      return_after_seconds: 12
      sources:
        far: {kind: simulated, url: "ws://127.0.0.1:21007/"}
        main: {kind: simulated, fallback: spare}
        spare: {kind: simulated, fallback: far, mute_after_seconds: 5}
        other: {kind: simulated}
"""


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    """The plans by name."""
    return {part.name: part.plan for part in wiring(tmp_path).parts()}


def wiring(folder: Path, **more: Any) -> Wiring:
    (folder / "cluster.yaml").write_text(FILE)
    stores: Any = SimpleNamespace(bus="unix:///bus", cache="unix:///cache")
    return Wiring(read(folder / "cluster.yaml", {}), stores, **more)


def test_every_feed_runs_under_the_number_of_its_place_in_the_file(parts: dict[str, Any]) -> None:
    feeds = {name: plan.source for name, plan in parts.items() if name.startswith("feed-")}

    assert feeds == {"feed-far": 0, "feed-main": 1, "feed-spare": 2, "feed-other": 3}
    assert parts["archive"].feeds == ("far", "main", "spare", "other")


def test_all_parts_are_small_enough_to_be_found_again_by_a_supervisor_that_starts_anew(tmp_path: Path) -> None:
    parts = tuple(wiring(tmp_path).parts())

    packed = pack(parts)

    assert unpack(packed) == parts
    assert len(packed) < 100_000


def test_a_simulated_feed_has_its_own_exchange_unless_it_names_another(parts: dict[str, Any]) -> None:
    exchanges = {name: plan.port for name, plan in parts.items() if name.startswith("exchange-")}

    assert exchanges == {"exchange-main": 21007, "exchange-spare": 21205, "exchange-other": 21206}
    assert [parts[f"feed-{name}"].url for name in ("far", "main", "spare")] == [
        "ws://127.0.0.1:21007/",
        "ws://127.0.0.1:21007/",
        "ws://127.0.0.1:21205/",
    ]


def test_the_switch_is_told_the_chain_of_fallbacks_and_the_rest_as_spares(parts: dict[str, Any]) -> None:
    rules = [(r.name, r.source, r.standby, r.silent_after // 10**9) for r in parts["switch"].rules]

    assert rules == [("main", 1, True, 3), ("spare", 2, True, 5), ("far", 0, True, 3), ("other", 3, False, 3)]
    assert parts["switch"].return_after == 12 * 10**9
    assert parts["candles-0"].arbitrate


def test_a_recorded_day_is_played_to_the_primary_alone(tmp_path: Path) -> None:
    told = wiring(tmp_path, tape=Tape(recording=tmp_path / "bars", day=date(2016, 8, 25), speed=None))

    names = [part.name for part in told.parts(read_model=False)]
    bare = [part.name for part in told.parts(read_model=False, features=False)]

    assert names == ["exchange-main", "candles-0", "analysis-0", "signals", "archive", "feed-main"]
    assert bare == ["exchange-main", "candles-0", "archive", "feed-main"]


def test_analysis_has_all_partitions_and_the_sessions_that_features_remember(tmp_path: Path) -> None:
    told = wiring(tmp_path)

    plan = next(part.plan for part in told.parts() if part.name == "analysis-0")

    assert plan.mine == (0, 1)
    assert plan.patience == 3 * 60 * 10**9
    assert len([s for s in plan.sessions if s.date < told.sessions[0].date]) > MEMORY["1d"]
    assert [s.date for s in plan.sessions] == sorted({s.date for s in plan.sessions})


def test_a_recorded_days_features_wait_for_ever(tmp_path: Path) -> None:
    told = wiring(tmp_path, tape=Tape(recording=tmp_path / "bars", day=date(2016, 8, 25), speed=None))

    plan = next(part.plan for part in told.parts() if part.name == "analysis-0")
    assert plan.patience is None and plan.predictor == ""


def test_a_live_market_is_put_to_the_predictor(parts: dict[str, Any]) -> None:
    assert parts["analysis-0"].predictor == "predictor"
    assert parts["analysis-0"].horizons == ("15m", "5m", "60m", "1d")  # that of the signals first
    assert "scores" in parts["archive"].tables


@pytest.mark.parametrize("features", [True, False])
def test_the_bus_keeps_what_analysis_has_not_read_where_there_is_one(tmp_path: Path, features: bool) -> None:
    told = wiring(tmp_path).supervisor(features=features)

    assert ("analysis" in told.readers["candles"]) is features
    assert told.readers["analysis"] == ("archive-analysis",)
    assert told.readers["scores"] == (("archive-scores", "signals") if features else ("archive-scores",))
    assert told.readers.keys() == told.keep_seconds.keys()
