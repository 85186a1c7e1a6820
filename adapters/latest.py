"""Latest: all quotes of a universe as one value, by which a process that begins has them at once.

    b"Q" · format u1            2 bytes
    one zstd frame with checksum:
        MessagePack: the universe and the bus they are of, the entries they stand for, the columns

The value says of which instruments it is, in which layout and on which bus, and the last entry of every partition that
is in it: who loads it goes on behind those. One of other instruments, of another release's columns or of another bus is
refused. It is latest value only: nothing is lost with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt
import zstandard

from adapters.bus import EntryId
from market.errors import BadPayload
from market.instruments import Instrument
from market.prints import TotalsKept
from market.quotes import QUOTE, QuotesKept, Said
from market.ticks import TICK, FeedState

FORMAT = 1
MAGIC = b"Q" + bytes([FORMAT])
LEVEL = 1
MOST_BYTES = 256 << 20


class Latest(NamedTuple):
    """Quotes, and the last entry of each partition of ticks and of candles that is in them."""

    quotes: QuotesKept
    ticks: dict[int, EntryId]
    candles: dict[int, EntryId]


def universe_of(instruments: Sequence[Instrument]) -> str:
    """The name of a universe and its columns: who has another one cannot read our rows."""
    said = "\n".join([str(QUOTE.descr), str(TICK.descr), *(f"{i.id} {i.symbol}" for i in instruments)])
    return sha256(said.encode()).hexdigest()


def pack(latest: Latest, universe: str, bus: str) -> bytes:
    """One value. `universe`: of `universe_of`; `bus`: the bus's identity."""
    kept, prints = latest.quotes, latest.quotes.prints
    record = {
        "universe": universe,
        "bus": bus,
        "ticks": latest.ticks,
        "candles": latest.candles,
        "rows": kept.rows.tobytes(),
        "stated": kept.stated.tobytes(),
        "opened": kept.opened.tobytes(),
        "feeds": {source: (int(said.state), said.at, said.since) for source, said in kept.feeds.items()},
        "active": kept.active,
        "switches": kept.switches,
        "aside": kept.aside.tobytes(),
        "prints": [prints.days.tobytes(), prints.closed.tobytes(), prints.until.tobytes(), prints.open, prints.newest],
    }
    return MAGIC + zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(msgpack.packb(record))


def unpack(payload: bytes, universe: str, bus: str) -> Latest:
    """What `pack` was given. Raises BadPayload: torn, of another universe, layout or bus."""
    if payload[: len(MAGIC)] != MAGIC:
        raise BadPayload("latest", payload[:16], f"is not of format {FORMAT}")
    try:
        text = zstandard.ZstdDecompressor().decompress(payload[len(MAGIC) :], max_output_size=MOST_BYTES)
        record = msgpack.unpackb(text, strict_map_key=False)
        if (record["universe"], record["bus"]) != (universe, bus):
            raise BadPayload("latest", payload[:16], "is of another universe, layout or bus")
        return _read(record)
    except (zstandard.ZstdError, msgpack.UnpackException, ValueError, KeyError, TypeError) as e:
        raise BadPayload("latest", payload[:16], f"cannot be read: {e}") from e


def _read(record: dict[str, Any]) -> Latest:
    days, closed, until, minutes, newest = record["prints"]
    quotes = QuotesKept(
        np.frombuffer(record["rows"], QUOTE),
        _ints(record["stated"]),
        _ints(record["opened"]),
        {source: Said(FeedState(state), at, since) for source, (state, at, since) in record["feeds"].items()},
        record["active"],
        record["switches"],
        np.frombuffer(record["aside"], TICK),
        TotalsKept(_ints(days), _ints(closed), _ints(until), minutes, newest),
    )
    return Latest(quotes, record["ticks"], record["candles"])


def _ints(data: bytes) -> npt.NDArray[np.int64]:
    return np.frombuffer(data, np.int64)
