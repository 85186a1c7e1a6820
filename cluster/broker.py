"""Broker: today's tokens, ticks and lots of the universe, asked of each vendor and kept on the bus for its feeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Protocol
from urllib.parse import urlsplit

from adapters import fetching
from adapters.accounts import Accounts
from adapters.alerts import Alerts
from adapters.bus import Bus
from adapters.listings import Listings
from cluster.settings import Source
from market.alerts import OperatorAlert, still_open
from market.codecs import Account, Token
from market.errors import AuthRequired, BadPayload, BadValue, LineDown, Rejected
from market.instruments import Instrument
from market.listings import Listed, Listing, check
from market.money import Money
from market.sessions import IST, Sessions, instant
from market.vendors import flattrade_rest, kite_rest, mstock_rest

CSV = "text/csv"
KIND = "listing"


class Contract(Protocol):
    """What every vendor says of a contract."""

    @property
    def token(self) -> Token:
        """The vendor's name for it."""
        ...

    @property
    def symbol(self) -> str:
        """`EXCHANGE:NAME`."""
        ...

    @property
    def tick_size(self) -> Money:
        """0 where the vendor does not say."""
        ...

    @property
    def lot(self) -> int:
        """0 where the vendor does not say."""
        ...


def listing(universe: Sequence[Instrument], source: Source, account: Account, session: date) -> Listing:
    """The vendor's own list of one session, cut to our universe.

    Raises AuthRequired, LineDown, Rejected, BadPayload, and BadValue for a vendor that gives no list.
    """
    vendor = source.kind
    if vendor not in LISTS:
        raise BadValue("vendor", vendor, f"one that lists instruments: {', '.join(LISTS)}")
    exchanges = sorted({i.exchange for i in universe})
    contracts = {c.symbol: c for c in LISTS[vendor](root(source), account, exchanges)}
    rows = tuple(_listed(i, contracts[i.symbol]) for i in universe if i.symbol in contracts)
    return Listing(vendor=vendor, session=session, listed=rows)


def refresh(universe: Sequence[Instrument], source: Source, account: Account, bus: str, sessions: Sessions) -> Listing:
    """Fetch the list of the session ahead, check it, keep it on the bus; a list that is not believed is an alert.

    Raises what `listing` and `market.listings.check` do; then the list that was kept before still holds.
    """
    kept, alerts = Listings(bus), Alerts(Bus(bus))
    now = time.time_ns()
    try:
        found = listing(universe, source, account, ahead(sessions, now))
        check(found, universe, kept.find(source.kind))
    except (BadValue, BadPayload, Rejected) as e:
        alerts.tell(OperatorAlert(kind=KIND, subject=source.kind, at=now, severity="critical", text=str(e)))
        raise
    kept.keep(found)
    for alert in still_open(alerts.recent()):
        if (alert.kind, alert.subject) == (KIND, source.kind):
            over = {"over": True, "severity": "info", "text": f"the list of {found.session} is there"}
            alerts.tell(alert.model_copy(update=over))
    return found


def opening(
    universe: Sequence[Instrument], source: Source, account: Account, bus: str, sessions: Sessions
) -> tuple[list[Instrument], str]:
    """The universe as the vendor lists it, and a line for people.

    Where today's list cannot be had, the one kept on the bus or, without one, what we know ourselves: the feed takes
    today's as soon as somebody has fetched it. Raises LineDown when the bus is away.
    """
    kept = Listings(bus).find(source.kind)
    account = known(account, source, bus)
    try:
        found = refresh(universe, source, account, bus, sessions)
    except (AuthRequired, LineDown, BadPayload, BadValue, Rejected) as e:
        if kept is None:
            return list(universe), f"{e}; going on with the tokens we know ourselves"
        return kept.applied(universe), f"{e}; going on with the list of {kept.session}"
    missing = found.missing(universe)
    some = f", not {', '.join(missing[:5])}" if missing else ""
    return found.applied(universe), f"{source.kind} lists {len(found.listed)} of {len(universe)} instruments{some}"


def known(account: Account, source: Source, bus: str) -> Account:
    """The account of the day on the bus, or the one the environment names. Raises LineDown."""
    try:
        return Accounts(bus).find(source.kind) or account
    except BadPayload:
        return account


def ahead(sessions: Sessions, now: int) -> date:
    """The session that is on or comes next; the day itself where the calendar ends."""
    following = next((s for s in sessions if s.close > now), None)
    return following.date if following else instant(now).astimezone(IST).date()


def root(source: Source) -> str:
    """The REST address that goes with a feed: the vendor's own, or the one behind the `url` of the feed."""
    return ROOTS.get(source.kind, "") if source.url is None else origin(source.url)


def origin(stream: str) -> str:
    """Where the REST calls of the server behind a WebSocket's address go."""
    at = urlsplit(stream)
    return f"{'https' if at.scheme == 'wss' else 'http'}://{at.netloc}"


def _kite(root: str, account: Account, exchanges: Sequence[str]) -> Iterator[Contract]:
    headers = kite_rest.headers(account.api_key.get_secret_value(), account.access_token.get_secret_value())
    for exchange in exchanges:
        body, kind = fetching.get(f"{root}/instruments/{exchange}", headers)
        if CSV not in kind:
            kite_rest.envelope(body, kind)  # says what is wrong
            raise BadPayload("kite", body, f"{kind} in the place of {CSV}")
        yield from kite_rest.instruments(body)


def _mstock(root: str, account: Account, exchanges: Sequence[str]) -> Iterator[Contract]:
    headers = mstock_rest.headers(account.api_key.get_secret_value(), account.access_token.get_secret_value())
    answer = fetching.ask("GET", root + mstock_rest.MASTER, headers)
    yield from mstock_rest.master(answer.body, answer.status).contracts


def _flattrade(root: str, account: Account, exchanges: Sequence[str]) -> Iterator[Contract]:
    for segment in (name for exchange in exchanges for name in flattrade_rest.SEGMENTS.get(exchange, ())):
        answer = fetching.ask("GET", root + flattrade_rest.MASTER.format(segment), {})
        yield from flattrade_rest.master(answer.body).contracts


LISTS: Mapping[str, Callable[[str, Account, Sequence[str]], Iterator[Contract]]] = {
    "kite": _kite,
    "flattrade": _flattrade,
    "mstock": _mstock,
}
"""How each vendor's list of instruments is fetched."""

ROOTS = {"kite": kite_rest.ROOT, "flattrade": flattrade_rest.MASTERS, "mstock": mstock_rest.ROOT}


def _listed(instrument: Instrument, contract: Contract) -> Listed:
    tick = contract.tick_size if contract.tick_size > 0 else instrument.tick_size
    lot = max(contract.lot, 1)
    return Listed(id=instrument.id, symbol=instrument.symbol, token=contract.token, tick_size=tick, lot=lot)
