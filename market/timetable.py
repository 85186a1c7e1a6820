"""The timetable: which job runs when, by the exchange's calendar or by cron, and what is due now.

A job's scheduled instant is one `Run`: it has one name, made of the job's and the instant's, wherever and however often
it is thought of. What became of it stands in the ledger as notes; the bus takes a note once, so of several timetables
with several clocks one starts a run. Only the newest instant counts: of those missed at most this one is caught up.
A run that did not end well is tried again, under a name of its own, until the next instant comes.

Two clocks: instants are of the timetable's clock, the market's in a replay, unless a job says `clock: wall`; waiting
and working are of UTC.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from functools import cache
from typing import Literal, Self

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from market.alerts import OperatorAlert
from market.errors import BadValue
from market.records import Record
from market.sessions import DAY, MINUTE, SECOND, ZONES, ExchangeName, Session, at, instant

PHRASES = "like 08:30 on session days, 30 min before open, 20 min after close, every 10 min while open or by hand"
BY_HAND = "by hand"
CRON = "five fields of cron, like 30 2 * * mon-fri, in the exchange's time"
FARTHEST_MINUTES = 24 * 60
CRON_FIELDS = 5
SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)
"""Whether an expression ever comes is asked from here on; it walks fifty years."""
AT_ONCE = 2
"""So many jobs work at the same time; the others wait."""
SESSION = "{session}"
"""Stands for a run's session among the words of its command."""
KEPT = 50
"""So many runs of each job stay in the ledger."""


class On(Record):
    """Each session day at one time of the exchange's clocks."""

    clock: time

    def of(self, session: Session) -> list[int]:
        """The instants that belong to a session, oldest first."""
        return [at(session.date, self.clock, session.zone)]


class Near(Record):
    """Once a session, so many minutes after its open or close; before it where negative."""

    edge: Literal["open", "close"]
    minutes: int

    def of(self, session: Session) -> list[int]:
        """The instants that belong to a session, oldest first."""
        return [(session.open if self.edge == "open" else session.close) + self.minutes * MINUTE]


class Every(Record):
    """While trading goes on: so many minutes after the open and again, up to the close included, not in a pause."""

    minutes: int

    def of(self, session: Session) -> list[int]:
        """The instants that belong to a session, oldest first."""
        step = self.minutes * MINUTE
        return [t for t in range(session.open + step, session.close + 1, step) if session.phase(t - 1).trading]


class Cron(Record):
    """A cron expression in an exchange's time, sessions or not."""

    text: str
    exchange: ExchangeName

    def walk(self, now: int, *, back: bool) -> int | None:
        """The newest instant not after `now`, or the first one after it; None: it never comes."""
        start = instant((now // SECOND + back) * SECOND).astimezone(ZONES[self.exchange])
        found = next(CronSim(self.text, start, reverse=back), None)
        return None if found is None else int(found.timestamp()) * SECOND


class ByHand(Record):
    """Never by itself, only when somebody asks for it."""

    def of(self, session: Session) -> list[int]:
        """None."""
        return []


When = On | Near | Every | ByHand | Cron


def when(phrase: str) -> On | Near | Every | ByHand:
    """What a phrase of the session calendar means. Raises BadValue.

    >>> when("20 min after close")
    Near(edge='close', minutes=20)
    """
    if phrase == BY_HAND:
        return ByHand()
    try:
        if found := re.fullmatch(r"(\d\d:\d\d) on session days", phrase):
            return On(clock=time.fromisoformat(found[1]))
        if found := re.fullmatch(r"(\d{1,4}) min (before|after) (open|close)", phrase):
            edge: Literal["open", "close"] = "open" if found[3] == "open" else "close"
            minutes = _minutes(found[1], least=0)
            return Near(edge=edge, minutes=-minutes if found[2] == "before" else minutes)
        if found := re.fullmatch(r"every (\d{1,4}) min while open", phrase):
            return Every(minutes=_minutes(found[1], least=1))
    except ValueError as e:
        raise BadValue("at", phrase, PHRASES) from e
    raise BadValue("at", phrase, PHRASES)


def newest(when: When, sessions: Sequence[Session], now: int) -> int | None:
    """The newest instant not after `now`, ns UTC; None before the first. `sessions`: of one exchange, in order."""
    if isinstance(when, ByHand):
        return None
    if isinstance(when, Cron):
        return when.walk(now, back=True)
    begun = bisect_right(sessions, now + DAY, key=_open)
    for k in range(begun - 1, -1, -1):
        if past := [t for t in when.of(sessions[k]) if t <= now]:
            return past[-1]
    return None


def following(when: When, sessions: Sequence[Session], now: int) -> int | None:
    """The first instant after `now`, ns UTC; None where the calendar ends before it."""
    if isinstance(when, ByHand):
        return None
    if isinstance(when, Cron):
        return when.walk(now, back=False)
    for k in range(bisect_right(sessions, now - 2 * DAY, key=_open), len(sessions)):
        if coming := [t for t in when.of(sessions[k]) if t > now]:
            return coming[0]
    return None


class Job(Record):
    """One entry of the timetable: when, what, and what to do when it goes wrong.

    `misfire`: an instant that was missed by more than `grace_seconds` is caught up, if it is still the newest, or
    skipped. `retry_seconds` doubles with each try. `limit_seconds`: a try that works for longer is stopped. `clock`:
    whose its instants are; `at_once`: a job that is new here is caught up, too, with its newest instant.
    """

    at: str | None = Field(default=None, description=PHRASES)
    cron: str | None = Field(default=None, description=CRON)
    exchange: ExchangeName = Field(default="NSE", description="NSE, BSE, NASDAQ or NYSE; the universe's without it")
    do: str = Field(description="the name of a job")
    clock: Literal["market", "wall"] = Field(default="market", description="market or wall")
    at_once: bool = Field(default=False, description="true or false")
    misfire: Literal["catch_up", "skip"] = Field(default="catch_up", description="catch_up or skip")
    grace_seconds: float = Field(default=300.0, ge=0, le=86_400, description="seconds, 0 to 86400")
    tries: int = Field(default=3, ge=1, le=20, description="a whole number, 1 to 20")
    retry_seconds: float = Field(default=60.0, ge=0, le=86_400, description="seconds, 0 to 86400")
    limit_seconds: float = Field(default=1800.0, ge=1, le=86_400, description="seconds, 1 to 86400")

    @field_validator("at")
    @classmethod
    def _phrase(cls, phrase: str | None) -> str | None:
        try:
            return phrase if phrase is None else (when(phrase), phrase)[1]
        except BadValue as e:
            raise ValueError(str(e)) from e

    @field_validator("cron")
    @classmethod
    def _expression(cls, text: str | None) -> str | None:
        if text is not None and not _comes(text):
            raise ValueError(CRON)
        return text

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.at is None) == (self.cron is None):
            raise ValueError("one of at and cron")
        return self

    @property
    def schedule(self) -> str:
        """When, as it was written."""
        return self.at or f"cron {self.cron}"

    @property
    def when(self) -> When:
        """When, as it is meant."""
        return _when(self.at, self.cron, self.exchange)


class State(StrEnum):
    """What a note says. A run is STARTED and comes to one of the ends; LOST: its cluster ended before it did."""

    SEEN = "seen"
    ASKED = "asked"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"
    SKIPPED = "skipped"


UNWELL = (State.FAILED, State.STOPPED, State.LOST)
ENDS = (State.SUCCEEDED, State.SKIPPED, *UNWELL)


class Note(Record):
    """One line of the ledger. `at`: the run's instant in the timetable's clock, or when it was asked for by hand, or
    first seen; `noted`: ns UTC; `cluster`: which life of the cluster it was started in; `final`: no other try follows.
    """

    job: str
    state: State
    at: int = Field(ge=0)
    noted: int = Field(ge=0)
    by_hand: bool = False
    attempt: int = Field(default=1, ge=1)
    session: date | None = None
    cluster: str = ""
    schedule: str = ""
    reason: str = ""
    final: bool = False

    @property
    def run(self) -> str:
        """The run's name: the same whoever thinks of it."""
        return run_name(self.job, self.at, by_hand=self.by_hand)

    @property
    def submission(self) -> str:
        """The name of this try: it is submitted once."""
        return self.run if self.attempt == 1 else f"{self.run}-try-{self.attempt}"

    @property
    def writer(self) -> str:
        """Under whom it stands on the bus: notes of one run are taken in their order, each once."""
        return f"{self.job}: {self.schedule} {self.at}" if self.state is State.SEEN else self.run

    @property
    def number(self) -> int:
        """Its place among them. To start a run and to skip it are one place: only one of the two happens."""
        if self.state in (State.SEEN, State.ASKED):
            return 0
        return 2 * self.attempt + (self.state not in (State.STARTED, State.SKIPPED))


def run_name(job: str, at: int, *, by_hand: bool = False) -> str:
    """The name of the run of a job at an instant.

    >>> run_name("compact", 1_472_146_200_000_000_000)
    'compact-20160825T173000Z'
    """
    stamp = f"{instant(at):%Y%m%dT%H%M%S}"
    return f"{job}-by-hand-{stamp}-{at % SECOND:09}" if by_hand else f"{job}-{stamp}Z"


class Ledger(Record):
    """What became of the runs so far. `seen`: since when each job stands in the timetable as it does; `runs`: the last
    note of each run, by name; `failing`, `mended`: the instant of the first failed run of a row of them, by job.
    """

    seen: Mapping[str, int] = Field(default_factory=dict)
    runs: Mapping[str, Note] = Field(default_factory=dict)
    failing: Mapping[str, int] = Field(default_factory=dict)
    mended: Mapping[str, int] = Field(default_factory=dict)

    def after(self, notes: Iterable[Note]) -> Ledger:
        """The ledger when these have been heard, in order. A note that comes too late for its run says nothing."""
        seen, runs, failing, mended = dict(self.seen), dict(self.runs), dict(self.failing), dict(self.mended)
        for note in notes:
            if note.state is State.SEEN:
                seen[_key(note.job, note.schedule)] = note.at
                continue
            known = runs.get(note.run)
            if known is not None and known.number >= note.number:
                continue
            if (lost := _given_up(note, runs)) is not None:
                failing.setdefault(note.job, lost.at)
                mended.pop(note.job, None)
            if note.state is State.SUCCEEDED and note.job in failing:
                mended[note.job] = failing.pop(note.job)
            runs.pop(note.run, None)
            runs[note.run] = note
        return Ledger(seen=seen, runs=_kept(runs), failing=failing, mended=mended)

    def open(self) -> list[Note]:
        """The runs that were started and have not ended, oldest first."""
        return [note for note in self.runs.values() if note.state is State.STARTED]

    def last(self, job: str) -> Note | None:
        """What is known of a job's run that something happened to last."""
        return _last(self.runs.values(), job)

    def alerts(self) -> list[OperatorAlert]:
        """What an operator should hear of: each row of failed runs once, and that it is over."""
        found = []
        for job, began in (*self.failing.items(), *self.mended.items()):
            over = job in self.mended
            last = self.last(job)
            why = f": {last.state.value}, {last.reason or 'no reason given'}" if last and last.state in UNWELL else ""
            text = f"{job} works again" if over else f"{job} did not end well{why}"
            found.append(OperatorAlert(kind="job", subject=job, at=began, text=text, over=over))
        return found


Word = Literal["running", "succeeded", "failed", "stopped"]
"""What the cluster says of a try; it says nothing of one that was never submitted to it."""


class Timetable:
    """The jobs by name, the sessions of each exchange in order, and the life of the cluster that they run in."""

    def __init__(self, jobs: Mapping[str, Job], calendars: Mapping[str, Sequence[Session]], cluster: str) -> None:
        self.jobs, self._calendars, self._cluster = jobs, calendars, cluster

    def due(self, ledger: Ledger, now: int, utc: int) -> list[Note]:
        """The notes to make at `now` of the timetable's clock, 0 where that is not known yet; a run that one of them
        starts is `open` from then on.
        """
        working = [note.job for note in ledger.open()]
        notes = []
        for name, job in self.jobs.items():
            clock = utc if job.clock == "wall" else now
            note = self._due(name, job, ledger, clock, utc) if clock else None
            if note is not None and note.state is State.STARTED:
                if name in working or len(working) >= AT_ONCE:
                    continue
                working.append(name)
            if note is not None:
                notes.append(note)
        return notes

    def verdict(self, note: Note, word: Word | None, said: str, utc: int) -> Note | Literal["submit", "stop"] | None:
        """What to do about an open run of which the cluster says this; None: wait. `said`: its own last words."""
        job = self.jobs.get(note.job)
        limit = job.limit_seconds if job else 0.0
        overdue = utc - note.noted > limit * SECOND
        if word is None and note.cluster != self._cluster:
            return self._ended(note, State.LOST, "the cluster ended before it did", utc)
        if word is None:
            unheard = self._ended(note, State.FAILED, f"not taken by Ray within {limit:g} s", utc)
            return unheard if overdue else "submit"
        if word == "running":
            return "stop" if overdue else None
        if word == "stopped" and overdue:
            said = f"took longer than {limit:g} s"
        return self._ended(note, State(word), "" if word == "succeeded" else said, utc)

    def next_run(self, name: str, now: int, utc: int) -> int | None:
        """The first instant of a job after now, as `due` has it; None where its calendar ends before."""
        job = self.jobs[name]
        clock = utc if job.clock == "wall" else now
        return following(job.when, self._calendars[job.exchange], clock) if clock else None

    def _due(self, name: str, job: Job, ledger: Ledger, now: int, utc: int) -> Note | None:
        seen, sessions = ledger.seen.get(_key(name, job.schedule)), self._calendars[job.exchange]
        if seen is None or now < seen:
            late = newest(job.when, sessions, now) if job.at_once else None
            return Note(
                job=name, state=State.SEEN, at=now if late is None else late - 1, noted=utc, schedule=job.schedule
            )
        for note in ledger.runs.values():
            if note.job == name and note.state is State.ASKED:
                return self._started(note, _begun(sessions, now), utc)
        planned = newest(job.when, sessions, now)
        if planned is None or planned <= seen:
            return None
        known = ledger.runs.get(run_name(name, planned))
        if known is None:
            return self._first(name, job, planned, now, utc)
        pause = job.retry_seconds * 2 ** (known.attempt - 1) * SECOND
        if known.state in UNWELL and not known.final and utc >= known.noted + pause:
            return self._started(known.model_copy(update={"attempt": known.attempt + 1}), known.session, utc)
        return None

    def _first(self, name: str, job: Job, planned: int, now: int, utc: int) -> Note:
        note = Note(job=name, state=State.SKIPPED, at=planned, noted=utc, final=True)
        late = (now - planned) / SECOND
        if job.misfire == "skip" and late > job.grace_seconds:
            return note.model_copy(update={"reason": f"{late:.0f} s late"})
        return self._started(note, _session(job.when, self._calendars[job.exchange], planned), utc)

    def _started(self, note: Note, session: date | None, utc: int) -> Note:
        new = {"state": State.STARTED, "noted": utc, "session": session, "cluster": self._cluster}
        return note.model_copy(update={**new, "reason": "", "final": False})

    def _ended(self, note: Note, state: State, reason: str, utc: int) -> Note:
        job = self.jobs.get(note.job)
        final = state is State.SUCCEEDED or note.by_hand or job is None or note.attempt >= job.tries
        return note.model_copy(update={"state": state, "noted": utc, "reason": reason, "final": final})


def _minutes(text: str, *, least: int) -> int:
    minutes = int(text)
    if not least <= minutes <= FARTHEST_MINUTES:
        raise ValueError(text)
    return minutes


def _comes(text: str) -> bool:
    try:
        return len(text.split()) == CRON_FIELDS and next(CronSim(text, SOME_DAY), None) is not None
    except CronSimError:
        return False


@cache
def _when(phrase: str | None, cron: str | None, exchange: ExchangeName) -> When:
    return Cron(text=cron, exchange=exchange) if cron is not None else when(phrase or "")


def _open(session: Session) -> int:
    return session.open


def _begun(sessions: Sequence[Session], now: int) -> date | None:
    k = bisect_right(sessions, now, key=lambda s: s.preopen)
    return sessions[k - 1].date if k else None


def _session(when: When, sessions: Sequence[Session], planned: int) -> date | None:
    if isinstance(when, Cron):
        return _begun(sessions, planned)
    first, last = (bisect_right(sessions, planned + side * 2 * DAY, key=_open) for side in (-1, 1))
    return next((s.date for s in sessions[first:last] if planned in when.of(s)), None)


def _key(job: str, schedule: str) -> str:
    return f"{job}: {schedule}"


def _last(runs: Iterable[Note], job: str) -> Note | None:
    found = None
    for note in runs:
        if note.job == job and note.state is not State.ASKED:
            found = note
    return found


def _given_up(note: Note, runs: Mapping[str, Note]) -> Note | None:
    """The run that is given up with this note: its own after the last try, or the one before, now out of date."""
    if note.by_hand:
        return None
    if note.state in UNWELL and note.final:
        return note
    last = _last((n for n in runs.values() if not n.by_hand and n.run != note.run), note.job)
    return last if last is not None and last.state in UNWELL and note.state is State.STARTED else None


def _kept(runs: dict[str, Note]) -> dict[str, Note]:
    kept: dict[str, Note] = {}
    count: dict[str, int] = {}
    for name, note in reversed(runs.items()):
        count[note.job] = count.get(note.job, 0) + 1
        if count[note.job] <= KEPT or note.state is State.STARTED:
            kept[name] = note
    return dict(reversed(kept.items()))
