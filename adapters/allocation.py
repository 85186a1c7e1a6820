"""Allocation: how a process that runs for months gives back what it has freed.

Left alone, an allocator keeps what it had, a share for every thread, and the memory of a process creeps up for hours
until each has had its largest. These settings have it give back early, at the price of asking again: right for a store
that writes now and then, wrong for whoever computes on large arrays.
"""

from __future__ import annotations

import ctypes
import os

LIBC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(128 << 10), "MALLOC_MMAP_THRESHOLD_": str(64 << 10)}
"""Variables for a process that is to be started. Source: mallopt(3)."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Source: malloc.h of glibc."""

_DELTA = "narenas:2,dirty_decay_ms:500,muzzy_decay_ms:0"
"""For the jemalloc inside Delta's library."""


def lean() -> None:
    """Have this process give back early; to be called before anything loads the lake. No harm where it cannot."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", _DELTA)
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_ARENA_MAX, int(LIBC["MALLOC_ARENA_MAX"]))
        set_option(_TRIM_THRESHOLD, int(LIBC["MALLOC_TRIM_THRESHOLD_"]))
        set_option(_MMAP_THRESHOLD, int(LIBC["MALLOC_MMAP_THRESHOLD_"]))
