"""Dirty input: recorded ticks against bars that others made of them, or that a plain count makes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import dirty
from market.candles import Provenance
from market.money import UNKNOWN
from market.sessions import MINUTE

pytestmark = pytest.mark.skipif(not dirty.FIXTURES.is_dir(), reason="the recorded files are not beside the repository")


def said(found: dirty.Found) -> str:
    return "; ".join(map(str, found.shares)) + f"; {found.counts}"


def test_us_prints_fold_to_the_vendors_minutes() -> None:
    found = dirty.us_minutes()

    assert found.share("volume").rows > 2700 and found.share("volume").share >= 0.995, said(found)
    assert min(found.share(name).share for name in ("open", "high", "low", "close")) >= 0.97, said(found)
    assert "duplicate" not in found.counts and "late" not in found.counts, said(found)


def test_us_prints_fold_to_the_vendors_seconds() -> None:
    found = dirty.us_seconds()

    assert found.share("open").rows > 48_000, said(found)
    assert min(found.share(name).share for name in ("open", "high", "low", "close")) >= 0.98, said(found)


def test_seconds_fold_to_the_vendors_minutes() -> None:
    found = dirty.us_seconds_to_minutes()

    assert found.share("open").rows == 9 * 390 - 1, said(found)
    assert min(found.share(name).share for name in ("open", "high", "low", "close")) >= 0.997, said(found)


def test_futures_out_of_order_and_repeated_lose_no_volume_and_invent_no_price() -> None:
    found = dirty.futures()

    assert [s.share for s in found.shares] == [1.0, 1.0], said(found)
    assert found.counts["unread"] == 1 and found.counts["asks put back"] == found.counts["ticks"] == 4279, said(found)
    assert found.counts["late"] + found.counts["duplicate"] + found.counts["unchanged"] > 3000, said(found)
    per_minute = np.unique(found.candles["start"])
    dead = [
        rows
        for m in per_minute
        if (rows := found.candles[found.candles["start"] == m])["provenance"][0] == Provenance.GAP
    ]
    assert len(dead) >= 36 and all((r["open"] == UNKNOWN).all() and not r["volume"].any() for r in dead), len(dead)


def test_an_index_without_volume_folds_to_its_values() -> None:
    found = dirty.index_ticks()

    assert all(s.share == 1 for s in found.shares) and found.share("open").rows == 10, said(found)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_stream_of_trades_folds_exactly_even_when_every_message_comes_twice(repeated: bool) -> None:
    found = dirty.coins(repeated)

    assert all(s.share == 1 for s in found.shares) and found.counts["unread"] == 0, said(found)
    left_out = found.counts.get("duplicate", 0) + found.counts.get("late", 0)  # a repeat may come behind the frontier
    assert left_out == (9757 if repeated else 0), said(found)


def test_sessions_of_unusual_hours_come_out_as_recorded() -> None:
    found = dirty.odd_sessions()

    assert all(s.share == 1 for s in found.shares), said(found)
    evening = found.candles[found.candles["session"] == 18935]  # 2021-11-04
    assert sorted(np.unique(evening["start"] // MINUTE % 1440)) == list(range(12 * 60 + 45, 13 * 60 + 45))
