"""Refusals: what a caller sent that means nothing is refused in words that name it, not answered with nothing."""

from __future__ import annotations

import gzip

import pytest

from tests.serve_app.house import TODAY, House, after, live

DATED = {
    "/api/v1/outcomes": ("from", "to"),
    "/api/v1/signals": ("since",),
    "/api/v1/sessions": ("from", "to"),
    "/api/v1/coverage": ("from", "to"),
    "/api/v1/agreement": ("session",),
    "/api/v1/candles/TCS": ("from", "to"),
    "/api/v1/features/TCS": ("from", "to"),
}


@pytest.mark.parametrize("year", ["0001-01-01", "1969-12-31", "2262-01-01", "9999-12-31"])
def test_a_date_of_a_year_beyond_reckoning_is_refused_by_its_name_everywhere(house: House, year: str) -> None:
    house.say(live(after(TODAY, 5)))

    answers = {
        (path, name): house.client.get(path, params={name: year}) for path, names in DATED.items() for name in names
    }

    for (path, name), answer in answers.items():
        assert answer.status_code == 422, (path, answer.text)
        assert answer.json()["detail"].startswith(f"{name}: "), (path, answer.text)
        assert "1970 to 2261" in answer.json()["allowed"], path


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"not json", "body: not JSON: Expecting value at character 0"),
        (b"[" * 100_000 + b"]" * 100_000, "body: not JSON: it is nested too deeply"),
        (b'{"symbol": ' + b"7" * 100_000 + b"}", "body: not JSON: a number in it has too many digits"),
        (b'{"symbol": "\xff"}', "body: not JSON: byte 12 is not utf-8"),
        (gzip.compress(b'{"symbol": "TCS"}', mtime=0), "body: not JSON: it is compressed"),
    ],
)
def test_a_body_that_is_no_json_is_refused_in_words(house: House, body: bytes, why: str) -> None:
    answer = house.client.post("/predict", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["detail"]) == (422, why)
    assert answer.json()["allowed"] == "JSON in UTF-8, not compressed"


@pytest.mark.parametrize("said", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form"}])
def test_a_body_that_does_not_say_it_is_json_is_told_to(house: House, said: dict[str, str]) -> None:
    answer = house.client.post("/predict", content=b'{"symbol": "TCS"}', headers=said)

    assert (answer.status_code, answer.json()["allowed"]) == (415, "Content-Type: application/json")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/v1/analyze/market?recommendation=", "recommendation"),
        ("/api/v1/analyze/market?recommendation=,", "recommendation"),
        ("/api/v1/analyze/market?symbols=,", "symbols"),
        ("/api/v1/analyze/market?sector=", "sector"),
        ("/api/v1/coverage?symbols=,", "symbols"),
        ("/api/v1/analyze?symbol=TCS&symbol=RELIANCE", "symbol"),
        ("/api/v1/candles/TCS?limit=5&limit=6", "limit"),
        ("/api/v1/outcomes?model=foo", "model"),
        ("/api/v1/outcomes?model=", "model"),
        ("/api/v1/outcomes?model=%00", "model"),
        ("/api/v1/outcomes?model=direction-15m@x", "model"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(house: House, path: str, named: str) -> None:
    house.say(live(after(TODAY, 5)))

    answer = house.client.get(path)

    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith(f"{named}: ") and answer.json()["allowed"]


def test_outcomes_of_a_model_that_may_be_are_an_empty_answer(house: House) -> None:
    house.say(live(after(TODAY, 5)))

    for model in ("direction-15m", "direction-5m@7", "direction-1d-daily"):
        assert house.get("/api/v1/outcomes", model=model)["performances"] == []
