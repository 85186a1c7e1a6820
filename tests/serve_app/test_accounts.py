"""Accounts over HTTP, against a real Postgres and a real Redis."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pyotp
import pytest

from adapters.letters import Letters
from adapters.limits import TIERS_KEY, Limits
from adapters.passwords import STEP, Passwords
from adapters.postgres_server import PostgresServer
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.standings import Standings
from adapters.tokens import Signer, secret
from adapters.users import Users
from market.access import Role, Tier
from market.errors import BadValue, LineDown, StoreRefused
from market.users import AccountEvent
from serve_app.gateway import build
from tests.serve_app.door import CHEAP, PASSWORD, SECRET, V1, Guarded, bearer, guard
from tests.serve_app.house import AMPLE, wait

OTHER = "another horse battery"
QUOTE = "/api/stock/RELIANCE"
WRONG = "the address or the password is wrong"


def letters(door: Guarded, kind: str) -> list[AccountEvent]:
    return [one for one in Letters(door.house.bus).read() if one.kind == kind]


def test_who_registers_can_log_in_and_see_the_account(guarded: Guarded) -> None:
    asked = {"email": "Asha@Example.com", "password": PASSWORD, "name": "Asha"}

    made = guarded.client.post(f"{V1}/auth/register", json=asked)
    me = guarded.client.get(f"{V1}/me", headers=guarded.bearer("asha")).json()

    assert (made.status_code, made.json()) == (202, {"accepted": True})
    assert (me["email"], me["name"], me["role"], me["tier"]) == ("asha@example.com", "Asha", "user", "standard")
    wait(lambda: len(letters(guarded, "registered")) == 1)


def test_registering_an_address_twice_says_the_same_and_changes_nothing(guarded: Guarded) -> None:
    guarded.person("asha")

    again = guarded.client.post(f"{V1}/auth/register", json={"email": "asha@example.com", "password": OTHER})

    assert (again.status_code, again.json()) == (202, {"accepted": True})
    assert guarded.login("asha")["token_type"] == "Bearer"
    wait(lambda: [one.email for one in letters(guarded, "registered_again")] == ["asha@example.com"])


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "asha@example.com!", "x" * 200])
def test_a_weak_password_is_refused_and_not_shown(guarded: Guarded, password: str) -> None:
    answer = guarded.client.post(f"{V1}/auth/register", json={"email": "asha@example.com", "password": password})

    assert answer.status_code == 422
    assert password not in answer.text


def test_a_wrong_password_and_an_unknown_address_are_answered_alike(guarded: Guarded) -> None:
    guarded.person("asha")
    disabled = guarded.person("bela")
    guarded.users.change(disabled, "test", disabled=True)

    answers = [
        guarded.client.post(f"{V1}/auth/login", json={"email": f"{name}@example.com", "password": password})
        for name, password in (("asha", OTHER), ("nobody", PASSWORD), ("bela", PASSWORD))
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert {answer.json()["detail"] for answer in answers} == {WRONG}
    assert answers[0].headers["WWW-Authenticate"].startswith("Bearer")


def test_a_refresh_token_is_good_once_and_the_second_time_ends_the_family(guarded: Guarded) -> None:
    guarded.person("asha")
    first = guarded.login("asha")
    path = f"{V1}/auth/refresh"

    second = guarded.client.post(path, json={"refresh_token": first["refresh_token"]})
    before = guarded.status(QUOTE, bearer(second.json()))
    stolen = guarded.client.post(path, json={"refresh_token": first["refresh_token"]})
    after = guarded.client.post(path, json={"refresh_token": second.json()["refresh_token"]})

    assert (second.status_code, before, stolen.status_code, after.status_code) == (200, 200, 401, 401)
    assert guarded.status(QUOTE, bearer(second.json())) == 401


def test_of_many_who_use_one_refresh_token_at_once_at_most_one_is_served(guarded: Guarded) -> None:
    guarded.person("asha")
    token = guarded.login("asha")["refresh_token"]

    def renew(_: int) -> bool:
        try:
            return bool(guarded.users.renew(token))
        except Exception:
            return False

    with ThreadPoolExecutor(6) as pool:
        served = list(pool.map(renew, range(6)))

    assert sum(served) == 1
    assert guarded.users.sessions() == []


def test_a_made_up_refresh_token_ends_nobodys_login(guarded: Guarded) -> None:
    guarded.person("asha")
    tokens = guarded.login("asha")

    answer = guarded.client.post(f"{V1}/auth/refresh", json={"refresh_token": "br_made-up"})

    assert answer.status_code == 401
    assert guarded.status(QUOTE, bearer(tokens)) == 200


def test_logout_ends_the_access_token_too(guarded: Guarded) -> None:
    guarded.person("asha")
    tokens, other = guarded.login("asha"), guarded.login("asha")
    assert guarded.status(QUOTE, bearer(tokens)) == 200

    done = guarded.status(f"{V1}/auth/logout", method="POST", json={"refresh_token": tokens["refresh_token"]})

    assert (done, guarded.status(QUOTE, bearer(tokens)), guarded.status(QUOTE, bearer(other))) == (204, 401, 200)


def test_another_password_ends_every_other_login_and_no_key(guarded: Guarded) -> None:
    guarded.person("asha")
    mine, other = guarded.login("asha"), guarded.login("asha")
    path, new = f"{V1}/auth/password", {"password": PASSWORD, "new_password": OTHER}

    made = guarded.client.post(f"{V1}/keys", headers=bearer(mine), json={"name": "a", "scopes": ["quotes"]}).json()
    wrong = guarded.status(path, bearer(mine), "POST", json={**new, "password": OTHER})
    done = guarded.status(path, bearer(mine), "POST", json=new)

    assert (wrong, done) == (401, 204)
    assert (guarded.status(QUOTE, bearer(mine)), guarded.status(QUOTE, bearer(other))) == (200, 401)
    assert guarded.login("asha", OTHER)
    assert guarded.status(QUOTE, {"X-API-KEY": made["key"]}) == 200  # a key stays until it is revoked


def test_a_reset_sends_a_token_that_is_good_once(guarded: Guarded) -> None:
    guarded.person("asha")
    before = guarded.login("asha")

    answers = [
        guarded.client.post(f"{V1}/auth/password/reset", json={"email": f"{name}@example.com"})
        for name in ("asha", "nobody")
    ]
    wait(lambda: len(letters(guarded, "reset")) == 1)
    token = letters(guarded, "reset")[0].token
    confirm = {"token": token, "new_password": OTHER}
    weak = guarded.status(f"{V1}/auth/password/reset/confirm", method="POST", json={**confirm, "new_password": "weak"})
    done = [guarded.status(f"{V1}/auth/password/reset/confirm", method="POST", json=confirm) for _ in range(2)]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(202, {"accepted": True})] * 2
    assert (weak, done) == (422, [204, 401])
    assert guarded.status(QUOTE, bearer(before)) == 401
    assert guarded.login("asha", OTHER)


def test_whoever_asks_for_somebodys_reset_or_registers_the_address_locks_no_owner_out(guarded: Guarded) -> None:
    guarded.person("asha")
    theirs = {"email": "asha@example.com"}

    resets = [guarded.status(f"{V1}/auth/password/reset", method="POST", json=theirs) for _ in range(9)]
    again = {**theirs, "password": OTHER}
    made = [guarded.status(f"{V1}/auth/register", method="POST", json=again) for _ in range(9)]

    assert 429 in resets and 429 in made
    assert guarded.login("asha")


def test_a_second_factor_is_asked_for_once_it_is_confirmed_and_each_code_is_good_once(guarded: Guarded) -> None:
    guarded.person("asha")
    me = guarded.bearer("asha")
    begun = guarded.client.post(f"{V1}/me/totp", headers=me, json={"password": PASSWORD}).json()
    app = pyotp.TOTP(begun["secret"])
    assert guarded.login("asha")

    now = time.time()
    codes = guarded.client.post(f"{V1}/me/totp/confirm", headers=me, json={"code": app.at(now)}).json()
    asked = {"email": "asha@example.com", "password": PASSWORD}
    without = guarded.client.post(f"{V1}/auth/login", json=asked)
    replayed = guarded.client.post(f"{V1}/auth/login", json={**asked, "code": app.at(now)})
    good = guarded.client.post(f"{V1}/auth/login", json={**asked, "code": app.at(now + STEP)})
    again = guarded.client.post(f"{V1}/auth/login", json={**asked, "code": app.at(now + STEP)})
    lost = [
        guarded.client.post(f"{V1}/auth/login", json={**asked, "code": codes["recovery_codes"][0]}) for _ in range(2)
    ]

    assert begun["uri"].startswith("otpauth://totp/Bourse:asha")
    assert (without.status_code, without.json()["type"]) == (401, "urn:bourse:problem:code")
    assert [one.status_code for one in (replayed, good, again, *lost)] == [401, 200, 401, 200, 401]
    off = {"password": PASSWORD, "code": codes["recovery_codes"][1]}
    assert guarded.status(f"{V1}/me/totp/disable", me, "POST", json=off) == 204
    assert guarded.login("asha")


def test_a_key_is_shown_once_kept_hashed_and_does_what_its_scopes_say(guarded: Guarded) -> None:
    guarded.person("asha")
    me = guarded.bearer("asha")

    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "screen", "scopes": ["quotes"]})
    key = {"X-API-KEY": made.json()["key"]}
    listed = guarded.client.get(f"{V1}/keys", headers=me)

    assert made.status_code == 201
    assert guarded.status(QUOTE, key) == 200
    assert guarded.status("/api/market/status", key) == 403
    assert guarded.status(f"{V1}/keys", key, "POST", json={"name": "x", "scopes": ["quotes"]}) == 403
    assert made.json()["key"].rpartition("_")[2] not in listed.text
    assert [one["name"] for one in listed.json()["keys"]] == ["screen"]
    assert guarded.status(QUOTE, {"X-API-KEY": made.json()["key"][:-1] + "!"}) == 401


def test_a_user_makes_no_key_beyond_the_role_but_an_admin_may_grant_training(guarded: Guarded) -> None:
    asha, _ = guarded.person("asha"), guarded.person("root", Role.ADMIN)
    me, root = guarded.bearer("asha"), guarded.bearer("root")
    wanted, train = {"name": "x", "scopes": ["train"]}, "/models/direction-15m/train"

    refused = guarded.status(f"{V1}/keys", me, "POST", json=wanted)
    made = guarded.client.post(f"{V1}/admin/users/{asha}/keys", headers=root, json=wanted).json()

    assert refused == 422
    assert guarded.status(train, me, "POST") == 403
    assert guarded.status(train, {"X-API-KEY": made["key"]}, "POST") == 404  # nothing is trained here


def test_what_ends_a_credential_ends_it_on_every_replica_at_once(guarded: Guarded) -> None:
    asha = guarded.person("asha")
    me = guarded.bearer("asha")
    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["quotes"]}).json()
    key = {"X-API-KEY": made["key"]}
    assert guarded.status(QUOTE, key) == 200
    plan = guarded.house.plan
    url = plan.access.database
    assert url is not None
    elsewhere = Users(url.get_secret_value(), Standings(plan.cache))

    elsewhere.revoke(made["id"], "another replica")
    revoked = guarded.status(QUOTE, key)
    elsewhere.change(asha, "another replica", role=Role.ADMIN)
    raised = guarded.status(f"{V1}/admin/users", me)
    guarded.person("root", Role.ADMIN)
    elsewhere.change(asha, "another replica", disabled=True)
    elsewhere.close()

    assert (revoked, raised, guarded.status(QUOTE, me)) == (401, 200, 401)


def test_a_reader_of_the_database_cannot_undo_a_revocation(guarded: Guarded) -> None:
    asha = guarded.person("asha")
    me = guarded.bearer("asha")
    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["quotes"]}).json()
    before = guarded.users.standing("key", made["id"])  # read, and not yet kept

    guarded.users.revoke(made["id"], asha)
    guarded.gate.standings.fill("key", made["id"], before)

    assert guarded.status(QUOTE, {"X-API-KEY": made["key"]}) == 401


def test_the_last_admin_stays_one(guarded: Guarded) -> None:
    root = guarded.person("root", Role.ADMIN)

    with pytest.raises(BadValue, match="last admin"):
        guarded.users.change(root, root, role=Role.USER)
    with pytest.raises(BadValue, match="last admin"):
        guarded.users.change(root, root, disabled=True)


def test_with_the_database_away_known_credentials_go_on_and_the_rest_is_told(guarded: Guarded) -> None:
    guarded.person("asha")
    me, other = guarded.bearer("asha"), guarded.login("asha")
    keys = [
        guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["quotes"]}).json() for _ in range(2)
    ]
    known, unknown = ({"X-API-KEY": key["key"]} for key in keys)
    assert guarded.status(QUOTE, known) == 200
    guarded.users.end_session(str(_claims(other)["sid"]), "test")

    guarded.gate.users = Users("postgresql://u@127.0.0.1:1/none", None)

    assert guarded.status(QUOTE, me) == 200
    assert guarded.status(QUOTE, known) == 200
    assert guarded.status(QUOTE, bearer(other)) == 401
    assert guarded.status(QUOTE, unknown) == 503


def test_with_the_database_away_a_login_nobody_knows_yet_waits_and_an_operator_does_not(guarded: Guarded) -> None:
    guarded.person("asha")
    unseen = guarded.bearer("asha")
    operator = {"Authorization": f"Bearer {guarded.gate.signer.operator()}"}

    guarded.gate.users = Users("postgresql://u@127.0.0.1:1/none", None)
    told = guarded.client.get(QUOTE, headers=unseen)

    assert (told.status_code, told.headers["Content-Type"]) == (503, "application/problem+json")
    assert guarded.status(QUOTE, operator) == 200


def test_with_the_cache_away_keys_are_looked_up_in_the_database(guarded: Guarded) -> None:
    guarded.person("asha")
    me = guarded.bearer("asha")
    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["quotes"]}).json()

    guarded.gate.standings = Standings("redis://127.0.0.1:1/0")

    assert guarded.status(QUOTE, {"X-API-KEY": made["key"]}) == 200
    assert guarded.status(QUOTE, me) == 200
    assert guarded.status("/api/subscribe", me, "POST", json={"symbols": []}) == 503


@pytest.mark.parametrize("how", ["none", "other secret", "other audience", "expired", "no session"])
def test_a_forged_or_expired_token_is_nobodys(guarded: Guarded, how: str) -> None:
    guarded.person("asha")
    claims = _claims(guarded.login("asha"))
    kid = {"kid": guarded.gate.signer._first}
    if how == "none":
        token = jwt.encode(claims, "", "none", kid)
    elif how == "other secret":
        token = jwt.encode(claims, SECRET[::-1], "HS256", kid)
    else:
        change = {
            "other audience": {"aud": "x"},
            "expired": {"exp": int(time.time()) - 1},
            "no session": {"sid": "0" * 16},
        }[how]
        token = jwt.encode({**claims, **change}, SECRET, "HS256", kid)

    assert guarded.status(QUOTE, {"Authorization": f"Bearer {token}"}) == 401


def test_a_token_of_the_secret_before_the_last_is_still_good() -> None:
    old, both = Signer([SECRET]), Signer([SECRET[::-1], SECRET])

    token, _ = old.sign("u", "s", Role.USER, "standard")

    assert both.read(token).user == "u"
    assert both.read(both.sign("v", "s", Role.USER, "standard")[0]).user == "v"


def test_a_ticket_opens_one_socket(guarded: Guarded) -> None:
    guarded.person("asha")
    me = guarded.bearer("asha")
    asked = {"symbols": ["RELIANCE", "NOBODY"]}

    told = guarded.client.post("/api/subscribe", headers=me, json=asked).json()
    with guarded.client.websocket_connect(told["url"]) as socket:
        hello, done = socket.receive_json(), socket.receive_json()
    with guarded.client.websocket_connect(told["url"]) as socket:
        ended = socket.receive()

    assert (told["symbols"], told["unknown"], told["expires_in"]) == (["NSE:RELIANCE"], ["NOBODY"], 60)
    assert (hello["demo"], done["type"], done["added"]) == (False, "done", ["NSE:RELIANCE"])
    assert (ended["type"], ended["code"]) == ("websocket.close", 4001)


def test_watchlists_are_kept_in_order_by_name_for_their_owner_alone(guarded: Guarded) -> None:
    guarded.person("asha"), guarded.person("bela")
    asha, bela = guarded.bearer("asha"), guarded.bearer("bela")
    path = f"{V1}/watchlists/banks"

    made = [guarded.status(path, asha, "PUT", json={"symbols": s}) for s in (["TCS"], ["TCS", "RELIANCE", "TCS"])]
    wrong = guarded.status(path, asha, "PUT", json={"symbols": ["NOBODY"]})

    assert (made, wrong) == ([201, 200], 404)
    assert guarded.client.get(path, headers=asha).json() == {"name": "banks", "symbols": ["NSE:TCS", "NSE:RELIANCE"]}
    assert guarded.status(path, bela) == 404
    assert [guarded.status(path, asha, "DELETE") for _ in range(2)] == [204, 404]


def test_admins_see_and_end_logins_set_tiers_and_are_on_record(guarded: Guarded) -> None:
    asha, _ = guarded.person("asha"), guarded.person("root", Role.ADMIN)
    me, root = guarded.bearer("asha"), guarded.bearer("root")
    tier = {"requests_per_second": 20, "burst": 40, "connections": 5, "symbols": 100}

    logins = guarded.client.get(f"{V1}/admin/sessions", headers=root, params={"user": asha}).json()["sessions"]
    ended = guarded.status(f"{V1}/admin/sessions/{logins[0]['id']}", root, "DELETE")
    put = guarded.status(f"{V1}/admin/tiers/standard", root, "PUT", json=tier)
    changed = guarded.client.patch(f"{V1}/admin/users/{asha}", headers=root, json={"role": "premium"}).json()

    assert (len(logins), ended, guarded.status(QUOTE, me), put) == (1, 204, 401, 200)
    assert (changed["role"], changed["tier"]) == ("premium", "premium")
    assert guarded.client.get(f"{V1}/admin/tiers", headers=root).json()["tiers"]["standard"]["burst"] == 40
    acts = guarded.client.get(f"{V1}/admin/audit", headers=root).json()["acts"]
    assert [act["action"] for act in acts] == ["user changed", "tier set", "session ended"]


def test_an_account_may_have_any_tier_of_the_settings(
    stores: tuple[RedisServer, RedisServer], database: PostgresServer, tmp_path: Path
) -> None:
    gold = Tier(requests_per_second=500, burst=1000, connections=200, symbols=5000)
    for door in guard(stores, database.url, tmp_path / "lake", demo=False, tiers={**AMPLE, "gold": gold}):
        asha, _ = door.person("asha"), door.person("root", Role.ADMIN)
        root, path = door.bearer("root"), f"{V1}/admin/users/{asha}"

        changed = door.client.patch(path, headers=root, json={"tier": "gold"})
        wrong = [door.status(path, root, "PATCH", json={"tier": name}) for name in ("nobody", "anonymous")]

        assert (changed.status_code, changed.json()["tier"], wrong) == (200, "gold", [422, 422])
        told = door.client.get(QUOTE, headers=door.bearer("asha")).headers
        assert told["RateLimit-Policy"].startswith('"gold";q=1000')


def test_limits_an_admin_sets_count_at_once_and_for_a_replica_that_begins_later(guarded: Guarded) -> None:
    guarded.person("root", Role.ADMIN)
    root = guarded.bearer("root")
    tier = {"requests_per_second": 3, "burst": 7, "connections": 5, "symbols": 100}
    path = f"{V1}/admin/limits"

    said = guarded.client.put(path, headers=root, json={"tiers": {"standard": tier}})
    counted = guarded.client.get(path, headers=root).json()
    wrong = guarded.status(path, root, "PUT", json={"tiers": {"nobody": tier}})

    assert (said.status_code, wrong) == (200, 422)
    assert (counted["tiers"]["standard"], counted["up"]) == (tier, True)
    later = build(guarded.house.plan)
    wait(lambda: later.state.desk.limits.tier("standard").burst == 7)
    later.state.desk.follower.stop()
    later.state.desk.limits.stop()
    assert guarded.status(f"{V1}/admin/tiers/standard", root, "DELETE") == 204
    assert guarded.client.get(path, headers=root).json()["tiers"]["standard"]["burst"] == 10_000


class Held(Passwords):
    """Looks at a password when it may."""

    def __init__(self) -> None:
        super().__init__(CHEAP)
        self.may = threading.Event()

    def fits(self, password: str, kept: str | None) -> bool:
        """As `Passwords.fits`."""
        return self.may.wait(60.0) and super().fits(password, kept)


def test_a_quote_is_answered_while_a_login_is_being_checked(guarded: Guarded) -> None:
    desk = guarded.client.app.state.accounts  # type: ignore[attr-defined]
    desk.passwords = held = Held()
    guarded.person("slow")
    token, _ = guarded.gate.signer.sign("operator", "operator", Role.ADMIN, "premium")
    ends = []

    async def both() -> None:
        transport = httpx.ASGITransport(guarded.client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bourse") as client:

            async def ask(name: str, method: str, path: str, **more: object) -> None:
                answer = await client.request(method, path, **more)  # type: ignore[arg-type]
                assert answer.status_code == 200
                ends.append(name)

            asked = {"email": "slow@example.com", "password": PASSWORD}
            login = asyncio.create_task(ask("login", "POST", f"{V1}/auth/login", json=asked))
            while not (desk._waiting or login.done()):
                await asyncio.sleep(0)
            await ask("quote", "GET", QUOTE, headers={"Authorization": f"Bearer {token}"})
            held.may.set()
            await login

    asyncio.run(both())

    assert ends == ["quote", "login"]


def test_what_is_renewed_too_late_or_for_too_long_is_over(guarded: Guarded) -> None:
    asha = guarded.person("asha")
    url = guarded.house.plan.access.database
    assert url is not None
    clock = [datetime.now(UTC)]
    users = Users(url.get_secret_value(), None, lambda: clock[0])
    known = users.known("asha@example.com")
    assert known is not None
    first = users.open_session(asha, "", known.password)
    renewed = first
    for _ in range(5):  # every six days, until the thirty are over
        clock[0] += timedelta(days=6) - timedelta(seconds=1)
        renewed = users.renew(renewed.refresh)

    clock[0] = first.expires + timedelta(days=23, seconds=1)

    with pytest.raises(Exception, match="too old"):
        users.renew(renewed.refresh)
    users.close()


def test_what_has_ended_long_ago_is_removed_and_nothing_else(guarded: Guarded) -> None:
    url = guarded.house.plan.access.database
    assert url is not None
    clock = [datetime.now(UTC)]
    users = Users(url.get_secret_value(), None, lambda: clock[0])
    me = users.register("old@example.com", "", "hash")
    assert me is not None
    ended, lasting = (users.open_session(me.id, "test", "hash") for _ in range(2))
    users.ask_reset("old@example.com")
    users.end_session(ended.session, "logout", "me")
    users.renew(lasting.refresh)

    soon = users.forget(timedelta(days=90), timedelta(days=400))
    clock[0] += timedelta(days=91)
    later = users.forget(timedelta(days=90), timedelta(days=400))
    clock[0] += timedelta(days=310)
    last = users.forget(timedelta(days=90), timedelta(days=400))
    users.close()

    assert set(soon.values()) == {0}
    assert (later["reset_tokens"], later["sessions"], later["audit"]) == (1, 1, 0)
    assert (last["sessions"], last["audit"] > 0) == (1, True)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: secret(tmp_path), range(8)))

    file = tmp_path / "secret"
    assert (len(found), stat.S_IMODE(file.stat().st_mode)) == (1, 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]
    file.chmod(0o644)
    with pytest.raises(StoreRefused, match="others may read it"):
        secret(tmp_path)


def test_without_a_database_accounts_say_so() -> None:
    with pytest.raises(LineDown):
        Users(None, None).users()
    assert not Passwords(CHEAP).fits("anything", None)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "auth/register", {"email": "a\0b@example.com", "password": PASSWORD}),
        ("POST", "auth/register", {"email": "bela@example.com", "password": PASSWORD, "name": "a\0b"}),
        ("POST", "auth/login", {"email": "a\0b@example.com", "password": PASSWORD}),
        ("POST", "auth/password/reset", {"email": "a\0b@example.com"}),
        ("PATCH", "me", {"name": "a\x1bb"}),
        ("POST", "keys", {"name": "a\0b", "scopes": ["quotes"]}),
        ("DELETE", "keys/%00", None),
        ("GET", "watchlists/%00", None),
        ("DELETE", "watchlists/%00", None),
        ("GET", "admin/users/%00", None),
        ("PATCH", "admin/users/%00", {"disabled": True}),
        ("POST", "admin/users/%00/keys", {"name": "a", "scopes": ["quotes"]}),
        ("GET", "admin/users?after=%00", None),
        ("GET", "admin/keys?user=%00", None),
        ("GET", "admin/keys?after=%00", None),
        ("DELETE", "admin/keys/%00", None),
        ("GET", "admin/sessions?user=%00", None),
        ("DELETE", "admin/sessions/%00", None),
    ],
)
def test_a_name_with_a_control_character_is_refused(
    guarded: Guarded, method: str, path: str, body: dict[str, object] | None
) -> None:
    guarded.person("root", Role.ADMIN)

    assert guarded.status(f"{V1}/{path}", guarded.bearer("root"), method, json=body) == 422


def test_a_key_makes_no_keys_and_no_admins_however_much_it_may(guarded: Guarded) -> None:
    asha, root = guarded.person("asha"), guarded.person("root", Role.ADMIN)
    me = guarded.bearer("root")
    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["admin"]}).json()
    key, wanted = {"X-API-KEY": made["key"]}, {"name": "b", "scopes": ["quotes"]}

    found = [
        (guarded.status(f"{V1}/admin/users/{root}/keys", who, "POST", json=wanted),
         guarded.status(f"{V1}/admin/users/{asha}", who, "PATCH", json={"role": "admin"}),
         guarded.status(f"{V1}/admin/users/{asha}", who))
        for who in (key, me)
    ]  # fmt: skip

    assert found == [(403, 403, 200), (201, 200, 200)]


def test_a_change_of_the_account_cannot_undo_a_revocation(guarded: Guarded) -> None:
    asha = guarded.person("asha")
    me = guarded.bearer("asha")
    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["quotes"]}).json()
    before = guarded.users.standing("key", made["id"])  # what a change found, and has not told yet

    guarded.users.revoke(made["id"], asha)
    for enabling in (False, True):
        guarded.gate.standings.tell({("key", made["id"]): before}, enabling=enabling)

    assert guarded.status(QUOTE, {"X-API-KEY": made["key"]}) == 401


def test_a_key_rests_while_its_owner_is_disabled(guarded: Guarded) -> None:
    asha = guarded.person("asha")
    me = guarded.bearer("asha")
    made = guarded.client.post(f"{V1}/keys", headers=me, json={"name": "a", "scopes": ["quotes"]}).json()
    key, before = {"X-API-KEY": made["key"]}, guarded.users.standing("key", made["id"])

    found = [guarded.status(QUOTE, key)]
    guarded.users.change(asha, "test", disabled=True)
    guarded.gate.standings.tell({("key", made["id"]): before})  # a change that is told late
    found.append(guarded.status(QUOTE, key))
    guarded.users.change(asha, "test", disabled=False)

    assert [*found, guarded.status(QUOTE, key)] == [200, 401, 200]


def test_a_tier_is_kept_though_the_cache_is_away_and_the_file_counts_where_nobody_said_otherwise(
    guarded: Guarded,
) -> None:
    guarded.person("root", Role.ADMIN)
    root = guarded.bearer("root")
    tier = {"requests_per_second": 3, "burst": 7, "connections": 5, "symbols": 100}
    desk = guarded.client.app.state.accounts  # type: ignore[attr-defined]
    raw, raw_tiers = RedisLine(guarded.house.plan.cache), f"{V1}/admin/tiers/premium"

    assert guarded.status(raw_tiers, root, "PUT", json=tier) == 200
    assert list(json.loads(raw.call("GET", TIERS_KEY))) == ["premium"]
    assert raw.call("TTL", TIERS_KEY) > 0
    raw.close()
    desk.limits = Limits("redis://127.0.0.1:1/0", guarded.house.plan.tiers)
    away = guarded.status(f"{V1}/admin/tiers/standard", root, "PUT", json=tier)

    assert (away, desk.limits.tier("standard").burst, desk.limits.tier("anonymous").burst) == (200, 7, 10_000)
    desk.limits.stop()


@pytest.mark.parametrize("rate", [1e-320, 1e-300, 0.009])
def test_a_tier_slower_than_one_request_in_a_hundred_seconds_is_refused(guarded: Guarded, rate: float) -> None:
    guarded.person("root", Role.ADMIN)
    tier = {"requests_per_second": rate, "burst": 7, "connections": 5, "symbols": 100}

    path = f"{V1}/admin/tiers/standard"
    answer = guarded.client.put(path, headers=guarded.bearer("root"), json=tier)

    assert answer.status_code == 422
    assert "0.01" in answer.json()["allowed"]


def test_what_is_not_there_is_told_with_its_path(guarded: Guarded) -> None:
    guarded.person("asha")

    answer = guarded.client.get(f"{V1}/watchlists/none", headers=guarded.bearer("asha"))

    assert (answer.status_code, answer.json()["instance"]) == (404, f"{V1}/watchlists/none")


def _claims(tokens: dict[str, object]) -> dict[str, object]:
    return dict(jwt.decode(str(tokens["access_token"]), options={"verify_signature": False}))
