"""Ensembles: what is served of each horizon, a champion and perhaps a challenger, as the registry says.

`look` compares the registry's aliases with what is held and loads what is new; only a version that answers a probe as
it should takes the old one's place, in one assignment. So whoever answers meanwhile uses one version or the other. With
no registry, or none in reach, what is held goes on; where nothing is registered the heuristic answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from adapters.serving import Serving
from market.ensemble import Ensemble, heuristic_ensemble
from market.errors import BadPayload, BadValue, BourseError, LineDown, StoreRefused
from market.features import SET
from market.labels import HORIZONS
from market.models.examples import CHANNELS, LENGTH, Examples, Ints64
from market.predictions import PREDICTION, Abstained, Predictions
from market.registrations import Version
from market.trials import challenged, counted

CHAMPION, CHALLENGER = "champion", "challenger"
BUILT_IN = "v1-heuristic"
RETRY_SECONDS = 300.0
"""A version that could not be used is tried again so much later: what it lacked may be there by then."""
PROBE_ROWS = 64
AT = 1_472_096_760_000_000_000
NEAR_ONE = 1e-3


class Store(Protocol):
    """Where versions are kept. Every method raises LineDown while it is out of reach."""

    def files(self, name: str, version: int) -> dict[str, bytes]:
        """What a version was saved as. Raises StoreRefused when it is not what it was."""
        ...

    def versions(self, name: str) -> list[Version]:
        """The versions of a model, newest first, with what they are called; none of one that nobody registered."""
        ...


class Served(NamedTuple):
    """One version. `number`: in the registry, 0 of what is built in; `title`: what its answers carry."""

    number: int
    title: str
    ensemble: Ensemble


class Standing(NamedTuple):
    """What answers for one horizon."""

    champion: Served
    challenger: Served | None = None

    def reach(self, instruments: Ints64, engine: str | None = None) -> Ints64:
        """All instruments whose examples count for the answers about these: to what answers for the whole, or to one
        member of the champion.
        """
        sides = [one.ensemble for one in self if one is not None]
        member = engine if engine in self.champion.ensemble.members else None
        found = [one.neighbours(instruments, member) for one in (sides[:1] if member else sides)]
        return np.unique(np.concatenate(found))

    def silences(self, rows: Predictions, versions: Sequence[str]) -> list[tuple[str, ...]]:
        """Of each row what is told of the members that could not answer, by the version that made it."""
        sides = {one.title: one.ensemble for one in self if one is not None}
        told = zip(rows["silent"].tolist(), versions, strict=True)
        return [tuple(sides[version].silences(bits)) if bits and version in sides else () for bits, version in told]


class Ensembles:
    """One thread looks, others ask."""

    def __init__(
        self, horizons: Sequence[str], names: Sequence[str], store: Store | None, serving: Serving | None = None
    ) -> None:
        """`names`: the features that examples will have; `serving`: what a replica before this one served, and where
        this one leaves it. Raises BadValue: no such horizon.
        """
        self._store, self._names, self._serving = store, tuple(names), serving
        self._standing = {horizon: Standing(built_in(horizon)) for horizon in horizons}
        self._refused: dict[str, tuple[float, str]] = {}
        self._listed: dict[str, list[dict[str, Any]]] = {}
        self.judgements: Mapping[str, Mapping[str, float]] = {}
        """What the outcomes said last of each version and horizon."""
        self.trouble = ""
        """Why the registry cannot be looked at; empty when it could."""

    def go_on(self) -> bool:
        """Serve what was served last, where it is still there; whether there was any."""
        for horizon, standing in self._standing.items():
            champion, challenger = (self._kept(horizon, side) for side in (CHAMPION, CHALLENGER))
            self._standing[horizon] = Standing(champion or standing.champion, challenger)
        return any(one.champion.number for one in self._standing.values())

    @property
    def horizons(self) -> tuple[str, ...]:
        """Those that are served."""
        return tuple(self._standing)

    def of(self, horizon: str) -> Standing:
        """What answers now. Raises BadValue: the horizon is not served."""
        if horizon not in self._standing:
            raise BadValue("horizon", horizon, f"one of {', '.join(self._standing)}")
        return self._standing[horizon]

    def judged(self, one: Served, horizon: str) -> Mapping[str, float]:
        """What is known of a version's predictions since it serves."""
        return self.judgements.get(f"{one.title} {horizon}", {})

    def share(self, horizon: str, share: float) -> float:
        """The challenger's, where it or the champion has drifted and counts for less."""
        champion, challenger = self.of(horizon)
        if challenger is None:
            return 0.0
        return counted(share, *(self.judged(one, horizon).get("weight", 1.0) for one in (champion, challenger)))

    def look(self, now: float) -> list[str]:
        """Follow the registry; what changed, a line each. `now`: seconds of a steady clock."""
        if self._store is None:
            return []
        said: list[str] = []
        try:
            for horizon in self._standing:
                said += self._follow(self._store, horizon, now)
            self.trouble = ""
        except (LineDown, StoreRefused) as e:
            self.trouble = str(e)
        return said

    def faults(self) -> dict[str, str]:
        """The versions that could not be used, and why."""
        return {title: reason for title, (_, reason) in self._refused.items()}

    def told(self) -> list[dict[str, Any]]:
        """Each horizon's model: what serves, its members, and the registry's versions as of the last look."""
        rows = []
        for horizon, standing in self._standing.items():
            sides = {CHAMPION: standing.champion, CHALLENGER: standing.challenger}
            serving = {side: one.title if one else None for side, one in sides.items()}
            ensemble = standing.champion.ensemble
            row = {"name": model_of(horizon), "horizon": horizon, **serving, "members": ensemble.weights}
            rows.append({**row, "versions": self._listed.get(horizon, [])})
        return rows

    def _follow(self, store: Store, horizon: str, now: float) -> list[str]:
        name, held = model_of(horizon), self._standing[horizon]
        versions = store.versions(name)
        wanted = {alias: one for one in versions for alias in one.aliases}
        champion = self._wanted(store, CHAMPION, wanted.get(CHAMPION), held.champion, now) or built_in(horizon)
        challenger = self._wanted(store, CHALLENGER, wanted.get(CHALLENGER), held.challenger, now)
        if challenger is not None and challenger.number == champion.number:
            challenger = None
        self._standing[horizon] = found = Standing(champion, challenger)
        self._listed[horizon] = [_listed(one) for one in versions]
        for side in (CHAMPION, CHALLENGER):
            if side not in wanted and self._serving is not None:
                self._serving.drop(horizon, side)
        titles = {one.title for one in wanted.values()}
        self._refused = {t: why for t, why in self._refused.items() if t in titles or not t.startswith(f"{name}@")}
        return [f"{name}: {side} is {new}, was {old}" for side, old, new in _changes(held, found)]

    def _wanted(
        self, store: Store, side: str, version: Version | None, held: Served | None, now: float
    ) -> Served | None:
        """That version; what is held where it cannot be used."""
        if version is None:
            return None
        horizon, number, title = version.about.horizon, version.version, version.title
        if held is not None and held.number == number:
            return held
        if title in self._refused and now - self._refused[title][0] < RETRY_SECONDS:
            return held
        try:
            if version.about.features != SET:
                raise _refusal(f"it was trained on the features {version.about.features}, and is asked about {SET}")
            files = store.files(version.name, number)
            made = self._checked(horizon, files)
        except LineDown:
            raise
        except Exception as e:  # whatever a version does wrong, the old one goes on
            said = str(e) if isinstance(e, BourseError) else f"{type(e).__name__}: {e}"
            self._refused[title] = now, said
            return held
        self._refused.pop(title, None)
        if self._serving is not None:
            self._serving.keep(horizon, side, number, files)
        return Served(number, title, made)

    def _kept(self, horizon: str, side: str) -> Served | None:
        kept = self._serving.kept(horizon, side) if self._serving is not None else None
        if kept is None:
            return None
        number, files = kept
        try:
            return Served(number, f"{model_of(horizon)}@{number}", self._checked(horizon, files))
        except Exception:  # the registry will say which version serves, and what is wrong with it
            return None

    def _checked(self, horizon: str, files: Mapping[str, bytes]) -> Ensemble:
        made = Ensemble.load(files)
        check(made, horizon, self._names)
        return made


def built_in(horizon: str) -> Served:
    """What answers where nothing is registered. Raises BadValue: no such horizon."""
    return Served(0, BUILT_IN, heuristic_ensemble(horizon))


def model_of(horizon: str) -> str:
    """The registered name of a horizon's model."""
    return f"direction-{horizon}"


def horizon_of(name: str) -> str | None:
    """The horizon of a model's name; None where it is none of ours."""
    return next((horizon for horizon in HORIZONS if model_of(horizon) == name), None)


def predict(standing: Standing, examples: Examples, share: float, now: int | None) -> tuple[Predictions, list[str]]:
    """(n,) rows and the version that made each: the challenger for its `share` of the instruments. Raises BadValue."""
    champion, challenger = standing
    if challenger is None or not share:
        return champion.ensemble.predict(examples, now), [champion.title] * examples.rows
    theirs = challenged(examples.instrument, champion.ensemble.horizon, share)
    rows = np.zeros(examples.rows, PREDICTION)
    for side, mine in ((champion, ~theirs), (challenger, theirs)):
        if mine.any():
            rows[mine] = side.ensemble.predict(examples, now)[mine]  # a graph looks at the others, too
    return rows, [challenger.title if one else champion.title for one in theirs.tolist()]


def check(ensemble: Ensemble, horizon: str, names: Sequence[str]) -> None:
    """Ask a version about made-up examples. Raises BadPayload where what it says can be no prediction."""
    if ensemble.horizon != horizon:
        raise _refusal(f"it predicts {ensemble.horizon}, not {horizon}")
    probe = _probe(names, ensemble.neighbours(np.arange(PROBE_ROWS - 1)))
    rows = ensemble.predict(probe)
    p = np.stack([rows[name] for name in ("p_down", "p_flat", "p_up")], axis=1)
    told = rows["abstained"] == Abstained.NO
    if rows.dtype != PREDICTION or (rows["instrument"] != probe.instrument).any() or (rows["at"] != probe.at).any():
        raise _refusal("its rows are not those of the examples")
    if told[-1]:
        raise _refusal("it predicts from nothing")
    if not _sound(p[told]):
        raise _refusal("its probabilities are none")
    said = [ensemble.members[name].predict(probe) for name in ensemble.members]
    if not any(np.isfinite(one).all(axis=1).any() for one in said):
        raise _refusal("none of its members answers anything")
    for name, one in zip(ensemble.members, said, strict=True):
        if one.shape != (probe.rows, 3) or not _sound(one[np.isfinite(one).all(axis=1)]):
            raise _refusal(f"the probabilities of its member {name} are none")


def _probe(names: Sequence[str], instruments: Ints64) -> Examples:
    """Examples near zero, where most features lie, and one more of nothing known."""
    chance, count = np.random.default_rng(0), len(instruments) + 1
    features = chance.normal(0.0, 0.5, (count, len(names))).astype(np.float32)
    sequence = chance.normal(0.0, 0.01, (count, LENGTH, len(CHANNELS))).astype(np.float32)
    features[-1], sequence[-1] = np.nan, np.nan
    at, session = np.full(count, AT, np.int64), np.full(count, 17_038, np.int32)
    instrument = np.append(instruments, instruments.max() + 1).astype(np.int32)
    return Examples(tuple(names), features, sequence, instrument, at, session)


def _sound(p: np.ndarray[Any, np.dtype[np.floating[Any]]]) -> bool:
    return bool(np.isfinite(p).all() and (p >= 0).all() and (np.abs(p.sum(axis=1) - 1) < NEAR_ONE).all())


def _refusal(reason: str) -> BadPayload:
    return BadPayload("ensemble", b"", f"it fails its check: {reason}")


def _listed(version: Version) -> dict[str, Any]:
    about = version.about
    told = {"measure": about.measure, "score": about.score, "verdict": about.verdict, "features": about.features}
    stamps = {"registered_at": version.registered_at.isoformat(), "trained_at": about.trained_at.isoformat()}
    return {"version": version.title, "aliases": list(version.aliases), **told, **stamps}


def _changes(held: Standing, found: Standing) -> list[tuple[str, str, str]]:
    sides = ((CHAMPION, held.champion, found.champion), (CHALLENGER, held.challenger, found.challenger))
    titles = [(side, old.title if old else "none", new.title if new else "none") for side, old, new in sides]
    return [one for one in titles if one[1] != one[2]]
