"""Series: when a value is known."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest

from market.errors import BadValue
from market.holidays import nse_sessions
from market.series import known_at, named, rule
from market.sessions import at, day_number

SESSIONS = nse_sessions(date(2016, 8, 20), date(2016, 9, 30))


# 2016-09-02 was a Friday; Monday the 5th was a holiday.
@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("same day 19:00", at(date(2016, 9, 2), time(19))),
        ("next day 07:30", at(date(2016, 9, 3), time(7, 30))),
        ("next session 09:00", at(date(2016, 9, 6), time(9))),
    ],
)
def test_a_rule_says_from_when_a_day_is_known(text: str, when: int) -> None:
    days = np.array([day_number(date(2016, 9, 2))] * 2)

    assert known_at(days, rule(text), SESSIONS).tolist() == [when, when]


@pytest.mark.parametrize("text", ["", "tomorrow", "same day", "same day 25:00", "same day 10:60", "column:"])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="--known"):
        rule(text)


def test_a_column_may_say_it() -> None:
    assert rule("column:released").column == "released"


def test_a_day_behind_all_known_sessions_has_no_next_one() -> None:
    with pytest.raises(BadValue, match="2016-09-30"):
        known_at(np.array([day_number(date(2016, 9, 30))]), rule("next session 09:00"), SESSIONS)


@pytest.mark.parametrize("text", ["FII", "FII=", "1A=x", "A=x,A=y", ""])
def test_series_are_named_once_each(text: str) -> None:
    with pytest.raises(BadValue, match="--series"):
        named(text)
    assert named("FII=fii_net, DII=dii_net") == {"FII": "fii_net", "DII": "dii_net"}
