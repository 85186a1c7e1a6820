"""The commands of every morning, against a simulated broker and a real bus."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Event, Thread

import httpx
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from adapters.accounts import Accounts
from adapters.exchange import Exchange
from adapters.listings import Listings
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from cluster.main import app
from market.sessions import session
from market.tape import BAR, from_bars
from market.universes import nifty50

DAY = session(date(2016, 8, 25))
KEY = {"KITE_API_KEY": "demo", "KITE_API_SECRET": "demo-secret"}


@contextmanager
def broker() -> Iterator[str]:
    """Kite, simulated, in a thread of its own; its address."""
    ready, over, found = Event(), Event(), []

    async def run() -> None:
        bars = np.array([(0, DAY.open, 1000, 1000, 1000, 1000, 5)], BAR)
        tape = from_bars(DAY, bars, {})
        exchange = Exchange(tuple(nifty50()), iter([tape]), access_token="given-token", hold=True)
        found.append(await exchange.start())
        ready.set()
        await asyncio.to_thread(over.wait)
        await exchange.stop()

    thread = Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield found[0]
    finally:
        over.set()
        thread.join()


@pytest.fixture
def bus() -> Iterator[str]:
    """The address of a bus."""
    with tempfile.TemporaryDirectory(prefix="bourse-") as folder:
        one = RedisServer(Path(folder) / "bus", Path(folder) / "run", "bus", memory=64 << 20, durable=True)
        one.start()
        yield one.url
        one.stop()


def bourse(folder: Path, at: str, bus: str, *words: str, said: str = "") -> Result:
    ours = f"{{feeds: {{primary: k, sources: {{k: {{kind: kite, url: '{at.replace('http', 'ws')}/'}}}}}}}}"
    (folder / "cluster.yaml").write_text(f"cluster_name: b\nprovider: {{type: local}}\nmetadata: {{bourse: {ours}}}\n")
    words = (*words, "--config", str(folder / "cluster.yaml"))
    return CliRunner().invoke(app, list(words), input=said, env={**KEY, "BUS_URL": bus})


def test_login_shows_the_page_then_takes_what_the_page_gave_and_says_until_when(tmp_path: Path, bus: str) -> None:
    with broker() as at:
        page = bourse(tmp_path, at, bus, "login", "kite")
        told = httpx.get(f"{at}/connect/login", params={"api_key": "demo", "v": "3"}, follow_redirects=True).json()
        request = told["data"]["request_token"]
        done = bourse(tmp_path, at, bus, "login", "kite", "--request-token", "-", said=f"{request}\n")
        again = bourse(tmp_path, at, bus, "login", "kite", "--request-token", "-", said=f"{request}\n")

    kept = Accounts(bus).find("kite")
    assert "https://kite.zerodha.com/connect/login?v=3&api_key=demo" in page.stdout
    assert re.search(r"it holds until \d{4}-\d\d-\d\d 06:00 in India\n58 instruments", done.stdout), done.output
    assert kept is not None
    assert kept.access_token.get_secret_value() not in done.output
    assert 0 < RedisLine(bus).call("PTTL", "account:kite") <= 24 * 3600 * 1000
    assert again.exit_code == 2
    assert "expired" in again.output


def test_a_token_is_taken_as_it_is_and_the_list_comes_with_it(tmp_path: Path, bus: str) -> None:
    with broker() as at:
        done = bourse(tmp_path, at, bus, "login", "kite", "--token", "-", said="given-token\n")
        refreshed = bourse(tmp_path, at, bus, "instruments", "refresh")

    kept, listed = Accounts(bus).find("kite"), Listings(bus).find("kite")
    assert done.exit_code == 0, done.output
    assert kept is not None
    assert (kept.api_key.get_secret_value(), kept.access_token.get_secret_value()) == ("demo", "given-token")
    assert listed is not None
    assert listed.tokens() == {i.id: i.tokens["kite"] for i in nifty50()}
    assert (refreshed.exit_code, "kite: 58 instruments" in refreshed.stdout) == (0, True)
    assert Listings(bus).stamp("kite") == 2


@pytest.mark.parametrize(
    ("words", "said", "why"),
    [
        (("login", "kite", "--token", "-"), "stale\n", "log in"),
        (("login", "kite", "--token", "-"), "\n", "no access token was given"),
        (("login", "kite", "--token", ""), "", "no access token was given"),
        (("login", "kite", "--token", "  "), "", "no access token was given"),
        (("login", "kite", "--request-token", ""), "", "no request token was given"),
        (("login", "polygon"), "", "bourse login polygon --token -, with the API key"),
        (("login", "finnhub", "--request-token", "x"), "", "bourse login finnhub --token -, with the API key"),
        (("login", "zerodha"), "", "kite, flattrade"),
        (("login", "kite", "--token", "-", "--request-token", "-"), "", "one of them"),
        (("login", "mstock"), "", "totp_secret"),
    ],
)
def test_a_login_that_cannot_be_is_one_line_and_keeps_nothing(
    tmp_path: Path, bus: str, words: tuple[str, ...], said: str, why: str
) -> None:
    with broker() as at:
        done = bourse(tmp_path, at, bus, *words, said=said)

    assert done.exit_code == 2
    assert why in done.output
    assert Accounts(bus).find("kite") is None


def test_a_login_that_no_feed_here_uses_says_so(tmp_path: Path, bus: str) -> None:
    done = bourse(tmp_path, "http://127.0.0.1:9", bus, "login", "polygon", "--token", "-", said="key\n")

    assert done.exit_code == 0, done.output
    assert "no feed here is of polygon" in done.stdout


def test_without_an_instance_nothing_is_taken(tmp_path: Path) -> None:
    done = bourse(tmp_path, "http://127.0.0.1:9", "", "login", "kite", "--token", "-", said="t\n")

    assert done.exit_code == 2
    assert "bourse up starts one" in done.output


def test_a_refresh_that_fails_says_why_and_ends_with_one(tmp_path: Path, bus: str) -> None:
    done = bourse(tmp_path, "http://127.0.0.1:9", bus, "instruments", "refresh")

    assert done.exit_code == 1
    assert "ConnectError" in done.output
