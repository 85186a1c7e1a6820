"""Outcomes: each prediction of the lake is scored once, when its horizon is over, whoever runs it and how often."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from adapters.bus import Bus
from adapters.entries import encode_records
from adapters.lake import Lake
from adapters.outcomes import Tallied, drift_weights, read_outcomes
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table, prediction_table
from adapters.shadows import shadows
from market.candles import CANDLE, Candles, Provenance
from market.drift import Distribution
from market.money import money
from market.outcomes import Unscored, performances
from market.predictions import PREDICTION, Abstained
from market.scores import HORIZON_NAMES, SCORE, Asked, Scores
from market.sessions import MINUTE, day_number, session
from pipelines.outcomes import OutcomesPlan, Scored, drifts, run

SYMBOLS = ["NSE:RELIANCE", "NSE:TCS"]
TODAY, TOMORROW = session(date(2016, 8, 25)), session(date(2016, 8, 26))


def candles() -> Candles:
    """An hour of two shares: the first rises by a rupee a minute from 100, the second stands."""
    rows = np.zeros((2, 60), CANDLE)
    rows["instrument"], rows["interval"] = np.arange(2)[:, None], 60
    rows["start"], rows["session"] = TODAY.open + np.arange(60) * MINUTE, day_number(TODAY.date)
    rows["open"] = rows["high"] = rows["low"] = money("100")
    rows["open"][0] += np.arange(60) * 10_000
    rows["close"] = rows["open"]
    rows["provenance"], rows["trades"], rows["volume"], rows["completeness"] = Provenance.LIVE, 1, 10, 1.0
    return rows.ravel()


def predictions(*minutes: int, version: bytes = b"direction-5m@1", **fields: float) -> Scores:
    """UP expected of both shares over 5 minutes, at the ends of these minutes."""
    rows = np.zeros((len(minutes), 2), SCORE)
    rows["instrument"], rows["start"] = np.arange(2), TODAY.open + np.array(minutes)[:, None] * MINUTE
    rows["horizon"], rows["session"], rows["version"] = HORIZON_NAMES.index("5m"), day_number(TODAY.date), version
    rows["p_down"], rows["p_flat"], rows["p_up"], rows["low"], rows["high"] = 0.2, 0.3, 0.5, -0.01, 0.06
    for name, value in fields.items():
        rows[name] = value
    return rows.ravel()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with the candles."""
    made = Lake(str(tmp_path / "lake"))
    made.append("candles", candle_table(candles(), SYMBOLS), {"test": 1})
    return made


def predict(lake: Lake, number: int, *rows: Scores) -> None:
    """Put predictions into the lake."""
    lake.append("predictions", prediction_table(np.concatenate(rows), SYMBOLS), {"scores": number})


def plan(tmp_path: Path, minute: int) -> OutcomesPlan:
    """Of a run so many minutes after the open."""
    lake, now = str(tmp_path / "lake"), TODAY.open + minute * MINUTE
    return OutcomesPlan(lake=lake, sessions=(TODAY, TOMORROW), first=TODAY.date, last=TODAY.date, now=now)


def score(tmp_path: Path, minute: int) -> Scored:
    """A run, so many minutes after the open."""
    return run(plan(tmp_path, minute))


def test_only_the_named_symbols_predictions_are_scored_and_looked_at(lake: Lake, tmp_path: Path) -> None:
    predict(lake, 1, predictions(0, 10))

    done = run(plan(tmp_path, 60).model_copy(update={"symbols": ("NSE:TCS",)}))

    assert done == Scored(scored=2, unscored=0, waiting=0)
    assert lake.dataset("outcomes").to_table(columns=["symbol"])["symbol"].unique().to_pylist() == ["NSE:TCS"]


def test_a_run_over_many_sessions_commits_each_of_its_own(lake: Lake, tmp_path: Path) -> None:
    predict(lake, 1, predictions(0), predictions(1, session=day_number(TOMORROW.date), start=TOMORROW.open))
    both = plan(tmp_path, 3 * 1440).model_copy(update={"last": TOMORROW.date})

    done = run(both)

    assert (done.scored, done.unscored) == (2, 0)
    assert lake.cursors("outcomes", ["outcomes"])["outcomes"] == 1
    assert done.waiting == 2  # tomorrow's minutes are not there: they may be repaired


def test_each_prediction_is_scored_once_when_its_horizon_is_over(lake: Lake, tmp_path: Path) -> None:
    predict(lake, 1, predictions(0, 10, 20), predictions(5, abstained=Abstained.STALE, p_up=np.nan))

    first = score(tmp_path, 17)
    again = score(tmp_path, 17)
    predict(lake, 2, predictions(1), predictions(0))  # late; and one that the log brought a second time
    rest = score(tmp_path, 60)

    assert (first, again) == (Scored(scored=4, unscored=2, waiting=2), Scored(scored=0, unscored=0, waiting=2))
    assert rest == Scored(scored=4, unscored=0, waiting=0)
    assert len(read_outcomes(lake, TODAY.date, TODAY.date)) == 10


def test_what_came_is_in_the_lake_and_told_by_version(lake: Lake, tmp_path: Path) -> None:
    asked = predictions(3, asked=Asked.DOWN, abstained=Abstained.NO_MODEL)
    predict(lake, 1, predictions(0), predictions(0, version=b"direction-5m@2"), predictions(55), asked)

    at_once = score(tmp_path, 400)
    at_last = score(tmp_path, 400 + 4 * 24 * 60)

    assert at_once.waiting == at_last.unscored == 2  # minutes that are not there may be repaired
    rows = read_outcomes(lake, TODAY.date, TODAY.date, version="direction-5m@1")
    (one,) = performances(rows)
    # bought at the open of minute 1, 101 rupees, sold with minute 5 at 105; the other share stands: its costs
    assert (one.scored, one.unscored, one.trades, one.hit_rate) == (2, 2, 2, 0.5)
    assert one.net_total == pytest.approx(4 / 101 - 0.001 - 0.001, abs=1e-6)
    assert one.coverage == 1.0 and set(rows["unscored"]) == {Unscored.NO, Unscored.NO_PRICE}
    every = performances(read_outcomes(lake, TODAY.date, TODAY.date, version="direction-5m", horizon="5m"))
    assert [p.version for p in every] == ["direction-5m@1", "direction-5m@2"]
    assert not len(read_outcomes(lake, TOMORROW.date, TOMORROW.date))


def test_what_a_challenger_said_unseen_is_scored_like_the_rest(lake: Lake, tmp_path: Path) -> None:
    predict(lake, 1, predictions(0))
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = RedisServer(f"{folder}/bus", f"{folder}/run", "bus", memory=64 << 20, durable=True)
        server.start()
        bus = Bus(server.url)
        said = np.zeros(2, PREDICTION)
        said["instrument"], said["at"] = [0, 9], TODAY.open + MINUTE  # the second is no instrument of ours
        said["p_down"], said["p_flat"], said["p_up"] = 0.5, 0.3, 0.2
        record = {"version": "direction-5m@2", "horizon": "5m", "rows": said.tobytes()}
        bus.append("shadows", "predictor", [(0, 1, encode_records([record, record])), (0, 2, b"nonsense")])
        found, bad = shadows(bus, SYMBOLS)
        bus.close()
        server.stop()

    assert (bad, run(plan(tmp_path, 60), found)) == (1, Scored(scored=3, unscored=0, waiting=0))
    assert run(plan(tmp_path, 60), found).scored == 0
    one, two = performances(read_outcomes(lake, TODAY.date, TODAY.date))
    assert (one.scored, two.scored, two.net_total) == (2, 1, pytest.approx(-4 / 101 - 0.001, abs=1e-6))


def test_of_a_lake_without_predictions_nothing_is_scored(lake: Lake, tmp_path: Path) -> None:
    assert score(tmp_path, 60) == Scored(scored=0, unscored=0, waiting=0)


def test_a_version_that_is_worse_calibrated_than_in_validation_is_noted_once(lake: Lake, tmp_path: Path) -> None:
    predict(lake, 1, predictions(*range(40)))
    score(tmp_path, 60)
    nothing = Distribution(names=(), edges=(), shares=())

    found = [drifts(lake, TODAY.date, {"direction-5m@1": (nothing, 0.02)}, ((), "f1")) for _ in range(2)]

    # half UP, half FLAT came where 0.2, 0.3, 0.5 was said: 0.2, 0.2 and 0.0 apart, a third of their sum
    (one,) = found[0]
    assert one.calibration == pytest.approx(0.4 / 3 - 0.02, abs=1e-5)
    assert (one.weight, one.shifted) == (0.5, None)
    assert found[0] == found[1] and len(lake.dataset("drift").to_table()) == 1
    assert not one.alert(1).over and drift_weights(lake) == {"direction-5m@1": 0.5}


def test_what_is_read_file_by_file_is_what_all_rows_come_to_and_is_read_once(lake: Lake, tmp_path: Path) -> None:
    predict(lake, 1, predictions(0, 3), predictions(5, abstained=Abstained.STALE, p_up=np.nan))
    score(tmp_path, 12)
    predict(lake, 2, predictions(1, 2, 6, p_up=0.05), predictions(7, version=b"direction-5m@2"))
    score(tmp_path, 60)
    tallied = Tallied(lake)

    with pytest.raises(TimeoutError):
        tallied.performances(TODAY.date, TODAY.date, seconds=-1.0)
    found = tallied.performances(TODAY.date, TOMORROW.date)
    read = tallied.read
    one = tallied.performances(TODAY.date, TODAY.date, version="direction-5m@2", horizon="5m", seconds=60.0)

    every = performances(read_outcomes(lake, TODAY.date, TODAY.date))
    assert found == every and len(every) == 2 and every[0].predictions == 12
    assert (read, tallied.read) == (2, 2) and one == every[1:]
    assert tallied.performances(TODAY.date, TODAY.date, version="direction-15m") == []
    assert tallied.performances(TOMORROW.date, TOMORROW.date) == []
