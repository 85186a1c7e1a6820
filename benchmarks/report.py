"""Results of a benchmark: one JSON object a line, or a readable table.

A benchmark is a module `benchmarks/wN.py` whose docstring's first line says what races whom, with
`run(out: Report) -> None`: it calls `out.add(...)` for every figure as soon as it has one. `ratio` above 1 always means
that we are better.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter

Rows = Sequence[Mapping[str, object]]
"""Of a table: each with the same columns."""

Tables = Iterable[tuple[str, Rows]]
"""By their titles, each as soon as it is known."""


class Report:
    """Prints figures as they come. `id` is the benchmark's."""

    def __init__(self, id: str, as_json: bool) -> None:
        self._id, self._json = id, as_json
        self._headed = False

    def add(
        self,
        case: str,
        metric: str,
        ours: float,
        peer: float | None = None,
        peer_name: str | None = None,
        less_is_better: bool = False,
    ) -> None:
        """One figure; `metric` names its unit. Without a peer the ratio is null."""
        ratio = None
        if peer and ours:
            ratio = peer / ours if less_is_better else ours / peer
        if self._json:
            line = {"id": self._id, "case": case, "metric": metric, "ours": ours, "peer": peer, "peer_name": peer_name}
            print(json.dumps(line | {"ratio": ratio}), flush=True)
            return
        if not self._headed:
            self._headed = True
            print(f"{'case':<42} {'metric':<24} {'ours':>14} {'peer':>14} {'ratio':>8}  peer")
        against = f"{_short(peer):>14} {_short(ratio):>8}  {peer_name}" if peer is not None else ""
        print(f"{case:<42} {metric:<24} {_short(ours):>14} {against}".rstrip(), flush=True)

    def row(self, **fields: object) -> None:
        """One line of a table with columns of its own, all lines alike."""
        if self._json:
            print(json.dumps({"id": self._id} | fields), flush=True)
            return
        widths = [28, *[9] * (len(fields) - 1)]
        if not self._headed:
            self._headed = True
            print(" ".join(f"{name:<{width}}" for name, width in zip(fields, widths, strict=True)).rstrip())
        print(" ".join(f"{value!s:<{width}}" for value, width in zip(fields.values(), widths, strict=True)), flush=True)

    def table(self, title: str, rows: Rows) -> None:
        """A whole table; in JSON every row names it."""
        if self._json:
            for row in rows:
                print(json.dumps({"id": self._id, "table": title} | dict(row)), flush=True)
            return
        cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)] if rows else []
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        print(f"\n{title}")
        for line in cells:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)

    def say(self, text: str) -> None:
        """A remark for a human; goes to stderr, so that `--json` stays one object a line."""
        print(f"{self._id}: {text}", file=sys.stderr, flush=True)


def seconds(
    *contestants: Callable[[], object], rounds: int = 7, clock: Callable[[], float] = perf_counter
) -> list[float]:
    """The median time of each contestant, run in turn `rounds` times after one unmeasured round."""
    times: list[list[float]] = [[] for _ in contestants]
    for measured in range(rounds + 1):
        for run, took in zip(contestants, times, strict=True):
            began = clock()
            run()
            if measured:
                took.append(clock() - began)
    return [median(took) for took in times]


def markdown(title: str, rows: Rows) -> str:
    """A table as Markdown, under its title."""
    columns = list(rows[0]) if rows else []
    numbers = [all(isinstance(row[name], int | float | None) for row in rows) for name in columns]
    lines = [columns, ["---:" if number else "---" for number in numbers]]
    lines += [[_cell(value).replace("|", "\\|") for value in row.values()] for row in rows]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}" if abs(value) < 10 else f"{value:,.1f}"
