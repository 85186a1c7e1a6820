"""Cores: a Ray that does not come in time is tried once more, and then told in one line."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from cluster.cores import started
from market.errors import LineDown


class Slow:
    """Something that comes at the `number`-th try, and leaves a process behind at each one before."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.tries = self.undone = 0
        self.left: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Raises as Ray does: no class of its own, and more than a line."""
        self.tries += 1
        if self.tries < self._number:
            self.left.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
            raise Exception("The current node timed out during startup.\n  The GCS is overloaded.")

    def undo(self) -> None:
        """Counts."""
        self.undone += 1


def test_a_ray_that_comes_at_the_second_try_is_taken_and_the_first_ones_remains_are_ended() -> None:
    slow = Slow(2)

    started(slow.start, slow.undo)

    assert (slow.tries, slow.undone) == (2, 1)
    assert not any(psutil.pid_exists(one.pid) and one.poll() is None for one in slow.left)


def test_a_ray_that_never_comes_is_told_in_one_line() -> None:
    slow = Slow(9)

    with pytest.raises(LineDown, match="did not start in 2 tries: The current node timed out") as told:
        started(slow.start, slow.undo)

    assert "\n" not in str(told.value) and slow.tries == 2
