"""The log of a Delta table, seen as files: which versions stand in it, when each was committed, and what it said.

For what the Delta library does not answer once the log has holes: the oldest versions go in time, and versions that are
kept for somebody stand alone before those that are left.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any

import pyarrow.fs as fs

from market.errors import StoreRefused

LOG = "_delta_log"
COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\..+)?\.parquet")


class DeltaLog:
    """The log under a table's folder, as it is now."""

    def __init__(self, store: fs.FileSystem) -> None:
        self._store = store
        names = [info.base_name for info in store.get_file_info(fs.FileSelector(LOG))]
        commits = {int(m[1]): m[0] for name in names if (m := COMMIT.fullmatch(name))}
        self.versions = sorted(commits)
        """Those with a commit in the log, oldest first."""
        self.checkpoints: dict[int, list[str]] = {}
        """The files of each version's checkpoint."""
        for name in names:
            if found := CHECKPOINT.fullmatch(name):
                self.checkpoints.setdefault(int(found[1]), []).append(name)

    def said(self, version: int) -> dict[str, Any]:
        """What a commit says of itself: `timestamp` in ms UTC, `operation`, and what its writer added."""
        return next((dict(action["commitInfo"]) for action in self._actions(version) if "commitInfo" in action), {})

    def corrupt(self) -> list[str]:
        """The commits that cannot be read, by the names of their files, oldest first."""
        found = []
        for version in self.versions:
            try:
                self._actions(version)
            except FileNotFoundError:
                continue  # forgotten meanwhile
            except StoreRefused as e:
                found.append(e.store)
        return found

    def _actions(self, version: int) -> list[dict[str, Any]]:
        name = f"{LOG}/{version:020}.json"
        with self._store.open_input_stream(name) as file:
            lines = file.read().splitlines()
        try:
            actions = [json.loads(line) for line in lines if line.strip()]
        except ValueError as e:
            raise StoreRefused(name, f"a corrupt entry of the log: {e}") from e
        if not actions or not all(isinstance(action, dict) for action in actions):
            raise StoreRefused(name, "a corrupt entry of the log: it holds no actions")
        return actions

    def committed(self, version: int) -> int:
        """When, ms UTC; 0 where the commit does not say."""
        return int(self.said(version).get("timestamp", 0))

    def newest_by(self, at: int) -> int | None:
        """The newest version that was committed by `at`, ms UTC; None when all that are left are later."""
        place = bisect_right(self.versions, at, key=self.committed)
        return self.versions[place - 1] if place else None

    def needed(self, version: int) -> set[int]:
        """The versions whose files are read to load this one: those behind the newest checkpoint up to it."""
        first = max((c for c in self.checkpoints if c <= version), default=0)
        return {v for v in self.versions if first <= v <= version} | ({first} if first in self.checkpoints else set())

    def forget(self, version: int) -> None:
        """Remove what the log says of a version; no harm when it is gone already."""
        for name in [*self.checkpoints.pop(version, []), f"{version:020}.json"]:
            if self._store.get_file_info(f"{LOG}/{name}").type == fs.FileType.File:
                self._store.delete_file(f"{LOG}/{name}")
