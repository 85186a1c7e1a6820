"""A whole Bourse under load: its predictor redeployed and killed, its Analysis killed; what fails, what is missing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adapters import entries
from adapters.bus import Bus
from adapters.redis_server import RedisServer
from benchmarks.redeploy import LAST, Cards, ordeal, scorecards
from market.candles import CANDLE, INTERVALS
from market.scores import SCORE, Asked
from market.sessions import MINUTE

CHANGED = ("nothing is changed", "new code and config", "new code that does not run", "new model promoted")
REPLICA = "kill -9 of the replica"
TOLD = {"503 urn:bourse:problem:predictor-down", "504 urn:bourse:problem:too-slow"}


@pytest.fixture
def bus() -> Iterator[Bus]:
    """A bus of its own, in a short folder."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = RedisServer(Path(folder) / "bus", Path(folder) / "run", "bus", memory=64 << 20, durable=True)
        server.start()
        yield Bus(server.url)
        server.stop()


def test_a_scorecard_that_is_missing_doubled_or_without_a_prediction_is_found(bus: Bus) -> None:
    candles, scores = np.zeros(6, CANDLE), np.zeros(6, SCORE)
    candles["interval"] = INTERVALS["1m"]
    candles["instrument"], candles["start"] = [0, 1] * 3, np.repeat([1, 2, 3], 2) * MINUTE
    scores["instrument"], scores["start"] = [0, 1, 0, 0, 0, 1], np.array([1, 1, 2, 2, 3, 3]) * MINUTE
    scores["asked"] = [0, Asked.DOWN, 0, 0, 0, Asked.SLOW]
    for topic, rows in (("candles", candles), ("scores", scores)):
        bus.append(topic, "test", [(0, 1, entries.encode(rows))])

    found = scorecards(bus, 1, 2 * MINUTE)

    # Of two minutes: the second lacks that of instrument 1 and has that of instrument 0 twice.
    assert found == Cards(expected=4, missing=1, doubled=1, without={"DOWN": 1}, minutes=2)


@pytest.mark.cluster
@pytest.mark.endurance
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_no_request_fails_by_a_redeploy_and_no_minute_lacks_its_scorecards_by_a_kill(tmp_path: Path) -> None:
    found = ordeal(tmp_path, print)

    for name in CHANGED:
        assert len(found.changes[name].replies) > 100
        assert found.changes[name].kinds == {}, name
    assert {one.said for one in found.changes[CHANGED[1]].replies} == {"v1-heuristic", "v2-heuristic"}
    assert found.changes[CHANGED[1]].said.startswith("2 threads, the predictor is of ")
    assert found.changes[CHANGED[2]].said.startswith("2 the same replica")
    assert "the old one goes on" in found.changes[CHANGED[2]].said
    assert found.changes[LAST].kinds == {}
    assert set(found.whole.kinds) == set(found.changes[REPLICA].kinds) <= TOLD
    assert found.refused == refused(found.whole.kinds)
    assert (found.cards.missing, found.cards.doubled) == (0, 0)
    assert found.cards.expected > 10 * found.cards.minutes // 2
    assert found.told == found.counted
    assert set(found.cards.without) <= {"SLOW", "DOWN", "RESTING"}


def refused(kinds: dict[str, int]) -> dict[str, int]:
    """As the gateway counts it what clients were told."""
    return {told.rpartition(":")[2]: count for told, count in kinds.items()}
