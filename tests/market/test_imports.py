"""Imports: what is wrong with rows of files, and what of the rest is new."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.candles import CANDLE, Candles, Provenance
from market.errors import BadValue
from market.holidays import nse_sessions
from market.imports import (
    FAULTS,
    Asked,
    Fault,
    Form,
    Interval,
    Judged,
    Raw,
    Times,
    additions,
    exact,
    inferred,
    judged,
    missing,
    recognised,
    shaped,
    symbol_of,
    understood,
)
from market.money import UNKNOWN
from market.sessions import MINUTE, at, day_number
from market.universes import LISTINGS

DAY = date(2016, 8, 25)
OPEN = at(DAY, time(9, 15))
TABLES = {"NSE": nse_sessions(date(2016, 8, 1), date(2016, 9, 30)).table()}
LATER = at(date(2020, 1, 1), time(0))
GOOD = {"open": 100.0, "high": 101.5, "low": 99.5, "close": 101.0}


def raw(rows: list[dict[str, float]], symbols: list[str] | None = None, names: tuple[str, ...] = ("NSE:AAA",)) -> Raw:
    """Rows of minutes after the open unless they say `at`; prices as in GOOD, volume 10, unless said otherwise."""
    said = [{"at": OPEN + k * MINUTE, "volume": 10.0, **GOOD, **row} for k, row in enumerate(rows)]
    codes = [-1 if s == "" else names.index(s) for s in symbols or [names[0]] * len(rows)]
    return Raw(
        names,
        np.array(codes, np.int32),
        np.array([row["at"] for row in said], np.int64),
        {name: np.array([row[name] for row in said], np.float64) for name in GOOD},
        np.array([row["volume"] for row in said], np.float64),
    )


def judge(given: Raw, interval: Interval = "1m", until: int = LATER, official: bool = False) -> Judged:
    form = Form(columns={}, interval=interval, official=official)
    return judged(*shaped(given, form), given.symbols, TABLES, until)


def faults(found: Judged) -> list[Fault | None]:
    return [FAULTS[k - 1] if k else None for k in found.faults.tolist()]


def daily(closes: list[float], **more: list[float]) -> Raw:
    """A row a session of August and September 2016, all four prices the close unless said otherwise."""
    days = [day_number(s.date) for s in nse_sessions(date(2016, 8, 1), date(2016, 9, 30))][: len(closes)]
    rows = [
        {"at": day, **dict.fromkeys(GOOD, close), **{name: more[name][k] for name in more}}
        for k, (day, close) in enumerate(zip(days, closes, strict=True))
    ]
    return raw(rows)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({}, None),
        ({"high": 100.5}, Fault.ORDER),
        ({"low": 100.5}, Fault.ORDER),
        ({"low": 0.0}, Fault.NOT_POSITIVE),
        ({"open": -1.0}, Fault.NOT_POSITIVE),
        ({"close": float("nan")}, Fault.NO_PRICE),
        ({"high": float("inf")}, Fault.NO_PRICE),
        ({"high": 1e12}, Fault.NO_PRICE),
        ({"open": 12.345678, "high": 12.4, "low": 12.3, "close": 12.4}, Fault.NOT_EXACT),
        ({"volume": -1.0}, Fault.VOLUME),
        ({"volume": 1.5}, Fault.VOLUME),
        ({"volume": float("nan")}, Fault.VOLUME),
        ({"volume": 0.0}, None),
        ({"at": UNKNOWN}, Fault.NO_TIME),
        ({"at": OPEN - MINUTE}, Fault.OFF_SESSION),
        ({"at": at(DAY, time(15, 30))}, Fault.OFF_SESSION),
        ({"at": at(DAY, time(15, 29))}, None),
        ({"at": OPEN + MINUTE // 2}, Fault.BETWEEN),
        ({"at": at(date(2016, 8, 28), time(10, 0))}, Fault.NO_SESSION),  # a Sunday
        ({"at": at(date(2016, 9, 5), time(10, 0))}, Fault.NO_SESSION),  # Ganesh Chaturthi
        ({"at": at(date(1990, 8, 28), time(10, 0))}, Fault.NO_SESSION),
    ],
)
def test_a_row_is_refused_for_the_first_thing_that_is_wrong(row: dict[str, float], fault: Fault | None) -> None:
    assert faults(judge(raw([row]))) == [fault]


def test_the_good_rows_stand_exactly_where_they_belong() -> None:
    found = judge(raw([{}, {"high": 1.0}, {"open": 100.05, "close": 99.55}]))

    assert faults(found) == [None, Fault.ORDER, None]
    assert found.good["start"].tolist() == [OPEN, OPEN + 2 * MINUTE]
    assert found.good["open"].tolist() == [1_000_000, 1_000_500]
    assert found.good["close"].tolist() == [1_010_000, 995_500]
    assert set(found.good["provenance"].tolist()) == {Provenance.IMPORTED}
    assert set(found.good["session"].tolist()) == {day_number(DAY)}


@pytest.mark.parametrize(("symbol", "fault"), [("", Fault.NO_SYMBOL), ("LSE:AAA", Fault.NO_EXCHANGE)])
def test_a_symbol_nobody_can_place_is_refused(symbol: str, fault: Fault) -> None:
    found = judge(raw([{}], [symbol], ("NSE:AAA", "LSE:AAA")))

    assert faults(found) == [fault]


def test_a_session_that_is_not_over_is_not_history_yet() -> None:
    found = judge(raw([{}]), until=at(DAY, time(15, 29)))

    assert faults(found) == [Fault.NOT_OVER]


def test_a_repeat_is_dropped_and_rows_at_odds_are_all_refused() -> None:
    same, other = {"at": OPEN}, {"at": OPEN + MINUTE}

    found = judge(raw([same, same, other, {**other, "close": 100.5}, other, {"at": OPEN + 2 * MINUTE}]))

    assert faults(found) == [None, None, *[Fault.CONTRADICTS] * 3, None]
    assert found.repeated.tolist() == [False, True, False, False, False, False]
    assert found.good["start"].tolist() == [OPEN, OPEN + 2 * MINUTE]


def test_a_day_starts_at_its_open_and_an_official_one_at_midnight() -> None:
    ours, theirs = judge(daily([100.0]), "1d"), judge(daily([100.0]), "1d", official=True)

    assert ours.good["start"].tolist() == [at(date(2016, 8, 1), time(9, 15))]
    assert theirs.good["start"].tolist() == [at(date(2016, 8, 1), time(0))]
    assert theirs.good["provenance"].tolist() == [Provenance.OFFICIAL]


@pytest.mark.parametrize(
    ("closes", "refused"),
    [
        ([100, 101, 10, 10.1, 10.2, 10.3], []),  # ten for one
        ([100, 101, 10, 10.1], []),  # one row behind it is enough
        ([100, 101, 10], [2]),  # nothing is behind it
        ([100, 101, 1010, 102, 103], [2]),  # a comma lost
        ([100, 101, 1010, 1020, 103, 104], [2, 3]),  # lost twice
        ([100, 101, 1010, 1020, 1030, 1040, 103], [6]),  # three rows confirm a jump: the row after is one itself
        ([100, 120, 60, 25, 12, 6, 3], []),  # nothing of it is a fifth of what was before
        ([100, 19.9, 20, 21], []),
        ([100, 600, 590, 610], []),  # shares put together
    ],
)
def test_a_jump_is_believed_when_the_rows_behind_it_stay_there(closes: list[float], refused: list[int]) -> None:
    found = judge(daily(closes), "1d")

    assert [k for k, fault in enumerate(faults(found)) if fault is Fault.JUMP] == refused
    assert {fault for fault in faults(found) if fault} <= {Fault.JUMP}


def test_a_wick_far_from_both_closes_is_refused_and_a_crash_is_not() -> None:
    crash = daily([179.1, 39.95, 23.85], low=[170.0, 30.7, 20.0], high=[188.0, 188.7, 36.0])  # Satyam, January 2009
    wick = daily([100.0, 101.0, 102.0], high=[100.0, 1010.0, 102.0])

    assert faults(judge(crash, "1d")) == [None] * 3
    assert faults(judge(wick, "1d")) == [None, Fault.JUMP, None]


def test_symbols_are_judged_apart() -> None:
    names = ("NSE:AAA", "NSE:BBB")
    rows = [{"at": OPEN + k * MINUTE, **dict.fromkeys(GOOD, p)} for k, p in enumerate((10.0, 5000.0, 10.0, 5000.0))]

    found = judge(raw(rows, [names[k % 2] for k in range(4)], names))

    assert faults(found) == [None] * 4


def test_an_index_needs_no_volume_and_a_share_without_a_column_of_it_has_an_unknown_one() -> None:
    names = ("NSE:NIFTY 50", "NSE:AAA")
    given = raw([{}, {}], list(names), names)._replace(volume=None)

    found = judge(given)

    assert found.good["volume"].tolist() == [0, UNKNOWN]


# 39.95 as a float of 32 bits is 39.95000076293945.
@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (100.05, 1_000_500),
        (83.4125, 834_125),
        (float(np.float32(39.95)), 399_500),
        (float(np.float32(2850.5)), 28_505_000),
        (0.1 + 0.2, 3_000),
        (50_000.0123, 500_000_123),
        (39.950001, 399_500),  # a float of 32 bits, as text of six decimals
        (float(np.float32(130_000.05)), 1_300_000_500),
        (1026.00001, None),
        (130_000.00001, None),
        (100.05001, None),
        (1234.56789, None),
        (12.345678, None),
    ],
)
def test_a_float_is_the_price_it_was_meant_to_be(value: float, amount: int | None) -> None:
    amounts, wrong = exact(np.array([value]))

    assert wrong.tolist() == [amount is None]
    assert amount is None or amounts.tolist() == [amount]


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=20))
def test_every_price_of_four_decimals_survives_a_float_of_64_bits(amounts: list[int]) -> None:
    found, wrong = exact(np.array(amounts) / 10_000)

    assert found.tolist() == amounts
    assert not wrong.any()


def candle(minute: int, close: int, provenance: Provenance = Provenance.IMPORTED, revision: int = 0) -> Candles:
    row = np.zeros(1, CANDLE)
    row["start"], row["close"], row["provenance"], row["revision"] = OPEN + minute * MINUTE, close, provenance, revision
    return row


def test_only_what_nobody_holds_is_added_and_a_gap_gets_the_next_revision() -> None:
    held = [candle(0, 5, Provenance.LIVE), candle(1, 6, Provenance.LIVE), candle(2, UNKNOWN, Provenance.GAP, 3)]
    rows = [candle(0, 5), candle(1, 7), candle(2, 8), candle(3, 9), candle(3, 9), candle(3, 10)]

    found = additions(np.concatenate(rows), np.concatenate(held))

    assert found.rows["close"].tolist() == [8, 9]
    assert found.rows["revision"].tolist() == [4, 0]
    assert (found.held, found.differing, found.gaps) == (2, 2, 1)


@pytest.mark.parametrize(
    ("found", "columns"),
    [
        (["symbol", "ts", "open", "high", "low", "close", "volume"], {"symbol": "symbol", "time": "ts"}),
        (["Date", "Time", "O", "H", "L", "C", "V"], {"time": "Date+Time", "open": "O", "volume": "V"}),
        (["TIMESTAMP", "SYMBOL", "OPEN_PRICE", "TTL_TRD_QNTY"], {"time": "TIMESTAMP", "open": "OPEN_PRICE"}),
        (["Ticker", "Date Time"], {"symbol": "Ticker", "time": "Date Time"}),
    ],
)
def test_columns_are_known_by_the_names_people_give_them(found: list[str], columns: dict[str, str]) -> None:
    got = recognised(found, {})

    assert {name: got[name] for name in columns} == columns


def test_two_columns_for_one_are_asked_about_and_what_is_given_counts() -> None:
    found = ["ts", "datetime", "open"]

    with pytest.raises(BadValue, match="--columns time=ts"):
        recognised(found, {})
    assert recognised(found, {"time": "datetime"})["time"] == "datetime"
    with pytest.raises(BadValue, match="a column of the file: ts, datetime, open"):
        recognised(found, {"time": "when"})
    assert missing({"time": "ts"}, None) == ["symbol", "open", "high", "low", "close"]
    assert missing({"time": "ts"}, "NSE:AAA") == ["open", "high", "low", "close"]


@pytest.mark.parametrize(
    ("asked", "times", "said"),
    [
        ({}, Times(False, False, None, "1m"), "--zone"),
        ({"zone": "UTC"}, Times(False, False, None, "1m"), "--label"),
        ({}, Times(True, False, None, "1m"), "--label"),
        ({}, Times(True, False, None, None), "--interval"),
        ({"interval": "1m"}, Times(False, True, None, "1d"), "1d: the file has days"),
        ({"official": True, "label": "end"}, Times(True, False, None, "1m"), "--official"),
    ],
)
def test_nothing_is_guessed_about_times(asked: dict[str, object], times: Times, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        understood(Asked.model_validate(asked), {}, times)


def test_a_file_of_days_needs_neither_zone_nor_label() -> None:
    form = understood(Asked(), {"time": "date"}, Times(False, True, None, "1d"))

    assert (form.interval, form.label, form.zone) == ("1d", "start", None)


def test_the_interval_is_the_usual_distance() -> None:
    minutes = np.array([0, 1, 2, 5, 6], np.int64) * MINUTE
    nobody = np.zeros(5, np.int32)

    assert inferred(minutes, nobody) == "1m"
    assert inferred(minutes * 1440, nobody) == "1d"
    assert inferred(minutes * 7, nobody) is None


def test_symbols_get_their_exchange_and_their_new_name() -> None:
    assert symbol_of("m&m", "BSE", {}) == "BSE:M&M"
    assert symbol_of("NIFTY", "NSE", {"NIFTY": "NSE:NIFTY 50"}) == "NSE:NIFTY 50"
    assert symbol_of("a  b", "NSE", {}) is None


@pytest.mark.parametrize(
    "name", ["M&M", "BAJAJ-AUTO", "NIFTY 50", "INDIA VIX", "MCDOWELL-N", "BRK.B", "GET&D", "J&KBANK"]
)
def test_a_symbol_is_of_letters_digits_and_a_few_marks(name: str) -> None:
    assert symbol_of(name, "NSE", {}) == f"NSE:{name}"


@pytest.mark.parametrize(
    "name",
    [
        "../../etc",
        "REL,X",
        "A/B",
        "A\\B",
        "A'B",
        'A"B',
        "A\0B",
        "A\x1bB",
        "A\nB",
        "A%",
        "..",
        "-A",
        "Ä",
        "\u017f",
        "\ufffd",
    ],
)
def test_what_could_be_a_path_or_a_list_is_no_symbol(name: str) -> None:
    assert symbol_of(name, "NSE", {}) is None
    assert symbol_of("A", "NSE", {"A": name}) is None


def test_every_listed_symbol_can_be_imported() -> None:
    assert [one.instrument.symbol for one in LISTINGS if symbol_of(one.instrument.symbol, "NSE", {}) is None] == []
