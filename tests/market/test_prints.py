"""Prints: trades told one at a time, in the candle fold."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.candles import Provenance
from market.fold import CandleBuilder
from market.kernel import HEARD
from market.money import UNKNOWN
from market.sessions import SECOND, Sessions, session
from market.ticks import FeedState, Flag, Ticks, blank, mark

DAY = session(date(2016, 8, 25))
CALENDAR = Sessions([DAY, session(date(2016, 8, 26))]).table()
OPEN = DAY.open


def builder(*instruments: int) -> CandleBuilder:
    return CandleBuilder(instruments or (0,), CALENDAR)


def told(second: float, price: int, size: int, number: int, flags: int = 0, instrument: int = 0) -> Ticks:
    row = blank(1)
    row["instrument"], row["flags"], row["sequence"] = instrument, Flag.PRINT | flags, number
    row["at"] = row["received"] = OPEN + int(second * SECOND)
    row["price"], row["day_volume"] = price, size
    return row


def live(second: float) -> Ticks:
    return mark(0, FeedState.LIVE, OPEN + int(second * SECOND))


def run(candles: CandleBuilder, *rows: Ticks) -> np.ndarray:
    closed = candles.step(np.concatenate(rows))
    return closed[closed["interval"] == 60]


def fields(row: np.ndarray) -> list[int]:
    return [int(row[name]) for name in ("open", "high", "low", "close", "volume", "trades")]


def test_prints_add_up_and_equal_ones_in_one_instant_are_all_real() -> None:
    candles = builder()

    rows = run(
        candles, live(-15), told(1, 100, 5, 1), told(1, 100, 5, 2), told(1, 100, 5, 3), told(2, 99, 7, 9), live(62)
    )

    assert fields(rows[0]) == [100, 100, 99, 99, 22, 4]
    assert rows["vwap"].tolist() == [round((15 * 100 + 7 * 99) / 22)]
    assert candles.counts["duplicate"] == 0


def test_a_repeat_is_known_by_its_number_however_much_came_between() -> None:
    candles = builder()
    first = [told(k / 10, 100 + k, 3, k) for k in range(100)]

    rows = run(candles, live(-15), *first, *first, told(30, 90, 1, 5), live(62))

    assert fields(rows[0]) == [100, 199, 90, 90, 301, 101]
    assert candles.counts["duplicate"] == 100


def test_prints_that_overtook_each_other_all_count_and_keep_their_place_in_time() -> None:
    candles = builder()

    rows = run(
        candles, live(-15), told(3, 103, 1, 3), told(1, 101, 1, 1), told(2, 99, 1, 2), told(1, 101, 1, 1), live(62)
    )

    assert fields(rows[0]) == [101, 103, 99, 103, 3, 3]
    assert candles.counts["duplicate"] == 1


def test_a_print_stamped_before_all_that_is_remembered_is_late() -> None:
    candles = builder()
    many = [told(10 + k / 100, 100, 1, k) for k in range(HEARD + 1)]

    rows = run(candles, live(-15), *many, told(5, 100, 1, HEARD + 5), told(10, 100, 1, HEARD + 6), live(62))

    assert rows["volume"].tolist() == [HEARD + 2]
    assert candles.counts["late"] == 1


def test_a_print_for_volume_only_sets_no_price() -> None:
    candles = builder()

    rows = run(
        candles, live(-15), told(1, 500, 10, 1, Flag.VOLUME_ONLY), told(2, 100, 5, 2),
        told(3, 9, 1, 3, Flag.VOLUME_ONLY), told(70, 8, 4, 4, Flag.VOLUME_ONLY), live(122),
    )  # fmt: skip

    assert fields(rows[0]) == [100, 100, 100, 100, 16, 1]
    assert fields(rows[1]) == [100, 100, 100, 100, 4, 0]


def test_volume_without_a_price_is_kept_where_nothing_else_traded_and_in_the_longer_candles() -> None:
    candles = builder()

    closed = candles.step(np.concatenate([live(-15), told(1, 500, 10, 1, Flag.VOLUME_ONLY), live(302)]))

    minutes, fives = closed[closed["interval"] == 60], closed[closed["interval"] == 300]
    assert fields(minutes[0]) == [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 10, 0]
    assert minutes["provenance"].tolist() == [Provenance.LIVE] * 5
    assert fives[["volume", "open", "vwap"]].tolist() == [(10, UNKNOWN, 500)]


def test_a_print_for_the_range_only_sets_open_and_close_while_it_stands_alone() -> None:
    candles = builder()

    rows = run(
        candles, live(-15), told(1, 120, 1, 1, Flag.RANGE_ONLY), told(2, 100, 1, 2), told(3, 101, 1, 3),
        told(4, 90, 1, 4, Flag.RANGE_ONLY), told(70, 95, 1, 5, Flag.RANGE_ONLY), live(122),
    )  # fmt: skip

    assert fields(rows[0]) == [100, 120, 90, 101, 4, 4]
    assert fields(rows[1]) == [95, 95, 95, 95, 1, 1]


def test_prints_before_the_open_fold_into_nothing_and_a_new_session_starts_its_numbers_anew() -> None:
    candles = builder()
    tomorrow = 86_400

    first = run(candles, live(-600), told(-300, 99, 1000, 1), told(1, 100, 5, 1), live(62), live(22_600))
    second = run(candles, live(tomorrow - 15), told(tomorrow + 1, 100, 5, 1), live(tomorrow + 62))

    assert first["volume"].sum() == 5 and second["volume"].tolist() == [5]
    assert candles.counts["off_session"] == 1


def test_a_print_of_an_unknown_size_counts_for_prices() -> None:
    rows = run(builder(), live(-15), told(1, 100, UNKNOWN, 1), live(62))

    assert fields(rows[0]) == [100, 100, 100, 100, 0, 1]


PRINTS = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(90, 110), st.integers(1, 50), st.integers(0, 30),
        st.sampled_from([0, Flag.VOLUME_ONLY, Flag.RANGE_ONLY]), st.integers(0, 2),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(PRINTS, st.lists(st.integers(0, 130), max_size=8), st.integers(0, 130), st.randoms(use_true_random=False))
def test_any_cut_restart_and_repeat_of_a_log_of_prints_gives_every_share_once(prints, cuts, restart, random) -> None:  # type: ignore[no-untyped-def]
    rows = [told(*p) for p in prints]
    again = rows + random.sample(rows, len(rows) // 2)
    log = np.concatenate([live(-15), *again, live(430)])
    whole, cut = builder(0, 1, 2), builder(0, 1, 2)

    expected = whole.step(log)
    parts = np.split(log, sorted({min(c, len(log)) for c in [*cuts, restart]}))
    actual, seen = [], 0
    for part in parts:
        if seen == min(restart, len(log)):
            state = cut.snapshot()
            cut = builder(0, 1, 2)
            cut.restore(state)
        actual.append(cut.step(part))
        seen += len(part)

    assert np.concatenate(actual).tobytes() == expected.tobytes() and cut.counts == whole.counts
    real = {(second, price, size, number, instrument) for second, price, size, number, _, instrument in prints}
    in_time = sum(size for second, _, size, _, _ in real if second < 240)
    minutes = expected[(expected["interval"] == 60) & (expected["start"] < OPEN + 240 * SECOND)]
    assert minutes["volume"].sum() == in_time


def test_a_snapshot_with_prints_restores_into_a_larger_universe() -> None:
    small, large = builder(1), builder(0, 1, 2)
    run(small, live(-15), told(1, 100, 5, 7, instrument=1))

    large.restore(small.snapshot())
    rows = run(large, told(1, 100, 5, 7, instrument=1), told(1, 100, 5, 8, instrument=1), live(62))

    assert rows["volume"].tolist() == [0, 10, 0]
    assert large.counts["duplicate"] == 1


@pytest.mark.parametrize("flag", [0, Flag.VOLUME_ONLY, Flag.RANGE_ONLY])
def test_every_kind_of_print_counts_its_volume_once(flag: int) -> None:
    rows = run(builder(), live(-15), told(1, 100, 5, 1, flag), told(1, 100, 5, 1, flag), live(62))

    assert rows["volume"].tolist() == [5]


def test_prints_for_nobody_here_are_foreign() -> None:
    nobody = CandleBuilder([], CALENDAR)

    nobody.step(np.concatenate([live(-15), told(1, 100, 5, 1), live(62)]))

    assert nobody.counts["foreign"] == 1
