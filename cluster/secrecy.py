"""Secrecy: what access tokens are signed by, and what a command of this machine shows the gateway."""

from __future__ import annotations

from pydantic import SecretStr

from adapters import tokens
from cluster.settings import Settings


def signing(settings: Settings) -> tuple[SecretStr, ...]:
    """The secrets of `BOURSE_SECRET`, the first signs; else the one in the data folder, made now if there is none.

    Raises StoreRefused.
    """
    given = settings.secrets.bourse_secret
    if given is None:
        return (SecretStr(tokens.secret(settings.data)),)
    return tuple(SecretStr(one.strip()) for one in given.get_secret_value().split(","))


def headers(settings: Settings) -> dict[str, str]:
    """By which the gateway knows a command of whoever holds the secret. Raises StoreRefused."""
    signer = tokens.Signer([one.get_secret_value() for one in signing(settings)])
    return {"Authorization": f"Bearer {signer.operator()}"}
