"""Refusals: what a caller sent that means nothing is refused in words that name it, not answered with nothing."""

from __future__ import annotations

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
