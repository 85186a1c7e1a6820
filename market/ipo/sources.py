"""Sources: how a source of issues is asked, and what its answers are made of.

A source is a codec: it names its addresses and reads what came back; fetching, waiting, the cache and the breaker are
the shell's, by the source's `Policy`. Whether a site's robots file and terms allow a fetch is for whoever runs it to
check: nothing is fetched that the settings do not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple, Protocol

from pydantic import Field

from market.codecs import Call
from market.ipo.pages import Page, PageKind
from market.records import Record

AGENT = "Mozilla/5.0 (compatible; bourse)"
"""What we call ourselves; a site that wants more is not asked."""


ROBOT = "bourse"
"""The name we look for in a robots file."""


class Policy(Record):
    """How politely a source is asked. `gap`: seconds between two requests; `every`: seconds between two of one page;
    `largest`: bytes of an answer; `visit`: a page that gives the cookies without which nothing is answered, or None.
    """

    gap: float = Field(gt=0)
    every: float = Field(gt=0)
    largest: int = Field(gt=0)
    visit: str | None = None


class Address(NamedTuple):
    """One page of a source: what it is asked for, and how."""

    kind: PageKind
    call: Call


class Source(Protocol):
    """A source's codec."""

    name: str
    policy: Policy

    def addresses(self, day: date) -> list[Address]:
        """The pages that tell of the issues around a day."""
        ...

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What a body of this kind tells; `received`: ns UTC of its fetch; `key`: whose page it is, where it does not
        say so itself.

        Raises BadPayload for what is no such page, LayoutChanged for one laid out otherwise.
        """
        ...


def headers(referer: str, accept: str) -> Mapping[str, str]:
    """What every request says of itself."""
    return {"User-Agent": AGENT, "Accept": accept, "Accept-Language": "en-IN,en;q=0.9", "Referer": referer}
