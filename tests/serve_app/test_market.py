"""The market view over HTTP: what the Market actor wrote, and how old it is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from adapters.entries import encode
from adapters.outcomes import outcome_rows, outcome_table
from adapters.schemas import OUTCOMES
from adapters.signals import signal_table
from market.instruments import partition_of
from market.outcomes import OUTCOME
from market.quotes import Quotes
from market.sessions import MINUTE
from market.signals import SIGNAL, Action, Reason, Signals
from market.view import Watch
from tests.serve_app.house import (
    INSTRUMENTS,
    PARTITIONS,
    RELIANCE,
    TCS,
    TODAY,
    YESTERDAY,
    House,
    after,
    live,
    stated_close,
    tick,
)

AT = after(TODAY, 5)


def watched(house: House, at: int, feed: str = "LIVE") -> None:
    """Put a view of two shares into the read model, RELIANCE up 2 %, TCS down 1 %."""
    quotes = Quotes(len(INSTRUMENTS))
    quotes.update(np.concatenate([stated_close(RELIANCE, at, 100), stated_close(TCS, at, 100)]))
    quotes.update(np.concatenate([tick(RELIANCE, at, 102), tick(TCS, at, 99)]))
    rows = quotes.read(range(len(INSTRUMENTS)))
    house.model.market(Watch(INSTRUMENTS).view(rows, np.zeros(len(rows), np.bool_), at, feed), tell=False)


def test_the_view_is_answered_with_its_age(house: House) -> None:
    house.open()
    house.say(live(AT + 2 * 10**9))
    watched(house, AT)

    body = house.get("/api/v1/market/view")

    assert (body["overall"], body["breadth"], body["unknown"]) == ("NEUTRAL", 1.0, 2)
    assert body["gainers"] == [{"symbol": "NSE:RELIANCE", "price": 102.0, "change_percent": 2.0}]
    assert [one["symbol"] for one in body["losers"]] == ["NSE:TCS"]
    assert (body["timestamp"], body["age_seconds"], body["stale"]) == ("2016-08-25T03:50:00Z", 2.0, False)


def test_a_view_that_nobody_refreshes_and_one_of_a_feed_that_is_down_are_stale(house: House) -> None:
    house.open()
    house.say(live(AT + 61 * 10**9))
    watched(house, AT)
    old = house.get("/api/v1/market/view")

    watched(house, AT + 61 * 10**9, "DOWN")
    down = house.get("/api/v1/market/view")

    assert (old["stale"], old["age_seconds"]) == (True, 61.0)
    assert (down["stale"], down["feed"]) == (True, "DOWN")


def test_before_the_first_view_it_is_not_there_yet(house: House) -> None:
    house.open()

    answer = house.client.get("/api/v1/market/view")

    assert answer.status_code == 503 and answer.json()["type"] == "urn:bourse:problem:not-yet"


def signal(instrument: int, at: int, action: Action, reason: Reason) -> Signals:
    """One signal over a quarter of an hour, (1,)."""
    row = np.zeros(1, SIGNAL)
    row["instrument"], row["at"], row["action"], row["reason"] = instrument, at, action, reason
    row["price"], row["stop"], row["expires"] = 1_000_000, 994_000, at + 15 * MINUTE
    row["horizon"], row["version"], row["low"] = b"15m", b"direction-15m@3", np.nan
    return row


def test_signals_come_from_the_lake_and_what_is_newer_from_the_bus(house: House) -> None:
    old = signal(TCS, after(YESTERDAY, 5), Action.SELL, Reason.ENTERED)
    first, last = (
        signal(RELIANCE, AT, Action.BUY, Reason.ENTERED),
        signal(RELIANCE, AT + MINUTE, Action.BUY, Reason.RENEWED),
    )
    symbols = [i.symbol for i in INSTRUMENTS]
    house.lake.append("signals", signal_table(np.concatenate([old, first]), symbols), {"signals": 1})
    for number, row in enumerate((first, last), 1):
        house.bus.write("signals", partition_of(INSTRUMENTS[RELIANCE], PARTITIONS), number << 20, encode(row))
    house.open()
    house.say(live(AT + 2 * MINUTE))

    today = house.get("/api/v1/signals")["signals"]
    both = house.get("/api/v1/signals", since="2016-08-24")["signals"]
    newer = house.get("/api/v1/signals", symbol="reliance", since="2016-08-25T09:21:00+05:30")["signals"]

    assert [(s["symbol"], s["reason"], s["standing"]) for s in today] == [
        ("NSE:RELIANCE", "ENTERED", False),
        ("NSE:RELIANCE", "RENEWED", True),
    ]
    assert [s["symbol"] for s in both] == ["NSE:TCS", "NSE:RELIANCE", "NSE:RELIANCE"]
    assert not both[0]["standing"]
    assert [s["timestamp"] for s in newer] == ["2016-08-25T03:51:00Z"]
    assert (newer[0]["price"], newer[0]["stop"], newer[0]["low"]) == (100.0, 99.4, None)
    assert house.client.get("/api/v1/signals?symbol=NOBODY").status_code == 404


def test_outcomes_are_answered_by_version(house: House) -> None:
    rows = np.zeros(2, OUTCOME)
    rows["at"], rows["horizon"], rows["version"] = AT, b"15m", [b"direction-15m@3", b"direction-15m@4"]
    rows["p_down"], rows["p_flat"], rows["p_up"] = 0.1, 0.2, 0.7
    rows["came"], rows["outcome"], rows["net"] = [2, 1], [0.01, 0.0], [0.009, -0.001]
    table = outcome_table(rows, "NSE:TCS", house_days(2), AT)
    house.lake.append("outcomes", table, {"outcomes": 1})
    house.open()

    every = house.get("/api/v1/outcomes", **{"from": "2016-08-25", "to": "2016-08-25"})["performances"]
    one = house.get("/api/v1/outcomes", model="direction-15m@4", **{"from": "2016-08-25", "to": "2016-08-25"})
    none = house.get("/api/v1/outcomes", horizon="5m", **{"from": "2016-08-25", "to": "2016-08-25"})

    assert [(p["version"], p["hit_rate"], p["net_total"]) for p in every] == [
        ("direction-15m@3", 1.0, 0.009),
        ("direction-15m@4", 0.0, -0.001),
    ]
    assert [p["version"] for p in one["performances"]] == ["direction-15m@4"] and none["performances"] == []
    assert house.client.get("/api/v1/outcomes?horizon=2h").status_code == 422
    assert outcome_rows(table.cast(OUTCOMES))["came"].tolist() == [2, 1]


def house_days(count: int) -> pa.Array:
    """Today, so many times."""
    return pa.array([TODAY.date] * count, pa.date32())
