"""Indicators: many files of candles on Ray Data, a task a group of files; each is read, computed and written by itself.

A file that cannot be taken is told in its `Done`; the others go on. A result is whole or not there, so a run that was
ended may be started again. Few bytes stay in this process: Ray takes seconds to start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adapters import tables
from adapters.tables import Anew
from market.errors import BadValue
from market.indicators import Study, studies
from market.records import Record

GROUPS = 4
"""Groups of files for each core: few enough that Ray's own work on each does not count, and the last ends soon."""


class Task(Record):
    """What every file of a run is told. `asked`: as `market.indicators.studies` reads it."""

    asked: str
    anew: Anew = Anew.AUTO
    time: str | None = None


class Work(Record):
    """A file and where its result goes."""

    source: str
    target: str


class Done(Record):
    """A file and what became of it: rows, the columns that were added, or why nothing was written."""

    source: str
    rows: int = 0
    columns: int = 0
    failure: str = ""


def run(work: Sequence[Work], task: Task) -> Iterator[Done]:
    """Every file on the cores of the cluster that this process has joined, each as it ends, in any order."""
    import ray.data

    groups = min(len(work), GROUPS * int(ray.cluster_resources().get("CPU", 1)))
    files = ray.data.from_items([one.model_dump() for one in work], override_num_blocks=groups)
    told = files.map_batches(_study_batch, batch_format="pandas", num_cpus=1, fn_kwargs={"task": task.model_dump()})
    for row in told.iter_rows():
        yield Done(**row)


def here(work: Sequence[Work], task: Task) -> Iterator[Done]:
    """The same in this process, in order."""
    wanted = studies(task.asked)
    for one in work:
        yield study(one, wanted, task)


def study(work: Work, wanted: Sequence[Study], task: Task) -> Done:
    """One file, from the candles to the written columns."""
    try:
        sheet = tables.read(Path(work.source))
        found = tables.studied(sheet, wanted, task.anew, task.time)
        tables.write(found, Path(work.target))
    except BadValue as e:
        return Done(source=work.source, failure=str(e))
    return Done(source=work.source, rows=found.num_rows, columns=found.num_columns - sheet.num_columns)


def _study_batch(files: Any, task: dict[str, Any]) -> Any:
    import pandas as pd

    work = [Work(**row) for row in files.to_dict("records")]
    return pd.DataFrame([done.model_dump() for done in here(work, Task(**task))])
