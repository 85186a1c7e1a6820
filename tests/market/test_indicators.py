"""Indicators: small sums by hand, what must hold for every one of them, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from market import indicators as of
from market.errors import BadValue
from market.indicators import COLUMNS, INDICATORS, Indicator, Study, studies

NAN = np.nan
CLOSE = np.array([10.0, 11.0, 13.0, 12.0])
HIGH = np.array([10.5, 11.5, 13.0, 13.5])
LOW = np.array([9.5, 10.0, 11.0, 11.5])
VOLUME = np.array([100.0, 50.0, 0.0, 200.0])
EVERY = sorted(INDICATORS)


def candles(rows: int, stretches: bool = True) -> dict[str, np.ndarray]:
    """Prices in whole paise; a third of the rows, and `stretches` of 40, in which nothing is traded."""
    rng = np.random.default_rng(7)
    moved = rng.random(rows) > 0.3
    for first in rng.integers(0, rows, rows // 200 if stretches else 0):
        moved[first : first + 40] = False
    close = np.round(2500.0 + (rng.normal(0.0, 0.8, rows) * moved).cumsum(), 2)
    open = np.r_[close[0], close[:-1]]
    reach = np.round(rng.exponential(0.4, (2, rows)) * moved, 2)
    high, low = np.maximum(open, close) + reach[0], np.minimum(open, close) - reach[1]
    volume = np.floor(rng.exponential(500.0, rows)) * moved
    return dict(zip(COLUMNS, (open, high, low, close, volume), strict=True))


def scale(indicator: Indicator, rows: dict[str, np.ndarray]) -> float:
    if indicator.scale == "price":
        return float(rows["close"][-1])
    return float(rows["volume"].max()) if indicator.scale == "volume" else float(indicator.scale)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (of.sma(CLOSE, 2), [NAN, 10.5, 12.0, 12.5]),
        # 10.5 + 2/3 of 2.5, then down by 2/3 of the way to 12
        (of.ema(CLOSE, 2), [NAN, 10.5, 10.5 + 2.5 * 2 / 3, 12.0 + (10.5 + 2.5 * 2 / 3 - 12.0) / 3]),
        (of.wma(CLOSE, 2), [NAN, 32 / 3, 37 / 3, 37 / 3]),
        # rises 1 and 2, then a fall of 1: G 1.5 then 0.75, L 0 then 0.5
        (of.rsi(CLOSE, 2), [NAN, NAN, 100.0, 60.0]),
        (of.roc(CLOSE, 2), [NAN, NAN, 30.0, 100 / 11]),
        (of.momentum(CLOSE, 2), [NAN, NAN, 3.0, 1.0]),
        (of.true_range(HIGH, LOW, CLOSE), [NAN, 1.5, 2.0, 2.0]),
        (of.atr(HIGH, LOW, CLOSE, 2), [NAN, NAN, 1.75, 1.875]),
        (of.stddev(CLOSE, 2), [NAN, 0.5, 1.0, 0.5]),
        (of.bollinger(CLOSE, 2, 2.0)[0], [NAN, 11.5, 14.0, 13.5]),
        (of.bollinger(CLOSE, 2, 2.0)[2], [NAN, 9.5, 10.0, 11.5]),
        (of.donchian(HIGH, LOW, 2)[1], [NAN, 10.5, 11.5, 12.25]),
        (of.williams_r(HIGH, LOW, CLOSE, 2), [NAN, -25.0, 0.0, -60.0]),
        (of.obv(CLOSE, VOLUME), [100.0, 150.0, 150.0, -50.0]),
        # typical prices 10, 32.5 / 3, 37 / 3, 37 / 3
        (of.vwap(HIGH, LOW, CLOSE, VOLUME), [10.0, 4625 / 450, 4625 / 450, (4625 / 3 + 7400 / 3) / 350]),
        (of.vwma(CLOSE, VOLUME, 2), [NAN, 1550 / 150, 11.0, 12.0]),
        (of.volume_ratio(VOLUME, 2), [NAN, 2 / 3, 0.0, 2.0]),
        (of.typical_price(HIGH, LOW, CLOSE), [10.0, 32.5 / 3, 37 / 3, 37 / 3]),
        (of.cmo(CLOSE, 3), [NAN, NAN, NAN, 50.0]),
    ],
)
def test_sums_by_hand(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("close", "line", "direction"),
    [
        # The middle is 3.5, then 4.5; the range 1.5, then (1.5 + 2.0) / 2.
        ([1.5, 2.5, 3.6, 4.5], [2.0, 2.75], [1.0, 1.0]),
        # 1.5, then (1.5 + 2.1) / 2: the upper band would rise to 6.3, and stays.
        ([1.5, 2.5, 3.4, 4.9], [5.0, 5.0], [-1.0, -1.0]),
        # The close is above it: the line turns to the lower band.
        ([1.5, 2.5, 3.4, 5.2], [5.0, 2.7], [-1.0, 1.0]),
    ],
)
def test_supertrend_starts_on_the_side_that_the_close_is_on(
    close: list[float], line: list[float], direction: list[float]
) -> None:
    high, low = np.array([2.0, 3.0, 4.0, 5.5]), np.array([1.0, 2.0, 3.0, 3.5])

    found = of.supertrend(high, low, np.array(close), 2, 1.0)

    np.testing.assert_allclose(found[0], [NAN, NAN, *line])
    np.testing.assert_allclose(found[1], [NAN, NAN, *direction])


def test_vwap_is_unknown_until_a_share_is_traded() -> None:
    silent = np.array([0.0, 0.0, 30.0, 0.0])

    np.testing.assert_allclose(of.vwap(HIGH, LOW, CLOSE, silent), [NAN, NAN, 37 / 3, 37 / 3])
    assert np.isnan(of.vwap(HIGH, LOW, CLOSE, np.zeros(4))).all()


@pytest.mark.parametrize("name", ["obv", "vwap", "ad", "sar"])
def test_a_session_is_as_if_nothing_had_been_before(name: str) -> None:
    rows, labels = candles(300), np.repeat([1, 2, 3], 100)
    study = studies(name)[0]

    whole = study.compute(rows, labels)[study.columns[0]]

    alone = study.compute({key: column[100:200] for key, column in rows.items()})[study.columns[0]]
    np.testing.assert_array_equal(whole[100:200], alone)


def test_supertrend_needs_only_its_session_and_the_rows_of_its_range_before_it() -> None:
    rows, labels = candles(300), np.repeat(["mon", "tue", "wed"], 100)
    study = studies("supertrend:10:2")[0]

    whole = study.compute(rows, labels)

    alone = study.compute({key: column[90:200] for key, column in rows.items()})
    for name in study.columns:
        assert np.isfinite(whole[name][10:]).all()
        np.testing.assert_array_equal(whole[name][100:200], alone[name][10:])


@pytest.mark.parametrize("name", EVERY)
def test_no_row_knows_what_comes_after_it(name: str) -> None:
    rows, labels = candles(400), np.repeat([1, 2], 200)
    study = studies(name)[0]

    whole = study.compute(rows, labels)

    for cut in (1, 7, 60, 199, 200, 201, 333):
        part = study.compute({key: column[:cut] for key, column in rows.items()}, labels[:cut])
        for column in study.columns:
            np.testing.assert_array_equal(part[column], whole[column][:cut])


def forgotten(study: Study, memory: int, stretches: bool) -> None:
    rows = candles(memory + 3000, stretches)
    whole = study.compute(rows)
    for end in range(memory + 2000, memory + 3001, 125):
        window = {key: column[end - memory : end] for key, column in rows.items()}
        for name, values in study.compute(window).items():
            there = whole[name][end - 1]
            allowed = 1e-9 * max(abs(there), scale(study.indicator, window))
            assert (np.isnan(there) and np.isnan(values[-1])) or abs(values[-1] - there) <= allowed, (name, end)


@pytest.mark.parametrize("name", [name for name in EVERY if INDICATORS[name].memory is not None])
def test_the_start_is_forgotten_after_the_memory_that_is_declared(name: str) -> None:
    study = studies(name)[0]
    assert study.memory is not None

    forgotten(study, study.memory, stretches=True)


@given(st.sampled_from([name for name in EVERY if INDICATORS[name].memory is not None and name != "kama"]), st.data())
def test_it_is_forgotten_whatever_the_parameters(name: str, data: st.DataObject) -> None:
    drawn = [
        data.draw(st.integers(int(p.least), 40) if p.whole else st.floats(0.5, 4.0))
        for p in INDICATORS[name].parameters
    ]
    try:
        study = studies(":".join([name, *map(str, drawn)]))[0]
    except BadValue:
        assume(False)
    assert study.memory is not None

    forgotten(study, study.memory, stretches=False)


@pytest.mark.parametrize("name", EVERY)
def test_every_answer_is_as_long_as_the_rows_and_short_rows_are_unknown(name: str) -> None:
    study = studies(name)[0]

    for count in (1, 2, 3, 500):
        for values in study.compute(candles(count)).values():
            assert values.dtype == np.float64 and values.shape == (count,)
    if (study.memory or 1) > 3:
        assert all(np.isnan(values).all() for values in study.compute(candles(1)).values())


@pytest.mark.parametrize("name", EVERY)
def test_what_is_given_is_not_changed(name: str) -> None:
    rows = candles(300)
    kept = {key: column.copy() for key, column in rows.items()}

    studies(name)[0].compute(rows, np.repeat([1, 2], 150))

    for key, column in rows.items():
        np.testing.assert_array_equal(column, kept[key])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("spoil", "allowed"),
    [
        (lambda column: column.astype(np.float32), "float64"),
        (lambda column: column.reshape(2, -1), "one dimension"),
        (lambda column: column.tolist(), "float64"),
        (lambda column: np.where(np.arange(column.size) == 5, NAN, column), "row 5"),
        (lambda column: np.where(np.arange(column.size) == 5, np.inf, column), "row 5"),
    ],
)
def test_a_column_that_cannot_be_is_refused_by_its_name(name: str, spoil: Callable[..., Any], allowed: str) -> None:
    indicator, rows = INDICATORS[name], candles(40)

    for spoilt in indicator.inputs:
        with pytest.raises(BadValue, match=allowed) as refused:
            indicator.function(*(spoil(rows[key]) if key == spoilt else rows[key] for key in indicator.inputs))
        assert refused.value.name == spoilt


@pytest.mark.parametrize("name", EVERY)
def test_no_rows_at_all_are_refused(name: str) -> None:
    indicator = INDICATORS[name]

    with pytest.raises(BadValue, match="at least one row"):
        indicator.function(*(np.empty(0) for _ in indicator.inputs))


@pytest.mark.parametrize("name", [name for name in EVERY if len(INDICATORS[name].inputs) > 1])
def test_where_several_columns_are_read_none_may_begin_with_a_hole(name: str) -> None:
    indicator, rows = INDICATORS[name], candles(40)
    rows[indicator.inputs[0]][0] = NAN

    with pytest.raises(BadValue, match="row 0"):
        indicator.function(*(rows[key] for key in indicator.inputs))


@pytest.mark.parametrize("name", EVERY)
def test_columns_looked_through_once_are_taken_by_all_and_only_then(name: str) -> None:
    indicator, rows = INDICATORS[name], candles(400)
    given_ = {key: rows[key] for key in indicator.inputs}

    with of.scanned(**given_):
        found = studies(name)[0].compute(rows)
        with pytest.raises(BadValue, match="row 5"):
            spoilt = {key: np.where(np.arange(400) == 5, NAN, column) for key, column in rows.items()}
            studies(name)[0].compute(spoilt)

    for column, values in studies(name)[0].compute(rows).items():
        np.testing.assert_array_equal(found[column], values)
    given_[indicator.inputs[0]][5] = NAN
    with pytest.raises(BadValue, match="row 5"):
        studies(name)[0].compute(rows)


def test_looking_through_refuses_what_an_indicator_would() -> None:
    whole = np.ones(5)

    for spoilt, said in ((np.r_[NAN, whole[1:]], "row 0"), (np.r_[1.0, NAN], "rows"), (np.ones(5, "i8"), "float64")):
        with pytest.raises(BadValue, match=said), of.scanned(high=whole, low=spoilt):
            pass


@pytest.mark.parametrize("name", [name for name in EVERY if len(INDICATORS[name].inputs) > 1])
def test_columns_of_different_lengths_are_refused(name: str) -> None:
    indicator, rows = INDICATORS[name], candles(40)
    last = indicator.inputs[-1]

    with pytest.raises(BadValue, match=f"{last}: '39 rows'"):
        indicator.function(*(rows[key][: 39 if key == last else 40] for key in indicator.inputs))


@pytest.mark.parametrize("name", [name for name in EVERY if INDICATORS[name].parameters])
def test_a_parameter_is_refused_outside_the_range_that_is_declared(name: str) -> None:
    indicator, rows = INDICATORS[name], candles(40)
    given_ = [rows[key] for key in indicator.inputs]
    defaults = [parameter.default for parameter in indicator.parameters]

    for k, parameter in enumerate(indicator.parameters):
        wrong = [parameter.least - 1, parameter.most + 1, NAN, "14", True] if parameter.whole else [0.0, 1e7, NAN, "2"]
        for value in [int(v) if parameter.whole and isinstance(v, float) and v == v else v for v in wrong]:
            with pytest.raises(BadValue) as refused:
                indicator.function(*given_, *defaults[:k], value, *defaults[k + 1 :])
            assert refused.value.name == parameter.name


@pytest.mark.parametrize("name", [name for name in EVERY if INDICATORS[name].parameters])
def test_the_least_that_is_declared_is_taken(name: str) -> None:
    indicator, rows = INDICATORS[name], candles(200)
    given_ = [rows[key] for key in indicator.inputs]
    defaults = [parameter.default for parameter in indicator.parameters]
    free = [(k, p) for k, p in enumerate(indicator.parameters) if p.name not in {"slow", "middle", "long"}]

    for k, parameter in free:
        least = int(parameter.least) if parameter.whole else 1e-3
        found = indicator.function(*given_, *defaults[:k], least, *defaults[k + 1 :])
        assert all(np.isfinite(values).any() for values in (found if isinstance(found, tuple) else (found,)))


def test_a_ratio_of_averages_forgets_only_while_something_moves() -> None:
    moved = np.array([10.0, 11.0, 10.5, 11.5, 11.0])
    flat = np.r_[moved, np.full(200, 11.0)]

    # Both averages fade alike: their ratio is what it was, while a window of the flat rows has none.
    assert of.rsi(flat, 2)[-1] == pytest.approx(of.rsi(flat, 2)[4])
    assert of.rsi(flat[-57:], 2)[-1] == 0


def test_an_indicator_of_an_indicator_starts_when_both_are_warm() -> None:
    close = candles(300)["close"]

    found = of.ema(of.rsi(close, 14), 9)

    assert np.isnan(found[:22]).all() and np.isfinite(found[22:]).all()
    assert found[22] == pytest.approx(of.rsi(close, 14)[14:23].mean())


def test_what_never_rose_or_fell_is_0_as_talib_has_it() -> None:
    flat = np.full(60, 2513.35)

    assert of.rsi(flat, 14)[-1] == 0 and of.cci(flat, flat, flat, 20)[-1] == 0
    assert of.stddev(flat, 20)[-1] == 0 and of.adx(flat, flat, flat, 14)[-1] == 0


@pytest.mark.parametrize("labels", [np.arange(39), [1] * 40, np.ones((40, 1))])
def test_labels_of_sessions_are_one_a_row(labels: Any) -> None:
    rows = candles(40)

    with pytest.raises(BadValue, match="session"):
        of.obv(rows["close"], rows["volume"], labels)


def test_every_function_of_the_package_stands_in_the_catalogue_with_its_formula_and_source() -> None:
    functions = {name for name in of.__all__ if inspect.isfunction(getattr(of, name))} - {
        "computed",
        "scanned",
        "studies",
    }

    assert functions == set(INDICATORS)
    assert all(indicator.told and indicator.formula and indicator.source for indicator in INDICATORS.values())


def test_no_name_is_used_twice() -> None:
    names = [name for indicator in INDICATORS.values() for name in (indicator.name, *indicator.also)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("sma:20", ["sma_20"]),
        (" RSI , obv", ["rsi_14", "obv"]),
        ("macd:5:10:3", ["macd_5_10_3_line", "macd_5_10_3_signal", "macd_5_10_3_histogram"]),
        ("macd:5:30", ["macd_5_30_9_line", "macd_5_30_9_signal", "macd_5_30_9_histogram"]),
        ("bbands:20:2.5", ["bollinger_20_2.5_upper", "bollinger_20_2.5_middle", "bollinger_20_2.5_lower"]),
        ("sma:20,sma:50", ["sma_20", "sma_50"]),
        ("sar:0.02:0.2", ["sar_0.02_0.2"]),
    ],
)
def test_what_is_asked_for_names_its_columns(text: str, columns: list[str]) -> None:
    assert [column for study in studies(text) for column in study.columns] == columns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bolinger", "did you mean bollinger"),
        ("qqq", "there are sma"),
        ("", "there are sma"),
        ("rsi:x", "n is 'x': give a whole number"),
        ("rsi:14.5", "n is '14.5': give a whole number"),
        ("rsi:1", "give 2 to 100,000"),
        ("rsi:14:3", "rsi takes n"),
        ("obv:3", "takes no parameters"),
        ("sma:", "n is ''"),
        ("macd:26:12", "give a number above fast, 26"),
        ("bollinger:20:nan", "width is nan"),
        ("bollinger:20:0", "width is 0"),
        ("sma:20,SMA:20", "ask for an indicator once"),
        ("rsi,,sma", "there are sma"),
    ],
)
def test_what_is_asked_for_wrongly_is_told(text: str, said: str) -> None:
    with pytest.raises(BadValue, match="set") as refused:
        studies(text)

    assert said in str(refused.value)
