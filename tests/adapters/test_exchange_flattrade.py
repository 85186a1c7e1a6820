"""The simulated exchange as FlatTrade: its REST over real HTTP, and one socket a user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlparse

import aiohttp
import pytest
from pydantic import SecretStr

from adapters.exchange import Exchange
from adapters.logins import Credentials, login
from market.errors import AuthRequired, LineDown
from market.generator import generate
from market.instruments import Instrument
from market.sessions import IST, MINUTE, SECOND, Session, instant
from market.tape import Tape
from market.universes import NIFTY50
from market.vendors import flattrade_rest
from market.vendors.flattrade import FlatTrade, price
from tests.adapters.test_exchange import DAY, STILL

UNIVERSE = [one.instrument for one in NIFTY50]
RELIANCE = next(i for i in UNIVERSE if i.symbol == "NSE:RELIANCE")
TOKENS = {i.tokens["flattrade"]: i.id for i in UNIVERSE}
SHORT = Session(date=DAY.date, preopen=DAY.preopen, open=DAY.open, close=DAY.open + 12 * MINUTE)
BEGIN = SHORT.open + 10 * MINUTE + 30 * SECOND

Story = Callable[[aiohttp.ClientSession, str], Awaitable[Any]]


def there(story: Story, rows: Tape | None = None) -> Any:
    """What a story comes to at an exchange whose clock stands half a minute behind ten past nine."""

    async def told() -> Any:
        async with exchange(rows or generate(NIFTY50, SHORT, 7)) as url, aiohttp.ClientSession() as web:
            return await story(web, url)

    return asyncio.run(told())


@asynccontextmanager
async def exchange(rows: Tape) -> AsyncIterator[str]:
    server = Exchange(UNIVERSE, iter([rows]), dialect="flattrade", access_token="t", speed=STILL, begin=BEGIN)
    try:
        yield await server.start()
    finally:
        await server.stop()


async def ask(
    web: aiohttp.ClientSession, url: str, route: str, key: str = "t", root: str = "/PiConnectAPI", **asked: str
) -> bytes:
    headers = {"Content-Type": flattrade_rest.CONTENT_TYPE}
    body = flattrade_rest.encoded({"uid": "DEMO", **asked}, key)
    async with web.post(f"{url}{root}/{route}", data=body, headers=headers) as answer:
        assert answer.status == 200
        return await answer.read()


def of(instrument: Instrument) -> dict[str, str]:
    exchange, _, token = str(instrument.tokens["flattrade"]).partition("|")
    return {"exch": exchange, "token": token}


@pytest.mark.parametrize("root", ["/PiConnectAPI", "/PiConnectTP"])
def test_candles_are_those_of_the_tape_and_know_nothing_of_what_is_to_come(root: str) -> None:
    tape = generate(NIFTY50, SHORT, 7)

    async def story(web: aiohttp.ClientSession, url: str) -> bytes:
        span = (instant(moment).astimezone(IST) for moment in (SHORT.open, SHORT.close))
        asked = flattrade_rest.candles_request("DEMO", str(RELIANCE.tokens["flattrade"]), 1, *span)
        return await ask(web, url, "TPSeries", root=root, **{k: v for k, v in asked.items() if k != "uid"})

    body = there(story, tape)

    rows = flattrade_rest.candles(body, RELIANCE.id, 60)
    bars = tape.bars[tape.bars["instrument"] == RELIANCE.id]
    names = ["start", "open", "high", "low", "close", "volume"]
    assert json.loads(body)[0]["time"] > json.loads(body)[-1]["time"]
    over = bars[bars["start"] + MINUTE <= BEGIN]
    assert rows[names][: len(over)].tolist() == over[names].tolist()
    assert len(over) >= 8
    assert (rows["start"] <= BEGIN).all()


def test_longer_candles_hold_the_minutes() -> None:
    tape = generate(NIFTY50, SHORT, 7)

    async def story(web: aiohttp.ClientSession, url: str) -> bytes:
        span = {"st": str(SHORT.open // SECOND), "et": str(SHORT.close // SECOND)}
        return await ask(web, url, "TPSeries", **of(RELIANCE), **span, intrv="5")

    rows = flattrade_rest.candles(there(story, tape), RELIANCE.id, 300)

    bars = tape.bars[tape.bars["instrument"] == RELIANCE.id]
    parts = [bars[(bars["start"] - SHORT.open) // (5 * MINUTE) == k] for k in (0, 1)]
    assert rows["volume"][:2].tolist() == [part["volume"].sum() for part in parts]
    assert rows["high"][:2].tolist() == [part["high"].max() for part in parts]


def test_a_quote_is_the_latest_packet_with_its_book() -> None:
    tape = generate(NIFTY50, SHORT, 7)

    quote = flattrade_rest.envelope(there(lambda web, url: ask(web, url, "GetQuotes", **of(RELIANCE)), tape))

    [row] = [r for r in tape.latest(tape.step_at(BEGIN) - 1) if r["instrument"] == RELIANCE.id]
    assert quote["tsym"] == "RELIANCE-EQ"
    assert [price(quote[name]) for name in ("lp", "o", "h", "l")] == [row[n] for n in ("price", "open", "high", "low")]
    assert int(quote["v"]) == row["day_volume"]
    assert price(quote["bp5"]) < price(quote["bp1"]) < price(quote["lp"]) < price(quote["sp1"]) < price(quote["sp5"])
    assert flattrade_rest.moment(quote["request_time"]) == datetime.fromtimestamp(BEGIN // SECOND, IST)


@pytest.mark.parametrize(("route", "asked", "key", "said"), [
    ("GetQuotes", of(RELIANCE), "wrong", "Session Expired"),
    ("GetQuotes", {"exch": "NSE", "token": "999999"}, "t", "no data"),
    ("TPSeries", {**of(RELIANCE), "st": "soon", "et": "1", "intrv": "1"}, "t", "Invalid Input"),
    ("TPSeries", {**of(RELIANCE), "st": "1", "et": "2", "intrv": "2"}, "t", "Invalid Input"),
    ("TPSeries", {**of(RELIANCE), "st": "1", "et": "2", "intrv": "1"}, "t", "no data"),
])  # fmt: skip
def test_refusals_are_envelopes(route: str, asked: dict[str, str], key: str, said: str) -> None:
    body = json.loads(there(lambda web, url: ask(web, url, route, key, **asked)))

    assert body["stat"] == "Not_Ok"
    assert said in body["emsg"]


@pytest.mark.parametrize("body", [b"", b"jKey=t", b"jData={&jKey=t", b"jData=[1]&jKey=t", b"jData={}&jKey=t"])
def test_a_body_of_another_form_is_refused(body: bytes) -> None:
    async def story(web: aiohttp.ClientSession, url: str) -> dict[str, str]:
        headers = {"Content-Type": flattrade_rest.CONTENT_TYPE}
        async with web.post(f"{url}/PiConnectAPI/GetQuotes", data=body, headers=headers) as answer:
            return await answer.json()

    assert there(story)["stat"] == "Not_Ok"


def test_asking_too_often_says_so() -> None:
    async def story(web: aiohttp.ClientSession, url: str) -> tuple[bytes, bytes]:
        first = await ask(web, url, "GetQuotes", **of(RELIANCE))
        while True:  # on a slow machine a minute may be over before they are too many
            many = [ask(web, url, "GetQuotes", **of(RELIANCE)) for _ in range(flattrade_rest.DATA_A_MINUTE)]
            for body in await asyncio.gather(*many):
                if b"Not_Ok" in body:
                    return first, body

    first, refused = there(story)

    assert flattrade_rest.envelope(first)["stat"] == "Ok"
    with pytest.raises(LineDown, match="Limit"):
        flattrade_rest.envelope(refused)


def test_the_page_gives_a_code_that_opens_one_session() -> None:
    async def story(web: aiohttp.ClientSession, url: str) -> tuple[Any, bytes, str]:
        page = await web.get(f"{url}/auth/?app_key=demo")
        [code] = parse_qs(urlparse(str(page.url)).query)["code"]
        mine = Credentials(api_key=SecretStr("demo"), api_secret=SecretStr("demo-secret"), code=SecretStr(code))
        account = await asyncio.to_thread(login, "flattrade", mine, url)
        quote = await ask(web, url, "GetQuotes", account.access_token.get_secret_value(), **of(RELIANCE))
        with pytest.raises(AuthRequired) as again:
            await asyncio.to_thread(login, "flattrade", mine, url)
        return account, quote, str(again.value)

    account, quote, again = there(story)

    assert account.user == "DEMO"
    assert flattrade_rest.envelope(quote)["stat"] == "Ok"
    assert "request_code" in again


def test_the_scrip_master_lists_the_universe() -> None:
    async def story(web: aiohttp.ClientSession, url: str) -> bytes:
        async with web.get(f"{url}/scripmaster/NSE_Equity.csv") as answer:
            return await answer.read()

    found = flattrade_rest.master(there(story)).contracts

    assert [(c.symbol, c.token) for c in found] == [(i.symbol, i.tokens["flattrade"]) for i in UNIVERSE]


def test_who_subscribes_late_is_shown_the_whole_state_and_then_what_changes() -> None:
    tape = generate(NIFTY50, SHORT, 7)

    async def story() -> list[dict[str, Any]]:
        server = Exchange(UNIVERSE, iter([tape]), dialect="flattrade", access_token="t", speed=None, begin=BEGIN)
        url = await server.start()
        try:
            async with aiohttp.ClientSession() as web, web.ws_connect(f"{url}/") as line:
                await line.send_json({"t": "a", "uid": "DEMO", "actid": "DEMO", "source": "API", "accesstoken": "t"})
                assert (await line.receive_json())["s"] == "OK"
                await line.send_json({"t": "d", "k": RELIANCE.tokens["flattrade"]})
                said: list[dict[str, Any]] = []
                while len(said) < 3:
                    message = await line.receive_json(timeout=60)
                    said += [message] if message.get("t") in ("dk", "df") else []
                return said
        finally:
            await server.stop()

    whole, *changes = asyncio.run(story())

    assert (whole["t"], whole["ts"], whole["pp"]) == ("dk", "RELIANCE-EQ", "2")
    assert {f"{side}{level}" for side in ("bp", "bq", "bo", "sp", "sq", "so") for level in range(1, 6)} < whole.keys()
    assert [change["t"] for change in changes] == ["df", "df"]
    assert all(len(change) < len(whole) for change in changes)


def test_a_second_socket_of_a_user_closes_the_first() -> None:
    async def story(web: aiohttp.ClientSession, url: str) -> int | None:
        said = {"t": "a", "uid": "DEMO", "actid": "DEMO", "source": "API", "accesstoken": "t"}
        async with web.ws_connect(f"{url}/PiConnectWSAPI/") as first, web.ws_connect(f"{url}/PiConnectWSTp/") as second:
            for line in (first, second):
                await line.send_json(said)
                assert (await line.receive_json()) == {"t": "ak", "uid": "DEMO", "s": "OK"}
            message = await first.receive(timeout=60)
            assert not second.closed
            return message.data if message.type is aiohttp.WSMsgType.CLOSE else first.close_code

    assert there(story) == 1000


NONSENSE = [
    "", "{", "[]", "null", "1", '"a"', "{}", '{"t":5}', '{"t":["t"]}', '{"t":"dance"}', '{"t":"d"}', '{"t":"d","k":5}',
    '{"t":"d","k":"NSE|0"}', '{"t":"d","k":""}', "[" * 5000,
]  # fmt: skip


def test_nonsense_is_answered_and_the_socket_goes_on() -> None:
    codec = FlatTrade(TOKENS)

    async def story(web: aiohttp.ClientSession, url: str) -> tuple[list[dict[str, str]], str, dict[str, str]]:
        async with web.ws_connect(f"{url}/") as line:
            await line.send_str('{"t":"d","k":"NSE|1"}')
            first = (await line.receive_json())["emsg"]
            await line.send_json({"t": "c", "uid": "DEMO", "actid": "DEMO", "source": "API", "susertoken": "t"})
            await line.receive_json()
            answers = []
            for text in NONSENSE:
                await line.send_str(text)
                answers.append(await line.receive_json(timeout=60))
            await line.send_str('{"t":"h"}')
            return answers, first, await line.receive_json(timeout=60)

    answers, first, beat = there(story)

    assert "log in" in first
    assert [answer["t"] for answer in answers] == ["error"] * len(NONSENSE)
    assert all(codec.text(json.dumps(answer)) for answer in answers)
    assert beat == {"t": "hk"}
