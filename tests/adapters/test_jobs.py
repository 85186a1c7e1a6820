"""The ledger of jobs on the bus: each step of a run once, kept beyond what is trimmed."""

from __future__ import annotations

from adapters.bus import END, START, Bus
from adapters.jobs import TOPIC, Jobs
from market.sessions import SECOND
from market.timetable import Ledger, Note, State

PLANNED = 1_472_146_200 * SECOND


def note(state: State, attempt: int = 1, at: int = PLANNED) -> Note:
    return Note(job="compact", state=state, at=at, noted=at + 5, attempt=attempt, cluster="life-1")


def test_each_step_of_a_run_is_taken_once_whoever_notes_it(bus: Bus) -> None:
    mine, theirs = Jobs(bus), Jobs(bus)

    assert mine.note(note(State.STARTED))
    assert not theirs.note(note(State.STARTED))
    assert not theirs.note(note(State.SKIPPED))
    assert theirs.note(note(State.FAILED))
    assert not mine.note(note(State.SUCCEEDED))
    assert mine.note(note(State.STARTED, attempt=2))
    theirs.hear()
    assert [n.submission for n in theirs.ledger.open()] == ["compact-20160825T173000Z-try-2"]


def test_a_reader_begins_with_what_was_kept_and_needs_nothing_before_it(bus: Bus) -> None:
    jobs = Jobs(bus)
    jobs.note(note(State.STARTED))
    jobs.note(note(State.SUCCEEDED))
    jobs.hear()
    jobs.keep()
    bus.trim(TOPIC, 0, END)
    jobs.note(note(State.STARTED, at=PLANNED + SECOND))

    later = Jobs(bus)
    later.hear()

    assert [(n.at - PLANNED, n.state) for n in later.ledger.runs.values()] == [
        (0, State.SUCCEEDED),
        (SECOND, State.STARTED),
    ]


def test_a_run_that_only_the_bus_remembers_counts_as_done(bus: Bus) -> None:
    Jobs(bus).note(note(State.STARTED))
    bus.trim(TOPIC, 0, END)
    jobs = Jobs(bus)
    jobs.hear()
    assert jobs.ledger == Ledger()

    taken = jobs.note(note(State.STARTED))

    assert not taken
    assert jobs.ledger.runs["compact-20160825T173000Z"].state is State.SKIPPED


def test_an_entry_nobody_can_read_is_counted_and_passed_over(bus: Bus) -> None:
    bus.append(TOPIC, "somebody", [(0, 1, b"garbage")])
    Jobs(bus).note(note(State.STARTED))
    jobs = Jobs(bus)

    heard = jobs.hear()

    assert [n.state for n in heard] == [State.STARTED]
    assert jobs.bad == 1


def test_a_kept_ledger_that_is_ahead_of_the_log_hears_all_of_it(bus: Bus) -> None:
    Jobs(bus).note(note(State.STARTED))
    bus.save("timetable", 0, END, Ledger().model_dump_json().encode())
    jobs = Jobs(bus)

    assert len(jobs.hear()) == 1
    assert bus.first(TOPIC, 0) > START
