from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.switches import Switches
from market.alerts import OperatorAlert
from market.failover import Seam
from serve_app.gateway import CANDLES
from tests.serve_app.house import (
    MAHINDRA,
    ODD,
    RELIANCE,
    TCS,
    TODAY,
    TOMORROW,
    YESTERDAY,
    House,
    after,
    candle,
    gap,
    live,
    minutes,
    stated_close,
    tick,
    wait,
)

CANDLES_OF = "/api/v1/candles/RELIANCE"
MORNING = {"from": "2016-08-25T09:15:00+05:30", "to": "2016-08-25T09:20:00+05:30"}


def starts(body: dict[str, Any]) -> list[str]:
    return [c["start"] for c in body["candles"]]


def part(actor: str, **said: Any) -> dict[str, Any]:
    return {"actor": actor, "part": "feed", "up": True, "state": "LIVE", "lag_seconds": 0.1, "restarts": 0} | said


# Health and the market's state


def test_without_a_word_of_the_supervisor_health_is_degraded(house: House) -> None:
    body = house.get("/health")

    assert body["status"] == "degraded"
    assert "supervisor" in body["trouble"]
    assert body["parts"]["gateway"]["up"] is True


def test_with_all_parts_up_health_is_ok(house: House) -> None:
    house.model.put("status", {"parts": [part("feed-main")], "held_back": [], "bus": {"pressure": "ok"}}, 60)

    body = house.get("/health")

    assert body["status"] == "ok"
    assert body["parts"]["feed-main"] == {"up": True, "state": "LIVE", "lag_seconds": 0.1, "restarts": 0}
    assert body["bus"] == {"pressure": "ok"}


@pytest.mark.parametrize(
    "said", [{"up": False}, {"state": "DOWN"}, {"state": "MUTE"}, {"state": "AUTH_REQUIRED"}, {"trouble": "torn file"}]
)
def test_one_part_in_trouble_degrades_health(house: House, said: dict[str, Any]) -> None:
    house.model.put("status", {"parts": [part("feed-main", **said), part("candles-0")], "bus": {}}, 60)

    assert house.get("/health")["status"] == "degraded"


def bad(number: int, *, over: bool = False, severity: str = "warning") -> OperatorAlert:
    """An alert about a job, begun so many minutes after the open."""
    what = {"kind": "job", "subject": "repair", "text": "repair did not end well", "severity": severity}
    return OperatorAlert.model_validate({**what, "at": after(TODAY, number), "over": over})


def test_open_alerts_stand_in_the_status_and_in_health(house: House) -> None:
    house.model.put("status", {"parts": [part("feed-main")], "bus": {}}, 60)
    house.alert(bad(10))

    health, status, alerts = (house.get(path) for path in ("/health", "/api/v1/status", "/api/v1/alerts"))

    assert health["alerts"] == status["alerts"] == alerts["alerts"]
    assert health["status"] == "ok"
    assert alerts["alerts"] == [
        {
            "kind": "job",
            "subject": "repair",
            "at": "2016-08-25T03:55:00Z",
            "severity": "warning",
            "text": "repair did not end well",
            "over": False,
            "open": True,
        }
    ]


def test_an_alert_that_is_over_is_shown_to_who_asks_for_all(house: House) -> None:
    house.alert(bad(10), bad(10, over=True), bad(20))

    assert [a["at"] for a in house.get("/api/v1/alerts")["alerts"]] == ["2016-08-25T04:05:00Z"]
    everything = house.get("/api/v1/alerts", all="true")["alerts"]
    assert [(a["over"], a["open"]) for a in everything] == [(False, False), (True, False), (False, True)]


def test_a_critical_alert_degrades_health_until_it_is_over(house: House) -> None:
    house.model.put("status", {"parts": [part("feed-main")], "bus": {}}, 60)
    house.alert(bad(10, severity="critical"))
    during = house.get("/health")["status"]
    house.alert(bad(10, severity="critical", over=True))

    assert (during, house.get("/health")["status"]) == ("degraded", "ok")


@pytest.mark.parametrize("query", [{"all": "perhaps"}, {"everything": "true"}])
def test_alerts_are_asked_for_in_its_own_words(house: House, query: dict[str, str]) -> None:
    assert house.client.get("/api/v1/alerts", params=query).status_code == 422


def test_an_alert_nobody_can_read_is_counted_and_passed_over(house: House) -> None:
    house.bus.append("alerts", "somebody", [(0, 1, b"garbage")])
    house.alert(bad(10))

    assert len(house.get("/api/v1/alerts")["alerts"]) == 1
    assert house.get("/health")["parts"]["gateway"]["bad_entries"] == 1


def test_the_market_status_names_phase_clock_and_feeds(house: House) -> None:
    house.say(live(after(TODAY, 10)))

    assert house.get("/api/market/status") == {
        "phase": "continuous",
        "market_time": "2016-08-25T03:55:00Z",
        "session": "2016-08-25",
        "opens": "2016-08-25T03:45:00Z",
        "closes": "2016-08-25T10:00:00Z",
        "next_open": "2016-08-26T03:45:00Z",
        "active_feed": "main",
        "feeds": {"main": "LIVE"},
    }


def test_before_the_first_mark_the_phase_is_unknown(house: House) -> None:
    body = house.get("/api/market/status")

    assert (body["phase"], body["market_time"], body["session"], body["next_open"]) == ("unknown", None, None, None)


@pytest.mark.parametrize(("minute", "phase"), [(-5, "pre-open"), (0, "continuous"), (375, "closed"), (-60, "closed")])
def test_the_phase_follows_the_market_clock(house: House, minute: int, phase: str) -> None:
    house.say(live(after(TODAY, minute)))

    assert house.get("/api/market/status")["phase"] == phase


def test_status_counts_todays_candles_by_symbol(house: House) -> None:
    house.fold(minutes(RELIANCE, TODAY, 0, 3), minutes(TCS, TODAY, 0, 2))

    body = house.get("/api/v1/status")

    assert body["candles_today"] == 5
    assert body["candles_by_symbol"] == {"NSE:RELIANCE": 3, "NSE:TCS": 2, "NSE:M&M": 0, "BSE:ODD": 0}


# Quotes


@pytest.fixture
def quoted(house: House) -> House:
    at = after(TODAY, 10)
    house.say(
        stated_close(RELIANCE, after(TODAY, -10), 1000),
        tick(RELIANCE, at, 1012.05, 100, bid=10_120_000, bid_quantity=7, ask=10_121_000, ask_quantity=9),
        tick(RELIANCE, at + 10**9, 1025.5, 250, bid=10_254_500, bid_quantity=3, ask=10_255_000, ask_quantity=4),
        live(at + 3 * 10**9),
    )
    return house


def test_a_quote_says_exactly_what_the_ticks_said(quoted: House) -> None:
    assert quoted.get("/api/stock/RELIANCE") == {
        "symbol": "NSE:RELIANCE",
        "name": "Reliance Industries",
        "price": 1025.5,
        "bid": 1025.45,
        "ask": 1025.5,
        "open": 1012.05,
        "high": 1025.5,
        "low": 1012.05,
        "previous_close": 1000.0,
        "change": 25.5,
        "change_percent": 2.55,
        "bid_quantity": 3,
        "ask_quantity": 4,
        "open_interest": None,
        "volume": 250,
        "at": "2016-08-25T03:55:01Z",
        "received_at": "2016-08-25T03:55:01Z",
        "age_seconds": 2.0,
        "stale": False,
        "feed_state": "LIVE",
    }


@pytest.mark.parametrize("symbol", ["reliance", "Reliance", "NSE:RELIANCE", "nse:reliance", " RELIANCE "])
def test_a_symbol_is_known_in_any_case_and_with_its_exchange(quoted: House, symbol: str) -> None:
    assert quoted.get(f"/api/stock/{symbol}")["symbol"] == "NSE:RELIANCE"


def test_a_symbol_with_an_ampersand_and_one_of_the_other_exchange_are_found(house: House) -> None:
    assert house.get("/api/stock/M%26M")["symbol"] == "NSE:M&M"
    assert house.get("/api/stock/odd")["symbol"] == "BSE:ODD"


def test_a_quote_nobody_gave_is_null_and_stale(quoted: House) -> None:
    body = quoted.get("/api/stock/TCS")

    assert [body[name] for name in ("price", "change", "change_percent", "volume", "at", "age_seconds")] == [None] * 6
    assert body["stale"] is True


@pytest.mark.parametrize(("seconds", "stale"), [(60, False), (61, True)])
def test_a_quote_grows_stale_by_the_markets_clock(quoted: House, seconds: int, stale: bool) -> None:
    quoted.say(live(after(TODAY, 10) + (1 + seconds) * 10**9))

    body = quoted.get("/api/stock/RELIANCE")

    assert (body["age_seconds"], body["stale"]) == (float(seconds), stale)


def test_a_batch_answers_in_the_order_asked_and_names_strangers(quoted: House) -> None:
    body = quoted.get("/api/stocks/batch", symbols="tcs, RELIANCE,NOBODY,,tcs,M&M")

    assert [q["symbol"] for q in body["quotes"]] == ["NSE:TCS", "NSE:RELIANCE", "NSE:M&M"]
    assert body["quotes"][1]["price"] == 1025.5
    assert body["unknown"] == ["NOBODY"]


@pytest.mark.parametrize("count", [0, 501])
def test_a_batch_takes_1_to_500_symbols(house: House, count: int) -> None:
    answer = house.client.get("/api/stocks/batch", params={"symbols": ",".join(f"S{i}" for i in range(count))})

    assert answer.status_code == 422
    assert answer.json()["allowed"] == "1 to 500, with commas between"


def test_a_batch_of_500_is_answered(house: House) -> None:
    body = house.get("/api/stocks/batch", symbols=",".join(f"S{i}" for i in range(500)))

    assert len(body["unknown"]) == 500


# Candles


def test_todays_and_older_candles_come_in_one_answer(house: House) -> None:
    house.say(live(after(TODAY, 5)))
    house.keep(minutes(RELIANCE, YESTERDAY, 373, 375), minutes(TCS, YESTERDAY, 370, 375))
    house.fold(minutes(RELIANCE, TODAY, 0, 2))

    body = house.get(CANDLES_OF, **{"from": "2016-08-24T15:28:00+05:30", "to": "2016-08-25T09:17:00+05:30"})

    assert starts(body) == [f"2016-08-2{day}Z" for day in ("4T09:58:00", "4T09:59:00", "5T03:45:00", "5T03:46:00")]
    assert [c["close"] for c in body["candles"]] == [473.0, 474.0, 100.0, 101.0]
    assert body["coverage"]["complete"] is True
    assert body["truncated"] is False


def test_a_candle_says_exactly_what_was_folded(house: House) -> None:
    row = candle(RELIANCE, TODAY, 0, 100, open=1_000_500, high=1_010_000, low=999_900, vwap=1_003_333)
    house.say(live(after(TODAY, 2)))
    house.fold(row)

    body = house.get(CANDLES_OF, **MORNING)

    assert body["candles"] == [
        {
            "start": "2016-08-25T03:45:00Z",
            "open": 100.05,
            "high": 101.0,
            "low": 99.99,
            "close": 100.0,
            "volume": 10,
            "trades": 1,
            "vwap": 100.3333,
            "completeness": 1.0,
            "provenance": "LIVE",
            "revision": 0,
        }
    ]


@pytest.mark.parametrize("newer", ["bus", "lake"])
def test_the_newest_revision_wins_wherever_it_stands(house: House, newer: str) -> None:
    put = {"bus": house.fold, "lake": house.keep}
    house.say(live(after(TODAY, 5)))
    put["bus" if newer == "lake" else "lake"](candle(RELIANCE, TODAY, 0, 100))
    put[newer](candle(RELIANCE, TODAY, 0, 105, revision=1))

    body = house.get(CANDLES_OF, **{"from": "2016-08-24"})

    assert [(c["close"], c["revision"]) for c in body["candles"]] == [(105.0, 1)]


def test_a_session_without_a_candle_is_said_to_be_missing(house: House) -> None:
    house.say(live(after(TODAY, 3)))
    house.fold(minutes(RELIANCE, TODAY, 0, 2))

    covered = house.get(CANDLES_OF, **{"from": "2016-08-24"})["coverage"]

    assert covered["sessions_missing"] == 1
    assert covered["sessions_missing_newest"] == ["2016-08-24"]
    assert covered["complete"] is False


def test_candles_that_should_be_there_are_counted_and_gaps_and_shortfalls_named(house: House) -> None:
    house.say(live(after(TODAY, 9)))
    house.fold(
        candle(RELIANCE, TODAY, 0, 100),
        gap(RELIANCE, TODAY, 1),
        gap(RELIANCE, TODAY, 2),
        candle(RELIANCE, TODAY, 3, 100, completeness=0.5),
        gap(RELIANCE, TODAY, 5),
        candle(RELIANCE, TODAY, 6, 100),
        candle(RELIANCE, TODAY, 7, 100),
    )

    body = house.get(CANDLES_OF)

    assert body["candles"][1]["close"] is None
    assert body["candles"][1]["provenance"] == "GAP"
    assert body["coverage"] == {
        "complete": False,
        "sessions_missing": 0,
        "sessions_missing_newest": [],
        "candles_missing": 1,
        "candles_incomplete": 1,
        "gaps": 3,
        "gap_spans": [
            {"from": "2016-08-25T03:46:00Z", "to": "2016-08-25T03:48:00Z"},
            {"from": "2016-08-25T03:50:00Z", "to": "2016-08-25T03:51:00Z"},
        ],
    }


@pytest.mark.parametrize("seconds", [1, 4])
def test_a_candle_that_has_not_ended_or_only_just_is_not_missed(house: House, seconds: int) -> None:
    house.say(live(after(TODAY, 3) + seconds * 10**9))
    house.fold(minutes(RELIANCE, TODAY, 0, 2))

    covered = house.get(CANDLES_OF)["coverage"]

    assert (covered["candles_missing"], covered["complete"]) == (0, True)


def test_a_candle_that_came_early_does_not_make_up_for_one_that_is_missing(house: House) -> None:
    house.say(live(after(TODAY, 4) + 10**9))
    house.fold(candle(RELIANCE, TODAY, 0, 100), candle(RELIANCE, TODAY, 2, 100), candle(RELIANCE, TODAY, 3, 100))

    covered = house.get(CANDLES_OF)["coverage"]

    assert (covered["candles_missing"], covered["complete"]) == (1, False)


def test_the_running_session_is_answered_without_the_lake(house: House) -> None:
    house.say(live(after(TODAY, 5)))
    house.fold(minutes(RELIANCE, TODAY, 0, 3))
    Path(house.plan.lake).mkdir(exist_ok=True)
    (Path(house.plan.lake) / "candles").write_text("no table")

    body = house.get(CANDLES_OF)
    older = house.client.get(CANDLES_OF, params={"from": "2016-08-24"})

    assert [c["close"] for c in body["candles"]] == [100.0, 101.0, 102.0]
    assert (older.status_code, older.json()["title"]) == (503, "A store cannot be read now")


def test_the_limit_keeps_the_newest_and_says_so(house: House) -> None:
    house.say(live(after(TODAY, 11)))
    house.fold(minutes(RELIANCE, TODAY, 0, 10))

    body = house.get(CANDLES_OF, limit=3, **{"from": "2016-08-25"})

    assert [c["close"] for c in body["candles"]] == [107.0, 108.0, 109.0]
    assert body["truncated"] is True
    assert body["coverage"]["candles_missing"] == 0


def test_a_limit_that_is_just_enough_truncates_nothing(house: House) -> None:
    house.say(live(after(TODAY, 11)))
    house.fold(minutes(RELIANCE, TODAY, 0, 10))

    assert house.get(CANDLES_OF, limit=10, **{"from": "2016-08-25"})["truncated"] is False


def test_longer_intervals_come_from_both_places_too(house: House) -> None:
    house.say(live(after(TODAY, 11)))
    house.keep(candle(RELIANCE, YESTERDAY, 0, 90, 86400), candle(RELIANCE, YESTERDAY, 74, 91, 300))
    house.fold(candle(RELIANCE, TODAY, 0, 100, 300), candle(RELIANCE, TODAY, 1, 101, 300))

    days = house.get(CANDLES_OF, interval="1d", **{"from": "2016-08-24"})
    fives = house.get(CANDLES_OF, interval="5m", **{"from": "2016-08-24T15:25:00+05:30"})

    assert [c["close"] for c in days["candles"]] == [90.0]
    assert days["coverage"]["complete"] is True
    assert [c["close"] for c in fives["candles"]] == [91.0, 100.0, 101.0]
    assert fives["coverage"]["complete"] is True


def test_a_to_date_is_included_and_an_end_is_not(house: House) -> None:
    house.say(live(after(TODAY, 5)))
    house.keep(minutes(RELIANCE, YESTERDAY, 0, 3))

    whole = house.get(CANDLES_OF, **{"from": "2016-08-24", "to": "2016-08-24"})
    cut = house.get(CANDLES_OF, **{"from": "2016-08-24T03:46:00Z", "to": "2016-08-24T03:47:00Z"})

    assert len(whole["candles"]) == 3
    assert starts(cut) == ["2016-08-24T03:46:00Z"]


def test_a_plus_sign_that_was_not_escaped_is_understood(house: House) -> None:
    house.say(live(after(TODAY, 5)))
    house.fold(minutes(RELIANCE, TODAY, 0, 2))

    body = house.client.get(CANDLES_OF + "?from=2016-08-25T09:16:00+05:30").json()

    assert starts(body) == ["2016-08-25T03:46:00Z"]


def test_history_is_answered_before_the_markets_clock_is_known(house: House) -> None:
    house.keep(minutes(RELIANCE, YESTERDAY, 0, 3))

    assert len(house.get(CANDLES_OF, **{"from": "2016-08-24"})["candles"]) == 3


def test_a_holiday_is_an_empty_and_complete_answer(house: House) -> None:
    house.say(live(after(TODAY, 5)))

    body = house.get(CANDLES_OF, **{"from": "2016-08-21", "to": "2016-08-21"})

    assert (body["candles"], body["coverage"]["complete"]) == ([], True)


def test_nothing_is_missed_of_a_session_to_come(house: House) -> None:
    house.say(live(after(TODAY, 400)))

    body = house.get(CANDLES_OF, **{"from": "2016-08-26", "to": "2016-08-26"})

    assert TOMORROW.open > TODAY.close
    assert (body["candles"], body["coverage"]["sessions_missing"]) == ([], 0)


def test_without_a_limit_an_answer_has_a_thousand_candles_at_most(house: House) -> None:
    house.say(live(after(TODAY, 376)))
    house.keep(minutes(RELIANCE, YESTERDAY, 0, 375))
    house.fold(minutes(RELIANCE, TODAY, 0, 375))

    body = house.get(CANDLES_OF, **{"from": "2016-08-24", "to": "2016-08-25"})

    assert len(body["candles"]) == 750 < CANDLES
    assert body["coverage"]["complete"] is True
    assert starts(body) == sorted(starts(body))


# Refusals


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2016-08-25T10:00:00+05:30", "to": "2016-08-25T09:00:00+05:30"},
        {"from": "2016-08-25T10:00:00Z", "to": "2016-08-25T10:00:00Z"},
        {"from": "2016-08-25T10:00:00"},
        {"to": "2016-08-25T10:00:00"},
        {"from": "yesterday"},
        {"from": ""},
        {"from": "2016-02-30"},
        {"to": "9999-12-31"},
        {"to": "9999-12-30"},
        {"to": "9999-12-31T23:00:00Z"},
        {"from": "0001-01-01", "to": "0001-01-02"},
        {"from": "2000-01-01", "to": "2016-08-25"},
        {"interval": "2m"},
        {"interval": ""},
        {"interval": "1M"},
        {"intervall": "1m"},
        {"limit": "NaN"},
        {"limit": "-1"},
        {"limit": "0"},
        {"limit": "10001"},
        {"limit": "1e3"},
        {"limit": "9" * 40},
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(house: House, query: dict[str, str]) -> None:
    house.say(live(after(TODAY, 5)))

    answer = house.client.get(CANDLES_OF, params=query, headers={"X-Request-ID": "ask-1"})

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["allowed"]
    assert problem["type"] == "urn:bourse:problem:bad-value"
    assert (problem["status"], problem["instance"], problem["request_id"]) == (422, CANDLES_OF, "ask-1")


@pytest.mark.parametrize(
    "path", ["/health", "/api/market/status", "/api/v1/status", "/api/stock/TCS", "/api/stocks/batch?symbols=TCS"]
)
def test_a_parameter_nobody_knows_is_refused_everywhere(house: House, path: str) -> None:
    answer = house.client.get(path + ("&" if "?" in path else "?") + "verbose=1")

    assert answer.status_code == 422
    assert "verbose" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/stock/NOBODY", "/api/v1/candles/NOBODY"])
def test_an_unknown_symbol_is_not_found_and_told_what_there_is(house: House, path: str) -> None:
    answer = house.client.get(path)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:bourse:problem:unknown-symbol"
    assert "NSE:RELIANCE" in answer.json()["allowed"]


@pytest.mark.parametrize(
    "symbol",
    [
        "%E0%A4%B0%E0%A4%BF",
        "%F0%9F%93%88",
        "%FF%FE",
        "%00",
        "..%2F..%2Fetc%2Fpasswd",
        "..%5C..%5Cetc",
        "%27%20OR%201=1--",
        "%3Cscript%3E",
        "A" * 5000,
        "NSE:",
        ":",
        "%20",
        "*",
    ],
)
@pytest.mark.parametrize("path", ["/api/stock/", "/api/v1/candles/"])
def test_a_hostile_symbol_is_not_found(house: House, path: str, symbol: str) -> None:
    answer = house.client.get(path + symbol)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 2000


def test_a_path_nobody_serves_and_a_method_nobody_takes_are_problems(house: House) -> None:
    missing, wrong = house.client.get("/api/v2/health"), house.client.post("/health")

    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert {a.headers["content-type"] for a in (missing, wrong)} == {"application/problem+json"}


# Request ids, versions, documents


def test_a_request_id_is_echoed(house: House) -> None:
    assert house.client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, "tab\tbed", "caf\u00e9"])
def test_a_request_id_that_is_missing_or_unfit_is_made(house: House, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given.encode("latin-1")}

    answers = [house.client.get("/api/stock/NOBODY", headers=headers) for _ in range(2)]

    made = [a.headers["X-Request-ID"] for a in answers]
    assert made == [a.json()["request_id"] for a in answers]
    assert all(len(name) == 32 and name.isalnum() for name in made)
    assert made[0] != made[1]


@pytest.mark.parametrize(
    "path",
    ["/api/market/status", "/api/stock/RELIANCE", "/api/stocks/batch?symbols=TCS,NOBODY", "/api/stock/NOBODY"],
)
def test_the_first_systems_paths_answer_under_v1_alike(quoted: House, path: str) -> None:
    old, new = (quoted.client.get(p, headers={"X-Request-ID": "r"}) for p in (path, path.replace("/api/", "/api/v1/")))

    assert old.status_code == new.status_code
    assert {**old.json(), "instance": ""} == {**new.json(), "instance": ""}


def test_health_answers_under_v1_too(house: House) -> None:
    assert house.get("/api/v1/health").keys() == house.get("/health").keys()


def test_the_documents_are_served_and_name_every_path(house: House) -> None:
    page, described = house.client.get("/docs"), house.get("/openapi.json")

    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert {
        "/health",
        "/api/market/status",
        "/api/stock/{symbol}",
        "/api/stocks/batch",
        "/api/v1/candles/{symbol}",
    } <= (described["paths"].keys())


def test_what_stood_on_the_bus_before_the_gateway_came_is_known(closed: House) -> None:
    at = after(TODAY, 2)
    closed.say(tick(MAHINDRA, at, 50, 5), live(at))
    closed.fold(minutes(MAHINDRA, TODAY, 0, 2), minutes(ODD, TODAY, 0, 2, 30.0))
    closed.open()

    wait(lambda: closed.get("/api/stock/M%26M")["volume"] == 5)

    assert closed.get("/api/stock/odd")["price"] == 31.0
    assert np.array_equal(closed.follower.quotes.read([MAHINDRA])["price"], [500_000])


def test_feeds_shows_each_feed_its_breaker_and_the_last_switches(house: House) -> None:
    switches = Switches(house.bus)
    for number, (old, new, reason) in enumerate([("", "main", "start"), ("main", "spare", "mute")]):
        seam = Seam(
            number=number, old=old, new=new, source=number, at=after(TODAY, 10), since=TODAY.open, reason=reason
        )
        switches.tell(seam)
    standing = {"name": "spare", "active": True, "state": "LIVE", "breaker": "closed", "at": TODAY.open, "since": 0}
    part = {"part": "switch", "actor": "switch", "up": True, "active": "spare", "held": True, "feeds": [standing]}
    house.model.put("status", {"parts": [part]}, 60)

    told = house.get("/api/v1/feeds")

    assert (told["active"], told["held"], told["forced"]) == ("spare", True, None)
    assert told["feeds"] == [standing | {"at": "2016-08-25T03:45:00Z", "since": None}]
    assert [(s["from"], s["to"], s["at"], s["reason"]) for s in told["switches"]] == [
        ("main", "spare", "2016-08-25T03:55:00Z", "mute"),
        (None, "main", "2016-08-25T03:55:00Z", "start"),
    ]
    assert house.get("/health")["feeds"] == {"active": "spare", "breakers": {"spare": "closed"}}


def test_a_gateway_that_comes_after_a_switch_knows_the_active_feed(closed: House) -> None:
    Switches(closed.bus).tell(Seam(number=0, new="spare", source=1, at=1, since=1, reason="start"))

    closed.open()
    closed.say(live(after(TODAY, 1)))

    assert closed.get("/api/market/status")["active_feed"] == "spare"


# Sessions


def test_the_sessions_are_those_the_gateway_was_told(house: House) -> None:
    house.say(live(TODAY.open))

    body = house.get("/api/v1/sessions")

    assert (body["exchange"], body["zone"], body["from"], body["to"]) == (
        "NSE", "Asia/Kolkata", "2016-08-25", "2016-09-24",
    )  # fmt: skip
    assert body["sessions"][0]["date"] == "2016-08-25"


def test_a_session_has_hours_phases_and_a_source(house: House) -> None:
    body = house.get("/api/v1/sessions", exchange="bse", **{"from": "2021-11-04", "to": "2021-11-05"})

    (evening,) = body["sessions"]
    assert [evening[name] for name in ("kind", "open", "close_ist", "minutes")] == [
        "muhurat", "2021-11-04T12:45:00Z", "2021-11-04T19:15:00+05:30", 60,
    ]  # fmt: skip
    assert [p["phase"] for p in evening["phases"]] == ["pre-open", "muhurat", "closing"]
    assert "BSE keeps NSE's days" in evening["source"]


@pytest.mark.parametrize(
    "query",
    [
        {"from": "9999-12-31"},
        {"to": "0001-01-01"},
        {"exchange": "LSE"},
        {"from": "2021-13-01"},
        {"from": "2021-02-03", "to": "2021-02-02"},
        {"from": "1999-02-03", "to": "2000-02-02"},
        {"from": "2001-01-01", "to": "2021-01-01"},
        {"since": "2021-02-03"},
    ],
)
def test_sessions_that_cannot_be_are_refused(house: House, query: dict[str, str]) -> None:
    answer = house.client.get("/api/v1/sessions", params=query)

    assert answer.status_code == 422
    assert answer.json()["allowed"]
