"""A running instance: where it listens, and how it ends when Ray's head is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError
from ray.serve._private import api, client

from cluster import patience
from cluster.head import environment
from cluster.instance import MOST_BASES, free_base, in_one_line
from cluster.ports import HIGHEST, SPAN
from cluster.settings import DEEPEST, read
from market.errors import LineDown

ROOT = Path(__file__).resolve().parents[2]
BASE = free_base()
WAIT = 240.0
NODE = "f" * 56
"""What Ray puts into the path of HAProxy's sockets: a node's id."""
CHOSEN_BY_RAY = 1
"""Ray Serve gives the gateway's replica one more gRPC port, of the system's choice, which nothing can set."""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An instance of its own, gone with all that is its at the end."""
    shipped = (ROOT / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(re.sub(r"base: \d+", f"base: {BASE}", shipped))
    words = [sys.executable, "-c", "from cluster.main import app; app()", "up"]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"}
    screen = tmp_path / "screen.txt"
    with screen.open("w") as out:
        process = subprocess.Popen(words, cwd=tmp_path, env=known, stdout=out, stderr=out)
    try:
        until(lambda: "Bourse is up" in screen.read_text() or process.poll() is not None)
        assert process.poll() is None, screen.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT)


def test_the_longest_socket_paths_fit_whoever_runs_it(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(
        re.sub(r"base: \d+", f"base: {HIGHEST}", (ROOT / "cluster.yaml").read_text())
    )
    run = tmp_path / "run"
    longest = f"{'/' * DEEPEST}/bourse-{HIGHEST}-{'f' * 10}"
    found = environment(read(tmp_path / "cluster.yaml", {}), run)

    sockets = [Path(found[f"RAY_SERVE_HAPROXY_{n}_PATH"]) for n in ("SOCKET", "METRICS_SOCKET")]
    proxys = [longest + str(p.parent / NODE / p.name).removeprefix(str(run)) for p in sockets]
    rays = f"{longest}/ray/session_2026-11-21_10-25-33_097719_4194304/sockets/dash_MetricsHead"

    assert max(map(len, proxys)) <= 97  # what HAProxy says it takes
    assert len(rays) <= 107  # the kernel's own limit


def test_a_proxy_has_as_long_to_start_as_serve_waits_for_it(tmp_path: Path) -> None:
    found = environment(read(ROOT / "cluster.yaml", {}), tmp_path)

    patience.with_proxies()

    assert {api.HTTP_PROXY_TIMEOUT, client.HTTP_PROXY_TIMEOUT} == {
        float(found["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"])
    }


def test_a_node_that_is_not_registered_yet_is_asked_for_again() -> None:
    tries = iter([RuntimeError("not yet"), RuntimeError("not yet")])

    def look(address: str, node: str) -> str:
        for error in tries:
            raise error
        return f"{node} at {address}"

    assert patience.patient(look)("127.0.0.1:1", "n") == "n at 127.0.0.1:1"


def test_what_ray_tells_of_a_proxy_that_died_is_one_line() -> None:
    told = ActorDiedErrorContext(actor_id=bytes(16), class_name="HAProxyManager", error_message="killed by `ray.kill`")
    died = ActorDiedError(told)

    with pytest.raises(LineDown, match=r"The actor died .* see logs/serve") as caught, in_one_line("logs/serve"):
        raise died

    assert "\n" in str(died)
    assert "\n" not in str(caught.value)


def test_no_base_is_given_to_two_processes_and_who_asks_often_gets_his_own_again() -> None:
    asking = f"print(*[free_base() for _ in range({3 * MOST_BASES})], flush=True)"
    words = [sys.executable, "-c", f"from cluster.instance import free_base; {asking}; input()"]

    askers = [
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    given = [set(one.stdout.readline().split()) for one in askers if one.stdout is not None]
    for one in askers:
        one.communicate("\n")

    assert [len(bases) for bases in given] == [MOST_BASES] * 2
    assert not set.intersection(*given)


@pytest.mark.cluster
@pytest.mark.endurance
@pytest.mark.timeout(900)
def test_it_listens_within_its_ports_and_ends_with_rays_head(up: subprocess.Popen[bytes], tmp_path: Path) -> None:
    family = psutil.Process(up.pid).children(recursive=True)

    outside = [(port, name) for port, name in listening(family) if not BASE <= port < BASE + SPAN]
    next(p for p in family if p.name() == "gcs_server").kill()
    code = up.wait(WAIT)

    assert len(outside) <= CHOSEN_BY_RAY, outside
    assert code == 2
    assert "ray: its head has ended" in (tmp_path / "screen.txt").read_text()
    until(lambda: not any(alive(p) for p in family))


def listening(family: list[psutil.Process]) -> list[tuple[int, str]]:
    """Every port a process of the family takes connections on, with its name."""
    found = []
    for one in family:
        for link in one.net_connections("tcp") if alive(one) else []:
            if link.status == psutil.CONN_LISTEN:
                found.append((link.laddr.port, one.name()))
    return found


def alive(one: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(holds: Callable[[], bool]) -> None:
    """Look until it holds. Raises AssertionError when it never does."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.2)
