"""Supervisor: compares what should run with what answers, and keeps the bus within its bounds.

Ray restarts a process; that its `run` goes on is ours. Each part's `run` is one call that ends only when told to
stop, when a held tape is over, or when the process died: then it is called again. The Supervisor holds handles and
asks no state API.
"""

from __future__ import annotations

import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import structlog
from pydantic import Field, SecretStr
from ray import cloudpickle
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.measures import gauge, resident_bytes
from adapters import logs
from adapters.alerts import Alerts
from adapters.bus import Bus, Pressure, disk_free
from adapters.database import Watch
from adapters.readmodel import ReadModel
from market.alerts import OperatorAlert
from market.errors import LineDown
from market.records import Record
from market.troubles import PartTroubles, absent

CONTROL = "control"
NAMESPACE = "bourse"
TURN_SECONDS = 1.0
ANSWER_SECONDS = 5.0
SILENT_SECONDS = 30.0
START_SECONDS = 300.0
"""A process that has not answered yet may be compiling on a busy machine; ended for that, it would begin anew."""
STATUS_EXPIRY = 15
DYING_SECONDS = 15.0
"""A part whose run broke less than this ago is not well, whatever it says of itself."""
DISK_FLOOR = 512 * 1024 * 1024


class Part(Record):
    """One actor that should run: its name in the dashboard, its class, its plan, its share of the machine."""

    name: str
    make: Callable[..., Any]
    plan: Record
    num_cpus: float = 0.0
    memory: int | None = None
    environment: Mapping[str, str] = Field(default_factory=dict)
    asynchronous: bool = False


class SupervisorPlan(Record):
    """What should run and what may be trimmed. `readers`: durable readers by topic; `keep_seconds`: by topic."""

    bus: str
    cache: str
    database: SecretStr | None = None
    partitions: int
    bus_folder: str | None
    readers: dict[str, tuple[str, ...]]
    keep_seconds: dict[str, float]
    log_level: str = "info"


def pack(parts: Sequence[Part]) -> bytes:
    """The parts as the Supervisor takes them. Ray keeps an actor's arguments beside its definition up to 100 kB; more
    it puts where a lost node takes it along, and then the actor cannot start again. What plans have in common, such as
    the sessions, stands there once.
    """
    plain = [(dict(part) | {"plan": dict(part.plan)}, type(part.plan)) for part in parts]
    return zlib.compress(cloudpickle.dumps(plain))


def unpack(packed: bytes) -> tuple[Part, ...]:
    """What `pack` was given."""
    plain = cloudpickle.loads(zlib.decompress(packed))
    return tuple(Part.model_construct(**part | {"plan": kind.model_construct(**part["plan"])}) for part, kind in plain)


def start(part: Part) -> ActorHandle:
    """The running actor of this part, made if it is not there."""
    groups = {} if part.asynchronous else {"concurrency_groups": {CONTROL: 2}}
    shell = ray.remote(max_restarts=-1, max_task_retries=0, **groups)(part.make)
    environment = {"env_vars": dict(part.environment)}
    options = {"name": part.name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return shell.options(**options, num_cpus=part.num_cpus, memory=part.memory, runtime_env=environment).remote(
        part.plan
    )


class Supervised:
    """One part as the Supervisor sees it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.handle = start(part)
        self.running: ray.ObjectRef | None = None
        self.asked: ray.ObjectRef | None = None
        self.asked_at = 0.0
        self.answered_at = time.monotonic()
        self.patience = START_SECONDS
        self.health: dict[str, Any] = {"part": part.name, "name": part.name, "trouble": "starting"}
        self.restarts = 0
        self.died_at = -DYING_SECONDS
        self.died_of = ""
        self.ended = False
        self.troubles = PartTroubles(part.name)

    def call(self, method: str, *arguments: object) -> ray.ObjectRef:
        """Call a control method, beside the running `run`."""
        bound = getattr(self.handle, method)
        return (bound if self.part.asynchronous else bound.options(concurrency_group=CONTROL)).remote(*arguments)


class Supervisor:
    """Desired against actual, once a second."""

    def __init__(self, plan: SupervisorPlan, packed: bytes) -> None:
        logs.configure("supervisor", plan.log_level)
        parts = unpack(packed)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._model = ReadModel(plan.cache)
        self._parts = [Supervised(p) for p in parts]
        self._alerts = Alerts(self._bus)
        self._recalled = False
        self._untold: deque[OperatorAlert] = deque()
        self._stopped = False
        self._held_back: str | None = None
        """Why the feeds wait; None: a Supervisor before this one may have told them to, or not."""
        self._pressure: Pressure = "ok"
        self._trimmed = 0
        self._status: dict[str, Any] = {}
        self._memory = gauge("bourse_bus_memory_fraction", "used part of the bus's memory limit")
        url = plan.database
        self._database = Watch(url.get_secret_value(), self._log) if url is not None else None
        self._database_up = gauge("bourse_database_up", "1 while the database answers")
        self._database_ms = gauge("bourse_database_milliseconds", "what its last answer took")
        self._lag = gauge("bourse_lag_seconds", "market time a part is behind the feeds", "part")

    def run(self) -> None:
        """Watch until told to stop."""
        while not self._stopped:
            began = time.monotonic()
            for one in self._parts:
                self._keep_running(one)
                self._ask(one)
            try:
                self._keep_bus()
                self._publish()
                self._tell()
            except LineDown as e:
                self._log.warning("store_down", reason=e.reason)
            time.sleep(max(0.0, TURN_SECONDS - (time.monotonic() - began)))

    def stop(self) -> None:
        """Tell every part to end its `run`, feeds first, and stop watching."""
        self._stopped = True
        if self._database is not None:
            self._database.stop()
        for one in sorted(self._parts, key=lambda s: not s.part.asynchronous):
            try:
                ray.get(one.call("stop"), timeout=ANSWER_SECONDS)
                if one.running is not None:
                    ray.wait([one.running], timeout=ANSWER_SECONDS)
            except RayError as e:
                self._log.warning("stop_failed", part=one.part.name, reason=str(e).splitlines()[0])

    def status(self) -> dict[str, Any]:
        """The last status record."""
        return self._status

    def call(self, name: str, method: str, *arguments: object) -> Any:
        """Hand a control call to a part by its name and return its answer."""
        one = next(s for s in self._parts if s.part.name == name)
        return ray.get(one.call(method, *arguments), timeout=ANSWER_SECONDS)

    def _keep_running(self, one: Supervised) -> None:
        if one.ended or self._stopped:
            return
        if one.running is not None:
            if not ray.wait([one.running], timeout=0)[0]:
                return
            try:
                ray.get(one.running)
                one.ended = True
                self._log.info("part_ended", part=one.part.name)
                return
            except RayError as e:
                one.restarts += 1
                one.patience = START_SECONDS
                one.died_at = time.monotonic()
                one.died_of = str(e).strip().splitlines()[-1][:200]
                one.troubles.broke(time.time_ns(), one.died_of)
                self._log.error(
                    "part_died", part=one.part.name, restarts=one.restarts, reason=str(e).strip().splitlines()[-1][:300]
                )
        one.running = one.handle.run.remote()

    def _ask(self, one: Supervised) -> None:
        now = time.monotonic()
        if one.asked is not None:
            if ray.wait([one.asked], timeout=0)[0]:
                try:
                    one.health = ray.get(one.asked)
                    one.answered_at = now
                    one.patience = SILENT_SECONDS
                except RayError as e:
                    one.health = {**one.health, "trouble": str(e).strip().splitlines()[0][:200]}
                one.asked = None
            elif now - one.asked_at > ANSWER_SECONDS:
                one.health = {**one.health, "trouble": f"no answer for {now - one.answered_at:.0f} s"}
                if now - one.answered_at > one.patience:
                    self._log.error("part_silent", part=one.part.name)
                    ray.kill(one.handle, no_restart=False)
                    one.answered_at = now
                    one.patience = START_SECONDS
                    one.asked = None
        if one.asked is None:
            one.asked, one.asked_at = one.call("health"), now

    def _keep_bus(self) -> None:
        """Trim what every durable reader has read, and stop the feeds before the bus is full."""
        now = time.time()
        for topic, readers in self._plan.readers.items():
            before = int((now - self._plan.keep_seconds[topic]) * 1000) << 20
            for partition in range(self._plan.partitions):
                self._trimmed += self._bus.retire(topic, partition, readers, before)
        pressure = self._bus.pressure()
        if pressure != self._pressure:
            self._log.warning("bus_pressure", now=pressure, before=self._pressure)
            self._pressure = pressure
        reason = ""
        if pressure == "stop":
            reason = "the bus has used 80 % of its memory limit"
        elif self._plan.bus_folder and disk_free(self._plan.bus_folder) < DISK_FLOOR:
            reason = f"less than {DISK_FLOOR >> 20} MiB of disk are free"
        if reason != (self._held_back or ""):
            self._log.error("feeds_held_back" if reason else "feeds_released", reason=reason or self._held_back)
        if reason or reason != self._held_back:  # again and again: a feed may have been started since
            for one in self._parts:
                if one.part.asynchronous:
                    one.call("hold_back", reason)
        self._held_back = reason

    def _publish(self) -> None:
        used, limit = self._bus.memory()
        self._memory.set(used / limit if limit else 0.0)
        alive = time.monotonic() - ANSWER_SECONDS * 2
        parts = [
            {**one.health, "actor": one.part.name, "restarts": one.restarts, "up": one.answered_at > alive}
            for one in self._parts
        ]
        for one, health in zip(self._parts, parts, strict=True):
            if time.monotonic() - one.died_at < DYING_SECONDS:
                health["trouble"] = (
                    health.get("trouble") or f"its run broke, {one.restarts} times so far: {one.died_of}"
                )
        newest = max((h.get("market_time", 0) for h in parts if h["part"] == "feed"), default=0)
        for health in parts:
            if health.get("market_time") and newest:
                health["lag_seconds"] = round((newest - health["market_time"]) / 1e9, 3)
                self._lag.set(health["lag_seconds"], tags={"part": health["actor"]})
        bus = {"used": used, "limit": limit, "pressure": self._pressure, "trimmed": self._trimmed}
        me = {"pid": os.getpid(), "resident": resident_bytes()}
        self._status = {
            "at": time.time(),
            "parts": parts,
            "bus": bus,
            "held_back": self._held_back or "",
            "supervisor": me,
            "database": self._look_at_database(),
        }
        self._model.put("status", self._status, STATUS_EXPIRY)

    def _look_at_database(self) -> dict[str, Any] | None:
        if self._database is None:
            return None
        health = self._database.health
        self._database_up.set(float(health.up))
        self._database_ms.set(health.milliseconds)
        return health.model_dump()

    def _tell(self) -> None:
        """What an operator must hear of the parts; what our predecessor told and is not over is taken up."""
        if not self._recalled:
            told = self._alerts.recent()
            for one in self._parts:
                one.troubles = PartTroubles(one.part.name, told)
            self._recalled = True
        for one in self._parts:
            due = one.troubles.step(time.time_ns(), absent(one.health))
            if due is not None:
                self._untold.append(due)
        while self._untold:
            self._alerts.tell(self._untold[0])
            self._log.warning("alert", part=self._untold[0].subject, text=self._untold[0].text)
            self._untold.popleft()
