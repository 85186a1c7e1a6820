"""The Python face: candles and features as frames, SQL over the lake, and what is wrong in one line."""

import os
import subprocess
import sys
from contextlib import chdir
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import bourse
from adapters.actions import add
from adapters.lake import Lake
from adapters.schemas import candle_table, feature_table
from market.actions import Action, Kind
from market.errors import BadQuery, BadValue, StoreRefused
from market.features import FEATURE, NAMES, SET, Unknown
from market.sessions import at, day_number
from tests.adapters.test_lake import DAY, REPO, SYMBOLS, lake_root, minute

LATER = date(2016, 8, 26)
"""The day after `DAY`; the demo share goes ex in a split here."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def root(lake: Lake) -> str:
    """Two shares' three minutes on one day, one of them corrected, and one minute on the next."""
    rows = np.concatenate([minute(n, i) for i in (0, 1) for n in range(3)] + [minute(1, revision=1)])
    lake.append("candles", candle_table(rows, SYMBOLS), {"a": 1})
    lake.append("candles", candle_table(minute(0, day=LATER), SYMBOLS), {"a": 2})
    return lake_root(lake)


def test_candles_come_as_a_frame_in_order(root):
    frame = bourse.read("candles", None, "2016-08-25", "2016-08-25", lake=root)

    assert list(zip(frame["symbol"], frame["volume"], frame["revision"], strict=True)) == [
        ("NSE:RELIANCE", 100, 0), ("NSE:RELIANCE", 101, 1), ("NSE:RELIANCE", 102, 0),
        ("NSE:TCS", 100, 0), ("NSE:TCS", 101, 0), ("NSE:TCS", 102, 0),
    ]  # fmt: skip
    assert frame["start"].iloc[0] == pd.Timestamp("2016-08-25 03:45", tz="UTC")
    assert frame["close"].dtype == np.float64 and frame["close"].iloc[0] == 2850.5025


def test_arrow_keeps_prices_exact(root):
    rows = bourse.read("candles", "TCS", DAY, DAY, lake=root, kind="pyarrow")

    assert isinstance(rows, pa.Table)
    assert rows["close"].to_pylist() == [Decimal("2850.5025")] * 3


@pytest.mark.parametrize("symbols", ["RELIANCE", "reliance", "NSE:RELIANCE", ["RELIANCE"], ("NSE:RELIANCE", "ABSENT")])
def test_a_symbol_is_found_with_or_without_its_exchange(root, symbols):
    frame = bourse.read("candles", symbols, DAY, LATER, lake=root)

    assert set(frame["symbol"]) == {"NSE:RELIANCE"} and len(frame) == 4


@pytest.mark.parametrize("day", [LATER, "2016-08-26", pd.Timestamp("2016-08-26"), datetime(2016, 8, 26)])
def test_a_day_may_be_a_date_or_text(root, day):
    assert len(bourse.read("candles", None, day, day, lake=root)) == 1


def test_a_version_and_an_instant_read_what_was_there(root, lake):
    version = lake.version("candles")
    before = bourse.read("candles", None, DAY, LATER, lake=root)
    lake.append("candles", candle_table(minute(1, revision=2), SYMBOLS), {"a": 3})
    soon = datetime.now(UTC) + timedelta(seconds=1)

    pd.testing.assert_frame_equal(bourse.read("candles", None, DAY, LATER, as_of=version, lake=root), before)
    assert bourse.read("candles", None, DAY, LATER, lake=root)["revision"].max() == 2
    assert bourse.read("candles", None, DAY, LATER, as_of=soon, lake=root)["revision"].max() == 2
    assert len(bourse.read("candles", None, DAY, LATER, as_of=0, lake=root)) == 0


def test_adjusted_prices_are_in_the_shares_of_the_day_asked_for(root, lake):
    split = Action(
        symbol="NSE:RELIANCE", kind=Kind.SPLIT, ex_date=LATER, factor=Fraction(1, 4), source="test",
        known=at(DAY, time(0)), recorded=at(DAY, time(0)),
    )  # fmt: skip
    add(lake, [split])

    raw = bourse.read("candles", None, DAY, LATER, lake=root)
    now = bourse.read("candles", None, DAY, LATER, adjusted=True, lake=root)

    share = now["symbol"] == "NSE:RELIANCE"
    before = share & (now["session"] == DAY)
    assert (now["close"][before] == 2850.5025 / 4).all()
    assert now["volume"][before].tolist() == [400.0, 404.0, 408.0]
    assert (now["close"][~before] == 2850.5025).all()
    assert (raw["close"] == 2850.5025).all()


def written(lake: Lake, value: float, run: int | None, number: int) -> None:
    row = np.zeros(1, FEATURE)
    row["session"], row["start"], row["values"] = day_number(DAY), minute(0)["start"], value
    reasons = [u.name for u in Unknown]
    lake.append("features", feature_table(row, SYMBOLS, SET, NAMES, reasons, run), {"f": number})


def test_features_come_one_row_a_minute_by_the_newest_run(root, lake):
    written(lake, 9.0, None, 1)
    written(lake, 1.0, 1_000_000, 2)

    frame = bourse.read("features", "RELIANCE", DAY, DAY, lake=root)
    some = bourse.read("features", None, DAY, DAY, names=[NAMES[3], NAMES[1]], lake=root)
    one = bourse.read("features", None, DAY, DAY, names="rsi_14_1m", lake=root)

    assert list(frame.columns[7:]) == list(NAMES) and len(frame) == 1
    assert set(frame[NAMES[0]]) == {1.0}
    assert list(some.columns[7:]) == [NAMES[3], NAMES[1]] and some[NAMES[3]].tolist() == [1.0]
    assert list(one.columns[7:]) == ["rsi_14_1m"]


def test_another_set_is_read_as_long_as_the_table_holds_it(root, lake):
    row = np.zeros(1, FEATURE)
    row["session"], row["start"], row["values"] = day_number(DAY), minute(0)["start"], 5.0
    reasons = [u.name for u in Unknown]
    older = feature_table(row, SYMBOLS, "f0", NAMES, reasons).rename_columns({NAMES[0]: "moon_phase"})
    lake.append("features", older, {"f": 1})

    frame = bourse.read("features", None, DAY, DAY, of="f0", names="moon_phase", lake=root)

    assert frame["moon_phase"].tolist() == [5.0] and frame["set"].tolist() == ["f0"]
    assert list(bourse.read("features", None, DAY, DAY, lake=root).columns[7:]) == list(NAMES)
    with pytest.raises(BadValue, match="features of f0, say moon_phase"):
        bourse.read("features", None, DAY, DAY, of="f0", names=["moon_fase"], lake=root)


def test_features_have_their_columns_before_there_are_any(root):
    frame = bourse.read("features", None, DAY, DAY, lake=root)

    assert len(frame) == 0 and list(frame.columns[7:]) == list(NAMES)


@pytest.mark.parametrize("asked", [None, "TCS", "INFY", ["INFY", "TCS"]])
def test_a_renamed_share_is_one_series_under_its_present_symbol(root, lake, asked):
    renamed = Action(
        symbol="NSE:RELIANCE", kind=Kind.RENAME, ex_date=LATER, to="NSE:INFY", source="test",
        known=at(LATER, time(0)), recorded=at(LATER, time(0)),
    )  # fmt: skip
    add(lake, [renamed])
    later = candle_table(np.concatenate([minute(n, day=LATER) for n in (0, 1)]), ["NSE:INFY", "NSE:TCS"])
    lake.append("candles", later, {"a": 3})
    written(lake, 1.0, None, 1)

    frame = bourse.read("candles", asked, DAY, LATER, lake=root)
    rows = list(zip(frame["symbol"], frame["session"], frame["volume"], strict=True))

    infy = [("NSE:INFY", DAY, 100), ("NSE:INFY", DAY, 101), ("NSE:INFY", DAY, 102)]
    infy += [("NSE:INFY", LATER, 100), ("NSE:INFY", LATER, 101)]
    tcs = [("NSE:TCS", DAY, 100), ("NSE:TCS", DAY, 101), ("NSE:TCS", DAY, 102)]
    assert rows == {None: infy + tcs, "TCS": tcs, "INFY": infy}.get(asked if isinstance(asked, str) else None)
    if asked != "TCS":
        old = bourse.read("candles", "RELIANCE", DAY, LATER, lake=root)
        assert old["symbol"].tolist() == ["NSE:INFY"] * 5
        assert bourse.read("features", asked, DAY, DAY, lake=root)["symbol"].tolist() == ["NSE:INFY"]


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("ticks", None, DAY, DAY), {}, "table: 'ticks' is not allowed; one of candles, features"),
        (("candles", None, "25/08/2016", DAY), {}, "start: '25/08/2016' is not allowed; a date"),
        (("candles", None, DAY, 20160825), {}, "end: 20160825 is not allowed; a date"),
        (("candles", None, datetime(2016, 8, 25, 9), DAY), {}, "sessions have no hours"),
        (("candles", None, LATER, DAY), {}, "a date not before start, 2016-08-26"),
        (("candles", [7], DAY, DAY), {}, "symbols: 7 is not allowed"),
        (("candles", 5, DAY, DAY), {}, "symbols: 5 is not allowed; RELIANCE, NSE:RELIANCE"),
        (("candles", "", DAY, DAY), {}, "symbols: '' is not allowed"),
        (("candles", None, DAY, DAY), {"interval": "2m"}, "interval: '2m' is not allowed; one of 1m"),
        (("candles", None, DAY, DAY), {"kind": "polars"}, "kind: 'polars' is not allowed; one of pandas, pyarrow"),
        (("candles", None, DAY, DAY), {"as_of": 99}, "version: 99 is not allowed; a version of candles up to 2"),
        (("candles", None, DAY, DAY), {"as_of": "today"}, "as_of: 'today' is not allowed; a version"),
        (("candles", None, DAY, DAY), {"as_of": True}, "as_of: True is not allowed"),
        (("candles", None, DAY, DAY), {"as_of": datetime(2016, 1, 1)}, "an instant with its zone"),
        (("candles", None, DAY, DAY), {"as_of": datetime(2016, 1, 1, tzinfo=UTC)}, "since version 0 of candles"),
        (("candles", None, DAY, DAY), {"names": ["a"]}, "they go with features"),
        (("features", None, DAY, DAY), {"adjusted": True}, "free of scale"),
        (("features", None, DAY, DAY), {"interval": "5m"}, "features are of 1m"),
        (("features", None, DAY, DAY), {"names": ["rsi_14_1"]}, "names: 'rsi_14_1' is not allowed; features of"),
        (("features", None, DAY, DAY), {"names": ["rsi_14_1"]}, "rsi_14_1m"),
        (("features", None, DAY, DAY), {"names": ["nope"]}, "names: 'nope' is not allowed"),
        (("features", None, DAY, DAY), {"names": 5}, "names: 5 is not allowed"),
        (("features", None, DAY, DAY), {"of": "f99"}, f"of: 'f99' is not allowed; {SET}, the current set, or another"),
        (("features", None, DAY, DAY), {"as_of": 0}, None),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(root, arguments, options, said):
    if said is None:
        assert len(bourse.read(*arguments, lake=root, **options)) == 0
        return

    with pytest.raises(BadValue) as refused:
        bourse.read(*arguments, lake=root, **options)

    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_where_there_is_no_lake_is_said(tmp_path):
    with pytest.raises(StoreRefused, match="no lake here; name one by lake= or BOURSE_LAKE"):
        bourse.read("candles", None, DAY, DAY, lake=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_lake_of_the_environment_and_of_the_folder_are_found(root, tmp_path):
    code = "import bourse; print(len(bourse.read('candles', None, '2016-08-25', '2016-08-25')))"
    known = {**os.environ, "PYTHONPATH": str(REPO)}
    known.pop("BOURSE_LAKE", None)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lake").symlink_to(root)

    by_name = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env={**known, "BOURSE_LAKE": root}, capture_output=True, text=True
    )
    by_place = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=known, capture_output=True, text=True)

    assert (by_name.stdout, by_place.stdout) == ("6\n", "6\n"), by_name.stderr + by_place.stderr


def test_sql_sees_the_tables_and_the_rows_that_count(root, lake):
    written(lake, 9.0, None, 1)
    written(lake, 1.0, 1_000_000, 2)

    counted = bourse.sql(
        "SELECT (SELECT count(*) FROM candles) AS rows, (SELECT count(*) FROM newest_candles) AS newest, "
        "(SELECT count(*) FROM features) AS features, "
        "(SELECT max(volume) FROM newest_candles WHERE symbol LIKE '%TCS') AS volume",
        lake=root,
    )
    kept = bourse.sql("SELECT * FROM newest_features", lake=root, kind="pyarrow")

    assert counted.iloc[0].tolist() == [8, 7, 2, 102]
    assert kept[NAMES[0]].to_pylist() == [1.0] and kept["run"].to_pylist()[0] is not None


def test_sql_keeps_prices_exact_and_instants_in_utc(root):
    rows = bourse.sql("SELECT start, close FROM candles WHERE session = '2016-08-26'", lake=root, kind="pyarrow")

    assert rows["close"].to_pylist() == [Decimal("2850.5025")]
    assert rows["start"].to_pylist()[0].isoformat() == "2016-08-26T03:45:00+00:00"


def test_sql_of_a_version_or_an_instant_sees_what_was_there(root, lake):
    count = "SELECT count(*) AS n FROM candles"
    first = datetime.now(UTC) + timedelta(seconds=1)

    assert bourse.sql(count, as_of={"candles": 1}, lake=root)["n"].tolist() == [7]
    assert bourse.sql(count, as_of=first, lake=root)["n"].tolist() == [8]
    with pytest.raises(BadQuery, match="candles does not exist"):
        bourse.sql(count, as_of=datetime(2016, 1, 1, tzinfo=UTC), lake=root)
    with pytest.raises(BadValue, match="versions of candles"):
        bourse.sql(count, as_of={"orders": 1}, lake=root)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "query: Parser Error: syntax error"),
        ("SELECT nope FROM candles", 'query: Binder Error: Referenced column "nope" not found'),
        ("SELECT * FROM nowhere", "query: Catalog Error: Table with name nowhere does not exist"),
        ("SELECT 1; SELECT 2", "one statement that reads"),
        ("", "one statement that reads"),
        ("CREATE TABLE mine AS SELECT 1", "one statement that reads"),
        ("INSERT INTO candles SELECT * FROM candles", "one statement that reads"),
        ("COPY candles TO 'out.csv'", "one statement that reads"),
        ("EXPORT DATABASE 'out'", "one statement that reads"),
        ("ATTACH 'out.db'", "one statement that reads"),
        ("INSTALL httpfs", "one statement that reads"),
        ("LOAD httpfs", "one statement that reads"),
        ("SET enable_external_access = true", "one statement that reads"),
        ("SELECT * FROM 'secret.csv'", "file system operations are disabled"),
        ("SELECT * FROM read_csv('secret.csv')", "file system operations are disabled"),
        ("SELECT * FROM read_text('/etc/hostname')", "file system operations are disabled"),
        ("SELECT * FROM glob('*')", "file system operations are disabled"),
        ("SELECT * FROM parquet_scan('lake/candles/*/*.parquet')", "file system operations are disabled"),
        ("SELECT * FROM 'https://example.com/x.parquet'", "file system operations are disabled"),
        ("SELECT * FROM delta_scan('lake/candles')", "not in the catalog"),
        ("SELECT * FROM hidden", "Table with name hidden does not exist"),
        ("SELECT CAST(symbol AS INTEGER) FROM candles", "Conversion Error"),
    ],
)
def test_a_query_that_cannot_be_or_reaches_out_is_one_line_and_touches_nothing(root, tmp_path, query, said):
    hidden = pd.DataFrame({"x": [1]})
    (tmp_path / "secret.csv").write_text("x\n1\n")
    before = sorted(p.name for p in tmp_path.iterdir())

    with chdir(tmp_path), pytest.raises(BadQuery) as refused:
        bourse.sql(query, lake=root)

    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before and len(hidden) == 1


@pytest.mark.parametrize("query", ["EXPLAIN SELECT * FROM candles", "DESCRIBE candles", "SHOW TABLES", "FROM candles"])
def test_whatever_only_reads_is_answered(root, query):
    assert len(bourse.sql(query, lake=root)) > 0


def test_candles_need_no_indicators_loaded(root):
    read = f"bourse.read('candles', None, '{DAY}', '{DAY}', lake={root!r})"
    code = f"import sys, bourse; {read}; print('talib' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)

    assert done.stdout.strip() == "False", done.stderr
