"""Scorecards over HTTP: one symbol in the seed's schema, the whole market with filters, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.entries import encode
from market.features import Unknown
from market.instruments import partition_of
from market.money import UNKNOWN
from market.predictions import Abstained
from market.scores import HORIZON_NAMES, SCORE, Asked, Recommendation, Scores
from market.sessions import MINUTE, day_number
from tests.serve_app.house import (
    INSTRUMENTS,
    MAHINDRA,
    ODD,
    PARTITIONS,
    RELIANCE,
    TCS,
    TODAY,
    House,
    after,
    live,
    stated_close,
    tick,
    wait,
)

SEED = {
    "symbol": str, "timestamp": str, "ltp": float, "change": float, "change_percent": float, "indicators": dict,
    "scores": dict, "ai": dict, "recommendation": str, "meta": dict,
}  # fmt: skip


def card(instrument: int, minute: int, horizon: str = "15m", **fields: Any) -> Scores:
    """A scorecard of a minute of today."""
    row = np.zeros(1, SCORE)
    row["instrument"], row["start"], row["session"] = instrument, TODAY.open + minute * MINUTE, day_number(TODAY.date)
    row["horizon"] = HORIZON_NAMES.index(horizon)
    told = {
        "close": 28_505_000, "previous": 28_385_000, "macd": 125_000, "macd_signal": 102_000, "ema_50": 28_400_000,
        "ema_100": 28_200_000, "ema_200": 28_000_000, "upper": 28_600_000, "middle": 28_500_000, "lower": 28_400_000,
        "rsi": 65.25, "trend": 3.5, "momentum": 4.0, "composite": 3.75, "prediction": 0.8125, "confidence": 0.625,
        "recommendation": Recommendation.STRONG_BUY, "latency": 85.0, "version": b"v2.1-lstm",
    }  # fmt: skip
    for name, value in (told | fields).items():
        row[name] = value
    return row


def publish(house: House, *rows: Scores) -> None:
    """Write scorecards, an entry each, and wait until the gateway has them."""
    for row in rows:
        partition = partition_of(INSTRUMENTS[int(row["instrument"][0])], PARTITIONS)
        house.bus.write("scores", partition, house.bus.last("scores", partition) + 1, encode(row))
    horizons = {int(row["horizon"][0]) for row in rows}

    def there() -> bool:
        held = house.follower.scores
        return horizons <= set(held) and all(
            held[int(r["horizon"][0])]["start"][r["instrument"][0]] >= r["start"][0] for r in rows
        )

    wait(there)


@pytest.mark.parametrize("path", ["/api/v1/analyze", "/analyze"])
def test_a_symbol_is_answered_in_the_schema_of_the_seed(house: House, path: str) -> None:
    publish(house, card(RELIANCE, 7))
    house.say(live(after(TODAY, 8) + 2 * 10**9))

    body = house.get(path, symbol="RELIANCE")

    data = body["data"]
    assert body["status"] == "success"
    assert {name: type(data[name]) for name in SEED} == SEED
    assert (data["symbol"], data["timestamp"]) == ("NSE:RELIANCE", "2016-08-25T03:53:00Z")
    assert (data["ltp"], data["change"], data["change_percent"]) == (2850.5, 12.0, 0.4228)
    assert data["indicators"] == {
        "rsi": 65.25,
        "macd": {"value": 12.5, "signal": 10.2, "histogram": 2.3},
        "emas": {"50": 2840.0, "100": 2820.0, "200": 2800.0},
        "bollinger": {"upper": 2860.0, "middle": 2850.0, "lower": 2840.0},
    }
    assert data["scores"] == {"trend": 3.5, "momentum": 4.0, "composite": 3.75}
    assert data["ai"].items() >= {"prediction": 0.8125, "confidence": 0.625, "model_version": "v2.1-lstm"}.items()
    assert data["recommendation"] == "STRONG_BUY"
    assert data["meta"] == {"latency_ms": 85.0, "data_age_seconds": 2.0}


def test_the_newest_minute_counts_whatever_comes_behind_it(house: House) -> None:
    publish(house, card(RELIANCE, 7), card(RELIANCE, 9, close=1_000_000), card(RELIANCE, 8))

    assert house.get("/analyze", symbol="NSE:RELIANCE")["data"]["ltp"] == 100.0


def test_other_horizons_of_the_minute_stand_beside_the_first(house: House) -> None:
    publish(house, card(RELIANCE, 7), card(RELIANCE, 7, "5m", prediction=0.25), card(RELIANCE, 6, "60m"))

    data = house.get("/analyze", symbol="RELIANCE")["data"]

    assert data["ai"]["horizon"] == "15m"
    assert [(one["horizon"], one["prediction"]) for one in data["outlooks"]] == [("5m", 0.25)]


def test_a_card_without_a_prediction_says_why(house: House) -> None:
    lost = {"prediction": np.nan, "confidence": np.nan, "version": b""}
    publish(house, card(RELIANCE, 7, asked=Asked.SLOW, abstained=Abstained.NO_MODEL, **lost))
    publish(house, card(TCS, 7, abstained=Abstained.STALE, unknown=Unknown.STALE, **lost))

    silent, old = (house.get("/analyze", symbol=s)["data"] for s in ("RELIANCE", "TCS"))

    assert (silent["ai"]["prediction"], silent["ai"]["reason"]) == (None, "the predictor did not answer in time")
    assert (old["ai"]["confidence"], old["unknown"]) == (None, "STALE")
    assert "older" in old["ai"]["reason"]


def test_a_card_of_a_fresh_install_says_what_it_lacks(house: House) -> None:
    publish(house, card(RELIANCE, 7, trend=np.nan, composite=np.nan), card(TCS, 7, previous=UNKNOWN))

    early, first = (house.get("/analyze", symbol=s)["data"] for s in ("RELIANCE", "TCS"))

    assert (early["scores"]["composite"], early["unknown"]) == (None, "TOO_FEW_MINUTES")
    assert (first["change"], first["unknown"]) == (None, "NO_PREVIOUS_CLOSE")


def test_on_a_first_day_the_change_is_from_what_the_vendor_says_closed_before(house: House) -> None:
    publish(house, card(TCS, 7, previous=UNKNOWN), card(RELIANCE, 7))
    house.say(stated_close(TCS, after(TODAY, 7), 2838.5), stated_close(RELIANCE, after(TODAY, 7), 1.0))
    house.say(tick(TCS, after(TODAY, 8), 2850.5, 10), tick(RELIANCE, after(TODAY, 8), 2850.5, 10))

    first, known = (house.get("/analyze", symbol=s)["data"] for s in ("TCS", "RELIANCE"))

    assert (first["change"], first["change_percent"], first["unknown"]) == (12.0, 0.4228, None)
    assert (known["change"], known["change_percent"]) == (12.0, 0.4228)  # of the candles, where they know it


def test_the_market_is_told_highest_first_and_who_is_missing(house: House) -> None:
    publish(house, card(RELIANCE, 7), card(TCS, 7, composite=4.5), card(ODD, 7, composite=np.nan))

    body = house.get("/api/v1/analyze/market")

    assert [one["symbol"] for one in body["data"]] == ["NSE:TCS", "NSE:RELIANCE", "BSE:ODD"]
    assert (body["count"], body["missing"]) == (3, ["NSE:M&M"])


@pytest.mark.parametrize(
    ("query", "symbols"),
    [
        ({"recommendation": "buy,sell"}, ["NSE:TCS", "NSE:M&M"]),
        ({"recommendation": "HOLD"}, []),
        ({"symbols": "RELIANCE,NSE:M&M"}, ["NSE:RELIANCE", "NSE:M&M"]),
        ({"sort": "momentum", "limit": 1}, ["NSE:M&M"]),
    ],
)
def test_the_market_is_filtered(house: House, query: dict[str, Any], symbols: list[str]) -> None:
    sell = {"composite": -2.0, "momentum": 5.0, "recommendation": Recommendation.SELL}
    publish(
        house,
        card(RELIANCE, 7),
        card(TCS, 7, composite=2.0, recommendation=Recommendation.BUY),
        card(MAHINDRA, 7, **sell),
    )

    assert [one["symbol"] for one in house.get("/analyze/market", **query)["data"]] == symbols


@pytest.mark.parametrize(
    ("path", "query", "status", "kind"),
    [
        ("/analyze", {"symbol": "NOBODY"}, 404, "unknown-symbol"),
        ("/analyze", {}, 422, "bad-value"),
        ("/analyze", {"symbol": "TCS", "x": "1"}, 422, "bad-value"),
        ("/analyze", {"symbol": "TCS"}, 503, "not-yet"),
        ("/analyze/market", {"recommendation": "MAYBE"}, 422, "bad-value"),
        ("/analyze/market", {"sector": "Shipping"}, 422, "bad-value"),
        ("/analyze/market", {"sort": "luck"}, 422, "bad-value"),
        ("/analyze/market", {"symbols": "TCS,NOBODY"}, 404, "unknown-symbol"),
        ("/analyze/market", {"limit": "0"}, 422, "bad-value"),
    ],
)
def test_what_cannot_be_answered_is_a_problem(
    house: House, path: str, query: dict[str, str], status: int, kind: str
) -> None:
    answer = house.client.get(path, params=query)

    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:bourse:problem:{kind}")


def test_before_the_first_minute_all_are_missing(house: House) -> None:
    body = house.get("/api/v1/analyze/market")

    assert (body["count"], body["data"], len(body["missing"])) == (0, [], len(INSTRUMENTS))
