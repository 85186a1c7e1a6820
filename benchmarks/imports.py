"""Import: recorded files of candles into an empty lake, end to end, a kill half-way, and a second time.

Each file in a process of its own, which says its peak memory; rows are those read, time is from the digest of the file
to the last commit, one core. The kill is a SIGKILL while a later part is at work; the run after it finishes the file.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.report import Report

MARKET = Path(__file__).resolve().parents[1] / ".." / "shared" / "fixtures" / "market"
RENAMES = {"NIFTY": "NIFTY 50", "BANKNIFTY": "NIFTY BANK"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "153 shares x 14 sessions of minutes": ("nse_1min_2016/bars.parquet", {"label": "start"}),
    "464 shares x 5 years of days": ("nse_daily_500_raw/bars.parquet", {}),
    "39 shares x 21 years of official days": ("nse_daily_nifty50_raw/bars.parquet", {"official": True}),
    "2 indices x 18 months of minutes": (
        "nse_index_1min_2021_2023/bars.parquet",
        {"columns": {"time": "label"}, "label": "end", "renames": RENAMES},
    ),
    "India VIX, 10 years of days": ("india_vix_daily/vix.parquet", {"symbol": "NSE:INDIA VIX"}),
}
KILLED = "153 shares x 14 sessions of minutes"
SMALL = 100_000


def run(out: Report) -> None:
    """Every file, then the kill."""
    if not MARKET.is_dir():
        out.say(f"there is no {MARKET.parts[-3]} beside the repository: nothing to import")
        return
    for case in CASES:
        with tempfile.TemporaryDirectory() as lake:
            found, again = _measured(case, lake), _measured(case, lake)
            out.add(case, "rows/s", found["read"] / found["seconds"])
            out.add(case, "peak memory, MiB", found["peak"])
            out.add(case, "rows refused", sum(found["refused"].values()))
            out.add(case, "a second time, candles added", again["added"])
            for reason, count in found["refused"].items():
                out.say(f"{case}: {count} refused: {reason}")
    _killed(out)


def _killed(out: Report) -> None:
    with tempfile.TemporaryDirectory() as lake:
        with subprocess.Popen(_command(KILLED, lake, SMALL), stdout=subprocess.PIPE, text=True) as importer:
            assert importer.stdout is not None
            for _ in range(3):
                importer.stdout.readline()
            importer.send_signal(signal.SIGKILL)
        found = _measured(KILLED, lake, SMALL)
        stored, keys = _stored(lake)
    out.add(f"{KILLED}, killed", "parts of the first run", found["known"])
    out.add(f"{KILLED}, killed", "candles after the second", stored)
    out.add(f"{KILLED}, killed", "of them doubled", stored - keys)


def _command(case: str, lake: str, rows: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.imports", case, lake, str(rows)]


def _measured(case: str, lake: str, rows: int = 0) -> dict[str, Any]:
    done = subprocess.run(_command(case, lake, rows), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _stored(lake: str) -> tuple[int, int]:
    from adapters.lake import Lake

    rows = Lake(lake).dataset("candles").to_table(columns=["symbol", "start"])
    return len(rows), len(rows.group_by(["symbol", "start"]).aggregate([]))


def _one(case: str, lake: str, rows: int) -> None:
    """What a process of its own does: a line a part, and last the figures."""
    from adapters.sheets import PIECE_ROWS, opened, surveyed
    from market.holidays import sessions_of
    from market.imports import Asked, recognised, understood
    from pipelines.imports import ImportPlan
    from pipelines.imports import run as take

    name, said = CASES[case]
    asked = Asked.model_validate(said)
    began = time.perf_counter()
    sheet = opened(MARKET / name)
    columns = recognised(sheet.columns, asked.columns)
    form = understood(asked, columns, surveyed(sheet, columns, "NSE"))
    tables = {"NSE": sessions_of("NSE", date(2000, 1, 1), date(2023, 12, 29)).table().tolist()}
    told = {"lake": lake, "files": (sheet.path,), "form": form, "tables": tables, "now": time.time_ns()}
    plan = ImportPlan(**told, piece_rows=rows or PIECE_ROWS, commit_rows=rows or None)
    tally = take(plan, lambda share, text: print(share, flush=True))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**tally.model_dump(), "seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    _one(sys.argv[1], sys.argv[2], int(sys.argv[3]))
