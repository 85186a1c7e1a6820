"""Reports: what a training run found, as a record and as a page with plots that needs nothing else.

The verdict stands first, the baselines beside every model, and each figure as mean and deviation over folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from market.evaluation import Score, Verdict, spread
from market.records import Record

TEMPLATE = Path(__file__).with_name("report.html")

COLOURS = ("#1f5fbf", "#c2571a", "#1b7f4b", "#8a3fa0", "#9a7b00", "#c03a5b", "#4f6d7a", "#777777", "#0a8a8a")
WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 44
TICKS = 5


class Curve(Record):
    """What plots are made of: the net return of each test session, and the calibration curve of p_up.

    `said`, `came`, `counts`: by bin, mean probability, share that went UP, decisions; None where there was none.
    """

    days: tuple[date, ...]
    daily: tuple[float, ...]
    said: tuple[float | None, ...]
    came: tuple[float | None, ...]
    counts: tuple[int, ...]


class Row(Record):
    """A model or a baseline: its score in each fold. `kind`: ensemble, member or baseline."""

    name: str
    kind: str
    folds: tuple[Score, ...]
    verdict: Verdict
    curve: Curve

    def over_folds(self, field: str) -> tuple[float | None, float | None]:
        """Mean and deviation of a figure over the folds in which it could be told."""
        return spread([getattr(fold, field) for fold in self.folds])


class Report(Record):
    """A run: the ensemble's verdict, all rows, and what they were made from.

    `sizes`: of each fold, decisions learnt from, held back, tested on; `threshold`: of what is served, None: it found
    nothing worth acting on; `files`: of what is served, name to SHA-256.
    """

    horizon: str
    verdict: Verdict
    rows: tuple[Row, ...]
    baselines: tuple[str, ...]
    symbols: tuple[str, ...]
    empty: tuple[str, ...]
    first: date
    last: date
    sessions: int
    examples: int
    labels: Mapping[str, int]
    features: str
    lake: Mapping[str, int]
    parameters: Mapping[str, bool | int | float | str]
    seed: int
    spans: tuple[tuple[date, date], ...]
    sizes: tuple[tuple[int, int, int], ...]
    weights: tuple[Mapping[str, float], ...]
    threshold: float | None
    files: Mapping[str, str]
    revision: str = ""

    def row(self, name: str) -> Row:
        """That of a model or baseline."""
        return next(row for row in self.rows if row.name == name)


class Column(NamedTuple):
    """A figure of the table: its field, its head, its format, and what it is."""

    field: str
    title: str
    form: str
    says: str

    def mean(self, row: Row) -> str:
        """Of the folds, or a dash where it cannot be told."""
        mean = row.over_folds(self.field)[0]
        return "-" if mean is None else self.form.format(mean)

    def cell(self, row: Row) -> str:
        """Mean ± deviation, or a dash where it cannot be told."""
        mean, deviation = row.over_folds(self.field)
        if mean is None:
            return "-"
        return self.form.format(mean) + (
            "" if deviation is None else f" ± {self.form.replace('+', '').format(deviation)}"
        )


COLUMNS = (
    Column("ic", "IC", "{:.4f}", "Spearman's correlation of p_up - p_down with the return, mean of days"),
    Column("ic_t", "IC t", "{:.2f}", "t of the IC over the days"),
    Column("auc_up", "AUC up", "{:.4f}", "area under the curve of UP against the rest; 0.5 knows nothing"),
    Column("auc_down", "AUC down", "{:.4f}", "the same of DOWN"),
    Column("brier", "Brier", "{:.4f}", "squared error of the three probabilities, 0 to 2; lower is better"),
    Column("brier_base", "base Brier", "{:.4f}", "that of the base rates, on the same decisions"),
    Column("log_loss", "log loss", "{:.4f}", "mean of -log of the probability of what came, in nats"),
    Column("calibration_error", "calib. error", "{:.4f}", "how far probabilities lie from what came, 0 to 1, mean"),
    Column("accuracy", "accuracy", "{:.2%}", "of the side where the outcome was not FLAT"),
    Column("answered", "answered", "{:,.0f}", "decisions a fold on which it did not abstain"),
    Column("trades", "trades", "{:,.0f}", "a fold, by the threshold learnt on the part held back"),
    Column("per_trade", "net a trade", "{:+.4%}", "after costs, of the money in it"),
    Column("net", "net return", "{:+.3%}", "after costs, sum of a fold's daily returns"),
    Column("sharpe", "Sharpe, daily", "{:.3f}", "mean over deviation of daily net returns, not annualised"),
    Column("top_decile", "top decile", "{:+.4%}", "net a trade, had one acted on the tenth of greatest conviction"),
)


def page(report: Report) -> str:
    """The report as HTML; what came from outside is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        TEMPLATE.read_text("utf-8")
    )
    plots = {"net": net_plot(report), "folds": fold_plot(report), "calibration": calibration_plot(report)}
    marked = {name: Markup(svg) for name, svg in plots.items()}  # noqa: S704  (made of numbers and escaped names)
    return template.render(report=report, columns=COLUMNS, plots=marked)


def markdown(report: Report) -> str:
    """The table as Markdown, for a page under docs/."""
    head = ["model", *(column.title for column in COLUMNS), "verdict"]
    lines = [head, ["---", *("---:" for _ in COLUMNS), "---"]]
    for row in report.rows:
        name = f"{row.name} (baseline)" if row.name in report.baselines else row.name
        lines.append([name, *(column.cell(row) for column in COLUMNS), row.verdict.outcome.value])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(report: Report) -> str:
    """The verdict, the table and what it was made from, as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report.lake.items())
    shares = ", ".join(f"{name} {count / report.examples:.1%}" for name, count in report.labels.items())
    return "\n".join(
        [
            f"**{report.verdict.outcome.value}** {report.verdict.reason}",
            "",
            markdown(report),
            "",
            f"{report.examples:,} decisions ({shares}) in {report.sessions} sessions, {report.first} to {report.last}, "
            f"of {len(report.symbols)} symbols; tested from {report.spans[0][0]} on in {len(report.spans)} folds. "
            f"Lake: {versions}; features {report.features}; seed {report.seed}; code {report.revision}.",
            "",
        ]
    )


def net_plot(report: Report) -> str:
    """Cumulated net return of every row over the test sessions, as SVG."""
    lines = {row.name: [100 * v for v in accumulate(row.curve.daily)] for row in report.rows}
    frame = Frame.around((0, max(len(line) for line in lines.values())), [v for line in lines.values() for v in line])
    days = report.rows[0].curve.days
    drawn = []
    for k, (name, line) in enumerate(lines.items()):
        points = " ".join(f"{frame.x(n + 1):.1f},{frame.y(v):.1f}" for n, v in enumerate([*line]))
        drawn.append(f'<polyline fill="none" stroke="{_colour(k)}" stroke-width="1.5" points="{points}"/>')
        drawn.append(_label(name, k))
    ends = f"test sessions, {days[0]} to {days[-1]}" if days else "test sessions"
    return frame.svg(drawn, ends, "net return after costs, %", side=130)


def fold_plot(report: Report) -> str:
    """Net return of every row in each fold, as bars, as SVG."""
    values = [100 * fold.net for row in report.rows for fold in row.folds]
    count, rows = len(report.spans), len(report.rows)
    frame = Frame.around((0.5, count + 0.5), values)
    width = (frame.x(1) - frame.x(0)) * 0.8 / rows
    drawn = []
    for k, row in enumerate(report.rows):
        for n, fold in enumerate(row.folds):
            top, zero = frame.y(100 * fold.net), frame.y(0.0)
            x = frame.x(n + 1) + (k - rows / 2) * width
            drawn.append(
                f'<rect x="{x:.1f}" y="{min(top, zero):.1f}" width="{width:.1f}" height="{abs(top - zero):.1f}" '
                f'fill="{_colour(k)}"/>'
            )
        drawn.append(_label(row.name, k))
    return frame.svg(drawn, "fold", "net return after costs, %", side=130)


def calibration_plot(report: Report) -> str:
    """What the ensemble said of UP against what came, as SVG."""
    curve = report.row("ensemble").curve
    frame = Frame((0.0, 1.0), (0.0, 1.0))
    drawn = [
        f'<line x1="{frame.x(0)}" y1="{frame.y(0)}" x2="{frame.x(1)}" y2="{frame.y(1)}" stroke="#9aa5b1" '
        'stroke-dasharray="4 3"/>'
    ]
    most = max(max(curve.counts), 1)
    for said, came, count in zip(curve.said, curve.came, curve.counts, strict=True):
        if said is not None and came is not None:
            size = 2 + 6 * (count / most) ** 0.5
            drawn.append(
                f'<circle cx="{frame.x(said):.1f}" cy="{frame.y(came):.1f}" r="{size:.1f}" fill="{COLOURS[0]}" '
                f'fill-opacity="0.8"><title>{count:,} decisions</title></circle>'
            )
    return frame.svg(drawn, "p_up as said, 0 to 1", "share that went UP, 0 to 1", ticks=True)


class Frame(NamedTuple):
    """A plot's field: what its sides stand for."""

    across: tuple[float, float]
    up: tuple[float, float]

    @classmethod
    def around(cls, across: tuple[float, float], values: Sequence[float]) -> Frame:
        """So that all values and 0 are in it."""
        low, high = min([0.0, *values]), max([0.0, *values])
        room = 0.05 * (high - low) or 0.5
        return cls(across, (low - room, high + room))

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (value - self.across[0]) / (self.across[1] - self.across[0]) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return HEIGHT - BOTTOM - (value - self.up[0]) / (self.up[1] - self.up[0]) * (HEIGHT - TOP - BOTTOM)

    def svg(self, drawn: Sequence[str], across: str, up: str, *, ticks: bool = False, side: int = 0) -> str:
        """The whole plot, with axes that say what they are and in what unit."""
        from markupsafe import escape

        axes = []
        for k in range(TICKS + 1):
            value = self.up[0] + (self.up[1] - self.up[0]) * k / TICKS
            y = self.y(value)
            axes.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e4e9ef"/>')
            axes.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
            if ticks:
                at = self.across[0] + (self.across[1] - self.across[0]) * k / TICKS
                place = f'x="{self.x(at):.1f}" y="{HEIGHT - BOTTOM + 14}"'
                axes.append(f'<text {place} text-anchor="middle">{at:.1f}</text>')
        zero = self.y(0.0)
        axes.append(f'<line x1="{LEFT}" y1="{zero:.1f}" x2="{WIDTH - RIGHT}" y2="{zero:.1f}" stroke="#39434f"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        axes.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
        turned = f'transform="translate(14 {(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)"'
        axes.append(f'<text {turned} text-anchor="middle">{escape(up)}</text>')
        size = f'width="{WIDTH + side}" height="{HEIGHT}" viewBox="0 0 {WIDTH + side} {HEIGHT}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>{"".join([*axes, *drawn])}</svg>'


def _label(name: str, place: int) -> str:
    from markupsafe import escape

    y = TOP + 14 * place + 10
    square = f'<rect x="{WIDTH}" y="{y - 8}" width="9" height="9" fill="{_colour(place)}"/>'
    return f'{square}<text x="{WIDTH + 14}" y="{y}">{escape(name)}</text>'


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
