"""Plans: what Ray can keep of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ray import cloudpickle

from actors.plans import AnalysisPlan, ArchivePlan, BusPlan, CandlesPlan
from market.holidays import sessions_of
from market.instruments import Instrument

KEPT = 100_000
"""Bytes of an argument that Ray keeps beside an actor's definition."""

OF = tuple(
    Instrument(id=k, symbol=f"NSE:SHARE{k}", name=f"Share Number {k}", isin=f"INE{k:09}", tokens={"kite": k * 256 + 1})
    for k in range(500)
)
SESSIONS = tuple(sessions_of("NSE", date(2022, 1, 1), date(2027, 12, 31)))
COMMON: dict[str, Any] = {"bus": "unix:///bus", "cache": "unix:///cache", "partitions": 8, "instruments": OF}


@pytest.mark.parametrize(
    "plan",
    [
        CandlesPlan(**COMMON, sessions=SESSIONS, mine=(0, 1), grace=2),
        ArchivePlan(**COMMON, sessions=SESSIONS, lake="/lake", feeds=("main",)),
        AnalysisPlan(**COMMON, sessions=SESSIONS, lake="/lake", mine=(0, 1)),
    ],
    ids=lambda plan: type(plan).__name__,
)
def test_a_plan_of_five_hundred_instruments_and_six_years_stays_where_a_restart_finds_it(plan: BusPlan) -> None:
    packed = cloudpickle.dumps(plan)

    assert len(packed) < KEPT
    assert cloudpickle.loads(packed) == plan
