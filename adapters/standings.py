"""Standings: what was learned of keys and logins, in the cache that all replicas share; and tickets for one socket.

Cache-aside: `fill` never takes another's place, so whoever read the database before a change cannot undo the word of
`tell`, which the one who made the change puts here behind its commit. A credential that has ended stays here as ended
for as long as any token of it could live, whatever is told later: of two changes at once the first may be told last.
One that rests, because its account is disabled or nobody knows it, lives again when its account is enabled, not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from adapters.redis_line import RedisLine, Script, Word
from adapters.tokens import digest, fresh
from market.access import Caller
from market.users import ACCESS_LASTS, KNOWN_LASTS, TICKET_LASTS, Standing

Kind = Literal["key", "session"]
Name = tuple[Kind, str]
Worth = Standing | Literal["resting"] | None
"""What is told of a credential; None: it has ended."""
ENDED, RESTING = b"ended", b"resting"
TIMEOUT = 0.5
KNOWN_SECONDS = int(KNOWN_LASTS.total_seconds())
ENDED_SECONDS = KNOWN_SECONDS + int(ACCESS_LASTS.total_seconds())
TELL = Script("""
local had, now = redis.call('GET', KEYS[1]), ARGV[1]
if had == 'ended' and now ~= 'ended' then return 0 end
if had == 'resting' and now ~= 'ended' and now ~= 'resting' and ARGV[3] == '0' then return 0 end
redis.call('SET', KEYS[1], now, 'EX', ARGV[2])
return 1
""")


class Standings:
    """In one cache. Every method raises LineDown when it is away."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        """Connects on first use. Raises BadValue for an address that is none."""
        self._line = RedisLine(url, timeout)

    def find(self, kind: Kind, name: str) -> Standing | Literal["ended"] | None:
        """What is known of a credential, "ended" also of one that rests; None: nothing."""
        found: bytes | None = self._line.call("GET", _key(kind, name))
        if found is None:
            return None
        if found in (ENDED, RESTING):
            return "ended"
        try:
            return Standing.model_validate_json(found)
        except ValidationError:  # of another release
            return None

    def fill(self, kind: Kind, name: str, standing: Standing | None) -> None:
        """Keep what the database said, where nothing stands yet; None: there is no such credential."""
        said = RESTING if standing is None else _text(standing)
        self._line.call("SET", _key(kind, name), said, "EX", KNOWN_SECONDS, "NX")

    def tell(self, changes: Mapping[Name, Worth], *, enabling: bool = False) -> None:
        """Keep what is true from now on; what has ended stays so, and what rests unless its account is `enabling`."""
        calls: list[tuple[list[Word], list[Word]]] = []
        for name, now in changes.items():
            seconds = KNOWN_SECONDS if isinstance(now, Standing) else ENDED_SECONDS
            calls.append(([_key(*name)], [_text(now), seconds, int(enabling)]))
        if calls:
            self._line.evaluate(TELL, calls, kept=False)

    def issue(self, caller: Caller, symbols: tuple[str, ...]) -> str:
        """A ticket by which one socket may be opened within a minute as this caller."""
        ticket = fresh()
        text = json.dumps({"caller": caller.model_dump_json(), "symbols": symbols})
        self._line.call("SET", _ticket(ticket), text, "EX", int(TICKET_LASTS.total_seconds()))
        return ticket

    def redeem(self, ticket: str) -> tuple[Caller, tuple[str, ...]] | None:
        """Who was given this ticket, and for which symbols; None: nobody, or it was used."""
        found: bytes | None = self._line.call("GETDEL", _ticket(ticket))
        if found is None:
            return None
        told = json.loads(found)
        return Caller.model_validate_json(told["caller"]), tuple(told["symbols"])

    def close(self) -> None:
        """Close the connections."""
        self._line.close()


def _key(kind: Kind, name: str) -> str:
    return f"access:{kind}:{name}"


def _ticket(ticket: str) -> str:
    return f"access:ticket:{digest(ticket).hex()}"


def _text(worth: Worth) -> bytes:
    if worth is None:
        return ENDED
    return RESTING if worth == "resting" else worth.model_dump_json().encode()
