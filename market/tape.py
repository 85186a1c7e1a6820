"""Tapes: one session as numbered steps, a market second each, with the packets due in it.

A tape begins `LEAD` before the open and runs on `TAIL` behind the close, so that the last candle closes by the clock
alone.

Recorded minutes become packets that fold back to the recorded candle: the path is open, low, high, close in a rising
minute and open, high, low, close in a falling one, equal neighbours dropped; n points lie at seconds floor(60 k / n);
the volume is split evenly and the first packet takes the rest. A minute that moved without volume needs a trick: its
open may repeat the last price and would then count for nothing, so another price goes first and the open comes behind
it, stamped with the minute's first second.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.money import UNKNOWN
from market.sessions import MINUTE, SECOND, Session

BAR = np.dtype(
    [
        ("instrument", "<i4"),
        ("start", "<i8"),
        *((name, "<i8") for name in ("open", "high", "low", "close", "volume")),
    ]
)
"""One recorded minute: `start` ns UTC, prices 1/10,000, volume in shares."""

PACKET = np.dtype(
    [
        ("step", "<i4"),
        ("instrument", "<i4"),
        *((name, "<i8") for name in ("at", "price", "quantity", "day_volume", "turnover", "open", "high", "low")),
    ]
)
"""What the exchange says of an instrument after one trade; `turnover` is price times shares so far."""

LARGEST_PRICE = (2**31 - 1) * 100
LARGEST_VOLUME = 2**32 - 1
"""What packets hold: paise in 31 bits, a day's shares in 32."""

LEAD = 15 * SECOND
TAIL = 60 * SECOND

Bars = npt.NDArray[np.void]
Packets = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]


class Tape:
    """One session's packets, (n,) `PACKET` in any order of steps, and the previous closes by instrument."""

    def __init__(self, session: Session, packets: Packets, closes: Mapping[int, int], bars: Bars) -> None:
        self.session = session
        self.closes_before = dict(closes)
        self.bars = bars
        """The minutes these packets fold to, by instrument and start."""
        self._packets = packets[np.lexsort((packets["instrument"], packets["at"], packets["step"]))]
        self._first = session.open - LEAD
        self.steps = (session.close + TAIL - self._first) // SECOND + 1
        self._ends = np.searchsorted(self._packets["step"], np.arange(self.steps), side="right")

    @property
    def closes(self) -> dict[int, int]:
        """The last price of each instrument: the next session's previous closes."""
        last = dict(zip(self._packets["instrument"].tolist(), self._packets["price"].tolist(), strict=True))
        return self.closes_before | last

    def clock(self, step: int) -> int:
        """Market time of a step, ns UTC."""
        return self._first + step * SECOND

    def step_at(self, when: int) -> int:
        """The first step whose clock is behind this instant; 0 for an instant before the tape."""
        return max(0, min(self.steps, (when - self._first) // SECOND + 1))

    def packets(self, step: int) -> Packets:
        """The packets due in a step, in the order in which they are sent."""
        return self._packets[self._ends[step - 1] if step else 0 : self._ends[step]]

    def between(self, first: int, last: int) -> Packets:
        """The packets of trades at first <= at <= last, ns UTC."""
        begin, end = self.step_at(first - SECOND), self.step_at(last)
        return self._packets[self._ends[begin - 1] if begin else 0 : self._ends[end - 1] if end else 0]

    def latest(self, step: int) -> Packets:
        """The last packet of every instrument up to a step, inclusive; what a new subscriber is shown first."""
        rows = self._packets[: self._ends[min(step, self.steps - 1)]] if step >= 0 else self._packets[:0]
        _, newest = np.unique(rows["instrument"][::-1], return_index=True)
        return rows[len(rows) - 1 - newest]


def from_bars(session: Session, bars: Bars, closes: Mapping[int, int]) -> Tape:
    """The tape of recorded minutes. Raises BadValue."""
    bars = check(bars)
    _inside(session, bars)
    points = np.stack([bars["open"], bars["open"], bars["low"], bars["high"], bars["close"]], axis=1)
    fell = bars["close"] < bars["open"]
    points[fell, 2], points[fell, 3] = bars["high"][fell], bars["low"][fell]
    silent = _moved_silently(bars)
    points[silent, 0] = np.where(points[:, 2] != points[:, 1], points[:, 2], points[:, 3])[silent]
    kept = np.ones(points.shape, bool)
    kept[:, 1:] = points[:, 1:] != points[:, :-1]
    count = kept.sum(axis=1)
    order = np.cumsum(kept, axis=1) - 1
    share = bars["volume"] // count
    volume = np.where(order == 0, (bars["volume"] - share * (count - 1))[:, None], share[:, None])
    rows = np.zeros(int(count.sum()), PACKET)
    rows["instrument"] = np.repeat(bars["instrument"], count)
    rows["price"] = points[kept]
    rows["quantity"] = volume[kept]
    late = silent.astype(np.int64)[:, None]
    second = (order + late) * 60 // (count[:, None] + late)
    rows["step"] = ((bars["start"] - session.open + LEAD)[:, None] // SECOND + second)[kept]
    second[silent, 1] = 0
    rows["at"] = (bars["start"][:, None] + second * SECOND)[kept]
    return Tape(session, running(rows, session), closes, bars)


def running(rows: Packets, session: Session) -> Packets:
    """Fill in step, day volume, turnover and the day's open, high and low of trades, by (instrument, step).

    A trade goes out in the step of its `at`, or in a later one that its `step` names.
    """
    rows["step"] = np.maximum(rows["step"], (rows["at"] - (session.open - LEAD)) // SECOND)
    rows = rows[np.lexsort((rows["at"], rows["step"], rows["instrument"]))]
    bounds = np.flatnonzero(np.diff(rows["instrument"], prepend=-1, append=-1))
    for begin, end in pairwise(bounds.tolist()):
        mine = slice(begin, end)
        price, quantity = rows["price"][mine], rows["quantity"][mine]
        rows["day_volume"][mine] = np.cumsum(quantity)
        rows["turnover"][mine] = np.cumsum(price * quantity)
        rows["open"][mine] = price[0]
        rows["high"][mine] = np.maximum.accumulate(price)
        rows["low"][mine] = np.minimum.accumulate(price)
    return rows


def fold(rows: Packets) -> Bars:
    """The minutes of packets, by instrument and start: what a tape of a generator truly holds."""
    rows = rows[np.lexsort((rows["step"], rows["instrument"]))]
    minute = rows["at"] // MINUTE
    begins = np.flatnonzero(np.diff(rows["instrument"], prepend=-1) | np.diff(minute, prepend=-1))
    bars = np.zeros(len(begins), BAR)
    if not len(rows):
        return bars
    ends = np.append(begins[1:], len(rows)) - 1
    bars["instrument"], bars["start"] = rows["instrument"][begins], minute[begins] * MINUTE
    bars["open"], bars["close"] = rows["price"][begins], rows["price"][ends]
    bars["high"] = np.maximum.reduceat(rows["price"], begins)
    bars["low"] = np.minimum.reduceat(rows["price"], begins)
    bars["volume"] = np.add.reduceat(rows["quantity"], begins)
    return bars


def check(bars: Bars) -> Bars:
    """The bars in order of (instrument, start). Raises BadValue for the first that cannot be."""
    bars = bars[np.lexsort((bars["start"], bars["instrument"]))]
    prices = np.stack([bars[n] for n in ("open", "high", "low", "close")], axis=1)
    faults = {
        "all four prices known and above 0": (prices <= 0).any(axis=1) | (prices == UNKNOWN).any(axis=1),
        "low <= open, close <= high": (bars["low"] != prices.min(axis=1)) | (bars["high"] != prices.max(axis=1)),
        "prices in whole hundredths": (prices % 100 != 0).any(axis=1),
        f"prices up to {LARGEST_PRICE}, in 1/10,000": (prices > LARGEST_PRICE).any(axis=1),
        "a volume of 0 or more": bars["volume"] < 0,
        "starts on whole minutes": bars["start"] % MINUTE != 0,
        "every minute of an instrument once": np.append(
            False, (np.diff(bars["instrument"]) == 0) & (np.diff(bars["start"]) == 0)
        ),
    }
    for allowed, wrong in faults.items():
        if wrong.any():
            bar = bars[np.flatnonzero(wrong)[0]]
            raise BadValue(f"bar of instrument {bar['instrument']} at {np.datetime64(int(bar['start']), 'ns')}Z",
                           bar.tolist()[2:], allowed)  # fmt: skip
    return bars


def _inside(session: Session, bars: Bars) -> None:
    outside = ~session.holds(bars["start"])
    if outside.any():
        bar = bars[np.flatnonzero(outside)[0]]
        hours = f"{np.datetime64(session.open, 'ns')}Z to before {np.datetime64(session.close, 'ns')}Z"
        hours += "".join(f", not in the pause from {np.datetime64(p.start, 'ns')}Z" for p in session.pauses)
        raise BadValue(f"bar of instrument {bar['instrument']}", f"{np.datetime64(int(bar['start']), 'ns')}Z", hours)
    day = np.bincount(bars["instrument"], bars["volume"]) if len(bars) else np.zeros(0)
    if (day > LARGEST_VOLUME).any():
        instrument = int(day.argmax())
        raise BadValue(f"a day's volume of instrument {instrument}", int(day[instrument]), f"up to {LARGEST_VOLUME}")


def _moved_silently(bars: Bars) -> npt.NDArray[np.bool_]:
    """The minutes, (n,), with several prices and no volume, of instruments that do have one."""
    day = np.bincount(bars["instrument"], bars["volume"]) if len(bars) else np.zeros(0)
    silent: npt.NDArray[np.bool_] = (bars["volume"] == 0) & (bars["high"] > bars["low"]) & (day[bars["instrument"]] > 0)
    return silent
