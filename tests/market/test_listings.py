"""Which list of instruments is believed."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from market.accounts import LOGINS, entitled, login
from market.codecs import Account
from market.errors import BadValue
from market.feeds import shares
from market.instruments import Instrument, Kind
from market.listings import Listed, Listing, check
from market.money import Money
from market.sessions import at

UNIVERSE = [Instrument(id=k, symbol=f"NSE:S{k}", tokens={"kite": 256 * k + 1}) for k in range(10)]
DAY = date(2016, 8, 25)


def listing(of: list[Instrument] = UNIVERSE, **more: Any) -> Listing:
    rows = tuple(Listed(id=i.id, symbol=i.symbol, token=i.id + 100, tick_size=Money(500), lot=1) for i in of)
    return Listing(**{"vendor": "kite", "session": DAY, "listed": rows, **more})


def test_a_list_that_misses_a_fifth_is_believed_and_leaves_the_others_as_they_were() -> None:
    short = listing(UNIVERSE[:8])

    check(short, UNIVERSE)

    assert short.missing(UNIVERSE) == ["NSE:S8", "NSE:S9"]
    assert [i.tokens["kite"] for i in short.applied(UNIVERSE)][6:] == [106, 107, 256 * 8 + 1, 256 * 9 + 1]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (listing(UNIVERSE[:7]), "3 of 10 missing"),
        (listing([UNIVERSE[0].model_copy(update={"id": 1}), *UNIVERSE[2:]]), "NSE:S0"),
        (listing([*UNIVERSE, Instrument(id=10, symbol="NSE:S10")]), "NSE:S10"),
        (listing(listed=(*listing().listed[:9], listing().listed[9].model_copy(update={"token": 100}))), "1 more"),
        (listing(session=date(2016, 8, 24)), "2016-08-24"),
    ],
)
def test_a_list_that_cannot_be_todays_is_refused(wrong: Listing, why: str) -> None:
    with pytest.raises(BadValue, match=why):
        check(wrong, UNIVERSE, before=listing())


def test_a_listing_comes_back_from_text_as_it_was() -> None:
    assert Listing.model_validate_json(listing().model_dump_json()) == listing()


def test_every_socket_carries_the_canary_and_no_other_instrument_twice() -> None:
    index = Instrument(id=10, symbol="NSE:NIFTY 50", kind=Kind.INDEX, tokens={"kite": 9})
    unknown = Instrument(id=11, symbol="NSE:NEW")

    carried, left_out = shares([*UNIVERSE, index, unknown], "kite", 5, 2)

    assert [len(c) for c in carried] == [5, 5]
    assert all(c[9] == 10 for c in carried)
    assert sorted(i for c in carried for i in c.values() if i != 10) == list(range(8))
    assert left_out == ["NSE:NEW", "NSE:S8", "NSE:S9"]


@pytest.mark.parametrize(
    ("vendor", "given", "ends"),
    [
        ("kite", (25, "05:59"), (25, "06:00")),
        ("kite", (25, "06:00"), (26, "06:00")),
        ("flattrade", (25, "08:30"), (26, "05:00")),
        ("mstock", (25, "23:59"), (26, "00:00")),
    ],
)
def test_a_token_dies_at_its_vendors_hour(vendor: str, given: tuple[int, str], ends: tuple[int, str]) -> None:
    def moment(day: int, clock: str) -> int:
        return at(date(2016, 8, day), time.fromisoformat(clock))

    assert LOGINS[vendor].until(moment(*given)) == moment(*ends)


def test_the_login_page_carries_the_key_safely_and_an_unknown_vendor_is_told() -> None:
    assert login("kite").address("a&b").endswith("v=3&api_key=a%26b")
    assert not entitled("kite", Account())
    with pytest.raises(BadValue, match="flattrade"):
        login("zerodha")
