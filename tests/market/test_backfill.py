"""Backfill: what is asked for in one go, and what is said to be missing."""

from __future__ import annotations

from datetime import date, time, timedelta

import numpy as np
import pytest

from market.backfill import missing, spans, taken, whole
from market.candles import CANDLE, Provenance
from market.holidays import nse_sessions
from market.instruments import Instrument
from market.money import UNKNOWN
from market.sessions import MINUTE, at

AUGUST = nse_sessions(date(2016, 8, 1), date(2016, 8, 31))
DAYS = [s.date for s in AUGUST]
LATER = at(date(2017, 1, 1), time(0))


@pytest.mark.parametrize(("longest", "count"), [(60, 1), (31, 1), (10, 3), (1, 22)])
def test_spans_are_as_few_as_the_vendor_allows_and_leave_no_session_out(longest: int, count: int) -> None:
    found = spans(AUGUST, timedelta(days=longest), LATER)

    assert [s.date for span in found for s in span.sessions] == DAYS
    assert all((span.last - span.first).days < longest for span in found)
    assert len(found) == count


def test_a_session_that_is_not_settled_is_left_for_another_time() -> None:
    close = at(date(2016, 8, 31), time(15, 30))

    early, late = (spans(AUGUST, timedelta(days=60), close + k * MINUTE)[0].last for k in (1, 2))

    assert (early, late) == (date(2016, 8, 30), date(2016, 8, 31))


def test_a_span_of_days_is_asked_from_midnight_and_one_of_minutes_from_the_open() -> None:
    [span] = spans(AUGUST, timedelta(days=60), LATER)

    assert span.edges("1d") == (at(date(2016, 8, 1), time(0)), at(date(2016, 8, 31), time(0)))
    assert span.edges("1m") == (at(date(2016, 8, 1), time(9, 15)), at(date(2016, 8, 31), time(15, 29)))


def test_a_span_is_whole_when_all_its_minutes_are_there() -> None:
    [span] = spans(list(AUGUST)[:2], timedelta(days=60), LATER)

    assert whole(span, "1m", dict.fromkeys(DAYS[:2], 375))
    assert not whole(span, "1m", {DAYS[0]: 375, DAYS[1]: 374})
    assert not whole(span, "1m", {DAYS[0]: 375})
    assert whole(span, "1d", dict.fromkeys(DAYS[:2], 1))


def test_what_is_missing_is_told_in_runs_with_the_reason() -> None:
    held = {DAYS[3], DAYS[4], DAYS[7], DAYS[8]}

    found = missing("NSE:AAA", DAYS[:10], held, {DAYS[9]: "503"}, "kite")

    assert [(one.first, one.last, one.sessions) for one in found] == [
        (DAYS[0], DAYS[2], 3), (DAYS[5], DAYS[6], 2), (DAYS[9], DAYS[9], 1),
    ]  # fmt: skip
    assert [one.reason for one in found] == ["not listed yet, or before what kite has", "kite has none", "503"]


def test_a_symbol_the_vendor_never_had_is_one_line() -> None:
    [found] = missing("NSE:AAA", DAYS, set(), {}, "kite")

    assert (found.sessions, found.reason) == (22, "kite has nothing of it")


def test_a_vendors_candles_are_imported_ones_and_what_it_does_not_say_is_unknown() -> None:
    rows = np.zeros(3, CANDLE)
    rows["interval"], rows["high"], rows["low"] = [60, 60, 300], [5, 6, 7], [5, 5, 7]
    rows["volume"], rows["trades"], rows["vwap"] = [0, 9, 9], UNKNOWN, [5, 5, 5]

    found = taken(rows, Instrument(id=7, symbol="NSE:AAA"), "1m")

    assert found["provenance"].tolist() == [Provenance.IMPORTED] * 2
    assert found["trades"].tolist() == [0, UNKNOWN]
    assert found["vwap"].tolist() == [UNKNOWN, 5]
    assert found["instrument"].tolist() == [0, 0]
