"""Doors: from where one may come in: by which name of ours, from which page, from which address.

An address is known only through a front we trust: it is the last one in the front's header that is not the front's own.
Whoever is no front may write what he likes into that header.
"""

from __future__ import annotations

import re
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from market.errors import BadValue
from market.records import Record

NETWORK = "networks like 10.0.0.0/8 or 127.0.0.1"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")


class Front(Record):
    """The load balancer before us: where it stands, and the header in which it says whom it serves."""

    networks: tuple[str, ...] = Field(min_length=1, description=f"a list of {NETWORK}")
    header: str = Field(default="X-Forwarded-For", pattern=r"^[A-Za-z0-9-]{1,64}$", description="the name of a header")


class Doors(Record):
    """`hosts`: our own names, empty: any; `origins`: pages of others that may ask us; `admin_addresses`: from where
    alone admin paths are served, empty: from everywhere; `tls`: the front speaks TLS with the world.
    """

    trusted_front: Front | None = None
    hosts: tuple[str, ...] = Field(default=(), description="a list of host names, or [] for any")
    origins: tuple[str, ...] = Field(default=(), description="a list like [https://desk.example]")
    admin_addresses: tuple[str, ...] = Field(default=(), description=f"a list of {NETWORK}")
    tls: bool = Field(default=False, description="true or false")

    @model_validator(mode="after")
    def _readable(self) -> Doors:
        front = self.trusted_front.networks if self.trusted_front else ()
        for name, networks in (
            ("doors.trusted_front.networks", front),
            ("doors.admin_addresses", self.admin_addresses),
        ):
            for text in networks:
                try:
                    ip_network(text)
                except ValueError:
                    raise BadValue(name, text, NETWORK) from None
        for origin in self.origins:
            if origin not in (f"http://{_netloc(origin)}", f"https://{_netloc(origin)}"):
                raise BadValue("doors.origins", origin, "a scheme and a host, like https://desk.example")
        return self

    def address(self, peer: str | None, told: list[str]) -> str | None:
        """Whom the front serves, None where nobody knows. `peer`: who is connected to us; `told`: the header's values
        in order. Of an IPv6 address its /64 counts: one household has that many.
        """
        front = self.trusted_front
        if front is None or peer is None or not _within(peer, front.networks):
            return None
        for text in reversed([part.strip() for value in told for part in value.split(",")]):
            if (found := _address(text)) is None:
                return None
            if not _within(text, front.networks):
                return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
        return None

    def admin(self, address: str | None) -> bool:
        """Whether admin paths are served to this address."""
        return not self.admin_addresses or (address is not None and _within(address, self.admin_addresses))

    def host(self, told: str) -> bool:
        """Whether a `Host` names us."""
        found = _HOST.fullmatch(told.lower())
        return found is not None and (not self.hosts or found[1].strip("[]") in self.hosts)

    def origin(self, told: str | None, host: str) -> bool:
        """Whether the page of this `Origin` may open a socket: our own (by `host`, as asked for), a listed one, or no
        page at all.
        """
        return told is None or told in self.origins or _netloc(told).lower() == host.lower() != ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # a bracket that is never closed
        return ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("/")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _within(text: str, networks: tuple[str, ...]) -> bool:
    found = _address(text)
    return found is not None and any(found in network for network in _networks(networks))


@cache
def _networks(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, networks))
