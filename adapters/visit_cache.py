"""Visit cache: the last body of each page with what its server knows it by, one file a page.

    *.page            {"url": ..., "etag": ..., "modified": ..., "digest": ...} NEWLINE BODY
    standings.json    how the sources stand, so that a new process asks nobody too early

A file that was damaged, or is of another address, is none: the page is fetched anew.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from hashlib import blake2b, sha256
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from market.ipo.visiting import Standings

STANDINGS = "standings.json"
_VALIDATOR = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")


class Cached(NamedTuple):
    """A body and its validators, empty where its server gave none."""

    url: str
    body: bytes
    etag: str = ""
    modified: str = ""

    def asking(self) -> dict[str, str]:
        """The headers that ask for the page only if it has changed; a validator that no header can hold is none."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in asked.items() if _VALIDATOR.fullmatch(value)}


class VisitCache:
    """The bodies kept in a folder, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, source: str, page: str, url: str) -> Cached | None:
        """What was kept of a page at this address, or None."""
        try:
            head, _, body = self._file(source, page).read_bytes().partition(b"\n")
            told = json.loads(head)
            if told["url"] != url or told["digest"] != sha256(body).hexdigest():
                return None
            return Cached(url, body, str(told["etag"]), str(told["modified"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def forget(self, source: str, page: str) -> None:
        """Let go of what was kept of a page."""
        self._file(source, page).unlink(missing_ok=True)

    def recall(self) -> Standings:
        """How the sources stood when `remember` was last called; as strangers where that cannot be read."""
        try:
            return Standings.model_validate_json((self._folder / STANDINGS).read_bytes())
        except (FileNotFoundError, ValidationError):
            return Standings()

    def remember(self, standings: Standings) -> None:
        """In the place of what was remembered. Pages that they know nothing of any more are let go."""
        self._write(self._folder / STANDINGS, standings.model_dump_json().encode())
        known = {self._file(source, page) for source, one in standings.sources.items() for page in one.pages}
        for file in set(self._folder.glob("*.page")) - known:
            file.unlink(missing_ok=True)

    def keep(self, source: str, page: str, cached: Cached) -> None:
        """In the place of what was kept of the page. A crash leaves the one or the other."""
        head = {"url": cached.url, "etag": cached.etag, "modified": cached.modified}
        told = json.dumps(head | {"digest": sha256(cached.body).hexdigest()}).encode()
        self._write(self._file(source, page), told + b"\n" + cached.body)

    def _file(self, source: str, page: str) -> Path:
        return self._folder / f"{blake2b(f'{source} {page}'.encode(), digest_size=12).hexdigest()}.page"

    def _write(self, file: Path, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix="visit-")
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(content)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
