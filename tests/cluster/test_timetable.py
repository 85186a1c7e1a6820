"""The timetable on a cluster: Ray takes each run once, and who is killed in between changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
BASE = 24_700
WAIT = 110.0
CONFIG = f"""
cluster_name: bourse
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: []}}
metadata:
  bourse:
    ports: {{base: {BASE}}}
    feeds: {{sources: {{sim: {{kind: simulated, speed: 60}}}}}}
    timetable:
      compact: {{at: every 10 min while open, do: compact}}
      hasty: {{at: every 15 min while open, do: compact, tries: 1, limit_seconds: 1}}
"""
KNOWN = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def bourse(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    command = [sys.executable, "-m", "cluster.main", *words]
    return subprocess.run(command, cwd=folder, env=KNOWN, capture_output=True, text=True, timeout=WAIT)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An instance of its own, gone with all that is its at the end."""
    (tmp_path / "cluster.yaml").write_text(CONFIG)
    screen = tmp_path / "screen.txt"
    with screen.open("w") as out:
        words = [sys.executable, "-m", "cluster.main", "up"]
        process = subprocess.Popen(words, cwd=tmp_path, env=KNOWN, stdout=out, stderr=out)
    try:
        until(lambda: answers() or process.poll() is not None)
        assert process.poll() is None, screen.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT)


def test_jobs_run_once_are_stopped_in_time_and_survive_a_kill(up: subprocess.Popen[bytes], tmp_path: Path) -> None:
    by_hand = bourse(tmp_path, "timetable", "run", "compact")
    until(lambda: len(named(tmp_path, "started")) > len(named(tmp_path, "succeeded", "stopped")))
    next(p for p in psutil.Process(up.pid).children(recursive=True) if "ray::Timetable" in words(p)).kill()
    until(lambda: len(named(tmp_path, "succeeded")) >= 4 and len(named(tmp_path, "stopped")) >= 1)
    until(lambda: "hasty" in [a["subject"] for a in get("/api/v1/alerts")["alerts"]])
    listed, shown = bourse(tmp_path, "timetable"), bourse(tmp_path, "alerts")

    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    assert "succeeded" in by_hand.stdout
    began = named(tmp_path, "started")
    assert len(began) == len(set(began)) >= 5
    assert [name for name in began if "try" in name] == []
    assert "every 10 min while open" in listed.stdout
    assert "hasty did not end well: stopped, took longer than 1 s" in shown.stdout


def named(folder: Path, *states: str) -> list[str]:
    """The tries of which the timetable logged one of these, in order."""
    said = [json.loads(line) for line in (folder / "data/logs/timetable.jsonl").read_text().splitlines()]
    return [line["run"] for line in said if line["event"] == "job" and line["state"] in states]


def get(path: str) -> dict[str, Any]:
    """What the gateway answers."""
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{BASE}{path}", timeout=30.0).json()
    return found


def words(process: psutil.Process) -> str:
    """A process's command line, nothing where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def answers() -> bool:
    """Whether the gateway says that all is well."""
    try:
        return bool(get("/health").get("status") == "ok")
    except (httpx.HTTPError, ValueError):
        return False


def until(holds: Callable[[], bool]) -> None:
    """Look until it holds. Raises AssertionError when it never does."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.2)
