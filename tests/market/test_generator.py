"""The generated market: the same seed the same bytes, and the shape of a real day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from market.generator import generate
from market.instruments import Kind
from market.sessions import MINUTE, session
from market.tape import Tape
from market.universes import NIFTY50

DAY, NEXT = session(date(2026, 8, 25)), session(date(2026, 8, 26))
SHARES = np.array([one.instrument.kind is not Kind.INDEX for one in NIFTY50])


@pytest.fixture(scope="module")
def tape() -> Tape:
    return generate(NIFTY50, DAY, 7)


@pytest.fixture(scope="module")
def packets(tape: Tape) -> np.ndarray:
    return np.concatenate([tape.packets(k) for k in range(tape.steps)])


def test_the_same_seed_gives_the_same_bytes(packets: np.ndarray) -> None:
    again = generate(NIFTY50, DAY, 7)

    assert np.concatenate([again.packets(k) for k in range(again.steps)]).tobytes() == packets.tobytes()


@pytest.mark.parametrize(("seed", "day"), [(8, DAY), (7, NEXT)])
def test_another_seed_or_day_is_another_market(seed: int, day: object, tape: Tape) -> None:
    other = generate(NIFTY50, day, seed)

    assert other.closes != tape.closes


def test_a_day_begins_from_the_closes_of_the_day_before(tape: Tape) -> None:
    following = generate(NIFTY50, NEXT, 7, tape.closes)

    assert following.closes_before == tape.closes
    opened = {int(b["instrument"]): int(b["open"]) for b in following.bars[::-1]}
    gaps = np.array([opened[i] / tape.closes[i] - 1 for i in np.flatnonzero(SHARES).tolist()])
    assert 0 < np.abs(gaps).mean() < 0.03
    assert np.abs(gaps).max() < 0.1


def test_every_price_stands_on_its_tick_and_volume_never_falls(packets: np.ndarray) -> None:
    ticks = np.array([one.instrument.tick_size for one in NIFTY50])

    assert not (packets["price"] % ticks[packets["instrument"]]).any()
    assert (packets["price"] > 0).all()
    for i in np.flatnonzero(SHARES).tolist():
        volume = packets["day_volume"][packets["instrument"] == i]
        assert (np.diff(volume) > 0).all()


def test_the_bars_are_those_of_the_packets(tape: Tape, packets: np.ndarray) -> None:
    rows = packets[packets["instrument"] == 3]
    minute = rows["at"] // MINUTE * MINUTE
    bars = tape.bars[tape.bars["instrument"] == 3]

    for bar in bars[:: len(bars) // 20]:
        mine = rows[minute == bar["start"]]
        prices = mine["price"]
        expected = (prices[0], prices.max(), prices.min(), prices[-1], mine["quantity"].sum())
        assert tuple(bar[n] for n in ("open", "high", "low", "close", "volume")) == expected
    assert set(bars["start"].tolist()) == set(minute.tolist())


def test_volume_smiles_over_the_day(tape: Tape) -> None:
    share = tape.bars[SHARES[tape.bars["instrument"]]]
    minute = (share["start"] - DAY.open) // MINUTE
    volume = np.bincount(minute, share["volume"], 375)

    assert volume[:30].mean() > 1.3 * volume[180:240].mean()
    assert volume[-30:].mean() > 1.1 * volume[180:240].mean()


def test_shares_of_a_sector_move_together(tape: Tape) -> None:
    closes = np.zeros((len(NIFTY50), 375))
    for bar in tape.bars:
        closes[bar["instrument"], (bar["start"] - DAY.open) // MINUTE] = bar["close"]
    full = (closes > 0).all(axis=1) | SHARES
    for k in range(1, 375):
        closes[:, k] = np.where(closes[:, k] > 0, closes[:, k], closes[:, k - 1])
    returns = np.diff(np.log(closes[full][:, 5::5]), axis=1)
    names = [one.instrument.sector for one, kept in zip(NIFTY50, full, strict=True) if kept]
    together = np.corrcoef(returns)

    same = [together[a, b] for a in range(50) for b in range(a) if names[a] == names[b]]
    other = [together[a, b] for a in range(50) for b in range(a) if names[a] != names[b]]
    assert np.mean(same) > np.mean(other) + 0.1 > 0.2


def test_indices_follow_their_members_and_fear_goes_the_other_way(tape: Tape) -> None:
    by_name = {one.instrument.ticker: one for one in NIFTY50}
    moved = {i: tape.closes[i] / one.reference_price - 1 for i, one in enumerate(NIFTY50)}
    technology = [moved[i] for i, one in enumerate(NIFTY50) if one.instrument.sector == "Information Technology"]
    fifty = moved[by_name["NIFTY 50"].instrument.id]

    assert moved[by_name["NIFTY IT"].instrument.id] == pytest.approx(np.mean(technology), abs=2e-3)
    assert fifty == pytest.approx(np.mean([moved[i] for i in np.flatnonzero(SHARES).tolist()]), abs=2e-3)
    assert np.sign(moved[by_name["INDIA VIX"].instrument.id]) == -np.sign(fifty)


def test_a_higher_rate_gives_more_packets_and_some_minutes_are_quiet(packets: np.ndarray, tape: Tape) -> None:
    slower = generate(NIFTY50, DAY, 7, rate=0.1)

    count = sum(len(slower.packets(k)) for k in range(slower.steps))
    traded = len(tape.bars[SHARES[tape.bars["instrument"]]])
    assert count < len(packets) / 2
    assert 0.9 * 50 * 375 < traded < 50 * 375
