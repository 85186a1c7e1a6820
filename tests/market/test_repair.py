"""Repair: the fewest requests, and what an answer proposes."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from market.candles import CANDLE, Candles, Provenance
from market.codecs import Account
from market.corrections import PROPOSED
from market.coverage import Cause, Shortfall, Span, State
from market.instruments import Instrument, Kind
from market.money import UNKNOWN
from market.repair import SETTLED, mended, proposals, requests, wanted
from market.sessions import MINUTE, session
from market.vendors.kite_rest import KiteHistory

DAY = session(date(2016, 8, 25))
OPEN = DAY.open
SHARE = Instrument(id=4, symbol="NSE:A", tokens={"kite": 738561})


def shortfall(symbol: str, *spans: tuple[int, int, Cause], state: State = State.GAP) -> Shortfall:
    told = tuple(Span(start=OPEN + a * MINUTE, end=OPEN + b * MINUTE, cause=c) for a, b, c in spans)
    return Shortfall(symbol=symbol, session=DAY.date, state=state, minutes=375, spans=told)


def minute(k: int, price: int, volume: int, **more: int) -> Candles:
    row = np.zeros(1, CANDLE)
    row["instrument"], row["interval"], row["start"], row["volume"] = 9, 60, OPEN + k * MINUTE, volume
    for name in ("open", "high", "low", "close"):
        row[name] = price
    row["trades"] = row["vwap"] = row["open_interest"] = UNKNOWN
    row["provenance"], row["completeness"] = Provenance.OFFICIAL, 1.0
    for name, value in more.items():
        row[name] = value
    return row


def test_what_is_wanted_are_minutes_that_have_settled_and_that_a_vendor_may_have() -> None:
    gaps = [
        shortfall("NSE:A", (2, 5, Cause.NO_FEED), (7, 8, Cause.NOBODY_HAS)),
        shortfall("NSE:B", state=State.NOT_LISTED),
    ]
    now = OPEN + 4 * MINUTE + SETTLED

    assert wanted(gaps, now) == {"NSE:A": [OPEN + 2 * MINUTE, OPEN + 3 * MINUTE]}
    assert wanted(gaps, DAY.close, again=True)["NSE:A"][-1] == OPEN + 7 * MINUTE


@given(st.lists(st.integers(0, 200_000), min_size=1, unique=True).map(sorted), st.integers(1, 60))
def test_requests_cover_every_minute_once_within_the_vendors_span(offsets: list[int], days: int) -> None:
    starts = [OPEN + k * MINUTE for k in offsets]

    asked = requests({"NSE:A": starts}, timedelta(days=days))

    assert [s for one in asked for s in one.starts] == starts
    assert all(one.first == one.starts[0] and one.last == one.starts[-1] for one in asked)
    assert all(one.last - one.first < days * 1440 * MINUTE for one in asked)
    assert all(b.first - a.first >= days * 1440 * MINUTE for a, b in itertools.pairwise(asked))


def test_an_answer_proposes_the_minutes_asked_for_and_says_what_it_lacks() -> None:
    told = np.concatenate([minute(1, 100, 5), minute(2, 101, 0), minute(3, 102, 7), minute(3, 103, 7)])

    rows, lacking = proposals(told, SHARE, [OPEN + k * MINUTE for k in (2, 3, 4)])

    assert rows["start"].tolist() == [OPEN + 2 * MINUTE, OPEN + 3 * MINUTE]
    assert rows["close"].tolist() == [101, 103]
    assert rows["trades"].tolist() == [0, UNKNOWN]
    assert set(rows["revision"].tolist()) == {PROPOSED} and set(rows["instrument"].tolist()) == {4}
    assert set(rows["provenance"].tolist()) == {Provenance.REPAIRED}
    assert lacking == [OPEN + 4 * MINUTE]


def test_an_index_moves_without_a_volume_so_nobody_knows_whether_it_was_quiet() -> None:
    index = SHARE.model_copy(update={"kind": Kind.INDEX})

    rows, _ = proposals(minute(2, 100, UNKNOWN), index, [OPEN + 2 * MINUTE])

    assert (rows["volume"][0], rows["trades"][0]) == (0, UNKNOWN)


def test_a_candle_that_cannot_be_is_as_good_as_none() -> None:
    rows, lacking = proposals(minute(2, 100, 5, high=90), SHARE, [OPEN + 2 * MINUTE])

    assert (len(rows), lacking) == (0, [OPEN + 2 * MINUTE])


def test_an_outage_is_over_when_none_of_its_minutes_is_left() -> None:
    assert mended(OPEN, {"NSE:A": [OPEN + MINUTE], "NSE:B": []})
    assert not mended(OPEN, {"NSE:A": [OPEN + MINUTE], "NSE:B": [OPEN]})


def test_kites_request_names_its_token_and_the_clock_of_india() -> None:
    call = KiteHistory().call(
        "https://api.kite.trade",
        Account(api_key=SecretStr("key"), access_token=SecretStr("secret")),
        SHARE,
        OPEN,
        OPEN + 5 * MINUTE,
    )

    assert call.headers["Authorization"] == "token key:secret"
    assert call.url == (
        "https://api.kite.trade/instruments/historical/738561/minute"
        "?from=2016-08-25+09%3A15%3A00&to=2016-08-25+09%3A20%3A00"
    )
