"""Windows: the candles of the running sessions."""

from datetime import date, time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.candles import CANDLE, newest_revisions
from market.errors import BadValue
from market.sessions import MINUTE, Sessions, day_number, session
from market.windows import CandleWindow

DAYS = [session(date(2016, 8, d)) for d in (23, 24, 25)]
MUHURAT = session(date(2016, 10, 30), time(18, 30), time(19, 30))
SESSIONS = Sessions([*DAYS, MUHURAT])
EVER = (0, 2**62)


def candle(instrument: int, minute: int, revision: int = 0, day=DAYS[2], interval: int = 60) -> np.ndarray:
    row = np.zeros(1, CANDLE)
    row["instrument"], row["interval"], row["start"] = instrument, interval, day.open + minute * MINUTE
    row["close"], row["session"], row["revision"] = 1000 * minute + revision, day_number(day.date), revision
    return row


def window(*rows: np.ndarray, count: int = 3, kept: int = 2) -> CandleWindow:
    held = CandleWindow(count, SESSIONS, kept)
    held.add(np.concatenate(rows))
    return held


def minutes(rows: np.ndarray, day=DAYS[2]) -> list[int]:
    return ((rows["start"] - day.open) // MINUTE).tolist()


def test_candles_are_read_by_time_whatever_order_they_came_in():
    held = window(candle(1, 7), candle(1, 0), candle(2, 3), candle(1, 374))

    assert minutes(held.read(1, 60, *EVER)) == [0, 7, 374]


def test_a_newer_revision_replaces_and_an_older_one_does_not():
    held = window(candle(0, 5, revision=2), candle(0, 5, revision=1))
    added = held.add(candle(0, 5, revision=3))

    assert added == 1 and held.read(0, 60, *EVER)["revision"].tolist() == [3]
    assert held.add(candle(0, 5, revision=1)) == 0


def test_the_range_takes_its_start_and_leaves_its_end():
    held = window(*[candle(0, n) for n in range(10)])
    opens = DAYS[2].open

    assert minutes(held.read(0, 60, opens + 2 * MINUTE, opens + 5 * MINUTE)) == [2, 3, 4]
    assert minutes(held.read(0, 60, opens + 2 * MINUTE + 1, opens + 5 * MINUTE + 1)) == [3, 4, 5]
    assert len(held.read(0, 60, opens + 5 * MINUTE, opens + 2 * MINUTE)) == 0


def test_a_limit_takes_the_newest_over_sessions():
    rows = [candle(0, 373, day=DAYS[1]), candle(0, 374, day=DAYS[1]), candle(0, 0), candle(0, 1)]

    read = window(*rows).read(0, 60, *EVER, limit=3)

    assert read["start"].tolist() == [r["start"][0] for r in rows[1:]]
    assert len(window(*rows).read(0, 60, *EVER, limit=0)) == 0


def test_only_the_newest_sessions_are_kept():
    held = window(candle(0, 0, day=DAYS[0]), candle(0, 0, day=DAYS[1]))
    before = held.bytes
    held.add(candle(0, 0, day=DAYS[2]))
    held.add(candle(0, 1, day=DAYS[0]))

    assert held.sessions == [day_number(d.date) for d in DAYS[1:]]
    assert held.bytes == before and held.misplaced == 1


def test_a_session_of_an_hour_has_its_own_slots():
    held = window(candle(0, 59, day=MUHURAT), candle(0, 60, day=MUHURAT), candle(0, 0, day=MUHURAT, interval=86400))

    assert len(held.read(0, 60, *EVER)) == 1 and held.misplaced == 1
    assert len(held.read(0, 86400, *EVER)) == 1


def test_what_has_no_place_is_counted_and_left_out():
    odd, unknown, stranger = candle(0, 1), candle(0, 1), candle(9, 1)
    odd["start"] += 1
    unknown["session"] = 1

    held = window(odd, unknown, stranger, candle(0, -1))

    assert held.misplaced == 4 and len(held.read(0, 60, *EVER)) == 0


def test_an_interval_there_is_none_of_is_a_bad_value():
    with pytest.raises(BadValue, match="60, 300, 900"):
        window(candle(0, 0)).read(0, 61, *EVER)


def test_candles_of_each_instrument_are_counted():
    held = window(candle(0, 0), candle(0, 1), candle(2, 1), candle(0, 0, interval=300))

    assert held.counts(60, day_number(DAYS[2].date)).tolist() == [2, 0, 1]
    assert held.counts(900, day_number(DAYS[2].date)).tolist() == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 4)), min_size=1, max_size=60))
def test_a_window_holds_the_newest_revisions(keys):
    rows = np.concatenate([candle(*key) for key in keys])
    held = window(rows)

    read = np.concatenate([held.read(i, 60, *EVER) for i in range(3)])

    assert read.tobytes() == newest_revisions(np.unique(rows)).tobytes()
