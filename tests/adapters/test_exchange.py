"""The simulated exchange, through real sockets and the unmodified kiteconnect client."""

from __future__ import annotations

import asyncio
import json
import random
import socket as sockets
import struct
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from adapters.exchange import Exchange, Pace
from market.generator import generate
from market.instruments import Instrument
from market.sessions import MINUTE, SECOND, Session, session
from market.tape import BAR, Tape, from_bars
from market.universes import NIFTY50
from market.vendors.kite_packets import columns

DAY = session(date(2026, 8, 25))
SHORT = Session(date=DAY.date, preopen=DAY.preopen, open=DAY.open, close=DAY.open + 3 * MINUTE)
UNIVERSE = [one.instrument for one in NIFTY50]
RELIANCE = next(i for i in UNIVERSE if i.symbol == "NSE:RELIANCE")
NIFTY = next(i for i in UNIVERSE if i.symbol == "NSE:NIFTY 50")
TOKENS = [i.tokens["kite"] for i in UNIVERSE]
STILL = 1e-9
"""A speed at which the clock of a test stands."""


def test_the_real_client_logs_in_fetches_and_streams() -> None:
    tape = generate(NIFTY50, DAY, 7)
    begin = DAY.open + 10 * MINUTE + 30 * SECOND
    script = Path(__file__).with_name("kite_client.py")

    async def story() -> dict[str, Any]:
        async with running([tape], speed=40.0, begin=begin) as (_, url):
            words = [str(script), url, str(RELIANCE.tokens["kite"]), str(NIFTY.tokens["kite"])]
            program = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
            out, _ = await program.communicate()
            return json.loads(out)

    said = run(story())

    assert said["again"] == ["TokenException", 403]
    assert said["login_year"] >= 2026
    assert said["profile"]["broker"] == "ZERODHA"
    assert said["margins"]["equity"] == said["equity"]
    assert len(said["instruments"]) == len(UNIVERSE)
    assert said["bse"] == []
    listed = {row["tradingsymbol"]: row for row in said["instruments"]}
    assert int(listed["RELIANCE"]["instrument_token"]) == RELIANCE.tokens["kite"]
    assert listed["M&M"]["name"] == "Mahindra & Mahindra"
    for answer in ("ltp", "ohlc", "quote"):
        assert said[answer].keys() == {"NSE:RELIANCE", "NSE:NIFTY 50"}
    traded = rows_of(tape, RELIANCE)
    quote = said["quote"]["NSE:RELIANCE"]
    assert_traded(traded, quote["volume"], quote["last_price"], quote["ohlc"])
    assert quote["depth"]["buy"][0]["price"] < quote["depth"]["sell"][0]["price"]
    bars = tape.bars[tape.bars["instrument"] == RELIANCE.id]
    assert_candles(said["minute"][:9], bars[:9])
    assert [c["volume"] for c in said["five"][:2]] == [bars["volume"][k : k + 5].sum() for k in (0, 5)]
    assert said["five"][0]["oi"] == 0
    assert_streamed(said["stream"], traded, tape)


def assert_traded(traded: np.ndarray, volume: int, price: float, ohlc: dict[str, float]) -> None:
    [row] = traded[traded["day_volume"] == volume]
    assert round(price * 10_000) == row["price"]
    assert [round(ohlc[n] * 10_000) for n in ("open", "high", "low")] == [int(row[n]) for n in ("open", "high", "low")]


def assert_candles(candles: list[dict[str, Any]], bars: np.ndarray) -> None:
    for candle, bar in zip(candles, bars, strict=True):
        prices = [round(candle[n] * 10_000) for n in ("open", "high", "low", "close")]
        assert prices == [int(bar[n]) for n in ("open", "high", "low", "close")]
        assert candle["volume"] == bar["volume"]
        assert np.datetime64(candle["date"][:16]) == np.datetime64(int(bar["start"]) + 19_800 * SECOND, "ns")


def assert_streamed(stream: dict[str, Any], traded: np.ndarray, tape: Tape) -> None:
    full = [t for t in stream["ticks"] if t["mode"] == "full"]
    index = [t for t in stream["ticks"] if t["instrument_token"] == NIFTY.tokens["kite"]]
    levels = set(rows_of(tape, NIFTY)["price"].tolist())
    assert stream["errors"] == []
    assert len(full) >= 4
    for tick in full:
        assert_traded(traded, tick["volume_traded"], tick["last_price"], tick["ohlc"])
        assert round(tick["ohlc"]["close"] * 10_000) == tape.closes_before[RELIANCE.id]
        assert len(tick["depth"]["buy"]) == len(tick["depth"]["sell"]) == 5
    assert {t["mode"] for t in index} == {"quote"}
    assert {round(t["last_price"] * 10_000) for t in index} <= levels
    assert RELIANCE.tokens["kite"] not in [t for tokens in stream["after"] for t in tokens]
    clocks = [t["data"]["bourse"]["clock"] for t in stream["texts"]]
    assert clocks == list(range(clocks[0], clocks[-1] + 1, SECOND))


REFUSALS = [
    ("GET", "/user/profile", {"Authorization": "token demo:wrong"}, 403, "TokenException"),
    ("GET", "/user/profile", {"Authorization": ""}, 403, "TokenException"),
    ("POST", "/session/token", {}, 403, "TokenException"),
    ("DELETE", "/session/token?api_key=demo&access_token=x", {}, 403, "TokenException"),
    ("GET", "/connect/login?api_key=stranger", {}, 400, "InputException"),
    ("GET", "/user/margins/moon", {}, 400, "InputException"),
    ("GET", "/quote", {}, 400, "InputException"),
    ("GET", "/quote?" + "&".join(f"i=NSE:A{k}" for k in range(501)), {}, 400, "InputException"),
    ("GET", "/quote/ltp?" + "&".join(f"i=A{k}" for k in range(1001)), {}, 400, "InputException"),
    ("GET", "/instruments/historical/1/minute?from=2026-08-25&to=2026-08-26", {}, 400, "InputException"),
    ("GET", f"/instruments/historical/{TOKENS[0]}/2minute?from=2026-08-25&to=2026-08-26", {}, 400, "InputException"),
    ("GET", f"/instruments/historical/{TOKENS[0]}/minute?from=2026-08-25&to=soon", {}, 400, "InputException"),
    ("GET", f"/instruments/historical/{TOKENS[0]}/minute?from=2026-08-25&to=2026-08-24", {}, 400, "InputException"),
    ("GET", f"/instruments/historical/{TOKENS[0]}/minute?from=2026-05-01&to=2026-08-25", {}, 400, "InputException"),
    ("GET", f"/instruments/historical/{TOKENS[0]}/day?from=2016-05-01&to=2026-08-25", {}, 400, "InputException"),
    ("POST", "/orders/regular", {}, 501, "GeneralException"),
    ("GET", "/nowhere", {}, 404, "GeneralException"),
    ("PUT", "/user/profile", {}, 405, "GeneralException"),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "kind"), REFUSALS, ids=[r[1][:40] for r in REFUSALS])
def test_refusals_are_envelopes(method: str, path: str, headers: dict[str, str], status: int, kind: str) -> None:
    async def story() -> tuple[int, dict[str, Any]]:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            told = {"Authorization": "token demo:access", "X-Kite-Version": "3"} | headers
            async with web.request(method, url + path, headers=told) as answer:
                return answer.status, await answer.json()

    code, body = run(story())

    assert (code, body["status"], body["error_type"], body["data"]) == (status, "error", kind, None)
    assert body["message"]


def test_asking_too_often_is_refused_with_429() -> None:
    async def story() -> list[int]:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            told = {"Authorization": "token demo:access"}
            path, codes = f"{url}/quote/ltp?i=NSE:TCS", []
            while 429 not in codes:
                codes.append((await web.get(path, headers=told)).status)
            return codes

    codes = run(story())

    assert set(codes[:-1]) == {200}


@pytest.mark.parametrize(("interval", "count"), [("minute", 11), ("5minute", 3), ("60minute", 1), ("day", 1)])
def test_history_knows_nothing_of_what_is_to_come(interval: str, count: int) -> None:
    tape = generate(NIFTY50, DAY, 7)
    begin = DAY.open + 10 * MINUTE + 30 * SECOND

    async def story() -> list[list[Any]]:
        async with running([tape], speed=STILL, begin=begin) as (_, url), aiohttp.ClientSession() as web:
            told = {"Authorization": "token demo:access"}
            path = f"{url}/instruments/historical/{RELIANCE.tokens['kite']}/{interval}?from=2026-08-25&to=2026-08-26"
            async with web.get(path, headers=told) as answer:
                return (await answer.json())["data"]["candles"]

    candles = run(story())

    known = rows_of(tape, RELIANCE)
    known = known[known["at"] <= begin]
    assert len(candles) == count
    assert sum(c[5] for c in candles) == known["day_volume"][-1]
    assert round(candles[-1][4] * 10_000) == known["price"][-1]
    assert round(max(c[2] for c in candles) * 10_000) == known["high"][-1]


def test_a_session_that_was_ended_is_refused() -> None:
    async def story() -> list[int]:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            told = {"Authorization": "token demo:access"}
            ends = f"{url}/session/token?api_key=demo&access_token=access"
            before = await web.get(f"{url}/user/profile", headers=told)
            ended = await web.delete(ends)
            after = await web.get(f"{url}/user/profile", headers=told)
            return [before.status, ended.status, after.status]

    assert run(story()) == [200, 200, 403]


def test_a_wrong_checksum_gets_no_session() -> None:
    async def story() -> list[int]:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            page = await web.get(f"{url}/connect/login?api_key=demo")
            request = page.url.query["request_token"]
            right = sha256(f"demo{request}demo-secret".encode()).hexdigest()
            codes = []
            for checksum in ("0" * 64, right, right):
                form = {"api_key": "demo", "request_token": request, "checksum": checksum}
                codes.append((await web.post(f"{url}/session/token", data=form)).status)
            return codes

    assert run(story()) == [403, 200, 403]


@pytest.mark.parametrize(("query", "status"), [
    ("", 400),
    ("?api_key=demo", 400),
    ("?api_key=demo&access_token=wrong", 403),
    ("?api_key=stranger&access_token=access", 403),
])  # fmt: skip
def test_a_socket_needs_a_good_token(query: str, status: int) -> None:
    async def story() -> int:
        async with running([short()], hold=True) as (_, url), aiohttp.ClientSession() as web:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await web.ws_connect(f"{url}/{query}")
            return refused.value.status

    assert run(story()) == status


def test_a_fourth_socket_is_refused_until_one_goes() -> None:
    async def story() -> tuple[int, int]:
        async with running([short()], hold=True) as (exchange, url), aiohttp.ClientSession() as web:
            held = [await connect(web, url) for _ in range(3)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connect(web, url)
            await held[0].close()
            while exchange.sockets > 2:
                await asyncio.sleep(0)
            again = await connect(web, f"{url}/ws")
            await again.ping()
            return refused.value.status, exchange.sockets

    assert run(story()) == (403, 3)


def test_the_3001st_instrument_of_a_socket_is_refused() -> None:
    many = [Instrument(id=k, symbol=f"NSE:S{k}", tokens={"kite": (k + 1) * 256 + 1}) for k in range(3001)]
    tokens = [i.tokens["kite"] for i in many]
    bars = np.zeros(3001, BAR)
    bars["instrument"], bars["start"], bars["volume"] = np.arange(3001), SHORT.open, 5
    for name in ("open", "high", "low", "close"):
        bars[name] = 10_000

    async def story() -> tuple[dict[str, Any], list[int]]:
        async with running([from_bars(SHORT, bars, {})], many, hold=True) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await line.send_str(json.dumps({"a": "subscribe", "v": tokens}))
            complaint = await line.receive_json(timeout=60)
            frames, _ = await play(line, -1)
            sent = [columns(f)["quote"].rows["token"].tolist() for f in frames]
            return complaint, [t for some in sent for t in some]

    complaint, sent = run(story())

    assert complaint["type"] == "error"
    assert "3000" in complaint["data"]
    assert sorted(sent) == tokens[:3000]


MALFORMED = [
    "", "{", "[]", "null", "1", '"a"', '{"a":"subscribe"}', '{"v":[1]}', '{"a":"dance","v":[1]}', '{"a":["x"],"v":[1]}',
    '{"a":"subscribe","v":"256"}', '{"a":"subscribe","v":[true]}', '{"a":"subscribe","v":[1.5]}',
    '{"a":"subscribe","v":[[1]]}', '{"a":"subscribe","v":[987654]}', '{"a":"mode","v":[["full"],[1]]}',
    '{"a":"mode","v":["loud",[1]]}', '{"a":"mode","v":["full"]}', '{"a":"mode","v":{}}', '{"a":"unsubscribe","v":null}',
    '{"a":"resume","v":-2}', '{"a":"resume","v":true}', "[" * 5000,
]  # fmt: skip


def test_malformed_texts_are_answered_and_the_socket_goes_on() -> None:
    async def story() -> tuple[list[dict[str, Any]], int]:
        async with running([short()], hold=True) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            answers = []
            for text in MALFORMED:
                await line.send_str(text)
                answers.append(await line.receive_json(timeout=60))
            await line.send_bytes(b"\x00\x01")
            await ask(line, "full", TOKENS)
            frames, _ = await play(line, -1)
            return answers, len(frames)

    answers, frames = run(story())

    assert [a["type"] for a in answers] == ["error"] * len(MALFORMED)
    assert all(a["data"] for a in answers)
    assert frames > 100


def test_modes_decide_the_packets() -> None:
    tape = short()

    async def story(mode: str) -> set[str]:
        async with running([tape], hold=True) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, mode, TOKENS)
            frames, _ = await play(line, -1)
            return {kind for f in frames for kind in columns(f)}

    assert run(story("ltp")) == {"ltp"}
    assert run(story("quote")) == {"quote", "index_quote"}
    assert run(story("full")) == {"full", "index_full"}


def test_a_held_tape_sends_every_packet_and_then_its_end() -> None:
    tape = short()

    async def story() -> tuple[list[bytes], list[dict[str, Any]]]:
        async with running([tape], hold=True) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "full", TOKENS)
            return await play(line, -1)

    frames, texts = run(story())

    sent = [(int(r["token"]), int(r["last_price"])) for f in frames for c in columns(f).values() for r in c.rows]
    due = [(TOKENS[r["instrument"]], int(r["price"]) // 100) for k in range(tape.steps) for r in tape.packets(k)]
    assert sorted(sent) == sorted(due)
    assert texts == [{"frame": k, "clock": tape.clock(k)} for k in range(tape.steps)]


@pytest.mark.parametrize("seed", range(4))
def test_a_resumed_tape_gives_the_same_bytes(seed: int) -> None:
    tape = short()
    cuts = sorted(random.Random(seed).sample(range(tape.steps), 3))

    async def story() -> tuple[list[bytes], list[bytes]]:
        async with running([tape], hold=True) as (_, url), aiohttp.ClientSession() as web:
            whole = await connect(web, url)
            await ask(whole, "full", TOKENS)
            undisturbed, _ = await play(whole, -1)
            pieces: list[bytes] = []
            stored = -1
            for cut in [*cuts, tape.steps]:
                line = await connect(web, url)
                await ask(line, "full", TOKENS)
                frames, _ = await play(line, stored, until=cut)
                pieces, stored = pieces + frames, cut
                await line.close()
            return undisturbed, pieces

    undisturbed, pieces = run(story())

    assert pieces == undisturbed


def test_nothing_comes_from_a_held_tape_before_it_is_asked_for() -> None:
    async def story() -> tuple[int, int]:
        async with running([short()], hold=True) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "full", TOKENS)
            await line.send_str("{}")  # answered in order: whatever was sent before comes before
            first = await line.receive_json(timeout=60)
            _, texts = await play(line, 99)
            return first["type"] == "error", texts[0]["frame"]

    assert run(story()) == (True, 100)


def test_who_subscribes_late_is_shown_the_latest_value() -> None:
    tape = generate(NIFTY50, DAY, 7)
    begin = DAY.open + 5 * MINUTE

    async def story() -> bytes:
        async with running([tape], speed=STILL, begin=begin) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await line.send_str(json.dumps({"a": "subscribe", "v": [RELIANCE.tokens["kite"]]}))
            return await line.receive_bytes(timeout=60)

    [row] = columns(run(story()))["quote"].rows

    traded = rows_of(tape, RELIANCE)
    last = traded[traded["at"] <= begin][-1]
    assert (row["volume_traded"], row["last_price"]) == (last["day_volume"], last["price"] // 100)


def test_an_idle_socket_hears_a_heartbeat() -> None:
    async def story() -> bytes:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            return await line.receive_bytes(timeout=60)

    assert run(story()) == b"\x00"


def test_sessions_follow_each_other() -> None:
    first, second = (from_bars(SHORT, one_bar(price), {}) for price in (10_000, 20_000))

    async def story() -> list[int]:
        async with running([first, second], speed=None) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "ltp", TOKENS)
            frames, _ = await play(line, None)
            return [int(r["last_price"]) for f in frames for r in columns(f)["ltp"].rows]

    assert run(story()) == [100, 200]


def test_a_frozen_reader_is_dropped_and_the_others_go_on() -> None:
    tape = generate(NIFTY50, DAY, 7)

    async def story() -> tuple[int, int, int]:
        limits = {"behind": 500_000, "patience": 5.0}
        async with running([tape], speed=None, **limits) as (exchange, url), aiohttp.ClientSession() as web:
            with frozen(url) as stuck:
                await asyncio.to_thread(stuck.handshake)
                line = await connect(web, url)
                stuck.ask(TOKENS)  # from now on the tape plays
                await ask(line, "ltp", TOKENS)
                _, texts = await play(line, None)
                return len(texts), texts[-1]["frame"], exchange.dropped

    count, last, dropped = run(story())

    assert dropped == 1
    assert last == tape.steps - 1
    assert count > tape.steps - 100


class Hands:
    """A clock that only `sleep` and `late` move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize("speed", [1.0, 60.0, 1000.0])
def test_a_pace_counts_from_its_start(speed: float) -> None:
    hands = Hands()

    async def story() -> None:
        pace = Pace(speed, -1, hands.time, hands.sleep)
        for step in range(1000):
            await pace.wait(step)

    run(story())

    assert hands.now == pytest.approx(100.0 + 1000 / speed, rel=1e-9)


def test_who_is_late_catches_up_without_skipping() -> None:
    hands = Hands()

    async def story() -> None:
        pace = Pace(10.0, -1, hands.time, hands.sleep)
        for step in range(100):
            await pace.wait(step)
            if step == 9:
                hands.now += 5.0

    run(story())

    assert hands.slept[10:60] == pytest.approx([0.0] * 50, abs=1e-9)
    assert hands.now == pytest.approx(110.0)


def test_a_held_tape_keeps_its_pace() -> None:
    hands = Hands()
    tape = short()

    async def story() -> int:
        told = {"clock": hands.time, "sleep": hands.sleep}
        async with running([tape], hold=True, speed=5.0, **told) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "ltp", TOKENS)
            return len((await play(line, -1))[1])

    assert run(story()) == tape.steps
    assert hands.now == pytest.approx(100.0 + tape.steps / 5.0)


# How the stories are told


def run(story: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(story)


@asynccontextmanager
async def running(
    tapes: list[Tape], universe: list[Instrument] = UNIVERSE, **told: Any
) -> AsyncIterator[tuple[Exchange, str]]:
    told.setdefault("speed", None)
    exchange = Exchange(universe, iter(tapes), access_token="access", **told)
    url = await exchange.start()
    try:
        yield exchange, url
    finally:
        await exchange.stop()


def short() -> Tape:
    """Three minutes of the generated market."""
    return generate(NIFTY50, SHORT, 3)


def one_bar(price: int) -> np.ndarray:
    return np.array([(RELIANCE.id, SHORT.open, price, price, price, price, 7)], BAR)


def rows_of(tape: Tape, instrument: Instrument) -> np.ndarray:
    rows = np.concatenate([tape.packets(k) for k in range(tape.steps)])
    return rows[rows["instrument"] == instrument.id]


async def connect(web: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    path = url if url.endswith("/ws") else f"{url}/"
    return await web.ws_connect(f"{path}?api_key=demo&access_token=access", max_msg_size=0)


async def ask(line: aiohttp.ClientWebSocketResponse, mode: str, tokens: list[int]) -> None:
    await line.send_str(json.dumps({"a": "mode", "v": [mode, tokens]}))


async def play(
    line: aiohttp.ClientWebSocketResponse, stored: int | None, until: int = 1 << 60
) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Every frame and clock text behind `stored` (None: as they come), up to the text of frame `until` or the end."""
    if stored is not None:
        await line.send_str(json.dumps({"a": "resume", "v": stored}))
    frames: list[bytes] = []
    texts: list[dict[str, Any]] = []
    while True:
        message = await line.receive(timeout=60)
        if message.type is aiohttp.WSMsgType.BINARY:
            if len(message.data) > 1:
                frames.append(message.data)
            continue
        assert message.type is aiohttp.WSMsgType.TEXT, message
        told = json.loads(message.data)["data"]["bourse"]
        if told.get("end"):
            return frames, texts
        texts.append(told)
        if told["frame"] == until:
            return frames, texts


class frozen:
    """A client that subscribes and then reads nothing."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._socket = sockets.socket()
        self._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self._address = host, int(port)

    def handshake(self) -> None:
        self._socket.connect(self._address)
        lines = [
            "GET /?api_key=demo&access_token=access HTTP/1.1", "Host: exchange", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        ]  # fmt: skip
        self._socket.sendall("\r\n".join(lines).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self._socket.recv(1)

    def ask(self, tokens: list[int]) -> None:
        text = json.dumps({"a": "mode", "v": ["full", tokens]}).encode()
        self._socket.sendall(b"\x81" + bytes([0x80 | 126]) + struct.pack(">H", len(text)) + bytes(4) + text)

    def __enter__(self) -> frozen:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
