"""The peers of W1, run by their own interpreter (`.venv/peers`): ticks from a file to one-minute candles, timed.

Usage: python peers_w1.py TICKS.npy PEER. Prints one JSON object: ticks, seconds, candles. Both peers get what they
need in their own form before the clock starts, and neither applies our rules for late, duplicate, quiet and missing
ticks.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

MINUTE = 60_000_000_000


def polars_candles(ticks: np.ndarray) -> tuple[int, float, int]:
    """Group by instrument and minute, one thread as we are."""
    import polars as pl

    columns = {n: np.ascontiguousarray(ticks[n]) for n in ("instrument", "at", "price", "day_volume")}
    frame = pl.DataFrame(columns)
    began = time.perf_counter()
    volume = pl.col("day_volume").diff().over("instrument").fill_null(pl.col("day_volume"))
    candles = (
        frame.lazy()
        .with_columns(minute=pl.col("at") // MINUTE, volume=volume)
        .group_by("instrument", "minute")
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("volume").sum(),
        )
        .collect()
    )
    return len(frame), time.perf_counter() - began, len(candles)


def nautilus_candles(ticks: np.ndarray) -> tuple[int, float, int]:
    """One time-bar aggregator an instrument, a test clock moved by the ticks."""
    from nautilus_trader.common.component import TestClock
    from nautilus_trader.data.aggregation import TimeBarAggregator
    from nautilus_trader.model.data import BarSpecification, BarType, TradeTick
    from nautilus_trader.model.enums import AggressorSide, BarAggregation, PriceType
    from nautilus_trader.model.identifiers import TradeId
    from nautilus_trader.model.objects import Price, Quantity
    from nautilus_trader.test_kit.providers import TestInstrumentProvider

    ticks = ticks[:400_000]
    names = np.unique(ticks["instrument"]).tolist()
    clock = TestClock()
    clock.set_time(int(ticks["at"][0]))
    bars: list[object] = []
    made = {}
    for name in names:
        instrument = TestInstrumentProvider.equity(symbol=f"S{name}", venue="NSE")
        kind = BarType(instrument.id, BarSpecification(1, BarAggregation.MINUTE, PriceType.LAST))
        made[name] = (instrument.id, TimeBarAggregator(instrument, kind, bars.append, clock))
    begin = getattr(TimeBarAggregator, "start_timer", None)
    for _, aggregator in made.values():
        if begin is not None:
            begin(aggregator)
    trade = TradeId("1")
    queue = []
    for row in ticks:
        identity, aggregator = made[int(row["instrument"])]
        at = int(row["at"])
        price = Price(int(row["price"]) / 10_000, 2)
        queue.append(
            (at, aggregator, TradeTick(identity, price, Quantity.from_int(7), AggressorSide.BUYER, trade, at, at))
        )
    began = time.perf_counter()
    now = 0
    for at, aggregator, tick in queue:
        if at > now:
            now = at
            for event in clock.advance_time(at):
                event.handle()
        aggregator.handle_trade_tick(tick)
    return len(queue), time.perf_counter() - began, len(bars)


if __name__ == "__main__":
    rows = np.load(sys.argv[1], mmap_mode="r")
    count, seconds, candles = {"polars": polars_candles, "nautilus_trader": nautilus_candles}[sys.argv[2]](rows)
    print(json.dumps({"ticks": count, "seconds": seconds, "candles": candles}))
