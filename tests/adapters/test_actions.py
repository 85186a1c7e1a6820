"""Corporate actions in the lake and in files, and the recorded ones against recorded prices."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from adapters.actions import add, audit, daily, known, opened, with_factors
from adapters.lake import Lake
from adapters.schemas import candle_table
from benchmarks import actions as recorded
from market.actions import Actions
from market.adjustment import factors
from market.candles import CANDLE, INTERVALS, Provenance
from market.errors import BadPayload, BadValue
from market.money import UNKNOWN, from_floats
from market.sessions import DAY, day_number
from tests.market.test_actions import LATER, MIDNIGHT, NOW, told

HEAD = "symbol,kind,ex_date,value\n"
SPLIT, BONUS = told("BAJFINANCE SPLIT 2016-09-08 5"), told("BAJFINANCE BONUS 2016-09-08 1:1")
ALL = [
    SPLIT,
    BONUS,
    told("BAJFINANCE DIVIDEND 2016-09-08 3.6025"),
    told("BAJAUTOFIN RENAME 2010-09-29 BAJFINANCE"),
    told("RELIANCE DEMERGER 2006-01-18 580.10/928.50", "operator", by="me"),
    told("INFY SPLIT 2000-01-24 none", "nse"),
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def candles(symbol: str, rows: Sequence[tuple[date, float, float]], provenance: Provenance) -> pa.Table:
    """Daily candles of day, open and close."""
    out = np.zeros(len(rows), CANDLE)
    out["session"] = [day_number(day) for day, _, _ in rows]
    out["start"], out["interval"] = out["session"].astype(np.int64) * DAY, INTERVALS["1d"]
    out["open"], out["close"] = (from_floats([row[k] for row in rows]) for k in (1, 2))
    out["high"], out["low"] = np.maximum(out["open"], out["close"]), np.minimum(out["open"], out["close"])
    out["vwap"] = out["open_interest"] = out["trades"] = UNKNOWN
    out["volume"], out["provenance"], out["completeness"] = 100, provenance, 1.0
    return candle_table(out, [symbol])


def test_records_come_back_as_they_went_in_and_a_second_time_adds_nothing(lake: Lake) -> None:
    assert known(lake).records == ()

    assert add(lake, ALL) == ALL
    assert add(lake, ALL) == []
    assert sorted(map(repr, known(lake).records)) == sorted(map(repr, ALL))


def test_the_table_only_grows_and_answers_as_of_any_instant(lake: Lake) -> None:
    add(lake, [SPLIT])
    add(lake, [told("BAJFINANCE SPLIT 2016-09-08 10", known=LATER)])

    actions = known(Lake(lake._root))
    before, after = (factors(actions, "NSE:BAJFINANCE", at).price[0] for at in (LATER - 1, LATER))
    assert (len(actions), before, after) == (2, 0.2, 0.1)


def test_of_two_that_add_at_once_neither_is_lost_or_doubled(lake: Lake, tmp_path: Path) -> None:
    class Slower(Lake):
        """Another adds between its looking and its committing."""

        def read_actions(self) -> pa.Table:
            found = super().read_actions()
            add(lake, [BONUS, ALL[2]])
            return found

    slower = Slower(str(tmp_path / "lake"))

    assert add(slower, [SPLIT, BONUS]) == [SPLIT]
    assert sorted(a.words() for a in known(lake).records) == ["BONUS 1:1", "DIVIDEND 3.6025", "SPLIT 5"]


def test_each_row_gets_its_shares_factors_beside_it(lake: Lake) -> None:
    days = [date(2009, 1, 1), date(2016, 9, 7), date(2016, 9, 8), date(2016, 9, 7)]
    symbols = ["NSE:BAJAUTOFIN", "NSE:BAJFINANCE", "NSE:BAJFINANCE", "NSE:TCS"]
    rows = pa.table({"symbol": symbols, "session": pa.array(days), "close": [1.0, 2.0, 3.0, 4.0]})

    out = with_factors(rows, Actions(ALL), NOW)

    assert out["price_factor"].to_pylist() == [0.1, 0.1, 1.0, 1.0]
    assert out["volume_factor"].to_pylist() == [10.0, 10.0, 1.0, 1.0]
    assert out["close"].to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert with_factors(rows.slice(0, 0), Actions(ALL), NOW).num_rows == 0


def test_the_audit_takes_the_exchanges_candle_before_ours_and_old_names_as_the_present_share(lake: Lake) -> None:
    before, day = date(2016, 9, 7), date(2016, 9, 8)
    lake.append("candles", candles("NSE:BAJAUTOFIN", [(before, 11330, 11393.3)], Provenance.OFFICIAL), {"a": 1})
    lake.append(
        "candles", candles("NSE:BAJFINANCE", [(before, 5, 5), (day, 1153.9, 1162.8)], Provenance.LIVE), {"a": 2}
    )
    actions = Actions([SPLIT, told("BAJAUTOFIN RENAME 2016-09-08 BAJFINANCE")])

    rows = daily(lake, actions, ["NSE:BAJFINANCE"], (before, day))

    assert rows.to_pylist() == [
        {"symbol": "NSE:BAJFINANCE", "session": before, "open": 11330.0, "close": 11393.3},
        {"symbol": "NSE:BAJFINANCE", "session": day, "open": 1153.9, "close": 1162.8},
    ]
    assert [b.session for b in audit(rows, actions, NOW)] == [day]
    assert audit(rows, Actions([*actions.records, BONUS]), NOW) == []
    assert audit(daily(lake, actions, None, (day, day)), actions, NOW) == []


def test_days_of_many_shares_come_in_order(lake: Lake) -> None:
    days = [date(2016, 1, 1) + timedelta(days=k) for k in range(300)]
    names = [f"NSE:S{k:02}" for k in range(60)]
    rows = [candles(n, [(d, 100 + k, 100) for d in days], Provenance.OFFICIAL) for k, n in enumerate(names)]
    lake.append("candles", pa.concat_tables(rows), {"a": 1})

    found = daily(lake, Actions([]), None, (days[0], days[-1]))

    assert found["symbol"].to_pylist() == [name for name in names for _ in days]
    assert found["session"].to_pylist() == days * len(names)
    assert set(found.slice(300, 300)["open"].to_pylist()) == {101.0}


def test_every_form_of_a_file_is_told_by_what_stands_in_it(tmp_path: Path) -> None:
    own = tmp_path / "own.csv.gz"
    own.write_bytes(gzip.compress(f"{HEAD}INFY,BONUS,2018-09-04,1:1\n".encode()))
    table = tmp_path / "table.csv"
    table.write_text("symbol,date,dividend_adj,split_ratio\nINFY,2018-09-04,0,2.0\nX,2018-09-04,0,1.0\n")
    names = tmp_path / "names.parquet"
    columns = {"symbol": ["INFY"] * 2, "date": [date(2011, 6, 28), date(2011, 6, 29)]}
    parquet.write_table(pa.table(columns | {"listed_as": ["INFOSYSTCH", "INFY"]}), names)
    lists = tmp_path / "lists.csv"
    rows = "2020-08,CADILAHC,INE010B01027\n2026-08,ZYDUSLIFE,INE010B01027\n"
    lists.write_text(f"as_of,symbol,isin_code\n{rows}")

    found = {path.name: opened(path, NOW) for path in (own, table, names, lists)}

    assert {name: [f"{a.symbol} {a.words()} {a.source}" for a in t.actions] for name, t in found.items()} == {
        "own.csv.gz": ["NSE:INFY BONUS 1:1 file"],
        "table.csv": ["NSE:INFY SPLIT 2 yahoo"],
        "names.parquet": ["NSE:INFOSYSTCH RENAME to NSE:INFY listing"],
        "lists.csv": ["NSE:CADILAHC RENAME to NSE:ZYDUSLIFE constituents"],
    }
    assert found["table.csv"].unread == ["NSE:X 2018-09-04: a split of 1.0 for 1 changes nothing"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", b""),
        ("a.csv", b"\xff\xfe"),
        ("a.csv.gz", b"no gzip"),
        ("a.parquet", b"PAR1 and nothing else"),
        ("a.csv", b"symbol,date,dividend_adj,split_ratio\nINFY,2018-09-04,x,2\n"),
        ("a.csv", b"symbol,date,dividend_adj,split_ratio\nINFY,someday,0,2\n"),
        ("a.csv", b"symbol,date,listed_as\nLSE:INFY,2018-09-04,A\n"),
        ("a.csv", b"symbol,as_of,isin_code\nA,2018,X\nA,sometime,X\n"),
        ("a.json", b"{"),
        ("a.json", b'{"chart": {"result": null}}'),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, name: str, body: bytes) -> None:
    (tmp_path / name).write_bytes(body)

    with pytest.raises((BadValue, BadPayload)):
        opened(tmp_path / name, NOW)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="No such file"):
        opened(tmp_path / "nowhere.csv", NOW)


def test_the_recorded_breaks_are_found_and_what_the_table_misses_is_left(shared: Path) -> None:
    raw = list(recorded.prices("raw"))

    bare = {(b.symbol, b.session) for b in recorded.left(Actions([]), raw)}
    left = {(b.symbol.partition(":")[2], str(b.session)) for b in recorded.left(Actions(recorded.table()), raw)}

    assert bare == recorded.listed_breaks()
    # Read by eye: no row in the table, half an event, or the row of another day.
    assert left == {
        ("ASIANPAINT", "2000-08-02"), ("BAJAJ-AUTO", "2010-09-08"), ("HCLTECH", "2000-11-29"),
        ("HEROMOTOCO", "2001-03-14"), ("RELIANCE", "2006-01-18"), ("ZEEL", "2007-02-12"),
        ("BAJFINANCE", "2016-09-08"), ("ITC", "2005-09-21"), ("ONGC", "2011-02-08"), ("TITAN", "2011-06-23"),
        ("VEDL", "2008-08-08"),
        ("DRREDDY", "2001-10-10"), ("DRREDDY", "2001-10-15"), ("HINDUNILVR", "2000-07-05"),
        ("HINDUNILVR", "2000-07-10"), ("INFY", "2000-01-24"),
    }  # fmt: skip


# A rights issue or a demerger within 0.72 to 1.4, which the broker adjusts for and the table does not know.
NOT_IN_THE_TABLE = {"BHARTIARTL", "GRASIM", "RELIANCE", "TATAMOTORS", "TATASTEEL"}


def test_adjusted_closes_are_a_brokers_where_the_events_are_known(shared: Path) -> None:
    actions = Actions([*recorded.table(), *recorded.corrections()])
    raw, theirs = list(recorded.prices("raw")), {p.symbol: p for p in recorded.prices("adjusted")}

    scores = [recorded.agreement(actions, one, theirs[one.symbol]) for one in raw if one.symbol in theirs]

    assert recorded.left(actions, raw) == []
    assert len(scores) == 36
    assert {s.symbol.partition(":")[2] for s in scores if s.near < 0.98 * s.compared} == NOT_IN_THE_TABLE


def test_midnight_of_the_module_is_the_first_instant_of_the_ex_date() -> None:
    assert SPLIT.begins == MIDNIGHT
