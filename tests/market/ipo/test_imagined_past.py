"""The demo's past: tables that the models can read, of issues that end before the day they are asked on."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

import numpy as np
import pytest

from adapters.ipo_tables import read
from market.errors import BadValue
from market.holidays import nse_sessions
from market.ipo.examples import Decision, examples, gains
from market.ipo.imagined import Imagined
from market.ipo.imagined_past import history
from market.sessions import at, day_number

SESSIONS = nse_sessions(date(2025, 1, 1), date(2025, 9, 30))
NOW = at(date(2025, 8, 29), time(18))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight months of a past."""
    found = tmp_path_factory.mktemp("past")
    for name, body in history(Imagined(7, SESSIONS), NOW).items():
        (found / name).write_bytes(body)
    return found


def test_it_is_a_history_as_any_other(folder: Path) -> None:
    tables = read(folder)
    found = examples(tables, Decision.EVE)
    came = gains(tables, found)

    assert len(found) > 60 and np.isfinite(came).mean() > 0.95
    assert tables.issues["listed"].max() <= day_number(date(2025, 8, 29)) < tables.issues["listed"].max() + 7
    assert np.isfinite(found["nifty_20_points"]).mean() > 0.7 and np.isfinite(found["vix"]).all()
    assert np.corrcoef(found["gmp_points"], came)[0, 1] > 0.5


def test_the_third_day_of_bidding_ends_as_the_whole(folder: Path) -> None:
    issues = read(folder).issues

    for name in ("qib", "nii", "rii"):
        assert (issues[f"{name}_day1"] <= issues[f"{name}_day2"]).all()
        assert (issues[f"{name}_day3"] == issues[name]).all()


def test_it_tells_of_the_issues_that_the_site_shows(folder: Path) -> None:
    shown = {one.name for one in Imagined(7, SESSIONS).issues(NOW) if one.closed_at is not None}
    names = (folder / "ipo_master.csv").read_text()

    assert len(shown) > 20 and all(name in names for name in shown)


def test_a_past_too_short_for_any_issue_is_refused() -> None:
    short = nse_sessions(date(2025, 8, 27), date(2025, 8, 29))

    with pytest.raises(BadValue, match="sessions"):
        history(Imagined(7, short), NOW)
