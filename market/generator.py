"""Generator: sessions that look like NSE's, out of a seed.

A share's second follows the market, its sector and itself; volatility and volume are high at the open, low past noon
and higher at the close; the night brings a gap. An index is the mean of its members' returns, a volatility index
moves against them. The same seed, session and previous closes give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from market.instruments import Kind
from market.sessions import SECOND, Session, day_number
from market.tape import PACKET, Packets, Tape, fold, running
from market.universes import Listing

Floats = npt.NDArray[np.float64]

DAY_SIGMA = 0.014
MARKET, SECTOR, OWN = 0.45, 0.25, 0.30
"""Shares of a share's variance."""

GAP_SIGMA = 0.006
QUIET = 0.01
"""How often a share's minute has no trade."""

VOLATILITY_BETA = -4.0

SECTORS = {
    "NIFTY IT": "Information Technology",
    "NIFTY AUTO": "Automobile and Auto Components",
    "NIFTY PHARMA": "Healthcare",
    "NIFTY FMCG": "Fast Moving Consumer Goods",
    "NIFTY METAL": "Metals & Mining",
    "NIFTY BANK": "Financial Services",
}
"""Whose shares an index follows; every other index follows all of them."""


def generate(
    listings: Sequence[Listing], session: Session, seed: int, closes: Mapping[int, int] | None = None, rate: float = 1.0
) -> Tape:
    """One session. `closes`: the previous ones by instrument id, the reference prices without.

    `rate`: packets a second of the most traded share, the others fewer, at most one in a step.
    """
    rng = np.random.default_rng([seed, day_number(session.date)])
    before = {one.instrument.id: int(one.reference_price) for one in listings} | dict(closes or {})
    levels = _levels(rng, listings, session, before)
    packets = [_packets(rng, one, levels[k], session, rate) for k, one in enumerate(listings)]
    trades = np.concatenate(packets)
    rows = running(trades[session.holds(trades["at"])], session)
    return Tape(session, rows, before, fold(rows))


def smile(seconds: int, depth: float) -> Floats:
    """(seconds,) with mean 1: highest at the open, lowest past noon, higher again at the close."""
    x = np.linspace(0, 1, seconds)
    shape = 1 + depth * (1.6 * np.exp(-x * 9) + 4 * (x - 0.55) ** 2)
    return np.asarray(shape / shape.mean())


def _levels(
    rng: np.random.Generator, listings: Sequence[Listing], session: Session, before: Mapping[int, int]
) -> Floats:
    """(k, seconds) prices in 1/10,000, not yet rounded to ticks."""
    seconds = (session.close - session.open) // SECOND
    sigma = DAY_SIGMA / np.sqrt(seconds) * np.sqrt(smile(seconds, 1.0))
    sectors = sorted({one.instrument.sector for one in listings})
    market = rng.standard_normal(seconds)
    sector = {name: rng.standard_normal(seconds) for name in sectors}
    night, nights = rng.standard_normal(), {name: rng.standard_normal() for name in sectors}
    returns = np.empty((len(listings), seconds))
    for k, one in enumerate(listings):
        name = one.instrument.sector
        own = rng.standard_normal(seconds)
        returns[k] = sigma * (np.sqrt(MARKET) * market + np.sqrt(SECTOR) * sector[name] + np.sqrt(OWN) * own)
        returns[k, 0] += GAP_SIGMA * (0.7 * night + 0.4 * nights[name] + 0.6 * rng.standard_normal())
    index = np.array([one.instrument.kind is Kind.INDEX for one in listings])
    for k in np.flatnonzero(index).tolist():
        returns[k] = _index(listings, returns, index, listings[k])
    start = np.array([before[one.instrument.id] for one in listings], np.float64)
    return np.asarray(start[:, None] * np.exp(np.cumsum(returns, axis=1)))


def _index(listings: Sequence[Listing], returns: Floats, index: npt.NDArray[np.bool_], one: Listing) -> Floats:
    """The returns of an index: of its sector's shares, or of all."""
    if index.all():
        return np.asarray(returns[0])
    if "VIX" in one.instrument.symbol:
        return np.asarray(VOLATILITY_BETA * returns[~index].mean(axis=0))
    sector = SECTORS.get(one.instrument.ticker, one.instrument.sector)
    members = ~index & np.array([x.instrument.sector == sector for x in listings])
    return np.asarray(returns[members if members.any() else ~index].mean(axis=0))


def _packets(rng: np.random.Generator, one: Listing, levels: Floats, session: Session, rate: float) -> Packets:
    """The trades of one instrument: when, at which tick, how many shares."""
    seconds = len(levels)
    index = one.instrument.kind is Kind.INDEX
    often = np.ones(seconds) if index else _liquidity(one) * smile(seconds, 0.6)
    trades = rng.random(seconds) < np.clip(rate * often, 0, 1)
    if not index:
        minutes = np.repeat(rng.random(seconds // 60 + 1) < QUIET, 60)[:seconds]
        trades &= ~minutes
    trades[0] = True
    when = np.flatnonzero(trades)
    rows = np.zeros(len(when), PACKET)
    rows["instrument"] = one.instrument.id
    rows["at"] = session.open + when * SECOND
    tick = int(one.instrument.tick_size)
    rows["price"] = np.maximum(np.rint(levels[when] / tick), 1).astype(np.int64) * tick
    if not index:
        size = smile(seconds, 1.0)[when] * rng.lognormal(0, 0.8, len(when))
        rows["quantity"] = np.maximum(np.rint(size * one.daily_volume / size.sum()), 1)
    return rows


def _liquidity(one: Listing) -> float:
    """The share of seconds in which it trades, by the size of its day."""
    return float(np.clip(0.2 + 0.2 * np.log10(max(one.daily_volume, 1) / 1e5), 0.15, 1.0))
