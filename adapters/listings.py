"""Listings: the vendors' lists of the day, on the bus, with a stamp that says cheaply whether one is new."""

from __future__ import annotations

from pydantic import ValidationError

from adapters.redis_line import RedisLine
from market.errors import BadPayload
from market.listings import Listing


class Listings:
    """The listings kept on one bus, by vendor. Every method raises LineDown when it is away."""

    def __init__(self, url: str) -> None:
        """`url`: the bus's. Connects on first use."""
        self._line = RedisLine(url)

    def keep(self, listing: Listing) -> None:
        """Keep a listing in the place of the one before. It is believed: `market.listings.check` comes first."""
        key, text = _key(listing.vendor), listing.model_dump_json()
        self._line.call("HSET", key, "session", listing.session.isoformat(), "listing", text)
        self._line.calls([("HINCRBY", key, "stamp", 1)], kept=True)

    def stamp(self, vendor: str) -> int:
        """A number that rises with every listing kept; 0 before the first."""
        return int(self._line.call("HGET", _key(vendor), "stamp") or 0)

    def find(self, vendor: str) -> Listing | None:
        """The listing that holds; None before the first. Raises BadPayload."""
        text = self._line.call("HGET", _key(vendor), "listing")
        if text is None:
            return None
        try:
            return Listing.model_validate_json(text)
        except ValidationError as e:
            raise BadPayload("listing", text, str(e.errors()[0]["msg"])) from e

    def close(self) -> None:
        """Close the connections."""
        self._line.close()


def _key(vendor: str) -> str:
    return f"listing:{vendor}"
