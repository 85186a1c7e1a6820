"""The tables of the dated report on the IPO desk, as Markdown.

`python -m benchmarks.ipo_report [FILE]` prints them, or puts them into FILE in the place of all below its line
`## Tables`. The walks are those of `bourse ipo evaluate`, each made once and scored after every day of `UNTIL`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from itertools import chain
from pathlib import Path

from adapters.ipo_tables import read
from benchmarks import ipos, premiums, sources
from benchmarks.premiums import CLEAN
from benchmarks.report import Tables, markdown
from cluster.revision import revision
from market.ipo.scores import Score, scores
from market.ipo.walkforward import Task, rows_of, walk
from market.sessions import day_number

UNTIL = tuple(date(year, 12, 31) for year in range(2021, 2025))
HEAD = "## Tables\n"


def main(file: str | None = None) -> None:
    """All tables, or into a file that has the rest of the report."""
    made = [markdown(title, rows) for title, rows in tables()]
    text = "\n\n".join([HEAD.strip(), f"Code: {revision()}.", *made]) + "\n"
    if file is None:
        print(text, end="")
        return
    path = Path(file)
    before, found, _ = path.read_text(encoding="utf-8").partition(HEAD)
    if not found:
        raise SystemExit(f"{file} has no line {HEAD.strip()!r}")
    path.write_text(before + text, encoding="utf-8")


def tables() -> Tables:
    """Those of the walk, then those of the benchmarks."""
    return chain(walks(CLEAN), premiums.tables(CLEAN), sources.tables(sources.SHARED), ipos.tables())


def walks(clean: Path) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """What each model was worth, by task and by the day after which issues are judged."""
    given = read(clean)
    for task in Task:
        walked = walk(*rows_of(given, task), close=task is Task.ALL)
        for until in UNTIL:
            found = scores(task, walked, day_number(until))
            yield f"Walk-forward, {task}: issues listed after {until}", [_row(one) for one in found]


def _row(one: Score) -> dict[str, object]:
    months = ", ".join(f"{name} in {count} months" for name, count in one.months.items())
    return {
        "model": one.model,
        "n": one.n,
        "MAE": _rounded(one.mae, 2),
        "from": _rounded(one.mae_low, 2),
        "to": _rounded(one.mae_high, 2),
        "R2": _rounded(one.r2, 2),
        "AUC, gain of 10": _rounded(one.auc, 3),
        "80 % covers, %": None if one.coverage is None else _rounded(100 * one.coverage, 1),
        "Brier": _rounded(one.brier, 3),
        "served": months,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


if __name__ == "__main__":
    main(*sys.argv[1:2])
