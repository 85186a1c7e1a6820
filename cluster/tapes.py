"""Tapes: which recorded day an instance plays instead of the live market."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from market.records import Record


class Tape(Record):
    """A recording, the day in it, and how many times faster than it was; None: as fast as it goes.

    `hold`: the market waits for its listeners; else it goes on without them, as a real one does.
    """

    recording: Path
    day: date
    speed: float | None
    hold: bool = True
