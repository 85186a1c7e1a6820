"""The bus against a real server: once, in order, never behind a reader's back."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.bus import (
    BEHIND_SECONDS,
    END,
    LAST_SEQUENCE,
    SEQUENCE_BITS,
    START,
    Bus,
    Entry,
    EntryId,
    disk_free,
    merge,
    pack,
    unpack,
)
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from market.errors import BadValue, LeaseLost, LineDown, LogWentBack
from tests.adapters.cycle import FEED, MakeServer, Summer, cycle, outcome

ALL = 10_000
ONE_BUS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""Each example empties the bus for itself."""


def ids(entries: list[Entry]) -> list[EntryId]:
    return [e.id for e in entries]


# Ids


@given(st.integers(0, (1 << 42) - 1), st.integers(0, LAST_SEQUENCE))
def test_an_id_fits_one_integer_that_orders_like_it(ms: int, sequence: int) -> None:
    packed = pack(f"{ms}-{sequence}")

    assert unpack(packed) == f"{ms}-{sequence}" and 0 <= packed <= END < 2**63
    assert pack(f"{ms}-{sequence}".encode()) == packed


@pytest.mark.parametrize("text", [f"1-{LAST_SEQUENCE + 1}", f"{1 << 42}-0"])
def test_an_id_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="entry id"):
        pack(text)


# Appending


def test_a_feed_s_rows_are_read_as_they_were_written(bus: Bus) -> None:
    written = bus.append("ticks", "kite", [(0, 7, b"a"), (2, 7, b"b"), (0, 9, b"\x00\xff")])

    read = bus.read("ticks", {0: START, 1: START, 2: START}, 10)

    assert None not in written
    assert sorted(read, key=lambda e: e.partition) == [  # each is a log of its own: two may have the same id
        Entry(written[0] or 0, 0, "kite", 7, b"a"),
        Entry(written[2] or 0, 0, "kite", 9, b"\x00\xff"),
        Entry(written[1] or 0, 2, "kite", 7, b"b"),
    ]


def test_a_number_that_is_known_is_refused_for_its_writer_and_partition_alone(bus: Bus) -> None:
    bus.append("ticks", "kite", [(0, 5, b"a")])

    again = bus.append("ticks", "kite", [(0, 4, b"x"), (0, 5, b"x"), (0, 6, b"b"), (0, 6, b"x")])

    assert [i is None for i in again] == [True, True, False, True]
    assert None not in bus.append("ticks", "kite", [(1, 5, b"c")]) + bus.append("ticks", "upstox", [(0, 5, b"d")])
    assert None not in bus.append("news", "kite", [(0, 5, b"e")])
    assert [e.payload for e in bus.range("ticks", 0, START, END, ALL)] == [b"a", b"b", b"d"]
    assert bus.numbers("ticks", "kite", [0, 1, 2]) == {0: 6, 1: 5, 2: -1}


def test_nothing_is_appended_by_nothing(bus: Bus) -> None:
    assert bus.append("ticks", "kite", []) == []
    assert bus.read("ticks", {}, 10, block=1.0) == []
    assert bus.numbers("ticks", "kite", []) == {}


@pytest.mark.parametrize("number", [-1, 1 << 53])
def test_a_number_that_lua_cannot_count_is_refused(bus: Bus, number: int) -> None:
    with pytest.raises(BadValue, match="number"):
        bus.append("ticks", "kite", [(0, number, b"")])


def test_the_largest_number_is_kept_exactly(bus: Bus) -> None:
    largest = (1 << 53) - 1
    bus.append("ticks", "kite", [(0, largest - 1, b"a"), (0, largest, b"b")])

    assert bus.numbers("ticks", "kite", [0]) == {0: largest}
    assert bus.append("ticks", "kite", [(0, largest, b"c")]) == [None]


def test_a_server_that_forgot_the_script_is_told_it_again(bus: Bus, raw: RedisLine) -> None:
    bus.append("ticks", "kite", [(0, 1, b"a")])
    raw.call("SCRIPT", "FLUSH")

    assert None not in bus.append("ticks", "kite", [(0, 2, b"b"), (1, 2, b"c")])
    assert [e.number for e in bus.range("ticks", 0, START, END, ALL)] == [1, 2]


def test_a_clock_that_stands_still_does_not_use_up_the_sequence(bus: Bus, raw: RedisLine) -> None:
    bus.append("ticks", "kite", [(0, 1, b"a")])
    future = (bus.last("ticks", 0) >> 20) + 10_000_000
    raw.call("XSETID", "ticks:{0}", f"{future}-{LAST_SEQUENCE - 2}")

    written = bus.append("ticks", "kite", [(0, n, b"") for n in (2, 3, 4)])

    assert [unpack(i or 0) for i in written] == [
        f"{future}-{LAST_SEQUENCE - 1}",
        f"{future}-{LAST_SEQUENCE}",
        f"{future + 1}-1",
    ]


# Reading


def test_a_read_goes_on_behind_its_cursors(bus: Bus) -> None:
    first = [i or 0 for i in bus.append("ticks", "f", [(p, n, b"%d" % n) for n in range(4) for p in (0, 1)])]

    read = bus.read("ticks", {0: first[2], 1: first[5]}, 1)

    assert {(e.partition, e.number) for e in read} == {(0, 2), (1, 3)}
    assert bus.read("ticks", {0: first[6], 1: first[7]}, 5) == []


def test_a_blocked_read_wakes_with_what_comes(bus: Bus, shared_bus: RedisServer, raw: RedisLine) -> None:
    read: list[Entry] = []
    patient = Bus(shared_bus.url, timeout=240.0)
    reader = threading.Thread(target=lambda: read.extend(patient.read("ticks", {0: START, 1: START}, 10, block=120.0)))

    reader.start()
    while raw.info("clients")["blocked_clients"] == "0":
        pass
    bus.append("ticks", "f", [(1, 1, b"late")])
    reader.join()
    patient.close()

    assert [(e.partition, e.payload) for e in read] == [(1, b"late")]


def test_a_blocked_read_ends_without_entries(bus: Bus) -> None:
    assert bus.read("ticks", {0: START}, 10, block=0.001) == []


def test_a_range_is_inclusive_and_limited(bus: Bus) -> None:
    written = [i or 0 for i in bus.append("ticks", "f", [(0, n, b"") for n in range(5)])]

    assert ids(bus.range("ticks", 0, written[1], written[3], ALL)) == written[1:4]
    assert ids(bus.range("ticks", 0, START, END, 2)) == written[:2]
    assert bus.range("ticks", 9, START, END, 2) == []


def test_the_last_id_outlives_its_entry(bus: Bus) -> None:
    assert (bus.first("ticks", 0), bus.last("ticks", 0)) == (START, START)
    written = [i or 0 for i in bus.append("ticks", "f", [(0, n, b"") for n in range(3)])]
    assert (bus.first("ticks", 0), bus.last("ticks", 0)) == (written[0], written[2])

    assert bus.trim("ticks", 0, END) == 3

    assert (bus.first("ticks", 0), bus.last("ticks", 0)) == (START, written[2])


def test_the_last_id_outlives_its_entry_and_a_restart(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    written = Bus(server.url).append("ticks", "f", [(0, 1, b"")])[0]
    Bus(server.url).trim("ticks", 0, END)
    server.stop()
    server.start()

    assert Bus(server.url).last("ticks", 0) == written
    assert Bus(server.url).append("ticks", "f", [(0, 1, b"")]) == [None]


# Outputs and snapshots


def test_an_output_is_written_once_under_the_id_of_its_input(bus: Bus) -> None:
    assert bus.write("candles", 0, pack("5-1"), b"first")

    assert not bus.write("candles", 0, pack("5-1"), b"again")
    assert not bus.write("candles", 0, pack("4-9"), b"older")
    assert bus.write_all("candles", [(0, pack("5-2"), b"b"), (0, pack("5-2"), b"c"), (1, pack("5-1"), b"d")]) == [
        True, False, True,
    ]  # fmt: skip
    assert [(e.id, e.writer, e.number, e.payload) for e in bus.range("candles", 0, START, END, ALL)] == [
        (pack("5-1"), "", -1, b"first"),
        (pack("5-2"), "", -1, b"b"),
    ]
    assert bus.write_all("candles", []) == []


def test_an_output_that_was_trimmed_is_still_known(bus: Bus) -> None:
    bus.write("candles", 0, pack("5-1"), b"a")
    bus.trim("candles", 0, END)

    assert not bus.write("candles", 0, pack("5-1"), b"a")


def test_a_snapshot_names_its_cursor_and_is_never_replaced_by_an_older_one(bus: Bus) -> None:
    cursor = pack("1700000000000-5")
    assert bus.load("candles", 0) is None
    assert bus.save("candles", 0, cursor, b"state \x00\xff")

    assert bus.load("candles", 0) == (cursor, b"state \x00\xff")
    for older in (cursor - 1, pack("1699999999999-9"), START):
        assert not bus.save("candles", 0, older, b"older")
    assert bus.save("candles", 0, cursor, b"the same") and bus.save("candles", 0, cursor + 1, b"newer")
    assert bus.load("candles", 0) == (cursor + 1, b"newer")
    assert bus.cursors("candles", [0, 1]) == {0: cursor + 1, 1: START}


@given(older=st.integers(0, END), newer=st.integers(0, END))
@settings(max_examples=50, suppress_health_check=ONE_BUS)
def test_of_two_snapshots_the_newer_stays(bus: Bus, raw: RedisLine, older: EntryId, newer: EntryId) -> None:
    raw.call("DEL", "snapshot:pair:{0}")

    bus.save("pair", 0, older, b"first")

    assert bus.save("pair", 0, newer, b"second") == (newer >= older)


def test_a_reader_that_is_ahead_of_its_log_is_told(bus: Bus) -> None:
    last = bus.append("ticks", "f", [(0, 1, b"")])[0] or 0

    bus.check("ticks", 0, last)
    bus.check("ticks", 1, START)

    with pytest.raises(LogWentBack) as caught:
        bus.check("ticks", 0, last + 1)
    assert (caught.value.stream, caught.value.last) == ("ticks:{0}", unpack(last))
    with pytest.raises(LogWentBack):
        bus.check("ticks", 1, 1)


@given(numbers=st.lists(st.integers(-99, 99), min_size=1, max_size=12), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=ONE_BUS)
def test_no_cut_of_the_log_into_reads_snapshots_and_deaths_changes_the_outputs(
    bus: Bus, raw: RedisLine, numbers: list[int], data: st.DataObject
) -> None:
    raw.call("FLUSHALL")
    bus.append("ticks", FEED, [(0, n, b"%d" % value) for n, value in enumerate(numbers)])
    reader, more = Summer(bus), True

    while more:
        more = reader.step(data.draw(st.integers(1, 5)))
        if data.draw(st.booleans()):
            reader.save()
        if data.draw(st.booleans()):
            reader = Summer(bus)
            more = more or data.draw(st.booleans())
    reader = Summer(bus)
    while reader.step():
        pass

    assert outcome(bus) == [(n, b"%d" % sum(numbers[: n + 1])) for n in range(len(numbers))]


# Owners


def test_a_lease_has_one_owner(bus: Bus) -> None:
    lease = bus.lease("candles:{0}", 60)

    with pytest.raises(LeaseLost, match=r"candles:\{0\}"):
        bus.lease("candles:{0}", 60)
    bus.lease("candles:{1}", 60)

    lease.renew()
    lease.release()
    bus.lease("candles:{0}", 60)


def test_a_stale_owner_can_neither_renew_nor_release(bus: Bus, raw: RedisLine) -> None:
    stale = bus.lease("candles:{0}", 60)
    raw.call("DEL", "lease:candles:{0}")  # it ran out
    fresh = bus.lease("candles:{0}", 60)

    with pytest.raises(LeaseLost):
        stale.renew()
    stale.release()

    fresh.renew()


def test_a_lease_that_ran_out_and_that_nobody_took_is_renewed(bus: Bus, raw: RedisLine) -> None:
    lease = bus.lease("candles:{0}", 60)
    raw.call("DEL", "lease:candles:{0}")

    lease.renew()

    with pytest.raises(LeaseLost):
        bus.lease("candles:{0}", 60)
    assert 0 < raw.call("PTTL", "lease:candles:{0}") <= 60_000


def test_two_owners_at_once_write_every_output_once(bus: Bus, raw: RedisLine, shared_bus: RedisServer) -> None:
    bus.append("ticks", FEED, [(0, n, b"%d" % n) for n in range(200)])
    stale = bus.lease("summer:{0}", 60)
    raw.call("DEL", "lease:summer:{0}")  # it ran out while its owner was away
    fresh = bus.lease("summer:{0}", 60)
    start = threading.Barrier(2)

    def own() -> None:
        owner = Summer(Bus(shared_bus.url))
        start.wait()
        while owner.step(3):
            owner.save()

    owners = [threading.Thread(target=own) for _ in range(2)]
    for owner in owners:
        owner.start()
    for owner in owners:
        owner.join()

    fresh.renew()
    with pytest.raises(LeaseLost):
        stale.renew()
    assert outcome(bus) == [(n, b"%d" % (n * (n + 1) // 2)) for n in range(200)]


# A line that breaks


END_OF_IT = b"nobody says more"


class Silence:
    """A server that takes everything and never answers; counts the commands it was sent."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.taken = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            line, _ = self._listener.accept()
            with line:
                while some := line.recv(1 << 16):
                    self.taken += some
                if self.taken.endswith(END_OF_IT):
                    return
            self.connections += 1

    def close(self) -> None:
        """Stop listening; returns when all that was said before has come, and nothing more can."""
        with socket.create_connection(self._listener.getsockname()) as last:
            last.sendall(END_OF_IT)
        self._thread.join()
        self._listener.close()


@pytest.mark.parametrize("act", ["append", "write", "save", "read"])
def test_a_command_without_an_answer_is_sent_once(act: str) -> None:
    silence = Silence()
    bus = Bus(silence.url, timeout=0.1)
    acts = {
        "append": lambda: bus.append("ticks", "f", [(0, 1, b"only-once")]),
        "write": lambda: bus.write("candles", 0, pack("5-1"), b"only-once"),
        "save": lambda: bus.save("only-once", 0, 1, b""),
        "read": lambda: bus.read("only-once", {0: START}, 1, block=60.0),
    }

    with pytest.raises(LineDown, match="timed out"):
        acts[act]()

    bus.close()
    silence.close()
    assert (silence.taken.count(b"only-once"), silence.connections) == (1, 1)


def test_a_stalled_server_and_timed_out_writes_lose_nothing_and_double_nothing(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    bus, calm = Bus(server.url, timeout=0.1), Bus(server.url)
    rows = [(p, n, b"%d" % n) for n in range(30) for p in (0, 1)]
    calm.append("ticks", FEED, rows[:20])

    os.kill(server.pid or 0, signal.SIGSTOP)
    for _ in range(3):  # a stubborn feed: the same write on three connections, each left unanswered
        with pytest.raises(LineDown, match="timed out"):
            bus.append("ticks", FEED, rows[20:40])
    os.kill(server.pid or 0, signal.SIGCONT)
    known = calm.numbers("ticks", FEED, [0, 1])
    calm.append("ticks", FEED, [row for row in rows if row[1] > known[row[0]]])

    for partition in (0, 1):
        assert [e.number for e in calm.range("ticks", partition, START, END, ALL)] == list(range(30))


def test_a_server_that_dies_under_a_write_takes_it_once(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    bus = Bus(server.url, timeout=0.1)
    cycle(Bus(server.url), 2)
    os.kill(server.pid or 0, signal.SIGSTOP)
    with pytest.raises(LineDown):
        bus.append("ticks", FEED, [(0, 3, b"3")])
    pid = server.pid or 0
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(LineDown):
        bus.append("ticks", FEED, [(0, 3, b"3")])

    server.ensure()

    calm = Bus(server.url)
    cycle(calm, 4)
    assert outcome(calm) == [(1, b"1"), (2, b"3"), (3, b"6"), (4, b"10")]


@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1/0"])
def test_a_server_that_is_not_there_is_a_line_down(url: str) -> None:
    with pytest.raises(LineDown, match=r"nowhere|127\.0\.0\.1"):
        Bus(url).ping()


def test_a_url_that_is_none_is_a_bad_value_that_keeps_the_password() -> None:
    with pytest.raises(BadValue) as caught:
        Bus("http://user:secret@host")
    assert "secret" not in str(caught.value)


def test_a_password_is_asked_for_and_not_told(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    Bus(server.url).ping()
    RedisLine(server.url).call("CONFIG", "SET", "requirepass", "secret")

    with pytest.raises(LineDown, match="NOAUTH"):
        Bus(server.url).append("ticks", "f", [(0, 1, b"")])
    with pytest.raises(LineDown) as caught:
        Bus(server.url.replace("unix://", "unix://:wrong-secret@")).ping()

    assert "secret" not in str(caught.value)
    Bus(server.url.replace("unix://", "unix://:secret@")).ping()


def clock(line: RedisLine) -> float:
    """The server's, in seconds."""
    seconds, micros = line.call("TIME")
    return int(seconds) + int(micros) / 1e6


def test_a_user_who_may_not_ask_is_taken_for_one_without_fsync(
    raw: RedisLine, bus: Bus, shared_bus: RedisServer
) -> None:
    raw.call("ACL", "SETUSER", "guest", "on", ">guest", "~*", "&*", "+@all", "-config")

    guest = Bus(shared_bus.url.replace("unix://", "unix://guest:guest@"))

    assert bus.fsync_always() and bus.head() == END
    assert not guest.fsync_always()
    before = clock(raw)
    head = (guest.head() >> SEQUENCE_BITS) / 1000 + BEHIND_SECONDS
    assert before - 0.001 <= head <= clock(raw)


def test_a_key_of_another_kind_is_our_mistake_not_a_line_down(bus: Bus, raw: RedisLine) -> None:
    raw.call("SET", "ticks:{0}", "not a stream")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bus.append("ticks", "f", [(0, 1, b"")])
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bus.write("ticks", 0, 1, b"")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bus.last("ticks", 0)


# Keeping it small


def test_retention_never_passes_a_durable_reader(bus: Bus) -> None:
    written = [i or 0 for i in bus.append("ticks", "f", [(0, n, b"") for n in range(10)])]
    readers = ("candles", "archive")

    assert bus.retire("ticks", 0, readers, END) == 0  # nobody has read
    bus.save("candles", 0, written[7], b"")
    assert bus.retire("ticks", 0, readers, END) == 0  # one has not
    bus.save("archive", 0, written[4], b"")
    assert bus.retire("ticks", 0, readers, written[2]) == 2  # the age to keep stands before both
    assert bus.retire("ticks", 0, readers, END) == 2
    assert ids(bus.range("ticks", 0, START, END, ALL)) == written[4:]
    assert bus.retire("ticks", 0, (), written[6]) == 2


@given(read=st.lists(st.integers(0, 12), min_size=1, max_size=3), keep=st.integers(0, 12))
@settings(max_examples=40, deadline=None, suppress_health_check=ONE_BUS)
def test_what_any_reader_has_not_read_stays(bus: Bus, raw: RedisLine, read: list[int], keep: int) -> None:
    raw.call("FLUSHALL")
    written = [START, *(i or 0 for i in bus.append("ticks", "f", [(0, n, b"") for n in range(12)]))]
    readers = [f"reader-{n}" for n in range(len(read))]
    for reader, place in zip(readers, read, strict=True):
        bus.save(reader, 0, written[place], b"")

    bus.retire("ticks", 0, readers, written[keep])

    left = ids(bus.range("ticks", 0, START, END, ALL))
    assert set(written[1:][min(read) :]) <= set(left)
    assert left == written[max(1, min([keep, *read])) :]


def test_outputs_still_fit_after_feeds_stopped_at_the_pressure(make_server: MakeServer) -> None:
    server = make_server(memory=24 << 20)
    server.start()
    bus = Bus(server.url)
    seen, number = [bus.pressure()], 0
    while seen[-1] != "stop":
        number += 1
        bus.append("ticks", "f", [(0, number, bytes(100_000))])
        seen.append(bus.pressure())

    written = bus.write_all("candles", [(0, n, bytes(1_000)) for n in range(1, 200)])

    assert sorted(set(seen), key=seen.index) == ["ok", "alarm", "stop"]
    assert all(written) and bus.save("candles", 0, number, bytes(100_000))
    assert bus.retire("ticks", 0, ["candles"], END) == 0


def test_a_full_server_refuses_and_evicts_nothing(make_server: MakeServer) -> None:
    server = make_server(memory=16 << 20)
    server.start()
    bus = Bus(server.url)
    number = 0

    with pytest.raises(LineDown, match="OOM"):
        while number < 1_000:
            bus.append("ticks", "f", [(0, number + 1, bytes(100_000)), (1, number + 1, b"")])
            number += 1

    with pytest.raises(LineDown, match="OOM"):
        bus.write("candles", 0, 1, bytes(100_000))
    assert bus.numbers("ticks", "f", [0]) == {0: number}
    assert [e.number for e in bus.range("ticks", 0, START, END, ALL)] == list(range(1, number + 1))
    bus.trim("ticks", 0, bus.last("ticks", 0))
    assert None not in bus.append("ticks", "f", [(0, number + 1, b"")])


def test_free_disk_is_what_the_file_system_says(tmp_path: Path) -> None:
    said = os.statvfs(tmp_path)

    assert abs(disk_free(tmp_path) - said.f_bavail * said.f_frsize) < 1 << 30


# Several topics


def entry(number: int) -> Entry:
    return Entry(number, 0, "", -1, b"")


def test_topics_are_merged_by_mark_then_topic_then_id() -> None:
    ticks = [(10, entry(1)), (20, entry(2)), (20, entry(3)), (15, entry(4))]
    candles = [(10, entry(5)), (20, entry(2)), (21, entry(9))]

    merged = [(topic, e.id) for topic, e in merge(("ticks", ticks), ("candles", candles))]

    assert merged == [
        ("candles", 5), ("ticks", 1), ("candles", 2), ("ticks", 2), ("ticks", 3), ("ticks", 4), ("candles", 9),
    ]  # fmt: skip


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=3), st.data())
def test_the_order_of_topics_does_not_depend_on_how_they_are_named_first(
    marks: list[list[int]], data: st.DataObject
) -> None:
    topics = [(f"t{n}", [(m, entry(i)) for i, m in enumerate(sorted(each))]) for n, each in enumerate(marks)]
    shuffled = data.draw(st.permutations(topics))

    assert list(merge(*shuffled)) == list(merge(*topics))
    assert sorted(e.id for _, e in merge(*topics)) == sorted(e.id for _, each in topics for _, e in each)
