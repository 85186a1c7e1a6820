"""The predictor of a running Bourse: versions, tuning and replicas change under load, and no request fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.redeploy import Load, ample
from cluster.databases import registry
from cluster.instance import free_base
from cluster.settings import Settings, read
from market.ensemble import Ensemble
from market.features import SET
from market.models.heuristic import Heuristic
from market.registrations import About, Promotion

ROOT = Path(__file__).resolve().parents[2]
BOURSE = [sys.executable, "-c", "from cluster.main import app; app()"]
NAME = "direction-15m"
SECONDS = 400.0
RATE, CLIENTS = 100, 4


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A Bourse that runs, on the shipped file and ports of its own."""
    file = tmp_path / "cluster.yaml"
    shipped = ample((ROOT / "cluster.yaml").read_text())
    shipped = re.sub(r"poll_seconds: \d+", "poll_seconds: 0.5", re.sub(r"base: \d+", f"base: {free_base()}", shipped))
    file.write_text(shipped)
    found = read(file, {})
    with (tmp_path / "screen.txt").open("w") as screen:
        known = {**os.environ, "PYTHONPATH": str(ROOT)}
        up = subprocess.Popen([*BOURSE, "up"], cwd=tmp_path, env=known, stdout=screen, stderr=screen)
    try:
        _wait(lambda: up.poll() is not None or bool(_predictor(found)))
        assert up.poll() is None, (tmp_path / "screen.txt").read_text()
        yield found
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(120)


def _predictor(settings: Settings) -> dict[str, Any]:
    """What `/health` says of it; {} before it is up."""
    try:
        parts = httpx.get(f"http://127.0.0.1:{settings.ports.http}/health", timeout=20).json()["parts"]
    except (httpx.HTTPError, ValueError, KeyError):
        return {}
    found: dict[str, Any] = parts.get("predictor", {})
    return found if found.get("up") else {}


def _wait(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.2)


def _versions(load: Load) -> set[str]:
    """Those that answered."""
    return {one.said for one in list(load.replies) if one.status == 200}


def _promoted(settings: Settings) -> None:
    """Register one more version and make it the champion."""
    about = About(
        name=NAME, horizon="15m", features=SET, symbols=("NSE:RELIANCE",), revision="test", seed=1, measure="auc",
        score=0.6, baselines={"none": 0.5}, verdict="EDGE", trained_at=datetime.now(UTC),
    )  # fmt: skip
    files = Ensemble("15m", {"heuristic": Heuristic("15m")}).save()
    with registry(settings) as models:
        version = models.register(NAME, files, about)
        assert isinstance(models.promote(NAME, version, force=True, because="a test"), Promotion)


def _retune(settings: Settings, weight: float) -> None:
    """By a process of its own: Ray keeps the token of the first cluster that a process has joined."""
    words = [*BOURSE, "predictor", "--challenger-weight", str(weight), "--config", str(settings.file)]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=known, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.cluster
@pytest.mark.timeout(1200)
@pytest.mark.endurance
@pytest.mark.alone
def test_versions_and_tuning_change_under_load_and_a_killed_replica_comes_back_as_it_was(settings: Settings) -> None:
    _wait(lambda: not _predictor(settings).get("trouble", "starting"))
    first = _predictor(settings)["pid"]
    load = Load(settings, RATE, CLIENTS)
    try:
        _wait(lambda: "v1-heuristic" in _versions(load))
        for version in (1, 2):
            _promoted(settings)
            _wait(lambda title=f"{NAME}@{version}": title in _versions(load))
        _retune(settings, 0.25)
        _wait(lambda: _predictor(settings).get("challenger_weight") == 0.25)
        same, whole = _predictor(settings)["pid"], list(load.replies)
        os.kill(first, signal.SIGKILL)
        _wait(lambda: _predictor(settings).get("pid", first) != first)
        _wait(lambda: load.replies[-1].status == 200)
        back = len(load.replies)
        _wait(lambda: len(load.replies) > back + 50)
    finally:
        load.close()

    assert same == first
    assert [one for one in whole if one.status != 200] == []
    assert {one.status for one in load.replies} <= {200, 503, 504}  # whoever asked while there was no replica
    assert _versions(load) == {"v1-heuristic", f"{NAME}@1", f"{NAME}@2"}
    after = {(one.status, one.said) for one in load.replies[back:]}
    assert after == {(200, f"{NAME}@2")}  # the new replica holds what the old one held
    assert _predictor(settings)["challenger_weight"] == 0.25
