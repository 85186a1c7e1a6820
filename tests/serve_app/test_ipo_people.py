"""People at the IPO desk: thresholds of their own, what admins decide, and what is said while the database is away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.database import Database
from adapters.ipos import Book
from adapters.postgres_server import PostgresServer
from adapters.redis_server import RedisServer
from market.access import Role
from market.ipo.specimens import investorgain_board
from market.money import money
from market.sessions import MINUTE
from pipelines import ipos
from tests.market.ipo.issues import AMBER, COBALT, ISSUES, NOW
from tests.serve_app.desk import empty, take
from tests.serve_app.door import Guarded, guard
from tests.serve_app.house import wait

V1 = "/api/v1"
IPOS, THRESHOLDS, ADMIN = f"{V1}/ipos", f"{V1}/ipo/thresholds", f"{V1}/admin/ipo"
SHIFTED = [one.model_copy(update={"high": money("46"), "low": money("46")}) for one in ISSUES]
DOUBT = AMBER.model_copy(update={"name": "Zinc Pumps", "gmp": money("30")})
LATER = NOW + MINUTE
Stores = tuple[RedisServer, RedisServer]
Headers = dict[str, str]


@pytest.fixture
def book(database: PostgresServer, tmp_path: Path) -> Iterator[Book]:
    """A book of three issues, one of which asks for 41.50 rupees on 321."""
    empty(database.url)
    found = Book(database.url, tmp_path / "pages")
    take(found, ISSUES, NOW)
    ipos.validate(found, NOW + 1)
    yield found
    found.close()


@pytest.fixture
def door(book: Book, guarded: Guarded) -> Guarded:
    """The gateway over it."""
    return guarded


@pytest.fixture
def asha(door: Guarded) -> Headers:
    """A user who has logged in."""
    door.person("asha")
    return door.bearer("asha")


@pytest.fixture
def root(door: Guarded) -> Headers:
    """An admin who has."""
    door.person("root", Role.ADMIN)
    return door.bearer("root")


def amber(door: Guarded, headers: Headers) -> dict[str, Any]:
    """The board's row of an issue."""
    answer = door.client.get(IPOS, params={"text": "amber"}, headers=headers)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["issues"]
    return dict(row)


def test_a_user_s_thresholds_are_its_own(door: Guarded, asha: Headers) -> None:
    door.person("bela")
    bela, mine = door.bearer("bela"), {"points": 13.0, "amount": 41.5, "joined": "and"}

    before = door.client.get(THRESHOLDS, headers=asha).json()
    kept = door.client.put(THRESHOLDS, headers=asha, json=mine)
    rows = [amber(door, who)["profitable"] for who in (asha, bela)]
    board = door.client.get(IPOS, headers=asha).json()["thresholds"]
    named = door.client.get(IPOS, headers=asha, params={"points": 12}).json()

    assert before == {"points": 10.0, "amount": 20.0, "joined": "or", "own": False}
    assert (kept.status_code, kept.json()) == (200, mine | {"own": True})
    assert door.client.get(THRESHOLDS, headers=asha).json() == mine | {"own": True} == board
    assert rows == [False, True]
    assert named["thresholds"] == mine | {"points": 12.0, "own": False}
    assert {one["name"]: one["profitable"] for one in named["issues"]}[AMBER.name] is True


def test_thresholds_that_are_dropped_are_everybody_s_again(door: Guarded, asha: Headers) -> None:
    door.client.put(THRESHOLDS, headers=asha, json={"points": 50, "amount": 500})
    before = amber(door, asha)["profitable"]

    gone = [door.status(THRESHOLDS, asha, "DELETE") for _ in range(2)]

    assert (before, gone, amber(door, asha)["profitable"]) == (False, [204, 404], True)


def test_hostile_thresholds_are_refused(door: Guarded, asha: Headers) -> None:
    bodies = [
        b"", b"[]", b'{"points": 1}', b'{"points": NaN, "amount": 1}', b'{"points": 1e400, "amount": 1}', b"\xff",
        b'{"points": -1, "amount": 1}', b'{"points": 1001, "amount": 1}', b'{"points": 1, "amount": 0.00001}',
        b'{"points": 1, "amount": 1000001}',
        b'{"points": 1, "amount": 1, "joined": "xor"}', b'{"points": 1, "amount": 1, "user": "root"}', b"[" * 50_000,
    ]  # fmt: skip
    headers = asha | {"Content-Type": "application/json"}

    said = [door.client.put(THRESHOLDS, headers=headers, content=one) for one in bodies]

    assert [one.status_code for one in said] == [422] * len(bodies)
    assert {one.headers["Content-Type"] for one in said} == {"application/problem+json"}
    assert door.client.get(THRESHOLDS, headers=asha).json()["own"] is False


def test_an_operator_has_no_thresholds_and_a_key_no_more_than_its_scopes(door: Guarded, asha: Headers) -> None:
    operator = {"Authorization": f"Bearer {door.gate.signer.operator()}"}
    made = door.client.post(f"{V1}/keys", headers=asha, json={"name": "one", "scopes": ["market"]}).json()
    key = {"X-API-KEY": made["key"]}

    said = [door.status(path, who) for who in ({}, operator, key) for path in (IPOS, THRESHOLDS)]

    assert said == [401, 401, 200, 403, 200, 403]


def test_an_admin_s_premium_is_believed_with_its_reason_on_record(door: Guarded, book: Book, root: Headers) -> None:
    path = f"{ADMIN}/issues/{amber(door, root)['id']}/override"

    kept = door.client.put(path, headers=root, json={"gmp": 12.25, "because": "a typo at the source", "pin": True})
    ipos.validate(book, LATER)
    wait(lambda: amber(door, root)["overridden"])
    row, whole = amber(door, root), door.client.get(f"{IPOS}/{kept.json()['issue']}", headers=root).json()
    acts = door.client.get(f"{V1}/admin/audit", headers=root).json()["acts"]

    assert (kept.status_code, row["gmp"], row["points"]) == (200, 12.25, round(100 * 12.25 / 321, 4))
    shown = {name: whole["override"][name] for name in ("gmp", "pinned", "because")}
    assert shown == {"gmp": 12.25, "pinned": True, "because": "a typo at the source"}
    (act,) = [one for one in acts if one["action"] == "ipo premium set"]
    assert (act["actor"], act["subject"]) == (door.users.user("root@example.com").id, row["id"])
    assert act["detail"] == "Rs 12.25, pinned: a typo at the source"
    with book.looking() as run:
        assert run.overrides()[row["id"]].by == act["actor"]
    assert [door.status(path, root, "DELETE") for _ in range(2)] == [204, 404]


def test_a_premium_that_cannot_be_or_has_no_reason_is_refused(door: Guarded, book: Book, root: Headers) -> None:
    path, good = f"{ADMIN}/issues/{amber(door, root)['id']}/override", {"gmp": 1, "because": "y"}
    bad: list[dict[str, object]] = [
        {"because": ""}, {"because": "  "}, {"because": "a\x00"}, {"because": "x" * 501}, {"gmp": 1e9},
        {"gmp": 0.00001}, {"gmp": "one"}, {"gmp": None}, {"pin": "perhaps"}, {"by": "somebody else"},
    ]  # fmt: skip

    said = [door.status(path, root, "PUT", json=good | one) for one in bad]

    assert said == [422] * len(bad)
    assert door.status(f"{ADMIN}/issues/nobody/override", root, "PUT", json=good) == 404
    with book.looking() as run:
        assert run.overrides() == {}


def test_a_row_nobody_was_sure_of_is_decided_once(door: Guarded, book: Book, root: Headers) -> None:
    take(book, [DOUBT], LATER, "ipowatch")
    path, because = f"{ADMIN}/reviews", "another company"

    (row,) = door.client.get(path, headers=root).json()["reviews"]
    decided = door.client.post(f"{path}/{row['number']}", headers=root, json={"new": True, "because": because})
    again = door.status(f"{path}/{row['number']}", root, "POST", json={"new": True, "because": because})
    left = door.client.get(path, headers=root).json()
    (after,) = door.client.get(path, headers=root, params={"all": True}).json()["reviews"]
    new = door.client.get(f"{IPOS}/{decided.json()['issue']}", headers=root).json()

    assert (row["source"], row["name"], row["gmp"], row["issue"]) == ("ipowatch", "Zinc Pumps", 30.0, None)
    assert row["candidates"] == [amber(door, root)["id"]]
    assert (decided.status_code, again, left) == (200, 404, {"reviews": [], "next": None})
    assert (after["because"], after["by"]) == (because, door.users.user("root@example.com").id)
    assert (after["issue"], new["name"]) == (new["id"], "Zinc Pumps")


def test_an_issue_shows_what_may_be_of_it_until_somebody_says_that_it_is(
    door: Guarded, book: Book, root: Headers
) -> None:
    take(book, [DOUBT], LATER, "ipowatch")
    name = amber(door, root)["id"]

    hints = door.client.get(f"{IPOS}/{name}", headers=root).json()["hints"]
    path, asked = f"{ADMIN}/reviews/{hints[0]['number']}", {"issue": name, "because": "renamed"}
    done = door.client.post(path, headers=root, json=asked)
    whole = door.client.get(f"{IPOS}/{name}", headers=root).json()

    assert [(one["source"], one["name"]) for one in hints] == [("ipowatch", "Zinc Pumps")]
    assert done.json() == {"issue": name}
    assert whole["hints"] == [] and {"source": "ipowatch", "name": "Zinc Pumps"} in whole["names"]
    assert amber(door, root)["id"] == name
    assert [one["id"] for one in door.client.get(IPOS, params={"text": "zinc"}, headers=root).json()["issues"]] == [
        name
    ]


def test_a_decision_that_decides_nothing_is_refused(door: Guarded, book: Book, root: Headers) -> None:
    take(book, [DOUBT], LATER, "ipowatch")
    new = {"new": True, "because": "y"}
    bad: list[tuple[object, dict[str, object], int]] = [
        (1, {"because": "y"}, 422), (1, new | {"issue": "x"}, 422), (1, {"new": True}, 422),
        (1, {"issue": "nobody", "because": "y"}, 404), (7, new, 404), ("x", new, 422), (-1, new, 422),
        (1 << 70, new, 422),
    ]  # fmt: skip

    said = [door.status(f"{ADMIN}/reviews/{number}", root, "POST", json=asked) for number, asked, _ in bad]

    assert said == [status for *_, status in bad]
    assert len(door.client.get(f"{ADMIN}/reviews", headers=root).json()["reviews"]) == 1


def test_two_issues_that_are_one_are_joined_and_either_id_answers(door: Guarded, book: Book, root: Headers) -> None:
    take(book, [DOUBT], LATER, "ipowatch")
    new = door.client.post(f"{ADMIN}/reviews/1", headers=root, json={"new": True, "because": "y"}).json()["issue"]
    name, path = amber(door, root)["id"], f"{ADMIN}/issues/{new}/join"
    cobalt = door.client.get(IPOS, params={"text": "cobalt"}, headers=root).json()["issues"][0]["id"]

    wrong = [
        door.status(path, root, "POST", json=asked)
        for asked in ({"into": new, "because": "y"}, {"into": cobalt, "because": "y"}, {"into": name}, {"because": "y"})
    ]
    nobody = door.status(path, root, "POST", json={"into": "nobody", "because": "y"})
    done = door.client.post(path, headers=root, json={"into": name, "because": "it was renamed"})
    answers = [door.client.get(f"{IPOS}/{one}", headers=root).json() for one in (new, name)]
    acts = door.client.get(f"{V1}/admin/audit", headers=root).json()["acts"]

    assert (wrong, nobody) == ([422] * 4, 404)
    assert (done.status_code, done.json()) == (200, {"issue": name})
    assert answers[0] == answers[1] and answers[0]["id"] == name
    assert {"source": "ipowatch", "name": "Zinc Pumps"} in answers[0]["names"]
    assert door.client.get(f"{IPOS}/{new}/gmp", headers=root).json()["id"] == name
    assert f"{new} is the same: it was renamed" in [one["detail"] for one in acts]


def test_reviews_come_a_page_at_a_time(door: Guarded, book: Book, root: Headers) -> None:
    for k, name in enumerate(("Zinc Pumps", "Iron Valves")):
        take(book, [DOUBT.model_copy(update={"name": name})], LATER + k, "ipowatch")

    first = door.client.get(f"{ADMIN}/reviews", headers=root, params={"limit": 1}).json()
    second = door.client.get(f"{ADMIN}/reviews", headers=root, params={"limit": 1, "after": first["next"]}).json()

    assert [len(first["reviews"]), len(second["reviews"]), second["next"]] == [1, 1, None]
    assert first["reviews"][0]["number"] < second["reviews"][0]["number"]


def test_an_alarm_is_shown_and_taken_for_data_when_an_admin_says_so(door: Guarded, book: Book, root: Headers) -> None:
    digest = take(book, SHIFTED, LATER).digest

    (alarm,) = door.client.get(f"{ADMIN}/alarms", headers=root).json()["alarms"]
    asked = {"source": "investorgain", "kind": "board", "because": "prices were cut"}
    wrong = [
        door.status(f"{ADMIN}/alarms/{digest}", root, "POST", json=asked | more)
        for more in ({"source": "nobody"}, {"kind": "rumour"}, {"source": "ipowatch"}, {"because": ""})
    ]
    taken = door.client.post(f"{ADMIN}/alarms/{digest}", headers=root, json=asked)
    again = door.status(f"{ADMIN}/alarms/{digest}", root, "POST", json=asked)

    assert (alarm["digest"], alarm["source"], alarm["kind"]) == (digest, "investorgain", "board")
    assert alarm["trouble"] and alarm["url"] == "https://investorgain.example/board"
    assert wrong == [422, 422, 404, 422]
    assert (taken.status_code, again) == (200, 404)
    assert taken.json()["matched"] + len(taken.json()["issues"]) + len(taken.json()["unsure"]) == 3
    assert door.client.get(f"{ADMIN}/alarms", headers=root).json() == {"alarms": []}


def test_a_page_s_bytes_are_for_admins_and_no_page_of_ours(door: Guarded, asha: Headers, root: Headers) -> None:
    fact = next(iter(door.client.get(f"{IPOS}/{amber(door, root)['id']}", headers=root).json()["facts"]))
    path = f"{ADMIN}/pages/{fact['page']}"

    answer = door.client.get(path, headers=root)

    assert answer.content == investorgain_board(ISSUES)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", "no-store")
    assert [door.status(path, who) for who in ({}, asha)] == [401, 403]
    assert [door.status(f"{ADMIN}/pages/{name}", root) for name in ("0" * 64, "..%2F..%2Fetc%2Fpasswd")] == [404, 404]


def test_who_is_no_admin_decides_nothing(door: Guarded, asha: Headers, root: Headers) -> None:
    scopes = {"name": "one", "scopes": ["admin"]}
    key = {"X-API-KEY": door.client.post(f"{V1}/keys", headers=root, json=scopes).json()["key"]}
    path, asked = f"{ADMIN}/issues/{amber(door, root)['id']}/override", {"gmp": 1, "because": "y"}

    said = [door.status(path, who, "PUT", json=asked) for who in ({}, asha, key)]

    assert said == [401, 403, 403]
    assert door.status(f"{ADMIN}/reviews", key) == 200
    assert amber(door, root)["gmp"] == 41.5


def test_while_the_database_is_away_what_is_known_goes_on_and_says_so(stores: Stores, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        server = PostgresServer(f"{folder}/database", f"{folder}/run")
        server.start()
        tables = Database(server.url)
        tables.migrate()
        tables.close()
        book = Book(server.url, tmp_path / "pages")
        take(book, [AMBER, COBALT], NOW)
        book.close()
        for door in guard(stores, server.url, tmp_path / "lake", demo=True):
            known = door.client.get(IPOS)
            server.stop()
            wait(lambda at=door: "X-Bourse-Stale" in at.client.get(IPOS).headers)
            stale, unknown = door.client.get(IPOS), door.client.get(IPOS, params={"segment": "sme"})

    assert (stale.status_code, stale.json(), stale.headers["X-Bourse-Stale"]) == (200, known.json(), "database")
    assert int(stale.headers["Age"]) >= int(known.headers["Age"]) == 0
    assert (unknown.status_code, unknown.headers["Content-Type"]) == (503, "application/problem+json")
    assert unknown.headers["Retry-After"] == "1"
