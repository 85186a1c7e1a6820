"""Examples for tests of what learns: numbers drawn from a seed, in which two columns tell something."""

import numpy as np

from market.models.examples import CHANNELS, LENGTH, Examples
from market.sessions import MINUTE

NAMES = ("straight", "twisted", "sign", "noise", "constant")


def examples_of(features, names=NAMES):
    n = len(features)
    return Examples(
        tuple(names),
        np.asarray(features, np.float32).reshape(n, len(names)),
        np.full((n, LENGTH, len(CHANNELS)), np.nan, np.float32),
        np.arange(n, dtype=np.int32) % 7,
        np.arange(n, dtype=np.int64) * MINUTE,
        np.zeros(n, np.int32),
    )


def lesson(n, seed, gaps=0.0):
    """Examples, their targets and returns, (n,): 0.4 straight + 0.6 twisted sign + noise, in per mille."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    features[:, 2], features[:, 4] = np.sign(features[:, 2]), 3.0
    returns = 0.4 * features[:, 0] + 0.6 * features[:, 1] * features[:, 2] + 0.7 * rng.normal(size=n)
    labels = np.where(returns > 0.5, 2, np.where(returns < -0.5, 0, 1)).astype(np.int8)
    features[rng.random(features.shape) < gaps] = np.nan
    return examples_of(features), {"15m": labels}, returns / 1000
