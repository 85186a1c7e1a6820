"""What a feed may say of itself."""

from __future__ import annotations

from datetime import date

import numpy as np

from market.feeds import FeedWatch, by_partition
from market.sessions import MINUTE, SECOND, Sessions, session
from market.ticks import FeedState, Kind, Ticks, blank, mark

DAY = session(date(2016, 8, 25))
OPEN, CLOSE = DAY.open, DAY.close


def watch() -> FeedWatch:
    return FeedWatch(0, Sessions([DAY]), grace=2 * SECOND)


def said(rows: Ticks) -> list[tuple[FeedState, int, int]]:
    return [(FeedState(int(r["flags"])), int(r["at"]), int(r["quoted"])) for r in rows]


def running(now: int) -> FeedWatch:
    feed = watch()
    feed.begin(now, 1)
    feed.opened(now)
    feed.data(now)
    feed.step(now)
    return feed


def test_a_new_incarnation_begins_with_down_and_is_live_once_its_line_is_open() -> None:
    feed = watch()

    first = feed.begin(OPEN - MINUTE, 7)
    feed.opened(OPEN - MINUTE)
    second = feed.step(OPEN - MINUTE)

    assert said(first) == [(FeedState.DOWN, OPEN - MINUTE, OPEN - MINUTE)]
    assert first["sequence"][0] == 7
    assert said(second) == [(FeedState.LIVE, OPEN - MINUTE, OPEN - MINUTE)]


def test_live_never_runs_more_than_a_second_past_the_last_data() -> None:
    feed = running(OPEN + MINUTE)

    late = feed.step(OPEN + MINUTE + 2 * SECOND + SECOND // 2)

    assert said(late) == [(FeedState.LIVE, OPEN + MINUTE + SECOND, OPEN + MINUTE + SECOND)]


def test_three_seconds_without_data_are_mute_since_the_last_data() -> None:
    feed = running(OPEN + MINUTE)

    rows = feed.step(OPEN + MINUTE + 3 * SECOND + 1)

    assert said(rows) == [(FeedState.MUTE, OPEN + MINUTE + 3 * SECOND + 1, OPEN + MINUTE)]


def test_data_after_mute_is_live_since_that_data() -> None:
    feed = running(OPEN + MINUTE)
    feed.step(OPEN + MINUTE + 5 * SECOND)
    back = OPEN + MINUTE + 9 * SECOND

    feed.data(back)
    rows = feed.step(back + SECOND // 10)

    assert said(rows) == [(FeedState.LIVE, back + SECOND // 10, back)]


def test_a_lost_line_is_down_once_and_stays_down_until_it_opens() -> None:
    feed = running(OPEN + MINUTE)

    first = feed.lost(OPEN + MINUTE + SECOND)
    second = feed.lost(OPEN + MINUTE + SECOND)
    still = feed.step(OPEN + MINUTE + 4 * SECOND)

    assert said(first) == [(FeedState.DOWN, OPEN + MINUTE + SECOND, OPEN + MINUTE)]
    assert len(second) == 0
    assert said(still)[0][0] == FeedState.DOWN


def test_the_close_ends_live_at_the_close_and_not_at_the_last_trade() -> None:
    feed = running(CLOSE - SECOND)

    rows = feed.step(CLOSE + SECOND)

    assert said(rows) == [(FeedState.CLOSED, CLOSE + SECOND, CLOSE)]


def test_a_mark_comes_at_once_where_it_closes_a_minute_and_else_a_second_apart() -> None:
    feed = running(OPEN + MINUTE + SECOND + SECOND // 2)
    soon, crossing = OPEN + MINUTE + SECOND * 17 // 10, OPEN + MINUTE + 2 * SECOND

    feed.data(soon)
    none = feed.step(soon)
    feed.data(crossing)
    one = feed.step(crossing)

    assert len(none) == 0
    assert said(one)[0][:2] == (FeedState.LIVE, crossing)


def test_every_partition_gets_its_rows_and_all_marks_in_place() -> None:
    rows = blank(3)
    rows["instrument"] = [0, 1, 0]
    log = np.concatenate([rows[:2], mark(0, FeedState.LIVE, 5), rows[2:]])

    parts = by_partition(log, np.array([0, 2, -1]), 3)

    assert [p["kind"].tolist() for p in parts] == [[0, Kind.MARK, 0], [Kind.MARK], [0, Kind.MARK]]
