"""Vendors: one codec a file, bytes to records and back. A codec never connects, sleeps or retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from market.codecs import TickCodec, Token
from market.vendors.finnhub import Finnhub
from market.vendors.flattrade import FlatTrade
from market.vendors.kite import Kite
from market.vendors.mstock import MStock
from market.vendors.polygon import Polygon


class Vendor(Protocol):
    """A vendor's codec as a class: what it carries, and how it is made for one socket."""

    name: str
    stream: str
    socket_instruments: int
    sockets: int

    def __call__(self, tokens: Mapping[Token, int], source: int = 0) -> TickCodec:
        """A codec of these tokens: the vendor's -> our instrument id. Raises BadValue."""
        ...


VENDORS: dict[str, Vendor] = {
    "kite": Kite,
    "flattrade": FlatTrade,
    "mstock": MStock,
    "polygon": Polygon,
    "finnhub": Finnhub,
}

PRINTERS = frozenset({"polygon", "finnhub"})
"""The vendors that tell trade by trade, each with numbers of its own; the others tell the day's running total."""
