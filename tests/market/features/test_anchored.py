"""The session so far, the longer candles and the market, by hand."""

from datetime import date, time

import numpy as np
import pytest

from market.candles import CANDLE, Provenance
from market.features import FEATURES, NAMES, SET, compute, market_of, members_of, merged, sums
from market.features.anchored import SUPERTREND, supertrend
from market.features.series import hours_of, rolled, series_of
from market.indicators import supertrend as reference
from market.instruments import Instrument, Kind
from market.sessions import MINUTE, SECOND, Sessions, day_number, session

MONDAY, TUESDAY = (session(date(2026, 1, day), closes=time(9, 32)) for day in (5, 6))
TABLE = Sessions([MONDAY, TUESDAY]).table()
INSTRUMENTS = [
    Instrument(id=0, symbol="NSE:A", sector="Banks"),
    Instrument(id=1, symbol="NSE:B", sector="Banks"),
    Instrument(id=2, symbol="NSE:C", sector="Metals"),
    Instrument(id=3, symbol="NSE:NIFTY 50", kind=Kind.INDEX),
    Instrument(id=4, symbol="NSE:INDIA VIX", kind=Kind.INDEX),
]
MEMBERS = members_of(INSTRUMENTS)
NO_DAYS = np.zeros(0, CANDLE)


def minutes(instrument, closes, of=MONDAY, first=0, **columns):
    """Candles of one price each, in rupees, from the open on."""
    rows = np.zeros(len(closes), CANDLE)
    rows["instrument"], rows["interval"], rows["session"] = instrument, 60, day_number(of.date)
    rows["start"] = of.open + (first + np.arange(len(closes))) * MINUTE
    for name in ("open", "high", "low", "close"):
        rows[name] = np.rint(np.array(columns.get(name, closes)) * 10_000)
    rows["volume"] = columns.get("volume", 100)
    rows["trades"], rows["provenance"] = 1, Provenance.LIVE
    return rows


def daily(instrument, closes, volumes, before=MONDAY):
    rows = np.zeros(len(closes), CANDLE)
    rows["instrument"], rows["interval"] = instrument, 86_400
    rows["session"] = day_number(before.date) - len(closes) + np.arange(len(closes))
    rows["start"] = rows["session"].astype(np.int64) * 86_400 * SECOND
    for name in ("open", "high", "low", "close"):
        rows[name] = np.rint(np.array(closes) * 10_000)
    rows["volume"], rows["provenance"] = volumes, Provenance.OFFICIAL
    return rows


def features(rows, days=NO_DAYS, market=None):
    market = market or market_of([sums(rows, days, MEMBERS, TABLE)], MEMBERS)
    made = compute(rows, days, market, TABLE)
    return {name: made["values"][:, k] for k, name in enumerate(NAMES)}


def test_the_session_so_far_is_what_one_finds_by_hand():
    rows = minutes(
        0,
        [101, 103, 102],
        open=[100, 101, 103],
        high=[102, 104, 103],
        low=[100, 101, 101],
        volume=[100, 300, 200],
    )

    made = features(rows, daily(0, [98.0], [1000]))

    np.testing.assert_allclose(made["elapsed"], [1 / 17, 2 / 17, 3 / 17])
    np.testing.assert_allclose(made["minutes_to_close"], [16, 15, 14])
    np.testing.assert_allclose(made["gap"], [100 / 98 - 1] * 3)
    np.testing.assert_allclose(made["return_day"], [101 / 98 - 1, 103 / 98 - 1, 102 / 98 - 1])
    np.testing.assert_allclose(made["day_position"], [1 / 2, 3 / 4, 2 / 4])
    np.testing.assert_allclose(made["day_range"], [2 / 101, 4 / 103, 4 / 102])
    money = np.cumsum([101 * 100, 308 / 3 * 300, 102 * 200])
    np.testing.assert_allclose(made["vwap_gap"], np.array([101, 103, 102]) * [100, 400, 600] / money - 1)
    np.testing.assert_allclose(made["obv"], [1.0, 1.0, (400 - 200) / 600])


def test_the_session_before_counts_for_nothing_but_its_close():
    made = features(np.concatenate([minutes(0, [50, 60, 80]), minutes(0, [84, 88], TUESDAY)]))

    np.testing.assert_allclose(made["gap"], [np.nan] * 3 + [0.05] * 2)
    np.testing.assert_allclose(made["return_day"], [np.nan] * 3 + [0.05, 0.1])
    np.testing.assert_allclose(made["obv"], [0, 0.5, 2 / 3, 0, 0.5], atol=1e-15)
    np.testing.assert_allclose(made["day_range"][3:], [0, 4 / 88])


@pytest.mark.parametrize(
    "back, expected", [(0, 100.0), (1, 80.0)], ids=["an official close", "a daily candle older than the last minutes"]
)
def test_the_previous_close_is_the_newest_there_is(back, expected):
    rows = np.concatenate([minutes(0, [50, 60, 80]), minutes(0, [88], TUESDAY)])
    days = daily(0, [100.0], [10], TUESDAY)
    days["session"] -= back

    assert features(rows, days)["return_day"][-1] == pytest.approx(88 / expected - 1)


def test_the_pace_of_a_days_volume_is_judged_by_twenty_days_before_it():
    days = daily(0, np.full(22, 100.0), np.array([999, 999, *np.arange(100, 2100, 100)]))

    made = features(minutes(0, [100, 101], volume=[210, 42]), days)

    np.testing.assert_allclose(made["volume_pace_20"], [210 / (1050 / 17), 252 / (1050 * 2 / 17)])


def test_supertrend_starts_anew_at_each_session_with_the_rows_before_it():
    rng = np.random.default_rng(4)
    close = 100 + np.cumsum(rng.normal(0, 1, 90))
    high, low, label = close + rng.random(90), close - rng.random(90), np.repeat([1, 2, 3], 30)
    line, direction = reference(high, low, close, 10, 3.0, label)

    made = [
        supertrend(*(c[max(k - SUPERTREND, 0) : k + 30] for c in (high, low, close)), min(k, 10)) for k in (0, 30, 60)
    ]

    np.testing.assert_allclose(np.concatenate([m[0] for m in made]), direction)
    np.testing.assert_allclose(np.concatenate([m[1] for m in made]), line / close - 1)


def test_a_longer_candle_is_seen_from_the_end_of_its_last_minute_on():
    rows = minutes(0, [10, 12, 9, 11, 13, 20, 21], volume=[1, 2, 3, 4, 5, 6, 7])

    candles, seen = rolled(series_of(rows), hours_of(TABLE), 300)

    assert seen.tolist() == [-1, -1, -1, -1, 0, 0, 0]
    first = candles[0]
    assert [first[name] for name in ("open", "high", "low", "close")] == [100_000, 130_000, 90_000, 130_000]
    assert (first["start"], first["volume"]) == (MONDAY.open, 15)


def test_a_longer_candle_is_made_of_the_minutes_there_are_and_the_last_may_be_short():
    whole = minutes(0, np.arange(10, 27))
    rows = np.concatenate([whole[:3], whole[11:17], minutes(0, [50], TUESDAY)])

    candles, seen = rolled(series_of(rows), hours_of(TABLE), 300)

    assert ((candles["start"][:-1] - MONDAY.open) // MINUTE).tolist() == [0, 10, 15]
    assert candles["close"].tolist()[:3] == [120_000, 240_000, 260_000]
    assert seen.tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 2, 2]


def test_the_market_is_what_one_counts_by_hand():
    rows = [
        minutes(0, [110, 111]),
        minutes(1, [90, 91]),
        minutes(2, [100.0, 99.0]),
        minutes(3, [1010, 1020]),
        minutes(4, [15.0, 12.0]),
    ]
    days = [daily(i, [close], [10]) for i, close in enumerate([100.0, 100.0, 100.0, 1000.0, 10.0])]

    market = market_of([sums(r, d, MEMBERS, TABLE) for r, d in zip(rows, days, strict=True)], MEMBERS)

    a, c = features(rows[0], days[0], market), features(rows[2], days[2], market)
    np.testing.assert_allclose(a["breadth_day"], [1 / 3, 1 / 3])
    np.testing.assert_allclose(a["breadth_1"], [np.nan, 2 / 3])
    np.testing.assert_allclose(a["index_return_day"], [0.01, 0.02])
    np.testing.assert_allclose(a["index_return_1"], [np.nan, 1020 / 1010 - 1])
    np.testing.assert_allclose(a["relative_index_day"], [0.1 - 0.01, 0.11 - 0.02])
    np.testing.assert_allclose(a["sector_return_day"], [0.0, (0.11 - 0.09) / 2], atol=1e-15)
    np.testing.assert_allclose(a["relative_sector_day"], [0.1, 0.11 - 0.01])
    np.testing.assert_allclose(c["relative_sector_day"], [0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(c["vix"], [0.15, 0.12])
    np.testing.assert_allclose(c["vix_return_day"], [0.5, 0.2])
    np.testing.assert_allclose(features(rows[3], days[3], market)["sector_return_day"], [np.nan, np.nan])


def test_sums_of_groups_of_instruments_add_up_in_any_order():
    rng = np.random.default_rng(2)
    parts = [sums(minutes(i, rng.integers(90, 110, 15)), NO_DAYS, MEMBERS, TABLE) for i in range(5)]

    one, other = merged(parts), merged([merged(parts[3:]), merged([parts[1]]), merged([parts[2], parts[0]])])

    assert (one[["start", "group"]] == other[["start", "group"]]).all()
    for name in ("level", "count", "risen", "total"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12, atol=1e-15)


def test_every_feature_is_documented_and_the_set_is_the_one_that_was_named():
    assert SET == "f1"
    assert len(NAMES) == len(set(NAMES)) == len(FEATURES)
    assert all(f.unit and f.formula and f.source and f.timeframe for f in FEATURES)
    assert NAMES[:3] == ("sma_gap_20_1m", "ema_gap_20_1m", "macd_line_12_26_1m")
    assert {"rsi_14_1m", "return_5_1m", "ema_gap_20_5m", "adx_14_15m", "sma_gap_200_1d", "vwap_gap"} <= set(NAMES)
