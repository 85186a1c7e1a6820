"""What an operator hears of a feed: once for each trouble, and once when it is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.alerts import OperatorAlert, still_open
from market.sessions import SECOND
from market.troubles import CALM, OFTEN, PATIENCE, WITHIN, Health, PartTroubles, Troubles, absent

Told = list[OperatorAlert]


def lived(troubles: Troubles, now: int, *moments: tuple[int, Health]) -> Told:
    """What is told while each health holds for so many seconds, a step a second."""
    told = []
    for seconds, health in moments:
        for _ in range(seconds):
            now += SECOND
            alert = troubles.step(now, health, "why")
            told += [alert] if alert is not None else []
    return told


def test_half_a_minute_of_trouble_is_told_once_and_once_when_it_is_over() -> None:
    told = lived(Troubles("kite"), 0, (300, Health.TROUBLED), (60, Health.WELL), (60, Health.WELL))

    assert [(a.over, a.at) for a in told] == [(False, SECOND), (True, SECOND)]
    assert "why" in told[0].text
    assert still_open(told) == []


def test_a_short_trouble_is_nobodys_business() -> None:
    assert lived(Troubles("kite"), 0, (PATIENCE // SECOND, Health.TROUBLED), (60, Health.WELL)) == []


def test_a_line_that_revives_for_a_snapshot_is_the_same_trouble() -> None:
    flapping = [(8, Health.TROUBLED), (CALM // SECOND, Health.WELL)] * 20

    told = lived(Troubles("kite"), 0, *flapping)

    assert [a.over for a in told] == [False]


def test_a_refused_login_is_told_at_once_and_is_critical_whatever_was_told_before() -> None:
    told = lived(Troubles("kite"), 0, (40, Health.TROUBLED), (2000, Health.REFUSED), (20, Health.WELL))

    assert [(a.severity, a.over) for a in told] == [("warning", False), ("critical", False), ("info", True)]
    assert "login needed; why" in told[1].text
    assert still_open(told) == []


def test_an_eviction_is_told_at_once() -> None:
    told = lived(Troubles("flattrade"), 0, (1, Health.EVICTED), (100, Health.TROUBLED))

    assert [a.severity for a in told] == ["warning"]
    assert "another client" in told[0].text


def test_a_night_is_no_trouble_and_does_not_end_one() -> None:
    told = lived(Troubles("kite"), 0, (40, Health.TROUBLED), (3600, Health.RESTING), (40, Health.TROUBLED))

    assert [a.over for a in told] == [False]


def test_closing_by_hand_ends_what_was_open() -> None:
    troubles = Troubles("kite")
    told = lived(troubles, 0, (40, Health.TROUBLED))

    over = troubles.closed()

    assert over is not None
    assert still_open([*told, over]) == []
    assert troubles.closed() is None


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from(list(Health))), max_size=20),
    st.integers(0, 20),
)
def test_a_new_process_goes_on_with_what_the_old_one_told(moments: list[tuple[int, Health]], cut: int) -> None:
    first = Troubles("kite")
    before = lived(first, 0, *moments[:cut])
    now = sum(s for s, _ in moments[:cut]) * SECOND
    second = Troubles("kite", before)

    told = before + lived(second, now, *moments[cut:])

    at_once = [a for k, a in enumerate(told) if not a.over and still_open(told[:k])]
    assert all(a.severity == "critical" for a in at_once)
    assert all(still_open(told[:k]) for k, a in enumerate(told) if a.over)
    numbers = [a.at // 1_000_000 * 2 + a.over for a in told]
    assert numbers == sorted(set(numbers))


def watched(part: PartTroubles, now: int, seconds: int, *, every: int = 0, away: str = "") -> Told:
    """What is told of a part that breaks every so many seconds, or never comes up, looked at once a second."""
    told = []
    for k in range(seconds):
        if every and k % every == 0:
            part.broke(now + k * SECOND, "KeyError: 'polygon'")
        alert = part.step(now + k * SECOND, away)
        told += [alert] if alert is not None else []
    return told


def test_a_part_that_breaks_again_and_again_is_told_once_and_once_when_it_is_over() -> None:
    part = PartTroubles("exchange-b")

    told = watched(part, 0, 80, every=1) + watched(part, 80 * SECOND, (WITHIN + CALM) // SECOND + 1)

    assert [(a.topic, a.over) for a in told] == [("part:exchange-b", False), ("part:exchange-b", True)]
    assert told[0].text == f"exchange-b broke {OFTEN} times within a minute; KeyError: 'polygon'"


def test_a_part_that_breaks_now_and_then_is_nobodys_business() -> None:
    assert watched(PartTroubles("candles-0"), 0, 600, every=WITHIN // SECOND // OFTEN + 4) == []


def test_a_feed_that_never_came_up_is_told_after_half_a_minute_and_called_over_when_it_does() -> None:
    first = watched(PartTroubles("feed-b"), 0, 75, away="connection refused")
    after = watched(PartTroubles("feed-b", first), 75 * SECOND, CALM // SECOND + 1)

    assert [(a.kind, a.severity, a.over) for a in first + after] == [("part", "warning", False), ("part", "info", True)]
    assert "feed-b has never come up: connection refused" in first[0].text


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ({"part": "feed", "state": "DOWN", "market_time": 0, "trouble": "refused"}, "refused"),
        ({"part": "feed", "state": "DOWN", "market_time": 0, "trouble": ""}, "no line yet"),
        ({"part": "feed", "state": "DOWN", "market_time": 0, "trouble": "closed by hand"}, ""),
        ({"part": "feed", "state": "DOWN", "market_time": 5, "trouble": "refused"}, ""),
        ({"part": "feed", "state": "AUTH_REQUIRED", "market_time": 0, "trouble": "login needed"}, ""),
        ({"part": "candles", "market_time": 0, "trouble": ""}, ""),
        ({"part": "feed-b", "name": "feed-b", "trouble": "starting"}, ""),
    ],
)
def test_only_a_feed_that_never_heard_its_market_is_absent(health: dict[str, object], why: str) -> None:
    assert absent(health) == why
