"""Imports: parts of files on their way into the lake, each committed once.

A part is a piece of a file, read in one way: its name is the digest of both. It is committed as a Delta application
transaction under that name, together with the turn of the one who imports, of whom there is one at a time. So a part
that comes again, after whatever end, is known and left out, and what two parts say of one candle is there once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adapters import sheets
from adapters.lake import Lake
from adapters.schemas import INSTANT, QUARANTINE, candle_rows, candle_table
from adapters.sheets import Piece, Sheet
from market.candles import CANDLE, INTERVAL_NAMES, Candles, Provenance
from market.imports import FAULTS, Fault, Form, Judged, additions, judged, shaped
from market.records import Record
from market.sessions import DAY, instant

WRITER = "import"
"""Whose turn it is: two that import at once would each believe that they are the first."""

COMMIT_ROWS = {"1m": 500_000, "1d": 2_000_000}
"""Candles of one commit at least: a session's file is rewritten by none, so few commits are few files."""

Tables = Mapping[str, npt.NDArray[np.int64]]


class Refused(NamedTuple):
    """Rows that are not taken in, as columns of one length; `content` is JSON."""

    row: Sequence[int] = ()
    symbol: Sequence[str] = ()
    reason: Sequence[str] = ()
    content: Sequence[str] = ()


class Part(NamedTuple):
    """What a piece of a file came to. `rows`: good candles, whose instruments count `symbols`; `lasting`: its name is
    kept beside them.
    """

    name: str
    file: str
    read: int
    repeated: int
    symbols: tuple[str, ...]
    rows: Candles
    refused: Refused
    lasting: bool = True


class Tally(Record):
    """What came of candles: `read` rows, of them `repeated`, `refused` by reason, `held` by the lake as they are,
    `differing` from what it holds, and `added`, `gaps` of them in the place of a GAP. `known`: parts committed before.
    """

    parts: int = 0
    known: int = 0
    read: int = 0
    repeated: int = 0
    refused: Mapping[str, int] = {}
    held: int = 0
    differing: int = 0
    added: int = 0
    gaps: int = 0
    commits: int = 0


def total(tallies: Iterable[Tally]) -> Tally:
    """Several together."""
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for one in tallies:
        counts.update(one.model_dump(exclude={"refused"}))
        refused.update(one.refused)
    return Tally(**counts, refused=dict(refused))


class Intake:
    """The one who imports: takes parts, commits them by the batch. `now`: ns UTC, when the import began.

    Raises LeaseLost when another one imports, LineDown and StoreRefused as the lake does.
    """

    def __init__(self, lake: Lake, now: int, rows: int | None = None) -> None:
        self._lake, self._now, self._rows = lake, now, rows
        self._turns = {table: lake.cursors(table, [WRITER])[WRITER] for table in ("candles", "quarantine")}
        self._parts: list[Part] = []
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    @property
    def tally(self) -> Tally:
        """What has come of everything that was taken."""
        return Tally(**self._counts, refused=dict(self._refused))

    @property
    def pending(self) -> int:
        """Candles taken and not committed yet."""
        return sum(len(part.rows) for part in self._parts)

    def known(self, name: str) -> bool:
        """Whether a part of this name is in the lake; it is counted."""
        held = self._lake.cursors("candles", [name])[name] > 0
        self._counts.update(parts=1, known=held)
        return held

    def take(self, part: Part) -> None:
        """One more part; commits when there are enough."""
        self._counts.update(read=part.read, repeated=part.repeated)
        self._refused.update(part.refused.reason)
        self._parts.append(part)
        interval = INTERVAL_NAMES[int(part.rows["interval"][0])] if len(part.rows) else "1m"
        if self.pending >= (self._rows or COMMIT_ROWS[interval]):
            self.flush()

    def flush(self) -> None:
        """Commit what was taken: what was refused first, so that no candle is there without what came beside it."""
        parts, self._parts = self._parts, []
        if not parts:
            return
        self._quarantine([part for part in parts if part.refused.row])
        symbols = sorted({symbol for part in parts for symbol in part.symbols})
        ids = {symbol: k for k, symbol in enumerate(symbols)}
        rows = np.concatenate([_numbered(part, ids) for part in parts])
        new = additions(rows, self._held(rows, ids))
        order = np.lexsort((new.rows["start"], new.rows["instrument"], new.rows["session"]))
        self._commit("candles", candle_table(new.rows[order], symbols), [part.name for part in parts if part.lasting])
        self._counts.update(added=len(new.rows), held=new.held, differing=new.differing, gaps=new.gaps, commits=1)

    def _held(self, rows: Candles, ids: Mapping[str, int]) -> Candles:
        if not len(rows):
            return rows
        interval = INTERVAL_NAMES[int(rows["interval"][0])]
        days = [instant(int(day) * DAY).date() for day in (rows["session"].min(), rows["session"].max())]
        if (rows["provenance"] == Provenance.OFFICIAL).all():
            return candle_rows(self._lake.read_official(list(ids), *days), ids)
        return candle_rows(self._lake.read_candles(list(ids), interval, *days), ids)

    def _quarantine(self, parts: Sequence[Part]) -> None:
        names = [part.name for part in parts]
        kept = self._lake.cursors("quarantine", names)
        parts = [part for part in parts if not kept[part.name]]
        if parts:
            rows = pa.concat_tables([quarantine_table(part.file, part.refused, self._now) for part in parts])
            self._commit("quarantine", rows, [part.name for part in parts])

    def _commit(self, table: str, rows: pa.Table, names: Iterable[str]) -> None:
        turn = self._turns[table] + 1
        stored = self._lake.cursors(table, list(names))
        said = {WRITER: turn, **{name: held + 1 for name, held in stored.items()}}
        if table == "candles":  # written once, whoever else commits meanwhile
            self._lake.commit(table, [self._lake.stage(table, rows)], said)
        else:
            self._lake.append(table, rows, said)
        self._turns[table] = turn


def part_name(sheet: Sheet, form: Record, piece: int, rows: int) -> str:
    """The name of a piece of so many rows of a file that is read in this way."""
    said = f"{sheet.digest}:{form.model_dump_json()}:{rows}:{piece}"
    return f"{WRITER}:{blake2b(said.encode(), digest_size=12).hexdigest()}"


def committed_once(lake: Lake, table: str, name: str, rows: pa.Table) -> bool:
    """Append the rows of a part, unless they were before: then True. Raises LeaseLost when another one imports."""
    if lake.cursors(table, [WRITER, name])[name]:
        return True
    turn = lake.cursors(table, [WRITER])[WRITER]
    lake.append(table, rows, {WRITER: turn + 1, name: 1})
    return False


def part_of(sheet: Sheet, piece: Piece, form: Form, tables: Tables, until: int, name: str) -> Part:
    """What a piece comes to; `tables` and `until` as `market.imports.judged`. Raises BadValue."""
    raw = sheets.raw(piece, form)
    found = judged(*shaped(raw, form), raw.symbols, tables, until)
    places = np.flatnonzero(found.faults)
    reasons = [FAULTS[k - 1].value for k in found.faults[places].tolist()]
    names = [*raw.symbols, ""]
    refused = Refused(
        [*piece.numbers[places].tolist(), *(line for line, _ in piece.torn)],
        [*(names[k] for k in raw.symbol[places].tolist()), *("" for _ in piece.torn)],
        [*reasons, *(Fault.TORN.value for _ in piece.torn)],
        [*sheets.texts(piece, places), *(text for _, text in piece.torn)],
    )
    read, repeated = len(piece.table) + len(piece.torn), int(found.repeated.sum())
    return Part(name, sheet.path.name, read, repeated, raw.symbols, found.good, refused)


def refused_of(found: Judged, symbols: Sequence[str]) -> Refused:
    """The refused among candles that came from no file."""
    places = np.flatnonzero(found.faults)
    rows = found.rows[places]
    return Refused(
        (places + 1).tolist(),
        [symbols[k] for k in rows["instrument"].tolist()],
        [FAULTS[k - 1].value for k in found.faults[places].tolist()],
        [json.dumps(dict(zip(CANDLE.names or (), row, strict=True)), default=str) for row in rows.tolist()],
    )


def quarantine_table(file: str, refused: Refused, imported: int) -> pa.Table:
    """Refused rows as rows of the lake's `quarantine`; `imported`: ns UTC."""
    columns = {
        "file": pa.array([file] * len(refused.row), pa.string()),
        "row": pa.array(refused.row, pa.int64()),
        "symbol": pa.array([symbol or None for symbol in refused.symbol], pa.string()),
        "reason": pa.array(refused.reason, pa.string()),
        "content": pa.array(refused.content, pa.string()),
        "imported": pa.array([imported // 1000] * len(refused.row), pa.int64()).cast(INSTANT),
    }
    return pa.table(columns, schema=QUARANTINE)


def _numbered(part: Part, ids: Mapping[str, int]) -> Candles:
    rows = part.rows.copy()
    if len(rows):
        rows["instrument"] = np.array([ids[symbol] for symbol in part.symbols], np.int32)[rows["instrument"]]
    return rows
