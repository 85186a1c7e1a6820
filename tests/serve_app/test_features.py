"""Features over HTTP: the latest, a history over the lake and the bus, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.entries import encode
from adapters.schemas import feature_table
from market.features import FEATURE, NAMES, SET, FeatureRows, Unknown
from market.instruments import partition_of
from market.sessions import MINUTE, day_number
from tests.serve_app.house import INSTRUMENTS, PARTITIONS, RELIANCE, TCS, TODAY, YESTERDAY, House, after, live

PATH = "/api/v1/features/RELIANCE"


def rows(instrument: int, of: Any, first: int, last: int, **fields: Any) -> FeatureRows:
    """Features of the minutes first..last-1 of a session: value k of minute m is m + k / 1000."""
    out = np.zeros(last - first, FEATURE)
    out["instrument"], out["session"] = instrument, day_number(of.date)
    out["start"] = of.open + np.arange(first, last) * MINUTE
    out["values"] = np.arange(first, last)[:, None] + np.arange(len(NAMES)) / 1000
    for name, value in fields.items():
        out[name] = value
    return out


def keep(house: House, made: FeatureRows, cursor: int = 1) -> None:
    """Commit rows to the lake."""
    table = feature_table(made, [i.symbol for i in INSTRUMENTS], SET, NAMES, [r.name for r in Unknown])
    house.lake.append("features", table, {"test": cursor})


def publish(house: House, made: FeatureRows) -> None:
    """Write rows to the bus, an entry each."""
    for row in made:
        partition = partition_of(INSTRUMENTS[row["instrument"]], PARTITIONS)
        house.bus.write("analysis", partition, house.bus.last("analysis", partition) + 1, encode(row[None]))


def test_the_latest_row_comes_from_the_read_model_with_its_age(house: House) -> None:
    made = rows(RELIANCE, TODAY, 7, 8, revision=2)
    made["values"][0, 3] = np.nan
    house.model.features(["NSE:RELIANCE"], made)
    house.say(live(after(TODAY, 8.5)))

    body = house.get(PATH)

    (row,) = body["rows"]
    assert (body["symbol"], body["set"], body["names"]) == ("NSE:RELIANCE", SET, list(NAMES))
    assert (body["age_seconds"], body["stale"], body["market_time"]) == (30.0, False, "2016-08-25T03:53:30Z")
    assert (row["start"], row["session"], row["revision"]) == ("2016-08-25T03:52:00Z", "2016-08-25", 2)
    assert row["unknown"] is None
    assert row["values"][:5] == [7.0, 7.001, 7.002, None, 7.004]


def test_a_row_that_should_have_been_followed_is_stale(house: House) -> None:
    house.model.features(["NSE:RELIANCE"], rows(RELIANCE, TODAY, 7, 8))
    house.say(live(after(TODAY, 10.5)))

    assert house.get(PATH)["stale"] is True


def test_what_is_unknown_says_why(house: House) -> None:
    house.model.features(["NSE:RELIANCE"], rows(RELIANCE, TODAY, 7, 8, unknown=Unknown.GAP, values=np.nan))

    (row,) = house.get(PATH)["rows"]

    assert row["unknown"] == "GAP"
    assert row["values"] == [None] * len(NAMES)


def test_a_read_model_that_lost_everything_is_made_up_for_by_the_bus(house: House) -> None:
    publish(house, rows(RELIANCE, TODAY, 3, 6))

    (row,) = house.get(PATH)["rows"]

    assert row["start"] == "2016-08-25T03:50:00Z"


def test_a_history_joins_the_lake_and_what_the_bus_has_since(house: House) -> None:
    keep(
        house,
        np.concatenate([rows(RELIANCE, YESTERDAY, 373, 375), rows(RELIANCE, TODAY, 0, 3), rows(TCS, TODAY, 0, 9)]),
    )
    publish(house, rows(RELIANCE, TODAY, 1, 5))

    body = house.get(PATH, **{"from": "2016-08-24T15:29:00+05:30", "to": "2016-08-25"})

    assert [r["values"][1] for r in body["rows"]] == [374.001, 0.001, 1.001, 2.001, 3.001, 4.001]
    assert [r["session"] for r in body["rows"]] == ["2016-08-24", *["2016-08-25"] * 5]
    assert (body["from"], body["to"]) == ("2016-08-24T09:59:00Z", "2016-08-25T18:30:00Z")
    assert body["truncated"] is False


def test_a_limit_keeps_the_newest_and_says_so(house: House) -> None:
    keep(house, rows(RELIANCE, TODAY, 0, 9))

    body = house.get(PATH, **{"from": "2016-08-25", "limit": 2})

    assert [r["values"][0] for r in body["rows"]] == [7.0, 8.0]
    assert body["truncated"] is True


@pytest.mark.parametrize(
    ("limit", "minutes"), [(1, [7.0]), (3, [5.0, 6.0, 7.0]), (4, [4.0, 5.0, 6.0, 7.0]), (8, list(range(8)))]
)
def test_a_limit_counts_over_the_lake_and_the_bus(house: House, limit: int, minutes: list[float]) -> None:
    keep(house, rows(RELIANCE, TODAY, 0, 5))
    publish(house, rows(RELIANCE, TODAY, 5, 10))

    body = house.get(PATH, **{"from": "2016-08-25", "to": "2016-08-25T09:23:00+05:30", "limit": limit})

    assert [r["values"][0] for r in body["rows"]] == minutes
    assert [r["session"] for r in body["rows"]] == ["2016-08-25"] * limit
    assert body["truncated"] is (limit < 8)


def test_a_range_without_features_is_empty(house: House) -> None:
    body = house.get(PATH, **{"from": "2016-08-24", "to": "2016-08-24"})

    assert (body["rows"], body["age_seconds"], body["stale"]) == ([], None, False)


def test_before_the_first_row_the_answer_is_to_try_again(house: House) -> None:
    answer = house.client.get(PATH)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["type"] == "urn:bourse:problem:not-yet"
    assert answer.json()["detail"] == "none of NSE:RELIANCE yet: the first minute has to close"


def test_a_symbol_nobody_listed_is_answered_with_what_there_is(house: House) -> None:
    answer = house.client.get("/api/v1/features/RELIANSE")

    assert answer.status_code == 404
    assert "NSE:RELIANCE" in answer.json()["allowed"]


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "2016-08-25", "to": "2016-08-24"},
        {"from": "2010-01-01", "to": "2016-08-24"},
        {"from": "2016-08-25", "limit": 0},
        {"from": "2016-08-25", "limit": 5001},
        {"since": "2016-08-25"},
    ],
    ids=["word", "upside-down", "long", "none", "many", "strange"],
)
def test_a_range_that_is_not_allowed_is_refused(house: House, query: dict[str, Any]) -> None:
    answer = house.client.get(PATH, params=query)

    assert answer.status_code == 422
    assert answer.json()["allowed"]


def test_the_shape_of_the_answer_stands_in_the_schema(house: House) -> None:
    schema = house.get("/openapi.json")

    told = schema["paths"]["/api/v1/features/{symbol}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert told["schema"]["$ref"].endswith("FeatureAnswer")
    assert {"symbol", "set", "names", "from", "to", "rows"} <= set(
        schema["components"]["schemas"]["FeatureAnswer"]["properties"]
    )
