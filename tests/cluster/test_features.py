"""A recorded day with features: what was published live equals bulk, also when Analysis is killed on the way."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from deltalake import DeltaTable

from adapters import recordings
from adapters.lake import Lake
from cluster.equality import equality
from cluster.replay import sessions_around
from market.instruments import Kind
from tests.cluster.test_replay import PACE, WAIT, bourse, gone, process, rows_of, started, wait

pytestmark = [pytest.mark.cluster, pytest.mark.endurance, pytest.mark.timeout(900)]

DAY = date(2016, 8, 25)
OPEN = datetime(2016, 8, 25, 3, 45, tzinfo=UTC)
SYMBOLS = ("NSE:AAA", "NSE:BBB", "NSE:CCC", "NSE:DDD", "NSE:INDEX ONE")
NOBODY, HALTED = range(100, 110), range(200, 240)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shares and an index: a fifth of the minutes quiet, ten minutes in which nobody trades, a share that is
    halted for forty.
    """
    rng = np.random.default_rng(25)
    rows: dict[str, list[object]] = {name: [] for name in recordings.COLUMNS}
    for symbol in SYMBOLS:
        for minute in range(375):
            quiet = rng.random() < 0.2 or minute in NOBODY or (symbol == "NSE:CCC" and minute in HALTED)
            prices = rng.integers(2000, 2400, 4) / 20
            if quiet:
                continue
            told = (prices[0], prices.max(), prices.min(), prices[3])
            rows["symbol"].append(symbol)
            rows["ts"].append(OPEN + timedelta(minutes=minute))
            for name, price in zip(("open", "high", "low", "close"), told, strict=True):
                rows[name].append(float(price))
            rows["volume"].append(0 if symbol == SYMBOLS[-1] else int(rng.integers(1, 9000)))
    path = tmp_path_factory.mktemp("recording") / "bars.parquet"
    parquet.write_table(pa.table({**rows, "ts": pa.array(rows["ts"], pa.timestamp("us", "UTC"))}), path)
    return path


@pytest.fixture(scope="module")
def undisturbed(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The lake of a replay that nobody disturbed, and what it said."""
    lake = tmp_path_factory.mktemp("undisturbed") / "lake"
    done = bourse("replay", str(recording), "--session", str(DAY), "--lake", str(lake), "--features")
    assert done.returncode == 0, done.stdout + done.stderr
    return lake, done.stdout


def test_every_live_value_of_a_replayed_day_equals_bulk(undisturbed: tuple[Path, str]) -> None:
    said = undisturbed[1]

    found = re.search(r"([\d,]+) feature values in ([\d,]+) rows compared, 0 differ; worst (\S+) of its measure", said)
    assert found is not None, said
    assert found[2] == "1,875"
    assert int(found[1].replace(",", "")) > 100_000
    assert 0 <= float(found[3]) <= 1e-9
    assert "STALE" in said


def test_a_killed_analysis_leaves_the_same_features(
    recording: Path, undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    with started(recording, lake, PACE, "--features") as replay:
        for rows in (200, 700, 1200):
            wait(lambda rows=rows: rows_of(lake, "features") > rows, replay)
            wait(lambda: process(replay, "ray::Analysis"), replay)
            victim = process(replay, "ray::Analysis")
            assert victim is not None
            victim.kill()
            wait(lambda victim=victim: gone(victim), replay)
        out, _ = replay.communicate(timeout=WAIT)

    assert replay.returncode == 0, out
    assert "rows compared, 0 differ" in out
    assert features(lake) == features(undisturbed[0])


def test_a_value_that_is_not_what_bulk_makes_of_it_is_told(recording: Path, undisturbed: tuple[Path, str]) -> None:
    instruments = recordings.universe(recordings.read(recording, DAY))
    sessions = list(sessions_around(DAY)[1])
    lake = Lake(str(undisturbed[0]))
    other = [instruments[0].model_copy(update={"kind": Kind.INDEX}), *instruments[1:]]

    true = equality(lake, instruments, sessions, DAY)
    wrong = equality(lake, other, sessions, DAY)

    assert (true.rows, true.differing) == (1875, 0)
    assert wrong.differing > 1000
    assert "breadth_1 is" in " ".join(wrong.differences)


def features(lake: Path) -> list[dict[str, object]]:
    """Every row of features, by symbol and start."""
    table = DeltaTable(str(lake / "features")).to_pyarrow_table()
    return table.sort_by([("symbol", "ascending"), ("start", "ascending")]).to_pylist()
