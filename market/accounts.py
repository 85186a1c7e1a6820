"""Accounts of the day: until when a vendor's access token holds, and how a person gets a new one."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from urllib.parse import quote

from market.codecs import Account
from market.errors import BadValue
from market.records import Record
from market.sessions import IST, instant, nanoseconds


class Login(Record):
    """How a vendor is entered. `ends`: when the day's token dies, in India, or None: it does not.

    `page`: where a person logs in, the API key to be put behind it; "" where there is none. `how`: in words.
    """

    vendor: str
    ends: time | None
    page: str
    how: str

    def address(self, api_key: str) -> str:
        """The page for this application; "" where the vendor has none."""
        return self.page + quote(api_key, safe="") if self.page else ""

    def until(self, now: int) -> int | None:
        """When a token that was given at `now`, ns UTC, dies, ns UTC; None: never.

        >>> (kite := LOGINS["kite"]).until(1472096700_000000000) == 1472171400_000000000  # 09:15 -> 06:00 next day
        True
        """
        if self.ends is None:
            return None
        local = instant(now).astimezone(IST)
        end = datetime.combine(local.date(), self.ends, IST)
        return nanoseconds(end if end > local else end + timedelta(days=1))


LOGINS = {
    one.vendor: one
    for one in (
        # Source: kite.trade/docs/connect/v3/user, "access_token": it expires at 6 AM on the next day.
        Login(
            vendor="kite",
            ends=time(6),
            page="https://kite.zerodha.com/connect/login?v=3&api_key=",
            how="bourse login kite shows the page; then bourse login kite --request-token -",
        ),
        # Source: flattrade/pythonAPI, setup guide: the token is valid until 5 AM.
        Login(
            vendor="flattrade",
            ends=time(5),
            page="https://auth.flattrade.in/?app_key=",
            how="bourse login flattrade shows the page; then bourse login flattrade --request-token -",
        ),
        # Source: mStock Type B, "Login": the JWT is valid until midnight of the same day.
        Login(vendor="mstock", ends=time(0), page="", how="bourse login mstock, with the secret of its TOTP"),
        Login(vendor="polygon", ends=None, page="", how="bourse login polygon --token -, with the API key"),
        Login(vendor="finnhub", ends=None, page="", how="bourse login finnhub --token -, with the API key"),
    )
}


def login(vendor: str) -> Login:
    """How this vendor is entered. Raises BadValue for one that is not known."""
    if vendor not in LOGINS:
        raise BadValue("vendor", vendor, f"one of {', '.join(LOGINS)}")
    return LOGINS[vendor]


def entitled(vendor: str, account: Account) -> bool:
    """Whether there is anything to log in with: a token, or an API key where that is all the vendor wants."""
    key = account.api_key if vendor in LOGINS and LOGINS[vendor].ends is None else account.access_token
    return bool(key.get_secret_value())
