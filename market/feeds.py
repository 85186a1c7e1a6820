"""Feeds: what a line may say of itself, as marks in the log.

A line is judged by the age of its data, not by its socket. LIVE never runs more than a second past the last data
while the exchange trades; MUTE and DOWN name the last data as `since`. Outside continuous trading an open line is
enough. The first mark of a new incarnation is DOWN: whatever its predecessor claimed ends with its predecessor's last
mark (the candle fold takes the earlier of the two).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from market.codecs import Token
from market.instruments import Instrument
from market.instruments import Kind as Kinds
from market.sessions import MINUTE, SECOND, Phase, Sessions
from market.ticks import NO_TICKS, FeedState, Kind, Ticks, mark

STRIDE = SECOND
"""Between two marks of one state, in market time."""


class FeedWatch:
    """The state of one feed in market time; every method takes the market time it happens at, ns UTC."""

    def __init__(self, source: int, sessions: Sessions, grace: int, mute_after: int = 3 * SECOND) -> None:
        self.source = source
        self.state = FeedState.DOWN
        self.marked = 0
        self.last_data = 0
        self._sessions = sessions
        self._grace = grace
        self._mute_after = mute_after
        self._open = False
        self._lost_since = 0
        self._incarnation = 0

    def begin(self, now: int, incarnation: int) -> Ticks:
        """The first mark of a new incarnation: our predecessor, if there was one, is gone."""
        self._incarnation = incarnation
        self._lost_since = now
        return self._say(FeedState.DOWN, now, now)

    def opened(self, now: int) -> None:
        """The line is connected and subscribed."""
        self._open = True

    def data(self, now: int) -> None:
        """Market data came."""
        self.last_data = max(self.last_data, now)

    def lost(self, now: int) -> Ticks:
        """The line broke. While the exchange was closed nothing could be missed: then it is lost from now on."""
        self._open = False
        if self.state == FeedState.DOWN:
            return NO_TICKS
        self._lost_since = now if self.state == FeedState.CLOSED else min(self.last_data or now, now)
        return self._say(FeedState.DOWN, now, self._lost_since)

    def mute(self, now: int) -> Ticks:
        """Nothing comes, and the line's own clock stands still with it: MUTE since the last data, where it counts."""
        if self.state != FeedState.LIVE or not self._sessions.phase(now).trading:
            return NO_TICKS
        return self._say(FeedState.MUTE, now, min(self.last_data or now, now))

    def step(self, now: int) -> Ticks:
        """The mark due at this time, (0,) or (1,) rows."""
        state, at, since = self._judge(now)
        crossed = (at - self._grace) // MINUTE > (self.marked - self._grace) // MINUTE
        if state == self.state and at < self.marked + STRIDE and not crossed:
            return NO_TICKS
        return self._say(state, at, since)

    def _judge(self, now: int) -> tuple[FeedState, int, int]:
        if not self._open:
            return FeedState.DOWN, now, min(self._lost_since, now)
        phase = self._sessions.phase(now)
        if phase is Phase.PREOPEN:
            return FeedState.LIVE, now, now
        if phase.resting:
            return FeedState.CLOSED, now, self._closed_since(now)
        today = self._sessions.of(now)
        begun = today.began(now) if today else now
        waited = self.state in (FeedState.LIVE, FeedState.CLOSED)  # the line was open when trading began
        heard = max(self.last_data, begun if waited else 0)
        if now - heard > self._mute_after:
            return FeedState.MUTE, now, min(heard, now)
        at = max(min(now, heard + SECOND), self.marked)
        if self.state == FeedState.LIVE:
            return FeedState.LIVE, at, at
        if self.state == FeedState.CLOSED and now - begun <= self._mute_after:
            return FeedState.LIVE, at, begun
        return FeedState.LIVE, at, min(self.last_data or at, at)

    def _closed_since(self, now: int) -> int:
        today = self._sessions.of(now)
        ended = today.ended(now) if today else None
        if self.state != FeedState.LIVE or ended is None:
            return now
        return ended if ended - self.last_data <= self._mute_after else self.last_data

    def _say(self, state: FeedState, at: int, since: int) -> Ticks:
        self.state = state
        self.marked = max(self.marked, at)
        return mark(self.source, state, at, since, self._incarnation)


def canary(instruments: Iterable[Instrument]) -> int | None:
    """The id of the index by whose silence a line is judged; None where the universe has none."""
    return next((i.id for i in instruments if i.kind is Kinds.INDEX), None)


def shares(
    instruments: Sequence[Instrument], vendor: str, most: int, sockets: int
) -> tuple[list[dict[Token, int]], list[str]]:
    """Each socket's tokens -> our ids, at most `most` on each of `sockets`, and the symbols left out.

    Each socket carries the canary: a few quiet shares prove nothing about their line. What the vendor has no token for
    is left out. There is always a first socket.
    """
    known = [i for i in instruments if vendor in i.tokens]
    left_out = [i.symbol for i in instruments if vendor not in i.tokens]
    watched = canary(known)
    watch = {known[k].tokens[vendor]: watched for k in range(len(known)) if known[k].id == watched}
    rest = [i for i in known if i.id != watched]
    room = most - len(watch)
    parts = [rest[k : k + room] for k in range(0, len(rest), room)] or [[]]
    left_out += [i.symbol for part in parts[sockets:] for i in part]
    carried = [{**watch, **{i.tokens[vendor]: i.id for i in part}} for part in parts[:sockets]]
    return carried, left_out


def by_partition(rows: Ticks, partition: npt.NDArray[np.int64], partitions: int) -> list[Ticks]:
    """Rows cut by their instrument's partition, the marks among them in each part and in place.

    `partition`: (ids + 1,) -> partition number; the last element stands for the marks, whose instrument is -1.
    """
    if partitions == 1:
        return [rows]
    where = partition[rows["instrument"]]
    marks = rows["kind"] == Kind.MARK
    return [rows[(where == p) | marks] for p in range(partitions)]
