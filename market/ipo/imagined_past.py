"""The demo's past: what became of the imagined issues of the last years, as the four tables of an IPO history.

A demo that begins has published nothing yet; with a past it knows how far its sources are to be believed, and what a
premium was worth.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from io import StringIO
from typing import NamedTuple

import numpy as np

from market.errors import BadValue
from market.ipo.imagined import SOURCES, Imagined
from market.ipo.kinds import Segment
from market.ipo.readings import Category
from market.ipo.specimens import Specimen
from market.money import Money, decimal
from market.sessions import at

EVENING = time(22)
"""When a day is written down, on India's clocks."""

SEGMENTS: Mapping[Segment, str] = {Segment.MAINBOARD: "MB", Segment.SME: "SME"}
CATEGORIES = {Category.QIB: "qib", Category.NII: "nii", Category.RETAIL: "rii", Category.TOTAL: "total"}

Row = dict[str, object]


class Quote(NamedTuple):
    """A premium as it stood at the end of a day, a share."""

    day: date
    gmp: Money
    source: str


def history(imagined: Imagined, now: int) -> dict[str, bytes]:
    """The tables by the names of their files, of the issues that opened on one of the sessions or later and were listed
    by `now`, ns UTC. Raises BadValue: there is none.
    """
    days = [one.date for one in imagined.sessions if one.close <= now]
    bidding, listed = set(imagined.days), dict[int, Specimen]()
    quotes: defaultdict[int, list[Quote]] = defaultdict(list)
    bids: defaultdict[int, list[Specimen]] = defaultdict(list)
    for day in (days[0] + timedelta(days=k) for k in range((days[-1] - days[0]).days + 1)) if days else ():
        for source in SOURCES:
            for one in imagined.issues(at(day, EVENING), source):
                if one.closed_at is not None:
                    listed[one.number] = one
                elif one.gmp is not None:
                    quotes[one.number].append(Quote(day, one.gmp, source))
                if source == SOURCES[0] and day in bidding and one.opens <= day <= one.closes:
                    bids[one.number].append(one)
    found = [one for one in listed.values() if one.opens >= days[0]]
    if not found:
        raise BadValue("sessions", len(days), "enough of them for an issue to be listed in")
    keys = {one.number: _key(one) for one in found}
    return {
        "ipo_master.csv": _csv(_issue(one, keys[one.number], quotes[one.number], bids[one.number]) for one in found),
        "gmp_daily.csv": _csv(_premium(key, quote) for number, key in keys.items() for quote in quotes[number]),
        "market_daily.csv": _csv(_market(imagined.seed, days)),
        "fpi_monthly.csv": _csv(_flows(imagined.seed, days)),
    }


def _issue(one: Specimen, key: str, quotes: Sequence[Quote], bids: Sequence[Specimen]) -> Row:
    told: dict[date, Money] = {}
    for day, gmp, _ in quotes:  # a lost decimal point makes a premium ten times as high: of two the lower one is right
        told[day] = min(told.get(day, gmp), gmp, key=abs)
    days = {f"sub_{CATEGORIES[c]}_d{k}": "" for k in (1, 2, 3) for c in CATEGORIES if c is not Category.TOTAL}
    for k, bid in enumerate(bids[:3], 1):
        days |= {f"sub_{CATEGORIES[c]}_d{k}": _cell(bid.times(c)) for c in CATEGORIES if c is not Category.TOTAL}
    return {
        "ipo_id": key,
        "company_name": one.name,
        "kind": "IPO",
        "segment": SEGMENTS[one.segment],
        "nse_symbol": one.symbol,
        "bse_code": one.code,
        "open_date": one.opens,
        "close_date": one.closes,
        "listing_date": one.lists,
        "issue_price": decimal(one.high),
        "issue_size_cr": one.size_crore,
        **days,
        **{f"sub_{name}": _cell(bids[-1].times(category) if bids else None) for category, name in CATEGORIES.items()},
        "gmp_last": _cell(decimal(told[max(told)]) if told else None),
        "gmp_at_close": _cell(decimal(told[one.closes]) if one.closes in told else None),
        "gain_open_pct": _gain(one.listed_at, one.high),
        "gain_close_pct": _gain(one.closed_at, one.high),
    }


def _premium(key: str, quote: Quote) -> Row:
    return {"ipo_id": key, "date": quote.day, "gmp_rs": decimal(quote.gmp), "site": quote.source}


def _market(seed: int, days: Sequence[date]) -> Iterable[Row]:
    chance = np.random.default_rng([seed, 8])
    moves, fear = chance.normal(0.0004, 0.009, len(days)), chance.normal(0, 0.05, len(days))
    level, vix = 22_000.0, 14.0
    for day, move, step in zip(days, moves, fear, strict=True):
        level *= 1 + move
        vix = float(np.clip(14 * (vix / 14) ** 0.97 * np.exp(step - 3 * move), 9, 60))
        yield {"date": day, "nifty50_close": round(level, 2), "vix": round(vix, 2)}


def _flows(seed: int, days: Sequence[date]) -> Iterable[Row]:
    months = sorted({day.replace(day=1) for day in days})
    for month, crore in zip(months, np.random.default_rng([seed, 9]).normal(2_000, 15_000, len(months)), strict=True):
        yield {"month": f"{month:%Y-%m}", "fpi_equity_net_inr_cr": round(float(crore))}


def _key(one: Specimen) -> str:
    return f"{'-'.join(one.name.lower().split())}-{one.lists.year}"


def _gain(amount: Money | None, price: Money) -> str:
    return "" if amount is None else f"{100 * (amount / price - 1):.4f}"


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _csv(rows: Iterable[Mapping[str, object]]) -> bytes:
    found, text = list(rows), StringIO()
    writer = csv.DictWriter(text, fieldnames=list(found[0]) if found else [])
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()
