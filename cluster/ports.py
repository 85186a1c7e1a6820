"""Ports: every one that Bourse opens, counted from one base, so that two instances live side by side on one machine."""

from __future__ import annotations

from pydantic import Field

from market.records import Record

SPAN = 520
"""How many ports above the base are ours."""

LOWEST, HIGHEST = 1024, 65_536 - SPAN


class Ports(Record):
    """The ports of one instance: `base` and the `SPAN` - 1 behind it."""

    base: int = Field(default=8000, ge=LOWEST, le=HIGHEST, description=f"a whole number, {LOWEST} to {HIGHEST}")

    @property
    def http(self) -> int:
        """The gateway: the one port for the outside."""
        return self.base

    @property
    def dashboard(self) -> int:
        """Ray's dashboard."""
        return self.base + 1

    @property
    def metrics(self) -> int:
        """Prometheus figures of this node."""
        return self.base + 2

    @property
    def haproxy_metrics(self) -> int:
        """HAProxy's own figures."""
        return self.base + 3

    @property
    def haproxy_stats(self) -> int:
        """HAProxy's page of statistics."""
        return self.base + 4

    @property
    def fallback_http(self) -> int:
        """Serve's Python proxy behind HAProxy."""
        return self.base + 5

    @property
    def fallback_grpc(self) -> int:
        """Its gRPC twin."""
        return self.base + 6

    @property
    def exchange(self) -> int:
        """The simulated exchange."""
        return self.base + 7

    @property
    def serve_grpc(self) -> int:
        """Serve's gRPC ingress."""
        return self.base + 8

    @property
    def gcs(self) -> int:
        """Ray's head, where workers and drivers join."""
        return self.base + 9

    @property
    def agent(self) -> int:
        """The dashboard's agent on each node."""
        return self.base + 10

    @property
    def agent_grpc(self) -> int:
        """Its gRPC twin."""
        return self.base + 11

    @property
    def runtime_env_agent(self) -> int:
        """Ray's agent for runtime environments."""
        return self.base + 12

    @property
    def ray_client(self) -> int:
        """Ray's server for remote clients."""
        return self.base + 13

    @property
    def node_manager(self) -> int:
        """Each node's raylet."""
        return self.base + 14

    @property
    def object_manager(self) -> int:
        """Its door for shared memory."""
        return self.base + 15

    @property
    def dashboard_metrics(self) -> int:
        """The dashboard's own figures."""
        return self.base + 16

    @property
    def autoscaler_metrics(self) -> int:
        """The autoscaler's own figures."""
        return self.base + 17

    @property
    def ipo_site(self) -> int:
        """The demo's site of imagined issues."""
        return self.base + 18

    @property
    def replica_http(self) -> tuple[int, int]:
        """First and last port of the ingress replicas."""
        return self.base + 20, self.base + 119

    @property
    def replica_grpc(self) -> tuple[int, int]:
        """First and last gRPC port of the replicas."""
        return self.base + 120, self.base + 204

    @property
    def exchanges(self) -> tuple[int, int]:
        """First and last port of the simulated exchanges of standby feeds."""
        return self.base + 205, self.base + 219

    @property
    def workers(self) -> tuple[int, int]:
        """First and last port of Ray's worker processes, one each."""
        return self.base + 220, self.base + 519

    def ranges(self) -> dict[str, tuple[int, int]]:
        """The ranges by name, first and last port included."""
        return {
            "replica_http": self.replica_http,
            "replica_grpc": self.replica_grpc,
            "exchanges": self.exchanges,
            "workers": self.workers,
        }

    def named(self) -> dict[str, int]:
        """The single ports by name, in order; the ranges are not among them."""
        names = [name for name, kind in vars(type(self)).items() if isinstance(kind, property)]
        return {name: port for name in names if isinstance(port := getattr(self, name), int)}
