"""What a model sees: hand-computed rows, holes in the candles, and that no row sees a later one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.candles import CANDLE, Provenance
from market.errors import BadValue
from market.models.examples import CHANNELS, LENGTH, decisions, sequences
from market.money import UNKNOWN
from market.sessions import MINUTE
from tests.market.models.lessons import examples_of

RETURN, RANGE, POSITION, VOLUME, QUIET = range(len(CHANNELS))


def candles(n, price=1_000_000):
    """n minutes at one price, of 100 shares in 3 trades each."""
    rows = np.zeros(n, CANDLE)
    rows["start"] = 1_000 * MINUTE + np.arange(n) * MINUTE
    for name in ("open", "high", "low", "close"):
        rows[name] = price
    rows["volume"], rows["trades"], rows["provenance"] = 100, 3, Provenance.LIVE
    return rows


def test_a_sequence_tells_returns_ranges_positions_and_volumes_free_of_the_price():
    rows = candles(LENGTH + 1)
    rows["close"][-1], rows["high"][-1], rows["low"][-1] = 1_010_000, 1_030_000, 990_000
    rows["volume"][-1] = 3300

    newest = sequences(rows)[-1]

    assert newest[-1, RETURN] == pytest.approx(np.log(1.01))
    assert newest[-1, RANGE] == pytest.approx(np.log(103 / 99))
    assert newest[-1, POSITION] == pytest.approx((2 * 101 - 103 - 99) / (103 - 99))
    assert newest[-1, VOLUME] == pytest.approx(np.log1p(3300 / ((31 * 100 + 3300) / 32)))
    assert newest[0].tolist() == pytest.approx([0, 0, 0, np.log1p(100 / 200), 0])


def test_the_first_sequence_stands_where_a_whole_one_with_its_returns_lies_behind():
    made = sequences(candles(LENGTH + 3))

    assert np.isnan(made[:LENGTH]).all()
    assert np.isfinite(made[LENGTH:]).all()
    assert np.isnan(sequences(candles(LENGTH))).all()
    assert sequences(candles(0)).shape == (0, LENGTH, len(CHANNELS))


def test_a_gap_has_no_sequence_and_those_behind_it_are_as_if_it_were_not_there():
    rows = candles(LENGTH + 4)
    rows["close"] += 1000 * np.arange(len(rows)) % 7000
    rows["high"] = rows["close"] + 500
    holed = np.insert(rows, LENGTH + 1, rows[0])
    holed["provenance"][LENGTH + 1] = Provenance.GAP
    for name in ("open", "high", "low", "close", "volume"):
        holed[name][LENGTH + 1] = UNKNOWN

    made = sequences(holed)

    assert np.isnan(made[LENGTH + 1]).all()
    assert np.array_equal(np.delete(made, LENGTH + 1, axis=0), sequences(rows), equal_nan=True)
    some = np.array([LENGTH + 4, 0, LENGTH + 1, LENGTH + 2])
    assert np.array_equal(sequences(holed, some), made[some], equal_nan=True)


def test_a_minute_without_volume_is_quiet_and_a_volume_not_known_does_not_spoil_the_others():
    rows = candles(LENGTH + 1)
    rows["trades"][-2], rows["volume"][-2] = 0, 0
    rows["trades"][-3], rows["volume"][-3] = UNKNOWN, 0
    rows["trades"][-4], rows["volume"][-4] = UNKNOWN, UNKNOWN

    newest = sequences(rows)[-1]

    assert newest[-5:, QUIET].tolist() == [0, 1, 1, 1, 0]
    assert newest[-4:, VOLUME].tolist() == pytest.approx([0, 0, 0, np.log1p(32 / 29)])


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3 * LENGTH))
def test_no_sequence_sees_a_later_candle(seed, cut):
    rng = np.random.default_rng(seed)
    rows = candles(3 * LENGTH)
    rows["close"] += 500 * rng.integers(-20, 20, len(rows))
    rows["high"], rows["low"] = rows["close"] + 500 * rng.integers(0, 9, len(rows)), rows["close"] - 2000
    rows["volume"] = rng.integers(0, 10**7, len(rows))
    rows["provenance"][rng.random(len(rows)) < 0.05] = Provenance.GAP
    rows["start"] += np.where(np.arange(len(rows)) > 40, 1000 * MINUTE, 0)
    live = rows["provenance"][:cut] != Provenance.GAP

    whole, early = sequences(rows)[:cut], sequences(rows[:cut])

    assert np.array_equal(whole, early, equal_nan=True)
    if live[-1] and live.sum() > LENGTH:
        last = np.flatnonzero(live)[-LENGTH - 1 :]
        assert np.array_equal(whole[cut - 1], sequences(rows[last])[-1])


def test_a_decision_falls_at_the_end_of_its_minute():
    assert decisions(candles(2)).tolist() == [1_001 * MINUTE, 1_002 * MINUTE]


def test_columns_are_picked_by_name_and_those_that_lack_are_named():
    rows = examples_of([[1, 2, 3], [4, 5, 6]], ("a", "b", "c"))

    assert rows.columns(("c", "a")).tolist() == [[3, 1], [6, 4]]
    assert rows.columns(("a", "b", "c")) is rows.features
    with pytest.raises(BadValue, match="'d, e'"):
        rows.columns(("a", "d", "e"))


def test_some_examples_keep_what_belongs_to_them():
    rows = examples_of([[1], [2], [3]], ("a",))

    some = rows.take(np.array([False, True, True]))

    assert (some.rows, some.features[:, 0].tolist(), some.at.tolist()) == (2, [2, 3], [MINUTE, 2 * MINUTE])
