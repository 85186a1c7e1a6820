"""Tables: a body from anywhere, as rows of words under headings.

Four shapes: HTML, JSON lists of objects, and boards kept as text whose cells stand between bars. A body is hostile
until read: its size is bounded, its encoding is UTF-8 or it is refused, nothing in it is fetched or expanded, and one
that ends before its end is no page. Columns are found by their headings, never by where they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from lxml import etree, html

from market.errors import BadPayload, LayoutChanged
from market.ipo.cells import LONGEST

LARGEST = 8 << 20
"""Bytes of a body. The largest page that is known has 0.9 million."""

MOST_ROWS, MOST_COLUMNS, MOST_TABLES = 20_000, 200, 400
MOST_TAGS = 200_000
"""Of an HTML page; those that are recorded have some 4,000."""

SMALL = 32 << 10
"""An HTML body below this that holds no table is a wall or an error, not a page laid out anew."""

HEADING_ROWS = 3
"""A table's headings stand in one of so many first rows."""

_ARROWS = re.compile(r"[^a-z0-9~%#]+")
_BLOCKS = frozenset({"br", "p", "div", "li", "table", "tr", "td", "th", "title", "h1", "h2"})
_WHOLE = re.compile(rb"^\s*(?:<!doctype|<html)", re.IGNORECASE)


class Table(NamedTuple):
    """Rows of words. `place`: where it stands, for people."""

    place: str
    rows: Sequence[Sequence[str]]

    def under(self, needed: Collection[str]) -> Grid | None:
        """The rows under the headings that hold all `needed`, normal; None: it has no such headings."""
        for k, row in enumerate(self.rows[:HEADING_ROWS]):
            if set(needed) <= {heading(cell) for cell in row}:
                return Grid(self.place, tuple(row), self.rows[k + 1 :])
        return None

    def pairs(self) -> dict[str, str]:
        """A table of keys and values: the second cell of each row by its first, normal."""
        return {heading(row[0]): row[1] for row in reversed(self.rows) if len(row) == 2}


class Document(NamedTuple):
    """An HTML page: its title, its first headline, all its words, its tables."""

    title: str
    headline: str
    words: str
    tables: Sequence[Table]


class Grid(NamedTuple):
    """Rows under their headings, as they stood."""

    place: str
    headings: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def heading(cell: str) -> str:
    """A heading without what changes about it: arrows to sort by, case, marks, units in brackets that are signs.

    >>> heading("IPO_Size▲▼"), heading("Price (₹)"), heading("NII*"), heading("~Srt_Open")
    ('ipo size', 'price', 'nii', '~srt open')
    """
    return " ".join(_ARROWS.sub(" ", cell.lower()).split())


def shape(source: str, body: bytes) -> str:
    """What a body is: `json`, `html` or `text`. Raises BadPayload for what is none, or is too large."""
    if len(body) > LARGEST:
        raise BadPayload(source, body[:1024], f"{len(body) >> 20} MiB: no page is so large")
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not start:
        raise BadPayload(source, body[:1024], "an empty body")
    try:
        body.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadPayload(source, body, f"not UTF-8: {e.reason} at byte {e.start}") from e
    if b"\0" in body:
        raise BadPayload(source, body, "it holds a NUL: no page does")
    return {b"{": "json", b"[": "json", b"<": "html"}.get(start, "text")


def parsed(source: str, body: bytes) -> Any:
    """A body of JSON; its numbers as they are written, so that none is rounded. Raises BadPayload."""
    if shape(source, body) != "json":
        raise BadPayload(source, body, "no JSON where JSON is due: visit the site's page first, or come back later")
    try:
        found = json.loads(body.decode("utf-8-sig"), parse_float=str, parse_constant=str)
        if b"\\u" in body:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        raise BadPayload(source, body, "it holds half of a character") from e
    except (ValueError, RecursionError) as e:
        raise BadPayload(source, body, f"not JSON: {e}") from e
    if b"\\u0000" in body:
        raise BadPayload(source, body, "it holds a NUL: no page does")
    return found


def grid(source: str, body: bytes, place: str, rows: object) -> Grid:
    """A list of JSON objects as rows under all their keys. Raises BadPayload."""
    if not isinstance(rows, list) or len(rows) > MOST_ROWS or not all(isinstance(row, Mapping) for row in rows):
        raise BadPayload(source, body, f"{place} is not a list of at most {MOST_ROWS} objects")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if len(keys) > MOST_COLUMNS:
        raise BadPayload(source, body, f"{place} has {len(keys)} keys")
    return Grid(place, tuple(map(_written, keys)), [[_written(row.get(key)) for key in keys] for row in rows])


def document(source: str, body: bytes) -> Document:
    """An HTML body: its tables in order, none inside another's rows, and its words.

    Raises BadPayload for what is no HTML page, or is not whole; LayoutChanged for a page without any table.
    """
    if shape(source, body) != "html":
        raise BadPayload(source, body, "no HTML where a page is due")
    root = _root(source, body)
    title = " ".join((root.findtext(".//title") or "").split())[:120]
    rows = _rows(source, body, root)
    if not rows:
        raise _bare(source, body, f"no table in a page titled {title!r}")
    headline = next((_words(one) for one in root.iter("h1")), "")[:200]
    return Document(title, headline, _words(root, LARGEST), [Table(place, found) for place, found in rows])


def barred(source: str, body: bytes, starts: Collection[Collection[str]]) -> list[Table]:
    """The tables of a text whose cells stand between bars; each begins where all headings of one of `starts` stand.

    Raises BadPayload for what is no such text, LayoutChanged where none begins.
    """
    if shape(source, body) != "text":
        raise BadPayload(source, body, "no text where text is due")
    found: list[list[list[str]]] = []
    open_table = False
    for number, line in enumerate(body.decode("utf-8-sig").splitlines()):
        if number > MOST_ROWS:
            raise BadPayload(source, body, f"more than {MOST_ROWS} lines")
        cells = [" ".join(cell.split()) for cell in line.split("|")]
        if line.startswith("#") or len(cells) < 2 or len(cells) > MOST_COLUMNS:
            open_table = False
            continue
        names = {heading(cell) for cell in cells}
        if any(set(needed) <= names for needed in starts):
            found.append([])
            open_table = True
        if open_table:
            found[-1].append(cells)
    if not found:
        raise _bare(source, body, "no line of known headings")
    return [Table(f"text table {k}", rows) for k, rows in enumerate(found)]


def _bare(source: str, body: bytes, reason: str) -> BadPayload:
    return (BadPayload if len(body) < SMALL else LayoutChanged)(source, body, reason)


def _root(source: str, body: bytes) -> Any:
    if body.count(b"<") > MOST_TAGS:
        raise BadPayload(source, body, f"more than {MOST_TAGS} tags: no page has so many")
    low = body.lower()
    if _WHOLE.match(low) and b"</html" not in low[-4096:]:
        raise BadPayload(source, body, "the page ends before its end")
    if low.count(b"<table") > low.count(b"</table"):
        raise BadPayload(source, body, "a table ends before its end")
    parser = html.HTMLParser(
        encoding="utf-8", no_network=True, huge_tree=False, remove_comments=True, remove_pis=True, recover=True
    )
    try:
        root = html.document_fromstring(body, parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as e:
        raise BadPayload(source, body, f"not HTML: {e}") from e
    etree.strip_elements(root, "script", "style", "noscript", "template", with_tail=False)
    return root


def _place(number: int, table: Any) -> str:
    name = table.get("id") or ""
    return f"table {number}" + (f" #{name[:40]}" if name else "")


def _rows(source: str, body: bytes, root: Any) -> list[tuple[str, list[list[str]]]]:
    tables = list(root.iter("table"))
    if len(tables) > MOST_TABLES:
        raise BadPayload(source, body, f"{len(tables)} tables: no page has so many")
    found: dict[Any, list[list[str]]] = {table: [] for table in tables}
    for number, row in enumerate(root.iter("tr")):
        if number >= MOST_ROWS:
            raise BadPayload(source, body, f"more than {MOST_ROWS} rows")
        of = next(row.iterancestors("table"), None)
        cells: list[str] = []
        for cell in row.iterchildren("td", "th"):
            cells += [_words(cell)] + [""] * (_span(cell) - 1)
            if len(cells) > MOST_COLUMNS:
                raise BadPayload(source, body, f"a row of more than {MOST_COLUMNS} cells")
        if of is not None and cells:
            found[of].append(cells)
    return [(_place(k, table), rows) for k, (table, rows) in enumerate(found.items())]


def _words(of: Any, most: int = 2 * LONGEST) -> str:
    # A cell that is cut here is refused for its length, whatever else it holds.
    parts, length = [], 0
    for event, element in etree.iterwalk(of, events=("start", "end")):
        words = element.text if event == "start" else "" if element is of else element.tail
        parts += [" "] * (element.tag in _BLOCKS) + [words or ""]
        length += len(parts[-1])
        if length > most:
            break
    return " ".join("".join(parts).split())


def _span(cell: Any) -> int:
    told = cell.get("colspan") or "1"
    return min(max(int(told), 1), 50) if re.fullmatch(r"[0-9]{1,3}", told) else 1


def _written(value: object) -> str:
    if isinstance(value, Mapping | list):
        return json.dumps(value)[:400]
    # Half of a surrogate pair can be written in JSON, and nowhere else.
    return str(value).encode("utf-8", "replace").decode() if value is not None else ""
