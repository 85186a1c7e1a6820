"""A session in two halves: nothing is invented in the pause, and nothing is lost around it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from market.candles import CANDLE, INTERVALS, Provenance
from market.corrections import PROPOSED
from market.coverage import Cause, Else, Survey
from market.feeds import FeedWatch
from market.fold import CandleBuilder
from market.generator import generate
from market.money import UNKNOWN
from market.quotes import Quotes
from market.sessions import CLOSE, MINUTE, SECOND, Pause, Phase, Session, Sessions, at, day_number, session
from market.ticks import FeedState, Ticks, blank, mark
from market.universes import NIFTY50
from market.windows import CandleWindow

USUAL = session(date(2016, 8, 25))
OPEN = USUAL.open


def minute(k: float) -> int:
    return OPEN + int(k * MINUTE)


# Trades in minutes 0 to 6 and 21 to 39: the first half ends inside a five-minute and a quarter-of-an-hour candle, the
# second begins inside others, and the hour has both.
HALVES = Session(
    date=USUAL.date,
    preopen=USUAL.preopen,
    open=OPEN,
    close=minute(40),
    pauses=(Pause(start=minute(7), preopen=minute(18), end=minute(21)),),
)
CALENDAR = Sessions([HALVES, session(date(2016, 8, 26))])
TRADED = [*range(7), *range(21, 40)]


def builder() -> CandleBuilder:
    return CandleBuilder([0], CALENDAR.table())


def tick(when: float, price: int, volume: int = UNKNOWN) -> Ticks:
    row = blank(1)
    row["at"] = row["received"] = minute(when)
    row["price"], row["day_volume"] = price, volume
    return row


def state(what: FeedState, when: float, since: float | None = None) -> Ticks:
    return mark(0, what, minute(when), None if since is None else minute(since))


def live(first: float, last: float) -> list[Ticks]:
    """A mark every ten seconds."""
    return [state(FeedState.LIVE, k / 6) for k in range(int(first * 6), int(last * 6) + 1)]


def day(*rows: Ticks) -> list[Ticks]:
    """A feed that was there whenever there was trading, closed in the pause and after."""
    halves = [*live(-1, 6.9), state(FeedState.CLOSED, 7.01, 7), *live(18, 39.9), state(FeedState.CLOSED, 42, 40)]
    return sorted([*rows, *halves], key=lambda r: int(r["at"][0]))


def minutes(rows: np.ndarray) -> np.ndarray:
    return rows[rows["interval"] == 60]


def test_a_pause_has_no_minutes_neither_quiet_ones_nor_gaps() -> None:
    rows = minutes(builder().step(np.concatenate(day(tick(1, 100, 5), tick(30, 101, 9)))))

    assert ((rows["start"] - OPEN) // MINUTE).tolist() == TRADED
    assert HALVES.minutes == len(TRADED)
    assert (rows["provenance"] == Provenance.LIVE).all() and (rows["completeness"] == 1).all()


def test_every_longer_candle_comes_once_where_it_has_some_trading() -> None:
    rows = builder().step(np.concatenate(day(tick(1, 100, 5), tick(6, 90, 7), tick(25, 110, 9))))

    for seconds in INTERVALS.values():
        mine = rows[rows["interval"] == seconds]
        assert mine["start"].tolist() == HALVES.starts(seconds * SECOND).tolist(), seconds
        assert (mine["completeness"] == 1).all()
    hour = rows[rows["interval"] == 3600][0]
    assert [hour[n] for n in ("open", "high", "low", "close", "volume")] == [100, 110, 90, 110, 9]


def test_what_trades_in_the_pause_moves_the_base_and_is_in_no_candle() -> None:
    candles = builder()

    rows = candles.step(np.concatenate(day(tick(1, 100, 50), tick(20, 300, 80), tick(22, 101, 95))))

    assert minutes(rows)["volume"].sum() == 50 + 15
    assert rows["high"].max() == 101
    assert candles.counts["off_session"] == 1


def test_a_feed_that_does_not_come_back_leaves_gaps_in_the_second_half_only() -> None:
    log = [*live(-1, 6.9), state(FeedState.CLOSED, 7.01, 7), state(FeedState.DOWN, 19), state(FeedState.DOWN, 42)]

    rows = minutes(builder().step(np.concatenate([*log[:2], tick(0.5, 100, 5), *log[2:]])))

    gaps = rows[rows["provenance"] == Provenance.GAP]
    assert ((gaps["start"] - OPEN) // MINUTE).tolist() == list(range(21, 40))


def test_a_silence_before_the_pause_is_taken_out_of_its_last_minute() -> None:
    log = [*live(-1, 6.9), state(FeedState.LIVE, 7.04), state(FeedState.CLOSED, 7.05, 6.5)]

    rows = minutes(builder().step(np.concatenate(log)))

    last = rows[rows["start"] == minute(6)]
    assert (last["completeness"][-1], last["revision"][-1]) == (0.5, 1)


@given(
    st.lists(st.tuples(st.floats(-0.5, 39.99), st.integers(1, 200), st.integers(0, 9)), max_size=30),
    st.integers(0, 300),
)
@settings(max_examples=60)
def test_the_cut_of_a_log_makes_no_difference_and_no_candle_comes_twice(
    trades: list[tuple[float, int, int]], cut: int
) -> None:
    volumes = np.cumsum([v for *_, v in sorted(trades)]).tolist()
    ticks = [tick(when, price, volume) for (when, price, _), volume in zip(sorted(trades), volumes, strict=True)]
    log = day(*ticks)
    whole, parts = builder(), builder()

    rows = whole.step(np.concatenate(log))
    cut = min(cut, len(log) - 1)
    pieces = [parts.step(np.concatenate(piece)) for piece in (log[:cut], log[cut:]) if piece]

    assert np.array_equal(rows, np.concatenate(pieces))
    keys = rows[["interval", "start"]].tolist()
    assert len(set(keys)) == len(keys)
    assert set(minutes(rows)["start"].tolist()) == set(HALVES.starts(MINUTE).tolist())


def repairs(first: int, until: int, price: int) -> np.ndarray:
    """What a vendor says of the minutes from `first` to before `until`: one price, ten shares each."""
    rows = np.zeros(until - first, CANDLE)
    rows["start"] = minute(0) + np.arange(first, until) * MINUTE
    rows["interval"], rows["session"], rows["revision"] = 60, day_number(USUAL.date), PROPOSED
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name] = price
    rows["volume"], rows["trades"], rows["open_interest"] = 10, UNKNOWN, UNKNOWN
    rows["completeness"], rows["provenance"] = 1, Provenance.REPAIRED
    return rows


def test_a_repair_of_both_halves_renews_the_candles_that_hold_them_and_adds_none_in_the_pause() -> None:
    log = [
        state(FeedState.LIVE, -1), tick(1, 100, 5), state(FeedState.LIVE, 5), state(FeedState.DOWN, 7.5, 5),
        state(FeedState.LIVE, 24, 24), tick(26, 110, 9), state(FeedState.LIVE, 40), state(FeedState.CLOSED, 42, 40),
    ]  # fmt: skip
    candles = builder()
    told = candles.step(np.concatenate(log))
    gaps = minutes(told)[minutes(told)["provenance"] == Provenance.GAP]

    out = candles.repair(np.concatenate([repairs(5, 10, 200), repairs(20, 24, 90)]), told)

    assert ((gaps["start"] - OPEN) // MINUTE).tolist() == [5, 6, 21, 22, 23]
    assert ((minutes(out)["start"] - OPEN) // MINUTE).tolist()[:5] == [5, 6, 21, 22, 23]
    assert candles.refused == 4  # of minutes 7, 8, 9 and 20 there is no candle
    for seconds in INTERVALS.values():
        assert set(out["start"][out["interval"] == seconds]) <= set(HALVES.starts(seconds * SECOND).tolist())
    hour = out[out["interval"] == 3600]
    assert hour[["high", "low", "volume", "revision"]].tolist() == [(200, 90, 5 + 4 + 50, 1)]
    # Of minute 26 a second counts as unknown: its first trade is the first behind the outage.
    assert hour["completeness"] == pytest.approx((26 - 1 / 60) / 26)


def test_a_session_in_two_halves_is_complete_when_all_its_minutes_are() -> None:
    rows = builder().step(np.concatenate(day(tick(1, 100, 5), tick(30, 101, 9))))
    over = HALVES.close + MINUTE

    one = Survey(["NSE:A"], CALENDAR, (USUAL.date, USUAL.date), over)
    for of, _ in list(one.open()):
        one.look(of, minutes(rows), Else(recorded=True))

    assert one.counts()["complete"] == 1
    assert (one.minutes.tolist(), one.shortfalls) == ([len(TRADED)], [])


def test_minutes_missing_on_either_side_of_a_pause_are_told_apart() -> None:
    rows = minutes(builder().step(np.concatenate(day(tick(1, 100, 5), tick(30, 101, 9)))))
    kept = rows[(rows["start"] != minute(6)) & (rows["start"] != minute(21))]

    one = Survey(["NSE:A"], CALENDAR, (USUAL.date, USUAL.date), HALVES.close + MINUTE)
    for of, _ in list(one.open()):
        one.look(of, kept, Else(recorded=True, lacking=((0, minute(21)),)))

    (short,) = one.shortfalls
    assert [(s.start, s.end, s.cause) for s in short.spans] == [
        (minute(6), minute(7), Cause.NEVER_RECORDED), (minute(21), minute(22), Cause.NOBODY_HAS),
    ]  # fmt: skip


@pytest.mark.parametrize(("now", "ended"), [(-5, 0), (3, 3), (7, 7), (15, 7), (21, 7), (22.5, 8), (40, 26), (99, 26)])
def test_the_minutes_that_have_ended_do_not_grow_in_the_pause(now: float, ended: int) -> None:
    assert HALVES.elapsed(minute(now)) == ended


def test_a_feed_is_closed_in_the_pause_and_live_when_orders_gather_again() -> None:
    feed = FeedWatch(0, CALENDAR, grace=2 * SECOND)
    rows = [feed.begin(minute(-5), 1)]
    feed.opened(minute(-5))
    told = []

    for second in range(-300, 41 * 60):
        now = OPEN + second * SECOND
        if CALENDAR.phase(now).trading:
            feed.data(now)
        rows.append(feed.step(now))
        told += [(FeedState(int(r["flags"])), (int(r["quoted"]) - OPEN) / MINUTE) for r in rows[-1]]

    changes = [one for k, one in enumerate(told) if k == 0 or told[k - 1][0] is not one[0]]
    assert changes == [
        (FeedState.LIVE, -5), (FeedState.CLOSED, 7), (FeedState.LIVE, 18), (FeedState.CLOSED, 40)
    ]  # fmt: skip
    candles = minutes(builder().step(np.concatenate([*rows, state(FeedState.CLOSED, 43, 40)])))
    assert (candles["completeness"] == 1).all() and len(candles) == len(TRADED)


def test_a_market_without_a_preopen_finds_the_open_line_live_since_its_open() -> None:
    bare = USUAL.model_copy(update={"preopen": OPEN})
    feed = FeedWatch(0, Sessions([bare]), grace=2 * SECOND)
    feed.begin(OPEN - MINUTE, 1)
    feed.opened(OPEN - MINUTE)
    feed.step(OPEN - SECOND)

    rows = feed.step(OPEN + SECOND)

    assert [(int(r["flags"]), int(r["quoted"])) for r in rows] == [(FeedState.LIVE, OPEN)]


def test_the_window_has_a_place_for_every_candle_of_both_halves() -> None:
    rows = builder().step(np.concatenate(day(tick(1, 100, 5))))
    window = CandleWindow(1, CALENDAR)

    put = window.add(rows)

    assert (put, window.misplaced) == (len(rows), 0)
    assert len(window.read(0, 60, OPEN, HALVES.close)) == len(TRADED)


def test_a_price_of_the_pause_is_not_the_high_of_the_day() -> None:
    quotes = Quotes(1, CALENDAR.table())

    quotes.update(np.concatenate([tick(1, 100, 5), tick(20, 300, 8), tick(22, 101, 9)]))

    assert [quotes.read([0])[0][name] for name in ("high", "low", "price")] == [101, 100, 101]


def test_the_generated_market_does_not_trade_in_the_pause() -> None:
    tape = generate(NIFTY50[:2], HALVES, seed=7)

    traded = (tape.between(OPEN, HALVES.close)["at"] - OPEN) // MINUTE

    assert set(traded.tolist()) == set(TRADED)


@given(st.integers(minute(-20), minute(60)))
def test_phases_cover_a_session_without_holes_and_each_instant_once(when: int) -> None:
    inside = [phase for phase, a, b in HALVES.phases() if a <= when < b]

    assert inside == ([] if HALVES.phase(when) is Phase.CLOSED else [HALVES.phase(when)])
    assert HALVES.phase(when).trading is bool(HALVES.holds(np.array([when]))[0])


def test_the_stretch_an_instant_belongs_to_is_known() -> None:
    assert [HALVES.began(minute(k)) for k in (-1, 3, 20, 21)] == [OPEN, OPEN, OPEN, minute(21)]
    assert [HALVES.ended(minute(k)) for k in (6, 7, 39, 40)] == [None, minute(7), minute(7), minute(40)]


@pytest.mark.parametrize(
    "pause",
    [
        Pause(start=minute(0), preopen=minute(1), end=minute(2)),
        Pause(start=minute(7), preopen=minute(6), end=minute(9)),
        Pause(start=minute(9), preopen=minute(9), end=minute(8)),
        Pause(start=minute(39), preopen=minute(39), end=minute(40)),
        Pause(start=minute(7.5), preopen=minute(8), end=minute(9)),
    ],
)
def test_a_pause_that_cannot_be_is_refused(pause: Pause) -> None:
    with pytest.raises(ValidationError):
        Session(**{**HALVES.model_dump(), "pauses": (pause,)})


def test_the_table_has_two_columns_a_pause_and_days_without_one_have_an_empty_one() -> None:
    rows = CALENDAR.table()

    assert rows.shape == (2, 6)
    assert rows[0, 4:].tolist() == [minute(7), minute(21)]
    assert rows[1, 4:].tolist() == [at(date(2016, 8, 26), CLOSE)] * 2
