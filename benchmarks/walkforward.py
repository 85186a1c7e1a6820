"""Walk-forward: what the models are worth on the recorded files, after costs, beside the baselines.

The files beside the repository go into a lake of their own, by the same commands an operator would use; corporate
actions are the recorded table and what its audit found. `python -m benchmarks.walkforward FOLDER` keeps the lake and
the reports in FOLDER and prints the tables as Markdown; cases may be named behind it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.actions import CORRECTIONS

MARKET = Path(__file__).resolve().parents[1] / ".." / "shared" / "fixtures" / "market"

BANKS = "AXISBANK,HDFCBANK,ICICIBANK,SBIN,AUBANK,BANDHANBNK,BANKBARODA,FEDERALBNK,IDFCFIRSTB"
SPANS = {"2016": (date(2016, 8, 16), date(2016, 9, 2)), "2023": (date(2023, 4, 3), date(2023, 5, 12))}
CLASSIC = "linear,xgboost"

HEAD = """
cluster_name: walkforward
provider: {type: local}
metadata: {bourse: {universe: nifty50, partitions: 1}}
"""


class Case(NamedTuple):
    """What is trained; `symbols` empty: the universe's shares."""

    title: str
    horizon: str
    span: tuple[date | None, date | None]
    symbols: str = ""
    members: str = CLASSIC
    folds: int = 4
    every: int = 5
    daily: bool = False

    @property
    def command(self) -> str:
        """What an operator would say."""
        words = [f"bourse train --horizon {self.horizon}", f"--members {self.members} --folds {self.folds}"]
        words += [f"--from {self.span[0]} --to {self.span[1]}"] if self.span[0] else []
        words += [f"--symbols {self.symbols}"] if self.symbols else []
        words += ["--daily"] if self.daily else [f"--every {self.every}"]
        return " ".join([*words, "--seed 7 --no-register"])


CASES = {
    "2016-15m": Case("Nifty shares, minutes of 2016, 15 minutes ahead", "15m", SPANS["2016"]),
    "2016-60m": Case("Nifty shares, minutes of 2016, 60 minutes ahead", "60m", SPANS["2016"]),
    "2023-15m": Case("Nine banks, minutes of 2023, 15 minutes ahead", "15m", SPANS["2023"], BANKS, folds=5),
    "2023-60m": Case("Nine banks, minutes of 2023, 60 minutes ahead", "60m", SPANS["2023"], BANKS, folds=5),
    "daily": Case("Nifty shares, days of 2000 to 2021, the next day", "1d", (None, None), daily=True, folds=5),
    "nets": Case(
        "Nifty shares, minutes of 2016, 15 minutes ahead, with the nets",
        "15m",
        SPANS["2016"],
        members=f"{CLASSIC},lstm,transformer,gnn",
        folds=2,
        every=15,
    ),
}

COMMANDS = (
    ("import", "nse_1min_2016/bars.parquet", "--label", "start", "--rename", "INDIAVIX=INDIA VIX"),
    (
        *("import", "nse_1min_banks_2023/bars.parquet", "--label", "start"),
        *("--rename", "INDIAVIX=INDIA VIX,BANKNIFTY=NIFTY BANK"),
    ),
    ("import", "nse_daily_nifty50_raw/bars.parquet", "--official"),
    ("actions", "import", "nse_corporate_actions/actions.parquet", "nse_daily_nifty50_raw/bars.parquet"),
    *(
        ("actions", "set", symbol, kind.lower(), day, *value, "--reason", "found by the audit")
        for symbol, kind, day, *value in (line.split() for line in CORRECTIONS.split("\n") if line)
    ),
    ("features", "--from", "2016-08-16", "--to", "2016-09-02"),
    ("features", "--from", "2023-04-03", "--to", "2023-05-12", "--symbols", BANKS),
)


def main(folder: Path, names: list[str]) -> None:
    """The lake, unless it is there, and each case's report."""
    from cluster.cores import cores
    from cluster.revision import revision
    from cluster.settings import read
    from cluster.training import plan_of, symbols_of
    from pipelines import reports
    from pipelines.training import run

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "cluster.yaml"
    if not config.exists():
        config.write_text(HEAD)
        for words in COMMANDS:
            _bourse(folder, words)
    settings = read(config)
    with cores():
        for name in names or list(CASES):
            case, began = CASES[name], time.monotonic()
            given: dict[str, Any] = {name: getattr(case, name) for name in ("folds", "every", "daily")}
            given |= {"members": tuple(case.members.split(",")), "seed": 7, "embargo": 1}
            plan = plan_of(settings, case.horizon, case.span, symbols_of(settings, case.symbols, ""), given)
            report = run(plan, lambda share, text: None).report.model_copy(update={"revision": revision()})
            (folder / f"{name}.html").write_text(reports.page(report), "utf-8")
            (folder / f"{name}.json").write_text(report.model_dump_json(indent=2), "utf-8")
            print(f"## {case.title}\n\n```\n{case.command}\n```\n\n{reports.summary(report)}", flush=True)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _bourse(folder: Path, words: tuple[str, ...]) -> None:
    named = [str(MARKET / word) if word.endswith(".parquet") else word for word in words]
    code = "from cluster.main import app; app()"
    subprocess.run([sys.executable, "-c", code, *named, "--config", str(folder / "cluster.yaml")], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
