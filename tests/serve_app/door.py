"""A house with accounts: people who have a password, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from adapters.database import Database
from adapters.passwords import Cost
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.users import Users
from market.access import Role, Tier
from serve_app.access import AccessPlan, Gate
from tests.serve_app.house import AMPLE, House

SECRET = "only for tests, and long enough for anybody"
PASSWORD = "correct horse battery"
CHEAP = Cost(passes=1, memory_kib=8, lanes=1)
V1 = "/api/v1"


class Guarded:
    """A client of the gateway that says who it is."""

    def __init__(self, house: House, client: TestClient) -> None:
        self.house, self.client = house, client
        self.gate: Gate = client.app.state.gate  # type: ignore[attr-defined]
        self.users: Users = self.gate.users
        self._passwords = client.app.state.accounts.passwords  # type: ignore[attr-defined]

    def person(self, name: str, role: Role = Role.USER) -> str:
        """An account; its id."""
        made = self.users.register(f"{name}@example.com", name, self._passwords.hash(PASSWORD), role)
        assert made is not None
        return made.id

    def login(self, name: str, password: str = PASSWORD, **more: str) -> dict[str, Any]:
        """What a login gives."""
        asked = {"email": f"{name}@example.com", "password": password, **more}
        answer = self.client.post(f"{V1}/auth/login", json=asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def bearer(self, name: str) -> dict[str, str]:
        """The headers of one who has just logged in."""
        return bearer(self.login(name))

    def status(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", **more: Any) -> int:
        """Of an answer."""
        return self.client.request(method, path, headers=headers, **more).status_code


def bearer(tokens: Mapping[str, Any]) -> dict[str, str]:
    """The header of a login's access token."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def guard(
    stores: tuple[RedisServer, RedisServer], database: str, lake: Path, *, demo: bool, tiers: Mapping[str, Tier] = AMPLE
) -> Iterator[Guarded]:
    """Such a house on stores that are emptied before."""
    for server in stores:
        line = RedisLine(server.url)
        line.call("FLUSHALL")
        line.close()
    own = Database(database)
    with own.begin() as at:
        at.execute(text("TRUNCATE users, tiers, audit CASCADE"))
    own.close()
    plan = AccessPlan(database=SecretStr(database), secrets=(SecretStr(SECRET),), demo=demo, cost=CHEAP)
    house = House(*stores, lake, plan)
    house.plan = house.plan.model_copy(update={"tiers": tiers})
    house.open()
    with house.client as client:
        door = Guarded(house, client)
        yield door
        door.gate.close()
        client.app.state.ipos.shelf.close()  # type: ignore[attr-defined]
    house.close()
