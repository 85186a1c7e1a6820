"""Predictions over HTTP: of a symbol's live features or of a caller's own, the models behind them, and their training.

An answer has the members of the Nifty seed's (symbol, prediction, confidence, model_version) and what it rests on: the
interval, the probabilities, the moment, or why there is none. It comes within `SECONDS` or is a problem that says so.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import grpc
import numpy as np
import orjson
import ray
from fastapi import FastAPI, Request, Response
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException

from adapters.bus import Bus, Lease
from adapters.inputs import unpack
from adapters.jobs import Jobs
from adapters.readmodel import ReadModel
from market.engines import Live, live
from market.ensemble import KINDS
from market.errors import AuthRequired, BadPayload, BadValue, Denied, LeaseLost, LineDown, NotYet
from market.features import NAMES
from market.instruments import Instrument, Universe
from market.labels import HORIZONS
from market.models.examples import CHANNELS, LENGTH, Examples
from market.models.heuristic import Body, Heuristic
from market.money import UNKNOWN
from market.predictions import REASONS, Abstained, Predictions
from market.records import Record
from market.sessions import MINUTE, SECOND
from market.timetable import ENDS, Note, State
from serve_app import problems, shapes
from serve_app.ensembles import CHALLENGER
from serve_app.follow import Follower, GatewayPlan
from serve_app.predictor import APP, ENSEMBLE, NAME, Answered, Asked, NoSuch, Unable

SECONDS = 4.7
"""So long it is waited for what is behind, whatever happens there: a caller hears something within 5 s."""
TRIES = 2
"""A replica that dies is asked nothing again, but another one is: predictions may be computed twice."""
BATCH = 500
HORIZON = "15m"
FREE = frozenset({ENSEMBLE, CHALLENGER, *KINDS})
"""Engines that cost nothing but our own work. Of an anonymous caller's symbol no language model is asked either."""
OWN = ("rsi", "macd", "ema50", "ema200", "close", "volume")
"""Features of the Nifty seed's body: all of them or none."""
ACCEPTED = 202
LEASE_SECONDS = 10.0
"""So long a gateway may take to look for a training and to ask for one."""

LEASE_PAUSE = 0.02

Symbol = Annotated[str, Field(min_length=1, max_length=64)]
Engine = Annotated[str | None, Field(default=None, min_length=1, max_length=64)]
Horizon = Annotated[str, Field(default=HORIZON)]


class _Strict(Record):
    model_config = ConfigDict(strict=True)


class Wanted(_Strict):
    """What to predict: a symbol, and either its live features or all of one's own, as in the Nifty seed."""

    symbol: Symbol
    horizon: Horizon
    engine: Engine
    rsi: float | None = Field(default=None, ge=0, le=100)
    macd: float | None = None
    ema50: float | None = Field(default=None, gt=0)
    ema200: float | None = Field(default=None, gt=0)
    close: float | None = Field(default=None, gt=0)
    volume: int | None = Field(default=None, ge=0)

    @field_validator(*OWN)
    @classmethod
    def _known(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None:
            raise ValueError("a number; leave it out for the live features")
        return value

    @property
    def own(self) -> Body | None:
        """The caller's own features. Raises BadValue: some are missing."""
        given = [name for name in OWN if getattr(self, name) is not None]
        if not given:
            return None
        for name in OWN:
            if name not in given:
                raise BadValue(
                    f"body.{name}", "nothing", f"a number: with {given[0]} all of {', '.join(OWN)} are needed"
                )
        return Body(symbol=self.symbol, **{name: getattr(self, name) for name in OWN})


class WantedOfMany(_Strict):
    """Symbols to predict from their live features."""

    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=BATCH)]
    horizon: Horizon
    engine: Engine


class Training(_Strict):
    """What a training is told: nothing yet, the settings say it."""


class Interval(Record):
    """Bounds of the log return over the horizon, before costs, in nine cases of ten."""

    low: float
    high: float


class Prediction(Record):
    """`prediction`: 0 bearish to 1 bullish; `confidence` 0 to 1; both null where it abstained, and `reasons` say why.

    `at`: the decision the features are of; `p_...`: calibrated, sum 1; `spread`: how far the members lie apart.
    """

    symbol: str
    prediction: float | None
    confidence: float | None
    model_version: str
    horizon: str
    engine: str
    at: str | None
    abstained: bool
    reasons: list[str]
    interval: Interval | None
    p_down: float | None
    p_flat: float | None
    p_up: float | None
    spread: float | None


class PredictionsOfMany(Record):
    """In the order asked for; symbols nobody listed are named."""

    predictions: list[Prediction]
    unknown: list[str]


class ModelsAnswer(Record):
    """What serves each horizon. `refused`: versions that could not be loaded, and why."""

    models: list[dict[str, Any]]
    refused: dict[str, Any] | list[Any]
    trouble: str
    tuning: dict[str, Any]


class JobAnswer(Record):
    """A job. `state`: asked, started, succeeded, failed, stopped, lost or skipped; `ended`: nothing more comes."""

    job: str
    name: str
    state: str
    ended: bool
    asked_at: str | None
    noted_at: str | None
    attempt: int
    reason: str


class Predicts(Protocol):
    """Who computes."""

    async def answer(self, asked: Asked) -> Answered | NoSuch | Unable:
        """Rows for examples."""
        ...

    async def judge(self, body: Body, horizon: str, engine: str) -> Answered | NoSuch | Unable:
        """A row for features of a caller's own."""
        ...

    async def models(self) -> dict[str, Any]:
        """What serves."""
        ...


class Held(Protocol):
    """What is asked of the gateway's desk."""

    plan: GatewayPlan
    universe: Universe
    follower: Follower
    model: ReadModel


class Remote:
    """The predictor's deployment. Satisfies `Predicts`; raises LineDown while it is away, TimeoutError when slow."""

    def __init__(self, find: Callable[[], Any] | None = None) -> None:
        """`find`: its handle, on first use; raises KeyError where it is not deployed yet."""
        self._find = find or _deployed
        self._handle: Any = None

    async def answer(self, asked: Asked) -> Answered | NoSuch | Unable:
        """Rows for examples."""
        found: Answered | NoSuch | Unable = await self._ask("answer", asked)
        return found

    async def judge(self, body: Body, horizon: str, engine: str) -> Answered | NoSuch | Unable:
        """A row for features of a caller's own."""
        found: Answered | NoSuch | Unable = await self._ask("judge", body, horizon, engine)
        return found

    async def models(self) -> dict[str, Any]:
        """What serves."""
        found: dict[str, Any] = await self._ask("models")
        return found

    def _found(self) -> Any:
        try:
            return self._find()
        except KeyError as e:
            raise NotYet(APP, "it is being started") from e

    async def _ask(self, method: str, *words: Any) -> Any:
        async with asyncio.timeout(SECONDS):
            for last in (False,) * (TRIES - 1) + (True,):
                try:
                    if self._handle is None:
                        self._handle = self._found()
                    return await getattr(self._handle, method).remote(*words)
                except BackPressureError as e:
                    raise LineDown(APP, "too many are waiting for it") from e
                except (RayError, RayServeException, grpc.RpcError) as e:
                    if last:
                        raise LineDown(APP, f"{type(e).__name__}: {' '.join(str(e).split())[:200]}") from e
        return None


class Trainings:
    """Trainings asked for and jobs looked at, by way of the timetable's ledger."""

    def __init__(self, bus: Bus, trainings: Mapping[str, str]) -> None:
        """`trainings`: the timetable's job by the name of the model it trains. Connects on first use."""
        self._bus, self._trainings = bus, trainings
        self._lock = threading.Lock()
        self._jobs: Jobs | None = None

    def ask(self, name: str, now: int) -> tuple[Note, bool]:
        """Note that a model shall be trained: its run, and whether it is new; else it is the one under way.

        Of several gateways one notes it: who asks holds the model's lease. Raises KeyError, LineDown.
        """
        job = self._trainings[name]
        with self._lock:
            lease = self._leased(job)
            try:
                jobs = self._heard()
                open_ = [n for n in jobs.ledger.runs.values() if n.job == job and n.state not in ENDS]
                if open_:
                    return open_[-1], False
                note = Note(job=job, state=State.ASKED, at=now, noted=now, by_hand=True)
                lease.renew()  # who was held up for long has lost it, and asks for nothing
                jobs.note(note)
            except LeaseLost as e:
                raise LineDown("jobs", "the bus took too long: ask again") from e
            finally:
                lease.release()
        return note, True

    def find(self, run: str) -> Note | None:
        """What is known of a run. Raises LineDown."""
        with self._lock:
            return self._heard().ledger.runs.get(run)

    def _leased(self, job: str) -> Lease:
        """Raises LineDown when others keep it."""
        until = time.monotonic() + SECONDS
        while True:
            try:
                return self._bus.lease(f"train:{job}", LEASE_SECONDS)
            except LeaseLost as e:
                if time.monotonic() > until:
                    raise LineDown("jobs", f"others ask for {job} all the time: ask again") from e
                time.sleep(LEASE_PAUSE)

    def _heard(self) -> Jobs:
        if self._jobs is None:
            self._jobs = Jobs(self._bus)
        self._jobs.hear()
        return self._jobs


def install(app: FastAPI, desk: Held, only: Any, predicts: Predicts) -> None:
    """Add the paths; `only` refuses parameters nobody knows."""
    _prediction_routes(app, desk, only, predicts)
    _model_routes(app, desk, only, predicts)


def _deployed() -> Any:
    if not ray.is_initialized():  # else Serve would start a cluster here
        raise LineDown(APP, "there is none: this gateway runs without Ray")
    return serve.get_deployment_handle(NAME, APP)


def _prediction_routes(app: FastAPI, desk: Held, only: Any, predicts: Predicts) -> None:
    @app.post("/predict", responses={200: {"model": Prediction}})
    @app.post("/api/v1/predict", include_in_schema=False)
    async def predict(request: Request, wanted: Wanted) -> Response:
        """What is expected of a symbol over a horizon, from its live features or from a body of one's own.

        `engine`: a member of the ensemble, challenger, or a language model that is configured; without it the ensemble,
        of which language models are members if the settings say so. For one's own features it is the heuristic or a
        language model. Where features are missing or stale the answer abstains and says why.
        """
        only(request)
        one = desk.universe.find(wanted.symbol)
        own = wanted.own
        anonymous = request.state.caller.kind == "anonymous"
        if anonymous and await _paid(predicts, wanted.engine):
            raise Denied("credential", "engines that cost money are for those who say who they are", "a login or a key")
        if own is None:
            told = None if anonymous else _question(desk, one, wanted.horizon)
            found = await _live(desk, predicts, [one.symbol], wanted.horizon, wanted.engine, told)
        else:
            found = _there(await predicts.judge(own, wanted.horizon, wanted.engine or Heuristic.kind))
        engine = wanted.engine or (Heuristic.kind if own else "ensemble")
        return _json(_told(found, [one.symbol], wanted.horizon, engine)[0])

    @app.post("/predict/batch", responses={200: {"model": PredictionsOfMany}})
    @app.post("/api/v1/predict/batch", include_in_schema=False)
    async def batch(request: Request, wanted: WantedOfMany) -> Response:
        """The same of up to 500 symbols at once, from their live features; symbols nobody listed are named. No language
        model is asked.
        """
        only(request)
        listed = {symbol: _listed(desk.universe, symbol) for symbol in dict.fromkeys(wanted.symbols)}
        symbols = list(dict.fromkeys(symbol for symbol in listed.values() if symbol is not None))
        found = await _live(desk, predicts, symbols, wanted.horizon, wanted.engine)
        told = _told(found, symbols, wanted.horizon, wanted.engine or "ensemble")
        return _json({"predictions": told, "unknown": [s for s, known in listed.items() if known is None]})


def _model_routes(app: FastAPI, desk: Held, only: Any, predicts: Predicts) -> None:
    trainings = Trainings(Bus(desk.plan.bus, timeout=2.0), desk.plan.trainings)

    @app.get("/models", responses={200: {"model": ModelsAnswer}})
    @app.get("/api/v1/models", include_in_schema=False)
    async def models(request: Request) -> Response:
        """What serves each horizon, its members and weights, the registered versions, and how callers are divided."""
        only(request)
        return _json(await predicts.models())

    @app.post("/models/{name}/train", status_code=ACCEPTED, responses={ACCEPTED: {"model": JobAnswer}})
    @app.post("/api/v1/models/{name}/train", status_code=ACCEPTED, include_in_schema=False)
    def train(request: Request, name: str, told: Training | None = None) -> Response:
        """Ask for a training of a model as a job; its id leads to /jobs/{id}. 409 while one is under way, with its."""
        only(request)
        if name not in desk.plan.trainings:
            allowed = f"one of {', '.join(desk.plan.trainings) or 'none: nothing is trained here'}"
            text, path = f"{name[:80]!r} is no model", request.url.path
            return problems.answer(problems.problem("unknown-model", "Unknown model", 404, text, path, allowed))
        note, new = trainings.ask(name, time.time_ns())
        place = {"Location": f"/jobs/{note.run}"}
        if new:
            return _json(_job(note), ACCEPTED, place)
        text = f"{name} is being trained already, by the job {note.run}"
        allowed = f"follow it at {place['Location']}; try again when it ended"
        refusal = problems.answer(problems.problem("busy", "Already under way", 409, text, request.url.path, allowed))
        refusal.headers.update(place)
        return refusal

    @app.get("/jobs/{id}", responses={200: {"model": JobAnswer}})
    @app.get("/api/v1/jobs/{id}", include_in_schema=False)
    def job(request: Request, id: str) -> Response:
        """How a job goes, of those the timetable has started or was asked for."""
        only(request)
        note = trainings.find(id)
        if note is None:
            text = f"{id[:80]!r} is no job that is known here"
            return problems.answer(problems.problem("unknown-job", "Unknown job", 404, text, request.url.path))
        return _json(_job(note))


async def _paid(predicts: Predicts, engine: str | None) -> bool:
    """Whether an engine is one that costs money, and not one that nobody knows."""
    if engine is None or engine in FREE:
        return False
    return any(engine in one["engines"] for one in (await predicts.models())["models"])


async def _live(
    desk: Held, predicts: Predicts, symbols: Sequence[str], horizon: str, engine: str | None, told: Live | None = None
) -> Answered:
    """Rows for symbols from the features of their last minute; where there are none, from nothing: they abstain."""
    async with asyncio.timeout(SECONDS):
        packed = await asyncio.to_thread(desk.model.read_inputs, symbols) if symbols else []
        examples = _examples([desk.universe.find(s).id for s in symbols], packed)
        now = desk.follower.quotes.market_time or None
        return _there(await predicts.answer(Asked(examples, horizon, engine, now, told)))


def _question(desk: Held, one: Instrument, horizon: str) -> Live:
    """What a language model may be asked of a symbol's last closed minute."""
    with desk.follower.lock:
        rows = next((held[one.id].copy() for held in desk.follower.scores.values()), None)
    if rows is None or not rows["start"] or horizon not in HORIZONS:
        return Live(None, 0)
    start = int(rows["start"])
    minute = desk.follower.candles(one.id, MINUTE // SECOND, start, start + 1)
    return live(one.symbol, horizon, rows, int(minute["volume"][0]) if len(minute) else UNKNOWN)


def _examples(instruments: Sequence[int], packed: Sequence[bytes | None]) -> Examples:
    """Of inputs that are there and of the features known here; those of others are all NaN, at 0."""
    blank = _nothing(instruments)
    there = [i for i, one in enumerate(packed) if one is not None]
    if not there:
        return blank
    try:
        found = unpack(NAMES, [instruments[i] for i in there], [one for one in packed if one is not None])
    except BadPayload:  # of an older set of features, until the next minute closes
        return blank
    if len(there) == len(packed):
        return found
    for into, column in zip(blank[1:], found[1:], strict=True):
        into[there] = column
    return blank


def _nothing(instruments: Sequence[int]) -> Examples:
    count = len(instruments)
    features, sequence = (
        np.full((count, *shape), np.nan, np.float32) for shape in ((len(NAMES),), (LENGTH, len(CHANNELS)))
    )
    at, session = np.zeros(count, np.int64), np.zeros(count, np.int32)
    return Examples(NAMES, features, sequence, np.asarray(instruments, np.int32), at, session)


def _there(found: Answered | NoSuch | Unable) -> Answered:
    if isinstance(found, Unable) and found.remedy:
        raise AuthRequired(found.reason, found.remedy)
    if isinstance(found, Unable):
        raise LineDown(APP, found.reason)
    if isinstance(found, NoSuch):
        raise BadValue(*found)
    return found


def _told(found: Answered, symbols: Sequence[str], horizon: str, engine: str) -> list[dict[str, Any]]:
    """Each row as JSON."""
    rows = found.rows
    names = ("prediction", "confidence", "low", "high", "p_down", "p_flat", "p_up", "spread")
    columns = [_rounded(rows, name) for name in names]
    reasons = rows["abstained"].tolist()
    return [
        {
            "symbol": symbol,
            "prediction": prediction,
            "confidence": confidence,
            "model_version": version,
            "horizon": horizon,
            "engine": engine,
            "at": shapes.stamp(at),
            "abstained": reason != Abstained.NO,
            "reasons": [*_reasons(reason, p_down, p_flat, p_up), *noted],
            "interval": None if low is None or high is None else {"low": low, "high": high},
            "p_down": p_down,
            "p_flat": p_flat,
            "p_up": p_up,
            "spread": spread,
        }
        for symbol, version, at, reason, noted, prediction, confidence, low, high, p_down, p_flat, p_up, spread in zip(
            symbols,
            found.versions,
            rows["at"].tolist(),
            reasons,
            found.notes or [()] * len(rows),
            *columns,
            strict=True,
        )
    ]


def _rounded(rows: Predictions, name: str) -> list[float | None]:
    return [None if x != x else x for x in rows[name].astype(float).round(6).tolist()]


def _reasons(reason: int, p_down: float | None, p_flat: float | None, p_up: float | None) -> list[str]:
    if reason != Abstained.NO:
        return [REASONS[Abstained(reason)]]
    likely = {"a fall beyond costs": p_down, "no move beyond costs": p_flat, "a rise beyond costs": p_up}
    return [f"{what}: {p:.0%}" for what, p in likely.items() if p is not None]


def _job(note: Note) -> dict[str, Any]:
    return {
        "job": note.run,
        "name": note.job,
        "state": note.state.value,
        "ended": note.state in ENDS,
        "asked_at": shapes.stamp(note.at),
        "noted_at": shapes.stamp(note.noted),
        "attempt": note.attempt,
        "reason": note.reason,
    }


def _listed(universe: Universe, symbol: str) -> str | None:
    try:
        return universe.find(symbol).symbol
    except BadValue:
        return None


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")
