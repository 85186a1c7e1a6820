"""Registrations: what is known of a trained model, and which version of it serves.

A version is named `NAME@V`, such as direction-15m@3. One version of a name is the champion, the one that is believed;
the history of promotions says which, and which was it before. A challenger takes its place by rule alone, or because
an operator forces it by name and says why: both stay on record.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from market.errors import BadValue
from market.records import Record

Parameter = bool | int | float | str

VALIDATED = ("from", "to", "folds", "embargo", "every", "daily", "universe")
"""The parameters of a training that say which decisions it was validated on."""

LEAST_SHARED = 5
"""Sessions on which a challenger must have been better than a champion that was validated on others."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
VERSION = re.compile(r"([a-z][a-z0-9-]{0,63})@([1-9]\d{0,8})")


class Rivalry(Record):
    """How a version and the champion of its day, `version`, did in the same sessions, `first` to `last`, of which
    neither had learnt: `score` its own, `theirs` the champion's. `reason`: why they could not be compared, else "".
    """

    version: int
    first: date | None = None
    last: date | None = None
    sessions: int = 0
    score: float = 0.0
    theirs: float = 0.0
    reason: str = ""


class About(Record):
    """What a version was made from and what came of it; with it the version can be made again.

    `features`: the feature set; `lake`: version of each table it was trained from; `revision`: of the code; `score`: of
    the validation, higher is better, and `measure` its name; `baselines`: the same measure of what is trivial, by name;
    `rivalry`: with the champion in the same sessions, None: there was none, or nobody compared.
    """

    name: str = Field(pattern=f"^{NAME.pattern}$")
    horizon: str
    features: str
    symbols: tuple[str, ...]
    lake: Mapping[str, int] = Field(default_factory=dict)
    revision: str
    parameters: Mapping[str, Parameter] = Field(default_factory=dict)
    seed: int
    measure: str
    score: float
    baselines: Mapping[str, float]
    metrics: Mapping[str, float] = Field(default_factory=dict)
    verdict: Literal["EDGE", "NO_EDGE"]
    trained_at: AwareDatetime
    rivalry: Rivalry | None = None


class Version(Record):
    """A registered version: who it is, what it is called besides (champion, challenger), and what is known of it."""

    name: str
    version: int
    aliases: tuple[str, ...]
    registered_at: AwareDatetime
    about: About

    @property
    def title(self) -> str:
        """`NAME@V`."""
        return f"{self.name}@{self.version}"


class Promotion(Record):
    """A version became the champion. `previous`: which it was before; `because`: why, in words; `by`: who said so."""

    name: str
    version: int
    previous: int | None
    kind: Literal["promoted", "forced", "rolled back"]
    because: str
    by: str
    at: AwareDatetime


class NotPromoted(Record):
    """A version did not become the champion, and why not."""

    name: str
    version: int
    reason: str


def version_of(text: str) -> tuple[str, int]:
    """Name and version of `NAME@V`. Raises BadValue.

    >>> version_of("direction-15m@3")
    ('direction-15m', 3)
    """
    found = VERSION.fullmatch(text)
    if found is None:
        raise BadValue("model", text, "a name and a version, such as direction-15m@3")
    return found[1], int(found[2])


def named(name: str) -> str:
    """The name of a model. Raises BadValue."""
    if NAME.fullmatch(name) is None:
        raise BadValue("name", name, "small letters, digits and - behind a letter, at most 64, such as direction-15m")
    return name


def objection(challenger: About, champion: About | None, number: int | None = None) -> str | None:
    """Why a version may not become the champion by rule; None: it may. `number`: the champion's version.

    It must have shown an edge, with a better validation score than every baseline, and a better one than the champion
    on the same sessions: those that the champion, too, was validated on, or those that both never saw.
    """
    if challenger.verdict == "NO_EDGE":
        return "its verdict is NO_EDGE: it did not earn more than its costs"
    if not challenger.baselines:
        return "it was compared with no baseline"
    best = max(challenger.baselines, key=lambda name: (challenger.baselines[name], name))
    if challenger.score <= challenger.baselines[best]:
        return f"its {_scored(challenger)} is not above {challenger.baselines[best]:.6g} of the baseline {best}"
    if champion is None:
        return None
    if champion.measure != challenger.measure:
        return f"it is measured by {challenger.measure} and the champion by {champion.measure}"
    if _span(challenger) != _span(champion):
        return _beaten(challenger, number)
    if challenger.score <= champion.score:
        return f"its {_scored(challenger)} is not above the champion's {champion.score:.6g}"
    return None


def champion(history: Sequence[Promotion]) -> int | None:
    """The version that the promotions of one name, oldest first, leave in charge; None: there were none."""
    return history[-1].version if history else None


def fallback(history: Sequence[Promotion], there: Collection[int]) -> int | None:
    """The champion before the present one, of those that are still `there`; None: there is none.

    A way back is not taken twice: behind 1, 2, 3 the first rollback leads to 2 and the next one to 1.
    """
    stack: list[int] = []
    for one in history:
        if one.kind == "rolled back":
            while stack and stack[-1] != one.version:
                stack.pop()
        elif one.version not in stack[-1:]:
            stack.append(one.version)
    earlier = [version for version in stack[:-1] if version in there and version != champion(history)]
    return earlier[-1] if earlier else None


def _beaten(challenger: About, number: int | None) -> str | None:
    """By a champion that was validated on other sessions."""
    rivalry = challenger.rivalry
    if rivalry is None or rivalry.version != number:
        return "it was not compared with the champion on the same sessions: train it again"
    if rivalry.reason:
        return f"it could not be compared with the champion: {rivalry.reason}"
    if rivalry.sessions < LEAST_SHARED:
        shared = f"{rivalry.sessions} sessions that neither had learnt from"
        return f"it was compared with the champion on {shared}, and {LEAST_SHARED} are asked for"
    if rivalry.score <= rivalry.theirs:
        span = f"of {rivalry.sessions} sessions, {rivalry.first} to {rivalry.last}"
        return f"its {challenger.measure} {span}, {rivalry.score:.6g}, is not above the champion's {rivalry.theirs:.6g}"
    return None


def _span(about: About) -> tuple[tuple[str, ...], list[tuple[str, Parameter | None]]]:
    """What a version was validated on."""
    return about.symbols, [(name, about.parameters.get(name)) for name in VALIDATED]


def _scored(about: About) -> str:
    return f"{about.measure} of {about.score:.6g}"
