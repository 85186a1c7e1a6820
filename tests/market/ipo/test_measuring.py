"""How the evidence on the IPO desk is counted, on tables of our own making: what it calls an error, a merge, a loss."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ipos import compared, written
from benchmarks.premiums import MEAN, MEDIAN, WEIGHTED, Walked, calibration, disagreement, errors, interval, spikes
from benchmarks.report import markdown
from benchmarks.sources import matching, wrong_values
from market.ipo.facts import Told
from market.ipo.kinds import Segment
from market.ipo.pages import PageKind
from market.ipo.validation import ValidatedGmp
from market.money import money
from market.sessions import DAY, at
from market.vendors.investorgain import InvestorGain
from tests.market.ipo.issues import NOW

BOARD, DAILY = "investorgain_board_final", "ipocentral_daily_last"


def eve(k: int, said: Mapping[str, float], points: float, gain: float, **more: float) -> Walked:
    """The k-th issue: a month after the one before it."""
    listing = date(2024, 1, 1) + timedelta(days=30 * k)
    found = ValidatedGmp(
        issue=f"issue-{k}", at=at(listing, time(0)), gmp=money("1"), points=points,
        confidence=more.get("confidence", 0.5), disagreement_points=more.get("apart"),
        shown_points=more.get("shown", 5.0), age=DAY, used=(), refused=(), spike=None,
    )  # fmt: skip
    return Walked(listing, True, dict(said), found, gain, True)


def written_as(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def test_errors_are_of_the_gain_and_ours_is_held_against_the_same_issues() -> None:
    walk = [
        eve(0, {BOARD: 10.0, DAILY: 30.0}, 12.0, 14.0),
        eve(1, {BOARD: 20.0}, 20.0, 21.0),
    ]

    rows = {row["premium"]: row for row in errors(walk) if row["period"] == "all"}

    assert {name: (row["n"], row["mae"], row["ours better by"]) for name, row in rows.items()} == {
        WEIGHTED: (2, 1.5, None),
        BOARD: (2, 2.5, 1.0),  # 4 and 1 off, ours 2 and 1
        DAILY: (1, 16.0, 14.0),
        MEDIAN: (2, 3.5, 2.0),
        MEAN: (2, 3.5, 2.0),
    }


def test_errors_are_split_by_time_and_every_issue_is_in_one_half() -> None:
    walk = [eve(k, {BOARD: 1.0}, 1.0, float(k)) for k in range(5)]

    rows = {row["period"]: row["n"] for row in errors(walk) if row["premium"] == WEIGHTED}

    assert rows == {"all": 5, "before 2024-03-01": 2, "from 2024-03-01": 3, "2024": 5}


def test_an_interval_lies_about_its_mean_and_is_nothing_where_all_are_alike() -> None:
    mean, low, high = interval(np.array([0.0, 10.0] * 50))

    assert mean == 5.0
    assert 3.0 < low < 5.0 < high < 7.0
    assert interval(np.full(9, 4.0)) == (4.0, 4.0, 4.0)


def test_confidence_is_held_against_the_share_that_came_near() -> None:
    sure, unsure = {"confidence": 0.9, "shown": 1.0}, {"confidence": 0.2, "shown": 60.0}
    early = [eve(k, {BOARD: 5.0}, 5.0, 5.0) for k in range(10)]
    late = [eve(10 + k, {BOARD: 5.0}, 5.0, 5.0 if k % 2 else 90.0, **(sure if k % 2 else unsure)) for k in range(10)]

    rows = [row for row in calibration(early + late) if row["confidence"] == "as shipped, fitted to all"]

    assert [(row["n"], row["said"], row["came"]) for row in rows] == [
        (2, 0.2, 0.0), (2, 0.2, 0.0), (2, 0.55, 0.5), (2, 0.9, 1.0), (2, 0.9, 1.0),
    ]  # fmt: skip


def test_an_issue_of_one_source_has_no_disagreement() -> None:
    walk = [
        eve(0, {BOARD: 5.0}, 5.0, 8.0),
        eve(1, {BOARD: 5.0}, 5.0, 25.0, apart=0.0),
        eve(2, {}, 5.0, 6.0, apart=12.0),
    ]

    rows = [(row["apart"], row["n"], row["mae"]) for row in disagreement(walk)]

    assert rows == [("one source", 1, 3.0), ("0 to 2 points", 1, 20.0), ("10 points and more", 1, 1.0)]


@pytest.mark.parametrize(("relative", "alarms"), [(None, 1), (0.08, 2)])
def test_a_spike_is_counted_by_its_rule_and_never_after_the_listing(
    tmp_path: Path, relative: float | None, alarms: int
) -> None:
    days = [("01", "20", 4), ("02", "24", 3), ("03", "60", 2), ("04", "600", 0)]  # of 200: 10, 12, 30 points
    issue = {"ipo_id": "a", "site": "s", "issue_price": 200}
    rows = [issue | {"date": f"2024-07-{day}", "gmp_rs": gmp, "days_to_listing": left} for day, gmp, left in days]
    written_as(tmp_path / "gmp_daily.csv", rows)

    assert spikes(tmp_path, relative) == (2, alarms, 1)


def row(name: str, day: date, symbol: str | None = None, price: str = "100") -> Told:
    return Told(
        source=f"of {name}", name=name, at=at(day, time(0)), listing=day, price=money(price), symbol=symbol,
        segment=Segment.SME,
    )  # fmt: skip


def test_a_merge_is_false_where_two_issues_became_one_and_a_split_leaves_one_in_two() -> None:
    day, later = date(2024, 7, 2), date(2024, 11, 5)
    amber, again = row("Amber Foundry", day, "AMBER"), row("Amber Foundry", day, "AMBER")
    rows = [("amber", amber), ("zinc", again)]
    rows += [("iron", row("Iron Works", on, price="40")) for on in (day, later)]

    found = matching(rows)

    assert (found.issues, found.merged, found.split, found.queue) == (3, [{"amber", "zinc"}], ["iron"], [])


def test_a_row_that_waits_is_known_by_its_issue() -> None:
    day = date(2024, 7, 2)
    rows = [("a", row("Addictive Learning", day)), ("b", row("Lawsikho", day, price="117"))]
    rows.append(("c", row("Addictive Learning", day, price="117")))

    found = matching(rows)

    assert (found.merged, found.queue) == ([], [{"c"}])


def test_a_wrong_value_is_repaired_refused_or_believed(tmp_path: Path) -> None:
    master = {"ipo_id": "a", "listing_date": "2024-07-04", "issue_price": "100", "listing_open": "120"}
    size = {"ipo_id": "a", "field": "IPO_issue_size (Rs cr)", "kind": "thousands separator lost", "note": ""}
    offer = {
        "ipo_id": "a",
        "field": "gmp",
        "kind": "wrong offer",
        "note": "",
        "value_in_source": "",
        "value_elsewhere": "",
    }
    written_as(tmp_path / "ipo_master.csv", [master])
    written_as(tmp_path / "gmp_daily.csv", [{"ipo_id": "a", "date": "2024-07-02"}])
    sizes = [size | {"value_in_source": "335.74", "value_elsewhere": witness} for witness in ("1335.74", "")]
    written_as(tmp_path / "known_bad_values.csv", [*sizes, offer])

    rows = {one["kind"]: [one[name] for name in ("rows", "repaired", "refused", "believed", "repaired wrongly")]
            for one in wrong_values(tmp_path)}  # fmt: skip

    assert rows == {
        "thousands separator lost": [2, 1, 1, 0, 0],
        "wrong offer": [1, 0, 0, 1, 0],
        "all": [3, 1, 1, 1, 0],
    }


@pytest.mark.parametrize(
    ("after", "lost", "doubled", "same"),
    [
        ({"a": (3, "x"), "b": (2, "y")}, 0, 0, "yes"),
        ({"a": (3, "x"), "b": (2, "z")}, 0, 0, "NO"),
        ({"a": (1, "z"), "b": (5, "z")}, 2, 3, "NO"),
    ],
)
def test_what_is_lost_in_one_table_is_not_made_good_by_what_is_doubled_in_another(
    after: dict[str, tuple[int, str]], lost: int, doubled: int, same: str
) -> None:
    found = compared({"a": (3, "x"), "b": (2, "y")}, after)

    assert found == {"rows lost": lost, "rows doubled": doubled, "the same book": same}


def test_a_board_written_as_html_tells_what_its_rows_told() -> None:
    rows = [
        {"Name▲▼": "Amber & Sons IPO U", "GMP▲▼": "₹12 (12.00%)", "Price▲▼": "100", "Open▲▼": "30-Dec", "": ""},
        {"Name▲▼": "Zinc Pumps NSE SME O", "GMP▲▼": "₹-- (0.00%)", "Price▲▼": "80", "Open▲▼": "31-Dec", "": ""},
    ]
    body = json.dumps({"allGMP": rows, "smeGMP": rows[1:], "none": []}).encode()

    pages = [InvestorGain().read(one, PageKind.BOARD, NOW) for one in (body, written(body))]

    told = [[(one.name, one.gmp, one.high, one.opens) for one in page.gmps] for page in pages]
    assert told[0] == told[1]
    assert [name for name, *_ in told[1]] == ["Amber & Sons", "Zinc Pumps"]


def test_a_table_is_written_as_markdown_with_bars_that_are_no_columns() -> None:
    text = markdown("Two", [{"who": "a|b", "n": 1200, "mae": None}, {"who": "", "n": 3, "mae": 0.5}])

    assert text.split("\n") == [
        "### Two", "", "| who | n | mae |", "| --- | ---: | ---: |", "| a\\|b | 1,200 | - |", "| - | 3 | 0.5 |",
    ]  # fmt: skip
