"""Registrations: what is known of a trained model, and which version of it serves.

A version is named `NAME@V`, such as direction-15m@3. One version of a name is the champion, the one that is believed;
the history of promotions says which, and which was it before. A challenger takes its place by rule alone, or because
an operator forces it by name and says why: both stay on record.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from pydantic import AwareDatetime, Field

from market.errors import BadValue
from market.records import Record

Parameter = bool | int | float | str

NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
VERSION = re.compile(r"([a-z][a-z0-9-]{0,63})@([1-9]\d{0,8})")


class About(Record):
    """What a version was made from and what came of it; with it the version can be made again.

    `features`: the feature set; `lake`: version of each table it was trained from; `revision`: of the code; `score`: of
    the validation, higher is better, and `measure` its name; `baselines`: the same measure of what is trivial, by name.
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


def objection(challenger: About, champion: About | None) -> str | None:
    """Why a version may not become the champion by rule; None: it may.

    It must have shown an edge, with a better validation score than every baseline and than the champion.
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


def _scored(about: About) -> str:
    return f"{about.measure} of {about.score:.6g}"
