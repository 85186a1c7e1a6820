"""A page that comes again as it was: what it shows is still said, and nothing is written of it but when it was seen."""

from __future__ import annotations

from datetime import date

from adapters.ipos import Book
from market.ipo.pages import PageKind
from market.ipo.specimens import ipowatch_board
from market.money import money
from market.sessions import DAY, MINUTE
from market.vendors.ipowatch import IpoWatch
from pipelines import ipos
from tests.market.ipo.issues import AMBER, ISSUES, NOW
from tests.pipelines.desk import changed, everything, take

HOUR = 60 * MINUTE
LATER = changed(AMBER, opens=date(2025, 1, 20), closes=date(2025, 1, 22), lists=date(2025, 1, 27))


def board(book: Book, at: int, gmp: str = "30") -> ipos.Taken:
    body = ipowatch_board([changed(LATER, gmp=money(gmp))], None)
    return ipos.take(book, ipos.read(IpoWatch(), PageKind.BOARD, body, at), body, at)


def test_a_quote_without_a_stamp_is_as_new_as_its_page(book: Book) -> None:
    taken = [board(book, NOW + day * DAY) for day in range(5)]

    (found,) = ipos.validate(book, NOW + 4 * DAY + MINUTE).believed

    assert [one.again for one in taken] == [False, True, True, True, True]
    assert (found.gmp, found.age) == (money("30"), MINUTE)


def test_a_board_on_which_nothing_moves_for_a_week_is_not_believed(book: Book) -> None:
    for day in range(8):
        board(book, NOW + day * DAY)

    (found,) = ipos.validate(book, NOW + 7 * DAY + MINUTE).believed

    assert (found.gmp, [one.why for one in found.refused]) == (None, ["stale"])


def test_a_page_that_comes_again_writes_only_when(book: Book) -> None:
    board(book, NOW)
    before = everything(book)

    board(book, NOW + DAY)

    after = everything(book)
    assert {table for table in before if after[table] != before[table]} == {"ipo_pages"}
    assert len(after["ipo_pages"]) == 1


def test_a_quote_with_a_stamp_stays_as_old_as_it_says(book: Book) -> None:
    for day in range(5):
        take(book, changed(LATER, at=NOW), at=NOW + day * DAY)

    (found,) = ipos.validate(book, NOW + 4 * DAY + MINUTE).believed

    assert [one.why for one in found.refused] == ["stale"]


def test_a_quote_that_another_page_took_the_place_of_is_not_renewed(book: Book) -> None:
    board(book, NOW)
    board(book, NOW + DAY, "33")

    (found,) = ipos.validate(book, NOW + 2 * DAY).believed

    assert (found.gmp, found.age) == (money("33"), DAY)


def test_a_jump_on_a_page_that_stays_is_believed_half_a_day_later(book: Book) -> None:
    board(book, NOW)
    for hour in (2, 8, 13):
        board(book, NOW + hour * HOUR, "150")
    (before,) = ipos.validate(book, NOW + 13 * HOUR + MINUTE).believed

    board(book, NOW + 14 * HOUR, "150")

    (after,) = ipos.validate(book, NOW + 14 * HOUR + MINUTE).believed
    assert (before.gmp, [one.why for one in before.refused]) == (money("30"), ["a jump that nobody confirms"])
    assert (after.gmp, after.refused, after.age) == (money("150"), (), MINUTE)


def test_a_jump_under_a_stamp_that_stays_is_believed_half_a_day_later(book: Book) -> None:
    take(book, changed(LATER, at=NOW), at=NOW)
    jump = changed(LATER, at=NOW + HOUR, gmp=money("150"))
    take(book, jump, at=NOW + 2 * HOUR)
    others = [changed(one, at=NOW) for one in ISSUES[1:]]  # another row is new: other bytes, the same stamp
    for hour in (4, 8, 13):
        take(book, jump, *others, at=NOW + hour * HOUR)
    before = ipos.validate(book, NOW + 13 * HOUR + MINUTE).believed[0]

    take(book, jump, *others, at=NOW + 14 * HOUR)

    after = ipos.validate(book, NOW + 14 * HOUR + MINUTE).believed[0]
    assert (before.gmp, after.gmp, after.age) == (LATER.gmp, money("150"), 13 * HOUR + MINUTE)


def test_a_price_that_another_page_corrects_leaves_the_rupees_that_were_told(book: Book) -> None:
    board(book, NOW, "30")
    (before,) = ipos.validate(book, NOW + MINUTE).believed
    issue, price = before.issue, money("300")
    with book.writing() as run:
        run.put_issues([run.issue(issue).model_copy(update={"high": price})])

    (after,) = ipos.validate(book, NOW + 2 * MINUTE).believed

    assert (before.gmp, after.gmp, after.points, after.spike) == (money("30"), money("30"), 10.0, None)
