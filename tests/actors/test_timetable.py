"""Timetable: what is due is submitted once, by however many timetables, and what goes wrong is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from actors.submissions import last_words
from actors.timetable import Timetable, TimetablePlan
from adapters import entries
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.redis_server import RedisServer
from market.alerts import still_open
from market.errors import LineDown
from market.sessions import MINUTE, session
from market.ticks import FeedState, mark
from market.timetable import SESSION, Job, Note, State, Word

TODAY = session(date(2016, 8, 25))
JOB = Job(at="every 10 min while open", do="compact", tries=2, retry_seconds=0)


class Cluster:
    """A cluster's jobs: it takes a name once, and says of each what it was told to say.

    `away`: the beginnings of names about which it answers nobody.
    """

    def __init__(self) -> None:
        self.words: dict[str, Word] = {}
        self.taken: list[tuple[str, list[str]]] = []
        self.away: tuple[str, ...] = ()

    def word(self, name: str) -> tuple[Word | None, str]:
        """What it was told to say."""
        self._answer(name)
        return self.words.get(name), "no such bond"

    def submit(self, name: str, words: Sequence[str]) -> None:
        """Take a name that is new."""
        self._answer(name)
        if name not in self.words:
            self.words[name] = "running"
            self.taken.append((name, list(words)))

    def stop(self, name: str) -> None:
        """End it."""
        self._answer(name)
        self.words[name] = "stopped"

    def _answer(self, name: str) -> None:
        if name.startswith(self.away):
            raise LineDown("ray jobs", "no dashboard")


@pytest.fixture
def cluster() -> Cluster:
    """A cluster that has heard of no job."""
    return Cluster()


def timetable(server: RedisServer, cluster: Cluster, life: str = "life-1", **jobs: Job) -> Timetable:
    """One of one job, by the clock of a tape."""
    plan = TimetablePlan(
        bus=server.url,
        partitions=1,
        jobs=jobs or {"compact": JOB},
        commands={"compact": ("compact", "--session", SESSION)},
        calendars={"NSE": (TODAY,)},
        dashboard="http://127.0.0.1:1",
        cluster=life,
        tape=True,
        log_level="critical",
    )
    return Timetable(plan, cluster)


def clock(bus: Bus, minutes: int) -> None:
    """The feed says that so much of the session is over."""
    at = TODAY.open + minutes * MINUTE
    bus.append("ticks", "sim", [(0, minutes, entries.encode(mark(0, FeedState.LIVE, at)))])


def rows(one: Timetable) -> list[tuple[str, str]]:
    """Each job's last run as `bourse timetable` shows it."""
    return [(row["last"]["run"], row["last"]["state"]) for row in one.health()["jobs"] if row["last"]]


def test_before_the_markets_clock_is_known_nothing_is_due(server: RedisServer, bus: Bus, cluster: Cluster) -> None:
    one = timetable(server, cluster)

    one.turn()

    assert (one.health()["clock"], cluster.taken, bus.last("jobs", 0)) == (0, [], 0)


def test_a_due_job_is_submitted_once_with_its_session_and_its_end_is_noted(
    server: RedisServer, bus: Bus, cluster: Cluster
) -> None:
    one, other = timetable(server, cluster), timetable(server, cluster)
    for minutes in (1, 11, 12):
        clock(bus, minutes)
        for each in (one, other, other, one):
            each.turn()
    cluster.words = dict.fromkeys(cluster.words, "succeeded")
    one.turn()
    other.turn()

    assert cluster.taken == [("compact-20160825T035500Z", ["compact", "--session", "2016-08-25"])]
    assert rows(one) == rows(other) == [("compact-20160825T035500Z", "succeeded")]
    assert one.health()["jobs"][0]["next"] == TODAY.open + 20 * MINUTE


def test_who_died_before_submitting_is_made_up_for_in_the_same_cluster(
    server: RedisServer, bus: Bus, cluster: Cluster
) -> None:
    one = timetable(server, cluster)
    clock(bus, 1)
    one.turn()
    clock(bus, 11)
    cluster.away = ("compact",)
    with pytest.raises(LineDown):
        one.turn()
    cluster.away = ()

    timetable(server, cluster).turn()

    assert [name for name, _ in cluster.taken] == ["compact-20160825T035500Z"]


def test_a_run_that_its_cluster_took_along_is_tried_again_under_another_name(
    server: RedisServer, bus: Bus, cluster: Cluster
) -> None:
    one = timetable(server, cluster)
    for minutes in (1, 11):
        clock(bus, minutes)
        one.turn()
    reborn = Cluster()

    later = timetable(server, reborn, "life-2")
    later.turn()
    later.turn()

    assert [name for name, _ in reborn.taken] == ["compact-20160825T035500Z-try-2"]


def test_a_job_that_fails_for_good_is_told_once_until_it_works_again(
    server: RedisServer, bus: Bus, cluster: Cluster
) -> None:
    one = timetable(server, cluster)
    clock(bus, 1)
    one.turn()
    open_after = []
    for minutes, word in ((11, "failed"), (21, "failed"), (31, "succeeded")):
        clock(bus, minutes)
        for _ in range(4):
            one.turn()
            cluster.words = {name: word if w == "running" else w for name, w in cluster.words.items()}  # type: ignore[misc]
            timetable(server, cluster).turn()
        open_after.append([a.text for a in still_open(Alerts(bus).recent())])

    assert len(cluster.taken) == 5
    assert open_after == [["compact did not end well: failed, no such bond"]] * 2 + [[]]
    assert len(Alerts(bus).recent()) == 2


def test_a_job_that_hangs_is_stopped(server: RedisServer, bus: Bus, cluster: Cluster) -> None:
    one = timetable(server, cluster)
    for minutes in (1, 11):
        clock(bus, minutes)
        one.turn()
    impatient = timetable(server, cluster, compact=JOB.model_copy(update={"limit_seconds": 0.0, "tries": 1}))
    impatient.turn()
    impatient.turn()

    assert cluster.words == {"compact-20160825T035500Z": "stopped"}
    assert rows(impatient) == [("compact-20160825T035500Z", "stopped")]


def test_a_job_that_cannot_be_asked_about_holds_up_no_other(server: RedisServer, bus: Bus, cluster: Cluster) -> None:
    one = timetable(server, cluster, a=JOB, b=JOB)
    clock(bus, 1)
    one.turn()
    clock(bus, 11)
    cluster.away = ("a-",)

    with pytest.raises(LineDown):
        one.turn()

    assert [name for name, _ in cluster.taken] == ["b-20160825T035500Z"]


def test_what_a_person_asks_for_runs_beside_the_schedule(server: RedisServer, bus: Bus, cluster: Cluster) -> None:
    one = timetable(server, cluster)
    clock(bus, 1)
    one.turn()
    asked = Note(job="compact", state=State.ASKED, at=7, noted=7, by_hand=True)
    bus.append("jobs", asked.writer, [(0, 0, entries.encode_records([asked.model_dump(mode="json")]))])

    one.turn()

    assert cluster.taken == [("compact-by-hand-19700101T000000-000000007", ["compact", "--session", "2016-08-25"])]


def test_a_bus_that_is_away_is_trouble_and_passes(server: RedisServer, bus: Bus, cluster: Cluster) -> None:
    one = timetable(server, cluster)
    clock(bus, 1)
    one.turn()
    server.stop()
    with pytest.raises(LineDown):
        one.turn()
    server.start()
    clock(bus, 11)

    one.turn()

    assert [name for name, _ in cluster.taken] == ["compact-20160825T035500Z"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ("╭─ Error ─────╮\n│ No such command 'repair'. │\n╰────────────╯\n", "No such command 'repair'."),
        ("x" * 1000, "x" * 300),
    ],
)
def test_of_what_a_job_said_the_last_line_is_kept(output: str, words: str) -> None:
    assert last_words(output) == words
