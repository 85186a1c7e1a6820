"""Wishes: what an operator asks of the feeds by hand, and what all wishes so far come to.

`force` makes a feed the active one whatever its state, `hold` keeps whichever is active, `auto` ends both. `close`
makes a feed give up its lines, `open` takes that back. Wishes stand in the log, so they outlive every restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from market.records import Record

Do = Literal["force", "hold", "auto", "close", "open"]


class Wish(Record):
    """One wish. `feed`: its name, where the wish is about one; `at`: ns UTC; `by`: who asked."""

    do: Do
    feed: str = ""
    at: int = Field(ge=0)
    by: str = Field(min_length=1)


class Wishes(Record):
    """What holds now."""

    forced: str | None = None
    held: bool = False
    closed: frozenset[str] = frozenset()

    def doubts(self, feeds: Iterable[str]) -> list[str]:
        """What an operator may not have meant by it, of all the `feeds` there are, each a line."""
        said = []
        if self.forced in self.closed:
            said.append(f"{self.forced} is both forced and closed: it counts and brings nothing; open it, or auto")
        if self.closed >= set(feeds):
            said.append("every feed is closed by hand: nothing comes in until one is opened")
        return said

    def after(self, wishes: Iterable[Wish]) -> Wishes:
        """What holds when these have been heard, in their order."""
        forced, held, closed = self.forced, self.held, set(self.closed)
        for wish in wishes:
            if wish.do in ("force", "hold", "auto"):
                forced, held = (wish.feed if wish.do == "force" else None), wish.do == "hold"
            elif wish.do == "close":
                closed.add(wish.feed)
            else:
                closed.discard(wish.feed)
        return Wishes(forced=forced, held=held, closed=frozenset(closed))
