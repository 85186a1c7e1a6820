"""Import of an IPO history: the tables of `adapters.ipo_tables` into the book, and beside it for the models.

Rows are read and judged by tasks of Ray Data, or here; one transaction takes what they come to, so an import that was
ended half-way has done nothing, and one that is done again changes nothing. A row that cannot be is refused, with its
reason: a premium of a day on which the issue traded already is another offer's. Issues go by the matcher like those of
any source; the premiums go to the validator, and what came of them is learnt.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pandas as pd

from adapters import ipo_tables
from adapters.ipos import Book, Premium, Writing
from market.errors import BadValue, StoreRefused
from market.ipo import cells, repairs
from market.ipo.facts import Told, amount
from market.ipo.issues import TRADES_FROM, Origin, learned
from market.ipo.kinds import Kind, Segment
from market.ipo.matching import Matched, Matcher, Unsure
from market.ipo.pages import PageKind, PageOf
from market.ipo.readings import GmpReading, IssueFacts, Status
from market.ipo.rows import told
from market.money import Money, money
from market.records import Record
from market.sessions import at
from pipelines import ipos
from pipelines.placing import premium

SOURCE = "history"
MASTER, DAILY = "ipo_master.csv", "gmp_daily.csv"
EVENING = time(23, 59)
"""A daily premium is that of the day's end, on India's clocks."""

LOST = "a premium of an issue that is not there"
BLOCKS = 8
KINDS: Mapping[str, Kind | None] = {"IPO": Kind.IPO, "FPO": Kind.FPO}
"""The tables do not say which trust a trust is."""

SEGMENTS = {"MB": Segment.MAINBOARD, "SME": Segment.SME}


class Imported(Record):
    """What an import came to: rows read, `issues` that are new, `premiums` placed, outcomes `scored`, and how many rows
    were refused, by reason. `again`: these very files were imported before.
    """

    rows: int
    issues: int
    premiums: int
    scored: int
    refused: Mapping[str, int]
    again: bool = False


class Judged(NamedTuple):
    """What a row came to: a reading as JSON, or why it is refused. `key`: the issue's id in the tables."""

    key: str
    place: str
    of: str
    reading: str
    refused: str


def run(book: Book, folder: Path, target: Path, now: int, *, spread: bool = False) -> Imported:
    """Import the tables of a folder, and keep them in `target` for `adapters.ipo_tables.read`. `now`: ns UTC; `spread`:
    by tasks of Ray Data, which is then running.

    Raises BadValue (a table cannot be read), LineDown, StoreRefused.
    """
    ipo_tables.read(folder)
    bodies = {name: (folder / name).read_bytes() for name in (name for name, *_ in ipo_tables.FILES)}
    whole = hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies.values())).hexdigest()
    judged = list((_spread if spread else _here)(folder))
    digests = {name: book.keep(bodies[name]) for name in (MASTER, DAILY)}
    _kept(target, bodies)
    with book.writing() as pen:
        again = pen.page(whole, PageOf(SOURCE, PageKind.HISTORY)) is not None
        done = Imported(rows=len(judged), issues=0, premiums=0, scored=0, refused=_refused(judged), again=again)
        if not again:
            done = _taken(pen, judged, digests, done)
            words = done.model_dump(mode="json")
            pen.add_page(
                whole, PageOf(SOURCE, PageKind.HISTORY), "", now, sum(map(len, bodies.values())), "", words, None
            )
    return done.model_copy(update={"scored": len(ipos.score(book, now))})


def facts_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ipo_master.csv, as text, -> `Judged` rows."""
    return _frame(_judged(str(row["ipo_id"]), f"{MASTER}: row {row['row']}", _facts, row) for row in _dicts(rows))


def premiums_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of gmp_daily.csv, as text, with the `listing_date` of their issue, -> `Judged` rows."""
    return _frame(_judged(str(row["ipo_id"]), f"{DAILY}: row {row['row']}", _premium, row) for row in _dicts(rows))


def _here(folder: Path) -> Iterator[Judged]:
    for rows, work in _work(folder):
        yield from _judgements(work(rows))


def _spread(folder: Path) -> Iterator[Judged]:
    import ray.data

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    for rows, work in _work(folder):
        found = ray.data.from_pandas(rows).repartition(BLOCKS).map_batches(work, batch_format="pandas")
        for batch in found.iter_batches(batch_format="pandas"):
            yield from _judgements(batch)


def _work(folder: Path) -> Iterator[tuple[pd.DataFrame, Any]]:
    master, daily = (pd.read_csv(folder / name, dtype=str, keep_default_na=False) for name in (MASTER, DAILY))
    if "company_name" not in master:
        raise BadValue("file", str(folder / MASTER), "it needs the column company_name")
    for rows in (master, daily):
        rows["row"] = [str(k) for k in range(2, len(rows) + 2)]
    yield master, facts_of
    names = master.set_index("ipo_id")
    for column in ("listing_date", "company_name"):
        daily[column] = daily["ipo_id"].map(names[column]).fillna("")
    yield daily, premiums_of


def _judgements(rows: pd.DataFrame) -> Iterator[Judged]:
    for row in rows.itertuples(index=False):
        yield Judged(*map(str, row))


def _dicts(rows: pd.DataFrame) -> list[dict[str, str]]:
    return [{str(name): str(value) for name, value in row.items()} for row in rows.to_dict("records")]


def _frame(found: Iterable[Judged]) -> pd.DataFrame:
    return pd.DataFrame(list(found), columns=list(Judged._fields), dtype=str)


def _judged(key: str, place: str, make: Any, row: dict[str, str]) -> Judged:
    try:
        reading = make(row, place)
    except (ValueError, InvalidOperation) as e:
        why = str(e) if isinstance(e, _RefusedRow) else "a cell that cannot be read"
        return Judged(key, place, make.__name__, "", why)
    return Judged(key, place, make.__name__, reading.model_dump_json(), "")


class _RefusedRow(ValueError):
    pass


def _facts(row: dict[str, str], place: str) -> IssueFacts:
    price, lists, closes = _money(row["issue_price"]), _day(row["listing_date"]), _day(row["close_date"])
    if lists is None:
        raise _RefusedRow("no day of listing")
    if closes is not None and repairs.listing_day(lists, closes) is not None:
        raise _RefusedRow("listed before bidding closed")
    size = row["issue_size_cr"]
    return IssueFacts(
        source=SOURCE,
        name=row["company_name"],
        symbol=cells.symbol(row.get("nse_symbol", "")) if row.get("nse_symbol") else None,
        code=cells.code(row.get("bse_code", "")) if row.get("bse_code") else None,
        segment=SEGMENTS[row["segment"]],
        kind=KINDS.get(row["kind"]),
        status=Status.LISTED,
        place=place,
        low=price,
        high=price,
        size_crore=float(size) if size else None,
        opens=_day(row["open_date"]),
        closes=closes,
        lists=lists,
        listed_at=_came(price, row["gain_open_pct"]),
        closed_at=_came(price, row["gain_close_pct"]),
    )


def _premium(row: dict[str, str], place: str) -> GmpReading:
    day, lists = _day(row["date"]), _day(row["listing_date"])
    if day is None or lists is None:
        raise _RefusedRow("no day of the premium, or none of its issue's listing")
    if repairs.quote_day(day, lists) is not None:
        raise _RefusedRow("a premium of a day on which it traded")
    return GmpReading(
        source=row.get("site") or SOURCE,
        name=row["company_name"],
        place=place,
        gmp=_money(row["gmp_rs"]),
        at=at(day, EVENING),
    )


def _refused(judged: Iterable[Judged]) -> dict[str, int]:
    return dict(Counter(one.refused for one in judged if one.refused))


def _taken(pen: Writing, judged: Sequence[Judged], digests: Mapping[str, str], done: Imported) -> Imported:
    lost = 0
    matcher, validator = pen.matcher(), pen.validator()
    facts = {one.key: IssueFacts(**orjson.loads(one.reading)) for one in judged if one.of == "_facts" and one.reading}
    before = len(matcher)
    ids = {key: _placed(matcher, told([fact], _listing(fact))) for key, fact in facts.items()}
    issues = pen.issues(ids.values())
    for key, fact in facts.items():
        origin = Origin(source=SOURCE, page=digests[MASTER], received=_listing(fact))
        issues[ids[key]] = learned(issues.get(ids[key]), ids[key], [fact], origin)
    quotes: defaultdict[str, list[GmpReading]] = defaultdict(list)
    for one in judged:
        if one.of == "_premium" and one.reading:
            if one.key in ids:
                quotes[ids[one.key]].append(GmpReading(**orjson.loads(one.reading)))
            else:
                lost += 1
    known = {one.issue for one in pen.outcomes()}
    premiums: list[Premium] = []
    for name, readings in quotes.items():
        issue = issues[name]
        for reading in sorted(readings, key=lambda r: r.at or 0):
            premiums.append(premium(name, reading, digests[DAILY], reading.at or 0, issue.listing))
            if issue.high is not None and issue.segment is not None and name not in known:
                validator.read(name, _word(reading), issue.high, issue.segment)
    pen.put_issues(issues.values())
    pen.add_names(sorted({(SOURCE, fact.name, ids[key]) for key, fact in facts.items()}), 0)
    pen.add_premiums(premiums)
    pen.save(matcher, validator)
    words: dict[str, Any] = {"issues": len(matcher) - before, "premiums": len(premiums)}
    words |= {"refused": {**done.refused, LOST: lost}} if lost else {}
    return done.model_copy(update=words)


def _placed(matcher: Matcher, row: Told) -> str:
    verdict = matcher.feed(row)
    if isinstance(verdict, Matched):
        return verdict.issue
    if isinstance(verdict, Unsure):
        # The tables have each issue once: what they tell apart is apart.
        return matcher.decide(next(n for n, one in matcher.queue.items() if one.told.bare == row.bare), None)
    found = matcher.match(row)
    if not isinstance(found, Matched):
        raise BadValue("row", row.name, "one that its own issue was made of")
    return found.issue


def _word(reading: GmpReading) -> Told:
    return Told(source=reading.source, name=reading.name, at=reading.at or 0, gmp=reading.gmp)


def _listing(fact: IssueFacts) -> int:
    if fact.lists is None:
        raise BadValue("lists", fact.name, "an issue with its day of listing")
    return at(fact.lists, TRADES_FROM)


def _day(cell: str) -> date | None:
    return date.fromisoformat(cell) if cell else None


def _money(cell: str) -> Money | None:
    return money(Decimal(cell).quantize(Decimal("0.0001"))) if cell else None


def _came(price: Money | None, gain: str) -> Money | None:
    return None if price is None or not gain else Money(price + amount(float(gain), price))


def _kept(target: Path, bodies: Mapping[str, bytes]) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, body in bodies.items():
            handle, path = tempfile.mkstemp(dir=target, prefix=f".{name}-")
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            Path(path).replace(target / name)
    except OSError as e:
        raise StoreRefused(str(target), f"{e.strerror}; make room there, or let us write there") from e
