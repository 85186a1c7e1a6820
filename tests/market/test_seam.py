"""The seam in the candle fold: two feeds of one tape give the candles of one, wherever the switch stands."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.candles import Provenance
from market.fold import CandleBuilder
from market.money import UNKNOWN
from market.sessions import SECOND, Sessions, session
from market.ticks import FeedState, Flag, Ticks, blank, mark

DAY = session(date(2016, 8, 25))
CALENDAR = Sessions([DAY]).table()
OPEN = DAY.open
BEGIN, END = -20, 200
INDEX = 2


class Trip(NamedTuple):
    """What a feed misses: the seconds [since, until)."""

    feed: int
    since: int
    until: int


def tick(second: float, price: int, volume: int = UNKNOWN, instrument: int = 0, source: int = 0) -> Ticks:
    row = blank(1)
    row["instrument"], row["source"] = instrument, source
    row["at"] = row["received"] = OPEN + int(second * SECOND)
    row["price"], row["day_volume"] = price, volume
    return row


def say(what: FeedState, second: float, source: int = 0, since: float | None = None) -> Ticks:
    began = None if since is None else OPEN + int(since * SECOND)
    return mark(source, what, OPEN + int(second * SECOND), began)


def live(second: float, source: int = 0) -> Ticks:
    return say(FeedState.LIVE, second, source)


def active(second: float, source: int) -> Ticks:
    return say(FeedState.ACTIVE, second, source)


def fold(*rows: Ticks, arbitrate: bool = False) -> np.ndarray:
    builder = CandleBuilder([0, 1, INDEX], CALENDAR, arbitrate=arbitrate)
    return builder.step(np.concatenate(rows))


def of(rows: np.ndarray, instrument: int = 0) -> np.ndarray:
    return rows[(rows["interval"] == 60) & (rows["instrument"] == instrument)]


def test_what_a_standby_told_while_nobody_knew_that_the_active_feed_was_mute_counts_after_the_switch() -> None:
    rows = fold(
        live(-15), live(-15, 1), tick(1, 100, 5), tick(1, 100, 5, source=1), live(10), live(10, 1),
        tick(11, 130, 9, source=1), tick(12, 90, 12, source=1), live(12, 1), active(12, 1), tick(13, 101, 13, source=1),
        live(62, 1),
    )  # fmt: skip

    row = of(rows)[0]
    assert [row[n] for n in ("open", "high", "low", "close", "volume", "trades")] == [100, 130, 90, 101, 13, 4]
    assert row["completeness"] == 1


def test_it_counts_without_any_switch_once_the_active_feed_says_that_it_was_mute() -> None:
    rows = fold(
        live(-15), live(-15, 1), tick(1, 100, 5), live(10), tick(11, 130, 9, source=1), live(13, 1),
        say(FeedState.MUTE, 13, since=10), tick(14, 90, 12, source=1), live(62, 1), say(FeedState.MUTE, 62, since=10),
    )  # fmt: skip

    row = of(rows)[0]
    assert [row[n] for n in ("high", "low", "volume", "completeness")] == [130, 90, 12, 1]


def test_a_feed_that_died_while_its_standby_was_behind_is_not_told_twice() -> None:
    rows = fold(
        live(-15), live(-15, 1), tick(1, 100, 5), tick(2, 104, 9), live(2), tick(1, 100, 5, source=1),
        say(FeedState.DOWN, 3, since=2), active(3, 1), tick(2, 104, 9, source=1), tick(3, 99, 10, source=1),
        live(62, 1),
    )  # fmt: skip

    row = of(rows)[0]
    assert [row[n] for n in ("high", "low", "volume", "trades")] == [104, 99, 10, 3]


def test_arbitration_takes_the_first_to_tell_and_the_other_adds_nothing() -> None:
    said = [
        live(-15), live(-15, 1), tick(1, 100, 5), tick(1, 100, 5, source=1), tick(2, 103, 8, source=1),
        tick(2, 103, 8), tick(1, 50, instrument=INDEX), tick(1, 50, instrument=INDEX, source=1),
        tick(2, 51, instrument=INDEX, source=1), live(62), live(62, 1),
    ]  # fmt: skip

    rows = fold(*said, arbitrate=True)

    assert of(rows)[["high", "volume", "trades"]].tolist() == [(103, 8, 2)]
    assert of(rows, INDEX)[["high", "trades"]].tolist() == [(51, 2)]


def test_prints_of_a_standby_wait_and_count_once_too() -> None:
    def told(second: float, price: int, size: int, number: int, source: int) -> Ticks:
        row = tick(second, price, size, source=source)
        row["flags"], row["sequence"] = Flag.PRINT, number
        return row

    rows = fold(
        live(-15), live(-15, 1), told(1, 100, 5, 1, 0), told(1, 100, 5, 1, 1), live(2), told(3, 130, 2, 2, 1),
        say(FeedState.DOWN, 4, since=2), told(5, 90, 1, 3, 1), told(5, 90, 1, 3, 0), active(5, 1), live(62, 1),
    )  # fmt: skip

    row = of(rows)[0]
    assert [row[n] for n in ("open", "high", "low", "volume", "trades")] == [100, 130, 90, 8, 3]


def test_the_first_trade_of_the_day_counts_whole_if_the_feeds_together_watched_from_the_open() -> None:
    rows = fold(
        live(-15), live(-15, 1), say(FeedState.DOWN, 5, since=4), active(5, 1), *[live(k, 1) for k in range(5, 20)],
        live(20), live(20, 1), say(FeedState.DOWN, 30, 1, since=29), active(30, 0), tick(31, 100, 7), live(62),
    )  # fmt: skip

    assert of(rows)[["volume", "completeness"]].tolist() == [(7, 1.0)]


@pytest.mark.parametrize("back", [20, 40])
def test_a_minute_is_a_gap_only_if_no_feed_was_live(back: int) -> None:
    rows = fold(
        live(-15), live(-15, 1), tick(1, 100, 5), live(60), live(60, 1), say(FeedState.DOWN, 60, since=60),
        say(FeedState.DOWN, 61, 1, since=60), active(61, 1), say(FeedState.LIVE, 120 + back, 1, since=120 + back),
        live(182, 1),
    )  # fmt: skip

    gone = of(rows)[1:]
    assert gone["provenance"].tolist() == [Provenance.GAP, Provenance.LIVE]
    assert gone["completeness"] == pytest.approx([0, (60 - back) / 60])


PACKETS = st.lists(
    st.tuples(st.integers(0, 185), st.integers(0, 2), st.integers(90, 110), st.integers(0, 9)), max_size=80
)
LAGS = st.lists(st.integers(0, 1), min_size=END - BEGIN, max_size=END - BEGIN)
TRIPS = st.lists(st.tuples(st.integers(0, 1), st.integers(5, 15), st.integers(8, 40)), max_size=4)
SWITCHES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 1)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(PACKETS, LAGS, LAGS, st.lists(st.booleans(), min_size=8, max_size=8), TRIPS, SWITCHES, st.booleans())
@pytest.mark.endurance
def test_two_feeds_of_one_tape_give_the_candles_of_one(
    packets: list[tuple[int, int, int, int]],
    lags: list[int],
    others: list[int],
    orders: list[bool],
    wanted: list[tuple[int, int, int]],
    switches: list[tuple[int, int]],
    arbitrate: bool,
) -> None:
    told = tape(packets)
    trips = apart(wanted)
    log = together(told, trips, [lags, others], orders)
    for place, source in switches:
        log.insert(place % (len(log) + 1), active(0, source))

    actual, expected = fold(*log, live(END), live(END, 1), arbitrate=arbitrate).copy(), alone(told).copy()
    if arbitrate:  # an index has no volume: whether equal prices of one second are one saying or two, nobody can tell
        for rows in (actual, expected):
            rows["trades"][rows["instrument"] == INDEX] = 0

    assert actual.tobytes() == expected.tobytes()


@settings(max_examples=100, deadline=None)
@given(PACKETS, LAGS, LAGS, TRIPS, SWITCHES, st.lists(st.integers(0, 900), max_size=8), st.booleans())
def test_with_standbys_too_any_cut_and_any_restart_give_one_result(
    packets: list[tuple[int, int, int, int]],
    lags: list[int],
    others: list[int],
    wanted: list[tuple[int, int, int]],
    switches: list[tuple[int, int]],
    cuts: list[int],
    arbitrate: bool,
) -> None:
    rows = together(tape(packets), apart(wanted), [lags, others], [True])
    for place, source in switches:
        rows.insert(place % (len(rows) + 1), active(0, source))
    log = np.concatenate(rows)
    whole, cut = (CandleBuilder([0, 1, INDEX], CALENDAR, arbitrate=arbitrate) for _ in range(2))

    expected = whole.step(log)
    actual = []
    for part in np.split(log, sorted({min(c, len(log)) for c in cuts})):
        state = cut.snapshot()
        cut = CandleBuilder([0, 1, INDEX], CALENDAR, arbitrate=arbitrate)
        cut.restore(state)
        actual.append(cut.step(part))

    assert np.concatenate(actual).tobytes() == expected.tobytes()
    assert cut.counts == whole.counts
    assert cut.snapshot() == whole.snapshot()


def tape(packets: list[tuple[int, int, int, int]]) -> dict[int, list[Ticks]]:
    """What the exchange tells in each second; each instrument's packets in one order, an index without volume."""
    found: dict[int, list[Ticks]] = {}
    volume = [0, 0, 0]
    for second, instrument, price, quantity in sorted(packets, key=lambda p: p[0]):
        volume[instrument] += quantity
        total = UNKNOWN if instrument == INDEX else volume[instrument]
        found.setdefault(second, []).append(tick(second, price, total, instrument))
    return found


def apart(wanted: list[tuple[int, int, int]]) -> list[Trip]:
    """Faults one after the other, so that one feed is always well."""
    trips, at = [], 0
    for feed, pause, length in wanted:
        trips.append(Trip(feed, at + pause, at + pause + length))
        at = trips[-1].until
    return [t for t in trips if t.until < END - 12]


def together(told: dict[int, list[Ticks]], trips: list[Trip], lags: list[list[int]], orders: list[bool]) -> list[Ticks]:
    """The entries of both feeds in one order; a feed that comes back is no earlier than the one that was there."""
    reached = [[0] * (END - BEGIN) for _ in range(2)]
    for second in range(BEGIN, END):
        for feed in range(2):
            k = second - BEGIN
            came = second + lags[feed][k]
            if k:
                came = max(came, reached[feed][k - 1])
            reached[feed][k] = came
        for trip in trips:
            if trip.until == second:
                k = second - BEGIN
                reached[trip.feed][k] = max(reached[trip.feed][k], reached[1 - trip.feed][k - 1] + 1)
    entries = []

    def put(came: int, feed: int, k: int, rows: Ticks) -> None:
        entries.append((came, orders[came % len(orders)] != bool(feed), k, rows))

    for feed in range(2):
        mine = [t for t in trips if t.feed == feed]
        for second in range(BEGIN, END):
            k = second - BEGIN
            away = next((t for t in mine if t.since <= second < t.until), None)
            if away is None:
                rows = [*(source_of(row, feed) for row in told.get(second, [])), live(second, feed)]
                put(reached[feed][k], feed, k, np.concatenate(rows))
            elif second >= away.since + 3:
                word = say(FeedState.MUTE, second, feed, away.since)
                put(max(second, reached[feed][away.since - BEGIN - 1]), feed, k, word)
    return [rows for _, _, _, rows in sorted(entries, key=lambda e: e[:3])]


def alone(told: dict[int, list[Ticks]]) -> np.ndarray:
    """The candles of one feed that was never away."""
    rows = [row for second in range(BEGIN, END) for row in [*told.get(second, []), live(second)]]
    return fold(*rows, live(END))


def source_of(row: Ticks, feed: int) -> Ticks:
    row = row.copy()
    row["source"] = feed
    return row
