"""Admission: whether a feed may hold lines, and as whom: the account of the day, and what an operator wishes.

A refused account ends every try until another one is there: on the bus, where `bourse login` puts it, or by a login of
our own where the vendor lets us and somebody gave us the means.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from pydantic import SecretStr

from actors.plans import FeedPlan
from adapters.accounts import Accounts
from adapters.bus import Bus
from adapters.control import Control
from adapters.lines import Backoff
from adapters.logins import login
from market.accounts import LOGINS, entitled
from market.codecs import Account
from market.errors import AuthRequired, BadPayload, LineDown

FIRST_LOGIN_SECONDS, LONGEST_LOGIN_SECONDS = 30.0, 900.0
"""Between two unattended logins that nobody answered; one that is refused is not tried again: accounts get locked."""


class Admission:
    """The door to the vendor. `remedy`: how to log in, while a login is `needed`; `closed`: by hand."""

    def __init__(self, plan: FeedPlan, bus: Bus) -> None:
        self._plan = plan
        self._log = structlog.get_logger()
        self._accounts, self._control = Accounts(plan.bus), Control(bus)
        self._account = Account(user=plan.user, api_key=plan.api_key, access_token=plan.access_token)
        self._refused: Account | None = None
        self._unattended = plan.credentials
        self._login_at, self._pauses = 0.0, Backoff(FIRST_LOGIN_SECONDS, LONGEST_LOGIN_SECONDS)
        self._open = asyncio.Event()
        self.remedy = ""
        self.closed = False
        if plan.account and not entitled(plan.vendor, self._account):
            self.refuse(self._account, plan.login)
        self._admit()

    @property
    def needed(self) -> bool:
        """Whether a person must log in before a line may be tried."""
        return self._refused is not None

    async def account(self) -> Account:
        """Wait until the feed may hold lines; the account to log in with."""
        await self._open.wait()
        return self._account

    def refuse(self, account: Account, remedy: str) -> None:
        """The vendor does not take this account. Nothing, where another one has come meanwhile."""
        if account != self._account:
            return
        self._refused, self.remedy = account, remedy
        self._log.error("auth_required", feed=self._plan.name, remedy=remedy)
        self._admit()

    def take(self, token: str) -> None:
        """Go on with a new token of the same account."""
        self._take(self._account.model_copy(update={"access_token": SecretStr(token)}))

    async def look(self) -> bool:
        """See what others want; whether the operator closed the feed or opened it. Raises LineDown, BadPayload."""
        await asyncio.to_thread(self._control.hear)
        closed = self._plan.name in self._control.wishes.closed
        turned, self.closed = closed != self.closed, closed
        if turned:
            self._log.warning("closed_by_hand" if closed else "opened_by_hand", feed=self._plan.name)
            self._admit()
        if self._plan.account:
            await self._find()
            await self._log_in()
        return turned

    async def _find(self) -> None:
        found = await asyncio.to_thread(self._accounts.find, self._plan.account)
        if found is not None and found not in (self._account, self._refused):
            self._take(found)

    async def _log_in(self) -> None:
        """Where the vendor lets us and somebody gave us the means: log in, for all feeds of this account."""
        if self._refused is None or self._unattended is None or self.closed or time.monotonic() < self._login_at:
            return
        try:
            account = await asyncio.to_thread(login, self._plan.vendor, self._unattended, self._plan.root)
        except LineDown as e:
            self._login_at = time.monotonic() + self._pauses.pause()
            self._log.warning("login_failed", feed=self._plan.name, reason=e.reason)
            return
        except (AuthRequired, BadPayload) as e:
            self._unattended = None
            self.remedy = f"the unattended login was refused: {e}"
            self._log.error("login_refused", feed=self._plan.name, reason=str(e))
            return
        self._pauses.reset()
        self._login_at = time.monotonic() + FIRST_LOGIN_SECONDS
        until = LOGINS[self._plan.vendor].until(time.time_ns())
        await asyncio.to_thread(self._accounts.keep, self._plan.account, account, until)
        self._take(account)

    def _take(self, account: Account) -> None:
        """The lines that are there go on: the account counts from the next login on."""
        self._account, self._refused, self.remedy = account, None, ""
        self._log.info("account_taken", feed=self._plan.name)
        self._admit()

    def _admit(self) -> None:
        if self._refused is None and not self.closed:
            self._open.set()
        else:
            self._open.clear()
