"""Quarantine: payloads nobody could read, kept for a human.

One folder; each payload is a file, `index.jsonl` says when, from whom and why. At most `KEPT` payloads and `LARGEST`
bytes of each are held; what does not fit is counted by its sender all the same.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from market.errors import BadPayload

KEPT = 1000
LARGEST = 256 * 1024


class Quarantine:
    """A folder of refused payloads."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held = sum(1 for _ in self._folder.glob("*.bin"))
        self._last = 0

    def keep(self, bad: BadPayload) -> Path | None:
        """Write one payload down; returns its file, or None when the folder is full."""
        if self._held >= KEPT:
            return None
        stamp = self._last = max(time.time_ns(), self._last + 1)  # each has a name of its own, whatever the clock does
        path = self._folder / f"{bad.source.replace('/', '-')}-{stamp}.bin"
        path.write_bytes(bad.payload[:LARGEST])
        line = {"at": stamp, "source": bad.source, "reason": bad.reason, "bytes": len(bad.payload), "file": path.name}
        with (self._folder / "index.jsonl").open("a") as index:
            index.write(json.dumps(line) + "\n")
        self._held += 1
        return path
