"""The actors' bus and the adapters' database, for the pipelines."""

from tests.actors.conftest import bus, server
from tests.adapters.conftest import shared_database

__all__ = ["bus", "server", "shared_database"]
