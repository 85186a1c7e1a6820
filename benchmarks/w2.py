"""W2: Kite frames to columns, against kiteconnect's KiteTicker on the same frames.

`columns` is the peer's work: every field of every packet, five levels of depth included, prices as the wire's integers.
`rupees` adds every price and the change as floats, as the peer has them. `ticks` is what the feed does: the `TICK` rows
of known instruments, with closes and books kept aside; `ticks, 20 frames` is given what came during one write to the
bus. Frames differ from one another; each way reads each frame once a round, all ways in turn, and medians count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from kiteconnect import KiteTicker

from benchmarks.report import Report, seconds
from market.vendors.kite import Kite
from market.vendors.kite_packets import PACKETS, columns, encode, frame

PEER = "kiteconnect 5.2.2"
COUNTS = (1, 10, 50, 200)
INSTRUMENTS = 1000
PACKETS_A_ROUND = 2000
BURST = 20
NOW = 1_700_000_000
TOKENS = {(1000 + 7 * i) << 8 | 1: i for i in range(INSTRUMENTS)}


def run(out: Report) -> None:
    """Race every kind of packet at every size of frame."""
    rng = np.random.default_rng(2)
    for kind in ("full", "quote", "ltp", "index_full", "mixed"):
        for count in COUNTS:
            frames = [_frame(rng, kind, count) for _ in range(max(BURST, PACKETS_A_ROUND // count))]
            _check(frames[0])
            _race(out, f"{kind}, {count} a frame", frames, count)


def _race(out: Report, case: str, frames: list[bytes], count: int) -> None:
    codec, together, peer = Kite(TOKENS), Kite(TOKENS), KiteTicker("key", "token")
    bursts = [frames[i : i + BURST] for i in range(0, len(frames), BURST)]
    ways: dict[str, Callable[[], object]] = {
        "columns": lambda: [columns(f) for f in frames],
        "rupees": lambda: [_rupees(f) for f in frames],
        "ticks": lambda: [codec.read(f, NOW, i) for i, f in enumerate(frames)],
        f"ticks, {BURST} frames": lambda: [together.read_many(b, [NOW] * len(b), range(len(b))) for b in bursts],
    }
    theirs, *ours = seconds(lambda: [peer._parse_binary(f) for f in frames], *ways.values())
    packets = count * len(frames)
    for way, took in zip(ways, ours, strict=True):
        out.add(f"{case}: {way}", "packets/s", round(packets / took), round(packets / theirs), PEER)


def _check(message: bytes) -> None:
    theirs = [tick["last_price"] for tick in KiteTicker("key", "token")._parse_binary(message)]
    blocks = columns(message).values()
    ours = np.concatenate([c.rupees()["last_price"] for c in blocks])
    order = np.concatenate([c.places for c in blocks]).argsort()
    assert ours[order].tolist() == theirs, "the two decoders disagree"


def _rupees(message: bytes) -> list[object]:
    blocks = columns(message)
    return [(c, c.rupees(), c.change_percent() if kind != "ltp" else None) for kind, c in blocks.items()]


def _frame(rng: np.random.Generator, kind: str, count: int) -> bytes:
    if kind != "mixed":
        return frame(encode(kind, _rows(rng, kind, count)))
    kinds = rng.choice(["full", "quote", "ltp", "index_full"], count)
    return frame(*(encode(k, _rows(rng, k, 1)) for k in kinds.tolist()))


def _rows(rng: np.random.Generator, kind: str, count: int) -> np.ndarray:
    rows = np.zeros(count, PACKETS[kind])
    for name in rows.dtype.names:
        if name not in ("bids", "asks"):
            rows[name] = rng.integers(1_000, 500_000, count)
    rows["token"] = rng.choice(list(TOKENS), count)
    if "close" in rows.dtype.names:
        rows["close"] = rows["token"] >> 8
    if kind == "full":
        rows["last_trade_time"], rows["exchange_timestamp"] = NOW, NOW + 1
        for side in ("bids", "asks"):
            for name in ("quantity", "price", "orders"):
                rows[side][name] = rng.integers(1, 60_000, (count, 5))
    elif kind == "index_full":
        rows["exchange_timestamp"] = NOW
    return rows
