"""The registry: which sources are read, at which addresses, and how often."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlsplit

import pytest

from market.errors import BadValue
from market.ipo import exchange_specimens, registry
from market.ipo.asking import NAMES, Asking
from market.ipo.pages import PageKind
from market.ipo.readings import Status
from tests.market.ipo.issues import AMBER, COBALT, NOW

DAY = date(2025, 6, 18)


def test_every_name_that_settings_may_say_is_a_source_of_that_name() -> None:
    assert tuple(registry.SOURCES) == NAMES
    assert all(make().name == name for name, make in registry.SOURCES.items())


def test_only_what_is_named_and_enabled_is_read() -> None:
    found = registry.readers({"nse": Asking(), "bse": Asking(enabled=False)})

    assert [reader.name for reader in found] == ["nse"]
    assert registry.readers({}) == []
    with pytest.raises(BadValue, match="moneycontrol"):
        registry.readers({"moneycontrol": Asking()})


def test_without_an_address_of_its_own_a_source_is_asked_at_its_own_host() -> None:
    (reader,) = registry.readers({"investorgain": Asking(every_minutes=120, robots=False)})

    hosts = [urlsplit(errand.call.url).netloc for errand in reader.errands(DAY)]

    assert hosts == ["webnodejs.investorgain.com", "www.investorgain.com", "www.investorgain.com"]
    assert (reader.policy.every, reader.robots) == (7200.0, False)
    assert reader.policy.gap == reader.source.policy.gap


def test_a_mirror_stands_before_every_path_and_every_address_of_a_source() -> None:
    found = registry.readers(registry.demo("http://127.0.0.1:9/"))

    calls = [(reader.name, errand.call) for reader in found for errand in reader.errands(DAY)]

    assert {name for name, _ in calls} == set(NAMES)
    assert all(call.url.startswith(f"http://127.0.0.1:9/{name}/") for name, call in calls)
    assert all(call.headers["Referer"].startswith(f"http://127.0.0.1:9/{name}") for name, call in calls)
    assert ("nse", "http://127.0.0.1:9/nse/api/all-upcoming-issues?category=ipo") in [(n, c.url) for n, c in calls]


def test_no_two_pages_of_a_source_are_of_one_kind_for_each_is_held_against_the_one_before() -> None:
    for reader in registry.readers(registry.demo("http://127.0.0.1:9")):
        kinds = [errand.kind for errand in reader.errands(DAY)]

        assert len(set(kinds)) == len(kinds)


def test_a_page_keeps_its_name_from_day_to_day_and_no_two_share_one() -> None:
    for reader in registry.readers(registry.demo("http://127.0.0.1:9")):
        names = [errand.page for errand in reader.errands(DAY)]

        assert names == [errand.page for errand in reader.errands(date(2025, 12, 31))]
        assert len(set(names)) == len(names)


def test_the_bids_of_an_issue_that_nse_tells_to_be_open_are_followed() -> None:
    (reader,) = registry.readers({"nse": Asking(url="http://127.0.0.1:9/nse")})
    running = AMBER.model_copy(update={"status": Status.OPEN, "symbol": "M&M"})
    coming = COBALT.model_copy(update={"status": Status.UPCOMING})
    page = reader.source.read(exchange_specimens.nse_issues([running, coming]), PageKind.LIST, NOW)

    (errand,) = reader.following(page)

    assert (errand.page, errand.kind, errand.key) == ("subscription M&M", PageKind.SUBSCRIPTION, "M&M")
    assert errand.call.url == "http://127.0.0.1:9/nse/api/ipo-active-category?symbol=M%26M&issueType=ipo"


def test_other_sources_have_no_page_to_follow() -> None:
    nse, bse = registry.readers({"nse": Asking(), "bse": Asking()})
    running = AMBER.model_copy(update={"status": Status.OPEN})
    page = nse.source.read(exchange_specimens.nse_issues([running]), PageKind.LIST, NOW)

    assert (len(nse.following(page)), bse.following(page)) == (1, [])
