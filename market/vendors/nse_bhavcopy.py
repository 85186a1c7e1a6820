"""The exchanges' end-of-day files, "bhavcopy": the official daily candle of every contract of the cash market.

Three layouts, told by their header: the UDiFF of NSE and BSE (NSE since 8 July 2024), NSE's `sec_bhavdata_full`, whose
names and values begin with blanks, and NSE's `cm...bhav` before that, whose lines end in a comma. The close is the
average of the last half hour, not the last trade; volume holds the opening auction and the closing session. A share
appears once for each series it trades in; its candle is that of its rolling series. Sources: NSE, All Reports, Capital
Market, "CM-UDiFF Common Bhavcopy Final", "Full Bhavcopy and Security Deliverable data", "CM Bhavcopy"; BSE, Equity
Bhavcopy (UDiFF), read 2026-11-21.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from io import StringIO
from typing import NamedTuple

import numpy as np
from pydantic import Field

from market.candles import CANDLE, INTERVALS, Candles, Provenance
from market.corrections import PROPOSED
from market.errors import BadPayload
from market.instruments import Instrument
from market.money import UNKNOWN, Money, money
from market.records import Record
from market.sessions import at, day_number

NAME = "bhavcopy"
LARGEST = 64 << 20
MOST_LINES = 200_000

SERIES = ("EQ", "BE", "BZ", "SM", "ST", "SZ")
"""NSE's series in which a share trades, the usual one first; others are bonds, blocks, rights and the like."""


class Daily(Record):
    """One contract's day. Prices in 1/10,000; `vwap`, `trades`, `isin`: None where the layout has none."""

    symbol: str = Field(pattern=r"^[A-Z]+:\S+$")
    series: str
    isin: str | None = None
    open: Money
    high: Money
    low: Money
    close: Money
    volume: int = Field(ge=0)
    vwap: Money | None = None
    trades: int | None = None


class Bhavcopy(NamedTuple):
    """One day of one exchange."""

    exchange: str
    day: date
    rows: tuple[Daily, ...]


class _Layout(NamedTuple):
    """How a layout names things. `exchange`: None where each line says it; `day`: the format of its dates; `lacs`:
    rupees in a unit of its turnover.
    """

    exchange: str | None
    date: str
    day: str
    symbol: str
    series: str
    prices: tuple[str, str, str, str]
    volume: str
    turnover: str
    lacs: int
    trades: str
    isin: str | None


_UDIFF = _Layout(
    None, "TradDt", "%Y-%m-%d", "TckrSymb", "SctySrs", ("OpnPric", "HghPric", "LwPric", "ClsPric"), "TtlTradgVol",
    "TtlTrfVal", 1, "TtlNbOfTxsExctd", "ISIN",
)  # fmt: skip
_FULL = _Layout(
    "NSE", "DATE1", "%d-%b-%Y", "SYMBOL", "SERIES", ("OPEN_PRICE", "HIGH_PRICE", "LOW_PRICE", "CLOSE_PRICE"),
    "TTL_TRD_QNTY", "TURNOVER_LACS", 100_000, "NO_OF_TRADES", None,
)  # fmt: skip
_CM = _Layout(
    "NSE", "TIMESTAMP", "%d-%b-%Y", "SYMBOL", "SERIES", ("OPEN", "HIGH", "LOW", "CLOSE"), "TOTTRDQTY", "TOTTRDVAL", 1,
    "TOTALTRADES", "ISIN",
)  # fmt: skip
_LAYOUTS = (_UDIFF, _FULL, _CM)

_PRICE = re.compile(r"\d{1,9}(\.\d{1,4})?")
_COUNT = re.compile(r"\d{1,15}")
_VALUE = re.compile(r"\d{1,15}(\.\d{1,4})?")
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}\d")


def read(body: bytes) -> Bhavcopy:
    """The shares of one end-of-day file, unpacked.

    Raises BadPayload for what is no such file, and for one with bad lines: it names the first, and `rest` is the
    `Bhavcopy` of the others.
    """
    if len(body) > LARGEST:
        raise BadPayload(NAME, body[:1024], f"{len(body) >> 20} MiB: no end-of-day file is so large")
    try:
        lines = csv.reader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(lines)]
    except (ValueError, csv.Error, StopIteration) as e:
        raise BadPayload(NAME, body, f"not a CSV file: {e}") from e
    layout = next((one for one in _LAYOUTS if _names(one) <= set(header)), None)
    if layout is None or len(set(header) - {""}) != len([h for h in header if h]):
        raise BadPayload(NAME, body, f"a header of no layout known here: {','.join(header)[:200]}")
    wrong: list[str] = []
    found = _rows(body, layout, _lines(lines, header, wrong), wrong)
    if wrong:
        raise BadPayload(NAME, body, f"{len(wrong)} bad lines; {wrong[0]}", found)
    return found


def official(bhavcopy: Bhavcopy, instruments: Collection[Instrument]) -> Candles:
    """The daily candles of these instruments as a reconciliation proposes them, (n,); those not in the file are not.

    An instrument is found by its ISIN where the file has one, else by its symbol.
    """
    by_isin = {row.isin: row for row in reversed(bhavcopy.rows) if row.isin}
    by_symbol = {row.symbol: row for row in reversed(bhavcopy.rows)}
    matched = []
    for one in (i for i in instruments if i.exchange == bhavcopy.exchange):
        row = by_isin.get(one.isin or "") or by_symbol.get(one.symbol)
        if row is not None:
            matched.append((one, row))
    candles = np.zeros(len(matched), CANDLE)
    for out, (one, row) in zip(candles, matched, strict=True):
        out["instrument"] = one.id
        for name in ("open", "high", "low", "close", "volume"):
            out[name] = getattr(row, name)
        out["trades"] = UNKNOWN if row.trades is None else row.trades
        out["vwap"] = UNKNOWN if row.vwap is None else row.vwap
    candles["interval"], candles["start"] = INTERVALS["1d"], at(bhavcopy.day, time(0))
    candles["session"], candles["open_interest"] = day_number(bhavcopy.day), UNKNOWN
    candles["completeness"], candles["provenance"], candles["revision"] = 1.0, Provenance.OFFICIAL, PROPOSED
    return candles


def file_names(day: date) -> list[str]:
    """The names under which the exchanges publish a day's file, the newest layout first."""
    udiff = [f"BhavCopy_{exchange}_CM_0_0_0_{day:%Y%m%d}_F_0000" for exchange in ("NSE", "BSE")]
    month = day.strftime("%b").upper()
    stems = [*udiff, f"sec_bhavdata_full_{day:%d%m%Y}", f"cm{day:%d}{month}{day:%Y}bhav"]
    return [f"{stem}{suffix}" for stem in stems for suffix in (".csv", ".CSV", ".csv.zip", ".zip")]


def _names(layout: _Layout) -> set[str]:
    more = {layout.isin} if layout.isin else set()
    source = {"Src", "FinInstrmTp"} if layout.exchange is None else set()
    of = (layout.date, layout.symbol, layout.series, *layout.prices, layout.volume, layout.turnover, layout.trades)
    return {*of, *more, *source}


def _lines(reader: Iterator[list[str]], header: list[str], wrong: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    number = 1
    while True:
        number += 1
        try:
            line = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            wrong.append(f"line {number}: {e}")
            continue
        if number > MOST_LINES:
            wrong.append(f"line {number}: more lines than there are contracts")
            return
        if not any(value.strip() for value in line):
            continue
        if len(line) != len(header):
            wrong.append(f"line {number}: {len(line)} values under {len(header)} names")
            continue
        yield number, {name: value.strip() for name, value in zip(header, line, strict=True)}


def _rows(body: bytes, layout: _Layout, lines: Iterator[tuple[int, dict[str, str]]], wrong: list[str]) -> Bhavcopy:
    rows: dict[tuple[str, str], Daily] = {}
    exchange, day = layout.exchange, None
    for number, line in lines:
        try:
            of, on = layout.exchange or line["Src"], datetime.strptime(line[layout.date], layout.day).date()
            if of not in ("NSE", "BSE") or (exchange or of, day or on) != (of, on):
                raise ValueError(f"a row of {of} on {on} in a file of {exchange} on {day}")
            exchange, day = of, on
            if layout.exchange is None and line["FinInstrmTp"] != "STK":
                continue
            row = _row(layout, of, line)
            if of == "NSE" and row.series not in SERIES:
                continue
            if (row.symbol, row.series) in rows:
                raise ValueError(f"{row.symbol} in series {row.series} a second time")
            rows[row.symbol, row.series] = row
        except (ValueError, KeyError, ArithmeticError) as e:
            wrong.append(f"line {number}: {e}")
    if exchange is None or day is None:
        raise BadPayload(NAME, body, wrong[0] if wrong else "no line below the header")
    order = {series: k for k, series in enumerate(SERIES)}
    usual = sorted(rows.values(), key=lambda r: (r.symbol, order.get(r.series, len(order))))
    return Bhavcopy(exchange, day, tuple(usual))


def _row(layout: _Layout, exchange: str, line: Mapping[str, str]) -> Daily:
    prices = [money(_number(line, name, _PRICE)) for name in layout.prices]
    if not 0 < prices[2] == min(prices) or prices[1] != max(prices):
        raise ValueError(f"open, high, low, close of {[line[name] for name in layout.prices]}")
    volume = int(_number(line, layout.volume, _COUNT))
    isin = line[layout.isin] if layout.isin else None
    if isin and not _ISIN.fullmatch(isin):
        raise ValueError(f"{isin[:20]!r} is not an ISIN")
    # Lacs of rupees are rounded to two decimals, so a price from them is not exact where little was traded.
    turnover = Decimal(_number(line, layout.turnover, _VALUE)) * layout.lacs
    exact = layout.lacs == 1 and volume > 0
    trades = line[layout.trades]
    return Daily(
        symbol=f"{exchange}:{line[layout.symbol]}",
        series=line[layout.series],
        isin=isin or None,
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume,
        vwap=Money(int(turnover / volume * 10_000)) if exact else _average(line),
        trades=None if trades in ("", "-") else int(_number(line, layout.trades, _COUNT)),
    )


def _average(line: Mapping[str, str]) -> Money | None:
    return money(_number(line, "AVG_PRICE", _PRICE)) if "AVG_PRICE" in line else None


def _number(line: Mapping[str, str], name: str, shape: re.Pattern[str]) -> str:
    value = line[name]
    if not shape.fullmatch(value):
        raise ValueError(f"{name} of {value[:40]!r}")
    return value
