"""Chaos: the check finds what is wrong with a lake, the injuries hurt, and what they hurt loses nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from cluster.chaos import market
from cluster.chaos.check import Finding, check_candles, check_ticks
from cluster.chaos.injuries import cut, drawn
from cluster.chaos.victims import back_after
from cluster.main import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    """What the candles of a made-up day must be."""
    return market.candles(market.bars(3))


def lake_of(folder: Path, truth: pd.DataFrame) -> Path:
    """A lake that holds just these candles."""
    rows = truth.assign(
        trades=truth["traded"].astype(int), revision=0, completeness=1.0, provenance="LIVE", vwap=truth["close"]
    ).drop(columns="traded")
    rows[market.PRICES] = rows[market.PRICES] / 10_000
    write_deltalake(str(folder / "candles"), rows, mode="overwrite")
    return folder


def found(lake: Path, truth: pd.DataFrame) -> list[str]:
    finding = Finding()
    check_candles(lake, truth, finding)
    return finding.differences


def test_the_truth_is_whole_and_its_parts_agree(truth: pd.DataFrame) -> None:
    by = dict(iter(truth.groupby("interval")))
    whole = by["1d"].set_index("symbol")

    counts = {name: len(rows) for name, rows in by.items()}
    volumes = {name: int(rows["volume"].sum()) for name, rows in by.items()}

    assert counts == {"1m": 24 * 375, "5m": 24 * 75, "15m": 24 * 25, "1h": 24 * 7, "1d": 24}
    assert len(set(volumes.values())) == 1
    assert (by["1m"].groupby("symbol")["high"].max() >= whole["high"]).all()
    assert 0.1 < 1 - by["1m"]["traded"].mean() < 0.2


def test_a_day_is_the_same_for_its_seed_and_another_for_another() -> None:
    pd.testing.assert_frame_equal(market.bars(5), market.bars(5))
    assert not market.bars(5).equals(market.bars(6))


def test_a_lake_that_is_as_it_must_be_is_found_so(tmp_path: Path, truth: pd.DataFrame) -> None:
    assert found(lake_of(tmp_path, truth), truth) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda t: pd.concat([t, t.iloc[[7]]]), "stand there twice: 1 rows"),
        (lambda t: t.drop(index=7), "missing: 1 rows"),
        (lambda t: pd.concat([t, t.iloc[[7]].assign(symbol="NSE:NOBODY")]), "invented: 1 rows"),
        (lambda t: t.assign(high=t["high"] + np.where(t.index == 7, 500, 0)), "another high: 1 rows"),
        (lambda t: t.assign(volume=t["volume"] + np.where(t.index == 7, 1, 0)), "another volume: 1 rows"),
        (lambda t: t.assign(traded=t["traded"] ^ (t.index == 7)), "confused: 1 rows"),
    ],
)
def test_every_way_to_be_wrong_is_found(tmp_path: Path, truth: pd.DataFrame, wrong: object, says: str) -> None:
    differences = found(lake_of(tmp_path, wrong(truth)), truth)  # type: ignore[operator]

    assert len(differences) == 1
    assert says in differences[0]


def test_an_empty_lake_is_a_difference(tmp_path: Path, truth: pd.DataFrame) -> None:
    finding = Finding()
    check_ticks(tmp_path, truth, finding)

    assert found(tmp_path, truth) == [f"candles: none of {len(truth)}"]
    assert finding.differences == [f"ticks: none of {len(truth)}"]


def test_a_tick_lost_and_a_tick_doubled_are_told_apart(tmp_path: Path) -> None:
    stamps = pd.date_range("2024-03-14 03:45", periods=4, freq="s", tz="UTC")
    sent = pd.DataFrame({"symbol": "NSE:A", "at": stamps, "price": [10_000] * 4, "day_volume": [1, 2, 3, 4]})
    stored = sent.iloc[[0, 1, 2, 2]].assign(price=lambda t: t["price"] / 10_000)
    write_deltalake(str(tmp_path / "ticks"), stored)

    finding = Finding()
    check_ticks(tmp_path, sent, finding)

    assert [d.partition(":")[0] for d in finding.differences] == ["ticks lost", "ticks doubled or invented"]


def test_the_draws_reach_every_injury_and_repeat_with_their_seed() -> None:
    rng = random.Random(1)
    alone = {drawn(rng, False).kind for _ in range(2_000)}
    paired = {drawn(rng, True).kind for _ in range(2_000)}
    again = [[drawn(r, False).kind for _ in range(50)] for r in (random.Random(4), random.Random(4))]

    kills = {f"kill {k}" for k in ("feed", "candles", "archive", "supervisor", "exchange", "market", "cache")}
    assert kills | {"kill bus", "cut the bus's file", "fill the bus", "limit the bus's file"} <= alone
    assert {"pause candles", "pause candles beside a rival", "pause archive beside a rival", "pause feed"} <= alone
    assert kills | {"kill the primary", "freeze the primary", "kill a sentinel"} <= paired
    assert "kill bus" not in paired
    assert again[0] == again[1]


def test_a_cut_takes_the_end_off_the_last_entry_and_spares_what_was_rewritten(tmp_path: Path) -> None:
    file, rewritten = tmp_path / "appendonly.aof", b"REDIS0009" + bytes(range(256))
    whole = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
    lefts = []
    for seed in range(40):
        file.write_bytes(rewritten + whole + whole)
        cut(file, random.Random(seed))
        lefts.append(file.read_bytes())

    assert all((rewritten + whole + whole).startswith(left) for left in lefts)
    assert {len(left) for left in lefts} <= set(range(len(rewritten + whole) + 1, len(rewritten + whole + whole)))
    assert len(set(lefts)) > 5
    file.write_bytes(rewritten)
    assert cut(file, random.Random(1)) == ""
    assert file.read_bytes() == rewritten


def test_back_is_the_first_commit_of_what_came_behind_the_kill() -> None:
    made = [(100.0, 99_000), (101.5, 100_400), (103.0, 101_700), (104.0, 103_000)]

    assert back_after(101.0, made) == 2.0
    assert back_after(104.0, made) is None


def test_the_command_refuses_what_cannot_be() -> None:
    done = CliRunner().invoke(app, ["chaos", "--minutes", "0", "-c", str(ROOT / "cluster.yaml")])

    assert done.exit_code == 2


@pytest.mark.cluster
@pytest.mark.endurance
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seed", "minutes"), [(7, "0.2"), (2, "0.1")])
def test_a_day_of_chaos_leaves_what_an_undisturbed_day_leaves(seed: int, minutes: str) -> None:
    words = ["chaos", "--seed", str(seed), "--minutes", minutes, "--json", "-c", str(ROOT / "cluster.yaml")]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = "from cluster.main import app; app()"

    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=known, timeout=840)

    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout.strip().splitlines()[-1])
    assert outcome["differences"] == []
    assert outcome["waits"] == (seed == 7)
    assert outcome["rows"]["candles"] == 11_592 if outcome["waits"] else outcome["rows"]["minutes folded again"] > 0
    assert sum(outcome["faults"].values()) >= 1
