"""Scorecards: one for every minute whatever ends in between, with the predictor's word or the reason there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from actors.analysis import Analysis
from actors.archive import Archive
from actors.plans import ArchivePlan, BusPlan
from adapters import entries
from adapters.bus import Bus, Entry
from adapters.inputs import decision, unpack
from adapters.lake import Lake
from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table
from market.candles import newest_revisions
from market.ensemble import heuristic_ensemble
from market.features import NAMES
from market.models.examples import Examples, sequences
from market.predictions import Abstained, Predictions
from market.scores import SCORE, Asked, Scores, momentum, trend
from market.sessions import MINUTE
from tests.actors.day import SESSION, Running, candles_on, fold_everything, log, play
from tests.actors.test_analysis import OF, PARTITIONS, caught_up, features_on, plan, put, yesterday

SYMBOLS = [i.symbol for i in OF]
Said = list[tuple[Predictions, list[str]]]


@pytest.fixture
def raw(server: RedisServer) -> Iterator[RedisLine]:
    """A line to what stands on the server."""
    line = RedisLine(server.url)
    yield line
    line.close()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake that holds yesterday's candles."""
    path = tmp_path / "lake"
    Lake(str(path)).append("candles", candle_table(yesterday(), SYMBOLS), {"test": 1})
    return path


@pytest.fixture
def played(server: RedisServer, bus: Bus, tmp_path: Path) -> list[list[Entry]]:
    """The day's candle entries, by partition; they stand on the bus."""
    asyncio.run(play(server.url, tmp_path, PARTITIONS))
    fold_everything(bus, server.url, PARTITIONS)
    return [log(bus, "candles", p) for p in range(PARTITIONS)]


class Near:
    """The seed's rules in this process, under a version of the test's choice."""

    def __init__(self, version: str = "rules@1") -> None:
        self._version = version
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def score(self, examples: Examples, horizons: Sequence[str]) -> Said:
        """As `Predictor.score`."""
        self.asked.append((examples.rows, tuple(horizons)))
        versions = [self._version] * examples.rows
        return [(heuristic_ensemble(horizon).predict(examples), versions) for horizon in horizons]


class Held(Near):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = Event()

    def score(self, examples: Examples, horizons: Sequence[str]) -> Said:
        """As `Predictor.score`."""
        self.may.wait(60.0)
        return super().score(examples, horizons)


class Broken(Near):
    """Fails every time."""

    def score(self, examples: Examples, horizons: Sequence[str]) -> Said:
        """As `Predictor.score`. Raises ConnectionError."""
        self.asked.append((examples.rows, tuple(horizons)))
        raise ConnectionError("the replica died")


class Looking(Near):
    """Looks whether the read model has what it is asked about, as of the moment or a later one."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._model = ReadModel(url)
        self.lacked = 0

    def score(self, examples: Examples, horizons: Sequence[str]) -> Said:
        """As `Predictor.score`."""
        packed = self._model.read_inputs([SYMBOLS[place] for place in examples.instrument.tolist()])
        there = [decision(NAMES, one or b"") >= at for one, at in zip(packed, examples.at.tolist(), strict=True)]
        self.lacked += len(there) - sum(there)
        return super().score(examples, horizons)


class Astray(Near):
    """Answers for instruments nobody asked for, of the last horizon."""

    def score(self, examples: Examples, horizons: Sequence[str]) -> Said:
        """As `Predictor.score`."""
        found = super().score(examples, horizons)
        found[-1][0]["instrument"] += 1
        return found


class Short(Near):
    """Leaves a horizon out."""

    def score(self, examples: Examples, horizons: Sequence[str]) -> Said:
        """As `Predictor.score`."""
        return super().score(examples, horizons)[1:]


def analyse(bus: Bus, url: str, lake: Path, predictor: Near | None = None, **more: Any) -> dict[str, Any]:
    """One Analysis from where it stands until everything is scored; its last health."""
    analysis = Analysis(plan(url, lake, **more), predictor)
    one = Running(analysis)
    one.wait(lambda: caught_up(analysis, bus) and scored_all(bus))
    one.stop()
    return analysis.health()


def scored_all(bus: Bus) -> bool:
    """Whether every entry of features has its scorecards."""
    ends = [[bus.last(topic, p) for p in range(PARTITIONS)] for topic in ("analysis", "scores")]
    return all(ends[0]) and ends[0] == ends[1]


def stream(bus: Bus) -> list[tuple[int, int, bytes]]:
    """Every entry of scorecards: partition, id, bytes."""
    return [(p, e.id, e.payload) for p in range(PARTITIONS) for e in log(bus, "scores", p)]


def scores_on(bus: Bus) -> Scores:
    """The scorecards on the bus by instrument and start."""
    rows = np.concatenate([entries.decode(payload, SCORE) for _, _, payload in stream(bus)])
    return rows[np.lexsort((rows["start"], rows["instrument"]))]


def cut(raw: RedisLine, kept: list[int], bus: Bus) -> None:
    """Leave the first entries of scorecards of each partition: what a kill -9 behind the features left."""
    for p, rows in enumerate([log(bus, "scores", p) for p in range(PARTITIONS)]):
        raw.call("DEL", f"scores:{{{p}}}")
        put(raw, "scores", p, rows[: kept[p]])


def test_every_minute_has_a_scorecard_made_of_its_features(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    said = analyse(bus, server.url, lake)

    cards, features = scores_on(bus), features_on(bus)
    ids = [[(p, e.id) for p in range(PARTITIONS) for e in log(bus, topic, p)] for topic in ("analysis", "scores")]
    assert ids[0] == ids[1]
    assert len(cards) == len(OF) * SESSION.minutes == said["scores"]["rows"]
    assert cards[["instrument", "start"]].tolist() == features[["instrument", "start"]].tolist()
    np.testing.assert_allclose(cards["trend"], trend(NAMES, features["values"]), rtol=1e-6)
    np.testing.assert_allclose(cards["momentum"], momentum(NAMES, features["values"]), rtol=1e-6)
    assert np.isfinite(cards["composite"]).all()
    candles = newest_revisions(np.concatenate([yesterday(), candles_on(bus, PARTITIONS)]))
    for one in OF:
        mine = candles[(candles["instrument"] == one.id) & (candles["interval"] == 60)]
        last = cards[cards["instrument"] == one.id][-1]
        assert last["close"] == mine["close"][-1]
        assert last["middle"] == pytest.approx(mine["close"][-20:].mean(), abs=1)
        assert last["previous"] == mine["close"][mine["start"] < SESSION.open][-1]
    assert set(cards["asked"].tolist()) == {int(Asked.NOT_CONFIGURED)}


@pytest.mark.parametrize("kept", [[0, 0], [9, 3]])
def test_a_kill_behind_the_features_leaves_no_minute_without_a_scorecard(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]], kept: list[int]
) -> None:
    analyse(bus, server.url, lake)
    undisturbed, features = stream(bus), [log(bus, "analysis", p) for p in range(PARTITIONS)]
    cut(raw, kept, bus)

    analyse(bus, server.url, lake)

    assert stream(bus) == undisturbed and len(undisturbed) == 2 * SESSION.minutes
    assert [log(bus, "analysis", p) for p in range(PARTITIONS)] == features


def test_one_question_a_shard_for_all_horizons_is_answered_on_every_card(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    near = Near()

    said = analyse(bus, server.url, lake, near, horizons=("15m", "5m"))

    cards = scores_on(bus)
    first, other = (cards[cards["horizon"] == place] for place in (1, 0))
    assert len(first) == len(other) == len(OF) * SESSION.minutes
    assert {horizons for _, horizons in near.asked} == {("15m", "5m")}
    assert sum(rows for rows, _ in near.asked) == len(first)
    ids = [[(p, e.id) for p in range(PARTITIONS) for e in log(bus, topic, p)] for topic in ("analysis", "scores")]
    assert ids[0] == ids[1]
    assert not cards["asked"].any() and set(cards["version"].tolist()) == {b"rules@1"}
    told = cards[cards["abstained"] == Abstained.NO]
    assert len(told) and np.isfinite(told["prediction"]).all()
    assert said["scores"]["versions"] == ["rules@1"]


def test_features_do_not_wait_for_an_answer_and_cards_do_for_so_long(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    held = Held()
    analysis = Analysis(plan(server.url, lake), held)
    one = Running(analysis)
    one.wait(lambda: len(log(bus, "analysis", 0)) > 0)
    before = stream(bus)
    held.may.set()
    one.wait(lambda: caught_up(analysis, bus) and scored_all(bus))
    one.stop()

    assert before == []
    assert set(scores_on(bus)["asked"].tolist()) == {int(Asked.ANSWERED)}


@pytest.mark.parametrize(
    ("predictor", "seconds", "why", "count"),
    [
        (Held(), 0.05, Asked.SLOW, "slow"),
        (Broken(), 60.0, Asked.DOWN, "down"),
        (Astray(), 60.0, Asked.DOWN, "strange"),
        (Short(), 60.0, Asked.DOWN, "strange"),
    ],
)
def test_without_an_answer_cards_are_published_and_say_so(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]],
    predictor: Near, seconds: float, why: Asked, count: str,
) -> None:  # fmt: skip
    said = analyse(bus, server.url, lake, predictor, ask_seconds=seconds)

    cards = scores_on(bus)
    assert len(cards) == len(OF) * SESSION.minutes == said["scores"]["without"]
    assert set(cards["asked"].tolist()) <= {int(why), int(Asked.RESTING)} and why in cards["asked"]
    assert np.isnan(cards["prediction"]).all() and np.isfinite(cards["composite"]).all()
    assert said["scores"][count] >= 1


def test_what_was_published_first_stands_whatever_the_next_model_says(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    analyse(bus, server.url, lake, Near("rules@1"))
    first = stream(bus)
    cut(raw, [6, 4], bus)
    kept = stream(bus)

    analyse(bus, server.url, lake, Near("rules@2"))

    now = stream(bus)
    assert [one for one in now if one in kept] == kept
    assert [(p, entry) for p, entry, _ in now] == [(p, entry) for p, entry, _ in first]
    assert set(scores_on(bus)["version"].tolist()) == {b"rules@1", b"rules@2"}


def test_the_read_model_has_what_a_model_saw_of_the_last_minute(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    looking = Looking(server.url)

    analyse(bus, server.url, lake, looking)

    assert looking.asked and not looking.lacked  # it is there before anybody is asked
    packed = ReadModel(server.url).read_inputs(SYMBOLS)
    found = unpack(NAMES, [i.id for i in OF], [one for one in packed if one is not None])
    candles = newest_revisions(np.concatenate([yesterday(), candles_on(bus, PARTITIONS)]))
    last = features_on(bus)
    last = last[last["start"] == SESSION.close - MINUTE]
    expected = [sequences(candles[(candles["instrument"] == i.id) & (candles["interval"] == 60)])[-1] for i in OF]
    assert found.at.tolist() == [SESSION.close] * len(OF)
    np.testing.assert_array_equal(found.features, last["values"].astype(np.float32))
    np.testing.assert_array_equal(found.sequence, np.stack(expected))
    newest = raw.call("XREVRANGE", "analysis:results", "+", "-", "COUNT", len(OF))
    assert sorted(fields[1].decode() for _, fields in newest) == sorted(s.removeprefix("NSE:") for s in SYMBOLS)


def test_archive_carries_the_predictions_into_the_lake_each_row_once(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    analyse(bus, server.url, lake, Near(), horizons=("15m", "60m"))
    told = {name: getattr(plan(server.url, lake), name) for name in BusPlan.model_fields}
    ends = {str(p): bus.last("scores", p) for p in range(PARTITIONS)}

    for _ in range(2):
        archive = Archive(ArchivePlan(**told, lake=str(lake), feeds=("a",), commit_seconds=0.0, tables=("scores",)))
        one = Running(archive)
        one.wait(lambda: archive.health()["tables"].get("scores", {}).get("committed") == ends)  # noqa: B023
        one.stop()

    rows = DeltaTable(str(lake / "predictions")).to_pyarrow_table()
    rows = rows.sort_by([("horizon", "ascending"), ("symbol", "ascending"), ("at", "ascending")])
    cards = scores_on(bus)
    names = np.array(SYMBOLS)[cards["instrument"]]
    cards = cards[np.lexsort((cards["start"], names, cards["horizon"]))]
    assert len(rows) == len(cards) == 2 * len(OF) * SESSION.minutes
    assert rows["symbol"].to_pylist() == [SYMBOLS[i] for i in cards["instrument"]]
    assert (rows["at"].cast("int64").to_numpy() * 1000 == cards["start"] + MINUTE).all()
    assert np.array_equal(rows["prediction"].to_numpy(), cards["prediction"], equal_nan=True)
    assert [a is None for a in rows["abstained"].to_pylist()] == (cards["abstained"] == 0).tolist()
    assert set(rows["version"].to_pylist()) == {"rules@1"} and rows["asked"].null_count == len(rows)
