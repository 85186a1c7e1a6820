"""The actors' bus, for the pipelines."""

from tests.actors.conftest import bus, server

__all__ = ["bus", "server"]
