"""Our own Redis: what it recovers, what it refuses, and that nobody writes before it is whole."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import psutil
import pytest

from adapters.bus import Bus
from adapters.redis_line import RedisLine
from adapters.redis_server import TORN_BYTES, RedisServer
from market.errors import LineDown, StoreRefused
from tests.adapters.cycle import MakeServer, cycle, outcome


def kill(server: RedisServer) -> None:
    """End a server as a power cut would, and wait until it is gone."""
    pid = server.pid or 0
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def folder(server: RedisServer) -> Path:
    return Path(server.url.removeprefix("unix://")).parent.parent / "bus"


def test_a_bus_is_durable_and_a_cache_forgets(make_server: MakeServer) -> None:
    bus, cache = make_server("bus"), make_server("cache", durable=False, memory=8 << 20)

    for server in (bus, cache):
        server.start()
        RedisLine(server.url).call("SET", "k", "v")
        server.stop()
        server.start()

    asked = [RedisLine(s.url).calls([("GET", "k"), ("CONFIG", "GET", "maxmemory-policy")]) for s in (bus, cache)]
    assert asked == [[b"v", [b"maxmemory-policy", b"noeviction"]], [None, [b"maxmemory-policy", b"allkeys-lru"]]]
    assert Bus(bus.url).fsync_always() and not Bus(cache.url).fsync_always()
    assert Bus(cache.url).memory()[1] == 8 << 20


def test_only_this_user_can_reach_it_and_only_by_its_socket(make_server: MakeServer) -> None:
    server = make_server()
    server.start()

    opened = psutil.Process(server.pid).net_connections(kind="inet")

    assert opened == []
    assert stat.S_IMODE(folder(server).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(server.url.removeprefix("unix://")).stat().st_mode) == 0o700


def test_a_clean_stop_and_start_recovers_nothing(make_server: MakeServer) -> None:
    server = make_server()

    assert server.start() == []
    server.stop()

    assert server.pid is None
    assert server.start() == []
    assert server.start() == []


def test_a_killed_server_is_started_again_and_it_is_said(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    cycle(Bus(server.url), 3)
    first = server.pid
    kill(server)

    done = server.ensure()

    assert done == ["restarted: it ended with -9", f"stale pid file of process {first}"]
    assert server.ensure() == []
    assert outcome(Bus(server.url)) == [(1, b"1"), (2, b"3"), (3, b"6")]


def test_a_server_whose_socket_was_removed_is_started_again(make_server: MakeServer) -> None:
    server = make_server()
    assert server.ensure() == ["started"]
    Path(server.url.removeprefix("unix://")).unlink()

    assert server.ensure() == ["restarted: its socket was removed"]
    Bus(server.url).ping()


def test_a_stalled_server_can_be_stopped(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    os.kill(server.pid or 0, signal.SIGSTOP)
    stopped = threading.Thread(target=server.stop)

    stopped.start()
    os.kill(server.pid or 0, signal.SIGCONT)
    stopped.join(60)

    assert server.pid is None


def left_overs(at: Path) -> dict[str, str]:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (at / "bus" / "redis.pid").write_text(f"{gone.pid}\n")
    (at / "bus" / "owner.lock").write_text(str(gone.pid))
    (at / "bus" / "temp-rewriteaof-77.aof").write_bytes(b"half a rewrite")
    (at / "run" / "bus.sock").write_bytes(b"")
    (at / "run" / "bus.starting.sock").write_bytes(b"")
    return {
        "pid": f"stale pid file of process {gone.pid}",
        "lock": f"stale lock file of process {gone.pid}",
        "temp": "left-over of a crashed rewrite, temp-rewriteaof-77.aof",
        "socket": "stale socket bus.sock",
        "starting": "stale socket bus.starting.sock",
    }


def test_what_a_crash_left_lying_about_is_removed_and_said(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    cycle(Bus(server.url), 2)
    server.stop()

    for _ in range(2):
        expected = left_overs(folder(server).parent)
        assert sorted(server.start()) == sorted(expected.values())
        assert outcome(Bus(server.url)) == [(1, b"1"), (2, b"3")]
        server.stop()

    assert not list(folder(server).glob("temp-*"))


def test_a_process_that_is_not_ours_is_left_alone_whatever_the_pid_file_says(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    server.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (folder(server) / "redis.pid").write_text(str(stranger.pid))

        assert server.start() == [f"stale pid file of process {stranger.pid}"]

        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_foreign_server_on_our_socket_is_refused_and_left_alone(make_server: MakeServer) -> None:
    foreign = make_server("foreign")
    foreign.start()
    server = make_server()
    folder(server).parent.joinpath("run").joinpath("bus.sock").symlink_to(foreign.url.removeprefix("unix://"))

    with pytest.raises(StoreRefused, match="which Bourse did not start"):
        server.start()

    Bus(foreign.url).ping()


PARENT = """
import sys
from adapters.redis_server import RedisServer
server = RedisServer(sys.argv[1], sys.argv[2], "bus", memory=1 << 26, durable=True)
server.start()
print(server.pid, flush=True)
input()
"""


def parent_of(server: RedisServer) -> tuple[subprocess.Popen[bytes], int]:
    at = folder(server).parent
    words = [sys.executable, "-c", PARENT, str(at / "bus"), str(at / "run")]
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said = b""
    while not said.strip().isdigit():
        said = parent.stdout.readline() if parent.stdout else b""
        assert said, "the parent ended"
    return parent, int(said)


def test_a_server_ends_with_its_killed_parent(make_server: MakeServer) -> None:
    server = make_server()
    parent, pid = parent_of(server)
    child = psutil.Process(pid)

    parent.kill()
    parent.communicate()

    assert child.wait(60) is None  # not our child, so only its end is known
    assert server.start()


def test_a_server_that_outlived_its_parent_is_ended_and_its_log_goes_on(make_server: MakeServer) -> None:
    server = make_server()
    parent, pid = parent_of(server)
    cycle(Bus(server.url), 2)
    os.kill(pid, signal.SIGSTOP)  # the signal that ends it with its parent stays pending
    parent.kill()
    parent.communicate()
    orphan, given_up = psutil.Process(pid), threading.Event()

    def wake() -> None:
        while not given_up.wait(0.01):
            if any("outlived" in said for said in server.recovered):
                orphan.resume()
                return

    waker = threading.Thread(target=wake)
    waker.start()

    said = server.start()

    given_up.set()
    waker.join()
    assert not orphan.is_running()
    assert f"process {pid}, our server, had outlived its parent and was ended" in said
    assert outcome(Bus(server.url)) == [(1, b"1"), (2, b"3")]


def test_two_owners_of_one_folder_are_refused(make_server: MakeServer) -> None:
    server, second = make_server(), make_server()
    server.start()

    with pytest.raises(StoreRefused, match=f"in use by process {os.getpid()}"):
        second.start()

    Bus(server.url).ping()


@pytest.mark.parametrize("found", ["7.2", "6.10", "99.0"])
def test_an_older_server_refuses_the_folder_of_a_newer_one(make_server: MakeServer, found: str) -> None:
    server = make_server()
    server.start()
    cycle(Bus(server.url), 2)
    server.stop()
    version = folder(server) / "redis-version"
    ours = version.read_text()
    version.write_text(found)

    with pytest.raises(StoreRefused, match=f"written by Redis {found}"):
        server.start()

    version.write_text(ours)
    server.start()
    assert outcome(Bus(server.url)) == [(1, b"1"), (2, b"3")]


def test_the_files_of_a_newer_server_are_refused_without_a_note_of_its_version(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    server.stop()
    if server.version >= (7, 0):
        pytest.skip("this machine's Redis has the newer files itself")
    (folder(server) / "appendonlydir").mkdir()

    with pytest.raises(StoreRefused, match=r"written by Redis 7\.0"):
        server.start()


def test_the_newer_format_of_a_dump_is_refused_and_kept(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    server.stop()
    if server.version >= (7, 0):
        pytest.skip("the append-only file stands elsewhere")
    file = folder(server) / "appendonly.aof"
    newer = file.read_bytes().replace(b"REDIS0009", b"REDIS0099", 1)
    file.write_bytes(newer)

    with pytest.raises(StoreRefused, match="cannot read"):
        server.start()

    assert file.read_bytes() == newer


@pytest.mark.parametrize("note", ["", "newest", "7"])
def test_an_unreadable_version_is_refused(make_server: MakeServer, note: str) -> None:
    server = make_server()
    server.start()
    server.stop()
    (folder(server) / "redis-version").write_text(note)

    with pytest.raises(StoreRefused, match="does not name a version"):
        server.start()


def test_the_files_of_a_redis_we_did_not_start_are_refused_and_kept(make_server: MakeServer) -> None:
    server = make_server()
    folder(server).mkdir(parents=True)
    (folder(server) / "appendonly.aof").write_bytes(b"*1\r\n$8\r\nFLUSHALL\r\n")

    with pytest.raises(StoreRefused, match="did not start"):
        server.start()

    assert (folder(server) / "appendonly.aof").read_bytes() == b"*1\r\n$8\r\nFLUSHALL\r\n"


def test_a_socket_path_that_is_too_long_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="shorter run folder"):
        RedisServer(tmp_path, tmp_path / ("x" * 100), "bus", memory=1 << 26, durable=True)


def test_a_folder_may_have_spaces_and_quotes_in_its_name(make_server: MakeServer) -> None:
    server = make_server('a "b" c%20\\d')

    server.start()
    line = RedisLine(server.url)
    line.call("SET", "kept", "here")

    assert line.call("GET", "kept") == b"here"
    assert line.call("CONFIG", "GET", "dir")[1].decode().endswith('a "b" c%20\\d')


def test_a_program_that_is_no_redis_is_refused(make_server: MakeServer) -> None:
    with pytest.raises(StoreRefused, match="not a Redis server"):
        make_server(binary=sys.executable)


def test_a_server_that_cannot_start_says_why(make_server: MakeServer) -> None:
    server = make_server(memory=-1)

    with pytest.raises(LineDown, match="argument must be a memory value"):
        server.start()

    assert server.pid is None
    with pytest.raises(LineDown):
        server.ensure()


def test_nobody_is_let_in_before_the_rewrite(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    cycle(Bus(server.url), 2)
    kill(server)

    server.ensure()

    state = RedisLine(server.url).info("persistence")
    assert state["aof_current_size"] == state["aof_base_size"]
    assert (folder(server) / "appendonly.aof").read_bytes().startswith(b"REDIS")


@pytest.mark.parametrize("tail", [bytes(7), b"\x00garbage\r\n" * 50, b"*3\r\n$3\r\nSET\r\n" + bytes(9)])
def test_a_tail_of_garbage_is_cut_off_twice_in_a_row_and_a_copy_kept(make_server: MakeServer, tail: bytes) -> None:
    server = make_server()
    server.start()
    if server.version >= (7, 0):
        pytest.skip("the append-only file stands elsewhere")
    cycle(Bus(server.url), 2)
    file = folder(server) / "appendonly.aof"

    for _ in range(2):
        kill(server)
        damaged = file.read_bytes() + tail
        file.write_bytes(damaged)
        said = server.ensure()
        copies = [c for c in file.parent.glob("appendonly.aof.damaged-*") if any(c.name in s for s in said)]
        assert [c.read_bytes() for c in copies] == [damaged]
        assert outcome(Bus(server.url)) == [(1, b"1"), (2, b"3")]


def test_damage_beyond_a_torn_tail_is_refused_and_kept(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    if server.version >= (7, 0):
        pytest.skip("the append-only file stands elsewhere")
    server.stop()
    file = folder(server) / "appendonly.aof"
    with file.open("ab") as damaged:
        damaged.truncate(file.stat().st_size + TORN_BYTES + 1)

    with pytest.raises(StoreRefused, match="damaged beyond a torn tail"):
        server.start()

    assert file.stat().st_size > TORN_BYTES


def tail_of_a_cycle(server: RedisServer, file: Path) -> tuple[bytes, int, int]:
    """The file after three cycles; where the last append begins in it, and where its output begins."""
    bus = Bus(server.url)
    cycle(bus, 2)
    begin = file.stat().st_size
    bus.append("ticks", "feed", [(0, 3, b"3")])
    middle = file.stat().st_size
    cycle(bus, 3)
    return file.read_bytes(), begin, middle


def cut_and_start_twice(
    server: RedisServer, whole: bytes, cuts: list[int]
) -> list[tuple[int, list[str], object, object]]:
    """For each cut: what was recovered, and the streams after a second kill and after the day went on."""
    server.start()
    seen = []
    for cut in cuts:
        kill(server)
        (folder(server) / "appendonly.aof").write_bytes(whole[:cut])
        said = server.ensure()
        cycle(Bus(server.url), 4)
        kill(server)
        server.ensure()
        again = outcome(Bus(server.url))
        cycle(Bus(server.url), 5)
        seen.append((cut, said, again, outcome(Bus(server.url))))
    return seen


@pytest.mark.endurance
def test_a_file_cut_anywhere_in_its_last_cycle_and_started_twice_gives_the_undisturbed_streams(
    make_server: MakeServer,
) -> None:
    server = make_server()
    server.start()
    if server.version >= (7, 0):
        pytest.skip("the append-only file stands elsewhere")
    whole, begin, middle = tail_of_a_cycle(server, folder(server) / "appendonly.aof")
    cuts = [*range(begin, middle + 1), *range(middle + 1, len(whole), 9)]
    undisturbed = [(1, b"1"), (2, b"3"), (3, b"6"), (4, b"10"), (5, b"15")]

    with ThreadPoolExecutor(4) as pool:
        servers = [make_server(f"{n}/bus") for n in range(4)]
        seen = list(pool.map(cut_and_start_twice, servers, [whole] * 4, [cuts[n::4] for n in range(4)]))

    for cut, said, again, after in chain.from_iterable(seen):
        assert (again, after) == (undisturbed[:4], undisturbed), cut
        assert not begin < cut < middle or any("half-written" in s for s in said), (cut, said)
