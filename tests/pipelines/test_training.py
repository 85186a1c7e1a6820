"""Training: examples as they were known, a planted signal found, none found where there is none, and twice the same."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from adapters import actions
from adapters.lake import Lake
from adapters.schemas import candle_table, feature_table
from market import evaluation
from market.actions import Action, Kind
from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.errors import BadValue, UnexplainedBreak
from market.evaluation import Outcome
from market.features import FEATURE, NAMES, SET
from market.holidays import sessions_of
from market.instruments import Instrument
from market.money import UNKNOWN
from market.sessions import MINUTE, Session, day_number
from pipelines import training
from pipelines.examples import DAY_NAMES, Material, material, pinned
from pipelines.training import Rival, TrainingPlan, Trial, check, fitted

SHARES = tuple(Instrument(id=k, symbol=f"NSE:{name}") for k, name in enumerate(["RELIANCE", "TCS"]))
DAYS = tuple(sessions_of("NSE", date(2016, 1, 1), date(2016, 8, 31)))
MINUTES = DAYS[-12:]
NOW = DAYS[-1].close


def day_rows(
    share: int, closes: np.ndarray, opens: np.ndarray | None = None, days: tuple[Session, ...] = DAYS
) -> Candles:
    """Daily candles of these closes and opens (the close before, without them), rupees."""
    opens = np.append(closes[0], closes[:-1]) if opens is None else opens
    rows = np.zeros(len(days), CANDLE)
    rows["instrument"], rows["interval"], rows["provenance"] = share, INTERVALS["1d"], Provenance.IMPORTED
    rows["start"], rows["session"] = [d.open for d in days], [day_number(d.date) for d in days]
    for name, values in (("open", opens), ("close", closes)):
        rows[name] = np.rint(values * 10_000)
    rows["high"] = np.rint(np.maximum(opens, closes) * 10_000) + 5_000
    rows["low"] = np.rint(np.minimum(opens, closes) * 10_000) - 5_000
    rows["volume"], rows["trades"], rows["completeness"], rows["vwap"] = 1_000, 10, 1.0, UNKNOWN
    return rows


def walk(seed: int, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Opens and closes of days each of which goes, as far as `edge` says, where the return of the day before points."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.01, len(DAYS))
    for k in range(1, len(moves)):
        moves[k] += edge * np.sign(moves[k - 1])
    closes = 500 * np.exp(np.cumsum(moves))
    return np.append(500.0, closes[:-1]), closes


def lake_of(folder: Path, *rows: Candles) -> Lake:
    found = Lake(str(folder / "lake"))
    found.append("candles", candle_table(np.concatenate(rows), [s.symbol for s in SHARES]), {"test": 1})
    return found


def plan(lake: Lake, **given: object) -> TrainingPlan:
    told: dict[str, object] = {
        "lake": lake._root,
        "horizon": "1d",
        "instruments": SHARES,
        "symbols": tuple(s.symbol for s in SHARES),
        "sessions": DAYS,
        "first": DAYS[0].date,
        "last": DAYS[-1].date,
        "daily": True,
        "base": pinned(lake, True),
        "members": ("linear",),
        "folds": 3,
    }
    return TrainingPlan(**{**told, **given})


def judged(data: Material, wanted: TrainingPlan) -> list[Trial]:
    """The linear member on each fold, as the tasks make it."""
    folds = evaluation.walk_forward(data.examples.session, data.ends, wanted.folds, wanted.embargo)
    return [training.tried(data, f, wanted, ["linear"], fitted(data, f, "linear", wanted)) for f in folds]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    """Days that follow the day before."""
    rows = [day_rows(k, *reversed(walk(k, 0.015))) for k in range(2)]
    return plan(lake_of(tmp_path_factory.mktemp("planted"), *rows))


@pytest.fixture(scope="module")
def learnt(planted: TrainingPlan) -> Material:
    return material(planted, planted.symbols)


def test_an_example_of_a_day_knows_that_day_and_its_outcome_is_the_next(
    learnt: Material, planted: TrainingPlan
) -> None:
    opens, closes = walk(0, 0.015)
    k = 80

    row = int(np.flatnonzero((learnt.examples.instrument == 0) & (learnt.examples.at == DAYS[k].close))[0])

    assert learnt.returns[row] == pytest.approx(np.log(closes[k + 1] / opens[k + 1]), abs=1e-5)
    assert learnt.last[row] == pytest.approx(closes[k] / closes[k - 1] - 1, abs=1e-5)
    assert (learnt.examples.session[row], learnt.ends[row]) == (day_number(DAYS[k].date), day_number(DAYS[k + 1].date))
    assert learnt.examples.names == DAY_NAMES
    assert len(learnt.returns) == 2 * (len(DAYS) - 2)  # the first knows nothing, of the last nothing came


def test_what_comes_later_changes_no_example(learnt: Material, tmp_path: Path) -> None:
    cut = DAYS[90]
    lake = lake_of(tmp_path, *(day_rows(k, *reversed(walk(k, 0.015)))[:91] for k in range(2)))

    known = material(plan(lake, last=cut.date, sessions=DAYS[:91]), ("NSE:RELIANCE", "NSE:TCS")).examples

    before = learnt.examples.take(learnt.examples.at < cut.close)
    assert known.rows == before.rows
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(known[1:], before[1:], strict=True))


def test_a_planted_signal_is_found(learnt: Material, planted: TrainingPlan) -> None:
    found = judged(learnt, planted)

    said = evaluation.verdict(
        [f.judged["ensemble"] for f in found], {"no-trade": [f.judged["no-trade"] for f in found]}, seed=7
    )

    assert said.outcome is Outcome.EDGE, said.reason
    assert all(f.judged["ensemble"].score.auc_up > 0.6 for f in found)
    assert all(f.judged["last-value"].score.net > 0 for f in found)


def test_no_signal_is_no_edge(tmp_path: Path) -> None:
    wanted = plan(lake_of(tmp_path, *(day_rows(k, *reversed(walk(k, 0.0))) for k in range(2))))

    found = judged(material(wanted, wanted.symbols), wanted)

    said = evaluation.verdict([f.judged["ensemble"] for f in found], {}, seed=7)
    assert said.outcome is Outcome.NO_EDGE


def test_no_outcome_that_is_learnt_from_lies_in_the_part_behind(learnt: Material, planted: TrainingPlan) -> None:
    days = learnt.examples.session

    folds = evaluation.walk_forward(days, learnt.ends, planted.folds, embargo=0)

    for fold in folds:
        assert learnt.ends[fold.train].max() < days[fold.held].min()
        assert learnt.ends[fold.held].max() < days[fold.test].min()


def test_two_runs_give_the_same_bytes_and_figures(learnt: Material, planted: TrainingPlan) -> None:
    fold = evaluation.walk_forward(learnt.examples.session, learnt.ends, 3)[0]
    both = planted.model_copy(update={"members": ("linear", "xgboost")})
    kinds = ["linear", "xgboost"]

    saved = [[fitted(learnt, fold, kind, both) for kind in kinds] for _ in range(2)]
    found = [training.tried(learnt, fold, both, kinds, *files) for files in saved]

    assert saved[0] == saved[1]
    assert {n: j.score for n, j in found[0].judged.items()} == {n: j.score for n, j in found[1].judged.items()}


def test_a_task_computes_on_one_thread_whatever_its_worker_was_told() -> None:
    code = "import numpy, os; from threadpoolctl import threadpool_info as info; from pipelines.training import _told;"
    code += "print([one['num_threads'] for one in (*info(), *_told(info)())], os.environ['OMP_NUM_THREADS'])"
    told = {**os.environ, **dict.fromkeys(training.THREADS, "2")}

    said = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[2, 1] 1"


def test_a_split_nobody_told_of_is_refused_and_one_that_was_told_is_adjusted(tmp_path: Path) -> None:
    opens, closes = walk(0, 0.0)
    ex = 100
    halved = np.where(np.arange(len(DAYS)) >= ex, 0.5, 1.0)
    lake = lake_of(tmp_path, day_rows(0, closes * halved, opens * halved))

    with pytest.raises(UnexplainedBreak, match=f"NSE:RELIANCE opened on {DAYS[ex].date}"):
        material(plan(lake), ("NSE:RELIANCE",))
    cut = material(plan(lake, sessions=DAYS[ex:], first=DAYS[ex].date), ("NSE:RELIANCE",))
    told = Action(
        symbol="NSE:RELIANCE",
        kind=Kind.SPLIT,
        ex_date=DAYS[ex].date,
        factor=Fraction(1, 2),
        known=1,
        recorded=1,
        source="t",
    )
    actions.add(lake, [told])
    found = material(plan(lake), ("NSE:RELIANCE",))

    assert cut.examples.session.min() >= day_number(DAYS[ex].date)
    day = int(np.flatnonzero(found.examples.at == DAYS[ex].close)[0])
    assert found.last[day] == pytest.approx(closes[ex] / closes[ex - 1] - 1, abs=1e-4)


def minute_rows(share: int) -> Candles:
    """Three sessions of minutes that rise by 0.1 rupee each."""
    found = []
    for day in MINUTES[:3]:
        rows = np.zeros(375, CANDLE)
        rows["instrument"], rows["interval"], rows["provenance"] = share, 60, Provenance.IMPORTED
        rows["start"], rows["session"] = day.open + np.arange(375) * MINUTE, day_number(day.date)
        rows["open"] = 1_000_000 + np.arange(375) * 1_000
        rows["close"] = rows["high"] = rows["open"] + 1_000
        rows["low"], rows["volume"], rows["trades"], rows["vwap"] = rows["open"], 10, 1, UNKNOWN
        found.append(rows)
    return np.concatenate(found)


def feature_rows(candles: Candles) -> np.ndarray:
    """A row of features for each candle, each value its minute of the session."""
    rows = np.zeros(len(candles), FEATURE)
    for name in ("instrument", "session", "start"):
        rows[name] = candles[name]
    rows["values"] = np.tile(np.arange(375.0), 3)[:, None]
    return rows


def of_minutes(lake: Lake, **given: object) -> TrainingPlan:
    told = {"sessions": MINUTES[:3], "first": MINUTES[0].date, "last": MINUTES[2].date, "daily": False}
    return plan(lake, **{**told, "horizon": "15m", "symbols": ("NSE:RELIANCE",), "base": pinned(lake, False), **given})


def test_minutes_without_features_are_refused_with_the_command_that_computes_them(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, minute_rows(0))
    rows = feature_rows(minute_rows(0))

    with pytest.raises(BadValue, match="bourse features --from"):
        pinned(lake, False)
    lake.append("features", feature_table(rows[:500], ["NSE:RELIANCE"], SET, NAMES, ("",)), {"test": 1})
    with pytest.raises(BadValue) as refused:
        material(of_minutes(lake), ("NSE:RELIANCE",))

    day, first, last = (MINUTES[k].date for k in (1, 0, 2))
    assert f"the first on {day}" in str(refused.value)
    assert f"bourse features --from {first} --to {last} --symbols NSE:RELIANCE" in str(refused.value)


def test_every_fifteenth_minute_decides_and_sees_the_features_of_its_own_minute(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, minute_rows(0))
    lake.append(
        "features", feature_table(feature_rows(minute_rows(0)), ["NSE:RELIANCE"], SET, NAMES, ("",)), {"test": 1}
    )

    found = material(of_minutes(lake, every=15), ("NSE:RELIANCE",))

    # Decisions at 09:30, 09:45 ... 15:15, of which the horizon ends with the session.
    since = (found.examples.at - np.repeat([d.open for d in MINUTES[:3]], 24)) // MINUTE
    assert since.tolist() == list(range(15, 361, 15)) * 3
    assert (found.examples.features[:, 0] == since - 1).all()
    assert found.returns[0] == pytest.approx(np.log(103.0 / 101.5))
    assert set(found.targets) == {"5m", "15m", "60m", "1d"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"members": ()}, "members"),
        ({"members": ("oracle",)}, "oracle"),
        ({"every": 0}, "every"),
        ({"horizon": "5m"}, "1d"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(planted: TrainingPlan, given: dict[str, object], said: str) -> None:
    with pytest.raises(BadValue, match=said):
        check(planted.model_copy(update=given))


def test_a_rival_is_compared_on_the_sessions_that_both_did_not_learn_from(
    planted: TrainingPlan, learnt: Material
) -> None:
    folds = evaluation.walk_forward(learnt.examples.session, learnt.ends, planted.folds, planted.embargo)
    mine = [one.judged["ensemble"] for one in judged(learnt, planted)]
    saved = fitted(learnt, folds[0], "linear", planted)
    files = training.assembled(planted, ["linear"], [saved], learnt, folds[0]).save()
    last = date.fromordinal(date(1970, 1, 1).toordinal() + int(mine[-1].days[-8]))
    rivals = [Rival(3, files, None, day) for day in (last, planted.last)]

    met = [training.rivalled(one, training.met(learnt, folds, planted, one), mine) for one in rivals]
    again = training.rivalled(rivals[0], mine, mine)
    strange = Rival(3, {}, None, planted.last)

    # seven sessions of the tests lie behind the last it has seen, and one of them is the embargo
    assert (met[0].version, met[0].sessions, met[0].theirs) == (3, 6, 0.0)  # without a threshold it does nothing
    assert met[0].score == pytest.approx(np.concatenate([one.daily for one in mine])[-6:].mean())
    assert (met[1].sessions, again.score) == (0, again.theirs)
    assert "manifest" in training.rivalled(strange, training.met(learnt, folds, planted, strange), mine).reason
