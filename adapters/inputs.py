"""Inputs: what a model sees of one symbol now, packed for the read model: features, sequence and their moment.

A header, then the features as little-endian float32, then the sequence, row by row. The header names the columns by a
checksum: a reader that knows other features takes no value for another's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from market.errors import BadPayload
from market.models.examples import CHANNELS, LENGTH, Examples

MAGIC = b"BI1\n"
HEADER = struct.Struct("<4sIqiHBB")
"""Magic, checksum of the names, ns UTC of the decision, session; how many features, rows and channels of a sequence."""


def pack(examples: Examples) -> list[bytes]:
    """Each of (n,) examples."""
    names = _checksum(examples.names)
    shape = len(examples.names), LENGTH, len(CHANNELS)
    features = np.ascontiguousarray(examples.features, "<f4")
    sequence = np.ascontiguousarray(examples.sequence, "<f4")
    return [
        HEADER.pack(MAGIC, names, int(at), int(session), *shape) + features[i].tobytes() + sequence[i].tobytes()
        for i, (at, session) in enumerate(zip(examples.at.tolist(), examples.session.tolist(), strict=True))
    ]


def unpack(names: Sequence[str], instruments: Sequence[int], packed: Sequence[bytes]) -> Examples:
    """(n,) examples of these instruments. `names`: the columns the caller knows. Raises BadPayload: one was packed of
    other features, or is cut.
    """
    wide = len(names)
    size, expected = _expected(names)
    at, session = np.zeros(len(packed), np.int64), np.zeros(len(packed), np.int32)
    for i, one in enumerate(packed):
        if len(one) < HEADER.size:
            raise BadPayload("model input", one, f"cut: at least {HEADER.size} bytes are its header")
        magic, checksum, at[i], session[i], *shape = HEADER.unpack_from(one)
        if (magic, checksum, *shape) != expected or len(one) != size:
            raise BadPayload("model input", one, f"not of the {wide} features known here, {size} bytes each")
    values = np.frombuffer(b"".join(one[HEADER.size :] for one in packed), "<f4").reshape(
        len(packed), (size - HEADER.size) // 4
    )
    return Examples(
        tuple(names),
        values[:, :wide].astype(np.float32),
        values[:, wide:].reshape(-1, LENGTH, len(CHANNELS)).astype(np.float32),
        np.asarray(instruments, np.int32),
        at,
        session,
    )


def decision(names: Sequence[str], packed: bytes) -> int:
    """ns UTC of the decision a packed example is of; 0 where it is of other features, or cut."""
    size, expected = _expected(names)
    if len(packed) != size:
        return 0
    magic, checksum, at, _, *shape = HEADER.unpack_from(packed)
    return int(at) if (magic, checksum, *shape) == expected else 0


def _expected(names: Sequence[str]) -> tuple[int, tuple[bytes | int, ...]]:
    """How many bytes one has, and what its header says of them."""
    wide = len(names)
    size = HEADER.size + 4 * (wide + LENGTH * len(CHANNELS))
    return size, (MAGIC, _checksum(names), wide, LENGTH, len(CHANNELS))


def _checksum(names: Sequence[str]) -> int:
    return crc32("\n".join(names).encode())
