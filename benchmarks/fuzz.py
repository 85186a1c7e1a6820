"""Fuzz: the socket protocol under whoever means it ill, with healthy sockets beside, for `FUZZ_SECONDS` (300).

Twelve kinds of attackers at once: garbage in texts and bytes, huge messages, half-open connections, bombs of
subscriptions, deep JSON and MessagePack, opcodes that are none, handshakes a byte at a time, many connects, asks with
members of any kind, and frames cut anywhere. The healthy are twenty sockets of a process of their own (`crowd`), first
for as long without attackers. What is asked: the gateway's process lives on, no answer is a problem of ours (5xx), the
healthy keep their sockets, their rate and their p99, and memory and descriptors are back afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import psutil

from benchmarks.report import Report
from benchmarks.stage import INSTRUMENTS, Stage

SECONDS = float(os.environ.get("FUZZ_SECONDS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
HEALTHY, RATE, WATCHED = 20, 10, 50
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
SOME = 1 << 20
SETTLES = 30.0
OPS = ("set", "subscribe", "unsubscribe", "join", "leave", "resume", "ping", "order", "")
BOMBS = [
    json.dumps(
        {"op": op, "symbols": [f"NSE:S{k * 7 % INSTRUMENTS}" if known else f"NSE:NO{k}" for k in range(3000)]}
    ).encode()
    for op in ("subscribe", "unsubscribe")
    for known in (True, False)
]
MEMBERS = (
    "op", "id", "rate", "fields", "symbols", "watchlist", "index", "all", "channel", "interval", "after", "session",
    "sequence",
)  # fmt: skip


class Line:
    """A WebSocket by hand, so that it can be wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
        self._reader, self._writer, self._rng = reader, writer, rng

    async def greet(self, query: str = "?format=json") -> bool:
        """Shake hands; whether that was taken."""
        key = base64.b64encode(self._rng.randbytes(16)).decode()
        self.raw(
            f"GET /ws/quotes{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return b" 101 " in (await self._reader.readuntil(b"\r\n\r\n"))[:20]

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def send(self, body: bytes, opcode: int = TEXT, *, final: bool = True, masked: bool = True) -> None:
        """One frame."""
        mask = 0x80 if masked else 0
        first, size = (0x80 if final else 0) | opcode, len(body)
        if size < 126:
            head = struct.pack(">BB", first, mask | size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", first, mask | 126, size)
        else:
            head = struct.pack(">BBQ", first, mask | 127, size)
        self.raw(head + (b"\0\0\0\0" if masked else b"") + body)  # the mask is nought, as it may be

    async def listen(self, told: Counter[str], seconds: float) -> None:
        """Read until it is over or so long; count closes, refusals and answers that are our fault."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    first, size = await self._reader.readexactly(2)
                    if size > 125:
                        size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
                    body = await self._reader.readexactly(size)
                    if first & 0xF == CLOSE:
                        told[f"closed {int.from_bytes(body[:2], 'big')}"] += 1
                        return
                    if b'"problem"' in body or b"\xa7problem" in body:
                        told["refused"] += 1
                        told["our fault"] += b"urn:bourse:problem:internal" in body
        except TimeoutError:
            told["still open"] += 1
        except (OSError, asyncio.IncompleteReadError):
            told["cut"] += 1

    async def drain(self) -> None:
        """Wait until it has been taken; not for ever."""
        async with asyncio.timeout(5):
            await self._writer.drain()

    def abort(self) -> None:
        """Leave without a word."""
        self._writer.transport.abort()


Attack = Callable[[Line, random.Random], Awaitable[None]]


async def texts(line: Line, rng: random.Random) -> None:
    """Garbage in texts, not all of it UTF-8."""
    for _ in range(30):
        line.send(rng.choice([rng.randbytes(40), "".join(map(chr, rng.choices(range(0x2FFF), k=50))).encode()]))


async def binaries(line: Line, rng: random.Random) -> None:
    """Garbage in bytes, and MessagePack with bytes changed."""
    for _ in range(30):
        good = bytearray(msgpack.packb(_ask(rng), default=str))
        for _ in range(rng.randrange(4)):
            good[rng.randrange(len(good))] = rng.randrange(256)
        line.send(rng.choice([rng.randbytes(60), bytes(good)]), BINARY)


async def huge(line: Line, rng: random.Random) -> None:
    """Messages up to 20 MiB, in one frame, in many, or promised only."""
    size = rng.choice([SOME // 3, SOME, SOME, 4 * SOME, 20 * SOME])
    match rng.randrange(3):
        case 0:
            line.send(b"x" * size)
            await line.drain()
        case 1:
            for k in range(size // SOME + 1):
                line.send(b"x" * SOME, 0 if k else TEXT, final=False)
                await line.drain()
        case _:
            line.raw(struct.pack(">BBQ", 0x81, 0xFF, rng.choice([size, 1 << 40, (1 << 64) - 1])) + b"\0\0\0\0x")


async def bombs(line: Line, rng: random.Random) -> None:
    """Subscriptions to everything and to nothing, as fast as they go."""
    for _ in range(60):
        line.send(rng.choice(BOMBS))
        line.send(json.dumps({"op": "set", "rate": rng.randint(1, 20), "fields": ["price"]}).encode())
        await line.drain()


async def deep(line: Line, rng: random.Random) -> None:
    """Lists in lists in lists."""
    for depth in (10, 1000, rng.choice([100_000, 250_000])):
        line.send(b"[" * depth)
        line.send(b'{"op":' * (depth // 6 + 1))
        line.send(b"\x91" * depth, BINARY)
        line.send(b"\x81\xa1a" * (depth // 3), BINARY)
        await line.drain()


async def opcodes(line: Line, rng: random.Random) -> None:
    """What no frame may be: reserved codes, parts of nothing, long pings, no mask, closes with any code."""
    body = rng.randbytes(rng.randrange(200))
    wrong: list[Callable[[], None]] = [
        lambda: line.send(body, rng.choice([3, 4, 5, 6, 7, 11, 12, 15])),
        lambda: line.send(body, 0),
        lambda: line.send(body, PING, final=False),
        lambda: line.send(b"x" * 126, PING),
        lambda: line.send(b'{"op":"ping"}', masked=False),
        lambda: line.send(struct.pack(">H", rng.randrange(1 << 16)) + body[:100], CLOSE),
        lambda: line.send(b"x", CLOSE),
        lambda: line.raw(bytes([rng.choice([0xC1, 0xB1, 0x91]), 0x80, 0, 0, 0, 0])),
        lambda: [line.send(b"p", PING) for _ in range(500)] and None,
    ]
    rng.choice(wrong)()


async def asks(line: Line, rng: random.Random) -> None:
    """Asks of the right shape with members of any kind."""
    for _ in range(60):
        line.send(json.dumps(_ask(rng)).encode())


async def joins(line: Line, rng: random.Random) -> None:
    """Channels joined and left, with cursors of any kind; sessions of others resumed."""
    for _ in range(25):
        after = rng.choice([None, "0", "1-1", "zz", "-", "99999999999", f"{int(time.time() * 1000) << 20:x}"])
        channel = rng.choice(["candles", "analysis", "signals", "alerts"])
        line.send(json.dumps({"op": "join", "channel": channel, "after": after, "id": rng.randrange(99)}).encode())
        line.send(json.dumps({"op": rng.choice(["leave", "join"]), "channel": channel}).encode())
        line.send(json.dumps({"op": "resume", "session": rng.randbytes(16).hex(), "sequence": 3}).encode())


async def cut(line: Line, rng: random.Random) -> None:
    """A good message that ends anywhere, and the line with it."""
    body = json.dumps({"op": "subscribe", "symbols": ["NSE:S1"] * 200}).encode()
    line.raw((struct.pack(">BBH", 0x81, 0xFE, len(body)) + b"\0\0\0\0" + body)[: rng.randrange(len(body))])
    await line.drain()
    line.abort()


ATTACKS: tuple[Attack, ...] = (texts, binaries, huge, bombs, deep, opcodes, asks, joins, cut)


class Siege:
    """All attackers of one gateway, and what they were told."""

    def __init__(self, port: int, seed: int) -> None:
        self._port, self._rng = port, random.Random(seed)
        self.told: dict[str, Counter[str]] = {}

    async def lay(self, seconds: float) -> None:
        """Attack for so long; two of each kind at a time."""
        self._until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for attack in ATTACKS * 2:
                group.create_task(self._again(attack))
            for name, kind in (("half-open", self._half_open), ("slow", self._slow), ("connects", self._connects)):
                group.create_task(kind(self.told.setdefault(name, Counter()), random.Random(self._rng.random())))

    async def _again(self, attack: Attack) -> None:
        told, rng = self.told.setdefault(attack.__name__, Counter()), random.Random(self._rng.random())
        while time.monotonic() < self._until:
            try:
                line = await self._open(rng)
            except (OSError, TimeoutError):
                told["not let in"] += 1
                continue
            try:
                if await line.greet(rng.choice(["", "?format=json", "?format=msgpack"])):
                    await attack(line, rng)
                    await line.listen(told, rng.uniform(0.1, 2.0))
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                told["cut"] += 1
            finally:
                told["tried"] += 1
                line.abort()

    async def _open(self, rng: random.Random) -> Line:
        async with asyncio.timeout(10):
            return Line(*await asyncio.open_connection("127.0.0.1", self._port, limit=8 * SOME), rng)

    async def _half_open(self, told: Counter[str], rng: random.Random) -> None:
        """Twenty that want everything and read nothing, until they are ended."""
        lines: list[Line] = []
        names = [f"NSE:S{k}" for k in range(INSTRUMENTS)]
        while time.monotonic() < self._until:
            try:
                if len(lines) == 20:
                    lines.pop(0).abort()
                line = await self._open(rng)
                lines.append(line)
                await line.greet()
                line.send(b'{"op":"set","rate":20}')
                line.send(json.dumps({"op": "subscribe", "symbols": names}).encode())
                line._reader._transport.pause_reading()  # type: ignore[attr-defined]
                told["tried"] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                told["cut"] += 1
            await asyncio.sleep(0.5)
        for line in lines:
            line.abort()

    async def _slow(self, told: Counter[str], rng: random.Random) -> None:
        """Fifty handshakes, a byte at a time."""
        lines = [await self._open(rng) for _ in range(50)]
        words = b"GET /ws/quotes HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Slow: y\r\n" * 10_000
        for k in range(len(words)):
            if time.monotonic() > self._until:
                break
            for line in lines:
                line.raw(words[k : k + 1])
            told["bytes"] += len(lines)
            await asyncio.sleep(0.2)
        for line in lines:
            line.abort()

    async def _connects(self, told: Counter[str], rng: random.Random) -> None:
        """Connect and leave, with and without a handshake, fifty at a time."""

        async def one() -> None:
            try:
                line = await self._open(rng)
                if rng.random() < 0.5:
                    await line.greet()
                line.abort()
                told["tried"] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                told["cut"] += 1

        while time.monotonic() < self._until:
            await asyncio.gather(*(one() for _ in range(50)))
            await asyncio.sleep(0.25)


def run(out: Report) -> None:
    """Calm, then the siege, then calm again."""
    found = besieged(SECONDS, SEED)
    for name, told in found["told"].items():
        out.say(f"{name:<10} {', '.join(f'{k} {v}' for k, v in sorted(told.items()))}")
    for name, value in found["figures"].items():
        out.add("protocol", name, value)


def besieged(seconds: float, seed: int = 1) -> dict[str, Any]:
    """`figures` by name, and what each kind of attacker was `told`, by what and how often."""
    with Stage(bare=True) as stage:
        gateway = psutil.Process(stage.gateway_pid)
        stage.trade()
        calm = _crowd(stage.port, seconds)
        _go(calm)
        before = _seen(calm)
        descriptors, resident = _settled(gateway, None), gateway.memory_info().rss
        siege, healthy = Siege(stage.port, seed), _crowd(stage.port, seconds)
        _go(healthy)
        peak = asyncio.run(_watched(siege, seconds, gateway))
        during = _seen(healthy)
        after = _settled(gateway, descriptors)
        alive = gateway.is_running() and gateway.pid == stage.gateway_pid
        figures = {
            "alive": float(alive),
            "our_fault": float(sum(told["our fault"] for told in siege.told.values())),
            "attacks": float(sum(told["tried"] for told in siege.told.values())),
            "healthy_lost": float(during["lost"] + during["refused"]),
            "updates_per_s_calm": before["updates"] / before["seconds"],
            "updates_per_s": during["updates"] / during["seconds"],
            "p50_ms_calm": before["ages"][0],
            "p50_ms": during["ages"][0],
            "p99_ms_calm": before["ages"][1],
            "p99_ms": during["ages"][1],
            "resident_mb_before": resident / 1e6,
            "resident_mb_peak": peak / 1e6,
            "resident_mb_after": gateway.memory_info().rss / 1e6,
            "descriptors_before": float(descriptors),
            "descriptors_after": float(after),
        }
        return {"figures": figures, "told": {name: dict(told) for name, told in siege.told.items()}}


async def _watched(siege: Siege, seconds: float, gateway: psutil.Process) -> int:
    over, peak = asyncio.Event(), 0

    async def watch() -> None:
        nonlocal peak
        while not over.is_set():
            peak = max(peak, gateway.memory_info().rss)
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    await siege.lay(seconds)
    over.set()
    await watching
    return peak


def _settled(gateway: psutil.Process, wanted: int | None) -> int:
    """Descriptors that are open once no more are closed, or as few as wanted."""
    until = time.monotonic() + SETTLES
    while wanted is not None and gateway.num_fds() > wanted and time.monotonic() < until:
        time.sleep(0.5)
    return gateway.num_fds()


def _crowd(port: int, seconds: float) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-m",
        "benchmarks.crowd",
        str(port),
        str(HEALTHY),
        str(RATE),
        str(WATCHED),
        str(seconds),
        "0",
    ]
    crowd = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout is not None
    crowd.stdout.readline()
    return crowd


def _go(crowd: subprocess.Popen[str]) -> None:
    assert crowd.stdin is not None
    crowd.stdin.write("go\n")
    crowd.stdin.flush()


def _seen(crowd: subprocess.Popen[str]) -> dict[str, Any]:
    assert crowd.stdout is not None
    found: dict[str, Any] = json.loads(crowd.stdout.readline())
    crowd.wait()
    return found


def _ask(rng: random.Random) -> dict[str, Any]:
    said: dict[str, Any] = {"op": rng.choice(OPS)} if rng.random() < 0.9 else {}
    return said | {rng.choice(MEMBERS): _any(rng, 3) for _ in range(rng.randrange(4))}


def _any(rng: random.Random, depth: int) -> Any:
    plain = [
        None,
        True,
        False,
        0,
        -1,
        3,
        1 << 53,
        -(1 << 63),
        1e308,
        0.5,
        "",
        "TCS",
        "NSE:S1",
        "candles",
        "\0",
        "x" * 2000,
    ]
    match rng.randrange(6 if depth else 4):
        case 4:
            return [_any(rng, depth - 1) for _ in range(rng.randrange(5))]
        case 5:
            return {str(_any(rng, 0))[:20]: _any(rng, depth - 1) for _ in range(rng.randrange(4))}
        case _:
            return rng.choice(plain)
