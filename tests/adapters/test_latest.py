"""Latest: what is packed comes back bit by bit, and what is not ours is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.latest import Latest, pack, universe_of, unpack
from market.errors import BadPayload
from market.instruments import Instrument
from market.quotes import Quotes
from market.ticks import FeedState, Flag, Ticks, blank, mark

NAMES = ("NSE:RELIANCE", "NSE:TCS", "NSE:INFY")
SHARES = tuple(Instrument(id=i, symbol=name) for i, name in enumerate(NAMES))
AT = 1_472_096_700_000_000_000
HERE = universe_of(SHARES)


def tick(who: int, at: int, price: int, volume: int, **more: Any) -> Ticks:
    row = blank(1)
    row["instrument"], row["at"], row["received"], row["price"], row["day_volume"] = who, at, at + 5, price, volume
    for name, value in more.items():
        row[name] = value
    return row


def book() -> Quotes:
    """Three instruments: one of packets, one of prints, one only a standby has told of."""
    quotes = Quotes(len(SHARES))
    rows = [
        tick(0, AT, 10_000_000, 500),
        tick(1, AT, 20_000_000, 7, flags=Flag.PRINT, sequence=1),
        tick(1, AT + 1, 20_010_000, 3, flags=Flag.PRINT, sequence=2),
        tick(2, AT, 30_000_000, 90, source=1),
        mark(0, FeedState.LIVE, AT + 10),
    ]
    quotes.update(np.concatenate(rows))
    return quotes


def restored(quotes: Quotes) -> Quotes:
    packed = pack(Latest(quotes.snapshot(), {0: 7, 1: 9}, {0: 3}), HERE, "bus")
    again = Quotes(len(SHARES))
    again.restore(unpack(packed, HERE, "bus").quotes)
    return again


def test_what_is_packed_comes_back_with_its_place_on_the_bus() -> None:
    quotes = book()

    found = unpack(pack(Latest(quotes.snapshot(), {0: 7, 1: 9}, {0: 3}), HERE, "bus"), HERE, "bus")

    assert (found.ticks, found.candles) == ({0: 7, 1: 9}, {0: 3})
    assert found.quotes.rows["price"].tolist()[:2] == [10_000_000, 20_010_000]
    assert found.quotes.rows["received"].tolist()[0] == AT + 5


def test_a_restored_book_goes_on_like_the_one_it_was_taken_of() -> None:
    quotes = book()
    again = restored(quotes)
    rest = np.concatenate(
        [
            tick(1, AT + 2, 20_020_000, 5, flags=Flag.PRINT, sequence=3),
            tick(1, AT, 20_000_000, 7, flags=Flag.PRINT, sequence=1),  # heard before
            mark(1, FeedState.ACTIVE, AT + 20, AT + 20, 1),
        ]
    )

    for one in (quotes, again):
        one.update(rest)

    names = [n for n in quotes.read([0]).dtype.names or () if n != "version"]
    for name in names:
        assert again.read([0, 1, 2])[name].tolist() == quotes.read([0, 1, 2])[name].tolist(), name
    assert again.read([1])["day_volume"].tolist() == [7 + 3 + 5]
    assert again.read([2])["price"].tolist() == [30_000_000]


def test_every_row_of_a_restored_book_has_changed() -> None:
    again = Quotes(len(SHARES))
    again.update(tick(0, AT, 1, 1))
    before = again.version

    again.restore(book().snapshot())

    assert again.changed(np.arange(3), before).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("universe", "bus"),
    [(universe_of(SHARES[:2]), "bus"), (universe_of((*SHARES[1:], SHARES[0])), "bus"), (HERE, "another bus")],
)
def test_quotes_of_another_universe_or_bus_are_refused(universe: str, bus: str) -> None:
    packed = pack(Latest(book().snapshot(), {}, {}), HERE, "bus")

    with pytest.raises(BadPayload, match="another universe, layout or bus"):
        unpack(packed, universe, bus)


def test_torn_quotes_are_refused_wherever_they_were_torn() -> None:
    packed = pack(Latest(book().snapshot(), {}, {}), HERE, "bus")

    for end in range(0, len(packed), 7):
        with pytest.raises(BadPayload):
            unpack(packed[:end], HERE, "bus")
    with pytest.raises(BadPayload):
        unpack(b"Q\x02" + packed[2:], HERE, "bus")
