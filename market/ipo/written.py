"""Written: how sites write a number, a date, a table, a page; the other way round than `cells` and `tables`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from html import escape

from market.money import Money, decimal
from market.sessions import IST


def plain(amount: Money) -> str:
    """A price without trailing zeros: `41.5`."""
    exact = decimal(amount)
    return f"{exact:f}".rstrip("0").rstrip(".") if exact is not None else "--"


def times(times: float | None, nothing: str) -> str:
    """A number of times: `62.89x`; `nothing` where there is none."""
    return nothing if times is None else f"{times:.2f}x"


def short(day: date) -> str:
    """A date without a year: `9-Jul`."""
    return f"{day.day}-{day:%b}"


def ist(at: int) -> datetime:
    """An instant, ns UTC, on India's clocks."""
    return datetime.fromtimestamp(at // 1_000_000_000, IST)


def stamp(at: int) -> str:
    """An instant, ns UTC, without a year: `9-Jul 9:37`."""
    moment = ist(at)
    return f"{short(moment.date())} {moment.hour}:{moment:%M}"


def indian(number: int) -> str:
    """A whole number in India's grouping: `9,28,67,945`."""
    head, tail = str(number)[:-3], str(number)[-3:]
    groups = [head[max(0, k - 2) : k] for k in range(len(head), 0, -2)][::-1]
    return ",".join([*groups, tail])


def body(said: object) -> bytes:
    """An answer of JSON."""
    return json.dumps(said, ensure_ascii=False).encode()


def keyed(facts: Mapping[str, str]) -> str:
    """A table of keys and values."""
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in facts.items())
    return f"<table><tbody>{rows}</tbody></table>"


def table(rows: Sequence[Mapping[str, str]], name: str) -> str:
    """A table under headings; a cell with a tag in it is HTML already."""
    if not rows:
        return f'<table id="{name}"></table>'
    head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{v if '<' in v else escape(v)}</td>" for v in row.values()) + "</tr>" for row in rows
    )
    return f'<table id="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def page(title: str, content: str) -> bytes:
    """A whole page."""
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    return f"<!DOCTYPE html>\n<html>{head}<body>{content}</body></html>".encode()
