"""The actors' bus and the adapters' database, for the pipelines; and an IPO desk's book."""

from tests.actors.conftest import bus, server
from tests.adapters.conftest import shared_database
from tests.pipelines.desk import book

__all__ = ["book", "bus", "server", "shared_database"]
