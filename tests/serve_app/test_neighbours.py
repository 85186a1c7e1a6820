"""Neighbours: an answer is the same, whoever else is asked about and whichever Analysis asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.ensemble import Ensemble
from market.features import NAMES
from market.models.examples import Examples
from market.models.gnn import Gnn
from market.models.heuristic import Heuristic
from market.models.nets import Lesson
from market.predictions import Abstained
from market.sessions import MINUTE
from serve_app.ensembles import check
from serve_app.neighbours import Neighbours
from serve_app.predictor import Asked, Predictor, PredictorPlan
from tests.serve_app.test_predictor import Shelf, examples

COUNT = 12
SYMBOLS = tuple(f"NSE:S{k}" for k in range(COUNT))
SECTORS = {place: place // 4 for place in range(COUNT)}
"""Three sectors of four."""
AT = int(examples(1).at[0])
LESSON = Lesson(rounds=1, patience=1, steps=3, batch=64)


@pytest.fixture(scope="module")
def graph() -> Ensemble:
    """The seed's rules, and a graph that has seen little."""
    torch.set_num_threads(1)
    learn, stop = (minutes(seed, 8) for seed in (1, 2))
    model = Gnn("15m", SECTORS, 0, LESSON)
    labels = {"15m": np.random.default_rng(3).integers(0, 3, learn.rows).astype(np.int8)}
    model.fit(learn, labels, stop, labels, 1)
    return Ensemble("15m", {"heuristic": Heuristic("15m"), "gnn": model})


@pytest.fixture
def cache(stores: tuple[RedisServer, RedisServer]) -> Iterator[ReadModel]:
    """An empty read model."""
    for server in stores:
        RedisLine(server.url).call("FLUSHALL")
    model = ReadModel(stores[1].url)
    yield model
    model.close()


@pytest.fixture
def predictor(stores: tuple[RedisServer, RedisServer], cache: ReadModel, graph: Ensemble) -> Iterator[Predictor]:
    """A replica that serves the graph."""
    shelf = Shelf()
    shelf.put(1, graph.save(), "champion")
    plan = PredictorPlan(
        bus=stores[0].url, cache=stores[1].url, horizons=("15m",), poll_seconds=3600, symbols=SYMBOLS, threads=1
    )
    made = Predictor(plan, shelf)
    made._neighbours = Neighbours(ReadModel(stores[1].url, timeout=60.0), SYMBOLS)  # a slow machine's is not away
    assert made._ensembles.of("15m").champion.number == 1
    yield made
    made.stop()


def minutes(seed: int, count: int = 1) -> Examples:
    """All instruments in some minutes, each unlike the others; the rules' features are known."""
    made = examples(COUNT * count)
    chance = np.random.default_rng(seed)
    made.features[:] = chance.normal(0, 0.5, made.features.shape)
    made.features[:, NAMES.index("rsi_14_1m")] = chance.uniform(0.1, 0.9, made.rows)
    return made._replace(
        instrument=np.tile(np.arange(COUNT, dtype=np.int32), count), at=AT + np.repeat(np.arange(count), COUNT) * MINUTE
    )


def show(cache: ReadModel, made: Examples) -> None:
    """What an Analysis writes before it asks."""
    cache.inputs([SYMBOLS[k] for k in made.instrument.tolist()], made)


async def score(predictor: Predictor, made: Examples) -> np.ndarray:
    """What an Analysis is told."""
    ((rows, _),) = await predictor.score(made, ["15m"])
    return rows


def same(found: np.ndarray, whole: np.ndarray) -> None:
    """All that is told of the same instruments."""
    for name in ("instrument", "at", "abstained", "silent"):
        assert found[name].tolist() == whole[name].tolist()
    for name in ("p_down", "p_flat", "p_up", "prediction", "spread"):
        np.testing.assert_allclose(found[name], whole[name], atol=1e-6)


def test_one_symbol_is_told_what_it_is_told_among_all(replica: None, predictor: Predictor, cache: ReadModel) -> None:
    made = minutes(5)
    show(cache, made)
    whole = asyncio.run(score(predictor, made))

    async def one_by_one() -> list[np.ndarray]:
        found = []
        for k in range(COUNT):
            for engine in (None, "gnn"):
                answer = await predictor.answer(Asked(made.take(slice(k, k + 1)), "15m", engine))
                assert len(answer.rows) == len(answer.versions) == 1
                found.append(answer.rows)
        return found

    found = asyncio.run(one_by_one())

    assert (whole["abstained"] == Abstained.NO).all()
    same(np.concatenate(found[::2]), whole)
    graph = predictor._ensembles.of("15m").champion.ensemble.predict_by("gnn", made)
    same(np.concatenate(found[1::2]), graph)


def test_two_shards_are_told_what_one_is_told(predictor: Predictor, cache: ReadModel) -> None:
    made = minutes(6)
    shards = [made.take(np.arange(COUNT) % 2 == k) for k in range(2)]
    whole = asyncio.run(score(predictor, made))

    async def at_once() -> list[np.ndarray]:
        show(cache, shards[0])
        first = asyncio.create_task(score(predictor, shards[0]))
        await asyncio.sleep(0)  # who asks first does not find the others
        show(cache, shards[1])
        second = await score(predictor, shards[1])
        return [await first, second]

    found = asyncio.run(at_once())

    for rows, mine in zip(found, shards, strict=True):
        same(rows, whole[mine.instrument])


def test_a_graph_without_its_neighbours_leaves_its_weight_to_the_others_and_says_so(
    replica: None, predictor: Predictor
) -> None:
    alone = minutes(7).take(slice(3, 4))

    async def ask() -> list[Any]:
        return [await predictor.answer(Asked(alone, "15m", engine)) for engine in (None, "heuristic", "gnn")]

    both, rules, graph = asyncio.run(ask())

    assert both.rows["prediction"] == rules.rows["prediction"]
    assert both.notes == [("gnn says nothing: too few of the instrument's neighbours are known at this moment",)]
    assert rules.notes == [()]
    assert graph.rows["abstained"].tolist() == [Abstained.NO_MODEL]
    assert graph.notes == both.notes
    assert predictor.health()["neighbours_missing"] == 6  # its sector's three, asked for twice


@pytest.mark.parametrize("minute", [-1, 1])
def test_neighbours_of_another_minute_are_none(cache: ReadModel, graph: Ensemble, minute: int) -> None:
    made = minutes(8)
    show(cache, made._replace(at=made.at + minute * MINUTE))
    mine = made.take(slice(0, 1))

    found = asyncio.run(Neighbours(cache, SYMBOLS, ()).around(mine, graph.neighbours))

    assert found.rows == 1


class Counted(ReadModel):
    """Counts how often it was asked."""

    asked = 0

    def read_inputs(self, symbols: Sequence[str]) -> list[bytes | None]:
        """As `ReadModel.read_inputs`."""
        self.asked += 1
        return super().read_inputs(symbols)


def test_who_did_not_come_is_waited_for_once_until_it_comes_again(
    cache: ReadModel, stores: tuple[RedisServer, RedisServer], graph: Ensemble
) -> None:
    counted, made = Counted(stores[1].url), minutes(9)
    neighbours = Neighbours(counted, SYMBOLS, pauses=(0.0, 0.0))
    found = []

    for minute, there in ((1, 3), (2, 3), (3, 4), (4, 3)):  # of a sector of four
        later = made._replace(at=made.at + minute * MINUTE)
        show(cache, later.take(slice(0, there)))
        before = counted.asked
        rows = asyncio.run(neighbours.around(later.take(slice(0, 1)), graph.neighbours)).rows
        found.append((rows, counted.asked - before))
    counted.close()

    assert found == [(3, 3), (3, 1), (4, 1), (3, 3)]


def test_a_read_model_that_is_away_is_told_and_waited_for_by_nobody(graph: Ensemble) -> None:
    neighbours = Neighbours(ReadModel("redis://127.0.0.1:1/0"), SYMBOLS)

    found = asyncio.run(neighbours.around(minutes(1).take(slice(0, 1)), graph.neighbours))

    assert found.rows == 1
    assert "127.0.0.1:1" in neighbours.trouble


def test_a_graph_of_more_instruments_than_a_probe_has_passes_its_check() -> None:
    torch.set_num_threads(1)
    many = examples(400)
    labels = {"15m": np.random.default_rng(3).integers(0, 3, many.rows).astype(np.int8)}
    model = Gnn("15m", {place: place % 2 for place in range(400)}, 0, LESSON)
    model.fit(many, labels, many, labels, 1)

    check(Ensemble("15m", {"gnn": model}), "15m", NAMES)  # else 31 of 199 neighbours would be too few
