"""Adjustment and breaks: hand sums, what must always hold, and what an audit says."""

from __future__ import annotations

import pickle
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.actions import Actions
from market.adjustment import adjusted, adjusted_columns, factors, total_return
from market.breaks import breaks, refuse_breaks, simple
from market.candles import CANDLE
from market.errors import BadValue, UnexplainedBreak
from market.money import UNKNOWN
from market.sessions import day_number
from tests.market.test_actions import LATER, MIDNIGHT, NOW, told

BAJFINANCE = Actions([told("BAJFINANCE SPLIT 2016-09-08 5"), told("BAJFINANCE BONUS 2016-09-08 1:1")])
DAYS = np.array([day_number(date(2016, 9, d)) for d in (6, 7, 8, 9)], np.int32)
# The exchange's closes of these days, and opens.
CLOSES = np.array([11310.4, 11393.3, 1162.8, 1120.95])
OPENS = np.array([11200.0, 11330.0, 1153.9, 1150.0])


def test_a_split_in_five_and_a_bonus_of_one_for_one_are_ten() -> None:
    known = factors(BAJFINANCE, "NSE:BAJFINANCE", NOW)

    assert known.prices(DAYS).tolist() == [0.1, 0.1, 1.0, 1.0]
    assert known.volumes(DAYS).tolist() == [10.0, 10.0, 1.0, 1.0]


def test_before_the_ex_date_begins_the_series_is_as_it_was() -> None:
    known = factors(BAJFINANCE, "NSE:BAJFINANCE", MIDNIGHT - 1)

    assert known.prices(DAYS).tolist() == [1.0] * 4
    assert factors(BAJFINANCE, "NSE:TCS", NOW).prices(DAYS).tolist() == [1.0] * 4


def test_an_announced_split_changes_nothing_until_its_day() -> None:
    early = Actions([told("BAJFINANCE SPLIT 2016-09-08 10", known=MIDNIGHT - 10**15)])

    assert factors(early, "NSE:BAJFINANCE", MIDNIGHT - 1).prices(DAYS)[0] == 1.0
    assert factors(early, "NSE:BAJFINANCE", MIDNIGHT).prices(DAYS)[0] == 0.1


def test_factors_of_several_days_multiply_backwards() -> None:
    actions = Actions([told("X SPLIT 2016-09-07 2"), told("X BONUS 2016-09-09 1:2"), told("X DIVIDEND 2016-09-08 9")])

    known = factors(actions, "NSE:X", NOW)

    # By hand: 1/2 x 2/3, then 2/3, 2/3, and today as it is.
    assert known.prices(DAYS).tolist() == [1 / 3, 2 / 3, 2 / 3, 1.0]
    assert known.days.tolist() == [int(DAYS[1]), int(DAYS[3])]


def test_what_became_known_late_says_since_when() -> None:
    actions = Actions([told("X SPLIT 2016-09-08 2"), told("X BONUS 2016-09-08 1:1", known=LATER)])

    assert factors(actions, "NSE:X", NOW).known.tolist() == [LATER]


def test_candles_are_adjusted_to_the_nearest_unit_and_the_raw_ones_stay() -> None:
    rows = np.zeros(3, CANDLE)
    rows["session"] = DAYS[:3]
    rows["open"], rows["close"], rows["vwap"] = 113_933_000, [113_933_005, UNKNOWN, 11_628_000], UNKNOWN
    rows["volume"], rows["instrument"], rows["trades"] = 1001, 7, 5
    before = rows.copy()

    out = adjusted(rows, factors(BAJFINANCE, "NSE:BAJFINANCE", NOW))

    assert out["open"].tolist() == [11_393_300, 11_393_300, 113_933_000]
    assert out["close"].tolist() == [11_393_300, UNKNOWN, 11_628_000]
    assert out["vwap"].tolist() == [UNKNOWN] * 3
    assert out["volume"].tolist() == [10_010, 10_010, 1001]
    assert out["trades"].tolist() == [5, 5, 5]
    assert (rows == before).all()


def test_float_columns_are_adjusted_by_name() -> None:
    known = factors(BAJFINANCE, "NSE:BAJFINANCE", NOW)

    out = adjusted_columns({"close": CLOSES, "volume": np.full(4, 3.0)}, DAYS, known)

    assert out["close"] == pytest.approx([1131.04, 1139.33, 1162.8, 1120.95], rel=1e-15)
    assert out["volume"].tolist() == [30.0, 30.0, 3.0, 3.0]
    with pytest.raises(BadValue, match="oi"):
        adjusted_columns({"oi": CLOSES}, DAYS, known)


def test_a_demerger_adjusts_prices_alone() -> None:
    known = factors(Actions([told("RELIANCE DEMERGER 2016-09-08 580.10/928.50")]), "NSE:RELIANCE", NOW)

    assert known.prices(DAYS)[0] == 580.10 / 928.50
    assert known.volumes(DAYS)[0] == 1.0


def test_dividends_are_in_the_total_return_alone() -> None:
    actions = Actions([told("X DIVIDEND 2016-09-08 10"), told("X SPLIT 2016-09-08 5"), told("X DIVIDEND 2016-09-06 1")])
    closes = np.array([100.0, 80.0, 14.0, 15.0])

    plain = factors(actions, "NSE:X", NOW)
    with_dividends = total_return(actions, "NSE:X", NOW, DAYS, closes)

    # By hand: 10 of the 80 before were paid out, and each share became five; nothing is known before the first row.
    assert plain.prices(DAYS)[:2].tolist() == [0.2, 0.2]
    assert with_dividends.prices(DAYS).tolist() == [0.175, 0.175, 1.0, 1.0]
    assert with_dividends.volumes(DAYS)[0] == 5.0


def test_a_dividend_as_large_as_the_price_is_refused() -> None:
    with pytest.raises(BadValue, match=r"a dividend of 80\.0 on 2016-09-08"):
        total_return(Actions([told("X DIVIDEND 2016-09-08 80")]), "NSE:X", NOW, DAYS, np.full(4, 80.0))


STEPS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["SPLIT {} 5", "SPLIT {} 2", "BONUS {} 1:2", "SPLIT {} 1/10"])),
    max_size=6,
    unique_by=lambda step: (step[0], step[1].split()[0]),
)


@given(STEPS, st.lists(st.integers(-5, 65), min_size=1, max_size=30))
def test_price_times_volume_and_the_newest_row_stay_as_they_were(steps, places):
    first = date(2016, 1, 1)
    actions = Actions([told(f"X {words.format(first + timedelta(days=day))}", known=0) for day, words in steps])
    sessions = np.array([day_number(first) + p for p in places], np.int32)

    known = factors(actions, "NSE:X", NOW)

    assert known.prices(sessions) * known.volumes(sessions) == pytest.approx(1.0)
    expected = [float(_product(steps, place)) for place in places]
    assert known.prices(sessions).tolist() == pytest.approx(expected, rel=1e-15)
    assert known.prices(np.array([day_number(date(2026, 1, 1))]))[0] == 1.0


def _product(steps: list[tuple[int, str]], place: int) -> Fraction:
    worth = {"5": Fraction(1, 5), "2": Fraction(1, 2), "1:2": Fraction(2, 3), "1/10": Fraction(10)}
    out = Fraction(1)
    for day, words in steps:
        out *= worth[words.split()[-1]] if place < day else 1
    return out


def test_without_its_action_a_day_is_a_break_and_with_it_none() -> None:
    (found,) = breaks(Actions([]), "NSE:BAJFINANCE", NOW, DAYS, OPENS, CLOSES)

    assert (found.session, found.before) == (date(2016, 9, 8), date(2016, 9, 7))
    assert found.raw == found.adjusted == 0.10128  # 1153.9 / 11393.3
    assert found.suggestion.startswith("SPLIT 10")
    assert breaks(BAJFINANCE, "NSE:BAJFINANCE", NOW, DAYS, OPENS, CLOSES) == []


def test_half_an_event_says_which_half_is_missing() -> None:
    half = Actions([told("BAJFINANCE SPLIT 2016-09-08 5")])

    (found,) = breaks(half, "NSE:BAJFINANCE", NOW, DAYS, OPENS, CLOSES)

    assert found.told == ("SPLIT 5 (yahoo)",)
    assert found.suggestion == "BONUS 1:1 is missing beside SPLIT 5: SPLIT 10 in all"


def test_an_event_of_the_wrong_day_is_two_breaks() -> None:
    moved = Actions([told("BAJFINANCE SPLIT 2016-09-07 10")])

    first, second = breaks(moved, "NSE:BAJFINANCE", NOW, DAYS, OPENS, CLOSES)

    assert first.suggestion == "prices did not break: withdraw SPLIT 10, or move it"
    assert second.suggestion == "SPLIT 10 of yahoo stands at 2016-09-07: move it to 2016-09-08"


def test_a_demerger_without_a_factor_is_a_break_however_little_the_price_moved() -> None:
    silent = told("X DEMERGER 2016-09-08 1/2").model_copy(update={"factor": None})
    prices = np.array([100.0, 100.0, 90.0, 90.0])

    (found,) = breaks(Actions([silent]), "NSE:X", NOW, DAYS, prices, prices)

    assert found.suggestion == "give the DEMERGER its factor: open over previous close was 0.9000"
    assert breaks(Actions([told("X DEMERGER 2016-09-08 0.9")]), "NSE:X", NOW, DAYS, prices, prices) == []


@pytest.mark.parametrize(("ratio", "broken"), [(0.72, False), (1.4, False), (0.7199, True), (1.4001, True)])
def test_the_edges_of_what_a_day_may_do_are_included(ratio: float, broken: bool) -> None:
    closes, opens = np.array([100.0, 100.0]), np.array([100.0, 100.0 * ratio])

    assert bool(breaks(Actions([]), "NSE:X", NOW, DAYS[:2], opens, closes)) is broken


def test_rows_without_a_price_are_passed_over() -> None:
    opens, closes = np.array([100.0, 0.0, np.nan, 100.0]), np.array([100.0, 0.0, 100.0, 100.0])

    assert breaks(Actions([]), "NSE:X", NOW, DAYS, opens, closes) == []
    assert breaks(Actions([]), "NSE:X", NOW, DAYS[:0], opens[:0], closes[:0]) == []


@pytest.mark.parametrize(
    ("first", "last", "crosses"),
    [
        (date(2016, 9, 1), date(2016, 12, 1), True),
        (date(2016, 9, 7), date(2016, 9, 8), True),
        (date(2016, 9, 8), date(2016, 12, 1), False),
        (date(2016, 1, 1), date(2016, 9, 7), False),
    ],
)
def test_a_trainer_is_refused_a_span_that_crosses_a_break(first: date, last: date, crosses: bool) -> None:
    found = breaks(Actions([]), "NSE:BAJFINANCE", NOW, DAYS, OPENS, CLOSES)

    refuse_breaks(found, "NSE:TCS", first, last)
    if not crosses:
        refuse_breaks(found, "NSE:BAJFINANCE", first, last)
        return
    with pytest.raises(UnexplainedBreak) as error:
        refuse_breaks(found, "NSE:BAJFINANCE", first, last)
    again = pickle.loads(pickle.dumps(error.value))  # noqa: S301  (our own)
    assert (again.symbol, again.session) == ("NSE:BAJFINANCE", date(2016, 9, 8))
    assert "NSE:BAJFINANCE opened on 2016-09-08 at 0.1013 times the close before" in str(again)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.1013, "SPLIT 10"),
        (0.0489, "SPLIT 10 and BONUS 1:1"),
        (0.5, "BONUS 1:1"),
        (0.668, "BONUS 1:2"),
        (0.2, "SPLIT 5"),
        (0.95, ""),
        (9.8, "SPLIT 1/10"),
    ],
)
def test_the_simplest_event_of_a_ratio(ratio: float, words: str) -> None:
    assert simple(ratio) in (words, {"BONUS 1:1": "SPLIT 2"}.get(words, words))
