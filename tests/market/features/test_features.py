"""Live equals bulk on dirty days, and bulk never looks ahead."""

from dataclasses import dataclass
from datetime import date, time, timedelta

import numpy as np
import pytest

from market.candles import CANDLE, INTERVALS, Provenance, newest_revisions
from market.errors import BadValue
from market.features import FEATURE, NAMES, Factors, Unknown, Window, compute, market_of, members_of, sums
from market.features.audit import agreement, leaks
from market.instruments import Instrument, Kind
from market.models.examples import sequences
from market.money import UNKNOWN
from market.sessions import MINUTE, Sessions, day_number, session

SHARES, INDEX, VIX = range(4), 4, 5
INSTRUMENTS = [
    *(Instrument(id=i, symbol=f"NSE:S{i}", sector="Banks" if i < 2 else "Metals") for i in SHARES),
    Instrument(id=INDEX, symbol="NSE:NIFTY 50", kind=Kind.INDEX),
    Instrument(id=VIX, symbol="NSE:INDIA VIX", kind=Kind.INDEX),
]
MEMBERS = members_of(INSTRUMENTS)
FIRST = date(2026, 1, 5)
VALUES = {name: k for k, name in enumerate(NAMES)}


@dataclass
class Days:
    """Some sessions of six instruments: their minutes, daily candles and the table of the sessions."""

    minutes: np.ndarray
    daily: np.ndarray
    table: np.ndarray

    def bulk(self, minutes=None, factors=None, daily_factors=None):
        """The rows of all instruments, by instrument and minute."""
        minutes = newest_revisions(self.minutes if minutes is None else minutes)
        ids = [i.id for i in INSTRUMENTS if (minutes["instrument"] == i.id).any()]
        of = {i: (minutes["instrument"] == i, self.daily["instrument"] == i) for i in ids}

        def arguments(i):
            mine, days = of[i]
            return minutes[mine], self.daily[days]

        def factor(i):
            mine, days = of[i]
            return (factors.of(mine), daily_factors.of(days)) if factors else (None, None)

        market = market_of([sums(*arguments(i), MEMBERS, self.table, *factor(i)) for i in ids], MEMBERS)
        return np.concatenate([compute(*arguments(i), market, self.table, *factor(i)) for i in ids])


def days(seed, sessions=3, length=101, gaps=0.03, quiet=0.2, missing=0.03, history=40):
    """Sessions of so many minutes; every instrument has its own quiet, GAP and missing ones, and one a late start."""
    rng = np.random.default_rng(seed)
    closes = time(*divmod(9 * 60 + 15 + length, 60))
    hours = [session(FIRST + timedelta(k), closes=closes) for k in range(sessions)]
    starts = np.concatenate([s.starts(MINUTE) for s in hours])
    numbers = np.repeat([day_number(s.date) for s in hours], length)
    minutes = [_minutes(rng, i, starts, numbers, gaps, quiet, missing) for i in range(len(INSTRUMENTS))]
    daily = [_daily(rng, i, numbers[0] - history, history + sessions) for i in range(len(INSTRUMENTS))]
    return Days(np.concatenate(minutes), np.concatenate(daily), Sessions(hours).table())


def _minutes(rng, instrument, starts, numbers, gaps, quiet, missing):
    n = len(starts)
    rows = np.zeros(n, CANDLE)
    rows["instrument"], rows["interval"], rows["start"], rows["session"] = instrument, 60, starts, numbers
    still = rng.random(n) < quiet
    step = rng.integers(-8, 9, n) * ~still
    rows["close"] = 10_000_000 + 500 * np.cumsum(step)
    rows["open"] = np.append(10_000_000, rows["close"][:-1])
    reach = rng.integers(0, 4, (2, n)) * 500 * ~still
    rows["high"] = np.maximum(rows["open"], rows["close"]) + reach[0]
    rows["low"] = np.minimum(rows["open"], rows["close"]) - reach[1]
    rows["trades"] = np.where(still, 0, rng.integers(1, 50, n))
    rows["volume"] = 0 if instrument >= INDEX else rng.integers(1, 100_000, n) * ~still
    rows["completeness"], rows["provenance"] = 1.0, Provenance.LIVE
    hole = rng.random(n) < gaps
    _lose(rows, hole)
    late = numbers == numbers[0]
    there = (rng.random(n) >= missing) & ~(late & (np.arange(n) < 37) & (instrument == 1))
    return rows[there]


def _lose(rows, hole):
    rows["provenance"][hole] = Provenance.GAP
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name][hole] = UNKNOWN
    rows["volume"][hole] = rows["trades"][hole] = 0


def _daily(rng, instrument, first, count):
    rows = np.zeros(count, CANDLE)
    rows["instrument"], rows["interval"] = instrument, INTERVALS["1d"]
    rows["session"] = first + np.arange(count)
    rows["start"] = rows["session"].astype(np.int64) * 86_400 * 1_000_000_000
    rows["close"] = 10_000_000 + 500 * np.cumsum(rng.integers(-100, 101, count))
    rows["open"], rows["high"], rows["low"] = rows["close"] - 500, rows["close"] + 5000, rows["close"] - 5000
    rows["volume"] = 0 if instrument >= INDEX else rng.integers(10**6, 10**7, count)
    rows["provenance"] = Provenance.OFFICIAL
    return rows


def live(of, minutes=None, window=None):
    """The rows of a window stepped through minutes, by instrument and minute."""
    minutes = of.minutes if minutes is None else minutes
    if window is None:
        window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
        window.warm(minutes[:0], of.daily)
    made = [window.step(minutes[minutes["start"] == start]) for start in np.unique(minutes["start"])]
    return ordered(np.concatenate([np.zeros(0, FEATURE), *made]))


def ordered(rows):
    return rows[np.lexsort((rows["start"], rows["instrument"]))]


def assert_equal(made, expected):
    found = agreement(made, expected)
    assert found.holds, found


@pytest.mark.parametrize(
    "seed, length, gaps, quiet, missing",
    [
        (1, 61, 0.0, 0.0, 0.0),
        (2, 75, 0.1, 0.3, 0.1),
        (3, 101, 0.2, 0.97, 0.3),
        (4, 64, 0.05, 0.97, 0.0),
        (5, 61, 0.5, 0.3, 0.3),
        (6, 90, 0.9, 0.1, 0.0),
    ],
)
def test_each_live_row_equals_that_of_bulk(seed, length, gaps, quiet, missing):
    of = days(seed, 2, length, gaps, quiet, missing)

    assert_equal(live(of), of.bulk())


def test_a_longer_series_than_the_window_holds_gives_the_same_values():
    of = days(1, 8, 101, 0.01, 0.1, 0.01, 900)

    made = live(of)

    assert_equal(made, of.bulk())
    assert np.isfinite(made["values"][-1]).sum() > 100


@pytest.mark.parametrize("cut", [1, 37, 101, 150, 199, 202, 250, 302])
def test_a_window_begun_anew_goes_on_with_the_same_rows(cut):
    of = days(2)
    starts = np.unique(of.minutes["start"])
    before = of.minutes["start"] < starts[cut]
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[before], of.daily)

    made = live(of, of.minutes[~before], window)

    expected = of.bulk()
    assert_equal(made, expected[expected["start"] >= starts[cut]])


def test_a_window_warmed_a_session_at_a_time_is_the_same_as_at_once():
    of = days(3, 4)
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    numbers = np.unique(of.minutes["session"])
    for number in numbers[:-1]:
        window.warm(of.minutes[of.minutes["session"] == number], of.daily[of.daily["session"] <= number])

    made = live(of, of.minutes[of.minutes["session"] == numbers[-1]], window)

    expected = of.bulk()
    assert_equal(made, expected[expected["session"] == numbers[-1]])


def test_a_shard_makes_the_rows_of_its_own_instruments_alone():
    of = days(4)
    window = Window([0, 3], MEMBERS, of.table)
    window.warm(of.minutes[:0], of.daily)

    made = live(of, None, window)

    expected = of.bulk()
    assert_equal(made, expected[np.isin(expected["instrument"], [0, 3])])


@pytest.mark.parametrize("cut", [0, 1, 35, 120])
def test_a_sequence_of_the_window_is_that_of_bulk(cut):
    of = days(12, 2, 75, 0.1, 0.3, 0.1)
    starts = np.unique(of.minutes["start"])
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[of.minutes["start"] < starts[cut]], of.daily)
    known = 0

    for start in starts[cut:]:
        made = window.step(of.minutes[of.minutes["start"] == start])
        found = window.sequences(made)
        for row, sequence in zip(made, found, strict=True):
            mine = of.minutes[(of.minutes["instrument"] == row["instrument"]) & (of.minutes["start"] <= start)]
            np.testing.assert_array_equal(sequence, sequences(mine[-80:] if len(mine) > 80 else mine)[-1])
            known += np.isfinite(sequence).all()

    assert known > 100


def test_closes_and_the_one_before_the_session_are_those_of_the_candles():
    of = days(13, 2, 61, 0.2)
    window = Window(SHARES, MEMBERS, of.table)
    window.warm(of.minutes[:0], of.daily[:0])
    for start in np.unique(of.minutes["start"]):
        made = window.step(of.minutes[of.minutes["start"] == start])

    closes, previous = window.closes(made), window.previous(made)

    last = int(of.minutes["session"].max())
    for row, mine, before in zip(made, closes, previous, strict=True):
        rows = of.minutes[(of.minutes["instrument"] == row["instrument"]) & (of.minutes["close"] > 0)]
        there = row["unknown"] != Unknown.GAP
        assert mine[np.isfinite(mine)].tolist() == (rows["close"].tolist() if there else [])
        expected = rows["close"][rows["session"] < last][-1]
        assert np.array_equal(before, expected if there else np.nan, equal_nan=True)
    assert (made["unknown"] != Unknown.GAP).any()


def corrected(rows, kind, rng):
    """A later revision of candles: repaired, lost after all, or of a GAP made good."""
    rows = rows.copy()
    rows["revision"] += 1
    if kind == "lost":
        _lose(rows, np.ones(len(rows), np.bool_))
        return rows
    rows["provenance"] = Provenance.REPAIRED
    rows["close"] = 10_000_000 + 500 * rng.integers(-20, 20, len(rows))
    rows["open"] = rows["close"]
    rows["high"], rows["low"], rows["volume"] = rows["close"] + 1000, rows["close"] - 1500, 777
    rows["trades"] = 5
    return rows


@pytest.mark.parametrize("kind", ["repaired", "lost"])
@pytest.mark.parametrize("at, back", [(30, 1), (61, 1), (66, 5), (100, 40), (140, 66), (150, 140)])
def test_a_correction_changes_what_comes_after_it_and_nothing_before(at, back, kind):
    of = days(at + back, 3, 61, gaps=0.1)
    rng = np.random.default_rng(at)
    starts = np.unique(of.minutes["start"])
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[:0], of.daily)
    early = of.minutes["start"] < starts[at]
    rows = corrected(of.minutes[of.minutes["start"] == starts[at - back]][::2], kind, rng)

    made = [live(of, of.minutes[early], window), window.step(rows), live(of, of.minutes[~early], window)]

    before, after = of.bulk(), of.bulk(np.concatenate([of.minutes, rows]))
    expected = [before[before["start"] < starts[at]], after[after["start"] >= starts[at]]]
    assert_equal(made[0], expected[0])
    assert not len(made[1])
    assert_equal(made[2], expected[1])
    assert not window.outdated
    assert (before["values"] != after["values"]).any()


def test_corrections_come_with_the_next_minute_or_twice_to_no_other_end():
    of = days(8, 2, 61)
    starts = np.unique(of.minutes["start"])
    rows = corrected(of.minutes[of.minutes["start"] == starts[70]], "repaired", np.random.default_rng(1))
    again = np.concatenate([rows, of.minutes[of.minutes["start"] == starts[70]]])
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[of.minutes["start"] < starts[72]], of.daily)
    window.step(np.concatenate([rows, of.minutes[of.minutes["start"] == starts[72]]]))

    window.step(again)
    made = live(of, of.minutes[of.minutes["start"] > starts[72]], window)

    expected = of.bulk(np.concatenate([of.minutes, rows]))
    assert_equal(made, expected[expected["start"] > starts[72]])


def test_a_correction_behind_what_is_remembered_is_told_and_warming_again_puts_it_right():
    of = days(9, 10, 101)
    starts = np.unique(of.minutes["start"])
    rows = corrected(of.minutes[of.minutes["start"] == starts[30]][:1], "repaired", np.random.default_rng(1))
    one = int(rows["instrument"][0])
    known = np.concatenate([of.minutes, rows])
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[of.minutes["start"] < starts[1000]], of.daily)

    window.step(rows)
    told = set(window.outdated)
    window.forget(one)
    window.warm(known[(known["instrument"] == one) & (known["start"] < starts[1000])], of.daily[:0])

    made, expected = live(of, of.minutes[of.minutes["start"] >= starts[1000]], window), of.bulk(known)
    assert told == {one}
    assert window.outdated == set()
    assert_equal(made, expected[expected["start"] >= starts[1000]])


def test_prices_before_a_split_are_adjusted_live_as_in_bulk():
    of = days(10, 3, 61)
    day = int(of.minutes["session"].max())
    old, old_day = of.minutes["session"] >= day, of.daily["session"] >= day
    split = of.minutes["instrument"] == 2, of.daily["instrument"] == 2
    for rows, new in ((of.minutes, old & split[0]), (of.daily, old_day & split[1])):
        for name in ("open", "high", "low", "close"):
            rows[name][new & (rows[name] > 0)] //= 3
        rows["volume"][new] *= 3
    factors = [
        Factors(np.where(mine & ~new, 1 / 3, 1.0), np.where(mine & ~new, 3.0, 1.0))
        for mine, new in zip(split, (old, old_day), strict=True)
    ]
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[~old], of.daily)
    late = corrected(of.minutes[~old & split[0]][-7:-6], "repaired", np.random.default_rng(1))

    window.adjust(2, 1 / 3, day)
    window.step(late)
    made = live(of, of.minutes[old], window)

    known = newest_revisions(np.concatenate([of.minutes, late]))
    mine = (known["instrument"] == 2) & (known["session"] < day)
    factors[0] = Factors(np.where(mine, 1 / 3, 1.0), np.where(mine, 3.0, 1.0))
    expected = of.bulk(known, *factors)
    assert_equal(made, expected[expected["session"] == day])
    first = expected[(expected["session"] == day) & (expected["instrument"] == 2)]["values"]
    assert np.nanmax(np.abs(first[:, VALUES["gap"]])) < 0.05


@pytest.mark.parametrize("price, volume", [(0.1, 10.0), (1 / 3, 3.0), (7.77, 1.0)])
def test_a_constant_factor_changes_no_feature(price, volume):
    of = days(11, 3, 61)

    def constant(rows):
        return Factors(np.full(len(rows), price), np.full(len(rows), volume))

    vix = np.isin(of.minutes["instrument"], VIX), np.isin(of.daily["instrument"], VIX)
    factors = [constant(rows) for rows in (of.minutes, of.daily)]
    for one, flags in zip(factors, vix, strict=True):
        one.price[flags] = 1.0  # the level of India VIX is a feature

    assert_equal(of.bulk(None, *factors), of.bulk())


def test_rows_without_a_price_are_unknown_for_their_reason():
    of = days(12, 1, 61, 0.0, 0.0, 0.0)
    rows = of.minutes[of.minutes["instrument"] == 0].copy()
    _lose(rows, np.arange(61) == 5)
    rows["close"][7] = UNKNOWN
    rows["trades"][20:52] = rows["volume"][20:52] = 0
    rows["start"][60] += 10 * MINUTE

    made = of.bulk(rows)

    expected = {5: Unknown.GAP, 7: Unknown.NO_PRICE, 49: Unknown.STALE, 51: Unknown.STALE, 60: Unknown.NO_SESSION}
    for k in range(61):
        unknown = expected.get(k, Unknown.STALE if k == 50 else Unknown.KNOWN)
        assert made["unknown"][k] == unknown, k
        assert np.isnan(made["values"][k]).all() == bool(unknown), k
    assert_equal(live(of, rows), made)


# Look-ahead


def one(of, planted=None):
    """Bulk of the first share as a function of its minutes, with a leak planted in one feature."""
    daily = of.daily[of.daily["instrument"] == 0]
    market = market_of([sums(of.minutes[of.minutes["instrument"] == 0], daily, MEMBERS, of.table)], MEMBERS)

    def made(minutes):
        rows = compute(minutes, daily, market, of.table)
        if planted:
            planted(rows["values"][:, VALUES["return_5_1m"]])
        return rows

    return made, of.minutes[of.minutes["instrument"] == 0]


def centred(values):
    values[2:-2] = (values[:-4] + values[1:-3] + values[2:-2] + values[3:-1] + values[4:]) / 5


def filled_back(values):
    known = np.flatnonzero(np.isfinite(values))
    values[: known[0] if len(known) else 0] = values[known[:1]]


def normed(values):
    values -= np.nanmean(values)


CUTS = sorted(np.random.default_rng(99).integers(1, 290, 25).tolist())


def test_no_feature_changes_when_the_future_is_cut_off():
    made, minutes = one(days(13))

    assert leaks(made, minutes, CUTS) == []


@pytest.mark.parametrize("leak, cuts", [(centred, CUTS), (filled_back, [3]), (normed, CUTS)])
def test_a_planted_leak_is_caught_and_named(leak, cuts):
    made, minutes = one(days(13), leak)

    assert leaks(made, minutes, cuts) == ["return_5_1m"]


def test_the_market_of_a_minute_is_the_same_without_the_minutes_after_it():
    of = days(14)
    starts = np.unique(of.minutes["start"])

    whole, cut = of.bulk(), of.bulk(of.minutes[of.minutes["start"] <= starts[150]])

    same = whole[whole["start"] <= starts[150]]["values"]
    assert np.array_equal(same, cut["values"], equal_nan=True)


def test_an_official_daily_candle_counts_where_there_is_none_of_minutes():
    of = days(17, 3, 61)
    own = of.daily[of.daily["session"] >= of.minutes["session"][0]].copy()
    own["start"] += 225 * MINUTE
    own["provenance"], own["close"] = Provenance.LIVE, own["close"] + 5000
    both = Days(of.minutes, np.concatenate([own, of.daily]), of.table)

    expected = both.bulk()

    alone = Days(of.minutes, np.concatenate([of.daily[of.daily["session"] < own["session"].min()], own]), of.table)
    assert_equal(expected, alone.bulk())
    assert_equal(live(both), expected)
    assert np.nanmax(np.abs(expected["values"] - of.bulk()["values"])) > 0


# What is refused


def test_candles_of_several_instruments_are_refused():
    of = days(15, 1, 61)

    with pytest.raises(BadValue, match="one instrument at a time"):
        compute(of.minutes, of.daily, market_of([], MEMBERS), of.table)


def test_no_candles_make_no_rows():
    of = days(15, 1, 61)

    assert len(compute(of.minutes[:0], of.daily[:0], market_of([], MEMBERS), of.table)) == 0
    assert len(Window([0], MEMBERS, of.table).step(of.minutes[:0])) == 0


def test_rows_of_other_universes_are_counted_and_left_out():
    of = days(15, 1, 61)
    window = Window([0, 1], MEMBERS, of.table)
    foreign = of.minutes[:3].copy()
    foreign["instrument"] = 77

    made = window.step(np.concatenate([foreign, of.minutes[of.minutes["start"] == of.minutes["start"][0]]]))

    assert window.foreign == 3
    assert set(made["instrument"]) <= {0, 1}


def test_a_row_outside_of_every_session_keeps_later_minutes_from_nothing():
    of = days(16, 1, 61)
    stray = of.minutes[:1].copy()
    stray["start"] += 1000 * 86_400_000_000_000
    window = Window([i.id for i in INSTRUMENTS], MEMBERS, of.table)
    window.warm(of.minutes[:0], of.daily)

    told = window.step(stray)

    assert told["unknown"].tolist() == [Unknown.NO_SESSION]
    assert_equal(live(of, None, window), of.bulk())
