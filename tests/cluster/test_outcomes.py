"""The command about outcomes, and the rule by which a retrained model takes the champion's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.lake import Lake
from adapters.readmodel import JUDGEMENTS, ReadModel
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table, prediction_table
from cluster.main import app
from cluster.outcomes import _tell
from cluster.retraining import LEAST_SESSIONS, held_back, promoted
from cluster.settings import read
from market.candles import CANDLE, Provenance
from market.drift import judged
from market.outcomes import OUTCOME, Performance, performances
from market.registrations import About, Promotion, Version
from market.scores import HORIZON_NAMES, SCORE
from market.sessions import MINUTE, day_number, session

HEAD = """
cluster_name: b
provider: {type: local}
metadata: {bourse: {universe: [NSE:RELIANCE], partitions: 1}}
"""
TODAY = session(date(2016, 8, 25))


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("b")
    one = RedisServer(folder / "bus", folder / "run", "bus", memory=64 << 20, durable=True)
    one.start()
    yield one.url
    one.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    return tmp_path


def bourse(folder: Path, bus: str, *words: str) -> Result:
    known = {"BUS_URL": bus, "CACHE_URL": bus}
    return CliRunner().invoke(app, [*words, "--config", str(folder / "cluster.yaml")], env=known)


def fill(folder: Path) -> None:
    """Ten minutes that rise by a rupee each, and one prediction of UP over five minutes, by no registered version."""
    lake = Lake(str(folder / "data/lake"))
    rows = np.zeros(10, CANDLE)
    rows["interval"], rows["start"] = 60, TODAY.open + np.arange(10) * MINUTE
    for name in ("open", "high", "low", "close"):
        rows[name] = 1_000_000 + np.arange(10) * 10_000
    rows["session"], rows["provenance"], rows["completeness"] = day_number(TODAY.date), Provenance.LIVE, 1.0
    lake.append("candles", candle_table(rows, ["NSE:RELIANCE"]), {"candles": 1})
    said = np.zeros(1, SCORE)
    said["start"], said["session"], said["horizon"] = TODAY.open, day_number(TODAY.date), HORIZON_NAMES.index("5m")
    said["p_down"], said["p_flat"], said["p_up"], said["version"] = 0.1, 0.2, 0.7, b"heuristic"
    lake.append("predictions", prediction_table(said, ["NSE:RELIANCE"]), {"predictions": 1})


def test_outcomes_scores_what_is_due_once_and_says_how_good_it_was(folder: Path, bus: str) -> None:
    fill(folder)

    first = bourse(folder, bus, "outcomes", "--score", "--session", "2016-08-25")
    second = bourse(folder, bus, "outcomes", "--score", "--session", "2016-08-25")
    shown = bourse(folder, bus, "outcomes", "--from", "2016-08-25", "--to", "2016-08-25", "--json")

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "1 predictions scored, 0 without an outcome, 0 not over yet" in first.output
    assert "0 predictions scored" in second.output and "heuristic" in second.output
    (one,) = json.loads(shown.stdout)
    # bought at the open of the second minute, 101 rupees, sold with the sixth at 105
    assert (one["version"], one["scored"], one["hit_rate"]) == ("heuristic", 1, 1.0)
    assert one["net_total"] == pytest.approx(4 / 101 - 0.001, abs=1e-6)
    (judgement,) = (ReadModel(bus).get(JUDGEMENTS) or {}).items()
    assert judgement[0] == "heuristic 5m"
    assert (judgement[1]["hit_rate"], judgement[1]["scored"], judgement[1]["weight"]) == (1.0, 1, 1.0)
    assert judgement[1]["brier"] == pytest.approx(0.1**2 + 0.2**2 + 0.3**2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--horizon", "2h"], "--horizon: '2h' is not allowed"),
        (["--from", "2016-08-26", "--to", "2016-08-25"], "--from: '2016-08-26' is not allowed"),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder: Path, bus: str, words: list[str], said: str) -> None:
    answer = bourse(folder, bus, "outcomes", *words)

    assert answer.exit_code == 2 and answer.stderr.startswith(said) and len(answer.stderr.splitlines()) == 1


def test_before_anything_was_scored_it_says_what_to_do(folder: Path, bus: str) -> None:
    answer = bourse(folder, bus, "outcomes")

    assert answer.exit_code == 0 and "bourse outcomes --score" in answer.output


def test_a_horizon_nobody_trains_is_refused_by_retrain(folder: Path, bus: str) -> None:
    answer = bourse(folder, bus, "retrain", "--horizons", "15m,2h")

    assert answer.exit_code == 2 and "'2h' is not allowed" in answer.stderr


def test_drift_is_told_once_and_once_when_it_is_over(folder: Path, bus: str) -> None:
    settings = read(folder / "cluster.yaml", {"BUS_URL": bus})
    bad, good = (judged("direction-5m@1", "5m", (1, 2), {"rsi": value}, (None, None)) for value in (0.3, 0.0))

    for found, at in ((good, 1), (bad, 2), (bad, 3), (good, 4), (good, 5)):
        _tell(settings, [found], at * 1_000_000)

    told = [alert for alert in Alerts(Bus(bus)).recent() if alert.kind == "drift"]
    assert [(alert.at // 1_000_000, alert.over) for alert in told] == [(2, False), (4, True)]
    assert "100% of its features have shifted (PSI above 0.25: rsi 0.30)" in told[0].text


def live(version: str, p_up: float) -> Any:
    """How a version did that always says this of UP, which always came."""
    rows = np.zeros(1, OUTCOME)
    rows["version"], rows["horizon"], rows["p_up"], rows["p_down"] = version.encode(), b"15m", p_up, 1 - p_up
    rows["came"] = 2
    return performances(rows)[0]


NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Kept:
    """A registry's aliases; its rule lets everybody pass."""

    def __init__(self, days: int = 7, **aliases: int) -> None:
        self.aliases, self.days = aliases, days

    def versions(self, name: str) -> list[Version]:
        about = About(
            name=name, horizon="15m", features="f1", revision="r", seed=1, measure="auc", score=0.6, symbols=(),
            baselines={}, verdict="EDGE", trained_at=NOW,
        )  # fmt: skip
        at = NOW - timedelta(days=self.days)
        return [Version(name=name, version=v, aliases=(), registered_at=at, about=about) for v in (2, 1)]

    def alias(self, name: str, alias: str) -> int | None:
        return self.aliases.get(alias)

    def promote(self, name: str, version: int, *, by: str) -> Promotion:
        before, self.aliases = self.aliases.get("champion"), {"champion": version}
        return Promotion(name=name, version=version, previous=before, kind="promoted", because="auc", by=by, at=NOW)


GOOD, BAD = live("direction-15m@2", 0.9), live("direction-15m@2", 0.5)


@pytest.mark.parametrize(
    ("challenger", "said", "waits"),
    [
        (None, "waits: it was scored live in 0 sessions, and 5 are asked for", True),
        ((GOOD, LEAST_SESSIONS - 1), "waits: it was scored live in 4 sessions", True),
        ((GOOD, LEAST_SESSIONS), "is the champion: auc", False),
        # Brier: 2 x 0.5^2 against 2 x 0.2^2
        ((BAD, 9), "is not promoted: its Brier score live, 0.5000, is above the champion's, 0.0800", False),
    ],
)
def test_a_challenger_waits_until_it_was_scored_live_and_must_be_no_worse(
    challenger: tuple[Performance, int] | None, said: str, waits: bool
) -> None:
    kept: Any = Kept(champion=1, challenger=2)
    asked: list[str] = []

    def known(title: str) -> dict[str, tuple[Performance, int]]:
        asked.append(title)
        both = {"direction-15m@1": (live("direction-15m@1", 0.8), 30), "direction-15m@2": challenger}
        return {version: one for version, one in both.items() if one is not None}

    told = promoted(kept, "direction-15m", known, NOW)

    assert (said in told[0], told[1], asked) == (True, waits, ["direction-15m@2"])
    assert kept.alias("direction-15m", "champion") == (2 if "is the champion" in said else 1)


def test_a_challenger_that_nobody_asked_for_weeks_holds_up_no_training() -> None:
    kept: Any = Kept(days=29, champion=1, challenger=2)

    said, waits = promoted(kept, "direction-15m", lambda title: {}, NOW)

    assert "is not promoted: in 29 days it was scored live in 0 sessions" in said
    assert not waits and kept.alias("direction-15m", "champion") == 1


def test_without_a_challenger_there_is_nothing_to_wait_for() -> None:
    kept: Any = Kept(champion=1)

    assert promoted(kept, "direction-15m", lambda title: {}, NOW) == ("direction-15m: no challenger", False)
    assert held_back(GOOD, None) is None
