"""Mend: after a rough day its holes are repaired from the vendor's history, which answers badly, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cluster.chaos import market
from cluster.chaos.injuries import WELL
from cluster.chaos.victims import House
from cluster.replay import until_settled
from cluster.settings import Settings
from market.errors import LineDown
from market.instruments import Instrument

if TYPE_CHECKING:
    from pipelines.repair import Report

ANSWERS = {"too_many": 0.15, "broken": 0.15}
"""The shares of calls that are answered with 429 and 503."""
ROUNDS = 8


def mend(
    house: House, settings: Settings, instruments: Sequence[Instrument], until: int, say: Callable[[str], None]
) -> None:
    """Repair the day up to `until`, ns UTC, and wait until its corrections are in the lake.

    Raises LineDown when the vendor's troubles outlast `ROUNDS` repairs, or the corrections do not come.
    """
    from cluster.repairs import plan_of
    from pipelines.repair import run

    house.order({**WELL, **ANSWERS})
    symbols = tuple(i.symbol for i in instruments)
    stores = house.instance.stores
    mine = {"instruments": tuple(instruments), "bus": stores.bus, "cache": stores.cache}
    plan = plan_of(settings, symbols, (market.DAY, market.DAY), until, again=False).model_copy(update=mine)
    for _ in range(ROUNDS):
        report: Report = run(plan, lambda _: None)
        say(f"repaired: {report.model_dump(exclude={'failures'})}, {len(report.failures)} failures")
        until_settled(house.instance)
        if not report.failures:
            return
    raise LineDown("repair", f"still failing after {ROUNDS} rounds: {report.failures[0].reason}")
