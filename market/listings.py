"""Listings: what a vendor calls our instruments today, checked before any feed believes it.

Vendors give tokens anew, overnight and without a word. A listing names every instrument of the universe it knows by
our id; one that has lost too many of them, gives one token to two, or knows our symbols under other ids is refused:
a wrong mapping is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from pydantic import Field

from market.codecs import Token
from market.errors import BadValue
from market.instruments import Instrument
from market.money import Money
from market.records import Record

MOST_LOST = 0.20
"""A list that misses more of the universe than this is not today's list."""


class Listed(Record):
    """One instrument as the vendor lists it. `id`: ours."""

    id: int = Field(ge=0)
    symbol: str = Field(min_length=1)
    token: Token
    tick_size: Money
    lot: int = Field(ge=1)


class Listing(Record):
    """A vendor's list for one session, cut to our universe."""

    vendor: str = Field(min_length=1)
    session: date
    listed: tuple[Listed, ...]

    def tokens(self) -> dict[int, Token]:
        """The vendor's token by our id."""
        return {one.id: one.token for one in self.listed}

    def missing(self, universe: Sequence[Instrument]) -> list[str]:
        """The symbols of the universe that the vendor does not list."""
        known = {one.id for one in self.listed}
        return [i.symbol for i in universe if i.id not in known]

    def applied(self, universe: Iterable[Instrument]) -> list[Instrument]:
        """The universe with the vendor's token, tick and lot, as it was where the vendor lists nothing."""
        known = {one.id: one for one in self.listed}
        return [_applied(self.vendor, i, known[i.id]) if i.id in known else i for i in universe]


def check(listing: Listing, universe: Sequence[Instrument], before: Listing | None = None) -> None:
    """Raises BadValue for a listing that must not be believed; says why. `before`: the one that holds now."""
    ids = {i.symbol: i.id for i in universe}
    strangers = [one.symbol for one in listing.listed if ids.get(one.symbol) != one.id]
    if strangers:
        raise BadValue(f"{listing.vendor}'s listing", ", ".join(strangers[:5]), "our symbols under our own ids")
    for what, values in (("id", [o.id for o in listing.listed]), ("token", [o.token for o in listing.listed])):
        twice = len(values) - len(set(values))
        if twice:
            raise BadValue(f"{listing.vendor}'s listing", f"{twice} more than once", f"every {what} once")
    missing = listing.missing(universe)
    if len(missing) > MOST_LOST * len(universe):
        said = f"{len(missing)} of {len(universe)} missing, among them {', '.join(missing[:3])}"
        raise BadValue(f"{listing.vendor}'s listing", said, f"at most {MOST_LOST:.0%} of the universe missing")
    if before is not None and listing.session < before.session:
        raise BadValue(f"{listing.vendor}'s listing", str(listing.session), f"a session from {before.session} on")


def _applied(vendor: str, instrument: Instrument, one: Listed) -> Instrument:
    tokens = {**instrument.tokens, vendor: one.token}
    return instrument.model_copy(update={"tokens": tokens, "tick_size": one.tick_size, "lot": one.lot})
