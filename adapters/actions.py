"""Actions: corporate actions in files and in the lake's table `actions`, which only grows.

`known(lake)` is what everyone asks; `add` is exactly once: it compares what is there, and commits against that very
version of the table.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from adapters.lake import Lake
from adapters.schemas import ACTIONS, decimals, units
from market import declarations
from market.actions import Action, Actions, Kind, known_by, news
from market.adjustment import factors
from market.breaks import Break, breaks
from market.errors import BadValue, LineDown
from market.money import UNKNOWN, Money, to_floats
from market.names import Renamed, relisted, renames
from market.purposes import Told
from market.vendors import exchange_actions, yahoo_actions

LARGEST = 256 << 20
APP = "actions"
TRIES = 20
PLAIN = {
    "symbol": "symbol",
    "isin": "isin",
    "new_symbol": "to",
    "void": "void",
    "source": "source",
    "operator": "by",
    "reason": "reason",
}
"""Columns of the lake that hold a record's field as it is; SQL wants `to` and `by` for itself."""

LISTED = frozenset({"symbol", "date", "listed_as"})
CONSTITUENTS = frozenset({"symbol", "as_of", "isin_code"})
FORMS = (
    "our own CSV, a table with symbol, date, dividend_adj, split_ratio, one with symbol, date, listed_as, one with "
    "symbol, as_of, isin_code, a list of NSE's or BSE's, or an answer of Yahoo's chart"
)


def known(lake: Lake, version: int | None = None) -> Actions:
    """All that was told up to a version of the table, or ever. Raises LineDown, StoreRefused, BadValue."""
    return Actions(action_records(lake.read_actions(version)))


def add(lake: Lake, told: Sequence[Action]) -> list[Action]:
    """Keep what is new; returns it. All of it is committed at once, or nothing.

    What somebody else added meanwhile is looked at again. Raises LineDown, after which the same call may be made again.
    """
    for _ in range(TRIES):
        cursor = lake.cursors("actions", [APP])[APP]
        new = news(action_records(lake.read_actions()), told)
        # None: that number was taken between looking and committing, by another's rows.
        if not new or lake.append("actions", action_table(new), {APP: cursor + 1}) is not None:
            return new
    raise LineDown("actions", f"{TRIES} times somebody else was quicker")


def opened(path: Path, recorded: int, source: str = "", exchange: str = "NSE") -> Told:
    """What a file tells, in any of the forms we know. Raises BadValue, BadPayload.

    `source`: who says so, where the file does not; `exchange`: of symbols that name none.
    """
    try:
        body = path.read_bytes()
        body = gzip.decompress(body) if path.suffix == ".gz" else body
    except (OSError, EOFError) as e:
        raise BadValue(path.name, str(getattr(e, "strerror", None) or e), "a file that can be read") from e
    if len(body) > LARGEST:
        raise BadValue(path.name, f"{len(body)} bytes", f"at most {LARGEST}")
    if body[:4] == b"PAR1":
        return _columns(path.name, _parquet(path.name, body), recorded, source, exchange)
    if body.lstrip()[:1] in (b"{", b"["):
        return (
            yahoo_actions.chart(body, recorded) if b'"chart"' in body[:4096] else exchange_actions.read(body, recorded)
        )
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadValue(path.name, e.reason, f"a file of one of these forms: {FORMS}") from None
    header = {name.strip().lower() for name in text.partition("\n")[0].split(",")}
    if not any(header >= form for form in (yahoo_actions.COLUMNS, LISTED, CONSTITUENTS)):
        return Told(declarations.read(path.name, text, recorded, source or "file", exchange), [], 0)
    return _columns(path.name, _csv(path.name, body), recorded, source, exchange)


def action_table(actions: Sequence[Action]) -> pa.Table:
    """Actions as rows of the lake's `actions`."""
    columns = {
        **{name: [getattr(a, field) for a in actions] for name, field in PLAIN.items()},
        "kind": [a.kind.value for a in actions],
        "session": [a.ex_date for a in actions],
        "numerator": [None if a.factor is None else a.factor.numerator for a in actions],
        "denominator": [None if a.factor is None else a.factor.denominator for a in actions],
        "amount": decimals(np.array([UNKNOWN if a.amount is None else a.amount for a in actions], np.int64)),
        **{
            name: pa.array([getattr(a, name) // 1000 for a in actions], pa.int64()).cast(ACTIONS.field(name).type)
            for name in ("known", "recorded")
        },
    }
    return pa.table({name: columns[name] for name in ACTIONS.names}, schema=ACTIONS)


def action_records(table: pa.Table) -> list[Action]:
    """Rows of the lake's `actions` as records, in their order."""
    amounts = units(table["amount"]).tolist()
    moments = {n: table[n].cast(pa.int64()).to_pylist() for n in ("known", "recorded")}
    rows = table.drop_columns(["amount", "known", "recorded"]).to_pylist()
    return [
        Action(
            **{field: row[name] for name, field in PLAIN.items()},
            kind=Kind(row["kind"]),
            ex_date=row["session"],
            factor=None if row["numerator"] is None else Fraction(row["numerator"], row["denominator"]),
            amount=None if amount == UNKNOWN else Money(amount),
            known=since * 1000,
            recorded=kept * 1000,
        )
        for row, amount, since, kept in zip(rows, amounts, *moments.values(), strict=True)
    ]


def with_factors(table: pa.Table, actions: Actions, as_of: int) -> pa.Table:
    """A table of candles with `price_factor` and `volume_factor` beside, each float64; needs `symbol` and `session`.

    Adjusted is raw times factor, as of an instant, ns UTC. A row under a symbol its share has left counts as its
    share's.
    """
    days = table["session"].cast(pa.int32()).to_numpy().astype(np.int32)
    coded = table["symbol"].combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    places, symbols = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    price, volume = np.ones(len(days)), np.ones(len(days))
    for place, symbol in enumerate(symbols):
        mine = np.flatnonzero(places == place)
        shares = np.array(actions.names.presents([symbol] * len(mine), days[mine]), dtype=object)
        for share in set(shares.tolist()):
            rows = mine[shares == share]
            of = factors(actions, share, as_of)
            price[rows], volume[rows] = of.prices(days[rows]), of.volumes(days[rows])
    return table.append_column("price_factor", pa.array(price)).append_column("volume_factor", pa.array(volume))


def daily(lake: Lake, actions: Actions, symbols: Collection[str] | None, span: tuple[date, date]) -> pa.Table:
    """Raw daily rows `symbol, session, open, close` of the lake, under present symbols, rising in both, each once.

    The exchange's own candle counts before ours. `symbols`: present ones; None stands for all. Prices: rupees, float64.
    """
    names = actions.names
    wanted = None if symbols is None else sorted({old for s in symbols for old in names.called(s)})
    tables = (lake.read_official(wanted, *span), lake.read_candles(wanted, "1d", *span))
    rows = pa.concat_tables([t.select(["symbol", "session", "open", "close"]) for t in tables])
    rank = pa.array(np.repeat([0, 1], [len(t) for t in tables]))
    days = rows["session"].cast(pa.int32()).to_numpy().astype(np.int32)
    present = pa.array(names.presents(rows["symbol"].to_pylist(), days), pa.string())
    rows = rows.set_column(0, "symbol", present).append_column("rank", rank)
    for place, name in ((2, "open"), (3, "close")):
        rows = rows.set_column(place, name, pa.array(to_floats(units(rows[name]))))
    rows = rows.sort_by([("symbol", "ascending"), ("session", "ascending"), ("rank", "ascending")])
    coded = rows["symbol"].combine_chunks().dictionary_encode().indices.to_numpy()
    days = rows["session"].cast(pa.int32()).to_numpy()
    first = np.ones(len(rows), np.bool_)  # not by grouping: what comes of that is in no order
    first[1:] = (coded[1:] != coded[:-1]) | (days[1:] != days[:-1])
    found = rows.filter(pa.array(first)).drop_columns(["rank"])
    if symbols is None:
        return found
    return found.filter(pc.is_in(found["symbol"], pa.array(list(symbols), pa.string())))


def audit(rows: pa.Table, actions: Actions, as_of: int) -> list[Break]:
    """The unexplained breaks in rows of `daily`, by share and day: what a trainer hands to `refuse_breaks`."""
    symbols = np.array(rows["symbol"].to_pylist(), dtype=object)
    days = rows["session"].cast(pa.int32()).to_numpy().astype(np.int32)
    opens, closes = rows["open"].to_numpy(), rows["close"].to_numpy()
    edges = [0, *(np.flatnonzero(symbols[1:] != symbols[:-1]) + 1).tolist(), len(symbols)]
    found: list[Break] = []
    for a, b in pairwise(edges):
        if a < b:
            found += breaks(actions, symbols[a], as_of, days[a:b], opens[a:b], closes[a:b])
    return found


def _columns(name: str, table: pa.Table, recorded: int, source: str, exchange: str) -> Told:
    names = set(table.column_names)
    try:
        if names >= yahoo_actions.COLUMNS:
            return yahoo_actions.table(
                _symbols(name, table, "symbol", exchange),
                _days(table["date"]),
                _floats(table["dividend_adj"]),
                _floats(table["split_ratio"]),
                recorded,
                source or yahoo_actions.SOURCE,
            )
        if names >= LISTED:
            return _listed(name, table, recorded, source, exchange)
        if names >= CONSTITUENTS:
            return _constituents(name, table, recorded, source, exchange)
    except (pa.ArrowException, ValueError, TypeError, AttributeError) as e:
        raise BadValue(name, str(e).splitlines()[0][:100], f"columns of one of these forms: {FORMS}") from e
    raise BadValue(f"{name}, columns", ", ".join(table.column_names)[:100], f"one of these forms: {FORMS}")


def _listed(name: str, table: pa.Table, recorded: int, source: str, exchange: str) -> Told:
    symbols, listed = (_symbols(name, table, column, exchange) for column in ("symbol", "listed_as"))
    return _renamed(renames(symbols, _days(table["date"]), listed), recorded, source or "listing")


def _constituents(name: str, table: pa.Table, recorded: int, source: str, exchange: str) -> Told:
    lists: dict[str, set[tuple[str, str]]] = {}
    columns = (table["as_of"].cast(pa.string()).to_pylist(), _symbols(name, table, "symbol", exchange))
    for as_of, symbol, isin in zip(*columns, table["isin_code"].cast(pa.string()).to_pylist(), strict=True):
        lists.setdefault(as_of, set()).add((symbol, isin))
    found: list[Renamed] = []
    for before, after in pairwise(sorted(lists)):
        day = date.fromisoformat(after if len(after) == 10 else f"{after}-01")
        found += relisted(lists[before], lists[after], day)
    return _renamed(found, recorded, source or "constituents")


def _renamed(found: Iterable[Renamed], recorded: int, source: str) -> Told:
    actions = [
        Action(
            symbol=one.old,
            kind=Kind.RENAME,
            ex_date=one.day,
            to=one.new,
            known=known_by(one.old, one.day, recorded),
            recorded=recorded,
            source=source,
        )
        for one in found
    ]
    return Told(actions, [], 0)


def _symbols(name: str, table: pa.Table, column: str, exchange: str) -> list[str]:
    values = table[column].cast(pa.string()).to_pylist()
    whole = {value: declarations.symbol_of(name, value or "", exchange) for value in set(values)}
    return [whole[value] for value in values]


def _days(column: pa.ChunkedArray) -> list[date]:
    days: list[date] = column.cast(pa.date32()).to_pylist()
    if None in days:
        raise ValueError("a row without a date")
    return days


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).fill_null(0).to_numpy(), np.float64)


def _parquet(name: str, body: bytes) -> pa.Table:
    try:
        table = pq.read_table(io.BytesIO(body))
    except (pa.ArrowException, OSError) as e:
        raise BadValue(name, str(e).splitlines()[0][:100], "a parquet file") from e
    return table.rename_columns([column.strip().lower() for column in table.column_names])


def _csv(name: str, body: bytes) -> pa.Table:
    try:
        table = pcsv.read_csv(io.BytesIO(body))
    except (pa.ArrowException, OSError) as e:
        raise BadValue(name, str(e).splitlines()[0][:100], "a CSV file with one line for each row") from e
    return table.rename_columns([column.strip().lower() for column in table.column_names])
