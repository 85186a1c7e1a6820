"""A pass over recorded boards: each taken, validated, scored. It can be told to die in the middle of a transaction.

`python -m benchmarks.passing URL SCHEMA FOLDER METHOD COUNT AT:FILE ...` kills itself with SIGKILL when a method of the
book's transaction has been called so many times; `NEVER` of them lets it end by itself. A pass that is taken up again
takes every page again, and holds its rounds from the newest page in the book on: time does not go back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from adapters.ipos import Book, Writing
from market.ipo.pages import PageKind
from market.sessions import IST, MINUTE, nanoseconds
from market.vendors.investorgain import InvestorGain
from pipelines import ipos

NEVER = 10**6

Pages = Sequence[tuple[int, Path]]
"""Boards of InvestorGain, each with the instant at which it came, ns UTC."""


def passed(url: str, schema: str, folder: Path, pages: Pages, method: str = "save", count: int = NEVER) -> int:
    """A pass in a process of its own; returns how it ended."""
    words = [url, schema, str(folder), method, str(count), *(f"{at}:{file}" for at, file in pages)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-m", "benchmarks.passing", *words], check=False, env=path).returncode


def recorded(folder: Path) -> list[tuple[int, Path]]:
    """The boards of a folder, oldest first, by the instants in their names."""
    files = sorted(folder.glob("ig_board_*.json"))
    times = [datetime.strptime(file.name[9:24], "%Y%m%dT%H%M%S").replace(tzinfo=IST) for file in files]
    return [(nanoseconds(at), file) for at, file in zip(times, files, strict=True)]


def main(url: str, schema: str, folder: str, method: str, count: str, *pages: str) -> None:
    """The pass itself."""
    _die_in(method, int(count))
    book = Book(url, Path(folder), schema)
    with book.looking() as run:
        since = max(run.heard().values(), default=0)
    for page in pages:
        at, _, file = page.partition(":")
        body, now = Path(file).read_bytes(), int(at)
        ipos.take(book, ipos.read(InvestorGain(), PageKind.BOARD, body, now), body, now)
        if now >= since:
            ipos.validate(book, now + MINUTE)
            ipos.score(book, now + MINUTE)
    book.close()


def _die_in(method: str, count: int) -> None:
    done, left = getattr(Writing, method), count

    def dying(self: Writing, *words: Any, **more: Any) -> Any:
        nonlocal left
        found = done(self, *words, **more)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(Writing, method, dying)


if __name__ == "__main__":
    main(*sys.argv[1:])
