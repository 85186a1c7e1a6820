"""Matching: one issue across sources; small lists by hand, and every name that sources really used."""

from __future__ import annotations

import random
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sources import SEEDS, UNDATED, aliases, matching, shuffled
from market.errors import BadValue
from market.ipo.facts import Told
from market.ipo.kinds import Kind, Segment
from market.ipo.matching import Matched, Matcher, New, Unsure
from market.ipo.titles import akin, titles
from market.money import money
from market.sessions import at

DAY = date(2024, 7, 2)


def told(source: str, name: str, price: str | None = "100", listing: date | None = DAY, **fields: Any) -> Told:
    day = listing or DAY
    known = {"segment": Segment.SME, "at": at(day, time(0)), "price": money(price) if price else None, **fields}
    return Told(source=source, name=name, listing=listing, **known)


def fed(*rows: Told) -> Matcher:
    matcher = Matcher()
    for row in rows:
        matcher.feed(row)
    return matcher


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("cams", "computer age management services"),
        ("uti amc", "uti asset management company"),
        ("il and fs trans", "il and fs transportation networks"),
        ("leo dry fruits", "leo dryfruits and spices trading"),
        ("bectors food", "mrs bectors food specialities"),
    ],
)
def test_a_title_that_shortens_another_is_akin_to_it(short: str, long: str) -> None:
    assert akin(short, long)
    assert akin(long, short)


@pytest.mark.parametrize(("one", "other"), [("zomato", "eternal"), ("brace port logistics", "forcas studio")])
def test_titles_without_a_common_word_are_not_akin(one: str, other: str) -> None:
    assert not akin(one, other)


def test_a_name_is_what_is_left_without_legal_form_and_list_words() -> None:
    assert titles("Vigor Plast India Pvt. Ltd. NSE SME") == {"vigor plast"}
    assert titles("Restaurant Brands Asia Ltd (formerly Burger King India Ltd)") == {
        "restaurant brands asia",
        "burger king",
    }


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (told("b", "Hariom Atta", None, isin="INE0NNS01019"), "isin"),
        (told("b", "Hariom Atta", None, isin="INE0NNS01027"), "isin"),  # a new one after a split of the face value
        (told("b", "Hariom Atta", None, symbol="HOACFOODS"), "symbol"),
        (told("b", "HOAC Foods India Limited", None), "name"),
        (told("b", "Hoac", "100.5"), "name"),
    ],
)
def test_a_row_is_matched_by_code_or_name_or_price_and_a_name_like_it(row: Told, why: str) -> None:
    matcher = fed(told("a", "HOAC Foods", symbol="HOACFOODS", isin="INE0NNS01019"), told("a", "Aasaan Loans"))

    verdict = matcher.match(row)

    assert isinstance(verdict, Matched)
    assert matcher.known(verdict.issue)[0].name == "HOAC Foods"
    assert why in verdict.why


@pytest.mark.parametrize(
    "row",
    [
        told("b", "Fabtech Technologies", "191", date(2025, 10, 7), segment=Segment.MAINBOARD),
        told("b", "Fabtech Technologies", segment=Segment.MAINBOARD),
        told("b", "Fabtech Technologies", kind=Kind.FPO),
        told("b", "Fabtech Technologies", isin="INE999Z01010"),
        told("a", "Fabtech Technologies", listing=date(2025, 3, 3)),
        told("a", "Other Works", listing=DAY),
    ],
)
def test_an_equal_name_price_or_day_of_another_issue_makes_a_new_one(row: Told) -> None:
    matcher = fed(told("a", "Fabtech Technologies", isin="INE0ABC01010", kind=Kind.IPO))

    assert isinstance(matcher.match(row), New)


@pytest.mark.parametrize(
    "row",
    [
        told("b", "Lawsikho"),  # price, day and segment, but another name
        told("b", "Addictive Learning", "117"),  # its name and day, but another price
        told("b", "Addictive Learning", listing=date(2024, 9, 30)),  # its name and price, but another day
        told("b", "Lawsikho", "117", symbol="ADDICTIVE"),  # its symbol, and nothing else
        told("b", "Addictive Learning Tech", None, None),  # nearly its name, and nothing to hold it against
    ],
)
def test_what_is_not_certain_waits_for_a_decision_and_changes_nothing(row: Told) -> None:
    matcher = fed(told("a", "Addictive Learning", symbol="ADDICTIVE"))

    verdict = matcher.feed(row)

    assert isinstance(verdict, Unsure)
    assert len(matcher) == 1
    assert [queued.told for queued in matcher.queue.values()] == [row]


def test_day_and_month_swapped_are_certain_where_name_and_price_agree() -> None:
    matcher = fed(told("a", "Wonderla Holidays", "125", date(2014, 5, 9)))

    verdict = matcher.feed(told("b", "Wonderla Holidays Ltd", "125", date(2014, 9, 5)))

    assert isinstance(verdict, Matched)


def test_an_issue_filed_anew_under_its_old_symbol_is_another_issue() -> None:
    first = told("nse", "Antony Waste", "300", None, symbol="AWHCL", open=date(2020, 3, 4), close=date(2020, 3, 6))
    again = told("nse", "Antony Waste", "315", None, symbol="AWHCL", open=date(2020, 12, 21), close=date(2020, 12, 23))

    matcher = fed(first, again)

    assert len(matcher) == 2


def test_a_board_without_dates_is_matched_by_price_and_the_day_it_was_read() -> None:
    matcher = fed(told("a", "Fabtech Technologies", "85"), told("a", "Fabtech Cleanrooms", "191", date(2025, 10, 7)))

    verdict = matcher.match(told("board", "Fabtech", "191", None, at=at(date(2025, 10, 1), time(12))))

    assert isinstance(verdict, Matched)
    assert verdict.issue.startswith("fabtech-cleanrooms")


def test_a_row_is_settled_when_an_issue_of_its_name_has_come() -> None:
    brace, forcas = told("a", "Brace Port Logistics"), told("a", "Forcas Studio")
    matcher = fed(brace, told("b", "Forcas"), forcas, told("b", "Braceport"))
    assert len(matcher.queue) == 1  # Forcas came before anybody but Brace was known

    settled = matcher.settle()

    assert [one.issue.split("-")[0] for one in settled.values()] == ["forcas"]
    assert not matcher.queue
    assert len(matcher) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Brace Port Logistics", "Forcas Studio"),
        ("Tata Capital", "Tata Technologies"),
        ("ABC India", "ABC Infra"),
        ("ABC Capital", "ABC India Ltd"),
        ("Amberstone Foods", "Amberstone Textiles"),
    ],
)
def test_what_is_left_over_of_two_lists_is_one_issue_only_if_its_name_says_so(one: str, other: str) -> None:
    matcher = fed(told("a", one), told("b", other))

    assert matcher.settle() == {}
    assert (len(matcher), len(matcher.queue)) == (1, 1)


def test_rows_of_unlike_names_stay_in_the_queue() -> None:
    matcher = fed(told("a", "Addictive Learning"), told("b", "Lawsikho"), told("c", "Racks Rollers"))

    assert matcher.settle() == {}
    assert len(matcher.queue) == 2


def test_a_word_of_the_trade_makes_nobody_alike() -> None:
    matcher = fed(told("a", "Kenrik Industries", "25"))

    assert isinstance(matcher.match(told("b", "Retaggio Industries", "25")), Unsure)
    assert isinstance(matcher.match(told("b", "Retaggio Industries", "25", date(2024, 7, 6))), New)


def test_a_row_that_is_two_issues_shows_a_double_that_a_person_can_merge() -> None:
    matcher = fed(told("a", "Leela Hotels", None, symbol="THELEELA"), told("b", "Schloss Bangalore", "435"))
    matcher.decide(1, None)
    row = told("c", "Schloss Bangalore", "435", symbol="THELEELA")
    verdict = matcher.match(row)
    assert isinstance(verdict, Unsure)
    assert len(verdict.candidates) == 2

    matcher.merge(*verdict.candidates)

    assert len(matcher) == 1
    assert matcher.match(row) == Matched(issue=verdict.candidates[0], why="the same symbol")
    with pytest.raises(BadValue, match="double"):
        matcher.merge(verdict.candidates[0], verdict.candidates[0])


def test_a_person_decides_what_waits() -> None:
    matcher = fed(told("a", "Addictive Learning"), told("b", "Lawsikho", "100"), told("c", "Racks Rollers"))
    known = matcher.match(told("a", "Addictive Learning"))
    assert isinstance(known, Matched)

    merged, new = matcher.decide(1, known.issue), matcher.decide(2, None)

    assert (merged == known.issue, new == known.issue) == (True, False)
    assert isinstance(matcher.match(told("d", "Lawsikho")), Matched)
    assert not matcher.queue
    with pytest.raises(BadValue, match="review queue"):
        matcher.decide(1, None)


def test_a_row_that_is_read_again_waits_once_and_is_decided_once() -> None:
    again = told("b", "Addictive Learning", "117", at=at(date(2024, 7, 1), time(9)), gmp=money("5"))
    matcher = fed(told("a", "Addictive Learning"), told("b", "Addictive Learning", "117"), again)
    assert [queued.told for queued in matcher.queue.values()] == [again]

    other = matcher.decide(1, None)

    assert matcher.match(again) == Matched(issue=other, why="the same source told the same of it before")
    assert len(matcher) == 2


def test_a_decision_for_an_unknown_issue_leaves_the_row_in_the_queue() -> None:
    matcher = fed(told("a", "Addictive Learning"), told("b", "Lawsikho"))

    with pytest.raises(BadValue, match="known"):
        matcher.decide(1, "nobody-2024")

    assert len(matcher.queue) == 1


def test_a_restored_matcher_decides_like_the_one_it_was() -> None:
    matcher = fed(told("a", "Addictive Learning", symbol="X"), told("b", "Lawsikho"), told("a", "Brace Port", "70"))

    again = Matcher.restore(matcher.snapshot())

    assert again.snapshot() == matcher.snapshot()
    assert again.match(told("c", "Brace Port Logistics", "70")) == matcher.match(
        told("c", "Brace Port Logistics", "70")
    )
    with pytest.raises(BadValue, match="snapshot"):
        Matcher.restore({"known": 1})


def test_the_same_row_told_again_is_known_once() -> None:
    matcher = fed(told("a", "Brace Port"), told("a", "Brace Port", at=at(date(2024, 7, 1), time(9)), gmp=money("5")))

    (issue,) = matcher.snapshot()["known"]

    assert len(matcher.known(issue)) == 1


@pytest.mark.parametrize("undated", UNDATED)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_issues_of_the_alias_table_are_merged_and_hardly_any_is_split(
    shared: Path, seed: int, undated: str
) -> None:
    rows = aliases(shared / "fixtures/ipo/clean")

    found = matching(shuffled(rows, seed, undated))

    assert found.merged == []
    assert len(found.split) <= 4
    assert len(found.queue) <= (40 if undated != "prajL" else 75)


@pytest.mark.parametrize("left_out", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("seed", "undated"), [(0, ""), (1, "prajL"), (2, "ains")])
def test_no_two_issues_are_merged_where_each_source_tells_of_some_only(
    shared: Path, seed: int, undated: str, left_out: float
) -> None:
    chance = random.Random(seed)
    rows = [row for row in aliases(shared / "fixtures/ipo/clean") if chance.random() >= left_out]

    found = matching(shuffled(rows, seed, undated))

    assert found.merged == []


# The pairs ipo-sources.md names, by an issue of the table each. Of PRICELESS the sources have no common price.
PAIRS = [
    "gp-eco-solutions-india-2024",
    "hoac-foods-india-2024",
    "wise-travel-india-2024",
    "le-travenues-technology-2024",
    "brainbees-solutions-2024",
    "computer-age-management-services-2020",
    "credit-analysis-and-research-2012",
    "zomato-2021",
    "adani-wilmar-2022",
    "burger-king-india-2020",
    "ami-organics-2021",
    "bharti-infratel-2012",
    "jupiter-wagons-2010",
    "valor-estates-2010",
    "shah-metacorp-2010",
    "prabhat-dairy-2015",
    "karda-constructions-2018",
    "bf-industrial-and-technologies-2011",
]
PRICELESS = ["addictive-learning-technology-2024", "storage-technologies-and-automation-2024"]


def test_the_renamed_issues_are_found_and_those_without_a_price_are_asked_about(shared: Path) -> None:
    rows = aliases(shared / "fixtures/ipo/clean")
    matcher = fed(*(row for _, row in rows))
    matcher.settle()
    waiting = {queued.told.name for queued in matcher.queue.values()}

    for pair in PAIRS:
        verdicts = [matcher.match(row) for issue, row in rows if issue == pair]
        assert len(verdicts) > 1
        assert len({verdict.issue for verdict in verdicts if isinstance(verdict, Matched)}) == 1, pair
    for pair in PRICELESS:
        assert waiting & {row.name for issue, row in rows if issue == pair}, pair
