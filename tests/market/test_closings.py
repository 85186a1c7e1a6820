"""Closings: what is due follows from the logs, whatever order they were read in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market.candles import CANDLE, Candles, Provenance
from market.closings import Closings, Step
from market.sessions import MINUTE

MEMBERS = {0: (0, 3), 1: (1,), 2: (2, 4, 5)}


def minute(partition: int, slot: int, *, revision: int = 0, interval: int = 60, **fields: int) -> Candles:
    """The candles of a partition's instruments of minute `slot`, which starts at slot * MINUTE."""
    rows = np.zeros(len(MEMBERS[partition]), CANDLE)
    rows["instrument"], rows["interval"], rows["start"] = MEMBERS[partition], interval, slot * MINUTE
    rows["revision"], rows["provenance"], rows["session"] = revision, Provenance.LIVE, 7
    for name, value in fields.items():
        rows[name] = value
    return rows


def drain(closings: Closings) -> list[Step]:
    return list(iter(closings.next, None))


def told(steps: Iterable[Step]) -> list[tuple[int, int, list[int], tuple[int, ...], bool]]:
    """Entry, minute, instruments, what is missing, whether the entry ends."""
    return [(s.entry, s.start // MINUTE, s.rows["instrument"].tolist(), s.missing, s.ends) for s in steps]


def slots(step: Step) -> list[tuple[int, int, int]]:
    """Instrument, minute and revision of a step's rows."""
    names = ("instrument", "start", "revision")
    return [(i, start // MINUTE, revision) for i, start, revision in zip(*(step.rows[n].tolist() for n in names))]  # noqa: B905


def test_a_minute_is_due_when_every_partition_has_closed_it() -> None:
    closings = Closings(0, [1, 2])

    closings.add(0, 10, minute(0, 5))
    closings.add(1, 11, minute(1, 5))
    before = drain(closings), closings.waits_for, closings.waiting
    closings.add(2, 12, minute(2, 5))

    assert before == ([], [2], 1)
    assert told(drain(closings)) == [(10, 5, [0, 1, 2, 3, 4, 5], (), True)]
    assert (closings.waits_for, closings.waiting) == ([], 0)


def test_a_partition_that_has_closed_a_later_minute_never_had_this_one() -> None:
    closings = Closings(0, [1])

    closings.add(0, 10, minute(0, 5))
    closings.add(1, 11, minute(1, 6))

    assert told(drain(closings)) == [(10, 5, [0, 3], (), True)]


def test_minutes_that_only_others_have_come_with_our_next() -> None:
    closings = Closings(0, [1])

    closings.add(1, 9, minute(1, 4))
    closings.add(1, 11, minute(1, 5))
    closings.add(0, 10, minute(0, 5))

    (step,) = drain(closings)
    assert slots(step) == [(0, 5, 0), (1, 4, 0), (1, 5, 0), (3, 5, 0)]


def test_a_correction_comes_with_the_minute_behind_it_in_its_own_log() -> None:
    closings = Closings(0, [1])

    for partition, entry, rows in [
        (0, 10, minute(0, 5)),
        (1, 20, minute(1, 5)),
        (1, 21, minute(1, 5, revision=1)),
        (0, 11, minute(0, 5, revision=1)),
        (1, 22, minute(1, 6)),
        (0, 12, minute(0, 6)),
        (0, 13, minute(0, 6, revision=1)),
    ]:
        closings.add(partition, entry, rows)

    first, second = drain(closings)
    assert slots(first) == [(0, 5, 0), (1, 5, 0), (3, 5, 0)]
    assert slots(second) == [(0, 5, 1), (0, 6, 0), (1, 5, 1), (1, 6, 0), (3, 5, 1), (3, 6, 0)]


def test_an_entry_with_several_minutes_and_a_revision_gives_them_one_by_one() -> None:
    closings = Closings(0, [])

    rows = [minute(0, 4), minute(0, 0, interval=300), minute(0, 4, revision=1), minute(0, 5), minute(0, 5, revision=1)]
    closings.add(0, 10, np.concatenate(rows))

    assert [(s.start // MINUTE, len(s.rows), s.ends) for s in drain(closings)] == [(4, 4, False), (5, 4, True)]


def test_official_candles_close_nothing_and_reach_nobody() -> None:
    closings = Closings(0, [])

    closings.add(0, 10, minute(0, 0, interval=86400, revision=1, provenance=Provenance.OFFICIAL))
    closings.add(0, 11, minute(0, 5))

    assert told(drain(closings)) == [(11, 5, [0, 3], (), True)]


def test_a_partition_that_lags_too_far_is_not_waited_for_and_what_was_decided_binds() -> None:
    rows = [(0, 10, minute(0, 5)), (0, 11, minute(0, 6)), (0, 12, minute(0, 7)), (1, 13, minute(1, 5))]
    closings, successor = Closings(0, [1], 2 * MINUTE), Closings(0, [1], None, {5 * MINUTE: (1,)})

    for one in rows[:3]:
        closings.add(*one)
    steps = drain(closings)
    closings.add(*rows[3])
    for one in [rows[3], *rows[:3]]:
        successor.add(*one)

    assert told(steps) == [(10, 5, [0, 3], (1,), True)]
    assert (closings.given_up, closings.late, closings.waits_for) == ({5 * MINUTE: (1,)}, 1, [1])
    assert told(drain(successor)) == told(steps)


def test_what_came_too_late_comes_with_the_next_minute_its_partition_is_in_time_for() -> None:
    closings = Closings(0, [1], None, {5 * MINUTE: (1,)})

    for slot in (5, 6):
        closings.add(0, slot, minute(0, slot))
        closings.add(1, slot, minute(1, slot))

    first, second = drain(closings)
    assert slots(first) == [(0, 5, 0), (3, 5, 0)]
    assert slots(second) == [(0, 6, 0), (1, 5, 0), (1, 6, 0), (3, 6, 0)]


LOGS = {
    0: [minute(0, 1), minute(0, 2), minute(0, 2, revision=1), np.concatenate([minute(0, 3), minute(0, 4)])],
    1: [np.concatenate([minute(1, 1), minute(1, 2)]), minute(1, 3), minute(1, 4), minute(1, 3, revision=1)],
    2: [minute(2, 2), np.concatenate([minute(2, 2, revision=1), minute(2, 3), minute(2, 4)])],
}
ORDER = [partition for partition, log in LOGS.items() for _ in log]


@given(st.permutations(ORDER), st.sets(st.integers(0, len(ORDER))))
def test_what_is_due_does_not_depend_on_how_the_logs_were_mixed_or_cut(order: list[int], pauses: set[int]) -> None:
    closings, undisturbed = Closings(0, [1, 2]), Closings(0, [1, 2])
    for partition, log in LOGS.items():
        for k, rows in enumerate(log):
            undisturbed.add(partition, k, rows)
    expected = drain(undisturbed)

    read, steps = dict.fromkeys(LOGS, 0), []
    for place, partition in enumerate(order):
        closings.add(partition, read[partition], LOGS[partition][read[partition]])
        read[partition] += 1
        steps += drain(closings) if place in pauses else []
    steps += drain(closings)

    assert told(steps) == told(expected)
    assert [s.rows.tobytes() for s in steps] == [s.rows.tobytes() for s in expected]
    assert [s.start // MINUTE for s in expected] == [1, 2, 3, 4]
