"""Instance: one running Bourse on this machine: stores, Ray, the Supervisor and its parts, the gateway.

Everything is a child of this process and ends with it; `close` ends it in order, feeds first, so that nothing that
was taken in is lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import psutil
import structlog

from adapters import logs
from cluster import head, patience
from cluster.databases import KeptDatabase
from cluster.ports import SPAN, Ports
from cluster.settings import Settings, private_folder
from cluster.stores import Stores
from market.errors import BadValue, LineDown, StoreRefused

READY_SECONDS = 180.0
SUPERVISOR = "supervisor"
LOCK = "pid"
FREE_SECONDS = 30.0
MOST_BASES = 4

_claims: dict[int, socket.socket] = {}
"""The bases this process was given, longest ago first, each with a UDP port of its number: that ends with the process,
and nothing of an instance wants it.
"""


class Instance:
    """Starts in its own time: `open_stores`, `open_ray`, `supervise`, then `gateway` where people look in."""

    def __init__(self, settings: Settings, run: Path, say: Callable[[str], None]) -> None:
        self.settings, self.run, self._screen = settings, run, say
        self._lock = self._claim(run)
        os.environ[logs.FOLDER] = str(settings.logs)
        logs.configure("instance", settings.log_level)
        for line in end_orphans(run, settings.ports):
            self._say(line)
        head.prepare(settings, run)
        self.stores = Stores(settings, run)
        self._database: KeptDatabase | None = None
        self.addresses: dict[str, str] = {}
        self._supervisor: Any = None
        self._running: Any = None
        self._serving = False
        self._head = head.Head(settings, run)
        self._ray = False

    def _say(self, line: str) -> None:
        structlog.get_logger().info("said", line=line)
        self._screen(line)

    def open_stores(self) -> None:
        """Start the embedded servers; what had to be recovered is said."""
        for line in self.stores.start():
            self._say(f"recovered {line}")

    def open_database(self) -> None:
        """Begin to start the database; it is there a little later, or says why not and is tried again."""
        self._database = KeptDatabase(self.settings, self.run)

    def open_ray(self, *, dashboard: bool) -> None:
        """Start a head node in this process tree. Raises StoreRefused when one of our ports is taken."""
        check_free(self.settings.ports)
        self._ray = True
        self.addresses |= self._head.start(dashboard=dashboard)

    def supervise(self, plan: Any, parts: list[Any]) -> None:
        """Start the Supervisor, which starts the parts."""
        import ray

        from actors.supervisor import CONTROL, NAMESPACE, Supervisor, pack

        shell = ray.remote(max_restarts=-1, num_cpus=0, concurrency_groups={CONTROL: 4})(Supervisor)
        shell = shell.options(name=SUPERVISOR, namespace=NAMESPACE, lifetime="detached")
        self._supervisor = shell.remote(plan, pack(parts))
        self._running = self._supervisor.run.remote()

    def gateway(self, application: Any) -> None:
        """Serve the gateway and wait until it answers. Raises LineDown when Ray Serve does not come up."""
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        ports = self.settings.ports
        self._serving = True
        patience.with_proxies()
        with in_one_line(self.addresses.get("logs")):
            serve.start(
                proxy_location="EveryNode",
                http_options={"host": "127.0.0.1", "port": ports.http},
                grpc_options={"port": ports.serve_grpc},
                logging_config={"encoding": "JSON", "enable_access_log": False},
            )
            serve.run(application, name="gateway", route_prefix="/")
        self.addresses["gateway"] = f"http://127.0.0.1:{ports.http}"

    def predictor(self, given: dict[str, Any]) -> None:
        """Serve the predictor, by a config that `retune` can change; it comes up by itself."""
        from cluster import predicting

        with in_one_line(self.addresses.get("logs")):
            predicting.deploy(given)

    def status(self) -> dict[str, Any]:
        """The Supervisor's last status record; {} while it is away."""
        import ray

        from actors.supervisor import CONTROL

        with contextlib.suppress(ray.exceptions.RayError):
            found: dict[str, Any] = ray.get(
                self._supervisor.status.options(concurrency_group=CONTROL).remote(), timeout=5
            )
            return found
        return {}

    def wait_ready(self, parts: int) -> None:
        """Until every part has answered once. Raises LineDown."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            self.ensure()
            answered = [p for p in self.status().get("parts", []) if "pid" in p]
            if len(answered) >= parts:
                return
            time.sleep(0.2)
        silent = [p["actor"] for p in self.status().get("parts", []) if "pid" not in p] or ["the supervisor"]
        raise LineDown(
            "bourse",
            f"no answer from {', '.join(silent)} within {READY_SECONDS:.0f} s; see {self.addresses.get('logs')}",
        )

    def ensure(self) -> None:
        """Called about once a second: what of the stores or the Supervisor has died is started again.

        Raises LineDown when Ray itself has ended: nothing goes on without it.
        """
        import ray

        if self._head.ended():
            raise LineDown("ray", f"its head has ended; see {self.addresses.get('logs')}")
        try:
            for line in self.stores.ensure():
                self._say(line)
        except (LineDown, StoreRefused) as e:
            self._say(str(e))
        for line in self._database.ensure() if self._database else ():
            self._say(line)
        if self._running is not None and ray.wait([self._running], timeout=0)[0]:
            self._say("the supervisor ended; started again")
            self._running = self._supervisor.run.remote()

    def close(self) -> None:
        """End everything in order; safe to call at any stage."""
        if self._ray:
            self._close_ray()
        if self._database is not None:
            self._database.stop()
        self.stores.stop()
        self._lock.close()

    def _close_ray(self) -> None:
        import ray

        from actors.supervisor import CONTROL

        if self._head.ended():  # a driver whose raylet is dead would be ended by ray.shutdown itself
            end_orphans(self.run, self.settings.ports)
            return
        if self._supervisor is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._supervisor.stop.options(concurrency_group=CONTROL).remote(), timeout=40)
        # Ray tells at length, on both, that what we end has ended.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            if self._serving:
                from ray import serve

                serve.shutdown()
            ray.shutdown()
        self._head.close()

    def _claim(self, run: Path) -> TextIO:
        """The lock that keeps a second instance out; it names this process for `bourse down`."""
        private_folder(run)
        running = holder(run)
        lock = (run / LOCK).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "bourse down ends it, or choose another ports.base"
            raise StoreRefused(str(run), f"process {running} runs Bourse here; {remedy}") from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        return lock


@contextlib.contextmanager
def in_one_line(logs: str | None) -> Iterator[None]:
    """What Ray tells at length when its Serve does not come up becomes one LineDown that names the logs."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, TimeoutError) as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise LineDown("gateway", f"Ray Serve did not come up: {said[0]}; is the machine busy? see {logs}") from e


def end_orphans(run: Path, ports: Ports) -> list[str]:
    """End what a killed instance of ours left in this run folder, which we hold now; returns what it was.

    HAProxy and Ray's agents outlive a `kill -9` of their parent and keep its ports. Redis servers are left to `Stores`.
    """
    ours = set(ports.named().values())
    listening = {
        c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ours
    }
    ended = []
    for process in psutil.process_iter(["pid", "name", "cmdline", "uids"]):
        if process.info["uids"] is None or process.info["uids"].real != os.getuid() or process.pid == os.getpid():
            continue
        words = " ".join(process.info["cmdline"] or ())
        named = any(f"{run}/{part}" in words for part in (head.PROXY, "ray"))
        with contextlib.suppress(psutil.Error):
            if named or (process.pid in listening and words.startswith("ray::") and _orphaned(process)):
                process.kill()
                process.wait(5)
                ended.append(f"ended {process.info['name']} ({process.pid}), which a killed instance had left")
    return ended


def _orphaned(process: psutil.Process) -> bool:
    """Whether the raylet that started this process of Ray's is gone."""
    parent = process.parent()
    return parent is None or parent.name() != "raylet"


def check_free(ports: Ports) -> None:
    """Wait a little for ports that a killed instance's agents still hold. Raises StoreRefused when one stays taken."""
    end = time.monotonic() + FREE_SECONDS
    while taken := [(name, port) for name, port in ports.named().items() if not free(port)]:
        if time.monotonic() > end:
            name, port = taken[0]
            raise StoreRefused(f"port {port}", f"{name}: taken by another process; choose another ports.base")
        time.sleep(0.2)


def free(port: int) -> bool:
    """Whether this port of loopback can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_base() -> int:
    """A port base none of whose ports anybody holds; below those the system gives out by itself.

    No other process is given it as long as this one lives, though nobody listens there yet. Who asks often is given
    what it was given before.
    """
    ours = list(_claims)
    others = [base for base in range(10_000, 32_000, SPAN) if base not in ours]
    random.shuffle(others)
    for base in ours + others if len(ours) >= MOST_BASES else others + ours:
        if base not in ours and not _claim(base):
            continue
        claim = _claims.pop(base)
        if all(map(free, Ports(base=base).named().values())):
            _claims[base] = claim  # behind the others: the next time it is another one's turn
            return base
        claim.close()
    raise BadValue("ports", "10000 to 32000", "a free range on this machine")


def _claim(base: int) -> bool:
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", base))
    except OSError:
        claim.close()
        return False
    _claims[base] = claim
    return True


def holder(run: Path) -> int | None:
    """The process of the instance that holds a run folder, None where none does: the lock tells, not the number."""
    path = run / LOCK
    if not path.exists():
        return None
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return int(lock.read().strip() or 0) or None
    return None
