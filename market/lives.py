"""Lives: when one line is given up, how long to wait before it is opened again, and when its feed is in trouble.

A line is judged by the age of its data. While the exchange trades, a line that brings none is torn down after
`patience`, which doubles with every line that brought nothing either, up to `LONGEST_PATIENCE`: a halt of the exchange
must not look like a storm of logins. Pauses between tries double likewise; both start anew when a line has brought
data for `CALM`, and not before: every line begins with a snapshot, and a snapshot alone proves nothing. In session
nothing here ever gives up.

Times are ns of one clock, whichever: only differences count. Chance comes from outside, 0 <= chance < 1.
"""

from __future__ import annotations

from market.sessions import MINUTE, SECOND, Sessions

CALM = 5 * SECOND
LONGEST_PATIENCE = 8 * SECOND
FIRST_PAUSE, LONGEST_PAUSE = SECOND // 10, 5 * SECOND
IDLE_PAUSE = 60 * SECOND
"""Between two tries while no session is near."""

READY = 15 * MINUTE
"""So long before pre-open a line must be there."""

# Close code 1000 soon after the login, again and again: somebody else logs in to the same account and is given our
# place. Source: protocol notes on Noren sessions, "Disconnects" (marketcalls/openalgo issues 1961, 1965, 1806).
NORMAL_CLOSE = 1000
SOON = 10 * SECOND
EVICTIONS = 3
EVICTED_PAUSE = 30 * SECOND


class LineLife:
    """One line from the first try to the last. `evicted`: another client takes the account from us."""

    def __init__(self, mute_after: int) -> None:
        """`mute_after`: ns without data, while the exchange trades, after which a new line is given up."""
        self._mute_after = mute_after
        self._opened: int | None = None
        self._heard = self._waited = 0
        self._fruitless = self._failures = self._closed_soon = 0

    @property
    def open(self) -> bool:
        """Whether it is connected and subscribed."""
        return self._opened is not None

    @property
    def evicted(self) -> bool:
        """Whether it was closed so often right after the login that another client must be at work."""
        return self._closed_soon >= EVICTIONS

    @property
    def patience(self) -> int:
        """How long this line may be mute, ns."""
        return min(self._mute_after << min(self._fruitless, 8), max(LONGEST_PATIENCE, self._mute_after))

    def opened(self, now: int) -> None:
        """It is connected and subscribed."""
        self._opened = self._waited = now

    def data(self, now: int) -> None:
        """It brought market data."""
        self._heard = now
        if self._opened is not None and now - self._opened >= CALM:
            self._fruitless = self._failures = self._closed_soon = 0

    def silent(self, now: int, trading: bool) -> bool:
        """Whether it has been mute for longer than its patience. Called often; `trading`: the exchange does now."""
        if self._opened is None:
            return False
        if not trading:
            self._waited = now
            return False
        return now - max(self._heard, self._waited) >= self.patience

    def broke(self, now: int, code: int | None = None) -> None:
        """It ended or was torn down, or could not be opened. `code`: of the vendor's close frame."""
        if self._opened is not None:
            soon = code == NORMAL_CLOSE and now - self._opened < SOON
            self._closed_soon = self._closed_soon + 1 if soon else 0
            self._fruitless += 1
        self._failures += 1
        self._opened = None

    def pause(self, chance: float, wake: int | None = None) -> int:
        """How long to wait before the next try, ns. `wake`: from here on the line must be there, ns away; None: now."""
        longest = EVICTED_PAUSE if self.evicted else LONGEST_PAUSE
        if wake is not None:
            longest = max(IDLE_PAUSE, longest)
        first = EVICTED_PAUSE if self.evicted else FIRST_PAUSE
        pause = min(first << min(max(self._failures - 1, 0), 16), longest)
        pause = int(pause * (0.5 + chance / 2))
        return pause if wake is None else min(pause, max(wake, FIRST_PAUSE))


def wake(sessions: Sessions, now: int) -> int | None:
    """How long lines may still rest, ns; None while a session is on or near: they must be there."""
    today = sessions.of(now)
    if today is not None and today.preopen - READY <= now < today.close:
        return None
    following = next((s for s in sessions if s.preopen - READY > now), None)
    return IDLE_PAUSE if following is None else following.preopen - READY - now


def trading(sessions: Sessions, now: int) -> bool:
    """Whether data must be coming."""
    return sessions.phase(now).trading
