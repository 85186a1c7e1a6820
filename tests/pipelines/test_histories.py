"""An IPO history from CSV into the book, once."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from adapters import ipo_tables
from adapters.ipo_tables import DAYS, FLOWS, ISSUES, QUOTES
from adapters.ipos import Book
from adapters.migrations.versions.ipos_0003 import TABLES
from market.errors import BadValue
from market.ipo.kinds import Kind, Segment
from market.ipo.life import State
from market.money import money
from market.sessions import at
from pipelines import histories
from tests.rays import ray_of_ours

NOW = at(date(2025, 8, 1), time(0))
AMBER = {
    "ipo_id": "amber-2024", "company_name": "Amber Foundry Limited", "kind": "IPO", "segment": "MB",
    "nse_symbol": "AMBER", "bse_code": "599901", "open_date": "2024-03-01", "close_date": "2024-03-05",
    "listing_date": "2024-03-08", "issue_price": "200.0", "issue_size_cr": "451.2", "gain_open_pct": "15.0118",
    "gain_close_pct": "-2.5",
}  # fmt: skip
ZINC = {"ipo_id": "zinc-2024", "company_name": "Zinc Pumps Limited", "segment": "SME", "nse_symbol": "", "bse_code": ""}
QUOTED = [("amber-2024", "2024-03-04", "20"), ("amber-2024", "2024-03-07", "24.5"), ("amber-2024", "2024-03-08", "90")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two issues of one day and price, the second without gains; and premiums of the first."""
    columns = [*ISSUES.values(), "company_name", "nse_symbol", "bse_code"]
    rows = [AMBER, {**AMBER, **ZINC, "gain_open_pct": "", "gain_close_pct": ""}]
    rows.append({**AMBER, "ipo_id": "tin-2024", "company_name": "Tin", "listing_date": "2024-03-04"})
    (tmp_path / "csv").mkdir()
    table(tmp_path / "csv" / "ipo_master.csv", columns, [[row.get(name, "") for name in columns] for row in rows])
    table(tmp_path / "csv" / "gmp_daily.csv", [*QUOTES.values(), "site"], [[*row, "investorgain"] for row in QUOTED])
    table(tmp_path / "csv" / "market_daily.csv", list(DAYS.values()), [["2024-03-01", "22000", "14"]])
    table(tmp_path / "csv" / "fpi_monthly.csv", list(FLOWS.values()), [["2024-02", "-1539"]])
    return tmp_path / "csv"


def table(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    path.write_text("\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\n")


def everything(book: Book) -> dict[str, list[dict[str, Any]]]:
    with book.looking() as run:
        return {name: run.all(f"SELECT t.* FROM {name} t ORDER BY t::text") for name in TABLES}  # noqa: S608


def test_a_history_makes_issues_premiums_and_outcomes(book: Book, folder: Path, tmp_path: Path) -> None:
    done = histories.run(book, folder, tmp_path / "kept", NOW)

    with book.looking() as run:
        issues = {one.name: one for one in run.every()}
        amber = issues["Amber Foundry Limited"]
        premiums, outcomes = run.premiums(amber.id), {one.issue: one for one in run.outcomes()}
    assert (done.rows, done.issues, done.premiums, done.scored) == (6, 2, 2, 1)
    assert done.refused == {"listed before bidding closed": 1, "a premium of a day on which it traded": 1}
    assert (amber.segment, amber.kind, amber.symbol, amber.code) == (Segment.MAINBOARD, Kind.IPO, "AMBER", "599901")
    assert (amber.high, amber.lists, amber.state) == (money("200"), date(2024, 3, 8), State.LISTED)
    assert (amber.listed_at, amber.closed_at) == (money("230.02"), money("195"))
    told = [(one.source, one.gmp) for one in premiums]
    assert told == [("investorgain", money("20")), ("investorgain", money("24.5"))]
    assert [outcomes[amber.id].open_points, outcomes[amber.id].close_points] == approx([15.01, -2.5])
    assert len(outcomes) == 1 and "ZINC" not in {one.symbol for one in issues.values()}
    assert book.body(premiums[0].page) == (folder / "gmp_daily.csv").read_bytes()


def test_sources_are_judged_by_a_history(book: Book, folder: Path, tmp_path: Path) -> None:
    histories.run(book, folder, tmp_path / "kept", NOW)

    with book.looking() as run:
        shown, heard = run.validator().reliability.snapshot()["shown"], run.heard()
    assert heard == {}  # a history is no source that the desk would wait for
    assert [(source, error) for source, _, _, _, error, _ in shown] == [("investorgain", approx(15.01 - 12.25))]


def test_a_history_comes_in_once(book: Book, folder: Path, tmp_path: Path) -> None:
    histories.run(book, folder, tmp_path / "kept", NOW)
    before = everything(book)

    again = histories.run(book, folder, tmp_path / "kept", NOW + 1)

    assert (again.again, again.issues, again.scored) == (True, 0, 0)
    assert everything(book) == before


def test_the_models_find_its_tables(book: Book, folder: Path, tmp_path: Path) -> None:
    histories.run(book, folder, tmp_path / "kept", NOW)

    for kept, given in zip(ipo_tables.read(tmp_path / "kept"), ipo_tables.read(folder), strict=True):
        assert kept.tobytes() == given.tobytes()


def test_a_folder_without_tables_is_named(book: Book, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"ipo_master\.csv"):
        histories.run(book, tmp_path / "none", tmp_path / "kept", NOW)


def test_a_table_without_names_is_named(book: Book, folder: Path, tmp_path: Path) -> None:
    path = folder / "ipo_master.csv"
    path.write_text(path.read_text().replace("company_name", "firm"))

    with pytest.raises(BadValue, match=r"ipo_master\.csv.*company_name"):
        histories.run(book, folder, tmp_path / "kept", NOW)

    assert everything(book)["ipo_issues"] == []


@pytest.mark.cluster
def test_tasks_of_ray_data_come_to_the_same(book: Book, folder: Path, tmp_path: Path) -> None:

    here = list(histories._here(folder))
    with ray_of_ours(1):
        done = histories.run(book, folder, tmp_path / "kept", NOW, spread=True)
        spread = list(histories._spread(folder))

    assert spread == here
    assert (done.issues, done.premiums, done.scored) == (2, 2, 1)
