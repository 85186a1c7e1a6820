"""Import, end to end: files into a lake, once each, whatever ends it half-way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from adapters.imports import Tally
from adapters.lake import Lake
from adapters.schemas import candle_rows, candle_table
from adapters.series import SeriesForm, read_series
from market.candles import CANDLE, Provenance
from market.errors import LeaseLost
from market.holidays import nse_sessions
from market.imports import Fault, Form
from market.money import UNKNOWN
from market.series import rule
from market.sessions import MINUTE, at, day_number
from pipelines.imports import ImportPlan, SeriesPlan, run, run_series
from tests.rays import ray_of_ours

REPO = Path(__file__).resolve().parents[2]
COLUMNS = {name: name for name in ("symbol", "open", "high", "low", "close", "volume")}
MINUTES = Form(columns={**COLUMNS, "time": "ts"}, interval="1m")
DAYS = Form(columns={**COLUMNS, "time": "date"}, interval="1d")

NOW = at(date(2026, 11, 1), time(0))
OPEN = at(date(2016, 8, 25), time(9, 15))

SMALL = {"piece_rows": 500, "commit_rows": 500}

IMPORTER = """
import sys
from pathlib import Path
from pipelines.imports import run
from tests.pipelines.test_imports import SMALL, plan

run(plan(Path(sys.argv[1]), [Path(sys.argv[2])], **SMALL), lambda share, text: print(share, flush=True))
"""


def sessions(first: date, last: date) -> dict[str, list[list[int]]]:
    return {"NSE": nse_sessions(first, last).table().tolist()}


def plan(lake: Path, files: Iterable[Path], form: Form = MINUTES, **more: object) -> ImportPlan:
    span = sessions(date(2000, 1, 1), date(2026, 10, 31)) if form.interval == "1d" else None
    tables = span or sessions(date(2016, 8, 1), date(2023, 12, 29))
    told = {"lake": str(lake), "files": tuple(files), "form": form, "tables": tables, "now": NOW}
    return ImportPlan.model_validate({**told, **more})


def quiet(share: float, text: str) -> None:
    """Nobody looks."""


def take(lake: Path, *files: Path, form: Form = MINUTES, **more: object) -> Tally:
    return run(plan(lake, files, form, **more), quiet)


def bars(path: Path, symbols: int = 3, minutes: int = 4, **columns: list[object]) -> Path:
    """Minutes from the open on 25 August 2016 of a few shares, at 100 and more."""
    rows = symbols * minutes
    start = np.tile(np.arange(minutes), symbols) * MINUTE + OPEN
    close = 100 + np.repeat(np.arange(symbols), minutes) + np.tile(np.arange(minutes), symbols) / 20
    table = {
        "symbol": [f"S{k // minutes}" for k in range(rows)],
        "ts": pa.array(start).cast(pa.timestamp("ns", "UTC")),
        "open": close,
        "high": close + 1,
        "low": close - 1,
        "close": close,
        "volume": np.arange(rows) + 1,
    }
    parquet.write_table(pa.table({**table, **columns}), path)
    return path


def stored(lake: Path) -> pa.Table:
    return Lake(str(lake)).dataset("candles").to_table()


def test_rows_stand_in_the_lake_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    file, lake = bars(tmp_path / "bars.parquet"), tmp_path / "lake"

    first = take(lake, file)
    version = Lake(str(lake)).version("candles")
    second = take(lake, file)

    assert (first.read, first.added, first.commits, first.known) == (12, 12, 1, 0)
    assert (second.read, second.added, second.known, second.parts) == (0, 0, 1, 1)
    assert Lake(str(lake)).version("candles") == version
    rows = stored(lake).sort_by([("symbol", "ascending"), ("start", "ascending")])
    assert rows["symbol"].to_pylist()[::4] == ["NSE:S0", "NSE:S1", "NSE:S2"]
    assert [str(p) for p in rows["close"].to_pylist()[:3]] == ["100.0000", "100.0500", "100.1000"]
    assert set(rows["provenance"].to_pylist()) == {"IMPORTED"}
    assert set(rows["session"].to_pylist()) == {date(2016, 8, 25)}


def test_what_is_refused_lies_in_quarantine_with_its_row_and_reason(tmp_path: Path) -> None:
    volumes = [1, -2, *range(3, 13)]
    file, lake = bars(tmp_path / "bars.parquet", volume=volumes), tmp_path / "lake"

    found = take(lake, file)
    take(lake, file)

    assert (found.added, found.refused) == (11, {Fault.VOLUME.value: 1})
    [row] = Lake(str(lake)).dataset("quarantine").to_table().to_pylist()
    assert (row["file"], row["row"], row["symbol"], row["reason"]) == ("bars.parquet", 2, "NSE:S0", Fault.VOLUME.value)
    assert '"volume": -2' in row["content"]


def test_a_symbol_that_cannot_be_lies_in_quarantine(tmp_path: Path) -> None:
    symbols = ["../../etc"] * 4 + ["REL,X"] * 4 + ["M&M"] * 4
    file, lake = bars(tmp_path / "bars.parquet", symbol=symbols), tmp_path / "lake"

    found = take(lake, file)

    assert (found.added, found.refused) == (4, {Fault.NO_SYMBOL.value: 8})
    assert set(stored(lake)["symbol"].to_pylist()) == {"NSE:M&M"}
    rows = Lake(str(lake)).dataset("quarantine").to_table().to_pylist()
    assert {json.loads(row["content"])["symbol"] for row in rows} == {"../../etc", "REL,X"}


def test_a_torn_line_of_bytes_that_are_no_text_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    file, lake = tmp_path / "bars.csv", tmp_path / "lake"
    head, row = b"symbol,ts,open,high,low,close,volume", b"S9,2016-08-25T09:15:00+05:30,1,1,1,1,5"
    file.write_bytes(b"\n".join([head, row, b"S\xe9,torn", b"S\xff" + row[2:], b""]))

    found = take(lake, file)

    assert (found.added, found.refused) == (1, {Fault.TORN.value: 1, Fault.NO_SYMBOL.value: 1})


def test_another_file_of_the_same_candles_adds_those_that_are_new(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    take(lake, bars(tmp_path / "a.parquet", minutes=2))

    found = take(lake, bars(tmp_path / "b.parquet", minutes=3, symbols=3, volume=[1, 2, 9, 3, 7, 9, 5, 6, 9]))

    assert (found.added, found.held, found.differing) == (3, 5, 1)
    assert Lake(str(lake)).doubled("candles", date(2016, 8, 25)) == 0


def test_a_gap_is_filled_by_the_next_revision_and_a_live_minute_stays(tmp_path: Path) -> None:
    held = np.zeros(2, CANDLE)
    held["start"], held["interval"], held["session"] = [OPEN, OPEN + MINUTE], 60, day_number(date(2016, 8, 25))
    held["provenance"], held["revision"] = [Provenance.GAP, Provenance.LIVE], [2, 0]
    for name in ("open", "high", "low", "close"):
        held[name] = [UNKNOWN, 7_000_000]
    Lake(str(tmp_path / "lake")).append("candles", candle_table(held, ["NSE:S0"]), {"candles:0": 1})

    found = take(tmp_path / "lake", bars(tmp_path / "bars.parquet", symbols=1, minutes=3))

    assert (found.added, found.gaps, found.differing) == (2, 1, 1)
    newest = Lake(str(tmp_path / "lake")).read_candles(None, "1m", date(2016, 8, 25), date(2016, 8, 25))
    rows = candle_rows(newest, {"NSE:S0": 0})
    assert rows["revision"].tolist() == [3, 0, 0]
    assert rows["close"].tolist() == [1_000_000, 7_000_000, 1_001_000]


def test_two_parts_that_say_the_same_leave_one_candle(tmp_path: Path) -> None:
    first, second = bars(tmp_path / "a.parquet"), bars(tmp_path / "b.parquet", symbols=4)

    found = take(tmp_path / "lake", first, second, piece_rows=5)

    assert (found.read, found.added) == (28, 16)
    assert Lake(str(tmp_path / "lake")).doubled("candles", date(2016, 8, 25)) == 0


def test_of_two_that_import_at_once_one_is_stopped_and_nothing_is_doubled(tmp_path: Path) -> None:
    lake, file = tmp_path / "lake", bars(tmp_path / "bars.parquet")

    def meanwhile(share: float, text: str) -> None:
        take(lake, bars(tmp_path / "b.parquet", minutes=3))

    with pytest.raises(LeaseLost):
        run(plan(lake, [file]), meanwhile)
    assert take(lake, file).added == 3
    assert Lake(str(lake)).doubled("candles", date(2016, 8, 25)) == 0


@pytest.mark.endurance
def test_a_kill_half_way_and_a_second_run_leave_what_one_run_leaves(tmp_path: Path) -> None:
    file = bars(tmp_path / "bars.parquet", symbols=20, minutes=375, volume=[-1, *range(1, 7500)])
    take(tmp_path / "whole", file, **SMALL)

    for after in (2, 3, 6):
        lake = tmp_path / f"killed{after}"
        command = [sys.executable, "-c", IMPORTER]
        known = {**os.environ, "PYTHONPATH": str(REPO)}
        with subprocess.Popen([*command, str(lake), str(file)], stdout=subprocess.PIPE, env=known) as importer:
            assert importer.stdout is not None
            for _ in range(after):
                importer.stdout.readline()
            importer.send_signal(signal.SIGKILL)
        before = len(stored(lake))
        again = take(lake, file, **SMALL)

        assert before + again.added == 7499
        order = [("symbol", "ascending"), ("start", "ascending")]
        assert stored(lake).sort_by(order) == stored(tmp_path / "whole").sort_by(order)
        assert len(Lake(str(lake)).dataset("quarantine").to_table()) == 1
        assert 0 < before < 7499
        assert again.known > 0


def test_series_are_known_from_the_evening_on_and_come_once(tmp_path: Path) -> None:
    path, lake = tmp_path / "flows.csv", tmp_path / "lake"
    path.write_text("date,fii,dii\n2026-05-14,1.5,2\n2026-05-15,-3,x\nsoon,1,2\n")
    form = SeriesForm(
        series={"FII": "fii", "DII": "dii"}, known=rule("same day 19:00"), time="date", zone="Asia/Kolkata"
    )
    told = SeriesPlan(lake=str(lake), files=(path,), form=form, sessions=(), now=NOW)

    first, second = run_series(told, quiet), run_series(told, quiet)

    assert (first.read, first.added, dict(first.refused)) == (
        6, 3, {Fault.NO_NUMBER.value: 1, Fault.NO_TIME.value: 2},
    )  # fmt: skip
    assert (second.added, second.held, second.known) == (0, 3, 1)
    evening = at(date(2026, 5, 15), time(19, 0))
    early = read_series(Lake(str(lake)), ["FII", "DII"], evening - 1_000)
    late = read_series(Lake(str(lake)), ["FII"], evening)
    assert list(zip(early["name"].to_pylist(), early["value"].to_pylist(), strict=True)) == [("DII", 2.0), ("FII", 1.5)]
    assert late["value"].to_pylist() == [1.5, -3.0]


def test_a_value_told_anew_stands_beside_the_first(tmp_path: Path) -> None:
    path, lake = tmp_path / "gdp.csv", tmp_path / "lake"
    path.write_text("quarter,told,gdp\n2025-03-31,2025-05-30,7.4\n2025-03-31,2026-02-27,7.1\n2025-06-30,2025-06-01,9\n")
    form = SeriesForm(series={"GDP": "gdp"}, known=rule("column:told"), time="quarter", zone="Asia/Kolkata")

    found = run_series(SeriesPlan(lake=str(lake), files=(path,), form=form, sessions=(), now=NOW), quiet)

    assert (found.added, found.refused) == (2, {Fault.KNOWN_BEFORE.value: 1})
    values = [
        read_series(Lake(str(lake)), ["GDP"], at(day, time(0)))["value"].to_pylist()
        for day in (date(2025, 5, 29), date(2025, 6, 1), date(2026, 2, 28))
    ]
    assert values == [[], [7.4], [7.1]]


@pytest.mark.cluster
def test_tasks_of_ray_data_come_to_the_same(tmp_path: Path) -> None:
    file, text = bars(tmp_path / "bars.parquet", symbols=5, minutes=100), tmp_path / "more.csv"
    text.write_text("symbol,ts,open,high,low,close,volume\nS9,2016-08-25T09:15:00+05:30,1,1,1,1,5\nS9,torn\n")
    one = take(tmp_path / "here", file, text, piece_rows=60)
    with ray_of_ours(2):
        spread = take(tmp_path / "spread", file, text, piece_rows=60, spread=True)
        again = take(tmp_path / "spread", file, text, piece_rows=60, spread=True)

    assert (spread.added, spread.read, spread.refused) == (one.added, one.read, one.refused) == (501, 502, one.refused)
    order = [("symbol", "ascending"), ("start", "ascending")]
    assert stored(tmp_path / "spread").sort_by(order) == stored(tmp_path / "here").sort_by(order)
    assert (again.added, again.known) == (0, again.parts)


# What the set says of itself: 375 bars in every one of 14 sessions of 153 symbols, no defects.
def test_a_recorded_fortnight_comes_in_whole(shared: Path, tmp_path: Path) -> None:
    found = take(tmp_path / "lake", shared / "fixtures" / "market" / "nse_1min_2016" / "bars.parquet")

    assert (found.read, found.added, dict(found.refused)) == (803_250, 153 * 14 * 375, {})
    assert len(Lake(str(tmp_path / "lake")).sessions("candles")) == 14


# Labels are ENDS; the muhurat of 2021-11-04 is 60 bars; what is outside the session is marked so in `kind`.
def test_end_labels_give_the_starts_that_the_set_gives_itself(shared: Path, tmp_path: Path) -> None:
    file, lake = shared / "fixtures" / "market" / "nse_index_1min_2021_2023" / "bars.parquet", tmp_path / "lake"
    columns = {name: name for name in ("symbol", "open", "high", "low", "close")}
    names = {"NIFTY": "NIFTY 50", "BANKNIFTY": "NIFTY BANK"}
    ends = Form(columns={**columns, "time": "label"}, interval="1m", label="end", renames=names)
    starts = Form(columns={**columns, "time": "ts"}, interval="1m", renames=names)

    first, second = take(lake, file, form=ends), take(lake, file, form=starts)

    kinds = parquet.read_table(file, columns=["kind"])["kind"].to_pylist()
    outside = kinds.count("preopen") + kinds.count("post")
    assert set(first.refused) == {Fault.OFF_SESSION.value}
    assert first.added == first.read - first.refused[Fault.OFF_SESSION.value]
    assert outside <= first.refused[Fault.OFF_SESSION.value] <= outside + 20
    assert (second.added, second.held, second.differing) == (0, first.added, 0)
    muhurat = Lake(str(lake)).read_candles(["NSE:NIFTY 50"], "1m", date(2021, 11, 4), date(2021, 11, 4))
    assert len(muhurat) == 60
    assert set(muhurat["volume"].to_pylist()) == {0}


def test_a_day_of_zeros_and_a_close_below_the_low_are_refused(shared: Path, tmp_path: Path) -> None:
    file, lake = shared / "fixtures" / "market" / "india_vix_daily" / "vix.parquet", tmp_path / "lake"
    columns = {name: name for name in ("open", "high", "low", "close")}
    form = Form(columns={**columns, "time": "date"}, interval="1d", symbol="NSE:INDIA VIX")

    found = take(lake, file, form=form)

    assert (found.read, found.added) == (2479, 2476)
    rows = Lake(str(lake)).dataset("quarantine").to_table().to_pylist()
    assert {json.loads(row["content"])["date"][:10] for row in rows} == {"2021-02-12", "2021-03-30", "2013-08-22"}


# 123 moves above 20 % (splits, bonuses, a demerger), 0 bad OHLC, 0 duplicates: nothing of it is a fault.
def test_twenty_years_with_their_splits_come_in_whole_beside_ours(shared: Path, tmp_path: Path) -> None:
    file, lake = shared / "fixtures" / "market" / "nse_daily_nifty50_raw" / "bars.parquet", tmp_path / "lake"
    table = parquet.read_table(file, filters=[("date", ">=", datetime(2014, 1, 1))])
    cut = tmp_path / "cut.parquet"
    parquet.write_table(table, cut)

    found = take(lake, cut, form=DAYS.model_copy(update={"official": True}))

    assert (found.read, found.added, dict(found.refused)) == (len(table), len(table), {})
    day = date(2016, 9, 8)
    assert len(Lake(str(lake)).read_candles(None, None, day, day + timedelta(days=1))) == 0
    split = Lake(str(lake)).read_official(["NSE:BAJFINANCE"], day - timedelta(days=1), day)
    opens = [float(p) for p in split["open"].to_pylist()]
    assert opens[0] > 9 * opens[1]
