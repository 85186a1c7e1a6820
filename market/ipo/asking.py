"""Asking: which sources a deployment has read, and how. Apart from the registry, which loads all their codecs."""

from __future__ import annotations

from pydantic import Field

from market.records import Record

NAMES = ("investorgain", "ipowatch", "chittorgarh", "nse", "bse")
"""The sources that `market.ipo.registry` holds."""


class Asking(Record):
    """How a deployment has one source read. `url` stands before the path of its pages, for a mirror; `robots`: its
    robots file is obeyed; `every_minutes` between two visits of a page, the source's own where it is null.
    """

    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@?#]+$",
        description="an address like http://127.0.0.1:9000/mirror, or null for the source's own",
    )
    enabled: bool = Field(default=True, description="true or false")
    robots: bool = Field(default=True, description="true or false")
    every_minutes: float | None = Field(
        default=None, ge=5, le=10_080, description="minutes, 5 to 10080, or null for the source's own"
    )
