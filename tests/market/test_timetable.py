"""The timetable: when each schedule comes, and that a run happens once whatever restarts, jumps or overlaps."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import ValidationError

from market.errors import BadValue
from market.sessions import DAY, MINUTE, SECOND, Pause, at, nanoseconds, session
from market.timetable import UNWELL, Job, Ledger, Note, State, Timetable, following, newest, run_name, when

WEDNESDAY = session(date(2021, 11, 3))
MUHURAT = session(date(2021, 11, 4), time(18, 15), time(19, 15))
MONDAY = session(date(2021, 11, 8))
WEEK = (WEDNESDAY, MUHURAT, MONDAY)
CALENDARS = {"NSE": WEEK}


def india(day: int, clock: str) -> int:
    """An instant of November 2021 in India, ns UTC."""
    return at(date(2021, 11, day), time.fromisoformat(clock))


@pytest.mark.parametrize(
    ("phrase", "before", "last", "first"),
    [
        ("08:30 on session days", (4, "12:00"), (4, "08:30"), (8, "08:30")),
        ("08:30 on session days", (4, "08:30"), (4, "08:30"), (8, "08:30")),
        ("08:30 on session days", (4, "08:29:59"), (3, "08:30"), (4, "08:30")),
        ("00:00 on session days", (4, "00:00"), (4, "00:00"), (8, "00:00")),
        ("23:59 on session days", (4, "23:58"), (3, "23:59"), (4, "23:59")),
        ("30 min before open", (4, "17:45"), (4, "17:45"), (8, "08:45")),
        ("20 min after close", (4, "19:34"), (3, "15:50"), (4, "19:35")),
        ("0 min after open", (8, "09:15"), (8, "09:15"), None),
        ("1440 min after close", (5, "10:00"), (4, "15:30"), (5, "19:15")),
        ("1440 min before open", (3, "18:00"), (2, "09:15"), (3, "18:15")),
        ("1440 min before open", (3, "18:15"), (3, "18:15"), (7, "09:15")),
        ("every 10 min while open", (3, "09:25"), (3, "09:25"), (3, "09:35")),
        ("every 10 min while open", (3, "09:24"), None, (3, "09:25")),
        ("every 10 min while open", (3, "15:29"), (3, "15:25"), (4, "18:25")),
        ("every 60 min while open", (4, "23:00"), (4, "19:15"), (8, "10:15")),
        ("every 375 min while open", (3, "15:30"), (3, "15:30"), (8, "15:30")),
    ],
)
def test_a_schedule_follows_the_sessions(
    phrase: str, before: tuple[int, str], last: tuple[int, str] | None, first: tuple[int, str] | None
) -> None:
    now = india(*before)

    found = newest(when(phrase), WEEK, now), following(when(phrase), WEEK, now)

    assert found == (last and india(*last), first and india(*first))


def test_a_job_while_open_does_not_run_in_a_pause() -> None:
    day = date(2021, 11, 9)
    pause = Pause(start=at(day, time(10)), preopen=at(day, time(11, 15)), end=at(day, time(11, 30)))
    halves = session(day, time(9, 15), time(12, 30)).model_copy(update={"pauses": (pause,)})

    found = [t for t in when("every 15 min while open").of(halves) if t >= at(day, time(9, 45))]

    # nothing has traded up to 11:30, the end of the pause
    clocks = [time(9, 45), time(10), time(11, 45), time(12), time(12, 15), time(12, 30)]
    assert found == [at(day, clock) for clock in clocks]


@pytest.mark.parametrize(
    ("text", "last", "first"),
    [
        ("30 2 * * mon-fri", (5, "02:30"), (8, "02:30")),
        ("0 12 * * *", (6, "12:00"), (7, "12:00")),
        ("*/15 * * * *", (6, "12:00"), (6, "12:15")),
    ],
)
def test_cron_is_in_the_exchanges_time(text: str, last: tuple[int, str], first: tuple[int, str]) -> None:
    job = Job(cron=text, do="x")

    found = newest(job.when, (), india(6, "12:00")), following(job.when, (), india(6, "12:00"))

    assert found == (india(*last), india(*first))


@pytest.mark.parametrize(
    "phrase",
    ["", "08:30", "8:30 on session days", "24:00 on session days", "every 0 min while open", "1441 min after close",
     "30 min before noon", "-5 min after open", "every min while open", "daily", "x" * 500],
)  # fmt: skip
def test_a_phrase_that_says_nothing_is_refused(phrase: str) -> None:
    with pytest.raises(BadValue, match="on session days"):
        when(phrase)
    with pytest.raises(ValidationError):
        Job(at=phrase, do="x")


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "0 0 31 2 *", "0 0 30 2 *", "@daily", "* * * * * *"])
def test_a_cron_expression_that_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Job(cron=text, do="x")


def test_a_job_has_one_schedule() -> None:
    for both in ({}, {"at": "08:30 on session days", "cron": "0 1 * * *"}):
        with pytest.raises(ValidationError, match="one of at and cron"):
            Job(do="x", **both)


PHRASES = st.one_of(
    st.builds("{:%H:%M} on session days".format, st.times()),
    st.builds("{} min {} {}".format, st.integers(0, 1440), st.sampled_from(["before", "after"]),
              st.sampled_from(["open", "close"])),
    st.builds("every {} min while open".format, st.integers(1, 400)),
)  # fmt: skip


@given(PHRASES, st.integers(WEDNESDAY.open - 2 * DAY, MONDAY.close + 2 * DAY))
def test_the_newest_and_the_next_instant_are_neighbours_among_all(phrase: str, now: int) -> None:
    schedule = when(phrase)
    everything = sorted(t for s in WEEK for t in schedule.of(s))

    last, first = newest(schedule, WEEK, now), following(schedule, WEEK, now)

    assert last == max((t for t in everything if t <= now), default=None)
    assert first == min((t for t in everything if t > now), default=None)


@given(st.sampled_from(["*/7 * * * *", "5 4 * * *", "0 */5 * * sun", "59 23 28-31 * *"]), st.integers(0, 10**9))
def test_cron_forward_from_its_newest_instant_meets_nothing_up_to_now(text: str, seconds: int) -> None:
    now = nanoseconds(datetime(2000, 1, 1, tzinfo=UTC)) + seconds * SECOND
    schedule = Job(cron=text, do="x").when

    last = newest(schedule, (), now)

    assert last is not None and last <= now
    assert (following(schedule, (), last) or 0) > now


def table(**jobs: Job) -> Timetable:
    """A timetable of some jobs in the first life of a cluster."""
    return Timetable(jobs, CALENDARS, "life-1")


def step(timetable: Timetable, ledger: Ledger, now: int, utc: int | None = None) -> tuple[Ledger, list[Note]]:
    """What is due, as if the bus took all of it."""
    notes = timetable.due(ledger, now, now if utc is None else utc)
    return ledger.after(notes), notes


def ended(timetable: Timetable, ledger: Ledger, word: str, now: int) -> Ledger:
    """The ledger when the cluster has said this of every open run."""
    said = [timetable.verdict(note, word, "no such bond", now) for note in ledger.open()]  # type: ignore[arg-type]
    assert all(isinstance(note, Note) for note in said)
    return ledger.after(note for note in said if isinstance(note, Note))


CLOSE = Job(at="20 min after close", do="x", grace_seconds=60, retry_seconds=60, limit_seconds=600)


def test_what_was_missed_before_a_job_stood_in_the_timetable_is_not_caught_up() -> None:
    timetable = table(repair=CLOSE)

    ledger, first = step(timetable, Ledger(), india(3, "16:00"))
    ledger, second = step(timetable, ledger, india(3, "16:01"))
    _, third = step(timetable, ledger, india(4, "19:35"))

    assert [n.state for n in first] == [State.SEEN]
    assert second == []
    assert [(n.state, n.at, n.session, n.submission) for n in third] == [
        (State.STARTED, india(4, "19:35"), date(2021, 11, 4), "repair-20211104T140500Z")
    ]


@pytest.mark.parametrize(
    ("misfire", "minutes_late", "state"),
    [
        ("catch_up", 1, State.STARTED),
        ("catch_up", 5000, State.STARTED),
        ("skip", 1, State.STARTED),
        ("skip", 2, State.SKIPPED),
        ("skip", 5000, State.SKIPPED),
    ],
)
def test_of_those_missed_the_last_one_is_caught_up_or_skipped_by_its_rule(
    misfire: str, minutes_late: int, state: State
) -> None:
    timetable = table(repair=CLOSE.model_copy(update={"misfire": misfire}))
    ledger, _ = step(timetable, Ledger(), india(3, "12:00"))

    ledger, notes = step(timetable, ledger, india(4, "19:35") + minutes_late * MINUTE)
    _, more = step(timetable, ledger, india(4, "19:35") + (minutes_late + 1) * MINUTE)

    assert [(n.at, n.state) for n in notes] == [(india(4, "19:35"), state)]
    assert more == []


def test_a_run_that_fails_is_tried_again_with_longer_pauses_and_then_an_operator_hears_of_it_once() -> None:
    timetable = table(repair=CLOSE)
    ledger, _ = step(timetable, Ledger(), india(3, "12:00"))

    tries, told = [], []
    for minute in range(50, 60):
        ledger, notes = step(timetable, ledger, india(3, f"15:{minute}"))
        tries += [(minute, n.submission) for n in notes]
        ledger = ended(timetable, ledger, "failed", india(3, f"15:{minute}"))
        told.append(len(ledger.alerts()))

    assert tries == [
        (50, "repair-20211103T102000Z"), (51, "repair-20211103T102000Z-try-2"), (53, "repair-20211103T102000Z-try-3"),
    ]  # fmt: skip
    assert told == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    (alert,) = ledger.alerts()
    assert (alert.topic, alert.at, alert.over) == ("job:repair", india(3, "15:50"), False)
    assert "no such bond" in alert.text


def test_the_alert_is_over_when_a_later_run_ends_well() -> None:
    timetable = table(repair=CLOSE.model_copy(update={"tries": 1}))
    ledger, _ = step(timetable, Ledger(), india(3, "12:00"))
    for day, clock, word in ((3, "15:50", "failed"), (4, "19:35", "failed"), (8, "15:50", "succeeded")):
        ledger, _ = step(timetable, ledger, india(day, clock))
        ledger = ended(timetable, ledger, word, india(day, clock))

    assert [(a.at, a.over) for a in ledger.alerts()] == [(india(3, "15:50"), True)]


def test_a_run_whose_tries_the_next_one_cuts_short_counts_as_failed() -> None:
    timetable = table(repair=Job(at="every 1 min while open", do="x", retry_seconds=600))
    ledger, _ = step(timetable, Ledger(), india(3, "09:15"))
    for minute in (16, 17):
        ledger, _ = step(timetable, ledger, india(3, f"09:{minute}"))
        ledger = ended(timetable, ledger, "failed", india(3, f"09:{minute}"))

    assert [a.at for a in ledger.alerts()] == [india(3, "09:16")]


def test_one_job_works_once_at_a_time_and_only_so_many_jobs_do() -> None:
    often = Job(at="every 10 min while open", do="x")
    timetable = table(a=often, b=often, c=often)
    ledger, _ = step(timetable, Ledger(), india(3, "09:15"))

    ledger, at_once = step(timetable, ledger, india(3, "09:25"))
    ledger, meanwhile = step(timetable, ledger, india(3, "09:45"))
    ledger = ended(timetable, ledger, "succeeded", india(3, "09:46"))
    _, later = step(timetable, ledger, india(3, "09:46"))

    assert [n.job for n in at_once] == ["a", "b"]
    assert meanwhile == []
    assert [(n.job, n.at) for n in later] == [("a", india(3, "09:45")), ("b", india(3, "09:45"))]


def test_what_the_cluster_says_of_a_run_decides_what_becomes_of_it() -> None:
    timetable = table(repair=CLOSE)
    ledger, _ = step(timetable, Ledger(), india(3, "12:00"))
    ledger, (run,) = step(timetable, ledger, india(3, "15:50"))
    soon, late = india(3, "15:51"), india(3, "16:01")

    assert timetable.verdict(run, None, "", soon) == "submit"
    assert timetable.verdict(run, "running", "", soon) is None
    assert timetable.verdict(run, "running", "", late) == "stop"
    stopped = timetable.verdict(run, "stopped", "", late)
    assert isinstance(stopped, Note) and (stopped.state, stopped.reason) == (State.STOPPED, "took longer than 600 s")
    unheard = timetable.verdict(run, None, "", late)
    assert isinstance(unheard, Note) and unheard.state is State.FAILED
    lost = Timetable({"repair": CLOSE}, CALENDARS, "life-2").verdict(run, None, "", soon)
    assert isinstance(lost, Note) and (lost.state, lost.final) == (State.LOST, False)


def test_a_run_asked_for_by_hand_is_one_of_its_own_and_tells_nobody() -> None:
    timetable = table(repair=CLOSE)
    ledger, _ = step(timetable, Ledger(), india(3, "12:00"))
    asked = Note(job="repair", state=State.ASKED, at=india(3, "12:30") + 7, noted=india(3, "12:30"), by_hand=True)

    ledger, (run,) = step(timetable, ledger.after([asked]), india(3, "12:30"))
    ledger = ended(timetable, ledger, "failed", india(3, "12:31"))

    assert run.submission == "repair-by-hand-20211103T070000-000000007"
    assert run.session == date(2021, 11, 3)
    assert ledger.alerts() == []
    assert step(timetable, ledger, india(3, "12:40"))[1] == []


@given(st.lists(st.integers(0, 3 * 24 * 60), min_size=1, max_size=30))
def test_the_ledger_survives_the_way_to_a_snapshot_and_back(minutes: list[int]) -> None:
    timetable = table(repair=Job(at="every 10 min while open", do="x", misfire="skip"), close=CLOSE)
    ledger = Ledger()
    for k, minute in enumerate(minutes):
        ledger, _ = step(timetable, ledger, india(3, "09:00") + minute * MINUTE)
        ledger = ended(timetable, ledger, "failed" if k % 2 else "succeeded", india(3, "09:00") + minute * MINUTE)

    assert Ledger.model_validate_json(ledger.model_dump_json()) == ledger


JOBS = {
    "often": Job(at="every 10 min while open", do="x", grace_seconds=120, tries=2, retry_seconds=30, limit_seconds=300),
    "close": Job(at="20 min after close", do="x", tries=3, retry_seconds=60, limit_seconds=300),
    "night": Job(cron="30 2 * * *", do="x", misfire="skip", grace_seconds=600, limit_seconds=300),
}


class World(RuleBasedStateMachine):
    """Three timetables, each with a clock of its own and behind in its reading, one bus, and a cluster that may begin a
    new life. The bus takes a note whose number is above its writer's last; the cluster takes a name once a life.
    """

    @initialize()
    def begin(self) -> None:
        """A quiet night before the first session."""
        self.now = india(3, "08:00")
        self.skew = [0, 0, 0]
        self.log: list[Note] = []
        self.numbers: dict[str, int] = {}
        self.ledgers, self.cursors = [Ledger()] * 3, [0] * 3
        self.lives = count(1)
        self.taken: list[str] = []
        self.new_life()

    def clock(self, who: int) -> int:
        """What one timetable's clock shows."""
        return self.now + self.skew[who]

    def hear(self, who: int) -> None:
        """Read the log to its end."""
        self.ledgers[who] = self.ledgers[who].after(self.log[self.cursors[who] :])
        self.cursors[who] = len(self.log)

    def put(self, note: Note) -> bool:
        """What the bus does with a note."""
        if self.numbers.get(note.writer, -1) >= note.number:
            return False
        self.numbers[note.writer] = note.number
        self.log.append(note)
        return True

    def table(self) -> Timetable:
        """The timetable of this life of the cluster."""
        return Timetable(JOBS, CALENDARS, self.life)

    @rule(minutes=st.integers(1, 40))
    def time_passes(self, minutes: int) -> None:
        """A little."""
        self.now += minutes * MINUTE

    @rule(hours=st.integers(1, 40))
    def nobody_is_there(self, hours: int) -> None:
        """For long."""
        self.now += hours * 60 * MINUTE

    @rule(who=st.integers(0, 2), minutes=st.integers(-3000, 3000))
    def a_clock_jumps(self, who: int, minutes: int) -> None:
        """To or fro."""
        self.skew[who] = minutes * MINUTE

    @rule(who=st.integers(0, 2))
    def a_clock_is_set_right(self, who: int) -> None:
        """Again."""
        self.skew[who] = 0

    @rule(who=st.integers(0, 2), hears=st.booleans(), dies_before_submitting=st.booleans())
    def turn(self, who: int, hears: bool, dies_before_submitting: bool) -> None:
        """What the shell does once a second, perhaps with an old view, perhaps cut off in the middle."""
        if hears:
            self.hear(who)
        for note in self.table().due(self.ledgers[who], self.clock(who), self.clock(who)):
            self.put(note)
            self.hear(who)
        if not dies_before_submitting:
            self.follow(who)

    def follow(self, who: int) -> None:
        """Ask of every open run and do what is to be done."""
        for note in self.ledgers[who].open():
            verdict = self.table().verdict(note, self.cluster.get(note.submission), "said", self.clock(who))
            if verdict == "submit" and note.submission not in self.cluster:
                self.cluster[note.submission] = "running"
                self.taken.append(note.submission)
            elif verdict == "stop":
                self.cluster[note.submission] = "stopped"
            elif isinstance(verdict, Note):
                self.put(verdict)
                self.hear(who)

    @rule(who=st.integers(0, 2))
    def a_timetable_starts_again(self, who: int) -> None:
        """With nothing in its head; the log tells it."""
        self.ledgers[who], self.cursors[who] = Ledger(), 0

    @rule()
    def new_life(self) -> None:
        """The cluster ends and another begins, which has heard of no job."""
        self.life = f"life-{next(self.lives)}"
        self.cluster: dict[str, str] = {}

    @precondition(lambda self: "running" in self.cluster.values())
    @rule(word=st.sampled_from(["succeeded", "failed"]), data=st.data())
    def a_job_ends(self, word: str, data: st.DataObject) -> None:
        """One of those that work."""
        name = data.draw(st.sampled_from([n for n, w in self.cluster.items() if w == "running"]))
        self.cluster[name] = word

    @rule(word=st.sampled_from(["succeeded", "failed"]))
    def in_the_end_nothing_is_missed(self, word: str) -> None:
        """Once clocks are right and jobs end, the newest instant of every job that catches up has its run."""
        self.skew = [0, 0, 0]
        for _ in range(2 * len(JOBS) + 2):
            self.turn(0, True, False)
            self.cluster = {name: word if w == "running" else w for name, w in self.cluster.items()}
        ledger = self.ledgers[0]
        for name, job in JOBS.items():
            planned = newest(job.when, WEEK, self.now)
            seen = ledger.seen[f"{name}: {job.schedule}"]
            if planned is not None and planned > seen and job.misfire == "catch_up":
                known = ledger.runs[run_name(name, planned)]
                assert known.state is State.SUCCEEDED or known.state in (*UNWELL, State.STARTED)

    @invariant()
    def no_try_is_taken_twice(self) -> None:
        """In any life of the cluster."""
        assert len(self.taken) == len(set(self.taken))

    @invariant()
    def every_run_goes_through_its_tries_one_by_one(self) -> None:
        """Started, ended, started again."""
        steps: dict[str, list[Note]] = {}
        for note in self.log:
            if note.state is not State.SEEN:
                steps.setdefault(note.run, []).append(note)
        for notes in steps.values():
            numbers = [n.number for n in notes]
            assert numbers == sorted(set(numbers))
            assert numbers == list(range(2, 2 + len(numbers)))
            assert all(n.attempt <= JOBS[n.job].tries for n in notes)


World.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase


def test_a_job_of_the_wall_clock_runs_whatever_the_market_s_clock_does() -> None:
    wall = Job(cron="*/30 * * * *", clock="wall", do="compact")
    table = Timetable({"wall": wall, "tape": wall.model_copy(update={"clock": "market"})}, CALENDARS, "life")
    utc, later = india(6, "12:10"), india(6, "12:31")

    seen = table.due(Ledger(), 0, utc)
    due = table.due(Ledger().after(seen), 0, later)

    assert [(note.job, note.state, note.at) for note in seen] == [("wall", State.SEEN, utc)]
    assert [(note.job, note.state, note.at) for note in due] == [("wall", State.STARTED, india(6, "12:30"))]
    assert table.next_run("wall", 0, later) == india(6, "13:00") and table.next_run("tape", 0, later) is None


@pytest.mark.parametrize("at_once", [True, False])
def test_a_job_that_is_new_runs_at_once_where_it_says_so(at_once: bool) -> None:
    job = Job(cron="0 */2 * * *", clock="wall", at_once=at_once, do="compact")
    table, now = Timetable({"compact": job}, CALENDARS, "life"), india(6, "12:10")

    ledger = Ledger().after(table.due(Ledger(), 0, now))
    due = table.due(ledger, 0, now)
    again = table.due(ledger.after(due), 0, now)

    assert [note.at for note in due] == ([india(6, "12:00")] if at_once else [])
    assert again == []
