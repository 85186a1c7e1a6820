"""Which version may become the champion, and which one a way back leads to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from market.errors import BadValue
from market.registrations import About, Promotion, Rivalry, champion, fallback, objection, version_of

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def about(**more: Any) -> About:
    plain = {
        "name": "direction-15m", "horizon": "15m", "features": "v1", "symbols": ("NSE:RELIANCE",), "revision": "abc",
        "seed": 7, "measure": "ic", "score": 0.05, "baselines": {"no-trade": 0.0, "linear": 0.03}, "verdict": "EDGE",
        "trained_at": AT,
    }  # fmt: skip
    return About(**plain | more)


def later(**rivalry: Any) -> About:
    """Validated on other sessions than the others, and compared with a champion if one is given."""
    return about(parameters={"to": "2026-11-13"}, rivalry=Rivalry(**rivalry) if rivalry else None)


def step(version: int, kind: str = "promoted") -> Promotion:
    return Promotion(name="m", version=version, previous=None, kind=kind, because="b", by="t", at=AT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("challenger", "present", "reason"),
    [
        (about(), None, None),
        (about(), about(score=0.04), None),
        (about(verdict="NO_EDGE"), None, "NO_EDGE"),
        (about(verdict="NO_EDGE", score=9.0), about(), "NO_EDGE"),
        (about(score=0.03), None, "not above 0.03 of the baseline linear"),
        (about(score=0.02), about(score=0.01), "not above 0.03 of the baseline linear"),
        (about(score=-0.1, baselines={"no-trade": 0.0}), None, "baseline no-trade"),
        (about(baselines={}), None, "no baseline"),
        (about(), about(), "not above the champion's 0.05"),
        (about(), about(score=0.06), "not above the champion's 0.06"),
        (about(), about(measure="net"), "measured by ic and the champion by net"),
        (later(), about(score=0.04), "not compared with the champion"),
        (later(version=2), about(score=0.04), "not compared with the champion"),
        (later(version=3, reason="it knows other features"), about(), "knows other features"),
        (later(version=3, sessions=4, score=0.9), about(), "on 4 sessions"),
        (later(version=3, sessions=5, score=0.01, theirs=0.01), about(score=0.04), "0.01, is not above the champion's"),
        (later(version=3, sessions=5, score=0.02, theirs=0.01), about(score=9.0), None),  # of an easier year
    ],
)
def test_a_challenger_must_beat_the_champion_and_every_baseline(
    challenger: About, present: About | None, reason: str | None
) -> None:
    found = objection(challenger, present, 3 if present else None)

    assert (found is None) if reason is None else (found is not None and reason in found)


@pytest.mark.parametrize(
    ("history", "there", "back"),
    [
        ([], {1, 2}, None),
        ([step(1)], {1, 2}, None),
        ([step(1), step(2)], {1, 2}, 1),
        ([step(1), step(2), step(3)], {1, 2, 3}, 2),
        ([step(1), step(2), step(3), step(2, "rolled back")], {1, 2, 3}, 1),
        ([step(1), step(2), step(1, "rolled back")], {1, 2}, None),
        ([step(1), step(2), step(1, "rolled back"), step(3)], {1, 2, 3}, 1),
        ([step(1), step(2), step(3)], {1, 3}, 1),
        ([step(1), step(2, "forced"), step(1, "forced")], {1, 2}, 2),
    ],
)
def test_a_way_back_is_not_taken_twice(history: list[Promotion], there: set[int], back: int | None) -> None:
    assert fallback(history, there) == back
    assert champion(history) == (history[-1].version if history else None)


@pytest.mark.parametrize("text", ["direction-15m", "direction-15m@", "direction-15m@0", "@1", "A@1", "a@1.5", "a@01"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="model"):
        version_of(text)


@pytest.mark.parametrize("more", [{"score": float("nan")}, {"verdict": "MAYBE"}, {"trained_at": "2026-11-20T12:00:00"}])
def test_what_is_not_known_for_sure_is_not_put_on_record(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        about(**more)
