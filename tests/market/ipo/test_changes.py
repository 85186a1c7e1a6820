"""Changes: a page that gives nothing, or numbers far from its last good ones, is an alarm and not data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from market.errors import LayoutChanged
from market.ipo.changes import changes, check
from market.ipo.pages import Glance, Page, PageKind
from market.ipo.specimens import Board, Specimen, investorgain_board, investorgain_data
from market.money import Money, money
from market.sessions import DAY
from market.vendors.investorgain import InvestorGain
from market.vendors.nse_ipo import NseIssues
from tests.market.ipo.issues import AMBER, COBALT, NOW

TEN = [
    AMBER.model_copy(
        update={"name": f"Issue {k} Works", "number": k, "high": money(100 + 10 * k), "gmp": money(10 + k)}
    )
    for k in range(10)
]


def board(issues: list[Specimen], layout: Board = Board.JUNE, at: int = NOW) -> Page:
    return InvestorGain().read(investorgain_board(issues, layout), PageKind.BOARD, at)


def each(of: Callable[[Specimen], dict[str, object]]) -> list[Specimen]:
    return [one.model_copy(update=of(one)) for one in TEN]


def grave(page: Page, before: Glance) -> list[str]:
    return [change.what for change in changes(page, before) if change.grave]


BEFORE = board(TEN).glance()


def test_the_same_board_an_hour_later_has_not_changed() -> None:
    moved = each(lambda one: {"gmp": Money((one.gmp or 0) + 20_000)})

    assert check(board(moved, at=NOW + DAY // 24), BEFORE, b"") == []


def test_a_first_page_has_nothing_to_be_held_against() -> None:
    assert check(board(TEN), None, b"") == []


@pytest.mark.parametrize(
    ("issues", "said"),
    [
        (TEN[:2], "board: 2 issues where 10 were"),
        (each(lambda one: {"high": Money(one.high * 2)}), "10 of 10 issues have another price"),
        ([*each(lambda one: {"high": Money(one.high * 2)})[:3], *TEN[3:]], "3 of 10 issues have another price"),
        (each(lambda one: {"gmp": one.high}), "10 of 10 premiums moved by 30 points"),
        (each(lambda one: {"gmp": None}), "no row has the field gmp, 100% had it"),
        (each(lambda one: {"name": f"Other {one.number} Mills"}), "0 of 10 issues were there before"),
    ],
)
def test_numbers_far_from_the_last_good_page_are_an_alarm(issues: list[Specimen], said: str) -> None:
    page = board(issues)

    assert said in grave(page, BEFORE)[0]
    with pytest.raises(LayoutChanged, match="read it without a page before") as alarm:
        check(page, BEFORE, b"the body")
    assert (alarm.value.source, alarm.value.payload) == ("investorgain", b"the body")


def test_one_revised_price_and_one_jump_are_no_alarm() -> None:
    revised = TEN[0].model_copy(update={"high": money(105)})
    jumped = TEN[1].model_copy(update={"gmp": money(80)})

    assert grave(board([revised, jumped, *TEN[2:]]), BEFORE) == []


def test_a_heading_that_is_gone_or_new_is_told_and_is_no_alarm() -> None:
    found = check(board(TEN, Board.SEPTEMBER), BEFORE, b"")

    assert {change.what for change in found} == {"the heading est listing is gone", "the heading gmp updated is gone"}


def test_a_heading_that_nobody_knows_is_told() -> None:
    body = investorgain_board(TEN).replace(b"<th>Sub</th>", b"<th>Applications (lakh)</th>")

    found = changes(InvestorGain().read(body, PageKind.BOARD, NOW), BEFORE)

    assert "a heading nobody knows: applications lakh" in [change.what for change in found]


def test_a_page_long_after_the_last_one_may_have_other_issues() -> None:
    later = int(NOW + timedelta(days=30).total_seconds() * 1e9)
    others = each(lambda one: {"name": f"Other {one.number} Mills", "at": later, "gmp": one.high})

    assert grave(board(others, at=later), BEFORE) == []


def test_an_exchange_s_list_may_be_empty_and_a_board_that_says_so_after_rows_may_not() -> None:
    empty = b'{"msg": 1, "reportTableData": []}'

    assert NseIssues().read(b"[]", PageKind.LIST, NOW).facts == ()
    page = InvestorGain().read(empty, PageKind.BOARD, NOW)
    with pytest.raises(LayoutChanged, match="0 issues where 10 were"):
        check(page, BEFORE, empty)


def test_a_glance_survives_the_way_through_a_store() -> None:
    assert Glance.model_validate_json(BEFORE.model_dump_json()) == BEFORE


def test_a_glance_knows_how_many_rows_have_what() -> None:
    glance = InvestorGain().read(investorgain_data([AMBER, COBALT]), PageKind.BOARD, NOW).glance()

    board = glance.parts["board"]
    assert (len(board.numbers), board.filled["price"], board.filled["gmp"]) == (2, 1.0, 0.5)
    assert (board.medians["price"], board.medians["gmp"]) == (200.5, 41.5)
