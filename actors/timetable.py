"""Timetable: starts what is due as Ray jobs, sees how they end, and keeps the ledger of it; decides nothing itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import structlog
from ray.util.metrics import Counter

from actors.measures import gauge, resident_bytes
from actors.submissions import RayJobs, Submissions
from adapters import logs
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.jobs import Jobs
from adapters.marks import market_time
from market.alerts import OperatorAlert
from market.errors import LineDown
from market.records import Record
from market.sessions import SECOND, Session
from market.timetable import ENDS, SESSION, Job, Ledger, Note
from market.timetable import Timetable as Table

TURN_SECONDS = 1.0


class TimetablePlan(Record):
    """What runs when. `commands`: the words of each `do`, SESSION standing for the run's date; `tape`: the feed plays a
    tape, whose clock is the timetable's; `cluster`: the name of this life of the cluster.
    """

    bus: str
    partitions: int
    jobs: Mapping[str, Job]
    commands: Mapping[str, tuple[str, ...]]
    calendars: Mapping[str, tuple[Session, ...]]
    dashboard: str
    cluster: str
    tape: bool = False
    log_level: str = "info"


class Timetable:
    """Carries out what is due, once a second. Two of them do no more than one: the bus takes each step once."""

    def __init__(self, plan: TimetablePlan, submissions: Submissions | None = None) -> None:
        logs.configure("timetable", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._alerts = Alerts(self._bus)
        self._jobs: Jobs | None = None
        self._table = Table(plan.jobs, plan.calendars, plan.cluster)
        self._submissions = submissions or RayJobs(plan.dashboard)
        self._stopped = threading.Event()
        self._now = 0
        self._trouble = ""
        self._told: set[OperatorAlert] = set()
        self._ended = Counter("bourse_jobs", description="tries of jobs that have ended", tag_keys=("job", "outcome"))
        self._seconds = gauge("bourse_job_seconds", "how long the last try of a job took", "job")

    def run(self) -> None:
        """Carry out until told to stop."""
        while not self._stopped.is_set():
            try:
                self.turn()
                self._trouble = ""
            except LineDown as e:
                self._trouble = str(e)
                self._log.warning("store_down", reason=str(e))
            self._stopped.wait(TURN_SECONDS)

    def stop(self) -> None:
        """End `run` after the turn under way; jobs that work go on."""
        self._stopped.set()

    def turn(self) -> None:
        """Note what is due, follow what is open, tell what went wrong. Raises LineDown."""
        if self._jobs is None:
            self._jobs = Jobs(self._bus)
        jobs, heard = self._jobs, len(self._jobs.hear())
        self._now = self._clock()
        for note in self._table.due(jobs.ledger, self._now, time.time_ns()):
            heard += self._note(jobs, note)
        down: LineDown | None = None
        for note in jobs.ledger.open():
            try:
                heard += self._follow(jobs, note)
            except LineDown as e:  # one job that cannot be asked about holds up no other
                down = e
        for alert in jobs.ledger.alerts():
            if alert not in self._told:
                self._alerts.tell(alert)
                self._told.add(alert)
        if heard:
            jobs.hear()
            jobs.keep()
        if down is not None:
            raise down

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor, and `bourse timetable` of its jobs."""
        ledger = self._jobs.ledger if self._jobs else Ledger()
        return {
            "part": "timetable",
            "name": "market" if self._plan.tape else "utc",
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "clock": self._now,
            "bad_notes": self._jobs.bad if self._jobs else 0,
            "jobs": [self._row(name, job, ledger) for name, job in self._plan.jobs.items()],
        }

    def _clock(self) -> int:
        if not self._plan.tape:
            return time.time_ns()
        return market_time(self._bus, self._plan.partitions) or self._now

    def _note(self, jobs: Jobs, note: Note) -> bool:
        if not jobs.note(note):
            return False
        jobs.hear()
        if note.state in ENDS:
            self._ended.inc(tags={"job": note.job, "outcome": note.state.value})
        said = note.model_dump(mode="json", exclude_defaults=True, exclude={"at", "noted", "cluster"})
        self._log.info("job", **said, run=note.submission)
        return True

    def _follow(self, jobs: Jobs, note: Note) -> bool:
        word, said = self._submissions.word(note.submission)
        verdict = self._table.verdict(note, word, said, time.time_ns())
        if verdict == "submit":
            self._submissions.submit(note.submission, self._words(note))
        elif verdict == "stop":
            self._submissions.stop(note.submission)
        elif verdict is not None and self._note(jobs, verdict):
            self._seconds.set((verdict.noted - note.noted) / SECOND, tags={"job": note.job})
            return True
        return False

    def _words(self, note: Note) -> list[str]:
        words = self._plan.commands[self._plan.jobs[note.job].do]
        return [str(note.session) if word == SESSION else word for word in words]

    def _row(self, name: str, job: Job, ledger: Ledger) -> dict[str, Any]:
        last = ledger.last(name)
        row: dict[str, Any] = {"job": name, "do": job.do, "at": job.schedule}
        row["next"] = self._table.next_run(name, self._now, time.time_ns())
        row["last"] = {**last.model_dump(mode="json"), "run": last.run} if last else None
        return row
