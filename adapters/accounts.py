"""Accounts: the logins of the day, on the bus, where a running instance finds a new one without a restart.

`account:NAME` goes when the vendor's token does. Its value is a secret: nobody logs it, no command shows it.
"""

from __future__ import annotations

import json
import time

from pydantic import SecretStr, ValidationError

from adapters.redis_line import Call, RedisLine
from market.codecs import Account
from market.errors import BadPayload

SECRETS = ("api_key", "access_token")


class Accounts:
    """The accounts kept on one bus, by name. Every method raises LineDown when it is away."""

    def __init__(self, url: str) -> None:
        """`url`: the bus's. Connects on first use."""
        self._line = RedisLine(url)

    def keep(self, name: str, account: Account, until: int | None) -> None:
        """Keep an account in the place of any other until an instant, ns UTC of the world's clock; None: for good."""
        words = {"user": account.user, **{s: getattr(account, s).get_secret_value() for s in SECRETS}}
        call: Call = ("SET", _key(name), json.dumps(words))
        left = () if until is None else ("PX", max(1, (until - time.time_ns()) // 1_000_000))
        self._line.calls([(*call, *left)], kept=True)

    def find(self, name: str) -> Account | None:
        """The account of the day; None when there is none or its token has expired. Raises BadPayload."""
        text = self._line.call("GET", _key(name))
        if text is None:
            return None
        try:
            words = json.loads(text)
            return Account(user=words["user"], **{s: SecretStr(words[s]) for s in SECRETS})
        except (ValueError, KeyError, TypeError, ValidationError):
            raise BadPayload("account", b"", f"what stands at {_key(name)} is no account") from None

    def close(self) -> None:
        """Close the connections."""
        self._line.close()


def _key(name: str) -> str:
    return f"account:{name}"
