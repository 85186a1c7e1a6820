"""Predictions over HTTP: the seed's schema, what abstains, what is refused, and trainings asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from adapters.jobs import Jobs
from adapters.redis_server import RedisServer
from adapters.tokens import Signer
from market.errors import NotYet
from market.features import NAMES
from market.labels import HORIZONS
from market.models.examples import CHANNELS, LENGTH, Examples
from market.models.heuristic import Body
from market.sessions import MINUTE
from market.timetable import Note, State
from serve_app.access import AccessPlan
from serve_app.gateway import build
from serve_app.predictions import Remote, Trainings
from serve_app.predictor import Answered, Asked, NoSuch, Predictor, PredictorPlan
from serve_app.requests import MOST_BODY
from tests.serve_app.door import SECRET
from tests.serve_app.house import RELIANCE, TCS, TODAY, House, after, live, patient

OWN = {"rsi": 25.0, "macd": 1.5, "ema50": 101.0, "ema200": 100.0, "close": 102.5, "volume": 1000}
TRAININGS = {"direction-15m": "train-15m"}


class Direct:
    """The predictor itself, without a deployment around it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def answer(self, asked: Asked) -> Answered | NoSuch:
        """Rows for examples."""
        return await self._predictor.answer(asked)

    async def judge(self, body: Body, horizon: str, engine: str) -> Answered | NoSuch:
        """A row for features of a caller's own."""
        return await self._predictor.judge(body, horizon, engine)

    async def models(self) -> dict[str, Any]:
        """What serves."""
        return await self._predictor.models()


class Silent:
    """A predictor that never answers in time."""

    async def answer(self, asked: Asked) -> Answered | NoSuch:
        """Takes too long."""
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
def client(replica: None, closed: House, stores: tuple[RedisServer, RedisServer]) -> Iterator[TestClient]:
    """The gateway with a predictor of built-in ensembles behind it."""
    plan = AccessPlan(secrets=(SecretStr(SECRET),))
    closed.plan = closed.plan.model_copy(update={"trainings": TRAININGS, "access": plan})
    bus, cache = stores
    predictor = Predictor(PredictorPlan(bus=bus.url, cache=cache.url))
    app = patient(build(closed.plan, predicts=Direct(predictor)))
    closed.follower = app.state.desk.follower
    shown = {"Authorization": f"Bearer {Signer([SECRET]).operator()}"}
    with TestClient(app, raise_server_exceptions=False, headers=shown) as found:
        closed.client = found
        yield found
    predictor.stop()


def examples(*instruments: int, rsi: float = 0.2, macd: float = 0.001, at: int = 0) -> Examples:
    """The heuristic's features of some instruments; RSI as a fraction; no daily averages."""
    count = len(instruments)
    features = np.full((count, len(NAMES)), np.nan, np.float32)
    features[:, NAMES.index("rsi_14_1m")] = rsi
    features[:, NAMES.index("macd_line_12_26_1m")] = macd
    sequence = np.zeros((count, LENGTH, len(CHANNELS)), np.float32)
    moments = np.full(count, at or after(TODAY, 30), np.int64)
    return Examples(
        NAMES, features, sequence, np.array(instruments, np.int32), moments, np.full(count, 17_038, np.int32)
    )


def post(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    """The body of a good answer."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("path", ["/predict", "/api/v1/predict"])
def test_a_symbol_is_predicted_from_its_live_features_in_the_seeds_schema(
    client: TestClient, closed: House, path: str
) -> None:
    closed.model.inputs(["NSE:RELIANCE"], examples(RELIANCE))

    body = post(client, path, symbol="RELIANCE")

    # The seed's rules: 0.5, oversold + 0.2, MACD above 0 + 0.15, no averages: 0.85, as two throws of 0.85.
    assert (body["symbol"], body["model_version"]) == ("NSE:RELIANCE", "v1-heuristic")
    assert body["prediction"] == pytest.approx(0.85, abs=1e-6)
    assert body["confidence"] == pytest.approx(0.70, abs=1e-6)
    assert (body["p_up"], body["p_flat"], body["p_down"]) == pytest.approx((0.7225, 0.255, 0.0225), abs=1e-6)
    assert (body["horizon"], body["engine"], body["abstained"]) == ("15m", "ensemble", False)
    assert body["at"] == "2016-08-25T04:15:00Z"
    assert body["reasons"][2] == "a rise beyond costs: 72%"
    assert body["interval"] is None


def test_ones_own_features_are_judged_by_the_seeds_rules(client: TestClient) -> None:
    body = post(client, "/predict", symbol="TCS", **OWN)

    # 0.5 + 0.2 + 0.15 + 0.15, cut to 1; the seed's answer to the same body.
    seed = {name: body[name] for name in ("symbol", "prediction", "confidence", "model_version")}
    assert seed == {"symbol": "NSE:TCS", "prediction": 1.0, "confidence": 1.0, "model_version": "v1-heuristic"}
    assert body["engine"] == "heuristic"


def test_a_symbol_without_features_abstains_and_says_why(client: TestClient) -> None:
    body = post(client, "/predict", symbol="TCS")

    assert body["abstained"] is True
    assert body["prediction"] is None
    assert body["confidence"] is None
    assert body["reasons"] == ["the features of this moment are not known"]


def test_features_that_are_too_old_abstain(client: TestClient, closed: House) -> None:
    closed.model.inputs(["NSE:RELIANCE"], examples(RELIANCE, at=after(TODAY, 30)))
    closed.say(live(after(TODAY, 30) + 10 * MINUTE))

    body = post(client, "/predict", symbol="RELIANCE")

    assert body["reasons"] == ["the features are older than a decision may rest on"]


def test_a_batch_answers_in_the_order_asked_for_and_names_strangers(client: TestClient, closed: House) -> None:
    closed.model.inputs(["NSE:RELIANCE", "NSE:TCS"], examples(RELIANCE, TCS))

    body = post(client, "/predict/batch", symbols=["TCS", "NOPE", "M&M", "NSE:RELIANCE", "TCS"])

    told = [(one["symbol"], one["prediction"]) for one in body["predictions"]]
    assert told == [("NSE:TCS", 0.85), ("NSE:M&M", None), ("NSE:RELIANCE", 0.85)]
    assert body["unknown"] == ["NOPE"]


@pytest.mark.parametrize("horizon", list(HORIZONS))
def test_every_horizon_answers(client: TestClient, horizon: str) -> None:
    assert post(client, "/predict", symbol="TCS", horizon=horizon)["horizon"] == horizon


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"symbol": "TCS", "surprise": 1}', "body.surprise"),
        ('{"symbol": 7}', "body.symbol"),
        ('{"symbol": ""}', "body.symbol"),
        ("{}", "body.symbol"),
        ('[{"symbol": "TCS"}]', "body"),
        ("not json", "body"),
        ('{"symbol": "TCS", "horizon": "3y"}', "horizon"),
        ('{"symbol": "TCS", "horizon": 15}', "body.horizon"),
        ('{"symbol": "TCS", "engine": "oracle"}', "engine"),
        ('{"symbol": "TCS", "rsi": NaN}', "body.rsi"),
        ('{"symbol": "TCS", "rsi": 1e999}', "body.rsi"),
        ('{"symbol": "TCS", "rsi": 101}', "body.rsi"),
        ('{"symbol": "TCS", "rsi": "30"}', "body.rsi"),
        ('{"symbol": "TCS", "rsi": null}', "body.rsi"),
        ('{"symbol": "TCS", "rsi": [30]}', "body.rsi"),
        ('{"symbol": "TCS", "rsi": 30}', "body.macd"),
        ('{"symbol": "TCS", "rsi": 30, "macd": 1, "ema50": 1, "ema200": 1, "close": -1, "volume": 1}', "body.close"),
        ('{"symbol": "TCS", "rsi": 30, "macd": 1, "ema50": 1, "ema200": 1, "close": 1, "volume": 1.5}', "body.volume"),
    ],
)
def test_a_bad_body_is_refused_and_its_field_named(client: TestClient, body: str, named: str) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(f"{named}")


@pytest.mark.parametrize("told", [True, False])
def test_a_body_that_never_ends_is_not_read_to_its_end(client: TestClient, told: bool) -> None:
    body = b"x" * (MOST_BODY + 1) if told else (b'"NSE:TCS",' * 2000 for _ in range(64))

    answer = client.post("/predict/batch", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["type"], answer.json()["allowed"]) == ("urn:bourse:problem:too-large", "at most 256 KiB")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"symbols": []}, "body.symbols"),
        ({"symbols": ["TCS"] * 501}, "body.symbols"),
        ({"symbols": "TCS"}, "body.symbols"),
        ({"symbols": ["TCS", 7]}, "body.symbols.1"),
        ({"symbol": "TCS"}, "body.symbols"),
        ({"symbols": ["TCS"], "engine": "oracle"}, "engine"),
    ],
)
def test_a_bad_batch_is_refused_and_its_field_named(client: TestClient, body: dict[str, Any], named: str) -> None:
    answer = client.post("/predict/batch", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith(named)


def test_an_unknown_engine_is_told_which_there_are(client: TestClient) -> None:
    live = client.post("/predict", json={"symbol": "TCS", "engine": "oracle"}).json()
    own = client.post("/predict", json={"symbol": "TCS", "engine": "xgboost", **OWN}).json()

    assert live["allowed"] == "one of ensemble, heuristic"
    assert own["allowed"] == "one of heuristic, which can use features of your own"


def test_an_unknown_symbol_is_not_found(client: TestClient) -> None:
    answer = client.post("/predict", json={"symbol": "NOPE"})

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:bourse:problem:unknown-symbol"


def test_unknown_parameters_are_refused(client: TestClient) -> None:
    assert client.post("/predict?fast=1", json={"symbol": "TCS"}).status_code == 422


def test_without_a_predictor_the_answer_is_503_and_too_slow_a_one_504(closed: House) -> None:
    for predicts, status, kind in ((None, 503, "predictor-down"), (Silent(), 504, "too-slow")):
        app = build(closed.plan, predicts=predicts)  # type: ignore[arg-type]
        answer = TestClient(app, raise_server_exceptions=False).post("/predict", json={"symbol": "TCS"})
        app.state.desk.follower.stop()

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert app.state.desk.status()["gateway"]["refused"] == {kind: 1}


def test_models_say_what_serves_each_horizon(client: TestClient) -> None:
    body = client.get("/models").json()

    assert [(one["name"], one["champion"], one["challenger"]) for one in body["models"]] == [
        (f"direction-{horizon}", "v1-heuristic", None) for horizon in HORIZONS
    ]
    assert body["models"][0]["engines"] == ["ensemble", "heuristic"]
    assert body["tuning"]["challenger_weight"] == 0.0


def test_a_training_is_asked_of_the_timetable_once_and_followed_to_its_end(client: TestClient, closed: House) -> None:
    asked = client.post("/models/direction-15m/train")
    again = client.post("/api/v1/models/direction-15m/train", json={})
    jobs = Jobs(closed.bus)
    jobs.hear()
    (note,) = jobs.ledger.runs.values()
    place = asked.headers["Location"]
    before = client.get(place).json()
    for state in (State.STARTED, State.SUCCEEDED):
        Jobs(closed.bus).note(note.model_copy(update={"state": state, "noted": note.noted + 1}))
    after_it = client.get(place).json()

    assert (asked.status_code, again.status_code) == (202, 409)
    assert again.headers["Location"] == place and note.run in again.json()["detail"]
    assert (note.job, note.state, note.by_hand) == ("train-15m", State.ASKED, True)
    assert (asked.json()["job"], before["state"], before["ended"]) == (note.run, "asked", False)
    assert (after_it["state"], after_it["ended"]) == ("succeeded", True)
    assert client.post("/models/direction-15m/train").status_code == 202


def test_of_gateways_that_ask_at_the_same_moment_one_starts_a_training(closed: House) -> None:
    gateways = [Trainings(closed.bus, TRAININGS) for _ in range(4)]
    start = threading.Barrier(len(gateways))

    def ask(place: int) -> tuple[Note, bool]:
        start.wait()
        return gateways[place].ask("direction-15m", 1_000 + place)

    with ThreadPoolExecutor(len(gateways)) as threads:
        answers = list(threads.map(ask, range(len(gateways))))

    jobs = Jobs(closed.bus)
    jobs.hear()
    (run,) = [note.run for note in jobs.ledger.runs.values() if note.state is State.ASKED]
    assert [note.run for note, _ in answers] == [run] * len(gateways)
    assert sorted(new for _, new in answers) == [False, False, False, True]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/nothing/train", None, 404),
        ("/models/direction-15m/train", {"epochs": 9}, 422),
    ],
)
def test_a_training_that_cannot_be_is_refused(
    client: TestClient, path: str, body: dict[str, Any] | None, status: int
) -> None:
    assert client.post(path, json=body).status_code == status


def test_an_unknown_job_is_not_found(client: TestClient) -> None:
    answer = client.get("/jobs/train-15m-never")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:bourse:problem:unknown-job"


def test_before_the_predictor_is_deployed_it_is_not_there_yet() -> None:
    def find() -> None:
        raise KeyError("Deployment(name='Predictor', app='predictor') does not exist.")

    with pytest.raises(NotYet, match="being started"):
        asyncio.run(Remote(find).models())
