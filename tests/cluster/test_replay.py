"""A recorded day through the whole live path: what the lake holds in the end, also when parts are killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from deltalake import DeltaTable

from adapters import recordings
from adapters.lake import Lake
from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from cluster.replay import compare
from market.sessions import MINUTE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DAY = date(2016, 8, 25)
OPEN = datetime(2016, 8, 25, 3, 45, tzinfo=UTC)
SYMBOLS = ("NSE:AAA", "NSE:BBB", "NSE:CCC", "NSE:DDD", "NSE:INDEX ONE")
ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from cluster.main import app; app(prog_name='bourse')"]
WAIT = 280.0
PACE = 900
"""Times real time: the whole session in 25 s."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shares and an index, traded in every fifth minute of the session."""
    rng = np.random.default_rng(25)
    rows: dict[str, list[object]] = {name: [] for name in recordings.COLUMNS}
    for symbol in SYMBOLS:
        for minute in range(0, 375, 5):
            prices = rng.integers(2000, 2400, 4) / 20
            rows["symbol"].append(symbol)
            rows["ts"].append(OPEN + timedelta(minutes=minute))
            for name, price in zip(
                ("open", "high", "low", "close"), (prices[0], prices.max(), prices.min(), prices[3]), strict=True
            ):
                rows[name].append(float(price))
            rows["volume"].append(0 if symbol == SYMBOLS[-1] else int(rng.integers(1, 9000)))
    path = tmp_path_factory.mktemp("recording") / "bars.parquet"
    parquet.write_table(pa.table({**rows, "ts": pa.array(rows["ts"], pa.timestamp("us", "UTC"))}), path)
    return path


@pytest.fixture(scope="module")
def undisturbed(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of a replay that nobody disturbed."""
    lake = tmp_path_factory.mktemp("undisturbed") / "lake"
    done = bourse("replay", str(recording), "--session", str(DAY), "--speed", "max", "--lake", str(lake))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "375 candles equal, 0 differ" in done.stdout
    return lake


def test_an_undisturbed_replay_gives_the_candles_of_the_file(recording: Path, undisturbed: Path) -> None:
    found = candles(undisturbed)
    filled = [row for row in found if row["trades"] and row["interval"] == "1m"]

    expected = parquet.read_table(recording).to_pylist()
    by_key = {(r["symbol"], r["start"]): r for r in filled}
    assert len(filled) == len(by_key) == len(expected)
    for bar in expected:
        row = by_key[bar["symbol"], bar["ts"]]
        assert [float(row[n]) for n in ("open", "high", "low", "close")] == [
            bar[n] for n in ("open", "high", "low", "close")
        ]
        assert row["volume"] == bar["volume"]


@pytest.mark.endurance
@pytest.mark.parametrize("dialect", ["mstock"])
def test_a_replay_over_another_vendors_wire_gives_the_same_candles(
    recording: Path, undisturbed: Path, tmp_path: Path, dialect: str
) -> None:
    config, lake = tmp_path / "cluster.yaml", tmp_path / "lake"
    ours = (ROOT / "cluster.yaml").read_text()
    config.write_text(ours.replace("dialect: kite", f"dialect: {dialect}", 1))

    done = bourse(
        "replay", str(recording), "--session", str(DAY), "--speed", "max", "--lake", str(lake), "--config", str(config)
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "375 candles equal, 0 differ" in done.stdout
    assert candles(lake) == candles(undisturbed)


@pytest.mark.endurance
def test_parts_killed_on_the_way_leave_the_same_lake(recording: Path, undisturbed: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with started(recording, lake, PACE) as replay:
        victims = [*("ray::Feed", "ray::Candles", "ray::Archive", "/bus/redis.conf") * 2]
        killed = []
        for k, name in enumerate(victims):
            wait(lambda k=k: rows_of(lake, "ticks") > 100 * (k + 1), replay)
            wait(lambda name=name: process(replay, name), replay)
            victim = process(replay, name)
            assert victim is not None
            victim.kill()
            wait(lambda victim=victim: gone(victim), replay)
            killed.append(name)
        out, _ = replay.communicate(timeout=WAIT)

    assert replay.returncode == 0, out
    assert killed == victims
    assert candles(lake) == candles(undisturbed)
    assert ticks(lake) == ticks(undisturbed)


@pytest.mark.endurance
def test_feeds_that_were_held_back_go_on_though_whoever_held_them_died(
    recording: Path, undisturbed: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    with started(recording, lake, PACE) as replay:
        wait(lambda: rows_of(lake, "ticks") > 50, replay)
        bus, model = RedisLine(line_of(replay, "/bus/redis.conf"), 5.0), ReadModel(line_of(replay, "/cache/redis.conf"))
        limit = bus.call("CONFIG", "GET", "maxmemory")[1]
        bus.call("CONFIG", "SET", "maxmemory", "1")
        wait(lambda: "80 %" in (model.get("status") or {}).get("held_back", ""), replay)
        victim = process(replay, "ray::Supervisor")
        assert victim is not None
        victim.kill()
        wait(lambda: gone(victim), replay)
        bus.call("CONFIG", "SET", "maxmemory", limit)
        out, _ = replay.communicate(timeout=WAIT)

    assert replay.returncode == 0, out
    assert candles(lake) == candles(undisturbed)


def test_a_session_is_not_replayed_into_a_lake_that_has_it(recording: Path, undisturbed: Path) -> None:
    done = bourse("replay", str(recording), "--session", str(DAY), "--lake", str(undisturbed))

    assert done.returncode == 2
    assert "a lake that does not hold 2016-08-25 yet" in last_line(done)


def test_a_session_the_file_does_not_hold_is_answered_with_those_it_does(recording: Path, tmp_path: Path) -> None:
    done = bourse("replay", str(recording), "--session", "2016-08-26", "--lake", str(tmp_path / "lake"))

    assert done.returncode == 2
    assert "2016-08-25 to 2016-08-25, 1 sessions" in last_line(done)
    assert not (tmp_path / "lake").exists()


def test_a_candle_that_differs_is_reported(recording: Path, undisturbed: Path) -> None:
    bars = recordings.read(recording, DAY)
    instruments = recordings.universe(bars)
    changed, extra = bars.rows.copy(), bars.rows[-1:].copy()
    changed["volume"][7] += 1
    extra["start"] += MINUTE * 2

    true = compare(Lake(str(undisturbed)), bars, instruments, DAY)
    wrong = compare(Lake(str(undisturbed)), bars._replace(rows=changed), instruments, DAY)
    short = compare(Lake(str(undisturbed)), bars._replace(rows=bars.rows[1:]), instruments, DAY)
    more = compare(Lake(str(undisturbed)), bars._replace(rows=np.append(bars.rows, extra)), instruments, DAY)

    assert true == (375, [])
    assert wrong[0] == 374
    assert f"volume {bars.rows['volume'][7]} instead of {changed['volume'][7]}" in wrong[1][0]
    assert (short[0], len(short[1])) == (374, 1)
    assert "not in the recording" in short[1][0]
    assert (more[0], len(more[1])) == (375, 1)


def test_ctrl_c_leaves_no_process_behind(recording: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with started(recording, lake, PACE // 20) as replay:  # it must not end by itself before
        wait(lambda: rows_of(lake, "ticks") > 0, replay)
        family = psutil.Process(replay.pid).children(recursive=True)
        replay.send_signal(signal.SIGINT)
        replay.communicate(timeout=WAIT)

    assert len(family) > 5
    assert replay.returncode != 0
    wait(lambda: all(gone(p) for p in family))


def bourse(*words: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=WAIT, env=environment()
    )


def environment() -> dict[str, str]:
    """Ours, with lines that are not broken where a terminal would end."""
    return {**os.environ, "COLUMNS": "400", "PYTHONPATH": str(ROOT)}


class started:
    """A replay in a process of its own, which is gone, with all its descendants, at the end of the block."""

    def __init__(self, recording: Path, lake: Path, speed: int, *more: str) -> None:
        words = ["replay", str(recording), "--session", str(DAY), "--speed", str(speed), "--lake", str(lake), *more]
        self._words = [*COMMAND, *words]

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        )
        return self._process

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.terminate()
            self._process.communicate(timeout=WAIT)
            for one in family:
                if not gone(one):
                    one.kill()


def process(replay: subprocess.Popen[str], name: str) -> psutil.Process | None:
    """The living descendant whose command line says this name."""
    for one in psutil.Process(replay.pid).children(recursive=True):
        try:
            if name in " ".join(one.cmdline()) and not gone(one):
                return one
        except psutil.NoSuchProcess:
            continue
    return None


def line_of(replay: subprocess.Popen[str], name: str) -> str:
    """Where the descendant listens that is a Redis of this configuration."""
    server = process(replay, name)
    assert server is not None
    path = next(c.laddr for c in server.net_connections("unix") if c.laddr)
    return f"unix://{path.replace('.starting', '')}"  # its name while it starts; then it is renamed


def gone(one: psutil.Process) -> bool:
    """Whether a process has ended, if only as a zombie that its parent has not looked at."""
    try:
        return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait(condition: Callable[[], object], replay: subprocess.Popen[str] | None = None) -> None:
    """Until the condition holds, while the replay runs."""
    until = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < until, "it never came to hold"
        assert replay is None or replay.poll() is None, replay.communicate()[0]
        time.sleep(0.05)


def rows_of(lake: Path, table: str) -> int:
    """How many rows a table of the lake has."""
    if not (lake / table / "_delta_log" / "00000000000000000000.json").exists():
        return 0
    return int(DeltaTable(str(lake / table)).count())


def candles(lake: Path) -> list[dict[str, object]]:
    """Every candle, by symbol and start."""
    table = DeltaTable(str(lake / "candles")).to_pyarrow_table()
    return table.sort_by([("symbol", "ascending"), ("interval", "ascending"), ("start", "ascending")]).to_pylist()


def ticks(lake: Path) -> list[dict[str, object]]:
    """Every tick, by symbol and sequence."""
    table = DeltaTable(str(lake / "ticks")).to_pyarrow_table()
    return table.sort_by([("symbol", "ascending"), ("at", "ascending"), ("sequence", "ascending")]).to_pylist()


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line on its standard error."""
    return done.stderr.strip().splitlines()[-1]
