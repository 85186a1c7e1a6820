"""Pages: what of a row is told, refused, left out and counted, and the bytes that it can be traced to."""

from __future__ import annotations

import hashlib

import pytest

from market.errors import LayoutChanged
from market.ipo.pages import PageKind
from market.ipo.readings import Refused
from market.ipo.specimens import investorgain_board, investorgain_seen
from market.vendors.investorgain import InvestorGain
from tests.market.ipo.issues import AMBER, ISSUES, NOW

BODY = investorgain_board(ISSUES)


def test_a_number_is_traced_to_its_cell_and_its_bytes() -> None:
    page = InvestorGain().read(BODY, PageKind.BOARD, NOW)

    one = page.gmps[0]
    assert (page.digest, page.size, page.received) == (hashlib.sha256(BODY).hexdigest(), len(BODY), NOW)
    assert one.place == "board: table 0 #mainTable, row 1"
    assert dict(one.cells)["GMP"] == "₹41.5 (12.93%)"


def test_a_cell_that_cannot_be_read_is_refused_and_the_rest_of_its_row_stands() -> None:
    page = InvestorGain().read(BODY.replace("<td>₹-3 (".encode(), "<td>₹3-4 (".encode()), PageKind.BOARD, NOW)

    assert page.refused == (
        Refused(
            place="board: table 0 #mainTable, row 3",
            heading="GMP",
            text="₹3-4 (-3.75%)",
            reason="'₹3-4 (-3.75%)' is not a premium",
        ),
    )
    assert [one.gmp for one in page.gmps] == [AMBER.gmp, None, None]
    assert page.gmps[2].lists == ISSUES[2].lists


def test_a_row_of_one_cell_is_an_advertisement_and_counted() -> None:
    advertised = BODY.replace(b"<tbody>", b"<tbody><tr><td colspan=13>Open an account</td></tr>")

    page = InvestorGain().read(advertised, PageKind.BOARD, NOW)

    assert (page.rows, page.blank, len(page.gmps)) == (4, 1, 3)


def test_what_two_parts_of_a_page_tell_alike_is_told_once() -> None:
    page = InvestorGain().read(investorgain_seen(ISSUES), PageKind.BOARD, NOW)

    assert (page.rows, len(page.gmps), len(page.facts), len(page.subscriptions)) == (6, 3, 3, 2)
    assert page.repeated == 3 + 3 + 2


def test_a_page_most_of_whose_rows_cannot_be_read_is_laid_out_otherwise() -> None:
    ten = [AMBER.model_copy(update={"name": f"Issue {k} Works"}) for k in range(10)]
    body = investorgain_board(ten).replace("<td>₹41.5 (".encode(), b"<td>see below (")

    with pytest.raises(LayoutChanged, match="10 of 10 rows unread; first board: table 0 #mainTable, row 1, GMP"):
        InvestorGain().read(body, PageKind.BOARD, NOW)


def test_a_board_without_a_heading_it_needs_is_laid_out_otherwise() -> None:
    with pytest.raises(LayoutChanged):
        InvestorGain().read(BODY.replace(b"<th>GMP</th>", b"<th>Premium</th>"), PageKind.BOARD, NOW)


def test_dates_that_contradict_each_other_refuse_their_row() -> None:
    body = BODY.replace(b"<td>30-Dec</td><td>1-Jan</td>", b"<td>1-Jan</td><td>30-Dec</td>", 1)

    page = InvestorGain().read(body, PageKind.BOARD, NOW)

    assert len(page.gmps) == 2
    assert "it opens on 2025-01-01 and closes on 2024-12-30" in page.refused[0].reason
