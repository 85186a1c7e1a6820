"""Jobs on the bus: the timetable's ledger, one note an entry of the topic `jobs`, each note once.

A run's notes are numbered, so of several timetables that think of the same step the bus takes one's. What the ledger
comes to is kept as a snapshot: it may be trimmed behind that.
"""

from __future__ import annotations

from pydantic import ValidationError

from adapters import entries
from adapters.bus import START, Bus
from market.errors import BadPayload
from market.timetable import Ledger, Note, State

TOPIC = "jobs"
READER = "timetable"
PAGE = 500


class Jobs:
    """One reader's view of the ledger, and the door for new notes. All of it raises LineDown when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.bad = 0
        """Entries nobody could read: counted and passed over."""
        cursor, state = bus.load(READER, 0) or (START, b"")
        self._after = cursor if cursor <= bus.last(TOPIC, 0) else START  # the log went back: hear what is left of it
        self.ledger = Ledger.model_validate_json(state) if state else Ledger()

    def note(self, note: Note) -> bool:
        """Put a note on the bus; False when this step of its run has been noted already."""
        payload = entries.encode_records([note.model_dump(mode="json")])
        taken = self._bus.append(TOPIC, note.writer, [(0, note.number, payload)])[0] is not None
        if not taken:
            self.hear()
            if note.run not in self.ledger.runs and note.state is not State.SEEN:
                # Of long ago, brought up again by a clock that was set back: the bus remembers, the ledger does not.
                forgotten = note.model_copy(update={"state": State.SKIPPED, "reason": "it ran long ago"})
                self.ledger = self.ledger.after([forgotten])
        return taken

    def hear(self) -> list[Note]:
        """The notes that are new since the last call; `ledger` is what all of them come to."""
        heard: list[Note] = []
        while found := self._bus.read(TOPIC, {0: self._after}, PAGE):
            for entry in found:
                try:
                    heard += [Note.model_validate(record) for record in entries.decode_records(entry.payload)]
                except (BadPayload, ValidationError):
                    self.bad += 1
            self._after = found[-1].id
        if heard:
            self.ledger = self.ledger.after(heard)
        return heard

    def keep(self) -> None:
        """Keep what the ledger comes to, so that notes before it may be trimmed."""
        self._bus.save(READER, 0, self._after, self.ledger.model_dump_json().encode())
