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
SECONDS = 240.0
CLIENTS, PAUSE = 4, 0.03
"""Each asks again so much later: together about a hundred a second, less on a busy machine."""


class Load:
    """Clients that ask for a symbol again and again until it is closed; what they were answered."""

    def __init__(self, address: str) -> None:
        self.answers: list[tuple[int, str]] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(address,)) for _ in range(CLIENTS)]
        for one in self._threads:
            one.start()

    def close(self) -> None:
        """End the clients."""
        self._ended.set()
        for one in self._threads:
            one.join()

    @property
    def versions(self) -> set[str]:
        """Those that answered."""
        return {version for _, version in self.answers}

    def _ask(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=20) as client:
            while not self._ended.wait(PAUSE):
                try:
                    got = client.post("/predict", json={"symbol": "RELIANCE"})
                    self.answers.append((got.status_code, str(got.json().get("model_version"))))
                except httpx.HTTPError as e:
                    self.answers.append((0, repr(e)))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A Bourse that runs, on the shipped file and ports of its own."""
    file = tmp_path / "cluster.yaml"
    shipped = (ROOT / "cluster.yaml").read_text()
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
        up.wait(60)


def _predictor(settings: Settings) -> dict[str, Any]:
    """What `/health` says of it; {} before it is up."""
    try:
        parts = httpx.get(f"http://127.0.0.1:{settings.ports.http}/health", timeout=5).json()["parts"]
    except (httpx.HTTPError, ValueError, KeyError):
        return {}
    found: dict[str, Any] = parts.get("predictor", {})
    return found if found.get("up") else {}


def _wait(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.2)


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
@pytest.mark.timeout(600)
@pytest.mark.endurance
def test_versions_and_tuning_change_under_load_and_a_killed_replica_comes_back_as_it_was(settings: Settings) -> None:
    _wait(lambda: not _predictor(settings).get("trouble", "starting"))
    first = _predictor(settings)["pid"]
    load = Load(f"http://127.0.0.1:{settings.ports.http}")
    try:
        _wait(lambda: "v1-heuristic" in load.versions)
        for version in (1, 2):
            _promoted(settings)
            _wait(lambda title=f"{NAME}@{version}": title in load.versions)
        _retune(settings, 0.25)
        _wait(lambda: _predictor(settings).get("challenger_weight") == 0.25)
        same, whole = _predictor(settings)["pid"], list(load.answers)
        os.kill(first, signal.SIGKILL)
        _wait(lambda: _predictor(settings).get("pid", first) != first)
        _wait(lambda: load.answers[-1][0] == 200)
        back = len(load.answers)
        _wait(lambda: len(load.answers) > back + 50)
    finally:
        load.close()

    assert same == first
    assert [answer for answer in whole if answer[0] != 200] == []
    assert {status for status, _ in load.answers} <= {200, 503, 504}  # whoever asked while there was no replica
    assert load.versions - {"None"} == {"v1-heuristic", f"{NAME}@1", f"{NAME}@2"}
    assert set(load.answers[back:]) == {(200, f"{NAME}@2")}  # the new replica holds what the old one held
    assert _predictor(settings)["challenger_weight"] == 0.25
