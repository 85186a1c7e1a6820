"""Tokens: signed ones for a short while, and random ones of which only a digest is kept.

An access token is a JWT (HS256, pinned). The secret comes from the environment or is made once, for this user's eyes
alone; of several, the first signs and all are believed, so that one can take another's place. A random token has 256
bits: a plain digest of it gives nothing away, and only people's passwords need a slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from market.access import Role
from market.errors import BadSetting, Denied, StoreRefused
from market.users import ACCESS_LASTS, OPERATOR_LASTS

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "bourse"
OPERATOR = "operator"
"""The session of whoever holds the secret itself: commands on the machine of this deployment."""
SHORTEST = 32
SECRET_FILE = "secret"  # noqa: S105  (its name)
LONGEST_TOKEN = 4096
DENIED = "Authorization: Bearer TOKEN of a login that lasts"


class Claims(NamedTuple):
    """What a token says of its holder; `expires` ns UTC."""

    user: str
    session: str
    role: Role
    tier: str
    expires: int


class Signer:
    """Makes and reads access tokens."""

    def __init__(self, secrets_: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        """`secrets_`: the first signs. Raises BadSetting."""
        self._keys = {_kid(one): checked(one) for one in secrets_}
        self._first = _kid(secrets_[0])
        self._clock = clock

    def sign(self, user: str, session: str, role: Role, tier: str, lasts: timedelta = ACCESS_LASTS) -> tuple[str, int]:
        """A token and when it ends, ns UTC."""
        import jwt

        now = int(self._clock())
        ends = now + int(lasts.total_seconds())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": user, "sid": session, "role": role.value, "tier": tier,
            "iat": now, "exp": ends, "jti": secrets.token_hex(8),
        }  # fmt: skip
        return jwt.encode(claims, self._keys[self._first], ALGORITHM, {"kid": self._first}), ends * 1_000_000_000

    def operator(self) -> str:
        """A token for a command on this machine."""
        return self.sign(OPERATOR, OPERATOR, Role.ADMIN, "premium", OPERATOR_LASTS)[0]

    def read(self, token: str) -> Claims:
        """What a token says. Raises Denied, which says nothing of why but that it has expired."""
        import jwt

        if len(token) > LONGEST_TOKEN:
            raise _denied("is none of ours")
        required = ["iss", "aud", "sub", "sid", "role", "tier", "iat", "exp", "jti"]
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            # Our own clock, below, is the one that counts.
            told: dict[str, Any] = jwt.decode(
                token, key, [ALGORITHM], {"require": required, "verify_exp": False, "verify_iat": False},
                audience=AUDIENCE, issuer=ISSUER,
            )  # fmt: skip
            found = Claims(str(told["sub"]), str(told["sid"]), Role(told["role"]), str(told["tier"]), int(told["exp"]))
        except (jwt.PyJWTError, KeyError, ValueError, TypeError):
            raise _denied("is none of ours") from None
        if found.expires <= self._clock():
            raise _denied("has expired")
        return found._replace(expires=found.expires * 1_000_000_000)


def secret(folder: Path) -> str:
    """The secret of a data folder, made when there is none. Raises StoreRefused when others may read it."""
    file = folder / SECRET_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / f".{SECRET_FILE}-{secrets.token_hex(8)}"
        own.touch(mode=0o600)
        own.write_text(secrets.token_urlsafe(48))
        try:
            os.link(own, file)  # whole or not at all, whoever comes first
        except FileExistsError:
            pass
        finally:
            own.unlink()
    if file.stat().st_mode & 0o077:
        raise StoreRefused(str(file), f"others may read it; chmod 600 {file}, and remove it if they may have")
    return file.read_text().strip()


def checked(one: str) -> str:
    """A secret to sign by. Raises BadSetting, which does not show it."""
    if len(one) < SHORTEST:
        raise BadSetting("BOURSE_SECRET", "its value", f"at least {SHORTEST} characters by chance, several with commas")
    return one


def fresh() -> str:
    """256 bits by chance."""
    return secrets.token_urlsafe(32)


def name() -> str:
    """64 bits by chance, hex: a name that nobody guesses and everybody may see."""
    return secrets.token_hex(8)


def digest(token: str) -> bytes:
    """What is kept of a random token, 32 bytes."""
    return hashlib.sha256(token.encode()).digest()


def same(token: str, kept: str) -> bool:
    """Whether a random token has this digest, hex, in a time that does not tell how near it came."""
    return hmac.compare_digest(digest(token).hex(), kept)


def _kid(one: str) -> str:
    return hashlib.sha256(b"kid:" + one.encode()).hexdigest()[:12]


def _denied(why: str) -> Denied:
    return Denied("credential", f"the token {why}", DENIED)
