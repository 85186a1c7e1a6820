"""Reports: the verdict stands first, the baselines beside every model, and nothing from outside runs in the page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from datetime import date, timedelta

import pytest

from market.evaluation import Outcome, Score, Verdict
from pipelines import reports
from pipelines.reports import Curve, Report, Row

DAYS = tuple(date(2016, 8, 16) + timedelta(days=k) for k in range(4))
NO = Verdict(outcome=Outcome.NO_EDGE, reason="No edge after costs: the net return is -1 %.", net=-0.01)


def row(name: str, kind: str, nets: tuple[float, float]) -> Row:
    folds = tuple(Score(rows=100, answered=90, days=2, net=net, brier=0.6, trades=9) for net in nets)
    curve = Curve(
        days=DAYS,
        daily=(nets[0] / 2, nets[0] / 2, nets[1] / 2, nets[1] / 2),
        said=(None, 0.15, 0.25, *[None] * 7),
        came=(None, 0.1, 0.3, *[None] * 7),
        counts=(0, 60, 40, *[0] * 7),
    )
    return Row(name=name, kind=kind, folds=folds, verdict=NO, curve=curve)


@pytest.fixture
def report() -> Report:
    return Report(
        horizon="15m",
        verdict=NO,
        rows=(row("ensemble", "ensemble", (0.01, -0.02)), row("no-trade", "baseline", (0.0, 0.0))),
        baselines=("no-trade",),
        symbols=("NSE:M&M", "NSE:<script>alert(1)</script>"),
        empty=(),
        first=DAYS[0],
        last=DAYS[-1],
        sessions=4,
        examples=200,
        labels={"DOWN": 50, "FLAT": 100, "UP": 50},
        features="f1",
        lake={"candles": 4},
        parameters={"folds": 2, "embargo": 1, "cost": 0.001},
        seed=7,
        spans=((DAYS[0], DAYS[1]), (DAYS[2], DAYS[3])),
        sizes=((10, 5, 100), (20, 5, 100)),
        weights=({"linear": 0.25, "xgboost": 0.75}, {"linear": 1.0, "xgboost": 0.0}),
        threshold=None,
        files={"manifest.json": "00" * 32},
        revision="abc",
    )


def test_the_verdict_stands_before_the_table(report: Report) -> None:
    page = reports.page(report)

    assert "<strong>NO_EDGE</strong>:\nNo edge after costs: the net return is -1 %." in page
    assert page.index("NO_EDGE") < page.index("<table>")
    assert "no-trade (baseline)" in page


def test_what_came_from_outside_is_escaped(report: Report) -> None:
    page = reports.page(report)

    assert "<script" not in page
    assert "NSE:M&amp;M, NSE:&lt;script&gt;" in page


def test_mean_and_deviation_over_folds_stand_in_the_table(report: Report) -> None:
    table = reports.markdown(report)

    line = next(line for line in table.splitlines() if line.startswith("| ensemble"))
    assert "| -0.500% ± 2.121% |" in line  # 1 % and -2 %
    assert "| - |" in line


def test_every_plot_is_well_formed_and_says_its_units(report: Report) -> None:
    plots = [reports.net_plot(report), reports.fold_plot(report), reports.calibration_plot(report)]

    texts = [" ".join(ElementTree.fromstring(plot).itertext()) for plot in plots]  # noqa: S314  (our own)
    assert all("net return after costs, %" in text for text in texts[:2])
    assert "p_up as said, 0 to 1" in texts[2] and "share that went UP, 0 to 1" in texts[2]
    assert len(re.findall("<circle", plots[2])) == 2
    assert len(re.findall("<polyline", plots[0])) == 2


def test_the_line_of_net_return_ends_at_the_sum(report: Report) -> None:
    points = re.search(r'points="([^"]+)"', reports.net_plot(report))

    assert points is not None
    ys = [float(point.split(",")[1]) for point in points[1].split()]
    zero = (reports.HEIGHT - reports.BOTTOM) * 1.0
    low, high = -1.0 - 0.1, 1.0 + 0.1  # of +0.5, +1, 0, -1 %, and a twentieth of room
    assert ys == pytest.approx(
        [zero - (v - low) / (high - low) * (zero - reports.TOP) for v in (0.5, 1.0, 0.0, -1.0)], abs=0.06
    )


def test_the_record_comes_back_as_it_was(report: Report) -> None:
    assert Report.model_validate_json(report.model_dump_json()) == report
