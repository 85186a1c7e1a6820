"""Instruments: the contract a symbol names, with a small stable integer for columns.

An instrument's `id` never changes, a rename keeps it. Its partition is a stable hash of the ISIN or, without one, the
symbol it was first listed under, so a rename keeps that too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from zlib import crc32

from pydantic import Field

from market.errors import BadValue, UnknownSymbol
from market.money import Money
from market.records import Record


class Kind(StrEnum):
    """What sort of contract it is."""

    EQUITY = "EQUITY"
    INDEX = "INDEX"
    FUTURE = "FUTURE"
    CALL = "CALL"
    PUT = "PUT"


class Instrument(Record):
    """One contract. `symbol` is `EXCHANGE:NAME`; `tokens` are the vendors' own names for it, by vendor."""

    id: int = Field(ge=0)
    symbol: str = Field(pattern=r"^[A-Z]+:[^\s:]+( [^\s:]+)*$")
    name: str = ""
    kind: Kind = Kind.EQUITY
    sector: str = ""
    isin: str | None = None
    tick_size: Money = Money(500)
    lot: int = Field(default=1, ge=1)
    tokens: Mapping[str, int | str] = Field(default_factory=dict)

    @property
    def traded(self) -> bool:
        """Whether signals are given of it and its predictions counted: a share. An index cannot be bought, and of what
        is none no model has learnt.
        """
        return self.kind is Kind.EQUITY

    @property
    def exchange(self) -> str:
        """`NSE` of `NSE:RELIANCE`."""
        return self.symbol.partition(":")[0]

    @property
    def ticker(self) -> str:
        """`RELIANCE` of `NSE:RELIANCE`."""
        return self.symbol.partition(":")[2]


def partition_of(instrument: Instrument, partitions: int) -> int:
    """The partition, 0 <= p < partitions, in which every row of this instrument travels."""
    return crc32((instrument.isin or instrument.symbol).encode()) % partitions


class Universe:
    """The instruments of one deployment; ids are 0..n-1 and index columns."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_id = sorted(instruments, key=lambda i: i.id)
        if [i.id for i in self._by_id] != list(range(len(self._by_id))):
            raise BadValue("universe", [i.id for i in self._by_id][:5], "ids must be 0..n-1, each once")
        self._by_symbol = {i.symbol: i for i in self._by_id}
        if len(self._by_symbol) != len(self._by_id):
            raise BadValue("universe", len(self._by_symbol), "every symbol once")

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_id)

    def __getitem__(self, instrument: int) -> Instrument:
        return self._by_id[instrument]

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def find(self, symbol: str) -> Instrument:
        """By `NSE:RELIANCE`, or by `RELIANCE` alone (NSE first, NYSE last), in any case. Raises UnknownSymbol."""
        wanted = symbol.strip().upper()
        for candidate in (wanted, *(f"{exchange}:{wanted}" for exchange in ("NSE", "BSE", "NASDAQ", "NYSE"))):
            if candidate in self._by_symbol:
                return self._by_symbol[candidate]
        some = ", ".join(islice(self._by_symbol, 5))
        raise UnknownSymbol("symbol", symbol, f"one of the {len(self)} of this universe, for example {some}")

    def partition(self, number: int, partitions: int) -> list[Instrument]:
        """The instruments that travel in one partition, by id."""
        return [i for i in self._by_id if partition_of(i, partitions) == number]
