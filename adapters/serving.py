"""Serving: the versions a predictor served last, in a folder of its machine.

The registry needs seconds to be opened, and its database may be down; a replica that starts anew goes on from here with
what the one before it held, and looks at the registry then. A file is whole or not there.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

NUMBER = "number"
BROKEN = (OSError, ValueError, KeyError, zipfile.BadZipFile, NotImplementedError, EOFError)


class Serving:
    """What served each horizon; `side` is champion or challenger. Nothing here raises: it is only a shorter way."""

    def __init__(self, folder: str | Path) -> None:
        """`folder` need not be there yet."""
        self._folder = Path(folder)

    def keep(self, horizon: str, side: str, number: int, files: Mapping[str, bytes]) -> None:
        """This version serves now, with the files it was registered as."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:  # stored with a checksum each
            archive.comment = f"{NUMBER} {number}".encode()
            for name, content in files.items():
                archive.writestr(name, content)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._path(horizon, side).with_suffix(f".{os.getpid()}")
            part.write_bytes(packed.getvalue())
            part.replace(self._path(horizon, side))
        except OSError:
            self.drop(horizon, side)

    def drop(self, horizon: str, side: str) -> None:
        """None serves here any more."""
        try:
            self._path(horizon, side).unlink(missing_ok=True)
        except OSError:
            return

    def kept(self, horizon: str, side: str) -> tuple[int, dict[str, bytes]] | None:
        """The number and the files of what served; None where there is nothing, or nothing whole."""
        try:
            with zipfile.ZipFile(self._path(horizon, side)) as archive:
                word, number = archive.comment.decode().split()
                if word != NUMBER:
                    return None
                return int(number), {name: archive.read(name) for name in archive.namelist()}
        except BROKEN:
            return None

    def _path(self, horizon: str, side: str) -> Path:
        return self._folder / f"{horizon}.{side}.zip"
