"""Predictor: what the ensembles expect, for Analysis a shard at a time, for people one symbol or many.

Answers come from what is held; a thread of its own follows the registry and swaps versions. One worker computes: what
callers ask for at the same moment is put together and computed as one batch. In shadow mode the challenger answers
everything, too, behind the answer and from another worker; what it says goes to the bus (`shadows`) and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from pydantic import Field, SecretStr
from ray import serve
from ray.serve.metrics import Counter, Gauge, Histogram

from adapters import entries, logs
from adapters.bus import Bus
from adapters.llm import EnginePlan, Llm, ask
from adapters.readmodel import JUDGEMENTS, ReadModel
from adapters.serving import Serving
from market.engines import Answer, Live, Question
from market.ensemble import AGES
from market.errors import AuthRequired, BadValue, BourseError, LineDown, OutcomeUnknown
from market.features import NAMES
from market.labels import HORIZONS
from market.models.examples import Examples
from market.models.heuristic import Body, Heuristic
from market.predictions import NO_PREDICTIONS, PREDICTION, Abstained, Predictions
from market.records import Record
from market.sessions import MINUTE
from serve_app.ensembles import BUILT_IN, CHALLENGER, Ensembles, Standing, Store, predict
from serve_app.neighbours import Neighbours, joined

NAME, APP = "Predictor", "predictor"
ENSEMBLE = "ensemble"
TOPIC, WRITER = "shadows", "predictor"
SHADOWS_WAITING = 8
"""So many batches may wait for the challenger's shadow; more are left out, and counted."""
HEALTH_SECONDS = 5.0
ALONE_SECONDS, MEMBER_SECONDS = 4.4, 4.0
"""So long a language model may take at most, asked by its name or as a member: a caller has its answer within 5 s."""
NEIGHBOUR_SECONDS = 0.25
"""So long the read model may take to tell what neighbours see; without it a graph does not answer."""
FIRST_LOOK_SECONDS = 30.0
SERVING = "serving"
SECRETS = {"bus": "BUS_URL", "cache": "CACHE_URL", "registry": "DATABASE_URL"}
"""Addresses that the plan leaves empty, and where in the environment they stand then."""
ONGOING = 2048
"""Calls a replica may have in hand: above what one batch may hold of them."""
MILLISECONDS = [0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000]


OUTCOMES = {"hit_rate": "how often the likeliest outcome came", "brier": "Brier score", "net": "net return",
            "calibration_error": "calibration error", "weight": "what drift has left of the weight"}  # fmt: skip


class PredictorPlan(Record):
    """What each replica is told. `registry`: the database's address, "" where there is none; `models`: the folder of
    the versions' files; `symbols`: of the universe, by place; `engines`: language models; `threads`: of the numeric
    libraries, each; `revision`: the code.
    """

    bus: str
    cache: str
    registry: str = ""
    models: str = ""
    symbols: tuple[str, ...] = ()
    horizons: tuple[str, ...] = tuple(HORIZONS)
    engines: tuple[EnginePlan, ...] = ()
    threads: int = 1
    poll_seconds: float = 5.0
    log_level: str = "info"
    revision: str = ""


class Tuning(Record):
    """What changes without a restart. `challenger_weight`: the share of instruments it answers for; `shadow`: it
    answers everything, unseen; `wait_ms`: so long a caller may wait for others; `batch_rows`: so many rows go together.
    """

    challenger_weight: float = Field(default=0.0, ge=0, le=1, description="a number, 0 to 1")
    shadow: bool = Field(default=True, description="true or false")
    wait_ms: float = Field(default=1.0, ge=0, le=100, description="milliseconds, 0 to 100")
    batch_rows: int = Field(default=2048, ge=500, le=100_000, description="a whole number, 500 to 100000")


class Asked(NamedTuple):
    """One caller's examples. `engine`: a member's name, or None for the ensemble; `now`: ns UTC, or None; `live`: what
    language models may be asked of the one symbol, None where none shall be asked.
    """

    examples: Examples
    horizon: str
    engine: str | None = None
    now: int | None = None
    live: Live | None = None


class Answered(NamedTuple):
    """(n,) rows, the version that made each, the milliseconds that computing took; `notes`: of each row what else a
    reader is told, such as who could not answer, or an engine's own words.
    """

    rows: Predictions
    versions: list[str]
    ms: float
    notes: Sequence[tuple[str, ...]] = ()

    def part(self, first: int, last: int) -> Answered:
        """Some of the rows."""
        return Answered(self.rows[first:last], self.versions[first:last], self.ms, self.notes[first:last])


class Unable(NamedTuple):
    """Nobody can answer this now. `remedy`: what an operator has to do first; "": it may come by itself."""

    reason: str
    remedy: str = ""


def unable(engine: str, error: BourseError) -> Unable:
    """What an engine's error comes to."""
    if isinstance(error, AuthRequired):
        return Unable(engine, error.remedy)
    return Unable(str(error) if str(error).startswith(f"{engine}: ") else f"{engine}: {error}")


class NoSuch(NamedTuple):
    """What was asked for is not here: a value that a `BadValue` would tell."""

    name: str
    value: str
    allowed: str


class Predictor:
    """One replica. A model's error is nobody's: what cannot be computed abstains, and is counted."""

    def __init__(self, plan: PredictorPlan, store: Store | None = None) -> None:
        """`store`: instead of the registry that the plan names."""
        logs.configure("predictor", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        serving = Serving(Path(plan.models) / SERVING) if plan.models else None
        self._ensembles = Ensembles(plan.horizons, NAMES, store or registry_of(plan), serving)
        went_on = self._ensembles.go_on()
        self._model, self._bus = ReadModel(plan.cache, timeout=2.0), Bus(plan.bus, timeout=2.0)
        self._neighbours = Neighbours(ReadModel(plan.cache, timeout=NEIGHBOUR_SECONDS), plan.symbols)
        self._worker = ThreadPoolExecutor(1, "predict")
        self._shadower = ThreadPoolExecutor(1, "shadow")
        self._shadows_waiting = 0
        self._counts: Tally[str] = Tally()
        self._trouble = ""
        self._measures = Measures()
        self._llms = {one.name: Llm(one) for one in plan.engines}
        self._members = {one.name: one.engine.weight for one in plan.engines if one.engine.weight > 0}
        # Bound to this instance, as its queue belongs to one event loop.
        self._together = serve.batch(batch_size_fn=_all_rows)(self._batched)
        self.reconfigure({})
        self._stopped, self._looked = threading.Event(), threading.Event()
        threading.Thread(target=self._follow, name="registry", daemon=True).start()
        if not went_on:  # a new replica takes no calls before it holds what the old one held
            self._looked.wait(FIRST_LOOK_SECONDS)

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take new values of `Tuning`; Serve calls it at the start and on every change of `user_config`."""
        self._tuning = tuning = Tuning.model_validate(config)
        self._together.set_batch_wait_timeout_s(tuning.wait_ms / 1000)
        self._together.set_max_batch_size(tuning.batch_rows)
        self._log.info("tuned", **tuning.model_dump())

    async def score(self, examples: Examples, horizons: Sequence[str]) -> list[tuple[Predictions, list[str]]]:
        """Of each horizon, in their order, (n,) rows and the version that made each.

        Raises BadValue: a horizon is not served.
        """
        standing = [self._ensembles.of(horizon) for horizon in horizons]
        asked = [Asked(examples, horizon) for horizon in horizons]
        found = [await self._run(*one) for one in zip(standing, asked, strict=True)]
        return [(one.rows, one.versions) for one in found]

    async def answer(self, asked: Asked) -> Answered | NoSuch | Unable:
        """The same for callers of HTTP, several of whom are computed together."""
        began = time.monotonic()
        if asked.horizon not in self._ensembles.horizons:
            return NoSuch("horizon", asked.horizon, f"one of {', '.join(self._ensembles.horizons)}")
        engines = self._engines(asked.horizon)
        if asked.engine in self._llms and asked.live is None:
            words = "; a language model is asked about one symbol at a time, by POST /predict"
            return NoSuch("engine", asked.engine, f"one of {', '.join(engines)}{words}")
        if asked.engine in self._llms and asked.live is not None:
            return await self._opinion_alone(asked.engine, asked, asked.live)
        if asked.engine is not None and asked.engine not in engines:
            return NoSuch("engine", asked.engine, f"one of {', '.join((*engines, *self._llms))}")
        if not asked.examples.rows:
            return Answered(NO_PREDICTIONS, [], 0.0)
        standing = self._ensembles.of(asked.horizon)
        found: Answered = await self._together(asked._replace(live=None))
        if asked.live is None or not self._members or asked.engine not in (None, ENSEMBLE):
            return found
        return await self._consulted(standing, asked, asked.live, found, began + MEMBER_SECONDS)

    async def judge(self, body: Body, horizon: str, engine: str) -> Answered | NoSuch | Unable:
        """One row of a caller's own features, by an engine that can use them: the heuristic, a language model."""
        if horizon not in self._ensembles.horizons:
            return NoSuch("horizon", horizon, f"one of {', '.join(self._ensembles.horizons)}")
        if engine not in (Heuristic.kind, *self._llms):
            able = ", ".join((Heuristic.kind, *self._llms))
            return NoSuch("engine", engine, f"one of {able}, which can use features of your own")
        began, now = time.perf_counter(), time.time_ns()
        if engine == Heuristic.kind:
            p = Heuristic(horizon).judge(body)[0].tolist()
            rows, version, said = judged(now, p, None), BUILT_IN, ""
        else:
            try:
                told = await ask(self._llms[engine], {**body.model_dump(), "horizon": horizon}, now)
            except BadValue as e:
                return NoSuch(e.name, str(e.value), e.allowed)
            except BourseError as e:
                self._failed("engine_failed", horizon, engine, e)
                return unable(engine, e)
            rows = judged(now, shares(told), told.opinion.confidence)
            version, said = told.model_version, told.opinion.reason
        found = Answered(rows, [version], (time.perf_counter() - began) * 1000, [(said,) if said else ()])
        self._measures.answered(horizon, engine, found)
        return found

    async def models(self) -> dict[str, Any]:
        """What serves each horizon, what else is registered, and how callers are divided."""
        tuning, fault = self._tuning.model_dump(), self._ensembles.trouble
        rows = [
            {**row, "engines": [*self._engines(row["horizon"]), *self._llms], "language_models": self._members}
            for row in self._ensembles.told()
        ]
        return {"models": rows, "refused": self._ensembles.faults(), "trouble": fault, "tuning": tuning}

    def health(self) -> dict[str, Any]:
        """What `/health` shows of this replica."""
        standing = {h: self._ensembles.of(h) for h in self._ensembles.horizons}
        return {
            "up": True,
            "pid": os.getpid(),
            "revision": self._plan.revision,
            "trouble": self._trouble or self._ensembles.trouble or self._neighbours.trouble,
            "champions": {horizon: one.champion.title for horizon, one in standing.items()},
            "challengers": {horizon: one.challenger.title for horizon, one in standing.items() if one.challenger},
            "refused": self._ensembles.faults(),
            "counts": dict(self._counts),
            "neighbours_missing": self._neighbours.missing,
            "torch": "torch" in sys.modules,
            **self._tuning.model_dump(),
        }

    def stop(self) -> None:
        """End the threads."""
        self._stopped.set()
        self._worker.shutdown(wait=True)
        self._shadower.shutdown(wait=True)
        self._model.close()
        self._bus.close()

    def __del__(self) -> None:
        """Serve lets go of a replica by this."""
        self._stopped.set()

    async def _batched(self, asked: list[Asked]) -> list[Answered]:
        """Callers that ask for the same, computed at once; each has its own rows back."""
        groups: dict[tuple[str, str | None, tuple[str, ...]], list[int]] = {}
        for place, one in enumerate(asked):
            groups.setdefault((one.horizon, one.engine, one.examples.names), []).append(place)
        answers: list[Answered] = [Answered(NO_PREDICTIONS, [], 0.0)] * len(asked)
        for places in groups.values():
            mine = [asked[place] for place in places]
            whole = mine[0]._replace(
                examples=joined([one.examples for one in mine]),
                now=max((one.now for one in mine if one.now is not None), default=None),
            )
            found = await self._run(self._ensembles.of(whole.horizon), whole)
            first = 0
            for place, one in zip(places, mine, strict=True):
                last = first + one.examples.rows
                answers[place] = found.part(first, last)
                first = last
        return answers

    async def _opinion_alone(self, engine: str, asked: Asked, live: Live) -> Answered | Unable:
        """One row by a language model, of what is known of the symbol's last minute; nobody is asked about nothing, or
        about what is stale.
        """
        began = time.perf_counter()
        rows = abstained(asked.examples)
        rows["at"], rows["abstained"] = live.at, Abstained.UNKNOWN
        stale = asked.now is not None and asked.now - live.at > AGES[asked.horizon]
        if stale and live.question is not None:
            rows["abstained"] = Abstained.STALE
        if stale or live.question is None:
            return Answered(rows, [self._llms[engine].engine.model], 0.0)
        try:
            told = await self._opinion(engine, live.question, live.at, ALONE_SECONDS)
        except BourseError as e:
            self._failed("engine_failed", asked.horizon, engine, e)
            return unable(engine, e)
        rows = judged(live.at, shares(told), told.opinion.confidence)
        rows["instrument"] = asked.examples.instrument
        notes = [(told.opinion.reason,)]
        found = Answered(rows, [told.model_version], (time.perf_counter() - began) * 1000, notes)
        self._measures.answered(asked.horizon, engine, found)
        return found

    async def _consulted(self, standing: Standing, asked: Asked, live: Live, found: Answered, until: float) -> Answered:
        """The answer for one symbol with the opinions of those language models that are members and have one by then,
        in seconds of the steady clock. Where ours abstained nobody is asked. Who has none takes no part, and it is told
        why.
        """
        (at,), (why,), (version,) = found.rows["at"].tolist(), found.rows["abstained"].tolist(), found.versions
        if why != Abstained.NO:
            return found
        if live.question is None or not 0 <= at - live.at <= MINUTE:
            notes = [f"{name} takes no part: its numbers of this minute are not known" for name in self._members]
            return found._replace(notes=[(*found.notes[0], *notes)])
        began, seconds = time.perf_counter(), max(until - time.monotonic(), 0.0)
        told = await asyncio.gather(
            *(self._opinion(name, live.question, live.at, seconds) for name in self._members), return_exceptions=True
        )
        notes, takers = list[str](), [version]
        opinions: list[tuple[float, Any]] = []
        for (name, weight), one in zip(self._members.items(), told, strict=True):
            if isinstance(one, Answer):
                opinions.append((weight, np.array([shares(one)])))
                notes.append(f"{name}: {one.opinion.reason}")
                takers.append(name)
            elif isinstance(one, Exception):
                self._failed("member_failed", asked.horizon, name, one)
                said = str(one) if isinstance(one, BourseError) else type(one).__name__
                notes.append(f"{name} takes no part: {said}")
            else:  # we are being ended
                raise one
        rows = found.rows
        if opinions:
            sides = {one.title: one.ensemble for one in standing if one is not None}
            ensemble = sides.get(version, standing.champion.ensemble)
            rows = ensemble.consulted(asked.examples, rows, opinions, asked.now)
        ms = found.ms + (time.perf_counter() - began) * 1000
        return Answered(rows, ["+".join(takers)], ms, [(*found.notes[0], *notes)])

    async def _opinion(self, engine: str, question: Question, at: int, seconds: float) -> Answer:
        """Raises what `Llm.ask` does."""
        try:
            async with asyncio.timeout(seconds):
                return await self._llms[engine].ask(question, at)
        except TimeoutError:
            raise OutcomeUnknown(engine, f"no answer within {seconds:.1f} s") from None

    async def _run(self, standing: Standing, asked: Asked) -> Answered:
        """The rows asked for, computed in sight of their neighbours."""
        loop, rows = asyncio.get_running_loop(), asked.examples.rows
        seen = await self._neighbours.around(asked.examples, partial(standing.reach, engine=asked.engine))
        wide = asked._replace(examples=seen)
        found = (await loop.run_in_executor(self._worker, self._compute, standing, wide)).part(0, rows)
        self._measures.answered(asked.horizon, asked.engine or ENSEMBLE, found)
        if asked.engine is None and self._tuning.shadow and standing.challenger is not None:
            self._shadow(standing, wide, rows)
        return found

    def _compute(self, standing: Standing, asked: Asked) -> Answered:
        """Never raises: a model that fails abstains. The versions are those of `standing`, whatever is swapped now."""
        began = time.perf_counter()
        served = standing.challenger if asked.engine == CHALLENGER and standing.challenger else standing.champion
        try:
            if asked.engine is None:
                share = self._ensembles.share(asked.horizon, self._tuning.challenger_weight)
                rows, versions = predict(standing, asked.examples, share, asked.now)
            elif asked.engine in (ENSEMBLE, CHALLENGER):
                rows, versions = (
                    served.ensemble.predict(asked.examples, asked.now),
                    [served.title] * asked.examples.rows,
                )
            else:
                rows = served.ensemble.predict_by(asked.engine, asked.examples, asked.now)
                versions = [f"{served.title}/{asked.engine}"] * asked.examples.rows
            self._trouble = ""
        except Exception as e:
            self._failed("predict_failed", asked.horizon, served.title, e)
            self._trouble = f"{served.title}: {e if isinstance(e, BourseError) else type(e).__name__}"
            rows, versions = abstained(asked.examples), [served.title] * asked.examples.rows
        makers = [title.partition("/")[0] for title in versions]
        return Answered(rows, versions, (time.perf_counter() - began) * 1000, standing.silences(rows, makers))

    def _shadow(self, standing: Standing, asked: Asked, count: int) -> None:
        if self._shadows_waiting >= SHADOWS_WAITING:
            self._counts["shadows_left_out"] += count
            self._measures.errors.inc(tags={"what": "shadow_left_out", "horizon": asked.horizon})
            return
        self._shadows_waiting += 1
        self._shadower.submit(self._answer_unseen, standing, asked, count)

    def _answer_unseen(self, standing: Standing, asked: Asked, count: int) -> None:
        """The challenger's answer to the first `count` examples, timed, counted and put on the bus."""
        challenger = standing.challenger
        try:
            if challenger is None:
                return
            began = time.perf_counter()
            rows = challenger.ensemble.predict(asked.examples, asked.now)[:count]
            found = Answered(rows, [challenger.title], (time.perf_counter() - began) * 1000)
            self._measures.answered(asked.horizon, CHALLENGER, found)
            self._counts["shadowed"] += len(rows)
            record = {"version": challenger.title, "horizon": asked.horizon, "rows": rows.tobytes()}
            self._say_unseen(entries.encode_records([record]))
        except Exception as e:
            self._failed("shadow_failed", asked.horizon, challenger.title if challenger else "", e)
        finally:
            self._shadows_waiting -= 1

    def _say_unseen(self, payload: bytes) -> None:
        """As the one writer that all replicas are: the bus remembers each for ever. Numbers are microseconds, or, where
        another replica's clock is ahead, follow upon its.
        """
        number = time.time_ns() // 1000
        while self._bus.append(TOPIC, WRITER, [(0, number, payload)]) == [None]:
            number = self._bus.numbers(TOPIC, WRITER, [0])[0] + 1

    def _failed(self, what: str, horizon: str, version: str, error: Exception) -> None:
        self._counts[what] += 1
        self._measures.errors.inc(tags={"what": what, "horizon": horizon})
        self._log.error(what, horizon=horizon, version=version, reason=f"{type(error).__name__}: {error}")

    def _engines(self, horizon: str) -> list[str]:
        standing = self._ensembles.of(horizon)
        extra = [CHALLENGER] if standing.challenger else []
        return [ENSEMBLE, *standing.champion.ensemble.members, *extra]

    def _follow(self) -> None:
        """Look at the registry and tell how we are, until stopped."""
        told = 0.0
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                for line in self._ensembles.look(began):
                    self._log.info("version_swapped", line=line)
                self._limit_threads()
                self._looked.set()
                if began - told >= min(HEALTH_SECONDS, self._plan.poll_seconds):
                    told = began
                    self._ensembles.judgements = self._model.get(JUDGEMENTS) or {}
                    self._measures.serving(self._ensembles)
                    self._model.put(APP, self.health(), 3 * HEALTH_SECONDS)
            except LineDown as e:
                self._log.warning("store_down", reason=str(e))
            except Exception:
                self._log.exception("follow_broke")
            self._looked.set()
            self._stopped.wait(self._plan.poll_seconds)

    def _limit_threads(self) -> None:
        """The environment says it to OpenMP before all; torch counts for itself."""
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.get_num_threads() != self._plan.threads:
            torch.set_num_threads(self._plan.threads)


class Measures:
    """What a replica counts, for Prometheus; tags are bounded: horizons, engines, reasons, and versions in use."""

    def __init__(self) -> None:
        self._ms = Histogram("bourse_predict_ms", description="one batch's predictions", boundaries=MILLISECONDS,
                             tag_keys=("horizon", "engine"))  # fmt: skip
        self._rows = Counter("bourse_predictions", description="rows answered", tag_keys=("horizon", "engine"))
        self._abstained = Counter("bourse_abstentions", description="rows without a prediction, by reason",
                                  tag_keys=("horizon", "engine", "reason"))  # fmt: skip
        self.errors = Counter("bourse_predict_errors", description="batches that failed", tag_keys=("what", "horizon"))
        self._outcomes = {
            name: Gauge(f"bourse_model_{name}", description=f"{what} of the version in use, live",
                        tag_keys=("horizon", "side"))
            for name, what in OUTCOMES.items()
        }  # fmt: skip
        self._serving = Gauge("bourse_model_version", description="the registry's number of the version in use",
                              tag_keys=("horizon", "side"))  # fmt: skip

    def answered(self, horizon: str, engine: str, found: Answered) -> None:
        """One batch."""
        tags = {"horizon": horizon, "engine": engine}
        self._ms.observe(found.ms, tags=tags)
        if len(found.rows):
            self._rows.inc(len(found.rows), tags=tags)
        for reason, count in zip(*np.unique(found.rows["abstained"], return_counts=True), strict=True):
            if reason != Abstained.NO:
                self._abstained.inc(int(count), tags={**tags, "reason": Abstained(reason).name})

    def serving(self, ensembles: Ensembles) -> None:
        """The versions in use."""
        for horizon in ensembles.horizons:
            champion, challenger = ensembles.of(horizon)
            for side, one in (("champion", champion), (CHALLENGER, challenger)):
                tags = {"horizon": horizon, "side": side}
                self._serving.set(one.number if one else 0, tags=tags)
                known = ensembles.judged(one, horizon) if one else {}
                for name, gauge in self._outcomes.items():
                    gauge.set(known.get(name, float("nan")), tags=tags)


def abstained(examples: Examples) -> Predictions:
    """(n,) rows that say that no model could answer."""
    rows = np.zeros(examples.rows, PREDICTION)
    for name in PREDICTION.names or ():
        if PREDICTION[name].kind == "f":
            rows[name] = np.nan
    rows["instrument"], rows["at"], rows["abstained"] = examples.instrument, examples.at, Abstained.NO_MODEL
    return rows


def shares(told: Answer) -> list[float]:
    """The probabilities of DOWN, FLAT and UP of an engine's answer."""
    return [told.opinion.p_down, told.opinion.p_flat, told.opinion.p_up]


def judged(at: int, p: Sequence[float], confidence: float | None) -> Predictions:
    """One row of the probabilities of DOWN, FLAT and UP; without its own `confidence` it is how far from 1/2."""
    row = np.zeros(1, PREDICTION)
    row["at"], row["low"], row["high"] = at, np.nan, np.nan
    row["p_down"], row["p_flat"], row["p_up"] = p
    row["prediction"] = p[2] + p[1] / 2
    row["confidence"] = 2 * np.abs(row["prediction"] - 0.5) if confidence is None else confidence
    return row


def registry_of(plan: PredictorPlan) -> Store | None:
    """The registry the plan names; it is connected to by whoever looks first."""
    if not plan.registry:
        return None
    from adapters.registry import Registry

    return Registry(plan.registry, plan.models)


def application(given: dict[str, Any]) -> Any:
    """The Serve application, as a config file names it. `given`: `plan` and `tuning` as JSON, replicas, num_cpus."""
    plan = with_secrets(PredictorPlan.model_validate_json(given["plan"]), os.environ)
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(plan.threads))
    deployment = serve.deployment(
        name=NAME,
        num_replicas=given["replicas"],
        max_ongoing_requests=ONGOING,
        max_queued_requests=ONGOING,
        max_surge_percent=100,
        ray_actor_options={
            "num_cpus": given["num_cpus"],
            "runtime_env": {"env_vars": {**limits, **given["environment"]}},
        },
        user_config=given["tuning"],
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.2,
    )
    return deployment(Predictor).bind(plan)


def with_secrets(plan: PredictorPlan, environment: Mapping[str, str]) -> PredictorPlan:
    """The plan with what a config may not say, everybody reads it on the dashboard: foreign addresses and keys."""
    found = {name: environment.get(variable, "") for name, variable in SECRETS.items() if not getattr(plan, name)}
    keys = {one.name: SecretStr(environment.get(f"{one.engine.kind.upper()}_API_KEY", "")) for one in plan.engines}
    bus = found.get("bus", plan.bus)
    engines = tuple(one.model_copy(update={"key": keys[one.name], "bus": bus}) for one in plan.engines)
    return plan.model_copy(update={**found, "engines": engines})


def _all_rows(asked: Sequence[Asked]) -> int:
    return sum(one.examples.rows for one in asked)
