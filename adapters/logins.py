"""Logins: from what a person wrote down to the day's access token, over the shared HTTP door.

mStock logs in unattended, with the secret of its TOTP. Kite gives a request token, FlatTrade a request code, after a
person has logged in in a browser; each is good for one exchange, within minutes. What a vendor answers here holds
secrets: no error of this module carries it, and nobody logs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from adapters import fetching
from market.codecs import Account
from market.errors import AuthRequired, BadPayload, BadValue, Rejected
from market.records import Record
from market.vendors import flattrade_rest, kite_rest, mstock_rest

SECONDS = 20.0
"""A login that is not answered by then was not heard."""


class Credentials(Record):
    """What a person gives for a login; each vendor needs some of it. `code`: good once, from the vendor's page."""

    user: str = ""
    api_key: SecretStr = SecretStr("")
    api_secret: SecretStr = SecretStr("")
    password: SecretStr = SecretStr("")
    totp_secret: SecretStr = SecretStr("")
    code: SecretStr = SecretStr("")


def login(vendor: str, secrets: Credentials, root: str = "", now: Callable[[], float] = time.time) -> Account:
    """The account with today's access token. `root`: the vendor's REST address, if not the usual one.

    Raises AuthRequired when the vendor refuses us or something it needs is missing, LineDown when it does not answer,
    BadPayload when nobody understands it, and BadValue for a vendor that is not known.
    """
    if vendor not in VENDORS:
        raise BadValue("vendor", vendor, f"one of {', '.join(VENDORS)}")
    enter, needed = VENDORS[vendor]
    missing = [name for name in needed if not _said(getattr(secrets, name))]
    if missing:
        raise AuthRequired(vendor, f"needed and not given: {', '.join(missing)}")
    try:
        return enter(secrets, root, now)
    except BadPayload as e:
        raise BadPayload(e.source, b"", e.reason) from None
    except Rejected as e:
        raise AuthRequired(vendor, f"{e.code}: {e.message}") from e


def _mstock(secrets: Credentials, root: str, now: Callable[[], float]) -> Account:
    root, key = root or mstock_rest.ROOT, secrets.api_key.get_secret_value()
    body = mstock_rest.login_body(secrets.user, secrets.password.get_secret_value())
    first = _post(root + mstock_rest.LOGIN, mstock_rest.headers(), json=body)
    request = mstock_rest.request_token(first.body, first.status)
    code = mstock_rest.totp(secrets.totp_secret.get_secret_value(), int(now()))
    body = mstock_rest.totp_body(request, code)
    second = _post(root + mstock_rest.SESSION_TOTP, mstock_rest.headers(key), json=body)
    token = mstock_rest.access_token(second.body, second.status)
    return Account(user=secrets.user, api_key=secrets.api_key, access_token=SecretStr(token))


def _kite(secrets: Credentials, root: str, _: Callable[[], float]) -> Account:
    key, code = secrets.api_key.get_secret_value(), secrets.code.get_secret_value()
    checksum = kite_rest.session_checksum(key, code, secrets.api_secret.get_secret_value())
    form = {"api_key": key, "request_token": code, "checksum": checksum}
    headers = {"X-Kite-Version": kite_rest.VERSION}
    answer = _post(f"{root or kite_rest.ROOT}/session/token", headers, form=form)
    data = kite_rest.envelope(answer.body, answer.kind)
    token, user = (data.get(name) if isinstance(data, dict) else None for name in ("access_token", "user_id"))
    if not isinstance(token, str) or not token:
        raise BadPayload("kite", b"", "a session without an access token")
    return Account(user=str(user or ""), api_key=secrets.api_key, access_token=SecretStr(token))


def _flattrade(secrets: Credentials, root: str, _: Callable[[], float]) -> Account:
    key, code = secrets.api_key.get_secret_value(), secrets.code.get_secret_value()
    body = flattrade_rest.session_body(key, code, secrets.api_secret.get_secret_value())
    answer = _post(f"{root or flattrade_rest.AUTH}{flattrade_rest.TOKEN}", {}, json=body)
    user, token = flattrade_rest.session(answer.body)
    return Account(user=user, api_key=secrets.api_key, access_token=SecretStr(token))


def _post(url: str, headers: Mapping[str, str], **body: Any) -> fetching.Answer:
    return fetching.ask("POST", url, headers, seconds=SECONDS, **body)


def _said(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


VENDORS: dict[str, tuple[Callable[[Credentials, str, Callable[[], float]], Account], tuple[str, ...]]] = {
    "mstock": (_mstock, ("user", "api_key", "password", "totp_secret")),
    "kite": (_kite, ("api_key", "api_secret", "code")),
    "flattrade": (_flattrade, ("api_key", "api_secret", "code")),
}
"""How each vendor is entered, and what it needs for that."""
