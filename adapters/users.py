"""Users: the accounts of this deployment, in Postgres; what changes for a credential is told to all replicas' cache.

Each method is one transaction. The database is the truth: where the cache cannot be told, what it knew is believed for
at most `KNOWN_LASTS` more, and the log says so.
"""

# ruff: noqa: S608  (what is put into statements here are names of columns and tables of this file; values are bound)

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import structlog

from adapters import tokens
from adapters.database import Database
from adapters.standings import Kind, Name, Standings, Worth
from market.access import ROLE_TIERS, SCOPES, Role, Scope, Tier
from market.errors import BadValue, Denied, LineDown
from market.sessions import nanoseconds
from market.users import (
    LONGEST_NAME,
    MOST_KEYS,
    MOST_SESSIONS,
    MOST_WATCHLISTS,
    REFRESH_LASTS,
    RESET_LASTS,
    SESSION_LASTS,
    Act,
    Key,
    Login,
    Standing,
    User,
    Watchlist,
    outgrown,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAME = "database"
AGAIN_SECONDS = 1.0
"""A database that was away is not asked again for so long: nobody waits in line behind a dead one."""
KEY = "bk"
REFRESH = "br"
USER = "id, email, name, role, tier, disabled, totp_secret IS NOT NULL AS totp, created_at"
KEYS = 'id, user_id AS "user", name, scopes, created_at, expires_at, revoked_at, "by"'
LOGINS = 'id, user_id AS "user", created_at, used_at, expires_at, ended_at, because, agent'
LOGIN = "POST /api/v1/auth/login"
PAGE = 200


class Known(NamedTuple):
    """What a login is checked against; the secrets of an account."""

    user: User
    password: str
    totp_secret: str | None


class Opened(NamedTuple):
    """A login that was begun or renewed: whose, and the next refresh token, which is told once."""

    user: User
    session: str
    refresh: str
    expires: datetime


class Users:
    """Threads may share it. Every method raises LineDown, StoreRefused, and BadValue for text with a NUL."""

    def __init__(
        self, url: str | None, standings: Standings | None, clock: Callable[[], datetime] | None = None, *,
        schema: str = "bourse",
    ) -> None:  # fmt: skip
        """`url`: None where there is no database. Nothing is opened yet. Raises BadSetting."""
        self._database = Database(url, schema) if url else None
        self._standings = standings
        self._clock = clock or (lambda: datetime.now(UTC))
        self._down: tuple[float, LineDown] | None = None
        self._lock = Lock()

    def close(self) -> None:
        """Close what is open."""
        if self._database is not None:
            self._database.close()

    # Accounts

    def register(self, email: str, name: str, hashed: str, role: Role = Role.USER, by: str = "") -> User | None:
        """A new account; None: the address has one."""
        with self._begin() as run:
            words = {"id": tokens.name(), "email": email, "name": name[:LONGEST_NAME], "password": hashed}
            more = {"role": role.value, "tier": ROLE_TIERS[role], "now": self._clock()}
            made = run.one(
                "INSERT INTO users (id, email, name, password, role, tier, created_at) VALUES (:id, :email, :name,"
                f" :password, :role, :tier, :now) ON CONFLICT (email) DO NOTHING RETURNING {USER}",
                **words, **more,
            )  # fmt: skip
            if made is not None and by:
                run.note(by, "user added", made["id"], role.value)
        return None if made is None else User(**made)

    def known(self, email: str) -> Known | None:
        """What a login is checked against; None: nobody has this address."""
        with self._begin() as run:
            found = run.one(f"SELECT {USER}, password, totp_secret FROM users WHERE email = :email", email=email)
        if found is None:
            return None
        password, secret = found.pop("password"), found.pop("totp_secret")
        return Known(User(**found), password, secret)

    def user(self, name: str) -> User:
        """By id or address. Raises BadValue."""
        with self._begin() as run:
            return _user(run, name)

    def users(self, after: str = "", count: int = PAGE) -> list[User]:
        """In the order of their addresses, behind one."""
        with self._begin() as run:
            asked = f"SELECT {USER} FROM users WHERE email > :after ORDER BY email LIMIT :count"
            return [User(**row) for row in run.all(asked, after=after, count=count)]

    def rename(self, user: str, name: str) -> User:
        """Another name for an account."""
        with self._begin() as run:
            run.all("UPDATE users SET name = :name WHERE id = :user", name=name[:LONGEST_NAME], user=user)
            return _user(run, user)

    def change(
        self, user: str, by: str, *, role: Role | None = None, tier: str | None = None, disabled: bool | None = None
    ) -> User:
        """What an admin may change of an account. The last admin stays one. Raises BadValue."""
        with self._begin() as run:
            run.all("SELECT pg_advisory_xact_lock(hashtext('bourse.users'))")
            had = _user(run, user)
            if role is not None and tier is None and had.tier == ROLE_TIERS[had.role]:
                tier = ROLE_TIERS[role]
            now = had.model_copy(
                update={
                    "role": role or had.role,
                    "tier": tier or had.tier,
                    "disabled": had.disabled if disabled is None else disabled,
                }
            )
            if had.role is Role.ADMIN and not had.disabled and (now.role is not Role.ADMIN or now.disabled):
                others = run.one(
                    "SELECT count(*) AS n FROM users WHERE role = 'admin' AND NOT disabled AND id <> :id", id=had.id
                )
                if not others or not others["n"]:
                    raise BadValue("user", had.email, "another one: this is the last admin")
            run.all(
                "UPDATE users SET role = :role, tier = :tier, disabled = :disabled WHERE id = :id",
                role=now.role.value, tier=now.tier, disabled=now.disabled, id=had.id,
            )  # fmt: skip
            if now.disabled and not had.disabled:
                self._end(run, had.id, "disabled by an admin")
            for key in run.all("SELECT id, scopes FROM api_keys WHERE user_id = :id AND revoked_at IS NULL", id=had.id):
                if role is not None and outgrown([Scope(s) for s in key["scopes"]], now.role):
                    self._revoke(run, key["id"])
            said = (f"{what}: {getattr(now, what)}" for what in ("role", "tier", "disabled"))
            run.note(by, "user changed", had.id, ", ".join(said))
            run.enabling = had.disabled and not now.disabled
            self._tell_all(run, had.id)
        return now

    def set_password(self, user: str, hashed: str, by: str, but: str | None = None) -> None:
        """Another password; every login but one ends, and every reset that was asked for."""
        with self._begin() as run:
            run.all("UPDATE users SET password = :p WHERE id = :id", p=hashed, id=user)
            run.all("DELETE FROM reset_tokens WHERE user_id = :id", id=user)
            self._end(run, user, "the password was changed", but)
            run.note(by, "password changed", user, "")

    def rehash(self, user: str, old: str, hashed: str) -> None:
        """The same password at another cost."""
        with self._begin() as run:
            run.all("UPDATE users SET password = :p WHERE id = :id AND password = :old", p=hashed, id=user, old=old)

    def ask_reset(self, email: str) -> tuple[User, str, datetime] | None:
        """A token for a new password, and until when; the same work and None where nobody has this address."""
        token, ends = tokens.fresh(), self._clock() + RESET_LASTS
        with self._begin() as run:
            run.all("DELETE FROM reset_tokens WHERE expires_at < :now", now=self._clock())
            made = run.one(
                "INSERT INTO reset_tokens (digest, user_id, expires_at) SELECT :digest, id, :ends FROM users"
                " WHERE email = :email AND NOT disabled RETURNING user_id",
                digest=tokens.digest(token), ends=ends, email=email,
            )  # fmt: skip
            return None if made is None else (_user(run, made["user_id"]), token, ends)

    def reset(self, token: str, hashed: Callable[[User], str]) -> User:
        """Take a token for a new password, once. `hashed` may raise BadValue, and the token stays. Raises Denied."""
        with self._begin() as run:
            found = run.one(
                "DELETE FROM reset_tokens WHERE digest = :digest AND expires_at > :now RETURNING user_id",
                digest=tokens.digest(token), now=self._clock(),
            )  # fmt: skip
            if found is None:
                raise Denied("credential", "the token is none of ours, was used, or is too old", "ask for another")
            user = _user(run, found["user_id"])
            run.all("UPDATE users SET password = :p WHERE id = :id", p=hashed(user), id=user.id)
            run.all("DELETE FROM reset_tokens WHERE user_id = :id", id=user.id)
            self._end(run, user.id, "the password was reset")
            run.note(user.id, "password reset", user.id, "")
        return user

    # Second factors

    def begin_totp(self, user: str, secret: str) -> None:
        """A secret that is not asked for yet. Raises BadValue: there is one."""
        with self._begin() as run:
            done = run.all(
                "UPDATE users SET totp_pending = :s WHERE id = :id AND totp_secret IS NULL RETURNING id",
                s=secret,
                id=user,
            )
            if not done:
                raise BadValue("totp", "another", "none: it is in use; disable it first")

    def pending_totp(self, user: str) -> str | None:
        """The secret that is not asked for yet."""
        with self._begin() as run:
            found = run.one("SELECT totp_pending FROM users WHERE id = :id", id=user)
        return None if found is None else found["totp_pending"]

    def confirm_totp(self, user: str, secret: str, step: int, codes: Collection[str]) -> None:
        """Ask for codes from now on. Raises BadValue: another secret was begun meanwhile."""
        with self._begin() as run:
            done = run.all(
                "UPDATE users SET totp_secret = totp_pending, totp_pending = NULL, totp_step = :step"
                " WHERE id = :id AND totp_pending = :s RETURNING id",
                step=step, id=user, s=secret,
            )  # fmt: skip
            if not done:
                raise BadValue("totp", "its code", "the code of the secret begun last")
            run.all("DELETE FROM recovery_codes WHERE user_id = :id", id=user)
            for code in codes:
                run.all("INSERT INTO recovery_codes VALUES (:id, :digest)", id=user, digest=tokens.digest(code))
            run.note(user, "second factor on", user, "")

    def end_totp(self, user: str) -> None:
        """Ask for codes no more."""
        with self._begin() as run:
            run.all("UPDATE users SET totp_secret = NULL, totp_pending = NULL WHERE id = :id", id=user)
            run.all("DELETE FROM recovery_codes WHERE user_id = :id", id=user)
            run.note(user, "second factor off", user, "")

    def take_step(self, user: str, step: int) -> bool:
        """Whether a code of this time step is taken: each once, none before one that was."""
        with self._begin() as run:
            asked = "UPDATE users SET totp_step = :step WHERE id = :id AND totp_step < :step RETURNING id"
            return bool(run.all(asked, step=step, id=user))

    def take_recovery(self, user: str, code: str) -> bool:
        """Whether this is a recovery code; it is none any more."""
        with self._begin() as run:
            asked = "DELETE FROM recovery_codes WHERE user_id = :id AND digest = :digest RETURNING user_id"
            return bool(run.all(asked, id=user, digest=tokens.digest(code)))

    # Logins

    def open_session(self, user: str, agent: str, hashed: str) -> Opened:
        """Begin a login, if the password is still the one that was compared with, and the account is enabled; of very
        many the one used longest ago ends. Raises Denied.
        """
        now, session = self._clock(), tokens.name()
        with self._begin() as run:
            run.all("DELETE FROM sessions WHERE user_id = :u AND expires_at < :old", u=user, old=now - SESSION_LASTS)
            found = run.one(
                f"SELECT {USER} FROM users WHERE id = :u AND password = :p AND NOT disabled FOR UPDATE",
                u=user,
                p=hashed,
            )
            if found is None:
                raise Denied("credential", "the account has changed", LOGIN)
            live = run.all(
                "SELECT id FROM sessions WHERE user_id = :u AND ended_at IS NULL ORDER BY used_at DESC OFFSET :most",
                u=user, most=MOST_SESSIONS - 1,
            )  # fmt: skip
            for one in live:
                self._end_one(run, one["id"], f"more than {MOST_SESSIONS} logins")
            run.all(
                "INSERT INTO sessions (id, user_id, created_at, used_at, expires_at, agent)"
                " VALUES (:id, :u, :now, :now, :ends, :agent)",
                id=session, u=user, now=now, ends=now + SESSION_LASTS, agent=agent[:200],
            )  # fmt: skip
            return self._next(run, User(**found), session, now + SESSION_LASTS)

    def renew(self, refresh: str) -> Opened:
        """The next token of a family for one that has not been used; a used one ends the family. Raises Denied."""
        digest, now = tokens.digest(refresh), self._clock()
        with self._begin() as run:
            # The row is locked: of two that come at once the second finds it used.
            taken = run.one(
                "UPDATE refresh_tokens SET used_at = :now WHERE digest = :d AND used_at IS NULL AND expires_at > :now"
                " RETURNING session",
                d=digest, now=now,
            )  # fmt: skip
            if taken is not None:
                found = run.one(
                    "SELECT s.expires_at, s.user_id FROM sessions s JOIN users u ON u.id = s.user_id"
                    " WHERE s.id = :s AND s.ended_at IS NULL AND s.expires_at > :now AND NOT u.disabled"
                    " FOR UPDATE OF s",
                    s=taken["session"], now=now,
                )  # fmt: skip
                if found is not None:
                    run.all("UPDATE sessions SET used_at = :now WHERE id = :s", now=now, s=taken["session"])
                    return self._next(run, _user(run, found["user_id"]), taken["session"], found["expires_at"])
            used = run.one("SELECT session FROM refresh_tokens WHERE digest = :d AND used_at IS NOT NULL", d=digest)
            if used is not None and taken is None:
                self._end_one(run, used["session"], "a refresh token came twice")
        raise Denied("credential", "the refresh token is none of ours, was used, or is too old", LOGIN)

    def end_by_token(self, refresh: str) -> None:
        """End the login that a refresh token belongs to, if there is one."""
        with self._begin() as run:
            found = run.one("SELECT session FROM refresh_tokens WHERE digest = :d", d=tokens.digest(refresh))
            if found is not None:
                self._end_one(run, found["session"], "logged out")

    def end_session(self, session: str, because: str, by: str = "") -> bool:
        """End a login; whether it lasted."""
        with self._begin() as run:
            done = self._end_one(run, session, because)
            if done and by:
                run.note(by, "session ended", session, because)
        return done

    def sessions(self, user: str | None = None, after: str = "", count: int = PAGE) -> list[Login]:
        """Logins that last, of one account or of all, by id."""
        with self._begin() as run:
            asked = (
                f"SELECT {LOGINS} FROM sessions WHERE ended_at IS NULL AND expires_at > :now AND id > :after"
                " AND (CAST(:user AS text) IS NULL OR user_id = :user) ORDER BY id LIMIT :count"
            )
            found = run.all(asked, now=self._clock(), user=user, after=after, count=count)
            return [Login(**row) for row in found]

    # Keys

    def add_key(
        self, user: str, name: str, scopes: Collection[Scope], expires: datetime | None, by: str
    ) -> tuple[Key, str]:
        """A key and its whole text, which is told once. Raises BadValue."""
        key, secret = tokens.name(), tokens.fresh()
        with self._begin() as run:
            owner = _user(run, user, lock=True)
            count = run.one("SELECT count(*) AS n FROM api_keys WHERE user_id = :u AND revoked_at IS NULL", u=owner.id)
            if count and count["n"] >= MOST_KEYS:
                raise BadValue("key", name[:40], f"at most {MOST_KEYS} keys; revoke one")
            made = run.one(
                "INSERT INTO api_keys VALUES (:id, :u, :name, :digest, :scopes, :now, :ends, NULL, :by)"
                f" RETURNING {KEYS}",
                id=key, u=owner.id, name=name[:LONGEST_NAME], digest=tokens.digest(secret),
                scopes=sorted(s.value for s in scopes), now=self._clock(), ends=expires, by=by,
            )  # fmt: skip
            run.note(by, "key made", key, f"for {owner.id}: {', '.join(sorted(scopes))}")
        return Key(**(made or {})), f"{KEY}_{key}_{secret}"

    def keys(self, user: str | None = None, after: str = "", count: int = PAGE) -> list[Key]:
        """Keys, of one account or of all, by id."""
        with self._begin() as run:
            asked = (
                f"SELECT {KEYS} FROM api_keys WHERE id > :after"
                " AND (CAST(:user AS text) IS NULL OR user_id = :user) ORDER BY id LIMIT :count"
            )
            return [Key(**row) for row in run.all(asked, user=user, after=after, count=count)]

    def revoke(self, key: str, by: str, user: str | None = None) -> bool:
        """End a key, of one account or of whomever; whether there was one that lasted."""
        with self._begin() as run:
            done = self._revoke(run, key, user)
            if done:
                run.note(by, "key revoked", key, "")
        return done

    def standing(self, kind: Kind, name: str) -> Standing | None:
        """What a credential is worth; None: nothing."""
        with self._begin() as run:
            return self._standings_of(run, kind, name=name).get((kind, name))

    # Watchlists

    def watchlists(self, user: str) -> list[Watchlist]:
        """By name."""
        with self._begin() as run:
            asked = "SELECT name, symbols FROM watchlists WHERE user_id = :u ORDER BY name"
            return [Watchlist(**row) for row in run.all(asked, u=user)]

    def watchlist(self, user: str, name: str) -> Watchlist | None:
        """One of them."""
        with self._begin() as run:
            asked = "SELECT name, symbols FROM watchlists WHERE user_id = :u AND name = :n"
            found = run.one(asked, u=user, n=name)
        return None if found is None else Watchlist(**found)

    def keep_watchlist(self, user: str, kept: Watchlist) -> bool:
        """Keep one in the place of another of its name; whether there was none. Raises BadValue."""
        with self._begin() as run:
            _user(run, user, lock=True)
            had = run.all("SELECT name FROM watchlists WHERE user_id = :u", u=user)
            new = kept.name not in {row["name"] for row in had}
            if new and len(had) >= MOST_WATCHLISTS:
                raise BadValue("name", kept.name, f"at most {MOST_WATCHLISTS} watchlists; delete one")
            run.all(
                "INSERT INTO watchlists VALUES (:u, :n, :s) ON CONFLICT (user_id, name) DO UPDATE SET symbols = :s",
                u=user, n=kept.name, s=list(kept.symbols),
            )  # fmt: skip
        return new

    def drop_watchlist(self, user: str, name: str) -> bool:
        """Whether there was one."""
        with self._begin() as run:
            return bool(run.all("DELETE FROM watchlists WHERE user_id = :u AND name = :n RETURNING 1", u=user, n=name))

    # Tiers and who did what

    def tiers(self) -> dict[str, Tier]:
        """Those that admins set."""
        with self._begin() as run:
            found = run.all("SELECT * FROM tiers")
        return {row.pop("name"): Tier(**row) for row in found}

    def set_tier(self, name: str, tier: Tier | None, by: str) -> None:
        """Set a tier; None: to what is built in."""
        with self._begin() as run:
            run.all("DELETE FROM tiers WHERE name = :name", name=name)
            if tier is not None:
                words = tier.model_dump()
                names = ", ".join(words)
                values = ", ".join(f":{word}" for word in words)
                run.all(f"INSERT INTO tiers (name, {names}) VALUES (:name, {values})", name=name, **words)
            run.note(by, "tier set", name, "built in" if tier is None else tier.model_dump_json())

    def note(self, by: str, action: str, subject: str, detail: str) -> None:
        """Put on record what an admin did elsewhere."""
        with self._begin() as run:
            run.note(by, action, subject, detail)

    def audit(self, count: int = PAGE) -> list[Act]:
        """The last acts, newest first."""
        with self._begin() as run:
            asked = "SELECT at, actor, action, subject, detail FROM audit ORDER BY id DESC LIMIT :count"
            return [Act(**row) for row in run.all(asked, count=count)]

    def forget(self, logins: timedelta, acts: timedelta) -> dict[str, int]:
        """Remove tokens that have expired (until then a second use of one is noticed), logins that ended so long ago,
        and acts on record that are older than that; how many of each.
        """
        now = self._clock()
        asked = {
            "refresh_tokens": ("expires_at < :since", now),
            "reset_tokens": ("expires_at < :since", now),
            "sessions": ("LEAST(expires_at, ended_at) < :since", now - logins),
            "audit": ("at < :since", now - acts),
        }
        with self._begin() as run:
            return {
                table: len(run.all(f"DELETE FROM {table} WHERE {which} RETURNING 1 AS gone", since=since))
                for table, (which, since) in asked.items()
            }

    def _begin(self) -> _Transaction:
        if self._database is None:
            raise LineDown(NAME, "there is none here")
        return _Transaction(self)

    def _next(self, run: _Transaction, user: User, session: str, ends: datetime) -> Opened:
        token = f"{REFRESH}_{tokens.fresh()}"
        until = min(ends, self._clock() + REFRESH_LASTS)
        run.all(
            "INSERT INTO refresh_tokens (digest, session, expires_at) VALUES (:d, :s, :ends)",
            d=tokens.digest(token), s=session, ends=until,
        )  # fmt: skip
        return Opened(user, session, token, until)

    def _end(self, run: _Transaction, user: str, because: str, but: str | None = None) -> None:
        asked = (
            "UPDATE sessions SET ended_at = :now, because = :why WHERE user_id = :u AND ended_at IS NULL"
            " AND id IS DISTINCT FROM CAST(:but AS text) RETURNING id"
        )
        for row in run.all(asked, now=self._clock(), why=because, u=user, but=but):
            run.changed[("session", row["id"])] = None

    def _end_one(self, run: _Transaction, session: str, because: str) -> bool:
        asked = "UPDATE sessions SET ended_at = :now, because = :why WHERE id = :s AND ended_at IS NULL RETURNING id"
        done = bool(run.all(asked, now=self._clock(), why=because, s=session))
        if done:
            run.changed[("session", session)] = None
        return done

    def _revoke(self, run: _Transaction, key: str, user: str | None = None) -> bool:
        asked = (
            "UPDATE api_keys SET revoked_at = :now WHERE id = :k AND revoked_at IS NULL"
            " AND (CAST(:u AS text) IS NULL OR user_id = :u) RETURNING id"
        )
        done = bool(run.all(asked, now=self._clock(), k=key, u=user))
        if done:
            run.changed[("key", key)] = None
        return done

    def _tell_all(self, run: _Transaction, user: str) -> None:
        """What every credential of an account is worth now, those that are worth nothing included."""
        kinds: tuple[tuple[Kind, str, str], ...] = (
            ("key", "api_keys", "revoked_at"),
            ("session", "sessions", "ended_at"),
        )
        for kind, table, over in kinds:
            live = self._standings_of(run, kind, user=user)
            for row in run.all(f"SELECT id, {over} IS NOT NULL AS over FROM {table} WHERE user_id = :u", u=user):
                name = (kind, row["id"])
                run.changed[name] = None if row["over"] else live.get(name, "resting")

    def _standings_of(
        self, run: _Transaction, kind: Kind, name: str | None = None, user: str | None = None
    ) -> dict[Name, Standing]:
        mine = {"key": "k.scopes, k.digest, k.revoked_at", "session": "NULL AS scopes, NULL AS digest, k.ended_at"}[
            kind
        ]
        table, over = {"key": ("api_keys", "revoked_at"), "session": ("sessions", "ended_at")}[kind]
        asked = (
            f"SELECT k.id, k.expires_at, u.id AS of, u.role, u.tier, {mine} FROM {table} k JOIN users u"
            f" ON u.id = k.user_id WHERE k.{over} IS NULL AND NOT u.disabled"
            " AND (k.expires_at IS NULL OR k.expires_at > :now)"
            " AND (CAST(:name AS text) IS NULL OR k.id = :name) AND (CAST(:user AS text) IS NULL OR u.id = :user)"
        )
        found: dict[Name, Standing] = {}
        for row in run.all(asked, now=self._clock(), name=name, user=user):
            role = Role(row["role"])
            found[(kind, row["id"])] = Standing(
                user=row["of"],
                role=role,
                tier=row["tier"],
                scopes=frozenset(Scope(s) for s in row["scopes"]) if kind == "key" else SCOPES[role],
                expires=None if row["expires_at"] is None else nanoseconds(row["expires_at"]),
                digest=bytes(row["digest"]).hex() if kind == "key" else "",
            )
        return found


class _Transaction:
    """One, with what it changes for credentials: told to the cache when it is committed."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self.changed: dict[Name, Worth] = {}
        self.enabling = False

    def __enter__(self) -> _Transaction:
        users = self._users
        with users._lock:
            if users._down is not None and time.monotonic() < users._down[0]:
                raise LineDown(*users._down[1].args)
        assert users._database is not None  # noqa: S101  (`_begin` has looked)
        self._open = users._database.begin()
        try:
            self._line: Connection = self._open.__enter__()
        except LineDown as e:
            self._noted(e)
            raise
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Literal[False]:
        try:
            self._open.__exit__(kind, error, trace)
        except LineDown as e:
            self._noted(e)
            raise
        if kind is None:
            with self._users._lock:
                self._users._down = None
            self._tell(self.changed)
        return False

    def all(self, asked: str, **words: Any) -> list[dict[str, Any]]:
        """The rows of a statement, none for one that gives none."""
        from sqlalchemy import text

        done = self._line.execute(text(asked), words)
        return [dict(row) for row in done.mappings()] if done.returns_rows else []

    def one(self, asked: str, **words: Any) -> dict[str, Any] | None:
        """The first of them."""
        return next(iter(self.all(asked, **words)), None)

    def note(self, actor: str, action: str, subject: str, detail: str) -> None:
        """Put on record who did what."""
        self.all(
            "INSERT INTO audit (at, actor, action, subject, detail) VALUES (:at, :actor, :action, :subject, :detail)",
            at=self._users._clock(), actor=actor, action=action, subject=subject, detail=detail,
        )  # fmt: skip

    def _noted(self, why: LineDown) -> None:
        with self._users._lock:
            self._users._down = (time.monotonic() + AGAIN_SECONDS, why)

    def _tell(self, changed: Mapping[Name, Worth]) -> None:
        if not changed or self._users._standings is None:
            return
        try:
            self._users._standings.tell(changed, enabling=self.enabling)
        except LineDown as e:
            structlog.get_logger().warning("standings_not_told", reason=str(e), credentials=len(changed))


def _user(run: _Transaction, name: str, *, lock: bool = False) -> User:
    asked = f"SELECT {USER} FROM users WHERE id = :name OR email = :name{' FOR UPDATE' if lock else ''}"
    found = run.one(asked, name=name)
    if found is None:
        raise BadValue("user", name[:100], "the id or the address of an account")
    return User(**found)
