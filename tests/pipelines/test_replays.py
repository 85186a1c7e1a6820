"""The replay of boards that the benchmark times: over real HTTP into a real Postgres, with invented boards."""

from __future__ import annotations

from pathlib import Path

from adapters.ipos import Book
from benchmarks.ipos import STAGES, digests, replay, stages, unchanged
from market.ipo.specimens import investorgain_data
from market.money import money
from market.sessions import MINUTE
from tests.market.ipo.issues import AMBER, ISSUES, NOW
from tests.pipelines.desk import changed, take


def test_boards_are_served_at_their_time_and_a_second_replay_changes_nothing(book: Book, tmp_path: Path) -> None:
    first = investorgain_data(ISSUES)
    second = investorgain_data((changed(AMBER, gmp=money("50")), *ISSUES[1:]))
    boards = [(NOW, first), (NOW + MINUTE, first), (NOW + 2 * MINUTE, second)]

    done = replay(book, boards, tmp_path / "once")
    before = digests(book)
    again = replay(book, boards, tmp_path / "twice")

    assert (done.pages, done.unsent, done.rows) == (again.pages, again.unsent, again.rows) == (3, 1, 9)
    assert [(row["stage"], row["pages"]) for row in stages([done])] == [(stage, 3) for stage in STAGES]
    assert {row["the same"] for row in unchanged(before, digests(book))} == {"yes"}
    assert before["ipo_issues"][0] == 3 and before["ipo_pages"][0] == 2
    with book.looking() as run:
        (amber,) = [one for one in run.every() if one.name == AMBER.name]
        assert {one.gmp for one in run.premiums(amber.id)} == {AMBER.gmp, money("50")}


def test_a_book_that_another_page_changed_is_not_the_same(book: Book) -> None:
    take(book, AMBER)
    before = digests(book)

    take(book, AMBER, changed(AMBER, name="Zinc Pumps", symbol="ZINC", code="599911", isin=None), at=NOW + MINUTE)

    told = {row["of"]: row["the same"] for row in unchanged(before, digests(book))}
    assert (told["ipo_issues"], told["ipo_pages"], told["ipo_overrides"]) == ("NO", "NO", "yes")
