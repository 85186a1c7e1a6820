"""Submissions: our commands as Ray jobs, each under a name of its own: Ray refuses a second one of that name."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from market.errors import LineDown
from market.timetable import Word

COMMAND = (sys.executable, "-m", "cluster.main")
NOT_THERE = "status code 404"
ALREADY_THERE = "already exists"
SAID = 300
"""So many letters of what a job said last are kept."""
FRAME = " │╭╮╰╯─"


class Submissions(Protocol):
    """Where jobs are handed in. Every method raises LineDown when nobody takes them."""

    def word(self, name: str) -> tuple[Word | None, str]:
        """How a submission goes, and what is said of its end; None of one that was never handed in."""
        ...

    def submit(self, name: str, words: Sequence[str]) -> None:
        """Hand in one of our commands; one that is there already is left as it is."""
        ...

    def stop(self, name: str) -> None:
        """End its process."""
        ...


class RayJobs:
    """The jobs of one Ray cluster, by way of its dashboard. Satisfies `Submissions`."""

    def __init__(self, dashboard: str) -> None:
        """Connects on first use."""
        self._dashboard = dashboard
        self._client: Any = None

    def word(self, name: str) -> tuple[Word | None, str]:
        """How a submission goes; of one that failed, the last line of its output."""
        try:
            info = self._ask("get_job_info", name)
        except LineDown as e:
            if NOT_THERE in e.reason:
                return None, ""
            raise
        status = info.status.value
        if status in ("PENDING", "RUNNING"):
            return "running", ""
        if status == "SUCCEEDED":
            return "succeeded", ""
        said = last_words(self._ask("get_job_logs", name)) or last_words(info.message or "")
        return ("stopped" if status == "STOPPED" else "failed"), said

    def submit(self, name: str, words: Sequence[str]) -> None:
        """Hand in `bourse WORDS`."""
        try:
            self._ask("submit_job", entrypoint=shlex.join([*COMMAND, *words]), submission_id=name)
        except LineDown as e:
            if ALREADY_THERE not in e.reason:
                raise

    def stop(self, name: str) -> None:
        """End its process: politely, and after three seconds not so."""
        self._ask("stop_job", name)

    def _ask(self, method: str, *names: str, **words: str) -> Any:
        from ray.job_submission import JobSubmissionClient  # here: a second of imports nobody else needs

        try:
            if self._client is None:
                self._client = JobSubmissionClient(self._dashboard)
            return getattr(self._client, method)(*names, **words)
        except (RuntimeError, OSError, ValueError) as e:  # what Ray's client makes of every refusal
            raise LineDown("ray jobs", " ".join(str(e).split())[:SAID]) from e


def last_words(output: str) -> str:
    """The last line of a job's output that says something, out of the frame a command line may draw around it."""
    lines = [line.strip(FRAME) for line in output.splitlines() if re.search(r"\w", line)]
    return lines[-1][:SAID] if lines else ""
