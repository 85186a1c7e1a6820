"""The Supervisor: a part that breaks again and again is told of, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors.supervisor import CONTROL, Part, Supervisor, SupervisorPlan, pack
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.redis_server import RedisServer
from market.alerts import OperatorAlert
from market.records import Record
from tests.rays import ray_of_ours

pytestmark = pytest.mark.cluster
WAIT = 240.0


class Nothing(Record):
    """A plan that says nothing."""


class Broken:
    """Its run breaks every time."""

    def __init__(self, plan: Nothing) -> None:
        self.plan = plan

    def run(self) -> None:
        """Raises KeyError."""
        raise KeyError("polygon")

    @ray.method(concurrency_group=CONTROL)
    def health(self) -> dict[str, Any]:
        """Says nothing of it."""
        return {"part": "exchange", "name": "b", "trouble": ""}

    @ray.method(concurrency_group=CONTROL)
    def stop(self) -> None:
        """Has nothing to end."""


@pytest.fixture
def alone() -> Iterator[None]:
    """A Ray of the test's own."""
    with ray_of_ours(1):
        yield


def test_a_part_that_breaks_again_and_again_is_an_alert(server: RedisServer, bus: Bus, alone: None) -> None:
    plan = SupervisorPlan(
        bus=server.url, cache=server.url, partitions=1, bus_folder=None, readers={}, keep_seconds={}, log_level="error"
    )
    supervisor = Supervisor(plan, pack([Part(name="exchange-b", make=Broken, plan=Nothing())]))
    running = threading.Thread(target=supervisor.run)
    running.start()

    told: list[OperatorAlert] = []
    end = time.monotonic() + WAIT
    while not told and time.monotonic() < end:
        told = Alerts(bus).recent()
        time.sleep(0.2)
    supervisor.stop()
    running.join()

    assert [(a.topic, a.severity, a.over) for a in told] == [("part:exchange-b", "critical", False)]
    assert "polygon" in told[0].text
