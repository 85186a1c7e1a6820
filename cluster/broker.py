"""Broker: what a deployment on a real Kite account asks before it starts: today's tokens and ticks of its universe."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from adapters import fetching
from cluster.settings import Source
from market.errors import BadPayload, BadValue
from market.instruments import Instrument
from market.vendors import kite_rest

CSV = "text/csv"


def listed(
    instruments: Sequence[Instrument], source: Source, api_key: SecretStr, access_token: SecretStr
) -> list[Instrument]:
    """The same instruments with the broker's own tokens, ticks and lots of today.

    Raises AuthRequired, LineDown, BadPayload, and BadValue for a symbol the broker does not list.
    """
    headers = kite_rest.headers(api_key.get_secret_value(), access_token.get_secret_value())
    contracts = {}
    for exchange in sorted({i.exchange for i in instruments}):
        body, kind = fetching.get(f"{root(source)}/instruments/{exchange}", headers)
        if CSV not in kind:
            kite_rest.envelope(body, kind)  # says what is wrong
            raise BadPayload("kite", body, f"{kind} in the place of {CSV}")
        contracts |= {c.symbol: c for c in kite_rest.instruments(body)}
    missing = [i.symbol for i in instruments if i.symbol not in contracts]
    if missing:
        raise BadValue("universe", ", ".join(missing[:5]), f"symbols that Kite lists; {len(missing)} are not")
    return [_listed(i, contracts[i.symbol]) for i in instruments]


def root(source: Source) -> str:
    """The REST address that goes with a feed: Kite's own, or the one behind the `url` of the feed."""
    if source.url is None:
        return kite_rest.ROOT
    at = urlsplit(source.url)
    return f"{'https' if at.scheme == 'wss' else 'http'}://{at.netloc}"


def _listed(instrument: Instrument, contract: kite_rest.Contract) -> Instrument:
    known = {"tokens": {"kite": contract.token}, "tick_size": contract.tick_size, "lot": max(contract.lot, 1)}
    return instrument.model_copy(update=known)
