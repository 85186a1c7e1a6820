"""The table of authorisation: what every path says to every kind of caller, by the rules and by the real gateway.

`python -m tests.serve_app.authorisation` writes it to docs/access.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from starlette.websockets import WebSocketDisconnect

from market.access import ANONYMOUS, SCOPES, SOCKET, TABLE, Caller, Need, Role, Row, Scope, refusal
from tests.serve_app.door import V1, Guarded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "access.md"
CALLERS = ("demo", "anonymous", "user", "premium", "admin", "key", "revoked key", "expired token")
WORDS = {401: "401", 403: "403"}
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"


def credentials(door: Guarded) -> dict[str, dict[str, str]]:
    """The headers of one caller of each kind."""
    people = {role.value: door.person(role.value, role) for role in Role}
    found = {"anonymous": {}, **{name: door.bearer(name) for name in people}}
    made = [
        door.client.post(
            f"{V1}/keys", headers=found["user"], json={"name": "a", "scopes": ["quotes", "account"]}
        ).json()
        for _ in range(2)
    ]
    door.users.revoke(made[1]["id"], "test")
    sid = door.users.sessions(people["user"])[0].id
    expired, _ = door.gate.signer.sign(people["user"], sid, Role.USER, "standard", timedelta(seconds=-1))
    found["key"], found["revoked key"] = ({"X-API-KEY": one["key"]} for one in made)
    found["expired token"] = {"Authorization": f"Bearer {expired}"}
    return found


def said(door: Guarded, row: Row, headers: Mapping[str, str]) -> str:
    """What one path says to one caller: yes, 401 or 403."""
    path = re.sub(r"\{[a-z]+\}", "nobody", row.path)
    if row.method != SOCKET:
        return WORDS.get(door.status(path, headers, row.method), "yes")
    with door.client.websocket_connect(path, headers=dict(headers)) as socket:
        socket.send_json({"op": "ping"})
        try:
            socket.receive_json()
        except WebSocketDisconnect as e:
            return {4001: "401", 4003: "403"}[e.code]
    return "yes"


def table(demo: Guarded, guarded: Guarded, rows: Iterable[Row] = TABLE) -> str:
    """The table of some paths, in Markdown. Both are on the same stores, and people live in the second one."""
    callers = credentials(guarded)
    return _drawn(rows, lambda row, name: said(demo if name == "demo" else guarded, row, callers.get(name, {})))


def ruled() -> str:
    """The table of all paths by the rules alone."""
    people = {
        role.value: Caller(kind="session", credential="session:x", user="x", role=role, scopes=SCOPES[role])
        for role in Role
    }
    key = people["user"].model_copy(update={"kind": "key", "scopes": frozenset({Scope.QUOTES, Scope.ACCOUNT})})
    callers = {**people, "key": key}

    def says(row: Row, name: str) -> str:
        why = refusal(row, callers.get(name, ANONYMOUS), demo=name == "demo")
        no_good = name in ("revoked key", "expired token")
        if no_good and (row.need is not Need.OPEN or row.scope is not None):
            return "401"
        return "yes" if why is None else "401" if why.kind == "credential" else "403"

    return _drawn(TABLE, says)


def _drawn(rows: Iterable[Row], says: Callable[[Row, str], str]) -> str:
    lines = [f"| method | path | {' | '.join(CALLERS)} |", f"|---|---|{'---|' * len(CALLERS)}"]
    for row in rows:
        lines.append(f"| {row.method} | `{row.path}` | {' | '.join(says(row, name) for name in CALLERS)} |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """The table as it stands in the docs."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Write it, by the rules; the tests ask the gateway whether it is so."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{ruled()}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
