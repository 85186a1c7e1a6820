"""Notices: the circulars a deployment has been told of, as one file in its data folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from market import notices
from market.errors import BadValue, StoreRefused
from market.notices import Notice

FILE = "sessions.json"
LARGEST = 8 << 20
"""Bytes of a circular's file; the sessions of all exchanges since 2000 are a quarter of that."""


class Notices:
    """The notices kept in a folder, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> list[Notice]:
        """All that is known, each day once. Raises StoreRefused for a file that has been damaged."""
        if not self.path.exists():
            return []
        try:
            return opened(self.path)
        except BadValue as e:
            raise StoreRefused(str(self.path), f"{e}; put it right or remove it") from e

    def add(self, new: Iterable[Notice]) -> None:
        """Take notices in; of two words about a day the newer counts. A crash leaves all of them or none."""
        whole = notices.text(notices.merged(self.read(), new))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=FILE)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def opened(path: Path, source: str = "") -> list[Notice]:
    """The notices of a file. `source`: of rows that name none. Raises BadValue."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise BadValue(path.name, f"over {LARGEST} bytes", "a circular's file")
        return notices.read(path.name, content.decode(), source)
    except UnicodeDecodeError as e:
        raise BadValue(path.name, e.reason, "a text in UTF-8") from None
    except OSError as e:
        raise BadValue(path.name, e.strerror, "a file that can be read") from e
