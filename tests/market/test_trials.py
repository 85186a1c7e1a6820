"""Which instruments a challenger answers for."""

from __future__ import annotations

import numpy as np
import pytest

from market.trials import challenged, places

MANY = np.arange(10_000, dtype=np.int32)


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.0, 0, 0), (0.1, 900, 1100), (0.5, 4800, 5200), (1.0, 10_000, 10_000)]
)
def test_the_share_is_what_was_asked_for(share: float, least: int, most: int) -> None:
    assert least <= np.count_nonzero(challenged(MANY, "15m", share)) <= most


def test_a_larger_share_takes_over_and_gives_nothing_back() -> None:
    few, more = challenged(MANY, "15m", 0.1), challenged(MANY, "15m", 0.3)

    assert more[few].all()


def test_an_instrument_keeps_its_side_wherever_it_stands_in_a_batch() -> None:
    shuffled = np.random.default_rng(7).permutation(MANY)

    assert (challenged(MANY, "15m", 0.3)[shuffled] == challenged(shuffled, "15m", 0.3)).all()


def test_each_horizon_has_other_instruments() -> None:
    both = challenged(MANY, "15m", 0.5) & challenged(MANY, "60m", 0.5)

    assert 2300 < np.count_nonzero(both) < 2700


def test_the_places_are_those_of_split_mix() -> None:
    first = places(np.zeros(1, np.int32), "")

    # The first output of SplitMix64 seeded with 0. Source: its reference C program by Sebastiano Vigna.
    assert first[0] == (0xE220A8397B1DCDAF >> 11) / 2**53
