"""Examples: what a model sees at a decision, of many instruments or many minutes at once, as columns.

A decision is the end of a closed minute (of a session, for models of days). Beside the features of that moment stands
the last half hour as a sequence, free of the price's scale, made by one function live and in bulk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.candles import Candles, Provenance
from market.errors import BadValue
from market.sessions import MINUTE

LENGTH = 32
"""Rows of a sequence, the newest last."""

CHANNELS = ("return", "range", "position", "volume", "quiet")
"""Of each row: log return from the row before; log of high over low; where the close stands between low and high, -1 to
1; log of 1 + the volume over its mean in the sequence; 1 where no volume was traded, as in every minute of an index.
The row before may be of the session before. A volume not known counts as 0.
"""

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints32 = npt.NDArray[np.int32]
Ints64 = npt.NDArray[np.int64]


class Examples(NamedTuple):
    """(n,) decisions.

    `names`: of the features' columns; `features` (n, len(names)), NaN where unknown; `sequence` (n, LENGTH,
    len(CHANNELS)), all NaN where there is none; `instrument`: the place in the universe; `at`: ns UTC of the decision;
    `session`: days since 1970-01-01.
    """

    names: tuple[str, ...]
    features: Floats32
    sequence: Floats32
    instrument: Ints32
    at: Ints64
    session: Ints32

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.at)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Examples:
        """Some of them."""
        return Examples(
            self.names,
            self.features[rows],
            self.sequence[rows],
            self.instrument[rows],
            self.at[rows],
            self.session[rows],
        )

    def columns(self, names: tuple[str, ...]) -> Floats32:
        """The features of these names, in this order, (n, len(names)). Raises BadValue naming those that lack."""
        if names == self.names:
            return self.features
        place = {name: number for number, name in enumerate(self.names)}
        lacking = [name for name in names if name not in place]
        if lacking:
            shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            raise BadValue("features", shown, f"the model was fitted on them, and the {len(place)} given lack them")
        return self.features[:, [place[name] for name in names]]


def sequences(candles: Candles, places: npt.NDArray[np.intp] | None = None) -> Floats32:
    """The sequence at the end of each of one instrument's candles: (n,) adjusted ones of one interval, oldest first, to
    (n, LENGTH, len(CHANNELS)). NaN in the first LENGTH, whose past is not whole, and at a GAP; one before it is left
    out. `places`: of the candles whose sequences are wanted, (k,), in that order; all without it.
    """
    live = candles["provenance"] != Provenance.GAP
    live &= (candles["close"] > 0) & (candles["low"] > 0)
    rows = candles[live]
    places = np.arange(len(candles)) if places is None else places
    out = np.full((len(places), LENGTH, len(CHANNELS)), np.nan, np.float32)
    if len(rows) <= LENGTH:
        return out
    high, low, close, volume = (rows[name].astype(np.float64) for name in ("high", "low", "close", "volume"))
    each = steps(high, low, close, np.maximum(volume, 0.0))
    windows = np.lib.stride_tricks.sliding_window_view(each, LENGTH, axis=0)[1:].transpose(0, 2, 1)
    past = np.cumsum(live)[places] - 1 - LENGTH
    known = live[places] & (past >= 0)
    out[known] = scaled(windows[past[known]])
    return out


def steps(high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    """The channels of rows with a price, (..., rows) of each column to (..., rows, len(CHANNELS)), the volume as it is;
    the first row has no return.
    """
    span = high - low
    first = np.full((*close.shape[:-1], 1), np.nan)
    return np.stack(
        [
            np.diff(np.log(close), prepend=first),
            np.log(high / low),
            np.divide(2.0 * close - high - low, span, out=np.zeros_like(span), where=span > 0),
            volume,
            (volume <= 0).astype(np.float64),
        ],
        axis=-1,
    )


def scaled(each: Floats) -> Floats32:
    """Sequences, (n, LENGTH, len(CHANNELS)), of `steps`, their volumes over their mean."""
    found = np.ascontiguousarray(each, np.float32)
    volumes = CHANNELS.index("volume")
    mean = found[:, :, volumes].mean(axis=1, keepdims=True)
    found[:, :, volumes] = np.log1p(
        np.divide(found[:, :, volumes], mean, out=np.zeros_like(mean * found[:, :, volumes]), where=mean > 0)
    )
    return found


def decisions(candles: Candles) -> Ints64:
    """ns UTC of the ends of one-minute candles, (n,)."""
    ends: Ints64 = candles["start"] + MINUTE
    return ends
