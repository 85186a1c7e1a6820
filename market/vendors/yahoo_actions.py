"""Yahoo's events of a share: dividends and splits, out of a table or of its chart's answer.

Yahoo says SPLIT for a bonus too, gives a day one ratio, and tells a dividend in shares of today: divided by all its own
later ratios, which are multiplied back here, and the ratio of the same day with them, so that it is what was paid for
each share held the day before. Prices in its answers are rounded to six digits, so an amount is to the nearest
1/10,000. Source: `query1.finance.yahoo.com/v8/finance/chart`, `events=div|split`, and tables made of it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from market.actions import Action, Kind, known_by
from market.errors import BadPayload
from market.money import Money
from market.purposes import Told

SOURCE = "yahoo"
LARGEST = 64 << 20
LEAST = 1_000
"""The largest denominator of a ratio: 1.666667 is 5/3."""

COLUMNS = frozenset({"symbol", "date", "dividend_adj", "split_ratio"})
_EXCHANGES = {"NSI": "NSE", "BSE": "BSE", "NMS": "NASDAQ", "NGM": "NASDAQ", "NCM": "NASDAQ", "NYQ": "NYSE"}


def table(
    symbols: Sequence[str],
    days: Sequence[date],
    dividends: npt.NDArray[np.float64],
    ratios: npt.NDArray[np.float64],
    recorded: int,
    source: str = SOURCE,
) -> Told:
    """The actions of rows, each (n,): a symbol with its exchange, the ex-date, rupees, shares for a share; 0 for none.

    A row that cannot be is handed back as unread, the others are taken.
    """
    rows: dict[str, list[tuple[date, float, float]]] = defaultdict(list)
    for symbol, day, paid, ratio in zip(symbols, days, dividends.tolist(), ratios.tolist(), strict=True):
        rows[symbol].append((day, paid, ratio))
    found: list[Action] = []
    unread: list[str] = []
    for symbol in sorted(rows):
        later, seen = Fraction(1), set()
        for day, paid, ratio in sorted(rows[symbol], reverse=True):
            try:
                if day in seen:
                    raise ValueError("a second row of that day")
                seen.add(day)
                told, step = _row(symbol, day, paid, ratio, later, recorded, source)
            except (ValueError, OverflowError) as e:
                fault = e.errors()[0]["msg"] if isinstance(e, ValidationError) else str(e)
                unread.append(f"{symbol} {day}: {fault}")
                continue
            later *= step
            found += told
    return Told(sorted(found, key=lambda a: (a.symbol, a.ex_date)), unread, 0)


def chart(body: bytes, recorded: int) -> Told:
    """The events of one answer of the chart. Raises BadPayload."""
    try:
        if len(body) > LARGEST:
            raise ValueError("too large")
        (result,) = json.loads(body)["chart"]["result"]
        meta, events = result["meta"], result.get("events", {})
        symbol = _symbol(meta)
        zone = ZoneInfo(meta["exchangeTimezoneName"])
        by_day: dict[date, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for one in events.get("dividends", {}).values():
            by_day[_day(one, zone)][0] += float(one["amount"])
        for one in events.get("splits", {}).values():
            by_day[_day(one, zone)][1] = float(one["numerator"]) / float(one["denominator"])
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError) as e:
        raise BadPayload(SOURCE, body[:1024], f"no answer of a chart: {e!r}"[:200]) from e
    days = sorted(by_day)
    paid, ratios = (np.array([by_day[day][k] for day in days], np.float64) for k in (0, 1))
    return table([symbol] * len(days), days, paid, ratios, recorded)


def _row(
    symbol: str, day: date, paid: float, ratio: float, later: Fraction, recorded: int, source: str
) -> tuple[list[Action], Fraction]:
    if not (np.isfinite(paid) and np.isfinite(ratio) and paid >= 0 and ratio >= 0):
        raise ValueError(f"a dividend of {paid} and a ratio of {ratio}")
    step = Fraction(ratio).limit_denominator(LEAST) if ratio else Fraction(1)
    if step <= 0 or (ratio and step == 1):
        raise ValueError(f"a split of {ratio} for 1 changes nothing")
    known = known_by(symbol, day, recorded)
    found = []
    if ratio:
        found.append(
            Action(
                symbol=symbol,
                kind=Kind.SPLIT,
                ex_date=day,
                factor=1 / step,
                known=known,
                recorded=recorded,
                source=source,
            )
        )
    amount = Money(round(Fraction(paid) * later * step * 10_000))
    if paid and amount:
        found.append(
            Action(
                symbol=symbol,
                kind=Kind.DIVIDEND,
                ex_date=day,
                amount=amount,
                known=known,
                recorded=recorded,
                source=source,
            )
        )
    return found, step


def _symbol(meta: dict[str, Any]) -> str:
    name, exchange = str(meta["symbol"]), _EXCHANGES.get(str(meta["exchangeName"]))
    if exchange is None:
        raise ValueError(f"a share of {meta['exchangeName']}: none of {', '.join(_EXCHANGES)}")
    return f"{exchange}:{name.removesuffix('.NS').removesuffix('.BO')}"


def _day(event: dict[str, Any], zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(int(event["date"]), UTC).astimezone(zone).date()
