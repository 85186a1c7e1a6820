"""The command that puts indicators beside candles."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner, Result

from cluster.indicators import parameters
from cluster.main import app
from market.indicators import INDICATORS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "integrators.md"
CANDLES = "Date,Open,High,Low,Close,Volume\n2025-01-01,1,3,1,2,10\n2025-01-02,2,4,2,4,20\n2025-01-03,4,9,4,6,30\n"


def bourse(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["indicators", *map(str, words)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text(CANDLES)
    return tmp_path / "a.csv"


def test_the_columns_stand_beside_the_candles(file: Path) -> None:
    out = file.with_name("out.csv")

    done = bourse(file, "--set", "sma:2,roc:1", "--out", out)

    assert done.exit_code == 0
    assert done.stdout.replace("\n", " ").startswith(f"3 rows, 2 columns to {out}: sma_2, roc_1")
    assert out.read_text().splitlines() == [
        '"Date","Open","High","Low","Close","Volume","sma_2","roc_1"',
        "2025-01-01,1,3,1,2,10,,",
        "2025-01-02,2,4,2,4,20,3,100",
        "2025-01-03,4,9,4,6,30,5,50",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "sma:2"], "takes a FILE, --set and --out"),
        (["--set", "smaa:2", "--out", "o.csv"], "did you mean sma?"),
        (["--set", "sma:2", "--out", "a.csv"], "is the file that is read"),
        (["--set", "sma:2", "--out", "o.xls"], "ends in .csv or .parquet"),
        (["--set", "sma:2", "--time", "when", "--out", "o.csv"], "name one of Date, Open"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], said: str, file: Path) -> None:
    words = [str(file.with_name(word)) if re.fullmatch(r"\w\.\w+", word) else word for word in words]

    done = bourse(file, *words)

    assert done.exit_code == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path.name for path in file.parent.iterdir()] == ["a.csv"]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = bourse(tmp_path / "no.csv", "--set", "rsi", "--out", tmp_path / "o.csv")

    assert done.exit_code == 2
    assert "cannot be read" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_folder_is_computed_file_by_file_and_failures_are_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(CANDLES.replace("6,30", ",30"))
    out = tmp_path / "out"

    done = bourse(tmp_path, "--set", "sma:2", "--out", out)

    assert done.exit_code == 2
    assert "Close: 'empty' is not allowed; row 3" in done.stderr
    assert "3 rows of 1 files, 1 columns" in done.stdout
    assert parquet.read_table(out / "a.parquet")["sma_2"].to_pylist() == [None, 3.0, 5.0]
    assert [path.name for path in out.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(
    ("others", "out", "said"),
    [((), "folder", "not a folder of its own"), (("a.parquet",), "new", "differ by their suffix")],
)
def test_a_folder_that_cannot_be_filled_is_refused(
    file: Path, tmp_path: Path, others: tuple[str, ...], out: str, said: str
) -> None:
    for name in others:
        (tmp_path / name).write_bytes(b"")
    target = tmp_path if out == "folder" else tmp_path / out

    done = bourse(tmp_path, "--set", "sma:2", "--out", target)

    assert done.exit_code == 2
    assert said in done.stderr


def test_the_list_names_every_indicator() -> None:
    shown = bourse("--list").stdout

    assert all(re.search(rf"^{name}\b", shown, re.M) for name in INDICATORS)


def test_the_documented_table_is_the_catalogue() -> None:
    rows = []
    for indicator in INDICATORS.values():
        rows.append(
            f"| `{indicator.name}` | {parameters(indicator)} | {', '.join(indicator.outputs)} | {indicator.unit} | "
            f"{indicator.formula.replace('|', chr(92) + '|')} | {', '.join(indicator.also)} |"
        )

    documented = [line for line in DOCS.read_text().splitlines() if re.match(r"\| `\w+` \|.*\|.*\|.*\|.*\|.*\|$", line)]

    assert documented == rows, "docs/integrators.md differs from the catalogue; it should hold:\n" + "\n".join(rows)
