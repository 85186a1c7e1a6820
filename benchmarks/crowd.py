"""Crowd: many sockets in a process of its own: shakes hands, subscribes, and reads no more of a frame than its head.

`python -m benchmarks.crowd PORT SOCKETS RATE SYMBOLS SECONDS FROZEN [SPEECH]`: prints a JSON line when all have
subscribed, and one at the end. SPEECH: ours; sleepy, where those that are to be frozen wake every three seconds;
websockets or flask, those of the peers (`benchmarks.peers_w5`). Each socket wants its own draw of `SYMBOLS` of 500
instruments, `NSE:S0` to `NSE:S499`. Of a delta the number of entries and the server's clock stand in the first 24
bytes, so nothing is unpacked; the age of the newest change in it is looked at in every 50th frame, unpacked whole.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import sys
import time
from typing import Any

import msgpack
import numpy as np

from market.frames import AT, RECEIVED

INSTRUMENTS = 500
SAMPLE = 50
UNSENT = 5
NAP_SECONDS = 3.0


class Reader(asyncio.Protocol):
    """One socket of ours."""

    path = "/ws/quotes?format=msgpack"

    def __init__(self, crowd: Crowd, wanted: list[str], frozen: bool) -> None:
        self._crowd, self._wanted, self._frozen = crowd, wanted, frozen
        self._data = b""
        self._open = False
        self._number = 0
        self.ready = False

    def connection_made(self, transport: Any) -> None:
        """Shake hands."""
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take whole frames off the front."""
        data = self._data + data if self._data else data
        if not self._open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._data = head
                return
            if b" 101 " not in head[:20]:
                self._crowd.refused += 1
                self._transport.close()
                return
            self._open = True
            self._opened()
        at, end = 0, len(data)
        while at + 2 <= end:
            size, begin = data[at + 1], at + 2
            if size == 126:
                if at + 4 > end:
                    break
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                if at + 10 > end:
                    break
                size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if begin + size > end:
                break
            self._take(data[at] & 0xF, data, begin, size)
            at = begin + size
        self._data = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Counted."""
        self._crowd.lost += 1

    def _opened(self) -> None:
        self.say({"op": "set", "rate": self._crowd.rate})
        self.say({"op": "subscribe", "symbols": self._wanted})

    def say(self, message: dict[str, Any]) -> None:
        """Send one message; the mask is nought, as it may be for who keeps nothing secret."""
        self._send(0x82, msgpack.packb(message))

    def _send(self, opcode: int, body: bytes) -> None:
        size = len(body)
        head = bytes([opcode, 0x80 | size]) if size < 126 else struct.pack(">BBH", opcode, 0xFE, size)
        self._transport.write(head + b"\0\0\0\0" + body)

    def _take(self, opcode: int, data: bytes, begin: int, size: int) -> None:
        crowd = self._crowd
        if opcode == 9:
            self._send(0x8A, data[begin : begin + size])
            return
        if opcode == 8:
            crowd.refused += not self.ready
            crowd.closed.append(int.from_bytes(data[begin : begin + 2], "big"))
            return
        if data[begin] != 0xDC:
            if not self.ready and b"added" in data[begin : begin + size]:
                self.ready = True
                crowd.ready += 1
            elif crowd.base == 0 and b"hello" in data[begin : begin + 40]:
                crowd.base = msgpack.unpackb(data[begin : begin + size])["base"]
            return
        if self._counts(size, data[begin + 1] * 256 + data[begin + 2] - UNSENT):
            crowd.sample(msgpack.unpackb(data[begin : begin + size]))

    def _counts(self, size: int, updates: int) -> bool:
        """Count a frame of quotes; whether it is one to look at."""
        crowd = self._crowd
        self._number += 1
        if self._frozen and self._number > 3:
            self._doze()
            return False
        if not crowd.counting:
            return False
        crowd.frames += 1
        crowd.bytes += size
        crowd.updates += updates
        return (self._number + id(self) // 64) % SAMPLE == 0

    def _doze(self) -> None:
        """Read no more."""
        self._transport.pause_reading()


class Sleepy(Reader):
    """One that, where it should freeze, reads what there is every three seconds."""

    def _doze(self) -> None:
        if self._transport.is_reading():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(NAP_SECONDS, self._transport.resume_reading)


class Texts(Reader):
    """One socket of the peer on websockets: JSON; of a frame the entries are counted, every 50th is read."""

    path = "/"
    before = b""

    def _opened(self) -> None:
        self._say(self._wish())

    def _wish(self) -> str:
        return json.dumps({"rate": self._crowd.rate, "symbols": self._wanted})

    def _say(self, text: str) -> None:
        self._send(0x81, text.encode())

    def _take(self, opcode: int, data: bytes, begin: int, size: int) -> None:
        crowd, said = self._crowd, data[begin : begin + size]
        if opcode == 9:
            self._send(0x8A, said)
        elif opcode == 8:
            crowd.closed.append(int.from_bytes(said[:2], "big"))
        elif (updates := said.count(b'"price"')) == 0:
            if not self.ready and b'"ready"' in said:
                self.ready = True
                crowd.ready += 1
            self._hear(said)
        elif self._counts(size, updates):
            found = json.loads(said[len(self.before) :].removesuffix(b"]" if self.before else b""))
            crowd.aged(found["sent"], max(quote["received"] for quote in found["quotes"].values()))

    def _hear(self, said: bytes) -> None:
        """Anything but quotes."""


class Events(Texts):
    """One socket of Flask-SocketIO: Engine.IO 4 over WebSocket, and JSON in its events."""

    path = "/socket.io/?EIO=4&transport=websocket"
    before = b'42["quotes",'

    def _opened(self) -> None:
        """The server speaks first."""

    def _hear(self, said: bytes) -> None:
        if said[:1] == b"0":
            self._say("40")
        elif said[:2] == b"40":
            self._say(f'42["subscribe",{self._wish()}]')
        elif said == b"2":
            self._say("3")


SPEECHES: dict[str, type[Reader]] = {"ours": Reader, "sleepy": Sleepy, "websockets": Texts, "flask": Events}


class Crowd:
    """All sockets of this process and what they have seen."""

    def __init__(self, port: int, sockets: int, rate: int, symbols: int, frozen: int, speech: str = "ours") -> None:
        self._reader = SPEECHES[speech]
        self.port, self.sockets, self.rate, self.symbols, self.frozen_count = port, sockets, rate, symbols, frozen
        self.ready = self.lost = self.refused = self.frames = self.bytes = self.updates = self.base = 0
        self.counting = False
        self.closed: list[int] = []
        self.ages: list[float] = []
        self.sent: list[float] = []

    def sample(self, frame: list[Any]) -> None:
        """How old the newest change in a delta is, from its publishing and from its sending, ms."""
        now = time.time() * 1000 - self.base
        self.sent.append(now - frame[4])
        ages = [a for entry in frame[5:] if frame[0] == 2 and (a := received(frame, entry)) is not None]
        if ages:
            self.ages.append(now - max(ages))

    def aged(self, sent: int, received: int) -> None:
        """As `sample`, of instants in ms."""
        now = time.time() * 1000
        self.sent.append(now - sent)
        self.ages.append(now - received)

    async def open(self, seconds: float = 240.0) -> None:
        """Connect all, a few hundred at a time."""
        loop = asyncio.get_running_loop()
        rng = np.random.default_rng(7)
        until = time.monotonic() + seconds
        for k in range(self.sockets):
            names = [f"NSE:S{i}" for i in rng.choice(INSTRUMENTS, self.symbols, replace=False)]
            frozen = k < self.frozen_count
            await loop.create_connection(lambda n=names, f=frozen: self._reader(self, n, f), "127.0.0.1", self.port)
            while k - self.ready - self.refused > 200 and time.monotonic() < until:
                await asyncio.sleep(0.01)
        while self.ready + self.refused < self.sockets and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def watch(self, seconds: float) -> dict[str, Any]:
        """Count for so long."""
        self.counting, began, cpu = True, time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        self.counting, took = False, time.monotonic() - began
        return {
            "seconds": took,
            "frames": self.frames,
            "updates": self.updates,
            "bytes": self.bytes,
            "cpu": time.process_time() - cpu,
            "lost": self.lost,
            "refused": self.refused,
            "closed": {str(code): self.closed.count(code) for code in set(self.closed)},
            "ages": np.percentile(self.ages or [np.nan], [50, 99]).tolist(),
            "sent": np.percentile(self.sent or [np.nan], [50, 99]).tolist(),
        }


def received(frame: list[Any], entry: list[Any]) -> int | None:
    """When an entry's tick was published, ms since base: `at` is told back from the frame's, `received` from that."""
    mask, values = entry[1], entry[2:]
    if not mask >> AT & 1:
        return None
    place = (mask & ((1 << AT) - 1)).bit_count()
    return int((frame[2] or 0) - values[place] + (values[place + 1] if mask >> RECEIVED & 1 else 0))


async def _main(port: int, sockets: int, rate: int, symbols: int, seconds: float, frozen: int, speech: str) -> None:
    crowd = Crowd(port, sockets, rate, symbols, frozen, speech)
    await crowd.open()
    print(json.dumps({"ready": crowd.ready, "refused": crowd.refused}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(await crowd.watch(seconds)), flush=True)


if __name__ == "__main__":
    import uvloop

    numbers, spoken = [float(word) for word in sys.argv[1:7]], sys.argv[7] if len(sys.argv) > 7 else "ours"
    uvloop.run(_main(*(int(n) for n in numbers[:4]), numbers[4], int(numbers[5]), spoken))
