"""Features in bulk: parts that come to what the whole comes to, with corporate actions as they were known."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from adapters import actions
from adapters.lake import Lake
from adapters.schemas import candle_table
from market import features
from market.actions import Action, Kind
from market.candles import CANDLE, Candles, Provenance
from market.features import FEATURES, Market, Members
from market.holidays import sessions_of
from market.instruments import Instrument
from market.instruments import Kind as Sort
from market.sessions import MINUTE, Session, day_number
from pipelines.features import FeaturesPlan, Part, Work, parts

SCALES = np.array([feature.scale for feature in FEATURES])
SHARES = (
    Instrument(id=0, symbol="NSE:A", sector="Metals"),
    Instrument(id=1, symbol="NSE:B", sector="Metals"),
    Instrument(id=2, symbol="NSE:C", sector="Power"),
    Instrument(id=3, symbol="NSE:NIFTY 50", kind=Sort.INDEX),
)
SESSIONS = tuple(sessions_of("NSE", date(2016, 8, 1), date(2016, 8, 12), []))
LAST = SESSIONS[-1].date


def walk(share: int, session: Session, level: float = 100.0) -> Candles:
    """A session of one share's minutes: a random walk with quiet minutes and a gap of ten."""
    rng = np.random.default_rng([share, day_number(session.date)])
    count = (session.close - session.open) // MINUTE
    rows = np.zeros(count, CANDLE)
    rows["instrument"], rows["interval"], rows["session"] = share, 60, day_number(session.date)
    rows["start"] = session.open + np.arange(count) * MINUTE
    close = np.rint(level * 10_000 * np.exp(rng.normal(0, 0.001, count).cumsum())).astype(np.int64)
    rows["close"], rows["open"] = close, np.append(close[:1], close[:-1])
    rows["high"], rows["low"] = np.maximum(rows["open"], close) + 500, np.minimum(rows["open"], close) - 500
    rows["volume"] = 0 if share == 3 else rng.integers(0, 5, count) * 100
    rows["trades"] = np.where(rows["volume"] > 0, 1, 0)
    rows["vwap"], rows["completeness"], rows["provenance"] = close, 1.0, Provenance.LIVE
    gap = slice(100 + share, 110 + share)
    rows["provenance"][gap] = Provenance.GAP
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name][gap] = np.iinfo(np.int64).min
    return rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten sessions of four instruments."""
    found = Lake(str(tmp_path / "lake"))
    rows = np.concatenate([walk(share.id, session) for session in SESSIONS for share in SHARES])
    found.append("candles", candle_table(rows, [s.symbol for s in SHARES]), {"test": 1})
    return found


def plan(lake: Lake, **given: object) -> FeaturesPlan:
    """Of the last five sessions."""
    told = {
        "lake": lake._root,
        "instruments": SHARES,
        "symbols": tuple(s.symbol for s in SHARES),
        "sessions": SESSIONS,
        "first": SESSIONS[5].date,
        "last": LAST,
        "now": 1,
    }
    return FeaturesPlan(**{**told, **given})


def computed(work: Work, of: list[Part]) -> np.ndarray:
    """The rows of parts, by instrument and start."""
    spans = {(part.first, part.last) for part in of}
    symbols = [i.symbol for i in work.plan.instruments]
    markets = {span: Market(work.sums(symbols, *span)[0], work.members) for span in spans}
    rows = np.concatenate([work.rows(part, markets[part.first, part.last])[0] for part in of])
    return rows[np.lexsort((rows["start"], rows["instrument"]))]


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether rows are equal as design section 10 says: 1e-9 of the value or of the feature's scale."""
    allowed = 1e-9 * np.maximum(np.abs(np.nan_to_num(wanted["values"])), SCALES)
    near = np.abs(found["values"] - wanted["values"]) <= allowed
    both = np.isnan(found["values"]) & np.isnan(wanted["values"])
    named = ["instrument", "start", "session", "revision", "unknown"]
    return bool((near | both).all()) and all((found[n] == wanted[n]).all() for n in named)


def test_parts_name_each_instrument_and_session_once(lake: Lake) -> None:
    found = parts(plan(lake, group=3, span=2), "run", {"candles": 4})

    held = [(s, d.date) for p in found for s in p.symbols for d in SESSIONS if p.first <= d.date <= p.last]
    assert sorted(held) == sorted((s.symbol, d.date) for s in SHARES for d in SESSIONS[5:])
    assert len({p.name for p in found}) == len(found) == 6


def test_small_parts_come_to_what_the_whole_series_comes_to(lake: Lake) -> None:
    small, whole = plan(lake, group=1, span=1), plan(lake, first=SESSIONS[0].date, span=99)
    base = {"candles": lake.version("candles")}

    found = computed(Work(small, base), parts(small, "run", base))
    wanted = computed(Work(whole, base), parts(whole, "run", base))

    wanted = wanted[wanted["session"] >= day_number(SESSIONS[5].date)]
    assert len(found) == 4 * 5 * 375
    assert np.isfinite(found["values"]).any(axis=0).sum() > len(FEATURES) / 2
    assert same(found, wanted)


def test_a_split_known_before_its_open_moves_nothing_but_the_days_before(lake: Lake, tmp_path: Path) -> None:
    ex = SESSIONS[7]
    halved = Lake(str(tmp_path / "halved"))
    rows = [walk(s.id, d, 50.0 if s.id == 0 and d.date >= ex.date else 100.0) for d in SESSIONS for s in SHARES]
    halved.append("candles", candle_table(np.concatenate(rows), [s.symbol for s in SHARES]), {"test": 1})
    actions.add(halved, [split(known=ex.open - 1)])

    found, wanted = (computed(Work(plan(of), bases(of)), parts(plan(of), "run", bases(of))) for of in (halved, lake))

    late = found["session"] >= day_number(ex.date)
    return_day = features.NAMES.index("return_day")
    assert np.nanmax(np.abs(found["values"][late][:, return_day])) < 0.2
    assert np.allclose(
        found["values"][late][:, return_day], wanted["values"][late][:, return_day], atol=1e-4, equal_nan=True
    )


def test_a_split_that_became_known_late_counts_from_the_next_open_on(lake: Lake) -> None:
    ex, after = SESSIONS[6], SESSIONS[8]
    actions.add(lake, [split(ex_date=ex.date, known=after.open - 1)])
    base = bases(lake)

    found = computed(Work(plan(lake), base), parts(plan(lake), "run", base))

    gap = features.NAMES.index("gap")
    mine = found[(found["instrument"] == 0) & (found["unknown"] == 0)]
    at = {d.date: mine["values"][mine["session"] == day_number(d.date)][0, gap] for d in SESSIONS[5:]}
    assert abs(at[ex.date]) < 0.2  # nobody knew: the walk goes on
    assert abs(at[SESSIONS[9].date]) < 0.2  # both sides are in the same shares


def test_a_split_that_was_withdrawn_counts_until_then(lake: Lake) -> None:
    ex, withdrawn = SESSIONS[6], SESSIONS[8]
    told = split(ex_date=ex.date, known=ex.open - 1)
    actions.add(lake, [told])
    before = computed(Work(plan(lake), bases(lake)), parts(plan(lake), "run", bases(lake)))

    actions.add(lake, [told.model_copy(update={"void": True, "factor": None, "known": withdrawn.open - 1})])
    after = computed(Work(plan(lake), bases(lake)), parts(plan(lake), "run", bases(lake)))

    early = before["session"] < day_number(withdrawn.date)
    assert same(after[early], before[early])
    assert not same(after[~early], before[~early])


def test_an_instrument_that_fails_is_told_and_the_others_go_on(lake: Lake) -> None:
    def compute(minutes: Candles, *given: object) -> np.ndarray:
        if (minutes["instrument"] == 1).any():
            raise ArithmeticError("no such number")
        return features.compute(minutes, *given)

    base = bases(lake)
    work = Work(plan(lake), base, compute)
    part = parts(plan(lake), "run", base)[0]
    market = Market(work.sums([s.symbol for s in SHARES], part.first, part.last)[0], work.members)

    rows, failures, seen = work.rows(part, market)

    assert [(f.symbol, f.reason) for f in failures] == [("NSE:B", "ArithmeticError: no such number")]
    assert sorted(seen) == ["NSE:A", "NSE:C", "NSE:NIFTY 50"]
    assert set(rows["instrument"].tolist()) == {0, 2, 3}


def test_an_instrument_that_cannot_be_summed_is_left_out_of_the_market_and_told(lake: Lake) -> None:
    work = Work(plan(lake), bases(lake))
    broken = Work(plan(lake), bases(lake))
    broken.members = Members(work.members.group[:2], work.members.sectors)

    sums, failures = broken.sums([s.symbol for s in SHARES], SESSIONS[5].date, LAST)
    fewer, none = work.sums(["NSE:A", "NSE:B"], SESSIONS[5].date, LAST)

    assert [f.symbol for f in failures] == ["NSE:C", "NSE:NIFTY 50"]
    assert none == []
    assert (sums == fewer).all()


def bases(lake: Lake) -> dict[str, int]:
    """The newest version of each table that is there."""
    found = {"candles": lake.version("candles")}
    if actions.known(lake).records:
        found["actions"] = lake.version("actions")
    return found


def split(known: int, ex_date: date = SESSIONS[7].date) -> Action:
    """One share of A became two."""
    return Action(
        symbol="NSE:A",
        kind=Kind.SPLIT,
        ex_date=ex_date,
        factor=Fraction(1, 2),
        known=known,
        recorded=known,
        source="nse",
    )
