"""Quotes: the latest of every instrument."""

import itertools
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.candles import CANDLE, Provenance
from market.money import UNKNOWN
from market.quotes import Quotes, change
from market.sessions import DAY, MINUTE, SECOND, Sessions, day_number, session
from market.ticks import FeedState, Flag, Kind, blank, mark

TODAY = session(date(2016, 8, 25))
YESTERDAY = session(date(2016, 8, 24))
HOURS = Sessions([YESTERDAY, TODAY]).table()


def tick(instrument: int, at: int, price: int, source: int = 0, volume: int = UNKNOWN) -> np.ndarray:
    row = blank(1)
    row["instrument"], row["source"], row["at"], row["received"] = instrument, source, at, at
    row["price"], row["day_volume"], row["bid"], row["ask"] = price, volume, price - 5, price + 5
    return row


def close(instrument: int, at: int, price: int) -> np.ndarray:
    row = tick(instrument, at, price)
    row["kind"] = Kind.CLOSE
    return row


def candle(instrument: int, start: int, prices: tuple[int, int, int, int], trades: int = 1) -> np.ndarray:
    row = np.zeros(1, CANDLE)
    row["instrument"], row["interval"], row["start"] = instrument, 60, start
    row["open"], row["high"], row["low"], row["close"] = prices
    row["trades"], row["session"], row["provenance"] = trades, (start + 330 * MINUTE) // DAY, Provenance.LIVE
    return row


def quotes(*rows: np.ndarray, count: int = 3) -> Quotes:
    made = Quotes(count, HOURS)
    made.update(np.concatenate(rows))
    return made


def test_the_last_row_to_arrive_is_the_quote():
    held = quotes(tick(0, TODAY.open, 100), tick(1, TODAY.open, 900), tick(0, TODAY.open + 1, 110, volume=7))

    first, second, third = held.read([0, 1, 2])

    assert (first["price"], first["day_volume"], first["bid"], first["ask"]) == (110, 7, 105, 115)
    assert second["price"] == 900 and first["session"] == day_number(TODAY.date)
    assert third["price"] == UNKNOWN and third["session"] == -1


def test_open_high_and_low_are_of_continuous_trading():
    held = quotes(
        tick(0, TODAY.preopen, 500), tick(0, TODAY.open, 100), tick(0, TODAY.open + 1, 90), tick(0, TODAY.open + 2, 95)
    )

    row = held.read([0])[0]

    assert (row["open"], row["high"], row["low"], row["price"]) == (100, 100, 90, 95)


def test_a_new_session_starts_its_own_high_and_an_old_tick_changes_nothing():
    held = quotes(tick(0, YESTERDAY.open, 1000), tick(0, TODAY.open, 100), tick(0, YESTERDAY.open + 1, 2000))

    row = held.read([0])[0]

    assert (row["price"], row["high"], row["close"]) == (100, 100, 1000)


def test_a_vendors_close_stands_over_the_last_price_of_the_day_before():
    stated = close(0, YESTERDAY.open, 1010)
    stated["received"] = TODAY.preopen
    held = quotes(tick(0, YESTERDAY.open, 1000), stated, tick(0, TODAY.open, 1111))

    row = held.read([0])
    moved, percent = change(row)

    assert row["close"][0] == 1010
    assert moved[0] == 101 and percent[0] == pytest.approx(10.0)


def test_change_is_unknown_without_a_previous_close():
    moved, percent = change(quotes(tick(0, TODAY.open, 100)).read([0, 1]))

    assert moved.tolist() == [UNKNOWN, UNKNOWN] and np.isnan(percent).all()


def test_age_is_market_time_less_the_trade_and_makes_stale():
    live = mark(0, FeedState.LIVE, TODAY.open + 10 * SECOND)
    held = quotes(live, tick(0, TODAY.open, 100), tick(1, TODAY.open + 9 * SECOND, 5))

    rows = held.read([0, 1, 2])

    assert held.age(rows).tolist() == [10 * SECOND, SECOND, UNKNOWN]
    assert held.stale(rows, 5 * SECOND).tolist() == [True, False, True]


@pytest.mark.parametrize("state", [FeedState.MUTE, FeedState.DOWN])
def test_all_quotes_of_a_feed_that_is_not_live_are_stale(state):
    held = quotes(tick(0, TODAY.open, 100), mark(0, state, TODAY.open, TODAY.open - SECOND))

    assert held.stale(held.read([0]), DAY).tolist() == [True]
    assert held.feeds[0].state is state and held.feeds[0].since == TODAY.open - SECOND


def test_a_standbys_ticks_count_only_after_the_switch():
    switch = mark(1, FeedState.ACTIVE, TODAY.open)
    standby = [tick(0, TODAY.open, 555, source=1), switch, tick(1, TODAY.open, 7, source=1)]
    held = quotes(tick(0, TODAY.open, 100), *standby)

    assert held.read([0, 1])["price"].tolist() == [100, 7]
    assert held.standby == 1 and held.active == 1


def test_only_what_changed_is_told():
    held = quotes(tick(0, TODAY.open, 100), tick(1, TODAY.open, 100))
    seen = held.version
    held.update(tick(1, TODAY.open + 1, 101))

    assert held.changed(np.array([0, 1, 2]), seen).tolist() == [1]


def test_candles_tell_what_went_by_before_we_listened():
    held = quotes(tick(0, TODAY.open + 5 * MINUTE, 100))
    minutes = [candle(0, TODAY.open + MINUTE, (95, 120, 94, 96)), candle(0, TODAY.open, (98, 99, 80, 95))]
    held.learn(np.concatenate([*minutes, candle(0, YESTERDAY.close - MINUTE, (70, 71, 69, 70))]))

    row = held.read([0])[0]

    assert (row["open"], row["high"], row["low"], row["price"], row["close"]) == (98, 120, 80, 100, 70)


def test_candles_stand_in_for_a_quote_nobody_ticked():
    held = Quotes(1, HOURS)
    held.learn(np.concatenate([candle(0, YESTERDAY.open, (1, 2, 1, 2)), candle(0, TODAY.open, (3, 5, 3, 4))]))
    held.learn(candle(0, TODAY.open + MINUTE, (4, 4, 4, 4), trades=0))

    row = held.read([0])[0]

    assert (row["price"], row["at"], row["high"], row["close"]) == (4, TODAY.open + MINUTE - 1, 5, 2)


def test_the_open_is_the_first_minutes_however_many_follow_and_whatever_is_repaired():
    held = Quotes(1, HOURS)
    for k, price in enumerate((10, 11, 12)):
        held.learn(candle(0, TODAY.open + k * MINUTE, (price, price, price, price)))
    held.learn(candle(0, TODAY.open + MINUTE, (15, 16, 9, 15)))

    row = held.read([0])[0]

    assert (row["open"], row["high"], row["low"], row["price"]) == (10, 16, 9, 12)


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3 * 86400), st.integers(1, 10**6)), max_size=40)


@given(ROWS, st.lists(st.integers(0, 40), max_size=5))
def test_quotes_do_not_depend_on_how_the_log_is_cut(rows, cuts):
    log = [tick(i, YESTERDAY.open + s * SECOND, p) for i, s, p in rows]
    whole = quotes(blank(0), *log)
    bounds = sorted({0, len(log), *(c for c in cuts if c <= len(log))})
    cut = Quotes(3, HOURS)
    for begin, end in itertools.pairwise(bounds):
        cut.update(np.concatenate(log[begin:end]))

    names = [n for n in whole.read([0]).dtype.names if n not in ("version", "padding")]
    for row, expected in zip(cut.read([0, 1, 2]), whole.read([0, 1, 2]), strict=True):
        assert [row[n] for n in names] == [expected[n] for n in names]


@given(ROWS)
def test_a_quote_is_what_a_walk_through_the_rows_finds(rows):
    held = quotes(blank(0), *[tick(i, YESTERDAY.open + s * SECOND, p) for i, s, p in rows])

    for instrument in range(3):
        walked = None
        for who, seconds, price in rows:
            day = (YESTERDAY.open + seconds * SECOND + 330 * MINUTE) // DAY
            if who == instrument and (walked is None or day >= walked[0]):
                walked = (day, price)
        row = held.read([instrument])[0]
        assert (row["session"], row["price"]) == (walked or (-1, UNKNOWN))


def test_a_tick_stamped_far_ahead_of_market_time_does_not_freeze_the_quote() -> None:
    quotes = Quotes(1)
    opened = 1_472_096_700_000_000_000
    rows = blank(2)
    rows["at"] = [opened + 86_400_000_000_000, opened]
    rows["price"] = [999, 100]

    quotes.update(np.concatenate([mark(0, FeedState.LIVE, opened), rows]))

    assert quotes.read([0])["price"].tolist() == [100]


def test_what_a_standby_told_last_is_the_quote_once_it_is_the_active_feed() -> None:
    at = TODAY.open
    held = quotes(tick(0, at, 100, volume=5), tick(1, at + 2, 200, volume=9))
    held.update(np.concatenate([tick(0, at + 3, 103, 1, 8), tick(1, at + 1, 199, 1, 8)]))
    before = held.read([0])["price"].tolist()

    held.update(mark(1, FeedState.ACTIVE, at + 4, incarnation=4))
    taken = held.read([0, 1])["price"].tolist()
    held.update(mark(0, FeedState.ACTIVE, at + 3, incarnation=3))

    assert (before, taken) == ([100], [103, 200])
    assert held.active == 1


def told(second: float, price: int, size: int, number: int, flags: int = 0, instrument: int = 0) -> np.ndarray:
    row = blank(1)
    row["instrument"], row["flags"], row["sequence"] = instrument, Flag.PRINT | flags, number
    row["at"] = row["received"] = TODAY.open + int(second * SECOND)
    row["price"], row["day_volume"] = price, size
    return row


def day(quote: np.void) -> list[int]:
    return [int(quote[name]) for name in ("price", "open", "high", "low", "day_volume")]


def test_the_volume_of_prints_is_their_sum_and_a_repeat_counts_once():
    held = quotes(told(1, 100, 5, 1), told(1, 100, 5, 2), told(2, 101, 3, 3), tick(1, TODAY.open, 9, volume=70))

    held.update(np.concatenate([told(1, 100, 5, 1), told(2, 101, 3, 3), told(1.5, 99, 1, 4)]))

    assert day(held.read([0])[0]) == [99, 100, 101, 99, 14]
    assert held.read([1])["day_volume"].tolist() == [70]


def test_prints_that_set_no_price_leave_it_and_count():
    held = quotes(told(1, 100, 5, 1), told(2, 500, 7, 2, Flag.VOLUME_ONLY), told(3, 90, 2, 3, Flag.RANGE_ONLY))

    assert day(held.read([0])[0]) == [100, 100, 100, 90, 14]


def test_volume_alone_changes_a_quote_and_invents_no_price():
    held = quotes(told(1, 500, 7, 1, Flag.VOLUME_ONLY), told(2, 500, 3, 2, Flag.VOLUME_ONLY, instrument=1))
    before = held.version

    held.update(told(3, 500, 1, 2, Flag.VOLUME_ONLY))

    assert day(held.read([0])[0]) == [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 8]
    assert held.changed(np.array([0, 1]), before).tolist() == [0]


def test_who_listens_from_the_middle_learns_the_volume_from_the_candles():
    held, minute = quotes(told(90, 100, 5, 1), told(125, 101, 2, 2), told(-60, 99, 1000, 3)), np.zeros(0, CANDLE)
    for k, volume in enumerate((40, 30)):
        row = candle(0, TODAY.open + k * MINUTE, (100, 100, 100, 100))
        row["volume"] = volume
        minute = np.concatenate([minute, row])

    held.learn(minute)
    held.learn(minute)
    held.update(np.concatenate([told(100, 100, 9, 4), told(126, 100, 1, 5)]))

    assert held.read([0])["day_volume"].tolist() == [40 + 30 + 2 + 1 + 1000]


def test_a_new_day_sums_prints_anew():
    yesterday = told(1, 100, 5, 1)
    yesterday["at"] -= DAY

    held = quotes(yesterday, told(1, 100, 6, 1))

    assert held.read([0])[["day_volume", "close"]].tolist() == [(6, 100)]


PRINTS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(90, 110), st.integers(1, 9), st.integers(0, 9),
              st.sampled_from([0, Flag.VOLUME_ONLY, Flag.RANGE_ONLY]), st.integers(0, 2)),
    max_size=40,
)  # fmt: skip


@given(PRINTS, st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_any_cut_and_any_repeats_of_prints_give_every_share_once(prints, cuts, random):
    rows = [told(*p) for p in prints]
    log = np.concatenate([*rows, *random.sample(rows, len(rows) // 2), blank(0)])
    held = Quotes(3, HOURS)

    for part in np.split(log, sorted({min(c, len(log)) for c in cuts})):
        held.update(part)

    for instrument in {p[-1] for p in prints}:
        real = {p[:4] for p in prints if p[-1] == instrument}
        assert held.read([instrument])["day_volume"].tolist() == [sum(size for _, _, size, _ in real)]
