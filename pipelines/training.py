"""Training: walk-forward on the examples of the lake, each fold's members as tasks of Ray, then the one that is served.

A member is fitted in a task of one core; a task more learns the ensemble's weights, calibration and threshold on the
part held back, and judges all of them, beside the baselines, on the fold's test sessions. What comes out depends on the
plan alone, not on how many cores there are. The ensemble of all data is fitted last; its last part is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from market import evaluation
from market.drift import FILE, Distribution
from market.ensemble import Ensemble, kind_of
from market.errors import BadPayload, BadValue, BourseError
from market.evaluation import Fold, Judged
from market.instruments import Instrument
from market.labels import Label, cost_of
from market.models.examples import Examples
from market.models.model import Model
from market.registrations import Rivalry
from market.sessions import day_number
from pipelines.examples import Floats, Material, Wanted, joined, material
from pipelines.reports import Curve, Report, Row

ENSEMBLE, LINEAR, GRAPH = "ensemble", "linear", "gnn"
NO_TRADE, LAST_VALUE = "no-trade", "last-value"

GROUP = 8
"""Symbols whose minutes are loaded by one task; days of all are read at once, as they lie in as many files."""

EPOCH = date(1970, 1, 1)

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What numeric libraries look at when they are loaded."""

Progress = Callable[[float, str], None]


class TrainingPlan(Wanted):
    """What a run is told. `folds`: tests; `embargo`: sessions between parts; `members`: kinds of models."""

    members: tuple[str, ...]
    folds: int = 5
    embargo: int = 1
    seed: int = 7

    @property
    def cost(self) -> float:
        """Of a round trip, a fraction."""
        return cost_of(self.horizon, within=self.daily)


class Trained(NamedTuple):
    """What is served, file by file, and how it did; `rivalry`: against the rival, None without one."""

    files: dict[str, bytes]
    report: Report
    rivalry: Rivalry | None = None


class Rival(NamedTuple):
    """A registered version to be compared with. `threshold`: learnt with it, None: it never acts; `last`: the last
    session it has seen; `strange`: why it cannot be compared, "" if it can.
    """

    version: int
    files: Mapping[str, bytes]
    threshold: float | None
    last: date
    strange: str = ""


class Trial(NamedTuple):
    """One fold: the judgement of each by name, the ensemble's weights, and the sessions tested, first and last."""

    judged: dict[str, Judged]
    weights: dict[str, float]
    span: tuple[date, date]
    rows: tuple[int, int, int]


def run(plan: TrainingPlan, progress: Progress, rival: Rival | None = None) -> Trained:
    """Train, on the Ray this process has joined. Raises BadValue, UnexplainedBreak, LineDown, StoreRefused.

    `rival`: judged on those sessions of the tests that it has not seen.
    """
    import ray

    check(plan)
    progress(0.0, "loading")
    data = _loaded(plan, progress)
    if not data.examples.rows:
        where = f"{plan.first} to {plan.last}"
        raise BadValue("symbols", ",".join(plan.symbols[:5]), f"some with candles in the lake from {where}")
    folds = evaluation.walk_forward(data.examples.session, data.ends, plan.folds, plan.embargo)
    whole = evaluation.last_part(data.examples.session, data.ends, plan.embargo)
    kinds = list(dict.fromkeys([*plan.members, LINEAR]))
    given = ray.put(data)
    fit, judge, finish = (ray.remote(num_cpus=1, max_retries=3)(_told(f)) for f in (fitted, tried, finished))
    fits = [[fit.remote(given, fold, kind, plan) for kind in kinds] for fold in folds]
    last = [fit.remote(given, whole, kind, plan) for kind in plan.members]
    tests = [judge.remote(given, fold, plan, kinds, *made) for fold, made in zip(folds, fits, strict=True)]
    final = finish.remote(given, whole, plan, *last)
    meet = ray.remote(num_cpus=1, max_retries=3)(_told(met))
    meeting = [] if rival is None else [meet.remote(given, folds, plan, rival)]
    refs = [*(ref for made in fits for ref in made), *last, *tests, final, *meeting]
    _awaited(refs, progress)
    found = [_value(ref) for ref in tests]
    files, threshold = _value(final)
    mine = [one.judged[ENSEMBLE] for one in found]
    rivalry = None if rival is None else rivalled(rival, _value(meeting[0]), mine)
    return Trained(files, _report(plan, data, found, threshold, files), rivalry)


def check(plan: TrainingPlan) -> None:
    """Raises BadValue for what cannot be, before anything is read."""
    if not plan.members:
        raise BadValue("members", "", "one kind at least, such as linear,xgboost")
    for kind in plan.members:
        try:
            kind_of(kind)
        except BadValue as e:
            raise BadValue("members", kind, e.allowed) from None
    if plan.folds < 1:
        raise BadValue("folds", plan.folds, "1 at least")
    if plan.embargo < 0:
        raise BadValue("embargo", plan.embargo, "0 sessions at least")
    if not plan.embargo and "transformer" in plan.members:
        raise BadValue("embargo", 0, "1 session at least with the transformer: it learns of the next day, too")
    if plan.every < 1:
        raise BadValue("every", plan.every, "1 minute at least")
    if plan.daily and plan.horizon != "1d":
        raise BadValue("daily", plan.horizon, "days have one horizon, 1d")


def fitted(data: Material, fold: Fold, kind: str, plan: TrainingPlan) -> bytes:
    """A member, learnt on the fold's training part, stopped early by the part held back."""
    train, held = data.take(fold.train), data.take(fold.held)
    make: Callable[..., Model] = kind_of(kind)
    model = make(plan.horizon, sectors_of(plan.instruments)) if kind == GRAPH else make(plan.horizon)
    model.fit(train.examples, train.targets, held.examples, held.targets, plan.seed)
    return model.save()


def sectors_of(instruments: Sequence[Instrument]) -> dict[int, int]:
    """The number of each instrument's sector, by its place; those without one are left out."""
    numbers = {sector: k for k, sector in enumerate(sorted({i.sector for i in instruments if i.sector}))}
    return {place: numbers[i.sector] for place, i in enumerate(instruments) if i.sector}


def assembled(plan: TrainingPlan, kinds: Sequence[str], saved: Sequence[bytes], data: Material, fold: Fold) -> Ensemble:
    """The ensemble of a plan's members, its weights and calibration learnt on the part held back."""
    members = {k: kind_of(k).load(s) for k, s in zip(kinds, saved, strict=True) if k in plan.members}
    ensemble, held = Ensemble(plan.horizon, members), data.take(fold.held)
    ensemble.fit_weights(held.examples, held.targets, held.returns, data.examples.take(fold.train))
    return ensemble


def tried(data: Material, fold: Fold, plan: TrainingPlan, kinds: Sequence[str], *saved: bytes) -> Trial:
    """The judgement of the ensemble, each member and each baseline on the fold's test part."""
    ensemble = assembled(plan, kinds, saved, data, fold)
    train, held, test = (data.take(rows) for rows in fold)
    labels = train.targets[plan.horizon]
    base = evaluation.base_rates(labels)

    def judged(p: npt.NDArray[Any], side: npt.NDArray[np.int8] | None = None, least: float | None = None) -> Judged:
        came = test.targets[plan.horizon], test.returns, test.examples.session
        return evaluation.judged(p, *came, base, side=side, threshold=least, cost=plan.cost)

    def by(chances: Callable[[Examples], npt.NDArray[Any]]) -> Judged:
        least = evaluation.learned_threshold(chances(held.examples), held.returns, plan.cost)
        return judged(chances(test.examples), least=least)

    sign = np.sign(np.nan_to_num(test.last)).astype(np.int8)
    going_on = evaluation.continued(labels, train.last)[sign.astype(np.intp) + 1]
    found = {ENSEMBLE: by(lambda examples: _chances(ensemble, examples))}
    found |= {k: by(kind_of(k).load(s).predict) for k, s in zip(kinds, saved, strict=True)}
    found[NO_TRADE] = judged(np.tile(base, (len(sign), 1)), np.zeros(len(sign), np.int8))
    found[LAST_VALUE] = judged(going_on, sign)
    days = test.examples.session
    span = EPOCH + timedelta(days=int(days.min())), EPOCH + timedelta(days=int(days.max()))
    return Trial(found, dict(ensemble.weights), span, (len(fold.train), len(fold.held), len(fold.test)))


def finished(data: Material, fold: Fold, plan: TrainingPlan, *saved: bytes) -> tuple[dict[str, bytes], float]:
    """The files of the ensemble of all data, and the threshold learnt on the part held back."""
    ensemble, held = assembled(plan, plan.members, saved, data, fold), data.take(fold.held)
    files = {**ensemble.save(), FILE: Distribution.of(data.take(fold.train).examples).save()}
    return files, evaluation.learned_threshold(_chances(ensemble, held.examples), held.returns, plan.cost)


def met(data: Material, folds: Sequence[Fold], plan: TrainingPlan, rival: Rival) -> list[Judged] | str:
    """The rival's judgement on the tests' sessions behind the last it has seen and the embargo, or why none."""
    if rival.strange:
        return rival.strange
    try:
        ensemble = Ensemble.load(rival.files)
        found = []
        for fold in folds:
            test = data.take(fold.test)
            test = test.take(np.flatnonzero(test.examples.session > _seen(rival, plan)))
            if test.examples.rows:
                came = test.targets[plan.horizon], test.returns, test.examples.session
                base = evaluation.base_rates(data.targets[plan.horizon][fold.train])
                p = _chances(ensemble, test.examples)
                found.append(evaluation.judged(p, *came, base, threshold=rival.threshold, cost=plan.cost))
    except (BadPayload, BadValue) as e:
        return f"it cannot judge these examples: {e}"
    return found


def rivalled(rival: Rival, theirs: list[Judged] | str, mine: Sequence[Judged]) -> Rivalry:
    """Mean daily net return of both on the sessions of both. `mine`: of all tests."""
    if isinstance(theirs, str):
        return Rivalry(version=rival.version, reason=theirs)
    his, own = _by_day(theirs), _by_day(mine)
    days = sorted(set(his) & set(own))
    if not days:
        return Rivalry(version=rival.version)
    return Rivalry(
        version=rival.version,
        first=EPOCH + timedelta(days=days[0]),
        last=EPOCH + timedelta(days=days[-1]),
        sessions=len(days),
        score=float(np.mean([own[day] for day in days])),
        theirs=float(np.mean([his[day] for day in days])),
    )


def _by_day(folds: Sequence[Judged]) -> dict[int, float]:
    return {int(day): float(net) for fold in folds for day, net in zip(fold.days, fold.daily, strict=True)}


def _seen(rival: Rival, plan: TrainingPlan) -> int:
    """The number of the last session that the rival has seen, with the embargo behind it."""
    behind = [day_number(s.date) for s in plan.sessions if s.date > rival.last]
    return behind[plan.embargo - 1] if 0 < plan.embargo <= len(behind) else day_number(rival.last)


def _chances(ensemble: Ensemble, examples: Examples) -> Floats:
    rows = ensemble.predict(examples)
    return np.stack([rows[name].astype(np.float64) for name in ("p_down", "p_flat", "p_up")], axis=1)


def _loaded(plan: TrainingPlan, progress: Progress) -> Material:
    import ray

    size = len(plan.symbols) if plan.daily else GROUP
    groups = [plan.symbols[k : k + size] for k in range(0, len(plan.symbols), max(size, 1))]
    load = ray.remote(num_cpus=1)(_told(material))
    wanted = Wanted(**{name: getattr(plan, name) for name in Wanted.model_fields})
    refs = [load.remote(wanted, group) for group in groups]
    _awaited(refs, lambda share, text: progress(share / 4, f"{text} groups of symbols loaded"))
    return joined([_value(ref) for ref in refs], wanted)


def _awaited(refs: Sequence[Any], progress: Progress) -> None:
    import ray

    left = list(refs)
    while left:
        _, left = ray.wait(left, num_returns=1)
        done = len(refs) - len(left)
        progress(done / len(refs), f"{done} of {len(refs)}")


def _told(task: Callable[..., Any]) -> Callable[..., Any]:
    """A task that answers what it raised, if that is ours, instead of a traceback of Ray's; and what it was handed."""

    def made(*given: Any) -> Any:
        wrong = next((one for one in given if isinstance(one, BourseError)), None)
        if wrong is not None:
            return wrong
        _one_thread()
        try:
            return task(*given)
        except BourseError as e:
            return e

    made.__name__ = made.__qualname__ = task.__name__
    return made


def _one_thread() -> None:
    """What sums in several threads sums in another order. It holds as long as this worker lives, whatever its
    environment said: for the libraries that are loaded, and for those that a member loads later.
    """
    import os
    import sys

    from threadpoolctl import threadpool_limits

    os.environ |= dict.fromkeys(THREADS, "1")
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _value(ref: Any) -> Any:
    import ray

    found = ray.get(ref)
    if isinstance(found, BourseError):
        raise found
    return found


def _report(
    plan: TrainingPlan, data: Material, found: Sequence[Trial], threshold: float, files: Mapping[str, bytes]
) -> Report:
    import hashlib

    names = list(found[0].judged)
    baselines = [n for n in (NO_TRADE, LAST_VALUE, LINEAR) if not (n == LINEAR and set(plan.members) == {LINEAR})]
    judged = {name: [fold.judged[name] for fold in found] for name in names}
    said = {
        name: evaluation.verdict(judged[name], {b: judged[b] for b in baselines if b != name}, plan.seed)
        for name in names
    }
    kinds = dict.fromkeys((NO_TRADE, LAST_VALUE), "baseline") | {ENSEMBLE: "ensemble"}
    rows = [
        Row(
            name=name,
            kind=kinds.get(name, "member" if name in plan.members else "baseline"),
            folds=tuple(one.score for one in judged[name]),
            verdict=said[name],
            curve=_curve(judged[name]),
        )
        for name in names
    ]
    counts = np.bincount(data.targets[plan.horizon], minlength=len(Label))
    parameters = {
        "members": ",".join(plan.members),
        "folds": plan.folds,
        "embargo": plan.embargo,
        "every": plan.every,
        "daily": plan.daily,
        "cost": plan.cost,
        "from": plan.first.isoformat(),
        "to": plan.last.isoformat(),
    }
    days = np.unique(data.examples.session)
    present = set(np.unique(data.examples.instrument).tolist())
    return Report(
        horizon=plan.horizon,
        verdict=said[ENSEMBLE],
        rows=tuple(rows),
        baselines=tuple(baselines),
        symbols=tuple(s for s in plan.symbols if plan.ids[s] in present),
        empty=tuple(s for s in plan.symbols if plan.ids[s] not in present),
        first=EPOCH + timedelta(days=int(days[0])),
        last=EPOCH + timedelta(days=int(days[-1])),
        sessions=len(days),
        examples=data.examples.rows,
        labels={label.name: int(counts[label]) for label in Label},
        features=plan.set,
        lake=dict(plan.base),
        parameters=parameters,
        seed=plan.seed,
        spans=tuple(fold.span for fold in found),
        sizes=tuple(fold.rows for fold in found),
        weights=tuple(fold.weights for fold in found),
        threshold=threshold if np.isfinite(threshold) else None,
        files={name: hashlib.sha256(body).hexdigest() for name, body in sorted(files.items())},
    )


def _curve(folds: Sequence[Judged]) -> Curve:
    bins = evaluation.joined_bins([one.bins for one in folds])
    known = [[None if np.isnan(v) else float(v) for v in row] for row in bins]
    days = np.concatenate([one.days for one in folds])
    daily = np.concatenate([one.daily for one in folds])
    return Curve(
        days=tuple(EPOCH + timedelta(days=int(day)) for day in days),
        daily=tuple(daily.tolist()),
        said=tuple(row[1] for row in known),
        came=tuple(row[2] for row in known),
        counts=tuple(int(row[0] or 0) for row in known),
    )
