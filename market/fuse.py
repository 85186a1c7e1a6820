"""A fuse: whether a line that failed is asked again.

It blows after some failures in a row, at once where the other side names a wait or will not do what we ask, and then
lets one through now and then to see.

Times are seconds of one clock that only goes forward, the caller's.
"""

from __future__ import annotations

from market.errors import AuthRequired, BourseError, LineDown, Rejected

FAILURES = 3
FIRST_SECONDS = 10.0
LONGEST_SECONDS = 900.0
"""The pause doubles from the first to the longest."""


class Fuse:
    """Of one line. `trial`: so many seconds the one that is let through may take."""

    def __init__(self, name: str, trial: float) -> None:
        self._name, self._trial = name, trial
        self._until = 0.0
        self._why: BourseError | None = None
        self.failures = 0

    def blown(self, now: float) -> bool:
        """Whether nobody may ask."""
        return now < self._until

    def check(self, now: float) -> None:
        """Raises what became of the last one while nobody may ask; else the caller may."""
        why = self._why
        if why is None:
            return
        left = self._until - now
        if left <= 0:
            self._until = max(self._until, now + self._trial if self._until else 0.0)
            return
        if isinstance(why, LineDown):
            times = f"{self.failures} failure{'s' if self.failures > 1 else ''} in a row"
            raise LineDown(self._name, f"not asked for {left:.0f} s more, after {times}: {why.reason}", left)
        raise type(why)(*why.args)

    def well(self) -> None:
        """The line answered."""
        self._until, self._why, self.failures = 0.0, None, 0

    def failed(self, why: BourseError, now: float) -> None:
        """It did not."""
        self.failures += 1
        self._why = why
        named = why.after if isinstance(why, LineDown) else 0.0
        at_once = named > 0 or isinstance(why, AuthRequired | Rejected)
        if at_once or self.failures >= FAILURES:
            doubled = FIRST_SECONDS * 2.0 ** min(max(self.failures - FAILURES, 0), 30)
            self._until = now + min(named or doubled, LONGEST_SECONDS)
