"""Tapes: packets that fold back to the recorded minutes, by a fold written here from the design's rules."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import recordings
from market.errors import BadValue
from market.sessions import MINUTE, SECOND, Session, session
from market.tape import BAR, LEAD, TAIL, Tape, from_bars

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "market"
DAY = session(date(2016, 8, 25))
MINUTES = 8
SHORT = Session(date=DAY.date, preopen=DAY.preopen, open=DAY.open, close=DAY.open + MINUTES * MINUTE)
PRICES = ("open", "high", "low", "close")


def fold(packets: list[tuple[int, int | None, int]]) -> dict[int, tuple[int, ...]]:
    """(at, day volume or None, price) of one instrument, as they arrive -> minute: open, high, low, close, volume.

    Source: the design, section 3: a packet counts for prices if its volume rose, its price changed, or (without a
    volume) its `at` is new; open is the earliest (at, arrival), close the latest.
    """
    counted: dict[int, list[tuple[int, int, int, int]]] = {}
    base, last_at, last_price = 0, -1, -1
    for arrival, (at, volume, price) in enumerate(packets):
        added = max(0, volume - base) if volume is not None else 0
        base += added
        if added or price != last_price or (volume is None and at != last_at):
            counted.setdefault(at // MINUTE * MINUTE, []).append((at, arrival, price, added))
            last_at, last_price = at, price
    candles = {}
    for minute, prints in counted.items():
        prices = [price for _, _, price, _ in prints]
        first, last = min(prints)[2], max(prints)[2]
        candles[minute] = (first, max(prices), min(prices), last, sum(added for *_, added in prints))
    return candles


def arriving(tape: Tape, instrument: int, voiceless: bool) -> list[tuple[int, int | None, int]]:
    rows = np.concatenate([tape.packets(k) for k in range(tape.steps)])
    rows = rows[rows["instrument"] == instrument]
    volumes = [None] * len(rows) if voiceless else rows["day_volume"].tolist()
    return list(zip(rows["at"].tolist(), volumes, rows["price"].tolist(), strict=True))


def missing(bars: np.ndarray, tape: Tape) -> list[object]:
    """The bars that do not come back. One that says nothing new (no volume, the last price throughout) need not."""
    wrong: list[object] = []
    for instrument in np.unique(bars["instrument"]).tolist():
        mine = bars[bars["instrument"] == instrument]
        folded = fold(arriving(tape, instrument, voiceless=not mine["volume"].any()))
        carried = None
        for bar in mine:
            wanted = tuple(int(bar[n]) for n in (*PRICES, "volume"))
            quiet = (carried, carried, carried, carried, 0)
            if folded.pop(int(bar["start"]), quiet) != wanted:
                wrong.append(bar)
            carried = int(bar["close"])
        wrong += folded.items()
    return wrong


def bar(minute: int, prices: tuple[int, int, int, int], volume: int, instrument: int = 0) -> tuple[int, ...]:
    opened, high, low, close = (100 * p for p in prices)
    return (instrument, DAY.open + minute * MINUTE, opened, high, low, close, volume)


@st.composite
def minutes(draw: st.DrawFn) -> np.ndarray:
    rows = []
    for instrument in range(2):
        for minute in range(MINUTES):
            if draw(st.integers(0, 4)):
                low, *inner, high = sorted(draw(st.lists(st.integers(100, 104), min_size=4, max_size=4)))
                opened, close = draw(st.permutations(inner))
                volume = draw(st.sampled_from([0, 1, 2, 3, 4, 7, 1000]))
                rows.append(bar(minute, (opened, high, low, close), volume, instrument))
    return np.array(rows, BAR)


@settings(max_examples=150, deadline=None)
@given(minutes())
def test_recorded_minutes_fold_back_exactly(bars: np.ndarray) -> None:
    tape = from_bars(SHORT, bars, {})

    wrong = missing(bars, tape)

    assert wrong == []


@pytest.mark.parametrize("opened", [100, 102])
def test_a_minute_that_moved_without_volume_keeps_its_open(opened: int) -> None:
    bars = np.array([bar(0, (opened,) * 4, 5), bar(1, (opened, 102, 100, opened), 0)], BAR)

    tape = from_bars(SHORT, bars, {})

    assert missing(bars, tape) == []


@pytest.mark.parametrize(("name", "day", "count"), [
    ("nse_1min_2016", date(2016, 8, 25), 153 * 375),
    ("nse_1min_2016", date(2016, 8, 29), 153 * 375),
    ("nse_1min_banks_2023", date(2023, 4, 12), 11 * 375),
])  # fmt: skip
def test_a_recorded_day_folds_back_exactly(name: str, day: date, count: int) -> None:
    path = SHARED / name / "bars.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    recording = recordings.read(path, day)

    tape = from_bars(session(day), recording.rows, recording.closes)

    rows = [tape.packets(k) for k in range(tape.steps)]
    packets = np.concatenate(rows)
    assert len(recording.rows) == count
    for instrument in range(len(recording.symbols)):
        mine = recording.rows[recording.rows["instrument"] == instrument]
        sent = packets[packets["instrument"] == instrument]
        voiceless = not mine["volume"].any()
        volumes = [None] * len(sent) if voiceless else sent["day_volume"].tolist()
        folded = fold(list(zip(sent["at"].tolist(), volumes, sent["price"].tolist(), strict=True)))
        carried = 0
        for one in mine.tolist():
            _, start, *prices, volume = one
            assert folded.pop(start, (carried,) * 4 + (0,)) == (*prices, volume), (recording.symbols[instrument], one)
            carried = prices[3]
        assert folded == {}


def test_points_and_volume_are_spread_as_the_design_says() -> None:
    bars = np.array([bar(0, (101, 104, 100, 103), 10), bar(1, (103, 104, 100, 101), 2), bar(3, (101,) * 4, 0)], BAR)

    tape = from_bars(SHORT, bars, {})

    rows = np.concatenate([tape.packets(k) for k in range(tape.steps)])
    seconds = ((rows["at"] - DAY.open) // SECOND).tolist()
    assert seconds == [0, 15, 30, 45, 60, 75, 90, 105, 180]
    assert (rows["price"] // 100).tolist() == [101, 100, 104, 103, 103, 104, 100, 101, 101]
    assert rows["day_volume"].tolist() == [4, 6, 8, 10, 12, 12, 12, 12, 12]


def test_a_tape_begins_before_the_open_and_runs_on_behind_the_close() -> None:
    tape = from_bars(DAY, np.array([bar(0, (100,) * 4, 1)], BAR), {})

    assert tape.clock(0) == DAY.open - LEAD < DAY.open
    assert tape.clock(tape.steps - 1) == DAY.close + TAIL
    assert len(tape.packets(LEAD // SECOND)) == 1


def test_running_columns_hold_the_day_so_far() -> None:
    bars = np.array([bar(0, (100, 104, 99, 102), 8), bar(2, (103, 103, 98, 98), 5)], BAR)

    last = from_bars(SHORT, bars, {}).latest(10_000)

    assert [int(last[n][0]) // 100 for n in ("open", "high", "low", "price")] == [100, 104, 98, 98]
    assert last["day_volume"].tolist() == [13]


@pytest.mark.parametrize(("row", "told"), [
    (bar(0, (100, 99, 101, 100), 1), "low <= open"),
    (bar(0, (105, 104, 100, 101), 1), "low <= open"),
    (bar(0, (100, 104, 100, 105), 1), "low <= open"),
    (bar(0, (0, 0, 0, 0), 1), "above 0"),
    (bar(0, (-5, -5, -5, -5), 1), "above 0"),
    (bar(0, (100,) * 4, -1), "volume of 0 or more"),
    (bar(0, (2**31, 2**31, 2**31, 2**31), 1), "prices up to"),
    (bar(0, (100,) * 4, 2**32), "up to 4294967295"),
    (bar(400, (100,) * 4, 1), "to before"),
    (bar(-1, (100,) * 4, 1), "to before"),
    ((0, DAY.open + 1, 100, 100, 100, 100, 1), "whole minutes"),
    ((0, DAY.open, 101, 101, 101, 101, 1), "whole hundredths"),
])  # fmt: skip
def test_a_bar_that_cannot_be_is_refused_and_named(row: tuple[int, ...], told: str) -> None:
    with pytest.raises(BadValue, match=told) as caught:
        from_bars(DAY, np.array([row], BAR), {})

    assert "instrument 0" in str(caught.value)


def test_a_minute_twice_is_refused() -> None:
    with pytest.raises(BadValue, match="once"):
        from_bars(DAY, np.array([bar(0, (100,) * 4, 1), bar(0, (101,) * 4, 1)], BAR), {})
