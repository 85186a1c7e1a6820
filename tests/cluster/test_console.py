"""Console: a table's cells are never cut, whoever reads them."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from cluster.console import show_table

ROWS = [("direction-15m@1", "no edge, as the rule of promotion has it", "0.00012345"), ("b@2", "edge", "-0.98765432")]
TITLES = ("model", "verdict", "mean daily net return")


def table() -> Table:
    """Of three columns that need 80 and more."""
    made = Table(*TITLES, box=None)
    for row in ROWS:
        made.add_row(*row)
    return made


@pytest.mark.parametrize(("terminal", "width"), [(False, 80), (True, 40), (True, 200)])
def test_every_cell_stands_whole_in_one_line(terminal: bool, width: int) -> None:
    said = Console(file=StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)

    show_table(table(), said)

    lines = said.file.getvalue().splitlines()
    for cell in (*TITLES, *(cell for row in ROWS for cell in row)):
        assert any(cell in line for line in lines), cell


def test_where_the_screen_is_narrow_a_row_is_a_block() -> None:
    said = Console(file=StringIO(), width=40, force_terminal=True, color_system=None, highlight=False)

    show_table(table(), said)

    first = said.file.getvalue().split("\n\n")[0].splitlines()
    assert [line.split("  ")[0].strip() for line in first] == list(TITLES)
    assert first[2].endswith("0.00012345")
