"""Storm: a sender of raw Kite frames over one WebSocket, as fast as the receiver takes them. For W1, live.

Frames of 200 full packets lie in memory with their WebSocket headers; before a frame goes out again its stamps and day
volumes are moved on, so that no two are equal. Loopback only; ends by itself after `seconds`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import socket
import struct
import sys
import time

import numpy as np

from market.vendors.kite_packets import FULL, encode

PACKETS = 200
HEADER = 4  # of a WebSocket frame below 64 KiB
SIZE = HEADER + 2 + PACKETS * 186
BURST = 25
STAMPS = (2 + 44, 2 + 60)
VOLUME = 2 + 16
ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def tokens(instruments: int) -> np.ndarray:
    """Kite tokens of as many NSE shares."""
    return (np.arange(instruments) + 1000) * 256 + 1


def frames(instruments: int, count: int) -> np.ndarray:
    """(count, SIZE) bytes: frames that sweep over the instruments, headers included."""
    rng = np.random.default_rng(1)
    rows = np.zeros(count * PACKETS, FULL)
    rows["token"] = np.resize(tokens(instruments), len(rows))
    price = 100_000 + rng.integers(-400, 400, len(rows)).cumsum() % 50_000
    for name in ("last_price", "open", "high", "low", "average_traded_price"):
        rows[name] = price
    rows["close"] = 100_000
    rows["last_traded_quantity"] = rng.integers(1, 500, len(rows))
    for side, step in (("bids", -5), ("asks", 5)):
        rows[side]["price"] = price[:, None] + step * np.arange(1, 6)
        rows[side]["quantity"] = rng.integers(1, 5000, (len(rows), 5))
        rows[side]["orders"] = rng.integers(1, 50, (len(rows), 5))
    out = np.zeros((count, SIZE), np.uint8)
    out[:, :HEADER] = np.frombuffer(struct.pack(">BBH", 0x82, 126, SIZE - HEADER), np.uint8)
    out[:, HEADER : HEADER + 2] = np.frombuffer(struct.pack(">h", PACKETS), np.uint8)
    out[:, HEADER + 2 :] = encode("full", rows).reshape(count, -1)
    return out


def serve(port: int, instruments: int, seconds: float, rate: float, every: float = 0.0) -> None:
    """Accept one client and send for so long; `rate` in ticks a second, 0 for no limit; `every`: after so many seconds
    cut the line and wait for the client to come back, 0 for never. Prints what was sent as JSON, with the Unix times
    from a cut to the next client, whoever cut.
    """
    count = max(6000, 2 * instruments // PACKETS)
    made = frames(instruments, count)
    packets = made[:, HEADER + 2 :].reshape(count, PACKETS, 186)
    listener = socket.create_server(("127.0.0.1", port))
    print("ready", flush=True)
    client, _ = listener.accept()
    _shake_hands(client)
    began = time.perf_counter()
    rng = np.random.default_rng(2)
    start = np.resize(rng.integers(10_000, 5_000_000, instruments), count * PACKETS).reshape(count, PACKETS)
    step = rng.integers(1, 900, instruments)
    step = np.resize(step, count * PACKETS).reshape(count, PACKETS)
    burst = BURST if not rate else 1
    sent, turn, at = 0, 0, 0
    cuts: list[tuple[float, float]] = []
    due = every or math.inf
    while time.perf_counter() - began < seconds:
        if time.perf_counter() - began > due:
            due += every
            client.shutdown(socket.SHUT_RDWR)
            client = _next(listener, client, cuts)
        chunk = slice(at, at + burst)
        turn += 1
        for offset in STAMPS:
            packets[chunk, :, offset : offset + 4] = np.frombuffer(struct.pack(">I", int(time.time())), np.uint8)
        volume = (start[chunk] + step[chunk] * turn).astype(">u4")
        packets[chunk, :, VOLUME : VOLUME + 4] = volume[:, :, None].view(np.uint8)
        try:
            client.sendall(made[chunk])
        except OSError:  # a client that found its line too slow hung up and comes again
            client = _next(listener, client, cuts)
            continue
        sent += burst * PACKETS
        at = (at + burst) % count
        if rate:
            pause = sent / rate - (time.perf_counter() - began)
            if pause > 0:
                time.sleep(pause)
    took = time.perf_counter() - began
    print(json.dumps({"ticks": sent, "seconds": took, "cuts": cuts}), flush=True)
    while client.recv(65536):  # until the receiver hangs up
        pass


def _next(listener: socket.socket, client: socket.socket, cuts: list[tuple[float, float]]) -> socket.socket:
    cut = time.time()
    client.close()
    client, _ = listener.accept()
    _shake_hands(client)
    cuts.append((cut, time.time()))
    return client


def _shake_hands(client: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(4096)
    key = next(
        line.split(b":", 1)[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + ACCEPT, usedforsecurity=False).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
