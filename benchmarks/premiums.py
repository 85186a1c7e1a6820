"""Premiums: one validated premium beside each source, the median and the mean; confidence, spikes, thresholds.

Every issue of `gmp_multi_source.csv` is validated as it stood on its eve, by sources that had been scored on earlier
listings alone; what came is the first trade where it is known, else the close of the listing day. Errors are in points
of the issue price; intervals are of 95 %, by bootstrap over issues. Source of the tables: ../shared, which need not be
there.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, time, timedelta
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.report import Report, Rows, Tables
from market.ipo.confidence import TOLERANCE_POINTS, fitted
from market.ipo.facts import Told
from market.ipo.kinds import Segment
from market.ipo.profit import MOST_AMOUNT, MOST_POINTS, Came, Joined, Thresholds, measured
from market.ipo.validation import Limits, ValidatedGmp, Validator
from market.money import money
from market.sessions import at

CLEAN = Path(__file__).resolve().parents[1] / ".." / "shared" / "fixtures" / "ipo" / "clean"
THREE = ("investorgain_board_final", "ipocentral_daily_last", "ipogyani_day5")
SOURCES = (*THREE, "investorgain_daily_last")
WEIGHTED, MEDIAN, MEAN = "weighted (ours)", "plain median", "plain mean"
BUCKETS = 5
DRAWS, SEED, LEVELS = 2000, 7, (0.025, 0.975)
APART = (0.0, 2.0, 5.0, 10.0, np.inf)

Floats = npt.NDArray[np.float64]


class Walked(NamedTuple):
    """An issue on its eve: what each source said, in points, what was believed, and the gain that came, by the first
    trade where `opened`.
    """

    listing: date
    mainboard: bool
    said: dict[str, float]
    found: ValidatedGmp
    gain: float
    opened: bool


class Chosen(NamedTuple):
    """Issues that are looked at together."""

    title: str
    takes: Callable[[Walked], bool]


SETS = (
    Chosen("first trade, all three sources", lambda one: one.opened and all(name in one.said for name in THREE)),
    Chosen("first trade, two sources or more", lambda one: one.opened and len(one.said) > 1),
    Chosen("close of the listing day, SME", lambda one: not one.opened and not one.mainboard),
)


def run(out: Report) -> None:
    """Every table."""
    if not CLEAN.is_dir():
        out.say("the recorded tables are not beside the repository")
        return
    for title, rows in tables(CLEAN):
        out.table(title, rows)


def tables(clean: Path) -> Tables:
    """All of it, from a folder of tables."""
    walk = walked(clean)
    for chosen in SETS:
        issues = [one for one in walk if chosen.takes(one)]
        yield f"Error against what came: {chosen.title}", errors(issues)
    yield "Confidence against what came, later half of the issues", calibration(walk)
    yield "How far sources are apart, and what that tells", disagreement(walk)
    yield "How far two sources are apart on the same issue", pairs(walk)
    yield "Spikes of the daily series", [_spikes(clean, None), _spikes(clean, 0.08)]
    yield "Precision of thresholds, against a gain of 10 points", profits(clean)


def read(clean: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table."""
    with (clean / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def walked(clean: Path) -> list[Walked]:
    """Every issue with an outcome as it stood on its eve, oldest listing first."""
    master = {row["ipo_id"]: row for row in read(clean, "ipo_master.csv")}
    by_issue: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read(clean, "gmp_multi_source.csv"):
        if row["issue_price"] and (row["gain_open_pct"] or row["gain_close_pct"]):
            by_issue[row["ipo_id"]].append(row)
    validator, found = Validator(), []
    for issue, said in sorted(by_issue.items(), key=lambda one: (master[one[0]]["listing_date"], one[0])):
        listing, mainboard = date.fromisoformat(master[issue]["listing_date"]), master[issue]["segment"] == "MB"
        eve = at(listing - timedelta(days=1), time(18))
        for row in said:
            stamp = at(date.fromisoformat(row["as_of"]), time(18)) if row["as_of"] else eve
            gmp = money(str(round(float(row["gmp_rs"]), 2)))
            told = Told(source=row["source"], name=issue, at=min(stamp, eve), gmp=gmp)
            validator.read(issue, told, money(row["issue_price"]), Segment.MAINBOARD if mainboard else Segment.SME)
        believed = validator.validate(issue, eve)
        opened = bool(said[0]["gain_open_pct"])
        gain = float(said[0]["gain_open_pct"] or said[0]["gain_close_pct"])
        values = {row["source"]: float(row["gmp_pct"]) for row in said}
        found.append(Walked(listing, mainboard, values, believed, gain, opened))
        validator.score(issue, gain, at(listing, time(10)))
    return found


def errors(issues: Sequence[Walked]) -> Rows:
    """Of each way to make one premium of them: over all, by halves in time, and by year."""
    half = issues[len(issues) // 2].listing
    periods: dict[str, Callable[[date], bool]] = {
        "all": lambda day: True,
        f"before {half}": lambda day: day < half,
        f"from {half}": lambda day: day >= half,
    }
    for year in sorted({one.listing.year for one in issues}):
        periods[str(year)] = lambda day, year=year: day.year == year
    return [
        row
        for period, within in periods.items()
        for row in _errors(period, [one for one in issues if within(one.listing)])
    ]


def _errors(period: str, issues: Sequence[Walked]) -> Iterator[dict[str, object]]:
    ours = _off(issues, lambda one: one.found.points)
    ways: dict[str, Callable[[Walked], float | None]] = {WEIGHTED: lambda one: one.found.points}
    ways |= {name: lambda one, name=name: one.said.get(name) for name in SOURCES}
    ways[MEDIAN] = lambda one: float(np.median(list(one.said.values())))
    ways[MEAN] = lambda one: float(np.mean(list(one.said.values())))
    for name, way in ways.items():
        off = _off(issues, way)
        if not np.isfinite(off).any():
            continue
        mean, low, high = interval(off[np.isfinite(off)])
        row: dict[str, object] = {"period": period, "premium": name, "n": int(np.isfinite(off).sum())}
        row |= {"mae": mean, "from": low, "to": high}
        both = np.isfinite(off) & np.isfinite(ours)
        gap = interval((off - ours)[both]) if name != WEIGHTED and both.any() else (None, None, None)
        yield row | dict(zip(("ours better by", "better from", "better to"), gap, strict=True))


def _off(issues: Sequence[Walked], way: Callable[[Walked], float | None]) -> Floats:
    said = [way(one) for one in issues]
    return np.array([
        np.nan if value is None else abs(value - one.gain) for one, value in zip(issues, said, strict=True)
    ])  # fmt: skip


def interval(values: Floats) -> tuple[float, float, float]:
    """The mean and its bootstrap interval of 95 %."""
    drawn = np.random.default_rng(SEED).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), LEVELS)
    return _rounded(values.mean()), _rounded(low), _rounded(high)


def _rounded(value: np.float64) -> float:
    return round(float(value), 2) + 0.0  # and no -0.0


def calibration(walk: Sequence[Walked]) -> Rows:
    """Confidence in buckets of equal size over the later half, beside how many gains came within the tolerance: as it
    is shipped (its parts were fitted to all these issues), and with parts fitted to the earlier half alone.
    """
    known = [
        (one.found.doubts, abs(one.found.points - one.gain), one.found.confidence)
        for one in walk
        if one.found.doubts is not None and one.found.points is not None
    ]
    half = len(known) // 2
    early, late = known[:half], known[half:]
    again = fitted([doubts for doubts, _, _ in early], [off for _, off, _ in early])
    near = np.array([off <= TOLERANCE_POINTS for _, off, _ in late])
    said = {
        "as shipped, fitted to all": np.array([confidence for _, _, confidence in late]),
        "fitted to the earlier half": np.array([again.of(doubts) for doubts, _, _ in late]),
    }
    return [row for parts, p in said.items() for row in _buckets(parts, p, near)]


def _buckets(parts: str, p: Floats, near: npt.NDArray[np.bool_]) -> Iterator[dict[str, object]]:
    for number, bucket in enumerate(np.array_split(np.argsort(p, kind="stable"), BUCKETS), 1):
        share, low, high = interval(near[bucket].astype(np.float64))
        told = _rounded(p[bucket].mean())
        row: dict[str, object] = {"confidence": parts, "bucket": number, "n": len(bucket), "said": told}
        yield row | {"came": share, "from": low, "to": high}


def disagreement(walk: Sequence[Walked]) -> Rows:
    """Issues by how far the used sources are from the premium, in points: the error that came of it."""
    found = []
    single = [one for one in walk if one.found.points is not None and one.found.disagreement_points is None]
    groups = [("one source", single)]
    for low, high in pairwise(APART):
        inside = [one for one in walk if low <= _apart(one) < high]
        groups.append((f"{low:g} to {high:g} points" if np.isfinite(high) else f"{low:g} points and more", inside))
    for title, issues in groups:
        if issues:
            off = _off(issues, lambda one: one.found.points)
            mean, low, high = interval(off)
            said = _rounded(np.mean([one.found.confidence for one in issues]))
            came = _rounded((off <= TOLERANCE_POINTS).mean())
            row = {"apart": title, "n": len(issues), "mae": mean, "from": low, "to": high}
            found.append(row | {"confidence said": said, "came": came})
    return found


def _apart(one: Walked) -> float:
    apart = one.found.disagreement_points
    return -1.0 if apart is None else apart


def pairs(walk: Sequence[Walked]) -> Rows:
    """The distance of each two sources, in points."""
    found = []
    for a, b in combinations(SOURCES, 2):
        gaps = np.array([abs(one.said[a] - one.said[b]) for one in walk if a in one.said and b in one.said])
        if len(gaps):
            shares = {"within 2": _rounded((gaps <= 2).mean()), "over 8": _rounded((gaps > 8).mean())}
            found.append({"sources": f"{a}, {b}", "n": len(gaps), "mean apart": _rounded(gaps.mean())} | shares)
    return found


def spikes(clean: Path, relative: float | None) -> tuple[int, int, int]:
    """How often a day's premium is a spike beside the day before, over every series before its listing: days with a day
    before them, alarms, series.
    """
    series: defaultdict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for row in read(clean, "gmp_daily.csv"):
        if row["issue_price"] and int(row["days_to_listing"]) > 0:
            series[row["ipo_id"], row["site"]].append((row["date"], row["gmp_rs"], row["issue_price"]))
    days = alarms = 0
    for (issue, site), told in series.items():
        validator = Validator(limits=Limits(relative_spike=relative))
        for day, gmp, price in sorted(told):
            stamp = at(date.fromisoformat(day), time(18))
            said = Told(source=site, name=issue, at=stamp, gmp=money(str(round(float(gmp), 2))))
            validator.read(issue, said, money(price), Segment.SME)
            alarms += validator.validate(issue, stamp).spike is not None
        days += len(told) - 1
    return days, alarms, len(series)


def _spikes(clean: Path, relative: float | None) -> dict[str, object]:
    days, alarms, series = spikes(clean, relative)
    points = f"{Limits().spike_points:g} points of the issue price"
    rule = points if relative is None else f"{relative:.0%} of the premium"
    return {"rule": rule, "series": series, "days": days, "alarms": alarms, "rate": round(alarms / days, 4)}


def profits(clean: Path) -> Rows:
    """How often thresholds on the last premium were right: first trades of the mainboard, and all closes."""
    rules = {
        "10 points": Thresholds(amount=MOST_AMOUNT),
        "20 rupees": Thresholds(points=MOST_POINTS),
        "10 points OR 20 rupees (the default)": Thresholds(),
        "10 points AND 20 rupees": Thresholds(joined=Joined.AND),
    }
    master = [row for row in read(clean, "ipo_master.csv") if row["gmp_last"] and row["issue_price"]]
    opens = [row for row in master if row["segment"] == "MB" and row["gain_open_pct"]]
    closes = [row for row in master if row["gain_close_pct"]]
    found = []
    for title, rows, field in (
        ("mainboard, first trade", opens, "gain_open_pct"),
        ("all, close", closes, "gain_close_pct"),
    ):
        rows = sorted(rows, key=lambda row: row["listing_date"])
        half = rows[len(rows) // 2]["listing_date"]
        periods = {
            "all": rows,
            f"before {half}": [row for row in rows if row["listing_date"] < half],
            f"from {half}": [row for row in rows if row["listing_date"] >= half],
        }
        for period, part in periods.items():
            came = [Came(money(row["gmp_last"]), money(row["issue_price"]), float(row[field])) for row in part]
            for rule, thresholds in rules.items():
                found.append({"issues": title, "period": period, "rule": rule} | _precision(came, thresholds))
    return found


def _precision(came: Sequence[Came], thresholds: Thresholds) -> dict[str, object]:
    told = measured(came, thresholds)
    shares = {name: getattr(told, name) for name in ("precision", "recall", "accuracy")}
    rounded = {name: None if share is None else round(share, 3) for name, share in shares.items()}
    return {"n": told.issues, "flagged": told.flagged} | rounded
