"""Coverage: what each session of each instrument is, and why."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest

from market.candles import CANDLE, NO_CANDLES, Candles, Provenance
from market.coverage import Cause, Else, Shortfall, State, Survey, gap_alert, gaps_begun, under_way
from market.money import UNKNOWN
from market.sessions import MINUTE, Sessions, day_number, session

FIRST, SECOND_DAY = (session(date(2016, 8, d), closes=time(9, 25)) for d in (25, 26))
SESSIONS = Sessions([FIRST, SECOND_DAY])
SPAN = (date(2016, 8, 25), date(2016, 8, 26))
OVER = SECOND_DAY.close + MINUTE
SYMBOLS = ("NSE:A", "NSE:B")
RECORDED = Else(recorded=True)


def rows(instrument: int, interval: int, starts: list[int], **more: float) -> Candles:
    made = np.zeros(len(starts), CANDLE)
    made["instrument"], made["interval"], made["start"] = instrument, interval, starts
    made["session"] = day_number(FIRST.date if starts[0] < FIRST.close else SECOND_DAY.date)
    made["completeness"], made["trades"], made["provenance"], made["close"] = 1.0, 5, Provenance.LIVE, 100
    for name, value in more.items():
        made[name] = value
    return made


def minutes(instrument: int, **more: float) -> Candles:
    return rows(instrument, 60, [FIRST.open + k * MINUTE for k in range(FIRST.minutes)], **more)


def daily(instrument: int, day: int = FIRST.open, **more: float) -> Candles:
    return rows(instrument, 86_400, [day], **more)


def survey(*found: Candles, now: int = OVER, span: tuple[date, date] = SPAN) -> Survey:
    one = Survey(SYMBOLS, SESSIONS, span, now)
    one.settle(np.concatenate([NO_CANDLES, *found]))
    return one


def look(found: Candles, more: Else = RECORDED) -> Survey:
    one = survey(span=(FIRST.date, FIRST.date))
    for of, _ in list(one.open()):
        one.look(of, found, more)
    return one


def test_a_whole_daily_candle_settles_its_session_and_only_that() -> None:
    one = survey(daily(0), daily(1, completeness=0.9), daily(0, SECOND_DAY.open, trades=0))

    assert [(s.date.day, who) for s, who in one.open()] == [(25, ["NSE:B"]), (26, ["NSE:B"])]
    assert (one.counts()["complete"], one.counts()["halted"]) == (1, 1)


@pytest.mark.parametrize("provenance", [Provenance.OFFICIAL, Provenance.IMPORTED])
def test_a_day_that_was_not_made_of_minutes_says_nothing_about_them(provenance: Provenance) -> None:
    one = survey(daily(0, provenance=provenance))

    assert len(list(one.open())) == 2


def test_gaps_incomplete_minutes_and_those_never_recorded_are_told_apart() -> None:
    found = minutes(0)
    found["completeness"][2:4], found["provenance"][2:4] = 0, Provenance.GAP
    found["completeness"][4] = 0.5

    one = look(np.concatenate([found[:8], minutes(1)]))

    (shortfall,) = one.shortfalls
    assert (shortfall.symbol, shortfall.state, shortfall.missing, shortfall.incomplete) == ("NSE:A", State.GAP, 4, 1)
    assert shortfall.covered == pytest.approx(5.5 / 10)
    assert [((s.start - FIRST.open) // MINUTE, (s.end - FIRST.open) // MINUTE, s.cause) for s in shortfall.spans] == [
        (2, 4, Cause.NO_FEED),
        (4, 5, Cause.PART),
        (8, 10, Cause.NEVER_RECORDED),
    ]
    assert one.counts() == {"complete": 1, "gap": 1, "halted": 0, "not listed": 0, "holiday": 0}
    assert one.covered == pytest.approx((5.5 + 10) / 20)


def test_a_session_without_a_trade_is_halted_and_one_without_rows_not_listed() -> None:
    one = look(minutes(0, trades=0))

    assert one.counts() == {"complete": 0, "gap": 0, "halted": 1, "not listed": 1, "holiday": 0}
    assert one.covered == 1.0


def test_imported_minutes_that_are_all_there_make_a_session_complete() -> None:
    one = look(np.concatenate([minutes(k, provenance=Provenance.IMPORTED, trades=UNKNOWN) for k in (0, 1)]))

    assert one.counts()["complete"] == 2
    assert one.covered == 1.0


def test_an_instrument_with_an_official_candle_was_listed() -> None:
    one = look(minutes(0), Else(recorded=True, official={1}))

    assert [(s.symbol, s.state, s.missing) for s in one.shortfalls] == [("NSE:B", State.GAP, 10)]


def test_a_session_nobody_recorded_is_a_gap_of_all() -> None:
    one = look(NO_CANDLES, Else(recorded=False))

    assert [(s.state, s.missing) for s in one.shortfalls] == [(State.GAP, 10)] * 2
    assert one.covered == 0.0


def test_what_the_vendor_lacks_too_is_said_so() -> None:
    found = minutes(0)
    found["completeness"][3], found["provenance"][3] = 0, Provenance.GAP

    one = look(np.concatenate([found, minutes(1)]), Else(True, lacking={(0, FIRST.open + 3 * MINUTE), (7, 1)}))

    assert [s.cause for s in one.shortfalls[0].spans] == [Cause.NOBODY_HAS]


def test_a_running_session_is_judged_by_the_minutes_that_have_ended() -> None:
    one = survey(now=FIRST.open + 4 * MINUTE + 1)
    for of, _ in list(one.open()):
        one.look(of, np.concatenate([minutes(0)[:4], minutes(1)[:4]]), Else(True))

    assert one.counts()["complete"] == 2
    assert len(one.sessions) == 1


def test_weekdays_without_a_session_are_holidays() -> None:
    one = survey(span=(date(2016, 8, 22), date(2016, 8, 28)))

    assert [d.day for d in one.holidays] == [22, 23, 24]
    assert one.counts()["holiday"] == 6


def test_a_run_of_gaps_is_told_once_where_it_begins() -> None:
    found = minutes(0)
    gap = [2, 3, 6]
    found["provenance"][gap] = Provenance.GAP

    assert [(s - FIRST.open) // MINUTE for s in gaps_begun(found, 0)] == [2, 6]
    assert gaps_begun(found[3:5], FIRST.open + 2 * MINUTE) == []
    assert [(s - FIRST.open) // MINUTE for s in gaps_begun(found[3:7], FIRST.open + 2 * MINUTE)] == [6]
    assert [(s - FIRST.open) // MINUTE for s in gaps_begun(found[5:7], FIRST.open)] == [6]


def test_an_outages_alert_and_its_end_are_about_the_same() -> None:
    begun, over = gap_alert(FIRST.open), gap_alert(FIRST.open, over=True)

    assert (begun.topic, begun.at) == (over.topic, over.at) == ("gap:outage of 2016-08-25 09:15", FIRST.open)
    assert (begun.over, over.over) == (False, True)


def test_an_outage_goes_on_while_the_last_minute_is_a_gap() -> None:
    span = {"start": FIRST.open, "end": FIRST.open + 3 * MINUTE, "cause": Cause.NO_FEED}
    one = Shortfall(symbol="NSE:A", session=FIRST.date, state=State.GAP, minutes=3, spans=(span,))

    assert under_way([one], FIRST, FIRST.open + 3 * MINUTE + 1)
    assert not under_way([one], FIRST, FIRST.open + 4 * MINUTE + 1)
    assert not under_way([one], FIRST, FIRST.close)


def test_the_record_names_everything() -> None:
    found = minutes(0)
    found["completeness"][2], found["close"][2] = 0.5, UNKNOWN

    told = look(np.concatenate([found, minutes(1, trades=0)])).record()

    assert told["halted"] == [{"symbol": "NSE:B", "session": "2016-08-25"}]
    assert told["shortfalls"][0]["spans"] == [
        {
            "from": "2016-08-25T03:47:00+00:00",
            "to": "2016-08-25T03:48:00+00:00",
            "cause": "a feed was live for a part",
        }
    ]
