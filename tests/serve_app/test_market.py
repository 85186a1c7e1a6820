"""The market view over HTTP: what the Market actor wrote, and how old it is."""

from __future__ import annotations

import numpy as np

from market.quotes import Quotes
from market.view import Watch
from tests.serve_app.house import INSTRUMENTS, RELIANCE, TCS, TODAY, House, after, live, stated_close, tick

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
