"""Logins over real HTTP: to a simulated mStock that checks codes as RFC 6238 asks, and to a simulated Kite."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from adapters import fetching
from adapters.exchange import Exchange
from adapters.logins import Credentials, login
from market.codecs import Account
from market.errors import AuthRequired, BadValue, BourseError, LineDown
from market.instruments import Instrument
from market.sessions import MINUTE, instant
from market.tape import from_bars
from market.vendors import kite_rest, mstock_rest
from tests.adapters import mstock_house as there

MINE = Credentials(
    user="MA1",
    api_key=SecretStr("key"),
    password=SecretStr("pass"),
    totp_secret=SecretStr(there.SECRET),
)
NOTHING_HERE = "http://127.0.0.1:9"


def at_mstock(ask: Callable[[str], Any], step: int | None = None, now: float = there.NOW) -> Any:
    """What `ask` comes to with the address of a simulated mStock."""

    async def story() -> Any:
        async with there.house(there.customer(now), step) as root:
            return await asyncio.to_thread(ask, root)

    return asyncio.run(story())


def enter(root: str, credentials: Credentials = MINE, now: float = there.NOW) -> Account:
    return login("mstock", credentials, root, lambda: now)


def session_of(root: str) -> dict[str, str]:
    return mstock_rest.headers("key", enter(root).access_token.get_secret_value())


def patiently(call: Callable[[], fetching.Answer]) -> fetching.Answer:
    """Ask again when told that it was too often; the desk allows one call a second."""
    while True:
        try:
            return call()
        except LineDown as e:
            assert e.after > 0


def test_an_unattended_login_gives_a_token_that_opens_the_desk() -> None:
    def story(root: str) -> tuple[Account, fetching.Answer]:
        account = enter(root)
        headers = mstock_rest.headers("key", account.access_token.get_secret_value())
        return account, fetching.ask("GET", root + mstock_rest.MASTER, headers)

    account, answer = at_mstock(story)

    found = mstock_rest.master(answer.body, answer.status)
    assert account.user == "MA1" and account.api_key.get_secret_value() == "key"
    assert [(c.token, c.symbol) for c in found.contracts] == [
        ("1|1594", "NSE:INFY"), ("1|26000", "NSE:NIFTY 50"), ("3|500325", "BSE:RELIANCE"),
    ]  # fmt: skip


@pytest.mark.parametrize("off", [-30, 0, 30])
def test_a_clock_half_a_minute_off_still_logs_in(off: int) -> None:
    assert at_mstock(lambda root: enter(root, now=there.NOW + off)).access_token.get_secret_value()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"password": SecretStr("wrong")}, "9 attempts remaining"),
        ({"user": "MA2"}, "Invalid username or password"),
        ({"totp_secret": SecretStr("GEZDGNBVGY3TQOJR")}, "correct TOTP"),
        ({"api_key": SecretStr("other")}, "suspended/expired"),
        ({"totp_secret": SecretStr("")}, "needed and not given: totp_secret"),
        ({"user": "", "password": SecretStr("")}, "needed and not given: user, password"),
    ],
)
def test_a_login_that_is_refused_asks_for_a_person(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(AuthRequired, match=said) as refused:
        at_mstock(lambda root: enter(root, MINE.model_copy(update=changed)))

    assert "GEZDGNBVGY3TQOJ" not in str(refused.value)


def test_a_stale_code_and_a_used_one_are_refused() -> None:
    def twice(root: str) -> Account:
        enter(root)
        return enter(root)

    with pytest.raises(AuthRequired, match="correct TOTP"):
        at_mstock(lambda root: enter(root, now=there.NOW + 120))
    with pytest.raises(AuthRequired, match="correct TOTP"):
        at_mstock(twice)


def test_an_account_is_locked_after_ten_wrong_passwords() -> None:
    wrong = MINE.model_copy(update={"password": SecretStr("wrong")})

    def story(root: str) -> list[str]:
        said = []
        for credentials in [wrong] * 10 + [MINE]:
            with pytest.raises(AuthRequired) as refused:
                enter(root, credentials)
            said.append(str(refused.value))
        return said

    said = at_mstock(story)

    assert "0 attempts remaining" in said[9] and "0 attempts remaining" in said[10]


def test_a_secret_that_is_no_base32_is_said_without_showing_it() -> None:
    with pytest.raises(BadValue, match="base32") as wrong:
        at_mstock(lambda root: enter(root, MINE.model_copy(update={"totp_secret": SecretStr("hunter-2!")})))

    assert "hunter" not in f"{wrong.value!r}"


def test_a_token_that_is_dead_asks_for_a_login() -> None:
    def story(root: str) -> fetching.Answer:
        headers = session_of(root)
        patiently(lambda: fetching.ask("GET", root + mstock_rest.LOGOUT, headers))
        return fetching.ask("GET", root + mstock_rest.MASTER, headers)

    answer = at_mstock(story)

    assert answer.status == 403
    with pytest.raises(AuthRequired, match="bourse login mstock"):
        mstock_rest.master(answer.body, answer.status)


def history(root: str, headers: dict[str, str], token: str, interval: int) -> fetching.Answer:
    first, last = instant(there.DAY.open), instant(there.DAY.close)
    body = mstock_rest.candles_body(token, interval, first, last)
    return patiently(lambda: fetching.ask("POST", root + mstock_rest.HISTORICAL, headers, json=body))


@pytest.mark.parametrize(("instrument", "token"), [(0, "1|1594"), (1, "1|26000"), (2, "3|500325")])
def test_historical_candles_are_the_recorded_minutes(instrument: int, token: str) -> None:
    answer = at_mstock(lambda root: history(root, session_of(root), token, 60))

    rows = mstock_rest.candles(answer.body, instrument, 60, answer.status)

    bars = there.recorded()
    bars = bars[bars["instrument"] == instrument]
    for name in ("start", "open", "high", "low", "close", "volume"):
        assert rows[name].tolist() == bars[name].tolist()


def test_only_what_has_traded_by_now_is_history() -> None:
    step = 15 + 3 * 60 + 30

    answer = at_mstock(lambda root: history(root, session_of(root), "1|1594", 60), step)

    rows, bars = mstock_rest.candles(answer.body, 0, 60), there.recorded()[: there.DAY.minutes]
    assert rows["start"].tolist() == (there.DAY.open + np.arange(4) * MINUTE).tolist()
    assert rows["close"][:3].tolist() == bars["close"][:3].tolist()
    assert rows["volume"][3] < bars["volume"][3]


def test_five_minutes_are_folded_from_the_open() -> None:
    answer = at_mstock(lambda root: history(root, session_of(root), "1|1594", 300))

    rows, bars = mstock_rest.candles(answer.body, 0, 300), there.recorded()[: there.DAY.minutes]
    assert rows["volume"].tolist() == [bars["volume"][:5].sum(), bars["volume"][5:].sum()]
    assert rows["high"].tolist() == [bars["high"][:5].max(), bars["high"][5:].max()]


@pytest.mark.parametrize(
    "body",
    [{}, {"exchange": "NSE", "symboltoken": "1594", "interval": "TWO_MINUTE"},
     {"exchange": "NSE", "symboltoken": "1", "interval": "ONE_MINUTE"},
     {"exchange": "NSE", "symboltoken": "1594", "interval": "ONE_MINUTE", "fromdate": "soon", "todate": "later"}],
)  # fmt: skip
def test_what_the_desk_cannot_answer_is_refused_in_its_envelope(body: dict[str, str]) -> None:
    def story(root: str) -> fetching.Answer:
        return fetching.ask("POST", root + mstock_rest.HISTORICAL, session_of(root), json=body)

    answer = at_mstock(story)

    assert answer.status == 400
    with pytest.raises(BourseError, match="IA400"):
        mstock_rest.envelope(answer.body, answer.status)


def test_asking_too_often_is_a_line_that_is_down_for_a_second() -> None:
    def story(root: str) -> None:
        headers = session_of(root)
        while True:
            fetching.ask("GET", root + mstock_rest.MASTER, headers)

    with pytest.raises(LineDown, match="429") as down:
        at_mstock(story)

    assert down.value.after == 1.0


def test_a_kite_request_token_is_exchanged_once() -> None:
    instruments = [Instrument(id=0, symbol="NSE:INFY", tokens={"kite": 408065})]

    async def story() -> tuple[Account, int, str]:
        tape = from_bars(there.DAY, there.recorded()[:10], {})
        exchange = Exchange(instruments, iter([tape]), api_key="k", api_secret="s", hold=True)
        root = await exchange.start()
        try:
            async with httpx.AsyncClient() as browser:
                page = await browser.get(f"{root}/connect/login", params={"api_key": "k", "v": "3"})
            code = httpx.URL(page.headers["location"]).params["request_token"]
            given = Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s"), code=SecretStr(code))
            account = await asyncio.to_thread(login, "kite", given, root)
            headers = kite_rest.headers("k", account.access_token.get_secret_value())
            profile = await asyncio.to_thread(fetching.ask, "GET", f"{root}/user/profile", headers)
            with pytest.raises(AuthRequired) as again:
                await asyncio.to_thread(login, "kite", given, root)
            return account, profile.status, str(again.value)
        finally:
            await exchange.stop()

    account, status, again = asyncio.run(story())

    assert status == 200 and account.user
    assert "kite" in again


@pytest.mark.parametrize("vendor", ["mstock", "kite"])
def test_a_vendor_that_does_not_answer_is_a_line_that_is_down(vendor: str) -> None:
    given = MINE.model_copy(update={"api_secret": SecretStr("s"), "code": SecretStr("c")})

    with pytest.raises(LineDown) as down:
        login(vendor, given, NOTHING_HERE)

    assert "pass" not in str(down.value)


def test_a_vendor_nobody_knows_is_answered_with_those_we_do() -> None:
    with pytest.raises(BadValue, match="mstock"):
        login("acme", MINE)


def test_credentials_do_not_show_themselves() -> None:
    assert there.SECRET not in f"{MINE!r} {MINE} {MINE.model_dump_json()}"
