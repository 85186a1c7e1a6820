"""Registry: the sources there are, and how a deployment has them read.

A deployment names each source that is to be read (`Asking`); what it does not name is never asked. An address of its
own stands before the path of every page: a mirror, or the demo's site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import NamedTuple
from urllib.parse import urlsplit

from market.errors import BadValue
from market.ipo.asking import NAMES, Asking
from market.ipo.pages import Page
from market.ipo.readings import Status
from market.ipo.sources import Address, Policy, Source
from market.ipo.visiting import Errand
from market.vendors.bse_ipo import BseIssues
from market.vendors.chittorgarh import Chittorgarh
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from market.vendors.nse_ipo import NseIssues

SOURCES: Mapping[str, Callable[[], Source]] = {
    "investorgain": InvestorGain,
    "ipowatch": IpoWatch,
    "chittorgarh": Chittorgarh,
    "nse": NseIssues,
    "bse": BseIssues,
}
RUNNING = frozenset({Status.OPEN, Status.CLOSING})
MOST_FOLLOWED = 40
"""Issues of one page whose own pages are asked for: no exchange has so many open at once."""


class Reader(NamedTuple):
    """A source as it is asked here. `root`: what stands before the path of its pages, None: its own host; `robots`:
    whether its robots file is obeyed.
    """

    source: Source
    policy: Policy
    root: str | None = None
    robots: bool = True

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def errands(self, day: date) -> list[Errand]:
        """The pages that tell of the issues around a day, each named by its kind."""
        return [self._errand(one, str(one.kind)) for one in self.source.addresses(day)]

    def following(self, page: Page) -> list[Errand]:
        """The pages of the issues that a page tells to be open: the bids by category, where the source has them."""
        if not isinstance(self.source, NseIssues):
            return []
        running = [one.symbol for one in page.facts if one.status in RUNNING and one.symbol and one.exchange == "NSE"]
        symbols = list(dict.fromkeys(running))[:MOST_FOLLOWED]
        bids = [(symbol, self.source.issue(symbol)[-1]) for symbol in symbols]
        return [self._errand(one, f"{one.kind} {symbol}", symbol) for symbol, one in bids]

    def moved(self, url: str) -> str:
        """An address of the source where it is read here."""
        if self.root is None:
            return url
        parts = urlsplit(url)
        return f"{self.root.rstrip('/')}{parts.path}{f'?{parts.query}' if parts.query else ''}"

    def _errand(self, one: Address, name: str, key: str = "") -> Errand:
        headers = {k: self.moved(v) if k == "Referer" else v for k, v in one.call.headers.items()}
        call = one.call._replace(url=self.moved(one.call.url), headers=headers)
        return Errand(self.name, name, call, one.kind, key)


def readers(asked: Mapping[str, Asking]) -> list[Reader]:
    """A reader of each source that is named and enabled. Raises BadValue for a name of none."""
    found = []
    for name, asking in asked.items():
        if name not in SOURCES:
            raise BadValue("source", name, f"one of {', '.join(SOURCES)}")
        source = SOURCES[name]()
        every = source.policy.every if asking.every_minutes is None else 60.0 * asking.every_minutes
        policy = source.policy.model_copy(update={"every": every})
        if asking.enabled:
            found.append(Reader(source, policy, asking.url, asking.robots))
    return found


def demo(site: str, names: Sequence[str] = NAMES) -> dict[str, Asking]:
    """All sources as the demo's site serves them, each under its own name. `site`: the address of its root."""
    return {name: Asking(url=f"{site.rstrip('/')}/{name}") for name in names}
