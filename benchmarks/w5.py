"""W5: quotes to many screens: ours through Serve and HAProxy, JSON for each client by websockets, and Flask-SocketIO.

Each socket watches 50 of 500 instruments, its own choice, and each instrument trades ten times a second. The ticks go
to the bus as a feed would write them, and the gateway's replica follows. The crowd runs in a process of its own beside
it (`benchmarks.crowd`): p50 and p99 are from the publishing of the newest change in a frame to its reader, the wait for
the socket's next frame included. `updates` are entries delivered, one instrument's changes each; a peer tells of each
the whole quote, the same fourteen fields. `W5_CASES` names cases
(`2000x50@10Hz,...`), `W5_SECONDS` their length, `W5_BARE=1` leaves Serve and HAProxy out, `W5_PEERS` names peers. A
peer gets the same changes at the same rate, over a pipe, and is asked by the same crowd: `benchmarks.peers_w5`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil

from benchmarks.report import Report
from benchmarks.stage import INSTRUMENTS, Stage, wait_for
from cluster.head import connections
from market.frames import AT, FIELDS, PRICE, RECEIVED, matrix
from market.money import SCALE, UNKNOWN
from market.quotes import QuoteRows, Quotes
from market.sessions import Sessions
from market.ticks import Ticks

CASES = [f"{sockets}x50@{rate}Hz" for sockets in (500, 2000, 8000) for rate in (1, 4, 10)]
SPARE = 60
"""Of HAProxy's connections: for its own looks at the replica, and ours. With 20,000 files a process 7,900 are left, so
that is how many sockets the cases of 8,000 have, ours and the peers'.
"""
SECONDS = float(os.environ.get("W5_SECONDS", "10"))
BARE = bool(os.environ.get("W5_BARE"))


PEERS = os.environ.get("W5_PEERS", "websockets,flask")
PYTHON = Path(__file__).parents[1] / ".venv" / "peers" / "bin" / "python"


def run(out: Report) -> None:
    """Every case on a gateway of its own, and on each peer."""
    for case in os.environ.get("W5_CASES", ",".join(CASES)).split(","):
        ours = measured(case, bare=BARE)
        shown(out, case, ours)
        for peer in filter(None, PEERS.split(",")):
            if not PYTHON.exists():
                out.say(f"{peer} is not there: make bench installs the peers")
                continue
            try:
                theirs = peered(case, peer)
            except (OSError, ValueError) as e:
                out.say(f"{peer} did not go the distance at {case}: {e}")
                continue
            shown(out, case, {metric: ours[metric] for metric in theirs if metric in ours}, theirs, peer)


def measured(
    case: str, *, bare: bool, frozen: int = 0, speech: str = "ours", seconds: float = SECONDS
) -> dict[str, float]:
    """One case: what the crowd saw in so long, and what it cost."""
    with Stage(bare=bare) as stage:
        before, idle = stage.memory(), psutil.Process(stage.gateway_pid).memory_info().rss
        crowd, ready = crowded(stage.port, case, frozen=frozen, speech=speech, seconds=seconds)
        stage.trade()
        time.sleep(2.0)
        held = psutil.Process(stage.gateway_pid).memory_info().rss - idle
        cpu = stage.cpu()
        seen = watched(crowd)
        used = {name: after - cpu[name] for name, after in stage.cpu().items()}
        found = {
            "sockets": ready["ready"],
            "updates_per_s": seen["updates"] / seen["seconds"],
            "frames_per_s": seen["frames"] / seen["seconds"],
            "p50_ms": seen["ages"][0],
            "p99_ms": seen["ages"][1],
            "sent_p99_ms": seen["sent"][1],
            "bytes_per_update": seen["bytes"] / max(seen["updates"], 1),
            "cpu_s": used["gateway"],
            "cpu_haproxy_s": used.get("haproxy", 0.0),
            "cpu_crowd_s": seen["cpu"],
            "us_per_frame": used["gateway"] / max(seen["frames"], 1) * 1e6,
            "kb_per_socket": held / max(ready["ready"], 1) / 1024,
            "lost": seen["lost"],
            "memory_mib": (stage.memory() - before) / 2**20,
        }
        return found | {f"closed {code}": count for code, count in seen["closed"].items()}


def peered(case: str, peer: str) -> dict[str, float]:
    """One case on a peer: the same figures. Raises ValueError: it or its crowd ended before the time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [str(PYTHON), str(Path(__file__).with_name("peers_w5.py")), str(port), peer]
    with (
        Stage(bare=None) as stage,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server,
    ):
        assert server.stdin is not None and server.stdout is not None
        server.stdout.readline()
        wait_for(port)
        pipe, process = server.stdin, psutil.Process(server.pid)
        book = Quotes(INSTRUMENTS, Sessions(stage.plan.sessions).table())

        def tell(rows: Ticks) -> None:
            book.update(rows)
            with suppress(BrokenPipeError):  # it has ended: its crowd sees that
                pipe.write(msgpack.packb(whole(book.read(rows["instrument"]))))
                pipe.flush()

        try:
            idle = process.memory_info().rss
            crowd, ready = crowded(port, case, speech=peer)
            stage.listeners.append(tell)
            stage.trade()
            time.sleep(2.0)
            held, cpu = process.memory_info().rss - idle, process.cpu_times()
            seen, after = watched(crowd), process.cpu_times()
        finally:
            stage.listeners.clear()
            server.terminate()
    return {
        "sockets": ready["ready"],
        "updates_per_s": seen["updates"] / seen["seconds"],
        "frames_per_s": seen["frames"] / seen["seconds"],
        "p50_ms": seen["ages"][0],
        "p99_ms": seen["ages"][1],
        "sent_p99_ms": seen["sent"][1],
        "bytes_per_update": seen["bytes"] / max(seen["updates"], 1),
        "cpu_s": after.user + after.system - cpu.user - cpu.system,
        "kb_per_socket": held / max(ready["ready"], 1) / 1024,
        "lost": seen["lost"],
    }


def whole(rows: QuoteRows) -> list[list[Any]]:
    """The instrument's number and all fields of each quote, prices in rupees and instants in ms; what a peer tells."""
    values = matrix(rows, np.zeros(len(rows), np.bool_), 0)
    values[:, RECEIVED] += values[:, AT]
    columns = [
        [None if v == UNKNOWN else v / SCALE if unit == PRICE else v for v in column.tolist()]
        for (_, unit), column in zip(FIELDS, values.T, strict=True)
    ]
    return [list(row) for row in zip(rows["instrument"].tolist(), *columns, strict=True)]


def crowded(
    port: int, case: str, *, frozen: int = 0, speech: str = "ours", seconds: float = SECONDS
) -> tuple[subprocess.Popen[str], Any]:
    """A crowd that has subscribed, and what it said of it. Raises ValueError: nobody could."""
    wanted, _, rest = case.partition("x")
    sockets = str(min(int(wanted), connections() - SPARE))
    symbols, _, rate = rest.removesuffix("Hz").partition("@")
    words = [sys.executable, "-m", "benchmarks.crowd", str(port), sockets, rate, symbols, str(seconds), str(frozen)]
    crowd = subprocess.Popen([*words, speech], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout is not None
    said = json.loads(crowd.stdout.readline())
    if not said["ready"]:
        crowd.terminate()
        raise ValueError(f"none of {sockets} sockets was let in: {said}")
    return crowd, said


def watched(crowd: subprocess.Popen[str]) -> dict[str, Any]:
    """What a crowd sees from now on, until it ends."""
    assert crowd.stdout is not None and crowd.stdin is not None
    crowd.stdin.write("go\n")
    crowd.stdin.flush()
    seen: dict[str, Any] = json.loads(crowd.stdout.readline())
    crowd.wait()
    return seen


def shown(
    out: Report, case: str, found: dict[str, float], peer: dict[str, float] | None = None, name: str = ""
) -> None:
    """One line a figure."""
    for metric, ours in found.items():
        theirs = peer.get(metric) if peer else None
        out.add(case, metric, ours, theirs, name or None, metric not in ("updates_per_s", "frames_per_s", "sockets"))
