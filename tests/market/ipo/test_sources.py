"""The contract of every source: it asks politely, and whatever comes back is a page, a bad payload or a new layout."""

from __future__ import annotations

import json
import random
from datetime import date
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import BadPayload, LayoutChanged
from market.ipo import exchange_specimens, specimens
from market.ipo.pages import Page, PageKind
from market.ipo.sources import Source
from market.vendors.bse_ipo import BseIssues
from market.vendors.chittorgarh import Chittorgarh
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from market.vendors.nse_ipo import NseIssues
from tests.market.ipo.issues import AMBER, ISSUES, NOW, ist


class Sample(NamedTuple):
    """A source, a kind of page, and one such page."""

    source: Source
    kind: PageKind
    body: bytes


DAYS = [specimens.Point(AMBER.at, AMBER.gmp)]
SAMPLES = [
    Sample(InvestorGain(), PageKind.BOARD, specimens.investorgain_board(ISSUES)),
    Sample(InvestorGain(), PageKind.BOARD, specimens.investorgain_data(ISSUES)),
    Sample(InvestorGain(), PageKind.PERFORMANCE, specimens.investorgain_performance(ISSUES)),
    Sample(InvestorGain(), PageKind.HISTORY, specimens.investorgain_days(AMBER, DAYS)),
    Sample(IpoWatch(), PageKind.BOARD, specimens.ipowatch_board(ISSUES, NOW)),
    Sample(Chittorgarh(), PageKind.TIMETABLE, specimens.chittorgarh_report(ISSUES)),
    Sample(Chittorgarh(), PageKind.ISSUE, specimens.chittorgarh_issue(AMBER)),
    Sample(Chittorgarh(), PageKind.SUBSCRIPTION, specimens.chittorgarh_subscription(AMBER, [])),
    Sample(NseIssues(), PageKind.LIST, exchange_specimens.nse_issues(ISSUES)),
    Sample(NseIssues(), PageKind.PAST, exchange_specimens.nse_past(ISSUES)),
    Sample(NseIssues(), PageKind.SUBSCRIPTION, exchange_specimens.nse_categories(AMBER, NOW)),
    Sample(BseIssues(), PageKind.LIST, exchange_specimens.bse_issues(ISSUES)),
    Sample(BseIssues(), PageKind.ISSUE, exchange_specimens.bse_issue(AMBER)),
]
NAMES = [f"{one.source.name}-{one.kind.value}-{k}" for k, one in enumerate(SAMPLES)]
every = pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)
SHELL = b"<!DOCTYPE html><html><head><title>x</title></head><body>" + b"<div>later</div>" * 8000 + b"</body></html>"
FORBIDDEN = b"<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>"
OTHER = b"<html><body><table><tr><th>Name</th><th>Age</th></tr><tr><td>A</td><td>1</td></tr></table></body></html>"


def read(sample: Sample, body: bytes) -> Page:
    return sample.source.read(body, sample.kind, NOW, "AMBERSONS")


def outcome(sample: Sample, body: bytes) -> Page | None:
    """The page, or None where it was refused as it may be; anything else raises."""
    try:
        return read(sample, body)
    except BadPayload as e:
        assert e.source == sample.source.name
        return None


@every
def test_its_own_page_is_read(sample: Sample) -> None:
    page = read(sample, sample.body)

    assert page.source == sample.source.name
    assert page.gmps or page.facts or page.subscriptions


@every
@pytest.mark.parametrize(
    "body", [b"", b"   ", b"OK", FORBIDDEN, SHELL, OTHER, b"null", b"{}", b'"x"', b'{"msg": -1, "error": "x"}']
)
def test_what_is_no_such_page_is_refused(sample: Sample, body: bytes) -> None:
    with pytest.raises(BadPayload):
        read(sample, body)


@every
def test_a_shell_drawn_in_the_browser_is_never_an_empty_list(sample: Sample) -> None:
    with pytest.raises(BadPayload) as refused:
        read(sample, SHELL)

    html = sample.source.name != "nse"
    assert isinstance(refused.value, LayoutChanged) == html


@every
def test_a_page_of_ten_megabytes_is_refused_unread(sample: Sample) -> None:
    for body in (b"[" * (10 << 20), b"<table>" * (10 << 17), sample.body + b" " * (10 << 20)):
        with pytest.raises(BadPayload, match="MiB"):
            read(sample, body)


@every
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_page_in_another_encoding_is_refused(sample: Sample, encoding: str) -> None:
    with pytest.raises(BadPayload):
        read(sample, sample.body.decode().encode(encoding))


@every
def test_a_page_cut_off_anywhere_is_refused(sample: Sample) -> None:
    end = len(sample.body.rstrip(b"]}")) if sample.body[:1] in b"[{" else sample.body.rindex(b"</html") + 6

    for cut in random.Random(7).sample(range(end), 60):
        with pytest.raises(BadPayload):
            read(sample, sample.body[:cut])


@every
def test_a_body_taken_for_another_kind_of_page_is_a_page_or_refused(sample: Sample) -> None:
    for kind in PageKind:
        outcome(sample._replace(kind=kind), sample.body)


@given(st.sampled_from(SAMPLES), st.binary(max_size=400))
@settings(max_examples=300)
def test_random_bytes_are_refused(sample: Sample, body: bytes) -> None:
    page = outcome(sample, body)

    assert page is None or not (page.gmps or page.facts or page.subscriptions)


@given(st.sampled_from(SAMPLES), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_a_page_with_some_bytes_changed_is_a_page_or_refused(sample: Sample, chance: random.Random) -> None:
    body = bytearray(sample.body)
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(body))
        if chance.random() < 0.5:
            body[at] = chance.choice(b"<>&\"',-%0159 []{}:|/\x00\xff")
        else:
            del body[at : at + chance.randint(1, 40)]
            body[at:at] = chance.choice(
                [b"", "₹--".encode(), b"</td><td>", b"NaN", b"1e999", b"null", b"\\ud800", b"9" * 300]
            )
        body += b"" if body else b" "

    outcome(sample, bytes(body))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@given(st.sampled_from([one for one in SAMPLES if one.body[:1] in b"[{"]), st.data())
@settings(max_examples=300)
def test_a_value_of_any_type_in_any_place_is_read_or_refused(sample: Sample, data: st.DataObject) -> None:
    said = json.loads(sample.body)
    inner = said if isinstance(said, list) else next((v for v in said.values() if isinstance(v, list)), [])
    row = data.draw(st.sampled_from(inner))
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(VALUES)

    outcome(sample, json.dumps(said).encode())


@pytest.mark.parametrize(
    "source", [InvestorGain(), IpoWatch(), Chittorgarh(), NseIssues(), BseIssues()], ids=lambda s: s.name
)
def test_a_source_is_asked_politely_by_addresses_of_its_own(source: Source) -> None:
    asked = source.addresses(date(2025, 2, 14))

    assert source.policy.gap >= 2
    assert source.policy.every >= 900
    for address in asked:
        assert address.call.method == "GET"
        assert address.call.url.startswith("https://")
        assert {"User-Agent", "Accept", "Referer"} <= address.call.headers.keys()


def test_the_third_part_of_a_report_s_address_is_the_month_and_its_year_the_fiscal_one() -> None:
    (board, *_), (later, *_) = (InvestorGain().addresses(day) for day in (date(2025, 2, 14), date(2025, 10, 14)))

    assert "/331/1/2/2025/2024-25/0/all?" in board.call.url
    assert "/331/1/10/2025/2025-26/0/all?" in later.call.url


def test_a_symbol_with_a_sign_is_asked_for_as_it_is() -> None:
    urls = [address.call.url for address in NseIssues().issue("M&M")]

    assert all("symbol=M%26M" in url for url in urls)


def test_the_refusal_of_an_api_is_told_in_its_own_words() -> None:
    with pytest.raises(BadPayload, match="Invalid API Call2025-100-01"):
        InvestorGain().read(
            b'{"msg": -1, "error": "Invalid API Call2025-100-01"}', PageKind.BOARD, ist("2025-09-01T10:00")
        )
