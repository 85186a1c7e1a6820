"""Passwords and second factors: argon2id (RFC 9106) and TOTP (RFC 6238), by libraries that are kept for nothing else.

A hash costs tens of milliseconds and of megabytes on purpose: call these in a thread, and few at a time.
"""

from __future__ import annotations

import hmac
import secrets

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from market.records import Record
from market.users import RECOVERY_CODES

ISSUER = "Bourse"
STEP = 30
"""Seconds a code is shown; the one before and the one after are taken, for clocks differ."""


class Cost(Record):
    """Of a hash. Source: RFC 9106, section 4, the second recommended option: 3 passes over 64 MiB in 4 lanes."""

    passes: int = 3
    memory_kib: int = 64 << 10
    lanes: int = 4


class Passwords:
    """Hashes and compares; threads may share it."""

    def __init__(self, cost: Cost | None = None) -> None:
        cost = cost or Cost()
        self._hasher = PasswordHasher(cost.passes, cost.memory_kib, cost.lanes)
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    def hash(self, password: str) -> str:
        """The hash with its salt and its cost in it."""
        return self._hasher.hash(password)

    def fits(self, password: str, kept: str | None) -> bool:
        """Whether it is the password; without a hash to compare with it is as much work, and False."""
        try:
            return self._hasher.verify(kept or self._nobody, password) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, kept: str) -> bool:
        """Whether a hash was made at another cost, and had better be made anew."""
        return self._hasher.check_needs_rehash(kept)


def totp_secret() -> str:
    """A secret for an app that shows codes."""
    return pyotp.random_base32()


def totp_uri(secret: str, email: str) -> str:
    """The same as the app scans it."""
    return pyotp.TOTP(secret).provisioning_uri(email, ISSUER)


def totp_step(secret: str, code: str, now: float) -> int | None:
    """The time step whose code this is, in steps since 1970; None: it is none of now."""
    wanted = pyotp.TOTP(secret)
    steps = [int(now) // STEP + k for k in (-1, 0, 1)]
    given = code.encode()
    return next((step for step in steps if hmac.compare_digest(wanted.at(step * STEP).encode(), given)), None)


def recovery_codes() -> list[str]:
    """Codes for the day the app is lost, 80 bits each."""
    return [f"{(word := pyotp.random_base32(32).lower()[:16])[:8]}-{word[8:]}" for _ in range(RECOVERY_CODES)]
