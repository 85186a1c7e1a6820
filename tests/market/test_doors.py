"""Doors: whom a front may tell of, and which names, pages and addresses are let in."""

from __future__ import annotations

import pytest

from market.doors import Doors, Front
from market.errors import BadValue

FRONT = Doors(trusted_front=Front(networks=("10.0.0.0/8", "127.0.0.1")))


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("203.0.113.66", ["6.6.6.6"], None),  # a stranger who writes the header himself
        ("10.0.0.1", ["6.6.6.6, nonsense"], None),
        ("10.0.0.1", ["10.0.0.7"], None),
        ("10.0.0.1", [], None),
        (None, ["203.0.113.9"], None),
    ],
)
def test_an_address_is_the_last_one_that_the_front_did_not_add_for_itself(
    peer: str | None, told: list[str], address: str | None
) -> None:
    assert FRONT.address(peer, told) == address


def test_without_a_front_nobody_has_an_address() -> None:
    assert Doors().address("127.0.0.1", ["203.0.113.9"]) is None


def test_admin_paths_are_for_listed_addresses_and_never_for_unknown_ones() -> None:
    doors = Doors(admin_addresses=("192.0.2.0/24", "2001:db8::/32"))

    found = [doors.admin(a) for a in ("192.0.2.7", "192.0.3.7", "2001:db8:1:2::/64", None)]

    assert found == [True, False, True, False]
    assert Doors().admin(None)


@pytest.mark.parametrize(
    ("told", "named"),
    [("desk.example", True), ("Desk.Example:8000", True), ("[::1]:8000", True), ("evil.example", False), ("", False),
     ("desk.example.evil.example", False), ("desk.example@evil.example", False)],
)  # fmt: skip
def test_a_host_is_one_of_our_names(told: str, named: bool) -> None:
    assert Doors(hosts=("desk.example", "::1")).host(told) is named


@pytest.mark.parametrize(
    ("told", "taken"),
    [(None, True), ("http://desk.example:8000", True), ("https://page.example", True), ("https://evil.example", False),
     ("null", False), ("https://page.example.evil.example", False)],
)  # fmt: skip
def test_a_page_opens_a_socket_if_it_is_ours_or_listed(told: str | None, taken: bool) -> None:
    doors = Doors(origins=("https://page.example",))

    assert doors.origin(told, "desk.example:8000") is taken


def test_no_host_is_no_page_of_ours() -> None:
    assert not Doors().origin("null", "")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"admin_addresses": ["10.0.0.1/8"]}, "doors.admin_addresses"),
        ({"trusted_front": {"networks": ["front.example"]}}, "doors.trusted_front.networks"),
        ({"origins": ["https://page.example/"]}, "doors.origins"),
        ({"origins": ["*"]}, "doors.origins"),
        ({"origins": ["http://["]}, "doors.origins"),
    ],
)
def test_what_cannot_be_read_is_refused(given: dict[str, object], name: str) -> None:
    with pytest.raises(BadValue) as refused:
        Doors.model_validate(given)

    assert refused.value.name == name
