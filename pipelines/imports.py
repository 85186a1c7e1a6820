"""Import: files of candles or series into the lake, a part at a time.

Reading and judging is what costs; a large import does it in tasks of Ray Data, whose dataset is the list of the parts:
nothing is shuffled, and one committer takes what they come to. A small one does the same here. It may be ended at any
point and run again: what was committed is known by its name and is not read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters import sheets
from adapters.imports import Intake, Part, Tally, committed_once, part_name, part_of, quarantine_table
from adapters.lake import Lake
from adapters.series import SeriesForm, new_series, series_rows
from adapters.sheets import PIECE_ROWS, Sheet
from market.imports import Form
from market.records import Record
from market.sessions import Session, Sessions

BYTES_A_LINE = 60
"""Of a CSV, about: only the bar of progress goes by it."""

Progress = Callable[[float, str], None]


class ImportPlan(Record):
    """What an import is told. `tables`: `Sessions.table()` by exchange; `now`: ns UTC; `spread`: by tasks of Ray Data,
    which is then running; `again`: also what is known to be committed; `piece_rows` are read together, `commit_rows`
    at least are committed together, as many as suit the interval without it.
    """

    lake: str
    files: tuple[Path, ...]
    form: Form
    tables: Mapping[str, Sequence[Sequence[int]]]
    now: int
    spread: bool = False
    again: bool = False
    piece_rows: int = PIECE_ROWS
    commit_rows: int | None = None

    def sessions(self) -> dict[str, npt.NDArray[np.int64]]:
        """The tables as columns."""
        return {name: np.array(rows, np.int64).reshape(len(rows), -1) for name, rows in self.tables.items()}


def run(plan: ImportPlan, progress: Progress) -> Tally:
    """Import all files. Raises BadValue (one cannot be read), LeaseLost (another import runs), LineDown, StoreRefused.

    What was committed before an error stays, and is not done again.
    """
    opened = [sheets.opened(path) for path in plan.files]
    intake = Intake(Lake(plan.lake), plan.now, plan.commit_rows)
    whole, done = sum(sheet.bytes for sheet in opened) or 1, 0.0
    for sheet, share, part in (_spread if plan.spread else _here)(plan, opened, intake):
        done += share * sheet.bytes
        if part is not None:
            intake.take(part)
        progress(min(done / whole, 1.0), f"{sheet.path.name}: {intake.tally.read:,} rows")
    intake.flush()
    return intake.tally


class SeriesPlan(Record):
    """What an import of series is told. `sessions`: those of the exchange whose clocks the series go by."""

    lake: str
    files: tuple[Path, ...]
    form: SeriesForm
    sessions: tuple[Session, ...]
    now: int
    piece_rows: int = PIECE_ROWS


def run_series(plan: SeriesPlan, progress: Progress) -> Tally:
    """Import the series of all files. Raises as `run`."""
    opened, lake, calendar = [sheets.opened(path) for path in plan.files], Lake(plan.lake), Sessions(plan.sessions)
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for place, sheet in enumerate(opened):
        for piece in sheets.pieces(sheet, sheets.wanted(plan.form.columns), plan.piece_rows):
            rows, bad = series_rows(piece, plan.form, calendar, sheet.path.name)
            name = part_name(sheet, plan.form, piece.number, plan.piece_rows)
            if bad.row:
                committed_once(lake, "quarantine", name, quarantine_table(sheet.path.name, bad, plan.now))
            new, held, differing = new_series(lake, rows)
            known = committed_once(lake, "series", name, new)
            counts.update(parts=1, known=known, read=len(rows) + len(bad.row), held=held, differing=differing)
            counts.update(added=len(new), commits=not known)
            refused.update(bad.reason)
        progress((place + 1) / len(opened), f"{sheet.path.name}: {counts['read']:,} values")
    return Tally(**counts, refused=dict(refused))


Found = Iterator[tuple[Sheet, float, Part | None]]
"""Of which sheet, how much of it, and what it came to; None: it was committed before."""


def _here(plan: ImportPlan, opened: Sequence[Sheet], intake: Intake) -> Found:
    tables = plan.sessions()
    for sheet in opened:
        count = sheets.count(sheet, plan.piece_rows)
        names = [part_name(sheet, plan.form, k, plan.piece_rows) for k in range(count or 0)]
        fresh = {name for name in names if plan.again or not intake.known(name)}
        if count and not fresh:
            yield sheet, 1.0, None
            continue
        for piece in sheets.pieces(sheet, sheets.wanted(plan.form.columns), plan.piece_rows):
            name = part_name(sheet, plan.form, piece.number, plan.piece_rows)
            known = name not in fresh if count else not plan.again and intake.known(name)
            part = None if known else part_of(sheet, piece, plan.form, tables, plan.now, name)
            yield sheet, 1 / count if count else plan.piece_rows * BYTES_A_LINE / max(sheet.bytes, 1), part


def _spread(plan: ImportPlan, opened: Sequence[Sheet], intake: Intake) -> Found:
    import ray.data

    ray.data.DataContext.get_current().execution_options.preserve_order = True  # of two rows the first counts
    work = []
    for k, sheet in enumerate(opened):
        for piece in range(sheets.count(sheet, plan.piece_rows) or 1):
            name = part_name(sheet, plan.form, piece, plan.piece_rows)
            if plan.again or sheets.count(sheet) is None or not intake.known(name):
                work.append({"sheet": k, "piece": piece})
            else:
                yield sheet, 1 / (sheets.count(sheet, plan.piece_rows) or 1), None
    if not work:
        return
    todo = ray.data.from_items(work, override_num_blocks=len(work))
    for row in todo.map_batches(Reader(plan, opened), batch_size=1).iter_rows():
        sheet, part = opened[row["sheet"]], row["part"]
        fresh = plan.again or sheets.count(sheet) is not None or not intake.known(part.name)
        yield sheet, row["share"], part if fresh else None


class Reader:
    """What a task does: reads and judges one piece of a parquet file, or all pieces of a CSV."""

    def __init__(self, plan: ImportPlan, opened: Sequence[Sheet]) -> None:
        self._plan, self._opened = plan, tuple(opened)

    def __call__(self, work: Mapping[str, npt.NDArray[Any]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """One part after the other."""
        plan, place = self._plan, int(work["sheet"][0])
        sheet, columns = self._opened[place], sheets.wanted(plan.form.columns)
        count = sheets.count(sheet, plan.piece_rows)
        found: Iterable[sheets.Piece] = (
            [sheets.piece(sheet, columns, int(work["piece"][0]), plan.piece_rows)]
            if count
            else sheets.pieces(sheet, columns, plan.piece_rows)
        )
        for piece in found:
            part = np.empty(1, object)
            name = part_name(sheet, plan.form, piece.number, plan.piece_rows)
            part[0] = part_of(sheet, piece, plan.form, plan.sessions(), plan.now, name)
            share = 1 / count if count else plan.piece_rows * BYTES_A_LINE / max(sheet.bytes, 1)
            yield {"sheet": np.array([place]), "share": np.array([share]), "part": part}
