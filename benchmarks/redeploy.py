"""A predictor redeployed under 100 requests a second, its replica and Analysis killed: what fails, what is missing.

A whole Bourse, as `bourse up` starts it, on a copy of this code, ports and a folder of its own; the simulated market at
15 times real time, so a minute closes every four seconds. Clients ask `/predict` at a steady rate, whatever was
answered, from before the first change to after the last. The predictor is replaced by one of changed code and config,
then by code that does not run, and a model is promoted in the registry; then `kill -9` of the replica, and of Analysis.
In the end every one-minute candle on the bus must have its scorecard, once. No peer.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import psutil

from adapters import entries
from adapters.bus import END, SEQUENCE_BITS, START, Bus
from benchmarks.report import Report
from market.candles import CANDLE, INTERVALS
from market.ensemble import Ensemble
from market.features import SET
from market.models.heuristic import Heuristic
from market.registrations import About
from market.scores import SCORE, Asked
from market.users import OPERATOR_LASTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("market", "adapters", "actors", "pipelines", "serve_app", "cluster")
BOURSE = [sys.executable, "-c", "from cluster.main import app; app()"]
MODEL = "direction-15m"
SPEED = 15
UNIVERSE = ("RELIANCE", "TCS", "INFY", "HDFCBANK", "ICICIBANK", "SBIN", "ITC", "LT", "NIFTY 50", "INDIA VIX")
RATE, CLIENTS = 100, 32
"""Requests a second, and connections: enough for the rate when each waits for the five seconds it may."""
MOST_SECONDS = 6.0
"""An answer later than this is none: the gateway promises 5 s, and the client is on the same busy cores."""
BEHIND = 1.0
"""Seconds by which clients on a busy machine may be behind the rate; what is later is not made up for."""
AROUND, CALM = 3.0, 10.0
"""Seconds of load before and behind each change, and without any."""
SIGNED = OPERATOR_LASTS.total_seconds() / 2
WAIT = 900.0
OK = 200
LARGEST = 1_000_000


class Reply(NamedTuple):
    """One request: when it was made, seconds of a steady clock; `status` 0: no answer; who answered, or why not."""

    at: float
    status: int
    ms: float
    said: str


class Load:
    """Clients that ask for predictions at a steady rate until it is closed, more often than a stranger may.

    `replies`: all there were.
    """

    def __init__(self, settings: Any, rate: float = RATE, clients: int = CLIENTS) -> None:
        self.replies: list[Reply] = []
        self._settings, self._port, self._rate = settings, settings.ports.http, rate
        self._began, self._signed = time.monotonic(), -SIGNED
        self._asked, self._lock, self._ended = 0, threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for one in self._threads:
            one.start()

    def close(self) -> None:
        """End the clients."""
        self._ended.set()
        for one in self._threads:
            one.join()

    def between(self, first: float, last: float) -> list[Reply]:
        """The replies to what was asked in [first, last)."""
        return [one for one in list(self.replies) if first <= one.at < last]

    def _run(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while True:
            with self._lock:
                self._sign()
                self._began = max(self._began, time.monotonic() - BEHIND - self._asked / self._rate)
                due = self._began + self._asked / self._rate
                self._asked += 1
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            began = time.monotonic()
            try:
                line.request("POST", "/predict", _BODY, self._headers)
                got = line.getresponse()
                status, body = got.status, orjson.loads(got.read())
                said = str(body.get("model_version") or body.get("type"))
            except (OSError, http.client.HTTPException, ValueError) as e:
                line.close()
                status, said = 0, type(e).__name__
            self.replies.append(Reply(began, status, (time.monotonic() - began) * 1000, said))

    def _sign(self) -> None:
        """An operator's token lasts for a command."""
        from cluster.secrecy import headers

        if time.monotonic() - self._signed >= SIGNED:
            self._signed = time.monotonic()
            self._headers = {"Content-Type": "application/json", **headers(self._settings)}


_BODY = orjson.dumps({"symbol": "RELIANCE"})


class Running:
    """A Bourse as its tormentor sees it; `code`: the folder that its processes import from."""

    def __init__(self, settings: Any, code: Path) -> None:
        self.settings, self.code = settings, code
        self._bus: Bus | None = None

    @property
    def bus(self) -> Bus:
        """Its bus."""
        from cluster.stores import Stores

        if self._bus is None:
            self._bus = Bus(Stores(self.settings, self.settings.run_folder).bus)
        return self._bus

    def status(self) -> dict[str, Any]:
        """Its status record; {} while it gives none."""
        line = http.client.HTTPConnection("127.0.0.1", self.settings.ports.http, timeout=5)
        try:
            line.request("GET", "/api/v1/status")
            got = line.getresponse()
            found: dict[str, Any] = orjson.loads(got.read()) if got.status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError):
            found = {}
        finally:
            line.close()
        return found

    def predictor(self) -> dict[str, Any]:
        """What its predictor says of itself; {} while it says nothing."""
        found: dict[str, Any] = self.status().get("predictor", {})
        return found if found.get("up") else {}

    def analysis(self) -> dict[str, Any]:
        """The part of the status that is Analysis; {} before it has answered."""
        parts = self.status().get("parts", [])
        return next((one for one in parts if one["part"] == "analysis" and "pid" in one), {})

    def bourse(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command, in a process of its own: Ray keeps the token of the first cluster a process has joined."""
        folder, said = self.settings.file.parent, [*BOURSE, *words, "--config", str(self.settings.file)]
        return subprocess.run(said, cwd=folder, env=self._environment(), capture_output=True, text=True, timeout=WAIT)

    def start(self, screen: Any) -> subprocess.Popen[bytes]:
        """`bourse up`."""
        folder = self.settings.file.parent
        words = [*BOURSE, "up"]
        return subprocess.Popen(words, cwd=folder, env=self._environment(), stdout=screen, stderr=screen)

    def promote(self) -> str:
        """Register one more version, make it the champion and return its title."""
        from cluster.databases import registry

        about = About(
            name=MODEL, horizon="15m", features=SET, symbols=("NSE:RELIANCE",), revision="redeploy", seed=1,
            measure="auc", score=0.6, baselines={"none": 0.5}, verdict="EDGE", trained_at=datetime.now(UTC),
        )  # fmt: skip
        with registry(self.settings) as models:
            version = models.register(MODEL, Ensemble("15m", {"heuristic": Heuristic("15m")}).save(), about)
            models.promote(MODEL, version, force=True, because="it is to be swapped under load")
        return f"{MODEL}@{version}"

    def change_code(self, file: str, old: str, new: str) -> None:
        """Edit the code that it was started from."""
        path = self.code / file
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{file} has no {old!r}")
        path.write_text(text.replace(old, new))

    def change_config(self, old: str, new: str) -> None:
        """Edit its cluster.yaml."""
        text = self.settings.file.read_text()
        if old not in text:
            raise ValueError(f"cluster.yaml has no {old!r}")
        self.settings.file.write_text(text.replace(old, new))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.code)}


def ample(shipped: str) -> str:
    """The shipped cluster.yaml with limits that the load does not meet."""
    return re.sub(
        r"requests_per_second: \d+, burst: \d+", f"requests_per_second: {10 * RATE}, burst: {10 * RATE}", shipped
    )


@contextmanager
def running(folder: Path, speed: float = SPEED) -> Iterator[Running]:
    """A Bourse on the shipped file and a copy of the code in `folder`, until the end of the block."""
    from cluster.instance import free_base
    from cluster.settings import read

    code, file = folder / "code", folder / "cluster.yaml"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    shipped = ample((ROOT / "cluster.yaml").read_text())
    listed = ", ".join(f"NSE:{name}" for name in UNIVERSE)
    for name, value in (("base", free_base()), ("poll_seconds", 0.5), ("speed", f"{speed:g}")):
        shipped = re.sub(rf"{name}: \d+", f"{name}: {value}", shipped)
    shipped = shipped.replace("universe: nifty50", f"universe: [{listed}]")
    file.write_text(shipped)
    found = Running(read(file, {}), code)
    with (folder / "screen.txt").open("w") as screen:
        up = found.start(screen)
    try:
        wait(lambda: up.poll() is not None or bool(found.predictor()))
        if up.poll() is not None:
            raise RuntimeError((folder / "screen.txt").read_text()[-2000:])
        yield found
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def wait(condition: Callable[[], bool], pause: float = 0.2) -> None:
    """Until something holds. Raises TimeoutError."""
    pausing, end = threading.Event(), time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WAIT:.0f} s")
        pausing.wait(pause)


def heard(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is answered, as soon as anything is. Raises TimeoutError."""
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        found[:] = [ask()]
        return bool(found[0])

    wait(answered)
    return found[0]


class Cards(NamedTuple):
    """Scorecards against closed one-minute candles: `expected` by the candles and horizons, those `missing` or
    `doubled`, those `without` a prediction by what came of asking, and the `minutes` there were.
    """

    expected: int
    missing: int
    doubled: int
    without: dict[str, int]
    minutes: int


def scorecards(bus: Bus, partitions: int, until: int) -> Cards:
    """Of the candles that start by `until`, ns UTC, and the scorecards on the bus."""
    candles = rows_of(bus, "candles", partitions, CANDLE)
    candles = candles[(candles["interval"] == INTERVALS["1m"]) & (candles["start"] <= until)]
    scores = rows_of(bus, "scores", partitions, SCORE)
    scores = scores[scores["start"] <= until]
    closed = set(zip(candles["instrument"].tolist(), candles["start"].tolist(), strict=True))
    wanted = {(*one, horizon) for one in closed for horizon in set(scores["horizon"].tolist())}
    found = Counter(
        zip(scores["instrument"].tolist(), scores["start"].tolist(), scores["horizon"].tolist(),
            scores["revision"].tolist(), strict=True)
    )  # fmt: skip
    there = {key[:3] for key in found}
    asked = Counter(Asked(one).name for one in scores["asked"].tolist() if one)
    minutes = len({start for _, start in closed})
    return Cards(len(wanted), len(wanted - there), sum(found.values()) - len(found), dict(asked), minutes)


def rows_of(bus: Bus, topic: str, partitions: int, dtype: np.dtype[Any]) -> np.ndarray:
    """All rows of a topic."""
    found = [
        entries.decode(e.payload, dtype) for p in range(partitions) for e in bus.range(topic, p, START, END, LARGEST)
    ]
    return np.concatenate([np.zeros(0, dtype), *found])


def caught_up(one: Running) -> int:
    """Wait until everything closed by now is scored; the newest minute of that, ns UTC."""
    candles = rows_of(one.bus, "candles", one.settings.partitions, CANDLE)
    until = int(candles["start"][candles["interval"] == INTERVALS["1m"]].max())

    def through() -> bool:
        scores = rows_of(one.bus, "scores", one.settings.partitions, SCORE)
        return bool(len(scores)) and int(scores["start"].max()) > until

    wait(through, 0.5)
    return until


class Change(NamedTuple):
    """What callers met around one change: every reply, seconds until it was through, and what became of it."""

    replies: list[Reply]
    seconds: float
    said: str

    @property
    def rate(self) -> float:
        """Requests a second that were made."""
        made = [one.at for one in self.replies]
        return len(made) / (max(made) - min(made)) if len(made) > 1 else 0.0

    @property
    def failed(self) -> list[Reply]:
        """Those without a prediction."""
        return [one for one in self.replies if one.status != OK]

    @property
    def kinds(self) -> dict[str, int]:
        """What the failed ones were told, and how often."""
        return dict(Counter(f"{one.status} {one.said}" for one in self.failed))

    def ms(self, share: float) -> float:
        """A percentile of the milliseconds of all replies."""
        return float(np.percentile([one.ms for one in self.replies] or [np.nan], share))


class Outcome(NamedTuple):
    """All of it. `changes` by name; `told` and `counted`: scorecards without a prediction before Analysis was killed,
    by the bus and by its status; `refused`: what the gateway has counted; `whole`: replies from first to last.
    """

    changes: dict[str, Change]
    cards: Cards
    told: int
    counted: int
    refused: dict[str, int]
    whole: Change


def ordeal(folder: Path, say: Callable[[str], None]) -> Outcome:
    """Start a Bourse, put it under load, change it and kill of it; what came of it."""
    with running(folder) as one:
        wait(lambda: one.analysis().get("scores", {}).get("versions") == ["v1-heuristic"])
        load, began = Load(one.settings), time.monotonic()
        changes: dict[str, Change] = {}
        try:
            for name, change in CHANGES.items():
                changes[name] = _around(load, change, one)
                say(f"{name}: {changes[name].seconds:.1f} s, {changes[name].said}")
            told, counted = _without(one)
            changes[LAST] = _around(load, _kill_analysis, one)
            say(f"{LAST}: {changes[LAST].seconds:.1f} s, {changes[LAST].said}")
        finally:
            load.close()
        until = caught_up(one)
        cards = scorecards(one.bus, one.settings.partitions, until)
        refused = heard(one.status)["gateway"]["refused"]
        return Outcome(changes, cards, told, counted, refused, Change(load.replies, time.monotonic() - began, ""))


def run(out: Report) -> None:
    """Print the figures of an ordeal."""
    with tempfile.TemporaryDirectory(prefix="bourse-redeploy-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        found = ordeal(Path(folder), out.say)
    for name, change in found.changes.items():
        out.add(name, "requests", len(change.replies))
        out.add(name, "requests/s", change.rate)
        out.add(name, "failed", len(change.failed))
        out.add(name, "p50 ms", change.ms(50))
        out.add(name, "p99 ms", change.ms(99))
        out.add(name, "longest ms", change.ms(100))
        out.add(name, "through in s", change.seconds)
        if change.failed:
            out.say(f"{name}: {change.kinds}")
    out.add("from first to last", "requests", len(found.whole.replies))
    out.add("from first to last", "requests/s", found.whole.rate)
    out.add("from first to last", "failed", len(found.whole.failed))
    out.add("from first to last", "longest ms", found.whole.ms(100))
    out.add("scorecards", "minutes", found.cards.minutes)
    for name in ("expected", "missing", "doubled"):
        out.add("scorecards", name, getattr(found.cards, name))
    out.add("scorecards", "without a prediction", sum(found.cards.without.values()))
    out.say(f"without a prediction: {found.cards.without}; counted before Analysis was killed {found.counted} of "
            f"{found.told}; refused by the gateway: {found.refused}")  # fmt: skip


def _around(load: Load, change: Callable[[Running], tuple[float, str]], one: Running) -> Change:
    """A change, with the load of some seconds before and behind it."""
    pause, first = threading.Event(), time.monotonic()
    pause.wait(AROUND)
    seconds, said = change(one)
    pause.wait(AROUND)
    last = time.monotonic()
    pause.wait(MOST_SECONDS)  # what was asked until then has been answered
    return Change(load.between(first, last), seconds, said)


def _nothing(one: Running) -> tuple[float, str]:
    """What the machine alone does to the times."""
    began = time.monotonic()
    threading.Event().wait(CALM)
    return time.monotonic() - began, f"replica {heard(one.predictor)['pid']}"


def _new_code(one: Running) -> tuple[float, str]:
    one.change_code("serve_app/ensembles.py", '"v1-heuristic"', '"v2-heuristic"')
    one.change_config("threads: 1", "threads: 2")
    began = time.monotonic()
    done = one.bourse("redeploy")
    seconds = time.monotonic() - began
    wait(lambda: set(one.predictor().get("champions", {}).values()) == {"v2-heuristic"})
    threads = psutil.Process(heard(one.predictor)["pid"]).environ()["OMP_NUM_THREADS"]
    return seconds, f"{threads} threads, {done.stdout.strip()}"


def _broken_code(one: Running) -> tuple[float, str]:
    before = heard(one.predictor)["pid"]
    one.change_code("serve_app/predictor.py", "self._ensembles = Ensembles(", "self._ensembles = Nothing(")
    began = time.monotonic()
    done = one.bourse("redeploy")
    seconds = time.monotonic() - began
    one.change_code("serve_app/predictor.py", "self._ensembles = Nothing(", "self._ensembles = Ensembles(")
    same = "the same replica" if heard(one.predictor)["pid"] == before else "another replica"
    return seconds, f"{done.returncode} {same} {done.stderr.strip().splitlines()[-1]}"


def _new_model(one: Running) -> tuple[float, str]:
    began = time.monotonic()
    title = one.promote()
    wait(lambda: one.predictor().get("champions", {}).get("15m") == title)
    wait(lambda: title in one.analysis().get("scores", {}).get("versions", []))
    return time.monotonic() - began, title


def _kill_replica(one: Running) -> tuple[float, str]:
    pid = heard(one.predictor)["pid"]
    before = heard(one.analysis)["scores"]
    os.kill(pid, signal.SIGKILL)
    began, killed = time.monotonic(), time.time()
    wait(lambda: one.predictor().get("pid", pid) != pid)
    up = time.monotonic() - began
    back = _answered_again(one, killed, killed + up)
    now = heard(one.analysis)["scores"]
    counts = {name: now[name] - before[name] for name in ("slow", "down", "resting", "without")}
    return back, f"a new one after {up:.1f} s, scorecards with predictions after {back:.1f} s, {counts}"


def _kill_analysis(one: Running) -> tuple[float, str]:
    pid = heard(one.analysis)["pid"]
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    wait(lambda: one.analysis().get("pid", pid) != pid)
    caught_up(one)
    return time.monotonic() - began, f"{heard(one.analysis)['restarts']} restarts"


def _answered_again(one: Running, since: float, up: float) -> float:
    """Seconds from `since`, Unix, until live scorecards carried an answer of the predictor again, for the first time
    after one did not; or after `up`, where each did.
    """
    found: list[float] = []

    def there() -> bool:
        missed = -1
        for p in range(one.settings.partitions):
            for entry in one.bus.range("scores", p, int(since * 1000) << SEQUENCE_BITS, END, LARGEST):
                rows = entries.decode(entry.payload, SCORE)
                if (rows["asked"] != Asked.ANSWERED).any():
                    missed = max(missed, entry.id)
                elif 0 <= missed < entry.id or (missed < 0 and entry.id >> SEQUENCE_BITS > up * 1000):
                    found.append((entry.id >> SEQUENCE_BITS) / 1000 + float(rows["latency"][0]) / 1000 - since)
                    break
        return bool(found)

    wait(there)
    return max(found)


def _without(one: Running) -> tuple[int, int]:
    """Scorecards without a prediction, on the bus and by the count of Analysis, when the two agree or time is up."""
    pause, end = threading.Event(), time.monotonic() + 2 * AROUND
    while True:
        rows = rows_of(one.bus, "scores", one.settings.partitions, SCORE)
        told, counted = int(np.count_nonzero(rows["asked"])), int(heard(one.analysis)["scores"]["without"])
        if told == counted or time.monotonic() > end:
            return told, counted
        pause.wait(0.5)


CHANGES = {
    "nothing is changed": _nothing,
    "new code and config": _new_code,
    "new code that does not run": _broken_code,
    "new model promoted": _new_model,
    "kill -9 of the replica": _kill_replica,
}
LAST = "kill -9 of Analysis"
