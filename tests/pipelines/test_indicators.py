"""Indicators of many files: in this process, and on Ray Data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from pipelines.indicators import Done, Task, Work, here, run
from tests.rays import ray_of_ours

TASK = Task(asked="sma:2,obv")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of the test's own."""
    with ray_of_ours(2):
        yield


@pytest.fixture
def work(tmp_path: Path) -> list[Work]:
    """Two files that are well and one with a hole."""
    (tmp_path / "a.csv").write_text("close,volume\n1,10\n2,20\n4,40\n")
    (tmp_path / "b.csv").write_text("close,volume\n1,10\nx,20\n")
    (tmp_path / "c.csv").write_text("close,volume\n4,40\n2,20\n")
    return [Work(source=str(tmp_path / f"{name}.csv"), target=str(tmp_path / f"{name}.parquet")) for name in "abc"]


def check(done: list[Done], work: list[Work]) -> None:
    by_source = {Path(one.source).stem: one for one in done}
    assert [(by_source[name].rows, by_source[name].columns) for name in "ac"] == [(3, 2), (2, 2)]
    assert "row 2 is no number" in by_source["b"].failure
    assert [Path(one.target).exists() for one in work] == [True, False, True]
    found = parquet.read_table(work[0].target)
    assert found["sma_2"].to_pylist() == [None, 1.5, 3.0]
    assert found["obv"].to_pylist() == [10.0, 30.0, 70.0]


def test_a_file_that_cannot_be_taken_is_told_and_the_others_go_on(work: list[Work]) -> None:
    check(list(here(work, TASK)), work)


@pytest.mark.cluster
def test_ray_data_does_the_same(cluster: None, work: list[Work]) -> None:
    check(list(run(work, TASK)), work)
