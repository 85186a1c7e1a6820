"""Examples in which something is planted that only one structure can see."""

from __future__ import annotations

import numpy as np

from market.labels import Label
from market.models.examples import CHANNELS, LENGTH, Examples
from market.models.nets import Lesson
from market.sessions import MINUTE

QUICK = Lesson(rounds=3, patience=3, steps=40, batch=64, rate=5e-3)
NAMES = ("slope", "noise")


def noise(rows: int, seed: int, instruments: int = 1) -> Examples:
    """Nothing is planted. Each minute holds one example of each instrument."""
    chance = np.random.default_rng(seed)
    minutes = rows // instruments
    return Examples(
        NAMES,
        chance.normal(size=(rows, len(NAMES))).astype(np.float32),
        chance.normal(size=(rows, LENGTH, len(CHANNELS))).astype(np.float32),
        np.tile(np.arange(instruments, dtype=np.int32), minutes),
        np.repeat(np.arange(minutes) * MINUTE, instruments),
        np.zeros(rows, np.int32),
    )


def shuffled(rows: int, seed: int) -> np.ndarray:
    """Labels, (rows,), that nothing tells of: DOWN, FLAT and UP as 1 : 7 : 2."""
    return (
        np.random.default_rng(seed)
        .permutation(np.resize([Label.DOWN] + 7 * [Label.FLAT] + 2 * [Label.UP], rows))
        .astype(np.int8)
    )


def ordered(rows: int, seed: int) -> tuple[Examples, np.ndarray]:
    """A jump and a fall of the same size in each sequence, and UP where the jump came first, else DOWN: no sum of the
    sequence tells which.
    """
    examples, chance = noise(rows, seed), np.random.default_rng(seed + 1)
    first = chance.integers(0, LENGTH // 2, rows)
    second = chance.integers(LENGTH // 2, LENGTH, rows)
    sign = chance.choice([-1, 1], rows)
    examples.sequence[:] = 0.1 * examples.sequence
    examples.sequence[np.arange(rows), first, 0] += 3 * sign
    examples.sequence[np.arange(rows), second, 0] -= 3 * sign
    return examples, np.where(sign > 0, Label.UP, Label.DOWN).astype(np.int8)


def neighbourly(minutes: int, seed: int, instruments: int = 6) -> tuple[Examples, np.ndarray]:
    """Instruments 0 and 1, 2 and 3, ... are pairs: UP where the slope of the other one is positive, else DOWN. The
    newest returns of a pair go together.
    """
    examples = noise(minutes * instruments, seed, instruments)
    other = np.arange(examples.rows) ^ 1
    together = np.repeat(np.random.default_rng(seed + 1).normal(size=examples.rows // 2), 2)
    examples.sequence[:, -1, 0] = together + 0.5 * examples.sequence[:, -1, 0]
    return examples, np.where(examples.features[other, 0] > 0, Label.UP, Label.DOWN).astype(np.int8)


def right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """How often the likeliest outcome was the label."""
    return float((probabilities.argmax(axis=1) == labels).mean())
