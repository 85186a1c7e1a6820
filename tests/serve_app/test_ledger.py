"""Coverage and agreement over HTTP, and corrections in what the gateway answers."""

from __future__ import annotations

from datetime import time

import numpy as np
import pytest

from adapters.bus import Bus
from adapters.entries import encode
from market.candles import Candles, Provenance
from market.instruments import partition_of
from market.money import SCALE, UNKNOWN
from market.sessions import at
from tests.serve_app.house import (
    INSTRUMENTS,
    MAHINDRA,
    ODD,
    PARTITIONS,
    RELIANCE,
    TCS,
    TODAY,
    YESTERDAY,
    House,
    after,
    candle,
    gap,
    live,
    minutes,
    tick,
    wait,
)

DAY = 86_400


def official(instrument: int, rupees: float, volume: int) -> Candles:
    row = candle(instrument, YESTERDAY, 0, rupees, DAY, volume=volume, provenance=Provenance.OFFICIAL)
    row["start"] = at(YESTERDAY.date, time(0))
    return row


def test_coverage_names_what_is_not_whole_and_counts_the_rest(house: House) -> None:
    house.say(live(after(TODAY, 3.5)))
    house.keep(
        candle(RELIANCE, YESTERDAY, 0, 100, DAY),
        candle(TCS, YESTERDAY, 0, 100, DAY, trades=0),
        candle(MAHINDRA, YESTERDAY, 0, 100, DAY, completeness=373 / 375),
        minutes(MAHINDRA, YESTERDAY, 0, 100),
        gap(MAHINDRA, YESTERDAY, 100),
        candle(MAHINDRA, YESTERDAY, 101, 100, completeness=0.0),
        minutes(MAHINDRA, YESTERDAY, 102, 375),
    )

    found = house.get("/api/v1/coverage", **{"from": "2016-08-24", "to": "2016-08-24"})

    assert found["counts"] == {"complete": 1, "gap": 1, "halted": 1, "not listed": 1, "holiday": 0}
    assert found["halted"] == [{"symbol": "NSE:TCS", "session": "2016-08-24"}]
    short = {s["symbol"]: s for s in found["shortfalls"]}
    assert set(short) == {"NSE:M&M", "BSE:ODD"}
    assert (short["NSE:M&M"]["missing"], short["NSE:M&M"]["incomplete"]) == (2, 0)
    assert [s["cause"] for s in short["NSE:M&M"]["spans"]] == ["no feed was live", "a feed was live for a part"]
    assert short["BSE:ODD"]["state"] == "not listed"


def test_coverage_of_today_counts_the_minutes_that_have_ended(house: House) -> None:
    house.say(live(after(TODAY, 3.5)))
    house.keep(minutes(RELIANCE, TODAY, 0, 3))

    found = house.get("/api/v1/coverage", symbols="RELIANCE")

    assert (found["sessions"], found["covered"], found["counts"]["complete"]) == (["2016-08-25"], 1.0, 1)


@pytest.mark.parametrize(
    "query",
    [
        {"symbols": "NOBODY"},
        {"from": "yesterday"},
        {"from": "2016-08-26", "to": "2016-08-25"},
        {"from": "2010-01-01", "to": "2016-08-25"},
        {"day": "2016-08-25"},
    ],
)
def test_a_slip_in_the_question_is_said(house: House, query: dict[str, str]) -> None:
    answer = house.client.get("/api/v1/coverage", params=query)

    assert answer.status_code in (404, 422)
    assert answer.json()["allowed"]


@pytest.mark.parametrize("asked", [("2016-08-24", "2016-08-29"), ("2016-08-23", "2016-08-24"), ("2261-12-31",) * 2])
def test_a_day_beyond_the_calendar_is_refused_and_no_holiday(house: House, asked: tuple[str, str]) -> None:
    answer = house.client.get("/api/v1/coverage", params={"from": asked[0], "to": asked[1]})

    assert answer.status_code == 422
    assert answer.json()["allowed"] == "a day whose sessions are known, from 2016-08-24 to 2016-08-26"


def test_agreement_compares_ours_with_the_exchanges_own(house: House) -> None:
    house.keep(
        candle(RELIANCE, YESTERDAY, 0, 100.05, DAY, volume=1000),
        candle(TCS, YESTERDAY, 0, 50, DAY, volume=500),
        official(RELIANCE, 100, 1000),
        official(TCS, 50, 600),
        official(MAHINDRA, 7, 1),
    )

    (found,) = house.get("/api/v1/agreement", session="2016-08-24")["sessions"]

    close, volume = found["fields"][3], found["fields"][4]
    assert (found["compared"], found["official_only"]) == (2, ["NSE:M&M"])
    assert (close["exact"], close["near"], volume["exact"]) == (0.5, 1.0, 0.5)
    assert house.get("/api/v1/agreement")["sessions"] == [found]
    assert house.get("/api/v1/agreement", session="2016-08-25") == {"sessions": []}


def test_a_days_candle_is_ours_and_never_the_official_one(house: House) -> None:
    house.say(live(after(TODAY, 1)))
    house.keep(candle(RELIANCE, YESTERDAY, 0, 100, DAY), official(RELIANCE, 90, 5))

    found = house.get("/api/v1/candles/RELIANCE", interval="1d", **{"from": "2016-08-24", "to": "2016-08-24"})

    assert [(c["close"], c["provenance"]) for c in found["candles"]] == [(100.0, "LIVE")]


def test_a_correction_stands_in_the_answer_and_a_repair_among_the_ticks_is_passed_by(
    house: House,
) -> None:
    house.say(live(after(TODAY, 2.5)), tick(RELIANCE, after(TODAY, 2.4), 103))
    house.fold(minutes(RELIANCE, TODAY, 0, 2))
    repaired = candle(RELIANCE, TODAY, 1, 95, provenance=Provenance.REPAIRED, revision=1, trades=UNKNOWN)
    seen = house.follower.entries
    _append(house.bus, repaired)
    wait(lambda: house.follower.entries > seen)
    house.fold(repaired)

    found = house.get("/api/v1/candles/RELIANCE")
    quote = house.get("/api/stock/RELIANCE")

    told = [(c["close"], c["provenance"], c["revision"], c["trades"]) for c in found["candles"]]
    assert told == [(100.0, "LIVE", 0, 1), (95.0, "REPAIRED", 1, None)]
    assert (quote["price"], quote["open"], quote["low"]) == (103.0, 100.0, 95.0)
    assert house.follower.bad == 0


def _append(bus: Bus, rows: Candles) -> None:
    partition = partition_of(INSTRUMENTS[int(rows["instrument"][0])], PARTITIONS)
    bus.append("ticks", "repair", [(partition, 0, encode(rows))])


def test_official_rows_have_no_place_in_the_window(house: House) -> None:
    house.follower.put_candles(np.concatenate([official(ODD, 5, 5), candle(ODD, TODAY, 0, 6)]))

    assert house.follower.window.misplaced == 0
    assert house.follower.candles(ODD, 60, TODAY.open, TODAY.close)["close"].tolist() == [6 * SCALE]
