"""The tables of the IPO history, read from CSV by the names of their columns."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from adapters.ipo_tables import FILES, ISSUES, read
from market.errors import BadValue
from market.ipo.examples import NO_DAY
from market.sessions import day_number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One issue, and a row of each of the other tables; all other cells are empty."""
    columns = list(reversed(ISSUES.values()))
    cells = {"ipo_id": "a-2024", "kind": "IPO", "segment": "SME", "listing_date": "2024-03-04", "issue_price": "120.5"}
    cells |= {"gmp_last": "-3", "gain_close_pct": "0.0"}
    row = ",".join(cells.get(name, "") for name in columns)
    (tmp_path / "ipo_master.csv").write_text(f"more,{','.join(columns)}\nx,{row}\n")
    (tmp_path / "gmp_daily.csv").write_text("ipo_id,date,gmp_rs\na-2024,2024-02-29,12\n")
    (tmp_path / "market_daily.csv").write_text("date,nifty50_close,vix,vix_src\n2024-02-29,21982.8,,\n")
    (tmp_path / "fpi_monthly.csv").write_text("month,fpi_equity_net_inr_cr\n2024-02,-1539\n")
    return tmp_path


def test_an_empty_cell_is_not_known_and_zero_is_zero(folder: Path) -> None:
    issues, quotes, market, flows = read(folder)

    assert (issues["issue"][0], issues["price"][0], issues["gmp_eve"][0]) == ("a-2024", 120.5, -3.0)
    assert (issues["kind"][0], issues["segment"][0]) == ("ipo", "sme")
    assert (issues["listed"][0], issues["closed"][0]) == (day_number(date(2024, 3, 4)), NO_DAY)
    assert issues["close_points"][0] == 0.0 and np.isnan(issues["open_points"][0])
    assert quotes[["day", "gmp"]].tolist() == [(day_number(date(2024, 2, 29)), 12.0)]
    assert market["nifty"][0] == 21982.8 and np.isnan(market["vix"][0])
    assert flows[["ended", "net"]].tolist() == [(day_number(date(2024, 2, 29)), -1539.0)]


@pytest.mark.parametrize("name", [name for name, *_ in FILES])
def test_a_file_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(BadValue, match=name):
        read(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("gmp_daily.csv", "ipo_id,day\na,2024-02-29\n", "date, gmp_rs"),
        ("gmp_daily.csv", "ipo_id,date,gmp_rs\na,29-02-2024,12\n", "date"),
        ("gmp_daily.csv", "ipo_id,date,gmp_rs\na,2024-02-29,--\n", "gmp_rs"),
        ("fpi_monthly.csv", "", "read"),
        ("fpi_monthly.csv", "month,fpi_equity_net_inr_cr\n2024-13,1\n", "month"),
    ],
)
def test_what_cannot_be_read_is_named(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)

    with pytest.raises(BadValue, match=f"(?s){name}.*{said}"):
        read(folder)


def test_an_issue_stands_there_once(folder: Path) -> None:
    path = folder / "ipo_master.csv"
    header, row = path.read_text().splitlines()
    path.write_text(f"{header}\n{row}\n{row}\n")

    with pytest.raises(BadValue, match="ipo_id once"):
        read(folder)


def test_a_segment_nobody_knows_is_named(folder: Path) -> None:
    path = folder / "ipo_master.csv"
    path.write_text(path.read_text().replace(",SME", ",EMERGE"))

    with pytest.raises(BadValue, match=r"segment has 'EMERGE'"):
        read(folder)


def test_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"ipo_master\.csv"):
        read(tmp_path / "none")
