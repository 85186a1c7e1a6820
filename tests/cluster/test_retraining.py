"""Retraining in a Bourse that runs: by the timetable and by HTTP, into the registry, served unseen, and promoted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from adapters.bus import Bus
from adapters.lake import Lake
from adapters.schemas import candle_table
from adapters.shadows import shadows
from cluster.instance import free_base
from cluster.repairs import stores_of
from cluster.revision import revision
from cluster.secrecy import headers
from cluster.settings import Settings, read
from market.candles import CANDLE, Candles, Provenance
from market.features import SET
from market.holidays import sessions_of
from market.money import UNKNOWN
from market.sessions import MINUTE, Session, day_number

ROOT = Path(__file__).resolve().parents[2]
BOURSE = [sys.executable, "-c", "from cluster.main import app; app()"]
NAMES = ("NSE:RELIANCE", "NSE:TCS", "NSE:INFY", "NSE:SBIN", "NSE:ITC")
PRICES = (1400.0, 3100.0, 1500.0, 800.0, 300.0)
AIMLESS = "ITC"
"""The last one: nothing follows from anything in its prices."""
DAYS = tuple(sessions_of("NSE", date.today() - timedelta(days=60), date.today()))[-32:-1]
"""Before the session with which the simulated market begins."""
EARLIER, LATER = DAYS[:24], DAYS[24:]
"""What the first model learns from; what has come since when the next one does."""
MINUTES, BLOCK, PUSH, MOVE = 375, 25, 5, 0.0015
SECONDS = 500.0


def pushed(share: int) -> Candles:
    """Minutes of `DAYS`: five of each 25 push the price somewhere at much volume; the next five go on with it before
    noon and take it back after. So what a line through the features sees, half the day denies; trees see both.
    """
    rng, count = np.random.default_rng(share), MINUTES * len(DAYS)
    minute = np.arange(count) % MINUTES
    pushes, answers = minute % BLOCK < PUSH, minute % BLOCK // PUSH == 1
    direction = np.repeat(rng.choice([-1.0, 1.0], count // BLOCK), BLOCK) * (share < len(NAMES) - 1)
    moves = MOVE * direction * (pushes + answers * np.where(minute < MINUTES // 2, 1.0, -1.0))
    closes = PRICES[share] * np.exp(np.cumsum(moves + rng.normal(0, 0.0003, count)))
    opens = np.append(closes[0], closes[:-1])
    volumes = rng.integers(500, 1_000, count) * np.where(pushes, 5, 1)
    rows = np.zeros(count, CANDLE)
    rows["instrument"], rows["interval"], rows["provenance"] = share, 60, Provenance.IMPORTED
    rows["start"] = np.concatenate([day.open + np.arange(MINUTES) * MINUTE for day in DAYS])
    rows["session"] = np.repeat([day_number(day.date) for day in DAYS], MINUTES)
    for name, values in (("open", opens), ("close", closes)):
        rows[name] = np.rint(values * 10_000)
    rows["high"] = np.maximum(rows["open"], rows["close"]) + 1_000
    rows["low"] = np.minimum(rows["open"], rows["close"]) - 1_000
    rows["volume"], rows["trades"], rows["completeness"] = volumes, 10, 1.0
    rows["vwap"] = UNKNOWN
    return rows


def imported(settings: Settings, days: tuple[Session, ...]) -> None:
    """Into the lake, without features."""
    rows = np.concatenate([pushed(share) for share in range(len(NAMES))])
    rows = rows[np.isin(rows["session"], [day_number(day.date) for day in days])]
    Lake(settings.lake).append("candles", candle_table(rows, NAMES), {f"test {days[-1].date}": 1})


@pytest.fixture
def settings() -> Iterator[Settings]:
    """A Bourse that runs, with the earlier days imported."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        file = Path(folder) / "cluster.yaml"
        own = f"{{universe: [{', '.join(NAMES)}], partitions: 1, ports: {{base: {free_base()}}}, "
        own += "feeds: {sources: {sim: {kind: simulated, speed: 30}}}, predictor: {poll_seconds: 0.5}}"
        file.write_text(f"cluster_name: t\nprovider: {{type: local}}\nmetadata: {{bourse: {own}}}\n")
        found = read(file, {})
        imported(found, EARLIER)
        with (file.parent / "screen.txt").open("w") as screen:
            known = {**os.environ, "PYTHONPATH": str(ROOT)}
            up = subprocess.Popen([*BOURSE, "up"], cwd=folder, env=known, stdout=screen, stderr=screen)
        try:
            _wait(lambda: up.poll() is not None or bool(_predictor(found)))
            assert up.poll() is None, (file.parent / "screen.txt").read_text()
            yield found
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(120)


def bourse(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as Ray asks for."""
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = [*BOURSE, *words, "--config", str(settings.file)]
    return subprocess.run(said, env=known, capture_output=True, text=True, timeout=SECONDS)


def ask(settings: Settings, method: str, path: str, **body: Any) -> httpx.Response:
    known = headers(settings)  # to train is for admins
    return httpx.request(method, f"http://127.0.0.1:{settings.ports.http}{path}", timeout=20, headers=known, **body)


def versions(settings: Settings) -> dict[int, dict[str, Any]]:
    """What is registered, by number."""
    return {one["version"]: one for one in json.loads(bourse(settings, "models", "direction-15m", "--json").stdout)}


def _predictor(settings: Settings) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ask(settings, "GET", "/health").json()["parts"]["predictor"]
    except (httpx.HTTPError, ValueError, KeyError):
        return {}
    return found if found.get("up") else {}


def _answers(settings: Settings, version: str) -> bool:
    return bool(ask(settings, "POST", "/predict", json={"symbol": "TCS"}).json().get("model_version") == version)


def _wait(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.2)


@pytest.mark.cluster
@pytest.mark.endurance
@pytest.mark.timeout(1500)
def test_the_timetable_trains_a_challenger_that_answers_unseen_until_it_is_promoted(settings: Settings) -> None:
    _wait(lambda: not _predictor(settings).get("trouble", "starting"))
    replica = _predictor(settings)["pid"]

    one_test = ("--from", EARLIER[-5].date.isoformat(), "--to", EARLIER[-1].date.isoformat(), "--folds", "1")
    aimless = ("--symbols", AIMLESS, "--members", "linear", "--every", "15", "--features")
    flat = bourse(settings, "train", "--horizon", "15m", *one_test, *aimless)
    assert flat.returncode == 0 and "direction-15m@1; it has no edge" in flat.stdout, flat.stdout + flat.stderr
    refused = bourse(settings, "promote", "direction-15m@1")
    assert (refused.returncode, "NO_EDGE" in refused.stderr) == (1, True)

    weekly = bourse(settings, "timetable", "run", "train")

    assert weekly.returncode == 0, weekly.stdout + weekly.stderr
    first = versions(settings)[2]
    about = first["about"]
    assert (first["aliases"], about["verdict"], about["features"], about["seed"]) == (["challenger"], "EDGE", SET, 7), (
        about
    )
    assert about["revision"] == revision() and {"candles", "features"} <= set(about["lake"])

    _wait(lambda: _predictor(settings).get("challengers", {}).get("15m") == "direction-15m@2")
    bus = Bus(stores_of(settings).bus)
    _wait(lambda: len(shadows(bus, NAMES)[0]) > 0)
    assert set(shadows(bus, NAMES)[0]["version"].to_pylist()) == {"direction-15m@2"}
    assert _answers(settings, "v1-heuristic")

    again = bourse(settings, "timetable", "run", "train")
    assert again.returncode == 0 and set(versions(settings)) == {1, 2}  # not scored live yet: it waits

    promoted = bourse(settings, "promote", "direction-15m@2")
    assert promoted.returncode == 0, promoted.stderr
    _wait(lambda: _answers(settings, "direction-15m@2"))

    imported(settings, LATER)
    asked = ask(settings, "POST", "/models/direction-15m/train")
    assert asked.status_code == 202 and re.fullmatch(r"/jobs/\S+", asked.headers["location"])
    ended = ("succeeded", "failed", "stopped", "lost")
    _wait(lambda: ask(settings, "GET", asked.headers["location"]).json()["state"] in ended)
    assert ask(settings, "GET", asked.headers["location"]).json()["state"] == "succeeded"
    third = versions(settings)[3]
    rivalry, shared = third["about"]["rivalry"], LATER[1:]  # an embargo of a session behind what the champion knows
    assert (third["aliases"], third["about"]["verdict"], rivalry["version"]) == (["challenger"], "EDGE", 2)
    span = shared[0].date.isoformat(), shared[-1].date.isoformat()
    assert (rivalry["first"], rivalry["last"], rivalry["sessions"]) == (*span, len(shared))
    assert rivalry["score"] > 0 and rivalry["theirs"] > 0

    by_rule = bourse(settings, "promote", "direction-15m@3")
    assert (by_rule.returncode == 0) == (rivalry["score"] > rivalry["theirs"]), by_rule.stdout + by_rule.stderr
    if by_rule.returncode:
        forced = bourse(settings, "promote", "direction-15m@3", "--force", "--because", "a test")
        assert forced.returncode == 0, forced.stderr
    _wait(lambda: _answers(settings, "direction-15m@3"))
    assert bourse(settings, "rollback", "direction-15m").returncode == 0
    _wait(lambda: _answers(settings, "direction-15m@2"))

    equal = bourse(settings, "reproduce", "direction-15m@2", "--cores", "1")
    assert (equal.returncode, "direction-15m@2 is equal" in equal.stdout) == (0, True), equal.stdout + equal.stderr
    assert _predictor(settings)["pid"] == replica
