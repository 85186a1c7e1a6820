"""The pages of the IPO desk as they came: each one's bytes in a file by their digest, packed, written through."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import zstandard

from market.errors import BadValue, StoreRefused

LARGEST = 64 << 20
"""Bytes of a page, unpacked."""


class PageFiles:
    """The files of one folder; threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened yet."""
        self._folder = folder

    def keep(self, body: bytes) -> str:
        """Keep a page's bytes, once, before anything speaks of them. Returns their digest. Raises StoreRefused."""
        digest = hashlib.sha256(body).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, zstandard.ZstdCompressor(write_checksum=True).compress(body))
        except OSError as e:
            raise StoreRefused(str(path), f"{e.strerror}; make room for the pages, or let us write there") from e
        return digest

    def body(self, digest: str) -> bytes:
        """A page's bytes. Raises BadValue: there is no such page; StoreRefused: they are not what they were."""
        path = self._path(digest)
        try:
            body = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=LARGEST)
        except FileNotFoundError:
            raise BadValue("page", digest, "the digest of a page that was kept") from None
        except (OSError, zstandard.ZstdError) as e:
            raise StoreRefused(str(path), f"{e}; restore it from a backup") from e
        if hashlib.sha256(body).hexdigest() != digest:
            raise StoreRefused(str(path), "not the bytes that were kept; restore them from a backup")
        return body

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise BadValue("page", digest[:100], "a SHA-256 in hex")
        return self._folder / digest[:2] / f"{digest}.zst"


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".page-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(held)
        finally:
            os.close(held)
