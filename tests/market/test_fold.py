"""The candle fold, rule by rule, and what must hold for any log."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.candles import CANDLE, Provenance
from market.errors import BadPayload
from market.fold import CandleBuilder
from market.money import UNKNOWN
from market.sessions import SECOND, Sessions, session
from market.ticks import FeedState, Ticks, blank, mark

DAY = session(date(2016, 8, 25))
CALENDAR = Sessions([DAY, session(date(2016, 8, 26))]).table()
OPEN = DAY.open


def builder(*instruments: int) -> CandleBuilder:
    return CandleBuilder(instruments or (0,), CALENDAR)


def tick(second: float, price: int, volume: int = UNKNOWN, instrument: int = 0, source: int = 0) -> Ticks:
    row = blank(1)
    row["instrument"], row["source"] = instrument, source
    row["at"] = row["received"] = OPEN + int(second * SECOND)
    row["price"], row["day_volume"] = price, volume
    return row


def live(second: float, source: int = 0, since: float | None = None) -> Ticks:
    return state(FeedState.LIVE, second, since, source)


def state(what: FeedState, second: float, since: float | None = None, source: int = 0) -> Ticks:
    began = None if since is None else OPEN + int(since * SECOND)
    return mark(source, what, OPEN + int(second * SECOND), began)


def marks(first: int, last: int) -> list[Ticks]:
    return [live(s) for s in range(first, last + 1)]


def run(candles: CandleBuilder, *rows: Ticks) -> np.ndarray:
    return candles.step(np.concatenate(rows))


def minutes(rows: np.ndarray) -> np.ndarray:
    return rows[rows["interval"] == 60]


def test_a_minute_closes_when_the_mark_less_the_grace_passes_its_end() -> None:
    candles = builder()

    before = run(candles, live(-15), tick(0, 100, 5), tick(30, 104, 9), live(61))
    after = run(candles, live(62))

    assert len(before) == 0
    row = minutes(after)[0]
    assert [row[n] for n in ("start", "open", "high", "low", "close", "volume", "trades")] == [
        OPEN,
        100,
        104,
        100,
        104,
        9,
        2,
    ]
    assert row["vwap"] == round((5 * 100 + 4 * 104) / 9)
    assert row["completeness"] == 1


def test_volume_is_the_difference_of_the_running_total_and_a_late_tick_loses_none() -> None:
    candles = builder()

    first = run(candles, live(-15), tick(10, 100, 50), live(62), tick(20, 101, 60), tick(70, 102, 75), live(122))

    assert minutes(first)["volume"].tolist() == [50, 25]
    assert minutes(first)["high"].tolist() == [100, 102]
    assert candles.counts["late"] == 1


def test_a_duplicate_and_a_packet_that_moved_only_the_book_are_no_trades() -> None:
    candles = builder()

    rows = run(candles, live(-15), tick(1, 100, 50), tick(1, 100, 50), tick(2, 100, 50), live(62))

    assert minutes(rows)["trades"].tolist() == [1]
    assert (candles.counts["duplicate"], candles.counts["unchanged"]) == (1, 1)


def test_an_old_packet_adds_no_volume_and_sets_no_close_but_widens_the_range() -> None:
    candles = builder()

    rows = run(candles, live(-15), tick(1, 100, 50), tick(5, 101, 60), tick(5, 90, 55), live(62))

    row = minutes(rows)[0]
    assert [row[n] for n in ("low", "close", "volume")] == [90, 101, 60]


def seconds(totals: dict[int, int]) -> list[Ticks]:
    """A tick of a new price and a mark at each of these seconds, with these totals."""
    return [row for s, total in totals.items() for row in (tick(s, 1000 + s, total), live(s))]


def test_a_damaged_total_is_taken_back_when_three_later_packets_say_less() -> None:
    told = {s: 10 * s for s in range(1, 55)}
    damaged = builder()

    rows = run(damaged, live(-15), *seconds(told | {20: 1 << 31}), *marks(55, 62))

    [row], [true] = minutes(rows), minutes(run(builder(), live(-15), *seconds(told), *marks(55, 62)))
    assert damaged.counts["taken_back"] == 1
    assert [row[n] for n in ("open", "high", "low", "close", "volume", "completeness")] == [
        true[n] for n in ("open", "high", "low", "close", "volume", "completeness")
    ]
    assert abs(int(row["vwap"]) - int(true["vwap"])) <= 1


def test_a_minute_that_closes_in_doubt_is_whole_only_up_to_the_damage_and_the_next_begins_anew() -> None:
    told = {s: 10 * s for s in (*range(1, 60), *range(61, 120))} | {59: 1 << 31}
    candles = builder()

    rows = minutes(run(candles, live(-15), *seconds(told), *marks(120, 182)))

    assert candles.counts["taken_back"] == 1
    assert rows["completeness"][0] == pytest.approx(59 / 60)
    assert rows["completeness"][1] < 1
    assert (rows["completeness"][2], rows["volume"][2]) == (1, 0)


def test_a_total_that_begins_anew_costs_the_minutes_around_it_and_no_more() -> None:
    told = {s: 1000 + s for s in range(1, 60)} | {s: s - 60 for s in range(61, 240)}

    rows = minutes(run(builder(), live(-15), *seconds(told), *marks(240, 242)))

    assert [c == 1 for c in rows["completeness"]] == [False, False, True, True]
    assert rows["volume"][2:].tolist() == [60, 60]


def test_the_minutes_in_which_a_share_that_hardly_trades_is_in_doubt_are_not_whole() -> None:
    told = {30: 1 << 31, 90: 20, 150: 30, 210: 40, 270: 50, 330: 60}

    rows = minutes(run(builder(), live(-15), *seconds(told), *marks(331, 362)))

    assert [c == 1 for c in rows["completeness"]] == [False, False, False, False, True, True]
    assert rows["volume"][4:].tolist() == [10, 10]


def test_packets_that_were_overtaken_take_nothing_back() -> None:
    told = [tick(s, 1000 + s, 10 * s) for s in (1, 2, 9, 3, 4, 5, 6, 7, 8, 10)]
    candles = builder()

    rows = run(candles, live(-15), *told, live(62))

    assert candles.counts["taken_back"] == 0
    assert [minutes(rows)[0][n] for n in ("volume", "close", "completeness")] == [100, 1010, 1]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=100, max_size=170),
    st.integers(0, 90),
    st.integers(1, 40).map(lambda bit: 1 << bit),
)
def test_one_damaged_total_harms_no_minute_that_calls_itself_whole(steps: list[int], at: int, damage: int) -> None:
    totals = np.cumsum(np.array(steps) + 1).tolist()
    told = dict(enumerate(totals, 1))
    end = marks(len(totals) + 1, 242)

    rows = minutes(run(builder(), live(-15), *seconds(told | {at + 1: totals[at] ^ damage}), *end))
    true = minutes(run(builder(), live(-15), *seconds(told), *end))

    whole = np.flatnonzero((rows["completeness"] == 1) & (np.append(1, rows["completeness"][:-1]) == 1))
    harmed = whole[rows["volume"][whole] != true["volume"][whole]]
    edge = {(at + 1) // 60, (at + 4) // 60}  # a total that is caught up with before three packets have said so
    assert set(harmed.tolist()) <= edge


def test_open_is_the_earliest_and_close_the_latest_by_trade_time() -> None:
    candles = builder()

    rows = run(candles, live(-15), tick(5, 101, 60), tick(3, 99, 70), tick(4, 98, 80), live(62))

    row = minutes(rows)[0]
    assert [row[n] for n in ("open", "high", "low", "close", "volume")] == [99, 101, 98, 101, 80]


def test_preopen_packets_move_the_base_and_fold_into_no_candle() -> None:
    candles = builder()

    rows = run(candles, live(-600), tick(-400, 99, 1000), tick(1, 100, 1010), live(62))

    assert minutes(rows)["volume"].tolist() == [10]
    assert candles.counts["off_session"] == 1


def test_a_feed_that_came_late_adds_nothing_with_its_first_packet_and_says_incomplete() -> None:
    candles = builder()

    rows = run(candles, live(20), tick(30, 100, 5000), tick(40, 101, 5010), *marks(21, 62))

    row = minutes(rows)[0]
    assert row["volume"] == 10
    assert row["completeness"] == pytest.approx(0.5)


def test_an_instrument_without_volume_counts_every_new_time() -> None:
    candles = builder()

    rows = run(candles, live(-15), tick(1, 100), tick(2, 100), tick(2, 100), live(62))

    assert minutes(rows)["trades"].tolist() == [2]
    assert minutes(rows)["volume"].tolist() == [0]
    assert minutes(rows)["vwap"].tolist() == [UNKNOWN]


def test_a_quiet_minute_carries_the_last_price_and_a_dead_one_has_none() -> None:
    candles = builder()

    quiet = run(candles, live(-15), tick(1, 100, 50), live(122))
    dead = run(candles, state(FeedState.DOWN, 122, 122), live(250, since=250))

    assert minutes(quiet)[["close", "trades", "provenance"]].tolist() == [
        (100, 1, Provenance.LIVE),
        (100, 0, Provenance.LIVE),
    ]
    third, fourth = minutes(dead)
    assert (third["close"], third["trades"], third["provenance"]) == (100, 0, Provenance.LIVE)
    assert third["completeness"] == pytest.approx(2 / 60)
    assert (fourth["close"], fourth["provenance"], fourth["completeness"]) == (UNKNOWN, Provenance.GAP, 0)


def test_a_standby_counts_only_after_the_switch_and_its_coverage_fills_the_hole() -> None:
    candles = builder()

    rows = run(
        candles, live(-15), live(-15, source=1), tick(1, 100, 5), tick(2, 999, 6, source=1), live(10),
        live(10, source=1), state(FeedState.DOWN, 10, 10), state(FeedState.ACTIVE, 11, source=1), tick(20,
        101, 9, source=1), live(62, source=1),
    )  # fmt: skip

    row = minutes(rows)[0]
    assert (row["high"], row["close"], row["volume"], row["completeness"]) == (101, 101, 9, 1)
    assert candles.counts["standby"] == 1


def test_a_since_that_reaches_into_a_closed_minute_makes_a_revision() -> None:
    candles = builder()
    closed = run(candles, live(-15), tick(1, 100, 5), live(62))

    revised = run(candles, state(FeedState.MUTE, 65, 45))

    assert minutes(closed)["completeness"].tolist() == [1]
    row = minutes(revised)[0]
    assert (row["revision"], row["start"], row["close"]) == (1, OPEN, 100)
    assert row["completeness"] == pytest.approx(0.75)


def test_longer_candles_end_with_their_last_minute_and_the_session_closes_without_a_tick() -> None:
    candles = builder()

    rows = run(candles, live(-15), tick(1, 100, 5), *marks(0, 22_490), tick(22_499, 110, 8), *marks(22_491, 22_502))

    count = {seconds: int((rows["interval"] == seconds).sum()) for seconds in (60, 300, 900, 3600, 86400)}
    assert count == {60: 375, 300: 75, 900: 25, 3600: 7, 86400: 1}
    day = rows[rows["interval"] == 86400][0]
    assert [day[n] for n in ("start", "open", "close", "volume", "trades")] == [OPEN, 100, 110, 8, 2]


def test_a_session_that_was_jumped_over_whole_leaves_no_rows() -> None:
    calendar = Sessions([session(date(2016, 8, d)) for d in (24, 25, 26)]).table()
    candles = CandleBuilder([0], calendar)
    early = int(calendar[0, 2])

    candles.step(
        np.concatenate(
            [mark(0, FeedState.LIVE, early - SECOND), mark(0, FeedState.CLOSED, int(calendar[0, 3]) + 3 * SECOND)]
        )
    )
    rows = candles.step(mark(0, FeedState.LIVE, int(calendar[2, 2]) + 62 * SECOND))

    assert minutes(rows)["start"].tolist() == [int(calendar[2, 2])]


def test_ticks_nobody_can_place_are_counted_and_left_out() -> None:
    candles = builder()

    rows = run(
        candles,
        live(-15),
        tick(1, UNKNOWN, 5),
        tick(1, 100, 5, instrument=7),
        tick(600, 100, 9),
        tick(-90_000, 1, 1),
        live(62),
    )

    assert minutes(rows)["trades"].tolist() == [0]
    assert [candles.counts[n] for n in ("unpriced", "foreign", "early", "late")] == [1, 1, 1, 1]


def test_rows_of_another_dtype_and_a_truncated_snapshot_are_refused() -> None:
    candles = builder()

    with pytest.raises(BadPayload):
        candles.step(np.zeros(3, CANDLE))
    with pytest.raises(BadPayload):
        candles.restore(candles.snapshot()[:-1])


def test_a_snapshot_restores_into_a_larger_universe() -> None:
    small, large = builder(1), builder(0, 1, 2)
    run(small, live(-15), tick(1, 100, 5, instrument=1))

    large.restore(small.snapshot())
    rows = minutes(run(large, tick(2, 105, 9, instrument=1), live(62)))

    assert rows["volume"].tolist() == [0, 9, 0]
    assert rows["open"].tolist() == [UNKNOWN, 100, UNKNOWN]


ROWS = st.lists(
    st.one_of(
        st.builds(
            tick,
            st.integers(-30, 400),
            st.integers(90, 110),
            st.one_of(st.just(UNKNOWN), st.integers(0, 1000)),
            st.integers(0, 2),
            st.integers(0, 1),
        ),
        st.builds(live, st.integers(-30, 400), st.integers(0, 1)),
        st.builds(
            state, st.sampled_from(list(FeedState)), st.integers(-30, 400), st.integers(-30, 400), st.integers(0, 1)
        ),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.lists(st.integers(0, 60), max_size=8), st.integers(0, 60))
def test_any_cut_of_a_log_and_any_restart_give_one_result(rows: list[Ticks], cuts: list[int], restart: int) -> None:
    log = np.concatenate([live(-15), *rows, live(430)])
    whole, cut = builder(0, 1, 2), builder(0, 1, 2)

    expected = whole.step(log)
    parts = np.split(log, sorted({min(c, len(log)) for c in [*cuts, restart]}))
    actual, seen = [], 0
    for part in parts:
        if seen == restart:
            state = cut.snapshot()
            cut = builder(0, 1, 2)
            cut.restore(state)
        actual.append(cut.step(part))
        seen += len(part)

    assert np.concatenate(actual).tobytes() == expected.tobytes()
    assert cut.counts == whole.counts


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_every_candle_is_possible_and_no_volume_is_invented(rows: list[Ticks]) -> None:
    log = np.concatenate([live(-15), *rows, live(430)])

    closed = builder(0, 1, 2).step(log)

    priced = closed[closed["open"] != UNKNOWN]
    assert (priced["low"] <= np.minimum(priced["open"], priced["close"])).all()
    assert (priced["high"] >= np.maximum(priced["open"], priced["close"])).all()
    assert ((closed["completeness"] >= 0) & (closed["completeness"] <= 1)).all()
    first = closed[closed["revision"] == 0]
    keys = {(int(r["instrument"]), int(r["interval"]), int(r["start"])) for r in first}
    assert len(keys) == len(first)
    for instrument in range(3):
        total = int(first["volume"][(first["instrument"] == instrument) & (first["interval"] == 60)].sum())
        assert total <= max(
            [int(r["day_volume"][0]) for r in rows if r["kind"][0] == 0 and r["instrument"][0] == instrument] + [0]
        )


def test_a_tick_stamped_tomorrow_changes_nothing_of_today() -> None:
    candles = builder()

    rows = run(
        candles,
        live(-15),
        tick(1, 100, 1000),
        tick(86_400, 100, 5),
        tick(86_100, 100, 7),
        tick(30, 101, 1300),
        live(62),
    )

    assert minutes(rows)["volume"].tolist() == [1300]
    assert candles.counts["early"] == 2
