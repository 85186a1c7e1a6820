"""Signals: what begins one, what ends it, and that a flat market does not flap."""

from __future__ import annotations

from datetime import date, time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from market.errors import BadPayload, BadValue
from market.money import UNKNOWN, money
from market.predictions import Abstained
from market.sessions import MINUTE, Sessions, session
from market.signals import SCORED, Action, Reason, Rules, Scored, SignalMachine, Signals

DAY = session(date(2016, 8, 25))
TABLE = Sessions([DAY]).table()
NAN = float("nan")


def machine(count: int = 1, **rules: Any) -> SignalMachine:
    """A machine whose strength is the prediction's alone: 2 p - 1."""
    return SignalMachine(count, TABLE, Rules(**{"weight": 1.0, **rules}))


def scored(minute: int, *predictions: float, **fields: Any) -> Scored:
    """One row for each prediction, of instruments 0, 1, ..., at the end of a minute of the day."""
    rows = np.zeros(len(predictions), SCORED)
    rows["instrument"] = np.arange(len(predictions))
    rows["at"] = DAY.open + minute * MINUTE
    rows["ltp"], rows["atr"], rows["version"] = money("100"), 0.001, b"direction-15m@3"
    rows["prediction"] = predictions
    rows["confidence"] = np.abs(2 * rows["prediction"] - 1)
    rows["low"], rows["high"] = -0.01, 0.02
    for name, value in fields.items():
        rows[name] = value
    return rows


def day(signals: SignalMachine, predictions: list[float], **fields: Any) -> Signals:
    """One instrument's predictions minute by minute, from the first on."""
    return np.concatenate([signals.step(scored(k, p, **fields)) for k, p in enumerate(predictions, 1)])


def told(rows: Signals) -> list[tuple[int, str, str]]:
    """Minute of the day, action and reason of each signal."""
    return [
        (int(r["at"] - DAY.open) // MINUTE, Action(int(r["action"])).name, Reason(int(r["reason"])).name) for r in rows
    ]


def test_a_signal_carries_what_to_do_and_what_it_knew() -> None:
    (row,) = machine(weight=0.75).step(scored(1, 0.7, composite=4.0))

    # 0.75 x 0.4 + 0.25 x 4/5; the stop 1.5 x 0.001 x sqrt(15) under 100 rupees; 0.005 x 0.4 over that distance
    assert row["strength"] == pytest.approx(0.5)
    assert row["stop"] == 994_191 and row["price"] == 1_000_000
    assert row["size"] == pytest.approx(0.1) and row["expires"] == DAY.open + 16 * MINUTE
    assert (row["version"], row["horizon"]) == (b"direction-15m@3", b"15m")
    known = {"prediction": 0.7, "confidence": 0.4, "low": -0.01, "high": 0.02, "composite": 4.0, "atr": 0.001}
    assert {name: pytest.approx(float(row[name])) for name in known} == known


def test_the_stop_of_a_sale_is_above_and_its_size_follows_confidence_and_range() -> None:
    (row,) = machine().step(scored(1, 0.35, atr=0.004))

    # 1.5 x 0.004 x sqrt(15) = 0.023238; 0.005 x 0.3 / 0.023238
    assert (row["action"], row["stop"]) == (Action.SELL, 1_023_238)
    assert row["size"] == pytest.approx(0.06455, abs=1e-5)


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ([0.59, 0.41, 0.59], []),
        ([0.60], [(1, "BUY", "ENTERED")]),
        ([0.60, 0.53, 0.53, 0.53, 0.53, 0.53, 0.53], [(1, "BUY", "ENTERED")]),
        ([0.60, 0.51, 0.51, 0.51, 0.51, 0.51], [(1, "BUY", "ENTERED"), (6, "HOLD", "WEAKENED")]),
        ([0.39, 0.65, 0.65, 0.65, 0.65, 0.65], [(1, "SELL", "ENTERED"), (6, "BUY", "REVERSED")]),
        ([0.60] * 16, [(1, "BUY", "ENTERED"), (16, "BUY", "RENEWED")]),
    ],
)
def test_a_signal_begins_at_enter_and_ends_below_leave(
    predictions: list[float], expected: list[tuple[int, str, str]]
) -> None:
    assert told(day(machine(), predictions)) == expected


@pytest.mark.parametrize("why", [Abstained.STALE, Abstained.OUT_OF_RANGE, Abstained.NO_MODEL])
def test_an_abstention_ends_in_hold_at_once_and_says_why(why: Abstained) -> None:
    signals = machine()
    signals.step(scored(1, 0.7))

    (row,) = signals.step(scored(2, NAN, abstained=why))

    assert (row["action"], row["reason"], row["abstained"]) == (Action.HOLD, Reason.ABSTAINED, why)
    assert (row["size"], row["stop"], row["expires"]) == (0, UNKNOWN, UNKNOWN)
    assert not len(signals.step(scored(3, NAN, abstained=why)))


def test_a_score_that_is_not_known_is_an_abstention() -> None:
    signals = machine(weight=0.75)

    made = [signals.step(scored(1, 0.9, composite=5.0)), signals.step(scored(2, 0.9, composite=NAN))]

    assert told(np.concatenate(made)) == [(1, "BUY", "ENTERED"), (2, "HOLD", "ABSTAINED")]


def test_an_instrument_of_which_nothing_is_heard_is_held() -> None:
    signals = machine(2)
    signals.step(scored(1, 0.7, 0.7))

    made = [signals.step(scored(minute, 0.7)) for minute in (2, 3, 4, 5, 6)]

    assert [told(rows) for rows in made] == [[], [], [], [(5, "HOLD", "STALE")], []]
    assert made[3]["instrument"] == [1] and made[3]["price"] == money("100")


def test_what_was_heard_of_again_after_too_long_is_held_first() -> None:
    signals = machine()
    signals.step(scored(1, 0.7))

    assert told(signals.step(scored(8, 0.7))) == [(8, "HOLD", "STALE")]


def test_a_price_at_the_stop_ends_it_and_it_rests_before_it_begins_again() -> None:
    signals = machine()
    signals.step(scored(1, 0.7))

    made = [signals.step(scored(minute, 0.7, ltp=994_191)) for minute in range(2, 8)]

    assert told(np.concatenate(made)) == [(2, "HOLD", "STOPPED"), (7, "BUY", "ENTERED")]


def test_no_signal_reaches_past_the_close() -> None:
    signals = machine()

    made = [signals.step(scored(minute, 0.7)) for minute in range(358, 376)]

    assert told(np.concatenate(made)) == [(358, "BUY", "ENTERED"), (373, "HOLD", "CLOSING")]


def test_without_a_range_there_is_no_signal() -> None:
    assert not len(machine().step(scored(1, 0.9, atr=NAN)))
    assert told(day(machine(), [0.7])) == [(1, "BUY", "ENTERED")]


def test_a_minute_that_was_decided_is_not_decided_again() -> None:
    signals = machine()
    signals.step(scored(2, 0.7))

    assert not len(signals.step(np.concatenate([scored(1, 0.2), scored(2, 0.2)])))
    assert signals.late == 2 and signals.standing().tolist() == [Action.BUY]


def test_an_instrument_nobody_knows_is_refused() -> None:
    with pytest.raises(BadValue):
        machine().step(scored(1, 0.5, 0.5))


@pytest.mark.parametrize("rules", [{"horizon": "1d"}, {"horizon": "2h"}, {"enter": 0.1, "leave": 0.1}])
def test_rules_that_cannot_work_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Rules(**rules)


def test_a_snapshot_of_other_instruments_is_refused() -> None:
    with pytest.raises(BadPayload):
        machine(2).restore(machine(3).snapshot())


@given(st.lists(st.floats(0.526, 0.599), min_size=1, max_size=120), st.booleans())
def test_noise_inside_the_band_changes_nothing(noise: list[float], standing: bool) -> None:
    signals = machine()
    if standing:
        signals.step(scored(0, 0.7))

    rows = day(signals, noise)

    assert not len(rows[rows["reason"] != Reason.RENEWED])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 15))
def test_whatever_comes_a_signal_begins_or_turns_at_most_once_in_the_dwell(noise: list[float], dwell: int) -> None:
    rows = day(machine(dwell_minutes=dwell), noise)

    changes = rows["at"][rows["reason"] != Reason.RENEWED]
    assert (np.diff(changes) >= dwell * MINUTE).all()
    assert len(changes) <= -(-len(noise) // dwell)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(*[st.floats(0, 1) | st.just(NAN)] * 3), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_whoever_goes_on_from_a_snapshot_gives_the_same_signals(
    minutes: list[tuple[float, float, float]], cuts: list[int]
) -> None:
    rows = [scored(k, *each, abstained=np.isnan(each)) for k, each in enumerate(minutes)]
    whole = machine(3).step(np.concatenate(rows))

    parts, kept = [], machine(3).snapshot()
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for first, last in pairwise(edges):
        again = machine(3)
        again.restore(kept)
        parts.append(again.step(np.concatenate(rows[first:last])))
        kept = again.snapshot()

    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_rules_hold_for_a_session_that_ends_early() -> None:
    short = session(DAY.date, closes=time(9, 30))
    signals = SignalMachine(1, Sessions([short]).table(), Rules(weight=1.0))

    assert told(signals.step(scored(0, 0.7))) == [(0, "BUY", "ENTERED")]
    assert not len(SignalMachine(1, Sessions([short]).table(), Rules(weight=1.0)).step(scored(1, 0.7)))
