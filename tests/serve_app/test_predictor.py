"""The predictor: versions swapped while it answers, champion and challenger, the shadow, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from adapters.bus import START, Bus
from adapters.entries import decode_records
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.serving import Serving
from market.ensemble import Ensemble
from market.errors import BadValue, LineDown
from market.features import NAMES, SET
from market.models.examples import CHANNELS, LENGTH, Examples
from market.models.heuristic import Heuristic
from market.models.linear import Linear
from market.predictions import PREDICTION, Abstained
from market.registrations import About, Version
from serve_app.ensembles import Ensembles, model_of
from serve_app.neighbours import joined
from serve_app.predictor import Asked, Predictor, PredictorPlan, abstained, with_secrets

NAME = model_of("15m")
NOW = datetime(2026, 11, 20, tzinfo=UTC)
ABOUT = About(
    name=NAME, horizon="15m", features=SET, symbols=("NSE:TCS",), revision="abc", seed=1, measure="auc", score=0.6,
    baselines={"none": 0.5}, verdict="EDGE", trained_at=NOW,
)  # fmt: skip


class Shelf:
    """Versions in memory, with the ways of a registry: aliases move, it can be out of reach."""

    def __init__(self, about: About = ABOUT) -> None:
        self.about = about
        self.kept: dict[int, dict[str, bytes]] = {}
        self.aliases: dict[str, int] = {}
        self.away = False

    def put(self, number: int, files: dict[str, bytes], alias: str) -> None:
        """Register a version and call it so."""
        self.kept[number] = files
        self.aliases[alias] = number

    def files(self, name: str, version: int) -> dict[str, bytes]:
        """What a version was saved as."""
        return self.kept[version]

    def versions(self, name: str) -> list[Version]:
        """Newest first."""
        if self.away:
            raise LineDown("database", "connection refused")
        mine = sorted(self.kept, reverse=True) if name == NAME else []
        return [
            Version(
                name=name, version=n, registered_at=NOW, about=self.about,
                aliases=tuple(alias for alias, number in self.aliases.items() if number == n),
            )
            for n in mine
        ]  # fmt: skip


def heuristic() -> dict[str, bytes]:
    """The seed's rules, registered."""
    return Ensemble("15m", {"heuristic": Heuristic("15m")}).save()


def linear(seed: int) -> dict[str, bytes]:
    """A linear model that has learned that RSI is followed by rises."""
    chance = np.random.default_rng(seed)
    made = examples(600)
    made.features[:] = chance.normal(0, 1, made.features.shape)
    labels = {"15m": np.where(made.features[:, 0] > 0, 2, 0).astype(np.int8)}
    model = Linear("15m")
    model.fit(made, labels, made, labels, seed)
    return Ensemble("15m", {"linear": model}).save()


def examples(count: int, rsi: float = 0.2) -> Examples:
    """The heuristic's features, RSI as a fraction, MACD above 0."""
    features = np.zeros((count, len(NAMES)), np.float32)
    features[:, NAMES.index("rsi_14_1m")] = rsi
    features[:, NAMES.index("macd_line_12_26_1m")] = 0.001
    features[:, NAMES.index("sma_gap_200_1d")] = np.nan
    sequence = np.zeros((count, LENGTH, len(CHANNELS)), np.float32)
    at = np.full(count, 1_472_096_760_000_000_000, np.int64)
    return Examples(NAMES, features, sequence, np.arange(count, dtype=np.int32), at, np.full(count, 17_038, np.int32))


@pytest.fixture
def shelf() -> Shelf:
    """An empty registry."""
    return Shelf()


@pytest.fixture
def predictor(stores: tuple[RedisServer, RedisServer], shelf: Shelf) -> Iterator[Predictor]:
    """A replica that has looked at the registry once; further looks are the test's."""
    for server in stores:
        RedisLine(server.url).call("FLUSHALL")
    plan = PredictorPlan(bus=stores[0].url, cache=stores[1].url, horizons=("15m",), poll_seconds=3600)
    made = Predictor(plan, shelf)
    yield made
    made.stop()


def score(predictor: Predictor, made: Examples) -> tuple[np.ndarray, list[str]]:
    """What it says."""
    [(rows, versions)] = asyncio.run(predictor.score(made, ["15m"]))
    return rows, versions


def test_without_a_registered_version_the_heuristic_answers(predictor: Predictor) -> None:
    rows, versions = score(predictor, examples(3))

    assert rows.dtype == PREDICTION
    assert rows["prediction"] == pytest.approx([0.85] * 3)  # 0.5, oversold + 0.2, MACD + 0.15, no averages
    assert versions == ["v1-heuristic"] * 3


def test_a_new_champion_takes_over_and_a_rollback_gives_way(predictor: Predictor, shelf: Shelf) -> None:
    shelf.put(1, heuristic(), "champion")
    first = predictor._ensembles.look(0.0)
    _, one = score(predictor, examples(1))
    shelf.put(2, linear(1), "champion")
    predictor._ensembles.look(1.0)
    _, two = score(predictor, examples(1))
    shelf.aliases["champion"] = 1
    predictor._ensembles.look(2.0)
    _, back = score(predictor, examples(1))

    assert first == ["direction-15m: champion is direction-15m@1, was v1-heuristic"]
    assert (one, two, back) == (["direction-15m@1"], ["direction-15m@2"], ["direction-15m@1"])


def test_answers_come_whole_from_one_version_while_versions_are_swapped(predictor: Predictor, shelf: Shelf) -> None:
    shelf.put(1, heuristic(), "champion")
    shelf.put(2, linear(1), "champion")
    made, seen = examples(50), []
    expected = {}
    for number in (1, 2):
        shelf.aliases["champion"] = number
        predictor._ensembles.look(float(number))
        rows, (title, *_) = score(predictor, made)
        expected[title] = rows.tobytes()

    def swap() -> None:
        for k in range(40):
            shelf.aliases["champion"] = 1 + k % 2
            predictor._ensembles.look(100.0 + k)

    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(swap)
        while not swapping.done():
            rows, versions = score(predictor, made)
            assert len(set(versions)) == 1
            seen.append(versions[0])
            assert rows.tobytes() == expected[versions[0]]
        swapping.result()

    assert set(seen) <= set(expected)
    assert seen


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "manifest.json"),
        ({"manifest.json": b"{}"}, "manifest.json"),
        (Ensemble("60m", {"heuristic": Heuristic("60m")}).save(), "it predicts 60m, not 15m"),
        ({**heuristic(), "heuristic.model": b"other"}, "not what was saved"),
    ],
)
def test_a_version_that_cannot_be_used_leaves_the_old_one_in_place(
    predictor: Predictor, shelf: Shelf, files: dict[str, bytes], said: str
) -> None:
    shelf.put(1, heuristic(), "champion")
    predictor._ensembles.look(0.0)
    shelf.put(2, files, "champion")
    predictor._ensembles.look(1.0)

    assert score(predictor, examples(1))[1] == ["direction-15m@1"]
    assert said in predictor.health()["refused"]["direction-15m@2"]
    shelf.put(2, heuristic(), "champion")
    predictor._ensembles.look(2.0)
    assert score(predictor, examples(1))[1] == ["direction-15m@1"]  # not tried at once again
    predictor._ensembles.look(1000.0)
    assert score(predictor, examples(1))[1] == ["direction-15m@2"]
    assert predictor.health()["refused"] == {}


def test_features_that_are_not_known_here_are_refused() -> None:
    shelf = Shelf()
    shelf.put(1, heuristic(), "champion")
    held = Ensembles(["15m"], ("close", "open"), shelf)

    held.look(0.0)

    assert held.of("15m").champion.title == "v1-heuristic"
    assert "rsi_14_1m" in held.faults()["direction-15m@1"]


def test_a_version_of_other_features_is_refused() -> None:
    shelf = Shelf(ABOUT.model_copy(update={"features": "f1-daily"}))
    shelf.put(1, heuristic(), "champion")
    held = Ensembles(["15m"], NAMES, shelf)

    held.look(0.0)

    assert held.of("15m").champion.title == "v1-heuristic"
    assert "f1-daily" in held.faults()["direction-15m@1"]


def test_a_new_replica_goes_on_with_what_was_served_until_the_registry_says_else(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put(1, linear(1), "champion")
    shelf.put(2, heuristic(), "challenger")
    Ensembles(["15m"], NAMES, shelf, Serving(tmp_path)).look(0.0)
    shelf.away = True

    successor = Ensembles(["15m", "60m"], NAMES, shelf, Serving(tmp_path))
    went_on = successor.go_on()
    successor.look(0.0)

    assert went_on
    assert successor.of("15m").champion.title == "direction-15m@1"
    assert successor.of("15m").champion.ensemble.save() == shelf.kept[1]
    assert successor.of("15m").challenger is not None
    assert successor.of("60m").champion.title == "v1-heuristic"
    shelf.away, shelf.aliases = False, {}
    successor.look(1.0)
    assert successor.of("15m").champion.title == "v1-heuristic"
    assert not Ensembles(["15m"], NAMES, shelf, Serving(tmp_path)).go_on()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[50:]])
def test_what_was_left_half_is_not_served(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    shelf = Shelf()
    shelf.put(1, linear(1), "champion")
    Ensembles(["15m"], NAMES, shelf, Serving(tmp_path)).look(0.0)
    (left,) = tmp_path.iterdir()
    left.write_bytes(damage(left.read_bytes()))

    successor = Ensembles(["15m"], NAMES, None, Serving(tmp_path))

    assert not successor.go_on()
    assert successor.of("15m").champion.title == "v1-heuristic"


def test_a_registry_out_of_reach_changes_nothing_and_is_told(predictor: Predictor, shelf: Shelf) -> None:
    shelf.put(1, heuristic(), "champion")
    predictor._ensembles.look(0.0)
    shelf.away = True
    predictor._ensembles.look(1.0)

    assert score(predictor, examples(1))[1] == ["direction-15m@1"]
    assert predictor.health()["trouble"] == "database: connection refused"
    shelf.away = False
    predictor._ensembles.look(2.0)
    assert predictor.health()["trouble"] == ""


def test_the_challenger_answers_for_its_share_and_the_champion_for_the_rest(predictor: Predictor, shelf: Shelf) -> None:
    shelf.put(1, heuristic(), "champion")
    shelf.put(2, linear(1), "challenger")
    predictor._ensembles.look(0.0)
    made = examples(400)
    alone, _ = score(predictor, made)

    predictor.reconfigure({"challenger_weight": 0.25, "shadow": False})
    rows, versions = score(predictor, made)
    again = score(predictor, made.take(slice(100, 200)))[1]

    theirs = np.array(versions) == "direction-15m@2"
    assert 70 < theirs.sum() < 130  # a quarter of 400, give or take three deviations
    assert rows[~theirs].tobytes() == alone[~theirs].tobytes()
    assert (rows["instrument"] == made.instrument).all()
    assert again == versions[100:200]  # the same instruments, whoever asks
    predictor.reconfigure({"challenger_weight": 0.0})
    assert set(score(predictor, made)[1]) == {"direction-15m@1"}


def test_a_champion_that_has_drifted_leaves_more_to_the_challenger(predictor: Predictor, shelf: Shelf) -> None:
    shelf.put(1, heuristic(), "champion")
    shelf.put(2, linear(1), "challenger")
    held = predictor._ensembles
    held.look(0.0)

    before = held.share("15m", 0.5)
    held.judgements = {"direction-15m@1 15m": {"weight": 0.25}, "direction-15m@1 60m": {"weight": 0.0}}
    drifted = held.share("15m", 0.5)
    held.judgements = {"direction-15m@2 15m": {"weight": 0.5}}

    assert before == 0.5
    assert drifted == pytest.approx(0.8)  # 0.5 against 0.5 of a quarter
    assert held.share("15m", 0.5) == pytest.approx(1 / 3)
    assert (held.share("15m", 0.0), held.share("15m", 1.0)) == (0.0, 1.0)


def test_in_shadow_the_challengers_answers_go_to_the_bus_alone(
    predictor: Predictor, shelf: Shelf, stores: tuple[RedisServer, RedisServer]
) -> None:
    shelf.put(1, heuristic(), "champion")
    shelf.put(2, linear(1), "challenger")
    predictor._ensembles.look(0.0)
    predictor.reconfigure({"shadow": True})
    made = examples(30)

    _, versions = score(predictor, made)
    predictor._shadower.shutdown(wait=True)

    (entry,) = Bus(stores[0].url).read("shadows", {0: START}, 10)
    (record,) = decode_records(entry.payload)
    rows = np.frombuffer(record["rows"], PREDICTION)
    assert set(versions) == {"direction-15m@1"}
    assert (record["version"], record["horizon"]) == ("direction-15m@2", "15m")
    assert rows.tobytes() == Ensemble.load(shelf.kept[2]).predict(made).tobytes()
    assert predictor.health()["counts"] == {"shadowed": 30}


def test_the_bus_remembers_one_writer_of_shadows_however_many_there_were(
    stores: tuple[RedisServer, RedisServer], shelf: Shelf
) -> None:
    raw, bus = RedisLine(stores[0].url), Bus(stores[0].url)
    raw.call("FLUSHALL")
    ahead = 1 << 52  # told by a replica whose clock is a century ahead
    bus.append("shadows", "predictor", [(0, ahead, b"first")])
    plan = PredictorPlan(bus=stores[0].url, cache=stores[1].url, horizons=("15m",), poll_seconds=3600)
    replicas = [Predictor(plan, shelf) for _ in range(3)]

    for place, one in enumerate(replicas):
        one._say_unseen(b"%d" % place)
        one.stop()

    assert raw.call("HKEYS", "numbers:{0}") == [b"shadows/predictor"]
    assert [e.payload for e in bus.read("shadows", {0: START}, 10)] == [b"first", b"0", b"1", b"2"]


def test_a_model_that_fails_abstains_and_is_counted(predictor: Predictor) -> None:
    few = examples(2)._replace(names=("close",), features=np.ones((2, 1), np.float32))

    rows, versions = score(predictor, few)

    assert rows["abstained"].tolist() == [Abstained.NO_MODEL] * 2
    assert np.isnan(rows["prediction"]).all()
    assert versions == ["v1-heuristic"] * 2
    assert predictor.health()["counts"] == {"predict_failed": 1}
    assert "rsi_14_1m" in predictor.health()["trouble"]
    score(predictor, examples(1))
    assert predictor.health()["trouble"] == ""


def test_a_horizon_that_is_not_served_is_refused(predictor: Predictor) -> None:
    with pytest.raises(BadValue, match="one of 15m"):
        asyncio.run(predictor.score(examples(1), ["15m", "5m"]))


@pytest.mark.parametrize("wrong", [{"challenger_weight": 1.5}, {"challenger_weight": "much"}, {"weight": 0.5}])
def test_a_tuning_that_is_not_allowed_is_refused(predictor: Predictor, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="weight"):
        predictor.reconfigure(wrong)


def test_callers_of_one_moment_are_computed_together_and_each_has_its_rows(replica: None, predictor: Predictor) -> None:
    predictor.reconfigure({"wait_ms": 50})
    made = examples(60, rsi=0.2)
    made.features[20:, NAMES.index("rsi_14_1m")] = 0.9  # overbought: 0.5 - 0.2 + 0.15

    async def ask() -> list[object]:
        parts = [made.take(slice(k, k + 10)) for k in range(0, 60, 10)]
        return await asyncio.gather(*(predictor.answer(Asked(part, "15m")) for part in parts))

    answers = asyncio.run(ask())

    assert [len(one.rows) for one in answers] == [10] * 6
    assert np.concatenate([one.rows["instrument"] for one in answers]).tolist() == list(range(60))
    assert [round(float(one.rows["prediction"][0]), 2) for one in answers] == [0.85] * 2 + [0.45] * 4
    assert len({one.ms for one in answers}) == 1  # one computation


def test_joined_examples_stand_one_behind_the_other() -> None:
    made = joined([examples(2), examples(3)])

    assert made.rows == 5
    assert made.instrument.tolist() == [0, 1, 0, 1, 2]
    assert abstained(made)["instrument"].tolist() == [0, 1, 0, 1, 2]


def test_secrets_come_from_the_environment_where_the_config_is_silent() -> None:
    found = with_secrets(PredictorPlan(bus="", cache="unix:///c"), {"BUS_URL": "redis://b:1/0", "CACHE_URL": "x"})

    assert (found.bus, found.cache, found.registry) == ("redis://b:1/0", "unix:///c", "")
