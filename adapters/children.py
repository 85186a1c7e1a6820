"""Children: servers that we start, each in a folder of its own, and that end when we do."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TextIO

from adapters import allocation
from market.errors import StoreRefused

LOCK_FILE = "owner.lock"

# Ends the server when the thread that started it ends; `_spawner` is a thread that lives as long as its process.
LAUNCH = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def launch(words: Sequence[str], log: Path, script: str = LAUNCH) -> subprocess.Popen[bytes]:
    """Start a server that ends with this process, however that ends; it writes to `log`, in whose folder it works.

    `script` becomes the server: Python that is given our process id and the words.
    """
    lead = [sys.executable, "-I", "-S", "-c", script, str(os.getpid())]
    return _spawner(os.getpid()).submit(_popen, [*lead, *words], log).result()


def claim(folder: Path, name: str) -> tuple[TextIO, str]:
    """The lock on a folder of a server of ours, and who held it and did not let go. Made where it is not there.

    The lock is the kernel's and ends with its process, so a stale file is only a note. Raises StoreRefused when the
    folder is another user's, or in use.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise StoreRefused(name, f"{folder} belongs to another user")
    folder.chmod(0o700)
    lock = (folder / LOCK_FILE).open("a+")
    lock.seek(0)
    owner = lock.read().strip()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        lock.close()
        raise StoreRefused(name, f"{folder} is in use by process {owner or '?'}; stop it first") from e
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock, owner


def release(lock: TextIO) -> None:
    """Let a folder go."""
    lock.truncate(0)
    fcntl.flock(lock, fcntl.LOCK_UN)  # a child that another thread is just starting may hold a copy
    lock.close()


@cache
def _spawner(pid: int) -> ThreadPoolExecutor:
    # The kernel ends the server with the thread that started it, not with the process: this thread starts them all.
    return ThreadPoolExecutor(1, f"spawner-{pid}")


def _popen(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal is for us, we stop the server when its writers are done.
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603
            words,
            cwd=log.parent,
            env=os.environ | allocation.LIBC,  # which the wheel's server goes by
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
