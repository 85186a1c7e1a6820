"""A primary, its replica and the three Sentinels that watch them, on loopback: a bus that outlives one of its servers.

The primary takes a write only while a replica follows it (`min-replicas-to-write 1`), and `RedisLine` waits until that
replica has it; so what was acknowledged is on both when the primary is killed. A killed server is started again as the
replica of whoever is primary by then.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from adapters.children import launch
from adapters.redis_line import RedisLine
from adapters.redis_server import find
from market.errors import LineDown

SET = "bourse"
SERVERS, SENTINELS = 2, 3
READY_SECONDS = 30.0
LOOK_SECONDS = 0.02
PORTS = range(2_000, 7_900)
"""Below those of an instance, and below what the kernel gives a connection that names none: so that neither comes
between the choice and the server.
"""
DOWN_MS = 1000
"""After so many milliseconds of silence a Sentinel takes a server for dead."""

SERVER_CONF = """
bind 127.0.0.1
port {port}
dir "{folder}"
save ""
appendonly yes
appendfsync always
maxmemory {memory}
maxmemory-policy noeviction
min-replicas-to-write 1
min-replicas-max-lag 2
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-backlog-size 16mb
requirepass {password}
masterauth {password}
proc-title-template "{{title}} {{config-file}}"
"""

SENTINEL_CONF = """
bind 127.0.0.1
port {port}
dir "{folder}"
sentinel monitor {name} 127.0.0.1 {primary} 2
sentinel auth-pass {name} {password}
sentinel down-after-milliseconds {name} {down}
sentinel failover-timeout {name} 4000
sentinel parallel-syncs {name} 1
"""


class RedisPair:
    """Start it, look who is `primary`, kill what you like, `mend`, `stop`."""

    def __init__(self, folder: Path, memory: int) -> None:
        """`folder` holds the data and logs of all five; `memory` of each server in bytes."""
        self._folder, self._memory = folder.resolve(), memory
        self._password = secrets.token_hex(16)
        ports = free_ports(SERVERS + SENTINELS)
        self._servers, self._sentinels = ports[:SERVERS], ports[SERVERS:]
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where clients connect, whoever is primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        return f"redis+sentinel://:{self._password}@{hosts}/{SET}/0"

    def start(self) -> None:
        """Start all five and wait until a write would be taken. Raises LineDown."""
        first, *others = self._servers
        self._serve(first, None)
        for port in others:
            self._serve(port, first)
        line = RedisLine(f"redis://:{self._password}@127.0.0.1:{first}")
        self._until("the replica", lambda: "state=online" in line.info("replication").get("slave0", ""))
        line.close()
        for port in self._sentinels:  # only now: a Sentinel asks a server for its replicas every 10 s
            self._watch(port, first)
        line = RedisLine(self.url)
        self._until("the pair", lambda: self._known() and bool(line.calls([("SET", "pair:ready", "1")], kept=True)))
        line.close()

    def primary(self) -> int:
        """The process that Sentinel now takes for the primary. Raises LineDown when none is."""
        return self._running[self._primary()].pid

    def pids(self) -> dict[str, int]:
        """The processes that run, by `redis PORT` and `sentinel PORT`."""
        names = {port: "redis" if port in self._servers else "sentinel" for port in self._running}
        return {f"{names[p]} {p}": one.pid for p, one in self._running.items() if one.poll() is None}

    def switched(self, away_from: int) -> int:
        """Wait until another process than this is primary; the new one. Raises LineDown."""
        self._until("another primary", lambda: self.primary() != away_from)
        return self.primary()

    def mend(self) -> list[str]:
        """Start again what has ended, a server as the other's replica; what was started, in words."""
        said = []
        for port in (*self._servers, *self._sentinels):
            if self._running[port].poll() is None:
                continue
            if port in self._servers:
                self._serve(port, self._primary())
            else:
                self._run(port, "--sentinel")
            said.append(f"started again: port {port}")
        return said

    def stop(self) -> None:
        """End all of them, paused ones too."""
        for one in self._running.values():
            if one.poll() is None:
                one.kill()
            one.wait()

    def _primary(self) -> int:
        for port in self._sentinels:
            line = RedisLine(f"redis://127.0.0.1:{port}", 1.0)
            try:
                found = line.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SET)
            except LineDown:
                continue
            finally:
                line.close()
            if found:
                return int(found[1])
        raise LineDown("sentinel", "no Sentinel names a primary")

    def _known(self) -> bool:
        """Whether every Sentinel knows the replica and the other Sentinels: a switch needs both."""
        for port in self._sentinels:
            line = RedisLine(f"redis://127.0.0.1:{port}", 1.0)
            try:
                flat = line.call("SENTINEL", "MASTER", SET)
            finally:
                line.close()
            said = dict(zip(flat[::2], flat[1::2], strict=True))
            if int(said[b"num-slaves"]) < SERVERS - 1 or int(said[b"num-other-sentinels"]) < SENTINELS - 1:
                return False
        return True

    def _serve(self, port: int, primary: int | None) -> None:
        folder = self._at(port)
        text = SERVER_CONF.format(port=port, folder=folder, memory=self._memory, password=self._password)
        (folder / "redis.conf").write_text(text)
        following = ["--replicaof", "127.0.0.1", str(primary)] if primary is not None else []
        self._run(port, *following)

    def _watch(self, port: int, primary: int) -> None:
        folder = self._at(port)
        known = {"port": port, "folder": folder, "name": SET, "primary": primary, "password": self._password}
        (folder / "redis.conf").write_text(SENTINEL_CONF.format(down=DOWN_MS, **known))
        self._run(port, "--sentinel")

    def _run(self, port: int, *options: str) -> None:
        folder = self._at(port)
        self._running[port] = launch([find(), str(folder / "redis.conf"), *options], folder / "redis.log")

    def _at(self, port: int) -> Path:
        folder = self._folder / str(port)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        end, reason = time.monotonic() + READY_SECONDS, "no answer"
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except LineDown as e:
                reason = str(e)
            time.sleep(LOOK_SECONDS)
        raise LineDown(what, f"not there within {READY_SECONDS:.0f} s: {reason}; see {self._folder}")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on just now, all different, of those no connection is given by itself."""
    found: list[int] = []
    for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise LineDown("the pair", f"{count} free ports of {PORTS.start} to {PORTS.stop - 1} are not to be had")
